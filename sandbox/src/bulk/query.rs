//! Query jobs: a statement in, CSV parts out (Bulk API 2.0 guide: query jobs).
//!
//! Parts are named by opaque locators; the last one is told by the literal text `null` in `Sforce-Locator`. Results are
//! only given under the API version that the job was made with.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};

use super::text::Format;
use super::{Job, Jobs, New, Stage, Work, abort, delete, list, wanted_state};
use crate::faults::CallKind;
use crate::org::state::State;
use crate::org::table::{Cell, Slot};
use crate::refusal::Refusal;
use crate::rest::query::run;
use crate::rest::{Call, Reply, Session};
use crate::soql;

/// Links in one answer of `resultPages`.
pub(crate) const MAX_PAGE_LINKS: usize = 5;

/// A query job's statement and, once complete, its rows.
#[derive(Debug)]
pub(crate) struct QueryWork {
    statement: String,
    all: bool,
    fails: Option<String>,
    table: usize,
    columns: Vec<Vec<String>>,
    slots: Vec<Slot>,
}

/// Serves everything below `jobs/query`.
pub(crate) fn serve(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    rest: &[&str],
) -> Result<Reply, Refusal> {
    match (call.method.clone(), rest) {
        (Method::POST, []) => create(state, call, session),
        (Method::GET, []) => Ok(list(state, false)),
        (Method::GET, [id]) => status(state, id),
        (Method::PATCH, [id]) => {
            if wanted_state(call)? != "Aborted" {
                return Err(Refusal::new(
                    400,
                    "INVALIDJOBSTATE",
                    "a query job can only be aborted",
                ));
            }
            abort(state.jobs.find(id, false)?)
        }
        (Method::DELETE, [id]) => delete(state, id, false),
        (Method::GET, [id, "results"]) => results(state, call, session, id),
        (Method::GET, [id, "resultPages"]) if state.settings.bulk_result_pages => {
            result_pages(state, call, session, id)
        }
        (Method::GET | Method::POST | Method::PATCH | Method::DELETE, _) => {
            Err(Refusal::not_found())
        }
        (other, _) => Err(Refusal::method(other.as_str(), "GET, POST, PATCH, DELETE")),
    }
}

fn create(state: &mut State, call: &Call, session: Session<'_>) -> Result<Reply, Refusal> {
    let body = call.json()?;
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let operation = text("operation");
    if !["query", "queryAll"].contains(&operation.as_str()) {
        return Err(Refusal::new(
            400,
            "INVALIDJOB",
            "operation has to be query or queryAll",
        ));
    }
    let format = Format::of(&body)?;
    let statement = text("query");
    let parsed = soql::parse(&statement)?;
    if parsed.offset().is_some() {
        return Err(Refusal::new(
            400,
            "API_ERROR",
            "OFFSET is not supported in Bulk Query",
        ));
    }
    let all = operation == "queryAll";
    // Run once for its complaints; the rows are taken when the job completes.
    let rows = run(state, &statement, all)?;
    if rows.plan.is_count() {
        return Err(Refusal::new(
            400,
            "API_ERROR",
            "Aggregate Relationships not supported in Bulk Query",
        ));
    }
    let object = state.tables[rows.table].object.name.to_owned();
    let work = QueryWork {
        statement,
        all,
        fails: None,
        table: rows.table,
        columns: rows.plan.columns().to_vec(),
        slots: Vec::new(),
    };
    let new = New {
        operation,
        object,
        stage: Stage::UploadComplete,
        format,
        work: Work::Query(work),
    };
    let id = Jobs::open(state, session, new);
    let mut job = state.jobs.take(&id).ok_or_else(Refusal::not_found)?;
    let fails = job.strike(state, CallKind::BulkQuery);
    if let Work::Query(work) = &mut job.work {
        work.fails = fails;
    }
    let answer = Reply::json(200, Value::Object(job.json()));
    state.jobs.put(job);
    Ok(answer)
}

fn status(state: &mut State, id: &str) -> Result<Reply, Refusal> {
    let id = state.jobs.find(id, false)?.id.clone();
    let mut job = state.jobs.take(&id).ok_or_else(Refusal::not_found)?;
    if job.poll() {
        finish(state, &mut job);
    }
    let answer = Reply::json(200, job.status());
    state.jobs.put(job);
    Ok(answer)
}

