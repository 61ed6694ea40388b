//! Whether one recipient may be mailed for one purpose (R41, R42, R44, R48).
//!
//! The answer is a pure function of what is decided of the recipient, of what stands in doubt, and
//! of whether all of that is fresh. The first of these that applies is the answer:
//!
//! | answer | when |
//! |---|---|
//! | `suppressed` | the person was erased, and granted neither the purpose nor one above since (R55) |
//! | `withdrawn` | the master purpose is withdrawn, and with it every category (R20) |
//! | `category-off` | the category, or one above it that is no master purpose, is withdrawn |
//! | `held` | in place of these two, where a grant that may be the later one waits for a person (R24) |
//! | `duplicate-conflict` | a younger duplicate withdrew later, of this purpose or one above (R6) |
//! | `held` | the purpose or one above flaps (R28), or a grant of it is held from being written (R26) |
//! | `undeliverable` | a re-subscribe request is open (R48) |
//! | `unverified` | a system could not be asked, or what is known of it is too old (R42) |
//! | `unknown-address` | no system that is asked has a contact of that address |
//! | `no-legal-basis` | granted without one: by a consent record that names none, or one that the configuration does not map |
//! | `category-off` | nothing was said of the category, while the purpose above may be mailed |
//! | `no-legal-basis` | nothing was said at all |
//! | `send` | granted; or nothing was said, and silence is allowed here and in every purpose above (R44) |
//!
//! What somebody *said* comes before `unverified`: a withdrawal stays one however little else is
//! known. What rests on silence comes after it: whoever cannot be asked may have more to say.
//!
//! A grant in a system that holds a flag needs no named basis, since setting the flag is the act of
//! consent; so does a statement by an operator. A consent record without a basis is not consent.

use super::purpose::{PurposeId, Unknown};
use super::resolve::{Finding, Resolution, Verdict};
use super::rules::{Polarity, Rules, SystemId};
use super::statement::{Basis, Status};
use super::time::Stamp;

/// The answer for one recipient, the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Erased; must not be mailed again.
    Suppressed,
    /// The master purpose is withdrawn.
    Withdrawn,
    /// The category is withdrawn, or was never granted.
    CategoryOff,
    /// A younger duplicate withdrew later (R6).
    DuplicateConflict,
    /// Waits for a person (R24, R26, R28).
    Held,
    /// A re-subscribe request is open (R48).
    Undeliverable,
    /// Not everything could be asked (R42).
    Unverified,
    /// No contact has that address, or it is none.
    UnknownAddress,
    /// Nothing allows the mail.
    NoLegalBasis,
    /// May be mailed.
    Send,
}

impl Answer {
    /// All answers, the strictest first.
    pub const ALL: [Self; 10] = [
        Self::Suppressed,
        Self::Withdrawn,
        Self::CategoryOff,
        Self::DuplicateConflict,
        Self::Held,
        Self::Undeliverable,
        Self::Unverified,
        Self::UnknownAddress,
        Self::NoLegalBasis,
        Self::Send,
    ];

    /// The word used in the API, the CLI and the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Suppressed => "suppressed",
            Self::Withdrawn => "withdrawn",
            Self::CategoryOff => "category-off",
            Self::DuplicateConflict => "duplicate-conflict",
            Self::Held => "held",
            Self::Undeliverable => "undeliverable",
            Self::Unverified => "unverified",
            Self::UnknownAddress => "unknown-address",
            Self::NoLegalBasis => "no-legal-basis",
            Self::Send => "send",
        }
    }

    /// The answer of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.word() == word)
    }
}

/// What is decided of one purpose, as far as a send-out depends on it. A purpose without one is
/// silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// The purpose.
    pub purpose: PurposeId,
    /// Granted or withdrawn.
    pub status: Status,
    /// Legal basis (R21).
    pub basis: Option<Basis>,
    /// The system whose statement won; none for an operator or the API.
    pub system: Option<SystemId>,
    /// When that statement became true.
    pub stamp: Stamp,
}

impl From<&Verdict> for Voice {
    fn from(verdict: &Verdict) -> Self {
        Self {
            purpose: verdict.purpose,
            status: verdict.status(),
            basis: verdict.basis.clone(),
            system: verdict.source.system,
            stamp: verdict.statement.stamp,
        }
    }
}

/// Why a purpose is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// A younger duplicate withdrew later (R6).
    Conflict,
    /// A grant found at first sight may be later than the withdrawal (R24).
    WeakGrant,
    /// It flips too often (R28), or a write of it is held for a person (R26).
    Held,
    /// The person was erased and has not granted it since (R55).
    Suppressed,
}

/// One recipient of a send-out, and what is known of it. By default nothing is: an unverified
/// stranger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipient {
    /// What is decided, in any order.
    pub voices: Vec<Voice>,
    /// What is in doubt, in any order.
    pub doubts: Vec<(PurposeId, Doubt)>,
    /// A live contact in a system that is asked has the address.
    pub is_contact: bool,
    /// Every system whose word counts was asked, or what is known of it is fresh enough (R42).
    pub is_verified: bool,
    /// Nobody is known by the address, but somebody was erased under it (R55).
    pub is_suppressed: bool,
    /// A re-subscribe request is open (R48).
    pub is_undeliverable: bool,
}

