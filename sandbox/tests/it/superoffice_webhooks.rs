//! Webhooks of the SuperOffice tenant, with a receiver of our own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use consentd_sandbox::Sandbox;
use consentd_sandbox::superoffice::{MARKETING, NewConsent, NewPerson, SALES, WebhookStatus};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::client::sandbox;
use crate::superoffice::{Client, person};

/// What one call to the receiver was.
#[derive(Clone, Debug)]
struct Got {
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn event(&self) -> String {
        self.json()["Event"].as_str().unwrap().to_owned()
    }
}

#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    /// Statuses of the answers to come; 200 when there are none left.
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Rung at every call.
    bell: Arc<Notify>,
    url: String,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let test = headers.contains_key("x-hook-test");
    receiver.got.lock().unwrap().push(Got { headers, body });
    receiver.bell.notify_one();
    if test {
        return StatusCode::OK;
    }
    let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver {
            url: format!("http://{}/hook", listener.local_addr().unwrap()),
            ..Receiver::default()
        };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    fn answer(&self, statuses: &[u16]) {
        self.answers.lock().unwrap().extend(statuses);
    }

    /// The calls so far, but for tests.
    fn all(&self) -> Vec<Got> {
        let got = self.got.lock().unwrap();
        let real = got
            .iter()
            .filter(|got| got.header("x-hook-test").is_empty());
        real.cloned().collect()
    }

    /// Waits until so many calls have come, and returns them.
    async fn wait(&self, count: usize) -> Vec<Got> {
        let come = async {
            loop {
                let all = self.all();
                if all.len() >= count {
                    return all;
                }
                self.bell.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, come)
            .await
            .expect("the calls come")
    }

    async fn events(&self, count: usize) -> Vec<String> {
        let mut events: Vec<String> = self.wait(count).await.iter().map(Got::event).collect();
        events.sort();
        events
    }

    fn forget(&self) {
        self.got.lock().unwrap().clear();
    }
}

/// Generous: an unoptimised build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const EVENTS: [&str; 6] = [
    "person.created",
    "person.changed",
    "person.softdeleted",
    "person.deleted",
    "person.consented",
    "person.unconsented",
];

fn hook(receiver: &Receiver) -> Value {
    json!({
        "Name": "consent feed",
        "Events": EVENTS,
        "TargetUrl": receiver.url,
        "Secret": "a secret",
        "State": "Active",
        "Type": "webhook",
        "Headers": {"X-Ours": "yes"},
    })
}

async fn registered(sandbox: &Sandbox, receiver: &Receiver) -> (Client, i64) {
    sandbox
        .superoffice()
        .change_settings(|settings| settings.webhook_retry_millis = [20, 40]);
    let client = Client::login(sandbox).await;
    let (status, body) = client.send(Method::POST, "/Webhook", hook(receiver)).await;
    assert_eq!(status, 200, "{body}");
    let id = body["WebhookId"].as_i64().unwrap();
    (client, id)
}