fn finish(state: &State, job: &mut Job) {
    let Work::Query(work) = &mut job.work else {
        return;
    };
    let outcome = match work.fails.take() {
        Some(message) => Err(message),
        None => run(state, &work.statement, work.all).map_err(|refusal| refusal.message),
    };
    match outcome {
        Ok(rows) => {
            job.processed = rows.slots.len();
            work.slots = rows.slots;
            job.stage = Stage::JobComplete;
        }
        Err(message) => {
            job.error = Some(message);
            job.stage = Stage::Failed;
        }
    }
}

fn finished<'a>(state: &'a mut State, session: Session<'_>, id: &str) -> Result<&'a Job, Refusal> {
    let job = state.jobs.find(id, false)?;
    if job.version != session.version {
        let message = "The API version of the request differs from that of the job";
        return Err(Refusal::new(409, "API_ERROR", message));
    }
    if job.stage != Stage::JobComplete {
        let message = format!("results are not there: the job is {}", job.stage.name());
        return Err(Refusal::new(400, "INVALIDJOBSTATE", message));
    }
    Ok(job)
}

fn locator(offset: usize) -> String {
    STANDARD_NO_PAD.encode(offset.to_string())
}

fn offset_of(call: &Call, rows: usize) -> Result<usize, Refusal> {
    let Some(text) = call.param("locator").filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    STANDARD_NO_PAD
        .decode(text.trim_end_matches('='))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse().ok())
        .filter(|offset| *offset <= rows)
        .ok_or_else(|| Refusal::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))
}

fn part_rows(call: &Call, default: usize) -> usize {
    call.param("maxRecords")
        .and_then(|text| text.parse().ok())
        .filter(|rows| *rows > 0)
        .unwrap_or(default)
        .max(1)
}

fn results(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    id: &str,
) -> Result<Reply, Refusal> {
    let default = state.settings.bulk_part_rows;
    let job = finished(state, session, id)?;
    let id = job.id.clone();
    let job = state.jobs.take(&id).ok_or_else(Refusal::not_found)?;
    let answer = part(state, call, &job, default);
    state.jobs.put(job);
    answer
}

fn part(state: &State, call: &Call, job: &Job, default: usize) -> Result<Reply, Refusal> {
    let Work::Query(work) = &job.work else {
        return Err(Refusal::not_found());
    };
    let from = offset_of(call, work.slots.len())?;
    let to = from
        .saturating_add(part_rows(call, default))
        .min(work.slots.len());
    let header: Vec<String> = work.columns.iter().map(|path| path.join(".")).collect();
    let now = state.now();
    let rows = work.slots[from..to].iter().map(|slot| {
        let view = state.view(work.table, *slot, now);
        work.columns
            .iter()
            .map(move |path| view.at(path).map_or(String::new(), Cell::csv))
    });
    let csv = job.format.write(&header, rows);
    let next = if to < work.slots.len() {
        locator(to)
    } else {
        "null".to_owned()
    };
    Ok(Reply::raw(200, "text/csv", csv)
        .with("Sforce-Locator", next)
        .with("Sforce-NumberOfRecords", (to - from).to_string()))
}

fn result_pages(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
    id: &str,
) -> Result<Reply, Refusal> {
    let size = state.settings.bulk_part_rows.max(1);
    let job = finished(state, session, id)?;
    let Work::Query(work) = &job.work else {
        return Err(Refusal::not_found());
    };
    let base = format!("{}/jobs/query/{}", session.base(), job.id);
    let mut offset = offset_of(call, work.slots.len())?;
    let mut links = Vec::new();
    while links.len() < MAX_PAGE_LINKS && (offset < work.slots.len() || offset == 0) {
        links.push(json!({"resultUrl": format!("{base}/results?locator={}&maxRecords={size}", locator(offset))}));
        offset += size;
    }
    let done = offset >= work.slots.len();
    let next = if done {
        Value::Null
    } else {
        json!(format!("{base}/resultPages?locator={}", locator(offset)))
    };
    Ok(Reply::json(
        200,
        json!({"resultPages": links, "nextRecordsUrl": next, "done": done}),
    ))
}
