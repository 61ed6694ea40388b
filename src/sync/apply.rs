//! A saved plan is let go (R49, R51): of its writes those that are still planned, and would still set what
//! the plan says. What has moved on since is dropped, and told.
//!
//! Nothing is decided here. A planned write is what the present verdict asks for, so the outbox is what
//! a plan is held against. A page of writes is looked at and released in one transaction, so that a
//! decision comes before or after it and never in between. Applying a plan again, after a crash in the
//! middle of it, releases the rest.

use super::assemble::rules;
use super::pack::{PackError, Packer, unpack_verdicts};
use super::plan::{PlanError, PlannedWrite, SavedPlan, Value, value};
use super::switches::Operator;
use crate::config::Checked;
use crate::consent::{At, Change, Rules, SystemId};
use crate::store::{
    CLAIMED, Changes, ContactRow, DEAD, HELD, Known, LANE_GRANT, LIVE, LedgerDraft, OutboxChange,
    OutboxRow, PENDING, PLANNED, PlanningChange, SENT, Scope, Store, StoreError, WriteKey,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Writes that are looked at in one transaction.
pub const PAGE: usize = 1_000;

/// What became of one write of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is sent as soon as it is due.
    Released,
    /// It was let go before.
    UnderWay,
    /// The contact shows it already.
    Shown,
    /// A guard holds it until a person has looked.
    Held,
    /// It was tried and given up, for this reason.
    GivenUp(String),
    /// The contact is not there any more.
    Gone,
    /// Something else holds by now.
    MovedOn(String),
}

impl Fate {
    /// What became of it, in words that say what to do.
    pub fn words(&self) -> String {
        match self {
            Self::Released => "released".to_owned(),
            Self::UnderWay => "already on its way".to_owned(),
            Self::Shown => "the contact shows it already".to_owned(),
            Self::Held => "held for a person: see `consentd holds`".to_owned(),
            Self::GivenUp(why) => format!("given up: {why}; see `consentd redrive`"),
            Self::Gone => "the contact is gone".to_owned(),
            Self::MovedOn(why) => why.clone(),
        }
    }

    /// Whether the write is done, or will be without anybody's doing.
    const fn is_fine(&self) -> bool {
        match self {
            Self::Released | Self::UnderWay | Self::Shown => true,
            Self::Held | Self::GivenUp(_) | Self::Gone | Self::MovedOn(_) => false,
        }
    }
}

/// How the store goes on after a plan was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoesOn {
    /// It had begun to write before; nothing was changed.
    AsBefore,
    /// It plans further.
    Planning,
    /// From now on decisions are written as they are made.
    Writing,
}

/// What came of applying a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Writes that were let go.
    pub released: u64,
    /// What was not released, with why, in the order of the plan; on a store that had begun to write
    /// before, every write.
    pub told: Vec<(PlannedWrite, Fate)>,
    /// How the store goes on.
    pub goes_on: GoesOn,
    /// The plan was decided by another policy than is configured.
    pub other_policy: bool,
}

impl Application {
    /// Whether something of the plan was not done.
    pub fn is_short(&self) -> bool {
        match self.goes_on {
            GoesOn::AsBefore => self.told.iter().any(|(_, fate)| !fate.is_fine()),
            GoesOn::Planning | GoesOn::Writing => !self.told.is_empty(),
        }
    }
}

/// Who applies a plan, and how.
#[derive(Debug)]
pub struct Order<'a> {
    /// The plan.
    pub plan: &'a SavedPlan,
    /// SHA-256 of its file, in hex.
    pub digest: &'a str,
    /// Who.
    pub by: &'a Operator,
    /// Planning goes on although the plan is complete.
    pub stay: bool,
    /// Our clock.
    pub now: At,
}

