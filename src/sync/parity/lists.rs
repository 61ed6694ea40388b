//! The comparison as lists, for the command and for the report in files.

use super::{Class, Parity};
use crate::consent::Status;
use crate::list::{Cell, List};

/// The counts of each system and purpose.
pub fn tallies(parity: &Parity) -> List {
    let mut list = List::new(&["system", "purpose", "equal", "different", "silent"]);
    for ((system, purpose), tally) in &parity.tallies {
        list.push(vec![
            system.as_str().into(),
            purpose.as_str().into(),
            count(tally.equal),
            count(tally.different),
            count(tally.silent),
        ]);
    }
    list
}

/// The contacts that do not show their verdict.
pub fn differences(parity: &Parity) -> List {
    let mut list = List::new(&["system", "contact", "purpose", "shown", "wanted", "reason"]);
    for difference in &parity.differences {
        list.push(vec![
            difference.system.as_str().into(),
            difference.contact.as_str().into(),
            difference.purpose.as_str().into(),
            difference.shown.into(),
            difference.wanted.into(),
            difference.reason.as_str().into(),
        ]);
    }
    list
}

/// The counts of every two systems and purpose, in people. `unmatched` are contacts of either without a
/// usable address, whatever the purpose.
pub fn pairs(parity: &Parity) -> List {
    let mut list = List::new(&[
        "a",
        "b",
        "purpose",
        "equal",
        "different",
        "missing",
        "held",
        "unmatched",
    ]);
    let unmatched = |system: &str| parity.unmatched.get(system).copied().unwrap_or_default();
    for ((a, b, purpose), tally) in &parity.pairs {
        list.push(vec![
            a.as_str().into(),
            b.as_str().into(),
            purpose.as_str().into(),
            count(tally.equal),
            count(tally.different),
            count(tally.missing),
            count(tally.held),
            count(unmatched(a) + unmatched(b)),
        ]);
    }
    list
}

/// The people of whom two systems show different things.
pub fn pair_differences(parity: &Parity) -> List {
    let mut list = List::new(&[
        "subject",
        "purpose",
        "a",
        "a_contact",
        "a_shown",
        "a_since",
        "b",
        "b_contact",
        "b_shown",
        "b_since",
        "verdict",
        "reason",
    ]);
    for difference in &parity.pair_differences {
        let mut row: Vec<Cell> = vec![
            difference.subject.as_str().into(),
            difference.purpose.as_str().into(),
        ];
        for side in [&difference.one, &difference.other] {
            row.extend([
                side.system.as_str().into(),
                side.contact.as_str().into(),
                side.shown.into(),
                side.stamp.map(|stamp| stamp.to_string()).into(),
            ]);
        }
        row.push(difference.verdict.map(Status::word).into());
        row.push(difference.reason.as_str().into());
        list.push(row);
    }
    list
}

/// What the systems show otherwise than the store believes.
pub fn drift(parity: &Parity) -> List {
    let mut list = List::new(&[
        "system", "contact", "subject", "purpose", "what", "found", "stored", "wanted",
    ]);
    for drift in &parity.drift {
        list.push(vec![
            drift.system.as_str().into(),
            drift.contact.as_str().into(),
            drift.subject.as_str().into(),
            drift.purpose.clone().into(),
            drift.what.into(),
            drift.found.into(),
            drift.stored.into(),
            drift.wanted.into(),
        ]);
    }
    list
}

/// How many contacts are at odds with themselves, by how.
pub fn inconsistent(parity: &Parity) -> List {
    let mut list = List::new(&["inconsistency", "contacts"]);
    for class in Class::ALL {
        let contacts = parity.inconsistent.get(&class).copied().unwrap_or_default();
        list.push(vec![class.words().into(), count(contacts)]);
    }
    list
}

/// The contacts that are at odds with themselves.
pub fn inconsistencies(parity: &Parity) -> List {
    let mut list = List::new(&[
        "inconsistency",
        "system",
        "contact",
        "subject",
        "purpose",
        "since",
        "categories",
        "decided",
    ]);
    for found in &parity.inconsistencies {
        let categories = found.categories.iter().map(|(name, stamp)| match stamp {
            Some(stamp) => format!("{name} ({stamp})"),
            None => name.clone(),
        });
        let categories: Vec<String> = categories.collect();
        list.push(vec![
            found.class.words().into(),
            found.system.as_str().into(),
            found.contact.as_str().into(),
            found.subject.as_str().into(),
            found.parent.as_str().into(),
            found.parent_stamp.map(|stamp| stamp.to_string()).into(),
            categories.join(", ").into(),
            found.decided.as_str().into(),
        ]);
    }
    list
}

fn count(number: u64) -> Cell {
    number.cast_signed().into()
}
