//! Send-outs: checked again at the moment of sending, whatever happened in between (R43, G13, G25).

use crate::common::engine::{Rig, next_second, object};
use crate::{NOW, answers};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use consentd::config::Callback;
use consentd::consent::At;
use consentd::runtime::clock::{Clock, Manual, System};
use consentd::store::{ANSWERED, CLOSED, SCHEDULED};
use consentd::sync::checklist::{Ask, Desk};
use consentd::sync::sendout::{Cancelled, Courier, Draft, DraftError, Sendout, Sendouts};
use consentd::sync::switches::Operator;
use consentd::web::api::Post;
use consentd_sandbox::{AGENT, Fault, SPECIALIST};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVENTS: &str = "marketing.events";
const ANN: &str = "ann@rig.example";
const SECOND: i64 = 1_000_000;
const KEPT: Duration = Duration::from_hours(1);

/// Send-outs over the rig's systems as they are now.
fn sendouts(rig: &Rig, clock: Arc<dyn Clock>, courier: Option<Arc<dyn Courier>>) -> Sendouts {
    let desk = Arc::new(Desk::new(Arc::new(rig.crew())));
    Sendouts::new(desk, Arc::clone(&rig.store), clock, courier, KEPT)
}

async fn draft(rig: &Rig, list: &[&str], send_at: At, callback: Option<String>) -> Draft {
    let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
    Draft {
        ask: Ask {
            purpose: EVENTS.to_owned(),
            people: Desk::new(Arc::new(rig.crew())).people(&list).await.unwrap(),
            freshness: NOW,
        },
        send_at,
        callback,
        created_by: "campaigns".to_owned(),
    }
}

/// Lets the checks run until this send-out has its last answers, and gives it.
async fn settled(sendouts: &Sendouts, id: &str) -> Sendout {
    until(sendouts, id, |sendout| sendout.last.is_some()).await
}

