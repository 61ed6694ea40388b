//! Writing consent: one new record per address and purpose, nothing else (R38).
//!
//! The account keeps a log, so a write adds to it; what shows already is never added again. The
//! account stamps each record with its own clock, so a record of ours looks newer than what it
//! copies: its comment tells whose it is (R15).

use super::access::{Access, Present};
use super::config::References;
use super::look_up;
use super::map::{self, OWN_COMMENT, Record};
use super::master::{Item, Master, Meaning};
use super::wire::node::Pointer;
use crate::connector::{Fault, FaultClass, Outcome, WriteRequest};
use crate::consent::{At, Basis, PurposeId, Shown, Status};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A look that is no older than this is not taken again before a write.
const FRESH: Duration = Duration::from_secs(10);

/// What the last look before a write found. Can be lost at any time.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<String, (Present, Instant)>>);

impl Looks {
    /// Keeps what was found of these contacts, and forgets all before.
    pub fn keep(&self, found: impl Iterator<Item = (String, Present)>) {
        let now = Instant::now();
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *looks = found
            .map(|(contact, present)| (contact, (present, now)))
            .collect();
    }

    /// What was found of a contact a moment ago. It is given out once.
    fn take(&self, contact: &str) -> Option<Present> {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (present, at) = looks.remove(contact)?;
        (at.elapsed() < FRESH).then_some(present)
    }
}

/// Writes: what became of each, in order.
///
/// # Errors
/// Only when nothing was sent.
pub async fn write(
    access: &Access,
    looks: &Looks,
    writes: &[WriteRequest],
) -> Result<Vec<Outcome>, Fault> {
    let master = access.master().await?;
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(writes.len());
    let at_once = access.settings().limits.max_concurrent.max(1);
    let mut stopped: Option<Fault> = None;
    for chunk in writes.chunks(at_once) {
        if let Some(fault) = &stopped {
            outcomes.extend(chunk.iter().map(|_| Outcome::Failed(fault.clone())));
            continue;
        }
        let sent: Vec<_> = chunk
            .iter()
            .map(|write| one(access, &master, looks, write))
            .collect();
        outcomes.extend(futures::future::join_all(sent).await);
        stopped = outcomes.iter().find_map(of_the_whole_system);
    }
    let untouched = |outcome: &Outcome| matches!(outcome, Outcome::Failed(fault) if of_the_whole_system(outcome).is_some() && !fault.maybe_sent);
    match stopped {
        Some(fault) if outcomes.iter().all(untouched) => Err(fault),
        _ => Ok(outcomes),
    }
}

/// A failure that the next write would share.
fn of_the_whole_system(outcome: &Outcome) -> Option<Fault> {
    match outcome {
        Outcome::Failed(fault) => match fault.class {
            FaultClass::Auth | FaultClass::RateLimited => Some(fault.clone()),
            FaultClass::Retryable if !fault.maybe_sent => Some(fault.clone()),
            FaultClass::Retryable | FaultClass::Rejected | FaultClass::ContractBroken => None,
        },
        Outcome::Applied | Outcome::Unknown(_) | Outcome::HandedOver { .. } => None,
    }
}

async fn one(access: &Access, master: &Master, looks: &Looks, write: &WriteRequest) -> Outcome {
    let prepared = prepare(access, looks, write).await;
    let present = match prepared {
        Ok(present) => present,
        // Nothing of it was sent; a look changes nothing.
        Err(mut fault) => {
            fault.maybe_sent = false;
            return Outcome::Failed(fault);
        }
    };
    for (purpose, shown) in &write.changes {
        match append(access, master, write, &present, *purpose, shown).await {
            Ok(()) => {}
            Err(fault) if fault.maybe_sent => return Outcome::Unknown(fault),
            Err(fault) => return Outcome::Failed(fault),
        }
    }
    Outcome::Applied
}

/// Whether the contact can be written to, and what it shows.
async fn prepare(access: &Access, looks: &Looks, write: &WriteRequest) -> Result<Present, Fault> {
    let target = &write.target;
    let refused = |code: &str, what: &str| Fault::new(FaultClass::Rejected, code, what);
    if target.address.is_none() {
        return Err(refused(
            "no-address",
            "consent is held by address here, and the address of this contact is not known",
        ));
    }
    let Some(address) = look_up::address_of(access, target) else {
        return Err(refused(
            "other-address",
            "the contact's id stands for another address; it was made with another hash_key",
        ));
    };
    if !access.can_hold(address.as_str()) {
        return Err(refused(
            "address-refused",
            "eMarketeer takes simple addresses only, of at most 500 characters; this one has others",
        ));
    }
    let present = match looks.take(&target.contact) {
        Some(present) => present,
        None => access.present(&address).await?,
    };
    if present.people.is_empty() {
        // R7: consent of nobody is not written.
        access.doubt([target.contact.clone()]);
        return Err(refused("gone", "no contact has this address any more"));
    }
    Ok(present)
}

