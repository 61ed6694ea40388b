//! Short words for contacts, statements and what was decided of them.

use consentd::consent::purpose::PurposeDraft;
use consentd::consent::resolve::{Finding, Loss, Source};
use consentd::consent::time::MINUTE;
use consentd::consent::{
    At, Basis, Contact, Evidence, Intended, Life, Polarity, Policy, Precision, PurposeId, Purposes,
    Remembered, Resolution, Revival, Rules, Shown, Stamp, Statement, Status, Subject, SystemId,
    SystemRules, Unknown, plan, resolve,
};
use std::fmt::Write as _;

pub(crate) const MARKETING: PurposeId = PurposeId(0);
pub(crate) const EVENTS: PurposeId = PurposeId(1);
pub(crate) const NEWS: PurposeId = PurposeId(2);
pub(crate) const STORE: PurposeId = PurposeId(3);

pub(crate) const SALESFORCE: SystemId = SystemId(1);
pub(crate) const ASCEND: SystemId = SystemId(2);
pub(crate) const SUPEROFFICE: SystemId = SystemId(3);
pub(crate) const EMARKETEER: SystemId = SystemId(4);

/// Our own user, in every system that names users.
pub(crate) const OURSELVES: &str = "consentd";
/// A user who loads files.
pub(crate) const LOADER: &str = "loader";

/// So many minutes after the start of 2026.
pub(crate) fn t(minutes: i64) -> At {
    At::from_micros(1_767_225_600_000_000 + minutes * MINUTE)
}

/// Three purposes in a tree and one beside it; two systems with flags, two with records.
pub(crate) fn rules() -> Rules {
    let drafts = ["marketing", "marketing.events", "marketing.news", "store"]
        .into_iter()
        .map(|name| PurposeDraft {
            name: name.to_owned(),
            revival: Revival::LastWriter,
            unknown: Unknown::Block,
            granted_basis: Basis::Consent,
        })
        .collect();
    let system =
        |id: SystemId, name: &str, own: bool, carries: &[(PurposeId, Polarity)]| SystemRules {
            id,
            name: name.to_owned(),
            precedence: id.0.unsigned_abs(),
            writable: true,
            heard_until: None,
            carries: carries.to_vec(),
            own_actor: own.then(|| OURSELVES.to_owned()),
            bulk_actors: [LOADER.to_owned()].into(),
        };
    let flags = [
        (MARKETING, Polarity::OptOut),
        (EVENTS, Polarity::Permission),
        (NEWS, Polarity::Permission),
    ];
    let records = [(MARKETING, Polarity::Recorded), (STORE, Polarity::Recorded)];
    Rules {
        purposes: Purposes::build(drafts).unwrap_or_default(),
        systems: vec![
            system(SALESFORCE, "salesforce", true, &flags),
            system(ASCEND, "ascend", true, &flags[..1]),
            system(SUPEROFFICE, "superoffice", true, &records),
            system(EMARKETEER, "emarketeer", false, &records),
        ],
        thresholds: Vec::new(),
        policy: Policy::default(),
    }
}

/// The same, where only consent revives marketing.
pub(crate) fn rules_with_consent_only() -> Rules {
    let mut rules = rules();
    let drafts = rules
        .purposes
        .iter()
        .map(|(id, purpose)| PurposeDraft {
            name: purpose.name.clone(),
            revival: if id == MARKETING {
                Revival::ConsentOnly
            } else {
                Revival::LastWriter
            },
            unknown: Unknown::Block,
            granted_basis: purpose.granted_basis.clone(),
        })
        .collect();
    rules.purposes = Purposes::build(drafts).unwrap_or_default();
    rules
}

/// The same, where a grant without a basis gets this one.
pub(crate) fn rules_granting_on(basis: &Basis) -> Rules {
    let mut rules = rules();
    let drafts = rules
        .purposes
        .iter()
        .map(|(_, purpose)| PurposeDraft {
            name: purpose.name.clone(),
            granted_basis: basis.clone(),
            ..PurposeDraft::default()
        })
        .collect();
    rules.purposes = Purposes::build(drafts).unwrap_or_default();
    rules
}

