//! A person as the gate knows them: what they are called there, whether they want mail, and which
//! requests are open.

use super::Terms;
use crate::config::SubscriberKey;
use crate::consent::{At, Rules, Status};
use crate::store::{ContactRow, Known, LIVE, RequestRow, SubjectRef, SubjectRow};
use crate::sync::pack::{PackError, PackedVerdict, unpack_verdicts};
use serde_json::json;
use std::collections::{BTreeSet, HashSet};

/// A subscriber key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// As the gate is asked for it.
    pub(super) asked: String,
    /// As it is stored: empty where the address is the key.
    pub(super) stored: String,
}

/// One person.
#[derive(Debug)]
pub(super) struct Person {
    /// Subject number.
    pub(super) id: i64,
    /// Keyed hash.
    pub(super) subject: SubjectRef,
    /// The earliest instant of the grant behind the verdict; none when nothing is granted.
    pub(super) granted_since: Option<At>,
    /// Packed evidence of that grant.
    pub(super) evidence: String,
    /// What the person is called in the gate.
    pub(super) keys: Vec<Key>,
    /// Open requests.
    pub(super) open: Vec<RequestRow>,
}

impl Person {
    /// A stored subscriber key as the gate is asked for it.
    pub(super) fn asked_as<'a>(&'a self, stored: &'a str) -> &'a str {
        let mut keys = self.keys.iter();
        keys.find(|key| key.stored == stored)
            .map_or(stored, |key| &key.asked)
    }

    /// The inverse of [`Person::asked_as`].
    pub(super) fn stored_as<'a>(&'a self, asked: &'a str) -> &'a str {
        let mut keys = self.keys.iter();
        keys.find(|key| key.asked == asked)
            .map_or(asked, |key| &key.stored)
    }
}

/// Those of these subjects that are known.
///
/// # Errors
/// When a stored verdict cannot be read back.
pub(super) fn people(
    known: &Known,
    subjects: &[SubjectRef],
    rules: &Rules,
    terms: &Terms,
) -> Result<Vec<Person>, PackError> {
    let wanted: HashSet<SubjectRef> = subjects.iter().copied().collect();
    let name = rules.purposes.name(terms.purpose);
    let mut people = Vec::with_capacity(subjects.len());
    for row in known
        .subjects
        .iter()
        .filter(|row| wanted.contains(&row.subject))
    {
        let verdicts = unpack_verdicts(&row.verdicts)?;
        let granted = verdicts
            .iter()
            .find(|verdict| verdict.purpose == name && verdict.status() == Status::Granted);
        let contacts = known.contacts.iter().filter(|contact| {
            contact.subject == Some(row.id)
                && contact.life == LIVE
                && contact.system == terms.system.0
        });
        let keys: BTreeSet<Key> = contacts
            .filter_map(|contact| key(contact, row, terms.key))
            .collect();
        let open = known.requests.iter().filter(|open| open.subject == row.id);
        people.push(Person {
            id: row.id,
            subject: row.subject,
            granted_since: granted.map(|verdict| verdict.statement().stamp.earliest()),
            evidence: granted.map(evidence).unwrap_or_default(),
            keys: keys.into_iter().collect(),
            open: open.cloned().collect(),
        });
    }
    Ok(people)
}

/// What a contact's person is called in the gate.
fn key(contact: &ContactRow, subject: &SubjectRow, by: SubscriberKey) -> Option<Key> {
    let address = Some(subject.address.as_str());
    let asked = by.of(&contact.external, contact.link.as_deref(), address)?;
    let stored = match by {
        SubscriberKey::ContactId | SubscriberKey::Link => asked.clone(),
        SubscriberKey::Address => String::new(),
    };
    Some(Key { asked, stored })
}

/// Where, when and by whom a grant was given, for whoever has to decide.
fn evidence(verdict: &PackedVerdict<'_>) -> String {
    let statement = verdict.statement();
    json!({
        "system": verdict.system,
        "contact": verdict.contact,
        "evidence": statement.evidence.word(),
        "actor": statement.actor,
        "from": statement.stamp.earliest().to_string(),
        "to": statement.stamp.latest().to_string(),
    })
    .to_string()
}
