//! The exchange folder over SFTP.

use std::sync::Arc;
use std::sync::Mutex;

use consentd_sandbox::ascend_files::Behaviour;
use russh::client::{Config, Handle, Handler};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh_sftp::client::{RawSftpSession, SftpSession};
use russh_sftp::protocol::{OpenFlags, Packet, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Files;

/// Remembers the key that the server showed.
#[derive(Clone, Default)]
struct Pin(Arc<Mutex<Option<String>>>);

impl Handler for Pin {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = shown {
            *self.0.lock().unwrap() = Some(key.fingerprint(HashAlg::Sha256).to_string());
        }
        Ok(true)
    }
}

async fn connect(files: &Files) -> (Handle<Pin>, Pin) {
    let pin = Pin::default();
    let address = files.side().sftp_address();
    let handle = russh::client::connect(Arc::new(Config::default()), address, pin.clone());
    (handle.await.unwrap(), pin)
}

/// The stream of a session of somebody who got in.
async fn stream(files: &Files) -> russh::ChannelStream<russh::client::Msg> {
    let (mut handle, pin) = connect(files).await;
    let known = &files.sandbox.credentials().sftp;
    let login = handle.authenticate_password(&known.username, &known.password);
    assert!(login.await.unwrap().success());
    let shown = pin.0.lock().unwrap().clone();
    assert_eq!(shown.as_deref(), Some(known.host_fingerprint.as_str()));
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    channel.into_stream()
}

async fn session(files: &Files) -> SftpSession {
    SftpSession::new(stream(files).await).await.unwrap()
}

#[tokio::test]
async fn files_are_written_listed_renamed_and_read() {
    let files = Files::start().await;
    let sftp = session(&files).await;
    let flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::TRUNCATE;
    let content = vec![b'x'; 300_000];
    let mut file = sftp
        .open_with_flags("outbound/a.csv.part", flags)
        .await
        .unwrap();
    file.write_all(&content).await.unwrap();
    file.shutdown().await.unwrap();
    sftp.rename("outbound/a.csv.part", "/outbound/a.csv")
        .await
        .unwrap();
    assert_eq!(
        std::fs::read(files.path("outbound/a.csv")).unwrap(),
        content
    );
    let names: Vec<String> = sftp
        .read_dir("outbound")
        .await
        .unwrap()
        .map(|one| one.file_name())
        .collect();
    assert_eq!(names, ["a.csv"]);
    let mut text = Vec::new();
    let mut file = sftp.open("outbound/a.csv").await.unwrap();
    file.read_to_end(&mut text).await.unwrap();
    assert_eq!(text, content);
    let found = sftp.metadata("outbound/a.csv").await.unwrap();
    assert_eq!((found.len(), found.is_dir()), (300_000, false));
    sftp.create_dir("sent").await.unwrap();
    assert!(sftp.metadata("sent").await.unwrap().is_dir());
    assert!(sftp.create_dir("sent").await.is_err());
    std::fs::write(files.path("outbound/b.csv"), "b").unwrap();
    assert!(
        sftp.rename("outbound/b.csv", "outbound/a.csv")
            .await
            .is_err(),
        "not over another"
    );
    sftp.remove_file("outbound/a.csv").await.unwrap();
    assert!(sftp.metadata("outbound/a.csv").await.is_err());
    assert_eq!(sftp.canonicalize(".").await.unwrap(), "/");
    assert!(files.side().counts().operations > 10);
}

#[tokio::test]
async fn the_lock_can_be_taken_once() {
    let files = Files::start().await;
    let sftp = session(&files).await;
    let flags = OpenFlags::CREATE | OpenFlags::WRITE | OpenFlags::EXCLUDE;
    let mut lock = sftp.open_with_flags("exchange.lock", flags).await.unwrap();
    lock.write_all(b"consentd 2026-05-01T07:00:00Z\n")
        .await
        .unwrap();
    lock.shutdown().await.unwrap();
    assert!(sftp.open_with_flags("exchange.lock", flags).await.is_err());
    assert!(files.side().load().unwrap().locked);
    sftp.remove_file("exchange.lock").await.unwrap();
    assert!(!files.side().load().unwrap().locked);
}

