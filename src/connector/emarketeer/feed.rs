//! Reading a whole account and then its changes, as a walk whose every step is in the cursor.
//!
//! A load reads all consent records and then all contacts. After it, changes are found in the first
//! of three ways that shows itself to work: by the consent filter, by contacts' modification, or by
//! loading everything again from time to time. Every way is followed by such loads as a safety net.
//! The store joins consent and contacts; nothing is kept in memory that a restart may not lose.

mod roster;
mod way;

use super::access::Access;
use super::map::{self, Person, Record};
use super::wire::Listing;
use super::wire::faults;
use super::wire::list::{Place, Sheet};
use crate::connector::salesforce::wire::time::floor_second;
use crate::connector::{Cursor, Fault, Page, Poison};
use crate::consent::{At, Reading, Shown, SubjectKey};
use roster::Roster;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use way::Way;

use super::config::FeedMode;

/// The form of cursors; one of another form starts a load.
const VERSION: u8 = 1;
/// Addresses of one page that are looked up because their records alone do not tell enough.
const MOST_ODD: usize = 50;
/// Look-ups under way at once; how many are sent at once is the client's business.
const LOOK_UPS_AT_ONCE: usize = 50;
/// So many changed contacts are always looked at singly rather than by a load of everything.
const LEAST_LOAD: usize = 50;

/// Where the feed stands. Holds no address (R55).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    v: u8,
    way: Way,
    /// Rows of the last load.
    size: Size,
    /// When the last load began, microseconds.
    swept: i64,
    phase: Phase,
}

/// How many rows a load has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Consent records.
    pub consents: usize,
    /// Contacts.
    pub contacts: usize,
}

impl Size {
    /// Calls that a load makes at least.
    pub const fn calls(self, page_rows: usize) -> usize {
        (self.consents + self.contacts) / page_rows + 4
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// Everything is read.
    Load(Load),
    /// Nothing under way; changes before `until` are read.
    Idle { until: i64 },
    /// Changes are read.
    Window(Window),
}

/// A load of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Load {
    /// When it began; none before its first answer.
    started: Option<i64>,
    /// It is the first one.
    first: bool,
    /// Consents are read, contacts follow.
    contacts: bool,
    place: Place,
    size: Size,
    /// The time of the newest record seen of each purpose, in the order of the settings.
    newest: Vec<Option<i64>>,
}

/// A look at what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    from: i64,
    /// Where the next window begins; none before the first answer.
    until: Option<i64>,
    /// Up to where the window before had read.
    before: i64,
    /// Purposes by their place in the settings, then contacts.
    stage: usize,
    place: Place,
}

/// What is kept between calls. It can be lost at any time.
#[derive(Debug, Default)]
struct Memory {
    roster: Roster,
    /// The newest records of the load under way, with their addresses.
    samples: Vec<(At, String)>,
    /// When the last load ended.
    loaded: Option<Instant>,
    /// Rows of the last load.
    size: Option<Size>,
}

/// The feed of one account.
#[derive(Debug, Default)]
pub struct Feed(Mutex<Memory>);

/// What a page is made of.
#[derive(Default)]
struct Batch {
    readings: Vec<Reading>,
    poison: Vec<Poison>,
    rows: usize,
    read_at: Option<At>,
}

impl Batch {
    fn asked(&mut self, at: At) {
        self.read_at = Some(self.read_at.map_or(at, |first| first.min(at)));
    }
}

/// One call's view of the feed.
struct Step<'a> {
    feed: &'a Feed,
    access: &'a Access,
}

impl Feed {
    /// The page behind `cursor`.
    ///
    /// # Errors
    /// When a call fails, or an answer cannot be used.
    pub async fn read(&self, access: &Access, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        let step = Step { feed: self, access };
        let state = cursor
            .and_then(|cursor| serde_json::from_str::<State>(&cursor.0).ok())
            .filter(|state| state.v == VERSION);
        let Some(state) = state else {
            return step
                .load(
                    State::new(),
                    Load {
                        first: true,
                        ..Load::default()
                    },
                )
                .await;
        };
        self.memory().size.get_or_insert(state.size);
        match state.phase.clone() {
            Phase::Load(load) => step.load(state, load).await,
            Phase::Idle { until } => step.poll(state, until).await,
            Phase::Window(window) => step.window(state, window).await,
        }
    }

