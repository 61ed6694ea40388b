//! What a mailing tool does, and an operator's: asks the daemon's API with the token it was given, and
//! receives callbacks.

use crate::connector::http::{Body, Call, Http, Limits, Method};
use anyhow::{Context, bail, ensure};
use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use url::Url;

/// No check of the story takes longer.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
/// Its lists are short.
const MAX_ANSWER_BYTES: usize = 4 * 1_024 * 1_024;
/// A callback whose time is further off than this is not believed.
const MOST_SKEW_SECS: u64 = 300;

/// The answer of `POST /v1/checklists`, as far as the story looks at it.
#[derive(Debug, Deserialize)]
pub(super) struct Checklist {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) recipients: Vec<Line>,
}

impl Checklist {
    /// The answers, in the order of the list.
    pub(super) fn answers(&self) -> Vec<&str> {
        let lines = self.recipients.iter();
        lines.map(|line| line.answer.as_str()).collect()
    }
}

/// The answer for one recipient.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) answer: String,
}

/// A send-out, as it is answered and as it is posted.
#[derive(Debug, Deserialize)]
pub(super) struct Sendout {
    pub(super) id: String,
    pub(super) first: Checklist,
    pub(super) last: Option<Checklist>,
}

/// A refusal.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

/// The mailing tool, or an operator's.
pub(super) struct Client {
    http: Http,
    base: Url,
    token: SecretString,
}

impl Client {
    /// A mailing tool, with the token that stands beside the configuration of the rehearsal.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub(super) fn new(listen: &str, folder: &Path) -> anyhow::Result<Self> {
        Self::with(listen, &folder.join("consentd-sandbox/sender.token"))
    }

    /// Somebody who may act on holds and erase, likewise.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub(super) fn operator(listen: &str, folder: &Path) -> anyhow::Result<Self> {
        Self::with(listen, &folder.join("consentd-sandbox/operator.token"))
    }

    fn with(listen: &str, token: &Path) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(token).context("no token")?;
        Ok(Self {
            http: Http::new(Limits {
                system: "the daemon".to_owned(),
                request_timeout: REQUEST_TIMEOUT,
                connect_timeout: Duration::from_secs(5),
                max_body_bytes: MAX_ANSWER_BYTES,
                max_concurrent: 1,
                max_calls_per_sec: 50,
            })?,
            base: format!("http://{listen}").parse().context("no address")?,
            token: SecretString::from(token),
        })
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<T> {
        let body = Body::Json(serde_json::to_vec(body)?);
        self.ask(Method::POST, path, body).await
    }

    /// Looks at something.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(Method::GET, path, Body::None).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<T> {
        let answer = self
            .http
            .send(Call {
                kind: "demo",
                method,
                url: self.base.join(path).context("no path")?,
                headers: Vec::new(),
                bearer: Some(&self.token),
                secrets: Vec::new(),
                body,
            })
            .await
            .context("the daemon does not answer")?;
        if (200..300).contains(&answer.status) {
            return serde_json::from_slice(&answer.body)
                .with_context(|| format!("{path} is answered in another form"));
        }
        match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) => bail!("{path} is refused: {}: {}", problem.title, problem.detail),
            Err(_) => bail!("{path} is answered {}", answer.status),
        }
    }
}

/// Where the mailing tool receives callbacks.
pub(super) struct Receiver {
    url: String,
    key: hmac::Key,
    came: mpsc::Receiver<(HeaderMap, Bytes)>,
}

impl Receiver {
    /// Opens the port, and knows the secret that the daemon signs with. The future serves the port
    /// until it is dropped.
    ///
    /// # Errors
    /// When there is no port, or no secret.
    pub(super) async fn open(
        folder: &Path,
    ) -> anyhow::Result<(Self, impl Future<Output = std::io::Result<()>>)> {
        let secret = std::fs::read_to_string(folder.join("consentd-sandbox/callback.secret"))
            .context("no secret")?;
        let secret = secret.strip_prefix("whsec_").context("no such secret")?;
        let key = BASE64.decode(secret).context("no such secret")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let (tell, came) = mpsc::channel(8);
        let receive =
            async move |headers: HeaderMap, body: Bytes| match tell.send((headers, body)).await {
                Ok(()) => StatusCode::NO_CONTENT,
                // Nobody waits any more.
                Err(_) => StatusCode::GONE,
            };
        let receiver = Self {
            url: format!("http://{}/answers", listener.local_addr()?),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            came,
        };
        let router = Router::new().route("/answers", post(receive));
        Ok((receiver, axum::serve(listener, router).into_future()))
    }

    /// Where the daemon is to post to.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for a callback and gives the send-out in it, once its signature was found to hold.
    ///
    /// # Errors
    /// When none comes in time, or one that is not signed as Standard Webhooks has it.
    pub(super) async fn next(&mut self, limit: Duration, now_secs: i64) -> anyhow::Result<Sendout> {
        let came = tokio::time::timeout(limit, self.came.recv()).await;
        let (headers, body) = came.ok().flatten().context("no callback came")?;
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.with_context(|| format!("the callback has no {name}"))
        };
        let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
        let skew = now_secs.abs_diff(time.parse().context("no time")?);
        ensure!(skew <= MOST_SKEW_SECS, "the callback is {skew} s off");
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &body].concat();
        let holds = header("webhook-signature")?
            .split(' ')
            .filter_map(|one| BASE64.decode(one.strip_prefix("v1,")?).ok())
            .any(|signature| hmac::verify(&self.key, &signed, &signature).is_ok());
        ensure!(holds, "the signature of the callback does not hold");
        let event: Event = serde_json::from_slice(&body).context("another form of callback")?;
        ensure!(event.r#type == "sendout.checked", "another callback");
        Ok(event.data)
    }
}

/// What is posted.
#[derive(Deserialize)]
struct Event {
    r#type: String,
    data: Sendout,
}
