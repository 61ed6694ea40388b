//! Asking the systems: which have to be asked, in which batches, and whose answers came.
//!
//! Everybody is looked up by address and, in the systems that know them, by the ids of their
//! contacts, so that one who was deleted or has another address by now is noticed. What is found may
//! lead to further contacts – by a shared person id (R58), or by a second address of a contact –
//! and those are looked up in a further round.

use super::{Crew, Freshness, PAGE, Person, Report, Source};
use crate::connector::{Fault, FaultClass, Found, Target, Wanted, retry};
use crate::consent::{At, PurposeId, SubjectKey, SystemRules};
use crate::store::{FeedRow, StoreError, SubjectContact, SubjectRef};
use crate::sync::engine::{Member, SyncError};
use crate::sync::refresh::refresh;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Look-ups of one system that are under way at once; its own limits hold besides.
const LOOK_UPS_AT_ONCE: usize = 4;
/// Time for one look-up, with what it leads to in the store.
const LOOK_UP_LIMIT: Duration = Duration::from_mins(1);
/// Time for all of them. Whoever has not been looked up by then is unverified.
pub(super) const CHECK_LIMIT: Duration = Duration::from_mins(5);
/// Passing trouble is met by so many attempts.
const ATTEMPTS: u32 = 2;
/// Contacts that a round finds are looked up in the next one; there are at most so many rounds.
const ROUNDS: usize = 3;
/// A look-up that a single address spoils is split in two, and in two again; so often in one check.
const MOST_SPLITS: usize = 64;

/// How much is known of one system before anybody is asked.
pub(super) struct Standing {
    report: Report,
    /// The system to ask, if it has to be and can be.
    member: Option<Arc<Member>>,
}

/// Every system whose word counts for the purpose, and whether it has to be asked.
pub(super) async fn sources(
    crew: &Crew,
    purpose: PurposeId,
    freshness: Freshness,
) -> Result<Vec<Standing>, StoreError> {
    let rules = &crew.shared.rules;
    let mut sources = Vec::new();
    for system in &rules.systems {
        let carries = std::iter::once(purpose)
            .chain(rules.purposes.ancestors(purpose))
            .any(|purpose| system.polarity(purpose).is_some());
        if !carries {
            continue;
        }
        let feed = crew.shared.store.feed(system.id.0).await?;
        let member = crew.members.iter().find(|member| member.id == system.id);
        // One that was never read has said nothing.
        if member.is_none() && feed.polled_at.is_none() {
            continue;
        }
        sources.push(stand(crew, system, member, &feed, freshness));
    }
    Ok(sources)
}

/// R42: whether what is stored is fresh enough, and if not, whether the system can be asked.
fn stand(
    crew: &Crew,
    system: &SystemRules,
    member: Option<&Arc<Member>>,
    feed: &FeedRow,
    freshness: Freshness,
) -> Standing {
    let now = crew.shared.clock.now();
    let mut report = Report {
        system: system.name.clone(),
        source: Source::Unavailable,
        as_of: feed.drained.map(At::from_micros),
        reason: None,
        look_ups: 0,
        batch: 0,
    };
    let stop = match (member, freshness) {
        (None, _) => Some("switched off"),
        (Some(_), Freshness::Missed) => Some("the moment of sending had passed"),
        (Some(_), Freshness::Within(_)) if feed.paused => Some("paused by an operator"),
        (Some(_), Freshness::Within(_)) if feed.halted.is_some() => Some("halted by a guard"),
        (Some(_), Freshness::Within(_)) if !feed.loaded => Some("not read to the end yet"),
        (Some(_), Freshness::Within(_)) => None,
    };
    let (None, Freshness::Within(bound), Some(member)) = (stop, freshness, member) else {
        report.reason = stop.map(str::to_owned);
        return Standing {
            report,
            member: None,
        };
    };
    if is_fresh(feed, bound, now) {
        report.source = Source::Stored;
        return Standing {
            report,
            member: None,
        };
    }
    report.as_of = None;
    if member.breaker.open_until(now).is_some() {
        report.reason = Some("its calls pause after repeated faults".to_owned());
        return Standing {
            report,
            member: None,
        };
    }
    report.source = Source::Asked;
    report.batch = u32::try_from(member.connector.batching().look_up).unwrap_or(u32::MAX);
    Standing {
        report,
        member: Some(Arc::clone(member)),
    }
}

/// Whether everything up to that long ago was read: by the system's clock, and by ours, so that a
/// clock that is ahead makes nothing fresh.
fn is_fresh(feed: &FeedRow, bound: Duration, now: At) -> bool {
    let bound = i64::try_from(bound.as_micros()).unwrap_or(i64::MAX);
    let is_within = |at: Option<i64>| {
        at.is_some_and(|at| {
            let age = now.since(At::from_micros(at));
            age < bound
        })
    };
    is_within(feed.drained) && is_within(feed.polled_at)
}

