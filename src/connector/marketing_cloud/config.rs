//! Checked settings of the Marketing Cloud gate. `config` builds them; they cannot be wrong once built.

use crate::connector::gate::Unit;
use crate::connector::http::Limits;
use chrono::FixedOffset;
use secrecy::SecretString;
use url::Url;

/// How the units are asked where subscribers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// One retrieve of the parent answers for all units (`QueryAllAccounts`).
    #[default]
    AllAccounts,
    /// One retrieve per unit, each with the unit's own token.
    PerUnit,
}

/// An enterprise account and the units of it that may mail the people of the hub.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds of its calls.
    pub limits: Limits,
    /// Token host, scheme and host only, e.g. `https://SUBDOMAIN.auth.marketingcloudapis.com`.
    pub auth_url: Url,
    /// Where SOAP calls go; the host that the token answer names when not configured.
    pub soap_url: Option<Url>,
    /// Hosts that the token answer may name besides the token host: each a host name, or a suffix
    /// that begins with a dot.
    pub allowed_hosts: Vec<String>,
    /// Id of the installed package.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// The parent, and then the units that are looked at.
    pub units: Vec<Unit>,
    /// How units are asked.
    pub reach: Reach,
    /// Subscriber keys in one call.
    pub keys_per_call: usize,
    /// The zone of times that name none (R17): by default UTC-6 all year, the system's own clock.
    pub utc_offset: FixedOffset,
    /// Whether it is to set subscribers active, so that the probe looks for the permission.
    pub activates: bool,
}
