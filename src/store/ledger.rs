//! The chain of the ledger (R52): how entries are packed into blocks, how both are digested, how that
//! is proved, and how an entry is forgotten without breaking the proof.
//!
//! One transaction appends one block, stored as one row with all its entries in one value. An entry's
//! digest covers its number and everything it says; it is worked out anew whenever it is needed. A
//! block's digest covers the block before it, the digests of its entries, and what else its row says.
//! The marks beside it are the first bytes of those digests: they prove nothing, but tell which entry
//! was altered. The encoding is fixed: the same entries give the same digests on both databases.

use super::{LedgerDraft, LedgerRow};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::str::FromStr;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The digest that the first block follows.
pub const GENESIS: Digest = [0; 32];

/// The kind of an entry that was forgotten: its body is its first digest in hexadecimal, it names no
/// subject and no system, and its time is as it was. No draft has this kind.
pub const FORGOTTEN: &str = "forgotten";

/// Bytes of a mark.
const MARK: usize = 4;

/// A block of the chain, as stored, without its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// Sequence number of its first entry.
    pub first: i64,
    /// Sequence number of its last entry.
    pub last: i64,
    /// SHA-256 over the digest of the block before, the digests of its entries, in order, and the two
    /// columns that follow.
    pub digest: Digest,
    /// When the last entry was made, by our clock.
    pub at: i64,
    /// The highest number of a subject that was new with it, if there is any.
    pub newest_subject: Option<i64>,
}

/// A block with all that its row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// Numbers, digest, time.
    pub block: BlockRow,
    /// Its entries, as [`unpack`] reads them.
    pub entries: Vec<u8>,
    /// The first four bytes of SHA-256 over `entries`, then those of the digest of each entry.
    pub marks: Vec<u8>,
}

/// A place in the chain: everything up to it follows from its digest. Written `SEQ:HEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Sequence number of the last entry of the block.
    pub seq: i64,
    /// The block's digest.
    pub digest: Digest,
}

impl Head {
    /// Where the first block begins.
    pub const START: Self = Self {
        seq: 0,
        digest: GENESIS,
    };
}

impl From<&BlockRow> for Head {
    fn from(block: &BlockRow) -> Self {
        Self {
            seq: block.last,
            digest: block.digest,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.digest))
    }
}

/// A head is a number, a colon and 64 hex digits, as `consentd ledger verify` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a head of the ledger is a number, a colon and 64 hex digits, as `consentd ledger verify` prints it"
)]
pub struct NoHead;

impl FromStr for Head {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (seq, digest) = text.trim().split_once(':').ok_or(NoHead)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or(NoHead)?;
        let digest = digest_of_hex(digest).ok_or(NoHead)?;
        Ok(Self { seq, digest })
    }
}

fn hex(digest: &Digest) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16));
    digest.iter().flat_map(digits).flatten().collect()
}

fn digest_of_hex(text: &str) -> Option<Digest> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes?.try_into().ok()
}

/// A block that is ready to be stored.
pub(super) struct Sealed {
    /// Its row.
    pub(super) stored: StoredBlock,
    /// Subjects that have entries in it and were known before, each once, in order. Those that are
    /// new with this transaction are found by their numbers.
    pub(super) known_subjects: Vec<i64>,
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
    let mut packer = Packer::default();
    for (draft, seq) in drafts.iter().zip(first..) {
        let entry = Entry::from(draft);
        let digest = entry.digest(seq);
        chain.update(digest);
        packer.add(&entry, &digest);
    }
    let mut known_subjects: Vec<i64> = drafts
        .iter()
        .filter_map(|draft| draft.subject)
        .filter(|subject| !new.contains(subject))
        .collect();
    known_subjects.sort_unstable();
    known_subjects.dedup();
    let newest_subject = (!new.is_empty()).then_some(new.end - 1);
    let (entries, marks) = packer.finish();
    Some(Sealed {
        stored: StoredBlock {
            block: BlockRow {
                first,
                last: first + drafts.len() as i64 - 1,
                digest: end_of_chain(chain, newest.at, newest_subject),
                at: newest.at,
                newest_subject,
            },
            entries,
            marks,
        },
        known_subjects,
    })
}

