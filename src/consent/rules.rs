//! The configured rules that resolution depends on: purposes, what each system carries, policy.

use super::contact::Shown;
use super::purpose::{PurposeId, Purposes};
use super::statement::{Statement, Status};
use super::time::{At, HOUR};
use std::collections::BTreeSet;

/// Grows with every change of this folder's code that may change a verdict, so that all subjects are
/// decided anew after an upgrade.
pub const REVISION: u32 = 1;

/// A configured system, by its number in the store (stable over restarts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemId(pub i16);

/// What a set value of a field means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polarity {
    /// Set means withdrawn; the default is "no objection known", not consent (R12).
    OptOut,
    /// Set means granted; the default is "never ticked" (R12).
    Permission,
    /// The field holds a consent record that itself says granted or withdrawn.
    Recorded,
}

impl Polarity {
    /// What it means that a value was *seen to become* `shown`.
    pub fn meaning(self, shown: &Shown) -> Status {
        match (self, shown) {
            (_, Shown::Record { status, .. }) => *status,
            // R12: removing a consent record that existed is a withdrawal.
            (Self::OptOut, Shown::Set) | (Self::Permission | Self::Recorded, Shown::Default) => {
                Status::Withdrawn
            }
            (Self::OptOut, Shown::Default) | (Self::Permission | Self::Recorded, Shown::Set) => {
                Status::Granted
            }
        }
    }
}

/// One system as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemRules {
    /// Number in the store.
    pub id: SystemId,
    /// Configured name, e.g. `salesforce`.
    pub name: String,
    /// Lower numbers win ties (R18).
    pub precedence: u16,
    /// Whether verdicts are written to it; not while its legal-basis sync is off, and not once it is
    /// no longer configured (R49).
    pub writable: bool,
    /// What was said later than this counts for nothing, because its legal-basis sync is off since
    /// then; all counts when there is no such instant (R49).
    pub heard_until: Option<At>,
    /// The purposes it carries, with the meaning of a set value.
    pub carries: Vec<(PurposeId, Polarity)>,
    /// The user consentd itself acts as; what this user changed is an echo (R15).
    pub own_actor: Option<String>,
    /// Users whose statements cannot grant (R25).
    pub bulk_actors: BTreeSet<String>,
}

impl SystemRules {
    /// The meaning of a set value of that purpose, if the system carries it.
    pub fn polarity(&self, purpose: PurposeId) -> Option<Polarity> {
        self.carries
            .iter()
            .find(|(id, _)| *id == purpose)
            .map(|(_, polarity)| *polarity)
    }

    /// R49: whether the statement was made while the system's word counted. In doubt a withdrawal
    /// was and a grant was not (R11).
    pub fn hears(&self, statement: &Statement) -> bool {
        self.heard_until.is_none_or(|until| match statement.status {
            Status::Withdrawn => statement.stamp.earliest() <= until,
            Status::Granted => statement.stamp.latest() <= until,
        })
    }

    /// A system that the store knows and the configuration no longer names: it carries nothing and
    /// is not written to. What it withdrew stays withdrawn; what it granted ends with it (R14, R49).
    pub fn retired(id: SystemId, name: String) -> Self {
        Self {
            id,
            name,
            precedence: u16::MAX,
            writable: false,
            heard_until: None,
            carries: Vec::new(),
            own_actor: None,
            bulk_actors: BTreeSet::new(),
        }
    }
}

/// R5: which duplicates a verdict is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DuplicateWrite {
    /// Every live duplicate.
    #[default]
    All,
    /// Only the oldest.
    Oldest,
}

/// R6: what a younger duplicate's later withdrawal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DuplicateWithdrawal {
    /// It is protected and reported; the oldest speaks.
    #[default]
    Oldest,
    /// It wins outright.
    Any,
}

/// R26: how many flips within an hour are a mass change: more than both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// So many, however few subjects there are.
    pub at_least: u64,
    /// This share of the subjects, in millionths.
    pub per_million: u32,
}

/// R26: thresholds of both directions. That of grants is low, since a wrong grant is unlawful mail; a
/// withdrawal goes on for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Of verdicts that turn granted.
    pub grants: Threshold,
    /// Of verdicts that turn withdrawn.
    pub withdrawals: Threshold,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            grants: Threshold {
                at_least: 50,
                per_million: 5_000,
            },
            withdrawals: Threshold {
                at_least: 1_000,
                per_million: 200_000,
            },
        }
    }
}

impl Thresholds {
    /// That of verdicts which turn so.
    pub const fn of(self, status: Status) -> Threshold {
        match status {
            Status::Granted => self.grants,
            Status::Withdrawn => self.withdrawals,
        }
    }
}

/// Settings of resolution and guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A mark of these settings, stored with each verdict (R23).
    pub version: String,
    /// R5.
    pub duplicate_write: DuplicateWrite,
    /// R6.
    pub duplicate_withdrawal: DuplicateWithdrawal,
    /// R10: a change between reads further apart than this counts as found at first sight;
    /// microseconds.
    pub observed_window: i64,
    /// R25: so many contacts granted by one actor within about a minute are a load.
    pub load_contacts: u32,
    /// R28: more flips of one subject and purpose within an hour hold the subject.
    pub flaps_per_hour: u32,
    /// R26: how many flips within an hour hold their writes.
    pub thresholds: Thresholds,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version: "1".to_owned(),
            duplicate_write: DuplicateWrite::default(),
            duplicate_withdrawal: DuplicateWithdrawal::default(),
            observed_window: 24 * HOUR,
            load_contacts: 25,
            flaps_per_hour: 6,
            thresholds: Thresholds::default(),
        }
    }
}

/// Everything configured that a verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The tree of purposes.
    pub purposes: Purposes,
    /// The systems, those of the store that are no longer configured included.
    pub systems: Vec<SystemRules>,
    /// The settings.
    pub policy: Policy,
    /// R26: thresholds that differ from those of the policy, by the system whose word decides and the
    /// purpose.
    pub thresholds: Vec<(SystemId, PurposeId, Thresholds)>,
}

impl Rules {
    /// The rules of one system; `None` for one that nobody knows, whose contacts then neither speak
    /// nor are written to.
    pub fn system(&self, id: SystemId) -> Option<&SystemRules> {
        self.systems.iter().find(|system| system.id == id)
    }

    /// R26: the thresholds of what a system says of a purpose.
    pub fn thresholds(&self, system: SystemId, purpose: PurposeId) -> Thresholds {
        let mut own = self.thresholds.iter();
        own.find(|(id, of, _)| (*id, *of) == (system, purpose))
            .map_or(self.policy.thresholds, |(.., thresholds)| *thresholds)
    }

    /// The system's configured name, or `?`.
    pub fn system_name(&self, id: SystemId) -> &str {
        self.system(id).map_or("?", |system| &system.name)
    }
}
