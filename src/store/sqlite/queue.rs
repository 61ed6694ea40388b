//! The outbox as a queue, and where feeds stand: what happens beside the transactions.

use super::session::{Query, Rows};
use super::{SqliteStore, read_all};
use crate::consent::At;
use crate::store::common::{corrupt, failed, feed_columns, outbox_columns};
use crate::store::report::{sort_by_urgency, still_standing};
use crate::store::session::json;
use crate::store::{
    CLAIMED, Claim, Decided, FeedRow, LANE_GRANT, LANE_WITHDRAWAL, Origin, OutboxRow, PENDING,
    StoreError, WriteKey,
};
use sqlx::Row as _;

impl SqliteStore {
    pub(super) async fn write(&self, what: &'static str, query: Query) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let done = query
            .execute(&mut *transaction)
            .await
            .map_err(failed(what))?;
        self.commit(transaction).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn register(&self, names: &[String]) -> Result<Vec<i16>, StoreError> {
        let what = "the systems";
        let mut transaction = self.begin().await?;
        let add = "INSERT INTO systems (id, name) \
                   SELECT (SELECT coalesce(max(id), 0) FROM systems) \
                     + row_number() OVER (ORDER BY min(j.key)), j.value FROM json_each(?) j \
                   WHERE j.value NOT IN (SELECT name FROM systems) GROUP BY j.value";
        sqlx::query(add)
            .bind(json(names)?)
            .execute(&mut *transaction)
            .await
            .map_err(failed(what))?;
        let numbers = "SELECT s.id FROM json_each(?) j CROSS JOIN systems s ON s.name = j.value \
                       ORDER BY j.key";
        let rows = sqlx::query(numbers)
            .bind(json(names)?)
            .fetch_all(&mut *transaction)
            .await;
        let numbers = read_all(what, rows, |row| row.try_get(0))?;
        self.commit(transaction).await?;
        Ok(numbers)
    }

    pub(super) async fn registered(&self) -> Result<Vec<(i16, String)>, StoreError> {
        let sql = "SELECT id, name FROM systems ORDER BY id";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await;
        read_all("the systems", rows, |row| {
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
    }

    pub(super) async fn origin_row(&self) -> Result<Origin, StoreError> {
        let sql = "SELECT store_id, planning FROM counters";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await;
        let found = read_all("the counters", rows, |row| {
            Ok(Origin {
                store_id: row.try_get(0)?,
                planning: row.try_get(1)?,
            })
        });
        found?
            .pop()
            .ok_or_else(|| corrupt("the counters", "no row"))
    }

    pub(super) async fn decided_so_far(&self) -> Result<Decided, StoreError> {
        let sql = "SELECT policy, through FROM decided";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await;
        let found = read_all("how far subjects are decided", rows, |row| {
            Ok(Decided {
                policy: row.try_get(0)?,
                through: row.try_get(1)?,
            })
        });
        Ok(found?.pop().unwrap_or_default())
    }

    pub(super) async fn feed_row(&self, system: i16) -> Result<FeedRow, StoreError> {
        let sql = concat!("SELECT ", feed_columns!(), " FROM systems WHERE id = ?");
        let rows = sqlx::query(sql).bind(system).fetch_all(&self.readers).await;
        Ok(read_all("the feed", rows, Rows::feed)?
            .pop()
            .unwrap_or_default())
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = concat!(
            "UPDATE outbox AS o SET state = 1, claimed_until = ?1, in_flight = CASE \
               WHEN in_flight = '' THEN changes \
               WHEN instr(char(10) || in_flight || char(10), char(10) || changes || char(10)) > 0 \
                 THEN rtrim(in_flight, char(10)) || char(10) \
               ELSE changes || char(10) || in_flight END \
             WHERE (o.system, o.external, o.lane) IN ( \
               SELECT ?2, d.external, d.lane FROM ( \
                 SELECT external, lane, decided_at FROM ( \
                   SELECT external, lane, decided_at FROM outbox INDEXED BY outbox_queue \
                   WHERE system = ?2 AND state = 0 AND lane BETWEEN ?3 AND ?4 \
                     AND not_before <= ?5 \
                   ORDER BY lane, decided_at, external LIMIT ?6) \
                 UNION ALL \
                 SELECT external, lane, decided_at FROM outbox INDEXED BY outbox_queue \
                 WHERE system = ?2 AND state IN (1, 4) AND lane BETWEEN ?3 AND ?4 \
                   AND claimed_until <= ?5 AND not_before <= ?5) d \
               ORDER BY d.lane, d.decided_at, d.external LIMIT ?6) \
             RETURNING ",
            outbox_columns!()
        );
        let (first, last) = match claim.lane {
            Some(lane) => (lane, lane),
            None => (LANE_WITHDRAWAL, LANE_GRANT),
        };
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(sql)
            .bind(claim.until)
            .bind(claim.system)
            .bind(first)
            .bind(last)
            .bind(claim.now)
            .bind(claim.limit as i64)
            .fetch_all(&mut *transaction)
            .await;
        let mut claimed = read_all("claimed writes", rows, Rows::outbox)?;
        self.commit(transaction).await?;
        sort_by_urgency(&mut claimed);
        Ok(claimed)
    }

    pub(super) async fn addresses_of(
        &self,
        system: i16,
        contacts: &[&str],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let sql = "SELECT s.address FROM json_each(?) j \
                   LEFT JOIN contacts c ON c.system = ? AND c.external = j.value \
                   LEFT JOIN subjects s ON s.id = coalesce(c.own_subject, c.subject) \
                   ORDER BY j.key";
        let rows = sqlx::query(sql)
            .bind(json(contacts)?)
            .bind(system)
            .fetch_all(&self.readers);
        read_all("addresses", rows.await, |row| row.try_get(0))
    }

    pub(super) async fn current(
        &self,
        claims: &[(WriteKey, i64)],
    ) -> Result<Vec<WriteKey>, StoreError> {
        let sql = "SELECT j.key FROM json_each(?) j CROSS JOIN outbox o \
                   ON o.system = j.value ->> 0 AND o.external = j.value ->> 1 \
                   AND o.lane = j.value ->> 2 \
                   WHERE o.version = j.value ->> 3 AND o.state = ?";
        let asked: Vec<_> = claims
            .iter()
            .map(|(key, version)| (key.system, &key.external, key.lane, version))
            .collect();
        let rows = sqlx::query(sql)
            .bind(json(&asked)?)
            .bind(CLAIMED)
            .fetch_all(&self.readers);
        Ok(still_standing(
            claims,
            read_all("claimed writes", rows.await, |row| row.try_get(0))?,
        ))
    }

    pub(super) async fn release(&self, system: i16) -> Result<u64, StoreError> {
        let sql = "UPDATE outbox SET state = ?, claimed_until = 0 WHERE system = ? AND state = ?";
        self.write(
            "claimed writes",
            sqlx::query(sql).bind(PENDING).bind(system).bind(CLAIMED),
        )
        .await
    }

    pub(super) async fn due(&self, system: i16) -> Result<Option<At>, StoreError> {
        let sql = "SELECT min(due) FROM ( \
                     SELECT min(not_before) AS due FROM outbox INDEXED BY outbox_queue \
                     WHERE system = ?1 AND state = 0 \
                     UNION ALL \
                     SELECT min(max(not_before, claimed_until)) FROM outbox \
                     INDEXED BY outbox_queue WHERE system = ?1 AND state IN (1, 4))";
        let due: Option<i64> = sqlx::query_scalar(sql)
            .bind(system)
            .fetch_one(&self.readers)
            .await
            .map_err(failed("the next due write"))?;
        Ok(due.map(At::from_micros))
    }
}
