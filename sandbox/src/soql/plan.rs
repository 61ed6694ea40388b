//! A statement bound to an org: names resolved, literals normalised, ready to be asked about rows.
//!
//! Logic has two values. A comparison with a null row value is false, except `= null`, `!=` and `NOT IN`, which keep
//! null rows; `NOT` turns the answer of its term around, so `NOT (Field = 'x')` keeps null rows too.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::str::Chars;

use chrono::{DateTime, Datelike, NaiveDate, Utc};

use super::ast::{Condition, Glob, Literal, Operator, Order, Path, Query, Select};
use super::{
    FieldInfo, FieldKind, MAX_FIELDS_LIMIT, MAX_RELATIONSHIP_STEPS, Row, Schema, SoqlError, Value,
    code,
};

/// Days from the first of January of year 1, which counts as day 1, to the Unix epoch.
const EPOCH_DAY: i64 = 719_163;
const DAY_SECS: i64 = 86_400;
/// The part of an id that identifies; the other three characters are a checksum of its case.
const ID_CHARS: usize = 15;

type IdKey = [u8; ID_CHARS];

/// A query that the org can run.
#[derive(Clone, Debug)]
pub struct Plan {
    object: String,
    columns: Vec<Vec<String>>,
    count: bool,
    filter: Option<Test>,
    order: Vec<SortKey>,
    limit: Option<u64>,
    offset: Option<u64>,
}

/// A condition with canonical paths and prepared operands.
#[derive(Clone, Debug)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Compare {
        path: Vec<String>,
        operator: Operator,
        operand: Operand,
    },
    Within {
        path: Vec<String>,
        negated: bool,
        null: bool,
        members: Members,
    },
    Like {
        path: Vec<String>,
        pattern: Vec<Glob>,
        exact: bool,
    },
}

/// A literal in the form in which it is compared.
#[derive(Clone, Debug)]
enum Operand {
    Null,
    Bool(bool),
    Number(f64),
    /// Text without regard to case, folded.
    Folded(String),
    Exact(String),
    Id(IdKey),
    /// Unix seconds, both ends included; the ends differ for date literals such as `TODAY`.
    Instants {
        first: i64,
        last: i64,
    },
    /// Days of the common era, both ends included.
    Days {
        first: i64,
        last: i64,
    },
}

/// The values of an `IN` list, arranged for look-up where lists get long.
#[derive(Clone, Debug)]
enum Members {
    Folded(HashSet<String>),
    Exact(HashSet<String>),
    Ids(HashSet<IdKey>),
    Few(Vec<Operand>),
}

#[derive(Clone, Debug)]
struct SortKey {
    path: Vec<String>,
    kind: FieldKind,
    descending: bool,
    nulls_last: bool,
}

impl Query {
    /// Binds the statement to an org.
    ///
    /// # Errors
    ///
    /// `INVALID_TYPE` for an unknown object; `INVALID_FIELD` for a column or relationship that is unknown or hidden, is
    /// selected twice, cannot be filtered or sorted, or is compared with a literal of another type;
    /// `INVALID_QUERY_FILTER_OPERATOR` for an operator its type does not have and for text that is no id;
    /// `MALFORMED_QUERY` for `FIELDS(ALL)` without a small `LIMIT` and for `COUNT()` with `ORDER BY`.
    pub fn check(&self, schema: &dyn Schema) -> Result<Plan, SoqlError> {
        let Some(object) = schema.object(&self.from) else {
            let what = format!(
                "sObject type '{}' is not supported. If you are attempting to use a custom object, be sure to append \
                 the '__c' after the entity name. Please reference your WSDL or the describe call for the appropriate \
                 names.",
                self.from
            );
            return Err(SoqlError::at(
                &self.text,
                self.from_at,
                code::INVALID_TYPE,
                &what,
            ));
        };
        let binder = Binder {
            query: self,
            schema,
            object: &object,
        };
        let columns = binder.columns()?;
        let filter = self
            .filter
            .as_ref()
            .map(|condition| binder.test(condition))
            .transpose()?;
        let order = self
            .order
            .iter()
            .map(|key| binder.sort_key(key))
            .collect::<Result<Vec<_>, _>>()?;
        let count = matches!(self.select, Select::Count);
        if let (true, Some(key)) = (count, self.order.first()) {
            let what = "ORDER BY is not allowed with COUNT()";
            return Err(SoqlError::at(
                &self.text,
                key.path.at,
                code::MALFORMED_QUERY,
                what,
            ));
        }
        Ok(Plan {
            object,
            columns,
            count,
            filter,
            order,
            limit: self.limit,
            offset: self.offset,
        })
    }
}

