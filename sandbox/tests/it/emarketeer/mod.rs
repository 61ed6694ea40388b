//! The simulated eMarketeer account over real sockets.

mod acts;
mod consents;
mod contacts;
mod control;
mod legacy;
mod population;
mod sendouts;
mod settings;
mod transport;

use std::collections::HashMap;

use consentd_sandbox::Sandbox;
use consentd_sandbox::emarketeer::Account;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::client::{http, read, sandbox};

/// A client that knows the vendor's paths and has learnt the tenant's master data.
pub(crate) struct Em {
    pub(crate) sandbox: Sandbox,
    http: reqwest::Client,
    key: String,
    purposes: HashMap<String, Value>,
    bases: HashMap<String, Value>,
    sources: HashMap<String, Value>,
}

pub(crate) const CONSENTS: &str = "/consent-public/v1/consents";
pub(crate) const STORE: &str = "Store and process";
pub(crate) const MARKETING: &str = "Marketing sendouts";

impl Em {
    /// A client of a new account with so many people.
    pub(crate) async fn start(contacts: usize) -> Em {
        let sandbox = sandbox(contacts).await;
        let mut client = Em {
            http: http(),
            key: sandbox.credentials().emarketeer.default.clone(),
            sandbox,
            purposes: HashMap::new(),
            bases: HashMap::new(),
            sources: HashMap::new(),
        };
        client.purposes = client.names("purposes").await;
        client.bases = client.names("legalBases").await;
        client.sources = client.names("sources").await;
        client.account().reset_calls();
        client
    }

    async fn names(&self, list: &str) -> HashMap<String, Value> {
        let items = self.ok(&format!("/consent-public/v1/{list}")).await;
        let pairs = items.as_array().unwrap().iter().map(|item| {
            let name = item["name"].as_str().unwrap().to_owned();
            (name, item["id"].clone())
        });
        pairs.collect()
    }

    pub(crate) fn account(&self) -> &Account {
        self.sandbox.emarketeer()
    }

    /// A request without a key.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.account().url()))
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("x-api-key", &self.key)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn ok(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        read(
            self.request(Method::POST, path)
                .json(&body)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub(crate) fn purpose(&self, name: &str) -> Value {
        self.purposes[name].clone()
    }

    pub(crate) fn basis(&self, name: &str) -> Value {
        self.bases[name].clone()
    }

    /// A record in the default spelling.
    pub(crate) fn record(&self, key: &str, purpose: &str, basis: &str) -> Value {
        json!({
            "key": key,
            "purposeId": self.purposes[purpose],
            "legalBasisId": self.bases[basis],
            "sourceId": self.sources["Integration"],
            "text": "from elsewhere",
        })
    }

    pub(crate) async fn create(&self, record: Value) -> (StatusCode, Value) {
        self.post(CONSENTS, record).await
    }

    /// Name of the current marketing basis of an address, as the API tells it.
    pub(crate) async fn marketing(&self, key: &str) -> Option<String> {
        let rows = self.ok(&format!("{CONSENTS}?key={key}")).await;
        let rows = rows.as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["purposeId"] == self.purposes[MARKETING])?;
        let mut bases = self.bases.iter();
        bases
            .find(|(_, id)| **id == row["legalBasisId"])
            .map(|(name, _)| name.clone())
    }
}
