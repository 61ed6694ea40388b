//! Blocks of the ledger, to be proved, exported and redacted.

use super::session::{Rows, Session, column};
use super::{PgStore, read_all};
use crate::store::StoreError;
use crate::store::common::{block_columns, refused};
use crate::store::ledger::{Redacted, StoredBlock, form_mark};
use crate::store::session::{Reads as _, Writes as _};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::collections::HashMap;

impl PgStore {
    pub(super) async fn blocks_after(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<StoredBlock>, StoreError> {
        let sql = concat!(
            "SELECT ",
            block_columns!(),
            " FROM ledger_blocks WHERE last > $1 ORDER BY last LIMIT $2"
        );
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(limit as i64)
            .fetch_all(&self.pool)
            .await;
        read_all("the ledger", rows, Rows::block)
    }

    pub(super) async fn blocks_about(
        &self,
        subjects: &[i64],
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let sql = "SELECT l.subject, l.block FROM ledger_subjects l WHERE l.subject = ANY($1) \
                   UNION ALL \
                   SELECT s.subject, b.last FROM UNNEST($1::BIGINT[]) AS s (subject) \
                   CROSS JOIN LATERAL (SELECT last FROM ledger_blocks \
                     WHERE newest_subject >= s.subject ORDER BY newest_subject LIMIT 1) AS b";
        let rows = sqlx::query(sql).bind(subjects).fetch_all(&self.pool).await;
        read_all("the ledger", rows, |row| {
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
    }

    pub(super) async fn put_redacted(
        &self,
        blocks: &[(i64, Redacted)],
    ) -> Result<bool, StoreError> {
        let mut session = self.session().await?;
        // Takes its turn with the deciding transactions, and so with other redactions.
        session.standing().await?;
        if !session.redact(blocks).await? {
            return Ok(false);
        }
        self.commit(session.into_transaction()).await?;
        Ok(true)
    }
}

impl Session<'_> {
    /// Puts these blocks in the place of those they were made from: two statements. False, with
    /// nothing changed, when one of them is another by now.
    pub(super) async fn redact_blocks(
        &mut self,
        blocks: &[(i64, Redacted)],
    ) -> Result<bool, StoreError> {
        let what = "the ledger";
        let numbers = column(blocks, |(last, _)| *last);
        let sql = "SELECT last, entries FROM ledger_blocks WHERE last = ANY($1)";
        let read = |row: &PgRow| Ok((row.try_get(0)?, form_mark(row.try_get(1)?)));
        let query = sqlx::query(sql).bind(&numbers);
        let stored = self.read(what, query, read).await?;
        let stored: HashMap<i64, [u8; 4]> = stored.into_iter().collect();
        let as_read = |(last, block): &(i64, Redacted)| stored.get(last) == Some(&block.replaces);
        if !blocks.iter().all(as_read) {
            return Ok(false);
        }
        let sql = "UPDATE ledger_blocks AS b SET entries = n.entries, marks = n.marks \
                   FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BYTEA[]) AS n (last, entries, marks) \
                   WHERE b.last = n.last";
        let query = sqlx::query(sql)
            .bind(&numbers)
            .bind(column(blocks, |(_, block)| block.entries.as_slice()))
            .bind(column(blocks, |(_, block)| block.marks.as_slice()));
        if self.write(what, query).await? != blocks.len() as u64 {
            return Err(refused(what, "a block was to be replaced twice"));
        }
        Ok(true)
    }
}
