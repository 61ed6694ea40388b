//! CU Ascend on its platform transport: a package on the Salesforce platform (R46).
//!
//! The wire, the feed and the writing of flags are those of Salesforce. What differs: which fields
//! hold address, person id and consent is configured, and consent may be held by rows of the
//! service-indicator object instead of a flag. Package code may drop what was written without a
//! word, so every write is read back.

pub mod config;
pub mod file;
pub mod indicator;

use super::salesforce::config::Field;
use super::salesforce::feed::{Companion, Feed};
use super::salesforce::map::Shape;
use super::salesforce::wire::Org;
use super::salesforce::{probe, write};
use super::{
    Batching, Connector, Current, Cursor, Fault, FaultClass, Found, Outcome, Page, Probe, Quota,
    Target, Wanted, WriteRequest,
};
use async_trait::async_trait;
use config::{Mode, Settings};
use indicator::Indicators;

/// A CU Ascend org.
#[derive(Debug)]
pub struct Ascend {
    org: Org,
    feed: Feed,
    indicators: Option<Indicators>,
}

impl Ascend {
    /// A connector; makes no call.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        let (fields, indicators) = match settings.mode {
            Mode::ContactFlag { field, polarity } => {
                let field = Field {
                    purpose: settings.purpose,
                    name: field,
                    polarity,
                };
                (vec![field], None)
            }
            Mode::ServiceIndicator(names) => {
                let rows = Indicators::new(names, settings.purpose, settings.time_zone);
                (Vec::new(), Some(rows))
            }
        };
        let shape = Shape::new(
            &settings.object,
            &settings.address_field,
            Some(&settings.id_field),
            fields,
        );
        Ok(Self {
            org: Org::new(settings.platform)?,
            feed: Feed::new(shape),
            indicators,
        })
    }

    /// Reads flags back: what was accepted but is not there had no effect.
    async fn check_flags(
        &self,
        writes: &[WriteRequest],
        outcomes: &mut [Outcome],
    ) -> Result<(), Fault> {
        let applied: Vec<usize> = (0..outcomes.len())
            .filter(|place| outcomes[*place] == Outcome::Applied)
            .collect();
        let ids: Vec<Target> = applied
            .iter()
            .map(|place| writes[*place].target.clone())
            .collect();
        let now = write::current(&self.org, self.feed.shape(), &ids).await?;
        for (place, current) in applied.into_iter().zip(now) {
            let there = match &current {
                Current::Live(values) => {
                    writes[place].changes.iter().all(|one| values.contains(one))
                }
                Current::Gone => false,
                Current::Unknown => true,
            };
            if !there {
                outcomes[place] = Outcome::Failed(no_effect());
            }
        }
        Ok(())
    }
}

/// A write that was accepted and did nothing.
fn no_effect() -> Fault {
    Fault::new(
        FaultClass::Rejected,
        "no-effect",
        "the write was accepted, but reading back shows the old value; the org's own automation may have undone it",
    )
}

/// Outcomes that could not be checked by reading back are not known.
fn unchecked(outcomes: &mut [Outcome], fault: &Fault) {
    for outcome in outcomes
        .iter_mut()
        .filter(|outcome| **outcome == Outcome::Applied)
    {
        *outcome = Outcome::Unknown(fault.clone().maybe_sent());
    }
}

#[async_trait]
impl Connector for Ascend {
    async fn probe(&self) -> Result<Probe, Fault> {
        let mut found = probe::probe(&self.org, &self.feed).await?;
        if let Some(indicators) = &self.indicators {
            indicators.probe(&self.org, &mut found).await?;
        }
        Ok(found)
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        let companion = self.indicators.as_ref().map(|rows| rows as &dyn Companion);
        self.feed.read(&self.org, companion, cursor).await
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        let now = write::current(&self.org, self.feed.shape(), contacts).await?;
        match &self.indicators {
            None => Ok(now),
            Some(indicators) => indicators.current(&self.org, contacts, now).await,
        }
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        let companion = self.indicators.as_ref().map(|rows| rows as &dyn Companion);
        self.feed.look_up(&self.org, companion, wanted).await
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        if let Some(indicators) = &self.indicators {
            return indicators.write(&self.org, writes).await;
        }
        let mut outcomes = write::write(&self.org, self.feed.shape(), writes).await?;
        if let Err(fault) = self.check_flags(writes, &mut outcomes).await {
            unchecked(&mut outcomes, &fault);
        }
        Ok(outcomes)
    }

    fn batching(&self) -> Batching {
        let flags = write::batching(&self.org);
        match self.indicators {
            None => flags,
            // Rows of the package are written 200 at a time, however many there are.
            Some(_) => Batching {
                bulk_above: usize::MAX,
                bulk_rows: flags.rows,
                ..flags
            },
        }
    }

    fn quota(&self) -> Option<Quota> {
        self.org.quota()
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.org.calls()
    }
}
