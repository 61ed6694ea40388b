//! Queries and their pages.
//!
//! A query's rows are fixed when its first page is asked for; the values are those of the moment at which a page is
//! built. A cursor is named by an 18-character locator, belongs to a user, and dies of age or when its user opens too
//! many (REST guide: query; limits cheat sheet: open query cursors).

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::replication::DELETED_DAYS;
use super::{Call, Reply, Session};
use crate::faults::{CallKind, Fault};
use crate::ids;
use crate::org::schema::{ID, IS_DELETED, STAMP};
use crate::org::state::State;
use crate::org::table::Slot;
use crate::refusal::Refusal;
use crate::soql::{self, Plan};

/// Cursors a user can have open; the oldest goes first.
pub(crate) const MAX_CURSORS: usize = 10;
/// Smallest page that a client can ask for.
pub(crate) const MIN_PAGE_ROWS: usize = 200;
/// Longest statement.
pub(crate) const MAX_STATEMENT: usize = 100_000;

/// An unfinished query.
#[derive(Debug)]
struct Cursor {
    locator: String,
    user: String,
    version: String,
    opened: DateTime<Utc>,
    page_rows: usize,
    table: usize,
    plan: Arc<Plan>,
    slots: Arc<[Slot]>,
}

/// The open cursors of an org, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    open: VecDeque<Cursor>,
    made: u64,
}

/// A planned query and the rows it selects.
pub(crate) struct Rows {
    pub(crate) table: usize,
    pub(crate) plan: Plan,
    pub(crate) slots: Vec<Slot>,
}

