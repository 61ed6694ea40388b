//! What has been kept for as long as it is to be kept is removed (R57): rows of tables, and entries of
//! the ledger, which are forgotten without breaking its chain. That is itself in the ledger.
//!
//! Once a day, in bounded steps, each one transaction with its entry; between two steps others get as much
//! time as one took. Suppressions, what operators stated, and the entries on erasure and expiry are kept
//! for ever. A contact that is gone leaves its withdrawals behind (R14).

use super::engine::Shared;
use super::ledger::EXPIRED;
use super::pack::Packer;
use super::workbench::{FLIP_WINDOW, Workbench, transact};
use crate::config::Retention;
use crate::consent::{At, SystemId};
use crate::store::ledger::redact;
use crate::store::{
    Applied, Changes, Expiring, ExpiringKey, Known, LedgerDraft, LedgerRow, PrivacyChanges, Scope,
    StoreError,
};
use serde_json::json;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Rows of one step.
const ROWS_AT_ONCE: usize = 1_000;
/// Blocks of the ledger of one step.
const BLOCKS_AT_ONCE: usize = 50;
/// Time from the start of the daemon, or from a failure, to the next run.
const DELAY: Duration = Duration::from_mins(10);
/// Time between two runs.
const INTERVAL: Duration = Duration::from_hours(24);
/// The longest pause between two steps.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Entries of the ledger that are kept for the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What contacts showed.
    Observed,
    /// Verdicts.
    Verdict,
    /// Writes and what became of them.
    Writes,
    /// What operators and the configuration did.
    Operator,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Observed, Self::Verdict, Self::Writes, Self::Operator];

    /// The word used in the configuration and in the ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Verdict => "verdict",
            Self::Writes => "writes",
            Self::Operator => "operator",
        }
    }

    /// The class of an entry of that kind; none for what is kept for ever.
    pub fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "observed" => Self::Observed,
            "verdict" => Self::Verdict,
            "planned" | "held" | "waits" | "lapsed" | "hold" | "released" | "written"
            | "refused" | "handed-over" | "attempt" => Self::Writes,
            "operator" | "switched" | "resubscribe" => Self::Operator,
            _ => return None,
        })
    }

    const fn kept(self, retention: &Retention) -> Option<Duration> {
        match self {
            Self::Observed => retention.observed,
            Self::Verdict => retention.verdict,
            Self::Writes => retention.writes,
            Self::Operator => retention.operator,
        }
    }
}

const fn kept(table: Expiring, retention: &Retention) -> Option<Duration> {
    match table {
        Expiring::Flips => retention.flips,
        Expiring::LoadMembers => retention.load_members,
        Expiring::Quarantine => retention.quarantine,
        Expiring::ClosedRequests => retention.closed_requests,
        Expiring::DeletedContacts => retention.deleted_contacts,
    }
}

/// What a run removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Rows of tables.
    pub rows: u64,
    /// Entries of the ledger.
    pub entries: u64,
}

/// Runs once a day until told to stop.
pub async fn run(shared: &Shared, retention: &Retention, stop: &CancellationToken) {
    let mut pause = DELAY;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = match remove(shared, retention, stop).await {
            Ok(removed) => {
                let Removed { rows, entries } = removed;
                if removed != Removed::default() {
                    tracing::info!(
                        rows,
                        entries,
                        "{rows} rows and {entries} ledger entries have expired"
                    );
                }
                INTERVAL
            }
            Err(error) => {
                tracing::error!(%error, "what has expired cannot be removed yet: {error}");
                DELAY
            }
        };
    }
}

/// Removes what has expired by now. It ends early when told to stop.
///
/// # Errors
/// When the store fails. What was removed stays removed.
pub async fn remove(
    shared: &Shared,
    retention: &Retention,
    stop: &CancellationToken,
) -> Result<Removed, StoreError> {
    let now = shared.clock.now();
    let before = |kept: Duration| now.minus(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
    let mut removed = Removed::default();
    for table in Expiring::ALL {
        let Some(kept) = kept(table, retention) else {
            continue;
        };
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let rows = rows(shared, table, before(kept)).await?;
            removed.rows += rows;
            if rows == 0 {
                break;
            }
            rest(begun, stop).await;
        }
    }
    for class in Class::ALL {
        let Some(kept) = class.kept(retention) else {
            continue;
        };
        while !stop.is_cancelled() {
            let begun = Instant::now();
            let Some(entries) = entries(shared, class, before(kept)).await? else {
                break;
            };
            removed.entries += entries;
            rest(begun, stop).await;
        }
    }
    Ok(removed)
}

async fn rest(begun: Instant, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(begun.elapsed().min(LONGEST_PAUSE)) => {}
    }
}

