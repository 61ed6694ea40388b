//! The account over HTTP: the token endpoint, `Service.asmx`, and REST as far as it says no.
//!
//! SOAP actions are Retrieve, Update and Execute; Create is understood and refused. The public REST reference has no
//! resource for the status of subscribers, so nothing is served there.

mod envelope;
mod execute;
mod filter;
pub(crate) mod retrieve;
mod rows;
pub(crate) mod token;
mod update;
mod xml;

use axum::http::{HeaderMap, Method};
use serde_json::json;

use super::Shared;
use super::state::State;
use crate::clock;
use crate::faults::{CallKind, Fault};
use crate::rest::{Call, Reply};
use crate::server::{self, Answer, Before, Site};
use envelope::{Ids, PARTNER, SoapFault};
use token::{Token, Worth};
use xml::Element;

const SERVICE: &str = "/service.asmx";
const READ: &str = "list_and_subscribers_read";
const WRITE: &str = "list_and_subscribers_write";
const ACCOUNTS: &str = "accounts_read";

/// Whether a fault has any meaning for an account.
pub(crate) fn strikes(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::ClockSkew { .. }
            | Fault::ShortPages { .. }
            | Fault::CursorExpiry
            | Fault::LoopingPages
            | Fault::UnavailableHtml
            | Fault::HtmlSuccess
            | Fault::TooManyRequests { .. }
            | Fault::SessionInvalid
            | Fault::RevokeTokens
            | Fault::TokenEndpointDown
            | Fault::TokenRefused { .. }
            | Fault::CutBefore
            | Fault::CutAfter
            | Fault::Stall { .. }
            | Fault::SlowDrip { .. }
            | Fault::TruncatedBody
            | Fault::GzipBomb { .. }
            | Fault::Redirect { .. }
            | Fault::Unavailable { .. }
            | Fault::LoginFailed
            | Fault::NotPermitted
            | Fault::SystemException { .. }
            | Fault::OverallError { .. }
            | Fault::UpdateRefused { .. }
    )
}

/// What a request is about.
fn classify(path: &str, headers: &HeaderMap) -> CallKind {
    if path == "/v2/token" {
        return CallKind::Token;
    }
    if !path.eq_ignore_ascii_case(SERVICE) {
        return CallKind::Other;
    }
    match envelope::action(headers).as_deref() {
        Some("Retrieve") => CallKind::SoapRetrieve,
        Some("Update") => CallKind::SoapUpdate,
        Some("Execute") => CallKind::SoapExecute,
        _ => CallKind::Other,
    }
}

impl Site for Shared {
    fn classify(&self, _method: &Method, path: &str, headers: &HeaderMap) -> CallKind {
        classify(path, headers)
    }

    fn arrive(&self, kind: CallKind) -> Option<Before> {
        let mut state = self.lock_as_it_is();
        *state.calls.by_kind.entry(kind).or_default() += 1;
        state.faults.strike(kind, before)
    }

    fn answer(&self, call: &Call, kind: CallKind) -> Answer {
        let mut state = if kind == CallKind::Token {
            self.lock_as_it_is()
        } else {
            self.lock()
        };
        let mut reply = handle(&mut state, call, kind);
        let lost = |fault: &Fault| match fault {
            Fault::SystemException { processed: true } => Some(outage()),
            _ => None,
        };
        if let Some(instead) = state.faults.strike(kind, lost) {
            reply = instead;
        }
        Answer {
            reply,
            struck: state.faults.strike(kind, server::after),
            date: clock::http_date(state.now()),
            raw: Vec::new(),
        }
    }

    fn date(&self) -> String {
        clock::http_date(self.lock_as_it_is().now())
    }
}

/// What strikes before a call is processed.
fn before(fault: &Fault) -> Option<Before> {
    let reply = match fault {
        Fault::SystemException { processed: false } => outage(),
        Fault::LoginFailed => SoapFault::Security("Login failed").into(),
        Fault::SessionInvalid => SoapFault::Security("Token Expired").into(),
        Fault::NotPermitted => not_permitted(),
        other => return server::before(other),
    };
    Some(Before::Answer(reply))
}

fn outage() -> Reply {
    SoapFault::Server(2, "An unexpected error occurred.".to_owned()).into()
}

