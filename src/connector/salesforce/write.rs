//! Setting consent fields, and looking at them before and after.

use super::map::Shape;
use super::wire::rows::{self, Cell};
use super::wire::{COLLECTION_ROWS, FieldValue, Org, RETRIEVE_ROWS, Record, faults, soql};
use crate::connector::{Batching, Current, Fault, FaultClass, Outcome, Target, WriteRequest};
use serde_json::value::RawValue;

/// Writes in one bulk job; some 60 bytes each, far below the platform's 100 MB.
const BULK_ROWS: usize = 50_000;

/// Addresses in one look-up: a query that names them stays below the platform's 16,384 characters
/// of a URL even if every address has the most characters it may have.
const LOOK_UP: usize = 200;

/// How much to hand over at once.
pub fn batching(org: &Org) -> Batching {
    Batching {
        rows: COLLECTION_ROWS,
        bulk_above: org.settings().bulk_ingest_above,
        bulk_rows: BULK_ROWS,
        look_up: LOOK_UP,
    }
}

/// What contacts show now.
pub async fn current(org: &Org, shape: &Shape, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
    let mut columns = vec!["Id".to_owned(), "IsDeleted".to_owned()];
    columns.extend(shape.fields.iter().map(|field| field.name.clone()));
    // What cannot be an id names no contact, and would spoil the call for the others.
    let asked: Vec<String> = contacts
        .iter()
        .map(|target| &target.contact)
        .filter(|id| soql::is_id(id))
        .cloned()
        .collect();
    let mut found = Vec::with_capacity(asked.len());
    for chunk in asked.chunks(RETRIEVE_ROWS) {
        let answer = org.retrieve(&shape.object, chunk, &columns).await?;
        let records: Vec<Option<&RawValue>> = answer.parse("retrieve")?;
        if records.len() != chunk.len() {
            return Err(Fault::new(
                FaultClass::ContractBroken,
                "result-count",
                format!(
                    "retrieve: {} records for {} ids",
                    records.len(),
                    chunk.len()
                ),
            ));
        }
        for record in records {
            found.push(match record {
                None => Current::Gone,
                Some(raw) => one(raw, shape, &columns).map_err(|reason| {
                    Fault::new(
                        FaultClass::ContractBroken,
                        "shape",
                        format!("retrieve: {reason}"),
                    )
                })?,
            });
        }
    }
    let mut found = found.into_iter();
    Ok(contacts
        .iter()
        .map(|target| {
            if soql::is_id(&target.contact) {
                found.next().unwrap_or(Current::Unknown)
            } else {
                Current::Gone
            }
        })
        .collect())
}

fn one(raw: &RawValue, shape: &Shape, columns: &[String]) -> Result<Current, String> {
    let cells = rows::row(raw, columns)?;
    let flag = |at: usize| {
        cells[at]
            .flag()
            .map_err(|what| format!("{} {what}", columns[at]))
    };
    if cells[1] != Cell::Missing && flag(1)? {
        return Ok(Current::Gone);
    }
    let values = shape
        .fields
        .iter()
        .enumerate()
        .map(|(place, field)| Ok((field.purpose, super::map::shown(flag(place + 2)?))));
    Ok(Current::Live(values.collect::<Result<_, String>>()?))
}

/// A write that can be sent: its place in the request, the contact, its fields.
pub type Ready<'a> = (usize, String, Vec<(&'a str, FieldValue)>);

/// Sets fields: row by row what became of it, in order.
pub async fn write(
    org: &Org,
    shape: &Shape,
    writes: &[WriteRequest],
) -> Result<Vec<Outcome>, Fault> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(writes.len());
    let mut ready: Vec<Ready<'_>> = Vec::new();
    for (place, write) in writes.iter().enumerate() {
        let prepared = soql::full_id(&write.target.contact)
            .ok_or_else(|| {
                Fault::new(
                    FaultClass::Rejected,
                    "bad-id",
                    "the contact's id is no record id",
                )
            })
            .and_then(|id| Ok((place, id, shape.assignments(&write.changes)?)));
        match prepared {
            Ok(row) => {
                ready.push(row);
                outcomes.push(None);
            }
            Err(fault) => outcomes.push(Some(Outcome::Failed(fault))),
        }
    }
    if ready.len() > org.settings().bulk_ingest_above.max(COLLECTION_ROWS) {
        let found = super::ingest::ingest(org, shape, &ready).await?;
        for ((place, ..), outcome) in ready.iter().zip(found) {
            outcomes[*place] = Some(outcome);
        }
        ready.clear();
    }
    let mut sent = false;
    for chunk in ready.chunks(COLLECTION_ROWS) {
        let records: Vec<Record<'_>> = chunk
            .iter()
            .map(|(_, id, fields)| {
                fields.iter().fold(
                    Record::new(&shape.object, Some(id)),
                    |record, (name, value)| record.with(name, value.clone()),
                )
            })
            .collect();
        let found = save(org, false, &records).await;
        match found {
            Ok(results) => {
                for ((place, ..), outcome) in chunk.iter().zip(results) {
                    outcomes[*place] = Some(outcome);
                }
            }
            // Nothing has been sent at all: the whole call can be made again.
            Err(fault) if !sent => return Err(fault),
            Err(fault) => chunk
                .iter()
                .for_each(|(place, ..)| outcomes[*place] = Some(Outcome::Failed(fault.clone()))),
        }
        sent = true;
    }
    let lost = || {
        Outcome::Unknown(
            Fault::new(
                FaultClass::ContractBroken,
                "no-result",
                "write: a row without a result",
            )
            .maybe_sent(),
        )
    };
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(lost))
        .collect())
}

/// Saves one collection of records: what became of each, in order.
///
/// # Errors
/// Only when nothing of it can have happened.
pub async fn save(org: &Org, create: bool, records: &[Record<'_>]) -> Result<Vec<Outcome>, Fault> {
    match org.save(create, records).await {
        Ok(results) => Ok(results
            .into_iter()
            .map(|result| {
                if result.success {
                    Outcome::Applied
                } else {
                    Outcome::Failed(faults::of_row(&result.errors))
                }
            })
            .collect()),
        Err(fault) if fault.maybe_sent => Ok(vec![Outcome::Unknown(fault); records.len()]),
        Err(fault) => Err(fault),
    }
}
