//! Queries of archives, and the pages that they give.
//!
//! Pages are asked for in the order of a primary key and behind the last one read, because each
//! page runs the query anew and rows move in between. The server's link to a next page is not
//! believed, since nobody has published one. Only a page without rows is an end: how many rows a
//! server gives at most is not published either.
//!
//! Sources: OData search, dynamic provider, best practices of paging.

use super::{Tenant, faults, parse};
use crate::connector::http::{Answer, Body, Method};
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::atomic::Ordering;

/// Bytes of an encoded query that servers take in an address: IIS takes 2,048.
const MOST_QUERY: usize = 1_900;
/// Ids in one list while queries may be sent as forms, and while they may not.
const IDS: (usize, usize) = (500, 100);
/// The same for addresses.
const ADDRESSES: (usize, usize) = (200, 20);

/// One query.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    /// The archive.
    pub archive: &'a str,
    /// Columns; they come back under the same names.
    pub select: &'a [&'a str],
    /// See [`super::filter`].
    pub filter: String,
    /// The primary key.
    pub order: &'a str,
    /// Rows at most.
    pub top: usize,
    /// Which of the archive's entities, where not all.
    pub entities: Option<&'a str>,
}

/// One page, each row still as text, so that one bad row spoils no other.
#[derive(Debug, Deserialize)]
pub struct Slim<'a> {
    /// The rows.
    #[serde(borrow)]
    pub value: Vec<&'a RawValue>,
}

/// One page as it came.
#[derive(Debug)]
pub struct Fetched {
    answer: Answer,
    /// The vendor's time when it was asked for.
    pub at: At,
}

impl Fetched {
    /// Its rows.
    ///
    /// # Errors
    /// When it is not of the documented shape, or a refusal.
    pub fn rows(&self) -> Result<Vec<&RawValue>, Fault> {
        parse::<Slim<'_>>("archive", &self.answer).map(|page| page.value)
    }
}

