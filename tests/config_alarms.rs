//! `[alarms]`: what is wrong is named, no address is repeated, and a reload takes it over.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use consentd::config::reload::merge;
use consentd::config::{Checked, MailSecurity, SecretFile, SecretReader, check};
use secrecy::ExposeSecret as _;
use std::io;
use std::path::Path;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const MAIL: &str = r#"
    [alarms.mail]
    host = "smtp.example.edu"
    username = "consentd"
    password_file = "/etc/consentd/secrets/mail-password"
    from = "consentd@example.edu"
    to = ["crm@example.edu", "Advancement IT <it@example.edu>"]
"#;
const WEBHOOK: &str = r#"
    [alarms.webhook]
    url = "https://hooks.example.edu/T0123/canary-path"
    secret_file = "/etc/consentd/secrets/alarms-secret"
"#;

/// The secrets of `[alarms]`, and something for every other file.
struct Files;

impl SecretReader for Files {
    fn read(&self, path: &Path) -> io::Result<SecretFile> {
        let content = match path.file_name().and_then(|name| name.to_str()) {
            Some("alarms-secret") => SECRET.to_owned(),
            Some("another-secret") => SECRET.replace('M', "N"),
            Some("mail-password") => "canary-password\n".to_owned(),
            _ => "8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d4e5f6071".to_owned(),
        };
        Ok(SecretFile {
            bytes: content.into_bytes().into(),
            mode: 0o400,
            credential: false,
        })
    }
}

/// One system that needs no key, and these tables.
fn text(alarms: &str) -> String {
    format!(
        r#"
        [store]
        url = "sqlite:///var/lib/consentd/consentd.db"
        [identity]
        hash_key_file = "/etc/consentd/secrets/hash-key"
        {alarms}
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
    )
}

fn accepted(alarms: &str) -> Checked {
    check(&text(alarms), [], &Files).unwrap_or_else(|faults| panic!("{faults}"))
}

fn faults(alarms: &str) -> String {
    let faults = check(&text(alarms), [], &Files).unwrap_err().0;
    let lines: Vec<_> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.key, fault.what))
        .collect();
    lines.join("\n")
}

#[test]
fn nobody_is_told_unless_it_is_said_who() {
    let alarms = accepted("").alarms;
    assert!(alarms.webhook.is_none() && alarms.mail.is_none());
}

#[test]
fn both_channels_are_read_with_their_defaults() {
    let alarms = accepted(&format!("{WEBHOOK}{MAIL}")).alarms;
    let webhook = alarms.webhook.unwrap();
    assert_eq!(webhook.url.host_str(), Some("hooks.example.edu"));
    assert_eq!(webhook.key.expose_secret().len(), 24);
    let mail = alarms.mail.unwrap();
    assert_eq!((mail.port, mail.security), (587, MailSecurity::StartTls));
    assert_eq!(mail.to.len(), 2);
    let (username, password) = mail.login.unwrap();
    assert_eq!(username, "consentd");
    assert_eq!(password.expose_secret(), "canary-password");
    let implicit = accepted(&format!("{MAIL}\nsecurity = \"tls\""));
    assert_eq!(implicit.alarms.mail.unwrap().port, 465);
    let near = MAIL.replace("smtp.example.edu", "127.0.0.1");
    let near = accepted(&format!("{near}\nsecurity = \"none\"\nport = 2525"));
    assert_eq!(near.alarms.mail.unwrap().port, 2_525);
}

#[test]
fn what_is_wrong_is_named_without_what_it_may_hold() {
    let rows = [
        (
            "a mail server elsewhere is reached over TLS",
            format!("{MAIL}\nsecurity = \"none\""),
            "alarms.mail.security: \"none\" is for a mail server on this machine only",
        ),
        (
            "an unknown word",
            format!("{MAIL}\nsecurity = \"ssl\""),
            "alarms.mail.security: must be \"starttls\", \"tls\" or \"none\"",
        ),
        (
            "no recipient",
            MAIL.replace("to = [", "# to = ["),
            "alarms.mail.to: is missing",
        ),
        (
            "a recipient that is none",
            MAIL.replace("crm@example.edu", "canary at example"),
            "alarms.mail.to: holds what is no e-mail address",
        ),
        (
            "the same recipient twice",
            MAIL.replace("crm@", "it@"),
            "alarms.mail.to: number 2 stands twice",
        ),
        (
            "a user without a password",
            MAIL.replace("password_file", "# password_file"),
            "alarms.mail.password_file: is missing",
        ),
        (
            "a password without a user",
            MAIL.replace("username", "# username"),
            "alarms.mail.username: is missing",
        ),
        (
            "a password in the file",
            MAIL.replace("password_file = ", "password = "),
            "alarms.mail.password: a secret must not stand in this file",
        ),
        (
            "a web hook in the clear",
            WEBHOOK.replace("https://", "http://"),
            "alarms.webhook.url: it must begin with https://",
        ),
        (
            "a web hook with a password",
            WEBHOOK.replace("https://", "https://canary:pass@"),
            "alarms.webhook.url: it must hold no user name or password",
        ),
        (
            "no address",
            WEBHOOK.replace("https://hooks", "//canary"),
            "alarms.webhook.url: is no valid address",
        ),
        (
            "no secret",
            WEBHOOK.replace("secret_file", "# secret_file"),
            "alarms.webhook.secret_file: is missing",
        ),
        (
            "a misspelt key",
            format!("{MAIL}\nrecipients = []"),
            "alarms.mail.recipients: unknown key",
        ),
    ];
    for (sentence, tables, expected) in rows {
        let found = faults(&tables);
        assert!(found.contains(expected), "{sentence}: {found}");
        assert!(!found.contains("canary"), "{sentence}: {found}");
    }
}

#[test]
fn a_reload_takes_over_who_is_told_and_shows_no_secret() {
    let before = accepted(WEBHOOK);
    let (_, same) = merge(&before, accepted(WEBHOOK));
    assert_eq!(same.taken, [""; 0]);
    for after in [
        WEBHOOK.replace("canary-path", "another"),
        format!("{WEBHOOK}{MAIL}"),
        WEBHOOK.replace("alarms-secret", "another-secret"),
        String::new(),
    ] {
        let found = accepted(&after);
        let (next, changed) = merge(&before, found.clone());
        assert_eq!(changed.taken, ["alarms"], "{after}");
        assert!(next.alarms.tell_like(&found.alarms));
    }
    let shown = format!("{:?}", accepted(&format!("{WEBHOOK}{MAIL}")).alarms);
    assert!(!shown.contains("canary"), "{shown}");
}
