//! The web API as a function from a request and the tenant's state to an answer.
//!
//! Online, host and tenant lead to the API (`/{custid}/api`), and login and tenant state answer beside it; onsite it
//! lies under the web application (`/{app}/api`). Paths are compared without regard to case.

use axum::http::{HeaderMap, Method};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::errors::{Trouble, model_error};
use super::state::{API_USER, State};
use super::{agents, archive, auth, list_api, lists, person_api, webhook_api};
use crate::faults::{CallKind, Fault};
use crate::rest::{Call, Reply, segments};

/// Most bytes in path and query.
pub(crate) const MAX_URI_BYTES: usize = 16_384;
/// Version that the server claims.
pub(crate) const VERSION: &str = "12.1.1412.0";
/// How .NET prints a date that is not there.
const MIN_VALUE: &str = "0001-01-01T00:00:00";
/// The functional rights that matter here, all of which a system user has.
const RIGHTS: [&str; 3] = [
    "can-manage-person-consent",
    "mailing-consent-override",
    "allow-bulk-update",
];

/// Who asks, and how the answer is to be put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) associate: i64,
    /// Product code of the language; `None`: names in all languages.
    pub(crate) language: Option<&'static str>,
    /// Times get a zone.
    pub(crate) zone: bool,
    /// `MinValue` gets one too.
    min_value_zone: bool,
}

impl Asker {
    fn new(associate: i64, headers: &HeaderMap, min_value_zone: bool) -> Asker {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let language = text("so-language").or_else(|| text("accept-language"));
        let zone = text("so-timezone").is_some_and(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case("includetzoffset"))
        });
        Asker {
            associate,
            language: language.and_then(lists::language),
            zone,
            min_value_zone,
        }
    }

    /// A time as this asker sees it: UTC in whole seconds, without a zone unless asked for.
    pub(crate) fn time(&self, at: Option<DateTime<Utc>>) -> String {
        match at {
            Some(at) => {
                let zone = if self.zone { "Z" } else { "" };
                format!("{}{zone}", at.format("%Y-%m-%dT%H:%M:%S"))
            }
            None if self.zone && self.min_value_zone => format!("{MIN_VALUE}Z"),
            None => MIN_VALUE.to_owned(),
        }
    }
}

impl State {
    /// Address of the login host.
    pub(crate) fn login(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Address of the tenant or the web application.
    pub(crate) fn root(&self) -> String {
        if self.settings.onsite {
            format!("{}/{}", self.login(), self.settings.onsite_app)
        } else {
            let host = &self.settings.api_host;
            format!("http://{host}:{}/{}", self.port, self.custid)
        }
    }

    /// Address of the API.
    pub(crate) fn base(&self) -> String {
        format!("{}/api", self.root())
    }
}

/// What a request is about.
pub(crate) fn classify(method: &Method, path: &str) -> CallKind {
    let read = *method == Method::GET || *method == Method::HEAD;
    let segments: Vec<String> = segments(path)
        .into_iter()
        .map(|segment| segment.to_ascii_lowercase())
        .collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["api", "state", ..] => CallKind::TenantState,
        ["login", "api", "partnersystemuser", ..] => CallKind::SystemUserLogin,
        ["login", "common", "oauth", "tokens"] => CallKind::Token,
        ["login", ..] => CallKind::LoginMetadata,
        [_, "api"] | [_, "api", "v1"] | [_, "api", "v1", "user" | "preference", ..] => {
            CallKind::Principal
        }
        [_, "api", "v1", "list" | "mdolist", ..] => CallKind::Lists,
        [_, "api", "v1", "person", _, "consent", ..] if read => CallKind::ConsentRead,
        [_, "api", "v1", "person", _, "consent", ..] => CallKind::ConsentWrite,
        [_, "api", "v1", "person"] if read => CallKind::Archive,
        [_, "api", "v1", "person", ..] if read => CallKind::PersonRead,
        [_, "api", "v1", "person", ..] => CallKind::PersonWrite,
        [_, "api", "v1", "archive", ..] => CallKind::Archive,
        [_, "api", "v1", "agents", ..] => CallKind::Agent,
        [_, "api", "v1", "webhook", ..] => CallKind::Webhook,
        _ => CallKind::Other,
    }
}