#[tokio::test]
async fn saving_a_webhook_calls_its_target_first() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let receiver = Receiver::start().await;
    let (client, id) = registered(&sandbox, &receiver).await;
    let tests = receiver.got.lock().unwrap().clone();
    assert_eq!(tests.len(), 1);
    assert_eq!(
        (tests[0].header("x-hook-test"), tests[0].event().as_str()),
        ("true", "test")
    );
    let (_, saved) = client.get(&format!("/Webhook/{id}")).await;
    assert_eq!(
        (
            &saved["State"],
            &saved["RegisteredAssociate"]["AssociateId"]
        ),
        (&json!("Active"), &json!(77))
    );

    let mut dead = hook(&receiver);
    dead["TargetUrl"] = json!("http://127.0.0.1:1/hook");
    assert_eq!(
        client.send(Method::POST, "/Webhook", dead.clone()).await.0,
        400
    );
    let (_, answer) = client.send(Method::POST, "/Webhook/Test", dead).await;
    assert_eq!(answer["Success"], false);
    let (_, answer) = client
        .send(Method::POST, "/Webhook/Test", hook(&receiver))
        .await;
    assert_eq!(answer["Success"], true);
    tenant.change_settings(|settings| settings.webhook_https = true);
    assert_eq!(
        client
            .send(Method::POST, "/Webhook", hook(&receiver))
            .await
            .0,
        400,
        "not HTTPS"
    );
    tenant.change_settings(|settings| settings.webhook_https = false);

    let patch = json!([{"op": "replace", "path": "/Name", "value": "other"}]);
    let (_, patched) = client
        .send(Method::PATCH, &format!("/Webhook/{id}"), patch)
        .await;
    assert_eq!(
        (&patched["Name"], &patched["Secret"]),
        (&json!("other"), &json!("a secret"))
    );
    let (_, found) = client
        .get("/Webhook?nameFilter=oth&eventFilter=person.consented&statusFilter=Active")
        .await;
    assert_eq!(found.as_array().unwrap().len(), 1);
    let (_, found) = client.get("/Webhook?statusFilter=Stopped").await;
    assert_eq!(found, json!([]));
    let (_, agent) = client
        .send(
            Method::POST,
            "/Agents/Webhook/GetWebhook",
            json!({"WebhookId": 99}),
        )
        .await;
    assert_eq!(agent, Value::Null);
    assert_eq!(
        client
            .send(Method::DELETE, &format!("/Webhook/{id}"), json!({}))
            .await
            .0,
        204
    );
    assert_eq!(client.get(&format!("/Webhook/{id}")).await.0, 404);
    tenant.change_settings(|settings| settings.webhooks = false);
    assert_eq!(client.get("/Webhook").await.0, 403);
}

#[tokio::test]
async fn consents_and_persons_notify_with_a_signature_and_without_values() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let receiver = Receiver::start().await;
    let (client, _) = registered(&sandbox, &receiver).await;
    let id = person(tenant, &["pat@example.org"]);
    let got = receiver.wait(1).await;
    assert_eq!(got[0].event(), "person.created");
    receiver.forget();

    client.put(id, "STORE", "61A").await;
    let got = receiver.wait(1).await;
    let body = got[0].json();
    assert_eq!(body["Event"], "person.consented");
    assert_eq!(
        (
            &body["PrimaryKey"],
            &body["Entity"],
            &body["ChangedByAssociateId"]
        ),
        (&json!(id), &json!("person"), &json!(77))
    );
    assert_eq!(
        (&body["ContextIdentifier"], &body["WebhookName"]),
        (&json!("Cust40001"), &json!("consent feed"))
    );
    assert_eq!(body["FieldValues"], json!({}));
    assert!(
        body["Changes"]
            .as_array()
            .unwrap()
            .contains(&json!("legalBase_id"))
    );
    assert_eq!(
        body["Timestamp"].as_str().unwrap().len(),
        "2026-01-19T11:02:07.4415201Z".len()
    );
    assert_eq!(got[0].header("x-superoffice-event"), "person.consented");
    assert_eq!(got[0].header("x-ours"), "yes");
    assert_eq!(
        got[0].header("content-type"),
        "application/json; charset=utf-8"
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret");
    let signature = STANDARD
        .decode(got[0].header("x-superoffice-signature"))
        .unwrap();
    hmac::verify(&key, &got[0].body, &signature).expect("signed with the secret");
    receiver.forget();

    tenant.switch_marketing(id, true, SALES).unwrap();
    assert_eq!(
        receiver.events(2).await,
        ["person.changed", "person.consented"],
        "the mirror"
    );
    receiver.forget();
    tenant.unsubscribe(id, &[]).unwrap();
    assert_eq!(
        receiver.events(2).await,
        ["person.changed", "person.unconsented"]
    );
    receiver.forget();
    tenant.remove_consent(id, "STORE", SALES).unwrap();
    let got = receiver.wait(1).await;
    assert_eq!(
        (got[0].event().as_str(), &got[0].json()["Changes"]),
        ("person.unconsented", &json!([]))
    );
    receiver.forget();

    tenant
        .set_addresses(id, &["new@example.org"], SALES)
        .unwrap();
    tenant.unsubscribe(id, &[1]).unwrap();
    let consent = NewConsent::new("EMARKETING", "61A");
    tenant.bulk_update(&[id], &consent, MARKETING).unwrap();
    let new = NewPerson {
        last_name: "Imported".to_owned(),
        ..NewPerson::default()
    };
    tenant
        .import(std::slice::from_ref(&new), Some(&consent), MARKETING)
        .unwrap();
    tenant.delete(id, SALES).unwrap();
    let got = receiver.wait(1).await;
    assert_eq!(
        got[0].event(),
        "person.softdeleted",
        "the silent ones did not come"
    );
    receiver.forget();
    tenant.purge(id, SALES).unwrap();
    let got = receiver.wait(1).await;
    assert_eq!(
        (
            got[0].event().as_str(),
            &got[0].json()["Values"]["person_id"]
        ),
        ("person.deleted", &json!(id))
    );
    receiver.forget();

    tenant.change_settings(|settings| {
        settings.bulk_update_silent = false;
        settings.import_silent = false;
    });
    let ids = tenant.import(&[new], None, MARKETING).unwrap();
    tenant.bulk_update(&ids, &consent, MARKETING).unwrap();
    assert_eq!(
        receiver.events(3).await,
        ["person.changed", "person.consented", "person.created"]
    );
}

