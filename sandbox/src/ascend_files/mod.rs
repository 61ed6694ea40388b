//! Ascend's side of the exchange by files: it loads batches, acknowledges them, and writes extracts.
//!
//! There is no public description of such an exchange; both sides follow the project's own agreement on it. The exchange
//! is about the contacts of the simulated Ascend org, which are told by their donor id alone. Nothing happens by itself
//! unless [`Settings::automatic`] is on: a load, an extract and a late acknowledgement are acts of [`Exchange`].
//!
//! The folder is a temporary one, or the one given to [`Exchange::use_folder`]; the same folder is served by SFTP (see
//! `sftp`).

mod batch;
mod book;
pub(crate) mod control;
mod folder;
mod settings;
pub(crate) mod sftp;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use tempfile::TempDir;

use crate::clock::whole_second;
use crate::{ActError, Org};
pub use batch::Code;
use batch::{Outcome, safe};
use book::Sayings;
use settings::Behaviours;
pub use settings::{AsOf, Behaviour, MAX_BEHAVIOURS, Polarity, Rule, Settings, Spelling, Wrong};
pub use sftp::SftpCredentials;

/// Batches whose answers are remembered; the oldest are forgotten.
const MAX_BATCHES: usize = 10_000;
/// Acknowledgements that are held back at a time.
const MAX_PENDING: usize = 1_000;
/// Who takes the lock.
const OWNER: &str = "ascend";
/// How often things that are due are looked for.
const TICK: Duration = Duration::from_millis(100);
/// Seconds that a name of an extract is put off when it is taken.
const MAX_PUT_OFF: i64 = 3_600;

/// What became of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchReport {
    /// Its id.
    pub batch_id: String,
    /// Rows in it.
    pub rows: usize,
    /// Rows that changed a contact.
    pub applied: usize,
    /// Rows that said what was there already.
    pub nochange: usize,
    /// Rows refused, by code.
    pub rejected: BTreeMap<Code, usize>,
    /// The batch was known, and nothing was applied again.
    pub repeated: bool,
}

/// A batch that was refused as a whole, and lies where it lay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Name of its CSV.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// What a load did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Somebody else has the lock, so that nothing was read.
    pub locked: bool,
    /// Batches loaded, oldest first.
    pub batches: Vec<BatchReport>,
    /// Batches refused.
    pub refused: Vec<Refused>,
    /// CSVs whose manifest is not there yet.
    pub waiting: usize,
}

/// What an extract wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extract {
    /// Name of the file.
    pub file: String,
    /// Rows in it.
    pub rows: usize,
}

/// What Ascend's side did since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Loads that had the lock.
    pub loads: u64,
    /// Loads that did not get the lock.
    pub locked: u64,
    /// Batches read, known ones included.
    pub batches: u64,
    /// Batches that were known.
    pub repeated: u64,
    /// Batches refused as a whole; one that stays is counted at every load.
    pub refused: u64,
    /// Rows that changed a contact.
    pub applied: u64,
    /// Rows that said what was there already.
    pub nochange: u64,
    /// Rows refused.
    pub rejected: u64,
    /// Acknowledgements written.
    pub acks: u64,
    /// Extracts written.
    pub extracts: u64,
    /// SFTP logins.
    pub logins: u64,
    /// SFTP logins refused.
    pub logins_refused: u64,
    /// SFTP operations.
    pub operations: u64,
}

/// Answers to a batch.
#[derive(Debug)]
struct Known {
    sha256: String,
    outcomes: Vec<Outcome>,
    /// In order of arrival.
    number: u64,
}

/// When a file that is held back is written.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// As soon as no other of its name lies there.
    At(DateTime<Utc>),
    ByHand,
}

/// A file that is held back.
#[derive(Debug)]
struct Pending {
    name: String,
    content: String,
    due: Due,
}

#[derive(Debug)]
struct State {
    folder: PathBuf,
    /// Removed with the sandbox, whatever folder is in use meanwhile.
    own: Option<TempDir>,
    settings: Settings,
    behaviours: Behaviours,
    counts: Counts,
    sayings: Sayings,
    known: BTreeMap<String, Known>,
    numbers: u64,
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    org: Org,
    credentials: SftpCredentials,
    port: u16,
}

/// Ascend's side of one exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    shared: Arc<Shared>,
}

fn failed(error: &io::Error) -> ActError {
    ActError::Invalid(format!("the exchange folder cannot be used: {error}"))
}

