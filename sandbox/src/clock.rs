//! The one clock of the simulators.
//!
//! Real time plus an offset that only the control API moves. Each org adds its own skew on top (see
//! [`crate::faults::Fault::ClockSkew`]). No other module asks the machine for the time.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// Wall clock that can be moved forward (or back) by hand.
#[derive(Debug, Default)]
pub struct Clock {
    ahead_secs: AtomicI64,
}

impl Clock {
    /// The simulated instant.
    pub fn now(&self) -> DateTime<Utc> {
        let ahead = TimeDelta::seconds(self.ahead_secs.load(Ordering::SeqCst));
        let real = Utc::now();
        real.checked_add_signed(ahead).unwrap_or(real)
    }

    /// Moves the clock by `seconds` and returns the new offset from real time.
    pub fn advance(&self, seconds: i64) -> i64 {
        self.ahead_secs
            .fetch_add(seconds, Ordering::SeqCst)
            .saturating_add(seconds)
    }

    /// Seconds by which the simulated clock is ahead of the machine's.
    pub fn ahead_secs(&self) -> i64 {
        self.ahead_secs.load(Ordering::SeqCst)
    }
}

/// Record stamps have whole seconds only (object reference: system fields).
pub(crate) fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(0)
}

/// The form in which the REST API prints a stamp: `2026-05-01T10:00:00.000+0000`.
pub(crate) fn rest_stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

/// The form in which Bulk API 2.0 prints a stamp in CSV: `2026-05-01T10:00:00.000Z`.
pub(crate) fn bulk_stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// RFC 1123 form for `Date`, `Last-Modified` and the conditional headers.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads an RFC 1123 date; `None` when it is none.
pub(crate) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text.trim())
        .ok()
        .map(|at| at.with_timezone(&Utc))
}

/// Reads the date-time forms that the REST API accepts in bodies and parameters (`Z`, `+00:00` and `+0000`).
pub(crate) fn parse_stamp(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .ok()
        .map(|at| at.with_timezone(&Utc))
}
