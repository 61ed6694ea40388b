//! The one way in which rows change: API, staff edits and loads all come through here.
//!
//! A save checks the row-level faults, applies the org's automation, moves the stamps, writes field history and honours
//! a late commit. It does not parse requests and does not decide about transactions.

use chrono::{DateTime, TimeDelta, Utc};

use super::schema::{
    CONTACT, INDICATOR, INDICATOR_VALUE, IS_DELETED, Kind, MODIFIED, MODIFIED_BY, OPT_OUT,
    PREFERENCES, STAMP,
};
use super::state::State;
use super::table::{Cell, Slot};
use crate::System;
use crate::clock::whole_second;
use crate::faults::{CallKind, Fault};
use crate::refusal::Refusal;

/// Most records in one merge.
pub(crate) const MAX_MERGED: usize = 3;

/// Who saves, and how.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    /// Id of the user.
    pub(crate) user: String,
    /// The API call; `None` for staff and loads, which row-level faults do not touch.
    pub(crate) call: Option<CallKind>,
    /// The duplicate rule header allows saving in spite of an alert.
    pub(crate) allow_duplicates: bool,
}

impl Author {
    pub(crate) fn staff(user: String) -> Author {
        Author {
            user,
            call: None,
            allow_duplicates: true,
        }
    }

    pub(crate) fn api(user: String, call: CallKind) -> Author {
        Author {
            user,
            call: Some(call),
            allow_duplicates: false,
        }
    }
}

/// Column positions and their new values.
pub(crate) type Changes = Vec<(usize, Cell)>;

impl State {
    /// Updates a live row. `Ok(true)` when a field changed.
    pub(crate) fn update_row(
        &mut self,
        table: usize,
        slot: Slot,
        mut changes: Changes,
        author: &Author,
    ) -> Result<bool, Refusal> {
        let outcome = self.try_update(table, slot, &mut changes, author);
        self.count(author, &outcome);
        outcome
    }

    fn try_update(
        &mut self,
        table: usize,
        slot: Slot,
        changes: &mut Changes,
        author: &Author,
    ) -> Result<bool, Refusal> {
        let before = self.tables[table]
            .saved(slot)
            .cloned()
            .ok_or_else(Refusal::not_found)?;
        if before[IS_DELETED].is_true() {
            return Err(Refusal::deleted());
        }
        let id = before[super::schema::ID]
            .as_text()
            .unwrap_or_default()
            .to_owned();
        self.row_faults(table, Some(&id), changes, author)?;
        if self.silently_ignored(table, changes) {
            return Ok(false);
        }
        let mut after = before.clone();
        for (position, value) in changes.drain(..) {
            after[position] = value;
        }
        self.automate(table, Some(&before), &mut after);
        let changed: Vec<usize> = (STAMP + 1..after.len())
            .filter(|position| before[*position] != after[*position])
            .collect();
        if changed.is_empty() && !self.settings.equal_update_moves_stamps {
            return Ok(false);
        }
        let now = self.now();
        let visible = self.late_commit(author, now);
        touch(&mut after, &author.user, now);
        for position in &changed {
            self.write_history(
                table,
                &id,
                *position,
                &before[*position],
                &after[*position],
                author,
                now,
                visible,
            );
        }
        self.put_changed(table, slot, after, visible);
        Ok(!changed.is_empty())
    }

    /// Creates a row and returns its id. `dates` back-dates the audit fields, as a data load may.
    pub(crate) fn create_row(
        &mut self,
        table: usize,
        mut changes: Changes,
        author: &Author,
        dates: Option<(DateTime<Utc>, DateTime<Utc>)>,
    ) -> Result<String, Refusal> {
        let outcome = self.try_create(table, &mut changes, author, dates);
        if author.call.is_some() {
            match &outcome {
                Ok(_) => self.calls.rows_created += 1,
                Err(_) => self.calls.rows_refused += 1,
            }
        }
        outcome
    }

