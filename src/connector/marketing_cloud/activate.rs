//! Setting subscribers active in one unit, and looking at what came of it.
//!
//! An update never creates a subscriber. The vendor says OK also where nothing follows from it: while
//! the parent is unsubscribed, a unit that unsubscribes for the whole enterprise stays as it is. So every
//! write is read back, and only what shows is told as applied.

use super::config::Reach;
use super::map;
use super::standings;
use super::units::{self, Behaviour};
use super::wire::auth::unknown_unit;
use super::wire::faults::{self, BAD_KEY, NO_EFFECT};
use super::wire::{Account, ObjectResult, Updated};
use crate::connector::gate::Activation;
use crate::connector::gate::{Standing, SubscriberStatus};
use crate::connector::{Fault, FaultClass};

/// The kind under which these calls are counted.
const KIND: &str = "activate";

/// One outcome per key, in their order.
pub(super) async fn run(
    account: &Account,
    unit: &str,
    keys: &[String],
) -> Result<Vec<Activation>, Fault> {
    let settings = account.settings();
    standings::check_count(keys.len(), settings.keys_per_call)?;
    let Some(parent) = settings.units.first() else {
        return Err(unknown_unit(unit));
    };
    if !settings.units.iter().any(|known| known.id == unit) {
        return Err(unknown_unit(unit));
    }
    // Each key is sent once, however often it was asked for.
    let mut sent: Vec<&str> = Vec::new();
    for key in keys.iter().map(String::as_str) {
        if map::is_key(key) && !sent.contains(&key) {
            sent.push(key);
        }
    }
    let by = match settings.reach {
        Reach::AllAccounts => parent.id.as_str(),
        Reach::PerUnit => unit,
    };
    let outcomes = if sent.is_empty() {
        Vec::new()
    } else {
        match account.activate(KIND, by, unit, &sent).await {
            Err(fault) if fault.maybe_sent => vec![Activation::Unknown(fault); sent.len()],
            Err(fault) => return Err(fault),
            Ok(updated) => settle(account, unit, &sent, &updated).await,
        }
    };
    let outcome = |key: &String| match sent.iter().position(|sent| sent == key) {
        Some(place) => outcomes.get(place).cloned().unwrap_or_else(|| {
            Activation::Unknown(odd("a subscriber has no outcome").maybe_sent())
        }),
        None => Activation::Failed(Fault::new(
            FaultClass::Rejected,
            BAD_KEY,
            "activate: no subscriber can have that key",
        )),
    };
    Ok(keys.iter().map(outcome).collect())
}

/// What the answer says, and what a look at the subscribers says of those that it calls done.
async fn settle(
    account: &Account,
    unit: &str,
    sent: &[&str],
    updated: &Updated,
) -> Vec<Activation> {
    let told = outcomes(sent, updated);
    let open: Vec<String> = sent
        .iter()
        .zip(&told)
        .filter(|(_, outcome)| !matches!(outcome, Activation::Failed(_)))
        .map(|(key, _)| (*key).to_owned())
        .collect();
    if open.is_empty() {
        return told;
    }
    let shown = match Shown::look(account, unit, &open).await {
        Ok(shown) => shown,
        Err(fault) => {
            let fault = fault.maybe_sent();
            return told
                .into_iter()
                .map(|outcome| match outcome {
                    Activation::Failed(_) => outcome,
                    Activation::Active | Activation::Unknown(_) => {
                        Activation::Unknown(fault.clone())
                    }
                })
                .collect();
        }
    };
    sent.iter()
        .zip(told)
        .map(|(key, outcome)| match (outcome, shown.obstacle(key)) {
            (Activation::Failed(fault), _) => Activation::Failed(fault),
            (Activation::Active | Activation::Unknown(_), None) => Activation::Active,
            (Activation::Active, Some(what)) => Activation::Failed(no_effect(unit, &what)),
            (Activation::Unknown(fault), Some(_)) => Activation::Unknown(fault),
        })
        .collect()
}

/// What a look behind a write found.
struct Shown<'a> {
    unit: &'a str,
    parent: &'a str,
    standings: Vec<Standing>,
    /// Who is unsubscribed in the parent gets no mail of the unit.
    follows: bool,
}

impl<'a> Shown<'a> {
    async fn look(account: &'a Account, unit: &'a str, keys: &[String]) -> Result<Self, Fault> {
        let parent = account.settings().units.first();
        let parent = parent.map_or(unit, |parent| parent.id.as_str());
        let mut shown = Self {
            unit,
            parent,
            standings: standings::read(account, keys, Some(&[unit, parent])).await?,
            follows: false,
        };
        let red = |standing: &Standing| {
            standing.unit == parent && standing.status == SubscriberStatus::Unsubscribed
        };
        // Only then it matters, and it is asked each time: an administrator may change it.
        if unit != parent && shown.standings.iter().any(red) {
            let described = units::read(account, parent).await?;
            shown.follows = described
                .iter()
                .find(|described| described.id == unit)
                .is_none_or(|described| described.behaviour != Behaviour::UnitOnly);
        }
        Ok(shown)
    }

    fn status(&self, key: &str, unit: &str) -> Option<SubscriberStatus> {
        self.standings
            .iter()
            .find(|standing| standing.key == key && standing.unit == unit)
            .map(|standing| standing.status)
    }

