//! `consentd backup FILE`: a copy of the state store, made beside a running daemon.

use super::{ConfigArg, Exit, output};
use crate::store::{self, Access};
use anyhow::{Context, bail};
use std::path::PathBuf;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Where it is written, for its owner alone. It holds addresses.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace a file that is there.
    #[arg(long)]
    replace: bool,
}

/// Copies the store and proves the copy.
///
/// # Errors
/// When the store cannot be read, the file is there already or cannot be written, the copy is not whole,
/// or the store is on Postgres.
pub async fn backup(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let file = &args.file;
    if file.exists() && !args.replace {
        bail!("{} is there already; --replace replaces it", file.display());
    }
    let store = store::open(&checked.store, Access::Tool).await?;
    let copied = store.back_up(file).await;
    store.close().await;
    let Some(backup) = copied? else {
        bail!(
            "the store is on Postgres; back it up with: pg_dump --format=custom --file={} and the address in store.url",
            file.display()
        );
    };
    output::print(&format!(
        "{}: {} bytes, whole, ledger up to {}\n",
        file.display(),
        backup.bytes,
        backup.head
    ))
    .context("the backup is written")?;
    Ok(Exit::Done)
}
