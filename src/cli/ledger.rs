//! `consentd ledger`: proves the ledger, hands out its entries, and rebuilds from them what the store
//! holds (R52, G9).

use super::output::{self, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::consent::{At, SubjectKey};
use crate::list::Format;
use crate::private_file::Fresh;
use crate::store::ledger::Head;
use crate::store::{self, Access, Store};
use crate::sync::assemble::rules;
use crate::sync::identity::Pseudonyms;
use crate::sync::ledger::Progress;
use crate::sync::ledger::export::{Choice, ExportError, Form, export};
use crate::sync::ledger::proof::prove;
use crate::sync::ledger::replay::{self, MAX_LISTED};
use anyhow::{Context, anyhow};
use chrono::{DateTime, NaiveDate, NaiveTime};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::ExposeSecret;
use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Prove that no entry was altered, removed or added, and say where the ledger ends.
    Verify(Verify),
    /// Write entries of the ledger, one a line.
    Export(Export),
    /// Rebuild contacts and verdicts from the ledger in a store that is thrown away, and compare them
    /// with the store. Nothing is changed.
    Replay(Replay),
}

#[derive(Debug, clap::Args)]
struct Verify {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// A head that an earlier proof printed: prove that the ledger still goes on from there.
    #[arg(long, value_name = "SEQ:HEX")]
    head: Option<Head>,
}

#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    config: ConfigArg,
    /// How to write them.
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Form,
    /// Only entries made then or later: a date, or a time as in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<At>,
    /// Only entries made before then.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<At>,
    /// Only entries of this kind; docs/ledger.md lists them.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only entries about the person with this e-mail address.
    #[arg(long, value_name = "ADDRESS")]
    person: Option<String>,
    /// Into this file, readable by its owner alone, replacing it whole; else to the standard output.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Replay {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// Compare with the store; there is nothing else that a replay is for.
    #[arg(long, required = true)]
    check: bool,
}

/// Does what the arguments say.
///
/// # Errors
/// When the store cannot be read, or nothing can be written.
pub async fn ledger(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::Verify(args) => verify(args).await,
        What::Export(args) => hand_out(args).await,
        What::Replay(args) => rebuild(args).await,
    }
}

async fn verify(args: &Verify) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let meter = Meter::new("proved");
    let proof = prove(&*store, args.head, &|progress| meter.show(progress)).await;
    meter.end();
    store.close().await;
    let proof = proof?;
    let mut list = List::new(&["entries", "blocks", "forgotten", "head", "fault"]);
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    list.push(vec![
        count(proof.entries).into(),
        count(proof.blocks).into(),
        count(proof.forgotten).into(),
        proof.head.to_string().into(),
        proof.fault.as_ref().map(ToString::to_string).into(),
    ]);
    output::print(&list.render(args.output.format)?)?;
    Ok(if proof.fault.is_none() {
        Exit::Done
    } else {
        Exit::Differs
    })
}

async fn hand_out(args: &Export) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let person = args.person.as_deref().map(SubjectKey::from_address);
    let person = person.transpose().context("that is no address")?;
    let hashes = Pseudonyms::new(checked.hash_key.expose_secret());
    let choice = Choice {
        since: args.since,
        until: args.until,
        kind: args.kind.clone(),
        subject: person.map(|key| hashes.of(&key)),
    };
    let store = store::open(&checked.store, Access::Tool).await?;
    let exported = written(args, &checked, &*store, &choice).await;
    store.close().await;
    exported?;
    Ok(Exit::Done)
}

