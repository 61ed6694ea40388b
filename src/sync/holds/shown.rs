//! Holds as people see them, on every surface (R29): what waits of whom, what a word about it would do,
//! and which persons somebody means.

use super::{Desk, Filter, MOST_HOLDS, PERSONS_AT_ONCE, direction};
use crate::consent::SystemId;
use crate::consent::guard::HoldKind;
use crate::store::{
    ContactRow, HELD, HeldView, HoldRow, HoldView, LIVE, OutboxRow, Scope, Store, StoreError,
    SubjectRef, SubjectRow,
};
use crate::sync::pack::{PackError, Packer, unpack_verdicts};
use crate::sync::parity::word;
use crate::sync::workbench::Word;
use std::collections::{BTreeMap, BTreeSet};

/// So many hexadecimal digits of a keyed hash name a person at least.
pub const LEAST_DIGITS: usize = 12;
/// All of its digits.
const ALL_DIGITS: usize = 32;

/// What a word would do to what waits under a hold. Nothing for a kind that this version does not know.
pub fn consequence(hold: &HoldRow, word: Word) -> &'static str {
    let Some(kind) = HoldKind::from_word(&hold.kind) else {
        return "";
    };
    match (kind, word, hold.withdrawn) {
        (HoldKind::WeakGrant | HoldKind::Load, Word::Approve, _) => {
            "the grants count as the persons' word, later than what they withdrew, and are written \
             everywhere"
        }
        (HoldKind::WeakGrant | HoldKind::Load, Word::Reject, _) => {
            "the verdicts stay as they are, and nobody is asked about these grants again"
        }
        (HoldKind::MassChange, Word::Approve, false) => "the grants are written",
        (HoldKind::MassChange, Word::Reject, false) => {
            "the grants are overruled: the verdicts are again what they were, and the contacts are \
             written back"
        }
        (HoldKind::MassChange, Word::Approve, true) => "the withdrawals are written",
        (HoldKind::MassChange, Word::Reject, true) => {
            "withdrawals that bulk actors or loads made are overruled and written back; what a person \
             withdrew cannot be taken back, and is written"
        }
        (HoldKind::Flapping, Word::Approve, _) => "the last grants are written",
        (HoldKind::Flapping, Word::Reject, _) => {
            "the grants are overruled: the verdicts are withdrawn again where they were, and the \
             contacts are written back"
        }
    }
}

/// The rule that holds; nothing for a kind that this version does not know.
pub fn rule(hold: &HoldRow) -> &'static str {
    HoldKind::from_word(&hold.kind).map_or("", HoldKind::rule)
}

/// The name of the system whose statements are in question; none where it is none in particular.
pub fn system<'d>(hold: &HoldRow, desk: &'d Desk) -> Option<&'d str> {
    (hold.system != 0).then(|| desk.rules.system_name(SystemId(hold.system)))
}

/// Who made the load, as the system names its user; none where it names none, or an address.
pub fn actor(hold: &HoldRow) -> Option<&str> {
    Some(hold.actor.as_str()).filter(|actor| !actor.is_empty() && !actor.contains('@'))
}

/// `withdrawal` or `grant`: what waits.
pub const fn direction_of(hold: &HoldRow) -> &'static str {
    direction(hold.withdrawn)
}

/// What came of an act on one hold, in words that follow its number.
pub fn outcome(word: Word, tally: super::Tally) -> String {
    let done = match word {
        Word::Approve => "approved",
        Word::Reject => "rejected",
    };
    let mut parts = Vec::new();
    if tally.done > 0 {
        parts.push(format!("{} {done}", tally.done));
    }
    if tally.moved_on > 0 {
        parts.push(format!("{} had moved on", tally.moved_on));
    }
    if tally.irrevocable > 0 {
        parts.push(format!(
            "{} cannot be taken back and were let go",
            tally.irrevocable
        ));
    }
    if parts.is_empty() {
        "nothing of that waits there".to_owned()
    } else {
        parts.join(", ")
    }
}

/// The hold of that number, open or closed.
///
/// # Errors
/// When the store fails.
pub async fn find(store: &dyn Store, id: i64) -> Result<Option<HoldView>, StoreError> {
    for closed_too in [false, true] {
        let holds = store.holds(closed_too, MOST_HOLDS).await?;
        let found = holds.into_iter().find(|view| view.hold.id == id);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The holds that a filter takes, the newest first: closed ones too, if those are asked for.
///
/// # Errors
/// When the store fails.
pub async fn list(
    store: &dyn Store,
    filter: &Filter,
    closed_too: bool,
) -> Result<Vec<HoldView>, StoreError> {
    let mut holds = store.holds(closed_too, MOST_HOLDS).await?;
    holds.retain(|view| filter.takes(view));
    Ok(holds)
}

/// A write that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldWrite {
    /// Name of the system.
    pub system: String,
    /// External id of the contact.
    pub contact: String,
    /// What would be written, e.g. `marketing to granted`.
    pub change: String,
}

/// What waits of one person for one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Keyed hash.
    pub subject: SubjectRef,
    /// Normalised address; for those who may see it.
    pub address: String,
    /// Purpose name.
    pub purpose: String,
    /// Since when, by our clock, in microseconds.
    pub since: i64,
    /// `granted` or `withdrawn`; none where nothing was said.
    pub verdict: Option<&'static str>,
    /// Live contacts: name of the system and external id.
    pub contacts: Vec<(String, String)>,
    /// Writes of that purpose to them that wait.
    pub writes: Vec<HeldWrite>,
}

