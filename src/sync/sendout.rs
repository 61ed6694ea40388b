//! Send-outs that are checked when they are registered, and again at the moment of sending (R43).
//!
//! The store keeps them, so a restart loses none. One whose moment passed while nobody could check
//! it is answered all the same, and says so: everybody is unverified but those unmailable for
//! certain (R42). The last answers are given once and stand; they are fetched, or brought by a
//! [`Courier`], who may have to try several times.

use super::checklist::{Ask, CheckError, Checklist, Desk, Freshness, Person};
use super::switches::{self, Operator};
use crate::connector::{Fault, FaultClass, retry};
use crate::consent::{At, SubjectKey};
use crate::runtime::clock::Clock;
use crate::store::{
    ANSWERED, CANCELLED, CLOSED, SCHEDULED, SendoutHead, SendoutRow, SendoutStep, Store,
    StoreError, SubjectRef,
};
use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde_json::Map;
use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Send-outs that may wait for their moment at once.
pub const MOST_SCHEDULED: usize = 1_000;
/// No send-out is registered further ahead.
pub const MOST_AHEAD: Duration = Duration::from_hours(366 * 24);
/// A check that cannot begin within this time of its moment is missed.
pub const MOST_LATE: Duration = Duration::from_mins(1);
/// Send-outs in one list.
pub const MOST_LISTED: usize = 1_000;
/// Attempts to bring the last answers.
pub const MOST_POSTS: i32 = 10;
/// Send-outs that are checked, or brought, at once.
const AT_ONCE: usize = 4;
/// Without news the store is looked at again after this, for what another daemon registered.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a failure of the store, or while no system is at work.
const PAUSE: Duration = Duration::from_secs(2);
/// Time between two looks for send-outs that can be forgotten.
const FORGET_INTERVAL: Duration = Duration::from_mins(10);

/// Brings the last answers to whoever registered the send-out.
#[async_trait]
pub trait Courier: Send + Sync {
    /// Brings them; a fault says whether and when it is worth another attempt.
    async fn deliver(&self, sendout: &Sendout) -> Result<(), Fault>;
}

/// A send-out with its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sendout {
    /// What was registered, and where it stands.
    pub head: SendoutHead,
    /// The answers at registration.
    pub first: Checklist,
    /// The answers at the moment of sending, once it has come.
    pub last: Option<Checklist>,
}

impl TryFrom<SendoutRow> for Sendout {
    type Error = StoreError;

    fn try_from(row: SendoutRow) -> Result<Self, StoreError> {
        let read = |text: &str| {
            Checklist::unpack(text).ok_or_else(|| StoreError::Corrupt {
                what: "the answers of a send-out",
                detail: format!("{} bytes that are no checklist", text.len()),
            })
        };
        let last = (!row.last.is_empty())
            .then(|| read(&row.last))
            .transpose()?;
        Ok(Self {
            first: read(&row.first)?,
            last,
            head: row.head,
        })
    }
}

/// What is registered.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Purpose, recipients, and how fresh the first answers have to be; the last are looked up live.
    pub ask: Ask,
    /// The moment of sending.
    pub send_at: At,
    /// Where the last answers are to be brought.
    pub callback: Option<String>,
    /// Name of the token.
    pub created_by: String,
}

/// Why a send-out was not registered.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The moment has passed, or is too far ahead.
    #[error("the moment of sending must be ahead, by no more than 366 days")]
    Moment,
    /// Too many are waiting.
    #[error("{MOST_SCHEDULED} send-outs are scheduled already; cancel one or wait")]
    TooMany,
    /// There is no checklist.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl From<StoreError> for DraftError {
    fn from(error: StoreError) -> Self {
        Self::Check(error.into())
    }
}

/// What came of cancelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It will not be checked again.
    Done,
    /// It had been cancelled, or its last answers had been given.
    TooLate,
    /// There is none of that id.
    Unknown,
}

/// The send-outs.
pub struct Sendouts {
    desk: Arc<Desk>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    courier: Option<Arc<dyn Courier>>,
    kept: Duration,
    wake_checks: Notify,
    wake_posts: Notify,
}

impl Sendouts {
    /// Send-outs that are checked at that desk and forgotten `kept` after they are settled.
    pub fn new(
        desk: Arc<Desk>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        courier: Option<Arc<dyn Courier>>,
        kept: Duration,
    ) -> Self {
        Self {
            desk,
            store,
            clock,
            courier,
            kept,
            wake_checks: Notify::new(),
            wake_posts: Notify::new(),
        }
    }

