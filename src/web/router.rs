//! The routes, and the limits that hold for all of them.

use super::api::{self, Api};
use super::hooks::{self, Hooks};
use super::{health, metrics};
use crate::runtime::clock::Clock;
use crate::runtime::health::Board;
use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

/// The open routes; with [`api::PATHS`] and [`hooks::PATHS`] all that `docs/openapi.json` describes.
pub const PATHS: &[&str] = &["/healthz", "/readyz", "/metrics", "/openapi.json"];
/// Written by hand: a few routes are quicker to describe than to derive.
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");
/// No open route takes longer; none of them waits for a vendor or the store.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// No open route takes a body.
const MAX_BODY_BYTES: usize = 1_024;
/// Request line and headers together.
const MAX_HEADER_BYTES: usize = 16 * 1_024;
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the routes share.
#[derive(Clone)]
pub struct App {
    /// How the daemon fares.
    pub board: Arc<Board>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics recorder.
    pub metrics: PrometheusHandle,
    /// Who may call us.
    pub hooks: Arc<Hooks>,
    /// The API, where there is one.
    pub api: Option<Arc<Api>>,
}

/// All routes. Methods other than theirs are refused with 405.
pub fn router(app: App) -> Router {
    let hooks = hooks::router(Arc::clone(&app.hooks));
    let api = app.api.clone().map(api::router);
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::scrape))
        .route("/openapi.json", get(openapi))
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .with_state(app)
        .merge(hooks)
        .merge(api.unwrap_or_default())
        .fallback(StatusCode::NOT_FOUND)
        .layer(axum::middleware::map_response(harden))
}

/// Answers until `stop` is cancelled, and finishes those under way.
///
/// # Errors
/// Never by itself: a connection that cannot be accepted is logged, and the next one is waited for.
pub async fn serve(listener: &TcpListener, app: App, stop: CancellationToken) -> io::Result<()> {
    let service = TowerToHyperService::new(router(app));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let answer = converse(stream, service.clone(), stop.clone());
                connections.spawn(async move {
                    answer.await;
                    drop(place);
                });
            }
            Err(fault) => {
                // For instance no file descriptors: it passes, but not at once.
                tracing::warn!(%fault, "a connection could not be accepted: {fault}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Waits for a free place before a connection is taken, so that their number is bounded.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// One connection, with limits on the size of its headers and on the time they may take.
async fn converse(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    stop: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a connection ended early: {fault}");
    }
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
