//! Suppressions, erasure and expiry beside the deciding transaction (R55, R57).

use super::{PgStore, read_all};
use crate::store::{StoreError, SuppressionKey};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

impl PgStore {
    pub(super) async fn keys_of_suppressions(&self) -> Result<Vec<SuppressionKey>, StoreError> {
        let sql = "SELECT key, count(*) FROM suppressions GROUP BY key ORDER BY key";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        read_all("suppressions", rows, |row: &PgRow| {
            Ok(SuppressionKey {
                key: row.try_get(0)?,
                rows: row.try_get(1)?,
            })
        })
    }
}
