//! The shapes of the platform's requests and answers.

use super::faults::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One page of a query.
#[derive(Debug, Deserialize)]
pub struct QueryPage<'a> {
    /// Rows of the whole query.
    #[serde(rename = "totalSize")]
    pub total: u64,
    /// Whether this is the last page.
    pub done: bool,
    /// Where the next page is, when there is one.
    #[serde(rename = "nextRecordsUrl", borrow, default)]
    pub next: Option<Cow<'a, str>>,
    /// The rows, each still as text, so that one bad row spoils no other.
    #[serde(borrow)]
    pub records: Vec<&'a RawValue>,
}

/// What `describe` says of an object.
#[derive(Debug, Deserialize)]
pub struct Describe {
    /// Its fields, without those hidden from the user.
    pub fields: Vec<FieldInfo>,
}

/// What `describe` says of a field.
#[derive(Debug, Deserialize)]
pub struct FieldInfo {
    /// API name.
    pub name: String,
    /// `boolean`, `string`, …
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Whether the user may change it.
    #[serde(default)]
    pub updateable: bool,
    /// Whether the user may set it on a new record.
    #[serde(default)]
    pub createable: bool,
}

impl Describe {
    /// The field of that name, in any case.
    pub fn field(&self, name: &str) -> Option<&FieldInfo> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// What became of one row of a collections call.
#[derive(Debug, Deserialize)]
pub struct RowResult {
    /// The only truth.
    pub success: bool,
    /// Id of the record, for rows that were created.
    #[serde(default)]
    pub id: Option<String>,
    /// Why not.
    #[serde(default)]
    pub errors: Vec<Refusal>,
}

#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Serialize)]
pub(super) struct Retrieve<'a> {
    pub(super) ids: &'a [String],
    pub(super) fields: &'a [String],
}

/// One record of a collections call.
#[derive(Debug, Clone, Serialize)]
pub struct Record<'a> {
    attributes: Attributes<'a>,
    /// Id, absent for a new record.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(flatten)]
    fields: BTreeMap<&'a str, FieldValue>,
}

#[derive(Debug, Clone, Serialize)]
struct Attributes<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
}

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// Of a check box.
    Flag(bool),
    /// Of any other field.
    Text(String),
}

impl<'a> Record<'a> {
    /// A record of `object`; without an id it is a new one.
    pub fn new(object: &'a str, id: Option<&str>) -> Self {
        Self {
            attributes: Attributes { kind: object },
            id: id.map(str::to_owned),
            fields: BTreeMap::new(),
        }
    }

    /// With one field set.
    #[must_use]
    pub fn with(mut self, field: &'a str, value: FieldValue) -> Self {
        self.fields.insert(field, value);
        self
    }
}

#[derive(Serialize)]
pub(super) struct Collection<'a> {
    #[serde(rename = "allOrNone")]
    pub(super) all_or_none: bool,
    pub(super) records: &'a [Record<'a>],
}

/// The ids changed or deleted in a window.
#[derive(Debug, Deserialize)]
pub(super) struct Replicated {
    /// Ids of changed records.
    #[serde(default)]
    pub(super) ids: Vec<String>,
    #[serde(rename = "deletedRecords", default)]
    pub(super) deleted: Vec<DeletedRow>,
    #[serde(rename = "latestDateCovered")]
    pub(super) covered: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct DeletedRow {
    pub(super) id: String,
}
