//! `/v1` over real sockets: who is let in, what is answered, and what bad input leads to.

use crate::common::engine::Rig;
use crate::openapi::assert_fits;
use async_trait::async_trait;
use consentd::config::reload::Changed;
use consentd::config::{Callback, Role, Token};
use consentd::runtime::clock::{Clock, System};
use consentd::runtime::health::Board;
use consentd::runtime::supervisor::ReloadError;
use consentd::sync::checklist::{Desk, MOST_RECIPIENTS};
use consentd::sync::sendout::Sendouts;
use consentd::web::api::{Api, Post, Reload, Switchboard, Tokens};
use consentd::web::metrics::install;
use consentd::web::{App, serve};
use consentd_sandbox::RECORDS;
use metrics_exporter_prometheus::PrometheusHandle;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The recorder is one per process.
static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| install().unwrap());

/// The API over a rig, with one token of each role.
pub(crate) struct Surface {
    pub(crate) rig: Rig,
    url: String,
    stop: CancellationToken,
    http: reqwest::Client,
    /// What the next reload finds; nothing changed when it is left empty.
    pub(crate) found: Arc<Mutex<Option<Result<Changed, ReloadError>>>>,
}

/// Stands for the daemon, which reads its configuration again.
struct Found(Arc<Mutex<Option<Result<Changed, ReloadError>>>>);

#[async_trait]
impl Reload for Found {
    async fn reload(&self) -> Result<Changed, ReloadError> {
        let found = self.0.lock().unwrap().take();
        found.unwrap_or_else(|| Ok(Changed::default()))
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn token(role: Role) -> String {
    format!("a-token-of-more-than-32-characters-for-the-{}", role.word())
}

/// An answer with what matters of it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    kind: String,
    location: Option<String>,
    pub(crate) body: Value,
}

impl Surface {
    pub(crate) async fn start() -> Self {
        let rig = Rig::start(0).await;
        let clock: Arc<dyn Clock> = Arc::new(System);
        let desk = Arc::new(Desk::new(Arc::new(rig.crew())));
        let settings = Callback {
            key: vec![1; 32].into(),
            hosts: vec!["mail.example.edu".to_owned()],
        };
        let found = Arc::default();
        let api = Api {
            tokens: Arc::new(Tokens::new(
                [Role::Viewer, Role::Sender, Role::Operator]
                    .map(|role| Token {
                        name: role.word().to_owned(),
                        role,
                        hash: Sha256::digest(token(role).as_bytes()).into(),
                    })
                    .to_vec(),
            )),
            sendouts: Arc::new(Sendouts::new(
                Arc::clone(&desk),
                Arc::clone(&rig.store),
                Arc::clone(&clock),
                None,
                Duration::from_hours(1),
            )),
            switchboard: Switchboard {
                store: Arc::clone(&rig.store),
                clock: Arc::clone(&clock),
                roster: Arc::new(rig.crew()),
                reload: Arc::new(Found(Arc::clone(&found))),
            },
            desk,
            post: Some(Arc::new(Post::new(&settings, Arc::clone(&clock)).unwrap())),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let app = App {
            board: Arc::new(Board::default()),
            clock,
            metrics: METRICS.clone(),
            hooks: Arc::default(),
            api: Some(Arc::new(api)),
        };
        #[expect(clippy::disallowed_methods, reason = "the test's own server")]
        tokio::spawn({
            let stop = stop.clone();
            async move { serve(&listener, app, stop).await }
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_mins(1))
            .build()
            .unwrap();
        Self {
            rig,
            url,
            stop,
            http,
            found,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("cache-control").as_deref(), Some("no-store"));
        let (kind, location) = (header("content-type"), header("location"));
        let status = answer.status();
        let text = answer.text().await.unwrap();
        let answer = Answer {
            status,
            kind: kind.unwrap_or_default(),
            location,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        };
        if !status.is_success() {
            // Every refusal has the same form.
            assert_eq!(answer.kind, "application/problem+json", "{status} {text}");
            assert_eq!(answer.body["status"], status.as_u16());
            for member in ["type", "title", "detail"] {
                assert!(answer.body[member].is_string(), "{text}");
            }
        }
        answer
    }

    /// Sends a body as the sender.
    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path);
        self.ask(request.bearer_auth(token(Role::Sender)).json(body))
            .await
    }

    /// Sends a text as the sender, and expects a refusal of that status and kind.
    async fn refuses(&self, path: &str, body: impl Into<reqwest::Body>, status: u16, kind: &str) {
        let request = self
            .request(Method::POST, path)
            .bearer_auth(token(Role::Sender))
            .header("content-type", "application/json")
            .body(body);
        let answer = self.ask(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["type"].as_str()),
            (
                status,
                Some(format!("urn:consentd:problem:{kind}").as_str())
            ),
            "{}",
            answer.body
        );
    }
}