/// What a statement is checked with.
struct Binder<'a> {
    query: &'a Query,
    schema: &'a dyn Schema,
    /// Canonical name of the object after `FROM`.
    object: &'a str,
}

impl Binder<'_> {
    fn columns(&self) -> Result<Vec<Vec<String>>, SoqlError> {
        match &self.query.select {
            Select::Count => Ok(Vec::new()),
            Select::All { at } => {
                if self
                    .query
                    .limit
                    .is_none_or(|limit| limit > MAX_FIELDS_LIMIT)
                {
                    let what = format!(
                        "The SOQL FIELDS function must have a LIMIT of at most {MAX_FIELDS_LIMIT}"
                    );
                    return Err(SoqlError::plain(code::MALFORMED_QUERY, what));
                }
                let fields = self.schema.fields(self.object);
                if fields.is_empty() {
                    let what = format!(
                        "The SOQL FIELDS function is not supported on entity '{}'",
                        self.object
                    );
                    return Err(self.fault(*at, code::MALFORMED_QUERY, &what));
                }
                Ok(fields.into_iter().map(|field| vec![field]).collect())
            }
            Select::Fields(paths) => {
                let mut seen = HashSet::with_capacity(paths.len());
                let mut columns = Vec::with_capacity(paths.len());
                for path in paths {
                    let (column, _) = self.resolve(path)?;
                    if !seen.insert(column.clone()) {
                        let what = format!("duplicate field selected: {}", column.join("."));
                        return Err(self.fault(path.at, code::INVALID_FIELD, &what));
                    }
                    columns.push(column);
                }
                Ok(columns)
            }
        }
    }

    /// The canonical form of a path, and the field at its end.
    fn resolve(&self, path: &Path) -> Result<(Vec<String>, FieldInfo), SoqlError> {
        let mut segments = path.segments.as_slice();
        if let [head, _, ..] = segments {
            let alias = self.query.alias.as_deref();
            if alias.is_some_and(|alias| alias.eq_ignore_ascii_case(head))
                || self.object.eq_ignore_ascii_case(head)
            {
                segments = segments.get(1..).unwrap_or(segments);
            }
        }
        let Some((last, steps)) = segments.split_last() else {
            return Err(self.fault(path.at, code::MALFORMED_QUERY, "unexpected token: '.'"));
        };
        if steps.len() > MAX_RELATIONSHIP_STEPS {
            let what = format!(
                "a field path cannot have more than {MAX_RELATIONSHIP_STEPS} relationship levels"
            );
            return Err(self.fault(path.at, code::MALFORMED_QUERY, &what));
        }
        let mut entity = self.object.to_owned();
        let mut canonical = Vec::with_capacity(segments.len());
        for step in steps {
            let Some((target, foreign_key)) = self.schema.relationship(&entity, step) else {
                let what = format!(
                    "Didn't understand relationship '{step}' in field path. If you are attempting to use a custom \
                     relationship, be sure to append the '__r' after the custom relationship name. Please reference \
                     your WSDL or the describe call for the appropriate names."
                );
                return Err(self.fault(path.at, code::INVALID_FIELD, &what));
            };
            canonical.push(relationship_name(step, &foreign_key));
            entity = target;
        }
        let Some(field) = self.schema.field(&entity, last) else {
            let what = format!(
                "No such column '{last}' on entity '{entity}'. If you are attempting to use a custom field, be sure \
                 to append the '__c' after the custom field name. Please reference your WSDL or the describe call for \
                 the appropriate names."
            );
            return Err(self.fault(path.at, code::INVALID_FIELD, &what));
        };
        canonical.push(field.name.clone());
        Ok((canonical, field))
    }

    fn filterable(&self, path: &Path) -> Result<(Vec<String>, FieldInfo), SoqlError> {
        let (canonical, field) = self.resolve(path)?;
        if !field.filterable {
            let what = format!("field '{}' can not be filtered in a query call", field.name);
            return Err(self.fault(path.at, code::INVALID_FIELD, &what));
        }
        Ok((canonical, field))
    }

    fn sort_key(&self, order: &Order) -> Result<SortKey, SoqlError> {
        let (path, field) = self.resolve(&order.path)?;
        if !field.sortable {
            let what = format!("field '{}' can not be sorted in a query call", field.name);
            return Err(self.fault(order.path.at, code::INVALID_FIELD, &what));
        }
        Ok(SortKey {
            path,
            kind: field.kind,
            descending: order.descending,
            nulls_last: order.nulls_last,
        })
    }

    fn test(&self, condition: &Condition) -> Result<Test, SoqlError> {
        let several = |terms: &[Condition]| {
            terms
                .iter()
                .map(|term| self.test(term))
                .collect::<Result<Vec<_>, _>>()
        };
        match condition {
            Condition::All(terms) => Ok(Test::All(several(terms)?)),
            Condition::Any(terms) => Ok(Test::Any(several(terms)?)),
            Condition::Not(term) => Ok(Test::Not(Box::new(self.test(term)?))),
            Condition::Compare {
                path: written,
                operator,
                literal,
            } => {
                let (path, field) = self.filterable(written)?;
                let operand = self.operand(written, &field, literal)?;
                let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
                if !equality && matches!(operand, Operand::Null | Operand::Bool(_)) {
                    return Err(self.invalid_operator(written, &field));
                }
                // The platform has no empty text: comparing with it means comparing with null.
                let empty = matches!(&operand, Operand::Folded(text) | Operand::Exact(text) if text.is_empty());
                let operand = if equality && empty {
                    Operand::Null
                } else {
                    operand
                };
                Ok(Test::Compare {
                    path,
                    operator: *operator,
                    operand,
                })
            }
            Condition::Within {
                path: written,
                negated,
                literals,
            } => {
                let (path, field) = self.filterable(written)?;
                let mut operands = Vec::with_capacity(literals.len());
                for literal in literals {
                    operands.push(self.operand(written, &field, literal)?);
                }
                let blank = |operand: &Operand| match operand {
                    Operand::Null => true,
                    Operand::Folded(text) | Operand::Exact(text) => text.is_empty(),
                    _ => false,
                };
                let null = operands.iter().any(blank);
                operands.retain(|operand| !blank(operand));
                Ok(Test::Within {
                    path,
                    negated: *negated,
                    null,
                    members: members(field.kind, operands),
                })
            }
            Condition::Like {
                path: written,
                pattern,
            } => {
                let (path, field) = self.filterable(written)?;
                let exact = field.kind == FieldKind::CaseSensitiveText;
                if !matches!(
                    field.kind,
                    FieldKind::Text | FieldKind::CaseSensitiveText | FieldKind::Any
                ) {
                    return Err(self.invalid_operator(written, &field));
                }
                let prepared = |glob: &Glob| match *glob {
                    Glob::Exactly(c) if !exact => Glob::Exactly(fold(c)),
                    glob => glob,
                };
                Ok(Test::Like {
                    path,
                    pattern: pattern.iter().map(prepared).collect(),
                    exact,
                })
            }
        }
    }

    fn operand(
        &self,
        path: &Path,
        field: &FieldInfo,
        literal: &Literal,
    ) -> Result<Operand, SoqlError> {
        let operand = match (field.kind, literal) {
            (_, Literal::Null) => Operand::Null,
            (FieldKind::Id | FieldKind::Reference, Literal::Text(text)) if text.is_empty() => {
                Operand::Null
            }
            (FieldKind::Id | FieldKind::Reference, Literal::Text(text)) => {
                let Some(id) = id_key(text) else {
                    let what = format!("invalid ID field: {text}");
                    return Err(self.fault(path.at, code::INVALID_OPERATOR, &what));
                };
                Operand::Id(id)
            }
            (FieldKind::Boolean | FieldKind::Any, Literal::Bool(value)) => Operand::Bool(*value),
            (FieldKind::Number | FieldKind::Any, Literal::Number(value)) => Operand::Number(*value),
            (FieldKind::Text | FieldKind::Any, Literal::Text(text)) => {
                Operand::Folded(folded(text))
            }
            (FieldKind::CaseSensitiveText, Literal::Text(text)) => Operand::Exact(text.clone()),
            (FieldKind::DateTime | FieldKind::Any, Literal::DateTime(moment)) => {
                let second = moment.timestamp();
                Operand::Instants {
                    first: second,
                    last: second,
                }
            }
            (FieldKind::Date | FieldKind::Any, Literal::Date(day)) => {
                let day = day_number(*day);
                Operand::Days {
                    first: day,
                    last: day,
                }
            }
            (FieldKind::Date | FieldKind::DateTime, Literal::Days { first, last }) => {
                let Some(now) = self.schema.now() else {
                    let what = "date literals are not supported: the org has no clock";
                    return Err(self.fault(path.at, code::MALFORMED_QUERY, what));
                };
                let today = day_number(now.date_naive());
                let (first, last) = (today + first, today + last);
                if field.kind == FieldKind::Date {
                    Operand::Days { first, last }
                } else {
                    Operand::Instants {
                        first: midnight(first),
                        last: midnight(last + 1) - 1,
                    }
                }
            }
            (kind, _) => {
                let (name, quoted) = match kind {
                    FieldKind::Id
                    | FieldKind::Reference
                    | FieldKind::Text
                    | FieldKind::CaseSensitiveText => ("string", "should be enclosed in quotes"),
                    FieldKind::Boolean => ("boolean", "should not be enclosed in quotes"),
                    FieldKind::DateTime => ("dateTime", "should not be enclosed in quotes"),
                    FieldKind::Date => ("date", "should not be enclosed in quotes"),
                    FieldKind::Number => ("double", "should not be enclosed in quotes"),
                    FieldKind::Any => ("anyType", "should not be a date literal"),
                };
                let what = format!(
                    "value of filter criterion for field '{}' must be of type {name} and {quoted}",
                    field.name
                );
                return Err(self.fault(path.at, code::INVALID_FIELD, &what));
            }
        };
        Ok(operand)
    }

    fn invalid_operator(&self, path: &Path, field: &FieldInfo) -> SoqlError {
        let name = match field.kind {
            FieldKind::Id | FieldKind::Reference => "id",
            FieldKind::Boolean => "boolean",
            FieldKind::Text | FieldKind::CaseSensitiveText => "string",
            FieldKind::DateTime => "datetime",
            FieldKind::Date => "date",
            FieldKind::Number => "double",
            FieldKind::Any => "anyType",
        };
        self.fault(
            path.at,
            code::INVALID_OPERATOR,
            &format!("invalid operator on {name} field"),
        )
    }

    fn fault(&self, at: usize, code: &'static str, what: &str) -> SoqlError {
        SoqlError::at(&self.query.text, at, code, what)
    }
}

