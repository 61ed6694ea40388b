//! All that is known of one person, in the order in which it became known, and how things stand (R53).
//!
//! The ledger says what was learnt when; what it does not say – which duplicates were not asked, and why –
//! follows from the contacts as they were known at that moment. Here it is data, for the command
//! `explain`, the API and the export; the words are theirs. Nothing here decides.

use super::gate;
use super::pack::{PackError, PackedVerdict, Packer, Write, unpack_findings, unpack_verdicts};
use super::parity::{state, word};
use crate::consent::resolve::silent;
use crate::consent::{
    At, Basis, Contact, Life, PurposeId, Rules, Shown, Stamp, Statement, SystemId,
};
use crate::store::{
    CLAIMED, ContactRow, DEAD, DELETED, Dossier, HELD, LANE_WITHDRAWAL, LIVE, LedgerRow, MERGED,
    ONCE_READ, OutboxRow, PLANNED, RequestQuery, RequestRow, SENT, Store, StoreError, SubjectRef,
};
use crate::sync::gate::REQUESTS_AT_ONCE;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// So many closed requests are shown, the newest; the ledger tells of all.
const CLOSED_SHOWN: usize = 10;

/// A person's timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timeline {
    /// The person by keyed hash, 32 hex digits.
    pub subject: String,
    /// What happened, in the order of the ledger.
    pub events: Vec<Event>,
    /// How things stand.
    pub now: Now,
}

/// One fact that the ledger tells. What does not apply is left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Event {
    /// When it became known, by our clock, RFC 3339.
    pub at: String,
    /// Number of the ledger entry. Several facts may come from one.
    pub seq: i64,
    /// Kind of the entry: `observed`, `stated`, `verdict`, `planned`, `held`, `attempt`, `handed-over`,
    /// `written`, `refused`, `resubscribe`, or another.
    pub kind: String,
    /// Configured system name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// External id; the subscriber's key in the gate; the operator's name where one stated something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Purpose name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The value that the contact was seen to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<&'static str>,
    /// The statement that was learnt, or that won.
    #[serde(flatten)]
    pub said: Option<Said>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policy that a verdict was made under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The parent whose withdrawal decided (R20).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said_of: Option<String>,
    /// Who competed for a verdict: the winner, then what lost, then who was not asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// What was to be written, and what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Written>,
    /// `deleted` where the contact is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<&'static str>,
    /// The re-subscribe request it is about (R47).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestTold>,
    /// Number of the hold it is about (R29).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<i64>,
    /// Why something waits: `weak-grant`, `load`, `mass-change` or `flapping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_kind: Option<String>,
    /// Since when it had waited, where an operator has decided about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_since: Option<String>,
    /// What was said counts for nothing: an operator has overruled it (R29, R30).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overruled: bool,
    /// What an operator did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The entry itself, where this version has no better words for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<serde_json::Value>,
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// `granted` or `withdrawn`.
    pub status: &'static str,
    /// Legal basis, where the system keeps one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// When it became true.
    pub stamp: Interval,
    /// `baseline`, `observed`, `history` or `explicit` (R10).
    pub evidence: &'static str,
    /// Who did it, as the system names its users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// Between when and when something became true, RFC 3339; the same twice where it is known exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interval {
    /// Not before.
    pub earliest: String,
    /// Not after.
    pub latest: String,
}

impl From<Stamp> for Interval {
    fn from(stamp: Stamp) -> Self {
        Self {
            earliest: stamp.earliest().to_string(),
            latest: stamp.latest().to_string(),
        }
    }
}

impl From<&Statement> for Said {
    fn from(statement: &Statement) -> Self {
        Self {
            status: statement.status.word(),
            basis: statement.basis.as_ref().map(basis),
            stamp: statement.stamp.into(),
            evidence: statement.evidence.word(),
            actor: statement.actor.clone(),
        }
    }
}

fn basis(basis: &Basis) -> String {
    basis.word().to_owned()
}

