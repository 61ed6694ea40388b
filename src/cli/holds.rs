//! `consentd holds`: what waits for a person, and what people decide about it (R29).

use super::operate::Reasoned;
use super::output::{self, Cell, Format, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::config::Checked;
use crate::consent::guard::HoldKind;
use crate::consent::{At, SubjectKey};
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, HoldRow, HoldView, Store};
use crate::sync::holds::shown::{self, Prefix, Waiting};
use crate::sync::holds::{self, Desk, Filter};
use crate::sync::identity::Pseudonyms;
use crate::sync::workbench::Word;
use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use secrecy::ExposeSecret;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Persons read at once for a list.
const PERSONS_AT_ONCE: usize = 500;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the open holds, the newest first, with what approving and rejecting would do.
    List(ListArgs),
    /// List who waits under a hold.
    Show(ShowArgs),
    /// Let what waits take effect.
    Approve(DecideArgs),
    /// Turn back what waits.
    Reject(DecideArgs),
}

/// Of which kind, for the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    /// Grants found at first sight that may be later than the withdrawal (R24).
    WeakGrant,
    /// What a load would have granted (R25).
    Load,
    /// Too many verdicts that turned the same way within an hour (R26).
    MassChange,
    /// Persons whose verdict turns back and forth (R28).
    Flapping,
}

impl From<KindArg> for HoldKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::WeakGrant => Self::WeakGrant,
            KindArg::Load => Self::Load,
            KindArg::MassChange => Self::MassChange,
            KindArg::Flapping => Self::Flapping,
        }
    }
}

/// Which holds, by what they are of.
#[derive(Debug, Clone, clap::Args)]
struct Of {
    /// Of this kind only.
    #[arg(long, value_name = "KIND", value_enum)]
    kind: Option<KindArg>,
    /// Of what this system says only, by its configured name.
    #[arg(long, value_name = "SYSTEM")]
    system: Option<String>,
    /// Of this purpose only; a hold of all purposes is taken for this one.
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    of: Of,
    /// Closed ones too.
    #[arg(long)]
    closed: bool,
    #[command(flatten)]
    output: FormatArg,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The hold, by its number.
    #[arg(value_name = "HOLD")]
    hold: i64,
    /// Show the addresses.
    #[arg(long)]
    with_addresses: bool,
    /// So many persons at most.
    #[arg(long, value_name = "PERSONS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    output: FormatArg,
}

#[derive(Debug, clap::Args)]
struct DecideArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The holds, by number.
    #[arg(value_name = "HOLD", required_unless_present_any = ["all", "kind", "system", "purpose", "person"], conflicts_with = "all")]
    holds: Vec<i64>,
    /// Every open hold.
    #[arg(long, conflicts_with_all = ["kind", "system", "purpose"])]
    all: bool,
    #[command(flatten)]
    of: Of,
    /// Only this person, by address or by the beginning of the keyed hash; may be given again.
    #[arg(long = "person", value_name = "ADDRESS|HASH")]
    person: Vec<String>,
    #[command(flatten)]
    who: Reasoned,
}

/// Does what was asked.
///
/// # Errors
/// When the store cannot be read or written, or what is named does not exist or does not wait.
pub async fn holds(args: &Args) -> anyhow::Result<Exit> {
    match &args.what {
        What::List(args) => list(args).await,
        What::Show(args) => show(args).await,
        What::Approve(args) => decide(args, Word::Approve).await,
        What::Reject(args) => decide(args, Word::Reject).await,
    }
}

