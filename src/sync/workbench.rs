//! One transaction's worth of decisions: what the store knows comes in, contacts are changed, every
//! subject that is touched is resolved and planned again, and what has to be stored comes out.
//!
//! Feed pages, outcomes of writes and operators' acts all go through here, so that verdicts,
//! findings, outbox and ledger are always what the rules say of the contacts as stored (R18, R31).

mod decide;
mod entry;
mod forget;
mod handover;
mod holds;
mod loads;
mod places;
mod replay;
mod suppress;

pub use self::entry::Attempt;
pub use self::handover::Handed;
pub use self::holds::{Act, Came, Return, Withdrawn, Word, direction};

use self::entry::written;
use self::holds::Holds;
use self::loads::ByLoad;
use self::places::Places;
use super::pack::{PackError, Packer};
use super::suppression::Suppressor;
use crate::consent::resolve::Source;
use crate::consent::time::HOUR;
use crate::consent::{
    At, Contact, Evidence, Life, PurposeId, Record, Remembered, Rules, Shown, Statement, Status,
    SubjectKey, SystemId,
};
use crate::store::{
    Applied, Changes, ContactRow, DELETED, Decider, Decision, Known, LANE_GRANT, LANE_WITHDRAWAL,
    LIVE, LedgerDraft, LoadKey, MERGED, ONCE_READ, OutboxChange, OutboxRow, PENDING, PLANNED,
    Scope, Store, StoreError, SubjectRef, SuppressionDigest, SuppressionRow, WriteKey,
};
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A map that is asked several times for every contact of a load.
type Map<K, V> = HashMap<K, V, RandomState>;

/// How far back flips count (R26, R28), in microseconds.
pub const FLIP_WINDOW: i64 = HOUR;

/// What decisions depend on besides the store.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The configured rules.
    pub rules: &'a Rules,
    /// R58: who follows whom.
    pub links: &'a [Link],
    /// R25: a grant is not sent sooner than this after it was seen; microseconds.
    pub grant_settle: i64,
    /// Our clock.
    pub now: At,
    /// What turns is no news: it belongs to a first load of everything, or an operator turned it (R26).
    pub old_news: bool,
    /// R47: the gate is to be asked when the verdict of this purpose turns.
    pub gate: Option<PurposeId>,
    /// R55: the keys under which people who were erased are found again.
    pub suppressor: &'a Suppressor,
}

/// R58: contacts of `follower` belong to the subject of the contact of `anchor` with the same
/// shared person id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The system whose contacts follow.
    pub follower: SystemId,
    /// The system whose contacts lead.
    pub anchor: SystemId,
}

/// The place of a contact on the bench.
#[derive(Debug, Clone, Copy)]
pub struct Slot(usize);

/// Contacts by system and shared person id (R58).
type Shared<'a> = Map<(SystemId, &'a str), Vec<usize>>;

/// A contact on the bench.
struct Item {
    /// As stored; none for a new one.
    stored: Option<ContactRow>,
    contact: Contact,
    subject: Option<i64>,
    own_subject: Option<i64>,
    link: Option<String>,
    written_seq: i64,
    changed: bool,
}

/// What the store has at all within the scope: a first load finds none of it, and need not look for it
/// contact by contact.
struct Stored {
    /// Contacts to which a write of ours was acknowledged.
    written: bool,
    /// Writes in any state.
    outbox: bool,
    /// Writes whose outcome is not settled.
    in_flight: bool,
    /// Writes that wait until their contact has been read again.
    once_read: bool,
}

/// How often a transaction is begun again for load counts. The second time asks for those of all
/// contacts in scope; a third is needed only when somebody else's page came in between.
const MAX_TRIES: usize = 5;

