//! The pure part: what stands, and what follows from it.

use consentd::alarm::{
    Kind, Levels, MOST_HOLDS, MOST_URGENT, OpenHold, Overdue, Severity, SystemView, UnreadableFile,
    Urgent, View, compare, levels,
};
use consentd::consent::At;
use consentd::consent::guard::HoldKind;
use consentd::runtime::health::{Board, Login, REFUSAL_LASTS, Watched};
use consentd::store::{AlarmPost, AlarmRow, SystemFigures};
use std::time::Duration;

pub(crate) const START: At = At::from_micros(1_767_225_600_000_000);
const HOUR: i64 = 3_600_000_000;

/// A system that is as it should be.
pub(crate) fn calm(name: &str) -> SystemView {
    SystemView {
        name: name.to_owned(),
        enabled: true,
        figures: SystemFigures::default(),
        halted: Some(None),
        login: Login::Accepted,
    }
}

pub(crate) fn view(systems: Vec<SystemView>) -> View {
    View {
        now: START,
        withdrawal_deadline: Duration::from_hours(48),
        systems,
        overdue: Vec::new(),
        unreadable: Vec::new(),
        holds: Vec::new(),
        urgent: Vec::new(),
        tasks_down: Vec::new(),
    }
}

fn words(levels: &Levels) -> Vec<(&'static str, &str)> {
    let standing = levels.standing.iter();
    standing
        .map(|alarm| (alarm.kind.word(), alarm.about.as_str()))
        .collect()
}

fn figures(change: impl FnOnce(&mut SystemFigures)) -> SystemView {
    let mut system = calm("ascend");
    change(&mut system.figures);
    system
}

fn waiting(hours: i64) -> SystemView {
    figures(|figures| figures.oldest_withdrawal = Some(START.minus(hours * HOUR).micros()))
}

#[test]
fn what_stands_follows_from_what_is_seen() {
    let halted = SystemView {
        halted: Some(Some("2 of 9 contacts were left".to_owned())),
        ..calm("ascend")
    };
    let refused = SystemView {
        login: Login::Refused {
            since: START,
            code: "invalid_grant".to_owned(),
        },
        ..calm("ascend")
    };
    let off = SystemView {
        enabled: false,
        ..figures(|figures| figures.dead = 1)
    };
    let rows = [
        ("all is well", calm("ascend"), None),
        (
            "the hold has an alarm, not each system that it keeps writes from",
            figures(|f| f.held = 1),
            None,
        ),
        (
            "a write was given up",
            figures(|f| f.dead = 3),
            Some(("dead-letter", "`consentd redrive ascend`")),
        ),
        ("r34: half of the time is left", waiting(24), None),
        (
            "r34: less than half is left",
            waiting(25),
            Some(("deadline", "for 25 h")),
        ),
        (
            "r27: the feed is halted",
            halted,
            Some((
                "feed-halted",
                "2 of 9 contacts were left; `consentd resume ascend`",
            )),
        ),
        (
            "the login is refused",
            refused,
            Some(("login-refused", "invalid_grant")),
        ),
        ("nobody expects anything of a system that is off", off, None),
    ];
    for (sentence, system, expected) in rows {
        let found = levels(&view(vec![calm("crm"), system]));
        match expected {
            None => assert_eq!(words(&found), [], "{sentence}"),
            Some((kind, text)) => {
                assert_eq!(words(&found), [(kind, "ascend")], "{sentence}");
                let alarm = &found.standing[0];
                assert!(alarm.text.contains(text), "{sentence}: {}", alarm.text);
                assert!(
                    alarm.text.contains("consentd "),
                    "{sentence} says what to do: {}",
                    alarm.text
                );
            }
        }
    }
}