impl Tenant {
    /// One page of an archive.
    ///
    /// # Errors
    /// When the call fails or the answer tells no time.
    pub async fn fetch(&self, query: &Query<'_>) -> Result<Fetched, Fault> {
        let select = query.select.join(",");
        let top = query.top.to_string();
        let mut params = vec![
            ("$select", select.as_str()),
            ("$filter", query.filter.as_str()),
            ("$orderby", query.order),
            ("$top", top.as_str()),
        ];
        params.extend(query.entities.map(|entities| ("$entities", entities)));
        let bytes: usize = params
            .iter()
            .map(|(name, value)| name.len() + encoded(value) + 2)
            .sum();
        let segments = ["Archive", query.archive];
        let answer = if bytes > MOST_QUERY && self.forms.load(Ordering::Relaxed) {
            let form = params
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned().into()))
                .collect();
            let sent = self
                .call("archive", Method::POST, &segments, &[], Body::Form(form))
                .await
                .map_err(super::place::not_sent);
            match sent {
                // The next lists are made shorter.
                Err(fault)
                    if matches!(fault.code.as_str(), "http-404" | "http-405" | "http-415") =>
                {
                    self.forms.store(false, Ordering::Relaxed);
                    return Err(Fault {
                        class: FaultClass::Retryable,
                        ..fault
                    });
                }
                other => other?,
            }
        } else {
            self.get("archive", &segments, &params).await?
        };
        Ok(Fetched {
            at: answer.dated("archive")?,
            answer,
        })
    }

    /// All rows of a query, page by page, where `key` tells the primary key of a row and `filter`
    /// the filter behind a key. It ends at an empty page, or when `enough` rows are known to be all
    /// that can be.
    ///
    /// # Errors
    /// When a call fails, or the pages do not lead on.
    pub async fn all(
        &self,
        query: &Query<'_>,
        enough: usize,
        key: impl Fn(&RawValue) -> Option<u32> + Send + Sync,
        mut row: impl FnMut(&RawValue) + Send,
    ) -> Result<Option<At>, Fault> {
        let mut asked_at = None;
        let mut after = 0;
        let mut seen = 0;
        loop {
            let page = self
                .fetch(&Query {
                    filter: super::filter::both(
                        &query.filter,
                        &super::filter::above(query.order, after),
                    ),
                    ..query.clone()
                })
                .await?;
            asked_at = asked_at.or(Some(page.at));
            let rows = page.rows()?;
            if rows.is_empty() {
                return Ok(asked_at);
            }
            after = last_key(&rows, after, &key)?;
            seen += rows.len();
            rows.into_iter().for_each(&mut row);
            if seen >= enough {
                return Ok(asked_at);
            }
        }
    }

    /// How many ids a list may hold.
    pub fn most_ids(&self) -> usize {
        self.most(IDS)
    }

    /// How many addresses a list may hold.
    pub fn most_addresses(&self) -> usize {
        self.most(ADDRESSES)
    }

    fn most(&self, (form, address): (usize, usize)) -> usize {
        if self.forms.load(Ordering::Relaxed) {
            form
        } else {
            address
        }
    }

    /// Whether the server answers a query that finds nothing; `false` when it says that it has no
    /// such archive, column or operator.
    ///
    /// # Errors
    /// When it is in trouble instead.
    pub async fn offers(&self, query: &Query<'_>) -> Result<bool, Fault> {
        let mut again = true;
        loop {
            let asked = self.fetch(query).await;
            match asked.and_then(|page| page.rows().map(drop)) {
                Ok(()) => return Ok(true),
                Err(fault) if faults::is_refusal(&fault) => return Ok(false),
                // The framework does not say whether it is the question or the server. The same
                // question failing at once again, where others are answered, is the question.
                Err(fault) if fault.code == faults::SERVER_ERROR => {
                    if !std::mem::replace(&mut again, false) {
                        return Ok(false);
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// The greatest key of a page whose keys ascend from behind `after`.
///
/// # Errors
/// When the page leads back, is in another order, or has no row with a key.
pub fn last_key(
    rows: &[&RawValue],
    after: u32,
    key: impl Fn(&RawValue) -> Option<u32>,
) -> Result<u32, Fault> {
    let mut last = after;
    let mut any = false;
    for row in rows {
        // A row without a readable key is told of as poison; its neighbours lead on.
        let Some(key) = key(row) else {
            continue;
        };
        // One person may stand twice where two addresses are found.
        if key < last || (!any && key <= after) {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "page-loop",
                "archive: the rows are not in the order that was asked for, or a page leads back",
            ));
        }
        any = true;
        last = key;
    }
    if any {
        Ok(last)
    } else {
        Err(Fault::new(
            FaultClass::ContractBroken,
            "no-progress",
            "archive: a page has no row that can be read",
        ))
    }
}

/// Bytes of a text once it stands in an address.
fn encoded(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => 1,
            _ => 3,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_to_lead_on() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let key = |row: &RawValue| row.get().parse::<u32>().ok();
        for (sentence, rows, after, expected) in [
            ("in order", vec!["8", "9", "12"], 7, Ok(12)),
            ("a bad row in between", vec!["8", "{}", "12"], 7, Ok(12)),
            ("one row twice", vec!["8", "8", "9"], 7, Ok(9)),
            ("the same page again", vec!["7"], 7, Err("page-loop")),
            ("out of order", vec!["9", "8"], 7, Err("page-loop")),
            ("nothing readable", vec!["{}"], 7, Err("no-progress")),
        ] {
            let rows: Vec<_> = rows.into_iter().map(raw).collect();
            let rows: Vec<&RawValue> = rows.iter().map(|row| &**row).collect();
            let found = last_key(&rows, after, key);
            assert_eq!(
                found.as_ref().map_err(|fault| fault.code.as_str()),
                expected.as_ref().map_err(|code| *code),
                "{sentence}"
            );
        }
    }

    #[test]
    fn the_length_of_an_address_is_known_before_it_is_made() {
        let text = "personId in (1,2) and email/emailAddress eq 'ü@x.org'";
        let mut url = url::Url::parse("https://x.example/").unwrap();
        url.query_pairs_mut().append_pair("f", text);
        let plus = text.matches(' ').count() * 2;
        assert_eq!(encoded(text), url.query().unwrap().len() - 2 + plus);
    }
}
