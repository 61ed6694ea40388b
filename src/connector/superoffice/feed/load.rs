//! All people, page by page in the order of their ids, with their consents.

use super::{Phase, State, VERSION, micros};
use crate::connector::superoffice::people::{Consented, People, person_key, take_person};
use crate::connector::superoffice::ways::PERSON;
use crate::connector::superoffice::wire::archive::{Query, last_key};
use crate::connector::superoffice::wire::{filter, rows};
use crate::connector::{Fault, Page};
use crate::consent::At;
use std::collections::{BTreeMap, BTreeSet};

/// The first page of a load of everything.
pub(super) async fn begin(people: &People<'_>) -> Result<Page, Fault> {
    let state = State {
        v: VERSION,
        sweep: 0,
        phase: Phase::Load {
            started: 0,
            after: 0,
        },
    };
    load(people, state, None, 0).await
}

/// One page of people. The changes that follow the load are those since its first page was asked for.
pub(super) async fn load(
    people: &People<'_>,
    mut state: State,
    started: Option<i64>,
    after: u32,
) -> Result<Page, Fault> {
    let settings = people.settings;
    let query = Query {
        archive: PERSON,
        select: rows::PERSON,
        filter: filter::above("personId", after),
        order: "personId",
        top: settings.page_rows,
        ..Query::default()
    };
    let fetched = people.tenant.fetch(&query).await?;
    let read_at = fetched.at;
    let started = started.unwrap_or(read_at.minus(micros(settings.lag)).micros());
    state.sweep = At::from_micros(started)
        .plus(micros(settings.sweep_interval))
        .micros();
    let found = fetched.rows()?;
    if found.is_empty() {
        return state.page(Phase::Idle { until: started }, read_at);
    }
    let last = last_key(&found, after, person_key)?;
    let mut persons = BTreeMap::new();
    let mut poison = Vec::new();
    for raw in found {
        take_person(raw, &mut persons, &mut poison);
    }
    let ids: BTreeSet<u32> = persons.keys().copied().collect();
    let consented = match (ids.first(), ids.last()) {
        (Some(first), Some(last)) => people.consents_between(*first, *last, &ids).await?,
        _ => Consented::default(),
    };
    let read = people.join(persons, consented);
    let mut page = state.page(
        Phase::Load {
            started,
            after: last,
        },
        read_at,
    )?;
    page.readings = read.readings;
    // Who was deleted between the two calls is told of by the window that follows.
    page.poison = read.poison;
    page.poison.extend(poison);
    Ok(page)
}
