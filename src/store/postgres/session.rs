//! The statements of a transaction.

use super::read_all;
use crate::consent::At;
use crate::consent::guard::HoldKind;
use crate::store::common::{
    contact_columns, corrupt, failed, feed_columns, fixed, held_columns, hold_columns,
    outbox_columns, queue_readers, request_columns, suppression_columns,
};
use crate::store::ledger::{BlockRow, Digest, Redacted, Sealed, StoredBlock};
use crate::store::report::{UnsentRow, as_claimed, storable_error};
use crate::store::send::parted;
use crate::store::session::{
    ContactKey, Key, Life, Named, Reads, Standing, StoredLoad, Writes, needed_from, per_minute,
};
use crate::store::{
    AlarmPost, AlarmRow, CLAIMED, ContactRow, DEAD, Decided, Erased, Expiring, ExpiringKey,
    FeedChange, FeedRow, Flip, FlipCount, GateRound, HELD, HeldKey, HeldRow, HeldView, HoldRow,
    HoldView, LANE_WITHDRAWAL, LoadKey, OutboxRow, PENDING, PLANNED, PlanningChange, Postponed,
    QuarantineRow, Redrive, RequestRow, RequestView, SendoutHead, SendoutRow, StoreError,
    SubjectRef, SubjectRow, SuppressionDigest, SuppressionRow, Trip, WriteKey,
};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Postgres, Row as _, Transaction};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// The readers of rows, by position.
pub(super) struct Rows;

impl Rows {
    queue_readers!(PgRow);

    /// A write that went back, with its version.
    fn returned(row: &PgRow) -> Result<(WriteKey, i64), sqlx::Error> {
        let key = WriteKey {
            system: row.try_get(0)?,
            external: row.try_get(1)?,
            lane: row.try_get(2)?,
        };
        Ok((key, row.try_get(3)?))
    }

    fn contact(row: &PgRow) -> Result<ContactRow, sqlx::Error> {
        Ok(ContactRow {
            system: row.try_get(0)?,
            external: row.try_get(1)?,
            subject: row.try_get(2)?,
            own_subject: row.try_get(3)?,
            link: row.try_get(4)?,
            created: row.try_get(5)?,
            modified: row.try_get(6)?,
            read_at: row.try_get(7)?,
            life: row.try_get(8)?,
            merged_into: row.try_get(9)?,
            written_seq: row.try_get(10)?,
            record: row.try_get(11)?,
        })
    }

    fn subject(row: &PgRow) -> Result<SubjectRow, sqlx::Error> {
        Ok(SubjectRow {
            id: row.try_get(0)?,
            subject: SubjectRef(fixed(row.try_get(1)?)?),
            address: row.try_get(2)?,
            verdicts: row.try_get(3)?,
            remembered: row.try_get(4)?,
            findings: row.try_get(5)?,
        })
    }
}

macro_rules! subject_columns {
    () => {
        "s.id, s.ref, s.address, s.verdicts, s.remembered, s.findings"
    };
}

/// One transaction.
pub(super) struct Session<'a> {
    transaction: Transaction<'static, Postgres>,
    statements: &'a AtomicU64,
    decides: bool,
}

impl<'a> Session<'a> {
    /// One that decides, and so locks what it reads.
    pub(super) fn deciding(
        transaction: Transaction<'static, Postgres>,
        statements: &'a AtomicU64,
    ) -> Self {
        Self {
            transaction,
            statements,
            decides: true,
        }
    }

    /// One that only looks.
    pub(super) fn viewing(
        transaction: Transaction<'static, Postgres>,
        statements: &'a AtomicU64,
    ) -> Self {
        Self {
            transaction,
            statements,
            decides: false,
        }
    }

    pub(super) fn into_transaction(self) -> Transaction<'static, Postgres> {
        self.transaction
    }

    pub(super) async fn read<T>(
        &mut self,
        what: &'static str,
        query: Query<'_>,
        read: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        read_all(what, query.fetch_all(&mut *self.transaction).await, read)
    }

    /// Reads rows that are too large to be held together.
    pub(super) async fn each(
        &mut self,
        what: &'static str,
        query: Query<'_>,
        mut read: impl FnMut(&PgRow) -> Result<(), sqlx::Error>,
    ) -> Result<(), StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let mut rows = query.fetch(&mut *self.transaction);
        while let Some(row) = rows.try_next().await.map_err(failed(what))? {
            read(&row).map_err(failed(what))?;
        }
        Ok(())
    }

    pub(super) async fn write(
        &mut self,
        what: &'static str,
        query: Query<'_>,
    ) -> Result<u64, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let done = query
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(what))?;
        Ok(done.rows_affected())
    }
}

/// One column of a set, as an array.
pub(super) fn column<'a, R, T>(rows: &'a [R], cell: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(cell).collect()
}

