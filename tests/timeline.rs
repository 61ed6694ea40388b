//! What is known of a person, in the order in which it became known (R53): through the command, on an engine
//! with systems in memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "these tests use a part of the rig")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "these tests use a part of the rig")]
#[path = "common/hub.rs"]
mod hub;

use consentd::consent::resolve::Source;
use consentd::consent::{
    At, Evidence, Polarity, Remembered, Shown, Stamp, Statement, Status, SubjectKey,
};
use consentd::store::{Changes, Known, LedgerDraft, Scope};
use consentd::sync::pack::Packer;
use fake::{Fake, Keeps};
use hub::{Hub, MARKETING};
use serde_json::Value;

/// A person with a weak grant, a load, a failed attempt, an acknowledgement, a duplicate and a conflict.
async fn eventful() -> Hub {
    let hub = Hub::start(&["crm", "ascend", "club"], "").await;
    let clock = std::sync::Arc::clone(&hub.clock) as _;
    // It keeps records and tells no time of them.
    let club = Fake::new(
        Keeps::Modification,
        &[(MARKETING, Polarity::Recorded)],
        clock,
    );
    hub.fakes.put("club", club);
    let mut hub = hub;
    let checked = {
        let mut checked = hub::configured(hub.folder.path(), &["crm", "ascend", "club"], "");
        for system in &mut checked.systems {
            if system.name == "club" {
                system.carries = vec![(MARKETING, Polarity::Recorded)];
            }
        }
        checked
    };
    hub.go_on(&checked).await;
    let (crm, ascend, club) = (
        hub.fakes.get("crm"),
        hub.fakes.get("ascend"),
        hub.fakes.get("club"),
    );
    hub.fakes.person(&["crm", "ascend", "club"], "pat");
    let others: Vec<String> = (0..30).map(|number| format!("other{number}")).collect();
    for other in &others {
        hub.fakes.person(&["crm"], other);
    }
    hub.pass(60);
    let granted = Shown::Record {
        status: Status::Granted,
        basis: None,
    };
    club.save("pat", MARKETING, &granted);
    ascend.save("pat", MARKETING, &Shown::Set);
    for other in &others {
        crm.save(other, MARKETING, &Shown::Set);
    }
    hub.settle().await;
    // Somebody loads a list: everybody is opted in within a minute.
    hub.pass(600);
    for other in &others {
        crm.save(other, MARKETING, &Shown::Default);
    }
    crm.save("pat", MARKETING, &Shown::Default);
    hub.settle().await;
    // She says so herself, and the club has lost her meanwhile.
    hub.pass(600);
    ascend.save("pat", MARKETING, &Shown::Default);
    club.lose("pat");
    hub.settle().await;
    // A younger duplicate opts out.
    hub.pass(600);
    crm.add("pat2", "pat@hub.example");
    hub.settle().await;
    hub.pass(600);
    crm.save("pat2", MARKETING, &Shown::Set);
    hub.settle().await;
    hub
}