fn exact(status: Status, minutes: i64) -> Statement {
    Statement {
        status,
        basis: None,
        stamp: Stamp::covering(t(minutes), Precision::Micros),
        evidence: Evidence::History,
        actor: None,
    }
}

/// A grant that the field history dates to that minute.
pub(crate) fn granted(minutes: i64) -> Statement {
    exact(Status::Granted, minutes)
}

/// A withdrawal that the field history dates to that minute.
pub(crate) fn withdrawn(minutes: i64) -> Statement {
    exact(Status::Withdrawn, minutes)
}

/// Changes of a statement, for rows that need one.
pub(crate) trait Say {
    fn seen_between(self, from: i64, until: i64) -> Statement;
    fn seen_after(self, look: i64, until: i64) -> Statement;
    fn found_between(self, from: i64, until: i64) -> Statement;
    fn explicit(self) -> Statement;
    fn to_the_second(self) -> Statement;
    fn by(self, actor: &str) -> Statement;
    fn on(self, basis: Basis) -> Statement;
}

impl Say for Statement {
    fn seen_between(mut self, from: i64, until: i64) -> Statement {
        self.stamp = Stamp::between(t(from), t(until));
        self.evidence = Evidence::Observed;
        self
    }

    fn seen_after(mut self, look: i64, until: i64) -> Statement {
        self.stamp = Stamp::between(t(look).plus(1), t(until));
        self.evidence = Evidence::Observed;
        self
    }

    fn found_between(mut self, from: i64, until: i64) -> Statement {
        self.stamp = Stamp::between(t(from), t(until));
        self.evidence = Evidence::Baseline;
        self
    }

    fn explicit(mut self) -> Statement {
        self.evidence = Evidence::Explicit;
        self
    }

    fn to_the_second(mut self) -> Statement {
        self.stamp = Stamp::covering(self.stamp.earliest(), Precision::Seconds);
        self
    }

    fn by(mut self, actor: &str) -> Statement {
        self.actor = Some(actor.to_owned());
        self
    }

    fn on(mut self, basis: Basis) -> Statement {
        self.basis = Some(basis);
        self
    }
}

fn contact(system: SystemId, id: &str) -> Contact {
    Contact {
        created: Some(t(-1000)),
        modified: Some(t(-1000)),
        read_at: Some(t(-1)),
        ..Contact::unseen(system, id.to_owned())
    }
}

pub(crate) fn sf(id: &str) -> Contact {
    contact(SALESFORCE, id)
}

pub(crate) fn ascend(id: &str) -> Contact {
    contact(ASCEND, id)
}

pub(crate) fn so(id: &str) -> Contact {
    contact(SUPEROFFICE, id)
}

pub(crate) fn em(id: &str) -> Contact {
    contact(EMARKETEER, id)
}

/// What a contact is and says, for rows.
pub(crate) trait Is {
    fn says(self, purpose: PurposeId, statement: Statement) -> Contact;
    fn shows(self, purpose: PurposeId, shown: Shown) -> Contact;
    fn born(self, minutes: i64) -> Contact;
    fn deleted(self) -> Contact;
    fn merged_into(self, survivor: &str) -> Contact;
}

impl Is for Contact {
    fn says(mut self, purpose: PurposeId, statement: Statement) -> Contact {
        self.record.entry(purpose).add(statement);
        self
    }

    fn shows(mut self, purpose: PurposeId, shown: Shown) -> Contact {
        self.record.entry(purpose).shown = Some(shown);
        self
    }

    fn born(mut self, minutes: i64) -> Contact {
        self.created = Some(t(minutes));
        self
    }

    fn deleted(mut self) -> Contact {
        self.life = Life::Deleted;
        self
    }

    fn merged_into(mut self, survivor: &str) -> Contact {
        self.life = Life::Merged {
            into: survivor.to_owned(),
        };
        self
    }
}

/// A consent record.
pub(crate) fn record(status: Status, basis: Option<Basis>) -> Shown {
    Shown::Record { status, basis }
}

