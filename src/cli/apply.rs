//! `consentd apply FILE`: what a saved plan holds and is still so is let go; the rest is dropped and told
//! (R49, R51).

use super::operate::Who;
use super::output::{self, Format, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access};
use crate::sync::apply::{self as plans, Application, GoesOn, Order};
use crate::sync::plan::SavedPlan;
use anyhow::Context;
use std::path::PathBuf;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// The plan, as `consentd plan --save` made it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Go on planning, although the plan is complete.
    #[arg(long)]
    stay: bool,
    #[command(flatten)]
    who: Who,
}

/// Applies the plan, and lists what was not released.
///
/// # Errors
/// When the file is no plan for this store, or the store fails.
pub async fn apply(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let operator = args.who.operator()?;
    let name = args.file.display();
    let file = std::fs::read(&args.file).with_context(|| format!("{name} cannot be read"))?;
    let plan = SavedPlan::read(&file).with_context(|| name.to_string())?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let order = Order {
        plan: &plan,
        digest: &plans::digest(&file),
        by: &operator,
        stay: args.stay,
        now: System.now(),
    };
    let applied = plans::apply(&checked, &*store, &order).await;
    store.close().await;
    let applied = applied.with_context(|| name.to_string())?;
    let list = told(&applied);
    let said = summary(&applied, plan.complete);
    if args.output.format == Format::Table {
        if !list.is_empty() {
            output::print(&format!("{}\n", list.render(Format::Table)?))?;
        }
        output::print(&format!("{said}\n"))?;
    } else {
        output::print(&list.render(args.output.format)?)?;
        output::note(&said)?;
    }
    Ok(if applied.is_short() {
        Exit::Differs
    } else {
        Exit::Done
    })
}

fn told(applied: &Application) -> List {
    let mut list = List::new(&["system", "contact", "lane", "purposes", "what"]);
    for (write, fate) in &applied.told {
        let purposes: Vec<&str> = write.changes.iter().map(|set| &*set.purpose).collect();
        list.push(vec![
            write.system.as_str().into(),
            write.contact.as_str().into(),
            write.lane.as_str().into(),
            purposes.join(", ").into(),
            fate.words().into(),
        ]);
    }
    list
}

fn summary(applied: &Application, complete: bool) -> String {
    let (released, dropped) = (applied.released, applied.told.len());
    let mut said = match applied.goes_on {
        GoesOn::AsBefore => {
            "The store writes already: nothing was changed, and each write of the plan is listed with \
             what became of it."
                .to_owned()
        }
        GoesOn::Planning | GoesOn::Writing => format!("{released} released, {dropped} dropped."),
    };
    said.push_str(match applied.goes_on {
        GoesOn::AsBefore => "",
        GoesOn::Writing => {
            " Planning has ended: from now on decisions are written as they are made, and so is what \
             was decided instead of what was dropped."
        }
        GoesOn::Planning if complete => " Planning goes on, as --stay asks for.",
        GoesOn::Planning => {
            " Planning goes on, because the plan does not hold everything; one that was saved without \
             --system and --purpose ends it."
        }
    });
    if applied.other_policy {
        said.push_str(
            " The rules have changed since the plan was made; each write was held against what holds now.",
        );
    }
    said
}
