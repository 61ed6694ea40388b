//! The subjects on a bench.

use super::Map;
use crate::consent::{Remembered, SubjectKey};
use crate::store::{SubjectRef, SubjectRow};

/// A subject on the bench.
pub(super) struct Place {
    pub(super) row: SubjectRow,
    /// It is new, or differs from what is stored.
    pub(super) changed: bool,
    /// It has to be decided.
    pub(super) touched: bool,
    /// Unpacked, once it was needed.
    pub(super) remembered: Option<Vec<Remembered>>,
    /// Places of its contacts among the items, kept while contacts move.
    pub(super) residents: Vec<usize>,
}

/// All of them: those that are stored in the order of their numbers, then the new ones, which are
/// numbered without gaps.
pub(super) struct Places {
    all: Vec<Place>,
    stored: usize,
    first_new: i64,
    by_ref: Map<SubjectRef, i64>,
}

impl Places {
    /// Lays out the stored ones, which are in the order of their numbers. New ones are numbered from
    /// `first_new` on.
    pub(super) fn new(rows: Vec<SubjectRow>, first_new: i64) -> Self {
        Self {
            by_ref: rows.iter().map(|row| (row.subject, row.id)).collect(),
            stored: rows.len(),
            first_new,
            all: rows.into_iter().map(|row| Place::new(row, false)).collect(),
        }
    }

    /// Makes room for so many new ones.
    pub(super) fn reserve(&mut self, subjects: usize) {
        self.all.reserve(subjects);
        self.by_ref.reserve(subjects);
    }

    fn index(&self, id: i64) -> Option<usize> {
        if id >= self.first_new {
            return Some(self.stored + usize::try_from(id - self.first_new).ok()?);
        }
        let stored = self.all.get(..self.stored)?;
        stored.binary_search_by_key(&id, |place| place.row.id).ok()
    }

    pub(super) fn get(&self, id: i64) -> Option<&Place> {
        self.all.get(self.index(id)?)
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Option<&mut Place> {
        let index = self.index(id)?;
        self.all.get_mut(index)
    }

    /// The number of a subject, if it is on the bench.
    pub(super) fn find(&self, subject: &SubjectRef) -> Option<i64> {
        self.by_ref.get(subject).copied()
    }

    /// The number of a subject, new if it has none yet.
    pub(super) fn find_or_add(&mut self, subject: SubjectRef, key: &SubjectKey) -> i64 {
        let new = self.first_new + (self.all.len() - self.stored) as i64;
        let id = *self.by_ref.entry(subject).or_insert(new);
        if id == new {
            let row = SubjectRow {
                id,
                subject,
                address: key.as_str().to_owned(),
                verdicts: String::new(),
                remembered: String::new(),
                findings: String::new(),
            };
            self.all.push(Place::new(row, true));
        }
        id
    }

    /// Has a subject decided.
    pub(super) fn touch(&mut self, id: i64) {
        if let Some(place) = self.get_mut(id) {
            place.touched = true;
        }
    }

    /// Those that are not stored yet, in the order of their numbers.
    pub(super) fn new_ones(&self) -> impl Iterator<Item = &Place> {
        self.all.get(self.stored..).unwrap_or_default().iter()
    }

    /// All, in the order of their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Place> {
        self.all.iter()
    }

    /// Those that have to be decided, in the order of their numbers.
    pub(super) fn touched(&self) -> impl Iterator<Item = &Place> {
        self.all.iter().filter(|place| place.touched)
    }

    /// All, in the order of their numbers.
    pub(super) fn into_iter(self) -> impl Iterator<Item = Place> {
        self.all.into_iter()
    }
}

impl Place {
    fn new(row: SubjectRow, new: bool) -> Self {
        Self {
            row,
            changed: new,
            touched: false,
            remembered: new.then(Vec::new),
            residents: Vec::new(),
        }
    }
}
