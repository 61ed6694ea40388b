//! Consent held by rows of the service-indicator object: an active row of the code, or of a code
//! that blocks too, means withdrawn.
//!
//! An opt-out adds one active row if there is none; an opt-in ends the rows of the code and leaves
//! those of the other codes alone. No row is ever deleted. The platform accepts a row with a wrong
//! catalogue id and drops it without a word, so what was written is read back.

use super::config::ServiceIndicator;
use super::{no_effect, unchecked};
use crate::connector::salesforce::feed::Companion;
use crate::connector::salesforce::map::{self, Seen};
use crate::connector::salesforce::wire::rows::{self, Cell};
use crate::connector::salesforce::wire::soql::{self, Mark, Query, Walk};
use crate::connector::salesforce::wire::{
    COLLECTION_ROWS, FieldValue, IN_LIST, Org, QueryPage, Record, time,
};
use crate::connector::salesforce::{probe, write};
use crate::connector::{Current, Fault, FaultClass, Outcome, Probe, Target, WriteRequest};
use crate::consent::{At, Evidence, Precision, PurposeId, Shown, Told};
use async_trait::async_trait;
use chrono_tz::Tz;
use serde_json::value::RawValue;
use std::collections::{BTreeSet, HashMap};
use tokio::sync::RwLock;

/// The rows of an org that hold consent.
#[derive(Debug)]
pub struct Indicators {
    names: ServiceIndicator,
    purpose: PurposeId,
    time_zone: Tz,
    columns: Vec<String>,
    catalogue: RwLock<Option<Catalogue>>,
}

/// Catalogue rows by what they mean for us.
#[derive(Debug, Clone, Default)]
struct Catalogue {
    /// The row of the code that an opt-out writes.
    own: Option<String>,
    /// Further rows with that code.
    same: Vec<String>,
    /// Rows with the codes that block too.
    also: Vec<String>,
}

impl Catalogue {
    fn all(&self) -> impl Iterator<Item = &String> {
        self.own.iter().chain(&self.same).chain(&self.also)
    }

    fn is_own(&self, value: &str) -> bool {
        self.own.as_deref() == Some(value) || self.same.iter().any(|same| same == value)
    }
}

/// One row about a contact.
#[derive(Debug, Clone)]
struct Row {
    id: String,
    contact: String,
    value: String,
    active: bool,
    created: At,
    created_by: Option<String>,
    modified: At,
    modified_by: Option<String>,
}

impl Indicators {
    /// Rows named so.
    pub fn new(names: ServiceIndicator, purpose: PurposeId, time_zone: Tz) -> Self {
        let columns = [
            "Id",
            names.contact_field.as_str(),
            names.value_field.as_str(),
            names.active_field.as_str(),
            "IsDeleted",
            "CreatedDate",
            "CreatedById",
            "LastModifiedDate",
            "LastModifiedById",
        ];
        Self {
            columns: columns.map(str::to_owned).to_vec(),
            names,
            purpose,
            time_zone,
            catalogue: RwLock::new(None),
        }
    }

    /// Names what is missing or cannot be written.
    pub async fn probe(&self, org: &Org, found: &mut Probe) -> Result<(), Fault> {
        let names = &self.names;
        let Some(described) = org.describe(&names.object).await? else {
            found.missing.push(format!(
                "object {}: give the integration user Read, Create and Edit on it",
                names.object
            ));
            return Ok(());
        };
        let written = [&names.start_field, &names.end_field];
        let comment = names.comment_field.iter();
        let needed = self
            .columns
            .iter()
            .chain(written)
            .chain(comment)
            .map(String::as_str);
        probe::need(&described, &names.object, needed, found);
        for field in [&names.active_field, &names.end_field] {
            if described.field(field).is_some_and(|info| !info.updateable) {
                found.missing.push(format!(
                    "field {}.{field}: give the integration user Edit access (field-level security)",
                    names.object
                ));
            }
        }
        for field in [
            &names.contact_field,
            &names.value_field,
            &names.active_field,
        ] {
            if described.field(field).is_some_and(|info| !info.createable) {
                found.missing.push(format!(
                    "field {}.{field}: give the integration user Create access (field-level security)",
                    names.object
                ));
            }
        }
        match org.describe(&names.value_object).await? {
            None => found.missing.push(format!(
                "object {}: give the integration user Read on it",
                names.value_object
            )),
            Some(described) => {
                probe::need(
                    &described,
                    &names.value_object,
                    [names.code_field.as_str()].into_iter(),
                    found,
                );
                if described.field(&names.code_field).is_some()
                    && self.load_catalogue(org).await?.own.is_none()
                {
                    found.missing.push(format!(
                        "{} has no row with the code {:?}: check code and code_field",
                        names.value_object, names.code
                    ));
                }
            }
        }
        Ok(())
    }

