//! One HTTP client for one system: bounded in time, size, rate and number of calls at once.
//!
//! It follows no redirect, speaks plain HTTP only to the own machine, and never puts a URL into an
//! error. Whether a failed request may have reached the vendor is told by [`Fault::maybe_sent`].
//! What an answer means is the business of the connector that asked.

use super::fault::{Fault, FaultClass};
use crate::consent::At;
use bytes::{Bytes, BytesMut};
use chrono::NaiveDateTime;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use url::{Host, Url};

pub use reqwest::{Certificate, Method};

/// The shortest pause that a vendor's `Retry-After` leads to.
pub const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
pub const MOST_PAUSE: Duration = Duration::from_hours(1);

/// Bounds of one system's calls.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Configured system name, for messages.
    pub system: String,
    /// Time for a whole call, from connecting to the last byte.
    pub request_timeout: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Most bytes of one answer once it is decompressed.
    pub max_body_bytes: usize,
    /// Most calls at once.
    pub max_concurrent: usize,
    /// Most calls a second.
    pub max_calls_per_sec: u32,
}

/// What a request carries.
#[derive(Debug, Clone, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// A JSON text.
    Json(Vec<u8>),
    /// Form members; they may be secrets.
    Form(Vec<(&'static str, SecretString)>),
    /// A CSV text.
    Csv(Vec<u8>),
    /// A JSON text that holds a secret.
    SecretJson(SecretString),
    /// An XML text; its header may hold a token.
    Xml(SecretString),
}

/// One request.
#[derive(Debug)]
pub struct Call<'a> {
    /// The kind under which it is counted and named in messages, e.g. `query`.
    pub kind: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers besides `Authorization` and `Content-Type`.
    pub headers: Vec<(&'static str, String)>,
    /// Bearer token.
    pub bearer: Option<&'a SecretString>,
    /// Headers that hold secrets: an application's key, or `Authorization` of another scheme. None
    /// of their values can be seen in a debug output.
    pub secrets: Vec<(&'static str, &'a SecretString)>,
    /// Body.
    pub body: Body,
}

/// One answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Bytes,
    /// The vendor's clock when the request was sent, never later than it was: the `Date` header
    /// less the time the call took. `None` when the vendor tells no date.
    pub asked_at: Option<At>,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The pause that the vendor asks for, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        let now = self.header("date").and_then(http_date);
        retry_after(self.header("retry-after")?, now)
    }

    /// The vendor's time when this was asked for; see [`Answer::asked_at`].
    ///
    /// # Errors
    /// When the vendor does not tell.
    pub fn dated(&self, kind: &str) -> Result<At, Fault> {
        self.asked_at.ok_or_else(|| {
            Fault::new(
                FaultClass::ContractBroken,
                "no-date",
                format!("{kind}: the answer has no Date header, so the system's time is unknown"),
            )
        })
    }

    /// The fault of a web page where an answer was due: a maintenance page is passing trouble.
    pub fn web_page(&self, kind: &str) -> Fault {
        let start = self.body.trim_ascii_start();
        let text = String::from_utf8_lossy(&start[..start.len().min(4_096)]).to_ascii_lowercase();
        if text.contains("maintenance") || text.contains("temporarily unavailable") {
            let words = format!("{kind}: a maintenance page instead of an answer");
            Fault::new(FaultClass::Retryable, "maintenance", words)
        } else {
            let words = format!(
                "{kind}: a web page instead of an answer; a proxy or a login page may stand between"
            );
            Fault::new(FaultClass::ContractBroken, "html", words)
        }
    }

    /// Reads the body as JSON by what it holds, not by what it says it is.
    ///
    /// # Errors
    /// A body that ends early is passing trouble; so is a maintenance page. Any other text breaks the
    /// contract. Each is marked as perhaps having taken effect.
    pub fn parse<'a, T: Deserialize<'a>>(&'a self, kind: &str) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let fault = if self.body.trim_ascii_start().first() == Some(&b'<') {
                self.web_page(kind)
            } else if error.is_eof() {
                let words = format!("{kind}: the answer ends early");
                Fault::new(FaultClass::Retryable, "truncated", words)
            } else {
                let words = format!(
                    "{kind}: the answer is not of the documented shape (line {}, column {})",
                    error.line(),
                    error.column()
                );
                Fault::new(FaultClass::ContractBroken, "shape", words)
            };
            fault.maybe_sent()
        })
    }
}