/// One who spoke, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// `won`, `lost`, or `silent`: it was not asked.
    pub role: &'static str,
    /// Configured system name; none for an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// External id, or the operator's name.
    pub contact: String,
    /// What it said.
    #[serde(flatten)]
    pub said: Said,
    /// The rule it won, lost or was silenced by.
    pub rule: String,
    /// The same in a word, e.g. `weak`, `load`, `duplicate`.
    pub why: &'static str,
}

/// A write.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Written {
    /// What the contact showed when it was decided, if that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
    /// What it is to show.
    pub to: &'static str,
    /// The legal basis that goes with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// `withdrawal` or `grant`; none where the ledger's older part would have to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// What became of it: `applied`, `confirmed`, `acknowledged`, `handed-over`, `refused`, `failed`,
    /// `planned` or `held`.
    pub how: &'static str,
    /// The batch that it went with (R46).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The code of the fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The class of the fault (R35).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Failed attempts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// There is no further attempt until an operator says so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// The system where the decision was said, or `operator`.
    pub said_in: String,
    /// When it was said.
    pub said_at: String,
}

/// What an entry tells of a re-subscribe request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestTold {
    /// Its number.
    pub number: i64,
    /// What happened: `opened`, `urgent`, `weekly`, why it was closed, or what came of an attempt.
    pub act: String,
    /// The unit's id.
    pub unit: String,
    /// What the unit said.
    pub status: String,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Now {
    /// Contacts by system and external id, those that are not there any more included.
    pub contacts: Vec<ContactNow>,
    /// Verdicts in the order of the purposes.
    pub verdicts: Vec<VerdictNow>,
    /// What a person should know of.
    pub findings: Vec<FindingNow>,
    /// Statements without a contact (R14).
    pub remembered: Vec<Candidate>,
    /// What waits for a person (R29).
    pub holds: Vec<HoldNow>,
    /// Writes that are not acknowledged yet.
    pub pending: Vec<PendingNow>,
    /// Re-subscribe requests that are open, and the newest of the closed ones.
    pub requests: Vec<RequestNow>,
}

/// A contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContactNow {
    /// Configured system name.
    pub system: String,
    /// External id.
    pub contact: String,
    /// When it was created there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The last modification read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// `live`, `deleted` or `merged`.
    pub life: &'static str,
    /// The survivor of a merge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
    /// The shared person id (R58).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What it shows and has said, by purpose.
    pub shows: Vec<ShownNow>,
}

/// What a contact shows and has said of one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownNow {
    /// Purpose name.
    pub purpose: String,
    /// The value; none while only history is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<&'static str>,
    /// The legal basis it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basis: Option<String>,
    /// What it has said, best rank first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<Said>,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictNow {
    /// Purpose name.
    pub purpose: String,
    /// System of the winner; none for an operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Contact of the winner.
    pub contact: String,
    /// What it said, with the legal basis of the verdict.
    #[serde(flatten)]
    pub said: Said,
    /// The rule that decided.
    pub rule: String,
    /// The policy it was made under.
    pub policy: String,
    /// The parent whose withdrawal decided (R20).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said_of: Option<String>,
    /// Who competed: the winner, then what lost, then who was not asked.
    pub candidates: Vec<Candidate>,
}

/// Something a person should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingNow {
    /// `conflict`, `inconsistent`, `weak-grant`, `load`, `future-stamped` or `flapping`.
    pub kind: String,
    /// Purpose name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Configured system name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// External id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// Something that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HoldNow {
    /// Number of the hold.
    pub number: i64,
    /// `weak-grant`, `load`, `mass-change` or `flapping`.
    pub kind: String,
    /// Purpose name.
    pub purpose: String,
    /// Since when.
    pub since: String,
    /// It was approved while the hold is still open for others.
    pub approved: bool,
}

/// A write that is not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingNow {
    /// Configured system name.
    pub system: String,
    /// External id.
    pub contact: String,
    /// `withdrawal` or `grant`.
    pub lane: &'static str,
    /// `pending`, `claimed`, `dead`, `held`, `planned` or `sent`.
    pub state: &'static str,
    /// What it sets.
    pub sets: Vec<SetNow>,
    /// The rule that decided.
    pub rule: String,
    /// When it was first decided.
    pub decided_at: String,
    /// When it is due; none while it waits for something else than time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// Failed attempts so far.
    pub attempts: i32,
    /// The code of the last fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The batch it was handed over in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// How it stands, in words.
    pub stands: String,
}

