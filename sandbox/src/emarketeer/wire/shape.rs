//! How things look on the wire, by the account's settings.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::No;
use crate::emarketeer::contacts::Contact;
use crate::emarketeer::log::{Number, Record};
use crate::emarketeer::master::{Kind, Place};
use crate::emarketeer::settings::{Settings, Spelling, Stamps, Wrapper};
use crate::emarketeer::state::{State, Statement};
use crate::faults::{CallKind, Fault};
use crate::rest::Reply;

/// The text that [`Fault::RawRecord`] puts in the place of a row. Records go by their address, contacts by their id.
fn replaced(state: &State, name: &str) -> Option<String> {
    state.faults.raw_named(name).map(str::to_owned)
}

pub(super) fn stamp(settings: &Settings, at: DateTime<Utc>) -> String {
    let form = match settings.stamps {
        Stamps::Zulu => "%Y-%m-%dT%H:%M:%SZ",
        Stamps::Offset => "%Y-%m-%dT%H:%M:%S+00:00",
        Stamps::Millis => "%Y-%m-%dT%H:%M:%S%.3fZ",
    };
    at.format(form).to_string()
}

pub(super) fn id(settings: &Settings, id: i64) -> Value {
    if settings.ids_as_text {
        Value::String(id.to_string())
    } else {
        Value::from(id)
    }
}

/// A page of a longer list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) offset: usize,
    pub(super) limit: usize,
    pub(super) total: usize,
}

impl Page {
    /// The page of a list that comes at once.
    pub(super) fn whole(total: usize) -> Page {
        Page {
            offset: 0,
            limit: total,
            total,
        }
    }
}

/// A list on its way to being an answer. Rows are texts, since the longest list is the whole account.
pub(super) struct Rows {
    text: String,
    repeated: bool,
}

impl Rows {
    /// An empty list that answers a call of this kind.
    pub(super) fn of(state: &mut State, kind: CallKind) -> Rows {
        let repeated = state.faults.strike(kind, |fault| {
            matches!(fault, Fault::RepeatedRecords).then_some(())
        });
        Rows {
            text: String::new(),
            repeated: repeated.is_some(),
        }
    }

    /// Adds rows at the end.
    pub(super) fn all(mut self, rows: impl IntoIterator<Item = impl ToString>) -> Rows {
        for row in rows {
            let row = row.to_string();
            for _ in 0..=usize::from(self.repeated) {
                if !self.text.is_empty() {
                    self.text.push(',');
                }
                self.text.push_str(&row);
            }
        }
        self
    }

    /// The answer, in the account's wrapper.
    pub(super) fn reply(self, settings: &Settings, page: Page) -> Reply {
        let Page {
            offset,
            limit,
            total,
        } = page;
        let rows = self.text;
        json_text(match settings.wrapper {
            Wrapper::Bare => format!("[{rows}]"),
            Wrapper::Items => format!("{{\"items\":[{rows}]}}"),
            Wrapper::Data => {
                let paging = json!({"limit": limit, "offset": offset, "total": total});
                format!("{{\"data\":[{rows}],\"paging\":{paging}}}")
            }
        })
    }
}

/// An answer whose JSON is written already.
pub(super) fn json_text(text: String) -> Reply {
    Reply::raw(200, "application/json;charset=UTF-8", text)
}

/// A record as an answer shows it.
pub(super) fn record(state: &State, record: &Record, number: Option<Number>) -> String {
    if let Some(raw) = replaced(state, &record.key) {
        return raw;
    }
    let settings = &state.settings;
    let reference = |kind: Kind, place: Place| {
        let item = state.master.item(kind, place);
        let number = item.map_or(Value::Null, |item| id(settings, item.id));
        let name = item.map_or("", |item| &item.name);
        match settings.spelling {
            Spelling::Flat => number,
            Spelling::Nested => json!({"id": number, "name": name}),
            Spelling::Named => json!(name),
        }
    };
    let names = Names::of(settings.spelling);
    let mut map = Map::new();
    if settings.record_ids
        && let Some(number) = number
    {
        map.insert("id".to_owned(), id(settings, i64::from(number) + 1));
    }
    map.insert(names.key.to_owned(), json!(&*record.key));
    map.insert(
        names.purpose.to_owned(),
        reference(Kind::Purpose, record.purpose),
    );
    map.insert(
        names.basis.to_owned(),
        reference(Kind::LegalBasis, record.basis),
    );
    map.insert(
        names.source.to_owned(),
        reference(Kind::Source, record.source),
    );
    map.insert(names.text.to_owned(), json!(record.text.as_deref()));
    map.insert(names.at.to_owned(), json!(stamp(settings, record.at)));
    Value::Object(map).to_string()
}

