//! What the ledger says is laid on the bench again (G9): where a contact belongs was decided then, and
//! is not decided anew.

use super::{Slot, Workbench};
use crate::consent::SubjectKey;
use crate::store::SubjectRef;
use crate::sync::pack::PackError;

impl Workbench<'_> {
    /// Puts a contact where it belonged then, with the link it had. The subject's address is not in the
    /// ledger; `nobody` stands for it.
    ///
    /// # Errors
    /// When a stored row cannot be read back.
    pub fn place(
        &mut self,
        slot: Slot,
        home: Option<SubjectRef>,
        link: Option<&str>,
        nobody: &SubjectKey,
    ) -> Result<(), PackError> {
        let home = home.map(|subject| self.places.find_or_add(subject, nobody));
        let Some(item) = self.items.get_mut(slot.0) else {
            return Ok(());
        };
        item.changed |= item.link.as_deref() != link || item.own_subject != home;
        item.link = link.map(str::to_owned);
        item.own_subject = home;
        if item.subject == home {
            return Ok(());
        }
        self.relocate(slot.0, home)
    }

    /// Adds packed statements without a contact to a subject, as they were added then.
    ///
    /// # Errors
    /// When they or the stored list cannot be read.
    pub fn state(
        &mut self,
        subject: SubjectRef,
        said: &str,
        nobody: &SubjectKey,
    ) -> Result<(), PackError> {
        let said = self.packer.unpack_remembered(said)?;
        let id = self.places.find_or_add(subject, nobody);
        self.remember(id, said)
    }
}