/// What became of a check's look-ups.
pub(super) struct Looked {
    /// What each system had to say.
    pub(super) reports: Vec<Report>,
    /// Everybody who was asked for, in that order, and then others who share an address with one.
    pub(super) subjects: Vec<SubjectRef>,
    /// Places among `subjects`: somebody who was asked for, and another person one of whose contacts
    /// has that address too.
    pub(super) shared: Vec<(usize, usize)>,
    /// Places of those about whom some system could not be asked.
    unverified: HashSet<usize>,
    /// Nobody is verified: a system could not be asked at all, or none has anything to say.
    nobody: bool,
}

impl Looked {
    /// Whether every system whose word counts was asked about the subject at that place, or is fresh
    /// enough.
    pub(super) fn is_verified(&self, place: usize) -> bool {
        !self.nobody && !self.unverified.contains(&place)
    }
}

/// Looks everybody up in the systems that have to be asked.
pub(super) async fn look_up(
    crew: &Crew,
    sources: Vec<Standing>,
    people: &[Person],
) -> Result<Looked, StoreError> {
    let asked: Vec<Arc<Member>> = sources
        .iter()
        .filter_map(|source| source.member.clone())
        .collect();
    let reports: Vec<Report> = sources.into_iter().map(|source| source.report).collect();
    let mut looked = Looked {
        nobody: reports.is_empty()
            || reports
                .iter()
                .any(|report| report.source == Source::Unavailable),
        reports,
        subjects: people.iter().map(|person| person.subject).collect(),
        shared: Vec::new(),
        unverified: HashSet::new(),
    };
    if asked.is_empty() || people.is_empty() {
        return Ok(looked);
    }
    let mut rounds = Rounds {
        index: looked
            .subjects
            .iter()
            .zip(0..)
            .map(|(subject, place)| (*subject, place))
            .collect(),
        seen: HashSet::new(),
        deadline: Instant::now() + CHECK_LIMIT,
    };
    for round in 0..=ROUNDS {
        let fresh = unseen_contacts(crew, &asked, &looked.subjects, &rounds.seen).await?;
        if round > 0 && fresh.is_empty() {
            break;
        }
        if round == ROUNDS {
            // Contacts that move about faster than they can be looked up.
            looked
                .unverified
                .extend(fresh.iter().map(|contact| contact.position));
            break;
        }
        rounds
            .seen
            .extend(fresh.iter().map(|one| (one.system, one.external.clone())));
        let told = join_all(asked.iter().map(|member| {
            let by_address = if round == 0 { people } else { &[] };
            let most = member.connector.batching().look_up.max(1);
            let batches = batches(most, by_address, &fresh, member.id.0);
            ask(member, batches, rounds.deadline)
        }))
        .await;
        for (member, told) in asked.iter().zip(told) {
            rounds.take(crew, member, told, &mut looked).await?;
        }
    }
    Ok(looked)
}

/// What a check keeps between its rounds.
struct Rounds {
    /// Places among the subjects.
    index: HashMap<SubjectRef, usize>,
    /// Contacts that have been looked up, or were found.
    seen: HashSet<(i16, String)>,
    deadline: Instant,
}

impl Rounds {
    /// Takes in what one system told in one round.
    async fn take(
        &mut self,
        crew: &Crew,
        member: &Member,
        told: Told,
        looked: &mut Looked,
    ) -> Result<(), StoreError> {
        let system = member.id.0;
        self.seen
            .extend(told.found.into_iter().map(|contact| (system, contact)));
        looked.unverified.extend(told.unverified);
        if let Some(report) = looked
            .reports
            .iter_mut()
            .find(|report| report.system == member.name)
        {
            report.look_ups += told.look_ups;
            report.as_of = match (report.as_of, told.as_of) {
                (Some(known), Some(read)) => Some(known.min(read)),
                (one, other) => one.or(other),
            };
            if told.trouble.is_some() {
                report.source = Source::Unavailable;
                report.reason = told.trouble;
            }
        }
        // Only addresses that somebody asked for are of interest.
        let further: Vec<(usize, &str)> = told
            .further
            .iter()
            .filter_map(|(contact, address)| {
                let key = SubjectKey::from_address(address).ok()?;
                let place = self.index.get(&crew.shared.pseudonyms.of(&key))?;
                (!contact.contains('\0')).then_some((*place, contact.as_str()))
            })
            .collect();
        if further.is_empty() {
            return Ok(());
        }
        let contacts: Vec<(i16, &str)> = further
            .iter()
            .map(|(_, contact)| (system, *contact))
            .collect();
        let homes = crew.shared.store.subjects_of(&contacts).await?;
        for ((place, _), home) in further.into_iter().zip(homes) {
            let Some(home) = home else {
                // A contact without a usable address of its own: nobody can tell what it says.
                looked.unverified.insert(place);
                continue;
            };
            let other = *self.index.entry(home).or_insert_with(|| {
                looked.subjects.push(home);
                looked.subjects.len() - 1
            });
            if other != place {
                looked.shared.push((place, other));
            }
        }
        Ok(())
    }
}