/// The filter that the arguments mean, without persons.
fn filter(of: &Of, ids: &[i64], checked: &Checked, desk: &Desk) -> anyhow::Result<Filter> {
    let system = match &of.system {
        None => None,
        Some(name) => {
            let mut systems = desk.rules.systems.iter();
            let found = systems.find(|system| system.name == *name);
            Some(found.map(|system| system.id.0).with_context(|| {
                let names = checked.systems.iter().map(|system| system.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                format!("there is no system {name:?}; configured are: {names}")
            })?)
        }
    };
    Ok(Filter {
        ids: ids.iter().copied().collect(),
        kind: of.kind.map(HoldKind::from),
        system,
        purpose: of.purpose.clone(),
        persons: None,
    })
}

async fn list(args: &ListArgs) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let desk = Desk::of(&checked, &*store).await?;
    let filter = filter(&args.of, &[], &checked, &desk)?;
    let holds = shown::list(&*store, &filter, args.closed).await?;
    store.close().await;
    let mut list = List::new(&[
        "hold",
        "kind",
        "rule",
        "system",
        "purpose",
        "direction",
        "actor",
        "waiting",
        "since",
        "age_secs",
        "closed",
        "approving",
        "rejecting",
    ]);
    let now = System.now();
    for view in &holds {
        list.push(row(view, &desk, now));
    }
    output::print(&list.render(args.output.format)?)?;
    Ok(Exit::Done)
}

fn row(view: &HoldView, desk: &Desk, now: At) -> Vec<Cell> {
    let hold = &view.hold;
    let opened = At::from_micros(hold.opened_at);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let word = |word| {
        let open = hold.closed_at.is_none();
        text(shown::consequence(hold, word)).filter(|_| open)
    };
    vec![
        hold.id.into(),
        hold.kind.as_str().into(),
        shown::rule(hold).into(),
        shown::system(hold, desk).map(str::to_owned).into(),
        text(&hold.purpose).into(),
        shown::direction_of(hold).into(),
        text(&hold.actor).into(),
        view.waiting.into(),
        opened.to_string().into(),
        (now.since(opened).max(0) / 1_000_000).into(),
        hold.closed_at
            .map(|at| At::from_micros(at).to_string())
            .into(),
        word(Word::Approve).into(),
        word(Word::Reject).into(),
    ]
}

async fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let desk = Desk::of(&checked, &*store).await?;
    let view = shown::find(&*store, args.hold).await?;
    let view = view.with_context(|| {
        format!(
            "there is no hold {}; see `consentd holds list --closed`",
            args.hold
        )
    })?;
    let limit = usize::try_from(args.limit)?;
    let (mut rows, mut after, mut persons) = (Vec::new(), 0, 0);
    while persons < limit {
        let at_once = PERSONS_AT_ONCE.min(limit - persons);
        let page = shown::waiting(&*store, &desk, args.hold, after, at_once).await?;
        rows.extend(page.rows);
        persons += at_once;
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    store.close().await;
    let mut text = String::new();
    if args.output.format == Format::Table {
        text.push_str(&heading(&view, &desk));
    }
    text.push_str(&people(&rows, args.with_addresses).render(args.output.format)?);
    output::print(&text)?;
    Ok(Exit::Done)
}

/// What a hold is of and what a word about it would do, before the list of those who wait.
fn heading(view: &HoldView, desk: &Desk) -> String {
    let hold = &view.hold;
    let mut text = format!("hold {}, {}\n", hold.id, summary(view, desk));
    // Writing to a String cannot fail.
    let _written = match hold.closed_at {
        Some(at) => writeln!(text, "closed at {}", At::from_micros(at)),
        None => writeln!(
            text,
            "approving: {}\nrejecting: {}",
            shown::consequence(hold, Word::Approve),
            shown::consequence(hold, Word::Reject)
        ),
    };
    text.push('\n');
    text
}

/// A hold in a few words: what it is of and how many wait.
fn summary(view: &HoldView, desk: &Desk) -> String {
    let hold = &view.hold;
    let of = |what: &str, name: Option<&str>| {
        name.map_or_else(String::new, |name| format!(" {what} {name}"))
    };
    let purpose = Some(hold.purpose.as_str()).filter(|name| !name.is_empty());
    format!(
        "{} ({}): {}s{}{}{}; {} waiting since {}",
        hold.kind,
        shown::rule(hold),
        shown::direction_of(hold),
        of("of", purpose),
        of("by", shown::system(hold, desk)),
        of("of user", shown::actor(hold)),
        persons_in_words(view.waiting),
        At::from_micros(hold.opened_at)
    )
}