/// A value that a write sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetNow {
    /// Purpose name.
    pub purpose: String,
    /// The value.
    pub to: &'static str,
}

/// A re-subscribe request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestNow {
    /// Its number.
    pub number: i64,
    /// Subscriber key; none where the address is the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<String>,
    /// The unit's id.
    pub unit: String,
    /// What people called the unit; may be empty.
    pub unit_name: String,
    /// What the unit said last.
    pub status: String,
    /// What led to it.
    pub cause: String,
    /// Somebody waits for it.
    pub urgent: bool,
    /// When it was opened.
    pub opened_at: String,
    /// When the unit was last asked.
    pub seen_at: String,
    /// What came of the daemon's own attempt, or why it made none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<String>,
    /// Why it was closed, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closing: Option<String>,
    /// The operator who closed it, with what they said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
}

/// What is stored of a person cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// A ledger entry has another form than this version writes.
    #[error("ledger entry {seq} cannot be read")]
    Entry {
        /// Its number.
        seq: i64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A packed part of a ledger entry cannot be read.
    #[error("a part of ledger entry {seq} cannot be read")]
    Part {
        /// Its number.
        seq: i64,
        /// What is wrong with it.
        #[source]
        source: PackError,
    },
    /// A row about how things stand cannot be read.
    #[error("what is stored of the person cannot be read")]
    Row(#[from] PackError),
}

impl From<TimelineError> for StoreError {
    fn from(error: TimelineError) -> Self {
        Self::Corrupt {
            what: "timeline",
            detail: error.to_string(),
        }
    }
}

/// The timeline of one person; none for somebody who is not known.
///
/// # Errors
/// When the store fails, or holds what cannot be read back.
pub async fn of(
    store: &dyn Store,
    subject: SubjectRef,
    rules: &Rules,
) -> Result<Option<Timeline>, StoreError> {
    let Some(dossier) = store.dossier(subject).await? else {
        return Ok(None);
    };
    let mut timeline = timeline(subject, &dossier, rules)?;
    let requests = requests(store, subject).await?;
    timeline.now.requests = requests.iter().map(RequestNow::from).collect();
    Ok(Some(timeline))
}

/// What a dossier tells of `subject`. Re-subscribe requests are no part of a dossier: [`of`] adds how they
/// stand.
///
/// # Errors
/// When an entry or a row cannot be read back.
pub fn timeline(
    subject: SubjectRef,
    dossier: &Dossier,
    rules: &Rules,
) -> Result<Timeline, TimelineError> {
    let mut teller = Teller::new(rules);
    for entry in &dossier.ledger {
        teller.tell(entry)?;
    }
    let now = now(subject, dossier, rules)?;
    let mut events = teller.events;
    tell_of_waiting(&mut events, &now);
    Ok(Timeline {
        subject: subject.to_string(),
        events,
        now,
    })
}

/// R26: whoever a mass change took in when it was noticed has no entry of their own about it; the hold has,
/// and its number is that of its entry.
fn tell_of_waiting(events: &mut Vec<Event>, now: &Now) {
    let standing = now.holds.iter().map(|hold| {
        let kind = Some(hold.kind.clone());
        (hold.number, hold.purpose.clone(), kind, hold.since.clone())
    });
    let decided = events.iter().filter_map(|event| {
        let (hold, since) = event.hold.zip(event.waited_since.clone())?;
        Some((hold, event.purpose.clone()?, event.hold_kind.clone(), since))
    });
    let waited: Vec<_> = standing.chain(decided).collect();
    for (hold, purpose, kind, since) in waited {
        let is_told = events.iter().any(|event| {
            event.kind == "waits"
                && event.hold == Some(hold)
                && event.purpose.as_ref() == Some(&purpose)
        });
        if !is_told {
            let place = events.partition_point(|event| event.seq <= hold);
            let event = Event {
                at: since,
                seq: hold,
                kind: "waits".to_owned(),
                purpose: Some(purpose),
                hold: Some(hold),
                hold_kind: kind,
                ..Event::default()
            };
            events.insert(place, event);
        }
    }
}

/// The kind of ledger entries about re-subscribe requests, which are about no configured system.
const REQUEST: &str = "resubscribe";

/// The body of a ledger entry, as far as it is told.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    life: Option<i16>,
    #[serde(default, borrow)]
    record: Option<&'a RawValue>,
    #[serde(default, borrow)]
    before: Option<&'a RawValue>,
    #[serde(default, borrow)]
    after: Option<&'a RawValue>,
    #[serde(default)]
    how: Option<String>,
    #[serde(default)]
    write: Option<String>,
    #[serde(default)]
    class: Option<String>,
    #[serde(default)]
    attempts: Option<i64>,
    #[serde(default)]
    given_up: Option<i64>,
    #[serde(default, borrow)]
    said: Option<&'a RawValue>,
    #[serde(default)]
    act: Option<String>,
    #[serde(default)]
    operator: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    hold: Option<i64>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    since: Option<i64>,
}

