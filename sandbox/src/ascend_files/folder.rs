//! The exchange folder: names of files, the lock, and writing so that nobody reads half a file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};

use super::batch::id_order;

pub(super) const OUTBOUND: &str = "outbound";
pub(super) const INBOUND: &str = "inbound";
pub(super) const LOADED: &str = "loaded";
pub(super) const LOCK: &str = "exchange.lock";
const BATCH_PREFIX: &str = "cu_ecomm_email_optout_";
const MANIFEST: &str = ".manifest.json";
/// Longest batch or manifest.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Most files looked at in one folder.
const MAX_FILES: usize = 100_000;

/// A batch whose manifest is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: String,
    /// Name of the CSV.
    pub(super) file: String,
    pub(super) csv: PathBuf,
    pub(super) manifest: PathBuf,
}

/// Makes the folder and what both sides find in it.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join(OUTBOUND))?;
    fs::create_dir_all(folder.join(INBOUND))
}

/// The batches that are complete, in order of their ids, and how many CSVs wait for their manifest.
pub(super) fn batches(folder: &Path) -> io::Result<(Vec<Found>, usize)> {
    let outbound = folder.join(OUTBOUND);
    let mut found = Vec::new();
    let mut waiting = 0;
    for entry in fs::read_dir(&outbound)?.take(MAX_FILES) {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Neither hidden files nor those still being written have such a name.
        let stem = name
            .strip_prefix(BATCH_PREFIX)
            .and_then(|rest| rest.strip_suffix(".csv"));
        let Some(id) = stem else { continue };
        let manifest = outbound.join(format!("{BATCH_PREFIX}{id}{MANIFEST}"));
        if !manifest.is_file() {
            waiting += 1;
            continue;
        }
        found.push(Found {
            id: id.to_owned(),
            csv: outbound.join(&name),
            manifest,
            file: name,
        });
    }
    found.sort_by(|one, other| {
        let (left, right) = (id_order(&one.id), id_order(&other.id));
        left.cmp(&right).then_with(|| one.id.cmp(&other.id))
    });
    Ok((found, waiting))
}

/// Reads a file of the other side; the error inside says that it is too long.
pub(super) fn read(path: &Path) -> io::Result<Result<Vec<u8>, String>> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Ok(Err(format!("a file is longer than {MAX_BYTES} bytes")));
    }
    fs::read(path).map(Ok)
}

/// Takes a batch away once it is loaded.
pub(super) fn take_away(folder: &Path, batch: &Found, keep: bool) -> io::Result<()> {
    let loaded = folder.join(OUTBOUND).join(LOADED);
    if keep {
        fs::create_dir_all(&loaded)?;
    }
    // The manifest goes first: without it nobody takes the other for a batch.
    for path in [&batch.manifest, &batch.csv] {
        match path.file_name() {
            Some(name) if keep => fs::rename(path, loaded.join(name))?,
            _ => fs::remove_file(path)?,
        }
    }
    Ok(())
}

/// Writes a file under another name first, so that it is there whole or not at all.
pub(super) fn write(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let part = folder.join(format!("{name}.part"));
    let mut file = fs::File::create(&part)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(part, folder.join(name))
}

/// Takes the lock; `false` when somebody has it.
pub(super) fn lock(folder: &Path, owner: &str, now: DateTime<Utc>) -> io::Result<bool> {
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(folder.join(LOCK));
    match made {
        Ok(mut file) => {
            let at = now.to_rfc3339_opts(SecondsFormat::Secs, true);
            writeln!(file, "{owner} {at}")?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock back; `false` when there was none.
pub(super) fn unlock(folder: &Path) -> io::Result<bool> {
    match fs::remove_file(folder.join(LOCK)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
