//! The engine that is at work, and its replacement when the configuration is read again (R49).
//!
//! One task owns the engine: it starts the pollers, emitters and what goes with them, and on a reload
//! ends all of them before it starts those of the next engine, so that never two sets of rules are at
//! work on one store. What the store holds makes that lossless, as it makes a restart
//! (`docs/adr/0007-a-reload-replaces-the-engine.md`).

use super::clock::Clock;
use super::health::{Board, Watched};
use super::lifecycle::{Lifecycle, TaskResult};
use super::reporter::Reporter;
use crate::alarm::mail::Mail;
use crate::alarm::notifier::{Channel, Notifier};
use crate::alarm::webhook::Webhook;
use crate::config::reload::{Changed, merge};
use crate::config::{Alarms, Checked, ConfigFaults};
use crate::consent::At;
use crate::store::{Store, StoreError};
use crate::sync::assemble::{Connect, Engine, Lines, NotConnected, Parts};
use crate::sync::engine::Member;
use crate::sync::parity::daily::Daily;
use crate::sync::{emit, poll, redecide, retention};
use crate::web::api::Tokens;
use crate::web::hooks::{self, Hooks};
use crate::web::metrics::{self, Advice, HoldLabels, Refresher, Shown};
use ::metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long pollers and emitters have to finish what they are at when they are replaced. A vendor
/// that takes longer to answer is not waited for: the outcome of the call is settled later (R33).
pub const HANDOVER: Duration = Duration::from_secs(5);
/// Reloads that wait for their turn.
const MOST_WAITING: usize = 8;

/// Reads the configuration and checks it whole.
pub type Source = dyn Fn() -> Result<Checked, ConfigFaults> + Send + Sync;

/// What stays the same while the process runs.
pub struct Ground {
    /// The state store.
    pub store: Arc<dyn Store>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Where health is noted.
    pub board: Arc<Board>,
    /// The metrics recorder.
    pub metrics: PrometheusHandle,
    /// Builds connectors.
    pub connect: Arc<Connect>,
    /// Who may call us; each engine tells who may call about its systems.
    pub hooks: Arc<Hooks>,
    /// Who may use the API; each configuration names them.
    pub tokens: Arc<Tokens>,
    /// Where a reload reads the configuration.
    pub source: Arc<Source>,
}

