//! Blocks of the ledger, to be proved, exported and redacted.

use super::session::{Rows, Session};
use super::{SqliteStore, read_all};
use crate::store::StoreError;
use crate::store::common::{block_columns, refused};
use crate::store::ledger::{Redacted, StoredBlock, form_mark};
use crate::store::session::{Reads as _, Writes as _, json};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use std::collections::HashMap;

impl SqliteStore {
    pub(super) async fn blocks_after(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<StoredBlock>, StoreError> {
        let sql = concat!(
            "SELECT ",
            block_columns!(),
            " FROM ledger_blocks WHERE last > ? ORDER BY last LIMIT ?"
        );
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(limit as i64)
            .fetch_all(&self.readers)
            .await;
        read_all("the ledger", rows, Rows::block)
    }

    pub(super) async fn blocks_about(
        &self,
        subjects: &[i64],
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let sql = "SELECT j.value, l.block FROM json_each(?1) j CROSS JOIN ledger_subjects l \
                   ON l.subject = j.value UNION ALL \
                   SELECT j.value, (SELECT b.last FROM ledger_blocks b \
                     INDEXED BY ledger_blocks_subject WHERE b.newest_subject >= j.value \
                     ORDER BY b.newest_subject LIMIT 1) AS born FROM json_each(?1) j \
                   WHERE born IS NOT NULL";
        let query = sqlx::query(sql).bind(json(subjects)?);
        let rows = query.fetch_all(&self.readers).await;
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
        let numbers: Vec<i64> = blocks.iter().map(|(last, _)| *last).collect();
        let sql = "SELECT b.last, b.entries FROM json_each(?) j \
                   CROSS JOIN ledger_blocks b ON b.last = j.value";
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, form_mark(row.try_get(1)?)));
        let query = sqlx::query(sql).bind(json(&numbers)?);
        let stored = self.read(what, query, read).await?;
        let stored: HashMap<i64, [u8; 4]> = stored.into_iter().collect();
        let as_read = |(last, block): &(i64, Redacted)| stored.get(last) == Some(&block.replaces);
        if !blocks.iter().all(as_read) {
            return Ok(false);
        }
        // One value with all bytes, from which SQL cuts the pieces: JSON has none.
        let sql = "UPDATE ledger_blocks AS b \
                   SET entries = substr(?2, 1 + (j.value ->> 1), j.value ->> 2), \
                     marks = substr(?2, 1 + (j.value ->> 3), j.value ->> 4) \
                   FROM json_each(?1) j WHERE b.last = j.value ->> 0";
        let mut bytes = Vec::new();
        let mut add = |piece: &[u8]| {
            let place = (bytes.len(), piece.len());
            bytes.extend_from_slice(piece);
            place
        };
        let places: Vec<_> = blocks
            .iter()
            .map(|(last, block)| {
                let entries = add(&block.entries);
                let marks = add(&block.marks);
                (last, entries.0, entries.1, marks.0, marks.1)
            })
            .collect();
        let query = sqlx::query(sql).bind(json(&places)?).bind(bytes);
        if self.write(what, query).await? != blocks.len() as u64 {
            return Err(refused(what, "a block was to be replaced twice"));
        }
        Ok(true)
    }
}
