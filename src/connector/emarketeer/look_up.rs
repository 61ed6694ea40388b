//! Contacts as they are now, whatever the feed has told so far (R41).
//!
//! One contact costs a call for its consent and one for whether it is there. For very many it is
//! cheaper to list everything once and pick them out.

use super::access::{Access, Present};
use super::feed::Feed;
use super::map::{self, Bad, Person, Record};
use super::wire::Listing;
use super::wire::list::Place;
use crate::connector::{Current, Fault, Found, Poison, Target, Wanted};
use crate::consent::{At, Life, PurposeId, Reading, Shown, SubjectKey};
use std::collections::BTreeMap;

/// Calls of a single look-up.
const CALLS_EACH: usize = 2;
/// Addresses in one look-up while nothing is known of how much a listing costs.
const FEW: usize = 200;
/// And once that is known.
const MANY: usize = 10_000;

/// Who is asked for.
struct Ask {
    address: SubjectKey,
    /// By its id, so that it is told even when there is nothing.
    by_id: bool,
}

/// How many addresses are taken at once.
pub fn most_at_once(feed: &Feed) -> usize {
    if feed.size().is_some() { MANY } else { FEW }
}

/// Looks contacts up.
///
/// # Errors
/// When a call fails.
pub async fn look_up(access: &Access, feed: &Feed, wanted: &Wanted) -> Result<Found, Fault> {
    let asks = asks(access, wanted);
    let page_rows = access.settings().page_rows;
    let listing = feed.size().map(|size| size.calls(page_rows));
    let found = if listing.is_some_and(|calls| calls < asks.len() * CALLS_EACH) {
        listed(access, &asks).await?
    } else {
        each(access, &asks).await?
    };
    let mut readings = Vec::with_capacity(asks.len());
    let mut poison = Vec::new();
    let mut read_at: Option<At> = None;
    for (contact, present) in found {
        let Some(ask) = asks.get(&contact) else {
            continue;
        };
        read_at = match (read_at, present.read_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if ask.by_id {
            access.settled(&contact);
        }
        poison.extend(present.bad.iter().map(|bad| Poison {
            id: contact.clone(),
            ..bad.poison.clone()
        }));
        let anything = !present.people.is_empty() || !present.records.is_empty();
        if ask.by_id || anything {
            readings.push(reading(access, &ask.address, &present));
        }
    }
    Ok(Found {
        readings,
        poison,
        further_addresses: Vec::new(),
        read_at: match read_at {
            Some(read_at) => read_at,
            None => now(access).await?,
        },
    })
}

/// The account's time, when nobody was asked for.
async fn now(access: &Access) -> Result<At, Fault> {
    let rows = access
        .account
        .catalogue(super::wire::Catalogue::Sources)
        .await?;
    Ok(rows.read_at)
}

fn asks(access: &Access, wanted: &Wanted) -> BTreeMap<String, Ask> {
    let mut asks = BTreeMap::new();
    for address in &wanted.addresses {
        if let Ok(address) = SubjectKey::from_address(address) {
            let contact = access.reader.ids().of(&address);
            asks.insert(
                contact,
                Ask {
                    address,
                    by_id: false,
                },
            );
        }
    }
    for target in &wanted.contacts {
        match address_of(access, target) {
            Some(address) => {
                asks.insert(
                    target.contact.clone(),
                    Ask {
                        address,
                        by_id: true,
                    },
                );
            }
            // Nobody knows its address any more, so nobody can ask for it.
            None => access.settled(&target.contact),
        }
    }
    asks
}

/// The address that a contact's id stands for, as the store knows it.
pub fn address_of(access: &Access, target: &Target) -> Option<SubjectKey> {
    let address = SubjectKey::from_address(target.address.as_deref()?).ok()?;
    (access.reader.ids().of(&address) == target.contact).then_some(address)
}

/// Asks for one after another; how many calls go out at once is the client's business.
async fn each(
    access: &Access,
    asks: &BTreeMap<String, Ask>,
) -> Result<Vec<(String, Present)>, Fault> {
    let asked: Vec<_> = asks
        .iter()
        .map(|(contact, ask)| one(access, contact, ask))
        .collect();
    futures::future::try_join_all(asked).await
}

async fn one(access: &Access, contact: &str, ask: &Ask) -> Result<(String, Present), Fault> {
    let mut present = access.present(&ask.address).await?;
    if ask.by_id && !present.records.is_empty() {
        let spelled = present.spelled().unwrap_or(ask.address.as_str());
        let rows = access.account.history_of(spelled).await?;
        let mut history = access.records(&rows).await?.records;
        history.retain(|record| record.contact == contact);
        present.past = history;
    }
    Ok((contact.to_owned(), present))
}

/// Lists everything and picks out who is asked for.
async fn listed(
    access: &Access,
    asks: &BTreeMap<String, Ask>,
) -> Result<Vec<(String, Present)>, Fault> {
    let mut found: BTreeMap<String, Present> = asks
        .keys()
        .map(|contact| (contact.clone(), Present::default()))
        .collect();
    let mut read_at = None;
    for listing in [Listing::Consents, Listing::Contacts] {
        let mut place = Place::default();
        loop {
            let sheet = access.account.page(&listing, &place).await?;
            read_at.get_or_insert(sheet.read_at);
            let (people, records, bad): (Vec<Person>, Vec<Record>, Vec<Bad>) =
                if listing == Listing::Contacts {
                    let (people, bad) = access.people(&sheet.rows);
                    (people, Vec::new(), bad)
                } else {
                    let taken = access.records(&sheet.rows).await?;
                    (Vec::new(), taken.records, taken.bad)
                };
            for person in people {
                if let Some(present) = found.get_mut(&person.contact) {
                    present.people.push(person);
                }
            }
            for record in records {
                if let Some(present) = found.get_mut(&record.contact) {
                    present.records.push(record);
                }
            }
            for bad in bad {
                if let Some(present) = bad.contact.as_ref().and_then(|of| found.get_mut(of)) {
                    present.bad.push(bad);
                }
            }
            match sheet.next {
                Some(next) => place = next,
                None => break,
            }
        }
    }
    for present in found.values_mut() {
        present.read_at = read_at;
    }
    Ok(found.into_iter().collect())
}

/// An address as a whole reading: whether a contact has it, and its consent. A row that is not
/// understood may be the newest, so then only what the others tell is told.
pub fn reading(access: &Access, address: &SubjectKey, present: &Present) -> Reading {
    let contact = access.reader.ids().of(address);
    let people = map::people(&present.people).pop();
    let records: Vec<Record> = present
        .past
        .iter()
        .chain(&present.records)
        .cloned()
        .collect();
    let told = map::loose(&records)
        .pop()
        .map(|loose| loose.told)
        .unwrap_or_default();
    let whole = present.bad.is_empty();
    let life = if people.is_some() {
        Life::Live
    } else {
        Life::Deleted
    };
    Reading {
        contact,
        whole,
        address: Some(present.spelled().unwrap_or(address.as_str()).to_owned()),
        created: people.and_then(|reading| reading.created),
        life,
        values: if whole {
            values(access, &present.records)
        } else {
            Vec::new()
        },
        told,
        ..Reading::default()
    }
}

/// The value of every purpose that the system carries.
fn values(access: &Access, records: &[Record]) -> Vec<(PurposeId, Shown)> {
    let newest = map::newest(records);
    let purposes = access.settings().purposes.iter();
    purposes
        .map(|names| {
            let shown = newest
                .get(&names.purpose)
                .map(|record| record.shown.clone());
            (names.purpose, shown.unwrap_or(Shown::Default))
        })
        .collect()
}

/// What contacts show just now, in order, and all that was found of each.
///
/// # Errors
/// When a call fails.
pub async fn current(
    access: &Access,
    contacts: &[Target],
) -> Result<Vec<(Current, Option<Present>)>, Fault> {
    let asked: Vec<_> = contacts
        .iter()
        .map(|target| now_shown(access, target))
        .collect();
    futures::future::try_join_all(asked).await
}

async fn now_shown(access: &Access, target: &Target) -> Result<(Current, Option<Present>), Fault> {
    let Some(address) = address_of(access, target) else {
        return Ok((Current::Unknown, None));
    };
    let present = access.present(&address).await?;
    let current = if present.people.is_empty() {
        // The feed may not mention it again.
        access.doubt([target.contact.clone()]);
        Current::Gone
    } else if present.bad.is_empty() {
        Current::Live(values(access, &present.records))
    } else {
        Current::Unknown
    };
    Ok((current, Some(present)))
}
