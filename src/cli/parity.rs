//! `consentd parity`: the contacts that do not show their verdict, the people of whom two systems show
//! different things, and the contacts at odds with themselves; with the reason.

use super::output::{self, Format, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::config::Checked;
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, Store};
use crate::sync::assemble::{connect, rules};
use crate::sync::parity::fresh::Fresh;
use crate::sync::parity::{MAX_LISTED, Parity, compare, compare_fresh, lists};
use crate::sync::switches;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// List the people of whom two systems show different things.
    #[arg(long)]
    pairs: bool,
    /// Ask every system afresh, and list what it shows otherwise than the store believes.
    #[arg(long)]
    full: bool,
    /// List the contacts whose opt-out and categories are at odds.
    #[arg(long, conflicts_with = "pairs")]
    inconsistent: bool,
}

/// Lists the differences; as a table with the counts before them.
///
/// # Errors
/// When the store cannot be read, or a system that has to be asked.
pub async fn parity(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let compared = compared(&checked, &*store, args.full).await;
    store.close().await;
    let parity = compared?;
    let (counts, found, is_found) = answer(args, &parity);
    if args.output.format == Format::Table {
        for list in &counts {
            output::print(&format!("{}\n", list.render(Format::Table)?))?;
        }
        if !found.is_empty() {
            output::print(&found.render(Format::Table)?)?;
        }
        output::print(&remarks(args, &parity, &found))?;
    } else {
        output::print(&found.render(args.output.format)?)?;
    }
    Ok(if is_found { Exit::Differs } else { Exit::Done })
}

async fn compared(checked: &Checked, store: &dyn Store, full: bool) -> anyhow::Result<Parity> {
    let rules = rules(checked, store).await?;
    let parked = switches::parked(checked, store).await?;
    let clock = Arc::new(System);
    if !full {
        return Ok(compare(store, &rules, &parked, clock.now()).await?);
    }
    let stop = CancellationToken::new();
    let fresh = Fresh::read(checked, store, &connect, clock.clone(), &stop).await?;
    Ok(compare_fresh(store, &rules, &parked, &fresh, clock.now()).await?)
}

/// The counts, the list, and whether there is something of what was looked for.
fn answer(args: &Args, parity: &Parity) -> (Vec<List>, List, bool) {
    if args.inconsistent {
        let found = parity.inconsistent() > 0;
        let counts = vec![lists::inconsistent(parity)];
        return (counts, lists::inconsistencies(parity), found);
    }
    let counts = vec![lists::tallies(parity), lists::pairs(parity)];
    let (list, found) = if args.pairs {
        (
            lists::pair_differences(parity),
            parity.pairs_different() > 0,
        )
    } else if args.full {
        (lists::drift(parity), parity.drifted > 0)
    } else {
        (lists::differences(parity), parity.different() > 0)
    };
    // Drift decides wherever the systems were asked.
    (
        counts,
        list,
        if args.full { parity.drifted > 0 } else { found },
    )
}

/// What the lists do not say.
fn remarks(args: &Args, parity: &Parity, found: &List) -> String {
    let mut text = String::new();
    let mut say = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    if args.full {
        let (drifted, under_way, moved) = (parity.drifted, parity.under_way, parity.moved);
        say(format!(
            "\n{drifted} drifted; {under_way} differ because a write is under way; {moved} contacts changed meanwhile"
        ));
        for (system, as_of) in &parity.as_of {
            say(format!("{system} tells of {as_of}"));
        }
    }
    if found.len() >= MAX_LISTED {
        say(format!(
            "The first {MAX_LISTED} are listed; all are counted."
        ));
    }
    text
}
