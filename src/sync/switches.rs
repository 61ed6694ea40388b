//! The switches of a system, which outlive a restart: paused by an operator (R50), halted by a guard
//! until an operator releases it (R27), switched off or without legal-basis sync in the configuration
//! (R49), to be read anew; and its dead letters, which an operator has tried again (R35).
//!
//! Each is turned in one transaction with its entry in the ledger. Nothing here stops a task: the
//! poller and the emitter look at the switches before each of their steps, and the store refuses a
//! page of a feed that is paused by the time the page is stored.

use crate::config::{Checked, SystemSettings};
use crate::consent::At;
use crate::store::{
    Applied, Changes, FeedRow, FeedSwitch, Known, LedgerDraft, Redrive, Scope, Store, StoreError,
    SwitchChange,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The longest name of an operator, and the longest reason, in characters.
pub const MAX_WORDS: usize = 500;

/// Who acts, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    name: String,
    reason: String,
}

/// Why an operator's words are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperatorFault {
    /// The ledger says who acted and why; neither may be left out.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// It is too long for a line of a list.
    #[error("{0} is longer than {MAX_WORDS} characters")]
    TooLong(&'static str),
    /// Line ends and the like.
    #[error("{0} holds a control character")]
    Control(&'static str),
}

impl Operator {
    /// An operator of that name who acts for that reason.
    ///
    /// # Errors
    /// When either is empty, too long, or holds control characters.
    pub fn new(name: &str, reason: &str) -> Result<Self, OperatorFault> {
        let words = |what: &'static str, text: &str| {
            let text = text.trim();
            if text.is_empty() {
                Err(OperatorFault::Empty(what))
            } else if text.chars().count() > MAX_WORDS {
                Err(OperatorFault::TooLong(what))
            } else if text.chars().any(char::is_control) {
                Err(OperatorFault::Control(what))
            } else {
                Ok(text.to_owned())
            }
        };
        Ok(Self {
            name: words("the operator's name", name)?,
            reason: words("the reason", reason)?,
        })
    }

    /// The operator's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the operator acts.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn entry(&self, act: &str) -> Entry {
        Entry::of_operator(&json!({ "act": act, "operator": self.name, "reason": self.reason }))
    }

    /// A guard's halt is released; `halted` says why it was.
    fn release(&self, halted: &str) -> Entry {
        Entry::of_operator(&json!({
            "act": "release", "operator": self.name, "reason": self.reason, "halted": halted,
        }))
    }

    /// Dead letters are tried again, of these contacts or of all.
    fn redrive(&self, contacts: &[String]) -> Entry {
        Entry::of_operator(&json!({
            "act": "redrive", "operator": self.name, "reason": self.reason, "contacts": contacts,
        }))
    }
}

/// What the ledger is told of a switch.
struct Entry {
    kind: &'static str,
    body: String,
}

impl Entry {
    fn of_operator(body: &serde_json::Value) -> Self {
        Self {
            kind: "operator",
            body: body.to_string(),
        }
    }

    /// The configuration says so.
    fn of_configuration(act: &str) -> Self {
        Self {
            kind: "switched",
            body: json!({ "act": act }).to_string(),
        }
    }

    fn draft(self, system: i16, now: At) -> LedgerDraft {
        LedgerDraft {
            kind: self.kind,
            subject: None,
            system: Some(system),
            at: now.micros(),
            body: self.body,
        }
    }
}

/// Pauses a system: no call is made to it until it is resumed, also after a restart. False when it
/// is paused already.
///
/// # Errors
/// When the store fails or the system has no number.
pub async fn pause(
    store: &dyn Store,
    system: i16,
    by: &Operator,
    now: At,
) -> Result<bool, StoreError> {
    if store.feed(system).await?.paused {
        return Ok(false);
    }
    let note = format!("{}: {}", by.name, by.reason);
    let turn = (FeedSwitch::Paused(Some(note)), Some(by.entry("pause")));
    turn_all(store, system, vec![turn], now).await?;
    Ok(true)
}

/// What became of a system that was to be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resumed {
    /// It was paused, and is not any more.
    pub paused: bool,
    /// A guard had halted its feed, and it is released.
    pub halted: bool,
    /// Its next complete scan may be of any size, which it could not be before.
    pub fewer: bool,
}

impl Resumed {
    /// Whether anything is other than before.
    pub fn is_changed(self) -> bool {
        self != Self::default()
    }
}

/// Resumes a system that is paused, halted by a guard (R27) or both; it goes on where it stopped. What
/// halted it is judged again by its next complete scan, unless that one may be of any size, once:
/// `accept_fewer`.
///
/// # Errors
/// When the store fails or the system has no number.
pub async fn resume(
    store: &dyn Store,
    system: i16,
    accept_fewer: bool,
    by: &Operator,
    now: At,
) -> Result<Resumed, StoreError> {
    let feed = store.feed(system).await?;
    let resumed = Resumed {
        paused: feed.paused,
        halted: feed.halted.is_some(),
        fewer: accept_fewer && !feed.accept_fewer,
    };
    let mut turns = Vec::new();
    if resumed.paused {
        turns.push((FeedSwitch::Paused(None), Some(by.entry("resume"))));
    }
    if let Some(why) = &feed.halted {
        turns.push((FeedSwitch::Halted(None), Some(by.release(why))));
    }
    if resumed.fewer {
        turns.push((FeedSwitch::AcceptFewer, Some(by.entry("accept-fewer"))));
    }
    if resumed.is_changed() {
        turn_all(store, system, turns, now).await?;
    }
    Ok(resumed)
}

