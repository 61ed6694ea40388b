//! Logging in: OAuth 2.0 client credentials, one token for each business unit.
//!
//! A token is kept until a minute before its end; all tasks share it, and only one of them logs in at
//! a time. Source: authorization reference (server-to-server access token).

use super::super::config::Settings;
use super::faults;
use crate::connector::http::{self, Answer, Body, Call, Http, Method};
use crate::connector::{Fault, FaultClass};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use url::Url;

/// A token is renewed so long before its end.
const EARLY: Duration = Duration::from_mins(1);
/// How long a token lives when the answer does not say: as long as the vendor's usually do.
const USUAL_SECS: u64 = 1_079;
/// No token is kept for longer, whatever the answer says.
const MOST_SECS: u64 = 3_600;
/// The file below the SOAP host that takes all calls.
const SERVICE: &str = "Service.asmx";

/// A token of one unit.
#[derive(Debug)]
pub struct Session {
    /// Access token.
    pub token: SecretString,
    /// Where SOAP calls go.
    pub service: Url,
    /// What it may do; empty when the answer does not say.
    pub scopes: Vec<String>,
    until: Instant,
    number: u64,
}

/// The owner of the tokens.
#[derive(Debug)]
pub struct Login {
    /// By the id of the unit.
    states: BTreeMap<String, Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    made: u64,
}

#[derive(Serialize)]
struct Asked<'a> {
    grant_type: &'static str,
    client_id: &'a str,
    client_secret: &'a str,
    account_id: &'a str,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<serde_json::Number>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    soap_instance_url: Option<String>,
}

impl Login {
    /// Without any token yet.
    pub fn new(settings: &Settings) -> Self {
        let units = settings.units.iter();
        Self {
            states: units
                .map(|unit| (unit.id.clone(), Mutex::default()))
                .collect(),
        }
    }

    /// The present token of a unit, or a new one when there is none or it is about to end.
    pub async fn session(
        &self,
        unit: &str,
        settings: &Settings,
        http: &Http,
    ) -> Result<Arc<Session>, Fault> {
        let mut state = self.state(unit)?.lock().await;
        if let Some(session) = &state.session
            && Instant::now() < session.until
        {
            return Ok(Arc::clone(session));
        }
        state.mint(unit, settings, http).await
    }

    /// A token other than `refused`: the one that another task got meanwhile, or a new one.
    pub async fn renew(
        &self,
        refused: &Session,
        unit: &str,
        settings: &Settings,
        http: &Http,
    ) -> Result<Arc<Session>, Fault> {
        let mut state = self.state(unit)?.lock().await;
        if let Some(session) = &state.session
            && session.number != refused.number
        {
            return Ok(Arc::clone(session));
        }
        state.session = None;
        state.mint(unit, settings, http).await
    }

    /// Forgets a token that was refused, so that the next call logs in anew.
    pub async fn forget(&self, refused: &Session, unit: &str) {
        if let Some(state) = self.states.get(unit) {
            state
                .lock()
                .await
                .session
                .take_if(|session| session.number == refused.number);
        }
    }

    fn state(&self, unit: &str) -> Result<&Mutex<State>, Fault> {
        self.states.get(unit).ok_or_else(|| unknown_unit(unit))
    }
}

/// The fault of a unit that is not configured.
pub fn unknown_unit(unit: &str) -> Fault {
    Fault::new(
        FaultClass::Rejected,
        "unknown-unit",
        format!("business unit {unit} is not configured; list it under [[marketing_cloud.units]]"),
    )
}

impl State {
    async fn mint(
        &mut self,
        unit: &str,
        settings: &Settings,
        http: &Http,
    ) -> Result<Arc<Session>, Fault> {
        let asked_at = Instant::now();
        let answer = ask(unit, settings, http).await?;
        if answer.status != 200 {
            return Err(faults::of_login(unit, &answer));
        }
        let granted: Granted = answer.parse("login").map_err(|mut fault| {
            fault.maybe_sent = false;
            fault
        })?;
        let service = service(granted.soap_instance_url.as_deref(), settings)?;
        self.made += 1;
        let session = Arc::new(Session {
            token: granted.access_token.into(),
            service,
            scopes: granted
                .scope
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            until: asked_at + life(granted.expires_in.as_ref()),
            number: self.made,
        });
        self.session = Some(Arc::clone(&session));
        Ok(session)
    }
}

/// How long a token is used. One that lives shorter than two minutes is used for half its life.
fn life(expires_in: Option<&serde_json::Number>) -> Duration {
    let secs = expires_in
        .and_then(serde_json::Number::as_u64)
        .unwrap_or(USUAL_SECS)
        .min(MOST_SECS);
    let whole = Duration::from_secs(secs);
    whole.saturating_sub(EARLY).max(whole / 2)
}

