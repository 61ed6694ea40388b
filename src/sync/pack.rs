//! The packed columns of the store: records, verdicts, remembered statements, findings, changes.
//!
//! JSON text, written compactly and read back tolerantly; names instead of numbers wherever the
//! configuration may change between two runs. What an older configuration packed and the present
//! one no longer knows is dropped on reading, never guessed.

mod statement;
mod verdicts;

pub use self::verdicts::{PackedLost, PackedVerdict, unpack_verdicts};

use self::statement::{Name, PackedStatement};
use crate::consent::resolve::{Finding, Source};
use crate::consent::send::Doubt;
use crate::consent::{
    At, Basis, Change, Echo, Polarity, PurposeId, Record, Remembered, Rules, Shown, Stamp,
    Statement, Status, SystemRules, Verdict,
};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// A packed text that cannot be read back.
#[derive(Debug, thiserror::Error)]
#[error("a packed {what} cannot be read")]
pub struct PackError {
    what: &'static str,
    #[source]
    source: serde_json::Error,
}

fn read<'a, T: Deserialize<'a>>(what: &'static str, text: &'a str) -> Result<T, PackError> {
    serde_json::from_str(text).map_err(|source| PackError { what, source })
}

/// Serialising these plain structures into memory cannot fail.
fn write<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A value: 0 the default, 1 set, or what a consent record says.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PackedShown {
    Flag(u8),
    Record(PackedStatus, Option<String>),
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum PackedStatus {
    Granted,
    Withdrawn,
}

impl From<Status> for PackedStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Granted => Self::Granted,
            Status::Withdrawn => Self::Withdrawn,
        }
    }
}

impl From<PackedStatus> for Status {
    fn from(status: PackedStatus) -> Self {
        match status {
            PackedStatus::Granted => Self::Granted,
            PackedStatus::Withdrawn => Self::Withdrawn,
        }
    }
}

impl From<&Shown> for PackedShown {
    fn from(shown: &Shown) -> Self {
        match shown {
            Shown::Default => Self::Flag(0),
            Shown::Set => Self::Flag(1),
            Shown::Record { status, basis } => Self::Record(
                (*status).into(),
                basis.as_ref().map(|basis| pack_basis(basis).into_owned()),
            ),
        }
    }
}

impl From<PackedShown> for Shown {
    fn from(packed: PackedShown) -> Self {
        match packed {
            PackedShown::Flag(0) => Self::Default,
            PackedShown::Flag(_) => Self::Set,
            PackedShown::Record(status, basis) => Self::Record {
                status: status.into(),
                basis: basis.as_deref().map(unpack_basis),
            },
        }
    }
}

/// A code that is not mapped is marked, so that it can never be read back as one of our words.
fn pack_basis(basis: &Basis) -> Cow<'_, str> {
    match basis {
        Basis::Other(code) => Cow::Owned(format!("={code}")),
        mapped => Cow::Borrowed(mapped.word()),
    }
}

fn unpack_basis(packed: &str) -> Basis {
    match packed.strip_prefix('=') {
        Some(code) => Basis::Other(code.to_owned()),
        None => Basis::from_word(packed),
    }
}

#[derive(Serialize, Deserialize, Default)]
struct PackedRecord<'a> {
    /// Mark of the purposes that were read: those of them not in `v` showed their default.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    c: Option<Cow<'a, str>>,
    /// Values by purpose.
    #[serde(borrow, default, skip_serializing_if = "ByPurpose::is_empty")]
    v: ByPurpose<'a, PackedShown>,
    /// Statements, with the purposes of which all of them were made: often one edit sets several.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    s: Vec<(Vec<Name<'a>>, Vec<PackedStatement<'a>>)>,
    /// Our own last writes by purpose.
    #[serde(borrow, default, skip_serializing_if = "ByPurpose::is_empty")]
    e: ByPurpose<'a, Vec<PackedEcho>>,
    /// A stamp lay in the future.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    f: bool,
    /// By when the last write had taken effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    w: Option<i64>,
}

/// Value, earliest and latest of its stamp, acknowledged.
#[derive(Serialize, Deserialize)]
struct PackedEcho(PackedShown, Option<(i64, i64)>, bool);

impl From<&Echo> for PackedEcho {
    fn from(echo: &Echo) -> Self {
        let stamp = echo
            .stamp
            .map(|stamp| (stamp.earliest().micros(), stamp.latest().micros()));
        Self((&echo.shown).into(), stamp, echo.acknowledged)
    }
}

