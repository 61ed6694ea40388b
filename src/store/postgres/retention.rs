//! What has expired (R57).

use super::session::{Session, column};
use super::{PgStore, read_all};
use crate::consent::At;
use crate::store::common::failed;
use crate::store::{Expiring, ExpiringKey, StoreError};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

impl PgStore {
    pub(super) async fn rows_before(
        &self,
        table: Expiring,
        before: At,
        limit: usize,
    ) -> Result<Vec<ExpiringKey>, StoreError> {
        let sql = match table {
            Expiring::Flips => "SELECT id, '' FROM flips WHERE at < $1 ORDER BY id LIMIT $2",
            Expiring::LoadMembers => {
                "SELECT m.load, m.external FROM loads l JOIN load_members m ON m.load = l.id \
                 WHERE l.minute < $1 / 60000000 ORDER BY m.load, m.external LIMIT $2"
            }
            Expiring::Quarantine => {
                "SELECT system::BIGINT, external FROM quarantine WHERE seen_at < $1 \
                 ORDER BY system, external LIMIT $2"
            }
            Expiring::ClosedRequests => {
                "SELECT id, '' FROM resubscribe_requests WHERE closed_at < $1 ORDER BY id LIMIT $2"
            }
            Expiring::DeletedContacts => {
                "SELECT c.system::BIGINT, c.external FROM contacts c \
                 WHERE c.life <> 0 AND c.read_at < $1 AND NOT EXISTS (SELECT 1 FROM outbox o \
                   WHERE o.system = c.system AND o.external = c.external) \
                 ORDER BY c.read_at LIMIT $2"
            }
        };
        let rows = sqlx::query(sql)
            .bind(before.micros())
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await;
        let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
        read_all("what has expired", rows, read)
    }

    pub(super) async fn class_through(&self, class: &str) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(max(through), 0) FROM expired WHERE class = $1";
        sqlx::query_scalar(sql)
            .bind(class)
            .fetch_one(&self.pool)
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
                "DELETE FROM flips t USING UNNEST($1::BIGINT[], $2::TEXT[]) AS k (id, external) \
                 WHERE t.id = k.id"
            }
            Expiring::LoadMembers => {
                "DELETE FROM load_members t USING UNNEST($1::BIGINT[], $2::TEXT[]) AS k (id, external) \
                 WHERE t.load = k.id AND t.external = k.external"
            }
            Expiring::Quarantine => {
                "DELETE FROM quarantine t USING UNNEST($1::BIGINT[], $2::TEXT[]) AS k (id, external) \
                 WHERE t.system = k.id::SMALLINT AND t.external = k.external"
            }
            Expiring::ClosedRequests => {
                "DELETE FROM resubscribe_requests t \
                 USING UNNEST($1::BIGINT[], $2::TEXT[]) AS k (id, external) \
                 WHERE t.id = k.id AND t.closed_at IS NOT NULL"
            }
            Expiring::DeletedContacts => {
                "DELETE FROM contacts t USING UNNEST($1::BIGINT[], $2::TEXT[]) AS k (id, external) \
                 WHERE t.system = k.id::SMALLINT AND t.external = k.external AND t.life <> 0"
            }
        };
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.0))
            .bind(column(keys, |key| key.1.as_str()));
        self.write("what has expired", query).await
    }
}
