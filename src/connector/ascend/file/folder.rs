//! An exchange folder on this machine.

use super::place::{Entry, MAX_ENTRIES};
use crate::connector::{Fault, FaultClass};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, SeekFrom};

/// See [`super::place::Place`] for what its methods promise.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A folder; looks at nothing.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Entry>, Fault> {
        let mut found = match fs::read_dir(self.at(folder)).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault("list", folder, &error)),
        };
        let mut entries = Vec::new();
        while let Some(entry) = found
            .next_entry()
            .await
            .map_err(|error| fault("list", folder, &error))?
        {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.metadata().await {
                Ok(metadata) if metadata.is_file() => entries.push(Entry {
                    name,
                    bytes: metadata.len(),
                }),
                Ok(_) => {}
                // Somebody took it away meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(fault("list", folder, &error)),
            }
            if entries.len() > MAX_ENTRIES {
                return Err(too_many(folder));
            }
        }
        Ok(entries)
    }

    pub(super) async fn has_folder(&self, folder: &str) -> Result<bool, Fault> {
        match fs::metadata(self.at(folder)).await {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(fault("look at", folder, &error)),
        }
    }

    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, Fault> {
        match fs::metadata(self.at(path)).await {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fault("look at", path, &error)),
        }
    }

    pub(super) async fn read_at(
        &self,
        path: &str,
        offset: u64,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let failed = |error: std::io::Error| fault("read", path, &error);
        let mut file = match fs::File::open(self.at(path)).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
        let mut bytes = Vec::new();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        file.take(most)
            .read_to_end(&mut bytes)
            .await
            .map_err(failed)?;
        Ok(Some(bytes))
    }

    pub(super) async fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Fault> {
        let failed = |error: std::io::Error| fault("write", path, &error);
        let mut file = fs::File::create(self.at(path)).await.map_err(failed)?;
        file.write_all(bytes).await.map_err(failed)?;
        // A name must never stand for bytes that a power cut takes away.
        file.sync_all().await.map_err(failed)
    }

    pub(super) async fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let failed = |error: std::io::Error| fault("create", path, &error);
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(self.at(path))
            .await;
        let mut file = match made {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let mut written = file.write_all(bytes).await;
        if written.is_ok() {
            written = file.sync_all().await;
        }
        if let Err(error) = written {
            // Half of it is worse than nothing.
            self.remove(path).await?;
            return Err(failed(error));
        }
        Ok(true)
    }

    pub(super) async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<(), Fault> {
        // Nobody else gives files these names, so a look beforehand is enough.
        if !replace && self.size(to).await?.is_some() {
            return Err(Fault::new(
                FaultClass::Rejected,
                "exists",
                format!("{from} cannot be renamed, because there is a file {to} already"),
            ));
        }
        let failed = |error: std::io::Error| fault("rename", from, &error);
        fs::rename(self.at(from), self.at(to))
            .await
            .map_err(failed)?;
        let target = self.at(to);
        let Some(parent) = target.parent() else {
            return Ok(());
        };
        sync_folder(parent).await.map_err(failed)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Fault> {
        match fs::remove_file(self.at(path)).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(fault("remove", path, &error)),
        }
    }

    pub(super) async fn make_folder(&self, folder: &str) -> Result<(), Fault> {
        match fs::create_dir(self.at(folder)).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(fault("make", folder, &error)),
        }
    }
}

async fn sync_folder(folder: &Path) -> Result<(), std::io::Error> {
    fs::File::open(folder).await?.sync_all().await
}

/// What the system said, without the path above the exchange folder.
fn fault(what: &str, path: &str, error: &std::io::Error) -> Fault {
    let (class, code) = match error.kind() {
        ErrorKind::PermissionDenied => (FaultClass::Auth, "permission"),
        ErrorKind::NotFound => (FaultClass::Auth, "missing-folder"),
        _ => (FaultClass::Retryable, "file-system"),
    };
    Fault::new(
        class,
        code,
        format!("cannot {what} {path} in the exchange folder: {error}"),
    )
}

/// A folder that nobody clears away.
pub(super) fn too_many(folder: &str) -> Fault {
    Fault::new(
        FaultClass::Retryable,
        "too-many-files",
        format!("{folder} holds more than {MAX_ENTRIES} files; clear it"),
    )
}
