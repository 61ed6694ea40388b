//! Contacts looked up beside the feed: for a check before mail is sent (R41), and because somebody
//! said that they changed. What is found is taken in like a page, but no cursor moves.

use super::engine::{Event, Member, SyncError};
use super::ingest::{Arrivals, Origin, ingest_found};
use super::pack::Packer;
use crate::connector::{Fault, FaultClass, Found, Wanted};
use crate::consent::SystemRules;
use crate::store::Applied;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Hints that are kept at most. Those beyond are dropped: the poll that every hint starts finds the
/// changes anyway.
const MOST_HINTS: usize = 1_000;

/// Contacts that somebody says have changed, each once.
#[derive(Debug, Default)]
pub struct Hints(Mutex<BTreeSet<String>>);

impl Hints {
    /// Keeps a hint, unless there are too many.
    pub fn add(&self, contact: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_HINTS {
            kept.insert(contact);
        }
    }

    /// Takes all of them.
    pub fn take(&self) -> Vec<String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *kept).into_iter().collect()
    }
}

/// Looks contacts up and stores what they show now: at most as many addresses and contacts as the
/// system takes at once.
///
/// # Errors
/// When the system is paused, or the call or the store fails; nothing is stored then.
pub async fn refresh(
    member: &Member,
    rules: &SystemRules,
    wanted: &Wanted,
) -> Result<Found, SyncError> {
    let shared = &member.shared;
    let asked_at = shared.store.sequence();
    let feed = shared.store.feed(member.id.0).await?;
    if feed.paused {
        let fault = Fault::new(
            FaultClass::Rejected,
            "paused",
            "the system is paused by an operator; nothing is asked of it",
        );
        return Err(fault.into());
    }
    let found = member.connector.look_up(wanted).await?;
    let origin = Origin {
        system: rules,
        feed: &feed,
        asked_at_sequence: asked_at,
        future_tolerance: shared.future_tolerance,
        may_heal: feed.loaded,
    };
    let arrivals = Arrivals::found(found.clone(), &shared.pseudonyms);
    let packer = Packer::new(&shared.rules);
    let applied = ingest_found(
        &*shared.store,
        &packer,
        shared.frame(false),
        origin,
        &arrivals,
    )
    .await?;
    if let Applied::Stored { rows } = applied {
        member.tell(Event::Stored {
            contacts: found.readings.len(),
            poison: found.poison.len(),
            rows,
        });
        if rows > 0 {
            shared.wake_all_emitters();
        }
    }
    Ok(found)
}

/// Looks up what was hinted at since the last time.
///
/// # Errors
/// As [`refresh`]. The hints are gone then; the feed tells of the changes later.
pub async fn follow_hints(member: &Member, rules: &SystemRules) -> Result<(), SyncError> {
    let hints = member.hints.take();
    if hints.is_empty() {
        return Ok(());
    }
    let contacts: Vec<&str> = hints.iter().map(String::as_str).collect();
    let targets = member.targets(&contacts).await?;
    for chunk in targets.chunks(member.connector.batching().look_up.max(1)) {
        let wanted = Wanted {
            addresses: Vec::new(),
            contacts: chunk.to_vec(),
        };
        refresh(member, rules, &wanted).await?;
    }
    Ok(())
}