impl From<PackedEcho> for Echo {
    fn from(PackedEcho(shown, stamp, acknowledged): PackedEcho) -> Self {
        Self {
            shown: shown.into(),
            stamp: stamp.map(|(earliest, latest)| {
                Stamp::between(At::from_micros(earliest), At::from_micros(latest))
            }),
            acknowledged,
        }
    }
}

/// A JSON object by purpose name, in the order of the names. There are few of them, and every
/// contact has one of these: a list is the cheapest map.
struct ByPurpose<'a, T>(Vec<(Cow<'a, str>, T)>);

impl<T> Default for ByPurpose<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> ByPurpose<'a, T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, name: Cow<'a, str>, value: T) {
        let place = self.0.partition_point(|(known, _)| *known < name);
        self.0.insert(place, (name, value));
    }
}

impl<T: Serialize> Serialize for ByPurpose<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for ByPurpose<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a, T>(PhantomData<ByPurpose<'a, T>>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Members<'a, T> {
            type Value = ByPurpose<'a, T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object by purpose")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = ByPurpose::default();
                while let Some((name, value)) = map.next_entry::<Name<'de>, T>()? {
                    members.0.push((name.0, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Packs and unpacks for one set of rules.
#[derive(Debug)]
pub struct Packer<'r> {
    rules: &'r Rules,
    /// Per system: the mark of its purposes, so that most records need not name them.
    marks: Vec<(crate::consent::SystemId, String)>,
}

impl<'r> Packer<'r> {
    /// A packer for these rules.
    pub fn new(rules: &'r Rules) -> Self {
        let marks = rules
            .systems
            .iter()
            .map(|system| (system.id, mark(rules, system)))
            .collect();
        Self { rules, marks }
    }

    fn mark(&self, system: &SystemRules) -> &str {
        self.marks
            .iter()
            .find(|(id, _)| *id == system.id)
            .map_or("", |(_, mark)| mark)
    }

    /// A contact's record. The empty record is the empty text.
    pub fn record(&self, system: &SystemRules, record: &Record) -> String {
        let read_whole = system
            .carries
            .iter()
            .all(|(purpose, _)| record.shown(*purpose).is_some());
        let mut packed = PackedRecord {
            f: record.future_stamped,
            w: record.written_at.map(At::micros),
            ..PackedRecord::default()
        };
        if read_whole {
            packed.c = Some(Cow::Borrowed(self.mark(system)));
        }
        let mut said: Vec<(Vec<Name<'_>>, &[Statement])> = Vec::new();
        for (purpose, holding) in record.iter() {
            let name = Cow::Borrowed(self.rules.purposes.name(purpose));
            if let Some(shown) = &holding.shown
                && !(read_whole && *shown == Shown::Default)
            {
                packed.v.insert(name.clone(), shown.into());
            }
            if !holding.echoes.is_empty() {
                let echoes = holding.echoes.iter().map(PackedEcho::from).collect();
                packed.e.insert(name.clone(), echoes);
            }
            if !holding.statements.is_empty() {
                let statements = holding.statements.as_slice();
                match said.iter_mut().find(|(_, known)| *known == statements) {
                    Some((names, _)) => names.push(Name(name)),
                    None => said.push((vec![Name(name)], statements)),
                }
            }
        }
        let said = said.into_iter().map(|(mut names, statements)| {
            names.sort_unstable();
            (
                names,
                statements.iter().map(PackedStatement::from).collect(),
            )
        });
        packed.s = said.collect();
        packed.s.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        write(&packed)
    }

    /// Reads a contact's record back.
    ///
    /// # Errors
    /// When the text is not one that [`Packer::record`] makes.
    pub fn unpack_record(&self, system: &SystemRules, text: &str) -> Result<Record, PackError> {
        let mut record = Record::default();
        if text.is_empty() {
            return Ok(record);
        }
        let packed: PackedRecord<'_> = read("record", text)?;
        if packed.c.is_some_and(|mark| mark == self.mark(system)) {
            for (purpose, _) in &system.carries {
                record.entry(*purpose).shown = Some(Shown::Default);
            }
        }
        for (name, shown) in packed.v.0 {
            if let Some(purpose) = self.rules.purposes.find(&name) {
                record.entry(purpose).shown = Some(shown.into());
            }
        }
        for (name, echoes) in packed.e.0 {
            if let Some(purpose) = self.rules.purposes.find(&name) {
                record.entry(purpose).echoes = echoes.into_iter().map(Echo::from).collect();
            }
        }
        for (names, statements) in packed.s {
            for purpose in names
                .iter()
                .filter_map(|name| self.rules.purposes.find(&name.0))
            {
                let holding = record.entry(purpose);
                for statement in &statements {
                    holding.add(statement.unpack());
                }
            }
        }
        record.future_stamped = packed.f;
        record.written_at = packed.w.map(At::from_micros);
        Ok(record)
    }

    fn source<'a>(&'a self, source: &'a Source) -> (Option<&'a str>, &'a str) {
        (
            source.system.map(|id| self.rules.system_name(id)),
            &source.contact,
        )
    }

    /// Statements without a contact; the empty text when there are none. Those in `before` that are
    /// about a purpose which is no longer configured stay as they are: it may come back.
    ///
    /// # Errors
    /// When `before` is not one that this makes.
    pub fn remembered(&self, remembered: &[Remembered], before: &str) -> Result<String, PackError> {
        let mut packed = self.packed(remembered);
        let stored: Vec<PackedRemembered<'_>> = read_remembered(before)?;
        let unknown = |kept: &PackedRemembered<'_>| self.rules.purposes.find(&kept.0).is_none();
        packed.extend(stored.into_iter().filter(unknown));
        if packed.is_empty() {
            return Ok(String::new());
        }
        Ok(write(&packed))
    }

    /// Facts for the ledger, as [`Packer::unpack_remembered`] reads them.
    pub fn facts(&self, facts: &[Remembered]) -> String {
        if facts.is_empty() {
            return String::new();
        }
        write(&self.packed(facts))
    }

    fn packed<'a>(&'a self, remembered: &'a [Remembered]) -> Vec<PackedRemembered<'a>> {
        let packed = remembered.iter().map(|kept| {
            let (system, contact) = self.source(&kept.source);
            PackedRemembered(
                Cow::Borrowed(self.rules.purposes.name(kept.purpose)),
                system.map(Cow::Borrowed),
                Cow::Borrowed(contact),
                (&kept.statement).into(),
                kept.overruled,
            )
        });
        packed.collect()
    }

    /// Reads statements without a contact back.
    ///
    /// # Errors
    /// When the text is not one that [`Packer::remembered`] makes.
    pub fn unpack_remembered(&self, text: &str) -> Result<Vec<Remembered>, PackError> {
        Ok(read_remembered(text)?
            .into_iter()
            .filter_map(
                |PackedRemembered(purpose, system, contact, statement, overruled)| {
                    let system = match system {
                        // A system no longer configured does not take its withdrawals along: they stay,
                        // under no system.
                        Some(name) => self
                            .rules
                            .systems
                            .iter()
                            .find(|s| s.name == name)
                            .map(|s| s.id),
                        None => None,
                    };
                    Some(Remembered {
                        purpose: self.rules.purposes.find(&purpose)?,
                        source: Source {
                            system,
                            contact: contact.into_owned(),
                        },
                        statement: statement.unpack(),
                        overruled,
                    })
                },
            )
            .collect())
    }

    /// Findings; the empty text when there are none.
    pub fn findings(&self, findings: &[Finding]) -> String {
        if findings.is_empty() {
            return String::new();
        }
        let name = |id: PurposeId| Some(Cow::Borrowed(self.rules.purposes.name(id)));
        let packed: Vec<PackedFinding<'_>> = findings
            .iter()
            .map(|finding| {
                let (kind, purpose, source) = match finding {
                    Finding::Conflict { purpose, source } => {
                        ("conflict", name(*purpose), Some(source))
                    }
                    Finding::Inconsistent { purpose, source } => {
                        ("inconsistent", name(*purpose), Some(source))
                    }
                    Finding::WeakGrant { purpose, source } => {
                        ("weak-grant", name(*purpose), Some(source))
                    }
                    Finding::Load { purpose, source } => ("load", name(*purpose), Some(source)),
                    Finding::FutureStamped { source } => ("future-stamped", None, Some(source)),
                    Finding::Flapping { purpose } => ("flapping", name(*purpose), None),
                    Finding::Suppressed { purpose } => ("suppressed", name(*purpose), None),
                };
                let source = source.map(|source| self.source(source));
                PackedFinding {
                    kind: Cow::Borrowed(kind),
                    purpose,
                    system: source.and_then(|(system, _)| system).map(Cow::Borrowed),
                    contact: source.map(|(_, contact)| Cow::Borrowed(contact)),
                }
            })
            .collect();
        write(&packed)
    }

    /// The changes of a write, with the reason and where it was said.
    pub fn changes(&self, changes: &[Change], verdict: &Verdict) -> String {
        let (system, contact) = self.source(&verdict.source);
        write(&PackedWrite {
            changes: changes
                .iter()
                .map(|change| {
                    PackedChange(
                        Cow::Borrowed(self.rules.purposes.name(change.purpose)),
                        change.from.as_ref().map(PackedShown::from),
                        (&change.to).into(),
                    )
                })
                .collect(),
            rule: Cow::Borrowed(verdict.reason.rule()),
            said_in: system.map(Cow::Borrowed),
            said_by: Cow::Borrowed(contact),
            said_at: verdict.statement.stamp.earliest().micros(),
        })
    }

    /// Reads the changes of a write back.
    ///
    /// # Errors
    /// When the text is not one that [`Packer::changes`] makes.
    pub fn unpack_changes(&self, text: &str) -> Result<Write, PackError> {
        let packed: PackedWrite<'_> = read("write", text)?;
        Ok(Write {
            changes: packed
                .changes
                .into_iter()
                .filter_map(|PackedChange(purpose, from, to)| {
                    Some(Change {
                        purpose: self.rules.purposes.find(&purpose)?,
                        from: from.map(Shown::from),
                        to: to.into(),
                    })
                })
                .collect(),
            rule: packed.rule.into_owned(),
            said_in: packed
                .said_in
                .map_or_else(|| "operator".to_owned(), Cow::into_owned),
            said_at: At::from_micros(packed.said_at),
        })
    }
}

fn read_remembered(text: &str) -> Result<Vec<PackedRemembered<'_>>, PackError> {
    if text.is_empty() {
        Ok(Vec::new())
    } else {
        read("list of remembered statements", text)
    }
}

/// Reads packed findings for display.
///
/// # Errors
/// When the text is not one that [`Packer::findings`] makes.
pub fn unpack_findings(text: &str) -> Result<Vec<PackedFinding<'_>>, PackError> {
    if text.is_empty() {
        Ok(Vec::new())
    } else {
        read("list of findings", text)
    }
}

/// A mark of the purposes that a system carries: when the configuration changes, so does the mark,
/// and what was not read is unknown again instead of default.
fn mark(rules: &Rules, system: &SystemRules) -> String {
    // FNV-1a: a mark, not a secret.
    let mut hash: u32 = 0x811c_9dc5;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    for (purpose, polarity) in &system.carries {
        eat(rules.purposes.name(*purpose).as_bytes());
        eat(match polarity {
            Polarity::OptOut => b"!",
            Polarity::Permission => b"+",
            Polarity::Recorded => b"=",
        });
    }
    format!("{hash:08x}")
}

/// A write read back from the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The values to set.
    pub changes: Vec<Change>,
    /// The rule that decided.
    pub rule: String,
    /// The system where it was said, or `operator`.
    pub said_in: String,
    /// When it was said.
    pub said_at: At,
}

