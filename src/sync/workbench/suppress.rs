//! R55, G8: whoever comes back under an address that was erased starts withdrawn.

use super::Workbench;
use super::entry::Body;
use crate::consent::{At, Remembered, SubjectKey, suppression};
use crate::store::{SuppressionDigest, SuppressionRow};
use crate::sync::pack::PackError;
use std::collections::HashSet;

impl Workbench<'_> {
    /// The digests of new subjects of which nobody asked yet whether somebody was erased under them;
    /// none while nobody was erased at all.
    pub(super) fn unasked(&self, asked: &HashSet<SuppressionDigest>) -> Vec<SuppressionDigest> {
        if !self.any_suppressed {
            return Vec::new();
        }
        let suppressor = self.frame.suppressor;
        let new = self.places.new_ones();
        new.flat_map(|place| {
            suppressor
                .digests(&SubjectKey::from_normalised(place.row.address.clone()))
                .collect::<Vec<_>>()
        })
        .filter(|digest| !asked.contains(digest))
        .collect()
    }

    /// Lets new subjects under whose address somebody was erased start withdrawn, and with them
    /// whomever a contact of that address belongs to by a link (R58). Their suppressions stand under
    /// the first key from now on.
    pub(super) fn suppress(&mut self) -> Result<(), PackError> {
        if self.suppressed.is_empty() {
            return Ok(());
        }
        let suppressor = self.frame.suppressor;
        let mut back: Vec<(i64, Vec<SuppressionRow>)> = Vec::new();
        for place in self.places.new_ones() {
            let key = SubjectKey::from_normalised(place.row.address.clone());
            let digests: Vec<SuppressionDigest> = suppressor.digests(&key).collect();
            let Some(first) = digests.first() else {
                continue;
            };
            let mut rows = Vec::new();
            for digest in &digests {
                let Some(found) = self.suppressed.get(digest) else {
                    continue;
                };
                if digest != first {
                    self.changes.privacy.unsuppressed.push(*digest);
                }
                let now = Some(self.frame.now.micros());
                rows.extend(found.iter().map(|row| suppressor.seen(row, *first, now)));
            }
            if !rows.is_empty() {
                // Of two rows of one purpose the later erasure counts.
                rows.sort_by(|a, b| (&a.purpose, b.since).cmp(&(&b.purpose, a.since)));
                rows.dedup_by(|later, kept| later.purpose == kept.purpose);
                back.push((place.row.id, rows));
            }
        }
        for (subject, rows) in back {
            let withdrawn: Vec<Remembered> = rows
                .iter()
                .filter_map(|row| {
                    let purpose = self.frame.rules.purposes.find(&row.purpose)?;
                    Some(suppression::withdrawal(purpose, At::from_micros(row.since)))
                })
                .collect();
            self.changes.privacy.suppressed.extend(rows);
            let led = self
                .items
                .iter()
                .filter(|item| item.own_subject == Some(subject));
            let mut homes: Vec<i64> = led.filter_map(|item| item.subject).collect();
            homes.push(subject);
            homes.sort_unstable();
            homes.dedup();
            for home in homes {
                self.state_suppression(home, &withdrawn)?;
            }
        }
        Ok(())
    }

    fn state_suppression(
        &mut self,
        subject: i64,
        withdrawn: &[Remembered],
    ) -> Result<(), PackError> {
        self.remember(subject, withdrawn.to_vec())?;
        let Some(place) = self.places.get(subject) else {
            return Ok(());
        };
        let said = self.packer.remembered(withdrawn, "")?;
        let body = Body::about(said.len())
            .text("subject", &place.row.subject.to_string())
            .packed("said", &said)
            .text("act", "suppression")
            .end();
        self.log("stated", Some(subject), None, body);
        Ok(())
    }
}
