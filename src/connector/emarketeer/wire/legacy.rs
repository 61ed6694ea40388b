//! API 1.0: deprecated, still up, and able to look single contacts up by address.
//!
//! Its only credential stands in the path of every call, so no URL of it may ever be shown: neither
//! a fault nor a log line holds one (ASVS 14.2.1, R56).

use super::faults;
use super::list::{Row, Rows};
use crate::connector::http::{Body, Call, Http, Method};
use crate::connector::{Fault, FaultClass};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::config::Legacy;

const KIND: &str = "legacy-contact";

/// Every answer stands in `rest`: an object for what was found, a list for what became of each item.
#[derive(Deserialize)]
struct Rest<'a> {
    #[serde(borrow)]
    rest: &'a RawValue,
}

/// `contacts` when some were found, `info` when none was.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    contacts: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    info: Option<String>,
}

/// The contact with an address: the one with the lowest id, where there are several.
///
/// # Errors
/// When the call fails or the answer is of another shape.
pub async fn contacts_of(http: &Http, legacy: &Legacy, address: &str) -> Result<Rows, Fault> {
    let mut url = legacy.base_url.clone();
    let parameters: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("contacts[0][email]", address)
        .append_pair("response", "json")
        .finish();
    {
        let mut path = url.path_segments_mut().map_err(|()| {
            Fault::new(
                FaultClass::Rejected,
                "request",
                format!("{KIND}: the base address takes no path"),
            )
        })?;
        path.pop_if_empty()
            .push(legacy.api_id.expose_secret())
            .push("contacts")
            .push("");
    }
    // Parameters stand behind the last slash, not in a query.
    let path = format!("{}&{parameters}", url.path());
    url.set_path(&path);
    let call = Call {
        kind: KIND,
        method: Method::GET,
        url,
        headers: vec![("Accept", "application/json".to_owned())],
        bearer: None,
        secrets: Vec::new(),
        body: Body::None,
    };
    let answer = http.send(call).await?;
    if !(200..300).contains(&answer.status) {
        return Err(faults::of_answer(KIND, "the id for API 1.0", &answer));
    }
    let read_at = answer.dated(KIND)?;
    let whole: Rest<'_> = answer.parse(KIND)?;
    let rows = match serde_json::from_str::<Found>(whole.rest.get()) {
        Ok(Found {
            contacts: Some(rows),
            ..
        }) => rows.into_iter().map(Row).collect(),
        // "No contacts found", in whatever words.
        Ok(Found { info: Some(_), .. }) => Vec::new(),
        // Errors come with a good status too.
        Ok(_) | Err(_) => return Err(faults::of_success(KIND, &answer)),
    };
    Ok(Rows {
        rows,
        total: None,
        read_at,
    })
}