/// The live contacts of these subjects in the systems asked that have not been looked up yet, by
/// place.
async fn unseen_contacts(
    crew: &Crew,
    asked: &[Arc<Member>],
    subjects: &[SubjectRef],
    seen: &HashSet<(i16, String)>,
) -> Result<Vec<SubjectContact>, StoreError> {
    let systems: Vec<i16> = asked.iter().map(|member| member.id.0).collect();
    let mut fresh = Vec::new();
    for (page, first) in subjects.chunks(PAGE).zip((0..).step_by(PAGE)) {
        let contacts = crew.shared.store.contacts_of(page, &systems).await?;
        fresh.extend(
            contacts
                .into_iter()
                .map(|contact| SubjectContact {
                    position: contact.position + first,
                    ..contact
                })
                .filter(|one| !seen.contains(&(one.system, one.external.clone()))),
        );
    }
    Ok(fresh)
}

/// One look-up, and whom it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Batch {
    wanted: Wanted,
    /// The place of the person behind each address.
    by_address: Vec<usize>,
    /// The place of the person behind each contact.
    by_contact: Vec<usize>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.by_contact.is_empty()
    }

    fn people(&self) -> impl Iterator<Item = usize> {
        self.by_address.iter().chain(&self.by_contact).copied()
    }

    /// Two look-ups in place of this one, if it is about more than one address or contact.
    fn halves(mut self) -> Result<[Self; 2], Self> {
        let (addresses, contacts) = (self.by_address.len(), self.by_contact.len());
        if addresses + contacts < 2 {
            return Err(self);
        }
        // Where there is one of either, each gets its own.
        let first = addresses.div_ceil(2);
        let other = Self {
            wanted: Wanted {
                addresses: self.wanted.addresses.split_off(first),
                contacts: self.wanted.contacts.split_off(contacts / 2),
            },
            by_address: self.by_address.split_off(first),
            by_contact: self.by_contact.split_off(contacts / 2),
        };
        Ok([self, other])
    }
}

/// Addresses of people, and contacts of one system, in look-ups of at most so many of each. What is
/// about one person stands in one of them as far as it fits.
fn batches(
    most: usize,
    people: &[Person],
    contacts: &[SubjectContact],
    system: i16,
) -> VecDeque<Batch> {
    let mut batches = VecDeque::new();
    let mut batch = Batch::default();
    let mut contacts = contacts
        .iter()
        .filter(|contact| contact.system == system)
        .peekable();
    let mut add_contact = |batch: &mut Batch, contact: &SubjectContact| {
        if batch.by_contact.len() >= most {
            batches.push_back(std::mem::take(batch));
        }
        batch.by_contact.push(contact.position);
        batch.wanted.contacts.push(Target {
            contact: contact.external.clone(),
            address: contact.address.clone(),
        });
    };
    let mut full = Vec::new();
    for (place, person) in people.iter().enumerate() {
        if let Some(address) = &person.address {
            batch.by_address.push(place);
            batch.wanted.addresses.push(address.as_str().to_owned());
        }
        while let Some(contact) = contacts.next_if(|contact| contact.position <= place) {
            add_contact(&mut batch, contact);
        }
        if batch.by_address.len() >= most {
            full.push(std::mem::take(&mut batch));
        }
    }
    for contact in contacts {
        add_contact(&mut batch, contact);
    }
    batches.extend(full);
    if !batch.is_empty() {
        batches.push_back(batch);
    }
    batches
}

/// What one system told in one round.
#[derive(Default)]
struct Told {
    /// Contacts that were found.
    found: Vec<String>,
    /// Contact and further address.
    further: Vec<(String, String)>,
    /// Places of those about whom it could not be asked.
    unverified: Vec<usize>,
    /// The system's time at the first look-up.
    as_of: Option<At>,
    look_ups: u32,
    /// Why it could not be asked about everybody.
    trouble: Option<String>,
}

