//! What each refusal means.
//!
//! Marketing Cloud refuses in four places: the token endpoint answers with an OAuth error, SOAP with a
//! fault, a retrieve with a status text that begins with "Error", and an update with a code for each
//! object. Sources: error reference (SOAP faults, general errors 0 to 99, subscriber object 12000 to
//! 12099, subscription validation 400 to 499, rate limiting).

use super::xml::Node;
use crate::connector::http::Answer;
use crate::connector::salesforce::wire::faults::clean;
use crate::connector::{Fault, FaultClass};
use serde::Deserialize;
use std::borrow::Cow;

/// The words of a token that has ended; exactly these ask for a new one.
const EXPIRED_WORDS: &str = "Token Expired";
/// Our code for that.
pub const EXPIRED: &str = "token-expired";
/// A write that was accepted and does not show.
pub const NO_EFFECT: &str = "no-effect";
/// Our code for a subscriber key that no subscriber can have.
pub const BAD_KEY: &str = "bad-key";

const RIGHTS: &str = "give the installed package the permissions list_and_subscribers_read, \
                      list_and_subscribers_write and accounts_read in every business unit";
const SECRET: &str = "check client_id, client_secret and account, and that the installed package may \
                      use the business unit";

/// A word that a listed code stands for, and its class.
struct Meaning {
    class: FaultClass,
    word: &'static str,
}

/// The codes of the reference. A code that is not listed has no meaning here; its range has.
fn listed(code: u32) -> Option<Meaning> {
    use FaultClass::{Auth, Rejected, Retryable};
    let (class, word) = match code {
        1 => (Rejected, "the name exists already"),
        2 => (Retryable, "an unexpected error of the system"),
        3 => (Rejected, "the object cannot be updated as it is"),
        4 => (Auth, "no access to that account"),
        5 => (Rejected, "the method is not allowed on the object"),
        6 => (Rejected, "an object is missing in the request"),
        8 => (Rejected, "the object is not supported"),
        9 => (Retryable, "the account is in maintenance"),
        11 => (Auth, "not authorised"),
        400 => (Rejected, "the subscriber was not sent that job"),
        401 => (Rejected, "the subscriber has unsubscribed already"),
        402 => (Rejected, "no parameters"),
        403 => (Rejected, "no subscriber is identified"),
        404 => (Rejected, "a subscriber key is required"),
        405..=407 => (Rejected, "the identifiers do not belong together"),
        408 => (Rejected, "no subscriber"),
        409 => (Rejected, "no list"),
        12_000 => (Rejected, "the subscriber's address is not valid"),
        12_001 => (Rejected, "there is no such subscriber"),
        12_002 => (Rejected, "the spam filter refuses the subscriber"),
        12_003 => (Rejected, "the address is on the global unsubscribe list"),
        12_004 => (Rejected, "a value of the subscriber's profile is not valid"),
        12_005 => (Rejected, "the business unit is not valid"),
        12_006 => (Rejected, "a value of the subscriber's profile is missing"),
        12_007 => (Rejected, "another subscriber has the address"),
        12_014 => (Rejected, "the subscriber is on the list already"),
        _ => return None,
    };
    Some(Meaning { class, word })
}

/// The class of a code that the reference does not list: general ones may pass, those of objects do not.
const fn class_of_range(code: u32) -> FaultClass {
    match code {
        0..=99 => FaultClass::Retryable,
        _ => FaultClass::Rejected,
    }
}

/// The class of a code with its words. Those who are throttled, or lack a right, may get the code of an
/// unexpected error, and only its words say so.
fn class_of_code(code: u32, words: &str) -> FaultClass {
    let spoken = class_of_words(words);
    match listed(code) {
        Some(Meaning {
            class: FaultClass::Retryable,
            ..
        }) => match spoken {
            Some(class @ (FaultClass::RateLimited | FaultClass::Auth)) => class,
            _ => FaultClass::Retryable,
        },
        Some(meaning) => meaning.class,
        None => spoken.unwrap_or(class_of_range(code)),
    }
}

/// The class that words tell where no code is given.
fn class_of_words(words: &str) -> Option<FaultClass> {
    let words = words.to_ascii_lowercase();
    let says = |all: &[&str]| all.iter().any(|word| words.contains(word));
    if says(&["rate limit", "throttl", "too many", "concurren"]) {
        return Some(FaultClass::RateLimited);
    }
    if says(&[
        "permission",
        "authoriz",
        "authoris",
        "login failed",
        "access denied",
        "not have access",
        "no access",
        "not enabled",
    ]) {
        return Some(FaultClass::Auth);
    }
    if says(&[
        "timeout",
        "timed out",
        "deadlock",
        "outage",
        "unavailable",
        "maintenance",
        "try again",
        "unexpected",
    ]) {
        return Some(FaultClass::Retryable);
    }
    None
}

