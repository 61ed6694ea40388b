//! What requests and answers of the API look like, as `docs/openapi.json` describes them.

use super::holds::Of;
use super::problem::Problem;
use crate::config::Token;
use crate::consent::{Answer, At, Stamp, SubjectKey};
use crate::store::{ANSWERED, CANCELLED, SCHEDULED, SendoutHead};
use crate::sync::checklist::{
    CHECKLIST_ORDER, Checklist, Counts, Freshness, Line, MOST_RECIPIENTS, Outcome, Report,
};
use crate::sync::sendout::Sendout;
use crate::sync::switches::Operator;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use chrono::DateTime;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A full list of the longest addresses, with quotes, commas and some room.
const MAX_BODY_BYTES: usize = 32 * 1_024 * 1_024;
/// Time for the whole body of a request to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// No answer may be older than this by the sender's leave: a week.
const MOST_MAX_AGE_SECS: u32 = 7 * 24 * 3_600;
/// Longest callback address in bytes.
const MAX_CALLBACK_BYTES: usize = 2_000;

/// Reads the body of a request that was let in.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let is_json = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        });
    if !is_json {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "the body must be JSON",
            "send it with `Content-Type: application/json`",
        ));
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_BODY_BYTES));
    let body = body
        .await
        .map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow",
                "the body did not arrive in time",
                format!("it has to be here within {} s", BODY_TIMEOUT.as_secs()),
            )
        })?
        .map_err(|_| {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "size",
                "the body is too large",
                format!("it has more than {MAX_BODY_BYTES} bytes, or ended early"),
            )
        })?;
    serde_json::from_slice(&body).map_err(|error| {
        let detail = error.to_string();
        if detail.starts_with(TOO_MANY) {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "recipients",
                "too many recipients",
                format!("one list has at most {MOST_RECIPIENTS}; split it"),
            )
        } else if error.is_data() {
            Problem::unprocessable("body", "the body has another form than described", detail)
        } else {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "json",
                "the body is no JSON",
                detail,
            )
        }
    })
}

/// Why an operator acts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
}

/// How a system is resumed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    reason: String,
    #[serde(default)]
    accept_fewer: bool,
}

/// Which dead letters are tried again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    reason: String,
    #[serde(default)]
    contacts: Vec<String>,
}

/// Contacts that one request may name.
const MOST_CONTACTS: usize = 1_000;

/// The body of `POST /v1/erasures`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Erasure {
    address: String,
    reason: String,
    #[serde(default)]
    even_so: bool,
}

/// Who acts, by the name of the token, and why, by the body.
///
/// # Errors
/// As [`read`], and when the reason is refused.
pub(super) async fn operator(request: Request, token: &Token) -> Result<Operator, Problem> {
    let why: Why = read(request).await?;
    named(token, &why.reason)
}

/// The same, and whether the next complete scan may be of any size.
///
/// # Errors
/// As [`operator`].
pub(super) async fn resume(request: Request, token: &Token) -> Result<(Operator, bool), Problem> {
    let resume: Resume = read(request).await?;
    Ok((named(token, &resume.reason)?, resume.accept_fewer))
}

/// The same as [`operator`], and the contacts that are meant; all when there are none.
///
/// # Errors
/// As [`operator`], and when there are too many contacts, or one that is the id of none.
pub(super) async fn redrive(
    request: Request,
    token: &Token,
) -> Result<(Operator, Vec<String>), Problem> {
    let redrive: Redrive = read(request).await?;
    let refused = |detail: String| {
        Err(Problem::unprocessable(
            "contacts",
            "the contacts are refused",
            detail,
        ))
    };
    if redrive.contacts.len() > MOST_CONTACTS {
        return refused(format!(
            "one request names at most {MOST_CONTACTS}; leave them out for all"
        ));
    }
    let is_none = |id: &String| id.is_empty() || id.chars().any(char::is_control);
    if redrive.contacts.iter().any(is_none) {
        return refused("one is empty or holds a control character".to_owned());
    }
    Ok((named(token, &redrive.reason)?, redrive.contacts))
}

