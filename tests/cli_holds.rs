//! `consentd holds` as a shell sees it: what waits for a person, and what people decide about it (R29);
//! with what `status` and `explain` say of holds.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/ledger.rs"]
mod ledger;

use consentd::consent::{Shown, SubjectKey};
use consentd::runtime::clock::{Clock as _, System};
use hub::{Answer, Hub, MARKETING};
use serde_json::{Value, json};
use std::time::Duration;

const SYSTEMS: &[&str] = &["crm", "ascend"];
/// Three grants within an hour wait for a person.
const EARLY: &str = "[policy.mass_change]\ngrants_at_least = 2\ngrants_percent = 0";
const WHY: [&str; 2] = ["--reason", "the import was wrong"];

/// These persons, who withdrew in the CRM and were granted there again.
async fn granted_again(names: &[String], more: &str) -> Hub {
    let hub = Hub::start(SYSTEMS, more).await;
    for name in names {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.settle().await;
    let crm = hub.fakes.get("crm");
    for shown in [Shown::Set, Shown::Default] {
        for name in names {
            crm.save(name, MARKETING, &shown);
        }
        hub.settle().await;
        hub.pass(600);
    }
    hub
}

fn three() -> Vec<String> {
    ["ann", "bob", "cid"].map(str::to_owned).to_vec()
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("p{number:02}")).collect()
}

/// Commands act by the clock of the machine; the hub goes on after that.
fn catch_up(hub: &Hub) {
    let ahead = System.now().since(hub.clock.now()).max(0);
    hub.clock
        .advance(Duration::from_micros(ahead.unsigned_abs()));
    hub.pass(60);
}

/// How many of these contacts are opted out in a system.
fn out(hub: &Hub, system: &str, names: &[String]) -> usize {
    let fake = hub.fakes.get(system);
    let out = names
        .iter()
        .filter(|name| fake.shown(name, MARKETING) == Shown::Set);
    out.count()
}

fn run(hub: &Hub, arguments: &[&str]) -> Answer {
    hub.command(&[&["holds"], arguments].concat())
}

/// What a command prints that has to succeed.
fn said(hub: &Hub, arguments: &[&str]) -> String {
    let answer = run(hub, arguments);
    assert_eq!(answer.status, Some(0), "{arguments:?}: {answer:?}");
    answer.said
}

