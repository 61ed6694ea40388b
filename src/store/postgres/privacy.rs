//! Erasure, and what the server has to do after it (R55).

use super::session::{Session, column};
use super::{PgStore, read_all};
use crate::store::common::{failed, fixed};
use crate::store::holds;
use crate::store::send::{joined, parted};
use crate::store::{
    Backup, Erased, Residue, StoreError, SubjectRef, SuppressionKey, TraceQuery, Traces,
};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use std::path::Path;

impl PgStore {
    pub(super) async fn keys_of_suppressions(&self) -> Result<Vec<SuppressionKey>, StoreError> {
        let sql = "SELECT key, count(*) FROM suppressions GROUP BY key ORDER BY key COLLATE \"C\"";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await;
        read_all("suppressions", rows, |row: &PgRow| {
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
            .map(|(_, external)| crate::store::session::json(external))
            .collect::<Result<_, _>>()?;
        let refs = column(&query.subjects, |subject| &subject.0[..]);
        let sql = "SELECT s.ref FROM subjects s WHERE s.remembered <> '' AND EXISTS ( \
                     SELECT 1 FROM UNNEST($1::TEXT[]) AS k (id) WHERE strpos(s.remembered, k.id) > 0) \
                   AND NOT s.ref = ANY($2::BYTEA[])";
        let read = |row: &PgRow| Ok(SubjectRef(fixed(row.try_get(0)?)?));
        let asked = sqlx::query(sql).bind(&quoted).bind(&refs);
        traces.remembering = session.read("remembered statements", asked, read).await?;
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
                     SELECT 1 FROM UNNEST($1::BYTEA[]) AS k (ref) \
                     WHERE position(k.ref IN o.recipients) > 0)";
        let sendouts = &mut traces.sendouts;
        session
            .each("send-outs", sqlx::query(sql).bind(&refs), |row| {
                let recipients = parted(row.try_get(1)?)
                    .ok_or_else(|| sqlx::Error::Decode("half a keyed hash".into()))?;
                sendouts.push((row.try_get(0)?, recipients));
                Ok(())
            })
            .await?;
        Ok(traces)
    }

    pub(super) async fn scrub_files(&self, _texts: &[String]) -> Result<Residue, StoreError> {
        let what = "vacuuming tables";
        let mut connection = self.pool.acquire().await.map_err(failed(what))?;
        let vacuum = "SET statement_timeout = 0";
        sqlx::query(vacuum)
            .execute(&mut *connection)
            .await
            .map_err(failed(what))?;
        let vacuum = "VACUUM subjects, contacts, outbox, load_members, flips, quarantine, sendouts, \
                      resubscribe_requests, gate_due, ledger_blocks, ledger_subjects";
        let vacuumed = sqlx::query(vacuum).execute(&mut *connection).await;
        sqlx::query("RESET statement_timeout")
            .execute(&mut *connection)
            .await
            .map_err(failed(what))?;
        vacuumed.map_err(failed(what))?;
        Ok(Residue::default())
    }

    #[expect(clippy::unused_async, reason = "the same for both databases")]
    pub(super) async fn copy_to(&self, _file: &Path) -> Result<Option<Backup>, StoreError> {
        Ok(None)
    }
}

impl Session<'_> {
    /// Removes people; a statement a table, in the order in which they refer to each other.
    pub(super) async fn erase_rows(&mut self, erased: &Erased) -> Result<u64, StoreError> {
        const BY_CONTACT: [&str; 6] = [
            "DELETE FROM outbox o USING UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external) \
             WHERE o.system = k.system AND o.external = k.external",
            "DELETE FROM load_members m USING UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external), \
               loads l WHERE l.system = k.system AND m.load = l.id AND m.external = k.external",
            "DELETE FROM quarantine q USING UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external) \
             WHERE q.system = k.system AND q.external = k.external",
            "DELETE FROM resubscribe_requests r WHERE r.subscriber = ANY($2::TEXT[]) \
             AND cardinality($1::SMALLINT[]) > 0",
            "UPDATE resubscribe_requests r SET evidence = '' WHERE EXISTS ( \
               SELECT 1 FROM UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external) \
               WHERE strpos(r.evidence, to_json(k.external)::TEXT) > 0)",
            "UPDATE contacts c SET merged_into = '' \
             FROM UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external) \
             WHERE c.life = 2 AND c.system = k.system AND c.merged_into = k.external",
        ];
        const BY_SUBJECT: [&str; 5] = [
            "DELETE FROM outbox WHERE subject = ANY($1::BIGINT[])",
            "DELETE FROM flips WHERE subject = ANY($1::BIGINT[])",
            "DELETE FROM resubscribe_requests WHERE subject = ANY($1::BIGINT[])",
            "DELETE FROM gate_due WHERE subject = ANY($1::BIGINT[])",
            "UPDATE contacts SET own_subject = NULL WHERE own_subject = ANY($1::BIGINT[])",
        ];
        const CONTACTS: &str = "DELETE FROM contacts c \
            USING UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external) \
            WHERE c.system = k.system AND c.external = k.external";
        const SUBJECTS: [&str; 2] = [
            "DELETE FROM subjects WHERE id = ANY($1::BIGINT[])",
            "DELETE FROM ledger_subjects WHERE subject = ANY($1::BIGINT[])",
        ];
        let what = "people who are erased";
        let systems = column(&erased.contacts, |contact| contact.0);
        let externals = column(&erased.contacts, |contact| contact.1.as_str());
        let mut rows = 0;
        for statement in BY_CONTACT {
            let query = sqlx::query(statement).bind(&systems).bind(&externals);
            rows += self.write(what, query).await?;
        }
        for statement in BY_SUBJECT {
            let query = sqlx::query(statement).bind(&erased.subjects);
            rows += self.write(what, query).await?;
        }
        let query = sqlx::query(CONTACTS).bind(&systems).bind(&externals);
        rows += self.write(what, query).await?;
        for statement in SUBJECTS {
            let query = sqlx::query(statement).bind(&erased.subjects);
            rows += self.write(what, query).await?;
        }
        if !erased.sendouts.is_empty() {
            let sql = "UPDATE sendouts o SET recipients = n.recipients \
                       FROM UNNEST($1::TEXT[], $2::BYTEA[]) AS n (id, recipients) WHERE o.id = n.id";
            let query = sqlx::query(sql)
                .bind(column(&erased.sendouts, |(id, _)| id.as_str()))
                .bind(column(&erased.sendouts, |(_, recipients)| {
                    joined(recipients)
                }));
            rows += self.write(what, query).await?;
        }
        Ok(rows)
    }
}
