//! Rows of archives and of REST answers, as the tenant writes them.
//!
//! Members that were not asked for are ignored, one that stands twice or is of the wrong type spoils
//! its row. The same fact has several names: archives use dotted columns, entities names of their own.

use crate::connector::salesforce::wire::rows::digest;
use crate::connector::{MAX_POISON_BYTES, Poison};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Columns of [`ConsentRow`].
pub const CONSENT: &[&str] = &[
    "consentperson.consentperson_id",
    "consentperson.person_id",
    "consentperson.consentpurpose_id.key",
    "consentperson.legalbase_id.key",
    "consentperson.registered",
    "consentperson.updated",
    "consentperson.registered_associate_id",
    "consentperson.updated_associate_id",
];

/// What one person's consent row says, wherever it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRow {
    /// The person.
    pub person: u32,
    /// Key of the purpose.
    pub purpose: String,
    /// Key of the legal basis.
    pub base: String,
    /// When the row was made, as text.
    pub registered: Option<String>,
    /// When it was last changed; the year 1 stands for never.
    pub updated: Option<String>,
    /// Who made it; 0 for nobody.
    pub registered_by: Option<u32>,
    /// Who changed it.
    pub updated_by: Option<u32>,
}

#[derive(Deserialize)]
struct Dotted {
    #[serde(rename = "consentperson.person_id", deserialize_with = "id")]
    person: u32,
    #[serde(rename = "consentperson.consentpurpose_id.key")]
    purpose: String,
    #[serde(rename = "consentperson.legalbase_id.key")]
    base: String,
    #[serde(rename = "consentperson.registered", deserialize_with = "present")]
    registered: Option<String>,
    #[serde(rename = "consentperson.updated", deserialize_with = "present")]
    updated: Option<String>,
    #[serde(
        rename = "consentperson.registered_associate_id",
        default,
        deserialize_with = "number"
    )]
    registered_by: Option<u32>,
    #[serde(
        rename = "consentperson.updated_associate_id",
        default,
        deserialize_with = "number"
    )]
    updated_by: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    consent_purpose_key: String,
    legal_base_key: String,
    #[serde(deserialize_with = "present")]
    registered: Option<String>,
    #[serde(deserialize_with = "present")]
    updated: Option<String>,
    #[serde(default, deserialize_with = "number")]
    registered_associate_id: Option<u32>,
    #[serde(default, deserialize_with = "number")]
    updated_associate_id: Option<u32>,
}

impl ConsentRow {
    /// A row of the archive `dynamic`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_archive(raw: &RawValue) -> Result<Self, String> {
        let row: Dotted = read(raw)?;
        Ok(Self {
            person: row.person,
            purpose: row.purpose,
            base: row.base,
            registered: row.registered,
            updated: row.updated,
            registered_by: row.registered_by,
            updated_by: row.updated_by,
        })
    }

    /// A member of a person's own list of consents.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_person(person: u32, raw: &RawValue) -> Result<Self, String> {
        let row: Info = read(raw)?;
        Ok(Self {
            person,
            purpose: row.consent_purpose_key,
            base: row.legal_base_key,
            registered: row.registered,
            updated: row.updated,
            registered_by: row.registered_associate_id,
            updated_by: row.updated_associate_id,
        })
    }
}

/// Columns of [`PersonRow`].
pub const PERSON: &[&str] = &[
    "personId",
    "email/emailAddress",
    "personRegisteredDate",
    "retired",
];

/// A person with the primary address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PersonRow {
    /// Id.
    #[serde(rename = "personId", deserialize_with = "id")]
    pub id: u32,
    /// The address of rank 1, if there is one.
    #[serde(rename = "email/emailAddress", deserialize_with = "present")]
    pub address: Option<String>,
    /// When the person was registered, as text.
    #[serde(rename = "personRegisteredDate", deserialize_with = "present")]
    pub registered: Option<String>,
    /// A former employee.
    #[serde(deserialize_with = "flag")]
    pub retired: bool,
}

impl PersonRow {
    /// A row of the archive `Person`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(raw: &RawValue) -> Result<Self, String> {
        read(raw)
    }
}

/// Columns of [`EmailRow`].
pub const EMAIL: &[&str] = &[
    "email.email_id",
    "email.person_id",
    "email.email_address",
    "email.rank",
];

