//! A connector, and a gate, that reads but refuses to write: dry runs wrap every system in it.

use super::gate::{Activation, Gate, Standing, Unit};
use super::{
    Batching, Connector, Current, Cursor, Fault, FaultClass, Found, Outcome, Overdue, Page, Probe,
    Quota, Target, Unreadable, Wanted, WriteRequest,
};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Passes everything on except writes, each of which is refused with the code `read-only`.
pub struct ReadOnly(Arc<dyn Connector>);

impl ReadOnly {
    /// Wraps a connector.
    pub fn new(inner: Arc<dyn Connector>) -> Self {
        Self(inner)
    }
}

fn refused() -> Fault {
    Fault::new(
        FaultClass::Rejected,
        "read-only",
        "this is a dry run: nothing is written",
    )
}

impl std::fmt::Debug for ReadOnly {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ReadOnly")
    }
}

#[async_trait]
impl Connector for ReadOnly {
    async fn probe(&self) -> Result<Probe, Fault> {
        self.0.probe_to_read().await
    }

    async fn probe_to_read(&self) -> Result<Probe, Fault> {
        self.0.probe_to_read().await
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        self.0.read(cursor).await
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        self.0.current(contacts).await
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        self.0.look_up(wanted).await
    }

    async fn write(&self, _writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        Err(refused())
    }

    fn overdue(&self) -> Vec<Overdue> {
        self.0.overdue()
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.0.unreadable()
    }

    fn batching(&self) -> Batching {
        self.0.batching()
    }

    fn quota(&self) -> Option<Quota> {
        self.0.quota()
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.0.calls()
    }

    fn doubtful(&self) -> Vec<String> {
        self.0.doubtful()
    }

    fn least_poll_interval(&self) -> Duration {
        self.0.least_poll_interval()
    }
}

/// The same of a gate.
pub struct ReadOnlyGate(Arc<dyn Gate>);

impl ReadOnlyGate {
    /// Wraps a gate.
    pub fn new(inner: Arc<dyn Gate>) -> Self {
        Self(inner)
    }
}

impl std::fmt::Debug for ReadOnlyGate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ReadOnlyGate")
    }
}

#[async_trait]
impl Gate for ReadOnlyGate {
    async fn probe(&self) -> Result<Probe, Fault> {
        self.0.probe().await
    }

    fn units(&self) -> &[Unit] {
        self.0.units()
    }

    async fn standings(&self, keys: &[String]) -> Result<Vec<Standing>, Fault> {
        self.0.standings(keys).await
    }

    async fn activate(&self, _unit: &str, _keys: &[String]) -> Result<Vec<Activation>, Fault> {
        Err(refused())
    }

    fn keys_at_once(&self) -> usize {
        self.0.keys_at_once()
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.0.calls()
    }
}
