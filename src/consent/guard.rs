//! When a person must look before writes go out: the decisions behind the guards (R24–R29).

use super::rules::Threshold;

/// R29: why decisions wait for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldKind {
    /// Grants found at first sight that may be later than the withdrawal (R24).
    WeakGrant,
    /// A load would have granted where somebody had withdrawn; the withdrawals stand (R25).
    Load,
    /// Too many verdicts turned the same way within an hour (R26).
    MassChange,
    /// One person's verdict turns back and forth (R28).
    Flapping,
}

impl HoldKind {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::WeakGrant,
        Self::Load,
        Self::MassChange,
        Self::Flapping,
    ];

    /// The word used in the store, the API and the CLI.
    pub const fn word(self) -> &'static str {
        match self {
            Self::WeakGrant => "weak-grant",
            Self::Load => "load",
            Self::MassChange => "mass-change",
            Self::Flapping => "flapping",
        }
    }

    /// The kind of that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether the verdict stands already and only its writes wait. Of the others the verdict itself
    /// would change.
    pub const fn holds_writes(self) -> bool {
        match self {
            Self::MassChange | Self::Flapping => true,
            Self::WeakGrant | Self::Load => false,
        }
    }

    /// The rule that holds.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::WeakGrant => "R24",
            Self::Load => "R25",
            Self::MassChange => "R26",
            Self::Flapping => "R28",
        }
    }
}

/// R25: whether the contacts that one actor granted in a minute make it a load. A load may straddle
/// a minute's end, so each minute is judged together with the one before and the one after.
pub const fn is_load(before: i64, minute: i64, after: i64, threshold: u32) -> bool {
    let threshold = threshold as i64;
    minute > 0
        && (before.saturating_add(minute) >= threshold || minute.saturating_add(after) >= threshold)
}

/// R26: whether so many flips of one direction within an hour are too many for a person not to look.
pub const fn is_mass_change(flips: u64, subjects: u64, threshold: Threshold) -> bool {
    let share = (subjects as u128 * threshold.per_million as u128 / 1_000_000) as u64;
    let bound = if share > threshold.at_least {
        share
    } else {
        threshold.at_least
    };
    flips > bound
}

/// R27: whether a full scan that found `seen` of `known` live contacts halts the feed.
pub const fn is_suddenly_empty(seen: u64, known: u64) -> bool {
    known > 0 && seen.saturating_mul(2) < known
}

/// R28: whether one subject and purpose flips too often within an hour.
pub const fn is_flapping(flips: u64, allowed_per_hour: u32) -> bool {
    flips > allowed_per_hour as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::Status;
    use crate::consent::rules::Thresholds;

    #[test]
    fn r25_many_contacts_of_one_actor_in_about_a_minute_are_a_load() {
        let rows = [
            ("one specialist at work", 0, 3, 2, false),
            ("the threshold within one minute", 0, 25, 0, true),
            (
                "split over the end of the minute: the first part",
                0,
                13,
                12,
                true,
            ),
            (
                "split over the end of the minute: the second part",
                13,
                12,
                0,
                true,
            ),
            (
                "an empty minute between two loads is none",
                40,
                0,
                40,
                false,
            ),
            ("one below the threshold", 12, 12, 12, false),
        ];
        for (sentence, before, minute, after, expected) in rows {
            assert_eq!(is_load(before, minute, after, 25), expected, "{sentence}");
        }
    }

    #[test]
    fn r26_grants_are_held_early_and_withdrawals_late() {
        let rows = [
            (
                "fifty grants pass in a small base",
                Status::Granted,
                50,
                100,
                false,
            ),
            ("one more is too many", Status::Granted, 51, 100, true),
            (
                "half a percent passes in a large base",
                Status::Granted,
                5_000,
                1_000_000,
                false,
            ),
            (
                "more than half a percent does not",
                Status::Granted,
                5_001,
                1_000_000,
                true,
            ),
            (
                "a thousand withdrawals pass in a small base",
                Status::Withdrawn,
                1_000,
                100,
                false,
            ),
            (
                "a fifth passes in a large base",
                Status::Withdrawn,
                200_000,
                1_000_000,
                false,
            ),
            (
                "more than a fifth does not",
                Status::Withdrawn,
                200_001,
                1_000_000,
                true,
            ),
        ];
        for (sentence, status, flips, subjects, expected) in rows {
            let threshold = Thresholds::default().of(status);
            assert_eq!(
                is_mass_change(flips, subjects, threshold),
                expected,
                "{sentence}"
            );
        }
    }

    #[test]
    fn r27_less_than_half_of_the_known_contacts_halts_the_feed() {
        assert!(
            !is_suddenly_empty(0, 0),
            "an empty org is not suddenly empty"
        );
        assert!(!is_suddenly_empty(50, 100), "half is not less than half");
        assert!(is_suddenly_empty(49, 100), "less than half is");
        assert!(is_suddenly_empty(0, 1), "and so is nothing");
    }

    #[test]
    fn r28_the_seventh_flip_in_an_hour_is_flapping() {
        assert!(!is_flapping(6, 6));
        assert!(is_flapping(7, 6));
    }
}
