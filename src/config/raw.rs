//! The configuration as it was given: a tree of values from the file, overlaid by the environment.
//!
//! Nothing is judged here but form: [`Table`] hands out values of the type asked for and notes every
//! fault on the way, so that one run reports all of them. A getter that noted a fault returns a
//! stand-in; what is built from stand-ins is thrown away with the report.

use super::checked::SecretsMark;
use super::keys::{self, Keys};
use super::{ConfigFault, ConfigFaults};
use config::{Config, Environment, File, FileFormat, Map, Value, ValueKind};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Environment variables that begin with this and two underscores override the file.
const PREFIX: &str = "CONSENTD";
/// What the `config` crate calls the origin of a value from the environment.
const FROM_ENVIRONMENT: &str = "the environment";

/// The merged tree.
#[derive(Debug)]
pub(super) struct Raw(Value);

impl Raw {
    /// Merges the file's text with the environment, which wins. Variables that are set but empty
    /// count as not set.
    ///
    /// # Errors
    /// The text is no TOML. The message gives the place but not the text, which may hold a secret.
    pub(super) fn read(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigFaults> {
        let unreadable = |message: String| ConfigFaults::one("(file)", message);
        if let Err(fault) = toml::from_str::<toml::Table>(text) {
            let line = fault.span().map_or(1, |span| {
                text.bytes()
                    .take(span.start)
                    .filter(|byte| *byte == b'\n')
                    .count()
                    + 1
            });
            return Err(unreadable(format!(
                "line {line} is no TOML: {}",
                fault.message()
            )));
        }
        let variables: Map<String, String> = environment.into_iter().collect();
        let merged = Config::builder()
            .add_source(File::from_str(text, FileFormat::Toml))
            .add_source(
                Environment::with_prefix(PREFIX)
                    .prefix_separator("__")
                    .separator("__")
                    .ignore_empty(true)
                    .source(Some(variables)),
            )
            .build()
            .map_err(|_| {
                unreadable("the file and the environment do not fit together".to_owned())
            })?;
        Ok(Self(merged.cache))
    }

    /// The outermost table.
    pub(super) fn root<'a>(&'a self, notes: &'a Notes) -> Table<'a> {
        Table::open("", Some(&self.0), keys::ROOT, notes)
    }
}

/// What is found on the way: faults, and a mark of the secrets.
#[derive(Debug, Default)]
pub(super) struct Notes {
    faults: RefCell<Vec<ConfigFault>>,
    secrets: RefCell<Sha256>,
}

impl Notes {
    /// Notes one fault.
    pub(super) fn add(&self, key: impl Into<String>, what: impl Display) {
        self.faults.borrow_mut().push(ConfigFault {
            key: key.into(),
            what: what.to_string(),
        });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.faults.borrow().len()
    }

    /// A secret was read.
    pub(super) fn saw_secret(&self, secret: &[u8]) {
        let mut seen = self.secrets.borrow_mut();
        seen.update((secret.len() as u64).to_be_bytes());
        seen.update(secret);
    }

    /// A mark of the secrets read since the last time.
    pub(super) fn secrets_mark(&self) -> SecretsMark {
        SecretsMark(
            std::mem::take(&mut *self.secrets.borrow_mut())
                .finalize()
                .into(),
        )
    }

    /// All faults, by key.
    pub(super) fn into_faults(self) -> Vec<ConfigFault> {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults.dedup();
        faults
    }
}

/// A value with its path.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    /// Its path, e.g. `store.url`.
    pub(super) path: String,
    value: &'a Value,
    notes: &'a Notes,
}

