//! What the operators of a filter mean, for the kind of column that they stand behind (archive restriction types).

use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use super::filter::{Term, Value};
use super::tables::{Cell, Kind};

/// The zone and the time in which a filter is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) now: DateTime<Utc>,
    /// Minutes east of UTC.
    pub(crate) offset_minutes: i32,
    /// Columns of type date take operators with a time of day.
    pub(crate) dates_take_times: bool,
}

/// A restriction, ready to be asked.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Numbers(HashSet<i64>, bool),
    Between(i64, i64),
    Below(i64),
    Above(i64),
    Texts(HashSet<String>, bool),
    Begins(String, bool),
    Ends(String),
    Contains(String, bool),
    TextBetween(String, String),
    Truth(bool),
    /// At or after the first, before the second.
    Times(Option<DateTime<Utc>>, Option<DateTime<Utc>>),
}

/// The restriction as a test, or why this column does not take it.
pub(crate) fn test(term: &Term, kind: Kind, when: &When) -> Result<Test, String> {
    let made = match kind {
        Kind::Int => int(term),
        Kind::List => list(term).or_else(|| int(term)),
        Kind::Associate => associate(term).or_else(|| int(term)),
        Kind::Text => text(term),
        Kind::Bool => truth(term),
        Kind::Date => time(term, when, when.dates_take_times),
        Kind::DateTime => time(term, when, true),
    };
    made.ok_or_else(|| {
        format!(
            "operator {:?} with {} values does not apply to column {:?}",
            term.operator,
            term.values.len(),
            term.column
        )
    })
}

fn one(term: &Term) -> Option<&Value> {
    match term.values.as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

fn numbers(term: &Term) -> Option<HashSet<i64>> {
    let all: Option<HashSet<i64>> = term.values.iter().map(Value::number).collect();
    all.filter(|all| !all.is_empty())
}

/// Operators of numbers. "At most" and "at least" are in the documentation, and fail.
fn int(term: &Term) -> Option<Test> {
    let number = || one(term).and_then(Value::number);
    match term.operator.as_str() {
        "=" | "eq" | "equals" | "set" => {
            number().map(|number| Test::Numbers(HashSet::from([number]), true))
        }
        "ne" | "unequals" | "!=" | "<>" => {
            number().map(|number| Test::Numbers(HashSet::from([number]), false))
        }
        "lt" | "less" | "<" => number().map(Test::Below),
        "gt" | "greater" | ">" => number().map(Test::Above),
        "in" => numbers(term).map(|all| Test::Numbers(all, true)),
        "between" => match term.values.as_slice() {
            [low, high] => Some(Test::Between(low.number()?, high.number()?)),
            _ => None,
        },
        _ => None,
    }
}

fn list(term: &Term) -> Option<Test> {
    match term.operator.as_str() {
        "oneof" => numbers(term).map(|all| Test::Numbers(all, true)),
        "notoneof" => numbers(term).map(|all| Test::Numbers(all, false)),
        _ => None,
    }
}

fn associate(term: &Term) -> Option<Test> {
    match term.operator.as_str() {
        "associateisoneof" => numbers(term).map(|all| Test::Numbers(all, true)),
        "associateisnotoneof" => numbers(term).map(|all| Test::Numbers(all, false)),
        _ => None,
    }
}

fn text(term: &Term) -> Option<Test> {
    let lower = |value: &Value| value.text().to_lowercase();
    let text = || one(term).map(lower);
    match term.operator.as_str() {
        "is" | "eq" | "=" | "equals" => text().map(|text| Test::Texts(HashSet::from([text]), true)),
        "isnot" | "ne" | "!=" | "<>" => {
            text().map(|text| Test::Texts(HashSet::from([text]), false))
        }
        "begins" => text().map(|text| Test::Begins(text, true)),
        "notbegins" => text().map(|text| Test::Begins(text, false)),
        "ends" => text().map(Test::Ends),
        "contains" => text().map(|text| Test::Contains(text, true)),
        "notcontains" => text().map(|text| Test::Contains(text, false)),
        "in" if !term.values.is_empty() => {
            Some(Test::Texts(term.values.iter().map(lower).collect(), true))
        }
        "between" => match term.values.as_slice() {
            [low, high] => Some(Test::TextBetween(lower(low), lower(high))),
            _ => None,
        },
        _ => None,
    }
}

fn truth(term: &Term) -> Option<Test> {
    match term.operator.as_str() {
        "set" | "eq" | "=" | "equals" => one(term).and_then(Value::truth).map(Test::Truth),
        _ => None,
    }
}

/// A time of a filter; the vendor's own samples put a `Z` where others put the `T`.
fn instant(value: &Value, when: &When) -> Option<DateTime<Utc>> {
    let text = value.text().trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    let local = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%dZ%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
    ]
    .iter()
    .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
    .or_else(|| day(value).and_then(|day| day.and_hms_opt(0, 0, 0)))?;
    local
        .and_utc()
        .checked_sub_signed(TimeDelta::minutes(i64::from(when.offset_minutes)))
}

