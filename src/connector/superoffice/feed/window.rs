//! Windows of changes: which people are named by what has changed since, and how they are now.

use super::{OLDEST_WINDOW_MICROS, Phase, State, load, micros};
use crate::connector::superoffice::map;
use crate::connector::superoffice::people::{People, consent_key, merge_key, person_key};
use crate::connector::superoffice::ways::{self, Consents, DYNAMIC, PERSON, Ways};
use crate::connector::superoffice::wire::archive::{Fetched, Query, last_key};
use crate::connector::superoffice::wire::filter;
use crate::connector::superoffice::wire::rows::{self, MergeRow};
use crate::connector::{Fault, Page, Poison};
use crate::consent::{At, Reading};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// What changed since `from`. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    from: i64,
    /// Where the last window ended.
    before: i64,
    /// When the first page was asked for, less the lag: where this one ends.
    until: Option<i64>,
    stage: Stage,
    /// The last key read in this stage.
    after: u32,
}

/// What is asked for, in this order: deletions and merges come last, so that they have the last word
/// on people whose rows still stand somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// Consent rows, changed or new.
    Consents,
    /// New ones, where the server cannot be asked for both at once.
    NewConsents,
    /// People, changed or new.
    People,
    /// New ones, as above.
    NewPeople,
    /// Addresses.
    Emails,
    /// Soft deletions.
    Deleted,
    /// Merges.
    Merged,
}

const STAGES: [Stage; 7] = [
    Stage::Consents,
    Stage::NewConsents,
    Stage::People,
    Stage::NewPeople,
    Stage::Emails,
    Stage::Deleted,
    Stage::Merged,
];

impl Stage {
    /// Whether it is part of a window on a server that offers these ways.
    fn is_part(self, ways: Ways) -> bool {
        match self {
            Self::Consents => ways.consents != Consents::Persons,
            Self::NewConsents => ways.consents == Consents::Rows && !ways.either,
            Self::People => true,
            Self::NewPeople => !ways.either,
            Self::Emails => ways.emails,
            Self::Deleted => ways.recycled,
            Self::Merged => ways.merges,
        }
    }

    /// The stage that follows.
    fn next(self, ways: Ways) -> Option<Self> {
        STAGES
            .into_iter()
            .skip_while(|stage| *stage != self)
            .skip(1)
            .find(|stage| stage.is_part(ways))
    }

    /// What it asks for.
    fn query(self, ways: Ways, from: At, zone: Tz, top: usize) -> Query<'static> {
        let changed = |updated: &str, registered: &str| {
            let (updated, registered) = (
                ways.changed_since(updated, from, zone),
                ways.changed_since(registered, from, zone),
            );
            match self {
                Self::NewConsents | Self::NewPeople => registered,
                _ if ways.either => filter::either(&updated, &registered),
                _ => updated,
            }
        };
        match self {
            Self::Consents if ways.consents == Consents::Archive => Query {
                filter: ways.changed_since("consentPerson/updatedDate", from, zone),
                ..ways::purposes(top)
            },
            Self::Consents | Self::NewConsents => Query {
                archive: DYNAMIC,
                select: &["consentperson.consentperson_id", "consentperson.person_id"],
                filter: changed("consentperson.updated", "consentperson.registered"),
                order: "consentperson.consentperson_id",
                top,
                ..Query::default()
            },
            Self::People | Self::NewPeople => Query {
                archive: PERSON,
                select: &["personId"],
                filter: changed("personUpdatedDate", "personRegisteredDate"),
                order: "personId",
                top,
                ..Query::default()
            },
            Self::Emails => Query {
                archive: DYNAMIC,
                select: &["email.email_id", "email.person_id"],
                filter: filter::since("email.updated", from, zone),
                order: "email.email_id",
                top,
                ..Query::default()
            },
            Self::Deleted => Query {
                filter: ways.changed_since("personDeletedDate", from, zone),
                ..ways::recycled(top)
            },
            Self::Merged => ways::merged(from, zone, top),
        }
    }

    /// The primary key of a row, by which pages are walked.
    fn key(self, ways: Ways, raw: &RawValue) -> Option<u32> {
        match self {
            Self::Consents if ways.consents == Consents::Archive => {
                rows::number_of(raw, "consentPerson/consentPersonId")
            }
            Self::Consents | Self::NewConsents => consent_key(raw),
            Self::People | Self::NewPeople | Self::Deleted => person_key(raw),
            Self::Emails => rows::number_of(raw, "email.email_id"),
            Self::Merged => merge_key(raw),
        }
    }

    /// The person whom a row names.
    fn person(self, ways: Ways, raw: &RawValue) -> Option<u32> {
        match self {
            Self::Consents if ways.consents == Consents::Archive => {
                rows::number_of(raw, "consentPerson/personId")
            }
            Self::Consents | Self::NewConsents => rows::number_of(raw, "consentperson.person_id"),
            // An address of a company names none.
            Self::Emails => rows::number_of(raw, "email.person_id"),
            Self::People | Self::NewPeople | Self::Deleted | Self::Merged => person_key(raw),
        }
    }
}

