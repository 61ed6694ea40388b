//! What has been kept for as long as it is to be kept is removed, and that is in the ledger (R57).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::config::Retention;
use consentd::consent::{Life, Shown, Status, SystemId};
use consentd::runtime::clock::Clock as _;
use consentd::store::ledger::{Head, StoredBlock, unpack, verify_range};
use consentd::store::{
    Changes, DELETED, Expiring, Flip, GateChanges, Known, LoadKey, QuarantineRow, RequestQuery,
    RequestRow, Scope,
};
use consentd::sync::ledger::replay;
use consentd::sync::pack::{Packer, unpack_verdicts};
use consentd::sync::retention::{Class, Removed, remove};
use consentd::sync::workbench::transact;
use hub::{Hub, MARKETING};
use postgres::Database;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SYSTEMS: [&str; 2] = ["crm", "ascend"];
const DAY: u64 = 24 * 3_600;

const fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

async fn start(database: Option<&Database>) -> Hub {
    let url = database.map(|database| database.url.clone());
    let hub = Hub::start_in(&SYSTEMS, "", url).await;
    for name in ["ann", "bob"] {
        hub.fakes.person(&SYSTEMS, name);
    }
    hub.settle().await;
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Set);
    hub.settle().await;
    hub
}

async fn run(hub: &Hub, retention: &Retention) -> Removed {
    remove(&hub.engine.shared, retention, &CancellationToken::new())
        .await
        .unwrap()
}

async fn blocks(hub: &Hub) -> Vec<StoredBlock> {
    hub.store.ledger_blocks(0, 100_000).await.unwrap()
}

/// How many entries of each kind there are, and what the entries on expiry say.
async fn told(hub: &Hub) -> (BTreeMap<String, u64>, Vec<Value>) {
    let (mut kinds, mut expired) = (BTreeMap::new(), Vec::new());
    let mut previous = Head::START;
    for stored in blocks(hub).await {
        verify_range(&previous, &stored, &mut |_, _| {}).unwrap();
        previous = Head::from(&stored.block);
        for entry in unpack(stored.block.first, &stored.entries) {
            let (_, row) = entry.unwrap();
            if row.kind == "expired" {
                expired.push(serde_json::from_str(&row.body).unwrap());
            }
            *kinds.entry(row.kind).or_default() += 1;
        }
    }
    (kinds, expired)
}

async fn put(hub: &Hub, changes: Changes) {
    let decide = &mut |_: Known| changes.clone();
    hub.store.transact(&Scope::default(), decide).await.unwrap();
}

async fn subject(hub: &Hub, name: &str) -> Known {
    let key = consentd::consent::SubjectKey::from_address(&format!("{name}@hub.example")).unwrap();
    let scope = Scope {
        subjects: vec![hub.engine.shared.pseudonyms.of(&key)],
        ..Scope::default()
    };
    hub.store.known(&scope).await.unwrap()
}

async fn rows_go_when_their_time_is_over(hub: Hub) {
    let now = hub.clock.now().micros();
    let ann = subject(&hub, "ann").await.subjects[0].id;
    let key = LoadKey {
        system: 1,
        minute: hub.clock.now().minute(),
        actor: "loader".to_owned(),
    };
    let request = |id, closed_at| RequestRow {
        id,
        subject: ann,
        unit: "100".to_owned(),
        closed_at,
        ..RequestRow::default()
    };
    put(
        &hub,
        Changes {
            flips: vec![Flip {
                subject: ann,
                purpose: "marketing".to_owned(),
                withdrawn: true,
                system: 1,
                at: now,
            }],
            load_members: vec![(key.clone(), "x".to_owned()), (key.clone(), "y".to_owned())],
            quarantine: vec![QuarantineRow {
                system: 1,
                external: "odd".to_owned(),
                reason: "odd".to_owned(),
                raw: vec![1],
                seen_at: now,
            }],
            gate: GateChanges {
                requests: vec![request(1, Some(now)), request(2, None)],
                ..GateChanges::default()
            },
            ..Changes::default()
        },
    )
    .await;
    let retention = Retention {
        flips: Some(days(1)),
        load_members: Some(days(2)),
        quarantine: Some(days(3)),
        closed_requests: Some(days(4)),
        ..Retention::default()
    };
    assert_eq!(run(&hub, &retention).await, Removed::default());
    let mut classes = Vec::new();
    for (day, rows) in [(1, 1), (2, 2), (3, 1), (4, 1), (5, 0)] {
        hub.pass(DAY + 60);
        let removed = run(&hub, &retention).await;
        assert_eq!(removed, Removed { rows, entries: 0 }, "day {day}");
        assert_eq!(run(&hub, &retention).await, Removed::default(), "once");
        let (_, expired) = told(&hub).await;
        classes.clear();
        classes.extend(expired.iter().map(|body| {
            (
                body["class"].as_str().unwrap().to_owned(),
                body["count"].as_u64().unwrap(),
            )
        }));
    }
    let expected = [
        ("flips", 1),
        ("load_members", 2),
        ("quarantine", 1),
        ("closed_requests", 1),
    ];
    assert_eq!(
        classes,
        expected.map(|(class, count)| (class.to_owned(), count))
    );
    // The counts of loads stay, since what they say of a grant has no end (R25).
    let scope = Scope {
        loads: vec![key],
        ..Scope::default()
    };
    assert_eq!(hub.store.known(&scope).await.unwrap().loads[0].contacts, 2);
    let left = RequestQuery {
        closed: true,
        ..RequestQuery::default()
    };
    let left = hub.store.requests(&left, 10).await.unwrap();
    assert_eq!(left.len(), 1, "the open one stays");
}

