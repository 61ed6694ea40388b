//! From rows of the platform to readings, and from consent values to fields.

use super::config::Field;
use super::wire::rows::{self, Cell};
use super::wire::{FieldValue, soql, time};
use crate::connector::{Fault, FaultClass, MAX_POISON_BYTES, Poison};
use crate::consent::{At, Evidence, Life, Precision, PurposeId, Reading, Shown, Told};
use serde_json::value::RawValue;

const ID: usize = 0;
const DELETED: usize = 1;
const CREATED: usize = 2;
const CREATED_BY: usize = 3;
const MODIFIED: usize = 4;
const MODIFIED_BY: usize = 5;
const STAMP: usize = 6;
const ADDRESS: usize = 7;
/// Place of the first consent field.
const FIELDS: usize = 8;

/// Which columns of which object hold what.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Object with the contacts.
    pub object: String,
    /// Consent fields.
    pub fields: Vec<Field>,
    /// Every column to ask for.
    pub columns: Vec<String>,
    master: Option<usize>,
    link: Option<usize>,
}

/// A contact's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it shows.
    pub reading: Reading,
    /// When any part of it was last touched, by whomever.
    pub stamp: At,
    /// Who created it.
    pub created_by: Option<String>,
}

/// Rows of a page, and those that cannot be understood.
#[derive(Debug, Default)]
pub struct Read {
    /// In the order of the page.
    pub seen: Vec<Seen>,
    /// Likewise.
    pub poison: Vec<Poison>,
}

impl Shape {
    /// The shape of an object.
    pub fn new(
        object: &str,
        address_field: &str,
        link_field: Option<&str>,
        fields: Vec<Field>,
    ) -> Self {
        let mut columns: Vec<String> = [
            "Id",
            "IsDeleted",
            "CreatedDate",
            "CreatedById",
            "LastModifiedDate",
            "LastModifiedById",
            "SystemModstamp",
            address_field,
        ]
        .map(str::to_owned)
        .to_vec();
        columns.extend(fields.iter().map(|field| field.name.clone()));
        let mut add = |name: &str| {
            columns.push(name.to_owned());
            columns.len() - 1
        };
        let link = link_field.map(&mut add);
        // Only standard objects can be merged.
        let master = (!object.ends_with("__c")).then(|| add("MasterRecordId"));
        Self {
            object: object.to_owned(),
            fields,
            columns,
            master,
            link,
        }
    }

    /// API name of the address field.
    pub fn address_field(&self) -> &str {
        &self.columns[ADDRESS]
    }

