//! Logging in: as the tenant's system user, by a refresh token, with a password, or by a ticket.
//!
//! Sources: system user flow (sign the token, get the ticket), authorisation code flow, onsite
//! authentication. One session is kept and shared by all tasks; only one of them logs in at a time.
//! A ticket lives for six hours from its last use, so it is used until it is refused or nearly old.

use super::place::{self, Place, not_sent};
use super::{faults, path};
use crate::connector::http::{Answer, Body, Call, Http, Method};
use crate::connector::superoffice::config::{Deployment, Online, OnlineGrant, OnsiteGrant};
use crate::connector::{Fault, FaultClass, rsa_key, token_file};
use crate::consent::At;
use crate::consent::time::SECOND;
use crate::runtime::clock::{Clock as _, System};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A ticket that was not used for longer is not tried again; it lives for six hours.
const TICKET_IDLE: Duration = Duration::from_mins(330);
/// An access token is renewed this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_mins(1);
/// A clock that is off by more than this many seconds may be why a signature was refused.
const CLOCK_TOLERANCE_SECS: i64 = 60;
/// Who issues the token of a system user.
const ISSUER: &str = "SuperOffice AS";

/// What goes along with every call.
#[derive(Debug)]
pub struct Credential {
    /// The whole `Authorization` header.
    pub authorization: SecretString,
    /// `SO-AppToken`, for tickets online.
    pub app_token: Option<SecretString>,
    ends: Option<Instant>,
    used: Lock<Instant>,
    idle: Option<Duration>,
    number: u64,
}

impl Credential {
    /// Notes that the server took it: its life begins anew.
    pub fn was_used(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_old(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.ends.is_some_and(|ends| Instant::now() >= ends)
            || self.idle.is_some_and(|idle| used.elapsed() > idle)
    }
}

/// A login at a place.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who we are.
    pub credential: Arc<Credential>,
    /// Where the tenant is.
    pub place: Arc<Place>,
}

/// The owner of the session.
#[derive(Debug, Default)]
pub struct Login {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    credential: Option<Arc<Credential>>,
    place: Option<Arc<Place>>,
    made: u64,
    /// The vendor's clock less ours, in seconds.
    clock_ahead: i64,
    /// The keys that tokens are signed with.
    keys: Option<JwkSet>,
}

impl Login {
    /// The present session, or a new one when there is none or it is old.
    pub async fn session(&self, deployment: &Deployment, http: &Http) -> Result<Session, Fault> {
        self.state.lock().await.session(deployment, http).await
    }

    /// A session with another credential than the refused one: the one that another task got
    /// meanwhile, or a new one.
    pub async fn renew(
        &self,
        refused: &Session,
        deployment: &Deployment,
        http: &Http,
    ) -> Result<Session, Fault> {
        let mut state = self.state.lock().await;
        if state
            .credential
            .as_ref()
            .is_some_and(|held| held.number == refused.credential.number)
        {
            state.credential = None;
            if let Deployment::Onsite(onsite) = deployment
                && let OnsiteGrant::Basic { .. } = &onsite.grant
            {
                return Err(Fault::new(
                    FaultClass::Auth,
                    faults::UNAUTHORISED,
                    "login: the server refuses user and password",
                ));
            }
        }
        state.session(deployment, http).await
    }

    /// A session at another place than the one that sent us away, if the tenant has moved.
    pub async fn relocate(
        &self,
        left: &Session,
        deployment: &Deployment,
        http: &Http,
    ) -> Result<Session, Fault> {
        let mut state = self.state.lock().await;
        if state
            .place
            .as_ref()
            .is_some_and(|held| held.number == left.place.number)
        {
            state.place = None;
        }
        state.session(deployment, http).await
    }
}

impl State {
    async fn session(&mut self, deployment: &Deployment, http: &Http) -> Result<Session, Fault> {
        let place = self.place(deployment, http).await?;
        let credential = match &self.credential {
            Some(held) if !held.is_old() => Arc::clone(held),
            _ => self.mint(deployment, http).await?,
        };
        Ok(Session { credential, place })
    }

