//! JSON whose shape is not known beforehand: a tree in which no key stands twice, and the places in it.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as text.
    Number(String),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object.
    Map(BTreeMap<String, Node>),
}

/// What is said about an object in which a key stands twice.
const TWICE: &str = "a key stands twice";

impl Node {
    /// Reads a record.
    ///
    /// # Errors
    /// Why it cannot be read, without any of its content.
    pub fn parse(raw: &RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|error| {
            if error.to_string().starts_with(TWICE) {
                TWICE.to_owned()
            } else {
                format!(
                    "the record is not readable JSON (column {})",
                    error.column()
                )
            }
        })
    }

    /// What stands at a place.
    pub fn at(&self, place: &Pointer) -> Option<&Self> {
        place
            .tokens
            .iter()
            .try_fold(self, |node, token| match node {
                Self::Map(members) => members.get(token),
                Self::List(items) => items.get(token.parse::<usize>().ok()?),
                Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => None,
            })
    }

    /// What stands at the first of several places that has anything but `null`; `null` when some
    /// place has that, and `None` when nothing stands at any of them.
    pub fn first(&self, places: &[Pointer]) -> Option<&Self> {
        let mut found = None;
        for place in places {
            match self.at(place) {
                Some(Self::Null) => found = found.or(Some(&Self::Null)),
                Some(node) => return Some(node),
                None => {}
            }
        }
        found
    }

    /// A text or number, as text.
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Self::Number(text) | Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::List(_) | Self::Map(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Node>()? {
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Node::Map(members))
    }
}

/// A place in a JSON text (RFC 6901); the empty one is the whole text.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer {
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads a pointer; `None` when the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self { tokens: Vec::new() });
        }
        let tokens = text.strip_prefix('/')?.split('/');
        Some(Self {
            tokens: tokens
                .map(|token| token.replace("~1", "/").replace("~0", "~"))
                .collect(),
        })
    }

    /// The place behind these steps, outermost first.
    pub fn to(tokens: &[&str]) -> Self {
        Self {
            tokens: tokens.iter().map(|&token| token.to_owned()).collect(),
        }
    }

    /// Its steps, outermost first.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Sets the value at this place, making the objects on the way.
    pub fn set(&self, into: &mut serde_json::Value, value: serde_json::Value) {
        let mut node = into;
        for token in &self.tokens {
            if !node.is_object() {
                *node = serde_json::Value::Object(serde_json::Map::new());
            }
            node = &mut node[token.as_str()];
        }
        *node = value;
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| {
            write!(
                formatter,
                "/{}",
                token.replace('~', "~0").replace('/', "~1")
            )
        })
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Result<Node, String> {
        let raw: Box<RawValue> = serde_json::from_str(text).map_err(|_| "no JSON".to_owned())?;
        Node::parse(&raw)
    }

    fn places(texts: &[&str]) -> Vec<Pointer> {
        texts
            .iter()
            .filter_map(|text| Pointer::parse(text))
            .collect()
    }

    #[test]
    fn the_first_place_that_has_something_counts() {
        let record = node(r#"{"a":null,"b":{"id":7},"c":"x","d":[true,"y"]}"#).unwrap();
        let first = |texts: &[&str]| record.first(&places(texts)).cloned();
        assert_eq!(
            first(&["/z", "/a", "/b/id", "/c"]),
            Some(Node::Number("7".into()))
        );
        assert_eq!(first(&["/a", "/z"]), Some(Node::Null));
        assert_eq!(first(&["/z", "/c/id"]), None);
        assert_eq!(first(&["/d/1"]), Some(Node::Text("y".into())));
        assert_eq!(first(&[""]).as_ref(), Some(&record));
    }

    #[test]
    fn a_key_that_stands_twice_rejects_the_record_wherever_it_stands() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"a":1}]}"#] {
            assert_eq!(node(text), Err(TWICE.to_owned()), "{text}");
        }
    }

    #[test]
    fn odd_json_is_no_record() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for text in [
            deep.as_str(),
            "NaN",
            "\u{feff}{}",
            "{} x",
            r#"{"a":"\ud800"}"#,
        ] {
            assert!(node(text).is_err(), "{text:.20}");
        }
        assert_eq!(
            node("9223372036854775808"),
            Ok(Node::Number("9223372036854775808".into()))
        );
    }

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in ["", "/a", "/a/b~1c/~0d", "/"] {
            assert_eq!(Pointer::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Pointer::parse("a/b"), None);
        let mut body = serde_json::json!({});
        Pointer::parse("/purpose/id")
            .unwrap()
            .set(&mut body, 3.into());
        Pointer::parse("/purpose/name")
            .unwrap()
            .set(&mut body, "x".into());
        assert_eq!(body, serde_json::json!({"purpose": {"id": 3, "name": "x"}}));
    }
}