    /// The purpose of a field, by its API name in any case.
    pub fn purpose(&self, name: &str) -> Option<PurposeId> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.purpose)
    }

    /// Reads the JSON rows of a page, each by itself.
    pub fn read<'a>(&self, raws: impl IntoIterator<Item = &'a RawValue>) -> Read {
        let mut read = Read::default();
        for raw in raws {
            self.read_one(raw, &mut read);
        }
        read
    }

    /// Reads one JSON row.
    pub fn read_one(&self, raw: &RawValue, into: &mut Read) {
        match rows::row(raw, &self.columns).and_then(|cells| self.seen(&cells)) {
            Ok(seen) => into.seen.push(seen),
            Err(reason) => into.poison.push(poison(raw, reason)),
        }
    }

    /// What a row shows.
    ///
    /// # Errors
    /// What is wrong with it, naming the field.
    pub fn seen(&self, cells: &[Cell<'_>]) -> Result<Seen, String> {
        let named = |at: usize, what: &str| format!("{} {what}", self.columns[at]);
        let text = |at: usize| cells[at].text().map_err(|what| named(at, what));
        let flag = |at: usize| cells[at].flag().map_err(|what| named(at, what));
        let when = |at: usize| {
            text(at)?
                .and_then(time::parse)
                .ok_or_else(|| named(at, "is not a date"))
        };
        let user = |at: usize| {
            Ok::<_, String>(text(at)?.map(|id| soql::full_id(id).unwrap_or_else(|| id.to_owned())))
        };
        let id = text(ID)?
            .and_then(soql::full_id)
            .ok_or_else(|| named(ID, "is not a record id"))?;
        let master = self
            .master
            .map(text)
            .transpose()?
            .flatten()
            .and_then(soql::full_id);
        let life = match (flag(DELETED)?, master) {
            (false, _) => Life::Live,
            (true, None) => Life::Deleted,
            (true, Some(into)) => Life::Merged { into },
        };
        let mut values = Vec::with_capacity(self.fields.len());
        for (place, field) in self.fields.iter().enumerate() {
            values.push((field.purpose, shown(flag(FIELDS + place)?)));
        }
        let created = when(CREATED)?;
        let modified = when(MODIFIED)?;
        let created_by = user(CREATED_BY)?;
        // Never modified since: what is set was set by the creation itself, of which field history
        // keeps no row.
        let told = if created == modified {
            told_at_creation(&values, created, created_by.as_deref())
        } else {
            Vec::new()
        };
        Ok(Seen {
            reading: Reading {
                contact: id,
                whole: true,
                address: text(ADDRESS)?.map(str::to_owned),
                link: self
                    .link
                    .map(text)
                    .transpose()?
                    .flatten()
                    .map(str::to_owned),
                created: Some(created),
                modified: Some(modified),
                precision: Some(Precision::Seconds),
                modified_by: user(MODIFIED_BY)?,
                life,
                values,
                told,
                as_of: None,
            },
            stamp: when(STAMP)?,
            created_by,
        })
    }

    /// A JSON row that cannot be understood, from a CSV row.
    pub fn csv_poison(&self, cells: &[Cell<'_>], reason: String) -> Poison {
        let line: Vec<&str> = cells
            .iter()
            .map(|cell| cell.text().ok().flatten().unwrap_or_default())
            .collect();
        let raw = line.join(",").into_bytes();
        let id = cells[ID].text().ok().flatten().and_then(soql::full_id);
        Poison {
            id: id.unwrap_or_else(|| rows::digest(&raw)),
            reason,
            raw: raw.into_iter().take(MAX_POISON_BYTES).collect(),
        }
    }

    /// The fields and values of a write.
    ///
    /// # Errors
    /// A refusal when a purpose has no field here or a value is no flag.
    pub fn assignments(
        &self,
        changes: &[(PurposeId, Shown)],
    ) -> Result<Vec<(&str, FieldValue)>, Fault> {
        changes
            .iter()
            .map(|(purpose, value)| {
                let field = self.fields.iter().find(|field| field.purpose == *purpose);
                let field = field.ok_or_else(|| {
                    Fault::new(
                        FaultClass::Rejected,
                        "no-field",
                        "the purpose has no field in this system",
                    )
                })?;
                Ok((field.name.as_str(), FieldValue::Flag(is_set(value)?)))
            })
            .collect()
    }
}

/// What was set when the contact was created.
pub fn told_at_creation(values: &[(PurposeId, Shown)], created: At, by: Option<&str>) -> Vec<Told> {
    let set = values.iter().filter(|(_, value)| *value == Shown::Set);
    set.map(|(purpose, value)| Told {
        purpose: *purpose,
        shown: value.clone(),
        at: created,
        precision: Precision::Seconds,
        evidence: Evidence::History,
        actor: by.map(str::to_owned),
    })
    .collect()
}

/// The value of a check box.
pub const fn shown(flag: bool) -> Shown {
    if flag { Shown::Set } else { Shown::Default }
}

/// A check box for a value.
///
/// # Errors
/// When the value is a consent record, which a check box cannot hold.
pub fn is_set(value: &Shown) -> Result<bool, Fault> {
    match value {
        Shown::Set => Ok(true),
        Shown::Default => Ok(false),
        Shown::Record { .. } => Err(Fault::new(
            FaultClass::Rejected,
            "no-flag",
            "a check box cannot hold a consent record",
        )),
    }
}

/// A record that could not be understood.
pub fn poison(raw: &RawValue, reason: String) -> Poison {
    let only_id = ["Id".to_owned()];
    let id = rows::row(raw, &only_id)
        .ok()
        .and_then(|cells| cells[0].text().ok().flatten().and_then(soql::full_id));
    Poison {
        id: id.unwrap_or_else(|| rows::digest(raw.get().as_bytes())),
        reason,
        raw: raw.get().bytes().take(MAX_POISON_BYTES).collect(),
    }
}

/// The object with the field history of another one, and how it names its parts.
#[derive(Debug, Clone)]
pub struct HistoryShape {
    /// `ContactHistory`, or `<name>__History` for a custom object.
    pub object: String,
    /// Column with the id of the contact.
    pub parent: String,
    /// Every column to ask for.
    pub columns: Vec<String>,
}

/// One row of field history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Its own id.
    pub id: String,
    /// The contact.
    pub contact: String,
    /// When.
    pub at: At,
    /// What changed; `None` for the row that says that the contact was created.
    pub told: Option<Told>,
}