/// An address of a person or of a company.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EmailRow {
    /// The person, 0 for an address of a company.
    #[serde(rename = "email.person_id", default, deserialize_with = "number")]
    pub person: Option<u32>,
    /// The address.
    #[serde(rename = "email.email_address", deserialize_with = "present")]
    pub address: Option<String>,
    /// 1 for the primary one.
    #[serde(rename = "email.rank", default, deserialize_with = "number")]
    pub rank: Option<u32>,
}

impl EmailRow {
    /// A row of the archive `dynamic`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(raw: &RawValue) -> Result<Self, String> {
        read(raw)
    }
}

/// Columns of [`MergeRow`].
pub const MERGE: &[&str] = &[
    "mergemovelog.mergemovelog_id",
    "mergemovelog.sourceRecord",
    "mergemovelog.destinationRecord",
];

/// One person was merged into another, or something of one was moved to another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MergeRow {
    /// Id of the row.
    #[serde(rename = "mergemovelog.mergemovelog_id", deserialize_with = "id")]
    pub id: u32,
    /// The person who may be gone.
    #[serde(rename = "mergemovelog.sourceRecord", deserialize_with = "id")]
    pub source: u32,
    /// The one that stays.
    #[serde(rename = "mergemovelog.destinationRecord", deserialize_with = "id")]
    pub destination: u32,
}

impl MergeRow {
    /// A row of the archive `dynamic`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(raw: &RawValue) -> Result<Self, String> {
        read(raw)
    }
}

/// A number that stands under one name in a row, whatever is wrong with the rest of it.
pub fn number_of(raw: &RawValue, name: &str) -> Option<u32> {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw.get()).ok()?;
    match row.get(name)? {
        serde_json::Value::Number(number) => number.as_u64()?.try_into().ok(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    }
    .filter(|number| *number > 0)
}

/// A record that could not be understood, under the person's id where that can be read.
pub fn poison(raw: &RawValue, person: Option<u32>, reason: &str) -> Poison {
    Poison {
        id: person.map_or_else(|| digest(raw.get().as_bytes()), |id| id.to_string()),
        reason: reason.to_owned(),
        raw: raw.get().bytes().take(MAX_POISON_BYTES).collect(),
    }
}

/// A row, or what is wrong with it without any of its content.
fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| {
        let text = error.to_string();
        // What our own reading says names members and types, never values.
        let known = ["missing field", "duplicate field", "invalid type", "not "]
            .iter()
            .any(|start| text.starts_with(start));
        let safe = text.split(" at line ").next().unwrap_or_default();
        if known && !text.contains('"') {
            safe.to_owned()
        } else {
            format!(
                "the record is not of the documented shape (column {})",
                error.column()
            )
        }
    })
}

/// An id: a whole number above 0, which may stand in quotes.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    number(deserializer)?
        .filter(|id| *id > 0)
        .ok_or_else(|| D::Error::custom("not an id where one has to be"))
}

/// A text that may be `null` but has to be there: a column that is hidden is not an empty one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
}

/// A whole number from 0 up, which may stand in quotes; none for `null`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let found = Option::<Loose>::deserialize(deserializer)
        .map_err(|_| D::Error::custom("not a number where one has to be"))?;
    match found {
        None => Ok(None),
        Some(Loose::Number(number)) => u32::try_from(number).map(Some),
        Some(Loose::Text(text)) => return text.parse().map(Some).map_err(|_| misfit()),
    }
    .map_err(|_| misfit())
}

fn misfit<E: serde::de::Error>() -> E {
    E::custom("not a whole number where one has to be")
}

