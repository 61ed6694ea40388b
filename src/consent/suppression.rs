//! What is left of somebody who was erased (R55, G8): a withdrawal of every root purpose, at the instant
//! of the erasure. Erasure is no consent, so whoever comes back starts withdrawn.
//!
//! It competes like every other statement (R18): a later, stronger grant by the person wins, and the
//! person is no longer suppressed for that purpose.

use super::purpose::{PurposeId, Purposes};
use super::resolve::{Remembered, Source};
use super::statement::{Evidence, Statement, Status};
use super::time::{At, Stamp};

/// Stands as the contact of what an erasure withdrew; the system is none.
pub const ERASURE: &str = "erasure";

/// The purposes that an erasure withdraws: those at the root, and with them everything below (R20).
pub fn roots(purposes: &Purposes) -> impl Iterator<Item = PurposeId> + '_ {
    purposes
        .iter()
        .filter(|(_, purpose)| purpose.parent.is_none())
        .map(|(id, _)| id)
}

/// The root above a purpose; itself when it is one.
pub fn root_of(purposes: &Purposes, purpose: PurposeId) -> PurposeId {
    purposes.ancestors(purpose).last().unwrap_or(purpose)
}

/// R55: what somebody who was erased `since` and comes back is remembered to have withdrawn.
pub fn withdrawal(purpose: PurposeId, since: At) -> Remembered {
    Remembered {
        purpose,
        source: Source {
            system: None,
            contact: ERASURE.to_owned(),
        },
        statement: Statement {
            status: Status::Withdrawn,
            basis: None,
            stamp: Stamp::between(since, since),
            evidence: Evidence::Explicit,
            actor: None,
        },
        overruled: false,
    }
}

/// Whether a remembered statement is what an erasure left.
pub fn is_erasure(kept: &Remembered) -> bool {
    kept.source.system.is_none()
        && kept.source.contact == ERASURE
        && kept.statement.status == Status::Withdrawn
}
