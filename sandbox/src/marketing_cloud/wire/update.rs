//! Update of subscribers, each object for itself; Create, which is refused.

use super::client;
use super::envelope::{PARTNER, guid, tag};
use super::token::Token;
use super::xml::Element;
use crate::faults::{CallKind, Fault};
use crate::marketing_cloud::state::{Place, Standing, State, Status};
use crate::marketing_cloud::units::{ENTERPRISE, Mid};

/// Most objects in one request.
const MAX_OBJECTS: usize = 5_000;
const API: &str = "API";

/// Why one object was refused: the vendor's number and words.
struct No(u32, String);

const TYPE: u32 = 8;
const METHOD: u32 = 5;
const STATE: u32 = 3;
const EXCEPTION: u32 = 2;
const INVALID_ADDRESS: u32 = 12_000;
const NOT_FOUND: u32 = 12_001;

/// Serves an Update.
pub(super) fn update(
    state: &mut State,
    token: &Token,
    kind: CallKind,
    request: &Element,
) -> String {
    let struck = state.faults.strike(kind, |fault| match fault {
        Fault::OverallError { message } => Some(message.clone()),
        _ => None,
    });
    if let Some(message) = struck {
        return response("UpdateResponse", "", &format!("Error: {message}"));
    }
    let options = request.first("Options");
    let add = options
        .and_then(|options| options.first("SaveOptions"))
        .is_some_and(|saves| {
            saves
                .all("SaveOption")
                .any(|save| save.value("SaveAction") == Some("UpdateAdd"))
        });
    let objects: Vec<&Element> = request.all("Objects").collect();
    if objects.is_empty() || objects.len() > MAX_OBJECTS {
        let overall = format!("Error: A request has 1 to {MAX_OBJECTS} Objects.");
        return response("UpdateResponse", "", &overall);
    }
    let mut results = String::new();
    let (mut taken, mut refused) = (0_u64, 0_u64);
    for (ordinal, object) in objects.into_iter().enumerate() {
        let outcome = match struck_row(state, kind) {
            Some(no) => Err(no),
            None => one(state, token, object, add),
        };
        match &outcome {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
        results.push_str(&result(ordinal, &outcome, object));
    }
    state.calls.rows_updated += taken;
    state.calls.rows_refused += refused;
    response("UpdateResponse", &results, overall(taken, refused))
}

/// Refuses a Create, object by object: subscribers come from sends and imports.
pub(super) fn refuse_create(state: &mut State, request: &Element) -> String {
    let mut results = String::new();
    let no = Err(No(METHOD, "Method is not allowed on this type.".to_owned()));
    for (ordinal, object) in request.all("Objects").take(MAX_OBJECTS).enumerate() {
        state.calls.rows_refused += 1;
        results.push_str(&result(ordinal, &no, object));
    }
    response("CreateResponse", &results, "Error")
}

pub(super) fn overall(taken: u64, refused: u64) -> &'static str {
    match (taken, refused) {
        (_, 0) => "OK",
        (0, _) => "Error",
        _ => "Has Errors",
    }
}

fn response(name: &str, results: &str, overall: &str) -> String {
    format!(
        "<{name} xmlns=\"{PARTNER}\">{results}{}{}</{name}>",
        tag("RequestID", Some(&guid())),
        tag("OverallStatus", Some(overall))
    )
}

fn result(ordinal: usize, outcome: &Result<&'static str, No>, object: &Element) -> String {
    let said = |name: &str| {
        let text = object.value(name);
        text.map(|text| tag(name, Some(text))).unwrap_or_default()
    };
    let client = object
        .first("Client")
        .and_then(|client| client.value("ID"))
        .map(|id| format!("<Client>{}</Client>", tag("ID", Some(id))))
        .unwrap_or_default();
    let echo = format!(
        "<Object xsi:type=\"Subscriber\">{client}{}{}{}{}{}</Object>",
        tag("PartnerKey", None),
        tag("ObjectID", None),
        said("EmailAddress"),
        said("SubscriberKey"),
        said("Status")
    );
    let (status, message, code) = match outcome {
        Ok(message) => ("OK", *message, String::new()),
        Err(No(code, message)) => (
            "Error",
            message.as_str(),
            tag("ErrorCode", Some(&code.to_string())),
        ),
    };
    format!(
        "<Results>{}{}{}{code}{echo}</Results>",
        tag("StatusCode", Some(status)),
        tag("StatusMessage", Some(message)),
        tag("OrdinalID", Some(&ordinal.to_string()))
    )
}

/// A fault that refuses this row.
fn struck_row(state: &mut State, kind: CallKind) -> Option<No> {
    let seen = state.faults.next_row();
    state.faults.strike(kind, |fault| match fault {
        Fault::UpdateRefused {
            every,
            code,
            message,
        } if seen.is_multiple_of((*every).max(1)) => {
            let message = message.clone();
            Some(No(
                *code,
                message.unwrap_or_else(|| words(*code).to_owned()),
            ))
        }
        _ => None,
    })
}

/// The name that the vendor's table has for a code.
fn words(code: u32) -> &'static str {
    match code {
        EXCEPTION => "SystemException",
        STATE => "UpdateActionInvalidForObjectState",
        INVALID_ADDRESS => "InvalidEmailAddress",
        NOT_FOUND => "SubscriberNotFound",
        12_003 => "OnGlobalUnsubList",
        12_014 => "The subscriber is already on the list",
        _ => "Error",
    }
}

fn not_found() -> No {
    No(NOT_FOUND, words(NOT_FOUND).to_owned())
}

