//! Ingest jobs: CSV in, rows saved one by one, three result files out (Bulk API 2.0 guide: ingest jobs).
//!
//! A complete job may have failed rows, and a failed job may have saved rows. One upload a job; the multipart form that
//! creates and uploads at once is left out.

use std::collections::HashMap;

use axum::http::Method;
use serde_json::{Value, json};

use super::text::Format;
use super::{Job, Jobs, New, Stage, Work, abort, delete, list, wanted_state};
use crate::faults::CallKind;
use crate::org::save::Author;
use crate::org::state::State;
use crate::org::table::{Cell, Slot};
use crate::refusal::Refusal;
use crate::rest::collections::external_index;
use crate::rest::values::csv_changes;
use crate::rest::{Call, Reply, Session};

/// Rows that one job takes.
pub(crate) const MAX_ROWS: usize = 1_000_000;
const CSV: &str = "text/csv";

/// What is done with each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
    HardDelete,
}

/// An ingest job's upload and results.
#[derive(Debug)]
pub(crate) struct IngestWork {
    operation: Operation,
    external_id: Option<String>,
    table: usize,
    upload: Option<Vec<u8>>,
    fails: bool,
    header: Vec<String>,
    /// Id, created, row.
    saved: Vec<(String, bool, Vec<String>)>,
    /// Id, error, row.
    refused: Vec<(String, String, Vec<String>)>,
    untouched: Vec<Vec<String>>,
}

/// Serves everything below `jobs/ingest`.
pub(crate) fn serve(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    rest: &[&str],
) -> Result<Reply, Refusal> {
    match (call.method.clone(), rest) {
        (Method::POST, []) => create(state, call, session),
        (Method::GET, []) => Ok(list(state, true)),
        (Method::GET, [id]) => status(state, id),
        (Method::PATCH, [id]) => close(state, call, session, id),
        (Method::DELETE, [id]) => delete(state, id, true),
        (Method::PUT, [id, "batches"]) => upload(state, call, id),
        (Method::GET, [id, which]) => results(state, id, which),
        (Method::GET | Method::POST | Method::PATCH | Method::DELETE | Method::PUT, _) => {
            Err(Refusal::not_found())
        }
        (other, _) => Err(Refusal::method(
            other.as_str(),
            "GET, POST, PATCH, PUT, DELETE",
        )),
    }
}

fn create(state: &mut State, call: &Call, session: Session<'_>) -> Result<Reply, Refusal> {
    let body = call.json()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let invalid = |message: &str| Refusal::new(400, "INVALIDJOB", message.to_owned());
    let name = text("operation").unwrap_or_default();
    let operation = match name.as_str() {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "upsert" => Operation::Upsert,
        "delete" => Operation::Delete,
        "hardDelete" => Operation::HardDelete,
        _ => return Err(invalid("operation is not supported")),
    };
    let format = Format::of(&body)?;
    let object = text("object").unwrap_or_default();
    let table = state
        .find_table(&object)
        .filter(|table| state.tables[*table].object.writable)
        .ok_or_else(|| {
            Refusal::new(
                400,
                "INVALIDENTITY",
                format!("Entity '{object}' is not supported by the Bulk API."),
            )
        })?;
    let external_id = text("externalIdFieldName");
    if (operation == Operation::Upsert) != external_id.is_some() {
        return Err(invalid(
            "externalIdFieldName is required for upsert, and only there",
        ));
    }
    if let Some(field) = &external_id {
        external_index(state, table, field)
            .map_err(|_| invalid("externalIdFieldName names no external id field"))?;
    }
    let work = IngestWork {
        operation,
        external_id,
        table,
        upload: None,
        fails: false,
        header: Vec::new(),
        saved: Vec::new(),
        refused: Vec::new(),
        untouched: Vec::new(),
    };
    let object = state.tables[table].object.name.to_owned();
    let new = New {
        operation: name,
        object,
        stage: Stage::Open,
        format,
        work: Work::Ingest(work),
    };
    let id = Jobs::open(state, session, new);
    let mut answer = state.jobs.find(&id, true)?.json();
    // The vendor's link has no slash in front.
    let link = format!("{}/jobs/ingest/{id}/batches", session.base());
    answer.insert("contentUrl".to_owned(), json!(link.trim_start_matches('/')));
    Ok(Reply::json(200, Value::Object(answer)))
}

