//! Files that the daemon writes for its own user alone: secrets, reports, sheets.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Puts a file there, replacing one of the same name: at any instant either the old or the new one is
/// whole on disk. Its mode is 0600.
///
/// # Errors
/// When the folder does not exist or cannot be written to; the old file is then as it was.
pub(crate) fn put(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = Draft::new(file)?;
    draft.write_all(content)?;
    draft.put()
}

/// A file that is being written, and comes to its place whole or not at all.
pub(crate) struct Draft {
    fresh: NamedTempFile,
    file: PathBuf,
    folder: PathBuf,
}

impl Draft {
    /// Begins one that will be called `file`.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be written to.
    pub(crate) fn new(file: &Path) -> io::Result<Self> {
        let folder = file
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        // A temporary file is created with mode 0600. Nobody takes one of that name for a finished file.
        let fresh = tempfile::Builder::new()
            .prefix(".")
            .suffix(".part")
            .tempfile_in(folder)?;
        Ok(Self {
            fresh,
            file: file.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Puts it there, durably, replacing one of the same name.
    ///
    /// # Errors
    /// When it cannot be; the old file is then as it was.
    pub(crate) fn put(self) -> io::Result<()> {
        self.fresh.as_file().sync_all()?;
        self.fresh
            .persist(&self.file)
            .map_err(|error| error.error)?;
        File::open(&self.folder)?.sync_all()
    }
}

impl io::Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fresh.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.fresh.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.csv");
        put(&file, b"old").unwrap();
        put(&file, b"new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_there_is_no_folder_nothing_is_left_lying() {
        let folder = tempfile::tempdir().unwrap();
        assert!(put(&folder.path().join("nowhere/report.csv"), b"new").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
