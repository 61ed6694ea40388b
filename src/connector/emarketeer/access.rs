//! What every part of the connector needs: the account, its master data, and a reader of its rows.

use super::config::Settings;
use super::map::{Bad, Person, Reader, Record};
use super::master::{Desk, Master};
use super::wire::list::Row;
use super::wire::{Account, faults};
use crate::connector::Fault;
use crate::consent::{At, SubjectKey};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Longest address that an account holds.
const MOST_ADDRESS_CHARS: usize = 500;

/// An account, as the connector's parts share it.
#[derive(Debug)]
pub struct Access {
    /// The API.
    pub account: Account,
    /// Reads its rows.
    pub reader: Reader,
    desk: Desk,
    /// Contacts that seem to be gone; see [`crate::connector::Connector::doubtful`].
    doubtful: Mutex<BTreeSet<String>>,
}

/// Consent records and what was not understood.
#[derive(Debug, Default)]
pub struct Taken {
    /// Records of configured purposes, in order.
    pub records: Vec<Record>,
    /// Rows that are not understood.
    pub bad: Vec<Bad>,
}

/// All that the account shows of one address now.
#[derive(Debug, Default)]
pub struct Present {
    /// Contacts with it.
    pub people: Vec<Person>,
    /// Its consent records: the newest of each purpose, at least.
    pub records: Vec<Record>,
    /// Earlier records, where they were asked for.
    pub past: Vec<Record>,
    /// Rows that are not understood.
    pub bad: Vec<Bad>,
    /// The vendor's time when it was asked; none when it holds no such addresses.
    pub read_at: Option<At>,
}

impl Present {
    /// The address as the account spells it.
    pub fn spelled(&self) -> Option<&str> {
        let people = self.people.iter().map(|person| person.spelled.as_str());
        let records = self.records.iter().map(|record| record.spelled.as_str());
        people.chain(records).next()
    }
}

impl Access {
    /// An account with these settings; makes no call.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        let settings = Arc::new(settings);
        Ok(Self {
            account: Account::new(Arc::clone(&settings))?,
            reader: Reader::new(settings),
            desk: Desk::default(),
            doubtful: Mutex::default(),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        self.account.settings()
    }

    /// The master data.
    ///
    /// # Errors
    /// When it cannot be read, or lacks what the configuration names.
    pub async fn master(&self) -> Result<Arc<Master>, Fault> {
        self.desk.master(&self.account).await
    }

    /// Reads rows of consent records. Master data that is not known yet is asked for again.
    ///
    /// # Errors
    /// When the master data cannot be read.
    pub async fn records(&self, rows: &[Row]) -> Result<Taken, Fault> {
        let mut master = self.master().await?;
        let mut renewed = false;
        let mut taken = Taken::default();
        for row in rows {
            let mut read = self.reader.record(row, &master);
            if matches!(&read, Err(bad) if bad.unlisted) && !renewed {
                master = self.desk.renewed(&self.account).await?;
                renewed = true;
                read = self.reader.record(row, &master);
            }
            match read {
                Ok(record) => taken.records.extend(record),
                Err(bad) => taken.bad.push(bad),
            }
        }
        Ok(taken)
    }

    /// Reads rows of contacts.
    pub fn people(&self, rows: &[Row]) -> (Vec<Person>, Vec<Bad>) {
        let mut people = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        for row in rows {
            match self.reader.person(row) {
                Ok(person) => people.push(person),
                Err(row) => bad.push(row),
            }
        }
        (people, bad)
    }

    /// What the account shows of an address now.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn present(&self, address: &SubjectKey) -> Result<Present, Fault> {
        let mut present = Present::default();
        for spelling in spellings(address) {
            let (contacts, consents) = tokio::join!(
                self.account.contacts_of(&spelling),
                self.account.consents_of(&spelling)
            );
            // An address that the account does not even take is one of which it holds nothing.
            let refused =
                |fault: &Fault| fault.code == faults::INVALID && !self.can_hold(&spelling);
            let (contacts, consents) = match (contacts, consents) {
                (Err(fault), _) | (_, Err(fault)) if refused(&fault) => continue,
                (contacts, consents) => (contacts?, consents?),
            };
            let (people, bad) = self.people(&contacts.rows);
            let taken = self.records(&consents.rows).await?;
            let asked = contacts.read_at.min(consents.read_at);
            present.read_at = Some(present.read_at.map_or(asked, |first| first.min(asked)));
            present.people.extend(people);
            present.records.extend(taken.records);
            present.bad.extend(bad.into_iter().chain(taken.bad));
        }
        // Only what is of this address counts, whatever else the account answered with.
        let contact = self.reader.ids().of(address);
        present.people.retain(|person| person.contact == contact);
        present.records.retain(|record| record.contact == contact);
        let foreign = |bad: &Bad| bad.contact.as_ref().is_some_and(|of| *of != contact);
        present.bad.retain(|bad| !foreign(bad));
        Ok(present)
    }

    /// Whether an account takes such an address: simple ones of at most 500 characters (API 1.0,
    /// "Email"; contact field character limit).
    pub fn can_hold(&self, address: &str) -> bool {
        let refused = &self.settings().refused_characters;
        address.len() <= MOST_ADDRESS_CHARS
            && address
                .chars()
                .all(|character| character.is_ascii() && !refused.contains(character))
    }

    /// Notes that something seems to have become of a contact.
    pub fn doubt(&self, contacts: impl IntoIterator<Item = String>) {
        self.doubts().extend(contacts);
    }

    /// A contact was looked up.
    pub fn settled(&self, contact: &str) {
        self.doubts().remove(contact);
    }

    /// Contacts to look up, at most so many.
    pub fn doubtful(&self, most: usize) -> Vec<String> {
        self.doubts().iter().take(most).cloned().collect()
    }

    fn doubts(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the account may spell an address: as it is normalised, and where its domain is an
/// international one, with that domain in its own script.
fn spellings(address: &SubjectKey) -> Vec<String> {
    let normalised = address.as_str();
    let mut all = vec![normalised.to_owned()];
    if let Some((local, domain)) = normalised.split_once('@')
        && domain.split('.').any(|label| label.starts_with("xn--"))
    {
        let (own_script, fault) = idna::domain_to_unicode(domain);
        if fault.is_ok() && own_script != domain {
            all.push(format!("{local}@{own_script}"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_international_domain_may_be_spelled_in_its_own_script() {
        let spelled = |text: &str| spellings(&SubjectKey::from_address(text).unwrap());
        assert_eq!(spelled("Ann@Example.org"), ["ann@example.org"]);
        assert_eq!(
            spelled("ann@b\u{fc}cher.example"),
            ["ann@xn--bcher-kva.example", "ann@b\u{fc}cher.example"]
        );
    }
}
