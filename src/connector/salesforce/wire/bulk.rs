//! Bulk API 2.0: large reads and large writes as jobs.
//!
//! Sources: Bulk API 2.0 guide, query jobs and ingest jobs. A job that says `JobComplete` may hold
//! failed rows, and one that says `Failed` may hold rows that were saved.

use super::rows::Cell;
use super::{Org, rows};
use crate::connector::http::{Answer, Body, Method};
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use serde::{Deserialize, Serialize};

/// The two kinds of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Query,
    /// Writes.
    Ingest,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Ingest => "ingest",
        }
    }

    const fn call(self) -> &'static str {
        match self {
            Self::Query => "bulk-query",
            Self::Ingest => "bulk-ingest",
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It waits for its upload to be closed.
    Open,
    /// It waits or runs.
    Running,
    /// It is done.
    Complete,
    /// It failed or was aborted.
    Ended,
}

/// A job as the platform tells of it.
#[derive(Debug, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    state: String,
    /// Rows it has worked on.
    #[serde(rename = "numberRecordsProcessed", default)]
    pub processed: Option<u64>,
}

impl Job {
    /// How far it is.
    pub fn progress(&self) -> Progress {
        match self.state.as_str() {
            "Open" => Progress::Open,
            "JobComplete" => Progress::Complete,
            "Failed" | "Aborted" => Progress::Ended,
            _ => Progress::Running,
        }
    }
}

#[derive(Serialize)]
struct NewQuery<'a> {
    operation: &'a str,
    query: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewIngest<'a> {
    object: &'a str,
    operation: &'a str,
    content_type: &'a str,
    line_ending: &'a str,
}

#[derive(Serialize)]
struct NewState<'a> {
    state: &'a str,
}

/// A part of a query's result.
pub struct Part {
    /// Its rows.
    pub rows: Vec<Vec<Cell<'static>>>,
    /// Where the next part begins; `None` behind the last one.
    pub next: Option<String>,
    /// The vendor's time.
    pub asked_at: Option<At>,
}

/// The lists of an ingest job's rows, as pairs of the record's id and the error text.
#[derive(Debug, Default)]
pub struct Results {
    /// Saved rows.
    pub saved: Vec<String>,
    /// Refused rows.
    pub refused: Vec<(String, String)>,
    /// Rows the job never came to.
    pub unprocessed: Vec<String>,
}

impl Org {
    async fn create(&self, kind: Kind, body: Body) -> Result<(Job, Option<At>), Fault> {
        let path = format!("jobs/{}", kind.path());
        let answer = self
            .data(kind.call(), Method::POST, &path, &[], &[], body)
            .await?;
        Ok((answer.parse(kind.call())?, answer.asked_at))
    }

    /// Starts a query job.
    pub async fn start_query(&self, text: &str) -> Result<(Job, Option<At>), Fault> {
        let new = NewQuery {
            operation: "query",
            query: text,
        };
        self.create(Kind::Query, super::json("bulk-query", &new)?)
            .await
    }

    /// Starts an ingest job that changes records of `object`.
    pub async fn start_update(&self, object: &str) -> Result<Job, Fault> {
        let new = NewIngest {
            object,
            operation: "update",
            content_type: "CSV",
            line_ending: "LF",
        };
        Ok(self
            .create(Kind::Ingest, super::json("bulk-ingest", &new)?)
            .await?
            .0)
    }

    /// Uploads the rows of an ingest job.
    pub async fn upload(&self, job: &str, csv: Vec<u8>) -> Result<(), Fault> {
        let path = format!("jobs/ingest/{job}/batches");
        self.data("bulk-ingest", Method::PUT, &path, &[], &[], Body::Csv(csv))
            .await
            .map(drop)
    }

    /// Moves a job to `UploadComplete` or `Aborted`.
    pub async fn move_job(&self, kind: Kind, job: &str, state: &str) -> Result<(), Fault> {
        let body = super::json(kind.call(), &NewState { state })?;
        let path = format!("jobs/{}/{job}", kind.path());
        self.data(kind.call(), Method::PATCH, &path, &[], &[], body)
            .await
            .map(drop)
    }

    /// How far a job is, and the vendor's time.
    pub async fn job(&self, kind: Kind, job: &str) -> Result<(Job, Option<At>), Fault> {
        let path = format!("jobs/{}/{job}", kind.path());
        let answer = self
            .data(kind.call(), Method::GET, &path, &[], &[], Body::None)
            .await?;
        Ok((answer.parse(kind.call())?, answer.asked_at))
    }

    /// A part of a query's result.
    ///
    /// # Errors
    /// Also when the header that tells the next part is missing: that is not the end, but a broken
    /// intermediary.
    pub async fn part(
        &self,
        job: &str,
        locator: Option<&str>,
        most: usize,
        columns: &[String],
    ) -> Result<Part, Fault> {
        let most = most.to_string();
        let mut params = vec![("maxRecords", most.as_str())];
        params.extend(locator.map(|locator| ("locator", locator)));
        let path = format!("jobs/query/{job}/results");
        let answer = self
            .data("bulk-query", Method::GET, &path, &params, &[], Body::None)
            .await?;
        let next = match answer.header("sforce-locator") {
            Some("null") => None,
            Some(next) if !next.is_empty() && Some(next) != locator => Some(next.to_owned()),
            Some(_) => return Err(broken("the next part of the result is this one again")),
            None => return Err(broken("the result does not say where its next part begins")),
        };
        Ok(Part {
            rows: csv(&answer, columns)?,
            next,
            asked_at: answer.asked_at,
        })
    }

    /// What became of the rows of an ingest job.
    pub async fn results(&self, job: &str) -> Result<Results, Fault> {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let text = |row: &[Cell<'_>], at: usize| {
            row[at].text().ok().flatten().unwrap_or_default().to_owned()
        };
        let saved = self
            .list(job, "successfulResults", &names(&["sf__Id", "Id"]))
            .await?;
        let refused = self
            .list(job, "failedResults", &names(&["sf__Id", "Id", "sf__Error"]))
            .await?;
        let unprocessed = self
            .list(job, "unprocessedrecords", &names(&["Id"]))
            .await?;
        Ok(Results {
            saved: saved.iter().map(|row| text(row, 1)).collect(),
            refused: refused
                .iter()
                .map(|row| (text(row, 1), text(row, 2)))
                .collect(),
            unprocessed: unprocessed.iter().map(|row| text(row, 0)).collect(),
        })
    }

    async fn list(
        &self,
        job: &str,
        name: &str,
        columns: &[String],
    ) -> Result<Vec<Vec<Cell<'static>>>, Fault> {
        let path = format!("jobs/ingest/{job}/{name}");
        let answer = self
            .data("bulk-ingest", Method::GET, &path, &[], &[], Body::None)
            .await?;
        csv(&answer, columns)
    }
}

fn csv(answer: &Answer, columns: &[String]) -> Result<Vec<Vec<Cell<'static>>>, Fault> {
    let start = answer.body.trim_ascii_start();
    if start.first() == Some(&b'<') {
        return Err(broken("a web page instead of a result"));
    }
    rows::csv_rows(&answer.body, columns).map_err(|reason| broken(&reason))
}

fn broken(what: &str) -> Fault {
    Fault::new(
        FaultClass::ContractBroken,
        "bulk-result",
        format!("bulk: {what}"),
    )
}