/// Names of a record's members.
struct Names {
    key: &'static str,
    purpose: &'static str,
    basis: &'static str,
    source: &'static str,
    text: &'static str,
    at: &'static str,
}

impl Names {
    fn of(spelling: Spelling) -> Names {
        let (key, text, at) = match spelling {
            Spelling::Flat => ("key", "text", "createdAt"),
            Spelling::Nested => ("email", "comment", "created"),
            Spelling::Named => ("email", "description", "timestamp"),
        };
        let (purpose, basis, source) = match spelling {
            Spelling::Flat => ("purposeId", "legalBasisId", "sourceId"),
            Spelling::Nested | Spelling::Named => ("purpose", "legalBasis", "source"),
        };
        Names {
            key,
            purpose,
            basis,
            source,
            text,
            at,
        }
    }
}

/// A record as a client sends it.
pub(super) fn statement(state: &State, body: &Value) -> Result<Statement, No> {
    let names = Names::of(state.settings.spelling);
    let Some(body) = body.as_object() else {
        return Err(No::invalid("a record is a JSON object"));
    };
    let text = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(No::invalid(format!("{name} is not a string"))),
    };
    let reference = |kind: Kind, name: &str| {
        let given = body
            .get(name)
            .ok_or_else(|| No::invalid(format!("{name} is missing")))?;
        let place = match state.settings.spelling {
            Spelling::Flat => by_id(state, kind, given),
            Spelling::Nested => given.get("id").and_then(|id| by_id(state, kind, id)),
            Spelling::Named => given.as_str().and_then(|name| state.place_of(kind, name)),
        };
        place.ok_or_else(|| No::invalid(format!("{name} is unknown")))
    };
    let key = text(names.key)?.ok_or_else(|| No::invalid(format!("{} is missing", names.key)))?;
    let key = state
        .address(&key)
        .ok_or_else(|| No::invalid(format!("{} is not an email address", names.key)))?;
    let at = match text(names.at)? {
        None => None,
        Some(time) => {
            let time = DateTime::parse_from_rfc3339(&time)
                .map_err(|_| No::invalid(format!("{} is not a date-time", names.at)))?;
            Some(time.to_utc())
        }
    };
    Ok(Statement {
        key: key.into(),
        purpose: reference(Kind::Purpose, names.purpose)?,
        basis: reference(Kind::LegalBasis, names.basis)?,
        source: reference(Kind::Source, names.source)?,
        text: text(names.text)?,
        at,
    })
}

/// The item that an id in JSON stands for; the application takes numbers in strings too.
pub(super) fn by_id(state: &State, kind: Kind, id: &Value) -> Option<Place> {
    let id = match id {
        Value::Number(number) => number.as_i64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    state.master.with_id(kind, id)
}

/// A contact as an answer shows it.
pub(super) fn contact(state: &State, contact: &Contact) -> String {
    let number = contact.id.cast_signed();
    if let Some(raw) = replaced(state, &number.to_string()) {
        return raw;
    }
    let settings = &state.settings;
    let (key, address, created, modified) = match settings.spelling {
        Spelling::Flat => ("id", "email", "createdAt", "modifiedAt"),
        Spelling::Nested => ("contactId", "email", "created", "modified"),
        Spelling::Named => ("id", "emailAddress", "creationDate", "modificationDate"),
    };
    let mut map = Map::new();
    map.insert(key.to_owned(), id(settings, number));
    map.insert(address.to_owned(), json!(&*contact.address));
    for (name, value) in &contact.fields {
        map.insert(name.to_string(), json!(&**value));
    }
    map.insert(created.to_owned(), json!(stamp(settings, contact.created)));
    map.insert(
        modified.to_owned(),
        json!(stamp(settings, contact.modified)),
    );
    Value::Object(map).to_string()
}
