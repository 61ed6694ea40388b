//! From rows to readings.
//!
//! A contact is a person, known by the primary address. The row of a consent carries its own time:
//! the later of its registration and its last update. When the person was modified says nothing
//! about consent (a change of a purpose need not touch the person), so readings carry no such time.

use super::config::Retired;
use super::lists::Keys;
use super::wire::rows::{ConsentRow, PersonRow};
use crate::connector::salesforce::wire::time;
use crate::consent::time::Precision;
use crate::consent::{At, Evidence, Life, PurposeId, Reading, Shown, Told};

/// An external id as the number that it is.
pub fn person_id(contact: &str) -> Option<u32> {
    let number: u32 = contact.parse().ok()?;
    // One number is written in one way only.
    (number > 0 && contact == number.to_string()).then_some(number)
}

/// What a consent row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The purpose.
    pub purpose: PurposeId,
    /// Its value.
    pub shown: Shown,
    /// Since when, if the row tells (R16).
    pub at: Option<At>,
    /// Who set it, if anybody signed.
    pub actor: Option<String>,
}

/// The meaning of a row; none for a purpose that is not carried.
pub fn consent(row: &ConsentRow, keys: &Keys) -> Option<Consent> {
    let purpose = keys.purpose(&row.purpose)?;
    let (registered, updated) = (
        stamp(row.registered.as_deref()),
        stamp(row.updated.as_deref()),
    );
    let (at, by) = match (registered, updated) {
        // An update whose time cannot be read is later than the registration, but by how much?
        (_, Stamp::Unreadable) | (Stamp::Unreadable, Stamp::Never) => (None, row.updated_by),
        (Stamp::At(made), Stamp::At(changed)) if made > changed => (Some(made), row.registered_by),
        (_, Stamp::At(changed)) => (Some(changed), row.updated_by),
        (Stamp::At(made), Stamp::Never) => (Some(made), row.registered_by),
        (Stamp::Never, Stamp::Never) => (None, None),
    };
    Some(Consent {
        purpose,
        shown: keys.meaning(&row.base),
        at,
        actor: by.filter(|by| *by > 0).map(|by| by.to_string()),
    })
}

/// A time of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    /// Empty, or the year 1.
    Never,
    /// Something else that is no time.
    Unreadable,
    /// A time, UTC whether or not it says so.
    At(At),
}

fn stamp(text: Option<&str>) -> Stamp {
    match text.map(str::trim) {
        None | Some("") => Stamp::Never,
        Some(text) => match time::parse(text) {
            None => Stamp::Unreadable,
            Some(at) if at < At::FIRST_PLAUSIBLE => Stamp::Never,
            Some(at) => Stamp::At(at),
        },
    }
}

/// A person with all consents, as one reading.
pub fn reading(person: &PersonRow, rows: &[ConsentRow], keys: &Keys, retired: Retired) -> Reading {
    let consents: Vec<Consent> = rows.iter().filter_map(|row| consent(row, keys)).collect();
    let told = consents.iter().filter_map(|consent| {
        Some(Told {
            purpose: consent.purpose,
            shown: consent.shown.clone(),
            at: consent.at?,
            precision: Precision::Seconds,
            evidence: Evidence::Explicit,
            actor: consent.actor.clone(),
        })
    });
    Reading {
        contact: person.id.to_string(),
        whole: true,
        address: person
            .address
            .clone()
            .filter(|address| !address.trim().is_empty()),
        created: match stamp(person.registered.as_deref()) {
            Stamp::At(at) => Some(at),
            Stamp::Never | Stamp::Unreadable => None,
        },
        life: match retired {
            Retired::Gone if person.retired => Life::Deleted,
            Retired::Gone | Retired::Live => Life::Live,
        },
        values: values(&consents, keys),
        told: told.collect(),
        ..Reading::default()
    }
}

/// The value of every purpose that is carried. No row is the default.
pub fn values(consents: &[Consent], keys: &Keys) -> Vec<(PurposeId, Shown)> {
    let value = |purpose: PurposeId| {
        // There is one row for each purpose; should there be two, the later one counts, and of two
        // equal ones the withdrawal.
        let rank = |consent: &&Consent| (consent.at, status(&consent.shown));
        consents
            .iter()
            .filter(|consent| consent.purpose == purpose)
            .max_by_key(rank)
            .map_or(Shown::Default, |consent| consent.shown.clone())
    };
    keys.purposes
        .iter()
        .map(|(purpose, _, _)| (*purpose, value(*purpose)))
        .collect()
}

fn status(shown: &Shown) -> Option<crate::consent::Status> {
    match shown {
        Shown::Record { status, .. } => Some(*status),
        Shown::Default | Shown::Set => None,
    }
}

