//! `consentd erase ADDRESS`: removes a person from the store for good (R55).

use super::operate::Who;
use super::{ConfigArg, Exit, output};
use crate::config::Checked;
use crate::consent::SubjectKey;
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, StoreSettings};
use crate::sync::erasure::{EraseError, Ground, Report, erase as erase_person};
use crate::sync::holds::Desk;
use crate::sync::identity::Pseudonyms;
use anyhow::Context;
use secrecy::ExposeSecret as _;
use std::fmt::Write as _;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The address of whoever is to be erased.
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Also while systems still have contacts of the address: they start withdrawn when they are read
    /// again.
    #[arg(long)]
    even_so: bool,
    #[command(flatten)]
    who: Who,
}

/// Erases, beside a running daemon or without one.
///
/// # Errors
/// When the text is no address, contacts remain, the words for the ledger hold the address, or the
/// store fails.
pub async fn erase(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let operator = args.who.operator()?;
    let address = SubjectKey::from_address(&args.address)
        .ok()
        .context("that is no e-mail address")?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let desk = Desk::of(&checked, &*store).await?;
    desk.suppressor.standing(&*store).await?;
    let ground = Ground {
        store: &*store,
        pseudonyms: &Pseudonyms::new(checked.hash_key.expose_secret()),
        frame: desk.frame(System.now()),
    };
    let erased = erase_person(ground, &address, &operator, args.even_so).await;
    store.close().await;
    let report = erased.map_err(|error| match error {
        EraseError::Remaining(_) => {
            anyhow::Error::new(error).context("nobody was erased; --even-so does it all the same")
        }
        other => other.into(),
    })?;
    output::print(&told(&report, &checked))?;
    Ok(Exit::Done)
}

fn told(report: &Report, checked: &Checked) -> String {
    let mut text = if report.was_known {
        format!(
            "erased: {} contacts are removed, {} ledger entries forgotten, the address is suppressed\n",
            report.contacts, report.forgotten
        )
    } else {
        "nobody is known by that address; it is suppressed all the same\n".to_owned()
    };
    for (system, count) in &report.remaining {
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "{system} still has {count} contacts of it, which start withdrawn when they are read again; delete them there"
        );
    }
    let residue = &report.residue;
    if residue.is_log_kept {
        text.push_str(
            "a reader keeps the database's log; it is emptied when the daemon is next stopped\n",
        );
    }
    for file in &residue.found {
        let _written = writeln!(
            text,
            "bytes of the person were left in {file}, so the database was written anew"
        );
    }
    for file in &residue.left {
        let _written = writeln!(
            text,
            "bytes of the person are still in {file}: somebody may have read them again; erase again when the \
             contacts are gone"
        );
    }
    match &checked.store {
        StoreSettings::Sqlite { .. } if residue.left.is_empty() => {
            text.push_str("nothing of the person is left in the database's files\n");
        }
        StoreSettings::Sqlite { .. } => {}
        StoreSettings::Postgres { .. } => text.push_str(
            "Postgres keeps bytes in its write-ahead log and in base backups until these are recycled\n",
        ),
    }
    text.push_str("backups made before hold the person until they are deleted\n");
    text
}
