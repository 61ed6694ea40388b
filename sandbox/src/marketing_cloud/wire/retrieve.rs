//! Retrieve: rows of one object from one or several units, page by page.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

use super::envelope::{PARTNER, SoapFault, guid, tag};
use super::filter::Filter;
use super::rows::{self, Object, Row};
use super::token::Token;
use super::xml::Element;
use super::{allowed, reach};
use crate::faults::{CallKind, Fault};
use crate::marketing_cloud::state::State;
use crate::marketing_cloud::units::{ENTERPRISE, Mid};

/// Retrieves whose rest is kept; the oldest is forgotten.
const MAX_CURSORS: usize = 100;

/// The rest of a Retrieve.
#[derive(Debug)]
struct Cursor {
    id: String,
    mid: Mid,
    expires: DateTime<Utc>,
    object: Object,
    properties: Vec<&'static str>,
    rows: VecDeque<Row>,
    page_rows: usize,
}

/// What is left of the Retrieves under way.
#[derive(Debug, Default)]
pub(crate) struct Cursors(VecDeque<Cursor>);

/// Elements of a request in the order of the WSDL.
const ORDER: [&str; 6] = [
    "ClientIDs",
    "ObjectType",
    "Properties",
    "Filter",
    "ContinueRequest",
    "QueryAllAccounts",
];

/// Serves a Retrieve. What is wrong with the request is told in `OverallStatus`.
pub(super) fn retrieve(
    state: &mut State,
    token: &Token,
    kind: CallKind,
    message: &Element,
) -> Result<String, SoapFault> {
    let Some(request) = message.first("RetrieveRequest") else {
        let words = "The request has no RetrieveRequest.".to_owned();
        return Err(SoapFault::Client(2, words));
    };
    if state.settings.strict_order && !in_order(request) {
        let words = "The elements of the RetrieveRequest are not in the order of the WSDL.";
        return Err(SoapFault::Client(2, words.to_owned()));
    }
    let struck = state.faults.strike(kind, |fault| match fault {
        Fault::OverallError { message } => Some(message.clone()),
        _ => None,
    });
    if let Some(message) = struck {
        return Ok(failure(&message));
    }
    let begun = match request.value("ContinueRequest") {
        Some(id) => resume(state, token, kind, id),
        None => begin(state, token, request)?,
    };
    Ok(match begun {
        Ok(cursor) => page(state, kind, cursor),
        Err(message) => failure(&message),
    })
}

fn in_order(request: &Element) -> bool {
    let places = request
        .children
        .iter()
        .filter_map(|child| ORDER.iter().position(|name| *name == child.name));
    places.is_sorted()
}

/// An answer that only says what is wrong.
fn failure(message: &str) -> String {
    response(&format!("Error: {message}"), &guid(), "")
}

fn response(overall: &str, id: &str, results: &str) -> String {
    format!(
        "<RetrieveResponseMsg xmlns=\"{PARTNER}\">{}{}{results}</RetrieveResponseMsg>",
        tag("OverallStatus", Some(overall)),
        tag("RequestID", Some(id))
    )
}

fn resume(state: &mut State, token: &Token, kind: CallKind, id: &str) -> Result<Cursor, String> {
    let now = state.now();
    let expired = |fault: &Fault| matches!(fault, Fault::CursorExpiry).then_some(());
    let struck = state.faults.strike(kind, expired).is_some();
    let cursors = &mut state.cursors.0;
    cursors.retain(|cursor| cursor.expires > now);
    let place = cursors
        .iter()
        .position(|cursor| cursor.id == id && cursor.mid == token.mid && !struck);
    place
        .and_then(|place| cursors.remove(place))
        .ok_or_else(|| format!("The RequestID '{id}' cannot be continued."))
}

/// Outside: the token may not; inside: the request is wrong.
type Begun = Result<Result<Cursor, String>, SoapFault>;

fn begin(state: &State, token: &Token, request: &Element) -> Begun {
    let name = request.value("ObjectType").unwrap_or_default();
    let Some(object) = Object::named(name) else {
        return Ok(Err(format!("The ObjectType '{name}' is not supported.")));
    };
    allowed(token, object.scope())?;
    Ok(select(state, token, request, object))
}

