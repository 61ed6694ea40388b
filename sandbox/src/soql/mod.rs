//! The subset of SOQL, the platform's query language, that the simulated orgs understand.
//!
//! The module is pure: text goes in, a [`Query`] comes out; checked against a [`Schema`] it becomes a [`Plan`], and the
//! plan says of any [`Row`] whether it matches and how rows are ordered. Storage, paging and the wire belong to the org.
//!
//! Rules it keeps, after the vendor's SOQL and SOSL Reference:
//!
//! - What the vendor refuses is refused here, with the vendor's error code and a message of the same shape, so that a
//!   client cannot learn bad habits from the simulator. A field hidden by field-level security looks like no field.
//! - Every literal is normalised once, while checking; [`Plan::matches`] is called for every row of an object.
//! - No input makes it panic, and nesting is bounded ([`MAX_NESTING`]).
//!
//! What it deliberately leaves out: aggregates other than `COUNT()`, `GROUP BY`, `TYPEOF`, sub-selects in either place,
//! geolocation, multi-select picklists and date functions. Each is refused, never silently ignored.

mod ast;
mod lexer;
mod parse;
mod plan;
#[cfg(test)]
mod tests;

use chrono::{DateTime, NaiveDate, Utc};

pub use ast::Query;
pub use parse::parse;
pub use plan::Plan;

/// Longest statement, in characters (vendor: "SOQL and SOSL Limits").
pub const MAX_STATEMENT_CHARS: usize = 100_000;
/// Longest string literal in a `WHERE` clause, in characters (vendor: "SOQL and SOSL Limits").
pub const MAX_STRING_CHARS: usize = 4_000;
/// Largest `OFFSET` (vendor: "OFFSET").
pub const MAX_OFFSET: u64 = 2_000;
/// Largest `LIMIT` of a statement that selects `FIELDS(ALL)` (vendor: "FIELDS()").
pub const MAX_FIELDS_LIMIT: u64 = 200;
/// Most child-to-parent steps in one field path (vendor: "Understanding Relationship Query Limitations").
pub const MAX_RELATIONSHIP_STEPS: usize = 5;
/// Deepest nesting of parentheses and `NOT` that is parsed; the vendor states no number, this one guards the stack.
pub const MAX_NESTING: usize = 100;

/// One value of one row, as the org stores it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value. Empty text counts as null as well, as on the platform.
    Null,
    /// A checkbox.
    Bool(bool),
    /// Any numeric type.
    Number(f64),
    /// Text, picklists, e-mail addresses, and ids in either their 15- or 18-character form.
    Text(String),
    /// A point in time; compared in whole seconds.
    DateTime(DateTime<Utc>),
    /// A calendar day.
    Date(NaiveDate),
}

/// What the evaluator needs to know of the org's objects. Names are looked up without regard to case.
pub trait Schema {
    /// The canonical name of an object, or `None` if this user sees no such object.
    fn object(&self, name: &str) -> Option<String>;

    /// A field of an object (canonical name); `None` if there is no such column or field-level security hides it.
    fn field(&self, object: &str, name: &str) -> Option<FieldInfo>;

    /// A child-to-parent relationship such as `Account` on `Contact`: the target object and the foreign key field.
    fn relationship(&self, object: &str, name: &str) -> Option<(String, String)>;

    /// Canonical names of all visible fields of an object, in describe order, for `FIELDS(ALL)`.
    ///
    /// The default, an empty list, makes `FIELDS(ALL)` an error.
    fn fields(&self, _object: &str) -> Vec<String> {
        Vec::new()
    }

    /// The org's clock, for date literals such as `TODAY` and `LAST_N_DAYS:7` (the user's time zone is taken as UTC).
    ///
    /// The default, `None`, makes such literals an error.
    fn now(&self) -> Option<DateTime<Utc>> {
        None
    }
}

/// What a query may do with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// Canonical name, as describe gives it.
    pub name: String,
    /// How literals are read and values compared.
    pub kind: FieldKind,
    /// May stand in `WHERE`.
    pub filterable: bool,
    /// May stand in `ORDER BY`.
    pub sortable: bool,
}

/// How a field compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// The record's own id: 15 and 18 characters are the same id.
    Id,
    /// The id of another record; compares as [`FieldKind::Id`].
    Reference,
    /// A checkbox: `=`, `!=` and lists only.
    Boolean,
    /// Text compared without regard to case.
    Text,
    /// Text compared exactly, as external ids that are declared case-sensitive.
    CaseSensitiveText,
    /// A point in time, in whole seconds.
    DateTime,
    /// A calendar day.
    Date,
    /// Any numeric type.
    Number,
    /// The vendor's `anyType`: takes every literal and compares values of the same type only.
    Any,
}

/// One row of an object.
pub trait Row {
    /// The value at a path of canonical segments, such as `["Email"]` or `["Account", "Name"]`.
    ///
    /// [`Value::Null`] when the field is blank or a relationship on the way leads nowhere.
    fn get(&self, path: &[String]) -> Value;
}

/// A query the vendor would refuse, in the vendor's words (vendor: "Status Codes and Error Responses").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SoqlError {
    /// The `errorCode`, such as `MALFORMED_QUERY`.
    pub code: &'static str,
    /// The `message`; most embed the query around the fault, a line with a caret, and the row and column.
    pub message: String,
}

/// Codes this module answers with.
pub(crate) mod code {
    pub(crate) const MALFORMED_QUERY: &str = "MALFORMED_QUERY";
    pub(crate) const INVALID_FIELD: &str = "INVALID_FIELD";
    pub(crate) const INVALID_TYPE: &str = "INVALID_TYPE";
    pub(crate) const INVALID_OPERATOR: &str = "INVALID_QUERY_FILTER_OPERATOR";
    pub(crate) const OUTSIDE_RANGE: &str = "NUMBER_OUTSIDE_VALID_RANGE";
    pub(crate) const TOO_COMPLICATED: &str = "QUERY_TOO_COMPLICATED";
    pub(crate) const SEMIJOIN: &str = "EXCEEDED_MAX_SEMIJOIN_SUBSELECTS";
}

/// Characters of the query shown before and after the fault.
const EXCERPT_CHARS: usize = 40;

impl SoqlError {
    /// An error without a position.
    fn plain(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// An error at byte `offset` of `text`: excerpt of that line, caret, row and column (from 1), then `what`.
    fn at(text: &str, offset: usize, code: &'static str, what: &str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let after = text.get(offset..).unwrap_or("");
        let row = before.matches('\n').count() + 1;
        let line_head = before.rsplit('\n').next().unwrap_or("");
        let column = line_head.chars().count() + 1;

        let head = tail_words(line_head);
        let tail: String = after
            .chars()
            .take_while(|c| *c != '\n')
            .take(EXCERPT_CHARS)
            .collect();
        let indent = " ".repeat(head.chars().count());
        let message =
            format!("\n{head}{tail}\n{indent}^\nERROR at Row:{row}:Column:{column}\n{what}");
        Self { code, message }
    }
}

/// The end of a line, at most [`EXCERPT_CHARS`] long and, where it had to be cut, starting with a whole word.
fn tail_words(line: &str) -> &str {
    let Some((cut, _)) = line
        .char_indices()
        .rev()
        .nth(EXCERPT_CHARS - 1)
        .filter(|(at, _)| *at > 0)
    else {
        return line;
    };
    let tail = line.get(cut..).unwrap_or(line);
    tail.find(' ')
        .and_then(|space| tail.get(space + 1..))
        .unwrap_or(tail)
}
