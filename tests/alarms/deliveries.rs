//! Alarms on their way, with a store that is opened again and again.

use crate::levels::{START, calm, view};
use crate::receivers::{MailServer, Receiver, Request};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use consentd::alarm::mail::Mail;
use consentd::alarm::notifier::{Channel, Notifier};
use consentd::alarm::webhook::Webhook;
use consentd::alarm::{SystemView, View};
use consentd::config::{AlarmMail, AlarmWebhook, MailSecurity};
use consentd::consent::At;
use consentd::runtime::clock::{Clock, Manual};
use consentd::store::{Access, AlarmRow, SqliteStore, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const KEY: [u8; 32] = [7; 32];

/// A store, a clock and channels, of which all but the store's file can be lost.
struct Desk {
    folder: tempfile::TempDir,
    clock: Arc<Manual>,
    channels: Vec<Arc<dyn Channel>>,
    store: Arc<dyn Store>,
    notifier: Notifier,
}

async fn open(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    let path = folder.path().join("state.db");
    Arc::new(SqliteStore::open(&path, Access::Daemon).await.unwrap())
}

impl Desk {
    async fn new(channels: impl Fn(Arc<dyn Clock>) -> Vec<Arc<dyn Channel>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Manual::at(START));
        let channels = channels(Arc::clone(&clock) as Arc<dyn Clock>);
        let store = open(&folder).await;
        let notifier = Notifier::new(Arc::clone(&store), clock.clone(), channels.clone());
        Self {
            folder,
            clock,
            channels,
            store,
            notifier,
        }
    }

    /// As after a restart of the daemon.
    async fn restarted(self) -> Self {
        self.store.close().await;
        drop((self.notifier, self.store));
        let store = open(&self.folder).await;
        let channels = self.channels.clone();
        let notifier = Notifier::new(Arc::clone(&store), self.clock.clone(), channels);
        Self {
            store,
            notifier,
            folder: self.folder,
            clock: self.clock,
            channels: self.channels,
        }
    }

    /// One round of the daemon: a look, and whatever is due then.
    async fn round(&self, system: SystemView) -> Option<At> {
        let seen = View {
            now: self.clock.now(),
            ..view(vec![system])
        };
        self.notifier.look(&seen).await.unwrap();
        self.notifier.deliver().await.unwrap()
    }

    async fn alarms(&self) -> Vec<AlarmRow> {
        self.store.alarms().await.unwrap()
    }
}

fn dead() -> SystemView {
    let mut system = calm("ascend");
    system.figures.dead = 4;
    system
}

/// A desk whose one channel is a web hook.
async fn with_webhook(receiver: &Receiver) -> Desk {
    let settings = AlarmWebhook {
        url: format!("http://127.0.0.1:{}/canary-path", receiver.port)
            .parse()
            .unwrap(),
        key: KEY.to_vec().into(),
    };
    Desk::new(move |clock| vec![Arc::new(Webhook::new(&settings, clock).unwrap())]).await
}

fn settings(port: u16) -> AlarmMail {
    AlarmMail {
        host: "127.0.0.1".to_owned(),
        port,
        security: MailSecurity::None,
        login: None,
        from: "consentd <consentd@sender.example>".parse().unwrap(),
        to: vec![
            "first@canary.example".parse().unwrap(),
            "second@canary.example".parse().unwrap(),
        ],
    }
}

/// A desk that mails two recipients.
async fn with_mail(settings: &AlarmMail) -> Desk {
    let mails = || Mail::all(settings).unwrap().into_iter();
    Desk::new(|_| {
        mails()
            .map(|mail| Arc::new(mail) as Arc<dyn Channel>)
            .collect()
    })
    .await
}

