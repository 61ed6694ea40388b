//! `consentd explain ADDRESS`: what each system said, which rule decided, what was written (R53), and
//! what is asked for in Marketing Cloud (R47).

mod requests;

use self::requests::Told;
use super::output::{self, FormatArg, List};
use super::{ConfigArg, Exit};
use crate::consent::{At, Rules, Statement, SubjectKey, SystemId};
use crate::store::{self, Access, Dossier, LedgerRow, SubjectRow};
use crate::sync::engine::rules;
use crate::sync::gate;
use crate::sync::identity::Pseudonyms;
use crate::sync::pack::{Packer, unpack_findings, unpack_verdicts};
use crate::sync::parity::{state, word};
use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    let dossier = store.dossier(subject).await?;
    let requests = requests::of(&*store, subject).await?;
    store.close().await;
    let Some(dossier) = dossier else {
        bail!(
            "nobody is known by that address (subject {})",
            subject.short()
        );
    };
    let mut list = List::new(&["at", "event", "system", "contact", "what"]);
    for entry in &dossier.ledger {
        for what in told(entry, &rules)? {
            list.push(vec![
                At::from_micros(entry.at).to_string().into(),
                entry.kind.as_str().into(),
                system_of(entry, &rules).into(),
                what.0.into(),
                what.1.into(),
            ]);
        }
    }
    stands(&mut list, &dossier, &rules)?;
    for request in &requests {
        list.push(vec![
            "now".into(),
            REQUEST.into(),
            gate::NAME.into(),
            Some(request.subscriber.as_str())
                .filter(|key| !key.is_empty())
                .map(str::to_owned)
                .into(),
            requests::stands(request).into(),
        ]);
    }
    output::print(&list.render(args.output.format)?)?;
    Ok(Exit::Done)
}

/// The kind of ledger entries about re-subscribe requests, which are about no configured system.
const REQUEST: &str = "resubscribe";

/// The system that an entry is about, by name.
fn system_of(entry: &LedgerRow, rules: &Rules) -> Option<String> {
    if entry.kind == REQUEST {
        return Some(gate::NAME.to_owned());
    }
    let system = entry.system?;
    Some(rules.system_name(SystemId(system)).to_owned())
}

/// The body of a ledger entry, as far as it is shown.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    contact: Option<String>,
    #[serde(default, borrow)]
    record: Option<&'a RawValue>,
    #[serde(default, borrow)]
    after: Option<&'a RawValue>,
    #[serde(default)]
    how: Option<String>,
    #[serde(default)]
    write: Option<String>,
    #[serde(default)]
    life: Option<i16>,
}

