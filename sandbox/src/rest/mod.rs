//! The REST API of one org, as a function from a request and the org's state to an answer.
//!
//! Nothing here touches sockets or waits: [`crate::server`] reads requests, applies transport faults and sends answers,
//! and `/composite` calls back into [`route`] for its sub-requests.

pub(crate) mod auth;
pub(crate) mod collections;
pub(crate) mod composite;
pub(crate) mod describe;
pub(crate) mod query;
pub(crate) mod replication;
pub(crate) mod rows;
pub(crate) mod values;

use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::faults::{CallKind, Fault};
use crate::org::state::State;
use crate::refusal::Refusal;
use crate::{bulk, soap};

/// Oldest API version that is still served.
pub(crate) const OLDEST_VERSION: u32 = 31;
/// Newest API version.
pub(crate) const NEWEST_VERSION: u32 = 68;
/// Most bytes in a URI (and headers); more is refused with 414 (limits cheat sheet).
pub(crate) const MAX_URI_BYTES: usize = 16_384;

/// A request, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// First value of a query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let query = self.query.as_deref()?;
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a JSON object.
    pub(crate) fn json(&self) -> Result<Map<String, Value>, Refusal> {
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Refusal::json_parser(
                "The HTTP entity body is required to be a JSON object",
            )),
            Err(error) => Err(Refusal::json_parser(format!(
                "Unexpected character or end of input: {error}"
            ))),
        }
    }
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Empty,
    Json(Value),
    /// Content type and bytes.
    Raw(&'static str, Vec<u8>),
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

impl Reply {
    pub(crate) fn empty(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    pub(crate) fn json(status: u16, body: Value) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Body::Json(body),
        }
    }

    pub(crate) fn raw(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Body::Raw(kind, body.into()),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Reply::json(refusal.status, json!([refusal.top()]))
    }
}

/// A request whose sender is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a> {
    /// Id of the user.
    pub(crate) user: &'a str,
    /// The version in the path, such as `66.0`.
    pub(crate) version: &'a str,
}

impl Session<'_> {
    /// `/services/data/vNN.N`.
    pub(crate) fn base(&self) -> String {
        format!("/services/data/v{}", self.version)
    }
}

/// The path's segments behind `/services/data/vNN.N`, percent-decoded; empty segments dropped.
pub(crate) fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| {
            // The form decoder reads `+` as a space, which it is not in a path.
            let protected = segment.replace('+', "%2B");
            url::form_urlencoded::parse(format!("x={protected}").as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        })
        .collect()
}

/// The version and the rest of a data path.
fn split_version(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/services/data/v")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some((&rest[..end], &rest[end..]))
}

fn version_served(version: &str) -> bool {
    version.split_once('.').is_some_and(|(major, minor)| {
        minor == "0"
            && major
                .parse::<u32>()
                .is_ok_and(|major| (OLDEST_VERSION..=NEWEST_VERSION).contains(&major))
    })
}

/// What a request is about.
pub(crate) fn classify(method: &Method, path: &str) -> CallKind {
    let write = *method != Method::GET && *method != Method::HEAD;
    if path.starts_with("/services/Soap/") {
        return CallKind::SoapLogin;
    }
    match path.trim_end_matches('/') {
        "/services/oauth2/token" => return CallKind::Token,
        "/services/oauth2/revoke" => return CallKind::Revoke,
        "/services/oauth2/introspect" => return CallKind::Introspect,
        "/services/data" => return CallKind::Versions,
        _ => {}
    }
    let Some((_, rest)) = split_version(path) else {
        return CallKind::Other;
    };
    let segments = segments(rest);
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => CallKind::Resources,
        ["query"] => CallKind::Query,
        ["queryAll"] => CallKind::QueryAll,
        ["query" | "queryAll", _] => CallKind::QueryMore,
        ["sobjects"] => CallKind::Objects,
        ["sobjects", _, "describe"] | ["sobjects", _] if !write => CallKind::Describe,
        ["sobjects", _, "updated"] => CallKind::Updated,
        ["sobjects", _, "deleted"] => CallKind::Deleted,
        ["sobjects", ..] if write => CallKind::RowWrite,
        ["sobjects", ..] => CallKind::RowRead,
        ["composite", "sobjects", _] if !write || *method == Method::POST => {
            CallKind::CollectionsRead
        }
        ["composite", "sobjects", ..] => CallKind::CollectionsWrite,
        ["composite", "batch"] => CallKind::Batch,
        ["composite"] => CallKind::Composite,
        ["limits"] => CallKind::Limits,
        ["jobs", "query", ..] => CallKind::BulkQuery,
        ["jobs", "ingest", ..] => CallKind::BulkIngest,
        _ => CallKind::Other,
    }
}