fn expired(shared: &Shared, class: &str, before: At, count: u64, forgotten: u64) -> LedgerDraft {
    let body = json!({
        "class": class,
        "before": before.to_string(),
        "count": count,
        "forgotten": forgotten,
    });
    LedgerDraft {
        kind: EXPIRED,
        subject: None,
        system: None,
        at: shared.clock.now().micros(),
        body: body.to_string(),
    }
}

/// One step with a table. How many rows it removed.
async fn rows(shared: &Shared, table: Expiring, before: At) -> Result<u64, StoreError> {
    let keys = shared.store.expiring(table, before, ROWS_AT_ONCE).await?;
    if keys.is_empty() {
        return Ok(0);
    }
    if table == Expiring::DeletedContacts {
        return contacts(shared, before, keys).await;
    }
    let count = keys.len() as u64;
    let changes = Changes {
        ledger: vec![expired(shared, table.word(), before, count, 0)],
        privacy: PrivacyChanges {
            dropped: Some((table, keys)),
            ..PrivacyChanges::default()
        },
        ..Changes::default()
    };
    let decide = &mut |_: Known| changes.clone();
    shared.store.transact(&Scope::default(), decide).await?;
    Ok(count)
}

/// One step with contacts that are gone: their withdrawals move to their subjects before their rows go.
async fn contacts(shared: &Shared, before: At, keys: Vec<ExpiringKey>) -> Result<u64, StoreError> {
    let frame = shared.frame(false);
    let packer = Packer::new(&shared.rules);
    let keys: Vec<(i16, String)> = keys
        .into_iter()
        .filter_map(|(system, external)| Some((i16::try_from(system).ok()?, external)))
        .collect();
    let scope = Scope {
        contacts: keys.clone(),
        load_contacts_up_to: i64::from(shared.rules.policy.load_contacts),
        flips_since: Some(frame.now.minus(FLIP_WINDOW).micros()),
        ..Scope::default()
    };
    let buried: Mutex<Vec<ExpiringKey>> = Mutex::default();
    let act = |bench: &mut Workbench<'_>| {
        let mut gone = Vec::new();
        for (system, external) in &keys {
            if bench.bury(SystemId(*system), external)? {
                gone.push((i64::from(*system), external.clone()));
            }
        }
        *buried.lock().unwrap_or_else(PoisonError::into_inner) = gone;
        Ok(())
    };
    let complete = |changes: &mut Changes| {
        let gone = buried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (word, count) = (Expiring::DeletedContacts.word(), gone.len() as u64);
        if count > 0 {
            changes.ledger.push(expired(shared, word, before, count, 0));
            changes.privacy.dropped = Some((Expiring::DeletedContacts, gone));
        }
    };
    transact(&*shared.store, scope, frame, &packer, act, complete).await?;
    let gone = buried.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(gone.len() as u64)
}

/// One step with a class of the ledger's entries: how many were forgotten; none when nothing older is
/// left.
async fn entries(shared: &Shared, class: Class, before: At) -> Result<Option<u64>, StoreError> {
    let store = &*shared.store;
    let through = store.expired_through(class.word()).await?;
    let mut blocks = store.ledger_blocks(through, BLOCKS_AT_ONCE).await?;
    let older = |at: i64| at < before.micros();
    let end = blocks.iter().position(|stored| !older(stored.block.at));
    blocks.truncate(end.unwrap_or(blocks.len()));
    let Some(last) = blocks.last().map(|stored| stored.block.last) else {
        return Ok(None);
    };
    let mut redacted = Vec::new();
    for stored in &blocks {
        let forget = &mut |_: Option<i64>, entry: &LedgerRow| {
            older(entry.at) && Class::of(&entry.kind) == Some(class)
        };
        let block = redact(stored.block.first, &stored.entries, forget);
        let block = block.map_err(|error| StoreError::Corrupt {
            what: "the ledger",
            detail: format!("block {}: {error}", stored.block.last),
        })?;
        redacted.extend(block.map(|block| (stored.block.last, block)));
    }
    let forgotten: u64 = redacted.iter().map(|(_, block)| block.forgotten).sum();
    let mut changes = Changes::default();
    if forgotten > 0 {
        let draft = expired(shared, class.word(), before, forgotten, forgotten);
        changes.ledger.push(draft);
    }
    changes.privacy.redacted = redacted;
    changes.privacy.expired = Some((class.word().to_owned(), last));
    let decide = &mut |_: Known| changes.clone();
    match store.transact(&Scope::default(), decide).await? {
        Applied::Stored { .. } => Ok(Some(forgotten)),
        // Somebody else forgot something in the same block; it is read anew.
        Applied::Overtaken => Ok(Some(0)),
    }
}
