//! The API over a hub of systems in memory, with one token of each role.

use crate::hub::{Hub, MARKETING};
use async_trait::async_trait;
use consentd::config::reload::Changed;
use consentd::config::{Role, Token};
use consentd::consent::Shown;
use consentd::runtime::clock::Clock;
use consentd::runtime::health::Board;
use consentd::runtime::supervisor::ReloadError;
use consentd::sync::checklist::{Crew, Desk, Roster};
use consentd::sync::sendout::Sendouts;
use consentd::web::api::{Api, Reload, Switchboard, Tokens};
use consentd::web::metrics::install;
use consentd::web::{App, serve};
use metrics_exporter_prometheus::PrometheusHandle;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The recorder is one per process.
static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| install().unwrap());

pub(crate) const SYSTEMS: &[&str] = &["crm", "ascend"];
/// Three grants within an hour wait for a person.
pub(crate) const EARLY: &str =
    "[policy.mass_change]\ngrants_at_least = 2\ngrants_percent = 0\nwithdrawals_at_least = 100";

/// See the module's documentation.
pub(crate) struct Surface {
    pub(crate) hub: Hub,
    url: String,
    stop: CancellationToken,
    http: reqwest::Client,
}

/// A reload that finds another system.
struct Found;

#[async_trait]
impl Reload for Found {
    async fn reload(&self) -> Result<Changed, ReloadError> {
        Ok(Changed {
            taken: vec!["ascend is switched off".to_owned()],
            ignored: Vec::new(),
        })
    }
}

impl Drop for Surface {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The token of a role; its name is `name of ROLE`.
fn token(role: Role) -> String {
    format!("a-token-of-more-than-32-characters-for-the-{}", role.word())
}

/// Status and body.
pub(crate) type Answer = (u16, Value);

impl Surface {
    pub(crate) async fn over(hub: Hub) -> Self {
        let clock: Arc<dyn Clock> = hub.clock.clone();
        let crew = || Crew {
            shared: Arc::clone(&hub.engine.shared),
            members: hub.engine.members.clone(),
        };
        let roster: Arc<dyn Roster> = Arc::new(crew());
        let desk = Arc::new(Desk::new(Arc::clone(&roster)));
        let tokens = [Role::Viewer, Role::Sender, Role::Operator].map(|role| Token {
            name: format!("name of {}", role.word()),
            role,
            hash: Sha256::digest(token(role).as_bytes()).into(),
        });
        let api = Api {
            tokens: Arc::new(Tokens::new(tokens.to_vec())),
            sendouts: Arc::new(Sendouts::new(
                Arc::clone(&desk),
                Arc::clone(&hub.store),
                Arc::clone(&clock),
                None,
                Duration::from_hours(1),
            )),
            switchboard: Switchboard {
                store: Arc::clone(&hub.store),
                clock: Arc::clone(&clock),
                roster,
                reload: Arc::new(Found),
            },
            desk,
            post: None,
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
            hub,
            url,
            stop,
            http,
        }
    }

    /// Three persons who withdrew, and were granted within an hour by three users of the CRM: their
    /// grants wait.
    pub(crate) async fn with_a_mass_change() -> Self {
        let hub = Hub::start(SYSTEMS, EARLY).await;
        for name in ["ann", "bob", "cid"] {
            hub.fakes.person(SYSTEMS, name);
        }
        hub.settle().await;
        let crm = hub.fakes.get("crm");
        for shown in [Shown::Set, Shown::Default] {
            for name in ["ann", "bob", "cid"] {
                crm.save(name, MARKETING, &shown);
            }
            hub.settle().await;
        }
        Self::over(hub).await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        role: Role,
        body: Option<&Value>,
    ) -> Answer {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(token(role));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Role::Viewer, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, Role::Operator, Some(body))
            .await
    }
}