impl HistoryShape {
    /// The history of `object`.
    pub fn of(object: &str) -> Self {
        let (name, parent) = match object.strip_suffix("__c") {
            Some(custom) => (format!("{custom}__History"), "ParentId".to_owned()),
            None => (format!("{object}History"), format!("{object}Id")),
        };
        let columns = [
            "Id",
            &parent,
            "Field",
            "NewValue",
            "CreatedById",
            "CreatedDate",
        ]
        .map(str::to_owned)
        .to_vec();
        Self {
            object: name,
            parent,
            columns,
        }
    }

    /// What a row of history says.
    ///
    /// # Errors
    /// What is wrong with it, naming the column.
    pub fn read(&self, raw: &RawValue, shape: &Shape) -> Result<HistoryRow, Poison> {
        rows::row(raw, &self.columns)
            .and_then(|cells| self.told(&cells, shape))
            .map_err(|reason| poison(raw, format!("{}: {reason}", self.object)))
    }

    fn told(&self, cells: &[Cell<'_>], shape: &Shape) -> Result<HistoryRow, String> {
        let named = |at: usize, what: &str| format!("{} {what}", self.columns[at]);
        let text = |at: usize| cells[at].text().map_err(|what| named(at, what));
        let id = text(0)?
            .and_then(soql::full_id)
            .ok_or_else(|| named(0, "is not a record id"))?;
        let contact = text(1)?
            .and_then(soql::full_id)
            .ok_or_else(|| named(1, "is not a record id"))?;
        let at = text(5)?
            .and_then(time::parse)
            .ok_or_else(|| named(5, "is not a date"))?;
        let field = text(2)?.unwrap_or_default();
        let told = match shape.purpose(field) {
            None => None,
            Some(purpose) => Some(Told {
                purpose,
                // The value counts, never that there is a row.
                shown: match &cells[3] {
                    Cell::Null => Shown::Default,
                    other => shown(other.flag().map_err(|what| named(3, what))?),
                },
                at,
                precision: Precision::Seconds,
                evidence: Evidence::History,
                actor: text(4)?.map(|id| soql::full_id(id).unwrap_or_else(|| id.to_owned())),
            }),
        };
        Ok(HistoryRow {
            id,
            contact,
            at,
            told,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::Polarity;

    fn shape() -> Shape {
        let field = |purpose, name: &str, polarity| Field {
            purpose: PurposeId(purpose),
            name: name.to_owned(),
            polarity,
        };
        Shape::new(
            "Contact",
            "Email",
            Some("Ascend_ID__c"),
            vec![
                field(0, "HasOptedOutOfEmail", Polarity::OptOut),
                field(1, "Email_Events__c", Polarity::Permission),
            ],
        )
    }

    fn record(changes: &[(&str, &str)]) -> String {
        let mut parts = vec![
            ("attributes", r#"{"type":"Contact"}"#),
            ("Id", r#""0035e00000A1b2cAAB""#),
            ("IsDeleted", "false"),
            ("CreatedDate", r#""2025-01-01T00:00:00.000+0000""#),
            ("CreatedById", r#""0055e000001XYZaAAG""#),
            ("LastModifiedDate", r#""2026-05-01T10:00:00.000+0000""#),
            ("LastModifiedById", r#""0055e000001XYZaAAG""#),
            ("SystemModstamp", r#""2026-05-01T10:00:01.000+0000""#),
            ("Email", r#""Ann@Example.org""#),
            ("HasOptedOutOfEmail", "true"),
            ("Email_Events__c", "false"),
            ("Ascend_ID__c", r#""A-1""#),
            ("MasterRecordId", "null"),
        ];
        for (name, value) in changes {
            parts.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parts.push((name, value));
            }
        }
        let parts: Vec<String> = parts
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", parts.join(","))
    }

    fn read(text: &str) -> Read {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        shape().read([&*raw])
    }

    #[test]
    fn a_row_becomes_a_reading() {
        let read = read(&record(&[]));
        assert!(read.poison.is_empty(), "{:?}", read.poison);
        let seen = &read.seen[0];
        assert_eq!(seen.reading.contact, "0035e00000A1b2cAAB");
        assert_eq!(
            seen.reading.values,
            [(PurposeId(0), Shown::Set), (PurposeId(1), Shown::Default)]
        );
        assert_eq!(seen.reading.link.as_deref(), Some("A-1"));
        assert_eq!(seen.reading.address.as_deref(), Some("Ann@Example.org"));
        assert_eq!(seen.reading.life, Life::Live);
        assert!(seen.reading.told.is_empty());
        assert_eq!(seen.stamp, At::from_micros(1_777_629_601_000_000));
    }

    #[test]
    fn what_was_set_at_creation_is_told_by_the_creation() {
        let read = read(&record(&[(
            "LastModifiedDate",
            r#""2025-01-01T00:00:00.000+0000""#,
        )]));
        let told = &read.seen[0].reading.told;
        assert_eq!(told.len(), 1, "only what is set speaks");
        assert_eq!(
            (told[0].purpose, told[0].evidence),
            (PurposeId(0), Evidence::History)
        );
        assert_eq!(Some(told[0].at), read.seen[0].reading.created);
    }

    #[test]
    fn deletes_and_merges_are_told_apart() {
        assert_eq!(
            read(&record(&[("IsDeleted", "true")])).seen[0].reading.life,
            Life::Deleted
        );
        let merged = read(&record(&[
            ("IsDeleted", "true"),
            ("MasterRecordId", r#""0035e00000A1b2d""#),
        ]));
        assert!(
            matches!(&merged.seen[0].reading.life, Life::Merged { into } if into.starts_with("0035e00000A1b2d") && into.len() == 18)
        );
    }

    #[test]
    fn a_bad_field_is_named_and_its_record_kept() {
        for (field, value, reason) in [
            (
                "HasOptedOutOfEmail",
                "",
                "HasOptedOutOfEmail is missing; check field-level security",
            ),
            (
                "HasOptedOutOfEmail",
                "\"true\"",
                "HasOptedOutOfEmail is a text where a boolean has to be",
            ),
            (
                "HasOptedOutOfEmail",
                "1",
                "HasOptedOutOfEmail is neither true nor false",
            ),
            (
                "HasOptedOutOfEmail",
                "null",
                "HasOptedOutOfEmail is null where a boolean has to be",
            ),
            (
                "Email_Events__c",
                "\"Y\"",
                "Email_Events__c is a text where a boolean has to be",
            ),
            (
                "CreatedDate",
                "\"2026-02-30T10:00:00.000+0000\"",
                "CreatedDate is not a date",
            ),
            ("LastModifiedDate", "null", "LastModifiedDate is not a date"),
            ("SystemModstamp", "17", "SystemModstamp is not a text"),
            ("Email", "", "Email is missing; check field-level security"),
        ] {
            let read = read(&record(&[(field, value)]));
            assert!(read.seen.is_empty(), "{field} {value}");
            assert_eq!(read.poison[0].reason, reason);
            assert_eq!(read.poison[0].id, "0035e00000A1b2cAAB");
        }
        let nameless = read(&record(&[("Id", "\"x' OR Id != '\"")]));
        assert_eq!(nameless.poison[0].reason, "Id is not a record id");
        assert!(nameless.poison[0].id.starts_with("sha256:"));
    }

    #[test]
    fn history_is_read_by_its_value() {
        let history = HistoryShape::of("Contact");
        let row = |field: &str, value: &str| {
            let text = format!(
                r#"{{"Id":"0175e000000001AAAA","ContactId":"0035e00000A1b2cAAB","Field":"{field}","NewValue":{value},"CreatedById":"0055e000001XYZaAAG","CreatedDate":"2026-05-01T10:00:00.000+0000"}}"#
            );
            let text = text.replace(
                "0175e000000001AAAA",
                &soql::full_id("0175e000000001A").unwrap(),
            );
            let raw: Box<RawValue> = serde_json::from_str(&text).unwrap();
            history.read(&raw, &shape())
        };
        let value = |text| row("HasOptedOutOfEmail", text).unwrap().told.unwrap().shown;
        assert_eq!(value("true"), Shown::Set);
        assert_eq!(
            value("false"),
            Shown::Default,
            "a row of history is not an opt-out by itself"
        );
        assert_eq!(value("null"), Shown::Default);
        assert!(row("HasOptedOutOfEmail", "\"yes\"").is_err());
        assert_eq!(row("created", "null").unwrap().told, None);
        assert_eq!(
            HistoryShape::of("My_Person__c").object,
            "My_Person__History"
        );
    }
}