fn upload(state: &mut State, call: &Call, id: &str) -> Result<Reply, Refusal> {
    if !call
        .header("content-type")
        .is_some_and(|kind| kind.starts_with(CSV))
    {
        return Err(Refusal::new(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Type has to be text/csv",
        ));
    }
    let job = state.jobs.find(id, true)?;
    let Work::Ingest(work) = &mut job.work else {
        return Err(Refusal::not_found());
    };
    if job.stage != Stage::Open || work.upload.is_some() {
        return Err(Refusal::new(
            400,
            "INVALIDJOBSTATE",
            "the job does not take data any more",
        ));
    }
    work.upload = Some(call.body.to_vec());
    Ok(Reply::empty(201))
}

fn close(state: &mut State, call: &Call, session: Session<'_>, id: &str) -> Result<Reply, Refusal> {
    let wanted = wanted_state(call)?;
    let job = state.jobs.find(id, true)?;
    match wanted.as_str() {
        "Aborted" => abort(job),
        "UploadComplete" if job.stage == Stage::Open => {
            let id = job.id.clone();
            let mut job = state.jobs.take(&id).ok_or_else(Refusal::not_found)?;
            job.stage = Stage::UploadComplete;
            process(state, session, &mut job);
            let answer = Reply::json(200, Value::Object(job.json()));
            state.jobs.put(job);
            Ok(answer)
        }
        _ => Err(Refusal::new(
            400,
            "INVALIDJOBSTATE",
            format!("cannot change the state to {wanted}"),
        )),
    }
}

/// Saves the rows of an upload. A job that is to fail saves the first half and leaves the rest.
fn process(state: &mut State, session: Session<'_>, job: &mut Job) {
    let failure = job.strike(state, CallKind::BulkIngest);
    let Work::Ingest(work) = &mut job.work else {
        return;
    };
    let text = work.upload.take().unwrap_or_default();
    let (header, rows) = match job.format.read(&text) {
        Ok(parsed) if parsed.1.len() <= MAX_ROWS => parsed,
        Ok(_) => return fail(job, "InvalidBatch : too many rows".to_owned()),
        Err(error) => return fail(job, format!("InvalidBatch : {error}")),
    };
    let unknown = header.iter().find(|name| {
        !name.eq_ignore_ascii_case("id") && state.visible_field(work.table, name).is_none()
    });
    if let Some(name) = unknown {
        return fail(job, format!("InvalidBatch : Field name not found : {name}"));
    }
    let index = match &work.external_id {
        None => None,
        Some(field) => external_index(state, work.table, field).ok(),
    };
    let stop = if failure.is_some() {
        rows.len() / 2
    } else {
        rows.len()
    };
    let author = Author::api(session.user.to_owned(), CallKind::BulkIngest);
    work.header.clone_from(&header);
    for (place, row) in rows.into_iter().enumerate() {
        if place >= stop {
            work.untouched.push(row);
            continue;
        }
        let record: Vec<(String, String)> =
            header.iter().cloned().zip(row.iter().cloned()).collect();
        match save(state, work, &author, &record, index.as_ref()) {
            Ok((id, created)) => work.saved.push((id, created, row)),
            Err(refusal) => {
                let id = value(&record, "Id").unwrap_or_default().to_owned();
                work.refused.push((id, refusal.bulk(), row));
            }
        }
    }
    job.processed = work.saved.len() + work.refused.len();
    job.failed = work.refused.len();
    if let Some(message) = failure {
        fail(job, message);
    }
}

fn fail(job: &mut Job, message: String) {
    job.error = Some(message);
    if let Work::Ingest(work) = &mut job.work {
        work.fails = true;
    }
}

