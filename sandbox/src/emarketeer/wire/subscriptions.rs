//! The subscription module. Subscriptions are a second layer over consent: all are on until the person opts out of one,
//! and none of them says anything about consent.

use axum::http::Method;
use serde_json::{Value, json};

use super::shape::{self, Page, Rows};
use super::{No, Outcome, Params, json_body};
use crate::emarketeer::state::State;
use crate::faults::CallKind;
use crate::rest::{Call, Reply};

/// Most campaigns in a page.
const MAX_CAMPAIGNS: usize = 100;

/// `GET`, `POST`, `DELETE …/subscriptions`: one subscription of one address.
pub(super) fn serve(state: &mut State, call: &Call) -> Outcome {
    let body = if call.body.is_empty() {
        Value::Null
    } else {
        json_body(call)?
    };
    let given = |name: &str| {
        let text = call.param(name);
        text.or_else(|| Some(body.get(name)?.as_str()?.to_owned()))
            .ok_or_else(|| No::invalid(format!("{name} is missing")))
    };
    let email = given("email")?;
    let address = state
        .address(&email)
        .ok_or_else(|| No::invalid("email is not an email address"))?;
    let name = given("name")?;
    if !state.subscriptions.contains(&name) {
        return Err(No::invalid("no such subscription"));
    }
    if call.method == Method::POST {
        if let Some(off) = state.opted_out.get_mut(&address) {
            off.remove(&name);
        }
    } else if call.method == Method::DELETE {
        let off = state.opted_out.entry(address.clone()).or_default();
        off.insert(name.clone());
    }
    let off = state.opted_out.get(&address);
    let subscribed = !off.is_some_and(|off| off.contains(&name));
    let body = json!({"email": address, "name": name, "subscribed": subscribed});
    Ok(Reply::json(200, body))
}

/// `GET …/campaigns`: newest first, perhaps of one folder, in pages.
pub(super) fn campaigns(state: &mut State, call: &Call) -> Outcome {
    let names = state.settings.query.clone();
    let params = Params::of(state, call, &["folder", &names.limit, &names.offset])?;
    let (offset, limit) = params.page(state, CallKind::Subscriptions, MAX_CAMPAIGNS)?;
    let rows = Rows::of(state, CallKind::Subscriptions);
    let folder = params.text("folder");
    let wanted = |of: Option<&str>| folder.is_none() || of == folder.as_deref();
    let mut found: Vec<_> = state
        .campaigns
        .iter()
        .filter(|campaign| wanted(campaign.folder.as_deref()))
        .collect();
    found.sort_by_key(|campaign| std::cmp::Reverse((campaign.created, campaign.id)));
    let page = Page {
        offset,
        limit,
        total: found.len(),
    };
    let shown = found.into_iter().skip(offset).take(limit).map(|campaign| {
        json!({
            "id": shape::id(&state.settings, campaign.id.cast_signed()),
            "name": campaign.name,
            "folder": campaign.folder,
            "created": shape::stamp(&state.settings, campaign.created),
        })
    });
    Ok(rows.all(shown).reply(&state.settings, page))
}