/// Updates one subscriber.
fn one(state: &mut State, token: &Token, object: &Element, add: bool) -> Result<&'static str, No> {
    match object.kind.as_deref() {
        Some("Subscriber") => {}
        Some(other) => return Err(No(TYPE, format!("Type {other} is not supported."))),
        None => return Err(No(TYPE, "The object has no type.".to_owned())),
    }
    let Some(mid) = client(state, token, object) else {
        let words = "The API user has no access to the Client.".to_owned();
        return Err(No(EXCEPTION, words));
    };
    let status = match object.value("Status") {
        Some(text) => Some(settable(text)?),
        None => None,
    };
    let lists = lists(state, mid, object)?;
    let address = object.value("EmailAddress");
    if let Some(address) = address
        && !plausible(address)
    {
        return Err(No(INVALID_ADDRESS, words(INVALID_ADDRESS).to_owned()));
    }
    let (place, new) = find_or_add(state, object, add)?;
    if !state.knows(place, mid) && !add && !state.settings.update_adds_to_unit {
        return Err(not_found());
    }
    if let Some(address) = address
        && object.value("SubscriberKey").is_some()
        && let Some(one) = state.subscriber_mut(place)
    {
        one.address = address.into();
    }
    match status {
        Some(Wanted::Status(status)) => state.set(place, mid, status, API),
        Some(Wanted::Deleted) => delete(state, place, mid),
        // Whoever is added without a status is Active.
        None if new => state.put(place, mid, Status::Active, API),
        None => {}
    }
    for (list, wanted) in lists {
        on_list(state, place, mid, list, wanted);
    }
    Ok(if new {
        "Created Subscriber."
    } else {
        "Updated Subscriber."
    })
}

/// What can be set; everything else is reached by the system alone.
#[derive(Clone, Copy)]
enum Wanted {
    Status(Status),
    Deleted,
}

fn settable(text: &str) -> Result<Wanted, No> {
    match text {
        "Active" => Ok(Wanted::Status(Status::Active)),
        "Unsubscribed" => Ok(Wanted::Status(Status::Unsubscribed)),
        "Deleted" => Ok(Wanted::Deleted),
        other => Err(No(STATE, format!("The Status cannot be set to {other}."))),
    }
}

fn plausible(address: &str) -> bool {
    let parts = address.split_once('@');
    parts.is_some_and(|(name, domain)| {
        !name.is_empty() && domain.contains('.') && !address.contains(char::is_whitespace)
    })
}

/// The subscriber named by key or, without one, by an address that only one has.
fn find_or_add(state: &mut State, object: &Element, add: bool) -> Result<(Place, bool), No> {
    let address = object.value("EmailAddress");
    let place = match (object.value("SubscriberKey"), address) {
        (Some(key), _) => state.place(key),
        (None, Some(address)) => {
            let mut found = state.places().filter(|place| {
                let one = state.subscriber(*place);
                one.is_some_and(|one| one.address.eq_ignore_ascii_case(address))
            });
            match (found.next(), found.next()) {
                (Some(place), None) => Some(place),
                (None, _) => None,
                (Some(_), Some(_)) => {
                    let words = "Several subscribers have this EmailAddress.".to_owned();
                    return Err(No(12_007, words));
                }
            }
        }
        (None, None) => {
            let words = "The object has neither SubscriberKey nor EmailAddress.".to_owned();
            return Err(No(INVALID_ADDRESS, words));
        }
    };
    if let Some(place) = place {
        return Ok((place, false));
    }
    if !add {
        return Err(not_found());
    }
    let Some(address) = address else {
        return Err(No(INVALID_ADDRESS, words(INVALID_ADDRESS).to_owned()));
    };
    let key = object.value("SubscriberKey").unwrap_or(address).to_owned();
    let now = state.stamp();
    let added = state.add(&key, address, Status::Active, now);
    added.map(|place| (place, true)).ok_or_else(not_found)
}

/// The lists of an object, all of them known and of the unit.
fn lists(state: &State, mid: Mid, object: &Element) -> Result<Vec<(u64, Wanted)>, No> {
    let mut lists = Vec::new();
    for list in object.all("Lists") {
        let id = list.value("ID").unwrap_or_default();
        let known = id.parse().ok().filter(|id| {
            let unit = state.units.of_list(*id);
            unit.is_some_and(|unit| unit.mid == mid)
        });
        let Some(known) = known else {
            return Err(No(EXCEPTION, format!("The unit has no list {id:?}.")));
        };
        let wanted = match (list.value("Action"), list.value("Status")) {
            (Some("delete"), _) => Wanted::Deleted,
            (_, Some(status)) => settable(status)?,
            (_, None) => Wanted::Status(Status::Active),
        };
        lists.push((known, wanted));
    }
    Ok(lists)
}

/// Deleting at the enterprise deletes the subscriber; in a unit, only there.
fn delete(state: &mut State, place: Place, mid: Mid) {
    if mid == ENTERPRISE {
        state.remove(place);
    } else if let Some(one) = state.subscriber_mut(place) {
        one.units.remove(&mid);
    }
}

/// A status on one list; on "All Subscribers" it is the subscriber's.
fn on_list(state: &mut State, place: Place, mid: Mid, list: u64, wanted: Wanted) {
    let all = state
        .units
        .of_list(list)
        .is_some_and(|unit| unit.all_subscribers == list);
    let now = state.stamp();
    match wanted {
        Wanted::Status(status) if all => state.set(place, mid, status, API),
        Wanted::Deleted if all => delete(state, place, mid),
        Wanted::Deleted => {
            if let Some(one) = state.subscriber_mut(place) {
                one.lists.remove(&list);
            }
        }
        Wanted::Status(status) => {
            if let Some(one) = state.subscriber_mut(place) {
                let before = one.lists.get(&list);
                let created = before.map_or(now, |before| before.created);
                let standing = Standing {
                    status,
                    since: now,
                    created,
                };
                one.lists.insert(list, standing);
            }
        }
    }
}
