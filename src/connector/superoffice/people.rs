//! People by id: those who are there, with the primary address and all consents, and what became of
//! the others. Feed, look-ups and checks of writes all read people here.

use super::lists::Keys;
use super::map;
use super::ways::{self, Consents, DYNAMIC, PERSON, PERSON_TABLE, Ways};
use super::wire::archive::Query;
use super::wire::rows::{self, ConsentRow, MergeRow, PersonRow};
use super::wire::{Tenant, faults, filter, parse};
use crate::connector::{Fault, FaultClass, Poison};
use crate::consent::Reading;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// Key column of consent rows.
const CONSENT_ID: &str = "consentperson.consentperson_id";
/// Their column with the person.
const CONSENT_PERSON: &str = "consentperson.person_id";

/// What a tenant offers and how it names things; everything that reads people needs all of it.
#[derive(Debug, Clone, Copy)]
pub struct People<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// Which ways it offers.
    pub ways: Ways,
    /// Its keys.
    pub keys: &'a Keys,
    /// The settings.
    pub settings: &'a super::config::Settings,
}

/// What was read of people.
#[derive(Debug, Default)]
pub struct Read {
    /// Whole readings, in the order of the ids.
    pub readings: Vec<Reading>,
    /// What could not be understood.
    pub poison: Vec<Poison>,
    /// Ids that were asked for and not found.
    pub absent: Vec<u32>,
}

/// The consent rows of some people.
#[derive(Debug, Default)]
pub struct Consented {
    /// Per person; none for those without any row.
    pub rows: BTreeMap<u32, Vec<ConsentRow>>,
    /// People of whom a row could not be understood: nothing may be said of them.
    pub spoiled: BTreeMap<u32, Poison>,
    /// Rows that cannot be understood, whosesoever they are.
    pub loose: Vec<Poison>,
    /// People who turned out not to be there.
    pub absent: BTreeSet<u32>,
}