/// Makes one system's look-ups, a few at once. After a failure of the whole system the rest is not
/// tried.
async fn ask(member: &Member, mut queue: VecDeque<Batch>, deadline: Instant) -> Told {
    let mut told = Told::default();
    if queue.is_empty() {
        return told;
    }
    let rules = match timeout(LOOK_UP_LIMIT, member.known_rules()).await {
        Ok(Ok(rules)) => rules,
        Ok(Err(fault)) => {
            told.give_up(member, &SyncError::Vendor(fault), &queue);
            return told;
        }
        Err(_) => {
            told.give_up(member, &SyncError::Vendor(late()), &queue);
            return told;
        }
    };
    let mut splits = 0;
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < LOOK_UPS_AT_ONCE
            && let Some(batch) = queue.pop_front()
        {
            told.look_ups += 1;
            running.push(look_up_once(member, &rules, batch, deadline));
        }
        let Some((batch, result)) = running.next().await else {
            return told;
        };
        let spoiled = match result {
            Ok(found) => {
                let is_spoiled = holds_a_stranger(&batch, &found);
                told.take(found);
                if !is_spoiled {
                    continue;
                }
                format!("a contact of {} cannot be understood", member.name)
            }
            Err(SyncError::Vendor(fault)) if concerns_a_part(&fault) => {
                tracing::warn!(system = %member.name, class = fault.class.word(), code = %fault.code,
                    "{}: a look-up before mail failed: {fault}", member.name);
                words(&fault)
            }
            Err(error) => {
                told.unverified.extend(batch.people());
                told.give_up(member, &error, &std::mem::take(&mut queue));
                continue;
            }
        };
        let halves = if splits < MOST_SPLITS {
            batch.halves()
        } else {
            Err(batch)
        };
        match halves {
            Ok(halves) => {
                splits += 1;
                queue.extend(halves);
            }
            Err(batch) => {
                told.unverified.extend(batch.people());
                told.trouble.get_or_insert(spoiled);
            }
        }
    }
}

impl Told {
    fn take(&mut self, found: Found) {
        self.as_of = Some(
            self.as_of
                .map_or(found.read_at, |known| known.min(found.read_at)),
        );
        self.found
            .extend(found.readings.into_iter().map(|reading| reading.contact));
        self.further.extend(found.further_addresses);
    }

    /// The system failed as a whole: whoever is still to be looked up is unverified.
    fn give_up(&mut self, member: &Member, error: &SyncError, rest: &VecDeque<Batch>) {
        self.unverified.extend(rest.iter().flat_map(Batch::people));
        member.failed(error);
        self.trouble = Some(match error {
            SyncError::Vendor(fault) => words(fault),
            SyncError::Store(_) => "what it answered could not be stored".to_owned(),
        });
    }
}

/// A fault in words that may be shown: class and code, nothing that a vendor wrote at length.
fn words(fault: &Fault) -> String {
    format!("{} {}", fault.class.word(), fault.code)
}

/// Whether the same may succeed for a part of the batch: one address may be what is refused, and an
/// answer that is too large is smaller for fewer.
const fn concerns_a_part(fault: &Fault) -> bool {
    match fault.class {
        FaultClass::Rejected | FaultClass::ContractBroken => fault.retry_after.is_none(),
        FaultClass::Retryable | FaultClass::RateLimited | FaultClass::Auth => false,
    }
}

/// Whether a record that cannot be understood may be a contact of one of these addresses that nobody
/// knows yet. One that was asked for by its id is known, and its subject is told to be in quarantine.
fn holds_a_stranger(batch: &Batch, found: &Found) -> bool {
    !batch.by_address.is_empty()
        && found.poison.iter().any(|poison| {
            batch
                .wanted
                .contacts
                .iter()
                .all(|target| target.contact != poison.id)
        })
}

fn late() -> Fault {
    Fault::new(
        FaultClass::Retryable,
        "look-up-timeout",
        "the look-up before mail took too long",
    )
}

/// One look-up, with a second attempt after passing trouble.
async fn look_up_once(
    member: &Member,
    rules: &SystemRules,
    batch: Batch,
    deadline: Instant,
) -> (Batch, Result<Found, SyncError>) {
    let mut attempt = 1;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let looked = timeout(
            LOOK_UP_LIMIT.min(left),
            refresh(member, rules, &batch.wanted),
        );
        let result = match looked.await {
            Ok(Ok(found)) => {
                member.breaker.succeeded();
                Ok(found)
            }
            Ok(Err(SyncError::Vendor(fault)))
                if attempt < ATTEMPTS
                    && fault.class == FaultClass::Retryable
                    && fault.retry_after.is_none() =>
            {
                sleep(retry::pause(attempt, &fault, rand::random::<f64>)).await;
                attempt += 1;
                continue;
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late().into()),
        };
        return (batch, result);
    }
}
