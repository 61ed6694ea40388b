//! `consentd run`: the daemon.

use super::{ConfigArg, Exit};
use crate::runtime::{daemon, telemetry};
use anyhow::Context;
use std::sync::Arc;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

/// Keeps the systems in step until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// When the configuration has faults, or the daemon cannot be set up. Nothing was called then.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    telemetry::start(&checked.log).context("logging cannot be started")?;
    let config = args.config.clone();
    daemon::run(checked, Arc::new(move || config.load())).await?;
    Ok(Exit::Done)
}
