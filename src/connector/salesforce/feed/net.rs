//! The safety net: the platform's own lists of changed and deleted ids, which end where its oldest
//! unfinished transaction began, and so show what windows of changes cannot.

use super::{Net, Phase, State, Step, micros};
use crate::connector::salesforce::map::Read;
use crate::connector::salesforce::wire::{RETRIEVE_ROWS, soql};
use crate::connector::{Fault, Page};
use crate::consent::At;
use crate::consent::time::MINUTE;
use std::collections::BTreeSet;

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
        let (readings, poison) = self
            .feed
            .complete(self.org, self.companion, read, &ids)
            .await?;
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
        page.readings = readings;
        page.poison = poison;
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
