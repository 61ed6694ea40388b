//! What each refusal of the platform means: one table for the whole list of error codes.
//!
//! Sources: REST guide, status codes and error responses; sObject collections; Bulk API 2.0 guide;
//! OAuth error codes; app limits cheat sheet.

use crate::connector::{Fault, FaultClass};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::Duration;

/// One refusal, from the top of an answer (`errorCode`) or from one row of it (`statusCode`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// The code.
    #[serde(alias = "errorCode", alias = "statusCode", alias = "error", default)]
    pub code: String,
    /// The vendor's or an administrator's words. They may hold an address.
    #[serde(alias = "error_description", default)]
    pub message: String,
}

/// A code with its meaning.
struct Meaning {
    code: &'static str,
    /// When it refuses a whole call.
    call: FaultClass,
    /// When it refuses one row.
    row: FaultClass,
    /// How long to wait, where the vendor's documentation says.
    pause_secs: Option<u64>,
    /// What to do, if the operator has to do something.
    advice: &'static str,
}

const fn means(code: &'static str, class: FaultClass) -> Meaning {
    Meaning {
        code,
        call: class,
        row: class,
        pause_secs: None,
        advice: "",
    }
}

const fn later(code: &'static str, class: FaultClass, pause_secs: u64) -> Meaning {
    Meaning {
        pause_secs: Some(pause_secs),
        ..means(code, class)
    }
}

/// Not allowed to this user: for a whole call the set-up is wrong, for a row that row is closed.
const fn denied(code: &'static str, advice: &'static str) -> Meaning {
    Meaning {
        call: FaultClass::Auth,
        advice,
        ..means(code, FaultClass::Rejected)
    }
}

const fn login(code: &'static str, advice: &'static str) -> Meaning {
    Meaning {
        advice,
        ..means(code, FaultClass::Auth)
    }
}

use FaultClass::{Auth, RateLimited, Rejected, Retryable};

/// A gone record, whatever the platform calls it; the code of such a row's fault is [`GONE`].
const GONE_CODES: [&str; 3] = [
    "ENTITY_IS_DELETED",
    "NOT_FOUND",
    "INVALID_CROSS_REFERENCE_KEY",
];

/// Our word for a record that is not there any more.
pub const GONE: &str = "gone";

const PERMISSION: &str =
    "give the integration user access to the object and its fields (field-level security)";
const SET_UP: &str = "check the connected app and the user's permission sets";

