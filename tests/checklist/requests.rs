//! `/v1/resubscribe`: who may see the requests to set subscribers active again, and who may act on them
//! (R47).

use crate::api::{Answer, Surface, token};
use crate::openapi::assert_fits;
use consentd::config::Role;
use consentd::consent::At;
use consentd::store::{Changes, GateChanges, Known, RequestQuery, RequestRow, Scope};
use reqwest::Method;
use serde_json::json;

const LIST: &str = "/v1/resubscribe";
const ACT: &str = "/v1/resubscribe/{id}/{act}";

/// The API with so many open requests of one person.
async fn with_requests(count: i64) -> Surface {
    let surface = Surface::start().await;
    surface.rig.person("ann");
    surface.rig.settle().await;
    let requests: Vec<RequestRow> = (1..=count).map(request).collect();
    let decide = &mut |_: Known| Changes {
        gate: GateChanges {
            requests: requests.clone(),
            ..GateChanges::default()
        },
        ..Changes::default()
    };
    let store = &surface.rig.store;
    store.transact(&Scope::default(), decide).await.unwrap();
    surface
}

fn request(id: i64) -> RequestRow {
    RequestRow {
        id,
        subject: 1,
        subscriber: "0035e00000ABCDEAA5".to_owned(),
        unit: id.to_string(),
        unit_name: "CU Boulder".to_owned(),
        status: "held".to_owned(),
        urgent: id == 2,
        cause: "opt-in".to_owned(),
        evidence: r#"{"actor":"somebody"}"#.to_owned(),
        opened_at: 1_767_225_600_000_000,
        seen_at: 1_767_225_601_000_000,
        ..RequestRow::default()
    }
}

async fn look(surface: &Surface, query: &str) -> Answer {
    let request = surface.request(Method::GET, &format!("{LIST}{query}"));
    surface.ask(request.bearer_auth(token(Role::Viewer))).await
}

async fn act(surface: &Surface, role: Role, path: &str, reason: &str) -> Answer {
    let request = surface.request(Method::POST, &format!("{LIST}/{path}"));
    let request = request.json(&json!({ "reason": reason }));
    surface.ask(request.bearer_auth(token(role))).await
}

fn numbers(answer: &Answer) -> Vec<i64> {
    let requests = answer.body["requests"].as_array().unwrap().iter();
    requests
        .map(|request| request["request"].as_i64().unwrap())
        .collect()
}

