//! The chain of the ledger (R52): how entries are packed into blocks, how both are digested, and how
//! that is proved.
//!
//! One transaction appends one block, stored as one row with all its entries in one value. An entry's
//! digest covers its number and everything it says; it is worked out anew whenever it is needed. A
//! block's digest covers the block before it and the digests of its entries. The encoding is fixed:
//! the same entries give the same digests on both databases.

use super::{LedgerDraft, LedgerRow};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The digest that the first block follows.
pub const GENESIS: Digest = [0; 32];

/// A block of the chain, as stored, without its entries.
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

/// A block that is ready to be stored.
pub(super) struct Sealed {
    /// Numbers and digest.
    pub(super) block: BlockRow,
    /// The entries, as [`unpack`] reads them.
    pub(super) entries: Vec<u8>,
    /// Subjects that have entries in it and were known before, each once, in order. Those that are
    /// new with this transaction are found by their numbers.
    pub(super) known_subjects: Vec<i64>,
    /// The highest number of a new subject, if there is any.
    pub(super) newest_subject: Option<i64>,
}

/// Numbers, digests and packs `drafts` from `first` on; none when there are none. Subjects with a
/// number in `new` are new with this transaction.
pub(super) fn seal(
    drafts: &[LedgerDraft],
    first: i64,
    previous: &Digest,
    new: &std::ops::Range<i64>,
) -> Option<Sealed> {
    let newest = drafts.last()?;
    let mut chain = Sha256::new_with_prefix(previous);
    for (draft, seq) in drafts.iter().zip(first..) {
        chain.update(entry_digest(
            seq,
            draft.at,
            draft.kind,
            draft.system,
            &draft.body,
        ));
    }
    let mut known_subjects: Vec<i64> = drafts
        .iter()
        .filter_map(|draft| draft.subject)
        .filter(|subject| !new.contains(subject))
        .collect();
    known_subjects.sort_unstable();
    known_subjects.dedup();
    Some(Sealed {
        block: BlockRow {
            first,
            last: first + drafts.len() as i64 - 1,
            digest: chain.finalize().into(),
            at: newest.at,
        },
        entries: pack(drafts),
        known_subjects,
        newest_subject: (!new.is_empty()).then_some(new.end - 1),
    })
}

/// Entries as one value: each field a number or a text with its length, one after the other,
/// deflated.
fn pack(drafts: &[LedgerDraft]) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    let mut entry = Vec::new();
    let mut before = 0;
    for draft in drafts {
        entry.clear();
        put_number(&mut entry, draft.at.wrapping_sub(before));
        before = draft.at;
        put_number(&mut entry, draft.subject.unwrap_or(NOBODY));
        put_number(&mut entry, draft.system.unwrap_or(0).into());
        put_text(&mut entry, draft.kind);
        put_text(&mut entry, &draft.body);
        // Writing into memory cannot fail.
        packed.write_all(&entry).ok();
    }
    packed.finish().unwrap_or_default()
}

/// What stands for no subject; numbers of subjects are positive.
const NOBODY: i64 = 0;

/// A number in as few bytes as it needs, seven bits each, the lowest first; its sign is the lowest.
fn put_number(into: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    put_number(into, text.len() as i64);
    into.extend_from_slice(text.as_bytes());
}

/// The entries of a stored block that begins with number `first`, in order, each with the subject it
/// is about.
pub fn unpack(first: i64, packed: &[u8]) -> Unpacked<'_> {
    Unpacked {
        rest: BufReader::new(DeflateDecoder::new(packed)),
        seq: first,
        at: 0,
    }
}

/// See [`unpack`].
pub struct Unpacked<'a> {
    rest: BufReader<DeflateDecoder<&'a [u8]>>,
    seq: i64,
    at: i64,
}

impl Iterator for Unpacked<'_> {
    type Item = io::Result<(Option<i64>, LedgerRow)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest.fill_buf() {
            Ok([]) => None,
            Ok(_) => Some(self.entry()),
            Err(error) => Some(Err(error)),
        }
    }
}

impl Unpacked<'_> {
    fn entry(&mut self) -> io::Result<(Option<i64>, LedgerRow)> {
        self.at = self.at.wrapping_add(self.number()?);
        let subject = self.number()?;
        let system = self.number()?;
        let row = LedgerRow {
            seq: self.seq,
            at: self.at,
            system: (system != 0)
                .then(|| i16::try_from(system))
                .transpose()
                .map_err(unreadable)?,
            kind: self.text()?,
            body: self.text()?,
        };
        self.seq += 1;
        Ok(((subject != NOBODY).then_some(subject), row))
    }

    fn number(&mut self) -> io::Result<i64> {
        let mut number = 0_u64;
        for place in (0..64).step_by(7) {
            let mut byte = [0];
            self.rest.read_exact(&mut byte)?;
            number |= u64::from(byte[0] & 0x7f) << place;
            if byte[0] < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err(unreadable("a number has no end"))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = u64::try_from(self.number()?).map_err(unreadable)?;
        let mut text = String::new();
        if (&mut self.rest).take(length).read_to_string(&mut text)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(text)
    }
}

fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
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

