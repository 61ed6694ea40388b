//! From what a system shows to what a contact has said (R8–R17).

use super::contact::{Contact, Life, Shown};
use super::purpose::PurposeId;
use super::rules::{Policy, SystemRules};
use super::statement::{Basis, Evidence, Statement, Status};
use super::time::{At, Precision, Stamp};

/// A change that the system itself dates: a history row or a stored legal-basis time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The purpose it is about.
    pub purpose: PurposeId,
    /// The value that it set.
    pub shown: Shown,
    /// When; as the system told it, however unlikely.
    pub at: At,
    /// How finely the feed tells that time.
    pub precision: Precision,
    /// [`Evidence::History`] or [`Evidence::Explicit`].
    pub evidence: Evidence,
    /// Who, as the system names its users.
    pub actor: Option<String>,
}

/// One contact as a system showed it once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// External id.
    pub contact: String,
    /// The contact's own row was read. When false, only `told` and the id count: a history row
    /// arrived without its contact.
    pub whole: bool,
    /// The address as typed; blank and invalid ones are the caller's to judge (R2).
    pub address: Option<String>,
    /// The person id shared with another system (R58).
    pub link: Option<String>,
    /// When the contact was created.
    pub created: Option<At>,
    /// When the row was last modified, by whatever edit.
    pub modified: Option<At>,
    /// How finely the feed tells `created` and `modified`; whole seconds unless said otherwise.
    pub precision: Option<Precision>,
    /// Who modified it last.
    pub modified_by: Option<String>,
    /// Whether it is there.
    pub life: Life,
    /// The value of each purpose the system carries.
    pub values: Vec<(PurposeId, Shown)>,
    /// What the system dates itself.
    pub told: Vec<Told>,
}

/// From where and when a reading was taken.
#[derive(Debug, Clone, Copy)]
pub struct Viewpoint<'a> {
    /// The system's rules.
    pub system: &'a SystemRules,
    /// The settings.
    pub policy: &'a Policy,
    /// The system's time when the reading was asked for.
    pub read_at: At,
    /// Every change up to here had been read before (the drained bound less its overlap).
    pub known_since: Option<At>,
    /// R16: no stamp later than this is believed.
    pub ceiling: At,
    /// Values of a write whose outcome is not settled yet: seeing them is seeing our own echo.
    pub in_flight: &'a [(PurposeId, Shown)],
    /// The reading was asked for before a write to this contact was acknowledged, so that its
    /// values may be older than what is known.
    pub stale: bool,
}

/// What the contact is after the reading. Reading the same again changes nothing.
///
/// What it keeps: a modification time is never a consent time by itself (R13); a default value at
/// first sight is silence (R12); our own write coming back adds no statement (R15); later readings
/// only add to the set of statements, they never take one away (R18).
pub fn observe(before: Option<&Contact>, reading: &Reading, view: &Viewpoint<'_>) -> Contact {
    let mut after = before
        .cloned()
        .unwrap_or_else(|| Contact::unseen(view.system.id, reading.contact.clone()));
    for told in &reading.told {
        hear(&mut after, before, reading, told, view);
    }
    // What was asked for before our write was acknowledged may show the contact as it was before:
    // the next poll reads it again.
    if !reading.whole || view.stale {
        return after;
    }
    for (purpose, shown) in &reading.values {
        see(&mut after, before, reading, *purpose, shown, view);
    }
    after.created = reading.created.or(after.created);
    after.life = reading.life.clone();
    if before != Some(&after) || after.modified != reading.modified {
        after.modified = reading.modified;
        after.read_at = Some(view.read_at);
    }
    after
}

