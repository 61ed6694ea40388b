//! A Marketing Cloud enterprise account: subscribers, their status in the enterprise and its business units, and the
//! SOAP API over them.
//!
//! Paths, actions, properties and codes follow the vendor's pages on tokens, Retrieve, Update and error handling; the
//! rules of status follow those on unsubscribing with business units (see [`UnsubscribeBehavior`]). Where the pages leave
//! a point open, it is one of the [`Settings`]. Sends, journeys, data extensions and automations are left out.
//!
//! Marketing Cloud Connect ties the account to the Salesforce org in one direction: who unsubscribes by the link in a
//! message gets Email Opt Out ticked there. Clearing the box does nothing here.
//!
//! [`Enterprise`] is the handle: what subscribers, users and mail servers do to an account are methods of it, and
//! [`Act`]s for the control API.

mod act;
mod calls;
pub(crate) mod control;
mod seed;
mod settings;
mod state;
mod units;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::Clock;
use crate::credentials::MarketingCloudCredentials;
use crate::faults::{Fault, Rule};
use crate::{ActError, Org, Population};
pub use act::Act;
pub use calls::Calls;
pub use settings::Settings;
pub use state::Status;
use state::{Place, State};
pub use units::{BOULDER, DENVER, ENTERPRISE, Mid, SYSTEM, Unit, UnsubscribeBehavior};

/// A subscriber as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriberState {
    /// Number.
    pub id: u64,
    /// Subscriber key: here the 18-character id of a Salesforce contact.
    pub key: String,
    /// E-mail address.
    pub address: String,
    /// Status in the enterprise.
    pub enterprise: Status,
    /// Status in the units that know the subscriber.
    pub units: BTreeMap<Mid, Status>,
    /// Bounces in a row.
    pub bounces: usize,
    /// Units whose send-outs would reach the subscriber.
    pub mailable: Vec<Mid>,
}

/// What requests and the handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    /// The state, with its population laid down.
    ///
    /// The population comes with the first look, since many who start a sandbox never look at this account.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock_as_it_is();
        if let Some(population) = state.unseeded.take() {
            state.seed(population);
        }
        state
    }

    /// The state for those who do not look at subscribers. Never takes long.
    pub(crate) fn lock_as_it_is(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One simulated enterprise account.
#[derive(Clone, Debug)]
pub struct Enterprise {
    shared: Arc<Shared>,
}

impl Enterprise {
    /// An account that listens at `url`, whose subscribers are these people's contacts in the Salesforce org.
    pub(crate) fn new(
        url: String,
        credentials: &MarketingCloudCredentials,
        population: Population,
        salesforce: Org,
        clock: Arc<Clock>,
    ) -> Enterprise {
        let state = State::new(url, credentials.clone(), population, salesforce, clock);
        Enterprise {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Where the account listens: the base of the token endpoint, of SOAP and of REST in one.
    pub fn url(&self) -> String {
        self.shared.lock_as_it_is().url.clone()
    }

    /// The account's clock, skew included.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.lock_as_it_is().now()
    }

    /// The enterprise and its units, the enterprise first.
    pub fn units(&self) -> Vec<Unit> {
        self.shared.lock_as_it_is().units.all().to_vec()
    }

    /// Number of subscribers.
    pub fn subscriber_count(&self) -> usize {
        self.lock().places().count()
    }

    /// Subscriber keys in order of their ids, at most `limit`.
    pub fn keys(&self, limit: usize) -> Vec<String> {
        let state = self.lock();
        let all = state.places().filter_map(|place| state.subscriber(place));
        all.map(|one| one.key.to_string()).take(limit).collect()
    }

    /// A subscriber by its key, in any case.
    pub fn subscriber(&self, key: &str) -> Option<SubscriberState> {
        let state = self.lock();
        subscriber_state(&state, state.place(key)?)
    }

    /// All subscribers with this address in any case, oldest first.
    pub fn subscribers_by_address(&self, address: &str) -> Vec<SubscriberState> {
        let state = self.lock();
        let wanted = address.trim().to_lowercase();
        let places = state.places().filter(|place| {
            let one = state.subscriber(*place);
            one.is_some_and(|one| one.address.to_lowercase() == wanted)
        });
        places
            .filter_map(|place| subscriber_state(&state, place))
            .collect()
    }

    /// The status written in the enterprise or a unit; `None`: it does not know the subscriber.
    pub fn status(&self, key: &str, mid: Mid) -> Option<Status> {
        let state = self.lock();
        let standing = state.standing(state.place(key)?, mid)?;
        Some(standing.status)
    }

    /// Whether a send-out of the unit would reach the subscriber.
    pub fn mailable(&self, key: &str, mid: Mid) -> bool {
        let state = self.lock();
        state
            .place(key)
            .is_some_and(|place| state.mailable(place, mid))
    }

    /// Sets a fault. [`Fault::RevokeTokens`] acts at once and is not kept; faults that could never strike are refused.
    pub fn set_fault(&self, rule: impl Into<Rule>) -> Result<(), ActError> {
        let rule = rule.into();
        if !wire::strikes(&rule.fault) {
            let name = rule.fault.name();
            return Err(ActError::Invalid(format!(
                "{name:?} cannot strike a Marketing Cloud account"
            )));
        }
        let mut state = self.shared.lock_as_it_is();
        if matches!(rule.fault, Fault::RevokeTokens) {
            let now = state.now();
            state.tokens.expire(now);
            return Ok(());
        }
        if state.faults.add(rule) {
            Ok(())
        } else {
            Err(ActError::Full("too many faults are set"))
        }
    }

    /// Clears all faults, or those of one name; returns how many.
    pub fn clear_faults(&self, name: Option<&str>) -> usize {
        self.shared.lock_as_it_is().faults.clear(name)
    }

    /// The faults that are set.
    pub fn faults(&self) -> Vec<Rule> {
        self.shared.lock_as_it_is().faults.rules().to_vec()
    }

    /// What clients did since the last reset.
    pub fn calls(&self) -> Calls {
        self.shared.lock_as_it_is().calls.clone()
    }

    /// Starts counting anew.
    pub fn reset_calls(&self) {
        self.shared.lock_as_it_is().calls = Calls::default();
    }

    /// The account's set-up.
    pub fn settings(&self) -> Settings {
        self.shared.lock_as_it_is().settings.clone()
    }

    /// Changes the account's set-up.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.lock_as_it_is().settings);
    }
}

fn subscriber_state(state: &State, place: Place) -> Option<SubscriberState> {
    let one = state.subscriber(place)?;
    let mids = state.units.all().iter().map(|unit| unit.mid);
    Some(SubscriberState {
        id: one.id,
        key: one.key.to_string(),
        address: one.address.to_string(),
        enterprise: one.enterprise.status,
        units: one
            .units
            .iter()
            .map(|(mid, standing)| (*mid, standing.status))
            .collect(),
        bounces: one.bounces.len(),
        mailable: mids.filter(|mid| state.mailable(place, *mid)).collect(),
    })
}