async fn ask(unit: &str, settings: &Settings, http: &Http) -> Result<Answer, Fault> {
    let mut url = settings.auth_url.clone();
    url.set_path("/v2/token");
    let asked = Asked {
        grant_type: "client_credentials",
        client_id: &settings.client_id,
        client_secret: settings.client_secret.expose_secret(),
        account_id: unit,
    };
    let text = serde_json::to_string(&asked).map_err(|_| {
        Fault::new(
            FaultClass::Rejected,
            "request",
            "login: the request cannot be written",
        )
    })?;
    let call = Call {
        kind: "login",
        method: Method::POST,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::SecretJson(text.into()),
    };
    // A lost login has no effect that matters: asking again is always safe.
    http.send(call).await.map_err(|mut fault| {
        fault.maybe_sent = false;
        fault
    })
}

/// Where SOAP calls go: as configured, or to the host that the token answer names and the configuration
/// allows.
fn service(named: Option<&str>, settings: &Settings) -> Result<Url, Fault> {
    let refused = |what: &str| {
        Fault::new(
            FaultClass::ContractBroken,
            "instance-host",
            format!("login: the soap_instance_url {what}; see allowed_hosts and soap_url"),
        )
    };
    let mut base = if let Some(configured) = &settings.soap_url {
        configured.clone()
    } else {
        let named = named.ok_or_else(|| refused("is missing"))?;
        let url = Url::parse(named).map_err(|_| refused("cannot be read"))?;
        http::may_lead(&url, &settings.auth_url, &settings.allowed_hosts).map_err(refused)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("holds a user"));
        }
        url
    };
    base.set_query(None);
    base.set_fragment(None);
    if !base.path().ends_with('/') {
        let path = format!("{}/", base.path());
        base.set_path(&path);
    }
    base.join(SERVICE).map_err(|_| refused("cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::super::super::config::Reach;
    use super::*;
    use crate::connector::http::Limits;
    use chrono::FixedOffset;

    fn settings(auth_url: &str) -> Settings {
        Settings {
            limits: Limits {
                system: "marketing_cloud".to_owned(),
                request_timeout: Duration::from_secs(1),
                connect_timeout: Duration::from_secs(1),
                max_body_bytes: 1,
                max_concurrent: 1,
                max_calls_per_sec: 1,
            },
            auth_url: Url::parse(auth_url).unwrap(),
            soap_url: None,
            allowed_hosts: vec![".marketingcloudapis.com".to_owned()],
            client_id: String::new(),
            client_secret: String::new().into(),
            units: Vec::new(),
            reach: Reach::AllAccounts,
            keys_per_call: 1,
            utc_offset: FixedOffset::west_opt(0).unwrap(),
            activates: false,
        }
    }

    #[test]
    fn c77_soap_goes_only_where_the_configuration_allows() {
        let outside = settings("https://sub.auth.marketingcloudapis.com");
        let near = settings("http://127.0.0.1:9000");
        for (sentence, settings, named, expected) in [
            (
                "the vendor's host",
                &outside,
                "https://sub.soap.marketingcloudapis.com/",
                Some("https://sub.soap.marketingcloudapis.com/Service.asmx"),
            ),
            (
                "a path without its slash, and a query",
                &outside,
                "https://sub.soap.marketingcloudapis.com/soap?x=1",
                Some("https://sub.soap.marketingcloudapis.com/soap/Service.asmx"),
            ),
            ("another host", &outside, "https://example.org/", None),
            (
                "a host that only ends alike",
                &outside,
                "https://evilmarketingcloudapis.com/",
                None,
            ),
            (
                "without TLS",
                &outside,
                "http://sub.soap.marketingcloudapis.com/",
                None,
            ),
            ("this machine", &outside, "http://127.0.0.1:9000/", None),
            (
                "a user in it",
                &outside,
                "https://a:b@sub.soap.marketingcloudapis.com/",
                None,
            ),
            ("no address", &outside, "Service.asmx", None),
            (
                "a rehearsal on this machine",
                &near,
                "http://127.0.0.1:9000/",
                Some("http://127.0.0.1:9000/Service.asmx"),
            ),
            (
                "another port of this machine",
                &near,
                "http://127.0.0.1:9001/",
                None,
            ),
        ] {
            let found = service(Some(named), settings).ok();
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{sentence}");
        }
        assert_eq!(
            service(None, &outside).unwrap_err().code,
            "instance-host",
            "none named"
        );
        let mut fixed = outside;
        fixed.soap_url = Some(Url::parse("https://webservice.s7.exacttarget.com").unwrap());
        let found = service(Some("https://example.org/"), &fixed).unwrap();
        assert_eq!(
            found.as_str(),
            "https://webservice.s7.exacttarget.com/Service.asmx",
            "a configured address is not argued with"
        );
    }

    #[test]
    fn c121_a_token_is_renewed_a_minute_early() {
        let of = |secs: i64| life(Some(&secs.into())).as_secs();
        assert_eq!(of(1_079), 1_019);
        assert_eq!(of(100), 50, "a short life is halved");
        assert_eq!(of(0), 0, "a dead one is never kept");
        assert_eq!(of(-5), 1_019, "nonsense is as if nothing was said");
        assert_eq!(of(1_000_000), 3_540, "nothing is kept for days");
        assert_eq!(life(None).as_secs(), 1_019);
    }
}
