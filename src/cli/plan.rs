//! `consentd plan`: every write that `run` would do, and none of them done (R51).
//!
//! Before the first run everything is read into a store that is thrown away, by the same engine
//! with connectors that cannot write. Afterwards the daemon's own store holds the plan: its outbox.

use super::output::{self, Cell, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::config::Checked;
use crate::consent::At;
use crate::runtime::clock::System;
use crate::store::{
    self, Access, CLAIMED, DEAD, HELD, LANE_WITHDRAWAL, ONCE_READ, OutboxRow, SENT, Store,
    StoreSettings,
};
use crate::sync::assemble::{connect, rules};
use crate::sync::pack::Packer;
use crate::sync::parity::fresh::read_all;
use crate::sync::parity::word;
use crate::sync::switches;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Writes read from the store at once.
const PAGE: usize = 5_000;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
}

/// Lists the writes, withdrawals first.
///
/// # Errors
/// When a system cannot be read or the store fails.
pub async fn plan(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let list = match loaded(&checked).await? {
        Some(store) => {
            let list = writes(&checked, &*store).await?;
            store.close().await;
            list
        }
        None => first_plan(&checked).await?,
    };
    output::print(&list.render(args.output.format)?)?;
    Ok(if list.is_empty() {
        Exit::Done
    } else {
        Exit::Differs
    })
}

/// The daemon's store, once it has read every enabled system.
async fn loaded(checked: &Checked) -> anyhow::Result<Option<Arc<dyn Store>>> {
    if let StoreSettings::Sqlite { path } = &checked.store
        && !path.exists()
    {
        return Ok(None);
    }
    let Ok(store) = store::open(&checked.store, Access::Tool).await else {
        // A database without our schema has not been run on.
        return Ok(None);
    };
    let names: Vec<String> = checked
        .systems
        .iter()
        .map(|system| system.name.clone())
        .collect();
    let ids = store.register_systems(&names).await?;
    for (system, id) in checked.systems.iter().zip(ids) {
        if system.enabled && !store.feed(id).await?.loaded {
            store.close().await;
            return Ok(None);
        }
    }
    Ok(Some(store))
}

/// Reads everything into a store that is thrown away.
async fn first_plan(checked: &Checked) -> anyhow::Result<List> {
    let stop = CancellationToken::new();
    let (store, _folder) = read_all(checked, &connect, Arc::new(System), &stop).await?;
    let list = writes(checked, &*store).await?;
    store.close().await;
    Ok(list)
}

async fn writes(checked: &Checked, store: &dyn Store) -> anyhow::Result<List> {
    let rules = rules(checked, store).await?;
    let parked = switches::parked(checked, store).await?;
    let packer = Packer::new(&rules);
    let mut list = List::new(&[
        "system", "contact", "lane", "purpose", "from", "to", "rule", "said_in", "said_at", "state",
    ]);
    for skip in (0..).step_by(PAGE) {
        let page = store.outbox(skip, PAGE).await?;
        for row in &page {
            let write = packer.unpack_changes(&row.changes)?;
            for change in &write.changes {
                list.push(vec![
                    rules
                        .system_name(crate::consent::SystemId(row.key.system))
                        .into(),
                    row.key.external.as_str().into(),
                    lane(row).into(),
                    rules.purposes.name(change.purpose).into(),
                    change.from.as_ref().map(word).into(),
                    word(&change.to).into(),
                    write.rule.as_str().into(),
                    write.said_in.as_str().into(),
                    write.said_at.to_string().into(),
                    Cell::from(state(row, parked.get(&row.key.system))),
                ]);
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    Ok(list)
}

fn lane(row: &OutboxRow) -> &'static str {
    if row.key.lane == LANE_WITHDRAWAL {
        "withdrawal"
    } else {
        "grant"
    }
}

fn state(row: &OutboxRow, parked: Option<&&str>) -> String {
    match (row.state, parked) {
        (DEAD, _) => format!(
            "given up: {}",
            row.last_error.as_deref().unwrap_or("no reason kept")
        ),
        (HELD, _) => "held for a person".to_owned(),
        (_, Some(why)) => format!("parked: {why}"),
        (CLAIMED, None) => "being written".to_owned(),
        (SENT, None) => format!(
            "handed over in batch {}",
            row.last_error.as_deref().unwrap_or("(unnamed)")
        ),
        (_, None) if row.not_before == ONCE_READ => "once the contact was read again".to_owned(),
        (_, None) => format!("due {}", At::from_micros(row.not_before)),
    }
}
