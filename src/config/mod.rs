//! Configuration: one TOML file, overridden by the environment.
//!
//! Everything is read and checked in one step ([`load`]) before anything is started: `raw` merges,
//! `build` judges and builds, and whatever is wrong is reported in one message, each fault with
//! its key and what to do. No network is touched. What comes out cannot be wrong in itself.

mod alarms;
mod ascend_file;
mod build;
pub mod checked;
mod emarketeer;
mod export;
pub mod keys;
mod marketing_cloud;
mod mass_change;
mod platform;
mod privacy;
mod raw;
pub mod reload;
mod retention;
pub mod secret;
mod server;
mod superoffice;
mod system;
mod vendors;

pub use checked::{
    AlarmMail, AlarmWebhook, Alarms, Callback, Checked, FirstRun, Link, Log, LogFormat,
    MailSecurity, MarketingCloud, Organisation, ParityReport, PolicySettings, Privacy, Retention,
    Role, Schedule, Server, Sheet, SheetFormat, SubscriberKey, SuppressionKeySettings, SystemKind,
    SystemSettings, Token,
};
pub use secret::{Disk, SecretFile, SecretReader};

use std::fmt;
use std::path::Path;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigFault {
    /// Path of the key, e.g. `systems.ascend.opt_out.polarity`.
    pub key: String,
    /// What is wrong and what to do. Holds no secret.
    pub what: String,
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl ConfigFaults {
    pub(crate) fn one(key: &str, what: impl Into<String>) -> Self {
        Self(vec![ConfigFault {
            key: key.to_owned(),
            what: what.into(),
        }])
    }
}

impl ConfigFaults {
    /// All faults with what follows from them, e.g. `nothing was started`.
    pub fn told(&self, consequence: &str) -> String {
        let count = match self.0.len() {
            1 => "one fault".to_owned(),
            many => format!("{many} faults"),
        };
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|fault| format!("\n  {}: {}", fault.key, fault.what))
            .collect();
        format!(
            "the configuration has {count}; {consequence}{}",
            lines.concat()
        )
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told("nothing was started"))
    }
}

impl std::error::Error for ConfigFaults {}

/// Checks a configuration given as text.
///
/// # Errors
/// All faults at once.
pub fn check(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    secrets: &dyn SecretReader,
) -> Result<Checked, ConfigFaults> {
    build::checked(&raw::Raw::read(text, environment)?, secrets)
}

/// Reads and checks the file at `path` with the environment of this process.
///
/// # Errors
/// All faults at once.
pub fn load(path: &Path) -> Result<Checked, ConfigFaults> {
    let text = std::fs::read_to_string(path).map_err(|fault| {
        ConfigFaults::one(
            &path.display().to_string(),
            format!("cannot be read: {fault}"),
        )
    })?;
    // Names and values that are no UTF-8 cannot be meant for us.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let disk = Disk {
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into),
    };
    check(&text, environment, &disk)
}
