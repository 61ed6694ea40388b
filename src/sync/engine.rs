//! One poller and one emitter per system, each on its own: what happens to one system delays no
//! other (R36).

pub use super::assemble::{Engine, Lines, Parts, assemble, rules};

use super::breaker::Breaker;
use super::identity::Pseudonyms;
use super::refresh::Hints;
use super::suppression::Suppressor;
use super::workbench::{Frame, Link};
use crate::config::Schedule;
use crate::connector::{Connector, Fault, Probe, Target};
use crate::consent::{At, PurposeId, Rules, SystemId, SystemRules};
use crate::runtime::clock::Clock;
use crate::store::{Store, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How a system is run.
#[derive(Debug, Clone)]
pub struct Pace {
    /// When its writes go out.
    pub schedule: Schedule,
    /// Time between two polls.
    pub poll_interval: Duration,
    /// Share of the vendor's allowance above which only withdrawals go out, in percent (R34).
    pub quota_reserve_percent: u8,
}

/// What happened, for health and metrics. Holds no address.
#[derive(Debug, Clone)]
pub enum Event {
    /// The login worked, and this was found.
    Probed(Probe),
    /// A page was stored.
    Stored {
        /// Contacts in it.
        contacts: usize,
        /// Records that could not be understood.
        poison: usize,
        /// Rows written.
        rows: u64,
    },
    /// The feed was drained.
    Drained {
        /// When, by our clock.
        at: At,
        /// Everything up to this system time has been read.
        drained: Option<At>,
        /// How long the poll took.
        took: Duration,
    },
    /// Writes were settled.
    Emitted {
        /// The vendor accepted them.
        applied: usize,
        /// The contact already showed the value.
        confirmed: usize,
        /// They go back, for whatever reason.
        postponed: usize,
    },
    /// A vendor call or one of its rows failed.
    Fault(Fault),
    /// The store failed.
    Store(String),
    /// Calls pause until then (breaker), or go on.
    Breaker(Option<At>),
    /// Whether the feed is paused by an operator, or halted by a guard.
    Standing {
        /// R50.
        paused: bool,
        /// R27.
        halted: bool,
    },
}

/// Hears what happens.
pub trait Listener: Send + Sync {
    /// Called in passing; must not block.
    fn hear(&self, system: &str, event: Event);
}

/// What all systems share.
pub struct Shared {
    /// The state store.
    pub store: Arc<dyn Store>,
    /// The configured rules; no system knows its own user in them.
    pub rules: Arc<Rules>,
    /// R58.
    pub links: Vec<Link>,
    /// Keyed hashes.
    pub pseudonyms: Pseudonyms,
    /// R55: finds people again who were erased.
    pub suppressor: Arc<Suppressor>,
    /// R47: the purpose that the gate guards; none without a gate.
    pub gate: Option<PurposeId>,
    /// R25, microseconds.
    pub grant_settle: i64,
    /// R16, microseconds.
    pub future_tolerance: i64,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Who hears what happens.
    pub listener: Arc<dyn Listener>,
    /// The numbers of all enabled systems whose word counts.
    pub systems: Vec<i16>,
    /// Each of them has been read whole once; see [`Shared::is_complete`].
    pub complete: AtomicBool,
    /// Woken when there may be new writes, one per system.
    pub wake_emitters: Vec<Arc<Notify>>,
}

impl Shared {
    /// The frame of a transaction now.
    pub fn frame(&self, old_news: bool) -> Frame<'_> {
        Frame {
            rules: &self.rules,
            links: &self.links,
            grant_settle: self.grant_settle,
            now: self.clock.now(),
            old_news,
            gate: self.gate,
            suppressor: &self.suppressor,
        }
    }

    /// Whether every enabled system whose word counts has been read whole once. Until then a withdrawal may still be
    /// unheard of, so no grant is sent anywhere.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_complete(&self) -> Result<bool, StoreError> {
        if self.complete.load(Ordering::Relaxed) {
            return Ok(true);
        }
        for system in &self.systems {
            if !self.store.feed(*system).await?.loaded {
                return Ok(false);
            }
        }
        self.complete.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// R48: whether the gate guards that purpose, because it guards it or one above it.
    pub fn is_guarded(&self, purpose: PurposeId) -> bool {
        let mut upwards = std::iter::once(purpose).chain(self.rules.purposes.ancestors(purpose));
        self.gate
            .is_some_and(|gate| upwards.any(|above| above == gate))
    }

    /// Lets every emitter look for writes.
    pub fn wake_all_emitters(&self) {
        for emitter in &self.wake_emitters {
            emitter.notify_one();
        }
    }
}

