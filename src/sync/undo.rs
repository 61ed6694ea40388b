//! Decisions that are turned back (R30): from what the ledger tells of them follow the verdicts of
//! before, and from these the writes that restore them. Shown first, then done.
//!
//! Nothing is taken out of the store. What decided is overruled by an operator's word, which is a fact
//! like any other (R18), so that the statement which decided before decides again, with its own stamp.
//! What a person withdrew is never taken back, by whatever way it is asked for.

use super::holds::Desk;
use super::ledger::BATCH;
use super::pack::{Packer, unpack_verdicts};
use super::switches::{self, Operator};
use super::workbench::{Act, Came, FLIP_WINDOW, Return, Withdrawn, Workbench, transact};
use crate::consent::guard::HoldKind;
use crate::consent::{At, PurposeId, Shown, Status, SystemId};
use crate::store::{
    Changes, HoldRow, LANE_WITHDRAWAL, LedgerRow, OutboxChange, Scope, Store, StoreError,
    SubjectRef, ledger,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Subjects turned back in one transaction.
const SUBJECTS_AT_ONCE: usize = 500;
/// More subjects than this are not turned back at one stroke.
pub const MOST_SUBJECTS: usize = 500_000;

/// What is to be turned back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Every verdict that turned since then, by our clock.
    Since(At),
    /// What was approved, or let go, under this hold.
    Hold(i64),
}

/// Of that, what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub what: What,
    /// Only where the word of this system decided.
    pub system: Option<String>,
    /// Only of this purpose.
    pub purpose: Option<String>,
}

/// Why nothing can be turned back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such hold.
    #[error("there is no hold {0}; `consentd holds list --closed` shows them all")]
    NoHold(i64),
    /// The ledger cannot be read.
    #[error("ledger entry {0} cannot be read; `consentd ledger verify` tells more")]
    Unreadable(i64),
    /// It is too much.
    #[error(
        "it is about more than {MOST_SUBJECTS} people; name a system, a purpose or a later time"
    )]
    TooMany,
}

/// A write that restores something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoring {
    /// About whom.
    pub subject: SubjectRef,
    /// Number of the system.
    pub system: i16,
    /// External id.
    pub contact: String,
    /// It goes in the lane of withdrawals.
    pub withdrawal: bool,
    /// Purpose name.
    pub purpose: String,
    /// What the contact shows.
    pub from: Option<Shown>,
    /// What it is to show.
    pub to: Shown,
}

/// A verdict that is not turned back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// About whom.
    pub subject: SubjectRef,
    /// Purpose name.
    pub purpose: String,
    /// Why, in words.
    pub why: &'static str,
}

/// What turning back comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Undone {
    /// Verdicts that are turned back.
    pub verdicts: u64,
    /// Verdicts that are as before already, or have been decided otherwise since.
    pub moved_on: u64,
    /// Verdicts that stay as they are.
    pub kept: Vec<Kept>,
    /// The writes that follow.
    pub writes: Vec<Restoring>,
}

/// What the ledger tells of what is to be turned back.
#[derive(Default)]
struct Found {
    /// The verdicts of before, by subject.
    returns: BTreeMap<SubjectRef, BTreeMap<PurposeId, Option<Status>>>,
    /// Approved under a hold just now: the verdict that turns next tells what was before.
    approved: BTreeSet<(SubjectRef, PurposeId)>,
    /// How many people one actor withdrew within a minute, by system.
    withdrawn: BTreeMap<(SystemId, i64, String), BTreeSet<SubjectRef>>,
}

