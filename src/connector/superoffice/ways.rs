//! Which ways to the data a server offers.
//!
//! The archive `dynamic` over consent rows is built from documented grammar, but nobody has shown it
//! as a whole, and old servers lack parts of it. So each way is tried once with a query that finds
//! nothing, and the next best is taken where the server refuses. Trouble is no refusal.

use super::config::{ConsentFeed, Settings};
use super::wire::archive::Query;
use super::wire::{Tenant, filter, rows};
use crate::connector::Fault;
use crate::consent::At;
use chrono_tz::Tz;

/// The archive over any table.
pub const DYNAMIC: &str = "dynamic";
/// The archive of people.
pub const PERSON: &str = "Person";
/// The archive of soft-deleted people.
pub const RECYCLED: &str = "RecyclePerson";
/// The archive from purposes to people.
pub const PURPOSE: &str = "ConsentPurpose";
/// Number of the table of people in the log of merges.
pub const PERSON_TABLE: u32 = 6;

/// 2100-01-01: nothing has changed since.
const FAR_AHEAD: At = At::from_micros(4_102_444_800_000_000);

/// How changes of consent are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consents {
    /// Rows by the archive `dynamic`, and the consents of many people in one call.
    Rows,
    /// Changed rows by the archive `ConsentPurpose`; consents one person at a time.
    Archive,
    /// Consents one person at a time.
    Persons,
}

/// What a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// See [`Consents`].
    pub consents: Consents,
    /// Two times may be joined by `or` in one query.
    pub either: bool,
    /// Dates of people take a time of day.
    pub times: bool,
    /// Changed addresses can be found by their own rows.
    pub emails: bool,
    /// Addresses can be looked up by their own rows, many at once.
    pub addresses: bool,
    /// Soft-deleted people can be listed.
    pub recycled: bool,
    /// Merges can be listed.
    pub merges: bool,
}

impl Ways {
    /// Tries them.
    ///
    /// # Errors
    /// When the server is in trouble.
    pub async fn find(tenant: &Tenant, settings: &Settings) -> Result<Self, Fault> {
        let trial = Trial { tenant, settings };
        let times = trial
            .people(|since| since("personUpdatedDate"), true)
            .await?;
        let (consents, either) = trial.consents(times).await?;
        let either = if let Some(either) = either {
            either
        } else {
            let both = |since: Since<'_>| {
                filter::either(&since("personUpdatedDate"), &since("personRegisteredDate"))
            };
            trial.people(both, times).await?
        };
        let addresses = trial
            .emails(filter::one_of_texts(
                "email.email_address",
                ["nobody@invalid"].into_iter(),
            ))
            .await?;
        let mut ways = Self {
            consents,
            either,
            times,
            addresses,
            emails: false,
            recycled: false,
            merges: false,
        };
        ways.emails = addresses && trial.emails(ways.since("email.updated", settings)).await?;
        ways.recycled = tenant
            .offers(&Query {
                filter: ways.since("personDeletedDate", settings),
                ..recycled(1)
            })
            .await?;
        ways.merges = settings.merge_log
            && tenant
                .offers(&merged(FAR_AHEAD, settings.filter_time_zone, 1))
                .await?;
        Ok(ways)
    }

    /// The filter for what changed since a time far ahead.
    fn since(self, column: &str, settings: &Settings) -> String {
        self.changed_since(column, FAR_AHEAD, settings.filter_time_zone)
    }

    /// The filter for what changed since a time, by a column of a person or of a consent in an archive
    /// of people or purposes. Those columns are documented to take days only, and were seen to take
    /// times.
    pub fn changed_since(self, column: &str, from: At, zone: Tz) -> String {
        if self.times || column.contains('.') {
            filter::since(column, from, zone)
        } else {
            filter::since_day(column, from, zone)
        }
    }

    /// What the operator should know about what is missing.
    pub fn notes(&self, settings: &Settings) -> Vec<String> {
        let mut notes = Vec::new();
        let sweep = settings.sweep_interval.as_secs();
        match self.consents {
            Consents::Rows => {}
            Consents::Archive => notes.push(format!(
                "the server does not list consent rows: changes are found by the archive ConsentPurpose, consents are read one person at a time, and new rows may show only in the sweep every {sweep} s"
            )),
            Consents::Persons => notes.push(format!(
                "the server lists no changes of consent: those that do not touch the person show only in the sweep every {sweep} s, and consents are read one person at a time"
            )),
        }
        if !self.emails {
            notes.push(format!(
                "the server does not list changed addresses: those that do not touch the person show only in the sweep every {sweep} s"
            ));
        }
        if !self.recycled {
            notes.push(format!(
                "the server does not list deleted persons: deletions show only after the sweep every {sweep} s"
            ));
        }
        if settings.merge_log && !self.merges {
            notes.push(
                "the server does not list merges: a merged person counts as deleted".to_owned(),
            );
        }
        notes
    }
}

