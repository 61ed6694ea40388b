//! `/v1/erasures`: a person is erased while the daemon runs (R55).
//!
//! The same as `consentd erase`, with the token's name as the operator's. The address is neither logged
//! nor repeated.

use super::Api;
use super::auth::Act;
use super::bodies::erasure;
use super::problem::Problem;
use crate::sync::checklist::CheckError;
use crate::sync::erasure::{EraseError, Ground, Report, erase};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// What was erased.
#[derive(Serialize)]
pub(super) struct ErasureBody {
    /// Somebody was known by the address.
    known: bool,
    /// Contacts that were removed.
    contacts: u64,
    /// Systems that still have some of them.
    remaining: Vec<RemainingBody>,
    /// Entries of the ledger that were forgotten.
    forgotten: u64,
    /// Nothing of the person is left in the database's files.
    clean: bool,
}

#[derive(Serialize)]
struct RemainingBody {
    system: String,
    contacts: i64,
}

impl From<Report> for ErasureBody {
    fn from(report: Report) -> Self {
        let remaining = report.remaining.into_iter();
        Self {
            known: report.was_known,
            contacts: report.contacts,
            remaining: remaining
                .map(|(system, contacts)| RemainingBody { system, contacts })
                .collect(),
            forgotten: report.forgotten,
            clean: report.residue.left.is_empty() && !report.residue.is_log_kept,
        }
    }
}

/// Erases whoever is known by an address.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<ErasureBody>, Problem> {
    let token = api.tokens.admit(request.headers(), Act::Operate)?;
    let (by, address, even_so) = erasure(request, &token).await?;
    let crew = api.switchboard.roster.crew();
    let crew = crew.ok_or_else(|| Problem::from(CheckError::NobodyAtWork))?;
    let shared = &crew.shared;
    let ground = Ground {
        store: &*shared.store,
        pseudonyms: &shared.pseudonyms,
        frame: shared.frame(false),
    };
    let report = erase(ground, &address, &by, even_so)
        .await
        .map_err(|error| refused(&error))?;
    shared.wake_all_emitters();
    tracing::info!(
        token = %token.name,
        contacts = report.contacts,
        forgotten = report.forgotten,
        "a person was erased, asked for by {}",
        token.name
    );
    Ok(Json(report.into()))
}

fn refused(error: &EraseError) -> Problem {
    let detail = error.to_string();
    match error {
        EraseError::Remaining(_) => Problem::new(
            StatusCode::CONFLICT,
            "contacts-remain",
            "systems still have contacts of the address",
            format!("{detail}; even_so erases all the same"),
        ),
        EraseError::NamesAddress => {
            Problem::unprocessable("reason", "the reason is refused", detail)
        }
        EraseError::Busy => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            "the store changes too fast",
            detail,
        ),
        EraseError::Store(error) => Problem::store(error),
    }
}