/// Every code that the platform is known to answer with.
const TABLE: &[Meaning] = &[
    // Passing trouble.
    means("UNABLE_TO_LOCK_ROW", Retryable),
    means("SERVER_UNAVAILABLE", Retryable),
    means("INTERNAL_ERROR", Retryable),
    means("UNKNOWN_EXCEPTION", Retryable),
    means("REQUEST_RUNNING_TOO_LONG", Retryable),
    means("QUERY_TIMEOUT", Retryable),
    means("TOO_MANY_APEX_REQUESTS", Retryable),
    later("TXN_SECURITY_METERING_ERROR", Retryable, 60),
    later("FUNCTIONALITY_TEMPORARILY_UNAVAILABLE", Retryable, 300),
    later("ORG_IN_MAINTENANCE", Retryable, 300),
    later(
        "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE",
        Retryable,
        300,
    ),
    later("API_CURRENTLY_DISABLED", Retryable, 300),
    means("ALL_OR_NONE_OPERATION_ROLLED_BACK", Retryable),
    means("PROCESSING_HALTED", Retryable),
    means("BATCH_PROCESSING_HALTED", Retryable),
    // An approval holds the record; that ends when a person ends it.
    later("ENTITY_IS_LOCKED", Retryable, 3_600),
    // Allowances. The text of REQUEST_LIMIT_EXCEEDED tells its two kinds apart, see `pause`.
    later("REQUEST_LIMIT_EXCEEDED", RateLimited, 900),
    later("LIMIT_EXCEEDED", RateLimited, 3_600),
    later("STORAGE_LIMIT_EXCEEDED", RateLimited, 3_600),
    later("ExceededQuota", RateLimited, 3_600),
    later("TooManyLockFailure", Retryable, 60),
    // Logins.
    login(
        "INVALID_SESSION_ID",
        "the session ended and a new login did not help",
    ),
    login(
        "invalid_grant",
        "check that the user is active and has approved the app, and the key, audience and user name",
    ),
    login(
        "invalid_app_access",
        "an administrator has to approve the user for the app",
    ),
    login("invalid_request", SET_UP),
    login("invalid_client_id", "check the consumer key"),
    login("invalid_client", "check the consumer key and secret"),
    login(
        "invalid_client_credentials",
        "check the consumer key and secret",
    ),
    login("inactive_user", "the user is inactive"),
    login("inactive_org", "the org is inactive or locked"),
    login("unsupported_grant_type", SET_UP),
    login("invalid_scope", SET_UP),
    login("unauthorized_client", SET_UP),
    login("INVALID_LOGIN", SET_UP),
    login(
        "API_DISABLED_FOR_ORG",
        "the org's edition or the user's profile has no API access",
    ),
    later("rate_limit_exceeded", RateLimited, 60),
    later("login rate exceeded", RateLimited, 60),
    later("login_rate_exceeded", RateLimited, 60),
    // Permissions.
    denied("INSUFFICIENT_ACCESS", PERMISSION),
    denied("INSUFFICIENT_ACCESS_OR_READONLY", PERMISSION),
    denied("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", PERMISSION),
    denied("INVALID_FIELD", PERMISSION),
    denied("INVALID_FIELD_FOR_INSERT_UPDATE", PERMISSION),
    denied("INVALID_TYPE", PERMISSION),
    denied("INVALIDENTITY", PERMISSION),
    // The record is not there.
    means("ENTITY_IS_DELETED", Rejected),
    means("NOT_FOUND", Rejected),
    means("INVALID_CROSS_REFERENCE_KEY", Rejected),
    // The customer's own rules refuse the row.
    means("FIELD_CUSTOM_VALIDATION_EXCEPTION", Rejected),
    means("REQUIRED_FIELD_MISSING", Rejected),
    means("STRING_TOO_LONG", Rejected),
    means("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", Rejected),
    means("INVALID_EMAIL_ADDRESS", Rejected),
    means("FIELD_INTEGRITY_EXCEPTION", Rejected),
    means("FIELD_FILTER_VALIDATION_EXCEPTION", Rejected),
    means("DUPLICATES_DETECTED", Rejected),
    means("DUPLICATE_VALUE", Rejected),
    means("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", Rejected),
    means("CANNOT_EXECUTE_FLOW_TRIGGER", Rejected),
    means("FLOW_EXCEPTION", Rejected),
    means("CUSTOM_APEX_ERROR", Rejected),
    // The request itself is wrong.
    means("MALFORMED_ID", Rejected),
    means("MALFORMED_QUERY", Rejected),
    means("JSON_PARSER_ERROR", Rejected),
    means("MISSING_ARGUMENT", Rejected),
    means("INVALID_ID_FIELD", Rejected),
    means("INVALID_QUERY_FILTER_OPERATOR", Rejected),
    means("INVALID_QUERY_LOCATOR", Rejected),
    means("INVALID_REPLICATION_DATE", Rejected),
    means("INVALID_DATE_FORMAT", Rejected),
    means("NUMBER_OUTSIDE_VALID_RANGE", Rejected),
    means("QUERY_TOO_COMPLICATED", Rejected),
    means("OPERATION_TOO_LARGE", Rejected),
    means("EXCEEDED_ID_LIMIT", Rejected),
    means("EXCEEDED_MAX_SEMIJOIN_SUBSELECTS", Rejected),
    means("METHOD_NOT_ALLOWED", Rejected),
    means("UNSUPPORTED_API_VERSION", Rejected),
    // Bulk jobs.
    means("FeatureNotEnabled", Rejected),
    means("INVALIDJOBSTATE", Rejected),
    means("InvalidJob", Rejected),
    means("InvalidJobState", Rejected),
    means("InvalidBatch", Rejected),
    means("API_ERROR", Rejected),
];

fn find(code: &str) -> Option<&'static Meaning> {
    TABLE.iter().find(|meaning| meaning.code == code)
}

/// The refusal of a whole call. `asked` is the answer's own `Retry-After`.
pub fn of_call(kind: &str, status: u16, refusals: &[Refusal], asked: Option<Duration>) -> Fault {
    let Some(first) = refusals.iter().find(|refusal| !refusal.code.is_empty()) else {
        return of_status(kind, status, asked);
    };
    let (class, pause, advice) = match find(&first.code) {
        Some(meaning) if is_lock(meaning.code, &first.message) => (Retryable, None, ""),
        Some(meaning) => (meaning.call, pause(meaning, &first.message), meaning.advice),
        None => (class_of_status(status), None, ""),
    };
    let mut message = format!(
        "{kind}: {} ({status}): {}",
        first.code,
        clean(&first.message)
    );
    if !advice.is_empty() {
        message.push_str("; ");
        message.push_str(advice);
    }
    let fault = Fault::new(class, first.code.clone(), message).after(asked.or(pause));
    // Trouble inside the vendor may have struck after the work was done.
    if status >= 500 {
        fault.maybe_sent()
    } else {
        fault
    }
}

