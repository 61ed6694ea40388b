//! `consentd run`: the daemon.

use super::ConfigArg;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
}
