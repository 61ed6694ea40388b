//! `consentd resubscribe`: the requests to set subscribers active again in Marketing Cloud (R47).

use super::operate::Who;
use super::output::{self, Cell, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::config::{Sheet, SheetFormat};
use crate::consent::At;
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, RequestQuery, RequestView};
use crate::sync::engine::rules;
use crate::sync::gate::REQUESTS_AT_ONCE;
use crate::sync::gate::by_hand::{self, Act, Came};
use crate::sync::sheet;
use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the requests.
    List(ListArgs),
    /// Write the sheet of open requests, with addresses: as CSV to the terminal, or as files.
    Export(ExportArgs),
    /// Close requests that have been worked.
    Done(ActArgs),
    /// Mark requests for which somebody waits; an alarm is raised until they are closed.
    Urgent(UrgentArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// Closed ones too.
    #[arg(long)]
    all: bool,
    /// Only urgent ones.
    #[arg(long)]
    urgent: bool,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Write files named after the day into this folder, for their owner alone.
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Which files.
    #[arg(
        long = "as",
        value_name = "FORMATS",
        value_enum,
        value_delimiter = ',',
        default_value = "csv,xlsx",
        requires = "directory"
    )]
    formats: Vec<FileFormat>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileFormat {
    /// RFC 4180.
    Csv,
    /// A workbook.
    Xlsx,
}

#[derive(Debug, clap::Args)]
struct ActArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The requests, by number.
    #[arg(value_name = "REQUEST", required = true)]
    requests: Vec<i64>,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, clap::Args)]
struct UrgentArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Nobody waits for them any more.
    #[arg(long)]
    off: bool,
}

/// Does what was asked.
///
/// # Errors
/// When the store cannot be read or written, a file cannot be written, or a request does not exist or
/// is closed.
pub async fn resubscribe(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::List(args) => list(args).await,
        What::Export(args) => export(args).await,
        What::Done(args) => act(args, Act::Done).await,
        What::Urgent(args) if args.off => act(&args.act, Act::Weekly).await,
        What::Urgent(args) => act(&args.act, Act::Urgent).await,
    }
}

async fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let mut list = List::new(&[
        "request",
        "urgency",
        "subject",
        "subscriber_key",
        "unit",
        "unit_name",
        "status",
        "opened",
        "last_read",
        "cause",
        "note",
        "closed",
        "closing",
        "closed_by",
    ]);
    let mut query = RequestQuery {
        closed: args.all,
        urgent: args.urgent,
        ..RequestQuery::default()
    };
    loop {
        let page = store.requests(&query, REQUESTS_AT_ONCE).await?;
        let Some(last) = page.last() else {
            break;
        };
        query.after = last.request.id;
        for view in &page {
            list.push(row(view));
        }
    }
    store.close().await;
    output::print(&list.render(args.output.format)?)?;
    Ok(Exit::Done)
}

fn row(view: &RequestView) -> Vec<Cell> {
    let request = &view.request;
    let time = |micros: i64| At::from_micros(micros).to_string();
    vec![
        request.id.into(),
        if request.urgent { "urgent" } else { "weekly" }.into(),
        view.subject.short().into(),
        Some(request.subscriber.clone())
            .filter(|key| !key.is_empty())
            .into(),
        request.unit.as_str().into(),
        request.unit_name.as_str().into(),
        request.status.as_str().into(),
        time(request.opened_at).into(),
        time(request.seen_at).into(),
        request.cause.as_str().into(),
        request.note.clone().into(),
        request.closed_at.map(time).into(),
        request.closing.clone().into(),
        request.closed_by.clone().into(),
    ]
}

async fn export(args: &ExportArgs) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let gate = checked.marketing_cloud.as_ref().context(
        "there is no table [marketing_cloud] in the configuration, so there is no sheet",
    )?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let rules = rules(&checked, &*store).await?;
    let rows = sheet::rows(&*store, &rules, gate.purpose).await?;
    store.close().await;
    let Some(directory) = &args.directory else {
        let text = String::from_utf8(sheet::render(&rows, SheetFormat::Csv)?)?;
        output::print(&text)?;
        return Ok(Exit::Done);
    };
    let mut settings = Sheet {
        directory: directory.clone(),
        schedule: gate.schedule.clone(),
        formats: Vec::new(),
    };
    for format in &args.formats {
        settings.formats.push(match format {
            FileFormat::Csv => SheetFormat::Csv,
            FileFormat::Xlsx => SheetFormat::Xlsx,
        });
    }
    let mut said = String::new();
    for file in sheet::write(&settings, &rows, System.now())? {
        // Writing to a String cannot fail.
        let _written = writeln!(said, "{} open requests in {}", rows.len(), file.display());
    }
    output::print(&said)?;
    Ok(Exit::Done)
}

async fn act(args: &ActArgs, act: Act) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let operator = args.who.operator()?;
    let ids: BTreeSet<i64> = args.requests.iter().copied().collect();
    let store = store::open(&checked.store, Access::Tool).await?;
    let came = by_hand::act(&*store, &ids, act, &operator, System.now()).await?;
    store.close().await;
    let mut said = String::new();
    let mut refused = Vec::new();
    for (id, came) in came {
        let words = match (came, act) {
            (Came::Changed, Act::Done) => "is closed",
            (Came::Changed, Act::Urgent) => "is urgent now",
            (Came::Changed, Act::Weekly) => "is worked weekly again",
            (Came::Same, Act::Done | Act::Urgent) => "was urgent already",
            (Came::Same, Act::Weekly) => "was not urgent",
            (Came::Closed, _) => {
                refused.push(format!("request {id} is closed"));
                continue;
            }
            (Came::Unknown, _) => {
                refused.push(format!("there is no request {id}"));
                continue;
            }
        };
        let _written = writeln!(said, "request {id} {words}");
    }
    output::print(&said)?;
    if !refused.is_empty() {
        bail!(
            "{}; see `consentd resubscribe list --all`",
            refused.join(", ")
        );
    }
    Ok(Exit::Done)
}
