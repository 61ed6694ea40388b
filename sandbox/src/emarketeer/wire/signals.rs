//! Signals: events of other systems, which may carry a decision about marketing ("Custom Signals API").

use serde_json::{Value, json};

use super::shape;
use super::{No, Outcome, json_body};
use crate::emarketeer::contacts::{Changes, STANDARD};
use crate::emarketeer::master::place;
use crate::emarketeer::state::{State, Statement};
use crate::faults::CallKind;
use crate::rest::{Call, Reply};

/// `POST …/signals`: finds or makes the contact, and writes marketing consent or its withdrawal where one is given.
pub(super) fn take(state: &mut State, call: &Call) -> Outcome {
    let body = json_body(call)?;
    for name in ["adapter", "category"] {
        if body
            .get(name)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            return Err(No::invalid(format!("{name} is missing")));
        }
    }
    if let Some(time) = body.get("eventTime") {
        let time = time.as_str().unwrap_or_default();
        let utc = chrono::DateTime::parse_from_rfc3339(time)
            .is_ok_and(|time| time.offset().local_minus_utc() == 0);
        if !utc {
            return Err(No::invalid("eventTime is not a date-time in UTC"));
        }
    }
    let contact = body.get("contact").and_then(Value::as_object);
    let contact = contact.ok_or_else(|| No::invalid("contact is missing"))?;
    let email = contact.get("email").and_then(Value::as_str);
    let address = email
        .and_then(|email| state.address(email))
        .ok_or_else(|| No::invalid("contact.email is missing or not an address"))?;
    let consent = match body.pointer("/consent/marketing") {
        None | Some(Value::Null) => None,
        Some(given) => {
            let allowed = given.get("allowed").and_then(Value::as_bool);
            let allowed = allowed.ok_or_else(|| No::invalid("allowed is not a boolean"))?;
            let text = given.get("text").and_then(Value::as_str);
            Some((allowed, text.map(str::to_owned)))
        }
    };
    let known = contact.iter().filter(|(name, _)| {
        STANDARD.iter().any(|(standard, _)| standard == name)
            || state.custom_fields.contains_key(*name)
    });
    let fields: Changes = known
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    let (id, new) = state.upsert(&address, &fields);
    if new {
        state.calls.contacts_created += 1;
    } else {
        state.calls.contacts_updated += 1;
    }
    if let Some((allowed, text)) = consent {
        let statement = Statement {
            key: address.into(),
            purpose: place::MARKETING,
            basis: if allowed {
                place::CONSENT
            } else {
                place::WITHDRAWN
            },
            source: place::SIGNAL,
            text,
            at: None,
        };
        state.write_by(CallKind::Signals, statement);
        state.calls.records_written += 1;
    }
    let id = shape::id(&state.settings, id.cast_signed());
    Ok(Reply::json(200, json!({"contactId": id})))
}
