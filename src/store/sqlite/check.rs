//! What a check before mail is sent reads.

use super::session::{Session, unpack};
use super::{SqliteStore, read_all};
use crate::store::common::corrupt;
use crate::store::send::in_order;
use crate::store::session::json;
use crate::store::{RecipientRow, StoreError, SubjectContact, SubjectRef};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// From keyed hashes, as an array of hexadecimal texts, to their subjects.
macro_rules! subjects_asked_for {
    () => {
        "json_each(?1) j CROSS JOIN subjects s INDEXED BY subjects_ref ON s.ref = unhex(j.value)"
    };
}

/// Place, bytes of verdicts, bytes of findings, whether it is a contact.
type PackedRecipient = (usize, usize, usize, u8);

/// Place, system, external id, address.
type PackedContact = (usize, i16, String, Option<String>);

fn hashes(subjects: &[SubjectRef], order: &[usize]) -> Result<String, StoreError> {
    let hashes: Vec<String> = order
        .iter()
        .filter_map(|place| subjects.get(*place))
        .map(SubjectRef::to_string)
        .collect();
    json(&hashes)
}

impl SqliteStore {
    pub(super) async fn recipient_rows(
        &self,
        subjects: &[SubjectRef],
        live: &[i16],
    ) -> Result<Vec<Option<RecipientRow>>, StoreError> {
        // The long texts come as one value, one after the other; in JSON every quote in them would
        // be escaped here and unescaped there.
        macro_rules! recipients {
            ($is_contact:literal) => {
                concat!(
                    "SELECT json_group_array(json_array(j.key, octet_length(s.verdicts), \
                       octet_length(s.findings), ",
                    $is_contact,
                    ")), CAST(group_concat(s.verdicts || s.findings, '') AS BLOB) FROM ",
                    subjects_asked_for!()
                )
            };
        }
        // Nobody has a contact in no system, which need not be looked for.
        let sql = if live.is_empty() {
            recipients!("?2 <> '[]'")
        } else {
            recipients!(
                "EXISTS (SELECT 1 FROM contacts c INDEXED BY contacts_subject \
                   WHERE c.subject = s.id AND c.life = 0 \
                   AND c.system IN (SELECT value FROM json_each(?2)))"
            )
        };
        let what = "recipients";
        let order = in_order(subjects);
        let asked = hashes(subjects, &order)?;
        let mut session = self.view().await?;
        let query = sqlx::query(sql).bind(asked.clone()).bind(json(live)?);
        let read = |row: &SqliteRow| {
            let texts: Option<Vec<u8>> = row.try_get(1)?;
            Ok((row.try_get::<String, _>(0)?, texts.unwrap_or_default()))
        };
        let mut found = vec![None; subjects.len()];
        for (rows, texts) in session.read(what, query, read).await? {
            let mut rest = texts.as_slice();
            let mut cut = |length: usize| {
                let (text, after) = rest.split_at_checked(length)?;
                rest = after;
                std::str::from_utf8(text).ok().map(str::to_owned)
            };
            for (place, verdicts, findings, is_contact) in unpack::<PackedRecipient>(what, &rows)? {
                let (Some(verdicts), Some(findings)) = (cut(verdicts), cut(findings)) else {
                    return Err(corrupt(what, "texts of another length than counted"));
                };
                put(&mut found, &order, place, || RecipientRow {
                    verdicts,
                    findings,
                    is_contact: is_contact != 0,
                    ..RecipientRow::default()
                });
            }
        }
        add_doubts(&mut session, asked, &order, &mut found).await?;
        Ok(found)
    }

    pub(super) async fn live_contacts(
        &self,
        subjects: &[SubjectRef],
        systems: &[i16],
    ) -> Result<Vec<SubjectContact>, StoreError> {
        let sql = concat!(
            "SELECT json_group_array(json_array(j.key, c.system, c.external, a.address)) FROM ",
            subjects_asked_for!(),
            " CROSS JOIN contacts c INDEXED BY contacts_subject ON c.subject = s.id \
             LEFT JOIN subjects a ON a.id = coalesce(c.own_subject, c.subject) \
             WHERE c.life = 0 AND c.system IN (SELECT value FROM json_each(?2))"
        );
        let what = "contacts of subjects";
        let order = in_order(subjects);
        let query = sqlx::query(sql)
            .bind(hashes(subjects, &order)?)
            .bind(json(systems)?);
        let mut session = self.view().await?;
        let packed: Vec<String> = session.read(what, query, |row| row.try_get(0)).await?;
        let mut contacts = Vec::new();
        for packed in packed {
            for (place, system, external, address) in unpack::<PackedContact>(what, &packed)? {
                if let Some(position) = order.get(place) {
                    contacts.push(SubjectContact {
                        position: *position,
                        system,
                        external,
                        address,
                    });
                }
            }
        }
        contacts.sort_unstable();
        Ok(contacts)
    }

