//! R55: what outlives somebody who was erased names none of their contacts.

use super::Workbench;
use super::entry::Body;
use crate::consent::{Remembered, SystemId};
use crate::store::OutboxChange;
use crate::sync::pack::PackError;
use std::borrow::Cow;

/// Stands in place of the id of a contact that was erased.
const ERASED: &str = "erased";

impl Workbench<'_> {
    /// R57: a contact that is gone leaves its subject, where its withdrawals are remembered (R14), so that
    /// its row can be removed. False for one that is there, or that a write is under way for.
    ///
    /// # Errors
    /// When a stored row cannot be read back.
    pub fn bury(&mut self, system: SystemId, id: &str) -> Result<bool, PackError> {
        let Some(index) = self.index(system, id) else {
            return Ok(false);
        };
        let has_write = self
            .outbox
            .keys()
            .any(|key| key.system == system.0 && key.external == id);
        let Some(item) = self.items.get_mut(index) else {
            return Ok(false);
        };
        if item.contact.life.is_live() || has_write {
            return Ok(false);
        }
        item.own_subject = None;
        if item.subject.is_some() {
            self.relocate(index, None)?;
        }
        Ok(true)
    }

    /// Takes the ids of these contacts out of what the subjects on the bench remember, and out of their
    /// writes. What was said stays said (R14), and is stated anew, since the entries of the ledger that
    /// told of it are forgotten.
    ///
    /// # Errors
    /// When a stored list cannot be read back.
    pub fn forget_sources(&mut self, contacts: &[(i16, String)]) -> Result<(), PackError> {
        let is_gone = |kept: &Remembered| {
            contacts.iter().any(|(system, external)| {
                kept.source.system == Some(SystemId(*system)) && kept.source.contact == *external
            })
        };
        let subjects: Vec<i64> = self.places.all().map(|place| place.row.id).collect();
        for subject in subjects {
            let Some(place) = self.places.get_mut(subject) else {
                continue;
            };
            let mut all = self.packer.unpack_remembered(&place.row.remembered)?;
            let mut renamed = Vec::new();
            for kept in all.iter_mut().filter(|kept| is_gone(kept)) {
                ERASED.clone_into(&mut kept.source.contact);
                renamed.push(kept.clone());
            }
            if renamed.is_empty() {
                continue;
            }
            all.sort();
            all.dedup();
            place.remembered = Some(all);
            place.touched = true;
            // The entry of the new verdict must not repeat the old one, which names the contact.
            place.row.verdicts.clear();
            let reference = place.row.subject.to_string();
            let said = self.packer.remembered(&renamed, "")?;
            let body = Body::about(said.len())
                .text("subject", &reference)
                .packed("said", &said)
                .text("act", "erasure of a contact")
                .end();
            self.log("stated", Some(subject), None, body);
        }
        let quoted: Vec<String> = contacts
            .iter()
            .filter_map(|(_, external)| serde_json::to_string(external).ok())
            .collect();
        let mut changed = Vec::new();
        for row in self.outbox.values_mut() {
            for id in &quoted {
                for text in [&mut row.changes, &mut row.in_flight] {
                    if let Cow::Owned(other) = without(text, id) {
                        *text = other;
                        changed.push(row.key.clone());
                    }
                }
            }
        }
        changed.dedup();
        for key in changed {
            let row = self.outbox.get(&key).cloned();
            self.changes.outbox.extend(row.map(OutboxChange::Put));
        }
        Ok(())
    }
}

fn without<'a>(text: &'a str, quoted: &str) -> Cow<'a, str> {
    // Where a write was said; its values name no contact.
    let (before, after) = (format!("\"c\":{quoted}"), format!("\"c\":\"{ERASED}\""));
    if text.contains(&before) {
        Cow::Owned(text.replace(&before, &after))
    } else {
        Cow::Borrowed(text)
    }
}
