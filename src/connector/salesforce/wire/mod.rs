//! The platform's REST API, as one org speaks it: login, version, limits, queries, records.
//!
//! Nothing in here knows of consent. Every connector for a Salesforce-platform org uses it, and
//! none of its types leaves the connectors.

pub mod auth;
pub mod bulk;
pub mod faults;
mod records;
pub mod rows;
pub mod soql;
pub mod time;

use super::config::PlatformSettings;
use crate::connector::http::{self, Answer, Body, Call, Http, Method};
use crate::connector::{Fault, FaultClass, Quota};
use crate::consent::At;
use auth::{Login, Session};
use faults::Refusal;
use records::{Collection, Replicated, Retrieve, Version};
pub use records::{Describe, FieldInfo, FieldValue, QueryPage, Record, RowResult};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use url::Url;

/// The newest API version whose answers this client knows.
const NEWEST_VERSION: u32 = 68;
/// The oldest one that has everything it asks for.
const OLDEST_VERSION: u32 = 48;
/// Most rows in one collections call (REST guide: sObject collections).
pub const COLLECTION_ROWS: usize = 200;
/// Most ids in one retrieve by `POST composite/sobjects/<object>`.
pub const RETRIEVE_ROWS: usize = 2_000;
/// Most ids in one `IN` list; a request line of 16 KiB holds about 500.
pub const IN_LIST: usize = 300;

/// A client for one org.
#[derive(Debug)]
pub struct Org {
    settings: PlatformSettings,
    http: Http,
    login: Login,
    version: OnceCell<String>,
    quota: Mutex<Option<Quota>>,
}

impl Org {
    /// A client; makes no call.
    pub fn new(settings: PlatformSettings) -> Result<Self, Fault> {
        let http = Http::new(settings.limits.clone())?;
        Ok(Self {
            settings,
            http,
            login: Login::default(),
            version: OnceCell::new(),
            quota: Mutex::new(None),
        })
    }

    /// The settings it was made with.
    pub const fn settings(&self) -> &PlatformSettings {
        &self.settings
    }