    async fn place(&mut self, deployment: &Deployment, http: &Http) -> Result<Arc<Place>, Fault> {
        let now = Instant::now();
        if let Some(place) = &self.place
            && place.until.is_none_or(|until| now < until)
        {
            return Ok(Arc::clone(place));
        }
        let (base, until) = match deployment {
            Deployment::Onsite(onsite) => (onsite.base_url.clone(), None),
            Deployment::Online(online) => match (place::find(online, http).await, &self.place) {
                // The tenant may well be where it was while the login host is in trouble.
                (Err(fault), Some(held))
                    if fault.class == FaultClass::Retryable && fault.code != "maintenance" =>
                {
                    return Ok(Arc::clone(held));
                }
                (found, _) => found?,
            },
        };
        self.made += 1;
        let place = Arc::new(Place {
            base,
            until,
            number: self.made,
        });
        self.place = Some(Arc::clone(&place));
        Ok(place)
    }

    /// Logs in.
    async fn mint(
        &mut self,
        deployment: &Deployment,
        http: &Http,
    ) -> Result<Arc<Credential>, Fault> {
        let (authorization, app_token, ends, idle) = match deployment {
            Deployment::Onsite(onsite) => match &onsite.grant {
                OnsiteGrant::Basic { username, password } => {
                    let plain = format!("{username}:{}", password.expose_secret());
                    let text = format!("Basic {}", STANDARD.encode(plain));
                    (text, None, None, None)
                }
                OnsiteGrant::Ticket { ticket_file } => {
                    let ticket = token_file::load(ticket_file)?;
                    let text = format!("SOTicket {}", ticket.expose_secret());
                    (text, None, None, None)
                }
            },
            Deployment::Online(online) => match &online.grant {
                OnlineGrant::SystemUser { app_token, .. } => {
                    let ticket = self.ticket(online, http).await?;
                    let text = format!("SOTicket {}", ticket.expose_secret());
                    (text, Some(app_token.clone()), None, Some(TICKET_IDLE))
                }
                OnlineGrant::RefreshToken { .. } => {
                    let (token, lasts) = access_token(online, http).await?;
                    let ends = Instant::now() + lasts.saturating_sub(TOKEN_MARGIN);
                    (
                        format!("Bearer {}", token.expose_secret()),
                        None,
                        Some(ends),
                        None,
                    )
                }
            },
        };
        self.made += 1;
        let credential = Arc::new(Credential {
            authorization: authorization.into(),
            app_token,
            ends,
            used: Lock::new(Instant::now()),
            idle,
            number: self.made,
        });
        self.credential = Some(Arc::clone(&credential));
        Ok(credential)
    }

    /// A ticket of the system user.
    async fn ticket(&mut self, online: &Online, http: &Http) -> Result<SecretString, Fault> {
        let (mut answer, mut granted) = authenticate(online, http, self.clock_ahead).await?;
        if granted.token().is_none()
            && let Some(ahead) = clock_difference(&answer)
            && (ahead - self.clock_ahead).abs() > CLOCK_TOLERANCE_SECS
        {
            // Our clock is off: the time is signed once more by the vendor's.
            self.clock_ahead = ahead;
            (answer, granted) = authenticate(online, http, ahead).await?;
        }
        let Some(token) = granted.token() else {
            let words = granted.error_message.unwrap_or_default();
            return Err(Fault::new(
                FaultClass::Auth,
                "system-user",
                format!(
                    "login: the system user is refused: {}; check the application's key and secret, and that the tenant's administrator has approved it",
                    crate::connector::salesforce::wire::faults::clean(&words)
                ),
            ));
        };
        let claims = self.verified(token, online, http).await?;
        let now = answer
            .asked_at
            .map_or_else(unix_now, |at| at.micros().div_euclid(SECOND));
        claims.check(now, &online.customer)?;
        Ok(claims.ticket.into())
    }

