//! Posts the last answers of send-outs, signed as Standard Webhooks has it.
//!
//! `webhook-id` is the same at every attempt, so a receiver knows what it has had; `webhook-signature`
//! is `v1,` and the Base64 of HMAC-SHA-256 over `id.timestamp.body`. A callback names a host that the
//! configuration allows, so nobody who may register send-outs can have the daemon call another.

use super::bodies::Event;
use crate::config::Callback;
use crate::connector::http::{Body, Call, Http, Limits, Method, is_loopback};
use crate::connector::{Fault, FaultClass};
use crate::consent::time::SECOND;
use crate::runtime::clock::Clock;
use crate::sync::sendout::{Courier, Sendout};
use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// Time for one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a receiver answers is not looked at.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;

/// The post.
pub struct Post {
    http: Http,
    key: hmac::Key,
    hosts: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl Post {
    /// A post that signs with that key and goes to those hosts only.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: &Callback, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        let http = Http::new(Limits {
            system: "callbacks".to_owned(),
            request_timeout: REQUEST_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            max_body_bytes: MAX_ANSWER_BYTES,
            max_concurrent: 4,
            max_calls_per_sec: 10,
        })?;
        Ok(Self {
            http,
            key: hmac::Key::new(hmac::HMAC_SHA256, settings.key.expose_secret()),
            hosts: settings.hosts.clone(),
            clock,
        })
    }

    /// Why nothing is posted there; none where something may be.
    pub fn refusal(&self, url: &Url) -> Option<&'static str> {
        let is_encrypted = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
        if !is_encrypted {
            return Some("it must begin with https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some("it must hold no user name or password");
        }
        let is_listed = url.host().is_some_and(|host| {
            let name = host.to_string();
            self.hosts.iter().any(|listed| {
                // A suffix is one of names; an address is only allowed as a whole.
                *listed == name
                    || (listed.starts_with('.')
                        && matches!(host, Host::Domain(_))
                        && name.ends_with(listed.as_str()))
            })
        });
        (!is_listed).then_some("its host is not listed in server.callback.hosts")
    }

    /// The header `webhook-signature`.
    fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", BASE64.encode(context.sign()))
    }
}

#[async_trait]
impl Courier for Post {
    async fn deliver(&self, sendout: &Sendout) -> Result<(), Fault> {
        let url = sendout.head.callback.as_deref().unwrap_or_default();
        let rejected = |code, why: &str| Err(Fault::new(FaultClass::Rejected, code, why));
        let Ok(url) = Url::parse(url) else {
            return rejected("callback", "the callback is no address");
        };
        // The list of hosts may be another than at registration.
        if let Some(why) = self.refusal(&url) {
            return rejected("callback", &format!("the callback is not allowed: {why}"));
        }
        let Ok(body) = serde_json::to_vec(&Event::checked(sendout)) else {
            return rejected("callback", "the answers cannot be written");
        };
        let id = format!("msg_{}", sendout.head.id);
        let timestamp = self.clock.now().micros().div_euclid(SECOND);
        let headers = vec![
            ("webhook-signature", self.signature(&id, timestamp, &body)),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-id", id),
        ];
        let answer = self
            .http
            .send(Call {
                kind: "callback",
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
        let words = format!("callback: the receiver answered {}", answer.status);
        let fault = Fault::new(class, format!("http-{}", answer.status), words);
        Err(fault.after(answer.retry_after()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::At;
    use crate::runtime::clock::Manual;

    fn post(hosts: &[&str]) -> Post {
        let key = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let settings = Callback {
            key: key.into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        };
        let clock = Manual::at(At::from_micros(0));
        Post::new(&settings, Arc::new(clock)).unwrap()
    }

    /// The example that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let body = br#"{"test": 2432232314}"#;
        let signature = post(&[]).signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_listed_hosts_are_called_and_only_over_tls() {
        let post = post(&["mail.example.edu", ".hooks.example", "127.0.0.1", "[::1]"]);
        let rows = [
            ("a listed name", "https://mail.example.edu/x?y=z", true),
            ("whatever its case", "https://MAIL.example.edu/", true),
            ("a name below a suffix", "https://a.b.hooks.example/", true),
            ("not the suffix itself", "https://hooks.example/", false),
            (
                "nor a name that only ends alike",
                "https://nothooks.example/",
                false,
            ),
            (
                "nor below a listed name",
                "https://x.mail.example.edu/",
                false,
            ),
            ("another host", "https://169.254.169.254/", false),
            ("plain HTTP", "http://mail.example.edu/", false),
            (
                "plain HTTP on this machine, if listed",
                "http://127.0.0.1:9/",
                true,
            ),
            ("also IPv6", "http://[::1]:9/", true),
            ("a password", "https://u:p@mail.example.edu/", false),
            ("another scheme", "ftp://mail.example.edu/", false),
        ];
        for (sentence, url, allowed) in rows {
            let url = Url::parse(url).unwrap();
            assert_eq!(post.refusal(&url).is_none(), allowed, "{sentence}");
        }
    }
}
