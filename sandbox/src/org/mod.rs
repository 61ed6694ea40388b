//! One org: its state, and every act that a test or the control API can do to it.

pub(crate) mod calls;
mod history;
pub(crate) mod save;
pub(crate) mod schema;
pub(crate) mod seed;
pub(crate) mod settings;
pub(crate) mod state;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, Method};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::faults::{CallKind, Fault, Rule};
use crate::refusal::Refusal;
use crate::rest::{self, Call, query, values};
use crate::server::{self, Answer, Before, MAX_BODY_BYTES, MAX_UPLOAD_BYTES, Site};
use crate::{System, clock, ids};
pub use calls::Calls;
use save::Author;
use schema::{
    ASCEND_ID, CREATED, DONOR_ID, ID, IS_DELETED, MODIFIED, MODIFIED_BY, OPT_OUT, PERMISSION,
    PREFERENCES, STAMP,
};
pub use settings::{OldRefreshToken, Settings};
use state::State;
use table::{Cell, Slot};

/// Most snapshots that one org holds.
pub(crate) const MAX_SNAPSHOTS: usize = 20;

/// Version in the record links of [`Org::select`].
const ADMIN_BASE: &str = "/services/data/v66.0";

/// An act that the org refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// The platform's own refusal: code and message.
    #[error("{code}: {message}")]
    Refused {
        /// Such as `ENTITY_IS_DELETED`.
        code: String,
        /// The platform's words.
        message: String,
    },
    /// No user has this name.
    #[error("no user is called {0:?}")]
    UnknownUser(String),
    /// No snapshot has this name.
    #[error("no snapshot is called {0:?}")]
    UnknownSnapshot(String),
    /// A bound of the simulator is reached.
    #[error("{0}")]
    Full(&'static str),
    /// A value that cannot be used.
    #[error("{0}")]
    Invalid(String),
}

impl From<Refusal> for ActError {
    fn from(refusal: Refusal) -> ActError {
        ActError::Refused {
            code: refusal.code,
            message: refusal.message,
        }
    }
}

/// A contact as it was last saved, visible through the API or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContactState {
    /// 18-character id.
    pub id: String,
    /// The org.
    pub system: System,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// E-mail address as stored.
    pub address: Option<String>,
    /// The Ascend donor id on either side.
    pub ascend_id: Option<String>,
    /// `HasOptedOutOfEmail`.
    pub opted_out: bool,
    /// `Email_Permission__c`, Ascend only.
    pub permission: Option<bool>,
    /// Preference boxes by API name, Salesforce only.
    pub preferences: BTreeMap<String, bool>,
    /// In the recycle bin.
    pub deleted: bool,
    /// Winner of the merge that removed it.
    pub master_record_id: Option<String>,
    /// `CreatedDate`.
    pub created: DateTime<Utc>,
    /// `LastModifiedDate`.
    pub modified: DateTime<Utc>,
    /// Name of the user in `LastModifiedById`.
    pub modified_by: String,
    /// `SystemModstamp`.
    pub stamp: DateTime<Utc>,
}

/// One row of field history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryRow {
    /// Field name, or `created`, or `contactMerged`.
    pub field: String,
    /// `OldValue`.
    pub old: Value,
    /// `NewValue`.
    pub new: Value,
    /// Name of the user.
    pub by: String,
    /// `CreatedDate`.
    pub at: DateTime<Utc>,
}

/// Which rows a manual load writes.
#[derive(Clone, Debug, Default)]
pub struct LoadScope {
    /// Only these records.
    pub ids: Option<Vec<String>>,
    /// At most this many rows.
    pub limit: Option<usize>,
}

/// What a manual load did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LoadReport {
    /// Rows written.
    pub rows: usize,
    /// Rows whose values changed.
    pub changed: usize,
    /// Rows that could not be written, such as deleted ones.
    pub refused: usize,
}

