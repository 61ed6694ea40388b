//! What the commands share with which an operator acts on systems: which systems, by whom, and why.

use super::{ConfigArg, Exit, output};
use crate::config::Checked;
use crate::consent::At;
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, Store, StoreError};
use crate::sync::switches::{Operator, OperatorFault};
use anyhow::{Context, bail};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;

/// On which systems it acts, and who does: arguments of every such command.
#[derive(Debug, clap::Args)]
pub struct Systems {
    #[command(flatten)]
    config: ConfigArg,
    /// The systems, by their configured names.
    #[arg(
        value_name = "SYSTEM",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    names: Vec<String>,
    /// Every configured system.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    who: Who,
}

/// Who acts, and why: shared by every command that is kept in the ledger.
#[derive(Debug, Clone, clap::Args)]
pub struct Who {
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT", default_value = "no reason given")]
    reason: String,
    /// Who acts; kept in the ledger. The user of this shell unless said otherwise.
    #[arg(long, value_name = "NAME", env = "CONSENTD_OPERATOR")]
    operator: Option<String>,
}

impl Who {
    /// The operator these words name.
    ///
    /// # Errors
    /// When the words are refused; see [`Operator::new`].
    pub(super) fn operator(&self) -> Result<Operator, OperatorFault> {
        let name = self.operator.clone().unwrap_or_else(user);
        Operator::new(&name, &self.reason)
    }
}

/// Who decides, and why: of commands that take no decision without a reason.
#[derive(Debug, Clone, clap::Args)]
pub struct Reasoned {
    /// Why; kept in the ledger.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who decides; kept in the ledger. The user of this shell unless said otherwise.
    #[arg(long, value_name = "NAME", env = "CONSENTD_OPERATOR")]
    operator: Option<String>,
}

impl Reasoned {
    /// The operator these words name.
    ///
    /// # Errors
    /// When the words are refused; see [`Operator::new`].
    pub(super) fn operator(&self) -> Result<Operator, OperatorFault> {
        let name = self.operator.clone().unwrap_or_else(user);
        Operator::new(&name, &self.reason)
    }
}

/// Does the same to each of the systems and prints a line on each.
///
/// # Errors
/// When a system is not configured, the words for the ledger are refused, or the store fails.
pub(super) async fn on_each(
    args: &Systems,
    act: impl AsyncFn(&dyn Store, i16, &Operator, At) -> Result<String, StoreError>,
) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let names = chosen(args, &checked)?;
    let operator = args.who.operator()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let ids = store.register_systems(&names).await?;
    let mut said = String::new();
    for (name, id) in names.iter().zip(ids) {
        let done = act(&*store, id, &operator, System.now())
            .await
            .with_context(|| format!("{name} stays as it is"))?;
        // Writing to a String cannot fail.
        let _written = writeln!(said, "{name} {done}");
    }
    store.close().await;
    output::print(&said)?;
    Ok(Exit::Done)
}

/// The systems named, each once.
fn chosen(args: &Systems, checked: &Checked) -> anyhow::Result<Vec<String>> {
    let configured: Vec<String> = checked
        .systems
        .iter()
        .map(|system| system.name.clone())
        .collect();
    if args.all {
        return Ok(configured);
    }
    let mut names = args.names.clone();
    names.sort_unstable();
    names.dedup();
    match names.iter().find(|name| !configured.contains(name)) {
        Some(unknown) => bail!(
            "system {unknown:?} is not configured; configured are: {}",
            configured.join(", ")
        ),
        None => Ok(names),
    }
}

/// Who runs this command, as far as the environment or the system tells.
fn user() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.trim().is_empty());
    named.unwrap_or_else(|| match std::fs::metadata("/proc/self") {
        Ok(process) => format!("user {}", process.uid()),
        Err(_) => "unknown user".to_owned(),
    })
}
