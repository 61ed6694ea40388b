//! The constituents of the simulated Ascend org as the exchange sees them: by donor id, with the time of their last
//! change.
//!
//! A change that a batch brought counts from the time at which the person spoke, not from the load; field history only
//! knows the latter. So what was said is remembered beside it, for as long as nobody else changes the field.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::batch::{Code, Outcome, Row};
use super::settings::Polarity;
use crate::faults::Fault;
use crate::org::save::Author;
use crate::org::schema::{CONTACT_HISTORY, CREATED, DONOR_ID, ID, IS_DELETED, OPT_OUT, PERMISSION};
use crate::org::state::{DATA_LOAD, State};
use crate::org::table::{Cell, Slot};

/// What a batch said last about a contact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    at: DateTime<Utc>,
    /// Rows of field history by then.
    changes: usize,
}

/// What was said, by the id of the contact.
pub(super) type Sayings = HashMap<String, Said>;

/// One contact as an extract has it.
pub(super) struct Constituent {
    pub(super) ascend_id: String,
    pub(super) value: bool,
    pub(super) changed: DateTime<Utc>,
    pub(super) created: DateTime<Utc>,
    pub(super) address: Option<String>,
}

impl Polarity {
    fn field(self) -> &'static str {
        match self {
            Polarity::OptOut => OPT_OUT,
            Polarity::Permission => PERMISSION,
        }
    }

    /// What the field holds of somebody.
    fn value(self, opted_out: bool) -> bool {
        match self {
            Polarity::OptOut => opted_out,
            Polarity::Permission => !opted_out,
        }
    }
}

/// Number and newest time of the history rows of a field, by the id of the contact.
fn history(state: &State, field: &str) -> HashMap<String, (usize, DateTime<Utc>)> {
    let mut found: HashMap<String, (usize, DateTime<Utc>)> = HashMap::new();
    let Some(table) = state.find_table(CONTACT_HISTORY) else {
        return found;
    };
    let rows = &state.tables[table];
    let at = |name: &str| rows.object.position(name);
    let (Some(contact), Some(name)) = (at("ContactId"), at("Field")) else {
        return found;
    };
    for row in rows.slots().filter_map(|slot| rows.saved(slot)) {
        if row[name].as_text() != Some(field) {
            continue;
        }
        let (Some(id), Some(time)) = (row[contact].as_text(), row[CREATED].as_time()) else {
            continue;
        };
        let entry = found.entry(id.to_owned()).or_insert((0, time));
        entry.0 += 1;
        entry.1 = entry.1.max(time);
    }
    found
}

/// All live contacts with a donor id, in order of creation.
pub(super) fn constituents(state: &State, polarity: Polarity) -> Vec<Constituent> {
    let history = history(state, polarity.field());
    let rows = state.contacts();
    let at = |name: &str| rows.object.position(name);
    let (Some(donor), Some(flag), Some(email)) = (at(DONOR_ID), at(polarity.field()), at("Email"))
    else {
        return Vec::new();
    };
    let live = rows
        .slots()
        .filter_map(|slot| rows.saved(slot))
        .filter(|row| !row[IS_DELETED].is_true());
    live.filter_map(|row| {
        let created = row[CREATED].as_time().unwrap_or_default();
        let id = row[ID].as_text().unwrap_or_default();
        Some(Constituent {
            ascend_id: row[donor].as_text()?.trim().to_owned(),
            value: row[flag].is_true(),
            changed: history.get(id).map_or(created, |(_, at)| *at),
            created,
            address: row[email].as_text().map(str::to_owned),
        })
    })
    .collect()
}

/// The contacts while a load goes over them.
struct Book<'s> {
    state: &'s mut State,
    sayings: &'s mut Sayings,
    table: usize,
    field: usize,
    /// Whether a change of the field gets a row in the history.
    tracked: bool,
    by_donor: HashMap<String, Vec<Slot>>,
    history: HashMap<String, (usize, DateTime<Utc>)>,
    author: Author,
}

