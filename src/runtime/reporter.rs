//! Takes down what the engine tells, on the health board and in the metrics.

use super::clock::Clock;
use super::health::{Board, Breaker};
use crate::sync::engine::{Event, Listener};
use std::sync::Arc;

/// The engine's words for a feed that an operator paused; any other reason is a guard's.
const PAUSED: &str = "paused by an operator";

/// Listens to every system.
pub struct Reporter {
    /// Where health is kept.
    pub board: Arc<Board>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
}

impl Listener for Reporter {
    fn hear(&self, system: &str, event: Event) {
        let board = &self.board;
        let label = || ("system", system.to_owned());
        match event {
            Event::Probed(probe) => {
                if let Some(first) = probe.missing.first() {
                    // The words are the operator's affair and stand in the log.
                    tracing::debug!(%system, missing = probe.missing.len(), %first, "{system} is incomplete");
                }
            }
            Event::Stored {
                contacts,
                poison,
                rows,
            } => {
                metrics::counter!("consentd_contacts_read_total", &[label()])
                    .increment(contacts as u64);
                metrics::counter!("consentd_records_quarantined_total", &[label()])
                    .increment(poison as u64);
                metrics::counter!("consentd_rows_written_total", &[label()]).increment(rows);
                board.polled(system, self.clock.now(), None);
                board.store_written(self.clock.now());
            }
            // How far the feed has got is told without the overlap that every poll reads again:
            // what was there when the poll began has been read. The rest is in `drained`.
            Event::Drained {
                at,
                took,
                drained: _,
            } => {
                metrics::histogram!("consentd_poll_duration_seconds", &[label()])
                    .record(took.as_secs_f64());
                let took = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
                board.polled(system, at, Some(at.minus(took)));
            }
            Event::Emitted {
                applied,
                confirmed,
                postponed,
            } => {
                for (outcome, writes) in [
                    ("applied", applied),
                    ("confirmed", confirmed),
                    ("postponed", postponed),
                ] {
                    let labels = [label(), ("outcome", outcome.to_owned())];
                    metrics::counter!("consentd_writes_total", &labels).increment(writes as u64);
                }
            }
            Event::Fault(fault) => {
                let labels = [label(), ("class", fault.class.word().to_owned())];
                metrics::counter!("consentd_faults_total", &labels).increment(1);
                board.failed(system, fault.class, &fault.code);
            }
            Event::Store(_) => {
                metrics::counter!("consentd_store_faults_total", &[label()]).increment(1);
                board.store_failed();
            }
            Event::Breaker(until) => board.breaker(
                system,
                if until.is_some() {
                    Breaker::Open
                } else {
                    Breaker::Closed
                },
            ),
            Event::Standing(reason) => {
                let paused = reason.as_deref() == Some(PAUSED);
                board.paused(system, paused);
                board.halted(system, reason.is_some() && !paused);
            }
        }
    }
}