/// The refusal of one row of a call that was otherwise accepted.
pub fn of_row(refusals: &[Refusal]) -> Fault {
    let Some(first) = refusals.first() else {
        return Fault::new(
            FaultClass::ContractBroken,
            "no-reason",
            "the row is refused without a reason",
        );
    };
    let (class, pause) = match find(&first.code) {
        Some(meaning) if is_lock(meaning.code, &first.message) => (Retryable, None),
        Some(meaning) => (meaning.row, pause(meaning, &first.message)),
        // A code that is not known yet refuses the row; nothing is gained by sending it again.
        None => (Rejected, None),
    };
    let code = if GONE_CODES.contains(&first.code.as_str()) {
        GONE
    } else {
        first.code.as_str()
    };
    Fault::new(
        class,
        code,
        format!("{}: {}", first.code, clean(&first.message)),
    )
    .after(pause)
}

/// An answer without a code that we know how to read, e.g. a page of a gateway.
pub fn of_status(kind: &str, status: u16, asked: Option<Duration>) -> Fault {
    let fault = Fault::new(
        class_of_status(status),
        format!("http-{status}"),
        format!("{kind}: the answer is {status} without an error code"),
    )
    .after(asked);
    if status >= 500 {
        fault.maybe_sent()
    } else {
        fault
    }
}

/// What a status means that comes without a known code.
const fn class_of_status(status: u16) -> FaultClass {
    match status {
        401 | 403 => Auth,
        429 => RateLimited,
        408 | 412 | 420 | 500..=599 => Retryable,
        400..=499 => Rejected,
        _ => FaultClass::ContractBroken,
    }
}

/// Customer automation wraps a row lock into its own error; the lock is what counts.
fn is_lock(code: &str, message: &str) -> bool {
    matches!(
        code,
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
            | "CANNOT_EXECUTE_FLOW_TRIGGER"
            | "FLOW_EXCEPTION"
            | "CUSTOM_APEX_ERROR"
    ) && message.contains("UNABLE_TO_LOCK_ROW")
}

/// Too many long requests pass within a minute; the daily allowance comes back slowly.
fn pause(meaning: &Meaning, message: &str) -> Option<Duration> {
    let concurrent = meaning.code == "REQUEST_LIMIT_EXCEEDED" && message.contains("Concurrent");
    let secs = if concurrent {
        Some(45)
    } else {
        meaning.pause_secs
    };
    secs.map(Duration::from_secs)
}

/// Most characters of a vendor's message that are kept.
const MOST_WORDS: usize = 300;

