//! Logging in: tickets of system users, access tokens of OpenID Connect, name and password onsite.
//!
//! A system user proves itself with a text that the app's private key has signed, and gets a JWT that the login host
//! has signed; inside is the ticket ("Get system user ticket", "Sign system user token"). A ticket lives as long as it
//! is used at least every six hours.

use std::collections::HashMap;
use std::sync::OnceLock;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::errors::{Trouble, model_error};
use super::state::{API_USER, State};
use crate::credentials::{self, SuperOfficeCredentials};
use crate::faults::{CallKind, Fault};
use crate::rest::{Call, Reply};

/// Tickets and access tokens that are kept; the oldest go first.
pub(crate) const MAX_SESSIONS: usize = 10_000;
/// Minutes that an authorization code lives.
const CODE_MINUTES: i64 = 10;
/// Name of the login host's key.
const KEY_ID: &str = "login-1";
/// What the names of claims begin with.
const CLAIM: &str = "http://schemes.superoffice.net/identity/";

/// What the login host signs with.
struct Signer {
    key: EncodingKey,
    public: Jwk,
}

/// The login host is one for all tenants, so all share its key. It is made when it is first needed: that takes a while.
static SIGNER: OnceLock<Option<Signer>> = OnceLock::new();

/// The login host's key; `None` only if no key could be made.
fn signer() -> Option<&'static Signer> {
    let make = || {
        let (pem, _) = credentials::rsa_key().ok()?;
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).ok()?;
        let mut public = Jwk::from_encoding_key(&key, Algorithm::RS256).ok()?;
        public.common.key_id = Some(KEY_ID.to_owned());
        Some(Signer { key, public })
    };
    SIGNER.get_or_init(make).as_ref()
}

fn sign(claims: &Value) -> Result<String, Trouble> {
    let header = Header {
        kid: Some(KEY_ID.to_owned()),
        ..Header::new(Algorithm::RS256)
    };
    signer()
        .and_then(|signer| jsonwebtoken::encode(&header, claims, &signer.key).ok())
        .ok_or_else(|| Trouble::new(500, "CryptographicException", "no signing key"))
}

/// An authorization code that has not been used.
#[derive(Debug)]
struct Code {
    redirect_uri: String,
    challenge: Option<(String, String)>,
    until: DateTime<Utc>,
}

/// The app, and what has been given out to it.
#[derive(Debug)]
pub(crate) struct Auth {
    app: SuperOfficeCredentials,
    client_key: Vec<u8>,
    /// Ticket to last use.
    tickets: HashMap<String, DateTime<Utc>>,
    /// Access token to expiry.
    access: HashMap<String, DateTime<Utc>>,
    refresh_tokens: Vec<String>,
    codes: HashMap<String, Code>,
    random: StdRng,
}