/// A client for one system.
pub struct Http {
    limits: Limits,
    client: reqwest::Client,
    limiter: DefaultDirectRateLimiter,
    gate: Semaphore,
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Http")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// A client within these bounds.
    pub fn new(limits: Limits) -> Result<Self, Fault> {
        Self::trusting(limits, Vec::new())
    }

    /// A client that also trusts these certificate authorities; see [`authorities`].
    pub fn trusting(limits: Limits, authorities: Vec<Certificate>) -> Result<Self, Fault> {
        let client = reqwest::Client::builder()
            .tls_certs_merge(authorities)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(limits.request_timeout)
            .read_timeout(limits.request_timeout)
            .connect_timeout(limits.connect_timeout)
            .gzip(true)
            .dns_resolver(OutsideOnly)
            .user_agent(concat!("consentd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                Fault::new(
                    FaultClass::Rejected,
                    "client",
                    format!("cannot build the HTTP client: {}", error.without_url()),
                )
            })?;
        let rate = NonZeroU32::new(limits.max_calls_per_sec.max(1)).unwrap_or(NonZeroU32::MIN);
        Ok(Self {
            limiter: RateLimiter::direct(Quota::per_second(rate)),
            gate: Semaphore::new(limits.max_concurrent.max(1)),
            calls: Mutex::default(),
            client,
            limits,
        })
    }

    /// Sends one request and reads the whole answer.
    ///
    /// # Errors
    /// A fault when there is no whole answer, or when it is a redirect. A refusal by the vendor is
    /// an answer, not an error.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, Fault> {
        check_scheme(&call.url)?;
        let kind = call.kind;
        let Ok(_permit) = self.gate.acquire().await else {
            return Err(Fault::new(
                FaultClass::Retryable,
                "closed",
                format!("{kind}: the client is closed"),
            ));
        };
        self.limiter.until_ready().await;
        self.count(kind);
        // Some servers refuse a change that does not say how long its body is, also of none.
        let says_length = matches!(call.method, Method::PUT | Method::POST | Method::PATCH);
        let mut request = self.client.request(call.method, call.url);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if let Some(token) = call.bearer {
            let text = format!("Bearer {}", token.expose_secret());
            request = request.header(AUTHORIZATION, sensitive(kind, &text)?);
        }
        for (name, secret) in call.secrets {
            request = request.header(name, sensitive(kind, secret.expose_secret())?);
        }
        request = match call.body {
            Body::None if says_length => request.header(CONTENT_LENGTH, 0),
            Body::None => request,
            Body::Json(text) => request.header(CONTENT_TYPE, "application/json").body(text),
            Body::Csv(text) => request.header(CONTENT_TYPE, "text/csv").body(text),
            Body::SecretJson(text) => request
                .header(CONTENT_TYPE, "application/json")
                .body(text.expose_secret().to_owned()),
            Body::Xml(text) => request
                .header(CONTENT_TYPE, "text/xml; charset=utf-8")
                .body(text.expose_secret().to_owned()),
            Body::Form(members) => {
                let plain: Vec<(&str, &str)> = members
                    .iter()
                    .map(|(name, value)| (*name, value.expose_secret()))
                    .collect();
                request.form(&plain)
            }
        };
        let started = Instant::now();
        let mut response = request
            .send()
            .await
            .map_err(|error| transport(kind, error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| transport(kind, error))?
        {
            if body.len().saturating_add(chunk.len()) > self.limits.max_body_bytes {
                let message = format!(
                    "{kind}: the answer is larger than {} bytes once decompressed",
                    self.limits.max_body_bytes
                );
                return Err(
                    Fault::new(FaultClass::ContractBroken, "too-large", message).maybe_sent()
                );
            }
            body.extend_from_slice(&chunk);
        }
        if matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "redirect",
                format!(
                    "{kind}: the answer is a redirect ({status}); redirects are never followed"
                ),
            ));
        }
        let elapsed = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let date = headers
            .get("date")
            .and_then(|value| value.to_str().ok())
            .and_then(http_date);
        Ok(Answer {
            status,
            headers,
            body: body.freeze(),
            asked_at: date.map(|date| date.minus(elapsed)),
        })
    }

    /// Calls made since the start, by kind.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    fn count(&self, kind: &'static str) {
        *self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(kind)
            .or_insert(0) += 1;
    }
}