/// One transaction on the store: lays out what it knows within `scope`, lets `act` change it, and
/// stores what follows, with what `complete` adds.
///
/// # Errors
/// When the store fails or holds what cannot be read. Nothing is stored then.
pub async fn transact(
    store: &dyn Store,
    mut scope: Scope,
    frame: Frame<'_>,
    packer: &Packer<'_>,
    mut act: impl FnMut(&mut Workbench<'_>) -> Result<(), PackError> + Send,
    mut complete: impl FnMut(&mut Changes) + Send,
) -> Result<Applied, StoreError> {
    for _ in 0..MAX_TRIES {
        let asked: ByLoad<()> = scope.loads.iter().map(|key| (key, ())).collect();
        let looked_for: HashSet<SuppressionDigest> = scope.suppressions.iter().copied().collect();
        let mut turn = Turn {
            lay_out: |known| Workbench::new(known, frame, packer, &asked, &scope),
            act: &mut act,
            complete: &mut complete,
            looked_for: &looked_for,
            bench: None,
            missing: Vec::new(),
            unasked: Vec::new(),
            unreadable: None,
        };
        let applied = store.transact(&scope, &mut turn).await?;
        let Turn {
            missing,
            unasked,
            unreadable,
            ..
        } = turn;
        if let Some(error) = unreadable {
            return Err(StoreError::Corrupt {
                what: "packed column",
                detail: error.to_string(),
            });
        }
        if missing.is_empty() && unasked.is_empty() {
            return Ok(applied);
        }
        scope.loads.extend(missing);
        scope.suppressions.extend(unasked);
    }
    Err(StoreError::Corrupt {
        what: "load counts",
        detail: "the contacts in scope change faster than they can be read".to_owned(),
    })
}

/// One try of [`transact`].
struct Turn<'a, L, A, C> {
    lay_out: L,
    act: A,
    complete: C,
    /// The scope asked for suppressions with these digests.
    looked_for: &'a HashSet<SuppressionDigest>,
    /// On which the subjects are still to be decided.
    bench: Option<Workbench<'a>>,
    /// The counts of these load keys are needed before anything can be decided.
    missing: Vec<LoadKey>,
    /// R55: it has to be known whether somebody was erased under these digests.
    unasked: Vec<SuppressionDigest>,
    unreadable: Option<PackError>,
}

impl<'a, L, A, C> Decider for Turn<'a, L, A, C>
where
    L: FnMut(Known) -> Result<Workbench<'a>, PackError> + Send,
    A: FnMut(&mut Workbench<'_>) -> Result<(), PackError> + Send,
    C: FnMut(&mut Changes) + Send,
{
    fn decide(&mut self, known: Known) -> Decision {
        (self.bench, self.missing, self.unreadable) = (None, Vec::new(), None);
        self.unasked = Vec::new();
        let acted = (self.lay_out)(known).and_then(|mut bench| {
            (self.act)(&mut bench)?;
            self.unasked = bench.unasked(self.looked_for);
            bench.suppress()?;
            Ok(bench)
        });
        match acted {
            Ok(mut bench) => {
                self.missing = bench.missing_loads();
                if self.missing.is_empty() && self.unasked.is_empty() {
                    bench.store_contacts();
                    let contacts = std::mem::take(&mut bench.changes.contacts);
                    self.bench = Some(bench);
                    return Decision::Contacts(contacts);
                }
            }
            Err(error) => self.unreadable = Some(error),
        }
        Decision::Whole(Box::default())
    }

    fn rest(&mut self) -> Option<Changes> {
        match self.bench.take()?.finish() {
            Ok(mut changes) => {
                (self.complete)(&mut changes);
                Some(changes)
            }
            Err(error) => {
                self.unreadable = Some(error);
                None
            }
        }
    }
}

/// See the module's documentation.
pub struct Workbench<'a> {
    frame: Frame<'a>,
    packer: &'a Packer<'a>,
    items: Vec<Item>,
    /// Places among `items`, by system and external id; in two steps, so that a borrowed id will do.
    by_id: Map<i16, Map<String, usize>>,
    places: Places,
    outbox: BTreeMap<WriteKey, OutboxRow>,
    stored: Stored,
    loads: ByLoad<i64>,
    /// The load keys whose counts were asked for; one that is missing from `loads` has none.
    asked: &'a ByLoad<()>,
    members: BTreeSet<(LoadKey, String)>,
    /// Load keys whose count has grown while that could still matter to its other members.
    grown: BTreeSet<LoadKey>,
    flips: Map<(i64, String), i64>,
    holds: Holds,
    next_subject: i64,
    /// R55: somebody was erased.
    any_suppressed: bool,
    /// Those who were, among the new subjects.
    suppressed: Map<SuppressionDigest, Vec<SuppressionRow>>,
    next_sequence: i64,
    /// In which state a new write begins.
    waiting: i16,
    changes: Changes,
}

