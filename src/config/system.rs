//! The checks of one `[systems.<name>]` table.

use super::checked::{Link, Schedule, SystemKind, SystemSettings};
use super::raw::{Item, Table};
use super::secret::SecretReader;
use super::{ascend_file, emarketeer, keys, mass_change, superoffice, vendors};
use crate::connector::http::Limits;
use crate::consent::{Basis, Polarity, Policy, PurposeId, Purposes};
use chrono_tz::Tz;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use secrecy::SecretSlice;
use std::collections::BTreeSet;
use std::time::Duration;

/// The lag bound unless polls are rare.
const LEAST_DEFAULT_MAX_LAG: Duration = Duration::from_mins(15);
/// The lag bound of a system that delivers a file every night: a day, and time for the file to be made.
const LEAST_DEFAULT_MAX_LAG_OF_FILES: Duration = Duration::from_hours(26);
/// The longest lag bound, in seconds: a file a week, and one that is a week late.
const MOST_MAX_LAG: u32 = 14 * 24 * 3_600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Salesforce,
    Ascend,
    Emarketeer,
    SuperOffice,
}

/// Checks one system; `None` when it cannot even be told what kind it is.
pub(super) fn build(
    name: &str,
    item: &Item<'_>,
    purposes: &Purposes,
    secrets: &dyn SecretReader,
    hash_key: &SecretSlice<u8>,
    policy: &Policy,
) -> Option<SystemSettings> {
    let table = item.table_by("kind", |kind| match kind {
        Some("salesforce") => keys::SALESFORCE,
        Some("ascend") => keys::ASCEND,
        Some("emarketeer") => keys::EMARKETEER,
        Some("superoffice") => keys::SUPEROFFICE,
        _ => keys::ANY_SYSTEM,
    });
    if !table.is_given() {
        return None;
    }
    check_name(&table, name);
    // Those of the system before do not count.
    table.notes.secrets_mark();
    let kind = table.word_required(
        "kind",
        &[
            ("salesforce", Kind::Salesforce),
            ("ascend", Kind::Ascend),
            ("emarketeer", Kind::Emarketeer),
            ("superoffice", Kind::SuperOffice),
        ],
    )?;
    let time_zone = time_zone(&table);
    let by_files = matches!(kind, Kind::Ascend) && ascend_file::is_meant(&table);
    // Ascend has always been fed at night; a weekly file is an expression away.
    let default = if by_files { "0 1 * * *" } else { "immediate" };
    let schedule = schedule(&table, time_zone, default);
    let poll_interval = seconds(&table, "poll_interval_secs", 60, 1..=86_400);
    let vendor = match kind {
        Kind::Salesforce => vendors::salesforce(&table, name, purposes, secrets),
        Kind::Ascend if by_files => {
            ascend_file::settings(&table, name, purposes, time_zone, secrets)
        }
        Kind::Ascend => vendors::ascend(&table, name, purposes, time_zone, secrets),
        Kind::Emarketeer => emarketeer::settings(&table, name, purposes, secrets, hash_key),
        Kind::SuperOffice => superoffice::superoffice(&table, name, purposes, secrets),
    };
    let max_lag = max_lag(&table, poll_interval, vendor.lag, by_files);
    Some(SystemSettings {
        name: name.to_owned(),
        enabled: table.flag_or("enabled", true),
        legal_basis_sync: table.flag_or("legal_basis_sync", true),
        schedule,
        poll_interval,
        precedence: table.number_or("precedence", "(lower wins ties)", 1, 1..=1_000) as u16,
        bulk_actors: table.texts("bulk_actors").into_iter().collect(),
        mass_change: mass_change::of_system(&table, purposes, policy.thresholds),
        max_lag,
        kind: vendor.kind,
        secrets: table.notes.secrets_mark(),
        carries: vendor.carries,
        link: vendor.link,
    })
}

/// What the kind of a system decides.
pub(super) struct Vendor {
    /// The connector's settings.
    pub(super) kind: SystemKind,
    /// What the system holds, with the meaning of a set value.
    pub(super) carries: Vec<(PurposeId, Polarity)>,
    /// R58.
    pub(super) link: Option<Link>,
    /// How far its feed stays behind on purpose.
    pub(super) lag: Duration,
}

/// R21: the bases of grants that were made without any, of the purposes that a system holds.
pub(super) fn granted_bases(
    purposes: &Purposes,
    held: impl Iterator<Item = PurposeId>,
) -> BTreeSet<Basis> {
    held.filter_map(|id| purposes.get(id))
        .map(|purpose| purpose.granted_basis.clone())
        .collect()
}

