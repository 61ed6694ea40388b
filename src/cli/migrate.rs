//! `consentd migrate`: brings the state store to this version's schema. `run` does so too; the
//! command is for those who want to do it, and see it done, on their own.

use super::{ConfigArg, Exit, output};
use crate::store::{self, Access};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

/// Migrates.
///
/// # Errors
/// When the store cannot be opened, for instance because a daemon runs on it.
pub async fn migrate(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Daemon).await?;
    store.close().await;
    output::print("The state store has the schema of this version.\n")?;
    Ok(Exit::Done)
}
