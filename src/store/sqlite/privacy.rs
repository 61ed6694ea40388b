//! Erasure, what is left of it in the file, and copies of the store (R55).

use super::open::{MIGRATIONS, applied, beside, options, unusable};
use super::session::Session;
use super::{SqliteStore, read_all};
use crate::store::common::{check_schema, failed};
use crate::store::ledger::Head;
use crate::store::send::{joined, parted};
use crate::store::session::json;
use crate::store::{
    Access, Backup, Erased, Residue, StoreError, SubjectRef, SuppressionKey, TraceQuery, Traces,
};
use crate::store::{holds, residue};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqlitePool};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and after which pause, it is tried to empty the log while somebody reads from it.
const EMPTYINGS: u32 = 20;
const EMPTYING_PAUSE: Duration = Duration::from_millis(100);

impl SqliteStore {
    pub(super) async fn keys_of_suppressions(&self) -> Result<Vec<SuppressionKey>, StoreError> {
        let sql = "SELECT key, count(*) FROM suppressions GROUP BY key ORDER BY key";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await;
        read_all("suppressions", rows, |row: &SqliteRow| {
            Ok(SuppressionKey {
                key: row.try_get(0)?,
                rows: row.try_get(1)?,
            })
        })
    }

    pub(super) async fn traces_of(&self, query: &TraceQuery) -> Result<Traces, StoreError> {
        let mut session = self.view().await?;
        let mut traces = Traces::default();
        let quoted: Vec<String> = query
            .contacts
            .iter()
            .map(|(_, external)| json(external))
            .collect::<Result<_, _>>()?;
        let refs: Vec<String> = query.subjects.iter().map(SubjectRef::to_string).collect();
        let sql = "SELECT s.ref FROM subjects s WHERE s.remembered <> '' \
                   AND EXISTS (SELECT 1 FROM json_each(?1) j WHERE instr(s.remembered, j.value) > 0) \
                   AND hex(s.ref) NOT IN (SELECT upper(value) FROM json_each(?2))";
        let read = |row: &SqliteRow| {
            let hash: &[u8] = row.try_get(0)?;
            Ok(SubjectRef(crate::store::common::fixed(hash)?))
        };
        if !quoted.is_empty() {
            let asked = sqlx::query(sql).bind(json(&quoted)?).bind(json(&refs)?);
            traces.remembering = session.read("remembered statements", asked, read).await?;
        }
        let sql = "SELECT system, external, raw FROM quarantine";
        let quarantined = &mut traces.quarantined;
        session
            .each("the quarantine", sqlx::query(sql), |row| {
                let key: (i16, String) = (row.try_get(0)?, row.try_get(1)?);
                let raw: &[u8] = row.try_get(2)?;
                let named = query.contacts.contains(&key);
                if named || query.addresses.iter().any(|text| holds(raw, text)) {
                    quarantined.push(key);
                }
                Ok(())
            })
            .await?;
        let sql = "SELECT o.id, o.recipients FROM sendouts o WHERE EXISTS ( \
                     SELECT 1 FROM json_each(?) j WHERE instr(o.recipients, unhex(j.value)) > 0)";
        let sendouts = &mut traces.sendouts;
        session
            .each("send-outs", sqlx::query(sql).bind(json(&refs)?), |row| {
                let recipients = parted(row.try_get(1)?)
                    .ok_or_else(|| sqlx::Error::Decode("half a keyed hash".into()))?;
                sendouts.push((row.try_get(0)?, recipients));
                Ok(())
            })
            .await?;
        Ok(traces)
    }

    pub(super) async fn scrub_files(&self, texts: &[String]) -> Result<Residue, StoreError> {
        let mut found = Residue {
            is_log_kept: !self.empty_log().await?,
            ..Residue::default()
        };
        found.left = self.look_for(texts).await?;
        if found.left.is_empty() {
            return Ok(found);
        }
        sqlx::query("VACUUM")
            .execute(&self.writer)
            .await
            .map_err(failed("writing the database anew"))?;
        found.is_log_kept = !self.empty_log().await?;
        found.found = std::mem::take(&mut found.left);
        found.left = self.look_for(texts).await?;
        Ok(found)
    }

    /// Folds the log into the database and leaves it empty. False when somebody who reads keeps it.
    async fn empty_log(&self) -> Result<bool, StoreError> {
        for _ in 0..EMPTYINGS {
            let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(&self.writer)
                .await
                .map_err(failed("emptying the log"))?;
            if busy == 0 {
                return Ok(true);
            }
            tokio::time::sleep(EMPTYING_PAUSE).await;
        }
        Ok(false)
    }

    /// Those of the database's files that hold one of the texts.
    async fn look_for(&self, texts: &[String]) -> Result<Vec<String>, StoreError> {
        let files: Vec<PathBuf> = ["", "-wal", "-shm"]
            .iter()
            .map(|suffix| beside(&self.path, suffix))
            .collect();
        let (texts, path) = (texts.to_vec(), self.path.clone());
        let looked = tokio::task::spawn_blocking(move || residue(&files, &texts)).await;
        looked
            .map_err(|error| StoreError::Unusable(error.to_string()))?
            .map_err(|error| unusable(&path, "the database's files cannot be read", &error))
    }

