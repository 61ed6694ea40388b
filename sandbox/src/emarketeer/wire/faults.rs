//! Which faults can strike an account, and how those of the gateway look.

use serde_json::json;

use super::application_error;
use crate::faults::Fault;
use crate::rest::{Body, Reply};
use crate::server::{self, Before};

/// Whether a fault has any meaning for an account.
pub(crate) fn strikes(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::LateCommit { .. }
            | Fault::ClockSkew { .. }
            | Fault::ShortPages { .. }
            | Fault::QuotaUsedUp
            | Fault::UnavailableJson
            | Fault::UnavailableHtml
            | Fault::HtmlSuccess
            | Fault::TooManyRequests { .. }
            | Fault::SessionInvalid
            | Fault::CutBefore
            | Fault::CutAfter
            | Fault::Stall { .. }
            | Fault::SlowDrip { .. }
            | Fault::TruncatedBody
            | Fault::HalfJson
            | Fault::Unavailable { .. }
            | Fault::GzipBomb { .. }
            | Fault::Redirect { .. }
            | Fault::RawRecord { .. }
            | Fault::ServerError {
                status: 500..=599,
                ..
            }
            | Fault::RepeatedRecords
            | Fault::ProcessedTwice
    )
}

fn half(reply: &Reply) -> Reply {
    let mut half = reply.clone();
    let (kind, mut bytes) = match &reply.body {
        Body::Empty => return half,
        Body::Json(value) => ("application/json", value.to_string().into_bytes()),
        Body::Raw(kind, bytes) => (*kind, bytes.clone()),
    };
    bytes.truncate(bytes.len() / 2);
    half.body = Body::Raw(kind, bytes);
    half
}

fn gateway(status: u16, message: &str) -> Reply {
    Reply::json(status, json!({"message": message}))
}

/// How a fault strikes before a call is processed.
pub(crate) fn before(fault: &Fault) -> Option<Before> {
    let reply = match fault {
        Fault::ServerError {
            status,
            processed: false,
        } => server_error(*status),
        Fault::QuotaUsedUp => gateway(429, "Limit Exceeded"),
        Fault::UnavailableJson => gateway(503, "Service Unavailable"),
        Fault::SessionInvalid => gateway(403, "Forbidden"),
        Fault::TooManyRequests { retry_after } => {
            let reply = gateway(429, "Too Many Requests");
            match retry_after {
                Some(value) => reply.with("Retry-After", value.clone()),
                None => reply,
            }
        }
        other => return server::before(other),
    };
    Some(Before::Answer(reply))
}

/// What a fault makes of the answer to a processed call.
pub(crate) fn instead(fault: &Fault, reply: &Reply) -> Option<Reply> {
    match fault {
        Fault::HalfJson => Some(half(reply)),
        Fault::ServerError {
            status,
            processed: true,
        } => Some(server_error(*status)),
        _ => None,
    }
}

/// 502 and 504 come from the gateway (AWS: API Gateway response types), everything else from the application.
fn server_error(status: u16) -> Reply {
    match status {
        502 => gateway(502, "Internal server error"),
        504 => gateway(504, "Endpoint request timed out"),
        status => application_error(status, "Unexpected error"),
    }
}