    /// Why mail to a subscriber would still not be sent; none when all is well.
    fn obstacle(&self, key: &str) -> Option<String> {
        match self.status(key, self.unit) {
            Some(SubscriberStatus::Active) => {}
            Some(other) => return Some(format!("is still {} there", other.word())),
            None => return Some("is not found there".to_owned()),
        }
        let above = self.status(key, self.parent);
        (self.follows && above == Some(SubscriberStatus::Unsubscribed)).then(|| {
            "is unsubscribed in the parent, which counts there too; set the parent active first"
                .to_owned()
        })
    }
}

fn no_effect(unit: &str, what: &str) -> Fault {
    Fault::new(
        FaultClass::Rejected,
        NO_EFFECT,
        format!("activate: business unit {unit} accepted it, but the subscriber {what}"),
    )
}

/// What the answer alone says of each key.
fn outcomes(sent: &[&str], updated: &Updated) -> Vec<Activation> {
    let overall = match updated.overall.as_str() {
        "OK" | "Has Errors" => None,
        other => Some(faults::of_overall(KIND, other)),
    };
    // A word that nobody has told of, or trouble in between, leaves open what was done.
    let certain = |fault: &Fault| match fault.class {
        FaultClass::Auth | FaultClass::Rejected | FaultClass::RateLimited => !fault.maybe_sent,
        FaultClass::Retryable | FaultClass::ContractBroken => false,
    };
    sent.iter()
        .enumerate()
        .map(|(place, key)| {
            let mut about = updated
                .results
                .iter()
                .filter(|result| result.ordinal == Some(place));
            match (about.next(), about.next()) {
                (Some(one), None) => of_result(key, one),
                (Some(_), Some(_)) => {
                    Activation::Unknown(odd("a subscriber has two results").maybe_sent())
                }
                (None, _) => match &overall {
                    // The whole was refused, and nothing says otherwise of this one.
                    Some(fault) if certain(fault) && updated.results.is_empty() => {
                        Activation::Failed(fault.clone())
                    }
                    Some(fault) => Activation::Unknown(fault.clone().maybe_sent()),
                    None => Activation::Unknown(odd("a subscriber has no result").maybe_sent()),
                },
            }
        })
        .collect()
}

fn of_result(key: &str, result: &ObjectResult) -> Activation {
    // The same key may come back in another case.
    let other = result
        .key
        .as_ref()
        .is_some_and(|told| !told.trim().eq_ignore_ascii_case(key.trim()));
    if other {
        return Activation::Unknown(odd("a result is about another subscriber").maybe_sent());
    }
    if result.ok {
        return Activation::Active;
    }
    Activation::Failed(faults::of_object(
        KIND,
        result.code.as_deref(),
        result.words.as_deref(),
    ))
}

fn odd(what: &str) -> Fault {
    Fault::new(
        FaultClass::ContractBroken,
        "result-count",
        format!("{KIND}: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(ordinal: usize, ok: bool, code: Option<&str>, key: Option<&str>) -> ObjectResult {
        ObjectResult {
            ordinal: Some(ordinal),
            ok,
            code: code.map(str::to_owned),
            words: None,
            key: key.map(str::to_owned),
        }
    }

    fn told(overall: &str, results: Vec<ObjectResult>) -> Vec<String> {
        let updated = Updated {
            results,
            overall: overall.to_owned(),
        };
        outcomes(&["a", "b"], &updated)
            .into_iter()
            .map(|outcome| match outcome {
                Activation::Active => "applied".to_owned(),
                Activation::Unknown(fault) => format!("unknown {}", fault.code),
                Activation::Failed(fault) => format!("failed {}", fault.code),
            })
            .collect()
    }

    #[test]
    fn c127_each_subscriber_is_judged_by_its_own_result() {
        let ok = |place| result(place, true, None, None);
        for (sentence, overall, results, expected) in [
            (
                "out of order, and one refused",
                "Has Errors",
                vec![result(1, false, Some("12001"), None), ok(0)],
                ["applied", "failed 12001"],
            ),
            (
                "passing trouble of one",
                "Has Errors",
                vec![ok(0), result(1, false, Some("2"), None)],
                ["applied", "failed 2"],
            ),
            (
                "a result too few",
                "OK",
                vec![ok(0)],
                ["applied", "unknown result-count"],
            ),
            (
                "two results for one",
                "OK",
                vec![ok(0), ok(0), ok(1)],
                ["unknown result-count", "applied"],
            ),
            (
                "one that nobody sent",
                "OK",
                vec![ok(0), ok(1), ok(2)],
                ["applied", "applied"],
            ),
            (
                "about somebody else",
                "OK",
                vec![
                    result(0, true, None, Some("x")),
                    result(1, true, None, Some("B ")),
                ],
                ["unknown result-count", "applied"],
            ),
            (
                "the whole refused",
                "Error: no",
                vec![],
                ["failed overall-status", "failed overall-status"],
            ),
            (
                "trouble in between",
                "Error: Timeout expired",
                vec![],
                ["unknown overall-status", "unknown overall-status"],
            ),
            (
                "refused, but one was done",
                "Error",
                vec![ok(0)],
                ["applied", "unknown overall-status"],
            ),
            (
                "a word that nobody told of",
                "Perhaps",
                vec![],
                ["unknown shape", "unknown shape"],
            ),
        ] {
            assert_eq!(told(overall, results), expected, "{sentence}");
        }
    }
}
