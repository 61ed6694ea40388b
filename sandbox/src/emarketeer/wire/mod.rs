//! The HTTP API of an account, as a function from a request and the account's state to an answer.
//!
//! The vendor has three hosts, whose paths do not overlap, so all of them are served at one address: the consent and
//! subscription modules (`/consent-public/v1`, `/subscriptions/v1`), contacts and engagement (`/contacts-api/v1`,
//! `/engagements-api/v1`), and API 1.0 (`/api/{API_ID}`). The modules stand behind an AWS API gateway, which refuses what
//! it does not know in its own words before the application sees it.

mod consents;
mod contacts;
pub(crate) mod faults;
mod legacy;
mod shape;
mod signals;
mod subscriptions;

use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::Shared;
use super::keys::Module;
use super::sendouts::Sendout;
use super::state::State;
use crate::clock;
use crate::faults::{CallKind, Fault};
use crate::rest::{Call, Reply};
use crate::server::{self, Answer, Before, Site};

/// Why a call is not answered as asked.
#[derive(Clone, Debug)]
pub(crate) enum No {
    /// The gateway's refusal: status and message.
    Gateway(u16, &'static str),
    /// The application's: 400 with a message for developers and one for users.
    Invalid(String),
}

impl No {
    pub(crate) fn invalid(message: impl Into<String>) -> No {
        No::Invalid(message.into())
    }
}

impl From<No> for Reply {
    fn from(no: No) -> Reply {
        match no {
            No::Gateway(status, message) => Reply::json(status, json!({"message": message})),
            No::Invalid(message) => application_error(400, &message),
        }
    }
}

/// The application's way of saying no.
fn application_error(status: u16, developer: &str) -> Reply {
    let user = if status < 500 {
        "The request is not valid."
    } else {
        "Something went wrong."
    };
    Reply::json(
        status,
        json!({"developerMessage": developer, "userMessage": user}),
    )
}

pub(crate) type Outcome = Result<Reply, No>;

const FORBIDDEN: No = No::Gateway(403, "Forbidden");
const NO_SUCH_PATH: No = No::Gateway(403, "Missing Authentication Token");

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    MasterData(super::Kind),
    Consents,
    Filter,
    History,
    Create,
    FindContacts,
    SaveContacts,
    DeleteContacts,
    CustomFields,
    Lists,
    List(u64),
    Subscriptions,
    Campaigns,
    Signals,
    Sendouts,
    Sendout(u64),
    Legacy,
}

impl Resource {
    /// The gateway knows a resource by method and exact path.
    fn of(method: &Method, path: &str) -> Option<Resource> {
        let get = *method == Method::GET;
        let post = *method == Method::POST;
        let delete = *method == Method::DELETE;
        let number = |text: &str| text.parse().ok();
        let found = match path {
            "/consent-public/v1/purposes" if get => Resource::MasterData(super::Kind::Purpose),
            "/consent-public/v1/legalBases" if get => Resource::MasterData(super::Kind::LegalBasis),
            "/consent-public/v1/sources" if get => Resource::MasterData(super::Kind::Source),
            "/consent-public/v1/consents" if get => Resource::Consents,
            "/consent-public/v1/consents" if post => Resource::Create,
            "/consent-public/v1/consents/filter" if get => Resource::Filter,
            "/consent-public/v1/consents/history" if get => Resource::History,
            "/contacts-api/v1/contacts" if get => Resource::FindContacts,
            "/contacts-api/v1/contacts" if post => Resource::SaveContacts,
            "/contacts-api/v1/contacts/delete" if post => Resource::DeleteContacts,
            "/contacts-api/v1/contacts/customFields" if get => Resource::CustomFields,
            "/contacts-api/v1/lists/" if get || post || delete => Resource::Lists,
            "/subscriptions/v1/subscriptions" if get || post || delete => Resource::Subscriptions,
            "/subscriptions/v1/campaigns" if get => Resource::Campaigns,
            "/engagements-api/v1/signals" if post => Resource::Signals,
            "/_sim/sendouts" if post => Resource::Sendouts,
            _ if path.starts_with("/api/") && (get || post) => Resource::Legacy,
            _ => {
                if let Some(id) = path.strip_prefix("/contacts-api/v1/lists/") {
                    (get || post || delete).then_some(Resource::List(number(id)?))?
                } else {
                    let id = path.strip_prefix("/_sim/sendouts/")?;
                    get.then_some(Resource::Sendout(number(id)?))?
                }
            }
        };
        Some(found)
    }

