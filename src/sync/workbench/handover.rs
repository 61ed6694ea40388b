//! Writes that a system takes and of which it says later what became of them.
//!
//! Such a write stays in the outbox as [`SENT`], with its values under way. Whatever is decided
//! meanwhile, these values may still take effect, and seeing them is seeing our own echo (R15): so they
//! stay noted until a word of the system, or a look at the contact, tells that they have or will not.

use super::Workbench;
use super::entry::written;
use crate::connector::{Answer, FaultClass, Receipt};
use crate::consent::{At, Change, Contact, PurposeId, Reading, Shown, SystemId};
use crate::store::{
    CLAIMED, DEAD, LANE_GRANT, LANE_WITHDRAWAL, ONCE_READ, OutboxChange, OutboxRow, PENDING, SENT,
    WriteKey,
};
use crate::sync::pack::PackError;
use std::collections::BTreeMap;

/// So many different values of one contact may be under way at once. There are more only while a
/// system neither answers nor shows anything for a long time; the oldest are then forgotten.
const MAX_UNDER_WAY: usize = 8;

/// A write that was handed over.
#[derive(Debug, Clone, Copy)]
pub struct Handed<'a> {
    /// Contact and lane.
    pub key: &'a WriteKey,
    /// The version that was claimed.
    pub version: i64,
    /// Packed changes as they were claimed.
    pub sent: &'a str,
    /// The batch.
    pub batch: &'a str,
    /// When the word on it must have come.
    pub until: At,
}

