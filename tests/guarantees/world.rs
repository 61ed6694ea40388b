//! The systems, purposes and random statements that the properties are about.

use consentd::consent::purpose::PurposeDraft;
use consentd::consent::time::MINUTE;
use consentd::consent::{
    At, Contact, Evidence, Polarity, Policy, Precision, PurposeId, Purposes, Reading, Resolution,
    Revival, Rules, Shown, Stamp, Statement, Status, Subject, SystemId, SystemRules, Told, Unknown,
    Viewpoint, resolve,
};
use proptest::collection::SizeRange;
use proptest::prelude::*;

pub(crate) const MARKETING: PurposeId = PurposeId(0);
pub(crate) const NEWS: PurposeId = PurposeId(1);

/// Flags with a history that names users.
pub(crate) const CRM: SystemId = SystemId(1);
/// One flag without a history.
pub(crate) const ASCEND: SystemId = SystemId(2);
/// Consent records with a time of their own, which no user signs.
pub(crate) const RECORDS: SystemId = SystemId(3);

pub(crate) const OURSELVES: &str = "consentd";
pub(crate) const LOADER: &str = "loader";
pub(crate) const PERSON: &str = "ann";

pub(crate) fn t(minutes: i64) -> At {
    At::from_micros(1_767_225_600_000_000 + minutes * MINUTE)
}

pub(crate) fn exact(minute: i64) -> Stamp {
    Stamp::covering(t(minute), Precision::Micros)
}

pub(crate) fn rules() -> Rules {
    let drafts = ["marketing", "marketing.news"]
        .into_iter()
        .map(|name| PurposeDraft {
            name: name.to_owned(),
            revival: Revival::LastWriter,
            unknown: Unknown::Block,
        })
        .collect();
    let system = |id: SystemId, name: &str, carries| SystemRules {
        id,
        name: name.to_owned(),
        precedence: 1,
        writable: true,
        carries,
        own_actor: (id != RECORDS).then(|| OURSELVES.to_owned()),
        bulk_actors: [LOADER.to_owned()].into(),
    };
    Rules {
        purposes: Purposes::build(drafts).unwrap_or_default(),
        systems: vec![
            system(
                CRM,
                "crm",
                vec![(MARKETING, Polarity::OptOut), (NEWS, Polarity::Permission)],
            ),
            system(ASCEND, "ascend", vec![(MARKETING, Polarity::OptOut)]),
            system(RECORDS, "records", vec![(MARKETING, Polarity::Recorded)]),
        ],
        policy: Policy::default(),
    }
}

pub(crate) fn decided(contacts: &[Contact], rules: &Rules) -> Resolution {
    resolve(
        &Subject {
            contacts,
            remembered: &[],
            is_load: &|_, _| false,
        },
        rules,
    )
}

pub(crate) fn view<'a>(
    rules: &'a Rules,
    system: SystemId,
    read_at: At,
    in_flight: &'a [(PurposeId, Shown)],
) -> Viewpoint<'a> {
    let place = rules.systems.iter().position(|known| known.id == system);
    Viewpoint {
        system: &rules.systems[place.unwrap_or_default()],
        policy: &rules.policy,
        read_at,
        known_since: None,
        ceiling: read_at.plus(5 * MINUTE),
        in_flight,
        stale: false,
    }
}

/// The contact's own row, without values.
pub(crate) fn row(id: &str, modified: At) -> Reading {
    Reading {
        contact: id.to_owned(),
        whole: true,
        created: Some(t(-5_000)),
        modified: Some(modified),
        precision: Some(Precision::Micros),
        ..Reading::default()
    }
}

pub(crate) fn told(
    purpose: PurposeId,
    shown: Shown,
    at: At,
    evidence: Evidence,
    actor: Option<&str>,
) -> Told {
    Told {
        purpose,
        shown,
        at,
        precision: Precision::Micros,
        evidence,
        actor: actor.map(str::to_owned),
    }
}

/// What a system shows for marketing.
pub(crate) fn value(system: SystemId, opted_out: bool) -> Shown {
    if system == RECORDS {
        let status = if opted_out {
            Status::Withdrawn
        } else {
            Status::Granted
        };
        return Shown::Record {
            status,
            basis: None,
        };
    }
    if opted_out {
        Shown::Set
    } else {
        Shown::Default
    }
}

/// The contact's own row with marketing, and the stored time where there is one.
pub(crate) fn showing(
    system: SystemId,
    id: &str,
    modified: At,
    opted_out: bool,
    who: Option<&str>,
) -> Reading {
    let shown = value(system, opted_out);
    let mut reading = row(id, modified);
    if system == RECORDS {
        let stored = told(MARKETING, shown.clone(), modified, Evidence::Explicit, None);
        reading.told.push(stored);
    } else {
        reading.modified_by = who.map(str::to_owned);
    }
    reading.values.push((MARKETING, shown));
    reading
}

/// Any statement with at least that evidence.
pub(crate) fn statement(least: Evidence) -> impl Strategy<Value = Statement> {
    let grades = [
        Evidence::Baseline,
        Evidence::Observed,
        Evidence::History,
        Evidence::Explicit,
    ];
    let grades: Vec<Evidence> = grades.into_iter().filter(|grade| *grade >= least).collect();
    let actor = prop::sample::select(vec![None, Some(PERSON), Some(LOADER)]);
    (
        prop::bool::ANY,
        0_i64..25,
        0_i64..6,
        prop::sample::select(grades),
        actor,
    )
        .prop_map(|(withdrawn, from, width, evidence, actor)| Statement {
            status: if withdrawn {
                Status::Withdrawn
            } else {
                Status::Granted
            },
            basis: None,
            stamp: if evidence >= Evidence::History {
                exact(from)
            } else {
                Stamp::between(t(from), t(from + width))
            },
            evidence,
            actor: actor.map(str::to_owned),
        })
}

/// Statements of four contacts, of which the first two carry both purposes.
pub(crate) fn statements(
    size: impl Into<SizeRange>,
) -> impl Strategy<Value = Vec<(usize, PurposeId, Statement)>> {
    let one = (0..4_usize, prop::bool::ANY, statement(Evidence::Baseline)).prop_map(
        |(who, category, statement)| {
            let purpose = if category && who < 2 { NEWS } else { MARKETING };
            (who, purpose, statement)
        },
    );
    proptest::collection::vec(one, size)
}
