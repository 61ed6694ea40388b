//! The account's part of the control API. Bodies and refusals are as everywhere in it.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /v1/emarketeer/addresses?address=` | all that is known of an address: contacts, consents, bounces |
//! | `GET /v1/emarketeer/history?address=` | its consent records, oldest first |
//! | `GET /v1/emarketeer/contacts/{id}` | one contact |
//! | `GET /v1/emarketeer/master/{kind}` | `purpose`, `legal-basis` or `source`: items with their ids |
//! | `POST /v1/emarketeer/acts` | `{act, …}`: an act by its name in kebab-case, see [`super::Act`] |
//! | `GET /v1/emarketeer/bulks` | bulk actions on their way |
//! | `POST /v1/emarketeer/sendouts`, `GET /v1/emarketeer/sendouts/{id}` | a send-out, see [`super::Sendout`] |
//! | `GET`, `POST`, `DELETE /v1/emarketeer/faults`, `DELETE …/faults/{name}` | as for an org |
//! | `GET /v1/emarketeer/calls`, `POST …/calls/reset` | what clients did |
//! | `GET /v1/emarketeer/settings`, `PATCH` | the set-up, see [`super::Settings`] |
//!
//! A send-out can also be made and read without the control API: `POST /_sim/sendouts` and `GET /_sim/sendouts/{id}` at
//! the account's own address.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};

use super::{Act, Kind, Sendout, Settings};
use crate::Core;
use crate::control::{Answer, Body, ByAddress, No, Query, body, rule_of};

type Shared = State<Arc<Core>>;

/// All routes, without `/v1/emarketeer`.
pub(crate) fn router() -> Router<Arc<Core>> {
    Router::new()
        .route("/addresses", get(address))
        .route("/history", get(history))
        .route("/contacts/{id}", get(contact))
        .route("/master/{kind}", get(master))
        .route("/acts", post(act))
        .route("/bulks", get(bulks))
        .route("/sendouts", post(plan_sendout))
        .route("/sendouts/{id}", get(sendout))
        .route("/faults", get(faults).post(set_fault).delete(clear_faults))
        .route("/faults/{name}", delete(clear_fault))
        .route("/calls", get(calls))
        .route("/calls/reset", post(reset_calls))
        .route("/settings", get(settings).patch(change_settings))
}

async fn address(State(core): Shared, Query(query): Query<ByAddress>) -> Answer {
    body(core.emarketeer.address(&query.address))
}

async fn history(State(core): Shared, Query(query): Query<ByAddress>) -> Answer {
    body(json!({"history": core.emarketeer.history(&query.address)}))
}

async fn contact(State(core): Shared, Path(id): Path<u64>) -> Answer {
    let found = core.emarketeer.contact(id);
    body(found.ok_or_else(|| No(StatusCode::NOT_FOUND, format!("no contact {id}")))?)
}

async fn master(State(core): Shared, Path(kind): Path<Kind>) -> Answer {
    body(json!({"items": core.emarketeer.master_data(kind)}))
}

async fn act(State(core): Shared, Body(act): Body<Act>) -> Answer {
    body(core.emarketeer.act(act)?)
}

async fn bulks(State(core): Shared) -> Answer {
    body(json!({"bulks": core.emarketeer.bulks()}))
}

async fn plan_sendout(State(core): Shared, Body(input): Body<Sendout>) -> Answer {
    body(core.emarketeer.plan_sendout(input)?)
}

async fn sendout(State(core): Shared, Path(id): Path<u64>) -> Answer {
    let found = core.emarketeer.sendout(id);
    body(found.ok_or_else(|| No(StatusCode::NOT_FOUND, format!("no send-out {id}")))?)
}

async fn faults(State(core): Shared) -> Answer {
    body(json!({"faults": core.emarketeer.faults()}))
}

async fn set_fault(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    core.emarketeer.set_fault(rule_of(input)?)?;
    faults(State(core)).await
}

async fn clear_faults(State(core): Shared) -> Answer {
    body(json!({"cleared": core.emarketeer.clear_faults(None)}))
}

async fn clear_fault(State(core): Shared, Path(name): Path<String>) -> Answer {
    body(json!({"cleared": core.emarketeer.clear_faults(Some(&name))}))
}

async fn calls(State(core): Shared) -> Answer {
    body(core.emarketeer.calls())
}

async fn reset_calls(State(core): Shared) -> Answer {
    core.emarketeer.reset_calls();
    body(json!({}))
}

async fn settings(State(core): Shared) -> Answer {
    body(core.emarketeer.settings())
}

async fn change_settings(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    let bad = |error: serde_json::Error| No(StatusCode::BAD_REQUEST, error.to_string());
    let mut merged = serde_json::to_value(core.emarketeer.settings()).map_err(bad)?;
    if let Value::Object(map) = &mut merged {
        for (name, value) in input {
            match (map.get_mut(&name), value) {
                // Names of parameters can be changed one at a time.
                (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
                (_, value) => {
                    map.insert(name, value);
                }
            }
        }
    }
    let new: Settings = serde_json::from_value(merged).map_err(bad)?;
    core.emarketeer.change_settings(|settings| *settings = new);
    settings(State(core)).await
}