impl Exchange {
    /// An exchange about the contacts of this org, over a temporary folder, served by SFTP on this port.
    pub(crate) fn new(org: Org, credentials: &SftpCredentials, port: u16) -> io::Result<Exchange> {
        let own = tempfile::Builder::new()
            .prefix("consentd-sandbox-")
            .tempdir()?;
        let folder = own.path().to_owned();
        folder::prepare(&folder)?;
        let state = State {
            folder,
            own: Some(own),
            settings: Settings::default(),
            behaviours: Behaviours::default(),
            counts: Counts::default(),
            sayings: Sayings::new(),
            known: BTreeMap::new(),
            numbers: 0,
            pending: Vec::new(),
        };
        Ok(Exchange {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                org,
                credentials: credentials.clone(),
                port,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// The exchange folder.
    pub fn folder(&self) -> PathBuf {
        self.lock().folder.clone()
    }

    /// Goes over to another folder, which is made if it is not there. Files stay where they are.
    pub fn use_folder(&self, path: &Path) -> Result<(), ActError> {
        let path = std::path::absolute(path).map_err(|error| failed(&error))?;
        folder::prepare(&path).map_err(|error| failed(&error))?;
        self.lock().folder = path;
        Ok(())
    }

    /// Removes the temporary folder, though somebody may still be connected.
    pub(crate) fn close(&self) {
        drop(self.lock().own.take());
    }

    /// Where the SFTP server listens, as host and port.
    pub fn sftp_address(&self) -> String {
        format!("127.0.0.1:{}", self.shared.port)
    }

    /// Loads all complete batches, oldest first, and acknowledges them.
    pub fn load(&self) -> Result<Load, ActError> {
        let mut state = self.lock();
        let now = self.shared.org.now();
        let folder = state.folder.clone();
        if !folder::lock(&folder, OWNER, now).map_err(|error| failed(&error))? {
            state.counts.locked += 1;
            return Ok(Load {
                locked: true,
                ..Load::default()
            });
        }
        state.counts.loads += 1;
        let loaded = state.load(&self.shared.org, now);
        let left = |one: &Behaviour| matches!(one, Behaviour::LockLeft).then_some(());
        if state.behaviours.show(left).is_none() {
            folder::unlock(&folder).map_err(|error| failed(&error))?;
        }
        loaded.map_err(|error| failed(&error))
    }

    /// Writes an extract of all constituents.
    pub fn extract(&self) -> Result<Extract, ActError> {
        let mut state = self.lock();
        let now = whole_second(self.shared.org.now());
        let zone: Tz = state.settings.time_zone.parse().map_err(|_| {
            let zone = &state.settings.time_zone;
            ActError::Invalid(format!("no time zone is called {zone:?}"))
        })?;
        let all = {
            let org = self.shared.org.lock();
            book::constituents(&org, state.settings.polarity)
        };
        state
            .extract(all, now, zone)
            .map_err(|error| failed(&error))
    }

    /// Writes the acknowledgements that are held back, unless one of the same name still lies there; how many.
    pub fn deliver(&self) -> Result<usize, ActError> {
        let delivered = self.lock().deliver(|_| true);
        delivered.map_err(|error| failed(&error))
    }

    /// Writes the right acknowledgement of a batch that was loaded, whatever was written of it before.
    pub fn answer(&self, batch_id: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        let known = state
            .known
            .get(batch_id)
            .ok_or_else(|| ActError::Invalid(format!("no batch {batch_id:?} was loaded")))?;
        let content = batch::ack(&numbered(&known.outcomes));
        let name = ack_name(batch_id);
        state
            .write_ack(&name, &content)
            .map_err(|error| failed(&error))
    }

    /// Acknowledgements that are held back.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// Takes the lock as somebody else, or leaves one lying; `false` when it is taken.
    pub fn leave_lock(&self, owner: &str) -> Result<bool, ActError> {
        let folder = self.folder();
        folder::lock(&folder, owner, self.shared.org.now()).map_err(|error| failed(&error))
    }

    /// Removes the lock, whoever has it; `false` when there is none.
    pub fn remove_lock(&self) -> Result<bool, ActError> {
        folder::unlock(&self.folder()).map_err(|error| failed(&error))
    }

    /// Sets a behaviour, once ([`Behaviour::times`]) or always.
    pub fn set_behaviour(&self, rule: impl Into<Rule>) -> Result<(), ActError> {
        if self.lock().behaviours.add(rule.into()) {
            Ok(())
        } else {
            Err(ActError::Full("too many behaviours are set"))
        }
    }

    /// Clears all behaviours, or those of one name; returns how many.
    pub fn clear_behaviours(&self, name: Option<&str>) -> usize {
        self.lock().behaviours.clear(name)
    }

    /// The behaviours that are set.
    pub fn behaviours(&self) -> Vec<Rule> {
        self.lock().behaviours.rules().to_vec()
    }

    /// What was done since the last reset.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Starts counting anew.
    pub fn reset_counts(&self) {
        self.lock().counts = Counts::default();
    }

    /// The set-up.
    pub fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// Changes the set-up.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// Does, for ever, what is due by the clock.
    pub(crate) async fn tick(self) {
        loop {
            tokio::time::sleep(TICK).await;
            let (waits, automatic) = {
                let state = self.lock();
                (!state.pending.is_empty(), state.settings.automatic)
            };
            if !waits && !automatic {
                continue;
            }
            let exchange = self.clone();
            let worked = tokio::task::spawn_blocking(move || exchange.get_on(automatic)).await;
            if let Ok(Err(error)) = worked {
                tracing::warn!(%error, "the exchange folder cannot be used");
            }
        }
    }

    fn get_on(&self, automatic: bool) -> Result<(), ActError> {
        if automatic {
            let folder = self.folder();
            let (complete, _) = folder::batches(&folder).map_err(|error| failed(&error))?;
            if !complete.is_empty() {
                self.load()?;
            }
        }
        let now = self.shared.org.now();
        let due = |due: Due| matches!(due, Due::At(at) if at <= now);
        let delivered = self.lock().deliver(due);
        delivered.map(|_| ()).map_err(|error| failed(&error))
    }
}

fn ack_name(batch_id: &str) -> String {
    format!("{batch_id}.ack.csv")
}

fn numbered(outcomes: &[Outcome]) -> Vec<(usize, Outcome)> {
    let outcomes = outcomes.iter().enumerate();
    outcomes.map(|(place, one)| (place + 1, *one)).collect()
}

impl State {
    fn load(&mut self, org: &Org, now: DateTime<Utc>) -> io::Result<Load> {
        let (found, waiting) = folder::batches(&self.folder)?;
        let mut load = Load {
            waiting,
            ..Load::default()
        };
        let refusals = self.behaviours.show_all(|one| match one {
            Behaviour::Reject { ids, code } if !found.is_empty() => Some((ids.clone(), *code)),
            _ => None,
        });
        for batch in found {
            match self.load_batch(org, &batch, &refusals)? {
                Ok(report) => {
                    folder::take_away(&self.folder, &batch, self.settings.keep_loaded)?;
                    self.acknowledge(&batch.id, now)?;
                    self.count(&report);
                    load.batches.push(report);
                }
                Err(reason) => {
                    self.counts.refused += 1;
                    load.refused.push(Refused {
                        file: batch.file,
                        reason,
                    });
                }
            }
        }
        Ok(load)
    }

    fn count(&mut self, report: &BatchReport) {
        self.counts.batches += 1;
        if report.repeated {
            self.counts.repeated += 1;
            return;
        }
        self.counts.applied += report.applied as u64;
        self.counts.nochange += report.nochange as u64;
        self.counts.rejected += report.rejected.values().sum::<usize>() as u64;
    }

    /// Applies a batch, or recognises it. Inside: why it is refused.
    fn load_batch(
        &mut self,
        org: &Org,
        found: &folder::Found,
        refusals: &[(Option<Vec<String>>, Code)],
    ) -> io::Result<Result<BatchReport, String>> {
        let (csv, manifest) = match (folder::read(&found.csv)?, folder::read(&found.manifest)?) {
            (Ok(csv), Ok(manifest)) => (csv, manifest),
            (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
        };
        if batch::id_order(&found.id).is_none() {
            return Ok(Err("the batch id has not the form agreed on".to_owned()));
        }
        let (rows, sha256) = match batch::read(&found.id, &found.file, &manifest, &csv) {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Some(known) = self.known.get(&found.id) {
            if known.sha256 != sha256 {
                return Ok(Err("the batch id was used for another content".to_owned()));
            }
            return Ok(Ok(report(&found.id, &known.outcomes, true)));
        }
        let outcomes = {
            let mut state = org.lock();
            let polarity = self.settings.polarity;
            book::apply(&mut state, &mut self.sayings, polarity, &rows, refusals)
        };
        let report = report(&found.id, &outcomes, false);
        self.remember(&found.id, sha256, outcomes);
        Ok(Ok(report))
    }

    fn remember(&mut self, id: &str, sha256: String, outcomes: Vec<Outcome>) {
        self.numbers += 1;
        let known = Known {
            sha256,
            outcomes,
            number: self.numbers,
        };
        self.known.insert(id.to_owned(), known);
        if self.known.len() > MAX_BATCHES {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.number);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.known.remove(&oldest);
            }
        }
    }

    /// Acknowledges a batch, in the way that is set.
    fn acknowledge(&mut self, id: &str, now: DateTime<Utc>) -> io::Result<()> {
        let Some(known) = self.known.get(id) else {
            return Ok(());
        };
        let rows = numbered(&known.outcomes);
        let name = ack_name(id);
        let after = |seconds: Option<u32>| match seconds {
            Some(seconds) => Due::At(now + TimeDelta::seconds(i64::from(seconds))),
            None => Due::ByHand,
        };
        let way = self.behaviours.show(|one| match one {
            Behaviour::AckLate { .. }
            | Behaviour::AckPartly { .. }
            | Behaviour::AckTwice
            | Behaviour::AckWrongly { .. } => Some(one.clone()),
            _ => None,
        });
        match way {
            Some(Behaviour::AckLate { seconds }) => {
                self.hold_back(name, batch::ack(&rows), after(seconds));
                Ok(())
            }
            Some(Behaviour::AckPartly {
                rows: at_once,
                seconds,
            }) => {
                let (first, rest) = rows.split_at(at_once.min(rows.len()));
                if !rest.is_empty() {
                    self.hold_back(name.clone(), batch::ack(rest), after(seconds));
                }
                self.write_or_hold(&name, &batch::ack(first), now)
            }
            Some(Behaviour::AckTwice) => {
                let content = batch::ack(&rows);
                self.write_or_hold(&name, &content, now)?;
                self.hold_back(name, content, Due::At(now));
                Ok(())
            }
            Some(Behaviour::AckWrongly { how }) => {
                let (name, content) = wrong(how, name, &rows);
                self.write_or_hold(&name, &content, now)
            }
            _ => self.write_or_hold(&name, &batch::ack(&rows), now),
        }
    }

    fn hold_back(&mut self, name: String, content: String, due: Due) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push(Pending { name, content, due });
        }
    }

    /// Writes a file now, or as soon as the one of this name was fetched.
    fn write_or_hold(&mut self, name: &str, content: &str, now: DateTime<Utc>) -> io::Result<()> {
        if self.inbound().join(name).exists() {
            self.hold_back(name.to_owned(), content.to_owned(), Due::At(now));
            return Ok(());
        }
        self.write_ack(name, content)
    }

    fn write_ack(&mut self, name: &str, content: &str) -> io::Result<()> {
        folder::write(&self.inbound(), name, content)?;
        self.counts.acks += 1;
        Ok(())
    }

    fn inbound(&self) -> PathBuf {
        self.folder.join(folder::INBOUND)
    }

    /// Writes what is held back and due; of several with one name, one at a time.
    fn deliver(&mut self, due: impl Fn(Due) -> bool) -> io::Result<usize> {
        let mut delivered = 0;
        let mut kept = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            let free = !self.inbound().join(&pending.name).exists();
            if due(pending.due) && free {
                self.write_ack(&pending.name, &pending.content)?;
                delivered += 1;
            } else {
                kept.push(pending);
            }
        }
        self.pending = kept;
        Ok(delivered)
    }

