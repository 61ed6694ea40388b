//! The one place where SOQL text is made.
//!
//! REST queries have no bound parameters, so everything that comes from outside passes through
//! [`text`], [`id`] or [`super::time::literal`]; names come from the checked configuration.

use super::time;
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use std::fmt::Write as _;

/// A string literal: `\` is escaped first, then `'` (SOQL reference: quoted string escapes).
/// Control characters, which no literal may hold raw, are escaped too.
pub fn text(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for character in value.chars() {
        match character {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            other if other.is_control() => {
                write!(literal, "\\u{:04X}", u32::from(other)).ok();
            }
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// Whether `value` can be a record id: 15 to 18 letters and digits.
pub fn is_id(value: &str) -> bool {
    (15..=18).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A record id as a literal.
///
/// # Errors
/// When it cannot be a record id.
pub fn id(value: &str) -> Result<String, Fault> {
    if is_id(value) {
        return Ok(format!("'{value}'"));
    }
    Err(Fault::new(
        FaultClass::Rejected,
        "bad-id",
        "a record id is not 15 to 18 letters and digits",
    ))
}

/// The 18-character form of a record id, in which a contact is always named. `None` when it is no
/// id or its check characters are wrong.
pub fn full_id(value: &str) -> Option<String> {
    if !is_id(value) || !matches!(value.len(), 15 | 18) {
        return None;
    }
    let mut full = value[..15].to_owned();
    for chunk in value.as_bytes()[..15].chunks(5) {
        let bits = chunk
            .iter()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_uppercase())
            .fold(0, |sum, (bit, _)| sum | (1 << bit));
        full.push(char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits]));
    }
    (value.len() == 15 || value[15..].eq_ignore_ascii_case(&full[15..])).then_some(full)
}

/// A list of literals for `IN`.
pub fn list<I: IntoIterator<Item = String>>(literals: I) -> String {
    let literals: Vec<String> = literals.into_iter().collect();
    format!("({})", literals.join(","))
}

/// A list of record ids for `IN`.
pub fn ids<'a, I: IntoIterator<Item = &'a String>>(values: I) -> Result<String, Fault> {
    Ok(list(
        values
            .into_iter()
            .map(|value| id(value))
            .collect::<Result<Vec<_>, _>>()?,
    ))
}

/// Where a walk over rows in the order of a time and the id stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Time of the last row read.
    pub at: At,
    /// Its id.
    pub id: String,
}

/// A half-open window of a time column, and how far it has been walked.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    /// The time column.
    pub column: &'a str,
    /// First instant of the window, or the beginning of time.
    pub from: Option<At>,
    /// First instant behind the window, or no end.
    pub until: Option<At>,
    /// The last row read.
    pub after: Option<&'a Mark>,
}

impl Walk<'_> {
    /// The condition that selects the rows still to be read; `None` when all are.
    ///
    /// Rows that share a second are told apart by their ids, so that no page border loses or
    /// repeats one.
    pub fn condition(&self) -> Result<Option<String>, Fault> {
        let column = self.column;
        let mut parts = Vec::new();
        if let Some(Mark { at, id: last }) = self.after {
            let at = time::literal(*at);
            parts.push(format!(
                "(({column} = {at} AND Id > {}) OR {column} > {at})",
                id(last)?
            ));
        } else if let Some(from) = self.from {
            parts.push(format!("{column} >= {}", time::literal(from)));
        }
        if let Some(until) = self.until {
            parts.push(format!("{column} < {}", time::literal(until)));
        }
        Ok((!parts.is_empty()).then(|| parts.join(" AND ")))
    }
}

/// A query.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    /// Columns, in the order in which rows are read.
    pub columns: &'a [String],
    /// Object.
    pub object: &'a str,
    /// Conditions, joined by AND. Each that holds an OR is in parentheses.
    pub conditions: Vec<String>,
    /// Sort columns; the last one is unique.
    pub order: Vec<&'a str>,
    /// Most rows.
    pub limit: Option<usize>,
}

