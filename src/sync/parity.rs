//! How far every contact of a subject shows its verdict, in every system, and how far two systems show
//! the same.
//!
//! Read from the store a page of subjects at a time, so memory does not grow with their number: all is
//! counted, and a bounded number of differences is listed. With what the systems show at present
//! ([`fresh`]) it is compared instead of what the store believes they show, and where these two differ
//! is drift.

pub mod daily;
pub mod fresh;
mod inconsistent;
pub mod lists;
mod pairs;

pub use inconsistent::{Class, Inconsistency};
pub use pairs::{PairDifference, PairTally, Side};

use self::fresh::{Fresh, Seen};
use super::pack::{PackError, PackedFinding, PackedVerdict, Packer};
use super::pack::{unpack_findings, unpack_verdicts};
use crate::consent::plan::{agrees, desired_value, understood};
use crate::consent::{
    At, Polarity, PurposeId, Record, Rules, Shown, Statement, Status, SystemId, SystemRules,
};
use crate::store::{
    CLAIMED, ContactRow, DEAD, HELD, Known, LANE_GRANT, LANE_WITHDRAWAL, LIVE, ONCE_READ,
    OutboxRow, PLANNED, SENT, Store, StoreError, SubjectRow, WriteKey,
};
use std::collections::BTreeMap;

/// Subjects read at once.
const PAGE: usize = 2_000;
/// Differences that are listed, of each kind; all are counted.
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

/// What a system shows otherwise than the store believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Configured system name.
    pub system: String,
    /// External id.
    pub contact: String,
    /// First digits of the subject's keyed hash.
    pub subject: String,
    /// Purpose name; none where the contact itself is at issue.
    pub purpose: Option<String>,
    /// What is the matter.
    pub what: &'static str,
    /// What it shows.
    pub found: Option<&'static str>,
    /// What the store believes.
    pub stored: Option<&'static str>,
    /// What it should show; none where nothing is decided.
    pub wanted: Option<&'static str>,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parity {
    /// By system and purpose name.
    pub tallies: BTreeMap<(String, String), Tally>,
    /// The first [`MAX_LISTED`] differences, by subject.
    pub differences: Vec<Difference>,
    /// By the names of two systems and a purpose.
    pub pairs: BTreeMap<(String, String, String), PairTally>,
    /// The first [`MAX_LISTED`] differences between two systems, by subject.
    pub pair_differences: Vec<PairDifference>,
    /// Live contacts without a usable address, by system name (R2).
    pub unmatched: BTreeMap<String, u64>,
    /// How many contacts are at odds with themselves, by how.
    pub inconsistent: BTreeMap<Class, u64>,
    /// The first [`MAX_LISTED`] of them, by subject.
    pub inconsistencies: Vec<Inconsistency>,
    /// How much the systems show otherwise than the store believes; only where they were asked.
    pub drifted: u64,
    /// The first [`MAX_LISTED`] of that.
    pub drift: Vec<Drift>,
    /// Values that differ because a write is under way: no drift.
    pub under_way: u64,
    /// Contacts that changed while the systems were asked, or after the instant of which a system tells,
    /// so that nothing can be said of them.
    pub moved: u64,
    /// The instant of which each system tells, by name; only where they were asked.
    pub as_of: BTreeMap<String, At>,
}

impl Parity {
    /// How many contacts and purposes differ.
    pub fn different(&self) -> u64 {
        self.tallies.values().map(|tally| tally.different).sum()
    }

    /// How many subjects and purposes differ between two systems, held ones included.
    pub fn pairs_different(&self) -> u64 {
        let tallies = self.pairs.values();
        tallies.map(|tally| tally.different + tally.held).sum()
    }

    /// How many contacts are at odds with themselves.
    pub fn inconsistent(&self) -> u64 {
        self.inconsistent.values().sum()
    }