    fn try_create(
        &mut self,
        table: usize,
        changes: &mut Changes,
        author: &Author,
        dates: Option<(DateTime<Utc>, DateTime<Utc>)>,
    ) -> Result<String, Refusal> {
        self.row_faults(table, None, changes, author)?;
        let object = &self.tables[table].object;
        let missing: Vec<String> = object
            .fields
            .iter()
            .enumerate()
            .filter(|(position, field)| {
                field.createable
                    && !field.nillable
                    && field.kind != Kind::Boolean
                    && !changes
                        .iter()
                        .any(|(at, value)| at == position && *value != Cell::Null)
            })
            .map(|(_, field)| field.name.to_owned())
            .collect();
        if !missing.is_empty() {
            let message = format!("Required fields are missing: [{}]", missing.join(", "));
            let mut refusal = Refusal::new(400, "REQUIRED_FIELD_MISSING", message);
            refusal.fields = missing;
            return Err(refusal);
        }
        let now = self.now();
        let id = self.tables[table].next_id();
        if self.silently_ignored(table, changes) {
            return Ok(id);
        }
        let (created, modified) = dates.unwrap_or((now, now));
        let mut cells = self.blank(table, &id, &author.user, created);
        for (position, value) in changes.drain(..) {
            cells[position] = value;
        }
        cells[MODIFIED] = Cell::Time(whole_second(modified));
        cells[STAMP] = Cell::Time(whole_second(modified));
        self.automate(table, None, &mut cells);
        let visible = if dates.is_some() {
            None
        } else {
            self.late_commit(author, now)
        };
        self.put_new(table, cells.into(), visible);
        self.write_event(table, &id, "created", &author.user, created, visible);
        Ok(id)
    }

    /// Moves a row to the recycle bin.
    pub(crate) fn delete_row(
        &mut self,
        table: usize,
        slot: Slot,
        author: &Author,
    ) -> Result<(), Refusal> {
        let before = self.tables[table]
            .saved(slot)
            .cloned()
            .ok_or_else(Refusal::not_found)?;
        if before[IS_DELETED].is_true() {
            return Err(Refusal::deleted());
        }
        let id = before[super::schema::ID]
            .as_text()
            .unwrap_or_default()
            .to_owned();
        self.row_faults(table, Some(&id), &Vec::new(), author)?;
        let now = self.now();
        let visible = self.late_commit(author, now);
        let mut after = before;
        after[IS_DELETED] = Cell::Bool(true);
        touch(&mut after, &author.user, now);
        self.put_changed(table, slot, after, visible);
        if author.call.is_some() {
            self.calls.rows_deleted += 1;
        }
        Ok(())
    }

    /// Takes a row out of the recycle bin.
    pub(crate) fn undelete_row(
        &mut self,
        table: usize,
        slot: Slot,
        author: &Author,
    ) -> Result<(), Refusal> {
        let mut after = self.tables[table]
            .saved(slot)
            .cloned()
            .ok_or_else(Refusal::not_found)?;
        after[IS_DELETED] = Cell::Bool(false);
        if let Some(master) = self.tables[table].object.position("MasterRecordId") {
            after[master] = Cell::Null;
        }
        let now = self.now();
        touch(&mut after, &author.user, now);
        self.put_changed(table, slot, after, None);
        Ok(())
    }

    /// Removes a row and its history for good.
    pub(crate) fn hard_delete_row(&mut self, table: usize, slot: Slot) -> Result<(), Refusal> {
        let gone = self.tables[table]
            .purge(slot)
            .ok_or_else(Refusal::not_found)?;
        let id = gone[super::schema::ID].as_text().unwrap_or_default();
        self.purge_history(id);
        Ok(())
    }

