//! Extracts: what Ascend shows of everybody, as the feed of the system.
//!
//! An extract is looked through once before anything of it is used: its manifest, its header, how many
//! rows can be understood, and which ids stand twice. Then it is read in pages, from a place in the
//! file, which is the cursor. The newest one counts; the older ones are filed away with it.

use super::config::{Meaning, Settings};
use super::place::{Entry, Place};
use super::text::{MAX_ROW_BYTES, Row, columns, hex, parse_instant, rows, unguarded};
use crate::connector::{Cursor, Fault, FaultClass, MAX_POISON_BYTES, Page, Poison};
use crate::consent::{At, Evidence, Life, Precision, Reading, Shown, Told};
use chrono::{NaiveDateTime, TimeZone as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Where the other side puts files.
pub(super) const INBOUND: &str = "inbound";
/// Where those go that were understood.
pub(super) const DONE: &str = "inbound/done";
/// What an extract's name begins with.
const STEM: &str = "ascend_email_extract_";
const CSV: &str = ".csv";
const MANIFEST: &str = ".manifest.json";
/// A manifest is no longer than this.
const MOST_MANIFEST_BYTES: u64 = 64 * 1024;
/// So much of a file is read at once.
const STRETCH: usize = 1 << 20;
/// An id is no longer than this.
const MOST_ID_BYTES: usize = 255;
/// Stands for whoever changes values in Ascend, of whom an extract tells nothing: many grants in one
/// extract are a load (R25).
pub(super) const ACTOR: &str = "extract";

/// Where the feed stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stand {
    /// No extract has been read to its end since everything was to be read anew.
    pub(super) load: bool,
    /// The extract that is being read.
    pub(super) at: Option<Reads>,
    /// The last one that was read to its end.
    pub(super) last: Option<Last>,
}

/// An extract that is being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reads {
    /// It was filed away already: everything is read anew.
    pub(super) filed: bool,
    /// Its name.
    pub(super) name: String,
    /// Its length: one that was replaced under the same name is another one.
    pub(super) bytes: u64,
    /// Where the next row begins.
    pub(super) offset: u64,
}

/// An extract that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Last {
    /// Its name.
    pub(super) name: String,
    /// The instant of which it told, in microseconds.
    pub(super) as_of: i64,
}

impl Stand {
    /// Where a cursor stands; one that cannot be read begins anew.
    pub(super) fn of(cursor: Option<&Cursor>) -> Self {
        cursor
            .and_then(|cursor| serde_json::from_str(&cursor.0).ok())
            .unwrap_or(Self {
                load: true,
                at: None,
                last: None,
            })
    }

    /// As a cursor.
    pub(super) fn cursor(&self) -> Result<Cursor, Fault> {
        Cursor::of(self)
    }
}

impl Reads {
    fn path(&self) -> String {
        let folder = if self.filed { DONE } else { INBOUND };
        format!("{folder}/{}", self.name)
    }
}

/// What the look through an extract found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    /// Its name.
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: u64,
    /// The instant of which it tells.
    pub(super) as_of: At,
    /// Contacts in it that can be understood.
    pub(super) contacts: u64,
    /// Where the first row begins.
    first_row: u64,
    places: Places,
    /// Digests of the ids that stand more than once.
    twice: HashSet<u64>,
}

/// Where the columns stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    cells: usize,
    id: usize,
    value: usize,
    as_of: usize,
    email: Option<usize>,
    created: Option<usize>,
}

#[derive(Deserialize)]
struct Manifest {
    file: String,
    rows: u64,
    sha256: String,
    as_of: String,
}