/// Works out what turning back comes to, and does it if it is to be done `really`.
///
/// # Errors
/// See [`UndoError`]. What was turned back until the store failed stays so, and doing it again goes on.
pub async fn undo(
    store: &dyn Store,
    desk: &Desk,
    wanted: &Wanted,
    by: &Operator,
    really: bool,
    clock: &(dyn Fn() -> At + Sync),
) -> Result<Undone, UndoError> {
    let hold = match wanted.what {
        What::Since(_) => None,
        What::Hold(id) => {
            let holds = store.holds(true, super::holds::MOST_HOLDS).await?;
            let found = holds.into_iter().find(|view| view.hold.id == id);
            Some(found.ok_or(UndoError::NoHold(id))?.hold)
        }
    };
    let found = find(store, desk, wanted, hold.as_ref()).await?;
    let loads = found.withdrawn.into_iter();
    let loads = loads.map(|(key, people)| (key, people.len() as i64));
    let loads: Withdrawn = loads.collect();
    let packer = Packer::new(&desk.rules);
    let act = Act {
        name: "undo",
        hold: hold.as_ref().map_or(0, |hold| hold.id),
        by,
    };
    let mut undone = Undone::default();
    let returns: Vec<(SubjectRef, Vec<Return>)> = found
        .returns
        .into_iter()
        .map(|(subject, back)| {
            let back = back.into_iter();
            let back = back.map(|(purpose, status)| Return { purpose, status });
            (subject, back.collect())
        })
        .collect();
    for chunk in returns.chunks(SUBJECTS_AT_ONCE) {
        let subjects: Vec<SubjectRef> = chunk.iter().map(|(subject, _)| *subject).collect();
        let mut came: Vec<Vec<Came>> = Vec::new();
        let on_bench = |bench: &mut Workbench<'_>| {
            came.clear();
            if !bench.is_ready(&subjects) {
                return Ok(());
            }
            for (subject, back) in chunk {
                came.push(bench.turn_back(*subject, back, act, &loads)?);
            }
            Ok(())
        };
        let mut planned = Vec::new();
        let mut names = BTreeMap::new();
        let complete = |changes: &mut Changes| {
            planned.clone_from(&changes.outbox);
            names = changes
                .subjects
                .iter()
                .map(|row| (row.id, row.subject))
                .collect();
            if !really {
                *changes = Changes::default();
            }
        };
        let scope = Scope {
            subjects: subjects.clone(),
            ..Scope::default()
        };
        transact(
            store,
            scope,
            desk.frame(clock()),
            &packer,
            on_bench,
            complete,
        )
        .await?;
        undone.take(desk, chunk, &came);
        undone
            .writes
            .extend(restoring(desk, &packer, &planned, &names)?);
    }
    if really && undone.verdicts > 0 {
        tell(store, wanted, by, &undone, clock()).await?;
    }
    Ok(undone)
}

impl Undone {
    fn take(&mut self, desk: &Desk, chunk: &[(SubjectRef, Vec<Return>)], came: &[Vec<Came>]) {
        for ((subject, back), came) in chunk.iter().zip(came) {
            for (back, came) in back.iter().zip(came) {
                match came {
                    Came::Done => self.verdicts += 1,
                    Came::MovedOn => self.moved_on += 1,
                    Came::Irrevocable(why) => self.kept.push(Kept {
                        subject: *subject,
                        purpose: desk.rules.purposes.name(back.purpose).to_owned(),
                        why: why.words(),
                    }),
                }
            }
        }
    }
}

/// The writes that follow from the outbox changes of a page.
fn restoring(
    desk: &Desk,
    packer: &Packer<'_>,
    planned: &[OutboxChange],
    names: &BTreeMap<i64, SubjectRef>,
) -> Result<Vec<Restoring>, StoreError> {
    let mut writes = Vec::new();
    for change in planned {
        let OutboxChange::Put(row) = change else {
            continue;
        };
        let Some(subject) = names.get(&row.subject) else {
            continue;
        };
        let write = packer.unpack_changes(&row.changes);
        let write = write.map_err(|error| StoreError::Corrupt {
            what: "outbox row",
            detail: error.to_string(),
        })?;
        writes.extend(write.changes.into_iter().map(|change| Restoring {
            subject: *subject,
            system: row.key.system,
            contact: row.key.external.clone(),
            withdrawal: row.key.lane == LANE_WITHDRAWAL,
            purpose: desk.rules.purposes.name(change.purpose).to_owned(),
            from: change.from,
            to: change.to,
        }));
    }
    Ok(writes)
}

/// The body of an entry, as far as turning back depends on it.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    before: Option<&'a RawValue>,
    #[serde(default, borrow)]
    after: Option<&'a RawValue>,
    #[serde(default)]
    hold: Option<i64>,
    #[serde(default, borrow)]
    act: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    purpose: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    said: Option<&'a RawValue>,
}

/// Walks through the ledger for what is to be turned back.
async fn find(
    store: &dyn Store,
    desk: &Desk,
    wanted: &Wanted,
    hold: Option<&HoldRow>,
) -> Result<Found, UndoError> {
    let since = match wanted.what {
        What::Since(since) => since.micros(),
        // Those who turned before it was opened are in it too.
        What::Hold(_) => hold.map_or(0, |hold| hold.opened_at - FLIP_WINDOW),
    };
    let mut found = Found::default();
    let mut after = 0;
    loop {
        let page = store.ledger_blocks(after, BATCH).await?;
        let Some(last) = page.last() else { break };
        after = last.block.last;
        for stored in page.iter().filter(|stored| stored.block.at >= since) {
            for entry in ledger::unpack(stored.block.first, &stored.entries) {
                let seq = stored.block.first;
                let (_, row) = entry.map_err(|_| UndoError::Unreadable(seq))?;
                if row.at >= since {
                    found.hear(desk, wanted, hold, &row)?;
                }
            }
        }
        if found.returns.len() > MOST_SUBJECTS {
            return Err(UndoError::TooMany);
        }
    }
    found.returns.retain(|_, back| !back.is_empty());
    Ok(found)
}

