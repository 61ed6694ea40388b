//! `/v1/resubscribe`: the requests to set subscribers active again in the gate, and what operators do
//! to them (R47).
//!
//! The same acts as those of `consentd resubscribe`, with the token's name as the operator's. An
//! answer holds no address: the sheet does.

use super::Api;
use super::auth::Act;
use super::bodies::operator;
use super::problem::Problem;
use crate::consent::At;
use crate::store::{RequestQuery, RequestView};
use crate::sync::gate::by_hand::{self, Came};
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Requests in one answer at most.
const MOST_LISTED: usize = 1_000;

/// A request as the API shows it.
#[derive(Serialize)]
struct RequestBody {
    request: i64,
    urgency: &'static str,
    /// First 12 hex digits of the keyed hash.
    subject: String,
    /// None where the address is the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber_key: Option<String>,
    unit: String,
    unit_name: String,
    status: String,
    opened_at: String,
    read_at: String,
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_by: Option<String>,
}

impl From<RequestView> for RequestBody {
    fn from(view: RequestView) -> Self {
        let time = |micros: i64| At::from_micros(micros).to_string();
        let request = view.request;
        Self {
            request: request.id,
            urgency: if request.urgent { "urgent" } else { "weekly" },
            subject: view.subject.short(),
            subscriber_key: Some(request.subscriber).filter(|key| !key.is_empty()),
            unit: request.unit,
            unit_name: request.unit_name,
            status: request.status,
            opened_at: time(request.opened_at),
            read_at: time(request.seen_at),
            cause: request.cause,
            note: request.note,
            closed_at: request.closed_at.map(time),
            closing: request.closing,
            closed_by: request.closed_by,
        }
    }
}

/// A page of requests.
#[derive(Serialize)]
pub(super) struct RequestList {
    requests: Vec<RequestBody>,
    /// `after` of the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// Which requests are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    urgent: bool,
    #[serde(default)]
    after: i64,
}

/// Lists requests in the order of their numbers, a page at a time.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<RequestList>, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let Query(which) = which.map_err(|fault| {
        Problem::unprocessable("query", "the query is not understood", fault.body_text())
    })?;
    let query = RequestQuery {
        closed: which.closed,
        urgent: which.urgent,
        after: which.after,
        ..RequestQuery::default()
    };
    let found = api.switchboard.store.requests(&query, MOST_LISTED).await;
    let found = found.map_err(|error| Problem::store(&error))?;
    let next = found.last().map(|view| view.request.id);
    Ok(Json(RequestList {
        next: next.filter(|_| found.len() == MOST_LISTED),
        requests: found.into_iter().map(RequestBody::from).collect(),
    }))
}

/// What became of a request.
#[derive(Serialize)]
pub(super) struct Acted {
    request: i64,
    /// It was not so before.
    changed: bool,
}

/// Closes a request, or says how soon it is to be worked.
pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Path((id, act)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Acted>, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Operate)?;
    let turn = match act.as_str() {
        "done" => by_hand::Act::Done,
        "urgent" => by_hand::Act::Urgent,
        "weekly" => by_hand::Act::Weekly,
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "act",
                "there is no such act",
                "a request can be done, urgent or weekly",
            ));
        }
    };
    let operator = operator(request, &token).await?;
    let board = &api.switchboard;
    // What is no number is the number of no request.
    let id = id.parse().unwrap_or_default();
    let ids = BTreeSet::from([id]);
    let came = by_hand::act(&*board.store, &ids, turn, &operator, board.clock.now()).await;
    let came = came.map_err(|error| Problem::store(&error))?;
    let changed = match came.get(&id) {
        Some(Came::Changed) => true,
        Some(Came::Same) => false,
        Some(Came::Closed) => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "closed",
                "the request is closed",
                "GET /v1/resubscribe?closed=true says when and why",
            ));
        }
        Some(Came::Unknown) | None => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "request",
                "there is no such request",
                "GET /v1/resubscribe lists those that are open",
            ));
        }
    };
    if changed {
        tracing::info!(request = id, token = %token.name, %act, "re-subscribe request {id}: {act}, said by {}", token.name);
    }
    Ok(Json(Acted {
        request: id,
        changed,
    }))
}
