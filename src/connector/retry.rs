//! How long to wait before a failed attempt is made again.
//!
//! The one user of the crate `backoff`, and of its policy type only. Whether to try again is not
//! decided here.

use super::fault::{Fault, FaultClass};
use super::http::{LEAST_PAUSE, MOST_PAUSE};
use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use std::time::Duration;

/// The bound of the first pause after passing trouble.
const FIRST: Duration = Duration::from_secs(1);
/// The bound of the first pause when the vendor asked to slow down without saying for how long.
const FIRST_LIMITED: Duration = Duration::from_secs(30);
/// No pause without a vendor's request is longer.
const LONGEST: Duration = Duration::from_secs(900);
/// After so many attempts the bound has long reached [`LONGEST`].
const MOST_DOUBLINGS: u32 = 12;

/// The pause before attempt `attempt + 1`, where `attempt` counts from 1.
///
/// A pause that the vendor asked for is kept, with up to a tenth on top so that not all come back at
/// once. Otherwise the pause is anything from nothing to a bound that doubles with each attempt
/// (full jitter), but at least 100 ms. `jitter` gives numbers from 0 up to but excluding 1.
pub fn pause(attempt: u32, fault: &Fault, mut jitter: impl FnMut() -> f64) -> Duration {
    let share = jitter().clamp(0.0, 1.0);
    if let Some(asked) = fault.retry_after {
        return asked
            .clamp(LEAST_PAUSE, MOST_PAUSE)
            .mul_f64(1.0 + share / 10.0)
            .min(MOST_PAUSE);
    }
    let first = match fault.class {
        FaultClass::RateLimited => FIRST_LIMITED,
        FaultClass::Retryable
        | FaultClass::Auth
        | FaultClass::Rejected
        | FaultClass::ContractBroken => FIRST,
    };
    bound(attempt, first)
        .mul_f64(share)
        .max(Duration::from_millis(100))
}

/// The bound of the pause after that many attempts.
fn bound(attempt: u32, first: Duration) -> Duration {
    let mut policy = ExponentialBackoff {
        current_interval: first,
        initial_interval: first,
        // The jitter is drawn by the caller's own source of randomness.
        randomization_factor: 0.0,
        multiplier: 2.0,
        max_interval: LONGEST,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let mut bound = first;
    for _ in 0..attempt.clamp(1, MOST_DOUBLINGS) {
        bound = policy.next_backoff().unwrap_or(LONGEST);
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(class: FaultClass) -> Fault {
        Fault::new(class, "code", "words")
    }

    #[test]
    fn the_bound_doubles_up_to_its_end() {
        let bounds: Vec<u64> = (1..=12)
            .map(|attempt| pause(attempt, &fault(FaultClass::Retryable), || 1.0).as_secs())
            .collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(
            pause(u32::MAX, &fault(FaultClass::Retryable), || 1.0).as_secs(),
            900
        );
    }

    #[test]
    fn jitter_is_full_but_never_nothing() {
        assert_eq!(
            pause(5, &fault(FaultClass::Retryable), || 0.0),
            Duration::from_millis(100)
        );
        assert_eq!(
            pause(5, &fault(FaultClass::Retryable), || 0.5),
            Duration::from_secs(8)
        );
    }

    #[test]
    fn the_vendors_wish_outranks_the_schedule() {
        let asked = fault(FaultClass::RateLimited).after(Some(Duration::from_secs(40)));
        assert_eq!(pause(9, &asked, || 0.0), Duration::from_secs(40));
        assert_eq!(pause(9, &asked, || 0.5), Duration::from_secs(42));
        let huge = fault(FaultClass::RateLimited).after(Some(Duration::from_secs(1_000_000)));
        assert_eq!(pause(1, &huge, || 0.9), MOST_PAUSE);
    }

    #[test]
    fn a_limit_without_a_time_waits_longer_from_the_start() {
        assert_eq!(
            pause(1, &fault(FaultClass::RateLimited), || 1.0),
            FIRST_LIMITED
        );
    }
}
