//! Rows of queries, whether they come as JSON or as CSV.
//!
//! A row is read into cells in the order of the columns asked for, without an allocation per value
//! where the text allows it. Keys that were not asked for are ignored; a key that stands twice
//! rejects its row.

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// The key is not in the row.
    Missing,
    /// `null`, or an empty CSV value.
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// A JSON string.
    Text(Cow<'a, str>),
    /// A CSV value, which has no type.
    Plain(Cow<'a, str>),
    /// A number, an array or an object.
    Other,
}

impl Cell<'_> {
    /// A check box: a JSON boolean, or `true` or `false` in CSV, and nothing else.
    ///
    /// # Errors
    /// What it is instead.
    pub fn flag(&self) -> Result<bool, &'static str> {
        match self {
            Self::Bool(value) => Ok(*value),
            Self::Plain(text) if text == "true" => Ok(true),
            Self::Plain(text) if text == "false" => Ok(false),
            Self::Missing => Err("is missing; check field-level security"),
            Self::Null => Err("is null where a boolean has to be"),
            Self::Text(_) | Self::Plain(_) => Err("is a text where a boolean has to be"),
            Self::Other => Err("is neither true nor false"),
        }
    }

    /// A text that may be absent.
    ///
    /// # Errors
    /// What it is instead.
    pub fn text(&self) -> Result<Option<&str>, &'static str> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) | Self::Plain(text) => Ok(Some(text)),
            Self::Missing => Err("is missing; check field-level security"),
            Self::Bool(_) | Self::Other => Err("is not a text"),
        }
    }
}

impl<'de> Deserialize<'de> for Cell<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cell::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cell::Null)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Cell::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Cell::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Cell::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Other)
    }
}

/// Reads one JSON row.
///
/// # Errors
/// Why it cannot be read, without any of its content.
pub fn row<'a>(raw: &'a RawValue, columns: &[String]) -> Result<Vec<Cell<'a>>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    RowSeed { columns }
        .deserialize(&mut deserializer)
        .map_err(|error| {
            let text = error.to_string();
            // Only our own message about keys that stand twice is safe and useful to pass on.
            if let Some(rest) = text.strip_prefix(TWICE) {
                let column = rest.split(' ').next().unwrap_or_default();
                format!("the key {column} stands twice")
            } else {
                format!(
                    "the record is not a readable JSON object (column {})",
                    error.column()
                )
            }
        })
}

const TWICE: &str = "key stands twice: ";

struct RowSeed<'c> {
    columns: &'c [String],
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Vec<Cell<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Vec<Cell<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut cells = vec![Cell::Missing; self.columns.len()];
        // Fields come in the order in which they were asked for.
        let mut guess = 0;
        while let Some(place) = entries.next_key_seed(KeySeed {
            columns: self.columns,
            guess,
        })? {
            let Some(place) = place else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            if cells[place] != Cell::Missing {
                return Err(A::Error::custom(format_args!(
                    "{TWICE}{} ",
                    self.columns[place]
                )));
            }
            cells[place] = entries.next_value()?;
            guess = place + 1;
        }
        Ok(cells)
    }
}

/// The place of a key among the columns.
struct KeySeed<'c> {
    columns: &'c [String],
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if self
            .columns
            .get(self.guess)
            .is_some_and(|column| column == key)
        {
            return Ok(Some(self.guess));
        }
        // The platform writes names in its own case, whatever the case they were asked for in.
        Ok(self
            .columns
            .iter()
            .position(|column| column.eq_ignore_ascii_case(key)))
    }
}

