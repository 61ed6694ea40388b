//! Contacts as they are now, whatever the feed has told so far: by id, and by address (R41).

use super::{Companion, Feed, all_pages, explained};
use crate::connector::salesforce::map::{Read, Seen};
use crate::connector::salesforce::wire::Org;
use crate::connector::salesforce::wire::soql::{self, Query};
use crate::connector::{Fault, Found, Poison, Wanted};
use crate::consent::{Life, Reading};
use std::collections::HashSet;

/// Bytes of addresses in one query. A URL may have 16,384 bytes with its headers, of which a byte
/// takes up to three.
const MOST_ADDRESS_BYTES: usize = 4_000;

impl Feed {
    /// Looks contacts up with their whole consent history.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn look_up(
        &self,
        org: &Org,
        companion: Option<&dyn Companion>,
        wanted: &Wanted,
    ) -> Result<Found, Fault> {
        let read_at = org.now().await?;
        let mut read = Read::default();
        for chunk in chunks(&wanted.addresses) {
            let query = Query {
                columns: &self.shape.columns,
                object: &self.shape.object,
                conditions: vec![format!(
                    "{} IN {}",
                    self.shape.address_field(),
                    soql::list(chunk.iter().map(|address| soql::text(address)))
                )],
                ..Query::default()
            };
            all_pages(org, &query.text(), false, |raw| {
                self.shape.read_one(raw, &mut read);
            })
            .await?;
        }
        let known: HashSet<String> = read
            .seen
            .iter()
            .map(|seen| seen.reading.contact.clone())
            .chain(read.poison.iter().map(|bad| bad.id.clone()))
            .collect();
        // What cannot be an id names no contact, and would spoil the call for the others.
        let mut others: Vec<String> = wanted
            .contacts
            .iter()
            .filter_map(|target| soql::full_id(&target.contact))
            .filter(|id| !known.contains(id))
            .collect();
        others.sort_unstable();
        others.dedup();
        self.by_id(org, &others, &mut read).await?;
        let (readings, poison) = self.complete(org, companion, read, &others).await?;
        Ok(Found {
            readings,
            poison,
            further_addresses: Vec::new(),
            read_at,
        })
    }

    /// Adds belongings and history to contacts that were just read; ids that were asked for and
    /// found nowhere were deleted beyond the recycle bin.
    pub(super) async fn complete(
        &self,
        org: &Org,
        companion: Option<&dyn Companion>,
        mut read: Read,
        asked: &[String],
    ) -> Result<(Vec<Reading>, Vec<Poison>), Fault> {
        if let Some(companion) = companion {
            companion.complete(org, &mut read.seen).await?;
        }
        let ids: Vec<String> = read.seen.iter().map(id_of).collect();
        if !ids.is_empty() && self.has_history(org).await? {
            let histories = self.history_of(org, &ids, &mut read.poison).await?;
            self.explain(org, explained(&mut read.seen, &histories))
                .await?;
        }
        let found: HashSet<&str> = ids
            .iter()
            .map(String::as_str)
            .chain(read.poison.iter().map(|bad| bad.id.as_str()))
            .collect();
        let purged: Vec<Reading> = asked
            .iter()
            .filter(|id| !found.contains(id.as_str()))
            .map(|id| gone(id))
            .collect();
        let readings = read.seen.into_iter().map(|seen| seen.reading);
        Ok((readings.chain(purged).collect(), read.poison))
    }
}

/// The addresses in pieces that a query can name.
fn chunks(addresses: &[String]) -> impl Iterator<Item = &[String]> {
    let mut bytes = 0;
    let mut piece = 0;
    addresses
        .iter()
        .map(move |address| {
            bytes += address.len();
            if bytes > MOST_ADDRESS_BYTES {
                bytes = address.len();
                piece += 1;
            }
            piece
        })
        .collect::<Vec<_>>()
        .chunk_by(|one, other| one == other)
        .scan(0, |start, piece| {
            let from = *start;
            *start += piece.len();
            addresses.get(from..*start)
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn id_of(seen: &Seen) -> String {
    seen.reading.contact.clone()
}

fn gone(id: &str) -> Reading {
    Reading {
        contact: id.to_owned(),
        whole: true,
        life: Life::Deleted,
        ..Reading::default()
    }
}