/// Runs a statement; deleted rows count when `all`.
pub(crate) fn run(state: &State, text: &str, all: bool) -> Result<Rows, Refusal> {
    if text.chars().count() > MAX_STATEMENT {
        return Err(Refusal::new(
            400,
            "MALFORMED_QUERY",
            "SOQL statements cannot be longer than 100000 characters.",
        ));
    }
    let query = soql::parse(text)?;
    let plan = query.check(state)?;
    let table = state.table_named(query.object())?;
    let now = state.now();
    let rows = &state.tables[table];
    let purged = now - TimeDelta::days(DELETED_DAYS);
    let visible = |slot: &Slot| {
        rows.seen(*slot, now).is_some_and(|row| {
            let deleted = row[IS_DELETED].is_true();
            !deleted || all && row[STAMP].as_time().is_some_and(|at| at > purged)
        }) && plan.matches(&state.view(table, *slot, now))
    };
    let slots: Vec<Slot> = if let Some(ids) = plan.equality_ids() {
        let mut slots: Vec<Slot> = ids.iter().filter_map(|id| rows.slot(id)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().filter(visible).collect()
    } else if let Some(floor) = plan.lower_bound("SystemModstamp") {
        let mut slots: Vec<Slot> = rows
            .stamped(floor.timestamp(), i64::MAX)
            .chain(rows.shadowed())
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().filter(visible).collect()
    } else {
        rows.slots().filter(visible).collect()
    };
    let mut views: Vec<_> = slots
        .into_iter()
        .map(|slot| state.view(table, slot, now))
        .collect();
    plan.sort_limit(&mut views);
    let slots = views.into_iter().map(|view| view.slot).collect();
    Ok(Rows { table, plan, slots })
}

/// `GET query` and `GET queryAll`.
pub(crate) fn first(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    all: bool,
) -> Result<Reply, Refusal> {
    let text = call
        .param("q")
        .filter(|text| !text.trim().is_empty())
        .ok_or_else(|| Refusal::new(400, "MALFORMED_QUERY", "SOQL query is missing or empty"))?;
    let rows = run(state, &text, all)?;
    let page_rows = wanted_rows(state, call).unwrap_or(state.settings.page_rows);
    if rows.plan.is_count() {
        return Ok(Reply::json(
            200,
            json!({"totalSize": rows.slots.len(), "done": true, "records": []}),
        ));
    }
    state.cursors.made += 1;
    let cursor = Cursor {
        locator: ids::make("0r8", state.system.instance(), state.cursors.made),
        user: session.user.to_owned(),
        version: session.version.to_owned(),
        opened: state.now(),
        page_rows,
        table: rows.table,
        plan: Arc::new(rows.plan),
        slots: rows.slots.into(),
    };
    let kind = if all {
        CallKind::QueryAll
    } else {
        CallKind::Query
    };
    let (body, done) = page(state, kind, &cursor, 0, page_rows);
    if !done {
        let own = state
            .cursors
            .open
            .iter()
            .filter(|open| open.user == cursor.user)
            .count();
        if own >= MAX_CURSORS
            && let Some(oldest) = state
                .cursors
                .open
                .iter()
                .position(|open| open.user == cursor.user)
        {
            state.cursors.open.remove(oldest);
        }
        state.cursors.open.push_back(cursor);
    }
    Ok(Reply::json(200, body))
}

/// `GET query/<locator>-<offset>`; any `q` is ignored.
pub(crate) fn more(
    state: &mut State,
    call: &Call,
    kind: CallKind,
    session: Session<'_>,
    locator: &str,
) -> Result<Reply, Refusal> {
    let invalid = || Refusal::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator");
    let expired = state.faults.strike(kind, |fault| {
        matches!(fault, Fault::CursorExpiry).then_some(())
    });
    if expired.is_some() {
        state.cursors.open.clear();
    }
    let oldest = state.now() - TimeDelta::seconds(state.settings.cursor_secs);
    state.cursors.open.retain(|cursor| cursor.opened > oldest);
    let (name, offset) = locator.rsplit_once('-').ok_or_else(invalid)?;
    let offset: usize = offset.parse().map_err(|_| invalid())?;
    let place = state
        .cursors
        .open
        .iter()
        .position(|cursor| cursor.locator == name && cursor.user == session.user)
        .filter(|place| offset <= state.cursors.open[*place].slots.len())
        .ok_or_else(invalid)?;
    // Taken out while its page is built, then put back: the same page may be asked for again.
    let cursor = state.cursors.open.remove(place).ok_or_else(invalid)?;
    let page_rows = wanted_rows(state, call).unwrap_or(cursor.page_rows);
    let (body, _) = page(state, kind, &cursor, offset, page_rows);
    state.cursors.open.insert(place, cursor);
    Ok(Reply::json(200, body))
}

/// The page size in `Sforce-Query-Options`, within the platform's bounds.
fn wanted_rows(state: &State, call: &Call) -> Option<usize> {
    let options = call.header("sforce-query-options")?;
    let size = options
        .split([',', ';'])
        .find_map(|part| part.trim().strip_prefix("batchSize="))?;
    let size: usize = size.trim().parse().ok()?;
    Some(size.clamp(
        MIN_PAGE_ROWS.min(state.settings.page_rows),
        state.settings.page_rows,
    ))
}

fn page(
    state: &mut State,
    kind: CallKind,
    cursor: &Cursor,
    offset: usize,
    page_rows: usize,
) -> (Value, bool) {
    let short = state.faults.strike(kind, |fault| match fault {
        Fault::ShortPages { rows } => Some(*rows),
        _ => None,
    });
    let rows = short.map_or(page_rows, |rows| rows.min(page_rows)).max(1);
    let end = offset.saturating_add(rows).min(cursor.slots.len());
    let done = end >= cursor.slots.len();
    let now = state.now();
    let base = format!("/services/data/v{}", cursor.version);
    let records: Vec<Value> = cursor.slots[offset.min(end)..end]
        .iter()
        .filter_map(|slot| {
            record(
                state,
                &base,
                cursor.table,
                *slot,
                now,
                cursor.plan.columns(),
            )
        })
        .collect();
    let mut body = Map::new();
    body.insert("totalSize".to_owned(), json!(cursor.slots.len()));
    body.insert("done".to_owned(), json!(done));
    if !done {
        let looping = state.faults.strike(kind, |fault| {
            matches!(fault, Fault::LoopingPages).then_some(())
        });
        let next = if looping.is_some() { offset } else { end };
        let host = state.faults.strike(kind, |fault| match fault {
            Fault::ForeignNextLink { url } => Some(url.clone()),
            _ => None,
        });
        let link = format!(
            "{}{base}/query/{}-{next}",
            host.unwrap_or_default(),
            cursor.locator
        );
        body.insert("nextRecordsUrl".to_owned(), json!(link));
    }
    body.insert("records".to_owned(), Value::Array(records));
    (Value::Object(body), done)
}

/// Marks the place of a record whose text is replaced when the answer is written.
pub(crate) fn raw_mark(id: &str) -> String {
    format!("@@raw-record:{id}@@")
}

/// One record with its `attributes` and the given columns; `None` when it is gone.
pub(crate) fn record(
    state: &State,
    base: &str,
    table: usize,
    slot: Slot,
    now: DateTime<Utc>,
    columns: &[Vec<String>],
) -> Option<Value> {
    let row = state.tables[table].seen(slot, now)?;
    let id = row[ID].as_text()?;
    if state.faults.has_raw_records() && state.faults.raw_record(id).is_some() {
        return Some(Value::String(raw_mark(id)));
    }
    let mut record = Map::new();
    let object = state.tables[table].object.name;
    record.insert(
        "attributes".to_owned(),
        json!({"type": object, "url": format!("{base}/sobjects/{object}/{id}")}),
    );
    let view = state.view(table, slot, now);
    for path in columns {
        put(&mut record, base, view, path);
    }
    Some(Value::Object(record))
}

/// Puts the value at `path` into `record`, nesting relationships; a relationship that leads nowhere is null.
fn put(
    record: &mut Map<String, Value>,
    base: &str,
    view: crate::org::state::View<'_>,
    path: &[String],
) {
    match path {
        [] => {}
        [name] => {
            record.insert(name.clone(), view.json(name));
        }
        [relationship, rest @ ..] => {
            let Some(target) = view.follow(relationship) else {
                record.insert(relationship.clone(), Value::Null);
                return;
            };
            let nested = record.entry(relationship.clone()).or_insert_with(|| {
                let object = target.state.tables[target.table].object.name;
                let id = target.json("Id");
                let id = id.as_str().unwrap_or_default();
                json!({"attributes": {"type": object, "url": format!("{base}/sobjects/{object}/{id}")}})
            });
            if let Value::Object(nested) = nested {
                put(nested, base, target, rest);
            }
        }
    }
}