/// Serves one request.
pub(crate) fn handle(state: &mut State, call: &Call, kind: CallKind) -> Reply {
    if call.path.len() + call.query.as_ref().map_or(0, String::len) > MAX_URI_BYTES {
        return Reply::empty(414);
    }
    let measured = ["content-length", "transfer-encoding"];
    let sends = matches!(call.method, Method::POST | Method::PUT);
    if sends && measured.iter().all(|name| call.header(name).is_none()) {
        // The web server insists, also where there is nothing to send.
        return Reply::raw(411, "text/html;charset=UTF-8", "<h2>Length Required</h2>");
    }
    let segments = segments(&call.path);
    let names: Vec<String> = segments
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let post = call.method == Method::POST;
    let online = !state.settings.onsite;
    match names.as_slice() {
        ["api", "state", _] if online => tenant_state(state, &segments[2]),
        ["login", "api", "partnersystemuser", "authenticate"] if online && post => {
            auth::system_user(state, call)
        }
        ["login", ".well-known", "openid-configuration"] if online => auth::metadata(state),
        ["login", ".well-known", "jwks"] if online => auth::jwks(),
        ["login", "common", "oauth", "authorize"] if online => auth::authorize(state, call),
        ["login", "common", "oauth", "tokens"] if online && post => auth::tokens(state, call),
        [first, "api", ..] => {
            let wanted = if online {
                &state.custid
            } else {
                &state.settings.onsite_app
            };
            if !first.eq_ignore_ascii_case(wanted) {
                return not_here();
            }
            let reply = api(state, call, kind, &segments[2..]);
            if reply.status == 401 {
                state.calls.unauthorised += 1;
            }
            reply
        }
        _ => not_here(),
    }
}

fn not_here() -> Reply {
    Reply::raw(
        404,
        "text/html;charset=UTF-8",
        "<html><head><title>404 - File or directory not found.</title></head></html>",
    )
}

/// `GET /api/state/{custid}`, which needs no login.
fn tenant_state(state: &State, custid: &str) -> Reply {
    if !custid.eq_ignore_ascii_case(&state.custid) {
        return not_here();
    }
    let settings = &state.settings;
    let until = state.now() + TimeDelta::seconds(settings.status_valid_secs);
    let mut body = json!({
        "ContextIdentifier": state.custid,
        "Endpoint": state.root(),
        "State": settings.status,
        "IsRunning": settings.status.is_running(),
        "ValidUntil": until.format("%Y-%m-%dT%H:%M:%S.0000000Z").to_string(),
    });
    if settings.status_names_api {
        body["Api"] = json!(state.base());
        body["Version"] = json!("Release_12.1_2026.01.13-01");
    }
    Reply::json(200, body)
}

fn api(state: &mut State, call: &Call, kind: CallKind, rest: &[String]) -> Reply {
    if wrong_host(state, call, kind) {
        return Reply::raw(
            421,
            "text/plain; charset=utf-8",
            "The request was directed to the wrong subdomain. Look up the tenant's address.",
        );
    }
    if !state.settings.onsite && !state.settings.status.is_running() {
        return Reply::raw(
            503,
            "text/html;charset=UTF-8",
            "<html><body>The tenant is not available right now.</body></html>",
        );
    }
    if rest.is_empty() {
        return version(state, call);
    }
    state.calls.counted += 1;
    let revoked = |fault: &Fault| matches!(fault, Fault::SessionInvalid).then_some(());
    if state.faults.strike(kind, revoked).is_some() {
        return model_error(401, "Authorization has been denied for this request.", "");
    }
    let associate = match auth::sender(state, call) {
        Ok(associate) => associate,
        Err(reply) => return reply,
    };
    let asker = Asker::new(associate, &call.headers, state.settings.min_value_zone);
    let null = |fault: &Fault| matches!(fault, Fault::NullAnswer).then_some(());
    if state.faults.strike(kind, null).is_some() {
        return Reply::json(200, Value::Null);
    }
    match rest {
        [version, rest @ ..] if version.eq_ignore_ascii_case("v1") => {
            route(state, call, rest, &asker).unwrap_or_else(Reply::from)
        }
        _ => no_resource(call),
    }
}

/// `GET {base}`, which needs no login: JSON only for those who ask for it.
fn version(state: &State, call: &Call) -> Reply {
    let accepts = call.header("accept").unwrap_or_default();
    if !accepts.contains("json") {
        let page = format!("<html><body>SuperOffice Web API {VERSION}</body></html>");
        return Reply::raw(200, "text/html;charset=UTF-8", page);
    }
    Reply::json(
        200,
        json!({
            "v1": format!("{}/v1", state.base()),
            "NetServerVersion": VERSION,
            "Version": "v1",
        }),
    )
}

