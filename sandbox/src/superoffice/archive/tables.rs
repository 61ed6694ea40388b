//! The tables that archives read, column by column, as the database dictionary names them.

use std::borrow::Cow;
use std::ops::Bound;

use chrono::{DateTime, Utc};

use crate::superoffice::lists::{Item, Kind as ListKind, Names};
use crate::superoffice::state::{Consent, Email, LogRow, Merge, Person, Reservation, State};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Associate,
    Contact,
    Person,
    Email,
    ConsentPerson,
    ConsentPurpose,
    LegalBase,
    ConsentSource,
    ShipmentType,
    Reservation,
    MergeMoveLog,
    TransactionLog,
    WebhookUsage,
}

const TABLES: [(&str, Table); 13] = [
    ("associate", Table::Associate),
    ("contact", Table::Contact),
    ("person", Table::Person),
    ("email", Table::Email),
    ("consentperson", Table::ConsentPerson),
    ("consentpurpose", Table::ConsentPurpose),
    ("legalbase", Table::LegalBase),
    ("consentsource", Table::ConsentSource),
    ("shipmenttype", Table::ShipmentType),
    ("shipmenttypereservation", Table::Reservation),
    ("mergemovelog", Table::MergeMoveLog),
    ("traveltransactionlog", Table::TransactionLog),
    ("webhook_usage", Table::WebhookUsage),
];

impl Table {
    /// The table with this name, in any case.
    pub(crate) fn named(name: &str) -> Option<Table> {
        TABLES
            .iter()
            .find(|(table, _)| table.eq_ignore_ascii_case(name))
            .map(|(_, table)| *table)
    }

    pub(crate) fn name(self) -> &'static str {
        TABLES
            .iter()
            .find(|(_, table)| *table == self)
            .map_or("", |(name, _)| name)
    }

    /// Its columns, the primary key first.
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Table::Associate => ASSOCIATE,
            Table::Contact => CONTACT,
            Table::Person => PERSON,
            Table::Email => EMAIL,
            Table::ConsentPerson => CONSENT_PERSON,
            Table::ConsentPurpose => CONSENT_PURPOSE,
            Table::LegalBase => LEGAL_BASE,
            Table::ConsentSource => CONSENT_SOURCE,
            Table::ShipmentType => SHIPMENT_TYPE,
            Table::Reservation => RESERVATION,
            Table::MergeMoveLog => MERGE_MOVE_LOG,
            Table::TransactionLog => TRANSACTION_LOG,
            Table::WebhookUsage => WEBHOOK_USAGE,
        }
    }

    /// The column with this name, in any case.
    pub(crate) fn field(self, name: &str) -> Option<&'static Field> {
        let mut fields = self.fields().iter();
        fields.find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Numbers of the rows above `after`, ascending.
    pub(crate) fn rows<'s>(
        self,
        state: &'s State,
        after: i64,
    ) -> Box<dyn Iterator<Item = i64> + 's> {
        let range = (Bound::Excluded(after), Bound::<i64>::Unbounded);
        let items = |kind: ListKind| -> Box<dyn Iterator<Item = i64> + 's> {
            let ids = state.items(kind).iter().map(|item| item.id);
            Box::new(ids.filter(move |id| *id > after))
        };
        match self {
            Table::Associate => {
                let ids = state.associates.iter().map(|associate| associate.id);
                Box::new(ids.filter(move |id| *id > after))
            }
            Table::Contact => Box::new(state.contacts.range(range).map(|(id, _)| *id)),
            Table::Person => Box::new(state.persons.range(range).map(|(id, _)| *id)),
            Table::Email => Box::new(state.emails.range(range).map(|(id, _)| *id)),
            Table::ConsentPerson => Box::new(state.consents.range(range).map(|(id, _)| *id)),
            Table::ConsentPurpose => items(ListKind::Purpose),
            Table::LegalBase => items(ListKind::Base),
            Table::ConsentSource => items(ListKind::Source),
            Table::ShipmentType => {
                let ids = state.shipment_types.iter().map(|item| item.id);
                Box::new(ids.filter(move |id| *id > after))
            }
            Table::Reservation => Box::new(state.reservations.range(range).map(|(id, _)| *id)),
            Table::MergeMoveLog => Box::new(state.merges.range(range).map(|(id, _)| *id)),
            Table::TransactionLog => {
                let first = state.log.partition_point(|row| row.id <= after);
                Box::new(state.log.range(first..).map(|row| row.id))
            }
            Table::WebhookUsage => Box::new(state.webhooks.ids().filter(move |id| *id > after)),
        }
    }

    /// Whether a row shows: what belongs to a soft-deleted person does not.
    pub(crate) fn shows(self, state: &State, id: i64) -> bool {
        let live = |person: i64| {
            person == 0 || state.settings.deleted_rows_show || state.live_person(person).is_some()
        };
        match self {
            Table::Person => state.live_person(id).is_some(),
            Table::Email => state.emails.get(&id).is_some_and(|row| live(row.person)),
            Table::ConsentPerson => state.consents.get(&id).is_some_and(|row| live(row.person)),
            Table::Reservation => {
                let row = state.reservations.get(&id);
                row.is_some_and(|row| live(row.person))
            }
            _ => true,
        }
    }

    /// Numbers of the rows that point at `target` with this column.
    pub(crate) fn pointing(self, state: &State, field: &Field, target: i64) -> Vec<i64> {
        match (self, field.name) {
            (Table::ConsentPerson, "person_id") => {
                state.consents_of(target).map(|row| row.id).collect()
            }
            (Table::Email, "person_id") => {
                let person = state.persons.get(&target);
                person.map_or_else(Vec::new, |person| person.emails.clone())
            }
            (Table::Reservation, "person_id") => {
                state.reservations_of(target).map(|(id, _)| id).collect()
            }
            _ => self
                .rows(state, i64::MIN)
                .filter(|id| (field.read)(state, *id).number() == Some(target))
                .collect(),
        }
    }
}

