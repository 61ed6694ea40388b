//! Counters of what clients did, for assertions in tests.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::faults::CallKind;

/// What clients did since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Requests by kind.
    pub by_kind: BTreeMap<CallKind, u64>,
    /// Listings of consents without a key, which answer the whole account.
    pub full_listings: u64,
    /// Requests refused for their key.
    pub forbidden: u64,
    /// Consent records written through the API.
    pub records_written: u64,
    /// Consent records sent whose legal basis was the current one already, written or not.
    pub records_repeated: u64,
    /// Consent records refused.
    pub records_refused: u64,
    /// Contacts created through the API.
    pub contacts_created: u64,
    /// Contacts updated through the API.
    pub contacts_updated: u64,
    /// Contacts deleted through the API.
    pub contacts_deleted: u64,
    /// Contacts refused.
    pub contacts_refused: u64,
}

impl Calls {
    /// Requests of one kind.
    pub fn of(&self, kind: CallKind) -> u64 {
        self.by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// Requests of any kind.
    pub fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }
}
