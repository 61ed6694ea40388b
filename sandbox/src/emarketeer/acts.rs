//! What users of an account, people and mail servers do to it outside the API.
//!
//! Rules of the vendor's pages: any way of unsubscribing withdraws marketing for e-mail and SMS alike; an import may set
//! a legal basis for all its rows but never overturns a withdrawal; a bulk action does; a hard bounce is a state of
//! delivery and says nothing about consent.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::contacts::{Changes, EXTERNAL_ID, STANDARD};
use super::master::{Kind, Place, place};
use super::sendouts::{Sendout, SendoutState};
use super::state::{State, Statement};
use super::{Account, no_item};
use crate::ActError;

/// A contact to be made by hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// The address.
    pub address: String,
    /// Further fields, by the names of the present API.
    #[serde(default)]
    pub fields: Changes,
    /// Back-dates it.
    #[serde(default)]
    pub created: Option<DateTime<Utc>>,
}

/// A row of an Excel or CRM import.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRow {
    /// The address.
    pub address: String,
    /// Number in a CRM.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Further fields, by the names of the present API.
    #[serde(default)]
    pub fields: Changes,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Contacts created.
    pub created: usize,
    /// Contacts updated.
    pub updated: usize,
    /// Rows whose address was none.
    pub refused: usize,
    /// Legal bases that were not set because consent is withdrawn.
    pub kept_withdrawn: usize,
}

/// How far a bulk action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BulkState {
    /// Number.
    pub id: u64,
    /// Addresses to do.
    pub rows: usize,
    /// Addresses done.
    pub done: usize,
}

impl Account {
    /// A user makes a contact. An address that is one's contact already is refused.
    pub fn create_contact(&self, contact: &NewContact) -> Result<u64, ActError> {
        let mut state = self.lock();
        let address = address_in(&state, &contact.address)?;
        if state.contacts.at(&address).next().is_some() {
            return Err(ActError::Invalid(
                "a contact has this address already".to_owned(),
            ));
        }
        let changes = known_fields(&state, &contact.fields)?;
        let created = contact.created.unwrap_or_else(|| state.stamp());
        Ok(state.contacts.add(&address, &changes, created, created))
    }

