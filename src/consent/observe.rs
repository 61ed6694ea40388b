//! From what a system shows to what a contact has said (R8–R17).

use super::contact::{Contact, Life, Shown};
use super::purpose::PurposeId;
use super::rules::{Polarity, Policy, SystemRules};
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
    /// Whether it is there. Without the contact's own row: what is assumed of a contact that is not
    /// known yet.
    pub life: Life,
    /// The value of each purpose the system carries; none where consent is recorded apart from the
    /// contact and only the contact was read.
    pub values: Vec<(PurposeId, Shown)>,
    /// What the system dates itself.
    pub told: Vec<Told>,
    /// The instant of which all this is true, where it is read long after: an extract that was made in
    /// the night and read in the morning.
    pub as_of: Option<At>,
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
    if before.is_none() {
        after.life = reading.life.clone();
    }
    after.record.reserve(reading.values.len());
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
    // What was handed over shows: that is its acknowledgement, whatever becomes of the other one.
    let arrived = |(purpose, shown): &(PurposeId, Shown)| {
        let known = before.and_then(|contact| contact.record.shown(*purpose));
        known != Some(shown) && under_way(view, *purpose, shown)
    };
    if let Some(as_of) = reading.as_of
        && reading.values.iter().any(arrived)
    {
        after.record.written_at = after.record.written_at.max(Some(as_of));
    }
    // Consent is recorded apart from the contact: as long as nothing is known of it, there is none.
    let apart = reading.values.is_empty();
    if apart {
        let recorded = |polarity| polarity == Polarity::Recorded;
        for (purpose, _) in view.system.carries.iter().filter(|(_, p)| recorded(*p)) {
            let shown = &mut after.record.entry(*purpose).shown;
            shown.get_or_insert(Shown::Default);
        }
    }
    after.created = reading.created.or(after.created);
    after.life = reading.life.clone();
    if apart {
        after.modified = reading.modified.or(after.modified);
    } else if before != Some(&after) || after.modified != reading.modified {
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
    let given = Stamp::covering(told.at, told.precision);
    let mut stamp = given;
    if told.at > view.ceiling {
        after.record.future_stamped = true;
        stamp = Stamp::covering(view.read_at, told.precision);
    }
    let known = before.and_then(|contact| contact.record.shown(told.purpose));
    let own = told.actor.is_some() && told.actor == view.system.own_actor;
    let status = polarity.meaning(&told.shown);
    let statement = Statement {
        status,
        basis: basis_of(&told.shown),
        stamp,
        evidence: told.evidence,
        actor: told.actor.clone(),
    };
    let holding = after.record.entry(told.purpose);
    // A history row that came without its contact also tells what the contact shows now, unless
    // a later read or a later row is known.
    let newest = reading
        .told
        .iter()
        .filter(|other| other.purpose == told.purpose)
        .all(|other| other.at <= told.at)
        && holding
            .statements
            .iter()
            .filter(|known| known.evidence >= Evidence::History)
            .all(|known| known.stamp.earliest() <= told.at);
    // A record that is stored with its own time needs no comparison with when the contact was read;
    // but one that is told again is no news, since we may have written after it.
    let is_news = if told.evidence == Evidence::Explicit {
        !holding.statements.contains(&statement)
    } else {
        before
            .and_then(|contact| contact.read_at)
            .is_none_or(|read| told.at >= read)
    };
    if !reading.whole && newest && is_news && !view.stale {
        if holding.shown.as_ref() != Some(&told.shown) {
            holding.was_overwritten();
        }
        holding.shown = Some(told.shown.clone());
    }
    // R15: what our own user did is an echo. It confirms, it does not speak.
    if own {
        return;
    }
    // Nobody signs for what is handed over, and the system dates it by its own clock.
    let confirmed = before.is_some_and(|contact| {
        contact.record.written_at.is_some_and(|at| told.at <= at) && known == Some(&told.shown)
    });
    if reading.as_of.is_some() && (confirmed || under_way(view, told.purpose, &told.shown)) {
        return;
    }
    // Where nobody signed, a value under way is an echo, and so is the time that the system stored
    // with a value of ours by its own clock.
    if told.actor.is_none() {
        let dates = told.evidence == Evidence::Explicit;
        let latest = reading
            .told
            .iter()
            .filter(|other| other.purpose == told.purpose && other.evidence == Evidence::Explicit)
            .all(|other| other.at <= told.at);
        let shows = known == Some(&told.shown);
        if dates && holding.is_echo(&told.shown, given, latest && shows) {
            return;
        }
        if under_way(view, told.purpose, &told.shown) {
            if dates && latest {
                holding.saw_under_way(&told.shown, given);
            }
            return;
        }
    }
    // R16: a future time is capped where the act is first seen. Telling it again at a later
    // reading, or once the clock has caught up with it, is not another act.
    let capped = told.at > view.ceiling;
    let caught_up = after_future_stamp(before)
        && told.evidence == Evidence::Explicit
        && statement.status == Status::Granted;
    let turned = known != Some(&told.shown)
        && (!reading.whole
            || reading
                .values
                .iter()
                .any(|(id, shown)| *id == told.purpose && *shown == told.shown));
    let heard = || {
        holding.statements.iter().any(|known| {
            known.status == statement.status
                && known.evidence == statement.evidence
                && known.basis == statement.basis
                && known.actor == statement.actor
                && known.stamp.earliest() <= stamp.earliest()
        })
    };
    if (capped || caught_up) && !turned && heard() {
        return;
    }
    holding.add(statement);
}

