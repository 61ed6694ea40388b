//! From the statements of one subject to its verdicts (R4, R6, R14, R18–R24, R29, R49).
//!
//! A verdict is a function of the *set* of statements, never of an earlier verdict, so any order,
//! batching or repetition of the same observations gives the same verdicts (R18, R19).

use super::contact::{Contact, Holding};
use super::duplicates::representative;
use super::purpose::{PurposeId, Revival};
use super::rules::{DuplicateWithdrawal, Polarity, Rules, SystemId, SystemRules};
use super::statement::{Basis, Evidence, Statement, Status};
use super::suppression::is_erasure;
use super::time::At;
use std::cmp::Ordering;

/// How many losing statements a verdict names (R23).
pub const MAX_LOST: usize = 8;

/// Where a statement was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The system; none for an operator or the API.
    pub system: Option<SystemId>,
    /// External id of the contact, or the name of the operator.
    pub contact: String,
}

/// A statement that stands for itself: a withdrawal that outlived its contact's stay under this
/// subject (R14), or one declared by an operator or through the API (R18). Or an operator's word that
/// a statement counts for nothing (R29, R30). Both are facts that are added and never taken away, so
/// that a verdict stays a function of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remembered {
    /// What it is about.
    pub purpose: PurposeId,
    /// Who said it.
    pub source: Source,
    /// What was said.
    pub statement: Statement,
    /// It does not add the statement: an operator has overruled it.
    pub overruled: bool,
}

impl Remembered {
    /// Whether it overrules what `source` says of `purpose`: that very statement, or one that tells of
    /// the same act with better evidence.
    fn overrules(&self, purpose: PurposeId, source: Origin<'_>, statement: &Statement) -> bool {
        self.overruled
            && self.purpose == purpose
            && self.source.system == source.system
            && self.source.contact == source.contact
            && (self.statement == *statement || self.statement.is_told_better_by(statement))
    }
}

/// All that is known of one subject.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Its contacts in all systems, live or not.
    pub contacts: &'a [Contact],
    /// Statements without a contact.
    pub remembered: &'a [Remembered],
    /// R25: whether a grant belongs to a recognised load.
    pub is_load: &'a dyn Fn(SystemId, &Statement) -> bool,
}

/// Why a statement decided (R23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The only one, or the latest stamp (R18).
    Latest,
    /// Equal ranks: the withdrawal wins (R19).
    Tie,
    /// A parent is withdrawn (R20).
    Parent,
    /// Only grants found at first sight, and no withdrawal (R24).
    OnlyWeak,
}

impl Reason {
    /// The rule that decided.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Latest => "R18",
            Self::Tie => "R19",
            Self::Parent => "R20",
            Self::OnlyWeak => "R24",
        }
    }

    /// The reason behind a rule that is its name in a stored verdict or write.
    pub fn from_rule(rule: &str) -> Option<Self> {
        let all = [Self::Latest, Self::Tie, Self::Parent, Self::OnlyWeak];
        all.into_iter().find(|reason| reason.rule() == rule)
    }

    /// The reason in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Latest => "nothing later was said",
            Self::Tie => "both were said at the same time, and then the withdrawal counts",
            Self::Parent => "a purpose above it is withdrawn",
            Self::OnlyWeak => "nothing but this was found, at first sight",
        }
    }
}

/// Why a statement did not decide (R23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Another outranks it (R18).
    Earlier,
    /// Found at first sight, so it cannot overrule a withdrawal (R24).
    Weak,
    /// Made by a bulk actor or in a load, so it cannot grant (R25).
    Load,
    /// Not on the basis of consent, which this purpose demands for a revival (R22).
    NotConsent,
    /// A category granted while its parent was withdrawn (R20).
    WhileParentWithdrawn,
    /// An operator has rejected it (R29), or undone what it did (R30).
    Overruled,
}

impl Loss {
    /// The rule it lost by.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Earlier => "R18",
            Self::Weak => "R24",
            Self::Load => "R25",
            Self::NotConsent => "R22",
            Self::WhileParentWithdrawn => "R20",
            Self::Overruled => "R29",
        }
    }
}

/// Why a statement of a contact is not asked at all (R53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// A younger duplicate: the oldest speaks (R4).
    Duplicate,
    /// A grant ends with its contact (R14).
    Gone,
    /// The system does not carry the purpose any more (R49).
    NotCarried,
    /// Made after the system's legal-basis sync was switched off (R49).
    Muted,
}

