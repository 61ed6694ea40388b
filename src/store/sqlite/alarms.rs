//! Alarms, and what each channel was told of them.

use super::session::Rows;
use super::{SqliteStore, read_all};
use crate::store::alarms::gathered;
use crate::store::common::{alarm_columns, failed};
use crate::store::report::storable_error;
use crate::store::session::json;
use crate::store::{AlarmChanges, AlarmRow, AlarmStep, StoreError};

const WHAT: &str = "alarms";

impl SqliteStore {
    pub(super) async fn all_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            alarm_columns!(),
            " FROM alarms a LEFT JOIN alarm_posts p ON p.kind = a.kind AND p.about = a.about \
             ORDER BY a.raised_at, a.kind, a.about, p.channel"
        );
        let rows = sqlx::query(sql).fetch_all(&self.readers).await;
        read_all(WHAT, rows, Rows::alarm).map(gathered)
    }

    pub(super) async fn change_alarms(&self, changes: &AlarmChanges) -> Result<(), StoreError> {
        const PUT: &str = "INSERT INTO alarms (kind, about, since, raised_at, cleared_at, text) \
             SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4, \
               j.value ->> 5 FROM json_each(?) j WHERE true \
             ON CONFLICT (kind, about) DO UPDATE SET since = excluded.since, \
               raised_at = excluded.raised_at, cleared_at = excluded.cleared_at, \
               text = excluded.text";
        const FORGET_POSTS: &str = "DELETE FROM alarm_posts WHERE (kind, about) IN ( \
             SELECT a.kind, a.about FROM json_each(?) j CROSS JOIN alarms a \
             ON a.kind = j.value ->> 0 AND a.about = j.value ->> 1 \
               AND a.raised_at = j.value ->> 2)";
        const FORGET: &str = "DELETE FROM alarms WHERE (kind, about, raised_at) IN ( \
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?))";
        let put: Vec<_> = changes
            .put
            .iter()
            .map(|row| {
                let text = storable_error(&row.text);
                (
                    &row.kind,
                    &row.about,
                    row.since,
                    row.raised_at,
                    row.cleared_at,
                    text,
                )
            })
            .collect();
        let (put, forget) = (json(&put)?, json(&changes.forget)?);
        let mut transaction = self.begin().await?;
        for (sql, sets) in [(PUT, &put), (FORGET_POSTS, &forget), (FORGET, &forget)] {
            sqlx::query(sql)
                .bind(sets.clone())
                .execute(&mut *transaction)
                .await
                .map_err(failed(WHAT))?;
        }
        self.commit(transaction).await
    }

    pub(super) async fn step_alarm(&self, step: &AlarmStep) -> Result<bool, StoreError> {
        let sql = "INSERT INTO alarm_posts \
                     (kind, about, channel, told, attempts, next_try, error) \
                   SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE EXISTS ( \
                     SELECT 1 FROM alarms WHERE kind = ?1 AND about = ?2) \
                   ON CONFLICT (kind, about, channel) DO UPDATE SET told = excluded.told, \
                     attempts = excluded.attempts, next_try = excluded.next_try, \
                     error = excluded.error \
                   WHERE alarm_posts.told = ?8 AND alarm_posts.attempts = ?9";
        let step = step.clone();
        let post = step.post;
        let error = post.error.map(|words| storable_error(&words).into_owned());
        let query = sqlx::query(sql)
            .bind(step.kind)
            .bind(step.about)
            .bind(post.channel)
            .bind(post.told)
            .bind(post.attempts)
            .bind(post.next_try)
            .bind(error)
            .bind(step.from_told)
            .bind(step.from_attempts);
        Ok(self.write(WHAT, query).await? > 0)
    }
}
