//! Secrets come from files that only the daemon can read, or from the environment; never from the
//! configuration file, and never into a message.

use super::raw::Table;
use secrecy::zeroize::Zeroizing;
use secrecy::{SecretSlice, SecretString};
use std::io;
use std::path::{Path, PathBuf};

/// No secret is longer; a path that points at something else is noticed early.
const MAX_SECRET_BYTES: u64 = 64 * 1024;
/// The least length of the identity key (R55).
const LEAST_HASH_KEY_BYTES: usize = 32;

/// How to make a key of a keyed hash.
pub(super) const HOW: &str = "make one with: openssl rand -hex 32";

/// A file as it was found.
#[derive(Debug)]
pub struct SecretFile {
    /// What is in it, at most 64 KiB.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    pub mode: u32,
    /// It lies in the directory in which systemd hands credentials over. Access is by an access
    /// control list there, whose mask shows as the permission bits of the group.
    pub credential: bool,
}

/// How secret files are read, so that checking a configuration can be tested without any.
pub trait SecretReader {
    /// Reads the whole file.
    fn read(&self, path: &Path) -> io::Result<SecretFile>;
}

/// Reads from the file system.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// systemd's `$CREDENTIALS_DIRECTORY`, if the process has one.
    pub credentials: Option<PathBuf>,
}

impl SecretReader for Disk {
    fn read(&self, path: &Path) -> io::Result<SecretFile> {
        use std::io::Read;
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::File::open(path)?;
        // Asked of the open file, so that it cannot be swapped in between.
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if metadata.len() > MAX_SECRET_BYTES {
            return Err(io::Error::other("larger than 64 KiB, so hardly a secret"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize));
        file.take(MAX_SECRET_BYTES).read_to_end(&mut bytes)?;
        let credential = self
            .credentials
            .as_deref()
            .is_some_and(|home| path.starts_with(home));
        Ok(SecretFile {
            bytes,
            mode: metadata.mode() & 0o7777,
            credential,
        })
    }
}

/// What was found under `<key>_file` or, from the environment, under `<key>`; end-of-line
/// characters at the end of a file do not count. `None` when neither is given or a fault was noted.
fn find(table: &Table<'_>, key: &str, reader: &dyn SecretReader) -> Option<Zeroizing<Vec<u8>>> {
    let found = look_for(table, key, reader)?;
    table.notes.saw_secret(&found);
    Some(found)
}

fn look_for(table: &Table<'_>, key: &str, reader: &dyn SecretReader) -> Option<Zeroizing<Vec<u8>>> {
    let file_key = format!("{key}_file");
    match (table.item(key), table.text(&file_key)) {
        (Some(value), _) => {
            // From the file it is a fault already noted with the unknown keys.
            let text = value.text()?;
            value
                .is_from_environment()
                .then(|| Zeroizing::new(text.as_bytes().to_vec()))
        }
        (None, Some(path)) => {
            let path = PathBuf::from(path);
            let file = read_checked(table, &file_key, &path, reader)?;
            let end = file
                .bytes
                .iter()
                .rposition(|byte| !matches!(byte, b'\r' | b'\n'))?
                + 1;
            Some(Zeroizing::new(file.bytes.get(..end)?.to_vec()))
        }
        (None, None) => None,
    }
}

/// Reads a secret file and notes what is wrong with it.
fn read_checked(
    table: &Table<'_>,
    file_key: &str,
    path: &Path,
    reader: &dyn SecretReader,
) -> Option<SecretFile> {
    let shown = path.display();
    if !path.is_absolute() {
        table.fault(
            file_key,
            format!("must be an absolute path, but is {shown}"),
        );
        return None;
    }
    let file = match reader.read(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            table.fault(
                file_key,
                format!("there is no file {shown}; create it with mode 0400"),
            );
            return None;
        }
        Err(fault) => {
            table.fault(file_key, format!("{shown} cannot be read: {fault}"));
            return None;
        }
    };
    let too_wide = if file.credential { 0o007 } else { 0o077 };
    if file.mode & too_wide != 0 {
        table.fault(
            file_key,
            format!(
                "others than its owner can read or change {shown} (mode {:04o}); chmod 0400 it",
                file.mode
            ),
        );
        return None;
    }
    if file.bytes.iter().all(u8::is_ascii_whitespace) {
        table.fault(file_key, format!("{shown} is empty"));
        return None;
    }
    Some(file)
}

