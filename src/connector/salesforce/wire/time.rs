//! Times as the platform writes them, and as it wants them.

use crate::consent::At;
use crate::consent::time::SECOND;
use chrono::{DateTime, NaiveDateTime, SecondsFormat};

/// Reads a date-time of the platform: `2026-05-01T10:00:00.000+0000`, with `Z`, `+00:00`, `+0000`
/// or no zone (which is UTC), and 0 to 9 decimals, of which six are kept.
///
/// `None` for anything else: an impossible day or hour, a leap second, other offsets that cannot
/// be, or other text (REST guide: date-time formats).
pub fn parse(text: &str) -> Option<At> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes.len() > 35 || !matches!(bytes[10], b'T' | b't') {
        return None;
    }
    // The platform never writes a leap second, and its own clock knows none.
    if &bytes[17..19] == b"60" {
        return None;
    }
    if let Some(at) = common(bytes) {
        return Some(at);
    }
    let zoned = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|time| time.to_utc());
    let time = zoned
        .or_else(|_| {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|time| time.and_utc())
        })
        .ok()?;
    (decimals(text) <= 9).then(|| At::from(time))
}

/// The form that nearly every stamp has, read without a general parser.
fn common(bytes: &[u8]) -> Option<At> {
    if bytes.len() != 28 || &bytes[19..] != b".000+0000" {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u32> {
        bytes[from..to].iter().try_fold(0, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + u32::from(byte - b'0'))
        })
    };
    if bytes[4] != b'-' || bytes[7] != b'-' || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let day = chrono::NaiveDate::from_ymd_opt(
        number(0, 4)?.cast_signed(),
        number(5, 7)?,
        number(8, 10)?,
    )?;
    let time = day.and_hms_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?)?;
    Some(At::from(time.and_utc()))
}

fn decimals(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, rest)| {
        rest.bytes().take_while(u8::is_ascii_digit).count()
    })
}

/// A date-time literal for SOQL and for the windows of changes: `2026-05-01T10:00:00Z`, with
/// milliseconds only where there are any.
pub fn literal(at: At) -> String {
    let form = if at.micros() % SECOND == 0 {
        SecondsFormat::Secs
    } else {
        SecondsFormat::Millis
    };
    at.to_datetime().to_rfc3339_opts(form, true)
}

/// The whole second that an instant lies in.
pub fn floor_second(at: At) -> At {
    At::from_micros(at.micros().div_euclid(SECOND) * SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: i64 = 1_777_629_600 * SECOND;

    #[test]
    fn every_form_of_the_platform_is_read() {
        for (sentence, text, micros) in [
            ("REST", "2026-05-01T10:00:00.000+0000", TEN),
            ("bulk CSV", "2026-05-01T10:00:00.000Z", TEN),
            ("offset with colon", "2026-05-01T10:00:00+00:00", TEN),
            ("another offset", "2026-05-01T12:00:00.000+0200", TEN),
            ("no zone is UTC", "2026-05-01T10:00:00", TEN),
            ("no zone, decimals", "2026-05-01T10:00:00.5", TEN + 500_000),
            ("no decimals", "2026-05-01T10:00:00Z", TEN),
            (
                "seven decimals",
                "2026-05-01T10:00:00.1234567Z",
                TEN + 123_456,
            ),
            (
                "nine decimals",
                "2026-05-01T10:00:00.123456789+0000",
                TEN + 123_456,
            ),
        ] {
            assert_eq!(
                parse(text),
                Some(At::from_micros(micros)),
                "{sentence}: {text}"
            );
        }
        assert!(
            parse("0001-01-01T00:00:00.000+0000").is_some_and(|at| at < At::FIRST_PLAUSIBLE),
            "the null date is read and judged elsewhere"
        );
        assert!(parse("9999-12-31T23:59:59.000+0000").is_some());
    }

    #[test]
    fn impossible_times_are_no_times() {
        for text in [
            "",
            "2026-05-01",
            "2026-02-30T10:00:00.000+0000",
            "2026-05-01T24:00:00.000+0000",
            "2026-05-01T23:59:60.000+0000",
            "2026-05-01T10:00:00.000+2500",
            "2026-05-01 10:00:00",
            "2026-05-01T10:00:00.1234567890Z",
            "2026-05-01T10:00:00.000+0000 OR Id != ''",
            "null",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for micros in [TEN, TEN + 500_000, 0] {
            let at = At::from_micros(micros);
            assert_eq!(parse(&literal(at)), Some(at));
        }
        assert_eq!(literal(At::from_micros(TEN)), "2026-05-01T10:00:00Z");
        assert_eq!(floor_second(At::from_micros(-1)), At::from_micros(-SECOND));
    }
}
