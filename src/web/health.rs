//! `/healthz` and `/readyz`.

use super::router::App;
use crate::runtime::health::Readiness;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

/// The process lives and answers; nothing else is looked at, since a restart would not mend it.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// What `/readyz` answers.
#[derive(Debug, Serialize)]
pub(super) struct ReadyBody {
    ready: bool,
    store: &'static str,
    tasks_down: Vec<String>,
    systems: Vec<SystemBody>,
}

#[derive(Debug, Serialize)]
struct SystemBody {
    name: String,
    state: &'static str,
    lag_secs: Option<u64>,
    reason: Option<String>,
}

impl From<Readiness> for ReadyBody {
    fn from(readiness: Readiness) -> Self {
        Self {
            ready: readiness.is_ready(),
            store: if readiness.store_writable {
                "writable"
            } else {
                "not-writable"
            },
            tasks_down: readiness.tasks_down,
            systems: readiness
                .systems
                .into_iter()
                .map(|system| SystemBody {
                    name: system.name,
                    state: system.state.word(),
                    lag_secs: system.lag.map(|lag| lag.as_secs()),
                    reason: system.reason,
                })
                .collect(),
        }
    }
}

/// 200 while the daemon does its work, 503 with the reasons while it does not.
pub(super) async fn readyz(State(app): State<App>) -> (StatusCode, Json<ReadyBody>) {
    let readiness = app.board.readiness(app.clock.now());
    let status = if readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness.into()))
}