    fn extract(
        &mut self,
        all: Vec<book::Constituent>,
        now: DateTime<Utc>,
        zone: Tz,
    ) -> io::Result<Extract> {
        let kept = self.behaviours.show(|one| match one {
            Behaviour::EmptyExtract => Some(0),
            Behaviour::ShortExtract { percent } => Some(all.len() * usize::from(*percent) / 100),
            _ => None,
        });
        let bad = self.behaviours.show(|one| match one {
            Behaviour::BadRows { rows } => Some(*rows),
            _ => None,
        });
        let kept = kept.unwrap_or(all.len()).min(all.len());
        let mut rows = kept;
        let mut text = self.extract_header();
        for one in all.into_iter().take(kept) {
            text.push_str(&self.extract_row(&one, now));
        }
        for number in 0..bad.unwrap_or(0) {
            text.push_str(&self.bad_row(number, now));
            rows += 1;
        }
        let inbound = self.inbound();
        let stem = (0..MAX_PUT_OFF)
            .map(|secs| (now + TimeDelta::seconds(secs)).with_timezone(&zone))
            .map(|at| at.format("%Y%m%d-%H%M%S"))
            .map(|at| format!("ascend_email_extract_{at}"))
            .find(|stem| !inbound.join(format!("{stem}.csv")).exists())
            .ok_or_else(|| io::Error::other("too many extracts lie there"))?;
        let file = format!("{stem}.csv");
        if self.settings.with_manifest {
            // First, so that whoever sees the file sees both.
            let manifest = serde_json::json!({
                "file": file,
                "rows": rows,
                "sha256": batch::sha256(text.as_bytes()),
                "as_of": rfc3339(now),
            });
            folder::write(
                &inbound,
                &format!("{stem}.manifest.json"),
                &manifest.to_string(),
            )?;
        }
        folder::write(&inbound, &file, &text)?;
        self.counts.extracts += 1;
        Ok(Extract { file, rows })
    }