/// The part of a ledger entry that is about what waits for a person, or about a person's word (R29).
#[derive(Deserialize)]
struct OfHold {
    #[serde(default)]
    hold: Option<i64>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    act: Option<String>,
    #[serde(default)]
    operator: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

impl OfHold {
    /// In words; none for an entry of another kind.
    fn words(&self, entry: &str) -> Option<String> {
        let purpose = self.purpose.as_deref().unwrap_or("everything");
        let under = self.hold.map_or_else(String::new, |hold| {
            let kind = self.kind.as_ref();
            let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
            format!(" under hold {hold}{kind}")
        });
        match entry {
            "waits" => Some(format!("{purpose} waits for a person{under}")),
            "lapsed" => Some(format!("{purpose} does not wait{under} any more")),
            "operator" | "stated" => {
                let (act, operator) = self.act.as_deref().zip(self.operator.as_deref())?;
                let reason = self.reason.as_deref().unwrap_or("no reason kept");
                Some(format!(
                    "{act} of {purpose}{under}, by {operator}: {reason}"
                ))
            }
            _ => None,
        }
    }
}

/// What a ledger entry says: contact and words, a line for each fact.
fn told(entry: &LedgerRow, rules: &Rules) -> anyhow::Result<Vec<(Option<String>, String)>> {
    let unreadable = || format!("ledger entry {}", entry.seq);
    if entry.kind == REQUEST {
        let told: Told = serde_json::from_str(&entry.body).with_context(unreadable)?;
        return Ok(vec![(told.subscriber(), told.words())]);
    }
    let body: Body<'_> = serde_json::from_str(&entry.body).with_context(unreadable)?;
    let packer = Packer::new(rules);
    let mut lines = Vec::new();
    if let Some(record) = body.record {
        let system = entry.system.and_then(|id| rules.system(SystemId(id)));
        if let Some(system) = system {
            let record = packer.unpack_record(system, record.get())?;
            for (purpose, holding) in record.iter() {
                if let Some(shown) = &holding.shown
                    && !holding.statements.is_empty()
                {
                    let said: Vec<String> = holding.said().map(words).collect();
                    lines.push(format!(
                        "{} is {}: {}",
                        rules.purposes.name(purpose),
                        word(shown),
                        said.join("; ")
                    ));
                }
            }
        }
        if lines.is_empty() {
            lines.push("seen; it says nothing".to_owned());
        }
        if body.life.is_some_and(|life| life != store::LIVE) {
            lines.push("the contact is not there any more".to_owned());
        }
    } else if entry.kind == "verdict" {
        lines.extend(verdicts(body.after.map_or("", RawValue::get))?);
    } else if let Some(write) = &body.write {
        let how = came(&entry.kind, body.how.as_deref().unwrap_or_default());
        let write = packer.unpack_changes(write)?;
        for change in &write.changes {
            lines.push(format!(
                "{} to {} ({how}, {})",
                rules.purposes.name(change.purpose),
                word(&change.to),
                write.rule
            ));
        }
    } else {
        let of_hold = matches!(
            entry.kind.as_str(),
            "waits" | "lapsed" | "operator" | "stated"
        );
        let words = if of_hold {
            let body: OfHold = serde_json::from_str(&entry.body).with_context(unreadable)?;
            body.words(&entry.kind)
        } else {
            None
        };
        lines.push(words.unwrap_or_else(|| entry.body.clone()));
    }
    Ok(lines
        .into_iter()
        .map(|line| (body.contact.clone(), line))
        .collect())
}

/// What became of a write, from the kind of its entry and the word in it: a lane, an outcome, the vendor's
/// code, or the batch that it went with.
fn came(kind: &str, how: &str) -> String {
    match (kind, how) {
        ("handed-over", batch) => format!("in batch {batch}, not acknowledged yet"),
        ("refused", code) => format!("refused: {code}"),
        ("written", "applied" | "confirmed") | ("planned" | "held", _) => how.to_owned(),
        ("written", batch) => format!("acknowledged in batch {batch}"),
        (_, how) => how.to_owned(),
    }
}

fn words(statement: &Statement) -> String {
    let by = statement
        .actor
        .as_deref()
        .map(|actor| format!(" by {actor}"))
        .unwrap_or_default();
    format!(
        "{} {}{by} ({})",
        statement.status,
        statement.stamp,
        statement.evidence.word()
    )
}

fn verdicts(packed: &str) -> anyhow::Result<Vec<String>> {
    let verdicts = unpack_verdicts(packed)?;
    if verdicts.is_empty() {
        return Ok(vec!["nothing is decided".to_owned()]);
    }
    let source =
        |system: Option<&str>, contact: &str| format!("{} {contact}", system.unwrap_or("operator"));
    Ok(verdicts
        .iter()
        .map(|verdict| {
            let mut line = format!(
                "{} {} by {}: {} ({}, policy {})",
                verdict.purpose,
                verdict.status(),
                source(verdict.system.as_deref(), &verdict.contact),
                words(&verdict.statement()),
                verdict.rule,
                verdict.policy,
            );
            if let Some(parent) = &verdict.said_of {
                line = format!("{line}, said of {parent}");
            }
            for lost in &verdict.lost {
                let who = source(lost.system.as_deref(), &lost.contact);
                let said = words(&lost.statement());
                line = format!("{line}; over {who}: {said} ({})", lost.rule);
            }
            line
        })
        .collect())
}

/// How things stand now.
fn stands(list: &mut List, dossier: &Dossier, rules: &Rules) -> anyhow::Result<()> {
    let packer = Packer::new(rules);
    let mut add = |event: &str, system: Option<&str>, contact: Option<&str>, what: String| {
        list.push(vec![
            "now".into(),
            event.into(),
            system.map(str::to_owned).into(),
            contact.map(str::to_owned).into(),
            what.into(),
        ]);
    };
    let ours: Vec<&SubjectRow> = dossier.known.subjects.iter().collect();
    for row in &dossier.known.contacts {
        let Some(system) = rules.system(SystemId(row.system)) else {
            continue;
        };
        let record = packer.unpack_record(system, &row.record)?;
        let shown: Vec<String> = record
            .iter()
            .filter_map(|(purpose, holding)| {
                Some(format!(
                    "{} {}",
                    rules.purposes.name(purpose),
                    word(holding.shown.as_ref()?)
                ))
            })
            .collect();
        let life = if row.life == store::LIVE {
            ""
        } else {
            "deleted; "
        };
        add(
            "shows",
            Some(&system.name),
            Some(&row.external),
            format!("{life}{}", shown.join(", ")),
        );
    }
    for subject in ours {
        for line in verdicts(&subject.verdicts)? {
            add("verdict", None, None, line);
        }
        for finding in unpack_findings(&subject.findings)? {
            let purpose = finding.purpose.as_deref().unwrap_or("any purpose");
            add(
                "finding",
                finding.system.as_deref(),
                finding.contact.as_deref(),
                format!("{} of {purpose}", finding.kind),
            );
        }
    }
    for row in dossier.known.held.iter().filter(|row| !row.released) {
        let mut holds = dossier.known.holds.iter();
        let kind = holds.find(|hold| hold.id == row.hold);
        let kind = kind.map_or("closed", |hold| &hold.kind);
        let (purpose, since) = (&row.purpose, At::from_micros(row.since));
        let what = format!("{purpose} under hold {} ({kind}) since {since}", row.hold);
        add("waits", None, None, what);
    }
    for row in &dossier.known.outbox {
        let write = packer.unpack_changes(&row.changes)?;
        let changes: Vec<String> = write
            .changes
            .iter()
            .map(|change| {
                format!(
                    "{} to {}",
                    rules.purposes.name(change.purpose),
                    word(&change.to)
                )
            })
            .collect();
        add(
            "pending",
            Some(rules.system_name(SystemId(row.key.system))),
            Some(&row.key.external),
            format!("{}: {}", changes.join(", "), state(row)),
        );
    }
    Ok(())
}
