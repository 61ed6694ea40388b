//! `POST /v1/checklists`.

use super::Api;
use super::auth::Act;
use super::bodies::{CheckAsk, ChecklistBody, freshness, note, read};
use super::problem::Problem;
use crate::sync::checklist::Ask;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Looks a list up and answers for each of its recipients.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Response, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Send)?;
    let asked: CheckAsk = read(request).await?;
    let ask = Ask {
        freshness: freshness(asked.max_age_secs)?,
        people: api.desk.people(&asked.recipients.0).await?,
        purpose: asked.purpose,
    };
    let checklist = api.desk.check(&ask).await?;
    note(
        "a list was checked",
        &token,
        &ask.purpose,
        &checklist.counts(),
    );
    let body = ChecklistBody::new(&checklist, Some(&asked.recipients.0));
    Ok(Json(body).into_response())
}