impl Silence {
    /// The rule that silences it.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Duplicate => "R4",
            Self::Gone => "R14",
            Self::NotCarried | Self::Muted => "R49",
        }
    }

    /// The word used in the API and the CLI.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Gone => "gone",
            Self::NotCarried => "not-carried",
            Self::Muted => "muted",
        }
    }
}

/// A statement that did not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Who said it.
    pub source: Source,
    /// What was said.
    pub statement: Statement,
    /// Why it lost.
    pub why: Loss,
}

/// The decision for one purpose. A purpose without a verdict is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it is about.
    pub purpose: PurposeId,
    /// The statement that won; its status is the verdict's.
    pub statement: Statement,
    /// Who said it.
    pub source: Source,
    /// The purpose it was said of, when a parent's withdrawal decides (R20).
    pub said_of: PurposeId,
    /// The legal basis that systems with one get (R21).
    pub basis: Option<Basis>,
    /// The system that understands the basis, where it is not mapped; no other gets it.
    pub basis_in: Option<SystemId>,
    /// Why it won.
    pub reason: Reason,
    /// What lost and why, best first, at most [`MAX_LOST`].
    pub lost: Vec<Lost>,
}

impl Verdict {
    /// Granted or withdrawn.
    pub const fn status(&self) -> Status {
        self.statement.status
    }
}

/// Something a person should know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// R6: a younger duplicate carries a later withdrawal; it is protected and blocks sending.
    Conflict {
        /// The purpose.
        purpose: PurposeId,
        /// The younger duplicate.
        source: Source,
    },
    /// R20: a category was granted while its parent is withdrawn; it is reset.
    Inconsistent {
        /// The category.
        purpose: PurposeId,
        /// Who ticked it.
        source: Source,
    },
    /// R24: a grant found at first sight may be later than the withdrawal; a person decides.
    WeakGrant {
        /// The purpose.
        purpose: PurposeId,
        /// Who granted.
        source: Source,
    },
    /// R25: a load granted, which counts for nothing.
    Load {
        /// The purpose.
        purpose: PurposeId,
        /// The contact that was overwritten.
        source: Source,
    },
    /// R16: a stamp of this contact lay in the future and was capped.
    FutureStamped {
        /// The contact.
        source: Source,
    },
    /// R28: it flips too often; grants wait for a person.
    Flapping {
        /// The purpose.
        purpose: PurposeId,
    },
    /// R55: the person was erased, and nothing that counts has granted since.
    Suppressed {
        /// The purpose.
        purpose: PurposeId,
    },
}

/// Everything decided about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Verdicts in the order of the purposes; silent ones are absent.
    pub verdicts: Vec<Verdict>,
    /// What a person should know of, sorted, each once.
    pub findings: Vec<Finding>,
}

impl Resolution {
    /// The verdict for one purpose; `None` when silent.
    pub fn verdict(&self, purpose: PurposeId) -> Option<&Verdict> {
        self.verdicts
            .iter()
            .find(|verdict| verdict.purpose == purpose)
    }

    /// R6: whether this contact is protected from a grant of that purpose.
    pub fn protects(&self, contact: &Contact, purpose: PurposeId, rules: &Rules) -> bool {
        self.findings.iter().any(|finding| match finding {
            Finding::Conflict {
                purpose: of,
                source,
            } => {
                source.system == Some(contact.system)
                    && source.contact == contact.id
                    && (*of == purpose
                        || rules
                            .purposes
                            .ancestors(purpose)
                            .any(|parent| parent == *of))
            }
            Finding::Inconsistent { .. }
            | Finding::WeakGrant { .. }
            | Finding::Load { .. }
            | Finding::FutureStamped { .. }
            | Finding::Flapping { .. }
            | Finding::Suppressed { .. } => false,
        })
    }
}

/// Where a statement was made, without owning the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin<'a> {
    system: Option<SystemId>,
    contact: &'a str,
}

impl<'a> Origin<'a> {
    fn of(contact: &'a Contact) -> Self {
        Self {
            system: Some(contact.system),
            contact: &contact.id,
        }
    }

    fn source(self) -> Source {
        Source {
            system: self.system,
            contact: self.contact.to_owned(),
        }
    }
}

