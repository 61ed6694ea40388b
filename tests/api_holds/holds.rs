//! What is shown of holds and what is done about them.

use crate::fake::Fake;
use crate::hub::{Hub, MARKETING};
use crate::ledger;
use crate::openapi::assert_fits;
use crate::surface::{Answer, SYSTEMS, Surface};
use consentd::consent::{Shown, SubjectKey};
use serde_json::{Value, json};
use std::sync::Arc;

const LIST: &str = "/v1/holds";
const ONE: &str = "/v1/holds/{id}";
const ACT: &str = "/v1/holds/{id}/{act}";
const DECIDE: &str = "/v1/holds/decide";

fn kind((status, body): &Answer) -> (u16, &str) {
    let kind = body["type"].as_str().unwrap();
    (*status, kind.trim_start_matches("urn:consentd:problem:"))
}

async fn only(surface: &Surface) -> Value {
    let (status, body) = surface.get(LIST).await;
    assert_eq!(status, 200, "{body}");
    assert_fits(LIST, "get", 200, &body);
    let holds = body["holds"].as_array().unwrap();
    assert_eq!(holds.len(), 1, "{body}");
    holds[0].clone()
}

fn hash(hub: &Hub, name: &str) -> String {
    let key = SubjectKey::from_address(&format!("{name}@hub.example")).unwrap();
    hub.engine.shared.pseudonyms.of(&key).to_string()
}

