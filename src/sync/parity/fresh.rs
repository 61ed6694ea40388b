//! What the systems show at present, whatever the store believes.
//!
//! Every system that is switched on is read from the start, with connectors that cannot write, into a
//! store of its own that is thrown away: by the same engine, so that what a vendor's records mean is
//! known in one place only, and on disk, so that memory does not grow with the number of contacts.
//! Nothing of the daemon's store is changed.

use super::{Drift, Ground, PAGE, Parity, Person, Seat, unmatched, unreadable, word};
use crate::config::Checked;
use crate::connector::{Fault, FaultClass};
use crate::consent::plan::agrees;
use crate::consent::{At, PurposeId, Record, Rules, Shown, SystemId};
use crate::runtime::clock::Clock;
use crate::store::{
    self, Access, CLAIMED, ContactRow, LIVE, OutboxRow, PENDING, PLANNED, Scope, Store, StoreError,
    StoreSettings, SubjectRef,
};
use crate::sync::assemble::{Connect, Engine, Lines, NotConnected, Parts, rules};
use crate::sync::engine::{Event, Listener, Member, SyncError};
use crate::sync::pack::{PackError, Packer};
use crate::sync::poll;
use crate::sync::redecide;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Why the systems could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FreshError {
    /// A connector cannot be built.
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    /// An operator paused it, so no call may be made (R50).
    #[error("{system} is paused, so it cannot be asked; resume it first")]
    Paused {
        /// Configured name.
        system: String,
    },
    /// It did not answer as it should.
    #[error("{system} cannot be read")]
    System {
        /// Configured name.
        system: String,
        /// Why.
        #[source]
        fault: SyncError,
    },
    /// The store that is thrown away cannot be made.
    #[error("there is no room for what is read")]
    Folder(#[from] std::io::Error),
    /// A store failed.
    #[error("a store failed")]
    Store(#[from] StoreError),
    /// Whoever asked was told to stop.
    #[error("it was told to stop")]
    Stopped,
}

/// See the module's documentation.
pub struct Fresh {
    store: Arc<dyn Store>,
    rules: Rules,
    /// The systems that were read, with the system time up to which everything was.
    read: BTreeMap<String, Option<At>>,
    /// The daemon's store had this many ledger entries then.
    sequence: i64,
    /// Keeps the store's file until the end.
    _folder: TempDir,
}

/// The contacts of a page as the systems show them, by system name and external id.
pub(super) struct Seen(HashMap<(String, String), (ContactRow, Option<SubjectRef>)>);

/// Nobody watches this engine.
struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _system: &str, _event: Event) {}
}