/// A person who is not there any more.
pub fn gone(person: u32, into: Option<u32>) -> Reading {
    Reading {
        contact: person.to_string(),
        whole: true,
        life: into.map_or(Life::Deleted, |into| Life::Merged {
            into: into.to_string(),
        }),
        ..Reading::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lists::tests::keys;
    use super::*;
    use crate::consent::{Basis, Status};

    const MARKETING: PurposeId = PurposeId(0);
    const STORE: PurposeId = PurposeId(1);
    const NEVER: &str = "0001-01-01T00:00:00";

    fn row(purpose: &str, base: &str, registered: &str, updated: &str) -> ConsentRow {
        ConsentRow {
            person: 5_120,
            purpose: purpose.to_owned(),
            base: base.to_owned(),
            registered: Some(registered.to_owned()),
            updated: Some(updated.to_owned()),
            registered_by: Some(12),
            updated_by: Some(77),
        }
    }

    fn person() -> PersonRow {
        PersonRow {
            id: 5_120,
            address: Some("Ann@Example.org".to_owned()),
            registered: Some("2025-03-02T08:15:31".to_owned()),
            retired: false,
        }
    }

    fn at(text: &str) -> At {
        time::parse(text).unwrap()
    }

    #[test]
    fn r16_a_stamp_is_the_later_of_registration_and_update() {
        let (made, changed) = ("2025-03-02T08:15:31", "2026-01-19T11:02:07");
        let (early, late) = (at(made), at(changed));
        for (sentence, registered, updated, stamp, actor) in [
            ("never updated", made, NEVER, Some(early), Some("12")),
            (
                "never updated, with a zone",
                made,
                "0001-01-01T00:00:00Z",
                Some(early),
                Some("12"),
            ),
            ("never updated, empty", made, "", Some(early), Some("12")),
            ("updated", made, changed, Some(late), Some("77")),
            (
                "updated, with a zone",
                made,
                "2026-01-19T12:02:07+01:00",
                Some(late),
                Some("77"),
            ),
            (
                "updated, seven decimals",
                made,
                "2026-01-19T11:02:07.0000000Z",
                Some(late),
                Some("77"),
            ),
            (
                "a clock that went back",
                changed,
                made,
                Some(late),
                Some("12"),
            ),
            ("both at once", changed, changed, Some(late), Some("77")),
            ("no time at all", NEVER, NEVER, None, None),
            (
                "the sentinel of the database",
                "1760-01-01T00:00:00",
                NEVER,
                None,
                None,
            ),
            (
                "an impossible update",
                made,
                "2026-02-30T10:00:00",
                None,
                Some("77"),
            ),
            (
                "an impossible registration",
                "24:00",
                NEVER,
                None,
                Some("77"),
            ),
            (
                "only the update is known",
                NEVER,
                changed,
                Some(late),
                Some("77"),
            ),
        ] {
            let consent = consent(&row("EMARKETING", "61A", registered, updated), &keys()).unwrap();
            assert_eq!(consent.at, stamp, "{sentence}");
            assert_eq!(consent.actor.as_deref(), actor, "{sentence}");
        }
    }

    #[test]
    fn a_person_and_the_rows_become_a_reading() {
        let rows = [
            row("STORE", "61F", "2025-03-02T08:15:31", NEVER),
            row(
                "EMARKETING",
                "WITHDRAWN",
                "2025-03-02T08:15:31",
                "2026-01-19T11:02:07",
            ),
            row("PROFILING", "61A", "2025-03-02T08:15:31", NEVER),
        ];
        let reading = reading(&person(), &rows, &keys(), Retired::Live);
        assert_eq!(reading.contact, "5120");
        assert_eq!(reading.address.as_deref(), Some("Ann@Example.org"));
        assert_eq!(reading.created, Some(at("2025-03-02T08:15:31")));
        assert_eq!((reading.modified, &reading.modified_by), (None, &None));
        let withdrawn = Shown::Record {
            status: Status::Withdrawn,
            basis: None,
        };
        let granted = Shown::Record {
            status: Status::Granted,
            basis: Some(Basis::LegitimateInterests),
        };
        assert_eq!(
            reading.values,
            [(MARKETING, withdrawn.clone()), (STORE, granted)]
        );
        assert_eq!(
            reading.told.len(),
            2,
            "purposes that are not carried are ignored"
        );
        let told = &reading.told[1];
        assert_eq!((told.purpose, &told.shown), (MARKETING, &withdrawn));
        assert_eq!(told.at, at("2026-01-19T11:02:07"));
        assert_eq!(told.evidence, Evidence::Explicit);
        assert_eq!(told.actor.as_deref(), Some("77"));
    }

    #[test]
    fn r12_no_row_is_the_default() {
        let reading = reading(&person(), &[], &keys(), Retired::Live);
        assert_eq!(
            reading.values,
            [(MARKETING, Shown::Default), (STORE, Shown::Default)]
        );
        assert!(reading.told.is_empty());
    }

    #[test]
    fn whether_former_employees_count_is_configured() {
        let former = PersonRow {
            retired: true,
            ..person()
        };
        assert_eq!(
            reading(&former, &[], &keys(), Retired::Live).life,
            Life::Live
        );
        assert_eq!(
            reading(&former, &[], &keys(), Retired::Gone).life,
            Life::Deleted
        );
        assert_eq!(
            reading(&person(), &[], &keys(), Retired::Gone).life,
            Life::Live
        );
    }

    #[test]
    fn only_numbers_written_plainly_are_ids() {
        for (text, id) in [
            ("5120", Some(5_120)),
            ("0", None),
            ("05120", None),
            ("+5120", None),
            ("-1", None),
            ("4294967296", None),
            ("5120 or 1", None),
            ("", None),
        ] {
            assert_eq!(person_id(text), id, "{text}");
        }
    }
}
