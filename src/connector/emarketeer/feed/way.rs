//! How changes are found: by which way, and whether it works.
//!
//! Nothing public says whether the filter looks at times, or whether a change of consent moves a
//! contact's modification date. A way is believed only after it has shown the newest records that a
//! listing of everything shows.

use super::{Load, Step};
use crate::connector::Fault;
use crate::connector::emarketeer::config::FeedMode;
use crate::connector::emarketeer::map::Record;
use crate::connector::emarketeer::wire::list::Place;
use crate::connector::emarketeer::wire::{Listing, faults};
use crate::consent::At;
use crate::consent::time::{HOUR, SECOND};
use serde::{Deserialize, Serialize};

/// The newest records whose contacts are looked at.
const SAMPLES: usize = 5;
/// A filter may look at whole days only.
const GRAIN: i64 = 25 * HOUR;
/// Two times that are no further apart than this may be of one act.
const SAME_ACT: i64 = 5 * SECOND;

/// A way in which changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Way {
    /// By the consent filter, and contacts by modification.
    Filter,
    /// By contacts' modification alone.
    Contacts,
    /// By loads of everything.
    Full,
}

impl Step<'_> {
    /// Notes the newest records of a load, against which a way is tried.
    pub(super) fn remember_newest(&self, load: &mut Load, records: &[Record]) {
        let purposes = &self.access.settings().purposes;
        load.newest.resize(purposes.len(), None);
        let mut memory = self.feed.memory();
        for record in records {
            let Some(at) = record.at else { continue };
            let place = purposes
                .iter()
                .position(|names| names.purpose == record.purpose);
            if let Some(newest) = place.and_then(|place| load.newest.get_mut(place)) {
                *newest = (*newest).max(Some(at.micros()));
            }
            let samples = &mut memory.samples;
            if samples.len() < SAMPLES || samples.last().is_some_and(|(last, _)| at > *last) {
                let after = samples.partition_point(|(known, _)| *known >= at);
                samples.insert(after, (at, record.spelled.clone()));
                samples.truncate(SAMPLES);
            }
        }
    }

    /// The way in which changes are found from now on.
    pub(super) async fn choose_way(&self, load: &Load) -> Result<Way, Fault> {
        let way = match self.access.settings().feed {
            FeedMode::Filter => Way::Filter,
            FeedMode::Contacts => Way::Contacts,
            FeedMode::Auto if self.filter_works(load).await? => Way::Filter,
            FeedMode::Auto if self.contacts_follow().await? => Way::Contacts,
            FeedMode::Full | FeedMode::Auto => Way::Full,
        };
        let system = &self.access.settings().limits.system;
        tracing::debug!(system = %system, way = ?way, "{system}: changes are found by {way:?}");
        Ok(way)
    }

    /// Whether the filter shows the newest record of every purpose, and none that is far older than
    /// the time asked for. A purpose without records cannot be tried; the loads are its safety net.
    async fn filter_works(&self, load: &Load) -> Result<bool, Fault> {
        let master = self.access.master().await?;
        for (names, newest) in self.access.settings().purposes.iter().zip(&load.newest) {
            let (Some(newest), Some(item)) = (*newest, master.purpose_item(names.purpose)) else {
                continue;
            };
            let newest = At::from_micros(newest);
            let listing = Listing::Filter {
                purpose: item.id.clone(),
                since: newest.minus(SECOND),
            };
            let sheet = match self.access.account.page(&listing, &Place::default()).await {
                Err(fault) if faults::is_unsupported(&fault) => return Ok(false),
                other => other?,
            };
            let found = self.access.records(&sheet.rows).await?.records;
            let times = || found.iter().filter_map(|record| record.at);
            let shows = found
                .iter()
                .any(|record| record.purpose == names.purpose && record.at >= Some(newest));
            if !shows || times().any(|at| at < newest.minus(GRAIN)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether contacts were modified when their newest consent records were made.
    async fn contacts_follow(&self) -> Result<bool, Fault> {
        let samples = self.feed.memory().samples.clone();
        let mut followed = false;
        for (at, address) in samples {
            let rows = self.access.account.contacts_in_module(&address).await?.rows;
            for person in self.access.people(&rows).0 {
                let near = |time: At| time.since(at).abs() <= SAME_ACT;
                // The record may have come with the contact, which then tells nothing.
                let (Some(modified), false) = (person.modified, person.created.is_some_and(near))
                else {
                    continue;
                };
                if modified < at.minus(SAME_ACT) {
                    return Ok(false);
                }
                followed |= near(modified);
            }
        }
        Ok(followed)
    }
}