/// One statement in the competition.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    statement: &'a Statement,
    origin: Origin<'a>,
    said_of: PurposeId,
    /// It may not compete, or not against a withdrawal.
    handicap: Option<Loss>,
}

/// What one purpose hands down to its categories (R20).
struct Handed<'a> {
    purpose: PurposeId,
    withdrawals: Vec<Candidate<'a>>,
    /// When it was last withdrawn and when it was first granted after that; only while granted.
    revived: Option<(At, At)>,
}

/// Each system with the contact that speaks for it.
type Voices<'a> = Vec<(&'a SystemRules, Option<&'a Contact>)>;

/// Decides every purpose of one subject.
pub fn resolve(subject: &Subject<'_>, rules: &Rules) -> Resolution {
    let mut resolution = Resolution::default();
    // Most subjects of a first load never said anything.
    let silent = subject.remembered.is_empty()
        && subject.contacts.iter().all(|contact| {
            !contact.record.future_stamped
                && contact
                    .record
                    .iter()
                    .all(|(_, holding)| holding.statements.is_empty())
        });
    if silent {
        return resolution;
    }
    let voices: Voices<'_> = rules
        .systems
        .iter()
        .map(|system| (system, representative(subject.contacts, system.id)))
        .collect();
    // Parents come first.
    let mut handed: Vec<Handed<'_>> = Vec::new();
    for (purpose, _) in rules.purposes.iter() {
        let mut field = candidates(subject, rules, &voices, purpose);
        let mut overruled = overruled(subject, purpose, &mut field);
        for candidate in &mut field {
            candidate.handicap = match handicap(subject, rules, purpose, candidate) {
                Some(Loss::Load) => Some(Loss::Load),
                other => void(rules, purpose, candidate, &handed)
                    .or(other)
                    .or_else(|| candidate.statement.is_weak().then_some(Loss::Weak)),
            };
        }
        for candidate in field
            .iter()
            .filter(|candidate| candidate.handicap == Some(Loss::Load))
        {
            resolution.findings.push(Finding::Load {
                purpose,
                source: candidate.origin.source(),
            });
        }
        let withdrawals: Vec<Candidate<'_>> = field
            .iter()
            .filter(|candidate| candidate.statement.status == Status::Withdrawn)
            .copied()
            .collect();
        let revived = revival(&field, &withdrawals);
        if is_suppressed(subject, purpose, &field) {
            resolution.findings.push(Finding::Suppressed { purpose });
        }
        // R20: what withdrew the parent withdraws every descendant, from that time on.
        for parent in rules.purposes.ancestors(purpose) {
            if let Some(parent) = handed.iter().find(|known| known.purpose == parent) {
                field.extend_from_slice(&parent.withdrawals);
            }
        }
        overruled.sort_by(|a, b| order(b, a, rules));
        let verdict = decide(rules, purpose, field, &overruled, &mut resolution);
        conflicts(
            subject,
            rules,
            &voices,
            purpose,
            verdict.as_ref(),
            &mut resolution,
        );
        handed.push(Handed {
            purpose,
            withdrawals,
            revived: revived.filter(|_| {
                verdict
                    .as_ref()
                    .is_some_and(|verdict| verdict.status() == Status::Granted)
            }),
        });
        resolution.verdicts.extend(verdict);
    }
    for contact in subject
        .contacts
        .iter()
        .filter(|contact| contact.record.future_stamped)
    {
        resolution.findings.push(Finding::FutureStamped {
            source: Origin::of(contact).source(),
        });
    }
    // R19: the same, byte for byte, in whatever order the contacts came.
    resolution.findings.sort();
    resolution.findings.dedup();
    resolution
}

/// R55: whether an erasure withdrew the purpose, and no grant that counts outranks it.
fn is_suppressed(subject: &Subject<'_>, purpose: PurposeId, field: &[Candidate<'_>]) -> bool {
    let erasures = subject
        .remembered
        .iter()
        .filter(|kept| kept.purpose == purpose && is_erasure(kept));
    let Some(last) = erasures.map(|kept| kept.statement.rank()).max() else {
        return false;
    };
    !field.iter().any(|candidate| {
        candidate.handicap.is_none()
            && candidate.statement.status == Status::Granted
            && candidate.statement.rank() > last
    })
}