/// Why an extract is not read; a fault of the place is none of its own.
#[derive(Debug)]
pub(super) enum Unusable {
    /// It says what it must not, or does not say what it must. Holds no address.
    Refused(String),
    /// It cannot be looked at now.
    Fault(Fault),
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn refused(why: impl Into<String>) -> Unusable {
    Unusable::Refused(why.into())
}

/// Whether a name is that of an extract.
pub(super) fn is_extract(name: &str) -> bool {
    name.strip_prefix(STEM)
        .and_then(|rest| rest.strip_suffix(CSV))
        .is_some_and(|time| named_time(time).is_some())
}

/// The name of an extract's manifest.
pub(super) fn manifest_of(name: &str) -> String {
    format!("{}{MANIFEST}", name.strip_suffix(CSV).unwrap_or(name))
}

fn named_time(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y%m%d-%H%M%S").ok()
}

fn digest(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Looks an extract through. `last`: the one before, which it must not be older than.
///
/// # Errors
/// When it must not be used, or cannot be read now.
pub(super) async fn check(
    place: &Place,
    settings: &Settings,
    folder: &str,
    entry: &Entry,
    last: Option<&Last>,
) -> Result<Checked, Unusable> {
    if entry.bytes > settings.max_file_bytes {
        return Err(refused("it is longer than max_file_mib"));
    }
    let path = format!("{folder}/{}", entry.name);
    let manifest = manifest(place, folder, &entry.name).await?;
    let mut sum = Sha256::new();
    let mut seen: HashSet<u64> = HashSet::new();
    let mut twice: HashSet<u64> = HashSet::new();
    let mut places: Option<Places> = None;
    let (mut first_row, mut offset, mut count, mut newest) = (0, 0_u64, 0_u64, None);
    let mut understood = 0_u64;
    while offset < entry.bytes {
        let (stretch, found) = stretch(place, &path, entry.bytes, offset, usize::MAX).await?;
        let used = found.last().map_or(0, |row| row.end);
        sum.update(stretch.get(..used).unwrap_or_default());
        offset += used as u64;
        for row in found {
            if row.raw.len() > MAX_ROW_BYTES {
                return Err(refused(format!(
                    "line {} is too long; is a quote not closed?",
                    count + 2
                )));
            }
            let Some(places) = &places else {
                places = Some(header(&row)?);
                first_row = row.end as u64;
                continue;
            };
            count += 1;
            if let Ok(seen_row) = understand(&row, places) {
                understood += 1;
                newest = newest.max(Some(seen_row.as_of));
                let digest = digest(&seen_row.id);
                if !seen.insert(digest) {
                    twice.insert(digest);
                }
            }
        }
    }
    let Some(places) = places else {
        return Err(refused("it is empty: not even a header stands in it"));
    };
    if let Some(manifest) = &manifest {
        if manifest.file != entry.name {
            return Err(refused("its manifest names another file"));
        }
        if manifest.rows != count {
            return Err(refused(format!(
                "its manifest says {} rows, but it has {count}; was it cut?",
                manifest.rows
            )));
        }
        if !manifest.sha256.eq_ignore_ascii_case(&hex(&sum.finalize())) {
            return Err(refused("its SHA-256 is not that of its manifest"));
        }
    }
    let told = match &manifest {
        Some(manifest) => Some(
            parse_instant(&manifest.as_of)
                .ok_or_else(|| refused("as_of in its manifest is no RFC 3339 time"))?,
        ),
        None => None,
    };
    // A row's own time is that of the extract only where it says when the value was seen.
    let as_of = told
        .or(newest.filter(|_| settings.meaning == Meaning::Seen))
        .or_else(|| named_at(settings, &entry.name))
        .ok_or_else(|| refused("nothing tells when it was made"))?;
    if let Some(last) = last
        && as_of.micros() < last.as_of
    {
        return Err(refused(format!(
            "it tells of {as_of}, but a later one was read already"
        )));
    }
    Ok(Checked {
        name: entry.name.clone(),
        bytes: entry.bytes,
        as_of,
        contacts: understood,
        first_row,
        places,
        twice,
    })
}

/// The time in a name, which is that of the zone in which files are named.
fn named_at(settings: &Settings, name: &str) -> Option<At> {
    let text = name.strip_prefix(STEM)?.strip_suffix(CSV)?;
    let time = settings
        .time_zone
        .from_local_datetime(&named_time(text)?)
        .earliest()?;
    Some(At::from(time.to_utc()))
}

async fn manifest(place: &Place, folder: &str, name: &str) -> Result<Option<Manifest>, Unusable> {
    let path = format!("{folder}/{}", manifest_of(name));
    let Some(bytes) = place.read(&path, MOST_MANIFEST_BYTES).await? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(_) => Err(refused(
            "its manifest is no JSON with file, rows, sha256 and as_of",
        )),
    }
}

/// Bytes of a file from a place on that hold at least one whole row, and their whole rows.
async fn stretch(
    place: &Place,
    path: &str,
    bytes: u64,
    offset: u64,
    most: usize,
) -> Result<(Vec<u8>, Vec<Row>), Unusable> {
    let mut length = STRETCH;
    loop {
        let left = bytes - offset;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(length);
        let Some(read) = place.read_at(path, offset, wanted).await? else {
            return Err(Unusable::Fault(gone()));
        };
        if read.len() < wanted {
            return Err(Unusable::Fault(gone()));
        }
        let is_end = read.len() as u64 >= left;
        let found = rows(&read, is_end, most);
        if !found.is_empty() {
            return Ok((read, found));
        }
        if is_end {
            // Nothing but blank lines.
            let end = read.len();
            let blank = Row {
                cells: Some(Vec::new()),
                raw: Vec::new(),
                end,
            };
            return Ok((read, vec![blank]));
        }
        if length > MAX_ROW_BYTES.max(STRETCH) * 2 {
            return Err(refused("a line is too long; is a quote not closed?"));
        }
        length *= 2;
    }
}

/// Somebody took the file away, or is writing it in place.
fn gone() -> Fault {
    Fault::new(
        FaultClass::Retryable,
        "extract-changed",
        "an extract was changed or taken away while it was read; files are to be written under another \
         name and renamed",
    )
}

fn header(row: &Row) -> Result<Places, Unusable> {
    let cells = row.cells.clone().unwrap_or_default();
    let names = ["ascend_id", "email_value", "as_of", "email", "created_at"];
    let found = columns(&cells, &names);
    let column = |index: usize| found.get(index).copied().flatten();
    let required = |index: usize| {
        column(index).ok_or_else(|| {
            refused("its header must name the columns ascend_id, email_value and as_of")
        })
    };
    Ok(Places {
        cells: cells.len(),
        id: required(0)?,
        value: required(1)?,
        as_of: required(2)?,
        email: column(3),
        created: column(4),
    })
}

/// A row that can be understood.
struct Seen {
    id: String,
    set: bool,
    as_of: At,
    email: Option<String>,
    created: Option<At>,
}

/// What a row says, or its id as far as it has one, and the field that is wrong.
fn understand(row: &Row, places: &Places) -> Result<Seen, (Option<String>, String)> {
    let Some(cells) = &row.cells else {
        return Err((None, "the row is not UTF-8".to_owned()));
    };
    let cell = |place: usize| cells.get(place).map_or("", |cell| cell.trim());
    let id = cell(places.id);
    let good = !id.is_empty() && id.len() <= MOST_ID_BYTES && !id.contains(char::is_control);
    let known = good.then(|| id.to_owned());
    let wrong = |what: String| Err((known.clone(), what));
    if cells.len() != places.cells {
        return wrong(format!(
            "the row has {} cells instead of {}",
            cells.len(),
            places.cells
        ));
    }
    if !good {
        return wrong("ascend_id is blank or no id".to_owned());
    }
    let set = match cell(places.value).to_ascii_uppercase().as_str() {
        "TRUE" | "Y" | "YES" | "1" => true,
        "FALSE" | "N" | "NO" | "0" => false,
        _ => return wrong("email_value is neither TRUE nor FALSE".to_owned()),
    };
    let Some(as_of) = parse_instant(cell(places.as_of)) else {
        return wrong("as_of is no RFC 3339 time".to_owned());
    };
    let created = match places.created.map(cell).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match parse_instant(text) {
            Some(created) => Some(created),
            None => return wrong("created_at is no RFC 3339 time".to_owned()),
        },
    };
    let email = places.email.map(cell).map(unguarded);
    let email = email.map(str::trim).filter(|email| !email.is_empty());
    if email.is_some_and(|email| email.contains('\0')) {
        return wrong("email holds a NUL".to_owned());
    }
    Ok(Seen {
        id: id.to_owned(),
        set,
        as_of,
        email: email.map(str::to_owned),
        created,
    })
}

