//! Lays down a generated population as records, with the history that it has.
//!
//! Rows are created in the order of their creation dates, so that ids and dates mostly agree. The `created` history rows
//! of this past are left out: tracking was not on then.

use chrono::{DateTime, Utc};

use super::schema::{
    ACCOUNT, ASCEND_ID, CONTACT, DONOR_ID, EMAIL, INDICATOR, INDICATOR_VALUE, MODIFIED,
    MODIFIED_BY, OPT_OUT, PERMISSION, PREFERENCES, STAMP,
};
use super::state::{AGENT, DATA_LOAD, RECORDS, SPECIALIST, State};
use super::table::Cell;
use crate::System;
use crate::clock::whole_second;
use crate::people::Person;

/// Service indicator values of every Ascend org: name, code, description.
const INDICATOR_VALUES: [(&str, &str, &str); 4] = [
    ("No Contact", "NC", "Do not contact in any way"),
    ("No Email", "NE", "Do not send e-mail"),
    (
        "No Email Solicitation",
        "NES",
        "Do not ask for gifts by e-mail",
    ),
    ("No Solicitation", "NS", "Do not ask for gifts"),
];

/// Contacts that share an account.
const CONTACTS_PER_ACCOUNT: usize = 100;

/// One contact to lay down.
pub(crate) struct Seedling<'a> {
    first: &'a str,
    last: &'a str,
    pub(crate) address: Option<&'a str>,
    pub(crate) created: DateTime<Utc>,
    modified: DateTime<Utc>,
    pub(crate) opted_out: bool,
    pub(crate) opted_out_at: Option<DateTime<Utc>>,
    /// Set by staff, not by the person or an integration.
    by_staff: bool,
    preferences: &'a [bool],
    link: Option<&'a str>,
}

/// The contacts of an org in the order in which they are laid down; the first gets the number 1 in its id.
pub(crate) fn seedlings(system: System, people: &[Person]) -> Vec<Seedling<'_>> {
    let mut all = Vec::new();
    for person in people {
        match system {
            System::Salesforce => all.extend(person.salesforce.iter().map(|contact| Seedling {
                first: &person.first,
                last: &person.last,
                address: contact.address.as_deref(),
                created: contact.created,
                modified: contact.modified,
                opted_out: contact.opted_out,
                opted_out_at: contact.opted_out_at,
                by_staff: contact.opted_out_by_agent,
                preferences: &contact.preferences,
                link: contact.ascend_id.as_deref(),
            })),
            System::Ascend => all.extend(person.ascend.iter().map(|contact| Seedling {
                first: &person.first,
                last: &person.last,
                address: contact.address.as_deref(),
                created: contact.created,
                modified: contact.modified,
                opted_out: contact.opted_out,
                opted_out_at: contact.opted_out_at,
                by_staff: true,
                preferences: &[],
                link: contact.donor_id.as_deref(),
            })),
        }
    }
    all.sort_by_key(|seedling| seedling.created);
    all
}