    /// How many rows a load had, once one was made.
    pub fn size(&self) -> Option<Size> {
        self.memory().size.filter(|size| *size != Size::default())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        Self {
            v: VERSION,
            way: Way::Full,
            size: Size::default(),
            swept: 0,
            phase: Phase::Load(Load::default()),
        }
    }

    /// A page that leads to `phase`.
    fn page(mut self, phase: Phase, batch: Batch, more: bool) -> Result<Page, Fault> {
        let load = matches!(self.phase, Phase::Load(_));
        self.phase = phase;
        let next = Cursor::of(&self)?;
        Ok(Page {
            readings: batch.readings,
            poison: batch.poison,
            next,
            more,
            load,
            scan: None,
            read_at: batch.read_at.unwrap_or(At::from_micros(self.swept)),
            drained: None,
        })
    }
}

impl Step<'_> {
    /// One page of a load of everything.
    async fn load(&self, mut state: State, mut load: Load) -> Result<Page, Fault> {
        // A load that was begun by a cursor of its own is one, whatever led here.
        state.phase = Phase::Load(load.clone());
        let listing = if load.contacts {
            Listing::Contacts
        } else {
            Listing::Consents
        };
        if load.place.is_start() {
            let mut memory = self.feed.memory();
            if load.contacts {
                memory.roster.begin();
            } else {
                memory.samples.clear();
            }
        }
        let sheet = self.access.account.page(&listing, &load.place).await?;
        let mut batch = Batch::default();
        load.started.get_or_insert(sheet.read_at.micros());
        let next = sheet.next.clone();
        if load.contacts {
            load.size.contacts += sheet.rows.len();
            let people = self.take_people(&sheet, &mut batch);
            let ids = people.iter().map(|person| person.contact.as_str());
            self.feed.memory().roster.saw(ids);
        } else {
            load.size.consents += sheet.rows.len();
            let records = self.take_records(&sheet, load.first, &mut batch).await?;
            self.remember_newest(&mut load, &records);
            if load.first {
                self.tell_histories(&records, &mut batch).await?;
            }
        }
        match next {
            Some(place) => {
                load.place = place;
                state.page(Phase::Load(load), batch, true)
            }
            None if !load.contacts => {
                load.contacts = true;
                load.place = Place::default();
                state.page(Phase::Load(load), batch, true)
            }
            None => self.loaded(state, &load, batch).await,
        }
    }

    /// The last page of a load.
    async fn loaded(&self, mut state: State, load: &Load, batch: Batch) -> Result<Page, Fault> {
        let started = load.started.unwrap_or_default();
        state.way = self.choose_way(load).await?;
        state.size = load.size;
        state.swept = started;
        let gone = {
            let mut memory = self.feed.memory();
            memory.loaded = Some(Instant::now());
            memory.size = Some(load.size);
            memory.samples.clear();
            memory.roster.end()
        };
        // R27: absence alone is no deletion; each is looked up.
        self.access.doubt(gone);
        state.page(Phase::Idle { until: started }, batch, true)
    }

    /// The next page when nothing is under way.
    async fn poll(&self, state: State, until: i64) -> Result<Page, Fault> {
        let settings = self.access.settings();
        if state.way == Way::Full {
            let due = self
                .feed
                .memory()
                .loaded
                .is_none_or(|at| at.elapsed() >= settings.full_interval);
            if due {
                return self.load(state, Load::default()).await;
            }
            let drained = At::from_micros(until);
            let mut page = state.page(Phase::Idle { until }, Batch::default(), false)?;
            page.read_at = drained;
            page.drained = Some(drained);
            return Ok(page);
        }
        let window = Window {
            from: floor_second(At::from_micros(until).minus(micros(settings.overlap))).micros(),
            until: None,
            before: until,
            stage: if state.way == Way::Filter {
                0
            } else {
                settings.purposes.len()
            },
            place: Place::default(),
        };
        self.window(state, window).await
    }

    /// As much of a window as fits into a page.
    async fn window(&self, mut state: State, mut window: Window) -> Result<Page, Fault> {
        let settings = self.access.settings();
        state.phase = Phase::Window(window.clone());
        let mut batch = Batch::default();
        loop {
            let listing = self.listing(&window).await?;
            let is_filter = matches!(listing, Listing::Filter { .. });
            let sheet = match self.access.account.page(&listing, &window.place).await {
                Err(fault) if is_filter && self.may_fall_back(&fault) => {
                    // The filter is gone; everything is read, and a way is chosen anew.
                    return state.page(Phase::Load(Load::default()), batch, true);
                }
                other => other?,
            };
            let until = floor_second(sheet.read_at.minus(micros(settings.lag))).micros();
            let until = *window.until.get_or_insert(until.max(window.before));
            let next = sheet.next.clone();
            if is_filter {
                self.take_records(&sheet, false, &mut batch).await?;
            } else if state.way == Way::Contacts {
                if sheet.rows.len() > LEAST_LOAD.max(state.size.calls(settings.page_rows)) {
                    return state.page(Phase::Load(Load::default()), batch, true);
                }
                self.take_people_with_consent(&sheet, &mut batch).await?;
            } else {
                self.take_people(&sheet, &mut batch);
            }
            match next {
                Some(place) => window.place = place,
                None if window.stage < settings.purposes.len() => {
                    window.stage += 1;
                    window.place = Place::default();
                }
                None => return self.drained(state, until, batch),
            }
            if batch.rows >= settings.page_rows {
                return state.page(Phase::Window(window), batch, true);
            }
        }
    }

    /// The last page of a window.
    fn drained(&self, state: State, until: i64, batch: Batch) -> Result<Page, Fault> {
        let settings = self.access.settings();
        let due = until.saturating_sub(state.swept) >= micros(settings.sweep_interval);
        let phase = if due {
            Phase::Load(Load::default())
        } else {
            Phase::Idle { until }
        };
        let mut page = state.page(phase, batch, due)?;
        page.drained = Some(At::from_micros(until).minus(micros(settings.overlap)));
        Ok(page)
    }

    async fn listing(&self, window: &Window) -> Result<Listing, Fault> {
        let since = At::from_micros(window.from);
        let Some(names) = self.access.settings().purposes.get(window.stage) else {
            return Ok(Listing::Modified(since));
        };
        let master = self.access.master().await?;
        let purpose = master
            .purpose_item(names.purpose)
            .map(|item| item.id.clone());
        Ok(Listing::Filter {
            purpose: purpose.unwrap_or_default(),
            since,
        })
    }

    fn may_fall_back(&self, fault: &Fault) -> bool {
        self.access.settings().feed == FeedMode::Auto && faults::is_unsupported(fault)
    }

    /// Takes in consent records, and looks those addresses up whose records alone do not tell enough.
    async fn take_records(
        &self,
        sheet: &Sheet,
        first: bool,
        batch: &mut Batch,
    ) -> Result<Vec<Record>, Fault> {
        batch.asked(sheet.read_at);
        batch.rows += sheet.rows.len();
        let taken = self.access.records(&sheet.rows).await?;
        batch
            .poison
            .extend(taken.bad.into_iter().map(|bad| bad.poison));
        batch.readings.extend(map::loose(&taken.records));
        let mut odd = odd(&taken.records, first);
        let beyond = odd.split_off(odd.len().min(MOST_ODD));
        batch
            .poison
            .extend(beyond.into_iter().map(|address| Poison {
                id: self.access.reader.ids().of(&address),
                reason: "its newest record has no readable time, or no legal basis".to_owned(),
                raw: Vec::new(),
            }));
        let found = self.look_up(&odd).await?;
        batch.readings.extend(found);
        Ok(taken.records)
    }

    /// Takes in contact rows.
    fn take_people(&self, sheet: &Sheet, batch: &mut Batch) -> Vec<Person> {
        batch.asked(sheet.read_at);
        batch.rows += sheet.rows.len();
        let (people, bad) = self.access.people(&sheet.rows);
        batch.poison.extend(bad.into_iter().map(|bad| bad.poison));
        batch.readings.extend(map::people(&people));
        people
    }

    /// Takes in contact rows with the consent of each of them.
    async fn take_people_with_consent(
        &self,
        sheet: &Sheet,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let (people, _) = self.access.people(&sheet.rows);
        for chunk in people.chunks(LOOK_UPS_AT_ONCE) {
            let asked: Vec<_> = chunk
                .iter()
                .map(|person| self.access.account.consents_of(&person.spelled))
                .collect();
            for rows in futures::future::try_join_all(asked).await? {
                batch.asked(rows.read_at);
                let taken = self.access.records(&rows.rows).await?;
                batch
                    .poison
                    .extend(taken.bad.into_iter().map(|bad| bad.poison));
                // Consent stands before its contact.
                batch.readings.extend(map::loose(&taken.records));
            }
        }
        self.take_people(sheet, batch);
        Ok(())
    }

    /// Addresses as they are now.
    async fn look_up(&self, addresses: &[SubjectKey]) -> Result<Vec<Reading>, Fault> {
        let mut readings = Vec::with_capacity(addresses.len());
        for chunk in addresses.chunks(LOOK_UPS_AT_ONCE) {
            let asked: Vec<_> = chunk
                .iter()
                .map(|address| self.access.present(address))
                .collect();
            let found = futures::future::try_join_all(asked).await?;
            for (address, present) in chunk.iter().zip(found) {
                readings.push(super::look_up::reading(self.access, address, &present));
            }
        }
        Ok(readings)
    }

    /// R25: a grant by a bulk actor counts for nothing, so what was said before it is needed too.
    async fn tell_histories(&self, records: &[Record], batch: &mut Batch) -> Result<(), Fault> {
        let bulk = &self.access.settings().sources.bulk;
        let by_load = |record: &&Record| {
            record
                .actor
                .as_ref()
                .is_some_and(|actor| bulk.contains(actor))
        };
        let addresses: BTreeMap<&str, &str> = records
            .iter()
            .filter(by_load)
            .map(|record| (record.contact.as_str(), record.spelled.as_str()))
            .collect();
        let addresses: Vec<&str> = addresses.into_values().collect();
        for chunk in addresses.chunks(LOOK_UPS_AT_ONCE) {
            let asked: Vec<_> = chunk
                .iter()
                .map(|address| self.access.account.history_of(address))
                .collect();
            for rows in futures::future::try_join_all(asked).await? {
                let taken = self.access.records(&rows).await?;
                batch
                    .poison
                    .extend(taken.bad.into_iter().map(|bad| bad.poison));
                batch.readings.extend(map::loose(&taken.records));
            }
        }
        Ok(())
    }
}

