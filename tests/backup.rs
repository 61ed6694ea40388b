//! A copy of the store, made beside a running daemon, and what follows when it is put back: the feeds are
//! read again from where they stood, and nothing is written that the systems show already.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::consent::{Basis, Shown, Status};
use consentd::store::{self, Access};
use consentd::sync::ledger::replay;
use consentd::sync::pack::{PackedVerdict, unpack_verdicts};
use hub::{Hub, MARKETING, configured};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

const SYSTEMS: [&str; 3] = ["crm", "ascend", "shop"];
const PEOPLE: usize = 40;

fn name(number: usize) -> String {
    format!("person-{number:02}")
}

const GRANTED: Shown = Shown::Record {
    status: Status::Granted,
    basis: Some(Basis::Consent),
};

/// What is decided of everybody for marketing.
async fn verdicts(hub: &Hub) -> BTreeMap<String, Option<Status>> {
    let known = hub.store.subjects_after(0, 10_000).await.unwrap();
    let of = |packed: &str| {
        let verdicts = unpack_verdicts(packed).unwrap();
        let mut marketing = verdicts
            .iter()
            .filter(|verdict| verdict.purpose == "marketing");
        marketing.next().map(PackedVerdict::status)
    };
    known
        .subjects
        .into_iter()
        .map(|row| (row.address, of(&row.verdicts)))
        .collect()
}

/// What all systems show.
fn shown(hub: &Hub) -> Vec<Shown> {
    let people = (0..PEOPLE).flat_map(|number| SYSTEMS.map(|system| (system, name(number))));
    people
        .map(|(system, id)| hub.fakes.get(system).shown(&id, MARKETING))
        .collect()
}

/// Goes on with that file as its store, as after a restart.
async fn restore(hub: &mut Hub, backup: &PathBuf) {
    hub.store.close().await;
    let path = hub.store_path();
    for suffix in ["-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        drop(std::fs::remove_file(file));
    }
    std::fs::copy(backup, &path).unwrap();
    let checked = configured(hub.folder.path(), &SYSTEMS, "");
    hub.store = store::open(&checked.store, Access::Daemon).await.unwrap();
    hub.go_on(&checked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_put_back_loses_nothing_and_writes_nothing_again() {
    let mut hub = Hub::start(&SYSTEMS, "").await;
    for number in 0..PEOPLE {
        hub.fakes.person(&SYSTEMS, &name(number));
    }
    hub.settle().await;
    for number in (0..PEOPLE).step_by(4) {
        hub.fakes
            .get("crm")
            .save(&name(number), MARKETING, &Shown::Set);
    }
    // Some of it is under way while the copy is made.
    hub.pass(5);
    hub.poll().await;
    let backup = hub.folder.path().join("copy.db");
    let file = backup.to_str().unwrap();
    let answer = hub.command(&["backup", file]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let head = format!("ledger up to {}:", hub.store.sequence());
    assert!(answer.said.contains(&head), "{answer:?} {head}");
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    hub.settle().await;

    // Life goes on: others opt out, some come back, in different systems.
    for number in (1..PEOPLE).step_by(4) {
        hub.fakes
            .get("ascend")
            .save(&name(number), MARKETING, &Shown::Set);
    }
    hub.settle().await;
    for number in (0..PEOPLE).step_by(8) {
        hub.fakes
            .get("shop")
            .save(&name(number), MARKETING, &GRANTED);
    }
    hub.settle().await;
    let (before, showed) = (verdicts(&hub).await, shown(&hub));
    let withdrawn = |all: &BTreeMap<String, Option<Status>>| {
        let withdrawn = |status: &&Option<Status>| **status == Some(Status::Withdrawn);
        all.values().filter(withdrawn).count()
    };
    assert_eq!(withdrawn(&before), PEOPLE / 2 - PEOPLE / 8);

    restore(&mut hub, &backup).await;
    assert_ne!(verdicts(&hub).await, before, "the copy is older");
    for system in SYSTEMS {
        hub.fakes.get(system).reset_calls();
    }
    hub.settle().await;
    for system in SYSTEMS {
        assert_eq!(
            hub.fakes.get(system).calls().writes,
            0,
            "{system} is written to"
        );
    }
    assert_eq!(verdicts(&hub).await, before);
    assert_eq!(shown(&hub), showed);
    let rules = &hub.engine.shared.rules;
    let replayed = replay::check(&*hub.store, rules, &|_| {}).await.unwrap();
    assert!(replayed.is_same(), "{replayed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_backup_is_looked_at_before_it_is_written() {
    let mut hub = Hub::start(&SYSTEMS, "").await;
    for number in 0..PEOPLE {
        hub.fakes.person(&SYSTEMS, &name(number));
    }
    hub.settle().await;
    for number in 0..PEOPLE {
        hub.fakes
            .get("crm")
            .save(&name(number), MARKETING, &Shown::Set);
    }
    hub.pass(5);
    hub.poll().await;
    let backup = hub.folder.path().join("copy.db");
    let answer = hub.command(&["backup", backup.to_str().unwrap()]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    hub.settle().await;
    restore(&mut hub, &backup).await;
    for system in SYSTEMS {
        hub.fakes.get(system).reset_calls();
    }
    // The writes that the copy holds are due before anything is read.
    assert_eq!(hub.store.outbox(0, 1_000).await.unwrap().len(), 2 * PEOPLE);
    assert_eq!(hub.emit().await, 0, "they took effect before");
    assert_eq!(hub.store.outbox(0, 1_000).await.unwrap(), []);
    for system in &SYSTEMS[1..] {
        assert!(hub.fakes.get(system).calls().looks > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_replaced_only_when_asked_for() {
    let hub = Hub::start(&SYSTEMS, "").await;
    let file = hub.folder.path().join("copy.db");
    std::fs::write(&file, "precious").unwrap();
    let name = file.to_str().unwrap();
    let answer = hub.command(&["backup", name]);
    assert_eq!(answer.status, Some(1));
    assert!(answer.complained.contains("--replace"), "{answer:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let answer = hub.command(&["backup", name, "--replace"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(
        std::fs::read(&file)
            .unwrap()
            .starts_with(b"SQLite format 3")
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let answer = hub.command(&["backup", "/nonexistent/folder/copy.db"]);
    assert_eq!(answer.status, Some(1));
    assert!(
        answer.complained.contains("cannot be written"),
        "{answer:?}"
    );
    let parts = std::fs::read_dir(hub.folder.path()).unwrap();
    let parts = parts.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".part")
    });
    assert_eq!(parts.count(), 0);
}

#[tokio::test]
async fn postgres_has_its_own_tools() {
    let database = postgres::Database::create().await;
    let store = store::PgStore::connect(&database.url, None, Access::Daemon)
        .await
        .unwrap();
    let copied = store::Store::back_up(&store, &PathBuf::from("/nonexistent"))
        .await
        .unwrap();
    assert_eq!(copied, None);
}