/// Reads everything into a store that is thrown away with the folder.
///
/// # Errors
/// When a system cannot be read whole.
pub async fn read_all(
    checked: &Checked,
    connect: &Connect,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<(Arc<dyn Store>, TempDir), FreshError> {
    let folder = tempfile::Builder::new()
        .prefix("consentd-read-")
        .tempdir()?;
    let scratch = StoreSettings::Sqlite {
        path: folder.path().join("read.db"),
    };
    let store = store::open(&scratch, Access::Daemon).await?;
    let engine = dry(checked, &store, connect, clock).await?;
    for member in &engine.members {
        drain(member, stop).await?;
    }
    Ok((store, folder))
}

/// What a read went on from, and how far it came.
pub struct Foresight {
    /// The daemon's store as it would be after one more poll of everything; thrown away with the folder.
    pub store: Arc<dyn Store>,
    /// Systems that were not asked, because they are paused or halted.
    pub unasked: Vec<String>,
    /// Every system that is switched on has been read whole once.
    pub complete: bool,
    /// Keeps the store's file until the end.
    _folder: TempDir,
}

/// Copies the daemon's store, and reads on from there by the same engine with connectors that cannot
/// write, until every feed is drained. The daemon's store is not changed.
///
/// # Errors
/// When a system that is neither paused nor halted cannot be read to the end, or a store fails.
pub async fn foresee(
    checked: &Checked,
    daemon: &dyn Store,
    connect: &Connect,
    clock: Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Foresight, FreshError> {
    let folder = tempfile::Builder::new()
        .prefix("consentd-plan-")
        .tempdir()?;
    let path = folder.path().join("copy.db");
    daemon.copy_to(&path).await?;
    let store = store::open(&StoreSettings::Sqlite { path }, Access::Daemon).await?;
    let engine = dry(checked, &store, connect, clock).await?;
    let (mut unasked, mut complete) = (Vec::new(), true);
    for member in &engine.members {
        if member.is_askable().await? {
            drain(member, stop).await?;
        } else {
            complete &= store.feed(member.id.0).await?.loaded;
            unasked.push(member.name.clone());
        }
    }
    // The configuration may be newer than what the daemon decided by.
    redecide::decide_all(&engine.shared, stop).await?;
    if stop.is_cancelled() {
        return Err(FreshError::Stopped);
    }
    Ok(Foresight {
        store,
        unasked,
        complete,
        _folder: folder,
    })
}

/// An engine on a store that is thrown away, which cannot write to any system.
async fn dry(
    checked: &Checked,
    store: &Arc<dyn Store>,
    connect: &Connect,
    clock: Arc<dyn Clock>,
) -> Result<Engine, FreshError> {
    let parts = Parts {
        store: Arc::clone(store),
        clock,
        listener: Arc::new(Deaf),
        read_only: true,
    };
    let lines = Lines::build(checked, &Lines::default(), connect)?;
    Ok(Engine::assemble(checked, parts, &lines).await?)
}

/// Reads a system to the end.
async fn drain(member: &Member, stop: &CancellationToken) -> Result<(), FreshError> {
    let refused = |fault| FreshError::System {
        system: member.name.clone(),
        fault,
    };
    let reading = async {
        let rules = member.log_in().await?;
        poll::poll(member, &rules, stop).await
    };
    reading.await.map_err(refused)?;
    if stop.is_cancelled() {
        return Err(FreshError::Stopped);
    }
    let feed = member.shared.store.feed(member.id.0).await?;
    if let Some(why) = feed.halted {
        let fault = Fault::new(FaultClass::Rejected, "halted", why);
        return Err(refused(fault.into()));
    }
    if !feed.loaded {
        let why = "its feed ended before everything was read";
        let fault = Fault::new(FaultClass::ContractBroken, "incomplete", why);
        return Err(refused(fault.into()));
    }
    Ok(())
}

impl Fresh {
    /// Asks every system that is switched on. `daemon`: the store that it is compared with.
    ///
    /// # Errors
    /// When one of them is paused or cannot be read whole.
    pub async fn read(
        checked: &Checked,
        daemon: &dyn Store,
        connect: &Connect,
        clock: Arc<dyn Clock>,
        stop: &CancellationToken,
    ) -> Result<Self, FreshError> {
        let enabled = checked.systems.iter().filter(|system| system.enabled);
        let enabled: BTreeSet<String> = enabled.map(|system| system.name.clone()).collect();
        for (id, system) in daemon.systems().await? {
            if enabled.contains(&system) && daemon.feed(id).await?.paused {
                return Err(FreshError::Paused { system });
            }
        }
        let sequence = daemon.sequence();
        let (store, folder) = read_all(checked, connect, clock, stop).await?;
        let mut read = BTreeMap::new();
        for (id, system) in store.systems().await? {
            if enabled.contains(&system) {
                let drained = store.feed(id).await?.drained;
                read.insert(system, drained.map(At::from_micros));
            }
        }
        Ok(Self {
            rules: rules(checked, &*store).await?,
            store,
            read,
            sequence,
            _folder: folder,
        })
    }

    /// Live contacts without a usable address, by system name.
    pub(super) async fn unmatched(&self, now: At) -> Result<BTreeMap<String, u64>, StoreError> {
        unmatched(&*self.store, &self.rules, now).await
    }

    fn number(&self, name: &str) -> Option<i16> {
        let mut systems = self.rules.systems.iter();
        let found = systems.find(|system| system.name == name);
        found.map(|system| system.id.0)
    }

    /// These contacts of the daemon's store as the systems show them. One question for all of them.
    pub(super) async fn look(
        &self,
        rules: &Rules,
        contacts: &[ContactRow],
    ) -> Result<Seen, StoreError> {
        let keys = contacts.iter().filter_map(|row| {
            let name = rules.system_name(SystemId(row.system));
            Some((self.number(name)?, row.external.clone()))
        });
        let scope = Scope {
            contacts: keys.collect(),
            ..Scope::default()
        };
        let found = self.store.known(&scope).await?;
        let subjects: HashMap<i64, SubjectRef> = found
            .subjects
            .iter()
            .map(|row| (row.id, row.subject))
            .collect();
        let rows = found.contacts.into_iter().map(|row| {
            let name = self.rules.system_name(SystemId(row.system)).to_owned();
            let subject = row.subject.and_then(|id| subjects.get(&id)).copied();
            ((name, row.external.clone()), (row, subject))
        });
        Ok(Seen(rows.collect()))
    }

    /// Holds a contact against what its system shows. Whether it is there.
    pub(super) fn judge(
        &self,
        parity: &mut Parity,
        ground: &Ground<'_>,
        person: &Person<'_>,
        seat: &mut Seat<'_>,
        seen: &Seen,
    ) -> Result<bool, PackError> {
        let (name, row) = (&seat.system.name, seat.row);
        let was_there = row.life == LIVE;
        if !self.read.contains_key(name) {
            return Ok(was_there);
        }
        let mut drift = Drift {
            system: name.clone(),
            contact: row.external.clone(),
            subject: person.row.subject.short(),
            purpose: None,
            what: "",
            found: None,
            stored: None,
            wanted: None,
        };
        let found = seen.0.get(&(name.clone(), row.external.clone()));
        let Some((fresh, subject)) = found.filter(|(fresh, _)| fresh.life == LIVE) else {
            if was_there && self.may_be_new(name, row) {
                parity.moved += 1;
            } else if was_there {
                drift.what = "the contact is gone";
                parity.drifts(drift);
            }
            return Ok(false);
        };
        if self.has_moved(row, fresh) || is_older(fresh, &seat.record) {
            parity.moved += 1;
            return Ok(was_there);
        }
        if !was_there {
            drift.what = "the contact is back";
            parity.drifts(drift);
            return Ok(false);
        }
        if *subject != Some(person.row.subject) && self.can_follow(ground, row) {
            drift.what = "the contact has another address";
            parity.drifts(drift.clone());
        }
        let Some(theirs) = self.rules.system(SystemId(fresh.system)) else {
            return Ok(true);
        };
        let record = Packer::new(&self.rules).unpack_record(theirs, &fresh.record)?;
        self.hold_against(parity, ground, person, seat, &record, &drift)?;
        seat.fresh = Some(record);
        Ok(true)
    }

    /// R58: a linked contact belongs to the subject of another one, which has to have been read too.
    fn can_follow(&self, ground: &Ground<'_>, row: &ContactRow) -> bool {
        let mut systems = ground.rules.systems.iter();
        row.link.is_none()
            || systems
                .all(|system| system.carries.is_empty() || self.read.contains_key(&system.name))
    }

    /// Every value against what the store believes.
    fn hold_against(
        &self,
        parity: &mut Parity,
        ground: &Ground<'_>,
        person: &Person<'_>,
        seat: &Seat<'_>,
        fresh: &Record,
        drift: &Drift,
    ) -> Result<(), PackError> {
        for &(purpose, polarity) in &seat.system.carries {
            let name = self.rules.purposes.name(purpose);
            let (Some(found), Some(stored)) = (fresh.shown(purpose), seat.record.shown(purpose))
            else {
                continue;
            };
            if is_same(found, stored) {
                continue;
            }
            if self.has_said_more(seat, purpose) {
                parity.moved += 1;
                continue;
            }
            let is_open = |write: &OutboxRow| {
                matches!(write.state, PENDING | CLAIMED | PLANNED) || !write.in_flight.is_empty()
            };
            if ground.sets(seat.row, purpose, is_open)? {
                parity.under_way += 1;
                continue;
            }
            let wanted = person
                .verdict(name)
                .map(|verdict| word(&ground.wanted(verdict, polarity, seat.system.id)));
            parity.drifts(Drift {
                purpose: Some(name.to_owned()),
                what: "the value is another",
                found: Some(word(found)),
                stored: Some(word(stored)),
                wanted,
                ..drift.clone()
            });
        }
        Ok(())
    }

    /// The contact may have been made after its system was read. Both times are the system's.
    fn may_be_new(&self, system: &str, row: &ContactRow) -> bool {
        let drained = self.read.get(system).copied().flatten();
        let is_later = |created| drained.is_none_or(|drained| created > drained.micros());
        row.created.is_some_and(is_later) || row.written_seq > self.sequence
    }

    /// The daemon wrote to it, or read something newer of it, since reading began.
    fn has_moved(&self, row: &ContactRow, fresh: &ContactRow) -> bool {
        row.written_seq > self.sequence
            || row
                .read_at
                .zip(fresh.read_at)
                .is_some_and(|(ours, theirs)| ours > theirs)
    }

    /// The instant of which a system tells, by its name: up to it everything was read.
    pub(super) fn as_of(&self) -> BTreeMap<String, At> {
        let read = self.read.iter();
        read.filter_map(|(name, at)| Some((name.clone(), (*at)?)))
            .collect()
    }

    /// Where consent is recorded apart from the contact, nothing but the records tells when it was read:
    /// the store has one that is later than all that was.
    fn has_said_more(&self, seat: &Seat<'_>, purpose: PurposeId) -> bool {
        let drained = self.read.get(&seat.system.name).copied().flatten();
        let Some((drained, holding)) = drained.zip(seat.record.get(purpose)) else {
            return false;
        };
        let mut said = holding.statements.iter();
        seat.row.read_at.is_none() && said.any(|statement| statement.stamp.latest() > drained)
    }

    /// Adds the contacts that the daemon's store knows nothing of, or nobody they belong to.
    pub(super) async fn find_unknown(
        &self,
        daemon: &dyn Store,
        rules: &Rules,
        parity: &mut Parity,
    ) -> Result<(), StoreError> {
        let numbers: BTreeMap<&str, i16> = rules
            .systems
            .iter()
            .map(|system| (system.name.as_str(), system.id.0))
            .collect();
        let packer = Packer::new(&self.rules);
        let mut after = 0;
        loop {
            let page = self.store.subjects_after(after, PAGE).await?;
            let Some(last) = page.subjects.last() else {
                return Ok(());
            };
            after = last.id;
            let subjects: HashMap<i64, SubjectRef> = page
                .subjects
                .iter()
                .map(|row| (row.id, row.subject))
                .collect();
            let live: Vec<(&ContactRow, i16)> = page
                .contacts
                .iter()
                .filter(|row| row.life == LIVE)
                .filter_map(|row| {
                    let name = self.rules.system_name(SystemId(row.system));
                    Some((row, *numbers.get(name)?))
                })
                .collect();
            let keys: Vec<(i16, &str)> = live
                .iter()
                .map(|(row, number)| (*number, row.external.as_str()))
                .collect();
            let known = daemon.subjects_of(&keys).await?;
            for ((row, _), known) in live.iter().zip(known) {
                if known.is_some() {
                    continue;
                }
                let subject = row.subject.and_then(|id| subjects.get(&id));
                self.unknown(parity, &packer, row, subject)
                    .map_err(|error| unreadable(&error))?;
            }
        }
    }

    fn unknown(
        &self,
        parity: &mut Parity,
        packer: &Packer<'_>,
        row: &ContactRow,
        subject: Option<&SubjectRef>,
    ) -> Result<(), PackError> {
        let Some(system) = self.rules.system(SystemId(row.system)) else {
            return Ok(());
        };
        let record = packer.unpack_record(system, &row.record)?;
        let master = system.carries.first();
        parity.drifts(Drift {
            system: system.name.clone(),
            contact: row.external.clone(),
            subject: subject.map(SubjectRef::short).unwrap_or_default(),
            purpose: None,
            what: "the store knows no such contact, or no usable address of it",
            found: master
                .and_then(|(purpose, _)| record.shown(*purpose))
                .map(word),
            stored: None,
            wanted: None,
        });
        Ok(())
    }
}

/// A file tells of the instant at which it was made; it may not show what took effect later.
fn is_older(fresh: &ContactRow, stored: &Record) -> bool {
    let told = fresh.read_at.map(At::from_micros);
    told.zip(stored.written_at)
        .is_some_and(|(told, written)| told < written)
}

/// Whether two values of one field are the same; a record without a basis is as good as one with it.
fn is_same(one: &Shown, other: &Shown) -> bool {
    agrees(one, other) || agrees(other, one)
}