#[tokio::test]
async fn lists_notify_and_custom_events_can_be_fired() {
    let sandbox = sandbox(0).await;
    let receiver = Receiver::start().await;
    let client = Client::login(&sandbox).await;
    let mut wanted = hook(&receiver);
    wanted["Events"] = json!(["list.consentpurpose.created", "ours.done"]);
    assert_eq!(client.send(Method::POST, "/Webhook", wanted).await.0, 200);
    let new = json!({"Name": "Events", "Key": "EVENTS"});
    client
        .send(Method::POST, "/List/ConsentPurpose/Items", new)
        .await;
    let got = receiver.wait(1).await;
    assert_eq!(got[0].json()["Entity"], "consentpurpose");
    let (status, _) = client
        .send(Method::POST, "/Webhook/ours.done/7", json!({"a": 1}))
        .await;
    assert_eq!(status, 204);
    let got = receiver.wait(2).await;
    assert_eq!(
        (
            &got[1].json()["PrimaryKey"],
            &got[1].json()["FieldValues"]["a"]
        ),
        (&json!(7), &json!(1))
    );
}

#[tokio::test]
async fn a_failing_target_is_tried_three_times_and_after_nine_failures_no_more() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let receiver = Receiver::start().await;
    let (client, id) = registered(&sandbox, &receiver).await;
    let watcher = Receiver::start().await;
    let mut watch = hook(&watcher);
    watch["Events"] = json!([format!("webhook{id}.errors")]);
    client.send(Method::POST, "/Webhook", watch).await;
    let someone = person(tenant, &[]);
    receiver.wait(1).await;
    receiver.forget();
    receiver.answer(&[500, 202]);
    client.put(someone, "STORE", "61A").await;
    let got = receiver.wait(3).await;
    let retries: Vec<&str> = got
        .iter()
        .map(|got| got.header("x-superoffice-retry"))
        .collect();
    assert_eq!(retries, ["", "1", "2"]);
    let ids: Vec<Value> = got
        .iter()
        .map(|got| got.json()["EventId"].clone())
        .collect();
    assert!(
        ids.iter().all(|id| *id == ids[0]),
        "one event, three attempts"
    );
    let usage = [
        (
            "$select",
            "webhook_usage.total_calls,webhook_usage.total_errors,webhook_usage.consecutive_errors,webhook_usage.last_error",
        ),
        ("$filter", "webhook_usage.webhook_usage_id eq 1"),
    ];
    let rows = client.archive("dynamic", &usage).await;
    assert_eq!(
        (
            &rows[0]["webhook_usage.total_errors"],
            &rows[0]["webhook_usage.last_error"]
        ),
        (&json!(2), &json!("HTTP 202")),
        "only 200 will do"
    );

    receiver.forget();
    receiver.answer(&[500; 9]);
    for _ in 0..3 {
        client.put(someone, "STORE", "61A").await;
    }
    receiver.wait(9).await;
    assert_eq!(
        watcher.wait(1).await[0].event(),
        format!("webhook{id}.errors")
    );
    assert_eq!(tenant.webhooks()[0].status, WebhookStatus::TooManyErrors);
    let (_, off) = client.get(&format!("/Webhook/{id}")).await;
    assert_eq!(
        (&off["State"], &off["ConsecutiveErrors"]),
        (&json!("TooManyErrors"), &json!(9))
    );
    assert_eq!(
        client.get(&format!("/Webhook/{id}/LastError")).await.1,
        "HTTP 500"
    );
    receiver.forget();
    client.put(someone, "STORE", "61A").await;
    let on = json!({"Name": "consent feed", "Events": EVENTS, "TargetUrl": receiver.url, "State": "Active"});
    assert_eq!(
        client
            .send(Method::PUT, &format!("/Webhook/{id}"), on)
            .await
            .0,
        200
    );
    client.put(someone, "STORE", "61B").await;
    client.put(someone, "EMARKETING", "61A").await;
    // Whatever was missed would come before what comes now.
    let got = receiver.events(3).await;
    assert_eq!(
        got,
        ["person.changed", "person.consented", "person.consented"],
        "what was missed is lost"
    );
}

