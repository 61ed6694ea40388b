//! The endpoints of persons and their consents: `/v1/Person/…`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::changes::{Author, ConsentValues};
use super::errors::{Trouble, model_error};
use super::http::{Asker, no_method, no_resource};
use super::lifecycle::{MergeHow, PersonValues};
use super::lists::{EMARKETING, Kind};
use super::state::{Consent, Person, State};
use super::{carriers, patch};
use crate::clock;
use crate::rest::{Call, Reply};

/// Everything behind `/v1/Person` but the archive of that name.
pub(crate) fn serve(
    state: &mut State,
    call: &Call,
    rest: &[String],
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let lower: Vec<String> = rest.iter().map(|name| name.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (call.method.as_str(), names.as_slice()) {
        ("POST", []) => create(state, call, asker),
        ("GET", ["default"]) => Ok(Reply::json(200, carriers::default_person(state, asker))),
        ("POST", ["validate"]) => Ok(Reply::json(200, json!({}))),
        ("GET", [id]) => get(state, call, number(id)?, asker),
        ("PUT", [id]) => put(state, call, number(id)?, asker),
        ("PATCH", [id]) if state.settings.patch => patched(state, call, number(id)?, asker),
        ("DELETE", [id]) => delete(state, call, number(id)?, asker),
        ("GET", [id, "consent"]) => {
            let id = readable(state, number(id)?)?.id;
            Ok(Reply::json(200, carriers::consent_infos(state, id, asker)))
        }
        ("GET", [id, "consent", _]) => {
            let id = readable(state, number(id)?)?.id;
            let purpose = item(state, Kind::Purpose, &rest[2])?;
            let given = state.consent_of(id, purpose).is_some_and(Consent::given);
            Ok(Reply::json(200, json!(given)))
        }
        ("PUT", [id, "consent", _]) => {
            let param = |name: &str| call.param(name);
            let (Some(source), Some(base)) = (param("source"), param("legalBase")) else {
                return Ok(model_error(
                    400,
                    "The request is invalid.",
                    "source and legalBase are required",
                ));
            };
            let comment = param("comment").unwrap_or_default();
            set_consent(state, number(id)?, &rest[2], &base, &source, comment, asker)
        }
        ("DELETE", [id, "consent", _]) => remove_consent(state, number(id)?, &rest[2], asker),
        ("POST", [source, "mergeto", destination]) => {
            merge(state, call, number(source)?, number(destination)?, asker)
        }
        (_, [_] | [_, "consent"] | [_, "consent", _]) => Ok(no_method(call)),
        _ => Ok(no_resource(call)),
    }
}

fn number(text: &str) -> Result<i64, Trouble> {
    let id: Option<i32> = text.parse().ok();
    id.map(i64::from)
        .ok_or_else(|| Trouble::bad("the id is not a number"))
}

/// A person for reading.
pub(crate) fn readable(state: &State, id: i64) -> Result<&Person, Trouble> {
    state.changeable(id)
}

/// Number of the list item with this key.
pub(crate) fn item(state: &State, kind: Kind, key: &str) -> Result<i64, Trouble> {
    state
        .item_by_key(kind, key)
        .map(|item| item.id)
        .ok_or_else(|| {
            let mut trouble = Trouble::not_found(kind.path(), key);
            trouble.status = state.settings.unknown_key_status;
            trouble
        })
}

/// Sets a consent by keys; shared with the agent.
pub(crate) fn set_consent(
    state: &mut State,
    person: i64,
    purpose: &str,
    base: &str,
    source: &str,
    comment: String,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    readable(state, person)?;
    let values = ConsentValues {
        purpose: item(state, Kind::Purpose, purpose)?,
        base: item(state, Kind::Base, base)?,
        source: item(state, Kind::Source, source)?,
        comment,
    };
    if state.set_consent(person, values, &Author::of(asker.associate))? {
        state.calls.rows_changed += 1;
    } else {
        state.calls.rows_unchanged += 1;
    }
    Ok(Reply::empty(204))
}

/// Removes a consent by key; shared with the agent.
pub(crate) fn remove_consent(
    state: &mut State,
    person: i64,
    purpose: &str,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    readable(state, person)?;
    let purpose = item(state, Kind::Purpose, purpose)?;
    if state.remove_consent(person, purpose, &Author::of(asker.associate))? {
        state.calls.rows_deleted += 1;
    }
    Ok(Reply::empty(204))
}

/// When a person was last changed, for conditional requests.
fn changed_at(person: &Person) -> DateTime<Utc> {
    person.updated.unwrap_or(person.registered)
}

/// 412 when the person has changed since the client's date.
fn precondition(person: &Person, call: &Call) -> Option<Reply> {
    let since = clock::parse_http_date(call.header("if-unmodified-since")?)?;
    (changed_at(person) > since)
        .then(|| model_error(412, "The precondition given was not met.", ""))
}

fn get(state: &State, call: &Call, id: i64, asker: &Asker) -> Result<Reply, Trouble> {
    let person = readable(state, id)?;
    let changed = changed_at(person);
    let since = call
        .header("if-modified-since")
        .and_then(clock::parse_http_date);
    if since.is_some_and(|since| changed <= since) {
        return Ok(Reply::empty(304));
    }
    let mut entity = carriers::person(state, person, asker);
    if let (Some(select), Value::Object(members)) = (call.param("$select"), &mut entity) {
        let wanted: Vec<&str> = select.split(',').map(str::trim).collect();
        for (name, value) in members {
            if !wanted.iter().any(|one| one.eq_ignore_ascii_case(name)) && name != "_Links" {
                *value = Value::Null;
            }
        }
    }
    Ok(Reply::json(200, entity).with("Last-Modified", clock::http_date(changed)))
}

fn body(call: &Call) -> Option<Map<String, Value>> {
    serde_json::from_slice(&call.body).ok()
}

fn no_body() -> Reply {
    model_error(400, "The request is invalid.", "the body is not an entity")
}

fn create(state: &mut State, call: &Call, asker: &Asker) -> Result<Reply, Trouble> {
    let Some(entity) = body(call) else {
        return Ok(no_body());
    };
    let id = create_entity(state, &entity, asker)?;
    let person = readable(state, id)?;
    Ok(Reply::json(200, carriers::person(state, person, asker)))
}

fn put(state: &mut State, call: &Call, id: i64, asker: &Asker) -> Result<Reply, Trouble> {
    if let Some(reply) = precondition(readable(state, id)?, call) {
        return Ok(reply);
    }
    let Some(entity) = body(call) else {
        return Ok(no_body());
    };
    save_entity(state, id, &entity, asker)?;
    let person = readable(state, id)?;
    Ok(Reply::json(200, carriers::person(state, person, asker)))
}

fn patched(state: &mut State, call: &Call, id: i64, asker: &Asker) -> Result<Reply, Trouble> {
    let person = readable(state, id)?;
    if let Some(reply) = precondition(person, call) {
        return Ok(reply);
    }
    let before = carriers::person(state, person, asker);
    let Ok(change) = serde_json::from_slice::<Value>(&call.body) else {
        return Ok(no_body());
    };
    let after = match patch::apply(before, &change) {
        Ok(after) => after,
        Err(patch::Refused::Test(path)) => {
            return Ok(model_error(409, "The test failed.", &path));
        }
        Err(patch::Refused::Malformed(why)) => {
            return Ok(model_error(400, "The request is invalid.", &why));
        }
    };
    if let Value::Object(entity) = after {
        save_entity(state, id, &entity, asker)?;
    }
    let person = readable(state, id)?;
    Ok(Reply::json(200, carriers::person(state, person, asker)))
}

fn delete(state: &mut State, call: &Call, id: i64, asker: &Asker) -> Result<Reply, Trouble> {
    if let Some(reply) = precondition(readable(state, id)?, call) {
        return Ok(reply);
    }
    state.soft_delete(id, &Author::of(asker.associate))?;
    Ok(Reply::empty(204))
}

fn merge(
    state: &mut State,
    call: &Call,
    source: i64,
    destination: i64,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    if call.param("moveAfterDate").is_none() {
        return Ok(model_error(
            400,
            "The request is invalid.",
            "moveAfterDate is required",
        ));
    }
    let truth = |name: &str| {
        call.param(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let how = MergeHow {
        delete_source: truth("deleteSource"),
        replace_empty_fields: truth("replaceEmptyFieldsOnDestination"),
    };
    state.merge(source, destination, how, &Author::of(asker.associate))?;
    Ok(Reply::empty(204))
}

fn addresses(entity: &Map<String, Value>) -> Option<Vec<(String, String)>> {
    let elements = entity.get("Emails")?.as_array()?;
    let text = |element: &Value, name: &str| {
        element
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let rows = elements
        .iter()
        .map(|element| (text(element, "Value"), text(element, "Description")));
    Some(rows.filter(|(address, _)| !address.is_empty()).collect())
}

/// Creates a person from an entity; returns its number.
pub(crate) fn create_entity(
    state: &mut State,
    entity: &Map<String, Value>,
    asker: &Asker,
) -> Result<i64, Trouble> {
    let text = |name: &str| {
        let value = entity.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let contact = entity
        .get("Contact")
        .and_then(|contact| contact.get("ContactId"));
    // Vendor samples send the number as a string at times.
    let contact = contact.and_then(|id| id.as_i64().or_else(|| id.as_str()?.parse().ok()));
    let values = PersonValues {
        first: text("Firstname"),
        last: text("Lastname"),
        contact: contact.unwrap_or(0),
        addresses: addresses(entity).unwrap_or_default(),
        retired: entity.get("Retired") == Some(&Value::Bool(true)),
        created: None,
    };
    if values.first.is_empty() && values.last.is_empty() {
        return Err(Trouble::bad("a person needs a name"));
    }
    let author = Author::of(asker.associate);
    let id = state.create_person(values, &author);
    if entity.get("NoMailing") == Some(&Value::Bool(true)) {
        if let Some(person) = state.persons.get_mut(&id) {
            person.no_mailing = false;
        }
        state.set_no_mailing(id, true, &author)?;
    }
    save_consents(state, id, entity, &author)?;
    save_shipment_types(state, id, entity, &author)?;
    Ok(id)
}

/// Saves an entity over the person. Members that are missing or null stay as they are.
pub(crate) fn save_entity(
    state: &mut State,
    id: i64,
    entity: &Map<String, Value>,
    asker: &Asker,
) -> Result<(), Trouble> {
    let author = Author::of(asker.associate);
    let person = readable(state, id)?.clone();
    let text = |name: &str, now: &str| {
        let value = entity.get(name).and_then(Value::as_str);
        value.unwrap_or(now).to_owned()
    };
    let flag = |name: &str| entity.get(name).and_then(Value::as_bool);
    let first = text("Firstname", &person.first);
    let last = text("Lastname", &person.last);
    let retired = flag("Retired").unwrap_or(person.retired);
    state.set_person(id, &first, &last, retired, &author)?;
    if let Some(addresses) = addresses(entity) {
        state.set_addresses(id, addresses, &author)?;
    }
    if let Some(off) = flag("NoMailing").filter(|off| *off != person.no_mailing) {
        state.set_no_mailing(id, off, &author)?;
        // The entity's own consent for E-marketing dates from before the switch.
        let mut entity = entity.clone();
        if let Some(Value::Array(consents)) = entity.get_mut("Consents") {
            consents.retain(|info| {
                info.get("ConsentPurposeId").and_then(Value::as_i64) != Some(EMARKETING)
            });
        }
        save_consents(state, id, &entity, &author)?;
    } else {
        save_consents(state, id, entity, &author)?;
    }
    save_shipment_types(state, id, entity, &author)
}

/// Saves the consents that an entity lists. Those that it leaves out stay, and dates in it mean nothing.
fn save_consents(
    state: &mut State,
    id: i64,
    entity: &Map<String, Value>,
    author: &Author,
) -> Result<(), Trouble> {
    let infos = entity.get("Consents").and_then(Value::as_array);
    for info in infos.into_iter().flatten() {
        let part = |kind: Kind, name: &str| reference(state, kind, info, name);
        let values = ConsentValues {
            purpose: part(Kind::Purpose, "ConsentPurpose")?,
            base: part(Kind::Base, "LegalBase")?,
            source: part(Kind::Source, "ConsentSource")?,
            comment: info
                .get("Comment")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
        };
        let same = state.consent_of(id, values.purpose).is_some_and(|row| {
            row.base == values.base && row.source == values.source && row.comment == values.comment
        });
        if !same {
            state.set_consent(id, values, author)?;
        }
    }
    Ok(())
}

/// The item that an info names by number or key. Which counts when they disagree, the vendor does not say.
fn reference(state: &State, kind: Kind, info: &Value, name: &str) -> Result<i64, Trouble> {
    let id = info.get(format!("{name}Id")).and_then(Value::as_i64);
    let id = id.filter(|id| state.item(kind, *id).is_some());
    let key = info.get(format!("{name}Key")).and_then(Value::as_str);
    let key = key.filter(|key| !key.is_empty());
    match (id, key) {
        (Some(id), _) if state.settings.entity_ids_win => Ok(id),
        (_, Some(key)) => item(state, kind, key),
        (Some(id), None) => Ok(id),
        (None, None) => Err(Trouble::bad(format!("a consent without {name}"))),
    }
}

fn save_shipment_types(
    state: &mut State,
    id: i64,
    entity: &Map<String, Value>,
    author: &Author,
) -> Result<(), Trouble> {
    let Some(types) = entity.get("ShipmentTypes").and_then(Value::as_array) else {
        return Ok(());
    };
    let unwanted: Vec<i64> = types
        .iter()
        .filter(|one| one.get("Selected") == Some(&Value::Bool(false)))
        .filter_map(|one| one.get("Id").and_then(Value::as_i64))
        .collect();
    state.set_reservations(id, &unwanted, author)
}