impl<'a> Item<'a> {
    /// Whether it came from the environment, where every value is text.
    pub(super) fn is_from_environment(&self) -> bool {
        self.value.origin() == Some(FROM_ENVIRONMENT)
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = match self.value.kind {
            ValueKind::Nil => "nothing",
            ValueKind::Boolean(_) => "true or false",
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
                "a whole number"
            }
            ValueKind::Float(_) => "a fraction",
            ValueKind::String(_) => "text",
            ValueKind::Table(_) => "a table",
            ValueKind::Array(_) => "a list",
        };
        self.notes
            .add(&self.path, format!("must be {wanted}, but is {found}"));
        None
    }

    /// As text that is not blank.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.value.kind {
            ValueKind::String(text) if text.trim().is_empty() => {
                self.notes
                    .add(&self.path, "must not be empty; set it or remove the line");
                None
            }
            ValueKind::String(text) => Some(text.trim()),
            _ => self.wrong_type("text in quotes"),
        }
    }

    fn flag(&self) -> Option<bool> {
        match &self.value.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            ValueKind::String(text) if self.is_from_environment() => match text.trim() {
                "true" => Some(true),
                "false" => Some(false),
                _ => self.wrong_type("true or false"),
            },
            _ => self.wrong_type("true or false, without quotes"),
        }
    }

    fn number(&self) -> Option<i64> {
        match &self.value.kind {
            ValueKind::I64(number) => Some(*number),
            ValueKind::String(text) if self.is_from_environment() => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => self.wrong_type("a whole number"),
            },
            _ => self.wrong_type("a whole number, without quotes"),
        }
    }

    /// A share in percent, with a fraction or without, in millionths.
    fn percent(&self) -> Option<u32> {
        let percent = match &self.value.kind {
            ValueKind::I64(number) => *number as f64,
            ValueKind::Float(number) => *number,
            ValueKind::String(text) if self.is_from_environment() => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => return self.wrong_type("a number of percent"),
            },
            _ => return self.wrong_type("a number of percent, without quotes"),
        };
        if (0.0..=100.0).contains(&percent) {
            return Some((percent * 10_000.0).round() as u32);
        }
        self.notes.add(
            &self.path,
            format!("must be 0 to 100 percent, but is {percent}"),
        );
        None
    }

    /// As a list of texts.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        match &self.value.kind {
            ValueKind::Array(values) => Some(
                self.items(values)
                    .filter_map(|item| item.text().map(str::to_owned))
                    .collect(),
            ),
            ValueKind::String(text) if self.is_from_environment() => Some(
                text.split(',')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty())
                    .collect(),
            ),
            _ => self.wrong_type("a list of texts, e.g. [\"one\", \"two\"]"),
        }
    }

    fn items(&self, values: &'a [Value]) -> impl Iterator<Item = Item<'a>> {
        let (path, notes) = (self.path.clone(), self.notes);
        values.iter().enumerate().map(move |(index, value)| Item {
            path: format!("{path}[{index}]"),
            value,
            notes,
        })
    }
}

/// One table of the tree, and what may stand in it.
#[derive(Debug)]
pub(super) struct Table<'a> {
    /// Its path; empty for the outermost one.
    pub(super) path: String,
    /// Where faults are noted.
    pub(super) notes: &'a Notes,
    values: Option<&'a Map<String, Value>>,
    keys: Keys,
}

impl<'a> Table<'a> {
    fn open(path: &str, value: Option<&'a Value>, keys: Keys, notes: &'a Notes) -> Self {
        let values = value.and_then(|value| {
            if let ValueKind::Table(values) = &value.kind {
                Some(values)
            } else {
                Item {
                    path: path.to_owned(),
                    value,
                    notes,
                }
                .wrong_type("a table")
            }
        });
        let table = Self {
            path: path.to_owned(),
            notes,
            values,
            keys,
        };
        table.refuse_unknown();
        table
    }