fn value<'a>(record: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = record
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// Saves one row; answers its id and whether it is new.
fn save(
    state: &mut State,
    work: &IngestWork,
    author: &Author,
    record: &[(String, String)],
    index: Option<&(usize, HashMap<String, Vec<Slot>>)>,
) -> Result<(String, bool), Refusal> {
    let table = work.table;
    let by_id = |state: &State| {
        let id = value(record, "Id").ok_or_else(|| {
            Refusal::new(
                400,
                "MISSING_ARGUMENT",
                "Id not specified in an update call",
            )
            .on("Id")
        })?;
        state.locate(table, id).map_err(|refusal| {
            if refusal.code == "NOT_FOUND" {
                Refusal::new(
                    400,
                    "INVALID_CROSS_REFERENCE_KEY",
                    "invalid cross reference id",
                )
            } else {
                refusal
            }
        })
    };
    match work.operation {
        Operation::Insert => {
            let changes = csv_changes(state, table, record, true)?;
            Ok((state.create_row(table, changes, author, None)?, true))
        }
        Operation::Update => {
            let (slot, _) = by_id(state)?;
            let changes = csv_changes(state, table, record, false)?;
            state.update_row(table, slot, changes, author)?;
            Ok((state.id_of(table, slot)?, false))
        }
        Operation::Delete => {
            let (slot, _) = by_id(state)?;
            state.delete_row(table, slot, author)?;
            Ok((state.id_of(table, slot)?, false))
        }
        Operation::HardDelete => {
            let (slot, _) = by_id(state)?;
            let id = state.id_of(table, slot)?;
            state.hard_delete_row(table, slot)?;
            Ok((id, false))
        }
        Operation::Upsert => {
            let field = work.external_id.as_deref().unwrap_or_default();
            let (position, index) = index.ok_or_else(Refusal::not_found)?;
            let key = value(record, field).ok_or_else(|| {
                Refusal::new(400, "MISSING_ARGUMENT", format!("{field} not specified")).on(field)
            })?;
            let others: Vec<_> = record
                .iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case(field))
                .cloned()
                .collect();
            match index
                .get(&key.to_ascii_lowercase())
                .map_or(&[][..], Vec::as_slice)
            {
                [] => {
                    let mut changes = csv_changes(state, table, &others, true)?;
                    changes.push((*position, Cell::text(key)));
                    Ok((state.create_row(table, changes, author, None)?, true))
                }
                [slot] => {
                    let changes = csv_changes(state, table, &others, false)?;
                    state.update_row(table, *slot, changes, author)?;
                    Ok((state.id_of(table, *slot)?, false))
                }
                _ => Err(Refusal::new(
                    400,
                    "DUPLICATE_EXTERNAL_ID",
                    format!("{field}: more than one record found"),
                )),
            }
        }
    }
}

fn status(state: &mut State, id: &str) -> Result<Reply, Refusal> {
    let job = state.jobs.find(id, true)?;
    if job.poll() {
        let fails = matches!(&job.work, Work::Ingest(work) if work.fails);
        job.stage = if fails {
            Stage::Failed
        } else {
            Stage::JobComplete
        };
    }
    Ok(Reply::json(200, job.status()))
}

fn results(state: &mut State, id: &str, which: &str) -> Result<Reply, Refusal> {
    let job = state.jobs.find(id, true)?;
    let Work::Ingest(work) = &job.work else {
        return Err(Refusal::not_found());
    };
    let sf = |names: &[&str]| -> Vec<String> {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .chain(work.header.iter().cloned())
            .collect()
    };
    let lead = |first: &str, second: String, row: &[String]| -> Vec<String> {
        [first.to_owned(), second]
            .into_iter()
            .chain(row.iter().cloned())
            .collect()
    };
    if !["successfulResults", "failedResults", "unprocessedrecords"].contains(&which) {
        return Err(Refusal::not_found());
    }
    if !job.stage.terminal() {
        return Err(Refusal::new(
            400,
            "INVALIDJOBSTATE",
            "results are not there before the job has ended",
        ));
    }
    let csv = match which {
        "successfulResults" => job.format.write(
            &sf(&["sf__Id", "sf__Created"]),
            work.saved
                .iter()
                .map(|(id, created, row)| lead(id, created.to_string(), row)),
        ),
        "failedResults" => job.format.write(
            &sf(&["sf__Id", "sf__Error"]),
            work.refused
                .iter()
                .map(|(id, error, row)| lead(id, error.clone(), row)),
        ),
        _ => job
            .format
            .write(&work.header, work.untouched.iter().cloned()),
    };
    Ok(Reply::raw(200, CSV, csv))
}