/// A page of those who wait under a hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// In the order of the subjects' numbers, a row for each purpose.
    pub rows: Vec<Waiting>,
    /// Behind which number the next page begins; none on the last one.
    pub next: Option<i64>,
}

/// Who waits under a hold: of the first `limit` persons behind the number `after`, a row for each
/// purpose.
///
/// # Errors
/// When the store fails or holds what cannot be read.
pub async fn waiting(
    store: &dyn Store,
    desk: &Desk,
    hold: i64,
    after: i64,
    limit: usize,
) -> Result<Page, StoreError> {
    let held = store.held(hold, after, limit).await?;
    let persons: BTreeSet<i64> = held.iter().map(|view| view.row.subject).collect();
    let next = persons.last().copied();
    let subjects: BTreeSet<SubjectRef> = held.iter().map(|view| view.subject).collect();
    if subjects.is_empty() {
        return Ok(Page::default());
    }
    let scope = Scope {
        subjects: subjects.into_iter().collect(),
        ..Scope::default()
    };
    let known = store.known(&scope).await?;
    let mut people: BTreeMap<i64, Person<'_>> = BTreeMap::new();
    for row in &known.subjects {
        people.entry(row.id).or_default().row = Some(row);
    }
    for row in known.contacts.iter().filter(|row| row.life == LIVE) {
        if let Some(subject) = row.subject {
            people.entry(subject).or_default().contacts.push(row);
        }
    }
    for row in known.outbox.iter().filter(|row| row.state == HELD) {
        people.entry(row.subject).or_default().writes.push(row);
    }
    let nobody = Person::default();
    let rows = held
        .into_iter()
        .map(|view| {
            let person = people.get(&view.row.subject).unwrap_or(&nobody);
            person.told(view, desk)
        })
        .collect::<Result<_, _>>()
        .map_err(|error: PackError| StoreError::Corrupt {
            what: "packed column",
            detail: error.to_string(),
        })?;
    Ok(Page {
        rows,
        next: next.filter(|_| persons.len() == limit),
    })
}

/// What the store knows of one person.
#[derive(Default)]
struct Person<'k> {
    row: Option<&'k SubjectRow>,
    contacts: Vec<&'k ContactRow>,
    writes: Vec<&'k OutboxRow>,
}

impl Person<'_> {
    fn told(&self, view: HeldView, desk: &Desk) -> Result<Waiting, PackError> {
        let rules = &desk.rules;
        let packer = Packer::new(rules);
        let name = |id: i16| rules.system_name(SystemId(id)).to_owned();
        let purpose = view.row.purpose;
        let verdicts = self.row.map_or("", |row| &row.verdicts);
        let verdict = unpack_verdicts(verdicts)?
            .iter()
            .find(|verdict| verdict.purpose == purpose)
            .map(|verdict| verdict.status().word());
        let mut writes = Vec::new();
        for row in &self.writes {
            let write = packer.unpack_changes(&row.changes)?;
            let about =
                |changed: &str| changed == purpose || changed.starts_with(&format!("{purpose}."));
            let mut changes: Vec<String> = Vec::new();
            for change in &write.changes {
                let changed = rules.purposes.name(change.purpose);
                if about(changed) {
                    changes.push(format!("{changed} to {}", word(&change.to)));
                }
            }
            if !changes.is_empty() {
                writes.push(HeldWrite {
                    system: name(row.key.system),
                    contact: row.key.external.clone(),
                    change: changes.join(", "),
                });
            }
        }
        let contacts = self.contacts.iter();
        Ok(Waiting {
            subject: view.subject,
            address: self.row.map_or_else(String::new, |row| row.address.clone()),
            purpose,
            since: view.row.since,
            verdict,
            contacts: contacts
                .map(|row| (name(row.system), row.external.clone()))
                .collect(),
            writes,
        })
    }
}

