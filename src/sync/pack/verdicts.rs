//! The verdicts of one subject. What several purposes or several losers have in common – policy,
//! and who said what – is written once.

use super::statement::{Name, PackedStatement};
use super::{PackError, Packer, pack_basis, read, unpack_basis, write};
use crate::consent::resolve::Source;
use crate::consent::send::Voice;
use crate::consent::{Basis, PurposeId, Resolution, Rules, Statement, Status, SystemId, Verdict};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Policy version, what was said by whom, and what follows for each purpose.
#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    #[serde(borrow, rename = "pv")]
    policy: Name<'a>,
    #[serde(borrow, rename = "w")]
    said: Vec<Said<'a>>,
    #[serde(borrow, rename = "v")]
    verdicts: Vec<Decision<'a>>,
}

/// System (none for an operator), contact, statement.
#[derive(Clone, Serialize, Deserialize)]
struct Said<'a>(
    #[serde(borrow)] Option<Name<'a>>,
    #[serde(borrow)] Name<'a>,
    #[serde(borrow)] PackedStatement<'a>,
);

#[derive(Serialize, Deserialize)]
struct Decision<'a> {
    #[serde(borrow, rename = "p")]
    purpose: Name<'a>,
    /// The rule that decided.
    #[serde(borrow, rename = "r")]
    rule: Name<'a>,
    /// Place of what won.
    #[serde(rename = "w")]
    winner: usize,
    #[serde(
        borrow,
        rename = "of",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    said_of: Option<Name<'a>>,
    #[serde(borrow, rename = "b", default, skip_serializing_if = "Option::is_none")]
    basis: Option<Name<'a>>,
    #[serde(
        borrow,
        rename = "bi",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    basis_in: Option<Name<'a>>,
    /// Places of what lost, and the rules by which it did.
    #[serde(borrow, rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<(usize, Name<'a>)>,
}

/// A list of what was said, each once.
#[derive(Default)]
struct Sayings<'a>(Vec<(&'a Source, &'a Statement)>);

impl<'a> Sayings<'a> {
    fn place(&mut self, source: &'a Source, statement: &'a Statement) -> usize {
        let said = (source, statement);
        let known = self.0.iter().position(|known| *known == said);
        known.unwrap_or_else(|| {
            self.0.push(said);
            self.0.len() - 1
        })
    }
}

impl Packer<'_> {
    /// A subject's verdicts; the empty text when all purposes are silent.
    pub fn verdicts(&self, resolution: &Resolution) -> String {
        if resolution.verdicts.is_empty() {
            return String::new();
        }
        let mut sayings = Sayings::default();
        let decisions = resolution.verdicts.iter();
        let verdicts = decisions.map(|verdict| self.decision(verdict, &mut sayings));
        let verdicts = verdicts.collect();
        let said = sayings.0.into_iter().map(|(source, statement)| {
            let (system, contact) = self.source(source);
            Said(system.map(Name::from), contact.into(), statement.into())
        });
        write(&Packed {
            policy: self.rules.policy.version.as_str().into(),
            said: said.collect(),
            verdicts,
        })
    }

    fn decision<'a>(&'a self, verdict: &'a Verdict, sayings: &mut Sayings<'a>) -> Decision<'a> {
        let name = |id: PurposeId| Name::from(self.rules.purposes.name(id));
        let lost = verdict.lost.iter().map(|lost| {
            let place = sayings.place(&lost.source, &lost.statement);
            (place, Name::from(lost.why.rule()))
        });
        let lost = lost.collect();
        Decision {
            purpose: name(verdict.purpose),
            rule: verdict.reason.rule().into(),
            winner: sayings.place(&verdict.source, &verdict.statement),
            said_of: (verdict.said_of != verdict.purpose).then(|| name(verdict.said_of)),
            basis: verdict.basis.as_ref().map(|basis| Name(pack_basis(basis))),
            basis_in: verdict
                .basis_in
                .map(|id| Name::from(self.rules.system_name(id))),
            lost,
        }
    }
}

