//! Collections: up to 200 rows written, or 2,000 read, in one call, with one result a row in the order of the request.
//!
//! A well-formed call is answered 200 whatever happens to its rows; `success` tells. Row errors carry `statusCode`
//! (REST guide: sObject collections).

use std::collections::{HashMap, HashSet};

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::query::record;
use super::rows::{author, columns, matches};
use super::values::changes;
use super::{Call, Reply, Session};
use crate::faults::CallKind;
use crate::ids;
use crate::org::save::{Author, Changes};
use crate::org::schema::IS_DELETED;
use crate::org::state::State;
use crate::org::table::{Cell, Slot};
use crate::refusal::Refusal;

/// Rows that one writing call takes.
pub(crate) const MAX_WRITTEN: usize = 200;
/// Rows that one reading call takes.
pub(crate) const MAX_READ: usize = 2_000;
/// Changes of object type within one call.
pub(crate) const MAX_TYPE_CHANGES: usize = 10;

/// One row of a request: where it goes and what it sets.
enum Row {
    Create {
        table: usize,
        changes: Changes,
    },
    Update {
        table: usize,
        slot: Slot,
        id: String,
        changes: Changes,
    },
    Delete {
        table: usize,
        slot: Slot,
        id: String,
    },
    Refused {
        id: Option<String>,
        refusal: Refusal,
    },
}

/// `POST`, `PATCH` and `DELETE composite/sobjects`.
pub(crate) fn write(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
) -> Result<Reply, Refusal> {
    let method = call.method.clone();
    match method {
        Method::DELETE => delete(state, call, session),
        Method::POST | Method::PATCH => {
            let body = call.json()?;
            let records = records(&body)?;
            let creating = method == Method::POST;
            let rows = plan(state, &records, creating)?;
            Ok(save(
                state,
                rows,
                all_or_none(&body),
                &author(call, session, CallKind::CollectionsWrite),
                false,
            ))
        }
        other => Err(Refusal::method(other.as_str(), "POST, PATCH, DELETE")),
    }
}

fn all_or_none(body: &Map<String, Value>) -> bool {
    body.get("allOrNone")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

fn records(body: &Map<String, Value>) -> Result<Vec<&Map<String, Value>>, Refusal> {
    let list = body
        .get("records")
        .and_then(Value::as_array)
        .ok_or_else(|| Refusal::new(400, "MISSING_ARGUMENT", "records is required"))?;
    if list.len() > MAX_WRITTEN {
        let message = format!(
            "record limit reached. cannot submit more than {MAX_WRITTEN} records in this call"
        );
        return Err(Refusal::new(400, "EXCEEDED_ID_LIMIT", message));
    }
    list.iter()
        .map(|record| {
            record
                .as_object()
                .ok_or_else(|| Refusal::json_parser("a record has to be a JSON object"))
        })
        .collect()
}

fn object_of(record: &Map<String, Value>) -> Result<&str, Refusal> {
    record
        .get("attributes")
        .and_then(|attributes| attributes.get("type"))
        .and_then(Value::as_str)
        .ok_or_else(|| {
            Refusal::new(
                400,
                "INVALID_INPUT",
                "each record needs attributes with a type",
            )
        })
}

fn plan(
    state: &State,
    records: &[&Map<String, Value>],
    creating: bool,
) -> Result<Vec<Row>, Refusal> {
    let mut type_changes = 0;
    let mut last = "";
    let mut seen = HashSet::new();
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let object = object_of(record)?;
        if object != last {
            type_changes += 1;
            last = object;
        }
        if type_changes > MAX_TYPE_CHANGES {
            let message =
                format!("cannot have more than {MAX_TYPE_CHANGES} chunks in a single operation");
            return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
        }
        let table = state.table_named(object)?;
        if !state.tables[table].object.writable {
            let message = format!("entity type {object} does not support this operation");
            return Err(Refusal::new(
                400,
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                message,
            ));
        }
        let values = changes(state, table, record, creating)?;
        rows.push(match values {
            Err(refusal) => Row::Refused { id: None, refusal },
            Ok(changes) if creating => Row::Create { table, changes },
            Ok(changes) => {
                let id = record
                    .get("id")
                    .or_else(|| record.get("Id"))
                    .and_then(Value::as_str);
                update(state, table, id, changes, &mut seen)
            }
        });
    }
    Ok(rows)
}