/// Has dead letters of a system tried again from now on: those of these contacts, or all when there are
/// none. How many (R35).
///
/// # Errors
/// When the store fails.
pub async fn redrive(
    store: &dyn Store,
    system: i16,
    contacts: &[String],
    by: &Operator,
    now: At,
) -> Result<u64, StoreError> {
    let figures = store.figures(now).await?;
    let mut systems = figures.systems.iter();
    if systems.all(|figures| figures.system != system || figures.dead == 0) {
        return Ok(0);
    }
    let entry = by.redrive(contacts);
    let changes = Changes {
        redrives: vec![Redrive {
            system,
            contacts: contacts.to_vec(),
            at: now.micros(),
        }],
        ledger: vec![entry.draft(system, now)],
        ..Changes::default()
    };
    // The entry itself is among the rows that are stored.
    let told = changes.ledger.len() as u64;
    let decide = &mut |_: Known| changes.clone();
    match store.transact(&Scope::default(), decide).await? {
        Applied::Stored { rows } => Ok(rows.saturating_sub(told)),
        // Only a page of a feed can be overtaken.
        Applied::Overtaken => Ok(0),
    }
}

/// Has everything of a system read anew from its next poll on. It is written to as before.
///
/// # Errors
/// When the store fails or the system has no number.
pub async fn resync(
    store: &dyn Store,
    system: i16,
    by: &Operator,
    now: At,
) -> Result<(), StoreError> {
    let turn = (FeedSwitch::Resync, Some(by.entry("resync")));
    turn_all(store, system, vec![turn], now).await
}

/// Brings the switches of all systems in line with the configuration (R49). Doing it again changes
/// nothing.
///
/// # Errors
/// When the store fails.
pub async fn follow(checked: &Checked, store: &dyn Store, now: At) -> Result<(), StoreError> {
    let names: Vec<String> = checked
        .systems
        .iter()
        .map(|system| system.name.clone())
        .collect();
    let ids = store.register_systems(&names).await?;
    for (system, id) in checked.systems.iter().zip(ids) {
        let feed = store.feed(id).await?;
        let shape = system.shape(&checked.purposes);
        let turns = configured(system, shape, &feed, now);
        if !turns.is_empty() {
            turn_all(store, id, turns, now).await?;
        }
    }
    Ok(())
}

/// The systems that are not written to at present, by number, with why in words: what waits for them
/// is parked.
///
/// # Errors
/// When the store fails.
pub async fn parked(
    checked: &Checked,
    store: &dyn Store,
) -> Result<BTreeMap<i16, &'static str>, StoreError> {
    let mut parked = BTreeMap::new();
    for (id, name) in store.systems().await? {
        let Some(system) = checked.system(&name) else {
            continue;
        };
        if !system.enabled {
            parked.insert(id, "the system is switched off");
        } else if store.feed(id).await?.paused {
            parked.insert(id, "the system is paused");
        }
    }
    Ok(parked)
}

/// Tells the ledger of an operator's act as a whole: what it was, by whom and why, about which system if
/// it is about one, and what it did in `more`.
///
/// # Errors
/// When the store fails.
pub async fn tell(
    store: &dyn Store,
    act: &str,
    by: &Operator,
    system: Option<i16>,
    more: Map<String, Value>,
    now: At,
) -> Result<(), StoreError> {
    let mut body = more;
    for (name, text) in [("act", act), ("operator", &by.name), ("reason", &by.reason)] {
        body.insert(name.to_owned(), text.into());
    }
    let changes = Changes {
        ledger: vec![LedgerDraft {
            kind: "operator",
            subject: None,
            system,
            at: now.micros(),
            body: Value::Object(body).to_string(),
        }],
        ..Changes::default()
    };
    let decide = &mut |_: Known| changes.clone();
    store.transact(&Scope::default(), decide).await.map(drop)
}

type Turn = (FeedSwitch, Option<Entry>);

/// The switches that differ from what the configuration says.
fn configured(system: &SystemSettings, shape: String, feed: &FeedRow, now: At) -> Vec<Turn> {
    let mut turns = Vec::new();
    let known = feed.loaded || feed.cursor.is_some();
    if !system.enabled && known {
        // On its return it is read anew before it is written to: nobody knows what it missed.
        let entry = Entry::of_configuration("switched off");
        turns.push((FeedSwitch::Unload, Some(entry)));
    }
    if system.enabled && feed.shape.as_ref() != Some(&shape) {
        let entry = feed.shape.as_ref().filter(|_| known);
        let entry = entry.map(|_| Entry::of_configuration("read anew, by other names"));
        turns.push((FeedSwitch::Shape(shape), entry));
    }
    match (system.legal_basis_sync, feed.muted_since) {
        (true, Some(_)) => {
            let entry = Entry::of_configuration("legal-basis sync on");
            turns.push((FeedSwitch::Muted(None), Some(entry)));
        }
        (false, None) => {
            // What was said while the sync was on stays said; where it never was on, nothing was.
            let since = feed.polled_at.map_or(At::from_micros(i64::MIN), |_| now);
            let entry = Entry::of_configuration("legal-basis sync off");
            turns.push((FeedSwitch::Muted(Some(since)), Some(entry)));
        }
        (true, None) | (false, Some(_)) => {}
    }
    turns
}

/// Turns switches of one system and tells the ledger, all or nothing.
async fn turn_all(
    store: &dyn Store,
    system: i16,
    turns: Vec<Turn>,
    now: At,
) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    for (switch, entry) in turns {
        changes.switches.push(SwitchChange {
            system,
            switch,
            at: now.micros(),
        });
        let entry = entry.map(|entry| entry.draft(system, now));
        changes.ledger.extend(entry);
    }
    let decide = &mut |_: Known| changes.clone();
    store.transact(&Scope::default(), decide).await.map(drop)
}
