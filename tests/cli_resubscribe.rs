//! `consentd resubscribe` as a shell sees it: lists, sheets, and what people do to requests (R47).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/ledger.rs"]
mod ledger;

use calamine::{Data, Reader as _, Xlsx, open_workbook};
use consentd::consent::{Shown, SubjectKey};
use consentd::runtime::clock::Clock as _;
use consentd::store::{Changes, GateChanges, Known, RequestRow, Scope};
use hub::{Answer, Hub, MARKETING};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SYSTEMS: &[&str] = &["crm", "ascend"];

/// Everything that a gate cannot be without.
const GATE: &str = r#"
    [marketing_cloud]
    auth_url = "http://127.0.0.1:9"
    client_id = "package"
    client_secret_file = "HOME/secret"
    account = "100"
    time_zone = "America/Denver"
    system = "crm"
"#;

/// Three people with an open request each and one with a closed one. Ann and Bob have opted in again;
/// Cid wants no mail any more.
async fn hub() -> Hub {
    let hub = Hub::start(SYSTEMS, GATE).await;
    let crm = hub.fakes.get("crm");
    for name in ["ann", "bob", "cid"] {
        hub.fakes.person(SYSTEMS, name);
        hub.settle().await;
        crm.save(name, MARKETING, &Shown::Set);
        hub.settle().await;
    }
    for name in ["ann", "bob"] {
        crm.save(name, MARKETING, &Shown::Default);
    }
    hub.settle().await;
    let request = |id, name: &'static str| RequestRow {
        id,
        subscriber: format!("{name}-key"),
        unit: "100".to_owned(),
        unit_name: "CU \"Boulder\"".to_owned(),
        status: "held".to_owned(),
        cause: "opt-in".to_owned(),
        evidence: r#"{"system":"crm","actor":"=1+1","from":"2026-01-01T00:00:30Z"}"#.to_owned(),
        opened_at: 1_767_225_600_000_000 + id,
        seen_at: 1_767_225_601_000_000,
        ..RequestRow::default()
    };
    let bob = RequestRow {
        urgent: true,
        subscriber: String::new(),
        note: Some("no-effect: it stays as it is".to_owned()),
        ..request(2, "bob")
    };
    let closed = RequestRow {
        closed_at: Some(1_767_225_602_000_000),
        closing: Some("done".to_owned()),
        closed_by: Some("eve: seen".to_owned()),
        ..request(4, "ann")
    };
    put(&hub, "ann", request(1, "ann")).await;
    put(&hub, "bob", bob).await;
    put(&hub, "cid", request(3, "cid")).await;
    put(&hub, "ann", closed).await;
    hub
}

async fn put(hub: &Hub, name: &str, request: RequestRow) {
    let key = SubjectKey::from_address(&format!("{name}@hub.example")).unwrap();
    let scope = Scope {
        subjects: vec![hub.engine.shared.pseudonyms.of(&key)],
        ..Scope::default()
    };
    let decide = &mut |known: Known| Changes {
        gate: GateChanges {
            requests: vec![RequestRow {
                subject: known.subjects[0].id,
                ..request.clone()
            }],
            ..GateChanges::default()
        },
        ..Changes::default()
    };
    hub.store.transact(&scope, decide).await.unwrap();
}

/// What a command prints that has to succeed.
fn said(hub: &Hub, arguments: &[&str]) -> String {
    let answer = hub.command(&[&["resubscribe"], arguments].concat());
    assert_eq!(answer.status, Some(0), "{arguments:?}: {answer:?}");
    answer.said
}

fn records(text: &str) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader.records().map(Result::unwrap).collect()
}

