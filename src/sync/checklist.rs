//! The check before mail is sent (R41, R42): everybody on a list is looked up where consent is kept,
//! now or as lately as the sender asks for, and judged by [`consent::send`](crate::consent::send).
//!
//! Every system whose word counts has to have been asked. One that is configured, was ever read, and
//! cannot be asked – switched off, paused, halted, down, or not read whole – leaves nobody but those
//! unmailable for certain with another answer than `unverified`. What the look-ups find is stored and
//! decided like a page of the feed, so the systems that lag get their updates through the outbox.
//!
//! This module never says `send` for want of knowledge: it begins with everybody unverified, and
//! what fails on the way leaves them so.

mod answers;
mod live;

pub use answers::{CHECKLIST_ORDER, Checklist, Counts, Line, Outcome, Report, Source};

use super::engine::{Member, Shared};
use super::identity::Pseudonyms;
use super::pack::{PackError, Packer, unpack_findings, unpack_verdicts};
use super::workbench::{FLIP_WINDOW, transact};
use crate::consent::send::Doubt;
use crate::consent::{
    Answer, PurposeId, Recipient, Rules, Status, SubjectKey, SystemId, judge, suppression,
};
use crate::store::{
    Changes, Known, PrivacyChanges, RecipientRow, Scope, StoreError, SubjectRef, SuppressionDigest,
};
use answers::names;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use live::Looked;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Recipients of one check.
pub const MOST_RECIPIENTS: usize = 100_000;
/// Checks that callers may have under way at once; each may hold a full list in memory.
const CHECKS_AT_ONCE: usize = 4;
/// Recipients that are normalised, or whose contacts are read from the store, at once.
const PAGE: usize = 10_000;
/// Recipients that are judged at once.
const JUDGED_PAGE: usize = 2_500;
/// So many pages are read from the store while others are judged. The store's further readers stay
/// free for others.
const PAGES_AT_ONCE: usize = 2;
/// Subjects that are decided anew in one transaction.
const DECIDED_AT_ONCE: usize = 2_000;

/// The systems at work, and what they share.
#[derive(Clone)]
pub struct Crew {
    /// What all systems share.
    pub shared: Arc<Shared>,
    /// The systems that are switched on.
    pub members: Vec<Arc<Member>>,
}

/// Knows which systems are at work now.
pub trait Roster: Send + Sync {
    /// The systems at work; none while there is no engine at all.
    fn crew(&self) -> Option<Crew>;
}

impl Roster for Crew {
    fn crew(&self) -> Option<Crew> {
        Some(self.clone())
    }
}

/// One recipient as the check knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Keyed hash of the address.
    pub subject: SubjectRef,
    /// The normalised address; none where it was not kept and no system knows it.
    pub address: Option<SubjectKey>,
}

impl Person {
    /// R1: the recipient of that text; none when it is no address.
    pub fn from_text(text: &str, pseudonyms: &Pseudonyms) -> Option<Self> {
        let key = SubjectKey::from_address(text).ok()?;
        Some(Self {
            subject: pseudonyms.of(&key),
            address: Some(key),
        })
    }
}

/// How fresh the answers have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// A system is asked unless everything up to so long ago was read from it. Nought asks always.
    Within(Duration),
    /// The moment has passed: nobody is asked any more, and nothing is fresh.
    Missed,
}

/// What is to be checked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Purpose name.
    pub purpose: String,
    /// The recipients by their place in the list; none for what is no address.
    pub people: Vec<Option<Person>>,
    /// How fresh the answers have to be.
    pub freshness: Freshness,
}

/// Why there is no checklist at all.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No such purpose is configured.
    #[error("there is no purpose of that name; there are: {}", .known.join(", "))]
    UnknownPurpose {
        /// Those that are.
        known: Vec<String>,
    },
    /// As many checks as can be made at once are under way.
    #[error("{CHECKS_AT_ONCE} checks are under way already; try again when one has ended")]
    Busy,
    /// No system is switched on.
    #[error("no system is switched on, so nobody can be verified")]
    NobodyAtWork,
    /// R42: the store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where checks are asked for.
pub struct Desk {
    roster: Arc<dyn Roster>,
    gate: Semaphore,
}

impl Desk {
    /// A desk over the systems that the roster names.
    pub fn new(roster: Arc<dyn Roster>) -> Self {
        Self {
            roster,
            gate: Semaphore::new(CHECKS_AT_ONCE),
        }
    }