/// The canonical spelling of a relationship: its foreign key without `Id`, or with `__r` for `__c`, where that is the
/// same name in another case; otherwise as written.
fn relationship_name(written: &str, foreign_key: &str) -> String {
    let custom = foreign_key
        .strip_suffix("__c")
        .map(|stem| format!("{stem}__r"));
    let standard = foreign_key.strip_suffix("Id").map(str::to_owned);
    custom
        .or(standard)
        .filter(|name| name.eq_ignore_ascii_case(written))
        .unwrap_or_else(|| written.to_owned())
}

fn members(kind: FieldKind, operands: Vec<Operand>) -> Members {
    match kind {
        FieldKind::Text => Members::Folded(
            operands
                .into_iter()
                .filter_map(Operand::into_text)
                .collect(),
        ),
        FieldKind::CaseSensitiveText => Members::Exact(
            operands
                .into_iter()
                .filter_map(Operand::into_text)
                .collect(),
        ),
        FieldKind::Id | FieldKind::Reference => Members::Ids(
            operands
                .into_iter()
                .filter_map(|operand| {
                    if let Operand::Id(id) = operand {
                        Some(id)
                    } else {
                        None
                    }
                })
                .collect(),
        ),
        FieldKind::Boolean
        | FieldKind::DateTime
        | FieldKind::Date
        | FieldKind::Number
        | FieldKind::Any => Members::Few(operands),
    }
}

