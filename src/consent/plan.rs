//! From verdicts to intended writes (R5, R6, R20, R21, R38).
//!
//! A write is data: it does not know how to apply itself. The same plan serves the dry run, the
//! outbox, the log and the API.

use super::contact::{Contact, Shown};
use super::duplicates::representative;
use super::purpose::PurposeId;
use super::resolve::{Resolution, Verdict};
use super::rules::{DuplicateWrite, Polarity, Rules, SystemId};
use super::statement::{Basis, Status};

/// R34: withdrawals have their own lane and go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Values that stop mail.
    Withdrawal,
    /// Values that allow it.
    Grant,
}

impl Lane {
    /// The word used in metrics, the CLI and the API.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Withdrawal => "withdrawal",
            Self::Grant => "grant",
        }
    }
}

/// One value to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The purpose.
    pub purpose: PurposeId,
    /// What the contact shows now.
    pub from: Option<Shown>,
    /// What it shall show.
    pub to: Shown,
}

/// One intended write: the values of one contact in one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intended<'a> {
    /// The contact.
    pub contact: &'a Contact,
    /// Its lane.
    pub lane: Lane,
    /// The values, in the order of the purposes; never empty.
    pub changes: Vec<Change>,
    /// The verdict behind the first change: reason and origin.
    pub verdict: &'a Verdict,
}

/// What a system shows when it agrees with a verdict.
pub fn desired(system: SystemId, polarity: Polarity, verdict: &Verdict) -> Shown {
    let basis = understood(verdict.basis.as_ref(), verdict.basis_in, system);
    desired_value(polarity, verdict.status(), basis)
}

/// R21: the basis, unless it is not mapped and was said in another system than this.
pub fn understood(
    basis: Option<&Basis>,
    said_in: Option<SystemId>,
    system: SystemId,
) -> Option<&Basis> {
    basis.filter(|basis| basis.is_mapped() || said_in == Some(system))
}

/// What a field of that polarity shows for a status and a legal basis that its system understands.
pub fn desired_value(polarity: Polarity, status: Status, basis: Option<&Basis>) -> Shown {
    match (polarity, status) {
        (Polarity::OptOut, Status::Withdrawn) | (Polarity::Permission, Status::Granted) => {
            Shown::Set
        }
        (Polarity::OptOut, Status::Granted) | (Polarity::Permission, Status::Withdrawn) => {
            Shown::Default
        }
        // A withdrawal has no basis, and none never overwrites a value (R21).
        (Polarity::Recorded, status) => Shown::Record {
            status,
            basis: basis.filter(|_| status == Status::Granted).cloned(),
        },
    }
}

/// R21: what is written to a contact that has to show `wanted`. A consent record of a grant needs a
/// basis: where nobody said any, it is the one configured for the purpose; where one was said that
/// the system does not understand, nothing true can be written.
fn written(shown: &Shown, wanted: Shown, verdict: &Verdict, rules: &Rules) -> Option<Shown> {
    // Only to settle a write under way that says otherwise; what is there stays as it is.
    if agrees(shown, &wanted) {
        return Some(shown.clone());
    }
    match wanted {
        Shown::Record {
            status: Status::Granted,
            basis: None,
        } => {
            let settings = rules.purposes.get(verdict.purpose)?;
            verdict.basis.is_none().then(|| Shown::Record {
                status: Status::Granted,
                basis: Some(settings.granted_basis.clone()),
            })
        }
        wanted => Some(wanted),
    }
}

/// Whether what is shown agrees with what is desired. A record without a wanted basis agrees by
/// status alone: none never overwrites a value (R21).
pub fn agrees(shown: &Shown, desired: &Shown) -> bool {
    match (shown, desired) {
        (
            Shown::Record { status: is, .. },
            Shown::Record {
                status: wanted,
                basis: None,
            },
        ) => is == wanted,
        (shown, desired) => shown == desired,
    }
}

/// Every write that would bring the contacts of one subject to its verdicts, withdrawals first.
///
/// `in_flight` tells the values of a contact's write whose outcome is not settled: they may still
/// take effect, so a verdict that differs from them needs a write even where the contact already
/// shows it.
pub fn plan<'a>(
    resolution: &'a Resolution,
    contacts: &'a [Contact],
    rules: &Rules,
    in_flight: &dyn Fn(&Contact) -> Vec<(PurposeId, Shown)>,
) -> Vec<Intended<'a>> {
    let mut writes: Vec<Intended<'a>> = Vec::new();
    if resolution.verdicts.is_empty() {
        return writes;
    }
    for contact in contacts.iter().filter(|contact| contact.life.is_live()) {
        let Some(system) = rules
            .system(contact.system)
            .filter(|system| system.writable)
        else {
            continue;
        };
        // R5: all duplicates, unless the narrow rule is asked for.
        if rules.policy.duplicate_write == DuplicateWrite::Oldest
            && representative(contacts, contact.system).is_none_or(|voice| voice.id != contact.id)
        {
            continue;
        }
        let unsettled = in_flight(contact);
        for &(purpose, polarity) in &system.carries {
            // A silent purpose is left alone; so is a contact that was never read whole.
            let (Some(verdict), Some(shown)) =
                (resolution.verdict(purpose), contact.record.shown(purpose))
            else {
                continue;
            };
            let wanted = desired(system.id, polarity, verdict);
            let settles = unsettled
                .iter()
                .all(|(id, value)| *id != purpose || agrees(value, &wanted));
            if agrees(shown, &wanted) && settles {
                continue;
            }
            // R6: a protected duplicate is never overwritten by a grant.
            if verdict.status() == Status::Granted && resolution.protects(contact, purpose, rules) {
                continue;
            }
            let Some(to) = written(shown, wanted, verdict, rules) else {
                continue;
            };
            let lane = match verdict.status() {
                Status::Withdrawn => Lane::Withdrawal,
                Status::Granted => Lane::Grant,
            };
            let change = Change {
                purpose,
                from: Some(shown.clone()),
                to,
            };
            // A contact has at most one write a lane, and they are the last two.
            match writes
                .iter_mut()
                .rev()
                .take(2)
                .find(|write| write.lane == lane && std::ptr::eq(write.contact, contact))
            {
                Some(write) => write.changes.push(change),
                None => writes.push(Intended {
                    contact,
                    lane,
                    changes: vec![change],
                    verdict,
                }),
            }
        }
    }
    writes.sort_by_key(|write| write.lane);
    writes
}
