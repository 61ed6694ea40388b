//! When a person must look before writes go out: the decisions behind the guards (R25–R28).

/// R25: whether the contacts that one actor granted in a minute make it a load. A load may straddle
/// a minute's end, so each minute is judged together with the one before and the one after.
pub const fn is_load(before: i64, minute: i64, after: i64, threshold: u32) -> bool {
    let threshold = threshold as i64;
    minute > 0
        && (before.saturating_add(minute) >= threshold || minute.saturating_add(after) >= threshold)
}

/// R26: the direction of a mass change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Verdicts that turn granted.
    Granting,
    /// Verdicts that turn withdrawn.
    Withdrawing,
}

/// R26: how many flips of one direction within an hour are too many for a person not to look:
/// more than max(50, 0.5 %) to granted, more than max(1,000, 20 %) to withdrawn.
pub const fn is_mass_change(direction: Direction, flips: u64, subjects: u64) -> bool {
    let bound = match direction {
        Direction::Granting => {
            let share = subjects / 200;
            if share > 50 { share } else { 50 }
        }
        Direction::Withdrawing => {
            let share = subjects / 5;
            if share > 1_000 { share } else { 1_000 }
        }
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
                Direction::Granting,
                50,
                100,
                false,
            ),
            ("one more is too many", Direction::Granting, 51, 100, true),
            (
                "half a percent passes in a large base",
                Direction::Granting,
                5_000,
                1_000_000,
                false,
            ),
            (
                "more than half a percent does not",
                Direction::Granting,
                5_001,
                1_000_000,
                true,
            ),
            (
                "a thousand withdrawals pass in a small base",
                Direction::Withdrawing,
                1_000,
                100,
                false,
            ),
            (
                "a fifth passes in a large base",
                Direction::Withdrawing,
                200_000,
                1_000_000,
                false,
            ),
            (
                "more than a fifth does not",
                Direction::Withdrawing,
                200_001,
                1_000_000,
                true,
            ),
        ];
        for (sentence, direction, flips, subjects, expected) in rows {
            assert_eq!(
                is_mass_change(direction, flips, subjects),
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
