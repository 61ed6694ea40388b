//! Consent records out of the hub (R54): of one person with all that is known of them, or of everybody.
//!
//! Three forms: ISO/IEC TS 27560:2023 consent records in the words of the Data Privacy Vocabulary as
//! JSON-LD ([`records`]), and JSON lines or CSV ([`lines`]). All are written a page of people at a time, so
//! memory does not grow with their number. What is exported is what the store holds; nothing is decided
//! here, and nothing is fetched.

pub mod lines;
pub mod records;

use crate::config::Organisation;
use crate::consent::{Basis, PurposeId, Rules, Statement, Status};
use crate::store::{Store, StoreError};
use crate::sync::pack::{PackError, PackedVerdict, unpack_verdicts};
use crate::sync::timeline::{Event, Interval, Timeline};
use std::io::{self, Write};

/// People read at once.
const PAGE: usize = 1_000;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// ISO/IEC TS 27560:2023 consent records as JSON-LD.
    Records,
    /// A JSON object a line.
    Lines,
    /// RFC 4180 with a header.
    Csv,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored verdict cannot be read back.
    #[error("the verdicts of subject {subject} cannot be read")]
    Unreadable {
        /// First digits of the keyed hash.
        subject: String,
        /// What is wrong with them.
        #[source]
        source: PackError,
    },
    /// It could not be written.
    #[error("the export cannot be written")]
    Output(#[from] io::Error),
    /// The records demand what only the organisation knows.
    #[error("export.{key} is missing; set it to {what}, which every consent record names")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it holds.
        what: &'static str,
    },
}

/// What was said of a purpose at some time, and by which rule that held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spell {
    /// Granted or withdrawn.
    pub status: &'static str,
    /// Legal basis in our words.
    pub basis: Option<String>,
    /// When it became true.
    pub stamp: Interval,
    /// How well that is known.
    pub evidence: &'static str,
    /// Who did it, as the system names its users.
    pub actor: Option<String>,
    /// System of the winner; none for an operator.
    pub system: Option<String>,
    /// Contact of the winner.
    pub contact: String,
    /// The rule that decided.
    pub rule: String,
    /// The policy it was decided under.
    pub policy: String,
    /// The parent whose withdrawal decided (R20).
    pub said_of: Option<String>,
    /// When the hub decided so; none where only the present verdict is known.
    pub decided_at: Option<String>,
}

/// The consent of one person to one purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The person by keyed hash, 32 hex digits.
    pub subject: String,
    /// The person's address, where it is to be named.
    pub address: Option<String>,
    /// Purpose name.
    pub purpose: String,
    /// Its history, the present last; never empty.
    pub spells: Vec<Spell>,
}

impl Spell {
    fn of(verdict: &PackedVerdict<'_>) -> Self {
        let statement: Statement = verdict.statement();
        Self {
            status: verdict.status().word(),
            basis: verdict.basis().map(|basis| basis.word().to_owned()),
            stamp: statement.stamp.into(),
            evidence: statement.evidence.word(),
            actor: statement.actor,
            system: verdict
                .system
                .as_ref()
                .map(|name| name.clone().into_owned()),
            contact: verdict.contact.clone().into_owned(),
            rule: verdict.rule.clone().into_owned(),
            policy: verdict.policy.clone().into_owned(),
            said_of: verdict.said_of.as_ref().map(|of| of.clone().into_owned()),
            decided_at: None,
        }
    }

    /// The verdict that an entry of the ledger tells of.
    fn told(event: &Event) -> Option<Self> {
        let said = event.said.as_ref()?;
        Some(Self {
            status: said.status,
            basis: said.basis.clone(),
            stamp: said.stamp.clone(),
            evidence: said.evidence,
            actor: said.actor.clone(),
            system: event.system.clone(),
            contact: event.contact.clone()?,
            rule: event.rule.clone()?,
            policy: event.policy.clone()?,
            said_of: event.said_of.clone(),
            decided_at: Some(event.at.clone()),
        })
    }

    /// Whether both tell of the same act: another loser or another policy makes no new one.
    fn is_same_act(&self, other: &Self) -> bool {
        (self.status, &self.basis, &self.stamp, self.evidence)
            == (other.status, &other.basis, &other.stamp, other.evidence)
            && (&self.actor, &self.system, &self.contact, &self.said_of)
                == (&other.actor, &other.system, &other.contact, &other.said_of)
    }
}

