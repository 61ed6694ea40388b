//! Re-subscribe requests, and about whom the gate is to be asked.

use super::session::Rows;
use super::{SqliteStore, read_all};
use crate::store::common::{corrupt, fixed, request_columns};
use crate::store::session::json;
use crate::store::{GateRound, RequestQuery, RequestView, StoreError, SubjectRef};
use sqlx::Row as _;

impl SqliteStore {
    pub(super) async fn due_at_the_gate(
        &self,
        limit: usize,
    ) -> Result<Vec<(SubjectRef, i64, i64)>, StoreError> {
        let sql = "SELECT s.ref, s.id, g.since FROM gate_due g CROSS JOIN subjects s \
                   ON s.id = g.subject ORDER BY g.since, g.subject LIMIT ?";
        let rows = sqlx::query(sql)
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await;
        read_all("who is due at the gate", rows, |row| {
            Ok((
                SubjectRef(fixed(row.try_get(0)?)?),
                row.try_get(1)?,
                row.try_get(2)?,
            ))
        })
    }

    pub(super) async fn round_of_the_gate(&self) -> Result<GateRound, StoreError> {
        let what = "the round of the gate";
        let sql = "SELECT ended_at, after, sheet_at FROM gate_round";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await;
        let rows = read_all(what, rows, |row| {
            Ok(GateRound {
                ended_at: row.try_get(0)?,
                after: row.try_get(1)?,
                sheet_at: row.try_get(2)?,
            })
        });
        rows?.pop().ok_or_else(|| corrupt(what, "no row"))
    }

    pub(super) async fn requests_asked_for(
        &self,
        query: &RequestQuery,
        limit: usize,
    ) -> Result<Vec<RequestView>, StoreError> {
        let sql = concat!(
            "SELECT ",
            request_columns!(),
            ", s.ref, s.address, s.verdicts FROM resubscribe_requests r \
             JOIN subjects s ON s.id = r.subject WHERE r.id > ? \
             AND (? OR r.closed_at IS NULL) AND (NOT ? OR r.urgent) \
             AND (? OR r.id IN (SELECT value FROM json_each(?))) \
             AND (? OR s.ref = ?) ORDER BY r.id LIMIT ?"
        );
        let rows = sqlx::query(sql)
            .bind(query.after)
            .bind(query.closed)
            .bind(query.urgent)
            .bind(query.ids.is_empty())
            .bind(json(&query.ids)?)
            .bind(query.subject.is_none())
            .bind(query.subject.map(|subject| subject.0.to_vec()))
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await;
        read_all("re-subscribe requests", rows, Rows::request_view)
    }
}
