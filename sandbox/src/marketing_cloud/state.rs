//! Everything one enterprise account knows, behind one lock that is never held across an await.
//!
//! A subscriber belongs to the enterprise, and has a status there and one in each unit that knows the subscriber. How
//! the two hang together is a choice of each unit (see [`UnsubscribeBehavior`]); the rules are all in this file.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::settings::Settings;
use super::units::{ENTERPRISE, Mid, Units, UnsubscribeBehavior};
use super::wire::retrieve::Cursors;
use super::wire::token::Tokens;
use crate::clock::{Clock, whole_second};
use crate::credentials::MarketingCloudCredentials;
use crate::faults::{Fault, Faults};
use crate::{Org, Population};

/// Status events that are kept; older ones are forgotten.
pub(crate) const MAX_EVENTS: usize = 100_000;
/// Bounces of one subscriber that are remembered.
pub(crate) const MAX_BOUNCES: usize = 50;
/// As many bounces in a row make an address Held, …
const HELD_BOUNCES: usize = 3;
/// … when more than so many days lie between the first and the last.
const HELD_DAYS: i64 = 14;

/// What a subscriber is called in the application by the colour of a shirt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Green: can be mailed.
    Active,
    /// Yellow: bounced, and still tried.
    Bounced,
    /// Gray: bounced too often, and no longer tried.
    Held,
    /// Red: wants nothing.
    Unsubscribed,
}

impl Status {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Active => "Active",
            Status::Bounced => "Bounced",
            Status::Held => "Held",
            Status::Unsubscribed => "Unsubscribed",
        }
    }

    /// As `SubscriberStatusEvent` spells it, which tells only three apart.
    pub(crate) fn event_name(self) -> &'static str {
        match self {
            Status::Active | Status::Bounced => "Normal",
            Status::Held => "Held",
            Status::Unsubscribed => "Unsub",
        }
    }

    /// Whether mail to such a subscriber is tried.
    pub(crate) fn is_tried(self) -> bool {
        matches!(self, Status::Active | Status::Bounced)
    }
}

/// A status in one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) status: Status,
    pub(crate) since: DateTime<Utc>,
    pub(crate) created: DateTime<Utc>,
}

/// One subscriber.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) key: Box<str>,
    pub(crate) address: Box<str>,
    pub(crate) enterprise: Standing,
    /// Status in the units that know the subscriber.
    pub(crate) units: BTreeMap<Mid, Standing>,
    /// Status on the lists besides "All Subscribers".
    pub(crate) lists: BTreeMap<u64, Standing>,
    /// Bounces in a row, oldest first.
    pub(crate) bounces: Vec<DateTime<Utc>>,
}

/// A change of status.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) mid: Mid,
    pub(crate) subscriber: u64,
    pub(crate) key: Box<str>,
    pub(crate) from: Status,
    pub(crate) to: Status,
    pub(crate) reason: String,
    pub(crate) at: DateTime<Utc>,
}

/// Position of a subscriber; never given out twice.
pub(crate) type Place = usize;

/// The state of one enterprise account.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) url: String,
    pub(crate) credentials: MarketingCloudCredentials,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    pub(crate) units: Units,
    pub(crate) tokens: Tokens,
    pub(crate) cursors: Cursors,
    pub(crate) events: VecDeque<Event>,
    subscribers: Vec<Option<Subscriber>>,
    /// By the key in lower case: the database behind compares without regard to case.
    by_key: HashMap<Box<str>, Place>,
    /// The org that Marketing Cloud Connect ties the account to.
    pub(crate) salesforce: Org,
    /// The population, as long as it is not laid down.
    pub(crate) unseeded: Option<Population>,
    clock: Arc<Clock>,
}