    /// R1: a list as it was given. None for what is no address.
    ///
    /// # Errors
    /// When no system is switched on.
    pub async fn people(&self, texts: &[String]) -> Result<Vec<Option<Person>>, CheckError> {
        let crew = self.crew()?;
        let mut people = Vec::with_capacity(texts.len());
        for page in texts.chunks(PAGE) {
            people.extend(
                page.iter()
                    .map(|text| Person::from_text(text, &crew.shared.pseudonyms)),
            );
            // A long list must not keep others waiting.
            tokio::task::yield_now().await;
        }
        Ok(people)
    }

    /// Checks a list for somebody who waits for it.
    ///
    /// # Errors
    /// When there is no checklist at all; see [`CheckError`].
    pub async fn check(&self, ask: &Ask) -> Result<Checklist, CheckError> {
        let Ok(_place) = self.gate.try_acquire() else {
            return Err(CheckError::Busy);
        };
        self.check_now(ask).await
    }

    /// Checks a list whatever else is under way; the caller bounds how often.
    ///
    /// # Errors
    /// As [`Desk::check`], without [`CheckError::Busy`].
    pub async fn check_now(&self, ask: &Ask) -> Result<Checklist, CheckError> {
        let checklist = check(&self.crew()?, ask).await?;
        for (answer, count) in checklist.counts().by_answer() {
            metrics::counter!("consentd_recipients_checked_total", "answer" => answer.word())
                .increment(count);
        }
        Ok(checklist)
    }

    fn crew(&self) -> Result<Crew, CheckError> {
        self.roster.crew().ok_or(CheckError::NobodyAtWork)
    }
}

/// Checks a list.
///
/// # Errors
/// When the purpose is unknown or the store cannot be read. A system that cannot be asked is no
/// error; its recipients are unverified.
pub async fn check(crew: &Crew, ask: &Ask) -> Result<Checklist, CheckError> {
    let rules = &crew.shared.rules;
    let Some(purpose) = rules.purposes.find(&ask.purpose) else {
        let known = rules
            .purposes
            .iter()
            .map(|(_, purpose)| purpose.name.clone());
        return Err(CheckError::UnknownPurpose {
            known: known.collect(),
        });
    };
    let checked_at = crew.shared.clock.now();
    let list = List::of(&ask.people);
    let sources = live::sources(crew, purpose, ask.freshness).await?;
    let looked = live::look_up(crew, sources, &list.people).await?;
    let suppressed = suppressed(crew, purpose, &list.people).await?;
    let found = judged(crew, purpose, &looked, &suppressed).await?;
    let mut lines: Vec<Line> = Vec::with_capacity(list.places.len());
    for place in &list.places {
        let line = match *place {
            Place::Nobody => Line::bare(Answer::UnknownAddress),
            Place::Person(person) => found
                .get(person)
                .cloned()
                .unwrap_or_else(|| Line::bare(Answer::Unverified)),
            Place::Again(first) => Line::duplicate(first),
        };
        lines.push(line);
    }
    Ok(Checklist {
        purpose: ask.purpose.clone(),
        checked_at,
        missed: ask.freshness == Freshness::Missed,
        reports: looked.reports,
        lines,
    })
}

/// What stands at one place of a list.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// No address.
    Nobody,
    /// This person, for the first time.
    Person(usize),
    /// Somebody who stands at that place already.
    Again(usize),
}

/// A list with everybody once.
struct List {
    places: Vec<Place>,
    people: Vec<Person>,
}

impl List {
    fn of(given: &[Option<Person>]) -> Self {
        let mut first: HashMap<SubjectRef, usize> = HashMap::with_capacity(given.len());
        let mut people = Vec::new();
        let mut places = Vec::with_capacity(given.len());
        for (place, person) in given.iter().enumerate() {
            places.push(match person {
                None => Place::Nobody,
                Some(person) => match first.entry(person.subject) {
                    Entry::Occupied(first) => Place::Again(*first.get()),
                    Entry::Vacant(free) => {
                        free.insert(place);
                        people.push(person.clone());
                        Place::Person(people.len() - 1)
                    }
                },
            });
        }
        Self { places, people }
    }
}

