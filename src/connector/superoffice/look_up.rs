//! People as they are now, whatever the feed has told so far: by id, and by address (R41).
//!
//! Any address of a person finds the person. The primary one is who the person is; the others are
//! told as further addresses, and are only looked at before mail is sent.

use super::map::person_id;
use super::people::{People, person_key};
use super::ways::{DYNAMIC, PERSON};
use super::wire::archive::Query;
use super::wire::filter;
use super::wire::rows::{self, EmailRow};
use crate::connector::{Fault, Found, Poison, Wanted};
use crate::consent::At;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Looks people up.
///
/// # Errors
/// When a call fails.
pub async fn look_up(people: &People<'_>, wanted: &Wanted) -> Result<Found, Fault> {
    let mut owners = Owners::default();
    let addresses = spellings(&wanted.addresses);
    for chunk in addresses.chunks(people.tenant.most_addresses().max(1)) {
        if people.ways.addresses {
            owners.by_rows(people, chunk).await?;
        } else {
            owners.by_people(people, chunk).await?;
        }
    }
    // What cannot be an id names nobody, and would spoil the call for the others.
    let ids: BTreeSet<u32> = wanted
        .contacts
        .iter()
        .filter_map(|target| person_id(&target.contact))
        .chain(owners.people.iter().copied())
        .collect();
    let read_at = match owners.asked_at {
        Some(at) => at,
        None => now(people).await?,
    };
    let mut read = people.by_id(&ids).await?;
    // Who was asked for by id and is gone says so; who has the address and vanished meanwhile too.
    let absent: BTreeSet<u32> = std::mem::take(&mut read.absent).into_iter().collect();
    let (gone, hidden) = people.fates(&absent).await?;
    read.readings.extend(gone);
    read.poison.extend(hidden);
    read.poison.extend(owners.poison);
    let primary = |id: &str, address: &str| {
        read.readings.iter().any(|reading| {
            reading.contact == id
                && reading
                    .address
                    .as_deref()
                    .is_some_and(|own| own.eq_ignore_ascii_case(address))
        })
    };
    let mut further_addresses: Vec<(String, String)> = owners
        .addresses
        .into_iter()
        .map(|(id, address)| (id.to_string(), address))
        .filter(|(id, address)| !primary(id, address))
        .collect();
    further_addresses.sort_unstable();
    further_addresses.dedup();
    Ok(Found {
        readings: read.readings,
        poison: read.poison,
        further_addresses,
        read_at,
    })
}

/// The tenant's clock, for a look-up by id alone.
async fn now(people: &People<'_>) -> Result<At, Fault> {
    let answer = people
        .tenant
        .get("principal", &["User", "currentPrincipal"], &[])
        .await?;
    answer.dated("principal")
}

/// Who has an address.
#[derive(Default)]
struct Owners {
    people: BTreeSet<u32>,
    addresses: Vec<(u32, String)>,
    poison: Vec<Poison>,
    asked_at: Option<At>,
}

impl Owners {
    /// By the rows of addresses.
    async fn by_rows(
        &mut self,
        people: &People<'_>,
        addresses: &[Cow<'_, str>],
    ) -> Result<(), Fault> {
        let query = Query {
            archive: DYNAMIC,
            select: rows::EMAIL,
            filter: filter::one_of_texts(
                "email.email_address",
                addresses.iter().map(AsRef::as_ref),
            ),
            order: "email.email_id",
            top: people.settings.page_rows,
            ..Query::default()
        };
        let key = |raw: &serde_json::value::RawValue| rows::number_of(raw, "email.email_id");
        let at = people
            .tenant
            .all(&query, usize::MAX, key, |raw| match EmailRow::read(raw) {
                Ok(row) => self.found(&row),
                Err(reason) => {
                    let person = rows::number_of(raw, "email.person_id");
                    self.people.extend(person);
                    self.poison
                        .push(rows::poison(raw, person, &format!("address: {reason}")));
                }
            })
            .await?;
        self.asked_at = self.asked_at.or(at);
        Ok(())
    }

    fn found(&mut self, row: &EmailRow) {
        // The address of a company belongs to nobody.
        let Some(person) = row.person.filter(|person| *person > 0) else {
            return;
        };
        self.people.insert(person);
        if row.rank != Some(1) {
            let address = row
                .address
                .clone()
                .filter(|address| !address.trim().is_empty());
            self.addresses
                .extend(address.map(|address| (person, address)));
        }
    }

    /// By the archive of people, which searches all addresses once one is asked for, and shows the
    /// one that was found instead of the primary one.
    async fn by_people(
        &mut self,
        people: &People<'_>,
        addresses: &[Cow<'_, str>],
    ) -> Result<(), Fault> {
        let query = Query {
            archive: PERSON,
            select: rows::PERSON,
            filter: filter::one_of_texts("email/emailAddress", addresses.iter().map(AsRef::as_ref)),
            order: "personId",
            top: people.settings.page_rows,
            ..Query::default()
        };
        let at = people
            .tenant
            .all(&query, usize::MAX, person_key, |raw| {
                let Some(person) = person_key(raw) else {
                    self.poison
                        .push(rows::poison(raw, None, "address: a row names no person"));
                    return;
                };
                self.people.insert(person);
                if let Ok(rows::PersonRow {
                    address: Some(address),
                    ..
                }) = rows::PersonRow::read(raw)
                {
                    self.addresses.push((person, address));
                }
            })
            .await?;
        self.asked_at = self.asked_at.or(at);
        Ok(())
    }
}

/// Addresses as people may have typed them: with the domain in its own letters too.
fn spellings(addresses: &[String]) -> Vec<Cow<'_, str>> {
    let mut all: Vec<Cow<'_, str>> = Vec::with_capacity(addresses.len());
    for address in addresses {
        all.push(Cow::Borrowed(address));
        let Some((name, domain)) = address.rsplit_once('@') else {
            continue;
        };
        if domain.contains("xn--") {
            let (unicode, good) = idna::domain_to_unicode(domain);
            if good.is_ok() && unicode != domain {
                all.push(Cow::Owned(format!("{name}@{unicode}")));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_domain_is_looked_for_in_both_spellings() {
        let addresses = [
            "ann@example.org".to_owned(),
            "bob@xn--bcher-kva.example".to_owned(),
        ];
        assert_eq!(
            spellings(&addresses),
            [
                "ann@example.org",
                "bob@xn--bcher-kva.example",
                "bob@bücher.example"
            ]
        );
    }
}