/// A vendor's words without anything that may be an address, on one line and of bounded length.
pub fn clean(message: &str) -> Cow<'static, str> {
    let words: Vec<&str> = message
        .split_whitespace()
        .map(|word| if word.contains('@') { "…" } else { word })
        .collect();
    let line = words.join(" ");
    let mut kept: String = line
        .chars()
        .filter(|character| !character.is_control())
        .take(MOST_WORDS)
        .collect();
    if kept.len() < line.len() {
        kept.push('…');
    }
    if kept.is_empty() {
        Cow::Borrowed("no message")
    } else {
        Cow::Owned(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultClass::ContractBroken;

    fn refusal(code: &str, message: &str) -> Vec<Refusal> {
        vec![Refusal {
            code: code.to_owned(),
            message: message.to_owned(),
        }]
    }

    #[test]
    fn every_refusal_of_a_call_has_its_class() {
        for (sentence, status, code, message, class, pause) in [
            (
                "a locked row is tried again",
                400,
                "UNABLE_TO_LOCK_ROW",
                "",
                Retryable,
                None,
            ),
            (
                "an unavailable server is tried again",
                503,
                "SERVER_UNAVAILABLE",
                "",
                Retryable,
                None,
            ),
            (
                "an unknown exception is tried again",
                500,
                "UNKNOWN_EXCEPTION",
                "ErrorId 1",
                Retryable,
                None,
            ),
            (
                "a slow query is tried again",
                400,
                "QUERY_TIMEOUT",
                "",
                Retryable,
                None,
            ),
            (
                "maintenance is waited for",
                503,
                "ORG_IN_MAINTENANCE",
                "",
                Retryable,
                Some(300),
            ),
            (
                "an approval lock is waited for",
                400,
                "ENTITY_IS_LOCKED",
                "",
                Retryable,
                Some(3_600),
            ),
            (
                "too many long requests pass soon",
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
                RateLimited,
                Some(45),
            ),
            (
                "a used-up day takes longer",
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "TotalRequests Limit exceeded.",
                RateLimited,
                Some(900),
            ),
            (
                "a dead session is a login matter",
                401,
                "INVALID_SESSION_ID",
                "",
                Auth,
                None,
            ),
            (
                "a bad assertion is a login matter",
                400,
                "invalid_grant",
                "user hasn't approved this consumer",
                Auth,
                None,
            ),
            (
                "too many logins are a limit",
                400,
                "rate_limit_exceeded",
                "",
                RateLimited,
                Some(60),
            ),
            (
                "a hidden field stops the system",
                400,
                "INVALID_FIELD",
                "",
                Auth,
                None,
            ),
            (
                "a forbidden object stops the system",
                400,
                "INVALID_TYPE",
                "",
                Auth,
                None,
            ),
            (
                "a lost cursor is refused",
                400,
                "INVALID_QUERY_LOCATOR",
                "",
                Rejected,
                None,
            ),
            (
                "a window too old is refused",
                400,
                "INVALID_REPLICATION_DATE",
                "",
                Rejected,
                None,
            ),
            (
                "bad syntax is refused",
                400,
                "MALFORMED_QUERY",
                "",
                Rejected,
                None,
            ),
            (
                "bulk jobs may be off",
                400,
                "FeatureNotEnabled",
                "",
                Rejected,
                None,
            ),
            (
                "an unknown code is judged by its status",
                503,
                "NEVER_SEEN",
                "",
                Retryable,
                None,
            ),
            (
                "an unknown code with 400 is refused",
                400,
                "NEVER_SEEN",
                "",
                Rejected,
                None,
            ),
            (
                "a flow that failed on a lock is tried again",
                400,
                "CANNOT_EXECUTE_FLOW_TRIGGER",
                "caused by UNABLE_TO_LOCK_ROW",
                Retryable,
                None,
            ),
        ] {
            let fault = of_call("call", status, &refusal(code, message), None);
            assert_eq!(fault.class, class, "{sentence}");
            assert_eq!(
                fault.retry_after.map(|pause| pause.as_secs()),
                pause,
                "{sentence}"
            );
            assert_eq!(fault.maybe_sent, status >= 500, "{sentence}");
        }
    }

    #[test]
    fn every_refusal_of_a_row_has_its_class() {
        for (sentence, code, class, named) in [
            (
                "a locked row is tried again",
                "UNABLE_TO_LOCK_ROW",
                Retryable,
                "UNABLE_TO_LOCK_ROW",
            ),
            (
                "a deleted record is gone",
                "ENTITY_IS_DELETED",
                Rejected,
                GONE,
            ),
            (
                "an unknown id is gone",
                "INVALID_CROSS_REFERENCE_KEY",
                Rejected,
                GONE,
            ),
            (
                "a validation rule refuses",
                "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                Rejected,
                "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            ),
            (
                "a duplicate rule refuses",
                "DUPLICATES_DETECTED",
                Rejected,
                "DUPLICATES_DETECTED",
            ),
            (
                "a closed row is refused alone",
                "INSUFFICIENT_ACCESS_OR_READONLY",
                Rejected,
                "INSUFFICIENT_ACCESS_OR_READONLY",
            ),
            (
                "the victim of another row is tried again",
                "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                Retryable,
                "ALL_OR_NONE_OPERATION_ROLLED_BACK",
            ),
            (
                "an unknown code refuses",
                "NEVER_SEEN",
                Rejected,
                "NEVER_SEEN",
            ),
        ] {
            let fault = of_row(&refusal(code, ""));
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (class, named),
                "{sentence}"
            );
        }
        assert_eq!(
            of_row(&[]).class,
            ContractBroken,
            "a refusal without a reason breaks the contract"
        );
    }

    #[test]
    fn a_status_without_a_code_has_its_class() {
        for (status, class) in [
            (400, Rejected),
            (401, Auth),
            (403, Auth),
            (408, Retryable),
            (414, Rejected),
            (420, Retryable),
            (429, RateLimited),
            (500, Retryable),
            (503, Retryable),
            (207, ContractBroken),
        ] {
            assert_eq!(of_status("call", status, None).class, class, "{status}");
        }
    }

    #[test]
    fn no_code_stands_twice() {
        let mut codes: Vec<&str> = TABLE.iter().map(|meaning| meaning.code).collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }

    #[test]
    fn a_vendors_words_are_kept_without_addresses() {
        assert_eq!(
            clean("Email: bad address ann@example.org \n here"),
            "Email: bad address … here"
        );
        assert_eq!(clean(""), "no message");
        assert!(clean(&"x".repeat(1000)).chars().count() <= MOST_WORDS + 1);
    }
}