#[test]
fn r46_all_files_of_a_system_that_are_not_understood_share_one_alarm() {
    let file = |system: &str, name: &str| UnreadableFile {
        system: system.to_owned(),
        file: name.to_owned(),
        reason: "no column row_no".to_owned(),
    };
    let mut seen = view(vec![calm("ascend"), calm("crm")]);
    seen.unreadable = vec![
        file("ascend", "b.ack.csv"),
        file("ascend", "a.ack.csv"),
        file("switched-off", "c.ack.csv"),
    ];
    let found = levels(&seen);
    assert_eq!(words(&found), [("unreadable-file", "ascend")]);
    let text = &found.standing[0].text;
    assert!(
        text.contains("a.ack.csv")
            && text.contains("no column row_no")
            && text.contains("1 others"),
        "{text}"
    );
}

#[test]
fn r46_all_batches_of_a_system_share_one_alarm() {
    let batch = |name: &str, hours| Overdue {
        system: "ascend".to_owned(),
        batch: name.to_owned(),
        since: START.minus(hours * HOUR),
        rows: 7,
    };
    let mut seen = view(vec![calm("ascend")]);
    seen.overdue = vec![batch("b3", 10), batch("b1", 60), batch("b2", 30)];
    let found = levels(&seen);
    assert_eq!(words(&found), [("missing-acknowledgement", "ascend")]);
    let alarm = &found.standing[0];
    assert_eq!(alarm.since, Some(START.minus(60 * HOUR)));
    assert!(
        alarm.text.contains("batch b1 of 7 rows nor 2 later"),
        "{}",
        alarm.text
    );
    seen.systems[0].enabled = false;
    assert_eq!(words(&levels(&seen)), []);
}

#[test]
fn r47_many_urgent_requests_are_bounded() {
    let mut seen = view(Vec::new());
    seen.urgent = (0..50)
        .map(|number: i64| Urgent {
            request: format!("rs_{number:03}"),
            subject: "0123456789ab".to_owned(),
            units: vec!["parent".to_owned(), "alumni".to_owned()],
            since: START.minus(number),
        })
        .collect();
    seen.tasks_down = vec!["crm-poll".to_owned()];
    let found = levels(&seen);
    let (task, urgent) = found.standing.split_last().unwrap();
    assert_eq!(
        (task.kind, task.about.as_str()),
        (Kind::TaskDown, "crm-poll")
    );
    assert_eq!(urgent.len(), MOST_URGENT + 1);
    let further = urgent
        .iter()
        .find(|alarm| alarm.text.starts_with("30 further"));
    assert!(further.is_some());
    assert!(
        urgent.iter().any(|alarm| alarm.about == "rs_049"),
        "the oldest"
    );
    assert!(
        urgent
            .iter()
            .any(|alarm| alarm.text.contains("(parent, alumni)"))
    );
}

/// What is stored after a look, as the store would have it.
fn stored(before: &[AlarmRow], found: &Levels, now: At) -> (Vec<AlarmRow>, usize, usize) {
    let followed = compare(before, found, now, |_| false);
    let mut rows = before.to_vec();
    for row in &followed.changes.put {
        rows.retain(|old| (&old.kind, &old.about) != (&row.kind, &row.about));
        rows.push(row.clone());
    }
    for (kind, about, _) in &followed.changes.forget {
        rows.retain(|old| (&old.kind, &old.about) != (kind, about));
    }
    (rows, followed.raised.len(), followed.cleared.len())
}

/// An open hold with so many persons.
fn hold(id: i64, kind: HoldKind, withdrawn: bool, persons: u64) -> OpenHold {
    OpenHold {
        id,
        kind,
        system: (kind != HoldKind::Flapping).then(|| "ascend".to_owned()),
        purpose: (kind != HoldKind::Load).then(|| "marketing".to_owned()),
        withdrawn,
        persons,
        since: START.minus(HOUR),
    }
}

fn open(holds: Vec<OpenHold>) -> Levels {
    let mut seen = view(vec![calm("ascend"), calm("crm")]);
    seen.holds = holds;
    levels(&seen)
}