/// Serves one request.
pub(crate) fn handle(state: &mut State, call: &Call) -> Reply {
    let kind = classify(&call.method, &call.path);
    let uri_bytes = call.path.len() + call.query.as_ref().map_or(0, String::len);
    if uri_bytes > MAX_URI_BYTES {
        return Reply::raw(
            414,
            "text/html;charset=UTF-8",
            "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>",
        );
    }
    match kind {
        CallKind::Token => return auth::token(state, call),
        CallKind::Revoke => return auth::revoke(state, call),
        CallKind::Introspect => return auth::introspect(state, call),
        CallKind::SoapLogin => return soap::login(state, call),
        CallKind::Versions => return versions(),
        _ => {}
    }
    state.calls.counted += 1;
    let reply = authenticated(state, call, kind).unwrap_or_else(Reply::from);
    if reply.status == 401 {
        state.calls.unauthorised += 1;
    }
    let mut usage = format!(
        "api-usage={}/{}",
        state.calls.counted, state.settings.daily_requests
    );
    if let Some(extra) = &state.settings.limit_info_extra {
        usage.push_str(extra);
    }
    reply.with("Sforce-Limit-Info", usage)
}

fn authenticated(state: &mut State, call: &Call, kind: CallKind) -> Result<Reply, Refusal> {
    let Some((version, rest)) = split_version(&call.path) else {
        return Err(Refusal::not_found());
    };
    if state
        .faults
        .strike(kind, |fault| {
            matches!(fault, Fault::SessionInvalid).then_some(())
        })
        .is_some()
    {
        return Err(Refusal::session());
    }
    let user = auth::user_of(state, call)?;
    if !version_served(version) {
        return Err(Refusal::new(
            404,
            "NOT_FOUND",
            "The requested resource does not exist",
        ));
    }
    if state.calls.counted > state.settings.daily_requests {
        return Err(quota());
    }
    let refused = state.faults.strike(kind, |fault| match fault {
        Fault::QuotaUsedUp => Some(quota()),
        Fault::ConcurrencyRefusal => Some(Refusal::new(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
        )),
        _ => None,
    });
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    route(
        state,
        call,
        kind,
        rest,
        Session {
            user: &user,
            version,
        },
    )
}

fn quota() -> Refusal {
    Refusal::new(
        403,
        "REQUEST_LIMIT_EXCEEDED",
        "TotalRequests Limit exceeded.",
    )
}

/// Serves the resource at `rest`, the path behind the version.
pub(crate) fn route(
    state: &mut State,
    call: &Call,
    kind: CallKind,
    rest: &str,
    session: Session<'_>,
) -> Result<Reply, Refusal> {
    let segments = segments(rest);
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => Ok(resources(session)),
        ["query"] => query::first(state, call, session, false),
        ["queryAll"] => query::first(state, call, session, true),
        ["query" | "queryAll", locator] => query::more(state, call, kind, session, locator),
        ["sobjects"] => Ok(describe::objects(state, session)),
        ["sobjects", object] if call.method == Method::GET => {
            describe::basic(state, session, object)
        }
        ["sobjects", object] => rows::create(state, call, session, object),
        ["sobjects", object, "describe"] => describe::object(state, call, session, object),
        ["sobjects", object, "updated"] => replication::updated(state, call, kind, object),
        ["sobjects", object, "deleted"] => replication::deleted(state, call, kind, object),
        ["sobjects", object, id] => rows::by_id(state, call, session, object, id),
        ["sobjects", object, field, value] => {
            rows::by_external_id(state, call, session, object, field, value)
        }
        ["composite"] => composite::composite(state, call, session),
        ["composite", "batch"] => composite::batch(state, call, session),
        ["composite", "sobjects"] => collections::write(state, call, session),
        ["composite", "sobjects", object] => collections::on_object(state, call, session, object),
        ["composite", "sobjects", object, field] => {
            collections::upsert(state, call, session, object, field)
        }
        ["limits"] => limits(state),
        ["jobs", "query", rest @ ..] => bulk::query::serve(state, call, session, rest),
        ["jobs", "ingest", rest @ ..] => bulk::ingest::serve(state, call, session, rest),
        _ => Err(Refusal::not_found()),
    }
}

