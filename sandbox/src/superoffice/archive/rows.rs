//! Reads the rows of a plan: joins them, and finds the values of columns.

use std::borrow::Cow;

use super::filter::Term;
use super::plan::{Column, How, Plan, Provider, Source};
use super::tables::{Cell, Field, Table};
use crate::superoffice::carriers::full_name;
use crate::superoffice::lists::{EMARKETING, Kind as ListKind};
use crate::superoffice::state::{Consent, State};

/// A row of a result: the number of the row in each slot.
pub(crate) type Row = Vec<Option<i64>>;

/// The value of a column in a row.
pub(crate) fn cell<'s>(state: &'s State, row: &Row, column: &Column) -> Cell<'s> {
    if let Source::AllRows = column.source {
        return Cell::Bool(true);
    }
    let Some(id) = row.get(column.slot).copied().flatten() else {
        return Cell::Null;
    };
    let consent = |purpose: i64| state.consent_of(id, purpose);
    let number = |field: &Field| (field.read)(state, id).number().unwrap_or(0);
    match column.source {
        Source::Field(field) | Source::Day(field) => (field.read)(state, id),
        Source::Flag(field) => Cell::Bool(number(field) != 0),
        Source::By(field) => {
            let number = number(field);
            let name = state.associate(number).map_or("", |row| row.full_name);
            Cell::Associate(number, name)
        }
        Source::ListOf(field, kind) => list_cell(state, kind, number(field)),
        Source::HasConsent(purpose) => Cell::Bool(consent(purpose).is_some_and(Consent::given)),
        Source::Withdrawn(purpose) => Cell::Bool(consent(purpose).is_some_and(|row| !row.given())),
        Source::LegalBase(purpose) => list_cell(
            state,
            ListKind::Base,
            consent(purpose).map_or(0, |row| row.base),
        ),
        Source::Origin(purpose) => list_cell(
            state,
            ListKind::Source,
            consent(purpose).map_or(0, |row| row.source),
        ),
        Source::Recipient => {
            let row = consent(EMARKETING);
            Cell::Bool(if state.settings.strict_mailings {
                row.is_some_and(Consent::given)
            } else {
                row.is_none_or(Consent::given)
            })
        }
        Source::Subscription => {
            let given = consent(EMARKETING).is_some_and(Consent::given);
            let unwanted: Vec<i64> = state
                .reservations_of(id)
                .map(|(_, row)| row.shipment_type)
                .collect();
            let first = state
                .shipment_types
                .iter()
                .find(|item| given && !unwanted.contains(&item.id));
            first.map_or(Cell::List(0, None), |item| {
                Cell::List(item.id, Some(&item.name))
            })
        }
        Source::FullName => state.persons.get(&id).map_or(Cell::Null, |person| {
            Cell::Text(Cow::Owned(full_name(&person.first, &person.last)))
        }),
        Source::Given => state
            .consents
            .get(&id)
            .map_or(Cell::Null, |row| Cell::Bool(row.given())),
        Source::HasComment => state
            .consents
            .get(&id)
            .map_or(Cell::Null, |row| Cell::Bool(!row.comment.is_empty())),
        Source::LastChange => state.consents.get(&id).map_or(Cell::Null, |row| {
            Cell::Time(Some(row.updated.unwrap_or(row.registered)))
        }),
        Source::Zero => Cell::Int(0),
        Source::AllRows => Cell::Bool(true),
    }
}

fn list_cell(state: &State, kind: ListKind, id: i64) -> Cell<'_> {
    let item = state.item(kind, id);
    Cell::List(id, item.map(|item| &item.name))
}