/// Adds a record unless the newest one says the same, and reads it back.
async fn append(
    access: &Access,
    master: &Master,
    write: &WriteRequest,
    present: &Present,
    purpose: PurposeId,
    shown: &Shown,
) -> Result<(), Fault> {
    let newest = map::newest(&present.records);
    let now = newest.get(&purpose).map(|record| &record.shown);
    let Some(wanted) = wanted(shown, now)? else {
        return Ok(());
    };
    let spelled = present.spelled().unwrap_or_default();
    let body = body(access, master, write, purpose, &wanted, spelled)?;
    let before = newest.get(&purpose).map(|record| record.order());
    let sent = access.account.create(&body).await;
    let unknown = match sent {
        Ok(_) => None,
        Err(fault) if fault.maybe_sent => Some(fault),
        Err(fault) => return Err(fault),
    };
    let wanted = shown_as(&wanted);
    match read_back(access, spelled, &write.target.contact, purpose, &wanted, before).await {
        Ok(Some(at)) => {
            if let Some(at) = at {
                access.reader.echoes().remember(&write.target.contact, purpose, at);
            }
            Ok(())
        }
        Ok(None) => Err(unknown.unwrap_or_else(|| {
            let message = "consent-create: the record was accepted but does not show yet, or was overtaken; it is looked at again";
            Fault::new(FaultClass::Retryable, "not-shown", message).maybe_sent()
        })),
        Err(fault) => Err(unknown.unwrap_or(fault).maybe_sent()),
    }
}

/// What a record has to say so that the value shows; `None` when it shows already.
fn wanted(shown: &Shown, now: Option<&Shown>) -> Result<Option<Meaning>, Fault> {
    let Shown::Record { status, basis } = shown else {
        return Err(Fault::new(
            FaultClass::Rejected,
            "no-record",
            "a flag cannot be written where consent is recorded",
        ));
    };
    let is =
        |status: Status| matches!(now, Some(Shown::Record { status: is, .. }) if *is == status);
    Ok(match (status, basis) {
        (Status::Withdrawn, _) if is(Status::Withdrawn) => None,
        (Status::Withdrawn, _) => Some(Meaning::Withdrawn),
        // None never overwrites a value (R21).
        (Status::Granted, None) if is(Status::Granted) => None,
        (Status::Granted, None) => {
            return Err(Fault::new(
                FaultClass::Rejected,
                "no-basis",
                "a grant needs a legal basis where consent is recorded",
            ));
        }
        (Status::Granted, Some(_)) if now == Some(shown) => None,
        (Status::Granted, Some(basis)) => Some(Meaning::Granted(basis.clone())),
    })
}

fn shown_as(meaning: &Meaning) -> Shown {
    match meaning {
        Meaning::Withdrawn => Shown::Record {
            status: Status::Withdrawn,
            basis: None,
        },
        Meaning::Nothing => Shown::Default,
        Meaning::Granted(basis) => Shown::Record {
            status: Status::Granted,
            basis: Some(basis.clone()),
        },
    }
}

/// The record as it is sent.
fn body(
    access: &Access,
    master: &Master,
    write: &WriteRequest,
    purpose: PurposeId,
    meaning: &Meaning,
    spelled: &str,
) -> Result<Value, Fault> {
    let shape = &access.settings().consent.body;
    let refused = |code: &str, what: String| Fault::new(FaultClass::Rejected, code, what);
    let purpose = master.purpose_item(purpose).ok_or_else(|| {
        refused(
            "no-purpose",
            "the purpose is not mapped in this system".to_owned(),
        )
    })?;
    let basis = master.basis_item(meaning).ok_or_else(|| {
        let word = match meaning {
            Meaning::Granted(basis @ Basis::Other(_)) => format!("{:?}", basis.word()),
            Meaning::Granted(basis) => basis.word().to_owned(),
            Meaning::Withdrawn | Meaning::Nothing => "withdrawn".to_owned(),
        };
        let keys = access.account.key("legal_bases");
        refused(
            "no-legal-basis",
            format!("the account has no legal basis for {word}; set {keys}"),
        )
    })?;
    let reference = |item: &Item| match shape.references {
        References::Id => item.wire_id(),
        References::Name => item.name.clone().into(),
    };
    let comment = format!(
        "{OWN_COMMENT}said in {} at {}",
        write.said_in, write.said_at
    );
    let mut parts: Vec<(&Pointer, Value)> = vec![
        (&shape.key, spelled.into()),
        (&shape.purpose, reference(purpose)),
        (&shape.legal_basis, reference(basis)),
        (&shape.comment, comment.into()),
    ];
    if let Some(source) = master.own_source() {
        parts.push((&shape.source, reference(source)));
    }
    let mut body = Value::Object(serde_json::Map::new());
    for (place, value) in parts {
        place.set(&mut body, value);
    }
    Ok(body)
}

/// Looks whether a record shows that was not there before: its time, if the account tells it.
async fn read_back(
    access: &Access,
    spelled: &str,
    contact: &str,
    purpose: PurposeId,
    wanted: &Shown,
    before: Option<(Option<At>, Option<u64>)>,
) -> Result<Option<Option<At>>, Fault> {
    let rows = access.account.consents_of(spelled).await?.rows;
    let mut records: Vec<Record> = access.records(&rows).await?.records;
    records.retain(|record| record.contact == contact);
    let found = map::newest(&records)
        .remove(&purpose)
        .filter(|record| record.shown == *wanted);
    // Before it showed another value, so the same one now is ours, unless it is older than that.
    Ok(found
        .filter(|record| before.is_none_or(|before| record.order() >= before))
        .map(|record| record.at))
}
