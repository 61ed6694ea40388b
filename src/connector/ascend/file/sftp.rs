//! An exchange folder on an SFTP server.
//!
//! The server is known by its pinned key and by nothing else: a server with another key gets neither
//! the user's name nor a password. One connection serves all calls; one that is lost is made again at
//! the next call. Every request has a time limit, and every list and file a bound.

use super::config::{Credential, SftpSettings};
use super::folder::too_many;
use super::place::{Entry, MAX_ENTRIES};
use crate::connector::{Fault, FaultClass};
use futures::future::join_all;
use russh::client::{self, AuthResult};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, StatusCode};
use secrecy::ExposeSecret as _;
use std::fmt;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// Bytes of one request to read or write; every server takes so many.
const CHUNK: usize = 32 * 1024;
/// Requests to read that are under way at once.
const READS_AT_ONCE: usize = 8;
/// Replaces an existing file, which the protocol's own renaming does not.
const POSIX_RENAME: &str = "posix-rename@openssh.com";
/// A connection without any word for so long is dead; the look for receipts keeps a live one busy.
const IDLE: Duration = Duration::from_mins(5);

/// See [`super::place::Place`] for what its methods promise.
pub(super) struct Sftp {
    settings: SftpSettings,
    line: Mutex<Option<Arc<Line>>>,
}

impl fmt::Debug for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sftp")
            .field("host", &self.settings.host)
            .finish_non_exhaustive()
    }
}

/// A connection that is logged in.
struct Line {
    sftp: RawSftpSession,
    replaces: bool,
    /// The connection lives as long as this.
    session: client::Handle<Doorkeeper>,
}

/// Lets in one server only, and keeps what another one showed.
struct Doorkeeper {
    pinned: String,
    shown: Arc<SyncMutex<Option<String>>>,
}

impl client::Handler for Doorkeeper {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        server: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        // A certificate names an authority, and none is trusted here.
        let PublicKeyOrCertificate::PublicKey { key, .. } = server else {
            return Ok(false);
        };
        let shown = key.fingerprint(HashAlg::Sha256).to_string();
        let known = shown == self.pinned;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(known)
    }
}

impl Sftp {
    /// A server; makes no call.
    pub(super) fn new(settings: SftpSettings) -> Self {
        Self {
            settings,
            line: Mutex::new(None),
        }
    }

