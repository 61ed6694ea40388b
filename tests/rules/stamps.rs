//! Addresses, stamps and sets of statements (R1, R9, R11, R17, R19, R28).

use crate::build::{LOADER, MARKETING, Say, granted, rules, t, withdrawn};
use chrono::DateTime;
use consentd::consent::contact::{Holding, MAX_STATEMENTS};
use consentd::consent::guard::is_flapping;
use consentd::consent::time::{HOUR, SECOND};
use consentd::consent::{At, Basis, Precision, Stamp, Statement, Status, SubjectKey};

fn instant(text: &str) -> At {
    DateTime::parse_from_rfc3339(text)
        .map_or(At::from_micros(i64::MIN), |time| At::from(time.to_utc()))
}

#[test]
fn r01_every_single_letter_normalises_to_a_fixed_point() {
    for letter in ('\u{80}'..=char::MAX).filter(|letter| letter.is_alphanumeric()) {
        let Ok(once) = SubjectKey::from_address(&format!("a{letter}b@example.com")) else {
            continue;
        };
        let twice = SubjectKey::from_address(once.as_str());
        assert_eq!(twice.as_ref(), Ok(&once), "U+{:04X}", letter as u32);
    }
}

#[test]
fn r01_marks_of_direction_pasted_around_an_address_are_trimmed() {
    for mark in [
        '\u{200E}', '\u{202A}', '\u{2066}', '\u{2069}', '\u{061C}', '\u{180E}',
    ] {
        let typed = format!("{mark}ann@example.com{mark}");
        let key = SubjectKey::from_address(&typed).unwrap();
        assert_eq!(key.as_str(), "ann@example.com", "U+{:04X}", mark as u32);
        let inside = format!("an{mark}n@example.com");
        assert!(
            SubjectKey::from_address(&inside).is_err(),
            "U+{:04X}",
            mark as u32
        );
    }
}

#[test]
fn r01_addresses_that_would_break_a_query_are_addresses_all_the_same() {
    let rows = [
        ("a quote closes nothing", "' OR Id != '@example.com", false),
        (
            "a quote without spaces is a name",
            "o'neil@example.com",
            true,
        ),
        (
            "a backslash is no part of a name",
            "o\\'neil@example.com",
            false,
        ),
        (
            "a closing bracket is no part of a name",
            "ann)@example.com",
            false,
        ),
        ("an equals sign is a name", "=ann@example.com", true),
        (
            "254 bytes are the most",
            &format!("{}@{}.example.com", "a".repeat(64), "b".repeat(63)),
            true,
        ),
        (
            "65 bytes of name are too many",
            &format!("{}@example.com", "a".repeat(65)),
            false,
        ),
    ];
    for (sentence, typed, accepted) in rows {
        assert_eq!(
            SubjectKey::from_address(typed).is_ok(),
            accepted,
            "{sentence}"
        );
    }
}

#[test]
fn r09_a_stamp_covers_its_precision() {
    let at = t(10);
    let rows = [
        ("a microsecond is an instant", Precision::Micros, 0),
        ("a millisecond covers a thousand", Precision::Millis, 999),
        (
            "a whole second covers its second",
            Precision::Seconds,
            SECOND - 1,
        ),
        (
            "a date covers its day",
            Precision::Span(24 * HOUR),
            24 * HOUR - 1,
        ),
        (
            "the day that loses an hour is shorter",
            Precision::Span(23 * HOUR),
            23 * HOUR - 1,
        ),
        ("a span of nothing is an instant", Precision::Span(0), 0),
        ("a span below nothing is an instant", Precision::Span(-5), 0),
    ];
    for (sentence, precision, width) in rows {
        let stamp = Stamp::covering(at, precision);
        assert_eq!(
            (stamp.earliest(), stamp.latest()),
            (at, at.plus(width)),
            "{sentence}"
        );
    }
}

#[test]
fn r09_the_ends_of_time_do_not_overflow() {
    let end = At::from_micros(i64::MAX);
    assert_eq!(Stamp::covering(end, Precision::Seconds).latest(), end);
    assert_eq!(
        At::from_micros(i64::MIN).minus(1),
        At::from_micros(i64::MIN)
    );
    assert_eq!(end.since(At::from_micros(i64::MIN)), i64::MAX);
    assert!(!end.to_string().is_empty());
}

#[test]
fn r11_uncertainty_is_read_in_the_persons_favour() {
    let rows = [
        ("an exact grant ranks where it is", granted(10), 10),
        ("an exact withdrawal ranks where it is", withdrawn(10), 10),
        (
            "a grant ranks by its first instant",
            granted(0).seen_between(5, 15),
            5,
        ),
        (
            "a withdrawal ranks by its last",
            withdrawn(0).seen_between(5, 15),
            15,
        ),
    ];
    for (sentence, statement, minute) in rows {
        assert_eq!(statement.rank(), t(minute), "{sentence}");
    }
}

#[test]
fn r17_a_leap_second_ties_with_the_second_that_follows() {
    let leap = instant("2016-12-31T23:59:60Z");
    assert_eq!(leap, instant("2017-01-01T00:00:00Z"));
    assert_eq!(
        instant("2015-03-01T23:59:60Z"),
        instant("2015-03-02T00:00:00Z"),
        "also on a day that had none"
    );
}