/// When the last withdrawal was made and when the first grant after it.
fn revival(field: &[Candidate<'_>], withdrawals: &[Candidate<'_>]) -> Option<(At, At)> {
    let last = withdrawals
        .iter()
        .map(|candidate| candidate.statement.rank())
        .max()?;
    let first = field
        .iter()
        .filter(|candidate| {
            candidate.handicap.is_none() && candidate.statement.status == Status::Granted
        })
        .map(|candidate| candidate.statement.rank())
        .filter(|rank| *rank > last)
        .min()?;
    Some((last, first))
}

/// R4, R8, R14, R18: whose statements count for one purpose.
fn candidates<'a>(
    subject: &Subject<'a>,
    rules: &Rules,
    voices: &Voices<'_>,
    purpose: PurposeId,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for contact in subject.contacts {
        let Some(holding) = contact.record.get(purpose) else {
            continue;
        };
        let Some((system, voice)) = voices
            .iter()
            .find(|(system, _)| system.id == contact.system)
        else {
            continue;
        };
        found.extend(
            holding
                .said()
                .filter(|statement| {
                    silence(rules, system, *voice, contact, purpose, statement).is_none()
                })
                .map(|statement| Candidate {
                    statement,
                    origin: Origin::of(contact),
                    said_of: purpose,
                    handicap: None,
                }),
        );
    }
    found.extend(
        subject
            .remembered
            .iter()
            .filter(|kept| kept.purpose == purpose && !kept.overruled)
            .filter(|kept| {
                let system = kept.source.system.and_then(|id| rules.system(id));
                system.is_none_or(|system| system.hears(&kept.statement))
            })
            .map(|kept| Candidate {
                statement: &kept.statement,
                origin: Origin {
                    system: kept.source.system,
                    contact: &kept.source.contact,
                },
                said_of: purpose,
                handicap: None,
            }),
    );
    found
}

/// R29, R30: takes out of the field what operators have overruled, and gives it.
fn overruled<'a>(
    subject: &Subject<'a>,
    purpose: PurposeId,
    field: &mut Vec<Candidate<'a>>,
) -> Vec<Candidate<'a>> {
    if !subject.remembered.iter().any(|kept| kept.overruled) {
        return Vec::new();
    }
    let out = field.extract_if(.., |candidate| {
        let mut words = subject.remembered.iter();
        words.any(|word| word.overrules(purpose, candidate.origin, candidate.statement))
    });
    let out = out.map(|candidate| Candidate {
        handicap: Some(Loss::Overruled),
        ..candidate
    });
    out.collect()
}

/// Why a statement of a contact is no candidate; none when it is one.
///
/// R14: withdrawals outlive their record, and also (R49) the system or the field in which they were made;
/// grants end with it. R6: a younger duplicate's withdrawal counts only where the policy says so.
fn silence(
    rules: &Rules,
    system: &SystemRules,
    voice: Option<&Contact>,
    contact: &Contact,
    purpose: PurposeId,
    statement: &Statement,
) -> Option<Silence> {
    let represents = voice.is_some_and(|voice| voice.id == contact.id);
    let speaks = represents && system.polarity(purpose).is_some();
    let withdraws = represents
        || !contact.life.is_live()
        || rules.policy.duplicate_withdrawal == DuplicateWithdrawal::Any;
    if !system.hears(statement) {
        Some(Silence::Muted)
    } else if speaks || withdraws && statement.status == Status::Withdrawn {
        None
    } else if !contact.life.is_live() {
        Some(Silence::Gone)
    } else if represents {
        Some(Silence::NotCarried)
    } else {
        Some(Silence::Duplicate)
    }
}

/// The statements of these contacts that are no candidates for the purpose, and why, in the order of the
/// contacts (R53). Those of a system that the rules do not know are left out.
pub fn silent(
    contacts: &[Contact],
    rules: &Rules,
    purpose: PurposeId,
) -> Vec<(Source, Statement, Silence)> {
    let mut found = Vec::new();
    for contact in contacts {
        let (Some(holding), Some(system)) =
            (contact.record.get(purpose), rules.system(contact.system))
        else {
            continue;
        };
        let voice = representative(contacts, contact.system);
        found.extend(holding.said().filter_map(|statement| {
            let why = silence(rules, system, voice, contact, purpose, statement)?;
            Some((Origin::of(contact).source(), statement.clone(), why))
        }));
    }
    found
}

