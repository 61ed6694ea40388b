//! The lock file: two loads never run at once, whoever they are.
//!
//! A lock of ours that is there is one that a crash left, since one daemon writes one batch at a time;
//! it is taken over. A lock of somebody else is never broken, however old: only its age is told.

use super::place::Place;
use super::text::{instant, parse_instant};
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The file.
pub(super) const LOCK: &str = "exchange.lock";
/// No lock says more.
const MOST_BYTES: u64 = 4_096;
/// How often the lock is tried for while it comes and goes.
const MAX_TRIES: usize = 3;
/// When to try again while somebody else holds it.
const PAUSE: Duration = Duration::from_mins(1);

/// Who holds the lock, and since when if it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// The first word in the file.
    pub(super) owner: String,
    /// The second.
    pub(super) since: Option<At>,
}

/// Who holds the lock; nobody when there is none.
pub(super) async fn holder(place: &Place) -> Result<Option<Holder>, Fault> {
    let Some(bytes) = place.read(LOCK, MOST_BYTES).await? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    Ok(Some(Holder {
        owner: words.next().unwrap_or_default().chars().take(64).collect(),
        since: words.next().and_then(parse_instant),
    }))
}

/// Takes the lock. `in_doubt` is kept between two calls: whether making it was left unanswered.
///
/// # Errors
/// `locked` while somebody else holds it, `lock-stale` once that has lasted longer than `stale`.
pub(super) async fn take(
    place: &Place,
    owner: &str,
    now: At,
    stale: Duration,
    in_doubt: &AtomicBool,
) -> Result<(), Fault> {
    let text = format!("{owner} {}\n", instant(now));
    for _ in 0..MAX_TRIES {
        match place.create(LOCK, text.as_bytes()).await {
            Ok(true) => {
                in_doubt.store(false, Ordering::Relaxed);
                return Ok(());
            }
            Ok(false) => {}
            Err(fault) => {
                in_doubt.fetch_or(fault.maybe_sent, Ordering::Relaxed);
                return Err(fault);
            }
        }
        let Some(holder) = holder(place).await? else {
            continue;
        };
        let half_made = holder.owner.is_empty() && in_doubt.load(Ordering::Relaxed);
        if holder.owner != owner && !half_made {
            return Err(held(&holder, now, stale));
        }
        tracing::warn!(
            owner,
            "taking over our own lock, which an earlier attempt left behind"
        );
        place.remove(LOCK).await?;
    }
    Err(Fault::new(
        FaultClass::Retryable,
        "locked",
        "the lock of the exchange folder comes and goes; trying again later",
    )
    .after(Some(PAUSE)))
}

fn held(holder: &Holder, now: At, stale: Duration) -> Fault {
    // A name may be anything; only words of it are told.
    let owner: String = holder
        .owner
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect();
    let stale = i64::try_from(stale.as_micros()).unwrap_or(i64::MAX);
    let since = holder
        .since
        .map_or("it does not say when".to_owned(), instant);
    if holder.since.is_some_and(|since| now.since(since) > stale) {
        return Fault::new(
            FaultClass::Retryable,
            "lock-stale",
            format!(
                "{LOCK} is held by {owner} since {since}, longer than lock_stale_hours; if that load is \
                 dead, remove the file"
            ),
        )
        .after(Some(PAUSE));
    }
    Fault::new(
        FaultClass::Retryable,
        "locked",
        format!("{LOCK} is held by {owner} since {since}; waiting for that load to end"),
    )
    .after(Some(PAUSE))
}

/// Gives the lock back.
pub(super) async fn release(place: &Place) -> Result<(), Fault> {
    place.remove(LOCK).await
}