/// A person's consents with their history, as the timeline tells of it.
pub fn of_timeline(timeline: &Timeline, address: &str, only: Option<&str>) -> Vec<Consent> {
    let wanted = timeline.now.verdicts.iter();
    let wanted = wanted.filter(|verdict| only.is_none_or(|only| verdict.purpose == only));
    wanted
        .map(|verdict| {
            let mut spells: Vec<Spell> = Vec::new();
            let events = timeline.events.iter();
            let events = events.filter(|event| {
                event.kind == "verdict" && event.purpose.as_ref() == Some(&verdict.purpose)
            });
            let present = Spell {
                status: verdict.said.status,
                basis: verdict.said.basis.clone(),
                stamp: verdict.said.stamp.clone(),
                evidence: verdict.said.evidence,
                actor: verdict.said.actor.clone(),
                system: verdict.system.clone(),
                contact: verdict.contact.clone(),
                rule: verdict.rule.clone(),
                policy: verdict.policy.clone(),
                said_of: verdict.said_of.clone(),
                decided_at: None,
            };
            // The ledger's oldest part may be out of reach; what holds is told either way.
            for spell in events.filter_map(Spell::told).chain([present]) {
                match spells.last_mut() {
                    Some(last) if last.is_same_act(&spell) => {
                        last.rule = spell.rule;
                        last.policy = spell.policy;
                    }
                    _ => spells.push(spell),
                }
            }
            Consent {
                subject: timeline.subject.clone(),
                address: Some(address.to_owned()),
                purpose: verdict.purpose.clone(),
                spells,
            }
        })
        .collect()
}

/// A sink of consents in one form.
pub trait Sink {
    /// What comes before the first.
    ///
    /// # Errors
    /// When it cannot be written.
    fn begin(&mut self) -> io::Result<()>;
    /// One consent.
    ///
    /// # Errors
    /// When it cannot be written.
    fn consent(&mut self, consent: &Consent) -> io::Result<()>;
    /// What else is known of a person.
    ///
    /// # Errors
    /// When it cannot be written.
    fn person(&mut self, timeline: &Timeline, address: &str) -> io::Result<()>;
    /// What comes after the last.
    ///
    /// # Errors
    /// When it cannot be written.
    fn end(&mut self) -> io::Result<()>;
}

/// A sink of that form. What the records demand of the organisation is looked for before anything is
/// written.
///
/// # Errors
/// [`ExportError::Missing`].
pub fn sink<'a, W: Write + Send + 'a>(
    form: Form,
    organisation: &Organisation,
    out: W,
) -> Result<Box<dyn Sink + Send + 'a>, ExportError> {
    Ok(match form {
        Form::Records => Box::new(records::Records::new(out, organisation)?),
        Form::Lines => Box::new(lines::JsonLines::new(out)),
        Form::Csv => Box::new(lines::Csv::new(out)),
    })
}

/// Writes one person: the consents with their history, and what else is known of them.
///
/// # Errors
/// When it cannot be written.
pub fn one(
    sink: &mut dyn Sink,
    timeline: &Timeline,
    address: &str,
    purpose: Option<&str>,
) -> Result<usize, ExportError> {
    let consents = of_timeline(timeline, address, purpose);
    sink.begin()?;
    for consent in &consents {
        sink.consent(consent)?;
    }
    sink.person(timeline, address)?;
    sink.end()?;
    Ok(consents.len())
}

/// Writes the present consent of everybody, by keyed hash unless `with_addresses`. How many consents.
///
/// # Errors
/// When the store fails, holds what cannot be read back, or it cannot be written.
pub async fn all(
    sink: &mut (dyn Sink + Send),
    store: &dyn Store,
    rules: &Rules,
    purpose: Option<PurposeId>,
    with_addresses: bool,
) -> Result<usize, ExportError> {
    let only = purpose.map(|purpose| rules.purposes.name(purpose));
    let mut after = 0;
    let mut count = 0;
    sink.begin()?;
    loop {
        let page = store.subjects_after(after, PAGE).await?;
        let Some(last) = page.subjects.last() else {
            break;
        };
        after = last.id;
        for person in &page.subjects {
            let unreadable = |source| ExportError::Unreadable {
                subject: person.subject.short(),
                source,
            };
            let verdicts = unpack_verdicts(&person.verdicts).map_err(unreadable)?;
            let wanted = verdicts.iter();
            for verdict in wanted.filter(|verdict| only.is_none_or(|only| verdict.purpose == only))
            {
                sink.consent(&Consent {
                    subject: person.subject.to_string(),
                    address: with_addresses.then(|| person.address.clone()),
                    purpose: verdict.purpose.clone().into_owned(),
                    spells: vec![Spell::of(verdict)],
                })?;
                count += 1;
            }
        }
    }
    sink.end()?;
    Ok(count)
}

/// Whether a spell is a grant on the basis of consent, or a withdrawal.
fn is_of_consent(spell: &Spell) -> bool {
    spell.status == Status::Withdrawn.word()
        || spell
            .basis
            .as_deref()
            .is_none_or(|basis| basis == Basis::Consent.word())
}

/// The person by keyed hash, as a name that is unique in the world.
fn subject_name(subject: &str) -> String {
    format!("urn:consentd:subject:{subject}")
}
