//! What rows of subscribers mean: which key, which unit, which standing.
//!
//! A subscriber that is not found may be mailed, so nothing is left out by mistake: a row that cannot
//! be told to belong to a key and a unit breaks the contract, and of two rows about the same the worse
//! one counts. Rows of keys and units that nobody asked for say nothing.

use super::wire::time;
use super::wire::xml::Node;
use crate::connector::gate::{Standing, SubscriberStatus, Unit};
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use chrono::FixedOffset;
use std::collections::{BTreeMap, BTreeSet};

/// The properties that are asked for.
pub const PROPERTIES: &[&str] = &["SubscriberKey", "Status", "Client.ID"];
/// Asked for where it is shown: evidence only.
pub const OPTIONAL: &[&str] = &["UnsubscribedDate"];

/// Most characters of a subscriber key (object reference: Subscriber).
const MOST_KEY: usize = 254;

/// The words for a standing (object reference: SubscriberStatus).
pub fn status(word: Option<&str>) -> SubscriberStatus {
    match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "active" => SubscriberStatus::Active,
        "bounced" => SubscriberStatus::Bounced,
        "held" => SubscriberStatus::Held,
        "unsubscribed" => SubscriberStatus::Unsubscribed,
        "deleted" => SubscriberStatus::Deleted,
        _ => SubscriberStatus::Unknown,
    }
}

/// Whether a subscriber can have that key at all.
pub fn is_key(key: &str) -> bool {
    !key.trim().is_empty()
        && key.chars().count() <= MOST_KEY
        && !key.chars().any(char::is_control)
        && super::wire::xml::can_hold(key)
}

/// The keys that are asked for, each once.
#[derive(Debug)]
pub struct Keys<'a> {
    exact: BTreeSet<&'a str>,
    /// By their lower-case form.
    folded: BTreeMap<String, Vec<&'a str>>,
}

impl<'a> Keys<'a> {
    /// Of what was asked for, without what no subscriber can have.
    pub fn new(keys: &'a [String]) -> Self {
        let exact: BTreeSet<&str> = keys
            .iter()
            .map(String::as_str)
            .filter(|key| is_key(key))
            .collect();
        let mut folded: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for key in &exact {
            let slot = folded.entry(key.trim().to_lowercase()).or_default();
            slot.push(key);
        }
        Self { exact, folded }
    }

    /// All of them.
    pub fn all(&self) -> Vec<&'a str> {
        self.exact.iter().copied().collect()
    }

    /// The keys that an answer means. The vendor compares without regard to case and to blanks at the
    /// end, so an answer may be written in another way than it was asked for.
    fn meant(&self, key: &str) -> Vec<&'a str> {
        if let Some(exact) = self.exact.get(key) {
            return vec![exact];
        }
        let folded = self.folded.get(&key.trim().to_lowercase());
        folded.cloned().unwrap_or_default()
    }
}

/// What rows are held against.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The keys asked for.
    pub keys: &'a Keys<'a>,
    /// The units looked at.
    pub units: &'a [Unit],
    /// The only unit that was asked, if it was one.
    pub only: Option<&'a str>,
    /// The zone of times that name none.
    pub utc_offset: FixedOffset,
}

impl Frame<'_> {
    /// The standing that a row tells of each key that it means; none for a key or unit that nobody
    /// asked for.
    ///
    /// # Errors
    /// A row without a key, or one of which the unit cannot be told.
    pub fn standing(&self, row: &Node) -> Result<Vec<Standing>, Fault> {
        let broken = |code: &str, what: &str| {
            Err(Fault::new(
                FaultClass::ContractBroken,
                code,
                format!("subscribers: {what}"),
            ))
        };
        let Some(key) = row.value("SubscriberKey") else {
            return broken("no-key", "a result has no SubscriberKey");
        };
        let told = row.one("Client").and_then(|client| client.value("ID"));
        let unit = match (told, self.only) {
            (None, None) => return broken("no-unit", "a result has no Client.ID"),
            (None, Some(only)) => only,
            (Some(told), Some(only)) if told != only => {
                return broken(
                    "other-unit",
                    "a result belongs to a unit that was not asked",
                );
            }
            (Some(told), _) => told,
        };
        let Some(unit) = self.units.iter().find(|known| known.id == unit) else {
            return Ok(Vec::new());
        };
        let status = status(row.value("Status"));
        let unsubscribed_at = match status {
            SubscriberStatus::Unsubscribed => row
                .value("UnsubscribedDate")
                .and_then(|text| time::parse(text, self.utc_offset)),
            // The date of an opt-out that holds no more.
            SubscriberStatus::Active
            | SubscriberStatus::Bounced
            | SubscriberStatus::Held
            | SubscriberStatus::Deleted
            | SubscriberStatus::Unknown => None,
        };
        let standing = |key: &str| Standing {
            key: key.to_owned(),
            unit: unit.id.clone(),
            status,
            unsubscribed_at,
        };
        Ok(self.keys.meant(key).into_iter().map(standing).collect())
    }
}

