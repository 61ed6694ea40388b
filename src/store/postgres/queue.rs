//! The outbox as a queue, and where feeds stand: what happens beside the transactions.

use super::session::{Query, Rows, column};
use super::{PgStore, read_all};
use crate::consent::At;
use crate::store::common::{corrupt, failed, feed_columns, outbox_columns};
use crate::store::report::{sort_by_urgency, still_standing};
use crate::store::{
    CLAIMED, Claim, Decided, FeedRow, LANE_GRANT, LANE_WITHDRAWAL, Origin, OutboxRow, PENDING,
    StoreError, WriteKey,
};
use sqlx::Row as _;

/// What changes many rows of the outbox at once takes its turn with the deciding transactions.
const TURN: &str = "SELECT 1 FROM counters FOR UPDATE";

impl PgStore {
    pub(super) async fn write(
        &self,
        what: &'static str,
        query: Query<'_>,
    ) -> Result<u64, StoreError> {
        let done = query.execute(&self.pool).await.map_err(failed(what))?;
        Ok(done.rows_affected())
    }

    async fn write_in_turn(&self, what: &'static str, query: Query<'_>) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query(TURN)
            .execute(&mut *transaction)
            .await
            .map_err(failed(what))?;
        let done = query
            .execute(&mut *transaction)
            .await
            .map_err(failed(what))?;
        self.commit(transaction).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn register(&self, names: &[String]) -> Result<Vec<i16>, StoreError> {
        let what = "the systems";
        let add = "INSERT INTO systems (id, name) \
                   SELECT ((SELECT coalesce(max(id), 0) FROM systems) \
                     + row_number() OVER (ORDER BY min(n.place)))::SMALLINT, n.name \
                   FROM UNNEST($1::TEXT[]) WITH ORDINALITY AS n (name, place) \
                   WHERE n.name NOT IN (SELECT name FROM systems) GROUP BY n.name";
        self.write_in_turn(what, sqlx::query(add).bind(names))
            .await?;
        let numbers = "SELECT s.id FROM UNNEST($1::TEXT[]) WITH ORDINALITY AS n (name, place) \
                       JOIN systems s ON s.name = n.name ORDER BY n.place";
        let rows = sqlx::query(numbers).bind(names).fetch_all(&self.pool).await;
        read_all(what, rows, |row| row.try_get(0))
    }