fn words(checklist: &Value) -> Vec<&str> {
    checklist["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["answer"].as_str().unwrap())
        .collect()
}

fn future() -> String {
    Rig::now().plus(3_600_000_000).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_wants_a_token_of_the_right_role() {
    let surface = Surface::start().await;
    let check = json!({ "purpose": "marketing", "recipients": [] });
    let sendout = json!({ "purpose": "marketing", "recipients": [], "send_at": future() });
    let reason = json!({ "reason": "the migration is over" });
    let nobody = json!({ "address": "nobody@nowhere.example" });
    let decision = json!({ "word": "reject", "filter": { "all": true }, "reason": "a mistake" });
    // 200 or the like for viewer, sender and operator.
    let rows = [
        (
            Method::POST,
            "/v1/checklists",
            Some(&check),
            [403, 200, 200],
        ),
        (
            Method::POST,
            "/v1/sendouts",
            Some(&sendout),
            [403, 201, 201],
        ),
        (Method::GET, "/v1/sendouts", None, [200, 200, 200]),
        (Method::GET, "/v1/sendouts/so_0", None, [404, 404, 404]),
        (Method::DELETE, "/v1/sendouts/so_0", None, [403, 404, 404]),
        (Method::GET, "/v1/systems", None, [200, 200, 200]),
        (
            Method::POST,
            "/v1/systems/ascend/resume",
            Some(&reason),
            [403, 403, 200],
        ),
        (Method::POST, "/v1/reload", Some(&reason), [403, 403, 200]),
        (Method::GET, "/v1/holds", None, [200, 200, 200]),
        (Method::GET, "/v1/holds/7", None, [404, 404, 404]),
        (
            Method::POST,
            "/v1/holds/7/reject",
            Some(&reason),
            [403, 403, 404],
        ),
        (
            Method::POST,
            "/v1/holds/decide",
            Some(&decision),
            [403, 403, 200],
        ),
        (Method::POST, "/v1/explain", Some(&nobody), [404, 404, 404]),
    ];
    for (method, path, body, expected) in rows {
        let request = || {
            let request = surface.request(method.clone(), path);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        for (role, status) in [Role::Viewer, Role::Sender, Role::Operator]
            .into_iter()
            .zip(expected)
        {
            let answer = surface.ask(request().bearer_auth(token(role))).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path} {role:?}");
        }
        for stranger in ["", "nonsense", &token(Role::Sender)[1..]] {
            let answer = surface.ask(request().bearer_auth(stranger)).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
        let answer = request().send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    }
    let answer = surface
        .ask(surface.request(Method::GET, "/v1/checklists"))
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let elsewhere = surface.request(Method::GET, "/v1/elsewhere").send().await;
    assert_eq!(elsewhere.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_check_answers_for_each_place_of_the_list() {
    let surface = Surface::start().await;
    let (_ann, out) = (surface.rig.person("ann"), surface.rig.person("out"));
    surface.rig.settle().await;
    Rig::opt(surface.rig.sandbox.ascend(), &out.ascend, true, RECORDS);
    let asked = json!({
        "purpose": "marketing.events",
        "recipients": ["ann@rig.example", "Out@rig.example", "", "=cmd()", " ANN@RIG.example"],
    });
    let answer = surface.post("/v1/checklists", &asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = &answer.body;
    let lines = body["recipients"].as_array().unwrap();
    assert_eq!(
        words(body),
        [
            "send",
            "withdrawn",
            "unknown-address",
            "unknown-address",
            "duplicate"
        ]
    );
    assert_eq!(lines[0]["recipient"], "ann@rig.example");
    assert_eq!(lines[1]["recipient"], "Out@rig.example");
    assert_eq!(lines[1]["system"], "ascend");
    let time = |end: &str| {
        let text = lines[1]["stamp"][end].as_str().unwrap();
        chrono::DateTime::parse_from_rfc3339(text).unwrap()
    };
    assert!(time("earliest") <= time("latest"));
    assert_eq!(
        lines[2],
        json!({ "recipient": "", "answer": "unknown-address" })
    );
    assert_eq!(
        lines[4],
        json!({ "recipient": " ANN@RIG.example", "answer": "duplicate", "duplicate_of": 0 })
    );
    let counts = body["counts"].as_object().unwrap();
    assert_eq!(counts["addressed"], 5);
    assert_eq!(
        (&counts["send"], &counts["not-send"]),
        (&json!(1), &json!(4))
    );
    assert_eq!(body["systems"][0]["source"], "asked");
    assert_eq!(body["missed"], false);
    is_as_described(body, "Checklist");
    is_as_described(&body["counts"], "Counts");
    is_as_described(&body["systems"][0], "CheckedSystem");
    // The same from the store costs no call, and says so.
    let mut stored = asked;
    stored["max_age_secs"] = json!(3_600);
    let answer = surface.post("/v1/checklists", &stored).await;
    assert_eq!(answer.body["systems"][0]["source"], "stored");
    assert_eq!(words(&answer.body), words(body));
    let metrics = surface
        .request(Method::GET, "/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("consentd_recipients_checked_total{answer=\"withdrawn\"}"),
        "{metrics}"
    );
}

/// R53: what is known of one person, as data, for every role; the address is in no URL.
#[tokio::test(flavor = "multi_thread")]
async fn r53_the_timeline_of_a_person_is_as_described() {
    let surface = Surface::start().await;
    let (_ann, out) = (surface.rig.person("ann"), surface.rig.person("out"));
    surface.rig.settle().await;
    Rig::opt(surface.rig.sandbox.ascend(), &out.ascend, true, RECORDS);
    surface.rig.settle().await;
    let ask = json!({ "address": " OUT@rig.example" });
    let request = surface.request(Method::POST, "/v1/explain");
    let request = request.bearer_auth(token(Role::Viewer)).json(&ask);
    let answer = surface.ask(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = &answer.body;
    assert_fits("/v1/explain", "post", 200, body);
    let events = body["events"].as_array().unwrap();
    let kinds: Vec<&str> = events
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    for kind in ["observed", "verdict", "planned", "written"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert_eq!(body["now"]["verdicts"][0]["status"], "withdrawn");
    assert!(!body.to_string().contains("rig.example"), "{body:#}");
    let no_address = r#"{"address":"ann"}"#;
    surface
        .refuses("/v1/explain", no_address, 422, "address")
        .await;
    let unknown = r#"{"address":"ann@rig.example","x":1}"#;
    surface.refuses("/v1/explain", unknown, 422, "body").await;
}

/// An answer has exactly the members that the description requires.
fn is_as_described(body: &Value, schema: &str) {
    let document: Value = serde_json::from_str(consentd::web::router::OPENAPI).unwrap();
    let described = &document["components"]["schemas"][schema];
    let mut required: Vec<&str> = described["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let mut given: Vec<&str> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    required.sort_unstable();
    given.sort_unstable();
    assert_eq!(given, required, "{schema}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_cannot_be_checked_is_refused_and_disturbs_nothing() {
    let surface = Surface::start().await;
    surface.rig.person("ann");
    surface.rig.settle().await;
    let list = |count: usize| {
        json!({ "purpose": "marketing", "recipients": vec!["a@x.example"; count] }).to_string()
    };
    let path = "/v1/checklists";
    surface
        .refuses(path, list(MOST_RECIPIENTS + 1), 413, "recipients")
        .await;
    surface
        .refuses(path, " ".repeat(33 * 1_024 * 1_024), 413, "size")
        .await;
    let rows = [
        ("not JSON", "{\"purpose\":", 400, "json"),
        ("a byte order mark", "\u{feff}{}", 400, "json"),
        (
            "bytes behind the end",
            r#"{"purpose":"marketing","recipients":[]} x"#,
            400,
            "json",
        ),
        ("no members", "{}", 422, "body"),
        (
            "an unknown member",
            r#"{"purpose":"marketing","recipients":[],"maxage":1}"#,
            422,
            "body",
        ),
        (
            "a member twice",
            r#"{"purpose":"marketing","purpose":"store","recipients":[]}"#,
            422,
            "body",
        ),
        (
            "an address that is no text",
            r#"{"purpose":"marketing","recipients":["a@x.example",null]}"#,
            422,
            "body",
        ),
        (
            "a list that is none",
            r#"{"purpose":"marketing","recipients":"a@x.example"}"#,
            422,
            "body",
        ),
        (
            "an age below nought",
            r#"{"purpose":"marketing","recipients":[],"max_age_secs":-1}"#,
            422,
            "body",
        ),
        (
            "an age of more than a week",
            r#"{"purpose":"marketing","recipients":[],"max_age_secs":604801}"#,
            422,
            "max-age",
        ),
        (
            "an unknown purpose",
            r#"{"purpose":"markteing","recipients":["ann@rig.example"]}"#,
            422,
            "purpose",
        ),
    ];
    for (sentence, body, status, kind) in rows {
        println!("{sentence}");
        surface.refuses(path, body, status, kind).await;
    }
    let deep = format!(
        r#"{{"purpose":"marketing","recipients":{}"#,
        "[".repeat(10_000)
    );
    surface.refuses(path, deep, 422, "body").await;
    let request = surface
        .request(Method::POST, path)
        .bearer_auth(token(Role::Sender))
        .body(list(1));
    assert_eq!(
        surface.ask(request).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    // The longest list is answered, and so is what stands beside nonsense in it.
    let mut recipients = vec![json!("ann@rig.example")];
    recipients.extend((1..MOST_RECIPIENTS).map(|n| match n % 3 {
        0 => json!("\u{0}\u{202e}' OR Id != '"),
        1 => json!(format!("n{n}@rig.example")),
        _ => json!("Ann@Rig.Example"),
    }));
    let asked =
        json!({ "purpose": "marketing.events", "recipients": recipients, "max_age_secs": 3_600 });
    let answer = surface.post(path, &asked).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["counts"]["addressed"], MOST_RECIPIENTS);
    assert_eq!(answer.body["counts"]["send"], 1);
    assert_eq!(answer.body["counts"]["duplicate"], 33_333);
    assert_eq!(answer.body["counts"]["unknown-address"], 66_666);
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_sendout_is_registered_listed_shown_and_cancelled() {
    let surface = Surface::start().await;
    surface.rig.person("ann");
    surface.rig.settle().await;
    let send_at = future();
    let asked = json!({
        "purpose": "marketing.events",
        "recipients": ["ann@rig.example", "nobody@rig.example"],
        "send_at": send_at,
        "callback": "https://mail.example.edu/hook",
    });
    let created = surface.post("/v1/sendouts", &asked).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    let path = created.location.unwrap();
    assert_eq!(words(&created.body["first"]), ["send", "unknown-address"]);
    assert_eq!(created.body["state"], "scheduled");
    assert_eq!(created.body["created_by"], "sender");
    assert_eq!(created.body["callback"]["state"], "waiting");
    is_as_described(&created.body, "Sendout");
    assert!(!created.body.to_string().contains('@'), "{}", created.body);
    let as_viewer = |method, path: &str| {
        surface
            .request(method, path)
            .bearer_auth(token(Role::Viewer))
    };
    let shown = surface.ask(as_viewer(Method::GET, &path)).await;
    assert_eq!(shown.body, created.body);
    let listed = surface.ask(as_viewer(Method::GET, "/v1/sendouts")).await;
    let heads = listed.body["sendouts"].as_array().unwrap();
    assert_eq!(heads.len(), 1);
    assert_eq!(heads[0]["id"], created.body["id"]);
    is_as_described(&heads[0], "SendoutHead");
    let cancel = || {
        surface
            .request(Method::DELETE, &path)
            .bearer_auth(token(Role::Sender))
    };
    assert_eq!(surface.ask(cancel()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(surface.ask(cancel()).await.status, StatusCode::CONFLICT);
    let shown = surface.ask(as_viewer(Method::GET, &path)).await;
    assert_eq!(shown.body["state"], "cancelled");
    assert_eq!(shown.body["callback"]["state"], "none");
    let rows = [
        ("send_at", json!("2020-01-01T00:00:00Z"), "send-at"),
        ("send_at", json!("tomorrow"), "send-at"),
        ("send_at", json!("2126-01-01T00:00:00Z"), "send-at"),
        ("send_at", json!("2026-05-01T10:00:00"), "send-at"),
        ("callback", json!("mail.example.edu"), "callback"),
        ("callback", json!("http://mail.example.edu/"), "callback"),
        ("callback", json!("https://169.254.169.254/"), "callback"),
        ("callback", json!("https://elsewhere.example/"), "callback"),
        ("purpose", json!("nothing"), "purpose"),
        ("max_age_secs", json!(604_801), "max-age"),
    ];
    for (member, value, kind) in rows {
        let mut wrong = asked.clone();
        wrong[member] = value;
        surface
            .refuses("/v1/sendouts", wrong.to_string(), 422, kind)
            .await;
    }
    let listed = surface.ask(as_viewer(Method::GET, "/v1/sendouts")).await;
    assert_eq!(
        listed.body["sendouts"].as_array().unwrap().len(),
        1,
        "what is refused is not kept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_while_the_store_is_away_nobody_is_told_to_send() {
    let surface = Surface::start().await;
    surface.rig.person("ann");
    surface.rig.settle().await;
    surface.rig.store.close().await;
    let list = json!(["ann@rig.example"]);
    let check = json!({ "purpose": "marketing.events", "recipients": list });
    let sendout = json!({ "purpose": "marketing.events", "recipients": list, "send_at": future() });
    for (path, body) in [("/v1/checklists", check), ("/v1/sendouts", sendout)] {
        surface.refuses(path, body.to_string(), 503, "store").await;
    }
    let listed = surface
        .request(Method::GET, "/v1/sendouts")
        .bearer_auth(token(Role::Viewer));
    assert_eq!(
        surface.ask(listed).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}
