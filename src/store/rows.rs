//! The rows of the store, as both databases hold them. Times are UTC microseconds; packed columns
//! are JSON text made and read by `sync::pack` alone, stored byte for byte.

use super::gate::{GateChanges, RequestRow};
use super::holds::{FlipCount, HeldRow, HoldChanges, HoldRow};
use super::privacy::{PrivacyChanges, SuppressionDigest, SuppressionRow};
use crate::consent::At;
use std::fmt;

/// A subject in the ledger and in logs: the first 16 bytes of HMAC-SHA-256(subject key, key held
/// outside the store) (R55, R56).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectRef(pub [u8; 16]);

impl fmt::Display for SubjectRef {
    /// All 32 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Every ledger entry names its subject so: digit by digit through the formatter is too slow.
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for SubjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SubjectRef {
    /// The subject of all 32 hex digits, as they are shown.
    pub fn from_hex(text: &str) -> Option<Self> {
        let hash = u128::from_str_radix(text, 16).ok()?;
        let subject = Self(hash.to_be_bytes());
        (subject.to_string() == text).then_some(subject)
    }

    /// The first 12 hex digits, for logs (R56).
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

/// A mailbox identity. The only row that holds an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRow {
    /// Number, given by the store, greater than that of all subjects before it.
    pub id: i64,
    /// Keyed hash.
    pub subject: SubjectRef,
    /// Normalised address.
    pub address: String,
    /// Packed verdicts; empty when all purposes are silent.
    pub verdicts: String,
    /// Packed withdrawals of contacts that left (R14); empty when there are none.
    pub remembered: String,
    /// Packed conflicts, inconsistencies and holds that stand now; empty when there are none.
    pub findings: String,
}

/// Whether a contact is there, as stored.
pub const LIVE: i16 = 0;
/// The contact was deleted.
pub const DELETED: i16 = 1;
/// The contact was merged into `merged_into`.
pub const MERGED: i16 = 2;

/// One record in one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRow {
    /// System number.
    pub system: i16,
    /// External id.
    pub external: String,
    /// The subject it belongs to; none while unmatched (R2).
    pub subject: Option<i64>,
    /// The subject of its own address, where a link makes it belong to another (R58).
    pub own_subject: Option<i64>,
    /// The shared person id (R58).
    pub link: Option<String>,
    /// Created there.
    pub created: Option<i64>,
    /// Last modification read.
    pub modified: Option<i64>,
    /// System time of the last reading that changed anything.
    pub read_at: Option<i64>,
    /// [`LIVE`], [`DELETED`] or [`MERGED`].
    pub life: i16,
    /// The survivor of a merge.
    pub merged_into: Option<String>,
    /// Ledger sequence at the acknowledgement of our last write to it; 0 when there was none.
    pub written_seq: i64,
    /// Packed values and statements.
    pub record: String,
}

/// The identity of a pending write: one contact and lane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteKey {
    /// System number.
    pub system: i16,
    /// External id.
    pub external: String,
    /// 0 withdrawal, 1 grant.
    pub lane: i16,
}

/// The withdrawal lane goes first (R34).
pub const LANE_WITHDRAWAL: i16 = 0;
/// Everything else.
pub const LANE_GRANT: i16 = 1;

/// Waiting for its turn.
pub const PENDING: i16 = 0;
/// Handed to an emitter.
pub const CLAIMED: i16 = 1;
/// Given up until an operator re-drives it.
pub const DEAD: i16 = 2;
/// Waits for a person.
pub const HELD: i16 = 3;
/// Handed over to a system that says later what became of it.
pub const SENT: i16 = 4;

/// Planned while nothing is written to any system yet; waits until a plan with it is applied.
pub const PLANNED: i16 = 5;

/// A write with this `not_before` waits until its contact has been read again: the system holds a newer
/// word, which has to be heard first. `claimed_until` is then the time from which a reading counts.
pub const ONCE_READ: i64 = i64::MAX / 2;

