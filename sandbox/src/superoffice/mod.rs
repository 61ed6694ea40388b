//! A SuperOffice tenant, online or at the customer's, with the consents of its persons.
//!
//! Follows the vendor's documentation, OpenAPI files and sample requests: the REST API of persons, consents and lists,
//! the agents for the same, archives with OData parameters, webhooks, the login of system users and by OpenID Connect,
//! and the state of tenants. Where these leave room, [`Settings`] has a switch; where the vendor documents a fact, there
//! is none.
//!
//! [`Tenant`] is the handle: what people do in the product, and what a test wants to know.
//!
//! | module | what it has |
//! |---|---|
//! | `state`, `changes`, `lifecycle` | the tables, and what follows from a change |
//! | `site`, `types` | the tenant behind its socket; what tests see of it |
//! | `lists` | purposes, legal bases, sources, their keys and names |
//! | `http`, `auth` | paths, logins, tenant state |
//! | `person_api`, `list_api`, `agents`, `patch`, `carriers` | endpoints and their JSON |
//! | `archive` | queries |
//! | `webhooks`, `webhook_api`, `delivery` | webhooks, their registration, sending of notifications |
//! | `seed` | the population |
//! | `control` | the routes of the control API |

mod agents;
mod archive;
mod auth;
mod carriers;
mod changes;
pub(crate) mod control;
mod delivery;
mod errors;
mod http;
mod lifecycle;
mod list_api;
mod lists;
mod patch;
mod person_api;
mod seed;
mod settings;
mod site;
mod state;
mod types;
mod webhook_api;
mod webhooks;

use std::sync::{Arc, MutexGuard};

use chrono::{DateTime, Utc};

use crate::clock::Clock;
use crate::faults::{Fault, Rule};
use crate::org::{ActError, Calls};
use crate::people;
use changes::{Author, ConsentValues, MAX_ADDRESSES};
use lifecycle::{MergeHow, PersonValues};
use lists::{EMARKETING, Kind};
pub use settings::{NextLink, PersonBump, Settings, TenantStatus};
pub(crate) use site::Shared;
use state::State;
pub use state::{ADMINISTRATOR, API_USER, MARKETING, SALES, SERVICE};
use types::person_state;
pub use types::{ConsentState, NewConsent, NewPerson, PersonState, WebhookState};
pub use webhooks::WebhookStatus;

/// Most persons in one import or bulk update.
pub const MAX_BATCH: usize = 100_000;

/// The simulated tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    shared: Arc<Shared>,
}

impl Tenant {
    /// A tenant that listens on `port`, with `count` of the people as persons.
    pub(crate) fn new(
        port: u16,
        credentials: &crate::Credentials,
        people: &[people::Person],
        options: &crate::Options,
        clock: Arc<Clock>,
    ) -> Tenant {
        let app = &credentials.superoffice;
        let auth = auth::Auth::new(app, &credentials.public_key, options.seed);
        let mut state = State::new(port, &app.tenant, clock, auth);
        seed::lay(&mut state, people, options.contacts, options.seed);
        Tenant {
            shared: Arc::new(Shared::new(state)),
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Address of the login host and of tenant states, and the root of everything.
    pub fn url(&self) -> String {
        self.lock().login()
    }

    /// Address of the API as set up now, without a slash at the end.
    pub fn api_url(&self) -> String {
        self.lock().base()
    }

    /// The tenant's clock, skew included.
    pub fn now(&self) -> DateTime<Utc> {
        self.lock().now()
    }

    /// Persons that are not in the recycle bin.
    pub fn person_count(&self) -> usize {
        let state = self.lock();
        let live = state.persons.values();
        live.filter(|person| person.deleted.is_none()).count()
    }

    /// Numbers of persons that are not in the recycle bin, ascending, at most `limit`.
    pub fn person_ids(&self, limit: usize) -> Vec<i64> {
        let state = self.lock();
        let live = state.persons.values();
        live.filter(|person| person.deleted.is_none())
            .map(|person| person.id)
            .take(limit)
            .collect()
    }

    /// A person by its number, also from the recycle bin.
    pub fn person(&self, id: i64) -> Option<PersonState> {
        person_state(&self.lock(), id)
    }

    /// All persons with this address, in any case and at any rank, also from the recycle bin.
    pub fn persons_by_address(&self, address: &str) -> Vec<PersonState> {
        let state = self.lock();
        let mut ids: Vec<i64> = state
            .emails_with(address)
            .iter()
            .filter_map(|id| state.emails.get(id))
            .map(|row| row.person)
            .filter(|person| *person != 0)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .filter_map(|id| person_state(&state, id))
            .collect()
    }

    /// Creates a person, with the consent that new persons get.
    pub fn create_person(&self, new: &NewPerson, by: &str) -> Result<i64, ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        Ok(state.create_person(person_values(new)?, &author))
    }

    /// Makes these the person's addresses, the first being the primary one. The person does not count as changed.
    pub fn set_addresses(&self, id: i64, addresses: &[&str], by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        let rows = addresses.iter();
        let rows = rows.map(|address| ((*address).to_owned(), String::new()));
        Ok(state.set_addresses(id, rows.collect(), &author)?)
    }

    /// Marks a person as having left, or takes the mark away.
    pub fn set_retired(&self, id: i64, retired: bool, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        let person = state.changeable(id)?;
        let (first, last) = (person.first.clone(), person.last.clone());
        state.set_person(id, &first, &last, retired, &author)?;
        Ok(())
    }

    /// Moves a person to the recycle bin.
    pub fn delete(&self, id: i64, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        Ok(state.soft_delete(id, &author)?)
    }

    /// Takes a person out of the recycle bin.
    pub fn restore(&self, id: i64, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        Ok(state.restore(id, &author)?)
    }

    /// Removes a person for good, with addresses and consents.
    pub fn purge(&self, id: i64, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        Ok(state.purge(id, &author)?)
    }

    /// Merges a person into another; it goes into the recycle bin, or stays as one who has left.
    pub fn merge(
        &self,
        source: i64,
        destination: i64,
        delete_source: bool,
        by: &str,
    ) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        let how = MergeHow {
            delete_source,
            replace_empty_fields: true,
        };
        Ok(state.merge(source, destination, how, &author)?)
    }