    /// Merges `losers` into `winner`: `changes` are what the merging user chose for the winner.
    pub(crate) fn merge_rows(
        &mut self,
        table: usize,
        winner: Slot,
        losers: &[Slot],
        changes: Changes,
        author: &Author,
    ) -> Result<(), Refusal> {
        if losers.is_empty() || losers.len() >= MAX_MERGED || losers.contains(&winner) {
            return Err(Refusal::new(
                400,
                "INVALID_OPERATION",
                "a merge takes one winner and one or two losers",
            ));
        }
        let winner_id = self.id_of(table, winner)?;
        let now = self.now();
        let visible = self.late_commit(author, now);
        for loser in losers {
            let mut after = self.tables[table]
                .saved(*loser)
                .cloned()
                .ok_or_else(Refusal::not_found)?;
            let loser_id = self.id_of(table, *loser)?;
            after[IS_DELETED] = Cell::Bool(true);
            if let Some(master) = self.tables[table].object.position("MasterRecordId") {
                after[master] = Cell::text(&winner_id);
            }
            touch(&mut after, &author.user, now);
            self.put_changed(table, *loser, after, visible);
            self.move_children(&loser_id, &winner_id, &author.user, now);
        }
        self.update_row(table, winner, changes, author)?;
        self.write_event(
            table,
            &winner_id,
            "contactMerged",
            &author.user,
            now,
            visible,
        );
        Ok(())
    }

    /// Moves the stamps of a row without changing it, as system work does.
    pub(crate) fn bump_row(&mut self, table: usize, slot: Slot) -> Result<(), Refusal> {
        let mut after = self.tables[table]
            .saved(slot)
            .cloned()
            .ok_or_else(Refusal::not_found)?;
        after[STAMP] = Cell::Time(whole_second(self.now()));
        self.put_changed(table, slot, after, None);
        Ok(())
    }

    pub(crate) fn id_of(&self, table: usize, slot: Slot) -> Result<String, Refusal> {
        self.tables[table]
            .saved(slot)
            .and_then(|row| row[super::schema::ID].as_text())
            .map(str::to_owned)
            .ok_or_else(Refusal::not_found)
    }

    /// Children of a merged contact go over to the winner, and their stamps move.
    fn move_children(&mut self, from: &str, to: &str, user: &str, now: DateTime<Utc>) {
        for table in 0..self.tables.len() {
            let object = &self.tables[table].object;
            if !object.writable || object.name == CONTACT {
                continue;
            }
            let Some(position) = object
                .fields
                .iter()
                .position(|field| matches!(field.kind, Kind::Reference(CONTACT, _)))
            else {
                continue;
            };
            let moved: Vec<Slot> = self.tables[table]
                .slots()
                .filter(|slot| {
                    self.tables[table]
                        .saved(*slot)
                        .is_some_and(|row| row[position].as_text() == Some(from))
                })
                .collect();
            for slot in moved {
                if let Some(mut after) = self.tables[table].saved(slot).cloned() {
                    after[position] = Cell::text(to);
                    touch(&mut after, user, now);
                    self.put_changed(table, slot, after, None);
                }
            }
        }
    }

    /// When the save becomes visible, if a late commit is set.
    fn late_commit(&mut self, author: &Author, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.faults
            .strike(
                author.call.unwrap_or(CallKind::Other),
                |fault| match fault {
                    Fault::LateCommit { seconds } => Some(*seconds),
                    _ => None,
                },
            )
            .map(|seconds| now + TimeDelta::seconds(i64::from(seconds)))
    }

    /// The org's own rules, run inside every save.
    fn automate(&self, table: usize, before: Option<&[Cell]>, after: &mut [Cell]) {
        let object = &self.tables[table].object;
        if object.name == CONTACT
            && self.system == System::Salesforce
            && self.settings.opt_out_clears_boxes
        {
            let opted_out = object.position(OPT_OUT).is_some_and(|position| {
                after[position].is_true()
                    && before.is_some_and(|before| !before[position].is_true())
            });
            if opted_out {
                for name in PREFERENCES {
                    if let Some(position) = object.position(name) {
                        after[position] = Cell::Bool(false);
                    }
                }
            }
        }
        if object.name == INDICATOR
            && let Some(value) = object.position("ucinn_ascendv2__Service_Indicator_Value__c")
            && let Some(formula) = object.position("ucinn_ascendv2__Code_Formula__c")
        {
            after[formula] = after[value]
                .as_text()
                .and_then(|id| self.indicator_code(id))
                .unwrap_or(Cell::Null);
        }
    }

