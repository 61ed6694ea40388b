//! The whole daemon: store, engine and HTTP surface under one supervisor.

use super::clock::{self, Clock};
use super::health::{Board, Watched};
use super::lifecycle::Lifecycle;
use super::reporter::Reporter;
use crate::config::Checked;
use crate::consent::At;
use crate::store::{self, Access};
use crate::sync::engine::{Listener, Member, Parts, assemble};
use crate::sync::{emit, poll};
use crate::web::metrics::{self, Refresher, Shown};
use crate::web::{App, serve};
use anyhow::Context;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Runs until SIGTERM or SIGINT. Whether everything stopped in time.
///
/// # Errors
/// When the store cannot be used, the port is taken, or a connector cannot be built. Nothing has
/// been called then.
pub async fn run(checked: &Checked) -> anyhow::Result<bool> {
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    let handle = metrics::install().context("metrics cannot be collected")?;
    let store = store::open(&checked.store, Access::Daemon)
        .await
        .context("the state store cannot be used")?;
    let board = Arc::new(Board::new(checked.systems.iter().map(|system| Watched {
        name: system.name.clone(),
        enabled: system.enabled,
        max_lag: system.max_lag,
    })));
    let listener: Arc<dyn Listener> = Arc::new(Reporter {
        board: Arc::clone(&board),
        clock: Arc::clone(&clock),
    });
    let parts = Parts {
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        listener,
        read_only: false,
    };
    let members = assemble(checked, parts)
        .await
        .context("the systems cannot be set up")?;
    for member in &members {
        let feed = store
            .feed(member.id.0)
            .await
            .context("the state store cannot be read")?;
        board.restored(
            &member.name,
            feed.drained.map(At::from_micros),
            feed.paused,
            feed.halted.is_some(),
        );
    }
    let socket = TcpListener::bind(checked.server.listen)
        .await
        .with_context(|| {
            format!(
                "cannot listen on {}; is another daemon running?",
                checked.server.listen
            )
        })?;
    tracing::info!(listen = %checked.server.listen, systems = members.len(), "serving health and metrics on {}", checked.server.listen);

    let lifecycle = Lifecycle::new(Arc::clone(&board), Arc::clone(&clock));
    serve_http(
        &lifecycle,
        socket,
        App {
            board: Arc::clone(&board),
            clock: Arc::clone(&clock),
            metrics: handle.clone(),
        },
    );
    let refresher = Refresher {
        store: Arc::clone(&store),
        clock,
        board,
        systems: members
            .iter()
            .map(|member| Shown {
                number: member.id.0,
                name: member.name.clone(),
                connector: Some(Arc::clone(&member.connector)),
            })
            .collect(),
        metrics: handle,
        every: metrics::REFRESH,
        withdrawal_deadline: checked.policy.withdrawal_deadline,
        alarmed: Arc::default(),
    };
    lifecycle.spawn_supervised("figures", move |stop| {
        let refresher = refresher.clone();
        async move {
            refresher.run(&stop).await;
            Ok(())
        }
    });
    for member in members {
        supervise(&lifecycle, member);
    }
    let in_time = lifecycle
        .run_until_stopped()
        .await
        .context("signals cannot be listened to")?;
    store.close().await;
    tracing::info!(in_time, "stopped");
    Ok(in_time)
}

/// One poller and one emitter, each restarted by itself if it crashes.
fn supervise(lifecycle: &Lifecycle, member: Arc<Member>) {
    let poller = Arc::clone(&member);
    lifecycle.spawn_supervised(format!("{}-poll", member.name), move |stop| {
        let member = Arc::clone(&poller);
        async move {
            poll::run(&member, &stop).await;
            Ok(())
        }
    });
    lifecycle.spawn_supervised(format!("{}-emit", member.name), move |stop| {
        let member = Arc::clone(&member);
        async move {
            emit::run(&member, &stop).await;
            Ok(())
        }
    });
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
