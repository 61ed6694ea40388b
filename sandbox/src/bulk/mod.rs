//! Bulk API 2.0: jobs that read or write many rows through CSV.
//!
//! A job's work is done in one go, when a query job completes or an upload is closed; its state then moves on with each
//! status poll, so that tests need no waiting: as many polls as the set-up says find it in progress, the next finds the
//! end. A stuck job stays in progress until it is aborted.

pub(crate) mod ingest;
pub(crate) mod query;
pub(crate) mod text;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::clock;
use crate::faults::{CallKind, Fault};
use crate::ids;
use crate::org::state::State;
use crate::refusal::Refusal;
use crate::rest::{Call, Reply, Session};
use text::Format;

/// Jobs that an org remembers.
pub(crate) const MAX_JOBS: usize = 1_000;
const JOB_PREFIX: &str = "750";

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Open => "Open",
            Stage::UploadComplete => "UploadComplete",
            Stage::InProgress => "InProgress",
            Stage::JobComplete => "JobComplete",
            Stage::Failed => "Failed",
            Stage::Aborted => "Aborted",
        }
    }

    /// No further change will come.
    pub(crate) fn terminal(self) -> bool {
        matches!(self, Stage::JobComplete | Stage::Failed | Stage::Aborted)
    }
}

/// What a job does.
#[derive(Debug)]
pub(crate) enum Work {
    Query(query::QueryWork),
    Ingest(ingest::IngestWork),
}

/// One job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) operation: String,
    pub(crate) object: String,
    pub(crate) version: String,
    pub(crate) stage: Stage,
    pub(crate) format: Format,
    pub(crate) error: Option<String>,
    pub(crate) processed: usize,
    pub(crate) failed: usize,
    pub(crate) work: Work,
    created_by: String,
    created: DateTime<Utc>,
    polls_left: u32,
    stuck: bool,
}

/// The jobs of one org, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    list: Vec<Job>,
    made: u64,
}

impl Jobs {
    /// Remembers a new job and returns its id.
    pub(crate) fn open(state: &mut State, session: Session<'_>, new: New) -> String {
        let created = state.now();
        let polls_left = state.settings.bulk_polls;
        let instance = state.system.instance();
        let jobs = &mut state.jobs;
        jobs.made += 1;
        if jobs.list.len() >= MAX_JOBS {
            jobs.list.remove(0);
        }
        let id = ids::make(JOB_PREFIX, instance, jobs.made);
        jobs.list.push(Job {
            id: id.clone(),
            operation: new.operation,
            object: new.object,
            version: session.version.to_owned(),
            stage: new.stage,
            format: new.format,
            error: None,
            processed: 0,
            failed: 0,
            work: new.work,
            created_by: session.user.to_owned(),
            created,
            polls_left,
            stuck: false,
        });
        id
    }

    /// A job by its id and kind.
    pub(crate) fn find(&mut self, id: &str, ingest: bool) -> Result<&mut Job, Refusal> {
        let id = ids::normalise(id).ok_or_else(Refusal::not_found)?;
        self.list
            .iter_mut()
            .find(|job| job.id == id && matches!(job.work, Work::Ingest(_)) == ingest)
            .ok_or_else(Refusal::not_found)
    }

    /// Takes a job out, to be worked on, or for good.
    pub(crate) fn take(&mut self, id: &str) -> Option<Job> {
        let place = self.list.iter().position(|job| job.id == id)?;
        Some(self.list.remove(place))
    }

    /// Puts a job back.
    pub(crate) fn put(&mut self, job: Job) {
        let place = self.list.partition_point(|other| other.id < job.id);
        self.list.insert(place, job);
    }
}

/// A job about to be opened.
pub(crate) struct New {
    pub(crate) operation: String,
    pub(crate) object: String,
    pub(crate) stage: Stage,
    pub(crate) format: Format,
    pub(crate) work: Work,
}

