//! Stores what is raised and cleared, and delivers both.
//!
//! The log hears at once. Every other channel is told in a loop of its own, so that a slow one delays
//! no other; where each stands is in the store, with the time of the next attempt. A channel is told of
//! an all-clear only where it was told of the alarm. A delivery is claimed before it is made, so of two
//! daemons on one store one makes it; what was under way when a daemon died is made again.

use super::{Followed, Kind, Levels, Severity, View, compare, levels};
use crate::connector::{Fault, FaultClass, retry};
use crate::consent::At;
use crate::runtime::clock::Clock;
use crate::store::{AlarmPost, AlarmRow, AlarmStep, Store, StoreError};
use async_trait::async_trait;
use futures::future::join_all;
use metrics::{counter, gauge};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Attempts to tell a channel of one thing; with the longest pause of 15 minutes that is about a day.
pub const MOST_ATTEMPTS: i32 = 200;
/// A delivery that was claimed and not settled within this time is made again. Longer than any takes.
pub const LEASE: Duration = Duration::from_mins(3);
/// Without news the store is looked at again after this, for what another daemon raised.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// What is delivered: an alarm, or its all-clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same at every attempt, another for the all-clear.
    pub id: String,
    /// Word of the alarm's kind.
    pub kind: String,
    /// What it is about.
    pub about: String,
    /// The system it is about, if it is about one.
    pub system: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Since when it is so.
    pub since: At,
    /// When it was raised.
    pub raised_at: At,
    /// When it was over; none for the alarm itself.
    pub cleared_at: Option<At>,
    /// What happened and what to do.
    pub text: String,
}

impl Notice {
    fn of(row: &AlarmRow) -> Self {
        let kind = Kind::from_word(&row.kind);
        let what = if row.cleared_at.is_some() {
            "cleared"
        } else {
            "raised"
        };
        let text = format!("{}\n{}\n{}\n{what}", row.kind, row.about, row.raised_at);
        Self {
            id: format!("alarm_{:024x}", mark::<12>(&text)),
            kind: row.kind.clone(),
            about: row.about.clone(),
            system: kind
                .is_some_and(Kind::is_of_system)
                .then(|| row.about.clone()),
            severity: kind.map_or(Severity::Warning, Kind::severity),
            since: At::from_micros(row.since),
            raised_at: At::from_micros(row.raised_at),
            cleared_at: row.cleared_at.map(At::from_micros),
            text: row.text.clone(),
        }
    }
}

