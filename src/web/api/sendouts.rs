//! `/v1/sendouts`.

use super::Api;
use super::auth::Act;
use super::bodies::{
    SendoutAsk, SendoutBody, SendoutList, SendoutWhole, callback, freshness, moment, named, note,
    read,
};
use super::problem::Problem;
use crate::sync::checklist::Ask;
use crate::sync::sendout::{Cancelled, Draft, DraftError};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;

/// Checks a list, and registers it to be checked again at the moment of sending.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Send)?;
    let asked: SendoutAsk = read(request).await?;
    let send_at = moment(&asked.send_at)?;
    let freshness = freshness(asked.max_age_secs)?;
    if let Some(given) = &asked.callback {
        let url = callback(given)?;
        let refused = match &api.post {
            Some(post) => post.refusal(&url),
            None => Some("callbacks are not configured; see [server.callback]"),
        };
        if let Some(why) = refused {
            return Err(Problem::unprocessable(
                "callback",
                "the callback is not allowed",
                why,
            ));
        }
    }
    let draft = Draft {
        ask: Ask {
            people: api.desk.people(&asked.recipients.0).await?,
            purpose: asked.purpose,
            freshness,
        },
        send_at,
        callback: asked.callback,
        created_by: token.name.clone(),
    };
    let sendout = api.sendouts.register(draft).await?;
    note(
        "a send-out was registered",
        &token,
        &sendout.head.purpose,
        &sendout.first.counts(),
    );
    let location = format!("/v1/sendouts/{}", sendout.head.id);
    let body = Json(SendoutWhole::from(&sendout));
    Ok((StatusCode::CREATED, [(LOCATION, location)], body).into_response())
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        let detail = error.to_string();
        match error {
            DraftError::Moment => {
                Self::unprocessable("send-at", "the moment of sending is out of bounds", detail)
            }
            DraftError::TooMany => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "sendouts",
                "too many send-outs are scheduled",
                detail,
            ),
            DraftError::Check(error) => error.into(),
        }
    }
}

/// Lists the send-outs without their answers.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let heads = api
        .sendouts
        .list()
        .await
        .map_err(|error| Problem::store(&error))?;
    let sendouts = heads.iter().map(SendoutBody::from).collect();
    Ok(Json(SendoutList { sendouts }).into_response())
}

/// Shows one send-out with its answers.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let found = api
        .sendouts
        .get(&id)
        .await
        .map_err(|error| Problem::store(&error))?;
    let sendout = found.ok_or_else(unknown)?;
    Ok(Json(SendoutWhole::from(&sendout)).into_response())
}

/// Why a send-out is taken back: in the query, since a DELETE has no body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    #[serde(default = "no_reason")]
    reason: String,
}

fn no_reason() -> String {
    "no reason given".to_owned()
}

/// Takes a send-out back before its moment.
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    why: Result<Query<Why>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let token = api.tokens.admit(&headers, Act::Send)?;
    let Query(why) = why.map_err(|fault| {
        Problem::unprocessable("query", "the query is not understood", fault.body_text())
    })?;
    let by = named(&token, &why.reason)?;
    let cancelled = api
        .sendouts
        .cancel(&id, &by)
        .await
        .map_err(|error| Problem::store(&error))?;
    match cancelled {
        Cancelled::Done => {
            tracing::info!(token = %token.name, sendout = %id, "send-out {id} was cancelled by {}", token.name);
            Ok(StatusCode::NO_CONTENT)
        }
        Cancelled::TooLate => Err(Problem::new(
            StatusCode::CONFLICT,
            "sendout-settled",
            "the send-out is settled",
            "it has been cancelled already, or its last answers have been given",
        )),
        Cancelled::Unknown => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "sendout",
        "there is no such send-out",
        "it was never registered, or has been forgotten since it was settled",
    )
}