const fn class_of_status(status: u16) -> FaultClass {
    match status {
        401 | 403 => FaultClass::Auth,
        429 => FaultClass::RateLimited,
        408 | 500..=599 => FaultClass::Retryable,
        400..=499 => FaultClass::Rejected,
        _ => FaultClass::ContractBroken,
    }
}

fn advised(class: FaultClass, mut message: String, advice: &str) -> String {
    if class == FaultClass::Auth {
        message.push_str("; ");
        message.push_str(advice);
    }
    message
}

/// An answer that is no SOAP, by its status.
pub fn of_status(kind: &str, answer: &Answer) -> Fault {
    let status = answer.status;
    let class = class_of_status(status);
    let message = format!("{kind}: http-{status}: no SOAP answer");
    let fault = Fault::new(
        class,
        format!("http-{status}"),
        advised(class, message, RIGHTS),
    )
    .after(answer.retry_after());
    // Trouble inside the server may have struck after the work was done.
    match class {
        FaultClass::Retryable | FaultClass::ContractBroken => fault.maybe_sent(),
        FaultClass::RateLimited | FaultClass::Auth | FaultClass::Rejected => fault,
    }
}

/// A SOAP fault, of version 1.1 or 1.2.
pub fn of_soap(kind: &str, node: &Node, answer: &Answer) -> Fault {
    let code = node
        .any("faultcode")
        .or_else(|| node.any("Code")?.any("Value"))
        .and_then(Node::text)
        .unwrap_or_default();
    let place = code.rsplit(':').next().unwrap_or_default();
    let detail = node.any("detail").or_else(|| node.any("Detail"));
    let inner = detail.and_then(|detail| detail.any("apifault"));
    let said = node
        .any("faultstring")
        .or_else(|| node.any("Reason")?.any("Text"))
        .and_then(Node::text)
        .or_else(|| inner?.any("Message")?.text())
        .unwrap_or_default();
    let words = clean(said);
    let number = inner
        .and_then(|inner| inner.any("Code"))
        .and_then(Node::text)
        .and_then(|code| code.parse::<u32>().ok());
    if said.trim() == EXPIRED_WORDS {
        return Fault::new(
            FaultClass::Auth,
            EXPIRED,
            format!("{kind}: the token has expired"),
        );
    }
    let (class, code) = match place {
        "Security" => (FaultClass::Auth, Cow::Borrowed("soap-security")),
        "Client" | "Sender" => (
            class_of_words(said).unwrap_or(FaultClass::Rejected),
            Cow::Borrowed("soap-client"),
        ),
        "Server" | "Receiver" => match number {
            Some(code) => (class_of_code(code, said), Cow::Owned(code.to_string())),
            None => (
                class_of_words(said).unwrap_or(FaultClass::Retryable),
                Cow::Borrowed("soap-server"),
            ),
        },
        _ => (
            class_of_words(said).unwrap_or(FaultClass::ContractBroken),
            Cow::Borrowed("soap-fault"),
        ),
    };
    let message = advised(class, format!("{kind}: {code}: {words}"), RIGHTS);
    let fault = Fault::new(class, code, message).after(answer.retry_after());
    match class {
        FaultClass::Retryable | FaultClass::ContractBroken => fault.maybe_sent(),
        FaultClass::RateLimited | FaultClass::Auth | FaultClass::Rejected => fault,
    }
}

/// An `OverallStatus` that is an error, or a word that nobody has told of.
pub fn of_overall(kind: &str, status: &str) -> Fault {
    let words = clean(status);
    if status
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("error"))
    {
        let class = class_of_words(status).unwrap_or(FaultClass::Rejected);
        let message = advised(class, format!("{kind}: {words}"), RIGHTS);
        return Fault::new(class, "overall-status", message);
    }
    Fault::new(
        FaultClass::ContractBroken,
        "shape",
        format!("{kind}: the overall status {words:?} is not known"),
    )
    .maybe_sent()
}

