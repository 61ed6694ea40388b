//! Setting the fields of many contacts by a bulk job.

use super::map::Shape;
use super::wire::bulk::{Kind, Progress, Results};
use super::wire::faults::{self, Refusal};
use super::wire::{FieldValue, Org, soql};
use super::write::Ready;
use crate::connector::{Fault, FaultClass, Outcome};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The pause behind the first look at a job; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Sends all rows as one job and tells what became of each, in order.
///
/// # Errors
/// Only when the job was not started, so that nothing of it can have happened.
pub async fn ingest(org: &Org, shape: &Shape, rows: &[Ready<'_>]) -> Result<Vec<Outcome>, Fault> {
    let csv = csv(shape, rows)?;
    // A job that never gets its upload closed does nothing.
    let job = org.start_update(&shape.object).await.map_err(unsent)?.id;
    if let Err(fault) = org.upload(&job, csv).await {
        abort(org, &job).await;
        return Err(unsent(fault));
    }
    if let Err(fault) = org.move_job(Kind::Ingest, &job, "UploadComplete").await
        && (!fault.maybe_sent || still_open(org, &job).await)
    {
        abort(org, &job).await;
        return Err(unsent(fault));
    }
    let unknown = |fault: Fault| vec![Outcome::Unknown(fault.maybe_sent()); rows.len()];
    if let Err(fault) = wait(org, &job).await {
        return Ok(unknown(fault));
    }
    match org.results(&job).await {
        Ok(results) => Ok(outcomes(rows, &results)),
        Err(fault) => Ok(unknown(fault)),
    }
}

fn unsent(mut fault: Fault) -> Fault {
    fault.maybe_sent = false;
    fault
}

async fn abort(org: &Org, job: &str) {
    // The platform drops an open job by itself after some days.
    org.move_job(Kind::Ingest, job, "Aborted").await.ok();
}

/// Whether the job is sure to be still waiting for the end of its upload.
async fn still_open(org: &Org, job: &str) -> bool {
    org.job(Kind::Ingest, job)
        .await
        .is_ok_and(|(job, _)| job.progress() == Progress::Open)
}

/// Waits for the end of a job. One that takes too long is aborted; its results then tell how far
/// it came.
async fn wait(org: &Org, job: &str) -> Result<(), Fault> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let late = started.elapsed() > org.settings().bulk_deadline;
        match org.job(Kind::Ingest, job).await {
            Ok((seen, _)) => match seen.progress() {
                Progress::Complete | Progress::Ended => return Ok(()),
                Progress::Open | Progress::Running if late => {
                    return org.move_job(Kind::Ingest, job, "Aborted").await;
                }
                Progress::Open | Progress::Running => {}
            },
            Err(fault) if late || fault.class != FaultClass::Retryable => return Err(fault),
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn csv(shape: &Shape, rows: &[Ready<'_>]) -> Result<Vec<u8>, Fault> {
    let used: Vec<&str> = shape
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .filter(|name| {
            rows.iter()
                .any(|(.., fields)| fields.iter().any(|(used, _)| used == name))
        })
        .collect();
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let bad = |_: csv::Error| {
        Fault::new(
            FaultClass::Rejected,
            "request",
            "bulk-ingest: the rows cannot be written",
        )
    };
    writer
        .write_record(std::iter::once("Id").chain(used.iter().copied()))
        .map_err(bad)?;
    for (_, id, fields) in rows {
        // An empty value leaves its field alone.
        let values = used
            .iter()
            .map(|name| match fields.iter().find(|(used, _)| used == name) {
                Some((_, FieldValue::Flag(true))) => "true",
                Some((_, FieldValue::Flag(false))) => "false",
                Some((_, FieldValue::Text(text))) => text,
                None => "",
            });
        writer
            .write_record(std::iter::once(id.as_str()).chain(values))
            .map_err(bad)?;
    }
    writer.into_inner().map_err(|_| {
        Fault::new(
            FaultClass::Rejected,
            "request",
            "bulk-ingest: the rows cannot be written",
        )
    })
}

/// What became of each row, by the id that the lists name it by.
fn outcomes(rows: &[Ready<'_>], results: &Results) -> Vec<Outcome> {
    let mut known: HashMap<String, Outcome> = HashMap::new();
    let full = |id: &String| soql::full_id(id).unwrap_or_else(|| id.clone());
    for id in &results.unprocessed {
        let fault = Fault::new(
            FaultClass::Retryable,
            "unprocessed",
            "the bulk job never came to this row",
        );
        known.insert(full(id), Outcome::Failed(fault));
    }
    for id in &results.saved {
        known.insert(full(id), Outcome::Applied);
    }
    // Last, since a row that stands in two lists is not known to be saved.
    for (id, error) in &results.refused {
        known.insert(full(id), Outcome::Failed(faults::of_row(&[refusal(error)])));
    }
    let lost = || {
        Outcome::Unknown(
            Fault::new(
                FaultClass::ContractBroken,
                "no-result",
                "the bulk job's lists do not name this row",
            )
            .maybe_sent(),
        )
    };
    rows.iter()
        .map(|(_, id, _)| known.get(id).cloned().unwrap_or_else(lost))
        .collect()
}

/// `CODE:message:fields --`
fn refusal(error: &str) -> Refusal {
    let (code, rest) = error.split_once(':').unwrap_or((error, ""));
    Refusal {
        code: code.trim().to_owned(),
        message: rest.trim_end_matches("--").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_a_job_finds_its_rows() {
        let id = |number: u32| soql::full_id(&format!("0035e0000{number:06}")).unwrap();
        let rows: Vec<Ready<'_>> = (0..4)
            .map(|number| (number as usize, id(number), Vec::new()))
            .collect();
        let results = Results {
            saved: vec![id(2)],
            refused: vec![(
                id(0)[..15].to_owned(),
                "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--".to_owned(),
            )],
            unprocessed: vec![id(1)],
        };
        let codes: Vec<String> = outcomes(&rows, &results)
            .iter()
            .map(|outcome| match outcome {
                Outcome::Applied => "applied".to_owned(),
                Outcome::Failed(fault) => format!("{:?} {}", fault.class, fault.code),
                Outcome::Unknown(fault) => format!("unknown {}", fault.code),
                Outcome::HandedOver { batch, .. } => format!("handed over {batch}"),
            })
            .collect();
        assert_eq!(
            codes,
            [
                "Retryable UNABLE_TO_LOCK_ROW",
                "Retryable unprocessed",
                "applied",
                "unknown no-result"
            ]
        );
    }
}