/// The body of an entry about a request.
#[derive(Deserialize)]
struct RequestBody {
    act: String,
    request: i64,
    #[serde(default)]
    subscriber: String,
    unit: String,
    status: String,
    #[serde(default)]
    operator: Option<String>,
}

/// Goes through the ledger, and knows the contacts as they were known at each moment.
struct Teller<'r> {
    rules: &'r Rules,
    packer: Packer<'r>,
    contacts: BTreeMap<(SystemId, String), Contact>,
    /// The lane in which a write was decided, by contact and packed write.
    lanes: HashMap<(Option<i16>, String, String), String>,
    events: Vec<Event>,
}

impl<'r> Teller<'r> {
    fn new(rules: &'r Rules) -> Self {
        Self {
            rules,
            packer: Packer::new(rules),
            contacts: BTreeMap::new(),
            lanes: HashMap::new(),
            events: Vec::new(),
        }
    }

    fn tell(&mut self, entry: &LedgerRow) -> Result<(), TimelineError> {
        let seq = entry.seq;
        let unreadable = |source| TimelineError::Entry { seq, source };
        let part = |source| TimelineError::Part { seq, source };
        let system = entry.system.map(SystemId);
        let event = Event {
            at: At::from_micros(entry.at).to_string(),
            seq,
            kind: entry.kind.clone(),
            system: system.map(|id| self.rules.system_name(id).to_owned()),
            ..Event::default()
        };
        if entry.kind == REQUEST {
            let told: RequestBody = serde_json::from_str(&entry.body).map_err(unreadable)?;
            self.events.push(Event {
                system: Some(gate::NAME.to_owned()),
                contact: Some(told.subscriber).filter(|key| !key.is_empty()),
                operator: told.operator,
                request: Some(RequestTold {
                    number: told.request,
                    act: told.act,
                    unit: told.unit,
                    status: told.status,
                }),
                ..event
            });
            return Ok(());
        }
        let body: Body<'_> = serde_json::from_str(&entry.body).map_err(unreadable)?;
        let event = Event {
            contact: body.contact.clone(),
            act: body.act.clone(),
            operator: body.operator.clone(),
            reason: body.reason.clone(),
            hold: body.hold,
            waited_since: body.since.map(|since| At::from_micros(since).to_string()),
            hold_kind: body.kind.clone().filter(|_| body.hold.is_some()),
            purpose: body.purpose.clone(),
            ..event
        };
        if let Some((record, id)) = body.record.zip(system) {
            self.observed(&event, id, &body, record.get()).map_err(part)
        } else if entry.kind == "verdict" {
            let text = |packed: Option<&'_ RawValue>| match packed {
                Some(packed) if packed.get() != "null" => packed.get().to_owned(),
                _ => String::new(),
            };
            self.decided(&event, &text(body.before), &text(body.after))
                .map_err(part)
        } else if let Some(said) = body.said.filter(|_| entry.kind == "stated") {
            self.stated(&event, said.get()).map_err(part)
        } else if let Some(write) = &body.write {
            self.wrote(&event, entry.system, &body, write).map_err(part)
        } else if body.hold.is_some() {
            self.events.push(event);
            Ok(())
        } else {
            let body = serde_json::from_str(&entry.body).map_err(unreadable)?;
            self.events.push(Event {
                body: Some(body),
                ..event
            });
            Ok(())
        }
    }

    /// What is new about a contact: each statement once, when it was learnt.
    fn observed(
        &mut self,
        event: &Event,
        id: SystemId,
        body: &Body<'_>,
        record: &str,
    ) -> Result<(), PackError> {
        let contact = body.contact.clone().unwrap_or_default();
        let record = match self.rules.system(id) {
            Some(system) if record != "null" => self.packer.unpack_record(system, record)?,
            _ => crate::consent::Record::default(),
        };
        let key = (id, contact.clone());
        let before = self.contacts.remove(&key);
        let told = self.events.len();
        for (purpose, holding) in record.iter() {
            let known = before.as_ref().and_then(|known| known.record.get(purpose));
            let shown = holding.shown.as_ref().map(word);
            let seen = Event {
                purpose: Some(self.rules.purposes.name(purpose).to_owned()),
                shown,
                ..event.clone()
            };
            let fresh = holding
                .said()
                .filter(|said| known.is_none_or(|known| !known.said().any(|old| old == *said)));
            let mut any = false;
            for said in fresh {
                any = true;
                self.events.push(Event {
                    said: Some(said.into()),
                    ..seen.clone()
                });
            }
            let turned = known.is_some_and(|known| known.shown != holding.shown);
            if turned && !any {
                self.events.push(seen);
            }
        }
        let life = match body.life {
            Some(life) if life != LIVE => Life::Deleted,
            _ => Life::Live,
        };
        let was_live = before.as_ref().is_none_or(|known| known.life.is_live());
        if was_live != life.is_live() || self.events.len() == told {
            self.events.push(Event {
                life: (!life.is_live()).then_some("deleted"),
                ..event.clone()
            });
        }
        self.contacts.insert(
            key,
            Contact {
                created: body.created.map(At::from_micros),
                life,
                record,
                ..Contact::unseen(id, contact)
            },
        );
        Ok(())
    }

    /// What an operator or the API stated.
    fn stated(&mut self, event: &Event, said: &str) -> Result<(), PackError> {
        for kept in self.packer.unpack_remembered(said)? {
            let system = kept.source.system;
            self.events.push(Event {
                system: system.map(|id| self.rules.system_name(id).to_owned()),
                contact: Some(kept.source.contact),
                purpose: Some(self.rules.purposes.name(kept.purpose).to_owned()),
                said: Some((&kept.statement).into()),
                overruled: kept.overruled,
                ..event.clone()
            });
        }
        Ok(())
    }

    /// Each verdict that is not what it was.
    fn decided(&mut self, event: &Event, before: &str, after: &str) -> Result<(), PackError> {
        let contacts: Vec<Contact> = self.contacts.values().cloned().collect();
        let known = unpack_verdicts(before)?;
        let after = unpack_verdicts(after)?;
        for verdict in &after {
            let shown = VerdictNow::of(verdict, &contacts, self.rules);
            let same = known.iter().any(|old| {
                old.purpose == verdict.purpose
                    && VerdictNow::of(old, &contacts, self.rules) == shown
            });
            if same {
                continue;
            }
            self.events.push(Event {
                system: shown.system,
                contact: Some(shown.contact),
                purpose: Some(shown.purpose),
                said: Some(shown.said),
                rule: Some(shown.rule),
                policy: Some(shown.policy),
                said_of: shown.said_of,
                candidates: shown.candidates,
                ..event.clone()
            });
        }
        let is_gone =
            |old: &&PackedVerdict<'_>| !after.iter().any(|new| new.purpose == old.purpose);
        for old in known.iter().filter(is_gone) {
            self.events.push(Event {
                purpose: Some(old.purpose.clone().into_owned()),
                ..event.clone()
            });
        }
        Ok(())
    }

    fn wrote(
        &mut self,
        event: &Event,
        system: Option<i16>,
        body: &Body<'_>,
        write: &str,
    ) -> Result<(), PackError> {
        let how = body.how.clone().unwrap_or_default();
        let key = (
            system,
            body.contact.clone().unwrap_or_default(),
            write.to_owned(),
        );
        if matches!(event.kind.as_str(), "planned" | "held") {
            self.lanes.insert(key.clone(), how.clone());
        }
        let lane = self.lanes.get(&key).cloned();
        let write = self.packer.unpack_changes(write)?;
        let mut written = came(&event.kind, how);
        written.lane = lane;
        written.class.clone_from(&body.class);
        written.attempts = body.attempts;
        written.given_up = body.given_up.is_some();
        written.said_in.clone_from(&write.said_in);
        written.said_at = write.said_at.to_string();
        for change in &write.changes {
            self.events.push(Event {
                purpose: Some(self.rules.purposes.name(change.purpose).to_owned()),
                rule: Some(write.rule.clone()),
                write: Some(Written {
                    from: change.from.as_ref().map(word),
                    to: word(&change.to),
                    basis: shown_basis(&change.to),
                    ..written.clone()
                }),
                ..event.clone()
            });
        }
        Ok(())
    }
}

