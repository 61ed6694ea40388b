//! Field history of contacts: who changed a tracked field, when, from what to what.
//!
//! A row is written for each tracked field that really changed, one `created` row for a new contact and one
//! `contactMerged` row for the winner of a merge. Nothing is written while tracking is off, and never afterwards.

use chrono::{DateTime, Utc};

use super::save::Author;
use super::schema::{CONTACT, CONTACT_HISTORY, Kind};
use super::state::State;
use super::table::{Cell, Slot};
use crate::faults::Fault;

impl State {
    fn history_off(&self) -> bool {
        self.faults
            .lasting(|fault| matches!(fault, Fault::HistoryOff).then_some(()))
            .is_some()
    }

    /// Notes a change of one field, when it is tracked.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site, and each argument is a column of the history row"
    )]
    pub(super) fn write_history(
        &mut self,
        table: usize,
        id: &str,
        position: usize,
        old: &Cell,
        new: &Cell,
        author: &Author,
        at: DateTime<Utc>,
        visible: Option<DateTime<Utc>>,
    ) {
        let object = &self.tables[table].object;
        let field = &object.fields[position];
        let tracked = self
            .settings
            .tracked_fields
            .iter()
            .any(|name| name.eq_ignore_ascii_case(field.name));
        if object.name != CONTACT || !tracked {
            return;
        }
        let kind = if field.kind == Kind::Boolean {
            "Boolean"
        } else {
            "Text"
        };
        let values = [
            ("Field", Cell::text(field.name)),
            ("DataType", Cell::text(kind)),
            ("OldValue", old.clone()),
            ("NewValue", new.clone()),
        ];
        self.add_history(id, &values, &author.user, at, visible);
    }

    /// Notes an event of the whole record.
    pub(super) fn write_event(
        &mut self,
        table: usize,
        id: &str,
        event: &str,
        user: &str,
        at: DateTime<Utc>,
        visible: Option<DateTime<Utc>>,
    ) {
        if self.tables[table].object.name == CONTACT && !self.settings.tracked_fields.is_empty() {
            let values = [
                ("Field", Cell::text(event)),
                ("DataType", Cell::text("Text")),
            ];
            self.add_history(id, &values, user, at, visible);
        }
    }

    /// Adds a history row as it stands; also used to lay down the past of a generated population.
    pub(super) fn add_history(
        &mut self,
        contact: &str,
        values: &[(&str, Cell)],
        user: &str,
        at: DateTime<Utc>,
        visible: Option<DateTime<Utc>>,
    ) {
        let Some(table) = self.find_table(CONTACT_HISTORY) else {
            return;
        };
        if self.history_off() {
            return;
        }
        let id = self.tables[table].next_id();
        let mut cells = self.blank(table, &id, user, at);
        if let Some(position) = self.tables[table].object.position("ContactId") {
            cells[position] = Cell::text(contact);
        }
        for (name, value) in values {
            if let Some(position) = self.tables[table].object.position(name) {
                cells[position] = value.clone();
            }
        }
        self.put_new(table, cells.into(), visible);
    }

    /// Slots of the history rows of one contact, oldest first.
    pub(crate) fn history_of(&self, contact: &str) -> Vec<Slot> {
        let Some(table) = self.find_table(CONTACT_HISTORY) else {
            return Vec::new();
        };
        let rows = &self.tables[table];
        let Some(position) = rows.object.position("ContactId") else {
            return Vec::new();
        };
        rows.slots()
            .filter(|slot| {
                rows.saved(*slot)
                    .is_some_and(|row| row[position].as_text() == Some(contact))
            })
            .collect()
    }

    pub(super) fn purge_history(&mut self, contact: &str) {
        if let Some(table) = self.find_table(CONTACT_HISTORY) {
            for slot in self.history_of(contact) {
                self.tables[table].purge(slot);
            }
        }
    }
}
