//! The checks of `kind = "ascend"` with `transport = "file"`.

use super::checked::{Link, SystemKind};
use super::keys;
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::system::{Vendor, api_name, purpose, seconds};
use crate::connector::ascend::file::config::{
    Credential, Meaning, PlaceSettings, Settings, SftpSettings,
};
use crate::consent::{Polarity, Purposes};
use chrono_tz::Tz;
use russh::keys::{Algorithm, HashAlg, PublicKey, decode_secret_key};
use secrecy::ExposeSecret;
use std::path::{Component, PathBuf};
use std::time::Duration;

/// Keys of the other transport.
const OF_THE_PLATFORM: &[&str] = &[
    "auth",
    "object",
    "address_field",
    "api_version",
    "overlap_secs",
    "lag_secs",
    "max_body_mib",
    "max_concurrent",
    "max_calls_per_sec",
    "quota_reserve_percent",
    "safety_net_interval_secs",
    "bulk_query_above",
    "bulk_ingest_above",
    "bulk_deadline_secs",
];
/// The one name that the shared person id has in an extract.
const ID_COLUMN: &str = "ascend_id";

/// Whether the table chooses this transport.
pub(super) fn is_meant(table: &Table<'_>) -> bool {
    table
        .item("transport")
        .and_then(|item| item.text().map(|word| word == "file"))
        .unwrap_or(false)
}

/// The checks of the transport.
pub(super) fn settings(
    table: &Table<'_>,
    name: &str,
    purposes: &Purposes,
    time_zone: Option<Tz>,
    secrets: &dyn SecretReader,
) -> Vendor {
    for key in OF_THE_PLATFORM {
        if table.item(key).is_some() {
            table.fault(key, "has no meaning with transport \"file\"; remove it");
        }
    }
    if table.item("time_zone").is_none() {
        table.fault(
            "time_zone",
            "is missing; set it to the zone in which files are named, e.g. \"America/Denver\"",
        );
    }
    let file = table.table("file", keys::FILE);
    if table.item("file").is_none() {
        table.fault(
            "file",
            "is missing; add the table with directory, or [systems.<name>.file.sftp]",
        );
    }
    let (held, polarity) = opt_out(table, purposes);
    let settings = Settings {
        system: name.to_owned(),
        place: place(table, &file, secrets),
        purpose: held,
        polarity,
        meaning: file
            .word(
                "as_of",
                &[("seen", Meaning::Seen), ("changed", Meaning::Changed)],
            )
            .unwrap_or(Meaning::Seen),
        time_zone: time_zone.unwrap_or(Tz::UTC),
        ack_timeout: hours(&file, "ack_timeout_hours", 12, 1..=240),
        batch_rows: file.number_or("batch_rows", "rows", 5_000, 1..=50_000) as usize,
        page_rows: table.number_or("page_rows", "rows", 2_000, 1..=10_000) as usize,
        max_file_bytes: u64::from(file.number_or("max_file_mib", "MiB", 512, 1..=4_096)) << 20,
        integration_actors: file.texts("integration_actors").into_iter().collect(),
        lock_owner: lock_owner(&file),
        lock_stale: hours(&file, "lock_stale_hours", 6, 1..=240),
    };
    Vendor {
        // What is read is as old as the file; how old that may be is `max_lag_secs`.
        lag: Duration::ZERO,
        carries: vec![(held, polarity)],
        kind: SystemKind::AscendFile(Box::new(settings)),
        link: link(table),
    }
}

fn hours(
    table: &Table<'_>,
    key: &str,
    default: u32,
    bounds: std::ops::RangeInclusive<u32>,
) -> Duration {
    Duration::from_hours(u64::from(table.number_or(key, "hours", default, bounds)))
}

fn opt_out(table: &Table<'_>, purposes: &Purposes) -> (crate::consent::PurposeId, Polarity) {
    let opt_out = table.table("opt_out", keys::OPT_OUT);
    if table.item("opt_out").is_none() {
        table.fault("opt_out", "is missing; add the table with polarity");
    }
    let given = opt_out.is_given();
    // An extract has one column for it, whose name is agreed.
    opt_out.word("mode", &[("contact-flag", ())]);
    for key in ["field", "service_indicator"] {
        if opt_out.item(key).is_some() {
            opt_out.fault(key, "has no meaning with transport \"file\"; remove it");
        }
    }
    let polarity = opt_out.word(
        "polarity",
        &[
            ("opt-out", Polarity::OptOut),
            ("permission", Polarity::Permission),
        ],
    );
    if given && opt_out.item("polarity").is_none() {
        opt_out.fault(
            "polarity",
            "is missing, and there is no default, because a guess would reverse everybody's consent: set \
             \"opt-out\" if TRUE in the column email_value means \"do not mail\", or \"permission\" if it \
             means \"may be mailed\"",
        );
    }
    let name = opt_out.text_or("purpose", "marketing");
    let held = purpose(&opt_out, "purpose", &name, purposes);
    (held, polarity.unwrap_or(Polarity::OptOut))
}

/// R58: the id column of the extract is the shared person id.
fn link(table: &Table<'_>) -> Option<Link> {
    let link = table.table("link", keys::LINK);
    if !link.is_given() {
        return None;
    }
    if link.text("field").is_some_and(|field| field != ID_COLUMN) {
        link.fault(
            "field",
            format!("must be {ID_COLUMN:?} with transport \"file\", or be left out"),
        );
    }
    Some(Link {
        field: ID_COLUMN.to_owned(),
        system: link.text_required("system", "the name of the system that holds the Ascend id"),
        system_field: api_name(
            &link,
            "system_field",
            link.text_required("system_field", "the API name of the field there"),
        ),
    })
}