impl Plan {
    /// Canonical name of the object that is read.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Canonical paths of the selected fields, in `SELECT` order; empty for `COUNT()`.
    pub fn columns(&self) -> &[Vec<String>] {
        &self.columns
    }

    /// Whether the answer is only the number of rows.
    pub fn is_count(&self) -> bool {
        self.count
    }

    /// Whether a row satisfies the `WHERE` clause.
    pub fn matches(&self, row: &dyn Row) -> bool {
        self.filter.as_ref().is_none_or(|test| test.matches(row))
    }

    /// Applies `ORDER BY` (ascending and nulls first unless said otherwise), then `OFFSET` and `LIMIT`.
    ///
    /// Rows that tie keep the order they came in; the vendor promises no order for them.
    pub fn sort_limit<R: Row>(&self, rows: &mut Vec<R>) {
        let count = |wanted: Option<u64>| wanted.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let offset = count(self.offset).unwrap_or(0).min(rows.len());
        let end = count(self.limit).map_or(rows.len(), |limit| {
            offset.saturating_add(limit).min(rows.len())
        });
        if self.order.is_empty() {
            rows.truncate(end);
            rows.drain(..offset);
            return;
        }
        let keys: Vec<Key> = rows
            .iter()
            .flat_map(|row| {
                self.order
                    .iter()
                    .map(|key| Key::new(key.kind, row.get(&key.path)))
            })
            .collect();
        let width = self.order.len();
        let compare = |a: &usize, b: &usize| {
            let keys_of = |row: usize| keys.get(row * width..(row + 1) * width).unwrap_or_default();
            let by_key = self.order.iter().zip(keys_of(*a).iter().zip(keys_of(*b)));
            let unequal = by_key
                .map(|(key, (a, b))| key.compare(a, b))
                .find(|order| order.is_ne());
            unequal.unwrap_or_else(|| a.cmp(b))
        };
        let mut places: Vec<usize> = (0..rows.len()).collect();
        if end < places.len() {
            if end > 0 {
                places.select_nth_unstable_by(end - 1, compare);
            }
            places.truncate(end);
        }
        places.sort_unstable_by(compare);
        let mut taken: Vec<Option<R>> = std::mem::take(rows).into_iter().map(Some).collect();
        let chosen = places.get(offset..).unwrap_or_default();
        rows.extend(
            chosen
                .iter()
                .filter_map(|place| taken.get_mut(*place).and_then(Option::take)),
        );
    }

