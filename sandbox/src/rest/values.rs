//! From JSON and CSV to the values of a row, with the platform's complaints.

use chrono::NaiveDate;
use serde_json::{Map, Value};

use crate::clock;
use crate::faults::Faults;
use crate::ids;
use crate::org::save::Changes;
use crate::org::schema::Kind;
use crate::org::state::State;
use crate::org::table::Cell;
use crate::refusal::Refusal;

/// Turns the fields of a record into changes. Unknown and hidden fields, and values of a wrong type, refuse the whole
/// request; a field that may not be written refuses the row: the two levels of the result.
pub(crate) fn changes(
    state: &State,
    table: usize,
    record: &Map<String, Value>,
    creating: bool,
) -> Result<Result<Changes, Refusal>, Refusal> {
    let object = &state.tables[table].object;
    let mut changes = Changes::new();
    let mut row = Ok(());
    for (name, value) in record {
        if name == "attributes" || name.eq_ignore_ascii_case("id") {
            continue;
        }
        let position = state
            .visible_field(table, name)
            .ok_or_else(|| Refusal::no_column(object.name, name))?;
        let field = &object.fields[position];
        let cell = from_json(field.kind, value).ok_or_else(|| {
            Refusal::json_parser(format!(
                "Cannot deserialize instance of {} from value {value} or request may be missing a required field",
                type_name(field.kind)
            ))
        })?;
        if row.is_ok() {
            row = check(&state.faults, object.name, field, &cell, creating);
        }
        changes.push((position, cell));
    }
    Ok(row.map(|()| changes))
}

/// As [`changes`], for one CSV row: an empty value leaves the field alone, `#N/A` empties it.
pub(crate) fn csv_changes(
    state: &State,
    table: usize,
    record: &[(String, String)],
    creating: bool,
) -> Result<Changes, Refusal> {
    let object = &state.tables[table].object;
    let mut changes = Changes::new();
    for (name, text) in record {
        if name.eq_ignore_ascii_case("id") || text.is_empty() {
            continue;
        }
        let position = state
            .visible_field(table, name)
            .ok_or_else(|| Refusal::no_column(object.name, name))?;
        let field = &object.fields[position];
        let value = match (text.as_str(), field.kind) {
            ("#N/A", _) => Value::Null,
            (text, Kind::Boolean) => Value::Bool(text == "1" || text.eq_ignore_ascii_case("true")),
            (text, _) => Value::String(text.to_owned()),
        };
        let cell = from_json(field.kind, &value).ok_or_else(|| {
            Refusal::new(
                400,
                "INVALID_TYPE_ON_FIELD_IN_RECORD",
                format!("invalid value for {name}: {text}"),
            )
            .on(name)
        })?;
        check(&state.faults, object.name, field, &cell, creating)?;
        changes.push((position, cell));
    }
    Ok(changes)
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "boolean",
        Kind::DateTime => "datetime",
        Kind::Date => "date",
        Kind::Id | Kind::Reference(..) => "reference",
        Kind::Text(_) | Kind::Email | Kind::Picklist | Kind::Any => "string",
    }
}

fn from_json(kind: Kind, value: &Value) -> Option<Cell> {
    match (kind, value) {
        (Kind::Boolean, Value::Bool(flag)) => Some(Cell::Bool(*flag)),
        (Kind::Boolean, Value::Null) => Some(Cell::Bool(false)),
        (_, Value::Null) => Some(Cell::Null),
        (Kind::DateTime, Value::String(text)) => clock::parse_stamp(text).map(Cell::Time),
        (Kind::Date, Value::String(text)) => NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .map(Cell::Day),
        (Kind::Id | Kind::Reference(..), Value::String(text)) if !text.is_empty() => Some(
            Cell::text(&ids::normalise(text).unwrap_or_else(|| text.clone())),
        ),
        (
            Kind::Text(_) | Kind::Email | Kind::Picklist | Kind::Id | Kind::Reference(..),
            Value::String(text),
        ) => {
            let trimmed = text.trim();
            Some(if trimmed.is_empty() {
                Cell::Null
            } else {
                Cell::text(trimmed)
            })
        }
        (Kind::Text(_), Value::Number(number)) => Some(Cell::text(&number.to_string())),
        _ => None,
    }
}

fn check(
    faults: &Faults,
    object: &str,
    field: &crate::org::schema::Field,
    cell: &Cell,
    creating: bool,
) -> Result<(), Refusal> {
    let writable = if creating {
        field.createable
    } else {
        field.updateable
    };
    if !writable || faults.read_only(object, field.name) {
        return Err(Refusal::new(
            400,
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            format!(
                "Unable to create/update fields: {}. Please check the security settings of this field and verify \
                 that it is read/write for your profile or permission set.",
                field.name
            ),
        )
        .on(field.name));
    }
    if !field.nillable && *cell == Cell::Null {
        let message = format!("Required fields are missing: [{}]", field.name);
        return Err(Refusal::new(400, "REQUIRED_FIELD_MISSING", message).on(field.name));
    }
    if let (Some(text), Some(longest)) = (cell.as_text(), longest(field.kind))
        && text.chars().count() > longest
    {
        let message = format!(
            "{}: data value too large: {text} (max length={longest})",
            field.label
        );
        return Err(Refusal::new(400, "STRING_TOO_LONG", message).on(field.name));
    }
    if let (Kind::Email, Some(text)) = (field.kind, cell.as_text())
        && !plausible_address(text)
    {
        let message = format!("{}: invalid email address: {text}", field.label);
        return Err(Refusal::new(400, "INVALID_EMAIL_ADDRESS", message).on(field.name));
    }
    Ok(())
}

fn longest(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Text(length) => Some(length as usize),
        Kind::Email => Some(80),
        _ => None,
    }
}

fn plausible_address(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && !domain.contains('@')
            && !text.contains(char::is_whitespace)
    })
}
