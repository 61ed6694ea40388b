//! An eMarketeer account: contacts, consent per address and purpose, and the API over them.
//!
//! Consent belongs to an address, not to a contact: it outlives the contact, and an address that never was a contact can
//! have some. Every change is a new record of an append-only log; the record with the latest time is the
//! state. Paths, verbs, authentication and limits follow the vendor's "API endpoints overview" and "Legacy API 1.0";
//! rules of consent follow its pages on legal basis, bulk actions and imports. The schema of the API is not public, so
//! all that clients might have to guess is one of the [`Settings`].
//!
//! [`Account`] is the handle: what users, people and mail servers do to an account are methods of it, and [`Act`]s for
//! the control API.

mod act;
mod acts;
mod calls;
mod contacts;
pub(crate) mod control;
mod keys;
mod log;
pub mod master;
mod seed;
mod sendouts;
mod settings;
mod setup;
mod state;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::clock::Clock;
use crate::faults::Rule;
use crate::{ActError, Population};
pub use act::Act;
pub use acts::{BulkState, ImportReport, ImportRow, NewContact};
pub use calls::Calls;
use contacts::{Contact, EXTERNAL_ID};
pub use keys::Keys;
use log::Number;
pub use master::{Item, Kind};
pub use sendouts::{Checklist, Counts, Outcome, Sendout, SendoutState};
pub use settings::{
    FilterScope, Identical, QueryNames, Settings, Spelling, Stamps, SuppliedTime, Wrapper,
};
use state::State;

/// One consent record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsentState {
    /// Name of the purpose, such as [`master::MARKETING`].
    pub purpose: String,
    /// Name of the legal basis, such as [`master::WITHDRAWN`].
    pub basis: String,
    /// Name of the source.
    pub source: String,
    /// Proof or comment.
    pub text: Option<String>,
    /// When it was given, in whole seconds.
    pub at: DateTime<Utc>,
}

/// A contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContactState {
    /// Number.
    pub id: u64,
    /// In lower case.
    pub address: String,
    /// Number in a CRM.
    pub external_id: Option<String>,
    /// All fields with a value but the address, by the names of the present API.
    pub fields: BTreeMap<String, String>,
    /// When it was created.
    pub created: DateTime<Utc>,
    /// When it was last changed.
    pub modified: DateTime<Utc>,
}

/// All that an account knows of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressState {
    /// In lower case.
    pub address: String,
    /// Its contacts, lowest id first.
    pub contacts: Vec<ContactState>,
    /// Current consent by the name of the purpose.
    pub consents: BTreeMap<String, ConsentState>,
    /// The address bounced for good.
    pub hard_bounced: bool,
    /// Subscriptions that are off.
    pub opted_out_of: Vec<String>,
}

