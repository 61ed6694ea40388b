//! Execute: `LogUnsubEvent`, which unsubscribes and says on whose account.
//!
//! Jobs and batches are not simulated: a `JobID` is taken as it is.

use std::collections::HashMap;

use super::client;
use super::envelope::{PARTNER, guid, tag};
use super::token::Token;
use super::update::overall;
use super::xml::Element;
use crate::marketing_cloud::state::{State, Status};

/// Most calls in one request.
const MAX_REQUESTS: usize = 100;

/// Serves an Execute.
pub(super) fn execute(state: &mut State, token: &Token, message: &Element) -> String {
    let mut results = String::new();
    let (mut taken, mut refused) = (0, 0);
    for (ordinal, request) in message.all("Requests").take(MAX_REQUESTS).enumerate() {
        let (status, words, code) = match one(state, token, request) {
            Ok(()) => {
                taken += 1;
                ("OK", "Event posted", 0)
            }
            Err((code, words)) => {
                refused += 1;
                ("Error", words, code)
            }
        };
        results.push_str("<Results>");
        results.push_str(&tag("StatusCode", Some(status)));
        results.push_str(&tag("StatusMessage", Some(words)));
        results.push_str(&tag("OrdinalID", Some(&ordinal.to_string())));
        results.push_str(&tag("ErrorCode", Some(&code.to_string())));
        results.push_str("</Results>");
    }
    format!(
        "<ExecuteResponseMsg xmlns=\"{PARTNER}\">{}{}{results}</ExecuteResponseMsg>",
        tag("OverallStatus", Some(overall(taken, refused))),
        tag("RequestID", Some(&guid()))
    )
}

fn one(state: &mut State, token: &Token, request: &Element) -> Result<(), (u32, &'static str)> {
    if request.value("Name") != Some("LogUnsubEvent") {
        return Err((5, "Method is not allowed on this type."));
    }
    let parameters: HashMap<&str, &str> = request
        .all("Parameters")
        .filter_map(|parameter| Some((parameter.value("Name")?, parameter.value("Value")?)))
        .collect();
    if parameters.is_empty() {
        return Err((402, "No parameters were given"));
    }
    let mid = client(state, token, request).ok_or((2, "No access to the Client"))?;
    let by_key = parameters.get("SubscriberKey").map(|key| state.place(key));
    let by_id = parameters.get("SubscriberID").map(|id| {
        let place = id.parse::<usize>().ok()?.checked_sub(1)?;
        state.subscriber(place).map(|_| place)
    });
    let place = match (by_key, by_id) {
        (None, None) => return Err((403, "No identifier was given")),
        (Some(key), Some(id)) if key != id => return Err((405, "The identifiers disagree")),
        (Some(found), _) | (None, Some(found)) => found,
    };
    let place = place.ok_or((408, "There is no such subscriber"))?;
    let red = state.standing(place, mid).map(|standing| standing.status);
    if red == Some(Status::Unsubscribed) {
        return Err((401, "Already unsubscribed"));
    }
    let reason = parameters.get("Reason").copied().unwrap_or("API");
    state.set(place, mid, Status::Unsubscribed, reason);
    Ok(())
}
