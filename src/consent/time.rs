//! Instants and stamps. Every time inside is UTC microseconds (R17).

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use std::fmt;

/// Microseconds in a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Microseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;

/// An instant: UTC microseconds since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(i64);

impl At {
    /// 1990-01-01T00:00:00Z: no consent was given by e-mail before (R16).
    pub const FIRST_PLAUSIBLE: Self = Self(631_152_000 * SECOND);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// `micros` later; saturates at the ends of time.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// `micros` earlier; saturates at the ends of time.
    #[must_use]
    pub const fn minus(self, micros: i64) -> Self {
        Self(self.0.saturating_sub(micros))
    }

    /// Microseconds from `earlier` to this instant; negative when this one is earlier.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The number of the minute this instant lies in.
    pub const fn minute(self) -> i64 {
        self.0.div_euclid(MINUTE)
    }

    /// As a calendar time. Instants beyond chrono's range show as its nearest end.
    pub fn to_datetime(self) -> DateTime<Utc> {
        Utc.timestamp_micros(self.0)
            .single()
            .unwrap_or(if self.0 < 0 {
                DateTime::<Utc>::MIN_UTC
            } else {
                DateTime::<Utc>::MAX_UTC
            })
    }
}

impl From<DateTime<Utc>> for At {
    fn from(value: DateTime<Utc>) -> Self {
        Self(value.timestamp_micros())
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .to_datetime()
                .to_rfc3339_opts(SecondsFormat::AutoSi, true),
        )
    }
}

/// How finely a feed tells its times (R9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The time is exact to the microsecond.
    Micros,
    /// The time names a millisecond.
    Millis,
    /// The time names a whole second.
    Seconds,
    /// The time names a day that begins at the given instant and lasts so many microseconds.
    Span(i64),
}

impl Precision {
    const fn micros(self) -> i64 {
        match self {
            Self::Micros => 1,
            Self::Millis => 1_000,
            Self::Seconds => SECOND,
            Self::Span(micros) => micros,
        }
    }
}

/// When a statement became true: an interval, both ends included (R9, R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    earliest: At,
    latest: At,
}

impl Stamp {
    /// The interval between two instants, whichever comes first.
    pub fn between(one: At, other: At) -> Self {
        Self {
            earliest: one.min(other),
            latest: one.max(other),
        }
    }

    /// R9: a time of precision p taken at t covers `[t, t+p)`.
    pub fn covering(at: At, precision: Precision) -> Self {
        Self {
            earliest: at,
            latest: at.plus(precision.micros().max(1) - 1),
        }
    }

    /// The first instant at which it may have become true.
    pub const fn earliest(self) -> At {
        self.earliest
    }

    /// The last instant at which it may have become true.
    pub const fn latest(self) -> At {
        self.latest
    }

    /// Whether both may be the same instant.
    pub fn overlaps(self, other: Self) -> bool {
        self.earliest <= other.latest && other.earliest <= self.latest
    }

    /// Whether `other` lies wholly within this interval.
    pub fn contains(self, other: Self) -> bool {
        self.earliest <= other.earliest && other.latest <= self.latest
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.earliest == self.latest {
            write!(f, "{}", self.earliest)
        } else {
            write!(f, "{} … {}", self.earliest, self.latest)
        }
    }
}
