//! What the engine asks of a system, whichever vendor made it.
//!
//! A connector reads pages of contacts, re-reads some of them, and writes consent fields; what a
//! vendor's answers mean is its business alone. Wire types never leave a connector, and no
//! connector decides about consent. What every connector must and should do is numbered in
//! `docs/connector-spec.md`, and the conformance suite quotes those numbers.

pub mod ascend;
pub mod emarketeer;
pub mod fault;
pub mod gate;
pub mod http;
pub mod marketing_cloud;
pub mod read_only;
pub mod registry;
pub mod retry;
pub mod rsa_key;
pub mod salesforce;
pub mod signed;
pub mod superoffice;
pub mod token_file;

pub use fault::{Fault, FaultClass};
pub use gate::Gate;

use crate::consent::{At, PurposeId, Reading, Shown};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where a feed stands. Opaque to all but the connector that made it; stored with the page it
/// follows, in the same transaction (R31).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(pub String);

impl Cursor {
    /// The cursor of a feed that stands there.
    ///
    /// # Errors
    /// When the state cannot be written as JSON, which a connector's own types always can.
    fn of(state: &impl Serialize) -> Result<Self, Fault> {
        serde_json::to_string(state).map(Self).map_err(|_| {
            Fault::new(
                FaultClass::Rejected,
                "cursor",
                "the cursor cannot be written",
            )
        })
    }
}

/// A record that could not be understood (R40). It is stored with its reason; the page goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// External id, or a digest of the record when even the id is unreadable.
    pub id: String,
    /// What is wrong with it, naming the field. Holds no address.
    pub reason: String,
    /// The record as it came, capped at [`MAX_POISON_BYTES`].
    pub raw: Vec<u8>,
}

/// How much of a poison record is kept.
pub const MAX_POISON_BYTES: usize = 16 * 1024;

/// One page of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The contacts, in feed order. One contact may stand twice; the later entry is the newer.
    /// Consent records that come without their contact stand before it.
    pub readings: Vec<Reading>,
    /// What could not be understood.
    pub poison: Vec<Poison>,
    /// Where the feed stands once this page is stored.
    pub next: Cursor,
    /// Whether more can be read at once. When false the feed is drained up to `drained`.
    pub more: bool,
    /// The page belongs to a load of everything (the first one or a sweep), not to changes.
    pub load: bool,
    /// The page begins a complete scan of so many contacts, which is judged before anything of it is
    /// stored (R27): a file tells how much is in it, and can be put back.
    pub scan: Option<u64>,
    /// The system's time when the page was asked for.
    pub read_at: At,
    /// Every change up to this system time has been read once this page is stored; set on the last
    /// page of a window. The overlap is already taken off.
    pub drained: Option<At>,
}

/// A contact that is asked for by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// External id.
    pub contact: String,
    /// Its own normalised address as the store knows it, for systems that hold consent by address.
    pub address: Option<String>,
}

/// What is looked up at once, whatever the feed has told so far (R41).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Normalised addresses: every contact that has one of them is wanted.
    pub addresses: Vec<String>,
    /// Contacts that are wanted whatever address they have by now.
    pub contacts: Vec<Target>,
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Whole readings, each contact once. A contact that was asked for by its id and is gone says so
    /// in its life.
    pub readings: Vec<Reading>,
    /// What could not be understood.
    pub poison: Vec<Poison>,
    /// Further addresses of the contacts found, normalised or not, besides the one they are known
    /// by: external id and address.
    pub further_addresses: Vec<(String, String)>,
    /// The system's time when it was asked.
    pub read_at: At,
}

/// What a contact shows now, on a re-read just before or after a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// It is there and shows these values.
    Live(Vec<(PurposeId, Shown)>),
    /// It is not there any more.
    Gone,
    /// The vendor cannot tell cheaply; the write is sent without a look.
    Unknown,
}

/// One write as the connector gets it: absolute values of one contact's consent fields (R33, R38).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRequest {
    /// The contact.
    pub target: Target,
    /// The values to set.
    pub changes: Vec<(PurposeId, Shown)>,
    /// When the person said so, for systems that record a comment or a date of their own.
    pub said_at: At,
    /// The configured name of the system where it was said.
    pub said_in: String,
    /// What else is known of it.
    pub background: Background,
}

/// What is known of a write besides its values, for systems that want to be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Background {
    /// External id of the contact that this one is linked to (R58).
    pub linked: Option<String>,
    /// Who said it, as the system where it was said names its users.
    pub said_by: Option<String>,
    /// The rule that decided, and where it was said. Holds no address.
    pub reason: String,
    /// Everything that the system itself said up to then was heard before this was decided.
    pub heard_until: Option<At>,
}