/// Takes in one change that the system dates itself.
fn hear(
    after: &mut Contact,
    before: Option<&Contact>,
    reading: &Reading,
    told: &Told,
    view: &Viewpoint<'_>,
) {
    let Some(polarity) = view.system.polarity(told.purpose) else {
        return;
    };
    // R16: an impossible time is no time; the value then speaks with weaker evidence.
    if told.at < At::FIRST_PLAUSIBLE {
        return;
    }
    let mut stamp = Stamp::covering(told.at, told.precision);
    if told.at > view.ceiling {
        after.record.future_stamped = true;
        stamp = Stamp::covering(view.read_at, told.precision);
    }
    // A history row that came without its contact also tells what the contact shows now, unless a
    // later read is known.
    let newest = reading
        .told
        .iter()
        .filter(|other| other.purpose == told.purpose)
        .all(|other| other.at <= told.at);
    let later_than_known = before
        .and_then(|contact| contact.read_at)
        .is_none_or(|read| told.at >= read);
    if !reading.whole && newest && later_than_known && !view.stale {
        after.record.entry(told.purpose).shown = Some(told.shown.clone());
    }
    // R15: what our own user did is an echo. It confirms, it does not speak.
    if told.actor.is_some() && told.actor == view.system.own_actor {
        return;
    }
    after.record.entry(told.purpose).add(Statement {
        status: polarity.meaning(&told.shown),
        basis: basis_of(&told.shown),
        stamp,
        evidence: told.evidence,
        actor: told.actor.clone(),
    });
}

/// Takes in the value that the contact shows for one purpose.
fn see(
    after: &mut Contact,
    before: Option<&Contact>,
    reading: &Reading,
    purpose: PurposeId,
    shown: &Shown,
    view: &Viewpoint<'_>,
) {
    let Some(polarity) = view.system.polarity(purpose) else {
        return;
    };
    let known = before.and_then(|contact| contact.record.shown(purpose));
    let holding = after.record.entry(purpose);
    holding.shown = Some(shown.clone());
    if known == Some(shown) {
        return;
    }
    let status = polarity.meaning(shown);
    let modified = capped(reading, view);
    let statement = |stamp, evidence| Statement {
        status,
        basis: basis_of(shown),
        stamp,
        evidence,
        actor: reading.modified_by.clone(),
    };
    let Some(contact) = before.filter(|_| known.is_some()) else {
        // First sight. R12: a default value says nothing; R10: what is set was set at some time
        // between creation and the last modification, unless the system tells when.
        let told = holding
            .statements
            .iter()
            .any(|known| known.status == status && known.evidence >= Evidence::History);
        if *shown != Shown::Default && !told {
            let created = reading
                .created
                .unwrap_or(At::FIRST_PLAUSIBLE)
                .max(At::FIRST_PLAUSIBLE);
            holding.add(statement(
                Stamp::between(created.min(modified), modified),
                Evidence::Baseline,
            ));
        }
        return;
    };
    // R15: the value of a write under way, or a change made by our own user, is an echo.
    let echo = view
        .in_flight
        .iter()
        .any(|(id, value)| *id == purpose && value == shown)
        || (reading.modified_by.is_some() && reading.modified_by == view.system.own_actor);
    if echo {
        return;
    }
    let since = match (contact.read_at, view.known_since) {
        (Some(read), Some(drained)) => read.max(drained),
        (one, other) => one.or(other).unwrap_or(At::FIRST_PLAUSIBLE),
    };
    // A transaction that committed late carries a time from before our last look.
    let (from, until) = if modified < since {
        (modified, view.read_at.max(since))
    } else {
        (since, modified)
    };
    let already_told = holding.statements.iter().any(|known| {
        known.status == status
            && known.evidence >= Evidence::History
            && known.stamp.latest() >= from
    });
    if already_told {
        return;
    }
    let evidence = if until.since(from) > view.policy.observed_window {
        Evidence::Baseline
    } else {
        Evidence::Observed
    };
    holding.add(statement(Stamp::between(from, until), evidence));
}

/// The last instant of the row's modification that may be believed (R9, R16).
fn capped(reading: &Reading, view: &Viewpoint<'_>) -> At {
    let precision = reading.precision.unwrap_or(Precision::Seconds);
    match reading.modified {
        Some(modified) if modified >= At::FIRST_PLAUSIBLE && modified <= view.ceiling => {
            Stamp::covering(modified, precision).latest()
        }
        Some(_) | None => view.read_at,
    }
}

fn basis_of(shown: &Shown) -> Option<Basis> {
    match shown {
        Shown::Record {
            status: Status::Granted,
            basis,
        } => basis.clone(),
        Shown::Record { .. } | Shown::Default | Shown::Set => None,
    }
}
