//! What each refusal of the account, or of the gateway before it, means.
//!
//! Sources: AWS API Gateway, gateway response types; the vendor's public handler library for the
//! application's own errors (`developerMessage`, `userMessage`; 200, 400 and 500 only).

use super::node::{Node, Pointer};
use crate::connector::http::Answer;
use crate::connector::salesforce::wire::faults::clean;
use crate::connector::{Fault, FaultClass};
use std::time::Duration;

/// The code of a key that is refused.
pub const FORBIDDEN: &str = "forbidden";
/// The code of a path or method that the gateway does not know.
pub const UNKNOWN_PATH: &str = "unknown-path";
/// The code of a request that the application refuses.
pub const INVALID: &str = "invalid";

/// A used-up daily allowance comes back in its own time; asking more often than this is useless.
const QUOTA_PAUSE: Duration = Duration::from_hours(1);

/// A refusal of a call, as a fault. `keys` names the settings that the call depends on.
pub fn of_answer(kind: &str, keys: &str, answer: &Answer) -> Fault {
    let words = words(&answer.body);
    let said = words.as_deref().unwrap_or_default();
    let status = answer.status;
    let asked = answer.retry_after();
    let fault = |class, code: &str, advice: &str| {
        let what = if said.is_empty() {
            "without a reason".into()
        } else {
            clean(said)
        };
        let advice = if advice.is_empty() {
            String::new()
        } else {
            format!("; {advice}")
        };
        Fault::new(class, code, format!("{kind}: {status}: {what}{advice}"))
    };
    match (status, said) {
        (403, "Forbidden") | (401, _) => fault(
            FaultClass::Auth,
            FORBIDDEN,
            &format!("the key is refused; check {keys} and the account's key of this module"),
        ),
        (403, "Missing Authentication Token") => fault(
            FaultClass::Auth,
            UNKNOWN_PATH,
            &format!("the gateway knows no such path; check {keys}"),
        ),
        (403, _) => fault(FaultClass::Auth, "http-403", ""),
        (429, "Limit Exceeded") => {
            fault(FaultClass::RateLimited, "quota", "").after(asked.or(Some(QUOTA_PAUSE)))
        }
        (429, _) => fault(FaultClass::RateLimited, "http-429", "").after(asked),
        (400, _) => fault(FaultClass::Rejected, INVALID, ""),
        (408 | 425, _) => fault(FaultClass::Retryable, &format!("http-{status}"), "").after(asked),
        // Trouble inside may have struck after the work was done.
        (500..=599, _) => fault(FaultClass::Retryable, &format!("http-{status}"), "")
            .after(asked)
            .maybe_sent(),
        (402..=499, _) => fault(FaultClass::Rejected, &format!("http-{status}"), ""),
        _ => fault(FaultClass::ContractBroken, &format!("http-{status}"), ""),
    }
}

/// An answer with a good status that is a refusal all the same, or nothing that is known.
pub fn of_success(kind: &str, answer: &Answer) -> Fault {
    match words(&answer.body) {
        Some(said) => Fault::new(
            FaultClass::Rejected,
            "refused",
            format!("{kind}: {}", clean(&said)),
        ),
        None => Fault::new(
            FaultClass::ContractBroken,
            "shape",
            format!("{kind}: the answer is of an unknown shape"),
        ),
    }
}

/// Whether a refusal means that the account has no such endpoint, or not with these parameters.
pub fn is_unsupported(fault: &Fault) -> bool {
    matches!(
        fault.code.as_str(),
        UNKNOWN_PATH | INVALID | "http-404" | "http-405" | "http-410" | "http-501"
    )
}

/// Where the words of a refusal may stand.
const PLACES: [&str; 8] = [
    "/developerMessage",
    "/message",
    "/error/message",
    "/error",
    "/errors/0/message",
    "/errors/0",
    "/userMessage",
    "/rest/0/error",
];

/// The words of a refusal, wherever they stand.
fn words(body: &[u8]) -> Option<String> {
    let node: Node = serde_json::from_slice(body).ok()?;
    PLACES
        .iter()
        .filter_map(|place| Pointer::parse(place))
        .find_map(|place| Some(node.at(&place)?.scalar()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: reqwest::header::HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            asked_at: None,
        }
    }

    #[test]
    fn every_refusal_has_its_class() {
        use FaultClass::{Auth, ContractBroken, RateLimited, Rejected, Retryable};
        let rows = [
            (
                "a wrong key",
                403,
                r#"{"message":"Forbidden"}"#,
                Auth,
                "forbidden",
                false,
            ),
            (
                "an unknown path",
                403,
                r#"{"message":"Missing Authentication Token"}"#,
                Auth,
                "unknown-path",
                false,
            ),
            ("a firewall's page", 403, "<html>", Auth, "http-403", false),
            ("no authorisation", 401, "", Auth, "forbidden", false),
            (
                "throttled",
                429,
                r#"{"message":"Too Many Requests"}"#,
                RateLimited,
                "http-429",
                false,
            ),
            (
                "the allowance is used up",
                429,
                r#"{"message":"Limit Exceeded"}"#,
                RateLimited,
                "quota",
                false,
            ),
            (
                "refused",
                400,
                r#"{"developerMessage":"key is missing","userMessage":"x"}"#,
                Rejected,
                "invalid",
                false,
            ),
            (
                "an application error",
                500,
                r#"{"developerMessage":"boom"}"#,
                Retryable,
                "http-500",
                true,
            ),
            (
                "a crash",
                502,
                r#"{"message":"Internal server error"}"#,
                Retryable,
                "http-502",
                true,
            ),
            (
                "too slow",
                504,
                r#"{"message":"Endpoint request timed out"}"#,
                Retryable,
                "http-504",
                true,
            ),
            ("down", 503, "", Retryable, "http-503", true),
            (
                "too large",
                413,
                r#"{"message":"Request Too Long"}"#,
                Rejected,
                "http-413",
                false,
            ),
            (
                "an empty success",
                304,
                "",
                ContractBroken,
                "http-304",
                false,
            ),
        ];
        for (sentence, status, body, class, code, maybe_sent) in rows {
            let fault = of_answer("consents", "systems.em.auth", &answer(status, body));
            assert_eq!(
                (fault.class, fault.code.as_str(), fault.maybe_sent),
                (class, code, maybe_sent),
                "{sentence}"
            );
        }
    }

    #[test]
    fn words_are_found_wherever_they_stand_and_hold_no_address() {
        for body in [
            r#"{"developerMessage":"bad ann@example.org here"}"#,
            r#"{"message":"bad ann@example.org here"}"#,
            r#"{"error":"bad ann@example.org here"}"#,
            r#"{"error":{"message":"bad ann@example.org here"}}"#,
            r#"{"errors":["bad ann@example.org here"]}"#,
            r#"{"errors":[{"message":"bad ann@example.org here"}]}"#,
            r#"{"rest":[{"error":"bad ann@example.org here"}]}"#,
        ] {
            let message = of_answer("create", "", &answer(400, body)).message;
            assert_eq!(message, "create: 400: bad … here", "{body}");
        }
    }

    #[test]
    fn a_used_up_allowance_is_left_alone_for_an_hour() {
        let fault = of_answer(
            "create",
            "",
            &answer(429, r#"{"message":"Limit Exceeded"}"#),
        );
        assert_eq!(fault.retry_after, Some(Duration::from_hours(1)));
    }
}