#[tokio::test]
async fn a_target_that_is_gone_ends_its_webhook_at_once() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let receiver = Receiver::start().await;
    let (client, id) = registered(&sandbox, &receiver).await;
    let watcher = Receiver::start().await;
    let mut watch = hook(&watcher);
    watch["Events"] = json!([format!("webhook{id}.errors")]);
    client.send(Method::POST, "/Webhook", watch).await;
    receiver.answer(&[410]);
    person(tenant, &[]);
    assert_eq!(
        watcher.wait(1).await[0].event(),
        format!("webhook{id}.errors")
    );
    assert_eq!(tenant.webhooks()[0].status, WebhookStatus::TooManyErrors);
    assert_eq!(receiver.all().len(), 1);
}

#[tokio::test]
async fn notifications_can_be_lost_doubled_or_change_places() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let receiver = Receiver::start().await;
    registered(&sandbox, &receiver).await;
    tenant.change_settings(|settings| settings.webhook_drop = true);
    person(tenant, &[]);
    tenant.change_settings(|settings| {
        settings.webhook_drop = false;
        settings.webhook_duplicate = true;
    });
    let id = person(tenant, &[]);
    let got = receiver.wait(2).await;
    assert_eq!(
        (got[0].json(), got[1].json()["PrimaryKey"].clone()),
        (got[1].json(), json!(id))
    );
    receiver.forget();
    tenant.change_settings(|settings| {
        settings.webhook_duplicate = false;
        settings.webhook_reorder = true;
    });
    let first = person(tenant, &[]);
    let second = person(tenant, &[]);
    let got = receiver.wait(2).await;
    let mut keys: Vec<i64> = got
        .iter()
        .map(|got| got.json()["PrimaryKey"].as_i64().unwrap())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, [first, second], "neither is lost");
    receiver.forget();
    person(tenant, &[]);
    tenant.change_settings(|settings| settings.webhook_reorder = false);
    let later = person(tenant, &[]);
    let got = receiver.wait(1).await;
    assert_eq!(
        got[0].json()["PrimaryKey"],
        later,
        "the one before is held back"
    );
}
