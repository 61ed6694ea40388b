//! What people do to re-subscribe requests (R47).

use super::{REQUESTS_AT_ONCE, close, entry};
use crate::consent::At;
use crate::consent::gate::Closing;
use crate::store::{
    Changes, Known, RequestQuery, RequestRow, Scope, Store, StoreError, SubjectRef,
};
use crate::sync::switches::Operator;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be done with some requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// They are worked: closed, whatever the gate says until it is asked again.
    Done,
    /// Somebody waits for them.
    Urgent,
    /// Nobody waits for them any more; they are worked weekly.
    Weekly,
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was done.
    Changed,
    /// It was so already.
    Same,
    /// It is closed.
    Closed,
    /// There is none of that number.
    Unknown,
}

/// Does the same to these requests, each in the ledger with who did it and why. What came of each, in
/// the order of their numbers.
///
/// # Errors
/// When the store fails; nothing is changed then.
pub async fn act(
    store: &dyn Store,
    ids: &BTreeSet<i64>,
    act: Act,
    by: &Operator,
    now: At,
) -> Result<BTreeMap<i64, Came>, StoreError> {
    let mut came: BTreeMap<i64, Came> = ids.iter().map(|id| (*id, Came::Unknown)).collect();
    let wanted: Vec<i64> = ids.iter().copied().collect();
    for chunk in wanted.chunks(REQUESTS_AT_ONCE) {
        let query = RequestQuery {
            ids: chunk.to_vec(),
            closed: true,
            ..RequestQuery::default()
        };
        let found = store.requests(&query, REQUESTS_AT_ONCE).await?;
        for view in &found {
            came.insert(view.request.id, Came::Closed);
        }
        let subjects: BTreeSet<SubjectRef> = found.iter().map(|view| view.subject).collect();
        let scope = Scope {
            subjects: subjects.into_iter().collect(),
            requests: true,
            ..Scope::default()
        };
        let mut settled = BTreeMap::new();
        let decide = &mut |known: Known| {
            settled.clear();
            let mut changes = Changes::default();
            for request in known
                .requests
                .iter()
                .filter(|request| ids.contains(&request.id))
            {
                let subject = known.subjects.iter().find(|row| row.id == request.subject);
                if let Some(row) = subject {
                    let came = change(row.subject, request, act, by, now, &mut changes);
                    settled.insert(request.id, came);
                }
            }
            changes
        };
        store.transact(&scope, decide).await?;
        came.extend(settled);
    }
    Ok(came)
}

fn change(
    subject: SubjectRef,
    request: &RequestRow,
    act: Act,
    by: &Operator,
    now: At,
    changes: &mut Changes,
) -> Came {
    let words = format!("{}: {}", by.name(), by.reason());
    let urgent = match act {
        Act::Done => {
            close(
                subject,
                request,
                Closing::ByHand,
                Some(&words),
                now,
                changes,
            );
            return Came::Changed;
        }
        Act::Urgent => true,
        Act::Weekly => false,
    };
    if request.urgent == urgent {
        return Came::Same;
    }
    let row = RequestRow {
        urgent,
        ..request.clone()
    };
    let word = if urgent { "urgent" } else { "weekly" };
    changes
        .ledger
        .push(entry(subject, &row, word, Some(&words), now));
    changes.gate.requests.push(row);
    Came::Changed
}
