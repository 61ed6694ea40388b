//! Send-outs that are checked again at the moment of sending.

use super::session::Rows;
use super::{PgStore, read_all};
use crate::consent::At;
use crate::store::common::sendout_columns;
use crate::store::report::storable_error;
use crate::store::send::joined;
use crate::store::{
    CANCELLED, CLOSED, SCHEDULED, SendoutHead, SendoutRow, SendoutStep, StoreError,
};
use sqlx::Row as _;

const WHAT: &str = "send-outs";

impl PgStore {
    pub(super) async fn keep_sendout(
        &self,
        sendout: &SendoutRow,
        most: usize,
    ) -> Result<bool, StoreError> {
        let sql = concat!(
            "INSERT INTO sendouts (",
            sendout_columns!(),
            ", recipients, first, last) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 \
             WHERE (SELECT count(*) FROM sendouts WHERE state = $16) < $17"
        );
        let head = &sendout.head;
        let query = sqlx::query(sql)
            .bind(&head.id)
            .bind(&head.purpose)
            .bind(&head.created_by)
            .bind(head.created_at)
            .bind(head.send_at)
            .bind(head.addressed)
            .bind(head.state)
            .bind(head.due_at)
            .bind(head.settled_at)
            .bind(&head.callback)
            .bind(head.posts)
            .bind(&head.post_error)
            .bind(joined(&sendout.recipients))
            .bind(&sendout.first)
            .bind(&sendout.last)
            .bind(SCHEDULED)
            .bind(most as i64);
        Ok(self.write(WHAT, query).await? > 0)
    }

    pub(super) async fn whole_sendout(&self, id: &str) -> Result<Option<SendoutRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            sendout_columns!(),
            ", recipients, first, last FROM sendouts WHERE id = $1"
        );
        let rows = sqlx::query(sql).bind(id).fetch_all(&self.pool).await;
        Ok(read_all(WHAT, rows, Rows::whole_sendout)?.pop())
    }

    pub(super) async fn sendout_heads(&self, limit: usize) -> Result<Vec<SendoutHead>, StoreError> {
        let sql = concat!(
            "SELECT ",
            sendout_columns!(),
            " FROM sendouts ORDER BY send_at DESC, id LIMIT $1"
        );
        let query = sqlx::query(sql).bind(limit as i64);
        read_all(WHAT, query.fetch_all(&self.pool).await, Rows::sendout)
    }

    pub(super) async fn sendouts_due(
        &self,
        state: i16,
        limit: usize,
    ) -> Result<Vec<(String, At)>, StoreError> {
        let sql = "SELECT id, due_at FROM sendouts WHERE state = $1 ORDER BY due_at, id LIMIT $2";
        let query = sqlx::query(sql).bind(state).bind(limit as i64);
        read_all(WHAT, query.fetch_all(&self.pool).await, |row| {
            Ok((row.try_get(0)?, At::from_micros(row.try_get(1)?)))
        })
    }

    pub(super) async fn step_sendout(&self, step: &SendoutStep) -> Result<bool, StoreError> {
        let sql = "UPDATE sendouts SET state = $1, due_at = $2, posts = $3, post_error = $4, \
                     settled_at = coalesce($5, settled_at), last = coalesce($6, last) \
                   WHERE id = $7 AND state = $8 AND posts = $9";
        let query = sqlx::query(sql)
            .bind(step.state)
            .bind(step.due_at)
            .bind(step.posts)
            .bind(step.post_error.as_deref().map(storable_error))
            .bind(step.settled_at)
            .bind(&step.last)
            .bind(&step.id)
            .bind(step.from_state)
            .bind(step.from_posts);
        Ok(self.write(WHAT, query).await? > 0)
    }

    pub(super) async fn drop_sendouts(&self, now: At) -> Result<u64, StoreError> {
        let sql = "DELETE FROM sendouts WHERE state IN ($1, $2) AND due_at <= $3";
        let query = sqlx::query(sql)
            .bind(CLOSED)
            .bind(CANCELLED)
            .bind(now.micros());
        self.write(WHAT, query).await
    }
}
