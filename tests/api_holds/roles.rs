//! Who may do what: every act of an operator is in the ledger with the name of the token and the reason,
//! and the tokens of viewers and senders do none of them.

use crate::hub::Hub;
use crate::ledger;
use crate::surface::{SYSTEMS, Surface};
use consentd::config::Role;
use consentd::runtime::clock::Clock as _;
use consentd::store::{
    Changes, DEAD, GateChanges, Known, LANE_WITHDRAWAL, OutboxChange, OutboxRow, RequestRow, Scope,
    WriteKey,
};
use reqwest::Method;
use serde_json::{Value, json};

/// A hub with a dead letter and an open re-subscribe request.
async fn surface() -> Surface {
    let hub = Hub::start(SYSTEMS, "").await;
    hub.fakes.person(SYSTEMS, "ann");
    hub.settle().await;
    let letter = OutboxRow {
        key: WriteKey {
            system: hub.engine.member("ascend").unwrap().id.0,
            external: "ann".to_owned(),
            lane: LANE_WITHDRAWAL,
        },
        subject: 1,
        version: 1,
        changes: "[]".to_owned(),
        state: DEAD,
        in_flight: String::new(),
        decided_at: 1,
        not_before: 0,
        attempts: 12,
        claimed_until: 0,
        last_error: Some("POLICY".to_owned()),
    };
    let request = RequestRow {
        id: 1,
        subject: 1,
        subscriber: "key".to_owned(),
        unit: "100".to_owned(),
        status: "held".to_owned(),
        cause: "opt-in".to_owned(),
        evidence: "{}".to_owned(),
        opened_at: 5,
        seen_at: 5,
        ..RequestRow::default()
    };
    let decide = &mut |_: Known| Changes {
        outbox: vec![OutboxChange::Put(letter.clone())],
        gate: GateChanges {
            requests: vec![request.clone()],
            ..GateChanges::default()
        },
        ..Changes::default()
    };
    hub.store.transact(&Scope::default(), decide).await.unwrap();
    Surface::over(hub).await
}

/// What the ledger holds by now.
async fn told(surface: &Surface) -> Vec<(String, Value)> {
    ledger::entries(&surface.hub.store_path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_every_act_is_in_the_ledger_with_the_tokens_name_and_nobody_elses_token_does_it() {
    let surface = surface().await;
    let send_at = surface.hub.clock.now().plus(3_600_000_000).to_string();
    let sendout = json!({ "purpose": "marketing", "recipients": [], "send_at": send_at });
    let (status, sendout) = surface.post("/v1/sendouts", &sendout).await;
    assert_eq!(status, 201, "{sendout}");
    let cancel = format!(
        "/v1/sendouts/{}?reason=why%20it%20is%20done",
        sendout["id"].as_str().unwrap()
    );
    let post = Method::POST;
    // Path, the act in the ledger, and whether a sender may do it too.
    let rows = [
        (&post, "/v1/systems/ascend/pause", "pause", false),
        (&post, "/v1/systems/ascend/resume", "resume", false),
        (&post, "/v1/systems/ascend/resync", "resync", false),
        (&post, "/v1/systems/ascend/redrive", "redrive", false),
        (&post, "/v1/reload", "reload", false),
        (&post, "/v1/resubscribe/1/urgent", "urgent", false),
        (&post, "/v1/resubscribe/1/weekly", "weekly", false),
        (&post, "/v1/resubscribe/1/done", "done", false),
        (&Method::DELETE, &cancel, "cancel-sendout", true),
    ];
    let why = json!({ "reason": "why it is done" });
    for (method, path, act, sender_too) in rows {
        let body = (*method == Method::POST).then_some(&why);
        let before = told(&surface).await;
        let refused: &[Role] = if sender_too {
            &[Role::Viewer]
        } else {
            &[Role::Viewer, Role::Sender]
        };
        for role in refused {
            let (status, _) = surface.ask(method.clone(), path, *role, body).await;
            assert_eq!(status, 403, "{path} as {}", role.word());
        }
        assert_eq!(told(&surface).await, before, "{path}: nothing is changed");
        let answer = surface.ask(method.clone(), path, Role::Operator, body);
        let (status, answer) = answer.await;
        assert!((200..300).contains(&status), "{path}: {answer}");
        let after = told(&surface).await;
        assert_eq!(after.len(), before.len() + 1, "{path}: one entry");
        let (kind, entry) = after.last().unwrap();
        assert_eq!(entry["act"], act, "{path}: {entry}");
        if kind == "resubscribe" {
            assert_eq!(entry["operator"], "name of operator: why it is done");
        } else {
            assert_eq!(kind, "operator", "{path}");
            assert_eq!(entry["operator"], "name of operator", "{path}");
            assert_eq!(entry["reason"], "why it is done", "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_only_an_operators_token_decides_about_holds() {
    let surface = Surface::with_a_mass_change().await;
    let (_, listed) = surface.get("/v1/holds").await;
    let hold = listed["holds"][0]["hold"].as_i64().unwrap();
    let one = json!({ "reason": "x" });
    let all = json!({ "word": "reject", "filter": { "all": true }, "reason": "x" });
    let before = told(&surface).await;
    for role in [Role::Viewer, Role::Sender] {
        for (path, body) in [
            (format!("/v1/holds/{hold}/approve"), &one),
            (format!("/v1/holds/{hold}/reject"), &one),
            ("/v1/holds/decide".to_owned(), &all),
        ] {
            let answer = surface.ask(Method::POST, &path, role, Some(body)).await;
            assert_eq!(answer.0, 403, "{path} as {}", role.word());
        }
    }
    assert_eq!(told(&surface).await, before);
    let (_, after) = surface.get("/v1/holds").await;
    assert_eq!(after, listed);
    let (status, _) = surface
        .post(&format!("/v1/holds/{hold}/reject"), &one)
        .await;
    assert_eq!(status, 200);
    let acts = ledger::acts(&surface.hub.store_path()).await;
    let act = acts.last().unwrap();
    assert_eq!(
        (&act["act"], &act["operator"], &act["reason"]),
        (&json!("reject"), &json!("name of operator"), &json!("x"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_without_a_reason_of_one_line_is_refused() {
    let surface = surface().await;
    let before = told(&surface).await;
    for body in [
        json!({}),
        json!({ "reason": "" }),
        json!({ "reason": "a\nb" }),
    ] {
        for path in [
            "/v1/reload",
            "/v1/systems/ascend/pause",
            "/v1/resubscribe/1/done",
        ] {
            let (status, answer) = surface.post(path, &body).await;
            assert_eq!(status, 422, "{path} {body}: {answer}");
        }
    }
    let path = "/v1/sendouts/so_0?reason=";
    let answer = surface.ask(Method::DELETE, path, Role::Sender, None).await;
    assert_eq!(answer.0, 422, "{}", answer.1);
    assert_eq!(told(&surface).await, before);
}