fn wrong_host(state: &mut State, call: &Call, kind: CallKind) -> bool {
    let moved = |fault: &Fault| matches!(fault, Fault::WrongHost).then_some(());
    if state.faults.strike(kind, moved).is_some() {
        return true;
    }
    let host = call.header("host").unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    !state.settings.onsite && !host.eq_ignore_ascii_case(&state.settings.api_host)
}

/// ASP.NET's answer to a path that leads nowhere.
pub(crate) fn no_resource(call: &Call) -> Reply {
    let message = "No HTTP resource was found that matches the request URI.";
    model_error(
        404,
        message,
        &format!("No type was found for {}", call.path),
    )
}

/// ASP.NET's answer to a method that a resource does not have.
pub(crate) fn no_method(call: &Call) -> Reply {
    let message = format!(
        "The requested resource does not support http method '{}'.",
        call.method
    );
    model_error(405, &message, "")
}

fn route(state: &mut State, call: &Call, rest: &[String], asker: &Asker) -> Result<Reply, Trouble> {
    let Some((resource, rest)) = rest.split_first() else {
        return Ok(Reply::json(200, resources(state)));
    };
    match resource.to_ascii_lowercase().as_str() {
        "user" if rest.len() == 1 && rest[0].eq_ignore_ascii_case("currentprincipal") => {
            Ok(Reply::json(200, principal(state, asker)))
        }
        "preference" => preference(state, call, rest),
        "list" => list_api::list(state, call, rest, asker),
        "mdolist" => list_api::mdo_list(state, call, rest, asker),
        "person" if rest.is_empty() && call.method == Method::GET => {
            archive::serve(state, call, "Person", asker)
        }
        "person" => person_api::serve(state, call, rest, asker),
        "archive" => match rest {
            [provider] => archive::serve(state, call, provider, asker),
            _ => Ok(no_resource(call)),
        },
        "agents" => agents::serve(state, call, rest, asker),
        "webhook" => webhook_api::serve(state, call, rest, asker),
        _ => Ok(no_resource(call)),
    }
}

/// `GET {base}/v1`: what there is.
fn resources(state: &State) -> Value {
    let base = state.base();
    let names = [
        "Agents",
        "Archive",
        "List",
        "MDOList",
        "Person",
        "Preference",
        "User",
        "Webhook",
    ];
    names
        .iter()
        .map(|name| ((*name).to_owned(), json!(format!("{base}/v1/{name}"))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// `SoPrincipalCarrier`, in part.
fn principal(state: &State, asker: &Asker) -> Value {
    let associate = state.associate(asker.associate);
    json!({
        "AssociateId": asker.associate,
        "Associate": associate.map_or("", |associate| associate.name),
        "FullName": associate.map_or(API_USER, |associate| associate.full_name),
        "UserName": state.auth.username(),
        "UserType": if state.settings.onsite { "InternalAssociate" } else { "SystemUser" },
        "PersonId": 0,
        "ContactId": 0,
        "IsPersonContact": false,
        "DatabaseContextIdentifier": if state.settings.onsite { "Default" } else { state.custid.as_str() },
        "FunctionRights": RIGHTS,
        "Licenses": ["SuperOffice.user"],
        "TableRight": null,
        "FieldProperties": {},
    })
}

/// `GET {base}/v1/Preference/{section}/{key}`: the defaults for consent.
fn preference(state: &State, call: &Call, rest: &[String]) -> Result<Reply, Trouble> {
    let [section, key] = rest else {
        return Ok(no_resource(call));
    };
    if call.method != Method::GET {
        return Ok(no_method(call));
    }
    let truth = |on: bool| if on { "True" } else { "False" };
    let value = match key.to_ascii_lowercase().as_str() {
        "gdprusedefaultsfornew" => truth(state.settings.consent_for_new),
        "gdprdefaultlegalbase" | "importlegalbase" => "61F",
        "gdprdefaultsource" | "nomailings_consentsourcekey" => "USER",
        "importconsentsource" => "IMPORT",
        "importconsentcomment" => "",
        "nomailings_consentpurposekey" => "EMARKETING",
        "nomailings_legalbasekey" => "WITHDRAWN",
        _ => return Err(Trouble::not_found("Preference", key)),
    };
    if !section.eq_ignore_ascii_case("gdpr") {
        return Err(Trouble::not_found("Preference", section));
    }
    Ok(Reply::json(
        200,
        json!({
            "PreferenceId": 0,
            "Level": "HardDefault",
            "TargetId": 0,
            "Section": "GDPR",
            "Key": key,
            "RawValue": value,
            "DisplayValue": value,
            "DisplayTooltip": "",
            "DisplayType": "Text",
            "TableRight": null,
            "FieldProperties": {},
        }),
    ))
}
