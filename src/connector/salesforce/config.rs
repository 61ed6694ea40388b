//! Checked settings of a Salesforce system. `config` builds them; they cannot be wrong once built.

use crate::connector::http::Limits;
use crate::consent::{Polarity, PurposeId};
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// How the daemon logs in.
#[derive(Debug, Clone)]
pub enum Grant {
    /// OAuth 2.0 JWT bearer, RS256 (recommended).
    JwtBearer {
        /// Consumer key of the connected app.
        client_id: String,
        /// User name the app is approved for.
        username: String,
        /// `aud` claim; the login host unless configured.
        audience: String,
        /// RSA private key, PEM.
        private_key: SecretString,
    },
    /// OAuth 2.0 client credentials against the org's own domain.
    ClientCredentials {
        /// Consumer key.
        client_id: String,
        /// Consumer secret.
        client_secret: SecretString,
    },
    /// OAuth 2.0 refresh token, with or without rotation.
    RefreshToken {
        /// Consumer key.
        client_id: String,
        /// Consumer secret, if the app demands one.
        client_secret: Option<SecretString>,
        /// Where the current refresh token lives (0600). A rotated token is written there, durably,
        /// before the access token that came with it is used.
        token_file: PathBuf,
    },
}

/// One consent field of the Contact object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The purpose it holds.
    pub purpose: PurposeId,
    /// API name, e.g. `HasOptedOutOfEmail`.
    pub name: String,
    /// What a set value means.
    pub polarity: Polarity,
}

/// Everything the platform client (login, versions, limits, HTTP) needs; shared by all connectors
/// that speak to a Salesforce-platform org.
#[derive(Debug, Clone)]
pub struct PlatformSettings {
    /// Bounds of its calls, with the configured system name.
    pub limits: Limits,
    /// Login host, scheme and host only.
    pub login_url: Url,
    /// How to log in.
    pub grant: Grant,
    /// Hosts that `instance_url` and next-page links may name besides the login host: each a
    /// host name, or a suffix that begins with a dot, e.g. `.my.salesforce.com`.
    pub allowed_hosts: Vec<String>,
    /// API version to use, e.g. `66.0`; the newest that both sides know when not configured.
    pub api_version: Option<String>,
    /// Share of the daily allowance above which only withdrawals are sent and polls slow down, in
    /// percent.
    pub quota_reserve_percent: u8,
    /// Rows asked for per page (200 … 2,000).
    pub page_rows: usize,
    /// Every poll reads again what changed this long before the last one (R31, late commits).
    pub overlap: Duration,
    /// Changes younger than this are left for the next poll.
    pub lag: Duration,
    /// How often `getUpdated`/`getDeleted` are asked as a safety net.
    pub safety_net_interval: Duration,
    /// A first load of more contacts than this is read by Bulk API 2.0.
    pub bulk_query_above: usize,
    /// More pending writes than this are sent by Bulk API 2.0.
    pub bulk_ingest_above: usize,
    /// A bulk job that takes longer is aborted and tried again.
    pub bulk_deadline: Duration,
}

/// A Salesforce org with consent on its Contact object (R45).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Login and limits.
    pub platform: PlatformSettings,
    /// The opt-out flag and the preference boxes.
    pub fields: Vec<Field>,
    /// The field that holds the person's id in another system (R58), if any.
    pub link_field: Option<String>,
}