    fn extract_header(&self) -> String {
        let settings = &self.settings;
        let mut columns = Vec::new();
        columns.extend(settings.with_extra.then_some("record_type"));
        columns.extend(["ascend_id", "email_value", "as_of"]);
        columns.extend(settings.with_address.then_some("email"));
        columns.extend(settings.with_created.then_some("created_at"));
        columns.join(",") + "\n"
    }

    fn extract_row(&self, one: &book::Constituent, now: DateTime<Utc>) -> String {
        let settings = &self.settings;
        let as_of = match settings.as_of {
            AsOf::Seen => now,
            AsOf::Changed => one.changed,
        };
        let mut cells = Vec::new();
        cells.extend(settings.with_extra.then(|| "Individual".to_owned()));
        cells.push(quoted(&one.ascend_id));
        cells.push(settings.spelling.of(one.value).to_owned());
        cells.push(rfc3339(as_of));
        let address = one.address.as_deref().unwrap_or_default();
        cells.extend(settings.with_address.then(|| quoted(&safe(address))));
        cells.extend(settings.with_created.then(|| rfc3339(one.created)));
        cells.join(",") + "\n"
    }

    /// A row that no reader may use: each in another way.
    fn bad_row(&self, number: usize, now: DateTime<Utc>) -> String {
        let extra = if self.settings.with_extra {
            "Individual,"
        } else {
            ""
        };
        let as_of = rfc3339(now);
        let body = match number % 4 {
            0 => format!("9{number:09},MAYBE,{as_of}"),
            1 => format!(",TRUE,{as_of}"),
            2 => format!("9{number:09},TRUE,yesterday"),
            _ => return format!("9{number:09}\n"),
        };
        let rest =
            usize::from(self.settings.with_address) + usize::from(self.settings.with_created);
        format!("{extra}{body}{}\n", ",".repeat(rest))
    }
}

