//! The tenant behind its socket.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};

use super::state::State;
use super::{auth, carriers, delivery, errors, http, webhook_api};
use crate::clock;
use crate::faults::{CallKind, Fault};
use crate::rest::{Body, Call};
use crate::server::{self, Answer, Before, Site};

/// The state of the tenant and its lock.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Shared {
        Shared {
            state: Mutex::new(state),
        }
    }

    /// The state, with what was due to be purged gone.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.empty_bin();
        state
    }

    /// Calls the target of a webhook that is about to be saved, without holding the lock: the target may be a client.
    fn test_target(&self, call: &Call, kind: CallKind) -> Option<Result<(), String>> {
        if !matches!(kind, CallKind::Webhook | CallKind::Agent) {
            return None;
        }
        let (target, secret, timeout) = {
            let mut state = self.lock();
            let (target, secret) = webhook_api::to_test(&state, call)?;
            auth::sender(&mut state, call).ok()?;
            let timeout = Duration::from_secs(state.settings.webhook_timeout_secs);
            (target, secret, timeout)
        };
        let test = delivery::test(&target, &secret, timeout);
        Some(tokio::runtime::Handle::current().block_on(test))
    }
}

impl Site for Shared {
    fn classify(&self, method: &Method, path: &str, _headers: &HeaderMap) -> CallKind {
        http::classify(method, path)
    }

    fn arrive(&self, kind: CallKind) -> Option<Before> {
        let mut state = self.lock();
        *state.calls.by_kind.entry(kind).or_default() += 1;
        state.faults.strike(kind, |fault| match fault {
            Fault::UnavailableJson => {
                let message = "The server is temporarily unavailable.";
                Some(Before::Answer(errors::model_error(503, message, "")))
            }
            other => server::before(other),
        })
    }

    fn answer(&self, call: &Call, kind: CallKind) -> Answer {
        let tested = self.test_target(call, kind);
        let mut state = self.lock();
        state.webhooks.tested = tested;
        let mut reply = http::handle(&mut state, call, kind);
        let half = |fault: &Fault| matches!(fault, Fault::HalfJson).then_some(());
        if let Body::Json(value) = &reply.body
            && state.faults.strike(kind, half).is_some()
        {
            let mut bytes = value.to_string().into_bytes();
            bytes.truncate(bytes.len() / 2);
            reply.body = Body::Raw("application/json; charset=utf-8", bytes);
        }
        let struck = state.faults.strike(kind, server::after);
        let raw = state.faults.raw_texts().into_iter();
        Answer {
            reply,
            struck,
            date: clock::http_date(state.now()),
            raw: raw
                .map(|(name, json)| (carriers::raw_mark(&name), json))
                .collect(),
        }
    }

    fn date(&self) -> String {
        clock::http_date(self.lock().now())
    }
}
