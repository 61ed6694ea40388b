//! `consentd plan`: every write that `run` would do, and none of them done (R51).

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