    /// Checks a list and registers it to be checked again. Kept durably once this returns (G13).
    ///
    /// # Errors
    /// When the moment is not ahead, too many are waiting, or there is no checklist.
    pub async fn register(&self, draft: Draft) -> Result<Sendout, DraftError> {
        let ahead = draft.send_at.since(self.clock.now());
        if ahead <= 0 || ahead > micros(MOST_AHEAD) {
            return Err(DraftError::Moment);
        }
        let first = self.desk.check(&draft.ask).await?;
        let send_at = draft.send_at.micros();
        let head = SendoutHead {
            // Random bits of a generator that is fit for secrets.
            id: format!("so_{:032x}", rand::random::<u128>()),
            purpose: draft.ask.purpose,
            created_by: draft.created_by,
            created_at: self.clock.now().micros(),
            send_at,
            addressed: draft.ask.people.len() as i64,
            state: SCHEDULED,
            due_at: send_at,
            settled_at: None,
            callback: draft.callback,
            posts: 0,
            post_error: None,
        };
        let row = SendoutRow {
            head: head.clone(),
            recipients: draft
                .ask
                .people
                .iter()
                .map(|person| person.as_ref().map(|person| person.subject))
                .collect(),
            first: first.pack(),
            last: String::new(),
        };
        if !self.store.put_sendout(&row, MOST_SCHEDULED).await? {
            return Err(DraftError::TooMany);
        }
        self.wake_checks.notify_one();
        Ok(Sendout {
            head,
            first,
            last: None,
        })
    }