    /// The module it belongs to; `None`: it takes no API key.
    fn module(self) -> Option<Module> {
        match self {
            Resource::MasterData(_)
            | Resource::Consents
            | Resource::Filter
            | Resource::History
            | Resource::Create => Some(Module::Consent),
            Resource::FindContacts
            | Resource::SaveContacts
            | Resource::DeleteContacts
            | Resource::CustomFields
            | Resource::Lists
            | Resource::List(_) => Some(Module::Contact),
            Resource::Subscriptions | Resource::Campaigns => Some(Module::Subscription),
            Resource::Signals => Some(Module::Signals),
            Resource::Sendouts | Resource::Sendout(_) | Resource::Legacy => None,
        }
    }
}

/// What a request is about.
pub(crate) fn classify(method: &Method, path: &str) -> CallKind {
    match Resource::of(method, path) {
        Some(Resource::MasterData(_)) => CallKind::MasterData,
        Some(Resource::Consents) => CallKind::ConsentList,
        Some(Resource::Filter) => CallKind::ConsentFilter,
        Some(Resource::History) => CallKind::ConsentHistory,
        Some(Resource::Create) => CallKind::ConsentCreate,
        Some(Resource::FindContacts | Resource::CustomFields) => CallKind::ContactFind,
        Some(Resource::SaveContacts) => CallKind::ContactSave,
        Some(Resource::DeleteContacts) => CallKind::ContactDelete,
        Some(Resource::Lists | Resource::List(_)) => CallKind::ContactLists,
        Some(Resource::Subscriptions | Resource::Campaigns) => CallKind::Subscriptions,
        Some(Resource::Signals) => CallKind::Signals,
        Some(Resource::Sendouts | Resource::Sendout(_)) => CallKind::Simulation,
        Some(Resource::Legacy) if legacy::writes(path) => CallKind::LegacyWrite,
        Some(Resource::Legacy) => CallKind::LegacyRead,
        None => CallKind::Other,
    }
}

impl Site for Shared {
    fn classify(&self, method: &Method, path: &str, _headers: &HeaderMap) -> CallKind {
        classify(method, path)
    }

    fn arrive(&self, kind: CallKind) -> Option<Before> {
        let mut state = self.lock_as_it_is();
        *state.calls.by_kind.entry(kind).or_default() += 1;
        state.faults.strike(kind, faults::before)
    }

    fn answer(&self, call: &Call, kind: CallKind) -> Answer {
        let mut state = self.lock();
        let mut reply = handle(&mut state, call, kind);
        let instead = |fault: &Fault| faults::instead(fault, &reply);
        if let Some(instead) = state.faults.strike(kind, instead) {
            reply = instead;
        }
        let struck = state.faults.strike(kind, server::after);
        Answer {
            reply,
            struck,
            date: clock::http_date(state.now()),
            raw: Vec::new(),
        }
    }

    fn date(&self) -> String {
        clock::http_date(self.lock_as_it_is().now())
    }
}

/// Processes a request. A gateway that gets no answer may try again, so that the application sees the request twice.
fn handle(state: &mut State, call: &Call, kind: CallKind) -> Reply {
    let twice = kind == CallKind::ConsentCreate
        && state
            .faults
            .strike(kind, |fault| {
                matches!(fault, Fault::ProcessedTwice).then_some(())
            })
            .is_some();
    if twice && let Err(no) = serve(state, call) {
        return no.into();
    }
    serve(state, call).unwrap_or_else(Reply::from)
}

fn serve(state: &mut State, call: &Call) -> Outcome {
    let Some(resource) = Resource::of(&call.method, &call.path) else {
        return Err(NO_SUCH_PATH);
    };
    if let Some(module) = resource.module()
        && !opens(state, call, module)
    {
        state.calls.forbidden += 1;
        return Err(FORBIDDEN);
    }
    match resource {
        Resource::MasterData(kind) => consents::master_data(state, call, kind),
        Resource::Consents => consents::list(state, call),
        Resource::Filter => consents::filter(state, call),
        Resource::History => consents::history(state, call),
        Resource::Create => consents::create(state, call),
        Resource::FindContacts => contacts::find(state, call),
        Resource::SaveContacts => contacts::save(state, call),
        Resource::DeleteContacts => contacts::delete(state, call),
        Resource::CustomFields => contacts::custom_fields(state, call),
        Resource::Lists => contacts::lists(state, call),
        Resource::List(id) => contacts::list(state, call, id),
        Resource::Subscriptions => subscriptions::serve(state, call),
        Resource::Campaigns => subscriptions::campaigns(state, call),
        Resource::Signals => signals::take(state, call),
        Resource::Legacy => Ok(legacy::serve(state, call)),
        Resource::Sendouts => {
            let sendout: Sendout = serde_json::from_slice(&call.body)
                .map_err(|error| No::invalid(error.to_string()))?;
            let planned = state
                .plan_sendout(sendout)
                .map_err(|error| No::invalid(error.to_string()))?;
            Ok(Reply::json(200, json!(planned)))
        }
        Resource::Sendout(id) => match state.sendouts.get(id) {
            Some(sendout) => Ok(Reply::json(200, json!(sendout))),
            None => Err(NO_SUCH_PATH),
        },
    }
}

