//! Windows of changes.

use super::{OLDEST_WINDOW_MICROS, Phase, Saved, State, Step, explained, loose_all, mark, micros};
use crate::connector::salesforce::map::{HistoryRow, Read, Shape};
use crate::connector::salesforce::wire::QueryPage;
use crate::connector::salesforce::wire::soql::{Query, Walk};
use crate::connector::salesforce::wire::time::floor_second;
use crate::connector::{Fault, FaultClass, Page, Poison};
use crate::consent::At;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// History rows of one window that are held in memory; a window with more is read history first,
/// page by page.
const MOST_HISTORY: usize = 20_000;

/// A window of changes: `from` included, `until` not. Microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    from: i64,
    until: i64,
    /// Where the last window ended.
    before: i64,
    stage: Stage,
    /// The last row read in this stage.
    after: Option<Saved>,
    /// The history was too much to be held: it has been passed on by itself.
    streamed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// History by itself, for windows with very much of it.
    History,
    /// Contacts with their history.
    Contacts,
    /// Contacts whose belongings changed.
    Belongings,
}

/// The history of the window under way. A page may be asked for again, so nothing is taken out.
#[derive(Debug)]
pub(super) struct Known {
    from: i64,
    until: i64,
    rows: Vec<HistoryRow>,
    by_contact: HashMap<String, Vec<usize>>,
    poison: Vec<Poison>,
    /// Contacts that were passed on with their history.
    attached: HashSet<String>,
}

