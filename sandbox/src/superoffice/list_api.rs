//! The endpoints of lists: `/v1/List/{list}/Items` and `/v1/MDOList/{list}`.

use axum::http::Method;
use serde_json::{Map, Value};

use super::carriers;
use super::changes::Author;
use super::errors::Trouble;
use super::http::{Asker, no_method, no_resource};
use super::lists::{Item, Kind, MAX_ITEMS, Names, is_key};
use super::state::State;
use super::webhooks;
use crate::rest::{Call, Reply};

/// `/v1/List/…`.
pub(crate) fn list(
    state: &mut State,
    call: &Call,
    rest: &[String],
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let [name, items, rest @ ..] = rest else {
        return Ok(no_resource(call));
    };
    if !items.eq_ignore_ascii_case("items") {
        return Ok(no_resource(call));
    }
    if name.eq_ignore_ascii_case("shipmenttype") {
        if call.method != Method::GET || !rest.is_empty() {
            return Ok(no_method(call));
        }
        let items = state.shipment_types.iter();
        let items: Value = items
            .map(|item| carriers::plain_item(item, asker))
            .collect();
        return Ok(Reply::json(200, items));
    }
    let Some(kind) = Kind::of_path(name) else {
        return Err(Trouble::not_found("List", name));
    };
    match (call.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::json(200, all(state, kind, asker))),
        ("POST", []) => save(state, kind, None, call, asker),
        ("GET", [id]) => {
            let item = find(state, kind, id)?;
            Ok(Reply::json(
                200,
                carriers::list_item(state, kind, item, asker),
            ))
        }
        ("PUT", [id]) => {
            let id = find(state, kind, id)?.id;
            save(state, kind, Some(id), call, asker)
        }
        ("DELETE", [id]) => {
            let id = find(state, kind, id)?.id;
            mark_deleted(state, kind, id, asker)?;
            Ok(Reply::empty(204))
        }
        _ => Ok(no_method(call)),
    }
}

/// All items that are not deleted, by rank.
pub(crate) fn all(state: &State, kind: Kind, asker: &Asker) -> Value {
    let mut items: Vec<&Item> = state
        .items(kind)
        .iter()
        .filter(|item| !item.deleted)
        .collect();
    items.sort_by_key(|item| item.rank);
    items
        .into_iter()
        .map(|item| carriers::list_item(state, kind, item, asker))
        .collect()
}

fn find<'s>(state: &'s State, kind: Kind, id: &str) -> Result<&'s Item, Trouble> {
    id.parse()
        .ok()
        .and_then(|id| state.item(kind, id))
        .ok_or_else(|| Trouble::not_found(kind.path(), id))
}

/// `/v1/MDOList/…`: ids and names, without keys.
pub(crate) fn mdo_list(
    state: &State,
    call: &Call,
    rest: &[String],
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let [name] = rest else {
        return Ok(no_resource(call));
    };
    let items = if name.eq_ignore_ascii_case("shipmenttype") {
        state.shipment_types.as_slice()
    } else {
        let kind = Kind::of_path(name).ok_or_else(|| Trouble::not_found("MDOList", name))?;
        state.items(kind)
    };
    let shown = items.iter().filter(|item| !item.deleted);
    let items: Value = shown
        .map(|item| carriers::mdo_item(item, asker, None))
        .collect();
    Ok(Reply::json(200, items))
}

fn text<'v>(body: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    body.get(name).and_then(Value::as_str)
}

fn save(
    state: &mut State,
    kind: Kind,
    id: Option<i64>,
    call: &Call,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let body: Map<String, Value> = serde_json::from_slice(&call.body)
        .map_err(|_| Trouble::bad("the body is not a JSON object"))?;
    let name = text(&body, "Name").unwrap_or_default();
    let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let key = match text(&body, "Key").filter(|key| !key.is_empty()) {
        Some(key) => key.trim_start_matches('#').to_owned(),
        // The settings page makes a key of the name as well.
        None => letters.to_ascii_uppercase(),
    };
    if !is_key(&key) {
        return Err(Trouble::bad("a key consists of letters and digits"));
    }
    if state.items(kind).len() >= MAX_ITEMS {
        return Err(Trouble::bad("the list is full"));
    }
    let taken = |item: &&Item| item.key.eq_ignore_ascii_case(&key) && Some(item.id) != id;
    if state.items(kind).iter().any(|item| taken(&item)) {
        return Err(Trouble::new(400, "SoDbAccessException", "the key is taken"));
    }
    let next = state
        .items(kind)
        .iter()
        .map(|item| item.id)
        .max()
        .unwrap_or(0)
        + 1;
    let mut item = match id.and_then(|id| state.item(kind, id)) {
        Some(item) if item.built_in && item.key != key => {
            return Err(Trouble::bad("the key of a built-in item cannot be changed"));
        }
        Some(item) => item.clone(),
        None => Item::new(next, &key, Names::parse(name)),
    };
    item.key = key;
    if !name.is_empty() {
        item.name = Names::parse(name);
    }
    let set = |field: &mut String, name: &str| {
        if let Some(value) = text(&body, name) {
            value.clone_into(field);
        }
    };
    set(&mut item.tooltip, "Tooltip");
    set(&mut item.consent_text, "ConsentText");
    set(&mut item.form_text, "FormText");
    set(&mut item.privacy_desc, "PrivacyStatementDesc");
    set(&mut item.privacy_url, "PrivacyStatementUrl");
    if let Some(active) = body.get("Active") {
        item.active = active.as_i64() != Some(0) && active != &Value::Bool(false);
    }
    if let Some(template) = body.get("MailTemplateId").and_then(Value::as_i64) {
        item.mail_template = template;
    }
    item.updated = Some(state.stamp());
    item.updated_by = asker.associate;
    let number = item.id;
    match state
        .items_mut(kind)
        .iter_mut()
        .find(|one| one.id == number)
    {
        Some(place) => *place = item,
        None => state.items_mut(kind).push(item),
    }
    let deed = if id.is_none() { "created" } else { "changed" };
    told(state, kind, number, deed, asker);
    let item = find(state, kind, &number.to_string())?;
    Ok(Reply::json(
        200,
        carriers::list_item(state, kind, item, asker),
    ))
}

fn mark_deleted(state: &mut State, kind: Kind, id: i64, asker: &Asker) -> Result<(), Trouble> {
    let mut items = state.items_mut(kind).iter_mut();
    let item = items
        .find(|item| item.id == id)
        .ok_or_else(|| Trouble::not_found(kind.path(), id))?;
    if item.built_in {
        return Err(Trouble::bad("a built-in item cannot be deleted"));
    }
    item.deleted = true;
    told(state, kind, id, "softdeleted", asker);
    Ok(())
}

fn told(state: &mut State, kind: Kind, id: i64, deed: &str, asker: &Asker) {
    let author = Author::of(asker.associate);
    state.log_item(kind, deed == "created", id, &author);
    let event = format!("list.{}.{deed}", kind.path().to_ascii_lowercase());
    webhooks::list_event(state, &event, kind, id, asker.associate);
}
