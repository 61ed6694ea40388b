//! Lays the generated population down as persons with consents.
//!
//! They are the people of the other systems, with the same addresses, but not quite all of them. Nearly everyone has a
//! consent for sales and service; those for E-marketing mostly follow what the other systems have, given and withdrawn
//! over the years. Some persons are there twice, some have two addresses, a few none, and some have left.

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::changes::{Author, ConsentValues};
use super::lifecycle::PersonValues;
use super::lists::{self, EMARKETING, STORE};
use super::state::{ADMINISTRATOR, Email, MARKETING, Reservation, SALES, State};
use crate::clock::whole_second;
use crate::people::Person;

/// Share of the people that the tenant does not know.
const UNKNOWN_HERE: f64 = 0.08;
const DUPLICATE: f64 = 0.047;
const NO_ADDRESS: f64 = 0.02;
/// Share of the addresses that are as somebody typed them.
const AS_TYPED: f64 = 0.15;
const SECOND_ADDRESS: f64 = 0.05;
const RETIRED: f64 = 0.04;
const HAS_STORE: f64 = 0.98;
/// Share of the opted out whose consent is withdrawn here too.
const WITHDRAWN_TOO: f64 = 0.90;
const HAS_EMARKETING: f64 = 0.60;
const WITHDRAWN_ONLY_HERE: f64 = 0.02;
const OPT_OUT_OF_TYPE: f64 = 0.03;
/// Persons that share a company.
const PERSONS_PER_COMPANY: usize = 50;
/// Makes the draws here independent of those that made the people.
const SALT: u64 = 0x5355_5045_524f_4646;

struct Seedling<'p> {
    person: &'p Person,
    created: DateTime<Utc>,
    addresses: Vec<String>,
}

struct Sower {
    random: StdRng,
    now: DateTime<Utc>,
}

impl Sower {
    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    fn between(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        let secs = (until - from).num_seconds().max(0);
        from + TimeDelta::seconds(self.random.random_range(0..=secs))
    }

    /// When the person was entered: often near the time at which another system got it.
    fn created(&mut self, person: &Person) -> DateTime<Utc> {
        let elsewhere = person.salesforce.first().map(|contact| contact.created);
        let elsewhere = elsewhere.or_else(|| person.ascend.first().map(|contact| contact.created));
        let earliest = elsewhere.unwrap_or(self.now - TimeDelta::days(3_000));
        let until = if self.chance(0.5) {
            (earliest + TimeDelta::days(120)).min(self.now)
        } else {
            self.now
        };
        whole_second(self.between(earliest, until))
    }

    fn addresses(&mut self, person: &Person, duplicate: bool) -> Vec<String> {
        let Some(clean) = &person.address else {
            return Vec::new();
        };
        if !duplicate && self.chance(NO_ADDRESS) {
            return Vec::new();
        }
        let mut typed = person
            .salesforce
            .iter()
            .filter_map(|contact| contact.address.as_ref())
            .chain(
                person
                    .ascend
                    .iter()
                    .filter_map(|contact| contact.address.as_ref()),
            );
        let first = match typed.next() {
            Some(typed) if self.chance(AS_TYPED) => typed.clone(),
            _ => clean.clone(),
        };
        let mut addresses = vec![first];
        let elsewhere = typed.find(|other| !other.trim().eq_ignore_ascii_case(clean));
        if self.chance(SECOND_ADDRESS) {
            let home = clean
                .split_once('@')
                .map(|(local, domain)| format!("{local}.home@{domain}"));
            addresses.extend(home);
        } else if let Some(other) = elsewhere
            && self.chance(0.3)
        {
            addresses.push(other.clone());
        }
        addresses
    }

    fn pick<T: Copy>(&mut self, choices: &[(T, u32)]) -> Option<T> {
        let total: u32 = choices.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.random_range(0..total.max(1));
        for (choice, weight) in choices {
            if at < *weight {
                return Some(*choice);
            }
            at -= weight;
        }
        None
    }

    fn seedlings<'p>(&mut self, people: &'p [Person], count: usize) -> Vec<Seedling<'p>> {
        let mut all = Vec::with_capacity(count);
        let mut left_out = Vec::new();
        for person in people {
            if self.chance(UNKNOWN_HERE) {
                left_out.push(person);
            } else {
                self.add(person, count, &mut all);
            }
        }
        for person in left_out {
            self.add(person, count, &mut all);
        }
        all.sort_by_key(|seedling| seedling.created);
        all
    }

    fn add<'p>(&mut self, person: &'p Person, count: usize, all: &mut Vec<Seedling<'p>>) {
        let mut duplicate = false;
        while all.len() < count {
            all.push(Seedling {
                person,
                created: self.created(person),
                addresses: self.addresses(person, duplicate),
            });
            duplicate = true;
            if person.address.is_none() || !self.chance(DUPLICATE) {
                break;
            }
        }
    }
}

