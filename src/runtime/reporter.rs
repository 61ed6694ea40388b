//! From what the engine tells to the health board and the metrics.

use super::clock::Clock;
use super::health::{Board, Breaker};
use crate::connector::FaultClass;
use crate::sync::engine::{Event, Listener};
use metrics::{counter, histogram};
use std::sync::Arc;

/// Hears the engine.
pub struct Reporter {
    /// Where health is noted.
    pub board: Arc<Board>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
}

impl Listener for Reporter {
    fn hear(&self, system: &str, event: Event) {
        let name = || ("system", system.to_owned());
        match event {
            Event::Probed(probe) => {
                if let Some(missing) = probe.missing.first() {
                    tracing::debug!(system, missing, "{system} is not usable yet");
                }
            }
            Event::Stored {
                contacts,
                poison,
                rows,
            } => {
                let now = self.clock.now();
                self.board.store_written(now);
                self.board.polled(system, now, None);
                counter!("consentd_contacts_read_total", &[name()]).increment(contacts as u64);
                counter!("consentd_records_quarantined_total", &[name()]).increment(poison as u64);
                counter!("consentd_rows_written_total", &[name()]).increment(rows);
            }
            // Health counts from the beginning of the last complete poll. `drained` is earlier by the
            // overlap that every poll reads again, so it would show a lag where there is none.
            Event::Drained { at, took, .. } => {
                let took_micros = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
                self.board.polled(system, at, Some(at.minus(took_micros)));
                histogram!("consentd_poll_duration_seconds", &[name()]).record(took.as_secs_f64());
            }
            Event::Emitted {
                applied,
                confirmed,
                postponed,
            } => {
                for (what, writes) in [
                    ("applied", applied),
                    ("confirmed", confirmed),
                    ("postponed", postponed),
                ] {
                    let labels = [name(), ("outcome", what.to_owned())];
                    counter!("consentd_writes_total", &labels).increment(writes as u64);
                }
            }
            Event::Fault(fault) => {
                self.board.failed(system, fault.class, &fault.code);
                if fault.class == FaultClass::Auth {
                    let now = self.clock.now();
                    self.board.login_refused(system, now, &fault.code);
                }
                let labels = [name(), ("class", fault.class.word().to_owned())];
                counter!("consentd_faults_total", &labels).increment(1);
            }
            Event::Store(_) => {
                self.board.store_failed();
                counter!("consentd_store_faults_total").increment(1);
            }
            Event::Breaker(until) => {
                self.board.breaker(
                    system,
                    if until.is_some() {
                        Breaker::Open
                    } else {
                        Breaker::Closed
                    },
                );
            }
            Event::Standing { paused, halted } => {
                self.board.paused(system, paused);
                self.board.halted(system, halted);
            }
        }
    }
}
