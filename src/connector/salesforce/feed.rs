//! Reading a whole org and then its changes, as a walk whose every step is in the cursor.
//!
//! A load of all contacts is followed by their whole field history, then by windows of changes.
//! A window ends a little behind the system's own clock and begins well before the end of the last
//! one, because a transaction takes its time stamp before it commits. From time to time the
//! platform's own lists of changed and deleted ids are compared as a safety net.
//!
//! Sources: REST guide (query, queryAll, getUpdated, getDeleted), object reference (system fields,
//! contact history), app limits cheat sheet (cursors).

mod bulk;
mod load;
mod look_up;
mod net;
mod window;

use super::map::{HistoryRow, HistoryShape, Read, Seen, Shape};
use super::wire::soql::{Mark, Query, Walk};
use super::wire::{IN_LIST, Org, QueryPage, rows, soql, time};
use crate::connector::{Cursor, Fault, FaultClass, Page, Poison};
use crate::consent::time::SECOND;
use crate::consent::{At, PurposeId, Reading, Shown};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, OnceCell};

/// The form of cursors; one of another form starts a load.
const VERSION: u8 = 1;
/// Pages without a row that are followed in one call before the feed counts as broken.
const MOST_EMPTY_PAGES: usize = 5;
/// After this time it is asked again whether a field has a history by now.
const ASK_AGAIN: Duration = Duration::from_mins(10);
/// Deleted contacts stay readable for 15 days; a feed that is further behind starts anew.
const OLDEST_WINDOW_MICROS: i64 = 14 * 24 * 3_600 * SECOND;

/// Where the feed stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    v: u8,
    net: Net,
    phase: Phase,
}

/// Up to when the safety net has looked, and when it looks again. Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Net {
    updated: i64,
    deleted: i64,
    due: i64,
}

/// A mark in the cursor: microseconds and id.
type Saved = (i64, String);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// All contacts by query, in the order of their ids.
    Load {
        started: i64,
        last: Option<String>,
        next: Option<String>,
    },
    /// All contacts by a bulk job.
    Bulk(bulk::Bulk),
    /// All field history, oldest first.
    History { started: i64, after: Option<Saved> },
    /// Nothing under way; changes before `until` are read.
    Idle { until: i64 },
    /// A window of changes.
    Window(window::Window),
    /// The ids of the safety net behind `after`; `until` as in `Idle`.
    Net {
        until: i64,
        end: i64,
        after: Option<String>,
    },
}

/// What else belongs to a contact besides its own row.
#[async_trait]
pub trait Companion: Send + Sync {
    /// Adds what belongs to these contacts, all of which were just read. Removes none.
    async fn complete(&self, org: &Org, readings: &mut [Seen]) -> Result<(), Fault>;

    /// A page of contacts whose belongings changed in a window, and where the next page begins,
    /// unless it was the last.
    async fn changed(
        &self,
        org: &Org,
        walk: &Walk<'_>,
    ) -> Result<(Vec<String>, Option<Mark>), Fault>;
}

/// What is kept between calls to save vendor calls. It can be lost at any time.
#[derive(Debug, Default)]
struct Memory {
    window: Option<window::Known>,
    net: Option<net::Known>,
}

/// The feed of one org.
#[derive(Debug)]
pub struct Feed {
    shape: Shape,
    history: HistoryShape,
    /// Whether the org has the history object at all.
    has_history: OnceCell<bool>,
    /// What was found of each field that was asked about; see [`Feed::tracked_since`].
    tracked: Mutex<HashMap<PurposeId, Tracked>>,
    memory: Mutex<Memory>,
}

/// The oldest history row of a field.
#[derive(Debug, Clone, Copy)]
struct Tracked {
    since: Option<At>,
    asked: Instant,
}

/// One call's view of the feed.
struct Step<'a> {
    feed: &'a Feed,
    org: &'a Org,
    companion: Option<&'a dyn Companion>,
}

impl Feed {
    /// A feed of contacts of that shape.
    pub fn new(shape: Shape) -> Self {
        Self {
            history: HistoryShape::of(&shape.object),
            shape,
            has_history: OnceCell::new(),
            tracked: Mutex::default(),
            memory: Mutex::default(),
        }
    }

