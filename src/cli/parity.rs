//! `consentd parity`: the contacts that do not show their verdict, with the reason.

use super::ConfigArg;
use super::output::FormatArg;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// How to write the list.
    #[command(flatten)]
    pub output: FormatArg,
}
