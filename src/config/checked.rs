//! The configuration once it is checked: what the rest of the daemon is built from.

use crate::connector::{ascend, emarketeer, marketing_cloud, salesforce, superoffice};
use crate::consent::rules::Thresholds;
use crate::consent::{Polarity, Policy, PurposeId, Purposes};
use crate::store::StoreSettings;
use chrono_tz::Tz;
use croner::Cron;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// A whole configuration without faults.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What a daemon does with a new store.
    pub first_run: FirstRun,
    /// Health, metrics and API.
    pub server: Server,
    /// Where the state is kept.
    pub store: StoreSettings,
    /// The key of the subjects' keyed hashes, at least 32 bytes, kept outside the store (R55).
    pub hash_key: SecretSlice<u8>,
    /// What is left of people who were erased (R55).
    pub privacy: Privacy,
    /// How long what is kept (R57).
    pub retention: Retention,
    /// What is logged, and how.
    pub log: Log,
    /// Who is told when somebody has to look.
    pub alarms: Alarms,
    /// The comparison of every day.
    pub parity: ParityReport,
    /// What consent records say of the organisation (R54).
    pub export: Organisation,
    /// What mail may be for.
    pub purposes: Purposes,
    /// Rules and their time limits.
    pub policy: PolicySettings,
    /// The systems by name, disabled ones included.
    pub systems: Vec<SystemSettings>,
    /// The gate, if there is one (R47).
    pub marketing_cloud: Option<MarketingCloud>,
}

impl Checked {
    /// The system of that name.
    pub fn system(&self, name: &str) -> Option<&SystemSettings> {
        self.systems.iter().find(|system| system.name == name)
    }

    /// The gate, unless there is none or it is switched off.
    pub fn gate(&self) -> Option<&MarketingCloud> {
        self.marketing_cloud.as_ref().filter(|gate| gate.enabled)
    }
}

/// What a daemon does that finds a new store (R49). It counts once: a store stays what it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstRun {
    /// Everything is read and decided, and nothing is written until a plan is applied.
    #[default]
    Plan,
    /// Decisions are written at once.
    Write,
}

/// What only the organisation knows and consent records name (R54). All of it is optional until records are
/// exported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Organisation {
    /// Legal name of the data controller.
    pub controller: Option<String>,
    /// An IRI that names it.
    pub controller_id: Option<String>,
    /// E-mail address of its contact.
    pub contact: Option<String>,
    /// Its postal address.
    pub postal_address: Option<String>,
    /// Where the consent notice is.
    pub notice_url: Option<String>,
    /// Language of the notice, ISO 639.
    pub notice_language: Option<String>,
    /// Jurisdiction as DPV names it, e.g. `US-CO`.
    pub jurisdiction: Option<String>,
    /// Categories of the data that is processed, terms of DPV; never empty once checked.
    pub data_categories: Vec<String>,
    /// How long the data is kept: an ISO 8601 duration, or an event in words.
    pub retention: Option<String>,
    /// Where it is kept, places as DPV names them.
    pub storage_locations: Vec<String>,
    /// Recipients besides the controller, by name.
    pub recipients: Vec<String>,
    /// Where consent can be changed and withdrawn.
    pub withdraw_url: Option<String>,
    /// Where the other rights can be exercised; the notice where it is not given.
    pub rights_url: Option<String>,
    /// How long a consent is valid: an ISO 8601 duration, or an event in words; until it is withdrawn where
    /// it is not given.
    pub validity: Option<String>,
}

/// What is left of people who were erased.
#[derive(Debug, Clone, Default)]
pub struct Privacy {
    /// The keys of suppressions, the one for new ones first; the identity key alone when there is
    /// none.
    pub suppression_keys: Vec<SuppressionKeySettings>,
}