    /// What the contacts look like.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What their history looks like.
    pub const fn history(&self) -> &HistoryShape {
        &self.history
    }

    /// The page behind `cursor`.
    pub async fn read(
        &self,
        org: &Org,
        companion: Option<&dyn Companion>,
        cursor: Option<&Cursor>,
    ) -> Result<Page, Fault> {
        let step = Step {
            feed: self,
            org,
            companion,
        };
        let state = cursor
            .and_then(|cursor| serde_json::from_str::<State>(&cursor.0).ok())
            .filter(|state| state.v == VERSION);
        let Some(state) = state else {
            return step.begin().await;
        };
        match state.phase.clone() {
            Phase::Load {
                started,
                last,
                next,
            } => step.load(state, started, last, next).await,
            Phase::Bulk(bulk) => step.bulk(state, bulk).await,
            Phase::History { started, after } => step.all_history(state, started, after).await,
            Phase::Idle { until } => step.poll(state, until).await,
            Phase::Window(window) => step.window(state, window).await,
            Phase::Net { until, end, after } => step.net(state, until, end, after).await,
        }
    }

    /// Contacts by id, in no particular order: those that are there by one call, deleted ones by
    /// queries. Ids that are found nowhere are left out.
    async fn by_id(&self, org: &Org, ids: &[String], read: &mut Read) -> Result<(), Fault> {
        let mut absent: Vec<String> = Vec::new();
        for chunk in ids.chunks(super::wire::RETRIEVE_ROWS) {
            let answer = org
                .retrieve(&self.shape.object, chunk, &self.shape.columns)
                .await?;
            let records: Vec<Option<&serde_json::value::RawValue>> = answer.parse("retrieve")?;
            if records.len() != chunk.len() {
                return Err(Fault::new(
                    FaultClass::ContractBroken,
                    "result-count",
                    format!(
                        "retrieve: {} records for {} ids",
                        records.len(),
                        chunk.len()
                    ),
                ));
            }
            for (id, record) in chunk.iter().zip(records) {
                match record {
                    Some(raw) => self.shape.read_one(raw, read),
                    None => absent.push(id.clone()),
                }
            }
        }
        for chunk in absent.chunks(IN_LIST) {
            let query = Query {
                columns: &self.shape.columns,
                object: &self.shape.object,
                conditions: vec![format!("Id IN {}", soql::ids(chunk)?)],
                ..Query::default()
            };
            all_pages(org, &query.text(), true, |raw| {
                self.shape.read_one(raw, read);
            })
            .await?;
        }
        Ok(())
    }

    /// Whether there is field history to ask for.
    async fn has_history(&self, org: &Org) -> Result<bool, Fault> {
        let found =
            self.has_history.get_or_try_init(|| async {
                Ok(org.describe(&self.history.object).await?.is_some()
                    && !self.shape.fields.is_empty())
            });
        found.await.copied()
    }

    /// Adds to contacts what their histories tell, and what follows from the rows of their creation:
    /// a flag that is set without any row of its field was set by the creation, of which the platform
    /// keeps no row for the field. That holds only if the field was tracked by then: tracking is
    /// switched on field by field, and is not retroactive.
    async fn explain(
        &self,
        org: &Org,
        explained: Vec<(&mut Seen, &[HistoryRow])>,
    ) -> Result<(), Fault> {
        for (seen, rows) in explained {
            attach(seen, rows);
            let Some(created) = seen.reading.created else {
                continue;
            };
            let mut values = Vec::new();
            for (purpose, value) in unexplained(seen, rows) {
                let since = self.tracked_since(org, purpose).await?;
                if since.is_some_and(|since| since <= created) {
                    values.push((purpose, value));
                }
            }
            let by = seen.created_by.as_deref();
            let told = super::map::told_at_creation(&values, created, by);
            seen.reading.told.extend(told);
        }
        Ok(())
    }