/// What a column holds, which settles the operators that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Bool,
    List,
    Associate,
    Date,
    DateTime,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Cell<'s> {
    /// There is no row.
    Null,
    Int(i64),
    Text(Cow<'s, str>),
    Bool(bool),
    /// `None` is `MinValue`.
    Time(Option<DateTime<Utc>>),
    /// Number and name of a list item; 0 for none.
    List(i64, Option<&'s Names>),
    /// Number and name of an associate.
    Associate(i64, &'static str),
}

impl Cell<'_> {
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Cell::Int(number) | Cell::List(number, _) | Cell::Associate(number, _) => Some(*number),
            _ => None,
        }
    }
}

type Read = for<'s> fn(&'s State, i64) -> Cell<'s>;

/// A column of a table.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Table that it points into.
    pub(crate) target: Option<Table>,
    pub(crate) read: Read,
}

const fn plain(name: &'static str, kind: Kind, read: Read) -> Field {
    Field {
        name,
        kind,
        target: None,
        read,
    }
}

const fn key(name: &'static str) -> Field {
    plain(name, Kind::Int, |_, id| Cell::Int(id))
}

const fn link(name: &'static str, target: Table, read: Read) -> Field {
    Field {
        name,
        kind: Kind::Int,
        target: Some(target),
        read,
    }
}

fn int(value: Option<i64>) -> Cell<'static> {
    value.map_or(Cell::Null, Cell::Int)
}

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))
}

fn truth(value: Option<bool>) -> Cell<'static> {
    value.map_or(Cell::Null, Cell::Bool)
}

/// A time that a row always has.
fn time(value: Option<DateTime<Utc>>) -> Cell<'static> {
    value.map_or(Cell::Null, |at| Cell::Time(Some(at)))
}

/// A time that a row may lack.
fn late<T>(row: Option<&T>, at: impl FnOnce(&T) -> Option<DateTime<Utc>>) -> Cell<'static> {
    row.map_or(Cell::Null, |row| Cell::Time(at(row)))
}

fn person(state: &State, id: i64) -> Option<&Person> {
    state.persons.get(&id)
}

fn email(state: &State, id: i64) -> Option<&Email> {
    state.emails.get(&id)
}

fn consent(state: &State, id: i64) -> Option<&Consent> {
    state.consents.get(&id)
}

fn reservation(state: &State, id: i64) -> Option<&Reservation> {
    state.reservations.get(&id)
}

fn merged(state: &State, id: i64) -> Option<&Merge> {
    state.merges.get(&id)
}

fn logged(state: &State, id: i64) -> Option<&LogRow> {
    let place = state.log.binary_search_by_key(&id, |row| row.id).ok()?;
    state.log.get(place)
}

fn item_name(item: Option<&Item>) -> Cell<'_> {
    item.map_or(Cell::Null, |item| Cell::Text(item.name.show(None)))
}

fn item_key(state: &State, kind: ListKind, id: i64) -> Cell<'_> {
    state.item(kind, id).map_or(Cell::Null, |item| {
        Cell::Text(item.shown_key(kind, state.settings.legacy_keys))
    })
}