impl Privacy {
    /// Whether the same keys stand in the same order.
    pub fn is_like(&self, other: &Self) -> bool {
        let keys = |privacy: &Self| -> Vec<(String, Vec<u8>)> {
            let keys = privacy.suppression_keys.iter();
            keys.map(|key| (key.id.clone(), key.bytes.expose_secret().to_vec()))
                .collect()
        };
        keys(self) == keys(other)
    }
}

/// A key of suppressions.
#[derive(Debug, Clone)]
pub struct SuppressionKeySettings {
    /// Stands beside each suppression under it.
    pub id: String,
    /// At least 32 bytes, kept outside the store.
    pub bytes: SecretSlice<u8>,
}

/// How long what is kept; none is for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// Changes of status.
    pub flips: Option<Duration>,
    /// Which contacts a load has counted.
    pub load_members: Option<Duration>,
    /// Records that could not be understood.
    pub quarantine: Option<Duration>,
    /// Re-subscribe requests, once they are closed.
    pub closed_requests: Option<Duration>,
    /// Contacts, once they are deleted or merged in their systems.
    pub deleted_contacts: Option<Duration>,
    /// Ledger entries on what contacts showed.
    pub observed: Option<Duration>,
    /// Ledger entries on verdicts.
    pub verdict: Option<Duration>,
    /// Ledger entries on writes.
    pub writes: Option<Duration>,
    /// Ledger entries on what operators and the configuration did.
    pub operator: Option<Duration>,
}

/// The daemon's own HTTP port.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// Who may use the API; nobody when there is none.
    pub tokens: Vec<Token>,
    /// Where the answers of send-outs may be posted; nowhere when not given.
    pub callback: Option<Callback>,
    /// Settled send-outs are forgotten after this (R57).
    pub sendout_retention: Duration,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To look.
    Viewer,
    /// To check lists before mail is sent, and to register send-outs.
    Sender,
    /// Everything.
    Operator,
}

impl Role {
    /// The word used in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Sender => "sender",
            Self::Operator => "operator",
        }
    }
}

/// Lets somebody use the API. The token itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Stands in logs and with what was done with it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

/// How the answers of send-outs are posted.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The key of the signatures, decoded; 24 to 64 bytes (Standard Webhooks).
    pub key: SecretSlice<u8>,
    /// Host names, or suffixes that begin with a dot, that callbacks may name.
    pub hosts: Vec<String>,
}

/// Who is told of alarms besides the log and the metrics.
#[derive(Debug, Clone)]
pub struct Alarms {
    /// Where they are posted; nowhere when not given.
    pub webhook: Option<AlarmWebhook>,
    /// Whom they are mailed to; nobody when not given.
    pub mail: Option<AlarmMail>,
    /// The secrets in it.
    pub secrets: SecretsMark,
}

impl Alarms {
    /// Whether the same are told in the same way.
    pub fn tell_like(&self, other: &Self) -> bool {
        self.secrets == other.secrets && format!("{self:?}") == format!("{other:?}")
    }
}

/// Where alarms are posted.
#[derive(Clone)]
pub struct AlarmWebhook {
    /// The address, which may hold a secret.
    pub url: Url,
    /// The key of the signatures, decoded; 24 to 64 bytes (Standard Webhooks).
    pub key: SecretSlice<u8>,
}

/// Equal where the addresses are, and none is shown.
impl fmt::Debug for AlarmWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = Sha256::digest(self.url.as_str().as_bytes());
        f.debug_struct("AlarmWebhook")
            .field("url", &format_args!("…{:02x?}", digest.split_at(8).0))
            .finish_non_exhaustive()
    }
}

/// How the way to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailSecurity {
    /// TLS after a greeting in the clear; without it nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None; for a server on this machine only.
    None,
}

