//! The agents: remote procedures under `/v1/Agents/{agent}/{method}`, POST only.
//!
//! A missing object is `null` with 200, not 404, and GET answers with help (Agents web API).

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::carriers;
use super::changes::{Author, ConsentValues};
use super::errors::{Trouble, model_error};
use super::http::{Asker, no_method, no_resource};
use super::lifecycle::MergeHow;
use super::lists::Kind;
use super::person_api::{self, create_entity, save_entity};
use super::state::{Consent, State};
use super::{list_api, webhook_api};
use crate::rest::{Call, Reply};

/// The arguments of a call: its JSON body, and what the query names.
struct Arguments<'c> {
    body: Map<String, Value>,
    call: &'c Call,
}

impl Arguments<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        let mut members = self.body.iter();
        members
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> String {
        let value = self.value(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    }

    fn number(&self, name: &str) -> i64 {
        let value = self.value(name).and_then(Value::as_i64);
        let query = || self.call.param(name).and_then(|text| text.parse().ok());
        value.or_else(query).unwrap_or(0)
    }

    fn flag(&self, name: &str) -> bool {
        self.value(name) == Some(&Value::Bool(true))
    }
}

/// Everything behind `/v1/Agents`.
pub(crate) fn serve(
    state: &mut State,
    call: &Call,
    rest: &[String],
    asker: &Asker,
) -> Result<Reply, Trouble> {
    if call.method == Method::GET {
        return Ok(Reply::raw(
            200,
            "text/html;charset=UTF-8",
            "<html><body>Use POST to call a method.</body></html>",
        ));
    }
    if call.method != Method::POST {
        return Ok(no_method(call));
    }
    let [agent, method] = rest else {
        return Ok(no_resource(call));
    };
    let parsed = if call.body.is_empty() {
        Ok(Map::new())
    } else {
        serde_json::from_slice(&call.body)
    };
    let Ok(body) = parsed else {
        let detail = "the body is not a JSON object";
        return Ok(model_error(400, "The request is invalid.", detail));
    };
    let arguments = Arguments { body, call };
    let method = method.to_ascii_lowercase();
    match agent.to_ascii_lowercase().as_str() {
        "person" => person(state, &method, &arguments, asker),
        "list" => Ok(lists(state, call, &method, asker)),
        "webhook" => webhook_api::agent(state, call, &method, asker),
        _ => Ok(no_resource(call)),
    }
}

fn lists(state: &State, call: &Call, method: &str, asker: &Asker) -> Reply {
    let kind = match method {
        "getconsentpurposes" | "getallconsentpurpose" => Kind::Purpose,
        "getlegalbases" | "getalllegalbase" => Kind::Base,
        "getconsentsources" | "getallconsentsource" => Kind::Source,
        _ => return no_resource(call),
    };
    Reply::json(200, list_api::all(state, kind, asker))
}