    fn refuse_unknown(&self) {
        for (key, value) in self.values.into_iter().flatten() {
            let path = self.path_of(key);
            if self.keys.known.contains(&key.as_str()) {
                continue;
            }
            if self.keys.environment_only.contains(&key.as_str()) {
                if value.origin() != Some(FROM_ENVIRONMENT) {
                    let variable = path.to_uppercase().replace('.', "__");
                    self.notes.add(
                        path,
                        format!(
                            "a secret must not stand in this file; use {key}_file, or the environment \
                             variable {PREFIX}__{variable}"
                        ),
                    );
                }
                continue;
            }
            let origin = match value.origin() {
                Some(FROM_ENVIRONMENT) => " (set in the environment)",
                _ => "",
            };
            let all = self
                .keys
                .known
                .iter()
                .chain(self.keys.environment_only)
                .copied();
            let advice = match keys::nearest(key, all) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("known here: {}", self.keys.known.join(", ")),
            };
            self.notes
                .add(path, format!("unknown key{origin}; {advice}"));
        }
    }

    /// The path of a key of this table; a key with a dot is quoted, as in the file.
    pub(super) fn path_of(&self, key: &str) -> String {
        let key = if key.contains('.') {
            format!("{key:?}")
        } else {
            key.to_owned()
        };
        if self.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes a fault of one key.
    pub(super) fn fault(&self, key: &str, what: impl Display) {
        self.notes.add(self.path_of(key), what);
    }

    /// Whether the table was given at all.
    pub(super) fn is_given(&self) -> bool {
        self.values.is_some()
    }

    /// The value of a key, if it is there.
    pub(super) fn item(&self, key: &str) -> Option<Item<'a>> {
        debug_assert!(
            self.keys.known.contains(&key) || self.keys.environment_only.contains(&key),
            "{key} is not listed for {}",
            self.keys.table
        );
        let value = self.values?.get(key)?;
        Some(Item {
            path: self.path_of(key),
            value,
            notes: self.notes,
        })
    }

    /// The value of a key that must be there; `what_for` ends the sentence "is missing; set it …".
    fn required(&self, key: &str, what_for: &str) -> Option<Item<'a>> {
        let item = self.item(key);
        if item.is_none() {
            self.fault(key, format!("is missing; set it to {what_for}"));
        }
        item
    }

    /// Text, if given.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.item(key)?.text().map(str::to_owned)
    }

    /// Text, or the default.
    pub(super) fn text_or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or_else(|| default.to_owned())
    }

    /// Text that must be there.
    pub(super) fn text_required(&self, key: &str, what_for: &str) -> String {
        self.required(key, what_for)
            .and_then(|item| item.text())
            .unwrap_or_default()
            .to_owned()
    }

    /// `true` or `false`.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> bool {
        self.item(key)
            .and_then(|item| item.flag())
            .unwrap_or(default)
    }

    /// A whole number within bounds; `unit` names what it counts.
    pub(super) fn number_or(
        &self,
        key: &str,
        unit: &str,
        default: u32,
        bounds: RangeInclusive<u32>,
    ) -> u32 {
        let Some(number) = self.item(key).and_then(|item| item.number()) else {
            return default;
        };
        match u32::try_from(number) {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                self.fault(
                    key,
                    format!(
                        "must be {} to {} {unit}, but is {number}",
                        bounds.start(),
                        bounds.end()
                    ),
                );
                default
            }
        }
    }

    /// A share in percent, in millionths.
    pub(super) fn percent_or(&self, key: &str, default: u32) -> u32 {
        let given = self.item(key).and_then(|item| item.percent());
        given.unwrap_or(default)
    }

    /// A list of texts; empty when not given.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        self.item(key)
            .and_then(|item| item.texts())
            .unwrap_or_default()
    }

    /// One of several words, if given.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let given = self.item(key)?.text()?;
        let found = words
            .iter()
            .find(|(word, _)| *word == given)
            .map(|(_, meaning)| *meaning);
        if found.is_none() {
            self.fault(key, format!("must be {}, but is {given:?}", one_of(words)));
        }
        found
    }

    /// One of several words that must be there.
    pub(super) fn word_required<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.required(key, &one_of(words))?;
        self.word(key, words)
    }

    /// A table below this one; empty when not given.
    pub(super) fn table(&self, key: &str, keys: Keys) -> Table<'a> {
        Table::open(
            &self.path_of(key),
            self.item(key).map(|item| item.value),
            keys,
            self.notes,
        )
    }

    /// A list of tables; empty when not given.
    pub(super) fn tables(&self, key: &str, keys: Keys) -> Vec<Table<'a>> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let ValueKind::Array(values) = &item.value.kind else {
            item.wrong_type::<()>(&format!("a list of tables, each under [[{}]]", item.path));
            return Vec::new();
        };
        item.items(values)
            .map(|entry| Table::open(&entry.path, Some(entry.value), keys, self.notes))
            .collect()
    }

    /// The entries of a table whose keys are names chosen by the operator, in the order of the names.
    pub(super) fn named(&self, key: &str) -> Vec<(String, Item<'a>)> {
        let Some(item) = self.item(key) else {
            return Vec::new();
        };
        let ValueKind::Table(values) = &item.value.kind else {
            item.wrong_type::<()>("a table");
            return Vec::new();
        };
        let mut named: Vec<_> = values
            .iter()
            .map(|(name, value)| {
                let quoted = if name.contains('.') {
                    format!("{name:?}")
                } else {
                    name.clone()
                };
                let path = format!("{}.{quoted}", item.path);
                (
                    name.clone(),
                    Item {
                        path,
                        value,
                        notes: self.notes,
                    },
                )
            })
            .collect();
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        named
    }
}

impl<'a> Item<'a> {
    /// Opens the value as a table.
    pub(super) fn as_table(&self, keys: Keys) -> Table<'a> {
        Table::open(&self.path, Some(self.value), keys, self.notes)
    }

    /// Opens the value as a table; `keys` may depend on what it says under `by`.
    pub(super) fn table_by(&self, by: &str, choose: impl Fn(Option<&str>) -> Keys) -> Table<'a> {
        let kind = match &self.value.kind {
            ValueKind::Table(values) => values.get(by).and_then(|value| match &value.kind {
                ValueKind::String(text) => Some(text.as_str()),
                _ => None,
            }),
            _ => None,
        };
        Table::open(&self.path, Some(self.value), choose(kind), self.notes)
    }
}

/// `"a", "b" or "c"`.
fn one_of<T>(words: &[(&str, T)]) -> String {
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        _ => quoted.concat(),
    }
}