fn day(value: &Value) -> Option<NaiveDate> {
    let text = value.text().trim();
    NaiveDate::parse_from_str(text.get(..10)?, "%Y-%m-%d").ok()
}

fn time(term: &Term, when: &When, times: bool) -> Option<Test> {
    let midnight = |day: NaiveDate| {
        let at = day.and_hms_opt(0, 0, 0)?.and_utc();
        at.checked_sub_signed(TimeDelta::minutes(i64::from(when.offset_minutes)))
    };
    let the_day = || one(term).and_then(day);
    let after = |day: NaiveDate| day.checked_add_days(Days::new(1)).and_then(midnight);
    let moment = || {
        times
            .then(|| one(term).and_then(|value| instant(value, when)))
            .flatten()
    };
    match term.operator.as_str() {
        "aftertime" => Some(Test::Times(Some(moment()?), None)),
        "beforetime" => Some(Test::Times(None, Some(moment()?))),
        "datetime" => {
            let at = moment()?;
            Some(Test::Times(Some(at), Some(at + TimeDelta::seconds(1))))
        }
        "before" => Some(Test::Times(None, Some(midnight(the_day()?)?))),
        "beforeorequal" => Some(Test::Times(None, Some(after(the_day()?)?))),
        "after" => Some(Test::Times(Some(after(the_day()?)?), None)),
        "date" | "=" | "eq" | "equals" => {
            let day = the_day()?;
            Some(Test::Times(Some(midnight(day)?), Some(after(day)?)))
        }
        "datebetween" | "between" => match term.values.as_slice() {
            [low, high] => Some(Test::Times(
                Some(midnight(day(low)?)?),
                Some(after(day(high)?)?),
            )),
            _ => None,
        },
        named if term.values.is_empty() => {
            let offset = TimeDelta::minutes(i64::from(when.offset_minutes));
            let today = (when.now + offset).date_naive();
            let (from, until) = period(named, today)?;
            let from = match from {
                Some(day) => Some(midnight(day)?),
                None => None,
            };
            let until = match until {
                Some(day) => Some(midnight(day)?),
                None => None,
            };
            Some(Test::Times(from, until))
        }
        _ => None,
    }
}

/// First day of a named period, and the day after it.
fn period(name: &str, today: NaiveDate) -> Option<(Option<NaiveDate>, Option<NaiveDate>)> {
    let tomorrow = today.checked_add_days(Days::new(1))?;
    let yesterday = today.checked_sub_days(Days::new(1))?;
    let monday =
        today.checked_sub_days(Days::new(today.weekday().num_days_from_monday().into()))?;
    let week = Days::new(7);
    let month = today.with_day(1)?;
    let year = month.with_month(1)?;
    let span = |from: NaiveDate, until: NaiveDate| Some((Some(from), Some(until)));
    match name {
        "today" => span(today, tomorrow),
        "yesterday" => span(yesterday, today),
        "beforetoday" => Some((None, Some(today))),
        "aftertoday" => Some((Some(tomorrow), None)),
        "thisweek" => span(monday, monday.checked_add_days(week)?),
        "lastweek" => span(monday.checked_sub_days(week)?, monday),
        "nextweek" => {
            let next = monday.checked_add_days(week)?;
            span(next, next.checked_add_days(week)?)
        }
        "thismonth" => span(month, month.checked_add_months(Months::new(1))?),
        "lastmonth" => span(month.checked_sub_months(Months::new(1))?, month),
        "nextmonth" => {
            let next = month.checked_add_months(Months::new(1))?;
            span(next, next.checked_add_months(Months::new(1))?)
        }
        "thisyear" => span(year, year.checked_add_months(Months::new(12))?),
        "lastyear" => span(year.checked_sub_months(Months::new(12))?, year),
        _ => None,
    }
}

