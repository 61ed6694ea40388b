//! Lists of unknown make: where their rows stand, and how their pages are walked.
//!
//! Whether the account pages a list, and by which parameters, is not documented. Pages are asked for
//! so that each begins with the last row of the one before: a list that shifts while it is read is
//! noticed, and so is one that knows no offset. A page shorter than asked for is no end.

use super::node::Pointer;
use super::{Account, Listing, faults};
use crate::connector::emarketeer::config::ListShape;
use crate::connector::http::Answer;
use crate::connector::salesforce::wire::rows::digest;
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

/// A list that goes on for longer than this is no list of an account.
const MOST_ROWS: usize = 20_000_000;
/// How often the walk through one list goes back because rows moved, before it gives up.
const MOST_STEPS_BACK: u8 = 20;

/// One row, as it came.
#[derive(Debug, Clone)]
pub struct Row(pub Box<RawValue>);

impl Row {
    /// A name for it that differs between different rows.
    pub fn digest(&self) -> String {
        digest(self.0.get().as_bytes())
    }
}

/// Rows of one answer.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// How many there are on all pages, where the answer tells.
    pub total: Option<usize>,
    /// The vendor's time when they were asked for.
    pub read_at: At,
}

/// How far a list has been read. Goes into cursors; holds no address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Rows read so far.
    rows: usize,
    /// Digest of the first row of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    /// Digest of the last row read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// How often the walk went back.
    #[serde(default)]
    back: u8,
}

impl Place {
    /// How many rows were read.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Whether nothing was read yet.
    pub const fn is_start(&self) -> bool {
        self.rows == 0 && self.back == 0
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// Rows that were not on an earlier page, and perhaps some that were.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None` at the end of the list.
    pub next: Option<Place>,
    /// The vendor's time when it was asked for.
    pub read_at: At,
}

/// What became known of lists since the start. Can be lost at any time.
#[derive(Debug, Default)]
pub struct Memory {
    /// Lists that come as a whole, by kind, and whether paging parameters are refused for them.
    whole: BTreeMap<&'static str, bool>,
    /// The answer that is being handed out in slices.
    held: Option<Arc<Held>>,
}

/// Rows of an answer that has more of them than were asked for.
#[derive(Debug)]
struct Held {
    listing: Listing,
    rows: Vec<Row>,
    /// Rows of the list up to the end of these.
    end: usize,
    /// Digest of the first row of all.
    first: Option<String>,
    /// What follows these rows.
    next: Option<Place>,
    back: u8,
    read_at: At,
}

impl Account {
    /// The page of a list that begins at a place.
    ///
    /// # Errors
    /// When a call fails, or the list cannot be walked through.
    pub async fn page(&self, listing: &Listing, place: &Place) -> Result<Sheet, Fault> {
        let mut place = place.clone();
        loop {
            if place.rows > MOST_ROWS {
                return Err(broken(listing, "the list does not end"));
            }
            if place.back > MOST_STEPS_BACK {
                return Err(Fault::new(
                    FaultClass::Retryable,
                    "moving",
                    format!(
                        "{}: the list changes faster than it can be read",
                        listing.kind()
                    ),
                ));
            }
            if let Some((held, from)) = self.held(listing, &place) {
                return Ok(self.slice(held, from));
            }
            let limit = self.settings().page_rows;
            let whole = self.memory().whole.get(listing.kind()).copied();
            if let Some(refuses_paging) = whole {
                let paging = (!refuses_paging).then_some((limit, 0));
                let all = self.ask(listing, paging).await?;
                return Ok(self.whole(listing, &place, all));
            }
            let offset = place.rows - usize::from(place.last.is_some());
            let found = match self.ask(listing, Some((limit, offset))).await {
                Err(fault) if place.is_start() && fault.code == faults::INVALID => {
                    // Perhaps only the paging parameters are refused.
                    let all = self.ask(listing, None).await?;
                    self.memory().whole.insert(listing.kind(), true);
                    return Ok(self.whole(listing, &place, all));
                }
                other => other?,
            };
            if offset > 0 && place.last.is_some() && begins_with(&found, place.first.as_deref()) {
                self.began_anew(listing, &found).await?;
                return Ok(self.whole(listing, &place, found));
            }
            match judge(listing, &place, offset, found, limit)? {
                Step::Page(held) => return Ok(self.slice(Arc::new(held), 0)),
                Step::Back(before) => place = before,
            }
        }
    }

    /// A further page was asked for and the list began anew: either it comes as a whole, or the
    /// account knows the offset by another name.
    async fn began_anew(&self, listing: &Listing, found: &Rows) -> Result<(), Fault> {
        if found.rows.len() <= self.settings().page_rows {
            let one = self.ask(listing, Some((1, 0))).await?;
            if one.rows.len() < found.rows.len() {
                let offset = self.key(&format!("{}.query.offset", listing.module().word()));
                let advice = format!(
                    "the next page is the first one again; set {offset} to the name of the parameter for rows to skip"
                );
                return Err(broken(listing, &advice));
            }
        }
        self.memory().whole.insert(listing.kind(), false);
        Ok(())
    }