/// What became of a write, from the kind of its entry and the word in it: a lane, an outcome, the fault's
/// code, or the batch that it went with.
fn came(kind: &str, word: String) -> Written {
    let how = |how| Written {
        how,
        ..Written::default()
    };
    match (kind, word.as_str()) {
        ("planned", _) => how("planned"),
        ("held", _) => how("held"),
        ("handed-over", _) => Written {
            batch: Some(word),
            ..how("handed-over")
        },
        ("refused", _) => Written {
            code: Some(word),
            ..how("refused")
        },
        ("attempt", _) => Written {
            code: Some(word),
            ..how("failed")
        },
        (_, "applied") => how("applied"),
        (_, "confirmed") => how("confirmed"),
        _ => Written {
            batch: Some(word),
            ..how("acknowledged")
        },
    }
}

fn shown_basis(shown: &Shown) -> Option<String> {
    match shown {
        Shown::Record { basis: of, .. } => of.as_ref().map(basis),
        Shown::Default | Shown::Set => None,
    }
}

/// The rule of a loss in a word.
fn lost_by(rule: &str) -> &'static str {
    match rule {
        "R18" => "earlier",
        "R20" => "inconsistent",
        "R22" => "not-consent",
        "R24" => "weak",
        "R25" => "load",
        "R29" => "overruled",
        _ => "lost",
    }
}

