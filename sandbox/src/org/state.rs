//! Everything one org knows, behind one lock that is never held across an await.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value as Json;

use super::calls::Calls;
use super::schema::{
    self, CONTACT, CREATED, CREATED_BY, ID, IS_DELETED, MODIFIED, MODIFIED_BY, STAMP, USER,
};
use super::settings::Settings;
use super::table::{Cell, Cells, Shadow, Slot, Table};
use crate::System;
use crate::bulk::Jobs;
use crate::clock::{Clock, whole_second};
use crate::faults::{Fault, Faults};
use crate::ids;
use crate::refusal::Refusal;
use crate::rest::auth::Auth;
use crate::rest::query::Cursors;
use crate::soql;

/// Users of every org besides the integration user.
const STAFF: [&str; 4] = [AGENT, SPECIALIST, DATA_LOAD, RECORDS];
/// The user that Marketing Cloud Connect saves as, by name.
pub const AGENT: &str = "Marketing Cloud Integration Agent";
/// Staff who change consent by hand on the Salesforce side.
pub const SPECIALIST: &str = "eComm Specialist";
/// The user of manual loads, by name.
pub const DATA_LOAD: &str = "Data Load";
/// Staff on the Ascend side.
pub const RECORDS: &str = "Records Specialist";
/// The user that API logins map to.
pub const INTEGRATION: &str = "Consent Integration";

/// One step of a transaction, for taking it back.
#[derive(Debug)]
enum Undo {
    Restore {
        table: usize,
        slot: Slot,
        cells: Cells,
        shadow: Option<Shadow>,
    },
    Remove {
        table: usize,
        slot: Slot,
    },
}

/// Values of the consent fields at one moment.
pub(crate) type Snapshot = Vec<(Slot, Vec<(usize, Cell)>)>;

/// The state of one org.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) system: System,
    pub(crate) url: String,
    pub(crate) org_id: String,
    pub(crate) integration_user: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    pub(crate) auth: Auth,
    pub(crate) cursors: Cursors,
    pub(crate) jobs: Jobs,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    /// When object descriptions last changed.
    pub(crate) set_up_at: DateTime<Utc>,
    clock: Arc<Clock>,
    undo: Option<Vec<Undo>>,
    /// The counters as they were when the transaction began.
    counted: Calls,
}

impl State {
    pub(crate) fn new(
        system: System,
        url: String,
        username: &str,
        clock: Arc<Clock>,
        auth: Auth,
    ) -> State {
        let instance = system.instance();
        let tables = schema::objects(system)
            .into_iter()
            .map(|object| Table::new(object, instance))
            .collect();
        let mut state = State {
            system,
            url,
            org_id: ids::make("00D", instance, 1),
            integration_user: String::new(),
            tables,
            settings: Settings::of(system),
            faults: Faults::default(),
            calls: Calls::default(),
            auth,
            cursors: Cursors::default(),
            jobs: Jobs::default(),
            snapshots: BTreeMap::new(),
            set_up_at: clock.now(),
            clock,
            undo: None,
            counted: Calls::default(),
        };
        state.integration_user = state.add_user(INTEGRATION, username);
        for role in STAFF {
            state.add_staff(role);
        }
        state
    }

    /// Adds somebody who works with the org by hand.
    pub(crate) fn add_staff(&mut self, name: &str) {
        let address = format!("{}@staff.invalid", name.to_lowercase().replace(' ', "."));
        self.add_user(name, &address);
    }

    fn add_user(&mut self, name: &str, username: &str) -> String {
        let at = self.now() - TimeDelta::days(2_000);
        let Ok(table) = self.table_named(USER) else {
            return String::new();
        };
        let id = self.tables[table].next_id();
        let mut cells = self.blank(table, &id, &id, at);
        for (field, value) in [
            ("Username", Cell::text(username)),
            ("Name", Cell::text(name)),
            ("IsActive", Cell::Bool(true)),
        ] {
            if let Some(position) = self.tables[table].object.position(field) {
                cells[position] = value;
            }
        }
        self.tables[table].insert(cells.into());
        id
    }

    /// A row with its system columns set and every other column empty.
    pub(crate) fn blank(&self, table: usize, id: &str, by: &str, at: DateTime<Utc>) -> Vec<Cell> {
        let at = Cell::Time(whole_second(at));
        let mut cells: Vec<Cell> = self.tables[table]
            .object
            .fields
            .iter()
            .map(|field| {
                if field.kind == schema::Kind::Boolean {
                    Cell::Bool(false)
                } else {
                    Cell::Null
                }
            })
            .collect();
        cells[ID] = Cell::text(id);
        cells[CREATED] = at.clone();
        cells[CREATED_BY] = Cell::text(by);
        cells[MODIFIED] = at.clone();
        cells[MODIFIED_BY] = Cell::text(by);
        cells[STAMP] = at;
        cells
    }

