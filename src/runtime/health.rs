//! How the daemon fares, as those who do the work report it and those who ask see it.
//!
//! The board only remembers; what is healthy is decided in [`Board::readiness`] alone. It holds no
//! address, secret or vendor text: a fault is shown by its class and code (R56). One short lock,
//! never held across an `await`.

use crate::connector::FaultClass;
use crate::consent::At;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A store that has not proved itself for this long counts as not writable.
pub const STORE_PROOF_LASTS: Duration = Duration::from_mins(1);
/// The longest part of a vendor's code that is shown.
const MAX_CODE: usize = 64;

/// A system as the board is told of it at start and at every reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Configured name.
    pub name: String,
    /// Whether it is worked at all.
    pub enabled: bool,
    /// A feed that lags more than this makes the daemon not ready.
    pub max_lag: Duration,
}

/// State of a system's circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Breaker {
    /// Calls go through.
    #[default]
    Closed,
    /// One call is tried.
    HalfOpen,
    /// No calls.
    Open,
}

impl Breaker {
    /// The word used in health output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// A login counts as refused until it has not been refused for this long and something was read since:
/// longer than the longest pause between two attempts, so that reads which succeed beside writes that
/// are refused do not hide these.
pub const REFUSAL_LASTS: Duration = Duration::from_mins(16);

/// What became of a system's login.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Login {
    /// Nothing was heard of it since the start.
    #[default]
    Unknown,
    /// Something was read, and nothing refused lately.
    Accepted,
    /// It was refused, or a permission is missing.
    Refused {
        /// Since when.
        since: At,
        /// The vendor's code of the last refusal.
        code: String,
    },
}

/// What is known of one system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SystemHealth {
    watched: Watched,
    polled_ok: Option<At>,
    drained: Option<At>,
    fault: Option<(FaultClass, String)>,
    breaker: Breaker,
    paused: bool,
    halted: bool,
    login: Login,
    refused_at: Option<At>,
}

#[derive(Debug, Default)]
struct State {
    systems: BTreeMap<String, SystemHealth>,
    store_written: Option<At>,
    store_failed: bool,
    tasks_down: BTreeMap<String, u32>,
}

/// What a system is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemState {
    /// Read within its bound.
    Ok,
    /// Behind its bound, or never read to the end yet.
    Lagging,
    /// Stopped by a guard until somebody looks (R27).
    Halted,
    /// Paused by an operator (R50); does not make the daemon unready.
    Paused,
    /// Switched off in the configuration (R49); does not make the daemon unready.
    Disabled,
}

impl SystemState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Lagging,
        Self::Halted,
        Self::Paused,
        Self::Disabled,
    ];

    /// The word used in health output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Lagging => "lagging",
            Self::Halted => "halted",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Whether the daemon is ready as far as this system goes.
    pub const fn is_fine(self) -> bool {
        match self {
            Self::Ok | Self::Paused | Self::Disabled => true,
            Self::Lagging | Self::Halted => false,
        }
    }
}

/// One system's part of the readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemReadiness {
    /// Configured name.
    pub name: String,
    /// What it is up to.
    pub state: SystemState,
    /// Time since everything was read up to; none before the first complete read.
    pub lag: Option<Duration>,
    /// Why it is not ok.
    pub reason: Option<String>,
}

/// Whether the daemon does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The store was written lately.
    pub store_writable: bool,
    /// Supervised tasks that are down at present, by name.
    pub tasks_down: Vec<String>,
    /// Each system, by name.
    pub systems: Vec<SystemReadiness>,
}

impl Readiness {
    /// Ready: the store can be written, every task runs and every feed is within its bound.
    pub fn is_ready(&self) -> bool {
        self.store_writable
            && self.tasks_down.is_empty()
            && self.systems.iter().all(|system| system.state.is_fine())
    }
}

/// The board. Shared as `Arc<Board>`.
#[derive(Default)]
pub struct Board(Mutex<State>);

impl Board {
    /// A board that watches these systems. Until the first reports nothing is ready.
    pub fn new(systems: impl IntoIterator<Item = Watched>) -> Self {
        let board = Self::default();
        board.watch(systems);
        board
    }