    /// A second contact with an address, such as old data has; consent is by address, so both share it.
    pub fn add_duplicate(
        &self,
        address: &str,
        created: Option<DateTime<Utc>>,
    ) -> Result<u64, ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        let created = created.unwrap_or_else(|| state.stamp());
        Ok(state
            .contacts
            .add(&address, &Changes::new(), created, created))
    }

    /// A user edits a contact's fields; an empty value clears one. `email` changes the address, and the consent of the
    /// old address stays with the old address.
    pub fn edit_contact(&self, id: u64, fields: &Changes) -> Result<(), ActError> {
        let mut state = self.lock();
        let mut fields = fields.clone();
        let address = match fields.remove("email") {
            Some(text) => Some(address_in(&state, &text)?),
            None => None,
        };
        let changes = known_fields(&state, &fields)?;
        let now = state.stamp();
        if !state.contacts.change(id, &changes, now) {
            return Err(no_contact());
        }
        if let Some(address) = address {
            state.contacts.move_to(id, &address, now);
        }
        Ok(())
    }

    /// A user deletes a contact. Consent and bounces of the address stay.
    pub fn delete_contact(&self, id: u64) -> Result<(), ActError> {
        if self.lock().remove_contact(id) {
            Ok(())
        } else {
            Err(no_contact())
        }
    }

    /// The address of the contact with this external id becomes another, as by an import that matches on external id.
    /// The old address keeps its consent, the new one has its own or none. Returns the contact.
    pub fn change_address(&self, external_id: &str, address: &str) -> Result<u64, ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        let id = state
            .contacts
            .with_external(external_id)
            .next()
            .ok_or_else(no_contact)?;
        let now = state.stamp();
        state.contacts.move_to(id, &address, now);
        Ok(id)
    }

    /// A person sends a web form in which consent is given for these purposes. Makes the contact if there is none.
    pub fn submit_form(
        &self,
        address: &str,
        purposes: &[&str],
        text: Option<&str>,
    ) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        let purposes = purposes
            .iter()
            .map(|purpose| item_in(&state, Kind::Purpose, purpose))
            .collect::<Result<Vec<Place>, ActError>>()?;
        state.upsert(&address, &Changes::new());
        for purpose in purposes {
            let text = text.map(str::to_owned);
            say(
                &mut state,
                &address,
                purpose,
                place::CONSENT,
                place::FORM,
                text,
            );
        }
        Ok(())
    }

    /// Writes one record as it is, all by name; `at` gives it an earlier time. For everything that has no method of its
    /// own, and for laying down a past.
    pub fn set_basis(
        &self,
        address: &str,
        purpose: &str,
        basis: &str,
        source: &str,
        text: Option<&str>,
        at: Option<DateTime<Utc>>,
    ) -> Result<(), ActError> {
        let mut state = self.lock();
        let statement = Statement {
            key: address_in(&state, address)?.into(),
            purpose: item_in(&state, Kind::Purpose, purpose)?,
            basis: item_in(&state, Kind::LegalBasis, basis)?,
            source: item_in(&state, Kind::Source, source)?,
            text: text.map(str::to_owned),
            at,
        };
        state.write(statement);
        Ok(())
    }

    /// A user moves the slider on a contact's card off: marketing is withdrawn.
    pub fn slide_off(&self, id: u64) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = state
            .contacts
            .get(id)
            .ok_or_else(no_contact)?
            .address
            .to_string();
        withdraw(&mut state, &address, place::USER);
        Ok(())
    }

    /// A user moves the slider on a contact's card on and says on which basis.
    pub fn slide_on(&self, id: u64, basis: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = state
            .contacts
            .get(id)
            .ok_or_else(no_contact)?
            .address
            .to_string();
        let basis = item_in(&state, Kind::LegalBasis, basis)?;
        say(
            &mut state,
            &address,
            place::MARKETING,
            basis,
            place::USER,
            None,
        );
        Ok(())
    }

    /// A person follows the unsubscribe link of a message.
    pub fn unsubscribe(&self, address: &str) -> Result<(), ActError> {
        self.withdrawn_by(address, place::LINK)
    }

    /// A person opts out of everything in the subscription centre.
    pub fn opt_out_of_all(&self, address: &str) -> Result<(), ActError> {
        self.withdrawn_by(address, place::CENTRE)
    }

    /// A mailbox provider passes on that the person called a message spam.
    pub fn complain(&self, address: &str) -> Result<(), ActError> {
        self.withdrawn_by(address, place::COMPLAINT)
    }

    fn withdrawn_by(&self, address: &str, source: Place) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        withdraw(&mut state, &address, source);
        Ok(())
    }

    /// A person opts out of one subscription; consent stays as it is.
    pub fn opt_out_of(&self, address: &str, subscription: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        known_subscription(&state, subscription)?;
        let off = state.opted_out.entry(address).or_default();
        off.insert(subscription.to_owned());
        Ok(())
    }

    /// A person opts in to one subscription again; consent stays as it is.
    pub fn opt_in_to(&self, address: &str, subscription: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        known_subscription(&state, subscription)?;
        if let Some(off) = state.opted_out.get_mut(&address) {
            off.remove(subscription);
        }
        Ok(())
    }

    /// The bulk action "Update legal basis" for one purpose or both, each by the name of its new basis. Gets on at the
    /// pace of [`super::Settings::bulk_rows_per_second`]; [`Account::bulks`] tells how far it is. Returns its number.
    pub fn bulk_update(
        &self,
        addresses: &[String],
        store: Option<&str>,
        marketing: Option<&str>,
    ) -> Result<u64, ActError> {
        let mut state = self.lock();
        let changes = bases_in(&state, store, marketing)?;
        let keys = addresses
            .iter()
            .map(|address| address_in(&state, address).map(Arc::from))
            .collect::<Result<Vec<Arc<str>>, ActError>>()?;
        let bulk = state.start_bulk(keys, changes);
        bulk.ok_or(ActError::Full("too many bulk actions are on their way"))
    }

    /// The bulk action "Unsubscribe": marketing is withdrawn for all.
    pub fn bulk_unsubscribe(&self, addresses: &[String]) -> Result<u64, ActError> {
        self.bulk_update(addresses, None, Some(super::master::WITHDRAWN))
    }

    /// Bulk actions that have rows to do.
    pub fn bulks(&self) -> Vec<BulkState> {
        let state = self.lock();
        let bulks = state.bulks.iter().map(|bulk| BulkState {
            id: bulk.id,
            rows: bulk.keys.len(),
            done: bulk.done,
        });
        bulks.collect()
    }

    /// An Excel or CRM import, which may set legal bases for all its rows but never overturns a withdrawal.
    ///
    /// Rows match contacts on the address, or with `by_external_id` first on the external id; the contact found then gets
    /// the row's address.
    pub fn import(
        &self,
        rows: &[ImportRow],
        by_external_id: bool,
        store: Option<&str>,
        marketing: Option<&str>,
    ) -> Result<ImportReport, ActError> {
        let mut state = self.lock();
        let bases = bases_in(&state, store, marketing)?;
        let mut report = ImportReport::default();
        for row in rows {
            let mut changes = known_fields(&state, &row.fields)?;
            if let Some(external) = &row.external_id {
                changes.insert(EXTERNAL_ID.to_owned(), external.clone());
            }
            let Some(address) = state.address(&row.address) else {
                report.refused += 1;
                continue;
            };
            let matched = row
                .external_id
                .as_deref()
                .filter(|_| by_external_id)
                .and_then(|external| state.contacts.with_external(external).next());
            if let Some(id) = matched {
                let now = state.stamp();
                state.contacts.change(id, &changes, now);
                state.contacts.move_to(id, &address, now);
                report.updated += 1;
            } else if state.upsert(&address, &changes).1 {
                report.created += 1;
            } else {
                report.updated += 1;
            }
            for (purpose, basis) in &bases {
                if state.withdrawn(&address, *purpose) && *basis != place::WITHDRAWN {
                    report.kept_withdrawn += 1;
                } else {
                    say(&mut state, &address, *purpose, *basis, place::IMPORT, None);
                }
            }
        }
        Ok(report)
    }

    /// A mail server says that the address does not exist. The account never sends to it again, contact or no contact.
    pub fn hard_bounce(&self, address: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        state.bounced.insert(address);
        Ok(())
    }

    /// No activity of the address for long.
    pub fn fall_silent(&self, address: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        state.unengaged.insert(address);
        Ok(())
    }

    /// A person follows the link of a double opt-in message.
    pub fn confirm(&self, address: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let address = address_in(&state, address)?;
        state.confirmed.insert(address);
        Ok(())
    }

    /// Makes a send-out and returns its checklist; it goes out at once unless it is scheduled.
    pub fn plan_sendout(&self, sendout: Sendout) -> Result<SendoutState, ActError> {
        self.lock().plan_sendout(sendout)
    }

    /// A send-out and what became of it.
    pub fn sendout(&self, id: u64) -> Option<SendoutState> {
        self.lock().sendouts.get(id).cloned()
    }
}

