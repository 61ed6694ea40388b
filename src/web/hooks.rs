//! `/hooks/superoffice`: SuperOffice says that somebody changed.
//!
//! What a call says is never believed: it makes the poller look the person up. So a call that is
//! lost, repeated, late or made up by somebody with the secret changes nothing but when we look. The
//! signature is judged over the bytes as they came, before anything is read from them.

use crate::config::{Checked, SystemKind};
use crate::connector::superoffice::webhook::{Event, SIGNATURE, is_signed};
use crate::sync::engine::Member;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use metrics::counter;
use secrecy::SecretString;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

/// The routes, as `docs/openapi.json` describes them.
pub const PATHS: &[&str] = &["/hooks/superoffice"];
/// Most bytes of one call; the vendor's are below a kilobyte.
pub const MAX_HOOK_BYTES: usize = 256 * 1_024;
/// SuperOffice waits for 30 seconds; we answer at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Ids of events that are remembered. The vendor tries an event three times within seconds.
const MOST_EVENTS: usize = 10_000;
/// Longest id that is remembered; the vendor's are of 36 characters.
const MOST_ID: usize = 128;

/// A system that SuperOffice may call about.
pub struct Target {
    /// Configured name.
    pub system: String,
    /// The tenant, where it is known.
    pub customer: Option<String>,
    /// The secrets that sign its calls; several while one is being replaced.
    pub secrets: Vec<SecretString>,
    /// Told which contact to look at.
    pub hint: Box<dyn Fn(String) + Send + Sync>,
}

impl Target {
    /// The systems with a web hook, among those that run.
    pub fn all(checked: &Checked, members: &[Arc<Member>]) -> Vec<Self> {
        let target = |member: &Arc<Member>| {
            let SystemKind::SuperOffice(settings) = &checked.system(&member.name)?.kind else {
                return None;
            };
            let hook = settings.webhook.as_ref()?;
            let told = Arc::clone(member);
            Some(Self {
                system: member.name.clone(),
                customer: settings.customer().map(str::to_owned),
                secrets: std::iter::once(&hook.secret)
                    .chain(&hook.previous_secret)
                    .cloned()
                    .collect(),
                hint: Box::new(move |contact| told.hint(contact)),
            })
        };
        members.iter().filter_map(target).collect()
    }
}

/// Who may call, and what was heard lately.
#[derive(Default)]
pub struct Hooks {
    targets: RwLock<Vec<Target>>,
    recent: Mutex<Recent>,
}

impl Hooks {
    /// From now on these systems are called about, and no others.
    pub fn replace(&self, targets: Vec<Target>) {
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Takes a call. What is answered:
    ///
    /// | status | when |
    /// |---|---|
    /// | 200 | it is signed, whatever follows from it |
    /// | 400 | it is signed and cannot be read |
    /// | 401 | it is not signed with a secret we know |
    /// | 404 | no system has a web hook |
    ///
    /// Never 410, by which a receiver switches SuperOffice's calls off.
    fn take(&self, signature: Option<&str>, body: &[u8]) -> StatusCode {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if targets.is_empty() {
            return StatusCode::NOT_FOUND;
        }
        let signature = signature.unwrap_or_default();
        let signed: Vec<&Target> = targets
            .iter()
            .filter(|target| is_signed(target.secrets.iter(), signature, body))
            .collect();
        if signed.is_empty() {
            counter!("consentd_hooks_total", "outcome" => "unsigned").increment(1);
            return StatusCode::UNAUTHORIZED;
        }
        let Some(event) = Event::read(body) else {
            counter!("consentd_hooks_total", "outcome" => "unreadable").increment(1);
            return StatusCode::BAD_REQUEST;
        };
        let about = signed
            .into_iter()
            .find(|target| event.is_of(target.customer.as_deref()));
        let outcome = match (about, event.contact()) {
            (Some(target), Some(contact)) => {
                if self.is_new(event.event_id.as_deref()) {
                    tracing::debug!(system = %target.system, contact, "{} says that contact {contact} changed", target.system);
                    (target.hint)(contact);
                    "hint"
                } else {
                    "repeated"
                }
            }
            // A test, a company, another tenant: taken and of no concern.
            _ => "other",
        };
        counter!("consentd_hooks_total", "outcome" => outcome).increment(1);
        StatusCode::OK
    }

    /// Whether an event was not heard before. One without an id always is.
    fn is_new(&self, id: Option<&str>) -> bool {
        let Some(id) = id.filter(|id| id.len() <= MOST_ID) else {
            return true;
        };
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(id)
    }
}

/// The ids of the last events.
#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<Arc<str>>,
    known: HashSet<Arc<str>>,
}

impl Recent {
    /// Adds an id; false when it is there already.
    fn add(&mut self, id: &str) -> bool {
        if self.known.contains(id) {
            return false;
        }
        if self.order.len() >= MOST_EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.order.push_back(Arc::clone(&id));
        self.known.insert(id);
        true
    }
}

/// The route with its own limits.
pub fn router(hooks: Arc<Hooks>) -> Router {
    Router::new()
        .route("/hooks/superoffice", post(superoffice))
        .layer(RequestBodyLimitLayer::new(MAX_HOOK_BYTES))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            REQUEST_TIMEOUT,
        ))
        .with_state(hooks)
}

async fn superoffice(
    State(hooks): State<Arc<Hooks>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    hooks.take(signature, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_events_has_a_bound() {
        let mut recent = Recent::default();
        for number in 0..MOST_EVENTS + 10 {
            assert!(recent.add(&number.to_string()), "{number}");
        }
        assert_eq!(recent.order.len(), MOST_EVENTS);
        assert_eq!(recent.known.len(), MOST_EVENTS);
        assert!(!recent.add("10"), "the oldest that is still known");
        assert!(recent.add("9"), "forgotten: it is only looked at once more");
    }

    #[test]
    fn an_event_without_an_id_or_with_a_huge_one_is_always_new() {
        let hooks = Hooks::default();
        assert!(hooks.is_new(None) && hooks.is_new(None));
        let huge = "x".repeat(MOST_ID + 1);
        assert!(hooks.is_new(Some(&huge)) && hooks.is_new(Some(&huge)));
        assert!(hooks.is_new(Some("one")) && !hooks.is_new(Some("one")));
    }
}
