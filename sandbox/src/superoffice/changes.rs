//! What happens to the rows when somebody does something, with all that follows from it.
//!
//! The web API and the acts of people both come through here. What follows a consent change is, besides the row itself:
//! the notification `person.consented` or `person.unconsented`; for E-marketing the mirror of it on the person
//! (`nomailing`), which counts as a change of the person; and a row of the transaction log.

use chrono::{DateTime, Utc};

use super::errors::Trouble;
use super::lists::{self, EMARKETING};
use super::settings::PersonBump;
use super::state::{
    CONSENT_TABLE, Consent, Deed, EMAIL_TABLE, Email, LogRow, PERSON_TABLE, Person,
    RESERVATION_TABLE, Reservation, State,
};

/// Flag of the transaction log: written by an import (enum `TTLFlags`).
const IMPORTED: i64 = 1;
/// Flag of the transaction log: written by a mass operation.
const MASS: i64 = 2;
/// Most addresses that one person has.
pub(crate) const MAX_ADDRESSES: usize = 50;
/// Longest comment, in characters (dictionary: `consentperson.comment`).
pub(crate) const MAX_COMMENT: usize = 255;

/// Columns of `consentperson` that a change of a row touches, as notifications list them.
const CONSENT_COLUMNS: [&str; 6] = [
    "consentperson_id",
    "legalBase_id",
    "updated",
    "updated_associate_id",
    "consentSource_id",
    "comment",
];

/// Who changes something, and how it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author {
    pub(crate) associate: i64,
    silent: bool,
    flags: i64,
}

impl Author {
    /// A person or an app at work, one record at a time.
    pub(crate) fn of(associate: i64) -> Author {
        Author {
            associate,
            silent: false,
            flags: 0,
        }
    }

    /// Whether it is an import.
    pub(super) fn imports(&self) -> bool {
        self.flags == IMPORTED
    }

    /// An import; `silent`: it notifies nobody.
    pub(crate) fn import(associate: i64, silent: bool) -> Author {
        Author {
            associate,
            silent,
            flags: IMPORTED,
        }
    }

    /// A bulk update; `silent`: it notifies nobody.
    pub(crate) fn bulk(associate: i64, silent: bool) -> Author {
        Author {
            associate,
            silent,
            flags: MASS,
        }
    }
}

/// What a consent is to become.
#[derive(Clone, Debug)]
pub(crate) struct ConsentValues {
    pub(crate) purpose: i64,
    pub(crate) base: i64,
    pub(crate) source: i64,
    pub(crate) comment: String,
}

impl State {
    pub(super) fn write_log(&mut self, deed: Deed, table: i64, record: i64, author: &Author) {
        let at = self.stamp();
        self.put_log(&LogRow {
            id: 0,
            at,
            deed,
            by: author.associate,
            table,
            record,
            flags: author.flags,
        });
    }

    /// Notes a change of a list item in the transaction log.
    pub(crate) fn log_item(&mut self, kind: lists::Kind, inserted: bool, id: i64, author: &Author) {
        let deed = if inserted { Deed::Insert } else { Deed::Update };
        self.write_log(deed, kind.table_number(), id, author);
    }

    pub(super) fn notify(&mut self, event: &str, person: i64, changes: &[&str], author: &Author) {
        if !author.silent {
            super::webhooks::person_event(self, event, person, changes, author.associate);
        }
    }

    /// A person that can be changed.
    pub(crate) fn changeable(&self, person: i64) -> Result<&Person, Trouble> {
        self.live_person(person).ok_or_else(|| {
            let mut trouble = Trouble::not_found("Person", person);
            trouble.status = self.settings.unknown_person_status;
            trouble
        })
    }

