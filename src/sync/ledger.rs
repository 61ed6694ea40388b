//! The ledger as a whole: proved, handed out, and replayed (R52, G9). All of it goes block by block
//! from the first to the last, so that memory does not grow with the ledger.

pub mod export;
pub mod proof;
pub mod replay;

use crate::store::{Store, StoreError};

/// How far a walk through the ledger has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Entries behind it.
    pub entries: u64,
    /// Entries of the ledger, as far as is known.
    pub of: u64,
}

impl Progress {
    fn at(entry: i64, of: i64) -> Self {
        Self {
            entries: entry.unsigned_abs(),
            of: of.max(entry).unsigned_abs(),
        }
    }
}

/// Hears of progress after every few blocks.
pub type Hear<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Blocks that are read at once.
const BATCH: usize = 8;

/// The kind of entries that tell that a person was erased: their body says how many entries were
/// `forgotten` with it.
pub const ERASED: &str = "erased";

/// The kind of entries that tell that the time of some data was over: their body says how many entries
/// were `forgotten` with it.
pub const EXPIRED: &str = "expired";

/// The number that the next entry gets.
async fn next_sequence(store: &dyn Store) -> Result<i64, StoreError> {
    Ok(store.subjects_after(i64::MAX, 0).await?.next_sequence)
}