    pub(super) async fn homes_of(
        &self,
        contacts: &[(i16, &str)],
    ) -> Result<Vec<Option<SubjectRef>>, StoreError> {
        let sql = "SELECT s.ref FROM json_each(?) j \
                   LEFT JOIN contacts c ON c.system = j.value ->> 0 AND c.external = j.value ->> 1 \
                   LEFT JOIN subjects s ON s.id = c.subject ORDER BY j.key";
        let rows = sqlx::query(sql)
            .bind(json(contacts)?)
            .fetch_all(&self.readers)
            .await;
        read_all("subjects of contacts", rows, |row| {
            let hash: Option<Vec<u8>> = row.try_get(0)?;
            Ok(hash.and_then(|hash| hash.try_into().ok()).map(SubjectRef))
        })
    }

    pub(super) async fn addresses_by_ref(
        &self,
        subjects: &[SubjectRef],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let sql = concat!("SELECT j.key, s.address FROM ", subjects_asked_for!());
        let order = in_order(subjects);
        let rows = sqlx::query(sql)
            .bind(hashes(subjects, &order)?)
            .fetch_all(&self.readers)
            .await;
        let read = |row: &SqliteRow| Ok((row.try_get::<i64, _>(0)?, row.try_get(1)?));
        let mut found: Vec<Option<String>> = vec![None; subjects.len()];
        for (place, address) in read_all("addresses", rows, read)? {
            put(&mut found, &order, place as usize, || address);
        }
        Ok(found)
    }
}

/// Puts what was found for the subject at that place of the order where it was asked for.
fn put<T>(found: &mut [Option<T>], order: &[usize], place: usize, value: impl FnOnce() -> T) {
    if let Some(slot) = order
        .get(place)
        .and_then(|position| found.get_mut(*position))
    {
        *slot = Some(value());
    }
}

/// Writes and grants that wait for a person, records that could not be understood, and open re-subscribe
/// requests. Mostly there are none at all, and then nobody's contacts are gone through.
async fn add_doubts(
    session: &mut Session<'_>,
    asked: String,
    order: &[usize],
    found: &mut [Option<RecipientRow>],
) -> Result<(), StoreError> {
    let any = "SELECT EXISTS (SELECT 1 FROM systems y CROSS JOIN outbox o \
                 INDEXED BY outbox_queue ON o.system = y.id AND o.state = 3) \
               OR EXISTS (SELECT 1 FROM quarantine) \
               OR EXISTS (SELECT 1 FROM resubscribe_requests WHERE closed_at IS NULL) \
               OR EXISTS (SELECT 1 FROM holds WHERE closed_at IS NULL)";
    let what = "doubts about recipients";
    let any = session
        .read(what, sqlx::query(any), |row| row.try_get::<bool, _>(0))
        .await?;
    if !any.contains(&true) {
        return Ok(());
    }
    // The sign keeps the planner from going through all held writes for every contact.
    let sql = concat!(
        "SELECT j.key, 0, o.changes FROM ",
        subjects_asked_for!(),
        " CROSS JOIN contacts c INDEXED BY contacts_subject ON c.subject = s.id \
         CROSS JOIN outbox o ON o.system = c.system AND o.external = c.external AND +o.state = 3 \
         UNION ALL \
         SELECT j.key, 1, NULL FROM ",
        subjects_asked_for!(),
        " CROSS JOIN contacts c INDEXED BY contacts_subject ON c.subject = s.id \
         CROSS JOIN quarantine q INDEXED BY quarantine_key \
         ON q.system = c.system AND q.external = c.external \
         UNION ALL \
         SELECT j.key, 2, NULL FROM ",
        subjects_asked_for!(),
        " CROSS JOIN resubscribe_requests r INDEXED BY resubscribe_open \
         ON r.subject = s.id AND r.closed_at IS NULL \
         UNION ALL \
         SELECT j.key, 3, w.purpose FROM ",
        subjects_asked_for!(),
        " CROSS JOIN held w ON w.subject = s.id AND NOT w.released \
         CROSS JOIN holds h ON h.id = w.hold AND NOT h.withdrawn \
         AND h.kind IN ('mass-change', 'flapping')"
    );
    let read = |row: &SqliteRow| {
        let place: i64 = row.try_get(0)?;
        Ok((place as usize, row.try_get(1)?, row.try_get(2)?))
    };
    let doubts: Vec<(usize, i64, Option<String>)> = session
        .read(what, sqlx::query(sql).bind(asked), read)
        .await?;
    for (place, kind, held) in doubts {
        let position = order.get(place).copied();
        if let Some(Some(row)) = position.and_then(|position| found.get_mut(position)) {
            row.doubt(kind, held);
        }
    }
    Ok(())
}