    fn indicator_code(&self, id: &str) -> Option<Cell> {
        let values = &self.tables[self.find_table(INDICATOR_VALUE)?];
        let code = values.object.position("ucinn_ascendv2__Code__c")?;
        Some(values.saved(values.slot(id)?)?[code].clone())
    }

    /// Whether the package takes the save and does nothing.
    fn silently_ignored(&mut self, table: usize, changes: &Changes) -> bool {
        let object = &self.tables[table].object;
        if object.name != INDICATOR {
            return false;
        }
        let Some(position) = object.position("ucinn_ascendv2__Service_Indicator_Value__c") else {
            return false;
        };
        let unknown = changes.iter().any(|(at, value)| {
            *at == position
                && value
                    .as_text()
                    .is_some_and(|id| self.indicator_code(id).is_none())
        });
        unknown && self.package_is_silent()
    }

    fn package_is_silent(&self) -> bool {
        self.faults
            .lasting(|fault| matches!(fault, Fault::SilentNoOp).then_some(()))
            .is_some()
    }

    fn row_faults(
        &mut self,
        table: usize,
        id: Option<&str>,
        changes: &Changes,
        author: &Author,
    ) -> Result<(), Refusal> {
        self.check_references(table, changes, self.package_is_silent())?;
        let Some(call) = author.call else {
            return Ok(());
        };
        if self.faults.row_locked(call) {
            let which = id.unwrap_or("a related record");
            let message =
                format!("unable to obtain exclusive access to this record or 1 records: {which}");
            return Err(Refusal::new(400, "UNABLE_TO_LOCK_ROW", message));
        }
        let refused = self.faults.strike(call, |fault| match fault {
            Fault::ValidationFailure { ids, message } => {
                let hit = ids.as_ref().is_none_or(|ids| {
                    ids.iter()
                        .any(|one| crate::ids::normalise(one).as_deref() == id && id.is_some())
                });
                hit.then(|| {
                    message
                        .clone()
                        .unwrap_or_else(|| "This record may not be changed.".to_owned())
                })
            }
            _ => None,
        });
        if let Some(message) = refused {
            return Err(Refusal::new(
                400,
                "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                message,
            ));
        }
        let allowed = author.allow_duplicates;
        let duplicate = self.faults.strike(call, |fault| match fault {
            Fault::DuplicateRule { alert_only } => (!(*alert_only && allowed)).then_some(()),
            _ => None,
        });
        if duplicate.is_some() {
            let message = "Use one of these records?";
            return Err(Refusal::new(400, "DUPLICATES_DETECTED", message));
        }
        Ok(())
    }

    /// References must point at rows of the right object.
    fn check_references(
        &self,
        table: usize,
        changes: &Changes,
        silent: bool,
    ) -> Result<(), Refusal> {
        for (position, value) in changes {
            let field = &self.tables[table].object.fields[*position];
            let (Kind::Reference(target, _), Some(id)) = (field.kind, value.as_text()) else {
                continue;
            };
            let known = self
                .find_table(target)
                .is_some_and(|target| self.tables[target].slot(id).is_some());
            let ignored = silent && target == INDICATOR_VALUE;
            if !known && !ignored {
                return Err(Refusal::new(
                    400,
                    "INVALID_CROSS_REFERENCE_KEY",
                    "invalid cross reference id",
                )
                .on(field.name));
            }
        }
        Ok(())
    }

    fn count(&mut self, author: &Author, outcome: &Result<bool, Refusal>) {
        if author.call.is_none() {
            return;
        }
        match outcome {
            Ok(true) => self.calls.rows_changed += 1,
            Ok(false) => self.calls.rows_unchanged += 1,
            Err(_) => self.calls.rows_refused += 1,
        }
    }
}

/// Moves the stamps of a row that `user` saves.
fn touch(cells: &mut [Cell], user: &str, now: DateTime<Utc>) {
    let at = Cell::Time(whole_second(now));
    cells[MODIFIED] = at.clone();
    cells[STAMP] = at;
    cells[MODIFIED_BY] = Cell::text(user);
}