    fn at(&self, path: &str) -> String {
        let root = self.settings.directory.trim_end_matches('/');
        match (root, path) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}/{path}"),
        }
    }

    /// The connection, made anew when there is none.
    async fn line(&self) -> Result<Arc<Line>, Fault> {
        let mut line = self.line.lock().await;
        // A server may hang up overnight; that is noticed here and costs no call.
        if let Some(line) = line.as_ref().filter(|line| !line.session.is_closed()) {
            return Ok(Arc::clone(line));
        }
        let made = tokio::time::timeout(self.settings.connect_timeout, self.connect()).await;
        let made = made.map_err(|_| {
            Fault::new(
                FaultClass::Retryable,
                "timeout",
                "the SFTP server took too long to let us in",
            )
        })??;
        let made = Arc::new(made);
        *line = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn connect(&self) -> Result<Line, Fault> {
        let settings = &self.settings;
        let shown = Arc::new(SyncMutex::new(None));
        let doorkeeper = Doorkeeper {
            pinned: settings.host_key.clone(),
            shown: Arc::clone(&shown),
        };
        let config = client::Config {
            inactivity_timeout: Some(IDLE),
            nodelay: true,
            ..client::Config::default()
        };
        let address = (settings.host.as_str(), settings.port);
        let connected = client::connect(Arc::new(config), address, doorkeeper).await;
        let mut session = connected.map_err(|error| self.not_connected(&error, &shown))?;
        let logged_in = match &settings.credential {
            Credential::Password(password) => {
                let password = password.expose_secret();
                session
                    .authenticate_password(&settings.user, password)
                    .await
            }
            Credential::PrivateKey(key) => {
                let key = decode_secret_key(key.expose_secret(), None).map_err(|_| {
                    Fault::new(
                        FaultClass::Auth,
                        "private-key",
                        "the private key for the SFTP server cannot be read",
                    )
                })?;
                let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
                session.authenticate_publickey(&settings.user, key).await
            }
        };
        match logged_in.map_err(|error| lost("log in", &error))? {
            AuthResult::Success => {}
            AuthResult::Failure { .. } => {
                return Err(Fault::new(
                    FaultClass::Auth,
                    "login",
                    "the SFTP server refuses the user or its key or password",
                ));
            }
        }
        let channel = session.channel_open_session().await;
        let channel = channel.map_err(|error| lost("open a channel", &error))?;
        let asked = channel.request_subsystem(true, "sftp").await;
        asked.map_err(|error| lost("start SFTP", &error))?;
        let sftp = RawSftpSession::new(channel.into_stream());
        sftp.set_timeout(settings.request_timeout.as_secs());
        let version = sftp.init().await;
        let version = version.map_err(|error| fault("start", "SFTP", &error))?;
        Ok(Line {
            sftp,
            replaces: version.extensions.contains_key(POSIX_RENAME),
            session,
        })
    }

    fn not_connected(&self, error: &russh::Error, shown: &SyncMutex<Option<String>>) -> Fault {
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        match shown {
            Some(shown) if shown != self.settings.host_key => Fault::new(
                FaultClass::Auth,
                "host-key",
                format!(
                    "the SFTP server shows the key {shown}, but {} is pinned; ask its administrator before \
                     changing host_key",
                    self.settings.host_key
                ),
            ),
            _ => lost("connect", error),
        }
    }

    /// What one call gave; a connection that broke is not used again.
    async fn done<T>(
        &self,
        what: &str,
        path: &str,
        line: &Arc<Line>,
        result: Result<T, SftpError>,
    ) -> Result<T, Fault> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => {
                if !matches!(&error, SftpError::Status(status) if !is_lost(status.status_code)) {
                    let mut kept = self.line.lock().await;
                    if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, line)) {
                        *kept = None;
                    }
                }
                Err(fault(what, path, &error))
            }
        }
    }

    /// The same, with none for a file that is not there.
    async fn found<T>(
        &self,
        what: &str,
        path: &str,
        line: &Arc<Line>,
        result: Result<T, SftpError>,
    ) -> Result<Option<T>, Fault> {
        match result {
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => {
                Ok(None)
            }
            other => self.done(what, path, line, other).await.map(Some),
        }
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Entry>, Fault> {
        let line = self.line().await?;
        let opened = line.sftp.opendir(self.at(folder)).await;
        let Some(opened) = self.found("list", folder, &line, opened).await? else {
            return Ok(Vec::new());
        };
        let mut entries = Vec::new();
        let mut seen = 0_usize;
        let listed = loop {
            match line.sftp.readdir(opened.handle.as_str()).await {
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => {
                    break Ok(());
                }
                Err(error) => break Err(error),
                Ok(page) => {
                    // Servers that give empty pages for ever are bounded by this as well.
                    seen += page.files.len().max(1);
                    let files = page.files.into_iter();
                    let files = files.filter(|file| file.attrs.file_type().is_file());
                    entries.extend(files.map(|file| Entry {
                        bytes: file.attrs.len(),
                        name: file.filename,
                    }));
                    if seen > MAX_ENTRIES + 2 {
                        break Ok(());
                    }
                }
            }
        };
        // What it costs the server is its business; the list is what was asked for.
        drop(line.sftp.close(opened.handle).await);
        self.done("list", folder, &line, listed).await?;
        if seen > MAX_ENTRIES + 2 {
            return Err(too_many(folder));
        }
        // Nobody's file has a path for a name.
        entries.retain(|entry| !entry.name.contains('/'));
        Ok(entries)
    }

    async fn attributes(&self, path: &str) -> Result<Option<FileAttributes>, Fault> {
        let line = self.line().await?;
        let found = line.sftp.stat(self.at(path)).await;
        let found = self.found("look at", path, &line, found).await?;
        Ok(found.map(|found| found.attrs))
    }

    pub(super) async fn has_folder(&self, folder: &str) -> Result<bool, Fault> {
        let found = self.attributes(folder).await?;
        Ok(found.is_some_and(|found| found.file_type().is_dir()))
    }

    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>, Fault> {
        let found = self.attributes(path).await?;
        Ok(found
            .filter(|found| !found.file_type().is_dir())
            .map(|found| found.len()))
    }

    pub(super) async fn read_at(
        &self,
        path: &str,
        offset: u64,
        most: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let line = self.line().await?;
        let opened = line
            .sftp
            .open(self.at(path), OpenFlags::READ, FileAttributes::empty())
            .await;
        let Some(opened) = self.found("read", path, &line, opened).await? else {
            return Ok(None);
        };
        let read = read_chunks(&line.sftp, &opened.handle, offset, most).await;
        drop(line.sftp.close(opened.handle).await);
        self.done("read", path, &line, read).await.map(Some)
    }

    /// Writes into a file that was opened, and closes it.
    async fn fill(
        &self,
        path: &str,
        line: &Arc<Line>,
        handle: String,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let mut written = Ok(());
        for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
            let offset = (index * CHUNK) as u64;
            let sent = line.sftp.write(handle.as_str(), offset, chunk.to_vec());
            if let Err(error) = sent.await {
                written = Err(error);
                break;
            }
        }
        let closed = line.sftp.close(handle).await.map(drop);
        self.done("write", path, line, written.and(closed)).await
    }

    pub(super) async fn put(&self, path: &str, bytes: &[u8]) -> Result<(), Fault> {
        let line = self.line().await?;
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let opened = line
            .sftp
            .open(self.at(path), flags, FileAttributes::empty());
        let opened = opened.await;
        let handle = self.done("write", path, &line, opened).await?.handle;
        self.fill(path, &line, handle, bytes).await
    }

    pub(super) async fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, Fault> {
        let line = self.line().await?;
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUDE | OpenFlags::WRITE;
        let opened = line
            .sftp
            .open(self.at(path), flags, FileAttributes::empty());
        let opened = opened.await;
        match self.done("create", path, &line, opened).await {
            Ok(opened) => match self.fill(path, &line, opened.handle, bytes).await {
                Ok(()) => Ok(true),
                // It is there, and says nothing yet.
                Err(fault) => Err(fault.maybe_sent()),
            },
            // Version 3 of the protocol has no word for a file that is there already.
            Err(fault) => match self.size(path).await {
                Ok(Some(_)) if !fault.maybe_sent => Ok(false),
                _ => Err(fault),
            },
        }
    }

    pub(super) async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<(), Fault> {
        let line = self.line().await?;
        let (old, new) = (self.at(from), self.at(to));
        if replace && line.replaces {
            let answer = line.sftp.extended(POSIX_RENAME, strings(&[&old, &new]));
            let renamed = answer.await.and_then(|packet| match packet {
                Packet::Status(status) if status.status_code == StatusCode::Ok => Ok(()),
                Packet::Status(status) => Err(SftpError::Status(status)),
                _ => Err(SftpError::UnexpectedPacket),
            });
            return self.done("rename", from, &line, renamed).await;
        }
        if replace {
            self.remove(to).await?;
        }
        let renamed = line.sftp.rename(old, new).await.map(drop);
        self.done("rename", from, &line, renamed).await
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), Fault> {
        let line = self.line().await?;
        let removed = line.sftp.remove(self.at(path)).await;
        let removed = self.found("remove", path, &line, removed).await?;
        drop(removed);
        Ok(())
    }

    pub(super) async fn make_folder(&self, folder: &str) -> Result<(), Fault> {
        if self.has_folder(folder).await? {
            return Ok(());
        }
        let line = self.line().await?;
        let made = line
            .sftp
            .mkdir(self.at(folder), FileAttributes::empty())
            .await;
        self.done("make", folder, &line, made).await.map(drop)
    }
}

