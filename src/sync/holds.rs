//! What people decide about what waits for them (R29): approved or rejected one by one, by purpose or
//! all at once, each in the ledger with who did it and why.
//!
//! A page of persons is one transaction. An act that ends in the middle has decided some of them and
//! leaves the others waiting; doing it again goes on. A withdrawal that arrives meanwhile has overtaken
//! a grant before anybody decides about it, and is never touched.

pub mod shown;

use super::assemble::{links, rules};
use super::engine::Shared;
use super::pack::{Packer, unpack_verdicts};
use super::suppression::Suppressor;
use super::workbench::{Act, Came, Frame, Link, Withdrawn, Word, Workbench, direction, transact};
use crate::config::Checked;
use crate::consent::guard::HoldKind;
use crate::consent::{At, PurposeId, Rules};
use crate::store::{HeldView, HoldView, Scope, Store, StoreError, SubjectRef};
use crate::sync::switches::{self, Operator};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Persons decided about in one transaction.
const PERSONS_AT_ONCE: usize = 500;
/// More holds than this are never listed.
pub const MOST_HOLDS: usize = 10_000;

/// What an operator's act on decisions needs of the configuration.
pub struct Desk {
    /// The configured rules.
    pub rules: Rules,
    links: Vec<Link>,
    grant_settle: Duration,
    gate: Option<PurposeId>,
    /// The keys of suppressions (R55).
    pub suppressor: Arc<Suppressor>,
}

impl Desk {
    /// As configured, for this store.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn of(checked: &Checked, store: &dyn Store) -> Result<Self, StoreError> {
        let rules = rules(checked, store).await?;
        Ok(Self {
            links: links(checked, &rules),
            rules,
            grant_settle: checked.policy.grant_settle,
            gate: checked.gate().map(|gate| gate.purpose),
            suppressor: Arc::new(Suppressor::of(checked)),
        })
    }

    /// As the engine at work has it.
    pub fn at_work(shared: &Shared) -> Self {
        Self {
            rules: Rules::clone(&shared.rules),
            links: shared.links.clone(),
            grant_settle: Duration::from_micros(shared.grant_settle.max(0).unsigned_abs()),
            gate: shared.gate,
            suppressor: Arc::clone(&shared.suppressor),
        }
    }

    /// The frame of an operator's act now: what it turns is no news to the guards (R26).
    pub fn frame(&self, now: At) -> Frame<'_> {
        Frame {
            rules: &self.rules,
            links: &self.links,
            grant_settle: i64::try_from(self.grant_settle.as_micros()).unwrap_or(i64::MAX),
            now,
            old_news: true,
            gate: self.gate,
            suppressor: &self.suppressor,
        }
    }
}

/// Which holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// By number; all where there are none.
    pub ids: BTreeSet<i64>,
    /// Of this kind.
    pub kind: Option<HoldKind>,
    /// Of what this system says.
    pub system: Option<i16>,
    /// Of this purpose only: a hold of all purposes is taken for this one.
    pub purpose: Option<String>,
    /// Of these persons only.
    pub persons: Option<BTreeSet<SubjectRef>>,
}

impl Filter {
    fn takes(&self, view: &HoldView) -> bool {
        let hold = &view.hold;
        let purpose = self.purpose.as_ref();
        (self.ids.is_empty() || self.ids.contains(&hold.id))
            && self.kind.is_none_or(|kind| kind.word() == hold.kind)
            && self.system.is_none_or(|system| system == hold.system)
            && purpose.is_none_or(|name| hold.purpose.is_empty() || *name == hold.purpose)
    }

    fn takes_person(&self, view: &HeldView) -> bool {
        let persons = self.persons.as_ref();
        let purpose = self.purpose.as_ref();
        persons.is_none_or(|persons| persons.contains(&view.subject))
            && purpose.is_none_or(|name| *name == view.row.purpose)
    }
}

/// What came of an act on one hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Decisions that were approved or rejected.
    pub done: u64,
    /// Nothing waited there any more.
    pub moved_on: u64,
    /// What the person said cannot be taken back, so it is let go.
    pub irrevocable: u64,
}

/// The open holds that a filter takes, the newest first.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &dyn Store, filter: &Filter) -> Result<Vec<HoldView>, StoreError> {
    let mut holds = store.holds(false, MOST_HOLDS).await?;
    holds.retain(|view| filter.takes(view));
    Ok(holds)
}

/// Approves or rejects what waits under the open holds that a filter takes. What came of each hold.
///
/// # Errors
/// When the store fails. What was decided until then stays decided.
pub async fn decide(
    store: &dyn Store,
    desk: &Desk,
    filter: &Filter,
    word: Word,
    by: &Operator,
    clock: &(dyn Fn() -> At + Sync),
) -> Result<Vec<(HoldView, Tally)>, StoreError> {
    let mut told = Vec::new();
    for view in list(store, filter).await? {
        let tally = decide_one(store, desk, filter, &view, word, by, clock).await?;
        told.push((view, tally));
    }
    Ok(told)
}

