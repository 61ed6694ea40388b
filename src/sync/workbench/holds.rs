//! What waits for a person (R24 to R29): which decisions of a subject do, and what follows when a person
//! has decided about them, or turns back what was decided (R30).

use super::entry::Body;
use super::{FLIP_WINDOW, Workbench, load_of};
use crate::consent::guard::{self, HoldKind};
use crate::consent::resolve::{Finding, Loss, Source};
use crate::consent::review::{self, Irrevocable};
use crate::consent::{
    Contact, PurposeId, Remembered, Resolution, Rules, Statement, Status, Subject, SystemId,
};
use crate::store::{
    HeldKey, HeldRow, HoldRow, Known, LANE_GRANT, LANE_WITHDRAWAL, SubjectRef, Trip,
};
use crate::sync::pack::PackError;
use crate::sync::switches::Operator;
use std::collections::{BTreeMap, BTreeSet};

/// What the store knows of holds, and what this bench adds.
#[derive(Default)]
pub(super) struct Holds {
    /// Open ones.
    open: Vec<HoldRow>,
    held: BTreeMap<HeldKey, HeldRow>,
    /// Flips within the window by cause; none where they were not asked for.
    counts: Option<BTreeMap<Cause, i64>>,
    /// Flips on this bench.
    flips: BTreeMap<Cause, i64>,
}

/// System whose word decides, purpose name, whether withdrawn.
type Cause = (i16, String, bool);

/// What a hold is of: kind, system, purpose name, whether withdrawn, actor.
type Key<'k> = (HoldKind, i16, &'k str, bool, &'k str);

/// Purposes whose writes wait, by direction.
#[derive(Debug, Default)]
pub(super) struct Stops {
    grants: BTreeSet<PurposeId>,
    withdrawals: BTreeSet<PurposeId>,
}

/// What an operator says of decisions that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// They shall take effect.
    Approve,
    /// They shall not.
    Reject,
}

impl Word {
    /// The act as the ledger and the CLI have it.
    pub const fn act(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// What came of an operator's word about one subject and purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was done.
    Done,
    /// Nothing waits there any more.
    MovedOn,
    /// It cannot be turned back; what waited is let go.
    Irrevocable(Irrevocable),
}

/// An act of an operator on many subjects.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// What the ledger calls it.
    pub name: &'static str,
    /// Number of the hold it is about.
    pub hold: i64,
    /// Who, and why.
    pub by: &'a Operator,
}

/// How many people one actor withdrew within a minute, by system, minute and actor: many of them are a load
/// here, although withdrawals in loads count (R25).
pub type Withdrawn = BTreeMap<(SystemId, i64, String), i64>;

/// Whether a withdrawal is one of many by one actor within a minute.
fn is_one_of_many(
    withdrawn: &Withdrawn,
    threshold: u32,
    system: SystemId,
    statement: &Statement,
) -> bool {
    let Some(actor) = &statement.actor else {
        return false;
    };
    let minute = statement.stamp.latest().minute();
    let many = withdrawn.get(&(system, minute, actor.clone()));
    many.is_some_and(|many| *many >= i64::from(threshold))
}

/// Where the verdict of a purpose shall return to (R30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// The purpose.
    pub purpose: PurposeId,
    /// What it was; none where nothing was said.
    pub status: Option<Status>,
}

impl Holds {
    pub(super) fn of(known: &mut Known, asked: bool) -> Self {
        let held = std::mem::take(&mut known.held).into_iter();
        let counts = std::mem::take(&mut known.flip_counts).into_iter();
        let counts = counts.map(|(system, purpose, withdrawn, flips)| {
            let cause = (system, purpose, withdrawn);
            (cause, flips)
        });
        Self {
            open: std::mem::take(&mut known.holds),
            held: held
                .map(|row| ((row.subject, row.hold, row.purpose.clone()), row))
                .collect(),
            counts: asked.then(|| counts.collect()),
            flips: BTreeMap::new(),
        }
    }

