//! Systems in memory: contacts that hold flags or consent records, each with a feed of changes and
//! a clock that stamps what is written. No vendor is meant; what vendors have in common is.

use async_trait::async_trait;
use consentd::connector::{
    Batching, Connector, Current, Cursor, Fault, FaultClass, Found, Outcome, Page, Probe, Target,
    Wanted, WriteRequest,
};
use consentd::consent::{At, Evidence, Life, Polarity, Precision, PurposeId, Reading, Shown, Told};
use consentd::runtime::clock::Clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// Our own user, where changes are signed.
pub(crate) const OURSELVES: &str = "consentd";
/// Somebody who works in the system.
pub(crate) const PERSON: &str = "ann";
/// Contacts on one page.
const PAGE: usize = 50;

/// What the system keeps of who changed what and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Flags with a history that names users.
    History,
    /// Flags, and who saved the row last.
    Modification,
    /// Consent records with their time, signed by nobody.
    Records,
}

/// What was asked of a system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) logins: u64,
    /// Reads of a first page of everything.
    pub(crate) loads: u64,
    pub(crate) reads: u64,
    pub(crate) looks: u64,
    pub(crate) writes: u64,
    /// Contacts written.
    pub(crate) rows: u64,
}

impl Calls {
    pub(crate) fn all(&self) -> u64 {
        self.logins + self.reads + self.looks + self.writes
    }
}

/// See the module's documentation.
pub(crate) struct Fake {
    keeps: Keeps,
    carries: Vec<(PurposeId, Polarity)>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// The next look before a write waits in between.
    held: Mutex<Option<Arc<HeldLook>>>,
}

/// A look before a write that waits until a test goes on.
#[derive(Default)]
pub(crate) struct HeldLook {
    /// It has begun.
    pub(crate) begun: Notify,
    /// It may end.
    pub(crate) end: Notify,
}

#[derive(Default)]
struct State {
    contacts: BTreeMap<String, Row>,
    /// Ids in the order of their changes; a cursor is a place here.
    changes: Vec<String>,
    calls: Calls,
    /// How far its clock is ahead when it stamps what we write, in microseconds.
    ahead: i64,
    away: bool,
    /// A write takes effect and is never answered.
    hangs: bool,
}

struct Row {
    address: String,
    created: At,
    modified: At,
    by: &'static str,
    values: BTreeMap<PurposeId, Shown>,
    dated: Vec<Told>,
}

impl Fake {
    pub(crate) fn new(
        keeps: Keeps,
        carries: &[(PurposeId, Polarity)],
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            keeps,
            carries: carries.to_vec(),
            clock,
            state: Mutex::default(),
            held: Mutex::default(),
        })
    }

    /// Holds the next look before a write.
    pub(crate) fn hold_look(&self) -> Arc<HeldLook> {
        let held = Arc::<HeldLook>::default();
        *self.held.lock().unwrap() = Some(Arc::clone(&held));
        held
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds a contact that shows nothing but defaults.
    pub(crate) fn add(&self, id: &str, address: &str) {
        let now = self.clock.now();
        let row = Row {
            address: address.to_owned(),
            created: now,
            modified: now,
            by: PERSON,
            values: self
                .carries
                .iter()
                .map(|(id, _)| (*id, Shown::Default))
                .collect(),
            dated: Vec::new(),
        };
        let mut state = self.state();
        state.contacts.insert(id.to_owned(), row);
        state.changes.push(id.to_owned());
    }

    /// A contact is not there any more, and nothing tells of it.
    pub(crate) fn lose(&self, id: &str) {
        self.state().contacts.remove(id);
    }

    /// Somebody saves a value.
    pub(crate) fn save(&self, id: &str, purpose: PurposeId, shown: &Shown) {
        self.set(id, purpose, shown, PERSON, self.clock.now());
    }

    /// Somebody saved a value at `at`, which the feed only tells of now.
    pub(crate) fn save_late(&self, id: &str, purpose: PurposeId, shown: &Shown, at: At) {
        self.set(id, purpose, shown, PERSON, at);
    }

    fn set(&self, id: &str, purpose: PurposeId, shown: &Shown, by: &'static str, at: At) {
        let mut state = self.state();
        let row = state.contacts.get_mut(id).unwrap();
        let changed = row.values.insert(purpose, shown.clone()).as_ref() != Some(shown);
        row.modified = at;
        row.by = by;
        let told = |evidence, actor: Option<&str>| Told {
            purpose,
            shown: shown.clone(),
            at,
            precision: Precision::Micros,
            evidence,
            actor: actor.map(str::to_owned),
        };
        match self.keeps {
            Keeps::History if changed => row.dated.push(told(Evidence::History, Some(by))),
            // A record is stamped whenever it is saved, also with the same value.
            Keeps::Records => {
                row.dated.retain(|other| other.purpose != purpose);
                row.dated.push(told(Evidence::Explicit, None));
            }
            Keeps::History | Keeps::Modification => {}
        }
        state.changes.push(id.to_owned());
    }

    /// Somebody edits another field.
    pub(crate) fn touch(&self, id: &str) {
        let now = self.clock.now();
        let mut state = self.state();
        let row = state.contacts.get_mut(id).unwrap();
        row.modified = now;
        row.by = PERSON;
        state.changes.push(id.to_owned());
    }

    pub(crate) fn shown(&self, id: &str, purpose: PurposeId) -> Shown {
        self.state().contacts[id].values[&purpose].clone()
    }

    pub(crate) fn calls(&self) -> Calls {
        self.state().calls
    }

    pub(crate) fn reset_calls(&self) {
        self.state().calls = Calls::default();
    }

    /// From now on what we write is stamped so far ahead.
    pub(crate) fn stamp_ahead(&self, micros: i64) {
        self.state().ahead = micros;
    }

    /// Whether every call fails.
    pub(crate) fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Whether writes take effect without ever being answered.
    pub(crate) fn set_hangs(&self, hangs: bool) {
        self.state().hangs = hangs;
    }

    fn call(&self, count: impl FnOnce(&mut Calls)) -> Result<(), Fault> {
        let mut state = self.state();
        count(&mut state.calls);
        if state.away {
            return Err(Fault::new(FaultClass::Retryable, "http-503", "away"));
        }
        Ok(())
    }

    fn reading(&self, id: &str, row: &Row) -> Reading {
        Reading {
            contact: id.to_owned(),
            whole: true,
            address: Some(row.address.clone()),
            created: Some(row.created),
            modified: Some(row.modified),
            precision: Some(Precision::Micros),
            modified_by: (self.keeps != Keeps::Records).then(|| row.by.to_owned()),
            life: Life::Live,
            values: row
                .values
                .iter()
                .map(|(id, shown)| (*id, shown.clone()))
                .collect(),
            told: row.dated.clone(),
            ..Reading::default()
        }
    }

    fn readings<'a>(&self, state: &State, ids: impl Iterator<Item = &'a String>) -> Vec<Reading> {
        ids.filter_map(|id| Some(self.reading(id, state.contacts.get(id)?)))
            .collect()
    }
}

