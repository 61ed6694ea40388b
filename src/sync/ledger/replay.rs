//! Rebuilds what the ledger tells of – contacts, what operators stated, and the verdicts that follow –
//! in a store that is thrown away, and compares it with the store that is kept (G9).
//!
//! Decisions are made by the same bench and under the present rules; nothing is written to any system.
//! The ledger is proved on the way. Both sides are compared page by page, at the same entry of the
//! ledger, so that it may be done beside a daemon. The ledger does not tell of every reading, only of
//! those that showed something new, nor of addresses: when a contact was last modified or read, and
//! its own address beside a link, are not compared.

use super::{BATCH, ERASED, Hear, Progress};
use crate::consent::{
    At, Contact, Life, Record, Remembered, Rules, SubjectKey, SystemId, SystemRules,
};
use crate::store::ledger::{ChainFault, FORGOTTEN, Head, StoredBlock, verify_range};
use crate::store::{
    self, Access, Changes, ContactRow, DELETED, HoldChanges, Known, LedgerRow, MERGED, Scope,
    Store, StoreError, StoreSettings, SubjectRef, SubjectRow,
};
use crate::sync::pack::{PackError, Packer};
use crate::sync::suppression::Suppressor;
use crate::sync::workbench::{Frame, Workbench, around, load_key, transact};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tempfile::TempDir;

/// Subjects that are compared at once.
const PAGE: usize = 500;

/// So many differences are listed; all are counted.
pub const MAX_LISTED: usize = 1_000;

/// What stands for an address that the ledger does not tell.
const NOBODY: &str = "nobody@ledger.invalid";

/// Something that the ledger tells otherwise than the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The first digits of the subject's keyed hash; none for what is about a whole system.
    pub subject: Option<String>,
    /// System name, where it is about one.
    pub system: Option<String>,
    /// External id, where it is about a contact.
    pub contact: Option<String>,
    /// What differs.
    pub what: String,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries that were replayed.
    pub entries: u64,
    /// Those of them that were forgotten, and so could not be.
    pub forgotten: u64,
    /// Subjects that were compared.
    pub subjects: u64,
    /// Subjects that cannot be rebuilt whole, because entries about them may have been forgotten.
    pub not_replayable: u64,
    /// Differences.
    pub different: u64,
    /// The first [`MAX_LISTED`] of them.
    pub differences: Vec<Difference>,
    /// Not every subject of the store is decided under the present rules yet; differences may be due to
    /// that.
    pub undecided: bool,
    /// The ledger could not be proved, so that it was replayed no further and nothing more was compared.
    pub fault: Option<ChainFault>,
}

impl Replayed {
    /// Whether the store is what the ledger gives.
    pub const fn is_same(&self) -> bool {
        self.different == 0 && self.fault.is_none()
    }

    fn differ(&mut self, found: impl IntoIterator<Item = Difference>) {
        for difference in found {
            self.different += 1;
            if self.differences.len() < MAX_LISTED {
                self.differences.push(difference);
            }
        }
    }
}

