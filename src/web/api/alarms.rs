//! `/v1/alarms`: what somebody has to look at.

use super::Api;
use super::auth::Act;
use super::problem::Problem;
use crate::alarm::{Kind, Severity};
use crate::consent::At;
use crate::store::{AlarmPost, AlarmRow};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
pub(super) struct AlarmList {
    alarms: Vec<AlarmBody>,
}

/// An alarm that stands.
#[derive(Serialize)]
struct AlarmBody {
    kind: String,
    about: String,
    severity: &'static str,
    /// Since when it is so.
    since: String,
    raised_at: String,
    text: String,
    deliveries: Vec<DeliveryBody>,
}

/// Where one channel stands with it.
#[derive(Serialize)]
struct DeliveryBody {
    channel: String,
    delivered: bool,
    /// Attempts that failed so far.
    attempts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<AlarmRow> for AlarmBody {
    fn from(row: AlarmRow) -> Self {
        let severity = Kind::from_word(&row.kind).map_or(Severity::Warning, Kind::severity);
        Self {
            severity: severity.word(),
            since: At::from_micros(row.since).to_string(),
            raised_at: At::from_micros(row.raised_at).to_string(),
            text: row.text,
            deliveries: row.posts.into_iter().map(DeliveryBody::from).collect(),
            kind: row.kind,
            about: row.about,
        }
    }
}

impl From<AlarmPost> for DeliveryBody {
    fn from(post: AlarmPost) -> Self {
        Self {
            delivered: post.told,
            attempts: post.attempts,
            next_try: (!post.told).then(|| At::from_micros(post.next_try).to_string()),
            error: post.error,
            channel: post.channel,
        }
    }
}

/// Lists the alarms that stand, in the order in which they were raised.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<Json<AlarmList>, Problem> {
    api.tokens.admit(&headers, Act::Look)?;
    let rows = api.switchboard.store.alarms().await;
    let alarms = rows
        .map_err(|error| Problem::store(&error))?
        .into_iter()
        .filter(|row| row.cleared_at.is_none())
        .map(AlarmBody::from)
        .collect();
    Ok(Json(AlarmList { alarms }))
}
