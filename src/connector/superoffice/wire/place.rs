//! Where a tenant is: online tenants move between hosts at any time.
//!
//! Source: best practices, tenant status. The state is asked for without a login and holds until a
//! time that it names itself.

use crate::connector::http::{Answer, Body, Call, Http, Method, is_loopback};
use crate::connector::salesforce::wire::time;
use crate::connector::superoffice::config::Online;
use crate::connector::superoffice::wire::faults;
use crate::connector::{Fault, FaultClass};
use serde::Deserialize;
use std::time::{Duration, Instant};
use url::Url;

/// A state is believed for at least this long, whatever it says.
const LEAST_VALIDITY: Duration = Duration::from_mins(1);
/// And no longer than this.
const MOST_VALIDITY: Duration = Duration::from_hours(1);
/// An upgrade or a move takes minutes.
const MAINTENANCE_PAUSE: Duration = Duration::from_mins(1);

/// Where data calls go.
#[derive(Debug)]
pub struct Place {
    /// Address of the web API, without a slash at its end.
    pub base: Url,
    /// When it has to be asked for again.
    pub until: Option<Instant>,
    /// Tells places apart.
    pub number: u64,
}

/// The answer about a tenant's state. Older ones lack the last member.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(rename = "State")]
    name: Name,
    #[serde(default)]
    valid_until: Option<String>,
    #[serde(default)]
    api: Option<String>,
}

/// A member of an enumeration, by name or by number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Word(String),
    Number(u32),
}

impl Name {
    fn word(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Number(number) => match number {
                1 => "Provisioning",
                2 => "Running",
                3 => "Deleted",
                4 => "Suspended",
                5 => "OnlineMaintenance",
                6 => "OfflineMaintenance",
                8 => "ProvisioningFailed",
                10 => "Deleting",
                11 => "DeleteFailed",
                12 => "MigrationPending",
                _ => "Unknown",
            },
        }
    }
}

/// Asks where the tenant is now.
///
/// # Errors
/// `retryable` while it is under maintenance, `auth` once it is suspended or deleted.
pub async fn find(online: &Online, http: &Http) -> Result<(Url, Option<Instant>), Fault> {
    let mut url = online.login_url.clone();
    url.set_path("/api/state/");
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(&online.customer);
    }
    let call = Call {
        kind: "state",
        method: Method::GET,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::None,
    };
    let answer = http.send(call).await.map_err(not_sent)?;
    if answer.status == 404 {
        return Err(Fault::new(
            FaultClass::Auth,
            "tenant",
            "state: the login host knows no such tenant; check `customer` and `login_url`",
        ));
    }
    if answer.status != 200 {
        return Err(not_sent(faults::of_answer("state", &answer)));
    }
    read(online, &answer)
}

/// What a login or the state asks has no effect that matters.
pub(super) fn not_sent(mut fault: Fault) -> Fault {
    fault.maybe_sent = false;
    fault
}

fn read(online: &Online, answer: &Answer) -> Result<(Url, Option<Instant>), Fault> {
    let state: State = answer.parse("state").map_err(not_sent)?;
    let word = state.name.word();
    match word {
        "Running" | "OnlineMaintenance" => {}
        "Suspended" | "Deleted" | "Deleting" | "DeleteFailed" | "ProvisioningFailed" => {
            return Err(Fault::new(
                FaultClass::Auth,
                "tenant",
                format!("state: the tenant is {word}; ask SuperOffice"),
            ));
        }
        _ => {
            return Err(Fault::new(
                FaultClass::Retryable,
                "maintenance",
                "state: the tenant is under maintenance",
            )
            .after(Some(MAINTENANCE_PAUSE)));
        }
    }
    let address = match (&state.api, &state.endpoint) {
        (Some(api), _) => api.clone(),
        (None, Some(endpoint)) => format!("{}/api", endpoint.trim_end_matches('/')),
        (None, None) => {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "shape",
                "state: the answer names no address",
            ));
        }
    };
    let base = allowed(&address, online)?;
    let lasts = state
        .valid_until
        .as_deref()
        .and_then(time::parse)
        .zip(answer.asked_at)
        .map_or(LEAST_VALIDITY, |(until, now)| {
            Duration::from_micros(until.since(now).max(0).unsigned_abs())
        });
    let until = Instant::now() + lasts.clamp(LEAST_VALIDITY, MOST_VALIDITY);
    Ok((base, Some(until)))
}

