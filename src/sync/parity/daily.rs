//! The comparison of every day: a line in the log, figures, and files where a directory is configured.
//!
//! A report that was due while the daemon was down is not made up: the next one says as much.

use super::fresh::{Fresh, FreshError};
use super::{Parity, compare, compare_fresh, lists};
use crate::config::{Checked, ParityReport};
use crate::consent::At;
use crate::list::Format;
use crate::private_file;
use crate::store::StoreError;
use crate::sync::assemble::Connect;
use crate::sync::engine::Shared;
use crate::sync::schedule::next_round;
use crate::sync::switches;
use metrics::gauge;
use serde_json::json;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The wall clock is looked at again after this, since it may be set.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum DailyError {
    /// The store failed.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// A system cannot be asked.
    #[error(transparent)]
    Fresh(#[from] FreshError),
    /// The files cannot be written.
    #[error("the report cannot be written to {directory}")]
    Files {
        /// The configured directory.
        directory: String,
        /// Why.
        #[source]
        fault: io::Error,
    },
}

/// Makes the reports of one configuration.
pub struct Daily {
    /// The configuration.
    pub checked: Checked,
    /// What the engine shares.
    pub shared: Arc<Shared>,
    /// Builds connectors, for a report that asks the systems.
    pub connect: Arc<Connect>,
}

impl Daily {
    /// Makes a report at each of its times, until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        let clock = &self.shared.clock;
        let Some(schedule) = &self.checked.parity.schedule else {
            stop.cancelled().await;
            return;
        };
        let mut last = clock.now();
        while !stop.is_cancelled() {
            let now = clock.now();
            let Some(next) = next_round(schedule, last, now) else {
                stop.cancelled().await;
                return;
            };
            let micros = next.since(now).max(0).unsigned_abs();
            if micros > 0 {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_micros(micros).min(LOOK_INTERVAL)) => {}
                }
                continue;
            }
            last = now;
            if let Err(error) = self.report(now, stop).await {
                let cause = std::error::Error::source(&error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                tracing::error!("there is no parity report today: {error}{cause}");
            }
        }
    }

    /// Makes one report.
    ///
    /// # Errors
    /// When a store or a system cannot be read, or the files cannot be written.
    pub async fn report(&self, now: At, stop: &CancellationToken) -> Result<Parity, DailyError> {
        let settings = &self.checked.parity;
        let (store, rules) = (&*self.shared.store, &self.shared.rules);
        let parked = switches::parked(&self.checked, store).await?;
        let parity = if settings.full {
            let clock = Arc::clone(&self.shared.clock);
            let read = Fresh::read(&self.checked, store, &*self.connect, clock, stop);
            let fresh = read.await?;
            compare_fresh(store, rules, &parked, &fresh, now).await?
        } else {
            compare(store, rules, &parked, now).await?
        };
        show(&parity);
        tracing::info!(
            different = parity.different(),
            pairs_different = parity.pairs_different(),
            inconsistent = parity.inconsistent(),
            drift = parity.drifted,
            "parity: {} values differ from their verdicts, {} between systems, {} contacts are at odds \
             with themselves",
            parity.different(),
            parity.pairs_different(),
            parity.inconsistent(),
        );
        if let Some(directory) = &settings.directory {
            let files = files(&parity, settings, now);
            let folder = directory.clone();
            let written = tokio::task::spawn_blocking(move || write(&folder, &files?)).await;
            written
                .unwrap_or_else(|crash| Err(io::Error::other(crash)))
                .map_err(|fault| DailyError::Files {
                    directory: directory.display().to_string(),
                    fault,
                })?;
        }
        Ok(parity)
    }
}

/// Sets the figures of every two systems and purpose.
fn show(parity: &Parity) {
    for ((a, b, purpose), tally) in &parity.pairs {
        for (class, people) in [
            ("equal", tally.equal),
            ("different", tally.different),
            ("missing", tally.missing),
            ("held", tally.held),
        ] {
            let labels = [
                ("a", a.clone()),
                ("b", b.clone()),
                ("purpose", purpose.clone()),
                ("class", class.to_owned()),
            ];
            gauge!("consentd_parity_pairs", &labels).set(people as f64);
        }
    }
    gauge!("consentd_parity_inconsistent").set(parity.inconsistent() as f64);
}

/// The files of a report: name and content. The day is that of the schedule's zone.
fn files(parity: &Parity, settings: &ParityReport, now: At) -> io::Result<Vec<(String, Vec<u8>)>> {
    let day = now.to_datetime().with_timezone(&settings.time_zone);
    let name = format!("parity-{}", day.format("%Y-%m-%d"));
    let whole = json!({
        "at": now.to_string(),
        "asked": if settings.full { "systems" } else { "store" },
        "counts": {
            "different": parity.different(),
            "pairs_different": parity.pairs_different(),
            "inconsistent": parity.inconsistent(),
            "drift": parity.drifted,
            "under_way": parity.under_way,
            "moved": parity.moved,
        },
        "systems": lists::tallies(parity).value(),
        "pairs": lists::pairs(parity).value(),
        "differences": lists::differences(parity).value(),
        "pair_differences": lists::pair_differences(parity).value(),
        "inconsistencies": lists::inconsistencies(parity).value(),
        "drift": lists::drift(parity).value(),
    });
    let csv = lists::pair_differences(parity).render(Format::Csv)?;
    Ok(vec![
        (format!("{name}.csv"), csv.into_bytes()),
        (format!("{name}.json"), format!("{whole:#}\n").into_bytes()),
    ])
}

/// Writes the files, each whole or not at all, for the daemon's user alone.
fn write(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    files
        .iter()
        .try_for_each(|(name, content)| private_file::put(&folder.join(name), content))
}