    /// The 18-character ids the `WHERE` clause pins `Id` to, sorted, or `None` if it does not.
    ///
    /// Every matching row is among them; not every one of them need match, nor exist.
    pub fn equality_ids(&self) -> Option<Vec<String>> {
        let mut ids: Vec<String> = self
            .filter
            .as_ref()?
            .pinned()?
            .iter()
            .map(with_checksum)
            .collect();
        ids.sort_unstable();
        Some(ids)
    }

    /// The greatest point in time of which it is sure that no matching row has an earlier value in `field`.
    ///
    /// `field` is a canonical name, or a dotted path. `None` if nothing is sure. Rows that are null in `field` never
    /// match a query that has a bound.
    pub fn lower_bound(&self, field: &str) -> Option<DateTime<Utc>> {
        let second = self.filter.as_ref()?.lower_bound(field)?;
        DateTime::from_timestamp(second, 0)
    }
}

impl Test {
    fn matches(&self, row: &dyn Row) -> bool {
        match self {
            Self::All(terms) => terms.iter().all(|term| term.matches(row)),
            Self::Any(terms) => terms.iter().any(|term| term.matches(row)),
            Self::Not(term) => !term.matches(row),
            Self::Compare {
                path,
                operator,
                operand,
            } => accepts(*operator, &row.get(path), operand),
            Self::Within {
                path,
                negated,
                null,
                members,
            } => {
                let value = row.get(path);
                let found = if is_null(&value) {
                    *null
                } else {
                    members.contain(&value)
                };
                found != *negated
            }
            Self::Like {
                path,
                pattern,
                exact,
            } => match row.get(path) {
                Value::Text(text) if !text.is_empty() => like(pattern, &text, *exact),
                _ => false,
            },
        }
    }