/// The rule of a decision in a word.
fn won_by(rule: &str) -> &'static str {
    match rule {
        "R18" => "latest",
        "R19" => "tie",
        "R20" => "parent",
        "R24" => "only-weak",
        _ => "won",
    }
}

impl VerdictNow {
    /// A stored verdict, and who was not asked among the contacts as they were then.
    pub fn of(verdict: &PackedVerdict<'_>, contacts: &[Contact], rules: &Rules) -> Self {
        let system = verdict
            .system
            .as_ref()
            .map(|name| name.clone().into_owned());
        let winner = Candidate {
            role: "won",
            system: system.clone(),
            contact: verdict.contact.clone().into_owned(),
            said: (&verdict.statement()).into(),
            rule: verdict.rule.clone().into_owned(),
            why: won_by(&verdict.rule),
        };
        let said = Said {
            basis: verdict.basis().as_ref().map(basis),
            ..winner.said.clone()
        };
        let lost = verdict.lost.iter().map(|lost| Candidate {
            role: "lost",
            system: lost.system.as_ref().map(|name| name.clone().into_owned()),
            contact: lost.contact.clone().into_owned(),
            said: (&lost.statement()).into(),
            rule: lost.rule.clone().into_owned(),
            why: lost_by(&lost.rule),
        });
        let purpose = rules.purposes.find(&verdict.purpose);
        let quiet = purpose.map(|purpose| silent(contacts, rules, purpose));
        let quiet = quiet.unwrap_or_default().into_iter();
        let quiet = quiet.map(|(source, statement, why)| Candidate {
            role: "silent",
            system: source.system.map(|id| rules.system_name(id).to_owned()),
            contact: source.contact,
            said: (&statement).into(),
            rule: why.rule().to_owned(),
            why: why.word(),
        });
        let contact = winner.contact.clone();
        Self {
            purpose: verdict.purpose.clone().into_owned(),
            system,
            contact,
            said,
            rule: verdict.rule.clone().into_owned(),
            policy: verdict.policy.clone().into_owned(),
            said_of: verdict.said_of.as_ref().map(|of| of.clone().into_owned()),
            candidates: std::iter::once(winner).chain(lost).chain(quiet).collect(),
        }
    }
}

