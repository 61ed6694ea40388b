//! The rows behind checks before mail is sent, and behind send-outs that are to be checked again.

use super::rows::SubjectRef;

/// What a check needs to know of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecipientRow {
    /// Packed verdicts, as in [`super::SubjectRow`].
    pub verdicts: String,
    /// Packed findings, as in [`super::SubjectRow`].
    pub findings: String,
    /// It has a live contact in one of the systems asked for.
    pub is_contact: bool,
    /// Packed changes of its contacts' writes that wait for a person.
    pub held: Vec<String>,
    /// Names of the purposes whose grants wait for a person (R26, R28).
    pub held_purposes: Vec<String>,
    /// The latest state of one of its contacts could not be understood (R40), so what is stored of
    /// it is old.
    pub is_quarantined: bool,
    /// A re-subscribe request of it is open (R48).
    pub is_undeliverable: bool,
}

impl RecipientRow {
    /// Takes in one doubt, by the kind under which the statements of both databases give it: 0 a write
    /// that is held, with its packed changes, 1 quarantine, 2 an open re-subscribe request, 3 a grant that
    /// is held, with its purpose.
    pub(super) fn doubt(&mut self, kind: i64, held: Option<String>) {
        match kind {
            0 => self.held.extend(held),
            1 => self.is_quarantined = true,
            2 => self.is_undeliverable = true,
            _ => self.held_purposes.extend(held),
        }
    }
}

/// A live contact of one of the subjects asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubjectContact {
    /// The subject's place among those asked for.
    pub position: usize,
    /// System number.
    pub system: i16,
    /// External id.
    pub external: String,
    /// The contact's own normalised address, which a link may make another than its subject's (R58).
    pub address: Option<String>,
}

/// Waits for its moment.
pub const SCHEDULED: i16 = 0;
/// The last answers are known and are still to be posted.
pub const ANSWERED: i16 = 1;
/// Nothing is left to be done but to forget it.
pub const CLOSED: i16 = 2;
/// Taken back before its moment.
pub const CANCELLED: i16 = 3;

/// A send-out without its recipients and answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendoutHead {
    /// Random; cannot be guessed.
    pub id: String,
    /// Purpose name.
    pub purpose: String,
    /// Name of the token that registered it.
    pub created_by: String,
    /// When it was registered.
    pub created_at: i64,
    /// The moment of sending, at which it is checked again.
    pub send_at: i64,
    /// How many recipients were given.
    pub addressed: i64,
    /// [`SCHEDULED`], [`ANSWERED`], [`CLOSED`] or [`CANCELLED`].
    pub state: i16,
    /// When the next thing is to be done with it, by its state: checked, posted, or forgotten.
    pub due_at: i64,
    /// When the last answers were given, or when it was cancelled.
    pub settled_at: Option<i64>,
    /// Where the last answers are to be posted.
    pub callback: Option<String>,
    /// Attempts to post so far.
    pub posts: i32,
    /// What went wrong at the last attempt; none once it is posted.
    pub post_error: Option<String>,
}

/// A send-out that is checked again at the moment of sending (R43). It names its recipients by keyed
/// hash only: addresses stand in one table, and only those of people whom a system knows (R55).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendoutRow {
    /// All but what is large.
    pub head: SendoutHead,
    /// By their place in the list that was given; none for what is no address.
    pub recipients: Vec<Option<SubjectRef>>,
    /// Packed answers at registration.
    pub first: String,
    /// Packed answers at the moment of sending; empty before.
    pub last: String,
}

/// A step of a send-out from where it stands. One that stands elsewhere by now is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendoutStep {
    /// Which.
    pub id: String,
    /// Its state before.
    pub from_state: i16,
    /// Its attempts to post before.
    pub from_posts: i32,
    /// Its state after.
    pub state: i16,
    /// When the next thing is to be done with it.
    pub due_at: i64,
    /// When it was answered or cancelled; none leaves it as it is.
    pub settled_at: Option<i64>,
    /// The last answers; none leaves them as they are.
    pub last: Option<String>,
    /// Attempts to post.
    pub posts: i32,
    /// What went wrong at the last one.
    pub post_error: Option<String>,
}

/// Stands in the joined hashes for what is no address. As a keyed hash it is as likely as any other,
/// which is not at all.
const NOBODY: [u8; 16] = [0; 16];

/// The hashes of a send-out's recipients as one value of 16 bytes each.
pub(super) fn joined(recipients: &[Option<SubjectRef>]) -> Vec<u8> {
    recipients
        .iter()
        .flat_map(|subject| subject.map_or(NOBODY, |subject| subject.0))
        .collect()
}

/// The inverse of [`joined`]; none when the value is not whole.
pub(super) fn parted(joined: &[u8]) -> Option<Vec<Option<SubjectRef>>> {
    let (hashes, rest) = joined.as_chunks::<16>();
    rest.is_empty().then(|| {
        hashes
            .iter()
            .map(|hash| (*hash != NOBODY).then_some(SubjectRef(*hash)))
            .collect()
    })
}

/// Places of these subjects in the order of their keyed hashes: neighbours in the index are looked
/// up one after the other.
pub(super) fn in_order(subjects: &[SubjectRef]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    order.sort_unstable_by_key(|place| subjects.get(*place));
    order
}