    /// The catalogue rows, asked for once.
    async fn catalogue(&self, org: &Org) -> Result<Catalogue, Fault> {
        if let Some(known) = &*self.catalogue.read().await {
            return Ok(known.clone());
        }
        self.load_catalogue(org).await
    }

    async fn load_catalogue(&self, org: &Org) -> Result<Catalogue, Fault> {
        let names = &self.names;
        let columns = ["Id".to_owned(), names.code_field.clone()];
        let codes = std::iter::once(&names.code).chain(&names.also_blocking);
        let query = Query {
            columns: &columns,
            object: &names.value_object,
            conditions: vec![format!(
                "{} IN {}",
                names.code_field,
                soql::list(codes.map(|code| soql::text(code)))
            )],
            order: vec!["Id"],
            limit: None,
        };
        let mut catalogue = Catalogue::default();
        each(org, &query, false, |raw| {
            let cells = rows::row(raw, &columns)?;
            let id = id_at(&cells, 0, &columns)?;
            let code = cells[1].text().ok().flatten().unwrap_or_default();
            // The platform compares texts without regard to case.
            if !code.eq_ignore_ascii_case(&names.code) {
                catalogue.also.push(id);
            } else if catalogue.own.is_none() {
                catalogue.own = Some(id);
            } else {
                catalogue.same.push(id);
            }
            Ok(())
        })
        .await?;
        // A catalogue without the code is asked for again, since an administrator may add it.
        *self.catalogue.write().await = catalogue.own.is_some().then(|| catalogue.clone());
        Ok(catalogue)
    }

    /// The rows about these contacts, of our codes, ended ones and deleted ones included.
    async fn rows_of(
        &self,
        org: &Org,
        contacts: &[String],
    ) -> Result<HashMap<String, Vec<Row>>, Fault> {
        let catalogue = self.catalogue(org).await?;
        let mut found: HashMap<String, Vec<Row>> = HashMap::new();
        if catalogue.own.is_none() {
            return Err(Fault::new(
                FaultClass::Auth,
                "no-code",
                format!(
                    "{} has no row with the configured code",
                    self.names.value_object
                ),
            ));
        }
        let values = soql::ids(catalogue.all())?;
        for chunk in contacts.chunks(IN_LIST) {
            let query = Query {
                columns: &self.columns,
                object: &self.names.object,
                conditions: vec![
                    format!("{} IN {}", self.names.contact_field, soql::ids(chunk)?),
                    format!("{} IN {values}", self.names.value_field),
                ],
                order: vec!["CreatedDate", "Id"],
                limit: None,
            };
            each(org, &query, true, |raw| {
                let row = self.row(raw)?;
                found.entry(row.contact.clone()).or_default().push(row);
                Ok(())
            })
            .await?;
        }
        Ok(found)
    }

