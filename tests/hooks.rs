//! Calls of web hooks over real sockets: only the signed count, and they only say where to look. The
//! numbers are those of the list of bad inputs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consentd::connector::superoffice::config::{
    ConsentFeed, Deployment, Online, OnlineGrant, Retired, Settings,
};
use consentd::connector::superoffice::webhook::{self, EVENTS};
use consentd::connector::superoffice::wire::Tenant;
use consentd::connector::{FaultClass, http::Limits};
use consentd::consent::Basis;
use consentd::web::hooks::{Hooks, MAX_HOOK_BYTES, Target, router};
use consentd_sandbox::superoffice::{MARKETING, NewConsent, NewPerson, SALES, WebhookStatus};
use consentd_sandbox::{Options, Sandbox};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use url::Url;

const SECRET: &str = "the secret of today, 32 characters";
const BEFORE: &str = "the secret of yesterday, the same";

/// Contacts that were hinted at, with the system.
type Hints = Arc<Mutex<Vec<(String, String)>>>;

/// A daemon's hooks on a socket.
struct Receiver {
    url: Url,
    hints: Hints,
    hooks: Arc<Hooks>,
    http: reqwest::Client,
}

impl Receiver {
    /// With one system, called about by either secret.
    async fn start() -> Self {
        let hints = Hints::default();
        Self::with(
            vec![target(
                &hints,
                "superoffice",
                Some("Cust40001"),
                &[SECRET, BEFORE],
            )],
            hints,
        )
        .await
    }