fn lock_owner(file: &Table<'_>) -> String {
    let owner = file.text_or("lock_owner", "consentd");
    let is_word = owner.len() <= 64
        && owner
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
    if !is_word {
        file.fault(
            "lock_owner",
            "must be one word of letters, digits, '-', '_', '.' and '@', at most 64",
        );
    }
    owner
}

fn place(table: &Table<'_>, file: &Table<'_>, secrets: &dyn SecretReader) -> PlaceSettings {
    let stand_in = PlaceSettings::Folder(PathBuf::new());
    if !file.is_given() {
        return stand_in;
    }
    if file.item("sftp").is_some() {
        if file.item("directory").is_some() {
            file.fault(
                "directory",
                "has no meaning beside the table sftp, which has a directory of its own; remove one of them",
            );
        }
        return sftp(table, &file.table("sftp", keys::SFTP), secrets);
    }
    for key in ["connect_timeout_secs", "request_timeout_secs"] {
        if table.item(key).is_some() {
            table.fault(
                key,
                "has no meaning for a folder on this machine; remove it",
            );
        }
    }
    let directory = PathBuf::from(file.text_required(
        "directory",
        "the path of the exchange folder, or add the table sftp",
    ));
    let is_plain = directory
        .components()
        .all(|part| !matches!(part, Component::ParentDir));
    let is_usable = directory.is_absolute() && is_plain;
    if !directory.as_os_str().is_empty() && !is_usable {
        file.fault("directory", "must be an absolute path without \"..\"");
    }
    PlaceSettings::Folder(directory)
}

fn sftp(table: &Table<'_>, sftp: &Table<'_>, secrets: &dyn SecretReader) -> PlaceSettings {
    let directory = sftp.text_required("directory", "the exchange folder on the server");
    if directory.split('/').any(|part| part == "..") || directory.contains('\0') {
        sftp.fault("directory", "must be a path without \"..\"");
    }
    let host = sftp.text_required("host", "the name of the server");
    if host.contains(['/', '@', ' ']) {
        sftp.fault(
            "host",
            "must be a host name or an address, and nothing else",
        );
    }
    PlaceSettings::Sftp(Box::new(SftpSettings {
        host,
        port: sftp.number_or("port", "", 22, 1..=65_535) as u16,
        directory,
        user: sftp.text_required("user", "the user to log in as"),
        host_key: host_key(sftp),
        credential: credential(sftp, secrets),
        connect_timeout: seconds(table, "connect_timeout_secs", 5, 1..=60),
        request_timeout: seconds(table, "request_timeout_secs", 30, 1..=600),
    }))
}

/// The pinned key: a line of a public key file, or its fingerprint.
fn host_key(sftp: &Table<'_>) -> String {
    let given = sftp.text_required(
        "host_key",
        "the server's public key (\"ssh-ed25519 AAAA…\") or its fingerprint (\"SHA256:…\"), as told by its \
         administrator",
    );
    if given.is_empty() {
        return given;
    }
    if let Some(digest) = given.strip_prefix("SHA256:") {
        let digest = digest.trim_end_matches('=');
        let is_digest = digest.len() == 43
            && digest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
        if !is_digest {
            sftp.fault(
                "host_key",
                "is no fingerprint: \"SHA256:\" and 43 characters",
            );
        }
        return format!("SHA256:{digest}");
    }
    if let Ok(key) = PublicKey::from_openssh(&given) {
        return key.fingerprint(HashAlg::Sha256).to_string();
    }
    sftp.fault(
        "host_key",
        "is neither a public key (\"ssh-ed25519 AAAA…\") nor a fingerprint (\"SHA256:…\")",
    );
    String::new()
}

fn credential(sftp: &Table<'_>, secrets: &dyn SecretReader) -> Credential {
    let by_password = sftp.item("password").is_some() || sftp.item("password_file").is_some();
    let by_key = sftp.item("private_key").is_some() || sftp.item("private_key_file").is_some();
    if by_password && by_key {
        sftp.fault(
            "password_file",
            "has no meaning beside a private key; remove one of them",
        );
    }
    if by_password {
        return Credential::Password(secret::text_required(
            sftp,
            "password",
            "the user's password",
            secrets,
        ));
    }
    let key = secret::text_required(
        sftp,
        "private_key",
        "the user's private key (ed25519 or ecdsa, without a passphrase)",
        secrets,
    );
    if !key.expose_secret().is_empty() {
        match decode_secret_key(key.expose_secret(), None) {
            Ok(found) if matches!(found.algorithm(), Algorithm::Rsa { .. } | Algorithm::Dsa) => {
                sftp.fault(
                    "private_key_file",
                    "must be an ed25519 or ecdsa key; make one with: ssh-keygen -t ed25519",
                );
            }
            Ok(_) => {}
            Err(_) => sftp.fault(
                "private_key_file",
                "must hold a private key (ed25519 or ecdsa) without a passphrase; make one with: ssh-keygen \
                 -t ed25519",
            ),
        }
    }
    Credential::PrivateKey(key)
}