fn select(
    state: &State,
    token: &Token,
    request: &Element,
    object: Object,
) -> Result<Cursor, String> {
    let mut properties = Vec::new();
    let mut unknown = Vec::new();
    for named in request.all("Properties") {
        match object.property(state, named.text.trim()) {
            Some(property) => properties.push(property),
            None => unknown.push(named.text.trim()),
        }
    }
    if !unknown.is_empty() {
        return Err(format!(
            "The Request Property(s) {} do not match with the fields of {} retrieve",
            unknown.join(", "),
            object.name()
        ));
    }
    if properties.is_empty() {
        return Err("No Properties were asked for.".to_owned());
    }
    let filter = match request.first("Filter").filter(|filter| !filter.nil) {
        Some(part) => Some(Filter::read(state, object, part)?),
        None => None,
    };
    let mids = units(state, token, request, object)?;
    let only = filter.as_ref().and_then(|filter| filter.places(state));
    let all = rows::rows(state, object, &mids, only.as_deref());
    let rows = all.into_iter().filter(|row| {
        filter
            .as_ref()
            .is_none_or(|filter| filter.passes(state, *row))
    });
    let batch = request
        .first("Options")
        .and_then(|options| options.value("BatchSize")?.parse::<usize>().ok());
    let most = state.settings.page_rows.max(1);
    Ok(Cursor {
        id: guid(),
        mid: token.mid,
        expires: state.now()
            + TimeDelta::try_seconds(state.settings.cursor_secs).unwrap_or_default(),
        object,
        properties,
        rows: rows.collect(),
        page_rows: batch.map_or(most, |batch| batch.clamp(1, most)),
    })
}

/// The units looked into: those named, all that the token reaches, or its own.
fn units(
    state: &State,
    token: &Token,
    request: &Element,
    object: Object,
) -> Result<Vec<Mid>, String> {
    if request.says("QueryAllAccounts") {
        if token.mid != ENTERPRISE {
            return Ok(vec![token.mid]);
        }
        let enterprise =
            object == Object::BusinessUnit || state.settings.query_all_includes_enterprise;
        let all = state.units.all().iter().map(|unit| unit.mid);
        return Ok(all.filter(|mid| enterprise || *mid != ENTERPRISE).collect());
    }
    let mut mids: Vec<Mid> = Vec::new();
    for client in request.all("ClientIDs") {
        let id = client.value("ID").or_else(|| client.value("ClientID"));
        let id = id.unwrap_or_default();
        let mid = id.parse().ok().and_then(|mid| reach(state, token, mid));
        let mid = mid.ok_or_else(|| format!("The API user has no access to the Client '{id}'."))?;
        if !mids.contains(&mid) {
            mids.push(mid);
        }
    }
    if mids.is_empty() {
        mids.push(token.mid);
    }
    Ok(mids)
}

/// One page of what is left; the rest is kept.
fn page(state: &mut State, kind: CallKind, mut cursor: Cursor) -> String {
    let short = state.faults.strike(kind, |fault| match fault {
        Fault::ShortPages { rows } => Some((*rows).max(1)),
        _ => None,
    });
    let rows = cursor.page_rows.min(short.unwrap_or(usize::MAX));
    let more = cursor.rows.len() > rows;
    let looping = |fault: &Fault| matches!(fault, Fault::LoopingPages).then_some(());
    let looping = more && state.faults.strike(kind, looping).is_some();
    let now = rows.min(cursor.rows.len());
    let page: Vec<Row> = if looping {
        cursor.rows.iter().take(now).copied().collect()
    } else {
        cursor.rows.drain(..now).collect()
    };
    let mut results = String::new();
    for row in page {
        if let Some(xml) = rows::render(state, cursor.object, row, &cursor.properties) {
            state.calls.rows_read += 1;
            results.push_str(&xml);
        }
    }
    if !more {
        return response("OK", &cursor.id, &results);
    }
    if !looping {
        // Each page has a RequestID of its own, and that of the last one continues.
        cursor.id = guid();
    }
    let answer = response("MoreDataAvailable", &cursor.id, &results);
    if state.cursors.0.len() >= MAX_CURSORS {
        state.cursors.0.pop_front();
    }
    state.cursors.0.push_back(cursor);
    answer
}
