//! The configuration once it is checked: what the rest of the daemon is built from.

use crate::connector::{ascend, salesforce};
use crate::consent::{Polarity, Policy, PurposeId, Purposes};
use crate::store::StoreSettings;
use chrono_tz::Tz;
use croner::Cron;
use secrecy::SecretSlice;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// A whole configuration without faults.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Health, metrics and API.
    pub server: Server,
    /// Where the state is kept.
    pub store: StoreSettings,
    /// The key of the subjects' keyed hashes, at least 32 bytes, kept outside the store (R55).
    pub hash_key: SecretSlice<u8>,
    /// What is logged, and how.
    pub log: Log,
    /// What mail may be for.
    pub purposes: Purposes,
    /// Rules and their time limits.
    pub policy: PolicySettings,
    /// The systems by name, disabled ones included.
    pub systems: Vec<SystemSettings>,
}

impl Checked {
    /// The system of that name.
    pub fn system(&self, name: &str) -> Option<&SystemSettings> {
        self.systems.iter().find(|system| system.name == name)
    }
}

/// The daemon's own HTTP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// The rules' settings and time limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySettings {
    /// What resolution and guards depend on. Its version is a digest of everything configured that
    /// a verdict depends on (R23).
    pub rules: Policy,
    /// A grant is emitted no sooner than this after it was seen (R25).
    pub grant_settle: Duration,
    /// A stamp further in the future than this is capped (R16).
    pub future_tolerance: Duration,
    /// A withdrawal has to be everywhere within this time (R34).
    pub withdrawal_deadline: Duration,
}

/// When decisions are written to a system (R39).
#[derive(Debug, Clone)]
pub enum Schedule {
    /// As soon as they are made.
    Immediate,
    /// At the times of a cron expression of five fields.
    Cron {
        /// The times.
        cron: Box<Cron>,
        /// The zone they are meant in.
        time_zone: Tz,
    },
}

/// Which connector, with its settings.
#[derive(Debug, Clone)]
pub enum SystemKind {
    /// Salesforce.
    Salesforce(Box<salesforce::config::Settings>),
    /// CU Ascend.
    Ascend(Box<ascend::config::Settings>),
}

impl SystemKind {
    /// The word used in the configuration.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Salesforce(_) => "salesforce",
            Self::Ascend(_) => "ascend",
        }
    }

    /// Login and limits, which all connectors so far share.
    pub const fn platform(&self) -> &salesforce::config::PlatformSettings {
        match self {
            Self::Salesforce(settings) => &settings.platform,
            Self::Ascend(settings) => &settings.platform,
        }
    }
}

/// A shared person id: the same value stands in a field of this system and of another one (R58).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The field of this system.
    pub field: String,
    /// The other system's configured name.
    pub system: String,
    /// The field of the other system.
    pub system_field: String,
}

/// One connected system.
#[derive(Debug, Clone)]
pub struct SystemSettings {
    /// Configured name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// Whether it is read and written at all (R49).
    pub enabled: bool,
    /// When decisions are written to it.
    pub schedule: Schedule,
    /// Time between two polls of its changes.
    pub poll_interval: Duration,
    /// Lower numbers win ties (R18).
    pub precedence: u16,
    /// Users whose statements cannot grant (R25).
    pub bulk_actors: BTreeSet<String>,
    /// A feed that lags more than this makes the daemon not ready.
    pub max_lag: Duration,
    /// Its connector.
    pub kind: SystemKind,
    /// The purposes it carries, with the meaning of a set value.
    pub carries: Vec<(PurposeId, Polarity)>,
    /// The person id it shares with another system.
    pub link: Option<Link>,
}
