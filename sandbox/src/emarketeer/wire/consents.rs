//! The consent module: master data, current consent, its history, and new records.

use serde_json::{Value, json};

use super::shape::{self, Page, Rows, json_text};
use super::{No, Outcome, Params, json_body};
use crate::emarketeer::log::Number;
use crate::emarketeer::master::Kind;
use crate::emarketeer::settings::{FilterScope, Identical, SuppliedTime};
use crate::emarketeer::state::State;
use crate::faults::CallKind;
use crate::rest::{Call, Reply};

/// Most seconds by which a supplied time may lie ahead.
const MAX_AHEAD_SECS: i64 = 300;

/// `GET …/purposes`, `/legalBases`, `/sources`.
pub(super) fn master_data(state: &mut State, call: &Call, kind: Kind) -> Outcome {
    Params::of(state, call, &[])?;
    let rows = Rows::of(state, CallKind::MasterData);
    let items = state.master.all(kind).iter().filter(|item| !item.removed);
    let page = Page::whole(items.clone().count());
    let items =
        items.map(|item| json!({"id": shape::id(&state.settings, item.id), "name": item.name}));
    Ok(rows.all(items).reply(&state.settings, page))
}

/// Records as an answer to a call of this kind.
fn answer(state: &mut State, kind: CallKind, numbers: &[Number], page: Page) -> Reply {
    let rows = Rows::of(state, kind);
    let shown = numbers.iter().filter_map(|number| {
        let record = state.log.get(*number)?;
        Some(shape::record(state, record, Some(*number)))
    });
    rows.all(shown).reply(&state.settings, page)
}

/// The numbers on a page.
fn on_page(numbers: &[Number], page: Page) -> &[Number] {
    let wanted = numbers.get(page.offset..).unwrap_or(&[]);
    wanted.get(..page.limit).unwrap_or(wanted)
}

/// The address asked for, `None` when the parameter is not there.
fn key(state: &State, params: &Params<'_>) -> Result<Option<String>, No> {
    let name = &state.settings.query.key;
    let Some(text) = params.text(name) else {
        return Ok(None);
    };
    let key = text.trim().to_lowercase();
    if key.is_empty() {
        return Err(No::invalid(format!("{name} is empty")));
    }
    Ok(Some(key))
}

/// `GET …/consents`: the newest record per purpose of one address, or of all.
pub(super) fn list(state: &mut State, call: &Call) -> Outcome {
    let names = state.settings.query.clone();
    let params = Params::of(state, call, &[&names.key, &names.limit, &names.offset])?;
    let kind = CallKind::ConsentList;
    if let Some(key) = key(state, &params)? {
        let current = state.log.of_key(&key).iter().copied();
        let current: Vec<Number> = current.filter(|one| state.log.is_current(*one)).collect();
        let page = Page::whole(current.len());
        return Ok(answer(state, kind, &current, page));
    }
    state.calls.full_listings += 1;
    let all = state.log.window(None, None).iter().copied();
    let mut numbers: Vec<Number> = all.filter(|one| state.log.is_current(*one)).collect();
    numbers.sort_unstable();
    let total = numbers.len();
    let page = match state.settings.list_rows {
        None => Page::whole(total),
        Some(most) => {
            let (offset, limit) = params.page(state, kind, most)?;
            Page {
                offset,
                limit,
                total,
            }
        }
    };
    Ok(answer(state, kind, on_page(&numbers, page), page))
}

