//! PATCH in the product's two dialects (REST web API: "PATCH").
//!
//! An array is a JSON Patch with `add`, `replace`, `remove` and `test`; an object is a JSON Merge Patch, but for one
//! deviation: an object where the entity has an array is appended to it. Paths are compared without regard to case and
//! may leave out the leading slash.

use serde_json::Value;

/// Most operations in one patch.
pub(crate) const MAX_OPERATIONS: usize = 1_000;

/// Why a patch was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// A `test` at this path failed.
    Test(String),
    /// It is not a patch.
    Malformed(String),
}

fn malformed(why: impl Into<String>) -> Refused {
    Refused::Malformed(why.into())
}

/// The entity as the patch leaves it.
pub(crate) fn apply(mut entity: Value, patch: &Value) -> Result<Value, Refused> {
    match patch {
        Value::Array(operations) if operations.len() <= MAX_OPERATIONS => {
            for operation in operations {
                step(&mut entity, operation)?;
            }
        }
        Value::Array(_) => return Err(malformed("too many operations")),
        Value::Object(_) => merge(&mut entity, patch),
        _ => return Err(malformed("neither operations nor an object")),
    }
    Ok(entity)
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(members), Value::Object(changes)) => {
            for (name, change) in changes {
                let known = members
                    .keys()
                    .find(|key| key.eq_ignore_ascii_case(name))
                    .cloned()
                    .unwrap_or_else(|| name.clone());
                if change.is_null() {
                    members.insert(known, Value::Null);
                } else {
                    merge(members.entry(known).or_insert(Value::Null), change);
                }
            }
        }
        (Value::Array(elements), Value::Object(_)) => elements.push(patch.clone()),
        (target, _) => *target = patch.clone(),
    }
}

fn step(entity: &mut Value, operation: &Value) -> Result<(), Refused> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let name = text("op").ok_or_else(|| malformed("an operation without op"))?;
    let path = text("path").ok_or_else(|| malformed("an operation without path"))?;
    let value = operation.get("value").cloned().unwrap_or(Value::Null);
    let mut steps: Vec<String> = path
        .trim_start_matches('/')
        .split('/')
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    let last = steps.pop().unwrap_or_default();
    let gone = || malformed(format!("{path} leads nowhere"));
    let mut parent = entity;
    for step in &steps {
        parent = child(parent, step).ok_or_else(gone)?;
    }
    match name {
        "test" => {
            if child(parent, &last) == Some(&mut value.clone()) {
                Ok(())
            } else {
                Err(Refused::Test(path.to_owned()))
            }
        }
        "replace" => {
            *child(parent, &last).ok_or_else(gone)? = value;
            Ok(())
        }
        "add" => add(parent, &last, value).ok_or_else(gone),
        "remove" => remove(parent, &last).ok_or_else(gone),
        other => Err(malformed(format!("operation {other:?} is not supported"))),
    }
}

fn member(members: &serde_json::Map<String, Value>, name: &str) -> Option<String> {
    members
        .keys()
        .find(|key| key.eq_ignore_ascii_case(name))
        .cloned()
}

fn child<'v>(parent: &'v mut Value, step: &str) -> Option<&'v mut Value> {
    match parent {
        Value::Object(members) => {
            let name = member(members, step)?;
            members.get_mut(&name)
        }
        Value::Array(elements) => elements.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    }
}

fn add(parent: &mut Value, last: &str, value: Value) -> Option<()> {
    match parent {
        Value::Object(members) => {
            let name = member(members, last).unwrap_or_else(|| last.to_owned());
            match members.get_mut(&name) {
                // "Add" of an object to an array member appends, as in a merge.
                Some(Value::Array(elements)) if value.is_object() => elements.push(value),
                _ => {
                    members.insert(name, value);
                }
            }
            Some(())
        }
        Value::Array(elements) if last == "-" => {
            elements.push(value);
            Some(())
        }
        Value::Array(elements) => {
            let place = last.parse::<usize>().ok()?;
            (place <= elements.len()).then(|| elements.insert(place, value))
        }
        _ => None,
    }
}

fn remove(parent: &mut Value, last: &str) -> Option<()> {
    match parent {
        Value::Object(members) => {
            let name = member(members, last)?;
            members.insert(name, Value::Null);
            Some(())
        }
        Value::Array(elements) => {
            let place = last.parse::<usize>().ok()?;
            (place < elements.len()).then(|| drop(elements.remove(place)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_dialects_change_the_entity() {
        let entity = json!({"Title": "A", "Emails": [{"Value": "a@example.org"}]});
        let cases = [
            (
                "replace, without slash and in another case",
                json!([{"op": "replace", "path": "title", "value": "B"}]),
                json!({"Title": "B", "Emails": [{"Value": "a@example.org"}]}),
            ),
            (
                "a member of an element",
                json!([{"op": "replace", "path": "/Emails/0/Value", "value": "b@example.org"}]),
                json!({"Title": "A", "Emails": [{"Value": "b@example.org"}]}),
            ),
            (
                "an element at the end",
                json!([{"op": "add", "path": "/Emails/-", "value": {"Value": "c@example.org"}}]),
                json!({"Title": "A", "Emails": [{"Value": "a@example.org"}, {"Value": "c@example.org"}]}),
            ),
            (
                "a merge appends an object to an array",
                json!({"Emails": {"Value": "d@example.org"}}),
                json!({"Title": "A", "Emails": [{"Value": "a@example.org"}, {"Value": "d@example.org"}]}),
            ),
            (
                "a merge replaces an array by an array",
                json!({"Emails": []}),
                json!({"Title": "A", "Emails": []}),
            ),
        ];
        for (case, patch, expected) in cases {
            assert_eq!(apply(entity.clone(), &patch), Ok(expected), "{case}");
        }
    }

    #[test]
    fn a_failed_test_refuses_the_patch() {
        let entity = json!({"Title": "A"});
        let patch = json!([{"op": "test", "path": "/Title", "value": "B"}, {"op": "remove", "path": "/Title"}]);
        assert_eq!(
            apply(entity.clone(), &patch),
            Err(Refused::Test("/Title".to_owned()))
        );
        let moved = json!([{"op": "move", "path": "/Title"}]);
        assert!(matches!(apply(entity, &moved), Err(Refused::Malformed(_))));
    }
}