    pub(super) async fn registered(&self) -> Result<Vec<(i16, String)>, StoreError> {
        let sql = "SELECT id, name FROM systems ORDER BY id";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        read_all("the systems", rows, |row| {
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
    }

    pub(super) async fn origin_row(&self) -> Result<Origin, StoreError> {
        let sql = "SELECT store_id, planning FROM counters";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
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
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        let found = read_all("how far subjects are decided", rows, |row| {
            Ok(Decided {
                policy: row.try_get(0)?,
                through: row.try_get(1)?,
            })
        });
        Ok(found?.pop().unwrap_or_default())
    }

    pub(super) async fn feed_row(&self, system: i16) -> Result<FeedRow, StoreError> {
        let sql = concat!("SELECT ", feed_columns!(), " FROM systems WHERE id = $1");
        let rows = sqlx::query(sql).bind(system).fetch_all(&self.pool).await;
        Ok(read_all("the feed", rows, Rows::feed)?
            .pop()
            .unwrap_or_default())
    }

    pub(super) async fn claim(&self, claim: &Claim) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = concat!(
            "WITH pending AS MATERIALIZED ( \
               SELECT external, lane, decided_at FROM outbox \
               WHERE system = $2 AND state = 0 AND lane BETWEEN $3 AND $4 AND not_before <= $5 \
               ORDER BY lane, decided_at, external LIMIT $6 FOR UPDATE SKIP LOCKED), \
             lapsed AS MATERIALIZED ( \
               SELECT external, lane, decided_at FROM outbox \
               WHERE system = $2 AND state IN (1, 4) AND lane BETWEEN $3 AND $4 \
                 AND claimed_until <= $5 AND not_before <= $5 \
               ORDER BY lane, decided_at, external LIMIT $6 FOR UPDATE SKIP LOCKED), \
             due AS MATERIALIZED ( \
               SELECT external AS of_contact, lane AS of_lane FROM \
                 (SELECT * FROM pending UNION ALL SELECT * FROM lapsed) d \
               ORDER BY lane, decided_at, external LIMIT $6) \
             UPDATE outbox SET state = 1, claimed_until = $1, in_flight = CASE \
               WHEN in_flight = '' THEN changes \
               WHEN strpos(chr(10) || in_flight || chr(10), chr(10) || changes || chr(10)) > 0 \
                 THEN rtrim(in_flight, chr(10)) || chr(10) \
               ELSE changes || chr(10) || in_flight END FROM due \
             WHERE system = $2 AND external = of_contact AND lane = of_lane \
             RETURNING ",
            outbox_columns!()
        );
        let (first, last) = match claim.lane {
            Some(lane) => (lane, lane),
            None => (LANE_WITHDRAWAL, LANE_GRANT),
        };
        let rows = sqlx::query(sql)
            .bind(claim.until)
            .bind(claim.system)
            .bind(first)
            .bind(last)
            .bind(claim.now)
            .bind(claim.limit as i64)
            .fetch_all(&self.pool)
            .await;
        let mut claimed = read_all("claimed writes", rows, Rows::outbox)?;
        sort_by_urgency(&mut claimed);
        Ok(claimed)
    }

    pub(super) async fn addresses_of(
        &self,
        system: i16,
        contacts: &[&str],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let sql = "SELECT s.address FROM UNNEST($1::TEXT[]) WITH ORDINALITY \
                     AS k (external, place) \
                   LEFT JOIN contacts c ON c.system = $2 AND c.external = k.external \
                   LEFT JOIN subjects s ON s.id = coalesce(c.own_subject, c.subject) \
                   ORDER BY k.place";
        let rows = sqlx::query(sql)
            .bind(column(contacts, |contact| *contact))
            .bind(system)
            .fetch_all(&self.pool)
            .await;
        read_all("addresses", rows, |row| row.try_get(0))
    }

    pub(super) async fn current(
        &self,
        claims: &[(WriteKey, i64)],
    ) -> Result<Vec<WriteKey>, StoreError> {
        let sql = "SELECT k.place - 1 FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::SMALLINT[], \
                     $4::BIGINT[]) WITH ORDINALITY AS k (system, external, lane, version, place) \
                   JOIN outbox o \
                   ON o.system = k.system AND o.external = k.external AND o.lane = k.lane \
                   WHERE o.version = k.version AND o.state = $5";
        let rows = sqlx::query(sql)
            .bind(column(claims, |(key, _)| key.system))
            .bind(column(claims, |(key, _)| key.external.as_str()))
            .bind(column(claims, |(key, _)| key.lane))
            .bind(column(claims, |(_, version)| *version))
            .bind(CLAIMED)
            .fetch_all(&self.pool)
            .await;
        Ok(still_standing(
            claims,
            read_all("claimed writes", rows, |row| row.try_get(0))?,
        ))
    }

    pub(super) async fn release(&self, system: i16) -> Result<u64, StoreError> {
        let sql =
            "UPDATE outbox SET state = $1, claimed_until = 0 WHERE system = $2 AND state = $3";
        let query = sqlx::query(sql).bind(PENDING).bind(system).bind(CLAIMED);
        self.write_in_turn("claimed writes", query).await
    }

    pub(super) async fn due(&self, system: i16) -> Result<Option<At>, StoreError> {
        let sql = "SELECT least( \
                     (SELECT min(not_before) FROM outbox WHERE system = $1 AND state = 0), \
                     (SELECT min(greatest(not_before, claimed_until)) FROM outbox \
                      WHERE system = $1 AND state IN (1, 4)))";
        let due: Option<i64> = sqlx::query_scalar(sql)
            .bind(system)
            .fetch_one(&self.pool)
            .await
            .map_err(failed("the next due write"))?;
        Ok(due.map(At::from_micros))
    }
}