/// The digest of a plan's file.
pub fn digest(file: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(file) {
        // Writing to a String cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text
}

/// Applies a plan.
///
/// # Errors
/// When the plan belongs to another store, or the store fails. What was released until then stays so.
pub async fn apply(
    checked: &Checked,
    store: &dyn Store,
    order: &Order<'_>,
) -> Result<Application, PlanError> {
    let origin = store.origin().await?;
    let theirs = order.plan.store.as_ref();
    if theirs.is_some_and(|theirs| *theirs != origin.store_id) {
        return Err(PlanError::OtherStore);
    }
    let rules = rules(checked, store).await?;
    let grant_settle = i64::try_from(checked.policy.grant_settle.as_micros()).unwrap_or(i64::MAX);
    let desk = Desk {
        rules: &rules,
        packer: Packer::new(&rules),
        digest: order.digest,
        now: order.now.micros(),
        grants_from: order.now.micros().saturating_add(grant_settle),
    };
    let mut application = Application {
        released: 0,
        told: Vec::new(),
        goes_on: GoesOn::AsBefore,
        other_policy: order.plan.policy != checked.policy.rules.version,
    };
    let plans = origin.is_planning();
    for page in order.plan.writes.chunks(PAGE) {
        for (write, fate) in page.iter().zip(desk.look(store, page).await?) {
            if fate == Fate::Released {
                application.released += 1;
            } else {
                application.told.push((write.clone(), fate));
            }
        }
    }
    if plans {
        application.goes_on = close(store, order, &desk, &application).await?;
    }
    Ok(application)
}

/// Tells the ledger, and ends planning after a complete plan.
async fn close(
    store: &dyn Store,
    order: &Order<'_>,
    desk: &Desk<'_>,
    application: &Application,
) -> Result<GoesOn, StoreError> {
    let ends = order.plan.complete && !order.stay;
    let mut body = json!({
        "act": "apply", "operator": order.by.name(), "reason": order.by.reason(),
        "made_at": order.plan.made_at, "plan": order.digest,
        "released": application.released, "dropped": application.told.len(),
    });
    if ends {
        body["planning"] = json!("ended");
    }
    let entry = LedgerDraft {
        kind: "operator",
        subject: None,
        system: None,
        at: desk.now,
        body: body.to_string(),
    };
    let decide = &mut |_: Known| Changes {
        planning: ends.then_some(PlanningChange::Ends {
            now: desk.now,
            grants_from: desk.grants_from,
        }),
        ledger: vec![entry.clone()],
        ..Changes::default()
    };
    store.transact(&Scope::default(), decide).await?;
    Ok(if ends {
        GoesOn::Writing
    } else {
        GoesOn::Planning
    })
}

/// What a page is looked at with.
struct Desk<'a> {
    rules: &'a Rules,
    packer: Packer<'a>,
    digest: &'a str,
    now: i64,
    grants_from: i64,
}

/// What is known around a page.
struct View<'a> {
    known: &'a Known,
    outbox: BTreeMap<&'a WriteKey, &'a OutboxRow>,
    contacts: BTreeMap<(i16, &'a str), &'a ContactRow>,
}

impl<'a> View<'a> {
    fn of(known: &'a Known) -> Self {
        let contacts = known.contacts.iter();
        Self {
            known,
            outbox: known.outbox.iter().map(|row| (&row.key, row)).collect(),
            contacts: contacts
                .map(|row| ((row.system, row.external.as_str()), row))
                .collect(),
        }
    }
}

