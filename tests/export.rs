//! Consent records out (R54): through the command, on an engine with systems in memory. The records are held
//! against the shapes in `tests/data/consent-27560.ttl`, which say where they come from.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "these tests use a part of the rig")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "these tests use a part of the rig")]
#[path = "common/hub.rs"]
mod hub;
#[path = "export/shacl.rs"]
mod shacl;

use consentd::consent::{Basis, Shown, Status};
use hub::{Hub, MARKETING, STORE};
use serde_json::{Value, json};
use shacl::{Validator, json_ld, turtle};
use std::os::unix::fs::PermissionsExt;

const SHAPES: &str = include_str!("data/consent-27560.ttl");

/// All that the records demand.
const ORGANISATION: &[(&str, &str)] = &[
    ("controller", "University of Example"),
    ("controller_id", "https://www.example.edu/#organisation"),
    ("contact", "privacy@example.edu"),
    ("postal_address", "1 Main Street"),
    ("notice_url", "https://www.example.edu/privacy"),
    ("notice_language", "en"),
    ("jurisdiction", "US-CO"),
    ("retention", "P5Y"),
    ("withdraw_url", "https://www.example.edu/preferences"),
];

fn table(without: &str) -> String {
    let keys = ORGANISATION.iter().filter(|(key, _)| *key != without);
    let lines: Vec<String> = keys
        .map(|(key, value)| format!("{key} = {value:?}"))
        .collect();
    format!("[export]\n{}\n", lines.join("\n"))
}

/// Ann grants, withdraws, and grants again on another basis; bob's id is a formula; nobody else says anything.
async fn people() -> Hub {
    let hub = Hub::start(&["crm", "club"], &table("")).await;
    hub.fakes.person(&["crm", "club"], "ann");
    hub.fakes.person(&["crm", "club"], "=cmd");
    hub.fakes.person(&["crm"], "silent");
    hub.settle().await;
    let (crm, club) = (hub.fakes.get("crm"), hub.fakes.get("club"));
    let granted = |basis| Shown::Record {
        status: Status::Granted,
        basis: Some(basis),
    };
    hub.pass(60);
    club.save("ann", MARKETING, &granted(Basis::Consent));
    club.save("=cmd", MARKETING, &granted(Basis::Consent));
    hub.settle().await;
    hub.pass(60);
    crm.save("ann", MARKETING, &Shown::Set);
    hub.settle().await;
    hub.pass(60);
    club.save("ann", STORE, &granted(Basis::Contract));
    hub.settle().await;
    hub
}

fn exported(hub: &Hub, arguments: &[&str]) -> String {
    let mut all = vec!["export"];
    all.extend(arguments);
    let answer = hub.command(&all);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    answer.said
}