impl<'a> Workbench<'a> {
    /// Lays out what the store knows, with room for as many contacts as were asked for.
    fn new(
        mut known: Known,
        frame: Frame<'a>,
        packer: &'a Packer<'a>,
        asked: &'a ByLoad<()>,
        scope: &Scope,
    ) -> Result<Self, PackError> {
        let (room, counts_flips) = (scope.contacts.len(), scope.flips_since.is_some());
        let mut outbox = known.outbox.iter();
        let stored = Stored {
            written: known.contacts.iter().any(|row| row.written_seq > 0),
            outbox: !known.outbox.is_empty(),
            in_flight: outbox.any(|row| !row.in_flight.is_empty()),
            once_read: known.outbox.iter().any(|row| row.not_before == ONCE_READ),
        };
        let holds = Holds::of(&mut known, counts_flips);
        let mut bench = Self {
            frame,
            packer,
            asked,
            stored,
            items: Vec::with_capacity(room.max(known.contacts.len())),
            by_id: Map::default(),
            places: Places::new(known.subjects, known.next_subject),
            outbox: known
                .outbox
                .into_iter()
                .map(|row| (row.key.clone(), row))
                .collect(),
            loads: known
                .loads
                .iter()
                .map(|count| (&count.key, count.contacts))
                .collect(),
            members: known.load_members.into_iter().collect(),
            grown: BTreeSet::new(),
            flips: known
                .flips
                .into_iter()
                .map(|(subject, purpose, count)| ((subject, purpose), count))
                .collect(),
            holds,
            next_subject: known.next_subject,
            any_suppressed: known.any_suppressed,
            suppressed: Map::default(),
            next_sequence: known.next_sequence,
            waiting: if known.planning == Some(true) {
                PLANNED
            } else {
                PENDING
            },
            changes: Changes::default(),
        };
        frame.suppressor.note(known.any_suppressed);
        for row in known.suppressed {
            bench.suppressed.entry(row.digest).or_default().push(row);
        }
        for row in known.contacts {
            let record = match frame.rules.system(SystemId(row.system)) {
                Some(system) => packer.unpack_record(system, &row.record)?,
                None => Record::default(),
            };
            let contact = Contact {
                system: SystemId(row.system),
                id: row.external.clone(),
                created: row.created.map(At::from_micros),
                modified: row.modified.map(At::from_micros),
                read_at: row.read_at.map(At::from_micros),
                life: life_of(&row),
                record,
            };
            bench.put(Item {
                contact,
                subject: row.subject,
                own_subject: row.own_subject,
                link: row.link.clone(),
                written_seq: row.written_seq,
                changed: false,
                stored: Some(row),
            });
        }
        Ok(bench)
    }

    fn put(&mut self, item: Item) -> usize {
        let index = self.items.len();
        if let Some(place) = item.subject.and_then(|id| self.places.get_mut(id)) {
            place.residents.push(index);
        }
        let room = self.items.capacity();
        self.by_id
            .entry(item.contact.system.0)
            .or_insert_with(|| Map::with_capacity_and_hasher(room, RandomState::default()))
            .insert(item.contact.id.clone(), index);
        self.items.push(item);
        index
    }

    /// The number of the ledger entry that the transaction would add first.
    pub fn next_sequence(&self) -> i64 {
        self.next_sequence
    }

    /// The contact as it is now, if it is known.
    pub fn contact(&self, system: SystemId, id: &str) -> Option<&Contact> {
        self.item(system, id).map(|item| &item.contact)
    }