/// How things stand with `subject`. What the dossier holds of other people, who are there because of a
/// link, is left out.
fn now(subject: SubjectRef, dossier: &Dossier, rules: &Rules) -> Result<Now, PackError> {
    let packer = Packer::new(rules);
    let mut now = Now::default();
    let mut subjects = dossier.known.subjects.iter();
    let Some(person) = subjects.find(|row| row.subject == subject) else {
        return Ok(now);
    };
    let mut contacts = Vec::new();
    let rows = dossier.known.contacts.iter();
    for row in rows.filter(|row| row.subject == Some(person.id)) {
        if let Some(contact) = contact(row, rules, &packer)? {
            now.contacts.push(ContactNow::of(row, &contact, rules));
            contacts.push(contact);
        }
    }
    for verdict in &unpack_verdicts(&person.verdicts)? {
        now.verdicts.push(VerdictNow::of(verdict, &contacts, rules));
    }
    let text = |name: Option<std::borrow::Cow<'_, str>>| name.map(std::borrow::Cow::into_owned);
    for finding in unpack_findings(&person.findings)? {
        now.findings.push(FindingNow {
            kind: finding.kind.into_owned(),
            purpose: text(finding.purpose),
            system: text(finding.system),
            contact: text(finding.contact),
        });
    }
    for kept in packer.unpack_remembered(&person.remembered)? {
        let system = kept.source.system;
        let (rule, why) = match (kept.overruled, system) {
            (true, _) => ("R29", "overruled"),
            (false, Some(_)) => ("R14", "remembered"),
            (false, None) => ("R18", "stated"),
        };
        now.remembered.push(Candidate {
            role: "remembered",
            system: system.map(|id| rules.system_name(id).to_owned()),
            contact: kept.source.contact,
            said: (&kept.statement).into(),
            rule: rule.to_owned(),
            why,
        });
    }
    let held = dossier.known.held.iter();
    for row in held.filter(|row| row.subject == person.id) {
        let mut holds = dossier.known.holds.iter();
        if let Some(hold) = holds.find(|hold| hold.id == row.hold) {
            now.holds.push(HoldNow {
                number: hold.id,
                kind: hold.kind.clone(),
                purpose: row.purpose.clone(),
                since: At::from_micros(row.since).to_string(),
                approved: row.released,
            });
        }
    }
    let outbox = dossier.known.outbox.iter();
    for row in outbox.filter(|row| row.subject == person.id) {
        let write = packer.unpack_changes(&row.changes)?;
        now.pending.push(PendingNow::of(row, &write, rules));
    }
    Ok(now)
}

/// A stored contact; none where its system has no rules at all.
///
/// # Errors
/// When its record cannot be read back.
pub(super) fn contact(
    row: &ContactRow,
    rules: &Rules,
    packer: &Packer<'_>,
) -> Result<Option<Contact>, PackError> {
    let Some(system) = rules.system(SystemId(row.system)) else {
        return Ok(None);
    };
    Ok(Some(Contact {
        created: row.created.map(At::from_micros),
        modified: row.modified.map(At::from_micros),
        read_at: row.read_at.map(At::from_micros),
        life: match row.life {
            LIVE => Life::Live,
            _ => Life::Deleted,
        },
        record: packer.unpack_record(system, &row.record)?,
        ..Contact::unseen(system.id, row.external.clone())
    }))
}