/// Makes the filter for what changed since far ahead, from the name of a column.
type Since<'a> = &'a dyn Fn(&str) -> String;

/// Queries that find nothing.
struct Trial<'a> {
    tenant: &'a Tenant,
    settings: &'a Settings,
}

impl Trial<'_> {
    /// Whether people can be asked for so.
    async fn people(
        &self,
        filter: impl FnOnce(Since<'_>) -> String,
        times: bool,
    ) -> Result<bool, Fault> {
        let zone = self.settings.filter_time_zone;
        let since = |column: &str| {
            if times {
                filter::since(column, FAR_AHEAD, zone)
            } else {
                filter::since_day(column, FAR_AHEAD, zone)
            }
        };
        let query = Query {
            archive: PERSON,
            select: rows::PERSON,
            filter: filter(&since),
            order: "personId",
            top: 1,
            ..Query::default()
        };
        self.tenant.offers(&query).await
    }

    /// Whether addresses can be asked for so.
    async fn emails(&self, filter: String) -> Result<bool, Fault> {
        let query = Query {
            archive: DYNAMIC,
            select: rows::EMAIL,
            filter,
            order: "email.email_id",
            top: 1,
            ..Query::default()
        };
        self.tenant.offers(&query).await
    }

    /// The best way to consents that is allowed and offered, and whether `or` is, where that shows.
    async fn consents(&self, times: bool) -> Result<(Consents, Option<bool>), Fault> {
        let zone = self.settings.filter_time_zone;
        let wanted = self.settings.consent_feed;
        if matches!(wanted, ConsentFeed::Auto | ConsentFeed::Rows) {
            let updated = filter::since("consentperson.updated", FAR_AHEAD, zone);
            let registered = filter::since("consentperson.registered", FAR_AHEAD, zone);
            let both = filter::either(&updated, &registered);
            for (filter, either) in [(both, true), (updated, false)] {
                let query = Query {
                    archive: DYNAMIC,
                    select: rows::CONSENT,
                    filter,
                    order: "consentperson.consentperson_id",
                    top: 1,
                    ..Query::default()
                };
                if self.tenant.offers(&query).await? {
                    return Ok((Consents::Rows, Some(either)));
                }
            }
            if wanted == ConsentFeed::Rows {
                return Err(refused("rows", "the archive \"dynamic\" over consent rows"));
            }
        }
        if matches!(wanted, ConsentFeed::Auto | ConsentFeed::Archive) {
            let column = "consentPerson/updatedDate";
            let filter = if times {
                filter::since(column, FAR_AHEAD, zone)
            } else {
                filter::since_day(column, FAR_AHEAD, zone)
            };
            if self
                .tenant
                .offers(&Query {
                    filter,
                    ..purposes(1)
                })
                .await?
            {
                return Ok((Consents::Archive, None));
            }
            if wanted == ConsentFeed::Archive {
                return Err(refused("archive", "the archive \"ConsentPurpose\""));
            }
        }
        Ok((Consents::Persons, None))
    }
}

fn refused(word: &str, what: &str) -> Fault {
    Fault::new(
        crate::connector::FaultClass::Auth,
        "consent-feed",
        format!("the server refuses {what}; set consent_feed = \"auto\" instead of \"{word}\""),
    )
}

/// Columns of the changed rows of the archive `ConsentPurpose`.
const PURPOSE_COLUMNS: &[&str] = &["consentPerson/consentPersonId", "consentPerson/personId"];

/// Changed consents by the archive `ConsentPurpose`, without a filter.
pub fn purposes(top: usize) -> Query<'static> {
    Query {
        archive: PURPOSE,
        select: PURPOSE_COLUMNS,
        order: "consentPerson/consentPersonId",
        top,
        ..Query::default()
    }
}

/// Soft-deleted people, whoever deleted them, without a filter.
pub fn recycled(top: usize) -> Query<'static> {
    Query {
        archive: RECYCLED,
        select: &["personId"],
        order: "personId",
        top,
        entities: Some("forAllUsers"),
        ..Query::default()
    }
}

/// Merged people.
pub fn merged(from: At, zone: Tz, top: usize) -> Query<'static> {
    Query {
        archive: DYNAMIC,
        select: rows::MERGE,
        filter: filter::both(
            &filter::since("mergemovelog.registered", from, zone),
            &filter::is("mergemovelog.tableNumber", PERSON_TABLE),
        ),
        order: "mergemovelog.mergemovelog_id",
        top,
        ..Query::default()
    }
}