/// Lets everything run until the send-out is so.
async fn until(sendouts: &Sendouts, id: &str, is_so: impl Fn(&Sendout) -> bool) -> Sendout {
    let stop = CancellationToken::new();
    let look = async {
        for _ in 0..600 {
            let sendout = sendouts.get(id).await.unwrap().unwrap();
            if is_so(&sendout) {
                stop.cancel();
                return sendout;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within half a minute");
    };
    let run = async {
        tokio::join!(sendouts.run_checks(&stop), sendouts.run_posts(&stop));
    };
    tokio::select! {
        sendout = look => sendout,
        () = run => panic!("stopped by nobody"),
    }
}

fn last(sendout: &Sendout) -> Vec<String> {
    answers(sendout.last.as_ref().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_whoever_withdraws_a_second_before_the_moment_is_not_sent_to_also_after_a_restart() {
    let mut rig = Rig::start(0).await;
    let (ann, _bob) = (rig.person("ann"), rig.person("bob"));
    rig.settle().await;
    let send_at = Rig::now().plus(6 * SECOND);
    let list = [ANN, "bob@rig.example", "no address", "ANN@rig.example"];
    let before = sendouts(&rig, Arc::new(System), None);
    let draft = draft(&rig, &list, send_at, None).await;
    let registered = before.register(draft).await.unwrap();
    let first = [
        "send by salesforce",
        "send by salesforce",
        "unknown-address",
        "duplicate of 0",
    ];
    assert_eq!(answers(&registered.first), first);
    assert_eq!(registered.last, None);
    drop(before);
    rig.restart().await;

    let after = sendouts(&rig, Arc::new(System), None);
    let id = &registered.head.id;
    assert_eq!(after.get(id).await.unwrap().unwrap(), registered);
    let left = send_at.minus(SECOND).since(Rig::now());
    tokio::time::sleep(Duration::from_micros(left.max(0).unsigned_abs())).await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, AGENT);
    let sendout = settled(&after, id).await;
    assert_eq!(
        last(&sendout),
        [
            "withdrawn by salesforce",
            "send by salesforce",
            "unknown-address",
            "duplicate of 0",
        ]
    );
    assert_eq!(answers(&sendout.first), first, "the first answers stand");
    let checked_at = sendout.last.as_ref().unwrap().checked_at;
    let delay = checked_at.since(send_at);
    assert!(
        (0..5 * SECOND).contains(&delay),
        "{delay} µs after the moment"
    );
    assert_eq!(sendout.head.state, CLOSED);
    assert!(!sendout.last.unwrap().missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_a_missed_moment_verifies_nobody_and_says_so() {
    let rig = Rig::start(0).await;
    let (_ann, out) = (rig.person("ann"), rig.person("out"));
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &out.salesforce, true, AGENT);
    rig.settle().await;
    let clock = Arc::new(Manual::at(Rig::now()));
    let office = sendouts(&rig, clock.clone(), None);
    let send_at = clock.now().plus(60 * SECOND);
    let list = [ANN, "out@rig.example", "nobody@rig.example"];
    let draft = draft(&rig, &list, send_at, None).await;
    let registered = office.register(draft).await.unwrap();
    // Nobody is there at the moment; somebody is two minutes later.
    clock.advance(Duration::from_mins(3));
    rig.sandbox.salesforce().reset_calls();
    let sendout = settled(&office, &registered.head.id).await;
    assert!(sendout.last.as_ref().unwrap().missed);
    assert_eq!(
        last(&sendout),
        [
            "unverified by salesforce",
            "withdrawn by salesforce",
            "unverified"
        ]
    );
    assert_eq!(
        rig.sandbox.salesforce().calls().counted,
        0,
        "nobody is asked any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_a_system_that_is_down_at_the_moment_leaves_nobody_verified() {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    let office = sendouts(&rig, Arc::new(System), None);
    let draft = draft(&rig, &[ANN], Rig::now().plus(2 * SECOND), None).await;
    let registered = office.register(draft).await.unwrap();
    assert_eq!(answers(&registered.first), ["send by salesforce"]);
    rig.sandbox
        .ascend()
        .set_fault(Fault::UnavailableHtml)
        .unwrap();
    let sendout = settled(&office, &registered.head.id).await;
    assert_eq!(last(&sendout), ["unverified by salesforce"]);
    let reports = &sendout.last.as_ref().unwrap().reports;
    assert_eq!(reports[0].reason.as_deref(), Some("retryable http-503"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_recipients_are_kept_as_hashes_and_known_again_once_a_system_knows_them() {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    let office = sendouts(&rig, Arc::new(System), None);
    let list = ["new@rig.example", "never@rig.example"];
    let draft = draft(&rig, &list, Rig::now().plus(8 * SECOND), None).await;
    let registered = office.register(draft).await.unwrap();
    assert_eq!(
        answers(&registered.first),
        ["unknown-address", "unknown-address"]
    );
    let row = rig.store.sendout(&registered.head.id).await.unwrap();
    assert!(!format!("{row:?}").contains('@'), "no address is kept");
    let fields = json!({ "LastName": "New", "Email": "new@rig.example", "Email_Events__c": true });
    rig.sandbox
        .salesforce()
        .create("Contact", &object(fields), SPECIALIST, None)
        .unwrap();
    next_second().await;
    Rig::until_visible().await;
    rig.poll().await;
    let sendout = settled(&office, &registered.head.id).await;
    assert_eq!(last(&sendout), ["send by salesforce", "unknown-address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_moment_has_to_be_ahead_and_what_is_cancelled_is_not_checked() {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    let clock = Arc::new(Manual::at(Rig::now()));
    let office = sendouts(&rig, clock.clone(), None);
    for send_at in [clock.now(), clock.now().plus(367 * 86_400 * SECOND)] {
        let refused = office
            .register(draft(&rig, &[ANN], send_at, None).await)
            .await;
        assert!(matches!(refused, Err(DraftError::Moment)), "{refused:?}");
    }
    let send_at = clock.now().plus(SECOND);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let draft = draft(&rig, &[ANN], send_at, None).await;
        ids.push(office.register(draft).await.unwrap().head.id);
    }
    assert_ne!(ids[0], ids[1]);
    let by = Operator::new("campaigns", "the wrong list").unwrap();
    assert_eq!(office.cancel(&ids[0], &by).await.unwrap(), Cancelled::Done);
    assert_eq!(
        office.cancel(&ids[0], &by).await.unwrap(),
        Cancelled::TooLate
    );
    assert_eq!(
        office.cancel("so_0", &by).await.unwrap(),
        Cancelled::Unknown
    );
    clock.advance(Duration::from_secs(2));
    settled(&office, &ids[1]).await;
    assert_eq!(
        office.cancel(&ids[1], &by).await.unwrap(),
        Cancelled::TooLate
    );
    let cancelled = office.get(&ids[0]).await.unwrap().unwrap();
    assert_eq!(cancelled.last, None);
    // Both are forgotten in their time.
    clock.advance(KEPT + Duration::from_secs(1));
    let stop = CancellationToken::new();
    let forgotten = async {
        while !office.list().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = forgotten => {}
        () = office.run_posts(&stop) => panic!("stopped by nobody"),
    }
}

/// One attempt as the receiver saw it.
#[derive(Clone)]
struct Attempt {
    id: String,
    timestamp: String,
    signature: String,
    body: Bytes,
}

/// A receiver that answers as it is told, the last one first, and 204 after that.
#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<Vec<u16>>>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    receiver.attempts.lock().unwrap().push(Attempt {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
    });
    let status = receiver.answers.lock().unwrap().pop().unwrap_or(204);
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("location", "http://127.0.0.1:9/elsewhere")]).into_response()
}

/// Starts a receiver; where it listens.
async fn receiver(answers: &[u16]) -> (Receiver, String) {
    let receiver = Receiver {
        answers: Arc::new(Mutex::new(answers.iter().rev().copied().collect())),
        ..Receiver::default()
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?list=7", socket.local_addr().unwrap());
    let routes = Router::new()
        .route("/hook", post(receive))
        .with_state(receiver.clone());
    #[expect(clippy::disallowed_methods, reason = "the test's own server")]
    tokio::spawn(async move { axum::serve(socket, routes).await });
    (receiver, url)
}

const KEY: &[u8] = b"thirty-two bytes of a signing key";

fn courier() -> Arc<dyn Courier> {
    let settings = Callback {
        key: KEY.to_vec().into(),
        hosts: vec!["127.0.0.1".to_owned()],
    };
    Arc::new(Post::new(&settings, Arc::new(System)).unwrap())
}

/// A send-out that has been answered, and what the receiver saw until it was closed.
async fn posted(statuses: &[u16]) -> (Sendout, Vec<Attempt>) {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    let (receiver, url) = receiver(statuses).await;
    let office = sendouts(&rig, Arc::new(System), Some(courier()));
    let list = [ANN, "nobody@rig.example"];
    let draft = draft(&rig, &list, Rig::now().plus(SECOND), Some(url)).await;
    let registered = office.register(draft).await.unwrap();
    assert_eq!(registered.head.state, SCHEDULED);
    let sendout = until(&office, &registered.head.id, |sendout| {
        sendout.head.state == CLOSED
    })
    .await;
    let attempts = receiver.attempts.lock().unwrap().clone();
    (sendout, attempts)
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_the_last_answers_are_posted_with_a_signature_until_they_are_taken() {
    // A redirect is not followed; it is one more refusal.
    let (sendout, attempts) = posted(&[503, 307]).await;
    assert_eq!(attempts.len(), 3);
    assert_eq!((sendout.head.posts, sendout.head.post_error), (3, None));
    for attempt in &attempts {
        assert_eq!(attempt.id, format!("msg_{}", sendout.head.id));
        let sent: i64 = attempt.timestamp.parse().unwrap();
        let age = Rig::now().micros() / SECOND - sent;
        assert!((0..60).contains(&age), "{age} s");
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        mac.update(format!("{}.{}.", attempt.id, attempt.timestamp).as_bytes());
        mac.update(&attempt.body);
        let signature = attempt.signature.strip_prefix("v1,").unwrap();
        mac.verify_slice(&BASE64.decode(signature).unwrap())
            .unwrap();
    }
    let body: Value = serde_json::from_slice(&attempts[2].body).unwrap();
    assert_eq!(body["type"], "sendout.checked");
    assert_eq!(body["data"]["id"], sendout.head.id.as_str());
    let answers: Vec<&Value> = body["data"]["last"]["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["answer"])
        .collect();
    assert_eq!(answers, ["send", "unknown-address"]);
    let text = String::from_utf8(attempts[2].body.to_vec()).unwrap();
    assert!(!text.contains('@'), "no address leaves the daemon: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_receiver_that_wants_no_more_gets_no_more() {
    let (sendout, attempts) = posted(&[410]).await;
    assert_eq!(attempts.len(), 1);
    let error = sendout.head.post_error.unwrap();
    assert!(error.starts_with("http-410"), "{error}");
    assert!(sendout.last.is_some(), "the answers can still be fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_without_callbacks_the_answers_are_kept_to_be_fetched() {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    let with = sendouts(&rig, Arc::new(System), Some(courier()));
    let url = "https://127.0.0.1:9/".to_owned();
    let draft = draft(&rig, &[ANN], Rig::now().plus(SECOND), Some(url)).await;
    let registered = with.register(draft).await.unwrap();
    // Before the moment the configuration lost its callbacks.
    let without = sendouts(&rig, Arc::new(System), None);
    let sendout = until(&without, &registered.head.id, |sendout| {
        sendout.head.state == CLOSED
    })
    .await;
    assert_ne!(sendout.head.state, ANSWERED);
    assert_eq!(last(&sendout), ["send by salesforce"]);
    let error = sendout.head.post_error.unwrap();
    assert!(error.contains("not configured any more"), "{error}");
}