impl State {
    /// Lays down the catalogue rows that every org has, and the population.
    pub(crate) fn seed(&mut self, people: &[Person]) {
        let system = self.system;
        let load = self.user_named(DATA_LOAD).unwrap_or_default();
        let started = self.now() - chrono::TimeDelta::days(1_900);
        let mut no_email = None;
        if self.find_table(INDICATOR_VALUE).is_some() {
            for (name, code, description) in INDICATOR_VALUES {
                let id = self.lay(
                    INDICATOR_VALUE,
                    &[
                        ("Name", Cell::text(name)),
                        ("ucinn_ascendv2__Code__c", Cell::text(code)),
                        (
                            "ucinn_ascendv2__Service_Indicator_Description__c",
                            Cell::text(description),
                        ),
                    ],
                    (&load, started),
                    (&load, started),
                );
                if code == "NE" {
                    no_email = id;
                }
            }
        }
        let hand = match system {
            System::Salesforce => SPECIALIST,
            System::Ascend => RECORDS,
        };
        let hand = self.user_named(hand).unwrap_or_default();
        let agent = self.user_named(AGENT).unwrap_or_default();
        let mut past = Vec::new();
        let mut account = None;
        for (number, one) in seedlings(system, people).into_iter().enumerate() {
            if number % CONTACTS_PER_ACCOUNT == 0 {
                let name = Cell::text(&format!(
                    "Constituents {}",
                    number / CONTACTS_PER_ACCOUNT + 1
                ));
                let by = (load.as_str(), one.created);
                account = self.lay(ACCOUNT, &[("Name", name)], by, by);
            }
            let mut values = vec![
                ("FirstName", Cell::text(one.first)),
                ("LastName", Cell::text(one.last)),
                ("Email", Cell::optional(one.address)),
                (OPT_OUT, Cell::Bool(one.opted_out)),
                ("AccountId", Cell::optional(account.as_deref())),
            ];
            match system {
                System::Salesforce => {
                    values.push((ASCEND_ID, Cell::optional(one.link)));
                    values.extend(
                        PREFERENCES
                            .into_iter()
                            .zip(one.preferences.iter().map(|on| Cell::Bool(*on))),
                    );
                }
                System::Ascend => {
                    values.push((DONOR_ID, Cell::optional(one.link)));
                    values.push((PERMISSION, Cell::Bool(!one.opted_out)));
                }
            }
            let last = match (one.opted_out_at, one.by_staff) {
                (Some(_), true) => &hand,
                (Some(_), false) => &agent,
                (None, _) => &load,
            };
            let Some(id) = self.lay(CONTACT, &values, (&load, one.created), (last, one.modified))
            else {
                continue;
            };
            if let Some(at) = one.opted_out_at {
                past.push((at, id.clone(), one.opted_out, last.clone()));
            }
            if system == System::Ascend {
                self.lay_package_rows(&id, &one, no_email.as_deref(), &load);
            }
        }
        past.sort();
        for (at, id, value, by) in past {
            let values = [
                ("Field", Cell::text(OPT_OUT)),
                ("DataType", Cell::text("Boolean")),
                ("OldValue", Cell::Bool(!value)),
                ("NewValue", Cell::Bool(value)),
            ];
            self.add_history(&id, &values, &by, whole_second(at), None);
        }
    }

    /// The e-mail row and, for the opted out, the service indicator of one Ascend contact.
    fn lay_package_rows(
        &mut self,
        contact: &str,
        one: &Seedling<'_>,
        no_email: Option<&str>,
        by: &str,
    ) {
        let start = Cell::Day(one.created.date_naive());
        if let Some(address) = one.address {
            self.lay(
                EMAIL,
                &[
                    ("ucinn_ascendv2__Contact__c", Cell::text(contact)),
                    ("ucinn_ascendv2__Email_Address__c", Cell::text(address)),
                    ("ucinn_ascendv2__Type__c", Cell::text("Personal")),
                    ("ucinn_ascendv2__Status__c", Cell::text("Current")),
                    ("ucinn_ascendv2__Is_Preferred__c", Cell::Bool(true)),
                    ("ucinn_ascendv2__Start_Date__c", start),
                ],
                (by, one.created),
                (by, one.created),
            );
        }
        if one.opted_out {
            let at = one.opted_out_at.unwrap_or(one.created);
            self.lay(
                INDICATOR,
                &[
                    ("ucinn_ascendv2__Contact__c", Cell::text(contact)),
                    (
                        "ucinn_ascendv2__Service_Indicator_Value__c",
                        Cell::optional(no_email),
                    ),
                    ("ucinn_ascendv2__Code_Formula__c", Cell::text("NE")),
                    ("ucinn_ascendv2__Is_Active__c", Cell::Bool(true)),
                    ("ucinn_ascendv2__Start_Date__c", Cell::Day(at.date_naive())),
                ],
                (by, at),
                (by, at),
            );
        }
    }

    /// Puts one row down as it is, created and last modified by and at the given.
    fn lay(
        &mut self,
        object: &str,
        values: &[(&str, Cell)],
        created: (&str, DateTime<Utc>),
        modified: (&str, DateTime<Utc>),
    ) -> Option<String> {
        let table = self.find_table(object)?;
        let id = self.tables[table].next_id();
        let mut cells = self.blank(table, &id, created.0, created.1);
        for (name, value) in values {
            if let Some(position) = self.tables[table].object.position(name) {
                cells[position] = value.clone();
            }
        }
        let at = Cell::Time(whole_second(modified.1));
        cells[MODIFIED] = at.clone();
        cells[STAMP] = at;
        cells[MODIFIED_BY] = Cell::text(modified.0);
        self.put_new(table, cells.into(), None);
        Some(id)
    }
}