/// A secret text, if it is given.
pub(super) fn text(
    table: &Table<'_>,
    key: &str,
    reader: &dyn SecretReader,
) -> Option<SecretString> {
    let bytes = find(table, key, reader)?;
    if let Ok(text) = std::str::from_utf8(&bytes) {
        Some(SecretString::from(text.to_owned()))
    } else {
        table.fault(&format!("{key}_file"), "must hold text in UTF-8");
        None
    }
}

/// A secret text that comes from a file only, under a key of its own; end-of-line characters at its
/// end do not count. None when the key is not given or a fault was noted.
pub(super) fn file(
    table: &Table<'_>,
    key: &str,
    reader: &dyn SecretReader,
) -> Option<SecretString> {
    let path = PathBuf::from(table.text(key)?);
    let file = read_checked(table, key, &path, reader)?;
    if let Ok(text) = std::str::from_utf8(&file.bytes) {
        Some(SecretString::from(text.trim_end_matches(['\r', '\n'])))
    } else {
        table.fault(key, "must hold text in UTF-8");
        None
    }
}

/// A secret text that must be given; a stand-in when a fault was noted.
pub(super) fn text_required(
    table: &Table<'_>,
    key: &str,
    what: &str,
    reader: &dyn SecretReader,
) -> SecretString {
    let before = table.notes.len();
    let found = text(table, key, reader);
    if found.is_none() && table.notes.len() == before && table.item(key).is_none() {
        missing(table, key, what);
    }
    found.unwrap_or_default()
}

/// The key of the keyed hashes of subjects (R55).
pub(super) fn hash_key(table: &Table<'_>, reader: &dyn SecretReader) -> SecretSlice<u8> {
    const KEY: &str = "hash_key";
    let before = table.notes.len();
    let Some(bytes) = find(table, KEY, reader) else {
        if table.notes.len() == before && table.item(KEY).is_none() {
            missing(
                table,
                KEY,
                &format!("the key of the subjects' keyed hashes ({HOW})"),
            );
        }
        return SecretSlice::default();
    };
    if let Some(what) = weakness(&bytes) {
        table.fault("hash_key_file", what);
    }
    SecretSlice::from(bytes.to_vec())
}

/// Why these bytes are no key of a keyed hash; none when they may be one.
pub(super) fn weakness(bytes: &[u8]) -> Option<String> {
    let distinct = bytes
        .iter()
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    if bytes.len() < LEAST_HASH_KEY_BYTES {
        let found = bytes.len();
        Some(format!("needs at least 32 bytes, but has {found}; {HOW}"))
    } else if distinct < 8 {
        Some(format!("is not random; {HOW}"))
    } else {
        None
    }
}

/// A file that the daemon itself rewrites, e.g. a refresh token: it must be there and private.
pub(super) fn kept_file(
    table: &Table<'_>,
    key: &str,
    what: &str,
    reader: &dyn SecretReader,
) -> PathBuf {
    if table.item(key).is_none() {
        table.fault(
            key,
            format!("is missing; set it to the path of a file (mode 0600) with {what}"),
        );
        return PathBuf::new();
    }
    let path = PathBuf::from(table.text(key).unwrap_or_default());
    if !path.as_os_str().is_empty() {
        // Only looked at: the connector reads it when it logs in.
        drop(read_checked(table, key, &path, reader));
    }
    path
}

/// A file that is no secret, e.g. certificates, if it is given.
pub(super) fn public_file(
    table: &Table<'_>,
    key: &str,
    reader: &dyn SecretReader,
) -> Option<Vec<u8>> {
    let path = PathBuf::from(table.text(key)?);
    let shown = path.display();
    if !path.is_absolute() {
        table.fault(key, format!("must be an absolute path, but is {shown}"));
        return None;
    }
    match reader.read(&path) {
        Ok(file) => Some(file.bytes.to_vec()),
        Err(fault) => {
            table.fault(key, format!("{shown} cannot be read: {fault}"));
            None
        }
    }
}

fn missing(table: &Table<'_>, key: &str, what: &str) {
    let variable = table.path_of(key).to_uppercase().replace('.', "__");
    table.fault(
        &format!("{key}_file"),
        format!(
            "is missing; set it to the path of a file (mode 0400) with {what}, or set the environment \
             variable CONSENTD__{variable}"
        ),
    );
}
