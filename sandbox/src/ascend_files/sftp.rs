//! An SFTP server on loopback over the exchange folder.
//!
//! Version 3 of the protocol as OpenSSH speaks it: names of files are UTF-8, a rename does not overwrite unless it is
//! `posix-rename@openssh.com`, and an exclusive create fails where there is something. Nobody gets out of the folder:
//! paths are put together without `..`, and links are not followed. Links, owners and permissions cannot be changed.
//!
//! One user may log in, by password or by key. The host key is made at the start and can be pinned.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::serve::Listener;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use russh_sftp::protocol::{
    Attrs, Data, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::StatusReply;
use tokio::net::TcpListener;

use super::{Behaviour, Exchange};
use crate::StartError;
use crate::server::{CutListener, Line};

/// Most files and folders that one connection has open.
const MAX_HANDLES: usize = 100;
/// Most bytes in one read.
const MAX_READ: usize = 128 * 1024;
/// Names in one answer to a listing.
const NAMES: usize = 100;
/// Time before a refused login is told, so that guessing is slow; tests should not be.
const REJECTION: Duration = Duration::from_millis(50);
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";

/// How to log in to the SFTP server, and how to know it.
#[derive(Clone)]
pub struct SftpCredentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// The user's private key, in the form of OpenSSH.
    pub private_key: String,
    /// The server's public key as it stands in a `known_hosts` file, without the host: `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// Its fingerprint: `SHA256:…`.
    pub host_fingerprint: String,
    user: PrivateKey,
    host: PrivateKey,
}

impl std::fmt::Debug for SftpCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SftpCredentials")
            .field("username", &self.username)
            .field("host_fingerprint", &self.host_fingerprint)
            .finish_non_exhaustive()
    }
}

impl SftpCredentials {
    /// New keys for the host and for the user.
    pub(crate) fn generate() -> Result<SftpCredentials, StartError> {
        let (user, host) = (key(), key());
        let private = user
            .to_openssh(LineEnding::LF)
            .map_err(|_| StartError::Key)?;
        let public = host.public_key();
        Ok(SftpCredentials {
            username: "ecomm-exchange".to_owned(),
            password: "sandbox-exchange-password".to_owned(),
            private_key: private.to_string(),
            host_key: public.to_openssh().map_err(|_| StartError::Key)?,
            host_fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
            user,
            host,
        })
    }
}

fn key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()))
}

/// Takes connections until the task is aborted.
pub(crate) async fn serve(exchange: Exchange, listener: TcpListener, down: Arc<AtomicBool>) {
    let config = Arc::new(Config {
        auth_rejection_time: REJECTION,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![exchange.shared.credentials.host.clone()],
        ..Config::default()
    });
    let mut listener = CutListener::new(listener, down);
    loop {
        let (stream, _) = listener.accept().await;
        let login = Login {
            exchange: exchange.clone(),
            line: stream.line(),
            channels: HashMap::new(),
        };
        let config = Arc::clone(&config);
        // A connection ends by itself when its socket does, at the latest with the sandbox.
        tokio::spawn(async move {
            let ended = match russh::server::run_stream(config, stream, login).await {
                Ok(session) => session.await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "an SFTP connection ended");
            }
        });
    }
}

/// One connection before its SFTP session.
struct Login {
    exchange: Exchange,
    line: Line,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Login {
    fn decide(&self, right: bool) -> Auth {
        let mut state = self.exchange.lock();
        let refuses = |one: &Behaviour| matches!(one, Behaviour::RefuseLogin).then_some(());
        if right && state.behaviours.show(refuses).is_none() {
            state.counts.logins += 1;
            return Auth::Accept;
        }
        state.counts.logins_refused += 1;
        Auth::reject()
    }
}

impl russh::server::Handler for Login {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let known = &self.exchange.shared.credentials;
        Ok(self.decide(user == known.username && password == known.password))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = &self.exchange.shared.credentials;
        let same = key.public_key.key_data() == known.user.public_key().key_data();
        Ok(self.decide(user == known.username && same))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.close(channel)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let channel = self.channels.remove(&id).filter(|_| name == "sftp");
        let Some(channel) = channel else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let sftp = Sftp {
            exchange: self.exchange.clone(),
            line: self.line.clone(),
            handles: HashMap::new(),
            numbers: 0,
            left: None,
        };
        russh_sftp::server::run(channel.into_stream(), sftp).await;
        Ok(())
    }
}

