//! Logging in: three OAuth 2.0 grants, one session at a time.
//!
//! Sources: help pages on the JWT bearer, client credentials and refresh token flows; OAuth error
//! codes. A session is kept until it is refused or half an hour old; all tasks share it, and only
//! one of them logs in at a time.

use super::super::config::{Grant, PlatformSettings};
use super::faults::{self, Refusal};
use super::session_host;
use crate::connector::http::{Answer, Body, Call, Http, Method};
use crate::connector::{Fault, FaultClass, rsa_key, token_file};
use crate::consent::At;
use crate::consent::time::SECOND;
use crate::runtime::clock::{Clock as _, System};
use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use url::Url;

/// The vendor tells no end of a session; after this time a new one is taken (its default is two
/// idle hours).
const SESSION_AGE: Duration = Duration::from_mins(30);
/// How far ahead a JWT assertion ends, in seconds (help: JWT bearer flow).
const ASSERTION_SECS: i64 = 180;
/// A clock that is off by more than this many seconds may be why an assertion was refused.
const CLOCK_TOLERANCE_SECS: i64 = 60;

/// A login.
#[derive(Debug)]
pub struct Session {
    /// Access token.
    pub token: SecretString,
    /// The host for data calls.
    pub instance: Url,
    /// Id of the user it belongs to.
    pub user: Option<String>,
    since: Instant,
    number: u64,
}

/// The owner of the session and of the refresh token.
#[derive(Debug, Default)]
pub struct Login {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Arc<Session>>,
    made: u64,
    /// The vendor's clock less ours, in seconds.
    clock_ahead: i64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    instance_url: String,
    id: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
}

impl Login {
    /// The present session, or a new one when there is none or it is old.
    pub async fn session(
        &self,
        settings: &PlatformSettings,
        http: &Http,
    ) -> Result<Arc<Session>, Fault> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session {
            if session.since.elapsed() < SESSION_AGE {
                return Ok(Arc::clone(session));
            }
            let old = Arc::clone(session);
            // The old session may well live on while the token endpoint is in trouble.
            return match state.mint(settings, http).await {
                Err(fault) if fault.class == FaultClass::Retryable => Ok(old),
                other => other,
            };
        }
        state.mint(settings, http).await
    }

    /// A session other than `refused`: the one that another task got meanwhile, or a new one.
    pub async fn renew(
        &self,
        refused: &Session,
        settings: &PlatformSettings,
        http: &Http,
    ) -> Result<Arc<Session>, Fault> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && session.number != refused.number
        {
            return Ok(Arc::clone(session));
        }
        state.session = None;
        state.mint(settings, http).await
    }
}

impl State {
    async fn mint(
        &mut self,
        settings: &PlatformSettings,
        http: &Http,
    ) -> Result<Arc<Session>, Fault> {
        let mut answer = ask(settings, http, self.clock_ahead).await?;
        if answer.status != 200
            && matches!(settings.grant, Grant::JwtBearer { .. })
            && let Some(ahead) = clock_difference(&answer)
            && (ahead - self.clock_ahead).abs() > CLOCK_TOLERANCE_SECS
        {
            // Our clock is off: the assertion is made once more by the vendor's.
            self.clock_ahead = ahead;
            answer = ask(settings, http, ahead).await?;
        }
        if answer.status != 200 {
            return Err(refused(&answer));
        }
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|error| {
            let class = if error.is_eof() {
                FaultClass::Retryable
            } else {
                FaultClass::ContractBroken
            };
            Fault::new(
                class,
                "token-answer",
                format!(
                    "login: the token answer cannot be read: {:?} at column {}",
                    error.classify(),
                    error.column()
                ),
            )
        })?;
        if let (Grant::RefreshToken { token_file, .. }, Some(rotated)) =
            (&settings.grant, &granted.refresh_token)
        {
            // The old token may be dead already: the new one is safe on disk before anything else.
            token_file::store(token_file, rotated)?;
        }
        let instance = session_host(&granted.instance_url, settings)?;
        let user = granted.id.as_deref().and_then(user_of);
        self.made += 1;
        let session = Arc::new(Session {
            token: granted.access_token.into(),
            instance,
            user,
            since: Instant::now(),
            number: self.made,
        });
        self.session = Some(Arc::clone(&session));
        Ok(session)
    }
}

async fn ask(settings: &PlatformSettings, http: &Http, clock_ahead: i64) -> Result<Answer, Fault> {
    let mut url = settings.login_url.clone();
    url.set_path("/services/oauth2/token");
    let plain = |text: &str| SecretString::from(text.to_owned());
    let form = match &settings.grant {
        Grant::JwtBearer {
            client_id,
            username,
            audience,
            private_key,
        } => {
            let claims = Claims {
                iss: client_id,
                sub: username,
                aud: audience,
                exp: unix_now()
                    .saturating_add(clock_ahead)
                    .saturating_add(ASSERTION_SECS),
            };
            vec![
                (
                    "grant_type",
                    plain("urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ),
                ("assertion", sign(&claims, private_key)?),
            ]
        }
        Grant::ClientCredentials {
            client_id,
            client_secret,
        } => {
            vec![
                ("grant_type", plain("client_credentials")),
                ("client_id", plain(client_id)),
                ("client_secret", client_secret.clone()),
            ]
        }
        Grant::RefreshToken {
            client_id,
            client_secret,
            token_file,
        } => {
            let mut form = vec![
                ("grant_type", plain("refresh_token")),
                ("refresh_token", token_file::load(token_file)?),
                ("client_id", plain(client_id)),
            ];
            form.extend(
                client_secret
                    .iter()
                    .map(|secret| ("client_secret", secret.clone())),
            );
            form
        }
    };
    let call = Call {
        kind: "login",
        method: Method::POST,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::Form(form),
    };
    // A lost login has no effect that matters: asking again is always safe.
    http.send(call).await.map_err(|mut fault| {
        fault.maybe_sent = false;
        fault
    })
}

fn sign(claims: &Claims<'_>, private_key: &SecretString) -> Result<SecretString, Fault> {
    let key = rsa_key::read(private_key)?;
    let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &key)
        .map_err(|_| rsa_key::unusable("cannot sign"))?;
    Ok(token.into())
}

/// The fault of a refused login. The body is an object, or the error array of data calls.
fn refused(answer: &Answer) -> Fault {
    let refusals = serde_json::from_slice::<Refusal>(&answer.body)
        .map(|one| vec![one])
        .or_else(|_| serde_json::from_slice::<Vec<Refusal>>(&answer.body))
        .unwrap_or_default();
    let mut fault = faults::of_call("login", answer.status, &refusals, answer.retry_after());
    // Any other refusal of a login is still a refusal of a login.
    if fault.class == FaultClass::Rejected {
        fault.class = FaultClass::Auth;
    }
    fault.maybe_sent = false;
    fault
}

/// The user's id at the end of the identity URL `…/id/<org>/<user>`.
fn user_of(identity: &str) -> Option<String> {
    super::soql::full_id(identity.rsplit('/').next()?)
}

fn clock_difference(answer: &Answer) -> Option<i64> {
    let theirs = answer.asked_at?;
    Some(theirs.since(At::from_micros(0)).div_euclid(SECOND) - unix_now())
}

fn unix_now() -> i64 {
    System.now().micros().div_euclid(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_read_from_the_identity_url() {
        let url = "https://login.salesforce.com/id/00D5e000000ABCDEAA/0055e000001XYZaAAO";
        assert_eq!(user_of(url).as_deref(), Some("0055e000001XYZaAAO"));
        assert_eq!(user_of("nonsense"), None);
    }
}