/// A header value that no debug output shows.
fn sensitive(kind: &str, secret: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::try_from(secret).map_err(|_| {
        Fault::new(
            FaultClass::Auth,
            "bad-token",
            format!("{kind}: the access token has characters no header can carry"),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The certificates of a text in PEM; `None` when it holds none, or one that cannot be read.
pub fn authorities(pem: &[u8]) -> Option<Vec<Certificate>> {
    Certificate::from_pem_bundle(pem)
        .ok()
        .filter(|found| !found.is_empty())
}

/// Whether the host of `url` is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether an answer from `home` may send us on to `url`: to the same host, or to one of `allowed`
/// (host names, or suffixes that begin with a dot); by TLS, unless both are this machine. An error
/// says what is wrong with it, as the end of a sentence.
pub fn may_lead(url: &Url, home: &Url, allowed: &[String]) -> Result<(), &'static str> {
    let host = url.host_str().ok_or("has no host")?;
    // On this machine the port tells two systems apart.
    let same = Some(host) == home.host_str()
        && (!is_loopback(url) || url.port_or_known_default() == home.port_or_known_default());
    let listed = allowed.iter().any(|allowed| {
        if allowed.starts_with('.') {
            host.ends_with(allowed.as_str())
        } else {
            host == allowed
        }
    });
    if !same && !listed {
        return Err("names a host that is not allowed");
    }
    if url.scheme() != "https" && !(is_loopback(url) && is_loopback(home)) {
        return Err("is not https");
    }
    Ok(())
}

/// TLS everywhere, except on the own machine.
fn check_scheme(url: &Url) -> Result<(), Fault> {
    if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)) {
        return Ok(());
    }
    Err(Fault::new(
        FaultClass::ContractBroken,
        "no-tls",
        "refused to speak to the system without TLS",
    ))
}

/// A transport failure as a fault. Without its URL, which may hold a secret.
fn transport(kind: &str, error: reqwest::Error) -> Fault {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    if error.is_builder() {
        return Fault::new(
            FaultClass::Rejected,
            "request",
            format!("{kind}: the request cannot be built: {words}"),
        );
    }
    if error.is_connect() {
        if words.to_ascii_lowercase().contains("certificate") {
            return Fault::new(
                FaultClass::ContractBroken,
                "tls",
                format!("{kind}: the server's certificate is not accepted: {words}"),
            );
        }
        let code = if error.is_timeout() {
            "connect-timeout"
        } else {
            "connect"
        };
        return Fault::new(
            FaultClass::Retryable,
            code,
            format!("{kind}: no connection: {words}"),
        );
    }
    let code = if error.is_timeout() {
        "timeout"
    } else if error.is_decode() || error.is_body() {
        "truncated"
    } else {
        "reset"
    };
    Fault::new(
        FaultClass::Retryable,
        code,
        format!("{kind}: no whole answer: {words}"),
    )
    .maybe_sent()
}

/// Refuses names that resolve to the own machine or its link, so that a changed DNS answer cannot
/// turn a vendor's name into an address of the host network's own services.
#[derive(Debug, Clone, Copy)]
struct OutsideOnly;

impl reqwest::dns::Resolve for OutsideOnly {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let own = host == "localhost";
            let usable: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| own || is_outside(address.ip()))
                .collect();
            if usable.is_empty() {
                return Err("the name resolves to no address outside this machine".into());
            }
            Ok(Box::new(usable.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

fn is_outside(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// An HTTP date in any of its three forms (RFC 9110 section 5.6.7).
pub fn http_date(text: &str) -> Option<At> {
    let text = text.trim();
    [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ]
    .iter()
    .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    .map(|time| At::from(time.and_utc()))
}

/// The pause that a `Retry-After` asks for, from [`LEAST_PAUSE`] to [`MOST_PAUSE`].
///
/// Takes seconds, padded or not, of any size and sign, and HTTP dates relative to `now`, the
/// vendor's clock. `None` for anything else.
pub fn retry_after(text: &str, now: Option<At>) -> Option<Duration> {
    let text = text.trim();
    let numeric = text
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_digit() || first == b'-' || first == b'+')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
    let secs = if numeric {
        text.parse::<f64>().ok()?
    } else {
        http_date(text)?.since(now?) as f64 / 1e6
    };
    Some(Duration::from_secs_f64(
        secs.clamp(LEAST_PAUSE.as_secs_f64(), MOST_PAUSE.as_secs_f64()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_every_form_and_clamped() {
        let now = http_date("Fri, 01 May 2026 10:00:00 GMT");
        let secs = |text: &str| retry_after(text, now).map(|pause| pause.as_secs());
        let rows = [
            ("plain seconds", "30", Some(30)),
            ("padded seconds", " 30 ", Some(30)),
            ("zero becomes a second", "0", Some(1)),
            ("negative becomes a second", "-5", Some(1)),
            ("exponent form is huge", "1e9", Some(3_600)),
            (
                "twenty digits are huge",
                "99999999999999999999",
                Some(3_600),
            ),
            ("IMF date", "Fri, 01 May 2026 10:02:00 GMT", Some(120)),
            ("RFC 850 date", "Friday, 01-May-26 10:02:00 GMT", Some(120)),
            ("asctime date", "Fri May  1 10:02:00 2026", Some(120)),
            (
                "a date in the past",
                "Fri, 01 May 2026 09:00:00 GMT",
                Some(1),
            ),
            (
                "a date far ahead",
                "Sat, 02 May 2026 10:00:00 GMT",
                Some(3_600),
            ),
            ("a word", "soon", None),
            ("nothing", "", None),
            ("not a number", "nan", None),
        ];
        for (sentence, text, expected) in rows {
            assert_eq!(secs(text), expected, "{sentence}");
        }
    }

    #[test]
    fn a_date_without_the_vendors_clock_is_no_pause() {
        assert_eq!(retry_after("Fri, 01 May 2026 10:02:00 GMT", None), None);
    }

    #[test]
    fn plain_http_is_for_the_own_machine_only() {
        for (url, allowed) in [
            ("http://127.0.0.1:80/", true),
            ("http://localhost/", true),
            ("http://[::1]/", true),
            ("https://example.org/", true),
            ("http://example.org/", false),
            ("http://127.0.0.1.example.org/", false),
            ("ftp://example.org/", false),
        ] {
            assert_eq!(
                check_scheme(&Url::parse(url).unwrap()).is_ok(),
                allowed,
                "{url}"
            );
        }
    }

    #[test]
    fn secrets_in_a_body_do_not_show() {
        for body in [
            Body::SecretJson("{\"client_secret\":\"hush\"}".to_owned().into()),
            Body::Xml("<fueloauth>hush</fueloauth>".to_owned().into()),
        ] {
            assert!(!format!("{body:?}").contains("hush"));
        }
    }

    #[test]
    fn names_that_lead_to_the_own_network_link_are_refused() {
        for (ip, outside) in [
            ("169.254.169.254", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("203.0.113.7", true),
        ] {
            assert_eq!(is_outside(ip.parse().unwrap()), outside, "{ip}");
        }
    }
}
