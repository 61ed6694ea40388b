//! The systems, purposes and random statements that the properties are about.

use consentd::consent::purpose::PurposeDraft;
use consentd::consent::time::MINUTE;
use consentd::consent::{
    At, Basis, Contact, Evidence, Polarity, Policy, Precision, PurposeId, Purposes, Reading,
    Remembered, Resolution, Revival, Rules, Shown, Stamp, Statement, Status, Subject, SystemId,
    SystemRules, Told, Unknown, Viewpoint, resolve,
};
use proptest::collection::SizeRange;
use proptest::prelude::*;

pub(crate) const MARKETING: PurposeId = PurposeId(0);
pub(crate) const NEWS: PurposeId = PurposeId(1);
pub(crate) const STORE: PurposeId = PurposeId(2);

/// Flags with a history that names users.
pub(crate) const CRM: SystemId = SystemId(1);
/// One flag without a history.
pub(crate) const ASCEND: SystemId = SystemId(2);
/// Consent records with a basis and a time of their own, which no user signs.
pub(crate) const RECORDS: SystemId = SystemId(3);
/// The same again, so that bases have somewhere to go.
pub(crate) const MAILER: SystemId = SystemId(4);

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
    let drafts = ["marketing", "marketing.news", "store"]
        .into_iter()
        .map(|name| PurposeDraft {
            name: name.to_owned(),
            revival: Revival::LastWriter,
            unknown: Unknown::Block,
            granted_basis: Basis::Consent,
        })
        .collect();
    let system = |id: SystemId, name: &str, carries| SystemRules {
        id,
        name: name.to_owned(),
        precedence: 1,
        writable: true,
        heard_until: None,
        carries,
        own_actor: (id != RECORDS && id != MAILER).then(|| OURSELVES.to_owned()),
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
            system(RECORDS, "records", records()),
            system(MAILER, "mailer", records()),
        ],
        thresholds: Vec::new(),
        policy: Policy::default(),
    }
}

fn records() -> Vec<(PurposeId, Polarity)> {
    vec![(MARKETING, Polarity::Recorded), (STORE, Polarity::Recorded)]
}

/// Whether the system holds consent records.
pub(crate) fn is_recorded(system: SystemId) -> bool {
    system == RECORDS || system == MAILER
}

pub(crate) fn decided(contacts: &[Contact], rules: &Rules) -> Resolution {
    decided_with(contacts, &[], rules)
}

/// Decides, with facts that stand for themselves.
pub(crate) fn decided_with(
    contacts: &[Contact],
    remembered: &[Remembered],
    rules: &Rules,
) -> Resolution {
    resolve(
        &Subject {
            contacts,
            remembered,
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
    if is_recorded(system) {
        return stored((!opted_out).then_some(Basis::Consent));
    }
    if opted_out {
        Shown::Set
    } else {
        Shown::Default
    }
}

/// A consent record: granted on that basis, or withdrawn.
pub(crate) fn stored(basis: Option<Basis>) -> Shown {
    let status = if basis.is_some() {
        Status::Granted
    } else {
        Status::Withdrawn
    };
    Shown::Record { status, basis }
}

/// Any basis that a record may have.
pub(crate) fn bases() -> impl Strategy<Value = Basis> {
    prop::sample::select(vec![
        Basis::Consent,
        Basis::Contract,
        Basis::LegitimateInterests,
        Basis::Other("X9".to_owned()),
    ])
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
    if is_recorded(system) {
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

/// Statements of five contacts: the first two carry marketing and its category, the last two records
/// of marketing and of the other purpose, each with a basis or without.
pub(crate) fn statements(
    size: impl Into<SizeRange>,
) -> impl Strategy<Value = Vec<(usize, PurposeId, Statement)>> {
    let one = (
        0..5_usize,
        prop::bool::ANY,
        statement(Evidence::Baseline),
        prop::option::of(bases()),
    )
        .prop_map(|(who, other, mut statement, basis)| {
            let purpose = match who {
                0 | 1 if other => NEWS,
                3 | 4 if other => STORE,
                _ => MARKETING,
            };
            if who >= 3 && statement.status == Status::Granted {
                statement.basis = basis;
            }
            (who, purpose, statement)
        });
    proptest::collection::vec(one, size)
}
