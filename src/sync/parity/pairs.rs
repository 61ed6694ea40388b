//! How far two systems show the same of one person. The oldest contact speaks for each (R4).

use super::{Ground, MAX_LISTED, Parity, Person, Seat, word};
use crate::consent::plan::agrees;
use crate::consent::{Polarity, PurposeId, Shown, Stamp, Status};
use crate::store::HELD;
use crate::sync::pack::PackError;

/// Counts of two systems and one purpose, in subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairTally {
    /// Both show the same.
    pub equal: u64,
    /// They do not.
    pub different: u64,
    /// Only one of the two has a contact, or one was not read whole yet. The sync makes none (R7).
    pub missing: u64,
    /// They differ, and the write that would settle it waits for a person.
    pub held: u64,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Configured system name.
    pub system: String,
    /// External id of the contact that speaks.
    pub contact: String,
    /// What it shows.
    pub shown: &'static str,
    /// When that became true, as far as is known.
    pub stamp: Option<Stamp>,
}

/// Two contacts of one person that show different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairDifference {
    /// First digits of the subject's keyed hash.
    pub subject: String,
    /// Purpose name.
    pub purpose: String,
    /// One.
    pub one: Side,
    /// The other.
    pub other: Side,
    /// What was decided; none where nothing was.
    pub verdict: Option<Status>,
    /// The write under way, or why there is none.
    pub reason: String,
}

pub(super) fn add(
    parity: &mut Parity,
    ground: &Ground<'_>,
    person: &Person<'_>,
) -> Result<(), PackError> {
    let systems = ground.rules.systems.iter();
    let voices: Vec<_> = systems
        .map(|system| (system, voice(person, system.id.0)))
        .collect();
    for (place, (one, ours)) in voices.iter().enumerate() {
        for (other, their_voice) in voices.iter().skip(place + 1) {
            if ours.is_none() && their_voice.is_none() {
                continue;
            }
            for &(purpose, polarity) in &one.carries {
                let Some(theirs) = other.polarity(purpose) else {
                    continue;
                };
                let name = ground.rules.purposes.name(purpose);
                let key = (one.name.clone(), other.name.clone(), name.to_owned());
                let values = [(*ours, polarity), (*their_voice, theirs)]
                    .map(|(seat, polarity)| Some((seat?, polarity, seat?.shown(purpose)?)));
                let [Some(one), Some(other)] = values else {
                    parity.pairs.entry(key).or_default().missing += 1;
                    continue;
                };
                if same((one.1, one.2), (other.1, other.2)) {
                    parity.pairs.entry(key).or_default().equal += 1;
                    continue;
                }
                let is_held =
                    |seat: &Seat<'_>| ground.sets(seat.row, purpose, |write| write.state == HELD);
                let held = is_held(one.0)? || is_held(other.0)?;
                let tally = parity.pairs.entry(key).or_default();
                tally.held += u64::from(held);
                tally.different += u64::from(!held);
                if parity.pair_differences.len() < MAX_LISTED {
                    let sides = [(one.0, one.1), (other.0, other.1)];
                    let difference = difference(ground, person, purpose, sides);
                    parity.pair_differences.push(difference);
                }
            }
        }
    }
    Ok(())
}

/// R4: the oldest contact of a system, by creation and then by id; an unknown creation counts as the
/// youngest.
fn voice<'a, 'b>(person: &'a Person<'b>, system: i16) -> Option<&'a Seat<'b>> {
    let mine = person.seats.iter().filter(|seat| seat.row.system == system);
    mine.min_by(|a, b| {
        let age = |seat: &Seat<'b>| seat.row.created.unwrap_or(i64::MAX);
        let order = age(a).cmp(&age(b));
        order.then_with(|| a.row.external.cmp(&b.row.external))
    })
}

/// What a value can stand for: nothing said, granted, withdrawn. A default of a flag is silence, and
/// also how the opposite of what the flag says is written (R12).
const fn meanings(polarity: Polarity, shown: &Shown) -> (bool, bool, bool) {
    match (polarity, shown) {
        (_, Shown::Record { status, .. }) => match status {
            Status::Granted => (false, true, false),
            Status::Withdrawn => (false, false, true),
        },
        (Polarity::OptOut, Shown::Default) => (true, true, false),
        (Polarity::Permission, Shown::Default) => (true, false, true),
        (Polarity::Recorded, Shown::Default) => (true, false, false),
        (Polarity::OptOut, Shown::Set) => (false, false, true),
        (Polarity::Permission | Polarity::Recorded, Shown::Set) => (false, true, false),
    }
}

