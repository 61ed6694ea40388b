//! The state store in a Postgres database, for daemons on more than one machine.
//!
//! Every deciding transaction first locks the row of counters, so that they come one after the
//! other; each statement after that sees all that went before. Claims take no such lock: they
//! skip the rows that a transaction has locked. Sets go to a statement as arrays.

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
use secrecy::SecretString;
use session::Session;
use sqlx::{PgPool, Postgres, Transaction};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use url::Url;

/// A state store in a Postgres database.
#[derive(Debug)]
pub struct PgStore {
    pool: PgPool,
    sequence: AtomicI64,
    statements: AtomicU64,
}

impl PgStore {
    /// Opens the store in the database at `url`. The daemon migrates it; a tool takes it as it is.
    pub async fn connect(
        url: &Url,
        password: Option<&SecretString>,
        access: Access,
    ) -> Result<Self, StoreError> {
        open::connect(url, password, access).await
    }

    /// Whether the database at `url` has a store, of whichever version.
    pub async fn is_made(url: &Url, password: Option<&SecretString>) -> Result<bool, StoreError> {
        open::is_made(url, password).await
    }

    /// How many statements transactions have sent so far. It does not depend on the number of
    /// contacts that they touched.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        self.pool
            .begin()
            .await
            .map_err(failed("beginning a transaction"))
    }

    async fn commit(&self, transaction: Transaction<'_, Postgres>) -> Result<(), StoreError> {
        transaction
            .commit()
            .await
            .map_err(failed("committing a transaction"))
    }

    async fn session(&self) -> Result<Session<'_>, StoreError> {
        Ok(Session::deciding(self.begin().await?, &self.statements))
    }

    /// A consistent view of the store.
    async fn view(&self) -> Result<Session<'_>, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let transaction = self
            .pool
            .begin_with(begin)
            .await
            .map_err(failed("reading"))?;
        Ok(Session::viewing(transaction, &self.statements))
    }

    async fn probe(&self, now: At) -> Result<(), StoreError> {
        sqlx::query("UPDATE probes SET probed_at = $1")
            .bind(now.micros())
            .execute(&self.pool)
            .await
            .map_err(failed("the write probe"))?;
        Ok(())
    }

    async fn shut(&self) {
        self.pool.close().await;
    }
}

implement_store!(PgStore);