impl Window {
    /// The window that follows one which ended at `until`.
    pub(super) fn behind(until: i64, people: &People<'_>) -> Self {
        let from = At::from_micros(until).minus(micros(people.settings.overlap));
        Self {
            from: from.micros(),
            before: until,
            until: None,
            stage: STAGES
                .into_iter()
                .find(|stage| stage.is_part(people.ways))
                .unwrap_or(Stage::People),
            after: 0,
        }
    }
}

/// The next page of a window with anything in it, or its end.
pub(super) async fn window(
    people: &People<'_>,
    state: State,
    mut window: Window,
) -> Result<Page, Fault> {
    let settings = people.settings;
    let mut asked_at = None;
    loop {
        let (stage, after) = (window.stage, window.after);
        let mut query = stage.query(
            people.ways,
            At::from_micros(window.from),
            settings.filter_time_zone,
            settings.page_rows,
        );
        query.filter = filter::both(&query.filter, &filter::above(query.order, after));
        let fetched = people.tenant.fetch(&query).await?;
        let read_at = *asked_at.get_or_insert(fetched.at);
        let until = *window
            .until
            .get_or_insert(fetched.at.minus(micros(settings.lag)).micros());
        if until.saturating_sub(window.from) > OLDEST_WINDOW_MICROS {
            // What was deleted before that is purged, so only a look at everything misses nothing.
            return load::begin(people).await;
        }
        let found = fetched.rows()?;
        if !found.is_empty() {
            window.after = last_key(&found, after, |raw| stage.key(people.ways, raw))?;
            let (readings, poison) = content(people, stage, &fetched).await?;
            let mut page = state.page(Phase::Window(window), read_at)?;
            page.readings = readings;
            page.poison = poison;
            return Ok(page);
        }
        match stage.next(people.ways) {
            Some(next) => {
                window.stage = next;
                window.after = 0;
            }
            None => return end(people, state, &window, until, read_at),
        }
    }
}

/// The last page of a window. When a sweep is due it follows at once.
fn end(
    people: &People<'_>,
    state: State,
    window: &Window,
    until: i64,
    read_at: At,
) -> Result<Page, Fault> {
    let due = until >= state.sweep;
    // Clocks may go back; what is read stays read.
    let reached = until.max(window.before);
    let phase = if due {
        Phase::Load {
            started: reached,
            after: 0,
        }
    } else {
        Phase::Idle { until: reached }
    };
    let mut page = state.page(phase, read_at)?;
    page.more = due;
    page.drained = Some(At::from_micros(until).minus(micros(people.settings.overlap)));
    Ok(page)
}

/// How the people of a page are now.
async fn content(
    people: &People<'_>,
    stage: Stage,
    fetched: &Fetched,
) -> Result<(Vec<Reading>, Vec<Poison>), Fault> {
    let found = fetched.rows()?;
    match stage {
        Stage::Consents | Stage::NewConsents | Stage::People | Stage::NewPeople | Stage::Emails => {
            let ids = found
                .iter()
                .filter_map(|raw| stage.person(people.ways, raw))
                .collect();
            let read = people.settled(&ids).await?;
            let mut poison = read.poison;
            // A row that names nobody is kept, save that of a company's address.
            let unreadable = found
                .iter()
                .filter(|raw| stage != Stage::Emails && stage.person(people.ways, raw).is_none());
            poison
                .extend(unreadable.map(|raw| rows::poison(raw, None, "a change names no person")));
            Ok((read.readings, poison))
        }
        Stage::Deleted => {
            let ids: BTreeSet<u32> = found.iter().filter_map(|raw| person_key(raw)).collect();
            let merged = people.merged_among(&ids).await?;
            let gone = ids.iter().map(|id| map::gone(*id, merged.get(id).copied()));
            Ok((gone.collect(), Vec::new()))
        }
        Stage::Merged => {
            let mut ids = BTreeSet::new();
            let mut poison = Vec::new();
            for raw in found {
                match MergeRow::read(raw) {
                    // Whoever was merged away is gone by now; whoever only gave something to
                    // another is still there.
                    Ok(row) => ids.extend([row.source, row.destination]),
                    Err(reason) => {
                        poison.push(rows::poison(raw, None, &format!("merge: {reason}")));
                    }
                }
            }
            let mut read = people.settled(&ids).await?;
            read.poison.extend(poison);
            Ok((read.readings, read.poison))
        }
    }
}
