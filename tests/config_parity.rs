//! `[parity]`: the comparison of every day is made unless it is switched off.

use consentd::config::reload::merge;
use consentd::config::{Checked, ConfigFaults, Schedule, SecretFile, SecretReader, check};
use std::io;
use std::path::{Path, PathBuf};

/// The same for every file.
struct Files;

impl SecretReader for Files {
    fn read(&self, _: &Path) -> io::Result<SecretFile> {
        let content = "8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d4e5f6071";
        Ok(SecretFile {
            bytes: content.as_bytes().to_vec().into(),
            mode: 0o400,
            credential: false,
        })
    }
}

fn load(parity: &str) -> Result<Checked, ConfigFaults> {
    let text = format!(
        r#"
        [store]
        url = "sqlite:///var/lib/consentd/consentd.db"
        [identity]
        hash_key_file = "/etc/consentd/secrets/hash-key"
        [parity]
        {parity}
        [[purposes]]
        name = "marketing"
        [systems.ascend]
        kind = "ascend"
        transport = "platform"
        time_zone = "America/Denver"
        [systems.ascend.auth]
        grant = "client-credentials"
        login_url = "https://login.example.edu"
        client_id = "ascend"
        client_secret_file = "/etc/consentd/secrets/ascend-secret"
        [systems.ascend.opt_out]
        mode = "contact-flag"
        field = "HasOptedOutOfEmail"
        polarity = "opt-out"
        "#
    );
    check(&text, [], &Files)
}

#[test]
fn a_report_is_made_every_day_from_what_the_store_knows() {
    let parity = load("").unwrap().parity;
    let Some(Schedule::Cron { cron, time_zone }) = parity.schedule else {
        panic!("{:?}", parity.schedule);
    };
    assert_eq!(cron.pattern.to_string(), "0 5 * * *");
    assert_eq!(
        (time_zone, parity.time_zone),
        (chrono_tz::UTC, chrono_tz::UTC)
    );
    assert!(!parity.full && parity.directory.is_none());
}

#[test]
fn its_time_its_place_and_its_depth_can_be_said() {
    let text = "schedule = \"30 6 * * 1\"\ntime_zone = \"America/Denver\"\n\
                directory = \"/var/lib/consentd/reports\"\nfull = true";
    let parity = load(text).unwrap().parity;
    assert!(matches!(
        parity.schedule,
        Some(Schedule::Cron { time_zone, .. }) if time_zone == chrono_tz::America::Denver
    ));
    let directory = PathBuf::from("/var/lib/consentd/reports");
    assert_eq!((parity.directory, parity.full), (Some(directory), true));
    assert!(
        load("schedule = \"off\"")
            .unwrap()
            .parity
            .schedule
            .is_none()
    );
}

#[test]
fn what_is_wrong_is_named() {
    let rows = [
        (
            "schedule = \"daily\"",
            "parity.schedule: must be \"off\" or a cron",
        ),
        (
            "schedule = \"0 0 5 * * *\"",
            "parity.schedule: must be \"off\"",
        ),
        (
            "time_zone = \"Denver\"",
            "parity.time_zone: \"Denver\" is no time",
        ),
        (
            "directory = \"reports\"",
            "parity.directory: must be an absolute path",
        ),
        ("folder = \"/x\"", "parity.folder: unknown key"),
    ];
    for (text, expected) in rows {
        let found = load(text).unwrap_err().to_string();
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn a_reload_takes_it_over() {
    let (next, changed) = merge(&load("").unwrap(), load("full = true").unwrap());
    assert_eq!(
        (changed.taken, next.parity.full),
        (vec!["parity".to_owned()], true)
    );
    let (_, same) = merge(&load("").unwrap(), load("").unwrap());
    assert_eq!(same.taken, [""; 0]);
}
