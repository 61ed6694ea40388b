//! When a system's writes may go out (R39).

use crate::config::checked::Schedule;
use crate::consent::At;

/// When writes may go out next, at `now` or later; none when the expression never fires again.
///
/// `last` is the end of the last round: a cron schedule gives one round per firing, in which
/// everything due goes out.
pub fn next_round(schedule: &Schedule, last: At, now: At) -> Option<At> {
    match schedule {
        Schedule::Immediate => Some(now),
        Schedule::Cron { cron, time_zone } => {
            // The zone's wall clock decides: "at two at night" stays so over a change of summer time.
            let from = last.to_datetime().with_timezone(time_zone);
            cron.find_next_occurrence(&from, false)
                .ok()
                .map(|next| At::from(next.to_utc()).max(now))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use croner::Cron;
    use std::str::FromStr;

    fn at(text: &str) -> At {
        At::from(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
    }

    #[test]
    fn r39_a_nightly_round_follows_the_zones_wall_clock() {
        let nightly = Schedule::Cron {
            cron: Box::new(Cron::from_str("0 2 * * *").unwrap()),
            time_zone: chrono_tz::America::Denver,
        };
        let rows = [
            (
                "in winter two at night is nine in UTC",
                "2026-01-10T12:00:00Z",
                "2026-01-11T09:00:00Z",
            ),
            (
                "in summer it is eight",
                "2026-07-10T12:00:00Z",
                "2026-07-11T08:00:00Z",
            ),
            (
                "a round that ended after its firing waits for the next night",
                "2026-07-11T08:00:01Z",
                "2026-07-12T08:00:00Z",
            ),
        ];
        for (sentence, last, expected) in rows {
            assert_eq!(
                next_round(&nightly, at(last), at(last)),
                Some(at(expected)),
                "{sentence}"
            );
        }
        let late = at("2026-07-20T00:00:00Z");
        assert_eq!(
            next_round(&nightly, at("2026-07-10T12:00:00Z"), late),
            Some(late),
            "a missed round is made up at once"
        );
    }

    #[test]
    fn r39_immediate_means_now() {
        assert_eq!(
            next_round(
                &Schedule::Immediate,
                at("2026-01-01T00:00:00Z"),
                at("2026-01-02T00:00:00Z")
            ),
            Some(at("2026-01-02T00:00:00Z"))
        );
    }
}