fn after_future_stamp(before: Option<&Contact>) -> bool {
    before.is_some_and(|contact| contact.record.future_stamped)
}

/// Whether a write of that value is under way to this contact.
fn under_way(view: &Viewpoint<'_>, purpose: PurposeId, shown: &Shown) -> bool {
    view.in_flight
        .iter()
        .any(|(id, value)| *id == purpose && value == shown)
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
    if known != Some(shown) && !under_way(view, purpose, shown) {
        holding.was_overwritten();
    }
    holding.shown = Some(shown.clone());
    // Only a contact that was read whole, with this purpose, can be seen to change; and a record that
    // was told of, to vanish (R12).
    let vanished = matches!(known, Some(Shown::Record { .. })) && *shown == Shown::Default;
    let read_before = before.filter(|contact| contact.read_at.is_some() || vanished);
    if read_before.is_some() && known == Some(shown) {
        return;
    }
    let status = polarity.meaning(shown);
    // The value comes with the time that the system stores for it: that is the statement (R10). A
    // withdrawal whose stored time did not move although the value did is believed to be new.
    let dated = reading.told.iter().any(|told| {
        told.purpose == purpose
            && told.evidence == Evidence::Explicit
            && told.shown == *shown
            && told.at >= At::FIRST_PLAUSIBLE
    });
    let modified = last_modified(reading, view);
    let mut statement = Statement {
        status,
        basis: basis_of(shown),
        stamp: modified,
        evidence: Evidence::Observed,
        actor: reading.modified_by.clone(),
    };
    let Some((contact, _)) = read_before.zip(known) else {
        // First sight. R12: a default value says nothing; R10: what is set was set at some time
        // between creation and the last modification, unless the system tells when.
        if *shown != Shown::Default && !dated {
            let created = reading
                .created
                .unwrap_or(At::FIRST_PLAUSIBLE)
                .max(At::FIRST_PLAUSIBLE);
            statement.stamp = Stamp::between(created.min(modified.earliest()), modified.latest());
            statement.evidence = Evidence::Baseline;
            speak(after, purpose, statement, reading, view);
        }
        return;
    };
    // R15: the value of a write under way is an echo. So is a change made by our own user, save a
    // withdrawal that it did not make: a person withdrew, and then we wrote another field.
    if under_way(view, purpose, shown) {
        return;
    }
    if reading.modified_by.is_some() && reading.modified_by == view.system.own_actor {
        let own_row = reading.told.iter().any(|told| {
            told.purpose == purpose && told.shown == *shown && told.actor == view.system.own_actor
        });
        if status == Status::Granted || own_row {
            return;
        }
        statement.actor = None;
    }
    let since = match (contact.read_at, view.known_since) {
        (Some(read), Some(drained)) => read.max(drained),
        (one, other) => one.or(other).unwrap_or(At::FIRST_PLAUSIBLE),
    };
    if dated && status == Status::Granted {
        return;
    }
    // A transaction that committed late carries a time from before our last look.
    let until = if modified.latest() < since {
        view.read_at.max(since)
    } else {
        modified.latest()
    };
    // The last look still showed the old value: whatever came after it is later than all that it showed.
    statement.stamp = Stamp::between(since.plus(1).min(modified.earliest()), until);
    if until.since(since.min(modified.earliest())) > view.policy.observed_window {
        statement.evidence = Evidence::Baseline;
    }
    speak(after, purpose, statement, reading, view);
}

/// Adds what was seen; where the row's own time decided its stamp and lay in the future, the
/// contact is listed (R16).
fn speak(
    after: &mut Contact,
    purpose: PurposeId,
    statement: Statement,
    reading: &Reading,
    view: &Viewpoint<'_>,
) {
    if reading
        .modified
        .is_some_and(|modified| modified > view.ceiling)
    {
        after.record.future_stamped = true;
    }
    after.record.entry(purpose).add(statement);
}

/// When the row was last modified, as far as that may be believed (R9, R16); when it was read,
/// otherwise.
fn last_modified(reading: &Reading, view: &Viewpoint<'_>) -> Stamp {
    match reading.modified {
        Some(modified) if modified >= At::FIRST_PLAUSIBLE && modified <= view.ceiling => {
            Stamp::covering(modified, reading.precision.unwrap_or(Precision::Seconds))
        }
        Some(_) | None => Stamp::covering(view.read_at, Precision::Micros),
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
