//! A simulated tenant with a connector to it.

use crate::bench::{Drained, drain};
use consentd::config::SystemKind;
use consentd::connector::http::Limits;
use consentd::connector::registry::connect;
use consentd::connector::superoffice::config::{
    Base, ConsentFeed, Deployment, Online, OnlineGrant, Onsite, OnsiteGrant, Retired, Settings,
};
use consentd::connector::{Background, Connector, Cursor, WriteRequest};
use consentd::consent::{At, Basis, PurposeId, Reading, Shown, Status};
use consentd_sandbox::superoffice::{self as crm, NewConsent, NewPerson, Tenant};
use consentd_sandbox::{Options, Sandbox};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The purpose of mailings.
pub(super) const MARKETING: PurposeId = PurposeId(0);
/// The purpose of sales and service.
pub(super) const STORE: PurposeId = PurposeId(1);
/// Somebody who changes consents by hand.
pub(super) const STAFF: &str = crm::MARKETING;

/// A tenant with a connector.
pub(super) struct Bench {
    pub(super) sandbox: Sandbox,
    pub(super) connector: Arc<dyn Connector>,
}

impl Bench {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// With another set-up of the tenant and other settings of ours.
    pub(super) async fn with(
        tenant: impl FnOnce(&mut crm::Settings),
        ours: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::filled(0, tenant, ours).await
    }

    /// The same with so many generated people.
    pub(super) async fn filled(
        contacts: usize,
        tenant: impl FnOnce(&mut crm::Settings),
        ours: impl FnOnce(&mut Settings),
    ) -> Self {
        let sandbox = Sandbox::start(Options {
            contacts,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        sandbox.superoffice().change_settings(tenant);
        let mut settings = settings(&sandbox);
        ours(&mut settings);
        let connector = connector(&settings);
        Self { sandbox, connector }
    }

    pub(super) fn tenant(&self) -> &Tenant {
        self.sandbox.superoffice()
    }

    /// A new person with these addresses, the primary one first, and with the consent that new
    /// people get: Sales and service by a legitimate interest.
    pub(super) fn person(&self, addresses: &[&str]) -> i64 {
        let new = NewPerson {
            last_name: "Doe".to_owned(),
            addresses: addresses
                .iter()
                .map(|address| (*address).to_owned())
                .collect(),
            ..NewPerson::default()
        };
        self.tenant().create_person(&new, crm::SALES).unwrap()
    }

    /// So many new people.
    pub(super) fn people(&self, count: usize) -> Vec<i64> {
        (0..count)
            .map(|number| self.person(&[&format!("p{number}@example.org")]))
            .collect()
    }

    /// A member of staff sets a consent.
    pub(super) fn consent(&self, id: i64, purpose: &str, base: &str) {
        self.tenant()
            .set_consent(id, &NewConsent::new(purpose, base), STAFF)
            .unwrap();
    }

    /// The key of the legal basis that a person has for a purpose.
    pub(super) fn base_of(&self, id: i64, purpose: &str) -> Option<String> {
        let person = self.tenant().person(id).unwrap();
        person
            .consent(purpose)
            .map(|consent| consent.legal_base.clone())
    }

    /// Lets time pass.
    pub(super) fn wait(&self, secs: i64) {
        self.sandbox.clock().advance(secs);
    }

    /// The tenant's clock.
    pub(super) fn now(&self) -> At {
        self.tenant().now().into()
    }

    pub(super) async fn drain(&self, cursor: Option<Cursor>) -> Drained {
        drain(&*self.connector, cursor).await.unwrap()
    }

    /// How many calls we made, all kinds together.
    pub(super) fn made(&self) -> u64 {
        self.connector.calls().iter().map(|(_, count)| count).sum()
    }
}

/// A connector with these settings.
pub(super) fn connector(settings: &Settings) -> Arc<dyn Connector> {
    connect(&SystemKind::SuperOffice(Box::new(settings.clone()))).unwrap()
}

/// Settings as the configuration builds them by default, for the tenant as it is set up.
pub(super) fn settings(sandbox: &Sandbox) -> Settings {
    let base = |status, basis, key: &str| Base {
        means: (status, basis),
        written: key.to_owned(),
        also_read: Vec::new(),
    };
    let deployment = if sandbox.superoffice().settings().onsite {
        onsite(sandbox)
    } else {
        online(sandbox)
    };
    Settings {
        limits: Limits {
            system: "superoffice".to_owned(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            max_body_bytes: 16 * 1024 * 1024,
            max_concurrent: 4,
            max_calls_per_sec: 1_000,
        },
        deployment,
        purposes: vec![
            (MARKETING, "EMARKETING".to_owned()),
            (STORE, "STORE".to_owned()),
        ],
        bases: vec![
            base(Status::Granted, Some(Basis::Consent), "61A"),
            base(Status::Granted, Some(Basis::Contract), "61B"),
            base(Status::Granted, Some(Basis::LegitimateInterests), "61F"),
            base(Status::Withdrawn, None, "WITHDRAWN"),
        ],
        granted_bases: BTreeSet::from([Basis::Consent]),
        source: "API".to_owned(),
        comment: "consentd: said in {system} at {time}".to_owned(),
        language: "en".to_owned(),
        filter_time_zone: chrono_tz::Tz::UTC,
        consent_feed: ConsentFeed::Auto,
        retired: Retired::Live,
        merge_log: true,
        page_rows: 1_000,
        overlap: Duration::from_mins(10),
        lag: Duration::from_secs(5),
        sweep_interval: Duration::from_hours(24),
        webhook: None,
    }
}

/// The tenant online, by its system user.
pub(super) fn online(sandbox: &Sandbox) -> Deployment {
    let credentials = sandbox.credentials();
    let app = &credentials.superoffice;
    Deployment::Online(Online {
        login_url: Url::parse(&sandbox.superoffice().url()).unwrap(),
        customer: app.tenant.clone(),
        allowed_hosts: vec![".superoffice.com".to_owned()],
        grant: OnlineGrant::SystemUser {
            app_token: app.client_secret.clone().into(),
            system_user_token: app.system_token.clone().into(),
            private_key: credentials.private_key_pem.clone().into(),
            serial: None,
        },
    })
}

/// The server at the customer's, by password.
pub(super) fn onsite(sandbox: &Sandbox) -> Deployment {
    let app = &sandbox.credentials().superoffice;
    Deployment::Onsite(Onsite {
        base_url: Url::parse(&sandbox.superoffice().api_url()).unwrap(),
        grant: OnsiteGrant::Basic {
            username: app.username.clone(),
            password: app.password.clone().into(),
        },
        authorities: Vec::new(),
    })
}

pub(super) fn granted(basis: Basis) -> Shown {
    Shown::Record {
        status: Status::Granted,
        basis: Some(basis),
    }
}

pub(super) const WITHDRAWN: Shown = Shown::Record {
    status: Status::Withdrawn,
    basis: None,
};

/// What a reading says of a purpose: value, time, who.
pub(super) fn said(reading: &Reading, purpose: PurposeId) -> Option<(&Shown, At, Option<&str>)> {
    let told = reading.told.iter().find(|told| told.purpose == purpose)?;
    Some((&told.shown, told.at, told.actor.as_deref()))
}

/// A request to set one purpose of a person.
pub(super) fn set(id: i64, purpose: PurposeId, value: Shown) -> WriteRequest {
    WriteRequest {
        said_in: "emarketeer".to_owned(),
        background: Background::default(),
        ..crate::bench::set(&id.to_string(), purpose, value)
    }
}