impl Test {
    /// Whether a value passes. What is not there passes nothing.
    pub(crate) fn passes(&self, cell: &Cell<'_>) -> bool {
        match (self, cell) {
            (Test::Numbers(all, wanted), cell) => cell
                .number()
                .is_some_and(|number| all.contains(&number) == *wanted),
            (Test::Between(low, high), cell) => cell
                .number()
                .is_some_and(|number| (*low..=*high).contains(&number)),
            (Test::Below(bound), cell) => cell.number().is_some_and(|number| number < *bound),
            (Test::Above(bound), cell) => cell.number().is_some_and(|number| number > *bound),
            (Test::Texts(all, wanted), Cell::Text(text)) => {
                all.contains(lower(text).as_ref()) == *wanted
            }
            (Test::Begins(part, wanted), Cell::Text(text)) => {
                lower(text).starts_with(part.as_str()) == *wanted
            }
            (Test::Ends(part), Cell::Text(text)) => lower(text).ends_with(part.as_str()),
            (Test::Contains(part, wanted), Cell::Text(text)) => {
                lower(text).contains(part.as_str()) == *wanted
            }
            (Test::TextBetween(low, high), Cell::Text(text)) => {
                let text = lower(text);
                text.as_ref() >= low.as_str() && text.as_ref() <= high.as_str()
            }
            (Test::Truth(wanted), Cell::Bool(truth)) => truth == wanted,
            // `MinValue` lies before everything.
            (Test::Times(from, until), Cell::Time(at)) => match at {
                Some(at) => {
                    from.is_none_or(|from| *at >= from) && until.is_none_or(|until| *at < until)
                }
                None => from.is_none(),
            },
            _ => false,
        }
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    let ready = text
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if ready {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn when() -> When {
        When {
            now: at("2026-01-19T11:02:07Z"),
            offset_minutes: 0,
            dates_take_times: true,
        }
    }

    fn made(kind: Kind, operator: &str, values: &[&str]) -> Result<Test, String> {
        let term = Term {
            column: "c".to_owned(),
            operator: operator.to_owned(),
            values: values
                .iter()
                .map(|text| Value::Text((*text).to_owned()))
                .collect(),
        };
        test(&term, kind, &when())
    }

    #[test]
    fn after_time_includes_the_moment_and_before_time_does_not() {
        let moment = Cell::Time(Some(at("2026-01-19T11:02:07Z")));
        let cases = [
            ("aftertime", "2026-01-19T11:02:07", true),
            ("aftertime", "2026-01-19T11:02:08", false),
            ("beforetime", "2026-01-19T11:02:07", false),
            ("beforetime", "2026-01-19T11:02:08", true),
            ("datetime", "2026-01-19T11:02:07", true),
            ("after", "2026-01-18", true),
            ("after", "2026-01-19", false),
            ("before", "2026-01-20", true),
            ("date", "2026-01-19", true),
            ("beforeorequal", "2026-01-19", true),
            ("aftertime", "2026-01-19Z11:02:07", true),
            ("aftertime", "2026-01-19T12:02:07+01:00", true),
        ];
        for (operator, value, passes) in cases {
            let test = made(Kind::DateTime, operator, &[value]).unwrap();
            assert_eq!(test.passes(&moment), passes, "{operator} {value}");
        }
    }

    #[test]
    fn min_value_is_before_everything() {
        let never = Cell::Time(None);
        assert!(
            made(Kind::DateTime, "before", &["1900-01-01"])
                .unwrap()
                .passes(&never)
        );
        assert!(
            !made(Kind::DateTime, "aftertime", &["1900-01-01T00:00:00"])
                .unwrap()
                .passes(&never)
        );
    }

    #[test]
    fn periods_are_relative_to_today() {
        let yesterday = Cell::Time(Some(at("2026-01-18T23:59:59Z")));
        for (name, passes) in [
            ("today", false),
            ("yesterday", true),
            ("lastweek", true),
            ("thismonth", true),
            ("lastyear", false),
        ] {
            assert_eq!(
                made(Kind::Date, name, &[]).unwrap().passes(&yesterday),
                passes,
                "{name}"
            );
        }
    }

    #[test]
    fn operators_that_a_column_does_not_take_are_refused() {
        let cases: [(Kind, &str, &[&str]); 7] = [
            (Kind::Int, "le", &["5"]),
            (Kind::Int, "ge", &["5"]),
            (Kind::Int, "eq", &["five"]),
            (Kind::Text, "notends", &["x"]),
            (Kind::Bool, "begins", &["x"]),
            (Kind::DateTime, "gt", &["2026-01-19"]),
            (Kind::DateTime, "afterequals", &["2026-01-19"]),
        ];
        for (kind, operator, values) in cases {
            assert!(made(kind, operator, values).is_err(), "{operator}");
        }
    }

    #[test]
    fn texts_are_compared_without_regard_to_case() {
        let cell = Cell::Text(Cow::Borrowed("Ann@Example.org"));
        for (operator, value, passes) in [
            ("eq", "ann@example.ORG", true),
            ("isnot", "ann@example.org", false),
            ("begins", "ANN", true),
            ("contains", "example", true),
            ("notcontains", "example", false),
        ] {
            assert_eq!(
                made(Kind::Text, operator, &[value]).unwrap().passes(&cell),
                passes,
                "{operator}"
            );
        }
    }
}
