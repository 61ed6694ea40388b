//! The exchange's part of the control API. Bodies and refusals are as everywhere in it.
//!
//! | route | what it does |
//! |---|---|
//! | `GET /v1/ascend/files` | folder, address of the SFTP server, counts, acknowledgements held back |
//! | `POST /v1/ascend/files/folder` | `{path}`: goes over to another folder |
//! | `POST /v1/ascend/files/load` | loads the batches that lie there, see [`super::Load`] |
//! | `POST /v1/ascend/files/extract` | writes an extract, answered `{file, rows}` |
//! | `POST /v1/ascend/files/deliver` | writes what is held back, answered `{delivered}` |
//! | `POST /v1/ascend/files/answer` | `{batch_id}`: writes the right acknowledgement again |
//! | `POST`, `DELETE /v1/ascend/files/lock` | `{owner?}`: leaves a lock lying; removes it |
//! | `GET`, `POST`, `DELETE /v1/ascend/files/behaviours`, `DELETE …/{name}` | `{name, …, times?}`, see [`super::Behaviour`] |
//! | `POST /v1/ascend/files/counts/reset` | starts counting anew |
//! | `GET /v1/ascend/files/settings`, `PATCH` | the set-up, see [`super::Settings`] |

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Exchange, Rule};
use crate::control::{Answer, Body, No, body, patched};
use crate::{ActError, Core};

type Shared = State<Arc<Core>>;

/// All routes, without `/v1/ascend/files`.
pub(crate) fn router() -> Router<Arc<Core>> {
    Router::new()
        .route("/", get(overview))
        .route("/folder", post(folder))
        .route("/load", post(load))
        .route("/extract", post(extract))
        .route("/deliver", post(deliver))
        .route("/answer", post(answer))
        .route("/lock", post(lock).delete(unlock))
        .route(
            "/behaviours",
            get(behaviours).post(set).delete(clear_behaviours),
        )
        .route("/behaviours/{name}", delete(clear_behaviour))
        .route("/counts/reset", post(reset_counts))
        .route("/settings", get(settings).patch(change_settings))
}

/// Does something that reads or writes files, where it may block.
async fn blocking<T: Serialize + Send + 'static>(
    core: Arc<Core>,
    act: impl FnOnce(&Exchange) -> Result<T, ActError> + Send + 'static,
) -> Answer {
    let done = tokio::task::spawn_blocking(move || act(&core.ascend_files)).await;
    let lost = |_| {
        No(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the act failed".to_owned(),
        )
    };
    body(done.map_err(lost)??)
}

async fn overview(State(core): Shared) -> Answer {
    body(json!({
        "folder": core.ascend_files.folder(),
        "sftp": core.ascend_files.sftp_address(),
        "counts": core.ascend_files.counts(),
        "pending": core.ascend_files.pending(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Folder {
    path: PathBuf,
}

async fn folder(State(core): Shared, Body(input): Body<Folder>) -> Answer {
    core.ascend_files.use_folder(&input.path)?;
    overview(State(core)).await
}

async fn load(State(core): Shared) -> Answer {
    blocking(core, Exchange::load).await
}

async fn extract(State(core): Shared) -> Answer {
    blocking(core, Exchange::extract).await
}

async fn deliver(State(core): Shared) -> Answer {
    blocking(core, |files| Ok(json!({"delivered": files.deliver()?}))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    batch_id: String,
}

async fn answer(State(core): Shared, Body(input): Body<Batch>) -> Answer {
    blocking(core, move |files| {
        files.answer(&input.batch_id)?;
        Ok(json!({}))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    owner: Option<String>,
}

async fn lock(State(core): Shared, Body(input): Body<Lock>) -> Answer {
    let owner = input.owner.unwrap_or_else(|| "somebody".to_owned());
    body(json!({"taken": core.ascend_files.leave_lock(&owner)?}))
}

async fn unlock(State(core): Shared) -> Answer {
    body(json!({"removed": core.ascend_files.remove_lock()?}))
}

async fn behaviours(State(core): Shared) -> Answer {
    body(json!({"behaviours": core.ascend_files.behaviours()}))
}

async fn set(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    let bad = |error: serde_json::Error| No(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    let names: Vec<String> = input.keys().cloned().collect();
    let rule: Rule = serde_json::from_value(Value::Object(input)).map_err(bad)?;
    // A mistyped limit would be no limit.
    let known = serde_json::to_value(&rule).map_err(bad)?;
    let mut names = names.iter();
    if let Some(name) = names.find(|name| *name != "times" && known.get(*name).is_none()) {
        let message = format!("unknown member {name:?}");
        return Err(No(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    core.ascend_files.set_behaviour(rule)?;
    behaviours(State(core)).await
}

async fn clear_behaviours(State(core): Shared) -> Answer {
    body(json!({"cleared": core.ascend_files.clear_behaviours(None)}))
}

async fn clear_behaviour(State(core): Shared, Path(name): Path<String>) -> Answer {
    body(json!({"cleared": core.ascend_files.clear_behaviours(Some(&name))}))
}

async fn reset_counts(State(core): Shared) -> Answer {
    core.ascend_files.reset_counts();
    body(json!({}))
}

async fn settings(State(core): Shared) -> Answer {
    body(core.ascend_files.settings())
}

async fn change_settings(State(core): Shared, Body(input): Body<Map<String, Value>>) -> Answer {
    let new = patched(core.ascend_files.settings(), input)?;
    core.ascend_files
        .change_settings(|settings| *settings = new);
    settings(State(core)).await
}