fn update(
    state: &State,
    table: usize,
    id: Option<&str>,
    changes: Changes,
    seen: &mut HashSet<String>,
) -> Row {
    let Some(id) = id else {
        let refusal = Refusal::new(
            400,
            "MISSING_ARGUMENT",
            "Id not specified in an update call",
        )
        .on("Id");
        return Row::Refused { id: None, refusal };
    };
    match state.locate(table, id) {
        Err(refusal) if refusal.code == "NOT_FOUND" => Row::Refused {
            id: None,
            refusal: Refusal::new(
                400,
                "INVALID_CROSS_REFERENCE_KEY",
                "invalid cross reference id",
            ),
        },
        Err(refusal) => Row::Refused { id: None, refusal },
        Ok((slot, _)) => {
            let id = state.id_of(table, slot).unwrap_or_default();
            if seen.insert(id.clone()) {
                Row::Update {
                    table,
                    slot,
                    id,
                    changes,
                }
            } else {
                let message = format!("duplicate id in list: {id}");
                Row::Refused {
                    id: Some(id),
                    refusal: Refusal::new(400, "DUPLICATE_VALUE", message),
                }
            }
        }
    }
}

/// Saves the rows one by one and answers with a result for each.
fn save(
    state: &mut State,
    rows: Vec<Row>,
    all_or_none: bool,
    author: &Author,
    upsert: bool,
) -> Reply {
    let own_transaction = all_or_none && !state.in_transaction();
    if own_transaction {
        state.begin();
    }
    let mut results = Vec::with_capacity(rows.len());
    for row in rows {
        results.push(match row {
            Row::Refused { id, refusal } => (id, true, Err(refusal)),
            Row::Create { table, changes } => {
                match state.create_row(table, changes, author, None) {
                    Ok(id) => (Some(id), true, Ok(())),
                    Err(refusal) => (None, true, Err(refusal)),
                }
            }
            Row::Update {
                table,
                slot,
                id,
                changes,
            } => (
                Some(id),
                false,
                state.update_row(table, slot, changes, author).map(drop),
            ),
            Row::Delete { table, slot, id } => {
                (Some(id), false, state.delete_row(table, slot, author))
            }
        });
    }
    let failed = results.iter().any(|(_, _, result)| result.is_err());
    let rolled_back = all_or_none && failed;
    if own_transaction {
        if rolled_back {
            state.rollback();
        } else {
            state.commit();
        }
    }
    let body = results
        .into_iter()
        .map(|(id, created, result)| match result {
            Err(refusal) => json!({"success": false, "errors": [refusal.row()]}),
            Ok(()) if rolled_back => {
                let message = "Record rolled back because not all records were valid and the request was using \
                               AllOrNone header";
                let refusal = Refusal::new(400, "ALL_OR_NONE_OPERATION_ROLLED_BACK", message);
                let mut result = json!({"success": false, "errors": [refusal.row()]});
                if !created && let Some(id) = id {
                    result["id"] = json!(id);
                }
                result
            }
            Ok(()) => {
                let mut result = json!({"id": id, "success": true, "errors": []});
                if upsert {
                    result["created"] = json!(created);
                }
                result
            }
        })
        .collect();
    Reply::json(200, Value::Array(body))
}

fn delete(state: &mut State, call: &Call, session: Session<'_>) -> Result<Reply, Refusal> {
    let list = call.param("ids").unwrap_or_default();
    let wanted: Vec<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect();
    if wanted.is_empty() {
        return Err(Refusal::new(400, "MISSING_ARGUMENT", "ids is required"));
    }
    if wanted.len() > MAX_WRITTEN {
        return Err(Refusal::new(
            400,
            "EXCEEDED_ID_LIMIT",
            "too many ids in one delete",
        ));
    }
    let rows = wanted
        .into_iter()
        .map(|id| {
            match state
                .table_of_id(id)
                .map(|table| (table, state.locate(table, id)))
            {
                Some((table, Ok((slot, _)))) => Row::Delete {
                    table,
                    slot,
                    id: ids::normalise(id).unwrap_or_else(|| id.to_owned()),
                },
                Some((_, Err(refusal))) if refusal.code == "NOT_FOUND" => Row::Refused {
                    id: None,
                    refusal: Refusal::new(
                        404,
                        "INVALID_CROSS_REFERENCE_KEY",
                        "invalid cross reference id",
                    ),
                },
                Some((_, Err(refusal))) => Row::Refused { id: None, refusal },
                None => Row::Refused {
                    id: None,
                    refusal: Refusal::malformed_id(id),
                },
            }
        })
        .collect();
    let all_or_none = call.param("allOrNone").as_deref() == Some("true");
    Ok(save(
        state,
        rows,
        all_or_none,
        &author(call, session, CallKind::CollectionsWrite),
        false,
    ))
}