/// The line of every subject that was looked at: those asked for first, then those that share an
/// address with one of them.
async fn judged(
    crew: &Crew,
    purpose: PurposeId,
    looked: &Looked,
    suppressed: &HashSet<SubjectRef>,
) -> Result<Vec<Line>, StoreError> {
    let names = names(&crew.shared.rules);
    let pages: Vec<_> = looked
        .subjects
        .chunks(JUDGED_PAGE)
        .zip((0..).step_by(JUDGED_PAGE))
        .map(|page| judge_page(crew, purpose, looked, page, &names, suppressed))
        .collect();
    let judged: Vec<Vec<Line>> = stream::iter(pages)
        .buffered(PAGES_AT_ONCE)
        .try_collect()
        .await?;
    let mut lines = judged.concat();
    // An address that a contact of somebody else has too is mailed only where that person may be.
    for (person, other) in &looked.shared {
        let stricter = lines.get(*other).cloned();
        if let (Some(own), Some(stricter)) = (lines.get_mut(*person), stricter)
            && stricter.outcome < own.outcome
        {
            *own = stricter;
        }
    }
    Ok(lines)
}

/// R55: those of these people under whose address somebody was erased, for that purpose. Suppressions
/// that stand under an older key are put under the first one.
async fn suppressed(
    crew: &Crew,
    purpose: PurposeId,
    people: &[Person],
) -> Result<HashSet<SubjectRef>, StoreError> {
    let shared = &crew.shared;
    let mut suppressed = HashSet::new();
    if shared.store.suppression_keys().await?.is_empty() {
        return Ok(suppressed);
    }
    let purposes = &shared.rules.purposes;
    let root = purposes.name(suppression::root_of(purposes, purpose));
    for page in people.chunks(PAGE) {
        let mut of: HashMap<SuppressionDigest, (SubjectRef, SuppressionDigest)> = HashMap::new();
        for person in page {
            let Some(address) = &person.address else {
                continue;
            };
            let digests: Vec<_> = shared.suppressor.digests(address).collect();
            if let Some(first) = digests.first() {
                of.extend(
                    digests
                        .iter()
                        .map(|digest| (*digest, (person.subject, *first))),
                );
            }
        }
        let digests: Vec<SuppressionDigest> = of.keys().copied().collect();
        let mut rekeyed = PrivacyChanges::default();
        for row in shared.store.suppressed(&digests).await? {
            let Some((subject, first)) = of.get(&row.digest) else {
                continue;
            };
            if row.purpose == root {
                suppressed.insert(*subject);
            }
            if row.digest != *first {
                rekeyed
                    .suppressed
                    .push(shared.suppressor.seen(&row, *first, None));
                rekeyed.unsuppressed.push(row.digest);
            }
        }
        if !rekeyed.suppressed.is_empty() {
            let decide = &mut |_: Known| Changes {
                privacy: rekeyed.clone(),
                ..Changes::default()
            };
            shared.store.transact(&Scope::default(), decide).await?;
        }
        tokio::task::yield_now().await;
    }
    Ok(suppressed)
}

/// The lines of a page of subjects, which begins at that place.
async fn judge_page(
    crew: &Crew,
    purpose: PurposeId,
    looked: &Looked,
    (page, first): (&[SubjectRef], usize),
    names: &[(SystemId, Arc<str>)],
    suppressed: &HashSet<SubjectRef>,
) -> Result<Vec<Line>, StoreError> {
    let rules = &crew.shared.rules;
    let judge = |recipient: &Recipient| Line::of(judge(purpose, recipient, rules), names);
    let live: Vec<i16> = crew.members.iter().map(|member| member.id.0).collect();
    // Going through everybody's contacts takes as long as all the rest. Only who would be unknown
    // without a contact needs it; one whose grant holds has a contact where it was said (R14).
    let mut recipients = recipients(crew, page, &[]).await?;
    let is_guarded = crew.shared.is_guarded(purpose);
    let mut lines = Vec::with_capacity(page.len());
    let mut unknown: Vec<usize> = Vec::new();
    for (place, recipient) in recipients.iter_mut().enumerate() {
        recipient.is_verified &= looked.is_verified(first + place);
        recipient.is_undeliverable &= is_guarded;
        recipient.is_contact = has_live_grant(recipient, &live);
        // Whoever is known again has it among what was said.
        recipient.is_suppressed = recipient.voices.is_empty()
            && page
                .get(place)
                .is_some_and(|subject| suppressed.contains(subject));
        let line = judge(recipient);
        if line.outcome == Outcome::Answered(Answer::UnknownAddress) {
            unknown.push(place);
        }
        lines.push(line);
    }
    let asked: Vec<SubjectRef> = unknown
        .iter()
        .filter_map(|place| page.get(*place).copied())
        .collect();
    if !asked.is_empty() {
        // All is read anew, so that what was said and who has a contact are of the same moment.
        let found = self::recipients(crew, &asked, &live).await?;
        for (place, mut recipient) in unknown.into_iter().zip(found) {
            recipient.is_verified &= looked.is_verified(first + place);
            recipient.is_undeliverable &= is_guarded;
            if let Some(line) = lines.get_mut(place) {
                *line = judge(&recipient);
            }
        }
    }
    Ok(lines)
}