#[tokio::test]
async fn r53_a_timeline_has_all_in_the_order_in_which_it_became_known() {
    let hub = eventful().await;
    let answer = hub.command(&["explain", "Pat@hub.example", "--output", "json"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let told: Value = serde_json::from_str(&answer.said).unwrap();
    let events = told["events"].as_array().unwrap();
    let numbers: Vec<i64> = events
        .iter()
        .map(|it| it["seq"].as_i64().unwrap())
        .collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let all = format!("{told:#}");
    // Where in the timeline something is that fits; after what came before.
    let mut after = 0;
    let mut then = |what: &str, fits: &dyn Fn(&Value) -> bool| -> Value {
        let place = events.iter().skip(after).position(fits);
        let place = place.unwrap_or_else(|| panic!("{what} is not there after {after}: {all}"));
        after += place + 1;
        events[after - 1].clone()
    };
    let candidate = |event: &Value, role: &str, system: &str, why: &str| {
        let candidates = event["candidates"].as_array().into_iter().flatten();
        let mut fitting = candidates
            .filter(|it| it["role"] == role && it["system"] == system && it["why"] == why);
        fitting.next().is_some()
    };
    let found = then("what the club says", &|it| {
        it["kind"] == "observed" && it["system"] == "club" && it["status"] == "granted"
    });
    assert_eq!(found["evidence"], "baseline");
    assert!(found["stamp"]["earliest"].is_string() && found["stamp"]["latest"].is_string());
    let verdict = then("the weak grant loses", &|it| {
        it["kind"] == "verdict"
            && it["status"] == "withdrawn"
            && candidate(it, "won", "ascend", "latest")
            && candidate(it, "lost", "club", "weak")
    });
    assert_eq!(
        (&verdict["rule"], &verdict["contact"]),
        (&"R18".into(), &"pat".into())
    );
    assert_eq!(verdict["candidates"][0]["role"], "won", "best first");
    then("the withdrawal is acknowledged", &|it| {
        it["kind"] == "written"
            && it["system"] == "crm"
            && it["write"]["how"] == "applied"
            && it["write"]["lane"] == "withdrawal"
            && it["write"]["to"] == "set"
    });
    let loaded = then("the load is seen", &|it| {
        it["kind"] == "observed" && it["system"] == "crm" && it["status"] == "granted"
    });
    assert_eq!(
        (&loaded["actor"], &loaded["evidence"]),
        (&"ann".into(), &"history".into())
    );
    then("the load loses", &|it| {
        it["kind"] == "verdict" && candidate(it, "lost", "crm", "load")
    });
    then("she grants", &|it| {
        it["kind"] == "verdict" && it["status"] == "granted" && it["system"] == "ascend"
    });
    let attempt = then("the attempt at the club fails", &|it| {
        it["kind"] == "attempt" && it["system"] == "club"
    });
    assert_eq!(attempt["write"]["how"], "failed");
    assert_eq!(attempt["write"]["code"], "gone");
    assert_eq!(attempt["write"]["class"], "rejected");
    assert_eq!(attempt["write"]["attempts"], 1);
    assert_eq!(attempt["write"]["given_up"], true);
    assert_eq!(attempt["write"]["lane"], "grant");
    then("the duplicate opts out", &|it| {
        it["kind"] == "observed" && it["contact"] == "pat2" && it["status"] == "withdrawn"
    });
    let now = &told["now"];
    let finding = |kind: &str| {
        let findings = now["findings"].as_array().unwrap();
        findings.iter().any(|it| it["kind"] == kind)
    };
    assert!(finding("conflict") && finding("load"), "{all}");
    let verdict = &now["verdicts"][0];
    assert_eq!(verdict["status"], "granted");
    assert!(candidate(verdict, "silent", "crm", "duplicate"), "{all}");
    let mut candidates = verdict["candidates"].as_array().unwrap().iter();
    let silent = candidates.rfind(|it| it["role"] == "silent").unwrap();
    assert_eq!(
        (&silent["contact"], &silent["rule"]),
        (&"pat2".into(), &"R4".into())
    );
    let pending = &now["pending"][0];
    assert_eq!(
        (&pending["system"], &pending["state"]),
        (&"club".into(), &"dead".into())
    );
    assert_eq!(
        (&pending["code"], &pending["attempts"]),
        (&"gone".into(), &1.into())
    );
    assert!(!all.contains("hub.example"), "no address: {all}");
}

#[tokio::test]
async fn r53_the_table_stays_readable() {
    let hub = eventful().await;
    let answer = hub.command(&["explain", "pat@hub.example"]);
    let line = |parts: &[&str]| {
        let found = answer
            .said
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?}: {}", answer.said);
    };
    line(&[
        "attempt",
        "club",
        "pat",
        "(attempt 1 failed: gone, rejected, given up, R18)",
    ]);
    line(&["written", "crm", "marketing to set (applied, R18)"]);
    line(&[
        "verdict",
        "marketing withdrawn by ascend pat: ",
        "; over club pat: ",
        "(R24, weak)",
    ]);
    line(&[
        "now",
        "verdict",
        "; not asked crm pat2: withdrawn ",
        "(R4, duplicate)",
    ]);
    line(&["now", "pending", "club", "given up: gone: "]);
}

/// What an operator stated about a person is told with who did it and why, beside the statement.
#[tokio::test]
async fn r53_what_an_operator_states_is_told_with_the_reason() {
    let hub = Hub::start(&["crm"], "").await;
    hub.fakes.person(&["crm"], "pat");
    hub.settle().await;
    let shared = &hub.engine.shared;
    let key = SubjectKey::from_address("pat@hub.example").unwrap();
    let scope = Scope {
        subjects: vec![shared.pseudonyms.of(&key)],
        ..Scope::default()
    };
    let said = Remembered {
        purpose: MARKETING,
        source: Source {
            system: None,
            contact: "ann".to_owned(),
        },
        statement: Statement {
            status: Status::Withdrawn,
            basis: None,
            stamp: Stamp::between(At::from_micros(0), At::from_micros(1_000_000)),
            evidence: Evidence::Explicit,
            actor: Some("ann".to_owned()),
        },
        overruled: false,
    };
    let said = Packer::new(&shared.rules).remembered(&[said], "").unwrap();
    let mut state = |known: Known| Changes {
        ledger: vec![LedgerDraft {
            kind: "stated",
            subject: Some(known.subjects[0].id),
            system: None,
            at: 2_000_000,
            body: format!(
                r#"{{"subject":"{}","said":{said},"act":"withdraw","operator":"ann","reason":"she phoned"}}"#,
                known.subjects[0].subject
            ),
        }],
        ..Changes::default()
    };
    hub.store.transact(&scope, &mut state).await.unwrap();
    let answer = hub.command(&["explain", "pat@hub.example", "--output", "json"]);
    let told: Value = serde_json::from_str(&answer.said).unwrap();
    let stated = told["events"].as_array().unwrap().last().unwrap();
    for (member, value) in [
        ("kind", "stated"),
        ("contact", "ann"),
        ("purpose", "marketing"),
        ("status", "withdrawn"),
        ("evidence", "explicit"),
        ("act", "withdraw"),
        ("operator", "ann"),
        ("reason", "she phoned"),
    ] {
        assert_eq!(stated[member], value, "{stated}");
    }
    let what = stated["what"].as_str().unwrap();
    assert!(
        what.ends_with("(explicit); withdraw by ann: she phoned"),
        "{what}"
    );
}
