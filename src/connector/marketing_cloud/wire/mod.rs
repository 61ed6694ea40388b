//! The SOAP API of one account: tokens, envelopes, pages, results.
//!
//! Nothing in here knows of consent, and nothing of it leaves the connector. Requests are SOAP 1.1,
//! answers of 1.1 and 1.2 are read. Sources: SOAP reference (Retrieve, Update, RetrieveResponseMsg,
//! UpdateResponse), public clients.

pub mod auth;
pub mod faults;
pub mod time;
pub mod xml;

use super::config::Settings;
use crate::connector::http::{Answer, Body, Call, Http, Method};
use crate::connector::{Fault, FaultClass};
use auth::{Login, Session};
use secrecy::ExposeSecret as _;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xml::{Node, Unreadable, put};

/// Most pages of one retrieve; with the vendor's 2,500 rows a page more than any batch of keys has.
const MOST_PAGES: usize = 100;
/// Pages in a row that bring nothing new are followed so often.
const MOST_BARE_PAGES: usize = 3;

/// What is asked for by one retrieve.
#[derive(Debug, Clone, Copy)]
pub struct Retrieve<'a> {
    /// The kind under which it is counted.
    pub kind: &'static str,
    /// Type of the objects, e.g. `Subscriber`.
    pub object: &'static str,
    /// Their properties.
    pub properties: &'static [&'static str],
    /// Properties that are left out where the account does not show them.
    pub optional: &'static [&'static str],
    /// A property and the values of which it has to have one.
    pub filter: Option<(&'static str, &'a [&'a str])>,
    /// The unit to look into; all units of the enterprise when not given.
    pub unit: Option<&'a str>,
}

/// The result of one object of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectResult {
    /// The place of the object in the request, from 0.
    pub ordinal: Option<usize>,
    /// Whether the vendor says that it was done.
    pub ok: bool,
    /// Its error code.
    pub code: Option<String>,
    /// What it says about it.
    pub words: Option<String>,
    /// The subscriber key of the object it is about, if it tells.
    pub key: Option<String>,
}

/// The answer to an update.
#[derive(Debug)]
pub struct Updated {
    /// The results, in the order of the answer.
    pub results: Vec<ObjectResult>,
    /// What the whole says: `OK`, `Has Errors` or an error.
    pub overall: String,
}

/// A client for one account.
#[derive(Debug)]
pub struct Account {
    settings: Settings,
    http: Http,
    login: Login,
    /// Whether an answer for all units has held rows of the parent.
    parent_answered: AtomicBool,
    /// Properties that the account refused to show, by object.
    hidden: Mutex<BTreeSet<(&'static str, &'static str)>>,
}

