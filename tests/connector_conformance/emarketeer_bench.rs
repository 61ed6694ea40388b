//! A simulated eMarketeer account with a connector to it, and what its feed adds up to.

use crate::bench::{Drained, drain};
use consentd::config::{self, Checked, Disk, SystemKind};
use consentd::connector::registry::connect;
use consentd::connector::{
    Background, Connector, Cursor, Fault, Page, Target, Wanted, WriteRequest,
};
use consentd::consent::{
    At, Basis, Contact, Life, PurposeId, Shown, Status, SubjectKey, SystemId, SystemRules,
    Viewpoint, observe,
};
use consentd_sandbox::emarketeer::{Account, Settings, master};
use consentd_sandbox::{Options, Sandbox};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The two purposes, in the order of their names.
pub(crate) const MARKETING: PurposeId = PurposeId(0);
pub(crate) const STORE: PurposeId = PurposeId(1);

/// An account, a connector to it, and what was read so far.
pub(crate) struct Em {
    pub(crate) sandbox: Sandbox,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) known: Known,
    cursor: Option<Cursor>,
}

/// An account that is as the settings say, and a connector configured by these lines.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) contacts: usize,
    pub(crate) account: fn(&mut Settings),
    /// Keys of the system's own table.
    pub(crate) system: &'static str,
    /// Keys of `consent`.
    pub(crate) consent: &'static str,
    /// Further tables.
    pub(crate) tables: &'static str,
    pub(crate) bulk_actors: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            contacts: 0,
            account: |_| {},
            system: "",
            consent: "",
            tables: "",
            bulk_actors: "",
        }
    }
}

