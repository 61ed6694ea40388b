//! Files that the daemon writes for its own user alone: secrets, reports, sheets.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Puts a file there, replacing one of the same name: at any instant either the old or the new one is
/// whole on disk. Its mode is 0600.
///
/// # Errors
/// When the folder does not exist or cannot be written to; the old file is then as it was.
pub(crate) fn put(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut fresh = Fresh::begin(file)?;
    fresh.write_all(content)?;
    fresh.finish()
}

/// A file that is being written piece by piece. The one of the same name stays as it is until
/// [`Fresh::finish`].
pub(crate) struct Fresh {
    part: NamedTempFile,
    file: PathBuf,
    folder: PathBuf,
}

impl Fresh {
    /// Begins the file, with mode 0600.
    ///
    /// # Errors
    /// When the folder does not exist or cannot be written to.
    pub(crate) fn begin(file: &Path) -> io::Result<Self> {
        let folder = file
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        // A temporary file is created with mode 0600. Nobody takes one of that name for a finished file.
        let part = tempfile::Builder::new()
            .prefix(".")
            .suffix(".part")
            .tempfile_in(folder)?;
        Ok(Self {
            part,
            file: file.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Puts it in its place, whole and on disk.
    ///
    /// # Errors
    /// When it cannot be; the old file is then as it was.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.part.as_file().sync_all()?;
        self.part.persist(&self.file).map_err(|error| error.error)?;
        File::open(self.folder)?.sync_all()
    }
}

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.flush()
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