/// What a handle stands for.
enum Open {
    File(fs::File),
    /// What of a listing was not answered yet.
    Folder(Vec<Entry>),
}

/// One SFTP session.
struct Sftp {
    exchange: Exchange,
    line: Line,
    handles: HashMap<String, Open>,
    numbers: u64,
    /// Operations before the connection drops.
    left: Option<u32>,
}

type Reply<T> = Result<T, StatusReply>;

fn no(code: StatusCode) -> StatusReply {
    StatusReply::new(code)
}

fn failed(error: &io::Error) -> StatusReply {
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        // Version 3 has no code of its own for what is there already.
        _ => StatusCode::Failure,
    };
    no(code)
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en-US".to_owned(),
    }
}

/// The parts of a path inside the folder; `..` leads up, but never out.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

impl Sftp {
    /// Counts an operation; the connection may drop instead.
    fn operation(&mut self) -> Reply<()> {
        let mut state = self.exchange.lock();
        state.counts.operations += 1;
        if self.left.is_none() {
            self.left = state.behaviours.show(|one| match one {
                Behaviour::DropConnection { after } => Some(*after),
                _ => None,
            });
        }
        match &mut self.left {
            None => Ok(()),
            Some(0) => {
                self.line.cut();
                Err(no(StatusCode::ConnectionLost))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Where a path leads. No part of it may be a link, so that it stays in the folder.
    fn place(&self, path: &str) -> Reply<PathBuf> {
        let mut place = self.exchange.folder();
        for part in parts(path) {
            if part.contains('\0') {
                return Err(no(StatusCode::NoSuchFile));
            }
            place.push(part);
            let link = fs::symlink_metadata(&place).is_ok_and(|found| found.is_symlink());
            if link {
                return Err(no(StatusCode::PermissionDenied));
            }
        }
        Ok(place)
    }

    /// As [`Sftp::place`], for what is to be changed: not the folder itself.
    fn inside(&self, path: &str) -> Reply<PathBuf> {
        if parts(path).is_empty() {
            return Err(no(StatusCode::PermissionDenied));
        }
        self.place(path)
    }

    fn keep(&mut self, id: u32, open: Open) -> Reply<Handle> {
        if self.handles.len() >= MAX_HANDLES {
            return Err(no(StatusCode::Failure));
        }
        self.numbers += 1;
        let handle = self.numbers.to_string();
        self.handles.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Reply<&fs::File> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(no(StatusCode::Failure)),
        }
    }

    fn attributes(&self, id: u32, path: &str) -> Reply<Attrs> {
        let found = fs::symlink_metadata(self.place(path)?).map_err(|error| failed(&error))?;
        Ok(Attrs {
            id,
            attrs: FileAttributes::from(&found),
        })
    }

    fn posix_rename(&self, id: u32, data: &[u8]) -> Reply<Packet> {
        let bad = || no(StatusCode::BadMessage);
        let (from, rest) = text(data).ok_or_else(bad)?;
        let (to, _) = text(rest).ok_or_else(bad)?;
        fs::rename(self.inside(from)?, self.inside(to)?).map_err(|error| failed(&error))?;
        Ok(Packet::Status(done(id)))
    }
}

/// A text with its length before it, and what follows.
fn text(data: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = data.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

impl russh_sftp::server::Handler for Sftp {
    type Error = StatusReply;

    fn unimplemented(&self) -> StatusReply {
        no(StatusCode::OpUnsupported)
    }

    async fn init(&mut self, _version: u32, _: HashMap<String, String>) -> Reply<Version> {
        let mut version = Version::new();
        if self.exchange.settings().posix_rename {
            version
                .extensions
                .insert(POSIX_RENAME.to_owned(), "1".to_owned());
        }
        version.extensions.insert(FSYNC.to_owned(), "1".to_owned());
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        flags: OpenFlags,
        _: FileAttributes,
    ) -> Reply<Handle> {
        self.operation()?;
        let path = self.inside(&filename)?;
        if path.is_dir() {
            return Err(no(StatusCode::Failure));
        }
        let file = fs::OpenOptions::from(flags)
            .open(path)
            .map_err(|error| failed(&error))?;
        self.keep(id, Open::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Reply<Status> {
        self.operation()?;
        match self.handles.remove(&handle) {
            Some(_) => Ok(done(id)),
            None => Err(no(StatusCode::Failure)),
        }
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, length: u32) -> Reply<Data> {
        self.operation()?;
        let mut data = vec![0; (length as usize).min(MAX_READ)];
        let read = self
            .file(&handle)?
            .read_at(&mut data, offset)
            .map_err(|error| failed(&error))?;
        if read == 0 {
            return Err(no(StatusCode::Eof));
        }
        data.truncate(read);
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Reply<Status> {
        self.operation()?;
        self.file(&handle)?
            .write_all_at(&data, offset)
            .map_err(|error| failed(&error))?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Reply<Attrs> {
        self.operation()?;
        self.attributes(id, &path)
    }

    async fn stat(&mut self, id: u32, path: String) -> Reply<Attrs> {
        self.operation()?;
        self.attributes(id, &path)
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Reply<Attrs> {
        self.operation()?;
        let found = self
            .file(&handle)?
            .metadata()
            .map_err(|error| failed(&error))?;
        Ok(Attrs {
            id,
            attrs: FileAttributes::from(&found),
        })
    }

    async fn setstat(&mut self, id: u32, path: String, _: FileAttributes) -> Reply<Status> {
        self.operation()?;
        // Clients set times and modes after an upload and would take a refusal for a failed one.
        self.attributes(id, &path).map(|_| done(id))
    }

    async fn fsetstat(&mut self, id: u32, handle: String, _: FileAttributes) -> Reply<Status> {
        self.operation()?;
        self.file(&handle).map(|_| done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Reply<Handle> {
        self.operation()?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.place(&path)?).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            // A file may be gone by now; then it is not listed.
            if let (Ok(name), Ok(found)) = (entry.file_name().into_string(), entry.metadata()) {
                entries.push(Entry::new(name, FileAttributes::from(&found)));
            }
        }
        self.keep(id, Open::Folder(entries))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Reply<Name> {
        self.operation()?;
        let Some(Open::Folder(entries)) = self.handles.get_mut(&handle) else {
            return Err(no(StatusCode::Failure));
        };
        if entries.is_empty() {
            return Err(no(StatusCode::Eof));
        }
        let files = entries.drain(..entries.len().min(NAMES)).collect();
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, filename: String) -> Reply<Status> {
        self.operation()?;
        fs::remove_file(self.inside(&filename)?).map_err(|error| failed(&error))?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, _: FileAttributes) -> Reply<Status> {
        self.operation()?;
        fs::create_dir(self.inside(&path)?).map_err(|error| failed(&error))?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Reply<Status> {
        self.operation()?;
        fs::remove_dir(self.inside(&path)?).map_err(|error| failed(&error))?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Reply<Name> {
        self.operation()?;
        let path = format!("/{}", parts(&path).join("/"));
        Ok(Name {
            id,
            files: vec![Entry::dummy(path)],
        })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Reply<Status> {
        self.operation()?;
        let (from, to) = (self.inside(&from)?, self.inside(&to)?);
        if fs::symlink_metadata(&to).is_ok() {
            return Err(no(StatusCode::Failure));
        }
        fs::rename(from, to).map_err(|error| failed(&error))?;
        Ok(done(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Reply<Packet> {
        self.operation()?;
        match request.as_str() {
            POSIX_RENAME if self.exchange.settings().posix_rename => self.posix_rename(id, &data),
            FSYNC => {
                let (handle, _) = text(&data).ok_or_else(|| no(StatusCode::BadMessage))?;
                let synced = self.file(handle)?.sync_all();
                synced.map_err(|error| failed(&error))?;
                Ok(Packet::Status(done(id)))
            }
            _ => Err(no(StatusCode::OpUnsupported)),
        }
    }
}
