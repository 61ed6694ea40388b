//! `consentd demo`: the daemon against its own simulators, with a story.

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after the story instead of going on; status 0 only if all of it held.
    #[arg(long)]
    pub exit: bool,
    /// People in the simulated systems.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub contacts: u32,
}
