//! The checks of `[server]`: where the daemon listens, who may ask it, and where it posts answers.

use super::checked::{Callback, Role, Server, Token};
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::{keys, system};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where the daemon listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);
/// More tokens than this are a mistake.
const MAX_TOKENS: usize = 100;
/// A token of fewer characters could be guessed.
const LEAST_TOKEN: usize = 32;
/// How to make one.
const HOW: &str = "make one with: openssl rand -hex 32";
/// How secrets of Standard Webhooks begin.
const SECRET_PREFIX: &str = "whsec_";

/// Checks the table.
pub(super) fn build(root: &Table<'_>, secrets: &dyn SecretReader) -> Server {
    let table = root.table("server", keys::SERVER);
    let listen = table.text("listen").and_then(|text| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            table.fault(
                "listen",
                format!("must be an IP address and a port, e.g. {LISTEN}, but is {text:?}"),
            );
        }
        parsed
    });
    let days = table.number_or("sendout_retention_days", "days", 30, 1..=3_650);
    Server {
        listen: listen.unwrap_or(LISTEN),
        tokens: tokens(&table, secrets),
        callback: callback(&table, secrets),
        sendout_retention: Duration::from_hours(24 * u64::from(days)),
    }
}

fn tokens(table: &Table<'_>, secrets: &dyn SecretReader) -> Vec<Token> {
    let entries = table.tables("tokens", keys::TOKENS);
    if entries.len() > MAX_TOKENS {
        table.fault("tokens", format!("at most {MAX_TOKENS} are possible"));
    }
    let mut names = BTreeSet::new();
    let mut hashes = BTreeSet::new();
    let mut tokens = Vec::new();
    for entry in &entries {
        let name = entry.text_required("name", "a name for logs, e.g. \"campaigns\"");
        if !name.is_empty() && !system::is_name(&name) {
            entry.fault("name", system::NAME_RULE);
        }
        if !name.is_empty() && !names.insert(name.clone()) {
            entry.fault("name", format!("{name:?} stands twice"));
        }
        let roles = [Role::Viewer, Role::Sender, Role::Operator].map(|role| (role.word(), role));
        let role = entry.word_required("role", &roles);
        let (Some(role), Some(hash)) = (role, hash(entry, secrets)) else {
            continue;
        };
        if !hashes.insert(hash) {
            entry.fault("token_file", "is the token of another entry too");
        }
        tokens.push(Token { name, role, hash });
    }
    tokens
}

/// The digest of the token, computed from the token or given.
fn hash(entry: &Table<'_>, secrets: &dyn SecretReader) -> Option<[u8; 32]> {
    match (
        entry.item("token_file").is_some(),
        entry.item("token_hash_file").is_some(),
    ) {
        (true, true) => {
            entry.fault(
                "token_hash_file",
                "token_file is given too; keep one of them",
            );
            None
        }
        (false, false) => {
            entry.fault(
                "token_file",
                format!(
                    "is missing; set it to the path of a file (mode 0400) with the token ({HOW}), \
                     or set token_hash_file to one with its SHA-256"
                ),
            );
            None
        }
        (true, false) => {
            let token = secret::file(entry, "token_file", secrets)?;
            let text = token.expose_secret();
            let is_plain = text.chars().all(|c| c.is_ascii_graphic());
            if text.len() < LEAST_TOKEN || !is_plain {
                entry.fault(
                    "token_file",
                    format!("needs at least {LEAST_TOKEN} characters without blanks; {HOW}"),
                );
                return None;
            }
            Some(Sha256::digest(text.as_bytes()).into())
        }
        (false, true) => {
            let given = secret::file(entry, "token_hash_file", secrets)?;
            let parsed = from_hex(given.expose_secret());
            if parsed.is_none() {
                entry.fault(
                    "token_hash_file",
                    "must begin with the 64 hexadecimal digits of the token's SHA-256, as \
                     `printf %s TOKEN | sha256sum` prints them",
                );
            }
            parsed
        }
    }
}

/// The digest that `sha256sum` printed, with or without the name of a file behind it.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.split_ascii_whitespace().next()?;
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

fn callback(table: &Table<'_>, secrets: &dyn SecretReader) -> Option<Callback> {
    let callback = table.table("callback", keys::CALLBACK);
    if !callback.is_given() {
        return None;
    }
    let secret = secret::text_required(
        &callback,
        "secret",
        "the secret of the signatures, as whsec_ and Base64",
        secrets,
    );
    let hosts = callback.texts("hosts");
    if hosts.is_empty() {
        callback.fault(
            "hosts",
            "is missing; list the hosts that callbacks may name, e.g. [\"mail.example.edu\"]",
        );
    }
    for host in &hosts {
        let name = host.trim_start_matches('.');
        let is_host =
            !name.is_empty() && url::Host::parse(name).is_ok_and(|host| host.to_string() == name);
        if !is_host {
            callback.fault(
                "hosts",
                format!(
                    "{host:?} is no host name in lower case, nor a suffix that begins with a dot"
                ),
            );
        }
    }
    Some(Callback {
        key: signing_key(&callback, &secret),
        hosts,
    })
}

/// The key in a secret of Standard Webhooks, which stands under `secret` or `secret_file`.
pub(super) fn signing_key(table: &Table<'_>, secret: &SecretString) -> SecretSlice<u8> {
    // That it is missing is noted already.
    if secret.expose_secret().is_empty() {
        return SecretSlice::default();
    }
    let bytes = secret
        .expose_secret()
        .strip_prefix(SECRET_PREFIX)
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .filter(|bytes| (24..=64).contains(&bytes.len()));
    if bytes.is_none() {
        table.fault(
            "secret_file",
            "must hold whsec_ and the Base64 of 24 to 64 random bytes; make one with: \
             printf 'whsec_%s' \"$(openssl rand -base64 32)\"",
        );
    }
    bytes.unwrap_or_default().into()
}
