//! `POST /v1/explain`: all that is known of one person (R53).
//!
//! The address comes in the body, so that it is in no URL and in no log of a proxy.

use super::Api;
use super::auth::Act;
use super::bodies::read;
use super::problem::Problem;
use crate::consent::SubjectKey;
use crate::sync::checklist::CheckError;
use crate::sync::timeline::{self, Timeline};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// Who is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    address: String,
}

/// The timeline of the person with that address.
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Timeline>, Problem> {
    api.tokens.admit(request.headers(), Act::Look)?;
    let ask: Ask = read(request).await?;
    let key = SubjectKey::from_address(&ask.address).map_err(|fault| {
        Problem::unprocessable("address", "that is no address", fault.to_string())
    })?;
    let crew = api.switchboard.roster.crew();
    let shared = crew.ok_or(CheckError::NobodyAtWork)?.shared;
    let subject = shared.pseudonyms.of(&key);
    let timeline = timeline::of(&*shared.store, subject, &shared.rules).await;
    let timeline = timeline.map_err(|error| Problem::store(&error))?;
    timeline.map(Json).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "person",
            "nobody is known by that address",
            format!("no system has a contact of subject {}", subject.short()),
        )
    })
}
