//! `consentd run`: the daemon.

use super::{ConfigArg, Exit};
use crate::runtime::{daemon, telemetry};
use anyhow::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

/// Keeps the systems in step until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration has faults, or the daemon cannot be set up. Nothing was called then.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    telemetry::start(&checked.log).context("logging cannot be started")?;
    daemon::run(&checked).await?;
    Ok(Exit::Done)
}