/// An acknowledgement that is wrong; its name and content.
fn wrong(how: Wrong, name: String, rows: &[(usize, Outcome)]) -> (String, String) {
    match how {
        Wrong::UnknownBatch => (ack_name("19990101-000000-1"), batch::ack(rows)),
        Wrong::RowNumbers => {
            let shifted: Vec<_> = rows
                .iter()
                .map(|(row, one)| (row + 1_000_000, *one))
                .collect();
            (name, batch::ack(&shifted))
        }
        Wrong::Status => {
            let done = rows.iter().map(|(row, _)| (*row, "DONE", "", ""));
            (name, batch::lines(done))
        }
        Wrong::Broken => (
            name,
            "row_no,status,code,message\n1,\"APPLIED,,\n2,".to_owned(),
        ),
    }
}

fn report(id: &str, outcomes: &[Outcome], repeated: bool) -> BatchReport {
    let mut report = BatchReport {
        batch_id: id.to_owned(),
        rows: outcomes.len(),
        repeated,
        ..BatchReport::default()
    };
    for outcome in outcomes {
        match outcome {
            Outcome::Applied => report.applied += 1,
            Outcome::NoChange => report.nochange += 1,
            Outcome::Rejected(code) => *report.rejected.entry(*code).or_default() += 1,
        }
    }
    report
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A cell with quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
