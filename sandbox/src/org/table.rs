//! Rows in memory: one slot a record, with an index by id and one by `(SystemModstamp, Id)`.
//!
//! Slots are given in the order of creation and never reused, so slot order is id order. A row that was saved by a
//! transaction that "commits later" has a shadow: what readers see until then.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value as Json, json};

use super::schema::{ID, IS_DELETED, Object, STAMP};
use crate::{clock, ids, soql};

/// Number of a row inside its table.
pub(crate) type Slot = u32;
/// The values of one record, in the order of the object's fields.
pub(crate) type Cells = Box<[Cell]>;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Text(Box<str>),
    Time(DateTime<Utc>),
    Day(NaiveDate),
}

impl Cell {
    pub(crate) fn text(text: &str) -> Cell {
        Cell::Text(text.into())
    }

    pub(crate) fn optional(text: Option<&str>) -> Cell {
        text.map_or(Cell::Null, Cell::text)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_time(&self) -> Option<DateTime<Utc>> {
        match self {
            Cell::Time(at) => Some(*at),
            _ => None,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        *self == Cell::Bool(true)
    }

    pub(crate) fn json(&self) -> Json {
        match self {
            Cell::Null => Json::Null,
            Cell::Bool(value) => json!(value),
            Cell::Text(text) => json!(text),
            Cell::Time(at) => json!(clock::rest_stamp(*at)),
            Cell::Day(day) => json!(day.format("%Y-%m-%d").to_string()),
        }
    }

    pub(crate) fn csv(&self) -> String {
        match self {
            Cell::Null => String::new(),
            Cell::Bool(value) => value.to_string(),
            Cell::Text(text) => text.to_string(),
            Cell::Time(at) => clock::bulk_stamp(*at),
            Cell::Day(day) => day.format("%Y-%m-%d").to_string(),
        }
    }

    pub(crate) fn soql(&self) -> soql::Value {
        match self {
            Cell::Null => soql::Value::Null,
            Cell::Bool(value) => soql::Value::Bool(*value),
            Cell::Text(text) => soql::Value::Text(text.to_string()),
            Cell::Time(at) => soql::Value::DateTime(*at),
            Cell::Day(day) => soql::Value::Date(*day),
        }
    }
}

/// What readers see of a row until its last save becomes visible.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    pub(crate) until: DateTime<Utc>,
    /// `None`: the row does not exist yet.
    pub(crate) before: Option<Cells>,
}

/// One object's rows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) object: Object,
    instance: &'static str,
    rows: Vec<Option<Cells>>,
    ids: HashMap<Box<str>, Slot>,
    by_stamp: BTreeSet<(i64, Slot)>,
    shadows: HashMap<Slot, Shadow>,
}

impl Table {
    pub(crate) fn new(object: Object, instance: &'static str) -> Table {
        Table {
            object,
            instance,
            rows: Vec::new(),
            ids: HashMap::new(),
            by_stamp: BTreeSet::new(),
            shadows: HashMap::new(),
        }
    }

    /// The id that the next row gets.
    pub(crate) fn next_id(&self) -> String {
        ids::make(
            self.object.prefix,
            self.instance,
            self.rows.len() as u64 + 1,
        )
    }

    pub(crate) fn insert(&mut self, cells: Cells) -> Slot {
        let slot = self.rows.len() as Slot;
        if let Some(id) = cells[ID].as_text() {
            self.ids.insert(id.into(), slot);
        }
        self.by_stamp.insert((seconds(&cells), slot));
        self.rows.push(Some(cells));
        slot
    }

    /// Replaces a row and returns what was there.
    pub(crate) fn replace(&mut self, slot: Slot, cells: Cells) -> Option<Cells> {
        let place = self.rows.get_mut(slot as usize)?;
        if let Some(old) = place.as_ref() {
            self.by_stamp.remove(&(seconds(old), slot));
        } else if let Some(id) = cells[ID].as_text() {
            self.ids.insert(id.into(), slot);
        }
        self.by_stamp.insert((seconds(&cells), slot));
        place.replace(cells)
    }

    /// Removes a row for good.
    pub(crate) fn purge(&mut self, slot: Slot) -> Option<Cells> {
        let old = self.rows.get_mut(slot as usize)?.take()?;
        self.by_stamp.remove(&(seconds(&old), slot));
        if let Some(id) = old[ID].as_text() {
            self.ids.remove(id);
        }
        self.shadows.remove(&slot);
        Some(old)
    }

    /// Keeps showing `before` until `until`.
    pub(crate) fn shadow(&mut self, slot: Slot, until: DateTime<Utc>, before: Option<Cells>) {
        self.shadows
            .entry(slot)
            .and_modify(|shadow| shadow.until = until)
            .or_insert(Shadow { until, before });
    }

    pub(crate) fn take_shadow(&mut self, slot: Slot) -> Option<Shadow> {
        self.shadows.remove(&slot)
    }

    pub(crate) fn put_shadow(&mut self, slot: Slot, shadow: Option<Shadow>) {
        match shadow {
            Some(shadow) => {
                self.shadows.insert(slot, shadow);
            }
            None => {
                self.shadows.remove(&slot);
            }
        }
    }

    pub(crate) fn shadow_of(&self, slot: Slot) -> Option<&Shadow> {
        self.shadows.get(&slot)
    }

    /// Slots of rows whose last save may not be visible yet.
    pub(crate) fn shadowed(&self) -> impl Iterator<Item = Slot> + '_ {
        self.shadows.keys().copied()
    }

    /// Forgets the shadows whose time has come.
    pub(crate) fn settle(&mut self, now: DateTime<Utc>) {
        if !self.shadows.is_empty() {
            self.shadows.retain(|_, shadow| shadow.until > now);
        }
    }

    /// Oldest stamp among the saves that are not visible yet.
    pub(crate) fn oldest_pending(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.shadows
            .iter()
            .filter(|(_, shadow)| shadow.until > now)
            .filter_map(|(slot, _)| self.saved(*slot)?[STAMP].as_time())
            .min()
    }

    /// The row as last saved, visible or not.
    pub(crate) fn saved(&self, slot: Slot) -> Option<&Cells> {
        self.rows.get(slot as usize)?.as_ref()
    }

    /// The row as readers see it at `now`.
    pub(crate) fn seen(&self, slot: Slot, now: DateTime<Utc>) -> Option<&Cells> {
        if !self.shadows.is_empty()
            && let Some(shadow) = self.shadows.get(&slot)
            && shadow.until > now
        {
            return shadow.before.as_ref();
        }
        self.saved(slot)
    }

    /// Slot of an 18-character id.
    pub(crate) fn slot(&self, id: &str) -> Option<Slot> {
        self.ids.get(id).copied()
    }

    /// Slots of all rows, oldest id first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.is_some())
            .map(|(slot, _)| slot as Slot)
    }

    /// Slots by stamp from `from` (inclusive) to `to` (exclusive), both epoch seconds.
    pub(crate) fn stamped(&self, from: i64, to: i64) -> impl Iterator<Item = Slot> + '_ {
        let to = to.max(from);
        self.by_stamp
            .range((from, 0)..(to, 0))
            .map(|(_, slot)| *slot)
    }

    /// Rows that are not in the recycle bin.
    pub(crate) fn live(&self) -> usize {
        self.slots()
            .filter(|slot| {
                self.saved(*slot)
                    .is_some_and(|row| !row[IS_DELETED].is_true())
            })
            .count()
    }
}

fn seconds(cells: &[Cell]) -> i64 {
    cells[STAMP].as_time().map_or(0, |at| at.timestamp())
}