/// Why no engine could be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A connector cannot be built.
    #[error(transparent)]
    NotConnected(#[from] NotConnected),
    /// The store failed.
    #[error("the systems cannot be set up")]
    Store(#[from] StoreError),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration has faults.
    #[error("{}", .0.told("everything goes on as before"))]
    Faulty(ConfigFaults),
    /// A connector cannot be built.
    #[error("{0}; everything goes on as before")]
    NotConnected(#[source] NotConnected),
    /// The store failed.
    #[error("the systems cannot be set up; everything goes on as before")]
    Store(#[source] StoreError),
    /// The daemon stops, or had to begin anew.
    #[error("the reload was interrupted")]
    Interrupted,
}

/// See the module's documentation.
pub struct Supervisor {
    ground: Ground,
    lifecycle: Lifecycle,
    requests: mpsc::Sender<Request>,
    /// Both are held by the owning task as long as it runs.
    inbox: tokio::sync::Mutex<mpsc::Receiver<Request>>,
    state: tokio::sync::Mutex<State>,
    /// The engine at work, for whoever looks a system up.
    engine: Mutex<Arc<Engine>>,
    /// What the figures remember over a reload.
    counted: Arc<Mutex<BTreeMap<(String, &'static str), u64>>>,
    advice: Advice,
    shown_holds: Arc<Mutex<BTreeSet<HoldLabels>>>,
}

/// Whoever asked for a reload and waits for its result.
type Request = oneshot::Sender<Result<Changed, ReloadError>>;

/// The configuration in force and what was made of it.
struct State {
    checked: Checked,
    lines: Lines,
    /// Who is told of alarms.
    channels: Vec<Arc<dyn Channel>>,
    /// The tasks of the engine; none while there is no engine.
    crew: Option<Lifecycle>,
}

impl Supervisor {
    /// Starts an engine, and the task that owns it from then on.
    ///
    /// # Errors
    /// When a connector cannot be built or the store fails. Nothing has been called then.
    pub async fn start(
        checked: Checked,
        ground: Ground,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<Self>, StartError> {
        let lines = Lines::build(&checked, &Lines::default(), &*ground.connect)?;
        let channels = channels(&checked.alarms, &ground.clock)?;
        let engine = Arc::new(assemble(&checked, &ground, &lines).await?);
        let (requests, inbox) = mpsc::channel(MOST_WAITING);
        let this = Arc::new(Self {
            engine: Mutex::new(Arc::clone(&engine)),
            ground,
            lifecycle: lifecycle.clone(),
            requests,
            inbox: tokio::sync::Mutex::new(inbox),
            state: tokio::sync::Mutex::new(State {
                checked,
                lines,
                channels,
                crew: None,
            }),
            counted: Arc::default(),
            advice: Advice::default(),
            shown_holds: Arc::default(),
        });
        {
            let mut state = this.state.lock().await;
            this.man(&mut state, &engine);
        }
        let owner = Arc::clone(&this);
        lifecycle.spawn_supervised("supervisor", move |stop| {
            let owner = Arc::clone(&owner);
            async move { owner.run(&stop).await }
        });
        Ok(this)
    }

    /// The engine at work. It is replaced by a reload, so nobody should keep it for long.
    pub fn engine(&self) -> Arc<Engine> {
        // A pointer is right whatever a panicking holder left.
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&engine)
    }

    /// Reads the configuration again and goes on with what it says. What changed, and what differs but
    /// waits for a restart. A faulty configuration changes nothing at all.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn reload(&self) -> Result<Changed, ReloadError> {
        let (reply, result) = oneshot::channel();
        if self.requests.send(reply).await.is_err() {
            return Err(ReloadError::Interrupted);
        }
        // The owning task does the work, so that nobody who loses patience leaves it half done.
        result.await.unwrap_or(Err(ReloadError::Interrupted))
    }

    async fn run(&self, stop: &CancellationToken) -> TaskResult {
        let (mut state, mut inbox) = (self.state.lock().await, self.inbox.lock().await);
        loop {
            if state.crew.is_none() {
                let State { checked, lines, .. } = &*state;
                let engine = assemble(checked, &self.ground, lines).await;
                let engine = engine.map_err(|error| error.to_string())?;
                self.man(&mut state, &Arc::new(engine));
            }
            let request = tokio::select! {
                () = stop.cancelled() => None,
                request = inbox.recv() => request,
            };
            let Some(reply) = request else {
                return Ok(());
            };
            let result = self.take_over(&mut state).await;
            report(&result);
            // Whoever asked may be gone by now.
            drop(reply.send(result));
        }
    }

    /// One reload. Without an engine afterwards, the configuration before it goes on.
    async fn take_over(&self, state: &mut State) -> Result<Changed, ReloadError> {
        let source = Arc::clone(&self.ground.source);
        let found = tokio::task::spawn_blocking(move || source())
            .await
            .map_err(|_| ReloadError::Interrupted)?
            .map_err(ReloadError::Faulty)?;
        let (next, changed) = merge(&state.checked, found);
        if changed.taken.is_empty() {
            return Ok(changed);
        }
        // What can fail by its settings fails before anything is stopped.
        let lines = Lines::build(&next, &state.lines, &*self.ground.connect)
            .map_err(ReloadError::NotConnected)?;
        let channels =
            channels(&next.alarms, &self.ground.clock).map_err(ReloadError::NotConnected)?;
        if let Some(crew) = state.crew.take()
            && !crew.end(HANDOVER).await
        {
            tracing::warn!(
                "some calls did not end in time and were cut off; what they did is settled by a look"
            );
        }
        let engine = assemble(&next, &self.ground, &lines)
            .await
            .map_err(ReloadError::Store)?;
        state.checked = next;
        state.lines = lines;
        state.channels = channels;
        self.man(state, &Arc::new(engine));
        Ok(changed)
    }

    /// Starts the tasks of an engine, in a group that can be ended before the daemon is.
    fn man(&self, state: &mut State, engine: &Arc<Engine>) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(engine);
        let crew = self.lifecycle.group();
        let notifier = Arc::new(Notifier::new(
            Arc::clone(&self.ground.store),
            Arc::clone(&self.ground.clock),
            state.channels.clone(),
        ));
        let refresher = self.refresher(&state.checked, engine, &notifier);
        crew.spawn_supervised("alarms", move |stop| {
            let notifier = Arc::clone(&notifier);
            async move {
                notifier.run(&stop).await;
                Ok(())
            }
        });
        crew.spawn_supervised("figures", move |stop| {
            let refresher = refresher.clone();
            async move {
                refresher.run(&stop).await;
                Ok(())
            }
        });
        let targets = hooks::Target::all(&state.checked, &engine.members);
        self.ground.hooks.replace(targets);
        let tokens = state.checked.server.tokens.clone();
        self.ground.tokens.replace(tokens);
        for member in &engine.members {
            supervise(&crew, member);
        }
        if let Some(keeper) = &engine.keeper {
            let keeper = Arc::clone(keeper);
            crew.spawn_supervised("gate", move |stop| {
                let keeper = Arc::clone(&keeper);
                async move {
                    keeper.run(&stop).await;
                    Ok(())
                }
            });
        }
        let shared = Arc::clone(&engine.shared);
        crew.spawn_supervised("redecide", move |stop| {
            let shared = Arc::clone(&shared);
            async move {
                redecide::run(&shared, &stop).await;
                Ok(())
            }
        });
        let shared = Arc::clone(&engine.shared);
        let kept = state.checked.retention.clone();
        crew.spawn_supervised("retention", move |stop| {
            let (shared, kept) = (Arc::clone(&shared), kept.clone());
            async move {
                retention::run(&shared, &kept, &stop).await;
                Ok(())
            }
        });
        let daily = Arc::new(Daily {
            checked: state.checked.clone(),
            shared: Arc::clone(&engine.shared),
            connect: Arc::clone(&self.ground.connect),
        });
        crew.spawn_supervised("parity-report", move |stop| {
            let daily = Arc::clone(&daily);
            async move {
                daily.run(&stop).await;
                Ok(())
            }
        });
        state.crew = Some(crew);
    }

    fn refresher(&self, checked: &Checked, engine: &Engine, notifier: &Arc<Notifier>) -> Refresher {
        let rules = &engine.shared.rules;
        let configured = rules
            .systems
            .iter()
            .filter(|system| checked.system(&system.name).is_some());
        let systems = configured.map(|system| Shown {
            number: system.id.0,
            name: system.name.clone(),
            connector: engine
                .member(&system.name)
                .map(|member| Arc::clone(&member.connector)),
        });
        Refresher {
            store: Arc::clone(&self.ground.store),
            clock: Arc::clone(&self.ground.clock),
            board: Arc::clone(&self.ground.board),
            systems: systems.collect(),
            metrics: self.ground.metrics.clone(),
            every: metrics::REFRESH,
            withdrawal_deadline: checked.policy.withdrawal_deadline,
            notifier: Arc::clone(notifier),
            keeper: engine.keeper.clone(),
            counted: Arc::clone(&self.counted),
            advice: self.advice.clone(),
            shown_holds: Arc::clone(&self.shown_holds),
        }
    }
}

/// The channels that a configuration names. Connects to nothing.
fn channels(
    settings: &Alarms,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Arc<dyn Channel>>, NotConnected> {
    let refused = |way: &str| {
        let system = format!("alarms.{way}");
        move |fault| NotConnected { system, fault }
    };
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(webhook) = &settings.webhook {
        let webhook = Webhook::new(webhook, Arc::clone(clock)).map_err(refused("webhook"))?;
        channels.push(Arc::new(webhook));
    }
    if let Some(mail) = &settings.mail {
        for recipient in Mail::all(mail).map_err(refused("mail"))? {
            channels.push(Arc::new(recipient));
        }
    }
    Ok(channels)
}

/// Builds an engine and shows its systems on the board.
async fn assemble(checked: &Checked, ground: &Ground, lines: &Lines) -> Result<Engine, StoreError> {
    let parts = Parts {
        store: Arc::clone(&ground.store),
        clock: Arc::clone(&ground.clock),
        listener: Arc::new(Reporter {
            board: Arc::clone(&ground.board),
            clock: Arc::clone(&ground.clock),
        }),
        read_only: false,
    };
    let engine = Engine::assemble(checked, parts, lines).await?;
    let mut feeds = Vec::new();
    for member in &engine.members {
        feeds.push(ground.store.feed(member.id.0).await?);
    }
    ground
        .board
        .watch(checked.systems.iter().map(|system| Watched {
            name: system.name.clone(),
            enabled: system.enabled,
            max_lag: system.max_lag,
        }));
    for (member, feed) in engine.members.iter().zip(feeds) {
        let drained = feed.drained.map(At::from_micros);
        ground
            .board
            .restored(&member.name, drained, feed.paused, feed.halted.is_some());
    }
    Ok(engine)
}

/// One poller, and one emitter where verdicts are written, each restarted by itself if it crashes.
fn supervise(crew: &Lifecycle, member: &Arc<Member>) {
    let poller = Arc::clone(member);
    crew.spawn_supervised(format!("{}-poll", member.name), move |stop| {
        let member = Arc::clone(&poller);
        async move {
            poll::run(&member, &stop).await;
            Ok(())
        }
    });
    if !member.rules.writable {
        return;
    }
    let emitter = Arc::clone(member);
    crew.spawn_supervised(format!("{}-emit", member.name), move |stop| {
        let member = Arc::clone(&emitter);
        async move {
            emit::run(&member, &stop).await;
            Ok(())
        }
    });
}

/// Says what came of a reload.
fn report(result: &Result<Changed, ReloadError>) {
    let outcome = match result {
        Ok(changed) => {
            for key in &changed.ignored {
                tracing::warn!(
                    key,
                    "{key} differs in the configuration; it counts after a restart"
                );
            }
            if changed.taken.is_empty() {
                tracing::info!("the configuration was read again; nothing has changed");
                "unchanged"
            } else {
                let taken = changed.taken.join(", ");
                tracing::info!(%taken, "the configuration was reloaded: {taken}");
                "taken"
            }
        }
        Err(error) => {
            let cause = std::error::Error::source(error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            tracing::error!("the configuration was not reloaded: {error}{cause}");
            "refused"
        }
    };
    counter!("consentd_reloads_total", "result" => outcome).increment(1);
}
