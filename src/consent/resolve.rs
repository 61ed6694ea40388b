//! From the statements of one subject to its verdicts (R4, R6, R14, R18–R24).
//!
//! A verdict is a function of the *set* of statements, never of an earlier verdict, so any order,
//! batching or repetition of the same observations gives the same verdicts (R18, R19).

use super::contact::Contact;
use super::duplicates::representative;
use super::purpose::{PurposeId, Revival};
use super::rules::{DuplicateWithdrawal, Rules, SystemId};
use super::statement::{Basis, Evidence, Statement, Status};
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
/// subject (R14), or one declared by an operator or through the API (R18).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remembered {
    /// What it is about.
    pub purpose: PurposeId,
    /// Who said it.
    pub source: Source,
    /// What was said.
    pub statement: Statement,
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Everything decided about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Verdicts in the order of the purposes; silent ones are absent.
    pub verdicts: Vec<Verdict>,
    /// What a person should know of.
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
            | Finding::Flapping { .. } => false,
        })
    }
}

/// One statement in the competition.
#[derive(Debug, Clone)]
struct Candidate<'a> {
    statement: &'a Statement,
    source: Source,
    said_of: PurposeId,
    /// It may not compete, or not against a withdrawal.
    handicap: Option<Loss>,
}

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
    // Withdrawals of each purpose, kept for its categories (R20). Parents come first.
    let mut withdrawals: Vec<(PurposeId, Vec<Candidate<'_>>)> = Vec::new();
    for (purpose, settings) in rules.purposes.iter() {
        let own = candidates(subject, rules, purpose);
        let mut field: Vec<Candidate<'_>> = own;
        for candidate in &mut field {
            candidate.handicap = handicap(
                subject,
                rules,
                settings.revival,
                purpose,
                candidate,
                &resolution,
                &withdrawals,
            );
        }
        for candidate in field
            .iter()
            .filter(|candidate| candidate.handicap == Some(Loss::Load))
        {
            resolution.findings.push(Finding::Load {
                purpose,
                source: candidate.source.clone(),
            });
        }
        withdrawals.push((
            purpose,
            field
                .iter()
                .filter(|candidate| candidate.statement.status == Status::Withdrawn)
                .cloned()
                .collect(),
        ));
        // R20: what withdrew the parent withdraws every descendant, from that time on.
        for parent in rules.purposes.ancestors(purpose) {
            if let Some((_, inherited)) = withdrawals.iter().find(|(id, _)| *id == parent) {
                field.extend(inherited.iter().cloned());
            }
        }
        let verdict = decide(rules, purpose, field, &mut resolution);
        conflicts(subject, rules, purpose, verdict.as_ref(), &mut resolution);
        resolution.verdicts.extend(verdict);
    }
    for contact in subject
        .contacts
        .iter()
        .filter(|contact| contact.record.future_stamped)
    {
        resolution.findings.push(Finding::FutureStamped {
            source: source_of(contact),
        });
    }
    resolution
}

fn source_of(contact: &Contact) -> Source {
    Source {
        system: Some(contact.system),
        contact: contact.id.clone(),
    }
}

/// R4, R8, R14, R18: whose statements count for one purpose.
fn candidates<'a>(subject: &Subject<'a>, rules: &Rules, purpose: PurposeId) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for system in rules
        .systems
        .iter()
        .filter(|system| system.polarity(purpose).is_some())
    {
        let voice = representative(subject.contacts, system.id);
        for contact in subject
            .contacts
            .iter()
            .filter(|contact| contact.system == system.id)
        {
            let speaks = voice.is_some_and(|voice| voice.id == contact.id);
            // R14: withdrawals outlive their record, grants end with it. R6: a younger duplicate's
            // withdrawal counts only where the policy says so.
            let withdraws = !contact.life.is_live()
                || rules.policy.duplicate_withdrawal == DuplicateWithdrawal::Any;
            let Some(holding) = contact.record.get(purpose) else {
                continue;
            };
            found.extend(
                holding
                    .statements
                    .iter()
                    .filter(|statement| {
                        speaks || (withdraws && statement.status == Status::Withdrawn)
                    })
                    .map(|statement| Candidate {
                        statement,
                        source: source_of(contact),
                        said_of: purpose,
                        handicap: None,
                    }),
            );
        }
    }
    found.extend(
        subject
            .remembered
            .iter()
            .filter(|kept| kept.purpose == purpose)
            .map(|kept| Candidate {
                statement: &kept.statement,
                source: kept.source.clone(),
                said_of: purpose,
                handicap: None,
            }),
    );
    found
}

