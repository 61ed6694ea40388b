//! The account's API: keys, calls, lists page by page.
//!
//! Nothing in here knows what a legal basis means. Answers are judged by what they hold, since no
//! schema is public; none of the types leaves the connector.

pub mod faults;
pub mod legacy;
pub mod list;
pub mod node;

use super::config::{Scheme, Settings};
use crate::connector::http::{Answer, Body, Call, Http, Method};
use crate::connector::salesforce::wire::time;
use crate::connector::{Fault, FaultClass};
use crate::consent::At;
use list::{Memory, Row, Rows};
use secrecy::SecretString;
use std::sync::{Arc, Mutex};
use url::Url;

/// A module of the API, each with a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// Consent records and master data.
    Consent,
    /// Contacts.
    Contact,
}

impl Module {
    /// The module's table in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Contact => "contact",
        }
    }
}

/// The three kinds of master data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalogue {
    /// What consent is for.
    Purposes,
    /// What it rests on.
    LegalBases,
    /// Where it came from.
    Sources,
}

/// A list that may come in pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The consent records of everybody.
    Consents,
    /// Those of one purpose, by its id, since a time.
    Filter {
        /// Id of the purpose.
        purpose: String,
        /// Earliest time.
        since: At,
    },
    /// All contacts.
    Contacts,
    /// Contacts modified since a time.
    Modified(At),
}

impl Listing {
    /// The kind under which its calls are counted.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Consents => "consents",
            Self::Filter { .. } => "consent-filter",
            Self::Contacts => "contacts",
            Self::Modified(_) => "contacts-modified",
        }
    }

    /// The module that has it.
    pub const fn module(&self) -> Module {
        match self {
            Self::Consents | Self::Filter { .. } => Module::Consent,
            Self::Contacts | Self::Modified(_) => Module::Contact,
        }
    }
}

/// Everything before which no contact was created.
const DAWN: &str = "1990-01-01T00:00:00Z";

/// A client for one account.
#[derive(Debug)]
pub struct Account {
    settings: Arc<Settings>,
    http: Http,
    /// What became known of how lists come.
    lists: Mutex<Memory>,
}

