//! Statements, as records, verdicts and lists of remembered ones hold them.

use super::{pack_basis, unpack_basis};
use crate::consent::{At, Evidence, Stamp, Statement, Status};
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A text that is borrowed where it can be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self(Cow::Borrowed(name))
    }
}

/// An array: two letters for status and evidence, earliest, microseconds to the latest, actor, basis.
/// What is absent at the end is left out: most statements have no basis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackedStatement<'a> {
    pub(super) status: Status,
    evidence: Evidence,
    earliest: i64,
    lasts: i64,
    actor: Option<Name<'a>>,
    basis: Option<Name<'a>>,
}

impl<'a> From<&'a Statement> for PackedStatement<'a> {
    fn from(statement: &'a Statement) -> Self {
        let (earliest, latest) = (statement.stamp.earliest(), statement.stamp.latest());
        Self {
            status: statement.status,
            evidence: statement.evidence,
            earliest: earliest.micros(),
            lasts: latest.micros().wrapping_sub(earliest.micros()),
            actor: statement.actor.as_deref().map(Name::from),
            basis: statement
                .basis
                .as_ref()
                .map(|basis| Name(pack_basis(basis))),
        }
    }
}

impl PackedStatement<'_> {
    pub(super) fn actor(&self) -> Option<&str> {
        self.actor.as_ref().map(|actor| &*actor.0)
    }

    pub(super) fn stamp(&self) -> Stamp {
        let latest = self.earliest.wrapping_add(self.lasts);
        Stamp::between(At::from_micros(self.earliest), At::from_micros(latest))
    }

    pub(super) fn unpack(&self) -> Statement {
        Statement {
            status: self.status,
            basis: self.basis.as_ref().map(|basis| unpack_basis(&basis.0)),
            stamp: self.stamp(),
            evidence: self.evidence,
            actor: self.actor.as_ref().map(|actor| actor.0.as_ref().to_owned()),
        }
    }
}

const fn letters(status: Status, evidence: Evidence) -> &'static str {
    match (status, evidence) {
        (Status::Granted, Evidence::Baseline) => "gb",
        (Status::Granted, Evidence::Observed) => "go",
        (Status::Granted, Evidence::History) => "gh",
        (Status::Granted, Evidence::Explicit) => "ge",
        (Status::Withdrawn, Evidence::Baseline) => "wb",
        (Status::Withdrawn, Evidence::Observed) => "wo",
        (Status::Withdrawn, Evidence::History) => "wh",
        (Status::Withdrawn, Evidence::Explicit) => "we",
    }
}

fn read_letters(letters: &str) -> Option<(Status, Evidence)> {
    let status = match letters.as_bytes().first()? {
        b'g' => Status::Granted,
        b'w' => Status::Withdrawn,
        _ => return None,
    };
    let evidence = match letters.as_bytes().get(1) {
        Some(b'o') => Evidence::Observed,
        Some(b'h') => Evidence::History,
        Some(b'e') => Evidence::Explicit,
        // An unknown grade counts for least.
        _ => Evidence::Baseline,
    };
    Some((status, evidence))
}

impl Serialize for PackedStatement<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        array.serialize_element(letters(self.status, self.evidence))?;
        array.serialize_element(&self.earliest)?;
        array.serialize_element(&self.lasts)?;
        if self.actor.is_some() || self.basis.is_some() {
            array.serialize_element(&self.actor)?;
        }
        if self.basis.is_some() {
            array.serialize_element(&self.basis)?;
        }
        array.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for PackedStatement<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = PackedStatement<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a statement")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let short = || A::Error::custom("a statement ends early");
                let word: Name<'de> = array.next_element()?.ok_or_else(short)?;
                let (status, evidence) = read_letters(&word.0)
                    .ok_or_else(|| A::Error::custom("a statement has no status"))?;
                let statement = PackedStatement {
                    status,
                    evidence,
                    earliest: array.next_element()?.ok_or_else(short)?,
                    lasts: array.next_element()?.ok_or_else(short)?,
                    actor: array.next_element()?.flatten(),
                    basis: array.next_element()?.flatten(),
                };
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(statement)
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::Basis;

    #[test]
    fn every_statement_reads_back() {
        let stamps = [(5, 1_000_004), (7, 7), (i64::MIN, i64::MAX)];
        let grades = [
            Evidence::Baseline,
            Evidence::Observed,
            Evidence::History,
            Evidence::Explicit,
        ];
        for (status, basis) in [
            (Status::Granted, None),
            (
                Status::Granted,
                Some(Basis::Other("=odd \"code\"".to_owned())),
            ),
            (Status::Withdrawn, None),
        ] {
            for (earliest, latest) in stamps {
                for (evidence, actor) in
                    grades
                        .into_iter()
                        .zip([None, Some("0055e"), None, Some("é")])
                {
                    let statement = Statement {
                        status,
                        basis: basis.clone(),
                        stamp: Stamp::between(At::from_micros(earliest), At::from_micros(latest)),
                        evidence,
                        actor: actor.map(str::to_owned),
                    };
                    let text = serde_json::to_string(&PackedStatement::from(&statement)).unwrap();
                    let read: PackedStatement<'_> = serde_json::from_str(&text).unwrap();
                    assert_eq!(read.unpack(), statement, "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_statement_is_refused_and_an_unknown_grade_counts_for_least() {
        for text in ["[]", r#"["x",1,2]"#, r#"["gb",1]"#, r#"["",1,2]"#] {
            assert!(
                serde_json::from_str::<PackedStatement<'_>>(text).is_err(),
                "{text}"
            );
        }
        let read: PackedStatement<'_> = serde_json::from_str(r#"["wz",1,2,null,null,3]"#).unwrap();
        assert_eq!(read.unpack().evidence, Evidence::Baseline);
    }
}