fn person(
    state: &mut State,
    method: &str,
    arguments: &Arguments<'_>,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let author = Author::of(asker.associate);
    let person = arguments.number("PersonId");
    match method {
        "setconsent" => person_api::set_consent(
            state,
            person,
            &arguments.text("Purpose"),
            &arguments.text("LegalBase"),
            &arguments.text("Source"),
            arguments.text("Comment"),
            asker,
        ),
        "removeconsent" => {
            person_api::remove_consent(state, person, &arguments.text("Purpose"), asker)
        }
        "hasconsent" => {
            let purpose = person_api::item(state, Kind::Purpose, &arguments.text("Purpose"))?;
            let live = state.live_person(person).is_some();
            let row = state.consent_of(person, purpose).filter(|_| live);
            Ok(Reply::json(200, json!(row.is_some_and(Consent::given))))
        }
        "getconsentinfos" => {
            let known = state.live_person(person).is_some();
            let infos = known.then(|| carriers::consent_infos(state, person, asker));
            Ok(Reply::json(200, infos.unwrap_or(Value::Null)))
        }
        "createdefaultconsentperson" => Ok(Reply::json(
            200,
            carriers::consent_person(state, None, false, asker),
        )),
        "getconsentperson" => {
            let row = state.consents.get(&arguments.number("consentPersonId"));
            let row = row.filter(|row| state.live_person(row.person).is_some());
            let found = row.map(|row| carriers::consent_person(state, Some(row), false, asker));
            Ok(Reply::json(200, found.unwrap_or(Value::Null)))
        }
        "deleteconsentperson" => {
            let id = arguments.number("consentPersonId");
            if !state.delete_consent_row(id, &author) {
                return Err(Trouble::not_found("ConsentPerson", id));
            }
            Ok(Reply::empty(204))
        }
        "saveconsentperson" => save_consent_person(state, arguments, asker),
        "getpersonentity" => {
            let found = state.live_person(person);
            let found = found.map(|person| carriers::person(state, person, asker));
            Ok(Reply::json(200, found.unwrap_or(Value::Null)))
        }
        "createdefaultpersonentity" => Ok(Reply::json(200, carriers::default_person(state, asker))),
        "savepersonentity" => {
            let id = if person == 0 {
                create_entity(state, &arguments.body, asker)?
            } else {
                save_entity(state, person, &arguments.body, asker)?;
                person
            };
            let saved = state.changeable(id)?;
            Ok(Reply::json(200, carriers::person(state, saved, asker)))
        }
        "deletepersonentity" => {
            state.soft_delete(person, &author)?;
            Ok(Reply::empty(204))
        }
        "undelete" => {
            state.restore(arguments.number("Id"), &author)?;
            Ok(Reply::empty(204))
        }
        "merge" => {
            let how = MergeHow {
                delete_source: arguments.flag("DeleteSource"),
                replace_empty_fields: arguments.flag("ReplaceEmptyFieldsOnDestination"),
            };
            let source = arguments.number("SourcePersonId");
            let destination = arguments.number("DestinationPersonId");
            state.merge(source, destination, how, &author)?;
            Ok(Reply::empty(204))
        }
        "addemailaddresstoperson" => add_address(state, person, arguments, asker),
        _ => Ok(no_resource(arguments.call)),
    }
}

/// Saves a consent row by its number; only the ids inside count, and 0 inserts.
fn save_consent_person(
    state: &mut State,
    arguments: &Arguments<'_>,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let id_in = |kind: Kind| {
        let part = arguments.value(kind.path());
        let id = part.and_then(|part| part.get(format!("{}Id", kind.path())));
        let id = id.and_then(Value::as_i64);
        id.filter(|id| state.item(kind, *id).is_some())
            .ok_or_else(|| Trouble::bad(format!("no such {}", kind.path())))
    };
    let values = ConsentValues {
        purpose: id_in(Kind::Purpose)?,
        base: id_in(Kind::Base)?,
        source: id_in(Kind::Source)?,
        comment: arguments.text("Comment"),
    };
    let person = arguments.number("PersonId");
    let purpose = values.purpose;
    let id = arguments.number("ConsentPersonId");
    let there = state.consent_of(person, purpose).map(|row| row.id);
    if there.unwrap_or(0) != id {
        let message = "a person has one consent for a purpose";
        return Err(Trouble::new(500, "SoDbAccessException", message));
    }
    state.set_consent(person, values, &Author::of(asker.associate))?;
    let row = state.consent_of(person, purpose);
    let carrier = carriers::consent_person(state, row, true, asker);
    Ok(Reply::json(200, carrier))
}

fn add_address(
    state: &mut State,
    person: i64,
    arguments: &Arguments<'_>,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let rows = state.changeable(person)?.emails.clone();
    let mut addresses: Vec<(String, String)> = rows
        .iter()
        .filter_map(|id| state.emails.get(id))
        .map(|row| (row.address.clone(), row.description.clone()))
        .collect();
    let new = (arguments.text("EmailAddress"), String::new());
    if arguments.flag("SetAsPrimaryEmail") {
        addresses.insert(0, new);
    } else {
        addresses.push(new);
    }
    state.set_addresses(person, addresses, &Author::of(asker.associate))?;
    Ok(Reply::empty(204))
}
