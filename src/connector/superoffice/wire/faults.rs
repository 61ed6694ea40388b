//! What each refusal means.
//!
//! The vendor publishes a body for refusals and a few names of exceptions, but neither a list nor
//! which status belongs to which (REST and agent guides, class reference). So the name decides where
//! it is known, and the status where it is not.

use crate::connector::http::Answer;
use crate::connector::salesforce::wire::faults::clean;
use crate::connector::{Fault, FaultClass};
use serde::Deserialize;
use std::borrow::Cow;

/// The code of a fault by which the vendor says that something is not there.
pub const NOT_FOUND: &str = "SoNotFoundException";
/// The code of a call that went to a host that the tenant has left.
pub const MISDIRECTED: &str = "http-421";
/// The code of a session that is refused.
pub const UNAUTHORISED: &str = "http-401";
/// Our word for a person who is not there any more.
pub const GONE: &str = "gone";
/// An exception inside the server that it does not name.
pub const SERVER_ERROR: &str = "server-error";
/// A refusal inside an answer that says 200.
pub const MODEL: &str = "model";

const RIGHTS: &str =
    "give the user the functional right \"can-manage-person-consent\" and access to all persons";

/// A refusal of the web API, or of the framework below it.
#[derive(Debug, Default, Deserialize)]
struct Refusal<'a> {
    #[serde(rename = "ErrorType", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(rename = "ErrorMessage", borrow, default)]
    words: Option<Cow<'a, str>>,
    #[serde(rename = "Message", borrow, default)]
    message: Option<Cow<'a, str>>,
}

impl Refusal<'_> {
    fn read(body: &[u8]) -> Refusal<'_> {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn words(&self) -> Cow<'static, str> {
        let words = self.words.as_deref().or(self.message.as_deref());
        clean(words.unwrap_or_default())
    }
}

/// The class of a known exception.
fn class_of_kind(kind: &str) -> Option<FaultClass> {
    Some(match kind {
        "SoNotFoundException"
        | "SoConsentException"
        | "SoMassOperationException"
        | "SoArgumentException"
        | "ArgumentException"
        | "ArgumentNullException"
        | "ArgumentOutOfRangeException"
        | "FormatException"
        | "NotImplementedException"
        | "NotSupportedException" => FaultClass::Rejected,
        "SoSentryException" | "SoSecurityException" | "UnauthorizedAccessException" => {
            FaultClass::Auth
        }
        "SoDbAccessException" | "SqlException" | "TimeoutException" => FaultClass::Retryable,
        _ => return None,
    })
}

const fn class_of_status(status: u16) -> FaultClass {
    match status {
        401 | 403 => FaultClass::Auth,
        429 => FaultClass::RateLimited,
        408 | 409 | 412 | 421 | 500..=599 => FaultClass::Retryable,
        400..=499 => FaultClass::Rejected,
        _ => FaultClass::ContractBroken,
    }
}

/// A refused call as a fault.
pub fn of_answer(kind: &str, answer: &Answer) -> Fault {
    let refusal = Refusal::read(&answer.body);
    let status = answer.status;
    let (class, code, words) = match (&refusal.kind, status) {
        (None, 500) if refusal.message.is_some() => (
            FaultClass::Retryable,
            SERVER_ERROR.to_owned(),
            refusal.words(),
        ),
        // These say all by themselves, whatever stands in the body.
        (_, 401 | 421 | 429 | 503 | 504) | (None, _) => {
            let words = match status {
                421 => Cow::Borrowed("the tenant is on another host"),
                _ => refusal.words(),
            };
            (class_of_status(status), format!("http-{status}"), words)
        }
        (Some(name), _) => {
            let class = class_of_kind(name).unwrap_or(class_of_status(status));
            (class, clean(name).into_owned(), refusal.words())
        }
    };
    let advice = match class {
        FaultClass::Auth if status != 401 => RIGHTS,
        _ => "",
    };
    let mut message = format!("{kind}: {code} ({status}): {words}");
    if !advice.is_empty() {
        message.push_str("; ");
        message.push_str(advice);
    }
    let fault = Fault::new(class, code, message).after(answer.retry_after());
    // Trouble inside the server may have struck after the work was done.
    if status >= 500 && class == FaultClass::Retryable {
        fault.maybe_sent()
    } else {
        fault
    }
}

/// The refusal that an answer of 200 may hold instead of what was asked for.
pub fn in_success(kind: &str, body: &[u8]) -> Option<Fault> {
    let refusal = Refusal::read(body);
    let said = refusal.kind.is_some() || refusal.message.is_some();
    said.then(|| {
        let words = refusal.words();
        let (class, code) = match refusal.kind.as_deref() {
            Some(name) => (
                class_of_kind(name).unwrap_or(FaultClass::Rejected),
                clean(name).into_owned(),
            ),
            None => (FaultClass::Rejected, MODEL.to_owned()),
        };
        let message = format!("{kind}: {code} (200): {words}");
        Fault::new(class, code, message)
    })
}