    fn tally(&mut self, system: &str, purpose: &str) -> &mut Tally {
        self.tallies
            .entry((system.to_owned(), purpose.to_owned()))
            .or_default()
    }

    fn drifts(&mut self, drift: Drift) {
        self.drifted += 1;
        if self.drift.len() < MAX_LISTED {
            self.drift.push(drift);
        }
    }
}

/// Compares every live contact with its verdicts, and every two systems. `parked`: systems that are not
/// written to at present, with why; see [`super::switches::parked`].
///
/// # Errors
/// When the store fails or holds what cannot be read.
pub async fn compare(
    store: &dyn Store,
    rules: &Rules,
    parked: &BTreeMap<i16, &'static str>,
    now: At,
) -> Result<Parity, StoreError> {
    run(store, rules, parked, None, now).await
}

/// The same with what the systems show at present, and with the drift.
///
/// # Errors
/// As [`compare`].
pub async fn compare_fresh(
    store: &dyn Store,
    rules: &Rules,
    parked: &BTreeMap<i16, &'static str>,
    fresh: &Fresh,
    now: At,
) -> Result<Parity, StoreError> {
    let mut parity = run(store, rules, parked, Some(fresh), now).await?;
    parity.as_of = fresh.as_of();
    fresh.find_unknown(store, rules, &mut parity).await?;
    Ok(parity)
}

async fn run(
    store: &dyn Store,
    rules: &Rules,
    parked: &BTreeMap<i16, &'static str>,
    fresh: Option<&Fresh>,
    now: At,
) -> Result<Parity, StoreError> {
    let packer = Packer::new(rules);
    let mut parity = Parity::default();
    let figures = match fresh {
        Some(fresh) => fresh.unmatched(now).await?,
        None => unmatched(store, rules, now).await?,
    };
    parity.unmatched = figures;
    let mut after = 0;
    loop {
        let page = store.subjects_after(after, PAGE).await?;
        let Some(last) = page.subjects.last() else {
            return Ok(parity);
        };
        after = last.id;
        let seen = match fresh {
            Some(fresh) => Some(fresh.look(rules, &page.contacts).await?),
            None => None,
        };
        let ground = Ground {
            rules,
            packer: &packer,
            parked,
            outbox: page.outbox.iter().map(|row| (&row.key, row)).collect(),
        };
        let added = add(&mut parity, &page, &ground, fresh.zip(seen.as_ref()));
        added.map_err(|error| unreadable(&error))?;
    }
}

/// Live contacts without a usable address, by system name.
async fn unmatched(
    store: &dyn Store,
    rules: &Rules,
    now: At,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let figures = store.figures(now).await?.systems.into_iter();
    let named = figures.map(|figures| {
        let name = rules.system_name(SystemId(figures.system)).to_owned();
        (name, figures.unmatched.unsigned_abs())
    });
    Ok(named.collect())
}

fn unreadable(error: &PackError) -> StoreError {
    StoreError::Corrupt {
        what: "packed column",
        detail: error.to_string(),
    }
}

/// What all subjects of a page share.
struct Ground<'a> {
    rules: &'a Rules,
    packer: &'a Packer<'a>,
    parked: &'a BTreeMap<i16, &'static str>,
    outbox: BTreeMap<&'a WriteKey, &'a OutboxRow>,
}

/// A live contact of a subject.
struct Seat<'a> {
    system: &'a SystemRules,
    row: &'a ContactRow,
    /// As the store believes.
    record: Record,
    /// As the system shows it at present, where it was asked.
    fresh: Option<Record>,
}

