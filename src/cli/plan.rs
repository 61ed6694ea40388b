//! `consentd plan`: every write that `run` would do, and none of them done (R51).
//!
//! The engine of `run` goes on from a copy of the daemon's store, with connectors that cannot write, so
//! the plan knows what the systems show now; where there is no store yet everything is read. A running
//! daemon is not disturbed, and its store is not changed.

use super::output::{self, Cell, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::config::Checked;
use crate::private_file;
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, Store};
use crate::sync::assemble::connect;
use crate::sync::parity::fresh::{foresee, read_all};
use crate::sync::plan::{FORMAT, Filter, PlannedWrite, SavedPlan, check_filter, writes};
use anyhow::{Context, bail};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// Only writes to these systems.
    #[arg(long = "system", value_name = "SYSTEM")]
    systems: Vec<String>,
    /// Only writes that set one of these purposes.
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<String>,
    /// Ask no system: list what the daemon's store holds.
    #[arg(long)]
    stored: bool,
    /// Keep the plan in this file, for `consentd apply`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// What was found, and from what.
struct Found {
    writes: Vec<PlannedWrite>,
    /// The store's identity, if there is one.
    store: Option<String>,
    /// Every system was read whole.
    complete: bool,
    /// Systems that were not asked.
    unasked: Vec<String>,
}

/// Lists the writes, withdrawals first.
///
/// # Errors
/// When a system cannot be read, the store fails, or the plan cannot be saved.
pub async fn plan(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let filter = Filter {
        systems: args.systems.clone(),
        purposes: args.purposes.clone(),
    };
    check_filter(&checked, &filter)?;
    let made_at = System.now();
    let found = match existing(&checked).await? {
        Some(daemon) => {
            let found = from_store(&checked, &*daemon, &filter, args.stored).await;
            daemon.close().await;
            found?
        }
        None if args.stored => bail!("there is no state store yet; leave out --stored"),
        None => from_nothing(&checked, &filter).await?,
    };
    if let Some(file) = &args.save {
        let plan = SavedPlan {
            consentd_plan: FORMAT,
            made_at: made_at.to_string(),
            store: found.store,
            policy: checked.policy.rules.version.clone(),
            complete: filter.is_open() && found.complete,
            systems: filter.systems,
            purposes: filter.purposes,
            writes: found.writes.clone(),
        };
        let text = plan.text().context("the plan cannot be written")?;
        private_file::put(file, text.as_bytes())
            .with_context(|| format!("the plan cannot be saved in {}", file.display()))?;
    }
    for system in &found.unasked {
        output::note(&format!(
            "{system} is paused or halted, so it was not asked; its writes are listed as they were stored"
        ))?;
    }
    output::print(&list(&found.writes).render(args.output.format)?)?;
    Ok(if found.writes.is_empty() {
        Exit::Done
    } else {
        Exit::Differs
    })
}

/// The daemon's store, if there is one.
async fn existing(checked: &Checked) -> anyhow::Result<Option<Arc<dyn Store>>> {
    if !store::is_made(&checked.store).await? {
        return Ok(None);
    }
    Ok(Some(store::open(&checked.store, Access::Tool).await?))
}

async fn from_store(
    checked: &Checked,
    daemon: &dyn Store,
    filter: &Filter,
    stored: bool,
) -> anyhow::Result<Found> {
    let origin = daemon.origin().await?;
    if stored {
        let complete = is_loaded(checked, daemon).await?;
        return Ok(Found {
            writes: writes(checked, daemon, filter).await?,
            store: Some(origin.store_id),
            complete,
            unasked: Vec::new(),
        });
    }
    let stop = CancellationToken::new();
    let foresight = foresee(checked, daemon, &connect, Arc::new(System), &stop).await?;
    let listed = writes(checked, &*foresight.store, filter).await;
    foresight.store.close().await;
    Ok(Found {
        writes: listed?,
        store: Some(origin.store_id),
        complete: foresight.complete,
        unasked: foresight.unasked,
    })
}

/// Whether every system that is switched on has been read whole once.
async fn is_loaded(checked: &Checked, store: &dyn Store) -> anyhow::Result<bool> {
    let numbers = store.systems().await?;
    for system in checked.systems.iter().filter(|system| system.enabled) {
        let number = numbers.iter().find(|(_, name)| *name == system.name);
        match number {
            Some((id, _)) if store.feed(*id).await?.loaded => {}
            Some(_) | None => return Ok(false),
        }
    }
    Ok(true)
}

/// Reads everything into a store that is thrown away.
async fn from_nothing(checked: &Checked, filter: &Filter) -> anyhow::Result<Found> {
    let stop = CancellationToken::new();
    let (store, _folder) = read_all(checked, &connect, Arc::new(System), &stop).await?;
    let listed = writes(checked, &*store, filter).await;
    store.close().await;
    Ok(Found {
        writes: listed?,
        store: None,
        complete: true,
        unasked: Vec::new(),
    })
}

fn list(writes: &[PlannedWrite]) -> List {
    let mut list = List::new(&[
        "system", "contact", "lane", "purpose", "from", "to", "rule", "reason", "said_in",
        "said_at", "state",
    ]);
    for write in writes {
        for set in &write.changes {
            list.push(vec![
                write.system.as_str().into(),
                write.contact.as_str().into(),
                write.lane.as_str().into(),
                set.purpose.as_str().into(),
                set.from.as_deref().into(),
                set.to.as_str().into(),
                write.rule.as_str().into(),
                write.reason().into(),
                write.said_in.as_str().into(),
                write.said_at.as_str().into(),
                Cell::from(write.state.as_str()),
            ]);
        }
    }
    list
}