impl Workbench<'_> {
    /// Notes that a write was handed over. It is not applied yet, and counts as pending.
    ///
    /// When the decision has changed since the claim, the newer one goes with the next batch; that the
    /// older value is under way is noted either way.
    ///
    /// # Errors
    /// When a stored write cannot be read back.
    pub fn hand_over(&mut self, handed: Handed<'_>) -> Result<(), PackError> {
        let Some(mut row) = self.outbox.get(handed.key).cloned() else {
            return Ok(());
        };
        row.in_flight =
            self.newest_first([handed.sent].into_iter().chain(row.in_flight.lines()))?;
        if row.version == handed.version && row.state == CLAIMED {
            row.state = SENT;
            row.claimed_until = handed.until.micros();
            row.last_error = Some(handed.batch.to_owned());
        }
        self.replace(row);
        self.log_write("handed-over", handed.key, handed.batch, handed.sent);
        Ok(())
    }

    /// Takes in what the system says of a write that was handed over. Whether it meant anything:
    /// saying the same again does not.
    ///
    /// # Errors
    /// When a stored write cannot be read back.
    pub fn receive(&mut self, system: SystemId, receipt: &Receipt) -> Result<bool, PackError> {
        for lane in [LANE_WITHDRAWAL, LANE_GRANT] {
            let key = WriteKey {
                system: system.0,
                external: receipt.contact.clone(),
                lane,
            };
            let Some(row) = self.outbox.get(&key).cloned() else {
                continue;
            };
            let lines: Vec<&str> = row.in_flight.lines().collect();
            let mut place = None;
            for (index, line) in lines.iter().enumerate() {
                if sets(&self.packer.unpack_changes(line)?.changes, &receipt.changes) {
                    place = Some(index);
                    break;
                }
            }
            let Some(place) = place else { continue };
            match &receipt.answer {
                Answer::Applied => self.took_effect(&row, &lines, place, receipt)?,
                Answer::Overtaken(_) | Answer::Failed(_) => {
                    if !self.refused(&row, &lines, place, receipt)? {
                        continue;
                    }
                }
            }
            return Ok(true);
        }
        // The value is not under way any more: an earlier word, a later write, or a look at the contact
        // has settled it. What the contact shows is known better than by this word, which may be late.
        Ok(false)
    }

    /// The contact shows the value. Older ones have come before it or never will: the system refuses
    /// what was decided earlier than what it has.
    fn took_effect(
        &mut self,
        row: &OutboxRow,
        lines: &[&str],
        place: usize,
        receipt: &Receipt,
    ) -> Result<(), PackError> {
        let seq = self.next_sequence + self.changes.ledger.len() as i64;
        let now = self.frame.now;
        let Some(index) = self.index(SystemId(row.key.system), &row.key.external) else {
            return Ok(());
        };
        let subject = {
            let Some(item) = self.items.get_mut(index) else {
                return Ok(());
            };
            for (purpose, shown) in &receipt.changes {
                item.contact.record.entry(*purpose).wrote(shown.clone());
            }
            // It took effect at some time before now: what was true before now says nothing of it.
            item.contact.record.written_at = item.contact.record.written_at.max(Some(now));
            item.written_seq = seq;
            item.changed = true;
            item.subject
        };
        let newer = lines.get(..place).unwrap_or_default();
        let wanted = self.packer.unpack_changes(&row.changes)?.changes;
        if newer.is_empty() && sets(&wanted, &receipt.changes) {
            self.outbox.remove(&row.key);
            self.changes
                .outbox
                .push(OutboxChange::Drop(row.key.clone()));
        } else {
            // Another decision waits or is under way itself. It stays as it is, and deciding anew shows
            // whether it is still needed.
            self.replace(OutboxRow {
                in_flight: newer.join("\n"),
                ..row.clone()
            });
        }
        if let Some(subject) = subject {
            self.places.touch(subject);
        }
        let sent = lines.get(place).copied().unwrap_or_default();
        self.log_write("written", &row.key, &receipt.batch, sent);
        Ok(())
    }

    /// It did not happen. That concerns only the write that waits for the word on this very batch: one
    /// that was handed over again, or decided anew, gets its own.
    fn refused(
        &mut self,
        row: &OutboxRow,
        lines: &[&str],
        place: usize,
        receipt: &Receipt,
    ) -> Result<bool, PackError> {
        let (Answer::Overtaken(fault) | Answer::Failed(fault)) = &receipt.answer else {
            return Ok(false);
        };
        let wanted = self.packer.unpack_changes(&row.changes)?.changes;
        if row.state != SENT
            || row.last_error.as_deref() != Some(&receipt.batch)
            || !sets(&wanted, &receipt.changes)
        {
            return Ok(false);
        }
        let now = self.frame.now.micros();
        let attempts = row.attempts.saturating_add(1);
        let final_word = match fault.class {
            FaultClass::Rejected => true,
            FaultClass::Retryable
            | FaultClass::RateLimited
            | FaultClass::Auth
            | FaultClass::ContractBroken => attempts >= crate::sync::emit::MAX_ATTEMPTS,
        };
        // A newer word is heard first: then it wins, or the same is decided again in its knowledge.
        let waits = matches!(receipt.answer, Answer::Overtaken(_)) && !final_word;
        let others = lines
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != place);
        self.replace(OutboxRow {
            state: if final_word { DEAD } else { PENDING },
            in_flight: others.map(|(_, line)| *line).collect::<Vec<_>>().join("\n"),
            not_before: if waits { ONCE_READ } else { now },
            claimed_until: if waits { now } else { 0 },
            attempts,
            last_error: Some(format!("{}: {fault}", fault.code)),
            ..row.clone()
        });
        let sent = lines.get(place).copied().unwrap_or_default();
        self.log_write("refused", &row.key, &fault.code, sent);
        Ok(true)
    }

    /// The contact as it was before the change for which the system refused our opt-in as the older
    /// one. It may show the same opt-out as it did when it was read last, or as we wrote it, and nothing
    /// else tells that somebody said so anew; in doubt it counts (R11).
    pub fn overtaken(&self, system: SystemId, reading: &Reading, read_at: At) -> Option<Contact> {
        if !self.stored.once_read || !reading.whole {
            return None;
        }
        let key = WriteKey {
            system: system.0,
            external: reading.contact.clone(),
            lane: LANE_GRANT,
        };
        let as_of = reading.as_of.unwrap_or(read_at);
        let row = self.outbox.get(&key).filter(|row| waits(row, as_of))?;
        let changes = self.packer.unpack_changes(&row.changes).ok()?.changes;
        let mut before = self.contact(system, &reading.contact)?.clone();
        for change in changes {
            before.record.entry(change.purpose).shown = Some(change.to);
        }
        Some(before)
    }

    /// The contact was read as it was then: a write that had to wait for that may go.
    pub fn heard_again(&mut self, system: SystemId, contact: &str, as_of: At) {
        if !self.stored.once_read {
            return;
        }
        for lane in [LANE_WITHDRAWAL, LANE_GRANT] {
            let key = WriteKey {
                system: system.0,
                external: contact.to_owned(),
                lane,
            };
            let found = self.outbox.get(&key);
            if let Some(row) = found.filter(|row| waits(row, as_of)).cloned() {
                self.replace(OutboxRow {
                    not_before: self.frame.now.micros(),
                    claimed_until: 0,
                    ..row
                });
            }
        }
    }

    /// What is under way of this contact's writes in a lane that is not wanted any more while the other
    /// one is: the values move there, since they may still take effect.
    pub(super) fn moved_in_flight(
        &self,
        contact: &Contact,
        wanted: &BTreeMap<WriteKey, (String, bool)>,
    ) -> String {
        if !self.stored.in_flight {
            return String::new();
        }
        let key = |lane| WriteKey {
            system: contact.system.0,
            external: contact.id.clone(),
            lane,
        };
        let lanes = [LANE_WITHDRAWAL, LANE_GRANT];
        let lines = lanes
            .into_iter()
            .map(key)
            .filter(|key| !wanted.contains_key(key))
            .filter_map(|key| self.outbox.get(&key));
        if lanes
            .into_iter()
            .all(|lane| !wanted.contains_key(&key(lane)))
        {
            return String::new();
        }
        lines.map(|row| row.in_flight.as_str()).collect()
    }

    /// The values that may still take effect behind a new decision.
    pub(super) fn may_still_happen(
        &self,
        present: Option<&OutboxRow>,
        moved: &str,
    ) -> Result<String, PackError> {
        let own = present.map_or("", |row| row.in_flight.as_str());
        // Mostly there is one or none.
        if moved.is_empty() && !own.contains('\n') {
            return Ok(own.to_owned());
        }
        self.newest_first(moved.lines().chain(own.lines()))
    }

    /// What a settled write of one lane did is not under way in the other any more.
    pub(super) fn forget_in_other_lane(
        &mut self,
        key: &WriteKey,
        changes: &[Change],
    ) -> Result<(), PackError> {
        let other = WriteKey {
            lane: if key.lane == LANE_GRANT {
                LANE_WITHDRAWAL
            } else {
                LANE_GRANT
            },
            ..key.clone()
        };
        let Some(row) = self.outbox.get(&other).cloned() else {
            return Ok(());
        };
        let values: Vec<(PurposeId, Shown)> = values(changes);
        let mut kept = Vec::new();
        for line in row.in_flight.lines() {
            if !sets(&self.packer.unpack_changes(line)?.changes, &values) {
                kept.push(line);
            }
        }
        let kept = kept.join("\n");
        if kept != row.in_flight {
            self.replace(OutboxRow {
                in_flight: kept,
                ..row
            });
        }
        Ok(())
    }

    /// Each set of values once, in the given order.
    fn newest_first<'t>(&self, lines: impl Iterator<Item = &'t str>) -> Result<String, PackError> {
        let mut known: Vec<Vec<(PurposeId, Shown)>> = Vec::new();
        let mut kept: Vec<&str> = Vec::new();
        for line in lines {
            let values = values(&self.packer.unpack_changes(line)?.changes);
            if !known.contains(&values) && kept.len() < MAX_UNDER_WAY {
                known.push(values);
                kept.push(line);
            }
        }
        Ok(kept.join("\n"))
    }

    fn replace(&mut self, row: OutboxRow) {
        self.stored.in_flight |= !row.in_flight.is_empty();
        self.outbox.insert(row.key.clone(), row.clone());
        self.changes.outbox.push(OutboxChange::Put(row));
    }

    fn log_write(&mut self, kind: &'static str, key: &WriteKey, how: &str, sent: &str) {
        let item = self.item(SystemId(key.system), &key.external);
        let subject = item.and_then(|item| item.subject);
        let subject_ref = subject
            .and_then(|id| self.places.get(id))
            .map(|place| place.row.subject);
        let body = written(subject_ref.as_ref(), key, how, sent);
        self.log(kind, subject, Some(key.system), body);
    }
}

pub(super) fn values(changes: &[Change]) -> Vec<(PurposeId, Shown)> {
    let mut values: Vec<_> = changes
        .iter()
        .map(|change| (change.purpose, change.to.clone()))
        .collect();
    values.sort();
    values
}

/// Whether these changes set exactly these values.
pub(super) fn sets(changes: &[Change], given: &[(PurposeId, Shown)]) -> bool {
    let mut given = given.to_vec();
    given.sort();
    values(changes) == given
}

/// Whether a write has waited for a contact to be read as it was then.
fn waits(row: &OutboxRow, as_of: At) -> bool {
    row.state == PENDING && row.not_before == ONCE_READ && row.claimed_until <= as_of.micros()
}
