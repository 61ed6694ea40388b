//! Filters of a Retrieve: simple parts, and complex ones that join two.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone, Utc};

use super::rows::{Object, Row, Value, value, zone};
use super::xml::Element;
use crate::marketing_cloud::state::{Place, State};

/// Deepest nesting of complex parts.
const MAX_DEPTH: usize = 32;

/// A filter, its names known.
#[derive(Debug)]
pub(super) enum Filter {
    Simple {
        property: &'static str,
        operator: Operator,
        values: Vec<String>,
    },
    Both(Box<Filter>, Box<Filter>),
    Either(Box<Filter>, Box<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equals,
    NotEquals,
    GreaterThan,
    LessThan,
    GreaterThanOrEqual,
    LessThanOrEqual,
    IsNull,
    IsNotNull,
    In,
    Between,
    Like,
}

impl Operator {
    fn named(name: &str) -> Option<Operator> {
        Some(match name {
            "equals" => Operator::Equals,
            "notEquals" => Operator::NotEquals,
            "greaterThan" => Operator::GreaterThan,
            "lessThan" => Operator::LessThan,
            "greaterThanOrEqual" => Operator::GreaterThanOrEqual,
            "lessThanOrEqual" => Operator::LessThanOrEqual,
            "isNull" => Operator::IsNull,
            "isNotNull" => Operator::IsNotNull,
            "IN" => Operator::In,
            "between" => Operator::Between,
            "like" => Operator::Like,
            _ => return None,
        })
    }

    /// Whether it can have so many values.
    fn takes(self, values: usize) -> bool {
        match self {
            Operator::IsNull | Operator::IsNotNull => values == 0,
            Operator::In => values > 0,
            Operator::Between => values == 2,
            _ => values == 1,
        }
    }
}

impl Filter {
    /// Reads a filter of an object; the error is in the vendor's way of saying it.
    pub(super) fn read(state: &State, object: Object, part: &Element) -> Result<Filter, String> {
        Filter::part(state, object, part, 0)
    }

    fn part(state: &State, object: Object, part: &Element, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err("The filter is nested too deeply.".to_owned());
        }
        match part.kind.as_deref() {
            Some("SimpleFilterPart") => Filter::simple(state, object, part),
            Some("ComplexFilterPart") => {
                let side = |name: &str| match part.first(name) {
                    Some(side) => Filter::part(state, object, side, depth + 1).map(Box::new),
                    None => Err(format!("The filter has no {name}.")),
                };
                let (left, right) = (side("LeftOperand")?, side("RightOperand")?);
                match part.value("LogicalOperator") {
                    Some("AND") => Ok(Filter::Both(left, right)),
                    Some("OR") => Ok(Filter::Either(left, right)),
                    _ => Err("The LogicalOperator is neither AND nor OR.".to_owned()),
                }
            }
            _ => Err("The type of the filter is not supported.".to_owned()),
        }
    }

    fn simple(state: &State, object: Object, part: &Element) -> Result<Filter, String> {
        let name = part.value("Property").unwrap_or_default();
        let property = object.property(state, name).ok_or_else(|| {
            let object = object.name();
            format!("The Filter Property '{name}' does not match with the fields of {object}.")
        })?;
        let name = part.value("SimpleOperator").unwrap_or_default();
        let operator = Operator::named(name)
            .ok_or_else(|| format!("The SimpleOperator '{name}' is not supported."))?;
        let plain = part.all("Value").chain(part.all("DateValue"));
        let values: Vec<String> = plain.map(|value| value.text.trim().to_owned()).collect();
        if !operator.takes(values.len()) {
            let count = values.len();
            return Err(format!(
                "The SimpleOperator '{name}' cannot have {count} values."
            ));
        }
        if let Some(most) = state.settings.in_values
            && values.len() > most
        {
            return Err(format!("A filter can have at most {most} values."));
        }
        Ok(Filter::Simple {
            property,
            operator,
            values,
        })
    }

    /// The subscribers that can pass, when the filter asks for keys.
    pub(super) fn places(&self, state: &State) -> Option<Vec<Place>> {
        match self {
            Filter::Simple {
                property: "SubscriberKey",
                operator: Operator::Equals | Operator::In,
                values,
            } => {
                let places = values.iter().filter_map(|key| state.place(key));
                let mut places: Vec<Place> = places.collect();
                places.sort_unstable();
                places.dedup();
                Some(places)
            }
            Filter::Both(left, right) => left.places(state).or_else(|| right.places(state)),
            _ => None,
        }
    }

    /// Whether a row passes.
    pub(super) fn passes(&self, state: &State, row: Row) -> bool {
        match self {
            Filter::Both(left, right) => left.passes(state, row) && right.passes(state, row),
            Filter::Either(left, right) => left.passes(state, row) || right.passes(state, row),
            Filter::Simple {
                property,
                operator,
                values,
            } => value(state, row, property)
                .is_some_and(|found| holds(state, &found, *operator, values)),
        }
    }
}

fn holds(state: &State, found: &Value, operator: Operator, values: &[String]) -> bool {
    let null = *found == Value::Null;
    match operator {
        Operator::IsNull => return null,
        Operator::IsNotNull => return !null,
        _ if null => return false,
        _ => {}
    }
    let order = |wanted: &String| compare(state, found, wanted);
    let first = values.first().and_then(order);
    match operator {
        Operator::Equals => first == Some(Ordering::Equal),
        Operator::NotEquals => first != Some(Ordering::Equal),
        Operator::GreaterThan => first == Some(Ordering::Greater),
        Operator::LessThan => first == Some(Ordering::Less),
        Operator::GreaterThanOrEqual => first.is_some_and(Ordering::is_ge),
        Operator::LessThanOrEqual => first.is_some_and(Ordering::is_le),
        Operator::In => values.iter().any(|one| order(one) == Some(Ordering::Equal)),
        Operator::Between => {
            let second = values.get(1).and_then(order);
            first.is_some_and(Ordering::is_ge) && second.is_some_and(Ordering::is_le)
        }
        Operator::Like => match (found, values.first()) {
            (Value::Text(text), Some(wanted)) => like(&text.to_lowercase(), &wanted.to_lowercase()),
            _ => false,
        },
        Operator::IsNull | Operator::IsNotNull => false,
    }
}

/// Per cent signs stand for anything; without any, the text may stand anywhere.
fn like(text: &str, wanted: &str) -> bool {
    match (wanted.strip_prefix('%'), wanted.strip_suffix('%')) {
        (None, Some(start)) => text.starts_with(start),
        (Some(end), None) => text.ends_with(end),
        _ => text.contains(wanted.trim_matches('%')),
    }
}

/// `None` when the two cannot be compared.
fn compare(state: &State, found: &Value, wanted: &str) -> Option<Ordering> {
    match found {
        Value::Text(text) => Some(text.to_lowercase().cmp(&wanted.to_lowercase())),
        Value::Number(number) => Some(number.cmp(&wanted.parse().ok()?)),
        Value::Time(at) => Some(at.cmp(&read_time(state, wanted)?)),
        Value::Null => None,
    }
}

/// A time with its zone, or a bare one, which is in the account's.
fn read_time(state: &State, text: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    let bare = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
        .ok()
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            day.and_hms_opt(0, 0, 0)
        })?;
    let at = zone(state)?.from_local_datetime(&bare).single()?;
    Some(at.to_utc())
}
