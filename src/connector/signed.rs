//! Posts that are signed as Standard Webhooks has it, whoever they are for.
//!
//! `webhook-id` is the same at every attempt, so a receiver knows what it has had; `webhook-signature`
//! is `v1,` and the Base64 of HMAC-SHA-256 over `id.timestamp.body`. Where a post may go is decided by
//! whoever sends it; see [`unsafe_way`] for what holds everywhere.

use super::http::{Body, Call, Http, Limits, Method, is_loopback};
use super::{Fault, FaultClass};
use crate::consent::time::SECOND;
use crate::runtime::clock::Clock;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretSlice};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Time for one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a receiver answers is not looked at.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;

/// Why nothing may be posted there, whoever asks for it; none where something may be.
pub fn unsafe_way(url: &Url) -> Option<&'static str> {
    let is_encrypted = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    if !is_encrypted {
        return Some("it must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("it must hold no user name or password");
    }
    None
}

/// What is posted.
#[derive(Debug)]
pub struct Message {
    /// The kind under which it is named in messages, e.g. `callback`.
    pub kind: &'static str,
    /// The same at every attempt.
    pub id: String,
    /// Where to.
    pub url: Url,
    /// A JSON text.
    pub body: Vec<u8>,
}

/// Signs and posts.
pub struct Signed {
    http: Http,
    key: hmac::Key,
    clock: Arc<dyn Clock>,
}

impl Signed {
    /// One that signs with that key; `name` stands in messages.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(name: &str, key: &SecretSlice<u8>, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        let http = Http::new(Limits {
            system: name.to_owned(),
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            max_body_bytes: MAX_ANSWER_BYTES,
            max_concurrent: 4,
            max_calls_per_sec: 10,
        })?;
        Ok(Self {
            http,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret()),
            clock,
        })
    }

    /// Posts once.
    ///
    /// # Errors
    /// When the receiver did not take it; the class says whether another attempt is worth it.
    pub async fn post(&self, message: Message) -> Result<(), Fault> {
        let Message {
            kind,
            id,
            url,
            body,
        } = message;
        let timestamp = self.clock.now().micros().div_euclid(SECOND);
        let headers = vec![
            ("webhook-signature", self.signature(&id, timestamp, &body)),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-id", id),
        ];
        let answer = self
            .http
            .send(Call {
                kind,
                method: Method::POST,
                url,
                headers,
                bearer: None,
                secrets: Vec::new(),
                body: Body::Json(body),
            })
            .await?;
        let class = match answer.status {
            200..=299 => return Ok(()),
            // The receiver wants no more of them.
            410 => FaultClass::Rejected,
            429 => FaultClass::RateLimited,
            _ => FaultClass::Retryable,
        };
        let words = format!("{kind}: the receiver answered {}", answer.status);
        let fault = Fault::new(class, format!("http-{}", answer.status), words);
        Err(fault.after(answer.retry_after()))
    }

    /// The header `webhook-signature`.
    fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::At;
    use crate::runtime::clock::Manual;

    /// The example that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let key = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let clock = Arc::new(Manual::at(At::from_micros(0)));
        let signed = Signed::new("test", &key.into(), clock).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signed.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
