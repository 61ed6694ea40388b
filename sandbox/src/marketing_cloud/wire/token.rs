//! `POST /v2/token`: tokens for one unit each, by client credentials.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::faults::{CallKind, Fault};
use crate::marketing_cloud::state::State;
use crate::marketing_cloud::units::Mid;
use crate::rest::{Call, Reply};

/// Tokens that are remembered, expired ones included; the oldest are forgotten.
const MAX_TOKENS: usize = 10_000;
const MORE: &str = "https://developer.salesforce.com/docs";

/// A token and what it opens.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    text: String,
    pub(crate) mid: Mid,
    pub(crate) scopes: Vec<String>,
    expires: DateTime<Utc>,
}

/// Tokens that were issued.
#[derive(Debug, Default)]
pub(crate) struct Tokens(VecDeque<Token>);

/// What a token in a request is worth.
pub(crate) enum Worth {
    Good(Token),
    Expired,
    Unknown,
}

impl Tokens {
    pub(crate) fn worth(&self, text: &str, now: DateTime<Utc>) -> Worth {
        match self.0.iter().find(|token| token.text == text) {
            Some(token) if token.expires > now => Worth::Good(token.clone()),
            Some(_) => Worth::Expired,
            None => Worth::Unknown,
        }
    }

    /// All tokens expire now.
    pub(crate) fn expire(&mut self, now: DateTime<Utc>) {
        for token in &mut self.0 {
            token.expires = token.expires.min(now);
        }
    }

    fn add(&mut self, token: Token) {
        if self.0.len() >= MAX_TOKENS {
            self.0.pop_front();
        }
        self.0.push_back(token);
    }
}

/// A grant refused.
fn no(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(
        status,
        json!({"error": error, "error_description": description, "error_uri": MORE}),
    )
}

/// Serves the token endpoint.
pub(super) fn grant(state: &mut State, call: &Call) -> Reply {
    let reply = try_grant(state, call).unwrap_or_else(|no| no);
    if reply.status == 200 {
        state.calls.tokens += 1;
    } else {
        state.calls.unauthorised += 1;
    }
    reply
}

fn try_grant(state: &mut State, call: &Call) -> Result<Reply, Reply> {
    let struck = state
        .faults
        .strike_own(CallKind::Token, |fault| match fault {
            Fault::TokenEndpointDown => Some(Reply::empty(503)),
            Fault::TokenRefused { error, description } => {
                let status = if error == "invalid_client" { 401 } else { 400 };
                Some(no(status, error, description))
            }
            _ => None,
        });
    if let Some(reply) = struck {
        return Err(reply);
    }
    let Ok(Value::Object(asked)) = serde_json::from_slice(&call.body) else {
        return Err(no(400, "invalid_request", "The request body is not JSON."));
    };
    let text = |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("grant_type") != "client_credentials" {
        let words = "The grant type is not supported by this integration.";
        return Err(no(400, "unsupported_grant_type", words));
    }
    if text("client_id") != state.credentials.client_id {
        let words = "Invalid client ID. Use the client ID in Marketing Cloud Installed Packages.";
        return Err(no(401, "invalid_client", words));
    }
    if text("client_secret") != state.credentials.client_secret {
        let words =
            "Invalid client secret. Use the client secret in Marketing Cloud Installed Packages.";
        return Err(no(401, "invalid_client", words));
    }
    let mid = match asked.get("account_id") {
        None | Some(Value::Null) => Some(state.settings.package_mid),
        Some(Value::Number(mid)) => mid.as_u64(),
        Some(Value::String(mid)) => mid.parse().ok(),
        Some(_) => None,
    };
    let Some(mid) = mid.filter(|mid| state.units.get(*mid).is_some()) else {
        let words = "The integration has no access to this account_id.";
        return Err(no(400, "invalid_request", words));
    };
    let granted = &state.settings.scopes;
    let scopes: Vec<String> = match asked.get("scope").and_then(Value::as_str) {
        // A scope that is there and empty gives no permission at all.
        Some(wanted) => wanted.split_whitespace().map(str::to_owned).collect(),
        None => granted.clone(),
    };
    if !scopes.iter().all(|scope| granted.contains(scope)) {
        let words = "The integration does not have a scope that was asked for.";
        return Err(no(400, "invalid_scope", words));
    }
    let secs = state.settings.token_secs.max(1);
    let token = format!(
        "{:032x}{:032x}",
        rand::random::<u128>(),
        rand::random::<u128>()
    );
    let reply = Reply::json(
        200,
        json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": secs,
            "scope": scopes.join(" "),
            "soap_instance_url": format!("{}/", state.url),
            "rest_instance_url": format!("{}/", state.url),
        }),
    )
    .with("Cache-Control", "no-store");
    let now = state.now();
    state.tokens.add(Token {
        text: token,
        mid,
        scopes,
        expires: now + TimeDelta::try_seconds(secs).unwrap_or_default(),
    });
    Ok(reply)
}
