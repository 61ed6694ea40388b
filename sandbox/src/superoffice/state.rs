//! Everything the tenant knows, behind one lock that is never held across an await.
//!
//! The tables follow the vendor's database dictionary (`person`, `email`, `consentperson`, …). Rows are found by number;
//! what a query would need an index for has one.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::auth::Auth;
use super::lists::{self, Item, Kind};
use super::settings::Settings;
use super::webhooks::Webhooks;
use crate::clock::{self, Clock};
use crate::faults::{Fault, Faults};
use crate::org::Calls;

/// Staff who look after the tenant, by full name.
pub const ADMINISTRATOR: &str = "System Administrator";
/// Staff who sell and enter people, by full name.
pub const SALES: &str = "Sales Consultant";
/// Staff who send mailings, by full name.
pub const MARKETING: &str = "Marketing Manager";
/// The user that the product's own services act as, by full name.
pub const SERVICE: &str = "Mailing Service";
/// The user that API logins map to, by full name.
pub const API_USER: &str = "Consent Sync";

/// Rows of the transaction log that are kept; the oldest go first.
pub(crate) const MAX_LOG_ROWS: usize = 200_000;
/// Number of the table `person` in the logs.
pub(crate) const PERSON_TABLE: i64 = 6;
/// Number of the table `email`.
pub(crate) const EMAIL_TABLE: i64 = 55;
/// Number of the table `consentperson`.
pub(crate) const CONSENT_TABLE: i64 = 471;
/// Number of the table `shipmenttypereservation`.
pub(crate) const RESERVATION_TABLE: i64 = 512;

/// A row of `associate`: somebody who can log in.
#[derive(Clone, Debug)]
pub(crate) struct Associate {
    pub(crate) id: i64,
    /// Short name, such as `SAL`.
    pub(crate) name: &'static str,
    pub(crate) full_name: &'static str,
}

/// A row of `contact`, which is a company.
#[derive(Clone, Debug)]
pub(crate) struct Company {
    pub(crate) name: String,
    pub(crate) registered: DateTime<Utc>,
}

/// A row of `person`.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: i64,
    pub(crate) contact: i64,
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) registered: DateTime<Utc>,
    pub(crate) registered_by: i64,
    pub(crate) updated: Option<DateTime<Utc>>,
    pub(crate) updated_by: i64,
    pub(crate) retired: bool,
    pub(crate) no_mailing: bool,
    /// When it was soft-deleted.
    pub(crate) deleted: Option<DateTime<Utc>>,
    /// Rows of `email`, by rank.
    pub(crate) emails: Vec<i64>,
}

/// A row of `email`. Either the person or the contact is 0.
#[derive(Clone, Debug)]
pub(crate) struct Email {
    pub(crate) person: i64,
    pub(crate) contact: i64,
    pub(crate) address: String,
    pub(crate) description: String,
    /// 1 is the primary address.
    pub(crate) rank: i64,
    pub(crate) registered: DateTime<Utc>,
    pub(crate) updated: Option<DateTime<Utc>>,
}

/// A row of `consentperson`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consent {
    pub(crate) id: i64,
    pub(crate) person: i64,
    pub(crate) purpose: i64,
    pub(crate) base: i64,
    pub(crate) source: i64,
    pub(crate) comment: String,
    pub(crate) registered: DateTime<Utc>,
    pub(crate) registered_by: i64,
    pub(crate) updated: Option<DateTime<Utc>>,
    pub(crate) updated_by: i64,
    pub(crate) updated_count: i64,
}

impl Consent {
    /// Whether it stands for consent: any legal base but "Withdrawn".
    pub(crate) fn given(&self) -> bool {
        self.base != lists::WITHDRAWN
    }
}

/// A row of `shipmenttypereservation`: an opt-out from one type of mailing.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) person: i64,
    pub(crate) shipment_type: i64,
    pub(crate) registered: DateTime<Utc>,
    pub(crate) registered_by: i64,
}

/// A row of `mergemovelog`.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    pub(crate) table: i64,
    pub(crate) operation: i64,
    pub(crate) source: i64,
    pub(crate) destination: i64,
    pub(crate) registered: DateTime<Utc>,
    pub(crate) registered_by: i64,
}