/// `GET …/consents/filter`: records by purpose and time, in pages.
pub(super) fn filter(state: &mut State, call: &Call) -> Outcome {
    let names = state.settings.query.clone();
    let known = [
        &names.purpose,
        &names.since,
        &names.until,
        &names.limit,
        &names.offset,
    ];
    let params = Params::of(state, call, &known.map(String::as_str))?;
    let purpose = match params.text(&names.purpose) {
        None => None,
        Some(text) => {
            let place = shape::by_id(state, Kind::Purpose, &Value::String(text));
            let place =
                place.ok_or_else(|| No::invalid(format!("{} is unknown", names.purpose)))?;
            Some(place)
        }
    };
    let since = params.time(&names.since)?;
    let until = params.time(&names.until)?;
    let most = state.settings.filter_rows;
    let (offset, limit) = params.page(state, CallKind::ConsentFilter, most)?;
    let settings = &state.settings;
    let purpose = purpose.filter(|_| settings.filter_honours_purpose);
    let window = if settings.filter_honours_since {
        state.log.window(since, until)
    } else {
        state.log.window(None, None)
    };
    let all = settings.filter_scope == FilterScope::All;
    let mut found: Vec<Number> = window
        .iter()
        .copied()
        .filter(|number| all || state.log.is_current(*number))
        .filter(|number| {
            let record = state.log.get(*number);
            purpose.is_none_or(|wanted| record.is_some_and(|record| record.purpose == wanted))
        })
        .collect();
    if settings.filter_newest_first {
        found.reverse();
    }
    let page = Page {
        offset,
        limit,
        total: found.len(),
    };
    let shown = on_page(&found, page);
    Ok(answer(state, CallKind::ConsentFilter, shown, page))
}

/// `GET …/consents/history`: all records of an address, newest first.
pub(super) fn history(state: &mut State, call: &Call) -> Outcome {
    let name = state.settings.query.key.clone();
    let params = Params::of(state, call, &[&name])?;
    let key = key(state, &params)?.ok_or_else(|| No::invalid(format!("{name} is missing")))?;
    let numbers = state.log.history(&key);
    let page = Page::whole(numbers.len());
    Ok(answer(state, CallKind::ConsentHistory, &numbers, page))
}

/// `POST …/consents`: one new record, or several where the account takes several.
pub(super) fn create(state: &mut State, call: &Call) -> Outcome {
    let made = match json_body(call) {
        Ok(Value::Array(records)) if state.settings.create_rows > 1 => several(state, &records),
        Ok(record) => one(state, &record),
        Err(no) => Err(no),
    };
    if made.is_err() {
        state.calls.records_refused += 1;
    }
    Ok(json_text(made?))
}

/// All records or none.
fn several(state: &mut State, records: &[Value]) -> Result<String, No> {
    let most = state.settings.create_rows;
    if records.is_empty() || records.len() > most {
        return Err(No::invalid(format!(
            "between 1 and {most} records are taken"
        )));
    }
    for record in records {
        shape::statement(state, record)?;
    }
    let made: Result<Vec<String>, No> = records.iter().map(|record| one(state, record)).collect();
    Ok(format!("[{}]", made?.join(",")))
}

fn one(state: &mut State, record: &Value) -> Result<String, No> {
    let mut statement = shape::statement(state, record)?;
    match (statement.at, state.settings.supplied_time) {
        (None, _) => {}
        (Some(_), SuppliedTime::Ignored) => statement.at = None,
        (Some(_), SuppliedTime::Refused) => {
            return Err(No::invalid("the time of a record cannot be given"));
        }
        (Some(at), SuppliedTime::Taken) => {
            if (at - state.now()).num_seconds() > MAX_AHEAD_SECS {
                return Err(No::invalid("the time of the record lies ahead"));
            }
        }
    }
    if let Some(current) = state.repeated(&statement) {
        state.calls.records_repeated += 1;
        match state.settings.identical {
            Identical::Appended => {}
            Identical::Refused => return Err(No::invalid("the consent is so already")),
            Identical::Ignored => {
                let record = state.log.get(current);
                let shown = record.map(|record| shape::record(state, record, Some(current)));
                return Ok(shown.unwrap_or_default());
            }
        }
    }
    let (written, number) = state.write_by(CallKind::ConsentCreate, statement);
    state.calls.records_written += 1;
    Ok(shape::record(state, &written, number))
}
