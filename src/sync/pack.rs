//! The packed columns of the store: records, verdicts, remembered statements, findings, changes.
//!
//! JSON text, written compactly and read back tolerantly; names instead of numbers wherever the
//! configuration may change between two runs. What an older configuration packed and the present
//! one no longer knows is dropped on reading, never guessed.

use crate::consent::resolve::{Finding, Source};
use crate::consent::send::{Doubt, Voice};
use crate::consent::{
    At, Basis, Change, Echo, Evidence, Polarity, PurposeId, Record, Remembered, Resolution, Rules,
    Shown, Stamp, Statement, Status, SystemId, SystemRules, Verdict,
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

/// Status, basis, earliest, latest, evidence, actor.
#[derive(Serialize, Deserialize)]
struct PackedStatement<'a>(
    PackedStatus,
    #[serde(borrow)] Option<Cow<'a, str>>,
    i64,
    i64,
    Cow<'a, str>,
    Option<Cow<'a, str>>,
);

impl<'a> From<&'a Statement> for PackedStatement<'a> {
    fn from(statement: &'a Statement) -> Self {
        Self(
            statement.status.into(),
            statement.basis.as_ref().map(pack_basis),
            statement.stamp.earliest().micros(),
            statement.stamp.latest().micros(),
            Cow::Borrowed(statement.evidence.word()),
            statement.actor.as_deref().map(Cow::Borrowed),
        )
    }
}

impl PackedStatement<'_> {
    fn unpack(self) -> Statement {
        Statement {
            status: self.0.into(),
            basis: self.1.as_deref().map(unpack_basis),
            stamp: Stamp::between(At::from_micros(self.2), At::from_micros(self.3)),
            // An unknown grade counts for least.
            evidence: Evidence::from_word(&self.4).unwrap_or(Evidence::Baseline),
            actor: self.5.map(Cow::into_owned),
        }
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
    /// Statements by purpose.
    #[serde(borrow, default, skip_serializing_if = "ByPurpose::is_empty")]
    s: ByPurpose<'a, Vec<PackedStatement<'a>>>,
    /// Our own last writes by purpose.
    #[serde(borrow, default, skip_serializing_if = "ByPurpose::is_empty")]
    e: ByPurpose<'a, Vec<PackedEcho>>,
    /// A stamp lay in the future.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    f: bool,
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

/// A key that is borrowed where it can be.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

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
            ..PackedRecord::default()
        };
        if read_whole {
            packed.c = Some(Cow::Borrowed(self.mark(system)));
        }
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
                packed.s.insert(
                    name,
                    holding
                        .statements
                        .iter()
                        .map(PackedStatement::from)
                        .collect(),
                );
            }
        }
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
        for (name, statements) in packed.s.0 {
            if let Some(purpose) = self.rules.purposes.find(&name) {
                let holding = record.entry(purpose);
                for statement in statements {
                    holding.add(statement.unpack());
                }
            }
        }
        record.future_stamped = packed.f;
        Ok(record)
    }

    fn source<'a>(&'a self, source: &'a Source) -> (Option<&'a str>, &'a str) {
        (
            source.system.map(|id| self.rules.system_name(id)),
            &source.contact,
        )
    }

    /// A subject's verdicts; the empty text when all purposes are silent.
    pub fn verdicts(&self, resolution: &Resolution) -> String {
        if resolution.verdicts.is_empty() {
            return String::new();
        }
        let packed: Vec<PackedVerdict<'_>> = resolution
            .verdicts
            .iter()
            .map(|verdict| self.verdict(verdict))
            .collect();
        write(&packed)
    }

    fn verdict<'a>(&'a self, verdict: &'a Verdict) -> PackedVerdict<'a> {
        let name = |id: PurposeId| Cow::Borrowed(self.rules.purposes.name(id));
        let (system, contact) = self.source(&verdict.source);
        PackedVerdict {
            purpose: name(verdict.purpose),
            status: verdict.status().into(),
            basis: verdict.basis.as_ref().map(pack_basis),
            basis_in: verdict
                .basis_in
                .map(|id| Cow::Borrowed(self.rules.system_name(id))),
            statement: (&verdict.statement).into(),
            system: system.map(Cow::Borrowed),
            contact: Cow::Borrowed(contact),
            said_of: (verdict.said_of != verdict.purpose).then(|| name(verdict.said_of)),
            rule: Cow::Borrowed(verdict.reason.rule()),
            policy: Cow::Borrowed(&self.rules.policy.version),
            lost: verdict
                .lost
                .iter()
                .map(|lost| {
                    let (system, contact) = self.source(&lost.source);
                    PackedLost {
                        system: system.map(Cow::Borrowed),
                        contact: Cow::Borrowed(contact),
                        statement: (&lost.statement).into(),
                        rule: Cow::Borrowed(lost.why.rule()),
                    }
                })
                .collect(),
        }
    }

    /// Statements without a contact; the empty text when there are none. Those in `before` that are
    /// about a purpose which is no longer configured stay as they are: it may come back.
    ///
    /// # Errors
    /// When `before` is not one that this makes.
    pub fn remembered(&self, remembered: &[Remembered], before: &str) -> Result<String, PackError> {
        let mut packed: Vec<PackedRemembered<'_>> = remembered
            .iter()
            .map(|kept| {
                let (system, contact) = self.source(&kept.source);
                PackedRemembered(
                    Cow::Borrowed(self.rules.purposes.name(kept.purpose)),
                    system.map(Cow::Borrowed),
                    Cow::Borrowed(contact),
                    (&kept.statement).into(),
                )
            })
            .collect();
        let stored: Vec<PackedRemembered<'_>> = read_remembered(before)?;
        let unknown = |kept: &PackedRemembered<'_>| self.rules.purposes.find(&kept.0).is_none();
        packed.extend(stored.into_iter().filter(unknown));
        if packed.is_empty() {
            return Ok(String::new());
        }
        Ok(write(&packed))
    }

    /// Reads statements without a contact back.
    ///
    /// # Errors
    /// When the text is not one that [`Packer::remembered`] makes.
    pub fn unpack_remembered(&self, text: &str) -> Result<Vec<Remembered>, PackError> {
        Ok(read_remembered(text)?
            .into_iter()
            .filter_map(|PackedRemembered(purpose, system, contact, statement)| {
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
                })
            })
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