/// The same as [`operator`], with whom to erase, and whether also while systems have contacts of them.
///
/// # Errors
/// As [`operator`], and when the text is no address.
pub(super) async fn erasure(
    request: Request,
    token: &Token,
) -> Result<(Operator, SubjectKey, bool), Problem> {
    let erasure: Erasure = read(request).await?;
    let address = SubjectKey::from_address(&erasure.address).map_err(|_| {
        Problem::unprocessable(
            "address",
            "that is no address",
            "address is one e-mail address",
        )
    })?;
    Ok((named(token, &erasure.reason)?, address, erasure.even_so))
}

/// What is said of one hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judge {
    reason: String,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    persons: Vec<String>,
}

/// What is said of many holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    word: String,
    filter: Of,
    reason: String,
}

/// Holds, or persons, that one request may name.
const MOST_NAMED: usize = 1_000;

/// Who acts, and the purpose and persons that are meant of a hold: all when there are none.
///
/// # Errors
/// As [`operator`], and when too many persons are named.
pub(super) async fn judge(
    request: Request,
    token: &Token,
) -> Result<(Operator, Option<String>, Vec<String>), Problem> {
    let judge: Judge = read(request).await?;
    bounded("persons", judge.persons.len())?;
    let by = named(token, &judge.reason)?;
    Ok((by, judge.purpose, judge.persons))
}

/// Who acts, the word, and which holds are meant.
///
/// # Errors
/// As [`operator`], and when too much is named, or nothing.
pub(super) async fn decide(
    request: Request,
    token: &Token,
) -> Result<(Operator, String, Of), Problem> {
    let decide: Decide = read(request).await?;
    let of = &decide.filter;
    bounded("holds", of.holds.len())?;
    bounded("persons", of.persons.len())?;
    let by_kind = of.kind.is_some() || of.system.is_some() || of.purpose.is_some();
    let is_some = by_kind || !of.holds.is_empty() || !of.persons.is_empty();
    if of.all == is_some {
        return Err(Problem::unprocessable(
            "filter",
            "the filter is refused",
            "say which holds, or `\"all\": true` and nothing else",
        ));
    }
    let by = named(token, &decide.reason)?;
    Ok((by, decide.word, decide.filter))
}

fn bounded(what: &'static str, count: usize) -> Result<(), Problem> {
    if count <= MOST_NAMED {
        return Ok(());
    }
    Err(Problem::unprocessable(
        what,
        "too many are named",
        format!("one request names at most {MOST_NAMED}; leave them out for all"),
    ))
}

/// Who acts, by the name of the token, and why.
///
/// # Errors
/// When the reason is refused.
pub(super) fn named(token: &Token, reason: &str) -> Result<Operator, Problem> {
    Operator::new(&token.name, reason).map_err(|fault| {
        Problem::unprocessable("reason", "the reason is refused", fault.to_string())
    })
}

/// How the parser's message about a list that is too long begins.
const TOO_MANY: &str = "more recipients than one list may have";

/// A list of bounded length: what is beyond the bound is not even kept while it is read.
#[derive(Debug)]
pub(super) struct Recipients(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Recipients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Recipients;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of addresses")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut recipients = Vec::new();
                while let Some(recipient) = members.next_element()? {
                    if recipients.len() >= MOST_RECIPIENTS {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    recipients.push(recipient);
                }
                Ok(Recipients(recipients))
            }
        }
        deserializer.deserialize_seq(Members)
    }
}

/// The body of `POST /v1/checklists`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckAsk {
    pub(super) purpose: String,
    pub(super) recipients: Recipients,
    #[serde(default)]
    pub(super) max_age_secs: u32,
}

/// The body of `POST /v1/sendouts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendoutAsk {
    pub(super) purpose: String,
    pub(super) recipients: Recipients,
    pub(super) send_at: String,
    #[serde(default)]
    pub(super) callback: Option<String>,
    #[serde(default)]
    pub(super) max_age_secs: u32,
}