impl Account {
    /// A client; makes no call.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        Ok(Self {
            http: Http::new(settings.limits.clone())?,
            login: Login::new(&settings),
            settings,
            parent_answered: AtomicBool::new(false),
            hidden: Mutex::default(),
        })
    }

    /// The settings it was made with.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Calls made, by kind.
    pub fn calls(&self) -> Vec<(&'static str, u64)> {
        self.http.calls()
    }

    /// Notes that an answer for all units held rows of the parent.
    pub fn answers_for_parent(&self) {
        self.parent_answered.store(true, Ordering::Relaxed);
    }

    /// Whether one ever did.
    pub fn is_answered_for_parent(&self) -> bool {
        self.parent_answered.load(Ordering::Relaxed)
    }

    /// The token of a unit, logging in if need be.
    pub async fn session(&self, unit: &str) -> Result<Arc<Session>, Fault> {
        self.login.session(unit, &self.settings, &self.http).await
    }

    /// What `each` makes of the objects of a retrieve, page by page, by the token of `by`.
    pub async fn retrieve<T>(
        &self,
        by: &str,
        asked: Retrieve<'_>,
        each: impl Fn(&Node) -> Result<Vec<T>, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let mut lost = false;
        // It ends, since no property is found hidden twice.
        loop {
            match self.pages(by, &asked, &each).await {
                Ok(found) => return Ok(found),
                Err(Stop::Hidden(property)) => {
                    self.hidden().insert((asked.object, property));
                }
                Err(Stop::Lost(_)) if !lost => lost = true,
                Err(Stop::Lost(fault) | Stop::Fault(fault)) => return Err(fault),
            }
        }
    }

    fn hidden(&self) -> MutexGuard<'_, BTreeSet<(&'static str, &'static str)>> {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The properties to ask for: what is hidden is left out.
    fn shown(&self, asked: &Retrieve<'_>) -> Vec<&'static str> {
        let hidden = self.hidden();
        let optional = asked
            .optional
            .iter()
            .filter(|property| !hidden.contains(&(asked.object, **property)));
        asked.properties.iter().chain(optional).copied().collect()
    }

    async fn pages<T>(
        &self,
        by: &str,
        asked: &Retrieve<'_>,
        each: &impl Fn(&Node) -> Result<Vec<T>, Fault>,
    ) -> Result<Vec<T>, Stop> {
        let kind = asked.kind;
        let properties = self.shown(asked);
        let broken = |code: &str, what: &str| {
            Fault::new(FaultClass::ContractBroken, code, format!("{kind}: {what}"))
        };
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next: Option<String> = None;
        let mut bare = 0;
        for _ in 0..MOST_PAGES {
            let body = retrieve_body(asked, &properties, next.as_deref());
            let answer = self.soap(kind, "Retrieve", by, &body).await;
            // A retrieve changes nothing: a lost one may simply be repeated.
            let answer = answer.map_err(|mut fault| {
                fault.maybe_sent = false;
                fault
            })?;
            let mut node = response(kind, answer, "RetrieveResponseMsg")?;
            let overall = node.value("OverallStatus").unwrap_or_default().to_owned();
            let more = match overall.as_str() {
                "OK" => false,
                "MoreDataAvailable" => true,
                other => return Err(refused(asked, &properties, next.is_some(), other)),
            };
            let id = node.value("RequestID").map(str::to_owned);
            let before = seen.len();
            let rows = node.take_all("Results");
            for row in &rows {
                seen.insert(row.digest());
                found.extend(each(row)?);
            }
            if !more {
                return Ok(found);
            }
            // Only what the pages hold tells whether they lead on: their ids may stay the same.
            bare = if seen.len() == before { bare + 1 } else { 0 };
            if bare >= MOST_BARE_PAGES {
                return Err(broken("loop", "further pages bring nothing new").into());
            }
            next = Some(id.ok_or_else(|| {
                broken(
                    "no-request-id",
                    "there is more, but no RequestID to ask for it",
                )
            })?);
        }
        Err(broken("too-many-pages", "the answer has too many pages").into())
    }

    /// Sets subscribers active in a unit, by the token of `by`. One object per key, in their order.
    pub async fn activate(
        &self,
        kind: &'static str,
        by: &str,
        unit: &str,
        keys: &[&str],
    ) -> Result<Updated, Fault> {
        let answer = self
            .soap(kind, "Update", by, &activate_body(unit, keys))
            .await?;
        let node = response(kind, answer, "UpdateResponse").map_err(Fault::maybe_sent)?;
        Ok(Updated {
            results: node.all("Results").map(ObjectResult::read).collect(),
            overall: node.value("OverallStatus").unwrap_or_default().to_owned(),
        })
    }

    /// One SOAP call; the element below the answer's body. A token that has ended is renewed once.
    async fn soap(
        &self,
        kind: &'static str,
        action: &str,
        by: &str,
        body: &str,
    ) -> Result<Node, Fault> {
        let mut session = self.session(by).await?;
        let mut again = true;
        loop {
            let call = Call {
                kind,
                method: Method::POST,
                url: session.service.clone(),
                headers: vec![
                    ("Accept", "text/xml".to_owned()),
                    ("SOAPAction", action.to_owned()),
                ],
                bearer: None,
                secrets: Vec::new(),
                body: Body::Xml(envelope(session.token.expose_secret(), body).into()),
            };
            let answer = self.http.send(call).await?;
            let fault = match read(kind, &answer) {
                Ok(node) => return Ok(node),
                Err(fault) => fault,
            };
            if fault.code == faults::EXPIRED && again {
                again = false;
                session = self
                    .login
                    .renew(&session, by, &self.settings, &self.http)
                    .await?;
                continue;
            }
            if fault.class == FaultClass::Auth {
                // What was refused is not tried again by the next call.
                self.login.forget(&session, by).await;
            }
            return Err(fault);
        }
    }
}