/// Applies rows, those of one id in the order of their changes; an outcome for each.
pub(super) fn apply(
    state: &mut State,
    sayings: &mut Sayings,
    polarity: Polarity,
    rows: &[Row],
    refused: &[(Option<Vec<String>>, Code)],
) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::Rejected(Code::Invalid); rows.len()];
    let Some(mut book) = Book::open(state, sayings, polarity) else {
        return outcomes;
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|place| {
        (
            &rows[*place].ascend_id,
            rows[*place].said.map(|said| said.1),
            *place,
        )
    });
    for place in order {
        let row = &rows[place];
        let code = refused.iter().find(|(ids, _)| {
            ids.as_ref()
                .is_none_or(|ids| ids.iter().any(|id| id.eq_ignore_ascii_case(&row.ascend_id)))
        });
        outcomes[place] = match (code, row.said) {
            (Some((_, code)), _) => Outcome::Rejected(*code),
            (None, None) => Outcome::Rejected(Code::Invalid),
            (None, Some((out, at))) => book.apply(&row.ascend_id, polarity.value(out), at),
        };
    }
    outcomes
}

impl<'s> Book<'s> {
    fn open(
        state: &'s mut State,
        sayings: &'s mut Sayings,
        polarity: Polarity,
    ) -> Option<Book<'s>> {
        let name = polarity.field();
        let history = history(state, name);
        let off = |fault: &Fault| matches!(fault, Fault::HistoryOff).then_some(());
        let mut tracked = state.settings.tracked_fields.iter();
        let tracked = tracked.any(|one| one.eq_ignore_ascii_case(name))
            && state.faults.lasting(off).is_none();
        let table = state.contact_table();
        let rows = state.contacts();
        let (field, donor) = (rows.object.position(name)?, rows.object.position(DONOR_ID)?);
        let mut by_donor: HashMap<String, Vec<Slot>> = HashMap::new();
        for slot in rows.slots() {
            let row = rows.saved(slot).filter(|row| !row[IS_DELETED].is_true());
            if let Some(id) = row.and_then(|row| row[donor].as_text()) {
                by_donor.entry(key(id)).or_default().push(slot);
            }
        }
        let author = Author::staff(state.user_named(DATA_LOAD)?);
        Some(Book {
            state,
            sayings,
            table,
            field,
            tracked,
            by_donor,
            history,
            author,
        })
    }

    fn apply(&mut self, ascend_id: &str, value: bool, at: DateTime<Utc>) -> Outcome {
        let slot = match self.by_donor.get(&key(ascend_id)).map(Vec::as_slice) {
            None | Some([]) => return Outcome::Rejected(Code::NotFound),
            Some([slot]) => *slot,
            Some(_) => return Outcome::Rejected(Code::DuplicateId),
        };
        let Some(row) = self.state.tables[self.table].saved(slot) else {
            return Outcome::Rejected(Code::NotFound);
        };
        let id = row[ID].as_text().unwrap_or_default().to_owned();
        let created = row[CREATED].as_time().unwrap_or_default();
        let equal = row[self.field].is_true() == value;
        let known = self.history.get(&id).copied();
        let mut changes = known.map_or(0, |(count, _)| count);
        let said = self.sayings.get(&id).filter(|said| said.changes == changes);
        let last = match said {
            Some(said) => said.at,
            None => known.map_or(created, |(_, time)| time),
        };
        if at < last {
            return if equal {
                Outcome::NoChange
            } else {
                Outcome::Rejected(Code::Stale)
            };
        }
        if !equal {
            let change = vec![(self.field, Cell::Bool(value))];
            let saved = self
                .state
                .update_row(self.table, slot, change, &self.author);
            if saved.is_err() {
                return Outcome::Rejected(Code::Policy);
            }
            if self.tracked {
                changes += 1;
                self.history.insert(id.clone(), (changes, self.state.now()));
            }
        }
        self.sayings.insert(id, Said { at, changes });
        if equal {
            Outcome::NoChange
        } else {
            Outcome::Applied
        }
    }
}

fn key(id: &str) -> String {
    id.trim().to_ascii_lowercase()
}
