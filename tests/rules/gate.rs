//! What a look at the gate leads to (R47).

use consentd::consent::At;
use consentd::consent::gate::{
    Closing, Open, Reluctance, Seen, Step, SubscriberStatus, may_activate, review,
};
use consentd::consent::time::MINUTE;
use std::collections::BTreeSet;

use SubscriberStatus::{Active, Bounced, Deleted, Held, Unknown, Unsubscribed};

const PARENT: &str = "parent";
const UNIT: &str = "boulder";

fn seen(unit: &'static str, status: SubscriberStatus) -> Seen<'static> {
    Seen {
        key: "ann",
        unit,
        status,
    }
}

fn open(id: i64, unit: &'static str) -> Open<'static> {
    Open {
        id,
        key: "ann",
        unit,
    }
}

/// What follows for a person with the one subscriber key `ann`.
fn reviewed(
    is_granted: bool,
    seen: &[Seen<'static>],
    requests: &[Open<'static>],
) -> Vec<Step<'static>> {
    let units = BTreeSet::from([PARENT, UNIT]);
    review(is_granted, &BTreeSet::from(["ann"]), &units, seen, requests)
}

#[test]
fn r47_only_active_and_not_found_pass() {
    let rows = [
        ("green passes", Active, true),
        ("yellow is still tried, but does not pass", Bounced, false),
        ("gray is not mailed", Held, false),
        ("red blocks as much as gray", Unsubscribed, false),
        ("what was deleted is not found", Deleted, true),
        ("a word that is not known never passes", Unknown, false),
    ];
    for (sentence, status, passes) in rows {
        let steps = reviewed(true, &[seen(PARENT, status)], &[]);
        let expected = if passes {
            vec![]
        } else {
            vec![Step::Open(seen(PARENT, status))]
        };
        assert_eq!(steps, expected, "{sentence}");
    }
    assert_eq!(
        reviewed(true, &[], &[]),
        vec![],
        "missing everywhere passes"
    );
}

#[test]
fn r47_each_unit_is_judged_for_itself() {
    assert_eq!(
        reviewed(true, &[seen(PARENT, Active), seen(UNIT, Held)], &[]),
        vec![Step::Open(seen(UNIT, Held))],
        "a green parent does not make its unit green"
    );
    assert_eq!(
        reviewed(
            true,
            &[seen(PARENT, Held), seen(UNIT, Held)],
            &[open(7, PARENT)]
        ),
        vec![
            Step::Keep {
                id: 7,
                status: Held
            },
            Step::Open(seen(UNIT, Held))
        ],
        "what is open is not opened twice"
    );
}

#[test]
fn r47_an_open_request_ends_for_one_reason() {
    let closed = |closing| vec![Step::Close { id: 7, closing }];
    let request = [open(7, UNIT)];
    let rows = [
        (
            "a later green reading",
            reviewed(true, &[seen(UNIT, Active)], &request),
            closed(Closing::Green),
        ),
        (
            "no longer found",
            reviewed(true, &[], &request),
            closed(Closing::NotFound),
        ),
        (
            "the person opted out meanwhile",
            reviewed(false, &[seen(UNIT, Held)], &request),
            closed(Closing::NotGranted),
        ),
        (
            "it is yellow by now, and stays open",
            reviewed(true, &[seen(UNIT, Bounced)], &request),
            vec![Step::Keep {
                id: 7,
                status: Bounced,
            }],
        ),
        (
            "the unit is not configured any more",
            reviewed(true, &[], &[open(7, "denver")]),
            closed(Closing::Gone),
        ),
        (
            "the contact is another person's by now",
            reviewed(
                true,
                &[],
                &[Open {
                    key: "bob",
                    ..open(7, UNIT)
                }],
            ),
            closed(Closing::Gone),
        ),
    ];
    for (sentence, steps, expected) in rows {
        assert_eq!(steps, expected, "{sentence}");
    }
}

#[test]
fn r47_nothing_is_opened_for_somebody_who_wants_no_mail() {
    assert_eq!(reviewed(false, &[seen(UNIT, Held)], &[]), vec![]);
}

#[test]
fn r47_a_stranger_in_the_answer_opens_nothing() {
    let stranger = Seen {
        key: "bob",
        ..seen(UNIT, Held)
    };
    assert_eq!(
        reviewed(true, &[stranger, seen("denver", Held)], &[]),
        vec![]
    );
}

#[test]
fn r47_the_daemon_overcomes_bounces_and_older_opt_outs_only() {
    let at = |minute: i64| At::from_micros(minute * MINUTE);
    let rows = [
        (
            "a bounce says nothing of the person",
            Some(5),
            Bounced,
            None,
            Ok(()),
        ),
        ("nor do many", Some(5), Held, None, Ok(())),
        (
            "without a grant nothing is done",
            None,
            Held,
            None,
            Err(Reluctance::NotGranted),
        ),
        (
            "the person came back after having left there",
            Some(5),
            Unsubscribed,
            Some(4),
            Ok(()),
        ),
        (
            "left there after the grant",
            Some(5),
            Unsubscribed,
            Some(6),
            Err(Reluctance::OptedOutThere),
        ),
        (
            "a tie goes to the withdrawal",
            Some(5),
            Unsubscribed,
            Some(5),
            Err(Reluctance::OptedOutThere),
        ),
        (
            "left there nobody knows when",
            Some(5),
            Unsubscribed,
            None,
            Err(Reluctance::OptedOutThere),
        ),
        (
            "a word that is not known",
            Some(5),
            Unknown,
            None,
            Err(Reluctance::NotUnderstood),
        ),
    ];
    for (sentence, since, status, left, expected) in rows {
        let found = may_activate(since.map(at), status, left.map(at));
        assert_eq!(found, expected, "{sentence}");
    }
}