async fn written(
    args: &Export,
    checked: &crate::config::Checked,
    store: &dyn Store,
    choice: &Choice,
) -> anyhow::Result<()> {
    let rules = rules(checked, store).await?;
    let Some(file) = &args.to else {
        let mut out = BufWriter::new(io::stdout());
        return match export(store, &rules, choice, args.format, &mut out).await {
            // A reader that went away, e.g. `head`, is no error.
            Err(ExportError::Write(fault)) if fault.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other.map(drop)?),
        };
    };
    let named = || format!("{} cannot be written", file.display());
    let mut out = BufWriter::new(Fresh::begin(file).with_context(named)?);
    let entries = export(store, &rules, choice, args.format, &mut out).await?;
    let fresh = out.into_inner().map_err(|fault| anyhow!("{fault}"));
    fresh.with_context(named)?.finish().with_context(named)?;
    output::print(&format!("{entries} entries are in {}\n", file.display()))?;
    Ok(())
}

async fn rebuild(args: &Replay) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let rules = rules(&checked, &*store).await?;
    let meter = Meter::new("replayed");
    let replayed = replay::check(&*store, &rules, &|progress| meter.show(progress)).await;
    meter.end();
    store.close().await;
    let replayed = replayed?;
    let mut list = List::new(&["subject", "system", "contact", "what"]);
    for found in &replayed.differences {
        list.push(vec![
            found.subject.clone().into(),
            found.system.clone().into(),
            found.contact.clone().into(),
            found.what.as_str().into(),
        ]);
    }
    if let Some(fault) = &replayed.fault {
        let words = format!("{fault}; `consentd ledger verify` tells more");
        list.push(vec![
            None::<String>.into(),
            None::<String>.into(),
            None::<String>.into(),
            words.into(),
        ]);
    }
    if args.output.format != Format::Table || !list.is_empty() {
        output::print(&list.render(args.output.format)?)?;
    }
    if args.output.format == Format::Table {
        output::print(&remarks(&replayed))?;
    }
    Ok(if replayed.is_same() {
        Exit::Done
    } else {
        Exit::Differs
    })
}

/// What the list does not say.
fn remarks(replayed: &replay::Replayed) -> String {
    let mut text = format!(
        "{} entries replayed, {} subjects compared, {} differences\n",
        replayed.entries, replayed.subjects, replayed.different
    );
    let mut say = |words: String| {
        // Writing into memory cannot fail.
        writeln!(text, "{words}").ok();
    };
    if replayed.differences.len() >= MAX_LISTED {
        say(format!(
            "The first {MAX_LISTED} are listed; all are counted."
        ));
    }
    if replayed.forgotten > 0 {
        say(format!(
            "{} entries were forgotten; {} subjects cannot be rebuilt without them, which is no \
             difference. Contacts without a usable address were not counted.",
            replayed.forgotten, replayed.not_replayable
        ));
    }
    if replayed.undecided {
        say(
            "Not every subject is decided under the present rules yet; differences may be due to \
             that. The daemon does it in the background: try again when it has."
                .to_owned(),
        );
    }
    text
}

/// A date, which begins at midnight UTC, or a time as in RFC 3339.
fn instant(text: &str) -> Result<At, String> {
    let day = text.parse::<NaiveDate>().ok();
    let midnight = day.map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let time = || {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|at| at.to_utc())
    };
    let found = midnight.or_else(time).map(At::from);
    found.ok_or_else(|| "a date, e.g. 2026-01-31, or a time, e.g. 2026-01-31T12:00:00Z".to_owned())
}

/// Without a terminal, progress is told so often.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Shows how far a walk has come, on the standard error: on a terminal a line that is overwritten,
/// elsewhere one a minute.
struct Meter {
    done: &'static str,
    bar: Option<ProgressBar>,
    told: Mutex<Instant>,
}

impl Meter {
    fn new(done: &'static str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{human_pos} of {human_len} entries {msg}");
            bar.with_message(done)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self {
            done,
            bar,
            told: Mutex::new(Instant::now()),
        }
    }

    fn show(&self, progress: Progress) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.of);
            bar.set_position(progress.entries);
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= TOLD_EVERY {
            *told = Instant::now();
            let (entries, of) = (progress.entries, progress.of);
            // Nobody is waiting for it who could be told.
            drop(writeln!(
                io::stderr(),
                "{entries} of {of} entries {}",
                self.done
            ));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
