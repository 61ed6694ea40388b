//! The endpoints of webhooks: `/v1/Webhook/…` and the agent.

use serde_json::{Map, Value, json};

use super::errors::{Trouble, model_error};
use super::http::{Asker, no_method, no_resource};
use super::state::State;
use super::webhooks::{Event, Hook, WebhookStatus, state_event, tell};
use super::{carriers, patch};
use crate::rest::{Call, Reply};

/// Most webhooks.
pub(crate) const MAX_HOOKS: usize = 100;
/// Most events of one webhook.
pub(crate) const MAX_EVENTS: usize = 100;

/// `Webhook`.
fn carrier(state: &State, hook: &Hook, asker: &Asker) -> Value {
    json!({
        "WebhookId": hook.id,
        "Name": hook.name,
        "Events": hook.events,
        "TargetUrl": hook.target,
        "Secret": hook.secret,
        "State": hook.status,
        "Type": "webhook",
        "Headers": hook.headers,
        "Properties": hook.properties,
        "Registered": asker.time(hook.registered),
        "RegisteredAssociate": carriers::associate(state, hook.registered_by),
        "Updated": asker.time(hook.updated),
        "UpdatedAssociate": carriers::associate(state, hook.updated_by),
        "ErrorsEmail": null,
        "ErrorEmails": [],
        "ErrorAssociates": [],
        "Description": "",
        "NotifyVia": "None",
        "NotifyWhen": "None",
        "TotalCalls": hook.total_calls,
        "TotalErrors": hook.total_errors,
        "ConsecutiveErrors": hook.consecutive_errors,
        "LastError": hook.last_error,
        "TableRight": null,
        "FieldProperties": {},
    })
}

/// What a target that has to be tested before a save would get: its address and secret.
pub(crate) fn to_test(state: &State, call: &Call) -> Option<(String, String)> {
    let body: Value = serde_json::from_slice(&call.body).ok()?;
    let segments = crate::rest::segments(&call.path);
    let names: Vec<String> = segments
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let saves = match (call.method.as_str(), names.as_slice()) {
        ("POST", [_, "api", "v1", "webhook"] | [_, "api", "v1", "webhook", "test"])
        | ("PUT" | "PATCH", [_, "api", "v1", "webhook", _]) => true,
        ("POST", [_, "api", "v1", "agents", "webhook", method]) => {
            matches!(*method, "savewebhook" | "testwebhook")
        }
        _ => false,
    };
    let member = |name: &str| match &body {
        Value::Object(hook) => hook.get(name),
        Value::Array(operations) => operations
            .iter()
            .find(|operation| {
                let path = operation.get("path").and_then(Value::as_str);
                path.is_some_and(|path| path.trim_start_matches('/').eq_ignore_ascii_case(name))
            })
            .and_then(|operation| operation.get("value")),
        _ => None,
    };
    let target = member("TargetUrl").and_then(Value::as_str)?;
    let secret = member("Secret").and_then(Value::as_str);
    let wanted = saves && state.settings.webhooks && allowed(state, target).is_ok();
    wanted.then(|| (target.to_owned(), secret.unwrap_or_default().to_owned()))
}

fn allowed(state: &State, target: &str) -> Result<(), Trouble> {
    let scheme = url::Url::parse(target).map(|url| url.scheme().to_owned());
    match scheme.as_deref() {
        Ok("https") => Ok(()),
        Ok("http") if !state.settings.webhook_https => Ok(()),
        Ok(_) => Err(Trouble::bad("the target must be HTTPS")),
        Err(_) => Err(Trouble::bad("the target is not an address")),
    }
}