#[derive(Serialize, Deserialize)]
struct PackedRemembered<'a>(
    #[serde(borrow)] Cow<'a, str>,
    Option<Cow<'a, str>>,
    Cow<'a, str>,
    PackedStatement<'a>,
    /// An operator has overruled it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bool,
);

/// A stored finding.
#[derive(Debug, Serialize, Deserialize)]
pub struct PackedFinding<'a> {
    /// `conflict`, `inconsistent`, `weak-grant`, `load`, `future-stamped`, `flapping` or `suppressed`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Purpose name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Cow<'a, str>>,
    /// System name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Cow<'a, str>>,
    /// External id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Cow<'a, str>>,
}

impl PackedFinding<'_> {
    /// What it puts in doubt before mail is sent; none for one that is only to be known, as
    /// [`crate::consent::send::doubt`] has it. What this version does not know waits for a person.
    pub fn doubt(&self, rules: &Rules) -> Option<(PurposeId, Doubt)> {
        let doubt = match self.kind.as_ref() {
            "conflict" => Doubt::Conflict,
            "weak-grant" => Doubt::WeakGrant,
            "suppressed" => Doubt::Suppressed,
            "inconsistent" | "load" | "future-stamped" => return None,
            _ => Doubt::Held,
        };
        Some((rules.purposes.find(self.purpose.as_deref()?)?, doubt))
    }
}

#[derive(Serialize, Deserialize)]
struct PackedWrite<'a> {
    #[serde(borrow, rename = "v")]
    changes: Vec<PackedChange<'a>>,
    #[serde(rename = "r")]
    rule: Cow<'a, str>,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    said_in: Option<Cow<'a, str>>,
    #[serde(rename = "c")]
    said_by: Cow<'a, str>,
    #[serde(rename = "at")]
    said_at: i64,
}

#[derive(Serialize, Deserialize)]
struct PackedChange<'a>(
    #[serde(borrow)] Cow<'a, str>,
    Option<PackedShown>,
    PackedShown,
);
