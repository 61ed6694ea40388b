//! The platform's way of saying no: a code, a message, the fields at fault.
//!
//! At the top level of an answer the code is called `errorCode`, inside the results of a collection `statusCode`
//! (REST guide: status codes and error responses; sObject collections).

use serde_json::{Value, json};

use crate::soql::SoqlError;

/// One refusal, with the HTTP status it has when it is the whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) fields: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: message.into(),
            fields: Vec::new(),
        }
    }

    pub(crate) fn on(mut self, field: &str) -> Refusal {
        self.fields.push(field.to_owned());
        self
    }

    pub(crate) fn not_found() -> Refusal {
        Refusal::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub(crate) fn deleted() -> Refusal {
        Refusal::new(404, "ENTITY_IS_DELETED", "entity is deleted")
    }

    pub(crate) fn malformed_id(id: &str) -> Refusal {
        Refusal::new(400, "MALFORMED_ID", format!("malformed id {id}")).on("Id")
    }

    pub(crate) fn json_parser(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "JSON_PARSER_ERROR", message)
    }

    pub(crate) fn no_column(object: &str, field: &str) -> Refusal {
        Refusal::new(
            400,
            "INVALID_FIELD",
            format!("No such column '{field}' on sobject of type {object}"),
        )
        .on(field)
    }

    pub(crate) fn method(method: &str, allowed: &str) -> Refusal {
        Refusal::new(
            405,
            "METHOD_NOT_ALLOWED",
            format!("HTTP Method '{method}' not allowed. Allowed are {allowed}"),
        )
    }

    pub(crate) fn session() -> Refusal {
        Refusal::new(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    /// As the element of a top-level error array.
    pub(crate) fn top(&self) -> Value {
        let mut body = json!({"message": self.message, "errorCode": self.code});
        if !self.fields.is_empty() {
            body["fields"] = json!(self.fields);
        }
        body
    }

    /// As an element of `errors` in a collection's row result.
    pub(crate) fn row(&self) -> Value {
        json!({"statusCode": self.code, "message": self.message, "fields": self.fields})
    }

    /// As the text of `sf__Error` in a bulk result: code, message, fields, and two dashes.
    pub(crate) fn bulk(&self) -> String {
        format!(
            "{}:{}:{} --",
            self.code,
            self.message,
            self.fields.join(",")
        )
    }
}

impl From<SoqlError> for Refusal {
    fn from(error: SoqlError) -> Refusal {
        Refusal::new(400, error.code, error.message)
    }
}