/// The event in a request whose signature is right.
fn verified(request: &Request) -> Value {
    let id = request.header("webhook-id");
    let timestamp = request.header("webhook-timestamp");
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &request.body].concat();
    let signature = request.header("webhook-signature").strip_prefix("v1,");
    let signature = BASE64.decode(signature.unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &KEY);
    hmac::verify(&key, &signed, &signature).unwrap();
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn an_alarm_and_its_all_clear_are_posted_once_each_also_over_restarts() {
    let receiver = Receiver::start().await;
    let mut desk = with_webhook(&receiver).await;
    for _ in 0..3 {
        desk.round(dead()).await;
        desk.clock.advance(Duration::from_secs(15));
        desk = desk.restarted().await;
    }
    assert_eq!(receiver.had().len(), 1);
    for _ in 0..3 {
        desk.round(calm("ascend")).await;
        desk.clock.advance(Duration::from_secs(15));
        desk = desk.restarted().await;
    }
    let had = receiver.had();
    assert_eq!(had.len(), 2);
    let (raised, cleared) = (verified(&had[0]), verified(&had[1]));
    let expected = json!({
        "type": "alarm.raised",
        "timestamp": START.to_string(),
        "data": {
            "kind": "dead-letter",
            "about": "ascend",
            "system": "ascend",
            "severity": "warning",
            "since": START.to_string(),
            "raised_at": START.to_string(),
            "text": "4 writes to ascend were given up; `consentd parity` names the contacts and what the \
                     system said, `consentd redrive ascend` has them tried again",
        },
    });
    assert_eq!(raised, expected);
    assert_eq!(cleared["type"], "alarm.cleared");
    assert_eq!(cleared["data"]["raised_at"], expected["data"]["raised_at"]);
    assert_eq!(cleared["timestamp"], cleared["data"]["cleared_at"]);
    assert_ne!(had[0].header("webhook-id"), had[1].header("webhook-id"));
    assert_eq!(desk.alarms().await, [], "nothing is left to be told");
}

#[tokio::test]
async fn a_failed_delivery_is_made_again_in_its_time_under_the_same_id() {
    let receiver = Receiver::start().await;
    receiver.answers(503);
    let mut desk = with_webhook(&receiver).await;
    let next = desk.round(dead()).await.unwrap();
    assert!(next > desk.clock.now());
    let post = desk.alarms().await[0].posts[0].clone();
    assert_eq!((post.told, post.attempts), (false, 1));
    assert_eq!(
        post.error.as_deref(),
        Some("http-503: alarm: the receiver answered 503")
    );
    desk = desk.restarted().await;
    assert_eq!(desk.round(dead()).await, Some(next), "not before its time");
    assert_eq!(receiver.had().len(), 1);
    desk.clock.set(next);
    receiver.answers(200);
    assert_eq!(desk.round(dead()).await, None);
    let had = receiver.had();
    assert_eq!(had.len(), 2);
    assert_eq!(had[0].header("webhook-id"), had[1].header("webhook-id"));
    assert_ne!(
        had[0].header("webhook-timestamp"),
        "",
        "every attempt is signed anew"
    );
    let post = desk.alarms().await[0].posts[0].clone();
    assert_eq!((post.told, post.attempts, post.error), (true, 0, None));
}

