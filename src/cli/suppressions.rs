//! `consentd suppressions`: under which keys people who were erased are kept from coming back (R55).

use super::output::{self, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::store::{self, Access};
use crate::sync::suppression::{IDENTITY, Suppressor};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
}

/// Prints one row per key, in the order of the configuration.
///
/// # Errors
/// When the store cannot be read, or a key that suppressions stand under is missing.
pub async fn suppressions(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let standing = Suppressor::of(&checked).standing(&*store).await;
    store.close().await;
    let mut list = List::new(&["key", "suppressions", "note"]);
    for (place, key) in standing?.into_iter().enumerate() {
        let note = match place {
            0 => "used for new ones",
            _ if key.key == IDENTITY => "the identity key",
            _ if key.rows == 0 => "can be destroyed",
            _ => "needed until its addresses have been seen again",
        };
        list.push(vec![key.key.as_str().into(), key.rows.into(), note.into()]);
    }
    output::print(&list.render(args.output.format)?)?;
    Ok(Exit::Done)
}