impl Plan {
    /// Calls `each` with every row that starts from the root row `id`, until it says to stop.
    pub(crate) fn expand(
        &self,
        state: &State,
        id: i64,
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> bool {
        let mut row: Row = vec![None; self.joins.len() + 1];
        if let Some(root) = row.first_mut() {
            *root = Some(id);
        }
        self.fill(state, &mut row, 0, each)
    }

    fn fill(
        &self,
        state: &State,
        row: &mut Row,
        place: usize,
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> bool {
        let Some(join) = self.joins.get(place) else {
            return each(row);
        };
        let parent = row.get(join.parent).copied().flatten();
        let (found, inner) = match (parent, join.how) {
            (None, How::Forward { inner, .. } | How::Back { inner, .. }) => (Vec::new(), inner),
            (None, How::Addresses { .. }) => (Vec::new(), false),
            (Some(id), How::Forward { field, inner }) => {
                let field = self.table_of(join.parent).field(field);
                let target = field.and_then(|field| (field.read)(state, id).number());
                let target = target.filter(|target| *target != 0);
                (target.into_iter().collect(), inner)
            }
            (Some(id), How::Back { field, inner }) => {
                let field = join.table.field(field);
                let rows = field.map(|field| join.table.pointing(state, field, id));
                (rows.unwrap_or_default(), inner)
            }
            (Some(id), How::Addresses { all }) => {
                let rows = state
                    .persons
                    .get(&id)
                    .map(|person| person.emails.as_slice());
                let rows = rows.unwrap_or_default();
                let count = if all { rows.len() } else { rows.len().min(1) };
                (rows.iter().take(count).copied().collect(), false)
            }
        };
        let found: Vec<i64> = found
            .into_iter()
            .filter(|id| self.with_deleted || join.table.shows(state, *id))
            .collect();
        if found.is_empty() {
            return inner || self.with(state, row, place, None, each);
        }
        found
            .into_iter()
            .all(|id| self.with(state, row, place, Some(id), each))
    }

    fn with(
        &self,
        state: &State,
        row: &mut Row,
        place: usize,
        id: Option<i64>,
        each: &mut dyn FnMut(&Row) -> bool,
    ) -> bool {
        if let Some(slot) = row.get_mut(place + 1) {
            *slot = id;
        }
        self.fill(state, row, place + 1, each)
    }

    /// Whether a root row is part of the result at all.
    pub(crate) fn admits(&self, state: &State, id: i64) -> bool {
        match self.provider {
            Provider::RecyclePerson => {
                let person = state.persons.get(&id);
                person.is_some_and(|person| person.deleted.is_some())
            }
            _ => self.with_deleted || self.root.shows(state, id),
        }
    }

    /// Name of a row's entity.
    pub(crate) fn entity(&self, state: &State, id: i64) -> &'static str {
        match self.provider {
            Provider::Person => match state.persons.get(&id) {
                Some(person) if person.retired => "retiredPerson",
                _ => "person",
            },
            Provider::RecyclePerson => "forAllUsers",
            Provider::ConsentPurpose => match state.item(ListKind::Purpose, id) {
                Some(item) if item.deleted => "deletedConsentPurpose",
                _ => "consentPurpose",
            },
            Provider::EmailAddress => match state.emails.get(&id) {
                Some(email) if email.person == 0 => "contact",
                _ => "person",
            },
            Provider::Dynamic => self.root.name(),
        }
    }

    /// Root rows that can meet a required restriction, if an index tells.
    pub(crate) fn candidates(
        &self,
        state: &State,
        column: &Column,
        term: &Term,
    ) -> Option<Vec<i64>> {
        if !matches!(
            term.operator.as_str(),
            "=" | "eq" | "equals" | "set" | "is" | "in"
        ) {
            return None;
        }
        let numbers = || term.values.iter().filter_map(super::filter::Value::number);
        let addressed = || {
            let texts = term.values.iter();
            texts.flat_map(|value| state.emails_with(value.text()).iter().copied())
        };
        let key = self.root.fields().first().map_or("", |field| field.name);
        if column.is_root(key) {
            let there: Vec<i64> = numbers()
                .filter(|id| self.root.rows(state, *id - 1).next() == Some(*id))
                .collect();
            return Some(there);
        }
        match self.root {
            Table::Email if column.is_root("email_address") => Some(addressed().collect()),
            Table::Person if column.is_field("email_address") && column.slot == 1 => {
                let rows = addressed().filter_map(|id| state.emails.get(&id));
                Some(rows.map(|row| row.person).filter(|id| *id != 0).collect())
            }
            Table::Email | Table::ConsentPerson | Table::Reservation
                if column.is_root("person_id") =>
            {
                let field = self.root.field("person_id")?;
                let rows = numbers().flat_map(|id| self.root.pointing(state, field, id));
                Some(rows.collect())
            }
            _ => None,
        }
    }
}
