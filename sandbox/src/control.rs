//! The control API: everything a test does to the simulated systems, as JSON over HTTP.
//!
//! `{system}` is `salesforce` or `ascend`. Bodies are JSON objects of at most [`MAX_BODY_BYTES`]; unknown members are
//! refused. An act that the org refuses is answered 422, a name that nobody bears 404, malformed input 400, each as
//! `{"error": text}`.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /v1/contacts?address=` | the contacts with this address in both orgs, deleted ones included; `emarketeer`: all that it knows |
//! | `GET /v1/{system}/contacts/{id}` | one contact |
//! | `GET /v1/{system}/history/{id}` | its field history, oldest first |
//! | `GET /v1/{system}/select?soql=` | rows of any object by a query, deleted ones included, uncounted |
//! | `POST /v1/{system}/edit` | `{id, fields, by}`: an edit by a named user, through the org's automation |
//! | `POST /v1/{system}/create` | `{object?, fields, by?, created?}`: a new record, answered `{id}` |
//! | `POST /v1/{system}/delete`, `/undelete` | `{id, by?}` |
//! | `POST /v1/{system}/hard-delete`, `/bump` | `{id}`: removes for good; moves `SystemModstamp` only |
//! | `POST /v1/{system}/merge` | `{winner, losers, fields?, by?}` |
//! | `POST /v1/{system}/snapshot` | `{name}`: remembers the consent fields, answered `{rows}` |
//! | `POST /v1/{system}/load` | `{snapshot, ids?, limit?, by?}`: a manual load from it, answered `{rows, changed, refused}` |
//! | `GET /v1/{system}/faults` | the rules that are set |
//! | `POST /v1/{system}/faults` | a rule: `{name, …, times?, after?, calls?}`, see [`crate::Fault`] |
//! | `DELETE /v1/{system}/faults`, `/faults/{name}` | clears all rules, or those of one name |
//! | `GET /v1/{system}/calls`, `POST /v1/{system}/calls/reset` | what clients did |
//! | `GET /v1/{system}/settings`, `PATCH` | the org's set-up, see [`crate::Settings`] |
//! | `GET /v1/clock`, `POST /v1/clock/advance` | the clock; `{seconds}` |
//! | `GET /v1/parity?ascend_field=` | how far the orgs agree; `Email_Permission__c` compares with that field |
//! | `GET /v1/systems` | addresses of the systems and the client credentials |
//! | `/v1/ascend/files/…` | Ascend's side of the exchange by files, see [`crate::ascend_files::control`] |
//! | `/v1/superoffice/…` | the SuperOffice tenant, see [`crate::superoffice::control`] |
//! | `/v1/emarketeer/…` | the eMarketeer account, see [`crate::emarketeer::control`] |
//! | `/v1/marketing_cloud/…` | the Marketing Cloud account, see [`crate::marketing_cloud::control`] |

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::faults::Rule;
use crate::org::schema::CONTACT;
use crate::org::state::{DATA_LOAD, RECORDS, SPECIALIST};
use crate::parity::{AscendField, compare};
use crate::{ActError, Core, LoadScope, Org, Settings, System};

/// Largest body.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// An answer that is not 2xx.
pub(crate) struct No(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for No {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<ActError> for No {
    fn from(error: ActError) -> No {
        let status = match &error {
            ActError::Refused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            ActError::UnknownUser(_) | ActError::UnknownSnapshot(_) => StatusCode::NOT_FOUND,
            ActError::Full(_) => StatusCode::CONFLICT,
            ActError::Invalid(_) => StatusCode::BAD_REQUEST,
        };
        No(status, error.to_string())
    }
}

pub(crate) type Answer = Result<Json<Value>, No>;

/// A JSON body whose faults are answered in the API's own form.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = No;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, No> {
        let Json(value) = Json::from_request(request, state)
            .await
            .map_err(|rejection: JsonRejection| No(rejection.status(), rejection.body_text()))?;
        Ok(Body(value))
    }
}

/// A query string whose faults are answered in the API's own form.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = No;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, No> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| No(rejection.status(), rejection.body_text()))?;
        Ok(Query(value))
    }
}

