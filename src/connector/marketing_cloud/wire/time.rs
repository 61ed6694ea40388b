//! Times as Marketing Cloud writes them (R17).
//!
//! The SOAP reference names no zone; answers come without one. The system's clock is US Central
//! Standard Time without daylight saving all year, so a time without a zone is read by the configured
//! offset, -06:00 by default. A time that names its zone is read by that.

use crate::consent::At;
use chrono::{DateTime, FixedOffset, NaiveDateTime};

/// Longer texts are no times.
const MOST_CHARACTERS: usize = 40;

/// Forms without a zone: ISO 8601 with either separator, and the form of US settings.
const FORMS: [&str; 4] = [
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S",
];

/// Reads a time; `offset` is the zone of those that name none.
///
/// `None` for what cannot be read, and for times at which nobody can have opted out by e-mail, such
/// as the year 1 that stands for no time at all.
pub fn parse(text: &str, offset: FixedOffset) -> Option<At> {
    let text = text.trim();
    // The platform's own clock knows no leap second, and ours could not hold one.
    if text.len() > MOST_CHARACTERS || text.contains(":60") {
        return None;
    }
    let zoned = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .ok()
        .map(|time| At::from(time.to_utc()));
    let at = zoned.or_else(|| {
        FORMS
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
            .and_then(|time| time.and_local_timezone(offset).single())
            .map(|time| At::from(time.to_utc()))
    })?;
    (at >= At::FIRST_PLAUSIBLE).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let central = FixedOffset::west_opt(6 * 3_600).unwrap();
        parse(text, central).map(|at| at.to_string())
    }

    #[test]
    fn r17_every_form_of_a_time_is_read() {
        for (sentence, text, expected) in [
            (
                "no zone is UTC-6, in winter",
                "2026-01-10T04:00:00",
                "2026-01-10T10:00:00Z",
            ),
            (
                "no zone is UTC-6, in summer too",
                "2026-07-10T04:00:00.000",
                "2026-07-10T10:00:00Z",
            ),
            (
                "a zone that is named counts",
                "2026-07-10T04:00:00-05:00",
                "2026-07-10T09:00:00Z",
            ),
            ("UTC", "2026-07-10T10:00:00Z", "2026-07-10T10:00:00Z"),
            (
                "an offset without a colon",
                "2026-07-10T10:00:00.25+0000",
                "2026-07-10T10:00:00.250Z",
            ),
            (
                "seven decimals, of which six are kept",
                "2026-07-10T04:00:00.1234567",
                "2026-07-10T10:00:00.123456Z",
            ),
            (
                "a blank between day and hour, and blanks around",
                " 2026-07-10 04:00:00 ",
                "2026-07-10T10:00:00Z",
            ),
            (
                "the form of US settings",
                "7/10/2026 4:00:00 PM",
                "2026-07-10T22:00:00Z",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{sentence}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for (sentence, text) in [
            ("nothing", ""),
            ("the year 1 stands for no time", "0001-01-01T00:00:00"),
            ("before e-mail", "1980-01-01T00:00:00"),
            ("a day that cannot be", "2026-02-30T00:00:00"),
            ("a leap second", "2026-06-30T23:59:60Z"),
            ("a day alone says no hour", "2026-07-10"),
            ("words", "yesterday"),
            (
                "too long",
                "2026-07-10T04:00:00.00000000000000000000000000000",
            ),
        ] {
            assert_eq!(read(text), None, "{sentence}");
        }
    }
}