    /// The org's own idea of now.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let skew = self
            .faults
            .lasting(|fault| match fault {
                Fault::ClockSkew { seconds } => Some(*seconds),
                _ => None,
            })
            .unwrap_or(0);
        self.clock.now() + TimeDelta::seconds(skew)
    }

    /// Position of a table by its API name in any case, or `INVALID_TYPE`.
    pub(crate) fn table_named(&self, name: &str) -> Result<usize, Refusal> {
        self.find_table(name).ok_or_else(|| {
            Refusal::new(
                400,
                "INVALID_TYPE",
                format!("sObject type '{name}' is not supported."),
            )
        })
    }

    pub(crate) fn find_table(&self, name: &str) -> Option<usize> {
        self.tables
            .iter()
            .position(|table| table.object.name.eq_ignore_ascii_case(name))
    }

    /// Position of the Contact table, which every org has first.
    pub(crate) fn contacts(&self) -> &Table {
        &self.tables[self.contact_table()]
    }

    pub(crate) fn contact_table(&self) -> usize {
        self.find_table(CONTACT).unwrap_or(0)
    }

    /// Position of a column that exists, is exposed and is not hidden by field-level security.
    pub(crate) fn visible_field(&self, table: usize, name: &str) -> Option<usize> {
        let object = &self.tables[table].object;
        let position = object.position(name)?;
        let field = &object.fields[position];
        (field.exposed && !self.faults.hides(object.name, field.name)).then_some(position)
    }

    /// Id of the user with this name.
    pub(crate) fn user_named(&self, name: &str) -> Option<String> {
        let table = &self.tables[self.find_table(USER)?];
        let position = table.object.position("Name")?;
        table
            .slots()
            .filter_map(|slot| table.saved(slot))
            .find(|row| row[position].as_text() == Some(name))
            .and_then(|row| row[ID].as_text().map(str::to_owned))
    }

    /// Name of the user with this id.
    pub(crate) fn user_name(&self, id: &str) -> Option<&str> {
        let table = &self.tables[self.find_table(USER)?];
        let position = table.object.position("Name")?;
        table.saved(table.slot(id)?)?[position].as_text()
    }

    /// Starts a transaction whose changes [`State::rollback`] can take back.
    pub(crate) fn begin(&mut self) {
        self.undo = Some(Vec::new());
        self.counted = self.calls.clone();
    }

    pub(crate) fn in_transaction(&self) -> bool {
        self.undo.is_some()
    }

    pub(crate) fn commit(&mut self) {
        self.undo = None;
    }

    pub(crate) fn rollback(&mut self) {
        let counted = std::mem::take(&mut self.counted);
        self.calls.forget_saves_since(&counted);
        for step in self.undo.take().unwrap_or_default().into_iter().rev() {
            match step {
                Undo::Restore {
                    table,
                    slot,
                    cells,
                    shadow,
                } => {
                    self.tables[table].replace(slot, cells);
                    self.tables[table].put_shadow(slot, shadow);
                }
                Undo::Remove { table, slot } => {
                    self.tables[table].purge(slot);
                }
            }
        }
    }

    /// Stores a new row; readers see it from `visible` on.
    pub(crate) fn put_new(
        &mut self,
        table: usize,
        cells: Cells,
        visible: Option<DateTime<Utc>>,
    ) -> Slot {
        let slot = self.tables[table].insert(cells);
        if let Some(until) = visible {
            self.tables[table].shadow(slot, until, None);
        }
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Remove { table, slot });
        }
        slot
    }

    /// Stores a changed row; readers see it from `visible` on.
    pub(crate) fn put_changed(
        &mut self,
        table: usize,
        slot: Slot,
        cells: Cells,
        visible: Option<DateTime<Utc>>,
    ) {
        let now = self.now();
        let rows = &mut self.tables[table];
        rows.settle(now);
        let shadow = rows.shadow_of(slot).cloned();
        let Some(before) = rows.replace(slot, cells) else {
            return;
        };
        match visible {
            Some(until) => rows.shadow(slot, until, Some(before.clone())),
            None => {
                rows.take_shadow(slot);
            }
        }
        if let Some(undo) = &mut self.undo {
            undo.push(Undo::Restore {
                table,
                slot,
                cells: before,
                shadow,
            });
        }
    }

    /// The row of an id given in a request: slot and whether it is in the recycle bin.
    pub(crate) fn locate(&self, table: usize, id: &str) -> Result<(Slot, bool), Refusal> {
        let full = ids::normalise(id).ok_or_else(|| Refusal::malformed_id(id))?;
        let rows = &self.tables[table];
        let slot = rows.slot(&full).ok_or_else(Refusal::not_found)?;
        let deleted = rows
            .saved(slot)
            .is_some_and(|row| row[IS_DELETED].is_true());
        Ok((slot, deleted))
    }

    /// The table that an id belongs to by its key prefix.
    pub(crate) fn table_of_id(&self, id: &str) -> Option<usize> {
        let prefix = id.get(..3)?;
        self.tables
            .iter()
            .position(|table| table.object.prefix == prefix)
    }

    /// A row for the evaluator.
    pub(crate) fn view(&self, table: usize, slot: Slot, now: DateTime<Utc>) -> View<'_> {
        View {
            state: self,
            table,
            slot,
            now,
        }
    }
}