    /// Whether nothing waits and nothing was counted.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn count(&mut self, system: i16, purpose: &str, withdrawn: bool) {
        let cause = (system, purpose.to_owned(), withdrawn);
        *self.flips.entry(cause).or_default() += 1;
    }

    fn find(&self, (kind, system, purpose, withdrawn, actor): Key<'_>) -> Option<&HoldRow> {
        self.open.iter().find(|hold| {
            hold.kind == kind.word()
                && hold.system == system
                && hold.purpose == purpose
                && hold.withdrawn == withdrawn
                && hold.actor == actor
        })
    }

    /// Whether a purpose of a subject waits under the open hold of a cause.
    fn waits(&self, subject: i64, key: Key<'_>, purpose: &str) -> bool {
        let hold = self.find(key).map(|hold| hold.id);
        hold.is_some_and(|hold| self.held.contains_key(&(subject, hold, purpose.to_owned())))
    }

    fn of_subject(&self, subject: i64) -> impl Iterator<Item = &HeldRow> {
        let from = (subject, i64::MIN, String::new());
        let all = self.held.range(from..).map(|(_, row)| row);
        all.take_while(move |row| row.subject == subject)
    }

    fn hold(&self, id: i64) -> Option<&HoldRow> {
        self.open.iter().find(|hold| hold.id == id)
    }
}

impl Stops {
    /// Whether a write of these purposes in that direction waits. A grant does if any of it waits; a
    /// withdrawal only if all of it does.
    pub(super) fn hold(
        &self,
        status: Status,
        mut purposes: impl Iterator<Item = PurposeId>,
    ) -> bool {
        match status {
            Status::Granted => purposes.any(|purpose| self.grants.contains(&purpose)),
            Status::Withdrawn => purposes.all(|purpose| self.withdrawals.contains(&purpose)),
        }
    }
}