/// What is wrong with a document, and how many records it holds.
fn judged(document: &Value) -> (usize, Vec<String>) {
    let (shapes, data) = (turtle(SHAPES), json_ld(&document.to_string()));
    Validator {
        shapes: &shapes,
        data: &data,
    }
    .validate()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn r54_the_records_of_all_conform_to_the_shapes() {
    let hub = people().await;
    let text = exported(&hub, &["--format", "27560"]);
    let document = parsed(&text);
    let (count, faults) = judged(&document);
    assert_eq!((count, faults), (3, vec![]), "{document:#}");
    // People are named by keyed hash, and no address of theirs is anywhere.
    assert!(!text.contains("hub.example"), "{text}");
    let named = exported(&hub, &["--format", "27560", "--with-addresses"]);
    assert!(
        named.contains("\"dct:identifier\":\"ann@hub.example\""),
        "{named}"
    );
    assert_eq!(judged(&parsed(&named)), (3, vec![]));
    // On another basis than consent, no consent is claimed.
    let records = document["@graph"].as_array().unwrap();
    let of_contract = records
        .iter()
        .find(|record| record["dpv:hasProcess"]["dpv:hasLegalBasis"]["@id"] == "dpv:Contract");
    let of_contract = of_contract.unwrap();
    assert_eq!(
        of_contract["dpv:hasConsentStatus"][0]["@type"],
        json!(["dpv:ConsentStatus", "dpv:ConsentUnknown"])
    );
}

#[tokio::test]
async fn r54_the_records_of_one_tell_the_history_and_all_that_is_known() {
    let hub = people().await;
    let document = parsed(&exported(&hub, &["ANN@hub.example", "--format", "27560"]));
    let (count, faults) = judged(&document);
    assert_eq!((count, faults), (2, vec![]), "{document:#}");
    let graph = document["@graph"].as_array().unwrap();
    let of = |purpose: &str| {
        let title =
            |record: &&Value| record["dpv:hasProcess"]["dpv:hasPurpose"]["dct:title"] == purpose;
        graph.iter().find(title).unwrap()
    };
    let record = of("marketing");
    assert_eq!(
        record["dpv:hasDataSubject"]["dct:identifier"],
        "ann@hub.example"
    );
    let events = record["dpv:hasConsentStatus"].as_array().unwrap();
    let states: Vec<&str> = events
        .iter()
        .map(|it| it["@type"][1].as_str().unwrap())
        .collect();
    assert_eq!(states, ["dpv:ConsentGiven", "dpv:ConsentWithdrawn"]);
    assert_eq!(events[0]["consentd:system"], "club");
    assert_eq!(events[1]["consentd:system"], "crm");
    assert_eq!(events[1]["consentd:actor"], "ann");
    assert_eq!(events[1]["consentd:evidence"], "history");
    assert!(
        events[0]["dpv:isIndicatedAtTime"].as_str() < events[1]["dpv:isIndicatedAtTime"].as_str()
    );
    let known = &graph.last().unwrap()["consentd:knows"];
    assert_eq!(known["now"]["contacts"].as_array().unwrap().len(), 2);
    assert!(known["events"].as_array().unwrap().len() > 5, "{known:#}");
    let only = exported(
        &hub,
        &["ann@hub.example", "--format", "27560", "--purpose", "store"],
    );
    assert_eq!(judged(&parsed(&only)), (1, vec![]));
}

#[tokio::test]
async fn r54_a_record_that_is_changed_does_not_conform() {
    let hub = people().await;
    let mut document = parsed(&exported(
        &hub,
        &[
            "ann@hub.example",
            "--format",
            "27560",
            "--purpose",
            "marketing",
        ],
    ));
    assert_eq!(judged(&document), (1, vec![]));
    // What else is known of her says too that she is a data subject.
    document["@graph"].as_array_mut().unwrap().truncate(1);
    assert_eq!(judged(&document), (1, vec![]));
    // A field that must be there is not.
    let members = [
        "/dct:conformsTo",
        "/dct:identifier",
        "/dpv:hasIdentifier",
        "/dpv:hasDataSubject",
        "/dpv:hasEntity",
        "/dpv:hasNotice",
        "/dpv:hasNotice/dct:language",
        "/dpv:hasProcess",
        "/dpv:hasProcess/dpv:hasPurpose",
        "/dpv:hasProcess/dpv:hasPurpose/skos:broader",
        "/dpv:hasProcess/dpv:hasPersonalData",
        "/dpv:hasProcess/dpv:hasStorageCondition",
        "/dpv:hasProcess/dpv:hasDataController",
        "/dpv:hasProcess/dpv:hasRecipient",
        "/dpv:hasProcess/dpv:hasConsentControl",
        "/dpv:hasProcess/dpv:hasJurisdiction",
        "/dpv:hasProcess/dpv:hasRight",
        "/dpv:hasEntity/dpv:hasName",
        "/dpv:hasEntity/schema:contactPoint",
        "/dpv:hasEntity/schema:address",
        "/dpv:hasConsentStatus",
        "/dpv:hasConsentStatus/0/dpv:isIndicatedAtTime",
        "/dpv:hasConsentStatus/0/dpv:isIndicatedBy",
        "/dpv:hasConsentStatus/1/dpv:hasDuration",
        "/dpv:hasConsentStatus/1/dpv:hasLegalBasis",
    ];
    for member in members {
        let mut changed = document.clone();
        let (parent, name) = member.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(&format!("/@graph/0{parent}")).unwrap();
        let removed = parent.as_object_mut().unwrap().remove(name);
        assert!(removed.is_some(), "{member} was there");
        let (_, faults) = judged(&changed);
        assert!(!faults.is_empty(), "without {member}");
    }
    // A value is of the wrong class or kind.
    let values = [
        (
            "/dct:conformsTo",
            json!("https://w3id.org/dpv/schema/dpv-27560#receipt"),
        ),
        ("/dpv:hasDataSubject/@type", json!("dpv:DataController")),
        ("/dpv:hasNotice/@type", json!("dpv:PrivacyNotice")),
        ("/dpv:hasProcess/@type", json!("dpv:Purpose")),
        (
            "/dpv:hasProcess/dpv:hasStorageCondition/0/@type",
            json!("dpv:Process"),
        ),
        (
            "/dpv:hasProcess/dpv:hasConsentControl/@type",
            json!("dpv:ConsentControl"),
        ),
        (
            "/dpv:hasProcess/dpv:hasRight/dpv:isExercisedAt",
            json!("words"),
        ),
        (
            "/dpv:hasConsentStatus/0/@type",
            json!(["dpv:ConsentStatus", "dpv:ConsentLike"]),
        ),
        (
            "/dpv:hasConsentStatus/0/dpv:isIndicatedAtTime",
            json!("yesterday"),
        ),
        ("/dpv:hasEntity/@type", json!(["dpv:Recipient"])),
        ("/dct:identifier", json!("")),
    ];
    for (member, value) in values {
        let mut changed = document.clone();
        *changed.pointer_mut(&format!("/@graph/0{member}")).unwrap() = value.clone();
        let (_, faults) = judged(&changed);
        assert!(!faults.is_empty(), "{member} is {value}");
    }
}

#[test]
#[should_panic(expected = "sh:pattern is not known here")]
fn a_constraint_that_the_validator_does_not_know_ends_the_test() {
    let shapes = turtle(&SHAPES.replace("sh:minLength 2", "sh:pattern \"^en$\""));
    let data = json_ld(
        &json!({
            "@context": consentd::export::records::context(),
            "@id": "urn:x:record",
            "@type": "dpv:ConsentRecord",
            "dpv:hasNotice": { "@id": "urn:x:notice", "dct:language": "en" },
        })
        .to_string(),
    );
    Validator {
        shapes: &shapes,
        data: &data,
    }
    .validate();
}

#[tokio::test]
async fn r54_lines_and_csv_hold_one_line_for_each_person_and_purpose() {
    let hub = people().await;
    let text = exported(&hub, &["--format", "jsonl"]);
    let lines: Vec<Value> = text.lines().map(parsed).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines.iter().all(|line| line["record"] == "consent"));
    let withdrawn = lines
        .iter()
        .find(|line| line["status"] == "withdrawn")
        .unwrap();
    for (member, value) in [
        ("purpose", "marketing"),
        ("evidence", "history"),
        ("actor", "ann"),
        ("system", "crm"),
        ("contact", "ann"),
        ("rule", "R18"),
    ] {
        assert_eq!(withdrawn[member], value, "{withdrawn}");
    }
    assert!(withdrawn["earliest"].is_string() && withdrawn["policy"].is_string());
    assert!(!text.contains("hub.example"));
    let text = exported(&hub, &["--format", "csv", "--with-addresses"]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3);
    for cell in rows.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
    }
    assert!(text.contains("'=cmd"), "{text}");
    // One person with all that is known.
    let text = exported(&hub, &["ann@hub.example", "--format", "jsonl"]);
    let lines: Vec<Value> = text.lines().map(parsed).collect();
    let of = |record: &str| lines.iter().filter(|line| line["record"] == record).count();
    assert_eq!((of("consent"), of("contact")), (2, 2), "{text}");
    assert!(of("event") > 5, "{text}");
    assert!(
        lines
            .iter()
            .all(|line| line["address"] == "ann@hub.example")
    );
    let csv = exported(&hub, &["ann@hub.example", "--format", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.records().map(Result::unwrap).count(), lines.len());
}