/// Whether the call's key opens the module.
fn opens(state: &State, call: &Call, module: Module) -> bool {
    let key = state.keys.of(module, state.settings.key_per_module);
    let bearer_taken = match module {
        Module::Signals => state.settings.bearer_on_signals,
        Module::Consent => state.settings.bearer_on_consent,
        Module::Contact | Module::Subscription => false,
    };
    let bearer = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    call.header("x-api-key") == Some(key) || (bearer_taken && bearer == Some(key))
}

/// The body as JSON.
fn json_body(call: &Call) -> Result<Value, No> {
    serde_json::from_slice(&call.body)
        .map_err(|error| No::invalid(format!("the body is not JSON: {error}")))
}

/// Query parameters that are there, by their names of this account.
struct Params<'a> {
    call: &'a Call,
}

impl<'a> Params<'a> {
    /// The parameters of a call to an endpoint that knows these.
    fn of(state: &State, call: &'a Call, known: &[&str]) -> Result<Params<'a>, No> {
        if state.settings.unknown_parameters_refused {
            let query = call.query.as_deref().unwrap_or_default();
            let unknown = url::form_urlencoded::parse(query.as_bytes())
                .find(|(name, _)| !known.contains(&name.as_ref()));
            if let Some((name, _)) = unknown {
                return Err(No::invalid(format!("unknown parameter {name}")));
            }
        }
        Ok(Params { call })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.call.param(name)
    }

    fn number(&self, name: &str) -> Result<Option<usize>, No> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.parse();
        number
            .map(Some)
            .map_err(|_| No::invalid(format!("{name} is not a number")))
    }

    fn time(&self, name: &str) -> Result<Option<chrono::DateTime<chrono::Utc>>, No> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let time = chrono::DateTime::parse_from_rfc3339(&text);
        time.map(|time| Some(time.to_utc()))
            .map_err(|_| No::invalid(format!("{name} is not a date-time")))
    }

    /// Offset and rows of the page asked for, with at most `most` rows.
    fn page(&self, state: &mut State, kind: CallKind, most: usize) -> Result<(usize, usize), No> {
        let names = state.settings.query.clone();
        let offset = self.number(&names.offset)?.unwrap_or(0);
        let asked = self.number(&names.limit)?.unwrap_or(most);
        if asked == 0 {
            return Err(No::invalid(format!("{} must be at least 1", names.limit)));
        }
        let short = state.faults.strike(kind, |fault| match fault {
            Fault::ShortPages { rows } => Some(*rows),
            _ => None,
        });
        let rows = asked
            .min(most.max(1))
            .min(short.unwrap_or(usize::MAX).max(1));
        Ok((offset, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_paths_and_methods_are_known() {
        let cases = [
            (
                Method::GET,
                "/consent-public/v1/consents",
                Some(Resource::Consents),
            ),
            (
                Method::POST,
                "/consent-public/v1/consents",
                Some(Resource::Create),
            ),
            (Method::GET, "/consent-public/v1/consents/", None),
            (Method::PUT, "/consent-public/v1/consents", None),
            (Method::GET, "/contacts-api/v1/lists", None),
            (
                Method::GET,
                "/contacts-api/v1/lists/",
                Some(Resource::Lists),
            ),
            (
                Method::GET,
                "/contacts-api/v1/lists/12",
                Some(Resource::List(12)),
            ),
            (Method::GET, "/contacts-api/v1/lists/x", None),
            (Method::GET, "/_sim/sendouts/3", Some(Resource::Sendout(3))),
            (
                Method::GET,
                "/api/X/contacts/&max=3",
                Some(Resource::Legacy),
            ),
            (Method::GET, "/", None),
        ];
        for (method, path, resource) in cases {
            assert_eq!(Resource::of(&method, path), resource, "{method} {path}");
        }
    }
}
