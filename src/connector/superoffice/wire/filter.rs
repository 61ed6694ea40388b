//! Filters of archive queries. The one place that puts values into them.
//!
//! Only operators that the vendor's own collection shows to work are used: `le` and `ge` are
//! advertised and fail.

use crate::consent::At;
use crate::consent::time::SECOND;
use chrono_tz::Tz;

/// `one and other`
pub fn both(one: &str, other: &str) -> String {
    format!("{one} and {other}")
}

/// `(one or other)`
pub fn either(one: &str, other: &str) -> String {
    format!("({one} or {other})")
}

/// `column gt number`
pub fn above(column: &str, number: u32) -> String {
    format!("{column} gt {number}")
}

/// `column lt number`
pub fn below(column: &str, number: u32) -> String {
    format!("{column} lt {number}")
}

/// `column eq number`
pub fn is(column: &str, number: u32) -> String {
    format!("{column} eq {number}")
}

/// `column afterTime 'time'`, which includes the second itself. The time is written in `zone`.
pub fn since(column: &str, at: At, zone: Tz) -> String {
    // Down to the whole second, so that nothing is cut off.
    let second = At::from_micros(at.micros().div_euclid(SECOND) * SECOND);
    let local = second.to_datetime().with_timezone(&zone);
    format!("{column} afterTime '{}'", local.format("%Y-%m-%dT%H:%M:%S"))
}

/// `column after 'day'`, which excludes the day, for columns that take no time: all since the day
/// that the time lies in.
pub fn since_day(column: &str, at: At, zone: Tz) -> String {
    let local = at.to_datetime().with_timezone(&zone).date_naive();
    let before = local.pred_opt().unwrap_or(local);
    format!("{column} after '{before}'")
}

/// `column in (1,2)`
pub fn one_of(column: &str, numbers: &[u32]) -> String {
    let list: Vec<String> = numbers.iter().map(u32::to_string).collect();
    format!("{column} in ({})", list.join(","))
}

/// `column in ('a','b')`
pub fn one_of_texts<'a>(column: &str, texts: impl Iterator<Item = &'a str>) -> String {
    let list: Vec<String> = texts.map(quoted).collect();
    format!("{column} in ({})", list.join(","))
}

/// A text in quotes; a quote within is escaped by a backslash. Control characters, which stand in
/// nothing that is ever asked for, are dropped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_quotes() {
        for (text, expected) in [
            ("ann@example.org", "'ann@example.org'"),
            ("o'hara@example.org", r"'o\'hara@example.org'"),
            (
                "x') or personId gt 0 or ('",
                r"'x\') or personId gt 0 or (\''",
            ),
            (r"back\slash", r"'back\\slash'"),
            (r"trailing\", r"'trailing\\'"),
            (r"\'", r"'\\\''"),
            ("line\r\nbreak\0", "'linebreak'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), expected);
            let filter = one_of_texts("c", [text].into_iter());
            // Reading it back as the server does ends exactly at the closing quote.
            let inner = &filter["c in ('".len()..filter.len() - 2];
            let mut letters = inner.chars();
            while let Some(letter) = letters.next() {
                assert_ne!(letter, '\'', "{text}");
                if letter == '\\' {
                    assert!(letters.next().is_some(), "{text}");
                }
            }
        }
    }

    #[test]
    fn times_are_written_in_the_servers_zone_and_rounded_down() {
        let at = At::from_micros(1_768_820_527_999_999);
        assert_eq!(
            since("personUpdatedDate", at, Tz::UTC),
            "personUpdatedDate afterTime '2026-01-19T11:02:07'"
        );
        assert_eq!(
            since("personUpdatedDate", at, Tz::Europe__Oslo),
            "personUpdatedDate afterTime '2026-01-19T12:02:07'"
        );
        assert_eq!(
            since_day("personUpdatedDate", at, Tz::Pacific__Auckland),
            "personUpdatedDate after '2026-01-19'",
            "there it is past midnight"
        );
        assert_eq!(
            since_day("personUpdatedDate", at, Tz::UTC),
            "personUpdatedDate after '2026-01-18'"
        );
    }

    #[test]
    fn terms_are_joined_so_that_and_binds_as_meant() {
        let changed = either("a afterTime 't'", "b afterTime 't'");
        assert_eq!(
            both(&changed, &above("id", 7)),
            "(a afterTime 't' or b afterTime 't') and id gt 7"
        );
        assert_eq!(one_of("id", &[1, 2]), "id in (1,2)");
    }
}