/// What keeps a grant from competing with withdrawals; withdrawals always compete.
fn handicap(
    subject: &Subject<'_>,
    rules: &Rules,
    purpose: PurposeId,
    candidate: &Candidate<'_>,
) -> Option<Loss> {
    let statement = candidate.statement;
    if statement.status == Status::Withdrawn {
        return None;
    }
    let system = candidate.origin.system.and_then(|id| rules.system(id));
    // R25: loads cannot grant.
    if let Some(id) = candidate.origin.system {
        let by_bulk_actor = system
            .zip(statement.actor.as_ref())
            .is_some_and(|(system, actor)| system.bulk_actors.contains(actor));
        if by_bulk_actor || (subject.is_load)(id, statement) {
            return Some(Loss::Load);
        }
    }
    // R22: some purposes are revived by consent alone. A record without a basis is not on the
    // basis of consent; a flag has none to show, so its history must tell of the act.
    let by_consent_alone = rules
        .purposes
        .get(purpose)
        .is_some_and(|settings| settings.revival == Revival::ConsentOnly);
    if by_consent_alone {
        let consents = match &statement.basis {
            Some(basis) => *basis == Basis::Consent,
            None => {
                statement.evidence >= Evidence::History
                    && system.and_then(|system| system.polarity(purpose))
                        != Some(Polarity::Recorded)
            }
        };
        if !consents {
            return Some(Loss::NotConsent);
        }
    }
    None
}

/// R20: ticked after a parent was withdrawn and certainly before it was granted again. The box was
/// reset then; granting the parent does not bring it back.
fn void(
    rules: &Rules,
    purpose: PurposeId,
    candidate: &Candidate<'_>,
    handed: &[Handed<'_>],
) -> Option<Loss> {
    if candidate.statement.status == Status::Withdrawn {
        return None;
    }
    rules
        .purposes
        .ancestors(purpose)
        .filter_map(|parent| handed.iter().find(|known| known.purpose == parent))
        .filter_map(|parent| parent.revived)
        .any(|(withdrawn, granted)| {
            candidate.statement.rank() > withdrawn && candidate.statement.stamp.latest() < granted
        })
        .then_some(Loss::WhileParentWithdrawn)
}

/// What a system says in favour of a purpose, the best first, whatever handicap it has; without what
/// operators have overruled.
pub(super) fn grants_of(
    subject: &Subject<'_>,
    rules: &Rules,
    purpose: PurposeId,
    system: SystemId,
) -> Vec<(Source, Statement)> {
    let voices: Voices<'_> = rules
        .systems
        .iter()
        .map(|system| (system, representative(subject.contacts, system.id)))
        .collect();
    let mut field = candidates(subject, rules, &voices, purpose);
    overruled(subject, purpose, &mut field);
    field.retain(|candidate| {
        candidate.origin.system == Some(system) && candidate.statement.status == Status::Granted
    });
    field.sort_by(|a, b| order(b, a, rules));
    let grants = field.iter();
    grants
        .map(|candidate| (candidate.origin.source(), candidate.statement.clone()))
        .collect()
}

/// R18: the total order; the greatest wins.
fn order(a: &Candidate<'_>, b: &Candidate<'_>, rules: &Rules) -> Ordering {
    let precedence = |candidate: &Candidate<'_>| {
        // Operators and the API come before every system; lower numbers win.
        candidate.origin.system.map_or(0, |id| {
            rules
                .system(id)
                .map_or(u32::MAX, |system| u32::from(system.precedence) + 1)
        })
    };
    let name = |candidate: &Candidate<'_>| {
        candidate
            .origin
            .system
            .map(|id| (rules.system_name(id), id))
    };
    (a.statement.rank(), a.statement.status, a.statement.evidence)
        .cmp(&(b.statement.rank(), b.statement.status, b.statement.evidence))
        .then_with(|| precedence(b).cmp(&precedence(a)))
        .then_with(|| name(b).cmp(&name(a)))
        .then_with(|| b.origin.contact.cmp(a.origin.contact))
        // Only for statements of one contact that are equal in all of the above.
        .then_with(|| a.statement.cmp(b.statement))
        .then_with(|| b.said_of.cmp(&a.said_of))
}