/// What requests and the handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    /// The state, with its population laid down and everything done that is due.
    ///
    /// The population comes with the first look, since many who start a sandbox never look at this account.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock_as_it_is();
        if let Some(population) = state.unseeded.take() {
            state.seed(population);
        }
        state.settle();
        state
    }

    /// The state for those who look at neither contacts nor consent. Never takes long.
    pub(crate) fn lock_as_it_is(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One simulated account.
#[derive(Clone, Debug)]
pub struct Account {
    shared: Arc<Shared>,
}

impl Account {
    /// An account that listens at `url` and has these people, as far as the account knows them.
    pub(crate) fn new(
        url: String,
        keys: &Keys,
        population: Population,
        clock: Arc<Clock>,
    ) -> Account {
        let state = State::new(url, keys.clone(), population, clock);
        Account {
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

    /// Where the account listens: every module and API 1.0, each under its own path.
    pub fn url(&self) -> String {
        self.shared.lock_as_it_is().url.clone()
    }

    /// The account's clock, skew included.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.lock_as_it_is().now()
    }

    /// Number of contacts.
    pub fn contact_count(&self) -> usize {
        self.lock().contacts.len()
    }

    /// Number of consent records, past ones included.
    pub fn record_count(&self) -> usize {
        self.lock().log.len()
    }

    /// Ids of contacts, lowest first, at most `limit`.
    pub fn contact_ids(&self, limit: usize) -> Vec<u64> {
        let state = self.lock();
        state
            .contacts
            .all()
            .map(|contact| contact.id)
            .take(limit)
            .collect()
    }

    /// Addresses with consent records, in alphabetical order.
    pub fn addresses(&self) -> Vec<String> {
        let state = self.lock();
        let mut addresses: Vec<String> = state.log.keys().map(ToString::to_string).collect();
        addresses.sort_unstable();
        addresses
    }

    /// A contact by its id.
    pub fn contact(&self, id: u64) -> Option<ContactState> {
        self.lock().contacts.get(id).map(contact_state)
    }

    /// The contacts with this address in any case, lowest id first.
    pub fn contacts_by_address(&self, address: &str) -> Vec<ContactState> {
        contacts_at(&self.lock(), &key_of(address))
    }

    /// All that is known of an address.
    pub fn address(&self, address: &str) -> AddressState {
        let state = self.lock();
        let key = key_of(address);
        let current = state.log.of_key(&key).iter().copied();
        AddressState {
            contacts: contacts_at(&state, &key),
            consents: current
                .filter(|number| state.log.is_current(*number))
                .filter_map(|number| consent_state(&state, number))
                .map(|consent| (consent.purpose.clone(), consent))
                .collect(),
            hard_bounced: state.bounced.contains(&key),
            opted_out_of: state
                .opted_out
                .get(&key)
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            address: key,
        }
    }

    /// Name of the current legal basis of an address for a purpose; `None`: there is no record.
    pub fn basis(&self, address: &str, purpose: &str) -> Option<String> {
        Some(self.consent(address, purpose)?.basis)
    }

    /// The current record of an address for a purpose, given by its name.
    pub fn consent(&self, address: &str, purpose: &str) -> Option<ConsentState> {
        let state = self.lock();
        let purpose = state.place_of(Kind::Purpose, purpose)?;
        consent_state(&state, state.log.current(&key_of(address), purpose)?)
    }

    /// All records of an address, oldest first; of the same second, in the order of writing.
    pub fn history(&self, address: &str) -> Vec<ConsentState> {
        let state = self.lock();
        let numbers = state.log.history(&key_of(address));
        let oldest_first = numbers.into_iter().rev();
        oldest_first
            .filter_map(|number| consent_state(&state, number))
            .collect()
    }

    /// Sets a fault. Faults that could never strike an account are refused.
    pub fn set_fault(&self, rule: impl Into<Rule>) -> Result<(), ActError> {
        let rule = rule.into();
        if !wire::faults::strikes(&rule.fault) {
            let name = rule.fault.name();
            return Err(ActError::Invalid(format!(
                "{name:?} cannot strike an eMarketeer account so"
            )));
        }
        if self.shared.lock_as_it_is().faults.add(rule) {
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
        change(&mut self.lock().settings);
    }
}

/// The form in which an address is looked up.
fn key_of(address: &str) -> String {
    address.trim().to_lowercase()
}

fn contacts_at(state: &State, key: &str) -> Vec<ContactState> {
    let contacts = state
        .contacts
        .at(key)
        .filter_map(|id| state.contacts.get(id));
    contacts.map(contact_state).collect()
}

fn contact_state(contact: &Contact) -> ContactState {
    let fields = contact.fields.iter();
    ContactState {
        id: contact.id,
        address: contact.address.to_string(),
        external_id: contact.field(EXTERNAL_ID).map(str::to_owned),
        fields: fields
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        created: contact.created,
        modified: contact.modified,
    }
}

fn consent_state(state: &State, number: Number) -> Option<ConsentState> {
    let record = state.log.get(number)?;
    let name = |kind, place| state.master.name(kind, place).to_owned();
    Some(ConsentState {
        purpose: name(Kind::Purpose, record.purpose),
        basis: name(Kind::LegalBasis, record.basis),
        source: name(Kind::Source, record.source),
        text: record.text.as_deref().map(str::to_owned),
        at: record.at,
    })
}

fn no_item(kind: Kind, name: &str) -> ActError {
    let kind = match kind {
        Kind::Purpose => "purpose",
        Kind::LegalBasis => "legal basis",
        Kind::Source => "source",
    };
    ActError::Invalid(format!("no {kind} is called {name:?}"))
}
