//! All contacts of a large org by a bulk job.

use super::load::fill;
use super::{Phase, State, Step, micros};
use crate::connector::salesforce::map::Read;
use crate::connector::salesforce::wire::bulk::{Kind, Progress};
use crate::connector::salesforce::wire::soql::Query;
use crate::connector::{Fault, FaultClass, Page};
use crate::consent::At;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Jobs that may come to nothing before the load goes on by queries.
const MOST_JOBS: u8 = 2;
/// Looks at a running job in one call.
const LOOKS: u32 = 5;
/// The pause behind the first look; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Pages of a query in one part of a result.
const PAGES_PER_PART: usize = 5;

/// A load by a bulk job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bulk {
    pub(super) started: i64,
    /// The job and when it was created; none yet at the start.
    pub(super) job: Option<(String, i64)>,
    /// Where the next part of the result begins; none before the first.
    pub(super) locator: Option<String>,
    /// Rows read so far.
    pub(super) rows: u64,
    /// Jobs that came to nothing.
    pub(super) failed: u8,
}

impl Bulk {
    /// A load that has yet to begin.
    pub(super) const fn new(started: i64) -> Self {
        Self {
            started,
            job: None,
            locator: None,
            rows: 0,
            failed: 0,
        }
    }

    fn at_start(&self) -> At {
        At::from_micros(self.started)
    }
}

impl Step<'_> {
    /// The next step of a load by a bulk job: the job, a look at it, or a part of its result.
    pub(super) async fn bulk(&self, state: State, bulk: Bulk) -> Result<Page, Fault> {
        let Some((job, created)) = bulk.job.clone() else {
            return self.start_job(state, bulk).await;
        };
        if bulk.locator.is_none() {
            match self.wait(&job, created).await {
                Ok(Progress::Complete) => {}
                Ok(Progress::Open | Progress::Running) => {
                    let at = bulk.at_start();
                    return state.page(Phase::Bulk(bulk), at);
                }
                Ok(Progress::Ended) => return self.another(state, bulk),
                Err(fault) if fault.class == FaultClass::Rejected => {
                    return self.another(state, bulk);
                }
                Err(fault) => return Err(fault),
            }
        }
        self.part(state, bulk, &job).await
    }

    async fn start_job(&self, state: State, bulk: Bulk) -> Result<Page, Fault> {
        let shape = &self.feed.shape;
        // Without an order the platform can cut the query into parallel pieces.
        let query = Query {
            columns: &shape.columns,
            object: &shape.object,
            ..Query::default()
        };
        match self.org.start_query(&query.text()).await {
            Ok((job, at)) => {
                let at = at.unwrap_or_else(|| bulk.at_start());
                let job = Some((job.id, at.micros()));
                state.page(Phase::Bulk(Bulk { job, ..bulk }), at)
            }
            // Bulk jobs are off in this org, or not for this object.
            Err(fault) if fault.class == FaultClass::Rejected || fault.code == "INVALIDENTITY" => {
                let phase = rest(&bulk);
                state.page(phase, bulk.at_start())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Looks at a job until it has ended, or for some seconds. One that takes too long is aborted.
    async fn wait(&self, job: &str, created: i64) -> Result<Progress, Fault> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..LOOKS {
            let (seen, at) = self.org.job(Kind::Query, job).await?;
            let progress = seen.progress();
            if matches!(progress, Progress::Complete | Progress::Ended) {
                return Ok(progress);
            }
            let age = at.map_or(0, |at| at.micros().saturating_sub(created));
            if age > micros(self.org.settings().bulk_deadline) {
                // A job that cannot be aborted ends by itself; nobody reads its result.
                self.org.move_job(Kind::Query, job, "Aborted").await.ok();
                return Ok(Progress::Ended);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(Progress::Running)
    }

    /// A new job instead of one that came to nothing; after some of them, queries.
    fn another(&self, state: State, bulk: Bulk) -> Result<Page, Fault> {
        let at = bulk.at_start();
        let failed = bulk.failed + 1;
        let phase = if failed < MOST_JOBS {
            Phase::Bulk(Bulk {
                failed,
                ..Bulk::new(bulk.started)
            })
        } else {
            rest(&bulk)
        };
        state.page(phase, at)
    }

    async fn part(&self, state: State, bulk: Bulk, job: &str) -> Result<Page, Fault> {
        let shape = &self.feed.shape;
        let most = self.org.settings().page_rows * PAGES_PER_PART;
        let found = self
            .org
            .part(job, bulk.locator.as_deref(), most, &shape.columns)
            .await;
        let part = match found {
            Ok(part) => part,
            // The result is gone, or was made for another API version.
            Err(fault) if fault.class == FaultClass::Rejected => return self.another(state, bulk),
            Err(fault) => return Err(fault),
        };
        let rows = bulk.rows + part.rows.len() as u64;
        let mut read = Read::default();
        for cells in &part.rows {
            match shape.seen(cells) {
                Ok(seen) => read.seen.push(seen),
                Err(reason) => read.poison.push(shape.csv_poison(cells, reason)),
            }
        }
        self.complete(&mut read).await?;
        let read_at = part.asked_at.unwrap_or_else(|| bulk.at_start());
        let phase = match part.next {
            Some(next) => Phase::Bulk(Bulk {
                locator: Some(next),
                rows,
                ..bulk
            }),
            None => {
                let (job, _) = self.org.job(Kind::Query, job).await?;
                // A result that is short is not believed to be everything.
                if job.processed.is_some_and(|processed| processed != rows) {
                    rest(&bulk)
                } else {
                    self.after_load(bulk.started).await?
                }
            }
        };
        // The rows show what was there when the job ran, which is not before it was created.
        let created = bulk_created(&state).unwrap_or(read_at);
        Ok(fill(state.page(phase, created.min(read_at))?, read))
    }
}

fn bulk_created(state: &State) -> Option<At> {
    match &state.phase {
        Phase::Bulk(Bulk {
            job: Some((_, created)),
            ..
        }) => Some(At::from_micros(*created)),
        _ => None,
    }
}

/// The load of everything by queries instead.
const fn rest(bulk: &Bulk) -> Phase {
    Phase::Load {
        started: bulk.started,
        last: None,
        next: None,
    }
}