/// Addresses whose records alone do not tell what they show now: one has no readable time, the newest
/// has no legal basis, or two of one second contradict each other. In the first load only the first
/// of these matters: nothing was known that could have ended.
fn odd(records: &[Record], first: bool) -> Vec<SubjectKey> {
    let mut by_contact: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_contact.entry(&record.contact).or_default().push(record);
    }
    let is_odd = |of: &Vec<&Record>| {
        of.iter().any(|record| {
            if record.at.is_none() {
                return record.shown != Shown::Default;
            }
            let of_purpose = || of.iter().filter(|other| other.purpose == record.purpose);
            let newest = of_purpose().all(|other| other.order() <= record.order());
            let mut equals = of_purpose().filter(|other| other.order() == record.order());
            let contradicted = equals.any(|other| other.shown != record.shown);
            !first && newest && (record.shown == Shown::Default || contradicted)
        })
    };
    by_contact
        .into_values()
        .filter(is_odd)
        .filter_map(|of| SubjectKey::from_address(&of.first()?.spelled).ok())
        .collect()
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let state = State {
            v: VERSION,
            way: Way::Filter,
            size: Size {
                consents: 3,
                contacts: 2,
            },
            swept: 4,
            phase: Phase::Window(Window {
                from: 1,
                until: Some(2),
                before: 1,
                stage: 1,
                place: Place::default(),
            }),
        };
        let page = state
            .clone()
            .page(state.phase.clone(), Batch::default(), true)
            .unwrap();
        assert_eq!(serde_json::from_str::<State>(&page.next.0).unwrap(), state);
        assert!(!page.load);
    }
}