/// `/v1/Webhook/…`.
pub(crate) fn serve(
    state: &mut State,
    call: &Call,
    rest: &[String],
    asker: &Asker,
) -> Result<Reply, Trouble> {
    enabled(state)?;
    let lower: Vec<String> = rest.iter().map(|name| name.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (call.method.as_str(), names.as_slice()) {
        ("GET", []) => Ok(Reply::json(200, filtered(state, call, asker))),
        ("GET", ["default"]) => Ok(Reply::json(200, carrier(state, &Hook::default(), asker))),
        ("POST", []) => save(state, None, &body(call)?, asker),
        ("POST", ["test"]) => Ok(tested(state)),
        ("GET", [id]) => {
            let hook = find(state, id)?;
            Ok(Reply::json(200, carrier(state, hook, asker)))
        }
        ("PUT", [id]) => {
            let id = find(state, id)?.id;
            save(state, Some(id), &body(call)?, asker)
        }
        ("PATCH", [id]) => {
            let hook = find(state, id)?;
            let (id, before) = (hook.id, carrier(state, hook, asker));
            let change = serde_json::from_slice(&call.body)
                .map_err(|_| Trouble::bad("the body is not JSON"))?;
            match patch::apply(before, &change) {
                Ok(Value::Object(after)) => save(state, Some(id), &after, asker),
                Ok(_) | Err(patch::Refused::Malformed(_)) => {
                    Err(Trouble::bad("the body is not a patch"))
                }
                Err(patch::Refused::Test(path)) => Ok(model_error(409, "The test failed.", &path)),
            }
        }
        ("DELETE", [id]) => {
            let id = find(state, id)?.id;
            state.webhooks.hooks.remove(&id);
            Ok(Reply::empty(204))
        }
        ("GET", [id, "lasterror"]) => Ok(Reply::json(200, json!(find(state, id)?.last_error))),
        ("POST", [event, key]) => {
            let key: i64 = key
                .parse()
                .map_err(|_| Trouble::bad("the primary key is not a number"))?;
            let values = serde_json::from_slice(&call.body).unwrap_or_default();
            let entity = event.split('.').next().unwrap_or_default();
            let event = Event {
                name: event,
                entity,
                key,
                changes: &[],
                values,
                by: asker.associate,
            };
            tell(state, &event);
            Ok(Reply::empty(204))
        }
        (_, [] | [_]) => Ok(no_method(call)),
        _ => Ok(no_resource(call)),
    }
}

/// `/v1/Agents/Webhook/{method}`.
pub(crate) fn agent(
    state: &mut State,
    call: &Call,
    method: &str,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    enabled(state)?;
    let body = body(call).unwrap_or_default();
    let id = body.get("WebhookId").and_then(Value::as_i64).unwrap_or(0);
    match method {
        "createdefaultwebhook" => Ok(Reply::json(200, carrier(state, &Hook::default(), asker))),
        "getallwebhooks" => Ok(Reply::json(200, filtered(state, call, asker))),
        "getwebhook" => {
            let hook = state.webhooks.hook(id);
            let found = hook.map(|hook| carrier(state, hook, asker));
            Ok(Reply::json(200, found.unwrap_or(Value::Null)))
        }
        "savewebhook" => save(state, (id != 0).then_some(id), &body, asker),
        "testwebhook" => Ok(tested(state)),
        "deletewebhook" => {
            if state.webhooks.hooks.remove(&id).is_none() {
                return Err(Trouble::not_found("Webhook", id));
            }
            Ok(Reply::empty(204))
        }
        _ => Ok(no_resource(call)),
    }
}

fn enabled(state: &State) -> Result<(), Trouble> {
    if state.settings.webhooks {
        Ok(())
    } else {
        let message = "webhooks are not enabled on this server";
        Err(Trouble::new(403, "SoLicenseException", message))
    }
}

fn body(call: &Call) -> Result<Map<String, Value>, Trouble> {
    serde_json::from_slice(&call.body).map_err(|_| Trouble::bad("the body is not a webhook"))
}

fn find<'s>(state: &'s State, id: &str) -> Result<&'s Hook, Trouble> {
    id.parse()
        .ok()
        .and_then(|id| state.webhooks.hook(id))
        .ok_or_else(|| Trouble::not_found("Webhook", id))
}