async fn a_contact_that_is_gone_leaves_its_withdrawal(hub: Hub) {
    let crm = hub.engine.member("crm").unwrap().id;
    delete(&hub, crm, "ann").await;
    let status = async |hub: &Hub| {
        let known = subject(hub, "ann").await;
        let verdicts = unpack_verdicts(&known.subjects[0].verdicts).unwrap();
        (
            verdicts[0].status(),
            known.contacts.len(),
            verdicts[0].contact.to_string(),
        )
    };
    let withdrawn = (Status::Withdrawn, 2, "ann".to_owned());
    assert_eq!(status(&hub).await, withdrawn);
    let retention = Retention {
        deleted_contacts: Some(days(30)),
        ..Retention::default()
    };
    hub.pass(29 * DAY);
    assert_eq!(run(&hub, &retention).await.rows, 0);
    hub.pass(2 * DAY);
    assert_eq!(run(&hub, &retention).await.rows, 1);
    assert_eq!(status(&hub).await, (Status::Withdrawn, 1, "ann".to_owned()));
    let known = subject(&hub, "ann").await;
    assert!(known.subjects[0].remembered.contains("crm"), "{known:?}");
    hub.settle().await;
    assert_eq!(hub.fakes.get("ascend").shown("ann", MARKETING), Shown::Set);
    // G9: the ledger tells of it too.
    let rules = &hub.engine.shared.rules;
    let replayed = replay::check(&*hub.store, rules, &|_| {}).await.unwrap();
    assert!(
        replayed.is_same() && replayed.not_replayable == 0,
        "{replayed:?}"
    );
    assert!(
        told(&hub)
            .await
            .1
            .iter()
            .any(|body| body["class"] == "deleted_contacts")
    );
}

/// A contact is deleted in its system, and the feed tells.
async fn delete(hub: &Hub, system: SystemId, id: &str) {
    let shared = &hub.engine.shared;
    hub.fakes.get("crm").lose(id);
    let scope = Scope {
        contacts: vec![(system.0, id.to_owned())],
        ..Scope::default()
    };
    let act = |bench: &mut consentd::sync::workbench::Workbench<'_>| {
        let mut contact = bench.contact(system, id).unwrap().clone();
        contact.life = Life::Deleted;
        contact.read_at = Some(shared.clock.now());
        bench.set_contact(contact);
        Ok(())
    };
    let packer = Packer::new(&shared.rules);
    transact(
        &*hub.store,
        scope,
        shared.frame(false),
        &packer,
        act,
        |_| {},
    )
    .await
    .unwrap();
    let known = subject(hub, id).await;
    assert!(known.contacts.iter().any(|row| row.life == DELETED));
}

async fn entries_of_the_ledger_are_forgotten_by_class(hub: Hub) {
    let (before, _) = told(&hub).await;
    for kind in ["observed", "verdict", "planned", "written"] {
        assert!(before.contains_key(kind), "{before:?}");
    }
    let of = |class: Class| -> u64 {
        let kinds = before
            .iter()
            .filter(|(kind, _)| Class::of(kind) == Some(class));
        kinds.map(|(_, count)| count).sum()
    };
    hub.pass(400 * DAY);
    let retention = Retention {
        writes: Some(days(100)),
        observed: Some(days(500)),
        ..Retention::default()
    };
    let removed = run(&hub, &retention).await;
    assert_eq!(removed.entries, of(Class::Writes));
    let (after, expired) = told(&hub).await;
    assert!(
        !after.contains_key("planned") && !after.contains_key("written"),
        "{after:?}"
    );
    assert_eq!(after["observed"], before["observed"], "kept for longer");
    assert_eq!(after["forgotten"], of(Class::Writes));
    assert_eq!(expired.len(), 1);
    let body = &expired[0];
    assert_eq!(
        (&body["class"], &body["forgotten"]),
        (&Value::from("writes"), &Value::from(of(Class::Writes)))
    );
    assert!(
        body["before"]
            .as_str()
            .is_some_and(|before| before.starts_with("202"))
    );
    // It goes on where it was: new entries of the class stay until their time is over.
    hub.fakes.get("crm").save("bob", MARKETING, &Shown::Set);
    hub.settle().await;
    assert_eq!(run(&hub, &retention).await.entries, 0);
    hub.pass(101 * DAY);
    let removed = run(&hub, &retention).await;
    assert!(removed.entries >= 2 + before["observed"], "{removed:?}");
    assert!(
        told(&hub).await.0.contains_key("observed"),
        "bob's is younger than 500 days"
    );
    let rules = &hub.engine.shared.rules;
    let replayed = replay::check(&*hub.store, rules, &|_| {}).await.unwrap();
    assert!(replayed.fault.is_none(), "{replayed:?}");
}

macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::start(None).await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let database = super::Database::create().await;
                super::$case(super::start(Some(&database)).await).await;
            })+
        }
    };
}

on_both_databases! {
    rows_go_when_their_time_is_over,
    a_contact_that_is_gone_leaves_its_withdrawal,
    entries_of_the_ledger_are_forgotten_by_class,
}

#[test]
fn r57_what_tells_of_erasure_and_expiry_has_no_end() {
    for kind in ["stated", "erased", "expired", "forgotten"] {
        assert_eq!(Class::of(kind), None, "{kind}");
    }
    let words = Expiring::ALL.map(Expiring::word);
    assert_eq!(words.len(), std::collections::BTreeSet::from(words).len());
}
