//! What a check before mail is sent reads.

use super::session::{Session, column};
use super::{PgStore, read_all};
use crate::store::send::in_order;
use crate::store::{RecipientRow, StoreError, SubjectContact, SubjectRef};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// From keyed hashes to their subjects.
macro_rules! subjects_asked_for {
    () => {
        "UNNEST($1::BYTEA[]) WITH ORDINALITY AS k (ref, place) JOIN subjects s ON s.ref = k.ref"
    };
}

fn hashes<'a>(subjects: &'a [SubjectRef], order: &[usize]) -> Vec<&'a [u8]> {
    order
        .iter()
        .filter_map(|place| subjects.get(*place))
        .map(|subject| &subject.0[..])
        .collect()
}

/// The place, from 0, in the first column.
fn place(row: &PgRow) -> Result<usize, sqlx::Error> {
    Ok(row.try_get::<i64, _>(0)? as usize - 1)
}

impl PgStore {
    pub(super) async fn recipient_rows(
        &self,
        subjects: &[SubjectRef],
        live: &[i16],
    ) -> Result<Vec<Option<RecipientRow>>, StoreError> {
        macro_rules! recipients {
            ($is_contact:literal) => {
                concat!(
                    "SELECT k.place, s.verdicts, s.findings, ",
                    $is_contact,
                    " FROM ",
                    subjects_asked_for!()
                )
            };
        }
        // Nobody has a contact in no system, which need not be looked for.
        let sql = if live.is_empty() {
            recipients!("cardinality($2::SMALLINT[]) > 0")
        } else {
            recipients!(
                "EXISTS (SELECT 1 FROM contacts c \
                   WHERE c.subject = s.id AND c.life = 0 AND c.system = ANY($2::SMALLINT[]))"
            )
        };
        let order = in_order(subjects);
        let asked = hashes(subjects, &order);
        let mut session = self.view().await?;
        let query = sqlx::query(sql).bind(asked.clone()).bind(live);
        let read = |row: &PgRow| {
            let recipient = RecipientRow {
                verdicts: row.try_get(1)?,
                findings: row.try_get(2)?,
                is_contact: row.try_get(3)?,
                ..RecipientRow::default()
            };
            Ok((place(row)?, recipient))
        };
        let mut found = vec![None; subjects.len()];
        for (place, recipient) in session.read("recipients", query, read).await? {
            put(&mut found, &order, place, recipient);
        }
        add_doubts(&mut session, &asked, &order, &mut found).await?;
        Ok(found)
    }

    pub(super) async fn live_contacts(
        &self,
        subjects: &[SubjectRef],
        systems: &[i16],
    ) -> Result<Vec<SubjectContact>, StoreError> {
        let sql = concat!(
            "SELECT k.place, c.system, c.external, a.address FROM ",
            subjects_asked_for!(),
            " JOIN contacts c ON c.subject = s.id \
             LEFT JOIN subjects a ON a.id = coalesce(c.own_subject, c.subject) \
             WHERE c.life = 0 AND c.system = ANY($2::SMALLINT[])"
        );
        let order = in_order(subjects);
        let query = sqlx::query(sql)
            .bind(hashes(subjects, &order))
            .bind(systems);
        let read = |row: &PgRow| {
            Ok(SubjectContact {
                position: order.get(place(row)?).copied().unwrap_or_default(),
                system: row.try_get(1)?,
                external: row.try_get(2)?,
                address: row.try_get(3)?,
            })
        };
        let rows = query.fetch_all(&self.pool).await;
        let mut contacts = read_all("contacts of subjects", rows, read)?;
        contacts.sort_unstable();
        Ok(contacts)
    }