/// Whether the contacts are opted out in Ascend, by name.
fn out(ascend: &Arc<Fake>) -> [bool; 3] {
    ["ann", "bob", "cid"].map(|name| ascend.shown(name, MARKETING) == Shown::Set)
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_whoever_may_look_sees_what_waits_without_addresses() {
    let surface = Surface::with_a_mass_change().await;
    let hold = only(&surface).await;
    for (member, expected) in [
        ("kind", json!("mass-change")),
        ("rule", json!("R26")),
        ("system", json!("crm")),
        ("purpose", json!("marketing")),
        ("direction", json!("grant")),
        ("waiting", json!(3)),
    ] {
        assert_eq!(hold[member], expected, "{member}: {hold}");
    }
    assert!(hold["approving"].is_string() && hold["rejecting"].is_string());
    let (status, body) = surface.get(&format!("{LIST}/{}", hold["hold"])).await;
    assert_eq!(status, 200, "{body}");
    assert_fits(ONE, "get", 200, &body);
    let persons = body["persons"].as_array().unwrap();
    assert_eq!(persons.len(), 3);
    let ann = persons.iter().find(|person| {
        let subject = person["subject"].as_str().unwrap();
        hash(&surface.hub, "ann").starts_with(subject) && subject.len() == 12
    });
    let ann = ann.unwrap();
    assert_eq!(ann["verdict"], "granted");
    assert_eq!(ann["writes"][0]["system"], "ascend", "{ann}");
    assert!(!body.to_string().contains('@'), "{body}");
    assert!(!body.to_string().contains("\"ann\""), "no contact: {body}");

    for (query, count) in [
        ("?kind=load", 0),
        ("?kind=mass-change&system=crm&purpose=marketing", 1),
        ("?system=ascend", 0),
        ("?purpose=store", 0),
    ] {
        let (status, body) = surface.get(&format!("{LIST}{query}")).await;
        assert_eq!(status, 200, "{query}: {body}");
        assert_eq!(body["holds"].as_array().unwrap().len(), count, "{query}");
    }
    for query in ["?kind=x", "?system=siebel", "?closed=maybe", "?who=ann"] {
        let answer = surface.get(&format!("{LIST}{query}")).await;
        assert_eq!(answer.0, 422, "{query}: {}", answer.1);
        assert_fits(LIST, "get", 422, &answer.1);
    }
    for id in ["7777", "x", "0"] {
        let answer = surface.get(&format!("{LIST}/{id}")).await;
        assert_eq!(kind(&answer), (404, "hold"));
    }
    let (_, systems) = surface.get("/v1/systems").await;
    assert_fits("/v1/systems", "get", 200, &systems);
    assert_eq!(
        (&systems["holds"], &systems["waiting"]),
        (&json!(1), &json!(3))
    );
    let crm = systems["systems"].as_array().unwrap();
    let crm = crm.iter().find(|system| system["system"] == "crm").unwrap();
    assert_eq!((&crm["holds"], &crm["waiting"]), (&json!(1), &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_one_person_is_approved_and_the_rest_is_rejected_at_once() {
    let surface = Surface::with_a_mass_change().await;
    let hub = &surface.hub;
    let (crm, ascend) = (hub.fakes.get("crm"), hub.fakes.get("ascend"));
    let hold = only(&surface).await["hold"].as_i64().unwrap();
    assert_eq!(out(&ascend), [true; 3], "nothing was written");
    let ann = hash(hub, "ann");
    let approve = json!({ "reason": "she called", "persons": [ann[..12]] });
    let (status, body) = surface
        .post(&format!("{LIST}/{hold}/approve"), &approve)
        .await;
    assert_eq!(status, 200, "{body}");
    assert_fits(ACT, "post", 200, &body);
    let expected = json!({ "holds": [{
        "hold": hold, "kind": "mass-change", "done": 1, "moved_on": 0, "irrevocable": 0,
    }] });
    assert_eq!(body, expected);
    hub.settle().await;
    assert_eq!(out(&ascend), [false, true, true], "hers is written");
    assert_eq!(only(&surface).await["waiting"], 2);

    let reject = json!({
        "word": "reject", "filter": { "kind": "mass-change", "system": "crm" },
        "reason": "the import was wrong",
    });
    let (status, body) = surface.post(DECIDE, &reject).await;
    assert_eq!(status, 200, "{body}");
    assert_fits(DECIDE, "post", 200, &body);
    assert_eq!(body["holds"][0]["done"], 2, "{body}");
    hub.settle().await;
    assert_eq!(out(&ascend), [false, true, true]);
    assert_eq!(out(&crm), [false, true, true], "written back");
    let (_, body) = surface.get(LIST).await;
    assert_eq!(body["holds"], json!([]));
    let (_, body) = surface.get(&format!("{LIST}?closed=true")).await;
    assert_fits(LIST, "get", 200, &body);
    assert!(body["holds"][0]["closed_at"].is_string(), "{body}");

    let acts = ledger::acts(&hub.store_path()).await;
    let told: Vec<_> = acts
        .iter()
        .filter(|act| act["done"].is_number())
        .map(|act| (&act["act"], &act["operator"], &act["reason"], &act["done"]))
        .collect();
    let by = json!("name of operator");
    assert_eq!(
        told,
        [
            (&json!("approve"), &by, &json!("she called"), &json!(1)),
            (
                &json!("reject"),
                &by,
                &json!("the import was wrong"),
                &json!(2)
            ),
        ]
    );
    let why = json!({ "reason": "x" });
    let path = format!("{LIST}/{hold}/approve");
    let again = surface.post(&path, &why).await;
    assert_eq!(kind(&again), (409, "closed"));
    assert_fits(ACT, "post", 409, &again.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_a_withdrawal_overtakes_what_waits() {
    let surface = Surface::with_a_mass_change().await;
    let hub = &surface.hub;
    let hold = only(&surface).await["hold"].as_i64().unwrap();
    let crm = hub.fakes.get("crm");
    crm.save("ann", MARKETING, &Shown::Set);
    hub.settle().await;
    assert_eq!(only(&surface).await["waiting"], 2, "hers lapsed");
    let approve = json!({ "reason": "they called" });
    let (_, body) = surface
        .post(&format!("{LIST}/{hold}/approve"), &approve)
        .await;
    assert_eq!(body["holds"][0]["done"], 2, "{body}");
    hub.settle().await;
    assert_eq!(out(&hub.fakes.get("ascend")), [true, false, false]);
    assert_eq!(out(&crm), [true, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_what_cannot_be_decided_is_said_and_changes_nothing() {
    let surface = Surface::with_a_mass_change().await;
    let hold = only(&surface).await["hold"].as_i64().unwrap();
    let act = |word: &str| format!("{LIST}/{hold}/{word}");
    let nobody = hash(&surface.hub, "nobody");
    let decide = |filter: Value| json!({ "word": "reject", "filter": filter, "reason": "x" });
    let many: Vec<i64> = (0..1_001).collect();
    let rows = [
        (act("explode"), json!({ "reason": "x" }), 404, "act"),
        (
            format!("{LIST}/7777/approve"),
            json!({ "reason": "x" }),
            404,
            "hold",
        ),
        (act("approve"), json!({}), 422, "body"),
        (act("approve"), json!({ "reason": " " }), 422, "reason"),
        (
            act("approve"),
            json!({ "reason": "x", "all": true }),
            422,
            "body",
        ),
        (
            act("approve"),
            json!({ "reason": "x", "persons": ["ann@hub.example"] }),
            422,
            "persons",
        ),
        (
            act("approve"),
            json!({ "reason": "x", "persons": [nobody] }),
            422,
            "persons",
        ),
        (
            act("approve"),
            json!({ "reason": "x", "persons": vec!["a"; 1_001] }),
            422,
            "persons",
        ),
        (DECIDE.to_owned(), decide(json!({})), 422, "filter"),
        (
            DECIDE.to_owned(),
            decide(json!({ "all": true, "kind": "load" })),
            422,
            "filter",
        ),
        (
            DECIDE.to_owned(),
            decide(json!({ "kind": "x" })),
            422,
            "filter",
        ),
        (
            DECIDE.to_owned(),
            decide(json!({ "system": "x" })),
            422,
            "filter",
        ),
        (
            DECIDE.to_owned(),
            decide(json!({ "holds": many })),
            422,
            "holds",
        ),
        (
            DECIDE.to_owned(),
            decide(json!({ "holds": [hold, 7_777] })),
            409,
            "closed",
        ),
        (
            DECIDE.to_owned(),
            json!({ "word": "maybe", "filter": { "all": true }, "reason": "x" }),
            422,
            "word",
        ),
        (
            DECIDE.to_owned(),
            json!({ "word": "reject", "reason": "x" }),
            422,
            "body",
        ),
    ];
    for (path, body, status, expected) in rows {
        let answer = surface.post(&path, &body).await;
        assert_eq!(kind(&answer), (status, expected), "{path}: {}", answer.1);
        assert!(!answer.1.to_string().contains("ann@"), "{}", answer.1);
        let described = if path == DECIDE { DECIDE } else { ACT };
        assert_fits(described, "post", status, &answer.1);
    }
    assert_eq!(only(&surface).await["waiting"], 3);
    assert!(ledger::acts(&surface.hub.store_path()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_an_act_wakes_the_emitters() {
    let surface = Surface::with_a_mass_change().await;
    let all = json!({ "word": "approve", "filter": { "all": true }, "reason": "as planned" });
    let shared = &surface.hub.engine.shared;
    assert_eq!(shared.wake_emitters.len(), SYSTEMS.len());
    let woken = || {
        let emitters = shared.wake_emitters.clone();
        async move {
            for emitter in emitters {
                let wait = std::time::Duration::from_millis(100);
                if tokio::time::timeout(wait, emitter.notified())
                    .await
                    .is_err()
                {
                    return false;
                }
            }
            true
        }
    };
    // What polls have left is taken first.
    woken().await;
    assert!(!woken().await, "nobody wakes them for nothing");
    let (status, body) = surface.post(DECIDE, &all).await;
    assert_eq!(status, 200, "{body}");
    assert!(woken().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn r29_many_persons_come_a_page_at_a_time() {
    let hub = Hub::start(SYSTEMS, crate::surface::EARLY).await;
    let names: Vec<String> = (0..501).map(|number| format!("p{number:03}")).collect();
    for name in &names {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.settle().await;
    let crm = hub.fakes.get("crm");
    // So slowly that neither is a load.
    for shown in [Shown::Set, Shown::Default] {
        for some in names.chunks(20) {
            for name in some {
                crm.save(name, MARKETING, &shown);
            }
            hub.pass(121);
        }
        hub.settle().await;
        hub.pass(7_200);
    }
    let surface = Surface::over(hub).await;
    let (_, body) = surface.get(&format!("{LIST}?kind=mass-change")).await;
    let hold = &body["holds"][0];
    assert_eq!(hold["waiting"], 501, "{body}");
    let path = format!("{LIST}/{}", hold["hold"]);
    let (_, first) = surface.get(&path).await;
    assert_eq!(first["persons"].as_array().unwrap().len(), 500);
    let (_, last) = surface
        .get(&format!("{path}?after={}", first["next"]))
        .await;
    assert_eq!(last["persons"].as_array().unwrap().len(), 1);
    assert_eq!(last.get("next"), None);
}