    fn row(&self, raw: &RawValue) -> Result<Row, String> {
        let columns = &self.columns;
        let cells = rows::row(raw, columns)?;
        let flag = |at: usize| {
            cells[at]
                .flag()
                .map_err(|what| format!("{} {what}", columns[at]))
        };
        let when = |at: usize| {
            let text = cells[at]
                .text()
                .map_err(|what| format!("{} {what}", columns[at]))?;
            text.and_then(time::parse)
                .ok_or_else(|| format!("{} is not a date", columns[at]))
        };
        let user = |at: usize| cells[at].text().ok().flatten().and_then(soql::full_id);
        Ok(Row {
            id: id_at(&cells, 0, columns)?,
            contact: id_at(&cells, 1, columns)?,
            value: id_at(&cells, 2, columns)?,
            active: flag(3)? && !flag(4)?,
            created: when(5)?,
            created_by: user(6),
            modified: when(7)?,
            modified_by: user(8),
        })
    }

    /// Adds the value to what contacts show.
    pub async fn current(
        &self,
        org: &Org,
        contacts: &[Target],
        mut now: Vec<Current>,
    ) -> Result<Vec<Current>, Fault> {
        let asked: Vec<String> = contacts
            .iter()
            .filter_map(|target| soql::full_id(&target.contact))
            .collect();
        let rows = self.rows_of(org, &asked).await?;
        for (target, current) in contacts.iter().zip(&mut now) {
            if let (Current::Live(values), Some(id)) = (current, soql::full_id(&target.contact)) {
                let withdrawn = rows
                    .get(&id)
                    .is_some_and(|rows| rows.iter().any(|row| row.active));
                values.push((self.purpose, map::shown(withdrawn)));
            }
        }
        Ok(now)
    }

    /// Adds and ends rows.
    pub async fn write(&self, org: &Org, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        let mut outcomes = Vec::with_capacity(writes.len());
        for chunk in writes.chunks(COLLECTION_ROWS) {
            match self.write_chunk(org, chunk).await {
                Ok(done) => outcomes.extend(done),
                Err(fault) if outcomes.is_empty() => return Err(fault),
                Err(fault) => outcomes.extend(chunk.iter().map(|_| Outcome::Failed(fault.clone()))),
            }
        }
        Ok(outcomes)
    }