/// The first thing found wrong in a range of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Entries are missing, or out of order.
    #[error("ledger entry {expected} is missing")]
    Missing {
        /// The number that should have come.
        expected: i64,
    },
    /// The block does not give its stored digest: it, one of its entries or a block before it was
    /// altered.
    #[error("ledger block ending at {0} was altered")]
    Block(i64),
}

/// Proves one block: `packed` are its entries as stored, `previous` is the digest of the block before
/// it, or [`GENESIS`].
pub fn verify_range(previous: &Digest, block: &BlockRow, packed: &[u8]) -> Result<(), ChainFault> {
    let mut chain = Sha256::new_with_prefix(previous);
    let mut expected = block.first;
    for entry in unpack(block.first, packed) {
        let Ok((_, row)) = entry else {
            return Err(ChainFault::Block(block.last));
        };
        let LedgerRow {
            seq,
            at,
            kind,
            system,
            body,
        } = &row;
        chain.update(entry_digest(*seq, *at, kind, *system, body));
        expected += 1;
    }
    if expected <= block.last {
        return Err(ChainFault::Missing { expected });
    }
    if expected > block.last + 1 || chain.finalize()[..] != block.digest {
        return Err(ChainFault::Block(block.last));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafts() -> Vec<LedgerDraft> {
        let draft = |at, kind, subject, system, body: &str| LedgerDraft {
            kind,
            subject,
            system,
            at,
            body: body.to_owned(),
        };
        vec![
            draft(
                1_700_000_000_000_005,
                "observed",
                Some(1),
                Some(1),
                "{\"name\":\"Zoë\"}",
            ),
            draft(-6, "verdict", None, None, "[1]"),
            draft(i64::MAX, "planned", Some(i64::MAX), Some(i16::MAX), ""),
            draft(
                i64::MIN,
                "observed",
                Some(300),
                Some(2),
                &"x".repeat(100_000),
            ),
        ]
    }

    fn sealed(drafts: &[LedgerDraft]) -> Sealed {
        seal(drafts, 1, &GENESIS, &(1..1)).unwrap()
    }

    #[test]
    fn what_is_packed_reads_back() {
        let sealed = sealed(&drafts());
        let read: Vec<_> = unpack(1, &sealed.entries)
            .collect::<io::Result<_>>()
            .unwrap();
        let expected = drafts().into_iter().zip(1..).map(|(draft, seq)| {
            let row = LedgerRow {
                seq,
                at: draft.at,
                kind: draft.kind.to_owned(),
                system: draft.system,
                body: draft.body,
            };
            (draft.subject, row)
        });
        assert_eq!(read, expected.collect::<Vec<_>>());
        for length in 0..sealed.entries.len() {
            let cut = &sealed.entries[..length];
            let read = unpack(1, cut).collect::<io::Result<Vec<_>>>();
            assert!(read.is_err() || read.unwrap().len() < 4, "{length}");
        }
    }

    #[test]
    fn subjects_that_were_known_are_listed_and_new_ones_counted() {
        let find = |new: std::ops::Range<i64>| {
            let sealed = seal(&drafts(), 1, &GENESIS, &new).unwrap();
            (sealed.known_subjects, sealed.newest_subject)
        };
        assert_eq!(find(2..2), (vec![1, 300, i64::MAX], None));
        assert_eq!(find(2..500), (vec![1, i64::MAX], Some(499)));
    }

    #[test]
    fn an_untouched_block_is_proved() {
        let sealed = sealed(&drafts()[..3]);
        let block = &sealed.block;
        assert_eq!((block.first, block.last, block.at), (1, 3, i64::MAX));
        assert_eq!(verify_range(&GENESIS, block, &sealed.entries), Ok(()));
    }

    #[test]
    fn every_alteration_is_found() {
        let whole = sealed(&drafts()).block;
        let verdict = |alter: &dyn Fn(&mut Vec<LedgerDraft>)| {
            let mut drafts = drafts();
            alter(&mut drafts);
            verify_range(&GENESIS, &whole, &pack(&drafts))
        };
        let altered = Err(ChainFault::Block(4));
        assert_eq!(verdict(&|_| {}), Ok(()));
        assert_eq!(verdict(&|drafts| drafts[1].at += 1), altered);
        assert_eq!(verdict(&|drafts| drafts[0].system = None), altered);
        assert_eq!(verdict(&|drafts| drafts[2].body.push('x')), altered);
        assert_eq!(verdict(&|drafts| drafts[2].kind = "held"), altered);
        assert_eq!(verdict(&|drafts| drafts.swap(0, 1)), altered);
        assert_eq!(verdict(&|drafts| drafts.push(drafts[0].clone())), altered);
        let missing = Err(ChainFault::Missing { expected: 4 });
        assert_eq!(verdict(&|drafts| drop(drafts.remove(1))), missing);
        let packed = pack(&drafts());
        assert_eq!(verify_range(&[1; 32], &whole, &packed), altered);
        assert_eq!(verify_range(&GENESIS, &whole, b"no block"), altered);
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(
            entry_digest(1, 1, "ab", None, "c"),
            entry_digest(1, 1, "a", None, "bc")
        );
    }
}
