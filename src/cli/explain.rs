//! `consentd explain ADDRESS`: what each system said, which rule decided, what was written (R53), and
//! what is asked for in Marketing Cloud (R47).

mod requests;
mod words;

use super::output::{self, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::consent::SubjectKey;
use crate::list::Format;
use crate::store::{self, Access};
use crate::sync::engine::rules;
use crate::sync::gate;
use crate::sync::identity::Pseudonyms;
use crate::sync::timeline::{self, Event, Now, Timeline};
use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use serde::Serialize;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    output: FormatArg,
    /// The person's e-mail address.
    #[arg(value_name = "ADDRESS")]
    address: String,
}

/// Prints the person's timeline, in the order in which things became known, and how things stand.
///
/// # Errors
/// When the address is none, nobody is known by it, or the store cannot be read.
pub async fn explain(args: &Args) -> anyhow::Result<Exit> {
    let checked = args.config.load()?;
    let key = SubjectKey::from_address(&args.address).context("that is no address")?;
    let subject = Pseudonyms::new(checked.hash_key.expose_secret()).of(&key);
    let store = store::open(&checked.store, Access::Tool).await?;
    let rules = rules(&checked, &*store).await?;
    let timeline = timeline::of(&*store, subject, &rules).await?;
    store.close().await;
    let Some(timeline) = timeline else {
        bail!(
            "nobody is known by that address (subject {})",
            subject.short()
        );
    };
    output::print(&match args.output.format {
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&Told::of(&timeline))?),
        format @ (Format::Table | Format::Csv) => list(&timeline).render(format)?,
    })?;
    Ok(Exit::Done)
}

/// A timeline with the words for each event.
#[derive(Serialize)]
struct Told<'a> {
    subject: &'a str,
    events: Vec<ToldEvent<'a>>,
    now: &'a Now,
}

#[derive(Serialize)]
struct ToldEvent<'a> {
    #[serde(flatten)]
    event: &'a Event,
    what: String,
}

impl<'a> Told<'a> {
    fn of(timeline: &'a Timeline) -> Self {
        let events = timeline.events.iter();
        Self {
            subject: &timeline.subject,
            events: events
                .map(|event| ToldEvent {
                    event,
                    what: words::event(event),
                })
                .collect(),
            now: &timeline.now,
        }
    }
}

/// A line for each fact.
fn list(timeline: &Timeline) -> List {
    let mut list = List::new(&["at", "event", "system", "contact", "what"]);
    for event in &timeline.events {
        // A verdict is of nobody's system; the words name the winner.
        let of_all = event.kind == "verdict";
        let place = |name: &Option<String>| name.clone().filter(|_| !of_all);
        list.push(vec![
            event.at.as_str().into(),
            event.kind.as_str().into(),
            place(&event.system).into(),
            place(&event.contact).into(),
            words::event(event).into(),
        ]);
    }
    let now = &timeline.now;
    let mut add = |event: &str, system: Option<&str>, contact: Option<&str>, what: String| {
        list.push(vec![
            "now".into(),
            event.into(),
            system.map(str::to_owned).into(),
            contact.map(str::to_owned).into(),
            what.into(),
        ]);
    };
    for contact in &now.contacts {
        add(
            "shows",
            Some(&contact.system),
            Some(&contact.contact),
            words::shows(contact),
        );
    }
    for verdict in &now.verdicts {
        add("verdict", None, None, words::verdict(verdict));
    }
    for kept in &now.remembered {
        let system = kept.system.as_deref();
        let what = format!("{} ({}, {})", words::said(&kept.said), kept.rule, kept.why);
        add("remembered", system, Some(&kept.contact), what);
    }
    for finding in &now.findings {
        let purpose = finding.purpose.as_deref().unwrap_or("any purpose");
        add(
            "finding",
            finding.system.as_deref(),
            finding.contact.as_deref(),
            format!("{} of {purpose}", finding.kind),
        );
    }
    for hold in &now.holds {
        let stands = if hold.approved {
            "is approved"
        } else {
            "waits for a person"
        };
        let what = format!(
            "{} {stands} under hold {} ({})",
            hold.purpose, hold.number, hold.kind
        );
        add("hold", None, None, format!("{what} since {}", hold.since));
    }
    for write in &now.pending {
        add(
            "pending",
            Some(&write.system),
            Some(&write.contact),
            words::pending(write),
        );
    }
    for request in &now.requests {
        add(
            "resubscribe",
            Some(gate::NAME),
            request.subscriber.as_deref(),
            requests::stands(request),
        );
    }
    list
}