/// What a row of the transaction log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Insert,
    Update,
    Delete,
}

impl Deed {
    /// Value of `type` (enum `TrLogTransType`).
    pub(crate) fn code(self) -> i64 {
        match self {
            Deed::Insert => 4_352,
            Deed::Update => 4_608,
            Deed::Delete => 4_864,
        }
    }
}

/// A row of `traveltransactionlog`.
#[derive(Clone, Debug)]
pub(crate) struct LogRow {
    pub(crate) id: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) deed: Deed,
    pub(crate) by: i64,
    pub(crate) table: i64,
    pub(crate) record: i64,
    pub(crate) flags: i64,
}

/// Numbers for new rows, table by table.
#[derive(Debug, Default)]
struct Sequences {
    person: i64,
    contact: i64,
    email: i64,
    consent: i64,
    reservation: i64,
    merge: i64,
    log: i64,
}

fn next(sequence: &mut i64) -> i64 {
    *sequence += 1;
    *sequence
}

/// The state of the tenant.
#[derive(Debug)]
pub(crate) struct State {
    /// Port of the listener.
    pub(crate) port: u16,
    /// Such as `Cust40001`.
    pub(crate) custid: String,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    pub(crate) auth: Auth,
    pub(crate) webhooks: Webhooks,
    pub(crate) associates: Vec<Associate>,
    pub(crate) contacts: BTreeMap<i64, Company>,
    pub(crate) persons: BTreeMap<i64, Person>,
    pub(crate) emails: BTreeMap<i64, Email>,
    pub(crate) consents: BTreeMap<i64, Consent>,
    pub(crate) reservations: BTreeMap<i64, Reservation>,
    pub(crate) merges: BTreeMap<i64, Merge>,
    pub(crate) log: VecDeque<LogRow>,
    lists: [Vec<Item>; 3],
    pub(crate) shipment_types: Vec<Item>,
    /// Lower-cased address to rows of `email`.
    by_address: HashMap<String, Vec<i64>>,
    /// Person and purpose to the row of `consentperson`.
    by_purpose: BTreeMap<(i64, i64), i64>,
    /// Person and type to the row of `shipmenttypereservation`.
    by_type: BTreeMap<(i64, i64), i64>,
    /// Soft-deleted persons by when.
    bin: BTreeSet<(DateTime<Utc>, i64)>,
    sequences: Sequences,
    clock: Arc<Clock>,
}

impl State {
    pub(crate) fn new(port: u16, custid: &str, clock: Arc<Clock>, auth: Auth) -> State {
        let staff = [
            (1, "ADM", ADMINISTRATOR),
            (12, "SAL", SALES),
            (14, "MAR", MARKETING),
            (70, "SRV", SERVICE),
            (77, "SYNC", API_USER),
        ];
        State {
            port,
            custid: custid.to_owned(),
            settings: Settings::default(),
            faults: Faults::default(),
            calls: Calls::default(),
            auth,
            webhooks: Webhooks::default(),
            associates: staff
                .into_iter()
                .map(|(id, name, full_name)| Associate {
                    id,
                    name,
                    full_name,
                })
                .collect(),
            contacts: BTreeMap::new(),
            persons: BTreeMap::new(),
            emails: BTreeMap::new(),
            consents: BTreeMap::new(),
            reservations: BTreeMap::new(),
            merges: BTreeMap::new(),
            log: VecDeque::new(),
            lists: [Kind::Purpose, Kind::Base, Kind::Source].map(lists::built_in),
            shipment_types: lists::shipment_types(),
            by_address: HashMap::new(),
            by_purpose: BTreeMap::new(),
            by_type: BTreeMap::new(),
            bin: BTreeSet::new(),
            sequences: Sequences::default(),
            clock,
        }
    }

