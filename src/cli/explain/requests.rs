//! A person's re-subscribe requests in words (R47): as the ledger tells of them, and as they stand.

use crate::consent::gate::Closing;
use crate::sync::timeline::{RequestNow, RequestTold};

/// What happened to a request.
pub(super) fn words(told: &RequestTold, operator: Option<&str>) -> String {
    let RequestTold {
        number,
        act,
        unit,
        status,
    } = told;
    let what = match act.as_str() {
        "opened" => format!("is opened: unit {unit} says {status}"),
        "urgent" => "is urgent now".to_owned(),
        "weekly" => "is worked weekly again".to_owned(),
        word => match closing(word) {
            Some(why) => format!("is closed: {why} (unit {unit})"),
            // What came of the daemon's own attempt, in its words.
            None => format!("stays open in unit {unit}: {word}"),
        },
    };
    let by = operator.map(|by| format!("; {by}")).unwrap_or_default();
    format!("request {number} {what}{by}")
}

/// Why a request was closed; none for a word that does not close one.
fn closing(word: &str) -> Option<&'static str> {
    let all = [
        Closing::Green,
        Closing::NotFound,
        Closing::NotGranted,
        Closing::Gone,
        Closing::ByHand,
    ];
    let closing = all.into_iter().find(|closing| closing.word() == word)?;
    Some(match closing {
        Closing::Green => "mail is delivered there again",
        Closing::NotFound => "the subscriber is not known there any more",
        Closing::NotGranted => "the person wants no mail",
        Closing::Gone => "no contact of the person names that subscriber, or the unit is not asked",
        Closing::ByHand => "somebody has worked it",
    })
}

/// How a request stands.
pub(super) fn stands(request: &RequestNow) -> String {
    let RequestNow {
        number: id,
        unit,
        unit_name,
        status,
        cause,
        ..
    } = request;
    let place = if unit_name.is_empty() {
        format!("unit {unit}")
    } else {
        format!("unit {unit} ({unit_name})")
    };
    let opened = &request.opened_at;
    if let Some(at) = &request.closed_at {
        let word = request.closing.as_deref().unwrap_or_default();
        let why = closing(word).unwrap_or(word);
        let by = request.closed_by.as_deref();
        let by = by.map(|by| format!("; {by}")).unwrap_or_default();
        return format!("request {id} of {opened} was closed at {at}: {why}, {place}{by}");
    }
    let urgency = if request.urgent { "urgent" } else { "weekly" };
    let read = &request.seen_at;
    let note = request.note.as_deref();
    let note = note.map(|note| format!("; {note}")).unwrap_or_default();
    format!(
        "request {id} is open since {opened} ({cause}, {urgency}): {place} said {status} at {read}{note}"
    )
}
