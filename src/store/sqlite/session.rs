//! The statements of a transaction.

use super::read_all;
use crate::consent::At;
use crate::consent::guard::HoldKind;
use crate::store::common::{
    contact_columns, corrupt, failed, feed_columns, fixed, held_columns, hold_columns,
    outbox_columns, queue_readers, request_columns, suppression_columns,
};
use crate::store::ledger::{BlockRow, Redacted, Sealed, StoredBlock};
use crate::store::report::{UnsentRow, as_claimed, storable_error};
use crate::store::send::parted;
use crate::store::session::{
    ContactKey, Key, Life, Named, Reads, Standing, StoredLoad, Writes, json, needed_from,
    per_minute,
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
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// The readers of rows, by position.
pub(super) struct Rows;

impl Rows {
    queue_readers!(SqliteRow);

    /// A write that went back, with its version.
    fn returned(row: &SqliteRow) -> Result<(WriteKey, i64), sqlx::Error> {
        let key = WriteKey {
            system: row.try_get(0)?,
            external: row.try_get(1)?,
            lane: row.try_get(2)?,
        };
        Ok((key, row.try_get(3)?))
    }
}

/// One transaction.
pub(super) struct Session<'a> {
    transaction: Transaction<'a, Sqlite>,
    statements: &'a AtomicU64,
}

impl<'a> Session<'a> {
    pub(super) fn new(transaction: Transaction<'a, Sqlite>, statements: &'a AtomicU64) -> Self {
        Self {
            transaction,
            statements,
        }
    }

    pub(super) fn into_transaction(self) -> Transaction<'a, Sqlite> {
        self.transaction
    }

    pub(super) async fn read<T>(
        &mut self,
        what: &'static str,
        query: Query,
        read: impl Fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        read_all(what, query.fetch_all(&mut *self.transaction).await, read)
    }

    /// For statements that answer with one JSON array of all rows: a row that crosses from SQLite's
    /// thread by itself costs several times as much.
    async fn read_packed<P: DeserializeOwned, T>(
        &mut self,
        what: &'static str,
        query: Query,
        row: impl Fn(P) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let packed: Vec<String> = self.read(what, query, |row| row.try_get(0)).await?;
        let mut rows = Vec::new();
        for packed in packed {
            rows.extend(unpack(what, &packed)?.into_iter().map(&row));
        }
        Ok(rows)
    }

    /// Reads rows that are too large to be held together.
    pub(super) async fn each(
        &mut self,
        what: &'static str,
        query: Query,
        mut read: impl FnMut(&SqliteRow) -> Result<(), sqlx::Error>,
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
        query: Query,
    ) -> Result<u64, StoreError> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let done = query
            .execute(&mut *self.transaction)
            .await
            .map_err(failed(what))?;
        Ok(done.rows_affected())
    }
}

/// A contact's columns, as [`contact_columns`] lists them.
type PackedContact = (
    i16,
    String,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    i16,
    Option<String>,
    i64,
    String,
);

/// The subject of a contact, its own subject, and its link.
type Lead = (i64, Option<i64>, Option<String>);

/// A subject's columns, as [`packed_subject_columns`] lists them.
type PackedSubject = (i64, String, String, String, String, String);

macro_rules! packed_subject_columns {
    () => {
        "s.id, hex(s.ref), s.address, s.verdicts, s.remembered, s.findings"
    };
}

pub(super) fn unpack<P: DeserializeOwned>(
    what: &'static str,
    packed: &str,
) -> Result<Vec<P>, StoreError> {
    // The parser's message may repeat a value, so only the place is told.
    serde_json::from_str(packed).map_err(|error| {
        corrupt(
            what,
            format!(
                "unreadable at line {}, column {}",
                error.line(),
                error.column()
            ),
        )
    })
}

fn contact(packed: PackedContact) -> ContactRow {
    let (system, external, subject, own_subject, link, created, modified, read_at, life, ..) =
        packed;
    let (.., merged_into, written_seq, record) = packed;
    ContactRow {
        system,
        external,
        subject,
        own_subject,
        link,
        created,
        modified,
        read_at,
        life,
        merged_into,
        written_seq,
        record,
    }
}

fn subject(packed: PackedSubject) -> Result<SubjectRow, StoreError> {
    let (id, hash, address, verdicts, remembered, findings) = packed;
    let hash = u128::from_str_radix(&hash, 16)
        .map_err(|_| corrupt("subjects", format!("the keyed hash of subject {id}")))?;
    let subject = SubjectRef(hash.to_be_bytes());
    Ok(SubjectRow {
        id,
        subject,
        address,
        verdicts,
        remembered,
        findings,
    })
}

/// Digests as an array of hexadecimal texts.
pub(super) fn hex(digests: &[SuppressionDigest]) -> Result<String, StoreError> {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16));
    let texts: Vec<String> = digests
        .iter()
        .map(|digest| digest.iter().flat_map(digits).flatten().collect())
        .collect();
    json(&texts)
}

/// Many fixed-size values as one binary value, from which SQL cuts the piece it needs.
fn joined<'a, const N: usize>(pieces: impl Iterator<Item = &'a [u8; N]>) -> Vec<u8> {
    pieces.flatten().copied().collect()
}

