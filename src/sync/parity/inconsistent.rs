//! Contacts that are at odds with themselves: the opt-out and the categories below it say different
//! things (R20).

use super::{Ground, MAX_LISTED, Parity, Person, Seat, state};
use crate::consent::{Polarity, PurposeId, Shown, Stamp, Status};
use crate::sync::pack::PackError;

/// In which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It shows the parent withdrawn and a category granted.
    OptedOutTicked,
    /// R20: a category was granted while its parent was withdrawn.
    Reticked,
    /// The parent is granted and no category is: opted in, with nothing ticked.
    Blank,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OptedOutTicked, Self::Reticked, Self::Blank];

    /// The words used in lists.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OptedOutTicked => "opted out with categories ticked",
            Self::Reticked => "re-ticked while opted out",
            Self::Blank => "blank preferences",
        }
    }
}

/// One contact at odds with itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistency {
    /// In which way.
    pub class: Class,
    /// Configured system name.
    pub system: String,
    /// External id.
    pub contact: String,
    /// First digits of the subject's keyed hash.
    pub subject: String,
    /// The parent's name.
    pub parent: String,
    /// Since when the parent is what it is there.
    pub parent_stamp: Option<Stamp>,
    /// The categories at issue, each with since when it is what it is there.
    pub categories: Vec<(String, Option<Stamp>)>,
    /// What R20 does about it, or why it does nothing.
    pub decided: String,
}

/// A category on one contact.
type Category = (PurposeId, Polarity);

pub(super) fn add(
    parity: &mut Parity,
    ground: &Ground<'_>,
    person: &Person<'_>,
) -> Result<(), PackError> {
    for seat in &person.seats {
        for &(parent, polarity) in &seat.system.carries {
            let below: Vec<Category> = seat
                .system
                .carries
                .iter()
                .filter(|(purpose, _)| {
                    ground
                        .rules
                        .purposes
                        .ancestors(*purpose)
                        .any(|up| up == parent)
                })
                .copied()
                .collect();
            if !below.is_empty() {
                judge(parity, ground, person, seat, (parent, polarity), &below)?;
            }
        }
    }
    Ok(())
}

fn judge(
    parity: &mut Parity,
    ground: &Ground<'_>,
    person: &Person<'_>,
    seat: &Seat<'_>,
    parent: Category,
    below: &[Category],
) -> Result<(), PackError> {
    let Some(shown) = seat.shown(parent.0) else {
        return Ok(());
    };
    let reticked: Vec<Category> = below
        .iter()
        .filter(|(purpose, _)| was_reticked(ground, person, seat, *purpose))
        .copied()
        .collect();
    if !reticked.is_empty() {
        note(
            parity,
            ground,
            person,
            seat,
            parent,
            &reticked,
            Class::Reticked,
        )?;
    }
    if is(parent.1, shown, Status::Withdrawn) {
        let ticked: Vec<Category> = below
            .iter()
            .filter(|category| !reticked.contains(category))
            .filter(|(purpose, polarity)| {
                let shown = seat.shown(*purpose);
                shown.is_some_and(|shown| is(*polarity, shown, Status::Granted))
            })
            .copied()
            .collect();
        if !ticked.is_empty() {
            note(
                parity,
                ground,
                person,
                seat,
                parent,
                &ticked,
                Class::OptedOutTicked,
            )?;
        }
        return Ok(());
    }
    // A flag that shows nothing says nothing: only what was decided tells an opt-in from silence.
    let name = ground.rules.purposes.name(parent.0);
    let granted = person
        .verdict(name)
        .is_some_and(|verdict| verdict.status() == Status::Granted);
    let is_blank = |(purpose, _): &Category| seat.shown(*purpose) == Some(&Shown::Default);
    if granted && below.iter().all(is_blank) {
        note(parity, ground, person, seat, parent, below, Class::Blank)?;
    }
    Ok(())
}

/// Whether a value says this by itself. A default never does (R12).
fn is(polarity: Polarity, shown: &Shown, status: Status) -> bool {
    *shown != Shown::Default && polarity.meaning(shown) == status
}

/// R20: it was found that the category was granted on this contact while its parent was withdrawn.
fn was_reticked(
    ground: &Ground<'_>,
    person: &Person<'_>,
    seat: &Seat<'_>,
    purpose: PurposeId,
) -> bool {
    let name = ground.rules.purposes.name(purpose);
    person.findings.iter().any(|finding| {
        finding.kind == "inconsistent"
            && finding.purpose.as_deref() == Some(name)
            && finding.system.as_deref() == Some(seat.system.name.as_str())
            && finding.contact.as_deref() == Some(seat.row.external.as_str())
    })
}

fn note(
    parity: &mut Parity,
    ground: &Ground<'_>,
    person: &Person<'_>,
    seat: &Seat<'_>,
    parent: Category,
    categories: &[Category],
    class: Class,
) -> Result<(), PackError> {
    *parity.inconsistent.entry(class).or_default() += 1;
    if parity.inconsistencies.len() >= MAX_LISTED {
        return Ok(());
    }
    let stamp = |(purpose, polarity): Category| {
        let statement = seat.statement(purpose, polarity);
        statement.map(|statement| statement.stamp)
    };
    let name = |purpose: PurposeId| ground.rules.purposes.name(purpose).to_owned();
    let decided = decided(ground, person, seat, categories, class)?;
    parity.inconsistencies.push(Inconsistency {
        class,
        system: seat.system.name.clone(),
        contact: seat.row.external.clone(),
        subject: person.row.subject.short(),
        parent: name(parent.0),
        parent_stamp: stamp(parent),
        categories: categories
            .iter()
            .map(|category| (name(category.0), stamp(*category)))
            .collect(),
        decided,
    });
    Ok(())
}

/// What R20 does about it, or why it does nothing.
fn decided(
    ground: &Ground<'_>,
    person: &Person<'_>,
    seat: &Seat<'_>,
    categories: &[Category],
    class: Class,
) -> Result<String, PackError> {
    for (purpose, _) in categories {
        for write in ground.writes(seat.row) {
            if ground.is_about(write, *purpose)? {
                return Ok(match class {
                    Class::OptedOutTicked | Class::Reticked => format!("reset: {}", state(write)),
                    Class::Blank => format!("ticked: {}", state(write)),
                });
            }
        }
    }
    if class == Class::Blank {
        return Ok(
            "nothing: a parent's grant never grants its categories; a person has to tick \
                   them (R20)"
                .to_owned(),
        );
    }
    // Whatever was ticked is either reset already, or there is a reason why it is not.
    for (purpose, polarity) in categories {
        let name = ground.rules.purposes.name(*purpose);
        let (Some(verdict), Some(shown)) = (person.verdict(name), seat.shown(*purpose)) else {
            continue;
        };
        if is(*polarity, shown, Status::Granted) {
            let reason = ground.reason(person, seat, *purpose, verdict);
            return Ok(match verdict.status() {
                Status::Withdrawn => format!("to be reset: {reason}"),
                Status::Granted => format!("nothing: the category is granted; {reason}"),
            });
        }
    }
    Ok(if class == Class::Reticked {
        "reset: the contact shows it no more".to_owned()
    } else {
        "nothing: no verdict on these categories".to_owned()
    })
}
