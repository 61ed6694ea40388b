//! Single records: read, create, update, upsert, delete (REST guide: sObject rows; conditional requests).

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::query::record;
use super::values::changes;
use super::{Call, Reply, Session};
use crate::clock;
use crate::faults::CallKind;
use crate::org::save::Author;
use crate::org::schema::{IS_DELETED, MODIFIED};
use crate::org::state::State;
use crate::org::table::Slot;
use crate::refusal::Refusal;

/// The author of an API save, with what the request's headers say.
pub(crate) fn author(call: &Call, session: Session<'_>, kind: CallKind) -> Author {
    let mut author = Author::api(session.user.to_owned(), kind);
    author.allow_duplicates = call
        .header("sforce-duplicate-rule-header")
        .is_some_and(|value| {
            value
                .to_ascii_lowercase()
                .replace(' ', "")
                .contains("allowsave=true")
        });
    author
}

fn writable(state: &State, object: &str) -> Result<usize, Refusal> {
    let table = state.find_table(object).ok_or_else(Refusal::not_found)?;
    if !state.tables[table].object.writable {
        let message = format!("entity type {object} does not support this operation");
        return Err(Refusal::new(
            400,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            message,
        ));
    }
    Ok(table)
}

/// `POST sobjects/<object>`.
pub(crate) fn create(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    object: &str,
) -> Result<Reply, Refusal> {
    if call.method != Method::POST {
        return Err(Refusal::method(call.method.as_str(), "GET, POST"));
    }
    let table = writable(state, object)?;
    let values = changes(state, table, &call.json()?, true)??;
    let id = state.create_row(
        table,
        values,
        &author(call, session, CallKind::RowWrite),
        None,
    )?;
    Ok(Reply::json(
        201,
        json!({"id": id, "success": true, "errors": []}),
    ))
}

/// `GET`, `PATCH` and `DELETE sobjects/<object>/<id>`.
pub(crate) fn by_id(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    object: &str,
    id: &str,
) -> Result<Reply, Refusal> {
    let table = state.find_table(object).ok_or_else(Refusal::not_found)?;
    let (slot, deleted) = state.locate(table, id).map_err(|refusal| {
        // A text that has not the form of an id is looked for in vain.
        if refusal.code == "MALFORMED_ID" {
            Refusal::not_found()
        } else {
            refusal
        }
    })?;
    let method = call.method.clone();
    match method {
        Method::GET => read(state, call, session, table, slot),
        Method::PATCH => {
            if deleted {
                return Err(Refusal::deleted());
            }
            writable(state, object)?;
            unmodified_since(state, call, table, slot)?;
            let body = call.json()?;
            if body.keys().any(|name| name.eq_ignore_ascii_case("id")) {
                let message = "The Id field should not be specified in the sobject data.";
                return Err(Refusal::new(400, "INVALID_FIELD", message).on("Id"));
            }
            let values = changes(state, table, &body, false)??;
            state.update_row(
                table,
                slot,
                values,
                &author(call, session, CallKind::RowWrite),
            )?;
            Ok(Reply::empty(204))
        }
        Method::DELETE => {
            writable(state, object)?;
            unmodified_since(state, call, table, slot)?;
            state.delete_row(table, slot, &author(call, session, CallKind::RowWrite))?;
            Ok(Reply::empty(204))
        }
        other => Err(Refusal::method(other.as_str(), "GET, PATCH, DELETE")),
    }
}

fn read(
    state: &State,
    call: &Call,
    session: Session<'_>,
    table: usize,
    slot: Slot,
) -> Result<Reply, Refusal> {
    let now = state.now();
    let row = state.tables[table]
        .seen(slot, now)
        .ok_or_else(Refusal::not_found)?;
    if row[IS_DELETED].is_true() {
        return Err(Refusal::deleted());
    }
    let modified = row[MODIFIED].as_time().unwrap_or(now);
    let stamp = clock::http_date(modified);
    if let Some(since) = condition(call, "if-modified-since")?
        && modified <= since
    {
        return Ok(Reply::empty(304).with("Last-Modified", stamp));
    }
    unmodified_since(state, call, table, slot)?;
    let columns = columns(state, table, call.param("fields").as_deref())?;
    let body = record(state, &session.base(), table, slot, now, &columns)
        .ok_or_else(Refusal::not_found)?;
    Ok(Reply::json(200, body).with("Last-Modified", stamp))
}

