//! The configuration of CU Ascend by files (R46): what it says, and what is wrong with it.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use consentd::config::{
    Checked, ConfigFaults, Schedule, SecretFile, SecretReader, SystemKind, check,
};
use consentd::connector::ascend::file::config::{Credential, Meaning, PlaceSettings, Settings};
use consentd::consent::Polarity;
use secrecy::ExposeSecret as _;
use std::io;
use std::path::Path;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../config/consentd.example.toml");
const HOST_KEY: &str = "SHA256:uNiVztksCsDhcc0u9e8BrWXw5W0t5Nb5OVjm4dX8Zxs";

/// An ed25519 key made for this run alone, and its public half.
fn key() -> (String, String) {
    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::LineEnding;
    use russh::keys::ssh_key::private::Ed25519Keypair;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let private = key.to_openssh(LineEnding::LF).expect("a key");
    let public = key.public_key().to_openssh().expect("a key");
    (private.to_string(), public)
}

struct Files;

impl SecretReader for Files {
    fn read(&self, path: &Path) -> io::Result<SecretFile> {
        let name = path.file_name().and_then(|name| name.to_str());
        let bytes = match name {
            Some("hash-key") => "8c1f4a0d97b35e2266f0a1c4d3e8b759".to_owned(),
            Some("key") => key().0,
            Some("no-key") => "-----BEGIN NONSENSE-----".to_owned(),
            Some("password") => "a password\n".to_owned(),
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(SecretFile {
            bytes: bytes.into_bytes().into(),
            mode: 0o400,
            credential: false,
        })
    }
}

/// A configuration with this table of Ascend and these below it.
fn given(ascend: &str, more: &str) -> Result<Checked, ConfigFaults> {
    let text = format!(
        r#"
        [store]
        url = "sqlite:///tmp/consentd.db"
        [identity]
        hash_key_file = "/secrets/hash-key"
        [[purposes]]
        name = "marketing"
        [systems.ascend]
        kind = "ascend"
        transport = "file"
        time_zone = "America/Denver"
        {ascend}
        [systems.ascend.opt_out]
        polarity = "permission"
        {more}
        "#
    );
    check(&text, [], &Files)
}

const FOLDER: &str = "[systems.ascend.file]\ndirectory = \"/srv/exchange\"\n";

fn settings(checked: &Checked) -> Settings {
    match &checked.system("ascend").expect("the system").kind {
        SystemKind::AscendFile(settings) => (**settings).clone(),
        other => panic!("{other:?}"),
    }
}

/// What is wrong, each with its key.
fn faults(ascend: &str, more: &str) -> Vec<String> {
    let faults = given(ascend, more).expect_err("it is wrong");
    faults
        .0
        .iter()
        .map(|fault| format!("{}: {}", fault.key, fault.what))
        .collect()
}

#[test]
fn r46_a_folder_is_enough() {
    let checked = given("", FOLDER).expect("it is right");
    let system = checked.system("ascend").expect("the system");
    let Schedule::Cron { cron, time_zone } = &system.schedule else {
        panic!("{:?}", system.schedule);
    };
    assert_eq!(
        (cron.pattern.to_string().as_str(), *time_zone),
        ("0 1 * * *", chrono_tz::America::Denver),
        "nightly unless it is said otherwise"
    );
    assert_eq!(system.max_lag, Duration::from_hours(26));
    let settings = settings(&checked);
    assert!(
        matches!(&settings.place, PlaceSettings::Folder(path) if path == Path::new("/srv/exchange"))
    );
    assert_eq!(settings.meaning, Meaning::Seen);
    assert_eq!(settings.polarity, Polarity::Permission);
    assert_eq!(settings.ack_timeout, Duration::from_hours(12));
    assert_eq!(settings.lock_owner, "consentd");
    assert_eq!(settings.lock_stale, Duration::from_hours(6));
    assert_eq!(system.carries, [(settings.purpose, Polarity::Permission)]);
}

#[test]
fn r39_a_weekly_file_is_a_schedule_and_a_longer_lag() {
    let weekly = "schedule = \"0 1 * * 1\"\nmax_lag_secs = 777600\n";
    let checked = given(weekly, FOLDER).expect("it is right");
    let system = checked.system("ascend").expect("the system");
    assert_eq!(system.max_lag, Duration::from_hours(9 * 24));
    assert!(matches!(&system.schedule, Schedule::Cron { .. }));
    let at_once = given("schedule = \"immediate\"\n", FOLDER).expect("it is right");
    let system = at_once.system("ascend").expect("the system");
    assert!(matches!(system.schedule, Schedule::Immediate));
}

#[test]
fn r46_a_server_is_known_by_its_key_or_its_fingerprint() {
    let (_, public) = key();
    for host_key in [HOST_KEY, &public] {
        let sftp = format!(
            "[systems.ascend.file.sftp]\nhost = \"sftp.example.edu\"\ndirectory = \"/x\"\nuser = \"consentd\"\n\
             host_key = \"{host_key}\"\nprivate_key_file = \"/secrets/key\"\n"
        );
        let checked = given("request_timeout_secs = 9\n", &sftp).expect("it is right");
        let settings = settings(&checked);
        let PlaceSettings::Sftp(server) = &settings.place else {
            panic!("{:?}", settings.place);
        };
        assert!(
            server.host_key.starts_with("SHA256:"),
            "{}",
            server.host_key
        );
        assert_eq!((server.port, server.user.as_str()), (22, "consentd"));
        assert_eq!(server.request_timeout, Duration::from_secs(9));
        assert!(matches!(server.credential, Credential::PrivateKey(_)));
        let shown = format!("{checked:?}");
        assert!(!shown.contains("OPENSSH"), "secrets are not shown");
    }
    let by_password = format!(
        "[systems.ascend.file.sftp]\nhost = \"sftp.example.edu\"\ndirectory = \"/x\"\nuser = \"consentd\"\n\
         host_key = \"{HOST_KEY}\"\npassword_file = \"/secrets/password\"\n"
    );
    let settings = settings(&given("", &by_password).expect("it is right"));
    let PlaceSettings::Sftp(server) = settings.place else {
        panic!("no server");
    };
    assert!(
        matches!(&server.credential, Credential::Password(word) if word.expose_secret() == "a password")
    );
}

#[test]
fn whatever_is_wrong_is_named_with_what_to_do() {
    let sftp = |rest: &str| {
        format!(
            "[systems.ascend.file.sftp]\nhost = \"h\"\ndirectory = \"/x\"\nuser = \"u\"\n{rest}"
        )
    };
    let pinned = format!("host_key = \"{HOST_KEY}\"\n");
    let rows: Vec<(&str, &str, String, &str)> = vec![
        (
            "no table",
            "",
            String::new(),
            "systems.ascend.file: is missing",
        ),
        (
            "no folder",
            "",
            "[systems.ascend.file]\n".to_owned(),
            "file.directory: is missing",
        ),
        (
            "a relative folder",
            "",
            FOLDER.replace("/srv", "srv"),
            "file.directory: must be an absolute",
        ),
        (
            "a folder above",
            "",
            FOLDER.replace("/srv", "/srv/.."),
            "file.directory: must be an absolute",
        ),
        (
            "a folder beside a server",
            "",
            format!("{FOLDER}{}", sftp(&pinned)),
            "file.directory: has no meaning",
        ),
        (
            "no pinned key",
            "",
            sftp("private_key_file = \"/secrets/key\"\n"),
            "sftp.host_key: is missing",
        ),
        (
            "a key that is none",
            "",
            sftp("host_key = \"ssh-ed25519 nonsense\"\nprivate_key_file = \"/secrets/key\"\n"),
            "sftp.host_key: is neither",
        ),
        (
            "a short fingerprint",
            "",
            sftp("host_key = \"SHA256:abc\"\nprivate_key_file = \"/secrets/key\"\n"),
            "sftp.host_key: is no fingerprint",
        ),
        (
            "no credential",
            "",
            sftp(&pinned),
            "sftp.private_key_file: is missing",
        ),
        (
            "two credentials",
            "",
            sftp(&format!(
                "{pinned}private_key_file = \"/secrets/key\"\npassword_file = \"/secrets/password\"\n"
            )),
            "sftp.password_file: has no meaning beside",
        ),
        (
            "no private key",
            "",
            sftp(&format!("{pinned}private_key_file = \"/secrets/no-key\"\n")),
            "sftp.private_key_file: must hold",
        ),
        (
            "a secret in the file",
            "",
            sftp(&format!("{pinned}password = \"x\"\n")),
            "sftp.password: a secret must not",
        ),
        (
            "a word that is none",
            "",
            format!("{FOLDER}as_of = \"then\"\n"),
            "file.as_of: must be \"seen\" or \"changed\"",
        ),
        (
            "an owner of two words",
            "",
            format!("{FOLDER}lock_owner = \"a b\"\n"),
            "file.lock_owner: must be one word",
        ),
        (
            "an unknown key",
            "",
            format!("{FOLDER}folder = \"x\"\n"),
            "file.folder: unknown key",
        ),
        (
            "a key of the other transport",
            "lag_secs = 5\n",
            FOLDER.to_owned(),
            "ascend.lag_secs: has no meaning with transport",
        ),
        (
            "a time-out of nothing",
            "request_timeout_secs = 5\n",
            FOLDER.to_owned(),
            "request_timeout_secs: has no meaning for a folder",
        ),
        (
            "a link by another field",
            "",
            format!(
                "{FOLDER}[systems.ascend.link]\nfield = \"x\"\nsystem = \"y\"\nsystem_field = \"z\"\n"
            ),
            "link.field: must be \"ascend_id\"",
        ),
    ];
    for (sentence, ascend, more, expected) in rows {
        let found = faults(ascend, &more);
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{sentence}: {found:#?}"
        );
    }
    let text = EXAMPLE.replacen(
        "[systems.ascend.auth]",
        "[systems.ascend.file]\ndirectory = \"/x\"\n\n[systems.ascend.auth]",
        1,
    );
    let found = check(&text, [], &Files).expect_err("it is wrong");
    let named = found.0.iter().any(|fault| {
        fault.key == "systems.ascend.file" && fault.what.contains("transport \"platform\"")
    });
    assert!(named, "{found:?}");
}

#[test]
fn opt_out_holds_nothing_but_its_meaning() {
    let text = |opt_out: &str| {
        format!(
            "[store]\nurl = \"sqlite:///tmp/consentd.db\"\n[identity]\nhash_key_file = \"/secrets/hash-key\"\n\
             [[purposes]]\nname = \"marketing\"\n[systems.ascend]\nkind = \"ascend\"\ntransport = \"file\"\n\
             time_zone = \"America/Denver\"\n{opt_out}{FOLDER}"
        )
    };
    let rows = [
        ("", "systems.ascend.opt_out: is missing"),
        ("[systems.ascend.opt_out]\n", "opt_out.polarity: is missing"),
        (
            "[systems.ascend.opt_out]\npolarity = \"opt-out\"\nfield = \"X\"\n",
            "opt_out.field: has no meaning",
        ),
        (
            "[systems.ascend.opt_out]\npolarity = \"opt-out\"\nmode = \"service-indicator\"\n",
            "opt_out.mode: must be \"contact-flag\"",
        ),
    ];
    for (opt_out, expected) in rows {
        let found = check(&text(opt_out), [], &Files).expect_err("it is wrong");
        let found: Vec<_> = found
            .0
            .iter()
            .map(|fault| format!("{}: {}", fault.key, fault.what))
            .collect();
        assert!(
            found.iter().any(|fault| fault.contains(expected)),
            "{expected}: {found:#?}"
        );
    }
    let right = "[systems.ascend.opt_out]\npolarity = \"opt-out\"\nmode = \"contact-flag\"\n";
    check(&text(right), [], &Files).expect("the mode may be named");
}