    /// Sets a consent on the Privacy page of a person.
    pub fn set_consent(&self, id: i64, consent: &NewConsent, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let by = associate(&state, by)?;
        let values = consent_values(&state, consent)?;
        match consent.at {
            Some(at) => {
                state.changeable(id)?;
                state.lay_consent(id, values, at, by);
            }
            None => {
                state.set_consent(id, values, &Author::of(by))?;
            }
        }
        Ok(())
    }

    /// Removes the row of a consent.
    pub fn remove_consent(&self, id: i64, purpose: &str, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        let purpose = key(&state, Kind::Purpose, purpose)?;
        state.changeable(id)?;
        if let Some(row) = state.consent_of(id, purpose).map(|row| row.id) {
            state.delete_consent_row(row, &author);
        }
        Ok(())
    }

    /// Turns the switch "E-marketing" of a person on, which stores a legitimate interest, or off, which withdraws.
    pub fn switch_marketing(&self, id: i64, on: bool, by: &str) -> Result<(), ActError> {
        let base = if on {
            lists::LEGITIMATE
        } else {
            lists::WITHDRAWN
        };
        let mut state = self.lock();
        let author = Author::of(associate(&state, by)?);
        let values = ConsentValues {
            purpose: EMARKETING,
            base,
            source: lists::USER,
            comment: String::new(),
        };
        state.set_consent(id, values, &author)?;
        Ok(())
    }