/// Why the ledger could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store that is thrown away cannot be made.
    #[error("there is no room for what is rebuilt")]
    Folder(#[from] std::io::Error),
    /// An entry does not say what its kind must say.
    #[error("ledger entry {0} cannot be replayed")]
    Unreadable(i64),
    /// A packed column cannot be read.
    #[error(transparent)]
    Packed(#[from] PackError),
    /// The systems of the store have gaps in their numbers, so that they cannot be given again.
    #[error("the systems of the store cannot be numbered again as they are")]
    Systems,
}

/// Rebuilds everything and compares it with `kept`. `told` hears how far the replay has come.
///
/// # Errors
/// When a store fails, or holds what cannot be read.
pub async fn check(
    kept: &dyn Store,
    rules: &Rules,
    told: Hear<'_>,
) -> Result<Replayed, ReplayError> {
    let mut replay = Replay::begin(kept, rules, told).await?;
    let decided = kept.decided().await?;
    replay.outcome.undecided = decided.policy != rules.policy.version || decided.through.is_some();
    match replay.compare_all().await {
        Ok(()) => Ok(replay.outcome),
        Err(Stop::Fault(fault)) => Ok(Replayed {
            fault: Some(fault),
            ..replay.outcome
        }),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Why a replay ends early.
enum Stop {
    Fault(ChainFault),
    Error(ReplayError),
}

impl<E: Into<ReplayError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// One replay.
struct Replay<'a> {
    kept: &'a dyn Store,
    rules: &'a Rules,
    packer: Packer<'a>,
    nobody: SubjectKey,
    /// The ledger itself tells who came back after an erasure (R55); nobody is looked for.
    suppressor: Suppressor,
    /// What follows from the ledger.
    rebuilt: Arc<dyn Store>,
    /// Only subjects, with the verdicts of the last entry about theirs.
    said: Arc<dyn Store>,
    head: Head,
    gone: Gone,
    outcome: Replayed,
    told: Hear<'a>,
    /// Keeps the files of both stores until the end.
    _folder: TempDir,
}

/// Where entries are forgotten.
#[derive(Default)]
struct Gone {
    /// The blocks with such entries: the `last` of the first and of the last of a run of them.
    blocks: Vec<(i64, i64)>,
    /// The block before ended there.
    previous: i64,
    /// Who was erased.
    subjects: HashSet<SubjectRef>,
}

impl Gone {
    fn note(&mut self, block: i64, forgotten: bool) {
        if forgotten {
            match self.blocks.last_mut() {
                Some((_, to)) if *to == self.previous => *to = block,
                _ => self.blocks.push((block, block)),
            }
        }
        self.previous = block;
    }

    fn holds(&self, block: i64) -> bool {
        let place = self.blocks.partition_point(|(_, to)| *to < block);
        self.blocks
            .get(place)
            .is_some_and(|(from, _)| *from <= block)
    }
}

/// What an entry is replayed as.
enum Act {
    /// The contact became this; its home and its link.
    Seen(Contact, Option<SubjectRef>, Option<String>),
    /// Statements without a contact, packed.
    Stated(SubjectRef, String),
}

/// The body of an entry, as far as it is replayed.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    contact: Option<Cow<'a, str>>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    modified: Option<i64>,
    #[serde(default)]
    life: i16,
    #[serde(default)]
    into: Option<String>,
    #[serde(default)]
    link: Option<String>,
    #[serde(default, borrow)]
    record: Option<&'a RawValue>,
    #[serde(default, borrow)]
    said: Option<&'a RawValue>,
    #[serde(default, borrow)]
    after: Option<&'a RawValue>,
}

/// What one block says.
#[derive(Default)]
struct Told {
    acts: Vec<Act>,
    verdicts: BTreeMap<SubjectRef, String>,
    forgotten: u64,
    erased: Vec<SubjectRef>,
    unreadable: Option<i64>,
}

impl Told {
    fn hear(&mut self, row: &LedgerRow, rules: &Rules, packer: &Packer<'_>) {
        if self.understand(row, rules, packer).is_none() {
            self.unreadable.get_or_insert(row.seq);
        }
    }

    /// None where the entry does not say what its kind must say.
    fn understand(&mut self, row: &LedgerRow, rules: &Rules, packer: &Packer<'_>) -> Option<()> {
        let kind = row.kind.as_str();
        if kind == FORGOTTEN {
            self.forgotten += 1;
        }
        if !matches!(kind, "observed" | "verdict" | "stated" | ERASED) {
            return Some(());
        }
        let body: Body<'_> = serde_json::from_str(&row.body).ok()?;
        let subject = match &body.subject {
            Some(text) => Some(SubjectRef::from_hex(text)?),
            None => None,
        };
        match kind {
            "observed" => {
                let system = rules.system(SystemId(row.system?))?;
                let packed = body.record.map_or("", RawValue::get);
                let contact = Contact {
                    system: system.id,
                    id: body.contact?.into_owned(),
                    created: body.created.map(At::from_micros),
                    modified: body.modified.map(At::from_micros),
                    read_at: None,
                    life: match body.life {
                        DELETED => Life::Deleted,
                        MERGED => Life::Merged {
                            into: body.into.unwrap_or_default(),
                        },
                        _ => Life::Live,
                    },
                    record: packer.unpack_record(system, packed).ok()?,
                };
                self.acts.push(Act::Seen(contact, subject, body.link));
            }
            "stated" => {
                let said = body.said.map_or("", RawValue::get);
                self.acts.push(Act::Stated(subject?, said.to_owned()));
            }
            "verdict" => {
                let after = body.after.map_or("", RawValue::get);
                self.verdicts.insert(subject?, after.to_owned());
            }
            _ => self.erased.extend(subject),
        }
        Some(())
    }
}

impl<'a> Replay<'a> {
    async fn begin(
        kept: &'a dyn Store,
        rules: &'a Rules,
        told: Hear<'a>,
    ) -> Result<Self, ReplayError> {
        let folder = tempfile::Builder::new()
            .prefix("consentd-replay-")
            .tempdir()?;
        let open = async |name: &str| {
            let path = folder.path().join(name);
            store::open(&StoreSettings::Sqlite { path }, Access::Daemon).await
        };
        let (rebuilt, said) = (open("rebuilt.db").await?, open("said.db").await?);
        let (numbers, names): (Vec<i16>, Vec<String>) = kept.systems().await?.into_iter().unzip();
        if rebuilt.register_systems(&names).await? != numbers {
            return Err(ReplayError::Systems);
        }
        let nobody = SubjectKey::from_address(NOBODY)
            .map_err(|_| std::io::Error::other("an address that stands for none"))?;
        Ok(Self {
            kept,
            rules,
            packer: Packer::new(rules),
            nobody,
            suppressor: Suppressor::new([], &[]),
            rebuilt,
            said,
            head: Head::START,
            gone: Gone::default(),
            outcome: Replayed::default(),
            told,
            _folder: folder,
        })
    }

    async fn compare_all(&mut self) -> Result<(), Stop> {
        let mut after = 0;
        loop {
            let page = self.kept.subjects_after(after, PAGE).await?;
            // Both come from one view of the store.
            self.go_on(page.next_sequence - 1).await?;
            let Some(last) = page.subjects.last() else {
                break;
            };
            after = last.id;
            self.compare(&page).await?;
        }
        self.find_unknown().await?;
        self.count().await
    }

    /// Replays up to that entry.
    async fn go_on(&mut self, through: i64) -> Result<(), Stop> {
        while self.head.seq < through {
            let blocks = self.kept.ledger_blocks(self.head.seq, BATCH).await?;
            if blocks.is_empty() {
                let expected = self.head.seq + 1;
                return Err(Stop::Fault(ChainFault::Missing { expected }));
            }
            for stored in blocks.iter().filter(|stored| stored.block.last <= through) {
                self.replay(stored).await?;
            }
            // Whatever ends behind the one that is asked for does not end with a block.
            if blocks.iter().all(|stored| stored.block.last > through) {
                return Err(Stop::Fault(ChainFault::Missing { expected: through }));
            }
        }
        Ok(())
    }

    async fn replay(&mut self, stored: &StoredBlock) -> Result<(), Stop> {
        let mut heard = Told::default();
        let (rules, packer) = (self.rules, &self.packer);
        let proved = verify_range(&self.head, stored, &mut |_, row| {
            heard.hear(row, rules, packer);
        });
        proved.map_err(Stop::Fault)?;
        if let Some(seq) = heard.unreadable {
            return Err(ReplayError::Unreadable(seq).into());
        }
        self.act(&heard.acts, At::from_micros(stored.block.at))
            .await?;
        self.keep_verdicts(heard.verdicts).await?;
        self.head = Head::from(&stored.block);
        self.gone.note(stored.block.last, heard.forgotten > 0);
        self.gone.subjects.extend(heard.erased);
        self.outcome.entries = self.head.seq.unsigned_abs();
        self.outcome.forgotten += heard.forgotten;
        (self.told)(Progress::at(self.head.seq, self.kept.sequence()));
        Ok(())
    }

    /// Does in one transaction what was done in one.
    async fn act(&self, acts: &[Act], now: At) -> Result<(), ReplayError> {
        if acts.is_empty() {
            return Ok(());
        }
        let frame = Frame {
            rules: self.rules,
            links: &[],
            grant_settle: 0,
            now,
            old_news: true,
            gate: None,
            suppressor: &self.suppressor,
        };
        let act = |bench: &mut Workbench<'_>| {
            for act in acts {
                match act {
                    Act::Seen(contact, home, link) => {
                        let slot = bench.set_contact(contact.clone());
                        bench.place(slot, *home, link.as_deref(), &self.nobody)?;
                    }
                    Act::Stated(subject, said) => bench.state(*subject, said, &self.nobody)?,
                }
            }
            Ok(())
        };
        // Nothing of it is to be written anywhere, and nobody has to be asked about it.
        let complete = |changes: &mut Changes| {
            changes.ledger.clear();
            changes.outbox.clear();
            changes.holds = HoldChanges::default();
        };
        let scope = self.scope_of(acts);
        transact(&*self.rebuilt, scope, frame, &self.packer, act, complete).await?;
        Ok(())
    }

    fn scope_of(&self, acts: &[Act]) -> Scope {
        let mut scope = Scope {
            load_contacts_up_to: i64::from(self.rules.policy.load_contacts),
            ..Scope::default()
        };
        let mut loads = BTreeSet::new();
        for act in acts {
            match act {
                Act::Seen(contact, home, _) => {
                    let system = contact.system.0;
                    scope.contacts.push((system, contact.id.clone()));
                    scope.subjects.extend(home);
                    let said = contact.record.iter().flat_map(|(_, held)| &held.statements);
                    let keys = said.filter_map(|statement| load_key(system, statement));
                    loads.extend(keys.flat_map(|key| around(&key).collect::<Vec<_>>()));
                }
                Act::Stated(subject, _) => scope.subjects.push(*subject),
            }
        }
        scope.loads = loads.into_iter().collect();
        scope
    }

    async fn keep_verdicts(
        &self,
        verdicts: BTreeMap<SubjectRef, String>,
    ) -> Result<(), StoreError> {
        if verdicts.is_empty() {
            return Ok(());
        }
        let scope = Scope {
            subjects: verdicts.keys().copied().collect(),
            ..Scope::default()
        };
        let decide = &mut |known: Known| {
            let ids: HashMap<SubjectRef, i64> = by_ref(&known.subjects, |row| row.id);
            let mut new = known.next_subject..;
            let rows = verdicts.iter().filter_map(|(subject, verdicts)| {
                let known = ids.get(subject).copied();
                Some(SubjectRow {
                    id: known.or_else(|| new.next())?,
                    subject: *subject,
                    address: String::new(),
                    verdicts: verdicts.clone(),
                    remembered: String::new(),
                    findings: String::new(),
                })
            });
            Changes {
                subjects: rows.collect(),
                ..Changes::default()
            }
        };
        self.said.transact(&scope, decide).await.map(drop)
    }

    async fn compare(&mut self, page: &Known) -> Result<(), ReplayError> {
        let scope = Scope {
            subjects: page.subjects.iter().map(|row| row.subject).collect(),
            ..Scope::default()
        };
        let rebuilt = self.rebuilt.known(&scope).await?;
        let said = self.said.known(&scope).await?;
        let said: HashMap<SubjectRef, &str> = by_ref(&said.subjects, |row| row.verdicts.as_str());
        let (ours, theirs) = (Homes::of(page), Homes::of(&rebuilt));
        let mut doubtful = Vec::new();
        for row in &page.subjects {
            let said = said.get(&row.subject).copied();
            let is_said = said.is_none_or(|said| said == row.verdicts);
            let mut found = self.differences(row.subject, &ours, &theirs)?;
            if said.unwrap_or_default() != row.verdicts {
                let what = "the verdict is not that of the last entry about it";
                found.push(difference(row.subject, what));
            }
            self.outcome.subjects += 1;
            if found.is_empty() {
                continue;
            }
            if is_said && self.outcome.forgotten > 0 {
                doubtful.push((row, found));
            } else {
                self.outcome.differ(found);
            }
        }
        self.judge(doubtful).await?;
        Ok(())
    }

    /// Differences of subjects about which entries were forgotten are none: the ledger cannot tell.
    async fn judge(
        &mut self,
        doubtful: Vec<(&SubjectRow, Vec<Difference>)>,
    ) -> Result<(), StoreError> {
        let ids: Vec<i64> = doubtful.iter().map(|(row, _)| row.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let blocks = self.kept.ledger_blocks_of(&ids).await?;
        let blocks = blocks.into_iter();
        let touched: HashSet<i64> = blocks
            .filter(|(_, block)| self.gone.holds(*block))
            .map(|(subject, _)| subject)
            .collect();
        for (row, found) in doubtful {
            if touched.contains(&row.id) || self.gone.subjects.contains(&row.subject) {
                self.outcome.not_replayable += 1;
            } else {
                self.outcome.differ(found);
            }
        }
        Ok(())
    }

    fn differences(
        &self,
        subject: SubjectRef,
        ours: &Homes<'_>,
        theirs: &Homes<'_>,
    ) -> Result<Vec<Difference>, PackError> {
        let mut found = Vec::new();
        let (kept, rebuilt) = (ours.subject(subject), theirs.subject(subject));
        let text = |row: Option<&SubjectRow>, of: fn(&SubjectRow) -> &String| {
            row.map(of).cloned().unwrap_or_default()
        };
        let verdicts = |row| text(row, |row| &row.verdicts);
        if verdicts(kept) != verdicts(rebuilt) {
            found.push(difference(
                subject,
                "the verdict is not what the ledger gives",
            ));
        }
        if self.remembered(kept)? != self.remembered(rebuilt)? {
            let what = "what is remembered without a contact is not what the ledger gives";
            found.push(difference(subject, what));
        }
        let (kept, rebuilt) = (ours.contacts(subject), theirs.contacts(subject));
        let keys: BTreeSet<&(i16, &str)> = kept.keys().chain(rebuilt.keys()).collect();
        for key in keys {
            let what = match (kept.get(key), rebuilt.get(key)) {
                (Some(_), None) => "the contact does not belong to it by the ledger".to_owned(),
                (None, Some(_)) => "the contact belongs to it by the ledger".to_owned(),
                (Some(kept), Some(rebuilt)) => match self.parts(kept, rebuilt)? {
                    parts if parts.is_empty() => continue,
                    parts => format!("the contact has another {}", parts.join(" and ")),
                },
                (None, None) => continue,
            };
            found.push(Difference {
                system: Some(self.rules.system_name(SystemId(key.0)).to_owned()),
                contact: Some(key.1.to_owned()),
                what,
                ..difference(subject, "")
            });
        }
        Ok(found)
    }

    fn remembered(&self, row: Option<&SubjectRow>) -> Result<Vec<Remembered>, PackError> {
        let packed = row.map_or("", |row| row.remembered.as_str());
        let mut all = self.packer.unpack_remembered(packed)?;
        all.sort();
        Ok(all)
    }

    /// In what two rows of one contact differ.
    fn parts(
        &self,
        kept: &ContactRow,
        rebuilt: &ContactRow,
    ) -> Result<Vec<&'static str>, PackError> {
        let system = self.rules.system(SystemId(kept.system));
        let record = |row: &ContactRow, system: &SystemRules| -> Result<Record, PackError> {
            self.packer.unpack_record(system, &row.record)
        };
        let same_record = match system {
            Some(system) => record(kept, system)? == record(rebuilt, system)?,
            None => kept.record == rebuilt.record,
        };
        let parts = [
            (kept.created == rebuilt.created, "time of creation"),
            (kept.life == rebuilt.life, "life"),
            (kept.merged_into == rebuilt.merged_into, "survivor"),
            (kept.link == rebuilt.link, "link"),
            (same_record, "record"),
        ];
        let others = parts.into_iter().filter(|(same, _)| !same);
        Ok(others.map(|(_, part)| part).collect())
    }

    /// Subjects of which the ledger tells and the store knows nothing.
    async fn find_unknown(&mut self) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let page = self.rebuilt.subjects_after(after, PAGE).await?;
            let Some(last) = page.subjects.last() else {
                return Ok(());
            };
            after = last.id;
            let subjects: Vec<SubjectRef> = page.subjects.iter().map(|row| row.subject).collect();
            let known = self.kept.subject_addresses(&subjects).await?;
            for (subject, address) in subjects.into_iter().zip(known) {
                if address.is_some() {
                    continue;
                }
                if self.gone.subjects.contains(&subject) {
                    self.outcome.not_replayable += 1;
                } else {
                    let what = "the ledger tells of it, the store knows nothing of it";
                    self.outcome.differ([difference(subject, what)]);
                }
            }
        }
    }

    /// R2: contacts that belong to nobody are on no page; they are counted.
    async fn count(&mut self) -> Result<(), Stop> {
        let kept = self.kept.figures(At::from_micros(0)).await?;
        // These figures are of one view of the store, too.
        self.go_on(kept.ledger).await?;
        if self.outcome.forgotten > 0 {
            return Ok(());
        }
        let rebuilt = self.rebuilt.figures(At::from_micros(0)).await?;
        for (kept, rebuilt) in kept.systems.iter().zip(&rebuilt.systems) {
            let unmatched = "live contacts without a usable address";
            for (ours, theirs, what) in [
                (kept.live, rebuilt.live, "live contacts"),
                (kept.unmatched, rebuilt.unmatched, unmatched),
            ] {
                if ours != theirs {
                    let system = self.rules.system_name(SystemId(kept.system));
                    self.outcome.differ([Difference {
                        subject: None,
                        system: Some(system.to_owned()),
                        contact: None,
                        what: format!("{ours} {what}, {theirs} by the ledger"),
                    }]);
                }
            }
        }
        Ok(())
    }
}