/// Whether two values can stand for the same.
fn same(one: (Polarity, &Shown), other: (Polarity, &Shown)) -> bool {
    if let (Shown::Record { .. }, Shown::Record { .. }) = (one.1, other.1) {
        return agrees(one.1, other.1) || agrees(other.1, one.1);
    }
    let (a, b) = (meanings(one.0, one.1), meanings(other.0, other.1));
    (a.0 && b.0) || (a.1 && b.1) || (a.2 && b.2)
}

fn difference(
    ground: &Ground<'_>,
    person: &Person<'_>,
    purpose: PurposeId,
    seats: [(&Seat<'_>, Polarity); 2],
) -> PairDifference {
    let name = ground.rules.purposes.name(purpose);
    let verdict = person.verdict(name);
    let mut reasons = Vec::new();
    for (seat, polarity) in seats {
        let (Some(verdict), Some(shown)) = (verdict, seat.shown(purpose)) else {
            continue;
        };
        if !agrees(shown, &ground.wanted(verdict, polarity, seat.system.id)) {
            let reason = ground.reason(person, seat, purpose, verdict);
            reasons.push(format!("{}: {reason}", seat.system.name));
        }
    }
    let reason = match (verdict, reasons.is_empty()) {
        (None, _) => "nothing is decided: neither has said anything that counts".to_owned(),
        (Some(_), true) => "each shows the verdict in its own way".to_owned(),
        (Some(_), false) => reasons.join("; "),
    };
    let [one, other] = seats.map(|(seat, polarity)| Side {
        system: seat.system.name.clone(),
        contact: seat.row.external.clone(),
        shown: seat.shown(purpose).map_or("not read", word),
        stamp: seat
            .statement(purpose, polarity)
            .map(|statement| statement.stamp),
    });
    PairDifference {
        subject: person.row.subject.short(),
        purpose: name.to_owned(),
        one,
        other,
        verdict: verdict.map(super::PackedVerdict::status),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::Basis;

    #[test]
    fn two_values_are_the_same_where_they_can_stand_for_the_same() {
        use Polarity::{OptOut, Permission, Recorded};
        let record = |status, basis: Option<Basis>| Shown::Record { status, basis };
        let granted = record(Status::Granted, None);
        let consent = record(Status::Granted, Some(Basis::Consent));
        let contract = record(Status::Granted, Some(Basis::Contract));
        let withdrawn = record(Status::Withdrawn, None);
        let (off, on) = (&Shown::Default, &Shown::Set);
        let rows = [
            ("two opt-outs", (OptOut, on), (OptOut, on), true),
            ("one opt-out", (OptOut, on), (OptOut, off), false),
            (
                "an opt-out and no permission",
                (OptOut, on),
                (Permission, off),
                true,
            ),
            (
                "no objection and a permission",
                (OptOut, off),
                (Permission, on),
                true,
            ),
            (
                "nothing said on either side",
                (OptOut, off),
                (Permission, off),
                true,
            ),
            (
                "an opt-out and a withdrawal",
                (OptOut, on),
                (Recorded, &withdrawn),
                true,
            ),
            (
                "an opt-out and no record",
                (OptOut, on),
                (Recorded, off),
                false,
            ),
            (
                "no objection and a grant",
                (OptOut, off),
                (Recorded, &consent),
                true,
            ),
            (
                "no objection and a withdrawal",
                (OptOut, off),
                (Recorded, &withdrawn),
                false,
            ),
            (
                "a grant and no record",
                (Recorded, &granted),
                (Recorded, off),
                false,
            ),
            (
                "r21: none never contradicts",
                (Recorded, &granted),
                (Recorded, &consent),
                true,
            ),
            (
                "r21: two bases",
                (Recorded, &contract),
                (Recorded, &consent),
                false,
            ),
        ];
        for (sentence, one, other, expected) in rows {
            assert_eq!(same(one, other), expected, "{sentence}");
            assert_eq!(
                same(other, one),
                expected,
                "{sentence}, the other way round"
            );
        }
    }
}
