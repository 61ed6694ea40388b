//! Tokens: the three server-to-server grants, revocation, introspection, and who a bearer is.
//!
//! Errors of the token endpoint are one object, `{error, error_description}`, not the array of the data API (help:
//! OAuth authorization errors).

use std::collections::HashMap;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Call, Reply};
use crate::faults::{CallKind, Fault};
use crate::org::settings::OldRefreshToken;
use crate::org::state::State;
use crate::refusal::Refusal;

/// Live sessions that an org keeps; the oldest goes first.
pub(crate) const MAX_SESSIONS: usize = 10_000;
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Audiences of the production and the sandbox login hosts.
const LOGIN_HOSTS: [&str; 2] = [
    "https://login.salesforce.com",
    "https://test.salesforce.com",
];

#[derive(Debug)]
struct Live {
    user: String,
    last_used: DateTime<Utc>,
}

/// What one org's app is and which tokens it has given out.
#[derive(Debug)]
pub(crate) struct Auth {
    consumer_key: String,
    consumer_secret: String,
    username: String,
    public_key: Vec<u8>,
    sessions: HashMap<String, Live>,
    refresh_tokens: Vec<String>,
    random: StdRng,
}

impl Auth {
    pub(crate) fn new(credentials: &crate::Credentials, seed: u64) -> Auth {
        Auth {
            consumer_key: credentials.consumer_key.clone(),
            consumer_secret: credentials.consumer_secret.clone(),
            username: credentials.username.clone(),
            public_key: credentials.public_key.clone(),
            sessions: HashMap::new(),
            refresh_tokens: vec![credentials.refresh_token.clone()],
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Ends every session.
    pub(crate) fn revoke_all(&mut self) {
        self.sessions.clear();
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(self.random.sample(rand::distr::Alphanumeric)))
            .collect()
    }
}

/// Opens a session for the integration user and returns its token.
pub(crate) fn open_session(state: &mut State) -> String {
    let now = state.now();
    let org = state.org_id[..15].to_owned();
    let token = format!("{org}!{}", state.auth.letters(96));
    if state.auth.sessions.len() >= MAX_SESSIONS
        && let Some(oldest) = state
            .auth
            .sessions
            .iter()
            .min_by_key(|(_, live)| live.last_used)
            .map(|(token, _)| token.clone())
    {
        state.auth.sessions.remove(&oldest);
    }
    let user = state.integration_user.clone();
    state.auth.sessions.insert(
        token.clone(),
        Live {
            user,
            last_used: now,
        },
    );
    state.calls.logins += 1;
    token
}

/// The user whose live session the request names.
pub(crate) fn user_of(state: &mut State, call: &Call) -> Result<String, Refusal> {
    let now = state.now();
    let idle = TimeDelta::seconds(state.settings.session_idle_secs);
    let token = call
        .header("authorization")
        .and_then(|value| {
            value
                .strip_prefix("Bearer ")
                .or_else(|| value.strip_prefix("OAuth "))
        })
        .map(|token| token.trim().to_owned())
        .ok_or_else(|| Refusal::new(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"))?;
    let live = state
        .auth
        .sessions
        .get_mut(&token)
        .ok_or_else(Refusal::session)?;
    if now - live.last_used > idle {
        state.auth.sessions.remove(&token);
        return Err(Refusal::session());
    }
    live.last_used = now;
    Ok(live.user.clone())
}

/// An OAuth error answer.
fn no(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(
        status,
        json!({"error": error, "error_description": description}),
    )
    .with("Cache-Control", "no-store")
    .with("Pragma", "no-cache")
}

struct Form(HashMap<String, String>);

impl Form {
    fn of(call: &Call) -> Form {
        let mut fields: HashMap<String, String> = url::form_urlencoded::parse(&call.body)
            .into_owned()
            .collect();
        if let Some(query) = &call.query {
            fields.extend(url::form_urlencoded::parse(query.as_bytes()).into_owned());
        }
        Form(fields)
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// Client id and secret from the body or from HTTP Basic.
fn client(call: &Call, form: &Form) -> (String, String) {
    let basic = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|value| STANDARD.decode(value.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match basic.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((id, secret)) => (id.to_owned(), secret.to_owned()),
        None => (
            form.get("client_id").to_owned(),
            form.get("client_secret").to_owned(),
        ),
    }
}

/// `POST /services/oauth2/token`.
pub(crate) fn token(state: &mut State, call: &Call) -> Reply {
    if call.method != axum::http::Method::POST {
        return no(400, "invalid_request", "must use HTTP POST");
    }
    let fault = state
        .faults
        .strike_own(CallKind::Token, |fault| match fault {
            Fault::TokenEndpointDown => Some(Reply::raw(
                503,
                "text/html;charset=UTF-8",
                "<html>Service Unavailable</html>",
            )),
            Fault::TokenRefused { error, description } => Some(no(400, error, description)),
            _ => None,
        });
    if let Some(reply) = fault {
        return reply;
    }
    let form = Form::of(call);
    let (id, secret) = client(call, &form);
    match form.get("grant_type") {
        JWT_BEARER => match check_assertion(state, form.get("assertion")) {
            Ok(()) => granted(state, None, false),
            Err((error, description)) => no(400, error, description),
        },
        "client_credentials" => {
            if id != state.auth.consumer_key {
                return no(400, "invalid_client_id", "client identifier invalid");
            }
            if secret != state.auth.consumer_secret {
                return no(400, "invalid_client", "invalid client credentials");
            }
            granted(state, None, true)
        }
        "refresh_token" => refresh(state, &form, &id, &secret),
        _ => no(400, "unsupported_grant_type", "grant type not supported"),
    }
}

fn refresh(state: &mut State, form: &Form, id: &str, secret: &str) -> Reply {
    if id != state.auth.consumer_key {
        return no(400, "invalid_client_id", "client identifier invalid");
    }
    if !secret.is_empty() && secret != state.auth.consumer_secret {
        return no(400, "invalid_client", "invalid client credentials");
    }
    let Some(place) = state
        .auth
        .refresh_tokens
        .iter()
        .position(|known| known == form.get("refresh_token"))
    else {
        return no(400, "invalid_grant", "expired access/refresh token");
    };
    if !state.settings.rotate_refresh_token {
        return granted(state, None, true);
    }
    let new = format!("5Aep861{}", state.auth.letters(60));
    // Tokens before the one used now are the ones that it has replaced.
    state.auth.refresh_tokens.drain(..place);
    if state.settings.old_refresh_token == OldRefreshToken::DiesAtOnce {
        state.auth.refresh_tokens.clear();
    } else {
        state.auth.refresh_tokens.truncate(1);
    }
    state.auth.refresh_tokens.push(new.clone());
    granted(state, Some(new), true)
}

fn granted(state: &mut State, refresh_token: Option<String>, signed: bool) -> Reply {
    let token = open_session(state);
    let instance = state
        .faults
        .strike_own(CallKind::Token, |fault| match fault {
            Fault::OtherInstance { url } => Some(url.clone()),
            _ => None,
        })
        .unwrap_or_else(|| state.url.clone());
    let id = format!(
        "{}/id/{}/{}",
        state.url, state.org_id, state.integration_user
    );
    let mut body = json!({
        "access_token": token,
        "scope": "api id",
        "instance_url": instance,
        "id": id,
        "token_type": "Bearer",
    });
    if signed {
        let issued = state.now().timestamp_millis().to_string();
        let key = aws_lc_rs::hmac::Key::new(
            aws_lc_rs::hmac::HMAC_SHA256,
            state.auth.consumer_secret.as_bytes(),
        );
        let signature = aws_lc_rs::hmac::sign(&key, format!("{id}{issued}").as_bytes());
        body["issued_at"] = json!(issued);
        body["signature"] = json!(STANDARD.encode(signature));
    }
    if let Some(token) = refresh_token {
        body["refresh_token"] = json!(token);
    }
    Reply::json(200, body)
        .with("Cache-Control", "no-store")
        .with("Pragma", "no-cache")
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(part)
        .or_else(|_| URL_SAFE.decode(part))
        .ok()
}

/// Checks signature and claims of a JWT bearer assertion.
fn check_assertion(state: &State, assertion: &str) -> Result<(), (&'static str, &'static str)> {
    let invalid = ("invalid_grant", "invalid assertion");
    let (signed, signature) = assertion.rsplit_once('.').ok_or(invalid)?;
    let (header, claims) = signed.split_once('.').ok_or(invalid)?;
    let header: Value = decode(header)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(invalid)?;
    let claims: Value = decode(claims)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(invalid)?;
    if header["alg"] != "RS256" {
        return Err(("invalid_grant", "algorithm not supported"));
    }
    if claims["iss"] != state.auth.consumer_key.as_str() {
        return Err(("invalid_client_id", "client identifier invalid"));
    }
    let signature = decode(signature).ok_or(invalid)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &state.auth.public_key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| invalid)?;
    let audience = claims["aud"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('/');
    if audience != state.url && !LOGIN_HOSTS.contains(&audience) {
        return Err(("invalid_grant", "Audience validation failed"));
    }
    let expiry = match &claims["exp"] {
        Value::String(text) => text.parse::<f64>().ok(),
        other => other.as_f64(),
    };
    let now = state.now().timestamp();
    let expiry = expiry.map(|seconds| seconds as i64).ok_or(invalid)?;
    if expiry <= now - state.settings.assertion_late_secs {
        return Err(("invalid_grant", "expired authorization code"));
    }
    if expiry > now + state.settings.assertion_ahead_secs {
        return Err(invalid);
    }
    let subject = claims["sub"]
        .as_str()
        .or_else(|| claims["prn"].as_str())
        .unwrap_or_default();
    if !subject.eq_ignore_ascii_case(&state.auth.username) || !state.settings.user_approved {
        return Err(("invalid_grant", "user hasn't approved this consumer"));
    }
    Ok(())
}

/// `POST /services/oauth2/revoke`.
pub(crate) fn revoke(state: &mut State, call: &Call) -> Reply {
    let form = Form::of(call);
    let token = form.get("token");
    let known = state.auth.sessions.remove(token).is_some();
    let before = state.auth.refresh_tokens.len();
    state.auth.refresh_tokens.retain(|one| one != token);
    if known || state.auth.refresh_tokens.len() < before {
        Reply::empty(200)
    } else {
        no(400, "unsupported_token_type", "this token is not supported")
    }
}

/// `POST /services/oauth2/introspect`.
pub(crate) fn introspect(state: &mut State, call: &Call) -> Reply {
    let form = Form::of(call);
    let (id, secret) = client(call, &form);
    if id != state.auth.consumer_key || secret != state.auth.consumer_secret {
        return no(401, "invalid_client", "invalid client credentials");
    }
    let idle = state.settings.session_idle_secs;
    let now = state.now();
    let body = match state.auth.sessions.get(form.get("token")) {
        Some(live) if now - live.last_used <= TimeDelta::seconds(idle) => json!({
            "active": true,
            "scope": "api id",
            "client_id": state.auth.consumer_key,
            "username": state.auth.username,
            "sub": format!("{}/id/{}/{}", state.url, state.org_id, live.user),
            "token_type": "access_token",
            "exp": live.last_used.timestamp() + idle,
            "iat": live.last_used.timestamp(),
            "nbf": live.last_used.timestamp(),
        }),
        _ => json!({"active": false}),
    };
    Reply::json(200, body)
}

/// Whether user name and password (with security token) may log in.
pub(crate) fn password_ok(state: &State, username: &str, password: &str) -> bool {
    username.eq_ignore_ascii_case(&state.auth.username) && password == state.settings.password
}
