//! A simulated org with a connector to it.

use consentd::config::SystemKind;
use consentd::connector::http::Limits;
use consentd::connector::registry::connect;
use consentd::connector::salesforce::config::{Field, Grant, PlatformSettings, Settings};
use consentd::connector::{
    Background, Connector, Cursor, Fault, Outcome, Page, Target, WriteRequest,
};
use consentd::consent::{At, Polarity, PurposeId, Reading, Shown};
use consentd_sandbox::{Options, Org, Sandbox};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The opt-out flag.
pub(crate) const MARKETING: PurposeId = PurposeId(0);
/// A preference box.
pub(crate) const EVENTS: PurposeId = PurposeId(1);
/// A person who changes consent by hand.
pub(crate) const STAFF: &str = consentd_sandbox::SPECIALIST;

/// A Salesforce org with a connector.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) connector: Arc<dyn Connector>,
}

impl Bench {
    /// With so many generated contacts.
    pub(crate) async fn new(contacts: usize) -> Self {
        Self::with(contacts, |_| {}).await
    }

    /// With changed settings.
    pub(crate) async fn with(contacts: usize, change: impl FnOnce(&mut Settings)) -> Self {
        let sandbox = Sandbox::start(Options {
            contacts,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        let mut settings = settings(&sandbox, sandbox.salesforce());
        change(&mut settings);
        let connector = connect(&SystemKind::Salesforce(Box::new(settings))).unwrap();
        Self { sandbox, connector }
    }

    pub(crate) fn org(&self) -> &Org {
        self.sandbox.salesforce()
    }

    /// Creates a contact as a member of staff.
    pub(crate) fn create(&self, address: &str) -> String {
        self.create_with(&[("Email", address.into())])
    }

    pub(crate) fn create_with(&self, fields: &[(&str, Value)]) -> String {
        let mut all = self::fields(fields);
        all.entry("LastName").or_insert_with(|| "Doe".into());
        self.org().create("Contact", &all, STAFF, None).unwrap()
    }

    pub(crate) fn edit(&self, id: &str, changes: &[(&str, Value)]) {
        self.org().edit(id, &fields(changes), STAFF).unwrap();
    }

    pub(crate) fn opt_out(&self, id: &str, value: bool) {
        self.edit(id, &[("HasOptedOutOfEmail", value.into())]);
    }

    /// Lets time pass, so that what was done lies behind the next window's end.
    pub(crate) fn wait(&self, secs: i64) {
        self.sandbox.clock().advance(secs);
    }

    /// All pages from `cursor` until the feed is drained.
    pub(crate) async fn drain(&self, cursor: Option<Cursor>) -> Drained {
        drain(&*self.connector, cursor).await.unwrap()
    }
}

/// What a feed gave until it was drained.
pub(crate) struct Drained {
    pub(crate) pages: Vec<Page>,
    pub(crate) cursor: Cursor,
}

impl Drained {
    pub(crate) fn readings(&self) -> Vec<&Reading> {
        self.pages.iter().flat_map(|page| &page.readings).collect()
    }

    /// Every reading of a contact, oldest first.
    pub(crate) fn of(&self, id: &str) -> Vec<&Reading> {
        self.readings()
            .into_iter()
            .filter(|reading| reading.contact == id)
            .collect()
    }

    /// The last whole reading of a contact.
    pub(crate) fn last(&self, id: &str) -> Option<&Reading> {
        self.of(id).into_iter().rfind(|reading| reading.whole)
    }

    pub(crate) fn drained(&self) -> Option<At> {
        self.pages.last().and_then(|page| page.drained)
    }
}

/// Reads until nothing more is to be had at once.
pub(crate) async fn drain(
    connector: &dyn Connector,
    mut cursor: Option<Cursor>,
) -> Result<Drained, Fault> {
    let mut pages = Vec::new();
    for _ in 0..10_000 {
        let page = connector.read(cursor.as_ref()).await?;
        let more = page.more;
        cursor = Some(page.next.clone());
        pages.push(page);
        if !more {
            return Ok(Drained {
                pages,
                cursor: cursor.unwrap(),
            });
        }
    }
    panic!("the feed never ends");
}

/// The value of a purpose in a reading.
pub(crate) fn value(reading: &Reading, purpose: PurposeId) -> Option<&Shown> {
    reading
        .values
        .iter()
        .find(|(id, _)| *id == purpose)
        .map(|(_, value)| value)
}

pub(crate) fn fields(changes: &[(&str, Value)]) -> Map<String, Value> {
    changes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// A contact asked for by its id.
pub(crate) fn target(contact: &str) -> Target {
    Target {
        contact: contact.to_owned(),
        address: None,
    }
}

/// Contacts asked for by their ids.
pub(crate) fn targets(contacts: &[String]) -> Vec<Target> {
    contacts.iter().map(|contact| target(contact)).collect()
}

/// A request to set one purpose.
pub(crate) fn set(contact: &str, purpose: PurposeId, value: Shown) -> WriteRequest {
    WriteRequest {
        target: target(contact),
        changes: vec![(purpose, value)],
        said_at: At::from_micros(1_777_629_600_000_000),
        said_in: "ascend".to_owned(),
        background: Background::default(),
    }
}

/// The code of what became of a write, `applied` or `unknown:…`.
pub(crate) fn code(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied => "applied".to_owned(),
        Outcome::Unknown(fault) => format!("unknown:{}", fault.code),
        Outcome::HandedOver { batch, .. } => format!("handed-over:{batch}"),
        Outcome::Failed(fault) => fault.code.clone(),
    }
}

pub(crate) fn platform(sandbox: &Sandbox, org: &Org) -> PlatformSettings {
    let credentials = sandbox.credentials();
    let login_url = Url::parse(&org.url()).unwrap();
    PlatformSettings {
        limits: Limits {
            system: "salesforce".to_owned(),
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            max_body_bytes: 16 * 1024 * 1024,
            max_concurrent: 4,
            max_calls_per_sec: 1_000,
        },
        grant: Grant::JwtBearer {
            client_id: credentials.consumer_key.clone(),
            username: credentials.username.clone(),
            audience: "https://login.salesforce.com".to_owned(),
            private_key: credentials.private_key_pem.clone().into(),
        },
        login_url,
        allowed_hosts: Vec::new(),
        api_version: None,
        quota_reserve_percent: 80,
        page_rows: 2_000,
        overlap: Duration::from_mins(10),
        lag: Duration::from_secs(5),
        safety_net_interval: Duration::from_hours(24),
        bulk_query_above: 1_000_000,
        bulk_ingest_above: 10_000,
        bulk_deadline: Duration::from_mins(10),
    }
}

pub(crate) fn settings(sandbox: &Sandbox, org: &Org) -> Settings {
    Settings {
        platform: platform(sandbox, org),
        fields: vec![
            Field {
                purpose: MARKETING,
                name: "HasOptedOutOfEmail".to_owned(),
                polarity: Polarity::OptOut,
            },
            Field {
                purpose: EVENTS,
                name: "Email_Events__c".to_owned(),
                polarity: Polarity::Permission,
            },
        ],
        link_field: Some("Ascend_ID__c".to_owned()),
    }
}
