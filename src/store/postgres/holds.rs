//! Decisions that wait for a person.

use super::session::Rows;
use super::{PgStore, read_all};
use crate::store::common::{held_columns, hold_columns};
use crate::store::{HeldView, HoldView, StoreError};

impl PgStore {
    pub(super) async fn all_holds(
        &self,
        closed_too: bool,
        limit: usize,
    ) -> Result<Vec<HoldView>, StoreError> {
        let sql = concat!(
            "SELECT ",
            hold_columns!(),
            ", (SELECT count(DISTINCT w.subject) FROM held w \
                WHERE w.hold = h.id AND NOT w.released), \
             (SELECT count(DISTINCT w.subject) FROM held w \
                WHERE w.hold = h.id AND w.released) \
             FROM holds h WHERE $1 OR h.closed_at IS NULL ORDER BY h.id DESC LIMIT $2"
        );
        let rows = sqlx::query(sql)
            .bind(closed_too)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await;
        read_all("holds", rows, Rows::hold_view)
    }

    pub(super) async fn held_under(
        &self,
        hold: i64,
        after: i64,
        limit: usize,
    ) -> Result<Vec<HeldView>, StoreError> {
        let sql = concat!(
            "SELECT ",
            held_columns!(),
            ", s.ref FROM held w JOIN subjects s ON s.id = w.subject \
             WHERE w.hold = $1 AND NOT w.released AND w.subject IN \
               (SELECT DISTINCT n.subject FROM held n WHERE n.hold = $1 AND NOT n.released \
                  AND n.subject > $2 ORDER BY n.subject LIMIT $3) \
             ORDER BY w.subject, w.purpose"
        );
        let rows = sqlx::query(sql)
            .bind(hold)
            .bind(after)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await;
        read_all("held decisions", rows, Rows::held_view)
    }
}