/// What became of one write (R33, R35).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The vendor accepted it, and a read-back agreed where the vendor needs one.
    Applied,
    /// It may or may not have happened; it is settled by a re-read before any retry.
    Unknown(Fault),
    /// It did not happen.
    Failed(Fault),
    /// The system took it and says later what became of it, as a [`Receipt`].
    HandedOver {
        /// The batch it went in.
        batch: String,
        /// The word must have come by then; otherwise it is handed over again.
        until: At,
    },
}

/// What the system says later of a write that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// External id.
    pub contact: String,
    /// The values that were handed over.
    pub changes: Vec<(PurposeId, Shown)>,
    /// The batch they went in.
    pub batch: String,
    /// What became of them.
    pub answer: Answer,
}

/// What became of a write that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The contact shows the values.
    Applied,
    /// It did not happen, because the system holds a newer word. That is to be heard before the same
    /// is tried again.
    Overtaken(Fault),
    /// It did not happen.
    Failed(Fault),
}

/// A batch of which the word is late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The batch.
    pub batch: String,
    /// When it was handed over.
    pub since: At,
    /// Writes in it without a word.
    pub missing: usize,
}

/// Something that the system delivered and that cannot be understood, until somebody clears it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What it is called there. Holds no address.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a connector found when it logged in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probe {
    /// The user it acts as, as the system names users in its records (R15).
    pub own_actor: Option<String>,
    /// The permissions and fields that are missing, each with what to do. Empty when all is well.
    pub missing: Vec<String>,
    /// Things the operator should know, e.g. that field history is off.
    pub notes: Vec<String>,
}

/// What is left of the vendor's daily allowance of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls used in the vendor's window.
    pub used: u64,
    /// Calls allowed in it.
    pub allowed: u64,
}

/// How much a connector takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Writes in one ordinary [`Connector::write`] call.
    pub rows: usize,
    /// More pending writes than this are handed over in one bulk call.
    pub bulk_above: usize,
    /// Writes in one bulk call.
    pub bulk_rows: usize,
    /// Addresses, and contacts, in one [`Connector::look_up`].
    pub look_up: usize,
}

/// A connected system.
///
/// All calls are bounded in time and size. Every `Fault` names its class, from which the engine
/// alone decides whether and when to try again.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Logs in and checks every permission and field the configuration needs. Changes no contact, and
    /// leaves nothing behind.
    async fn probe(&self) -> Result<Probe, Fault>;

    /// The same for somebody who only reads, beside a daemon at work: no right to write is tried.
    async fn probe_to_read(&self) -> Result<Probe, Fault> {
        self.probe().await
    }

    /// The page that follows `cursor`; the first page of a full load when there is none. Reading
    /// the same cursor twice is allowed at any time, also after a restart.
    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault>;

    /// Everything up to this cursor is stored, durably: what was delivered before it can be cleared
    /// away. Not called in a dry run.
    async fn read_stored(&self, _cursor: &Cursor) -> Result<(), Fault> {
        Ok(())
    }

    /// What these contacts show now, in the same order.
    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault>;

    /// Looks contacts up as they are now (R41), at most [`Batching::look_up`] addresses and as many
    /// contacts.
    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault>;

    /// Sets consent fields, at most [`Batching::rows`] (or `bulk_rows`) contacts. The answer has
    /// one outcome per request, in the same order. An `Err` means that nothing was sent.
    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault>;

    /// What the system has said of writes that were handed over, a bounded number at once; none when
    /// there is nothing new. The same again until [`Connector::receipts_stored`] was called.
    async fn receipts(&self) -> Result<Vec<Receipt>, Fault> {
        Ok(Vec::new())
    }

    /// The receipts given last are settled, durably: they need not be given again. After a crash in
    /// between they are.
    async fn receipts_stored(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Batches of which the word is later than allowed, as far as the last look at them showed.
    fn overdue(&self) -> Vec<Overdue> {
        Vec::new()
    }

    /// What was delivered and cannot be understood, as far as the last look showed.
    fn unreadable(&self) -> Vec<Unreadable> {
        Vec::new()
    }

    /// How much to hand over at once.
    fn batching(&self) -> Batching;

    /// What is left of the vendor's allowance, where the vendor tells.
    fn quota(&self) -> Option<Quota> {
        None
    }

    /// How many vendor calls have been made since the start, by kind of call.
    fn calls(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Contacts that the feed may not mention again although something seems to have become of them,
    /// e.g. because they are gone. They are looked up until they are no longer named here.
    fn doubtful(&self) -> Vec<String> {
        Vec::new()
    }

    /// How long after the last page the feed should be asked again, where the vendor limits that.
    fn least_poll_interval(&self) -> Duration {
        Duration::from_secs(1)
    }
}
