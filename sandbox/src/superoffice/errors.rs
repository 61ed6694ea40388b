//! How the web API says no.
//!
//! REST failures have `{Error, ErrorType, ErrorMessage, ErrorSource}` (OpenAPI, response 404); what fails before the
//! service is reached has the form of ASP.NET.

use serde_json::json;

use crate::org::ActError;
use crate::rest::Reply;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) status: u16,
    /// Name of the exception, such as `SoNotFoundException`.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Trouble {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Trouble {
        Trouble {
            status,
            kind,
            message: message.into(),
        }
    }

    /// No such thing.
    pub(crate) fn not_found(what: &str, id: impl std::fmt::Display) -> Trouble {
        Trouble::new(
            404,
            "SoNotFoundException",
            format!("{what} id {id} not found"),
        )
    }

    /// The request makes no sense.
    pub(crate) fn bad(message: impl Into<String>) -> Trouble {
        Trouble::new(400, "ArgumentException", message)
    }
}

impl From<Trouble> for Reply {
    fn from(trouble: Trouble) -> Reply {
        Reply::json(
            trouble.status,
            json!({
                "Error": true,
                "ErrorType": trouble.kind,
                "ErrorMessage": trouble.message,
                "ErrorSource": "SuperOffice.Services.Implementation",
            }),
        )
    }
}

impl From<Trouble> for ActError {
    fn from(trouble: Trouble) -> ActError {
        ActError::Refused {
            code: trouble.kind.to_owned(),
            message: trouble.message,
        }
    }
}

/// ASP.NET's own form.
pub(crate) fn model_error(status: u16, message: &str, detail: &str) -> Reply {
    let mut body = json!({"Message": message});
    if !detail.is_empty() {
        body["MessageDetail"] = json!(detail);
    }
    Reply::json(status, body)
}