impl Desk<'_> {
    /// Releases what may be released of a page, in one transaction. What became of each.
    async fn look(&self, store: &dyn Store, page: &[PlannedWrite]) -> Result<Vec<Fate>, PlanError> {
        let keys: Vec<Option<WriteKey>> = page.iter().map(|write| self.key(write)).collect();
        let contacts = keys.iter().flatten();
        let scope = Scope {
            contacts: contacts
                .map(|key| (key.system, key.external.clone()))
                .collect(),
            ..Scope::default()
        };
        let mut judged: Result<Vec<Fate>, PackError> = Ok(Vec::new());
        let decide = &mut |known: Known| {
            let view = View::of(&known);
            let fates = page.iter().zip(&keys).map(|(write, key)| match key {
                Some(key) => self.fate(&view, write, key),
                None => Ok(Fate::MovedOn(
                    "the system is not configured any more".to_owned(),
                )),
            });
            judged = fates.collect();
            let Ok(fates) = &judged else {
                return Changes::default();
            };
            let mut changes = Changes::default();
            let released = page.iter().zip(&keys).zip(fates);
            for ((write, key), _) in released.filter(|(_, fate)| **fate == Fate::Released) {
                let row = key.as_ref().and_then(|key| view.outbox.get(key));
                if let Some(row) = row {
                    changes.ledger.push(self.entry(write, row));
                    changes.outbox.push(OutboxChange::Put(self.released(row)));
                }
            }
            changes
        };
        store.transact(&scope, decide).await?;
        Ok(judged?)
    }

    fn key(&self, write: &PlannedWrite) -> Option<WriteKey> {
        let mut systems = self.rules.systems.iter();
        let system = systems.find(|system| system.name == write.system)?;
        Some(WriteKey {
            system: system.id.0,
            external: write.contact.clone(),
            lane: write.lane_number()?,
        })
    }

    /// What becomes of a write by what is known now.
    fn fate(
        &self,
        view: &View<'_>,
        write: &PlannedWrite,
        key: &WriteKey,
    ) -> Result<Fate, PackError> {
        let contact = view.contacts.get(&(key.system, key.external.as_str()));
        let Some(contact) = contact.filter(|contact| contact.life == LIVE) else {
            return Ok(Fate::Gone);
        };
        let mut subjects = view.known.subjects.iter();
        let person = subjects.find(|subject| Some(subject.id) == contact.subject);
        let hash = person.map(|person| person.subject.to_string());
        if hash.unwrap_or_default() != write.subject {
            let why = "the contact belongs to somebody else by now";
            return Ok(Fate::MovedOn(why.to_owned()));
        }
        if let Some(row) = view.outbox.get(key) {
            let now = self.packer.unpack_changes(&row.changes)?.changes;
            if !self.sets_the_same(&now, &write.changes) {
                let words = self.words(&now);
                let why = format!("the verdict has changed: it is to show {words} by now");
                return Ok(Fate::MovedOn(why));
            }
            return Ok(match row.state {
                PLANNED if view.known.planning == Some(true) => Fate::Released,
                HELD => Fate::Held,
                DEAD => Fate::GivenUp(row.last_error.clone().unwrap_or_default()),
                PENDING | CLAIMED | SENT => Fate::UnderWay,
                _ => Fate::MovedOn("not planned any more".to_owned()),
            });
        }
        if self.shows(contact, &write.changes)? {
            return Ok(Fate::Shown);
        }
        let verdicts = unpack_verdicts(person.map_or("", |person| &person.verdicts))?;
        let mut words = String::from("not planned any more");
        for set in &write.changes {
            let found = verdicts
                .iter()
                .find(|verdict| verdict.purpose == set.purpose);
            if let Some(found) = found {
                let (purpose, status) = (&set.purpose, found.status());
                let place = found.system.as_deref().unwrap_or("operator");
                // Writing to a String cannot fail.
                let _written = write!(words, "; {purpose} is {status}, said in {place}");
            }
        }
        Ok(Fate::MovedOn(words))
    }

    fn sets_the_same(&self, now: &[Change], planned: &[Value]) -> bool {
        let name = |change: &Change| self.rules.purposes.name(change.purpose).to_owned();
        let now: BTreeMap<String, String> = now
            .iter()
            .map(|change| (name(change), value(&change.to)))
            .collect();
        let planned: BTreeMap<String, String> = planned
            .iter()
            .map(|set| (set.purpose.clone(), set.to.clone()))
            .collect();
        now == planned
    }

    fn words(&self, changes: &[Change]) -> String {
        let words = changes.iter().map(|change| {
            let purpose = self.rules.purposes.name(change.purpose);
            format!("{purpose} {}", value(&change.to))
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Whether a contact shows all of these values.
    fn shows(&self, contact: &ContactRow, values: &[Value]) -> Result<bool, PackError> {
        let Some(system) = self.rules.system(SystemId(contact.system)) else {
            return Ok(false);
        };
        let record = self.packer.unpack_record(system, &contact.record)?;
        Ok(values.iter().all(|set| {
            let purpose = self.rules.purposes.find(&set.purpose);
            let shown = purpose.and_then(|purpose| record.shown(purpose));
            shown.is_some_and(|shown| value(shown) == set.to)
        }))
    }

    /// R25: a grant waits a little after it was let go too.
    fn released(&self, row: &OutboxRow) -> OutboxRow {
        let earliest = if row.key.lane == LANE_GRANT {
            self.grants_from
        } else {
            self.now
        };
        OutboxRow {
            state: PENDING,
            not_before: row.not_before.max(earliest),
            ..row.clone()
        }
    }

    fn entry(&self, write: &PlannedWrite, row: &OutboxRow) -> LedgerDraft {
        let body = json!({
            "subject": write.subject, "contact": write.contact,
            "how": format!("by plan {}", self.digest.get(..12).unwrap_or_default()),
            "write": row.changes,
        });
        LedgerDraft {
            kind: "released",
            subject: Some(row.subject),
            system: Some(row.key.system),
            at: self.now,
            body: body.to_string(),
        }
    }
}