/// The result of one object of an update: what it says went wrong.
pub fn of_object(kind: &str, code: Option<&str>, words: Option<&str>) -> Fault {
    let said = words.unwrap_or_default();
    let number = code.and_then(|code| code.parse::<u32>().ok());
    let (class, meaning) = match number {
        Some(number) => (
            class_of_code(number, said),
            listed(number).map_or("an error that is not documented", |meaning| meaning.word),
        ),
        None => (
            class_of_words(said).unwrap_or(FaultClass::Rejected),
            "an error without a code",
        ),
    };
    let code = match number {
        Some(number) => number.to_string(),
        None => "object".to_owned(),
    };
    let message = format!("{kind}: {code}: {meaning}: {}", clean(said));
    Fault::new(class, code, advised(class, message, RIGHTS))
}

/// A refusal of the token endpoint.
#[derive(Debug, Default, Deserialize)]
struct Refusal<'a> {
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error_description: Option<Cow<'a, str>>,
}

/// A refused login. Nothing was changed by it, whatever became of it.
pub fn of_login(unit: &str, answer: &Answer) -> Fault {
    let refusal: Refusal<'_> = serde_json::from_slice(&answer.body).unwrap_or_default();
    let status = answer.status;
    let class = match status {
        // Any refusal of a login is a refusal of a login.
        400..=403 | 404..=407 | 409..=428 | 430..=499 => FaultClass::Auth,
        _ => class_of_status(status),
    };
    let code = refusal.error.as_deref().map_or_else(
        || format!("http-{status}"),
        |error| clean(error).into_owned(),
    );
    let words = clean(refusal.error_description.as_deref().unwrap_or_default());
    let message = format!("login to business unit {unit}: {code} ({status}): {words}");
    Fault::new(class, code, advised(class, message, SECRET)).after(answer.retry_after())
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;
    use FaultClass::{Auth, ContractBroken, RateLimited, Rejected, Retryable};
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

    #[test]
    fn every_listed_code_has_its_class() {
        for (code, class) in [
            (1, Rejected),
            (2, Retryable),
            (3, Rejected),
            (4, Auth),
            (5, Rejected),
            (6, Rejected),
            (8, Rejected),
            (9, Retryable),
            (11, Auth),
            (400, Rejected),
            (401, Rejected),
            (402, Rejected),
            (403, Rejected),
            (404, Rejected),
            (405, Rejected),
            (406, Rejected),
            (407, Rejected),
            (408, Rejected),
            (409, Rejected),
            (12_000, Rejected),
            (12_001, Rejected),
            (12_002, Rejected),
            (12_003, Rejected),
            (12_004, Rejected),
            (12_005, Rejected),
            (12_006, Rejected),
            (12_007, Rejected),
            (12_014, Rejected),
        ] {
            let fault = of_object("activate", Some(&code.to_string()), Some("words"));
            assert_eq!(fault.class, class, "{code}");
            assert_eq!(fault.code, code.to_string());
        }
    }

    #[test]
    fn codes_that_are_not_listed_go_by_words_and_range() {
        for (sentence, code, words, class) in [
            ("a general one may pass", Some("77"), "strange", Retryable),
            (
                "one of an object does not",
                Some("12050"),
                "strange",
                Rejected,
            ),
            (
                "words say more",
                Some("12050"),
                "Timeout expired",
                Retryable,
            ),
            ("no code", None, "You lack permission", Auth),
            (
                "a right, by the code of the unexpected",
                Some("2"),
                "No access to the Client",
                Auth,
            ),
            ("nothing at all", None, "", Rejected),
            ("no number", Some("x"), "strange", Rejected),
        ] {
            let fault = of_object("activate", code, Some(words));
            assert_eq!(fault.class, class, "{sentence}");
        }
        let many = (0..=99_u32)
            .chain(12_000..=12_099)
            .map(|code| of_object("activate", Some(&code.to_string()), None).class);
        assert!(
            many.into_iter().all(|class| class != ContractBroken),
            "every code of the two ranges has a class of its own"
        );
    }

    #[test]
    fn every_soap_fault_has_its_class() {
        let api = |code: &str| {
            format!(
                "<detail><apifault xmlns=\"urn:fault.partner.exacttarget.com\"><Code>{code}</Code>\
                 <Message>m</Message></apifault></detail>"
            )
        };
        let rows = [
            (
                "a token that ended",
                "q0:Security",
                "Token Expired",
                String::new(),
                Auth,
                EXPIRED,
                false,
            ),
            (
                "a login that failed",
                "q0:Security",
                "Login failed",
                String::new(),
                Auth,
                "soap-security",
                false,
            ),
            (
                "a package without rights",
                "soap:Client",
                "You do not have permission to use the API",
                String::new(),
                Auth,
                "soap-client",
                false,
            ),
            (
                "authorisation, by its name",
                "soap:Client",
                "AuthorizationFailure",
                String::new(),
                Auth,
                "soap-client",
                false,
            ),
            (
                "a call that is not understood",
                "soap:Client",
                "Cannot determine the SOAPAction",
                String::new(),
                Rejected,
                "soap-client",
                false,
            ),
            (
                "an outage",
                "soap:Server",
                "Unplanned Outage",
                api("2"),
                Retryable,
                "2",
                true,
            ),
            (
                "maintenance",
                "soap:Server",
                "In Maintenance",
                api("9"),
                Retryable,
                "9",
                true,
            ),
            (
                "throttled",
                "soap:Server",
                "Rate limit exceeded",
                api("2"),
                RateLimited,
                "2",
                false,
            ),
            (
                "no rights, by code",
                "soap:Server",
                "no",
                api("11"),
                Auth,
                "11",
                false,
            ),
            (
                "a server without a detail",
                "soap:Server",
                "oops",
                String::new(),
                Retryable,
                "soap-server",
                true,
            ),
            (
                "a place that nobody told of",
                "soap:MustUnderstand",
                "oops",
                String::new(),
                ContractBroken,
                "soap-fault",
                true,
            ),
        ];
        for (sentence, code, words, detail, class, expected, maybe_sent) in rows {
            let text = format!(
                "<s:Fault xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><faultcode xmlns:q0=\"urn:q\">\
                 {code}</faultcode><faultstring>{words}</faultstring>{detail}</s:Fault>"
            );
            let node = xml::read(text.as_bytes()).unwrap();
            let fault = of_soap("subscribers", &node, &answer(500, ""));
            assert_eq!(
                (fault.class, fault.code.as_str(), fault.maybe_sent),
                (class, expected, maybe_sent),
                "{sentence}"
            );
        }
        let text = "<s:Fault xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Code><s:Value>s:Receiver\
                    </s:Value></s:Code><s:Reason><s:Text>oops</s:Text></s:Reason></s:Fault>";
        let node = xml::read(text.as_bytes()).unwrap();
        let fault = of_soap("subscribers", &node, &answer(500, ""));
        assert_eq!(
            fault.class, Retryable,
            "version 1.2 says the same in other words"
        );
    }

    #[test]
    fn every_overall_status_has_its_class() {
        for (sentence, status, class) in [
            (
                "rights",
                "Error: API Permission Failed. Object Type: Subscriber",
                Auth,
            ),
            ("passing", "Error: Timeout expired", Retryable),
            (
                "a wrong request",
                "Error: The Request Property(s) Foo do not match",
                Rejected,
            ),
            ("no colon", "Error", Rejected),
            ("no such word", "Perhaps", ContractBroken),
            ("nothing", "", ContractBroken),
        ] {
            assert_eq!(of_overall("subscribers", status).class, class, "{sentence}");
        }
    }

    #[test]
    fn every_refused_login_has_its_class() {
        for (sentence, status, body, class, code) in [
            (
                "a wrong secret",
                401,
                r#"{"error":"invalid_client","error_description":"Invalid client ID."}"#,
                Auth,
                "invalid_client",
            ),
            (
                "a unit of somebody else",
                400,
                r#"{"error":"invalid_request"}"#,
                Auth,
                "invalid_request",
            ),
            ("not JSON", 403, "<html>", Auth, "http-403"),
            ("throttled", 429, "", RateLimited, "http-429"),
            ("too slow", 408, "", Retryable, "http-408"),
            ("down", 503, "<html>", Retryable, "http-503"),
            ("no content", 204, "", ContractBroken, "http-204"),
        ] {
            let fault = of_login("7", &answer(status, body));
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (class, code),
                "{sentence}"
            );
            assert!(!fault.maybe_sent, "{sentence}: a login has no effect");
        }
    }

    #[test]
    fn r56_no_address_is_repeated() {
        let fault = of_object("activate", Some("12000"), Some("ann@example.org is bad"));
        assert!(!fault.message.contains("ann@"), "{fault}");
        let fault = of_overall("subscribers", "Error: ann@example.org");
        assert!(!fault.message.contains("ann@"), "{fault}");
    }
}
