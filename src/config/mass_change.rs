//! R26: how many changes within an hour wait for a person; for all systems and purposes, and where one
//! system and purpose differ.

use super::keys;
use super::raw::Table;
use crate::consent::rules::{Threshold, Thresholds};
use crate::consent::{PurposeId, Purposes};

/// Those of the policy.
pub(super) fn of_policy(policy: &Table<'_>) -> Thresholds {
    let table = policy.table("mass_change", keys::MASS_CHANGE);
    thresholds(&table, Thresholds::default())
}

/// Those of single purposes of a system; what they leave out is as the policy has it.
pub(super) fn of_system(
    system: &Table<'_>,
    purposes: &Purposes,
    policy: Thresholds,
) -> Vec<(PurposeId, Thresholds)> {
    let mut own = Vec::new();
    for (name, item) in system.named("mass_change") {
        let table = item.as_table(keys::MASS_CHANGE);
        let given = thresholds(&table, policy);
        match purposes.find(&name) {
            Some(purpose) => own.push((purpose, given)),
            None if purposes.is_empty() => {}
            None => system.notes.add(
                &item.path,
                format!("purpose {name:?} is not listed under [[purposes]]; add it there"),
            ),
        }
    }
    own
}

fn thresholds(table: &Table<'_>, default: Thresholds) -> Thresholds {
    let threshold = |count: &str, share: &str, default: Threshold| {
        let fallback = u32::try_from(default.at_least).unwrap_or(u32::MAX);
        Threshold {
            at_least: table
                .number_or(count, "changes", fallback, 1..=100_000_000)
                .into(),
            per_million: table.percent_or(share, default.per_million),
        }
    };
    Thresholds {
        grants: threshold("grants_at_least", "grants_percent", default.grants),
        withdrawals: threshold(
            "withdrawals_at_least",
            "withdrawals_percent",
            default.withdrawals,
        ),
    }
}
