//! SOAP envelopes: reading those of version 1.1 and 1.2, and answering in 1.1 as the vendor does.

use axum::http::HeaderMap;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use quick_xml::escape::escape;

use super::xml::{self, Element, XSI};
use crate::rest::Reply;

const SOAP_11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SOAP_12: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
const SECURITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
/// Namespace of the token in the header.
const TOKEN: &str = "http://exacttarget.com";
/// Namespace of requests and answers.
pub(super) const PARTNER: &str = "http://exacttarget.com/wsdl/partnerAPI";
const XML: &str = "text/xml; charset=utf-8";
/// Minutes that an answer claims to be fresh.
const FRESH_MINUTES: i64 = 5;

/// A request out of its envelope.
pub(super) struct Request {
    /// The token, wherever it came from in the header.
    pub(super) token: Option<String>,
    /// What the headers of HTTP or of WS-Addressing say is to be done.
    pub(super) action: String,
    /// The one element in the body.
    pub(super) payload: Element,
}

/// The action that the headers of HTTP name: `SOAPAction`, or `action` of the content type in SOAP 1.2.
pub(super) fn action(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let quoted = |text: &str| text.trim().trim_matches('"').to_owned();
    let named = text("soapaction").map(quoted);
    let typed = || {
        let kind = text("content-type")?;
        let mut parts = kind.split(';').skip(1);
        parts.find_map(|part| Some(quoted(part.trim().strip_prefix("action=")?)))
    };
    named.filter(|action| !action.is_empty()).or_else(typed)
}

/// Reads a request; `None` when it is no envelope around one element.
pub(super) fn open(headers: &HeaderMap, body: &[u8]) -> Option<Request> {
    let mut root = xml::parse(body)?;
    let soap = [SOAP_11, SOAP_12]
        .into_iter()
        .find(|soap| root.is(soap, "Envelope"))?;
    let header = root.children.iter().find(|part| part.is(soap, "Header"));
    let in_header = |namespace: &str, name: &str| {
        let parts = header.map(|header| header.children.as_slice());
        let part = parts?.iter().find(|part| part.is(namespace, name))?;
        Some(part.text.trim().to_owned())
    };
    let token = in_header(TOKEN, "fueloauth");
    let addressed = in_header(ADDRESSING, "Action").or_else(|| {
        // The final namespace of the same standard.
        in_header("http://www.w3.org/2005/08/addressing", "Action")
    });
    let action = action(headers).or(addressed).unwrap_or_default();
    let body = root
        .children
        .iter_mut()
        .find(|part| part.is(soap, "Body"))?;
    if body.children.len() != 1 {
        return None;
    }
    let payload = body.children.pop()?;
    Some(Request {
        token,
        action,
        payload,
    })
}

/// An answer with this content, which stands in the namespace of the partner API.
pub(super) fn answer(action: &str, content: &str, ids: &Ids, now: DateTime<Utc>) -> Reply {
    let stamp = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (created, expires) = (stamp(now), stamp(now + TimeDelta::minutes(FRESH_MINUTES)));
    let Ids { message, relates } = ids;
    Reply::raw(
        200,
        XML,
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"{SOAP_11}\" \
             xmlns:xsi=\"{XSI}\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:wsa=\"{ADDRESSING}\" \
             xmlns:wsse=\"{SECURITY}\" xmlns:wsu=\"{UTILITY}\"><env:Header xmlns:env=\"{SOAP_11}\">\
             <wsa:Action>{action}</wsa:Action><wsa:MessageID>urn:uuid:{message}</wsa:MessageID>\
             <wsa:RelatesTo>urn:uuid:{relates}</wsa:RelatesTo><wsa:To>{ADDRESSING}/role/anonymous</wsa:To>\
             <wsse:Security><wsu:Timestamp wsu:Id=\"Timestamp-{message}\"><wsu:Created>{created}</wsu:Created>\
             <wsu:Expires>{expires}</wsu:Expires></wsu:Timestamp></wsse:Security></env:Header>\
             <soap:Body>{content}</soap:Body></soap:Envelope>"
        ),
    )
}

/// Numbers of a message and of what it answers.
pub(super) struct Ids {
    pub(super) message: String,
    pub(super) relates: String,
}

impl Ids {
    pub(super) fn new() -> Ids {
        Ids {
            message: guid(),
            relates: guid(),
        }
    }
}

/// A random number in the form of a GUID.
pub(super) fn guid() -> String {
    let number = rand::random::<u128>();
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    parts.join("-")
}

/// Says no with a SOAP fault.
#[derive(Clone, Debug)]
pub(super) enum SoapFault {
    /// `q0:Security`.
    Security(&'static str),
    /// `soap:Client` with a code in its words, and without a detail.
    Client(u32, String),
    /// `soap:Server` with `apifault` code and message.
    Server(u32, String),
}

impl From<SoapFault> for Reply {
    fn from(fault: SoapFault) -> Reply {
        let (code, text, detail) = match fault {
            SoapFault::Security(text) => (
                format!("<faultcode xmlns:q0=\"{SECURITY}\">q0:Security</faultcode>"),
                text.to_owned(),
                String::new(),
            ),
            SoapFault::Client(code, text) => (
                "<faultcode>soap:Client</faultcode>".to_owned(),
                format!("{text} Code: {code}"),
                String::new(),
            ),
            SoapFault::Server(code, text) => (
                "<faultcode>soap:Server</faultcode>".to_owned(),
                "System Exception".to_owned(),
                format!(
                    "<detail><apifault xmlns=\"{PARTNER}\"><Code>{code}</Code><Message>{}</Message></apifault>\
                     </detail>",
                    escape(text.as_str())
                ),
            ),
        };
        Reply::raw(
            500,
            XML,
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"{SOAP_11}\" \
                 xmlns:xsi=\"{XSI}\"><soap:Body><soap:Fault>{code}<faultstring>{}</faultstring>{detail}\
                 </soap:Fault></soap:Body></soap:Envelope>",
                escape(text.as_str())
            ),
        )
    }
}

/// `<name>text</name>`, escaped; nil when there is no text.
pub(super) fn tag(name: &str, text: Option<&str>) -> String {
    match text {
        Some(text) => format!("<{name}>{}</{name}>", escape(text)),
        None => format!("<{name} xsi:nil=\"true\" />"),
    }
}