#[test]
fn r29_each_hold_has_an_alarm_that_says_what_waits_and_who_decides() {
    let rows = [
        (
            HoldKind::MassChange,
            false,
            "hold",
            Severity::Warning,
            "R26",
        ),
        (
            HoldKind::MassChange,
            true,
            "withdrawals-held",
            Severity::Critical,
            "R26",
        ),
        (HoldKind::Load, false, "hold", Severity::Warning, "R25"),
        (HoldKind::Flapping, false, "hold", Severity::Warning, "R28"),
    ];
    for (kind, withdrawn, expected, severity, rule) in rows {
        let found = open(vec![hold(12, kind, withdrawn, 60)]);
        assert_eq!(words(&found), [(expected, "12")]);
        let alarm = &found.standing[0];
        assert_eq!(alarm.kind.severity(), severity, "{expected}");
        assert_eq!(alarm.since, Some(START.minus(HOUR)));
        for part in [
            kind.word(),
            rule,
            "60 persons",
            "`consentd holds show 12`",
            "`consentd holds approve 12`",
            "`consentd holds reject 12`",
        ] {
            assert!(alarm.text.contains(part), "{part}: {}", alarm.text);
        }
        for (part, named) in [
            ("in ascend", kind != HoldKind::Flapping),
            ("of marketing", kind != HoldKind::Load),
        ] {
            assert_eq!(alarm.text.contains(part), named, "{part}: {}", alarm.text);
        }
        assert!(alarm.text.len() < 500, "nothing of it is cut off");
    }
}

#[test]
fn r24_all_weak_grants_of_a_system_share_one_alarm() {
    let of = |id, purpose: &str| OpenHold {
        purpose: Some(purpose.to_owned()),
        ..hold(id, HoldKind::WeakGrant, false, 4)
    };
    let found = open(vec![of(7, "store"), of(8, "marketing")]);
    assert_eq!(words(&found), [("weak-grant", "ascend")]);
    let alarm = &found.standing[0];
    assert_eq!(alarm.kind.severity(), Severity::Warning);
    for part in [
        "8 persons",
        "(marketing, store)",
        "`consentd holds list --kind weak-grant --system ascend`",
    ] {
        assert!(alarm.text.contains(part), "{part}: {}", alarm.text);
    }
    let mut off = view(vec![SystemView {
        enabled: false,
        ..calm("ascend")
    }]);
    off.holds = vec![of(7, "store"), hold(9, HoldKind::Load, false, 1)];
    let found = levels(&off);
    assert_eq!(
        words(&found),
        [("hold", "9")],
        "a load is about people, not about a system that is off"
    );
}

#[test]
fn r29_many_holds_are_bounded_and_a_critical_one_is_never_among_the_rest() {
    let loads = (1..=50).map(|id| hold(id, HoldKind::Load, false, 1));
    let critical = hold(99, HoldKind::MassChange, true, 2_000);
    let found = open(loads.chain([critical]).collect());
    let (last, loads) = found.standing.split_last().unwrap();
    assert_eq!(
        (last.kind, last.about.as_str()),
        (Kind::WithdrawalsHeld, "99")
    );
    assert_eq!(loads.len(), MOST_HOLDS + 1);
    assert!(
        loads
            .iter()
            .any(|alarm| alarm.text.starts_with("30 further"))
    );
    assert!(loads.iter().any(|alarm| alarm.about == "1"), "the oldest");
}

#[test]
fn r29_a_hold_is_raised_once_while_people_come_and_go_and_cleared_once_it_closes() {
    let of = |persons| open(vec![hold(12, HoldKind::Load, false, persons)]);
    let (rows, raised, _) = stored(&[], &of(3), START);
    assert_eq!((rows.len(), raised), (1, 1));
    let (grown, raised, cleared) = stored(&rows, &of(30), START.plus(1));
    assert_eq!((grown.len(), raised, cleared), (1, 0, 0));
    let (other, raised, cleared) = stored(
        &grown,
        &open(vec![hold(13, HoldKind::Load, false, 1)]),
        START.plus(2),
    );
    assert_eq!((raised, cleared), (1, 1), "another hold is another alarm");
    let (over, raised, cleared) = stored(&other, &open(Vec::new()), START.plus(3));
    assert_eq!((raised, cleared), (0, 1));
    assert_eq!(stored(&over, &open(Vec::new()), START.plus(4)).0, []);
}

