//! `consentd export [ADDRESS]`: consent records of one person, with all that is known of them, or of
//! everybody (R54).

use super::{ConfigArg, Exit};
use crate::config::Checked;
use crate::consent::SubjectKey;
use crate::export::{self, Form};
use crate::private_file::Fresh;
use crate::store::{self, Access, Store};
use crate::sync::engine::rules;
use crate::sync::identity::Pseudonyms;
use crate::sync::timeline;
use anyhow::{Context, bail};
use clap::ValueEnum;
use secrecy::ExposeSecret;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// How consents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormArg {
    /// ISO/IEC TS 27560:2023 consent records as JSON-LD.
    #[value(name = "27560")]
    Records,
    /// A JSON object a line.
    Jsonl,
    /// RFC 4180 with a header.
    Csv,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The form of the export.
    #[arg(long, value_enum)]
    format: FormArg,
    /// Write into this file, readable by its owner alone, instead of to the standard output.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Only this purpose.
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<String>,
    /// Name everybody by address; without it, an export of all names people by keyed hash.
    #[arg(long, conflicts_with = "address")]
    with_addresses: bool,
    /// The person's e-mail address; everybody when it is left out.
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
}

/// Exports.
///
/// # Errors
/// When the address is none, nobody is known by it, the purpose is unknown, the configuration lacks what the
/// records demand, the store cannot be read, or the export cannot be written.
pub async fn export(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let done = match &args.to {
        Some(file) => {
            let unwritable = || format!("{} cannot be written", file.display());
            let mut draft = Fresh::begin(file).with_context(unwritable)?;
            let done = write(args, &checked, &*store, BufWriter::new(&mut draft)).await;
            match done {
                Ok(()) => draft.finish().with_context(unwritable),
                failed => failed,
            }
        }
        None => write(args, &checked, &*store, BufWriter::new(io::stdout())).await,
    };
    store.close().await;
    match done {
        // A reader that went away, e.g. `head`, is no error.
        Err(error) if args.to.is_none() && is_broken_pipe(&error) => Ok(Exit::Done),
        done => done.map(|()| Exit::Done),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let fault = cause.downcast_ref::<io::Error>();
        fault.is_some_and(|fault| fault.kind() == ErrorKind::BrokenPipe)
    })
}

async fn write(
    args: &Args,
    checked: &Checked,
    store: &dyn Store,
    out: impl Write + Send,
) -> anyhow::Result<()> {
    let rules = rules(checked, store).await?;
    let purpose = match &args.purpose {
        Some(name) => match rules.purposes.find(name) {
            Some(purpose) => Some(purpose),
            None => bail!(
                "there is no purpose {name:?}; the configuration lists them under [[purposes]]"
            ),
        },
        None => None,
    };
    let form = match args.format {
        FormArg::Records => Form::Records,
        FormArg::Jsonl => Form::Lines,
        FormArg::Csv => Form::Csv,
    };
    let mut sink = export::sink(form, &checked.export, out)?;
    let Some(address) = &args.address else {
        export::all(&mut *sink, store, &rules, purpose, args.with_addresses).await?;
        return Ok(());
    };
    let key = SubjectKey::from_address(address).context("that is no address")?;
    let subject = Pseudonyms::new(checked.hash_key.expose_secret()).of(&key);
    let Some(timeline) = timeline::of(store, subject, &rules).await? else {
        bail!(
            "nobody is known by that address (subject {})",
            subject.short()
        );
    };
    export::one(&mut *sink, &timeline, key.as_str(), args.purpose.as_deref())?;
    Ok(())
}