#[tokio::test]
async fn r47_requests_are_listed_without_addresses() {
    let hub = hub().await;
    let list = |more: &[&str]| said(&hub, &[&["list"], more].concat());
    let ids = |more: &[&str]| -> Vec<i64> {
        let text = list(&[&["--output", "json"], more].concat());
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        rows.iter()
            .map(|row| row["request"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(ids(&[]), [1, 2, 3]);
    assert_eq!(ids(&["--urgent"]), [2]);
    assert_eq!(ids(&["--all"]), [1, 2, 3, 4]);

    let rows: Vec<Value> = serde_json::from_str(&list(&["--all", "--output", "json"])).unwrap();
    let subject = rows[0]["subject"].as_str().unwrap();
    assert_eq!(subject.len(), 12, "a keyed hash");
    let expected = json!({
        "request": 1, "urgency": "weekly", "subject": subject, "subscriber_key": "ann-key",
        "unit": "100", "unit_name": "CU \"Boulder\"", "status": "held",
        "opened": "2026-01-01T00:00:00.000001Z", "last_read": "2026-01-01T00:00:01Z",
        "cause": "opt-in", "note": null, "closed": null, "closing": null, "closed_by": null,
    });
    assert_eq!(rows[0], expected);
    assert_eq!(
        (
            &rows[1]["urgency"],
            &rows[1]["subscriber_key"],
            &rows[1]["note"]
        ),
        (
            &json!("urgent"),
            &Value::Null,
            &json!("no-effect: it stays as it is")
        ),
        "where the address is the key, it is not shown"
    );
    assert_eq!(
        (
            &rows[3]["closed"],
            &rows[3]["closing"],
            &rows[3]["closed_by"]
        ),
        (
            &json!("2026-01-01T00:00:02Z"),
            &json!("done"),
            &json!("eve: seen")
        )
    );
    assert_eq!(records(&list(&["--output", "csv"])).len(), 3);
    let table = list(&["--all"]);
    assert!(
        table.contains("ann-key") && table.contains("eve: seen"),
        "{table}"
    );
    for format in ["table", "json", "csv"] {
        let text = list(&["--all", "--output", format]);
        assert!(!text.contains('@'), "an address shows: {text}");
    }
}

#[tokio::test]
async fn r47_the_sheet_is_exported_with_the_urgent_ones_first() {
    let hub = hub().await;
    let text = said(&hub, &["export"]);
    let sheet = records(&text);
    let lines: Vec<(&str, &str, &str)> = sheet
        .iter()
        .map(|line| (&line[0], &line[1], &line[3]))
        .collect();
    assert_eq!(
        lines,
        [
            ("2", "urgent", "bob@hub.example"),
            ("1", "weekly", "ann@hub.example"),
        ],
        "who wants no mail is not on it"
    );
    assert_eq!(&sheet[0][4], "bob@hub.example", "the address is the key");
    assert_eq!(&sheet[0][13], "'=1+1", "nothing starts a formula");

    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().display().to_string();
    let text = said(&hub, &["export", "--directory", &target]);
    let files: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("2 open requests in ").unwrap())
        .collect();
    assert_eq!(files.len(), 2, "{text}");
    for file in &files {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("resubscribe-2"), "{name}");
    }
    let written = std::fs::read_to_string(files[0]).unwrap();
    assert_eq!(records(&written), sheet);
    let mut book: Xlsx<_> = open_workbook(files[1]).unwrap();
    let name = book.sheet_names()[0].clone();
    let cells = book.worksheet_range(&name).unwrap();
    assert_eq!(cells.height(), 3);
    let address = cells.get_value((1, 3)).unwrap();
    assert_eq!(*address, Data::String("bob@hub.example".to_owned()));

    let one = tempfile::tempdir().unwrap();
    let target = one.path().display().to_string();
    said(&hub, &["export", "--directory", &target, "--as", "xlsx"]);
    let names = std::fs::read_dir(one.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let refused = [
        &["--directory", "/nonexistent/folder"][..],
        &["--as", "csv"],
        &["--directory", &target, "--as", "ods"],
    ];
    for arguments in refused {
        let answer = hub.command(&[&["resubscribe", "export"], arguments].concat());
        assert_eq!(answer.status, Some(1), "{arguments:?}: {answer:?}");
        assert!(!answer.complained.contains('@'), "{answer:?}");
    }
}

#[tokio::test]
async fn r47_people_say_what_is_done_and_what_is_urgent() {
    let hub = hub().await;
    let act =
        |arguments: &[&str]| -> Answer { hub.command(&[&["resubscribe"], arguments].concat()) };
    let rows: [(&[&str], &str); 6] = [
        (
            &["urgent", "1", "2", "--reason", "she waits"],
            "request 1 is urgent now\nrequest 2 was urgent already\n",
        ),
        (
            &["urgent", "--off", "1", "3"],
            "request 1 is worked weekly again\nrequest 3 was not urgent\n",
        ),
        (
            &["urgent", "--off", "2"],
            "request 2 is worked weekly again\n",
        ),
        (
            &["done", "3", "--reason", "asked him", "--operator", "eve"],
            "request 3 is closed\n",
        ),
        (&["urgent", "2"], "request 2 is urgent now\n"),
        (&["done", "1", "1"], "request 1 is closed\n"),
    ];
    for (arguments, expected) in rows {
        let answer = act(arguments);
        assert_eq!(
            (answer.status, answer.said.as_str()),
            (Some(0), expected),
            "{arguments:?}: {}",
            answer.complained
        );
    }
    // What can be done is done, and the rest is said.
    let answer = act(&["done", "1", "2", "7", "9"]);
    assert_eq!(answer.status, Some(1));
    assert_eq!(answer.said, "request 2 is closed\n");
    for part in [
        "request 1 is closed",
        "there is no request 7",
        "there is no request 9",
        "`consentd resubscribe list --all`",
    ] {
        assert!(answer.complained.contains(part), "{}", answer.complained);
    }
    let answer = act(&["urgent", "--off", "4"]);
    assert_eq!(answer.status, Some(1));
    assert!(answer.complained.contains("request 4 is closed"));
    for wrong in [
        &["done"][..],
        &["done", "one"],
        &["done", "1", "--reason", " "],
        &["urgent", "1", "--reason", "a\nb"],
    ] {
        let answer = act(wrong);
        assert_eq!(answer.status, Some(1), "{wrong:?}: {answer:?}");
    }

    let entries = ledger::entries(&hub.store_path()).await;
    let told: Vec<String> = entries
        .iter()
        .filter(|(kind, _)| kind == "resubscribe")
        .map(|(_, body)| {
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            format!(
                "{} {} by {}",
                body["request"],
                text("act"),
                text("operator")
            )
        })
        .collect();
    let expected = [
        "1 urgent by ann: she waits",
        "1 weekly by ann: no reason given",
        "2 weekly by ann: no reason given",
        "3 done by eve: asked him",
        "2 urgent by ann: no reason given",
        "1 done by ann: no reason given",
        "2 done by ann: no reason given",
    ];
    assert_eq!(told, expected);
    let figures = hub.store.figures(hub.clock.now()).await.unwrap();
    assert_eq!((figures.requests, figures.urgent_requests), (0, 0));
}

#[tokio::test]
async fn r47_without_a_gate_there_is_no_sheet() {
    let hub = Hub::start(SYSTEMS, "").await;
    let answer = hub.command(&["resubscribe", "export"]);
    assert_eq!(answer.status, Some(1));
    assert!(
        answer.complained.contains("[marketing_cloud]"),
        "{}",
        answer.complained
    );
    assert_eq!(said(&hub, &["list", "--output", "json"]).trim(), "[]");
}
