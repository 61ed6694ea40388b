//! Lays down a generated population: the subscribers that its contacts in Salesforce are.
//!
//! A contact becomes a subscriber with the first send-out, so some never did; each unit knows those it has mailed. In
//! shares of the contacts with a usable address:
//!
//! - 6 % are no subscribers at all; of the others each unit knows about a half;
//! - who has opted out in Salesforce is mostly red, since most opt-outs come from here; 0.5 % of the others are red;
//! - 2 % are yellow and 1 % gray;
//! - 0.3 % are green in the enterprise and something else in one unit.
//!
//! What becomes of a contact depends on the seed and its number alone, so that two sandboxes agree on it.

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::state::{State, Status};
use super::units::{BOULDER, DENVER, Mid, SYSTEM};
use crate::org::seed::seedlings;
use crate::{Population, System, ids};

/// Keeps the draws apart from those that make the people.
const SALT: u64 = 0x00c1_0d5a_1e5f;
/// Spreads the numbers of contacts over the seeds.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// First three characters of the id of a contact.
const CONTACT_PREFIX: &str = "003";
/// Days between the bounces of a gray subscriber.
const BOUNCE_DAYS: i64 = 9;

const STRANGER: f64 = 0.06;
const IN_UNIT: f64 = 0.5;
const RED_AS_IN_SALESFORCE: f64 = 0.85;
const RED: f64 = 0.005;
const YELLOW: f64 = 0.02;
const GRAY: f64 = 0.01;
const ODD_UNIT: f64 = 0.003;

impl State {
    /// Lays down the population.
    pub(super) fn seed(&mut self, population: Population) {
        let people = population.people();
        let instance = System::Salesforce.instance();
        for (number, contact) in seedlings(System::Salesforce, &people)
            .into_iter()
            .enumerate()
        {
            let number = number as u64 + 1;
            let seed = population.seed ^ SALT ^ number.wrapping_mul(SPREAD);
            let mut random = StdRng::seed_from_u64(seed);
            let address = contact.address.map(str::trim).unwrap_or_default();
            if !address.contains('@') || random.random_bool(STRANGER) {
                continue;
            }
            let status = draw(&mut random, contact.opted_out);
            let key = ids::make(CONTACT_PREFIX, instance, number);
            let since = contact.opted_out_at.unwrap_or(contact.created);
            let Some(place) = self.add(&key, address, status, contact.created) else {
                continue;
            };
            let odd = status == Status::Active && random.random_bool(ODD_UNIT);
            let Some(one) = self.subscriber_mut(place) else {
                continue;
            };
            one.enterprise.since = since;
            let mut mids: Vec<Mid> = Vec::new();
            mids.extend(
                [BOULDER, DENVER, SYSTEM]
                    .into_iter()
                    .filter(|_| random.random_bool(IN_UNIT)),
            );
            if odd && mids.is_empty() {
                mids.push(BOULDER);
            }
            for (index, mid) in mids.into_iter().enumerate() {
                let mut standing = one.enterprise;
                if odd && index == 0 {
                    standing.status = [Status::Bounced, Status::Held, Status::Unsubscribed]
                        [random.random_range(0..3)];
                }
                one.units.insert(mid, standing);
            }
            let bounces = match status {
                Status::Bounced => 1,
                Status::Held => 3,
                Status::Active | Status::Unsubscribed => 0,
            };
            one.bounces = (0..bounces)
                .rev()
                .map(|number| population.now - TimeDelta::days(number * BOUNCE_DAYS + 1))
                .collect();
        }
    }
}

fn draw(random: &mut StdRng, opted_out: bool) -> Status {
    let red = if opted_out { RED_AS_IN_SALESFORCE } else { RED };
    if random.random_bool(red) {
        return Status::Unsubscribed;
    }
    let share: f64 = random.random();
    if share < GRAY {
        Status::Held
    } else if share < GRAY + YELLOW {
        Status::Bounced
    } else {
        Status::Active
    }
}