impl ContactNow {
    fn of(row: &ContactRow, contact: &Contact, rules: &Rules) -> Self {
        let time = |micros: i64| At::from_micros(micros).to_string();
        let name = |purpose: PurposeId| rules.purposes.name(purpose).to_owned();
        let shows = contact.record.iter().map(|(purpose, holding)| ShownNow {
            purpose: name(purpose),
            shown: holding.shown.as_ref().map(word),
            basis: holding.shown.as_ref().and_then(shown_basis),
            said: holding.said().map(Said::from).collect(),
        });
        Self {
            system: rules.system_name(contact.system).to_owned(),
            contact: row.external.clone(),
            created: row.created.map(time),
            modified: row.modified.map(time),
            life: match row.life {
                DELETED => "deleted",
                MERGED => "merged",
                _ => "live",
            },
            merged_into: row.merged_into.clone(),
            link: row.link.clone(),
            shows: shows.collect(),
        }
    }
}

impl PendingNow {
    fn of(row: &OutboxRow, write: &Write, rules: &Rules) -> Self {
        let sent = row.state == SENT;
        let error = row.last_error.as_deref().filter(|words| !words.is_empty());
        let code = error.filter(|_| !sent && row.attempts > 0).map(|words| {
            let (code, _) = words.split_once(": ").unwrap_or((words, ""));
            code.to_owned()
        });
        let sets = write.changes.iter().map(|change| SetNow {
            purpose: rules.purposes.name(change.purpose).to_owned(),
            to: word(&change.to),
        });
        let waits_for_time = !matches!(row.state, DEAD | HELD) && row.not_before != ONCE_READ;
        Self {
            system: rules.system_name(SystemId(row.key.system)).to_owned(),
            contact: row.key.external.clone(),
            lane: if row.key.lane == LANE_WITHDRAWAL {
                "withdrawal"
            } else {
                "grant"
            },
            state: match row.state {
                CLAIMED => "claimed",
                DEAD => "dead",
                HELD => "held",
                PLANNED => "planned",
                SENT => "sent",
                _ => "pending",
            },
            sets: sets.collect(),
            rule: write.rule.clone(),
            decided_at: At::from_micros(row.decided_at).to_string(),
            due: waits_for_time.then(|| {
                let until = row.not_before.max(row.claimed_until);
                At::from_micros(until).to_string()
            }),
            attempts: row.attempts,
            code,
            batch: error.filter(|_| sent).map(str::to_owned),
            stands: state(row),
        }
    }
}

impl From<&RequestRow> for RequestNow {
    fn from(row: &RequestRow) -> Self {
        let time = |micros: i64| At::from_micros(micros).to_string();
        Self {
            number: row.id,
            subscriber: Some(row.subscriber.clone()).filter(|key| !key.is_empty()),
            unit: row.unit.clone(),
            unit_name: row.unit_name.clone(),
            status: row.status.clone(),
            cause: row.cause.clone(),
            urgent: row.urgent,
            opened_at: time(row.opened_at),
            seen_at: time(row.seen_at),
            note: row.note.clone(),
            closed_at: row.closed_at.map(time),
            closing: row.closing.clone(),
            closed_by: row.closed_by.clone(),
        }
    }
}

/// The requests of a person that are open, and the newest of those that are closed, in the order of their
/// numbers.
async fn requests(store: &dyn Store, subject: SubjectRef) -> Result<Vec<RequestRow>, StoreError> {
    let mut requests = Vec::new();
    let mut query = RequestQuery {
        subject: Some(subject),
        closed: true,
        ..RequestQuery::default()
    };
    loop {
        let page = store.requests(&query, REQUESTS_AT_ONCE).await?;
        let Some(last) = page.last() else {
            break;
        };
        query.after = last.request.id;
        requests.extend(page.into_iter().map(|view| view.request));
    }
    let closed = requests.iter().filter(|row| row.closed_at.is_some());
    let mut left_out = closed.count().saturating_sub(CLOSED_SHOWN);
    requests.retain(|row| {
        let is_old = row.closed_at.is_some() && left_out > 0;
        left_out -= usize::from(is_old);
        !is_old
    });
    Ok(requests)
}
