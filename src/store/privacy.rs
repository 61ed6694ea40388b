//! The rows behind erasure, suppression, retention and backups (R55, R57).

use super::ledger::{Head, Redacted};
use super::rows::SubjectRef;

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

/// Contacts and subjects whose traces are looked for before they are erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceQuery {
    /// Keyed hashes of the subjects.
    pub subjects: Vec<SubjectRef>,
    /// Their addresses, normalised.
    pub addresses: Vec<String>,
    /// System numbers and external ids of their contacts.
    pub contacts: Vec<(i16, String)>,
}

/// Where else than in their own rows somebody is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traces {
    /// Other subjects whose remembered statements name one of the contacts.
    pub remembering: Vec<SubjectRef>,
    /// Quarantined records whose bytes hold one of the addresses, in whatever case, or that are of one of
    /// the contacts.
    pub quarantined: Vec<(i16, String)>,
    /// Send-outs with one of the subjects among their recipients: id, and all recipients.
    pub sendouts: Vec<(String, Vec<Option<SubjectRef>>)>,
}

/// Contacts and subjects that are removed with everything that names them, their suppressions aside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// Subject numbers.
    pub subjects: Vec<i64>,
    /// System numbers and external ids.
    pub contacts: Vec<(i16, String)>,
    /// How many live contacts, and how many of them without a subject, that adds to each system:
    /// numbers below zero.
    pub counts: Vec<(i16, i64, i64)>,
    /// Send-outs with the recipients that are left; places stay as they are.
    pub sendouts: Vec<(String, Vec<Option<SubjectRef>>)>,
}

impl Erased {
    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty() && self.contacts.is_empty() && self.sendouts.is_empty()
    }
}

/// A table whose rows have a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiring {
    /// Changes of status, which the guards count over an hour.
    Flips,
    /// Which contacts a load has counted. The counts themselves stay.
    LoadMembers,
    /// Records that could not be understood.
    Quarantine,
    /// Re-subscribe requests that are closed.
    ClosedRequests,
    /// Contacts that were deleted or merged and have no write under way.
    DeletedContacts,
}

impl Expiring {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Flips,
        Self::LoadMembers,
        Self::Quarantine,
        Self::ClosedRequests,
        Self::DeletedContacts,
    ];

    /// The word used in the configuration and in the ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Flips => "flips",
            Self::LoadMembers => "load_members",
            Self::Quarantine => "quarantine",
            Self::ClosedRequests => "closed_requests",
            Self::DeletedContacts => "deleted_contacts",
        }
    }
}

/// A row of such a table: its number, or that of its system or load, and the external id where it has
/// one.
pub type ExpiringKey = (i64, String);

/// What a transaction changes of all that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrivacyChanges {
    /// Suppressions to insert or replace whole.
    pub suppressed: Vec<SuppressionRow>,
    /// Suppressions to remove: under a key that is no longer used.
    pub unsuppressed: Vec<SuppressionDigest>,
    /// Who is removed, with contacts.
    pub erased: Erased,
    /// Blocks of the ledger, by the number of their last entry, of which something is forgotten. When
    /// one is another by now, the transaction is refused with [`super::Applied::Overtaken`].
    pub redacted: Vec<(i64, Redacted)>,
    /// Rows that have expired. Contacts are removed as erased ones are.
    pub dropped: Option<(Expiring, Vec<ExpiringKey>)>,
    /// How far a class of the ledger's entries has expired: its name, and the last block looked at.
    pub expired: Option<(String, i64)>,
}

/// What is left on disk of texts that were erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Residue {
    /// Somebody who reads keeps the database's log from being emptied.
    pub is_log_kept: bool,
    /// The database had to be written anew, because texts were found in these of its files.
    pub found: Vec<String>,
    /// Files in which texts are found still.
    pub left: Vec<String>,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Bytes.
    pub bytes: u64,
    /// Where the ledger in it ends.
    pub head: Head,
}