impl Auth {
    /// `client_key`: the public half of the app's key.
    pub(crate) fn new(app: &SuperOfficeCredentials, client_key: &[u8], seed: u64) -> Auth {
        Auth {
            app: app.clone(),
            client_key: client_key.to_vec(),
            tickets: HashMap::new(),
            access: HashMap::new(),
            refresh_tokens: vec![app.refresh_token.clone()],
            codes: HashMap::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Name of the user that calls come from.
    pub(crate) fn username(&self) -> &str {
        &self.app.username
    }

    /// Ends all tickets and access tokens.
    pub(crate) fn revoke_all(&mut self) {
        self.tickets.clear();
        self.access.clear();
    }

    fn secret(&mut self, bytes: usize) -> String {
        let bytes: Vec<u8> = (0..bytes).map(|_| self.random.random()).collect();
        STANDARD.encode(bytes)
    }
}

fn forget_oldest(sessions: &mut HashMap<String, DateTime<Utc>>) {
    if sessions.len() >= MAX_SESSIONS
        && let Some(oldest) = sessions
            .iter()
            .min_by_key(|(_, at)| **at)
            .map(|(token, _)| token.clone())
    {
        sessions.remove(&oldest);
    }
}

/// Opens a session for the API user and returns its ticket.
fn open_ticket(state: &mut State) -> String {
    let now = state.now();
    let ticket = format!("7T:{}", state.auth.secret(48));
    forget_oldest(&mut state.auth.tickets);
    state.auth.tickets.insert(ticket.clone(), now);
    state.calls.logins += 1;
    ticket
}

fn open_access(state: &mut State) -> String {
    let until = state.now() + TimeDelta::seconds(state.settings.access_token_secs);
    let token = format!("8A:{}.{}", state.custid, state.auth.secret(64));
    forget_oldest(&mut state.auth.access);
    state.auth.access.insert(token.clone(), until);
    state.calls.logins += 1;
    token
}

/// The associate who sends a call, or the answer to a stranger.
pub(crate) fn sender(state: &mut State, call: &Call) -> Result<i64, Reply> {
    if known(state, call) {
        Ok(state.associate_named(API_USER).unwrap_or(0))
    } else {
        let schemes = if state.settings.onsite {
            "Basic realm=\"SuperOffice\""
        } else {
            "Bearer"
        };
        let message = "Authorization has been denied for this request.";
        Err(model_error(401, message, "").with("WWW-Authenticate", schemes))
    }
}

fn known(state: &mut State, call: &Call) -> bool {
    let Some((scheme, credential)) = call
        .header("authorization")
        .and_then(|value| value.trim().split_once(' '))
    else {
        return false;
    };
    let now = state.now();
    let credential = credential.trim();
    let onsite = state.settings.onsite;
    match scheme.to_ascii_lowercase().as_str() {
        "soticket" => {
            let app = call.header("so-apptoken");
            if !onsite && app != Some(state.auth.app.client_secret.as_str()) {
                return false;
            }
            let idle = TimeDelta::seconds(state.settings.ticket_secs);
            match state.auth.tickets.get_mut(credential) {
                Some(used) if now - *used <= idle => {
                    *used = now;
                    true
                }
                _ => false,
            }
        }
        "bearer" if !onsite => state
            .auth
            .access
            .get(credential)
            .is_some_and(|until| now < *until),
        "basic" if onsite && state.settings.basic => {
            basic(credential).is_some_and(|(user, password)| {
                let app = &state.auth.app;
                user.eq_ignore_ascii_case(&app.username) && password == app.password
            })
        }
        _ => false,
    }
}

fn basic(credential: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(credential).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// `POST /Login/api/PartnerSystemUser/Authenticate`.
pub(crate) fn system_user(state: &mut State, call: &Call) -> Reply {
    let input: Value = match serde_json::from_slice(&call.body) {
        Ok(input) => input,
        Err(_) => return model_error(400, "The request is invalid.", "the body is not JSON"),
    };
    let refused = state
        .faults
        .strike_own(CallKind::SystemUserLogin, |fault| match fault {
            Fault::TokenEndpointDown => Some(Reply::raw(
                503,
                "text/html;charset=UTF-8",
                "<html>Service Unavailable</html>",
            )),
            Fault::TokenRefused { error, description } => {
                Some(Reply::json(200, failure(&format!("{error} {description}"))))
            }
            _ => None,
        });
    if let Some(reply) = refused {
        return reply;
    }
    match check_system_token(state, &input).and_then(|()| login_token(state)) {
        Ok(token) => Reply::json(
            200,
            json!({"IsSuccessful": true, "Token": token, "ErrorMessage": null}),
        ),
        Err(message) => Reply::json(state.settings.login_refused_status, failure(&message)),
    }
}

fn failure(message: &str) -> Value {
    json!({"IsSuccessful": false, "Token": null, "ErrorMessage": message.trim_end()})
}

fn member<'v>(input: &'v Value, name: &str) -> &'v str {
    let found = input
        .as_object()
        .into_iter()
        .flatten()
        .find(|(key, _)| key.eq_ignore_ascii_case(name));
    found
        .and_then(|(_, value)| value.as_str())
        .unwrap_or_default()
}

/// Checks what the app has signed: `<system token>.<yyyyMMddHHmm>.<signature>`.
fn check_system_token(state: &State, input: &Value) -> Result<(), String> {
    let app = &state.auth.app;
    if !member(input, "ContextIdentifier").eq_ignore_ascii_case(&state.custid) {
        return Err("Unknown context identifier".to_owned());
    }
    if member(input, "ApplicationToken") != app.client_secret {
        return Err("Unknown application token".to_owned());
    }
    if !member(input, "ReturnTokenType").eq_ignore_ascii_case("jwt") {
        return Err("Only JWT can be returned".to_owned());
    }
    let invalid = || "InvalidSignature".to_owned();
    let (text, signature) = member(input, "SignedSystemToken")
        .rsplit_once('.')
        .ok_or_else(invalid)?;
    let (token, at) = text.rsplit_once('.').ok_or_else(invalid)?;
    let signature = STANDARD.decode(signature).map_err(|_| invalid())?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &state.auth.client_key)
        .verify(text.as_bytes(), &signature)
        .map_err(|_| invalid())?;
    if token != app.system_token {
        return Err("Unknown system user token".to_owned());
    }
    // A minute is all the precision there is; chrono wants seconds.
    let at = NaiveDateTime::parse_from_str(&format!("{at}00"), "%Y%m%d%H%M%S")
        .map_err(|_| "InvalidTimestamp".to_owned())?
        .and_utc();
    if (state.now() - at).abs() > TimeDelta::minutes(state.settings.login_skew_minutes) {
        return Err("InvalidTimestamp".to_owned());
    }
    if state.settings.app_approved {
        Ok(())
    } else {
        Err("NeedsReapproval".to_owned())
    }
}