#[tokio::test]
async fn r54_what_is_demanded_and_missing_is_named() {
    let hub = people().await;
    let config = hub.folder.path().join("consentd.toml");
    let whole = std::fs::read_to_string(&config).unwrap();
    for (key, _) in ORGANISATION {
        let lines = whole
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} =")));
        std::fs::write(&config, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let answer = hub.command(&["export", "--format", "27560", "--to", "records.jsonld"]);
        assert_eq!(
            (answer.status, answer.said.as_str()),
            (Some(1), ""),
            "{key}"
        );
        let named = format!("export.{key} is missing");
        assert!(answer.complained.contains(&named), "{}", answer.complained);
        assert!(!hub.folder.path().join("records.jsonld").exists(), "{key}");
        // The other forms name no organisation.
        exported(&hub, &["--format", "jsonl"]);
    }
}

#[tokio::test]
async fn r54_a_file_is_for_its_owner_alone_and_nobody_is_named_in_an_error() {
    let hub = people().await;
    let file = hub.folder.path().join("ann.csv");
    let path = file.display().to_string();
    let said = exported(&hub, &["ann@hub.example", "--format", "csv", "--to", &path]);
    assert_eq!(said, "");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("ann@hub.example")
    );
    let nobody = hub.command(&["export", "eve@hub.example", "--format", "csv"]);
    assert_eq!(nobody.status, Some(1));
    assert!(
        nobody
            .complained
            .contains("nobody is known by that address"),
        "{nobody:?}"
    );
    assert!(!nobody.complained.contains("eve@"), "{nobody:?}");
    let unknown = hub.command(&["export", "--format", "csv", "--purpose", "golf"]);
    assert!(
        unknown.complained.contains("there is no purpose \"golf\""),
        "{unknown:?}"
    );
}
