//! `consentd explain ADDRESS`: what each system said, which rule decided, what was written (R53).

use super::ConfigArg;
use super::output::FormatArg;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// How to write the timeline.
    #[command(flatten)]
    pub output: FormatArg,
    /// The person's e-mail address.
    #[arg(value_name = "ADDRESS")]
    pub address: String,
}