impl Workbench<'_> {
    /// Brings what waits of a subject in line with what is decided, and tells which writes wait.
    /// `flipped`: the purposes whose verdicts have just turned.
    pub(super) fn review(
        &mut self,
        subject: i64,
        resolution: &mut Resolution,
        contacts: &[Contact],
        flipped: &[PurposeId],
    ) -> Stops {
        let mut wanted = self.grants_in_question(subject, resolution, contacts);
        let quiet = wanted.is_empty() && self.holds.is_empty();
        let flaps = |finding: &Finding| matches!(finding, Finding::Flapping { .. });
        if quiet && !resolution.findings.iter().any(flaps) {
            return Stops::default();
        }
        self.stopped_writes(subject, resolution, flipped, &mut wanted);
        let gone: Vec<HeldRow> = self
            .holds
            .of_subject(subject)
            .filter(|row| !wanted.contains(&(row.hold, row.purpose.clone())))
            .cloned()
            .collect();
        for row in gone {
            if !row.released {
                self.log_held("lapsed", subject, row.hold, &row.purpose);
            }
            self.let_go(row);
        }
        for (hold, purpose) in wanted {
            let key = (subject, hold, purpose);
            if !self.holds.held.contains_key(&key) {
                self.log_held("waits", subject, hold, &key.2);
                let row = HeldRow {
                    subject,
                    hold,
                    purpose: key.2.clone(),
                    since: self.frame.now.micros(),
                    released: false,
                };
                self.changes.holds.held.push(row.clone());
                self.holds.held.insert(key, row);
            }
        }
        self.stops(subject, resolution)
    }

    /// R24, R25: the grants that may not decide by themselves and would turn the verdict.
    fn grants_in_question(
        &mut self,
        subject: i64,
        resolution: &Resolution,
        contacts: &[Contact],
    ) -> BTreeSet<(i64, String)> {
        let mut wanted = BTreeSet::new();
        let rules = self.frame.rules;
        for finding in &resolution.findings {
            match finding {
                Finding::WeakGrant { purpose, source } => {
                    let name = rules.purposes.name(*purpose);
                    let system = source.system.map_or(0, |system| system.0);
                    let hold = self.hold_for((HoldKind::WeakGrant, system, name, false, ""));
                    wanted.insert((hold, name.to_owned()));
                }
                Finding::Load { purpose, source } => {
                    let verdict = resolution.verdict(*purpose);
                    let name = rules.purposes.name(*purpose);
                    if verdict.is_some_and(|verdict| verdict.status() == Status::Granted) {
                        continue;
                    }
                    let grant = verdict
                        .and_then(|verdict| {
                            let mut lost = verdict.lost.iter();
                            let lost = lost.find(|lost| {
                                lost.why == Loss::Load
                                    && lost.source == *source
                                    && lost.statement.stamp.latest() > verdict.statement.rank()
                            });
                            lost.map(|lost| &lost.statement)
                        })
                        .or_else(|| {
                            let silent = verdict.is_none();
                            silent.then(|| last_grant(contacts, source, *purpose))?
                        });
                    if let Some(grant) = grant {
                        let system = source.system.map_or(0, |system| system.0);
                        let actor = grant.actor.as_deref().unwrap_or_default();
                        let key = (HoldKind::Load, system, "", false, actor);
                        // R25: what a first load of everything finds of loads where nobody ever withdrew
                        // anything overwrote nothing. What waits already goes on waiting.
                        let is_news = verdict.is_some() || !self.frame.old_news;
                        if is_news || self.holds.waits(subject, key, name) {
                            wanted.insert((self.hold_for(key), name.to_owned()));
                        }
                    }
                }
                Finding::Conflict { .. }
                | Finding::Inconsistent { .. }
                | Finding::FutureStamped { .. }
                | Finding::Suppressed { .. }
                | Finding::Flapping { .. } => {}
            }
        }
        wanted
    }

    /// R26, R28: the decisions that stand and whose writes wait.
    fn stopped_writes(
        &mut self,
        subject: i64,
        resolution: &mut Resolution,
        flipped: &[PurposeId],
        wanted: &mut BTreeSet<(i64, String)>,
    ) {
        let rules = self.frame.rules;
        for place in 0..resolution.verdicts.len() {
            let verdict = &resolution.verdicts[place];
            let (purpose, status) = (verdict.purpose, verdict.status());
            let name = rules.purposes.name(purpose);
            if let Some(system) = verdict.source.system.filter(|_| verdict.said_of == purpose) {
                let withdrawn = status == Status::Withdrawn;
                let key = (HoldKind::MassChange, system.0, name, withdrawn, "");
                let waits = flipped.contains(&purpose) || self.holds.waits(subject, key, name);
                if let Some(hold) = self.holds.find(key).filter(|_| waits) {
                    wanted.insert((hold.id, name.to_owned()));
                }
            }
            if status == Status::Granted {
                let key = (HoldKind::Flapping, 0, name, false, "");
                let finding = Finding::Flapping { purpose };
                let flaps = resolution.findings.contains(&finding);
                let known = self.holds.find(key).map(|hold| hold.id).and_then(|hold| {
                    let held = (subject, hold, name.to_owned());
                    self.holds.held.get(&held)
                });
                let released = known.is_some_and(|row| row.released);
                // It waits until a person has looked, also when it is quiet again meanwhile.
                if flaps || known.is_some() {
                    let hold = self.hold_for(key);
                    wanted.insert((hold, name.to_owned()));
                    if !flaps && !released {
                        resolution.findings.push(finding);
                        resolution.findings.sort();
                    }
                }
            }
        }
    }

    /// The writes of a subject that wait.
    fn stops(&self, subject: i64, resolution: &Resolution) -> Stops {
        let rules = self.frame.rules;
        let mut stops = Stops::default();
        for row in self.holds.of_subject(subject).filter(|row| !row.released) {
            let hold = self.holds.hold(row.hold);
            let kind = hold.and_then(|hold| HoldKind::from_word(&hold.kind));
            let (Some(hold), Some(purpose)) = (hold, rules.purposes.find(&row.purpose)) else {
                continue;
            };
            if !kind.is_some_and(HoldKind::holds_writes) {
                continue;
            }
            if !hold.withdrawn {
                stops.grants.insert(purpose);
                continue;
            }
            // R20: what was withdrawn with it waits with it.
            let verdicts = resolution.verdicts.iter();
            let with_it = verdicts.filter(|verdict| verdict.said_of == purpose);
            stops
                .withdrawals
                .extend(with_it.map(|verdict| verdict.purpose));
        }
        stops
    }

    /// The open hold of a cause, opened where there is none.
    fn hold_for(&mut self, key: Key<'_>) -> i64 {
        if let Some(hold) = self.holds.find(key) {
            return hold.id;
        }
        let (kind, system, purpose, withdrawn, actor) = key;
        let hold = HoldRow {
            id: self.next_sequence + self.changes.ledger.len() as i64,
            kind: kind.word().to_owned(),
            system,
            purpose: purpose.to_owned(),
            withdrawn,
            actor: actor.to_owned(),
            opened_at: self.frame.now.micros(),
            closed_at: None,
        };
        let body = Body::about(0)
            .maybe_number("hold", Some(hold.id))
            .text("kind", kind.word())
            .text("rule", kind.rule())
            .text("purpose", purpose)
            .text("direction", direction(withdrawn))
            .maybe_text("actor", Some(actor).filter(|actor| !actor.is_empty()))
            .end();
        self.log("hold", None, (system != 0).then_some(system), body);
        let id = hold.id;
        self.changes.holds.opened.push(hold.clone());
        self.holds.open.push(hold);
        id
    }

    fn let_go(&mut self, row: HeldRow) {
        let key = (row.subject, row.hold, row.purpose);
        self.holds.held.remove(&key);
        let put = &mut self.changes.holds.held;
        put.retain(|put| (put.subject, put.hold, &put.purpose) != (key.0, key.1, &key.2));
        self.changes.holds.gone.push(key);
    }

    fn log_held(&mut self, kind: &'static str, subject: i64, hold: i64, purpose: &str) {
        let row = self.holds.hold(hold);
        let system = row.map(|row| row.system).filter(|system| *system != 0);
        let body = Body::about(0)
            .maybe_text("subject", self.name_of(subject).as_deref())
            .maybe_number("hold", Some(hold))
            .text("kind", row.map_or("", |row| &row.kind))
            .text("purpose", purpose)
            .end();
        self.log(kind, Some(subject), system, body);
    }

    fn name_of(&self, subject: i64) -> Option<String> {
        let place = self.places.get(subject)?;
        Some(place.row.subject.to_string())
    }

    /// R26: opens a hold of everybody for each cause that is now a mass change.
    pub(super) fn guard_against_mass_change(&mut self) {
        self.changes.holds.at = self.frame.now.micros();
        let Some(counts) = self.holds.counts.take() else {
            return;
        };
        let subjects = u64::try_from(self.next_subject - 1).unwrap_or(0);
        for (cause, new) in std::mem::take(&mut self.holds.flips) {
            let (system, name, withdrawn) = &cause;
            let status = if *withdrawn {
                Status::Withdrawn
            } else {
                Status::Granted
            };
            let Some(purpose) = self.frame.rules.purposes.find(name) else {
                continue;
            };
            let flips = new + counts.get(&cause).copied().unwrap_or(0);
            let thresholds = self.frame.rules.thresholds(SystemId(*system), purpose);
            let key = (HoldKind::MassChange, *system, name.as_str(), *withdrawn, "");
            let is_too_many =
                guard::is_mass_change(flips.unsigned_abs(), subjects, thresholds.of(status));
            if is_too_many && self.holds.find(key).is_none() {
                let hold = self.hold_for(key);
                self.changes.holds.trips.push(Trip {
                    hold,
                    lane: if *withdrawn {
                        LANE_WITHDRAWAL
                    } else {
                        LANE_GRANT
                    },
                    since: self.frame.now.minus(FLIP_WINDOW).micros(),
                });
            }
        }
    }

    /// Has these subjects decided anew, once everything that they depend on is on the bench. While that is
    /// not so the transaction is begun again, and there is nothing to do yet.
    pub fn is_ready(&mut self, subjects: &[SubjectRef]) -> bool {
        for subject in subjects {
            self.decide_anew(*subject);
        }
        self.missing_loads().is_empty()
    }

    /// What an operator says of what waits of a subject for one purpose (R29).
    ///
    /// # Errors
    /// When a stored row cannot be read back.
    pub fn judge(
        &mut self,
        subject: SubjectRef,
        purpose: &str,
        word: Word,
        act: Act<'_>,
        withdrawn_by: &Withdrawn,
    ) -> Result<Came, PackError> {
        let found = self.places.find(&subject);
        let held = found.and_then(|id| self.holds.held.get(&(id, act.hold, purpose.to_owned())));
        let rules = self.frame.rules;
        let (Some(row), Some(hold), Some(purpose)) = (
            held.filter(|row| !row.released).cloned(),
            self.holds.hold(act.hold).cloned(),
            rules.purposes.find(purpose),
        ) else {
            return Ok(Came::MovedOn);
        };
        let Some(kind) = HoldKind::from_word(&hold.kind) else {
            return Ok(Came::MovedOn);
        };
        let system = SystemId(hold.system);
        let threshold = rules.policy.load_contacts;
        let withdrawn = hold.withdrawn;
        let (facts, came) = self.consider(row.subject, |view| match (word, kind) {
            (Word::Approve, HoldKind::WeakGrant | HoldKind::Load) => {
                let fact = review::confirm(view, rules, purpose, system, act.by.name());
                (fact.into_iter().collect(), Came::Done)
            }
            (Word::Reject, HoldKind::WeakGrant | HoldKind::Load) => {
                let facts = review::dismiss(view, rules, purpose, system);
                (facts, Came::Done)
            }
            (Word::Approve, HoldKind::MassChange | HoldKind::Flapping) => (Vec::new(), Came::Done),
            (Word::Reject, HoldKind::MassChange | HoldKind::Flapping) => {
                let status = if withdrawn {
                    Status::Withdrawn
                } else {
                    Status::Granted
                };
                let is_load = |system: SystemId, statement: &Statement| {
                    is_one_of_many(withdrawn_by, threshold, system, statement)
                };
                let is_own = |source: &Source, statement: &Statement| {
                    review::is_own_withdrawal(rules, source, statement, &is_load)
                };
                match review::overrule(view, rules, purpose, status, &is_own) {
                    Ok(facts) => (facts, Came::Done),
                    Err(why) => (Vec::new(), Came::Irrevocable(why)),
                }
            }
        })?;
        if kind == HoldKind::Flapping {
            let name = rules.purposes.name(purpose).to_owned();
            self.flips.remove(&(row.subject, name.clone()));
            self.changes.holds.judged_flips.push((row.subject, name));
        }
        let lets_writes_go = facts.is_empty() && kind.holds_writes();
        let name = row.purpose.clone();
        self.tell(row.subject, act, &name, Some((row.since, kind)), &facts);
        self.remember(row.subject, facts)?;
        if lets_writes_go {
            let released = HeldRow {
                released: true,
                ..row
            };
            let key = (released.subject, released.hold, released.purpose.clone());
            self.changes.holds.held.push(released.clone());
            self.holds.held.insert(key, released);
        } else {
            self.let_go(row);
        }
        Ok(came)
    }

    /// R30: turns verdicts of a subject back to what they were, the purposes above first. What came of
    /// each.
    ///
    /// # Errors
    /// When a stored row cannot be read back.
    pub fn turn_back(
        &mut self,
        subject: SubjectRef,
        returns: &[Return],
        act: Act<'_>,
        withdrawn_by: &Withdrawn,
    ) -> Result<Vec<Came>, PackError> {
        let Some(id) = self.places.find(&subject) else {
            return Ok(returns.iter().map(|_| Came::MovedOn).collect());
        };
        let rules = self.frame.rules;
        let threshold = rules.policy.load_contacts;
        let mut came = Vec::new();
        for back in returns {
            let (facts, outcome) = self.consider(id, |view| {
                let is_load = |system: SystemId, statement: &Statement| {
                    is_one_of_many(withdrawn_by, threshold, system, statement)
                };
                let is_own = |source: &Source, statement: &Statement| {
                    review::is_own_withdrawal(rules, source, statement, &is_load)
                };
                turned_back(view, rules, *back, act.by, &is_own)
            })?;
            if !facts.is_empty() {
                let name = rules.purposes.name(back.purpose);
                self.tell(id, act, name, None, &facts);
                self.remember(id, facts)?;
            }
            came.push(outcome);
        }
        Ok(came)
    }

    /// Lets a pure function look at a subject as it is now.
    fn consider<T>(
        &mut self,
        subject: i64,
        look: impl FnOnce(&Subject<'_>) -> T,
    ) -> Result<T, PackError> {
        let remembered = self.remembered(subject)?;
        let residents = self.places.get(subject).map(|place| &place.residents);
        let items = residents.into_iter().flatten();
        let mut contacts: Vec<Contact> = items
            .filter_map(|index| self.items.get(*index))
            .map(|item| item.contact.clone())
            .collect();
        contacts.sort_by(|a, b| (a.system, &a.id).cmp(&(b.system, &b.id)));
        let is_load = |system: SystemId, statement: &Statement| self.is_load(system, statement);
        Ok(look(&Subject {
            contacts: &contacts,
            remembered: &remembered,
            is_load: &is_load,
        }))
    }

    /// R25: whether a grant belongs to a recognised load.
    pub(super) fn is_load(&self, system: SystemId, statement: &Statement) -> bool {
        load_of(statement).is_some_and(|(actor, minute)| {
            let count = |minute: i64| {
                let count = self.loads.get(system.0, minute, actor);
                count.copied().unwrap_or(0)
            };
            let (before, after) = (count(minute - 1), count(minute + 1));
            let threshold = self.frame.rules.policy.load_contacts;
            guard::is_load(before, count(minute), after, threshold)
        })
    }

    /// Tells the ledger of an operator's word about one subject, with what it adds; and since when and
    /// why it had waited, if it had.
    fn tell(
        &mut self,
        subject: i64,
        act: Act<'_>,
        purpose: &str,
        waited: Option<(i64, HoldKind)>,
        facts: &[Remembered],
    ) {
        let said = self.packer.facts(facts);
        let body = Body::about(said.len())
            .maybe_text("subject", self.name_of(subject).as_deref())
            .text("act", act.name)
            .maybe_number("hold", (act.hold != 0).then_some(act.hold))
            .maybe_text("kind", waited.map(|(_, kind)| kind.word()))
            .maybe_number("since", waited.map(|(since, _)| since))
            .text("purpose", purpose)
            .text("operator", act.by.name())
            .text("reason", act.by.reason());
        if facts.is_empty() {
            self.log("operator", Some(subject), None, body.end());
        } else {
            let body = body.packed("said", &said).end();
            self.log("stated", Some(subject), None, body);
        }
    }
}