fn json_of(hub: &Hub, arguments: &[&str]) -> Vec<Value> {
    let text = said(hub, &[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&text).unwrap()
}

fn hash(hub: &Hub, name: &str) -> String {
    let key = SubjectKey::from_address(&format!("{name}@hub.example")).unwrap();
    hub.engine.shared.pseudonyms.of(&key).short()
}

#[tokio::test]
async fn r29_one_command_rejects_a_whole_batch_and_the_ledger_knows_who_and_why() {
    let names = three();
    let hub = granted_again(&names, EARLY).await;
    let listed = json_of(&hub, &["list"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    for (column, expected) in [
        ("kind", json!("mass-change")),
        ("rule", json!("R26")),
        ("system", json!("crm")),
        ("purpose", json!("marketing")),
        ("direction", json!("grant")),
        ("waiting", json!(3)),
        ("closed", Value::Null),
        ("approving", json!("the grants are written")),
    ] {
        assert_eq!(listed[0][column], expected, "{column}");
    }
    assert_eq!(out(&hub, "ascend", &names), 3, "nothing was written");

    let status = hub.command(&["status", "--output", "json"]).said;
    let status: Vec<Value> = serde_json::from_str(&status).unwrap();
    let crm = status.iter().find(|row| row["system"] == "crm").unwrap();
    assert_eq!((&crm["holds"], &crm["waiting"]), (&json!(1), &json!(3)));
    let status = hub.command(&["status"]).said;
    assert!(
        status.contains("3 of them wait for a person under 1 holds"),
        "{status}"
    );
    let explained = hub.command(&["explain", "ann@hub.example"]).said;
    let hold = listed[0]["hold"].as_i64().unwrap();
    assert!(
        explained.contains(&format!(
            "marketing waits for a person under hold {hold} (mass-change)"
        )),
        "{explained}"
    );

    let unexplained = run(&hub, &["reject", "--all"]);
    assert_eq!(unexplained.status, Some(1), "a decision has a reason");
    let told = said(&hub, &[&["reject", "--all"], &WHY[..]].concat());
    assert_eq!(told, format!("hold {hold} (mass-change): 3 rejected\n"));
    assert_eq!(json_of(&hub, &["list"]), [Value::Null; 0]);
    let closed = json_of(&hub, &["list", "--closed"]);
    assert!(closed[0]["closed"].is_string(), "{closed:?}");
    catch_up(&hub);
    hub.settle().await;
    assert_eq!(out(&hub, "crm", &names), 3, "written back");
    assert_eq!(out(&hub, "ascend", &names), 3);

    let acts = ledger::acts(&hub.store_path()).await;
    let whole: Vec<_> = acts.iter().filter(|act| act["done"].is_number()).collect();
    let expected = json!({
        "act": "reject", "operator": "ann", "reason": "the import was wrong", "hold": hold,
        "kind": "mass-change", "purpose": "marketing", "direction": "grant",
        "done": 3, "moved_on": 0, "irrevocable": 0,
    });
    assert_eq!(whole, [&expected]);
    let explained = hub.command(&["explain", "ann@hub.example"]).said;
    assert!(
        explained.contains(&format!(
            "reject under hold {hold} by ann: the import was wrong"
        )),
        "{explained}"
    );
    assert_eq!(
        said(&hub, &[&["reject", "--all"], &WHY[..]].concat()),
        "no such hold is open\n"
    );
}

#[tokio::test]
async fn r29_some_persons_are_approved_by_hash_or_address_and_the_others_wait() {
    let names = three();
    let hub = granted_again(&names, EARLY).await;
    let shown = json_of(&hub, &["list"]);
    let hold = shown[0]["hold"].to_string();
    let people = json_of(&hub, &["show", &hold]);
    assert_eq!(people.len(), 3);
    let row = |name: &str| {
        let hash = hash(&hub, name);
        let found = people.iter().find(|row| row["subject"] == hash.as_str());
        found.unwrap().clone()
    };
    let ann = row("ann");
    assert_eq!(ann["verdict"], "granted");
    assert_eq!(ann["contacts"], "ascend ann; crm ann");
    let writes = ann["writes"].as_str().unwrap();
    assert!(writes.starts_with("ascend ann: marketing to "), "{writes}");
    let text = said(&hub, &["show", &hold]);
    assert!(text.starts_with(&format!("hold {hold}, mass-change (R26): grants of marketing by crm; 3 persons are waiting since ")), "{text}");
    assert!(
        text.contains("approving: the grants are written\n"),
        "{text}"
    );
    assert!(!text.contains('@'), "{text}");
    let text = said(&hub, &["show", &hold, "--with-addresses"]);
    assert!(text.contains("ann@hub.example"), "{text}");
    assert_eq!(json_of(&hub, &["show", &hold, "--limit", "2"]).len(), 2);

    let bob = hash(&hub, "bob");
    let told = said(
        &hub,
        &[
            "approve",
            &hold,
            "--person",
            "Ann@hub.example",
            "--person",
            &bob,
            "--reason",
            "they called",
        ],
    );
    assert_eq!(told, format!("hold {hold} (mass-change): 2 approved\n"));
    assert_eq!(json_of(&hub, &["list"])[0]["waiting"], 1);
    catch_up(&hub);
    hub.settle().await;
    assert_eq!(
        out(&hub, "ascend", &["ann".to_owned(), "bob".to_owned()]),
        0
    );
    assert_eq!(out(&hub, "ascend", &["cid".to_owned()]), 1);
}

#[tokio::test]
async fn r25_a_load_is_healed_and_what_it_would_have_granted_waits_under_one_hold() {
    let names = many(30);
    let hub = granted_again(&names, "").await;
    assert_eq!(out(&hub, "crm", &names), 30, "it is written back");
    let listed = json_of(&hub, &["list"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    for (column, expected) in [
        ("kind", json!("load")),
        ("rule", json!("R25")),
        ("system", json!("crm")),
        ("purpose", Value::Null),
        ("actor", json!("ann")),
        ("waiting", json!(30)),
    ] {
        assert_eq!(listed[0][column], expected, "{column}: {listed:?}");
    }
    assert_eq!(json_of(&hub, &["list", "--kind", "mass-change"]).len(), 0);
    assert_eq!(json_of(&hub, &["list", "--system", "ascend"]).len(), 0);
    assert_eq!(json_of(&hub, &["list", "--purpose", "marketing"]).len(), 1);
    let approve = ["approve", "--kind", "load", "--system", "crm", "--purpose"];
    let told = said(
        &hub,
        &[&approve[..], &["marketing", "--reason", "asked them all"]].concat(),
    );
    assert!(told.ends_with("(load): 30 approved\n"), "{told}");
    catch_up(&hub);
    hub.settle().await;
    assert_eq!(out(&hub, "crm", &names), 0, "they are granted now");
    assert_eq!(out(&hub, "ascend", &names), 0);
    assert_eq!(json_of(&hub, &["list"]).len(), 0);
}

#[tokio::test]
async fn r26_what_persons_withdrew_cannot_be_taken_back_and_is_let_go() {
    let names = many(9);
    let late = "[policy.mass_change]\nwithdrawals_at_least = 8\nwithdrawals_percent = 0";
    let hub = granted_again(&names, late).await;
    assert_eq!(out(&hub, "ascend", &names), 0);
    let crm = hub.fakes.get("crm");
    for name in &names {
        crm.save(name, MARKETING, &Shown::Set);
    }
    hub.settle().await;
    let listed = json_of(&hub, &["list"]);
    assert_eq!(listed[0]["direction"], "withdrawal", "{listed:?}");
    assert_eq!(out(&hub, "ascend", &names), 0, "they are held");
    let told = said(&hub, &[&["reject", "--all"], &WHY[..]].concat());
    assert!(
        told.ends_with(": 9 cannot be taken back and were let go\n"),
        "{told}"
    );
    catch_up(&hub);
    hub.settle().await;
    assert_eq!(out(&hub, "ascend", &names), 9);
}

#[tokio::test]
async fn r29_what_does_not_wait_is_said_and_nothing_is_decided() {
    let hub = granted_again(&three(), EARLY).await;
    let hold = json_of(&hub, &["list"])[0]["hold"].to_string();
    let rows: [(&[&str], &str); 11] = [
        (&["approve", "9999"], "there is no open hold 9999"),
        (&["approve", &hold, "9999"], "there is no open hold 9999"),
        (&["show", "9999"], "there is no hold 9999"),
        (
            &["approve", "--system", "siebel"],
            "there is no system \"siebel\"",
        ),
        (
            &["list", "--system", "siebel"],
            "configured are: ascend, crm",
        ),
        (&["approve", "--kind", "nonsense"], "invalid value"),
        (
            &["approve", &hold, "--person", "eve@hub.example"],
            "waits there",
        ),
        (
            &["approve", &hold, "--person", "0123456789ab"],
            "waits there",
        ),
        (
            &["approve", &hold, "--person", "eve"],
            "12 to 32 hexadecimal",
        ),
        (&["approve"], "required"),
        (&["approve", "--all", &hold], "cannot be used with"),
    ];
    for (arguments, complaint) in rows {
        let more: &[&str] = if arguments[0] == "approve" { &WHY } else { &[] };
        let answer = run(&hub, &[arguments, more].concat());
        assert_eq!(answer.status, Some(1), "{arguments:?}: {answer:?}");
        assert!(
            answer.complained.contains(complaint),
            "{arguments:?}: {}",
            answer.complained
        );
        assert!(!answer.complained.contains("eve@"), "{}", answer.complained);
    }
    assert_eq!(json_of(&hub, &["list"])[0]["waiting"], 3);
    assert!(ledger::acts(&hub.store_path()).await.is_empty());
}

#[tokio::test]
async fn r49_other_thresholds_take_effect_without_a_restart_and_judge_what_comes_then() {
    let hub = Hub::start(SYSTEMS, "").await;
    let mut hub = hub;
    let names = three();
    for name in &names {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.settle().await;
    let crm = hub.fakes.get("crm");
    let turn = |shown: &Shown| {
        for name in &names {
            crm.save(name, MARKETING, shown);
        }
    };
    turn(&Shown::Set);
    hub.settle().await;
    turn(&Shown::Default);
    hub.settle().await;
    assert_eq!(json_of(&hub, &["list"]).len(), 0, "three are not many");
    hub.pass(7_200);
    let own = "[systems.crm.mass_change.marketing]\ngrants_at_least = 2\ngrants_percent = 0";
    for (more, held) in [(own, 1), (EARLY, 1), ("", 0)] {
        turn(&Shown::Set);
        hub.settle().await;
        let checked = hub::configured(hub.folder.path(), SYSTEMS, more);
        hub.go_on(&checked).await;
        hub.pass(7_200);
        turn(&Shown::Default);
        hub.settle().await;
        assert_eq!(json_of(&hub, &["list"]).len(), held, "{more:?}");
    }
}