    /// The ids of all rows that can match, if the condition names them.
    fn pinned(&self) -> Option<HashSet<IdKey>> {
        let on_id = |path: &[String]| matches!(path, [only] if only == "Id");
        match self {
            Self::All(terms) => terms
                .iter()
                .filter_map(Self::pinned)
                .min_by_key(HashSet::len),
            Self::Any(terms) => terms.iter().try_fold(HashSet::new(), |mut all, term| {
                all.extend(term.pinned()?);
                Some(all)
            }),
            Self::Compare {
                path,
                operator: Operator::Equal,
                operand: Operand::Id(id),
            } if on_id(path) => Some(HashSet::from([*id])),
            Self::Within {
                path,
                negated: false,
                null: false,
                members: Members::Ids(ids),
            } if on_id(path) => Some(ids.clone()),
            _ => None,
        }
    }

    /// Unix seconds before which no matching row can be.
    fn lower_bound(&self, field: &str) -> Option<i64> {
        match self {
            Self::All(terms) => terms
                .iter()
                .filter_map(|term| term.lower_bound(field))
                .max(),
            Self::Any(terms) => terms
                .iter()
                .map(|term| term.lower_bound(field))
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .min(),
            Self::Compare {
                path,
                operator,
                operand: Operand::Instants { first, last },
            } if names(path, field) => {
                match operator {
                    Operator::Equal | Operator::GreaterOrEqual => Some(*first),
                    // Times compare in whole seconds, so "later" means the next second at least.
                    Operator::Greater => Some(*last + 1),
                    Operator::NotEqual | Operator::Less | Operator::LessOrEqual => None,
                }
            }
            Self::Within {
                path,
                negated: false,
                null: false,
                members: Members::Few(operands),
            } if names(path, field) => {
                let first = |operand: &Operand| match operand {
                    Operand::Instants { first, .. } => Some(*first),
                    _ => None,
                };
                operands
                    .iter()
                    .map(first)
                    .collect::<Option<Vec<_>>>()?
                    .into_iter()
                    .min()
            }
            // A negated term could be turned around, but no client asks for times that way.
            Self::Not(_) | Self::Compare { .. } | Self::Within { .. } | Self::Like { .. } => None,
        }
    }
}

/// Whether a canonical path is the one a dotted name stands for.
fn names(path: &[String], field: &str) -> bool {
    path.iter().map(String::as_str).eq(field.split('.'))
}

impl Operand {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Folded(text) | Self::Exact(text) => Some(text),
            _ => None,
        }
    }
}

impl Members {
    fn contain(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Folded(texts), Value::Text(text)) => texts.contains(&folded(text)),
            (Self::Exact(texts), Value::Text(text)) => texts.contains(text),
            (Self::Ids(ids), Value::Text(text)) => id_key(text).is_some_and(|id| ids.contains(&id)),
            (Self::Few(operands), value) => operands
                .iter()
                .any(|operand| accepts(Operator::Equal, value, operand)),
            _ => false,
        }
    }
}

fn accepts(operator: Operator, value: &Value, operand: &Operand) -> bool {
    let Some(order) = compare(value, operand) else {
        return operator == Operator::NotEqual;
    };
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::NotEqual => order.is_ne(),
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        Operator::GreaterOrEqual => order.is_ge(),
    }
}

/// How a row's value lies to an operand; `None` if one is null and the other is not, or if their types differ.
fn compare(value: &Value, operand: &Operand) -> Option<Ordering> {
    match (value, operand) {
        (value, Operand::Null) => is_null(value).then_some(Ordering::Equal),
        (Value::Bool(value), Operand::Bool(wanted)) => Some(value.cmp(wanted)),
        (Value::Number(value), Operand::Number(wanted)) => value.partial_cmp(wanted),
        (Value::Text(text), _) if text.is_empty() => None,
        (Value::Text(text), Operand::Folded(wanted)) => {
            Some(text.chars().map(fold).cmp(wanted.chars()))
        }
        (Value::Text(text), Operand::Exact(wanted)) => Some(text.cmp(wanted)),
        (Value::Text(text), Operand::Id(wanted)) => id_key(text).map(|id| id.cmp(wanted)),
        (Value::DateTime(moment), Operand::Instants { first, last }) => {
            Some(against_span(moment.timestamp(), *first, *last))
        }
        (Value::Date(day), Operand::Days { first, last }) => {
            Some(against_span(day_number(*day), *first, *last))
        }
        _ => None,
    }
}