    /// The tenant's clock: the sandbox's and its own skew.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let now = self.clock.now();
        let skew = self.faults.lasting(|fault| match fault {
            Fault::ClockSkew { seconds } => Some(*seconds),
            _ => None,
        });
        let moved = skew
            .and_then(TimeDelta::try_seconds)
            .and_then(|skew| now.checked_add_signed(skew));
        moved.unwrap_or(now)
    }

    /// Now, as rows store it.
    pub(crate) fn stamp(&self) -> DateTime<Utc> {
        clock::whole_second(self.now())
    }

    pub(crate) fn items(&self, kind: Kind) -> &[Item] {
        &self.lists[kind as usize]
    }

    pub(crate) fn items_mut(&mut self, kind: Kind) -> &mut Vec<Item> {
        &mut self.lists[kind as usize]
    }

    pub(crate) fn item(&self, kind: Kind, id: i64) -> Option<&Item> {
        self.items(kind).iter().find(|item| item.id == id)
    }

    /// The item with this key, as the tenant compares keys.
    pub(crate) fn item_by_key(&self, kind: Kind, key: &str) -> Option<&Item> {
        self.items(kind).iter().find(|item| {
            let shown = item.shown_key(kind, self.settings.legacy_keys);
            shown == key || (self.settings.keys_ignore_case && shown.eq_ignore_ascii_case(key))
        })
    }

    pub(crate) fn associate(&self, id: i64) -> Option<&Associate> {
        self.associates.iter().find(|associate| associate.id == id)
    }

    /// Number of the associate with this full name.
    pub(crate) fn associate_named(&self, full_name: &str) -> Option<i64> {
        let mut all = self.associates.iter();
        all.find(|associate| associate.full_name == full_name)
            .map(|associate| associate.id)
    }

    /// A person that is not in the recycle bin.
    pub(crate) fn live_person(&self, id: i64) -> Option<&Person> {
        self.persons
            .get(&id)
            .filter(|person| person.deleted.is_none())
    }

    pub(crate) fn consent_of(&self, person: i64, purpose: i64) -> Option<&Consent> {
        self.by_purpose
            .get(&(person, purpose))
            .and_then(|id| self.consents.get(id))
    }

    /// Rows of `consentperson` of a person, by purpose.
    pub(crate) fn consents_of(&self, person: i64) -> impl Iterator<Item = &Consent> {
        self.by_purpose
            .range((person, i64::MIN)..=(person, i64::MAX))
            .filter_map(|(_, id)| self.consents.get(id))
    }

    /// Rows of `shipmenttypereservation` of a person, by type.
    pub(crate) fn reservations_of(&self, person: i64) -> impl Iterator<Item = (i64, &Reservation)> {
        self.by_type
            .range((person, i64::MIN)..=(person, i64::MAX))
            .filter_map(|(_, id)| Some((*id, self.reservations.get(id)?)))
    }

    /// Rows of `email` with this address, in any case.
    pub(crate) fn emails_with(&self, address: &str) -> &[i64] {
        let found = self.by_address.get(&address.trim().to_lowercase());
        found.map_or(&[], Vec::as_slice)
    }

    /// Soft-deleted persons whose time in the bin ended before `until`.
    pub(crate) fn overdue(&self, until: DateTime<Utc>) -> Vec<i64> {
        let due = self.bin.iter().take_while(|(at, _)| *at <= until);
        due.map(|(_, id)| *id).collect()
    }

    pub(crate) fn put_company(&mut self, name: String, registered: DateTime<Utc>) -> i64 {
        let id = next(&mut self.sequences.contact);
        self.contacts.insert(id, Company { name, registered });
        id
    }

    /// Puts a new person down, without addresses.
    pub(crate) fn put_person(&mut self, person: Person) -> i64 {
        let id = next(&mut self.sequences.person);
        self.persons.insert(id, Person { id, ..person });
        id
    }

    /// Puts an e-mail row down and lists it with its person.
    pub(crate) fn put_email(&mut self, email: Email) -> i64 {
        let id = next(&mut self.sequences.email);
        let key = email.address.trim().to_lowercase();
        self.by_address.entry(key).or_default().push(id);
        if let Some(person) = self.persons.get_mut(&email.person) {
            person.emails.push(id);
        }
        self.emails.insert(id, email);
        id
    }

    /// Changes an e-mail row in place.
    pub(crate) fn readdress(
        &mut self,
        id: i64,
        address: String,
        description: String,
        now: DateTime<Utc>,
    ) {
        let key = address.trim().to_lowercase();
        let Some(row) = self.emails.get_mut(&id) else {
            return;
        };
        let before = row.address.trim().to_lowercase();
        row.address = address;
        row.description = description;
        row.updated = Some(now);
        if let Some(rows) = self.by_address.get_mut(&before) {
            rows.retain(|other| *other != id);
            if rows.is_empty() {
                self.by_address.remove(&before);
            }
        }
        self.by_address.entry(key).or_default().push(id);
    }

    pub(crate) fn drop_email(&mut self, id: i64) {
        let Some(email) = self.emails.remove(&id) else {
            return;
        };
        if let Some(person) = self.persons.get_mut(&email.person) {
            person.emails.retain(|other| *other != id);
        }
        let key = email.address.trim().to_lowercase();
        if let Some(rows) = self.by_address.get_mut(&key) {
            rows.retain(|other| *other != id);
            if rows.is_empty() {
                self.by_address.remove(&key);
            }
        }
    }

    /// Puts a consent row down; its number is given here.
    pub(crate) fn put_consent(&mut self, consent: Consent) -> i64 {
        let id = next(&mut self.sequences.consent);
        self.by_purpose
            .insert((consent.person, consent.purpose), id);
        self.consents.insert(id, Consent { id, ..consent });
        id
    }

    pub(crate) fn drop_consent(&mut self, id: i64) -> Option<Consent> {
        let consent = self.consents.remove(&id)?;
        self.by_purpose.remove(&(consent.person, consent.purpose));
        Some(consent)
    }

    /// Gives a consent row to another person.
    pub(crate) fn move_consent(&mut self, id: i64, person: i64) {
        if let Some(consent) = self.consents.get_mut(&id) {
            self.by_purpose.remove(&(consent.person, consent.purpose));
            consent.person = person;
            self.by_purpose.insert((person, consent.purpose), id);
        }
    }

    pub(crate) fn put_reservation(&mut self, reservation: Reservation) -> i64 {
        let id = next(&mut self.sequences.reservation);
        self.by_type
            .insert((reservation.person, reservation.shipment_type), id);
        self.reservations.insert(id, reservation);
        id
    }

    pub(crate) fn drop_reservation(&mut self, id: i64) {
        if let Some(row) = self.reservations.remove(&id) {
            self.by_type.remove(&(row.person, row.shipment_type));
        }
    }

    pub(crate) fn put_merge(&mut self, merge: Merge) {
        let id = next(&mut self.sequences.merge);
        self.merges.insert(id, merge);
    }

    /// Writes a row of the transaction log.
    pub(crate) fn put_log(&mut self, row: &LogRow) {
        if self.log.len() >= MAX_LOG_ROWS {
            self.log.pop_front();
        }
        let id = next(&mut self.sequences.log);
        self.log.push_back(LogRow { id, ..row.clone() });
    }

    /// Marks a person as soft-deleted or takes the mark away.
    pub(crate) fn mark_deleted(&mut self, id: i64, at: Option<DateTime<Utc>>) {
        let Some(person) = self.persons.get_mut(&id) else {
            return;
        };
        if let Some(before) = person.deleted {
            self.bin.remove(&(before, id));
        }
        person.deleted = at;
        if let Some(at) = at {
            self.bin.insert((at, id));
        }
    }

    /// Removes a person with all that hangs on it; gives the consents that were there.
    pub(crate) fn drop_person(&mut self, id: i64) -> Vec<Consent> {
        self.mark_deleted(id, None);
        let emails = self.persons.get(&id).map(|person| person.emails.clone());
        for email in emails.unwrap_or_default() {
            self.drop_email(email);
        }
        let consents: Vec<i64> = self.consents_of(id).map(|consent| consent.id).collect();
        let consents = consents
            .into_iter()
            .filter_map(|consent| self.drop_consent(consent))
            .collect();
        let reservations: Vec<i64> = self.reservations_of(id).map(|(row, _)| row).collect();
        for row in reservations {
            self.drop_reservation(row);
        }
        self.persons.remove(&id);
        consents
    }
}