/// How old the answers may be.
pub(super) fn freshness(max_age_secs: u32) -> Result<Freshness, Problem> {
    if max_age_secs > MOST_MAX_AGE_SECS {
        return Err(Problem::unprocessable(
            "max-age",
            "the age is out of bounds",
            format!("max_age_secs is at most {MOST_MAX_AGE_SECS}"),
        ));
    }
    Ok(Freshness::Within(Duration::from_secs(max_age_secs.into())))
}

/// The moment of sending.
pub(super) fn moment(text: &str) -> Result<At, Problem> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| At::from(time.to_utc()))
        .map_err(|_| {
            Problem::unprocessable(
                "send-at",
                "the moment of sending is no time",
                "send_at is a time with its zone as in RFC 3339, e.g. 2026-05-01T10:00:00Z",
            )
        })
}

/// Where the answers are to be posted.
pub(super) fn callback(text: &str) -> Result<url::Url, Problem> {
    let parsed = (text.len() <= MAX_CALLBACK_BYTES)
        .then(|| url::Url::parse(text).ok())
        .flatten();
    parsed.ok_or_else(|| {
        Problem::unprocessable(
            "callback",
            "the callback is no address",
            format!("it has to be a whole URL of at most {MAX_CALLBACK_BYTES} bytes"),
        )
    })
}

/// The answer of `POST /v1/checklists`, and a part of a send-out.
#[derive(Serialize)]
pub(super) struct ChecklistBody<'a> {
    purpose: &'a str,
    checked_at: String,
    /// The moment of sending had passed before anybody could check.
    missed: bool,
    counts: CountsBody,
    systems: Vec<SystemBody<'a>>,
    recipients: Vec<LineBody<'a>>,
}

impl<'a> ChecklistBody<'a> {
    /// With the recipients as they were given, where they were given now.
    pub(super) fn new(checklist: &'a Checklist, given: Option<&'a [String]>) -> Self {
        let recipient = |place: usize| given.and_then(|given| given.get(place)).map(String::as_str);
        Self {
            purpose: &checklist.purpose,
            checked_at: checklist.checked_at.to_string(),
            missed: checklist.missed,
            counts: CountsBody(checklist.counts()),
            systems: checklist.reports.iter().map(SystemBody::from).collect(),
            recipients: checklist
                .lines
                .iter()
                .enumerate()
                .map(|(place, line)| LineBody::new(recipient(place), line))
                .collect(),
        }
    }
}

/// Counts by the words of the answers, in the order of eMarketeer's own checklist.
struct CountsBody(Counts);

impl Serialize for CountsBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("addressed", &self.0.addressed)?;
        map.serialize_entry("duplicate", &self.0.duplicates)?;
        for answer in CHECKLIST_ORDER {
            map.serialize_entry(answer.word(), &self.0.of(answer))?;
        }
        map.serialize_entry(Answer::Send.word(), &self.0.of(Answer::Send))?;
        map.serialize_entry("not-send", &(self.0.duplicates + self.0.refused()))?;
        map.end()
    }
}

#[derive(Serialize)]
struct SystemBody<'a> {
    system: &'a str,
    source: &'static str,
    as_of: Option<String>,
    reason: Option<&'a str>,
    look_ups: u32,
    batch: u32,
}

impl<'a> From<&'a Report> for SystemBody<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            system: &report.system,
            source: report.source.word(),
            as_of: report.as_of.map(|at| at.to_string()),
            reason: report.reason.as_deref(),
            look_ups: report.look_ups,
            batch: report.batch,
        }
    }
}

/// One place of the list. What there is nothing to say of is left out: lists are long.
#[derive(Serialize)]
struct LineBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stamp: Option<StampBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'a str>,
}