/// Why a retrieve did not come to its end.
enum Stop {
    /// The account does not show that property.
    Hidden(&'static str),
    /// The rest of the pages is not kept any more; the retrieve can begin anew.
    Lost(Fault),
    /// Anything else.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What an overall status means that is no success.
fn refused(asked: &Retrieve<'_>, properties: &[&str], continued: bool, overall: &str) -> Stop {
    let hidden = asked
        .optional
        .iter()
        .find(|property| properties.contains(property) && overall.contains(**property));
    if let Some(property) = hidden {
        return Stop::Hidden(property);
    }
    let mut fault = faults::of_overall(asked.kind, overall);
    fault.maybe_sent = false;
    // The first page was taken, so it is not the request that is wrong.
    if continued && fault.class == FaultClass::Rejected {
        fault.class = FaultClass::Retryable;
        return Stop::Lost(fault);
    }
    Stop::Fault(fault)
}

/// The envelope of a request.
fn envelope(token: &str, body: &str) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope xmlns:s=\"{}\" xmlns:xsi=\"{}\"><s:Header>\
         <fueloauth xmlns=\"http://exacttarget.com\">",
        xml::ENVELOPES[0],
        xml::INSTANCE
    );
    text.push_str(&quick_xml::escape::escape(token));
    text.push_str("</fueloauth></s:Header><s:Body>");
    text.push_str(body);
    text.push_str("</s:Body></s:Envelope>");
    text
}

/// A retrieve. The order of the elements is that of the vendor's schema.
fn retrieve_body(asked: &Retrieve<'_>, properties: &[&str], next: Option<&str>) -> String {
    let mut text = format!(
        "<RetrieveRequestMsg xmlns=\"{}\"><RetrieveRequest>",
        xml::PARTNER
    );
    if let Some(unit) = asked.unit {
        text.push_str("<ClientIDs>");
        put(&mut text, "ID", unit);
        text.push_str("</ClientIDs>");
    }
    put(&mut text, "ObjectType", asked.object);
    for property in properties {
        put(&mut text, "Properties", property);
    }
    if let Some((property, values)) = asked.filter {
        // A list of one is not taken as a list.
        let operator = if values.len() == 1 { "equals" } else { "IN" };
        text.push_str("<Filter xsi:type=\"SimpleFilterPart\">");
        put(&mut text, "Property", property);
        put(&mut text, "SimpleOperator", operator);
        for value in values {
            put(&mut text, "Value", value);
        }
        text.push_str("</Filter>");
    }
    if let Some(next) = next {
        put(&mut text, "ContinueRequest", next);
    }
    if asked.unit.is_none() {
        put(&mut text, "QueryAllAccounts", "true");
    }
    text.push_str("</RetrieveRequest></RetrieveRequestMsg>");
    text
}

/// An update that sets subscribers active, and creates none.
fn activate_body(unit: &str, keys: &[&str]) -> String {
    let mut text = format!(
        "<UpdateRequest xmlns=\"{}\"><Options><SaveOptions><SaveOption><PropertyName>*</PropertyName>\
         <SaveAction>UpdateOnly</SaveAction></SaveOption></SaveOptions></Options>",
        xml::PARTNER
    );
    for key in keys {
        text.push_str("<Objects xsi:type=\"Subscriber\"><Client>");
        put(&mut text, "ID", unit);
        text.push_str("</Client>");
        put(&mut text, "SubscriberKey", key);
        put(&mut text, "Status", "Active");
        text.push_str("</Objects>");
    }
    text.push_str("</UpdateRequest>");
    text
}

/// The element below the body of an answer, whatever its status.
fn read(kind: &str, answer: &Answer) -> Result<Node, Fault> {
    let success = (200..300).contains(&answer.status);
    let root = match xml::read(&answer.body) {
        Ok(root) => root,
        Err(_) if !success => return Err(faults::of_status(kind, answer)),
        Err(Unreadable::WebPage) => return Err(answer.web_page(kind).maybe_sent()),
        Err(Unreadable::Truncated) => {
            let words = format!("{kind}: the answer ends early");
            return Err(Fault::new(FaultClass::Retryable, "truncated", words).maybe_sent());
        }
        Err(Unreadable::Shape(why)) => return Err(shape(kind, why)),
    };
    let body = root
        .is_envelope("Envelope")
        .then_some(root)
        .and_then(|mut root| root.take_envelope("Body"))
        .and_then(Node::take_first);
    match body {
        Some(node) if node.is_envelope("Fault") => Err(faults::of_soap(kind, &node, answer)),
        Some(node) if success => Ok(node),
        None if success => Err(shape(kind, "it is no SOAP envelope with a body")),
        _ => Err(faults::of_status(kind, answer)),
    }
}

fn shape(kind: &str, why: &str) -> Fault {
    Fault::new(
        FaultClass::ContractBroken,
        "shape",
        format!("{kind}: the answer cannot be read: {why}"),
    )
    .maybe_sent()
}

