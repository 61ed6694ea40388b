//! Counters of what clients did, for assertions in tests.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::faults::CallKind;

/// What clients did since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// Requests by kind.
    pub by_kind: BTreeMap<CallKind, u64>,
    /// Tokens issued.
    pub tokens: u64,
    /// Requests whose token had expired.
    pub expired: u64,
    /// Requests without a token that ever was one, and grants refused.
    pub unauthorised: u64,
    /// Rows answered to Retrieves.
    pub rows_read: u64,
    /// Objects of Updates that were taken.
    pub rows_updated: u64,
    /// Objects of Updates that were refused.
    pub rows_refused: u64,
}

impl Calls {
    /// Requests of one kind.
    pub fn of(&self, kind: CallKind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }
}
