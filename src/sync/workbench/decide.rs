//! The second half of a bench: every touched subject is resolved and planned again, and verdicts,
//! findings, outbox and ledger are brought in line.

use super::entry::{Body, written};
use super::handover::{sets, values};
use super::holds::Stops;
use super::places::Places;
use super::{FLIP_WINDOW, Workbench, contact_row, unsettled};
use crate::consent::guard;
use crate::consent::resolve::{Finding, Verdict};
use crate::consent::{
    Contact, Evidence, Lane, PurposeId, Remembered, Resolution, Statement, Status, Subject,
    SystemId, plan, resolve,
};
use crate::store::{
    CLAIMED, DEAD, Flip, HELD, LANE_GRANT, LANE_WITHDRAWAL, LIVE, OutboxChange, OutboxRow, PENDING,
    PLANNED, SENT, WriteKey,
};
use crate::sync::pack::{self, PackError};
use std::collections::BTreeMap;

/// What else decides about a write besides its values.
#[derive(Clone, Copy)]
struct Fate<'a> {
    /// What may still take effect of the contact's write in the other lane, which falls away.
    moved: &'a str,
    /// It waits for a person (R26, R28).
    held: bool,
}

impl Workbench<'_> {
    pub(super) fn store_contacts(&mut self) {
        for index in 0..self.items.len() {
            let item = &self.items[index];
            if !item.changed {
                continue;
            }
            let Some(system) = self.frame.rules.system(item.contact.system) else {
                continue;
            };
            let row = contact_row(item, self.packer.record(system, &item.contact.record));
            if item.stored.as_ref() == Some(&row) {
                continue;
            }
            let seen_differently = item.stored.as_ref().is_none_or(|stored| {
                stored.record != row.record
                    || stored.subject != row.subject
                    || stored.life != row.life
                    || stored.created != row.created
                    || stored.merged_into != row.merged_into
                    || stored.link != row.link
            });
            if seen_differently {
                let subject = row
                    .subject
                    .and_then(|id| self.places.get(id))
                    .map(|place| place.row.subject.to_string());
                let body = Body::about(row.record.len())
                    .maybe_text("subject", subject.as_deref())
                    .text("contact", &row.external)
                    .maybe_number("created", row.created)
                    .maybe_number("modified", row.modified)
                    .maybe_number("life", (row.life != LIVE).then_some(row.life.into()))
                    .maybe_text("into", row.merged_into.as_deref())
                    .maybe_text("link", row.link.as_deref())
                    .packed("record", &row.record)
                    .end();
                self.log("observed", row.subject, Some(row.system), body);
            }
            self.changes.contacts.push(row);
        }
    }

    pub(super) fn store_subjects(&mut self) -> Result<(), PackError> {
        let places = std::mem::replace(&mut self.places, Places::new(Vec::new(), 0));
        for mut place in places.into_iter() {
            if let Some(remembered) = &place.remembered {
                let before = &place.row.remembered;
                let remembered = self.packer.remembered(remembered, before)?;
                place.changed |= remembered != place.row.remembered;
                place.row.remembered = remembered;
            }
            if place.changed {
                self.changes.subjects.push(place.row);
            }
        }
        Ok(())
    }

    /// Resolves one subject and brings its verdicts, findings and outbox in line.
    pub(super) fn decide(&mut self, subject: i64) -> Result<(), PackError> {
        let Some(place) = self.places.get(subject) else {
            return Ok(());
        };
        let mut order = place.residents.clone();
        order.sort_unstable_by(|a, b| {
            let key = |index: &usize| {
                self.items
                    .get(*index)
                    .map(|item| (item.contact.system, item.contact.id.as_str()))
            };
            key(a).cmp(&key(b))
        });
        let silent = order.iter().all(|index| {
            self.items.get(*index).is_some_and(|item| {
                !item.contact.record.future_stamped
                    && item
                        .contact
                        .record
                        .iter()
                        .all(|(_, holding)| holding.statements.is_empty())
            })
        });
        let Some(place) = self.places.get_mut(subject) else {
            return Ok(());
        };
        let remembered = match place.remembered.take() {
            Some(remembered) => remembered,
            None => self.packer.unpack_remembered(&place.row.remembered)?,
        };
        // Most subjects of a first load never said anything, and have nothing stored to compare.
        if silent
            && remembered.is_empty()
            && place.row.verdicts.is_empty()
            && place.row.findings.is_empty()
        {
            place.remembered = Some(remembered);
            return Ok(());
        }
        // The contacts are lent to the decision, not copied; nothing else looks at them meanwhile.
        let mut contacts = Vec::with_capacity(order.len());
        for index in &order {
            if let Some(item) = self.items.get_mut(*index) {
                let absent = Contact::unseen(item.contact.system, String::new());
                contacts.push(std::mem::replace(&mut item.contact, absent));
            }
        }
        let is_load = |system: SystemId, statement: &Statement| self.is_load(system, statement);
        let view = Subject {
            contacts: &contacts,
            remembered: &remembered,
            is_load: &is_load,
        };
        let mut resolution = resolve(&view, self.frame.rules);
        let flipped = self.count_flips(subject, &mut resolution, &contacts)?;
        let stops = self.review(subject, &mut resolution, &contacts, &flipped);
        self.note_turn(subject, &resolution)?;
        self.record_verdicts(subject, &resolution, remembered);
        self.reconcile_outbox(subject, &resolution, &contacts, &stops)?;
        for (index, contact) in order.iter().zip(contacts) {
            if let Some(item) = self.items.get_mut(*index) {
                item.contact = contact;
            }
        }
        Ok(())
    }

    /// R26, R28: remembers changes of status, and finds those that flap. The purposes that turned.
    fn count_flips(
        &mut self,
        subject: i64,
        resolution: &mut Resolution,
        contacts: &[Contact],
    ) -> Result<Vec<PurposeId>, PackError> {
        let mut turned = Vec::new();
        // In a load nothing is counted, so that nothing flaps which did not before.
        if self.frame.old_news && self.flips.is_empty() {
            return Ok(turned);
        }
        let Some(place) = self.places.get(subject) else {
            return Ok(turned);
        };
        let stored = pack::unpack_verdicts(&place.row.verdicts)?;
        let since = self.frame.now.minus(FLIP_WINDOW);
        let is_old = |contact: &Contact| contact.created.is_none_or(|created| created < since);
        let is_established = subject < self.next_subject && contacts.iter().any(is_old);
        let mut flapping = Vec::new();
        for verdict in &resolution.verdicts {
            let purpose = self.frame.rules.purposes.name(verdict.purpose);
            let before = stored
                .iter()
                .find(|old| old.purpose == purpose)
                .map(pack::PackedVerdict::status);
            // R20: what turned with the purpose above is counted there. Somebody who is new did not turn.
            let flipped = before.map_or(is_established, |before| before != verdict.status())
                && verdict.said_of == verdict.purpose;
            let key = (subject, purpose.to_owned());
            let mut count = self.flips.get(&key).copied().unwrap_or(0);
            // What a load of everything finds is old news, and so is what was found at first sight.
            if flipped && !self.frame.old_news && verdict.statement.evidence > Evidence::Baseline {
                let withdrawn = verdict.status() == Status::Withdrawn;
                // R26: what operators say is no guard's business.
                if let Some(system) = verdict.source.system {
                    self.holds.count(system.0, purpose, withdrawn);
                    turned.push(verdict.purpose);
                }
                count += 1;
                self.flips.insert(key, count);
                self.changes.flips.push(Flip {
                    subject,
                    purpose: purpose.to_owned(),
                    withdrawn,
                    system: verdict.source.system.map_or(0, |system| system.0),
                    at: self.frame.now.micros(),
                });
            }
            if guard::is_flapping(count.unsigned_abs(), self.frame.rules.policy.flaps_per_hour) {
                flapping.push(Finding::Flapping {
                    purpose: verdict.purpose,
                });
            }
        }
        resolution.findings.extend(flapping);
        Ok(turned)
    }

    /// R47: the gate is asked about a person who comes back, and requests end of one who leaves.
    fn note_turn(&mut self, subject: i64, resolution: &Resolution) -> Result<(), PackError> {
        let Some((purpose, place)) = self.frame.gate.zip(self.places.get(subject)) else {
            return Ok(());
        };
        // Somebody of whom nothing was known is asked about in the nightly round.
        if place.row.verdicts.is_empty() {
            return Ok(());
        }
        let name = self.frame.rules.purposes.name(purpose);
        let before = pack::unpack_verdicts(&place.row.verdicts)?;
        let before = before.iter().find(|old| old.purpose == name);
        let mut verdicts = resolution.verdicts.iter();
        let after = verdicts.find(|verdict| verdict.purpose == purpose);
        if before.is_some_and(|old| after.map(Verdict::status) != Some(old.status())) {
            let now = self.frame.now.micros();
            self.changes.gate.due.push((subject, now));
        }
        Ok(())
    }

    fn record_verdicts(
        &mut self,
        subject: i64,
        resolution: &Resolution,
        remembered: Vec<Remembered>,
    ) {
        let verdicts = self.packer.verdicts(resolution);
        let findings = self.packer.findings(&resolution.findings);
        let Some(place) = self.places.get_mut(subject) else {
            return;
        };
        place.remembered = Some(remembered);
        place.changed |= place.row.findings != findings || place.row.verdicts != verdicts;
        place.row.findings = findings;
        if place.row.verdicts == verdicts {
            return;
        }
        let body = Body::about(place.row.verdicts.len() + verdicts.len())
            .text("subject", &place.row.subject.to_string())
            .packed("before", &place.row.verdicts)
            .packed("after", &verdicts)
            .end();
        place.row.verdicts = verdicts;
        self.log("verdict", Some(subject), None, body);
    }

    /// R32: the outbox holds exactly the writes that the present verdicts ask for.
    fn reconcile_outbox(
        &mut self,
        subject: i64,
        resolution: &Resolution,
        contacts: &[Contact],
        stops: &Stops,
    ) -> Result<(), PackError> {
        let outbox = &self.outbox;
        let packer = self.packer;
        let any_in_flight = self.stored.in_flight;
        let in_flight = |contact: &Contact| {
            if any_in_flight {
                unsettled(outbox, packer, contact.system, &contact.id)
            } else {
                Vec::new()
            }
        };
        let mut wanted: BTreeMap<WriteKey, (String, bool)> = BTreeMap::new();
        for write in plan(resolution, contacts, self.frame.rules, &in_flight) {
            let key = WriteKey {
                system: write.contact.system.0,
                external: write.contact.id.clone(),
                lane: match write.lane {
                    Lane::Withdrawal => LANE_WITHDRAWAL,
                    Lane::Grant => LANE_GRANT,
                },
            };
            let purposes = write.changes.iter().map(|change| change.purpose);
            let held = stops.hold(write.verdict.status(), purposes);
            wanted.insert(key, (packer.changes(&write.changes, write.verdict), held));
        }
        // Most subjects of a first load ask for nothing and have nothing under way; what others have
        // asked for on this bench is not theirs.
        if wanted.is_empty() && !self.stored.outbox {
            return Ok(());
        }
        let rules = self.frame.rules;
        let writable = |contact: &Contact| {
            rules
                .system(contact.system)
                .is_some_and(|system| system.writable)
        };
        for contact in contacts {
            let moved = self.moved_in_flight(contact, &wanted);
            for lane in [LANE_WITHDRAWAL, LANE_GRANT] {
                let key = WriteKey {
                    system: contact.system.0,
                    external: contact.id.clone(),
                    lane,
                };
                let present = self.outbox.get(&key).cloned();
                match (wanted.remove(&key), present) {
                    (None, None) => {}
                    // R49: what may have been sent before the sync was switched off is settled when
                    // it is on again.
                    (None, Some(row)) if !row.in_flight.is_empty() && !writable(contact) => {}
                    (None, Some(_)) => {
                        self.outbox.remove(&key);
                        self.changes.outbox.push(OutboxChange::Drop(key));
                    }
                    (Some((changes, held)), present) => {
                        let fate = Fate {
                            moved: &moved,
                            held,
                        };
                        self.put_write(subject, key, changes, present.as_ref(), fate)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn put_write(
        &mut self,
        subject: i64,
        key: WriteKey,
        changes: String,
        present: Option<&OutboxRow>,
        fate: Fate<'_>,
    ) -> Result<(), PackError> {
        let held = fate.held;
        if let Some(row) = present {
            let before = self.packer.unpack_changes(&row.changes)?.changes;
            let after = self.packer.unpack_changes(&changes)?.changes;
            // What was handed over is on its way, whatever the contact is seen to show meanwhile.
            let same = before == after || row.state == SENT && sets(&before, &values(&after));
            let keeps_state = match row.state {
                PENDING | CLAIMED | DEAD | SENT | PLANNED => !held,
                HELD => held,
                _ => false,
            };
            if same && keeps_state && row.subject == subject && fate.moved.is_empty() {
                return Ok(());
            }
        }
        let now = self.frame.now.micros();
        let not_before = if key.lane == LANE_GRANT {
            now.saturating_add(self.frame.grant_settle)
        } else {
            now
        };
        let row = OutboxRow {
            subject,
            // Sequence numbers are never used twice, so a stale claim always shows.
            version: self.next_sequence + self.changes.ledger.len() as i64,
            changes,
            state: if held { HELD } else { self.waiting },
            in_flight: self.may_still_happen(present, fate.moved)?,
            decided_at: present.map_or(now, |row| row.decided_at),
            not_before,
            attempts: 0,
            claimed_until: 0,
            last_error: None,
            key: key.clone(),
        };
        let subject_ref = self.places.get(subject).map(|place| place.row.subject);
        let how = if key.lane == LANE_GRANT {
            "grant"
        } else {
            "withdrawal"
        };
        let body = written(subject_ref.as_ref(), &key, how, &row.changes);
        self.log(
            if held { "held" } else { "planned" },
            Some(subject),
            Some(key.system),
            body,
        );
        self.outbox.insert(key, row.clone());
        self.changes.outbox.push(OutboxChange::Put(row));
        Ok(())
    }
}