impl People<'_> {
    /// People by id, with everything.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn by_id(&self, ids: &BTreeSet<u32>) -> Result<Read, Fault> {
        let (people, poison) = self.persons(ids).await?;
        let there: BTreeSet<u32> = people.keys().copied().collect();
        let consented = self.consents(&there).await?;
        let spoiled: BTreeSet<&str> = poison.iter().map(|bad| bad.id.as_str()).collect();
        let absent = ids
            .iter()
            .filter(|id| !people.contains_key(id) && !spoiled.contains(id.to_string().as_str()))
            .copied()
            .collect();
        let mut read = self.join(people, consented);
        read.absent.extend::<Vec<u32>>(absent);
        read.poison.extend(poison);
        Ok(read)
    }

    /// People by id, what became of those who are not there included.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn settled(&self, ids: &BTreeSet<u32>) -> Result<Read, Fault> {
        let mut read = self.by_id(ids).await?;
        let absent: BTreeSet<u32> = std::mem::take(&mut read.absent).into_iter().collect();
        let (gone, hidden) = self.fates(&absent).await?;
        read.readings.extend(gone);
        read.poison.extend(hidden);
        Ok(read)
    }

    /// Readings of people whose rows and consents were read.
    pub fn join(&self, people: BTreeMap<u32, PersonRow>, mut consented: Consented) -> Read {
        let mut read = Read {
            poison: consented.loose,
            ..Read::default()
        };
        for (id, person) in people {
            if consented.absent.contains(&id) {
                read.absent.push(id);
            } else if let Some(bad) = consented.spoiled.remove(&id) {
                read.poison.push(bad);
            } else {
                let rows = consented.rows.remove(&id).unwrap_or_default();
                read.readings.push(map::reading(
                    &person,
                    &rows,
                    self.keys,
                    self.settings.retired,
                ));
            }
        }
        read
    }

    /// Which of these people are there.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn there(&self, ids: &BTreeSet<u32>) -> Result<BTreeSet<u32>, Fault> {
        let (people, poison) = self.persons(ids).await?;
        let unreadable = poison.iter().filter_map(|bad| map::person_id(&bad.id));
        Ok(people.into_keys().chain(unreadable).collect())
    }

    /// The rows of people, without their consents.
    async fn persons(
        &self,
        ids: &BTreeSet<u32>,
    ) -> Result<(BTreeMap<u32, PersonRow>, Vec<Poison>), Fault> {
        let mut people = BTreeMap::new();
        let mut poison = Vec::new();
        for chunk in chunks(ids, self.tenant.most_ids()) {
            let query = Query {
                archive: PERSON,
                select: rows::PERSON,
                filter: filter::one_of("personId", &chunk),
                order: "personId",
                top: self.settings.page_rows,
                ..Query::default()
            };
            self.tenant
                .all(&query, chunk.len(), person_key, |raw| {
                    take_person(raw, &mut people, &mut poison);
                })
                .await?;
        }
        Ok((people, poison))
    }

    /// The consents of people, of the purposes that are carried.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn consents(&self, ids: &BTreeSet<u32>) -> Result<Consented, Fault> {
        if self.ways.consents != Consents::Rows {
            return self.one_by_one(ids).await;
        }
        let mut all = Consented::default();
        for chunk in chunks(ids, self.tenant.most_ids()) {
            let people = filter::one_of(CONSENT_PERSON, &chunk);
            let enough = chunk.len() * self.keys.purposes.len();
            let found = self.rows(&people, enough).await?;
            all.add(self.cleared(found, &chunk).await?);
        }
        Ok(all)
    }

    /// The consents of all people whose ids lie between two, which are included.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn consents_between(
        &self,
        first: u32,
        last: u32,
        ids: &BTreeSet<u32>,
    ) -> Result<Consented, Fault> {
        if self.ways.consents != Consents::Rows {
            return self.one_by_one(ids).await;
        }
        let people = filter::both(
            &filter::above(CONSENT_PERSON, first - 1),
            &filter::below(CONSENT_PERSON, last.saturating_add(1)),
        );
        let found = self.rows(&people, usize::MAX).await?;
        let ids: Vec<u32> = ids.iter().copied().collect();
        self.cleared(found, &ids).await
    }

    /// All consent rows of a filter. `enough` rows are all that can be.
    async fn rows(&self, people: &str, enough: usize) -> Result<Consented, Fault> {
        let purposes: Vec<u32> = self.keys.purposes.iter().map(|(_, id, _)| *id).collect();
        let query = Query {
            archive: DYNAMIC,
            select: rows::CONSENT,
            filter: filter::both(
                people,
                &filter::one_of("consentperson.consentpurpose_id", &purposes),
            ),
            order: CONSENT_ID,
            top: self.settings.page_rows,
            ..Query::default()
        };
        let mut found = Consented::default();
        self.tenant
            .all(
                &query,
                enough,
                consent_key,
                |raw| match ConsentRow::from_archive(raw) {
                    Ok(row) => found.rows.entry(row.person).or_default().push(row),
                    Err(reason) => {
                        let person = rows::number_of(raw, CONSENT_PERSON);
                        let bad = rows::poison(raw, person, &format!("consent: {reason}"));
                        match person {
                            Some(person) => {
                                found.spoiled.insert(person, bad);
                            }
                            None => found.loose.push(bad),
                        }
                    }
                },
            )
            .await?;
        Ok(found)
    }

    /// Where it is not known whose a bad row is, anybody may lack one: everybody is asked alone.
    async fn cleared(&self, found: Consented, ids: &[u32]) -> Result<Consented, Fault> {
        if found.loose.is_empty() {
            return Ok(found);
        }
        let mut alone = self.one_by_one(&ids.iter().copied().collect()).await?;
        alone.loose.extend(found.loose);
        Ok(alone)
    }

    /// The consents of people by one call each.
    async fn one_by_one(&self, ids: &BTreeSet<u32>) -> Result<Consented, Fault> {
        let asked: Vec<_> = ids.iter().map(|id| self.consents_of(*id)).collect();
        let each: Vec<Consented> = stream::iter(asked)
            .buffered(self.tenant.concurrency())
            .try_collect()
            .await?;
        Ok(each.into_iter().fold(Consented::default(), |mut all, one| {
            all.add(one);
            all
        }))
    }

    async fn consents_of(&self, id: u32) -> Result<Consented, Fault> {
        let mut found = Consented::default();
        let text = id.to_string();
        let answer = match self
            .tenant
            .get("consents", &["Person", &text, "Consent"], &[])
            .await
        {
            Err(fault) if is_absence(&fault) => {
                found.absent.insert(id);
                return Ok(found);
            }
            other => other?,
        };
        // A missing object may come as `null` from some parts of the API.
        let Some(list) = parse::<Option<Vec<&RawValue>>>("consents", &answer)? else {
            found.absent.insert(id);
            return Ok(found);
        };
        let mut mine = Vec::new();
        for raw in list {
            match ConsentRow::from_person(id, raw) {
                Ok(row) => mine.push(row),
                Err(reason) => {
                    let bad = rows::poison(raw, Some(id), &format!("consent: {reason}"));
                    found.spoiled.insert(id, bad);
                }
            }
        }
        found.rows.insert(id, mine);
        Ok(found)
    }

    /// What became of people who were not found: merged or deleted. That they were not found alone
    /// proves nothing (R27): the recycle bin names them, or a question for the id is answered by
    /// "not there". Those who are there after all could not be read.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn fates(
        &self,
        absent: &BTreeSet<u32>,
    ) -> Result<(Vec<Reading>, Vec<Poison>), Fault> {
        if absent.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let recycled = self.recycled_among(absent).await?;
        let merged = self.merged_among(absent).await?;
        let unclear = absent.difference(&recycled);
        let asked: Vec<_> = unclear.map(|id| self.is_gone(*id)).collect();
        let answered: Vec<(u32, bool)> = stream::iter(asked)
            .buffered(self.tenant.concurrency())
            .try_collect()
            .await?;
        let mut hidden = Vec::new();
        let mut gone: Vec<u32> = recycled.into_iter().collect();
        for (id, is_gone) in answered {
            if is_gone {
                gone.push(id);
            } else {
                hidden.push(Poison {
                    id: id.to_string(),
                    reason: "the person is there, but no archive shows it; check the user's access"
                        .to_owned(),
                    raw: Vec::new(),
                });
            }
        }
        gone.sort_unstable();
        let readings = gone
            .into_iter()
            .map(|id| map::gone(id, merged.get(&id).copied()))
            .collect();
        Ok((readings, hidden))
    }

    /// Which of these people the recycle bin holds.
    async fn recycled_among(&self, ids: &BTreeSet<u32>) -> Result<BTreeSet<u32>, Fault> {
        let mut found = BTreeSet::new();
        if !self.ways.recycled {
            return Ok(found);
        }
        for chunk in chunks(ids, self.tenant.most_ids()) {
            let query = Query {
                filter: filter::one_of("personId", &chunk),
                ..ways::recycled(self.settings.page_rows)
            };
            self.tenant
                .all(&query, chunk.len(), person_key, |raw| {
                    found.extend(person_key(raw));
                })
                .await?;
        }
        Ok(found.intersection(ids).copied().collect())
    }

    /// Whom these people were merged into last, as far as the log tells.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn merged_among(&self, ids: &BTreeSet<u32>) -> Result<BTreeMap<u32, u32>, Fault> {
        let mut found = BTreeMap::new();
        if !self.ways.merges {
            return Ok(found);
        }
        for chunk in chunks(ids, self.tenant.most_ids()) {
            let query = Query {
                archive: DYNAMIC,
                select: rows::MERGE,
                filter: filter::both(
                    &filter::one_of("mergemovelog.sourceRecord", &chunk),
                    &filter::is("mergemovelog.tableNumber", PERSON_TABLE),
                ),
                order: "mergemovelog.mergemovelog_id",
                top: self.settings.page_rows,
                ..Query::default()
            };
            self.tenant
                .all(&query, usize::MAX, merge_key, |raw| {
                    if let Ok(row) = MergeRow::read(raw)
                        && row.source != row.destination
                    {
                        // They come in order: the last one counts.
                        found.insert(row.source, row.destination);
                    }
                })
                .await?;
        }
        Ok(found)
    }

    /// Asks for one person by id.
    async fn is_gone(&self, id: u32) -> Result<(u32, bool), Fault> {
        let text = id.to_string();
        match self
            .tenant
            .get("person", &["Person", &text], &[("$select", "PersonId")])
            .await
        {
            Ok(answer) => Ok((id, parse::<Option<&RawValue>>("person", &answer)?.is_none())),
            Err(fault) if is_absence(&fault) => Ok((id, true)),
            Err(fault) => Err(fault),
        }
    }
}

