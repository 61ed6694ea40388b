//! The rows of decisions that wait for a person (R24 to R29).

use super::rows::SubjectRef;

/// A hold: everything that waits for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRow {
    /// The number of the ledger entry that tells of its opening; never used twice.
    pub id: i64,
    /// The word of a [`crate::consent::guard::HoldKind`].
    pub kind: String,
    /// Number of the system whose statements are in question; 0 where it is none in particular.
    pub system: i16,
    /// Purpose name; empty where a hold is of all purposes.
    pub purpose: String,
    /// What waits is a withdrawal.
    pub withdrawn: bool,
    /// Who made a load; else empty.
    pub actor: String,
    /// By our clock.
    pub opened_at: i64,
    /// When nothing waited any more, by our clock.
    pub closed_at: Option<i64>,
}

/// What waits of one subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldRow {
    /// Subject number.
    pub subject: i64,
    /// Number of the hold.
    pub hold: i64,
    /// Purpose name.
    pub purpose: String,
    /// Since when, by our clock.
    pub since: i64,
    /// It was approved while the hold is still open for others.
    pub released: bool,
}

/// Which row of [`HeldRow`]: subject, hold, purpose.
pub type HeldKey = (i64, i64, String);

/// Flips of one cause within the guard's window: system, purpose, whether withdrawn, how many (R26).
pub type FlipCount = (i16, String, bool, i64);

/// What a transaction changes of holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HoldChanges {
    /// Holds to open.
    pub opened: Vec<HoldRow>,
    /// Rows to insert or replace.
    pub held: Vec<HeldRow>,
    /// Rows that are done with.
    pub gone: Vec<HeldKey>,
    /// R26: opened holds that take in everybody who flipped since an instant, and stop their writes of
    /// that direction.
    pub trips: Vec<Trip>,
    /// R28: flips that are judged, by subject and purpose, and do not count any more.
    pub judged_flips: Vec<(i64, String)>,
    /// By our clock; holds that are left empty close then.
    pub at: i64,
}

/// A hold of everybody who flipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// Number of the hold, which this transaction opens.
    pub hold: i64,
    /// The lane of its writes.
    pub lane: i16,
    /// Flips count since then.
    pub since: i64,
}

/// A hold with what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldView {
    /// The hold.
    pub hold: HoldRow,
    /// Persons of whom something waits.
    pub waiting: i64,
    /// Persons of whom everything was approved while it is still open for others.
    pub released: i64,
}

/// What waits of one subject, with who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldView {
    /// What waits.
    pub row: HeldRow,
    /// Keyed hash.
    pub subject: SubjectRef,
}