    async fn write_chunk(&self, org: &Org, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        let mut wanted: Vec<Result<(String, bool), Fault>> = Vec::with_capacity(writes.len());
        for write in writes {
            wanted.push(self.wanted(write));
        }
        let ids: Vec<String> = wanted
            .iter()
            .flatten()
            .map(|(contact, _)| contact.clone())
            .collect();
        let before = self.rows_of(org, &ids).await?;
        let catalogue = self.catalogue(org).await?;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(writes.len());
        let mut added: Vec<(usize, Record<'_>)> = Vec::new();
        let mut ended: Vec<(usize, Record<'_>)> = Vec::new();
        let none = Vec::new();
        for (place, (write, wanted)) in writes.iter().zip(&wanted).enumerate() {
            let (contact, withdrawn) = match wanted {
                Ok(wanted) => wanted,
                Err(fault) => {
                    outcomes.push(Outcome::Failed(fault.clone()));
                    continue;
                }
            };
            outcomes.push(Outcome::Applied);
            let known = before.get(contact).unwrap_or(&none);
            let active = known.iter().filter(|row| row.active);
            if *withdrawn {
                if active.count() == 0 {
                    added.push((place, self.new_row(contact, write, &catalogue)));
                }
            } else {
                let own = active.filter(|row| catalogue.is_own(&row.value));
                ended.extend(own.map(|row| (place, self.end_of(row, write))));
            }
        }
        let mut sent = false;
        for (create, records) in [(true, added), (false, ended)] {
            for part in records.chunks(COLLECTION_ROWS) {
                let rows: Vec<Record<'_>> = part.iter().map(|(_, record)| record.clone()).collect();
                match write::save(org, create, &rows).await {
                    Ok(done) => {
                        for ((place, _), outcome) in part.iter().zip(done) {
                            if outcome != Outcome::Applied {
                                outcomes[*place] = outcome;
                            }
                        }
                    }
                    Err(fault) if !sent => return Err(fault),
                    Err(fault) => part
                        .iter()
                        .for_each(|(place, _)| outcomes[*place] = Outcome::Failed(fault.clone())),
                }
                sent = true;
            }
        }
        match self.rows_of(org, &ids).await {
            Ok(after) => {
                if self.check(&wanted, &after, &catalogue, &mut outcomes) {
                    // The catalogue may have changed since it was read.
                    *self.catalogue.write().await = None;
                }
            }
            Err(fault) if sent => unchecked(&mut outcomes, &fault),
            Err(fault) => return Err(fault),
        }
        Ok(outcomes)
    }

    /// Judges accepted writes by what is there now. Whether any had no effect.
    fn check(
        &self,
        wanted: &[Result<(String, bool), Fault>],
        after: &HashMap<String, Vec<Row>>,
        catalogue: &Catalogue,
        outcomes: &mut [Outcome],
    ) -> bool {
        let mut vanished = false;
        for (wanted, outcome) in wanted.iter().zip(outcomes) {
            let Ok((contact, withdrawn)) = wanted else {
                continue;
            };
            if *outcome != Outcome::Applied {
                continue;
            }
            let active = || {
                after
                    .get(contact)
                    .into_iter()
                    .flatten()
                    .filter(|row| row.active)
            };
            let own = active().any(|row| catalogue.is_own(&row.value));
            let any = active().next().is_some();
            if (*withdrawn && !any) || (!*withdrawn && own) {
                *outcome = Outcome::Failed(no_effect());
                vanished = true;
            } else if !*withdrawn && any {
                let message = format!(
                    "the row of the code {:?} is ended, but an active row with one of the codes {:?} still blocks mail; a person has to end it in the system",
                    self.names.code, self.names.also_blocking
                );
                *outcome =
                    Outcome::Failed(Fault::new(FaultClass::Rejected, "still-blocked", message));
            }
        }
        vanished
    }

    /// The contact and whether it is to be withdrawn.
    fn wanted(&self, write: &WriteRequest) -> Result<(String, bool), Fault> {
        let bad = |code: &str, message: &str| Fault::new(FaultClass::Rejected, code, message);
        let contact = soql::full_id(&write.target.contact)
            .ok_or_else(|| bad("bad-id", "the contact's id is no record id"))?;
        match write.changes.as_slice() {
            [(purpose, value)] if *purpose == self.purpose => Ok((contact, map::is_set(value)?)),
            _ => Err(bad("no-field", "the purpose has no place in this system")),
        }
    }

    fn new_row<'a>(
        &'a self,
        contact: &str,
        write: &WriteRequest,
        catalogue: &Catalogue,
    ) -> Record<'a> {
        let names = &self.names;
        let text = |value: &str| FieldValue::Text(value.to_owned());
        let value = catalogue.own.as_deref().unwrap_or_default();
        let record = Record::new(&names.object, None)
            .with(&names.contact_field, text(contact))
            .with(&names.value_field, text(value))
            .with(&names.active_field, FieldValue::Flag(true))
            .with(
                &names.start_field,
                FieldValue::Text(self.local_date(write.said_at)),
            );
        match &names.comment_field {
            Some(field) => record.with(
                field,
                FieldValue::Text(format!("consentd: said in {}", write.said_in)),
            ),
            None => record,
        }
    }

    fn end_of<'a>(&'a self, row: &Row, write: &WriteRequest) -> Record<'a> {
        Record::new(&self.names.object, Some(&row.id))
            .with(&self.names.active_field, FieldValue::Flag(false))
            .with(
                &self.names.end_field,
                FieldValue::Text(self.local_date(write.said_at)),
            )
    }

    /// The day in the org's own time zone.
    fn local_date(&self, at: At) -> String {
        at.to_datetime()
            .with_timezone(&self.time_zone)
            .format("%Y-%m-%d")
            .to_string()
    }
}

