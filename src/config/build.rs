//! From the raw tree to [`Checked`] in one pure step: every rule about the configuration stands here
//! or in `server`, `system`, `platform`, `vendors` and `marketing_cloud`, and every fault is noted before anything is given up.

use super::checked::{
    Checked, FirstRun, Log, LogFormat, ParityReport, PolicySettings, Schedule, SystemKind,
    SystemSettings,
};
use super::keys;
use super::raw::{Notes, Raw, Table};
use super::secret::{self, SecretReader};
use super::{
    ConfigFaults, alarms, export, marketing_cloud, mass_change, privacy, retention, server, system,
};
use crate::connector::ascend::config::Mode;
use crate::consent::purpose::PurposeDraft;
use crate::consent::{
    Basis, DuplicateWithdrawal, DuplicateWrite, Policy, Purposes, Revival, Unknown, rules, time,
};
use crate::store::StoreSettings;
use chrono_tz::Tz;
use secrecy::{SecretSlice, SecretString};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

/// What Postgres knows about encryption.
const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
/// More systems than this are a mistake.
const MAX_SYSTEMS: usize = 32;

/// Judges the whole tree.
pub(super) fn checked(raw: &Raw, secrets: &dyn SecretReader) -> Result<Checked, ConfigFaults> {
    let notes = Notes::default();
    let root = raw.root(&notes);
    let purposes = purposes(&root);
    let hash_key = secret::hash_key(&root.table("identity", keys::IDENTITY), secrets);
    let mut policy = policy(&root);
    let systems = systems(&root, &purposes, secrets, &hash_key, &policy.rules);
    let marketing_cloud = marketing_cloud::build(&root, &purposes, &systems, secrets);
    policy.rules.version = version(&policy, &purposes, &systems);
    let checked = Checked {
        first_run: root
            .word(
                "first_run",
                &[("plan", FirstRun::Plan), ("write", FirstRun::Write)],
            )
            .unwrap_or_default(),
        server: server::build(&root, secrets),
        alarms: alarms::build(&root, secrets),
        parity: parity(&root),
        export: export::build(&root),
        store: store(&root, secrets),
        hash_key,
        privacy: privacy::build(&root, secrets),
        retention: retention::build(&root),
        log: log(&root),
        purposes,
        policy,
        systems,
        marketing_cloud,
    };
    let faults = notes.into_faults();
    if faults.is_empty() {
        Ok(checked)
    } else {
        Err(ConfigFaults(faults))
    }
}

fn log(root: &Table<'_>) -> Log {
    let table = root.table("log", keys::LOG);
    let filter = table.text_or("filter", "info");
    if let Err(fault) = EnvFilter::builder().parse(&filter) {
        table.fault("filter", format!("{filter:?} is no log filter: {fault}"));
    }
    Log {
        format: table
            .word(
                "format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            )
            .unwrap_or_default(),
        filter,
    }
}

fn parity(root: &Table<'_>) -> ParityReport {
    let table = root.table("parity", keys::PARITY);
    let time_zone = system::time_zone(&table).unwrap_or(Tz::UTC);
    let text = table.text_or("schedule", "0 5 * * *");
    let schedule = if text == "off" {
        None
    } else {
        let cron = system::cron(&table, "schedule", "\"off\"", &text);
        cron.map(|cron| Schedule::Cron { cron, time_zone })
    };
    let directory = table.text("directory").map(PathBuf::from);
    if directory.as_ref().is_some_and(|path| !path.is_absolute()) {
        table.fault("directory", "must be an absolute path");
    }
    ParityReport {
        schedule,
        time_zone,
        directory,
        full: table.flag_or("full", false),
    }
}

fn store(root: &Table<'_>, secrets: &dyn SecretReader) -> StoreSettings {
    const EXAMPLES: &str =
        "sqlite:///var/lib/consentd/consentd.db or postgres://user@host/database";
    let table = root.table("store", keys::STORE);
    let password = secret::text(&table, "password", secrets);
    let from_environment = table
        .item("url")
        .is_some_and(|item| item.is_from_environment());
    let given = table.text_required("url", EXAMPLES);
    let stand_in = StoreSettings::Sqlite {
        path: PathBuf::new(),
    };
    if given.is_empty() {
        return stand_in;
    }
    let scheme = given.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "sqlite" => {
            let rest = given.trim_start_matches("sqlite:");
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path.contains('?') || path.contains(":memory:") {
                table.fault("url", "must name a file and nothing else, e.g. sqlite:///var/lib/consentd/consentd.db");
            }
            if table.item("password").is_some() || table.item("password_file").is_some() {
                table.fault("password_file", "an SQLite file has no password; remove it");
            }
            StoreSettings::Sqlite {
                path: PathBuf::from(path),
            }
        }
        "postgres" | "postgresql" => match Url::parse(&given) {
            Ok(url) => postgres(&table, url, password, from_environment),
            // The address itself is left out of the message, since it may hold a password.
            Err(fault) => {
                table.fault(
                    "url",
                    format!("is no valid address ({fault}); e.g. {EXAMPLES}"),
                );
                stand_in
            }
        },
        _ => {
            table.fault(
                "url",
                format!("must begin with sqlite: or postgres:, e.g. {EXAMPLES}"),
            );
            stand_in
        }
    }
}