/// The long texts of many rows as one binary value, from which SQL cuts each by its place: in JSON
/// every quote in them would be escaped here and unescaped there.
/// What is joined from nothing but empty texts is bound as NULL, so statements `coalesce` it.
#[derive(Default)]
struct Texts(Vec<u8>);

impl Texts {
    /// Adds a text; where it begins, counted from 1, and how many bytes it has.
    fn add(&mut self, text: &str) -> (usize, usize) {
        let place = (self.0.len() + 1, text.len());
        self.0.extend_from_slice(text.as_bytes());
        place
    }
}

#[async_trait]
impl Reads for Session<'_> {
    async fn standing(&mut self) -> Result<Standing, StoreError> {
        let sql = "SELECT next_subject, next_sequence, \
                     (SELECT digest FROM ledger_blocks ORDER BY last DESC LIMIT 1), \
                     EXISTS (SELECT 1 FROM outbox), \
                     EXISTS (SELECT 1 FROM holds WHERE closed_at IS NULL), planning, \
                     EXISTS (SELECT 1 FROM suppressions) \
                   FROM counters";
        let rows = self.read("the counters", sqlx::query(sql), |row| {
            let digest: Option<&[u8]> = row.try_get(2)?;
            Ok(Standing {
                next_subject: row.try_get(0)?,
                next_sequence: row.try_get(1)?,
                newest_block: digest.map(fixed).transpose()?,
                any_outbox: row.try_get(3)?,
                any_hold: row.try_get(4)?,
                planning: row.try_get(5)?,
                any_suppressed: row.try_get(6)?,
            })
        });
        rows.await?
            .pop()
            .ok_or_else(|| corrupt("the counters", "no row"))
    }

    async fn last_contacts(&mut self) -> Result<Vec<ContactKey>, StoreError> {
        let sql = "SELECT id, last FROM (SELECT y.id, (SELECT c.external FROM contacts c \
                     WHERE c.system = y.id ORDER BY c.external DESC LIMIT 1) AS last \
                   FROM systems y) AS ends WHERE last IS NOT NULL";
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        self.read("contacts", sqlx::query(sql), read).await
    }

    async fn contacts_by_key(&mut self, keys: &[Key<'_>]) -> Result<Named, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(",
            contact_columns!(),
            ")) FILTER (WHERE c.subject IS NULL), \
             json_group_array(json_array(c.subject, c.own_subject, c.link)) \
               FILTER (WHERE c.subject IS NOT NULL) \
             FROM jsonb_each(?) j CROSS JOIN contacts c \
             ON c.system = j.value ->> 0 AND c.external = j.value ->> 1"
        );
        let query = sqlx::query(sql).bind(json(keys)?);
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let packed: Vec<(String, String)> = self.read("contacts", query, read).await?;
        let mut named = Named::default();
        for (rows, leads) in packed {
            named.contacts.extend(
                unpack::<PackedContact>("contacts", &rows)?
                    .into_iter()
                    .map(contact),
            );
            for (subject, own, link) in unpack::<Lead>("contacts", &leads)? {
                named.subjects.push(subject);
                named.subjects.extend(own);
                named.links.extend(link);
            }
        }
        Ok(named)
    }

    async fn lives(&mut self, keys: &[Key<'_>]) -> Result<Vec<(ContactKey, Life)>, StoreError> {
        let sql = "SELECT c.system, c.external, c.subject, c.life FROM json_each(?) j \
                   CROSS JOIN contacts c \
                   ON c.system = j.value ->> 0 AND c.external = j.value ->> 1";
        let read = |row: &SqliteRow| {
            Ok((
                (row.try_get(0)?, row.try_get(1)?),
                (row.try_get(2)?, row.try_get(3)?),
            ))
        };
        self.read("contacts", sqlx::query(sql).bind(json(keys)?), read)
            .await
    }

    async fn contacts_by_link(&mut self, links: &[&str]) -> Result<Vec<ContactRow>, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(",
            contact_columns!(),
            ")) FROM json_each(?) j CROSS JOIN contacts c \
             INDEXED BY contacts_link ON c.link = j.value"
        );
        self.read_packed("contacts", sqlx::query(sql).bind(json(links)?), contact)
            .await
    }

    async fn contacts_by_load(
        &mut self,
        loads: &[(i64, i16)],
    ) -> Result<Vec<ContactRow>, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(",
            contact_columns!(),
            ")) FROM json_each(?) j \
             CROSS JOIN load_members m ON m.load = j.value ->> 0 \
             CROSS JOIN contacts c ON c.system = j.value ->> 1 AND c.external = m.external"
        );
        self.read_packed("contacts", sqlx::query(sql).bind(json(loads)?), contact)
            .await
    }

    async fn contacts_by_subject(
        &mut self,
        subjects: &[i64],
    ) -> Result<Vec<ContactRow>, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(",
            contact_columns!(),
            ")) FROM json_each(?) j CROSS JOIN contacts c \
             INDEXED BY contacts_subject ON c.subject = j.value"
        );
        self.read_packed("contacts", sqlx::query(sql).bind(json(subjects)?), contact)
            .await
    }

    async fn subjects_by_ref(
        &mut self,
        refs: &[SubjectRef],
    ) -> Result<Vec<SubjectRow>, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(",
            packed_subject_columns!(),
            ")) FROM json_each(?) j CROSS JOIN subjects s \
             INDEXED BY subjects_ref ON s.ref = unhex(j.value)"
        );
        let refs: Vec<String> = refs.iter().map(SubjectRef::to_string).collect();
        let found = self.read_packed("subjects", sqlx::query(sql).bind(json(&refs)?), subject);
        found.await?.into_iter().collect()
    }

    async fn subjects_by_id(&mut self, ids: &[i64]) -> Result<Vec<SubjectRow>, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(",
            packed_subject_columns!(),
            ")) FROM json_each(?) j CROSS JOIN subjects s ON s.id = j.value"
        );
        let found = self.read_packed("subjects", sqlx::query(sql).bind(json(ids)?), subject);
        found.await?.into_iter().collect()
    }

    async fn outbox_by_contact(&mut self, keys: &[Key<'_>]) -> Result<Vec<OutboxRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            outbox_columns!(),
            " FROM jsonb_each(?) j CROSS JOIN outbox o \
             ON o.system = j.value ->> 0 AND o.external = j.value ->> 1"
        );
        self.read(
            "the outbox",
            sqlx::query(sql).bind(json(keys)?),
            Rows::outbox,
        )
        .await
    }

    async fn loads(&mut self, keys: &[LoadKey]) -> Result<Vec<StoredLoad>, StoreError> {
        let sql = "SELECT j.key, l.id, l.contacts FROM json_each(?) j CROSS JOIN loads l \
                   ON l.system = j.value ->> 0 AND l.minute = j.value ->> 1 \
                   AND l.actor = j.value ->> 2";
        let keys: Vec<_> = keys
            .iter()
            .map(|key| (key.system, key.minute, &key.actor))
            .collect();
        let read = |row: &SqliteRow| {
            let position: i64 = row.try_get(0)?;
            Ok(StoredLoad {
                position: position as usize,
                id: row.try_get(1)?,
                contacts: row.try_get(2)?,
            })
        };
        self.read("loads", sqlx::query(sql).bind(json(&keys)?), read)
            .await
    }

    async fn load_members(
        &mut self,
        whole: &[i64],
        probed: &[i64],
        externals: &[&str],
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let sql = "SELECT m.load, m.external FROM json_each(?) l \
                   CROSS JOIN load_members m ON m.load = l.value \
                   UNION ALL \
                   SELECT m.load, m.external FROM json_each(?) l CROSS JOIN json_each(?) j \
                   CROSS JOIN load_members m ON m.load = l.value AND m.external = j.value";
        let query = sqlx::query(sql)
            .bind(json(whole)?)
            .bind(json(probed)?)
            .bind(json(externals)?);
        self.read("loads", query, |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await
    }

    async fn flips(
        &mut self,
        subjects: &[i64],
        since: i64,
    ) -> Result<Vec<(i64, String, i64)>, StoreError> {
        let sql = "SELECT f.subject, f.purpose, count(*) FROM json_each(?) j \
                   CROSS JOIN flips f INDEXED BY flips_subject \
                   ON f.subject = j.value AND f.at >= ? GROUP BY f.subject, f.purpose";
        let query = sqlx::query(sql).bind(json(subjects)?).bind(since);
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        self.read("flips", query, read).await
    }

    async fn open_requests(&mut self, subjects: &[i64]) -> Result<Vec<RequestRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            request_columns!(),
            " FROM json_each(?) j CROSS JOIN resubscribe_requests r INDEXED BY resubscribe_open \
             ON r.subject = j.value AND r.closed_at IS NULL"
        );
        let query = sqlx::query(sql).bind(json(subjects)?);
        self.read("re-subscribe requests", query, Rows::request)
            .await
    }

    async fn open_holds(&mut self) -> Result<Vec<HoldRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM holds h INDEXED BY holds_open WHERE h.closed_at IS NULL"
        );
        self.read("holds", sqlx::query(sql), Rows::hold).await
    }

    async fn held_of(&mut self, subjects: &[i64]) -> Result<Vec<HeldRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            held_columns!(),
            " FROM json_each(?) j CROSS JOIN held w ON w.subject = j.value"
        );
        let query = sqlx::query(sql).bind(json(subjects)?);
        self.read("held decisions", query, Rows::held).await
    }

    async fn flip_counts(&mut self, since: i64) -> Result<Vec<FlipCount>, StoreError> {
        let sql = "SELECT system, purpose, withdrawn, sum(flips) FROM flip_minutes \
                   WHERE minute >= ? GROUP BY system, purpose, withdrawn";
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
            " FROM json_each(?) j CROSS JOIN suppressions s ON s.digest = unhex(j.value)"
        );
        let query = sqlx::query(sql).bind(hex(digests)?);
        self.read("suppressions", query, Rows::suppression).await
    }

    async fn feed_of(&mut self, system: i16) -> Result<Option<FeedRow>, StoreError> {
        let sql = concat!("SELECT ", feed_columns!(), " FROM systems WHERE id = ?");
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
        } = change.row.clone();
        let sql = "UPDATE systems SET cursor = ?, drained = ?, polled_at = ?, loaded = ?, \
                     accept_fewer = accept_fewer AND NOT ?, scanned = coalesce(?, scanned) \
                   WHERE id = ? AND cursor IS ? AND paused = 0";
        let query = sqlx::query(sql)
            .bind(cursor)
            .bind(drained)
            .bind(polled_at)
            .bind(loaded)
            .bind(change.scan.uses_word)
            .bind(change.scan.contacts)
            .bind(change.system)
            .bind(change.follows.clone());
        self.write("the feed", query).await
    }

    async fn put_switches(
        &mut self,
        system: i16,
        row: &FeedRow,
        at: i64,
    ) -> Result<u64, StoreError> {
        let sql = "UPDATE systems SET cursor = ?, loaded = ?, paused = ?, paused_note = ?, \
                     halted = ?, muted_since = ?, shape = ?, accept_fewer = ?, switched_at = ? \
                   WHERE id = ?";
        let query = sqlx::query(sql)
            .bind(row.cursor.clone())
            .bind(row.loaded)
            .bind(row.paused)
            .bind(row.paused_note.clone())
            .bind(row.halted.clone())
            .bind(row.muted_since)
            .bind(row.shape.clone())
            .bind(row.accept_fewer)
            .bind(at)
            .bind(system);
        self.write("the feed", query).await
    }

    async fn put_decided(&mut self, decided: &Decided) -> Result<u64, StoreError> {
        let query = sqlx::query("UPDATE decided SET policy = ?, through = ?")
            .bind(decided.policy.clone())
            .bind(decided.through);
        self.write("how far subjects are decided", query).await
    }

    async fn put_subjects(&mut self, rows: &[&SubjectRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO subjects (id, ref, address, verdicts, remembered, findings) \
                   SELECT j.value ->> 0, substr(?2, 1 + 16 * j.key, 16), j.value ->> 1, \
                     coalesce(CAST(substr(?3, j.value ->> 2, j.value ->> 3) AS TEXT), ''), \
                     j.value ->> 4, j.value ->> 5 FROM jsonb_each(?1) j WHERE true \
                   ON CONFLICT (id) DO UPDATE SET address = excluded.address, \
                     verdicts = excluded.verdicts, remembered = excluded.remembered, \
                     findings = excluded.findings WHERE ref = excluded.ref";
        let refs = joined(rows.iter().map(|row| &row.subject.0));
        let mut texts = Texts::default();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let (start, length) = texts.add(&row.verdicts);
                (
                    row.id,
                    &row.address,
                    start,
                    length,
                    &row.remembered,
                    &row.findings,
                )
            })
            .collect();
        let query = sqlx::query(sql).bind(json(&rows)?).bind(refs).bind(texts.0);
        self.write("subjects", query).await
    }

    async fn put_contacts(&mut self, rows: &[&ContactRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO contacts (system, external, subject, own_subject, link, created, \
                     modified, read_at, life, merged_into, written_seq, record) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4, j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8, \
                     j.value ->> 9, j.value ->> 10, \
                     coalesce(CAST(substr(?2, j.value ->> 11, j.value ->> 12) AS TEXT), '') \
                   FROM jsonb_each(?1) j WHERE true \
                   ON CONFLICT (system, external) DO UPDATE SET subject = excluded.subject, \
                     own_subject = excluded.own_subject, link = excluded.link, \
                     created = excluded.created, modified = excluded.modified, \
                     read_at = excluded.read_at, life = excluded.life, \
                     merged_into = excluded.merged_into, written_seq = excluded.written_seq, \
                     record = excluded.record";
        let mut texts = Texts::default();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let place = (row.subject, row.own_subject, &row.link);
                let times = (row.created, row.modified, row.read_at);
                let rest = (row.life, &row.merged_into, row.written_seq);
                let record = texts.add(&row.record);
                (
                    row.system,
                    &row.external,
                    place.0,
                    place.1,
                    place.2,
                    times.0,
                    times.1,
                    times.2,
                    rest.0,
                    rest.1,
                    rest.2,
                    record.0,
                    record.1,
                )
            })
            .collect();
        let query = sqlx::query(sql).bind(json(&rows)?).bind(texts.0);
        self.write("contacts", query).await
    }

    async fn update_contacts(&mut self, rows: &[&ContactRow]) -> Result<u64, StoreError> {
        let sql = "UPDATE contacts AS c SET own_subject = j.value ->> 2, created = j.value ->> 3, \
                     modified = j.value ->> 4, read_at = j.value ->> 5, \
                     merged_into = j.value ->> 6, written_seq = j.value ->> 7, \
                     record = j.value ->> 8, life = j.value ->> 9 FROM jsonb_each(?) j \
                   WHERE c.system = j.value ->> 0 AND c.external = j.value ->> 1";
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.system,
                    &row.external,
                    row.own_subject,
                    row.created,
                    row.modified,
                    row.read_at,
                    &row.merged_into,
                    row.written_seq,
                    &row.record,
                    row.life,
                )
            })
            .collect();
        self.write("contacts", sqlx::query(sql).bind(json(&rows)?))
            .await
    }

    async fn count_contacts(&mut self, counts: &[(i16, i64, i64)]) -> Result<u64, StoreError> {
        let sql = "UPDATE systems AS s SET live = s.live + (j.value ->> 1), \
                     unmatched = s.unmatched + (j.value ->> 2) \
                   FROM json_each(?) j WHERE s.id = j.value ->> 0";
        self.write("the figures", sqlx::query(sql).bind(json(counts)?))
            .await
    }

    async fn drop_outbox(&mut self, keys: &[&WriteKey]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM outbox WHERE (system, external, lane) IN \
                   (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?))";
        let keys: Vec<_> = keys
            .iter()
            .map(|key| (key.system, &key.external, key.lane))
            .collect();
        self.write("the outbox", sqlx::query(sql).bind(json(&keys)?))
            .await
    }

    async fn put_outbox(&mut self, rows: &[&OutboxRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO outbox (system, external, lane, subject, version, changes, state, \
                     in_flight, decided_at, not_before, attempts, claimed_until, last_error) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4, j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8, \
                     j.value ->> 9, j.value ->> 10, j.value ->> 11, j.value ->> 12 \
                   FROM jsonb_each(?) j WHERE true \
                   ON CONFLICT (system, external, lane) DO UPDATE SET subject = excluded.subject, \
                     version = excluded.version, changes = excluded.changes, \
                     state = excluded.state, in_flight = excluded.in_flight, \
                     decided_at = excluded.decided_at, not_before = excluded.not_before, \
                     attempts = excluded.attempts, claimed_until = excluded.claimed_until, \
                     last_error = excluded.last_error";
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.key.system,
                    &row.key.external,
                    row.key.lane,
                    row.subject,
                    row.version,
                    &row.changes,
                    row.state,
                    &row.in_flight,
                    row.decided_at,
                    row.not_before,
                    row.attempts,
                    row.claimed_until,
                    &row.last_error,
                )
            })
            .collect();
        self.write("the outbox", sqlx::query(sql).bind(json(&rows)?))
            .await
    }

    async fn redrive(&mut self, redrive: &Redrive) -> Result<u64, StoreError> {
        let sql = "UPDATE outbox SET state = ?1, attempts = 0, not_before = ?2, claimed_until = 0 \
                   WHERE system = ?3 AND state = ?4 AND (json_array_length(?5) = 0 \
                     OR external IN (SELECT value FROM json_each(?5)))";
        let query = sqlx::query(sql)
            .bind(PENDING)
            .bind(redrive.at)
            .bind(redrive.system)
            .bind(DEAD)
            .bind(json(&redrive.contacts)?);
        self.write("dead letters", query).await
    }

    async fn put_back(&mut self, postponed: &[Postponed]) -> Result<Vec<WriteKey>, StoreError> {
        // A write that was decided anew meanwhile is only unclaimed; one that is held or dead by
        // now stays so.
        let sql = "UPDATE outbox AS o SET claimed_until = 0, \
                     state = CASE WHEN p.version = o.version THEN p.state ELSE 0 END, \
                     not_before = CASE WHEN p.version = o.version THEN p.not_before \
                       ELSE o.not_before END, \
                     attempts = CASE WHEN p.version = o.version THEN p.attempts \
                       ELSE o.attempts END, \
                     last_error = CASE WHEN p.version = o.version THEN p.error \
                       ELSE o.last_error END, \
                     in_flight = coalesce(p.in_flight, o.in_flight) \
                   FROM (SELECT j.value ->> 0 AS system, j.value ->> 1 AS external, \
                       j.value ->> 2 AS lane, j.value ->> 3 AS version, \
                       j.value ->> 4 AS not_before, j.value ->> 5 AS state, \
                       j.value ->> 6 AS attempts, j.value ->> 7 AS error, \
                       j.value ->> 8 AS in_flight FROM jsonb_each(?) j) p \
                   WHERE o.system = p.system AND o.external = p.external AND o.lane = p.lane \
                     AND (o.state = 1 OR (o.state = 0 AND o.version = p.version)) \
                   RETURNING system, external, lane, version";
        let rows: Vec<_> = postponed
            .iter()
            .map(|row| {
                let error = storable_error(&row.error);
                (
                    row.key.system,
                    &row.key.external,
                    row.key.lane,
                    row.version,
                    row.not_before,
                    row.state,
                    row.attempts,
                    error,
                    &row.in_flight,
                )
            })
            .collect();
        let query = sqlx::query(sql).bind(json(&rows)?);
        let back = self.read("postponed writes", query, Rows::returned).await?;
        Ok(as_claimed(postponed, back))
    }

    async fn give_up(&mut self, unsent: &[UnsentRow<'_>]) -> Result<u64, StoreError> {
        let sql = "UPDATE outbox AS o SET in_flight = p.earlier \
                   FROM (SELECT j.value ->> 0 AS system, j.value ->> 1 AS external, \
                       j.value ->> 2 AS version, j.value ->> 3 AS claimed, \
                       j.value ->> 4 AS earlier FROM jsonb_each(?) j) p \
                   WHERE o.system = p.system AND o.external = p.external \
                     AND o.version > p.version AND o.in_flight = p.claimed \
                     AND o.state IN (0, 3, 5) AND o.attempts = 0";
        self.write("postponed writes", sqlx::query(sql).bind(json(unsent)?))
            .await
    }

    async fn put_load_members(&mut self, members: &[(&LoadKey, &str)]) -> Result<(), StoreError> {
        let rows: Vec<_> = members
            .iter()
            .map(|(key, external)| (key.system, key.minute, &key.actor, external))
            .collect();
        let rows = json(&rows)?;
        let count = "INSERT INTO loads (system, minute, actor, contacts) \
                     SELECT g.system, g.minute, g.actor, g.contacts FROM ( \
                       SELECT j.value ->> 0 AS system, j.value ->> 1 AS minute, \
                         j.value ->> 2 AS actor, count(*) AS contacts FROM jsonb_each(?) j \
                       WHERE NOT EXISTS (SELECT 1 FROM loads l CROSS JOIN load_members m \
                         ON m.load = l.id AND m.external = j.value ->> 3 \
                         WHERE l.system = j.value ->> 0 AND l.minute = j.value ->> 1 \
                         AND l.actor = j.value ->> 2) \
                       GROUP BY 1, 2, 3) g WHERE true \
                     ON CONFLICT (system, minute, actor) \
                     DO UPDATE SET contacts = contacts + excluded.contacts";
        self.write("loads", sqlx::query(count).bind(rows.clone()))
            .await?;
        let add = "INSERT INTO load_members (load, external) \
                   SELECT l.id, j.value ->> 3 FROM jsonb_each(?) j CROSS JOIN loads l \
                   ON l.system = j.value ->> 0 AND l.minute = j.value ->> 1 \
                   AND l.actor = j.value ->> 2 WHERE true ON CONFLICT DO NOTHING";
        self.write("loads", sqlx::query(add).bind(rows)).await?;
        Ok(())
    }

    async fn put_flips(&mut self, flips: &[Flip]) -> Result<(), StoreError> {
        let sql = "INSERT INTO flips (subject, purpose, withdrawn, system, at) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4 FROM jsonb_each(?) j";
        let rows: Vec<_> = flips
            .iter()
            .map(|flip| {
                (
                    flip.subject,
                    &flip.purpose,
                    flip.withdrawn,
                    flip.system,
                    flip.at,
                )
            })
            .collect();
        self.write("flips", sqlx::query(sql).bind(json(&rows)?))
            .await?;
        let sql = "INSERT INTO flip_minutes (system, purpose, withdrawn, minute, flips) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4 FROM jsonb_each(?) j WHERE true \
                   ON CONFLICT (system, purpose, withdrawn, minute) \
                   DO UPDATE SET flips = flips + excluded.flips";
        let counts = per_minute(flips);
        self.write("flips", sqlx::query(sql).bind(json(&counts)?))
            .await?;
        let sql = "DELETE FROM flip_minutes WHERE minute < ?";
        self.write("flips", sqlx::query(sql).bind(needed_from(flips)))
            .await?;
        Ok(())
    }

    async fn judge_flips(&mut self, judged: &[(i64, String)]) -> Result<(), StoreError> {
        let sql = "DELETE FROM flips WHERE id IN (SELECT f.id FROM jsonb_each(?) j \
                     CROSS JOIN flips f INDEXED BY flips_subject \
                     ON f.subject = j.value ->> 0 AND f.purpose = j.value ->> 1)";
        self.write("flips", sqlx::query(sql).bind(json(judged)?))
            .await?;
        Ok(())
    }

    async fn put_holds(&mut self, rows: &[HoldRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO holds (id, kind, system, purpose, withdrawn, actor, opened_at) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4, j.value ->> 5, j.value ->> 6 FROM jsonb_each(?) j";
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.id,
                    &row.kind,
                    row.system,
                    &row.purpose,
                    row.withdrawn,
                    &row.actor,
                    row.opened_at,
                )
            })
            .collect();
        self.write("holds", sqlx::query(sql).bind(json(&rows)?))
            .await
    }

    async fn put_held(&mut self, rows: &[HeldRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO held (subject, hold, purpose, since, released) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4 FROM jsonb_each(?) j WHERE true \
                   ON CONFLICT (subject, hold, purpose) DO UPDATE SET released = excluded.released";
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.subject, row.hold, &row.purpose, row.since, row.released))
            .collect();
        self.write("held decisions", sqlx::query(sql).bind(json(&rows)?))
            .await
    }

    async fn drop_held(&mut self, keys: &[HeldKey]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM held WHERE (subject, hold, purpose) IN \
                   (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?))";
        self.write("held decisions", sqlx::query(sql).bind(json(keys)?))
            .await
    }

    async fn trip(&mut self, trip: &Trip, at: i64) -> Result<u64, StoreError> {
        let take_in = "INSERT INTO held (subject, hold, purpose, since, released) \
                       SELECT DISTINCT f.subject, h.id, f.purpose, ?2, 0 FROM holds h \
                         CROSS JOIN flips f INDEXED BY flips_cause ON f.system = h.system \
                           AND f.purpose = h.purpose AND f.withdrawn = h.withdrawn AND f.at > \
                             (SELECT coalesce(max(p.closed_at), ?3) FROM holds p \
                              WHERE p.closed_at > ?3 AND p.kind = h.kind AND p.system = h.system \
                                AND p.purpose = h.purpose AND p.withdrawn = h.withdrawn) \
                       WHERE h.id = ?1 AND NOT EXISTS (SELECT 1 FROM flips l INDEXED BY flips_subject \
                         WHERE l.subject = f.subject AND l.purpose = f.purpose \
                           AND (l.at, l.id) > (f.at, f.id)) \
                       ON CONFLICT DO NOTHING";
        let query = sqlx::query(take_in)
            .bind(trip.hold)
            .bind(at)
            .bind(trip.since);
        let taken = self.write("held decisions", query).await?;
        let stop = "UPDATE outbox SET state = ?1 WHERE state IN (?2, ?3, ?4) \
                      AND (system, external, lane) IN \
                    (SELECT c.system, c.external, ?5 FROM held w INDEXED BY held_hold \
                       CROSS JOIN contacts c INDEXED BY contacts_subject ON c.subject = w.subject \
                     WHERE w.hold = ?6)";
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
        let asked = json(holds)?;
        let close = "UPDATE holds SET closed_at = ?2 WHERE closed_at IS NULL \
                       AND id IN (SELECT value FROM json_each(?1)) AND NOT EXISTS \
                       (SELECT 1 FROM held w WHERE w.hold = holds.id AND w.released = 0)";
        let query = sqlx::query(close).bind(asked.clone()).bind(at);
        if self.write("holds", query).await? == 0 {
            return Ok(());
        }
        let forget = "DELETE FROM held WHERE hold IN (SELECT h.id FROM json_each(?) j \
                        CROSS JOIN holds h ON h.id = j.value AND h.closed_at IS NOT NULL)";
        self.write("held decisions", sqlx::query(forget).bind(asked.clone()))
            .await?;
        let judged = "DELETE FROM flip_minutes WHERE (system, purpose, withdrawn) IN \
                      (SELECT h.system, h.purpose, h.withdrawn FROM json_each(?1) j \
                         CROSS JOIN holds h ON h.id = j.value AND h.closed_at IS NOT NULL \
                         AND h.kind = ?2)";
        let query = sqlx::query(judged)
            .bind(asked)
            .bind(HoldKind::MassChange.word());
        self.write("flips", query).await?;
        Ok(())
    }

    async fn put_quarantine(&mut self, rows: &[&QuarantineRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO quarantine (system, external, reason, seen_at, raw) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     coalesce(substr(?2, 1 + (j.value ->> 4), j.value ->> 5), x'') FROM jsonb_each(?1) j \
                   WHERE true ON CONFLICT (system, external) \
                   DO UPDATE SET reason = excluded.reason, raw = excluded.raw \
                   WHERE reason <> excluded.reason OR raw <> excluded.raw";
        let raw: Vec<u8> = rows.iter().flat_map(|row| &row.raw).copied().collect();
        let mut start = 0;
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let from = start;
                start += row.raw.len();
                (
                    row.system,
                    &row.external,
                    &row.reason,
                    row.seen_at,
                    from,
                    row.raw.len(),
                )
            })
            .collect();
        self.write(
            "the quarantine",
            sqlx::query(sql).bind(json(&rows)?).bind(raw),
        )
        .await
    }

    async fn heal(&mut self, keys: &[Key<'_>]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM quarantine WHERE (system, external) IN \
                   (SELECT value ->> 0, value ->> 1 FROM json_each(?))";
        self.write("the quarantine", sqlx::query(sql).bind(json(keys)?))
            .await
    }

    async fn put_gate_due(&mut self, due: &[(i64, i64)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO gate_due (subject, since) \
                   SELECT j.value ->> 0, j.value ->> 1 FROM jsonb_each(?) j WHERE true \
                   ON CONFLICT (subject) DO UPDATE SET since = excluded.since";
        self.write("who is due at the gate", sqlx::query(sql).bind(json(due)?))
            .await?;
        Ok(())
    }

    async fn drop_gate_due(&mut self, asked: &[(i64, i64)]) -> Result<(), StoreError> {
        let sql = "DELETE FROM gate_due WHERE (subject, since) IN \
                   (SELECT value ->> 0, value ->> 1 FROM json_each(?))";
        self.write(
            "who is due at the gate",
            sqlx::query(sql).bind(json(asked)?),
        )
        .await?;
        Ok(())
    }

    async fn put_requests(&mut self, rows: &[&RequestRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO resubscribe_requests (id, subject, subscriber, unit, unit_name, status, \
                     unsubscribed_at, urgent, cause, evidence, opened_at, seen_at, note, closed_at, \
                     closing, closed_by) \
                   SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, \
                     j.value ->> 4, j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8, \
                     j.value ->> 9, j.value ->> 10, j.value ->> 11, j.value ->> 12, \
                     j.value ->> 13, j.value ->> 14, j.value ->> 15 \
                   FROM jsonb_each(?) j WHERE true \
                   ON CONFLICT (id) DO UPDATE SET status = excluded.status, \
                     unsubscribed_at = excluded.unsubscribed_at, urgent = excluded.urgent, \
                     seen_at = excluded.seen_at, note = excluded.note, \
                     closed_at = excluded.closed_at, closing = excluded.closing, \
                     closed_by = excluded.closed_by";
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.id,
                    row.subject,
                    &row.subscriber,
                    &row.unit,
                    &row.unit_name,
                    &row.status,
                    row.unsubscribed_at,
                    row.urgent,
                    &row.cause,
                    &row.evidence,
                    row.opened_at,
                    row.seen_at,
                    &row.note,
                    row.closed_at,
                    &row.closing,
                    &row.closed_by,
                )
            })
            .collect();
        self.write("re-subscribe requests", sqlx::query(sql).bind(json(&rows)?))
            .await
    }

    async fn put_gate_round(&mut self, round: &GateRound) -> Result<(), StoreError> {
        let sql = "UPDATE gate_round SET ended_at = ?, after = ?, sheet_at = ?";
        let query = sqlx::query(sql)
            .bind(round.ended_at)
            .bind(round.after)
            .bind(round.sheet_at);
        self.write("the round of the gate", query).await?;
        Ok(())
    }

    async fn put_suppressions(&mut self, rows: &[&SuppressionRow]) -> Result<u64, StoreError> {
        let sql = "INSERT INTO suppressions (digest, purpose, key, since, seen_at) \
                   SELECT substr(?2, 1 + 32 * j.key, 32), j.value ->> 0, j.value ->> 1, \
                     j.value ->> 2, j.value ->> 3 FROM jsonb_each(?1) j WHERE true \
                   ON CONFLICT (digest, purpose) DO UPDATE SET key = excluded.key, \
                     since = excluded.since, seen_at = excluded.seen_at";
        let digests = joined(rows.iter().map(|row| &row.digest));
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (&row.purpose, &row.key, row.since, row.seen_at))
            .collect();
        let query = sqlx::query(sql).bind(json(&rows)?).bind(digests);
        self.write("suppressions", query).await
    }

    async fn drop_suppressions(
        &mut self,
        digests: &[SuppressionDigest],
    ) -> Result<u64, StoreError> {
        let sql = "DELETE FROM suppressions WHERE digest IN \
                   (SELECT unhex(value) FROM json_each(?))";
        self.write("suppressions", sqlx::query(sql).bind(hex(digests)?))
            .await
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
        let sql = "INSERT INTO expired (class, through) VALUES (?, ?) \
                   ON CONFLICT (class) DO UPDATE SET through = excluded.through";
        let query = sqlx::query(sql).bind(class.to_owned()).bind(through);
        self.write("how far the ledger has expired", query).await?;
        Ok(())
    }

    async fn append(&mut self, sealed: Sealed) -> Result<(), StoreError> {
        let sql = "INSERT INTO ledger_blocks (first, last, digest, at, newest_subject, entries, \
                     marks) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let StoredBlock {
            block,
            entries,
            marks,
        } = sealed.stored;
        let query = sqlx::query(sql)
            .bind(block.first)
            .bind(block.last)
            .bind(block.digest.to_vec())
            .bind(block.at)
            .bind(block.newest_subject)
            .bind(entries)
            .bind(marks);
        self.write("the ledger", query).await?;
        if !sealed.known_subjects.is_empty() {
            let sql = "INSERT INTO ledger_subjects (subject, block) \
                       SELECT j.value, ? FROM json_each(?) j";
            let query = sqlx::query(sql)
                .bind(block.last)
                .bind(json(&sealed.known_subjects)?);
            self.write("the ledger", query).await?;
        }
        Ok(())
    }

    async fn advance_counters(&mut self, subject: i64, sequence: i64) -> Result<(), StoreError> {
        let sql = "UPDATE counters SET next_subject = ?, next_sequence = ?";
        self.write(
            "the counters",
            sqlx::query(sql).bind(subject).bind(sequence),
        )
        .await?;
        Ok(())
    }

    async fn put_planning(&mut self, change: PlanningChange) -> Result<u64, StoreError> {
        let sql = "UPDATE counters SET planning = ?";
        let begins = change == PlanningChange::Begins;
        self.write("the counters", sqlx::query(sql).bind(begins))
            .await?;
        let PlanningChange::Ends { now, grants_from } = change else {
            return Ok(0);
        };
        let sql = "UPDATE outbox SET state = ?, not_before = max(not_before, \
                     CASE lane WHEN ? THEN ? ELSE ? END) WHERE state = ?";
        let query = sqlx::query(sql)
            .bind(PENDING)
            .bind(LANE_WITHDRAWAL)
            .bind(now)
            .bind(grants_from)
            .bind(PLANNED);
        self.write("planned writes", query).await
    }
}