/// How much a standing keeps mail from being sent.
const fn weight(status: SubscriberStatus) -> u8 {
    match status {
        SubscriberStatus::Deleted => 0,
        SubscriberStatus::Active => 1,
        SubscriberStatus::Bounced => 2,
        SubscriberStatus::Held => 3,
        SubscriberStatus::Unknown => 4,
        SubscriberStatus::Unsubscribed => 5,
    }
}

/// Each key and unit once, by key and then in the order of the units. Of two the worse one counts, and
/// of two opt-outs the later one.
pub fn once(found: Vec<Standing>, units: &[Unit]) -> Vec<Standing> {
    let place = |unit: &str| units.iter().position(|known| known.id == unit);
    let mut kept: BTreeMap<(String, Option<usize>), Standing> = BTreeMap::new();
    let rank = |standing: &Standing| -> (u8, Option<At>) {
        (weight(standing.status), standing.unsubscribed_at)
    };
    for standing in found {
        let slot = (standing.key.clone(), place(&standing.unit));
        match kept.get(&slot) {
            Some(held) if rank(held) >= rank(&standing) => {}
            _ => {
                kept.insert(slot, standing);
            }
        }
    }
    kept.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::super::wire::xml;
    use super::*;

    const RED: SubscriberStatus = SubscriberStatus::Unsubscribed;

    fn units() -> Vec<Unit> {
        ["1", "2"]
            .map(|id| Unit {
                id: id.to_owned(),
                name: format!("unit {id}"),
            })
            .to_vec()
    }

    fn read(keys: &[&str], only: Option<&str>, rows: &str) -> Result<Vec<Standing>, Fault> {
        let asked: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let units = units();
        let keys = Keys::new(&asked);
        let frame = Frame {
            keys: &keys,
            units: &units,
            only,
            utc_offset: FixedOffset::west_opt(6 * 3_600).unwrap(),
        };
        let text = format!("<r xmlns:xsi=\"{}\">{rows}</r>", xml::INSTANCE);
        let root = xml::read(text.as_bytes()).unwrap();
        let mut found = Vec::new();
        for row in root.all("Results") {
            found.extend(frame.standing(row)?);
        }
        Ok(once(found, &units))
    }

    fn row(key: &str, unit: &str, status: &str) -> String {
        format!(
            "<Results><Client><ID>{unit}</ID></Client><SubscriberKey>{key}</SubscriberKey>\
             <Status>{status}</Status><UnsubscribedDate>2026-05-01T04:00:00</UnsubscribedDate></Results>"
        )
    }

    fn told(found: &[Standing]) -> Vec<String> {
        found
            .iter()
            .map(|one| format!("{} {} {}", one.key, one.unit, one.status.word()))
            .collect()
    }

    #[test]
    fn c125_every_word_is_a_standing() {
        for (word, expected) in [
            (Some("Active"), SubscriberStatus::Active),
            (Some("active"), SubscriberStatus::Active),
            (Some("Bounced"), SubscriberStatus::Bounced),
            (Some("HELD"), SubscriberStatus::Held),
            (Some("Unsubscribed"), RED),
            (Some("Deleted"), SubscriberStatus::Deleted),
            (Some("Suspended"), SubscriberStatus::Unknown),
            (None, SubscriberStatus::Unknown),
        ] {
            assert_eq!(status(word), expected, "{word:?}");
        }
    }

    #[test]
    fn c122_rows_are_told_apart_by_key_and_unit() {
        let rows = [
            row("b", "2", "Held"),
            row("b", "1", "Active"),
            row("a", "1", "Unsubscribed"),
            row("stranger", "1", "Held"),
            row("a", "77", "Held"),
        ];
        let found = read(&["a", "b", "c"], None, &rows.concat()).unwrap();
        assert_eq!(told(&found), ["a 1 unsubscribed", "b 1 active", "b 2 held"]);
        assert_eq!(
            found[0].unsubscribed_at.map(|at| at.to_string()).as_deref(),
            Some("2026-05-01T10:00:00Z"),
            "r17: no zone is UTC-6"
        );
        assert_eq!(
            found[1].unsubscribed_at, None,
            "who is active has not opted out"
        );
    }

    #[test]
    fn c122_of_two_rows_about_the_same_the_worse_one_counts() {
        for (one, other, expected) in [
            ("Active", "Held", "a 1 held"),
            ("Held", "Active", "a 1 held"),
            ("Unsubscribed", "Held", "a 1 unsubscribed"),
            ("Deleted", "Bounced", "a 1 bounced"),
            ("Strange", "Bounced", "a 1 unknown"),
            ("Active", "Active", "a 1 active"),
        ] {
            let rows = [row("a", "1", one), row("a", "1", other)].concat();
            let found = read(&["a"], None, &rows).unwrap();
            assert_eq!(told(&found), [expected], "{one} and {other}");
        }
    }

    #[test]
    fn c123_a_row_that_cannot_be_told_breaks_the_contract() {
        let nil = "<Results><Client><ID>1</ID></Client><SubscriberKey xsi:nil=\"true\"/></Results>";
        let bare = "<Results><SubscriberKey>a</SubscriberKey><Status>Held</Status></Results>";
        for (sentence, only, rows, code) in [
            ("a nil key", None, nil.to_owned(), "no-key"),
            ("no unit", None, bare.to_owned(), "no-unit"),
            (
                "another unit than the one that was asked",
                Some("1"),
                row("a", "2", "Held"),
                "other-unit",
            ),
        ] {
            let fault = read(&["a"], only, &rows).unwrap_err();
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (FaultClass::ContractBroken, code),
                "{sentence}"
            );
        }
        let found = read(&["a"], Some("2"), bare).unwrap();
        assert_eq!(
            told(&found),
            ["a 2 held"],
            "one unit was asked, so it is that"
        );
    }

    #[test]
    fn c122_keys_are_compared_as_the_vendor_compares_them() {
        let rows = [row("ANN@example.org ", "1", "Held"), row("xA", "1", "Held")].concat();
        let found = read(&["ann@example.org", "xa", "xA"], None, &rows).unwrap();
        assert_eq!(
            told(&found),
            ["ann@example.org 1 held", "xA 1 held"],
            "in another case where that is clear, and by the exact form where it is not"
        );
        let found = read(&["xa", "xA"], None, &row("XA", "1", "Held")).unwrap();
        assert_eq!(
            told(&found),
            ["xA 1 held", "xa 1 held"],
            "whose it is cannot be told, so it is everybody's"
        );
    }

    #[test]
    fn c125_nil_values_are_no_values() {
        let rows = "<Results><Client><ID>1</ID></Client><SubscriberKey>a</SubscriberKey>\
                    <Status xsi:nil=\"true\"/><UnsubscribedDate xsi:nil=\"true\"/></Results>";
        let found = read(&["a"], None, rows).unwrap();
        assert_eq!(told(&found), ["a 1 unknown"]);
        let rows = "<Results><Client><ID>1</ID></Client><SubscriberKey>a</SubscriberKey>\
                    <Status>Unsubscribed</Status><UnsubscribedDate xsi:nil=\"true\"/></Results>";
        assert_eq!(read(&["a"], None, rows).unwrap()[0].unsubscribed_at, None);
    }

    #[test]
    fn c129_not_every_text_can_be_a_key() {
        for (key, expected) in [
            ("0035e000001ABCDAA4", true),
            ("ann@example.org", true),
            ("", false),
            ("  ", false),
            ("a\u{0}b", false),
            ("a\nb", false),
            ("a\u{FFFE}", false),
        ] {
            assert_eq!(is_key(key), expected, "{key:?}");
        }
        assert!(is_key(&"k".repeat(254)) && !is_key(&"k".repeat(255)));
    }
}