impl MailSecurity {
    /// The usual port.
    pub const fn port(self) -> u32 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

/// Whom alarms are mailed to.
#[derive(Debug, Clone)]
pub struct AlarmMail {
    /// The mail server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the way there is protected.
    pub security: MailSecurity,
    /// User name and password, where it asks for them.
    pub login: Option<(String, SecretString)>,
    /// The sender.
    pub from: Mailbox,
    /// The recipients, each told on its own.
    pub to: Vec<Mailbox>,
}

/// The comparison of every day.
#[derive(Debug, Clone)]
pub struct ParityReport {
    /// Its times; none when it is switched off.
    pub schedule: Option<Schedule>,
    /// The zone of its times, and of the day in the names of its files.
    pub time_zone: Tz,
    /// Where its files are written; nowhere when not given.
    pub directory: Option<PathBuf>,
    /// The systems are asked afresh.
    pub full: bool,
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
    /// CU Ascend, by the interface of its platform.
    Ascend(Box<ascend::config::Settings>),
    /// CU Ascend, by files.
    AscendFile(Box<ascend::file::config::Settings>),
    /// eMarketeer.
    Emarketeer(Box<emarketeer::config::Settings>),
    /// SuperOffice, online or onsite.
    SuperOffice(Box<superoffice::config::Settings>),
}

impl SystemKind {
    /// The word used in the configuration.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Salesforce(_) => "salesforce",
            Self::Ascend(_) | Self::AscendFile(_) => "ascend",
            Self::Emarketeer(_) => "emarketeer",
            Self::SuperOffice(_) => "superoffice",
        }
    }

    /// Share of the vendor's daily allowance above which only withdrawals go out, in percent (R34).
    pub const fn quota_reserve_percent(&self) -> u8 {
        match self {
            Self::Salesforce(settings) => settings.platform.quota_reserve_percent,
            Self::Ascend(settings) => settings.platform.quota_reserve_percent,
            // These vendors tell of no allowance.
            Self::AscendFile(_) | Self::Emarketeer(_) | Self::SuperOffice(_) => 100,
        }
    }

    /// What is read, and what it means: another mark means that what is known of the system's
    /// contacts was read by other names.
    fn reads(&self, purposes: &Purposes) -> String {
        match self {
            Self::Salesforce(settings) => {
                let fields: Vec<_> = settings
                    .fields
                    .iter()
                    .map(|field| (purposes.name(field.purpose), &field.name))
                    .collect();
                format!("{fields:?} {:?}", settings.link_field)
            }
            Self::Ascend(settings) => format!(
                "{} {} {} {:?}",
                settings.object, settings.id_field, settings.address_field, settings.mode
            ),
            Self::AscendFile(settings) => format!("file {:?}", settings.meaning),
            Self::Emarketeer(settings) => {
                let names: Vec<_> = settings
                    .purposes
                    .iter()
                    .map(|held| (purposes.name(held.purpose), &held.candidates))
                    .collect();
                format!("{names:?} {:?} {:?}", settings.bases, settings.sources)
            }
            Self::SuperOffice(settings) => {
                let keys: Vec<_> = settings
                    .purposes
                    .iter()
                    .map(|(purpose, key)| (purposes.name(*purpose), key))
                    .collect();
                format!("{keys:?} {:?} {:?}", settings.bases, settings.retired)
            }
        }
    }
}

/// Stands for the secrets of a system: equal where they are equal. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretsMark(pub(super) [u8; 32]);

impl fmt::Debug for SecretsMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretsMark(…)")
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
    /// Whether its word counts and verdicts are written to it; without, it is read and shown only
    /// (R49).
    pub legal_basis_sync: bool,
    /// When decisions are written to it.
    pub schedule: Schedule,
    /// Time between two polls of its changes.
    pub poll_interval: Duration,
    /// Lower numbers win ties (R18).
    pub precedence: u16,
    /// Users whose statements cannot grant (R25).
    pub bulk_actors: BTreeSet<String>,
    /// R26: thresholds of what it says of single purposes, where they differ from those of the policy.
    pub mass_change: Vec<(PurposeId, Thresholds)>,
    /// A feed that lags more than this makes the daemon not ready.
    pub max_lag: Duration,
    /// Its connector.
    pub kind: SystemKind,
    /// The secrets in it.
    pub secrets: SecretsMark,
    /// The purposes it carries, with the meaning of a set value.
    pub carries: Vec<(PurposeId, Polarity)>,
    /// The person id it shares with another system.
    pub link: Option<Link>,
}