#[async_trait]
impl Companion for Indicators {
    async fn complete(&self, org: &Org, seen: &mut [Seen]) -> Result<(), Fault> {
        let ids: Vec<String> = seen
            .iter()
            .map(|seen| seen.reading.contact.clone())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let rows = self.rows_of(org, &ids).await?;
        for seen in seen {
            let reading = &mut seen.reading;
            let none = Vec::new();
            let known = rows.get(&reading.contact).unwrap_or(&none);
            let active: Vec<&Row> = known.iter().filter(|row| row.active).collect();
            reading
                .values
                .push((self.purpose, map::shown(!active.is_empty())));
            // An ended row says that mail was once refused; when it was allowed again is seen by
            // the change of the value.
            reading.told.extend(active.iter().map(|row| Told {
                purpose: self.purpose,
                shown: Shown::Set,
                at: row.created,
                precision: Precision::Seconds,
                evidence: Evidence::History,
                actor: row.created_by.clone(),
            }));
            // What last changed the value is the last change of a row, not of the contact.
            if let Some(newest) = known.iter().max_by_key(|row| row.modified)
                && reading
                    .modified
                    .is_none_or(|modified| newest.modified >= modified)
            {
                reading.modified = Some(newest.modified);
                reading.modified_by.clone_from(&newest.modified_by);
            }
        }
        Ok(())
    }

    async fn changed(
        &self,
        org: &Org,
        walk: &Walk<'_>,
    ) -> Result<(Vec<String>, Option<Mark>), Fault> {
        let rows_wanted = org.settings().page_rows;
        let columns = [
            "Id".to_owned(),
            self.names.contact_field.clone(),
            "SystemModstamp".to_owned(),
        ];
        let query = Query {
            columns: &columns,
            object: &self.names.object,
            conditions: walk.condition()?.into_iter().collect(),
            order: vec![walk.column, "Id"],
            limit: Some(rows_wanted),
        };
        let answer = org.query(&query.text(), true).await?;
        let page: QueryPage<'_> = answer.parse("query")?;
        let full = !page.done || page.records.len() >= rows_wanted;
        let mut contacts = BTreeSet::new();
        let mut last = None;
        for raw in page.records {
            let cells = rows::row(raw, &columns).map_err(|reason| self.broken(&reason))?;
            let at = cells[2].text().ok().flatten().and_then(time::parse);
            let at = at.ok_or_else(|| self.broken("SystemModstamp is not a date"))?;
            let id = id_at(&cells, 0, &columns).map_err(|reason| self.broken(&reason))?;
            // A row without a contact concerns nobody.
            contacts.extend(cells[1].text().ok().flatten().and_then(soql::full_id));
            last = Some(Mark { at, id });
        }
        let next = if full { last } else { None };
        if full && (next.is_none() || next.as_ref() == walk.after) {
            return Err(self.broken("a page of changes leads no further"));
        }
        Ok((contacts.into_iter().collect(), next))
    }
}

impl Indicators {
    fn broken(&self, what: &str) -> Fault {
        Fault::new(
            FaultClass::ContractBroken,
            "shape",
            format!("{}: {what}", self.names.object),
        )
    }
}

fn id_at(cells: &[Cell<'_>], at: usize, columns: &[String]) -> Result<String, String> {
    let id = cells[at].text().ok().flatten().and_then(soql::full_id);
    id.ok_or_else(|| format!("{} is not a record id", columns[at]))
}

/// Reads every row of a query; one that cannot be read breaks the contract.
async fn each(
    org: &Org,
    query: &Query<'_>,
    all: bool,
    mut row: impl FnMut(&RawValue) -> Result<(), String> + Send,
) -> Result<(), Fault> {
    let mut bad = None;
    crate::connector::salesforce::feed::all_pages(org, &query.text(), all, |raw| {
        if let Err(reason) = row(raw) {
            bad.get_or_insert(reason);
        }
    })
    .await?;
    match bad {
        None => Ok(()),
        Some(reason) => Err(Fault::new(
            FaultClass::ContractBroken,
            "shape",
            format!("{}: {reason}", query.object),
        )),
    }
}