/// Lets the candidates of one purpose compete.
fn decide(
    rules: &Rules,
    purpose: PurposeId,
    mut field: Vec<Candidate<'_>>,
    overruled: &[Candidate<'_>],
    resolution: &mut Resolution,
) -> Option<Verdict> {
    let verdict = |winner: &Candidate<'_>, reason: Reason, field: &[Candidate<'_>]| {
        verdict(rules, purpose, winner, reason, field, overruled)
    };
    field.sort_by(|a, b| order(b, a, rules));
    // R20: while a parent is withdrawn no descendant is granted, whatever it says.
    let parent = rules.purposes.ancestors(purpose).find_map(|parent| {
        resolution
            .verdict(parent)
            .filter(|verdict| verdict.status() == Status::Withdrawn)
            .cloned()
    });
    let able = |candidate: &&Candidate<'_>| candidate.handicap.is_none();
    // Withdrawals and strong grants compete first (R18).
    let strong = field.iter().find(able).copied();
    let Some(winner) = strong else {
        // A handicapped grant counts only where no withdrawal is a candidate.
        let weak = field
            .iter()
            .find(|candidate| matches!(candidate.handicap, Some(Loss::Weak | Loss::NotConsent)))?;
        return Some(verdict(weak, Reason::OnlyWeak, &field));
    };
    if winner.statement.status == Status::Granted {
        let Some(parent) = parent else {
            return Some(verdict(&winner, Reason::Latest, &field));
        };
        // Ticked since the parent was withdrawn.
        for candidate in &mut field {
            if candidate.handicap.is_none()
                && candidate.statement.status == Status::Granted
                && candidate.statement.rank() > parent.statement.rank()
            {
                candidate.handicap = Some(Loss::WhileParentWithdrawn);
            }
        }
        resolution.findings.push(Finding::Inconsistent {
            purpose,
            source: winner.origin.source(),
        });
        let over = Candidate {
            statement: &parent.statement,
            origin: Origin {
                system: parent.source.system,
                contact: &parent.source.contact,
            },
            said_of: parent.said_of,
            handicap: None,
        };
        return Some(verdict(&over, Reason::Parent, &field));
    }
    let last = winner.statement.rank();
    // R24: a person decides about a grant found at first sight that may be the later; under a
    // withdrawn parent there is nothing to decide.
    for weak in field.iter().filter(|candidate| {
        candidate.handicap == Some(Loss::Weak) && candidate.statement.stamp.latest() > last
    }) {
        let source = weak.origin.source();
        resolution.findings.push(if parent.is_some() {
            Finding::Inconsistent { purpose, source }
        } else {
            Finding::WeakGrant { purpose, source }
        });
    }
    let tied = field
        .iter()
        .filter(able)
        .any(|other| other.statement.status == Status::Granted && other.statement.rank() == last);
    let reason = if winner.said_of != purpose {
        Reason::Parent
    } else if tied {
        Reason::Tie
    } else {
        Reason::Latest
    };
    Some(verdict(&winner, reason, &field))
}

