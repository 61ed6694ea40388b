//! Whether an answer is what `docs/openapi.json` describes.

use consentd::web::router::OPENAPI;
use serde_json::Value;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(OPENAPI).unwrap());

/// Fails the test when the body is not what is described for that answer, or has a member that is not.
pub(crate) fn assert_fits(path: &str, method: &str, status: u16, body: &Value) {
    let answers = &DOCUMENT["paths"][path][method]["responses"];
    let content = &answers[status.to_string()]["content"];
    let (_, content) = content
        .as_object()
        .and_then(|kinds| kinds.iter().next())
        .unwrap_or_else(|| panic!("{method} {path} {status} is not described"));
    fits(&content["schema"], body, path);
}

fn fits(schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema.get("$ref") {
        let pointer = reference.as_str().unwrap().trim_start_matches('#');
        return fits(DOCUMENT.pointer(pointer).unwrap(), value, place);
    }
    if let Some(words) = schema.get("enum") {
        let words = words.as_array().unwrap();
        assert!(
            words.contains(value),
            "{place}: {value} is none of {words:?}"
        );
        return;
    }
    let is_right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        other => panic!("{place}: type {other:?}"),
    };
    assert!(is_right, "{place}: {value} is no {}", schema["type"]);
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        assert!(value.get(name).is_some(), "{place}: {name} is missing");
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let described = schema["properties"].get(name);
        let described = described.unwrap_or_else(|| panic!("{place}: {name} is not described"));
        fits(described, member, &format!("{place}.{name}"));
    }
    for member in value.as_array().into_iter().flatten() {
        fits(&schema["items"], member, &format!("{place}[]"));
    }
}