/// Before the span, in it (equal), or after it.
fn against_span(value: i64, first: i64, last: i64) -> Ordering {
    if value < first {
        Ordering::Less
    } else if value > last {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

fn is_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        _ => false,
    }
}

/// A value as `ORDER BY` sees it. The order of variants only keeps mixed columns in a total order.
#[derive(Clone, Debug)]
enum Key {
    Null,
    Bool(bool),
    Number(f64),
    Whole(i64),
    Id(IdKey),
    Text(String),
}

impl Key {
    fn new(kind: FieldKind, value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Text(text) if text.is_empty() => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(value) => Self::Number(value),
            Value::DateTime(moment) => Self::Whole(moment.timestamp()),
            Value::Date(day) => Self::Whole(midnight(day_number(day))),
            Value::Text(text) => match kind {
                FieldKind::Id | FieldKind::Reference => {
                    id_key(&text).map_or(Self::Text(text), Self::Id)
                }
                FieldKind::CaseSensitiveText => Self::Text(text),
                _ => Self::Text(folded(&text)),
            },
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Whole(_) => 3,
            Self::Id(_) => 4,
            Self::Text(_) => 5,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Whole(a), Self::Whole(b)) => a.cmp(b),
            (Self::Id(a), Self::Id(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl SortKey {
    /// Nulls stand where they are asked to stand, whatever the direction.
    fn compare(&self, a: &Key, b: &Key) -> Ordering {
        let null_side = if self.nulls_last {
            Ordering::Greater
        } else {
            Ordering::Less
        };
        match (a, b) {
            (Key::Null, Key::Null) => Ordering::Equal,
            (Key::Null, _) => null_side,
            (_, Key::Null) => null_side.reverse(),
            _ if self.descending => b.compare(a),
            _ => a.compare(b),
        }
    }
}

/// One character without its case; the rare ones whose lower case is longer stay as they are.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

fn folded(text: &str) -> String {
    if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.chars().map(fold).collect()
    }
}

/// Whether a text follows a `LIKE` pattern (folded, unless case counts).
///
/// Falls back to the last `%` only, which is enough and keeps the effort below length of text × length of pattern.
fn like(pattern: &[Glob], text: &str, exact: bool) -> bool {
    let mut chars = text.chars();
    let mut at = 0;
    let mut fallback: Option<(usize, Chars<'_>)> = None;
    loop {
        let glob = pattern.get(at);
        if glob == Some(&Glob::Run) {
            at += 1;
            fallback = Some((at, chars.clone()));
            continue;
        }
        let mut ahead = chars.clone();
        let step = match (glob, ahead.next()) {
            (None, None) => return true,
            (Some(Glob::One), Some(_)) => true,
            (Some(Glob::Exactly(wanted)), Some(c)) => *wanted == if exact { c } else { fold(c) },
            _ => false,
        };
        if step {
            at += 1;
            chars = ahead;
            continue;
        }
        // One more character goes to the run; once the text is used up there is nothing left to try.
        let Some((resume, swallowed)) = fallback.as_mut() else {
            return false;
        };
        if swallowed.next().is_none() {
            return false;
        }
        at = *resume;
        chars = swallowed.clone();
    }
}

/// The identifying part of an id of 15 or 18 characters; `None` if the text is no id.
fn id_key(text: &str) -> Option<IdKey> {
    let bytes = text.as_bytes();
    if !matches!(bytes.len(), 15 | 18) || !bytes.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    bytes.first_chunk().copied()
}

/// The 18-character form: each of three characters says which of five are upper case.
fn with_checksum(id: &IdKey) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let mut text: String = id.iter().map(|byte| char::from(*byte)).collect();
    for chunk in id.chunks(5) {
        let upper = |bits: usize, byte: &u8| bits << 1 | usize::from(byte.is_ascii_uppercase());
        let bits = chunk.iter().rev().fold(0, upper);
        text.extend(ALPHABET.get(bits).map(|byte| char::from(*byte)));
    }
    text
}

/// Days of the common era.
fn day_number(day: NaiveDate) -> i64 {
    i64::from(day.num_days_from_ce())
}

/// Unix seconds at which a day begins.
fn midnight(day: i64) -> i64 {
    (day - EPOCH_DAY) * DAY_SECS
}
