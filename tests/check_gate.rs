//! `consentd check` with a gate: what it says without a network, and what it finds with one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "no process is killed here")]
#[path = "common/process.rs"]
mod process;

use consentd_sandbox::marketing_cloud::{BOULDER, ENTERPRISE};
use consentd_sandbox::{Options, Sandbox};
use process::{output, text};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A configuration whose systems are switched off, with a gate to the sandbox.
fn write(folder: &Path, sandbox: &Sandbox, unit: &str) -> String {
    let known = &sandbox.credentials().marketing_cloud;
    for (name, content) in [
        ("hash-key", "8c1f4a0d97b35e2266f0a1c4d3e8b759"),
        ("word", "word"),
        ("gate", &known.client_secret),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let (here, url, id) = (
        folder.display(),
        sandbox.marketing_cloud().url(),
        &known.client_id,
    );
    let config = format!(
        r#"
        [store]
        url = "sqlite://{here}/state.db"
        [identity]
        hash_key_file = "{here}/hash-key"
        [[purposes]]
        name = "marketing"
        [systems.salesforce]
        kind = "salesforce"
        enabled = false
        [systems.salesforce.auth]
        grant = "client-credentials"
        login_url = "http://127.0.0.1:9"
        client_id = "one"
        client_secret_file = "{here}/word"
        [marketing_cloud]
        auth_url = "{url}"
        client_id = "{id}"
        client_secret_file = "{here}/gate"
        account = "{ENTERPRISE}"
        time_zone = "America/Denver"
        [[marketing_cloud.units]]
        id = "{unit}"
        name = "Boulder"
        "#
    );
    let path = folder.join("consentd.toml");
    std::fs::write(&path, config).unwrap();
    path.display().to_string()
}

fn check(arguments: &[&str]) -> (Option<i32>, String) {
    let answer = output(arguments);
    (
        answer.status.code(),
        text(&answer.stdout) + &text(&answer.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn r47_a_check_names_the_gate_and_what_it_lacks() {
    let sandbox = Sandbox::start(Options {
        contacts: 0,
        seed: 7,
        port_base: None,
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), &sandbox, &BOULDER.to_string());
    let (status, said) = check(&["check", "--config", &config]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("gate      marketing_cloud (2 business units)"),
        "{said}"
    );
    let live = ["check", "--live", "--output", "csv", "--config", &config];
    let (status, said) = check(&live);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains(&format!(
            "marketing_cloud,ok,\"logged in to business unit {ENTERPRISE}, and subscribers can be read\""
        )),
        "{said}"
    );
    assert!(
        said.contains("an opt-out there is one of the whole enterprise"),
        "{said}"
    );
    write(folder.path(), &sandbox, "77");
    let (status, said) = check(&live);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("business unit 77 (Boulder): the account has no such unit"),
        "{said}"
    );
}