impl Account {
    /// A client; makes no call.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: Arc<Settings>) -> Result<Self, Fault> {
        Ok(Self {
            http: Http::new(settings.limits.clone())?,
            settings,
            lists: Mutex::default(),
        })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Calls made, by kind.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        self.http.calls()
    }

    /// Where a setting of this system stands in the configuration.
    pub fn key(&self, rest: &str) -> String {
        format!("systems.{}.{rest}", self.settings.limits.system)
    }

    /// All items of one kind of master data.
    ///
    /// # Errors
    /// When the call fails or the answer holds no list.
    pub async fn catalogue(&self, catalogue: Catalogue) -> Result<Rows, Fault> {
        let api = &self.settings.consent;
        let (kind, url) = match catalogue {
            Catalogue::Purposes => ("purposes", &api.purposes),
            Catalogue::LegalBases => ("legal-bases", &api.legal_bases),
            Catalogue::Sources => ("sources", &api.sources),
        };
        let answer = self.get(kind, Module::Consent, url, &[]).await?;
        list::rows(kind, &answer, &api.lists)
    }

    /// The newest record of each purpose of an address.
    ///
    /// # Errors
    /// When the call fails or the answer holds no list.
    pub async fn consents_of(&self, address: &str) -> Result<Rows, Fault> {
        let api = &self.settings.consent;
        let params = [(api.query.key.as_str(), address)];
        let answer = self
            .get("consent", Module::Consent, &api.list, &params)
            .await?;
        list::rows("consent", &answer, &api.lists)
    }

    /// All records of an address; none where the account has no such endpoint.
    ///
    /// # Errors
    /// When the call fails or the answer holds no list.
    pub async fn history_of(&self, address: &str) -> Result<Vec<Row>, Fault> {
        let api = &self.settings.consent;
        let Some(url) = &api.history else {
            return Ok(Vec::new());
        };
        let params = [(api.query.key.as_str(), address)];
        match self
            .get("consent-history", Module::Consent, url, &params)
            .await
        {
            Ok(answer) => Ok(list::rows("consent-history", &answer, &api.lists)?.rows),
            Err(fault) if faults::is_unsupported(&fault) => Ok(Vec::new()),
            Err(fault) => Err(fault),
        }
    }

    /// The contacts with an address, by the contact module or by API 1.0.
    ///
    /// # Errors
    /// When the call fails or the answer holds no list.
    pub async fn contacts_of(&self, address: &str) -> Result<Rows, Fault> {
        match &self.settings.legacy {
            Some(legacy) => legacy::contacts_of(&self.http, legacy, address).await,
            None => self.contacts_in_module(address).await,
        }
    }

    /// The contacts with an address, by the contact module.
    ///
    /// # Errors
    /// When the call fails or the answer holds no list.
    pub async fn contacts_in_module(&self, address: &str) -> Result<Rows, Fault> {
        let api = &self.settings.contact;
        let params = [(api.query.email.as_str(), address)];
        let answer = self
            .get("contact", Module::Contact, &api.list, &params)
            .await?;
        list::rows("contact", &answer, &api.lists)
    }

    /// One request for rows of a list, with these paging parameters.
    async fn ask(&self, listing: &Listing, paging: Option<(usize, usize)>) -> Result<Rows, Fault> {
        let (consent, contact) = (&self.settings.consent, &self.settings.contact);
        let (url, params) = match listing {
            Listing::Consents => (&consent.list, Vec::new()),
            Listing::Filter { purpose, since } => (
                &consent.filter,
                vec![
                    (&consent.query.purpose, purpose.clone()),
                    (&consent.query.since, time::literal(*since)),
                ],
            ),
            Listing::Contacts => (
                &contact.list,
                vec![(&contact.query.created_since, DAWN.to_owned())],
            ),
            Listing::Modified(since) => (
                &contact.list,
                vec![(&contact.query.modified_since, time::literal(*since))],
            ),
        };
        let (lists, limit_name, offset_name) = match listing.module() {
            Module::Consent => (&consent.lists, &consent.query.limit, &consent.query.offset),
            Module::Contact => (&contact.lists, &contact.query.limit, &contact.query.offset),
        };
        let mut params = params;
        if let Some((limit, offset)) = paging {
            params.push((limit_name, limit.to_string()));
            params.push((offset_name, offset.to_string()));
        }
        let params: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let answer = self
            .get(listing.kind(), listing.module(), url, &params)
            .await?;
        list::rows(listing.kind(), &answer, lists)
    }

    /// Writes one consent record.
    ///
    /// # Errors
    /// When the account refuses it, or no answer tells what became of it.
    pub async fn create(&self, record: &serde_json::Value) -> Result<Answer, Fault> {
        let body = serde_json::to_vec(record).map_err(|_| {
            Fault::new(
                FaultClass::Rejected,
                "request",
                "create: the record cannot be written",
            )
        })?;
        let url = &self.settings.consent.create;
        self.send(
            "consent-create",
            Module::Consent,
            Method::POST,
            url.clone(),
            Body::Json(body),
        )
        .await
    }

    async fn get(
        &self,
        kind: &'static str,
        module: Module,
        url: &Url,
        params: &[(&str, &str)],
    ) -> Result<Answer, Fault> {
        let mut url = url.clone();
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        self.send(kind, module, Method::GET, url, Body::None).await
    }

    async fn send(
        &self,
        kind: &'static str,
        module: Module,
        method: Method,
        url: Url,
        body: Body,
    ) -> Result<Answer, Fault> {
        let auth = &self.settings.auth;
        let key: &SecretString = match module {
            Module::Consent => &auth.consent,
            Module::Contact => &auth.contact,
        };
        let (bearer, secrets) = match auth.scheme {
            Scheme::ApiKey => (None, vec![("x-api-key", key)]),
            Scheme::Bearer => (Some(key), Vec::new()),
        };
        let call = Call {
            kind,
            method,
            url,
            headers: vec![("Accept", "application/json".to_owned())],
            bearer,
            secrets,
            body,
        };
        let answer = self.http.send(call).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let keys = format!("{} and {}", self.key("auth"), self.key(module.word()));
        Err(faults::of_answer(kind, &keys, &answer))
    }
}