/// Subjects and their contacts within what a store knows.
struct Homes<'a> {
    subjects: HashMap<SubjectRef, &'a SubjectRow>,
    contacts: HashMap<i64, BTreeMap<(i16, &'a str), &'a ContactRow>>,
}

impl<'a> Homes<'a> {
    fn of(known: &'a Known) -> Self {
        let mut contacts: HashMap<i64, BTreeMap<(i16, &str), &ContactRow>> = HashMap::new();
        for row in &known.contacts {
            if let Some(subject) = row.subject {
                let key = (row.system, row.external.as_str());
                contacts.entry(subject).or_default().insert(key, row);
            }
        }
        Self {
            subjects: by_ref(&known.subjects, |row| row),
            contacts,
        }
    }

    fn subject(&self, subject: SubjectRef) -> Option<&'a SubjectRow> {
        self.subjects.get(&subject).copied()
    }

    fn contacts(&self, subject: SubjectRef) -> BTreeMap<(i16, &'a str), &'a ContactRow> {
        let id = self.subject(subject).map(|row| row.id);
        let found = id.and_then(|id| self.contacts.get(&id));
        found.cloned().unwrap_or_default()
    }
}

fn by_ref<'a, T>(
    rows: &'a [SubjectRow],
    of: impl Fn(&'a SubjectRow) -> T,
) -> HashMap<SubjectRef, T> {
    rows.iter().map(|row| (row.subject, of(row))).collect()
}

fn difference(subject: SubjectRef, what: &str) -> Difference {
    Difference {
        subject: Some(subject.short()),
        system: None,
        contact: None,
        what: what.to_owned(),
    }
}
