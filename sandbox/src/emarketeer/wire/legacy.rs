//! API 1.0, deprecated but up ("Legacy API 1.0 docs"): contacts, lists and campaigns, and nothing about consent.
//!
//! `/api/{API_ID}/{function}/{parameters}`: parameters stand in the path behind the slash, as `&name=value`, or in the
//! body of a POST. Answers are XML unless `response=json` asks otherwise.

use std::collections::BTreeMap;

use axum::http::Method;
use quick_xml::escape::partial_escape;
use serde_json::{Map, Value, json};

use crate::emarketeer::contacts::{Changes, Contact, EXTERNAL_ID, STANDARD};
use crate::emarketeer::state::State;
use crate::rest::{Call, Reply};

/// Most contacts in one answer, and as many when the client names no number.
const MAX_READ: usize = 300;
/// Most contacts in one upsert.
const MAX_UPSERT: usize = 30;
/// Calls that the sample answer of the counter allows.
const MAX_CALLS: u64 = 100_000;
/// Highest index of a contact that is looked at.
const MAX_INDEX: usize = 1_000;

/// What a function answers.
enum Found {
    /// Rows: the name of the list and of a row in XML.
    Rows(&'static str, &'static str, Vec<Map<String, Value>>),
    /// Nothing was found, and why.
    Info(&'static str),
    /// What became of each item.
    Statuses(Vec<Map<String, Value>>),
}

/// The parts of a path: API id, function, and the parameters behind it.
fn parts(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix("/api/")?;
    let (id, rest) = rest.split_once('/')?;
    let (function, parameters) = rest.split_once('/')?;
    Some((id, function, parameters))
}

/// Whether the function changes anything.
pub(super) fn writes(path: &str) -> bool {
    let function = parts(path).map(|(_, function, _)| function);
    matches!(function, Some("upsert_contacts" | "delete_contacts"))
}

struct Parameters {
    plain: BTreeMap<String, String>,
    /// `contacts[n][field]`, by n.
    contacts: BTreeMap<usize, BTreeMap<String, String>>,
}

impl Parameters {
    fn of(call: &Call, behind: &str) -> Parameters {
        let mut all = Parameters {
            plain: BTreeMap::new(),
            contacts: BTreeMap::new(),
        };
        let query = call.query.as_deref().unwrap_or_default();
        for text in [behind.as_bytes(), query.as_bytes(), &call.body] {
            for (name, value) in url::form_urlencoded::parse(text) {
                match index_and_field(&name) {
                    Some((index, field)) => {
                        let contact = all.contacts.entry(index).or_default();
                        contact.insert(field.to_owned(), value.into_owned());
                    }
                    None => {
                        all.plain.insert(name.into_owned(), value.into_owned());
                    }
                }
            }
        }
        all
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.plain.get(name)?.parse().ok()
    }
}

/// `contacts[3][email]` is 3 and `email`.
fn index_and_field(name: &str) -> Option<(usize, &str)> {
    let rest = name.strip_prefix("contacts[")?;
    let (index, rest) = rest.split_once("][")?;
    let index = index.parse().ok()?;
    (index <= MAX_INDEX).then_some((index, rest.strip_suffix(']')?))
}

/// Serves any call under `/api/`.
pub(super) fn serve(state: &mut State, call: &Call) -> Reply {
    let (id, function, behind) = parts(&call.path).unwrap_or_default();
    let parameters = Parameters::of(call, behind);
    let as_json = parameters
        .plain
        .get("response")
        .is_some_and(|form| form == "json");
    if id != state.keys.api_id {
        state.calls.forbidden += 1;
        return render(403, &error("Invalid API ID"), as_json);
    }
    let writes = writes(&call.path);
    let (status, found) = match function {
        _ if writes && call.method != Method::POST => (405, error("Use POST")),
        "contacts" => (200, contacts(state, &parameters)),
        "lists" => (200, lists(state)),
        "campaigns" => (200, campaigns(state)),
        "fields" => (200, fields(state)),
        "counter" => (200, counter(state)),
        "upsert_contacts" | "delete_contacts" if parameters.contacts.len() > MAX_UPSERT => {
            (200, error("Too many contacts"))
        }
        "upsert_contacts" => (200, each(state, &parameters, upsert)),
        "delete_contacts" => (200, each(state, &parameters, delete)),
        _ => (404, error("Unknown function")),
    };
    render(status, &found, as_json)
}

fn row<const N: usize>(members: [(&str, String); N]) -> Map<String, Value> {
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect()
}

fn error(message: &str) -> Found {
    Found::Statuses(vec![row([("error", message.to_owned())])])
}

fn each(
    state: &mut State,
    parameters: &Parameters,
    act: impl Fn(&mut State, &BTreeMap<String, String>) -> Map<String, Value>,
) -> Found {
    let contacts = parameters.contacts.values();
    Found::Statuses(contacts.map(|contact| act(state, contact)).collect())
}

fn lowered(text: &str) -> String {
    text.trim().to_lowercase()
}

fn contacts(state: &State, parameters: &Parameters) -> Found {
    let max = parameters.number("max").unwrap_or(MAX_READ).min(MAX_READ);
    let offset = parameters.number("offset").unwrap_or(0);
    let page = |ids: &mut dyn Iterator<Item = u64>| ids.skip(offset).take(max).collect();
    let ids: Vec<u64> = if let Some(one) = parameters.contacts.values().next() {
        let by_id = one.get("id").and_then(|id| id.parse().ok());
        let by_address = || {
            let address = lowered(one.get("email")?);
            state.contacts.at(&address).next()
        };
        by_id.or_else(by_address).into_iter().collect()
    } else if let Some(list) = parameters.number("list") {
        let list = state.lists.get(&(list as u64)).into_iter();
        page(&mut list.flat_map(|list| list.members.iter().copied()))
    } else {
        let search = parameters.plain.get("search").map(|text| lowered(text));
        let matches = |contact: &&Contact| {
            search.as_ref().is_none_or(|search| {
                let fields = ["firstName", "lastName", "company"].map(|name| contact.field(name));
                contact.address.contains(search)
                    || fields
                        .into_iter()
                        .flatten()
                        .any(|text| lowered(text).contains(search))
            })
        };
        let found = state.contacts.all().filter(matches);
        page(&mut found.map(|contact| contact.id))
    };
    let contacts = ids.into_iter().filter_map(|id| state.contacts.get(id));
    let rows: Vec<_> = contacts.map(contact_row).collect();
    if rows.is_empty() {
        Found::Info("No contacts found")
    } else {
        Found::Rows("contacts", "contact", rows)
    }
}

/// A contact with all its standard fields, empty ones included.
fn contact_row(contact: &Contact) -> Map<String, Value> {
    let mut row = row([
        ("id", contact.id.to_string()),
        ("email", contact.address.to_string()),
    ]);
    for (name, old_name) in STANDARD {
        row.insert(
            old_name.to_owned(),
            json!(contact.field(name).unwrap_or_default()),
        );
    }
    for (name, value) in &contact.fields {
        if STANDARD.iter().all(|(standard, _)| **standard != **name) {
            row.insert(name.to_string(), json!(&**value));
        }
    }
    row
}

fn lists(state: &State) -> Found {
    let lists = state.lists.iter();
    let rows = lists.map(|(id, list)| row([("id", id.to_string()), ("name", list.name.clone())]));
    Found::Rows("lists", "list", rows.collect())
}

fn campaigns(state: &State) -> Found {
    let campaigns = state.campaigns.iter();
    let rows = campaigns.map(|campaign| {
        row([
            ("id", campaign.id.to_string()),
            ("name", campaign.name.clone()),
            (
                "created",
                campaign.created.format("%Y-%m-%d %H:%M:%S").to_string(),
            ),
        ])
    });
    Found::Rows("campaigns", "campaign", rows.collect())
}

fn fields(state: &State) -> Found {
    let standard = STANDARD.iter().map(|(_, name)| (*name, *name));
    let custom = state.custom_fields.iter();
    let rows = [("email", "E-mail Address")]
        .into_iter()
        .chain(standard)
        .chain(custom.map(|(name, label)| (name.as_str(), label.as_str())))
        .map(|(name, label)| row([("name", name.to_owned()), ("label", label.to_owned())]));
    Found::Rows("fields", "field", rows.collect())
}

fn counter(state: &State) -> Found {
    let used =
        state.calls.of(crate::CallKind::LegacyRead) + state.calls.of(crate::CallKind::LegacyWrite);
    let row = row([
        ("used", used.to_string()),
        ("max", MAX_CALLS.to_string()),
        ("date", state.now().format("%Y-%m-%d %H:%M:%S").to_string()),
    ]);
    Found::Rows("counter", "status", vec![row])
}

/// The contact that is meant: by id, else by external id, else by address; the lowest id of several.
fn upsert(state: &mut State, given: &BTreeMap<String, String>) -> Map<String, Value> {
    let text = |name: &str| {
        given
            .get(name)
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    };
    let mut changes = Changes::new();
    for (name, value) in given {
        let standard = STANDARD.iter().find(|(_, old)| old == name);
        if let Some((present, _)) = standard {
            changes.insert((*present).to_owned(), value.clone());
        } else if state.custom_fields.contains_key(name) {
            changes.insert(name.clone(), value.clone());
        }
    }
    let email = text("email").map(lowered);
    let now = state.stamp();
    if let Some(id) = text("id") {
        let known = id
            .parse()
            .ok()
            .filter(|id| state.contacts.get(*id).is_some());
        let Some(number) = known else {
            state.calls.contacts_refused += 1;
            return row([("id", id.to_owned()), ("message", "not found".to_owned())]);
        };
        state.contacts.change(number, &changes, now);
        if let Some(address) = email.and_then(|email| state.address(&email)) {
            state.contacts.move_to(number, &address, now);
        }
        return updated(state, number);
    }
    if email.is_none() && text("external_id").is_none() {
        state.calls.contacts_refused += 1;
        return row([("error", "No Unique identifier!".to_owned())]);
    }
    let by_external = text("external_id").map(|external| {
        let owners: Vec<&Contact> = state
            .contacts
            .with_external(external)
            .filter_map(|id| state.contacts.get(id))
            .collect();
        let same = |owner: &&&Contact| {
            email
                .as_deref()
                .is_none_or(|email| *owner.address == *email)
        };
        let owner = owners.iter().find(same).map(|owner| owner.id);
        // An external id that is another address's makes a new contact.
        owner.or_else(|| {
            let free = owners.is_empty();
            let ids = email
                .as_deref()
                .filter(|_| free)
                .map(|email| state.contacts.at(email));
            let mut ids = ids.into_iter().flatten();
            ids.find(|id| {
                let contact = state.contacts.get(*id);
                contact.is_some_and(|contact| contact.field(EXTERNAL_ID).is_none())
            })
        })
    });
    let found = match by_external {
        Some(found) => found,
        None => email
            .as_deref()
            .and_then(|email| state.contacts.at(email).next()),
    };
    if let Some(id) = found {
        state.contacts.change(id, &changes, now);
        return updated(state, id);
    }
    let Some(address) = email.and_then(|email| state.address(&email)) else {
        state.calls.contacts_refused += 1;
        return row([("error", "Invalid email".to_owned())]);
    };
    let id = state.contacts.add(&address, &changes, now, now);
    state.calls.contacts_created += 1;
    row([("id", id.to_string()), ("message", "OK".to_owned())])
}

fn updated(state: &mut State, id: u64) -> Map<String, Value> {
    state.calls.contacts_updated += 1;
    row([("id", id.to_string()), ("message", "OK".to_owned())])
}

fn delete(state: &mut State, given: &BTreeMap<String, String>) -> Map<String, Value> {
    let names = ["id", "external_id", "email"];
    let named = names
        .into_iter()
        .find_map(|name| Some((name, given.get(name)?.trim().to_owned())));
    let Some((name, value)) = named else {
        state.calls.contacts_refused += 1;
        return row([("error", "No Unique identifier!".to_owned())]);
    };
    let found = match name {
        "id" => value.parse().ok(),
        "external_id" => state.contacts.with_external(&value).next(),
        _ => state.contacts.at(&lowered(&value)).next(),
    };
    let gone = found.is_some_and(|id| state.remove_contact(id));
    state.calls.contacts_deleted += u64::from(gone);
    let message = if gone { "deleted" } else { "not found" };
    row([(name, value), ("message", message.to_owned())])
}

fn render(status: u16, found: &Found, as_json: bool) -> Reply {
    if as_json {
        let rest = match found {
            Found::Rows(name, _, rows) => json!({*name: rows}),
            Found::Info(message) => json!({"info": message}),
            Found::Statuses(rows) => json!(rows),
        };
        return Reply::json(status, json!({"rest": rest}));
    }
    let inner = match found {
        Found::Rows(name, item, rows) => element(name, &elements(item, rows)),
        Found::Info(message) => element("info", message),
        Found::Statuses(rows) => elements("status", rows),
    };
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
        element("rest", &inner)
    );
    Reply::raw(status, "text/xml;charset=UTF-8", xml)
}

fn element(name: &str, inner: &str) -> String {
    format!("<{name}>{inner}</{name}>")
}

fn elements(item: &str, rows: &[Map<String, Value>]) -> String {
    let member = |(name, value): (&String, &Value)| {
        element(name, &partial_escape(value.as_str().unwrap_or_default()))
    };
    let rows = rows.iter();
    rows.map(|row| element(item, &row.iter().map(member).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_falls_into_its_parts() {
        assert_eq!(
            parts("/api/X/contacts/&max=3"),
            Some(("X", "contacts", "&max=3"))
        );
        assert_eq!(parts("/api/X/lists/"), Some(("X", "lists", "")));
        assert_eq!(parts("/api/X/lists"), None);
        assert!(writes("/api/X/delete_contacts/"));
        assert!(!writes("/api/X/contacts/"));
    }

    #[test]
    fn contacts_come_as_a_two_dimensional_array() {
        assert_eq!(index_and_field("contacts[3][email]"), Some((3, "email")));
        assert_eq!(index_and_field("contacts[x][email]"), None);
        assert_eq!(index_and_field("max"), None);
    }
}