impl Job {
    /// Lets the faults that befall a job as a whole strike it. `Some` is the message of a failed one.
    pub(crate) fn strike(&mut self, state: &mut State, kind: CallKind) -> Option<String> {
        let stuck = state.faults.strike_own(kind, |fault| {
            matches!(fault, Fault::BulkStuck).then_some(())
        });
        self.stuck = stuck.is_some();
        state.faults.strike_own(kind, |fault| match fault {
            Fault::BulkFailed { message } => Some(
                message
                    .clone()
                    .unwrap_or_else(|| "InternalServerError : Processing failed".to_owned()),
            ),
            _ => None,
        })
    }

    /// One status poll: whether the job reaches its end with it.
    pub(crate) fn poll(&mut self) -> bool {
        if self.stage == Stage::UploadComplete {
            self.stage = Stage::InProgress;
        }
        if self.stage != Stage::InProgress || self.stuck {
            return false;
        }
        if self.polls_left > 0 {
            self.polls_left -= 1;
            return false;
        }
        true
    }

    /// The members that every answer about a job has.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let stamp = clock::rest_stamp(self.created);
        let body = json!({
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": stamp,
            "systemModstamp": stamp,
            "state": self.stage.name(),
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": self.version.parse::<f64>().unwrap_or_default(),
            "lineEnding": self.format.line_ending(),
            "columnDelimiter": self.format.delimiter_name(),
        });
        match body {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }

    /// As [`Job::json`], with what a status poll adds.
    pub(crate) fn status(&self) -> Value {
        let mut body = self.json();
        let kind = if matches!(self.work, Work::Ingest(_)) {
            "V2Ingest"
        } else {
            "V2Query"
        };
        body.insert("jobType".to_owned(), json!(kind));
        body.insert("numberRecordsProcessed".to_owned(), json!(self.processed));
        body.insert("retries".to_owned(), json!(0));
        body.insert("totalProcessingTime".to_owned(), json!(100));
        match self.work {
            Work::Query(_) => {
                body.insert("isPkChunkingSupported".to_owned(), json!(true));
            }
            Work::Ingest(_) => {
                body.insert("numberRecordsFailed".to_owned(), json!(self.failed));
                body.insert("apiActiveProcessingTime".to_owned(), json!(90));
                body.insert("apexProcessingTime".to_owned(), json!(0));
            }
        }
        if let (Stage::Failed, Some(error)) = (self.stage, &self.error) {
            body.insert("errorMessage".to_owned(), json!(error));
        }
        Value::Object(body)
    }
}

/// The jobs of one kind, for the list resources.
pub(crate) fn list(state: &State, ingest: bool) -> Reply {
    let records: Vec<Value> = state
        .jobs
        .list
        .iter()
        .filter(|job| matches!(job.work, Work::Ingest(_)) == ingest)
        .map(|job| Value::Object(job.json()))
        .collect();
    Reply::json(
        200,
        json!({"done": true, "records": records, "nextRecordsUrl": Value::Null}),
    )
}

/// The `state` that a PATCH of a job asks for.
pub(crate) fn wanted_state(call: &Call) -> Result<String, Refusal> {
    let body = call.json()?;
    let state = body.get("state").and_then(Value::as_str).map(str::to_owned);
    state.ok_or_else(|| Refusal::new(400, "INVALIDJOB", "state is required"))
}

/// Ends a job on request.
pub(crate) fn abort(job: &mut Job) -> Result<Reply, Refusal> {
    if job.stage.terminal() {
        let message = format!("Aborting already {} job not allowed", job.stage.name());
        return Err(Refusal::new(400, "INVALIDJOBSTATE", message));
    }
    job.stage = Stage::Aborted;
    Ok(Reply::json(200, Value::Object(job.json())))
}

/// Forgets a finished job.
pub(crate) fn delete(state: &mut State, id: &str, ingest: bool) -> Result<Reply, Refusal> {
    let job = state.jobs.find(id, ingest)?;
    if !job.stage.terminal() {
        let message = format!(
            "Error encountered when deleting the job because the job is not terminated: {id}"
        );
        return Err(Refusal::new(400, "API_ERROR", message));
    }
    let id = job.id.clone();
    drop(state.jobs.take(&id));
    Ok(Reply::empty(204))
}