/// What keeps a grant from competing with withdrawals; withdrawals always compete.
fn handicap(
    subject: &Subject<'_>,
    rules: &Rules,
    revival: Revival,
    purpose: PurposeId,
    candidate: &Candidate<'_>,
    so_far: &Resolution,
    withdrawals: &[(PurposeId, Vec<Candidate<'_>>)],
) -> Option<Loss> {
    let statement = candidate.statement;
    if statement.status == Status::Withdrawn {
        return None;
    }
    // R25: loads cannot grant.
    if let Some(system) = candidate.source.system {
        let by_bulk_actor = rules
            .system(system)
            .zip(statement.actor.as_ref())
            .is_some_and(|(system, actor)| system.bulk_actors.contains(actor));
        if by_bulk_actor || (subject.is_load)(system, statement) {
            return Some(Loss::Load);
        }
    }
    // R20: ticked after the parent was withdrawn and certainly before it was granted again. The
    // box was reset then; granting the parent does not bring it back.
    for parent in rules.purposes.ancestors(purpose) {
        let withdrawn = withdrawals
            .iter()
            .find(|(id, _)| *id == parent)
            .and_then(|(_, all)| all.iter().map(|candidate| candidate.statement.rank()).max());
        let granted = so_far
            .verdict(parent)
            .filter(|verdict| verdict.status() == Status::Granted);
        if let (Some(withdrawn), Some(granted)) = (withdrawn, granted)
            && statement.rank() > withdrawn
            && statement.stamp.latest() < granted.statement.stamp.earliest()
        {
            return Some(Loss::WhileParentWithdrawn);
        }
    }
    // R22: some purposes are revived by consent alone.
    if revival == Revival::ConsentOnly {
        let consents = match &statement.basis {
            Some(basis) => *basis == Basis::Consent,
            None => statement.evidence >= Evidence::History,
        };
        if !consents {
            return Some(Loss::NotConsent);
        }
    }
    // R24: weak grants cannot overrule.
    statement.is_weak().then_some(Loss::Weak)
}

/// R18: the total order; the greatest wins.
fn order(a: &Candidate<'_>, b: &Candidate<'_>, rules: &Rules) -> Ordering {
    let precedence = |candidate: &Candidate<'_>| {
        // Operators and the API come before every system; lower numbers win.
        candidate.source.system.map_or(0, |id| {
            rules
                .system(id)
                .map_or(u32::MAX, |system| u32::from(system.precedence) + 1)
        })
    };
    let name = |candidate: &Candidate<'_>| {
        candidate
            .source
            .system
            .map_or(String::new(), |id| rules.system_name(id).to_owned())
    };
    (a.statement.rank(), a.statement.status, a.statement.evidence)
        .cmp(&(b.statement.rank(), b.statement.status, b.statement.evidence))
        .then_with(|| precedence(b).cmp(&precedence(a)))
        .then_with(|| name(b).cmp(&name(a)))
        .then_with(|| b.source.contact.cmp(&a.source.contact))
        // Only for statements of one contact that are equal in all of the above.
        .then_with(|| a.statement.cmp(b.statement))
        .then_with(|| b.said_of.cmp(&a.said_of))
}

