//! The chain of the ledger (R52): how entries and blocks are digested, and how that is proved.
//!
//! An entry's digest covers its number and everything it says. One transaction appends one block,
//! whose digest covers the block before it and the digests of its entries. The encoding is fixed:
//! the same entries give the same digests on both databases.

use super::{LedgerDraft, LedgerRow};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The digest that the first block follows.
pub const GENESIS: Digest = [0; 32];

/// A block of the chain, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// Sequence number of its first entry.
    pub first: i64,
    /// Sequence number of its last entry.
    pub last: i64,
    /// SHA-256 over the digest of the block before and the digests of its entries, in order.
    pub digest: Digest,
    /// When the last entry was made, by our clock.
    pub at: i64,
}

/// Entries that have their numbers and digests, ready to be stored.
pub(super) struct Sealed<'a> {
    /// What the caller drafted.
    pub(super) drafts: &'a [LedgerDraft],
    /// One digest an entry.
    pub(super) digests: Vec<Digest>,
    /// The block they make.
    pub(super) block: BlockRow,
}

/// Numbers and digests `drafts` from `first` on; none when there are none.
pub(super) fn seal<'a>(
    drafts: &'a [LedgerDraft],
    first: i64,
    previous: &Digest,
) -> Option<Sealed<'a>> {
    let newest = drafts.last()?;
    let digests: Vec<Digest> = drafts
        .iter()
        .zip(first..)
        .map(|(draft, seq)| entry_digest(seq, draft.at, draft.kind, draft.system, &draft.body))
        .collect();
    let block = BlockRow {
        first,
        last: first + digests.len() as i64 - 1,
        digest: block_digest(previous, &digests),
        at: newest.at,
    };
    Some(Sealed {
        drafts,
        digests,
        block,
    })
}

/// The digest of one entry: each field is preceded by its length in bytes, so that no two entries
/// share an encoding; a missing system has length 0.
pub fn entry_digest(seq: i64, at: i64, kind: &str, system: Option<i16>, body: &str) -> Digest {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    field(&seq.to_be_bytes());
    field(&at.to_be_bytes());
    field(kind.as_bytes());
    match system {
        Some(system) => field(&system.to_be_bytes()),
        None => field(&[]),
    }
    field(body.as_bytes());
    hash.finalize().into()
}

/// The digest of a block that follows `previous` and has entries with these digests.
pub fn block_digest(previous: &Digest, entries: &[Digest]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(previous);
    for entry in entries {
        hash.update(entry);
    }
    hash.finalize().into()
}

/// The first thing found wrong in a range of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Entries are missing, or out of order.
    #[error("ledger entry {expected} is missing")]
    Missing {
        /// The number that should have come.
        expected: i64,
    },
    /// The entry does not give its stored digest.
    #[error("ledger entry {0} was altered")]
    Entry(i64),
    /// The block does not give its stored digest.
    #[error("ledger block ending at {0} was altered")]
    Block(i64),
}

/// Proves one block: `rows` are its entries in order with their stored digests, `previous` is the
/// digest of the block before it, or [`GENESIS`].
pub fn verify_range(
    previous: &Digest,
    block: &BlockRow,
    rows: &[(LedgerRow, Digest)],
) -> Result<(), ChainFault> {
    let mut digests = Vec::with_capacity(rows.len());
    let mut rows = rows.iter();
    for expected in block.first..=block.last {
        let Some((row, stored)) = rows.next().filter(|(row, _)| row.seq == expected) else {
            return Err(ChainFault::Missing { expected });
        };
        if entry_digest(row.seq, row.at, &row.kind, row.system, &row.body) != *stored {
            return Err(ChainFault::Entry(row.seq));
        }
        digests.push(*stored);
    }
    if rows.next().is_some() || block_digest(previous, &digests) != block.digest {
        return Err(ChainFault::Block(block.last));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(drafts: &[LedgerDraft]) -> (BlockRow, Vec<(LedgerRow, Digest)>) {
        let sealed = seal(drafts, 1, &GENESIS).unwrap();
        let rows = drafts.iter().zip(1..).zip(&sealed.digests);
        let rows = rows.map(|((draft, seq), digest)| {
            let row = LedgerRow {
                seq,
                at: draft.at,
                kind: draft.kind.to_owned(),
                system: draft.system,
                body: draft.body.clone(),
            };
            (row, *digest)
        });
        (sealed.block, rows.collect())
    }

    fn drafts() -> Vec<LedgerDraft> {
        let draft = |at, kind, system, body: &str| LedgerDraft {
            kind,
            subject: Some(1),
            system,
            at,
            body: body.to_owned(),
        };
        vec![
            draft(5, "observed", Some(1), "{}"),
            draft(6, "verdict", None, "[1]"),
            draft(7, "planned", Some(2), ""),
        ]
    }

    #[test]
    fn an_untouched_block_is_proved() {
        let (block, rows) = block(&drafts());
        assert_eq!((block.first, block.last, block.at), (1, 3, 7));
        assert_eq!(verify_range(&GENESIS, &block, &rows), Ok(()));
    }

    type Alter<'a> = &'a dyn Fn(&mut Vec<(LedgerRow, Digest)>);

    #[test]
    fn every_alteration_is_found() {
        let (whole, rows) = block(&drafts());
        let verdict = |alter: Alter<'_>| {
            let mut rows = rows.clone();
            alter(&mut rows);
            verify_range(&GENESIS, &whole, &rows)
        };
        assert_eq!(
            verdict(&|rows| rows[1].0.at += 1),
            Err(ChainFault::Entry(2))
        );
        assert_eq!(
            verdict(&|rows| rows[0].0.system = None),
            Err(ChainFault::Entry(1))
        );
        let missing = Err(ChainFault::Missing { expected: 2 });
        assert_eq!(verdict(&|rows| drop(rows.remove(1))), missing);
        assert_eq!(
            verdict(&|rows| rows.push(rows[2].clone())),
            Err(ChainFault::Block(3))
        );
        let rewritten = verdict(&|rows| {
            rows[2].0.body = "x".to_owned();
            rows[2].1 = entry_digest(3, 7, "planned", Some(2), "x");
        });
        assert_eq!(rewritten, Err(ChainFault::Block(3)));
        assert_eq!(
            verify_range(&[1; 32], &whole, &rows),
            Err(ChainFault::Block(3))
        );
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(
            entry_digest(1, 1, "ab", None, "c"),
            entry_digest(1, 1, "a", None, "bc")
        );
    }
}