/// The digest of a block, all of whose entries are in `chain`.
fn end_of_chain(mut chain: Sha256, at: i64, newest_subject: Option<i64>) -> Digest {
    chain.update(at.to_be_bytes());
    chain.update(newest_subject.unwrap_or(NOBODY).to_be_bytes());
    chain.finalize().into()
}

/// What an entry says, without its number.
struct Entry<'a> {
    at: i64,
    subject: Option<i64>,
    system: Option<i16>,
    kind: &'a str,
    body: &'a str,
}

impl<'a> From<&'a LedgerDraft> for Entry<'a> {
    fn from(draft: &'a LedgerDraft) -> Self {
        Self {
            at: draft.at,
            subject: draft.subject,
            system: draft.system,
            kind: draft.kind,
            body: &draft.body,
        }
    }
}

impl<'a> From<&'a (Option<i64>, LedgerRow)> for Entry<'a> {
    fn from((subject, row): &'a (Option<i64>, LedgerRow)) -> Self {
        Self {
            at: row.at,
            subject: *subject,
            system: row.system,
            kind: &row.kind,
            body: &row.body,
        }
    }
}

impl Entry<'_> {
    /// The digest of the entry with number `seq`: each field is preceded by its length in bytes, so
    /// that no two entries share an encoding; a missing subject or system has length 0.
    fn digest(&self, seq: i64) -> Digest {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(&seq.to_be_bytes());
        field(&self.at.to_be_bytes());
        field(self.kind.as_bytes());
        match self.subject {
            Some(subject) => field(&subject.to_be_bytes()),
            None => field(&[]),
        }
        match self.system {
            Some(system) => field(&system.to_be_bytes()),
            None => field(&[]),
        }
        field(self.body.as_bytes());
        hash.finalize().into()
    }

    /// The digest under which the stored entry is in the chain: of one that was forgotten, the one
    /// that it keeps; none when it keeps none.
    fn stored_digest(&self, seq: i64) -> Option<Digest> {
        if self.kind == FORGOTTEN {
            let bare = self.subject.is_none() && self.system.is_none();
            return digest_of_hex(self.body).filter(|_| bare);
        }
        Some(self.digest(seq))
    }
}

/// Packs entries into one value: each field a number or a text with its length, one after the other,
/// deflated; and their marks into another.
struct Packer {
    packed: DeflateEncoder<Vec<u8>>,
    marks: Vec<u8>,
    entry: Vec<u8>,
    before: i64,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            packed: DeflateEncoder::new(Vec::new(), Compression::fast()),
            marks: vec![0; MARK],
            entry: Vec::new(),
            before: 0,
        }
    }
}

impl Packer {
    fn add(&mut self, entry: &Entry<'_>, digest: &Digest) {
        let into = &mut self.entry;
        into.clear();
        put_number(into, entry.at.wrapping_sub(self.before));
        self.before = entry.at;
        put_number(into, entry.subject.unwrap_or(NOBODY));
        put_number(into, entry.system.unwrap_or(0).into());
        put_text(into, entry.kind);
        put_text(into, entry.body);
        // Writing into memory cannot fail.
        self.packed.write_all(into).ok();
        self.marks.extend_from_slice(&digest[..MARK]);
    }

    /// The entries and their marks.
    fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let packed = self.packed.finish().unwrap_or_default();
        let mut marks = self.marks;
        marks[..MARK].copy_from_slice(&form_mark(&packed));
        (packed, marks)
    }
}

/// The mark of the packed form itself: two forms may unpack to the same entries.
pub(super) fn form_mark(packed: &[u8]) -> [u8; MARK] {
    let [a, b, c, d, ..] = Digest::from(Sha256::digest(packed));
    [a, b, c, d]
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
        self.seq = self.seq.wrapping_add(1);
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

/// A block some of whose entries were forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The entries, as [`unpack`] reads them.
    pub entries: Vec<u8>,
    /// Their marks; those of entries stay as they were.
    pub marks: Vec<u8>,
    /// How many entries were forgotten now.
    pub forgotten: u64,
    /// Mark of the packed form that was read, so that it replaces no other.
    pub replaces: [u8; 4],
}

