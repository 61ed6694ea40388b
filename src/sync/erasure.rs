//! Erasure of a person (R55): address, contacts, writes, requests and everything else that names them go
//! in one transaction, and a keyed hash with purpose and date stays, so that whoever is imported again
//! under that address starts withdrawn (G8).
//!
//! An erasure is by address. It takes the contacts that belong to the address, and the addresses that
//! only they have (R58). Where one of these contacts belonged to somebody else before, what it withdrew
//! there stays withdrawn, without its id (R14). The entries of the ledger that name any of them are
//! forgotten; the chain still proves the others (R52).

use super::identity::Pseudonyms;
use super::ledger::ERASED;
use super::pack::Packer;
use super::switches::Operator;
use super::workbench::{FLIP_WINDOW, Frame, Workbench, transact};
use crate::consent::{SubjectKey, SystemId};
use crate::store::ledger::{self, Redacted};
use crate::store::{
    Applied, Changes, ContactRow, Erased, LIVE, LedgerDraft, LedgerRow, PrivacyChanges, Residue,
    Scope, Store, StoreError, SubjectRef, SuppressionRow, TraceQuery, Traces,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Blocks of the ledger that are gone through at once.
const BLOCKS_AT_ONCE: usize = 200;
/// How often an erasure is begun again because something was stored meanwhile.
const MAX_TRIES: u32 = 200;
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(20);
/// An id of fewer characters is looked for only where it stands beside its system: it may be part of
/// anything.
const TELLING: usize = 8;

/// What an erasure works on.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The state store.
    pub store: &'a dyn Store,
    /// Keyed hashes.
    pub pseudonyms: &'a Pseudonyms,
    /// Rules, keys and clock.
    pub frame: Frame<'a>,
}

/// Why an erasure was refused; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Contacts of the address are still in systems, by name and number: they would be read again.
    #[error(
        "{} still in {}; delete them there first, or have them start withdrawn when they are read again",
        contacts(.0), systems(.0)
    )]
    Remaining(Vec<(String, i64)>),
    /// The words for the ledger would keep what is to be erased.
    #[error("the reason or the operator's name holds the address, and both stay in the ledger")]
    NamesAddress,
    /// Others stored something each time.
    #[error("the store changes faster than it can be searched; try again when less is read")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn contacts(remaining: &[(String, i64)]) -> String {
    match remaining.iter().map(|(_, count)| count).sum() {
        1 => "1 contact of the address is".to_owned(),
        many => format!("{many} contacts of the address are"),
    }
}

fn systems(remaining: &[(String, i64)]) -> String {
    let each: Vec<String> = remaining
        .iter()
        .map(|(system, count)| format!("{system} ({count})"))
        .collect();
    each.join(", ")
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Somebody was known by the address. A stranger is suppressed all the same.
    pub was_known: bool,
    /// Contacts that were removed.
    pub contacts: u64,
    /// Those of them that are live in their systems, by name and number.
    pub remaining: Vec<(String, i64)>,
    /// Entries of the ledger that were forgotten.
    pub forgotten: u64,
    /// What is left in the database's files.
    pub residue: Residue,
}

