//! Sends notifications to webhooks.
//!
//! A notification is tried three times, with a pause of a second and one of four, and then thrown away. Nine failures in
//! a row switch the webhook off, as does 410. Notifications are sent side by side, in no order.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::redirect::Policy;
use serde_json::json;
use tokio::task::JoinSet;

use super::Shared;
use super::http::VERSION;
use super::webhooks::{Outcome, Parcel, WebhookStatus, book};

/// Notifications under way at a time.
const MAX_UNDER_WAY: usize = 64;

/// What one attempt needs.
struct Attempt<'a> {
    target: &'a str,
    secret: &'a str,
    headers: &'a [(String, String)],
    event: &'a str,
    event_id: &'a str,
    retry: usize,
    test: bool,
    body: &'a str,
    timeout: Duration,
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .build()
}

/// Sends what waits, until dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let client = match client() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(%error, "no notifications can be sent");
            return;
        }
    };
    let bell = Arc::clone(&shared.lock().webhooks.bell);
    let mut under_way = JoinSet::new();
    loop {
        let waiting = shared.lock().webhooks.take();
        for parcel in waiting {
            while under_way.len() >= MAX_UNDER_WAY {
                under_way.join_next().await;
            }
            under_way.spawn(deliver(Arc::clone(&shared), client.clone(), parcel));
        }
        while under_way.try_join_next().is_some() {}
        bell.notified().await;
    }
}

async fn deliver(shared: Arc<Shared>, client: reqwest::Client, parcel: Parcel) {
    let pauses = shared.lock().settings.webhook_retry_millis;
    for retry in 0..=pauses.len() {
        if let Some(pause) = retry.checked_sub(1).and_then(|place| pauses.get(place)) {
            tokio::time::sleep(Duration::from_millis(*pause)).await;
        }
        let hook = {
            let state = shared.lock();
            let timeout = Duration::from_secs(state.settings.webhook_timeout_secs);
            let hook = state.webhooks.hook(parcel.hook);
            hook.filter(|hook| hook.status == WebhookStatus::Active)
                .map(|hook| (hook.clone(), timeout))
        };
        let Some((hook, timeout)) = hook else {
            return;
        };
        let headers: Vec<(String, String)> = hook
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let attempt = Attempt {
            target: &hook.target,
            secret: &hook.secret,
            headers: &headers,
            event: &parcel.event,
            event_id: &parcel.event_id,
            retry,
            test: false,
            body: &parcel.body,
            timeout,
        };
        let outcome = send(&client, &attempt).await;
        let active = book(&mut shared.lock(), parcel.hook, &outcome);
        if outcome == Outcome::Taken || !active {
            return;
        }
    }
}

async fn send(client: &reqwest::Client, attempt: &Attempt<'_>) -> Outcome {
    let mut request = client
        .post(attempt.target)
        .timeout(attempt.timeout)
        .header("Content-Type", "application/json; charset=utf-8")
        .header("User-Agent", format!("NetServer-Webhook/{VERSION}"))
        .header("X-SuperOffice-Event", attempt.event)
        .header("X-SuperOffice-EventId", attempt.event_id)
        .body(attempt.body.to_owned());
    if !attempt.secret.is_empty() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, attempt.secret.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, attempt.body.as_bytes()));
        request = request.header("X-SuperOffice-Signature", signature);
    }
    if attempt.retry > 0 {
        request = request.header("X-SuperOffice-Retry", attempt.retry.to_string());
    }
    if attempt.test {
        request = request.header("X-Hook-Test", "true");
    }
    for (name, value) in attempt.headers {
        request = request.header(name, value);
    }
    match request.send().await {
        Ok(answer) if answer.status() == 200 => Outcome::Taken,
        Ok(answer) if answer.status() == 410 => Outcome::Gone,
        Ok(answer) => Outcome::Failed(format!("HTTP {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Outcome::Failed("timeout".to_owned()),
        Err(_) => Outcome::Failed("the target cannot be reached".to_owned()),
    }
}

/// Calls a target as before it is saved: it has to take a test event.
pub(crate) async fn test(target: &str, secret: &str, timeout: Duration) -> Result<(), String> {
    let client = client().map_err(|error| error.to_string())?;
    let body = json!({
        "EventId": "00000000-0000-0000-0000-000000000000",
        "Timestamp": "0001-01-01T00:00:00Z",
        "Changes": [],
        "Event": "test",
        "PrimaryKey": 0,
        "Entity": "test",
        "ContextIdentifier": "test",
        "ChangedByAssociateId": 0,
        "WebhookName": "test",
        "FieldValues": {},
    });
    let attempt = Attempt {
        target,
        secret,
        headers: &[],
        event: "test",
        event_id: "00000000-0000-0000-0000-000000000000",
        retry: 0,
        test: true,
        body: &body.to_string(),
        timeout,
    };
    match send(&client, &attempt).await {
        Outcome::Taken => Ok(()),
        Outcome::Gone => Err("HTTP 410".to_owned()),
        Outcome::Failed(why) => Err(why),
    }
}
