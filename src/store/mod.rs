//! The state store: SQLite embedded, or Postgres.
//!
//! One trait of use cases, one transaction each. Both databases pass the same conformance suite.
//! The store keeps rows; it decides nothing: what a page or an outcome changes is decided by a pure
//! function that the caller hands in, between the reads and the writes of one transaction.
//! All statements work on sets; their number does not depend on how many contacts they touch.

mod alarms;
mod common;
mod gate;
mod holds;
pub mod ledger;
pub mod postgres;
mod privacy;
mod report;
mod residue;
pub mod rows;
pub mod send;
mod session;
pub mod sqlite;

pub use alarms::*;
pub use gate::*;
pub use holds::*;
pub use postgres::PgStore;
pub use privacy::*;
use residue::{holds, residue};
pub use rows::*;
pub use send::*;
pub use sqlite::SqliteStore;

use crate::consent::At;
use async_trait::async_trait;
use ledger::{Redacted, StoredBlock};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who opens the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The daemon, or `migrate`: makes and migrates the store, and keeps a second daemon off it
    /// where the database is for one only.
    Daemon,
    /// A command beside a running daemon: takes the store as it is, and refuses a schema that is
    /// not this binary's.
    Tool,
}

/// Where the store is.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// In one file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// In a Postgres database.
    Postgres {
        /// Its address, without a password.
        url: url::Url,
        /// The password, if it takes one.
        password: Option<SecretString>,
    },
}

/// Opens the store that the settings name.
pub async fn open(settings: &StoreSettings, access: Access) -> Result<Arc<dyn Store>, StoreError> {
    match settings {
        StoreSettings::Sqlite { path } => Ok(Arc::new(SqliteStore::open(path, access).await?)),
        StoreSettings::Postgres { url, password } => Ok(Arc::new(
            PgStore::connect(url, password.as_ref(), access).await?,
        )),
    }
}

/// Whether there is a store where the settings say, of whichever version.
///
/// # Errors
/// When the database cannot be asked.
pub async fn is_made(settings: &StoreSettings) -> Result<bool, StoreError> {
    match settings {
        StoreSettings::Sqlite { path } => Ok(path.exists()),
        StoreSettings::Postgres { url, password } => PgStore::is_made(url, password.as_ref()).await,
    }
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database answered with an error; the transaction was rolled back.
    #[error("the state store refused {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// The driver's words.
        #[source]
        source: sqlx::Error,
    },
    /// The database is busy or away; the same may succeed later.
    #[error("the state store is not available for {what}")]
    Unavailable {
        /// What was being done.
        what: &'static str,
        /// The driver's words.
        #[source]
        source: sqlx::Error,
    },
    /// A stored row cannot be read back; the transaction was rolled back.
    #[error("the state store holds a row that cannot be read ({what}): {detail}")]
    Corrupt {
        /// Which row.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The database cannot be used at all; the message says why and what to do.
    #[error("{0}")]
    Unusable(String),
}