/// Erases whoever is known by an address, and suppresses it. Contacts that are live in their systems
/// stand in the way, unless `even_so`.
///
/// # Errors
/// When it is refused or the store fails; nothing is changed then, save where only the search of the
/// database's files failed.
pub async fn erase(
    ground: Ground<'_>,
    address: &SubjectKey,
    by: &Operator,
    even_so: bool,
) -> Result<Report, EraseError> {
    let names = |text: &str| text.to_lowercase().contains(address.as_str());
    if names(by.reason()) || names(by.name()) {
        return Err(EraseError::NamesAddress);
    }
    let mut found = Search::default();
    for _ in 0..MAX_TRIES {
        let person = Person::find(ground, address).await?;
        let remaining = person.remaining(ground.frame);
        if !remaining.is_empty() && !even_so {
            return Err(EraseError::Remaining(remaining));
        }
        let traces = ground.store.traces(&person.query()).await?;
        found.search(ground.store, &person).await?;
        if remove(ground, &person, traces, &found, by).await? {
            let residue = ground.store.scrub(&person.texts()).await?;
            return Ok(Report {
                was_known: !person.subjects.is_empty(),
                contacts: person.contacts.len() as u64,
                remaining,
                forgotten: found.forgotten(),
                residue,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(EraseError::Busy)
}

/// Whoever is known by the address.
struct Person {
    address: SubjectKey,
    subject: SubjectRef,
    /// Numbers and keyed hashes, with the addresses; nobody when there are none.
    subjects: Vec<(i64, SubjectRef, SubjectKey)>,
    contacts: Vec<ContactRow>,
    /// Names of the systems, beside which an id of any length is found.
    systems: BTreeMap<i16, String>,
    /// The ledger's next entry when this was read.
    next_sequence: i64,
}

impl Person {
    async fn find(ground: Ground<'_>, address: &SubjectKey) -> Result<Self, StoreError> {
        let subject = ground.pseudonyms.of(address);
        let scope = Scope {
            subjects: vec![subject],
            ..Scope::default()
        };
        let known = ground.store.known(&scope).await?;
        let home = known.subjects.iter().find(|row| row.subject == subject);
        let home = home.map(|row| row.id);
        let (contacts, others): (Vec<ContactRow>, Vec<ContactRow>) = known
            .contacts
            .into_iter()
            .partition(|contact| home.is_some() && contact.subject == home);
        let own: BTreeSet<i64> = contacts.iter().filter_map(|row| row.own_subject).collect();
        let mut subjects = Vec::new();
        for row in known.subjects {
            let mut is_other = others.iter();
            let is_other = is_other.any(|other| other.subject == Some(row.id));
            let is_own = own.contains(&row.id) && !is_other;
            // An address that others have too stays theirs.
            if Some(row.id) == home || is_own && Self::is_alone(ground, row.subject).await? {
                let key = SubjectKey::from_normalised(row.address);
                subjects.push((row.id, row.subject, key));
            }
        }
        let rules = ground.frame.rules;
        Ok(Self {
            address: address.clone(),
            subject,
            subjects,
            contacts,
            systems: rules
                .systems
                .iter()
                .map(|system| (system.id.0, system.name.clone()))
                .collect(),
            next_sequence: known.next_sequence,
        })
    }

    /// Whether no contact belongs to that subject.
    async fn is_alone(ground: Ground<'_>, subject: SubjectRef) -> Result<bool, StoreError> {
        let scope = Scope {
            subjects: vec![subject],
            ..Scope::default()
        };
        let known = ground.store.known(&scope).await?;
        let row = known.subjects.iter().find(|row| row.subject == subject);
        let id = row.map(|row| row.id);
        Ok(known.contacts.iter().all(|contact| contact.subject != id))
    }

    fn query(&self) -> TraceQuery {
        let subjects = self.subjects.iter();
        let mut query = TraceQuery {
            subjects: subjects.clone().map(|(_, subject, _)| *subject).collect(),
            addresses: subjects
                .map(|(_, _, key)| key.as_str().to_owned())
                .collect(),
            contacts: self.keys(),
        };
        if self.subjects.is_empty() {
            query.subjects.push(self.subject);
            query.addresses.push(self.address.as_str().to_owned());
        }
        query
    }

    fn keys(&self) -> Vec<(i16, String)> {
        let contacts = self.contacts.iter();
        contacts
            .map(|contact| (contact.system, contact.external.clone()))
            .collect()
    }

    /// Live contacts by system.
    fn remaining(&self, frame: Frame<'_>) -> Vec<(String, i64)> {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for contact in self.contacts.iter().filter(|contact| contact.life == LIVE) {
            let name = frame.rules.system_name(SystemId(contact.system));
            *counts.entry(name).or_default() += 1;
        }
        let counts = counts.into_iter();
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    /// What must not be left in any file.
    fn texts(&self) -> Vec<String> {
        let query = self.query();
        let ids = query.contacts.into_iter().map(|(_, external)| external);
        let telling = ids.filter(|id| id.chars().count() > TELLING);
        query.addresses.into_iter().chain(telling).collect()
    }

    /// Whether an entry of the ledger says anything of the person.
    fn is_named_in(&self, subject: Option<i64>, entry: &LedgerRow) -> bool {
        if entry.kind == ERASED {
            return false;
        }
        let mut subjects = self.subjects.iter();
        if subjects.any(|(id, hash, key)| {
            subject == Some(*id)
                || entry.body.contains(&hash.to_string())
                || entry.body.contains(key.as_str())
        }) {
            return true;
        }
        self.contacts.iter().any(|contact| {
            // Most entries need not be parsed.
            let id = contact.external.as_str();
            entry.body.contains(id)
                && serde_json::from_str(&entry.body).is_ok_and(|body: Value| {
                    let system = self.systems.get(&contact.system).map(String::as_str);
                    let beside =
                        entry.system == Some(contact.system) || id.chars().count() > TELLING;
                    names(&body, id, system, beside)
                })
        })
    }
}

/// Whether a value holds that id as a text of its own, beside the name of its system unless it tells
/// enough by itself. Packed values are looked into.
fn names(value: &Value, id: &str, system: Option<&str>, beside: bool) -> bool {
    let is = |value: &Value, text: &str| value.as_str() == Some(text);
    match value {
        Value::String(text) if text.starts_with(['{', '[']) => text.lines().any(|line| {
            serde_json::from_str(line).is_ok_and(|inner: Value| names(&inner, id, system, beside))
        }),
        Value::String(text) => beside && text == id,
        Value::Array(values) => {
            let beside = beside || system.is_some_and(|name| values.iter().any(|v| is(v, name)));
            values.iter().any(|value| names(value, id, system, beside))
        }
        Value::Object(values) => {
            let beside = beside || system.is_some_and(|name| values.values().any(|v| is(v, name)));
            values
                .values()
                .any(|value| names(value, id, system, beside))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The blocks of the ledger of which something is to be forgotten.
#[derive(Default)]
struct Search {
    /// For whom it was searched: subjects and contacts.
    whom: (Vec<i64>, Vec<(i16, String)>),
    /// Up to this block.
    through: i64,
    redacted: Vec<(i64, Redacted)>,
}

impl Search {
    /// Goes through what was appended since the last time; through everything when the person is
    /// another by now.
    async fn search(&mut self, store: &dyn Store, person: &Person) -> Result<(), StoreError> {
        let ids = person.subjects.iter().map(|(id, ..)| *id).collect();
        let whom = (ids, person.keys());
        if self.whom != whom {
            *self = Self {
                whom,
                ..Self::default()
            };
        }
        if person.subjects.is_empty() && person.contacts.is_empty() {
            self.through = person.next_sequence - 1;
            return Ok(());
        }
        loop {
            let blocks = store.ledger_blocks(self.through, BLOCKS_AT_ONCE).await?;
            for stored in &blocks {
                let forget = &mut |subject: Option<i64>, entry: &LedgerRow| {
                    person.is_named_in(subject, entry)
                };
                let redacted = ledger::redact(stored.block.first, &stored.entries, forget);
                let redacted = redacted.map_err(|error| StoreError::Corrupt {
                    what: "the ledger",
                    detail: format!("block {}: {error}", stored.block.last),
                })?;
                let last = stored.block.last;
                self.redacted
                    .extend(redacted.map(|redacted| (last, redacted)));
                self.through = last;
            }
            // A long ledger must not keep others waiting.
            tokio::task::yield_now().await;
            if blocks.len() < BLOCKS_AT_ONCE {
                return Ok(());
            }
        }
    }

    fn forgotten(&self) -> u64 {
        self.redacted.iter().map(|(_, block)| block.forgotten).sum()
    }
}

/// Removes the person, unless something was stored since they were found; whether it did.
async fn remove(
    ground: Ground<'_>,
    person: &Person,
    traces: Traces,
    found: &Search,
    by: &Operator,
) -> Result<bool, StoreError> {
    let frame = ground.frame;
    let packer = Packer::new(frame.rules);
    let scope = Scope {
        subjects: traces.remembering.clone(),
        flips_since: Some(frame.now.minus(FLIP_WINDOW).micros()),
        ..Scope::default()
    };
    let changes = changes(person, traces, found, frame, by);
    let keys = person.keys();
    // Nothing was stored since.
    let is_same = AtomicBool::new(false);
    let act = |bench: &mut Workbench<'_>| {
        let next = bench.next_sequence();
        let same = next == found.through + 1 && next == person.next_sequence;
        is_same.store(same, Ordering::Relaxed);
        if same {
            bench.forget_sources(&keys)
        } else {
            Ok(())
        }
    };
    let complete = |all: &mut Changes| {
        if is_same.load(Ordering::Relaxed) {
            all.healed.clone_from(&changes.healed);
            all.ledger.extend(changes.ledger.iter().cloned());
            all.privacy = changes.privacy.clone();
        }
    };
    let applied = transact(ground.store, scope, frame, &packer, act, complete).await?;
    Ok(applied != Applied::Overtaken && is_same.load(Ordering::Relaxed))
}

fn changes(
    person: &Person,
    traces: Traces,
    found: &Search,
    frame: Frame<'_>,
    by: &Operator,
) -> Changes {
    let mut counts: BTreeMap<i16, (i64, i64)> = BTreeMap::new();
    for contact in person
        .contacts
        .iter()
        .filter(|contact| contact.life == LIVE)
    {
        let (live, unmatched) = counts.entry(contact.system).or_default();
        *live -= 1;
        *unmatched -= i64::from(contact.subject.is_none());
    }
    let whom: BTreeSet<SubjectRef> = person.query().subjects.into_iter().collect();
    let left = |recipients: Vec<Option<SubjectRef>>| {
        let recipients = recipients.into_iter();
        recipients
            .map(|recipient| recipient.filter(|subject| !whom.contains(subject)))
            .collect()
    };
    let mut keys: Vec<&SubjectKey> = person.subjects.iter().map(|(_, _, key)| key).collect();
    if keys.is_empty() {
        keys.push(&person.address);
    }
    let (mut suppressed, mut unsuppressed): (Vec<SuppressionRow>, Vec<_>) = Default::default();
    for key in keys {
        suppressed.extend(frame.suppressor.rows(key, &frame.rules.purposes, frame.now));
        // What stands of an earlier erasure, under whichever key.
        unsuppressed.extend(frame.suppressor.digests(key));
    }
    let body = json!({
        "act": "erase",
        "operator": by.name(),
        "reason": by.reason(),
        "forgotten": found.forgotten(),
    });
    Changes {
        healed: traces.quarantined,
        ledger: vec![LedgerDraft {
            kind: ERASED,
            subject: None,
            system: None,
            at: frame.now.micros(),
            body: body.to_string(),
        }],
        privacy: PrivacyChanges {
            suppressed,
            unsuppressed,
            erased: Erased {
                subjects: person.subjects.iter().map(|(id, ..)| *id).collect(),
                contacts: person.keys(),
                counts: counts
                    .into_iter()
                    .map(|(system, (live, unmatched))| (system, live, unmatched))
                    .collect(),
                sendouts: traces
                    .sendouts
                    .into_iter()
                    .map(|(id, recipients)| (id, left(recipients)))
                    .collect(),
            },
            redacted: found.redacted.clone(),
            ..PrivacyChanges::default()
        },
        ..Changes::default()
    }
}