impl Seat<'_> {
    /// What it shows, as well as is known.
    fn shown(&self, purpose: PurposeId) -> Option<&Shown> {
        self.fresh.as_ref().unwrap_or(&self.record).shown(purpose)
    }

    /// The statement behind what it shows: what the store knows of it, unless the store does not know
    /// the value.
    fn statement(&self, purpose: PurposeId, polarity: Polarity) -> Option<&Statement> {
        let shown = self.shown(purpose)?;
        let status = polarity.meaning(shown);
        let record = match &self.fresh {
            Some(fresh) if self.record.shown(purpose) != Some(shown) => fresh,
            _ => &self.record,
        };
        let mut said = record.get(purpose)?.said();
        said.find(|statement| statement.status == status)
    }
}

/// A subject with its contacts and what was decided.
struct Person<'a> {
    row: &'a SubjectRow,
    verdicts: Vec<PackedVerdict<'a>>,
    findings: Vec<PackedFinding<'a>>,
    seats: Vec<Seat<'a>>,
}

impl Person<'_> {
    fn verdict(&self, name: &str) -> Option<&PackedVerdict<'_>> {
        self.verdicts.iter().find(|verdict| verdict.purpose == name)
    }
}

fn add(
    parity: &mut Parity,
    page: &Known,
    ground: &Ground<'_>,
    fresh: Option<(&Fresh, &Seen)>,
) -> Result<(), PackError> {
    let mut people: BTreeMap<i64, Person<'_>> = BTreeMap::new();
    for row in &page.subjects {
        let person = Person {
            row,
            verdicts: unpack_verdicts(&row.verdicts)?,
            findings: unpack_findings(&row.findings)?,
            seats: Vec::new(),
        };
        people.insert(row.id, person);
    }
    for row in &page.contacts {
        let (Some(system), Some(person)) = (
            ground.rules.system(SystemId(row.system)),
            row.subject.and_then(|id| people.get_mut(&id)),
        ) else {
            continue;
        };
        let record = ground.packer.unpack_record(system, &row.record)?;
        let mut seat = Seat {
            system,
            row,
            record,
            fresh: None,
        };
        let is_there = match fresh {
            Some((fresh, seen)) => fresh.judge(parity, ground, person, &mut seat, seen)?,
            None => row.life == LIVE,
        };
        if is_there {
            person.seats.push(seat);
        }
    }
    for person in people.values() {
        for seat in &person.seats {
            contact(parity, ground, person, seat);
        }
        pairs::add(parity, ground, person)?;
        inconsistent::add(parity, ground, person)?;
    }
    Ok(())
}

/// Holds one contact against its verdicts.
fn contact(parity: &mut Parity, ground: &Ground<'_>, person: &Person<'_>, seat: &Seat<'_>) {
    let system = seat.system;
    for &(purpose, polarity) in &system.carries {
        let name = ground.rules.purposes.name(purpose);
        let (Some(verdict), Some(shown)) = (person.verdict(name), seat.shown(purpose)) else {
            parity.tally(&system.name, name).silent += 1;
            continue;
        };
        let wanted = ground.wanted(verdict, polarity, system.id);
        if agrees(shown, &wanted) {
            parity.tally(&system.name, name).equal += 1;
            continue;
        }
        parity.tally(&system.name, name).different += 1;
        if parity.differences.len() < MAX_LISTED {
            parity.differences.push(Difference {
                system: system.name.clone(),
                contact: seat.row.external.clone(),
                purpose: name.to_owned(),
                shown: word(shown),
                wanted: word(&wanted),
                reason: ground.reason(person, seat, purpose, verdict),
            });
        }
    }
}

