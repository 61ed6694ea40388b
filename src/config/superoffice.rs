//! The checks of `kind = "superoffice"`.

use super::checked::SystemKind;
use super::platform::{allowed_hosts, login_url, stand_in_url};
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::system::{Vendor, granted_bases, limits, purpose, seconds};
use super::{build, keys};
use crate::connector::http;
use crate::connector::superoffice::config::{
    Base, ConsentFeed, Deployment, Online, OnlineGrant, Onsite, OnsiteGrant, Retired, Settings,
    Webhook, same_key,
};
use crate::consent::{Basis, Polarity, PurposeId, Purposes, Status};
use chrono_tz::Tz;
use jsonwebtoken::EncodingKey;
use secrecy::ExposeSecret;
use std::path::PathBuf;
use url::Url;

/// Hosts of the vendor's cloud besides the login host.
const CLOUD_HOSTS: &[&str] = &[".superoffice.com"];
/// The built-in purposes, with the names that consentd's own example gives them.
const PURPOSES: [(&str, &str); 2] = [("marketing", "EMARKETING"), ("store", "STORE")];
/// The built-in legal bases: key in the configuration, what they say, key in the tenant.
const BASES: [(&str, Option<Basis>, &str); 7] = [
    ("consent", Some(Basis::Consent), "61A"),
    ("contract", Some(Basis::Contract), "61B"),
    ("legal-obligation", Some(Basis::LegalObligation), "61C"),
    ("vital-interests", Some(Basis::VitalInterests), "61D"),
    ("public-task", Some(Basis::PublicTask), "61E"),
    (
        "legitimate-interests",
        Some(Basis::LegitimateInterests),
        "61F",
    ),
    ("withdrawn", None, "WITHDRAWN"),
];
/// What is written beside each consent.
const COMMENT: &str = "consentd: said in {system} at {time}";
/// Most characters of the template of the comment.
const MOST_COMMENT: usize = 200;
/// Least characters of the secret that signs the web hook's calls.
const LEAST_SECRET: usize = 16;

/// Checks one system.
pub(super) fn superoffice(
    table: &Table<'_>,
    name: &str,
    purposes: &Purposes,
    secrets: &dyn SecretReader,
) -> Vendor {
    let lag = seconds(table, "lag_secs", 5, 0..=3_600);
    let bases = bases(&table.table("legal_bases", keys::SUPEROFFICE_BASES));
    let held = held(table, purposes);
    check_granted(table, &held, purposes, &bases);
    let settings = Settings {
        limits: limits(table, name),
        deployment: deployment(table, secrets),
        granted_bases: granted_bases(purposes, held.iter().map(|(id, _)| *id)),
        purposes: held,
        bases,
        source: tenant_key(table, "source", table.text_or("source", "API")),
        comment: comment(table),
        language: language(table),
        filter_time_zone: filter_time_zone(table),
        consent_feed: table
            .word(
                "consent_feed",
                &[
                    ("auto", ConsentFeed::Auto),
                    ("rows", ConsentFeed::Rows),
                    ("archive", ConsentFeed::Archive),
                    ("persons", ConsentFeed::Persons),
                ],
            )
            .unwrap_or_default(),
        retired: table
            .word(
                "retired",
                &[("live", Retired::Live), ("gone", Retired::Gone)],
            )
            .unwrap_or_default(),
        merge_log: table.flag_or("merge_log", true),
        page_rows: table.number_or("page_rows", "rows", 1_000, 50..=10_000) as usize,
        overlap: seconds(table, "overlap_secs", 600, 0..=86_400),
        lag,
        sweep_interval: seconds(table, "sweep_interval_secs", 86_400, 60..=2_592_000),
        webhook: webhook(table, secrets),
    };
    Vendor {
        carries: settings
            .purposes
            .iter()
            .map(|(purpose, _)| (*purpose, Polarity::Recorded))
            .collect(),
        kind: SystemKind::SuperOffice(Box::new(settings)),
        link: None,
        lag,
    }
}