impl State {
    pub(crate) fn new(
        url: String,
        credentials: MarketingCloudCredentials,
        population: Population,
        salesforce: Org,
        clock: Arc<Clock>,
    ) -> State {
        State {
            url,
            credentials,
            settings: Settings::default(),
            faults: Faults::default(),
            calls: Calls::default(),
            units: Units::default(),
            tokens: Tokens::default(),
            cursors: Cursors::default(),
            events: VecDeque::new(),
            subscribers: Vec::new(),
            by_key: HashMap::new(),
            salesforce,
            unseeded: Some(population),
            clock,
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

    pub(crate) fn stamp(&self) -> DateTime<Utc> {
        whole_second(self.now())
    }

    pub(crate) fn place(&self, key: &str) -> Option<Place> {
        self.by_key.get(fold(key).as_ref()).copied()
    }

    pub(crate) fn subscriber(&self, place: Place) -> Option<&Subscriber> {
        self.subscribers.get(place)?.as_ref()
    }

    pub(crate) fn subscriber_mut(&mut self, place: Place) -> Option<&mut Subscriber> {
        self.subscribers.get_mut(place)?.as_mut()
    }

    /// Places of all subscribers, in order of their ids.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let subscribers = self.subscribers.iter().enumerate();
        subscribers.filter_map(|(place, one)| one.as_ref().map(|_| place))
    }

    /// Adds a subscriber to the enterprise; `None` when the key is taken.
    pub(crate) fn add(
        &mut self,
        key: &str,
        address: &str,
        status: Status,
        created: DateTime<Utc>,
    ) -> Option<Place> {
        let folded = fold(key);
        if self.by_key.contains_key(&folded) {
            return None;
        }
        let place = self.subscribers.len();
        self.subscribers.push(Some(Subscriber {
            id: place as u64 + 1,
            key: key.into(),
            address: address.into(),
            enterprise: Standing {
                status,
                since: created,
                created,
            },
            units: BTreeMap::new(),
            lists: BTreeMap::new(),
            bounces: Vec::new(),
        }));
        self.by_key.insert(folded, place);
        Some(place)
    }

    pub(crate) fn remove(&mut self, place: Place) {
        if let Some(one) = self.subscribers.get_mut(place).and_then(Option::take) {
            self.by_key.remove(&fold(&one.key));
        }
    }

    /// Whether a place has the subscriber: the enterprise has all of them.
    pub(crate) fn knows(&self, place: Place, mid: Mid) -> bool {
        self.standing(place, mid).is_some()
    }

    /// The status that stands written in a unit or the enterprise.
    pub(crate) fn standing(&self, place: Place, mid: Mid) -> Option<Standing> {
        let one = self.subscriber(place)?;
        if mid == ENTERPRISE {
            Some(one.enterprise)
        } else {
            one.units.get(&mid).copied()
        }
    }

    fn follows(&self, mid: Mid) -> bool {
        let unit = self.units.get(mid);
        unit.is_none_or(|unit| unit.behavior == UnsubscribeBehavior::EntireEnterprise)
    }

    /// The status that a Retrieve answers.
    pub(crate) fn shown(&self, place: Place, mid: Mid) -> Option<Standing> {
        let standing = self.standing(place, mid)?;
        let above = self.subscriber(place)?.enterprise;
        let hidden = self.settings.enterprise_shows_in_units
            && above.status == Status::Unsubscribed
            && self.follows(mid);
        Some(if hidden { above } else { standing })
    }

    /// Whether a send-out of the unit would reach the subscriber.
    ///
    /// In a unit that follows the enterprise neither of the two may be unsubscribed; one that does not follow goes by
    /// its own status. A unit that does not know the subscriber yet takes the enterprise's status.
    pub(crate) fn mailable(&self, place: Place, mid: Mid) -> bool {
        let Some(one) = self.subscriber(place) else {
            return false;
        };
        let own = self.standing(place, mid).unwrap_or(one.enterprise);
        own.status.is_tried()
            && (!self.follows(mid) || one.enterprise.status != Status::Unsubscribed)
    }

    /// Puts down a status in one place, without any consequence elsewhere; a unit comes to know the subscriber.
    pub(crate) fn put(&mut self, place: Place, mid: Mid, status: Status, reason: &str) {
        let now = self.stamp();
        let Some(one) = self.subscriber_mut(place) else {
            return;
        };
        let before = if mid == ENTERPRISE {
            Some(one.enterprise)
        } else {
            one.units.get(&mid).copied()
        };
        let changed = before.is_none_or(|before| before.status != status);
        let after = Standing {
            status,
            since: before
                .filter(|_| !changed)
                .map_or(now, |before| before.since),
            created: before.map_or(now, |before| before.created),
        };
        if mid == ENTERPRISE {
            one.enterprise = after;
        } else {
            one.units.insert(mid, after);
        }
        let (subscriber, key) = (one.id, one.key.clone());
        let from = before.map_or(Status::Active, |before| before.status);
        if from.event_name() != status.event_name() {
            if self.events.len() >= MAX_EVENTS {
                self.events.pop_front();
            }
            self.events.push_back(Event {
                mid,
                subscriber,
                key,
                from,
                to: status,
                reason: reason.to_owned(),
                at: now,
            });
        }
    }

    /// Sets a status as the application and the API do, with all that follows from it.
    ///
    /// Activating never reaches beyond the place it is done in. Unsubscribing in a unit that follows the enterprise
    /// unsubscribes there too; unsubscribing at the enterprise is universal for the units that follow it.
    pub(crate) fn set(&mut self, place: Place, mid: Mid, status: Status, reason: &str) {
        self.put(place, mid, status, reason);
        if status != Status::Unsubscribed || !self.follows(mid) {
            return;
        }
        if mid != ENTERPRISE {
            self.put(place, ENTERPRISE, status, reason);
        }
        if self.settings.enterprise_unsubscribe_reaches_units {
            let units: Vec<Mid> = self
                .subscriber(place)
                .map(|one| one.units.keys().copied().collect())
                .unwrap_or_default();
            for unit in units {
                if self.follows(unit) {
                    self.put(place, unit, status, reason);
                }
            }
        }
    }

    /// The address bounced at these times; who has unsubscribed stays so.
    pub(crate) fn bounce(&mut self, place: Place, times: &[DateTime<Utc>]) {
        let Some(one) = self.subscriber_mut(place) else {
            return;
        };
        one.bounces.extend_from_slice(times);
        one.bounces.sort_unstable();
        let over = one.bounces.len().saturating_sub(MAX_BOUNCES);
        one.bounces.drain(..over);
        let days = match one.bounces.as_slice() {
            [first, .., last] => *last - *first,
            _ => TimeDelta::zero(),
        };
        let held = one.bounces.len() >= HELD_BOUNCES && days > TimeDelta::days(HELD_DAYS);
        let status = if held { Status::Held } else { Status::Bounced };
        self.everywhere(place, status, "Bounce", |now| now != Status::Unsubscribed);
    }

    /// The subscriber opened or clicked: the address works.
    pub(crate) fn engage(&mut self, place: Place) {
        if let Some(one) = self.subscriber_mut(place) {
            one.bounces.clear();
        }
        self.everywhere(place, Status::Active, "Engagement", |now| {
            matches!(now, Status::Bounced | Status::Held)
        });
    }

    /// A status in the enterprise and all units that know the subscriber, wherever the present one is such.
    fn everywhere(
        &mut self,
        place: Place,
        status: Status,
        reason: &str,
        such: impl Fn(Status) -> bool,
    ) {
        let Some(one) = self.subscriber(place) else {
            return;
        };
        let mut mids = vec![(ENTERPRISE, one.enterprise.status)];
        mids.extend(
            one.units
                .iter()
                .map(|(mid, standing)| (*mid, standing.status)),
        );
        for (mid, now) in mids {
            if such(now) {
                self.put(place, mid, status, reason);
            }
        }
    }
}

fn fold(key: &str) -> Box<str> {
    key.trim().to_lowercase().into()
}