/// Forgets the entries of a stored block for which `forget` says so; none when there are none. It is
/// asked about each entry once, with the subject it is about, save those that are forgotten already.
/// The digest of the block stays as it is. What was altered before is altered after it, but may not be
/// found by its mark any more: prove a block before you redact it.
///
/// Fails where the entries cannot be read.
pub fn redact(
    first: i64,
    packed: &[u8],
    forget: &mut dyn FnMut(Option<i64>, &LedgerRow) -> bool,
) -> io::Result<Option<Redacted>> {
    let mut packer = Packer::default();
    let mut forgotten = 0;
    for entry in unpack(first, packed) {
        let entry = entry?;
        let (subject, row) = &entry;
        let said = Entry::from(&entry);
        let digest = said
            .stored_digest(row.seq)
            .ok_or_else(|| unreadable("a forgotten entry keeps no digest"))?;
        if row.kind == FORGOTTEN || !forget(*subject, row) {
            packer.add(&said, &digest);
            continue;
        }
        forgotten += 1;
        let bare = Entry {
            at: row.at,
            subject: None,
            system: None,
            kind: FORGOTTEN,
            body: &hex(&digest),
        };
        packer.add(&bare, &digest);
    }
    if forgotten == 0 {
        return Ok(None);
    }
    let (entries, marks) = packer.finish();
    Ok(Some(Redacted {
        entries,
        marks,
        forgotten,
        replaces: form_mark(packed),
    }))
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
    /// An entry does not read as it was written.
    #[error("ledger entry {0} does not read as it was written")]
    Entry(i64),
    /// An entry reads as it was written, but its mark is another.
    #[error("the mark of ledger entry {0} was altered; the entry itself reads as it was written")]
    Mark(i64),
    /// All entries of the block ending there read as they were written, but their packed form or its
    /// mark is another.
    #[error(
        "the packed form of the ledger block ending at {0}, or the mark of it, was altered; its \
         entries read as they were written"
    )]
    Form(i64),
    /// The entries of the block ending there agree with their marks, but it does not give its digest:
    /// one of its columns was altered, or entries together with their marks.
    #[error(
        "the ledger block ending at {0} does not give its digest: a number, a time or the digest in \
         its row was altered, or entries together with their marks"
    )]
    Block(i64),
}