fn shipment_type(state: &State, id: i64) -> Option<&Item> {
    state.shipment_types.iter().find(|item| item.id == id)
}

use Kind::{Bool, DateTime as Stamp, Int, Text};

static ASSOCIATE: &[Field] = &[
    key("associate_id"),
    plain("name", Text, |s, id| {
        text(s.associate(id).map(|row| row.name))
    }),
];

static CONTACT: &[Field] = &[
    key("contact_id"),
    plain("name", Text, |s, id| {
        text(s.contacts.get(&id).map(|row| row.name.as_str()))
    }),
    plain("registered", Stamp, |s, id| {
        time(s.contacts.get(&id).map(|row| row.registered))
    }),
];

static PERSON: &[Field] = &[
    key("person_id"),
    link("contact_id", Table::Contact, |s, id| {
        int(person(s, id).map(|row| row.contact))
    }),
    plain("firstname", Text, |s, id| {
        text(person(s, id).map(|row| row.first.as_str()))
    }),
    plain("lastname", Text, |s, id| {
        text(person(s, id).map(|row| row.last.as_str()))
    }),
    plain("registered", Stamp, |s, id| {
        time(person(s, id).map(|row| row.registered))
    }),
    link("registered_associate_id", Table::Associate, |s, id| {
        int(person(s, id).map(|row| row.registered_by))
    }),
    plain("updated", Stamp, |s, id| {
        late(person(s, id), |row| row.updated)
    }),
    link("updated_associate_id", Table::Associate, |s, id| {
        int(person(s, id).map(|row| row.updated_by))
    }),
    plain("retired", Int, |s, id| {
        int(person(s, id).map(|row| i64::from(row.retired)))
    }),
    plain("nomailing", Int, |s, id| {
        int(person(s, id).map(|row| i64::from(row.no_mailing)))
    }),
    plain("DeletedDate", Stamp, |s, id| {
        late(person(s, id), |row| row.deleted)
    }),
];

static EMAIL: &[Field] = &[
    key("email_id"),
    link("person_id", Table::Person, |s, id| {
        int(email(s, id).map(|row| row.person))
    }),
    link("contact_id", Table::Contact, |s, id| {
        int(email(s, id).map(|row| row.contact))
    }),
    plain("email_address", Text, |s, id| {
        text(email(s, id).map(|row| row.address.as_str()))
    }),
    plain("description", Text, |s, id| {
        text(email(s, id).map(|row| row.description.as_str()))
    }),
    plain("rank", Int, |s, id| int(email(s, id).map(|row| row.rank))),
    plain("type", Int, |s, id| int(email(s, id).map(|_| 0))),
    plain("registered", Stamp, |s, id| {
        time(email(s, id).map(|row| row.registered))
    }),
    plain("updated", Stamp, |s, id| {
        late(email(s, id), |row| row.updated)
    }),
];

static CONSENT_PERSON: &[Field] = &[
    key("consentperson_id"),
    link("person_id", Table::Person, |s, id| {
        int(consent(s, id).map(|row| row.person))
    }),
    link("consentPurpose_id", Table::ConsentPurpose, |s, id| {
        int(consent(s, id).map(|row| row.purpose))
    }),
    link("legalBase_id", Table::LegalBase, |s, id| {
        int(consent(s, id).map(|row| row.base))
    }),
    link("consentSource_id", Table::ConsentSource, |s, id| {
        int(consent(s, id).map(|row| row.source))
    }),
    plain("comment", Text, |s, id| {
        text(consent(s, id).map(|row| row.comment.as_str()))
    }),
    plain("registered", Stamp, |s, id| {
        time(consent(s, id).map(|row| row.registered))
    }),
    link("registered_associate_id", Table::Associate, |s, id| {
        int(consent(s, id).map(|row| row.registered_by))
    }),
    plain("updated", Stamp, |s, id| {
        late(consent(s, id), |row| row.updated)
    }),
    link("updated_associate_id", Table::Associate, |s, id| {
        int(consent(s, id).map(|row| row.updated_by))
    }),
    plain("updatedCount", Int, |s, id| {
        int(consent(s, id).map(|row| row.updated_count))
    }),
];

