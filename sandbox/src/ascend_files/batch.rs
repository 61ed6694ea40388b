//! What is in the files: batches and their manifests as Ascend reads them, acknowledgements as it writes them.
//!
//! A batch is taken at its word and nothing is guessed: whatever does not fit what was agreed is a reason to refuse the
//! whole of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Columns of a batch, in this order.
const HEADER: &str = "batch_id,row_no,ascend_id,salesforce_id,email,change,email_opt_out,changed_at,changed_by_type,reason";
/// Columns of an acknowledgement.
const ACK_HEADER: &str = "row_no,status,code,message\n";
/// Longest reason.
const MAX_REASON: usize = 255;
/// Characters with which a spreadsheet takes a text for a formula.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\0'];

/// Why a row was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No constituent has the id.
    NotFound,
    /// Several have it.
    DuplicateId,
    /// The row cannot be read.
    Invalid,
    /// Ascend holds a newer change.
    Stale,
    /// The record is being edited; the next batch may try again.
    Locked,
    /// A rule of the institution.
    Policy,
}

impl Code {
    pub(super) fn name(self) -> &'static str {
        match self {
            Code::NotFound => "NOT_FOUND",
            Code::DuplicateId => "DUPLICATE_ID",
            Code::Invalid => "INVALID",
            Code::Stale => "STALE",
            Code::Locked => "LOCKED",
            Code::Policy => "POLICY",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Code::NotFound => "no constituent has this id",
            Code::DuplicateId => "several constituents have this id",
            Code::Invalid => "the row cannot be read",
            Code::Stale => "a newer change is on record",
            Code::Locked => "the record is being edited",
            Code::Policy => "not allowed for this constituent",
        }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Applied,
    NoChange,
    Rejected(Code),
}

/// A row of a batch.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) ascend_id: String,
    /// Opted out, and since when; `None`: the row cannot be read.
    pub(super) said: Option<(bool, DateTime<Utc>)>,
}

/// A manifest of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    batch_id: String,
    file: String,
    rows: usize,
    changes: BTreeMap<String, usize>,
    sha256: String,
    created_at: String,
}

/// The id of a batch, in pieces that sort: date, time, number of the day.
pub(super) fn id_order(id: &str) -> Option<(&str, &str, u64)> {
    let mut parts = id.splitn(3, '-');
    let (date, time, number) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let formed = date.len() == 8 && time.len() == 6 && [date, time, number].into_iter().all(digits);
    Some((date, time, formed.then(|| number.parse().ok())??))
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let sum = digest(&SHA256, bytes);
    let digits = sum.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// A text as it may stand in a file that somebody opens in a spreadsheet.
pub(super) fn safe(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

/// Reads a batch of this name; the error says why it is refused as a whole.
pub(super) fn read(
    id: &str,
    file: &str,
    manifest: &[u8],
    csv: &[u8],
) -> Result<(Vec<Row>, String), String> {
    let manifest: Manifest = serde_json::from_slice(manifest)
        .map_err(|error| format!("the manifest cannot be read: {error}"))?;
    if manifest.batch_id != id || manifest.file != file {
        return Err("the manifest is of another batch".to_owned());
    }
    if DateTime::parse_from_rfc3339(&manifest.created_at).is_err() {
        return Err("created_at of the manifest is no time".to_owned());
    }
    let sum = sha256(csv);
    if !sum.eq_ignore_ascii_case(&manifest.sha256) {
        return Err("the SHA-256 of the file is not that of the manifest".to_owned());
    }
    let (rows, changes) = rows(id, csv)?;
    if rows.len() != manifest.rows {
        return Err(format!(
            "the manifest counts {} rows, the file has {}",
            manifest.rows,
            rows.len()
        ));
    }
    let counted = |name: &str| manifest.changes.get(name).copied().unwrap_or(0);
    for name in ["OPT_OUT", "OPT_IN"] {
        let there = changes.get(name).copied().unwrap_or(0);
        if counted(name) != there {
            return Err(format!("the manifest miscounts {name}"));
        }
    }
    Ok((rows, sum))
}

fn rows(id: &str, csv: &[u8]) -> Result<(Vec<Row>, BTreeMap<String, usize>), String> {
    let (header, _) = std::str::from_utf8(csv)
        .map_err(|_| "the file is not UTF-8".to_owned())?
        .split_once('\n')
        .ok_or("the file has no header")?;
    if header != HEADER {
        return Err("the header is not the one agreed on".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new().from_reader(csv);
    let mut rows = Vec::new();
    let mut changes = BTreeMap::new();
    for (place, record) in reader.records().enumerate() {
        let number = place + 1;
        let record = record.map_err(|error| format!("row {number} cannot be read: {error}"))?;
        let cell = |column: usize| record.get(column).unwrap_or_default();
        if cell(0) != id || cell(1) != number.to_string() {
            return Err(format!("row {number} is of another batch or out of order"));
        }
        for (name, text) in [("email", cell(4)), ("reason", cell(9))] {
            if text.starts_with(FORMULA) {
                return Err(format!("{name} of row {number} could be a formula"));
            }
        }
        *changes.entry(cell(5).to_owned()).or_insert(0) += 1;
        rows.push(row(&record));
    }
    Ok((rows, changes))
}

fn row(record: &csv::StringRecord) -> Row {
    let cell = |column: usize| record.get(column).unwrap_or_default();
    let out = match (cell(5), cell(6)) {
        ("OPT_OUT", "TRUE") => Some(true),
        ("OPT_IN", "FALSE") => Some(false),
        _ => None,
    };
    let at = DateTime::parse_from_rfc3339(cell(7)).ok();
    let by = matches!(cell(8), "INTEGRATION" | "SPECIALIST");
    let short = cell(9).chars().count() <= MAX_REASON;
    let ascend_id = cell(2).trim().to_owned();
    let readable = by && short && !ascend_id.is_empty();
    Row {
        ascend_id,
        said: out.zip(at.map(|at| at.to_utc())).filter(|_| readable),
    }
}

/// An acknowledgement of these rows.
pub(super) fn ack(outcomes: &[(usize, Outcome)]) -> String {
    lines(outcomes.iter().map(|(row, outcome)| match outcome {
        Outcome::Applied => (*row, "APPLIED", "", ""),
        Outcome::NoChange => (*row, "NOCHANGE", "", ""),
        Outcome::Rejected(code) => (*row, "REJECTED", code.name(), code.words()),
    }))
}

/// An acknowledgement whose words are given.
pub(super) fn lines<'a>(rows: impl Iterator<Item = (usize, &'a str, &'a str, &'a str)>) -> String {
    let mut text = ACK_HEADER.to_owned();
    for (row, status, code, message) in rows {
        let message = safe(message);
        text.push_str(&[row.to_string().as_str(), status, code, &message].join(","));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_batches_sort_by_number_and_not_by_text() {
        let mut ids = [
            "20260501-010000-10",
            "20260501-010000-9",
            "20260430-230000-1",
        ];
        ids.sort_by_key(|id| id_order(id));
        assert_eq!(
            ids,
            [
                "20260430-230000-1",
                "20260501-010000-9",
                "20260501-010000-10"
            ]
        );
        for wrong in ["", "20260501-010000", "20260501-010000-x", "2026-010000-1"] {
            assert_eq!(id_order(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_could_be_a_formula_is_quoted() {
        for text in ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\0x"] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        for text in ["", "a=1", "'x", " =1"] {
            assert_eq!(safe(text), text);
        }
    }
}