    fn index(&self, system: SystemId, id: &str) -> Option<usize> {
        self.by_id.get(&system.0)?.get(id).copied()
    }

    fn item(&self, system: SystemId, id: &str) -> Option<&Item> {
        self.index(system, id)
            .and_then(|index| self.items.get(index))
    }

    /// The ledger sequence at our last acknowledged write to it; 0 when there was none.
    pub fn written_seq(&self, system: SystemId, id: &str) -> i64 {
        if !self.stored.written {
            return 0;
        }
        self.item(system, id).map_or(0, |item| item.written_seq)
    }

    /// Values of this contact's writes whose outcome is not settled.
    pub fn in_flight(&self, system: SystemId, id: &str) -> Vec<(PurposeId, Shown)> {
        if !self.stored.in_flight {
            return Vec::new();
        }
        unsettled(&self.outbox, self.packer, system, id)
    }

    /// Replaces a contact by what it has become; its place on the bench. Grants by an actor are counted
    /// towards loads (R25).
    pub fn set_contact(&mut self, contact: Contact) -> Slot {
        let known = self.index(contact.system, &contact.id);
        let (index, before) = if let Some(index) = known {
            let Some(item) = self.items.get_mut(index) else {
                return Slot(index);
            };
            if item.contact == contact {
                return Slot(index);
            }
            item.changed = true;
            (index, Some(std::mem::replace(&mut item.contact, contact)))
        } else {
            let new = Item {
                stored: None,
                contact,
                subject: None,
                own_subject: None,
                link: None,
                written_seq: 0,
                changed: true,
            };
            (self.put(new), None)
        };
        let Some(item) = self.items.get(index) else {
            return Slot(index);
        };
        let system = item.contact.system.0;
        let mut keys = Vec::new();
        for (purpose, holding) in item.contact.record.iter() {
            for statement in &holding.statements {
                let known = before
                    .as_ref()
                    .and_then(|contact| contact.record.get(purpose))
                    .is_some_and(|old| old.statements.contains(statement));
                if !known && let Some(key) = load_key(system, statement) {
                    keys.push((key, item.contact.id.clone()));
                }
            }
        }
        if let Some(subject) = item.subject {
            self.places.touch(subject);
        }
        // Once a load is recognised, each further contact is touched by its own change.
        let most = i64::from(self.frame.rules.policy.load_contacts).saturating_mul(2);
        for (key, id) in keys {
            if self.members.insert((key.clone(), id.clone())) {
                let count = self.loads.entry(&key);
                *count += 1;
                if *count <= most {
                    self.grown.insert(key.clone());
                }
                self.changes.load_members.push((key, id));
            }
        }
        Slot(index)
    }

    /// R25: what was granted before a load was recognised is decided again.
    fn touch_loads(&mut self) {
        let minutes: BTreeSet<LoadKey> = self.grown.iter().flat_map(around).collect();
        for from in minutes {
            let members = self.members.range((from.clone(), String::new())..);
            for (_, id) in members.take_while(|(member, _)| *member == from) {
                let index = self.by_id.get(&from.system).and_then(|ids| ids.get(id));
                let item = index.and_then(|index| self.items.get(*index));
                if let Some(subject) = item.and_then(|item| item.subject) {
                    self.places.touch(subject);
                }
            }
        }
    }

    /// Numbers those of these subjects that are new, in the order in which they are given: in that of
    /// their keyed hashes they fill the store's table and its index one after the other.
    pub fn expect_subjects(&mut self, subjects: &[&(SubjectRef, SubjectKey)]) {
        self.places.reserve(subjects.len());
        for (subject, key) in subjects {
            self.places.find_or_add(*subject, key);
        }
    }

    /// Gives a contact its own subject and link; [`Workbench::settle_homes`] then decides where it
    /// belongs. `None` for an address that is blank or invalid (R2).
    pub fn set_home(
        &mut self,
        slot: Slot,
        own: Option<(SubjectRef, &SubjectKey)>,
        link: Option<&str>,
    ) {
        let own_subject = own.map(|(subject, key)| self.places.find_or_add(subject, key));
        let Some(item) = self.items.get_mut(slot.0) else {
            return;
        };
        if item.own_subject != own_subject || item.link.as_deref() != link {
            item.own_subject = own_subject;
            item.link = link.map(str::to_owned);
            item.changed = true;
        }
    }