/// `GET` and `POST composite/sobjects/<object>`: several rows by id, null for each that is not there.
pub(crate) fn on_object(
    state: &State,
    call: &Call,
    session: Session<'_>,
    object: &str,
) -> Result<Reply, Refusal> {
    let (wanted, names) = match call.method {
        Method::GET => {
            let list = call.param("ids").unwrap_or_default();
            let wanted: Vec<String> = list.split(',').map(|id| id.trim().to_owned()).collect();
            (wanted, call.param("fields"))
        }
        Method::POST => {
            let body = call.json()?;
            let texts = |name: &str| -> Result<Vec<String>, Refusal> {
                let list = body.get(name).and_then(Value::as_array).ok_or_else(|| {
                    Refusal::new(400, "MISSING_ARGUMENT", format!("{name} is required"))
                })?;
                let texts = list.iter().map(|one| one.as_str().map(str::to_owned));
                texts
                    .collect::<Option<_>>()
                    .ok_or_else(|| Refusal::json_parser(format!("{name} takes strings")))
            };
            (texts("ids")?, Some(texts("fields")?.join(",")))
        }
        ref other => return Err(Refusal::method(other.as_str(), "GET, POST")),
    };
    if wanted.len() > MAX_READ {
        return Err(Refusal::new(
            400,
            "EXCEEDED_ID_LIMIT",
            format!("cannot retrieve more than {MAX_READ} records"),
        ));
    }
    let table = state.table_named(object)?;
    let columns = columns(state, table, names.as_deref())?;
    let now = state.now();
    let base = session.base();
    let rows: Vec<Value> = wanted
        .iter()
        .map(|id| {
            let slot = state.tables[table].slot(&ids::normalise(id)?)?;
            if state.tables[table].seen(slot, now)?[IS_DELETED].is_true() {
                return None;
            }
            record(state, &base, table, slot, now, &columns)
        })
        .map(|row| row.unwrap_or(Value::Null))
        .collect();
    Ok(Reply::json(200, Value::Array(rows)))
}

/// `PATCH composite/sobjects/<object>/<external id field>`.
pub(crate) fn upsert(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    object: &str,
    field: &str,
) -> Result<Reply, Refusal> {
    if call.method != Method::PATCH {
        return Err(Refusal::method(call.method.as_str(), "PATCH"));
    }
    let body = call.json()?;
    let records = records(&body)?;
    let table = state.table_named(object)?;
    let index = external_index(state, table, field)?;
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let value = record
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(field))
            .and_then(|(_, value)| value.as_str().map(str::to_owned));
        let mut record = record.clone();
        record.retain(|name, _| !name.eq_ignore_ascii_case(field));
        rows.push(upserted(
            state,
            table,
            field,
            value.as_deref(),
            &index,
            |creating| changes(state, table, &record, creating),
        )?);
    }
    Ok(save(
        state,
        rows,
        all_or_none(&body),
        &author(call, session, CallKind::CollectionsWrite),
        true,
    ))
}

/// Slots of live rows by the lower-cased value of an external id field.
pub(crate) fn external_index(
    state: &State,
    table: usize,
    field: &str,
) -> Result<(usize, HashMap<String, Vec<Slot>>), Refusal> {
    let (position, _) = matches(state, table, field, "")?;
    let rows = &state.tables[table];
    let mut index: HashMap<String, Vec<Slot>> = HashMap::new();
    for slot in rows.slots() {
        if let Some(row) = rows.saved(slot)
            && !row[IS_DELETED].is_true()
            && let Some(text) = row[position].as_text()
        {
            index
                .entry(text.to_ascii_lowercase())
                .or_default()
                .push(slot);
        }
    }
    Ok((position, index))
}

fn upserted(
    state: &State,
    table: usize,
    field: &str,
    value: Option<&str>,
    (position, index): &(usize, HashMap<String, Vec<Slot>>),
    values: impl Fn(bool) -> Result<Result<Changes, Refusal>, Refusal>,
) -> Result<Row, Refusal> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        let refusal =
            Refusal::new(400, "MISSING_ARGUMENT", format!("{field} not specified")).on(field);
        return Ok(Row::Refused { id: None, refusal });
    };
    let found = index
        .get(&value.to_ascii_lowercase())
        .map_or(&[][..], Vec::as_slice);
    Ok(match (found, values(found.is_empty())?) {
        (_, Err(refusal)) => Row::Refused { id: None, refusal },
        ([], Ok(mut changes)) => {
            changes.push((*position, Cell::text(value)));
            Row::Create { table, changes }
        }
        ([slot], Ok(changes)) => Row::Update {
            table,
            slot: *slot,
            id: state.id_of(table, *slot)?,
            changes,
        },
        (many, Ok(_)) => {
            let message = format!(
                "{field}: more than one record found for external id field: {}",
                many.len()
            );
            Row::Refused {
                id: None,
                refusal: Refusal::new(400, "DUPLICATE_EXTERNAL_ID", message),
            }
        }
    })
}
