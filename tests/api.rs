//! The HTTP surface over real sockets: readiness tells the truth, turns red and recovers.
#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use async_trait::async_trait;
use consentd::alarm::notifier::Notifier;
use consentd::connector::FaultClass;
use consentd::consent::At;
use consentd::runtime::clock::{Clock, Manual};
use consentd::runtime::health::{Board, Breaker, Watched};
use consentd::runtime::lifecycle::Lifecycle;
use consentd::store::ledger::{Redacted, StoredBlock};
use consentd::store::*;
use consentd::web::api;
use consentd::web::hooks;
use consentd::web::metrics::{Advice, Refresher, Shown, install};
use consentd::web::router::{OPENAPI, PATHS};
use consentd::web::{App, serve};
use metrics_exporter_prometheus::PrometheusHandle;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const START: At = At::from_micros(1_760_000_000_000_000);

/// The recorder is one per process.
static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| install().expect("installed once"));

/// A store that can be broken. Only health and figures are asked of it here.
struct Breakable {
    broken: AtomicBool,
    figures: Figures,
}

impl Breakable {
    fn ask<T>(&self, answer: T) -> Result<T, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable {
                what: "a probe",
                source: sqlx::Error::PoolTimedOut,
            })
        } else {
            Ok(answer)
        }
    }
}