static CONSENT_PURPOSE: &[Field] = &[
    key("consentpurpose_id"),
    plain("name", Text, |s, id| {
        item_name(s.item(ListKind::Purpose, id))
    }),
    plain("key", Text, |s, id| item_key(s, ListKind::Purpose, id)),
    plain("rank", Int, |s, id| {
        int(s.item(ListKind::Purpose, id).map(|item| item.rank))
    }),
    plain("deleted", Int, |s, id| {
        int(s
            .item(ListKind::Purpose, id)
            .map(|item| i64::from(item.deleted)))
    }),
    plain("active", Bool, |s, id| {
        truth(s.item(ListKind::Purpose, id).map(|item| item.active))
    }),
];

static LEGAL_BASE: &[Field] = &[
    key("legalbase_id"),
    plain("name", Text, |s, id| item_name(s.item(ListKind::Base, id))),
    plain("key", Text, |s, id| item_key(s, ListKind::Base, id)),
    plain("rank", Int, |s, id| {
        int(s.item(ListKind::Base, id).map(|item| item.rank))
    }),
    plain("deleted", Int, |s, id| {
        int(s
            .item(ListKind::Base, id)
            .map(|item| i64::from(item.deleted)))
    }),
];

static CONSENT_SOURCE: &[Field] = &[
    key("consentsource_id"),
    plain("name", Text, |s, id| {
        item_name(s.item(ListKind::Source, id))
    }),
    plain("key", Text, |s, id| item_key(s, ListKind::Source, id)),
    plain("rank", Int, |s, id| {
        int(s.item(ListKind::Source, id).map(|item| item.rank))
    }),
    plain("deleted", Int, |s, id| {
        int(s
            .item(ListKind::Source, id)
            .map(|item| i64::from(item.deleted)))
    }),
];

static SHIPMENT_TYPE: &[Field] = &[
    key("shipmenttype_id"),
    plain("name", Text, |s, id| item_name(shipment_type(s, id))),
];

static RESERVATION: &[Field] = &[
    key("shipmenttypereservation_id"),
    link("person_id", Table::Person, |s, id| {
        int(reservation(s, id).map(|row| row.person))
    }),
    link("shipmenttype_id", Table::ShipmentType, |s, id| {
        int(reservation(s, id).map(|row| row.shipment_type))
    }),
    plain("registered", Stamp, |s, id| {
        time(reservation(s, id).map(|row| row.registered))
    }),
    link("registered_associate_id", Table::Associate, |s, id| {
        int(reservation(s, id).map(|row| row.registered_by))
    }),
];

static MERGE_MOVE_LOG: &[Field] = &[
    key("mergemovelog_id"),
    plain("operation", Int, |s, id| {
        int(merged(s, id).map(|row| row.operation))
    }),
    plain("tableNumber", Int, |s, id| {
        int(merged(s, id).map(|row| row.table))
    }),
    plain("sourceRecord", Int, |s, id| {
        int(merged(s, id).map(|row| row.source))
    }),
    plain("destinationRecord", Int, |s, id| {
        int(merged(s, id).map(|row| row.destination))
    }),
    plain("registered", Stamp, |s, id| {
        time(merged(s, id).map(|row| row.registered))
    }),
    link("registered_associate_id", Table::Associate, |s, id| {
        int(merged(s, id).map(|row| row.registered_by))
    }),
];

static TRANSACTION_LOG: &[Field] = &[
    key("traveltransactionlog_id"),
    plain("ttime", Stamp, |s, id| {
        time(logged(s, id).map(|row| row.at))
    }),
    plain("type", Int, |s, id| {
        int(logged(s, id).map(|row| row.deed.code()))
    }),
    link("associate_id", Table::Associate, |s, id| {
        int(logged(s, id).map(|row| row.by))
    }),
    plain("tablenumber", Int, |s, id| {
        int(logged(s, id).map(|row| row.table))
    }),
    plain("record_id", Int, |s, id| {
        int(logged(s, id).map(|row| row.record))
    }),
    plain(
        "flags",
        Int,
        |s, id| int(logged(s, id).map(|row| row.flags)),
    ),
];

static WEBHOOK_USAGE: &[Field] = &[
    key("webhook_usage_id"),
    plain("total_calls", Int, |s, id| {
        int(s.webhooks.hook(id).map(|hook| hook.total_calls))
    }),
    plain("total_errors", Int, |s, id| {
        int(s.webhooks.hook(id).map(|hook| hook.total_errors))
    }),
    plain("consecutive_errors", Int, |s, id| {
        int(s.webhooks.hook(id).map(|hook| hook.consecutive_errors))
    }),
    plain("last_error", Text, |s, id| {
        text(s.webhooks.hook(id).map(|hook| hook.last_error.as_str()))
    }),
];
