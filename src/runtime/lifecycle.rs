//! Supervised tasks and an orderly end.
//!
//! Every task of the daemon is started here. One that crashes or ends by itself is noted on the
//! board and started again after a pause. On SIGTERM or SIGINT the tasks are asked to stop and have
//! [`SOFT_STOP`] to do so; then the rest is cut off. What a cut-off task had not committed was never
//! acknowledged to anybody, so nothing is lost.

use super::clock::Clock;
use super::health::Board;
use sd_notify::NotifyState;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks have to finish once they are asked to stop (G29).
pub const SOFT_STOP: Duration = Duration::from_secs(30);
/// The pause before the first restart; it doubles with every crash in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two restarts.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A task that ran this long counts as recovered.
const STEADY: Duration = Duration::from_mins(1);

/// Why a task gave up, in words for the log; holds no address and no secret.
pub type TaskResult = Result<(), String>;

/// The tasks of one daemon, or some of them.
#[derive(Clone)]
pub struct Lifecycle {
    tasks: TaskTracker,
    /// All tasks of the daemon, where these are only some.
    all: Option<TaskTracker>,
    soft: CancellationToken,
    hard: CancellationToken,
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
}

impl Lifecycle {
    /// No tasks yet.
    pub fn new(board: Arc<Board>, clock: Arc<dyn Clock>) -> Self {
        Self {
            tasks: TaskTracker::new(),
            all: None,
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            board,
            clock,
        }
    }

    /// Tasks that can be ended before the others. They end with them at the latest.
    #[must_use]
    pub fn group(&self) -> Self {
        Self {
            tasks: TaskTracker::new(),
            all: Some(self.tasks.clone()),
            soft: self.soft.child_token(),
            hard: self.hard.child_token(),
            board: Arc::clone(&self.board),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Ends these tasks and returns when none of them is left: they are asked to stop, and cut off
    /// after `limit`. Whether all stopped by themselves.
    pub async fn end(&self, limit: Duration) -> bool {
        self.soft.cancel();
        self.tasks.close();
        if timeout(limit, self.tasks.wait()).await.is_ok() {
            return true;
        }
        self.hard.cancel();
        // Cut-off tasks end at their next pause, which is never far.
        self.tasks.wait().await;
        false
    }

    /// Cancelled when the daemon is to stop. Tasks finish what they are at and return.
    pub fn stop_token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Asks every task to stop, as a signal would.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Runs what `factory` makes until the daemon stops, and makes it anew when it panics, fails or
    /// ends too early. Until it has run for a while again, the board shows the task as down.
    #[expect(clippy::disallowed_methods, reason = "the home of all tasks")]
    pub fn spawn_supervised<Factory, Task>(&self, name: impl Into<String>, mut factory: Factory)
    where
        Factory: FnMut(CancellationToken) -> Task + Send + 'static,
        Task: Future<Output = TaskResult> + Send + 'static,
    {
        let (name, this) = (name.into(), self.clone());
        let supervised = self.tasks.track_future(async move {
            let mut crashes = 0_u32;
            while !this.soft.is_cancelled() {
                let started = Instant::now();
                // A task of its own, so that a panic ends that one only.
                let task = factory(this.soft.clone());
                let (hard, steady) = (this.hard.clone(), crashes > 0);
                let mut running = tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        () = hard.cancelled() => Ok(()),
                        result = task => result,
                    }
                });
                let ended = if steady {
                    tokio::select! {
                        ended = &mut running => ended,
                        () = sleep(restart_pause(crashes)) => {
                            this.board.task_up(&name);
                            running.await
                        }
                    }
                } else {
                    running.await
                };
                if this.soft.is_cancelled() {
                    break;
                }
                crashes = if started.elapsed() >= STEADY { 1 } else { crashes.saturating_add(1) };
                this.board.task_down(&name);
                metrics::counter!("consentd_task_restarts_total", "task" => name.clone()).increment(1);
                let pause = restart_pause(crashes);
                let why = match ended {
                    Ok(Ok(())) => "it ended by itself".to_owned(),
                    Ok(Err(why)) => why,
                    Err(_) => "it panicked".to_owned(),
                };
                tracing::error!(task = %name, crashes, %why, "task {name} is down ({why}); restarting it in {pause:?}");
                tokio::select! {
                    () = this.soft.cancelled() => break,
                    () = sleep(pause) => {}
                }
            }
            this.board.task_up(&name);
        });
        // The task is waited for through its trackers.
        drop(match &self.all {
            Some(all) => all.spawn(supervised),
            None => tokio::spawn(supervised),
        });
    }

    /// Tells systemd that the daemon is up, then serves its watchdog until the daemon is to stop,
    /// because of a signal or [`Lifecycle::stop`]; then stops in order. Returns whether every task
    /// stopped within [`SOFT_STOP`].
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub async fn run_until_stopped(&self) -> std::io::Result<bool> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        notify(&NotifyState::Ready);
        tokio::select! {
            _ = term.recv() => tracing::info!("stopping because of SIGTERM"),
            _ = int.recv() => tracing::info!("stopping because of SIGINT"),
            () = self.soft.cancelled() => tracing::info!("stopping on request"),
            () = self.serve_watchdog() => {}
        }
        notify(&NotifyState::Stopping);
        self.soft.cancel();
        self.tasks.close();
        let soft = tokio::select! {
            stopped = timeout(SOFT_STOP, self.tasks.wait()) => stopped.is_ok(),
            // Whoever asks twice does not want to wait.
            _ = int.recv() => false,
        };
        if !soft {
            tracing::warn!("some tasks did not stop in time and are cut off");
            self.hard.cancel();
            // Cut-off tasks end at their next pause; one that blocks the thread never would.
            drop(timeout(Duration::from_secs(1), self.tasks.wait()).await);
        }
        Ok(soft)
    }

    /// Pings systemd twice per watchdog period while this loop turns and the store can be written;
    /// without pings systemd restarts the daemon. Never returns.
    async fn serve_watchdog(&self) {
        let Some(period) = sd_notify::watchdog_enabled() else {
            return std::future::pending().await;
        };
        loop {
            if self.board.is_store_writable(self.clock.now()) {
                notify(&NotifyState::Watchdog);
            }
            sleep(period / 2).await;
        }
    }
}

/// The pause before restart number `crashes`.
fn restart_pause(crashes: u32) -> Duration {
    let factor = 1_u32 << crashes.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

/// Tells systemd that the configuration is being read again, until [`reloaded`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify_all(&[NotifyState::Reloading, now]),
        Err(fault) => tracing::debug!(%fault, "systemd could not be told: {fault}"),
    }
}

/// Tells systemd that the configuration was read, whatever came of it.
pub fn reloaded() {
    notify(&NotifyState::Ready);
}

fn notify(state: &NotifyState<'_>) {
    notify_all(std::slice::from_ref(state));
}

/// Outside systemd there is nobody to tell; a socket that fails is not worth stopping for.
fn notify_all(states: &[NotifyState<'_>]) {
    if let Err(fault) = sd_notify::notify(states) {
        tracing::debug!(%fault, "systemd could not be told: {fault}");
    }
}