#[async_trait]
impl Reads for Session<'_> {
    /// Two statements: the second must begin after the lock is held, to see all that went before.
    async fn standing(&mut self) -> Result<Standing, StoreError> {
        let what = "the counters";
        let counters = if self.decides {
            "SELECT next_subject, next_sequence, planning FROM counters FOR UPDATE"
        } else {
            "SELECT next_subject, next_sequence, planning FROM counters"
        };
        let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let counters = self.read(what, sqlx::query(counters), read).await?.pop();
        let chain = "SELECT (SELECT digest FROM ledger_blocks ORDER BY last DESC LIMIT 1), \
                       EXISTS (SELECT 1 FROM outbox), \
                       EXISTS (SELECT 1 FROM holds WHERE closed_at IS NULL), \
                       EXISTS (SELECT 1 FROM suppressions)";
        let read = |row: &PgRow| -> Result<(Option<Digest>, bool, bool, bool), sqlx::Error> {
            let digest: Option<&[u8]> = row.try_get(0)?;
            Ok((
                digest.map(fixed).transpose()?,
                row.try_get(1)?,
                row.try_get(2)?,
                row.try_get(3)?,
            ))
        };
        let chain = self.read(what, sqlx::query(chain), read).await?.pop();
        let (
            (next_subject, next_sequence, planning),
            (newest_block, any_outbox, any_hold, any_suppressed),
        ) = counters.zip(chain).ok_or_else(|| corrupt(what, "no row"))?;
        Ok(Standing {
            next_subject,
            next_sequence,
            newest_block,
            planning,
            any_outbox,
            any_hold,
            any_suppressed,
        })
    }

    async fn last_contacts(&mut self) -> Result<Vec<ContactKey>, StoreError> {
        let sql = "SELECT id, last FROM (SELECT y.id, (SELECT c.external FROM contacts c \
                     WHERE c.system = y.id ORDER BY c.external DESC LIMIT 1) AS last \
                   FROM systems y) AS ends WHERE last IS NOT NULL";
        let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?));
        self.read("contacts", sqlx::query(sql), read).await
    }

    async fn contacts_by_key(&mut self, keys: &[Key<'_>]) -> Result<Named, StoreError> {
        let sql = concat!(
            "SELECT ",
            contact_columns!(),
            " FROM UNNEST($1::SMALLINT[], $2::TEXT[]) \
             AS k (system, external) JOIN contacts c \
             ON c.system = k.system AND c.external = k.external"
        );
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.0))
            .bind(column(keys, |key| key.1));
        let contacts = self.read("contacts", query, Rows::contact).await?;
        Ok(Named {
            contacts,
            ..Named::default()
        })
    }

    async fn lives(&mut self, keys: &[Key<'_>]) -> Result<Vec<(ContactKey, Life)>, StoreError> {
        let sql = "SELECT c.system, c.external, c.subject, c.life \
                   FROM UNNEST($1::SMALLINT[], $2::TEXT[]) AS k (system, external) \
                   JOIN contacts c ON c.system = k.system AND c.external = k.external";
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.0))
            .bind(column(keys, |key| key.1));
        let read = |row: &PgRow| {
            Ok((
                (row.try_get(0)?, row.try_get(1)?),
                (row.try_get(2)?, row.try_get(3)?),
            ))
        };
        self.read("contacts", query, read).await
    }

    async fn contacts_by_link(&mut self, links: &[&str]) -> Result<Vec<ContactRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            contact_columns!(),
            " FROM UNNEST($1::TEXT[]) AS k (link) \
             JOIN contacts c ON c.link = k.link"
        );
        self.read("contacts", sqlx::query(sql).bind(links), Rows::contact)
            .await
    }

    async fn contacts_by_load(
        &mut self,
        loads: &[(i64, i16)],
    ) -> Result<Vec<ContactRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            contact_columns!(),
            " FROM UNNEST($1::BIGINT[], $2::SMALLINT[]) \
             AS k (load, system) JOIN load_members m ON m.load = k.load \
             JOIN contacts c ON c.system = k.system AND c.external = m.external"
        );
        let query = sqlx::query(sql)
            .bind(column(loads, |load| load.0))
            .bind(column(loads, |load| load.1));
        self.read("contacts", query, Rows::contact).await
    }

    async fn contacts_by_subject(
        &mut self,
        subjects: &[i64],
    ) -> Result<Vec<ContactRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            contact_columns!(),
            " FROM UNNEST($1::BIGINT[]) AS k (subject) \
             JOIN contacts c ON c.subject = k.subject"
        );
        self.read("contacts", sqlx::query(sql).bind(subjects), Rows::contact)
            .await
    }

    async fn subjects_by_ref(
        &mut self,
        refs: &[SubjectRef],
    ) -> Result<Vec<SubjectRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            subject_columns!(),
            " FROM UNNEST($1::BYTEA[]) AS k (ref) \
             JOIN subjects s ON s.ref = k.ref"
        );
        let query = sqlx::query(sql).bind(column(refs, |subject| &subject.0[..]));
        self.read("subjects", query, Rows::subject).await
    }

    async fn subjects_by_id(&mut self, ids: &[i64]) -> Result<Vec<SubjectRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            subject_columns!(),
            " FROM UNNEST($1::BIGINT[]) AS k (id) \
             JOIN subjects s ON s.id = k.id"
        );
        self.read("subjects", sqlx::query(sql).bind(ids), Rows::subject)
            .await
    }

    async fn outbox_by_contact(&mut self, keys: &[Key<'_>]) -> Result<Vec<OutboxRow>, StoreError> {
        // Locked in the order of their keys, as everywhere, so that two never wait for each other.
        const VIEW: &str = concat!(
            "SELECT ",
            outbox_columns!(),
            " FROM UNNEST($1::SMALLINT[], $2::TEXT[]) \
             AS k (of_system, of_contact) JOIN outbox o \
             ON o.system = k.of_system AND o.external = k.of_contact"
        );
        const LOCK: &str = concat!(
            "SELECT ",
            outbox_columns!(),
            " FROM UNNEST($1::SMALLINT[], $2::TEXT[]) \
             AS k (of_system, of_contact) JOIN outbox o \
             ON o.system = k.of_system AND o.external = k.of_contact \
             ORDER BY system, external, lane FOR UPDATE OF o"
        );
        let query = sqlx::query(if self.decides { LOCK } else { VIEW })
            .bind(column(keys, |key| key.0))
            .bind(column(keys, |key| key.1));
        self.read("the outbox", query, Rows::outbox).await
    }

    async fn loads(&mut self, keys: &[LoadKey]) -> Result<Vec<StoredLoad>, StoreError> {
        let sql = "SELECT k.place - 1, l.id, l.contacts \
                   FROM UNNEST($1::SMALLINT[], $2::BIGINT[], $3::TEXT[]) \
                   WITH ORDINALITY AS k (system, minute, actor, place) JOIN loads l \
                   ON l.system = k.system AND l.minute = k.minute AND l.actor = k.actor";
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.system))
            .bind(column(keys, |key| key.minute))
            .bind(column(keys, |key| key.actor.as_str()));
        let read = |row: &PgRow| {
            let position: i64 = row.try_get(0)?;
            Ok(StoredLoad {
                position: position as usize,
                id: row.try_get(1)?,
                contacts: row.try_get(2)?,
            })
        };
        self.read("loads", query, read).await
    }

    async fn load_members(
        &mut self,
        whole: &[i64],
        probed: &[i64],
        externals: &[&str],
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let sql = "SELECT m.load, m.external FROM UNNEST($1::BIGINT[]) AS k (load) \
                   JOIN load_members m ON m.load = k.load \
                   UNION ALL \
                   SELECT m.load, m.external FROM UNNEST($2::BIGINT[]) AS k (load) \
                   CROSS JOIN UNNEST($3::TEXT[]) AS c (external) JOIN load_members m \
                   ON m.load = k.load AND m.external = c.external";
        let query = sqlx::query(sql).bind(whole).bind(probed).bind(externals);
        self.read("loads", query, |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await
    }

    async fn flips(
        &mut self,
        subjects: &[i64],
        since: i64,
    ) -> Result<Vec<(i64, String, i64)>, StoreError> {
        let sql = "SELECT f.subject, f.purpose, count(*) FROM UNNEST($1::BIGINT[]) AS k (subject) \
                   JOIN flips f ON f.subject = k.subject AND f.at >= $2 \
                   GROUP BY f.subject, f.purpose";
        let query = sqlx::query(sql).bind(subjects).bind(since);
        let read = |row: &PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        self.read("flips", query, read).await
    }

    async fn open_requests(&mut self, subjects: &[i64]) -> Result<Vec<RequestRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            request_columns!(),
            " FROM UNNEST($1::BIGINT[]) AS k (subject) \
             JOIN resubscribe_requests r ON r.subject = k.subject AND r.closed_at IS NULL"
        );
        let query = sqlx::query(sql).bind(subjects);
        self.read("re-subscribe requests", query, Rows::request)
            .await
    }

    async fn open_holds(&mut self) -> Result<Vec<HoldRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds h WHERE h.closed_at IS NULL"
        );
        self.read("holds", sqlx::query(sql), Rows::hold).await
    }

    async fn held_of(&mut self, subjects: &[i64]) -> Result<Vec<HeldRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            held_columns!(),
            " FROM UNNEST($1::BIGINT[]) AS k (subject) JOIN held w ON w.subject = k.subject"
        );
        self.read(
            "held decisions",
            sqlx::query(sql).bind(subjects),
            Rows::held,
        )
        .await
    }

    async fn flip_counts(&mut self, since: i64) -> Result<Vec<FlipCount>, StoreError> {
        let sql = "SELECT system, purpose, withdrawn, sum(flips)::BIGINT FROM flip_minutes \
                   WHERE minute >= $1 GROUP BY system, purpose, withdrawn";
        let query = sqlx::query(sql).bind(At::from_micros(since).minute());
        self.read("flips", query, Rows::flip_count).await
    }

    async fn suppressions(
        &mut self,
        digests: &[SuppressionDigest],
    ) -> Result<Vec<SuppressionRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            suppression_columns!(),
            " FROM UNNEST($1::BYTEA[]) AS k (digest) JOIN suppressions s ON s.digest = k.digest"
        );
        let query = sqlx::query(sql).bind(column(digests, |digest| &digest[..]));
        self.read("suppressions", query, Rows::suppression).await
    }

    async fn feed_of(&mut self, system: i16) -> Result<Option<FeedRow>, StoreError> {
        let sql = concat!("SELECT ", feed_columns!(), " FROM systems WHERE id = $1");
        let query = sqlx::query(sql).bind(system);
        Ok(self.read("the feed", query, Rows::feed).await?.pop())
    }
}