#[tokio::test]
async fn nobody_hears_an_all_clear_who_heard_no_alarm() {
    let receiver = Receiver::start().await;
    receiver.answers(500);
    let desk = with_webhook(&receiver).await;
    desk.round(dead()).await;
    receiver.answers(200);
    for _ in 0..3 {
        desk.clock.advance(Duration::from_hours(1));
        assert_eq!(desk.round(calm("ascend")).await, None);
    }
    assert_eq!(receiver.had().len(), 1, "the attempt that failed");
    assert_eq!(desk.alarms().await, []);
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_left_alone() {
    let receiver = Receiver::start().await;
    receiver.answers(410);
    let desk = with_webhook(&receiver).await;
    for _ in 0..3 {
        assert_eq!(desk.round(dead()).await, None);
        desk.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(receiver.had().len(), 1);
}

#[tokio::test]
async fn an_alarm_that_comes_back_is_told_again() {
    let receiver = Receiver::start().await;
    let desk = with_webhook(&receiver).await;
    for system in [dead(), calm("ascend"), dead()] {
        desk.round(system).await;
        desk.clock.advance(Duration::from_secs(15));
    }
    let had = receiver.had();
    let kinds: Vec<_> = had
        .iter()
        .map(|request| verified(request)["type"].clone())
        .collect();
    assert_eq!(kinds, ["alarm.raised", "alarm.cleared", "alarm.raised"]);
    assert_ne!(had[0].header("webhook-id"), had[2].header("webhook-id"));
}

#[tokio::test]
async fn the_task_stays_until_it_is_told_to_stop_and_is_woken_by_an_alarm() {
    let receiver = Receiver::start().await;
    for desk in [
        Desk::new(|_| Vec::new()).await,
        with_webhook(&receiver).await,
    ] {
        let stop = CancellationToken::new();
        let told = async {
            desk.notifier.look(&view(vec![dead()])).await.unwrap();
            let wanted = desk.channels.len();
            while receiver.had().len() < wanted {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        tokio::select! {
            biased;
            () = desk.notifier.run(&stop) => panic!("it ended by itself"),
            () = told => {}
        }
        desk.notifier.run(&stop).await;
    }
    assert_eq!(receiver.had().len(), 1);
}

#[tokio::test]
async fn of_two_daemons_on_one_store_one_tells() {
    let receiver = Receiver::start().await;
    let desk = with_webhook(&receiver).await;
    let other = Notifier::new(
        Arc::clone(&desk.store),
        desk.clock.clone(),
        desk.channels.clone(),
    );
    let seen = view(vec![dead()]);
    desk.notifier.look(&seen).await.unwrap();
    other.look(&seen).await.unwrap();
    let (one, another) = tokio::join!(desk.notifier.deliver(), other.deliver());
    one.unwrap();
    another.unwrap();
    assert_eq!(receiver.had().len(), 1);
}

#[tokio::test]
async fn a_recipient_that_is_refused_keeps_the_alarm_from_no_other() {
    let server = MailServer::start("first@canary.example").await;
    let desk = with_mail(&settings(server.port)).await;
    desk.round(dead()).await;
    let had = server.had();
    assert_eq!(had.len(), 1);
    let text = &had[0];
    assert!(
        text.contains("Subject: [consentd] dead-letter: ascend\r\n"),
        "{text}"
    );
    assert!(text.contains("To: second@canary.example\r\n"), "{text}");
    assert!(
        text.contains("Content-Type: text/plain; charset=utf-8"),
        "{text}"
    );
    assert!(text.contains("4 writes to ascend were given up"), "{text}");
    let alarm = &desk.alarms().await[0];
    let told: Vec<_> = alarm.posts.iter().filter(|post| post.told).collect();
    assert_eq!((alarm.posts.len(), told.len()), (2, 1));
    let shown = format!("{:?}", desk.alarms().await);
    assert!(
        shown.contains("smtp-550: mail: the server answered smtp-550"),
        "{shown}"
    );
    assert!(!shown.contains("canary"), "{shown}");
    desk.clock.advance(Duration::from_secs(1));
    desk.round(calm("ascend")).await;
    let had = server.had();
    assert_eq!(had.len(), 2, "the all-clear goes to whom the alarm went");
    assert!(had[1].contains("Subject: [consentd] all-clear: dead-letter: ascend\r\n"));
}

#[tokio::test]
async fn without_the_tls_that_is_configured_nothing_is_mailed() {
    let server = MailServer::start("nobody@canary.example").await;
    let settings = AlarmMail {
        security: MailSecurity::StartTls,
        login: Some((
            "canary-user".to_owned(),
            "canary-password".to_owned().into(),
        )),
        ..settings(server.port)
    };
    let desk = with_mail(&settings).await;
    let next = desk.round(dead()).await;
    assert!(next.is_some(), "it is tried again");
    assert_eq!(server.had(), [""; 0]);
    let shown = format!("{:?}", desk.alarms().await);
    assert!(shown.contains("mail: "), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn r56_what_cannot_be_reached_is_reported_without_its_address() {
    let settings = AlarmWebhook {
        url: "http://127.0.0.1:1/canary-path?canary=token"
            .parse()
            .unwrap(),
        key: KEY.to_vec().into(),
    };
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("canary") && !shown.contains("127.0.0.1"),
        "{shown}"
    );
    let desk =
        Desk::new(move |clock| vec![Arc::new(Webhook::new(&settings, clock).unwrap())]).await;
    desk.round(dead()).await;
    let shown = format!("{:?}", desk.alarms().await);
    assert!(
        shown.contains("attempts: 1") && !shown.contains("canary"),
        "{shown}"
    );
}
