//! `/v1`: the check before mail is sent, send-outs that are checked again at their moment, and what
//! operators may do to systems, to re-subscribe requests, to what waits for them and to people who are to be
//! erased.
//!
//! Every request carries a bearer token, judged before its body is read. Every refusal is a problem
//! of RFC 9457. Requests hold addresses; answers repeat them only to whoever sent them, and nothing
//! of either is logged.

mod alarms;
mod auth;
mod bodies;
mod checklists;
pub mod courier;
mod erasures;
mod holds;
mod people;
mod problem;
mod requests;
mod sendouts;
mod systems;

pub use auth::Tokens;
pub use courier::Post;
pub use systems::{Reload, Switchboard};

use crate::sync::checklist::Desk;
use crate::sync::sendout::Sendouts;
use axum::Router;
use axum::routing::{get, post};
use problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use tower_http::timeout::TimeoutLayer;

/// The routes of the API.
pub const PATHS: &[&str] = &[
    "/v1/checklists",
    "/v1/sendouts",
    "/v1/sendouts/{id}",
    "/v1/systems",
    "/v1/systems/{name}/{act}",
    "/v1/resubscribe",
    "/v1/resubscribe/{id}/{act}",
    "/v1/erasures",
    "/v1/holds",
    "/v1/holds/{id}",
    "/v1/holds/{id}/{act}",
    "/v1/holds/decide",
    "/v1/reload",
    "/v1/alarms",
    "/v1/explain",
];

/// No answer takes longer: a check of a long list waits for vendors up to five minutes, and for the
/// store.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(7);

/// What the routes of the API share.
pub struct Api {
    /// Who may ask.
    pub tokens: Arc<Tokens>,
    /// Where lists are checked.
    pub desk: Arc<Desk>,
    /// Where send-outs are kept.
    pub sendouts: Arc<Sendouts>,
    /// Where answers may be posted; nowhere when there is none.
    pub post: Option<Arc<Post>>,
    /// What operators act on.
    pub switchboard: Switchboard,
}

/// All routes under `/v1`.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/checklists", post(checklists::create))
        .route("/v1/sendouts", get(sendouts::list).post(sendouts::create))
        .route(
            "/v1/sendouts/{id}",
            get(sendouts::show).delete(sendouts::cancel),
        )
        .route("/v1/systems", get(systems::list))
        .route("/v1/systems/{name}/{act}", post(systems::turn))
        .route("/v1/resubscribe", get(requests::list))
        .route("/v1/resubscribe/{id}/{act}", post(requests::act))
        .route("/v1/erasures", post(erasures::create))
        .route("/v1/holds", get(holds::list))
        .route("/v1/holds/decide", post(holds::decide))
        .route("/v1/holds/{id}", get(holds::show))
        .route("/v1/holds/{id}/{act}", post(holds::act))
        .route("/v1/reload", post(systems::reload))
        .route("/v1/alarms", get(alarms::list))
        .route("/v1/explain", post(people::explain))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(TimeoutLayer::with_status_code(
            axum::http::StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .with_state(api)
}