impl Step<'_> {
    /// Begins a window, or the safety net when it is due.
    pub(super) async fn poll(&self, state: State, before: i64) -> Result<Page, Fault> {
        let settings = self.org.settings();
        let now = self.org.now().await?;
        // A clock that was ahead and is right again must not hide what happens now.
        let before = before.min(now.micros());
        let from = floor_second(At::from_micros(before).minus(micros(settings.overlap)));
        let until = floor_second(now.minus(micros(settings.lag)));
        if now.since(from) > OLDEST_WINDOW_MICROS {
            // Deletions that old are purged, so only a look at everything is sure to miss nothing.
            return self.begin().await;
        }
        if state.net.due <= now.micros() {
            match self.start_net(state.clone(), before, now).await {
                // Passing trouble of the lists does not hold up the changes; the round stays due.
                Err(fault) if fault.class == FaultClass::Retryable => {}
                other => return other,
            }
        }
        if until <= from {
            let phase = state.phase.clone();
            let mut page = state.page(phase, now)?;
            page.more = false;
            return Ok(page);
        }
        let window = Window {
            from: from.micros(),
            until: until.micros(),
            before,
            stage: Stage::Contacts,
            after: None,
            streamed: false,
        };
        self.window(state, window).await
    }

    /// One page of a window.
    pub(super) async fn window(&self, state: State, mut window: Window) -> Result<Page, Fault> {
        let has_history = self.feed.has_history(self.org).await?;
        if window.stage == Stage::Contacts
            && has_history
            && !window.streamed
            && !self.know(&window).await?
        {
            window.stage = Stage::History;
            window.after = None;
        }
        match window.stage {
            Stage::History => self.window_history(state, window).await,
            Stage::Contacts => self.window_contacts(state, window, has_history).await,
            Stage::Belongings => self.window_belongings(state, window).await,
        }
    }

    /// Gets the window's history unless it is known. False when it is too much.
    async fn know(&self, window: &Window) -> Result<bool, Fault> {
        let mut memory = self.feed.memory.lock().await;
        if memory
            .window
            .as_ref()
            .is_some_and(|known| (known.from, known.until) == (window.from, window.until))
        {
            return Ok(true);
        }
        let mut poison = Vec::new();
        let rows = self
            .history_between(
                At::from_micros(window.from),
                At::from_micros(window.until),
                MOST_HISTORY,
                &mut poison,
            )
            .await?;
        let Some(rows) = rows else {
            return Ok(false);
        };
        let mut by_contact: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, row) in rows.iter().enumerate() {
            by_contact
                .entry(row.contact.clone())
                .or_default()
                .push(place);
        }
        memory.window = Some(Known {
            from: window.from,
            until: window.until,
            rows,
            by_contact,
            poison,
            attached: HashSet::new(),
        });
        Ok(true)
    }

    async fn window_history(&self, state: State, window: Window) -> Result<Page, Fault> {
        let (from, until) = (At::from_micros(window.from), At::from_micros(window.until));
        let after = window.after.clone();
        let (page, _) = self
            .history_page(
                state,
                Some(from),
                Some(until),
                after.as_ref(),
                move |after| {
                    Phase::Window(match after {
                        Some(after) => Window {
                            after: Some(after),
                            stage: Stage::History,
                            ..window
                        },
                        None => Window {
                            after: None,
                            stage: Stage::Contacts,
                            streamed: true,
                            ..window
                        },
                    })
                },
            )
            .await?;
        Ok(page)
    }

    async fn window_contacts(
        &self,
        state: State,
        window: Window,
        has_history: bool,
    ) -> Result<Page, Fault> {
        let shape = &self.feed.shape;
        let after = mark(window.after.as_ref());
        let walk = Walk {
            column: "SystemModstamp",
            from: Some(At::from_micros(window.from)),
            until: Some(At::from_micros(window.until)),
            after: after.as_ref(),
        };
        let (mut read, read_at, next) = self.walk_page(shape, &walk).await?;
        if let Some(companion) = self.companion {
            companion.complete(self.org, &mut read.seen).await?;
        }
        let mut loose = Vec::new();
        if has_history && !window.streamed {
            let mut memory = self.feed.memory.lock().await;
            if let Some(known) = memory
                .window
                .as_mut()
                .filter(|known| (known.from, known.until) == (window.from, window.until))
            {
                let mut histories: HashMap<String, Vec<HistoryRow>> = HashMap::new();
                for seen in &read.seen {
                    let contact = &seen.reading.contact;
                    if let Some(places) = known.by_contact.get(contact) {
                        let rows = places.iter().map(|place| known.rows[*place].clone());
                        histories.insert(contact.clone(), rows.collect());
                        known.attached.insert(contact.clone());
                    }
                }
                let explained = explained(&mut read.seen, &histories);
                self.feed.explain(self.org, explained).await?;
                if next.is_none() {
                    loose = loose_all(&known.rows, &known.attached);
                    read.poison.extend(known.poison.iter().cloned());
                }
            }
        }
        let mut page = match next {
            Some(after) => state.page(
                Phase::Window(Window {
                    after: Some(after),
                    ..window
                }),
                read_at,
            )?,
            None if self.companion.is_some() => state.page(
                Phase::Window(Window {
                    after: None,
                    stage: Stage::Belongings,
                    ..window
                }),
                read_at,
            )?,
            None => self.drained(state, &window, read_at)?,
        };
        page.readings = read
            .seen
            .into_iter()
            .map(|seen| seen.reading)
            .chain(loose)
            .collect();
        page.poison = read.poison;
        Ok(page)
    }

    /// The contacts of one page of a walk in the order of `SystemModstamp` and id, and the mark
    /// behind which the next page begins.
    async fn walk_page(
        &self,
        shape: &Shape,
        walk: &Walk<'_>,
    ) -> Result<(Read, At, Option<Saved>), Fault> {
        let rows_wanted = self.org.settings().page_rows;
        let query = Query {
            columns: &shape.columns,
            object: &shape.object,
            conditions: walk.condition()?.into_iter().collect(),
            order: vec![walk.column, "Id"],
            limit: Some(rows_wanted),
        };
        let answer = self.org.query(&query.text(), true).await?;
        let read_at = answer.dated("query")?;
        let page: QueryPage<'_> = answer.parse("query")?;
        // A page may be shorter than asked for; then it says that it is not the last.
        let full = !page.done || page.records.len() >= rows_wanted;
        let read = shape.read(page.records);
        let last = read
            .seen
            .last()
            .map(|seen| (seen.stamp, seen.reading.contact.clone()));
        let Some((at, id)) = last.filter(|_| full) else {
            if full {
                return Err(Fault::new(
                    FaultClass::ContractBroken,
                    "no-progress",
                    "query: a page of changes has no row that can be read, and is not the last",
                ));
            }
            return Ok((read, read_at, None));
        };
        if walk
            .after
            .is_some_and(|after| at < after.at || (at == after.at && id == after.id))
        {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "page-loop",
                "query: a page of changes leads back",
            ));
        }
        Ok((read, read_at, Some((at.micros(), id))))
    }

    async fn window_belongings(&self, state: State, window: Window) -> Result<Page, Fault> {
        let Some(companion) = self.companion else {
            let now = self.org.now().await?;
            return self.drained(state, &window, now);
        };
        let read_at = self.org.now().await?;
        let after = mark(window.after.as_ref());
        let walk = Walk {
            column: "SystemModstamp",
            from: Some(At::from_micros(window.from)),
            until: Some(At::from_micros(window.until)),
            after: after.as_ref(),
        };
        let (contacts, next) = companion.changed(self.org, &walk).await?;
        let mut read = Read::default();
        self.feed.by_id(self.org, &contacts, &mut read).await?;
        companion.complete(self.org, &mut read.seen).await?;
        let mut page = match next {
            Some(next) => state.page(
                Phase::Window(Window {
                    after: Some((next.at.micros(), next.id)),
                    ..window
                }),
                read_at,
            )?,
            None => self.drained(state, &window, read_at)?,
        };
        page.readings = read.seen.into_iter().map(|seen| seen.reading).collect();
        page.poison = read.poison;
        Ok(page)
    }

    /// The last page of a window.
    fn drained(&self, state: State, window: &Window, read_at: At) -> Result<Page, Fault> {
        let until = window.until.max(window.before);
        let mut page = state.page(Phase::Idle { until }, read_at)?;
        page.more = false;
        page.drained =
            Some(At::from_micros(window.until).minus(micros(self.org.settings().overlap)));
        Ok(page)
    }
}