/// A write that is not acknowledged yet (R32).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Contact and lane.
    pub key: WriteKey,
    /// Subject number.
    pub subject: i64,
    /// Grows with every change of decision, so that a stale claim shows.
    pub version: i64,
    /// Packed changes, with reason and origin.
    pub changes: String,
    /// [`PENDING`], [`CLAIMED`], [`DEAD`], [`HELD`], [`SENT`] or [`PLANNED`].
    pub state: i16,
    /// Packed changes as they were claimed, while an attempt may be under way; they may take effect
    /// even if `changes` has moved on. One a line, the newest first; empty when there is none. A claim
    /// that adds nothing, because its changes may be under way already, leaves a line end behind them.
    pub in_flight: String,
    /// When the decision was first made; the deadline counts from here (R34).
    pub decided_at: i64,
    /// Not sent before.
    pub not_before: i64,
    /// Failed attempts so far.
    pub attempts: i32,
    /// While claimed: until when. While sent: when an acknowledgement must have come.
    pub claimed_until: i64,
    /// The vendor's words at the last failure. While sent: the batch it was handed over in.
    pub last_error: Option<String>,
}

/// A record that could not be understood (R40).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineRow {
    /// System number.
    pub system: i16,
    /// External id or digest.
    pub external: String,
    /// What is wrong.
    pub reason: String,
    /// As it came, capped.
    pub raw: Vec<u8>,
    /// First seen.
    pub seen_at: i64,
}

/// Where a system's feed stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedRow {
    /// The connector's cursor; none before the first page.
    pub cursor: Option<String>,
    /// Everything up to this system time has been read.
    pub drained: Option<i64>,
    /// When a page was last stored, by our clock.
    pub polled_at: Option<i64>,
    /// The first full load is complete.
    pub loaded: bool,
    /// Paused by an operator (R50).
    pub paused: bool,
    /// Who paused it and why.
    pub paused_note: Option<String>,
    /// Halted by a guard (R27), with the reason.
    pub halted: Option<String>,
    /// Its legal-basis sync is off since then, by our clock (R49).
    pub muted_since: Option<i64>,
    /// A mark of what was read of its contacts when the feed was read on last.
    pub shape: Option<String>,
    /// Its next complete scan may be of any size, because an operator said so (R27).
    pub accept_fewer: bool,
    /// Contacts that its last complete scan found; only kept from the first one on that an operator
    /// accepted although it was short.
    pub scanned: Option<i64>,
}

/// A change of a feed's switches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedSwitch {
    /// Pause, with who and why, or resume (R50).
    Paused(Option<String>),
    /// Halt with a reason, or release.
    Halted(Option<String>),
    /// The next complete scan may be of any size (R27).
    AcceptFewer,
    /// Its word counts for nothing since then, or counts again (R49).
    Muted(Option<At>),
    /// What is read of its contacts; everything is read anew unless nothing was known.
    Shape(String),
    /// Everything is read anew; meanwhile it is written to as before.
    Resync,
    /// Everything is read anew before it is written to again, because it was switched off (R49).
    Unload,
}

impl FeedSwitch {
    /// What the switch makes of a feed. The store's own; `switched_at` is noted beside it.
    pub(super) fn turn(&self, row: &mut FeedRow) {
        match self {
            Self::Paused(note) => {
                row.paused = note.is_some();
                row.paused_note.clone_from(note);
            }
            Self::Halted(reason) => row.halted.clone_from(reason),
            Self::AcceptFewer => row.accept_fewer = true,
            Self::Muted(since) => row.muted_since = since.map(At::micros),
            Self::Shape(shape) => {
                if row.shape.as_ref().is_some_and(|known| known != shape) {
                    row.cursor = None;
                }
                row.shape = Some(shape.clone());
            }
            Self::Resync => row.cursor = None,
            Self::Unload => {
                row.cursor = None;
                row.loaded = false;
            }
        }
    }
}