fn kind(answer: &Answer) -> (u16, &str) {
    let kind = answer.body["type"].as_str().unwrap();
    let kind = kind.trim_start_matches("urn:consentd:problem:");
    (answer.status.as_u16(), kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_whoever_may_look_sees_the_requests_without_addresses() {
    let surface = with_requests(3).await;
    let nobody = surface.ask(surface.request(Method::GET, LIST)).await;
    assert_eq!(nobody.status, 401);
    let all = look(&surface, "").await;
    assert_eq!(all.status, 200, "{}", all.body);
    assert_eq!(numbers(&all), [1, 2, 3]);
    assert_fits(LIST, "get", 200, &all.body);
    let query = RequestQuery::default();
    let found = surface.rig.store.requests(&query, 1).await.unwrap();
    let subject = found[0].subject.short();
    let expected = json!({
        "request": 1,
        "urgency": "weekly",
        "subject": subject,
        "subscriber_key": "0035e00000ABCDEAA5",
        "unit": "1",
        "unit_name": "CU Boulder",
        "status": "held",
        "opened_at": "2026-01-01T00:00:00Z",
        "read_at": "2026-01-01T00:00:01Z",
        "cause": "opt-in",
    });
    assert_eq!(all.body["requests"][0], expected);
    assert!(!all.body.to_string().contains('@'), "{}", all.body);
    assert_eq!(numbers(&look(&surface, "?urgent=true").await), [2]);
    assert_eq!(numbers(&look(&surface, "?after=1").await), [2, 3]);
    for query in ["?after=x", "?closed=maybe", "?unit=1"] {
        let answer = look(&surface, query).await;
        assert_eq!(kind(&answer), (422, "query"), "{query}");
        assert_fits(LIST, "get", 422, &answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_many_requests_come_a_page_at_a_time() {
    let surface = with_requests(1_001).await;
    let first = look(&surface, "").await;
    assert_eq!(numbers(&first).len(), 1_000);
    assert_eq!(first.body["next"], 1_000);
    assert_fits(LIST, "get", 200, &first.body);
    let last = look(&surface, "?after=1000").await;
    assert_eq!(numbers(&last), [1_001]);
    assert_eq!(last.body.get("next"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_only_an_operator_acts_on_requests() {
    let surface = with_requests(2).await;
    for role in [Role::Viewer, Role::Sender] {
        for path in ["1/done", "1/urgent", "99/done"] {
            let answer = act(&surface, role, path, "x").await;
            assert_eq!(answer.status, 403, "{} {path}", role.word());
            assert_fits(ACT, "post", 403, &answer.body);
        }
    }
    assert_eq!(numbers(&look(&surface, "").await), [1, 2]);
    let rows: [(&str, bool); 5] = [
        ("1/urgent", true),
        ("1/urgent", false),
        ("1/weekly", true),
        ("1/weekly", false),
        ("1/done", true),
    ];
    for (path, changed) in rows {
        let answer = act(&surface, Role::Operator, path, "asked ann").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(
            answer.body,
            json!({ "request": 1, "changed": changed }),
            "{path}"
        );
        assert_fits(ACT, "post", 200, &answer.body);
    }
    assert_eq!(numbers(&look(&surface, "").await), [2]);
    let all = look(&surface, "?closed=true").await;
    assert_fits(LIST, "get", 200, &all.body);
    let closed = &all.body["requests"][0];
    assert_eq!(
        (&closed["closing"], &closed["closed_by"]),
        (&json!("done"), &json!("operator: asked ann"))
    );
    assert!(closed["closed_at"].as_str() > Some("2026"));
    for path in ["1/done", "1/urgent"] {
        let answer = act(&surface, Role::Operator, path, "again").await;
        assert_eq!(kind(&answer), (409, "closed"), "{path}");
        assert_fits(ACT, "post", 409, &answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_what_cannot_be_done_to_a_request_is_said() {
    let surface = with_requests(1).await;
    let long = "x".repeat(501);
    let rows = [
        ("7/done", "x", 404, "request"),
        ("0/done", "x", 404, "request"),
        ("seven/done", "x", 404, "request"),
        ("99999999999999999999/done", "x", 404, "request"),
        ("1/explode", "x", 404, "act"),
        ("1/done", " ", 422, "reason"),
        ("1/done", "a\nb", 422, "reason"),
        ("1/done", &long, 422, "reason"),
    ];
    for (path, reason, status, expected) in rows {
        let answer = act(&surface, Role::Operator, path, reason).await;
        assert_eq!(kind(&answer), (status, expected), "{path} {reason:?}");
        assert_fits(ACT, "post", status, &answer.body);
    }
    let raw = async |body: &'static str, media: &str| {
        let request = surface.request(Method::POST, &format!("{LIST}/1/done"));
        let request = request.header("content-type", media).body(body);
        surface
            .ask(request.bearer_auth(token(Role::Operator)))
            .await
    };
    let answer = raw("reason=x", "application/x-www-form-urlencoded").await;
    assert_eq!(kind(&answer), (415, "media-type"));
    assert_fits(ACT, "post", 415, &answer.body);
    for body in [r"{}", r#"{"reason":"x","by":"y"}"#, r#"{"reason":7}"#] {
        let answer = raw(body, "application/json").await;
        assert_eq!(kind(&answer), (422, "body"), "{body}");
    }
    let wrong = surface.request(Method::DELETE, &format!("{LIST}/1/done"));
    let wrong = surface.ask(wrong.bearer_auth(token(Role::Operator))).await;
    assert_eq!(wrong.status, 405);
    let figures = surface.rig.store.figures(At::from_micros(5)).await;
    assert_eq!(figures.unwrap().requests, 1, "nothing was done");
}