/// Reads packed verdicts. Purposes and systems by name, whatever is configured now.
///
/// # Errors
/// When the text is not one that [`Packer::verdicts`] makes.
pub fn unpack_verdicts<'a>(text: &'a str) -> Result<Vec<PackedVerdict<'a>>, PackError> {
    const WHAT: &str = "list of verdicts";
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let packed: Packed<'a> = read(WHAT, text)?;
    let said = |place: usize| {
        packed.said.get(place).cloned().ok_or_else(|| PackError {
            what: WHAT,
            source: serde_json::Error::custom("a place that is not there"),
        })
    };
    let verdict = |decision: Decision<'a>| {
        let Said(system, contact, statement) = said(decision.winner)?;
        let lost = decision.lost.into_iter().map(|(place, rule)| {
            let Said(system, contact, statement) = said(place)?;
            Ok(PackedLost {
                system: system.map(|name| name.0),
                contact: contact.0,
                statement,
                rule: rule.0,
            })
        });
        Ok(PackedVerdict {
            purpose: decision.purpose.0,
            basis: decision.basis.map(|basis| basis.0),
            basis_in: decision.basis_in.map(|name| name.0),
            statement,
            system: system.map(|name| name.0),
            contact: contact.0,
            said_of: decision.said_of.map(|name| name.0),
            rule: decision.rule.0,
            policy: packed.policy.0.clone(),
            lost: lost.collect::<Result<_, _>>()?,
        })
    };
    packed.verdicts.into_iter().map(verdict).collect()
}

/// A stored verdict.
pub struct PackedVerdict<'a> {
    /// Purpose name.
    pub purpose: Cow<'a, str>,
    basis: Option<Cow<'a, str>>,
    basis_in: Option<Cow<'a, str>>,
    statement: PackedStatement<'a>,
    /// System of the winner; none for an operator.
    pub system: Option<Cow<'a, str>>,
    /// Contact of the winner.
    pub contact: Cow<'a, str>,
    /// The parent whose withdrawal decided (R20).
    pub said_of: Option<Cow<'a, str>>,
    /// The rule that decided.
    pub rule: Cow<'a, str>,
    /// Policy version (R23).
    pub policy: Cow<'a, str>,
    /// What lost.
    pub lost: Vec<PackedLost<'a>>,
}

impl PackedVerdict<'_> {
    /// Granted or withdrawn.
    pub fn status(&self) -> Status {
        self.statement.status
    }

    /// Who said it, as the system names its users.
    pub fn actor(&self) -> Option<&str> {
        self.statement.actor()
    }

    /// In which system, in which minute and by whom the winning statement was made: what loads are told by
    /// (R25). None for an operator's word, for a system that is not known, and where no actor is.
    pub fn made_by(&self, rules: &Rules) -> Option<(SystemId, i64, String)> {
        let (name, actor) = (self.system.as_deref()?, self.actor()?);
        let mut systems = rules.systems.iter();
        let system = systems.find(|system| system.name == name)?;
        let minute = self.statement.stamp().latest().minute();
        Some((system.id, minute, actor.to_owned()))
    }

    /// Legal basis (R21).
    pub fn basis(&self) -> Option<Basis> {
        self.basis.as_deref().map(unpack_basis)
    }

    /// The number of the system that understands a basis which is not mapped.
    pub fn basis_in(&self, rules: &Rules) -> Option<SystemId> {
        let name = self.basis_in.as_deref()?;
        let mut systems = rules.systems.iter();
        systems
            .find(|system| system.name == name)
            .map(|system| system.id)
    }

    /// The winning statement.
    pub fn statement(&self) -> Statement {
        self.statement.unpack()
    }

    /// What a check before mail needs of it. None where the purpose, or the system of a grant, is
    /// not configured any more: such a grant counts for nothing.
    pub fn voice(&self, rules: &Rules) -> Option<Voice> {
        let system = match &self.system {
            None => None,
            Some(name) => {
                let known = rules.systems.iter().find(|system| system.name == *name);
                if known.is_none() && self.status() == Status::Granted {
                    return None;
                }
                known.map(|system| system.id)
            }
        };
        Some(Voice {
            purpose: rules.purposes.find(&self.purpose)?,
            status: self.status(),
            basis: self.basis(),
            system,
            stamp: self.statement.stamp(),
        })
    }
}

/// A stored losing statement.
pub struct PackedLost<'a> {
    /// System; none for an operator.
    pub system: Option<Cow<'a, str>>,
    /// Contact.
    pub contact: Cow<'a, str>,
    statement: PackedStatement<'a>,
    /// The rule by which it lost.
    pub rule: Cow<'a, str>,
}

impl PackedLost<'_> {
    /// What was said.
    pub fn statement(&self) -> Statement {
        self.statement.unpack()
    }
}
