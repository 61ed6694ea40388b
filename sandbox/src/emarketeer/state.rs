//! Everything one account knows, behind one lock that is never held across an await.
//!
//! Some things happen by themselves as time goes by: a bulk action gets on, a late record becomes visible, a scheduled
//! send-out goes out. [`State::settle`] lets all of them happen that are due, each at its own time; it runs before
//! anybody looks at or changes the state, so that nobody can tell that they did not happen on the second.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::calls::Calls;
use super::contacts::{Changes, Contacts, address_of};
use super::keys::Keys;
use super::log::{Log, Number, Record};
use super::master::{Kind, Master, Place, place};
use super::sendouts::Sendouts;
use super::settings::Settings;
use crate::Population;
use crate::clock::{Clock, whole_second};
use crate::faults::{CallKind, Fault, Faults};

/// Most bulk actions at a time.
pub(crate) const MAX_BULKS: usize = 100;
/// Most contact lists, saved filters, subscriptions and campaigns, of each.
pub(crate) const MAX_NAMED: usize = 1_000;

/// What is to be written to the log.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// In lower case.
    pub(crate) key: Arc<str>,
    pub(crate) purpose: Place,
    pub(crate) basis: Place,
    pub(crate) source: Place,
    pub(crate) text: Option<String>,
    /// `None`: now.
    pub(crate) at: Option<DateTime<Utc>>,
}

/// A bulk action on its way through its rows.
#[derive(Debug)]
pub(crate) struct Bulk {
    pub(crate) id: u64,
    pub(crate) keys: Vec<Arc<str>>,
    pub(crate) done: usize,
    /// Purposes and their new bases.
    changes: Vec<(Place, Place)>,
    started: DateTime<Utc>,
    rows_per_second: u32,
}

/// A contact list.
#[derive(Debug)]
pub(crate) struct ContactList {
    pub(crate) name: String,
    pub(crate) members: BTreeSet<u64>,
}

/// A campaign.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) folder: Option<String>,
    pub(crate) created: DateTime<Utc>,
}

/// The state of one account.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) url: String,
    pub(crate) keys: Keys,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    pub(crate) master: Master,
    pub(crate) log: Log,
    pub(crate) contacts: Contacts,
    /// Labels of custom fields by their names.
    pub(crate) custom_fields: BTreeMap<String, String>,
    pub(crate) lists: BTreeMap<u64, ContactList>,
    /// Saved filters: the addresses they find; `None`: every contact.
    pub(crate) filters: BTreeMap<u64, Option<BTreeSet<String>>>,
    pub(crate) subscriptions: Vec<String>,
    /// Subscriptions that addresses have opted out of; all others are on.
    pub(crate) opted_out: HashMap<String, BTreeSet<String>>,
    pub(crate) campaigns: Vec<Campaign>,
    /// Addresses that no longer exist, remembered beyond the contact.
    pub(crate) bounced: BTreeSet<String>,
    /// Addresses without any activity for long.
    pub(crate) unengaged: BTreeSet<String>,
    /// Addresses that confirmed by double opt-in.
    pub(crate) confirmed: BTreeSet<String>,
    pub(crate) bulks: Vec<Bulk>,
    pub(crate) sendouts: Sendouts,
    /// The population, as long as it is not laid down.
    pub(crate) unseeded: Option<Population>,
    /// Records written but not visible before the time.
    late: Vec<(DateTime<Utc>, Record)>,
    clock: Arc<Clock>,
    numbers: u64,
}

impl State {
    pub(crate) fn new(url: String, keys: Keys, population: Population, clock: Arc<Clock>) -> State {
        State {
            url,
            keys,
            settings: Settings::default(),
            faults: Faults::default(),
            calls: Calls::default(),
            master: Master::of_tenant(population.seed),
            log: Log::default(),
            contacts: Contacts::default(),
            custom_fields: BTreeMap::new(),
            lists: BTreeMap::new(),
            filters: BTreeMap::new(),
            subscriptions: ["Newsletter", "Events", "Offers"].map(str::to_owned).into(),
            opted_out: HashMap::new(),
            campaigns: Vec::new(),
            bounced: BTreeSet::new(),
            unengaged: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            bulks: Vec::new(),
            sendouts: Sendouts::default(),
            unseeded: Some(population),
            late: Vec::new(),
            clock,
            numbers: 0,
        }
    }