/// A row as the query language reads it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) table: usize,
    pub(crate) slot: Slot,
    pub(crate) now: DateTime<Utc>,
}

impl<'a> View<'a> {
    fn cell(&self, name: &str) -> Option<&'a Cell> {
        let table = &self.state.tables[self.table];
        table
            .seen(self.slot, self.now)?
            .get(table.object.position(name)?)
    }

    /// The row that a relationship leads to.
    pub(crate) fn follow(&self, relationship: &str) -> Option<View<'a>> {
        let table = &self.state.tables[self.table];
        let (position, target) =
            table
                .object
                .fields
                .iter()
                .enumerate()
                .find_map(|(position, field)| match field.kind {
                    schema::Kind::Reference(target, name)
                        if name.eq_ignore_ascii_case(relationship) =>
                    {
                        Some((position, target))
                    }
                    _ => None,
                })?;
        let id = table.seen(self.slot, self.now)?[position].as_text()?;
        let target = self.state.find_table(target)?;
        let slot = self.state.tables[target].slot(id)?;
        Some(View {
            state: self.state,
            table: target,
            slot,
            now: self.now,
        })
    }

    /// The row as JSON values of the given columns, relationships nested.
    pub(crate) fn json(&self, name: &str) -> Json {
        self.cell(name).map_or(Json::Null, Cell::json)
    }

    pub(crate) fn at(&self, path: &[String]) -> Option<&'a Cell> {
        match path {
            [] => None,
            [name] => self.cell(name),
            [relationship, rest @ ..] => self.follow(relationship)?.at(rest),
        }
    }
}

impl soql::Row for View<'_> {
    fn get(&self, path: &[String]) -> soql::Value {
        self.at(path).map_or(soql::Value::Null, Cell::soql)
    }
}

impl soql::Schema for State {
    fn object(&self, name: &str) -> Option<String> {
        self.find_table(name)
            .map(|table| self.tables[table].object.name.to_owned())
    }

    fn field(&self, object: &str, name: &str) -> Option<soql::FieldInfo> {
        let table = self.find_table(object)?;
        let position = self.visible_field(table, name)?;
        let field = &self.tables[table].object.fields[position];
        Some(soql::FieldInfo {
            name: field.name.to_owned(),
            kind: field.soql_kind(),
            filterable: field.filterable,
            sortable: field.filterable,
        })
    }

    fn fields(&self, object: &str) -> Vec<String> {
        let Some(table) = self.find_table(object) else {
            return Vec::new();
        };
        let names = self.tables[table]
            .object
            .fields
            .iter()
            .map(|field| field.name);
        names
            .filter(|name| self.visible_field(table, name).is_some())
            .map(str::to_owned)
            .collect()
    }

    fn now(&self) -> Option<DateTime<Utc>> {
        Some(State::now(self))
    }

    fn relationship(&self, object: &str, name: &str) -> Option<(String, String)> {
        let table = self.find_table(object)?;
        let object = &self.tables[table].object;
        object.fields.iter().find_map(|field| match field.kind {
            schema::Kind::Reference(target, relationship)
                if relationship.eq_ignore_ascii_case(name)
                    && field.exposed
                    && !self.faults.hides(object.name, field.name) =>
            {
                Some((target.to_owned(), field.name.to_owned()))
            }
            _ => None,
        })
    }
}