#[async_trait]
impl Store for Breakable {
    async fn transact(&self, _: &Scope, _: Decide<'_>) -> Result<Applied, StoreError> {
        self.ask(Applied::Overtaken)
    }
    async fn register_systems(&self, _: &[String]) -> Result<Vec<i16>, StoreError> {
        self.ask(Vec::new())
    }
    async fn feed(&self, _: i16) -> Result<FeedRow, StoreError> {
        self.ask(FeedRow::default())
    }
    async fn systems(&self) -> Result<Vec<(i16, String)>, StoreError> {
        self.ask(Vec::new())
    }
    async fn origin(&self) -> Result<Origin, StoreError> {
        self.ask(Origin {
            store_id: String::new(),
            planning: None,
        })
    }
    async fn copy_to(&self, _: &Path) -> Result<(), StoreError> {
        self.ask(())
    }
    async fn decided(&self) -> Result<Decided, StoreError> {
        self.ask(Decided::default())
    }
    async fn ledger_blocks(&self, _: i64, _: usize) -> Result<Vec<StoredBlock>, StoreError> {
        self.ask(Vec::new())
    }
    async fn ledger_blocks_of(&self, _: &[i64]) -> Result<Vec<(i64, i64)>, StoreError> {
        self.ask(Vec::new())
    }
    async fn replace_blocks(&self, _: &[(i64, Redacted)]) -> Result<bool, StoreError> {
        self.ask(false)
    }
    async fn suppression_keys(&self) -> Result<Vec<SuppressionKey>, StoreError> {
        self.ask(Vec::new())
    }
    async fn suppressed(&self, _: &[SuppressionDigest]) -> Result<Vec<SuppressionRow>, StoreError> {
        self.ask(Vec::new())
    }
    async fn traces(&self, _: &TraceQuery) -> Result<Traces, StoreError> {
        self.ask(Traces::default())
    }
    async fn scrub(&self, _: &[String]) -> Result<Residue, StoreError> {
        self.ask(Residue::default())
    }
    async fn back_up(&self, _: &std::path::Path) -> Result<Option<Backup>, StoreError> {
        self.ask(None)
    }
    async fn expiring(&self, _: Expiring, _: At, _: usize) -> Result<Vec<ExpiringKey>, StoreError> {
        self.ask(Vec::new())
    }
    async fn expired_through(&self, _: &str) -> Result<i64, StoreError> {
        self.ask(0)
    }
    async fn claim_writes(&self, _: &Claim) -> Result<Vec<OutboxRow>, StoreError> {
        self.ask(Vec::new())
    }
    async fn addresses(&self, _: i16, _: &[&str]) -> Result<Vec<Option<String>>, StoreError> {
        self.ask(Vec::new())
    }
    async fn still_current(&self, _: &[(WriteKey, i64)]) -> Result<Vec<WriteKey>, StoreError> {
        self.ask(Vec::new())
    }
    async fn release_claims(&self, _: i16) -> Result<u64, StoreError> {
        self.ask(0)
    }
    async fn postpone(&self, _: &[Postponed]) -> Result<(), StoreError> {
        self.ask(())
    }
    async fn next_due(&self, _: i16) -> Result<Option<At>, StoreError> {
        self.ask(None)
    }
    async fn figures(&self, _: At) -> Result<Figures, StoreError> {
        self.ask(self.figures.clone())
    }
    async fn dossier(&self, _: SubjectRef) -> Result<Option<Dossier>, StoreError> {
        self.ask(None)
    }
    async fn subjects_after(&self, _: i64, _: usize) -> Result<Known, StoreError> {
        self.ask(Known::default())
    }
    async fn quarantined(
        &self,
        _: Option<i16>,
        _: usize,
    ) -> Result<Vec<QuarantineRow>, StoreError> {
        self.ask(Vec::new())
    }
    async fn outbox(&self, _: usize, _: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.ask(Vec::new())
    }
    async fn recipients(
        &self,
        _: &[SubjectRef],
        _: &[i16],
    ) -> Result<Vec<Option<RecipientRow>>, StoreError> {
        self.ask(Vec::new())
    }
    async fn contacts_of(
        &self,
        _: &[SubjectRef],
        _: &[i16],
    ) -> Result<Vec<SubjectContact>, StoreError> {
        self.ask(Vec::new())
    }
    async fn subjects_of(&self, _: &[(i16, &str)]) -> Result<Vec<Option<SubjectRef>>, StoreError> {
        self.ask(Vec::new())
    }
    async fn subject_addresses(&self, _: &[SubjectRef]) -> Result<Vec<Option<String>>, StoreError> {
        self.ask(Vec::new())
    }
    async fn put_sendout(&self, _: &SendoutRow, _: usize) -> Result<bool, StoreError> {
        self.ask(true)
    }
    async fn sendout(&self, _: &str) -> Result<Option<SendoutRow>, StoreError> {
        self.ask(None)
    }
    async fn sendouts(&self, _: usize) -> Result<Vec<SendoutHead>, StoreError> {
        self.ask(Vec::new())
    }
    async fn due_sendouts(&self, _: i16, _: usize) -> Result<Vec<(String, At)>, StoreError> {
        self.ask(Vec::new())
    }
    async fn advance_sendout(&self, _: &SendoutStep) -> Result<bool, StoreError> {
        self.ask(true)
    }
    async fn holds(&self, _: bool, _: usize) -> Result<Vec<HoldView>, StoreError> {
        self.ask(Vec::new())
    }
    async fn held(&self, _: i64, _: i64, _: usize) -> Result<Vec<HeldView>, StoreError> {
        self.ask(Vec::new())
    }
    async fn alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        self.ask(Vec::new())
    }
    async fn put_alarms(&self, _: &AlarmChanges) -> Result<(), StoreError> {
        self.ask(())
    }
    async fn step_alarm_post(&self, _: &AlarmStep) -> Result<bool, StoreError> {
        self.ask(true)
    }
    async fn forget_sendouts(&self, _: At) -> Result<u64, StoreError> {
        self.ask(0)
    }
    async fn gate_due(&self, _: usize) -> Result<Vec<(SubjectRef, i64, i64)>, StoreError> {
        self.ask(Vec::new())
    }
    async fn gate_round(&self) -> Result<GateRound, StoreError> {
        self.ask(GateRound::default())
    }
    async fn requests(&self, _: &RequestQuery, _: usize) -> Result<Vec<RequestView>, StoreError> {
        self.ask(Vec::new())
    }
    fn sequence(&self) -> i64 {
        0
    }
    async fn probe_writable(&self, _: At) -> Result<(), StoreError> {
        self.ask(())
    }
    async fn close(&self) {}
}

/// A listening daemon surface, with everything behind it in the hands of the test.
struct Surface {
    address: SocketAddr,
    board: Arc<Board>,
    clock: Arc<Manual>,
    store: Arc<Breakable>,
    refresher: Refresher,
    stop: CancellationToken,
    http: reqwest::Client,
}