/// Who decides what a transaction changes; see [`Store::transact`].
pub type Decide<'a> = &'a mut (dyn Decider + 'a);

/// Decides what a transaction changes. Every function from what is known to what has to be stored
/// does.
pub trait Decider: Send {
    /// Decides. Called again, as if it had not been before, when the database asks for the transaction
    /// to be repeated.
    fn decide(&mut self, known: Known) -> Decision;

    /// What [`Decision::Contacts`] left to be decided; none when nothing can be stored after all. It is
    /// worked out while the database stores the contacts.
    fn rest(&mut self) -> Option<Changes>;
}

/// What has to be stored.
#[derive(Debug)]
pub enum Decision {
    /// Everything.
    Whole(Box<Changes>),
    /// These contacts, and the [`Decider::rest`].
    Contacts(Vec<ContactRow>),
}

impl<F: FnMut(Known) -> Changes + Send> Decider for F {
    fn decide(&mut self, known: Known) -> Decision {
        Decision::Whole(Box::new(self(known)))
    }

    fn rest(&mut self) -> Option<Changes> {
        None
    }
}

/// The state store.
#[async_trait]
pub trait Store: Send + Sync {
    /// One transaction: loads what `scope` names, closed over subjects and links, hands it to
    /// `decide`, and stores what that returns – contacts, subjects with their verdicts, outbox,
    /// holds, quarantine, ledger entries, feed cursor – or nothing at all (R31, G10).
    ///
    /// `decide` may be called again if the database asks for the transaction to be repeated.
    async fn transact(&self, scope: &Scope, decide: Decide<'_>) -> Result<Applied, StoreError>;

    /// What the store knows within `scope`. It waits for the transaction that is under way, so that
    /// nothing decided before is missing; nothing is stored.
    async fn known(&self, scope: &Scope) -> Result<Known, StoreError> {
        let mut known = Known::default();
        let look = &mut |found: Known| {
            known = found;
            Changes::default()
        };
        self.transact(scope, look).await?;
        Ok(known)
    }

    /// Gives each configured system its number, the same over restarts, in the given order.
    async fn register_systems(&self, names: &[String]) -> Result<Vec<i16>, StoreError>;

    /// Where a system's feed stands; the default when it never ran.
    async fn feed(&self, system: i16) -> Result<FeedRow, StoreError>;

    /// Every system that has a number, in the order of the numbers, configured or not.
    async fn systems(&self) -> Result<Vec<(i16, String)>, StoreError>;

    /// Turns a switch of a feed that an operator or the supervisor owns.
    async fn set_feed_switch(
        &self,
        system: i16,
        switch: FeedSwitch,
        now: At,
    ) -> Result<(), StoreError> {
        let change = SwitchChange {
            system,
            switch,
            at: now.micros(),
        };
        let decide = &mut |_: Known| Changes {
            switches: vec![change.clone()],
            ..Changes::default()
        };
        self.transact(&Scope::default(), decide).await.map(drop)
    }

    /// Which store this is, and whether it has begun to write.
    async fn origin(&self) -> Result<Origin, StoreError>;

    /// Puts a copy of everything into a SQLite store at `path`, where there is none, as it is at one
    /// instant. Nothing here is changed, and nobody waits for it.
    async fn copy_to(&self, path: &Path) -> Result<(), StoreError>;

    /// How far all subjects have been decided, and under which rules.
    async fn decided(&self) -> Result<Decided, StoreError>;

    /// Claims the most urgent due writes of a system for one attempt until `until`: withdrawals
    /// first, then by age (R34). A claimed write is not claimed again before `until`.
    async fn claim_writes(&self, claim: &Claim) -> Result<Vec<OutboxRow>, StoreError>;

    /// The normalised own addresses of these contacts of a system, in the same order; none for one
    /// that is unknown or has none.
    async fn addresses(
        &self,
        system: i16,
        contacts: &[&str],
    ) -> Result<Vec<Option<String>>, StoreError>;

    /// R32: of these claims, the keys that still are what was claimed; asked just before sending.
    async fn still_current(&self, claims: &[(WriteKey, i64)]) -> Result<Vec<WriteKey>, StoreError>;

    /// Gives up all claims of a system, after a restart or a lost race; their outcome is unknown.
    async fn release_claims(&self, system: i16) -> Result<u64, StoreError>;

    /// Puts claimed writes back for a later attempt, or into the dead-letter state, with the entries about
    /// the attempts, in one transaction. A write that was decided anew meanwhile gets none.
    async fn postpone(&self, postponed: &[Postponed]) -> Result<(), StoreError>;

    /// The next instant at which a pending write of that system becomes due.
    async fn next_due(&self, system: i16) -> Result<Option<At>, StoreError>;

    /// Figures for status, health and metrics.
    async fn figures(&self, now: At) -> Result<Figures, StoreError>;

    /// All that is known of one subject, for `explain`.
    async fn dossier(&self, subject: SubjectRef) -> Result<Option<Dossier>, StoreError>;

    /// Pages through subjects by number, with their contacts and outbox, for parity and plans:
    /// up to `limit` subjects whose number is greater than `after`.
    async fn subjects_after(&self, after: i64, limit: usize) -> Result<Known, StoreError>;

    /// Blocks of the ledger whose `last` is greater than `after`, in order, at most `limit`.
    async fn ledger_blocks(&self, after: i64, limit: usize)
    -> Result<Vec<StoredBlock>, StoreError>;

    /// Of these subjects, the blocks that have entries about them, or had some that were forgotten: the
    /// subject's number and the block's `last`, in no order. One for each may be named that never had
    /// any.
    async fn ledger_blocks_of(&self, subjects: &[i64]) -> Result<Vec<(i64, i64)>, StoreError>;

    /// Replaces the entries and marks of these blocks, each named by its `last`, in one transaction;
    /// digests stay. Nothing is replaced, which is `false`, where one of them is not as it was when it
    /// was redacted: somebody else has redacted it since, so it has to be read anew.
    async fn replace_blocks(&self, blocks: &[(i64, Redacted)]) -> Result<bool, StoreError>;

    /// The quarantined records of a system, oldest first, at most `limit`.
    async fn quarantined(
        &self,
        system: Option<i16>,
        limit: usize,
    ) -> Result<Vec<QuarantineRow>, StoreError>;

    /// The pending writes, most urgent first, at most `limit`, after `skip` of them.
    async fn outbox(&self, skip: usize, limit: usize) -> Result<Vec<OutboxRow>, StoreError>;

    /// What a check before mail is sent needs of these subjects, in the same order; none for one that
    /// is unknown. A contact counts where it is in one of the systems `live`. A bounded number of
    /// statements, however many subjects.
    async fn recipients(
        &self,
        subjects: &[SubjectRef],
        live: &[i16],
    ) -> Result<Vec<Option<RecipientRow>>, StoreError>;

    /// The live contacts of these subjects in these systems, by position, system and external id.
    async fn contacts_of(
        &self,
        subjects: &[SubjectRef],
        systems: &[i16],
    ) -> Result<Vec<SubjectContact>, StoreError>;

    /// The subjects that these contacts belong to, in the same order; none for one that is unknown or
    /// unmatched.
    async fn subjects_of(
        &self,
        contacts: &[(i16, &str)],
    ) -> Result<Vec<Option<SubjectRef>>, StoreError>;

    /// The normalised addresses of these subjects, in the same order; none for one that is unknown.
    async fn subject_addresses(
        &self,
        subjects: &[SubjectRef],
    ) -> Result<Vec<Option<String>>, StoreError>;

    /// Keeps a new send-out, durably (G13). Refused, which is `false`, while `most` of them are
    /// scheduled already.
    async fn put_sendout(&self, sendout: &SendoutRow, most: usize) -> Result<bool, StoreError>;

    /// One send-out.
    async fn sendout(&self, id: &str) -> Result<Option<SendoutRow>, StoreError>;

    /// The send-outs, the latest moment first, at most `limit`.
    async fn sendouts(&self, limit: usize) -> Result<Vec<SendoutHead>, StoreError>;

    /// Of the send-outs in that state, those that are due first: id and instant, at most `limit`.
    async fn due_sendouts(&self, state: i16, limit: usize)
    -> Result<Vec<(String, At)>, StoreError>;

    /// Takes a send-out a step further; whether it stood where the step begins.
    async fn advance_sendout(&self, step: &SendoutStep) -> Result<bool, StoreError>;

    /// Forgets the send-outs whose time to be forgotten has come; how many.
    async fn forget_sendouts(&self, now: At) -> Result<u64, StoreError>;

    /// The subjects about which the gate is to be asked, the longest due first, at most `limit`: keyed
    /// hash, number, and since when.
    async fn gate_due(&self, limit: usize) -> Result<Vec<(SubjectRef, i64, i64)>, StoreError>;

    /// How far the gate was asked about everybody.
    async fn gate_round(&self) -> Result<GateRound, StoreError>;

    /// Re-subscribe requests, at most `limit`.
    async fn requests(
        &self,
        query: &RequestQuery,
        limit: usize,
    ) -> Result<Vec<RequestView>, StoreError>;

    /// The holds, the newest first, at most `limit`: those that are open, or also closed ones.
    async fn holds(&self, closed_too: bool, limit: usize) -> Result<Vec<HoldView>, StoreError>;

    /// What waits under a hold and is not released, in the order of the subjects' numbers: of the first
    /// `limit` subjects behind `after`.
    async fn held(&self, hold: i64, after: i64, limit: usize) -> Result<Vec<HeldView>, StoreError>;
    /// How many suppressions stand under each key, by the ids of the keys.
    async fn suppression_keys(&self) -> Result<Vec<SuppressionKey>, StoreError>;

    /// R55: the suppressions with one of these digests.
    async fn suppressed(
        &self,
        digests: &[SuppressionDigest],
    ) -> Result<Vec<SuppressionRow>, StoreError>;

    /// Where somebody is named besides in their own rows; goes through whole tables.
    async fn traces(&self, query: &TraceQuery) -> Result<Traces, StoreError>;

    /// Sees to it that what was removed is not left in the database's files either, and looks for these
    /// texts in them. On Postgres the tables are vacuumed, and nothing is looked for: its files are the
    /// server's.
    async fn scrub(&self, texts: &[String]) -> Result<Residue, StoreError>;

    /// Writes a copy of the store, as it is now, to a file, for its owner alone, and proves that it can be
    /// used. A file that is there is replaced once that is proved. None on Postgres, which has its own tools.
    async fn back_up(&self, file: &Path) -> Result<Option<Backup>, StoreError>;

    /// R57: rows of that table that are older, at most `limit`.
    async fn expiring(
        &self,
        table: Expiring,
        before: At,
        limit: usize,
    ) -> Result<Vec<ExpiringKey>, StoreError>;

    /// How far the ledger's entries of a class have expired: the last block looked at, 0 before the first.
    async fn expired_through(&self, class: &str) -> Result<i64, StoreError>;

    /// The alarms with what each channel was told of them, in the order in which they were raised.
    async fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError>;

    /// Changes the set of alarms, durably.
    async fn put_alarms(&self, changes: &AlarmChanges) -> Result<(), StoreError>;

    /// Takes a channel a step further with an alarm; whether it stood where the step begins.
    async fn step_alarm_post(&self, step: &AlarmStep) -> Result<bool, StoreError>;

    /// The highest ledger sequence number committed. It only ever grows; it serves as the store's
    /// logical clock.
    fn sequence(&self) -> i64;

    /// Proves that the store can be written, by writing.
    async fn probe_writable(&self, now: At) -> Result<(), StoreError>;

    /// Checkpoints and closes.
    async fn close(&self);
}
