//! eMarketeer: consent by address and purpose, as a log of records (R21, R22).
//!
//! `wire` speaks the API, whose paths are public and whose schema is not; `master` finds out what the
//! account calls its purposes and legal bases; `map` turns rows into readings, `feed` walks through
//! the account and its changes, `look_up` and `write` are what their names say. Nothing in here
//! decides about consent.

pub mod access;
pub mod config;
pub mod feed;
pub mod look_up;
pub mod map;
pub mod master;
pub mod probe;
pub mod wire;
pub mod write;

use super::{
    Batching, Connector, Current, Cursor, Fault, Found, Outcome, Page, Probe, Target, Wanted,
    WriteRequest,
};
use access::Access;
use async_trait::async_trait;
use config::Settings;
use feed::Feed;
use write::Looks;

/// Writes handed over at once: each is a call of its own.
const WRITES: usize = 50;
/// Doubtful contacts named at once.
const DOUBTS: usize = 200;

/// An eMarketeer account.
#[derive(Debug)]
pub struct Emarketeer {
    access: Access,
    feed: Feed,
    looks: Looks,
}

impl Emarketeer {
    /// A connector; makes no call.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        Ok(Self {
            access: Access::new(settings)?,
            feed: Feed::default(),
            looks: Looks::default(),
        })
    }
}

#[async_trait]
impl Connector for Emarketeer {
    async fn probe(&self) -> Result<Probe, Fault> {
        probe::probe(&self.access).await
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        self.feed.read(&self.access, cursor).await
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        let found = look_up::current(&self.access, contacts).await?;
        let mut current = Vec::with_capacity(found.len());
        let mut looks = Vec::new();
        for (target, (shown, present)) in contacts.iter().zip(found) {
            current.push(shown);
            looks.extend(present.map(|present| (target.contact.clone(), present)));
        }
        self.looks.keep(looks.into_iter());
        Ok(current)
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        look_up::look_up(&self.access, &self.feed, wanted).await
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        write::write(&self.access, &self.looks, writes).await
    }

    fn batching(&self) -> Batching {
        Batching {
            rows: WRITES,
            bulk_above: WRITES,
            bulk_rows: WRITES,
            look_up: look_up::most_at_once(&self.feed),
        }
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.access.account.calls()
    }

    fn doubtful(&self) -> Vec<String> {
        self.access.doubtful(DOUBTS)
    }
}