/// The first bytes of a digest, to tell texts apart without showing them.
pub(super) fn mark<const BYTES: usize>(text: &str) -> u128 {
    let digest = Sha256::digest(text.as_bytes());
    let bytes = digest.iter().take(BYTES);
    bytes.fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

/// A way to tell somebody.
#[async_trait]
pub trait Channel: Send + Sync {
    /// What it is, for metrics and logs: `webhook` or `mail`.
    fn way(&self) -> &'static str;

    /// Its name in the store, the same over restarts. Holds no address.
    fn name(&self) -> &str;

    /// Tells once, in bounded time.
    ///
    /// # Errors
    /// When it was not taken. A rejection is final; anything else is worth another attempt.
    async fn deliver(&self, notice: &Notice) -> Result<(), Fault>;
}

/// A channel, and what wakes its loop.
struct Line {
    channel: Arc<dyn Channel>,
    wake: Notify,
}

/// See the module's documentation.
pub struct Notifier {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lines: Vec<Line>,
}

impl Notifier {
    /// A notifier that tells these channels, besides log and metrics.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        channels: Vec<Arc<dyn Channel>>,
    ) -> Self {
        let lines = channels.into_iter().map(|channel| Line {
            channel,
            wake: Notify::new(),
        });
        Self {
            store,
            clock,
            lines: lines.collect(),
        }
    }

    /// Raises what is new, gives the all-clear for what is gone, and shows both as figures.
    ///
    /// # Errors
    /// When the store fails; nothing was told then, and the next look does it.
    pub async fn look(&self, view: &View) -> Result<(), StoreError> {
        let levels = levels(view);
        let stored = self.store.alarms().await?;
        let now = view.now;
        let followed = compare(&stored, &levels, now, |row| self.is_open(row, now));
        if !followed.changes.is_empty() {
            self.store.put_alarms(&followed.changes).await?;
        }
        log(&followed);
        show(view, &levels, &followed);
        if !followed.raised.is_empty() || !followed.cleared.is_empty() {
            for line in &self.lines {
                line.wake.notify_one();
            }
        }
        Ok(())
    }

    /// Whether an all-clear is still to be delivered to one of the channels, or a delivery may be
    /// under way.
    fn is_open(&self, row: &AlarmRow, now: At) -> bool {
        row.posts.iter().any(|post| {
            let is_configured = self
                .lines
                .iter()
                .any(|line| line.channel.name() == post.channel);
            let to_be_told = is_configured && post.told && post.attempts < MOST_ATTEMPTS;
            to_be_told || post.next_try > now.micros()
        })
    }

    /// Tells every channel what it has not heard, until told to stop.
    pub async fn run(&self, stop: &CancellationToken) {
        join_all(self.lines.iter().map(|line| self.tell(line, stop))).await;
        // Where nobody is to be told, there is nothing to do but to be there.
        stop.cancelled().await;
    }

    async fn tell(&self, line: &Line, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.deliver_due(line).await {
                Ok(next) => next.map_or(LOOK_INTERVAL, |next| {
                    let micros = next.since(self.clock.now()).max(0).unsigned_abs();
                    Duration::from_micros(micros).min(LOOK_INTERVAL)
                }),
                Err(fault) => {
                    tracing::warn!(%fault, "alarms cannot be delivered: {fault}");
                    LOOK_INTERVAL
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = line.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Makes all deliveries that are due, once. When the next one is due, if one is waiting.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deliver(&self) -> Result<Option<At>, StoreError> {
        let mut next = None;
        for line in &self.lines {
            next = earlier(next, self.deliver_due(line).await?);
        }
        Ok(next)
    }

    async fn deliver_due(&self, line: &Line) -> Result<Option<At>, StoreError> {
        let name = line.channel.name();
        let mut next = None;
        for row in self.store.alarms().await? {
            let post = post_of(&row, name);
            let to_be_told = row.cleared_at.is_none();
            if post.told == to_be_told || post.attempts >= MOST_ATTEMPTS {
                continue;
            }
            if post.next_try > self.clock.now().micros() {
                next = earlier(next, Some(At::from_micros(post.next_try)));
                continue;
            }
            let again = self.attempt(line, &row, &post).await?;
            next = earlier(next, again);
        }
        Ok(next)
    }

    /// One attempt. When the next is due, if there has to be one.
    async fn attempt(
        &self,
        line: &Line,
        row: &AlarmRow,
        post: &AlarmPost,
    ) -> Result<Option<At>, StoreError> {
        let attempts = post.attempts.saturating_add(1);
        let claimed = AlarmPost {
            attempts,
            next_try: self.clock.now().plus(micros(LEASE)).micros(),
            ..post.clone()
        };
        if !self.step(row, post, claimed.clone()).await? {
            // Another daemon makes this delivery.
            return Ok(None);
        }
        let delivered = line.channel.deliver(&Notice::of(row)).await;
        let now = self.clock.now();
        let (way, kind, about) = (line.channel.way(), &row.kind, &row.about);
        let (after, result) = match delivered {
            Ok(()) => {
                let told = AlarmPost {
                    told: row.cleared_at.is_none(),
                    attempts: 0,
                    next_try: now.micros(),
                    error: None,
                    ..claimed.clone()
                };
                (told, "delivered")
            }
            Err(fault) => {
                let is_last = fault.class == FaultClass::Rejected || attempts >= MOST_ATTEMPTS;
                let pause = retry::pause(attempts.unsigned_abs(), &fault, rand::random::<f64>);
                let failed = AlarmPost {
                    attempts: if is_last { MOST_ATTEMPTS } else { attempts },
                    next_try: if is_last {
                        now.micros()
                    } else {
                        now.plus(micros(pause)).micros()
                    },
                    error: Some(format!("{}: {fault}", fault.code)),
                    ..claimed.clone()
                };
                let result = if is_last {
                    tracing::error!(kind, about, way, attempts, code = %fault.code,
                        "the alarm {kind} of {about} was not delivered by {way} and is given up: {fault}");
                    "given-up"
                } else {
                    tracing::warn!(kind, about, way, attempts, code = %fault.code,
                        "the alarm {kind} of {about} was not delivered by {way} at attempt {attempts}: {fault}");
                    "failed"
                };
                (failed, result)
            }
        };
        let labels = [("channel", way), ("result", result)];
        counter!("consentd_alarm_deliveries_total", &labels).increment(1);
        let next = (result == "failed").then(|| At::from_micros(after.next_try));
        self.step(row, &claimed, after).await?;
        Ok(next)
    }

    async fn step(
        &self,
        row: &AlarmRow,
        from: &AlarmPost,
        post: AlarmPost,
    ) -> Result<bool, StoreError> {
        let step = AlarmStep {
            kind: row.kind.clone(),
            about: row.about.clone(),
            from_told: from.told,
            from_attempts: from.attempts,
            post,
        };
        self.store.step_alarm_post(&step).await
    }
}

/// Where a channel stands with an alarm.
fn post_of(row: &AlarmRow, channel: &str) -> AlarmPost {
    let found = row.posts.iter().find(|post| post.channel == channel);
    found.cloned().unwrap_or_else(|| AlarmPost {
        channel: channel.to_owned(),
        told: false,
        attempts: 0,
        next_try: 0,
        error: None,
    })
}

/// The rows at these places.
fn rows<'a>(followed: &'a Followed, places: &'a [usize]) -> impl Iterator<Item = &'a AlarmRow> {
    let put = &followed.changes.put;
    places.iter().filter_map(|place| put.get(*place))
}

fn log(followed: &Followed) {
    for row in rows(followed, &followed.raised) {
        let (kind, about) = (&row.kind, &row.about);
        tracing::error!(kind, about, "alarm {kind}: {}", row.text);
    }
    for row in rows(followed, &followed.cleared) {
        let (kind, about) = (&row.kind, &row.about);
        tracing::info!(
            kind,
            about,
            "all-clear: the alarm {kind} of {about} is over"
        );
    }
}

/// One gauge for each kind and system; of kinds that are about no system the number that stands.
fn show(view: &View, levels: &Levels, followed: &Followed) {
    // A system that is no longer configured is in no view.
    for row in rows(followed, &followed.cleared) {
        if Kind::from_word(&row.kind).is_some_and(Kind::is_of_system) {
            let labels = [("kind", row.kind.clone()), ("system", row.about.clone())];
            gauge!("consentd_alarm", &labels).set(0.0);
        }
    }
    for kind in Kind::ALL {
        let set = |system: &str, value: usize| {
            let labels = [
                ("kind", kind.word().to_owned()),
                ("system", system.to_owned()),
            ];
            gauge!("consentd_alarm", &labels).set(value as f64);
        };
        if kind.is_of_system() {
            for system in &view.systems {
                set(&system.name, usize::from(levels.stands(kind, &system.name)));
            }
        } else {
            let mut standing = levels.standing.iter();
            set(
                "",
                standing.by_ref().filter(|alarm| alarm.kind == kind).count(),
            );
        }
    }
    for system in view.systems.iter().filter(|system| system.enabled) {
        let late = levels.stands(Kind::Deadline, &system.name);
        gauge!("consentd_withdrawal_late", "system" => system.name.clone())
            .set(f64::from(u8::from(late)));
    }
}

fn earlier(one: Option<At>, other: Option<At>) -> Option<At> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