/// A switch that is to be turned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchChange {
    /// System number.
    pub system: i16,
    /// The switch.
    pub switch: FeedSwitch,
    /// When, by our clock.
    pub at: i64,
}

/// How far all subjects have been decided under one set of rules (R18).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decided {
    /// The version of these rules.
    pub policy: String,
    /// Subjects up to this number have been; none: all of them.
    pub through: Option<i64>,
}

/// Grants of one actor in one minute, from which a load is recognised (R25).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadKey {
    /// System number.
    pub system: i16,
    /// Minute since the epoch.
    pub minute: i64,
    /// Who.
    pub actor: String,
}

/// How many contacts one load key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadCount {
    /// Actor and minute.
    pub key: LoadKey,
    /// Distinct contacts.
    pub contacts: i64,
}

/// A change of a verdict's status, for the guards (R26, R28).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// Subject number.
    pub subject: i64,
    /// Purpose name.
    pub purpose: String,
    /// The new status is withdrawn.
    pub withdrawn: bool,
    /// System whose statement won.
    pub system: i16,
    /// When, by our clock.
    pub at: i64,
}

/// What a transaction is about. Everything named is loaded, closed over subjects and links.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Contacts by system and external id.
    pub contacts: Vec<(i16, String)>,
    /// Subjects by keyed hash.
    pub subjects: Vec<SubjectRef>,
    /// Contacts of any system that carry one of these shared person ids (R58).
    pub links: Vec<String>,
    /// Load keys to count (R25).
    pub loads: Vec<LoadKey>,
    /// Contacts with one of `loads` are loaded too while the key has at most this many of them.
    pub load_contacts_up_to: i64,
    /// Flips since this instant are counted, for the subjects in scope (R28) and by cause (R26); none:
    /// not needed.
    pub flips_since: Option<i64>,
    /// The open re-subscribe requests of the subjects in scope are needed (R47).
    pub requests: bool,
    /// Whether somebody was erased under one of these digests (R55); not looked for while nobody was.
    pub suppressions: Vec<SuppressionDigest>,
}

/// What the store knows within a scope.
///
/// Closure: the contacts named and those with a named link; the contacts with the links these
/// contacts had; the subjects named, and those that any of these contacts belongs to or has of its
/// own; and every contact, live or not, that belongs to one of those subjects, with its outbox rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Contacts, ordered by system and external id.
    pub contacts: Vec<ContactRow>,
    /// Subjects, ordered by number.
    pub subjects: Vec<SubjectRow>,
    /// Outbox rows of those contacts, in any state.
    pub outbox: Vec<OutboxRow>,
    /// Counts of the load keys in scope that have any.
    pub loads: Vec<LoadCount>,
    /// Which of the contacts in scope are counted under which load key in scope.
    pub load_members: Vec<(LoadKey, String)>,
    /// Flips since `flips_since`, of the subjects in scope: subject, purpose, count.
    pub flips: Vec<(i64, String, i64)>,
    /// Open re-subscribe requests of the subjects in scope, by number, if they are asked for.
    pub requests: Vec<RequestRow>,
    /// All open holds, by number.
    pub holds: Vec<HoldRow>,
    /// What waits of the subjects in scope, released rows included, in order.
    pub held: Vec<HeldRow>,
    /// Flips since `flips_since` of all subjects, by cause (R26).
    pub flip_counts: Vec<FlipCount>,
    /// Somebody was erased, so new subjects have to be looked for among the suppressions (R55).
    pub any_suppressed: bool,
    /// The suppressions in scope.
    pub suppressed: Vec<SuppressionRow>,
    /// The number that the next new subject gets; new subjects are numbered from here upwards.
    pub next_subject: i64,
    /// The sequence number that the first ledger entry of this transaction gets.
    pub next_sequence: i64,
    /// As [`Origin::planning`].
    pub planning: Option<bool>,
}

