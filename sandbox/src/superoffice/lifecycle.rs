//! Persons come and go: made, soft-deleted, restored, purged, merged.

use chrono::{DateTime, TimeDelta, Utc};

use super::changes::{Author, ConsentValues};
use super::errors::Trouble;
use super::lists::{self, EMARKETING, STORE};
use super::state::{
    CONSENT_TABLE, Consent, Deed, EMAIL_TABLE, Email, Merge, PERSON_TABLE, Person, SERVICE, State,
};

/// `mergemovelog.operation` of a merge; the vendor does not publish the codes.
const MERGE: i64 = 1;

/// What a new person is.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersonValues {
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) contact: i64,
    /// Primary address first, with its description.
    pub(crate) addresses: Vec<(String, String)>,
    pub(crate) retired: bool,
    /// When it was made; now when absent.
    pub(crate) created: Option<DateTime<Utc>>,
}

/// How a merge is to be done (OpenAPI: `Person/{id}/MergeTo/{id}`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergeHow {
    pub(crate) delete_source: bool,
    pub(crate) replace_empty_fields: bool,
}

impl State {
    /// Creates a person with its addresses and the consent that new persons get.
    pub(crate) fn create_person(&mut self, values: PersonValues, author: &Author) -> i64 {
        let past = values.created.map(crate::clock::whole_second);
        let registered = past.unwrap_or_else(|| self.stamp());
        let person = self.put_person(Person {
            id: 0,
            contact: values.contact,
            first: values.first,
            last: values.last,
            registered,
            registered_by: author.associate,
            updated: None,
            updated_by: 0,
            retired: values.retired,
            no_mailing: true,
            deleted: None,
            emails: Vec::new(),
        });
        if past.is_none() {
            self.write_log(Deed::Insert, PERSON_TABLE, person, author);
        }
        for ((address, description), rank) in values.addresses.into_iter().zip(1..) {
            let email = self.put_email(Email {
                person,
                contact: 0,
                address,
                description,
                rank,
                registered,
                updated: None,
            });
            if past.is_none() {
                self.write_log(Deed::Insert, EMAIL_TABLE, email, author);
            }
        }
        if self.settings.consent_for_new {
            let source = if author.imports() {
                lists::IMPORT
            } else {
                lists::USER
            };
            let consent = ConsentValues {
                purpose: STORE,
                base: lists::LEGITIMATE,
                source,
                comment: String::new(),
            };
            self.lay_consent(person, consent, registered, author.associate);
            if past.is_none()
                && let Some(id) = self.consent_of(person, STORE).map(|row| row.id)
            {
                self.write_log(Deed::Insert, CONSENT_TABLE, id, author);
            }
        }
        if past.is_none() {
            self.notify("person.created", person, &["person_id"], author);
        }
        person
    }

    /// Puts a person into the recycle bin. Neither this nor what follows is in the transaction log.
    pub(crate) fn soft_delete(&mut self, person: i64, author: &Author) -> Result<(), Trouble> {
        self.changeable(person)?;
        let now = self.stamp();
        self.mark_deleted(person, Some(now));
        self.notify("person.softdeleted", person, &["DeletedDate"], author);
        Ok(())
    }

    /// Takes a person out of the recycle bin.
    pub(crate) fn restore(&mut self, person: i64, author: &Author) -> Result<(), Trouble> {
        let deleted = self
            .persons
            .get(&person)
            .is_some_and(|row| row.deleted.is_some());
        if !deleted {
            return Err(Trouble::not_found("Deleted person", person));
        }
        self.mark_deleted(person, None);
        self.notify("person.changed", person, &["DeletedDate"], author);
        Ok(())
    }

    /// Removes a person for good, with addresses, consents and opt-outs.
    pub(crate) fn purge(&mut self, person: i64, author: &Author) -> Result<(), Trouble> {
        if !self.persons.contains_key(&person) {
            return Err(Trouble::not_found("Person", person));
        }
        self.notify("person.deleted", person, &[], author);
        self.drop_person(person);
        Ok(())
    }

    /// Purges what has been in the recycle bin for too long.
    pub(crate) fn empty_bin(&mut self) {
        let Some(kept) = TimeDelta::try_days(self.settings.retention_days) else {
            return;
        };
        let author = Author::of(self.associate_named(SERVICE).unwrap_or(0));
        for person in self.overdue(self.stamp() - kept) {
            self.notify("person.deleted", person, &[], &author);
            self.drop_person(person);
        }
    }

    /// Merges a person into another one.
    pub(crate) fn merge(
        &mut self,
        source: i64,
        destination: i64,
        how: MergeHow,
        author: &Author,
    ) -> Result<(), Trouble> {
        if source == destination {
            return Err(Trouble::bad("a person cannot be merged with itself"));
        }
        let from = self.changeable(source)?.clone();
        let into = self.changeable(destination)?.clone();
        if how.replace_empty_fields {
            let pick = |have: &str, other: &str| {
                if have.is_empty() {
                    other.to_owned()
                } else {
                    have.to_owned()
                }
            };
            let (first, last) = (pick(&into.first, &from.first), pick(&into.last, &from.last));
            if let Some(row) = self.persons.get_mut(&destination) {
                (row.first, row.last) = (first, last);
            }
            if into.emails.is_empty() {
                let addresses = from
                    .emails
                    .iter()
                    .filter_map(|id| self.emails.get(id))
                    .map(|row| (row.address.clone(), row.description.clone()))
                    .collect();
                self.set_addresses(destination, addresses, author)?;
            }
        }
        let consents: Vec<Consent> = self.consents_of(source).cloned().collect();
        for consent in consents {
            self.merge_consent(&consent, destination, author);
        }
        self.bump(destination, &[], author);
        if how.delete_source {
            self.soft_delete(source, author)?;
        } else {
            self.set_person(source, &from.first, &from.last, true, author)?;
        }
        let registered = self.stamp();
        self.put_merge(Merge {
            table: PERSON_TABLE,
            operation: MERGE,
            source,
            destination,
            registered,
            registered_by: author.associate,
        });
        Ok(())
    }

    /// One consent of the source of a merge: moves where the destination has none for its purpose, otherwise stays
    /// behind, unless newer consents win.
    fn merge_consent(&mut self, consent: &Consent, destination: i64, author: &Author) {
        let last = |row: &Consent| row.updated.unwrap_or(row.registered);
        let now = self.stamp();
        match self.consent_of(destination, consent.purpose) {
            None => {
                self.move_consent(consent.id, destination);
                if let Some(row) = self.consents.get_mut(&consent.id) {
                    row.updated = Some(now);
                    row.updated_by = author.associate;
                }
            }
            Some(kept) if self.settings.merge_newer_wins && last(consent) > last(kept) => {
                let id = kept.id;
                if let Some(row) = self.consents.get_mut(&id) {
                    row.base = consent.base;
                    row.source = consent.source;
                    row.comment.clone_from(&consent.comment);
                    row.updated = Some(now);
                    row.updated_by = author.associate;
                }
            }
            Some(_) => return,
        }
        if consent.purpose == EMARKETING
            && let Some(row) = self.persons.get_mut(&destination)
        {
            row.no_mailing = !consent.given();
        }
    }
}
