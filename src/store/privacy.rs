//! The rows behind erasure, suppression and retention (R55, R57).

/// HMAC-SHA-256 of a subject under a key that is held outside the store.
pub type SuppressionDigest = [u8; 32];

/// Somebody who was erased, for one purpose. The digest is all that is left of whom (R55).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    /// Whom; cannot be told from it without the key.
    pub digest: SuppressionDigest,
    /// Id of the key.
    pub key: String,
    /// Purpose name.
    pub purpose: String,
    /// The instant of the erasure, by our clock.
    pub since: i64,
    /// When the address came back last; none when it never did.
    pub seen_at: Option<i64>,
}

/// How many suppressions stand under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionKey {
    /// Id of the key.
    pub key: String,
    /// Rows.
    pub rows: i64,
}

/// What a transaction changes of all that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrivacyChanges {
    /// Suppressions to insert or replace whole.
    pub suppressed: Vec<SuppressionRow>,
    /// Suppressions to remove: under a key that is no longer used.
    pub unsuppressed: Vec<SuppressionDigest>,
}