    /// Gives a contact its own subject and leaves its link as it is.
    pub fn set_own_subject(&mut self, slot: Slot, own: Option<(SubjectRef, &SubjectKey)>) {
        let link = self.items.get(slot.0).and_then(|item| item.link.clone());
        self.set_home(slot, own, link.as_deref());
    }

    /// R3, R58: moves every contact to the subject it belongs to now.
    ///
    /// # Errors
    /// When a stored row cannot be read back.
    pub fn settle_homes(&mut self) -> Result<(), PackError> {
        let mut shared: Shared<'_> = Map::default();
        // Without any follower nobody is led, and nobody leads.
        let follows = |item: &Item| {
            let mut links = self.frame.links.iter();
            links.any(|link| link.follower == item.contact.system)
        };
        if self.items.iter().any(follows) {
            for (index, item) in self.items.iter().enumerate() {
                if let Some(link) = item.link.as_deref().filter(|_| item.contact.life.is_live()) {
                    shared
                        .entry((item.contact.system, link))
                        .or_default()
                        .push(index);
                }
            }
        }
        let mut homes: Vec<(usize, Option<i64>)> = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            let home = self.linked(item, &shared).or(item.own_subject);
            if home != item.subject {
                homes.push((index, home));
            }
        }
        for (index, home) in homes {
            self.relocate(index, home)?;
        }
        Ok(())
    }

    /// R58: where a link makes this contact belong; none where its own address decides.
    ///
    /// The followers' home is the one subject that the anchors' addresses name. An anchor without a
    /// usable address of its own belongs where its follower belongs.
    fn linked(&self, item: &Item, shared: &Shared<'_>) -> Option<i64> {
        let id = item.link.as_deref()?;
        let system = item.contact.system;
        let link = self
            .frame
            .links
            .iter()
            .find(|link| link.follower == system || link.anchor == system)?;
        if link.anchor == system && item.own_subject.is_some() {
            return None;
        }
        let live = |system: SystemId| {
            let found = shared.get(&(system, id)).map_or(&[][..], Vec::as_slice);
            found.iter().filter_map(|index| self.items.get(*index))
        };
        // Two followers with one id: the anchor's link points at several, so neither is meant.
        let mut followers = live(link.follower);
        let follower = followers.next()?;
        if followers.next().is_some() {
            return None;
        }
        let mut homes = live(link.anchor).filter_map(|anchor| anchor.own_subject);
        match homes.next() {
            Some(home) => homes.all(|other| other == home).then_some(home),
            None => follower.own_subject,
        }
    }

    /// R3, R14: a contact leaves one subject, where its withdrawals are remembered, and joins
    /// another with all its statements.
    fn relocate(&mut self, index: usize, home: Option<i64>) -> Result<(), PackError> {
        let Some(item) = self.items.get_mut(index) else {
            return Ok(());
        };
        let left = std::mem::replace(&mut item.subject, home);
        item.changed = true;
        if let Some(left) = left {
            if let Some(place) = self.places.get_mut(left) {
                place.residents.retain(|resident| *resident != index);
                place.touched = true;
            }
            // What it said while it lived there is what was stored then, not what it says on arrival.
            let system = self.frame.rules.system(item.contact.system);
            let said = match (&item.stored, system) {
                (Some(row), Some(system)) => self.packer.unpack_record(system, &row.record)?,
                _ => Record::default(),
            };
            // R49: the last one that counts while the system's legal-basis sync is off, too.
            let heard = |statement: &&Statement| {
                statement.status == Status::Withdrawn
                    && system.is_some_and(|system| system.hears(statement))
            };
            let source = Source {
                system: Some(item.contact.system),
                contact: item.contact.id.clone(),
            };
            let withdrawals: Vec<Remembered> = said
                .iter()
                .flat_map(|(purpose, holding)| {
                    let last = [holding.last_withdrawal(), holding.said().find(heard)];
                    last.into_iter().flatten().map(move |last| (purpose, last))
                })
                .map(|(purpose, last)| Remembered {
                    purpose,
                    source: source.clone(),
                    statement: last.clone(),
                    overruled: false,
                })
                .collect();
            self.remember(left, withdrawals)?;
        }
        if let Some(place) = home.and_then(|home| self.places.get_mut(home)) {
            place.residents.push(index);
            place.touched = true;
        }
        Ok(())
    }

    /// Adds statements without a contact to a subject (R14, R18).
    ///
    /// # Errors
    /// When the stored list cannot be read back.
    pub fn remember(&mut self, subject: i64, statements: Vec<Remembered>) -> Result<(), PackError> {
        let mut all = self.remembered(subject)?;
        let Some(place) = self.places.get_mut(subject) else {
            return Ok(());
        };
        for statement in statements {
            if !all.contains(&statement) {
                all.push(statement);
                place.touched = true;
            }
        }
        // A set has no order; the stored text needs one that does not depend on arrival.
        all.sort();
        place.remembered = Some(all);
        Ok(())
    }

    fn remembered(&self, subject: i64) -> Result<Vec<Remembered>, PackError> {
        match self.places.get(subject) {
            None => Ok(Vec::new()),
            Some(place) => match &place.remembered {
                Some(all) => Ok(all.clone()),
                None => self.packer.unpack_remembered(&place.row.remembered),
            },
        }
    }

    /// Notes that a write took effect: the contact shows it, and what was asked for before is
    /// stale (R15, R33).
    ///
    /// # Errors
    /// When the stored write cannot be read back.
    pub fn acknowledge(
        &mut self,
        key: &WriteKey,
        version: i64,
        sent: &str,
        how: &'static str,
    ) -> Result<(), PackError> {
        let write = self.packer.unpack_changes(sent)?;
        let seq = self.next_sequence + self.changes.ledger.len() as i64;
        let Some(index) = self.index(SystemId(key.system), &key.external) else {
            return Ok(());
        };
        let subject = {
            let Some(item) = self.items.get_mut(index) else {
                return Ok(());
            };
            for change in &write.changes {
                let holding = item.contact.record.entry(change.purpose);
                holding.wrote(change.to.clone());
            }
            item.written_seq = seq;
            item.changed = true;
            item.subject
        };
        if let Some(subject) = subject {
            self.places.touch(subject);
        }
        self.forget_in_other_lane(key, &write.changes)?;
        if let Some(row) = self.outbox.get_mut(key) {
            row.in_flight = String::new();
            let row = row.clone();
            if row.version == version {
                self.outbox.remove(key);
                self.changes.outbox.push(OutboxChange::Drop(key.clone()));
            } else {
                self.changes.outbox.push(OutboxChange::Put(row));
            }
        }
        let subject_ref = subject
            .and_then(|id| self.places.get(id))
            .map(|place| place.row.subject);
        let body = written(subject_ref.as_ref(), key, how, sent);
        self.log("written", subject, Some(key.system), body);
        Ok(())
    }

    /// Has a subject decided anew although nothing of it changed, because the rules have (R18). It must
    /// be one that the scope named, since only of these everybody is on the bench.
    pub fn decide_anew(&mut self, subject: SubjectRef) {
        if let Some(id) = self.places.find(&subject) {
            self.places.touch(id);
        }
    }

    fn log(&mut self, kind: &'static str, subject: Option<i64>, system: Option<i16>, body: String) {
        self.changes.ledger.push(LedgerDraft {
            kind,
            subject,
            system,
            at: self.frame.now.micros(),
            body,
        });
    }

    /// Resolves and plans every touched subject and gives what has to be stored, without the contacts.
    fn finish(mut self) -> Result<Changes, PackError> {
        let touched: Vec<i64> = self.places.touched().map(|place| place.row.id).collect();
        for subject in touched {
            self.decide(subject)?;
        }
        self.guard_against_mass_change();
        self.store_subjects()?;
        Ok(self.changes)
    }

    /// R25: every statement of a subject that is decided anew has to be judged by the full counts
    /// of its load key, also where another contact's change is the cause.
    fn missing_loads(&mut self) -> Vec<LoadKey> {
        self.touch_loads();
        let mut missing = BTreeSet::new();
        let residents = self.places.touched().flat_map(|place| &place.residents);
        let residents = residents.filter_map(|index| self.items.get(*index));
        for item in residents {
            let system = item.contact.system.0;
            for (_, holding) in item.contact.record.iter() {
                for (actor, minute) in holding.statements.iter().filter_map(load_of) {
                    let near = minute - 1..=minute + 1;
                    let unasked = near.filter(|m| self.asked.get(system, *m, actor).is_none());
                    missing.extend(unasked.map(|minute| LoadKey {
                        system,
                        minute,
                        actor: actor.to_owned(),
                    }));
                }
            }
        }
        missing.into_iter().collect()
    }
}