fn withdraw(state: &mut State, address: &str, source: Place) {
    say(
        state,
        address,
        place::MARKETING,
        place::WITHDRAWN,
        source,
        None,
    );
}

fn say(
    state: &mut State,
    address: &str,
    purpose: Place,
    basis: Place,
    source: Place,
    text: Option<String>,
) {
    state.write(Statement {
        key: address.into(),
        purpose,
        basis,
        source,
        text,
        at: None,
    });
}

fn address_in(state: &State, text: &str) -> Result<String, ActError> {
    let address = state.address(text);
    address.ok_or_else(|| ActError::Invalid("the account takes no such address".to_owned()))
}

fn item_in(state: &State, kind: Kind, name: &str) -> Result<Place, ActError> {
    state
        .place_of(kind, name)
        .ok_or_else(|| no_item(kind, name))
}

fn bases_in(
    state: &State,
    store: Option<&str>,
    marketing: Option<&str>,
) -> Result<Vec<(Place, Place)>, ActError> {
    [(place::STORE, store), (place::MARKETING, marketing)]
        .into_iter()
        .filter_map(|(purpose, basis)| Some((purpose, basis?)))
        .map(|(purpose, basis)| Ok((purpose, item_in(state, Kind::LegalBasis, basis)?)))
        .collect()
}

fn no_contact() -> ActError {
    ActError::Invalid("no such contact".to_owned())
}

fn known_subscription(state: &State, name: &str) -> Result<(), ActError> {
    if state.subscriptions.iter().any(|known| known == name) {
        Ok(())
    } else {
        Err(ActError::Invalid(format!(
            "no subscription is called {name:?}"
        )))
    }
}

/// Fields that the account has, or the first that it has not.
fn known_fields(state: &State, fields: &Changes) -> Result<Changes, ActError> {
    let unknown = fields.keys().find(|name| {
        STANDARD.iter().all(|(known, _)| known != name) && !state.custom_fields.contains_key(*name)
    });
    match unknown {
        Some(name) => Err(ActError::Invalid(format!(
            "contacts have no field {name:?}"
        ))),
        None => Ok(fields.clone()),
    }
}