/// Whether it is one of the tenant's keys: it goes into addresses and queries.
fn is_key(key: &str) -> bool {
    let bare = key.strip_prefix('#').unwrap_or(key);
    !bare.is_empty() && bare.len() <= 255 && bare.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn tenant_key(table: &Table<'_>, key: &str, given: String) -> String {
    if !is_key(&given) && !given.is_empty() {
        table.fault(
            key,
            format!(
                "must be a key of SuperOffice (letters and digits), not a name, but is {given:?}"
            ),
        );
    }
    given
}

/// The purposes that the tenant holds.
fn held(table: &Table<'_>, purposes: &Purposes) -> Vec<(PurposeId, String)> {
    let named = table.named("purposes");
    if table.item("purposes").is_none() {
        let known: Vec<_> = PURPOSES
            .iter()
            .filter_map(|(name, key)| Some((purposes.find(name)?, (*key).to_owned())))
            .collect();
        if known.is_empty() && !purposes.is_empty() {
            table.fault(
                "purposes",
                "is missing; name the SuperOffice key of at least one purpose, e.g. marketing = \"EMARKETING\"",
            );
        }
        return known;
    }
    let mut held: Vec<(PurposeId, String)> = Vec::new();
    for (name, item) in named {
        let Some(key) = item.text() else {
            continue;
        };
        if !is_key(key) {
            table.notes.add(
                &item.path,
                format!("must be the key of a purpose in SuperOffice, e.g. \"EMARKETING\", but is {key:?}"),
            );
        }
        let id = purpose(table, "purposes", &name, purposes);
        if let Some((taken, _)) = held.iter().find(|(_, other)| same_key(other, key)) {
            table.notes.add(
                &item.path,
                format!("key {key} stands for {:?} already", purposes.name(*taken)),
            );
        }
        held.push((id, key.to_owned()));
    }
    if held.is_empty() {
        table.fault("purposes", "is empty; name at least one purpose");
    }
    held
}

/// What the tenant's legal bases mean; the first key of each list is written, all are read.
fn bases(table: &Table<'_>) -> Vec<Base> {
    let mut bases: Vec<Base> = Vec::new();
    for (name, basis, default) in BASES {
        let keys = if table.item(name).is_some() {
            table.texts(name)
        } else {
            vec![default.to_owned()]
        };
        for key in &keys {
            if !is_key(key) {
                table.fault(
                    name,
                    format!("must hold keys of SuperOffice's legal bases, e.g. {default:?}, but holds {key:?}"),
                );
            }
            let taken = bases.iter().any(|base| {
                same_key(&base.written, key)
                    || base.also_read.iter().any(|also| same_key(also, key))
            });
            if taken {
                table.fault(
                    name,
                    format!("key {key} stands for another basis already; each key has one meaning"),
                );
            }
        }
        let status = if basis.is_some() {
            Status::Granted
        } else {
            Status::Withdrawn
        };
        let mut keys = keys.into_iter();
        match keys.next() {
            Some(written) => bases.push(Base {
                means: (status, basis),
                written,
                also_read: keys.collect(),
            }),
            None if status == Status::Withdrawn => {
                table.fault(name, "must name the key by which a withdrawal is written");
            }
            None => {}
        }
    }
    bases
}

/// R21: each basis that a grant without one gets must have a key.
fn check_granted(
    table: &Table<'_>,
    held: &[(PurposeId, String)],
    purposes: &Purposes,
    bases: &[Base],
) {
    for (id, _) in held {
        let Some(purpose) = purposes.get(*id) else {
            continue;
        };
        let known = |base: &Base| base.means.1.as_ref() == Some(&purpose.granted_basis);
        if !bases.iter().any(known) {
            table.fault(
                "legal_bases",
                format!(
                    "names no key for {:?}, the granted_basis of {:?}",
                    purpose.granted_basis.word(),
                    purpose.name
                ),
            );
        }
    }
}

fn comment(table: &Table<'_>) -> String {
    let template = table.text_or("comment", COMMENT);
    let plain = template.replace("{system}", "").replace("{time}", "");
    if plain.contains(['{', '}']) {
        table.fault("comment", "may hold {system} and {time} only");
    }
    if template.chars().count() > MOST_COMMENT || template.chars().any(char::is_control) {
        table.fault(
            "comment",
            format!("must be one line of at most {MOST_COMMENT} characters"),
        );
    }
    template
}

fn language(table: &Table<'_>) -> String {
    let language = table.text_or("language", "en");
    let good = language.len() <= 35
        && language
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !good {
        table.fault(
            "language",
            format!("must be a language such as \"en\" or \"nb-NO\", but is {language:?}"),
        );
    }
    language
}

fn filter_time_zone(table: &Table<'_>) -> Tz {
    let name = table.text_or("filter_time_zone", "UTC");
    name.parse().unwrap_or_else(|_| {
        table.fault(
            "filter_time_zone",
            format!("{name:?} is no time zone; write it as in \"Europe/Oslo\""),
        );
        Tz::UTC
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Online,
    Onsite,
}

fn deployment(table: &Table<'_>, secrets: &dyn SecretReader) -> Deployment {
    let place = table.word_required(
        "deployment",
        &[("online", Where::Online), ("onsite", Where::Onsite)],
    );
    let auth = table.table("auth", keys::SUPEROFFICE_AUTH);
    if !auth.is_given() && table.item("auth").is_none() {
        table.fault(
            "auth",
            "is missing; add the table with grant and its secrets",
        );
    }
    match place {
        Some(Where::Onsite) => Deployment::Onsite(onsite(table, &auth, secrets)),
        Some(Where::Online) => {
            for key in ["base_url", "ca_file"] {
                if table.item(key).is_some() {
                    table.fault(key, "has no meaning with deployment \"online\"; remove it");
                }
            }
            Deployment::Online(online(&auth, secrets))
        }
        None => Deployment::Onsite(Onsite {
            base_url: stand_in_url(),
            grant: stand_in_grant(),
            authorities: Vec::new(),
        }),
    }
}

fn stand_in_grant() -> OnsiteGrant {
    OnsiteGrant::Ticket {
        ticket_file: PathBuf::new(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnlineKind {
    SystemUser,
    RefreshToken,
}

fn online(auth: &Table<'_>, secrets: &dyn SecretReader) -> Online {
    if !auth.is_given() {
        return Online {
            login_url: stand_in_url(),
            customer: String::new(),
            allowed_hosts: Vec::new(),
            grant: OnlineGrant::RefreshToken {
                client_id: String::new(),
                client_secret: String::new().into(),
                token_file: PathBuf::new(),
            },
        };
    }
    let customer = auth.text_required("customer", "the tenant's id, e.g. \"Cust12345\"");
    if customer.len() > 64 || !customer.chars().all(|c| c.is_ascii_alphanumeric()) {
        auth.fault(
            "customer",
            format!("must be the tenant's id, e.g. \"Cust12345\", but is {customer:?}"),
        );
    }
    let login_url = login_url(auth, "https://online.superoffice.com").unwrap_or_else(stand_in_url);
    let kind = auth.word_required(
        "grant",
        &[
            ("system-user", OnlineKind::SystemUser),
            ("refresh-token", OnlineKind::RefreshToken),
        ],
    );
    let grant = if kind == Some(OnlineKind::SystemUser) {
        unused(
            auth,
            &[
                "client_id",
                "client_secret",
                "client_secret_file",
                "token_file",
            ],
        );
        system_user(auth, secrets)
    } else {
        if kind.is_some() {
            unused(
                auth,
                &[
                    "serial",
                    "app_token",
                    "app_token_file",
                    "system_user_token",
                    "system_user_token_file",
                    "private_key",
                    "private_key_file",
                ],
            );
        }
        refresh_token(auth, kind.is_some(), secrets)
    };
    unused(
        auth,
        &["username", "password", "password_file", "ticket_file"],
    );
    Online {
        login_url,
        customer,
        allowed_hosts: allowed_hosts(auth, CLOUD_HOSTS),
        grant,
    }
}

fn system_user(auth: &Table<'_>, secrets: &dyn SecretReader) -> OnlineGrant {
    let private_key = secret::text_required(
        auth,
        "private_key",
        "the application's RSA private key in PEM",
        secrets,
    );
    let pem = private_key.expose_secret();
    if !pem.is_empty() && EncodingKey::from_rsa_pem(pem.as_bytes()).is_err() {
        auth.fault(
            "private_key_file",
            "must hold an RSA private key in PEM without a passphrase",
        );
    }
    OnlineGrant::SystemUser {
        app_token: secret::text_required(auth, "app_token", "the application's secret", secrets),
        system_user_token: secret::text_required(
            auth,
            "system_user_token",
            "the token of the system user that the administrator approved",
            secrets,
        ),
        serial: auth.text("serial"),
        private_key,
    }
}

fn refresh_token(auth: &Table<'_>, wanted: bool, secrets: &dyn SecretReader) -> OnlineGrant {
    if !wanted {
        return OnlineGrant::RefreshToken {
            client_id: String::new(),
            client_secret: String::new().into(),
            token_file: PathBuf::new(),
        };
    }
    OnlineGrant::RefreshToken {
        client_id: auth.text_required("client_id", "the application's id"),
        client_secret: secret::text_required(
            auth,
            "client_secret",
            "the application's secret",
            secrets,
        ),
        token_file: secret::kept_file(auth, "token_file", "the refresh token", secrets),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnsiteKind {
    Basic,
    Ticket,
}

fn onsite(table: &Table<'_>, auth: &Table<'_>, secrets: &dyn SecretReader) -> Onsite {
    let authorities = secret::public_file(table, "ca_file", secrets).unwrap_or_default();
    if !authorities.is_empty() && http::authorities(&authorities).is_none()
        || authorities.is_empty() && table.item("ca_file").is_some()
    {
        table.fault("ca_file", "must hold certificates in PEM");
    }
    let base_url = base_url(table).unwrap_or_else(stand_in_url);
    if !auth.is_given() {
        return Onsite {
            base_url,
            grant: stand_in_grant(),
            authorities,
        };
    }
    let kind = auth.word_required(
        "grant",
        &[("basic", OnsiteKind::Basic), ("ticket", OnsiteKind::Ticket)],
    );
    let grant = match kind {
        Some(OnsiteKind::Basic) => {
            unused(auth, &["ticket_file"]);
            let username = auth.text_required("username", "the user to log in as");
            if username.contains(':') {
                auth.fault("username", "must not hold a colon");
            }
            OnsiteGrant::Basic {
                username,
                password: secret::text_required(auth, "password", "the user's password", secrets),
            }
        }
        Some(OnsiteKind::Ticket) => {
            unused(auth, &["username", "password", "password_file"]);
            OnsiteGrant::Ticket {
                ticket_file: secret::kept_file(auth, "ticket_file", "the ticket", secrets),
            }
        }
        None => stand_in_grant(),
    };
    unused(
        auth,
        &[
            "login_url",
            "allowed_hosts",
            "customer",
            "serial",
            "app_token",
            "app_token_file",
            "system_user_token",
            "system_user_token_file",
            "private_key",
            "private_key_file",
            "client_id",
            "client_secret",
            "client_secret_file",
            "token_file",
        ],
    );
    Onsite {
        base_url,
        grant,
        authorities,
    }
}

/// The address of the web API on a server of one's own.
fn base_url(table: &Table<'_>) -> Option<Url> {
    const EXAMPLE: &str = "https://crm.example.com/SuperOffice/api";
    let given = table.text_required(
        "base_url",
        &format!("the address of the web API, e.g. {EXAMPLE}"),
    );
    if given.is_empty() {
        return None;
    }
    let url = Url::parse(given.trim_end_matches('/')).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(url) = url else {
        table.fault(
            "base_url",
            format!("must be an address without user and query, e.g. {EXAMPLE}"),
        );
        return None;
    };
    if url.scheme() == "http" && !build::is_loopback(url.host().as_ref()) {
        table.fault(
            "base_url",
            "must begin with https; plain http is for this machine only. A certificate of one's own \
             is trusted by ca_file",
        );
        return None;
    }
    Some(url)
}

/// Notes each key that has no meaning beside the others.
fn unused(table: &Table<'_>, keys: &[&str]) {
    for key in keys.iter().filter(|key| table.item(key).is_some()) {
        table.fault(key, "has no meaning with this grant; remove it");
    }
}

fn webhook(table: &Table<'_>, secrets: &dyn SecretReader) -> Option<Webhook> {
    let hook = table.table("webhook", keys::SUPEROFFICE_WEBHOOK);
    if !hook.is_given() {
        return None;
    }
    let secret = secret::text_required(
        &hook,
        "secret",
        "the secret that signs SuperOffice's calls (openssl rand -hex 32)",
        secrets,
    );
    let given = secret.expose_secret().len();
    if given > 0 && given < LEAST_SECRET {
        hook.fault(
            "secret_file",
            format!("needs at least {LEAST_SECRET} characters, but has {given}"),
        );
    }
    let url = hook.text("url").and_then(|given| {
        let url = Url::parse(&given).ok().filter(|url| {
            url.scheme() == "https"
                || url.scheme() == "http" && build::is_loopback(url.host().as_ref())
        });
        if url.is_none() {
            hook.fault(
                "url",
                "must be the https address by which SuperOffice reaches this daemon, e.g. \
                 https://consent.example.com/hooks/superoffice",
            );
        }
        url
    });
    Some(Webhook {
        previous_secret: secret::text(&hook, "previous_secret", secrets),
        secret,
        url,
    })
}