impl SystemSettings {
    /// Whether a connector built from these settings is as good for those.
    pub fn connects_like(&self, other: &Self) -> bool {
        self.secrets == other.secrets && format!("{:?}", self.kind) == format!("{:?}", other.kind)
    }

    /// A mark of what is read of the system's contacts. Once it changes they have to be read anew.
    pub fn shape(&self, purposes: &Purposes) -> String {
        let carries: Vec<_> = self
            .carries
            .iter()
            .map(|(id, polarity)| (purposes.name(*id), polarity))
            .collect();
        let reads = self.kind.reads(purposes);
        let text = format!("{} {carries:?} {:?} {reads}", self.kind.word(), self.link);
        let digest = Sha256::digest(text.as_bytes());
        let (mark, _) = digest.split_at(8);
        format!(
            "{:016x}",
            mark.iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        )
    }
}

/// What of a contact is its key as a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubscriberKey {
    /// The contact's id; one of 15 characters in its 18-character form.
    #[default]
    ContactId,
    /// The person id that it shares with another system (R58).
    Link,
    /// Its address.
    Address,
}

impl SubscriberKey {
    /// The word used in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ContactId => "contact-id",
            Self::Link => "link",
            Self::Address => "address",
        }
    }

    /// The key of a contact, from its id, its link and its address; none when it has no such thing.
    pub fn of(self, id: &str, link: Option<&str>, address: Option<&str>) -> Option<String> {
        let found = match self {
            Self::ContactId => {
                return Some(salesforce::wire::soql::full_id(id).unwrap_or_else(|| id.to_owned()))
                    .filter(|id| !id.is_empty());
            }
            Self::Link => link,
            Self::Address => address,
        };
        found.filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

/// A form in which the sheet is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SheetFormat {
    /// Comma-separated values.
    Csv,
    /// A workbook.
    Xlsx,
}

impl SheetFormat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Csv, Self::Xlsx];

    /// The word used in the configuration, and the ending of the file's name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
        }
    }
}

/// Where and when the sheet of re-subscribe requests is written (R47).
#[derive(Debug, Clone)]
pub struct Sheet {
    /// An absolute path.
    pub directory: PathBuf,
    /// When; always by a cron expression.
    pub schedule: Schedule,
    /// In which forms; at least one.
    pub formats: Vec<SheetFormat>,
}

/// The gate (R47).
#[derive(Debug, Clone)]
pub struct MarketingCloud {
    /// Whether it is asked at all.
    pub enabled: bool,
    /// Its connector.
    pub connector: marketing_cloud::config::Settings,
    /// The secrets in it.
    pub secrets: SecretsMark,
    /// The name of the configured system whose contacts are its subscribers.
    pub system: String,
    /// What of a contact is the subscriber key.
    pub subscriber_key: SubscriberKey,
    /// The purpose of the mail that it sends.
    pub purpose: PurposeId,
    /// When granted subjects are looked at; always by a cron expression.
    pub schedule: Schedule,
    /// Whether subscribers are set active without anybody's doing.
    pub auto_resubscribe: bool,
    /// Whether that is only told and not done.
    pub auto_resubscribe_dry_run: bool,
    /// The sheet of requests; none is written without.
    pub sheet: Option<Sheet>,
}

impl MarketingCloud {
    /// Whether both are configured alike, so that nothing has to be built anew.
    pub fn is_like(&self, other: &Self) -> bool {
        self.secrets == other.secrets && format!("{self:?}") == format!("{other:?}")
    }
}
