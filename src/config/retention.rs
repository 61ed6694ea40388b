//! The checks of `[retention]`: how long what is kept (R57).

use super::checked::Retention;
use super::keys;
use super::raw::Table;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A hundred years.
const MOST_DAYS: u32 = 36_500;
/// Whoever has to prove what an operator did needs it for so long.
const LEAST_OPERATOR_DAYS: u32 = 365;

/// Checks the table.
pub(super) fn build(root: &Table<'_>) -> Retention {
    let table = root.table("retention", keys::RETENTION);
    let ledger = table.table("ledger", keys::RETENTION_LEDGER);
    let operator = days(&ledger, "operator_days", 0, 0..=MOST_DAYS);
    if operator.is_some_and(|kept| kept < duration(LEAST_OPERATOR_DAYS)) {
        ledger.fault(
            "operator_days",
            format!("must be 0, which is for ever, or at least {LEAST_OPERATOR_DAYS} days"),
        );
    }
    Retention {
        // The guards look back an hour.
        flips: days(&table, "flips_days", 7, 1..=MOST_DAYS),
        load_members: days(&table, "load_members_days", 90, 0..=MOST_DAYS),
        quarantine: days(&table, "quarantine_days", 0, 0..=MOST_DAYS),
        closed_requests: days(&table, "closed_requests_days", 0, 0..=MOST_DAYS),
        deleted_contacts: days(&table, "deleted_contacts_days", 0, 0..=MOST_DAYS),
        observed: days(&ledger, "observed_days", 0, 0..=MOST_DAYS),
        verdict: days(&ledger, "verdict_days", 0, 0..=MOST_DAYS),
        writes: days(&ledger, "writes_days", 0, 0..=MOST_DAYS),
        operator,
    }
}

fn days(
    table: &Table<'_>,
    key: &str,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> Option<Duration> {
    let days = table.number_or(key, "days", default, bounds);
    (days > 0).then(|| duration(days))
}

fn duration(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}