fn claims(state: &State) -> serde_json::Map<String, Value> {
    let claim = |name: &str| format!("{CLAIM}{name}");
    let associate = state.associate_named(API_USER).unwrap_or(0);
    let pairs = [
        (claim("ctx"), json!(state.custid)),
        (claim("webapi_url"), json!(format!("{}/", state.base()))),
        (
            claim("netserver_url"),
            json!(format!("{}/Remote/Services88/", state.root())),
        ),
        (claim("serial"), json!("1043218725")),
        (claim("associateid"), json!(associate.to_string())),
        (claim("initials"), json!("SYNC")),
        (claim("upn"), json!(state.auth.app.username)),
        (claim("company_name"), json!("Sandbox")),
        (claim("is_administrator"), json!("False")),
    ];
    pairs.into_iter().collect()
}

fn login_token(state: &mut State) -> Result<String, String> {
    let ticket = open_ticket(state);
    let now = state.now().timestamp();
    let mut claims = claims(state);
    claims.insert(format!("{CLAIM}ticket"), json!(ticket));
    claims.insert("iss".to_owned(), json!("SuperOffice AS"));
    claims.insert("aud".to_owned(), json!("spn:1043218725"));
    claims.insert("iat".to_owned(), json!(now));
    claims.insert("nbf".to_owned(), json!(now));
    let expiry = now + state.settings.login_token_secs;
    claims.insert("exp".to_owned(), json!(expiry));
    sign(&Value::Object(claims)).map_err(|trouble| trouble.message)
}

/// `GET /login/.well-known/jwks`.
pub(crate) fn jwks() -> Reply {
    match signer() {
        Some(signer) => {
            let mut key = json!(signer.public);
            key["use"] = json!("sig");
            Reply::json(200, json!({"keys": [key]}))
        }
        None => Reply::empty(500),
    }
}

/// `GET /login/.well-known/openid-configuration`.
pub(crate) fn metadata(state: &State) -> Reply {
    let host = state.login();
    Reply::json(
        200,
        json!({
            "issuer": host,
            "authorization_endpoint": format!("{host}/login/common/oauth/authorize"),
            "token_endpoint": format!("{host}/login/common/oauth/tokens"),
            "jwks_uri": format!("{host}/login/.well-known/jwks"),
            "response_types_supported": ["code", "id_token", "code id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "code_challenge_methods_supported": ["plain", "S256"],
        }),
    )
}

/// `GET /login/common/oauth/authorize`, as if the user had logged in and approved at once.
pub(crate) fn authorize(state: &mut State, call: &Call) -> Reply {
    let param = |name: &str| call.param(name).unwrap_or_default();
    let redirect_uri = param("redirect_uri");
    let Ok(mut target) = url::Url::parse(&redirect_uri) else {
        return Reply::raw(400, "text/html;charset=UTF-8", "Invalid redirect_uri");
    };
    if param("client_id") != state.auth.app.client_id || param("response_type") != "code" {
        return Reply::raw(400, "text/html;charset=UTF-8", "Unknown application");
    }
    let code = URL_SAFE_NO_PAD.encode(state.auth.secret(24));
    let challenge = call.param("code_challenge").map(|challenge| {
        let method = call.param("code_challenge_method");
        (challenge, method.unwrap_or_else(|| "plain".to_owned()))
    });
    let until = state.now() + TimeDelta::minutes(CODE_MINUTES);
    state
        .auth
        .codes
        .retain(|_, code| code.until > until - TimeDelta::minutes(CODE_MINUTES));
    let kept = Code {
        redirect_uri,
        challenge,
        until,
    };
    state.auth.codes.insert(code.clone(), kept);
    target
        .query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &param("state"));
    Reply::empty(302).with("Location", target.as_str())
}

