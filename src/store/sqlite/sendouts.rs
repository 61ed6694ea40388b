//! Send-outs that are checked again at the moment of sending.

use super::session::Rows;
use super::{SqliteStore, read_all};
use crate::consent::At;
use crate::store::common::sendout_columns;
use crate::store::report::storable_error;
use crate::store::send::joined;
use crate::store::{
    CANCELLED, CLOSED, SCHEDULED, SendoutHead, SendoutRow, SendoutStep, StoreError,
};
use sqlx::Row as _;

const WHAT: &str = "send-outs";

impl SqliteStore {
    pub(super) async fn keep_sendout(
        &self,
        sendout: &SendoutRow,
        most: usize,
    ) -> Result<bool, StoreError> {
        let sql = concat!(
            "INSERT INTO sendouts (",
            sendout_columns!(),
            ", recipients, first, last) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, coalesce(?13, x''), ?14, ?15 \
             WHERE (SELECT count(*) FROM sendouts WHERE state = ?16) < ?17"
        );
        let head = sendout.head.clone();
        let query = sqlx::query(sql)
            .bind(head.id)
            .bind(head.purpose)
            .bind(head.created_by)
            .bind(head.created_at)
            .bind(head.send_at)
            .bind(head.addressed)
            .bind(head.state)
            .bind(head.due_at)
            .bind(head.settled_at)
            .bind(head.callback)
            .bind(head.posts)
            .bind(head.post_error)
            .bind(joined(&sendout.recipients))
            .bind(sendout.first.clone())
            .bind(sendout.last.clone())
            .bind(SCHEDULED)
            .bind(most as i64);
        Ok(self.write(WHAT, query).await? > 0)
    }

    pub(super) async fn whole_sendout(&self, id: &str) -> Result<Option<SendoutRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            sendout_columns!(),
            ", recipients, first, last FROM sendouts WHERE id = ?"
        );
        let rows = sqlx::query(sql).bind(id).fetch_all(&self.readers).await;
        Ok(read_all(WHAT, rows, Rows::whole_sendout)?.pop())
    }

    pub(super) async fn sendout_heads(&self, limit: usize) -> Result<Vec<SendoutHead>, StoreError> {
        let sql = concat!(
            "SELECT ",
            sendout_columns!(),
            " FROM sendouts ORDER BY send_at DESC, id LIMIT ?"
        );
        let query = sqlx::query(sql).bind(limit as i64);
        read_all(WHAT, query.fetch_all(&self.readers).await, Rows::sendout)
    }

    pub(super) async fn sendouts_due(
        &self,
        state: i16,
        limit: usize,
    ) -> Result<Vec<(String, At)>, StoreError> {
        let sql = "SELECT id, due_at FROM sendouts WHERE state = ? ORDER BY due_at, id LIMIT ?";
        let query = sqlx::query(sql).bind(state).bind(limit as i64);
        read_all(WHAT, query.fetch_all(&self.readers).await, |row| {
            Ok((row.try_get(0)?, At::from_micros(row.try_get(1)?)))
        })
    }

    pub(super) async fn step_sendout(&self, step: &SendoutStep) -> Result<bool, StoreError> {
        let sql = "UPDATE sendouts SET state = ?, due_at = ?, posts = ?, post_error = ?, \
                     settled_at = coalesce(?, settled_at), last = coalesce(?, last) \
                   WHERE id = ? AND state = ? AND posts = ?";
        let step = step.clone();
        let error = step
            .post_error
            .map(|words| storable_error(&words).into_owned());
        let query = sqlx::query(sql)
            .bind(step.state)
            .bind(step.due_at)
            .bind(step.posts)
            .bind(error)
            .bind(step.settled_at)
            .bind(step.last)
            .bind(step.id)
            .bind(step.from_state)
            .bind(step.from_posts);
        Ok(self.write(WHAT, query).await? > 0)
    }

    pub(super) async fn drop_sendouts(&self, now: At) -> Result<u64, StoreError> {
        let sql = "DELETE FROM sendouts WHERE state IN (?, ?) AND due_at <= ?";
        let query = sqlx::query(sql)
            .bind(CLOSED)
            .bind(CANCELLED)
            .bind(now.micros());
        self.write(WHAT, query).await
    }
}
