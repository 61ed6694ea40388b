//! Batches: what goes out, and the books on those that are not wholly acknowledged.
//!
//! Our own copy of a batch is written to `sent/` before the other side can see it, so that no
//! acknowledgement ever comes for something unknown. Beside it stands which rows were answered, and how.
//! When all of them are, the copy moves to `sent/done/`; an acknowledgement that comes again is
//! recognised there.

use super::place::{Place, UNFINISHED};
use super::text::{columns, guarded, hex, instant, parse_instant, push_row, rows};
use crate::connector::{Fault, FaultClass, Overdue};
use crate::consent::{At, Status};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Folders.
pub(super) const OUTBOUND: &str = "outbound";
/// Our copies of the open batches.
pub(super) const SENT: &str = "sent";
/// Our copies of the others.
pub(super) const SENT_DONE: &str = "sent/done";
/// What the name of a batch begins with.
const STEM: &str = "cu_ecomm_email_optout_";
const CSV: &str = ".csv";
const MANIFEST: &str = ".manifest.json";
const PROGRESS: &str = ".progress.json";
const COLUMNS: &str = "batch_id,row_no,ascend_id,salesforce_id,email,change,email_opt_out,changed_at,changed_by_type,reason\n";
/// So many batches are open at once; more mean that nobody reads them.
pub(super) const MAX_OPEN: usize = 500;
/// A small file of ours is no longer than this.
const MOST_BYTES: u64 = 64 << 20;
/// The word for a row whose value went in a later batch, which was answered.
pub(super) const SUPERSEDED: &str = "SUPERSEDED";
/// The reason of a row is no longer than this.
const REASON_CHARS: usize = 255;

/// A row before it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    /// External id.
    pub(super) ascend_id: String,
    /// External id of the linked contact.
    pub(super) salesforce_id: String,
    /// For human eyes.
    pub(super) email: String,
    /// What it is to say.
    pub(super) status: Status,
    /// From when the decision counts.
    pub(super) changed_at: At,
    /// A person said so, not a program.
    pub(super) by_specialist: bool,
    /// Why.
    pub(super) reason: String,
}

/// A row that was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentRow {
    /// External id.
    pub(super) ascend_id: String,
    /// What it was to say.
    pub(super) status: Status,
    /// From when the decision counted.
    pub(super) changed_at: At,
}

/// A batch of which we have a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Its id.
    pub(super) id: String,
    /// Where the copy is: [`SENT`] or [`SENT_DONE`].
    pub(super) folder: &'static str,
    /// When it was made.
    pub(super) created_at: At,
    /// Row 1 first.
    pub(super) rows: Vec<SentRow>,
    /// The status words that came, by row number.
    pub(super) answered: BTreeMap<u32, String>,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    #[serde(rename = "OPT_OUT")]
    opt_out: usize,
    #[serde(rename = "OPT_IN")]
    opt_in: usize,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    batch_id: String,
    file: String,
    rows: usize,
    changes: Counts,
    sha256: String,
    created_at: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Progress {
    answered: BTreeMap<u32, String>,
}

impl Batch {
    /// Whether every row was answered.
    pub(super) fn is_complete(&self) -> bool {
        self.answered.len() >= self.rows.len()
    }