fn filtered(state: &State, call: &Call, asker: &Asker) -> Value {
    let param = |name: &str| {
        let value = call.param(name).filter(|value| !value.is_empty());
        value.map(|value| value.to_lowercase())
    };
    let (name, event, status) = (
        param("nameFilter"),
        param("eventFilter"),
        param("statusFilter"),
    );
    let shown = state.webhooks.hooks.values().filter(|hook| {
        let named = name
            .as_ref()
            .is_none_or(|part| hook.name.to_lowercase().contains(part));
        let about = event
            .as_ref()
            .is_none_or(|event| hook.events.iter().any(|one| one.contains(event.as_str())));
        let status = status.as_ref().is_none_or(|status| {
            status == "unknown" || format!("{:?}", hook.status).to_lowercase() == *status
        });
        named && about && status
    });
    shown.map(|hook| carrier(state, hook, asker)).collect()
}

fn tested(state: &mut State) -> Reply {
    let (success, message) = match state.webhooks.tested.take() {
        Some(Ok(())) => (true, String::new()),
        Some(Err(why)) => (false, why),
        None => (false, "the target cannot be called".to_owned()),
    };
    Reply::json(200, json!({"Success": success, "Message": message}))
}

fn save(
    state: &mut State,
    id: Option<i64>,
    body: &Map<String, Value>,
    asker: &Asker,
) -> Result<Reply, Trouble> {
    let known = match id {
        Some(id) => Some(find(state, &id.to_string())?.clone()),
        None if state.webhooks.hooks.len() >= MAX_HOOKS => {
            return Err(Trouble::bad("too many webhooks"));
        }
        None => None,
    };
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let was = known.as_ref().map(|hook| hook.status);
    let mut hook = known.unwrap_or_default();
    if text("Type").is_some_and(|kind| kind != "webhook") {
        return Err(Trouble::bad("only webhooks of type webhook are served"));
    }
    if let Some(name) = text("Name") {
        name.clone_into(&mut hook.name);
    }
    if let Some(events) = body.get("Events").and_then(Value::as_array) {
        let names = events.iter().filter_map(Value::as_str);
        hook.events = names.map(str::to_lowercase).collect();
    }
    if hook.events.is_empty() || hook.events.len() > MAX_EVENTS {
        return Err(Trouble::bad("a webhook needs events"));
    }
    let target = text("TargetUrl").unwrap_or_default();
    let moved = target != hook.target;
    allowed(state, target)?;
    // A target is called before it is saved; patches that leave it alone are not tested.
    match state.webhooks.tested.take() {
        Some(Err(why)) => return Err(Trouble::bad(format!("the target refused a test: {why}"))),
        None if moved => return Err(Trouble::bad("the target could not be tested")),
        _ => {}
    }
    target.clone_into(&mut hook.target);
    if let Some(secret) = text("Secret") {
        secret.clone_into(&mut hook.secret);
    }
    if let Some(Value::Object(headers)) = body.get("Headers") {
        hook.headers.clone_from(headers);
    }
    if let Some(properties) = body.get("Properties") {
        hook.properties.clone_from(properties);
    }
    hook.status = status(body.get("State")).unwrap_or(hook.status);
    let now = state.stamp();
    if id.is_none() {
        state.webhooks.last += 1;
        hook.id = state.webhooks.last;
        (hook.registered, hook.registered_by) = (Some(now), asker.associate);
    } else {
        (hook.updated, hook.updated_by) = (Some(now), asker.associate);
    }
    let (number, status) = (hook.id, hook.status);
    let changed = was.is_some_and(|was| was != status);
    if changed && status == WebhookStatus::Active {
        hook.consecutive_errors = 0;
    }
    state.webhooks.hooks.insert(number, hook);
    if changed {
        let what = if status == WebhookStatus::Active {
            "started"
        } else {
            "stopped"
        };
        state_event(state, number, what, asker.associate);
    }
    let hook = find(state, &number.to_string())?;
    Ok(Reply::json(200, carrier(state, hook, asker)))
}

/// A state by name or number; "Unknown" leaves it as it is.
fn status(value: Option<&Value>) -> Option<WebhookStatus> {
    let value = value?;
    if let Some(number) = value.as_i64() {
        return match number {
            1 => Some(WebhookStatus::Active),
            2 => Some(WebhookStatus::Stopped),
            3 => Some(WebhookStatus::TooManyErrors),
            _ => None,
        };
    }
    let named: WebhookStatus = serde_json::from_value(value.clone()).ok()?;
    (named != WebhookStatus::Unknown).then_some(named)
}
