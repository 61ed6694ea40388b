//! The checks of `[marketing_cloud]`: the gate, whose keys it asks for, and when.

use super::build::is_loopback;
use super::checked::{
    MarketingCloud, Schedule, Sheet, SheetFormat, SubscriberKey, SystemKind, SystemSettings,
};
use super::keys;
use super::platform::{allowed_hosts, host_url, stand_in_url};
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::system::{limits, parse_cron, purpose, time_zone};
use crate::connector::gate::Unit;
use crate::connector::marketing_cloud::config::{Reach, Settings};
use crate::consent::Purposes;
use chrono::FixedOffset;
use chrono_tz::Tz;
use std::collections::BTreeSet;
use std::path::PathBuf;
use url::Url;

/// Hosts of the vendor besides the token host.
const VENDOR_HOSTS: &[&str] = &[".marketingcloudapis.com"];
/// More units than this are a mistake.
const MAX_UNITS: usize = 100;
/// Most characters of a unit's name.
const MOST_NAME: usize = 80;
/// When subscribers are looked at, unless told otherwise.
const NIGHTLY: &str = "0 3 * * *";
/// When the sheet is written, unless told otherwise.
const WEEKLY: &str = "0 6 * * 1";

/// Checks the table; `None` when it is not given.
pub(super) fn build(
    root: &Table<'_>,
    purposes: &Purposes,
    systems: &[SystemSettings],
    secrets: &dyn SecretReader,
) -> Option<MarketingCloud> {
    let table = root.table("marketing_cloud", keys::MARKETING_CLOUD);
    if !table.is_given() {
        return None;
    }
    // Those of the systems before do not count.
    table.notes.secrets_mark();
    let time_zone = zone(&table);
    let auto_resubscribe = table.flag_or("auto_resubscribe", false);
    let auto_resubscribe_dry_run = table.flag_or("auto_resubscribe_dry_run", true);
    let connector = Settings {
        limits: limits(&table, "marketing_cloud"),
        auth_url: host_url(
            &table,
            "auth_url",
            "https://SUBDOMAIN.auth.marketingcloudapis.com",
        )
        .unwrap_or_else(stand_in_url),
        soap_url: soap_url(&table),
        allowed_hosts: allowed_hosts(&table, VENDOR_HOSTS),
        client_id: table.text_required("client_id", "the client id of the installed package"),
        client_secret: secret::text_required(
            &table,
            "client_secret",
            "the client secret of the installed package",
            secrets,
        ),
        units: units(&table),
        reach: table
            .word(
                "read",
                &[
                    ("all-accounts", Reach::AllAccounts),
                    ("per-unit", Reach::PerUnit),
                ],
            )
            .unwrap_or_default(),
        keys_per_call: table.number_or("keys_per_call", "keys", 50, 1..=200) as usize,
        utc_offset: utc_offset(&table),
        activates: auto_resubscribe && !auto_resubscribe_dry_run,
    };
    let (system, subscriber_key) = keys_of(&table, systems);
    Some(MarketingCloud {
        enabled: table.flag_or("enabled", true),
        connector,
        secrets: table.notes.secrets_mark(),
        system,
        subscriber_key,
        purpose: purpose(
            &table,
            "purpose",
            &table.text_or("purpose", "marketing"),
            purposes,
        ),
        schedule: schedule(&table, NIGHTLY, time_zone),
        auto_resubscribe,
        auto_resubscribe_dry_run,
        sheet: sheet(
            &table.table("sheet", keys::MARKETING_CLOUD_SHEET),
            time_zone,
        ),
    })
}

/// The zone of both schedules.
fn zone(table: &Table<'_>) -> Tz {
    if table.item("time_zone").is_none() {
        table.fault(
            "time_zone",
            "is missing; set it to the zone in which the schedules are meant, e.g. \"America/Denver\"",
        );
    }
    time_zone(table).unwrap_or(Tz::UTC)
}

fn schedule(table: &Table<'_>, default: &str, time_zone: Tz) -> Schedule {
    let text = table.text_or("schedule", default);
    match parse_cron(&text) {
        Ok(cron) => Schedule::Cron {
            cron: Box::new(cron),
            time_zone,
        },
        Err(fault) => {
            table.fault(
                "schedule",
                format!(
                    "must be a cron expression of five fields, e.g. {default:?}, but {text:?} is not: {fault}"
                ),
            );
            Schedule::Immediate
        }
    }
}

/// Where SOAP calls go, when it is not left to the token answer.
fn soap_url(table: &Table<'_>) -> Option<Url> {
    const EXAMPLE: &str = "https://SUBDOMAIN.soap.marketingcloudapis.com";
    let given = table.text("soap_url")?;
    let url = Url::parse(&given).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && !url.path().to_ascii_lowercase().contains("service.asmx")
    });
    let Some(url) = url else {
        table.fault(
            "soap_url",
            format!("must be an address without user, query and Service.asmx, e.g. {EXAMPLE}"),
        );
        return None;
    };
    if url.scheme() == "http" && !is_loopback(url.host().as_ref()) {
        table.fault(
            "soap_url",
            "must begin with https; plain http is for this machine only",
        );
        return None;
    }
    Some(url)
}

/// An id of a unit (MID).
fn mid(table: &Table<'_>, key: &str) -> String {
    let given = table.text_required(key, "the MID of the business unit, e.g. \"7281234\"");
    let good = given.len() <= 18 && given.bytes().all(|byte| byte.is_ascii_digit());
    if !good {
        table.fault(
            key,
            format!("must be the digits of a MID, but is {given:?}"),
        );
    }
    given
}

