//! Salesforce: consent on the Contact object of an org (R45).
//!
//! `wire` speaks the platform's REST API, `map` turns rows into readings, `feed` walks through the
//! org and its changes, `write` sets fields. Nothing in here decides about consent.

pub mod config;
pub mod feed;
pub mod ingest;
pub mod map;
pub mod probe;
pub mod wire;
pub mod write;

use super::{
    Batching, Connector, Current, Cursor, Fault, Found, Outcome, Page, Probe, Quota, Target,
    Wanted, WriteRequest,
};
use async_trait::async_trait;
use config::Settings;
use feed::Feed;
use map::Shape;
use wire::Org;

/// The object with the contacts.
const CONTACT: &str = "Contact";

/// A Salesforce org.
#[derive(Debug)]
pub struct Salesforce {
    org: Org,
    feed: Feed,
}

impl Salesforce {
    /// A connector; makes no call.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        let shape = Shape::new(
            CONTACT,
            "Email",
            settings.link_field.as_deref(),
            settings.fields,
        );
        Ok(Self {
            org: Org::new(settings.platform)?,
            feed: Feed::new(shape),
        })
    }
}

#[async_trait]
impl Connector for Salesforce {
    async fn probe(&self) -> Result<Probe, Fault> {
        probe::probe(&self.org, &self.feed).await
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        self.feed.read(&self.org, None, cursor).await
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        write::current(&self.org, self.feed.shape(), contacts).await
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        self.feed.look_up(&self.org, None, wanted).await
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        write::write(&self.org, self.feed.shape(), writes).await
    }

    fn batching(&self) -> Batching {
        write::batching(&self.org)
    }

    fn quota(&self) -> Option<Quota> {
        self.org.quota()
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.org.calls()
    }
}