    pub(super) async fn copy_to(&self, file: &Path) -> Result<Option<Backup>, StoreError> {
        let what = "writing a backup";
        let cannot = |error: &std::io::Error| unusable(file, "the backup cannot be written", error);
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        // An empty file with mode 0600, which SQLite fills.
        let fresh = tempfile::Builder::new()
            .prefix(".")
            .suffix(".part")
            .tempfile_in(folder)
            .map_err(|error| cannot(&error))?;
        let name = fresh.path().to_str().ok_or_else(|| {
            StoreError::Unusable(format!("the path {} is no UTF-8", file.display()))
        })?;
        let mut connection = options(&self.path).connect().await.map_err(failed(what))?;
        let copied = sqlx::query("VACUUM INTO ?")
            .bind(name.to_owned())
            .execute(&mut connection)
            .await;
        connection.close().await.map_err(failed(what))?;
        copied.map_err(failed(what))?;
        let head = prove(fresh.path()).await?;
        fresh.as_file().sync_all().map_err(|error| cannot(&error))?;
        fresh.persist(file).map_err(|error| cannot(&error.error))?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| cannot(&error))?;
        let bytes = fs::metadata(file).map_err(|error| cannot(&error))?.len();
        Ok(Some(Backup { bytes, head }))
    }
}

/// Whether a copy is whole and of this schema; where its ledger ends.
async fn prove(copy: &Path) -> Result<Head, StoreError> {
    let what = "proving a backup";
    let settings = SqliteConnectOptions::new()
        .filename(copy)
        .read_only(true)
        .immutable(true)
        .disable_statement_logging();
    let pool = SqlitePool::connect_with(settings)
        .await
        .map_err(failed(what))?;
    let proved = async {
        let faults: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&pool)
            .await
            .map_err(failed(what))?;
        if faults != ["ok"] {
            return Err(StoreError::Unusable(format!(
                "the backup is not whole, so it was not kept: {}",
                faults.join("; ")
            )));
        }
        check_schema(&MIGRATIONS, &applied(&pool).await?, Access::Tool)?;
        let sql = "SELECT last, digest FROM ledger_blocks ORDER BY last DESC LIMIT 1";
        let newest: Option<(i64, Vec<u8>)> = sqlx::query_as(sql)
            .fetch_optional(&pool)
            .await
            .map_err(failed(what))?;
        let Some((seq, digest)) = newest else {
            return Ok(Head::START);
        };
        let digest = crate::store::common::fixed(&digest).map_err(failed(what))?;
        Ok(Head { seq, digest })
    };
    let head = proved.await;
    pool.close().await;
    head
}

impl Session<'_> {
    /// Removes people; a statement a table, in the order in which they refer to each other.
    pub(super) async fn erase_rows(&mut self, erased: &Erased) -> Result<u64, StoreError> {
        const SENDOUTS: &str = "UPDATE sendouts AS o SET recipients = \
            coalesce(substr(?2, 1 + (j.value ->> 1), j.value ->> 2), x'') FROM json_each(?1) j WHERE o.id = j.value ->> 0";
        // ?1 are contacts, ?2 numbers of subjects.
        const STATEMENTS: [&str; 12] = [
            "DELETE FROM outbox WHERE (system, external) IN \
               (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) \
             OR subject IN (SELECT value FROM json_each(?2))",
            "DELETE FROM load_members WHERE (load, external) IN (SELECT l.id, j.value ->> 1 \
               FROM json_each(?1) j CROSS JOIN loads l ON l.system = j.value ->> 0) AND ?2 = ?2",
            "DELETE FROM quarantine WHERE (system, external) IN \
               (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) AND ?2 = ?2",
            "DELETE FROM flips WHERE subject IN (SELECT value FROM json_each(?2)) AND ?1 = ?1",
            "DELETE FROM resubscribe_requests WHERE subject IN (SELECT value FROM json_each(?2)) \
             OR subscriber IN (SELECT value ->> 1 FROM json_each(?1))",
            "UPDATE resubscribe_requests SET evidence = '' WHERE EXISTS (SELECT 1 FROM json_each(?1) j \
               WHERE instr(evidence, json_quote(j.value ->> 1)) > 0) AND ?2 = ?2",
            "DELETE FROM gate_due WHERE subject IN (SELECT value FROM json_each(?2)) AND ?1 = ?1",
            "UPDATE contacts SET merged_into = '' WHERE life = 2 AND (system, merged_into) IN \
               (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) AND ?2 = ?2",
            "UPDATE contacts SET own_subject = NULL \
             WHERE own_subject IN (SELECT value FROM json_each(?2)) AND ?1 = ?1",
            "DELETE FROM contacts WHERE (system, external) IN \
               (SELECT value ->> 0, value ->> 1 FROM json_each(?1)) AND ?2 = ?2",
            "DELETE FROM subjects WHERE id IN (SELECT value FROM json_each(?2)) AND ?1 = ?1",
            "DELETE FROM ledger_subjects WHERE subject IN (SELECT value FROM json_each(?2)) \
             AND ?1 = ?1",
        ];
        let (contacts, subjects) = (json(&erased.contacts)?, json(&erased.subjects)?);
        let mut rows = 0;
        for statement in STATEMENTS {
            let query = sqlx::query(statement)
                .bind(contacts.clone())
                .bind(subjects.clone());
            rows += self.write("people who are erased", query).await?;
        }
        if !erased.sendouts.is_empty() {
            let mut bytes = Vec::new();
            let places: Vec<_> = erased
                .sendouts
                .iter()
                .map(|(id, recipients)| {
                    let begin = bytes.len();
                    bytes.extend(joined(recipients));
                    (id, begin, bytes.len() - begin)
                })
                .collect();
            let query = sqlx::query(SENDOUTS).bind(json(&places)?).bind(bytes);
            rows += self.write("recipients who are erased", query).await?;
        }
        Ok(rows)
    }
}
