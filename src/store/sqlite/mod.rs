//! The state store in one SQLite file.
//!
//! One connection writes, always in `BEGIN IMMEDIATE`; a few others read. Sets go to a statement
//! as one JSON array. `json_each(?) j CROSS JOIN t` pins the order of the join: without `CROSS`
//! the planner may walk through `t` once for every element.

mod alarms;
mod check;
mod copy;
mod gate;
mod holds;
mod ledger;
mod open;
mod privacy;
mod queue;
mod report;
mod retention;
mod sendouts;
mod session;

pub(super) use copy::{Cell, Sink};

use super::common::{again_after, failed, implement_store, read_all};
use super::ledger::{Redacted, StoredBlock};
use super::report::unsent;
use super::session::{Outcome, Reads as _, Writes as _, load, postpone, transact};
use super::{
    Access, AlarmChanges, AlarmRow, AlarmStep, Applied, Backup, Claim, Decide, Decided, Dossier,
    FeedRow, Figures, GateRound, HeldView, HoldView, Known, Origin, OutboxRow, Postponed,
    QuarantineRow, RecipientRow, RequestQuery, RequestView, Residue, Scope, SendoutHead,
    SendoutRow, SendoutStep, Store, StoreError, SubjectContact, SubjectRef, SuppressionDigest,
    SuppressionKey, SuppressionRow, TraceQuery, Traces, WriteKey,
};
use super::{Expiring, ExpiringKey};
use crate::consent::At;
use async_trait::async_trait;
use session::Session;
use sqlx::{Sqlite, SqlitePool, Transaction};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A state store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    sequence: AtomicI64,
    statements: AtomicU64,
    path: PathBuf,
    /// Held by the daemon until the store is closed.
    lock: Option<File>,
}

impl SqliteStore {
    /// Opens the store at `path`. The daemon makes it if it is missing, migrates it, and keeps
    /// every other daemon off it; a tool takes it as it is, beside a running daemon.
    pub async fn open(path: &Path, access: Access) -> Result<Self, StoreError> {
        open::open(path, access).await
    }

    /// How many statements transactions have sent so far. It does not depend on the number of
    /// contacts that they touched.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    async fn begin(&self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed("beginning a transaction"))
    }

    async fn commit(&self, transaction: Transaction<'_, Sqlite>) -> Result<(), StoreError> {
        transaction
            .commit()
            .await
            .map_err(failed("committing a transaction"))
    }

    async fn session(&self) -> Result<Session<'_>, StoreError> {
        Ok(Session::new(self.begin().await?, &self.statements))
    }

    /// A consistent view of the store.
    async fn view(&self) -> Result<Session<'_>, StoreError> {
        let transaction = self.readers.begin().await.map_err(failed("reading"))?;
        Ok(Session::new(transaction, &self.statements))
    }

    async fn probe(&self, now: At) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE counters SET probed_at = ?")
            .bind(now.micros())
            .execute(&mut *transaction)
            .await
            .map_err(failed("the write probe"))?;
        self.commit(transaction).await
    }

    async fn shut(&self) {
        self.readers.close().await;
        let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.writer)
            .await;
        if let Err(error) = folded {
            tracing::warn!(%error, "the state store's log was not folded in; the next start does it");
        }
        self.writer.close().await;
        // Explicitly: a child process that is just being started would hold it a little longer.
        if let Some(Err(error)) = self.lock.as_ref().map(File::unlock) {
            tracing::warn!(%error, "the state store's lock was not given back");
        }
    }
}

implement_store!(SqliteStore);
