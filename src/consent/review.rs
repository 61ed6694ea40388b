//! What an operator's word about a decision adds to what is known of a subject (R24, R25, R29, R30).
//!
//! A word is a fact like any other: approving adds a statement, rejecting and undoing overrule
//! statements. Nothing is ever taken away, so a verdict stays a function of a set (R18), and what was
//! approved can be undone by overruling the approval.

use super::purpose::PurposeId;
use super::resolve::{Remembered, Source, Subject, Verdict, grants_of, resolve};
use super::rules::{Rules, SystemId};
use super::statement::{Evidence, Statement, Status};
use super::suppression::ERASURE;
use super::time::Stamp;

/// More statements than this are never overruled for one purpose of one subject.
const MOST: usize = 256;

/// Why a decision cannot be turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Irrevocable {
    /// The person opted out; that is not for others to take back (R30).
    OwnWithdrawal,
    /// A purpose above decides (R20); it has to be turned back first.
    Parent,
    /// There is no end of statements that say so.
    TooMany,
}

impl Irrevocable {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OwnWithdrawal => "the person opted out",
            Self::Parent => "the purpose above decides",
            Self::TooMany => "too many statements say so",
        }
    }
}

/// R24, R25: the operator's statement that a grant of `system`, which may not decide by itself, is the
/// person's word and later than what was withdrawn. Its stamp is what is left of the grant's own behind
/// the withdrawal, so that a withdrawal that is heard of afterwards still counts. None where no grant of
/// that system may be the later.
pub fn confirm(
    subject: &Subject<'_>,
    rules: &Rules,
    purpose: PurposeId,
    system: SystemId,
    operator: &str,
) -> Option<Remembered> {
    let resolution = resolve(subject, rules);
    let withdrawn = resolution
        .verdict(purpose)
        .filter(|verdict| verdict.status() == Status::Withdrawn)
        .map(|verdict| verdict.statement.rank());
    let grants = grants_of(subject, rules, purpose, system);
    let (grant, stamp) = grants.into_iter().find_map(|(_, grant)| {
        let stamp = match withdrawn {
            None => grant.stamp,
            Some(last) if grant.stamp.latest() > last => {
                let earliest = grant.stamp.earliest().max(last.plus(1));
                Stamp::between(earliest, grant.stamp.latest())
            }
            Some(_) => return None,
        };
        Some((grant, stamp))
    })?;
    Some(Remembered {
        purpose,
        source: Source {
            system: None,
            contact: operator.to_owned(),
        },
        statement: Statement {
            status: Status::Granted,
            basis: grant.basis,
            stamp,
            evidence: Evidence::Explicit,
            actor: Some(operator.to_owned()),
        },
        overruled: false,
    })
}

/// R24, R25: overrules the grants of `system` that may not decide by themselves, so that nobody is asked
/// about them again.
pub fn dismiss(
    subject: &Subject<'_>,
    rules: &Rules,
    purpose: PurposeId,
    system: SystemId,
) -> Vec<Remembered> {
    let grants = grants_of(subject, rules, purpose, system).into_iter();
    grants
        .map(|(source, statement)| Remembered {
            purpose,
            source,
            statement,
            overruled: true,
        })
        .collect()
}

/// R29, R30: what has to be overruled so that the verdict of `purpose` is not `status` any more.
/// `is_own` tells the withdrawals that are the person's own.
///
/// # Errors
/// When it cannot be turned back; see [`Irrevocable`].
pub fn overrule(
    subject: &Subject<'_>,
    rules: &Rules,
    purpose: PurposeId,
    status: Status,
    is_own: &dyn Fn(&Source, &Statement) -> bool,
) -> Result<Vec<Remembered>, Irrevocable> {
    let mut remembered = subject.remembered.to_vec();
    let before = remembered.len();
    loop {
        let now = Subject {
            remembered: &remembered,
            ..*subject
        };
        let resolution = resolve(&now, rules);
        let Some(verdict) = resolution
            .verdict(purpose)
            .filter(|verdict| verdict.status() == status)
        else {
            return Ok(remembered.split_off(before));
        };
        if verdict.said_of != purpose {
            return Err(Irrevocable::Parent);
        }
        if status == Status::Withdrawn && is_own(&verdict.source, &verdict.statement) {
            return Err(Irrevocable::OwnWithdrawal);
        }
        if remembered.len() - before >= MOST {
            return Err(Irrevocable::TooMany);
        }
        remembered.push(Remembered {
            purpose,
            source: verdict.source.clone(),
            statement: verdict.statement.clone(),
            overruled: true,
        });
    }
}

/// R30: the operator's withdrawal in the place of a grant that is undone where nothing was said before it:
/// what was written on the strength of it is written back.
pub fn retract(verdict: &Verdict, operator: &str) -> Remembered {
    Remembered {
        purpose: verdict.purpose,
        source: Source {
            system: None,
            contact: operator.to_owned(),
        },
        statement: Statement {
            status: Status::Withdrawn,
            basis: None,
            stamp: verdict.statement.stamp,
            evidence: Evidence::Explicit,
            actor: Some(operator.to_owned()),
        },
        overruled: false,
    }
}

/// R30: whether a withdrawal is the person's own, as far as anybody can tell: no operator's, no bulk
/// actor's and not part of a load.
pub fn is_own_withdrawal(
    rules: &Rules,
    source: &Source,
    statement: &Statement,
    is_load: &dyn Fn(SystemId, &Statement) -> bool,
) -> bool {
    let Some(id) = source.system else {
        // Whoever was erased asked for it.
        return source.contact == ERASURE;
    };
    let by_bulk_actor = rules
        .system(id)
        .zip(statement.actor.as_ref())
        .is_some_and(|(system, actor)| system.bulk_actors.contains(actor));
    !by_bulk_actor && !is_load(id, statement)
}