#[tokio::test]
async fn nobody_gets_out_of_the_folder() {
    let files = Files::start().await;
    let sftp = session(&files).await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), files.path("link")).unwrap();
    let target = outside.path().join("secret").display().to_string();
    for path in [
        "link/secret".to_owned(),
        "link".to_owned(),
        target.clone(),
        format!("../../../../../..{target}"),
        "/etc/hostname".to_owned(),
        "..".to_owned(),
    ] {
        assert!(sftp.open(path.as_str()).await.is_err(), "{path}");
    }
    assert_eq!(sftp.canonicalize("../../outbound/..").await.unwrap(), "/");
    assert!(sftp.symlink("outbound/x", "/etc").await.is_err());
    assert!(sftp.remove_dir("/").await.is_err());
}

#[tokio::test]
async fn only_the_user_gets_in_by_password_or_key() {
    let files = Files::start().await;
    let known = files.sandbox.credentials().sftp.clone();
    let key = Arc::new(PrivateKey::from_openssh(&known.private_key).unwrap());
    let (mut handle, _) = connect(&files).await;
    let by_key = PrivateKeyWithHashAlg::new(key, None);
    assert!(
        handle
            .authenticate_publickey(&known.username, by_key)
            .await
            .unwrap()
            .success()
    );
    for (user, password) in [
        (known.username.as_str(), "other"),
        ("other", known.password.as_str()),
    ] {
        let (mut handle, _) = connect(&files).await;
        assert!(
            !handle
                .authenticate_password(user, password)
                .await
                .unwrap()
                .success()
        );
    }
    files
        .side()
        .set_behaviour(Behaviour::RefuseLogin.times(1))
        .unwrap();
    let (mut handle, _) = connect(&files).await;
    let login = handle.authenticate_password(&known.username, &known.password);
    assert!(!login.await.unwrap().success(), "though it is right");
    let counts = files.side().counts();
    assert_eq!((counts.logins, counts.logins_refused), (1, 3));
    session(&files).await;
}

#[tokio::test]
async fn the_connection_can_drop_in_the_middle() {
    let files = Files::start().await;
    files
        .side()
        .set_behaviour(Behaviour::DropConnection { after: 2 }.times(1))
        .unwrap();
    let sftp = session(&files).await;
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.push(sftp.metadata("outbound").await.is_ok());
    }
    assert_eq!(outcomes, [true, true, false, false]);
    let sftp = session(&files).await;
    for _ in 0..4 {
        sftp.metadata("outbound").await.unwrap();
    }
}

#[tokio::test]
async fn a_rename_may_replace_where_the_server_knows_how() {
    let files = Files::start().await;
    let name = "posix-rename@openssh.com";
    let mut data = Vec::new();
    for path in ["outbound/new", "outbound/old"] {
        data.extend((path.len() as u32).to_be_bytes());
        data.extend(path.as_bytes());
    }
    for (known, status) in [(true, StatusCode::Ok), (false, StatusCode::OpUnsupported)] {
        files
            .side()
            .change_settings(|settings| settings.posix_rename = known);
        std::fs::write(files.path("outbound/new"), "new").unwrap();
        std::fs::write(files.path("outbound/old"), "old").unwrap();
        let raw = RawSftpSession::new(stream(&files).await);
        let version = raw.init().await.unwrap();
        assert_eq!(version.extensions.contains_key(name), known);
        let answer = raw.extended(name, data.clone()).await.unwrap();
        assert!(matches!(answer, Packet::Status(one) if one.status_code == status));
        let text = files.text("outbound/old");
        assert_eq!(text, if known { "new" } else { "old" });
    }
}
