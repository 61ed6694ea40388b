//! Ids updated or deleted in a window of time (REST guide: get updated, get deleted).
//!
//! Bounds are cut to the minute. `latestDateCovered` stays behind now by a set lag, and behind the oldest save that is
//! not visible yet, so that a client that goes on from it misses nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Call, Reply};
use crate::clock;
use crate::faults::{CallKind, Fault};
use crate::org::schema::{ID, IS_DELETED, STAMP};
use crate::org::state::State;
use crate::org::table::Slot;
use crate::refusal::Refusal;

/// How far back updated ids can be asked for.
pub(crate) const UPDATED_DAYS: i64 = 30;
/// How far back deleted ids can be asked for, and how long the recycle bin keeps rows.
pub(crate) const DELETED_DAYS: i64 = 15;
/// Most ids in one answer.
pub(crate) const MAX_IDS: usize = 600_000;

struct Window {
    table: usize,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    covered: DateTime<Utc>,
}

fn window(
    state: &mut State,
    call: &Call,
    kind: CallKind,
    object: &str,
    days: i64,
) -> Result<Window, Refusal> {
    let table = state.find_table(object).ok_or_else(Refusal::not_found)?;
    if !state.tables[table].object.replicateable {
        return Err(Refusal::new(
            400,
            "INVALID_TYPE_FOR_OPERATION",
            format!("object {object} is not replicable"),
        ));
    }
    let refused = state.faults.strike(kind, |fault| match fault {
        Fault::ReplicationRefusal { code } => Some(code.clone()),
        _ => None,
    });
    if let Some(code) = refused {
        return Err(Refusal::new(
            400,
            &code,
            "the requested range cannot be served",
        ));
    }
    let invalid = |why: &str| Refusal::new(400, "INVALID_REPLICATION_DATE", why.to_owned());
    let now = state.now();
    let bound = |name: &str| {
        let text = call
            .param(name)
            .ok_or_else(|| invalid(&format!("{name} is required")))?;
        let at = clock::parse_stamp(&text.replace(' ', "+"))
            .ok_or_else(|| invalid(&format!("{name} is not a date: {text}")))?;
        at.duration_trunc(TimeDelta::minutes(1))
            .map_err(|_| invalid("date out of range"))
    };
    let (from, to) = (bound("start")?, bound("end")?);
    if from >= to {
        return Err(invalid(
            "startDate must be before endDate, by a minute at least",
        ));
    }
    if from < now - TimeDelta::days(days) {
        return Err(invalid(&format!(
            "startDate cannot be more than {days} days ago"
        )));
    }
    let lagged = now - TimeDelta::seconds(state.settings.replication_lag_secs);
    let covered = state.tables[table]
        .oldest_pending(now)
        .map_or(lagged, |pending| pending.min(lagged))
        .min(to);
    Ok(Window {
        table,
        from,
        to,
        covered,
    })
}

/// `GET sobjects/<object>/updated`.
pub(crate) fn updated(
    state: &mut State,
    call: &Call,
    kind: CallKind,
    object: &str,
) -> Result<Reply, Refusal> {
    let window = window(state, call, kind, object, UPDATED_DAYS)?;
    let ids: Vec<Value> = rows(state, &window, false)?
        .into_iter()
        .map(|(id, _)| json!(id))
        .collect();
    Ok(Reply::json(
        200,
        json!({"ids": ids, "latestDateCovered": clock::rest_stamp(window.covered)}),
    ))
}

/// `GET sobjects/<object>/deleted`.
pub(crate) fn deleted(
    state: &mut State,
    call: &Call,
    kind: CallKind,
    object: &str,
) -> Result<Reply, Refusal> {
    let window = window(state, call, kind, object, DELETED_DAYS)?;
    let rows: Vec<Value> = rows(state, &window, true)?
        .into_iter()
        .map(|(id, at)| json!({"id": id, "deletedDate": clock::rest_stamp(at)}))
        .collect();
    let earliest = state.now() - TimeDelta::days(DELETED_DAYS);
    Ok(Reply::json(
        200,
        json!({
            "deletedRecords": rows,
            "earliestDateAvailable": clock::rest_stamp(earliest),
            "latestDateCovered": clock::rest_stamp(window.covered),
        }),
    ))
}

fn rows(
    state: &State,
    window: &Window,
    deleted: bool,
) -> Result<Vec<(String, DateTime<Utc>)>, Refusal> {
    let table = &state.tables[window.table];
    let now = state.now();
    // What readers still see of a row with an unfinished save is not under the stamp of that save.
    let slots: BTreeSet<Slot> = table
        .stamped(window.from.timestamp(), window.to.timestamp())
        .chain(table.shadowed())
        .collect();
    let found: Vec<_> = slots
        .into_iter()
        .filter_map(|slot| table.seen(slot, now))
        .filter(|row| row[IS_DELETED].is_true() == deleted)
        .filter_map(|row| Some((row[ID].as_text()?.to_owned(), row[STAMP].as_time()?)))
        .filter(|(_, at)| *at >= window.from && *at < window.to)
        .collect();
    if found.len() > MAX_IDS {
        return Err(Refusal::new(
            400,
            "EXCEEDED_ID_LIMIT",
            "too many ids in the requested range",
        ));
    }
    Ok(found)
}