    /// Watches these systems and no others from now on. What is known of those that were watched
    /// before stays known.
    pub fn watch(&self, systems: impl IntoIterator<Item = Watched>) {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.systems);
        for watched in systems {
            let known = before.remove(&watched.name);
            let mut health = known.unwrap_or_else(|| SystemHealth {
                watched: watched.clone(),
                polled_ok: None,
                drained: None,
                fault: None,
                breaker: Breaker::Closed,
                paused: false,
                halted: false,
                login: Login::Unknown,
                refused_at: None,
            });
            health.watched = watched.clone();
            state.systems.insert(watched.name, health);
        }
    }

    /// A panic while the lock was held leaves plain values behind, which are still right to show.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn system(&self, name: &str, change: impl FnOnce(&mut SystemHealth)) {
        if let Some(system) = self.state().systems.get_mut(name) {
            change(system);
        }
    }

    /// A page was read and stored. `drained`: everything up to this instant has been read, if that
    /// is so.
    pub fn polled(&self, name: &str, at: At, drained: Option<At>) {
        self.system(name, |system| {
            system.polled_ok = Some(at);
            system.drained = drained.max(system.drained);
            system.fault = None;
            let lasts = i64::try_from(REFUSAL_LASTS.as_micros()).unwrap_or(i64::MAX);
            let is_past = |refused: At| at.since(refused) >= lasts;
            if system.refused_at.is_none_or(is_past) {
                system.login = Login::Accepted;
                system.refused_at = None;
            }
        });
    }

    /// The login was refused, or a permission is missing. Only the code is kept.
    pub fn login_refused(&self, name: &str, at: At, code: &str) {
        let code = harmless(code);
        self.system(name, |system| {
            let since = match &system.login {
                Login::Refused { since, .. } => *since,
                Login::Unknown | Login::Accepted => at,
            };
            system.login = Login::Refused { since, code };
            system.refused_at = Some(at);
        });
    }

    /// What became of a system's login.
    pub fn login(&self, name: &str) -> Login {
        let state = self.state();
        let system = state.systems.get(name);
        system.map_or(Login::Unknown, |system| system.login.clone())
    }

    /// The supervised tasks that are down at present, by name.
    pub fn tasks_down(&self) -> Vec<String> {
        self.state().tasks_down.keys().cloned().collect()
    }

    /// What an earlier run left in the store, so that a restart does not begin at nothing. For a feed
    /// that was loaded once, `drained` is the time of its last stored page.
    pub fn restored(&self, name: &str, drained: Option<At>, paused: bool, halted: bool) {
        self.system(name, |system| {
            system.drained = drained.max(system.drained);
            system.paused = paused;
            system.halted = halted;
        });
    }

    /// A call failed. Only class and code are kept.
    pub fn failed(&self, name: &str, class: FaultClass, code: &str) {
        let code = harmless(code);
        self.system(name, |system| system.fault = Some((class, code)));
    }

    /// The circuit breaker changed.
    pub fn breaker(&self, name: &str, breaker: Breaker) {
        self.system(name, |system| system.breaker = breaker);
    }

    /// An operator paused or resumed the system (R50).
    pub fn paused(&self, name: &str, paused: bool) {
        self.system(name, |system| system.paused = paused);
    }

    /// A guard halted the feed, or it was released (R27).
    pub fn halted(&self, name: &str, halted: bool) {
        self.system(name, |system| system.halted = halted);
    }

    /// A write to the store succeeded just now.
    pub fn store_written(&self, at: At) {
        let mut state = self.state();
        state.store_written = Some(at);
        state.store_failed = false;
    }

    /// A write to the store failed.
    pub fn store_failed(&self) {
        self.state().store_failed = true;
    }

    /// A supervised task crashed; it counts as down until [`Board::task_up`].
    pub fn task_down(&self, task: &str) {
        *self.state().tasks_down.entry(task.to_owned()).or_default() += 1;
    }

    /// A supervised task runs again.
    pub fn task_up(&self, task: &str) {
        self.state().tasks_down.remove(task);
    }

    /// Whether the store was written lately enough to be trusted.
    pub fn is_store_writable(&self, now: At) -> bool {
        let state = self.state();
        let bound = i64::try_from(STORE_PROOF_LASTS.as_micros()).unwrap_or(i64::MAX);
        !state.store_failed && state.store_written.is_some_and(|at| now.since(at) <= bound)
    }

    /// How each system stands, and whether the daemon does its work.
    pub fn readiness(&self, now: At) -> Readiness {
        let store_writable = self.is_store_writable(now);
        let state = self.state();
        Readiness {
            store_writable,
            tasks_down: state.tasks_down.keys().cloned().collect(),
            systems: state
                .systems
                .values()
                .map(|system| system.readiness(now))
                .collect(),
        }
    }
}

/// A vendor chooses the code, so no more than a code is let through.
fn harmless(code: &str) -> String {
    code.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
        .take(MAX_CODE)
        .collect()
}

impl SystemHealth {
    fn readiness(&self, now: At) -> SystemReadiness {
        let lag = self.drained.map(|drained| {
            Duration::from_micros(u64::try_from(now.since(drained)).unwrap_or_default())
        });
        let state = if !self.watched.enabled {
            SystemState::Disabled
        } else if self.halted {
            SystemState::Halted
        } else if self.paused {
            SystemState::Paused
        } else if lag.is_none_or(|lag| lag > self.watched.max_lag) {
            SystemState::Lagging
        } else {
            SystemState::Ok
        };
        SystemReadiness {
            name: self.watched.name.clone(),
            state,
            lag,
            reason: self.reason(state, lag),
        }
    }

    fn reason(&self, state: SystemState, lag: Option<Duration>) -> Option<String> {
        let why = match state {
            SystemState::Disabled => return None,
            SystemState::Halted => "halted by a guard".to_owned(),
            SystemState::Paused => "paused by an operator".to_owned(),
            SystemState::Lagging => match lag {
                None => "not read to the end yet".to_owned(),
                Some(_) => format!("more than {} s behind", self.watched.max_lag.as_secs()),
            },
            SystemState::Ok if self.fault.is_none() => return None,
            SystemState::Ok => "the last call failed".to_owned(),
        };
        let fault = self
            .fault
            .as_ref()
            .map(|(class, code)| format!("; {} {code}", class.word()));
        let breaker = match self.breaker {
            Breaker::Closed => String::new(),
            other => format!("; circuit breaker {}", other.word()),
        };
        Some(format!("{why}{}{breaker}", fault.unwrap_or_default()))
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}
