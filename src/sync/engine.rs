//! One poller and one emitter per system, each on its own: what happens to one system delays no
//! other (R36).

use super::breaker::Breaker;
use super::identity::Pseudonyms;
use super::workbench::{Frame, Link};
use crate::config::{Checked, Schedule};
use crate::connector::read_only::ReadOnly;
use crate::connector::{Connector, Fault, Probe, registry};
use crate::consent::{At, Rules, SystemId, SystemRules};
use crate::runtime::clock::Clock;
use crate::store::{Store, StoreError};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// R25, microseconds.
    pub grant_settle: i64,
    /// R16, microseconds.
    pub future_tolerance: i64,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Who hears what happens.
    pub listener: Arc<dyn Listener>,
    /// The numbers of all enabled systems.
    pub systems: Vec<i16>,
    /// Every enabled system has been read whole once; see [`Shared::is_complete`].
    pub complete: AtomicBool,
    /// Woken when there may be new writes, one per system.
    pub wake_emitters: Vec<Arc<Notify>>,
}

impl Shared {
    /// The frame of a transaction now.
    pub fn frame(&self, load: bool) -> Frame<'_> {
        Frame {
            rules: &self.rules,
            links: &self.links,
            grant_settle: self.grant_settle,
            now: self.clock.now(),
            load,
        }
    }

    /// Whether every enabled system has been read whole once. Until then a withdrawal may still be
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
    pub breaker: Breaker,
    /// Woken to poll at once: a hint may wake the poller, never steer it.
    pub wake_poller: Notify,
    /// Woken when there may be writes for it.
    pub wake_emitter: Arc<Notify>,
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

/// What an engine is built from.
pub struct Parts {
    /// The state store.
    pub store: Arc<dyn Store>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Who hears what happens.
    pub listener: Arc<dyn Listener>,
    /// Nothing is written to any system (R51).
    pub read_only: bool,
}

/// Builds one member for each enabled system. Nothing is called yet.
///
/// # Errors
/// When the store fails, or a connector cannot be built from its settings.
pub async fn assemble(checked: &Checked, parts: Parts) -> Result<Vec<Arc<Member>>, SyncError> {
    let rules = Arc::new(rules(checked, &*parts.store).await?);
    let id_of = |name: &str| {
        rules
            .systems
            .iter()
            .find(|system| system.name == name)
            .map(|system| system.id)
    };
    let links = checked
        .systems
        .iter()
        .filter_map(|system| {
            let link = system.link.as_ref()?;
            Some(Link {
                follower: id_of(&system.name)?,
                anchor: id_of(&link.system)?,
            })
        })
        .collect();
    let enabled: Vec<_> = checked
        .systems
        .iter()
        .filter(|system| system.enabled)
        .collect();
    let wake_emitters: Vec<Arc<Notify>> = enabled.iter().map(|_| Arc::new(Notify::new())).collect();
    let shared = Arc::new(Shared {
        store: parts.store,
        rules: Arc::clone(&rules),
        links,
        pseudonyms: Pseudonyms::new(checked.hash_key.expose_secret()),
        grant_settle: micros(checked.policy.grant_settle),
        future_tolerance: micros(checked.policy.future_tolerance),
        clock: parts.clock,
        listener: parts.listener,
        systems: enabled
            .iter()
            .filter_map(|system| Some(id_of(&system.name)?.0))
            .collect(),
        complete: AtomicBool::new(false),
        wake_emitters: wake_emitters.clone(),
    });
    let mut members = Vec::new();
    for (system, wake_emitter) in enabled.into_iter().zip(wake_emitters) {
        let Some(rules) = rules.systems.iter().find(|rules| rules.name == system.name) else {
            continue;
        };
        let connector = registry::connect(&system.kind)?;
        let connector = if parts.read_only {
            Arc::new(ReadOnly::new(connector))
        } else {
            connector
        };
        // The claims of an earlier life: their outcome is unknown, and a re-read will show it.
        shared.store.release_claims(rules.id.0).await?;
        members.push(Arc::new(Member {
            name: system.name.clone(),
            id: rules.id,
            rules: rules.clone(),
            connector,
            pace: Pace {
                schedule: system.schedule.clone(),
                poll_interval: system.poll_interval,
                quota_reserve_percent: system.kind.platform().quota_reserve_percent,
            },
            shared: Arc::clone(&shared),
            breaker: Breaker::default(),
            wake_poller: Notify::new(),
            wake_emitter,
        }));
    }
    Ok(members)
}

/// The configured rules, with each system's number in the store.
///
/// # Errors
/// When the store fails.
pub async fn rules(checked: &Checked, store: &dyn Store) -> Result<Rules, StoreError> {
    let names: Vec<String> = checked
        .systems
        .iter()
        .map(|system| system.name.clone())
        .collect();
    let ids = store.register_systems(&names).await?;
    let systems = checked
        .systems
        .iter()
        .zip(ids)
        .map(|(system, id)| SystemRules {
            id: SystemId(id),
            name: system.name.clone(),
            precedence: system.precedence,
            writable: system.enabled,
            carries: system.carries.clone(),
            own_actor: None,
            bulk_actors: system.bulk_actors.clone(),
        })
        .collect();
    Ok(Rules {
        purposes: checked.purposes.clone(),
        systems,
        policy: checked.policy.rules.clone(),
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