/// Proves that a block is the one that was sealed behind `previous`, and hands out its entries as they
/// are read, each with the subject it is about.
///
/// Whatever was altered is found, since the digest covers it; the marks tell where. An alteration of
/// entries that takes their marks along is only found in the block. A forgotten entry is proved by the
/// digest it keeps: only its time is not.
pub fn verify_range(
    previous: &Head,
    stored: &StoredBlock,
    seen: &mut dyn FnMut(Option<i64>, &LedgerRow),
) -> Result<(), ChainFault> {
    let block = &stored.block;
    let (form, marks) = stored
        .marks
        .split_at_checked(MARK)
        .ok_or(ChainFault::Form(block.last))?;
    let (marks, odd) = marks.as_chunks::<MARK>();
    let expected = previous.seq + 1;
    let last = previous.seq + marks.len() as i64;
    if (block.first, block.last) != (expected, last) || !odd.is_empty() {
        // Two of the three agree where one of them was altered; otherwise entries are gone.
        let agree = odd.is_empty()
            && block.last.wrapping_sub(block.first).wrapping_add(1) == marks.len() as i64;
        let altered = !agree && (block.first == expected || block.last == last);
        return Err(if altered {
            ChainFault::Block(block.last)
        } else {
            ChainFault::Missing { expected }
        });
    }
    let mut chain = Sha256::new_with_prefix(previous.digest);
    let mut mismatch = None;
    let mut marks = marks.iter();
    let mut seq = block.first;
    let mut at = block.at;
    for entry in unpack(block.first, &stored.entries) {
        let Ok(entry) = entry else {
            return Err(ChainFault::Entry(mismatch.unwrap_or(seq)));
        };
        let digest = Entry::from(&entry).stored_digest(seq);
        let (Some(digest), Some(mark)) = (digest, marks.next()) else {
            return Err(ChainFault::Entry(mismatch.unwrap_or(seq)));
        };
        if !digest.starts_with(mark) {
            mismatch.get_or_insert(seq);
        }
        chain.update(digest);
        at = entry.1.at;
        seq += 1;
        seen(entry.0, &entry.1);
    }
    if seq != block.last + 1 {
        return Err(ChainFault::Entry(mismatch.unwrap_or(seq)));
    }
    let gives = end_of_chain(chain, block.at, block.newest_subject) == block.digest;
    match mismatch {
        Some(seq) if gives => Err(ChainFault::Mark(seq)),
        Some(seq) => Err(ChainFault::Entry(seq)),
        None if !gives => Err(ChainFault::Block(block.last)),
        None if form != form_mark(&stored.entries) => Err(ChainFault::Form(block.last)),
        None if at != block.at => Err(ChainFault::Entry(block.last)),
        None => Ok(()),
    }
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

    fn sealed(drafts: &[LedgerDraft]) -> StoredBlock {
        seal(drafts, 1, &GENESIS, &(7..10)).unwrap().stored
    }

    fn proved(block: &StoredBlock) -> Result<(), ChainFault> {
        verify_range(&Head::START, block, &mut |_, _| {})
    }

    fn read(block: &StoredBlock) -> Vec<(Option<i64>, LedgerRow)> {
        let entries = unpack(block.block.first, &block.entries);
        entries.collect::<io::Result<_>>().unwrap()
    }

    /// The block as it was, its entries replaced by other ones.
    fn altered(alter: &dyn Fn(&mut Vec<LedgerDraft>)) -> StoredBlock {
        let mut drafts = drafts();
        alter(&mut drafts);
        StoredBlock {
            entries: sealed(&drafts).entries,
            ..sealed(&self::drafts())
        }
    }

    #[test]
    fn what_is_packed_reads_back() {
        let sealed = sealed(&drafts());
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
        assert_eq!(read(&sealed), expected.collect::<Vec<_>>());
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
            (sealed.known_subjects, sealed.stored.block.newest_subject)
        };
        assert_eq!(find(2..2), (vec![1, 300, i64::MAX], None));
        assert_eq!(find(2..500), (vec![1, i64::MAX], Some(499)));
    }

    #[test]
    fn an_untouched_block_is_proved() {
        let stored = sealed(&drafts()[..3]);
        let block = &stored.block;
        assert_eq!((block.first, block.last, block.at), (1, 3, i64::MAX));
        let mut seen = Vec::new();
        let proved = verify_range(&Head::START, &stored, &mut |subject, row| {
            seen.push((subject, row.clone()));
        });
        assert_eq!(proved, Ok(()));
        assert_eq!(seen, read(&stored));
    }

    #[test]
    fn r52_every_alteration_is_found_and_the_entry_named() {
        let verdict = |alter: &dyn Fn(&mut Vec<LedgerDraft>)| proved(&altered(alter));
        let found = |seq| Err(ChainFault::Entry(seq));
        assert_eq!(verdict(&|_| {}), Ok(()));
        assert_eq!(verdict(&|drafts| drafts[1].at += 1), found(2));
        assert_eq!(verdict(&|drafts| drafts[0].system = None), found(1));
        assert_eq!(verdict(&|drafts| drafts[0].subject = Some(2)), found(1));
        assert_eq!(verdict(&|drafts| drafts[2].body.push('x')), found(3));
        assert_eq!(verdict(&|drafts| drafts[2].kind = "held"), found(3));
        assert_eq!(verdict(&|drafts| drafts[3].body.truncate(9)), found(4));
        assert_eq!(verdict(&|drafts| drafts.swap(2, 3)), found(3));
        assert_eq!(verdict(&|drafts| drafts.push(drafts[0].clone())), found(5));
        assert_eq!(verdict(&|drafts| drop(drafts.pop())), found(4));
        let other = Head {
            seq: 0,
            digest: [1; 32],
        };
        let whole = sealed(&drafts());
        let behind_another = verify_range(&other, &whole, &mut |_, _| {});
        assert_eq!(behind_another, Err(ChainFault::Block(4)));
        // Whoever takes the marks along is found by the digest.
        let mut forged = drafts();
        forged[1].body.push('x');
        let forged = StoredBlock {
            block: whole.block,
            ..sealed(&forged)
        };
        assert_eq!(proved(&forged), Err(ChainFault::Block(4)));
    }

    #[test]
    fn a_block_that_does_not_follow_is_told_from_an_altered_number() {
        let drafts = drafts();
        let behind = seal(&drafts, 9, &GENESIS, &(1..1)).unwrap().stored;
        let missing = Err(ChainFault::Missing { expected: 1 });
        assert_eq!(proved(&behind), missing);
        let mut first = sealed(&drafts);
        first.block.first = 2;
        assert_eq!(proved(&first), Err(ChainFault::Block(4)));
        let mut last = sealed(&drafts);
        last.block.last = 5;
        assert_eq!(proved(&last), Err(ChainFault::Block(5)));
    }

    /// A short block whose every column is altered, byte by byte and bit by bit.
    #[test]
    fn r52_any_flipped_bit_of_a_row_is_found_and_named_where_it_lies_in_an_entry() {
        let mut short = drafts();
        short[3].body.truncate(40);
        let sound = sealed(&short);
        assert_eq!(proved(&sound), Ok(()));
        let number = |number: i64, bit: usize| number ^ (1 << bit);
        for bit in 0..64 {
            for column in 0..4 {
                let mut row = sound.clone();
                let block = &mut row.block;
                match column {
                    0 => block.first = number(block.first, bit),
                    1 => block.last = number(block.last, bit),
                    2 => block.at = number(block.at, bit),
                    _ => block.newest_subject = block.newest_subject.map(|new| number(new, bit)),
                }
                let last = row.block.last;
                assert_eq!(proved(&row), Err(ChainFault::Block(last)), "{column} {bit}");
            }
        }
        let mut none = sound.clone();
        none.block.newest_subject = None;
        assert_eq!(proved(&none), Err(ChainFault::Block(4)));
        for bit in 0..256 {
            let mut row = sound.clone();
            row.block.digest[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(proved(&row), Err(ChainFault::Block(4)), "digest {bit}");
        }
        for bit in 0..sound.marks.len() * 8 {
            let mut row = sound.clone();
            row.marks[bit / 8] ^= 1 << (bit % 8);
            let fault = match bit / 32 {
                0 => ChainFault::Form(4),
                entry => ChainFault::Mark(entry as i64),
            };
            assert_eq!(proved(&row), Err(fault), "marks {bit}");
        }
        let entries = read(&sound);
        for bit in 0..sound.entries.len() * 8 {
            let mut row = sound.clone();
            row.entries[bit / 8] ^= 1 << (bit % 8);
            let mut now = unpack(1, &row.entries);
            let sound_before = entries.iter().take_while(|entry| {
                now.next()
                    .is_some_and(|now| now.is_ok_and(|now| now == **entry))
            });
            let first = sound_before.count() as i64 + 1;
            let more = now.next().is_some();
            let fault = if first <= 4 || more {
                ChainFault::Entry(first)
            } else {
                ChainFault::Form(4)
            };
            assert_eq!(proved(&row), Err(fault), "entries {bit}");
        }
        for length in 0..sound.entries.len() {
            let mut row = sound.clone();
            row.entries.truncate(length);
            assert!(proved(&row).is_err(), "{length}");
        }
        for length in 0..sound.marks.len() {
            let mut row = sound.clone();
            row.marks.truncate(length);
            assert!(proved(&row).is_err(), "{length} bytes of marks");
        }
    }

    #[test]
    fn a_forgotten_entry_keeps_its_place_its_time_and_its_proof() {
        let whole = sealed(&drafts());
        let mut asked = Vec::new();
        let redacted = redact(1, &whole.entries, &mut |subject, row| {
            asked.push((subject, row.clone()));
            row.kind == "observed"
        });
        let redacted = redacted.unwrap().unwrap();
        assert_eq!(asked, read(&whole));
        assert_eq!(redacted.forgotten, 2);
        assert_eq!(redacted.replaces, whole.marks[..4]);
        assert_eq!(redacted.marks[4..], whole.marks[4..]);
        let after = StoredBlock {
            block: whole.block.clone(),
            entries: redacted.entries,
            marks: redacted.marks,
        };
        assert_eq!(proved(&after), Ok(()));
        let entries = read(&after);
        for place in [0, 3] {
            let (subject, row) = &entries[place];
            assert_eq!(
                (*subject, row.system, row.kind.as_str()),
                (None, None, FORGOTTEN)
            );
            assert_eq!((row.seq, row.at), (place as i64 + 1, drafts()[place].at));
            let digest = Entry::from(&drafts()[place]).digest(row.seq);
            assert_eq!(row.body, hex(&digest));
        }
        assert_eq!(entries[1..3], read(&whole)[1..3]);
        // Once more: what is forgotten already is not asked about.
        let again = redact(1, &after.entries, &mut |_, row| row.kind == FORGOTTEN);
        assert_eq!(again.unwrap(), None);
        let rest = redact(1, &after.entries, &mut |_, _| true)
            .unwrap()
            .unwrap();
        assert_eq!(rest.forgotten, 2);
        let rest = StoredBlock {
            block: whole.block,
            entries: rest.entries,
            marks: rest.marks,
        };
        assert_eq!(proved(&rest), Ok(()));
    }

    #[test]
    fn nothing_is_made_anew_where_nothing_is_forgotten() {
        let whole = sealed(&drafts());
        assert_eq!(redact(1, &whole.entries, &mut |_, _| false).unwrap(), None);
        assert!(redact(1, b"no block", &mut |_, _| true).is_err());
    }

    #[test]
    fn a_forged_forgotten_entry_hides_but_cannot_alter() {
        let whole = sealed(&drafts());
        let digest = Entry::from(&drafts()[1]).digest(2);
        let forge = |body: &str, subject| {
            let mut drafts = drafts();
            drafts[1].kind = FORGOTTEN;
            drafts[1].body = body.to_owned();
            drafts[1].subject = subject;
            let mut packer = Packer::default();
            for (draft, seq) in drafts.iter().zip(1..) {
                let entry = Entry::from(draft);
                let digest = entry.stored_digest(seq).unwrap_or(digest);
                packer.add(&entry, &digest);
            }
            let (entries, marks) = packer.finish();
            let block = whole.block.clone();
            proved(&StoredBlock {
                block,
                entries,
                marks,
            })
        };
        assert_eq!(forge(&hex(&digest), None), Ok(()));
        assert_eq!(forge(&"0".repeat(64), None), Err(ChainFault::Block(4)));
        assert_eq!(forge(&hex(&digest), Some(1)), Err(ChainFault::Entry(2)));
        assert_eq!(forge("gone", None), Err(ChainFault::Entry(2)));
    }

    #[test]
    fn fields_cannot_run_into_each_other() {
        let digest = |kind, body| {
            let entry = Entry {
                at: 1,
                subject: None,
                system: None,
                kind,
                body,
            };
            entry.digest(1)
        };
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
    }

    #[test]
    fn a_head_reads_as_it_is_written() {
        let head = Head {
            seq: 12,
            digest: [0xab; 32],
        };
        assert_eq!(head.to_string().parse(), Ok(head));
        for text in ["", "12", "12:ab", "-1:", &format!("x:{}", "0".repeat(64))] {
            assert_eq!(text.parse::<Head>(), Err(NoHead), "{text}");
        }
    }
}
