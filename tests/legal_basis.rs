//! Legal bases between systems that hold a flag and systems that hold consent records (R21), through
//! the whole engine: what people do in one system is shown in the others, and then it is quiet.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;

use consentd::consent::{Basis, Polarity, PurposeId, Shown, Status};
use consentd::runtime::clock::Clock as _;
use fake::{Fake, Keeps};
use hub::{Hub, MARKETING, STORE, configured};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeMap;

const ALL: &[&str] = &["crm", "ascend", "superoffice", "emarketeer"];
const RECORDS: &[&str] = &["superoffice", "emarketeer"];

fn on(basis: Basis) -> Shown {
    Shown::Record {
        status: Status::Granted,
        basis: Some(basis),
    }
}

fn out() -> Shown {
    Shown::Record {
        status: Status::Withdrawn,
        basis: None,
    }
}

fn flag(out: bool) -> Shown {
    if out { Shown::Set } else { Shown::Default }
}

/// What the record systems show of a person.
fn records(hub: &Hub, id: &str, purpose: PurposeId) -> [Shown; 2] {
    [0, 1].map(|place| hub.fakes.get(RECORDS[place]).shown(id, purpose))
}

async fn hub_with(people: &[&str]) -> Hub {
    let hub = Hub::start(ALL, "").await;
    for name in people {
        hub.fakes.person(ALL, name);
    }
    hub.settle().await;
    hub
}

#[tokio::test]
async fn r21_bases_travel_between_the_systems_that_hold_them() {
    let hub = hub_with(&["ann"]).await;
    let [so, em] = RECORDS else { unreachable!() };
    hub.fakes.get(so).save("ann", STORE, &on(Basis::Contract));
    hub.settle().await;
    assert_eq!(
        records(&hub, "ann", STORE),
        [on(Basis::Contract), on(Basis::Contract)]
    );
    hub.fakes
        .get(em)
        .save("ann", STORE, &on(Basis::LegitimateInterests));
    hub.settle().await;
    let interests = || on(Basis::LegitimateInterests);
    assert_eq!(
        records(&hub, "ann", STORE),
        [interests(), interests()],
        "and back"
    );
    hub.fakes.get(so).save("ann", STORE, &out());
    hub.settle().await;
    assert_eq!(records(&hub, "ann", STORE), [out(), out()]);
    hub.fakes.get(em).save("ann", STORE, &on(Basis::Consent));
    hub.settle().await;
    assert_eq!(
        records(&hub, "ann", STORE),
        [on(Basis::Consent), on(Basis::Consent)]
    );
    let marketing = records(&hub, "ann", MARKETING);
    assert_eq!(
        marketing,
        [Shown::Default, Shown::Default],
        "the purposes are independent"
    );
}

#[tokio::test]
async fn r21_a_flag_takes_part_by_status_and_its_grant_becomes_consent() {
    let hub = hub_with(&["ann", "bob"]).await;
    hub.fakes
        .get("emarketeer")
        .save("ann", MARKETING, &on(Basis::Contract));
    hub.settle().await;
    hub.fakes.get("ascend").save("ann", MARKETING, &flag(true));
    hub.settle().await;
    assert_eq!(
        records(&hub, "ann", MARKETING),
        [out(), out()],
        "an opt-out reaches all four"
    );
    assert_eq!(hub.fakes.get("crm").shown("ann", MARKETING), flag(true));
    hub.fakes.get("crm").save("ann", MARKETING, &flag(false));
    hub.settle().await;
    let consent = || on(Basis::Consent);
    assert_eq!(
        records(&hub, "ann", MARKETING),
        [consent(), consent()],
        "the basis from before the opt-out does not come back"
    );
    assert_eq!(hub.fakes.get("ascend").shown("ann", MARKETING), flag(false));
}

#[tokio::test]
async fn r21_records_that_join_after_an_opt_out_and_an_opt_in_end_equal() {
    let flags = &ALL[..2];
    let mut hub = Hub::start(flags, "").await;
    hub.fakes.person(ALL, "ann");
    for (system, basis) in RECORDS
        .iter()
        .zip([Basis::LegitimateInterests, Basis::Contract])
    {
        hub.fakes.get(system).save("ann", MARKETING, &on(basis));
    }
    hub.settle().await;
    hub.fakes.get("crm").save("ann", MARKETING, &flag(true));
    hub.settle().await;
    hub.fakes.get("ascend").save("ann", MARKETING, &flag(false));
    hub.settle().await;
    let all = configured(hub.folder.path(), ALL, "");
    hub.go_on(&all).await;
    hub.settle().await;
    assert_eq!(
        records(&hub, "ann", MARKETING),
        [on(Basis::Consent), on(Basis::Consent)],
        "neither keeps what ended with an opt-out that it never showed"
    );
}