impl Em {
    pub(crate) async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan) -> Self {
        let sandbox = Sandbox::start(Options {
            contacts: plan.contacts,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        sandbox.emarketeer().change_settings(plan.account);
        let connector = connect(&kind(&sandbox, &plan)).unwrap();
        Self {
            sandbox,
            connector,
            known: Known::default(),
            cursor: None,
        }
    }

    /// Adds a page to what is known.
    pub(crate) fn take(&mut self, page: &Page) {
        self.known.take(page);
    }

    /// A connector of the same account that remembers nothing.
    pub(crate) fn restart(&mut self, plan: &Plan) {
        self.connector = connect(&kind(&self.sandbox, plan)).unwrap();
    }

    /// The same account for a daemon that knows nothing yet, without faults.
    pub(crate) fn begin_anew(&mut self) {
        self.account().clear_faults(None);
        self.restart(&Plan::default());
        self.known = Known::default();
        self.cursor = None;
    }

    pub(crate) fn account(&self) -> &Account {
        self.sandbox.emarketeer()
    }

    /// Reads what is to be read and adds it to what is known.
    pub(crate) async fn poll(&mut self) -> Drained {
        self.try_poll().await.unwrap()
    }

    pub(crate) async fn try_poll(&mut self) -> Result<Drained, Fault> {
        let drained = drain(&*self.connector, self.cursor.clone()).await?;
        for page in &drained.pages {
            self.known.take(page);
        }
        self.cursor = Some(drained.cursor.clone());
        Ok(drained)
    }

    pub(crate) fn wait(&self, secs: i64) {
        self.sandbox.clock().advance(secs);
    }

    /// Looks contacts up and adds what was found.
    pub(crate) async fn look_up(&mut self, wanted: &Wanted) -> consentd::connector::Found {
        let found = self.connector.look_up(wanted).await.unwrap();
        for reading in &found.readings {
            self.known.observe(reading, found.read_at);
        }
        found
    }

    /// The contact of an address, as far as it is known.
    pub(crate) fn contact(&self, address: &str) -> Option<&Contact> {
        self.known.contact(address)
    }

    pub(crate) fn id(&self, address: &str) -> String {
        self.contact(address).unwrap().id.clone()
    }

    pub(crate) fn shown(&self, address: &str, purpose: PurposeId) -> Option<Shown> {
        self.contact(address)?.record.shown(purpose).cloned()
    }

    pub(crate) fn target(&self, address: &str) -> Target {
        Target {
            contact: self.id(address),
            address: Some(normalised(address)),
        }
    }

    pub(crate) fn set(&self, address: &str, purpose: PurposeId, value: Shown) -> WriteRequest {
        WriteRequest {
            target: self.target(address),
            changes: vec![(purpose, value)],
            said_at: At::from_micros(1_777_629_600_000_000),
            said_in: "salesforce".to_owned(),
            background: Background::default(),
        }
    }

    /// Asserts that what was read adds up to what the account has.
    pub(crate) fn assert_all_known(&self, sentence: &str) {
        let account = self.account();
        for address in account.addresses() {
            let state = account.address(&address);
            let contact = self.contact(&address);
            let contact = contact.unwrap_or_else(|| panic!("{sentence}: {address} is not known"));
            assert_eq!(
                contact.life.is_live(),
                !state.contacts.is_empty(),
                "{sentence}: whether {address} is there"
            );
            for (purpose, name) in [(MARKETING, master::MARKETING), (STORE, master::STORE)] {
                let has = state.consents.get(name);
                let shown = contact.record.shown(purpose);
                match has {
                    Some(consent) => {
                        assert_eq!(
                            shown,
                            Some(&record(&consent.basis)),
                            "{sentence}: {address} {name}"
                        );
                        let said = contact.record.get(purpose).unwrap().said().next().unwrap();
                        assert_eq!(
                            said.stamp.earliest(),
                            At::from(consent.at),
                            "{sentence}: when {address} {name}"
                        );
                    }
                    None if contact.life.is_live() => {
                        assert_eq!(shown, Some(&Shown::Default), "{sentence}: {address} {name}");
                    }
                    None => assert_eq!(shown, None, "{sentence}: {address} {name}"),
                }
            }
        }
        let live = |contact: &&Contact| contact.life.is_live();
        let mut addresses: Vec<String> = account
            .contact_ids(usize::MAX)
            .into_iter()
            .map(|id| account.contact(id).unwrap().address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(
            self.known.contacts.values().filter(live).count(),
            addresses.len(),
            "{sentence}: nobody is known who is not there"
        );
    }
}

/// What readings add up to, as the store adds them up.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) contacts: BTreeMap<String, Contact>,
    pub(crate) by_address: BTreeMap<String, String>,
    pub(crate) poison: Vec<consentd::connector::Poison>,
}

impl Known {
    fn take(&mut self, page: &Page) {
        self.poison.extend(page.poison.iter().cloned());
        for reading in &page.readings {
            self.observe(reading, page.read_at);
        }
    }

    fn observe(&mut self, reading: &consentd::consent::Reading, read_at: At) {
        let rules = rules();
        let policy = consentd::consent::Policy::default();
        let view = Viewpoint {
            system: &rules,
            policy: &policy,
            read_at,
            known_since: None,
            ceiling: read_at.plus(300_000_000),
            in_flight: &[],
            stale: false,
        };
        let after = observe(self.contacts.get(&reading.contact), reading, &view);
        if let Some(address) = &reading.address {
            self.by_address
                .insert(normalised(address), reading.contact.clone());
        }
        self.contacts.insert(reading.contact.clone(), after);
    }

    fn contact(&self, address: &str) -> Option<&Contact> {
        self.contacts
            .get(self.by_address.get(&normalised(address))?)
    }

    /// What a contact is known to show after a write of ours.
    pub(crate) fn acknowledge(&mut self, write: &WriteRequest) {
        let contact = self.contacts.get_mut(&write.target.contact).unwrap();
        for (purpose, shown) in &write.changes {
            contact.record.entry(*purpose).shown = Some(shown.clone());
        }
    }
}

pub(crate) fn rules() -> SystemRules {
    SystemRules {
        id: SystemId(1),
        name: "emarketeer".to_owned(),
        precedence: 1,
        writable: true,
        carries: vec![
            (MARKETING, consentd::consent::Polarity::Recorded),
            (STORE, consentd::consent::Polarity::Recorded),
        ],
        own_actor: Some("consentd".to_owned()),
        bulk_actors: std::collections::BTreeSet::new(),
        heard_until: None,
    }
}

fn normalised(address: &str) -> String {
    SubjectKey::from_address(address)
        .unwrap()
        .as_str()
        .to_owned()
}

/// What a record with that legal basis shows.
pub(crate) fn record(basis: &str) -> Shown {
    let granted = |basis| Shown::Record {
        status: Status::Granted,
        basis: Some(basis),
    };
    match basis {
        master::WITHDRAWN => withdrawn(),
        master::CONSENT => granted(Basis::Consent),
        master::LEGITIMATE_INTEREST => granted(Basis::LegitimateInterests),
        master::CONTRACT => granted(Basis::Contract),
        master::REQUIRED_BY_LAW => granted(Basis::LegalObligation),
        master::VITAL_INTERESTS => granted(Basis::VitalInterests),
        master::PUBLIC_INTERESTS => granted(Basis::PublicTask),
        other => granted(Basis::Other(other.to_owned())),
    }
}

pub(crate) fn withdrawn() -> Shown {
    Shown::Record {
        status: Status::Withdrawn,
        basis: None,
    }
}

pub(crate) fn granted(basis: Option<Basis>) -> Shown {
    Shown::Record {
        status: Status::Granted,
        basis,
    }
}

pub(crate) fn is_deleted(contact: Option<&Contact>) -> bool {
    contact.is_some_and(|contact| contact.life == Life::Deleted)
}

/// The configuration of an account with everything a plan asks for.
pub(crate) fn checked(sandbox: &Sandbox, plan: &Plan) -> Checked {
    let url = sandbox.emarketeer().url();
    let Plan {
        system,
        consent,
        tables,
        bulk_actors,
        ..
    } = plan;
    let text = format!(
        r#"
        [store]
        url = "sqlite:///tmp/none.db"
        [[purposes]]
        name = "marketing"
        [[purposes]]
        name = "store"
        [systems.em]
        kind = "emarketeer"
        request_timeout_secs = 2
        max_body_mib = 1
        max_calls_per_sec = 1000
        bulk_actors = [{bulk_actors}]
        {system}
        [systems.em.auth]
        [systems.em.consent]
        base_url = "{url}"
        {consent}
        [systems.em.contact]
        base_url = "{url}/contacts-api"
        {tables}
        "#
    );
    let keys = &sandbox.credentials().emarketeer;
    let hash_key = "8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let mut environment = vec![("CONSENTD__IDENTITY__HASH_KEY", hash_key)];
    if sandbox.emarketeer().settings().key_per_module {
        environment.push(("CONSENTD__SYSTEMS__EM__AUTH__CONSENT_KEY", &keys.consent));
        environment.push(("CONSENTD__SYSTEMS__EM__AUTH__CONTACT_KEY", &keys.contact));
    } else {
        environment.push(("CONSENTD__SYSTEMS__EM__AUTH__KEY", &keys.default));
    }
    if tables.contains("legacy") {
        environment.push(("CONSENTD__SYSTEMS__EM__LEGACY__API_ID", &keys.api_id));
    }
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    config::check(&text.replace("{url}", &url), environment, &Disk::default())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn kind(sandbox: &Sandbox, plan: &Plan) -> SystemKind {
    checked(sandbox, plan).system("em").unwrap().kind.clone()
}

/// A call of that kind and how often it was made.
pub(crate) fn calls(connector: &dyn Connector, kind: &str) -> u64 {
    connector
        .calls()
        .into_iter()
        .find(|(name, _)| *name == kind)
        .map_or(0, |(_, count)| count)
}
