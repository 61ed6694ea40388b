//! What objects and columns there are (REST guide: describe global, sObject basic information, sObject describe).

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{Call, Reply, Session};
use crate::clock;
use crate::org::state::State;
use crate::refusal::Refusal;

/// Rows in one internal batch, as describe global tells it.
const MAX_BATCH_SIZE: u32 = 200;

fn summary(state: &State, session: Session<'_>, table: usize) -> Map<String, Value> {
    let object = &state.tables[table].object;
    let base = format!("{}/sobjects/{}", session.base(), object.name);
    let writable = object.writable;
    let body = json!({
        "name": object.name,
        "label": object.label,
        "labelPlural": object.label,
        "keyPrefix": object.prefix,
        "custom": object.name.ends_with("__c"),
        "createable": writable,
        "updateable": writable,
        "deletable": writable,
        "undeletable": writable,
        "mergeable": object.name == "Contact",
        "queryable": true,
        "retrieveable": true,
        "replicateable": object.replicateable,
        "searchable": writable,
        "urls": {
            "sobject": base,
            "describe": format!("{base}/describe"),
            "rowTemplate": format!("{base}/{{ID}}"),
        },
    });
    match body {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// `GET sobjects`.
pub(crate) fn objects(state: &State, session: Session<'_>) -> Reply {
    let list: Vec<Value> = (0..state.tables.len())
        .map(|table| Value::Object(summary(state, session, table)))
        .collect();
    Reply::json(
        200,
        json!({"encoding": "UTF-8", "maxBatchSize": MAX_BATCH_SIZE, "sobjects": list}),
    )
}

/// `GET sobjects/<object>`.
pub(crate) fn basic(state: &State, session: Session<'_>, object: &str) -> Result<Reply, Refusal> {
    let table = state.find_table(object).ok_or_else(Refusal::not_found)?;
    let body = json!({"objectDescribe": summary(state, session, table), "recentItems": []});
    Ok(Reply::json(200, body))
}

/// `GET sobjects/<object>/describe`.
pub(crate) fn object(
    state: &State,
    call: &Call,
    session: Session<'_>,
    object: &str,
) -> Result<Reply, Refusal> {
    if call.method != Method::GET {
        return Err(Refusal::method(call.method.as_str(), "GET"));
    }
    let table = state.find_table(object).ok_or_else(Refusal::not_found)?;
    let changed = described_at(state);
    if let Some(since) = call
        .header("if-modified-since")
        .and_then(clock::parse_http_date)
        && changed <= since
    {
        return Ok(Reply::empty(304).with("Last-Modified", clock::http_date(changed)));
    }
    let mut body = summary(state, session, table);
    let object = &state.tables[table].object;
    let fields: Vec<Value> = object
        .fields
        .iter()
        .filter(|field| state.visible_field(table, field.name).is_some())
        .map(|field| field.describe(!state.faults.read_only(object.name, field.name)))
        .collect();
    body.insert("fields".to_owned(), Value::Array(fields));
    body.insert("childRelationships".to_owned(), json!([]));
    body.insert("recordTypeInfos".to_owned(), json!([]));
    Ok(Reply::json(200, Value::Object(body)).with("Last-Modified", clock::http_date(changed)))
}

/// When the set-up last changed.
fn described_at(state: &State) -> DateTime<Utc> {
    clock::whole_second(state.set_up_at)
}