    /// Sets a consent: a new row, or the row that is there. Returns whether anything differs afterwards.
    pub(crate) fn set_consent(
        &mut self,
        person: i64,
        values: ConsentValues,
        author: &Author,
    ) -> Result<bool, Trouble> {
        self.changeable(person)?;
        if values.comment.chars().count() > MAX_COMMENT {
            return Err(Trouble::bad("Comment is longer than 255 characters"));
        }
        let now = self.stamp();
        let purpose = values.purpose;
        let given = values.base != lists::WITHDRAWN;
        let (had, changed) = match self.consent_of(person, purpose) {
            None => {
                let id = self.put_consent(Consent {
                    id: 0,
                    person,
                    purpose,
                    base: values.base,
                    source: values.source,
                    comment: values.comment,
                    registered: now,
                    registered_by: author.associate,
                    updated: None,
                    updated_by: 0,
                    updated_count: 0,
                });
                self.write_log(Deed::Insert, CONSENT_TABLE, id, author);
                (false, true)
            }
            Some(row) => {
                let (id, had) = (row.id, row.given());
                let equal = row.base == values.base
                    && row.source == values.source
                    && row.comment == values.comment;
                if equal && !self.settings.equal_write_moves_updated {
                    return Ok(false);
                }
                if let Some(row) = self.consents.get_mut(&id) {
                    row.base = values.base;
                    row.source = values.source;
                    row.comment = values.comment;
                    row.updated = Some(now);
                    row.updated_by = author.associate;
                    row.updated_count += 1;
                }
                self.write_log(Deed::Update, CONSENT_TABLE, id, author);
                (had, !equal)
            }
        };
        let event = if given {
            "person.consented"
        } else {
            "person.unconsented"
        };
        self.notify(event, person, &CONSENT_COLUMNS, author);
        self.mirror(person, purpose, had, given, author);
        Ok(changed)
    }

    /// Lays a consent down as it was at an earlier time, which nothing follows from.
    pub(crate) fn lay_consent(
        &mut self,
        person: i64,
        values: ConsentValues,
        at: DateTime<Utc>,
        by: i64,
    ) {
        let at = crate::clock::whole_second(at);
        let found = self
            .consent_of(person, values.purpose)
            .map(|consent| consent.id);
        let given = values.base != lists::WITHDRAWN;
        let purpose = values.purpose;
        match found.and_then(|id| self.consents.get_mut(&id)) {
            Some(row) => {
                row.base = values.base;
                row.source = values.source;
                row.comment = values.comment;
                row.updated = Some(at);
                row.updated_by = by;
                row.updated_count += 1;
            }
            None => {
                self.put_consent(Consent {
                    id: 0,
                    person,
                    purpose,
                    base: values.base,
                    source: values.source,
                    comment: values.comment,
                    registered: at,
                    registered_by: by,
                    updated: None,
                    updated_by: 0,
                    updated_count: 0,
                });
            }
        }
        if purpose == EMARKETING
            && let Some(person) = self.persons.get_mut(&person)
        {
            person.no_mailing = !given;
        }
    }

    /// Removes a consent, or withdraws it if that is what removing means here.
    pub(crate) fn remove_consent(
        &mut self,
        person: i64,
        purpose: i64,
        author: &Author,
    ) -> Result<bool, Trouble> {
        self.changeable(person)?;
        let Some(row) = self.consent_of(person, purpose).cloned() else {
            return Ok(false);
        };
        if self.settings.remove_withdraws {
            let values = ConsentValues {
                purpose,
                base: lists::WITHDRAWN,
                source: row.source,
                comment: row.comment,
            };
            return self.set_consent(person, values, author);
        }
        self.delete_consent_row(row.id, author);
        Ok(true)
    }

    /// Deletes a consent row by its number.
    pub(crate) fn delete_consent_row(&mut self, id: i64, author: &Author) -> bool {
        let Some(row) = self.drop_consent(id) else {
            return false;
        };
        self.write_log(Deed::Delete, CONSENT_TABLE, id, author);
        self.notify("person.unconsented", row.person, &[], author);
        self.mirror(row.person, row.purpose, row.given(), false, author);
        true
    }

    /// Carries a consent change over to the person.
    fn mirror(&mut self, person: i64, purpose: i64, had: bool, has: bool, author: &Author) {
        let flips = purpose == EMARKETING && had != has;
        if flips && let Some(row) = self.persons.get_mut(&person) {
            row.no_mailing = !has;
        }
        let bumps = match self.settings.person_bump {
            PersonBump::OnFlip => flips,
            PersonBump::Always => true,
            PersonBump::Never => false,
        };
        if bumps {
            let changes: &[&str] = if flips { &["nomailing"] } else { &[] };
            self.bump(person, changes, author);
        }
    }

    /// Moves a person's `updated` and tells of the change.
    pub(super) fn bump(&mut self, person: i64, changes: &[&str], author: &Author) {
        let now = self.stamp();
        if let Some(row) = self.persons.get_mut(&person) {
            row.updated = Some(now);
            row.updated_by = author.associate;
        }
        self.write_log(Deed::Update, PERSON_TABLE, person, author);
        let mut all = changes.to_vec();
        all.extend(["updated", "updated_associate_id"]);
        self.notify("person.changed", person, &all, author);
    }