/// Why nobody is meant.
#[derive(Debug, thiserror::Error)]
pub enum PersonFault {
    /// It is the beginning of no keyed hash.
    #[error("{0:?} is not the beginning of a keyed hash: give 12 to 32 hexadecimal digits")]
    NoHash(String),
    /// Nobody of that hash waits under these holds.
    #[error("nobody whose keyed hash begins with {0} waits there")]
    Nobody(String),
    /// Several persons' hashes begin so.
    #[error("the keyed hashes of several persons who wait there begin with {0}; give more digits")]
    Several(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The beginning of a keyed hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// From 12 to 32 hexadecimal digits of any case.
    ///
    /// # Errors
    /// When it is something else.
    pub fn new(text: &str) -> Result<Self, PersonFault> {
        let digits = text.to_ascii_lowercase();
        let is_hash = (LEAST_DIGITS..=ALL_DIGITS).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            Ok(Self(digits))
        } else {
            Err(PersonFault::NoHash(text.chars().take(64).collect()))
        }
    }

    /// The whole hash of a person.
    pub fn of(subject: SubjectRef) -> Self {
        Self(subject.to_string())
    }
}

/// The persons whom these beginnings name among those who wait under the open holds that a filter takes.
///
/// # Errors
/// When the store fails, or one of them names nobody or several persons.
pub async fn persons(
    store: &dyn Store,
    filter: &Filter,
    prefixes: &[Prefix],
) -> Result<BTreeSet<SubjectRef>, PersonFault> {
    let mut found: Vec<BTreeSet<SubjectRef>> = vec![BTreeSet::new(); prefixes.len()];
    for view in super::list(store, filter).await? {
        let mut after = 0;
        loop {
            let page = store.held(view.hold.id, after, PERSONS_AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after = last.row.subject;
            for row in page.iter().filter(|row| filter.takes_person(row)) {
                let hash = row.subject.to_string();
                for (Prefix(prefix), found) in prefixes.iter().zip(&mut found) {
                    if hash.starts_with(prefix) {
                        found.insert(row.subject);
                    }
                }
            }
        }
    }
    let mut persons = BTreeSet::new();
    for (Prefix(prefix), found) in prefixes.iter().zip(found) {
        let shown = prefix.chars().take(LEAST_DIGITS).collect();
        match found.len() {
            0 => return Err(PersonFault::Nobody(shown)),
            1 => persons.extend(found),
            _ => return Err(PersonFault::Several(shown)),
        }
    }
    Ok(persons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::holds::Tally;

    fn hold(kind: HoldKind, withdrawn: bool) -> HoldRow {
        HoldRow {
            id: 7,
            kind: kind.word().to_owned(),
            system: 1,
            purpose: "marketing".to_owned(),
            withdrawn,
            actor: String::new(),
            opened_at: 0,
            closed_at: None,
        }
    }

    #[test]
    fn r29_every_kind_says_what_each_word_would_do() {
        for kind in HoldKind::ALL {
            for withdrawn in [false, true] {
                let hold = hold(kind, withdrawn);
                let approving = consequence(&hold, Word::Approve);
                let rejecting = consequence(&hold, Word::Reject);
                assert!(!approving.is_empty() && !rejecting.is_empty());
                assert_ne!(approving, rejecting, "{}", kind.word());
            }
        }
        let withdrawals = consequence(&hold(HoldKind::MassChange, true), Word::Reject);
        assert!(
            withdrawals.contains("cannot be taken back"),
            "{withdrawals}"
        );
    }

    #[test]
    fn r29_what_came_of_an_act_is_told_whole() {
        let tally = |done, moved_on, irrevocable| Tally {
            done,
            moved_on,
            irrevocable,
        };
        let rows = [
            (Word::Approve, tally(3, 0, 0), "3 approved"),
            (
                Word::Reject,
                tally(2, 1, 4),
                "2 rejected, 1 had moved on, 4 cannot be taken back and were let go",
            ),
            (Word::Reject, tally(0, 0, 0), "nothing of that waits there"),
        ];
        for (word, tally, expected) in rows {
            assert_eq!(outcome(word, tally), expected);
        }
    }

    #[test]
    fn r56_an_actor_that_is_an_address_is_not_named() {
        let mut hold = hold(HoldKind::Load, false);
        assert_eq!(actor(&hold), None);
        hold.actor = "ann@crm.example".to_owned();
        assert_eq!(actor(&hold), None);
        hold.actor = "0058d000001".to_owned();
        assert_eq!(actor(&hold), Some("0058d000001"));
    }

    #[test]
    fn a_person_is_named_by_twelve_digits_or_more() {
        for right in ["0123456789ab", "0123456789ABCDEF0123456789abcdef"] {
            assert!(Prefix::new(right).is_ok(), "{right}");
        }
        let long = "0".repeat(33);
        for wrong in ["", "0123456789a", "0123456789ag", "ann@x.example", &long] {
            assert!(Prefix::new(wrong).is_err(), "{wrong}");
        }
    }
}
