//! What one contact says of one purpose.

use super::time::{At, Stamp};
use std::fmt;

/// Granted or withdrawn. Silence is the absence of a statement and never counts as consent.
///
/// The order is that of the tie rule (R19): withdrawn is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The person may be mailed.
    Granted,
    /// The person may not be mailed.
    Withdrawn,
}

impl Status {
    /// The word used in the store, the API and the CLI.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Legal basis, GDPR Art. 6(1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Basis {
    /// Art. 6(1)(a)
    #[default]
    Consent,
    /// Art. 6(1)(b)
    Contract,
    /// Art. 6(1)(c)
    LegalObligation,
    /// Art. 6(1)(d)
    VitalInterests,
    /// Art. 6(1)(e)
    PublicTask,
    /// Art. 6(1)(f)
    LegitimateInterests,
    /// A code this configuration does not map: kept verbatim, never written to a system other than
    /// the one that said it.
    Other(String),
}

impl Basis {
    /// Whether other systems understand it too (R21).
    pub const fn is_mapped(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// The word used in the store, the API and the CLI.
    pub fn word(&self) -> &str {
        match self {
            Self::Consent => "consent",
            Self::Contract => "contract",
            Self::LegalObligation => "legal-obligation",
            Self::VitalInterests => "vital-interests",
            Self::PublicTask => "public-task",
            Self::LegitimateInterests => "legitimate-interests",
            Self::Other(code) => code,
        }
    }

    /// The basis of that word; any other word is kept verbatim.
    pub fn from_word(word: &str) -> Self {
        match word {
            "consent" => Self::Consent,
            "contract" => Self::Contract,
            "legal-obligation" => Self::LegalObligation,
            "vital-interests" => Self::VitalInterests,
            "public-task" => Self::PublicTask,
            "legitimate-interests" => Self::LegitimateInterests,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// How well a stamp is known, from worst to best (R10, R18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// Found at first sight.
    Baseline,
    /// Seen to change between two reads.
    Observed,
    /// A row of the system's field history.
    History,
    /// The system stores a legal-basis time.
    Explicit,
}

impl Evidence {
    /// The word used in the store, the API and the CLI.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Observed => "observed",
            Self::History => "history",
            Self::Explicit => "explicit",
        }
    }

    /// The grade of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "baseline" => Self::Baseline,
            "observed" => Self::Observed,
            "history" => Self::History,
            "explicit" => Self::Explicit,
            _ => return None,
        })
    }
}

/// What one contact says of one purpose: status, legal basis, stamp, evidence, actor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Statement {
    /// Granted or withdrawn.
    pub status: Status,
    /// Legal basis, in systems that carry one.
    pub basis: Option<Basis>,
    /// When it became true.
    pub stamp: Stamp,
    /// How well that is known.
    pub evidence: Evidence,
    /// Who did it, as the system names its users.
    pub actor: Option<String>,
}

impl Statement {
    /// R11: uncertainty is read in the person's favour. A withdrawal ranks by the last instant it
    /// may have been made, a grant by the first.
    pub const fn rank(&self) -> At {
        match self.status {
            Status::Withdrawn => self.stamp.latest(),
            Status::Granted => self.stamp.earliest(),
        }
    }

    /// R24: a grant found at first sight cannot overrule a withdrawal.
    pub fn is_weak(&self) -> bool {
        self.status == Status::Granted && self.evidence == Evidence::Baseline
    }

    /// Whether `better` tells of the same act with better evidence, which makes this one redundant.
    pub fn is_told_better_by(&self, better: &Self) -> bool {
        self.status == better.status
            && self.evidence < better.evidence
            && self.stamp.contains(better.stamp)
    }
}
