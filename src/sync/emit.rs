//! The emitter of one system: hands pending writes to the connector and settles what came of them
//! (R31–R37).

use super::engine::{Event, Member, SyncError};
use super::pack::{Packer, Write};
use super::schedule::next_round;
use super::workbench::{Attempt, Handed, Workbench, transact};
use crate::config::Schedule;
use crate::connector::{
    Answer, Background, Current, Fault, FaultClass, Outcome, Target, WriteRequest, retry,
};
use crate::consent::plan::agrees;
use crate::consent::time::{HOUR, MINUTE, SECOND};
use crate::consent::{At, PurposeId, Shown, SystemId};
use crate::store::{
    CLAIMED, Claim, ContactRow, DEAD, Known, LANE_WITHDRAWAL, LIVE, OutboxRow, PENDING, Postponed,
    Scope, StoreError, SubjectRef, SubjectRow, Unsent, WriteKey,
};
use crate::sync::pack::unpack_verdicts;
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
/// Receipts are taken so many times in one round at most; the next round goes on.
const MAX_RECEIPTS: usize = 1_000;
/// A withdrawal waits no longer than this for the feed; then it is written over what changed.
const FEED_PATIENCE: i64 = 10 * MINUTE;

/// Emits until told to stop.
pub async fn run(member: &Member, stop: &CancellationToken) {
    let mut last_round = resumed_at(member).await;
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

/// Sends everything that is due, and gives the time until more may be. `last_round`: when the last one
/// ended, by which the schedule goes.
///
/// # Errors
/// When a call fails for the whole batch, or the store fails; the round is not over then.
pub async fn round(
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
    // What a system says later of its writes is taken whatever the schedule, so that what it refused
    // can go with the next batch.
    if member.is_askable().await?
        && member
            .breaker
            .open_until(member.shared.clock.now())
            .is_none()
    {
        take_receipts(member).await?;
    }
    match next_round(&member.pace.schedule, *last_round, now) {
        Some(next) if next <= now => {}
        // Meanwhile it may say what became of the last batch.
        Some(next) => return Ok(until(next).min(look_interval(member))),
        None => return Ok(look_interval(member)),
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
    let longest = match &member.pace.schedule {
        Schedule::Immediate => LOOK_INTERVAL,
        Schedule::Cron { .. } => look_interval(member),
    };
    Ok(wait.clamp(Duration::from_millis(50), longest))
}

/// How often a system between its rounds is asked what it says of its writes: as often as it is read.
fn look_interval(member: &Member) -> Duration {
    member
        .pace
        .poll_interval
        .clamp(Duration::from_secs(1), LOOK_INTERVAL)
}

/// When the last round was, as far as what waits tells: a round that was missed while nobody was at
/// work is made up (R39).
pub async fn resumed_at(member: &Member) -> At {
    let now = member.shared.clock.now();
    match member.shared.store.next_due(member.id.0).await {
        Ok(due) => due.map_or(now, |due| due.min(now)),
        // The first round meets the same failure, and tells.
        Err(_) => now,
    }
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

/// One claimed write, looked at.
struct Looked {
    look: Look,
    background: Background,
    /// The person it is about.
    subject: Option<SubjectRef>,
}

/// Takes in what the system has said of writes that were handed over. How many words it said.
///
/// # Errors
/// When the system cannot be asked, or the store fails; what was taken until then is settled.
pub async fn take_receipts(member: &Member) -> Result<usize, SyncError> {
    let shared = &member.shared;
    let packer = Packer::new(&shared.rules);
    let mut taken = 0;
    for _ in 0..MAX_RECEIPTS {
        let receipts = member.connector.receipts().await?;
        if receipts.is_empty() {
            break;
        }
        let system = SystemId(member.id.0);
        let scope = Scope {
            contacts: receipts
                .iter()
                .map(|receipt| (system.0, receipt.contact.clone()))
                .collect(),
            ..Scope::default()
        };
        let mut heard: Vec<bool> = Vec::new();
        let act = |bench: &mut Workbench<'_>| {
            heard.clear();
            for receipt in &receipts {
                heard.push(bench.receive(system, receipt)?);
            }
            Ok(())
        };
        transact(
            &*shared.store,
            scope,
            shared.frame(false),
            &packer,
            act,
            |_| {},
        )
        .await?;
        member.connector.receipts_stored().await?;
        taken += receipts.len();
        let (mut applied, mut refused) = (0, 0);
        for (receipt, _) in receipts.iter().zip(&heard).filter(|(_, heard)| **heard) {
            match &receipt.answer {
                Answer::Applied => applied += 1,
                Answer::Overtaken(fault) | Answer::Failed(fault) => {
                    tracing::warn!(system = %member.name, contact = %receipt.contact, batch = %receipt.batch, code = %fault.code,
                        "{}: a write to {} in batch {} was refused: {fault}", member.name, receipt.contact, receipt.batch);
                    member.tell(Event::Fault(fault.clone()));
                    refused += 1;
                }
            }
        }
        member.tell(Event::Emitted {
            applied,
            confirmed: 0,
            postponed: refused,
        });
        // What was decided meanwhile may be due, and what was settled may be waited for.
        shared.wake_all_emitters();
    }
    Ok(taken)
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
    let subject_of = |index: usize| looks.get(index).and_then(|looked| looked.subject);
    let mut settled: Vec<(usize, &'static str)> = Vec::new();
    let mut postponed: Vec<Postponed> = Vec::new();
    let mut sent: Vec<usize> = Vec::new();
    // Only a look tells what earlier attempts have done.
    let seen: Vec<bool> = current
        .iter()
        .map(|current| *current != Current::Unknown)
        .collect();
    let seen = |index: usize| seen.get(index).copied().unwrap_or(false);
    for (index, (claimed, looked)) in claimed.iter().zip(&looks).enumerate() {
        match looked.look {
            Look::Send => sent.push(index),
            Look::Confirmed => settled.push((index, "confirmed")),
            Look::Superseded => {
                let back = unclaim(&claimed.row, claimed.row.not_before, None);
                postponed.push(unless_seen(back, &claimed.row, seen(index)));
            }
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
                let back = failed(member, &claimed.row, &fault, true);
                postponed.push(attempted(
                    member,
                    back,
                    &claimed.row,
                    &fault,
                    looked.subject,
                ));
            }
        }
    }
    let mut whole = None;
    let mut handed: Vec<(usize, String, At)> = Vec::new();
    if !sent.is_empty() {
        let heard_until = shared.store.feed(member.id.0).await?.drained;
        let requests: Vec<WriteRequest> = sent
            .iter()
            .filter_map(|index| {
                let background = Background {
                    heard_until: heard_until.map(At::from_micros),
                    ..looks.get(*index)?.background.clone()
                };
                let (claimed, target) = (claimed.get(*index)?, targets.get(*index)?);
                Some(request(claimed, target, background))
            })
            .collect();
        match member.connector.write(&requests).await {
            Ok(outcomes) if outcomes.len() == requests.len() => {
                for (index, outcome) in sent.iter().zip(outcomes) {
                    let Some(claimed) = claimed.get(*index) else {
                        continue;
                    };
                    match outcome {
                        Outcome::Applied => settled.push((*index, "applied")),
                        Outcome::HandedOver { batch, until } => handed.push((*index, batch, until)),
                        Outcome::Unknown(fault) => {
                            member.tell(Event::Fault(fault.clone()));
                            let back = failed(member, &claimed.row, &fault, false);
                            let subject = subject_of(*index);
                            postponed.push(attempted(member, back, &claimed.row, &fault, subject));
                        }
                        Outcome::Failed(fault) => {
                            tracing::warn!(system = %member.name, contact = %claimed.row.key.external, code = %fault.code,
                                "{}: a write to {} was refused: {fault}", member.name, claimed.row.key.external);
                            member.tell(Event::Fault(fault.clone()));
                            let back = failed(member, &claimed.row, &fault, true);
                            let back = unless_seen(back, &claimed.row, seen(*index));
                            let subject = subject_of(*index);
                            postponed.push(attempted(member, back, &claimed.row, &fault, subject));
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
                        .filter_map(|i| Some((*i, claimed.get(*i)?)))
                        .map(|(i, c)| {
                            unless_seen(postpone_whole(member, &c.row, &fault), &c.row, seen(i))
                        }),
                );
                whole = Some(fault);
            }
        }
    }
    let applied = settled.iter().filter(|(_, how)| *how == "applied").count();
    settle(member, &packer, &claimed, &settled).await?;
    note_handed(member, &packer, &claimed, &handed).await?;
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
                system.pending_withdrawals + system.pending_grants - system.planned
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
        .map(|claimed| {
            let back = unclaim(&claimed.row, claimed.row.not_before, None);
            unless_seen(back, &claimed.row, false)
        })
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
) -> Result<Vec<Looked>, SyncError> {
    let scope = Scope {
        contacts: claimed
            .iter()
            .map(|claimed| (claimed.row.key.system, claimed.row.key.external.clone()))
            .collect(),
        ..Scope::default()
    };
    let known = member.shared.store.known(&scope).await?;
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
    let looks = claimed
        .iter()
        .zip(current)
        .map(|(claimed, current)| -> Look {
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
            let done =
                claimed.write.changes.iter().all(|change| {
                    value(change.purpose).is_some_and(|shown| agrees(shown, &change.to))
                });
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
    let files = Files::of(&known);
    let with_background = claimed.iter().zip(looks).map(|(claimed, look)| {
        let background = match look {
            Look::Send => files.background(member, claimed)?,
            _ => Background::default(),
        };
        let subject = files.subjects.get(&claimed.row.subject);
        Ok(Looked {
            look,
            background,
            subject: subject.map(|row| row.subject),
        })
    });
    with_background.collect()
}

/// Who belongs together among what was loaded for a look.
struct Files<'a> {
    subjects: BTreeMap<i64, &'a SubjectRow>,
    contacts: BTreeMap<(i16, &'a str), &'a ContactRow>,
    by_subject: BTreeMap<i64, Vec<&'a ContactRow>>,
}

impl<'a> Files<'a> {
    fn of(known: &'a Known) -> Self {
        let mut by_subject: BTreeMap<i64, Vec<&ContactRow>> = BTreeMap::new();
        for row in &known.contacts {
            if let Some(subject) = row.subject {
                by_subject.entry(subject).or_default().push(row);
            }
        }
        Self {
            subjects: known.subjects.iter().map(|row| (row.id, row)).collect(),
            contacts: known
                .contacts
                .iter()
                .map(|row| ((row.system, row.external.as_str()), row))
                .collect(),
            by_subject,
        }
    }

    /// What is known of a write besides its values.
    fn background(&self, member: &Member, claimed: &Claimed) -> Result<Background, SyncError> {
        let key = &claimed.row.key;
        let rules = &member.shared.rules;
        let subject = self.subjects.get(&claimed.row.subject);
        let verdicts = subject.map_or("", |subject| subject.verdicts.as_str());
        let verdicts = unpack_verdicts(verdicts).map_err(|error| StoreError::Corrupt {
            what: "verdicts",
            detail: error.to_string(),
        })?;
        let purpose = claimed.write.changes.first().map(|change| change.purpose);
        let verdict = purpose.and_then(|purpose| {
            let name = rules.purposes.name(purpose);
            verdicts.iter().find(|verdict| verdict.purpose == name)
        });
        Ok(Background {
            linked: self.linked(member, key, claimed.row.subject),
            said_by: verdict
                .and_then(|verdict| verdict.actor())
                .map(str::to_owned),
            reason: format!("{}: said in {}", claimed.write.rule, claimed.write.said_in),
            heard_until: None,
        })
    }

    /// R58: the oldest live contact of the system that leads this one: the one with the same person id,
    /// or else any of the same subject.
    fn linked(&self, member: &Member, key: &WriteKey, subject: i64) -> Option<String> {
        let mut links = member.shared.links.iter();
        let anchor = links.find(|link| link.follower == member.id)?.anchor;
        let own = self.contacts.get(&(key.system, key.external.as_str()));
        let id = own.and_then(|row| row.link.as_deref());
        let residents = self.by_subject.get(&subject)?;
        let leads = |row: &&&ContactRow| row.system == anchor.0 && row.life == LIVE;
        let best = residents.iter().filter(leads).min_by_key(|row| {
            let is_other = id.is_none() || row.link.as_deref() != id;
            (is_other, row.created.unwrap_or(i64::MAX), &row.external)
        })?;
        Some(best.external.clone())
    }
}

/// Stores what was handed over: it waits for the system's word.
///
/// A crash before this leaves the claims, whose outcome is then unknown: the rows go with another
/// batch, and the word on either of them settles them.
async fn note_handed(
    member: &Member,
    packer: &Packer<'_>,
    claimed: &[Claimed],
    handed: &[(usize, String, At)],
) -> Result<(), SyncError> {
    if handed.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&OutboxRow, &str, At)> = handed
        .iter()
        .filter_map(|(index, batch, until)| Some((&claimed.get(*index)?.row, &**batch, *until)))
        .collect();
    let scope = Scope {
        contacts: rows
            .iter()
            .map(|(row, ..)| (row.key.system, row.key.external.clone()))
            .collect(),
        ..Scope::default()
    };
    let act = |bench: &mut Workbench<'_>| {
        rows.iter().try_for_each(|(row, batch, until)| {
            bench.hand_over(Handed {
                key: &row.key,
                version: row.version,
                sent: &row.changes,
                batch,
                until: *until,
            })
        })
    };
    let frame = member.shared.frame(false);
    transact(&*member.shared.store, scope, frame, packer, act, |_| {}).await?;
    Ok(())
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

fn request(claimed: &Claimed, target: &Target, background: Background) -> WriteRequest {
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
        background,
    }
}

/// Nothing was sent. Where no look showed what earlier attempts have done, what they may still do stays
/// noted, and this one is not taken for one of them: somebody else's change to the same value is no echo.
fn unless_seen(back: Postponed, row: &OutboxRow, seen: bool) -> Postponed {
    Postponed {
        in_flight: match back.in_flight {
            Some(_) if !seen => Some(earlier(row).to_owned()),
            as_it_is => as_it_is,
        },
        ..back
    }
}

/// Gives every claim back after a re-read that failed. What an earlier attempt of a row did is then
/// still unknown.
async fn give_back(member: &Member, claimed: &[Claimed], fault: Fault) -> Result<usize, SyncError> {
    let back: Vec<Postponed> = claimed
        .iter()
        .map(|claimed| {
            let back = postpone_whole(member, &claimed.row, &fault);
            unless_seen(back, &claimed.row, false)
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
        in_flight: Some(String::new()),
        unsent: Some(unsent(row)),
        attempt: None,
    }
}

/// What a claim noted that came to nothing.
fn unsent(row: &OutboxRow) -> Unsent {
    Unsent {
        claimed: row.in_flight.trim_end_matches('\n').to_owned(),
        earlier: earlier(row).to_owned(),
    }
}

/// What was under way before a write was claimed, as long as nothing was sent since.
fn earlier(row: &OutboxRow) -> &str {
    // A line end at the end: what was claimed was under way before.
    if let Some(all) = row.in_flight.strip_suffix('\n') {
        return all;
    }
    let rest = row.in_flight.strip_prefix(row.changes.as_str());
    rest.map_or("", |rest| rest.trim_start_matches('\n'))
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
        in_flight: not_sent.then(String::new),
        unsent: not_sent.then(|| unsent(row)),
        attempt: None,
    }
}

/// With the entry about the attempt (R53): the fault's code and class, never the vendor's words, which may
/// repeat what was sent.
fn attempted(
    member: &Member,
    back: Postponed,
    row: &OutboxRow,
    fault: &Fault,
    subject: Option<SubjectRef>,
) -> Postponed {
    let attempt = Attempt {
        subject,
        row,
        fault,
        attempts: back.attempts,
        given_up: back.state == DEAD,
    };
    Postponed {
        attempt: Some(attempt.entry(member.shared.clock.now())),
        ..back
    }
}
