//! What a statement says, before anything is known of the org.

use chrono::{DateTime, NaiveDate, Utc};

pub(super) use super::lexer::Operator;

/// A statement that is well formed; nothing in it has been compared with an org yet.
#[derive(Clone, Debug)]
pub struct Query {
    /// The statement as it came, for messages.
    pub(super) text: String,
    pub(super) select: Select,
    pub(super) from: String,
    pub(super) from_at: usize,
    pub(super) alias: Option<String>,
    pub(super) filter: Option<Condition>,
    pub(super) order: Vec<Order>,
    pub(super) limit: Option<u64>,
    pub(super) offset: Option<u64>,
}

impl Query {
    /// The object after `FROM`, as written.
    pub fn object(&self) -> &str {
        &self.from
    }

    /// The `LIMIT`, if there is one.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The `OFFSET`, if there is one; Bulk API 2.0 refuses queries that have it.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }
}

#[derive(Clone, Debug)]
pub(super) enum Select {
    /// `COUNT()`.
    Count,
    /// `FIELDS(ALL)`, at this byte offset.
    All {
        at: usize,
    },
    Fields(Vec<Path>),
}

/// A dotted field path as written, and the byte offset it starts at.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) at: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// Terms joined by `AND`; at least two.
    All(Vec<Condition>),
    /// Terms joined by `OR`; at least two.
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Compare {
        path: Path,
        operator: Operator,
        literal: Literal,
    },
    Within {
        path: Path,
        negated: bool,
        literals: Vec<Literal>,
    },
    Like {
        path: Path,
        pattern: Vec<Glob>,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    DateTime(DateTime<Utc>),
    Date(NaiveDate),
    /// A date literal such as `TODAY`, as a span of whole days counted from the current one: `[first, last]`.
    Days {
        first: i64,
        last: i64,
    },
}

/// One element of a `LIKE` pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Glob {
    /// `%`: any run of characters, also none.
    Run,
    /// `_`: exactly one character.
    One,
    Exactly(char),
}

#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) path: Path,
    pub(super) descending: bool,
    pub(super) nulls_last: bool,
}
