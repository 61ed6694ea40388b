//! What people and checks read: figures, files on subjects, lists.

use super::session::Rows;
use super::{PgStore, load, read_all};
use crate::store::common::outbox_columns;
use crate::store::report::{LedgerFile, MOST_LEDGER_ROWS, Tally, page_of_subjects, tallied};
use crate::store::session::Reads as _;
use crate::store::{
    Dossier, Figures, Known, OutboxRow, QuarantineRow, Scope, StoreError, SubjectRef,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

impl PgStore {
    pub(super) async fn count(&self) -> Result<Figures, StoreError> {
        let mut session = self.view().await?;
        // Figures walk through whole tables or indexes; here the planner may choose.
        for sql in [
            "SET LOCAL enable_seqscan = on",
            "SET LOCAL enable_hashjoin = on",
        ] {
            session.write("figures", sqlx::query(sql)).await?;
        }
        let whole = "SELECT (SELECT count(*) FROM subjects), \
                       (SELECT count(*) FROM subjects WHERE findings <> ''), \
                       coalesce((SELECT max(last) FROM ledger_blocks), 0), \
                       (SELECT count(*) FROM resubscribe_requests WHERE closed_at IS NULL), \
                       (SELECT count(*) FROM resubscribe_requests \
                        WHERE closed_at IS NULL AND urgent), \
                       (SELECT count(*) FROM holds WHERE closed_at IS NULL), \
                       (SELECT count(DISTINCT subject) FROM held WHERE NOT released), \
                       (SELECT coalesce(planning, FALSE) FROM counters)";
        let read = |row: &PgRow| {
            Ok(Figures {
                systems: Vec::new(),
                subjects: row.try_get(0)?,
                with_findings: row.try_get(1)?,
                ledger: row.try_get(2)?,
                requests: row.try_get(3)?,
                urgent_requests: row.try_get(4)?,
                holds: row.try_get(5)?,
                held_subjects: row.try_get(6)?,
                planning: row.try_get(7)?,
            })
        };
        let whole = session
            .read("figures", sqlx::query(whole), read)
            .await?
            .pop();
        let tallies = session.read("figures", sqlx::query(TALLIES), |row| {
            Ok(Tally {
                system: row.try_get(0)?,
                figure: row.try_get(1)?,
                value: row.try_get(2)?,
            })
        });
        let tallies = tallies.await?;
        Ok(Figures {
            systems: tallied(tallies),
            ..whole.unwrap_or_default()
        })
    }

    pub(super) async fn file_of(&self, subject: SubjectRef) -> Result<Option<Dossier>, StoreError> {
        let mut session = self.view().await?;
        let standing = session.standing().await?;
        let scope = Scope {
            subjects: vec![subject],
            ..Scope::default()
        };
        let known = load(&mut session, &scope, &standing).await?;
        let Some(row) = known.subjects.iter().find(|row| row.subject == subject) else {
            return Ok(None);
        };
        // A block holds one of its entries at least, save the one that its number leads to.
        let sql = "SELECT first, entries FROM ledger_blocks WHERE last IN ( \
                     SELECT block FROM ledger_subjects WHERE subject = $1 UNION ALL \
                     SELECT * FROM (SELECT last FROM ledger_blocks \
                       WHERE newest_subject >= $1 ORDER BY newest_subject LIMIT 1) AS born) \
                   ORDER BY last DESC LIMIT $2 + 1";
        let id = row.id;
        let query = sqlx::query(sql).bind(id).bind(MOST_LEDGER_ROWS as i64);
        let mut file = LedgerFile::of(id);
        session
            .each("the ledger", query, |row| {
                file.add(row.try_get(0)?, row.try_get(1)?)
            })
            .await?;
        let ledger = file.rows();
        Ok(Some(Dossier { known, ledger }))
    }

    pub(super) async fn known_after(&self, after: i64, limit: usize) -> Result<Known, StoreError> {
        let mut session = self.view().await?;
        let standing = session.standing().await?;
        let ids = "SELECT id FROM subjects WHERE id > $1 ORDER BY id LIMIT $2";
        let query = sqlx::query(ids).bind(after).bind(limit as i64);
        let ids = session
            .read("subjects", query, |row| row.try_get(0))
            .await?;
        page_of_subjects(&mut session, &ids, &standing).await
    }

    pub(super) async fn quarantine(
        &self,
        system: Option<i16>,
        limit: usize,
    ) -> Result<Vec<QuarantineRow>, StoreError> {
        let sql = "SELECT system, external, reason, raw, seen_at FROM quarantine \
                   WHERE $1 IS NULL OR system = $1 ORDER BY seen_at, system, external LIMIT $2";
        let rows = sqlx::query(sql)
            .bind(system)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await;
        read_all("the quarantine", rows, Rows::quarantined)
    }

    pub(super) async fn writes(
        &self,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            outbox_columns!(),
            " FROM outbox \
             ORDER BY lane, decided_at, system, external LIMIT $1 OFFSET $2"
        );
        let query = sqlx::query(sql).bind(limit as i64).bind(skip as i64);
        read_all(
            "the outbox",
            query.fetch_all(&self.pool).await,
            Rows::outbox,
        )
    }
}

/// One row a system and figure; see [`tallied`].
const TALLIES: &str = "\
    SELECT id, 'live', live FROM systems \
    UNION ALL \
    SELECT id, 'unmatched', unmatched FROM systems \
    UNION ALL \
    SELECT k.system, 'differing', count(*) FROM ( \
      SELECT DISTINCT system, external FROM outbox) k JOIN contacts c \
      ON c.system = k.system AND c.external = k.external WHERE c.life = 0 GROUP BY k.system \
    UNION ALL \
    SELECT system, CASE state WHEN 2 THEN 'dead' WHEN 3 THEN 'held' ELSE \
      CASE lane WHEN 0 THEN 'withdrawals' ELSE 'grants' END END, count(*) \
      FROM outbox GROUP BY system, state, lane \
    UNION ALL \
    SELECT system, 'oldest', min(decided_at) FROM outbox \
      WHERE lane = 0 GROUP BY system \
    UNION ALL \
    SELECT y.id, 'planned', count(*) FROM systems y JOIN outbox o \
      ON o.system = y.id AND o.state = 5 GROUP BY y.id \
    UNION ALL \
    SELECT y.id, 'sent', count(*) FROM systems y JOIN outbox o \
      ON o.system = y.id AND o.state = 4 GROUP BY y.id \
    UNION ALL \
    SELECT y.id, 'batches', count(DISTINCT o.last_error) FROM systems y JOIN outbox o \
      ON o.system = y.id AND o.state = 4 GROUP BY y.id \
    UNION ALL \
    SELECT system, 'quarantined', count(*) FROM quarantine GROUP BY system";