    /// The answer that a place lies in, and which of its rows comes next. A walk that begins anew
    /// asks anew.
    fn held(&self, listing: &Listing, place: &Place) -> Option<(Arc<Held>, usize)> {
        let held = self.memory().held.clone()?;
        let last = place.last.as_ref().filter(|_| held.listing == *listing)?;
        let at = held.rows.iter().position(|row| row.digest() == *last)?;
        (at + 1 < held.rows.len()).then_some((held, at + 1))
    }

    /// The slice at a place of a list that came as a whole.
    fn whole(&self, listing: &Listing, place: &Place, all: Rows) -> Sheet {
        let last = place.last.as_ref();
        let at = last.and_then(|last| all.rows.iter().position(|row| row.digest() == *last));
        let held = Held {
            listing: listing.clone(),
            end: all.rows.len(),
            first: all.rows.first().map(Row::digest),
            rows: all.rows,
            next: None,
            back: place.back,
            read_at: all.read_at,
        };
        self.slice(Arc::new(held), at.map_or(0, |at| at + 1))
    }

    /// As many rows of an answer as belong on a page.
    fn slice(&self, held: Arc<Held>, from: usize) -> Sheet {
        let until = (from + self.settings().page_rows).min(held.rows.len());
        let rows = held.rows.get(from..until).unwrap_or_default().to_vec();
        let more = until < held.rows.len();
        let next = if more {
            Some(Place {
                rows: held.end - (held.rows.len() - until),
                first: held.first.clone(),
                last: rows.last().map(Row::digest),
                back: held.back,
            })
        } else {
            held.next.clone()
        };
        let read_at = held.read_at;
        self.memory().held = more.then_some(held);
        Sheet {
            rows,
            next,
            read_at,
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer means for a walk.
enum Step {
    /// Rows of it.
    Page(Held),
    /// Rows have moved: it goes on from here.
    Back(Place),
}

fn begins_with(found: &Rows, first: Option<&str>) -> bool {
    first.is_some() && found.rows.first().map(Row::digest).as_deref() == first
}

/// Judges the rows that were found at an offset.
///
/// # Errors
/// When they lead back.
fn judge(
    listing: &Listing,
    place: &Place,
    offset: usize,
    found: Rows,
    limit: usize,
) -> Result<Step, Fault> {
    // A row that comes twice counts once: the next page then begins a little earlier.
    let mut seen = BTreeSet::new();
    let mut digests = Vec::with_capacity(found.rows.len());
    let mut rows = found.rows;
    rows.retain(|row| {
        let digest = row.digest();
        let new = seen.insert(digest.clone());
        if new {
            digests.push(digest);
        }
        new
    });
    let end = offset + rows.len();
    let first = if offset == 0 {
        digests.first().cloned()
    } else {
        place.first.clone()
    };
    if let Some(last) = &place.last {
        let Some(at) = digests.iter().position(|digest| digest == last) else {
            // Rows in front of this page are gone, and others moved up: look further in front.
            return Ok(Step::Back(Place {
                rows: offset.saturating_sub(limit),
                first: place.first.clone(),
                last: None,
                back: place.back.saturating_add(1),
            }));
        };
        rows.remove(at);
    }
    let done = rows.is_empty() || found.total.is_some_and(|total| end >= total);
    if !done && end <= place.rows && place.last.is_some() {
        return Err(broken(listing, "a page leads back"));
    }
    Ok(Step::Page(Held {
        listing: listing.clone(),
        rows,
        end,
        first: first.clone(),
        next: (!done).then(|| Place {
            rows: end,
            first,
            last: digests.pop(),
            back: place.back,
        }),
        back: place.back,
        read_at: found.read_at,
    }))
}

/// The rows of an answer, wherever they stand.
///
/// # Errors
/// When the answer has no list, or no date.
pub fn rows(kind: &str, answer: &Answer, shape: &ListShape) -> Result<Rows, Fault> {
    let read_at = answer.dated(kind)?;
    let whole: &RawValue = answer.parse(kind)?;
    let list = shape
        .rows
        .iter()
        .filter_map(|place| descend(whole, place))
        .find_map(|raw| serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()).ok());
    let Some(list) = list else {
        let places: Vec<String> = shape.rows.iter().map(ToString::to_string).collect();
        let message = format!(
            "{kind}: the answer holds no list at any of {places:?}; the setting `lists` tells where it stands"
        );
        return Err(Fault::new(FaultClass::ContractBroken, "shape", message));
    };
    let total = shape
        .total
        .iter()
        .filter_map(|place| descend(whole, place))
        .find_map(|raw| serde_json::from_str(raw.get()).ok());
    Ok(Rows {
        rows: list.into_iter().map(Row).collect(),
        total,
        read_at,
    })
}

/// What stands at a place, unread.
fn descend<'a>(whole: &'a RawValue, place: &Pointer) -> Option<&'a RawValue> {
    place.tokens().iter().try_fold(whole, |raw, token| {
        let members: BTreeMap<String, &'a RawValue> = serde_json::from_str(raw.get()).ok()?;
        members.get(token).copied()
    })
}

fn broken(listing: &Listing, what: &str) -> Fault {
    Fault::new(
        FaultClass::ContractBroken,
        "page-loop",
        format!("{}: {what}", listing.kind()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(numbers: &[usize], total: Option<usize>) -> Rows {
        let row = |number: &usize| serde_json::value::to_raw_value(number).map(Row);
        Rows {
            rows: numbers.iter().map(row).collect::<Result<_, _>>().unwrap(),
            total,
            read_at: At::from_micros(0),
        }
    }

    /// Walks through a list whose page at an offset `serve` gives, three rows at a time.
    fn walk(mut serve: impl FnMut(usize) -> Rows) -> Result<Vec<String>, String> {
        let mut place = Place::default();
        let mut seen = Vec::new();
        for _ in 0..50 {
            let offset = place.rows - usize::from(place.last.is_some());
            match judge(&Listing::Consents, &place, offset, serve(offset), 3) {
                Err(fault) => return Err(fault.code),
                Ok(Step::Back(before)) => place = before,
                Ok(Step::Page(sheet)) => {
                    seen.extend(sheet.rows.iter().map(|row| row.0.get().to_owned()));
                    match sheet.next {
                        Some(next) => place = next,
                        None => return Ok(seen),
                    }
                }
            }
        }
        Err("no end".to_owned())
    }

    fn paged(all: &[usize], offset: usize, rows: usize) -> Rows {
        let from = offset.min(all.len());
        found(&all[from..(from + rows).min(all.len())], None)
    }

    #[test]
    fn every_row_of_a_paged_list_is_read() {
        let all: Vec<usize> = (0..10).collect();
        for rows in [2, 3, 7, 20] {
            let seen = walk(|offset| paged(&all, offset, rows)).unwrap();
            assert_eq!(seen.len(), 10, "pages of {rows}");
        }
        assert_eq!(walk(|_| found(&[], None)).unwrap(), [""; 0]);
        let mut calls = 0;
        let seen = walk(|offset| {
            calls += 1;
            Rows {
                total: Some(10),
                ..paged(&all, offset, 4)
            }
        });
        assert_eq!(
            (seen.unwrap().len(), calls),
            (10, 3),
            "a total saves the look behind the end"
        );
    }

    #[test]
    fn rows_that_move_up_while_the_list_is_read_are_not_missed() {
        let mut all: Vec<usize> = (0..12).collect();
        let mut calls = 0;
        let seen = walk(|offset| {
            calls += 1;
            if calls == 3 {
                // Two rows that were read already are deleted.
                all.drain(0..2);
            }
            paged(&all, offset, 3)
        })
        .unwrap();
        for row in 0..12 {
            assert!(seen.contains(&row.to_string()), "{row} in {seen:?}");
        }
    }

    #[test]
    fn rows_that_come_in_front_while_the_list_is_read_are_read_too() {
        let mut all: Vec<usize> = (0..9).rev().collect();
        let mut calls = 0;
        let seen = walk(|offset| {
            calls += 1;
            if calls == 2 {
                all.insert(0, 100);
            }
            paged(&all, offset, 3)
        })
        .unwrap();
        for row in 0..9 {
            assert!(seen.contains(&row.to_string()), "{row} in {seen:?}");
        }
    }

    #[test]
    fn rows_that_come_twice_are_read_once() {
        let all: Vec<usize> = (0..5).collect();
        let seen = walk(|offset| {
            let page = paged(&all, offset, 3);
            let twice = page.rows.iter().flat_map(|row| [row.clone(), row.clone()]);
            Rows {
                rows: twice.collect(),
                ..page
            }
        });
        assert_eq!(seen.unwrap(), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn a_list_that_never_stands_still_ends_the_walk() {
        let mut call = 0;
        let end = walk(|_| {
            call += 10;
            found(&[call, call + 1, call + 2], None)
        });
        assert!(end.is_err(), "{end:?}");
    }

    #[test]
    fn a_place_in_a_list_can_be_kept() {
        let place = Place {
            rows: 7,
            first: Some("sha256:00".to_owned()),
            last: None,
            back: 1,
        };
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), place);
        assert!(!place.is_start() && Place::default().is_start());
    }
}
