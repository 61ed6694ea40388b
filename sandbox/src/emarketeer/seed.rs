//! Lays down a generated population: contacts, and years of consent.
//!
//! The people are those of the other systems, so that addresses overlap. What the account knows of them, in shares of
//! the people with an address it takes unless said otherwise:
//!
//! - about nine in ten are or were contacts, at most as many as any other system has; some 3 % of those were deleted, and
//!   their consent is still there; 2 % of the contacts have an older twin with the same address;
//! - nine in ten have a basis for storing; seven in ten have had one for marketing, mostly consent by a form or
//!   legitimate interest by an import;
//! - who has opted out in another system has mostly withdrawn marketing here too, often within the same days; a few of the
//!   others have withdrawn as well, and a few of those have come back;
//! - imports put many contacts and their records into the same second;
//! - some addresses bounced for good, some are silent, some are off single subscriptions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::contacts::Changes;
use super::log::Record;
use super::master::{Place, place};
use super::state::{Campaign, State};
use crate::Population;
use crate::clock::whole_second;
use crate::people::{PUNYCODE, Person};

/// Days since the account was opened.
const ACCOUNT_DAYS: i64 = 6 * 365;
/// Imports over the years.
const IMPORTS: i64 = 25;
/// Keeps the draws apart from those that make the people.
const SALT: u64 = 0x00e3_a12c_e7e2;

const KNOWN: f64 = 0.92;
const IMPORTED: f64 = 0.40;
const DELETED: f64 = 0.03;
const TWIN: f64 = 0.02;
const STORED: f64 = 0.90;
const STORE_CHANGED: f64 = 0.08;
const STORE_WITHDRAWN: f64 = 0.01;
const MARKETED: f64 = 0.70;
const WITHDRAWN_AS_ELSEWHERE: f64 = 0.85;
const WITHDRAWN_HERE_ONLY: f64 = 0.03;
const CAME_BACK: f64 = 0.10;
const BOUNCED: f64 = 0.015;
const SILENT: f64 = 0.05;
const OFF_ONE: f64 = 0.04;

struct Maker {
    random: StdRng,
    opened: DateTime<Utc>,
    now: DateTime<Utc>,
    imports: Vec<DateTime<Utc>>,
    records: Vec<Record>,
}

/// A contact to lay down.
struct Seedling {
    address: Arc<str>,
    fields: Changes,
    created: DateTime<Utc>,
    modified: DateTime<Utc>,
}

impl Maker {
    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    fn between(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        let secs = (until - from).num_seconds().max(0);
        from + TimeDelta::seconds(self.random.random_range(0..=secs))
    }

    /// When the account came to know a person, and whether by an import.
    fn first_met(&mut self, earliest: DateTime<Utc>) -> (DateTime<Utc>, bool) {
        let earliest = earliest.max(self.opened);
        let place = self.random.random_range(0..self.imports.len().max(1));
        let import = self
            .imports
            .get(place)
            .copied()
            .filter(|at| *at >= earliest);
        match import {
            Some(at) if self.chance(IMPORTED) => (at, true),
            _ => (self.between(earliest, self.now), false),
        }
    }

    fn say(
        &mut self,
        key: &Arc<str>,
        at: DateTime<Utc>,
        (purpose, basis): (Place, Place),
        source: Place,
    ) {
        let text = match source {
            place::FORM => Some("I want to hear from you by e-mail."),
            place::IMPORT => Some("import.xlsx"),
            _ => None,
        };
        self.records.push(Record {
            key: Arc::clone(key),
            purpose,
            basis,
            source,
            text: text.map(Into::into),
            at,
        });
    }

    fn store(&mut self, key: &Arc<str>, met: DateTime<Utc>, imported: bool) {
        if !self.chance(STORED) {
            return;
        }
        let basis = match self.random.random_range(0..10) {
            0..5 => place::LEGITIMATE_INTEREST,
            5..8 => place::CONSENT,
            _ => place::CONTRACT,
        };
        let source = if imported { place::IMPORT } else { place::USER };
        self.say(key, met, (place::STORE, basis), source);
        if self.chance(STORE_CHANGED) {
            let at = self.between(met, self.now);
            self.say(key, at, (place::STORE, place::CONTRACT), place::BULK);
        }
        if self.chance(STORE_WITHDRAWN) {
            let at = self.between(met, self.now);
            self.say(key, at, (place::STORE, place::WITHDRAWN), place::USER);
        }
    }

