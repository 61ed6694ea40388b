//! The commands as a shell sees them: output, exit status, and that nothing is started on a fault.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use consentd::store::{Access, AlarmChanges, AlarmRow, SqliteStore, Store as _};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder with a configuration of one Ascend system and an SQLite store.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: TempDir::new().expect("a folder"),
        };
        home.secret(
            "hash-key",
            "8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d4e5f60718293a4b5c6d7e8f9",
        );
        home.secret("secret", "word");
        let folder = home.folder.path().display();
        let text = format!(
            r#"
            [store]
            url = "sqlite://{folder}/state/consentd.db"
            [identity]
            hash_key_file = "{folder}/hash-key"
            [[purposes]]
            name = "marketing"
            [systems.ascend]
            kind = "ascend"
            transport = "platform"
            time_zone = "America/Denver"
            [systems.ascend.auth]
            grant = "client-credentials"
            login_url = "http://127.0.0.1:9"
            client_id = "id"
            client_secret_file = "{folder}/secret"
            [systems.ascend.opt_out]
            mode = "contact-flag"
            field = "HasOptedOutOfEmail"
            polarity = "opt-out"
            "#
        );
        fs::write(home.config(), text).expect("written");
        home
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("consentd.toml")
    }

    fn secret(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("narrowed");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(
            self.folder.path(),
            &[arguments, &["--config", "consentd.toml"]].concat(),
        )
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_consentd"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn check_says_that_a_configuration_is_sound() {
    let home = Home::new();
    let output = home.run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.starts_with("The configuration is sound.\n"), "{said}");
    assert!(said.contains("ascend (ascend)"), "{said}");
}

#[test]
fn check_lists_all_faults_with_status_2_and_starts_nothing() {
    let home = Home::new();
    let sound = fs::read_to_string(home.config()).expect("read");
    let faulty = sound
        .replace("polarity = ", "polarty = ")
        .replace("\"marketing\"", "\"Marketing\"");
    fs::write(home.config(), faulty).expect("written");
    for command in ["check", "migrate", "status"] {
        let output = home.run(&[command]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = text(&output.stderr);
        assert!(
            said.starts_with("error: the configuration has 3 faults; nothing was started\n"),
            "{said}"
        );
        assert!(
            said.contains("unknown key; did you mean \"polarity\"?"),
            "{said}"
        );
    }
    assert!(
        !home.folder.path().join("state").exists(),
        "nothing is started"
    );
}

#[test]
fn a_secret_file_that_others_can_read_is_refused_on_a_real_disk() {
    let home = Home::new();
    let path = home.folder.path().join("hash-key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("widened");
    let output = home.run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("(mode 0444); chmod 0400 it"));
}

#[test]
fn a_configuration_that_is_not_there_is_a_fault() {
    let folder = TempDir::new().expect("a folder");
    let output = run(folder.path(), &["check", "--config", "absent.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("absent.toml: cannot be read"));
}

#[test]
fn status_shows_every_system_of_a_migrated_store() {
    let home = Home::new();
    let early = home.run(&["status"]);
    assert_eq!(early.status.code(), Some(1), "there is no store yet");
    let output = home.run(&["migrate"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = home.run(&["status", "--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(list[0]["system"], "ascend");
    assert_eq!(list[0]["feed"], "not begun");
    assert_eq!(list[0]["withdrawals_due"], 0);
    let csv = text(&home.run(&["status", "--output", "csv"]).stdout);
    assert!(csv.starts_with("system,feed,lag_secs,"), "{csv}");
    assert!(text(&home.run(&["status"]).stdout).contains("0 people"));
}

#[tokio::test]
async fn status_shows_the_alarms_that_stand() {
    let home = Home::new();
    assert_eq!(home.run(&["migrate"]).status.code(), Some(0));
    let path = home.folder.path().join("state/consentd.db");
    let store = SqliteStore::open(&path, Access::Tool).await.expect("open");
    let alarm = |kind: &str, about: &str, cleared_at| AlarmRow {
        kind: kind.to_owned(),
        about: about.to_owned(),
        since: 1_767_225_600_000_000,
        raised_at: 1_767_225_600_000_000,
        cleared_at,
        text: format!("what to do about {kind}"),
        posts: Vec::new(),
    };
    let changes = AlarmChanges {
        put: vec![
            alarm("weak-grant", "ascend", None),
            alarm("hold", "12", None),
            alarm("dead-letter", "ascend", None),
            alarm("task-down", "http", None),
            alarm("deadline", "ascend", Some(5)),
        ],
        forget: Vec::new(),
    };
    store.put_alarms(&changes).await.expect("stored");
    store.close().await;
    let table = text(&home.run(&["status"]).stdout);
    for shown in ["what to do about hold", "what to do about task-down"] {
        assert!(table.contains(shown), "{table}");
    }
    assert!(!table.contains("deadline"), "it is over: {table}");
    let output = home.run(&["status", "--output", "json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(list[0]["alarms"], "dead-letter, weak-grant");
}

#[test]
fn the_exit_statuses_are_documented_and_a_wrong_command_line_is_an_error() {
    let folder = TempDir::new().expect("a folder");
    let help = run(folder.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("Exit status: 0 done; 1 an error; 2 the configuration"));
    assert_eq!(run(folder.path(), &["frobnicate"]).status.code(), Some(1));
    assert_eq!(
        run(folder.path(), &["status", "--output", "xml"])
            .status
            .code(),
        Some(1)
    );
}

#[test]
fn completions_are_written_for_every_usual_shell() {
    let folder = TempDir::new().expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let output = run(folder.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("consentd"), "{shell}");
    }
}

#[test]
fn healthcheck_fails_when_nobody_answers() {
    let folder = TempDir::new().expect("a folder");
    let output = run(
        folder.path(),
        &["healthcheck", "--url", "http://127.0.0.1:9/healthz"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: the daemon does not answer"));
}