/// The columns named in a comma-separated list, or all of them.
pub(crate) fn columns(
    state: &State,
    table: usize,
    names: Option<&str>,
) -> Result<Vec<Vec<String>>, Refusal> {
    let object = &state.tables[table].object;
    match names.filter(|names| !names.trim().is_empty()) {
        None => Ok(object
            .fields
            .iter()
            .filter(|field| state.visible_field(table, field.name).is_some())
            .map(|field| vec![field.name.to_owned()])
            .collect()),
        Some(names) => names
            .split(',')
            .map(str::trim)
            .map(|name| {
                let position = state
                    .visible_field(table, name)
                    .ok_or_else(|| Refusal::no_column(object.name, name))?;
                Ok(vec![object.fields[position].name.to_owned()])
            })
            .collect(),
    }
}

fn condition(call: &Call, header: &str) -> Result<Option<chrono::DateTime<chrono::Utc>>, Refusal> {
    call.header(header)
        .map(|text| {
            clock::parse_http_date(text)
                .ok_or_else(|| Refusal::new(400, "INVALID_HEADER", "Invalid date in header"))
        })
        .transpose()
}

/// 412 when the row was modified after the stamp in `If-Unmodified-Since`; whole seconds are compared.
fn unmodified_since(state: &State, call: &Call, table: usize, slot: Slot) -> Result<(), Refusal> {
    let Some(since) = condition(call, "if-unmodified-since")? else {
        return Ok(());
    };
    let modified = state.tables[table]
        .saved(slot)
        .and_then(|row| row[MODIFIED].as_time());
    if modified.is_some_and(|modified| modified > since) {
        let message = "The precondition of the request was not met";
        return Err(Refusal::new(412, "PRECONDITION_FAILED", message));
    }
    Ok(())
}

/// Live rows whose external id field has this value.
pub(crate) fn matches(
    state: &State,
    table: usize,
    field: &str,
    value: &str,
) -> Result<(usize, Vec<Slot>), Refusal> {
    let rows = &state.tables[table];
    let position = state
        .visible_field(table, field)
        .filter(|position| rows.object.fields[*position].external_id)
        .ok_or_else(|| {
            let message =
                format!("Provided external ID field does not exist or is not accessible: {field}");
            Refusal::new(404, "NOT_FOUND", message)
        })?;
    let found = rows
        .slots()
        .filter(|slot| {
            rows.saved(*slot).is_some_and(|row| {
                !row[IS_DELETED].is_true()
                    && row[position]
                        .as_text()
                        .is_some_and(|text| text.eq_ignore_ascii_case(value))
            })
        })
        .collect();
    Ok((position, found))
}

/// `GET`, `PATCH` (upsert) and `DELETE sobjects/<object>/<external id field>/<value>`.
pub(crate) fn by_external_id(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    object: &str,
    field: &str,
    value: &str,
) -> Result<Reply, Refusal> {
    let table = writable(state, object)?;
    if field.eq_ignore_ascii_case("id") {
        return by_id(state, call, session, object, value);
    }
    let (position, found) = matches(state, table, field, value)?;
    if found.len() > 1 {
        let base = session.base();
        let links: Vec<Value> = found
            .iter()
            .filter_map(|slot| state.id_of(table, *slot).ok())
            .map(|id| json!(format!("{base}/sobjects/{object}/{id}")))
            .collect();
        return Ok(Reply::json(300, Value::Array(links)));
    }
    let method = call.method.clone();
    match (method, found.first()) {
        (Method::GET, Some(slot)) => read(state, call, session, table, *slot),
        (Method::DELETE, Some(slot)) => {
            state.delete_row(table, *slot, &author(call, session, CallKind::RowWrite))?;
            Ok(Reply::empty(204))
        }
        (Method::PATCH, Some(slot)) => {
            let slot = *slot;
            unmodified_since(state, call, table, slot)?;
            let values = changes(state, table, &without(call.json()?, field), false)??;
            state.update_row(
                table,
                slot,
                values,
                &author(call, session, CallKind::RowWrite),
            )?;
            let id = state.id_of(table, slot)?;
            Ok(Reply::json(
                200,
                json!({"id": id, "success": true, "errors": [], "created": false}),
            ))
        }
        (Method::PATCH, None) if call.param("updateOnly").as_deref() != Some("true") => {
            let mut values = changes(state, table, &without(call.json()?, field), true)??;
            values.push((position, crate::org::table::Cell::text(value)));
            let id = state.create_row(
                table,
                values,
                &author(call, session, CallKind::RowWrite),
                None,
            )?;
            Ok(Reply::json(
                201,
                json!({"id": id, "success": true, "errors": [], "created": true}),
            ))
        }
        (Method::GET | Method::DELETE | Method::PATCH, None) => Err(Refusal::not_found()),
        (other, _) => Err(Refusal::method(other.as_str(), "GET, PATCH, DELETE")),
    }
}

fn without(mut body: Map<String, Value>, field: &str) -> Map<String, Value> {
    body.retain(|name, _| !name.eq_ignore_ascii_case(field));
    body
}
