//! The circuit breaker of one system (R36): after repeated faults of the whole system its calls
//! pause, so that an outage costs neither quota nor log lines, and no other system notices.

use crate::connector::{Fault, FaultClass, retry};
use crate::consent::At;
use std::sync::{Mutex, PoisonError};

/// So many faults of the whole system in a row open the breaker.
pub const FAULTS_TO_OPEN: u32 = 3;

/// Shared by a system's poller and emitter.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    faults: u32,
    open_until: Option<At>,
}

impl Breaker {
    /// Until when no call should be made; none when calls may go.
    pub fn open_until(&self, now: At) -> Option<At> {
        self.state().open_until.filter(|until| *until > now)
    }

    /// A call succeeded.
    pub fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// A call failed for the whole system. The pause that follows, in microseconds; a pause that
    /// the vendor asked for, a login that is refused and a used-up allowance open the breaker at
    /// once, passing trouble only when it repeats.
    pub fn failed(&self, fault: &Fault, now: At, jitter: impl FnMut() -> f64) -> i64 {
        let mut state = self.state();
        state.faults = state.faults.saturating_add(1);
        let pause = retry::pause(state.faults, fault, jitter);
        let pause = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        let at_once = match fault.class {
            FaultClass::RateLimited | FaultClass::Auth => true,
            FaultClass::Retryable | FaultClass::Rejected | FaultClass::ContractBroken => false,
        };
        if at_once || fault.retry_after.is_some() || state.faults >= FAULTS_TO_OPEN {
            state.open_until = Some(now.plus(pause));
        }
        pause
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is two plain values: whatever a panicking holder left is still usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: At = At::from_micros(1_000_000_000_000_000);

    #[test]
    fn r36_passing_trouble_opens_the_breaker_only_when_it_repeats() {
        let breaker = Breaker::default();
        let fault = Fault::new(FaultClass::Retryable, "http-503", "away");
        for _ in 1..FAULTS_TO_OPEN {
            breaker.failed(&fault, NOW, || 0.5);
            assert_eq!(breaker.open_until(NOW), None);
        }
        breaker.failed(&fault, NOW, || 0.5);
        assert!(
            breaker.open_until(NOW).is_some(),
            "the third fault in a row"
        );
        breaker.succeeded();
        assert_eq!(breaker.open_until(NOW), None, "one success closes it");
    }

    #[test]
    fn r35_a_vendors_pause_is_kept_from_the_first_time() {
        let breaker = Breaker::default();
        let fault = Fault::new(FaultClass::RateLimited, "http-429", "slow down")
            .after(Some(Duration::from_secs(40)));
        let pause = breaker.failed(&fault, NOW, || 0.0);
        assert_eq!(pause, 40_000_000);
        assert_eq!(breaker.open_until(NOW), Some(NOW.plus(40_000_000)));
        assert_eq!(breaker.open_until(NOW.plus(40_000_000)), None, "and ends");
    }
}
