//! `[privacy]` and `[retention]`: the keys of suppressions (R55), and how long what is kept (R57).
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use consentd::config::reload::merge;
use consentd::config::{Checked, ConfigFaults, SecretFile, SecretReader, check};
use secrecy::ExposeSecret as _;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Each file with its own content; `short` and `dull` are no keys, and `open` may be read by others.
struct Files;

impl SecretReader for Files {
    fn read(&self, path: &Path) -> io::Result<SecretFile> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = match &*name {
            "short" => "too short".to_owned(),
            "dull" => "a".repeat(40),
            "missing" => return Err(io::ErrorKind::NotFound.into()),
            name => format!("8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d-{name}\n"),
        };
        Ok(SecretFile {
            bytes: content.into_bytes().into(),
            mode: if name == "open" { 0o644 } else { 0o400 },
            credential: false,
        })
    }
}

fn load(tables: &str) -> Result<Checked, ConfigFaults> {
    let text = format!(
        r#"
        [store]
        url = "sqlite:///var/lib/consentd/consentd.db"
        [identity]
        hash_key_file = "/etc/consentd/secrets/hash-key"
        {tables}
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

fn accepted(tables: &str) -> Checked {
    load(tables).expect("accepted")
}

fn faults(tables: &str) -> Vec<(String, String)> {
    let faults = load(tables).expect_err("refused").0;
    faults
        .into_iter()
        .map(|fault| (fault.key, fault.what))
        .collect()
}

fn keys(entries: &str) -> String {
    format!("[privacy]\nsuppression_keys = [{entries}]")
}

#[test]
fn r55_without_a_table_the_identity_key_does_it() {
    assert!(accepted("").privacy.suppression_keys.is_empty());
}

#[test]
fn r55_keys_come_in_the_order_of_the_file_and_are_not_shown() {
    let checked = accepted(&keys(
        r#"{ id = "2026", file = "/secrets/new" }, { id = "2024-b", file = "/secrets/old" }"#,
    ));
    let keys = &checked.privacy.suppression_keys;
    let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["2026", "2024-b"]);
    let bytes = keys[0].bytes.expose_secret();
    assert!(bytes.ends_with(b"-new"), "without the line end");
    assert!(!format!("{checked:?}").contains("8c1f4a0d97"));
}

#[test]
fn r55_what_is_no_key_is_refused_with_what_to_do() {
    let rows = [
        (
            r#"{ id = "a", file = "/s/short" }"#,
            "privacy.suppression_keys[0].file",
            "at least 32 bytes",
        ),
        (
            r#"{ id = "a", file = "/s/dull" }"#,
            "privacy.suppression_keys[0].file",
            "is not random",
        ),
        (
            r#"{ id = "a", file = "/s/missing" }"#,
            "privacy.suppression_keys[0].file",
            "there is no file",
        ),
        (
            r#"{ id = "a", file = "/s/open" }"#,
            "privacy.suppression_keys[0].file",
            "chmod 0400",
        ),
        (
            r#"{ id = "a" }"#,
            "privacy.suppression_keys[0].file",
            "openssl rand -hex 32",
        ),
        (
            r#"{ file = "/s/a" }"#,
            "privacy.suppression_keys[0].id",
            "is missing",
        ),
        (
            r#"{ id = "A b", file = "/s/a" }"#,
            "privacy.suppression_keys[0].id",
            "lower-case",
        ),
        (
            r#"{ id = "a", file = "/s/a" }, { id = "a", file = "/s/b" }"#,
            "privacy.suppression_keys[1].id",
            "stands twice",
        ),
        (
            r#"{ id = "a", file = "/s/a" }, { id = "b", file = "/s/a" }"#,
            "privacy.suppression_keys[1].file",
            "another entry",
        ),
    ];
    for (entries, key, what) in rows {
        let found = faults(&keys(entries));
        assert!(
            found
                .iter()
                .any(|(at, words)| at == key && words.contains(what)),
            "{entries}: {found:?}"
        );
        assert!(found.iter().all(|(_, words)| !words.contains("8c1f4a0d97")));
    }
}

#[test]
fn r57_only_what_the_daemon_alone_needs_expires_by_default() {
    let retention = accepted("").retention;
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 3_600));
    assert_eq!(
        (retention.flips, retention.load_members),
        (days(7), days(90))
    );
    for kept in [
        retention.quarantine,
        retention.closed_requests,
        retention.deleted_contacts,
        retention.observed,
        retention.verdict,
        retention.writes,
        retention.operator,
    ] {
        assert_eq!(kept, None);
    }
    let retention = accepted(
        "[retention]\nquarantine_days = 30\nload_members_days = 0\n[retention.ledger]\noperator_days = 365",
    );
    let retention = retention.retention;
    assert_eq!(
        (retention.quarantine, retention.load_members),
        (days(30), None)
    );
    assert_eq!(retention.operator, days(365));
}

#[test]
fn r57_what_operators_did_is_kept_for_a_year_at_least() {
    let found = faults("[retention.ledger]\noperator_days = 364");
    assert_eq!(found[0].0, "retention.ledger.operator_days");
    assert!(found[0].1.contains("at least 365"), "{found:?}");
    let found = faults("[retention]\nflips_days = 0");
    assert_eq!(found[0].0, "retention.flips_days");
}

#[test]
fn r49_both_tables_are_taken_over_by_a_reload() {
    let before = accepted("");
    let taken = |tables: &str| merge(&before, accepted(tables)).1.taken;
    assert_eq!(taken(""), Vec::<String>::new());
    assert_eq!(taken(&keys(r#"{ id = "a", file = "/s/a" }"#)), ["privacy"]);
    assert_eq!(taken("[retention]\nquarantine_days = 9"), ["retention"]);
    let one = accepted(&keys(r#"{ id = "a", file = "/s/a" }"#));
    let other = accepted(&keys(r#"{ id = "a", file = "/s/b" }"#));
    assert_eq!(
        merge(&one, other).1.taken,
        ["privacy"],
        "another key under the same id"
    );
}
