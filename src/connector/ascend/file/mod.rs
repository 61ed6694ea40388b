//! CU Ascend on its `file` transport (R46): batches of changes out, acknowledgements and extracts in,
//! through an exchange folder.
//!
//! What goes out is handed over, not written: an acknowledgement tells later what became of it. What
//! comes in is a whole extract, which speaks of the instant at which it was made. The format is written
//! down in `docs/ascend-files.md`.
//!
//! What this module deliberately does not do: ask Ascend anything, for nobody is there to answer; break
//! somebody else's lock; and believe a file that contradicts its manifest.

mod ack;
mod batch;
pub mod config;
mod extract;
mod folder;
mod lock;
mod place;
mod sftp;
mod text;

use super::super::{
    Batching, Connector, Current, Cursor, Fault, FaultClass, Found, Outcome, Overdue, Page, Probe,
    Receipt, Target, Unreadable, Wanted, WriteRequest,
};
use crate::consent::time::HOUR;
use crate::consent::{At, Polarity, PurposeId, Shown, Status};
use crate::runtime::clock::Clock;
use async_trait::async_trait;
use batch::{Batch, Books, Draft, SENT, SENT_DONE};
use config::{Meaning, Settings};
use extract::{Checked, DONE, INBOUND, Last, Reads, Stand, Unusable};
use place::{Entry, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use tokio::sync::Mutex;

/// Where files go that cannot be understood.
const REJECTED: &str = "inbound/rejected";
/// Beside a file there: why.
const REASON: &str = ".reason.txt";
/// An acknowledgement that is being taken in: a second one of the same name cannot replace it.
const TAKEN: &str = ".taken";
/// No acknowledgement is longer.
const MOST_ACK_BYTES: u64 = 64 << 20;
/// So many files without anything new in them are filed away in one look.
const MOST_ACKS: usize = 100;
/// A batch that nobody has answered for so long is given up; its rows went with later ones.
const GIVEN_UP_AFTER: i64 = 14 * 24 * HOUR;
/// A file may come again under the same name so often.
const MOST_COPIES: usize = 1_000;
/// Contacts of one look-up, none of which is ever made.
const LOOK_UP: usize = 1_000;

/// A CU Ascend system that is connected by files.
pub struct AscendFile {
    settings: Settings,
    place: Place,
    clock: Arc<dyn Clock>,
    /// The books on open batches; whoever holds them is the only one who writes or settles any.
    books: Mutex<Books>,
    /// The acknowledgement whose receipts were given last.
    taken: SyncMutex<Option<Taken>>,
    /// The extract that was looked through last.
    checked: SyncMutex<Option<Checked>>,
    /// Extracts that must not be used, with their length and why, until they are moved away.
    refused: SyncMutex<BTreeMap<String, (u64, String)>>,
    told: SyncMutex<Told>,
    /// Making the lock was answered by nothing: one without a word in it is ours.
    lock_in_doubt: AtomicBool,
    calls: Calls,
}

/// An acknowledgement that is being taken in.
#[derive(Debug, Clone)]
struct Taken {
    /// Where it is.
    path: String,
    /// What it was called.
    name: String,
    /// Its batch, with what the file adds to the answers.
    batch: Batch,
    wrong: Vec<String>,
}

/// What operators should know.
#[derive(Debug, Default)]
struct Told {
    overdue: Vec<Overdue>,
    /// Batches whose lateness was logged.
    logged: BTreeSet<String>,
    unreadable: Vec<Unreadable>,
    /// The error was logged, and the file lies there since.
    reasons: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Calls {
    batches: AtomicU64,
    acknowledgements: AtomicU64,
    extracts: AtomicU64,
}

impl fmt::Debug for AscendFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AscendFile")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &SyncMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AscendFile {
    /// A connector; makes no call.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            place: Place::new(&settings.place),
            settings,
            clock,
            books: Mutex::default(),
            taken: SyncMutex::default(),
            checked: SyncMutex::default(),
            refused: SyncMutex::default(),
            told: SyncMutex::default(),
            lock_in_doubt: AtomicBool::new(false),
            calls: Calls::default(),
        }
    }

    /// The one change that a write to this system can hold.
    fn status(&self, write: &WriteRequest) -> Option<Status> {
        match write.changes.as_slice() {
            [(purpose, shown)] if *purpose == self.settings.purpose => {
                Some(self.settings.polarity.meaning(shown))
            }
            _ => None,
        }
    }

    fn shown(&self, status: Status) -> (PurposeId, Shown) {
        let set = match self.settings.polarity {
            Polarity::OptOut | Polarity::Recorded => status == Status::Withdrawn,
            Polarity::Permission => status == Status::Granted,
        };
        let shown = if set { Shown::Set } else { Shown::Default };
        (self.settings.purpose, shown)
    }

    fn draft(&self, write: &WriteRequest, status: Status, under_way: Option<At>) -> Draft {
        let background = &write.background;
        // The decision knew everything that Ascend said until then and overruled it, so it is later than
        // all of that; and than what is under way, which it replaces.
        let heard = background.heard_until.unwrap_or(At::FIRST_PLAUSIBLE);
        let after = under_way.map_or(At::FIRST_PLAUSIBLE, |at| at.plus(1));
        let by = background.said_by.as_deref();
        Draft {
            ascend_id: write.target.contact.clone(),
            salesforce_id: background.linked.clone().unwrap_or_default(),
            email: write.target.address.clone().unwrap_or_default(),
            status,
            changed_at: write.said_at.max(heard).max(after),
            by_specialist: by.is_some_and(|by| {
                by != extract::ACTOR && !self.settings.integration_actors.contains(by)
            }),
            reason: background.reason.clone(),
        }
    }

    /// Makes a batch and hands it over, under the lock.
    async fn hand_over(
        &self,
        books: &mut Books,
        writes: &[(usize, &WriteRequest, Status)],
        now: At,
    ) -> Result<String, Fault> {
        books.refresh(&self.place).await?;
        let id = batch::new_id(&self.place, now, self.settings.time_zone).await?;
        let under_way = books.latest_changes();
        let drafts: Vec<Draft> = writes
            .iter()
            .map(|(_, write, status)| {
                let before = under_way.get(write.target.contact.as_str()).copied();
                self.draft(write, *status, before)
            })
            .collect();
        drop(under_way);
        let (csv, manifest) = batch::compose(&id, &drafts, now);
        batch::hand_over(&self.place, &id, &csv, &manifest).await?;
        self.calls.batches.fetch_add(1, Ordering::Relaxed);
        Ok(id)
    }

    /// Folders of our own inside those that the other side made.
    async fn make_folders(&self) -> Result<(), Fault> {
        for folder in [DONE, REJECTED, SENT, SENT_DONE] {
            self.place.make_folder(folder).await?;
        }
        Ok(())
    }

    /// Moves a file from where it is to a folder, under its name or the next free one.
    async fn move_to(&self, folder: &str, path: &str, name: &str) -> Result<String, Fault> {
        self.make_folders().await?;
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        for copy in 1..=MOST_COPIES {
            let free = if copy == 1 {
                name.to_owned()
            } else {
                format!("{stem}-{copy}.{ending}")
            };
            let target = format!("{folder}/{free}");
            if self.place.size(&target).await?.is_none() {
                self.place.rename(path, &target).await?;
                return Ok(free);
            }
        }
        Err(Fault::new(
            FaultClass::Retryable,
            "too-many-copies",
            format!("{name} came more than {MOST_COPIES} times; clear {folder}"),
        ))
    }

    /// Moves a file away that cannot be understood, and says why, there and in the log.
    async fn reject(&self, path: &str, name: &str, reason: &str) -> Result<(), Fault> {
        let (system, shown) = (&self.settings.system, plain(name));
        tracing::error!(system = %system, file = %shown, reason,
            "{system}: {shown} cannot be understood ({reason}); it is in {REJECTED}");
        let name = self.move_to(REJECTED, path, name).await?;
        let note = format!("{REJECTED}/{name}{REASON}");
        self.place
            .write(&note, format!("{reason}\n").as_bytes())
            .await?;
        locked(&self.told).reasons.insert(name, reason.to_owned());
        Ok(())
    }

    /// What lies among the rejected, and which batches are late.
    async fn look_around(&self, books: &Books) -> Result<(), Fault> {
        let entries = self.place.list(REJECTED).await?;
        let mut unreadable = Vec::new();
        let mut reasons = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !entry.name.ends_with(REASON)) {
            if entry.name.ends_with(".manifest.json") {
                continue;
            }
            let known = locked(&self.told).reasons.get(&entry.name).cloned();
            let reason = match known {
                Some(reason) => reason,
                None => self.reason_of(&entry.name).await?,
            };
            reasons.insert(entry.name.clone(), reason.clone());
            unreadable.push(Unreadable {
                name: plain(&entry.name),
                reason,
            });
        }
        // What has no agreed name stays where it is, but somebody may be waiting for it to be read.
        for entry in self.place.list(INBOUND).await? {
            if !is_agreed(&entry.name) {
                unreadable.push(Unreadable {
                    name: plain(&entry.name),
                    reason: format!("its name is not one that is agreed; it lies in {INBOUND}"),
                });
            }
        }
        let allowed = i64::try_from(self.settings.ack_timeout.as_micros()).unwrap_or(i64::MAX);
        let overdue = books.overdue(self.clock.now(), allowed);
        let mut told = locked(&self.told);
        told.reasons = reasons;
        told.unreadable = unreadable;
        let late: BTreeSet<String> = overdue.iter().map(|late| late.batch.clone()).collect();
        for late in &overdue {
            if told.logged.insert(late.batch.clone()) {
                let system = &self.settings.system;
                tracing::error!(system = %system, batch = %late.batch, missing = late.missing,
                    "{system}: batch {} of {} has no acknowledgement for {} rows; they go with the next batch",
                    late.batch, late.since, late.missing);
            }
        }
        told.logged.retain(|batch| late.contains(batch));
        told.overdue = overdue;
        Ok(())
    }

    async fn reason_of(&self, name: &str) -> Result<String, Fault> {
        let note = format!("{REJECTED}/{name}{REASON}");
        let bytes = self.place.read(&note, 64 * 1024).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        Ok(if text.is_empty() {
            "nobody wrote down why".to_owned()
        } else {
            text.to_owned()
        })
    }

    /// Gives batches up that nobody has answered for so long.
    async fn give_up(&self, books: &mut Books) -> Result<(), Fault> {
        let bound = self.clock.now().minus(GIVEN_UP_AFTER);
        for mut batch in books.older_than(bound) {
            let system = &self.settings.system;
            tracing::warn!(system = %system, batch = %batch.id,
                "{system}: batch {} was never wholly acknowledged and is given up", batch.id);
            self.make_folders().await?;
            batch::file_away(&self.place, &mut batch).await?;
            books.put(batch);
        }
        Ok(())
    }

    /// The next acknowledgement, under a name that nobody gives another one.
    async fn next_ack(&self) -> Result<Option<(String, String)>, Fault> {
        let entries = self.place.list(INBOUND).await?;
        let taken = entries.iter().find_map(|entry| {
            let name = entry.name.strip_suffix(TAKEN)?;
            name.ends_with(ack::ENDING).then(|| name.to_owned())
        });
        if let Some(name) = taken {
            return Ok(Some((format!("{INBOUND}/{name}{TAKEN}"), name)));
        }
        let found = entries
            .into_iter()
            .find(|entry| entry.name.ends_with(ack::ENDING));
        let Some(Entry { name, .. }) = found else {
            return Ok(None);
        };
        let path = format!("{INBOUND}/{name}{TAKEN}");
        self.place
            .rename(&format!("{INBOUND}/{name}"), &path)
            .await?;
        Ok(Some((path, name)))
    }

    /// What one acknowledgement says that is new.
    async fn take_in(
        &self,
        books: &Books,
        path: String,
        name: String,
    ) -> Result<Option<(Taken, Vec<Receipt>)>, Fault> {
        self.calls.acknowledgements.fetch_add(1, Ordering::Relaxed);
        let id = name
            .strip_suffix(ack::ENDING)
            .unwrap_or_default()
            .to_owned();
        if !batch::is_id(&id) {
            self.reject(&path, &name, "its name is not that of a batch")
                .await?;
            return Ok(None);
        }
        let known = match books.get(&id) {
            Some(batch) => Some(batch.clone()),
            None => batch::load(&self.place, SENT_DONE, &id).await?,
        };
        let Some(mut batch) = known else {
            self.reject(&path, &name, "no batch of that id was ever handed over")
                .await?;
            return Ok(None);
        };
        let bytes = match self.place.read(&path, MOST_ACK_BYTES).await {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(fault) if fault.code == "too-large" => {
                self.reject(&path, &name, "it is too long for an acknowledgement")
                    .await?;
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let said = ack::read(&bytes, batch.rows.len());
        let mut wrong = said.wrong;
        let mut receipts = Vec::new();
        for (number, said) in said.rows {
            let before = batch.answered.get(&number).map(String::as_str);
            match before {
                // The other side answers a batch it knows as it did before.
                Some(word) if word == said.word => continue,
                Some(batch::SUPERSEDED) | None => {}
                Some(word) => {
                    wrong.push(format!(
                        "row {number} was answered {word} before and is {} now",
                        said.word
                    ));
                    continue;
                }
            }
            if let Some(row) = batch.row(number) {
                receipts.push(Receipt {
                    contact: row.ascend_id.clone(),
                    changes: vec![self.shown(row.status)],
                    batch: id.clone(),
                    answer: said.answer,
                });
            }
            batch.answered.insert(number, said.word);
        }
        let taken = Taken {
            path,
            name,
            batch,
            wrong,
        };
        Ok(Some((taken, receipts)))
    }

    /// Writes down what an acknowledgement said and files it away. Its receipts are settled by now, so a
    /// crash at any place in here repeats what is repeated anyway.
    async fn settle(&self, books: &mut Books, mut taken: Taken) -> Result<(), Fault> {
        self.make_folders().await?;
        batch::note_answers(&self.place, &mut taken.batch).await?;
        for mut older in books.superseded_by(&taken.batch) {
            batch::note_answers(&self.place, &mut older).await?;
            books.put(older);
        }
        books.put(taken.batch);
        if taken.wrong.is_empty() {
            self.move_to(DONE, &taken.path, &taken.name).await?;
            return Ok(());
        }
        self.reject(&taken.path, &taken.name, &taken.wrong.join("; "))
            .await
    }

    /// The look through an extract, made again only when it is another one.
    async fn look_through(
        &self,
        folder: &str,
        entry: &Entry,
        last: Option<&Last>,
    ) -> Result<Checked, Unusable> {
        let known = locked(&self.checked).clone();
        if let Some(known) =
            known.filter(|known| known.name == entry.name && known.bytes == entry.bytes)
        {
            return Ok(known);
        }
        let checked = extract::check(&self.place, &self.settings, folder, entry, last).await?;
        self.calls.extracts.fetch_add(1, Ordering::Relaxed);
        *locked(&self.checked) = Some(checked.clone());
        Ok(checked)
    }

    /// The page that follows where the feed stands in the middle of an extract; none when it is not the
    /// same any more.
    async fn go_on(&self, stand: &Stand, now: At) -> Result<Option<Page>, Fault> {
        let Some(reads) = &stand.at else {
            return Ok(None);
        };
        let folder = if reads.filed { DONE } else { INBOUND };
        let size = self.place.size(&format!("{folder}/{}", reads.name)).await?;
        if size != Some(reads.bytes) {
            return Ok(None);
        }
        let entry = Entry {
            name: reads.name.clone(),
            bytes: reads.bytes,
        };
        let page = async {
            let checked = self
                .look_through(folder, &entry, stand.last.as_ref())
                .await?;
            extract::page(&self.place, &self.settings, stand, reads, &checked, now).await
        };
        match page.await {
            Ok(page) => Ok(Some(page)),
            Err(Unusable::Fault(fault)) => Err(fault),
            Err(Unusable::Refused(why)) => {
                self.refuse(&entry, why);
                Ok(None)
            }
        }
    }

    /// Notes that an extract must not be used. It is moved away once what was read is stored.
    fn refuse(&self, entry: &Entry, why: String) {
        let system = &self.settings.system;
        tracing::error!(system = %system, file = %entry.name, "{system}: {} is not read: {why}", entry.name);
        locked(&self.refused).insert(entry.name.clone(), (entry.bytes, why));
    }

    /// The first page of the newest extract that has not been read and may be.
    async fn begin(&self, stand: &Stand, now: At) -> Result<Option<Page>, Fault> {
        let mut folders = vec![(INBOUND, false)];
        if stand.load {
            // Everything is read anew: the last one tells it, if nothing newer has come.
            folders.push((DONE, true));
        }
        for (folder, filed) in folders {
            let entries = self.place.list(folder).await?;
            let refused = locked(&self.refused).clone();
            for entry in extract::candidates(&entries, stand.last.as_ref(), &refused) {
                let checked = match self.look_through(folder, entry, stand.last.as_ref()).await {
                    Ok(checked) => checked,
                    // The daemon files an extract away beside whoever only reads; it is found there.
                    Err(Unusable::Fault(_))
                        if !filed && stand.load && self.is_gone(entry).await? =>
                    {
                        continue;
                    }
                    Err(Unusable::Fault(fault)) => return Err(fault),
                    Err(Unusable::Refused(why)) => {
                        self.refuse(entry, why);
                        continue;
                    }
                };
                let reads = Reads {
                    filed,
                    name: entry.name.clone(),
                    bytes: entry.bytes,
                    offset: 0,
                };
                let page =
                    extract::page(&self.place, &self.settings, stand, &reads, &checked, now).await;
                return match page {
                    Ok(page) => Ok(Some(page)),
                    Err(Unusable::Fault(fault)) => Err(fault),
                    Err(Unusable::Refused(why)) => Err(Fault::new(
                        FaultClass::ContractBroken,
                        "extract",
                        format!("{} is not what was looked through: {why}", entry.name),
                    )),
                };
            }
        }
        Ok(None)
    }

    /// Whether an extract does not lie any more where it was delivered.
    async fn is_gone(&self, entry: &Entry) -> Result<bool, Fault> {
        let size = self
            .place
            .size(&format!("{INBOUND}/{}", entry.name))
            .await?;
        Ok(size.is_none())
    }

    /// Whether a folder can be written, shown by writing a file that nobody reads.
    async fn is_writable(&self, folder: &str) -> Result<(), Fault> {
        let path = format!("{folder}/.consentd-probe");
        self.place.remove(&path).await?;
        self.place.create(&path, b"").await?;
        self.place.remove(&path).await
    }
}

/// Whether a file in the inbound folder is one that is read, or stands beside one.
fn is_agreed(name: &str) -> bool {
    extract::is_extract(name)
        || name.ends_with(ack::ENDING)
        || name.ends_with(TAKEN)
        || name.ends_with(".manifest.json")
}

/// A name that somebody else chose, as it may stand in a message.
fn plain(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.chars()
        .map(|c| if plain(c) { c } else { '_' })
        .take(100)
        .collect()
}

/// Ascend cannot be asked.
fn cannot_be_asked() -> Fault {
    Fault::new(
        FaultClass::Rejected,
        "not-askable",
        "a system that is connected by files cannot be asked at once; its last extract counts as far as \
         max_age allows",
    )
}

#[async_trait]
impl Connector for AscendFile {
    async fn probe(&self) -> Result<Probe, Fault> {
        let mut found = self.probe_to_read().await?;
        if !found.missing.is_empty() {
            return Ok(found);
        }
        for folder in [batch::OUTBOUND, INBOUND, SENT] {
            if !self.place.has_folder(folder).await? {
                continue;
            }
            match self.is_writable(folder).await {
                Ok(()) => {}
                Err(fault) if fault.code == "permission" => found.missing.push(format!(
                    "the right to write in {folder} in the exchange folder; give it to our user"
                )),
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }

    async fn probe_to_read(&self) -> Result<Probe, Fault> {
        let mut found = Probe::default();
        for folder in [batch::OUTBOUND, INBOUND] {
            if !self.place.has_folder(folder).await? {
                found.missing.push(format!(
                    "the folder {folder} in the exchange folder; is it mounted, and the right one? make the \
                     folder if so"
                ));
            }
        }
        if !found.missing.is_empty() {
            return Ok(found);
        }
        if let Some(holder) = lock::holder(&self.place).await?
            && holder.owner != self.settings.lock_owner
        {
            let since = holder
                .since
                .map_or(String::new(), |at| format!(" since {at}"));
            found.notes.push(format!(
                "{} is held by somebody else{since}; no batch is written meanwhile",
                lock::LOCK
            ));
        }
        if self.settings.meaning == Meaning::Seen {
            found.notes.push(
                "a change is only known to lie between two extracts: with one a night, set \
                 policy.observed_window_hours to more than a day, or grants in Ascend count as weak"
                    .to_owned(),
            );
        }
        Ok(found)
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        let now = self.clock.now();
        let stand = Stand::of(cursor);
        if let Some(page) = self.go_on(&stand, now).await? {
            return Ok(page);
        }
        let fresh = Stand {
            at: None,
            ..stand.clone()
        };
        if let Some(page) = self.begin(&fresh, now).await? {
            return Ok(page);
        }
        // Nothing new: the feed stays where it is.
        Ok(Page {
            readings: Vec::new(),
            poison: Vec::new(),
            next: fresh.cursor()?,
            more: false,
            load: fresh.load,
            scan: None,
            read_at: now,
            drained: None,
        })
    }

    async fn read_stored(&self, cursor: &Cursor) -> Result<(), Fault> {
        let stand = Stand::of(Some(cursor));
        let refused = locked(&self.refused).clone();
        let entries = self.place.list(INBOUND).await?;
        for entry in entries
            .iter()
            .filter(|entry| extract::is_extract(&entry.name))
        {
            let manifest = extract::manifest_of(&entry.name);
            let has_manifest = entries.iter().any(|other| other.name == manifest);
            let path = format!("{INBOUND}/{}", entry.name);
            let why = refused.get(&entry.name);
            let folder = match why.filter(|(bytes, _)| *bytes == entry.bytes) {
                Some(_) => REJECTED,
                None if stand.at.is_none()
                    && stand
                        .last
                        .as_ref()
                        .is_some_and(|last| entry.name <= last.name) =>
                {
                    DONE
                }
                None => continue,
            };
            if has_manifest {
                self.move_to(folder, &format!("{INBOUND}/{manifest}"), &manifest)
                    .await?;
            }
            match why {
                Some((_, why)) if folder == REJECTED => {
                    self.reject(&path, &entry.name, why).await?;
                    locked(&self.refused).remove(&entry.name);
                }
                _ => {
                    self.move_to(folder, &path, &entry.name).await?;
                }
            }
        }
        Ok(())
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        Ok(vec![Current::Unknown; contacts.len()])
    }

    async fn look_up(&self, _wanted: &Wanted) -> Result<Found, Fault> {
        Err(cannot_be_asked())
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(writes.len());
        let mut rows = Vec::new();
        for (index, write) in writes.iter().enumerate() {
            if let Some(status) = self.status(write) {
                rows.push((index, write, status));
            }
            outcomes.push(Outcome::Failed(Fault::new(
                FaultClass::Rejected,
                "not-carried",
                "a batch holds one change of one purpose for a contact, and no other",
            )));
        }
        if rows.is_empty() {
            return Ok(outcomes);
        }
        let mut books = self.books.lock().await;
        let now = self.clock.now();
        self.make_folders().await?;
        lock::take(
            &self.place,
            &self.settings.lock_owner,
            now,
            self.settings.lock_stale,
            &self.lock_in_doubt,
        )
        .await?;
        let handed = self.hand_over(&mut books, &rows, now).await;
        if let Err(fault) = lock::release(&self.place).await {
            tracing::warn!(%fault, "the lock of the exchange folder could not be given back: {fault}");
        }
        let outcome = match handed {
            Ok(batch) => {
                let allowed = self.settings.ack_timeout.as_micros();
                Outcome::HandedOver {
                    batch,
                    until: now.plus(i64::try_from(allowed).unwrap_or(i64::MAX)),
                }
            }
            Err(fault) if fault.maybe_sent => Outcome::Unknown(fault),
            Err(fault) => return Err(fault),
        };
        for (index, ..) in rows {
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome.clone();
            }
        }
        Ok(outcomes)
    }

    async fn receipts(&self) -> Result<Vec<Receipt>, Fault> {
        let mut books = self.books.lock().await;
        books.refresh(&self.place).await?;
        for _ in 0..MOST_ACKS {
            let Some((path, name)) = self.next_ack().await? else {
                break;
            };
            let Some((taken, receipts)) = self.take_in(&books, path, name).await? else {
                continue;
            };
            if receipts.is_empty() {
                self.settle(&mut books, taken).await?;
                continue;
            }
            *locked(&self.taken) = Some(taken);
            return Ok(receipts);
        }
        self.give_up(&mut books).await?;
        self.look_around(&books).await?;
        Ok(Vec::new())
    }

    async fn receipts_stored(&self) -> Result<(), Fault> {
        let Some(taken) = locked(&self.taken).take() else {
            return Ok(());
        };
        let mut books = self.books.lock().await;
        self.settle(&mut books, taken).await
    }

    fn overdue(&self) -> Vec<Overdue> {
        locked(&self.told).overdue.clone()
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        locked(&self.told).unreadable.clone()
    }

    fn batching(&self) -> Batching {
        let rows = self.settings.batch_rows;
        Batching {
            rows,
            bulk_above: rows,
            bulk_rows: rows,
            look_up: LOOK_UP,
        }
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![
            ("batch", count(&self.calls.batches)),
            ("acknowledgement", count(&self.calls.acknowledgements)),
            ("extract", count(&self.calls.extracts)),
        ]
    }
}
