//! Alarms, and what each channel was told of them.

use super::session::{Rows, column};
use super::{PgStore, read_all};
use crate::store::alarms::gathered;
use crate::store::common::{alarm_columns, failed};
use crate::store::report::storable_error;
use crate::store::{AlarmChanges, AlarmRow, AlarmStep, StoreError};

const WHAT: &str = "alarms";

impl PgStore {
    pub(super) async fn all_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            alarm_columns!(),
            " FROM alarms a LEFT JOIN alarm_posts p ON p.kind = a.kind AND p.about = a.about \
             ORDER BY a.raised_at, a.kind, a.about, p.channel"
        );
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        read_all(WHAT, rows, Rows::alarm).map(gathered)
    }

    pub(super) async fn change_alarms(&self, changes: &AlarmChanges) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO alarms (kind, about, since, raised_at, cleared_at, text) \
             SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[], \
               $5::BIGINT[], $6::TEXT[]) \
             ON CONFLICT (kind, about) DO UPDATE SET since = excluded.since, \
               raised_at = excluded.raised_at, cleared_at = excluded.cleared_at, \
               text = excluded.text";
        const FORGET_POSTS: &str = "DELETE FROM alarm_posts p \
             USING UNNEST($1::TEXT[], $2::TEXT[], $3::BIGINT[]) AS n (kind, about, raised_at), \
               alarms a \
             WHERE a.kind = n.kind AND a.about = n.about AND a.raised_at = n.raised_at \
               AND p.kind = n.kind AND p.about = n.about";
        const FORGET: &str = "DELETE FROM alarms a \
             USING UNNEST($1::TEXT[], $2::TEXT[], $3::BIGINT[]) AS n (kind, about, raised_at) \
             WHERE a.kind = n.kind AND a.about = n.about AND a.raised_at = n.raised_at";
        let (put, forget) = (&changes.put, &changes.forget);
        let mut transaction = self.begin().await?;
        let query = sqlx::query(PUT)
            .bind(column(put, |row| row.kind.as_str()))
            .bind(column(put, |row| row.about.as_str()))
            .bind(column(put, |row| row.since))
            .bind(column(put, |row| row.raised_at))
            .bind(column(put, |row| row.cleared_at))
            .bind(column(put, |row| storable_error(&row.text)));
        query
            .execute(&mut *transaction)
            .await
            .map_err(failed(WHAT))?;
        for sql in [FORGET_POSTS, FORGET] {
            let query = sqlx::query(sql)
                .bind(column(forget, |(kind, _, _)| kind.as_str()))
                .bind(column(forget, |(_, about, _)| about.as_str()))
                .bind(column(forget, |(_, _, raised_at)| *raised_at));
            query
                .execute(&mut *transaction)
                .await
                .map_err(failed(WHAT))?;
        }
        self.commit(transaction).await
    }

    pub(super) async fn step_alarm(&self, step: &AlarmStep) -> Result<bool, StoreError> {
        let sql = "INSERT INTO alarm_posts \
                     (kind, about, channel, told, attempts, next_try, error) \
                   SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS ( \
                     SELECT 1 FROM alarms WHERE kind = $1 AND about = $2) \
                   ON CONFLICT (kind, about, channel) DO UPDATE SET told = excluded.told, \
                     attempts = excluded.attempts, next_try = excluded.next_try, \
                     error = excluded.error \
                   WHERE alarm_posts.told = $8 AND alarm_posts.attempts = $9";
        let post = &step.post;
        let query = sqlx::query(sql)
            .bind(&step.kind)
            .bind(&step.about)
            .bind(&post.channel)
            .bind(post.told)
            .bind(post.attempts)
            .bind(post.next_try)
            .bind(post.error.as_deref().map(storable_error))
            .bind(step.from_told)
            .bind(step.from_attempts);
        Ok(self.write(WHAT, query).await? > 0)
    }
}
