//! Refusals in the form of RFC 9457.

use crate::store::StoreError;
use crate::sync::checklist::CheckError;
use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal. Its words are for whoever asked; they hold nothing that was not asked by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    /// What kind of problem, in the name of its type.
    kind: &'static str,
    /// The same for every problem of the kind.
    title: &'static str,
    detail: String,
    header: Option<(HeaderName, &'static str)>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            header: None,
        }
    }

    /// The request is understood and cannot be done as it is.
    pub(super) fn unprocessable(
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, kind, title, detail)
    }

    pub(super) fn unauthorised() -> Self {
        let title = "a token is needed";
        Self {
            header: Some((WWW_AUTHENTICATE, "Bearer")),
            ..Self::new(
                StatusCode::UNAUTHORIZED,
                "token",
                title,
                "send a configured token as `Authorization: Bearer TOKEN`; tokens are listed under \
                 [[server.tokens]]",
            )
        }
    }

    pub(super) fn forbidden(name: &str, role: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "role",
            "the token does not allow this",
            format!("the token {name:?} has the role {role}"),
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "the method is not allowed here",
            "/openapi.json lists the methods of every path",
        )
    }

    /// R42: nobody is told `send` while the store cannot be read.
    pub(super) fn store(error: &StoreError) -> Self {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::warn!(%error, cause, "a request was refused, since the store fails: {error}");
        Self {
            header: Some((RETRY_AFTER, "5")),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store",
                "the state store fails",
                "nobody can be verified; try again later, and see the daemon's log",
            )
        }
    }
}

impl From<CheckError> for Problem {
    fn from(error: CheckError) -> Self {
        let detail = error.to_string();
        let busy = |kind, title| Self {
            header: Some((RETRY_AFTER, "5")),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail.clone())
        };
        match &error {
            CheckError::UnknownPurpose { .. } => {
                Self::unprocessable("purpose", "the purpose is unknown", detail)
            }
            CheckError::Busy => busy("busy", "too many checks at once"),
            CheckError::NobodyAtWork => busy("systems", "no system is switched on"),
            CheckError::Store(error) => Self::store(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: format!("urn:consentd:problem:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
