//! Counters of what clients did, for assertions in tests.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::faults::CallKind;

/// What clients did since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// Requests by kind; sub-requests of composite calls are not counted apart.
    pub by_kind: BTreeMap<CallKind, u64>,
    /// Requests that the daily quota counts.
    pub counted: u64,
    /// Tokens issued, SOAP logins included.
    pub logins: u64,
    /// Requests answered with 401.
    pub unauthorised: u64,
    /// Row saves through the API that changed at least one field.
    pub rows_changed: u64,
    /// Row saves through the API that changed nothing.
    pub rows_unchanged: u64,
    /// Rows created through the API.
    pub rows_created: u64,
    /// Rows deleted through the API.
    pub rows_deleted: u64,
    /// Rows refused.
    pub rows_refused: u64,
}

impl Calls {
    /// Takes back the saves counted since `before`: they were rolled back.
    pub(crate) fn forget_saves_since(&mut self, before: &Calls) {
        self.rows_changed = before.rows_changed;
        self.rows_unchanged = before.rows_unchanged;
        self.rows_created = before.rows_created;
        self.rows_deleted = before.rows_deleted;
    }

    /// Requests of one kind.
    pub fn of(&self, kind: CallKind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }
}