    async fn with(targets: Vec<Target>, hints: Hints) -> Self {
        let hooks = Arc::new(Hooks::default());
        hooks.replace(targets);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/hooks/superoffice",
            listener.local_addr().unwrap()
        );
        let app = router(Arc::clone(&hooks));
        // It ends with the runtime of the test.
        tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, app).await });
        Self {
            url: Url::parse(&url).unwrap(),
            hints,
            hooks,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn call(&self, signature: Option<&str>, body: &[u8]) -> StatusCode {
        let mut request = self.http.post(self.url.clone()).body(body.to_vec());
        if let Some(signature) = signature {
            request = request.header("X-SuperOffice-Signature", signature);
        }
        request.send().await.unwrap().status()
    }

    /// A signed call.
    async fn signed(&self, secret: &str, event: &Value) -> StatusCode {
        let body = event.to_string();
        self.call(Some(&sign(secret, body.as_bytes())), body.as_bytes())
            .await
    }

    fn contacts(&self) -> Vec<String> {
        let hints = self.hints.lock().unwrap();
        hints.iter().map(|(_, contact)| contact.clone()).collect()
    }

    /// Waits until that contact was hinted at.
    async fn hears_of(&self, contact: i64) {
        let contact = contact.to_string();
        for _ in 0..400 {
            if self.contacts().contains(&contact) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("nothing was heard of {contact}: {:?}", self.contacts());
    }
}

fn target(hints: &Hints, system: &str, customer: Option<&str>, secrets: &[&str]) -> Target {
    let (heard, name) = (Arc::clone(hints), system.to_owned());
    Target {
        system: system.to_owned(),
        customer: customer.map(str::to_owned),
        secrets: secrets
            .iter()
            .map(|secret| (*secret).to_owned().into())
            .collect(),
        hint: Box::new(move |contact| heard.lock().unwrap().push((name.clone(), contact))),
    }
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    STANDARD.encode(mac.chain_update(body).finalize().into_bytes())
}

fn event(id: &str, name: &str, person: i64) -> Value {
    json!({
        "EventId": id, "Timestamp": "2026-01-19T11:02:07.4415201Z", "Changes": [], "Event": name,
        "PrimaryKey": person, "Entity": "person", "ContextIdentifier": "Cust40001",
        "ChangedByAssociateId": 77, "WebhookName": "consentd superoffice", "FieldValues": {},
    })
}

#[tokio::test]
async fn i54_a_signed_event_of_a_person_is_a_hint_and_no_more() {
    let receiver = Receiver::start().await;
    for (number, name) in EVENTS.iter().enumerate() {
        let person = 5_120 + i64::try_from(number).unwrap();
        let status = receiver
            .signed(SECRET, &event(&format!("id-{number}"), name, person))
            .await;
        assert_eq!(status, StatusCode::OK, "{name}");
    }
    assert_eq!(
        receiver.contacts(),
        ["5120", "5121", "5122", "5123", "5124", "5125"]
    );
    for (sentence, event) in [
        (
            "the test of a new registration",
            json!({"Event": "test", "PrimaryKey": 0, "Entity": "test"}),
        ),
        ("a company", event("a", "contact.changed", 7)),
        ("nobody", event("b", "person.changed", 0)),
        ("a negative id", event("c", "person.changed", -7)),
    ] {
        assert_eq!(
            receiver.signed(SECRET, &event).await,
            StatusCode::OK,
            "{sentence}"
        );
    }
    assert_eq!(receiver.contacts().len(), 6, "none of those is a hint");
}

#[tokio::test]
async fn i54_a_bad_signature_is_refused_before_anything_is_read() {
    let receiver = Receiver::start().await;
    let body = event("id", "person.changed", 5_120).to_string();
    let good = sign(SECRET, body.as_bytes());
    let spaced = body.replacen('{', "{ ", 1);
    let other = sign("another secret", body.as_bytes());
    for (sentence, signature, body) in [
        ("none", None, body.as_str()),
        ("empty", Some(""), &body),
        ("of another secret", Some(other.as_str()), &body),
        ("of other white space", Some(good.as_str()), &spaced),
        ("cut", Some(&good[..20]), &body),
        ("no Base64", Some("é"), &body),
        ("of a body that is no JSON", Some(good.as_str()), "{"),
    ] {
        let status = receiver.call(signature, body.as_bytes()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{sentence}");
    }
    assert!(receiver.contacts().is_empty());
    assert_eq!(
        receiver.call(Some(&good), body.as_bytes()).await,
        StatusCode::OK
    );
    let garbage = b"{\"Event\":";
    let status = receiver.call(Some(&sign(SECRET, garbage)), garbage).await;
    assert_eq!(
        status,
        StatusCode::BAD_REQUEST,
        "signed, but nothing we know"
    );
}

#[tokio::test]
async fn i54_a_replay_is_taken_and_ignored() {
    let receiver = Receiver::start().await;
    let one = event(
        "6f0c3b0e-0c58-4c2c-9d0e-2b6a3f0d9a11",
        "person.unconsented",
        5_120,
    );
    for _ in 0..3 {
        assert_eq!(receiver.signed(SECRET, &one).await, StatusCode::OK);
    }
    assert_eq!(receiver.contacts(), ["5120"]);
    let mut nameless = one.clone();
    nameless.as_object_mut().unwrap().remove("EventId");
    for _ in 0..2 {
        assert_eq!(receiver.signed(SECRET, &nameless).await, StatusCode::OK);
    }
    assert_eq!(
        receiver.contacts().len(),
        3,
        "what has no id is looked at each time"
    );
}

#[tokio::test]
async fn i54_both_secrets_count_while_one_replaces_the_other() {
    let receiver = Receiver::start().await;
    for (id, secret) in [("a", SECRET), ("b", BEFORE)] {
        let status = receiver
            .signed(secret, &event(id, "person.changed", 5_120))
            .await;
        assert_eq!(status, StatusCode::OK);
    }
    let hints = Arc::clone(&receiver.hints);
    receiver
        .hooks
        .replace(vec![target(&hints, "superoffice", None, &[SECRET])]);
    let status = receiver
        .signed(BEFORE, &event("c", "person.changed", 5_120))
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the old one is over");
}

#[tokio::test]
async fn i54_a_body_beyond_its_bound_is_refused_unread() {
    let receiver = Receiver::start().await;
    let huge = vec![b'x'; 10 * 1_024 * 1_024];
    let answer = receiver
        .http
        .post(receiver.url.clone())
        .header("X-SuperOffice-Signature", sign(SECRET, &huge))
        .body(huge)
        .send()
        .await;
    // The connection may be closed before all is sent.
    assert!(answer.is_err() || answer.unwrap().status() == StatusCode::PAYLOAD_TOO_LARGE);
    let mut large = event("id", "person.changed", 5_120);
    large["Changes"] = json!(["x".repeat(MAX_HOOK_BYTES - 1_000)]);
    assert_eq!(receiver.signed(SECRET, &large).await, StatusCode::OK);
}

#[tokio::test]
async fn i54_systems_are_told_apart_by_secret_and_tenant() {
    let hints = Hints::default();
    let receiver = Receiver::with(
        vec![
            target(
                &hints,
                "norway",
                Some("Cust1"),
                &["the same secret of both"],
            ),
            target(
                &hints,
                "sweden",
                Some("Cust2"),
                &["the same secret of both"],
            ),
            target(&hints, "onsite", None, &["a secret of its own here"]),
        ],
        Arc::clone(&hints),
    )
    .await;
    let of = |id: &str, customer: &str| {
        let mut event = event(id, "person.changed", 7);
        event["ContextIdentifier"] = json!(customer);
        event
    };
    let both = "the same secret of both";
    assert_eq!(
        receiver.signed(both, &of("a", "cust2")).await,
        StatusCode::OK
    );
    assert_eq!(
        receiver.signed(both, &of("b", "Cust3")).await,
        StatusCode::OK
    );
    let status = receiver
        .signed("a secret of its own here", &of("c", "Default"))
        .await;
    assert_eq!(status, StatusCode::OK);
    let heard: Vec<String> = hints
        .lock()
        .unwrap()
        .iter()
        .map(|(system, _)| system.clone())
        .collect();
    assert_eq!(heard, ["sweden", "onsite"]);
}

#[tokio::test]
async fn without_a_hook_there_is_no_such_route() {
    let receiver = Receiver::with(Vec::new(), Hints::default()).await;
    let status = receiver
        .signed(SECRET, &event("a", "person.changed", 7))
        .await;
    assert_eq!(
        status,
        StatusCode::NOT_FOUND,
        "and never 410, which would switch it off"
    );
    let get = receiver
        .http
        .get(receiver.url.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// A tenant and a client to it.
struct Crm {
    sandbox: Sandbox,
    client: Tenant,
}

impl Crm {
    async fn start() -> Self {
        let sandbox = Sandbox::start(Options {
            contacts: 0,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        sandbox
            .superoffice()
            .change_settings(|crm| crm.webhook_retry_millis = [10, 20]);
        let client = Tenant::new(&settings(&sandbox)).unwrap();
        Self { sandbox, client }
    }

    async fn register(&self, url: &Url) -> Result<webhook::Registered, consentd::connector::Fault> {
        webhook::register(&self.client, "superoffice", url, &SECRET.to_owned().into()).await
    }

    fn person(&self) -> i64 {
        let new = NewPerson {
            last_name: "Doe".to_owned(),
            addresses: vec!["ann@example.org".to_owned()],
            ..NewPerson::default()
        };
        self.sandbox
            .superoffice()
            .create_person(&new, SALES)
            .unwrap()
    }
}

fn settings(sandbox: &Sandbox) -> Settings {
    let credentials = sandbox.credentials();
    let app = &credentials.superoffice;
    Settings {
        limits: Limits {
            system: "superoffice".to_owned(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            max_body_bytes: 1 << 20,
            max_concurrent: 4,
            max_calls_per_sec: 1_000,
        },
        deployment: Deployment::Online(Online {
            login_url: Url::parse(&sandbox.superoffice().url()).unwrap(),
            customer: app.tenant.clone(),
            allowed_hosts: Vec::new(),
            grant: OnlineGrant::SystemUser {
                app_token: app.client_secret.clone().into(),
                system_user_token: app.system_token.clone().into(),
                private_key: credentials.private_key_pem.clone().into(),
                serial: None,
            },
        }),
        purposes: Vec::new(),
        bases: Vec::new(),
        granted_bases: BTreeSet::from([Basis::Consent]),
        source: "API".to_owned(),
        comment: String::new(),
        language: "en".to_owned(),
        filter_time_zone: chrono_tz::Tz::UTC,
        consent_feed: ConsentFeed::Auto,
        retired: Retired::Live,
        merge_log: true,
        page_rows: 1_000,
        overlap: Duration::ZERO,
        lag: Duration::ZERO,
        sweep_interval: Duration::from_hours(24),
        webhook: None,
    }
}

#[tokio::test]
async fn c106_a_registered_hook_brings_every_change_of_a_consent() {
    let crm = Crm::start().await;
    let receiver = Receiver::start().await;
    let done = crm.register(&receiver.url).await.unwrap();
    assert!(done.created && done.was.is_none(), "{done:?}");
    let tenant = crm.sandbox.superoffice();
    assert_eq!(tenant.webhooks().len(), 1);
    let ids: Vec<i64> = (0..3).map(|_| crm.person()).collect();
    tenant
        .set_consent(ids[0], &NewConsent::new("STORE", "WITHDRAWN"), MARKETING)
        .unwrap();
    tenant.remove_consent(ids[1], "STORE", MARKETING).unwrap();
    tenant.delete(ids[2], MARKETING).unwrap();
    for id in ids {
        receiver.hears_of(id).await;
    }
    assert_eq!(tenant.webhooks()[0].total_errors, 0);
}

#[tokio::test]
async fn c106_duplicated_and_reordered_calls_hint_as_well() {
    for (duplicate, reorder) in [(true, false), (false, true)] {
        let crm = Crm::start().await;
        let receiver = Receiver::start().await;
        crm.register(&receiver.url).await.unwrap();
        crm.sandbox.superoffice().change_settings(|settings| {
            settings.webhook_duplicate = duplicate;
            settings.webhook_reorder = reorder;
        });
        let ids: Vec<i64> = (0..4).map(|_| crm.person()).collect();
        for id in ids {
            receiver.hears_of(id).await;
        }
    }
}

#[tokio::test]
async fn c107_a_hook_that_was_switched_off_is_put_right_and_told_of() {
    let crm = Crm::start().await;
    let receiver = Receiver::start().await;
    crm.register(&receiver.url).await.unwrap();
    let again = crm.register(&receiver.url).await.unwrap();
    assert!(!again.created && again.repaired.is_empty(), "{again:?}");
    // Nobody answers with this secret any more: nine refusals switch the hook off.
    let hints = Arc::clone(&receiver.hints);
    receiver.hooks.replace(vec![target(
        &hints,
        "superoffice",
        None,
        &["quite another secret"],
    )]);
    let tenant = crm.sandbox.superoffice();
    for _ in 0..4 {
        crm.person();
    }
    for _ in 0..400 {
        if tenant.webhooks()[0].status == WebhookStatus::TooManyErrors {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(tenant.webhooks()[0].status, WebhookStatus::TooManyErrors);
    let Err(refused) = crm.register(&receiver.url).await else {
        panic!("a hook that is not answered cannot be saved");
    };
    assert_eq!(refused.class, FaultClass::Rejected, "{refused:?}");
    assert!(
        refused.message.contains("has to be running"),
        "{}",
        refused.message
    );
    assert!(!refused.message.contains(SECRET));
    receiver
        .hooks
        .replace(vec![target(&hints, "superoffice", None, &[SECRET])]);
    let mended = crm.register(&receiver.url).await.unwrap();
    assert_eq!(mended.was.as_deref(), Some("TooManyErrors"));
    assert_eq!(mended.repaired, ["state"]);
    assert!(mended.last_error.is_some(), "{mended:?}");
    assert_eq!(tenant.webhooks().len(), 1, "it is the same registration");
    let id = crm.person();
    receiver.hears_of(id).await;
}

#[tokio::test]
async fn c107_a_server_without_web_hooks_says_so() {
    let crm = Crm::start().await;
    let receiver = Receiver::start().await;
    crm.sandbox
        .superoffice()
        .change_settings(|settings| settings.webhooks = false);
    let fault = crm.register(&receiver.url).await.unwrap_err();
    assert!(
        matches!(fault.class, FaultClass::Auth | FaultClass::Rejected),
        "{fault:?}"
    );
    assert!(
        fault.message.contains("; "),
        "with what to do: {}",
        fault.message
    );
}