impl Query<'_> {
    /// The statement.
    pub fn text(&self) -> String {
        let mut text = format!("SELECT {} FROM {}", self.columns.join(","), self.object);
        if !self.conditions.is_empty() {
            text.push_str(" WHERE ");
            text.push_str(&self.conditions.join(" AND "));
        }
        if !self.order.is_empty() {
            text.push_str(" ORDER BY ");
            text.push_str(&self.order.join(","));
        }
        if let Some(limit) = self.limit {
            // Writing to a string cannot fail.
            write!(text, " LIMIT {limit}").ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the platform reads in a literal, by the escapes of the SOQL reference.
    fn read_back(literal: &str) -> Option<String> {
        let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
        let mut out = String::new();
        let mut rest = inner.chars();
        while let Some(character) = rest.next() {
            if character == '\'' || character.is_control() {
                return None;
            }
            if character != '\\' {
                out.push(character);
                continue;
            }
            out.push(match rest.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '\\' => '\\',
                '\'' => '\'',
                'u' => {
                    let hex: String = rest.by_ref().take(4).collect();
                    char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
                }
                _ => return None,
            });
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn no_text_escapes_from_its_literal(value in ".*") {
            prop_assert_eq!(read_back(&text(&value)), Some(value));
        }

        #[test]
        fn only_letters_and_digits_pass_as_ids(value in ".{0,24}") {
            let passes = id(&value).is_ok();
            prop_assert_eq!(passes, value.len() >= 15 && value.len() <= 18 && value.chars().all(|c| c.is_ascii_alphanumeric()));
        }

        #[test]
        fn long_ids_tell_apart_what_differs_in_case_alone(short in "[a-zA-Z0-9]{15}", flips in any::<u16>()) {
            let long = full_id(&short).unwrap();
            prop_assert_eq!(long.len(), 18);
            prop_assert!(long.starts_with(&short));
            prop_assert_eq!(full_id(&long), Some(long.clone()), "it stays as it is");
            let other: String = short
                .char_indices()
                .map(|(place, letter)| match (flips >> place & 1, letter.is_ascii_uppercase()) {
                    (1, true) => letter.to_ascii_lowercase(),
                    (1, false) => letter.to_ascii_uppercase(),
                    _ => letter,
                })
                .collect();
            let same = full_id(&other).unwrap().eq_ignore_ascii_case(&long);
            prop_assert_eq!(same, other == short, "systems that ignore case still tell them apart");
        }
    }

    #[test]
    fn hostile_texts_stay_texts() {
        for value in ["' OR Id != '", "\\' OR Id != '", "\\", "'", "a\nb", "\u{0}"] {
            assert_eq!(read_back(&text(value)).as_deref(), Some(value));
        }
        assert_eq!(text("O'Hara\\"), "'O\\'Hara\\\\'");
    }

    #[test]
    fn ids_are_known_by_their_long_form() {
        assert_eq!(
            full_id("001D000000IqhSL").as_deref(),
            Some("001D000000IqhSLIAZ")
        );
        assert_eq!(
            full_id("001D000000IqhSLIAZ").as_deref(),
            Some("001D000000IqhSLIAZ")
        );
        assert_eq!(
            full_id("001D000000IqhSLAAA"),
            None,
            "wrong check characters"
        );
        assert_eq!(full_id("001D000000IqhSL'"), None);
        assert_eq!(full_id(""), None);
    }

    #[test]
    fn a_walk_goes_on_behind_its_last_row_even_within_one_second() {
        let mark = Mark {
            at: At::from_micros(1_777_629_600_000_000),
            id: "0035e00000A1b2cAAB".to_owned(),
        };
        let walk = Walk {
            column: "SystemModstamp",
            from: None,
            until: Some(At::from_micros(1_777_629_660_000_000)),
            after: Some(&mark),
        };
        let columns = ["Id".to_owned()];
        let query = Query {
            columns: &columns,
            object: "Contact",
            conditions: walk.condition().unwrap().into_iter().collect(),
            order: vec!["SystemModstamp", "Id"],
            limit: Some(2000),
        };
        assert_eq!(
            query.text(),
            "SELECT Id FROM Contact WHERE ((SystemModstamp = 2026-05-01T10:00:00Z AND Id > '0035e00000A1b2cAAB') \
             OR SystemModstamp > 2026-05-01T10:00:00Z) AND SystemModstamp < 2026-05-01T10:01:00Z \
             ORDER BY SystemModstamp,Id LIMIT 2000"
        );
    }
}