impl Drop for Surface {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Surface {
    /// `prefix` keeps the metrics of tests apart, since they share one recorder.
    async fn start(prefix: &str) -> Self {
        let clock = Arc::new(Manual::at(START));
        let watched = |name: &str, enabled| Watched {
            name: format!("{prefix}-{name}"),
            enabled,
            max_lag: Duration::from_mins(15),
        };
        let board = Arc::new(Board::new([watched("crm", true), watched("spare", false)]));
        let figures = Figures {
            systems: vec![SystemFigures {
                system: 1,
                live: 200,
                unmatched: 3,
                differing: 50,
                pending_withdrawals: 7,
                pending_grants: 2,
                planned: 6,
                sent: 0,
                batches: 0,
                dead: 1,
                held: 4,
                quarantined: 5,
                oldest_withdrawal: Some(START.minus(90_000_000).micros()),
            }],
            subjects: 150,
            with_findings: 6,
            ledger: 999,
            requests: 3,
            urgent_requests: 1,
            holds: 0,
            held_subjects: 0,
            planning: true,
        };
        let store = Arc::new(Breakable {
            broken: AtomicBool::new(false),
            figures,
        });
        let refresher = Refresher {
            store: store.clone(),
            clock: clock.clone(),
            board: board.clone(),
            systems: vec![Shown {
                number: 1,
                name: format!("{prefix}-crm"),
                connector: None,
            }],
            metrics: METRICS.clone(),
            every: Duration::from_millis(5),
            withdrawal_deadline: Duration::from_hours(48),
            keeper: None,
            notifier: Arc::new(Notifier::new(store.clone(), clock.clone(), Vec::new())),
            counted: std::sync::Arc::default(),
            advice: Advice::default(),
            shown_holds: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let app = App {
            board: board.clone(),
            clock: clock.clone(),
            metrics: METRICS.clone(),
            hooks: Arc::default(),
            api: None,
        };
        #[expect(clippy::disallowed_methods, reason = "the test's own server")]
        tokio::spawn({
            let stop = stop.clone();
            async move { serve(&listener, app, stop).await }
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("a client");
        Self {
            address,
            board,
            clock,
            store,
            refresher,
            stop,
            http,
        }
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.address);
        let answer = self
            .http
            .request(method, url)
            .send()
            .await
            .expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    async fn readiness(&self) -> (StatusCode, Value) {
        let (status, body) = self.ask(Method::GET, "/readyz").await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

#[tokio::test]
async fn g29_readiness_turns_red_when_the_store_cannot_be_written_and_recovers() {
    let surface = Surface::start("store").await;
    surface.board.polled("store-crm", START, Some(START));
    let (status, body) = surface.readiness().await;
    assert_eq!(
        status,
        StatusCode::SERVICE_UNAVAILABLE,
        "nothing is proved yet"
    );
    assert_eq!(body["store"], "not-writable");

    surface.refresher.refresh().await;
    let (status, body) = surface.readiness().await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "ready": true,
        "store": "writable",
        "tasks_down": [],
        "systems": [
            { "name": "store-crm", "state": "ok", "lag_secs": 0, "reason": null },
            { "name": "store-spare", "state": "disabled", "lag_secs": null, "reason": null },
        ],
    });
    assert_eq!(body, expected);

    surface.store.broken.store(true, Ordering::SeqCst);
    surface.refresher.refresh().await;
    let (status, body) = surface.readiness().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&body["ready"], &body["store"]),
        (&json!(false), &json!("not-writable"))
    );
    assert_eq!(
        surface.ask(Method::GET, "/healthz").await,
        (StatusCode::OK, "ok\n".to_owned())
    );

    surface.store.broken.store(false, Ordering::SeqCst);
    surface.refresher.refresh().await;
    assert_eq!(surface.readiness().await.0, StatusCode::OK);

    // A proof does not last: when nobody renews it, it is none.
    surface.clock.advance(Duration::from_secs(61));
    assert_eq!(surface.readiness().await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn g29_readiness_turns_red_when_a_feed_lags_and_recovers() {
    let surface = Surface::start("lag").await;
    surface.refresher.refresh().await;
    let (status, body) = surface.readiness().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["systems"][0]["reason"], "not read to the end yet");

    surface.board.polled("lag-crm", START, Some(START));
    assert_eq!(surface.readiness().await.0, StatusCode::OK);

    surface.clock.advance(Duration::from_secs(901));
    surface.board.failed(
        "lag-crm",
        FaultClass::Auth,
        "invalid_grant for ada@example.org",
    );
    surface.board.breaker("lag-crm", Breaker::Open);
    surface.refresher.refresh().await;
    let (status, body) = surface.readiness().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let system = &body["systems"][0];
    assert_eq!(
        (&system["state"], &system["lag_secs"]),
        (&json!("lagging"), &json!(901))
    );
    let reason = system["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("more than 900 s behind; auth invalid_grant"),
        "{reason}"
    );
    assert!(reason.ends_with("; circuit breaker open"), "{reason}");
    assert!(!reason.contains('@'), "an address shows: {reason}");

    let now = surface.clock.now();
    surface.board.breaker("lag-crm", Breaker::Closed);
    surface.board.polled("lag-crm", now, Some(now));
    assert_eq!(surface.readiness().await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_halted_feed_is_not_ready_but_a_paused_one_is_by_intent() {
    let surface = Surface::start("halt").await;
    surface.refresher.refresh().await;
    surface.board.polled("halt-crm", START, Some(START));
    surface.board.halted("halt-crm", true);
    let (status, body) = surface.readiness().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["systems"][0]["state"], "halted");
    surface.board.halted("halt-crm", false);
    surface.board.paused("halt-crm", true);
    let (status, body) = surface.readiness().await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["systems"][0]["state"], "paused");
}

#[tokio::test]
async fn a_crashing_task_is_restarted_and_shows_until_it_runs_steadily() {
    let surface = Surface::start("task").await;
    surface.refresher.refresh().await;
    surface.board.polled("task-crm", START, Some(START));
    let lifecycle = Lifecycle::new(surface.board.clone(), surface.clock.clone());
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    lifecycle.spawn_supervised("fragile", move |stop| {
        let start = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(start > 0, "the first run crashes");
            stop.cancelled().await;
            Ok(())
        }
    });
    let mut seen_down = false;
    loop {
        let (status, body) = surface.readiness().await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(body["tasks_down"], json!(["fragile"]));
            seen_down = true;
        } else if seen_down {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(starts.load(Ordering::SeqCst), 2);
    lifecycle.stop();
    assert!(
        lifecycle.run_until_stopped().await.expect("signals"),
        "the task stops when asked"
    );
}

#[tokio::test]
async fn metrics_show_lag_parity_lanes_and_the_oldest_withdrawal() {
    let surface = Surface::start("figures").await;
    surface
        .board
        .polled("figures-crm", START, Some(START.minus(30_000_000)));
    surface.refresher.refresh().await;
    let (status, text) = surface.ask(Method::GET, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "consentd_feed_lag_seconds{system=\"figures-crm\"} 30",
        "consentd_contacts{system=\"figures-crm\"} 200",
        "consentd_contacts_unmatched{system=\"figures-crm\"} 3",
        "consentd_parity_ratio{system=\"figures-crm\"} 0.75",
        "consentd_outbox_writes{system=\"figures-crm\",lane=\"withdrawal\"} 7",
        "consentd_outbox_writes{system=\"figures-crm\",lane=\"grant\"} 2",
        "consentd_oldest_withdrawal_seconds{system=\"figures-crm\"} 90",
        "consentd_dead_letters{system=\"figures-crm\"} 1",
        "consentd_held_writes{system=\"figures-crm\"} 4",
        "consentd_quarantined_records{system=\"figures-crm\"} 5",
        "consentd_subjects_with_findings 6",
    ] {
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is not in:\n{text}"
        );
    }
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let surface = Surface::start("limits").await;
    for path in PATHS {
        assert_eq!(
            surface.ask(Method::POST, path).await.0,
            StatusCode::METHOD_NOT_ALLOWED,
            "{path}"
        );
        assert_ne!(
            surface.ask(Method::GET, path).await.0,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert_eq!(surface.ask(Method::GET, "/").await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        surface.ask(Method::GET, "/healthz/..").await.0,
        StatusCode::NOT_FOUND
    );
}

/// A client that sends more header than the server reads is turned away, not buffered.
#[tokio::test]
async fn a_header_without_end_is_refused() {
    let surface = Surface::start("header").await;
    let mut stream = TcpStream::connect(surface.address)
        .await
        .expect("connected");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ")
        .await
        .expect("sent");
    stream
        .write_all(&vec![b'a'; 24 * 1024])
        .await
        .expect("sent");
    let mut answer = [0; 12];
    stream
        .read_exact(&mut answer)
        .await
        .expect("an answer although the header goes on");
    assert_eq!(&answer, b"HTTP/1.1 431");
}

/// A client that sends nothing loses its place.
#[tokio::test]
async fn a_silent_connection_is_closed() {
    let surface = Surface::start("silent").await;
    let mut stream = TcpStream::connect(surface.address)
        .await
        .expect("connected");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\n")
        .await
        .expect("sent");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "it is still open");
}

#[test]
fn the_description_names_the_routes_that_there_are() {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let mut described: Vec<_> = document["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .map(String::as_str)
        .collect();
    let mut routed = [PATHS, api::PATHS, hooks::PATHS].concat();
    described.sort_unstable();
    routed.sort_unstable();
    assert_eq!(described, routed);
}
