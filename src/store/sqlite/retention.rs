//! What has expired (R57).

use super::session::Session;
use super::{SqliteStore, read_all};
use crate::consent::At;
use crate::store::common::failed;
use crate::store::session::json;
use crate::store::{Expiring, ExpiringKey, StoreError};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

impl SqliteStore {
    pub(super) async fn rows_before(
        &self,
        table: Expiring,
        before: At,
        limit: usize,
    ) -> Result<Vec<ExpiringKey>, StoreError> {
        let sql = match table {
            Expiring::Flips => "SELECT id, '' FROM flips WHERE at < ? ORDER BY id LIMIT ?",
            Expiring::LoadMembers => {
                "SELECT m.load, m.external FROM loads l CROSS JOIN load_members m ON m.load = l.id \
                 WHERE l.minute < ? / 60000000 ORDER BY m.load, m.external LIMIT ?"
            }
            Expiring::Quarantine => {
                "SELECT system, external FROM quarantine WHERE seen_at < ? \
                 ORDER BY system, external LIMIT ?"
            }
            Expiring::ClosedRequests => {
                "SELECT id, '' FROM resubscribe_requests WHERE closed_at < ? ORDER BY id LIMIT ?"
            }
            Expiring::DeletedContacts => {
                "SELECT c.system, c.external FROM contacts c INDEXED BY contacts_gone \
                 WHERE c.life <> 0 AND c.read_at < ? AND NOT EXISTS (SELECT 1 FROM outbox o \
                   WHERE o.system = c.system AND o.external = c.external) \
                 ORDER BY c.read_at LIMIT ?"
            }
        };
        let rows = sqlx::query(sql)
            .bind(before.micros())
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await;
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        read_all("what has expired", rows, read)
    }

    pub(super) async fn class_through(&self, class: &str) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(through), 0) FROM expired WHERE class = ?";
        sqlx::query_scalar(sql)
            .bind(class.to_owned())
            .fetch_one(&self.readers)
            .await
            .map_err(failed("how far the ledger has expired"))
    }
}

impl Session<'_> {
    pub(super) async fn drop_rows(
        &mut self,
        table: Expiring,
        keys: &[ExpiringKey],
    ) -> Result<u64, StoreError> {
        let sql = match table {
            Expiring::Flips => {
                "DELETE FROM flips WHERE id IN (SELECT value ->> 0 FROM json_each(?))"
            }
            Expiring::LoadMembers => {
                "DELETE FROM load_members WHERE (load, external) IN \
                 (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
            }
            Expiring::Quarantine => {
                "DELETE FROM quarantine WHERE (system, external) IN \
                 (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
            }
            Expiring::ClosedRequests => {
                "DELETE FROM resubscribe_requests WHERE closed_at IS NOT NULL \
                 AND id IN (SELECT value ->> 0 FROM json_each(?))"
            }
            Expiring::DeletedContacts => {
                "DELETE FROM contacts WHERE life <> 0 AND (system, external) IN \
                 (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
            }
        };
        self.write("what has expired", sqlx::query(sql).bind(json(keys)?))
            .await
    }
}
