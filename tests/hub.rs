//! Four simulated systems in one hub: Salesforce, CU Ascend, eMarketeer and SuperOffice share
//! `marketing`, and the last two share `store`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of the rig")]
mod common;

use common::engine::Rig;
use consentd_sandbox::emarketeer::{ConsentState, master};
use consentd_sandbox::superoffice::PersonState;
use consentd_sandbox::{CallKind, ContactState, Org};
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// Contacts of each untidy system unless `CONSENTD_TEST_HUB_CONTACTS` names another number.
const CONTACTS: usize = 300;
/// That variable.
const CONTACTS_VARIABLE: &str = "CONSENTD_TEST_HUB_CONTACTS";

/// How eMarketeer and SuperOffice call the two purposes.
const PURPOSES: [(&str, &str); 2] = [(master::MARKETING, "EMARKETING"), (master::STORE, "STORE")];

fn contacts() -> usize {
    std::env::var(CONTACTS_VARIABLE).map_or(CONTACTS, |number| number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_four_untidy_systems_converge_and_then_nothing_is_written() {
    converges(Rig::start_hub(contacts()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g04_four_untidy_systems_converge_on_postgres_too() {
    converges(Rig::start_hub_on_postgres(contacts()).await).await;
}

async fn converges(rig: Rig) {
    let begun = Instant::now();
    rig.settle().await;
    // Whoever runs it with many contacts wants to know; `--nocapture` shows it.
    println!(
        "at rest after {:.0} s; {}",
        begun.elapsed().as_secs_f64(),
        told(&rig)
    );
    rig.assert_parity();
    assert_hub(&rig);
    for org in [rig.sandbox.salesforce(), rig.sandbox.ascend()] {
        org.reset_calls();
    }
    rig.sandbox.emarketeer().reset_calls();
    rig.sandbox.superoffice().reset_calls();
    rig.settle().await;
    println!("and then {}", told(&rig));
    for org in [rig.sandbox.salesforce(), rig.sandbox.ascend()] {
        let calls = org.calls();
        assert_eq!((calls.rows_changed, calls.rows_unchanged), (0, 0));
    }
    let emarketeer = rig.sandbox.emarketeer().calls();
    assert_eq!(emarketeer.of(CallKind::ConsentCreate), 0);
    assert!(emarketeer.total() > 0, "but the feed was read");
    let superoffice = rig.sandbox.superoffice().calls();
    assert_eq!(superoffice.of(CallKind::ConsentWrite), 0);
    assert!(
        superoffice.of(CallKind::Archive) > 0,
        "but the feed was read"
    );
}

/// Calls and rows written by system.
fn told(rig: &Rig) -> String {
    let sandbox = &rig.sandbox;
    let emarketeer = sandbox.emarketeer().calls();
    let others = [
        ("salesforce", sandbox.salesforce().calls()),
        ("ascend", sandbox.ascend().calls()),
        ("superoffice", sandbox.superoffice().calls()),
    ];
    let others = others.map(|(name, calls)| {
        let total: u64 = calls.by_kind.values().sum();
        let rows = calls.rows_changed;
        format!("{name}: {total} calls, {rows} rows")
    });
    format!(
        "{}, emarketeer: {} calls, {} rows",
        others.join(", "),
        emarketeer.total(),
        emarketeer.records_written
    )
}

/// Every address that eMarketeer has a contact of shows the same everywhere.
fn assert_hub(rig: &Rig) {
    let mut compared = [0; 3];
    let mut differing = Vec::new();
    let loads = Loads::of(rig);
    for address in rig.sandbox.emarketeer().addresses() {
        let known = rig.sandbox.emarketeer().address(&address);
        if known.contacts.is_empty() {
            continue;
        }
        let basis = |purpose: &str| known.consents.get(purpose).map(|one| one.basis.as_str());
        if let Some(person) = oldest_person(rig, &address) {
            for (place, (purpose, key)) in PURPOSES.into_iter().enumerate() {
                compared[place] += 1;
                let there = person.consent(key).map(|one| name_of(&one.legal_base));
                // R25: what was granted by a load counts for nothing, so nobody is told of it.
                let here = known.consents.get(purpose);
                let by_load = here.is_some_and(|one| loads.have(one)) && there.is_none();
                if basis(purpose) != there && !by_load {
                    differing.push(format!(
                        "{address} {purpose}: {:?} {there:?}",
                        basis(purpose)
                    ));
                }
            }
        }
        if let Some(contact) = oldest_contact(rig.sandbox.salesforce(), &address) {
            compared[2] += 1;
            let out = basis(master::MARKETING) == Some(master::WITHDRAWN);
            if contact.opted_out != out {
                differing.push(format!("{address}: opted out {}, {out}", contact.opted_out));
            }
        }
    }
    assert!(
        compared.iter().all(|pairs| *pairs > 10),
        "too few are in both: {compared:?}"
    );
    assert!(
        differing.is_empty(),
        "{} of {compared:?}: {differing:#?}",
        differing.len()
    );
}

/// R25: contacts that an account's users granted, by source and minute.
struct Loads(HashMap<(String, i64), HashSet<String>>);

impl Loads {
    /// So many in about a minute are a load.
    const CONTACTS: usize = 25;

    fn of(rig: &Rig) -> Self {
        let emarketeer = rig.sandbox.emarketeer();
        let mut loads = Self(HashMap::new());
        for address in emarketeer.addresses() {
            for one in emarketeer.history(&address) {
                if one.basis != master::WITHDRAWN {
                    let granted = loads.0.entry(Self::place(&one)).or_default();
                    granted.insert(address.clone());
                }
            }
        }
        loads
    }

    fn place(one: &ConsentState) -> (String, i64) {
        (one.source.clone(), one.at.timestamp().div_euclid(60))
    }

    fn have(&self, one: &ConsentState) -> bool {
        let (source, minute) = Self::place(one);
        let granted = |minute| {
            let contacts = self.0.get(&(source.clone(), minute));
            contacts.map_or(0, HashSet::len)
        };
        let now = granted(minute);
        one.basis != master::WITHDRAWN
            && now + granted(minute - 1).max(granted(minute + 1)) >= Self::CONTACTS
    }
}

/// R4: the person whose primary address it is, the oldest of them.
fn oldest_person(rig: &Rig, address: &str) -> Option<PersonState> {
    let persons = rig.sandbox.superoffice().persons_by_address(address);
    persons
        .into_iter()
        .filter(|person| {
            let primary = person.addresses.first();
            person.deleted.is_none()
                && primary.is_some_and(|primary| primary.eq_ignore_ascii_case(address))
        })
        .min_by_key(|person| (person.created, person.id.to_string()))
}

fn oldest_contact(org: &Org, address: &str) -> Option<ContactState> {
    let contacts = org.contacts_by_address(address);
    contacts
        .into_iter()
        .filter(|contact| !contact.deleted)
        .min_by_key(|contact| (contact.created, contact.id.clone()))
}

/// What eMarketeer calls a legal base of SuperOffice.
fn name_of(key: &str) -> &'static str {
    match key {
        "61A" => master::CONSENT,
        "61B" => master::CONTRACT,
        "61C" => master::REQUIRED_BY_LAW,
        "61D" => master::VITAL_INTERESTS,
        "61E" => master::PUBLIC_INTERESTS,
        "61F" => master::LEGITIMATE_INTEREST,
        "WITHDRAWN" => master::WITHDRAWN,
        other => panic!("no basis {other:?}"),
    }
}