    /// A row by its number.
    pub(super) fn row(&self, number: u32) -> Option<&SentRow> {
        self.rows.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Batches in the order in which they were made.
    fn age(&self) -> (At, u32) {
        let number = self.id.rsplit('-').next();
        (
            self.created_at,
            number.and_then(|number| number.parse().ok()).unwrap_or(0),
        )
    }
}

/// Whether a text has the form of a batch id.
pub(super) fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &str, of: std::ops::RangeInclusive<usize>| {
        of.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    matches!(parts.as_slice(), [day, time, number]
        if digits(day, 8..=8) && digits(time, 6..=6) && digits(number, 1..=6))
}

fn path(folder: &str, id: &str, ending: &str) -> String {
    format!("{folder}/{STEM}{id}{ending}")
}

/// An id that no batch has had: the second it is made in, and a number.
pub(super) async fn new_id(place: &Place, now: At, zone: chrono_tz::Tz) -> Result<String, Fault> {
    const MOST: u32 = 10_000;
    let second = now.to_datetime().with_timezone(&zone);
    let second = second.format("%Y%m%d-%H%M%S");
    for number in 1..=MOST {
        let id = format!("{second}-{number}");
        let mut free = true;
        for folder in [SENT, SENT_DONE, OUTBOUND] {
            free &= place.size(&path(folder, &id, CSV)).await?.is_none();
        }
        if free {
            return Ok(id);
        }
    }
    Err(Fault::new(
        FaultClass::Retryable,
        "no-batch-id",
        format!("{MOST} batches were made within one second; does the clock stand still?"),
    ))
}

/// The bytes of a batch: its rows, and its manifest.
pub(super) fn compose(id: &str, drafts: &[Draft], now: At) -> (String, String) {
    let mut csv = COLUMNS.to_owned();
    for (index, draft) in drafts.iter().enumerate() {
        let number = (index + 1).to_string();
        let reason: String = draft.reason.chars().take(REASON_CHARS).collect();
        // The apostrophe counts as well.
        let reason: String = guarded(&reason).chars().take(REASON_CHARS).collect();
        let out = draft.status == Status::Withdrawn;
        push_row(
            &mut csv,
            &[
                id,
                &number,
                &draft.ascend_id,
                &draft.salesforce_id,
                &guarded(&draft.email),
                if out { "OPT_OUT" } else { "OPT_IN" },
                if out { "TRUE" } else { "FALSE" },
                &instant(draft.changed_at),
                if draft.by_specialist {
                    "SPECIALIST"
                } else {
                    "INTEGRATION"
                },
                &reason,
            ],
        );
    }
    let opt_out = drafts
        .iter()
        .filter(|draft| draft.status == Status::Withdrawn)
        .count();
    let manifest = Manifest {
        batch_id: id.to_owned(),
        file: format!("{STEM}{id}{CSV}"),
        rows: drafts.len(),
        changes: Counts {
            opt_out,
            opt_in: drafts.len() - opt_out,
        },
        sha256: hex(&Sha256::digest(csv.as_bytes())),
        created_at: instant(now),
    };
    // A plain structure of texts and numbers can be written.
    let manifest = serde_json::to_string(&manifest).unwrap_or_default();
    (csv, format!("{manifest}\n"))
}

/// Hands a batch over: first our own copy, then the rows, then the manifest, with which the other side
/// may take it.
///
/// # Errors
/// When nothing was handed over; `maybe_sent` when it may have been.
pub(super) async fn hand_over(
    place: &Place,
    id: &str,
    csv: &str,
    manifest: &str,
) -> Result<(), Fault> {
    let steps = [
        (path(SENT, id, CSV), csv),
        (path(SENT, id, MANIFEST), manifest),
        (path(OUTBOUND, id, CSV), csv),
        (path(OUTBOUND, id, MANIFEST), manifest),
    ];
    let last = steps.len() - 1;
    for (step, (path, text)) in steps.iter().enumerate() {
        let Err(mut fault) = place.write(path, text.as_bytes()).await else {
            continue;
        };
        if step == last && fault.maybe_sent {
            match is_offered(place, path).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(_) => return Err(fault),
            }
        }
        // Without its manifest nobody takes it. What cannot be cleared away is an open batch that
        // nobody answers; the next one with the same rows closes it.
        let unfinished = format!("{path}{UNFINISHED}");
        let begun = steps.iter().take(step).rev().map(|(path, _)| path);
        for path in [&unfinished, path].into_iter().chain(begun) {
            if let Err(fault) = place.remove(path).await {
                tracing::warn!(%fault, "what is left of batch {id} cannot be cleared away: {fault}");
            }
        }
        fault.maybe_sent = false;
        return Err(fault);
    }
    Ok(())
}

/// Whether a file has got its name, after an answer that never came. One that is nowhere was fetched.
async fn is_offered(place: &Place, path: &str) -> Result<bool, Fault> {
    let unfinished = format!("{path}{UNFINISHED}");
    Ok(place.size(path).await?.is_some() || place.size(&unfinished).await?.is_none())
}

/// The copy of a batch; none when there is none in that folder.
pub(super) async fn load(
    place: &Place,
    folder: &'static str,
    id: &str,
) -> Result<Option<Batch>, Fault> {
    let Some(csv) = place.read(&path(folder, id, CSV), MOST_BYTES).await? else {
        return Ok(None);
    };
    let broken = |what: &str| {
        Fault::new(
            FaultClass::ContractBroken,
            "sent-copy",
            format!("our own copy of batch {id} in {folder} cannot be read: {what}"),
        )
    };
    let manifest = place.read(&path(folder, id, MANIFEST), MOST_BYTES).await?;
    let created_at = manifest
        .and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok())
        .and_then(|manifest| parse_instant(&manifest.created_at));
    let progress = place.read(&path(folder, id, PROGRESS), MOST_BYTES).await?;
    let progress: Progress = match progress {
        Some(bytes) => {
            serde_json::from_slice(&bytes).map_err(|_| broken("its progress is no JSON"))?
        }
        None => Progress::default(),
    };
    let mut sent = Vec::new();
    let mut header: Option<Vec<Option<usize>>> = None;
    for row in rows(&csv, true, usize::MAX) {
        let cells = row.cells.ok_or_else(|| broken("a row is not UTF-8"))?;
        let Some(places) = &header else {
            header = Some(columns(&cells, &["ascend_id", "change", "changed_at"]));
            continue;
        };
        let cell = |index: usize| {
            let place = places.get(index).copied().flatten()?;
            cells.get(place).map(String::as_str)
        };
        let status = match cell(1) {
            Some("OPT_OUT") => Status::Withdrawn,
            Some("OPT_IN") => Status::Granted,
            _ => return Err(broken("a row has no change")),
        };
        sent.push(SentRow {
            ascend_id: cell(0).ok_or_else(|| broken("a row has no id"))?.to_owned(),
            status,
            changed_at: cell(2)
                .and_then(parse_instant)
                .ok_or_else(|| broken("a row has no time"))?,
        });
    }
    Ok(Some(Batch {
        id: id.to_owned(),
        folder,
        // A copy without its manifest was never handed over; it is as old as its rows.
        created_at: created_at
            .or_else(|| sent.iter().map(|row| row.changed_at).max())
            .unwrap_or(At::FIRST_PLAUSIBLE),
        rows: sent,
        answered: progress.answered,
    }))
}