fn persons_in_words(count: i64) -> String {
    match count {
        1 => "1 person is".to_owned(),
        count => format!("{count} persons are"),
    }
}

fn people(rows: &[Waiting], with_addresses: bool) -> List {
    let mut list = if with_addresses {
        List::new(&[
            "subject", "address", "purpose", "verdict", "since", "contacts", "writes",
        ])
    } else {
        List::new(&[
            "subject", "purpose", "verdict", "since", "contacts", "writes",
        ])
    };
    for row in rows {
        let contacts = row.contacts.iter();
        let contacts = contacts.map(|(system, id)| format!("{system} {id}"));
        let writes = row.writes.iter();
        let writes = writes.map(|write| {
            let (system, contact) = (&write.system, &write.contact);
            format!("{system} {contact}: {}", write.change)
        });
        let joined = |texts: Vec<String>| Some(texts.join("; ")).filter(|text| !text.is_empty());
        let mut cells: Vec<Cell> = vec![row.subject.short().into()];
        if with_addresses {
            cells.push(row.address.as_str().into());
        }
        cells.extend::<[Cell; 5]>([
            row.purpose.as_str().into(),
            row.verdict.map(str::to_owned).into(),
            At::from_micros(row.since).to_string().into(),
            joined(contacts.collect()).into(),
            joined(writes.collect()).into(),
        ]);
        list.push(cells);
    }
    list
}

async fn decide(args: &DecideArgs, word: Word) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let operator = args.who.operator()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let desk = Desk::of(&checked, &*store).await?;
    let mut filter = filter(&args.of, &args.holds, &checked, &desk)?;
    all_open(&*store, &filter.ids).await?;
    if !args.person.is_empty() {
        let pseudonyms = Pseudonyms::new(checked.hash_key.expose_secret());
        let prefixes = args.person.iter().map(|text| prefix(text, &pseudonyms));
        let prefixes = prefixes.collect::<anyhow::Result<Vec<Prefix>>>()?;
        filter.persons = Some(shown::persons(&*store, &filter, &prefixes).await?);
    }
    let now = || System.now();
    let came = holds::decide(&*store, &desk, &filter, word, &operator, &now).await?;
    store.close().await;
    let mut said = String::new();
    for (view, tally) in &came {
        let HoldRow { id, kind, .. } = &view.hold;
        // Writing to a String cannot fail.
        let _written = writeln!(said, "hold {id} ({kind}): {}", shown::outcome(word, *tally));
    }
    if came.is_empty() {
        said.push_str("no such hold is open\n");
    }
    output::print(&said)?;
    Ok(Exit::Done)
}

/// Whether every one of these holds is open.
///
/// # Errors
/// When one is not; nothing is decided then.
async fn all_open(store: &dyn Store, ids: &BTreeSet<i64>) -> anyhow::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let open = shown::list(store, &Filter::default(), false).await?;
    let open: BTreeSet<i64> = open.iter().map(|view| view.hold.id).collect();
    let missing: Vec<String> = ids.difference(&open).map(i64::to_string).collect();
    if !missing.is_empty() {
        bail!(
            "there is no open hold {}; nothing was decided; see `consentd holds list`",
            missing.join(", ")
        );
    }
    Ok(())
}

/// A person by address, or by the beginning of the keyed hash.
fn prefix(text: &str, pseudonyms: &Pseudonyms) -> anyhow::Result<Prefix> {
    if !text.contains('@') {
        return Ok(Prefix::new(text)?);
    }
    let key = SubjectKey::from_address(text).context("one of the persons has no such address")?;
    Ok(Prefix::of(pseudonyms.of(&key)))
}
