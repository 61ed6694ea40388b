//! `[policy.mass_change]` and `[systems.X.mass_change.P]`: how many changes within an hour wait for a
//! person (R26).

use consentd::config::reload::merge;
use consentd::config::{Checked, ConfigFaults, SecretFile, SecretReader, check};
use consentd::consent::PurposeId;
use consentd::consent::rules::{Threshold, Thresholds};
use std::io;
use std::path::Path;

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

fn text(policy: &str, system: &str) -> String {
    format!(
        r#"
        [store]
        url = "sqlite:///var/lib/consentd/consentd.db"
        [identity]
        hash_key_file = "/etc/consentd/secrets/hash-key"
        {policy}
        [[purposes]]
        name = "marketing"
        [[purposes]]
        name = "marketing.events"
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
        {system}
        "#
    )
}

fn load(policy: &str, system: &str) -> Result<Checked, ConfigFaults> {
    check(&text(policy, system), [], &Files)
}

const fn bound(at_least: u64, per_million: u32) -> Threshold {
    Threshold {
        at_least,
        per_million,
    }
}

/// Thresholds of grants and of withdrawals.
const fn bounds(grants: Threshold, withdrawals: Threshold) -> Thresholds {
    Thresholds {
        grants,
        withdrawals,
    }
}

const USUAL: Thresholds = bounds(bound(50, 5_000), bound(1_000, 200_000));

#[test]
fn r26_grants_wait_early_and_withdrawals_late_where_nothing_is_said() {
    let checked = load("", "").unwrap();
    assert_eq!(checked.policy.rules.thresholds, USUAL);
    assert_eq!(checked.systems[0].mass_change, []);
}

#[test]
fn r26_a_purpose_of_a_system_has_its_own_thresholds_and_the_rest_of_the_policys() {
    let policy = "[policy.mass_change]\ngrants_at_least = 10\nwithdrawals_percent = 12.5";
    let own = "[systems.ascend.mass_change.\"marketing.events\"]\ngrants_at_least = 5\n\
               withdrawals_at_least = 7";
    let checked = load(policy, own).unwrap();
    let of_policy = bounds(bound(10, 5_000), bound(1_000, 125_000));
    assert_eq!(checked.policy.rules.thresholds, of_policy);
    let of_system = bounds(bound(5, 5_000), bound(7, 125_000));
    assert_eq!(checked.systems[0].mass_change, [(PurposeId(1), of_system)]);
}

#[test]
fn r26_a_wrong_threshold_is_named() {
    let of_system = |rest: &str| format!("[systems.ascend.mass_change.marketing]\n{rest}");
    let of_policy = |rest: &str| format!("[policy.mass_change]\n{rest}");
    let rows = [
        (
            String::new(),
            "[systems.ascend.mass_change.sales]\ngrants_at_least = 5".to_owned(),
            "systems.ascend.mass_change.sales",
            "\"sales\" is not listed under [[purposes]]",
        ),
        (
            of_policy("grants_at_least = 0"),
            String::new(),
            "policy.mass_change.grants_at_least",
            "1",
        ),
        (
            of_policy("withdrawals_percent = 100.5"),
            String::new(),
            "policy.mass_change.withdrawals_percent",
            "100",
        ),
        (
            of_policy("grants_percent = -1"),
            String::new(),
            "policy.mass_change.grants_percent",
            "0",
        ),
        (
            String::new(),
            of_system("grants_percent = \"half\""),
            "systems.ascend.mass_change.marketing.grants_percent",
            "",
        ),
        (
            String::new(),
            of_system("grants = 5"),
            "systems.ascend.mass_change.marketing.grants",
            "",
        ),
    ];
    for (policy, system, key, what) in rows {
        let ConfigFaults(faults) = load(&policy, &system).unwrap_err();
        assert_eq!(faults.len(), 1, "{key}: {faults:?}");
        assert_eq!(faults[0].key, key, "{faults:?}");
        assert!(faults[0].what.contains(what), "{key}: {faults:?}");
    }
    for percent in ["0", "100", "0.0001"] {
        let policy = of_policy(&format!("grants_percent = {percent}"));
        assert!(load(&policy, "").is_ok(), "{percent}");
    }
}

#[test]
fn r26_the_environment_has_the_last_word() {
    let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let environment = [
        of("CONSENTD__POLICY__MASS_CHANGE__GRANTS_AT_LEAST", "9"),
        of(
            "CONSENTD__SYSTEMS__ASCEND__MASS_CHANGE__MARKETING__WITHDRAWALS_PERCENT",
            "2.5",
        ),
    ];
    let own = "[systems.ascend.mass_change.marketing]\nwithdrawals_percent = 50";
    let text = text("[policy.mass_change]\ngrants_at_least = 10", own);
    let checked = check(&text, environment, &Files).unwrap();
    assert_eq!(checked.policy.rules.thresholds.grants, bound(9, 5_000));
    assert_eq!(
        checked.systems[0].mass_change,
        [(PurposeId(0), bounds(bound(9, 5_000), bound(1_000, 25_000)))]
    );
}

#[test]
fn r49_other_thresholds_are_taken_at_a_reload() {
    let running = load("", "").unwrap();
    let rows = [
        ("[policy.mass_change]\ngrants_at_least = 10", "", "policy"),
        (
            "",
            "[systems.ascend.mass_change.marketing]\ngrants_percent = 50",
            "settings of ascend",
        ),
    ];
    for (policy, system, expected) in rows {
        let (_, changed) = merge(&running, load(policy, system).unwrap());
        assert!(
            changed.taken.contains(&expected.to_owned()),
            "{expected}: {changed:?}"
        );
        assert!(changed.ignored.is_empty(), "{changed:?}");
    }
}