/// Which store it is, and whether it has begun to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Random, given when the store was made: 32 hex digits.
    pub store_id: String,
    /// Whether decisions are only planned, until a plan is applied; none until a daemon has opened the
    /// store for the first time.
    pub planning: Option<bool>,
}

impl Origin {
    /// Whether nothing is written to any system yet.
    pub fn is_planning(&self) -> bool {
        self.planning == Some(true)
    }
}

/// An entry of the ledger before the store gives it its number (R52).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDraft {
    /// `observed`, `verdict`, `planned`, `attempt`, `written`, `refused`, `held`, `operator`, …
    pub kind: &'static str,
    /// Subject number, if it is about one.
    pub subject: Option<i64>,
    /// System number, if it is about one.
    pub system: Option<i16>,
    /// By our clock.
    pub at: i64,
    /// Packed body: subject hash, contact, before, after, source, rule, evidence, actor.
    pub body: String,
}

/// A change of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxChange {
    /// Insert the row or replace it whole.
    Put(OutboxRow),
    /// Remove it.
    Drop(WriteKey),
}

/// Dead letters of one system that are to be tried again (R35).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// System number.
    pub system: i16,
    /// Of these contacts; of all when there are none.
    pub contacts: Vec<String>,
    /// From then on, by our clock.
    pub at: i64,
}

/// Where the feed stands after the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedChange {
    /// System number.
    pub system: i16,
    /// The new state; all switches are left as they are in the store.
    pub row: FeedRow,
    /// The cursor this change follows. When the store has moved on, or the feed is paused by now, the
    /// transaction is refused with [`Applied::Overtaken`].
    pub follows: Option<String>,
    /// What a complete scan that this page begins or ends leaves of an operator's word on its size.
    pub scan: ScanNote,
}

/// What is noted of a complete scan beside its contacts (R27).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanNote {
    /// [`FeedRow::accept_fewer`] was known when the scan was judged, and is used up by it.
    pub uses_word: bool,
    /// The new [`FeedRow::scanned`]; none leaves it as it is.
    pub contacts: Option<i64>,
}

/// Everything that one transaction stores.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Subjects to insert or replace whole.
    pub subjects: Vec<SubjectRow>,
    /// Contacts to insert or replace whole.
    pub contacts: Vec<ContactRow>,
    /// Outbox changes.
    pub outbox: Vec<OutboxChange>,
    /// Dead letters to try again.
    pub redrives: Vec<Redrive>,
    /// Contacts to count under a load key; counted once however often they are given.
    pub load_members: Vec<(LoadKey, String)>,
    /// Flips to remember.
    pub flips: Vec<Flip>,
    /// Records to quarantine, replacing earlier ones of the same id.
    pub quarantine: Vec<QuarantineRow>,
    /// Quarantined records that have been understood since.
    pub healed: Vec<(i16, String)>,
    /// Entries for the ledger, in order.
    pub ledger: Vec<LedgerDraft>,
    /// The feed's new place.
    pub feed: Option<FeedChange>,
    /// Switches to turn.
    pub switches: Vec<SwitchChange>,
    /// How far subjects have been decided anew.
    pub decided: Option<Decided>,
    /// What becomes of the gate's requests and of who is to be asked about.
    pub gate: GateChanges,
    /// What becomes of holds.
    pub holds: HoldChanges,
    /// What becomes of suppressions (R55).
    pub privacy: PrivacyChanges,
    /// Planning begins or ends.
    pub planning: Option<PlanningChange>,
}

/// Whether decisions are only planned from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanningChange {
    /// They are.
    Begins,
    /// They are written; what is still planned waits for its turn like everything else.
    Ends {
        /// Our clock; withdrawals may be sent from then on.
        now: i64,
        /// Grants may be sent from then on (R25).
        grants_from: i64,
    },
}

/// What came of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is stored, durably. Rows written, without the feed's own row: 0 when nothing changed.
    Stored {
        /// Subjects, contacts, outbox, quarantine and ledger rows written.
        rows: u64,
    },
    /// Another page was stored meanwhile, or the feed was paused; nothing was changed.
    Overtaken,
}

