//! The whole daemon: store, engine and HTTP surface under one supervisor.

use super::clock::{self, Clock};
use super::health::Board;
use super::lifecycle::{self, Lifecycle, TaskResult};
use super::supervisor::{Ground, Source, Supervisor};
use crate::config::{Checked, Server};
use crate::store::{self, Access};
use crate::sync::assemble;
use crate::sync::checklist::{Crew, Desk, Roster};
use crate::sync::sendout::{Courier, Sendouts};
use crate::web::api::{Api, Post, Reload, Switchboard, Tokens};
use crate::web::hooks::Hooks;
use crate::web::metrics;
use crate::web::{App, serve};
use anyhow::Context;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again from `source`. Whether
/// everything stopped in time.
///
/// # Errors
/// When the store cannot be used, the port is taken, or a connector cannot be built. Nothing has
/// been called then.
pub async fn run(checked: Checked, source: Arc<Source>) -> anyhow::Result<bool> {
    // Until somebody listens, this signal ends the process.
    let hangups = signal(SignalKind::hangup()).context("signals cannot be listened to")?;
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    let handle = metrics::install().context("metrics cannot be collected")?;
    let store = store::open(&checked.store, Access::Daemon)
        .await
        .context("the state store cannot be used")?;
    let listen = checked.server.listen;
    let socket = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; is another daemon running?"))?;
    let board = Arc::new(Board::default());
    let lifecycle = Lifecycle::new(Arc::clone(&board), Arc::clone(&clock));
    let hooks = Arc::new(Hooks::default());
    let tokens = Arc::new(Tokens::default());
    let server = checked.server.clone();
    let ground = Ground {
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        board: Arc::clone(&board),
        metrics: handle.clone(),
        connect: Arc::new(assemble::connect),
        hooks: Arc::clone(&hooks),
        tokens: Arc::clone(&tokens),
        source,
    };
    let supervisor = Supervisor::start(checked, ground, &lifecycle)
        .await
        .context("the systems cannot be set up")?;
    tracing::info!(%listen, systems = supervisor.engine().members.len(), "serving health and metrics on {listen}");
    let switchboard = Switchboard {
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        roster: Arc::clone(&supervisor) as Arc<dyn Roster>,
        reload: Arc::clone(&supervisor) as Arc<dyn Reload>,
    };
    let api = api(&server, switchboard, tokens)?;
    supervise_sendouts(&lifecycle, &api.sendouts);
    let app = App {
        board,
        clock,
        metrics: handle,
        hooks,
        api: Some(Arc::new(api)),
    };
    serve_http(&lifecycle, socket, app);
    lifecycle.spawn_supervised("reload-signal", move |stop| {
        let supervisor = Arc::clone(&supervisor);
        async move { reload_on_signal(&supervisor, &stop).await }
    });
    // From here on the task listens.
    drop(hangups);
    let in_time = lifecycle
        .run_until_stopped()
        .await
        .context("signals cannot be listened to")?;
    store.close().await;
    tracing::info!(in_time, "stopped");
    Ok(in_time)
}

impl Roster for Supervisor {
    fn crew(&self) -> Option<Crew> {
        let engine = self.engine();
        (!engine.members.is_empty()).then(|| Crew {
            shared: Arc::clone(&engine.shared),
            members: engine.members.clone(),
        })
    }
}

/// The API over the systems that the roster names.
fn api(server: &Server, switchboard: Switchboard, tokens: Arc<Tokens>) -> anyhow::Result<Api> {
    let Switchboard {
        store,
        clock,
        roster,
        ..
    } = &switchboard;
    let desk = Arc::new(Desk::new(Arc::clone(roster)));
    let post = match &server.callback {
        Some(settings) => Some(Arc::new(
            Post::new(settings, Arc::clone(clock)).context("callbacks cannot be posted")?,
        )),
        None => None,
    };
    let sendouts = Arc::new(Sendouts::new(
        Arc::clone(&desk),
        Arc::clone(store),
        Arc::clone(clock),
        post.clone().map(|post| post as Arc<dyn Courier>),
        server.sendout_retention,
    ));
    Ok(Api {
        tokens,
        desk,
        sendouts,
        post,
        switchboard,
    })
}

/// The checks of send-outs at their moment, and what follows from them.
fn supervise_sendouts(lifecycle: &Lifecycle, sendouts: &Arc<Sendouts>) {
    let checks = Arc::clone(sendouts);
    lifecycle.spawn_supervised("sendout-checks", move |stop| {
        let sendouts = Arc::clone(&checks);
        async move {
            sendouts.run_checks(&stop).await;
            Ok(())
        }
    });
    let posts = Arc::clone(sendouts);
    lifecycle.spawn_supervised("sendout-posts", move |stop| {
        let sendouts = Arc::clone(&posts);
        async move {
            sendouts.run_posts(&stop).await;
            Ok(())
        }
    });
}

/// Reloads at every SIGHUP. Signals that come while a reload is under way lead to one more.
async fn reload_on_signal(supervisor: &Supervisor, stop: &CancellationToken) -> TaskResult {
    let mut hangups = signal(SignalKind::hangup()).map_err(|fault| fault.to_string())?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangups.recv() => {}
        }
        lifecycle::reloading();
        // What came of it is in the log.
        drop(supervisor.reload().await);
        lifecycle::reloaded();
    }
}

/// The HTTP surface. Its socket outlives a crash of the task, so that no port is lost.
fn serve_http(lifecycle: &Lifecycle, socket: TcpListener, app: App) {
    let socket = Arc::new(socket);
    lifecycle.spawn_supervised("http", move |stop| {
        let (socket, app) = (Arc::clone(&socket), app.clone());
        async move {
            serve(&socket, app, stop)
                .await
                .map_err(|fault| fault.to_string())
        }
    });
}