/// Writes down which rows were answered; a batch without any other moves to those that are done.
pub(super) async fn note_answers(place: &Place, batch: &mut Batch) -> Result<(), Fault> {
    let progress = Progress {
        answered: batch.answered.clone(),
    };
    let text = serde_json::to_string(&progress).unwrap_or_default();
    let target = path(batch.folder, &batch.id, PROGRESS);
    place.write(&target, text.as_bytes()).await?;
    if batch.is_complete() {
        file_away(place, batch).await?;
    }
    Ok(())
}

/// Moves a copy to those that are done. As long as its rows are where they were, the batch is open; which
/// of them were answered moves last, so that a crash in between forgets none that are still waited for.
pub(super) async fn file_away(place: &Place, batch: &mut Batch) -> Result<(), Fault> {
    if batch.folder == SENT_DONE {
        return Ok(());
    }
    for ending in [MANIFEST, CSV, PROGRESS] {
        let from = path(SENT, &batch.id, ending);
        if place.size(&from).await?.is_some() {
            let to = path(SENT_DONE, &batch.id, ending);
            place.remove(&to).await?;
            place.rename(&from, &to).await?;
        }
    }
    batch.folder = SENT_DONE;
    Ok(())
}

/// The books on the open batches, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Books(BTreeMap<String, Batch>);

impl Books {
    /// Brings them in line with what stands in `sent/`.
    pub(super) async fn refresh(&mut self, place: &Place) -> Result<(), Fault> {
        let entries = place.list(SENT).await?;
        let ids: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.name.strip_prefix(STEM)?.strip_suffix(CSV))
            .filter(|id| is_id(id))
            .map(str::to_owned)
            .collect();
        if ids.len() > MAX_OPEN {
            return Err(Fault::new(
                FaultClass::Retryable,
                "too-many-batches",
                format!(
                    "more than {MAX_OPEN} batches wait for an acknowledgement; does anybody read them?"
                ),
            ));
        }
        self.0.retain(|id, _| ids.contains(id));
        for id in ids {
            if !self.0.contains_key(&id)
                && let Some(batch) = load(place, SENT, &id).await?
            {
                self.0.insert(id, batch);
            }
        }
        Ok(())
    }

    /// An open batch.
    pub(super) fn get(&self, id: &str) -> Option<&Batch> {
        self.0.get(id)
    }

    /// Puts a batch back as it has become.
    pub(super) fn put(&mut self, batch: Batch) {
        if batch.folder == SENT {
            self.0.insert(batch.id.clone(), batch);
        } else {
            self.0.remove(&batch.id);
        }
    }

    /// The latest time from which a decision counts that is under way to each contact: the next one
    /// has to be later, or it would be taken for the older.
    pub(super) fn latest_changes(&self) -> HashMap<&str, At> {
        let mut latest: HashMap<&str, At> = HashMap::new();
        for row in self.0.values().flat_map(|batch| &batch.rows) {
            let known = latest.entry(&row.ascend_id).or_insert(row.changed_at);
            *known = (*known).max(row.changed_at);
        }
        latest
    }

    /// The open batches older than `answered` with rows of the same contacts that were answered in it
    /// and that they still wait for, these marked: a later word on a contact is a word on it.
    pub(super) fn superseded_by(&self, answered: &Batch) -> Vec<Batch> {
        let contacts: std::collections::HashSet<&str> = answered
            .answered
            .iter()
            .filter(|(_, word)| *word != SUPERSEDED)
            .filter_map(|(number, _)| answered.row(*number))
            .map(|row| row.ascend_id.as_str())
            .collect();
        let older = self.0.values().filter(|batch| batch.age() < answered.age());
        older
            .filter_map(|batch| {
                let mut marked = batch.clone();
                for (index, row) in batch.rows.iter().enumerate() {
                    let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
                    if contacts.contains(row.ascend_id.as_str()) {
                        marked
                            .answered
                            .entry(number)
                            .or_insert_with(|| SUPERSEDED.to_owned());
                    }
                }
                (marked != *batch).then_some(marked)
            })
            .collect()
    }

    /// Batches that were made before then.
    pub(super) fn older_than(&self, instant: At) -> Vec<Batch> {
        let old = self.0.values().filter(|batch| batch.created_at < instant);
        old.cloned().collect()
    }

    /// Batches of which the word should have come by now.
    pub(super) fn overdue(&self, now: At, allowed: i64) -> Vec<Overdue> {
        let late = self
            .0
            .values()
            .filter(|batch| now.since(batch.created_at) > allowed && !batch.is_complete());
        late.map(|batch| Overdue {
            batch: batch.id.clone(),
            since: batch.created_at,
            missing: batch.rows.len() - batch.answered.len(),
        })
        .collect()
    }
}