/// The answer, if it is of that name.
fn response(kind: &str, node: Node, name: &str) -> Result<Node, Fault> {
    if node.is_partner(name) {
        return Ok(node);
    }
    Err(Fault::new(
        FaultClass::ContractBroken,
        "shape",
        format!("{kind}: the answer is no {name}"),
    ))
}

impl ObjectResult {
    fn read(node: &Node) -> Self {
        let text = |name: &str| node.value(name).map(str::to_owned);
        Self {
            ordinal: node.value("OrdinalID").and_then(|text| text.parse().ok()),
            ok: node
                .value("StatusCode")
                .is_some_and(|code| code.eq_ignore_ascii_case("ok")),
            // An error without a code tells 0.
            code: text("ErrorCode").filter(|code| code != "0"),
            words: text("StatusMessage"),
            key: node
                .one("Object")
                .and_then(|object| object.value("SubscriberKey"))
                .map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use reqwest::header::HeaderMap;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            asked_at: None,
        }
    }

    fn wrapped(body: &str) -> String {
        format!(
            "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Header/>\
             <soap:Body>{body}</soap:Body></soap:Envelope>"
        )
    }

    #[test]
    fn c129_a_key_cannot_leave_its_element() {
        let keys = ["a</Value><Value>b", "\"&'"];
        let asked = Retrieve {
            kind: "subscribers",
            object: "Subscriber",
            properties: &["SubscriberKey"],
            optional: &[],
            filter: Some(("SubscriberKey", &keys)),
            unit: None,
        };
        let text = envelope(
            "to<ken",
            &retrieve_body(&asked, asked.properties, Some("<id>")),
        );
        let root = xml::read(text.as_bytes()).unwrap();
        let request = root.envelope("Body").unwrap().first().unwrap();
        let request = request.one("RetrieveRequest").unwrap();
        let filter = request.one("Filter").unwrap();
        let values: Vec<_> = filter.all("Value").filter_map(Node::text).collect();
        assert_eq!(values, keys);
        assert_eq!(request.value("ContinueRequest"), Some("<id>"));
        assert_eq!(request.value("QueryAllAccounts"), Some("true"));
        let text = envelope(
            "t",
            &activate_body("7", &["a</SubscriberKey><Status>Unsubscribed</Status>"]),
        );
        let root = xml::read(text.as_bytes()).unwrap();
        let request = root.envelope("Body").unwrap().first().unwrap();
        let object = request.one("Objects").unwrap();
        assert_eq!(object.all("Status").count(), 1);
        assert_eq!(object.one("Client").unwrap().value("ID"), Some("7"));
    }

    #[test]
    fn c130_what_is_no_answer_has_its_class() {
        use FaultClass::{Auth, ContractBroken, RateLimited, Rejected, Retryable};
        let whole =
            wrapped("<RetrieveResponseMsg xmlns=\"http://exacttarget.com/wsdl/partnerAPI\"/>");
        let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
        let maintenance = "<html><body>Down for maintenance</body></html>";
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\">]><a>&b;</a>";
        for (sentence, status, body, class, code) in [
            ("a login page", 200, page, ContractBroken, "html"),
            (
                "a maintenance page",
                200,
                maintenance,
                Retryable,
                "maintenance",
            ),
            ("down, with a page", 503, maintenance, Retryable, "http-503"),
            (
                "a cut answer",
                200,
                &whole[..whole.len() - 9],
                Retryable,
                "truncated",
            ),
            ("nothing", 200, "", Retryable, "truncated"),
            ("JSON", 200, "{}", ContractBroken, "shape"),
            ("a bomb", 200, bomb, ContractBroken, "shape"),
            ("no envelope", 200, "<a/>", ContractBroken, "shape"),
            ("an empty body", 200, &wrapped(""), ContractBroken, "shape"),
            (
                "a whole answer that says 500",
                500,
                &whole,
                Retryable,
                "http-500",
            ),
            ("unauthorised", 401, "", Auth, "http-401"),
            ("forbidden", 403, page, Auth, "http-403"),
            ("throttled", 429, "", RateLimited, "http-429"),
            ("not found", 404, page, Rejected, "http-404"),
            ("odd", 304, "", ContractBroken, "http-304"),
        ] {
            let fault = read("subscribers", &answer(status, body)).unwrap_err();
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (class, code),
                "{sentence}"
            );
        }
        assert!(read("subscribers", &answer(200, &whole)).is_ok());
    }
}