/// Lays `count` persons down, fewer only if there are fewer people.
pub(crate) fn lay(state: &mut State, people: &[Person], count: usize, seed: u64) {
    let mut sower = Sower {
        random: StdRng::seed_from_u64(seed ^ SALT),
        now: state.stamp(),
    };
    let staff = |name: &str| state.associate_named(name).unwrap_or(0);
    let (admin, sales, marketing) = (staff(ADMINISTRATOR), staff(SALES), staff(MARKETING));
    let defaults = state.settings.consent_for_new;
    state.settings.consent_for_new = false;
    let mut contact = 0;
    for (place, seedling) in sower.seedlings(people, count).into_iter().enumerate() {
        if place % PERSONS_PER_COMPANY == 0 {
            contact = company(state, place / PERSONS_PER_COMPANY + 1, &seedling);
        }
        let created = seedling.created;
        let by = if sower.chance(0.4) { admin } else { sales };
        let values = PersonValues {
            first: seedling.person.first.clone(),
            last: seedling.person.last.clone(),
            contact,
            addresses: seedling
                .addresses
                .iter()
                .map(|address| (address.clone(), String::new()))
                .collect(),
            retired: sower.chance(RETIRED),
            created: Some(created),
        };
        let person = state.create_person(values, &Author::of(by));
        store_consent(state, &mut sower, person, created, by);
        let out = opted_out(seedling.person);
        let last = marketing_consent(state, &mut sower, person, created, out, marketing);
        let updated = last.or_else(|| sower.chance(0.5).then(|| sower.between(created, sower.now)));
        if let Some(row) = state.persons.get_mut(&person) {
            row.updated = updated.map(whole_second);
            row.updated_by = updated.map_or(0, |_| marketing);
        }
    }
    state.settings.consent_for_new = defaults;
}

/// A company with an address of its own, which at times is that of a person too.
fn company(state: &mut State, number: usize, first: &Seedling<'_>) -> i64 {
    let registered = first.created;
    let contact = state.put_company(format!("Company {number}"), registered);
    let shared = first
        .addresses
        .first()
        .filter(|_| number.is_multiple_of(20));
    let address = shared
        .cloned()
        .unwrap_or_else(|| format!("office{number}@company.example"));
    state.put_email(Email {
        person: 0,
        contact,
        address,
        description: String::new(),
        rank: 1,
        registered,
        updated: None,
    });
    contact
}

/// What the other systems know of an opt-out.
#[derive(Clone, Copy)]
struct OptOut {
    out: bool,
    at: Option<DateTime<Utc>>,
}

fn opted_out(person: &Person) -> OptOut {
    let salesforce = person.salesforce.first();
    let ascend = person.ascend.first();
    let (out, at) = salesforce
        .map(|contact| (contact.opted_out, contact.opted_out_at))
        .or_else(|| ascend.map(|contact| (contact.opted_out, contact.opted_out_at)))
        .unwrap_or_default();
    OptOut { out, at }
}

fn values(purpose: i64, base: i64, source: i64, comment: &str) -> ConsentValues {
    ConsentValues {
        purpose,
        base,
        source,
        comment: comment.to_owned(),
    }
}

/// The consent that nearly everyone has.
fn store_consent(
    state: &mut State,
    sower: &mut Sower,
    person: i64,
    created: DateTime<Utc>,
    by: i64,
) {
    if !sower.chance(HAS_STORE) {
        return;
    }
    let sources = [
        (lists::USER, 50),
        (lists::IMPORT, 30),
        (lists::UNKNOWN, 15),
        (lists::WEBFORM, 5),
    ];
    let bases = [(lists::LEGITIMATE, 85), (lists::CONSENT, 10), (2, 5)];
    let source = sower.pick(&sources).unwrap_or(lists::USER);
    let base = sower.pick(&bases).unwrap_or(lists::LEGITIMATE);
    state.lay_consent(person, values(STORE, base, source, ""), created, by);
    if sower.chance(0.03) {
        let at = sower.between(created, sower.now);
        let withdrawn = values(STORE, lists::WITHDRAWN, lists::USER, "asked by telephone");
        state.lay_consent(person, withdrawn, at, by);
    }
}

/// The consent for E-marketing; returns when it last changed.
fn marketing_consent(
    state: &mut State,
    sower: &mut Sower,
    person: i64,
    created: DateTime<Utc>,
    elsewhere: OptOut,
    by: i64,
) -> Option<DateTime<Utc>> {
    let withdrawn = sower.chance(if elsewhere.out {
        WITHDRAWN_TOO
    } else {
        WITHDRAWN_ONLY_HERE
    });
    if !withdrawn && !sower.chance(HAS_EMARKETING) {
        return None;
    }
    let bases = [(lists::CONSENT, 55), (lists::LEGITIMATE, 43), (2, 2)];
    let sources = [
        (lists::USER, 50),
        (lists::WEBFORM, 30),
        (lists::EMAIL, 10),
        (lists::IMPORT, 10),
    ];
    let given = sower.between(created, sower.now);
    let mut last = given;
    if !withdrawn || sower.chance(0.7) {
        let base = sower.pick(&bases).unwrap_or(lists::CONSENT);
        let source = sower.pick(&sources).unwrap_or(lists::USER);
        state.lay_consent(person, values(EMARKETING, base, source, ""), given, by);
    }
    if withdrawn {
        let known = elsewhere.at.filter(|at| *at >= given);
        last = known.unwrap_or_else(|| sower.between(given, sower.now));
        let source = if sower.chance(0.7) {
            lists::EMAIL
        } else {
            lists::USER
        };
        let row = values(EMARKETING, lists::WITHDRAWN, source, "");
        state.lay_consent(person, row, last, by);
    } else if sower.chance(OPT_OUT_OF_TYPE) {
        let shipment_type = sower
            .random
            .random_range(1..=state.shipment_types.len() as i64);
        state.put_reservation(Reservation {
            person,
            shipment_type,
            registered: whole_second(last),
            registered_by: by,
        });
    }
    Some(last)
}