#[tokio::test]
async fn r21_the_basis_of_a_flags_grant_is_configured_for_each_purpose() {
    // It belongs to the last purpose of the text, which is `store`.
    let more = "granted_basis = \"legitimate-interests\"";
    let mut hub = Hub::start(ALL, more).await;
    let mut checked = configured(hub.folder.path(), ALL, more);
    let carries = [(STORE, Polarity::OptOut)];
    for system in &mut checked.systems {
        if system.name == "crm" {
            system.carries = carries.to_vec();
        }
    }
    let crm = Fake::new(Keeps::History, &carries, hub.clock.clone());
    hub.fakes.put("crm", crm);
    hub.go_on(&checked).await;
    hub.fakes.person(&["crm", "superoffice"], "ann");
    hub.settle().await;
    let crm = hub.fakes.get("crm");
    crm.save("ann", STORE, &flag(true));
    hub.settle().await;
    hub.pass(60);
    crm.save("ann", STORE, &flag(false));
    hub.settle().await;
    let shown = hub.fakes.get("superoffice").shown("ann", STORE);
    assert_eq!(shown, on(Basis::LegitimateInterests));
}

#[tokio::test]
async fn r21_a_basis_that_is_not_mapped_stays_where_it_is() {
    let hub = hub_with(&["ann", "bob"]).await;
    let [so, em] = RECORDS else { unreachable!() };
    let custom = || on(Basis::Other("61X".to_owned()));
    hub.fakes.get(em).save("ann", STORE, &on(Basis::Consent));
    hub.fakes.get(em).save("bob", STORE, &out());
    hub.settle().await;
    hub.fakes.get(so).save("ann", STORE, &custom());
    hub.fakes.get(so).save("bob", STORE, &custom());
    hub.settle().await;
    assert_eq!(records(&hub, "ann", STORE), [custom(), on(Basis::Consent)]);
    assert_eq!(
        records(&hub, "bob", STORE),
        [custom(), out()],
        "nothing is made up for a record that needs a basis"
    );
    hub.fakes.get(so).add("bob-2", "bob@hub.example");
    hub.settle().await;
    assert_eq!(
        hub.fakes.get(so).shown("bob-2", STORE),
        custom(),
        "a duplicate in the same system understands it"
    );
}

#[tokio::test]
async fn r04_r21_of_duplicates_with_different_bases_the_oldest_speaks_and_all_end_equal() {
    let hub = hub_with(&[]).await;
    let so = hub.fakes.get("superoffice");
    hub.fakes.person(&["emarketeer"], "ann");
    so.add("old", "ann@hub.example");
    hub.pass(60);
    so.add("new", "ann@hub.example");
    so.save("old", STORE, &on(Basis::Contract));
    hub.pass(60);
    so.save("new", STORE, &on(Basis::Consent));
    hub.settle().await;
    let contract = || on(Basis::Contract);
    assert_eq!(
        [so.shown("old", STORE), so.shown("new", STORE)],
        [contract(), contract()]
    );
    assert_eq!(hub.fakes.get("emarketeer").shown("ann", STORE), contract());
}

/// Somebody withdraws in one system; before the hub writes it elsewhere, they opt in again in a third.
#[tokio::test]
async fn g05_r15_an_echo_never_outranks_what_happened_before_it() {
    for ahead in [0, 240] {
        let mut hub = hub_with(&["ann"]).await;
        let (so, em, crm) = (
            hub.fakes.get("superoffice"),
            hub.fakes.get("emarketeer"),
            hub.fakes.get("crm"),
        );
        // What the target said itself before is what it will be written in the end.
        em.save("ann", MARKETING, &on(Basis::Consent));
        hub.settle().await;
        for fake in [&so, &em, &crm] {
            fake.stamp_ahead(ahead * 1_000_000);
        }
        hub.pass(60);
        so.save("ann", MARKETING, &out());
        hub.settle().await;
        hub.pass(60);
        so.save("ann", MARKETING, &on(Basis::Consent));
        // A withdrawal that nobody hears of until the grant was written and read back.
        hub.pass(10);
        let (id, at) = ("ann", hub.clock.now());
        hub.pass(30);
        hub.settle().await;
        assert_eq!(em.shown(id, MARKETING), on(Basis::Consent));
        let checked = configured(hub.folder.path(), ALL, "");
        hub.go_on(&checked).await;
        hub.settle().await;
        crm.save_late(id, MARKETING, &flag(true), at);
        hub.settle().await;
        assert_eq!(
            records(&hub, id, MARKETING),
            [out(), out()],
            "the opt-out came after the opt-in, and only our echoes are later ({ahead} s ahead)"
        );
    }
}

