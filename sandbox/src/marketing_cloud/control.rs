//! The account's part of the control API. Bodies and refusals are as everywhere in it.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /v1/marketing_cloud/units` | the enterprise and its units: numbers, names, lists, behaviours |
//! | `GET /v1/marketing_cloud/subscribers?address=` | the subscribers with this address |
//! | `GET /v1/marketing_cloud/subscribers/{key}` | one subscriber: status everywhere, and which units can mail it |
//! | `POST /v1/marketing_cloud/acts` | `{act, …}`: an act by its name in kebab-case, see [`super::Act`] |
//! | `GET`, `POST`, `DELETE /v1/marketing_cloud/faults`, `DELETE …/faults/{name}` | as for an org |
//! | `GET /v1/marketing_cloud/calls`, `POST …/calls/reset` | what clients did |
//! | `GET /v1/marketing_cloud/settings`, `PATCH` | the set-up, see [`super::Settings`] |

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};

use super::Act;
use crate::Core;
use crate::control::{Answer, Body, ByAddress, No, Query, body, patched, rule_of};

type Shared = State<Arc<Core>>;

/// All routes, without `/v1/marketing_cloud`.
pub(crate) fn router() -> Router<Arc<Core>> {
    Router::new()
        .route("/units", get(units))
        .route("/subscribers", get(subscribers))
        .route("/subscribers/{key}", get(subscriber))
        .route("/acts", post(act))
        .route("/faults", get(faults).post(set_fault).delete(clear_faults))
        .route("/faults/{name}", delete(clear_fault))
        .route("/calls", get(calls))
        .route("/calls/reset", post(reset_calls))
        .route("/settings", get(settings).patch(change_settings))
}

async fn units(State(core): Shared) -> Answer {
    body(json!({"units": core.marketing_cloud.units()}))
}

async fn subscribers(State(core): Shared, Query(query): Query<ByAddress>) -> Answer {
    let found = core.marketing_cloud.subscribers_by_address(&query.address);
    body(json!({"subscribers": found}))
}

async fn subscriber(State(core): Shared, Path(key): Path<String>) -> Answer {
    let found = core.marketing_cloud.subscriber(&key);
    body(found.ok_or_else(|| No(StatusCode::NOT_FOUND, format!("no subscriber {key:?}")))?)
}

async fn act(State(core): Shared, Body(act): Body<Act>) -> Answer {
    body(core.marketing_cloud.act(act)?)
}

async fn faults(State(core): Shared) -> Answer {
    body(json!({"faults": core.marketing_cloud.faults()}))
}

async fn set_fault(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    core.marketing_cloud.set_fault(rule_of(input)?)?;
    faults(State(core)).await
}

async fn clear_faults(State(core): Shared) -> Answer {
    body(json!({"cleared": core.marketing_cloud.clear_faults(None)}))
}

async fn clear_fault(State(core): Shared, Path(name): Path<String>) -> Answer {
    body(json!({"cleared": core.marketing_cloud.clear_faults(Some(&name))}))
}

async fn calls(State(core): Shared) -> Answer {
    body(core.marketing_cloud.calls())
}

async fn reset_calls(State(core): Shared) -> Answer {
    core.marketing_cloud.reset_calls();
    body(json!({}))
}

async fn settings(State(core): Shared) -> Answer {
    body(core.marketing_cloud.settings())
}

async fn change_settings(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    let new = patched(core.marketing_cloud.settings(), input)?;
    core.marketing_cloud
        .change_settings(|settings| *settings = new);
    settings(State(core)).await
}