impl Consented {
    fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.spoiled.extend(other.spoiled);
        self.loose.extend(other.loose);
        self.absent.extend(other.absent);
    }
}

/// Whether the server says that a person is not there.
pub fn is_absence(fault: &Fault) -> bool {
    fault.class == FaultClass::Rejected
        && matches!(fault.code.as_str(), faults::NOT_FOUND | "http-404")
}

/// Takes in a person's row.
pub fn take_person(
    raw: &RawValue,
    people: &mut BTreeMap<u32, PersonRow>,
    poison: &mut Vec<Poison>,
) {
    match PersonRow::read(raw) {
        Ok(row) => {
            people.insert(row.id, row);
        }
        Err(reason) => {
            let id = person_key(raw);
            if let Some(id) = id {
                people.remove(&id);
            }
            poison.push(rows::poison(raw, id, &format!("person: {reason}")));
        }
    }
}

/// The primary key of a person's row.
pub fn person_key(raw: &RawValue) -> Option<u32> {
    rows::number_of(raw, "personId")
}

/// The primary key of a consent row.
pub fn consent_key(raw: &RawValue) -> Option<u32> {
    rows::number_of(raw, CONSENT_ID)
}

/// The primary key of a row of the log of merges.
pub fn merge_key(raw: &RawValue) -> Option<u32> {
    rows::number_of(raw, "mergemovelog.mergemovelog_id")
}

fn chunks(ids: &BTreeSet<u32>, most: usize) -> impl Iterator<Item = Vec<u32>> {
    let all: Vec<u32> = ids.iter().copied().collect();
    let pieces: Vec<Vec<u32>> = all.chunks(most.max(1)).map(<[u32]>::to_vec).collect();
    pieces.into_iter()
}