/// The page of an extract from where the feed stands.
///
/// # Errors
/// When the file cannot be read now, or is not what was looked through.
pub(super) async fn page(
    place: &Place,
    settings: &Settings,
    stand: &Stand,
    reads: &Reads,
    checked: &Checked,
    now: At,
) -> Result<Page, Unusable> {
    // A clock there that is ahead makes nothing true that is still to come.
    let as_of = checked.as_of.min(now);
    let begins = reads.offset == 0;
    let mut offset = if begins {
        checked.first_row
    } else {
        reads.offset
    };
    let mut page = Page {
        readings: Vec::new(),
        poison: Vec::new(),
        next: Cursor(String::new()),
        more: true,
        load: stand.load,
        scan: begins.then_some(checked.contacts),
        read_at: as_of,
        drained: None,
    };
    let at_end = offset >= checked.bytes;
    if !at_end {
        let (_, found) = stretch(
            place,
            &reads.path(),
            checked.bytes,
            offset,
            settings.page_rows,
        )
        .await?;
        offset += found.last().map_or(0, |row| row.end) as u64;
        for row in &found {
            take(&mut page, row, settings, stand, checked, as_of);
        }
    }
    // What is seen first by a load is told to be complete by a page of its own.
    let is_last = offset >= checked.bytes && (!stand.load || (at_end && !begins));
    let next = if is_last {
        page.more = false;
        page.load = false;
        page.drained = Some(as_of);
        Stand {
            load: false,
            at: None,
            last: Some(Last {
                name: checked.name.clone(),
                as_of: as_of.micros(),
            }),
        }
    } else {
        Stand {
            at: Some(Reads {
                offset,
                ..reads.clone()
            }),
            ..stand.clone()
        }
    };
    page.next = next.cursor()?;
    Ok(page)
}