    /// Since when a field has history, as far as any of it is kept. None while it has none; that is
    /// asked again from time to time, since tracking may be switched on at any time.
    async fn tracked_since(&self, org: &Org, purpose: PurposeId) -> Result<Option<At>, Fault> {
        let mut tracked = self.tracked.lock().await;
        if let Some(known) = tracked.get(&purpose)
            && (known.since.is_some() || known.asked.elapsed() < ASK_AGAIN)
        {
            return Ok(known.since);
        }
        let mut fields = self.shape.fields.iter();
        let Some(field) = fields.find(|field| field.purpose == purpose) else {
            return Ok(None);
        };
        let columns = ["CreatedDate".to_owned()];
        let query = Query {
            columns: &columns,
            object: &self.history.object,
            conditions: vec![format!("Field = {}", soql::text(&field.name))],
            order: vec!["CreatedDate"],
            limit: Some(1),
        };
        let answer = org.query(&query.text(), false).await?;
        let page: QueryPage<'_> = answer.parse("query")?;
        let oldest = page.records.first().map(|raw| -> Result<At, String> {
            let cells = rows::row(raw, &columns)?;
            let text = cells[0].text().map_err(str::to_owned)?;
            text.and_then(time::parse)
                .ok_or_else(|| "is not a date".to_owned())
        });
        let oldest = oldest.transpose().map_err(|what| {
            let words = format!(
                "query: CreatedDate of a row of {} {what}",
                self.history.object
            );
            Fault::new(FaultClass::ContractBroken, "shape", words)
        })?;
        let found = Tracked {
            since: oldest,
            asked: Instant::now(),
        };
        tracked.insert(purpose, found);
        Ok(oldest)
    }

    /// The condition for the consent fields, with the rows of creation when asked.
    fn history_fields(&self, created: bool) -> String {
        let names = self
            .shape
            .fields
            .iter()
            .map(|field| soql::text(&field.name));
        format!(
            "Field IN {}",
            soql::list(names.chain(created.then(|| soql::text("created"))))
        )
    }

    /// The whole consent history of some contacts.
    async fn history_of(
        &self,
        org: &Org,
        contacts: &[String],
        poison: &mut Vec<Poison>,
    ) -> Result<HashMap<String, Vec<HistoryRow>>, Fault> {
        let mut found: HashMap<String, Vec<HistoryRow>> = HashMap::new();
        for chunk in contacts.chunks(IN_LIST) {
            let query = Query {
                columns: &self.history.columns,
                object: &self.history.object,
                conditions: vec![
                    format!("{} IN {}", self.history.parent, soql::ids(chunk)?),
                    self.history_fields(true),
                ],
                order: vec!["CreatedDate", "Id"],
                limit: None,
            };
            all_pages(org, &query.text(), false, |raw| {
                match self.history.read(raw, &self.shape) {
                    Ok(row) => found.entry(row.contact.clone()).or_default().push(row),
                    Err(bad) => poison.push(bad),
                }
            })
            .await?;
        }
        Ok(found)
    }
}

/// The contacts that have a history, each with it.
fn explained<'a>(
    seen: &'a mut [Seen],
    histories: &'a HashMap<String, Vec<HistoryRow>>,
) -> Vec<(&'a mut Seen, &'a [HistoryRow])> {
    let explained = seen.iter_mut().filter_map(|seen| {
        let rows = histories.get(&seen.reading.contact)?;
        Some((seen, rows.as_slice()))
    });
    explained.collect()
}

/// Adds what a contact's history tells to its reading.
fn attach(seen: &mut Seen, rows: &[HistoryRow]) {
    let reading = &mut seen.reading;
    for row in rows.iter().filter_map(|row| row.told.as_ref()) {
        if !reading.told.contains(row) {
            reading.told.push(row.clone());
        }
    }
}

/// The flags of a contact that are set without a row of their field, where its creation has one: what
/// the creation set, unless the field had no history by then.
fn unexplained(seen: &Seen, rows: &[HistoryRow]) -> Vec<(PurposeId, Shown)> {
    if rows.iter().all(|row| row.told.is_some()) {
        return Vec::new();
    }
    let reading = &seen.reading;
    let silent = |purpose: PurposeId| reading.told.iter().all(|told| told.purpose != purpose);
    let values = reading.values.iter();
    values
        .filter(|(purpose, value)| *value == Shown::Set && silent(*purpose))
        .cloned()
        .collect()
}