fn postgres(
    table: &Table<'_>,
    mut url: Url,
    mut password: Option<SecretString>,
    from_environment: bool,
) -> StoreSettings {
    if let Some(inline) = url.password() {
        if from_environment && password.is_none() {
            password = Some(SecretString::from(inline.to_owned()));
        } else {
            table.fault("url", "must not hold a password; use password_file");
        }
        // Fails for addresses without a host only, and those have no password.
        if url.set_password(None).is_err() {
            table.fault("url", "is no valid address");
        }
    }
    let option = |name: &str| {
        url.query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let mode = option("sslmode");
    if let Some(mode) = &mode
        && !SSL_MODES.contains(&mode.as_ref())
    {
        table.fault(
            "url",
            format!(
                "sslmode must be one of {}, but is {mode:?}",
                SSL_MODES.join(", ")
            ),
        );
    }
    let socket = option("host").is_some_and(|host| host.starts_with('/'));
    let host_is_near = url
        .host_str()
        .is_none_or(|host| is_loopback(Some(&Host::Domain(host))));
    if url.host_str().is_none_or(str::is_empty) && !socket {
        table.fault("url", "names no host; e.g. postgres://user@host/database");
    } else if mode.is_none() && !socket && !host_is_near {
        table.fault(
            "url",
            "leaves open whether the way to the database is encrypted; add ?sslmode=verify-full, or \
             ?sslmode=disable if nobody else is on that network",
        );
    }
    if url.path().trim_start_matches('/').is_empty() {
        table.fault(
            "url",
            "names no database; e.g. postgres://user@host/database",
        );
    }
    StoreSettings::Postgres { url, password }
}

/// Whether the host is this machine.
pub(super) fn is_loopback(host: Option<&Host<&str>>) -> bool {
    match host {
        Some(Host::Domain(name)) => {
            *name == "localhost"
                || name.ends_with(".localhost")
                || name
                    .trim_matches(['[', ']'])
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn policy(root: &Table<'_>) -> PolicySettings {
    let table = root.table("policy", keys::POLICY);
    let duplicates = table.table("duplicates", keys::DUPLICATES);
    let seconds = |key: &str, default: u32, bounds| {
        Duration::from_secs(u64::from(table.number_or(key, "seconds", default, bounds)))
    };
    let deadline_hours = table.number_or("withdrawal_deadline_hours", "hours", 48, 1..=720);
    let window_hours = table.number_or("observed_window_hours", "hours", 24, 1..=720);
    PolicySettings {
        rules: Policy {
            version: String::new(),
            duplicate_write: duplicates
                .word(
                    "write",
                    &[
                        ("all", DuplicateWrite::All),
                        ("oldest", DuplicateWrite::Oldest),
                    ],
                )
                .unwrap_or_default(),
            duplicate_withdrawal: duplicates
                .word(
                    "withdrawal",
                    &[
                        ("oldest", DuplicateWithdrawal::Oldest),
                        ("any", DuplicateWithdrawal::Any),
                    ],
                )
                .unwrap_or_default(),
            observed_window: i64::from(window_hours) * time::HOUR,
            load_contacts: table.number_or("load_contacts_per_minute", "contacts", 25, 2..=100_000),
            flaps_per_hour: table.number_or("flaps_per_hour", "flips", 6, 1..=1_000),
            thresholds: mass_change::of_policy(&table),
        },
        grant_settle: seconds("grant_settle_secs", 60, 0..=86_400),
        future_tolerance: seconds("future_tolerance_secs", 300, 0..=3_600),
        withdrawal_deadline: Duration::from_secs(u64::from(deadline_hours) * 3_600),
    }
}

fn purposes(root: &Table<'_>) -> Purposes {
    let entries = root.tables("purposes", keys::PURPOSES);
    if entries.is_empty() && root.item("purposes").is_none() {
        root.fault(
            "purposes",
            "is missing; list at least [[purposes]] with name = \"marketing\"",
        );
    }
    let drafts = entries
        .iter()
        .map(|entry| PurposeDraft {
            name: entry.text_required("name", "the name of a purpose, e.g. \"marketing\""),
            revival: entry
                .word(
                    "revival",
                    &[
                        ("last-writer", Revival::LastWriter),
                        ("consent-only", Revival::ConsentOnly),
                    ],
                )
                .unwrap_or_default(),
            unknown: entry
                .word(
                    "unknown",
                    &[("block", Unknown::Block), ("allow", Unknown::Allow)],
                )
                .unwrap_or_default(),
            granted_basis: granted_basis(entry),
        })
        .inspect(|draft| {
            if draft.revival == Revival::ConsentOnly && draft.granted_basis != Basis::Consent {
                root.fault(
                    "purposes",
                    format!(
                        "{:?} is revived by consent alone, so its granted_basis must be \"consent\"",
                        draft.name
                    ),
                );
            }
        })
        // A missing name is noted already.
        .filter(|draft| !draft.name.is_empty())
        .collect();
    Purposes::build(drafts).unwrap_or_else(|faults| {
        for fault in faults {
            root.fault("purposes", fault);
        }
        Purposes::default()
    })
}

/// R21: the basis that a grant without one gets where one is needed.
fn granted_basis(entry: &Table<'_>) -> Basis {
    const WORDS: [&str; 6] = [
        "consent",
        "contract",
        "legal-obligation",
        "vital-interests",
        "public-task",
        "legitimate-interests",
    ];
    let word = entry.word("granted_basis", &WORDS.map(|word| (word, word)));
    word.map(Basis::from_word).unwrap_or_default()
}

fn systems(
    root: &Table<'_>,
    purposes: &Purposes,
    secrets: &dyn SecretReader,
    hash_key: &SecretSlice<u8>,
    policy: &Policy,
) -> Vec<SystemSettings> {
    let named = root.named("systems");
    if named.is_empty() {
        root.fault(
            "systems",
            "names no system; add a table such as [systems.salesforce]",
        );
    }
    if named.len() > MAX_SYSTEMS {
        root.fault(
            "systems",
            format!(
                "names {} systems; at most {MAX_SYSTEMS} are possible",
                named.len()
            ),
        );
    }
    let mut systems: Vec<_> = named
        .iter()
        .filter_map(|(name, item)| system::build(name, item, purposes, secrets, hash_key, policy))
        .collect();
    check_links(root, &mut systems);
    systems
}

/// R58: both ends of a link must exist, and the far end must hand the field's value out.
fn check_links(root: &Table<'_>, systems: &mut [SystemSettings]) {
    let links: Vec<_> = systems
        .iter()
        .enumerate()
        .filter_map(|(index, system)| system.link.clone().map(|link| (index, link)))
        .collect();
    for (index, link) in links {
        let Some(own) = systems.get(index).map(|system| system.name.clone()) else {
            continue;
        };
        let key = format!("systems.{own}.link");
        let note = |what: String| root.notes.add(&key, what);
        let names = systems
            .iter()
            .map(|system| system.name.clone())
            .collect::<Vec<_>>()
            .join(", ");
        match systems.iter_mut().find(|system| system.name == link.system) {
            _ if link.system.is_empty() => {} // noted as missing
            _ if link.system == own => {
                note("names this system itself; name the other one".to_owned());
            }
            None => note(format!(
                "system {:?} is not configured; configured are: {names}",
                link.system
            )),
            Some(far) => match &mut far.kind {
                SystemKind::Salesforce(settings) => match &settings.link_field {
                    None => settings.link_field = Some(link.system_field),
                    Some(field) if *field == link.system_field => {}
                    Some(field) => note(format!(
                        "system_field is {:?}, but systems.{}.fields.link is {field:?}; they must be the same",
                        link.system_field, far.name
                    )),
                },
                kind @ (SystemKind::Ascend(_)
                | SystemKind::AscendFile(_)
                | SystemKind::Emarketeer(_)
                | SystemKind::SuperOffice(_)) => {
                    note(format!(
                        "{:?} is of kind {:?}; a link points at a salesforce system",
                        far.name,
                        kind.word()
                    ));
                }
            },
        }
    }
}

/// R23: a mark of everything configured that a verdict depends on: the same settings give the same
/// mark on every machine, other settings another one.
fn version(policy: &PolicySettings, purposes: &Purposes, systems: &[SystemSettings]) -> String {
    let rules = &policy.rules;
    let mut lines = vec![
        rules::REVISION.to_string(),
        format!(
            "{:?} {:?}",
            rules.duplicate_write, rules.duplicate_withdrawal
        ),
        format!("{} {}", rules.observed_window, rules.load_contacts),
        format!("{} {:?}", rules.flaps_per_hour, policy.future_tolerance),
    ];
    lines.extend(purposes.iter().map(|(_, purpose)| {
        format!(
            "{} {:?} {:?} {:?}",
            purpose.name, purpose.revival, purpose.unknown, purpose.granted_basis
        )
    }));
    for system in systems {
        let carries: Vec<_> = system
            .carries
            .iter()
            .map(|(id, polarity)| (purposes.name(*id), polarity))
            .collect();
        lines.push(format!("{} {} {carries:?}", system.name, system.precedence));
        lines.push(format!("synced {}", system.legal_basis_sync));
        lines.push(format!("{:?} {:?}", system.bulk_actors, system.link));
        if let SystemKind::Ascend(settings) = &system.kind
            && let Mode::ServiceIndicator(indicator) = &settings.mode
        {
            lines.push(format!("{} {:?}", indicator.code, indicator.also_blocking));
        }
        if let SystemKind::Emarketeer(settings) = &system.kind {
            lines.push(format!("{:?}", settings.bases));
            lines.push(format!("{:?}", settings.sources));
        }
        if let SystemKind::SuperOffice(settings) = &system.kind {
            lines.push(format!("{:?} {:?}", settings.bases, settings.retired));
        }
    }
    let digest = Sha256::digest(lines.join("\n").as_bytes());
    let mark: Vec<_> = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    mark.concat()
}
