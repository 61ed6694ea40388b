//! The contact module: contacts, contact lists and custom fields.

use std::collections::BTreeSet;

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::shape::{self, Page, Rows};
use super::{No, Outcome, Params, json_body};
use crate::emarketeer::contacts::{Changes, Order, STANDARD};
use crate::emarketeer::state::{ContactList, MAX_NAMED, State};
use crate::faults::CallKind;
use crate::rest::{Call, Reply};

/// Most contacts in one save or delete (API endpoints overview: "Contact").
const MAX_CONTACTS: usize = 100;
/// Most contacts in one addition to a list (API endpoints overview: "Contact lists").
const MAX_ADDITIONS: usize = 1_000;

/// `GET …/contacts`: by address, by a time, or by a saved filter.
pub(super) fn find(state: &mut State, call: &Call) -> Outcome {
    let names = state.settings.query.clone();
    let known = [
        &names.email,
        &names.modified_since,
        &names.modified_until,
        &names.created_since,
        &names.created_until,
        &names.filter,
        &names.limit,
        &names.offset,
    ];
    let params = Params::of(state, call, &known.map(String::as_str))?;
    let window = |since: &str, until: &str| -> Result<Option<Window>, No> {
        let (since, until) = (params.time(since)?, params.time(until)?);
        Ok((since.is_some() || until.is_some()).then_some((since, until)))
    };
    let ids: Vec<u64> = if let Some(email) = params.text(&names.email) {
        state.contacts.at(&email.trim().to_lowercase()).collect()
    } else if let Some((since, until)) = window(&names.modified_since, &names.modified_until)? {
        state
            .contacts
            .window(Order::Modified, since, until)
            .collect()
    } else if let Some((since, until)) = window(&names.created_since, &names.created_until)? {
        state
            .contacts
            .window(Order::Created, since, until)
            .collect()
    } else if let Some(filter) = params.number(&names.filter)? {
        match state.filters.get(&(filter as u64)) {
            None => return Err(No::invalid("no such filter")),
            Some(None) => state.contacts.all().map(|contact| contact.id).collect(),
            Some(Some(addresses)) => {
                let found = addresses
                    .iter()
                    .flat_map(|address| state.contacts.at(address));
                found.collect()
            }
        }
    } else {
        return Err(No::invalid("contacts are found by address, time or filter"));
    };
    page_of(state, &params, ids)
}

type Window = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

fn page_of(state: &mut State, params: &Params<'_>, ids: Vec<u64>) -> Outcome {
    let most = state.settings.contact_rows;
    let (offset, limit) = params.page(state, CallKind::ContactFind, most)?;
    let page = Page {
        offset,
        limit,
        total: ids.len(),
    };
    let rows = Rows::of(state, CallKind::ContactFind);
    let wanted = ids.into_iter().skip(offset).take(limit);
    let contacts = wanted
        .filter_map(|id| state.contacts.get(id))
        .map(|contact| shape::contact(state, contact));
    Ok(rows.all(contacts).reply(&state.settings, page))
}

/// The rows of a body that is an array or has one as this member.
fn rows_of(body: Value, member: &str, most: usize) -> Result<Vec<Value>, No> {
    let rows = match body {
        Value::Array(rows) => rows,
        Value::Object(mut map) => match map.remove(member) {
            Some(Value::Array(rows)) => rows,
            _ => return Err(No::invalid(format!("{member} is missing"))),
        },
        _ => return Err(No::invalid("an array is expected")),
    };
    if rows.is_empty() || rows.len() > most {
        return Err(No::invalid(format!(
            "between 1 and {most} {member} are taken"
        )));
    }
    Ok(rows)
}