/// The state of an org and its lock.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site for Shared {
    fn classify(&self, method: &Method, path: &str, _headers: &HeaderMap) -> CallKind {
        rest::classify(method, path)
    }

    fn longest_body(&self, kind: CallKind) -> usize {
        if kind == CallKind::BulkIngest {
            MAX_UPLOAD_BYTES
        } else {
            MAX_BODY_BYTES
        }
    }

    fn arrive(&self, kind: CallKind) -> Option<Before> {
        let mut state = self.lock();
        *state.calls.by_kind.entry(kind).or_default() += 1;
        state.faults.strike(kind, server::before)
    }

    fn answer(&self, call: &Call, kind: CallKind) -> Answer {
        let mut state = self.lock();
        let reply = rest::handle(&mut state, call);
        let struck = state.faults.strike(kind, server::after);
        let raw = state.faults.raw_records().into_iter();
        Answer {
            reply,
            struck,
            date: clock::http_date(state.now()),
            raw: raw.map(|(id, json)| (query::raw_mark(&id), json)).collect(),
        }
    }

    fn date(&self) -> String {
        clock::http_date(self.lock().now())
    }
}

/// One simulated org.
#[derive(Clone, Debug)]
pub struct Org {
    shared: Arc<Shared>,
}

impl Org {
    pub(crate) fn new(state: State) -> Org {
        Org {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Where the org listens: login host and instance in one.
    pub fn url(&self) -> String {
        self.lock().url.clone()
    }

    /// Which org this is.
    pub fn system(&self) -> System {
        self.lock().system
    }

    /// The org's clock, skew included.
    pub fn now(&self) -> DateTime<Utc> {
        self.lock().now()
    }

    /// Live contacts.
    pub fn contact_count(&self) -> usize {
        self.lock().contacts().live()
    }

    /// Ids of live contacts, in order of creation, at most `limit`.
    pub fn contact_ids(&self, limit: usize) -> Vec<String> {
        let state = self.lock();
        let rows = state.contacts();
        rows.slots()
            .filter_map(|slot| rows.saved(slot))
            .filter(|row| !row[IS_DELETED].is_true())
            .filter_map(|row| row[ID].as_text().map(str::to_owned))
            .take(limit)
            .collect()
    }

    /// A contact by its 15- or 18-character id.
    pub fn contact(&self, id: &str) -> Option<ContactState> {
        let state = self.lock();
        let slot = state.contacts().slot(&ids::normalise(id)?)?;
        contact_state(&state, slot)
    }

    /// All contacts, deleted ones included, whose trimmed address equals this one in any case.
    pub fn contacts_by_address(&self, address: &str) -> Vec<ContactState> {
        let state = self.lock();
        let rows = state.contacts();
        let Some(email) = rows.object.position("Email") else {
            return Vec::new();
        };
        let wanted = address.trim().to_lowercase();
        rows.slots()
            .filter(|slot| {
                rows.saved(*slot)
                    .and_then(|row| row[email].as_text())
                    .is_some_and(|text| text.trim().to_lowercase() == wanted)
            })
            .filter_map(|slot| contact_state(&state, slot))
            .collect()
    }

    /// Rows of any object by a query, deleted ones included, without a login and without being counted.
    pub fn select(&self, soql: &str) -> Result<Vec<Value>, ActError> {
        let state = self.lock();
        let rows = query::run(&state, soql, true)?;
        let now = state.now();
        let records = rows.slots.iter().filter_map(|slot| {
            query::record(
                &state,
                ADMIN_BASE,
                rows.table,
                *slot,
                now,
                rows.plan.columns(),
            )
        });
        Ok(records.collect())
    }

    /// The field history of a contact, oldest first.
    pub fn history(&self, id: &str) -> Vec<HistoryRow> {
        let state = self.lock();
        let Some(id) = ids::normalise(id) else {
            return Vec::new();
        };
        let Some(table) = state.find_table(schema::CONTACT_HISTORY) else {
            return Vec::new();
        };
        let rows = &state.tables[table];
        let cell = |row: &[Cell], name: &str| {
            rows.object
                .position(name)
                .map_or(Value::Null, |at| row[at].json())
        };
        state
            .history_of(&id)
            .into_iter()
            .filter_map(|slot| rows.saved(slot))
            .map(|row| HistoryRow {
                field: cell(row, "Field").as_str().unwrap_or_default().to_owned(),
                old: cell(row, "OldValue"),
                new: cell(row, "NewValue"),
                by: user_name(&state, &row[schema::CREATED_BY]),
                at: row[CREATED].as_time().unwrap_or_default(),
            })
            .collect()
    }

    /// Edits a record of any object as the named user.
    pub fn edit(&self, id: &str, fields: &Map<String, Value>, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = staff(&state, by)?;
        let (table, slot) = find(&state, id)?;
        let changes = values::changes(&state, table, fields, false)??;
        state.update_row(table, slot, changes, &author)?;
        Ok(())
    }

    /// Creates a record as the named user and returns its id. `created` back-dates it.
    pub fn create(
        &self,
        object: &str,
        fields: &Map<String, Value>,
        by: &str,
        created: Option<DateTime<Utc>>,
    ) -> Result<String, ActError> {
        let mut state = self.lock();
        let author = staff(&state, by)?;
        let table = state.table_named(object)?;
        let changes = values::changes(&state, table, fields, true)??;
        Ok(state.create_row(table, changes, &author, created.map(|at| (at, at)))?)
    }

    /// Makes a user of the org, whose name acts can give from then on.
    pub fn hire(&self, name: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        if state.user_named(name).is_some() {
            return Err(ActError::Invalid(format!("{name:?} is a user already")));
        }
        state.add_staff(name);
        Ok(())
    }

    /// Moves a record to the recycle bin as the named user.
    pub fn delete(&self, id: &str, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = staff(&state, by)?;
        let (table, slot) = find(&state, id)?;
        Ok(state.delete_row(table, slot, &author)?)
    }

    /// Takes a record out of the recycle bin as the named user.
    pub fn undelete(&self, id: &str, by: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = staff(&state, by)?;
        let (table, slot) = find(&state, id)?;
        Ok(state.undelete_row(table, slot, &author)?)
    }

    /// Removes a record for good, with its history.
    pub fn hard_delete(&self, id: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let (table, slot) = find(&state, id)?;
        Ok(state.hard_delete_row(table, slot)?)
    }

    /// Merges one or two losers into a winner; `fields` are set on the winner.
    pub fn merge(
        &self,
        winner: &str,
        losers: &[String],
        fields: &Map<String, Value>,
        by: &str,
    ) -> Result<(), ActError> {
        let mut state = self.lock();
        let author = staff(&state, by)?;
        let (table, slot) = find(&state, winner)?;
        let mut others = Vec::with_capacity(losers.len());
        for loser in losers {
            let (other, slot) = find(&state, loser)?;
            if other != table {
                return Err(ActError::Invalid(
                    "records of different objects cannot be merged".to_owned(),
                ));
            }
            others.push(slot);
        }
        let changes = values::changes(&state, table, fields, false)??;
        Ok(state.merge_rows(table, slot, &others, changes, &author)?)
    }

    /// Moves a record's `SystemModstamp` and nothing else, as system work does.
    pub fn bump(&self, id: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let (table, slot) = find(&state, id)?;
        Ok(state.bump_row(table, slot)?)
    }

    /// Remembers the consent fields of all live contacts under a name; returns how many.
    pub fn snapshot(&self, name: &str) -> Result<usize, ActError> {
        let mut state = self.lock();
        if state.snapshots.len() >= MAX_SNAPSHOTS && !state.snapshots.contains_key(name) {
            return Err(ActError::Full("too many snapshots"));
        }
        let rows = state.contacts();
        let fields: Vec<usize> = [OPT_OUT, PERMISSION]
            .iter()
            .chain(&PREFERENCES)
            .filter_map(|field| rows.object.position(field))
            .collect();
        let snapshot: state::Snapshot = rows
            .slots()
            .filter_map(|slot| Some((slot, rows.saved(slot)?)))
            .filter(|(_, row)| !row[IS_DELETED].is_true())
            .map(|(slot, row)| {
                (
                    slot,
                    fields.iter().map(|at| (*at, row[*at].clone())).collect(),
                )
            })
            .collect();
        let count = snapshot.len();
        state.snapshots.insert(name.to_owned(), snapshot);
        Ok(count)
    }

    /// A manual load: writes the values of a snapshot over whatever the contacts hold now, as the named user.
    pub fn load(
        &self,
        snapshot: &str,
        scope: &LoadScope,
        by: &str,
    ) -> Result<LoadReport, ActError> {
        let mut state = self.lock();
        let author = staff(&state, by)?;
        let rows = state
            .snapshots
            .get(snapshot)
            .cloned()
            .ok_or_else(|| ActError::UnknownSnapshot(snapshot.to_owned()))?;
        let table = state.contact_table();
        let wanted: Option<Vec<Slot>> = scope.ids.as_ref().map(|ids| {
            ids.iter()
                .filter_map(|id| state.contacts().slot(&ids::normalise(id)?))
                .collect()
        });
        let chosen = rows
            .into_iter()
            .filter(|(slot, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(slot)))
            .take(scope.limit.unwrap_or(usize::MAX));
        let mut report = LoadReport {
            rows: 0,
            changed: 0,
            refused: 0,
        };
        for (slot, values) in chosen {
            match state.update_row(table, slot, values, &author) {
                Ok(changed) => {
                    report.rows += 1;
                    report.changed += usize::from(changed);
                }
                Err(_) => report.refused += 1,
            }
        }
        Ok(report)
    }

    /// Sets a fault. [`Fault::RevokeTokens`] acts at once and is not kept.
    pub fn set_fault(&self, rule: impl Into<Rule>) -> Result<(), ActError> {
        let rule = rule.into();
        let mut state = self.lock();
        match rule.fault {
            Fault::RevokeTokens => {
                state.auth.revoke_all();
                return Ok(());
            }
            Fault::FieldHidden { .. } | Fault::FieldReadOnly { .. } | Fault::ReadOnlyIsActive => {
                state.set_up_at = state.now();
            }
            _ => {}
        }
        if state.faults.add(rule) {
            Ok(())
        } else {
            Err(ActError::Full("too many faults are set"))
        }
    }

    /// Clears all faults, or those of one name; returns how many.
    pub fn clear_faults(&self, name: Option<&str>) -> usize {
        let mut state = self.lock();
        state.set_up_at = state.now();
        state.faults.clear(name)
    }

    /// The faults that are set.
    pub fn faults(&self) -> Vec<Rule> {
        self.lock().faults.rules().to_vec()
    }

    /// What clients did since the last reset.
    pub fn calls(&self) -> Calls {
        self.lock().calls.clone()
    }

    /// Starts counting anew.
    pub fn reset_calls(&self) {
        self.lock().calls = Calls::default();
    }

    /// The org's set-up.
    pub fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// Changes the org's set-up.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.lock();
        change(&mut state.settings);
        state.set_up_at = state.now();
    }

    /// Switches the history tracking of one contact field.
    pub fn track(&self, field: &str, on: bool) {
        self.change_settings(|settings| {
            settings
                .tracked_fields
                .retain(|name| !name.eq_ignore_ascii_case(field));
            if on {
                settings.tracked_fields.push(field.to_owned());
            }
        });
    }
}

fn staff(state: &State, by: &str) -> Result<Author, ActError> {
    let user = state
        .user_named(by)
        .ok_or_else(|| ActError::UnknownUser(by.to_owned()))?;
    Ok(Author::staff(user))
}

fn find(state: &State, id: &str) -> Result<(usize, Slot), ActError> {
    let table = state
        .table_of_id(id)
        .ok_or_else(|| Refusal::malformed_id(id))?;
    let (slot, _) = state.locate(table, id)?;
    Ok((table, slot))
}

fn user_name(state: &State, id: &Cell) -> String {
    id.as_text()
        .and_then(|id| state.user_name(id))
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn contact_state(state: &State, slot: Slot) -> Option<ContactState> {
    let rows = state.contacts();
    let row = rows.saved(slot)?;
    let cell = |name: &str| rows.object.position(name).map(|at| &row[at]);
    let text = |name: &str| cell(name).and_then(Cell::as_text).map(str::to_owned);
    let time = |at: usize| row[at].as_time().unwrap_or_default();
    Some(ContactState {
        id: row[ID].as_text()?.to_owned(),
        system: state.system,
        first_name: text("FirstName"),
        last_name: text("LastName"),
        address: text("Email"),
        ascend_id: text(ASCEND_ID).or_else(|| text(DONOR_ID)),
        opted_out: cell(OPT_OUT).is_some_and(Cell::is_true),
        permission: cell(PERMISSION).map(Cell::is_true),
        preferences: PREFERENCES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), cell(name)?.is_true())))
            .collect(),
        deleted: row[IS_DELETED].is_true(),
        master_record_id: text("MasterRecordId"),
        created: time(CREATED),
        modified: time(MODIFIED),
        modified_by: user_name(state, &row[MODIFIED_BY]),
        stamp: time(STAMP),
    })
}