#[test]
fn r17_zones_and_decimals_name_the_same_instant() {
    let rows = [
        "2026-01-01T00:10:00Z",
        "2026-01-01T00:10:00+00:00",
        "2026-01-01T01:10:00.000+01:00",
        "2025-12-31T17:10:00.0000000-07:00",
        "2026-01-01T00:10:00.000000000Z",
    ];
    for text in rows {
        assert_eq!(instant(text), t(10), "{text}");
    }
    assert_eq!(t(10).to_string(), "2026-01-01T00:10:00Z");
}

#[test]
fn r18_withdrawn_is_the_greater_and_evidence_grows() {
    assert!(Status::Withdrawn > Status::Granted);
    let grades = [
        granted(1).found_between(0, 1),
        granted(1).seen_between(0, 1),
        granted(1),
        granted(1).explicit(),
    ];
    assert!(
        grades
            .windows(2)
            .all(|pair| pair[0].evidence < pair[1].evidence)
    );
}

#[test]
fn r10_an_act_that_the_system_dates_counts_once() {
    let rows: [(&str, Vec<Statement>, Vec<Statement>); 7] = [
        (
            "history tells when the change happened that was seen",
            vec![withdrawn(0).seen_between(0, 30), withdrawn(5)],
            vec![withdrawn(5)],
        ),
        (
            "what was found at first sight is told by history",
            vec![granted(0).found_between(-100, 30), granted(5)],
            vec![granted(5)],
        ),
        (
            "history from before the change is another act",
            vec![withdrawn(0).seen_between(10, 30), withdrawn(5)],
            vec![withdrawn(0).seen_between(10, 30), withdrawn(5)],
        ),
        (
            "another status is another act",
            vec![withdrawn(0).seen_between(0, 30), granted(5)],
            vec![withdrawn(0).seen_between(0, 30), granted(5)],
        ),
        (
            "a contrary act after the one told leaves what was seen untold",
            vec![withdrawn(0).seen_between(0, 30), withdrawn(5), granted(10)],
            vec![withdrawn(0).seen_between(0, 30), granted(10), withdrawn(5)],
        ),
        (
            "until the system tells of the last one too",
            vec![
                withdrawn(0).seen_between(0, 30),
                withdrawn(5),
                granted(10),
                withdrawn(20),
            ],
            vec![withdrawn(20), granted(10), withdrawn(5)],
        ),
        (
            "a contrary act after what was seen changes nothing",
            vec![withdrawn(0).seen_between(0, 30), withdrawn(5), granted(40)],
            vec![granted(40), withdrawn(5)],
        ),
    ];
    for (sentence, told, said) in rows {
        let mut holding = Holding::default();
        for statement in told.iter().rev().cloned() {
            holding.add(statement);
        }
        assert_eq!(
            holding.said().cloned().collect::<Vec<_>>(),
            said,
            "{sentence}"
        );
    }
}

#[test]
fn r18_adding_the_same_statement_again_changes_nothing() {
    let mut holding = Holding::default();
    assert!(holding.add(withdrawn(5)));
    assert!(!holding.add(withdrawn(5)));
    assert_eq!(holding.statements.len(), 1);
}

#[test]
fn r25_no_number_of_loads_makes_a_withdrawal_forgotten() {
    let mut holding = Holding::default();
    holding.add(withdrawn(5));
    for week in 0..100 {
        holding.add(granted(10 + week).by(LOADER));
    }
    assert_eq!(holding.last_withdrawal(), Some(&withdrawn(5)));
    assert_eq!(holding.statements.len(), MAX_STATEMENTS + 1);
}

#[test]
fn r18_only_the_best_of_very_many_statements_are_kept() {
    let mut holding = Holding::default();
    for minute in (0..50).rev() {
        holding.add(withdrawn(minute));
    }
    assert_eq!(holding.statements.len(), MAX_STATEMENTS);
    assert_eq!(holding.last_withdrawal(), Some(&withdrawn(49)));
    assert!(
        !holding.add(withdrawn(0)),
        "one that is outranked by all changes nothing"
    );
}

#[test]
fn r21_an_unknown_basis_is_kept_verbatim() {
    for word in [
        "consent",
        "contract",
        "legal-obligation",
        "vital-interests",
        "public-task",
        "legitimate-interests",
        "SOFT-OPTIN",
    ] {
        assert_eq!(Basis::from_word(word).word(), word);
    }
    assert_eq!(
        Basis::from_word("Consent"),
        Basis::Other("Consent".to_owned())
    );
}

#[test]
fn r28_the_seventh_flip_in_an_hour_holds() {
    let allowed = rules().policy.flaps_per_hour;
    assert!(!is_flapping(6, allowed));
    assert!(is_flapping(7, allowed));
}

#[test]
fn r20_a_tree_of_purposes_lists_parents_first() {
    let rules = rules();
    let names: Vec<_> = rules
        .purposes
        .iter()
        .map(|(_, purpose)| purpose.to_string())
        .collect();
    assert_eq!(
        names,
        ["marketing", "marketing.events", "marketing.news", "store"]
    );
    let news = rules.purposes.find("marketing.news").unwrap();
    assert_eq!(
        rules.purposes.ancestors(news).collect::<Vec<_>>(),
        [MARKETING]
    );
}
