//! The checks of what every Salesforce-platform org needs: login, limits, allowed hosts.

use super::build::is_loopback;
use super::keys;
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::system::{limits, seconds};
use crate::connector::salesforce::config::{Grant, PlatformSettings};
use jsonwebtoken::EncodingKey;
use secrecy::ExposeSecret;
use url::Url;

/// Hosts that belong to the platform besides the login host.
const PLATFORM_HOSTS: &[&str] = &[".my.salesforce.com"];

pub(super) fn settings(
    table: &Table<'_>,
    name: &str,
    secrets: &dyn SecretReader,
) -> PlatformSettings {
    let auth = table.table("auth", keys::AUTH);
    if !auth.is_given() && table.item("auth").is_none() {
        table.fault(
            "auth",
            "is missing; add the table with grant, login_url and client_id",
        );
    }
    let login_url = if auth.is_given() {
        login_url(&auth, "https://login.salesforce.com")
    } else {
        None
    };
    let grant = if auth.is_given() {
        grant(&auth, login_url.as_ref(), secrets)
    } else {
        None
    };
    PlatformSettings {
        limits: limits(table, name),
        login_url: login_url.unwrap_or_else(stand_in_url),
        grant: grant.unwrap_or_else(|| Grant::ClientCredentials {
            client_id: String::new(),
            client_secret: String::new().into(),
        }),
        allowed_hosts: allowed_hosts(&auth, PLATFORM_HOSTS),
        api_version: api_version(table),
        quota_reserve_percent: table.number_or("quota_reserve_percent", "percent", 80, 1..=100)
            as u8,
        page_rows: table.number_or("page_rows", "rows", 2_000, 200..=2_000) as usize,
        overlap: seconds(table, "overlap_secs", 600, 0..=86_400),
        lag: seconds(table, "lag_secs", 5, 0..=3_600),
        safety_net_interval: seconds(table, "safety_net_interval_secs", 3_600, 60..=86_400),
        bulk_query_above: table.number_or("bulk_query_above", "contacts", 50_000, 1..=u32::MAX)
            as usize,
        bulk_ingest_above: table.number_or("bulk_ingest_above", "writes", 2_000, 200..=u32::MAX)
            as usize,
        bulk_deadline: seconds(table, "bulk_deadline_secs", 3_600, 60..=86_400),
    }
}

pub(super) fn stand_in_url() -> Url {
    // The only stand-in that has to be parsed; the literal is valid, and a test builds it.
    #[expect(clippy::expect_used, reason = "a constant address")]
    Url::parse("https://login.invalid").expect("a constant address")
}

/// The login host: scheme and host only, over TLS unless it is this machine.
pub(super) fn login_url(auth: &Table<'_>, example: &str) -> Option<Url> {
    host_url(auth, "login_url", example)
}

/// A login host under another key.
pub(super) fn host_url(auth: &Table<'_>, key: &str, example: &str) -> Option<Url> {
    let given = auth.text_required(key, &format!("the login host, e.g. {example}"));
    if given.is_empty() {
        return None;
    }
    let Ok(url) = Url::parse(&given) else {
        auth.fault(key, format!("is no valid address; e.g. {example}"));
        return None;
    };
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    if url.scheme() != "https" && url.scheme() != "http" || url.host().is_none() || !bare {
        auth.fault(key, format!("must be scheme and host only, e.g. {example}"));
        return None;
    }
    if url.scheme() == "http" && !is_loopback(url.host().as_ref()) {
        auth.fault(
            key,
            "must begin with https; plain http is for this machine only",
        );
        return None;
    }
    Some(url)
}

/// The hosts that answers may send us to besides the login host.
pub(super) fn allowed_hosts(auth: &Table<'_>, default: &[&str]) -> Vec<String> {
    if auth.item("allowed_hosts").is_none() {
        return default.iter().map(|&host| host.to_owned()).collect();
    }
    let hosts: Vec<_> = auth
        .texts("allowed_hosts")
        .iter()
        .map(|host| host.to_lowercase())
        .collect();
    for host in &hosts {
        let plain = host
            .strip_prefix('.')
            .map_or((host.as_str(), 1), |suffix| (suffix, 2));
        let (labels, least) = plain;
        let well_formed = labels.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        if !well_formed || labels.split('.').count() < least {
            auth.fault(
                "allowed_hosts",
                format!(
                    "{host:?} must be a host name, or a suffix of at least two parts that begins with a \
                     dot, e.g. \"{}\"",
                    default.first().unwrap_or(&"")
                ),
            );
        }
    }
    hosts
}

fn api_version(table: &Table<'_>) -> Option<String> {
    let version = table.text("api_version")?;
    let good = version.split_once('.').is_some_and(|(major, minor)| {
        major.parse::<u16>().is_ok_and(|major| major >= 40) && minor == "0"
    });
    if !good {
        table.fault(
            "api_version",
            format!("must look like \"66.0\", but is {version:?}"),
        );
    }
    Some(version)
}

#[derive(Debug, Clone, Copy)]
enum GrantKind {
    JwtBearer,
    ClientCredentials,
    RefreshToken,
}

fn grant(auth: &Table<'_>, login_url: Option<&Url>, secrets: &dyn SecretReader) -> Option<Grant> {
    let kind = auth.word_required(
        "grant",
        &[
            ("jwt-bearer", GrantKind::JwtBearer),
            ("client-credentials", GrantKind::ClientCredentials),
            ("refresh-token", GrantKind::RefreshToken),
        ],
    )?;
    let client_id = auth.text_required("client_id", "the consumer key of the connected app");
    let (grant, unused): (_, &[&str]) = match kind {
        GrantKind::JwtBearer => {
            let private_key =
                secret::text_required(auth, "private_key", "the RSA private key in PEM", secrets);
            let pem = private_key.expose_secret();
            if !pem.is_empty() && EncodingKey::from_rsa_pem(pem.as_bytes()).is_err() {
                auth.fault(
                    "private_key_file",
                    "must hold an RSA private key in PEM without a passphrase",
                );
            }
            let origin = login_url
                .map(|url| url.origin().ascii_serialization())
                .unwrap_or_default();
            let grant = Grant::JwtBearer {
                client_id,
                username: auth
                    .text_required("username", "the user the connected app is approved for"),
                audience: auth.text_or("audience", &origin),
                private_key,
            };
            (
                grant,
                &["client_secret", "client_secret_file", "token_file"],
            )
        }
        GrantKind::ClientCredentials => {
            let shared = login_url
                .and_then(Url::host_str)
                .is_some_and(|host| matches!(host, "login.salesforce.com" | "test.salesforce.com"));
            if shared {
                auth.fault(
                    "login_url",
                    "grant \"client-credentials\" needs the org's own domain, e.g. \
                     https://name.my.salesforce.com",
                );
            }
            let grant = Grant::ClientCredentials {
                client_id,
                client_secret: secret::text_required(
                    auth,
                    "client_secret",
                    "the consumer secret",
                    secrets,
                ),
            };
            (
                grant,
                &[
                    "username",
                    "audience",
                    "private_key",
                    "private_key_file",
                    "token_file",
                ],
            )
        }
        GrantKind::RefreshToken => {
            let grant = Grant::RefreshToken {
                client_id,
                client_secret: secret::text(auth, "client_secret", secrets),
                token_file: secret::kept_file(auth, "token_file", "the refresh token", secrets),
            };
            (
                grant,
                &["username", "audience", "private_key", "private_key_file"],
            )
        }
    };
    for key in unused.iter().filter(|key| auth.item(key).is_some()) {
        auth.fault(key, "has no meaning with this grant; remove it");
    }
    Some(grant)
}