/// Reads packed verdicts for display. Purposes and systems by name, whatever is configured now.
///
/// # Errors
/// When the text is not one that [`Packer::verdicts`] makes.
pub fn unpack_verdicts(text: &str) -> Result<Vec<PackedVerdict<'_>>, PackError> {
    if text.is_empty() {
        Ok(Vec::new())
    } else {
        read("list of verdicts", text)
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

/// A stored verdict.
#[derive(Serialize, Deserialize)]
pub struct PackedVerdict<'a> {
    /// Purpose name.
    #[serde(borrow, rename = "p")]
    pub purpose: Cow<'a, str>,
    #[serde(rename = "s")]
    status: PackedStatus,
    /// Legal basis (R21).
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    basis: Option<Cow<'a, str>>,
    /// The system that understands a basis which is not mapped.
    #[serde(rename = "bi", default, skip_serializing_if = "Option::is_none")]
    basis_in: Option<Cow<'a, str>>,
    #[serde(rename = "t")]
    statement: PackedStatement<'a>,
    /// System of the winner; none for an operator.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Cow<'a, str>>,
    /// Contact of the winner.
    #[serde(rename = "c")]
    pub contact: Cow<'a, str>,
    /// The parent whose withdrawal decided (R20).
    #[serde(rename = "of", default, skip_serializing_if = "Option::is_none")]
    pub said_of: Option<Cow<'a, str>>,
    /// The rule that decided.
    #[serde(rename = "r")]
    pub rule: Cow<'a, str>,
    /// Policy version (R23).
    #[serde(rename = "pv")]
    pub policy: Cow<'a, str>,
    /// What lost.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<PackedLost<'a>>,
}

impl PackedVerdict<'_> {
    /// Granted or withdrawn.
    pub fn status(&self) -> Status {
        self.status.into()
    }

    /// Legal basis (R21).
    pub fn basis(&self) -> Option<Basis> {
        self.basis.as_deref().map(unpack_basis)
    }

    /// The number of the system that understands a basis which is not mapped.
    pub fn basis_in(&self, rules: &Rules) -> Option<SystemId> {
        let name = self.basis_in.as_deref()?;
        let mut systems = rules.systems.iter();
        systems
            .find(|system| system.name == name)
            .map(|system| system.id)
    }

    /// The winning statement.
    pub fn statement(&self) -> Statement {
        unpack_ref(&self.statement)
    }

    /// What a check before mail needs of it. None where the purpose, or the system of a grant, is
    /// not configured any more: such a grant counts for nothing.
    pub fn voice(&self, rules: &Rules) -> Option<Voice> {
        let system = match &self.system {
            None => None,
            Some(name) => {
                let known = rules.systems.iter().find(|system| system.name == *name);
                if known.is_none() && self.status() == Status::Granted {
                    return None;
                }
                known.map(|system| system.id)
            }
        };
        Some(Voice {
            purpose: rules.purposes.find(&self.purpose)?,
            status: self.status(),
            basis: self.basis(),
            system,
            stamp: Stamp::between(
                At::from_micros(self.statement.2),
                At::from_micros(self.statement.3),
            ),
        })
    }
}

/// A stored losing statement.
#[derive(Serialize, Deserialize)]
pub struct PackedLost<'a> {
    /// System; none for an operator.
    #[serde(borrow, rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Cow<'a, str>>,
    /// Contact.
    #[serde(rename = "c")]
    pub contact: Cow<'a, str>,
    #[serde(rename = "t")]
    statement: PackedStatement<'a>,
    /// The rule by which it lost.
    #[serde(rename = "r")]
    pub rule: Cow<'a, str>,
}

impl PackedLost<'_> {
    /// What was said.
    pub fn statement(&self) -> Statement {
        unpack_ref(&self.statement)
    }
}

fn unpack_ref(packed: &PackedStatement<'_>) -> Statement {
    PackedStatement(
        packed.0,
        packed.1.clone(),
        packed.2,
        packed.3,
        packed.4.clone(),
        packed.5.clone(),
    )
    .unpack()
}

#[derive(Serialize, Deserialize)]
struct PackedRemembered<'a>(
    #[serde(borrow)] Cow<'a, str>,
    Option<Cow<'a, str>>,
    Cow<'a, str>,
    PackedStatement<'a>,
);

/// A stored finding.
#[derive(Debug, Serialize, Deserialize)]
pub struct PackedFinding<'a> {
    /// `conflict`, `inconsistent`, `weak-grant`, `load`, `future-stamped` or `flapping`.
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