fn take(
    page: &mut Page,
    row: &Row,
    settings: &Settings,
    stand: &Stand,
    checked: &Checked,
    as_of: At,
) {
    if row.raw.is_empty() {
        return;
    }
    let poison = |id: Option<String>, reason: String| Poison {
        id: id.unwrap_or_else(|| {
            let sum = hex(&Sha256::digest(&row.raw));
            format!("row-{}", sum.get(..16).unwrap_or_default())
        }),
        reason,
        raw: row.raw.iter().copied().take(MAX_POISON_BYTES).collect(),
    };
    match understand(row, &checked.places) {
        Err((id, reason)) => page.poison.push(poison(id, reason)),
        // Which of them is meant nobody can tell.
        Ok(seen) if checked.twice.contains(&digest(&seen.id)) => page.poison.push(poison(
            Some(seen.id),
            "ascend_id stands more than once in the extract".to_owned(),
        )),
        Ok(seen) => page
            .readings
            .push(reading(seen, settings, stand, checked, as_of)),
    }
}

fn reading(
    seen: Seen,
    settings: &Settings,
    stand: &Stand,
    checked: &Checked,
    as_of: At,
) -> Reading {
    let shown = if seen.set { Shown::Set } else { Shown::Default };
    let mut told = Vec::new();
    let modified = match settings.meaning {
        // The extract's own time says it already; most rows would only repeat it.
        Meaning::Seen => (seen.as_of != checked.as_of).then_some(seen.as_of),
        Meaning::Changed => {
            // R12: a default value is an act only where it is known to have been set: since the last
            // extract, or after the contact was made.
            let last = stand.last.as_ref().map(|last| At::from_micros(last.as_of));
            let was_set = shown != Shown::Default
                || last.is_some_and(|last| seen.as_of > last)
                || seen.created.is_some_and(|created| seen.as_of > created);
            if was_set {
                told.push(Told {
                    purpose: settings.purpose,
                    shown: shown.clone(),
                    at: seen.as_of,
                    precision: Precision::Seconds,
                    evidence: Evidence::History,
                    actor: Some(ACTOR.to_owned()),
                });
            }
            Some(seen.as_of)
        }
    };
    Reading {
        whole: true,
        address: seen.email,
        link: Some(seen.id.clone()),
        contact: seen.id,
        created: seen.created,
        modified,
        precision: Some(Precision::Seconds),
        modified_by: Some(ACTOR.to_owned()),
        life: Life::Live,
        values: vec![(settings.purpose, shown)],
        told,
        as_of: Some(as_of),
    }
}

/// The extracts among the files of a folder, newest first, without those that are older than `last` or
/// known to be refused.
pub(super) fn candidates<'a>(
    entries: &'a [Entry],
    last: Option<&Last>,
    refused: &BTreeMap<String, (u64, String)>,
) -> Vec<&'a Entry> {
    let is_new = |entry: &&Entry| {
        is_extract(&entry.name)
            && last.is_none_or(|last| entry.name > last.name)
            && refused
                .get(&entry.name)
                .is_none_or(|(bytes, _)| *bytes != entry.bytes)
    };
    let mut found: Vec<&Entry> = entries.iter().filter(is_new).collect();
    found.sort_by(|one, other| other.name.cmp(&one.name));
    found
}