    /// Makes these the addresses of a person, the first being the primary one. Rows keep their numbers place by place.
    pub(crate) fn set_addresses(
        &mut self,
        person: i64,
        addresses: Vec<(String, String)>,
        author: &Author,
    ) -> Result<(), Trouble> {
        let rows = self.changeable(person)?.emails.clone();
        if addresses.len() > MAX_ADDRESSES {
            return Err(Trouble::bad("too many e-mail addresses"));
        }
        let now = self.stamp();
        let count = addresses.len();
        for (place, (address, description)) in addresses.into_iter().enumerate() {
            let Some(id) = rows.get(place) else {
                let id = self.put_email(Email {
                    person,
                    contact: 0,
                    address,
                    description,
                    rank: place as i64 + 1,
                    registered: now,
                    updated: None,
                });
                self.write_log(Deed::Insert, EMAIL_TABLE, id, author);
                continue;
            };
            let same = self
                .emails
                .get(id)
                .is_some_and(|row| row.address == address && row.description == description);
            if !same {
                self.readdress(*id, address, description, now);
                self.write_log(Deed::Update, EMAIL_TABLE, *id, author);
            }
        }
        for id in rows.iter().skip(count) {
            self.drop_email(*id);
            self.write_log(Deed::Delete, EMAIL_TABLE, *id, author);
        }
        Ok(())
    }

    /// Sets name and employment of a person; returns whether anything changed.
    pub(crate) fn set_person(
        &mut self,
        person: i64,
        first: &str,
        last: &str,
        retired: bool,
        author: &Author,
    ) -> Result<bool, Trouble> {
        let row = self.changeable(person)?;
        let changes: Vec<&str> = [
            ("firstname", row.first != first),
            ("lastname", row.last != last),
            ("retired", row.retired != retired),
        ]
        .into_iter()
        .filter_map(|(column, changed)| changed.then_some(column))
        .collect();
        if changes.is_empty() {
            return Ok(false);
        }
        if let Some(row) = self.persons.get_mut(&person) {
            first.clone_into(&mut row.first);
            last.clone_into(&mut row.last);
            row.retired = retired;
        }
        self.bump(person, &changes, author);
        Ok(true)
    }

    /// Turns mailings to a person off or on as a whole.
    pub(crate) fn set_no_mailing(
        &mut self,
        person: i64,
        off: bool,
        author: &Author,
    ) -> Result<(), Trouble> {
        if self.changeable(person)?.no_mailing == off {
            return Ok(());
        }
        if off && self.settings.no_mailing_withdraws {
            // Preferences `NoMailings_*` of the section GDPR name these values.
            let values = ConsentValues {
                purpose: EMARKETING,
                base: lists::WITHDRAWN,
                source: lists::USER,
                comment: String::new(),
            };
            self.set_consent(person, values, author)?;
            if let Some(row) = self.persons.get_mut(&person) {
                row.no_mailing = true;
            }
            return Ok(());
        }
        if let Some(row) = self.persons.get_mut(&person) {
            row.no_mailing = off;
        }
        self.bump(person, &["nomailing"], author);
        Ok(())
    }

    /// Makes these the types of mailing that a person does not want.
    pub(crate) fn set_reservations(
        &mut self,
        person: i64,
        unwanted: &[i64],
        author: &Author,
    ) -> Result<(), Trouble> {
        self.changeable(person)?;
        let have: Vec<(i64, i64)> = self
            .reservations_of(person)
            .map(|(id, row)| (id, row.shipment_type))
            .collect();
        for (id, shipment_type) in &have {
            if !unwanted.contains(shipment_type) {
                self.drop_reservation(*id);
                self.write_log(Deed::Delete, RESERVATION_TABLE, *id, author);
            }
        }
        let registered = self.stamp();
        for shipment_type in unwanted {
            if have.iter().any(|(_, other)| other == shipment_type) {
                continue;
            }
            let id = self.put_reservation(Reservation {
                person,
                shipment_type: *shipment_type,
                registered,
                registered_by: author.associate,
            });
            self.write_log(Deed::Insert, RESERVATION_TABLE, id, author);
        }
        Ok(())
    }
}