    /// The claims of a token that the vendor signed.
    async fn verified(
        &mut self,
        token: &str,
        online: &Online,
        http: &Http,
    ) -> Result<Claims, Fault> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| forged("cannot be read"))?;
        if header.alg != Algorithm::RS256 {
            return Err(forged("is not signed with RS256"));
        }
        let known = self
            .keys
            .as_ref()
            .and_then(|keys| key_for(keys, header.kid.as_deref()));
        let key = if let Some(key) = known {
            key
        } else {
            let keys = signing_keys(online, http).await?;
            let key = key_for(&keys, header.kid.as_deref()).ok_or_else(|| {
                forged("names a signing key that the login host does not publish")
            })?;
            self.keys = Some(keys);
            key
        };
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp"]);
        // Judged below, by the clock of the host that sent it.
        validation.validate_exp = false;
        match &online.grant {
            OnlineGrant::SystemUser {
                serial: Some(serial),
                ..
            } => {
                validation.set_audience(&[format!("spn:{serial}")]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            _ => validation.validate_aud = false,
        }
        jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map(|data| data.claims)
            .map_err(|error| {
                forged(match error.kind() {
                    jsonwebtoken::errors::ErrorKind::InvalidIssuer => "names another issuer",
                    jsonwebtoken::errors::ErrorKind::InvalidAudience => {
                        "is meant for another licence; check `serial`"
                    }
                    jsonwebtoken::errors::ErrorKind::InvalidSignature => "has a wrong signature",
                    _ => "cannot be read",
                })
            })
    }
}

fn forged(what: &str) -> Fault {
    Fault::new(
        FaultClass::ContractBroken,
        "token-answer",
        format!("login: the token of the system user {what}"),
    )
}

/// What the service of system users answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Granted {
    #[serde(default)]
    is_successful: bool,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    error_message: Option<String>,
}

impl Granted {
    fn token(&self) -> Option<&str> {
        self.token
            .as_deref()
            .filter(|token| self.is_successful && !token.is_empty())
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "http://schemes.superoffice.net/identity/ticket")]
    ticket: String,
    #[serde(rename = "http://schemes.superoffice.net/identity/ctx")]
    context: Option<String>,
    exp: i64,
    nbf: Option<i64>,
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Claims(…)")
    }
}

impl Claims {
    /// Whether they hold now (Unix seconds) and for this tenant.
    fn check(&self, now: i64, customer: &str) -> Result<(), Fault> {
        if now > self.exp.saturating_add(CLOCK_TOLERANCE_SECS)
            || self
                .nbf
                .is_some_and(|begins| now < begins.saturating_sub(CLOCK_TOLERANCE_SECS))
        {
            return Err(forged("is not valid now"));
        }
        if self
            .context
            .as_deref()
            .is_some_and(|context| !context.eq_ignore_ascii_case(customer))
        {
            return Err(forged("is of another tenant"));
        }
        if self.ticket.trim().is_empty() {
            return Err(forged("holds no ticket"));
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Authenticate<'a> {
    signed_system_token: &'a str,
    application_token: &'a str,
    context_identifier: &'a str,
    return_token_type: &'a str,
}

/// Asks for a token of the system user. An answer that refuses is given back, since the clock may
/// be why.
async fn authenticate(
    online: &Online,
    http: &Http,
    clock_ahead: i64,
) -> Result<(Answer, Granted), Fault> {
    let OnlineGrant::SystemUser {
        app_token,
        system_user_token,
        private_key,
        ..
    } = &online.grant
    else {
        return Err(forged("was not asked for"));
    };
    let at = At::from_micros(
        unix_now()
            .saturating_add(clock_ahead)
            .saturating_mul(SECOND),
    );
    let signed = sign(system_user_token, private_key, at)?;
    let body = serde_json::to_vec(&Authenticate {
        signed_system_token: signed.expose_secret(),
        application_token: app_token.expose_secret(),
        context_identifier: &online.customer,
        return_token_type: "JWT",
    })
    .map_err(|_| forged("cannot be asked for"))?;
    let mut url = online.login_url.clone();
    url.set_path("/Login/api/PartnerSystemUser/Authenticate");
    let call = Call {
        kind: "login",
        method: Method::POST,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::Json(body),
    };
    let answer = http.send(call).await.map_err(not_sent)?;
    if answer.status == 200 {
        let granted = answer.parse("login").map_err(not_sent)?;
        return Ok((answer, granted));
    }
    // Which status a refusal has is not documented.
    let refused = serde_json::from_slice::<Granted>(&answer.body).ok();
    match refused.filter(|granted| granted.error_message.is_some()) {
        Some(granted) if answer.status < 500 => Ok((answer, granted)),
        _ => Err(refusal(&answer)),
    }
}

/// `token.yyyyMMddHHmm.signature`
fn sign(token: &SecretString, private_key: &SecretString, at: At) -> Result<SecretString, Fault> {
    let key = rsa_key::read(private_key)?;
    let text = format!(
        "{}.{}",
        token.expose_secret(),
        at.to_datetime().format("%Y%m%d%H%M")
    );
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::RS256)
        .map_err(|_| rsa_key::unusable("cannot sign"))?;
    let raw = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| rsa_key::unusable("cannot sign"))?;
    Ok(format!("{text}.{}", STANDARD.encode(raw)).into())
}