fn unit_name(table: &Table<'_>, given: String) -> String {
    if given.chars().count() > MOST_NAME || given.chars().any(char::is_control) {
        table.fault(
            "name",
            format!("must be at most {MOST_NAME} characters on one line"),
        );
    }
    given
}

/// The parent and the units, each once.
fn units(table: &Table<'_>) -> Vec<Unit> {
    let mut units = vec![Unit {
        id: mid(table, "account"),
        name: unit_name(table, table.text_or("name", "parent")),
    }];
    let listed = table.tables("units", keys::MARKETING_CLOUD_UNITS);
    if listed.len() > MAX_UNITS {
        table.fault(
            "units",
            format!(
                "lists {} business units; at most {MAX_UNITS} are possible",
                listed.len()
            ),
        );
    }
    for entry in &listed {
        let unit = Unit {
            id: mid(entry, "id"),
            name: unit_name(
                entry,
                entry.text_required("name", "what people call the business unit"),
            ),
        };
        if let Some(taken) = units
            .iter()
            .find(|taken| !unit.id.is_empty() && taken.id == unit.id)
        {
            entry.fault("id", format!("{} is {:?} already", unit.id, taken.name));
        }
        if units
            .iter()
            .any(|taken| !unit.name.is_empty() && taken.name == unit.name)
        {
            entry.fault(
                "name",
                format!("{:?} is the name of another unit", unit.name),
            );
        }
        units.push(unit);
    }
    units
}

/// `-06:00`.
fn utc_offset(table: &Table<'_>) -> FixedOffset {
    const DEFAULT: &str = "-06:00";
    let given = table.text_or("utc_offset", DEFAULT);
    offset(&given).unwrap_or_else(|| {
        table.fault(
            "utc_offset",
            format!("must be hours and minutes from UTC, e.g. {DEFAULT:?}, but is {given:?}"),
        );
        chrono::Offset::fix(&chrono::Utc)
    })
}

fn offset(text: &str) -> Option<FixedOffset> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, most: i32| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: i32 = digits.then(|| text.parse().ok())??;
        (number <= most).then_some(number)
    };
    FixedOffset::east_opt(sign * (number(hours, 14)? * 3_600 + number(minutes, 59)? * 60))
}

/// Whose keys the subscribers have, and what of them the key is.
fn keys_of(table: &Table<'_>, systems: &[SystemSettings]) -> (String, SubscriberKey) {
    let name = table.text_or("system", "salesforce");
    let key = table
        .word(
            "subscriber_key",
            &[
                ("contact-id", SubscriberKey::ContactId),
                ("link", SubscriberKey::Link),
                ("address", SubscriberKey::Address),
            ],
        )
        .unwrap_or_default();
    let Some(system) = systems.iter().find(|system| system.name == name) else {
        let names: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
        table.fault(
            "system",
            format!(
                "system {name:?} is not configured; configured are: {}",
                names.join(", ")
            ),
        );
        return (name, key);
    };
    match (key, &system.kind) {
        (SubscriberKey::ContactId, SystemKind::Emarketeer(_)) => table.fault(
            "subscriber_key",
            format!("must be \"address\": contacts of {name:?} have no id but their address"),
        ),
        (SubscriberKey::Link, SystemKind::Salesforce(settings))
            if settings.link_field.is_none() =>
        {
            table.fault(
                "subscriber_key",
                format!("must not be \"link\": systems.{name}.fields.link names no field"),
            );
        }
        (
            SubscriberKey::Link,
            SystemKind::Ascend(_) | SystemKind::Emarketeer(_) | SystemKind::SuperOffice(_),
        ) if system.link.is_none() => {
            table.fault(
                "subscriber_key",
                format!("must not be \"link\": systems.{name} has no link"),
            );
        }
        _ => {}
    }
    (name, key)
}

/// Where the sheet of re-subscribe requests is written, if it is.
fn sheet(table: &Table<'_>, time_zone: Tz) -> Option<Sheet> {
    if !table.is_given() {
        return None;
    }
    let directory = PathBuf::from(
        table.text_required("directory", "the folder in which the sheets are written"),
    );
    if !directory.as_os_str().is_empty() && !directory.is_absolute() {
        table.fault(
            "directory",
            format!("must be an absolute path, but is {}", directory.display()),
        );
    }
    Some(Sheet {
        directory,
        schedule: schedule(table, WEEKLY, time_zone),
        formats: formats(table),
    })
}

fn formats(table: &Table<'_>) -> Vec<SheetFormat> {
    if table.item("formats").is_none() {
        return vec![SheetFormat::Csv, SheetFormat::Xlsx];
    }
    let mut formats = BTreeSet::new();
    for word in table.texts("formats") {
        match SheetFormat::ALL.iter().find(|format| format.word() == word) {
            Some(format) => {
                formats.insert(*format);
            }
            None => table.fault(
                "formats",
                format!("must hold \"csv\", \"xlsx\" or both, but holds {word:?}"),
            ),
        }
    }
    if formats.is_empty() {
        table.fault(
            "formats",
            "must not be empty; name \"csv\", \"xlsx\" or both, or remove the table",
        );
    }
    formats.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::offset;

    #[test]
    fn an_offset_has_a_sign_hours_and_minutes() {
        for (text, secs) in [
            ("-06:00", Some(-21_600)),
            ("+05:30", Some(19_800)),
            ("+00:00", Some(0)),
            ("-00:30", Some(-1_800)),
            ("+14:00", Some(50_400)),
            ("+15:00", None),
            ("06:00", None),
            ("-6:00", None),
            ("-06:60", None),
            ("-0600", None),
            ("−06:00", None),
            ("+-1:00", None),
            ("", None),
        ] {
            assert_eq!(
                offset(text).map(|offset| offset.local_minus_utc()),
                secs,
                "{text:?}"
            );
        }
    }
}