/// Whether a grant by a contact of one of these systems holds. It ends with its contact, so that
/// contact is live.
fn has_live_grant(recipient: &Recipient, live: &[i16]) -> bool {
    recipient.voices.iter().any(|voice| {
        voice.status == Status::Granted && voice.system.is_some_and(|id| live.contains(&id.0))
    })
}

/// What is known of these subjects, in the same order, and whether they have a contact in one of the
/// systems `live`. Verdicts that were reached under other settings than the present ones are reached
/// anew first (R23).
async fn recipients(
    crew: &Crew,
    subjects: &[SubjectRef],
    live: &[i16],
) -> Result<Vec<Recipient>, StoreError> {
    let mut known = known(crew, subjects, live).await?;
    let outdated: Vec<SubjectRef> = known
        .iter()
        .zip(subjects)
        .filter(|((_, is_outdated), _)| *is_outdated)
        .map(|(_, subject)| *subject)
        .collect();
    if !outdated.is_empty() {
        decide_anew(crew, &outdated).await?;
        known = self::known(crew, subjects, live).await?;
    }
    Ok(known.into_iter().map(|(recipient, _)| recipient).collect())
}

/// The same as it is stored, and whether it was decided under other settings.
async fn known(
    crew: &Crew,
    subjects: &[SubjectRef],
    live: &[i16],
) -> Result<Vec<(Recipient, bool)>, StoreError> {
    let rules = &crew.shared.rules;
    let packer = Packer::new(rules);
    let rows = crew.shared.store.recipients(subjects, live).await?;
    rows.iter()
        .map(|row| {
            let Some(row) = row else {
                let stranger = Recipient {
                    is_verified: true,
                    ..Recipient::default()
                };
                return Ok((stranger, false));
            };
            recipient(row, rules, &packer).map_err(|error| unreadable(&error))
        })
        .collect()
}

fn unreadable(error: &PackError) -> StoreError {
    StoreError::Corrupt {
        what: "packed column",
        detail: error.to_string(),
    }
}

async fn decide_anew(crew: &Crew, subjects: &[SubjectRef]) -> Result<(), StoreError> {
    let shared = &crew.shared;
    let packer = Packer::new(&shared.rules);
    for page in subjects.chunks(DECIDED_AT_ONCE) {
        let frame = shared.frame(false);
        let scope = Scope {
            subjects: page.to_vec(),
            load_contacts_up_to: i64::from(shared.rules.policy.load_contacts),
            flips_since: Some(frame.now.minus(FLIP_WINDOW).micros()),
            ..Scope::default()
        };
        let act = |bench: &mut super::workbench::Workbench<'_>| {
            for subject in page {
                bench.decide_anew(*subject);
            }
            Ok(())
        };
        transact(&*shared.store, scope, frame, &packer, act, |_| {}).await?;
    }
    shared.wake_all_emitters();
    Ok(())
}

/// From a stored row to what the rules judge, and whether it was decided under other settings (R23).
/// Verified, unless a contact's latest state could not be understood (R40).
fn recipient(
    row: &RecipientRow,
    rules: &Rules,
    packer: &Packer<'_>,
) -> Result<(Recipient, bool), PackError> {
    let verdicts = unpack_verdicts(&row.verdicts)?;
    let is_outdated = verdicts
        .iter()
        .any(|verdict| verdict.policy != rules.policy.version);
    let mut doubts: Vec<(PurposeId, Doubt)> = unpack_findings(&row.findings)?
        .iter()
        .filter_map(|finding| finding.doubt(rules))
        .collect();
    for write in &row.held {
        let write = packer.unpack_changes(write)?;
        doubts.extend(
            write
                .changes
                .iter()
                .map(|change| (change.purpose, Doubt::Held)),
        );
    }
    let held = row.held_purposes.iter();
    let held = held.filter_map(|name| rules.purposes.find(name));
    doubts.extend(held.map(|purpose| (purpose, Doubt::Held)));
    let recipient = Recipient {
        voices: verdicts
            .iter()
            .filter_map(|verdict| verdict.voice(rules))
            .collect(),
        doubts,
        is_contact: row.is_contact,
        is_verified: !row.is_quarantined,
        is_undeliverable: row.is_undeliverable,
        ..Recipient::default()
    };
    Ok((recipient, is_outdated))
}