impl<'a> LineBody<'a> {
    fn new(recipient: Option<&'a str>, line: &'a Line) -> Self {
        Self {
            recipient,
            answer: line.outcome.word(),
            duplicate_of: match line.outcome {
                Outcome::Duplicate(first) => Some(first),
                Outcome::Answered(_) => None,
            },
            system: line.system.as_deref(),
            stamp: line.stamp.map(StampBody::from),
            basis: line.basis.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct StampBody {
    earliest: String,
    latest: String,
}

impl From<Stamp> for StampBody {
    fn from(stamp: Stamp) -> Self {
        Self {
            earliest: stamp.earliest().to_string(),
            latest: stamp.latest().to_string(),
        }
    }
}

/// A send-out without its answers.
#[derive(Serialize)]
pub(super) struct SendoutBody<'a> {
    id: &'a str,
    purpose: &'a str,
    state: &'static str,
    created_at: String,
    created_by: &'a str,
    send_at: String,
    settled_at: Option<String>,
    addressed: i64,
    callback: Option<CallbackBody<'a>>,
}

#[derive(Serialize)]
struct CallbackBody<'a> {
    url: &'a str,
    state: &'static str,
    attempts: i32,
    error: Option<&'a str>,
}

impl<'a> From<&'a SendoutHead> for SendoutBody<'a> {
    fn from(head: &'a SendoutHead) -> Self {
        let time = |micros| At::from_micros(micros).to_string();
        let callback = head.callback.as_deref().map(|url| CallbackBody {
            url,
            state: match head.state {
                CANCELLED => "none",
                SCHEDULED | ANSWERED => "waiting",
                _ if head.post_error.is_some() => "given-up",
                _ => "posted",
            },
            attempts: head.posts,
            error: head.post_error.as_deref(),
        });
        Self {
            id: &head.id,
            purpose: &head.purpose,
            state: match head.state {
                SCHEDULED => "scheduled",
                CANCELLED => "cancelled",
                _ => "checked",
            },
            created_at: time(head.created_at),
            created_by: &head.created_by,
            send_at: time(head.send_at),
            settled_at: head.settled_at.map(time),
            addressed: head.addressed,
            callback,
        }
    }
}

/// A send-out with its answers.
#[derive(Serialize)]
pub(super) struct SendoutWhole<'a> {
    #[serde(flatten)]
    head: SendoutBody<'a>,
    first: ChecklistBody<'a>,
    last: Option<ChecklistBody<'a>>,
}

impl<'a> From<&'a Sendout> for SendoutWhole<'a> {
    fn from(sendout: &'a Sendout) -> Self {
        Self {
            head: (&sendout.head).into(),
            first: ChecklistBody::new(&sendout.first, None),
            last: sendout
                .last
                .as_ref()
                .map(|last| ChecklistBody::new(last, None)),
        }
    }
}

/// The answer of `GET /v1/sendouts`.
#[derive(Serialize)]
pub(super) struct SendoutList<'a> {
    pub(super) sendouts: Vec<SendoutBody<'a>>,
}

/// What is posted to a callback: the form that Standard Webhooks recommends.
#[derive(Serialize)]
pub(super) struct Event<'a> {
    r#type: &'static str,
    timestamp: String,
    data: SendoutWhole<'a>,
}

impl<'a> Event<'a> {
    /// The last answers of a send-out.
    pub(super) fn checked(sendout: &'a Sendout) -> Self {
        let at = sendout.head.settled_at.unwrap_or(sendout.head.send_at);
        Self {
            r#type: "sendout.checked",
            timestamp: At::from_micros(at).to_string(),
            data: sendout.into(),
        }
    }
}

/// A line in the log for what was asked: who, what, how many; no address.
pub(super) fn note(what: &'static str, token: &Token, purpose: &str, counts: &Counts) {
    tracing::info!(
        token = %token.name,
        purpose,
        addressed = counts.addressed,
        send = counts.of(Answer::Send),
        "{what} by {} for {purpose}: {} addressed, {} may be mailed",
        token.name,
        counts.addressed,
        counts.of(Answer::Send),
    );
}
