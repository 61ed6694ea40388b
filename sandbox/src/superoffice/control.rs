//! The routes of the control API for the tenant, under `/v1/superoffice`.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /persons?address=` | all persons with this address, with their consents |
//! | `GET /persons/{id}` | one person |
//! | `POST /create` | `{first_name?, last_name, addresses?, created?, retired?, by?}`: answered `{id}` |
//! | `POST /addresses` | `{id, addresses, by?}` |
//! | `POST /retire` | `{id, retired?, by?}` |
//! | `POST /delete`, `/restore`, `/purge` | `{id, by?}` |
//! | `POST /merge` | `{source, destination, delete_source?, by?}` |
//! | `POST /consent` | `{id, purpose, legal_base, source?, comment?, at?, by?}` |
//! | `POST /remove-consent` | `{id, purpose, by?}` |
//! | `POST /marketing` | `{id, on, by?}`: the switch "E-marketing" |
//! | `POST /unsubscribe` | `{id, types?}`: the subscription page |
//! | `POST /spam-complaint` | `{id}` |
//! | `POST /bulk-update` | `{ids, purpose, legal_base, source?, comment?, by?}`: answered `{changed}` |
//! | `POST /import` | `{persons, consent?, by?}`: answered `{ids}` |
//! | `POST /purpose` | `{key, name}`: a purpose of the customer's own, answered `{id}` |
//! | `GET /webhooks` | registered webhooks and how they fare |
//! | `GET`, `POST`, `DELETE /faults`, `DELETE /faults/{name}` | as for the other systems |
//! | `GET /calls`, `POST /calls/reset` | what clients did |
//! | `GET`, `PATCH /settings` | see [`super::Settings`] |

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::state::{MARKETING, SALES};
use super::{NewConsent, NewPerson, Settings, Tenant};
use crate::Core;
use crate::control::{Answer, Body, No, Query, body, patched, rule_of};

type Shared = State<Arc<Core>>;