    fn marketing(&mut self, key: &Arc<str>, met: DateTime<Utc>, imported: bool, person: &Person) {
        if self.chance(MARKETED) {
            let (basis, source) = match self.random.random_range(0..10) {
                _ if imported => (place::LEGITIMATE_INTEREST, place::IMPORT),
                0..7 => (place::CONSENT, place::FORM),
                7..9 => (place::LEGITIMATE_INTEREST, place::USER),
                _ => (place::CONTRACT, place::USER),
            };
            self.say(key, met, (place::MARKETING, basis), source);
        }
        let out = person.salesforce.iter().any(|contact| contact.opted_out)
            || person.ascend.iter().any(|contact| contact.opted_out);
        let withdrawn = self.chance(if out {
            WITHDRAWN_AS_ELSEWHERE
        } else {
            WITHDRAWN_HERE_ONLY
        });
        if !withdrawn {
            return;
        }
        let elsewhere = person
            .salesforce
            .iter()
            .filter_map(|contact| contact.opted_out_at);
        let elsewhere = elsewhere.chain(
            person
                .ascend
                .iter()
                .filter_map(|contact| contact.opted_out_at),
        );
        let at = match elsewhere.max().filter(|at| *at >= met) {
            Some(at) if self.chance(0.8) => {
                self.between(at, (at + TimeDelta::days(3)).min(self.now))
            }
            _ => self.between(met, self.now),
        };
        let source = match self.random.random_range(0..10) {
            0..6 => place::LINK,
            6..7 => place::CENTRE,
            7..8 => place::COMPLAINT,
            _ => place::USER,
        };
        self.say(key, at, (place::MARKETING, place::WITHDRAWN), source);
        if !out && self.chance(CAME_BACK) {
            let at = self.between(at, self.now);
            self.say(key, at, (place::MARKETING, place::CONSENT), place::FORM);
        }
    }
}

/// When any other system first knew a person.
fn earliest(person: &Person) -> Option<DateTime<Utc>> {
    let salesforce = person.salesforce.iter().map(|contact| contact.created);
    salesforce
        .chain(person.ascend.iter().map(|contact| contact.created))
        .min()
}

/// The address in a form that the account takes.
fn ascii(address: &str) -> String {
    let mut address = address.to_owned();
    for (unicode, ascii) in PUNYCODE {
        address = address.replace(unicode, ascii);
    }
    address
}

impl State {
    /// Lays down what every account has, and the population.
    pub(crate) fn seed(&mut self, population: Population) {
        let now = whole_second(population.now);
        let people = population.people();
        self.seed_account(now);
        let mut maker = Maker {
            random: StdRng::seed_from_u64(population.seed ^ SALT),
            opened: now - TimeDelta::days(ACCOUNT_DAYS),
            now,
            imports: Vec::new(),
            records: Vec::new(),
        };
        maker.imports = (0..IMPORTS)
            .map(|_| maker.between(maker.opened, now))
            .collect();
        let most: usize = people.iter().map(|person| person.salesforce.len()).sum();
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        let mut contacts: Vec<Seedling> = Vec::new();
        for person in &people {
            let address = person.address.as_deref().map(ascii);
            let Some(address) = address.and_then(|address| self.address(&address)) else {
                continue;
            };
            let key: Arc<str> = address.into();
            if !maker.chance(KNOWN) || !seen.insert(Arc::clone(&key)) {
                continue;
            }
            let (met, imported) = maker.first_met(earliest(person).unwrap_or(now));
            maker.store(&key, met, imported);
            maker.marketing(&key, met, imported, person);
            let twin = maker.chance(TWIN);
            if !maker.chance(DELETED) {
                for older in (0..=usize::from(twin)).rev() {
                    if contacts.len() >= most {
                        break;
                    }
                    let created = met - TimeDelta::days(90 * older as i64);
                    let modified = if maker.chance(0.5) {
                        maker.between(created, now)
                    } else {
                        created
                    };
                    let fields = [("firstName", &person.first), ("lastName", &person.last)];
                    contacts.push(Seedling {
                        address: Arc::clone(&key),
                        fields: fields
                            .map(|(name, value)| (name.to_owned(), value.clone()))
                            .into(),
                        created,
                        modified,
                    });
                }
            }
            self.seed_delivery(&mut maker, &key);
        }
        contacts.sort_by_key(|contact| contact.created);
        for one in contacts {
            self.contacts
                .add(&one.address, &one.fields, one.created, one.modified);
        }
        maker.records.sort_by_key(|record| record.at);
        for record in maker.records {
            self.log.append(record);
        }
    }

    fn seed_delivery(&mut self, maker: &mut Maker, key: &str) {
        if maker.chance(BOUNCED) {
            self.bounced.insert(key.to_owned());
        }
        if maker.chance(SILENT) {
            self.unengaged.insert(key.to_owned());
        }
        if maker.chance(OFF_ONE) {
            let place = maker
                .random
                .random_range(0..self.subscriptions.len().max(1));
            let off = self.subscriptions.get(place).cloned();
            self.opted_out
                .insert(key.to_owned(), off.into_iter().collect());
        }
    }

    fn seed_account(&mut self, now: DateTime<Utc>) {
        let fields = HashMap::from([
            ("c__segment", "Segment"),
            ("c__member_since", "Member since"),
        ]);
        for (name, label) in fields {
            self.custom_fields.insert(name.to_owned(), label.to_owned());
        }
        for (age, name) in [
            (400, "Spring fair"),
            (120, "Monthly letter"),
            (30, "Autumn meeting"),
        ] {
            let campaign = Campaign {
                id: self.number(),
                name: name.to_owned(),
                folder: (age < 365).then(|| "This year".to_owned()),
                created: now - TimeDelta::days(age),
            };
            self.campaigns.push(campaign);
        }
    }
}