type Shared = State<Arc<Core>>;

/// All routes.
pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/v1/systems", get(systems))
        .route("/v1/contacts", get(contacts))
        .route("/v1/clock", get(clock))
        .route("/v1/clock/advance", post(advance))
        .route("/v1/parity", get(parity))
        .route("/v1/{system}/contacts/{id}", get(contact))
        .route("/v1/{system}/history/{id}", get(history))
        .route("/v1/{system}/select", get(select))
        .route("/v1/{system}/edit", post(edit))
        .route("/v1/{system}/create", post(create))
        .route("/v1/{system}/delete", post(remove))
        .route("/v1/{system}/undelete", post(undelete))
        .route("/v1/{system}/hard-delete", post(hard_delete))
        .route("/v1/{system}/bump", post(bump))
        .route("/v1/{system}/merge", post(merge))
        .route("/v1/{system}/snapshot", post(snapshot))
        .route("/v1/{system}/load", post(load))
        .route(
            "/v1/{system}/faults",
            get(faults).post(set_fault).delete(clear_faults),
        )
        .route("/v1/{system}/faults/{name}", delete(clear_fault))
        .route("/v1/{system}/calls", get(calls))
        .route("/v1/{system}/calls/reset", post(reset_calls))
        .route(
            "/v1/{system}/settings",
            get(settings).patch(change_settings),
        )
        .nest("/v1/ascend/files", crate::ascend_files::control::router())
        .nest("/v1/superoffice", crate::superoffice::control::router())
        .nest("/v1/emarketeer", crate::emarketeer::control::router())
        .nest(
            "/v1/marketing_cloud",
            crate::marketing_cloud::control::router(),
        )
        .fallback(async || No(StatusCode::NOT_FOUND, "no such route".to_owned()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(core)
}

/// Settings with some members replaced; members that there are not are refused.
pub(crate) fn patched<T: serde::Serialize + serde::de::DeserializeOwned>(
    settings: T,
    input: Map<String, Value>,
) -> Result<T, No> {
    let bad = |error: serde_json::Error| No(StatusCode::BAD_REQUEST, error.to_string());
    let mut merged = serde_json::to_value(settings).map_err(bad)?;
    if let Value::Object(map) = &mut merged {
        map.extend(input);
    }
    serde_json::from_value(merged).map_err(bad)
}

/// A value as an answer.
pub(crate) fn body(value: impl serde::Serialize) -> Answer {
    serde_json::to_value(value)
        .map(Json)
        .map_err(|error| No(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn systems(State(core): Shared) -> Answer {
    body(json!({
        "salesforce": core.salesforce.url(),
        "ascend": core.ascend.url(),
        "consumer_key": core.credentials.consumer_key,
        "consumer_secret": core.credentials.consumer_secret,
        "username": core.credentials.username,
        "private_key_pem": core.credentials.private_key_pem,
        "refresh_token": core.credentials.refresh_token,
        "emarketeer": {
            "url": core.emarketeer.url(),
            "api_key": core.credentials.emarketeer.default,
            "consent_key": core.credentials.emarketeer.consent,
            "contact_key": core.credentials.emarketeer.contact,
            "subscription_key": core.credentials.emarketeer.subscription,
            "signals_key": core.credentials.emarketeer.signals,
            "api_id": core.credentials.emarketeer.api_id,
        },
        "superoffice": {
            "url": core.superoffice.url(),
            "api_url": core.superoffice.api_url(),
            "tenant": core.credentials.superoffice.tenant,
            "client_id": core.credentials.superoffice.client_id,
            "client_secret": core.credentials.superoffice.client_secret,
            "system_token": core.credentials.superoffice.system_token,
            "refresh_token": core.credentials.superoffice.refresh_token,
            "username": core.credentials.superoffice.username,
            "password": core.credentials.superoffice.password,
        },
        "ascend_files": {
            "folder": core.ascend_files.folder(),
            "sftp": core.ascend_files.sftp_address(),
            "username": core.credentials.sftp.username,
            "password": core.credentials.sftp.password,
            "private_key": core.credentials.sftp.private_key,
            "host_key": core.credentials.sftp.host_key,
            "host_fingerprint": core.credentials.sftp.host_fingerprint,
        },
        "marketing_cloud": {
            "url": core.marketing_cloud.url(),
            "client_id": core.credentials.marketing_cloud.client_id,
            "client_secret": core.credentials.marketing_cloud.client_secret,
            "units": core.marketing_cloud.units(),
        },
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByAddress {
    pub(crate) address: String,
}

async fn contacts(State(core): Shared, Query(query): Query<ByAddress>) -> Answer {
    let mut found = core.salesforce.contacts_by_address(&query.address);
    found.extend(core.ascend.contacts_by_address(&query.address));
    let emarketeer = core.emarketeer.address(&query.address);
    body(json!({"contacts": found, "emarketeer": emarketeer}))
}

async fn clock(State(core): Shared) -> Answer {
    body(json!({
        "now": core.clock.now(),
        "ahead_secs": core.clock.ahead_secs(),
        "salesforce": core.salesforce.now(),
        "ascend": core.ascend.now(),
        "emarketeer": core.emarketeer.now(),
        "superoffice": core.superoffice.now(),
        "marketing_cloud": core.marketing_cloud.now(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: i64,
}

/// Seconds by which one call can move the clock: a hundred years.
const MAX_ADVANCE_SECS: i64 = 100 * 366 * 86_400;

async fn advance(State(core): Shared, Body(input): Body<Advance>) -> Answer {
    if input
        .seconds
        .checked_abs()
        .is_none_or(|seconds| seconds > MAX_ADVANCE_SECS)
    {
        return Err(No(StatusCode::BAD_REQUEST, "too far".to_owned()));
    }
    core.clock.advance(input.seconds);
    clock(State(core)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParityQuery {
    ascend_field: Option<String>,
}

async fn parity(State(core): Shared, Query(query): Query<ParityQuery>) -> Answer {
    let field = match query.ascend_field.as_deref() {
        None | Some("HasOptedOutOfEmail") => AscendField::OptOut,
        Some("Email_Permission__c") => AscendField::Permission,
        Some(other) => {
            return Err(No(
                StatusCode::BAD_REQUEST,
                format!("unknown field {other:?}"),
            ));
        }
    };
    body(compare(&core, field))
}

async fn contact(State(core): Shared, Path((system, id)): Path<(System, String)>) -> Answer {
    let found = core.org(system).contact(&id);
    body(found.ok_or_else(|| No(StatusCode::NOT_FOUND, format!("no contact {id:?}")))?)
}

async fn history(State(core): Shared, Path((system, id)): Path<(System, String)>) -> Answer {
    body(json!({"history": core.org(system).history(&id)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Select {
    soql: String,
}

async fn select(
    State(core): Shared,
    Path(system): Path<System>,
    Query(query): Query<Select>,
) -> Answer {
    body(json!({"records": core.org(system).select(&query.soql)?}))
}

/// Who edits when nobody is named.
fn hand(system: System) -> String {
    match system {
        System::Salesforce => SPECIALIST,
        System::Ascend => RECORDS,
    }
    .to_owned()
}

fn state_of(org: &Org, id: &str) -> Answer {
    match org.contact(id) {
        Some(contact) => body(contact),
        None => body(json!({"id": id})),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    id: String,
    fields: Map<String, Value>,
    by: Option<String>,
}

async fn edit(State(core): Shared, Path(system): Path<System>, Body(input): Body<Edit>) -> Answer {
    let org = core.org(system);
    org.edit(
        &input.id,
        &input.fields,
        &input.by.unwrap_or_else(|| hand(system)),
    )?;
    state_of(org, &input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    object: Option<String>,
    fields: Map<String, Value>,
    by: Option<String>,
    created: Option<DateTime<Utc>>,
}

async fn create(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<Create>,
) -> Answer {
    let by = input.by.unwrap_or_else(|| hand(system));
    let object = input.object.as_deref().unwrap_or(CONTACT);
    let id = core
        .org(system)
        .create(object, &input.fields, &by, input.created)?;
    body(json!({"id": id}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: String,
    by: Option<String>,
}

async fn remove(State(core): Shared, Path(system): Path<System>, Body(input): Body<One>) -> Answer {
    let org = core.org(system);
    org.delete(&input.id, &input.by.unwrap_or_else(|| hand(system)))?;
    state_of(org, &input.id)
}

async fn undelete(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<One>,
) -> Answer {
    let org = core.org(system);
    org.undelete(&input.id, &input.by.unwrap_or_else(|| hand(system)))?;
    state_of(org, &input.id)
}

async fn hard_delete(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<One>,
) -> Answer {
    core.org(system).hard_delete(&input.id)?;
    body(json!({"id": input.id}))
}

async fn bump(State(core): Shared, Path(system): Path<System>, Body(input): Body<One>) -> Answer {
    let org = core.org(system);
    org.bump(&input.id)?;
    state_of(org, &input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    winner: String,
    losers: Vec<String>,
    #[serde(default)]
    fields: Map<String, Value>,
    by: Option<String>,
}

async fn merge(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<Merge>,
) -> Answer {
    let org = core.org(system);
    let by = input.by.unwrap_or_else(|| hand(system));
    org.merge(&input.winner, &input.losers, &input.fields, &by)?;
    state_of(org, &input.winner)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    name: String,
}

async fn snapshot(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<Snapshot>,
) -> Answer {
    let rows = core.org(system).snapshot(&input.name)?;
    body(json!({"snapshot": input.name, "rows": rows}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    snapshot: String,
    ids: Option<Vec<String>>,
    limit: Option<usize>,
    by: Option<String>,
}

async fn load(State(core): Shared, Path(system): Path<System>, Body(input): Body<Load>) -> Answer {
    let by = input.by.unwrap_or_else(|| DATA_LOAD.to_owned());
    let scope = LoadScope {
        ids: input.ids,
        limit: input.limit,
    };
    body(core.org(system).load(&input.snapshot, &scope, &by)?)
}

async fn faults(State(core): Shared, Path(system): Path<System>) -> Answer {
    body(json!({"faults": core.org(system).faults()}))
}

async fn set_fault(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<Map<String, Value>>,
) -> Answer {
    let org = core.org(system);
    org.set_fault(rule_of(input)?)?;
    body(json!({"faults": org.faults()}))
}

/// A fault rule; members that mean nothing to its fault are refused, since a mistyped limit would be no limit.
pub(crate) fn rule_of(input: Map<String, Value>) -> Result<Rule, No> {
    let bad = |error: serde_json::Error| No(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    let names: Vec<String> = input.keys().cloned().collect();
    let rule: Rule = serde_json::from_value(Value::Object(input)).map_err(bad)?;
    let known = serde_json::to_value(&rule).map_err(bad)?;
    match names
        .iter()
        .find(|name| *name != "times" && known.get(name.as_str()).is_none())
    {
        Some(name) => {
            let message = format!("unknown member {name:?}");
            Err(No(StatusCode::UNPROCESSABLE_ENTITY, message))
        }
        None => Ok(rule),
    }
}

async fn clear_faults(State(core): Shared, Path(system): Path<System>) -> Answer {
    body(json!({"cleared": core.org(system).clear_faults(None)}))
}

async fn clear_fault(State(core): Shared, Path((system, name)): Path<(System, String)>) -> Answer {
    body(json!({"cleared": core.org(system).clear_faults(Some(&name))}))
}

async fn calls(State(core): Shared, Path(system): Path<System>) -> Answer {
    body(core.org(system).calls())
}

async fn reset_calls(State(core): Shared, Path(system): Path<System>) -> Answer {
    core.org(system).reset_calls();
    body(json!({}))
}

async fn settings(State(core): Shared, Path(system): Path<System>) -> Answer {
    body(core.org(system).settings())
}

async fn change_settings(
    State(core): Shared,
    Path(system): Path<System>,
    Body(input): Body<Map<String, Value>>,
) -> Answer {
    let org = core.org(system);
    let new: Settings = patched(org.settings(), input)?;
    org.change_settings(|settings| *settings = new);
    settings(State(core), Path(system)).await
}