/// The bounds of a system's calls.
pub(super) fn limits(table: &Table<'_>, name: &str) -> Limits {
    Limits {
        system: name.to_owned(),
        request_timeout: seconds(table, "request_timeout_secs", 30, 1..=600),
        connect_timeout: seconds(table, "connect_timeout_secs", 5, 1..=60),
        max_body_bytes: table.number_or("max_body_mib", "MiB", 32, 1..=512) as usize * 1024 * 1024,
        max_concurrent: table.number_or("max_concurrent", "calls at once", 4, 1..=25) as usize,
        max_calls_per_sec: table.number_or("max_calls_per_sec", "calls a second", 10, 1..=1_000),
    }
}

/// What a name of a system or a token may be.
pub(super) const NAME_RULE: &str =
    "a name is at most 32 lower-case letters, digits, '-' and '_', a letter first";

/// Whether a name keeps to [`NAME_RULE`].
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

fn check_name(table: &Table<'_>, name: &str) {
    if !is_name(name) {
        table.notes.add(
            &table.path,
            "a system's name is at most 32 lower-case letters, digits, '-' and '_', a letter first",
        );
    }
}

pub(super) fn seconds(
    table: &Table<'_>,
    key: &str,
    default: u32,
    bounds: std::ops::RangeInclusive<u32>,
) -> Duration {
    Duration::from_secs(u64::from(table.number_or(key, "seconds", default, bounds)))
}

/// The zone under `time_zone`, if given and good.
pub(super) fn time_zone(table: &Table<'_>) -> Option<Tz> {
    let name = table.text("time_zone")?;
    let zone = name.parse().ok();
    if zone.is_none() {
        table.fault(
            "time_zone",
            format!("{name:?} is no time zone; write it as in \"America/Denver\""),
        );
    }
    zone
}

/// A cron expression of five fields.
pub(super) fn parse_cron(text: &str) -> Result<Cron, CronError> {
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(text)
}

fn schedule(table: &Table<'_>, time_zone: Option<Tz>, default: &str) -> Schedule {
    let text = table.text_or("schedule", default);
    if text == "immediate" {
        return Schedule::Immediate;
    }
    let Some(cron) = cron(table, "schedule", "\"immediate\"", &text) else {
        return Schedule::Immediate;
    };
    if table.item("time_zone").is_none() {
        table.fault(
            "time_zone",
            "is missing; a schedule needs the zone it is meant in",
        );
    }
    Schedule::Cron {
        cron,
        time_zone: time_zone.unwrap_or(Tz::UTC),
    }
}

/// The times of a cron expression of five fields. None when a fault was noted; `word` is what may stand
/// there instead.
pub(super) fn cron(table: &Table<'_>, key: &str, word: &str, text: &str) -> Option<Box<Cron>> {
    match parse_cron(text) {
        Ok(cron) => Some(Box::new(cron)),
        Err(fault) => {
            table.fault(
                key,
                format!(
                    "must be {word} or a cron expression of five fields, e.g. \"0 1 * * *\", but \
                     {text:?} is not: {fault}"
                ),
            );
            None
        }
    }
}

/// What is read trails the present by up to the lag and one poll; a bound below that could never be
/// met.
fn max_lag(table: &Table<'_>, poll_interval: Duration, lag: Duration, by_files: bool) -> Duration {
    let floor = lag + poll_interval;
    let least = if by_files {
        LEAST_DEFAULT_MAX_LAG_OF_FILES
    } else {
        LEAST_DEFAULT_MAX_LAG
    };
    let default = least.max(floor + 4 * poll_interval);
    if table.item("max_lag_secs").is_none() {
        return default;
    }
    let given = seconds(
        table,
        "max_lag_secs",
        default.as_secs() as u32,
        1..=MOST_MAX_LAG,
    );
    if given <= floor {
        table.fault(
            "max_lag_secs",
            format!(
                "must be more than lag_secs + poll_interval_secs ({}), or the daemon is never ready",
                floor.as_secs()
            ),
        );
    }
    given
}

/// A purpose by name; notes the fault and returns a stand-in when there is none.
pub(super) fn purpose(table: &Table<'_>, key: &str, name: &str, purposes: &Purposes) -> PurposeId {
    purposes.find(name).unwrap_or_else(|| {
        // Without any purpose the list itself is at fault, which is noted there.
        if !purposes.is_empty() {
            let known: Vec<_> = purposes
                .iter()
                .map(|(_, purpose)| purpose.name.as_str())
                .collect();
            table.fault(
                key,
                format!(
                    "purpose {name:?} is not listed under [[purposes]]; listed are: {}",
                    known.join(", ")
                ),
            );
        }
        PurposeId(0)
    })
}

/// An API name goes into queries, so nothing but a name is let through.
pub(super) fn api_name(table: &Table<'_>, key: &str, name: String) -> String {
    let good = name.len() <= 80
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good && !name.is_empty() {
        table.fault(
            key,
            format!("must be an API name (letters, digits, '_'), but is {name:?}"),
        );
    }
    name
}
