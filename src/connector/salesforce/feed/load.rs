//! All contacts and all their history.

use super::bulk::Bulk;
use super::{
    MOST_EMPTY_PAGES, Net, Phase, Saved, State, Step, VERSION, all_pages, explained, loose_all,
    mark, micros, next_link,
};
use crate::connector::http::Answer;
use crate::connector::salesforce::map::Read;
use crate::connector::salesforce::wire::QueryPage;
use crate::connector::salesforce::wire::soql::{self, Query, Walk};
use crate::connector::{Fault, FaultClass, Page};
use crate::consent::{At, Shown};
use std::collections::HashSet;

impl Step<'_> {
    /// The first page of a load of everything.
    pub(super) async fn begin(&self) -> Result<Page, Fault> {
        let (total, date) = self.org.count(&self.feed.shape.object).await?;
        let started = date.micros();
        let settings = self.org.settings();
        let state = State {
            v: VERSION,
            net: Net {
                updated: started,
                deleted: started,
                due: started.saturating_add(micros(settings.safety_net_interval)),
            },
            phase: Phase::Load {
                started,
                last: None,
                next: None,
            },
        };
        if total > settings.bulk_query_above as u64 {
            let bulk = Bulk::new(started);
            return self
                .bulk(
                    State {
                        phase: Phase::Bulk(bulk.clone()),
                        ..state
                    },
                    bulk,
                )
                .await;
        }
        self.load(state, started, None, None).await
    }

    /// One page of contacts.
    pub(super) async fn load(
        &self,
        state: State,
        started: i64,
        last: Option<String>,
        next: Option<String>,
    ) -> Result<Page, Fault> {
        let mut link = next;
        let mut answer = match &link {
            None => self.behind(last.as_deref()).await?,
            Some(next) => match self.org.next_page(next).await {
                // The cursor has expired: the walk goes on behind the last id instead.
                Err(fault)
                    if matches!(
                        fault.code.as_str(),
                        "INVALID_QUERY_LOCATOR" | "NOT_FOUND" | "http-404"
                    ) =>
                {
                    link = None;
                    self.behind(last.as_deref()).await?
                }
                other => other?,
            },
        };
        let read_at = answer.dated("query")?;
        let mut empty = 0;
        loop {
            let page: QueryPage<'_> = answer.parse("query")?;
            let next = if page.done {
                None
            } else {
                Some(next_link(&page, link.as_deref())?)
            };
            if let (true, Some(next)) = (page.records.is_empty(), &next) {
                empty += 1;
                if empty > MOST_EMPTY_PAGES {
                    return Err(Fault::new(
                        FaultClass::ContractBroken,
                        "empty-pages",
                        "query: page after page without a row",
                    ));
                }
                answer = self.org.next_page(next).await?;
                link = Some(next.clone());
                continue;
            }
            let mut read = self.feed.shape.read(page.records);
            let newest = read.seen.last().map(|seen| seen.reading.contact.clone());
            if newest.is_some() && newest == last {
                return Err(Fault::new(
                    FaultClass::ContractBroken,
                    "page-loop",
                    "query: the same page came twice",
                ));
            }
            self.complete(&mut read).await?;
            let phase = match next {
                Some(next) => Phase::Load {
                    started,
                    last: newest.or(last),
                    next: Some(next),
                },
                None => self.after_load(started).await?,
            };
            return Ok(fill(state.page(phase, read_at)?, read));
        }
    }

    /// The query for all contacts whose id is greater.
    async fn behind(&self, last: Option<&str>) -> Result<Answer, Fault> {
        let shape = &self.feed.shape;
        let query = Query {
            columns: &shape.columns,
            object: &shape.object,
            conditions: last
                .map(|last| soql::id(last).map(|id| format!("Id > {id}")))
                .transpose()?
                .into_iter()
                .collect(),
            order: vec!["Id"],
            limit: None,
        };
        self.org.query(&query.text(), false).await
    }

    /// What follows the last page of contacts.
    pub(super) async fn after_load(&self, started: i64) -> Result<Phase, Fault> {
        Ok(if self.feed.has_history(self.org).await? {
            Phase::History {
                started,
                after: None,
            }
        } else {
            Phase::Idle { until: started }
        })
    }

    /// Adds to contacts read by a load what their own row does not say: the belongings kept
    /// elsewhere, and when a set flag was set by the creation of a contact modified since.
    pub(super) async fn complete(&self, read: &mut Read) -> Result<(), Fault> {
        if let Some(companion) = self.companion {
            companion.complete(self.org, &mut read.seen).await?;
        }
        let unclear: Vec<String> = read
            .seen
            .iter()
            .filter(|seen| {
                seen.reading.told.is_empty()
                    && seen
                        .reading
                        .values
                        .iter()
                        .any(|(_, value)| *value == Shown::Set)
            })
            .map(|seen| seen.reading.contact.clone())
            .collect();
        if unclear.is_empty() || !self.feed.has_history(self.org).await? {
            return Ok(());
        }
        let histories = self
            .feed
            .history_of(self.org, &unclear, &mut read.poison)
            .await?;
        let explained = explained(&mut read.seen, &histories);
        self.feed.explain(self.org, explained).await
    }

    /// One page of the history of everything.
    pub(super) async fn all_history(
        &self,
        state: State,
        started: i64,
        after: Option<Saved>,
    ) -> Result<Page, Fault> {
        let (page, last) = self
            .history_page(state, None, None, after.as_ref(), |after| match after {
                Some(after) => Phase::History {
                    started,
                    after: Some(after),
                },
                None => Phase::Idle { until: started },
            })
            .await?;
        debug_assert!(
            last || page.more,
            "a history that is not at its end has more"
        );
        Ok(page)
    }

    /// A page of history rows as readings without their contacts. `lead` tells the next phase from
    /// the mark behind which the next page begins.
    pub(super) async fn history_page(
        &self,
        state: State,
        from: Option<At>,
        until: Option<At>,
        after: Option<&Saved>,
        lead: impl FnOnce(Option<Saved>) -> Phase + Send,
    ) -> Result<(Page, bool), Fault> {
        let after_mark = mark(after);
        let walk = Walk {
            column: "CreatedDate",
            from,
            until,
            after: after_mark.as_ref(),
        };
        let history = &self.feed.history;
        let rows_wanted = self.org.settings().page_rows;
        let query = Query {
            columns: &history.columns,
            object: &history.object,
            conditions: std::iter::once(self.feed.history_fields(false))
                .chain(walk.condition()?)
                .collect(),
            order: vec!["CreatedDate", "Id"],
            limit: Some(rows_wanted),
        };
        let answer = self.org.query(&query.text(), false).await?;
        let read_at = answer.dated("query")?;
        let page: QueryPage<'_> = answer.parse("query")?;
        let full = !page.done || page.records.len() >= rows_wanted;
        let mut rows = Vec::with_capacity(page.records.len());
        let mut poison = Vec::new();
        for raw in page.records {
            match history.read(raw, &self.feed.shape) {
                Ok(row) => rows.push(row),
                Err(bad) => poison.push(bad),
            }
        }
        let last = rows.last().map(|row| (row.at.micros(), row.id.clone()));
        if full && (last.is_none() || last.as_ref() == after) {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "no-progress",
                "query: a page of history leads no further",
            ));
        }
        let mut done = state.page(lead(last.filter(|_| full)), read_at)?;
        done.readings = loose_all(&rows, &HashSet::new());
        done.poison = poison;
        Ok((done, !full))
    }

    /// All history of a window, or `None` when it is more than `most` rows.
    pub(super) async fn history_between(
        &self,
        from: At,
        until: At,
        most: usize,
        poison: &mut Vec<crate::connector::Poison>,
    ) -> Result<Option<Vec<crate::connector::salesforce::map::HistoryRow>>, Fault> {
        let walk = Walk {
            column: "CreatedDate",
            from: Some(from),
            until: Some(until),
            after: None,
        };
        let history = &self.feed.history;
        let query = Query {
            columns: &history.columns,
            object: &history.object,
            conditions: std::iter::once(self.feed.history_fields(true))
                .chain(walk.condition()?)
                .collect(),
            order: vec!["CreatedDate", "Id"],
            limit: Some(most + 1),
        };
        let mut rows = Vec::new();
        all_pages(self.org, &query.text(), false, |raw| {
            match history.read(raw, &self.feed.shape) {
                Ok(row) => rows.push(row),
                Err(bad) => poison.push(bad),
            }
        })
        .await?;
        Ok((rows.len() <= most).then_some(rows))
    }
}

/// A page with what was read.
pub(super) fn fill(mut page: Page, read: Read) -> Page {
    page.readings = read.seen.into_iter().map(|seen| seen.reading).collect();
    page.poison = read.poison;
    page
}