/// Whether the server says that it does not offer what was asked for, rather than that it is in
/// trouble or that we are not logged in.
pub fn is_refusal(fault: &Fault) -> bool {
    match fault.class {
        FaultClass::Rejected => true,
        FaultClass::Auth => fault.code != UNAUTHORISED && fault.code != "bad-token",
        // An exception that nobody has told of.
        FaultClass::Retryable => {
            fault.code.ends_with("Exception") && class_of_kind(&fault.code).is_none()
        }
        FaultClass::RateLimited | FaultClass::ContractBroken => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use reqwest::header::HeaderMap;

    fn answer(status: u16, body: &str, retry_after: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert("retry-after", value.parse().unwrap());
        }
        Answer {
            status,
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            asked_at: None,
        }
    }

    fn body(kind: &str) -> String {
        format!(
            r#"{{"Error":true,"ErrorType":"{kind}","ErrorMessage":"Person id 9 not found for ann@example.org","ErrorSource":"SuperOffice.Services.Implementation"}}"#
        )
    }

    #[test]
    fn every_refusal_has_its_class() {
        use FaultClass::{Auth, RateLimited, Rejected, Retryable};
        let html = "<html><body>Service unavailable</body></html>".to_owned();
        for (sentence, status, body, class, code) in [
            (
                "not there",
                404,
                body("SoNotFoundException"),
                Rejected,
                "SoNotFoundException",
            ),
            (
                "not there, as a server error",
                500,
                body("SoNotFoundException"),
                Rejected,
                "SoNotFoundException",
            ),
            (
                "no right",
                400,
                body("SoSentryException"),
                Auth,
                "SoSentryException",
            ),
            ("no right by status", 403, String::new(), Auth, "http-403"),
            (
                "an unknown key",
                400,
                body("SoConsentException"),
                Rejected,
                "SoConsentException",
            ),
            (
                "a locked database",
                400,
                body("SoDbAccessException"),
                Retryable,
                "SoDbAccessException",
            ),
            (
                "an exception nobody told of",
                500,
                body("SoNewException"),
                Retryable,
                "SoNewException",
            ),
            (
                "the same as a refusal",
                400,
                body("SoNewException"),
                Rejected,
                "SoNewException",
            ),
            (
                "not logged in",
                401,
                body("SoSessionException"),
                Auth,
                "http-401",
            ),
            (
                "another host",
                421,
                "wrong subdomain used".to_owned(),
                Retryable,
                "http-421",
            ),
            ("too fast", 429, String::new(), RateLimited, "http-429"),
            ("maintenance", 503, html.clone(), Retryable, "http-503"),
            ("a gateway", 504, html, Retryable, "http-504"),
            (
                "the framework",
                400,
                r#"{"Message":"The request is invalid."}"#.to_owned(),
                Rejected,
                "http-400",
            ),
            (
                "changed meanwhile",
                412,
                String::new(),
                Retryable,
                "http-412",
            ),
            ("not a way", 405, String::new(), Rejected, "http-405"),
        ] {
            let fault = of_answer("consent", &answer(status, &body, None));
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (class, code),
                "{sentence}"
            );
            assert!(
                !fault.message.contains('@'),
                "{sentence}: {}",
                fault.message
            );
            assert_eq!(
                fault.maybe_sent,
                status >= 500 && class == Retryable,
                "{sentence}"
            );
        }
    }

    #[test]
    fn the_pause_that_is_asked_for_is_passed_on() {
        for status in [429, 503, 504] {
            let fault = of_answer("consent", &answer(status, "", Some(" 30 ")));
            assert_eq!(fault.retry_after.map(|pause| pause.as_secs()), Some(30));
            assert_eq!(
                of_answer("consent", &answer(status, "", None)).retry_after,
                None
            );
        }
    }

    #[test]
    fn a_refusal_inside_a_success_is_found() {
        let fault = in_success("list", br#"{"Message":"No action","MessageDetail":"x"}"#).unwrap();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Rejected, MODEL)
        );
        let fault = in_success("list", body("SoSentryException").as_bytes()).unwrap();
        assert_eq!(fault.class, FaultClass::Auth);
        for body in [&b"[]"[..], b"null", b"{\"value\":[]}", b"<html>"] {
            assert_eq!(in_success("list", body), None);
        }
    }

    #[test]
    fn trouble_is_told_from_a_way_that_is_not_offered() {
        for (status, kind, refused) in [
            (400, "SoNewException", true),
            (500, "SoNewException", true),
            (403, "", true),
            (405, "", true),
            (401, "", false),
            (500, "SoDbAccessException", false),
            (500, "", false),
            (503, "", false),
            (429, "", false),
        ] {
            let text = if kind.is_empty() {
                String::new()
            } else {
                body(kind)
            };
            let fault = of_answer("archive", &answer(status, &text, None));
            assert_eq!(is_refusal(&fault), refused, "{status} {kind}");
        }
    }
}