/// `POST /login/common/oauth/tokens`.
pub(crate) fn tokens(state: &mut State, call: &Call) -> Reply {
    let refused = state
        .faults
        .strike_own(CallKind::Token, |fault| match fault {
            Fault::TokenEndpointDown => Some(Reply::empty(503)),
            Fault::TokenRefused { error, description } => Some(oauth_error(error, description)),
            _ => None,
        });
    if let Some(reply) = refused {
        return reply;
    }
    let form: HashMap<String, String> = url::form_urlencoded::parse(&call.body)
        .into_owned()
        .collect();
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    let client = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|value| basic(value.trim()));
    let (id, secret) =
        client.unwrap_or_else(|| (get("client_id").to_owned(), get("client_secret").to_owned()));
    if id != state.auth.app.client_id || secret != state.auth.app.client_secret {
        return oauth_error("invalid_client", "unknown client");
    }
    if !state.settings.app_approved {
        return oauth_error("access_denied", "the app is not approved");
    }
    match get("grant_type") {
        "refresh_token" => {
            let token = get("refresh_token");
            if state.auth.refresh_tokens.iter().all(|known| known != token) {
                return oauth_error("invalid_grant", "unknown refresh token");
            }
            granted(state, None)
        }
        "authorization_code" => {
            let now = state.now();
            let Some(code) = state.auth.codes.remove(get("code")) else {
                return oauth_error("invalid_grant", "unknown code");
            };
            let proven = match &code.challenge {
                None => true,
                Some((challenge, method)) => proves(get("code_verifier"), challenge, method),
            };
            if code.until < now || code.redirect_uri != get("redirect_uri") || !proven {
                return oauth_error("invalid_grant", "the code does not fit");
            }
            let token = state.auth.refresh_tokens.first().cloned();
            granted(state, token)
        }
        _ => oauth_error("unsupported_grant_type", "unsupported grant type"),
    }
}

fn proves(verifier: &str, challenge: &str, method: &str) -> bool {
    if method == "S256" {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        URL_SAFE_NO_PAD.encode(digest.as_ref()) == challenge
    } else {
        verifier == challenge
    }
}

fn oauth_error(error: &str, description: &str) -> Reply {
    Reply::json(
        400,
        json!({"error": error, "error_description": description}),
    )
}

fn granted(state: &mut State, refresh_token: Option<String>) -> Reply {
    let access = open_access(state);
    let now = state.now().timestamp();
    let mut claims = claims(state);
    claims.insert("iss".to_owned(), json!(state.login()));
    claims.insert("aud".to_owned(), json!(state.auth.app.client_id));
    claims.insert("sub".to_owned(), json!(state.auth.app.username));
    claims.insert("iat".to_owned(), json!(now));
    claims.insert("nbf".to_owned(), json!(now));
    claims.insert(
        "exp".to_owned(),
        json!(now + state.settings.access_token_secs),
    );
    let system_token = json!(state.auth.app.system_token);
    claims.insert(format!("{CLAIM}system_token"), system_token);
    let id_token = match sign(&Value::Object(claims)) {
        Ok(token) => token,
        Err(trouble) => return trouble.into(),
    };
    let mut body = json!({
        "token_type": "Bearer",
        "access_token": access,
        "expires_in": state.settings.access_token_secs,
        "id_token": id_token,
    });
    if let Some(token) = refresh_token {
        body["refresh_token"] = json!(token);
    }
    Reply::json(200, body)
        .with("Cache-Control", "no-store")
        .with("Pragma", "no-cache")
}
