//! The commands. Each has a file of its own and holds no logic that another surface needs.

pub mod apply;
pub mod backup;
pub mod check;
pub mod check_recipients;
pub mod completions;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod erase;
pub mod explain;
pub mod export;
pub mod healthcheck;
pub mod holds;
pub mod ledger;
pub mod migrate;
pub mod operate;
pub mod output;
pub mod parity;
pub mod pause;
pub mod plan;
pub mod redrive;
pub mod resubscribe;
pub mod resume;
pub mod resync;
pub mod run;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod status;
pub mod superoffice;
pub mod suppressions;
pub mod undo;

use crate::config::{self, Checked, ConfigFaults};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Keeps people's e-mail consent the same in every connected system.
#[derive(Debug, Parser)]
#[command(
    name = "consentd",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 done; 1 an error; 2 the configuration has faults, or the command \
                  looked for differences (plan, parity, undo, ledger, check --live, check-recipients) and found some, \
                  or a part of a plan was not applied."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration is; shared by the commands that need one.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArg {
    /// The configuration file.
    #[arg(
        long = "config",
        value_name = "FILE",
        env = "CONSENTD_CONFIG",
        default_value = "/etc/consentd/consentd.toml"
    )]
    pub path: PathBuf,
}

impl ConfigArg {
    /// Reads and checks it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(&self) -> Result<Checked, ConfigFaults> {
        config::load(Path::new(&self.path))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the systems in step until told to stop.
    Run(run::Args),
    /// Play a story with four simulated systems, and check every step.
    #[cfg(feature = "sandbox")]
    Demo(demo::Args),
    /// Run the vendor simulators, and write a configuration that uses them.
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Args),
    /// List every write that `run` would do, without doing any.
    Plan(plan::Args),
    /// Let go what a saved plan holds and is still so.
    Apply(apply::Args),
    /// Show what each system said of a person, what was decided and what was written.
    Explain(explain::Args),
    /// Write consent records: of one person with all that is known of them, or of everybody.
    Export(export::Args),
    /// List the contacts that do not show their verdict, and where two systems differ, with the reason.
    Parity(parity::Args),
    /// Prove the ledger, hand out its entries, or rebuild from it what the store holds.
    Ledger(ledger::Args),
    /// Ask the daemon who of a list may be mailed.
    CheckRecipients(check_recipients::Args),
    /// Say everything that is wrong with the configuration; with --live, also with the systems.
    Check(check::Args),
    /// Bring the state store to the schema of this version.
    Migrate(migrate::Args),
    /// Show how every system stands: feed, contacts, outbox, quarantine.
    Status(status::Args),
    /// List what waits for a person, and approve or reject it.
    Holds(holds::Args),
    /// Make no calls to a system until it is resumed; decisions for it wait.
    Pause(operate::Systems),
    /// Let a system go on where it stopped: one that is paused, or halted by a guard.
    Resume(resume::Args),
    /// Read everything of a system anew.
    Resync(operate::Systems),
    /// Try writes again that were given up.
    Redrive(redrive::Args),
    /// List, export and close the requests to set subscribers active again in Marketing Cloud.
    Resubscribe(resubscribe::Args),
    /// Turn decisions back to what was before them; people's own opt-outs stay.
    Undo(undo::Args),
    /// Remove a person for good: address, contacts and ledger entries; the address stays suppressed.
    Erase(erase::Args),
    /// Show under which keys people who were erased are kept from coming back.
    Suppressions(suppressions::Args),
    /// Copy the state store to a file, beside a running daemon.
    Backup(backup::Args),
    /// Set up what is needed on the side of SuperOffice.
    Superoffice(superoffice::Args),
    /// Ask a running daemon whether it lives; for containers.
    Healthcheck(healthcheck::Args),
    /// Write a completion script for a shell.
    Completions(completions::Args),
}

/// How a command ended when it did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Status 0.
    Done,
    /// Status 2: there are differences, or things missing.
    Differs,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            let failed = usage.use_stderr();
            // Nowhere left to complain when even that fails.
            drop(usage.print());
            // A wrong command line is an error, not a difference.
            return if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(fault) => return complain(&fault.into()),
    };
    match runtime.block_on(dispatch(cli.command)) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Differs) => ExitCode::from(2),
        Err(fault) => complain(&fault),
    }
}

async fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => run::run(&args).await,
        #[cfg(feature = "sandbox")]
        Command::Demo(args) => demo::run(args).await,
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Plan(args) => plan::plan(&args).await,
        Command::Apply(args) => apply::apply(&args).await,
        Command::Explain(args) => explain::explain(&args).await,
        Command::Export(args) => export::export(&args).await,
        Command::Parity(args) => parity::parity(&args).await,
        Command::Ledger(args) => ledger::ledger(&args).await,
        Command::CheckRecipients(args) => check_recipients::check_recipients(&args).await,
        Command::Check(args) => check::check(&args).await,
        Command::Migrate(args) => migrate::migrate(&args).await,
        Command::Status(args) => status::status(&args).await,
        Command::Holds(args) => holds::holds(&args).await,
        Command::Pause(args) => pause::pause(&args).await,
        Command::Resume(args) => resume::resume(&args).await,
        Command::Resync(args) => resync::resync(&args).await,
        Command::Redrive(args) => redrive::redrive(&args).await,
        Command::Resubscribe(args) => resubscribe::resubscribe(&args).await,
        Command::Undo(args) => undo::run(&args).await,
        Command::Erase(args) => erase::erase(&args).await,
        Command::Suppressions(args) => suppressions::suppressions(&args).await,
        Command::Backup(args) => backup::backup(&args).await,
        Command::Superoffice(args) => superoffice::run(&args).await,
        Command::Healthcheck(args) => healthcheck::healthcheck(&args).await,
        Command::Completions(args) => completions::completions(&args),
    }
}

/// Says what went wrong, and with which status that ends.
fn complain(fault: &anyhow::Error) -> ExitCode {
    // Nowhere left to complain when even that fails.
    drop(writeln!(std::io::stderr(), "error: {fault:#}"));
    if fault.downcast_ref::<ConfigFaults>().is_some() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}