fn verdict(
    rules: &Rules,
    purpose: PurposeId,
    winner: &Candidate<'_>,
    reason: Reason,
    field: &[Candidate<'_>],
    overruled: &[Candidate<'_>],
) -> Verdict {
    let same = |candidate: &Candidate<'_>| {
        candidate.origin == winner.origin
            && candidate.statement == winner.statement
            && candidate.said_of == winner.said_of
    };
    let (basis, basis_in) = match winner.statement.status {
        Status::Granted => standing_basis(field)
            .or_else(|| renewed_basis(rules, purpose, winner, field))
            .unzip(),
        Status::Withdrawn => (None, None),
    };
    let lost = field
        .iter()
        .filter(|candidate| !same(candidate))
        .chain(overruled)
        .take(MAX_LOST)
        .map(|candidate| Lost {
            source: candidate.origin.source(),
            statement: candidate.statement.clone(),
            why: candidate.handicap.unwrap_or(Loss::Earlier),
        })
        .collect();
    Verdict {
        purpose,
        statement: winner.statement.clone(),
        source: winner.origin.source(),
        said_of: winner.said_of,
        basis_in: basis
            .as_ref()
            .and_then(|basis: &Basis| basis_in.flatten().filter(|_| !basis.is_mapped())),
        basis,
        reason,
        lost,
    }
}

/// R21: the basis of the latest standing grant that carries one, and the system that said so. What
/// was granted before a withdrawal ended with it, so its basis does not come back with a later grant.
fn standing_basis(field: &[Candidate<'_>]) -> Option<(Basis, Option<SystemId>)> {
    let last_withdrawal = field
        .iter()
        .filter(|candidate| candidate.statement.status == Status::Withdrawn)
        .map(|candidate| candidate.statement.rank())
        .max();
    field
        .iter()
        .filter(|candidate| candidate.statement.status == Status::Granted)
        .filter(|candidate| last_withdrawal.is_none_or(|last| candidate.statement.rank() > last))
        .filter(|candidate| match candidate.handicap {
            None | Some(Loss::Weak | Loss::Earlier) => true,
            // R22: where something was withdrawn it revives nothing, neither status nor basis.
            Some(Loss::NotConsent) => last_withdrawal.is_none(),
            Some(Loss::Load | Loss::WhileParentWithdrawn | Loss::Overruled) => false,
        })
        .find_map(|candidate| {
            let basis = candidate.statement.basis.clone()?;
            Some((basis, candidate.origin.system))
        })
}

/// R21: the basis of a grant that came after a withdrawal from where none is kept, such as a flag: the
/// one configured for the purpose. Records may still show what ended with the withdrawal, each its
/// own where the withdrawal was never written to them, and they have to end equal all the same.
fn renewed_basis(
    rules: &Rules,
    purpose: PurposeId,
    winner: &Candidate<'_>,
    field: &[Candidate<'_>],
) -> Option<(Basis, Option<SystemId>)> {
    let ended = field
        .iter()
        .any(|candidate| candidate.statement.status == Status::Withdrawn);
    let keeps_none = winner.origin.system.is_none_or(|id| {
        rules
            .system(id)
            .and_then(|system| system.polarity(winner.said_of))
            .is_some_and(|polarity| polarity != Polarity::Recorded)
    });
    let settings = rules.purposes.get(purpose)?;
    (ended && keeps_none).then(|| (settings.granted_basis.clone(), None))
}

/// R6: younger duplicates whose own last word is a withdrawal later than the verdict.
fn conflicts(
    subject: &Subject<'_>,
    rules: &Rules,
    voices: &Voices<'_>,
    purpose: PurposeId,
    verdict: Option<&Verdict>,
    resolution: &mut Resolution,
) {
    if verdict.is_some_and(|verdict| verdict.status() == Status::Withdrawn) {
        return;
    }
    let decided = verdict.map(|verdict| verdict.statement.rank());
    for contact in subject
        .contacts
        .iter()
        .filter(|contact| contact.life.is_live())
    {
        let younger = voices.iter().find(|(system, voice)| {
            system.id == contact.system
                && system.polarity(purpose).is_some()
                && voice.is_none_or(|voice| voice.id != contact.id)
        });
        let Some((system, _)) = younger else {
            continue;
        };
        let said = |of: PurposeId| {
            let statements = contact.record.get(of).into_iter().flat_map(Holding::said);
            statements.filter(move |statement| {
                let mut words = subject.remembered.iter();
                system.hears(statement)
                    && !words.any(|word| word.overrules(of, Origin::of(contact), statement))
            })
        };
        // R20: what a contact withdrew of a parent it withdrew of the category too. Where the
        // category is silent the conflict of the parent says it all.
        let withdrawal = std::iter::once(purpose)
            .chain(
                rules
                    .purposes
                    .ancestors(purpose)
                    .filter(|_| decided.is_some()),
            )
            .flat_map(said)
            .filter(|statement| statement.status == Status::Withdrawn)
            .map(Statement::rank)
            .max();
        let Some(withdrawal) = withdrawal else {
            continue;
        };
        let regranted = said(purpose).any(|statement| {
            let candidate = Candidate {
                statement,
                origin: Origin::of(contact),
                said_of: purpose,
                handicap: None,
            };
            statement.status == Status::Granted
                && !statement.is_weak()
                && statement.rank() > withdrawal
                && handicap(subject, rules, purpose, &candidate).is_none()
        });
        if !regranted && decided.is_none_or(|decided| withdrawal >= decided) {
            resolution.findings.push(Finding::Conflict {
                purpose,
                source: Origin::of(contact).source(),
            });
        }
    }
}
