//! The exchange folder, wherever it is: a folder of this machine, or one on an SFTP server.
//!
//! Paths are relative to it and have `/`. Whoever writes a file writes it under another name and
//! renames it, so nobody ever reads half of one; what is not allowed to replace a file never does.

use super::config::PlaceSettings;
use super::folder::Folder;
use super::sftp::Sftp;
use crate::connector::{Fault, FaultClass};

/// Entries of one folder that are looked at.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// A file that ends so is not finished.
pub(super) const UNFINISHED: &str = ".part";

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: String,
    /// How long it is.
    pub(super) bytes: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) enum Place {
    /// On this machine, or mounted.
    Folder(Folder),
    /// On an SFTP server.
    Sftp(Sftp),
}

/// Calls the same method of either.
macro_rules! either {
    ($place:expr, $method:ident($($argument:expr),*)) => {
        match $place {
            Place::Folder(folder) => folder.$method($($argument),*).await,
            Place::Sftp(sftp) => sftp.$method($($argument),*).await,
        }
    };
}

impl Place {
    /// A place; makes no call.
    pub(super) fn new(settings: &PlaceSettings) -> Self {
        match settings {
            PlaceSettings::Folder(path) => Self::Folder(Folder::new(path.clone())),
            PlaceSettings::Sftp(settings) => Self::Sftp(Sftp::new((**settings).clone())),
        }
    }

    /// The finished files of a folder, by name; none when it is not there. Those that begin with a dot
    /// are nobody's business.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Entry>, Fault> {
        let mut entries = either!(self, list(folder))?;
        entries.retain(|entry| !entry.name.starts_with('.') && !entry.name.ends_with(UNFINISHED));
        entries.sort();
        Ok(entries)
    }

    /// Whether a folder is there.
    pub(super) async fn has_folder(&self, folder: &str) -> Result<bool, Fault> {
        either!(self, has_folder(folder))
    }

    /// How long a file is; none when it is not there.
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, Fault> {
        either!(self, size(path))
    }

    /// Up to `most` bytes of a file from `offset` on; none when the file is not there.
    pub(super) async fn read_at(
        &self,
        path: &str,
        offset: u64,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        either!(self, read_at(path, offset, most))
    }

    /// A whole file of at most `most` bytes; none when it is not there.
    ///
    /// # Errors
    /// `too-large` when it is longer.
    pub(super) async fn read(&self, path: &str, most: u64) -> Result<Option<Vec<u8>>, Fault> {
        let Some(bytes) = self.size(path).await? else {
            return Ok(None);
        };
        if bytes > most {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "too-large",
                format!("{path} is longer than the {most} bytes allowed"),
            ));
        }
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        self.read_at(path, 0, most).await
    }

    /// Writes a file under a name that nobody reads, and then gives it its own, in which it replaces
    /// what was there.
    pub(super) async fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Fault> {
        let unfinished = format!("{path}{UNFINISHED}");
        // As long as it has this name nothing has happened, whatever became of the bytes.
        either!(self, put(&unfinished, bytes)).map_err(|mut fault| {
            fault.maybe_sent = false;
            fault
        })?;
        either!(self, rename(&unfinished, path, true))
    }

    /// Makes a file that must not be there yet. Whether it was not.
    pub(super) async fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, Fault> {
        either!(self, create(path, bytes))
    }

    /// Gives a file another name, under which there must be none.
    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<(), Fault> {
        either!(self, rename(from, to, false))
    }

    /// Removes a file; it may be gone already.
    pub(super) async fn remove(&self, path: &str) -> Result<(), Fault> {
        either!(self, remove(path))
    }

    /// Makes a folder unless it is there.
    pub(super) async fn make_folder(&self, folder: &str) -> Result<(), Fault> {
        either!(self, make_folder(folder))
    }
}