/// `true` and `false`, and the 1 and 0 that the database holds; nothing else.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(i64),
    }
    match Flag::deserialize(deserializer) {
        Ok(Flag::Bool(flag)) => Ok(flag),
        Ok(Flag::Number(0)) => Ok(false),
        Ok(Flag::Number(1)) => Ok(true),
        Ok(Flag::Number(other)) => Err(D::Error::invalid_type(
            Unexpected::Signed(other),
            &"true or false",
        )),
        Err(_) => Err(D::Error::custom("not true or false where one has to be")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    const ROW: &str = r#"{"PrimaryKey":"9044","EntityName":"consentperson",
        "consentperson.consentperson_id":9044,"consentperson.person_id":5120,
        "consentperson.consentpurpose_id.key":"EMARKETING","consentperson.legalbase_id.key":"WITHDRAWN",
        "consentperson.consentsource_id.key":"API","consentperson.comment":"unsubscribed",
        "consentperson.registered":"2025-03-02T08:15:31","consentperson.updated":"2026-01-19T11:02:07",
        "consentperson.registered_associate_id":12,"consentperson.updated_associate_id":"77"}"#;

    const INFO: &str = r#"{"ConsentPersonId":9044,"Comment":"","Registered":"2025-03-02T08:15:31","RegisteredAssociateId":12,
        "Updated":"2026-01-19T11:02:07","UpdatedAssociateId":77,
        "LegalBaseId":7,"LegalBaseKey":"WITHDRAWN","LegalBaseName":"US:\"Withdrawn\"",
        "ConsentPurposeId":2,"ConsentPurposeKey":"EMARKETING","ConsentPurposeName":"E-marketing",
        "ConsentSourceId":8,"ConsentSourceKey":"API","TableRight":null,"FieldProperties":{}}"#;

    #[test]
    fn both_ways_to_a_consent_tell_the_same() {
        let one = ConsentRow::from_archive(&raw(ROW)).unwrap();
        let other = ConsentRow::from_person(5_120, &raw(INFO)).unwrap();
        assert_eq!(one, other);
        assert_eq!(
            (one.purpose.as_str(), one.base.as_str()),
            ("EMARKETING", "WITHDRAWN")
        );
        assert_eq!((one.registered_by, one.updated_by), (Some(12), Some(77)));
    }

    #[test]
    fn a_bad_row_is_refused_without_its_content() {
        for (sentence, old, new, reason) in [
            (
                "no person",
                r#""consentperson.person_id":5120,"#,
                "",
                "missing field `consentperson.person_id`",
            ),
            ("person 0", ":5120", ":0", "not an id where one has to be"),
            (
                "an id beyond all ids",
                ":5120",
                ":9223372036854775808",
                "not a number where one has to be",
            ),
            (
                "a word for an id",
                ":5120",
                ":\"ann@example.org\"",
                "not a whole number where one has to be",
            ),
            (
                "a hidden column",
                r#""consentperson.updated":"2026-01-19T11:02:07","#,
                "",
                "missing field `consentperson.updated`",
            ),
            (
                "no legal basis",
                r#""WITHDRAWN""#,
                "null",
                "invalid type: null, expected a string",
            ),
            (
                "a number for a key",
                r#""EMARKETING""#,
                "2",
                "invalid type: integer `2`, expected a string",
            ),
            (
                "a member that stands twice",
                r#""consentperson.comment""#,
                r#""consentperson.person_id":5121,"consentperson.comment""#,
                "duplicate field `consentperson.person_id`",
            ),
        ] {
            assert!(ROW.contains(old), "{sentence}");
            let text = ROW.replacen(old, new, 1);
            assert_eq!(
                ConsentRow::from_archive(&raw(&text)).unwrap_err(),
                reason,
                "{sentence}"
            );
        }
    }

    #[test]
    fn only_true_false_one_and_zero_are_flags() {
        let person = |retired: &str| {
            PersonRow::read(&raw(&format!(
                r#"{{"PrimaryKey":"5","EntityName":"person","personId":5,"email/emailAddress":"a@b.se","personRegisteredDate":"2025-03-02T08:15:31","retired":{retired}}}"#
            )))
        };
        for (text, flag) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("1", Some(true)),
            ("0", Some(false)),
            ("2", None),
            ("\"true\"", None),
            ("\"Y\"", None),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(person(text).ok().map(|row| row.retired), flag, "{text}");
        }
    }

    #[test]
    fn the_id_of_a_spoiled_row_is_still_found() {
        for (text, found) in [
            (r#"{"personId":5,"retired":"x"}"#, Some(5)),
            (r#"{"personId":"5"}"#, Some(5)),
            (r#"{"personId":0}"#, None),
            (r#"{"personId":-1}"#, None),
            (r#"{"personId":"5 or 1"}"#, None),
            (r#"{"id":5}"#, None),
            ("[5]", None),
        ] {
            assert_eq!(number_of(&raw(text), "personId"), found, "{text}");
        }
        assert!(poison(&raw("[5]"), None, "x").id.starts_with("sha256:"));
        assert_eq!(poison(&raw("[5]"), Some(5), "x").id, "5");
    }
}