/// Several requests at once, since each of them waits for a round trip.
async fn read_chunks(
    sftp: &RawSftpSession,
    handle: &str,
    offset: u64,
    most: usize,
) -> Result<Vec<u8>, SftpError> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let from = offset + bytes.len() as u64;
        let reads = (0..READS_AT_ONCE).map(|place| {
            let at = from + (place * CHUNK) as u64;
            sftp.read(handle, at, CHUNK as u32)
        });
        for chunk in join_all(reads).await {
            match chunk {
                Ok(chunk) if chunk.data.len() == CHUNK => bytes.extend(chunk.data),
                // Short is allowed at any place; what was read behind it is asked for again.
                Ok(chunk) if !chunk.data.is_empty() => {
                    bytes.extend(chunk.data);
                    break;
                }
                Ok(_) => return Ok(shortened(bytes, most)),
                Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => {
                    return Ok(shortened(bytes, most));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(shortened(bytes, most))
}

fn shortened(mut bytes: Vec<u8>, most: usize) -> Vec<u8> {
    bytes.truncate(most);
    bytes
}

/// Texts as the protocol packs them.
fn strings(texts: &[&str]) -> Vec<u8> {
    let mut packed = Vec::new();
    for text in texts {
        packed.extend((text.len() as u32).to_be_bytes());
        packed.extend(text.as_bytes());
    }
    packed
}

const fn is_lost(code: StatusCode) -> bool {
    matches!(code, StatusCode::NoConnection | StatusCode::ConnectionLost)
}

/// A connection that could not be made or broke. The words of the library may hold an address.
fn lost(what: &str, error: &russh::Error) -> Fault {
    let why = match error {
        russh::Error::IO(error) => format!("{:?}", error.kind()),
        russh::Error::NoCommonAlgo { .. } => "no algorithm in common".to_owned(),
        russh::Error::ConnectionTimeout | russh::Error::InactivityTimeout => "timeout".to_owned(),
        russh::Error::UnknownKey => "unknown host key".to_owned(),
        _ => "the connection broke".to_owned(),
    };
    Fault::new(
        FaultClass::Retryable,
        "connect",
        format!("cannot {what} at the SFTP server: {why}"),
    )
}

/// What a request that failed means. It may have taken effect where no answer came.
fn fault(what: &str, path: &str, error: &SftpError) -> Fault {
    let (class, code, why, answered) = match error {
        SftpError::Status(status) => match status.status_code {
            StatusCode::PermissionDenied => {
                (FaultClass::Auth, "permission", "permission denied", true)
            }
            StatusCode::NoSuchFile => (
                FaultClass::Auth,
                "missing-folder",
                "no such file or folder",
                true,
            ),
            StatusCode::OpUnsupported => (
                FaultClass::Rejected,
                "unsupported",
                "the server cannot do that",
                true,
            ),
            StatusCode::NoConnection | StatusCode::ConnectionLost => (
                FaultClass::Retryable,
                "connection-lost",
                "the connection was lost",
                false,
            ),
            StatusCode::Ok | StatusCode::Eof | StatusCode::Failure | StatusCode::BadMessage => {
                (FaultClass::Retryable, "sftp", "the server refused it", true)
            }
        },
        SftpError::Timeout => (FaultClass::Retryable, "timeout", "no answer in time", false),
        SftpError::Limited(_) => (
            FaultClass::Retryable,
            "sftp-limit",
            "a limit of the server",
            true,
        ),
        SftpError::IO(_) | SftpError::UnexpectedPacket | SftpError::UnexpectedBehavior(_) => (
            FaultClass::Retryable,
            "connection-lost",
            "the connection was lost",
            false,
        ),
    };
    let fault = Fault::new(
        class,
        code,
        format!("cannot {what} {path} in the exchange folder on the SFTP server: {why}"),
    );
    if answered { fault } else { fault.maybe_sent() }
}
