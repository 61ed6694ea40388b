//! The safety net: the platform's own lists of changed and deleted ids, which end where its oldest
//! unfinished transaction began, and so show what windows of changes cannot.

use super::{Net, Phase, State, Step, attach, micros};
use crate::connector::salesforce::map::Read;
use crate::connector::salesforce::wire::{RETRIEVE_ROWS, soql};
use crate::connector::{Fault, Page};
use crate::consent::time::MINUTE;
use crate::consent::{At, Life, Reading};
use std::collections::{BTreeSet, HashSet};

/// The lists of the round under way.
#[derive(Debug)]
pub(super) struct Known {
    from: Net,
    end: i64,
    ids: Vec<String>,
    updated: At,
    deleted: At,
}

/// The platform cuts these windows to whole minutes.
fn floor_minute(at: At) -> At {
    At::from_micros(at.minute().saturating_mul(MINUTE))
}

impl Step<'_> {
    /// Begins a round.
    pub(super) async fn start_net(&self, state: State, until: i64, now: At) -> Result<Page, Fault> {
        let end = floor_minute(now).micros();
        self.net(state, until, end, None).await
    }

    /// One chunk of ids.
    pub(super) async fn net(
        &self,
        state: State,
        until: i64,
        end: i64,
        after: Option<String>,
    ) -> Result<Page, Fault> {
        let read_at = self.org.now().await?;
        let (ids, last, updated, deleted) = {
            let mut memory = self.feed.memory.lock().await;
            if !memory
                .net
                .as_ref()
                .is_some_and(|known| known.from == state.net && known.end == end)
            {
                match self.lists(state.net, end).await {
                    Ok(known) => memory.net = Some(known),
                    // The lists do not reach back that far, or are too long: only a look at
                    // everything is sure to miss nothing.
                    Err(fault)
                        if matches!(
                            fault.code.as_str(),
                            "INVALID_REPLICATION_DATE" | "EXCEEDED_ID_LIMIT"
                        ) =>
                    {
                        return self.begin().await;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            let Some(known) = &memory.net else {
                return self.begin().await;
            };
            let start = after.map_or(0, |after| known.ids.partition_point(|id| *id <= after));
            let ids: Vec<String> = known.ids[start..]
                .iter()
                .take(RETRIEVE_ROWS.min(self.org.settings().page_rows))
                .cloned()
                .collect();
            (
                ids.clone(),
                start + ids.len() >= known.ids.len(),
                known.updated,
                known.deleted,
            )
        };
        let mut read = Read::default();
        self.feed.by_id(self.org, &ids, &mut read).await?;
        if let Some(companion) = self.companion {
            companion.complete(self.org, &mut read.seen).await?;
        }
        if !ids.is_empty() && self.feed.has_history(self.org).await? {
            let histories = self
                .feed
                .history_of(self.org, &ids, &mut read.poison)
                .await?;
            for seen in &mut read.seen {
                if let Some(rows) = histories.get(&seen.reading.contact) {
                    attach(seen, rows);
                }
            }
        }
        // What is found nowhere is deleted beyond the recycle bin.
        let found: HashSet<&str> = read
            .seen
            .iter()
            .map(|seen| seen.reading.contact.as_str())
            .chain(read.poison.iter().map(|bad| bad.id.as_str()))
            .collect();
        let purged: Vec<Reading> = ids
            .iter()
            .filter(|id| !found.contains(id.as_str()))
            .map(|id| gone(id))
            .collect();
        let phase = match ids.last() {
            Some(id) if !last => Phase::Net {
                until,
                end,
                after: Some(id.clone()),
            },
            _ => Phase::Idle { until },
        };
        let mut state = state;
        if last {
            // The next round begins where the platform says that this one is complete.
            state.net = Net {
                updated: updated.micros().max(state.net.updated),
                deleted: deleted.micros().max(state.net.deleted),
                due: read_at
                    .micros()
                    .saturating_add(micros(self.org.settings().safety_net_interval)),
            };
        }
        let mut page = state.page(phase, read_at)?;
        page.readings = read
            .seen
            .into_iter()
            .map(|seen| seen.reading)
            .chain(purged)
            .collect();
        page.poison = read.poison;
        Ok(page)
    }

    async fn lists(&self, from: Net, end: i64) -> Result<Known, Fault> {
        let object = &self.feed.shape.object;
        let end_at = At::from_micros(end);
        let mut ids = BTreeSet::new();
        let mut covered = [At::from_micros(from.updated), At::from_micros(from.deleted)];
        for (deleted, covered) in [false, true].into_iter().zip(&mut covered) {
            let start = floor_minute(*covered);
            if start < end_at {
                let (found, until) = self.org.replicated(object, deleted, start, end_at).await?;
                ids.extend(found.iter().filter_map(|id| soql::full_id(id)));
                *covered = until;
            }
        }
        Ok(Known {
            from,
            end,
            ids: ids.into_iter().collect(),
            updated: covered[0],
            deleted: covered[1],
        })
    }
}

fn gone(id: &str) -> Reading {
    Reading {
        contact: id.to_owned(),
        whole: true,
        life: Life::Deleted,
        ..Reading::default()
    }
}
