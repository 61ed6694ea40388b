//! The check before mail is sent: what it answers, that it fails closed, and its surfaces (R41-R44,
//! G13, G25); with the rest of the API.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "checklist/api.rs"]
mod api;
#[expect(dead_code, reason = "these tests use a part of the rig")]
mod common;
#[path = "checklist/fakes.rs"]
mod fakes;
#[path = "checklist/live.rs"]
mod live;
#[path = "checklist/look_ups.rs"]
mod look_ups;
#[path = "checklist/openapi.rs"]
mod openapi;
#[path = "checklist/operators.rs"]
mod operators;
#[path = "checklist/requests.rs"]
mod requests;
#[path = "checklist/sendouts.rs"]
mod sendouts;

use consentd::sync::checklist::{Ask, CheckError, Checklist, Crew, Desk, Freshness, Line, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// Live.
const NOW: Freshness = Freshness::Within(Duration::ZERO);
/// From the store, however long ago a test began.
const STORED: Freshness = Freshness::Within(Duration::from_hours(1));

/// Checks a list at a desk of its own.
async fn try_check(
    crew: Crew,
    purpose: &str,
    freshness: Freshness,
    list: &[&str],
) -> Result<Checklist, CheckError> {
    let desk = Desk::new(Arc::new(crew));
    let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
    let ask = Ask {
        purpose: purpose.to_owned(),
        people: desk.people(&list).await?,
        freshness,
    };
    desk.check(&ask).await
}

async fn check(crew: Crew, purpose: &str, freshness: Freshness, list: &[&str]) -> Checklist {
    try_check(crew, purpose, freshness, list).await.unwrap()
}

/// `withdrawn by salesforce`, `send`, `duplicate of 0`.
fn told(line: &Line) -> String {
    let by = line.system.as_ref().map(|system| format!(" by {system}"));
    match line.outcome {
        Outcome::Answered(answer) => format!("{}{}", answer.word(), by.unwrap_or_default()),
        Outcome::Duplicate(first) => format!("duplicate of {first}"),
    }
}

fn answers(checklist: &Checklist) -> Vec<String> {
    checklist.lines.iter().map(told).collect()
}

/// `asked`, or why not, by system.
fn sources(checklist: &Checklist) -> Vec<String> {
    checklist
        .reports
        .iter()
        .map(|report| {
            let why = report.reason.as_ref().map(|why| format!(" ({why})"));
            format!(
                "{} {}{}",
                report.system,
                report.source.word(),
                why.unwrap_or_default()
            )
        })
        .collect()
}