/// An address that an answer names, if data may go there.
///
/// # Errors
/// When it is none, not over TLS, or on a host that the configuration does not allow.
pub fn allowed(address: &str, online: &Online) -> Result<Url, Fault> {
    let refused = |what: &str| {
        Fault::new(
            FaultClass::ContractBroken,
            "instance-host",
            format!("state: the tenant's address {what}; see allowed_hosts"),
        )
    };
    let mut url =
        Url::parse(address.trim_end_matches('/')).map_err(|_| refused("cannot be read"))?;
    let host = url.host_str().ok_or_else(|| refused("has no host"))?;
    let login = online.login_url.host_str().unwrap_or_default();
    let near = is_loopback(&url);
    // A rehearsal stays on this machine; nothing else is sent there.
    let listed = if near {
        is_loopback(&online.login_url)
    } else {
        host == login
            || online.allowed_hosts.iter().any(|allowed| {
                if allowed.starts_with('.') {
                    host.ends_with(allowed.as_str())
                } else {
                    host == allowed
                }
            })
    };
    if !listed {
        return Err(refused("names a host that is not allowed"));
    }
    if url.scheme() != "https" && !near {
        return Err(refused("is not https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("holds a user"));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::superoffice::config::OnlineGrant;
    use crate::consent::At;
    use bytes::Bytes;
    use reqwest::header::HeaderMap;

    fn online(login: &str) -> Online {
        Online {
            login_url: Url::parse(login).unwrap(),
            customer: "Cust40001".to_owned(),
            allowed_hosts: vec![".superoffice.com".to_owned()],
            grant: OnlineGrant::RefreshToken {
                client_id: String::new(),
                client_secret: String::new().into(),
                token_file: std::path::PathBuf::new(),
            },
        }
    }

    fn answer(body: &str) -> Answer {
        Answer {
            status: 200,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            asked_at: Some(At::from_micros(1_768_820_400_000_000)),
        }
    }

    #[test]
    fn a_state_names_the_place_and_how_long_it_holds() {
        let online = online("https://online.superoffice.com");
        for (sentence, body, minutes) in [
            (
                "a present answer",
                r#"{"ContextIdentifier":"Cust40001","Endpoint":"https://online2.superoffice.com/Cust40001","State":"Running","IsRunning":true,"ValidUntil":"2026-01-19T11:20:00.0000000Z","Api":"https://online2.superoffice.com/Cust40001/api","Version":"Release_12.1"}"#,
                20,
            ),
            (
                "an older answer",
                r#"{"Endpoint":"https://online2.superoffice.com/Cust40001/","State":5,"ValidUntil":"2027-01-19T11:20:00"}"#,
                60,
            ),
            (
                "an answer that has expired",
                r#"{"Api":"https://online2.superoffice.com/Cust40001/api/","State":"Running","ValidUntil":"2025-01-19T11:20:00Z"}"#,
                1,
            ),
        ] {
            let (base, until) = read(&online, &answer(body)).unwrap();
            assert_eq!(
                base.as_str(),
                "https://online2.superoffice.com/Cust40001/api",
                "{sentence}"
            );
            let lasts = until.unwrap().saturating_duration_since(Instant::now());
            assert_eq!(lasts.as_secs().div_ceil(60), minutes, "{sentence}");
        }
    }

    #[test]
    fn a_tenant_that_does_not_run_is_waited_for_or_told_of() {
        let online = online("https://online.superoffice.com");
        for (state, class) in [
            ("\"OfflineMaintenance\"", FaultClass::Retryable),
            ("6", FaultClass::Retryable),
            ("\"MigrationPending\"", FaultClass::Retryable),
            ("0", FaultClass::Retryable),
            ("\"Suspended\"", FaultClass::Auth),
            ("3", FaultClass::Auth),
        ] {
            let body =
                format!(r#"{{"Endpoint":"https://online2.superoffice.com/C","State":{state}}}"#);
            assert_eq!(
                read(&online, &answer(&body)).unwrap_err().class,
                class,
                "{state}"
            );
        }
    }

    #[test]
    fn data_goes_only_where_the_configuration_allows() {
        let far = online("https://online.superoffice.com");
        let near = online("http://127.0.0.1:9403");
        for (online, address, allow) in [
            (&far, "https://online3.superoffice.com/Cust40001/api", true),
            (&far, "https://app.superoffice.com/Cust40001/api/", true),
            (&far, "http://online3.superoffice.com/Cust40001/api", false),
            (&far, "https://superoffice.com.example.org/api", false),
            (&far, "https://evilsuperoffice.com/api", false),
            (&far, "https://169.254.169.254/api", false),
            (&far, "http://127.0.0.1:80/api", false),
            (&far, "https://user:pass@online3.superoffice.com/api", false),
            (&far, "nonsense", false),
            (&near, "http://127.0.0.1:9404/Cust40001/api", true),
            (&near, "http://192.168.1.9/api", false),
        ] {
            assert_eq!(super::allowed(address, online).is_ok(), allow, "{address}");
        }
    }
}