fn versions() -> Reply {
    let list: Vec<Value> = (OLDEST_VERSION..=NEWEST_VERSION)
        .map(|major| {
            let (season, year) = match major % 3 {
                1 => ("Summer", major / 3 + 4),
                2 => ("Winter", major / 3 + 5),
                _ => ("Spring", major / 3 + 4),
            };
            json!({
                "label": format!("{season} '{year:02}"),
                "url": format!("/services/data/v{major}.0"),
                "version": format!("{major}.0"),
            })
        })
        .collect();
    Reply::json(200, Value::Array(list))
}

fn resources(session: Session<'_>) -> Reply {
    let base = session.base();
    let map: Map<String, Value> = [
        "sobjects",
        "query",
        "queryAll",
        "composite",
        "limits",
        "jobs",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), json!(format!("{base}/{name}"))))
    .collect();
    Reply::json(200, Value::Object(map))
}

fn limits(state: &State) -> Result<Reply, Refusal> {
    if !state.settings.limits_readable {
        return Err(Refusal::new(
            403,
            "FORBIDDEN",
            "You don't have permission to view limits",
        ));
    }
    let pair = |max: u64, used: u64| json!({"Max": max, "Remaining": max.saturating_sub(used)});
    let queries = state.calls.of(CallKind::BulkQuery);
    let ingests = state.calls.of(CallKind::BulkIngest);
    Ok(Reply::json(
        200,
        json!({
            "DailyApiRequests": pair(state.settings.daily_requests, state.calls.counted),
            "DailyBulkApiBatches": pair(15_000, ingests),
            "DailyBulkV2QueryJobs": pair(10_000, queries),
            "DailyBulkV2QueryFileStorageMB": pair(976_562, 0),
            "DailyAsyncApexExecutions": pair(250_000, 0),
            "DataStorageMB": pair(10_240, 0),
            "FileStorageMB": pair(10_240, 0),
            "SingleEmail": pair(5_000, 0),
            "MassEmail": pair(5_000, 0),
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_labels_follow_the_release_calendar() {
        let Body::Json(list) = versions().body else {
            panic!("versions are JSON")
        };
        let label = |version: &str| {
            let found = list
                .as_array()
                .and_then(|all| all.iter().find(|one| one["version"] == version));
            found.map(|one| one["label"].clone())
        };
        assert_eq!(label("64.0"), Some(json!("Summer '25")));
        assert_eq!(label("65.0"), Some(json!("Winter '26")));
        assert_eq!(label("66.0"), Some(json!("Spring '26")));
        assert_eq!(label("68.0"), Some(json!("Winter '27")));
    }

    #[test]
    fn a_path_says_what_a_call_is_about() {
        let cases = [
            (Method::GET, "/services/data/", CallKind::Versions),
            (Method::GET, "/services/data/v66.0/query/", CallKind::Query),
            (
                Method::GET,
                "/services/data/v66.0/query/0r8x-2000",
                CallKind::QueryMore,
            ),
            (
                Method::PATCH,
                "/services/data/v66.0/composite/sobjects",
                CallKind::CollectionsWrite,
            ),
            (
                Method::POST,
                "/services/data/v66.0/composite/sobjects/Contact",
                CallKind::CollectionsRead,
            ),
            (
                Method::PATCH,
                "/services/data/v66.0/composite/sobjects/Contact/X__c",
                CallKind::CollectionsWrite,
            ),
            (
                Method::GET,
                "/services/data/v66.0/sobjects/Contact/updated/",
                CallKind::Updated,
            ),
            (
                Method::PATCH,
                "/services/data/v66.0/sobjects/Contact/003",
                CallKind::RowWrite,
            ),
        ];
        for (method, path, kind) in cases {
            assert_eq!(classify(&method, path), kind, "{method} {path}");
        }
    }
}