/// One system under the engine.
pub struct Member {
    /// Configured name.
    pub name: String,
    /// Number in the store.
    pub id: SystemId,
    /// Its configured rules.
    pub rules: SystemRules,
    /// Its connector.
    pub connector: Arc<dyn Connector>,
    /// How it is run.
    pub pace: Pace,
    /// What all systems share.
    pub shared: Arc<Shared>,
    /// Shared by its poller and its emitter.
    pub breaker: Arc<Breaker>,
    /// Woken to poll at once.
    pub wake_poller: Notify,
    /// Contacts that somebody says have changed; the poller looks them up.
    pub hints: Arc<Hints>,
    /// Its rules with the user we act as, since the last login.
    pub identity: Identity,
    /// Woken when there may be writes for it.
    pub wake_emitter: Arc<Notify>,
}

/// A system's rules with the user we act as, once somebody has logged in.
#[derive(Debug, Default)]
pub struct Identity(Mutex<Option<Arc<SystemRules>>>);

impl Identity {
    fn get(&self) -> Option<Arc<SystemRules>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, rules: &SystemRules) {
        let rules = Arc::new(rules.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rules);
    }
}

/// Why a poll or a round of emission ended early.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The vendor's side; nothing was stored.
    #[error(transparent)]
    Vendor(#[from] Fault),
    /// Our side.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Member {
    /// This system's rules with the user we act as, found by logging in.
    ///
    /// # Errors
    /// When the login fails or the store has no such system.
    pub async fn log_in(&self) -> Result<SystemRules, Fault> {
        let probe = self.connector.probe().await?;
        self.breaker.succeeded();
        let mut rules = self.rules.clone();
        rules.own_actor.clone_from(&probe.own_actor);
        for missing in &probe.missing {
            tracing::error!(system = %self.name, %missing, "{} lacks a permission or field: {missing}", self.name);
        }
        for note in &probe.notes {
            tracing::info!(system = %self.name, %note, "{}: {note}", self.name);
        }
        let complete = probe.missing.is_empty();
        let first = probe.missing.first().cloned().unwrap_or_default();
        self.tell(Event::Probed(probe));
        if complete {
            self.identity.set(&rules);
            Ok(rules)
        } else {
            // Nothing is read or written until the organisation has mended it.
            Err(Fault::new(
                crate::connector::FaultClass::Auth,
                "missing-permission",
                first,
            ))
        }
    }

    /// Whether calls may be made to the system: it is neither paused by an operator nor halted by a
    /// guard (R27, R50). One that is switched off has no member.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn is_askable(&self) -> Result<bool, StoreError> {
        let feed = self.shared.store.feed(self.id.0).await?;
        Ok(!feed.paused && feed.halted.is_none())
    }

    /// The rules that the last login found; logs in when there was none.
    ///
    /// # Errors
    /// As [`Member::log_in`].
    pub async fn known_rules(&self) -> Result<Arc<SystemRules>, Fault> {
        if let Some(known) = self.identity.get() {
            return Ok(known);
        }
        self.log_in().await.map(Arc::new)
    }

    /// Contacts of this system with the addresses that the store knows.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn targets(&self, contacts: &[&str]) -> Result<Vec<Target>, StoreError> {
        let addresses = self.shared.store.addresses(self.id.0, contacts).await?;
        let targets = contacts
            .iter()
            .zip(addresses)
            .map(|(contact, address)| Target {
                contact: (*contact).to_owned(),
                address,
            });
        Ok(targets.collect())
    }

    /// Somebody says that this contact has changed. A hint is never believed: it makes the poller
    /// look the contact up.
    pub fn hint(&self, contact: String) {
        self.hints.add(contact);
        self.wake_poller.notify_one();
    }

    /// Has its poller and its emitter look at once whether there is something to do.
    pub fn wake(&self) {
        self.wake_poller.notify_one();
        self.wake_emitter.notify_one();
    }

    /// Tells the listener.
    pub fn tell(&self, event: Event) {
        self.shared.listener.hear(&self.name, event);
    }

    /// Notes a failure of the whole system and gives the pause that should follow.
    pub fn failed(&self, error: &SyncError) -> Duration {
        let now = self.shared.clock.now();
        match error {
            SyncError::Vendor(fault) => {
                let pause = self.breaker.failed(fault, now, rand::random::<f64>);
                tracing::warn!(system = %self.name, class = fault.class.word(), code = %fault.code,
                    "{}: {fault}; next try in {:.1} s", self.name, pause as f64 / 1e6);
                self.tell(Event::Fault(fault.clone()));
                self.tell(Event::Breaker(self.breaker.open_until(now)));
                Duration::from_micros(pause.unsigned_abs())
            }
            SyncError::Store(error) => {
                let cause = std::error::Error::source(error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                tracing::error!(system = %self.name, %cause, "{}: {error}: {cause}", self.name);
                self.tell(Event::Store(error.to_string()));
                STORE_PAUSE
            }
        }
    }

    /// Sleeps, unless woken or stopped first. Whether to go on.
    pub async fn rest(&self, pause: Duration, wake: &Notify, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = wake.notified() => true,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Sleeps unless stopped: a wake does not shorten the pause after a failure. Whether to go on.
    pub async fn pause(&self, pause: Duration, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

/// The pause after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(2);