/// History without its contact's row.
fn loose(contact: &str, rows: &[HistoryRow]) -> Reading {
    Reading {
        contact: contact.to_owned(),
        told: rows.iter().filter_map(|row| row.told.clone()).collect(),
        ..Reading::default()
    }
}

/// Loose histories in the order of the contacts' first row.
fn loose_all(rows: &[HistoryRow], except: &HashSet<String>) -> Vec<Reading> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_contact: HashMap<&str, Vec<HistoryRow>> = HashMap::new();
    for row in rows
        .iter()
        .filter(|row| row.told.is_some() && !except.contains(&row.contact))
    {
        let known = by_contact.entry(&row.contact).or_default();
        if known.is_empty() {
            order.push(&row.contact);
        }
        known.push(row.clone());
    }
    order
        .into_iter()
        .map(|contact| loose(contact, &by_contact[contact]))
        .collect()
}

/// Reads all pages of a small query.
pub(in crate::connector) async fn all_pages(
    org: &Org,
    text: &str,
    all: bool,
    mut row: impl FnMut(&serde_json::value::RawValue),
) -> Result<(), Fault> {
    let mut answer = org.query(text, all).await?;
    let mut link: Option<String> = None;
    loop {
        let page: QueryPage<'_> = answer.parse("query")?;
        page.records.iter().for_each(|raw| row(raw));
        if page.done {
            return Ok(());
        }
        let next = next_link(&page, link.as_deref())?;
        answer = org.next_page(&next).await?;
        link = Some(next);
    }
}

/// The link to the next page, if it leads on from `from`.
fn next_link(page: &QueryPage<'_>, from: Option<&str>) -> Result<String, Fault> {
    let Some(next) = page.next.as_deref() else {
        return Err(Fault::new(
            FaultClass::ContractBroken,
            "no-link",
            "query: the answer is not the last page but names no next one",
        ));
    };
    if from.is_some_and(|from| !leads_on(from, next)) {
        return Err(Fault::new(
            FaultClass::ContractBroken,
            "page-loop",
            "query: the link to the next page leads back",
        ));
    }
    Ok(next.to_owned())
}

/// Whether a link leads on: links of one cursor end in an offset, which has to grow.
fn leads_on(from: &str, next: &str) -> bool {
    let split = |link: &str| {
        link.rsplit_once('-')
            .and_then(|(cursor, offset)| Some((cursor.to_owned(), offset.parse::<u64>().ok()?)))
    };
    match (split(from), split(next)) {
        (Some((one, before)), Some((other, after))) if one == other => after > before,
        _ => from != next,
    }
}

impl State {
    /// A page that leads to `phase`.
    fn page(mut self, phase: Phase, read_at: At) -> Result<Page, Fault> {
        let load = matches!(
            self.phase,
            Phase::Load { .. } | Phase::Bulk(_) | Phase::History { .. }
        );
        self.phase = phase;
        Ok(Page {
            readings: Vec::new(),
            poison: Vec::new(),
            next: Cursor::of(&self)?,
            more: true,
            load,
            scan: None,
            read_at,
            drained: None,
        })
    }
}

fn mark(saved: Option<&Saved>) -> Option<Mark> {
    saved.map(|(at, id)| Mark {
        at: At::from_micros(*at),
        id: id.clone(),
    })
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_on_only_while_its_offset_grows() {
        let link = |offset: &str| format!("/services/data/v66.0/query/0r8xx3d00000001AAA-{offset}");
        assert!(leads_on(&link("2000"), &link("4000")));
        assert!(
            !leads_on(&link("2000"), &link("2000")),
            "the same page again"
        );
        assert!(!leads_on(&link("4000"), &link("2000")), "there and back");
        assert!(
            leads_on(
                &link("2000"),
                "/services/data/v66.0/query/0r8yy3d00000001AAA-2000"
            ),
            "another cursor"
        );
        assert!(!leads_on("opaque", "opaque"));
    }

    #[test]
    fn a_cursor_of_another_form_is_not_taken() {
        let state = State {
            v: VERSION,
            net: Net {
                updated: 1,
                deleted: 2,
                due: 3,
            },
            phase: Phase::Idle { until: 4 },
        };
        let text = Cursor::of(&state).unwrap().0;
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        assert!(serde_json::from_str::<State>("{}").is_err());
    }
}
