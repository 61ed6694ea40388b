//! Several requests in one: `/composite` in order and with references, `/composite/batch` independent of each other.
//!
//! Reduced: references are replaced in URLs and in string values of bodies; `graph` and `tree` are not there.

use std::collections::HashMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Body, Call, Reply, Session, classify, route, split_version};
use crate::org::state::State;
use crate::refusal::Refusal;

/// Sub-requests in one call.
pub(crate) const MAX_SUBREQUESTS: usize = 25;
/// Sub-requests that are queries or collections.
pub(crate) const MAX_HEAVY: usize = 5;

fn parse_method(text: Option<&str>) -> Result<Method, Refusal> {
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Refusal::new(400, "INVALID_INPUT", "each sub-request needs a method"))
}

/// Runs one sub-request and returns status and body.
fn run(
    state: &mut State,
    session: Session<'_>,
    method: Method,
    url: &str,
    headers: HeaderMap,
    body: Option<&Value>,
) -> Reply {
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/services/data/{path}")
    };
    let Some((_, rest)) = split_version(&path) else {
        return Refusal::not_found().into();
    };
    let kind = classify(&method, &path);
    let call = Call {
        method,
        path: path.clone(),
        query: query.map(str::to_owned),
        headers,
        body: body
            .map(|body| Bytes::from(body.to_string()))
            .unwrap_or_default(),
    };
    if rest.starts_with("/composite/batch") || rest.trim_end_matches('/') == "/composite" {
        return Refusal::new(400, "INVALID_INPUT", "composite calls do not nest").into();
    }
    route(state, &call, kind, rest, session).unwrap_or_else(Reply::from)
}

fn value(body: Body) -> Value {
    match body {
        Body::Json(value) => value,
        Body::Empty | Body::Raw(..) => Value::Null,
    }
}

/// `POST composite/batch`.
pub(crate) fn batch(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
) -> Result<Reply, Refusal> {
    let body = call.json()?;
    let requests = list(&body, "batchRequests")?;
    let halt = body
        .get("haltOnError")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let mut failed = false;
    let mut results = Vec::with_capacity(requests.len());
    for request in requests {
        if failed && halt {
            let refusal = Refusal::new(
                412,
                "BATCH_PROCESSING_HALTED",
                "Batch processing halted per request",
            );
            results.push(json!({"statusCode": 412, "result": [refusal.top()]}));
            continue;
        }
        let method = parse_method(request["method"].as_str())?;
        let url = request["url"].as_str().unwrap_or_default();
        let reply = run(
            state,
            session,
            method,
            url,
            HeaderMap::new(),
            request.get("richInput"),
        );
        failed |= reply.status >= 400;
        results.push(json!({"statusCode": reply.status, "result": value(reply.body)}));
    }
    Ok(Reply::json(
        200,
        json!({"hasErrors": failed, "results": results}),
    ))
}

fn list<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a Vec<Value>, Refusal> {
    let list = body
        .get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| Refusal::new(400, "MISSING_ARGUMENT", format!("{name} is required")))?;
    if list.len() > MAX_SUBREQUESTS {
        let message = format!("at most {MAX_SUBREQUESTS} sub-requests are allowed");
        return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
    }
    Ok(list)
}

/// `POST composite`.
pub(crate) fn composite(
    state: &mut State,
    call: &Call,
    session: Session<'_>,
) -> Result<Reply, Refusal> {
    let body = call.json()?;
    let requests = list(&body, "compositeRequest")?;
    let heavy = requests.iter().filter(|request| {
        request["url"]
            .as_str()
            .is_some_and(|url| url.contains("/query") || url.contains("/composite/sobjects"))
    });
    if heavy.count() > MAX_HEAVY {
        let message = format!("at most {MAX_HEAVY} sub-requests may be queries or collections");
        return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
    }
    let all_or_none = body
        .get("allOrNone")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    if all_or_none {
        state.begin();
    }
    let mut references: HashMap<String, Value> = HashMap::new();
    let mut replies: Vec<(String, Reply)> = Vec::with_capacity(requests.len());
    let mut failed = None;
    for request in requests {
        let reference = request["referenceId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if all_or_none && failed.is_some() {
            replies.push((reference, Reply::empty(400)));
            continue;
        }
        let reply = one(state, session, request, &references);
        if reply.status >= 400 && failed.is_none() {
            failed = Some(replies.len());
        }
        if let Body::Json(value) = &reply.body {
            references.insert(reference.clone(), value.clone());
        }
        replies.push((reference, reply));
    }
    let culprit = failed.filter(|_| all_or_none);
    if all_or_none {
        if culprit.is_some() {
            state.rollback();
        } else {
            state.commit();
        }
    }
    let answers: Vec<Value> = replies
        .into_iter()
        .enumerate()
        .map(|(place, (reference, reply))| {
            if culprit.is_some_and(|culprit| culprit != place) {
                let message = "The transaction was rolled back since another operation in the same transaction failed.";
                let body = json!([{"errorCode": "PROCESSING_HALTED", "message": message}]);
                return json!({"body": body, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": reference});
            }
            let headers: Map<String, Value> =
                reply.headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({
                "body": value(reply.body),
                "httpHeaders": headers,
                "httpStatusCode": reply.status,
                "referenceId": reference,
            })
        })
        .collect();
    Ok(Reply::json(200, json!({"compositeResponse": answers})))
}

fn one(
    state: &mut State,
    session: Session<'_>,
    request: &Value,
    references: &HashMap<String, Value>,
) -> Reply {
    let method = match parse_method(request["method"].as_str()) {
        Ok(method) => method,
        Err(refusal) => return refusal.into(),
    };
    let url = bind(request["url"].as_str().unwrap_or_default(), references);
    let body = request.get("body").map(|body| bind_all(body, references));
    let mut headers = HeaderMap::new();
    for (name, value) in request["httpHeaders"].as_object().into_iter().flatten() {
        let forbidden = ["accept", "authorization", "content-type"]
            .contains(&name.to_ascii_lowercase().as_str());
        if let (false, Ok(name), Some(Ok(value))) = (
            forbidden,
            name.parse::<HeaderName>(),
            value.as_str().map(HeaderValue::from_str),
        ) {
            headers.insert(name, value);
        }
    }
    run(state, session, method, &url, headers, body.as_ref())
}

/// Replaces each `@{reference.field}` by the value in an earlier answer.
fn bind(text: &str, references: &HashMap<String, Value>) -> String {
    let mut bound = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("@{") {
        let Some(length) = rest[start..].find('}') else {
            break;
        };
        let path = &rest[start + 2..start + length];
        let mut steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
        let mut found = steps.next().and_then(|name| references.get(name));
        for step in steps {
            found = found.and_then(|value| {
                step.parse::<usize>()
                    .map_or_else(|_| value.get(step), |at| value.get(at))
            });
        }
        bound.push_str(&rest[..start]);
        match found {
            Some(Value::String(text)) => bound.push_str(text),
            Some(other) => bound.push_str(&other.to_string()),
            None => bound.push_str(&rest[start..=start + length]),
        }
        rest = &rest[start + length + 1..];
    }
    bound.push_str(rest);
    bound
}

fn bind_all(value: &Value, references: &HashMap<String, Value>) -> Value {
    match value {
        Value::String(text) => Value::String(bind(text, references)),
        Value::Array(list) => list.iter().map(|one| bind_all(one, references)).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, one)| (name.clone(), bind_all(one, references)))
                .collect(),
        ),
        other => other.clone(),
    }
}