async fn signing_keys(online: &Online, http: &Http) -> Result<JwkSet, Fault> {
    let mut url = online.login_url.clone();
    url.set_path("/login/.well-known/jwks");
    let call = Call {
        kind: "login-keys",
        method: Method::GET,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::None,
    };
    let answer = http.send(call).await.map_err(not_sent)?;
    if answer.status != 200 {
        return Err(not_sent(faults::of_answer("login-keys", &answer)));
    }
    answer.parse("login-keys").map_err(not_sent)
}

/// The key of that id; without an id only a set of one key is clear.
fn key_for(keys: &JwkSet, id: Option<&str>) -> Option<DecodingKey> {
    let key = match (id, keys.keys.as_slice()) {
        (Some(id), _) => keys.find(id)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    DecodingKey::from_jwk(key).ok()
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

/// How long an access token is used when the answer does not say.
const TOKEN_AGE: Duration = Duration::from_mins(30);

async fn access_token(online: &Online, http: &Http) -> Result<(SecretString, Duration), Fault> {
    let OnlineGrant::RefreshToken {
        client_id,
        client_secret,
        token_file,
    } = &online.grant
    else {
        return Err(forged("was not asked for"));
    };
    let refresh_token = token_file::load(token_file)?;
    let mut url = online.login_url.clone();
    url.set_path("/login/common/oauth/tokens");
    let plain = |text: &str| SecretString::from(text.to_owned());
    let call = Call {
        kind: "login",
        method: Method::POST,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::Form(vec![
            ("grant_type", plain("refresh_token")),
            ("client_id", plain(client_id)),
            ("client_secret", client_secret.clone()),
            ("refresh_token", refresh_token.clone()),
        ]),
    };
    let answer = http.send(call).await.map_err(not_sent)?;
    if answer.status != 200 {
        return Err(refusal(&answer));
    }
    let tokens: Tokens = answer.parse("login").map_err(not_sent)?;
    // `8A:<tenant>.<random>`
    let tenant = tokens
        .access_token
        .split_once(':')
        .and_then(|(_, rest)| rest.split_once('.'))
        .map(|(tenant, _)| tenant);
    if tenant.is_some_and(|tenant| !tenant.eq_ignore_ascii_case(&online.customer)) {
        return Err(Fault::new(
            FaultClass::Auth,
            "tenant",
            "login: the refresh token belongs to another tenant; check `customer`",
        ));
    }
    if let Some(renewed) = &tokens.refresh_token
        && renewed != refresh_token.expose_secret()
    {
        // The old token may be dead already: the new one is safe on disk before anything else.
        token_file::store(token_file, renewed)?;
    }
    let lasts = tokens.expires_in.map_or(TOKEN_AGE, Duration::from_secs);
    Ok((tokens.access_token.into(), lasts))
}

/// A login that is refused.
fn refusal(answer: &Answer) -> Fault {
    #[derive(Default, Deserialize)]
    struct Refused {
        #[serde(default)]
        error: Option<String>,
    }
    let mut fault = not_sent(faults::of_answer("login", answer));
    // Any refusal of a login is a matter of the login.
    if fault.class == FaultClass::Rejected {
        fault.class = FaultClass::Auth;
        let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let Some(code) = refused.error {
            fault.code = crate::connector::salesforce::wire::faults::clean(&code).into_owned();
            fault.message = format!(
                "login: {} ({}); approve the application anew and put a new refresh token in place",
                fault.code, answer.status
            );
        }
    }
    fault
}

fn clock_difference(answer: &Answer) -> Option<i64> {
    let theirs = answer.asked_at?;
    Some(theirs.micros().div_euclid(SECOND) - unix_now())
}

fn unix_now() -> i64 {
    System.now().micros().div_euclid(SECOND)
}

impl Session {
    /// A call of the web API at this place.
    pub fn call<'a>(
        &'a self,
        kind: &'static str,
        method: Method,
        segments: &[&str],
        params: &[(&str, &str)],
        body: Body,
    ) -> Call<'a> {
        let mut secrets = vec![("Authorization", &self.credential.authorization)];
        secrets.extend(
            self.credential
                .app_token
                .iter()
                .map(|token| ("SO-AppToken", token)),
        );
        Call {
            kind,
            method,
            url: path(&self.place.base, segments, params),
            headers: Vec::new(),
            bearer: None,
            secrets,
            body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    fn key() -> (SecretString, Vec<u8>) {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let body = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
        (pem.into(), public.as_ref().to_vec())
    }

    #[test]
    fn the_system_token_is_signed_with_the_minute() {
        let (pem, public) = key();
        let token = SecretString::from("Consent Sync-ab12cd34ef".to_owned());
        let at = At::from_micros(1_768_820_527_999_999);
        let signed = sign(&token, &pem, at).unwrap();
        let (text, signature) = signed.expose_secret().rsplit_once('.').unwrap();
        assert_eq!(text, "Consent Sync-ab12cd34ef.202601191102");
        let signature = STANDARD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
            .verify(text.as_bytes(), &signature)
            .unwrap();
        assert_eq!(
            sign(&token, &"no key".to_owned().into(), at)
                .unwrap_err()
                .code,
            "private-key"
        );
    }

    #[test]
    fn claims_hold_for_their_time_and_tenant() {
        let claims = |exp, nbf, context: Option<&str>, ticket: &str| Claims {
            ticket: ticket.to_owned(),
            context: context.map(str::to_owned),
            exp,
            nbf,
        };
        for (sentence, claims, good) in [
            (
                "all well",
                claims(1_000, Some(900), Some("cust1"), "7T:x"),
                true,
            ),
            (
                "within the tolerance",
                claims(950, Some(1_010), None, "7T:x"),
                true,
            ),
            ("expired", claims(900, None, None, "7T:x"), false),
            ("not yet", claims(2_000, Some(1_500), None, "7T:x"), false),
            (
                "another tenant",
                claims(2_000, None, Some("Cust2"), "7T:x"),
                false,
            ),
            ("no ticket", claims(2_000, None, None, " "), false),
        ] {
            assert_eq!(claims.check(1_000, "Cust1").is_ok(), good, "{sentence}");
            assert_eq!(format!("{claims:?}"), "Claims(…)");
        }
    }

    #[test]
    fn a_credential_grows_old_unless_it_is_used() {
        let credential = |ends, idle| Credential {
            authorization: "SOTicket x".to_owned().into(),
            app_token: None,
            ends,
            used: Lock::new(Instant::now()),
            idle,
            number: 1,
        };
        assert!(!credential(None, None).is_old());
        assert!(credential(Some(Instant::now()), None).is_old());
        let ticket = credential(None, Some(Duration::from_millis(20)));
        assert!(!ticket.is_old());
        std::thread::sleep(Duration::from_millis(40));
        assert!(ticket.is_old());
        ticket.was_used();
        assert!(!ticket.is_old());
    }
}
