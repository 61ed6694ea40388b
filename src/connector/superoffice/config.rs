//! Checked settings of a SuperOffice system. `config` builds them; they cannot be wrong once built.

use crate::connector::http::Limits;
use crate::consent::{Basis, PurposeId, Status};
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// A tenant of SuperOffice's own cloud.
#[derive(Debug, Clone)]
pub struct Online {
    /// Login host of the environment, scheme and host only, e.g. `https://online.superoffice.com`.
    pub login_url: Url,
    /// The tenant, e.g. `Cust12345`.
    pub customer: String,
    /// Hosts that the vendor's answers may send us to besides the login host: each a host name, or
    /// a suffix that begins with a dot.
    pub allowed_hosts: Vec<String>,
    /// How to log in.
    pub grant: OnlineGrant,
}

/// How the daemon logs in online.
#[derive(Debug, Clone)]
pub enum OnlineGrant {
    /// As the tenant's system user (recommended): it has every right and no licence.
    SystemUser {
        /// The application's secret, which also goes along with every call.
        app_token: SecretString,
        /// The token that the tenant's administrator approved.
        system_user_token: SecretString,
        /// RSA private key of the application, PEM.
        private_key: SecretString,
        /// Serial number of the tenant's licence, which the answer has to name when it is known.
        serial: Option<String>,
    },
    /// As a user who once consented, by OpenID Connect refresh token.
    RefreshToken {
        /// The application's id.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
        /// Where the refresh token lives (0600). Should the vendor renew it, it is replaced there.
        token_file: PathBuf,
    },
}

/// A server of one's own.
#[derive(Debug, Clone)]
pub struct Onsite {
    /// Address of the web API, e.g. `https://crm.example.com/SuperOffice/api`.
    pub base_url: Url,
    /// How to log in.
    pub grant: OnsiteGrant,
    /// Certificates in PEM that are trusted besides those of the machine.
    pub authorities: Vec<u8>,
}

/// How the daemon logs in on site.
#[derive(Debug, Clone)]
pub enum OnsiteGrant {
    /// As a user with a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// By a ticket that somebody else keeps fresh in a file.
    Ticket {
        /// The file (0600).
        ticket_file: PathBuf,
    },
}

/// Where the tenant is and how to log in.
#[derive(Debug, Clone)]
pub enum Deployment {
    /// In the vendor's cloud.
    Online(Online),
    /// On a server of one's own.
    Onsite(Onsite),
}

/// What a key of the tenant's list of legal bases means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Withdrawn carries no basis.
    pub means: (Status, Option<Basis>),
    /// The key that is written.
    pub written: String,
    /// Further keys that are read as the same.
    pub also_read: Vec<String>,
}

/// Which way changes of consent are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsentFeed {
    /// The best one that the server does not refuse.
    #[default]
    Auto,
    /// The consent rows themselves, by the archive `dynamic`.
    Rows,
    /// Changed rows by the archive `ConsentPurpose`, consents one person at a time.
    Archive,
    /// Consents of changed persons, one person at a time; other changes show in sweeps only.
    Persons,
}

/// What a person marked as a former employee is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retired {
    /// A contact like any other.
    #[default]
    Live,
    /// As good as deleted: it speaks no longer and is not written to.
    Gone,
}

/// A SuperOffice tenant.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds of its calls, with the configured system name.
    pub limits: Limits,
    /// Where it is.
    pub deployment: Deployment,
    /// Which key of the tenant's purposes stands for which purpose.
    pub purposes: Vec<(PurposeId, String)>,
    /// What the tenant's legal bases mean. Keys that are not listed are read as a basis of that name
    /// and never written elsewhere.
    pub bases: Vec<Base>,
    /// The legal bases of grants that were made where none is kept; the account has to hold them
    /// (R21).
    pub granted_bases: BTreeSet<Basis>,
    /// Key of the source that is written with each consent.
    pub source: String,
    /// Comment that is written with each consent; `{system}` and `{time}` say where and when the
    /// person said so.
    pub comment: String,
    /// Language in which names are asked for; keys alone decide.
    pub language: String,
    /// The zone that the server reads the times of filters in. The vendor does not say; UTC.
    pub filter_time_zone: chrono_tz::Tz,
    /// See [`ConsentFeed`].
    pub consent_feed: ConsentFeed,
    /// See [`Retired`].
    pub retired: Retired,
    /// Whether merges are looked for in the log of merges.
    pub merge_log: bool,
    /// Rows asked for per page.
    pub page_rows: usize,
    /// Every poll reads again what changed this long before the last one (R31, late commits).
    pub overlap: Duration,
    /// Changes younger than this are left for the next poll.
    pub lag: Duration,
    /// How often everything is read, to find what no list of changes shows.
    pub sweep_interval: Duration,
    /// The web hook, if there is one.
    pub webhook: Option<Webhook>,
}

/// The web hook by which SuperOffice says that a person changed.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// The secret that signs its calls.
    pub secret: SecretString,
    /// The secret before, while it is being replaced.
    pub previous_secret: Option<SecretString>,
    /// Where SuperOffice reaches `/hooks/superoffice` of this daemon.
    pub url: Option<Url>,
}

impl Settings {
    /// The tenant's name in web hooks, where it is known.
    pub fn customer(&self) -> Option<&str> {
        match &self.deployment {
            Deployment::Online(online) => Some(&online.customer),
            Deployment::Onsite(_) => None,
        }
    }
}

/// A key of one of the tenant's lists without the `#` that old servers put before it.
pub fn bare(key: &str) -> &str {
    key.strip_prefix('#').unwrap_or(key)
}

/// Whether two keys are the same: one leading `#` and the case do not count.
pub fn same_key(one: &str, other: &str) -> bool {
    bare(one).eq_ignore_ascii_case(bare(other))
}