/// Values of a contact's writes whose outcome is not settled. A write that cannot be read back is
/// treated as settled; the re-read before the next attempt shows what it did.
fn unsettled(
    outbox: &BTreeMap<WriteKey, OutboxRow>,
    packer: &Packer<'_>,
    system: SystemId,
    id: &str,
) -> Vec<(PurposeId, Shown)> {
    // A first load asks this of every contact while there is no write at all.
    if outbox.is_empty() {
        return Vec::new();
    }
    let from = WriteKey {
        system: system.0,
        external: id.to_owned(),
        lane: LANE_WITHDRAWAL,
    };
    let to = WriteKey {
        lane: LANE_GRANT,
        ..from.clone()
    };
    outbox
        .range(from..=to)
        .map(|(_, row)| row)
        .flat_map(|row| row.in_flight.lines())
        .filter_map(|line| packer.unpack_changes(line).ok())
        .flat_map(|write| write.changes)
        .map(|change| (change.purpose, change.to))
        .collect()
}

/// A key with those of the minutes before and after: a load may straddle a minute's end.
pub fn around(key: &LoadKey) -> impl Iterator<Item = LoadKey> + '_ {
    (-1..=1).map(|offset| LoadKey {
        minute: key.minute + offset,
        ..key.clone()
    })
}

