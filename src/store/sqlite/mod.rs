//! The state store in one SQLite file.
//!
//! One connection writes, always in `BEGIN IMMEDIATE`; a few others read. Sets go to a statement
//! as one JSON array. `json_each(?) j CROSS JOIN t` pins the order of the join: without `CROSS`
//! the planner may walk through `t` once for every element.

mod open;
mod queue;
mod report;
mod session;

use super::common::{again_after, failed, read_all};
use super::session::{Outcome, load, transact};
use super::{
    Access, Applied, Claim, Decide, Dossier, FeedRow, FeedSwitch, Figures, Known, OutboxRow,
    Postponed, QuarantineRow, Scope, Store, StoreError, SubjectRef, WriteKey,
};
use crate::consent::At;
use async_trait::async_trait;
use session::Session;
use sqlx::{Sqlite, SqlitePool, Transaction};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A state store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    sequence: AtomicI64,
    statements: AtomicU64,
    /// Held by the daemon for as long as the store lives.
    _lock: Option<File>,
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

    /// A consistent view of the store.
    async fn view(&self) -> Result<Session<'_>, StoreError> {
        let transaction = self.readers.begin().await.map_err(failed("reading"))?;
        Ok(Session::new(transaction, &self.statements))
    }

    async fn attempt(&self, scope: &Scope, decide: Decide<'_>) -> Result<Applied, StoreError> {
        let mut session = Session::new(self.begin().await?, &self.statements);
        match transact(&mut session, scope, decide).await {
            Ok(Outcome::Commit { applied, sequence }) => {
                self.commit(session.into_transaction()).await?;
                self.sequence.fetch_max(sequence, Ordering::AcqRel);
                Ok(applied)
            }
            Ok(Outcome::Overtaken) => {
                roll_back(session.into_transaction()).await?;
                Ok(Applied::Overtaken)
            }
            Err(error) => {
                roll_back(session.into_transaction()).await?;
                Err(error)
            }
        }
    }
}

async fn roll_back(transaction: Transaction<'_, Sqlite>) -> Result<(), StoreError> {
    transaction
        .rollback()
        .await
        .map_err(failed("rolling a transaction back"))
}

#[async_trait]
impl Store for SqliteStore {
    async fn transact(&self, scope: &Scope, decide: Decide<'_>) -> Result<Applied, StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(scope, &mut *decide).await {
                Err(error) => match again_after(&error, attempt) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
                applied => return applied,
            }
        }
    }

    async fn register_systems(&self, names: &[String]) -> Result<Vec<i16>, StoreError> {
        self.register(names).await
    }

    async fn feed(&self, system: i16) -> Result<FeedRow, StoreError> {
        self.feed_row(system).await
    }

    async fn set_feed_switch(
        &self,
        system: i16,
        switch: FeedSwitch,
        now: At,
    ) -> Result<(), StoreError> {
        self.switch_feed(system, switch, now).await
    }

    async fn claim_writes(&self, claim: &Claim) -> Result<Vec<OutboxRow>, StoreError> {
        self.claim(claim).await
    }

    async fn still_current(&self, claims: &[(WriteKey, i64)]) -> Result<Vec<WriteKey>, StoreError> {
        self.current(claims).await
    }

    async fn release_claims(&self, system: i16) -> Result<u64, StoreError> {
        self.release(system).await
    }

    async fn postpone(&self, postponed: &[Postponed]) -> Result<(), StoreError> {
        self.put_back(postponed).await
    }

    async fn redrive(&self, system: Option<i16>, now: At) -> Result<u64, StoreError> {
        self.revive(system, now).await
    }

    async fn next_due(&self, system: i16) -> Result<Option<At>, StoreError> {
        self.due(system).await
    }

    async fn figures(&self, _now: At) -> Result<Figures, StoreError> {
        self.count().await
    }

    async fn dossier(&self, subject: SubjectRef) -> Result<Option<Dossier>, StoreError> {
        self.file_of(subject).await
    }

    async fn subjects_after(&self, after: i64, limit: usize) -> Result<Known, StoreError> {
        self.known_after(after, limit).await
    }

    async fn quarantined(
        &self,
        system: Option<i16>,
        limit: usize,
    ) -> Result<Vec<QuarantineRow>, StoreError> {
        self.quarantine(system, limit).await
    }

    async fn outbox(&self, skip: usize, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.writes(skip, limit).await
    }

    fn sequence(&self) -> i64 {
        self.sequence.load(Ordering::Acquire)
    }

    async fn probe_writable(&self, now: At) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query("UPDATE counters SET probed_at = ?")
            .bind(now.micros())
            .execute(&mut *transaction)
            .await
            .map_err(failed("the write probe"))?;
        self.commit(transaction).await
    }

    async fn close(&self) {
        self.readers.close().await;
        let folded = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&self.writer)
            .await;
        if let Err(error) = folded {
            tracing::warn!(%error, "the state store's log was not folded in; the next start does it");
        }
        self.writer.close().await;
    }
}