    /// The person uses the subscription page: out of the named types of mailing, or with none named out of all.
    pub fn unsubscribe(&self, id: i64, types: &[i64]) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, SERVICE)?);
        if types.is_empty() {
            let values = ConsentValues {
                purpose: EMARKETING,
                base: lists::WITHDRAWN,
                source: lists::EMAIL,
                comment: String::new(),
            };
            state.set_consent(id, values, &author)?;
            return Ok(());
        }
        let known = |one: &i64| state.shipment_types.iter().any(|item| item.id == *one);
        if let Some(unknown) = types.iter().find(|one| !known(one)) {
            let message = format!("no type of mailing has the number {unknown}");
            return Err(ActError::Invalid(message));
        }
        Ok(state.set_reservations(id, types, &author)?)
    }

    /// A mailing to the person was reported as spam, which removes the consent for E-marketing.
    pub fn spam_complaint(&self, id: i64) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = Author::of(associate(&state, SERVICE)?);
        state.remove_consent(id, EMARKETING, &author)?;
        Ok(())
    }

    /// Sets a consent of many persons at once; returns how many differ afterwards. Nobody is notified, unless
    /// [`Settings::bulk_update_silent`] is off.
    pub fn bulk_update(
        &self,
        ids: &[i64],
        consent: &NewConsent,
        by: &str,
    ) -> Result<usize, ActError> {
        if ids.len() > MAX_BATCH {
            return Err(ActError::Full("too many persons"));
        }
        let mut state = self.lock();
        let author = Author::bulk(associate(&state, by)?, state.settings.bulk_update_silent);
        let values = consent_values(&state, consent)?;
        let mut changed = 0;
        for id in ids {
            changed += usize::from(state.set_consent(*id, values.clone(), &author)?);
        }
        Ok(changed)
    }

    /// Imports persons, each with this consent as well if there is one; returns their numbers.
    pub fn import(
        &self,
        persons: &[NewPerson],
        consent: Option<&NewConsent>,
        by: &str,
    ) -> Result<Vec<i64>, ActError> {
        if persons.len() > MAX_BATCH {
            return Err(ActError::Full("too many persons"));
        }
        let mut state = self.lock();
        let author = Author::import(associate(&state, by)?, state.settings.import_silent);
        let consent = match consent {
            Some(consent) => Some(ConsentValues {
                source: lists::IMPORT,
                ..consent_values(&state, consent)?
            }),
            None => None,
        };
        let all = persons
            .iter()
            .map(person_values)
            .collect::<Result<Vec<PersonValues>, ActError>>()?;
        let mut ids = Vec::with_capacity(all.len());
        for values in all {
            let id = state.create_person(values, &author);
            if let Some(consent) = &consent {
                state.set_consent(id, consent.clone(), &author)?;
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// Adds a purpose as an administrator does; the key is what clients see.
    pub fn add_purpose(&self, key: &str, name: &str) -> Result<i64, ActError> {
        let mut state = self.lock();
        if !lists::is_key(key) || state.items(Kind::Purpose).len() >= lists::MAX_ITEMS {
            return Err(ActError::Invalid(format!("{key:?} cannot be a key")));
        }
        if state
            .items(Kind::Purpose)
            .iter()
            .any(|item| item.key == key)
        {
            return Err(ActError::Invalid(format!("the key {key:?} is taken")));
        }
        let id = state.items(Kind::Purpose).len() as i64 + 1;
        let item = lists::Item::new(id, key, lists::Names::parse(name));
        state.items_mut(Kind::Purpose).push(item);
        Ok(id)
    }

    /// The webhooks, whoever registered them.
    pub fn webhooks(&self) -> Vec<WebhookState> {
        let state = self.lock();
        let hooks = state.webhooks.ids();
        hooks
            .filter_map(|id| state.webhooks.hook(id))
            .map(WebhookState::from)
            .collect()
    }

    /// Sends notifications until dropped.
    pub(crate) async fn deliver(self) {
        delivery::run(self.shared).await;
    }

    /// Sets a fault. [`Fault::RevokeTokens`] acts at once and is not kept.
    pub fn set_fault(&self, rule: impl Into<Rule>) -> Result<(), ActError> {
        let rule = rule.into();
        let mut state = self.lock();
        if matches!(rule.fault, Fault::RevokeTokens) {
            state.auth.revoke_all();
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
        self.lock().faults.clear(name)
    }

    /// The faults that are set.
    pub fn faults(&self) -> Vec<Rule> {
        self.lock().faults.rules().to_vec()
    }

    /// What clients did since the last reset.
    pub fn calls(&self) -> Calls {
        self.lock().calls.clone()
    }

    /// Starts counting anew.
    pub fn reset_calls(&self) {
        self.lock().calls = Calls::default();
    }

    /// The tenant's set-up.
    pub fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// Changes the tenant's set-up.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }
}

fn associate(state: &State, by: &str) -> Result<i64, ActError> {
    state
        .associate_named(by)
        .ok_or_else(|| ActError::UnknownUser(by.to_owned()))
}

fn key(state: &State, kind: Kind, key: &str) -> Result<i64, ActError> {
    let mut items = state.items(kind).iter();
    items
        .find(|item| item.key.eq_ignore_ascii_case(key))
        .map(|item| item.id)
        .ok_or_else(|| ActError::Invalid(format!("{} has no key {key:?}", kind.path())))
}

fn consent_values(state: &State, consent: &NewConsent) -> Result<ConsentValues, ActError> {
    Ok(ConsentValues {
        purpose: key(state, Kind::Purpose, &consent.purpose)?,
        base: key(state, Kind::Base, &consent.legal_base)?,
        source: key(state, Kind::Source, &consent.source)?,
        comment: consent.comment.clone(),
    })
}

fn person_values(new: &NewPerson) -> Result<PersonValues, ActError> {
    if new.addresses.len() > MAX_ADDRESSES {
        return Err(ActError::Full("too many addresses"));
    }
    let addresses = new.addresses.iter();
    Ok(PersonValues {
        first: new.first_name.clone(),
        last: new.last_name.clone(),
        contact: 0,
        addresses: addresses
            .map(|address| (address.clone(), String::new()))
            .collect(),
        retired: new.retired,
        created: new.created,
    })
}