    /// The account's clock, skew included.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let skew = self.faults.lasting(|fault| match fault {
            Fault::ClockSkew { seconds } => TimeDelta::try_seconds(*seconds),
            _ => None,
        });
        let now = self.clock.now();
        now.checked_add_signed(skew.unwrap_or_default())
            .unwrap_or(now)
    }

    /// The time that a record written now gets.
    pub(crate) fn stamp(&self) -> DateTime<Utc> {
        whole_second(self.now())
    }

    /// A number that no list, filter, campaign, bulk action or send-out has yet.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The form in which the account keeps an address, `None` when it takes no such address.
    pub(crate) fn address(&self, text: &str) -> Option<String> {
        address_of(text, self.settings.simple_addresses_only)
    }

    /// Lets everything happen that is due.
    pub(crate) fn settle(&mut self) {
        let now = self.now();
        while let Some((id, at)) = self.sendouts.next_due(now) {
            self.progress(at);
            self.send(id, at);
        }
        self.progress(now);
    }

    fn progress(&mut self, now: DateTime<Utc>) {
        if !self.late.is_empty() {
            let (due, late) = std::mem::take(&mut self.late)
                .into_iter()
                .partition(|(visible, _)| *visible <= now);
            self.late = late;
            for (_, record) in due {
                self.append(record);
            }
        }
        for mut bulk in std::mem::take(&mut self.bulks) {
            self.get_on(&mut bulk, now);
            if bulk.done < bulk.keys.len() {
                self.bulks.push(bulk);
            }
        }
    }

    /// Does the rows of a bulk action that are due, each stamped with the second in which it is done.
    fn get_on(&mut self, bulk: &mut Bulk, now: DateTime<Utc>) {
        let secs = (now - bulk.started).num_seconds().max(0);
        let due = match i64::from(bulk.rows_per_second) {
            0 => bulk.keys.len(),
            rate => usize::try_from(secs.saturating_mul(rate)).unwrap_or(usize::MAX),
        };
        while bulk.done < due.min(bulk.keys.len()) {
            let second = match bulk.rows_per_second as usize {
                0 => 0,
                rate => bulk.done / rate + 1,
            };
            let at = bulk.started + TimeDelta::seconds(second as i64);
            for (purpose, basis) in &bulk.changes {
                self.write(Statement {
                    key: Arc::clone(&bulk.keys[bulk.done]),
                    purpose: *purpose,
                    basis: *basis,
                    source: place::BULK,
                    text: None,
                    at: Some(at),
                });
            }
            bulk.done += 1;
        }
    }

    /// Starts a bulk action over addresses in lower case; its number, `None` when too many are on their way.
    pub(crate) fn start_bulk(
        &mut self,
        keys: Vec<Arc<str>>,
        changes: Vec<(Place, Place)>,
    ) -> Option<u64> {
        if self.bulks.len() >= MAX_BULKS {
            return None;
        }
        let id = self.number();
        let bulk = Bulk {
            id,
            keys,
            done: 0,
            changes,
            started: self.stamp(),
            rows_per_second: self.settings.bulk_rows_per_second,
        };
        self.bulks.push(bulk);
        self.progress(self.now());
        Some(id)
    }

    /// Writes a record by hand or by itself, not through the API.
    pub(crate) fn write(&mut self, statement: Statement) {
        self.write_by(CallKind::Other, statement);
    }

    /// Writes a record for a call of this kind and returns it, with its number if it is visible at once and not late.
    pub(crate) fn write_by(
        &mut self,
        kind: CallKind,
        statement: Statement,
    ) -> (Record, Option<Number>) {
        let now = self.stamp();
        let record = Record {
            key: statement.key,
            purpose: statement.purpose,
            basis: statement.basis,
            source: statement.source,
            text: statement.text.map(String::into_boxed_str),
            at: statement.at.map_or(now, whole_second),
        };
        let delay = self.faults.strike(kind, |fault| match fault {
            Fault::LateCommit { seconds } => Some(TimeDelta::seconds(i64::from(*seconds))),
            _ => None,
        });
        let number = match delay {
            Some(delay) => {
                self.late.push((now + delay, record.clone()));
                None
            }
            None => Some(self.append(record.clone())),
        };
        (record, number)
    }

    fn append(&mut self, record: Record) -> Number {
        if self.settings.consent_moves_contact {
            let now = self.stamp();
            let ids: Vec<u64> = self.contacts.at(&record.key).collect();
            for id in ids {
                self.contacts.touch(id, now);
            }
        }
        self.log.append(record)
    }

    /// The current record that already says what a statement says.
    pub(crate) fn repeated(&self, statement: &Statement) -> Option<Number> {
        let current = self.log.current(&statement.key, statement.purpose)?;
        let record = self.log.get(current)?;
        (record.basis == statement.basis).then_some(current)
    }

    /// Whether consent for a purpose is withdrawn.
    pub(crate) fn withdrawn(&self, key: &str, purpose: Place) -> bool {
        self.log.basis(key, purpose) == Some(place::WITHDRAWN)
    }

    /// Creates the contact of an address, or updates the one with the lowest id; id and whether it is new.
    pub(crate) fn upsert(&mut self, address: &str, changes: &Changes) -> (u64, bool) {
        let now = self.stamp();
        let known = self.contacts.at(address).next();
        match known {
            Some(id) => {
                self.contacts.change(id, changes, now);
                (id, false)
            }
            None => (self.contacts.add(address, changes, now, now), true),
        }
    }

    /// Removes a contact; its consent stays.
    pub(crate) fn remove_contact(&mut self, id: u64) -> bool {
        for list in self.lists.values_mut() {
            list.members.remove(&id);
        }
        self.contacts.remove(id).is_some()
    }

    /// The offered item of this name.
    pub(crate) fn place_of(&self, kind: Kind, name: &str) -> Option<Place> {
        self.master.named(kind, name)
    }
}