    /// Calls made, by kind.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        self.http.calls()
    }

    /// The daily allowance as the last answer told it.
    pub fn quota(&self) -> Option<Quota> {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, logging in if need be.
    pub async fn session(&self) -> Result<Arc<Session>, Fault> {
        self.login.session(&self.settings, &self.http).await
    }

    /// The org's clock, never ahead of it. Costs nothing of the daily allowance.
    pub async fn now(&self) -> Result<At, Fault> {
        let session = self.session().await?;
        let answer = self.versions(&session).await?;
        answer.dated("versions")
    }

    async fn versions(&self, session: &Session) -> Result<Answer, Fault> {
        let mut url = session.instance.clone();
        url.set_path("/services/data");
        let call = Call {
            kind: "versions",
            method: Method::GET,
            url,
            headers: Vec::new(),
            bearer: None,
            secrets: Vec::new(),
            body: Body::None,
        };
        let answer = self.http.send(call).await?;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(refusal("versions", &answer))
        }
    }

    /// The API version in use, e.g. `66.0`.
    pub async fn version(&self) -> Result<&str, Fault> {
        let version = self.version.get_or_try_init(|| async {
            let session = self.session().await?;
            let answer = self.versions(&session).await?;
            let known: Vec<Version> = answer.parse("versions")?;
            choose_version(
                known.iter().map(|known| known.version.as_str()),
                self.settings.api_version.as_deref(),
            )
        });
        version.await.map(String::as_str)
    }

    /// Sends a data call below `/services/data/vNN.N`, logging in again once when the session is
    /// refused. An answer other than a success is a fault.
    async fn data(
        &self,
        kind: &'static str,
        method: Method,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Answer, Fault> {
        let version = self.version().await?;
        self.at(
            kind,
            method,
            &format!("/services/data/v{version}/{path}"),
            params,
            headers,
            body,
        )
        .await
    }

    /// As [`Self::data`], for a whole path.
    async fn at(
        &self,
        kind: &'static str,
        method: Method,
        path: &str,
        params: &[(&str, &str)],
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Answer, Fault> {
        let mut session = self.session().await?;
        let mut again = true;
        loop {
            let mut url = session.instance.join(path).map_err(|_| {
                Fault::new(
                    FaultClass::ContractBroken,
                    "bad-link",
                    format!("{kind}: a link cannot be read"),
                )
            })?;
            if !params.is_empty() {
                url.query_pairs_mut().extend_pairs(params);
            }
            let mut all = vec![
                ("Accept", "application/json, text/csv".to_owned()),
                ("Sforce-Call-Options", "client=consentd".to_owned()),
            ];
            all.extend(headers.iter().cloned());
            let call = Call {
                kind,
                method: method.clone(),
                url,
                headers: all,
                bearer: Some(&session.token),
                secrets: Vec::new(),
                body: body.clone(),
            };
            let answer = self.http.send(call).await?;
            self.note_quota(&answer);
            if (200..300).contains(&answer.status) {
                return Ok(answer);
            }
            let fault = refusal(kind, &answer);
            // Only this one code says that a new login helps, and it helps at most once.
            if again && answer.status == 401 && fault.code == "INVALID_SESSION_ID" {
                again = false;
                session = self
                    .login
                    .renew(&session, &self.settings, &self.http)
                    .await?;
                continue;
            }
            return Err(fault);
        }
    }

    fn note_quota(&self, answer: &Answer) {
        if let Some(quota) = answer.header("sforce-limit-info").and_then(quota) {
            *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = Some(quota);
        }
    }

    /// The first page of a query; deleted rows count when `all`. Parse it with [`Answer::parse`].
    pub async fn query(&self, text: &str, all: bool) -> Result<Answer, Fault> {
        let path = if all { "queryAll" } else { "query" };
        let rows = self.settings.page_rows;
        self.data(
            "query",
            Method::GET,
            path,
            &[("q", text)],
            &[("Sforce-Query-Options", format!("batchSize={rows}"))],
            Body::None,
        )
        .await
    }

    /// A further page, by its link. Links to other hosts are refused.
    pub async fn next_page(&self, link: &str) -> Result<Answer, Fault> {
        let session = self.session().await?;
        let foreign = || {
            Fault::new(
                FaultClass::ContractBroken,
                "foreign-link",
                "query: the link to the next page leads to another host and is not followed",
            )
        };
        let url = session.instance.join(link).map_err(|_| foreign())?;
        if url.origin() != session.instance.origin() || !url.path().starts_with("/services/data/") {
            return Err(foreign());
        }
        let rows = self.settings.page_rows;
        self.at(
            "query-more",
            Method::GET,
            url.path(),
            &[],
            &[("Sforce-Query-Options", format!("batchSize={rows}"))],
            Body::None,
        )
        .await
    }

    /// How many rows an object has, and the vendor's time when that was asked for.
    pub async fn count(&self, object: &str) -> Result<(u64, At), Fault> {
        let answer = self
            .query(&format!("SELECT COUNT() FROM {object}"), false)
            .await?;
        let page: QueryPage<'_> = answer.parse("query")?;
        Ok((page.total, answer.dated("query")?))
    }

    /// An object's description; `None` when the user cannot see the object.
    pub async fn describe(&self, object: &str) -> Result<Option<Describe>, Fault> {
        match self
            .data(
                "describe",
                Method::GET,
                &format!("sobjects/{object}/describe"),
                &[],
                &[],
                Body::None,
            )
            .await
        {
            Ok(answer) => answer.parse("describe").map(Some),
            Err(fault)
                if matches!(
                    fault.code.as_str(),
                    "NOT_FOUND" | "INVALID_TYPE" | "http-404"
                ) =>
            {
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Records by id, in the order of `ids`, `null` for each that is not there. At most
    /// [`RETRIEVE_ROWS`]. Parse it as `Vec<&RawValue>`.
    pub async fn retrieve(
        &self,
        object: &str,
        ids: &[String],
        fields: &[String],
    ) -> Result<Answer, Fault> {
        let body = json("retrieve", &Retrieve { ids, fields })?;
        // A retrieve changes nothing, whatever its method: a lost one may simply be repeated.
        self.data(
            "retrieve",
            Method::POST,
            &format!("composite/sobjects/{object}"),
            &[],
            &[],
            body,
        )
        .await
    }

    /// Changes records, or creates those without an id; at most [`COLLECTION_ROWS`]. One result per
    /// record, in order.
    pub async fn save(
        &self,
        create: bool,
        records: &[Record<'_>],
    ) -> Result<Vec<RowResult>, Fault> {
        let body = json(
            "write",
            &Collection {
                all_or_none: false,
                records,
            },
        )?;
        let method = if create { Method::POST } else { Method::PATCH };
        let headers = [("Sforce-Duplicate-Rule-Header", "allowSave=true".to_owned())];
        let answer = self
            .data("write", method, "composite/sobjects", &[], &headers, body)
            .await?;
        let results: Vec<RowResult> = answer.parse("write")?;
        if results.len() != records.len() {
            let message = format!(
                "write: {} results for {} rows",
                results.len(),
                records.len()
            );
            return Err(
                Fault::new(FaultClass::ContractBroken, "result-count", message).maybe_sent(),
            );
        }
        Ok(results)
    }

    /// Ids changed (or deleted) from `start` to `end`, and up to when that list is complete.
    pub async fn replicated(
        &self,
        object: &str,
        deleted: bool,
        start: At,
        end: At,
    ) -> Result<(Vec<String>, At), Fault> {
        let (kind, name) = if deleted {
            ("deleted", "deleted")
        } else {
            ("updated", "updated")
        };
        let params = [("start", time::literal(start)), ("end", time::literal(end))];
        let params = params
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let answer = self
            .data(
                kind,
                Method::GET,
                &format!("sobjects/{object}/{name}/"),
                &params,
                &[],
                Body::None,
            )
            .await?;
        let list: Replicated = answer.parse(kind)?;
        let covered = time::parse(&list.covered).ok_or_else(|| {
            Fault::new(
                FaultClass::ContractBroken,
                "shape",
                format!("{kind}: latestDateCovered is no date"),
            )
        })?;
        let mut ids = list.ids;
        ids.extend(list.deleted.into_iter().map(|row| row.id));
        Ok((ids, covered))
    }
}

/// A request body.
fn json<T: Serialize>(kind: &str, value: &T) -> Result<Body, Fault> {
    serde_json::to_vec(value).map(Body::Json).map_err(|_| {
        Fault::new(
            FaultClass::Rejected,
            "request",
            format!("{kind}: the request cannot be written"),
        )
    })
}

/// A refusal as a fault; the body is an array of refusals, one refusal, or no JSON at all.
fn refusal(kind: &str, answer: &Answer) -> Fault {
    let refusals = serde_json::from_slice::<Vec<Refusal>>(&answer.body)
        .or_else(|_| serde_json::from_slice::<Refusal>(&answer.body).map(|one| vec![one]))
        .unwrap_or_default();
    faults::of_call(kind, answer.status, &refusals, answer.retry_after())
}

/// `api-usage=18/15000` among any other directives.
fn quota(header: &str) -> Option<Quota> {
    let usage = header
        .split([';', ','])
        .find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (used, allowed) = usage.split_once('/')?;
    Some(Quota {
        used: used.trim().parse().ok()?,
        allowed: allowed.trim().parse().ok()?,
    })
}

/// The newest version that both sides know, or the configured one when the org has it.
fn choose_version<'a>(
    offered: impl Iterator<Item = &'a str>,
    wanted: Option<&str>,
) -> Result<String, Fault> {
    let number = |version: &str| -> Option<u32> {
        let (major, minor) = version.split_once('.')?;
        (minor == "0").then(|| major.parse().ok()).flatten()
    };
    let offered: Vec<u32> = offered.filter_map(number).collect();
    let chosen = match wanted {
        Some(wanted) => number(wanted).filter(|wanted| offered.contains(wanted)),
        None => offered
            .iter()
            .copied()
            .filter(|version| (OLDEST_VERSION..=NEWEST_VERSION).contains(version))
            .max(),
    };
    chosen.map(|version| format!("{version}.0")).ok_or_else(|| {
        let message = match wanted {
            Some(wanted) => format!("versions: the org does not offer the configured API version {}", faults::clean(wanted)),
            None => format!("versions: the org offers no API version from {OLDEST_VERSION}.0 to {NEWEST_VERSION}.0"),
        };
        Fault::new(FaultClass::Rejected, "api-version", message)
    })
}

/// The host for data calls, which the token answer names and the configuration has to allow.
fn session_host(instance: &str, settings: &PlatformSettings) -> Result<Url, Fault> {
    let refused = |what: &str| {
        Fault::new(
            FaultClass::ContractBroken,
            "instance-host",
            format!("login: the instance_url {what}; see allowed_hosts"),
        )
    };
    let url = Url::parse(instance).map_err(|_| refused("cannot be read"))?;
    http::may_lead(&url, &settings.login_url, &settings.allowed_hosts).map_err(refused)?;
    let mut bare = url;
    bare.set_path("/");
    bare.set_query(None);
    bare.set_fragment(None);
    Ok(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_found_among_other_directives() {
        for header in [
            "api-usage=18/15000",
            "api-bursts=1/750; api-usage=18/15000",
            "api-usage=18/15000;per-app-api-usage=17/250(appName=sync)",
            "per-app-api-usage=17/250(appName=sync), api-usage=18/15000",
        ] {
            assert_eq!(
                quota(header),
                Some(Quota {
                    used: 18,
                    allowed: 15_000
                }),
                "{header}"
            );
        }
        for header in [
            "",
            "api-usage",
            "api-usage=",
            "api-usage=18",
            "api-usage=a/b",
            "api-usage=-1/5",
        ] {
            assert_eq!(quota(header), None, "{header}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let offered = || ["9.0", "50.0", "66.0", "100.0"].into_iter();
        assert_eq!(
            choose_version(offered(), None).unwrap(),
            "66.0",
            "the newest that both sides know"
        );
        assert_eq!(
            choose_version(offered(), Some("50.0")).unwrap(),
            "50.0",
            "the configured one"
        );
        assert_eq!(
            choose_version(offered(), Some("65.0")).unwrap_err().code,
            "api-version"
        );
        assert_eq!(
            choose_version(["31.0"].into_iter(), None).unwrap_err().code,
            "api-version"
        );
        assert_eq!(
            choose_version(["x", "66"].into_iter(), None)
                .unwrap_err()
                .code,
            "api-version"
        );
    }
}