/// Lets the candidates of one purpose compete.
fn decide(
    rules: &Rules,
    purpose: PurposeId,
    mut field: Vec<Candidate<'_>>,
    resolution: &mut Resolution,
) -> Option<Verdict> {
    field.sort_by(|a, b| order(b, a, rules));
    let able = |candidate: &&Candidate<'_>| candidate.handicap.is_none();
    let conditional = |candidate: &&Candidate<'_>| {
        matches!(
            candidate.handicap,
            None | Some(Loss::Weak | Loss::NotConsent)
        )
    };
    // Withdrawals and strong grants compete first (R18).
    let strong = field.iter().find(able);
    let withdrawn = strong.is_some_and(|winner| winner.statement.status == Status::Withdrawn);
    // A handicapped grant counts only where no withdrawal is a candidate, or a stronger grant
    // already beats them all.
    let mut winner = if withdrawn {
        strong
    } else {
        field.iter().find(|candidate| {
            conditional(candidate) && candidate.statement.status == Status::Granted
        })
    }?;
    let mut reason = Reason::Latest;
    if strong.is_none() {
        reason = Reason::OnlyWeak;
    } else if withdrawn {
        let tied = field.iter().filter(able).any(|other| {
            other.statement.status == Status::Granted
                && other.statement.rank() == winner.statement.rank()
        });
        if tied {
            reason = Reason::Tie;
        }
        if winner.said_of != purpose {
            reason = Reason::Parent;
        }
        let last = winner.statement.rank();
        for weak in field
            .iter()
            .filter(|candidate| candidate.handicap == Some(Loss::Weak))
        {
            if weak.statement.stamp.latest() > last {
                resolution.findings.push(Finding::WeakGrant {
                    purpose,
                    source: weak.source.clone(),
                });
            }
        }
    }
    // R20: while a parent is withdrawn no descendant is granted, whatever it says.
    let parent = rules.purposes.ancestors(purpose).find_map(|parent| {
        resolution
            .verdict(parent)
            .filter(|verdict| verdict.status() == Status::Withdrawn)
            .cloned()
    });
    let forced;
    if let Some(parent) = parent
        && winner.statement.status == Status::Granted
    {
        resolution.findings.push(Finding::Inconsistent {
            purpose,
            source: winner.source.clone(),
        });
        forced = parent;
        reason = Reason::Parent;
        let over = Candidate {
            statement: &forced.statement,
            source: forced.source.clone(),
            said_of: forced.said_of,
            handicap: None,
        };
        return Some(verdict(purpose, &over, reason, &field));
    }
    // R21: among grants the later basis wins, from systems that carry one.
    if winner.statement.status == Status::Granted
        && reason != Reason::OnlyWeak
        && winner.handicap.is_some()
    {
        // A weak grant may be the later of two grants; the strong one explains the verdict.
        winner = strong?;
    }
    Some(verdict(purpose, winner, reason, &field))
}

fn verdict(
    purpose: PurposeId,
    winner: &Candidate<'_>,
    reason: Reason,
    field: &[Candidate<'_>],
) -> Verdict {
    let same = |candidate: &Candidate<'_>| {
        candidate.source == winner.source
            && candidate.statement == winner.statement
            && candidate.said_of == winner.said_of
    };
    let basis = (winner.statement.status == Status::Granted).then(|| {
        field
            .iter()
            .filter(|candidate| candidate.statement.status == Status::Granted)
            .filter(|candidate| {
                !matches!(
                    candidate.handicap,
                    Some(Loss::Load | Loss::WhileParentWithdrawn)
                )
            })
            .find_map(|candidate| candidate.statement.basis.clone())
    });
    let lost = field
        .iter()
        .filter(|candidate| !same(candidate))
        .take(MAX_LOST)
        .map(|candidate| Lost {
            source: candidate.source.clone(),
            statement: candidate.statement.clone(),
            why: candidate.handicap.unwrap_or(Loss::Earlier),
        })
        .collect();
    Verdict {
        purpose,
        statement: winner.statement.clone(),
        source: winner.source.clone(),
        said_of: winner.said_of,
        basis: basis.flatten(),
        reason,
        lost,
    }
}

/// R6: younger duplicates whose own last word is a withdrawal later than the verdict.
fn conflicts(
    subject: &Subject<'_>,
    rules: &Rules,
    purpose: PurposeId,
    verdict: Option<&Verdict>,
    resolution: &mut Resolution,
) {
    if verdict.is_some_and(|verdict| verdict.status() == Status::Withdrawn) {
        return;
    }
    let decided = verdict.map_or(At::from_micros(i64::MIN), |verdict| {
        verdict.statement.rank()
    });
    for system in rules
        .systems
        .iter()
        .filter(|system| system.polarity(purpose).is_some())
    {
        let voice = representative(subject.contacts, system.id);
        for contact in subject
            .contacts
            .iter()
            .filter(|contact| contact.system == system.id && contact.life.is_live())
        {
            if voice.is_some_and(|voice| voice.id == contact.id) {
                continue;
            }
            let Some(holding) = contact.record.get(purpose) else {
                continue;
            };
            let Some(withdrawal) = holding.last_withdrawal() else {
                continue;
            };
            let regranted = holding.statements.iter().any(|statement| {
                statement.status == Status::Granted
                    && !statement.is_weak()
                    && statement.rank() > withdrawal.rank()
            });
            if !regranted && withdrawal.rank() >= decided {
                resolution.findings.push(Finding::Conflict {
                    purpose,
                    source: source_of(contact),
                });
            }
        }
    }
}