impl Ground<'_> {
    /// What a field shows when it agrees with the verdict.
    fn wanted(&self, verdict: &PackedVerdict<'_>, polarity: Polarity, system: SystemId) -> Shown {
        let basis = verdict.basis();
        let mapped = understood(basis.as_ref(), verdict.basis_in(self.rules), system);
        desired_value(polarity, verdict.status(), mapped)
    }

    /// The write of a contact in either lane, the withdrawal first.
    fn write(&self, row: &ContactRow) -> Option<&OutboxRow> {
        self.writes(row).next()
    }

    fn writes(&self, row: &ContactRow) -> impl Iterator<Item = &OutboxRow> {
        [LANE_WITHDRAWAL, LANE_GRANT]
            .into_iter()
            .filter_map(|lane| {
                let key = WriteKey {
                    system: row.system,
                    external: row.external.clone(),
                    lane,
                };
                self.outbox.get(&key).copied()
            })
    }

    /// Whether a write of that contact in a state that fits sets this purpose.
    fn sets(
        &self,
        row: &ContactRow,
        purpose: PurposeId,
        fits: impl Fn(&OutboxRow) -> bool,
    ) -> Result<bool, PackError> {
        for write in self.writes(row).filter(|write| fits(write)) {
            if self.is_about(write, purpose)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a write sets this purpose, as it is decided or as it may have been sent.
    fn is_about(&self, write: &OutboxRow, purpose: PurposeId) -> Result<bool, PackError> {
        for packed in [&write.changes, &write.in_flight] {
            if packed.is_empty() {
                continue;
            }
            let changes = self.packer.unpack_changes(packed)?.changes;
            if changes.iter().any(|change| change.purpose == purpose) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Why a contact does not show the verdict: the write under way, or why there is none.
    fn reason(
        &self,
        person: &Person<'_>,
        seat: &Seat<'_>,
        purpose: PurposeId,
        verdict: &PackedVerdict<'_>,
    ) -> String {
        let basis = verdict.basis();
        let mapped = understood(basis.as_ref(), verdict.basis_in(self.rules), seat.system.id);
        let unmapped = mapped.is_none() && basis.is_some();
        let cause = if !seat.system.writable {
            Some("its legal-basis sync is off")
        } else if unmapped && verdict.status() == Status::Granted {
            Some("the legal basis of the grant is not mapped (R21)")
        } else {
            self.parked.get(&seat.row.system).copied()
        };
        if let Some(cause) = cause {
            return cause.to_owned();
        }
        if let Some(write) = self.write(seat.row) {
            return state(write);
        }
        if self.is_protected(person, seat, purpose) {
            "protected: a younger duplicate withdrew later (R6)".to_owned()
        } else if seat.fresh.is_some() && self.is_news(seat, purpose, verdict) {
            "the store has not read this yet".to_owned()
        } else {
            "no write is planned".to_owned()
        }
    }

    /// Whether the store believes that the contact shows the verdict.
    fn is_news(&self, seat: &Seat<'_>, purpose: PurposeId, verdict: &PackedVerdict<'_>) -> bool {
        let stored = seat.record.shown(purpose);
        let polarity = seat.system.polarity(purpose);
        stored.zip(polarity).is_some_and(|(stored, polarity)| {
            agrees(stored, &self.wanted(verdict, polarity, seat.system.id))
        })
    }

    fn is_protected(&self, person: &Person<'_>, seat: &Seat<'_>, purpose: PurposeId) -> bool {
        let purposes = &self.rules.purposes;
        person.findings.iter().any(|finding| {
            let named = finding.purpose.as_deref();
            finding.kind == "conflict"
                && finding.contact.as_deref() == Some(seat.row.external.as_str())
                && named
                    .and_then(|name| purposes.find(name))
                    .is_some_and(|named| {
                        named == purpose || purposes.ancestors(purpose).any(|up| up == named)
                    })
        })
    }
}

/// Where a write stands, in words.
pub fn state(write: &OutboxRow) -> String {
    match write.state {
        DEAD => format!(
            "given up: {}",
            write.last_error.as_deref().unwrap_or("no reason kept")
        ),
        HELD => "held for a person".to_owned(),
        PLANNED => "planned; waits for `consentd apply`".to_owned(),
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
    }
}

/// A value in a word.
pub const fn word(shown: &Shown) -> &'static str {
    match shown {
        Shown::Default => "not set",
        Shown::Set => "set",
        Shown::Record { status, .. } => status.word(),
    }
}
