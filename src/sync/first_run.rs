//! Whether a store has begun to write (R49): a new one may be *planning*, so that everything is read and
//! decided, and nothing is written to any system until somebody has seen what would be.
//!
//! It is a state of the store and not of a process: it outlives restarts, and every transaction sees it.

use crate::config::FirstRun;
use crate::consent::At;
use crate::store::{
    Changes, Figures, Known, LedgerDraft, PlanningChange, Scope, Store, StoreError,
};
use serde_json::json;

/// Decides once, for a store that no daemon has opened before, whether it plans first.
///
/// # Errors
/// When the store fails.
pub async fn settle(first_run: FirstRun, store: &dyn Store, now: At) -> Result<(), StoreError> {
    if store.origin().await?.planning.is_some() {
        return Ok(());
    }
    let (change, entry) = match first_run {
        FirstRun::Plan => {
            let entry = LedgerDraft {
                kind: "switched",
                subject: None,
                system: None,
                at: now.micros(),
                body: json!({ "act": "planning begins" }).to_string(),
            };
            (PlanningChange::Begins, Some(entry))
        }
        FirstRun::Write => {
            let (now, grants_from) = (now.micros(), now.micros());
            (PlanningChange::Ends { now, grants_from }, None)
        }
    };
    let decide = &mut |known: Known| {
        // Another daemon may have come first.
        if known.planning.is_some() {
            return Changes::default();
        }
        Changes {
            planning: Some(change),
            ledger: entry.iter().cloned().collect(),
            ..Changes::default()
        }
    };
    store.transact(&Scope::default(), decide).await.map(drop)
}

/// What somebody should know of a store that only plans; none of one that writes.
pub fn advice(figures: &Figures) -> Option<String> {
    let planned = figures.planned();
    let writes = match planned {
        1 => "1 write is planned".to_owned(),
        many => format!("{many} writes are planned"),
    };
    figures.planning.then(|| {
        format!(
            "nothing is written to any system yet; {writes}: look at them with `consentd plan`, save \
             them with `consentd plan --save FILE`, let them go with `consentd apply FILE`"
        )
    })
}
