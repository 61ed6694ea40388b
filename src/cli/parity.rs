//! `consentd parity`: the contacts that do not show their verdict, with the reason.

use super::output::{self, Format, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::store::{self, Access};
use crate::sync::engine::rules;
use crate::sync::parity::{Parity, compare};
use crate::sync::switches;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
}

/// Lists the differences; as a table with the counts of each system and purpose before them.
///
/// # Errors
/// When the store cannot be read.
pub async fn parity(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let rules = rules(&checked, &*store).await?;
    let parked = switches::parked(&checked, &*store).await?;
    let parity = compare(&*store, &rules, &parked).await?;
    store.close().await;
    let differences = differences(&parity).render(args.output.format)?;
    if args.output.format == Format::Table {
        output::print(&tallies(&parity).render(Format::Table)?)?;
        if parity.different() > 0 {
            output::print(&format!("\n{differences}"))?;
        }
    } else {
        output::print(&differences)?;
    }
    Ok(if parity.different() == 0 {
        Exit::Done
    } else {
        Exit::Differs
    })
}

fn tallies(parity: &Parity) -> List {
    let mut list = List::new(&["system", "purpose", "equal", "different", "silent"]);
    for ((system, purpose), tally) in &parity.tallies {
        list.push(vec![
            system.as_str().into(),
            purpose.as_str().into(),
            tally.equal.cast_signed().into(),
            tally.different.cast_signed().into(),
            tally.silent.cast_signed().into(),
        ]);
    }
    list
}

fn differences(parity: &Parity) -> List {
    let mut list = List::new(&["system", "contact", "purpose", "shown", "wanted", "reason"]);
    for difference in &parity.differences {
        list.push(vec![
            difference.system.as_str().into(),
            difference.contact.as_str().into(),
            difference.purpose.as_str().into(),
            difference.shown.into(),
            difference.wanted.into(),
            difference.reason.as_str().into(),
        ]);
    }
    list
}
