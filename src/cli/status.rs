//! `consentd status`: how every system stands, read from the store, beside a running daemon or
//! without one.

use super::output::{self, Cell, Format, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::alarm::Kind;
use crate::config::SystemSettings;
use crate::consent::At;
use crate::runtime::clock::{Clock, System};
use crate::store::{self, Access, AlarmRow, FeedRow, Figures, GateRound, SystemFigures};
use crate::sync::first_run;
use crate::sync::gate::NAME;
use crate::sync::holds::{self, Filter};
use crate::web::metrics::parity;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
}

/// Prints one row per configured system.
///
/// # Errors
/// When the store cannot be read.
pub async fn status(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let store = store::open(&checked.store, Access::Tool).await?;
    let now = System.now();
    let names: Vec<_> = checked
        .systems
        .iter()
        .map(|system| system.name.clone())
        .collect();
    let numbers = store.register_systems(&names).await?;
    let figures = store.figures(now).await?;
    let mut list = List::new(&[
        "system",
        "feed",
        "lag_secs",
        "contacts",
        "unmatched",
        "parity",
        "withdrawals_due",
        "grants_due",
        "planned",
        "oldest_withdrawal_secs",
        "held",
        "holds",
        "waiting",
        "dead_letters",
        "quarantined",
        "alarms",
        "note",
    ]);
    let mut alarms = store.alarms().await?;
    alarms.retain(|alarm| alarm.cleared_at.is_none());
    let none = SystemFigures::default();
    let holds = holds::list(&*store, &Filter::default()).await?;
    for (system, number) in checked.systems.iter().zip(numbers) {
        let feed = store.feed(number).await?;
        let found = figures
            .systems
            .iter()
            .find(|figures| figures.system == number);
        let mine = holds.iter().filter(|view| view.hold.system == number);
        let waiting = Waiting {
            holds: mine.clone().count(),
            persons: mine.map(|view| view.waiting).sum(),
        };
        let found = found.unwrap_or(&none);
        list.push(row(system, &feed, found, waiting, &alarms, now)?);
    }
    let round = store.gate_round().await?;
    store.close().await;
    let mut text = list.render(args.output.format)?;
    if args.output.format == Format::Table {
        text.push_str(&totals(&figures));
        if let Some(advice) = first_run::advice(&figures) {
            text.push_str(&advice);
            text.push('\n');
        }
        if checked.gate().is_some() {
            text.push_str(&gate(&figures, round, &alarms));
        }
        if !alarms.is_empty() {
            text.push('\n');
            text.push_str(&standing(&alarms).render(Format::Table)?);
        }
    }
    output::print(&text)?;
    Ok(Exit::Done)
}

/// What waits for a person of what one system says.
#[derive(Clone, Copy)]
struct Waiting {
    /// Open holds.
    holds: usize,
    /// Persons under them, once for each hold.
    persons: i64,
}

fn row(
    system: &SystemSettings,
    feed: &FeedRow,
    figures: &SystemFigures,
    waiting: Waiting,
    alarms: &[AlarmRow],
    now: At,
) -> anyhow::Result<Vec<Cell>> {
    let state = if !system.enabled {
        "disabled"
    } else if feed.halted.is_some() {
        "halted"
    } else if feed.paused {
        "paused"
    } else if feed.loaded {
        "following"
    } else if feed.cursor.is_some() {
        "loading"
    } else {
        "not begun"
    };
    let age = |since: Option<i64>| {
        since.map(|since| now.since(At::from_micros(since)).max(0) / 1_000_000)
    };
    Ok(vec![
        system.name.as_str().into(),
        state.into(),
        age(feed.polled_at).into(),
        figures.live.into(),
        figures.unmatched.into(),
        if figures.live > 0 {
            Cell::Share(parity(figures))
        } else {
            Cell::Empty
        },
        figures.pending_withdrawals.into(),
        figures.pending_grants.into(),
        figures.planned.into(),
        age(figures.oldest_withdrawal).into(),
        figures.held.into(),
        i64::try_from(waiting.holds)?.into(),
        waiting.persons.into(),
        figures.dead.into(),
        figures.quarantined.into(),
        alarms_of(&system.name, alarms).into(),
        note(system, feed, figures).into(),
    ])
}

/// The kinds of the alarms that stand for a system.
fn alarms_of(system: &str, alarms: &[AlarmRow]) -> Option<String> {
    let mine = alarms.iter().filter(|alarm| {
        alarm.about == system && Kind::from_word(&alarm.kind).is_some_and(Kind::is_of_system)
    });
    let kinds: Vec<&str> = mine.map(|alarm| alarm.kind.as_str()).collect();
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

/// All alarms that stand, whatever they are about.
fn standing(alarms: &[AlarmRow]) -> List {
    let mut list = List::new(&["alarm", "about", "since", "what"]);
    for alarm in alarms {
        list.push(vec![
            alarm.kind.as_str().into(),
            alarm.about.as_str().into(),
            At::from_micros(alarm.since).to_string().into(),
            alarm.text.as_str().into(),
        ]);
    }
    list
}

/// What an operator should know besides the figures.
fn note(system: &SystemSettings, feed: &FeedRow, figures: &SystemFigures) -> Option<String> {
    let waiting = (figures.batches > 0).then(|| {
        let (batches, writes) = (figures.batches, figures.sent);
        format!("batches without an acknowledgement: {batches}, with {writes} writes")
    });
    let unsynced = !system.legal_basis_sync;
    let fewer = feed.accept_fewer;
    let notes: Vec<&str> = feed
        .halted
        .as_deref()
        .into_iter()
        .chain(feed.paused_note.as_deref())
        .chain(waiting.as_deref())
        .chain(unsynced.then_some("its legal-basis sync is off"))
        .chain(fewer.then_some("its next complete read may find fewer contacts"))
        .collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// How the gate stands: whether it lets us in, its requests, and when everybody was last asked about.
fn gate(figures: &Figures, round: GateRound, alarms: &[AlarmRow]) -> String {
    let refused = alarms
        .iter()
        .any(|alarm| alarm.kind == Kind::LoginRefused.word() && alarm.about == NAME);
    let login = if refused { "login refused; " } else { "" };
    let asked = match (round.ended_at, round.after) {
        (0, None) => "nobody was asked about yet".to_owned(),
        (0, Some(_)) => "everybody is being asked about for the first time".to_owned(),
        (ended, _) => format!("everybody was asked about at {}", At::from_micros(ended)),
    };
    format!(
        "{NAME}: {login}{} open re-subscribe requests, {} of them urgent; {asked}\n",
        figures.requests, figures.urgent_requests
    )
}

fn totals(figures: &Figures) -> String {
    let waiting = match figures.holds {
        0 => String::new(),
        holds => format!(
            "{} of them wait for a person under {holds} holds; `consentd holds list` lists these\n",
            figures.held_subjects
        ),
    };
    format!(
        "\n{} people, {} with something to look at; {} ledger entries\n{waiting}",
        figures.subjects, figures.with_findings, figures.ledger
    )
}