    /// One send-out with its answers.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, id: &str) -> Result<Option<Sendout>, StoreError> {
        self.store
            .sendout(id)
            .await?
            .map(Sendout::try_from)
            .transpose()
    }

    /// The send-outs, the latest moment first, at most [`MOST_LISTED`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<SendoutHead>, StoreError> {
        self.store.sendouts(MOST_LISTED).await
    }

    /// Takes a send-out back before its moment, and tells the ledger who did.
    ///
    /// # Errors
    /// When the store fails. It is taken back all the same if only the ledger could not be told.
    pub async fn cancel(&self, id: &str, by: &Operator) -> Result<Cancelled, StoreError> {
        let Some(row) = self.store.sendout(id).await? else {
            return Ok(Cancelled::Unknown);
        };
        let now = self.clock.now();
        let step = SendoutStep {
            settled_at: Some(now.micros()),
            from_state: SCHEDULED,
            ..step(&row.head, CANCELLED, now.plus(micros(self.kept)))
        };
        if !self.store.advance_sendout(&step).await? {
            return Ok(Cancelled::TooLate);
        }
        let mut what = Map::new();
        what.insert("sendout".to_owned(), id.into());
        what.insert("purpose".to_owned(), row.head.purpose.into());
        switches::tell(&*self.store, "cancel-sendout", by, None, what, now).await?;
        Ok(Cancelled::Done)
    }

    /// Checks every send-out at its moment, until told to stop. Checks under way are finished then.
    pub async fn run_checks(&self, stop: &CancellationToken) {
        let settle = |id: String| async move {
            let settled = self.settle(&id).await;
            (id, settled)
        };
        self.run(SCHEDULED, &self.wake_checks, stop, settle, "checked")
            .await;
    }

    /// Brings every last answer, and forgets what was settled long ago, until told to stop.
    pub async fn run_posts(&self, stop: &CancellationToken) {
        let post = |id: String| async move {
            let posted = self.post(&id).await;
            (id, posted)
        };
        let forget = async {
            loop {
                match self.store.forget_sendouts(self.clock.now()).await {
                    Ok(0) => {}
                    // R57: expiry is itself logged.
                    Ok(forgotten) => {
                        tracing::info!(forgotten, "{forgotten} settled send-outs were forgotten");
                    }
                    Err(fault) => {
                        tracing::warn!(%fault, "settled send-outs cannot be forgotten: {fault}");
                    }
                }
                sleep(FORGET_INTERVAL).await;
            }
        };
        tokio::select! {
            () = self.run(ANSWERED, &self.wake_posts, stop, post, "brought") => {}
            () = forget => {}
        }
    }

    /// Does what is due for the send-outs in one state, a few at once and never before its time.
    async fn run<Act, Done>(
        &self,
        state: i16,
        wake: &Notify,
        stop: &CancellationToken,
        act: Act,
        what: &'static str,
    ) where
        Act: Fn(String) -> Done,
        Done: Future<Output = (String, Result<(), StoreError>)>,
    {
        let mut running = FuturesUnordered::new();
        let mut at_work: HashSet<String> = HashSet::new();
        while !stop.is_cancelled() {
            let mut wait = LOOK_INTERVAL;
            match self.store.due_sendouts(state, 2 * AT_ONCE).await {
                Ok(due) => {
                    let now = self.clock.now();
                    for (id, at) in due {
                        if at > now {
                            wait = wait.min(duration(at.since(now)));
                            break;
                        }
                        if running.len() < AT_ONCE && at_work.insert(id.clone()) {
                            running.push(act(id));
                        }
                    }
                }
                Err(fault) => {
                    tracing::warn!(%fault, "the send-outs that are due cannot be read: {fault}");
                    wait = PAUSE;
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = wake.notified() => {}
                () = sleep(wait) => {}
                Some((id, done)) = running.next() => {
                    at_work.remove(&id);
                    if let Err(fault) = done {
                        tracing::warn!(sendout = %id, %fault, "send-out {id} could not be {what}: {fault}");
                    }
                }
            }
        }
        while running.next().await.is_some() {}
    }

    /// Checks one send-out at its moment and keeps the last answers.
    async fn settle(&self, id: &str) -> Result<(), StoreError> {
        let settled = self.try_settle(id).await;
        if settled.is_err() {
            sleep(PAUSE).await;
        }
        settled
    }

    async fn try_settle(&self, id: &str) -> Result<(), StoreError> {
        let Some(row) = self.store.sendout(id).await? else {
            return Ok(());
        };
        if row.head.state != SCHEDULED {
            return Ok(());
        }
        let begun = self.clock.now();
        let is_missed = begun.since(At::from_micros(row.head.send_at)) > micros(MOST_LATE);
        let ask = Ask {
            purpose: row.head.purpose.clone(),
            people: self.people(&row.recipients).await?,
            freshness: if is_missed {
                Freshness::Missed
            } else {
                Freshness::Within(Duration::ZERO)
            },
        };
        let last = match self.desk.check_now(&ask).await {
            Ok(checklist) => checklist,
            Err(CheckError::Store(error)) => return Err(error),
            Err(CheckError::NobodyAtWork | CheckError::Busy) if !is_missed => {
                sleep(PAUSE).await;
                return Ok(());
            }
            // R42: whatever the reason, nobody is verified.
            Err(
                error @ (CheckError::NobodyAtWork
                | CheckError::Busy
                | CheckError::UnknownPurpose { .. }),
            ) => {
                tracing::warn!(sendout = %id, %error, "send-out {id} cannot be checked: {error}");
                Checklist::unverified(&ask.purpose, begun, is_missed, ask.people.len())
            }
        };
        if is_missed {
            tracing::error!(sendout = %id, "send-out {id} was not checked at its moment; nobody is verified");
        }
        let now = self.clock.now();
        let next = if row.head.callback.is_some() {
            step(&row.head, ANSWERED, now)
        } else {
            step(&row.head, CLOSED, now.plus(micros(self.kept)))
        };
        let step = SendoutStep {
            settled_at: Some(now.micros()),
            last: Some(last.pack()),
            ..next
        };
        // Where it was cancelled, or answered by another daemon, meanwhile, that stands.
        if self.store.advance_sendout(&step).await? {
            self.wake_posts.notify_one();
        }
        Ok(())
    }

    /// The recipients of a send-out, with the addresses of those whom a system knows by now.
    async fn people(
        &self,
        recipients: &[Option<SubjectRef>],
    ) -> Result<Vec<Option<Person>>, StoreError> {
        let subjects: Vec<SubjectRef> = recipients.iter().copied().flatten().collect();
        let mut addresses = self.store.subject_addresses(&subjects).await?.into_iter();
        let people = recipients.iter().map(|subject| {
            subject.map(|subject| Person {
                subject,
                address: addresses.next().flatten().map(SubjectKey::from_normalised),
            })
        });
        Ok(people.collect())
    }

    /// Brings the last answers of one send-out.
    async fn post(&self, id: &str) -> Result<(), StoreError> {
        let posted = self.try_post(id).await;
        if posted.is_err() {
            sleep(PAUSE).await;
        }
        posted
    }

    async fn try_post(&self, id: &str) -> Result<(), StoreError> {
        let Some(sendout) = self.get(id).await? else {
            return Ok(());
        };
        if sendout.head.state != ANSWERED {
            return Ok(());
        }
        let delivered = match &self.courier {
            Some(courier) => courier.deliver(&sendout).await,
            None => Err(Fault::new(
                FaultClass::Rejected,
                "no-callbacks",
                "callbacks are not configured any more",
            )),
        };
        let now = self.clock.now();
        let posts = sendout.head.posts.saturating_add(1);
        let closed = step(&sendout.head, CLOSED, now.plus(micros(self.kept)));
        let step = match delivered {
            Ok(()) => SendoutStep {
                posts,
                post_error: None,
                ..closed
            },
            Err(fault) => {
                let pause = retry::pause(posts.unsigned_abs(), &fault, rand::random::<f64>);
                tracing::warn!(sendout = %id, posts, code = %fault.code,
                    "the answers of send-out {id} were not taken at attempt {posts}: {fault}");
                let next = if fault.class == FaultClass::Rejected || posts >= MOST_POSTS {
                    closed
                } else {
                    step(&sendout.head, ANSWERED, now.plus(micros(pause)))
                };
                SendoutStep {
                    posts,
                    post_error: Some(format!("{}: {fault}", fault.code)),
                    ..next
                }
            }
        };
        self.store.advance_sendout(&step).await?;
        Ok(())
    }
}

/// A step from where the send-out stands that changes nothing else.
fn step(from: &SendoutHead, state: i16, due_at: At) -> SendoutStep {
    SendoutStep {
        id: from.id.clone(),
        from_state: from.state,
        from_posts: from.posts,
        state,
        due_at: due_at.micros(),
        settled_at: None,
        last: None,
        posts: from.posts,
        post_error: from.post_error.clone(),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).unsigned_abs())
}