/// The last grant that the store knows of a contact.
fn last_grant<'a>(
    contacts: &'a [Contact],
    source: &Source,
    purpose: PurposeId,
) -> Option<&'a Statement> {
    let mut contacts = contacts.iter();
    let contact = contacts
        .find(|contact| Some(contact.system) == source.system && contact.id == source.contact)?;
    let said = contact.record.get(purpose)?.said();
    said.filter(|statement| statement.status == Status::Granted)
        .max_by_key(|statement| statement.rank())
}

/// R30: what has to be added so that a verdict is again what it was.
fn turned_back(
    view: &Subject<'_>,
    rules: &Rules,
    back: Return,
    by: &Operator,
    is_own: &dyn Fn(&Source, &Statement) -> bool,
) -> (Vec<Remembered>, Came) {
    let resolution = crate::consent::resolve(view, rules);
    let verdict = resolution.verdict(back.purpose);
    let now = verdict.map(crate::consent::Verdict::status);
    let Some(status) = now.filter(|now| Some(*now) != back.status) else {
        return (Vec::new(), Came::MovedOn);
    };
    // Somebody of whom nothing was said needs no mail, and stays withdrawn.
    if status == Status::Withdrawn && back.status.is_none() {
        return (Vec::new(), Came::MovedOn);
    }
    match review::overrule(view, rules, back.purpose, status, is_own) {
        Err(why) => (Vec::new(), Came::Irrevocable(why)),
        Ok(mut facts) => {
            // What was ticked elsewhere on the strength of the grant has to be reset.
            if back.status.is_none()
                && let Some(verdict) = verdict
            {
                facts.push(review::retract(verdict, by.name()));
            }
            (facts, Came::Done)
        }
    }
}

/// The word for what waits.
pub const fn direction(withdrawn: bool) -> &'static str {
    if withdrawn { "withdrawal" } else { "grant" }
}