/// The routes, to be nested.
pub(crate) fn router() -> Router<Arc<Core>> {
    Router::new()
        .route("/persons", get(persons))
        .route("/persons/{id}", get(person))
        .route("/create", post(create))
        .route("/addresses", post(addresses))
        .route("/retire", post(retire))
        .route("/delete", post(remove))
        .route("/restore", post(restore))
        .route("/purge", post(purge))
        .route("/merge", post(merge))
        .route("/consent", post(consent))
        .route("/remove-consent", post(remove_consent))
        .route("/marketing", post(marketing))
        .route("/unsubscribe", post(unsubscribe))
        .route("/spam-complaint", post(spam_complaint))
        .route("/bulk-update", post(bulk_update))
        .route("/import", post(import))
        .route("/purpose", post(purpose))
        .route("/webhooks", get(webhooks))
        .route("/faults", get(faults).post(set_fault).delete(clear_faults))
        .route("/faults/{name}", delete(clear_fault))
        .route("/calls", get(calls))
        .route("/calls/reset", post(reset_calls))
        .route("/settings", get(settings).patch(change_settings))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByAddress {
    address: String,
}

async fn persons(State(core): Shared, Query(query): Query<ByAddress>) -> Answer {
    let found = core.superoffice.persons_by_address(&query.address);
    body(json!({"persons": found}))
}

fn state_of(tenant: &Tenant, id: i64) -> Answer {
    match tenant.person(id) {
        Some(person) => body(person),
        None => body(json!({"id": id})),
    }
}

async fn person(State(core): Shared, Path(id): Path<i64>) -> Answer {
    let found = core.superoffice.person(id);
    body(found.ok_or_else(|| No(StatusCode::NOT_FOUND, format!("no person {id}")))?)
}

fn sales() -> String {
    SALES.to_owned()
}

fn marketers() -> String {
    MARKETING.to_owned()
}

#[derive(Deserialize)]
struct Create {
    #[serde(flatten)]
    person: Map<String, Value>,
    #[serde(default = "sales")]
    by: String,
}

fn parsed<T: serde::de::DeserializeOwned>(members: Map<String, Value>) -> Result<T, No> {
    serde_json::from_value(Value::Object(members))
        .map_err(|error| No(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

async fn create(State(core): Shared, Body(input): Body<Create>) -> Answer {
    let person: NewPerson = parsed(input.person)?;
    body(json!({"id": core.superoffice.create_person(&person, &input.by)?}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Readdress {
    id: i64,
    addresses: Vec<String>,
    #[serde(default = "sales")]
    by: String,
}

async fn addresses(State(core): Shared, Body(input): Body<Readdress>) -> Answer {
    let rows: Vec<&str> = input.addresses.iter().map(String::as_str).collect();
    core.superoffice.set_addresses(input.id, &rows, &input.by)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retire {
    id: i64,
    #[serde(default = "yes")]
    retired: bool,
    #[serde(default = "sales")]
    by: String,
}

fn yes() -> bool {
    true
}

async fn retire(State(core): Shared, Body(input): Body<Retire>) -> Answer {
    core.superoffice
        .set_retired(input.id, input.retired, &input.by)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: i64,
    #[serde(default = "sales")]
    by: String,
}

async fn remove(State(core): Shared, Body(input): Body<One>) -> Answer {
    core.superoffice.delete(input.id, &input.by)?;
    state_of(&core.superoffice, input.id)
}

async fn restore(State(core): Shared, Body(input): Body<One>) -> Answer {
    core.superoffice.restore(input.id, &input.by)?;
    state_of(&core.superoffice, input.id)
}

async fn purge(State(core): Shared, Body(input): Body<One>) -> Answer {
    core.superoffice.purge(input.id, &input.by)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    source: i64,
    destination: i64,
    #[serde(default = "yes")]
    delete_source: bool,
    #[serde(default = "sales")]
    by: String,
}

async fn merge(State(core): Shared, Body(input): Body<Merge>) -> Answer {
    core.superoffice.merge(
        input.source,
        input.destination,
        input.delete_source,
        &input.by,
    )?;
    state_of(&core.superoffice, input.destination)
}

#[derive(Deserialize)]
struct SetConsent {
    id: i64,
    #[serde(flatten)]
    consent: Map<String, Value>,
    #[serde(default = "marketers")]
    by: String,
}

async fn consent(State(core): Shared, Body(input): Body<SetConsent>) -> Answer {
    let consent: NewConsent = parsed(input.consent)?;
    core.superoffice
        .set_consent(input.id, &consent, &input.by)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveConsent {
    id: i64,
    purpose: String,
    #[serde(default = "marketers")]
    by: String,
}

async fn remove_consent(State(core): Shared, Body(input): Body<RemoveConsent>) -> Answer {
    core.superoffice
        .remove_consent(input.id, &input.purpose, &input.by)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    id: i64,
    on: bool,
    #[serde(default = "sales")]
    by: String,
}

async fn marketing(State(core): Shared, Body(input): Body<Switch>) -> Answer {
    core.superoffice
        .switch_marketing(input.id, input.on, &input.by)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    id: i64,
    #[serde(default)]
    types: Vec<i64>,
}

async fn unsubscribe(State(core): Shared, Body(input): Body<Unsubscribe>) -> Answer {
    core.superoffice.unsubscribe(input.id, &input.types)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Complaint {
    id: i64,
}

async fn spam_complaint(State(core): Shared, Body(input): Body<Complaint>) -> Answer {
    core.superoffice.spam_complaint(input.id)?;
    state_of(&core.superoffice, input.id)
}

#[derive(Deserialize)]
struct BulkUpdate {
    ids: Vec<i64>,
    #[serde(flatten)]
    consent: Map<String, Value>,
    #[serde(default = "marketers")]
    by: String,
}

async fn bulk_update(State(core): Shared, Body(input): Body<BulkUpdate>) -> Answer {
    let consent: NewConsent = parsed(input.consent)?;
    let changed = core
        .superoffice
        .bulk_update(&input.ids, &consent, &input.by)?;
    body(json!({"changed": changed}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    persons: Vec<NewPerson>,
    consent: Option<NewConsent>,
    #[serde(default = "marketers")]
    by: String,
}

async fn import(State(core): Shared, Body(input): Body<Import>) -> Answer {
    let ids = core
        .superoffice
        .import(&input.persons, input.consent.as_ref(), &input.by)?;
    body(json!({"ids": ids}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purpose {
    key: String,
    name: String,
}

async fn purpose(State(core): Shared, Body(input): Body<Purpose>) -> Answer {
    let id = core.superoffice.add_purpose(&input.key, &input.name)?;
    body(json!({"id": id}))
}

async fn webhooks(State(core): Shared) -> Answer {
    body(json!({"webhooks": core.superoffice.webhooks()}))
}

async fn faults(State(core): Shared) -> Answer {
    body(json!({"faults": core.superoffice.faults()}))
}

async fn set_fault(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    core.superoffice.set_fault(rule_of(input)?)?;
    body(json!({"faults": core.superoffice.faults()}))
}

async fn clear_faults(State(core): Shared) -> Answer {
    body(json!({"cleared": core.superoffice.clear_faults(None)}))
}

async fn clear_fault(State(core): Shared, Path(name): Path<String>) -> Answer {
    body(json!({"cleared": core.superoffice.clear_faults(Some(&name))}))
}

async fn calls(State(core): Shared) -> Answer {
    body(core.superoffice.calls())
}

async fn reset_calls(State(core): Shared) -> Answer {
    core.superoffice.reset_calls();
    Ok(Json(json!({})))
}

async fn settings(State(core): Shared) -> Answer {
    body(core.superoffice.settings())
}

async fn change_settings(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    let new: Settings = patched(core.superoffice.settings(), input)?;
    core.superoffice.change_settings(|settings| *settings = new);
    settings(State(core)).await
}