fn not_permitted() -> Reply {
    SoapFault::Client(11, "Authorization Failure.".to_owned()).into()
}

fn handle(state: &mut State, call: &Call, kind: CallKind) -> Reply {
    let post = call.method == Method::POST;
    if call.path == "/v2/token" {
        return if post {
            token::grant(state, call)
        } else {
            Reply::empty(405)
        };
    }
    if call.path.eq_ignore_ascii_case(SERVICE) {
        return if post {
            soap(state, call, kind).unwrap_or_else(Reply::from)
        } else {
            Reply::empty(405)
        };
    }
    rest(state, call)
}

/// Any path of REST: nothing for those who may ask, and the vendor's words for all others.
fn rest(state: &mut State, call: &Call) -> Reply {
    let bearer = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let now = state.now();
    let worth = bearer.map(|bearer| state.tokens.worth(bearer, now));
    if let Some(Worth::Good(_)) = worth {
        return Reply::json(404, json!({"message": "Not Found"}));
    }
    state.calls.unauthorised += 1;
    Reply::json(
        401,
        json!({
            "documentation": "https://developer.salesforce.com/docs",
            "errorcode": 0,
            "message": "Not Authorized",
        }),
    )
}

fn soap(state: &mut State, call: &Call, kind: CallKind) -> Result<Reply, SoapFault> {
    let client = |words: &str| SoapFault::Client(2, words.to_owned());
    let request = envelope::open(&call.headers, &call.body)
        .ok_or_else(|| client("The request is not a SOAP envelope around one element."))?;
    let now = state.now();
    let token = match &request.token {
        Some(token) => state.tokens.worth(token, now),
        None => Worth::Unknown,
    };
    let token = match token {
        Worth::Good(token) => token,
        Worth::Expired => {
            state.calls.expired += 1;
            return Err(SoapFault::Security("Token Expired"));
        }
        Worth::Unknown => {
            state.calls.unauthorised += 1;
            return Err(SoapFault::Security("Login failed"));
        }
    };
    let payload = &request.payload;
    let (answer, content) = match request.action.as_str() {
        "Retrieve" if payload.is(PARTNER, "RetrieveRequestMsg") => (
            "RetrieveResponse",
            retrieve::retrieve(state, &token, kind, payload)?,
        ),
        "Update" if payload.is(PARTNER, "UpdateRequest") => {
            allowed(&token, WRITE)?;
            (
                "UpdateResponse",
                update::update(state, &token, kind, payload),
            )
        }
        "Create" if payload.is(PARTNER, "CreateRequest") => {
            ("CreateResponse", update::refuse_create(state, payload))
        }
        "Execute" if payload.is(PARTNER, "ExecuteRequestMsg") => {
            allowed(&token, WRITE)?;
            ("ExecuteResponse", execute::execute(state, &token, payload))
        }
        "Retrieve" | "Update" | "Create" | "Execute" => {
            return Err(client("The body does not fit the SOAPAction."));
        }
        _ => return Err(client("The SOAPAction is not supported.")),
    };
    Ok(envelope::answer(answer, &content, &Ids::new(), now))
}

/// Whether the token has a scope.
fn allowed(token: &Token, scope: &str) -> Result<(), SoapFault> {
    if token.scopes.iter().any(|one| one == scope) {
        Ok(())
    } else {
        Err(SoapFault::Client(11, "Authorization Failure.".to_owned()))
    }
}

/// The unit that `Client/ID` names, or the token's own; `None` when the token does not reach it.
fn client(state: &State, token: &Token, object: &Element) -> Option<u64> {
    let named = object
        .first("Client")
        .and_then(|client| client.value("ID").or_else(|| client.value("ClientID")));
    match named {
        None => Some(token.mid),
        Some(text) => reach(state, token, text.parse().ok()?),
    }
}

/// The unit with this number, when the token reaches it.
fn reach(state: &State, token: &Token, mid: u64) -> Option<u64> {
    let open = mid == token.mid
        || token.mid == super::units::ENTERPRISE
        || !state.settings.client_ids_need_parent;
    (open && state.units.get(mid).is_some()).then_some(mid)
}
