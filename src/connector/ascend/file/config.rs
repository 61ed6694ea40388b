//! Checked settings of a CU Ascend system on its `file` transport (R46).

use crate::consent::{Polarity, PurposeId};
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// What the time of a row in an extract means. The vendor documents nothing, so somebody has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The value was seen then: a change lies between two extracts.
    Seen,
    /// The value was set then.
    Changed,
}

/// Where the exchange folder is.
#[derive(Debug, Clone)]
pub enum PlaceSettings {
    /// On this machine, or mounted.
    Folder(PathBuf),
    /// On an SFTP server.
    Sftp(Box<SftpSettings>),
}

/// An SFTP server.
#[derive(Debug, Clone)]
pub struct SftpSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The exchange folder on it.
    pub directory: String,
    /// The user to log in as.
    pub user: String,
    /// The pinned host key, as `SHA256:…`. There is no way around it.
    pub host_key: String,
    /// How the user proves to be that one.
    pub credential: Credential,
    /// For the connection and the login.
    pub connect_timeout: Duration,
    /// For one request.
    pub request_timeout: Duration,
}

/// How a user proves to be that one.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A private key in OpenSSH's format, without a passphrase.
    PrivateKey(SecretString),
    /// A password.
    Password(SecretString),
}

/// A CU Ascend system that is connected by files.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The system's configured name.
    pub system: String,
    /// Where the exchange folder is.
    pub place: PlaceSettings,
    /// The purpose of the opt-out.
    pub purpose: PurposeId,
    /// What a set value means in an extract. A batch always says it in Salesforce's terms.
    pub polarity: Polarity,
    /// What the time of a row means.
    pub meaning: Meaning,
    /// The zone in which batches and extracts are named.
    pub time_zone: chrono_tz::Tz,
    /// An acknowledgement must have come by then.
    pub ack_timeout: Duration,
    /// Rows of one batch.
    pub batch_rows: usize,
    /// Rows of an extract that are stored together.
    pub page_rows: usize,
    /// No file may be longer.
    pub max_file_bytes: u64,
    /// Users besides our own that are programs; a change by anybody else is one by a specialist.
    pub integration_actors: BTreeSet<String>,
    /// Our name in the lock.
    pub lock_owner: String,
    /// A lock of somebody else is told of once it is older.
    pub lock_stale: Duration,
}