#[tokio::test]
async fn g04_r37_four_systems_agree_once_people_stop_and_then_nothing_is_written() {
    for seed in 0..4 {
        converges(seed).await;
    }
}

/// What people do, one at a time, while the hub goes on in between.
async fn converges(seed: u64) {
    const MOST_ACTS: usize = 4;
    let mut rng = StdRng::seed_from_u64(seed);
    let names: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let people: Vec<&str> = names.iter().map(String::as_str).collect();
    let hub = hub_with(&people).await;
    let mut last: BTreeMap<(&str, PurposeId), (Status, Option<Basis>)> = BTreeMap::new();
    let mut acts: BTreeMap<(&str, PurposeId), usize> = BTreeMap::new();
    let mut unread: Vec<(&str, &str)> = Vec::new();
    for _ in 0..160 {
        hub.pass(rng.random_range(31..90));
        match rng.random_range(0..3) {
            0 => {
                hub.round().await;
                unread.clear();
            }
            1 => {
                hub.emit().await;
            }
            _ => {}
        }
        let (person, system) = (
            *people.choose(&mut rng).unwrap(),
            *ALL.choose(&mut rng).unwrap(),
        );
        let fake = hub.fakes.get(system);
        let is_record = RECORDS.contains(&system);
        let purpose = if is_record && rng.random() {
            STORE
        } else {
            MARKETING
        };
        let count = acts.entry((person, purpose)).or_default();
        let bases = [Basis::Consent, Basis::Contract, Basis::PublicTask];
        let basis = bases.choose(&mut rng).unwrap().clone();
        // A flag without history tells the time of a grant only within bounds.
        let grants = system != "ascend" && rng.random();
        let shown = match (is_record, grants) {
            (true, true) => on(basis.clone()),
            (true, false) => out(),
            (false, grants) => flag(!grants),
        };
        // A change and its opposite between two reads cannot be told from nothing.
        let unseen = unread.contains(&(person, system));
        if unseen || *count == MOST_ACTS || fake.shown(person, purpose) == shown {
            continue;
        }
        *count += 1;
        unread.push((person, system));
        fake.save(person, purpose, &shown);
        let said = match (grants, is_record) {
            (true, true) => (Status::Granted, Some(basis)),
            (true, false) => {
                // The standing basis stays; after a withdrawal it is the configured one.
                let before = last.get(&(person, purpose)).cloned();
                let standing = before.and_then(|(_, basis)| basis).unwrap_or_default();
                (Status::Granted, Some(standing))
            }
            (false, _) => (Status::Withdrawn, None),
        };
        last.insert((person, purpose), said);
    }
    hub.settle().await;
    assert!(last.len() > 30, "much was said: {}", last.len());
    for ((person, purpose), (status, basis)) in &last {
        let shown = records(&hub, person, *purpose);
        let wanted = Shown::Record {
            status: *status,
            basis: basis.clone(),
        };
        assert_eq!(
            shown,
            [wanted.clone(), wanted],
            "{person} {purpose:?} (seed {seed})"
        );
        if *purpose == MARKETING {
            let flags = ["crm", "ascend"].map(|name| hub.fakes.get(name).shown(person, MARKETING));
            let wanted = flag(*status == Status::Withdrawn);
            assert_eq!(flags, [wanted.clone(), wanted], "{person} (seed {seed})");
        }
    }
    // Rows are stamped again without a change of value; a restart forgets what is not stored.
    for name in ALL {
        let fake = hub.fakes.get(name);
        for person in &people {
            fake.touch(person);
        }
    }
    let rows = hub.round().await + hub.round().await;
    assert_eq!(rows, 0, "nothing more is written (seed {seed})");
}