#[async_trait]
impl Connector for Fake {
    async fn probe(&self) -> Result<Probe, Fault> {
        self.call(|calls| calls.logins += 1)?;
        Ok(Probe {
            own_actor: (self.keeps != Keeps::Records).then(|| OURSELVES.to_owned()),
            ..Probe::default()
        })
    }

    /// Cursors are `load <next place among the contacts> <place among the changes>`, or the latter
    /// alone.
    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        self.call(|calls| {
            calls.reads += 1;
            calls.loads += u64::from(cursor.is_none());
        })?;
        let now = self.clock.now();
        let state = self.state();
        let words: Vec<&str> = cursor.map_or_else(Vec::new, |cursor| cursor.0.split(' ').collect());
        let page = |readings, next: String, load, more| Page {
            readings,
            poison: Vec::new(),
            next: Cursor(next),
            more,
            load,
            scan: None,
            read_at: now,
            drained: (!more).then_some(now),
        };
        Ok(match words.as_slice() {
            [place] => {
                let place: usize = place.parse().unwrap();
                let mut changed: Vec<&String> = state.changes[place..].iter().collect();
                changed.sort();
                changed.dedup();
                let readings = self.readings(&state, changed.into_iter());
                page(readings, state.changes.len().to_string(), false, false)
            }
            words => {
                let begun = |place: usize| words.get(place).map(|word| word.parse().unwrap());
                let from: usize = begun(1).unwrap_or(0);
                let since: usize = begun(2).unwrap_or(state.changes.len());
                let ids = state.contacts.keys().skip(from).take(PAGE);
                let readings = self.readings(&state, ids);
                let next = if from + PAGE < state.contacts.len() {
                    format!("load {} {since}", from + PAGE)
                } else {
                    since.to_string()
                };
                page(readings, next, true, true)
            }
        })
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        self.call(|calls| calls.looks += 1)?;
        let held = self.held.lock().unwrap().take();
        if let Some(held) = held {
            held.begun.notify_one();
            held.end.notified().await;
        }
        let state = self.state();
        let look = |target: &Target| match state.contacts.get(&target.contact) {
            Some(row) => Current::Live(
                row.values
                    .iter()
                    .map(|(id, shown)| (*id, shown.clone()))
                    .collect(),
            ),
            None => Current::Gone,
        };
        Ok(contacts.iter().map(look).collect())
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        self.call(|calls| calls.looks += 1)?;
        let state = self.state();
        let is_wanted = |(id, row): &(&String, &Row)| {
            wanted.addresses.contains(&row.address)
                || wanted.contacts.iter().any(|target| target.contact == **id)
        };
        let found = state.contacts.iter().filter(is_wanted);
        Ok(Found {
            readings: found.map(|(id, row)| self.reading(id, row)).collect(),
            poison: Vec::new(),
            further_addresses: Vec::new(),
            read_at: self.clock.now(),
        })
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        self.call(|calls| {
            calls.writes += 1;
            calls.rows += writes.len() as u64;
        })?;
        let at = self.clock.now().plus(self.state().ahead);
        for write in writes {
            for (purpose, shown) in &write.changes {
                self.set(&write.target.contact, *purpose, shown, OURSELVES, at);
            }
        }
        if self.state().hangs {
            std::future::pending::<()>().await;
        }
        Ok(writes.iter().map(|_| Outcome::Applied).collect())
    }

    fn batching(&self) -> Batching {
        Batching {
            rows: 200,
            bulk_above: 200,
            bulk_rows: 200,
            look_up: 200,
        }
    }

    fn least_poll_interval(&self) -> Duration {
        Duration::ZERO
    }
}
