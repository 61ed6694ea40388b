//! Decides all subjects anew in the background once the rules have changed, by a reload or between
//! two runs: a verdict is a function of statements and rules (R18), and names the rules it was made
//! under (R23).
//!
//! A page of subjects is decided in one transaction, together with the note of how far this has come,
//! so that it goes on there after a restart. Whatever is read or written meanwhile is decided under
//! the present rules anyway. Between two pages others get as much time as a page took.

use super::engine::Shared;
use super::pack::Packer;
use super::workbench::{FLIP_WINDOW, Workbench, transact};
use crate::store::{Applied, Changes, Decided, Scope, StoreError, SubjectRef};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Subjects decided in one transaction.
pub const PAGE: usize = 500;
/// The longest pause between two pages.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// Decides what is left to decide, and waits until told to stop.
pub async fn run(shared: &Shared, stop: &CancellationToken) {
    while let Err(error) = decide_all(shared, stop).await {
        tracing::error!(%error, "subjects cannot be decided anew yet: {error}");
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(STORE_PAUSE) => {}
        }
    }
    stop.cancelled().await;
}

/// Decides every subject that was not decided under the present rules since they came into force.
/// How many were looked at; it ends early when told to stop.
///
/// # Errors
/// When the store fails. What was decided stays decided.
pub async fn decide_all(shared: &Shared, stop: &CancellationToken) -> Result<u64, StoreError> {
    let policy = &shared.rules.policy.version;
    let before = shared.store.decided().await?;
    let mut after = match before.through {
        None if before.policy == *policy => return Ok(0),
        Some(through) if before.policy == *policy => through,
        None | Some(_) => 0,
    };
    let packer = Packer::new(&shared.rules);
    let mut looked_at = 0;
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let page = shared.store.subjects_after(after, PAGE).await?.subjects;
        if looked_at == 0 && !page.is_empty() {
            tracing::info!(%policy, "the rules have changed: all subjects are decided anew under policy {policy}");
        }
        let through = page.last().map(|subject| subject.id);
        let subjects = page.iter().map(|subject| subject.subject).collect();
        decide(shared, &packer, subjects, through).await?;
        looked_at += page.len() as u64;
        let Some(through) = through else {
            if looked_at > 0 {
                tracing::info!(%policy, subjects = looked_at, "{looked_at} subjects are decided anew");
            }
            break;
        };
        after = through;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(begun.elapsed().min(LONGEST_PAUSE)) => {}
        }
    }
    Ok(looked_at)
}

/// Decides these subjects and notes that all up to `through` have been, or simply all.
async fn decide(
    shared: &Shared,
    packer: &Packer<'_>,
    subjects: Vec<SubjectRef>,
    through: Option<i64>,
) -> Result<(), StoreError> {
    let frame = shared.frame(false);
    let decided = Decided {
        policy: shared.rules.policy.version.clone(),
        through,
    };
    let scope = Scope {
        subjects: subjects.clone(),
        flips_since: Some(frame.now.minus(FLIP_WINDOW).micros()),
        ..Scope::default()
    };
    let act = |bench: &mut Workbench<'_>| {
        for subject in &subjects {
            bench.decide_anew(*subject);
        }
        Ok(())
    };
    let complete = |changes: &mut Changes| changes.decided = Some(decided.clone());
    let applied = transact(&*shared.store, scope, frame, packer, act, complete).await?;
    if matches!(applied, Applied::Stored { rows } if rows > 0) {
        shared.wake_all_emitters();
    }
    Ok(())
}
