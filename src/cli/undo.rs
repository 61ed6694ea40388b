//! `consentd undo`: turns decisions back to what was before them (R30).

use super::ledger::instant;
use super::operate::Who;
use super::output::{self, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::consent::{At, Rules, SystemId};
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access};
use crate::sync::holds::Desk;
use crate::sync::parity::word;
use crate::sync::undo::{Undone, Wanted, What, undo};
use crate::sync::workbench::direction;
use anyhow::bail;
use std::io::{self, Write as _};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// Every verdict that turned since then: a date or a time as in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = instant, required_unless_present = "batch")]
    since: Option<At>,
    /// What was approved under this hold; `consentd holds list --closed` shows them.
    #[arg(long, value_name = "HOLD", conflicts_with = "since")]
    batch: Option<i64>,
    /// Only where the word of this system decided.
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    /// Only of this purpose.
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<String>,
    /// Do it, for a reason. Without, it is only shown.
    #[arg(long, requires = "reason")]
    apply: bool,
    #[command(flatten)]
    who: Who,
}

/// Lists the writes that restore what was, and what stays as it is, with the reason; does it if asked to.
///
/// # Errors
/// When a system or purpose is not configured, there is no such hold, or the store fails.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    if let Some(name) = &args.system
        && checked.system(name).is_none()
    {
        bail!("system {name:?} is not configured");
    }
    if let Some(name) = &args.purpose
        && checked.purposes.find(name).is_none()
    {
        bail!("purpose {name:?} is not configured");
    }
    let what = match (args.since, args.batch) {
        (_, Some(hold)) => What::Hold(hold),
        (Some(since), None) => What::Since(since),
        (None, None) => bail!("say --since TIME or --batch HOLD"),
    };
    let wanted = Wanted {
        what,
        system: args.system.clone(),
        purpose: args.purpose.clone(),
    };
    let by = args.who.operator()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let desk = Desk::of(&checked, &*store).await?;
    let now = || System.now();
    let undone = undo(&*store, &desk, &wanted, &by, args.apply, &now).await?;
    store.close().await;
    output::print(&list(&undone, &desk.rules).render(args.output.format)?)?;
    // Nowhere left to say it when even that fails.
    drop(writeln!(io::stderr(), "{}", summary(&undone, args.apply)));
    Ok(if args.apply || undone.verdicts == 0 {
        Exit::Done
    } else {
        Exit::Differs
    })
}

fn list(undone: &Undone, rules: &Rules) -> List {
    let mut list = List::new(&[
        "subject", "system", "contact", "lane", "purpose", "from", "to", "note",
    ]);
    for write in &undone.writes {
        list.push(vec![
            write.subject.short().into(),
            rules.system_name(SystemId(write.system)).into(),
            write.contact.as_str().into(),
            direction(write.withdrawal).into(),
            write.purpose.as_str().into(),
            write.from.as_ref().map(word).into(),
            word(&write.to).into(),
            "".into(),
        ]);
    }
    for kept in &undone.kept {
        let nothing = || None::<String>.into();
        list.push(vec![
            kept.subject.short().into(),
            nothing(),
            nothing(),
            nothing(),
            kept.purpose.as_str().into(),
            nothing(),
            nothing(),
            format!("stays as it is: {}", kept.why).into(),
        ]);
    }
    list
}

fn summary(undone: &Undone, applied: bool) -> String {
    let Undone {
        verdicts, moved_on, ..
    } = undone;
    let (writes, kept) = (undone.writes.len(), undone.kept.len());
    let rest = format!("{kept} stay as they are; {moved_on} are as before already");
    if applied {
        format!("{verdicts} verdicts are turned back, with {writes} values to write; {rest}")
    } else {
        format!(
            "{verdicts} verdicts would be turned back, with {writes} values to write; {rest}; \
             nothing is changed yet: add --apply and --reason"
        )
    }
}