async fn decide_one(
    store: &dyn Store,
    desk: &Desk,
    filter: &Filter,
    view: &HoldView,
    word: Word,
    by: &Operator,
    clock: &(dyn Fn() -> At + Sync),
) -> Result<Tally, StoreError> {
    let packer = Packer::new(&desk.rules);
    let act = Act {
        name: word.act(),
        hold: view.hold.id,
        by,
    };
    let withdrawn = match word {
        Word::Reject if view.hold.withdrawn => withdrawn_by(store, desk, view).await?,
        Word::Reject | Word::Approve => Withdrawn::new(),
    };
    let mut tally = Tally::default();
    let mut after = 0;
    loop {
        let page = store.held(view.hold.id, after, PERSONS_AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        after = last.row.subject;
        let page: Vec<&HeldView> = page.iter().filter(|row| filter.takes_person(row)).collect();
        if page.is_empty() {
            continue;
        }
        let subjects: BTreeSet<SubjectRef> = page.iter().map(|row| row.subject).collect();
        let subjects: Vec<SubjectRef> = subjects.into_iter().collect();
        let mut page_tally = Tally::default();
        let on_bench = |bench: &mut Workbench<'_>| {
            page_tally = Tally::default();
            if !bench.is_ready(&subjects) {
                return Ok(());
            }
            for row in &page {
                match bench.judge(row.subject, &row.row.purpose, word, act, &withdrawn)? {
                    Came::Done => page_tally.done += 1,
                    Came::MovedOn => page_tally.moved_on += 1,
                    Came::Irrevocable(_) => page_tally.irrevocable += 1,
                }
            }
            Ok(())
        };
        let scope = Scope {
            subjects: subjects.clone(),
            ..Scope::default()
        };
        transact(store, scope, desk.frame(clock()), &packer, on_bench, |_| {}).await?;
        tally.done += page_tally.done;
        tally.moved_on += page_tally.moved_on;
        tally.irrevocable += page_tally.irrevocable;
    }
    if tally != Tally::default() {
        tell(store, view, word, by, tally, clock()).await?;
    }
    Ok(tally)
}

/// Who withdrew how many of those who wait under a hold, so that a load is told from people's own words.
async fn withdrawn_by(
    store: &dyn Store,
    desk: &Desk,
    view: &HoldView,
) -> Result<Withdrawn, StoreError> {
    let mut withdrawn = Withdrawn::new();
    let mut after = 0;
    loop {
        let page = store.held(view.hold.id, after, PERSONS_AT_ONCE).await?;
        let Some(last) = page.last() else {
            return Ok(withdrawn);
        };
        after = last.row.subject;
        let subjects: BTreeSet<SubjectRef> = page.iter().map(|row| row.subject).collect();
        let scope = Scope {
            subjects: subjects.into_iter().collect(),
            ..Scope::default()
        };
        let known = store.known(&scope).await?;
        for row in &page {
            let mut people = known.subjects.iter();
            let packed = people.find(|person| person.id == row.row.subject);
            let verdicts = unpack_verdicts(packed.map_or("", |person| &person.verdicts));
            let verdicts = verdicts.map_err(|error| StoreError::Corrupt {
                what: "verdicts",
                detail: error.to_string(),
            })?;
            let mut verdicts = verdicts.iter();
            let verdict = verdicts.find(|verdict| verdict.purpose == row.row.purpose);
            if let Some(key) = verdict.and_then(|verdict| verdict.made_by(&desk.rules)) {
                *withdrawn.entry(key).or_default() += 1;
            }
        }
    }
}

/// Tells the ledger of the act as a whole, after the persons it was about.
async fn tell(
    store: &dyn Store,
    view: &HoldView,
    word: Word,
    by: &Operator,
    tally: Tally,
    now: At,
) -> Result<(), StoreError> {
    let hold = &view.hold;
    let system = (hold.system != 0).then_some(hold.system);
    let more = [
        ("hold", hold.id.into()),
        ("kind", hold.kind.as_str().into()),
        ("purpose", hold.purpose.as_str().into()),
        ("direction", direction(hold.withdrawn).into()),
        ("done", tally.done.into()),
        ("moved_on", tally.moved_on.into()),
        ("irrevocable", tally.irrevocable.into()),
    ];
    let more = more.map(|(name, value): (_, Value)| (name.to_owned(), value));
    switches::tell(
        store,
        word.act(),
        by,
        system,
        more.into_iter().collect(),
        now,
    )
    .await
}
