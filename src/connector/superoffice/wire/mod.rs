//! The web API of one tenant: login, place, archives, lists, persons' consents.
//!
//! Nothing in here knows what a consent means, and none of its types leaves the connector.

pub mod archive;
pub mod auth;
pub mod faults;
pub mod filter;
pub mod place;
pub mod rows;

use super::config::{Deployment, Settings};
use crate::connector::http::{self, Answer, Body, Http, Method};
use crate::connector::{Fault, FaultClass};
use auth::{Login, Session};
use serde::Deserialize;
use url::Url;

/// A client for one tenant.
#[derive(Debug)]
pub struct Tenant {
    deployment: Deployment,
    language: String,
    concurrency: usize,
    http: Http,
    login: Login,
    /// Whether long queries may be sent as forms.
    pub(super) forms: std::sync::atomic::AtomicBool,
}

impl Tenant {
    /// A client; makes no call.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let authorities = match &settings.deployment {
            Deployment::Onsite(onsite) if !onsite.authorities.is_empty() => {
                http::authorities(&onsite.authorities).ok_or_else(|| {
                    Fault::new(
                        FaultClass::Rejected,
                        "client",
                        "the file of certificates holds none that can be read",
                    )
                })?
            }
            Deployment::Onsite(_) | Deployment::Online(_) => Vec::new(),
        };
        Ok(Self {
            http: Http::trusting(settings.limits.clone(), authorities)?,
            deployment: settings.deployment.clone(),
            language: settings.language.clone(),
            concurrency: settings.limits.max_concurrent.max(1),
            login: Login::default(),
            forms: std::sync::atomic::AtomicBool::new(true),
        })
    }

    /// Calls made, by kind.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        self.http.calls()
    }

    /// How many calls may be under way at once.
    pub const fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Sends one call of the web API below `v1`. A session that is refused is renewed once, a place
    /// that the tenant has left is looked for once. An answer other than a success is a fault.
    ///
    /// # Errors
    /// The fault of the answer, or of not getting one.
    pub async fn call(
        &self,
        kind: &'static str,
        method: Method,
        segments: &[&str],
        params: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, Fault> {
        let mut session = self.login.session(&self.deployment, &self.http).await?;
        let (mut renewed, mut moved) = (false, false);
        loop {
            let mut call = session.call(kind, method.clone(), segments, params, body.clone());
            call.headers = self.headers();
            let answer = self.http.send(call).await?;
            match answer.status {
                200..300 => {
                    session.credential.was_used();
                    return Ok(answer);
                }
                401 if !renewed => {
                    renewed = true;
                    session = self.renew(&session).await?;
                }
                421 if !moved && matches!(self.deployment, Deployment::Online(_)) => {
                    moved = true;
                    session = self
                        .login
                        .relocate(&session, &self.deployment, &self.http)
                        .await?;
                }
                _ => return Err(faults::of_answer(kind, &answer)),
            }
        }
    }

    async fn renew(&self, session: &Session) -> Result<Session, Fault> {
        self.login
            .renew(session, &self.deployment, &self.http)
            .await
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Accept", "application/json".to_owned()),
            ("Accept-Language", self.language.clone()),
            // All times are UTC, and say so where the server can.
            ("SO-TimeZone", "UTC, includeTZOffset".to_owned()),
        ]
    }

    /// A read by `GET`.
    ///
    /// # Errors
    /// As [`Self::call`]; never marked as perhaps having taken effect.
    pub async fn get(
        &self,
        kind: &'static str,
        segments: &[&str],
        params: &[(&str, &str)],
    ) -> Result<Answer, Fault> {
        self.call(kind, Method::GET, segments, params, Body::None)
            .await
            .map_err(place::not_sent)
    }
}

/// An address below `base`. Keys of a tenant may hold a `#`, which stands escaped in it.
fn path(base: &Url, segments: &[&str], params: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push("v1").extend(segments);
    }
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
        // A space as the vendor's own samples write it; a plus sign in a value is escaped already.
        let query = url.query().map(|query| query.replace('+', "%20"));
        url.set_query(query.as_deref());
    }
    url
}

/// Reads an answer. A refusal that came as a success is a fault.
///
/// # Errors
/// As the platform's: a body that ends early or a maintenance page is passing trouble, any other
/// text breaks the contract.
pub fn parse<'a, T: Deserialize<'a>>(kind: &str, answer: &'a Answer) -> Result<T, Fault> {
    answer
        .parse(kind)
        .map_err(|fault| faults::in_success(kind, &answer.body).unwrap_or(fault))
        .map_err(place::not_sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_within_their_part_of_the_address() {
        let base = Url::parse("https://online2.superoffice.com/Cust40001/api").unwrap();
        let url = path(
            &base,
            &["Person", "5120", "Consent", "#STORE"],
            &[("comment", "a&b=c d#e"), ("legalBase", "WITHDRAWN")],
        );
        assert_eq!(
            url.as_str(),
            "https://online2.superoffice.com/Cust40001/api/v1/Person/5120/Consent/%23STORE?comment=a%26b%3Dc%20d%23e&legalBase=WITHDRAWN"
        );
        let url = path(&base, &["Person", "../../x"], &[]);
        assert_eq!(url.path(), "/Cust40001/api/v1/Person/..%2F..%2Fx");
    }
}