/// R25: the actor and the minute under which a grant counts towards a load; none for what is no grant
/// seen by us with its actor.
fn load_of(statement: &Statement) -> Option<(&str, i64)> {
    let counts = statement.status == Status::Granted && statement.evidence > Evidence::Baseline;
    let actor = statement.actor.as_deref().filter(|_| counts)?;
    Some((actor, statement.stamp.latest().minute()))
}

/// R25: the key under which a grant counts towards a load.
pub fn load_key(system: i16, statement: &Statement) -> Option<LoadKey> {
    let (actor, minute) = load_of(statement)?;
    Some(LoadKey {
        system,
        minute,
        actor: actor.to_owned(),
    })
}

fn life_of(row: &ContactRow) -> Life {
    match row.life {
        DELETED => Life::Deleted,
        MERGED => Life::Merged {
            into: row.merged_into.clone().unwrap_or_default(),
        },
        _ => Life::Live,
    }
}

fn contact_row(item: &Item, record: String) -> ContactRow {
    let (life, merged_into) = match &item.contact.life {
        Life::Live => (LIVE, None),
        Life::Deleted => (DELETED, None),
        Life::Merged { into } => (MERGED, Some(into.clone())),
    };
    ContactRow {
        system: item.contact.system.0,
        external: item.contact.id.clone(),
        subject: item.subject,
        own_subject: item.own_subject,
        link: item.link.clone(),
        created: item.contact.created.map(At::micros),
        modified: item.contact.modified.map(At::micros),
        read_at: item.contact.read_at.map(At::micros),
        life,
        merged_into,
        written_seq: item.written_seq,
        record,
    }
}