#[async_trait]
impl Writes for Session<'_> {
    async fn advance_feed(&mut self, change: &FeedChange) -> Result<u64, StoreError> {
        let FeedRow {
            cursor,
            drained,
            polled_at,
            loaded,
            ..
        } = &change.row;
        let sql = "UPDATE systems SET cursor = $1, drained = $2, polled_at = $3, loaded = $4, \
                     accept_fewer = accept_fewer AND NOT $5, scanned = coalesce($6, scanned) \
                   WHERE id = $7 AND cursor IS NOT DISTINCT FROM $8 AND NOT paused";
        let query = sqlx::query(sql)
            .bind(cursor)
            .bind(drained)
            .bind(polled_at)
            .bind(loaded)
            .bind(change.scan.uses_word)
            .bind(change.scan.contacts)
            .bind(change.system)
            .bind(&change.follows);
        self.write("the feed", query).await
    }

    async fn put_switches(
        &mut self,
        system: i16,
        row: &FeedRow,
        at: i64,
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE systems SET cursor = $1, loaded = $2, paused = $3, paused_note = $4, \
                     halted = $5, muted_since = $6, shape = $7, accept_fewer = $8, switched_at = $9 \
                   WHERE id = $10";
        let query = sqlx::query(sql)
            .bind(&row.cursor)
            .bind(row.loaded)
            .bind(row.paused)
            .bind(&row.paused_note)
            .bind(&row.halted)
            .bind(row.muted_since)
            .bind(&row.shape)
            .bind(row.accept_fewer)
            .bind(at)
            .bind(system);
        self.write("the feed", query).await
    }

    async fn put_decided(&mut self, decided: &Decided) -> Result<u64, StoreError> {
        let query = sqlx::query("UPDATE decided SET policy = $1, through = $2")
            .bind(&decided.policy)
            .bind(decided.through);
        self.write("how far subjects are decided", query).await
    }

    async fn put_subjects(&mut self, rows: &[&SubjectRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO subjects AS s (id, ref, address, verdicts, remembered, findings) \
                   SELECT * FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::TEXT[], $4::TEXT[], \
                     $5::TEXT[], $6::TEXT[]) \
                   ON CONFLICT (id) DO UPDATE SET address = excluded.address, \
                     verdicts = excluded.verdicts, remembered = excluded.remembered, \
                     findings = excluded.findings WHERE s.ref = excluded.ref";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.id))
            .bind(column(rows, |row| &row.subject.0[..]))
            .bind(column(rows, |row| row.address.as_str()))
            .bind(column(rows, |row| row.verdicts.as_str()))
            .bind(column(rows, |row| row.remembered.as_str()))
            .bind(column(rows, |row| row.findings.as_str()));
        self.write("subjects", query).await
    }

    async fn put_contacts(&mut self, rows: &[&ContactRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO contacts (system, external, subject, own_subject, link, created, \
                     modified, read_at, life, merged_into, written_seq, record) \
                   SELECT * FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[], \
                     $5::TEXT[], $6::BIGINT[], $7::BIGINT[], $8::BIGINT[], $9::SMALLINT[], \
                     $10::TEXT[], $11::BIGINT[], $12::TEXT[]) \
                   ON CONFLICT (system, external) DO UPDATE SET subject = excluded.subject, \
                     own_subject = excluded.own_subject, link = excluded.link, \
                     created = excluded.created, modified = excluded.modified, \
                     read_at = excluded.read_at, life = excluded.life, \
                     merged_into = excluded.merged_into, written_seq = excluded.written_seq, \
                     record = excluded.record";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.system))
            .bind(column(rows, |row| row.external.as_str()))
            .bind(column(rows, |row| row.subject))
            .bind(column(rows, |row| row.own_subject))
            .bind(column(rows, |row| row.link.as_deref()))
            .bind(column(rows, |row| row.created))
            .bind(column(rows, |row| row.modified))
            .bind(column(rows, |row| row.read_at))
            .bind(column(rows, |row| row.life))
            .bind(column(rows, |row| row.merged_into.as_deref()))
            .bind(column(rows, |row| row.written_seq))
            .bind(column(rows, |row| row.record.as_str()));
        self.write("contacts", query).await
    }

    async fn update_contacts(&mut self, rows: &[&ContactRow]) -> Result<u64, StoreError> {
        let sql = "UPDATE contacts AS c SET own_subject = n.own_subject, created = n.created, \
                     modified = n.modified, read_at = n.read_at, merged_into = n.merged_into, \
                     written_seq = n.written_seq, record = n.record, life = n.life \
                   FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[], \
                     $5::BIGINT[], $6::BIGINT[], $7::TEXT[], $8::BIGINT[], $9::TEXT[], $10::SMALLINT[]) \
                     AS n (system, external, own_subject, created, modified, read_at, \
                     merged_into, written_seq, record, life) \
                   WHERE c.system = n.system AND c.external = n.external";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.system))
            .bind(column(rows, |row| row.external.as_str()))
            .bind(column(rows, |row| row.own_subject))
            .bind(column(rows, |row| row.created))
            .bind(column(rows, |row| row.modified))
            .bind(column(rows, |row| row.read_at))
            .bind(column(rows, |row| row.merged_into.as_deref()))
            .bind(column(rows, |row| row.written_seq))
            .bind(column(rows, |row| row.record.as_str()))
            .bind(column(rows, |row| row.life));
        self.write("contacts", query).await
    }

    async fn count_contacts(&mut self, counts: &[(i16, i64, i64)]) -> Result<u64, StoreError> {
        let sql = "UPDATE systems s SET live = s.live + n.live, unmatched = s.unmatched + n.unmatched \
                   FROM UNNEST($1::SMALLINT[], $2::BIGINT[], $3::BIGINT[]) \
                     AS n (id, live, unmatched) WHERE s.id = n.id";
        let query = sqlx::query(sql)
            .bind(column(counts, |count| count.0))
            .bind(column(counts, |count| count.1))
            .bind(column(counts, |count| count.2));
        self.write("the figures", query).await
    }

    async fn drop_outbox(&mut self, keys: &[&WriteKey]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM outbox o USING UNNEST($1::SMALLINT[], $2::TEXT[], $3::SMALLINT[]) \
                     AS k (system, external, lane) \
                   WHERE o.system = k.system AND o.external = k.external AND o.lane = k.lane";
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.system))
            .bind(column(keys, |key| key.external.as_str()))
            .bind(column(keys, |key| key.lane));
        self.write("the outbox", query).await
    }

    async fn put_outbox(&mut self, rows: &[&OutboxRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO outbox (system, external, lane, subject, version, changes, state, \
                     in_flight, decided_at, not_before, attempts, claimed_until, last_error) \
                   SELECT * FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::SMALLINT[], $4::BIGINT[], \
                     $5::BIGINT[], $6::TEXT[], $7::SMALLINT[], $8::TEXT[], $9::BIGINT[], \
                     $10::BIGINT[], $11::INTEGER[], $12::BIGINT[], $13::TEXT[]) \
                   ON CONFLICT (system, external, lane) DO UPDATE SET subject = excluded.subject, \
                     version = excluded.version, changes = excluded.changes, \
                     state = excluded.state, in_flight = excluded.in_flight, \
                     decided_at = excluded.decided_at, not_before = excluded.not_before, \
                     attempts = excluded.attempts, claimed_until = excluded.claimed_until, \
                     last_error = excluded.last_error";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.key.system))
            .bind(column(rows, |row| row.key.external.as_str()))
            .bind(column(rows, |row| row.key.lane))
            .bind(column(rows, |row| row.subject))
            .bind(column(rows, |row| row.version))
            .bind(column(rows, |row| row.changes.as_str()))
            .bind(column(rows, |row| row.state))
            .bind(column(rows, |row| row.in_flight.as_str()))
            .bind(column(rows, |row| row.decided_at))
            .bind(column(rows, |row| row.not_before))
            .bind(column(rows, |row| row.attempts))
            .bind(column(rows, |row| row.claimed_until))
            .bind(column(rows, |row| row.last_error.as_deref()));
        self.write("the outbox", query).await
    }

    async fn redrive(&mut self, redrive: &Redrive) -> Result<u64, StoreError> {
        let sql = "UPDATE outbox SET state = $1, attempts = 0, not_before = $2, claimed_until = 0 \
                   WHERE system = $3 AND state = $4 \
                     AND (cardinality($5::TEXT[]) = 0 OR external = ANY($5::TEXT[]))";
        let query = sqlx::query(sql)
            .bind(PENDING)
            .bind(redrive.at)
            .bind(redrive.system)
            .bind(DEAD)
            .bind(&redrive.contacts);
        self.write("dead letters", query).await
    }

    async fn put_back(&mut self, postponed: &[Postponed]) -> Result<Vec<WriteKey>, StoreError> {
        // A write that was decided anew meanwhile is only unclaimed; one that is held or dead by
        // now stays so. The rows are locked in the order of their keys first.
        let sql = "WITH p AS MATERIALIZED ( \
                     SELECT p.* FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::SMALLINT[], \
                       $4::BIGINT[], $5::BIGINT[], $6::SMALLINT[], $7::INTEGER[], $8::TEXT[], \
                       $9::TEXT[]) AS p (system, external, lane, version, not_before, state, \
                       attempts, error, in_flight) JOIN outbox o \
                     ON o.system = p.system AND o.external = p.external AND o.lane = p.lane \
                     ORDER BY o.system, o.external, o.lane FOR UPDATE OF o) \
                   UPDATE outbox AS o SET claimed_until = 0, \
                     state = CASE WHEN p.version = o.version THEN p.state ELSE 0 END, \
                     not_before = CASE WHEN p.version = o.version THEN p.not_before \
                       ELSE o.not_before END, \
                     attempts = CASE WHEN p.version = o.version THEN p.attempts \
                       ELSE o.attempts END, \
                     last_error = CASE WHEN p.version = o.version THEN p.error \
                       ELSE o.last_error END, \
                     in_flight = coalesce(p.in_flight, o.in_flight) \
                   FROM p \
                   WHERE o.system = p.system AND o.external = p.external AND o.lane = p.lane \
                     AND (o.state = 1 OR (o.state = 0 AND o.version = p.version)) \
                   RETURNING o.system, o.external, o.lane, o.version";
        let query = sqlx::query(sql)
            .bind(column(postponed, |row| row.key.system))
            .bind(column(postponed, |row| row.key.external.as_str()))
            .bind(column(postponed, |row| row.key.lane))
            .bind(column(postponed, |row| row.version))
            .bind(column(postponed, |row| row.not_before))
            .bind(column(postponed, |row| row.state))
            .bind(column(postponed, |row| row.attempts))
            .bind(column(postponed, |row| storable_error(&row.error)))
            .bind(column(postponed, |row| row.in_flight.as_deref()));
        let back = self.read("postponed writes", query, Rows::returned).await?;
        Ok(as_claimed(postponed, back))
    }

    async fn give_up(&mut self, unsent: &[UnsentRow<'_>]) -> Result<u64, StoreError> {
        let sql = "WITH p AS MATERIALIZED ( \
                     SELECT o.system, o.external, o.lane, p.claimed, p.earlier, p.version \
                     FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[]) \
                       AS p (system, external, version, claimed, earlier) JOIN outbox o \
                     ON o.system = p.system AND o.external = p.external \
                     WHERE o.version > p.version AND o.in_flight = p.claimed \
                     ORDER BY o.system, o.external, o.lane FOR UPDATE OF o) \
                   UPDATE outbox AS o SET in_flight = p.earlier FROM p \
                   WHERE o.system = p.system AND o.external = p.external AND o.lane = p.lane \
                     AND o.version > p.version AND o.in_flight = p.claimed \
                     AND o.state IN (0, 3, 5) AND o.attempts = 0";
        let query = sqlx::query(sql)
            .bind(column(unsent, |row| row.0))
            .bind(column(unsent, |row| row.1))
            .bind(column(unsent, |row| row.2))
            .bind(column(unsent, |row| row.3))
            .bind(column(unsent, |row| row.4));
        self.write("postponed writes", query).await
    }

    async fn put_load_members(&mut self, members: &[(&LoadKey, &str)]) -> Result<(), StoreError> {
        const COUNT: &str = "INSERT INTO loads AS l (system, minute, actor, contacts) \
             SELECT n.system, n.minute, n.actor, count(*) \
             FROM UNNEST($1::SMALLINT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[]) \
               AS n (system, minute, actor, external) \
             WHERE NOT EXISTS (SELECT 1 FROM loads o JOIN load_members m \
               ON m.load = o.id AND m.external = n.external \
               WHERE o.system = n.system AND o.minute = n.minute AND o.actor = n.actor) \
             GROUP BY 1, 2, 3 \
             ON CONFLICT (system, minute, actor) \
             DO UPDATE SET contacts = l.contacts + excluded.contacts";
        const ADD: &str = "INSERT INTO load_members (load, external) SELECT l.id, n.external \
             FROM UNNEST($1::SMALLINT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[]) \
               AS n (system, minute, actor, external) JOIN loads l \
             ON l.system = n.system AND l.minute = n.minute AND l.actor = n.actor \
             ON CONFLICT DO NOTHING";
        for sql in [COUNT, ADD] {
            let query = sqlx::query(sql)
                .bind(column(members, |(key, _)| key.system))
                .bind(column(members, |(key, _)| key.minute))
                .bind(column(members, |(key, _)| key.actor.as_str()))
                .bind(column(members, |(_, external)| *external));
            self.write("loads", query).await?;
        }
        Ok(())
    }

    async fn put_flips(&mut self, flips: &[Flip]) -> Result<(), StoreError> {
        let sql = "INSERT INTO flips (subject, purpose, withdrawn, system, at) \
                   SELECT * FROM UNNEST($1::BIGINT[], $2::TEXT[], $3::BOOLEAN[], $4::SMALLINT[], \
                     $5::BIGINT[])";
        let query = sqlx::query(sql)
            .bind(column(flips, |flip| flip.subject))
            .bind(column(flips, |flip| flip.purpose.as_str()))
            .bind(column(flips, |flip| flip.withdrawn))
            .bind(column(flips, |flip| flip.system))
            .bind(column(flips, |flip| flip.at));
        self.write("flips", query).await?;
        let counts = per_minute(flips);
        let sql = "INSERT INTO flip_minutes AS m (system, purpose, withdrawn, minute, flips) \
                   SELECT * FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::BOOLEAN[], $4::BIGINT[], \
                     $5::BIGINT[]) \
                   ON CONFLICT (system, purpose, withdrawn, minute) \
                   DO UPDATE SET flips = m.flips + excluded.flips";
        let query = sqlx::query(sql)
            .bind(column(&counts, |count| count.0))
            .bind(column(&counts, |count| count.1))
            .bind(column(&counts, |count| count.2))
            .bind(column(&counts, |count| count.3))
            .bind(column(&counts, |count| count.4));
        self.write("flips", query).await?;
        let sql = "DELETE FROM flip_minutes WHERE minute < $1";
        self.write("flips", sqlx::query(sql).bind(needed_from(flips)))
            .await?;
        Ok(())
    }

    async fn judge_flips(&mut self, judged: &[(i64, String)]) -> Result<(), StoreError> {
        let sql = "DELETE FROM flips f USING UNNEST($1::BIGINT[], $2::TEXT[]) AS k (subject, purpose) \
                   WHERE f.subject = k.subject AND f.purpose = k.purpose";
        let query = sqlx::query(sql)
            .bind(column(judged, |(subject, _)| *subject))
            .bind(column(judged, |(_, purpose)| purpose.as_str()));
        self.write("flips", query).await?;
        Ok(())
    }

    async fn put_holds(&mut self, rows: &[HoldRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO holds (id, kind, system, purpose, withdrawn, actor, opened_at) \
                   SELECT * FROM UNNEST($1::BIGINT[], $2::TEXT[], $3::SMALLINT[], $4::TEXT[], \
                     $5::BOOLEAN[], $6::TEXT[], $7::BIGINT[])";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.id))
            .bind(column(rows, |row| row.kind.as_str()))
            .bind(column(rows, |row| row.system))
            .bind(column(rows, |row| row.purpose.as_str()))
            .bind(column(rows, |row| row.withdrawn))
            .bind(column(rows, |row| row.actor.as_str()))
            .bind(column(rows, |row| row.opened_at));
        self.write("holds", query).await
    }

    async fn put_held(&mut self, rows: &[HeldRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO held (subject, hold, purpose, since, released) \
                   SELECT * FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::TEXT[], $4::BIGINT[], \
                     $5::BOOLEAN[]) \
                   ON CONFLICT (subject, hold, purpose) DO UPDATE SET released = excluded.released";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.subject))
            .bind(column(rows, |row| row.hold))
            .bind(column(rows, |row| row.purpose.as_str()))
            .bind(column(rows, |row| row.since))
            .bind(column(rows, |row| row.released));
        self.write("held decisions", query).await
    }

    async fn drop_held(&mut self, keys: &[HeldKey]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM held w USING UNNEST($1::BIGINT[], $2::BIGINT[], $3::TEXT[]) \
                     AS k (subject, hold, purpose) \
                   WHERE w.subject = k.subject AND w.hold = k.hold AND w.purpose = k.purpose";
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.0))
            .bind(column(keys, |key| key.1))
            .bind(column(keys, |key| key.2.as_str()));
        self.write("held decisions", query).await
    }

    async fn trip(&mut self, trip: &Trip, at: i64) -> Result<u64, StoreError> {
        let take_in = "INSERT INTO held (subject, hold, purpose, since, released) \
                       SELECT DISTINCT f.subject, h.id, f.purpose, $2::BIGINT, FALSE FROM holds h \
                         JOIN flips f ON f.system = h.system AND f.purpose = h.purpose \
                           AND f.withdrawn = h.withdrawn AND f.at > \
                             (SELECT coalesce(max(p.closed_at), $3) FROM holds p \
                              WHERE p.closed_at > $3 AND p.kind = h.kind AND p.system = h.system \
                                AND p.purpose = h.purpose AND p.withdrawn = h.withdrawn) \
                       WHERE h.id = $1 AND NOT EXISTS (SELECT 1 FROM flips l \
                         WHERE l.subject = f.subject AND l.purpose = f.purpose \
                           AND (l.at, l.id) > (f.at, f.id)) \
                       ON CONFLICT DO NOTHING";
        let query = sqlx::query(take_in)
            .bind(trip.hold)
            .bind(at)
            .bind(trip.since);
        let taken = self.write("held decisions", query).await?;
        // Locked in the order of their keys, as everywhere, so that two never wait for each other.
        let stop = "WITH stopped AS (SELECT o.system, o.external, o.lane FROM held w \
                      JOIN contacts c ON c.subject = w.subject \
                      JOIN outbox o ON o.system = c.system AND o.external = c.external AND o.lane = $5 \
                      WHERE w.hold = $6 AND o.state IN ($2, $3, $4) \
                      ORDER BY o.system, o.external FOR UPDATE OF o) \
                    UPDATE outbox o SET state = $1 FROM stopped s \
                    WHERE o.system = s.system AND o.external = s.external AND o.lane = s.lane";
        let query = sqlx::query(stop)
            .bind(HELD)
            .bind(PENDING)
            .bind(CLAIMED)
            .bind(PLANNED)
            .bind(trip.lane)
            .bind(trip.hold);
        Ok(taken + self.write("the outbox", query).await?)
    }

    async fn close_holds(&mut self, holds: &[i64], at: i64) -> Result<(), StoreError> {
        let close = "UPDATE holds h SET closed_at = $2 WHERE h.closed_at IS NULL \
                       AND h.id = ANY($1::BIGINT[]) AND NOT EXISTS \
                       (SELECT 1 FROM held w WHERE w.hold = h.id AND NOT w.released)";
        let query = sqlx::query(close).bind(holds).bind(at);
        if self.write("holds", query).await? == 0 {
            return Ok(());
        }
        let forget = "DELETE FROM held w USING holds h \
                      WHERE h.id = ANY($1::BIGINT[]) AND h.closed_at IS NOT NULL AND w.hold = h.id";
        self.write("held decisions", sqlx::query(forget).bind(holds))
            .await?;
        let judged = "DELETE FROM flip_minutes m USING holds h \
                      WHERE h.id = ANY($1::BIGINT[]) AND h.closed_at IS NOT NULL AND h.kind = $2 \
                        AND m.system = h.system AND m.purpose = h.purpose \
                        AND m.withdrawn = h.withdrawn";
        let query = sqlx::query(judged)
            .bind(holds)
            .bind(HoldKind::MassChange.word());
        self.write("flips", query).await?;
        Ok(())
    }

    async fn put_quarantine(&mut self, rows: &[&QuarantineRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO quarantine AS q (system, external, reason, raw, seen_at) \
                   SELECT * FROM UNNEST($1::SMALLINT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[], \
                     $5::BIGINT[]) \
                   ON CONFLICT (system, external) \
                   DO UPDATE SET reason = excluded.reason, raw = excluded.raw \
                   WHERE q.reason <> excluded.reason OR q.raw <> excluded.raw";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.system))
            .bind(column(rows, |row| row.external.as_str()))
            .bind(column(rows, |row| row.reason.as_str()))
            .bind(column(rows, |row| row.raw.as_slice()))
            .bind(column(rows, |row| row.seen_at));
        self.write("the quarantine", query).await
    }

    async fn heal(&mut self, keys: &[Key<'_>]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM quarantine q USING UNNEST($1::SMALLINT[], $2::TEXT[]) \
                     AS k (system, external) \
                   WHERE q.system = k.system AND q.external = k.external";
        let query = sqlx::query(sql)
            .bind(column(keys, |key| key.0))
            .bind(column(keys, |key| key.1));
        self.write("the quarantine", query).await
    }

    async fn put_gate_due(&mut self, due: &[(i64, i64)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO gate_due (subject, since) \
                   SELECT * FROM UNNEST($1::BIGINT[], $2::BIGINT[]) \
                   ON CONFLICT (subject) DO UPDATE SET since = excluded.since";
        let (subjects, since): (Vec<i64>, Vec<i64>) = due.iter().copied().unzip();
        let query = sqlx::query(sql).bind(subjects).bind(since);
        self.write("who is due at the gate", query).await?;
        Ok(())
    }

    async fn drop_gate_due(&mut self, asked: &[(i64, i64)]) -> Result<(), StoreError> {
        let sql = "DELETE FROM gate_due g USING UNNEST($1::BIGINT[], $2::BIGINT[]) AS k (subject, since) \
                   WHERE g.subject = k.subject AND g.since = k.since";
        let (subjects, since): (Vec<i64>, Vec<i64>) = asked.iter().copied().unzip();
        let query = sqlx::query(sql).bind(subjects).bind(since);
        self.write("who is due at the gate", query).await?;
        Ok(())
    }

    async fn put_requests(&mut self, rows: &[&RequestRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO resubscribe_requests (id, subject, subscriber, unit, unit_name, status, \
                     unsubscribed_at, urgent, cause, evidence, opened_at, seen_at, note, closed_at, \
                     closing, closed_by) \
                   SELECT * FROM UNNEST($1::BIGINT[], $2::BIGINT[], $3::TEXT[], $4::TEXT[], \
                     $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::BOOLEAN[], $9::TEXT[], $10::TEXT[], \
                     $11::BIGINT[], $12::BIGINT[], $13::TEXT[], $14::BIGINT[], $15::TEXT[], \
                     $16::TEXT[]) \
                   ON CONFLICT (id) DO UPDATE SET status = excluded.status, \
                     unsubscribed_at = excluded.unsubscribed_at, urgent = excluded.urgent, \
                     seen_at = excluded.seen_at, note = excluded.note, \
                     closed_at = excluded.closed_at, closing = excluded.closing, \
                     closed_by = excluded.closed_by";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| row.id))
            .bind(column(rows, |row| row.subject))
            .bind(column(rows, |row| row.subscriber.as_str()))
            .bind(column(rows, |row| row.unit.as_str()))
            .bind(column(rows, |row| row.unit_name.as_str()))
            .bind(column(rows, |row| row.status.as_str()))
            .bind(column(rows, |row| row.unsubscribed_at))
            .bind(column(rows, |row| row.urgent))
            .bind(column(rows, |row| row.cause.as_str()))
            .bind(column(rows, |row| row.evidence.as_str()))
            .bind(column(rows, |row| row.opened_at))
            .bind(column(rows, |row| row.seen_at))
            .bind(column(rows, |row| row.note.as_deref()))
            .bind(column(rows, |row| row.closed_at))
            .bind(column(rows, |row| row.closing.as_deref()))
            .bind(column(rows, |row| row.closed_by.as_deref()));
        self.write("re-subscribe requests", query).await
    }

    async fn put_gate_round(&mut self, round: &GateRound) -> Result<(), StoreError> {
        let sql = "UPDATE gate_round SET ended_at = $1, after = $2, sheet_at = $3";
        let query = sqlx::query(sql)
            .bind(round.ended_at)
            .bind(round.after)
            .bind(round.sheet_at);
        self.write("the round of the gate", query).await?;
        Ok(())
    }

    async fn put_suppressions(&mut self, rows: &[&SuppressionRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO suppressions (digest, purpose, key, since, seen_at) \
                   SELECT * FROM UNNEST($1::BYTEA[], $2::TEXT[], $3::TEXT[], $4::BIGINT[], \
                     $5::BIGINT[]) \
                   ON CONFLICT (digest, purpose) DO UPDATE SET key = excluded.key, \
                     since = excluded.since, seen_at = excluded.seen_at";
        let query = sqlx::query(sql)
            .bind(column(rows, |row| &row.digest[..]))
            .bind(column(rows, |row| row.purpose.as_str()))
            .bind(column(rows, |row| row.key.as_str()))
            .bind(column(rows, |row| row.since))
            .bind(column(rows, |row| row.seen_at));
        self.write("suppressions", query).await
    }

    async fn drop_suppressions(
        &mut self,
        digests: &[SuppressionDigest],
    ) -> Result<u64, StoreError> {
        let sql = "DELETE FROM suppressions WHERE digest = ANY($1::BYTEA[])";
        let query = sqlx::query(sql).bind(column(digests, |digest| &digest[..]));
        self.write("suppressions", query).await
    }

    async fn erase(&mut self, erased: &Erased) -> Result<u64, StoreError> {
        self.erase_rows(erased).await
    }

    async fn redact(&mut self, blocks: &[(i64, Redacted)]) -> Result<bool, StoreError> {
        self.redact_blocks(blocks).await
    }

    async fn drop_expired(
        &mut self,
        table: Expiring,
        keys: &[ExpiringKey],
    ) -> Result<u64, StoreError> {
        self.drop_rows(table, keys).await
    }

    async fn put_expired(&mut self, class: &str, through: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO expired (class, through) VALUES ($1, $2) \
                   ON CONFLICT (class) DO UPDATE SET through = excluded.through";
        let query = sqlx::query(sql).bind(class.to_owned()).bind(through);
        self.write("how far the ledger has expired", query).await?;
        Ok(())
    }

    async fn append(&mut self, sealed: Sealed) -> Result<(), StoreError> {
        let sql = "INSERT INTO ledger_blocks (first, last, digest, at, newest_subject, entries, \
                     marks) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let StoredBlock {
            block,
            entries,
            marks,
        } = sealed.stored;
        let query = sqlx::query(sql)
            .bind(block.first)
            .bind(block.last)
            .bind(&block.digest[..])
            .bind(block.at)
            .bind(block.newest_subject)
            .bind(entries)
            .bind(marks);
        self.write("the ledger", query).await?;
        if !sealed.known_subjects.is_empty() {
            let sql = "INSERT INTO ledger_subjects (subject, block) \
                       SELECT s.subject, $1 FROM UNNEST($2::BIGINT[]) AS s (subject)";
            let query = sqlx::query(sql)
                .bind(block.last)
                .bind(sealed.known_subjects);
            self.write("the ledger", query).await?;
        }
        Ok(())
    }

    async fn advance_counters(&mut self, subject: i64, sequence: i64) -> Result<(), StoreError> {
        let sql = "UPDATE counters SET next_subject = $1, next_sequence = $2";
        self.write(
            "the counters",
            sqlx::query(sql).bind(subject).bind(sequence),
        )
        .await?;
        Ok(())
    }

    async fn put_planning(&mut self, change: PlanningChange) -> Result<u64, StoreError> {
        let sql = "UPDATE counters SET planning = $1";
        let begins = change == PlanningChange::Begins;
        self.write("the counters", sqlx::query(sql).bind(begins))
            .await?;
        let PlanningChange::Ends { now, grants_from } = change else {
            return Ok(0);
        };
        let sql = "UPDATE outbox SET state = $1, not_before = greatest(not_before, \
                     CASE lane WHEN $2 THEN $3 ELSE $4 END) WHERE state = $5";
        let query = sqlx::query(sql)
            .bind(PENDING)
            .bind(LANE_WITHDRAWAL)
            .bind(now)
            .bind(grants_from)
            .bind(PLANNED);
        self.write("planned writes", query).await
    }
}