impl From<&Resolution> for Recipient {
    /// A verified contact of whom this was resolved.
    fn from(resolution: &Resolution) -> Self {
        Self {
            voices: resolution.verdicts.iter().map(Voice::from).collect(),
            doubts: resolution.findings.iter().filter_map(doubt).collect(),
            is_contact: true,
            is_verified: true,
            ..Self::default()
        }
    }
}

/// What a finding puts in doubt before mail is sent; none for one that is only to be known.
pub const fn doubt(finding: &Finding) -> Option<(PurposeId, Doubt)> {
    match finding {
        Finding::Conflict { purpose, .. } => Some((*purpose, Doubt::Conflict)),
        Finding::WeakGrant { purpose, .. } => Some((*purpose, Doubt::WeakGrant)),
        Finding::Flapping { purpose } => Some((*purpose, Doubt::Held)),
        Finding::Suppressed { purpose } => Some((*purpose, Doubt::Suppressed)),
        // An inconsistent category and a load are decided already; a capped stamp counts as capped.
        Finding::Inconsistent { .. } | Finding::Load { .. } | Finding::FutureStamped { .. } => None,
    }
}

impl Recipient {
    fn voice(&self, purpose: PurposeId) -> Option<&Voice> {
        self.voices.iter().find(|voice| voice.purpose == purpose)
    }

    fn is_in_doubt(&self, purpose: PurposeId, doubt: Doubt) -> bool {
        self.doubts.contains(&(purpose, doubt))
    }

    /// Whether mail for that purpose has a grant, or a silence that is allowed all the way up.
    fn is_open(&self, purpose: PurposeId, rules: &Rules) -> bool {
        if let Some(voice) = self.voice(purpose) {
            return voice.status == Status::Granted;
        }
        let Some(settings) = rules.purposes.get(purpose) else {
            return false;
        };
        settings.unknown == Unknown::Allow
            && settings
                .parent
                .is_none_or(|parent| self.is_open(parent, rules))
    }
}

/// The answer for one recipient, and what decided it, if anything that was said did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged<'a> {
    /// The answer.
    pub answer: Answer,
    /// What is decided of the purpose that the answer rests on.
    pub voice: Option<&'a Voice>,
}

/// Judges one recipient for one purpose; see the module's documentation.
pub fn judge<'a>(purpose: PurposeId, recipient: &'a Recipient, rules: &Rules) -> Judged<'a> {
    let own = recipient.voice(purpose);
    let no = |answer| Judged { answer, voice: own };
    let upwards: Vec<PurposeId> = std::iter::once(purpose)
        .chain(rules.purposes.ancestors(purpose))
        .collect();
    let in_doubt = |doubt| {
        upwards
            .iter()
            .any(|purpose| recipient.is_in_doubt(*purpose, doubt))
    };
    if recipient.is_suppressed || in_doubt(Doubt::Suppressed) {
        return no(Answer::Suppressed);
    }
    // R20: the highest withdrawal is the one that has to be overcome first.
    let withdrawn = upwards
        .iter()
        .rev()
        .filter_map(|purpose| recipient.voice(*purpose))
        .find(|voice| voice.status == Status::Withdrawn);
    if let Some(voice) = withdrawn {
        let is_master = rules
            .purposes
            .get(voice.purpose)
            .is_none_or(|settings| settings.parent.is_none());
        let answer = if recipient.is_in_doubt(voice.purpose, Doubt::WeakGrant) {
            Answer::Held
        } else if is_master {
            Answer::Withdrawn
        } else {
            Answer::CategoryOff
        };
        return Judged {
            answer,
            voice: Some(voice),
        };
    }
    if in_doubt(Doubt::Conflict) {
        return no(Answer::DuplicateConflict);
    }
    if in_doubt(Doubt::Held) {
        return no(Answer::Held);
    }
    if recipient.is_undeliverable {
        return no(Answer::Undeliverable);
    }
    // R42: from here on the answer rests on what was not said.
    if !recipient.is_verified {
        return no(Answer::Unverified);
    }
    if !recipient.is_contact {
        return no(Answer::UnknownAddress);
    }
    no(match own {
        Some(voice) if has_basis(voice, rules) => Answer::Send,
        Some(_) => Answer::NoLegalBasis,
        None => silence(purpose, recipient, rules),
    })
}

/// Whether a grant has a legal basis that is known here, or is itself the act of consent.
fn has_basis(voice: &Voice, rules: &Rules) -> bool {
    match &voice.basis {
        Some(Basis::Other(_)) => false,
        Some(
            Basis::Consent
            | Basis::Contract
            | Basis::LegalObligation
            | Basis::VitalInterests
            | Basis::PublicTask
            | Basis::LegitimateInterests,
        ) => true,
        None => voice.system.is_none_or(|id| {
            rules
                .system(id)
                .and_then(|system| system.polarity(voice.purpose))
                .is_some_and(|polarity| polarity != Polarity::Recorded)
        }),
    }
}

/// R44: what it means that nothing was said of a purpose.
fn silence(purpose: PurposeId, recipient: &Recipient, rules: &Rules) -> Answer {
    if recipient.is_open(purpose, rules) {
        return Answer::Send;
    }
    let parent = rules
        .purposes
        .get(purpose)
        .and_then(|settings| settings.parent);
    if parent.is_some_and(|parent| recipient.is_open(parent, rules)) {
        Answer::CategoryOff
    } else {
        Answer::NoLegalBasis
    }
}
