//! What tests and the control API see of the tenant, and what they hand in.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::lists::Kind;
use super::state::{Consent, State};
use super::webhooks::{Hook, WebhookStatus};

/// A consent as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsentState {
    /// Number of the row.
    pub id: i64,
    /// Key of the purpose.
    pub purpose: String,
    /// Key of the legal base.
    pub legal_base: String,
    /// Key of the source.
    pub source: String,
    /// The comment.
    pub comment: String,
    /// Any legal base but "Withdrawn".
    pub given: bool,
    /// When the row was made.
    pub registered: DateTime<Utc>,
    /// Full name of who made it.
    pub registered_by: String,
    /// When it was last changed, if ever.
    pub updated: Option<DateTime<Utc>>,
    /// Full name of who changed it.
    pub updated_by: Option<String>,
}

/// A person as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PersonState {
    /// Number of the person.
    pub id: i64,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Addresses by rank, as stored.
    pub addresses: Vec<String>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it was last changed, if ever.
    pub updated: Option<DateTime<Utc>>,
    /// No longer with the company.
    pub retired: bool,
    /// The mirror of having no consent for E-marketing.
    pub no_mailing: bool,
    /// When it went into the recycle bin.
    pub deleted: Option<DateTime<Utc>>,
    /// Its consents, by purpose.
    pub consents: Vec<ConsentState>,
    /// Names of the types of mailing that it does not want.
    pub unwanted: Vec<String>,
}

impl PersonState {
    /// The consent for a purpose.
    pub fn consent(&self, purpose: &str) -> Option<&ConsentState> {
        self.consents
            .iter()
            .find(|consent| consent.purpose == purpose)
    }
}

/// A webhook as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookState {
    /// Number of the webhook.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The events that it wants.
    pub events: Vec<String>,
    /// Whether it is sent to.
    pub status: WebhookStatus,
    /// Attempts to send to it.
    pub total_calls: i64,
    /// Attempts that failed.
    pub total_errors: i64,
    /// Attempts that failed since the last that did not.
    pub consecutive_errors: i64,
    /// Why the last one failed.
    pub last_error: String,
}

impl From<&Hook> for WebhookState {
    fn from(hook: &Hook) -> WebhookState {
        WebhookState {
            id: hook.id,
            name: hook.name.clone(),
            events: hook.events.clone(),
            status: hook.status,
            total_calls: hook.total_calls,
            total_errors: hook.total_errors,
            consecutive_errors: hook.consecutive_errors,
            last_error: hook.last_error.clone(),
        }
    }
}

/// A person to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// First name.
    #[serde(default)]
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Addresses, the primary one first.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// When it was made; now when absent. A person of the past makes no noise.
    #[serde(default)]
    pub created: Option<DateTime<Utc>>,
    /// No longer with the company.
    #[serde(default)]
    pub retired: bool,
}

/// A consent to be set. Keys are as a present-day server has them, without `#`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewConsent {
    /// Key of the purpose.
    pub purpose: String,
    /// Key of the legal base.
    pub legal_base: String,
    /// Key of the source.
    #[serde(default = "by_user")]
    pub source: String,
    /// The comment.
    #[serde(default)]
    pub comment: String,
    /// When it was set; now when absent. A consent of the past makes no noise.
    #[serde(default)]
    pub at: Option<DateTime<Utc>>,
}

fn by_user() -> String {
    "USER".to_owned()
}

impl NewConsent {
    /// A consent set by a user, now.
    pub fn new(purpose: &str, legal_base: &str) -> NewConsent {
        NewConsent {
            purpose: purpose.to_owned(),
            legal_base: legal_base.to_owned(),
            source: by_user(),
            comment: String::new(),
            at: None,
        }
    }

    /// The same with another source.
    #[must_use]
    pub fn source(mut self, key: &str) -> NewConsent {
        key.clone_into(&mut self.source);
        self
    }

    /// The same as of an earlier time.
    #[must_use]
    pub fn at(mut self, at: DateTime<Utc>) -> NewConsent {
        self.at = Some(at);
        self
    }
}

fn consent_state(state: &State, row: &Consent) -> ConsentState {
    let key = |kind: Kind, id: i64| {
        let item = state.item(kind, id);
        item.map(|item| item.key.clone()).unwrap_or_default()
    };
    let name = |id: i64| state.associate(id).map(|row| row.full_name.to_owned());
    ConsentState {
        id: row.id,
        purpose: key(Kind::Purpose, row.purpose),
        legal_base: key(Kind::Base, row.base),
        source: key(Kind::Source, row.source),
        comment: row.comment.clone(),
        given: row.given(),
        registered: row.registered,
        registered_by: name(row.registered_by).unwrap_or_default(),
        updated: row.updated,
        updated_by: name(row.updated_by),
    }
}

/// A person as it stands; `None` if there is none with this number.
pub(super) fn person_state(state: &State, id: i64) -> Option<PersonState> {
    let person = state.persons.get(&id)?;
    let unwanted = state.reservations_of(id).filter_map(|(_, row)| {
        let mut types = state.shipment_types.iter();
        types.find(|item| item.id == row.shipment_type)
    });
    Some(PersonState {
        id,
        first_name: person.first.clone(),
        last_name: person.last.clone(),
        addresses: person
            .emails
            .iter()
            .filter_map(|id| state.emails.get(id))
            .map(|row| row.address.clone())
            .collect(),
        created: person.registered,
        updated: person.updated,
        retired: person.retired,
        no_mailing: person.no_mailing,
        deleted: person.deleted,
        consents: state
            .consents_of(id)
            .map(|row| consent_state(state, row))
            .collect(),
        unwanted: unwanted
            .map(|item| item.name.show(Some("US")).into_owned())
            .collect(),
    })
}
