//! `consentd sandbox`: the vendor simulators on fixed ports, with a configuration for them.

use std::path::PathBuf;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// People in the simulated systems.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub contacts: u32,
    /// The same seed makes the same people.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Port of the control interface; the systems follow on the next ones.
    #[arg(long, value_name = "PORT", default_value_t = 9400, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    pub port_base: u16,
    /// Where the configuration and its secrets are written.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub dir: PathBuf,
}
