//! How far every contact of a subject shows its verdict, in every system.
//!
//! Read from the store a page of subjects at a time, so memory does not grow with their number.

use super::pack::{PackError, Packer, unpack_findings, unpack_verdicts};
use crate::consent::plan::{agrees, desired_value, understood};
use crate::consent::{PurposeId, Rules, Shown, Status, SystemId};
use crate::store::{
    CLAIMED, ContactRow, DEAD, HELD, Known, LANE_GRANT, LANE_WITHDRAWAL, LIVE, ONCE_READ,
    OutboxRow, SENT, Store, StoreError, SubjectRow, WriteKey,
};
use std::collections::BTreeMap;

/// Subjects read at once.
const PAGE: usize = 2_000;
/// Differences that are listed; all are counted.
pub const MAX_LISTED: usize = 10_000;

/// Counts of one system and purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Live contacts that show the verdict.
    pub equal: u64,
    /// Live contacts that do not.
    pub different: u64,
    /// Live contacts of subjects that never said anything.
    pub silent: u64,
}

/// One contact that does not show its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Configured system name.
    pub system: String,
    /// External id.
    pub contact: String,
    /// Purpose name.
    pub purpose: String,
    /// What it shows.
    pub shown: &'static str,
    /// What it should show.
    pub wanted: &'static str,
    /// The write under way, or why there is none.
    pub reason: String,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parity {
    /// By system and purpose name.
    pub tallies: BTreeMap<(String, String), Tally>,
    /// The first [`MAX_LISTED`] differences, by subject.
    pub differences: Vec<Difference>,
}

impl Parity {
    /// How many contacts and purposes differ.
    pub fn different(&self) -> u64 {
        self.tallies.values().map(|tally| tally.different).sum()
    }

    fn tally(&mut self, system: &str, purpose: &str) -> &mut Tally {
        self.tallies
            .entry((system.to_owned(), purpose.to_owned()))
            .or_default()
    }
}

/// Compares every live contact with its verdicts. `parked`: systems that are not written to at
/// present, with why; see [`super::switches::parked`].
///
/// # Errors
/// When the store fails or holds what cannot be read.
pub async fn compare(
    store: &dyn Store,
    rules: &Rules,
    parked: &BTreeMap<i16, &'static str>,
) -> Result<Parity, StoreError> {
    let packer = Packer::new(rules);
    let mut parity = Parity::default();
    let mut after = 0;
    loop {
        let page = store.subjects_after(after, PAGE).await?;
        let Some(last) = page.subjects.last() else {
            return Ok(parity);
        };
        after = last.id;
        add(&mut parity, &page, rules, &packer, parked).map_err(|error| StoreError::Corrupt {
            what: "packed column",
            detail: error.to_string(),
        })?;
    }
}

fn add(
    parity: &mut Parity,
    page: &Known,
    rules: &Rules,
    packer: &Packer<'_>,
    parked: &BTreeMap<i16, &'static str>,
) -> Result<(), PackError> {
    let subjects: BTreeMap<i64, &SubjectRow> =
        page.subjects.iter().map(|row| (row.id, row)).collect();
    let outbox: BTreeMap<&WriteKey, &OutboxRow> =
        page.outbox.iter().map(|row| (&row.key, row)).collect();
    for row in page.contacts.iter().filter(|row| row.life == LIVE) {
        let (Some(system), Some(subject)) = (
            rules.system(SystemId(row.system)),
            row.subject.and_then(|id| subjects.get(&id)),
        ) else {
            continue;
        };
        let record = packer.unpack_record(system, &row.record)?;
        let verdicts = unpack_verdicts(&subject.verdicts)?;
        for &(purpose, polarity) in &system.carries {
            let name = rules.purposes.name(purpose);
            let verdict = verdicts.iter().find(|verdict| verdict.purpose == name);
            let (Some(verdict), Some(shown)) = (verdict, record.shown(purpose)) else {
                parity.tally(&system.name, name).silent += 1;
                continue;
            };
            let basis = verdict.basis();
            let mapped = understood(basis.as_ref(), verdict.basis_in(rules), system.id);
            let wanted = desired_value(polarity, verdict.status(), mapped);
            if agrees(shown, &wanted) {
                parity.tally(&system.name, name).equal += 1;
                continue;
            }
            parity.tally(&system.name, name).different += 1;
            if parity.differences.len() < MAX_LISTED {
                let unmapped = mapped.is_none() && basis.is_some();
                let cause = if !system.writable {
                    Some("its legal-basis sync is off")
                } else if unmapped && verdict.status() == Status::Granted {
                    Some("the legal basis of the grant is not mapped (R21)")
                } else {
                    parked.get(&row.system).copied()
                };
                parity.differences.push(Difference {
                    system: system.name.clone(),
                    contact: row.external.clone(),
                    purpose: name.to_owned(),
                    shown: word(shown),
                    wanted: word(&wanted),
                    reason: match cause {
                        Some(cause) => cause.to_owned(),
                        None => reason(row, subject, purpose, rules, &outbox)?,
                    },
                });
            }
        }
    }
    Ok(())
}

/// The write under way, or why there is none.
fn reason(
    row: &ContactRow,
    subject: &SubjectRow,
    purpose: PurposeId,
    rules: &Rules,
    outbox: &BTreeMap<&WriteKey, &OutboxRow>,
) -> Result<String, PackError> {
    let write = [LANE_WITHDRAWAL, LANE_GRANT].into_iter().find_map(|lane| {
        let key = WriteKey {
            system: row.system,
            external: row.external.clone(),
            lane,
        };
        outbox.get(&key).copied()
    });
    if let Some(write) = write {
        return Ok(match write.state {
            DEAD => format!(
                "given up: {}",
                write.last_error.as_deref().unwrap_or("no reason kept")
            ),
            HELD => "held for a person".to_owned(),
            CLAIMED => "being written".to_owned(),
            SENT => format!(
                "handed over in batch {}, waiting for the acknowledgement",
                write.last_error.as_deref().unwrap_or("(unnamed)")
            ),
            _ if write.not_before == ONCE_READ => format!(
                "waiting until the contact has been read again: {}",
                write.last_error.as_deref().unwrap_or("no reason kept")
            ),
            _ => match &write.last_error {
                Some(error) => format!("waiting after attempt {}: {error}", write.attempts),
                None => "waiting to be written".to_owned(),
            },
        });
    }
    let mine = |finding: &super::pack::PackedFinding<'_>| {
        let named = finding
            .purpose
            .as_deref()
            .and_then(|name| rules.purposes.find(name));
        finding.kind == "conflict"
            && finding.contact.as_deref() == Some(row.external.as_str())
            && named.is_some_and(|named| {
                named == purpose
                    || rules
                        .purposes
                        .ancestors(purpose)
                        .any(|parent| parent == named)
            })
    };
    Ok(if unpack_findings(&subject.findings)?.iter().any(mine) {
        "protected: a younger duplicate withdrew later (R6)".to_owned()
    } else {
        "no write is planned".to_owned()
    })
}

/// A value in a word.
pub const fn word(shown: &Shown) -> &'static str {
    match shown {
        Shown::Default => "not set",
        Shown::Set => "set",
        Shown::Record { status, .. } => status.word(),
    }
}