/// A claim on pending writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// System number.
    pub system: i16,
    /// Only this lane; both when none.
    pub lane: Option<i16>,
    /// At most so many.
    pub limit: usize,
    /// Now, by our clock.
    pub now: i64,
    /// The claim lapses then.
    pub until: i64,
}

/// A claimed write that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postponed {
    /// Contact and lane.
    pub key: WriteKey,
    /// The version that was claimed; a newer one stays as it is, only unclaimed.
    pub version: i64,
    /// Not before.
    pub not_before: i64,
    /// [`PENDING`] or [`DEAD`].
    pub state: i16,
    /// Attempts so far.
    pub attempts: i32,
    /// The vendor's words.
    pub error: String,
    /// What may still take effect, where it is known better than when the write was claimed; see
    /// [`OutboxRow::in_flight`].
    pub in_flight: Option<String>,
    /// Nothing of the claim was sent. Where the decision has changed since, the newer write of the
    /// contact, in whichever lane, has taken over what the claim noted as under way; it gives that up.
    pub unsent: Option<Unsent>,
    /// The entry about the attempt, where the write failed on its own (R53). It is kept if and only if the
    /// write goes back as it was claimed.
    pub attempt: Option<LedgerDraft>,
}

/// What a claim that was not sent noted as under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsent {
    /// [`OutboxRow::in_flight`] as it was claimed, without a line end at the end.
    pub claimed: String,
    /// As it was before the claim.
    pub earlier: String,
}

/// Figures of one system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemFigures {
    /// System number.
    pub system: i16,
    /// Live contacts.
    pub live: i64,
    /// Live contacts without a subject (R2).
    pub unmatched: i64,
    /// Live contacts with a write under way, so not at parity.
    pub differing: i64,
    /// Pending, planned, claimed or sent withdrawals.
    pub pending_withdrawals: i64,
    /// Pending, planned, claimed or sent grants.
    pub pending_grants: i64,
    /// Those of the pending ones that wait until a plan is applied.
    pub planned: i64,
    /// Those of the pending ones that were handed over and wait for an acknowledgement (R46).
    pub sent: i64,
    /// The batches that they went with.
    pub batches: i64,
    /// Dead letters.
    pub dead: i64,
    /// Held writes.
    pub held: i64,
    /// Quarantined records.
    pub quarantined: i64,
    /// `decided_at` of the oldest withdrawal not yet acknowledged, held and dead ones included.
    pub oldest_withdrawal: Option<i64>,
}

/// Figures of the whole store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// Per system that has a number, in that order.
    pub systems: Vec<SystemFigures>,
    /// Subjects.
    pub subjects: i64,
    /// Subjects with findings (conflicts, inconsistencies, holds).
    pub with_findings: i64,
    /// Ledger entries.
    pub ledger: i64,
    /// Open re-subscribe requests.
    pub requests: i64,
    /// Those of them that are urgent.
    pub urgent_requests: i64,
    /// Open holds.
    pub holds: i64,
    /// Persons of whom something waits under them.
    pub held_subjects: i64,
    /// Nothing is written to any system until a plan is applied.
    pub planning: bool,
}

impl Figures {
    /// Writes that wait until a plan is applied, in all systems.
    pub fn planned(&self) -> i64 {
        self.systems.iter().map(|system| system.planned).sum()
    }
}

/// A stored ledger entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Sequence, from 1 without gaps.
    pub seq: i64,
    /// By our clock.
    pub at: i64,
    /// See [`LedgerDraft::kind`].
    pub kind: String,
    /// System number.
    pub system: Option<i16>,
    /// Packed body.
    pub body: String,
}

/// All that is known of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dossier {
    /// Contacts, the subject, its outbox.
    pub known: Known,
    /// Its ledger entries in order, at most the newest 10,000.
    pub ledger: Vec<LedgerRow>,
}