impl Found {
    fn hear(
        &mut self,
        desk: &Desk,
        wanted: &Wanted,
        hold: Option<&HoldRow>,
        row: &LedgerRow,
    ) -> Result<(), UndoError> {
        if !matches!(row.kind.as_str(), "verdict" | "stated" | "operator") {
            return Ok(());
        }
        let unreadable = || UndoError::Unreadable(row.seq);
        let body: Body<'_> = serde_json::from_str(&row.body).map_err(|_| unreadable())?;
        let subject = body.subject.as_deref().and_then(SubjectRef::from_hex);
        match (row.kind.as_str(), subject) {
            ("verdict", Some(subject)) => {
                self.hear_verdict(desk, wanted, hold.is_none(), subject, &body)
                    .ok_or_else(unreadable)?;
            }
            (_, Some(subject)) => self.hear_act(desk, wanted, hold, subject, &body),
            (_, None) => {}
        }
        Ok(())
    }

    /// A verdict turned.
    fn hear_verdict(
        &mut self,
        desk: &Desk,
        wanted: &Wanted,
        is_wanted: bool,
        subject: SubjectRef,
        body: &Body<'_>,
    ) -> Option<()> {
        let rules = &desk.rules;
        let packed = |raw: Option<&RawValue>| match raw.map(RawValue::get) {
            None | Some("null") => String::new(),
            Some(text) => text.to_owned(),
        };
        let (before, after) = (packed(body.before), packed(body.after));
        let before = unpack_verdicts(&before).ok()?;
        let after = unpack_verdicts(&after).ok()?;
        let status = |purpose: &str| {
            let mut before = before.iter();
            let verdict = before.find(|verdict| verdict.purpose == purpose);
            verdict.map(crate::sync::pack::PackedVerdict::status)
        };
        for verdict in &after {
            let Some(purpose) = rules.purposes.find(&verdict.purpose) else {
                continue;
            };
            let (was, is) = (status(&verdict.purpose), verdict.status());
            if was == Some(is) {
                continue;
            }
            let system = verdict.system.as_deref();
            if is == Status::Withdrawn
                && let Some(key) = verdict.made_by(rules)
            {
                self.withdrawn.entry(key).or_default().insert(subject);
            }
            let in_system = wanted
                .system
                .as_deref()
                .is_none_or(|name| system == Some(name));
            let of_purpose = wanted
                .purpose
                .as_deref()
                .is_none_or(|name| verdict.purpose == name);
            if self.approved.remove(&(subject, purpose)) {
                let back = self.returns.entry(subject).or_default();
                back.insert(purpose, was);
            }
            if is_wanted && in_system && of_purpose {
                // The first one tells what was before all of them.
                let back = self.returns.entry(subject).or_default();
                back.entry(purpose).or_insert(was);
            }
        }
        self.approved.retain(|(approved, _)| *approved != subject);
        Some(())
    }

    /// An operator has approved something of somebody under a hold.
    fn hear_act(
        &mut self,
        desk: &Desk,
        wanted: &Wanted,
        hold: Option<&HoldRow>,
        subject: SubjectRef,
        body: &Body<'_>,
    ) {
        let Some(hold) = hold.filter(|hold| body.hold == Some(hold.id)) else {
            return;
        };
        let name = body.purpose.as_deref().unwrap_or(&hold.purpose);
        let of_purpose = wanted
            .purpose
            .as_deref()
            .is_none_or(|wanted| name == wanted);
        let of_system = wanted
            .system
            .as_deref()
            .is_none_or(|wanted| desk.rules.system_name(SystemId(hold.system)) == wanted);
        let purpose = desk.rules.purposes.find(name);
        if body.act.as_deref() != Some("approve") || !of_purpose || !of_system {
            return;
        }
        let was = match (HoldKind::from_word(&hold.kind), hold.withdrawn) {
            (Some(HoldKind::MassChange), true) => Status::Granted,
            _ => Status::Withdrawn,
        };
        if let Some(purpose) = purpose {
            let back = self.returns.entry(subject).or_default();
            back.entry(purpose).or_insert(Some(was));
            // It added a statement, so the verdict turned with it.
            if body.said.is_some() {
                self.approved.insert((subject, purpose));
            }
        }
    }
}

/// Tells the ledger of the act as a whole, after the people it was about.
async fn tell(
    store: &dyn Store,
    wanted: &Wanted,
    by: &Operator,
    undone: &Undone,
    now: At,
) -> Result<(), StoreError> {
    let (since, hold) = match wanted.what {
        What::Since(since) => (Some(since.to_string()), None),
        What::Hold(hold) => (None, Some(hold)),
    };
    let more = [
        ("since", since.into()),
        ("hold", hold.into()),
        ("only_system", wanted.system.as_deref().into()),
        ("purpose", wanted.purpose.as_deref().into()),
        ("verdicts", undone.verdicts.into()),
        ("moved_on", undone.moved_on.into()),
        ("kept", undone.kept.len().into()),
        ("writes", undone.writes.len().into()),
    ];
    let more = more.map(|(name, value): (_, Value)| (name.to_owned(), value));
    switches::tell(store, "undo", by, None, more.into_iter().collect(), now).await
}
