//! The emitter of one system: hands pending writes to the connector and settles what came of them
//! (R31–R37).

use super::engine::{Event, Member, SyncError};
use super::pack::{Packer, Write};
use super::schedule::next_round;
use super::workbench::{Workbench, transact};
use crate::connector::{Current, Fault, FaultClass, Outcome, Target, WriteRequest, retry};
use crate::consent::plan::agrees;
use crate::consent::time::{HOUR, MINUTE, SECOND};
use crate::consent::{At, PurposeId, Shown};
use crate::store::{
    CLAIMED, Changes, Claim, DEAD, Known, LANE_WITHDRAWAL, OutboxRow, PENDING, Postponed, Scope,
    StoreError, WriteKey,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A row that fails so often becomes a dead letter until an operator re-drives it (R35).
pub const MAX_ATTEMPTS: i32 = 12;
/// A claim lapses after this; longer than any call may take, bulk jobs included.
const CLAIM: i64 = 2 * HOUR;
/// Without news the emitter looks for due writes at least this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// A write that waits for the feed to tell what changed meanwhile is looked at again after this.
const FEED_PAUSE: i64 = 2 * SECOND;
/// A withdrawal waits no longer than this for the feed; then it is written over what changed.
const FEED_PATIENCE: i64 = 10 * MINUTE;

/// Emits until told to stop.
pub async fn run(member: &Member, stop: &CancellationToken) {
    let mut last_round = member.shared.clock.now();
    loop {
        let pause = match round(member, stop, &mut last_round).await {
            Ok(pause) => pause,
            Err(error) => {
                let pause = member.failed(&error);
                if !member.pause(pause, stop).await {
                    return;
                }
                continue;
            }
        };
        if !member.rest(pause, &member.wake_emitter, stop).await {
            return;
        }
    }
}

/// Sends everything that is due, and gives the time until more may be.
async fn round(
    member: &Member,
    stop: &CancellationToken,
    last_round: &mut At,
) -> Result<Duration, SyncError> {
    let now = member.shared.clock.now();
    let until = |later: At| Duration::from_micros(later.since(now).max(0).unsigned_abs());
    // A system that was never read whole, or not since it was switched off, is not written to.
    if !member.shared.store.feed(member.id.0).await?.loaded {
        return Ok(LOOK_INTERVAL);
    }
    match next_round(&member.pace.schedule, *last_round, now) {
        Some(next) if next <= now => {}
        Some(next) => return Ok(until(next).min(LOOK_INTERVAL)),
        None => return Ok(LOOK_INTERVAL),
    }
    while !stop.is_cancelled() {
        if member.shared.store.feed(member.id.0).await?.paused {
            return Ok(LOOK_INTERVAL);
        }
        if let Some(open) = member.breaker.open_until(member.shared.clock.now()) {
            return Ok(until(open).max(Duration::from_millis(100)));
        }
        if emit_batch(member).await? == 0 {
            break;
        }
    }
    let now = member.shared.clock.now();
    *last_round = now;
    let due = member.shared.store.next_due(member.id.0).await?;
    let wait = due.map_or(LOOK_INTERVAL, |due| {
        Duration::from_micros(due.since(now).max(0).unsigned_abs())
    });
    Ok(wait.clamp(Duration::from_millis(50), LOOK_INTERVAL))
}

/// A claimed write with its values.
struct Claimed {
    row: OutboxRow,
    write: Write,
}

/// What is to be done with one claimed write before anything is sent.
enum Look {
    /// Send it.
    Send,
    /// The contact shows it already.
    Confirmed,
    /// The decision has changed since the claim.
    Superseded,
    /// The contact has changed since it was last read; the feed must tell first.
    Wait,
    /// The contact is not there.
    Gone,
}

/// Claims, checks, sends and settles one batch. How many writes were claimed.
///
/// # Errors
/// When a call fails for the whole batch, or the store fails. The claims are given back first.
pub async fn emit_batch(member: &Member) -> Result<usize, SyncError> {
    let shared = &member.shared;
    let packer = Packer::new(&shared.rules);
    let claimed = claim(member, &packer).await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    let total = claimed.len();
    let contacts: Vec<&str> = claimed
        .iter()
        .map(|claimed| claimed.row.key.external.as_str())
        .collect();
    let targets = member.targets(&contacts).await?;
    // R32, R33: look at the contacts as they are now. This also settles what an earlier attempt
    // with unknown outcome did.
    let current = match member.connector.current(&targets).await {
        Ok(current) if current.len() == targets.len() => current,
        Ok(_) => {
            let fault = Fault::new(
                FaultClass::ContractBroken,
                "re-read",
                "the re-read before the write gave another number of contacts than asked for",
            );
            return give_back(member, &claimed, fault).await;
        }
        Err(fault) => return give_back(member, &claimed, fault).await,
    };
    let looks = look(member, &packer, &claimed, &current).await?;
    let mut settled: Vec<(usize, &'static str)> = Vec::new();
    let mut postponed: Vec<Postponed> = Vec::new();
    let mut sent: Vec<usize> = Vec::new();
    for (index, (claimed, look)) in claimed.iter().zip(&looks).enumerate() {
        match look {
            Look::Send => sent.push(index),
            Look::Confirmed => settled.push((index, "confirmed")),
            Look::Superseded => postponed.push(unclaim(&claimed.row, claimed.row.not_before, None)),
            Look::Wait => {
                member.wake_poller.notify_one();
                let later = shared.clock.now().plus(FEED_PAUSE).micros();
                postponed.push(unclaim(
                    &claimed.row,
                    later,
                    Some("the contact has changed; waiting for the feed"),
                ));
            }
            Look::Gone => {
                member.wake_poller.notify_one();
                let fault = Fault::new(
                    FaultClass::Rejected,
                    "gone",
                    "the contact is not there any more; the feed will say so",
                );
                postponed.push(failed(member, &claimed.row, &fault, true));
            }
        }
    }
    let mut whole = None;
    if !sent.is_empty() {
        let requests: Vec<WriteRequest> = sent
            .iter()
            .filter_map(|index| Some(request(claimed.get(*index)?, targets.get(*index)?)))
            .collect();
        match member.connector.write(&requests).await {
            Ok(outcomes) if outcomes.len() == requests.len() => {
                for (index, outcome) in sent.iter().zip(outcomes) {
                    let Some(claimed) = claimed.get(*index) else {
                        continue;
                    };
                    match outcome {
                        Outcome::Applied => settled.push((*index, "applied")),
                        Outcome::Unknown(fault) => {
                            member.tell(Event::Fault(fault.clone()));
                            postponed.push(failed(member, &claimed.row, &fault, false));
                        }
                        Outcome::Failed(fault) => {
                            tracing::warn!(system = %member.name, contact = %claimed.row.key.external, code = %fault.code,
                                "{}: a write to {} was refused: {fault}", member.name, claimed.row.key.external);
                            member.tell(Event::Fault(fault.clone()));
                            postponed.push(failed(member, &claimed.row, &fault, true));
                        }
                    }
                }
                member.breaker.succeeded();
            }
            Ok(_) => {
                let fault = Fault::new(
                    FaultClass::ContractBroken,
                    "write",
                    "the vendor answered for another number of contacts than written",
                );
                postponed.extend(
                    sent.iter()
                        .filter_map(|i| claimed.get(*i))
                        .map(|c| failed(member, &c.row, &fault, false)),
                );
                whole = Some(fault);
            }
            Err(fault) => {
                postponed.extend(
                    sent.iter()
                        .filter_map(|i| claimed.get(*i))
                        .map(|c| postpone_whole(member, &c.row, &fault)),
                );
                whole = Some(fault);
            }
        }
    }
    let applied = settled.iter().filter(|(_, how)| *how == "applied").count();
    settle(member, &packer, &claimed, &settled).await?;
    if !postponed.is_empty() {
        shared.store.postpone(&postponed).await?;
    }
    member.tell(Event::Emitted {
        applied,
        confirmed: settled.len() - applied,
        postponed: postponed.len(),
    });
    match whole {
        Some(fault) => Err(fault.into()),
        None => Ok(total),
    }
}

/// R34: the most urgent writes, and only withdrawals once the vendor's allowance runs low, or while
/// some system has not been read yet.
async fn claim(member: &Member, packer: &Packer<'_>) -> Result<Vec<Claimed>, SyncError> {
    let shared = &member.shared;
    let now = shared.clock.now();
    let batching = member.connector.batching();
    let low = member.connector.quota().is_some_and(|quota| {
        quota.used.saturating_mul(100)
            >= quota
                .allowed
                .saturating_mul(u64::from(member.pace.quota_reserve_percent))
    });
    let only_withdrawals = low || !shared.is_complete().await?;
    let mut claim = Claim {
        system: member.id.0,
        lane: only_withdrawals.then_some(LANE_WITHDRAWAL),
        limit: batching.rows,
        now: now.micros(),
        until: now.plus(CLAIM).micros(),
    };
    let mut rows = shared.store.claim_writes(&claim).await?;
    // A full batch may be the head of a long queue, which goes out in bulk.
    if rows.len() == batching.rows && batching.bulk_above > batching.rows {
        claim.limit = batching.bulk_rows.saturating_sub(rows.len());
        let queue = shared.store.figures(now).await?;
        let waiting = queue
            .systems
            .iter()
            .find(|system| system.system == member.id.0)
            .map_or(0, |system| {
                system.pending_withdrawals + system.pending_grants
            });
        if usize::try_from(waiting).is_ok_and(|waiting| waiting > batching.bulk_above) {
            rows.extend(shared.store.claim_writes(&claim).await?);
        }
    }
    let mut claimed = Vec::with_capacity(rows.len());
    for row in rows {
        match packer.unpack_changes(&row.changes) {
            Ok(write) => claimed.push(Claimed { row, write }),
            Err(error) => {
                return Err(StoreError::Corrupt {
                    what: "outbox row",
                    detail: error.to_string(),
                }
                .into());
            }
        }
    }
    // One contact may stand in both lanes; a batch holds it once, the withdrawal first.
    let mut once = std::collections::BTreeSet::new();
    let (first, again): (Vec<_>, Vec<_>) = claimed
        .into_iter()
        .partition(|claimed| once.insert(claimed.row.key.external.clone()));
    let back: Vec<Postponed> = again
        .iter()
        .map(|claimed| unclaim(&claimed.row, claimed.row.not_before, None))
        .collect();
    if !back.is_empty() {
        shared.store.postpone(&back).await?;
    }
    Ok(first)
}

/// R32: compares each claimed write with the present decision and with the contact as it is now.
async fn look(
    member: &Member,
    packer: &Packer<'_>,
    claimed: &[Claimed],
    current: &[Current],
) -> Result<Vec<Look>, SyncError> {
    let scope = Scope {
        contacts: claimed
            .iter()
            .map(|claimed| (claimed.row.key.system, claimed.row.key.external.clone()))
            .collect(),
        ..Scope::default()
    };
    let mut known = Known::default();
    member
        .shared
        .store
        .transact(&scope, &mut |now_known: Known| {
            known = now_known;
            Changes::default()
        })
        .await?;
    let outbox: BTreeMap<&WriteKey, &OutboxRow> =
        known.outbox.iter().map(|row| (&row.key, row)).collect();
    let mut records = BTreeMap::new();
    for row in known
        .contacts
        .iter()
        .filter(|row| row.system == member.id.0)
    {
        let record = packer
            .unpack_record(&member.rules, &row.record)
            .map_err(|error| StoreError::Corrupt {
                what: "contact",
                detail: error.to_string(),
            })?;
        records.insert(row.external.as_str(), record);
    }
    let now = member.shared.clock.now();
    let looks = claimed.iter().zip(current).map(|(claimed, current)| {
        let is_current = outbox
            .get(&claimed.row.key)
            .is_some_and(|row| row.version == claimed.row.version && row.state == CLAIMED);
        if !is_current {
            return Look::Superseded;
        }
        let values = match current {
            Current::Gone => return Look::Gone,
            Current::Unknown => return Look::Send,
            Current::Live(values) => values,
        };
        let value = |purpose: PurposeId| {
            values
                .iter()
                .find(|(id, _)| *id == purpose)
                .map(|(_, shown)| shown)
        };
        let done = claimed
            .write
            .changes
            .iter()
            .all(|change| value(change.purpose).is_some_and(|shown| agrees(shown, &change.to)));
        if done {
            return Look::Confirmed;
        }
        // A value that is neither what we last read nor what we are about to write was set by
        // somebody we have not heard of yet. Ours may be the older word.
        let unheard = values.iter().any(|(purpose, shown)| {
            let last_read = records
                .get(claimed.row.key.external.as_str())
                .and_then(|record| record.shown(*purpose));
            let ours = claimed
                .write
                .changes
                .iter()
                .any(|change| change.purpose == *purpose && agrees(shown, &change.to));
            !ours && last_read.is_some_and(|last: &Shown| last != shown)
        });
        let patient = claimed.row.key.lane != LANE_WITHDRAWAL
            || now.micros() < claimed.row.decided_at.saturating_add(FEED_PATIENCE);
        if unheard && patient {
            Look::Wait
        } else {
            Look::Send
        }
    });
    Ok(looks.collect())
}

/// Stores what took effect: the contacts show it, the writes are done (R31).
async fn settle(
    member: &Member,
    packer: &Packer<'_>,
    claimed: &[Claimed],
    settled: &[(usize, &'static str)],
) -> Result<(), SyncError> {
    if settled.is_empty() {
        return Ok(());
    }
    let done: Vec<(&Claimed, &'static str)> = settled
        .iter()
        .filter_map(|(index, how)| Some((claimed.get(*index)?, *how)))
        .collect();
    let scope = Scope {
        contacts: done
            .iter()
            .map(|(claimed, _)| (claimed.row.key.system, claimed.row.key.external.clone()))
            .collect(),
        ..Scope::default()
    };
    let act = |bench: &mut Workbench<'_>| {
        done.iter().try_for_each(|(claimed, how)| {
            let row = &claimed.row;
            bench.acknowledge(&row.key, row.version, &row.changes, how)
        })
    };
    let frame = member.shared.frame(false);
    transact(&*member.shared.store, scope, frame, packer, act, |_| {}).await?;
    Ok(())
}

fn request(claimed: &Claimed, target: &Target) -> WriteRequest {
    WriteRequest {
        target: target.clone(),
        changes: claimed
            .write
            .changes
            .iter()
            .map(|change| (change.purpose, change.to.clone()))
            .collect(),
        said_at: claimed.write.said_at,
        said_in: claimed.write.said_in.clone(),
    }
}

/// Gives every claim back after a re-read that failed. What an earlier attempt of a row did is then
/// still unknown.
async fn give_back(member: &Member, claimed: &[Claimed], fault: Fault) -> Result<usize, SyncError> {
    let back: Vec<Postponed> = claimed
        .iter()
        .map(|claimed| Postponed {
            not_sent: claimed.row.attempts == 0,
            ..postpone_whole(member, &claimed.row, &fault)
        })
        .collect();
    member.shared.store.postpone(&back).await?;
    Err(fault.into())
}

/// A write that goes back untouched, after a look that showed what any earlier attempt had done.
fn unclaim(row: &OutboxRow, not_before: i64, error: Option<&str>) -> Postponed {
    Postponed {
        key: row.key.clone(),
        version: row.version,
        not_before,
        state: PENDING,
        attempts: row.attempts,
        error: error.map_or_else(|| row.last_error.clone().unwrap_or_default(), str::to_owned),
        not_sent: true,
    }
}

/// The whole call failed and nothing was sent; the breaker decides when there is another. No row is
/// to blame.
fn postpone_whole(member: &Member, row: &OutboxRow, fault: &Fault) -> Postponed {
    Postponed {
        error: format!("{}: {fault}", fault.code),
        ..unclaim(row, member.shared.clock.now().micros(), None)
    }
}

/// R35: a write that failed on its own goes back with a pause, or becomes a dead letter.
fn failed(member: &Member, row: &OutboxRow, fault: &Fault, not_sent: bool) -> Postponed {
    let attempts = row.attempts.saturating_add(1);
    let final_word = match fault.class {
        FaultClass::Rejected => fault.retry_after.is_none(),
        FaultClass::Retryable
        | FaultClass::RateLimited
        | FaultClass::Auth
        | FaultClass::ContractBroken => attempts >= MAX_ATTEMPTS,
    };
    let pause = retry::pause(attempts.unsigned_abs(), fault, rand::random::<f64>);
    let pause = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
    Postponed {
        key: row.key.clone(),
        version: row.version,
        not_before: member.shared.clock.now().plus(pause).micros(),
        state: if final_word { DEAD } else { PENDING },
        attempts,
        error: format!("{}: {fault}", fault.code),
        not_sent,
    }
}