/// The fields of a contact as sent, without those that are not fields of the account.
fn fields_of(state: &State, row: &Map<String, Value>) -> Changes {
    let known = |name: &str| {
        STANDARD.iter().any(|(standard, _)| *standard == name)
            || state.custom_fields.contains_key(name)
    };
    let fields = row.iter().filter(|(name, _)| known(name));
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    fields
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// `POST …/contacts`: creates or updates up to 100 contacts, matched on the address.
pub(super) fn save(state: &mut State, call: &Call) -> Outcome {
    let rows = rows_of(json_body(call)?, "contacts", MAX_CONTACTS)?;
    let mut results = Vec::with_capacity(rows.len());
    for row in &rows {
        let email = row.get("email").and_then(Value::as_str).unwrap_or_default();
        let Some(address) = state.address(email) else {
            state.calls.contacts_refused += 1;
            let message = "email is missing or not an address";
            results.push(json!({"email": email, "status": "error", "message": message}));
            continue;
        };
        let fields = row.as_object().map(|row| fields_of(state, row));
        let (id, new) = state.upsert(&address, &fields.unwrap_or_default());
        let (counter, status) = if new {
            (&mut state.calls.contacts_created, "created")
        } else {
            (&mut state.calls.contacts_updated, "updated")
        };
        *counter += 1;
        let id = shape::id(&state.settings, id.cast_signed());
        results.push(json!({"email": address, "id": id, "status": status}));
    }
    Ok(Reply::json(200, Value::Array(results)))
}

/// Addresses in a body: strings, or objects with `email`.
fn addresses_of(rows: &[Value]) -> Vec<String> {
    let text = |row: &Value| {
        let text = row.as_str().or_else(|| row.get("email")?.as_str());
        text.unwrap_or_default().trim().to_lowercase()
    };
    rows.iter().map(text).collect()
}

/// `POST …/contacts/delete`: deletes up to 100 contacts by address, all that have it. Consent stays.
pub(super) fn delete(state: &mut State, call: &Call) -> Outcome {
    let rows = rows_of(json_body(call)?, "emails", MAX_CONTACTS)?;
    let mut results = Vec::with_capacity(rows.len());
    for address in addresses_of(&rows) {
        let ids: Vec<u64> = state.contacts.at(&address).collect();
        let status = if ids.is_empty() {
            "notFound"
        } else {
            "deleted"
        };
        for id in ids {
            state.remove_contact(id);
            state.calls.contacts_deleted += 1;
        }
        results.push(json!({"email": address, "status": status}));
    }
    Ok(Reply::json(200, Value::Array(results)))
}

/// `GET …/contacts/customFields`.
pub(super) fn custom_fields(state: &mut State, call: &Call) -> Outcome {
    Params::of(state, call, &[])?;
    let rows = Rows::of(state, CallKind::ContactFind);
    let page = Page::whole(state.custom_fields.len());
    let fields = state.custom_fields.iter();
    let fields = fields.map(|(name, label)| json!({"name": name, "label": label}));
    Ok(rows.all(fields).reply(&state.settings, page))
}

/// `GET`, `POST`, `DELETE …/lists/`.
pub(super) fn lists(state: &mut State, call: &Call) -> Outcome {
    if call.method == Method::GET {
        let rows = Rows::of(state, CallKind::ContactLists);
        let page = Page::whole(state.lists.len());
        let lists = state.lists.iter().map(|(id, list)| {
            let id = shape::id(&state.settings, id.cast_signed());
            json!({"id": id, "name": list.name, "contacts": list.members.len()})
        });
        return Ok(rows.all(lists).reply(&state.settings, page));
    }
    if call.method == Method::POST {
        let body = json_body(call)?;
        let name = body.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| No::invalid("name is missing"))?;
        if state.lists.len() >= MAX_NAMED {
            return Err(No::invalid("there are too many lists"));
        }
        let id = state.number();
        let list = ContactList {
            name: name.to_owned(),
            members: BTreeSet::new(),
        };
        state.lists.insert(id, list);
        let id = shape::id(&state.settings, id.cast_signed());
        return Ok(Reply::json(200, json!({"id": id, "name": name})));
    }
    for id in rows_of(json_body(call)?, "ids", MAX_NAMED)? {
        let id = id.as_u64().or_else(|| id.as_str()?.parse().ok());
        let removed = id.and_then(|id| state.lists.remove(&id));
        removed.ok_or_else(|| No::invalid("no such list"))?;
    }
    Ok(Reply::json(200, json!({})))
}

/// `GET`, `POST`, `DELETE …/lists/{id}`: the contacts of a list.
pub(super) fn list(state: &mut State, call: &Call, id: u64) -> Outcome {
    let Some(list) = state.lists.get(&id) else {
        return Err(No::invalid("no such list"));
    };
    if call.method == Method::GET {
        let ids: Vec<u64> = list.members.iter().copied().collect();
        let names = state.settings.query.clone();
        let params = Params::of(state, call, &[&names.limit, &names.offset])?;
        return page_of(state, &params, ids);
    }
    let rows = rows_of(json_body(call)?, "emails", MAX_ADDITIONS)?;
    let mut changed = 0;
    for address in addresses_of(&rows) {
        let Some(contact) = state.contacts.at(&address).next() else {
            continue;
        };
        let Some(list) = state.lists.get_mut(&id) else {
            continue;
        };
        let moved = if call.method == Method::POST {
            list.members.insert(contact)
        } else {
            list.members.remove(&contact)
        };
        changed += usize::from(moved);
    }
    Ok(Reply::json(200, json!({"changed": changed})))
}
