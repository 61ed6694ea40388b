//! A plain client, for tests only.

use consentd_sandbox::{Options, Org, Sandbox};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};

pub(crate) const DATA: &str = "/services/data/v66.0";

pub(crate) async fn sandbox(contacts: usize) -> Sandbox {
    Sandbox::start(Options {
        contacts,
        seed: 7,
        port_base: None,
    })
    .await
    .expect("the sandbox starts")
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) token: String,
}

impl Client {
    /// Logs in to an org with client credentials.
    pub(crate) async fn login(sandbox: &Sandbox, org: &Org) -> Client {
        let credentials = sandbox.credentials();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", credentials.consumer_key.as_str()),
            ("client_secret", credentials.consumer_secret.as_str()),
        ];
        let http = http();
        let url = format!("{}/services/oauth2/token", org.url());
        let body: Value = http
            .post(url)
            .form(&form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let token = body["access_token"].as_str().expect("a token").to_owned();
        Client {
            http,
            base: org.url(),
            token,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("/services") {
            format!("{}{path}", self.base)
        } else {
            format!("{}{DATA}{path}", self.base)
        };
        self.http.request(method, url).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        read(self.request(method, path).json(&body).send().await.unwrap()).await
    }

    pub(crate) async fn query(&self, soql: &str) -> Value {
        let (status, body) = read(self.soql("query", soql).send().await.unwrap()).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) fn soql(&self, resource: &str, soql: &str) -> RequestBuilder {
        self.request(Method::GET, &format!("/{resource}"))
            .query(&[("q", soql)])
    }
}

/// Status and JSON body; null when there is none.
pub(crate) async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub(crate) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

/// A JWT bearer assertion with these claims over the usual ones.
pub(crate) fn assertion(sandbox: &Sandbox, org: &Org, claims: Value) -> String {
    let credentials = sandbox.credentials();
    let mut all = fields(json!({
        "iss": credentials.consumer_key,
        "sub": credentials.username,
        "aud": org.url(),
        "exp": org.now().timestamp() + 180,
    }));
    all.extend(fields(claims));
    let key = EncodingKey::from_rsa_pem(credentials.private_key_pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &all, &key).unwrap()
}