    pub(super) async fn homes_of(
        &self,
        contacts: &[(i16, &str)],
    ) -> Result<Vec<Option<SubjectRef>>, StoreError> {
        let sql = "SELECT s.ref FROM UNNEST($1::SMALLINT[], $2::TEXT[]) WITH ORDINALITY \
                     AS k (system, external, place) \
                   LEFT JOIN contacts c ON c.system = k.system AND c.external = k.external \
                   LEFT JOIN subjects s ON s.id = c.subject ORDER BY k.place";
        let rows = sqlx::query(sql)
            .bind(column(contacts, |contact| contact.0))
            .bind(column(contacts, |contact| contact.1))
            .fetch_all(&self.pool)
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
        let sql = concat!("SELECT k.place, s.address FROM ", subjects_asked_for!());
        let order = in_order(subjects);
        let rows = sqlx::query(sql)
            .bind(hashes(subjects, &order))
            .fetch_all(&self.pool)
            .await;
        let read = |row: &PgRow| Ok((place(row)?, row.try_get::<String, _>(1)?));
        let mut found = vec![None; subjects.len()];
        for (place, address) in read_all("addresses", rows, read)? {
            put(&mut found, &order, place, address);
        }
        Ok(found)
    }
}

/// Puts what was found for the subject at that place of the order where it was asked for.
fn put<T>(found: &mut [Option<T>], order: &[usize], place: usize, value: T) {
    if let Some(slot) = order
        .get(place)
        .and_then(|position| found.get_mut(*position))
    {
        *slot = Some(value);
    }
}

/// Writes that wait for a person, records that could not be understood, and open re-subscribe
/// requests. Mostly there are none at all, and then nobody's contacts are gone through.
async fn add_doubts(
    session: &mut Session<'_>,
    asked: &[&[u8]],
    order: &[usize],
    found: &mut [Option<RecipientRow>],
) -> Result<(), StoreError> {
    let any = "SELECT EXISTS (SELECT 1 FROM systems y JOIN outbox o \
                 ON o.system = y.id AND o.state = 3) OR EXISTS (SELECT 1 FROM quarantine) \
               OR EXISTS (SELECT 1 FROM resubscribe_requests WHERE closed_at IS NULL) \
               OR EXISTS (SELECT 1 FROM holds WHERE closed_at IS NULL)";
    let what = "doubts about recipients";
    let any = session
        .read(what, sqlx::query(any), |row| row.try_get::<bool, _>(0))
        .await?;
    if !any.contains(&true) {
        return Ok(());
    }
    // The sum keeps the planner from going through all held writes for every contact.
    let sql = concat!(
        "SELECT k.place, 0::BIGINT, o.changes FROM ",
        subjects_asked_for!(),
        " JOIN contacts c ON c.subject = s.id \
         JOIN outbox o ON o.system = c.system AND o.external = c.external AND o.state + 0 = 3 \
         UNION ALL \
         SELECT k.place, 1, NULL FROM ",
        subjects_asked_for!(),
        " JOIN contacts c ON c.subject = s.id \
         JOIN quarantine q ON q.system = c.system AND q.external = c.external \
         UNION ALL \
         SELECT k.place, 2, NULL FROM ",
        subjects_asked_for!(),
        " JOIN resubscribe_requests r ON r.subject = s.id AND r.closed_at IS NULL \
         UNION ALL \
         SELECT k.place, 3, w.purpose FROM ",
        subjects_asked_for!(),
        " JOIN held w ON w.subject = s.id AND NOT w.released \
         JOIN holds h ON h.id = w.hold AND NOT h.withdrawn \
         AND h.kind IN ('mass-change', 'flapping')"
    );
    let read = |row: &PgRow| Ok((place(row)?, row.try_get(1)?, row.try_get(2)?));
    let query = sqlx::query(sql).bind(asked.to_vec());
    let doubts: Vec<(usize, i64, Option<String>)> = session.read(what, query, read).await?;
    for (place, kind, held) in doubts {
        let position = order.get(place).copied();
        if let Some(Some(row)) = position.and_then(|position| found.get_mut(position)) {
            row.doubt(kind, held);
        }
    }
    Ok(())
}
