//! A checklist with its counts, and how it is kept with a send-out.

use crate::consent::send::Judged;
use crate::consent::{Answer, At, Rules, Stamp, SystemId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// The answers in the order in which eMarketeer's own checklist counts what is left out: category,
/// consent, delivery, what is blocked, what is missing.
pub const CHECKLIST_ORDER: [Answer; 9] = [
    Answer::CategoryOff,
    Answer::Withdrawn,
    Answer::Undeliverable,
    Answer::Suppressed,
    Answer::DuplicateConflict,
    Answer::Held,
    Answer::UnknownAddress,
    Answer::NoLegalBasis,
    Answer::Unverified,
];

/// What one place of a list gets. The order is that of the answers, the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The answer.
    Answered(Answer),
    /// The same mailbox stands at that earlier place, which has the answer.
    Duplicate(usize),
}

/// The word for a place whose mailbox has had its answer.
const DUPLICATE: &str = "duplicate";

impl Outcome {
    /// The word used in the API and the CLI.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answered(answer) => answer.word(),
            Self::Duplicate(_) => DUPLICATE,
        }
    }
}

/// What one place of a list gets, and whose word decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The answer.
    pub outcome: Outcome,
    /// The system whose statement decided; none for an operator, or where nothing was said.
    pub system: Option<Arc<str>>,
    /// When that statement became true.
    pub stamp: Option<Stamp>,
    /// Legal basis of a grant.
    pub basis: Option<Arc<str>>,
}

impl Line {
    /// An answer that rests on nobody's word.
    pub const fn bare(answer: Answer) -> Self {
        Self {
            outcome: Outcome::Answered(answer),
            system: None,
            stamp: None,
            basis: None,
        }
    }

    /// A mailbox that stands at that earlier place already.
    pub fn duplicate(first: usize) -> Self {
        Self {
            outcome: Outcome::Duplicate(first),
            ..Self::bare(Answer::Unverified)
        }
    }

    pub(super) fn of(judged: Judged<'_>, names: &[(SystemId, Arc<str>)]) -> Self {
        let name = |id: SystemId| {
            let found = names.iter().find(|(known, _)| *known == id);
            found.map(|(_, name)| Arc::clone(name))
        };
        Self {
            outcome: Outcome::Answered(judged.answer),
            system: judged.voice.and_then(|voice| name(voice.system?)),
            stamp: judged.voice.map(|voice| voice.stamp),
            basis: judged
                .voice
                .and_then(|voice| Some(voice.basis.as_ref()?.word().into())),
        }
    }
}

/// The systems' names, each once.
pub(super) fn names(rules: &Rules) -> Vec<(SystemId, Arc<str>)> {
    rules
        .systems
        .iter()
        .map(|system| (system.id, system.name.as_str().into()))
        .collect()
}

/// How much is known of one system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It was asked.
    Asked,
    /// What is stored is fresh enough.
    Stored,
    /// It could not be asked, or not about everybody.
    Unavailable,
}

impl Source {
    const ALL: [Self; 3] = [Self::Asked, Self::Stored, Self::Unavailable];

    /// The word used in the API and the CLI.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Stored => "stored",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What one system had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Configured name.
    pub system: String,
    /// How much is known.
    pub source: Source,
    /// The system's time up to which that is true; none when it could not be asked.
    pub as_of: Option<At>,
    /// Why it could not be asked. Holds no address.
    pub reason: Option<String>,
    /// Look-ups that were made, each of which takes the vendor a bounded number of calls.
    pub look_ups: u32,
    /// Addresses in one look-up at most.
    pub batch: u32,
}

/// How many places got which answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Places of the list.
    pub addressed: u64,
    /// Places whose mailbox stands at an earlier one.
    pub duplicates: u64,
    answers: [u64; Answer::ALL.len()],
}

impl Counts {
    /// How many got that answer.
    pub fn of(&self, answer: Answer) -> u64 {
        self.by_answer()
            .find(|(known, _)| *known == answer)
            .map_or(0, |(_, count)| count)
    }

    /// Every answer with its count, the strictest first.
    pub fn by_answer(&self) -> impl Iterator<Item = (Answer, u64)> {
        Answer::ALL.into_iter().zip(self.answers)
    }

    /// Mailboxes that must not be mailed.
    pub fn refused(&self) -> u64 {
        self.by_answer()
            .filter(|(answer, _)| *answer != Answer::Send)
            .map(|(_, count)| count)
            .sum()
    }
}

/// The answers for a whole list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checklist {
    /// Purpose name.
    pub purpose: String,
    /// When the check began, by our clock.
    pub checked_at: At,
    /// The moment had passed, so that nobody was asked any more.
    pub missed: bool,
    /// Every system whose word counts.
    pub reports: Vec<Report>,
    /// By place in the list.
    pub lines: Vec<Line>,
}

impl Checklist {
    /// A checklist on which nobody is verified, since nothing could be asked at all.
    pub fn unverified(purpose: &str, checked_at: At, missed: bool, addressed: usize) -> Self {
        Self {
            purpose: purpose.to_owned(),
            checked_at,
            missed,
            reports: Vec::new(),
            lines: vec![Line::bare(Answer::Unverified); addressed],
        }
    }