#[test]
fn an_alarm_is_raised_once_cleared_once_and_then_forgotten() {
    let held = levels(&view(vec![figures(|figures| figures.dead = 1)]));
    let more = levels(&view(vec![figures(|figures| figures.dead = 2)]));
    let calm = levels(&view(vec![calm("ascend")]));
    let at = |seconds: i64| START.plus(seconds * 1_000_000);
    let (rows, raised, _) = stored(&[], &held, at(0));
    assert_eq!((rows.len(), raised), (1, 1));
    assert_eq!(rows[0].since, at(0).micros(), "nobody knows better");
    assert_eq!(stored(&rows, &held, at(15)), (rows.clone(), 0, 0));
    let (grown, raised, cleared) = stored(&rows, &more, at(30));
    assert_eq!((raised, cleared), (0, 0), "only its text is another");
    assert!(grown[0].text.starts_with("2 writes"));
    assert_eq!(
        (grown[0].since, grown[0].raised_at),
        (rows[0].since, rows[0].raised_at)
    );
    let (over, raised, cleared) = stored(&grown, &calm, at(45));
    assert_eq!((raised, cleared), (0, 1));
    assert_eq!(over[0].cleared_at, Some(at(45).micros()));
    let (again, raised, _) = stored(&over, &held, at(50));
    assert_eq!((raised, again[0].raised_at), (1, at(50).micros()));
    assert_eq!(stored(&over, &calm, at(60)), (Vec::new(), 0, 0));
}

#[test]
fn what_nobody_has_heard_of_since_the_start_stays_as_it_is() {
    let refused = SystemView {
        login: Login::Refused {
            since: START,
            code: "invalid_grant".to_owned(),
        },
        halted: Some(Some("few contacts".to_owned())),
        ..calm("ascend")
    };
    let restarted = SystemView {
        login: Login::Unknown,
        halted: None,
        ..calm("ascend")
    };
    let (rows, raised, _) = stored(&[], &levels(&view(vec![refused])), START);
    assert_eq!(raised, 2);
    let unheard = levels(&view(vec![restarted.clone()]));
    assert_eq!(stored(&rows, &unheard, START), (rows.clone(), 0, 0));
    let gone = levels(&view(vec![SystemView {
        enabled: false,
        ..restarted
    }]));
    assert_eq!(stored(&rows, &gone, START).2, 2, "switched off");
}

#[test]
fn a_cleared_alarm_is_kept_while_an_all_clear_is_open() {
    let calm = levels(&view(vec![calm("ascend")]));
    let row = AlarmRow {
        kind: "hold".to_owned(),
        about: "ascend".to_owned(),
        since: 0,
        raised_at: 0,
        cleared_at: Some(5),
        text: String::new(),
        posts: vec![AlarmPost {
            channel: "webhook".to_owned(),
            told: true,
            attempts: 1,
            next_try: 9,
            error: None,
        }],
    };
    let rows = [row];
    assert!(compare(&rows, &calm, START, |_| true).changes.is_empty());
    let forgotten = compare(&rows, &calm, START, |_| false).changes.forget;
    assert_eq!(forgotten.len(), 1);
}

#[test]
fn reads_that_succeed_beside_refused_writes_hide_no_refusal() {
    let board = Board::new([Watched {
        name: "ascend".to_owned(),
        enabled: true,
        max_lag: Duration::from_mins(15),
    }]);
    let lasts = i64::try_from(REFUSAL_LASTS.as_micros()).unwrap();
    assert_eq!(board.login("ascend"), Login::Unknown);
    board.polled("ascend", START, None);
    assert_eq!(board.login("ascend"), Login::Accepted);
    board.login_refused("ascend", START, "invalid\n\u{1b}_grant someone@example.edu");
    board.polled("ascend", START.plus(60_000_000), None);
    board.login_refused("ascend", START.plus(lasts - 1), "invalid_grant");
    board.polled("ascend", START.plus(lasts), None);
    let refused = Login::Refused {
        since: START,
        code: "invalid_grant".to_owned(),
    };
    assert_eq!(board.login("ascend"), refused);
    board.polled("ascend", START.plus(3 * lasts), None);
    assert_eq!(board.login("ascend"), Login::Accepted);
}