/// Reads the rows of a bulk result. Some parts come without a header row; the order is then that of
/// the query. NUL bytes are dropped, an empty value is null.
///
/// # Errors
/// Why the text is no CSV of these columns.
pub fn csv_rows(text: &[u8], columns: &[String]) -> Result<Vec<Vec<Cell<'static>>>, String> {
    let clean: Cow<'_, [u8]> = if text.contains(&0) {
        Cow::Owned(text.iter().copied().filter(|byte| *byte != 0).collect())
    } else {
        Cow::Borrowed(text)
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(&*clean);
    let mut rows = Vec::new();
    let mut order: Option<Vec<Option<usize>>> = None;
    for record in reader.records() {
        let record = record.map_err(|_| "the result is not readable CSV".to_owned())?;
        if order.is_none() {
            let places: Vec<Option<usize>> = record
                .iter()
                .map(|name| {
                    columns
                        .iter()
                        .position(|column| column.eq_ignore_ascii_case(name))
                })
                .collect();
            let header = places.iter().flatten().count() == columns.len();
            order = Some(if header {
                places
            } else {
                (0..columns.len()).map(Some).collect()
            });
            if header {
                continue;
            }
        }
        let mut cells = vec![Cell::Missing; columns.len()];
        for (place, value) in order.iter().flatten().zip(record.iter()) {
            if let Some(place) = place {
                cells[*place] = if value.is_empty() {
                    Cell::Null
                } else {
                    Cell::Plain(Cow::Owned(value.to_owned()))
                };
            }
        }
        rows.push(cells);
    }
    Ok(rows)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A name for a record whose id cannot be read.
pub fn digest(raw: &[u8]) -> String {
    let mut name = "sha256:".to_owned();
    for byte in Sha256::digest(raw).iter().take(12) {
        name.push(char::from(HEX[usize::from(byte >> 4)]));
        name.push(char::from(HEX[usize::from(byte & 15)]));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<String> {
        ["Id", "Email", "HasOptedOutOfEmail"]
            .map(str::to_owned)
            .to_vec()
    }

    fn read(text: &str) -> Result<Vec<Cell<'static>>, String> {
        let raw: Box<RawValue> = serde_json::from_str(text).map_err(|_| "not JSON".to_owned())?;
        let columns = columns();
        let cells = row(&raw, &columns)?;
        Ok(cells
            .into_iter()
            .map(|cell| match cell {
                Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
                Cell::Plain(text) => Cell::Plain(Cow::Owned(text.into_owned())),
                Cell::Bool(value) => Cell::Bool(value),
                Cell::Missing => Cell::Missing,
                Cell::Null => Cell::Null,
                Cell::Other => Cell::Other,
            })
            .collect())
    }

    #[test]
    fn a_row_is_read_in_any_order_of_keys_and_without_what_was_not_asked_for() {
        let cells = read(r#"{"attributes":{"type":"Contact","x":[1,{}]},"hasoptedoutofemail":true,"Id":"003","Extra":1.5}"#).unwrap();
        assert_eq!(
            cells,
            [Cell::Text("003".into()), Cell::Missing, Cell::Bool(true)]
        );
    }

    #[test]
    fn a_key_that_stands_twice_rejects_the_row() {
        let error = read(r#"{"Id":"003","HasOptedOutOfEmail":true,"HasOptedOutOfEmail":false}"#)
            .unwrap_err();
        assert_eq!(error, "the key HasOptedOutOfEmail stands twice");
    }

    #[test]
    fn only_booleans_are_flags() {
        for (text, flag) in [
            ("true", Some(true)),
            ("false", Some(false)),
            ("\"true\"", None),
            ("1", None),
            ("0", None),
            ("null", None),
            ("\"Y\"", None),
            ("[true]", None),
            ("9223372036854775808", None),
        ] {
            let cells = read(&format!(r#"{{"HasOptedOutOfEmail":{text}}}"#)).unwrap();
            assert_eq!(cells[2].flag().ok(), flag, "{text}");
        }
        assert_eq!(
            Cell::Plain("true".into()).flag(),
            Ok(true),
            "bulk results have no types"
        );
        assert!(Cell::Plain("TRUE".into()).flag().is_err());
    }

    #[test]
    fn texts_that_are_no_json_are_no_rows() {
        for text in [
            "NaN",
            "{\"Id\":NaN}",
            "\u{feff}{}",
            "{} x",
            "{\"Id\":\"003\"",
            "[]",
            "\"x\"",
            r#"{"Id":"\ud800"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn csv_is_read_with_and_without_a_header() {
        let columns = columns();
        let with = b"\"HasOptedOutOfEmail\",\"Id\",\"Email\"\n\"true\",\"003\",\"\"\n";
        let row = vec![
            Cell::Plain("003".into()),
            Cell::Null,
            Cell::Plain("true".into()),
        ];
        assert_eq!(
            csv_rows(with, &columns).unwrap(),
            std::slice::from_ref(&row)
        );
        let without = b"\"003\",\"\",\"true\"\n";
        assert_eq!(csv_rows(without, &columns).unwrap(), [row]);
        let odd = b"\"Id\",\"Email\",\"HasOptedOutOfEmail\"\n\"003\",\"a\nb\0c\",\"false\"\n";
        assert_eq!(
            csv_rows(odd, &columns).unwrap()[0][1],
            Cell::Plain("a\nbc".into())
        );
        assert!(csv_rows(b"", &columns).unwrap().is_empty());
    }
}