    /// How many places got which answer.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for line in &self.lines {
            counts.addressed += 1;
            match line.outcome {
                Outcome::Duplicate(_) => counts.duplicates += 1,
                Outcome::Answered(answer) => {
                    for (known, count) in Answer::ALL.iter().zip(&mut counts.answers) {
                        *count += u64::from(*known == answer);
                    }
                }
            }
        }
        counts
    }

    /// As text, to be kept with a send-out.
    pub fn pack(&self) -> String {
        let packed = Packed {
            purpose: Cow::Borrowed(&self.purpose),
            checked_at: self.checked_at.micros(),
            missed: self.missed,
            reports: self.reports.iter().map(PackedReport::from).collect(),
            lines: self.lines.iter().map(PackedLine::from).collect(),
        };
        // Serialising plain structures into memory cannot fail.
        serde_json::to_string(&packed).unwrap_or_default()
    }

    /// Reads a kept checklist back; none when the text is not one that [`Checklist::pack`] makes.
    pub fn unpack(text: &str) -> Option<Self> {
        let packed: Packed<'_> = serde_json::from_str(text).ok()?;
        Some(Self {
            purpose: packed.purpose.into_owned(),
            checked_at: At::from_micros(packed.checked_at),
            missed: packed.missed,
            reports: packed
                .reports
                .into_iter()
                .map(PackedReport::unpack)
                .collect::<Option<_>>()?,
            lines: packed
                .lines
                .into_iter()
                .map(PackedLine::unpack)
                .collect::<Option<_>>()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    #[serde(borrow, rename = "p")]
    purpose: Cow<'a, str>,
    #[serde(rename = "at")]
    checked_at: i64,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
    #[serde(borrow, rename = "s")]
    reports: Vec<PackedReport<'a>>,
    #[serde(borrow, rename = "l")]
    lines: Vec<PackedLine<'a>>,
}

/// System, source, as of, reason, look-ups, batch.
#[derive(Serialize, Deserialize)]
struct PackedReport<'a>(
    #[serde(borrow)] Cow<'a, str>,
    Cow<'a, str>,
    Option<i64>,
    Option<Cow<'a, str>>,
    u32,
    u32,
);

impl<'a> From<&'a Report> for PackedReport<'a> {
    fn from(report: &'a Report) -> Self {
        Self(
            Cow::Borrowed(&report.system),
            Cow::Borrowed(report.source.word()),
            report.as_of.map(At::micros),
            report.reason.as_deref().map(Cow::Borrowed),
            report.look_ups,
            report.batch,
        )
    }
}

impl PackedReport<'_> {
    fn unpack(self) -> Option<Report> {
        Some(Report {
            system: self.0.into_owned(),
            source: Source::ALL
                .into_iter()
                .find(|source| source.word() == self.1)?,
            as_of: self.2.map(At::from_micros),
            reason: self.3.map(Cow::into_owned),
            look_ups: self.4,
            batch: self.5,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct PackedLine<'a> {
    #[serde(borrow, rename = "a")]
    answer: Cow<'a, str>,
    /// The earlier place of a duplicate.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    first: Option<usize>,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    system: Option<Cow<'a, str>>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    stamp: Option<(i64, i64)>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    basis: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Line> for PackedLine<'a> {
    fn from(line: &'a Line) -> Self {
        Self {
            answer: Cow::Borrowed(line.outcome.word()),
            first: match line.outcome {
                Outcome::Duplicate(first) => Some(first),
                Outcome::Answered(_) => None,
            },
            system: line.system.as_deref().map(Cow::Borrowed),
            stamp: line
                .stamp
                .map(|stamp| (stamp.earliest().micros(), stamp.latest().micros())),
            basis: line.basis.as_deref().map(Cow::Borrowed),
        }
    }
}

impl PackedLine<'_> {
    fn unpack(self) -> Option<Line> {
        Some(Line {
            outcome: match self.first {
                Some(first) => Outcome::Duplicate(first),
                None => Outcome::Answered(Answer::from_word(&self.answer)?),
            },
            system: self.system.map(|name| name.as_ref().into()),
            stamp: self
                .stamp
                .map(|(from, to)| Stamp::between(At::from_micros(from), At::from_micros(to))),
            basis: self.basis.map(|basis| basis.as_ref().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checklist() -> Checklist {
        let at = At::from_micros(1_767_225_600_000_000);
        Checklist {
            purpose: "marketing".to_owned(),
            checked_at: at,
            missed: true,
            reports: vec![Report {
                system: "salesforce".to_owned(),
                source: Source::Unavailable,
                as_of: Some(at),
                reason: Some("retryable \"http-503\"".to_owned()),
                look_ups: 2,
                batch: 200,
            }],
            lines: vec![
                Line {
                    outcome: Outcome::Answered(Answer::Send),
                    system: Some("salesforce".into()),
                    stamp: Some(Stamp::between(at, at.plus(1))),
                    basis: Some("consent".into()),
                },
                Line::duplicate(0),
                Line::bare(Answer::UnknownAddress),
                Line::bare(Answer::Withdrawn),
            ],
        }
    }

    #[test]
    fn a_kept_checklist_comes_back_as_it_was() {
        let kept = checklist();
        assert_eq!(Checklist::unpack(&kept.pack()), Some(kept));
        assert_eq!(Checklist::unpack(""), None);
        assert_eq!(
            Checklist::unpack(&checklist().pack().replace("withdrawn", "perhaps")),
            None,
            "an unknown answer is not guessed"
        );
    }

    #[test]
    fn r41_every_place_is_counted_once() {
        let counts = checklist().counts();
        assert_eq!((counts.addressed, counts.duplicates), (4, 1));
        assert_eq!(counts.of(Answer::Send), 1);
        assert_eq!(counts.refused(), 2);
        let all: u64 = counts.by_answer().map(|(_, count)| count).sum();
        assert_eq!(all + counts.duplicates, counts.addressed);
    }

    #[test]
    fn r41_the_order_of_the_counts_names_every_reason_once() {
        let mut reasons = CHECKLIST_ORDER.to_vec();
        reasons.sort_unstable();
        assert_eq!(reasons, Answer::ALL[..9]);
    }
}