/// A statement of an operator.
pub(crate) fn operator(purpose: PurposeId, statement: Statement) -> Remembered {
    Remembered {
        purpose,
        source: Source {
            system: None,
            contact: "op".to_owned(),
        },
        statement,
        overruled: false,
    }
}

/// Decides, with nothing recognised as a load.
pub(crate) fn decided(contacts: &[Contact], rules: &Rules) -> Resolution {
    decided_with(contacts, &[], rules)
}

/// Decides, with statements that stand for themselves.
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

fn named(source: &Source, rules: &Rules) -> String {
    let system = source.system.map_or("operator", |id| rules.system_name(id));
    format!("{system}/{}", source.contact)
}

/// `granted by salesforce/a (R18)`, or `silent`.
pub(crate) fn verdict(resolution: &Resolution, purpose: PurposeId, rules: &Rules) -> String {
    resolution.verdict(purpose).map_or_else(
        || "silent".to_owned(),
        |verdict| {
            format!(
                "{} by {} ({})",
                verdict.status(),
                named(&verdict.source, rules),
                verdict.reason.rule()
            )
        },
    )
}

/// What a person should know: `conflict marketing salesforce/b; …`, or nothing.
pub(crate) fn findings(resolution: &Resolution, rules: &Rules) -> String {
    let mut text = String::new();
    for finding in &resolution.findings {
        let (word, purpose, source) = match finding {
            Finding::Conflict { purpose, source } => ("conflict", Some(purpose), Some(source)),
            Finding::Inconsistent { purpose, source } => {
                ("inconsistent", Some(purpose), Some(source))
            }
            Finding::WeakGrant { purpose, source } => ("weak", Some(purpose), Some(source)),
            Finding::Load { purpose, source } => ("load", Some(purpose), Some(source)),
            Finding::FutureStamped { source } => ("future", None, Some(source)),
            Finding::Flapping { purpose } => ("flapping", Some(purpose), None),
            Finding::Suppressed { purpose } => ("suppressed", Some(purpose), None),
        };
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(word);
        if let Some(purpose) = purpose {
            let _unfailing = write!(text, " {}", rules.purposes.name(*purpose));
        }
        if let Some(source) = source {
            let _unfailing = write!(text, " {}", named(source, rules));
        }
    }
    text
}

/// Why a contact's statement of a purpose lost.
pub(crate) fn why_lost(resolution: &Resolution, purpose: PurposeId, contact: &str) -> Option<Loss> {
    resolution
        .verdict(purpose)?
        .lost
        .iter()
        .find(|lost| lost.source.contact == contact)
        .map(|lost| lost.why)
}

/// The plan: `withdrawal salesforce/a marketing=set news=default; …`, in its order.
pub(crate) fn planned(contacts: &[Contact], rules: &Rules) -> String {
    planned_with(contacts, rules, &|_| Vec::new())
}

/// The plan while some writes are under way.
pub(crate) fn planned_with(
    contacts: &[Contact],
    rules: &Rules,
    in_flight: &dyn Fn(&Contact) -> Vec<(PurposeId, Shown)>,
) -> String {
    let resolution = decided(contacts, rules);
    plan(&resolution, contacts, rules, in_flight)
        .iter()
        .map(|write| written(write, rules))
        .collect::<Vec<_>>()
        .join("; ")
}

fn written(write: &Intended<'_>, rules: &Rules) -> String {
    let mut text = format!(
        "{} {}/{}",
        write.lane.word(),
        rules.system_name(write.contact.system),
        write.contact.id
    );
    for change in &write.changes {
        let name = rules.purposes.name(change.purpose);
        let name = name.rsplit('.').next().unwrap_or(name);
        let _unfailing = match &change.to {
            Shown::Default => write!(text, " {name}=default"),
            Shown::Set => write!(text, " {name}=set"),
            Shown::Record { status, basis } => write!(
                text,
                " {name}={status}{}",
                basis
                    .as_ref()
                    .map_or(String::new(), |basis| format!(":{}", basis.word()))
            ),
        };
    }
    text
}
