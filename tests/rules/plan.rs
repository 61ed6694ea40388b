//! From verdicts to writes (R5, R6, R20, R21, R32, R34, R37, R38, R49).

use crate::build::{
    Is, LOADER, MARKETING, NEWS, SALESFORCE, STORE, Say, ascend, decided, em, granted, planned,
    planned_with, record, rules, rules_granting_on, sf, so, withdrawn,
};
use consentd::consent::plan::agrees;
use consentd::consent::{
    Basis, Contact, DuplicateWrite, Polarity, Rules, Shown, Status, SystemRules, plan,
};

const OUT: Shown = Shown::Set;
const IN: Shown = Shown::Default;

fn check(rules: &Rules, rows: &[(&str, Vec<Contact>, &str)]) {
    for (sentence, contacts, expected) in rows {
        assert_eq!(planned(contacts, rules), *expected, "{sentence}");
    }
}

#[test]
fn r05_writes_go_to_every_live_duplicate() {
    let contacts = vec![
        sf("a")
            .born(1)
            .says(MARKETING, withdrawn(10))
            .shows(MARKETING, OUT),
        sf("b").born(2).shows(MARKETING, IN),
        sf("c").born(3).shows(MARKETING, IN).deleted(),
        sf("d").born(4).shows(MARKETING, IN).merged_into("a"),
        ascend("x").born(1).shows(MARKETING, IN),
        ascend("y").born(2).shows(MARKETING, IN),
    ];
    check(
        &rules(),
        &[(
            "all that live and differ",
            contacts.clone(),
            "withdrawal salesforce/b marketing=set; withdrawal ascend/x marketing=set; \
             withdrawal ascend/y marketing=set",
        )],
    );
    let mut narrow = rules();
    narrow.policy.duplicate_write = DuplicateWrite::Oldest;
    check(
        &narrow,
        &[(
            "the oldest of each system alone",
            contacts,
            "withdrawal ascend/x marketing=set",
        )],
    );
}

#[test]
fn r06_a_protected_duplicate_is_not_overwritten_by_a_grant() {
    let opted_out = || {
        sf("b")
            .born(2)
            .says(MARKETING, withdrawn(20))
            .shows(MARKETING, OUT)
            .shows(NEWS, IN)
    };
    check(
        &rules(),
        &[
            (
                "its own later opt-out stays",
                vec![
                    sf("a")
                        .born(1)
                        .says(MARKETING, granted(10))
                        .shows(MARKETING, IN),
                    opted_out(),
                ],
                "",
            ),
            (
                "the others get the grant",
                vec![
                    sf("a")
                        .born(1)
                        .says(MARKETING, granted(10))
                        .shows(MARKETING, IN),
                    opted_out(),
                    ascend("x").shows(MARKETING, OUT),
                ],
                "grant ascend/x marketing=default",
            ),
            (
                "a category granted below is kept from it too",
                vec![
                    sf("a")
                        .born(1)
                        .says(MARKETING, granted(10))
                        .shows(MARKETING, IN)
                        .says(NEWS, granted(15))
                        .shows(NEWS, OUT),
                    opted_out(),
                ],
                "",
            ),
            (
                "a withdrawal reaches it",
                vec![
                    sf("a").born(1).says(NEWS, withdrawn(30)).shows(NEWS, IN),
                    opted_out().shows(NEWS, Shown::Set),
                ],
                "withdrawal salesforce/b news=default",
            ),
        ],
    );
}

#[test]
fn r20_an_opt_out_switches_every_category_off() {
    check(
        &rules(),
        &[
            (
                "one write clears the boxes of the contact itself",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .shows(MARKETING, OUT)
                        .shows(NEWS, Shown::Set),
                ],
                "withdrawal salesforce/a news=default",
            ),
            (
                "and opts out the others with their boxes in one write",
                vec![
                    ascend("x")
                        .says(MARKETING, withdrawn(10))
                        .shows(MARKETING, OUT),
                    sf("a").shows(MARKETING, IN).shows(NEWS, Shown::Set),
                ],
                "withdrawal salesforce/a marketing=set news=default",
            ),
            (
                "a box ticked meanwhile is reset",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .shows(MARKETING, OUT)
                        .says(NEWS, granted(15))
                        .shows(NEWS, Shown::Set),
                ],
                "withdrawal salesforce/a news=default",
            ),
            (
                "an opt-in later writes no box",
                vec![
                    sf("a")
                        .says(NEWS, granted(5))
                        .shows(NEWS, IN)
                        .says(MARKETING, withdrawn(10))
                        .shows(MARKETING, OUT),
                    ascend("x")
                        .says(MARKETING, granted(20))
                        .shows(MARKETING, IN),
                ],
                "grant salesforce/a marketing=default",
            ),
        ],
    );
}

#[test]
fn r34_withdrawals_go_first() {
    check(
        &rules(),
        &[(
            "a contact with both gets two writes, and all withdrawals come before all grants",
            vec![
                sf("a")
                    .born(1)
                    .says(MARKETING, granted(20))
                    .shows(MARKETING, OUT)
                    .shows(NEWS, Shown::Set)
                    .says(NEWS, withdrawn(30)),
                ascend("x").shows(MARKETING, OUT),
                so("1").shows(STORE, record(Status::Granted, None)),
                em("7")
                    .says(STORE, withdrawn(5))
                    .shows(STORE, record(Status::Withdrawn, None)),
            ],
            "withdrawal salesforce/a news=default; withdrawal superoffice/1 store=withdrawn; \
             grant salesforce/a marketing=default; grant ascend/x marketing=default",
        )],
    );
}

#[test]
fn r21_records_get_status_and_basis() {
    let consent = || Some(Basis::Consent);
    let granted_on = |basis| granted(10).explicit().on(basis);
    check(
        &rules(),
        &[
            (
                "a basis that differs is written",
                vec![
                    so("1")
                        .says(STORE, granted_on(Basis::Consent))
                        .shows(STORE, record(Status::Granted, consent())),
                    em("7").shows(STORE, record(Status::Granted, Some(Basis::Contract))),
                ],
                "grant emarketeer/7 store=granted:consent",
            ),
            (
                "no basis never overwrites one",
                vec![
                    so("1")
                        .says(STORE, granted(10).explicit())
                        .shows(STORE, record(Status::Granted, None)),
                    em("7").shows(STORE, record(Status::Granted, consent())),
                ],
                "",
            ),
            (
                "a basis that is not mapped is never written to another system",
                vec![
                    so("1")
                        .says(STORE, granted_on(Basis::Other("X9".to_owned())))
                        .shows(
                            STORE,
                            record(Status::Granted, Some(Basis::Other("X9".to_owned()))),
                        ),
                    em("7").shows(STORE, record(Status::Granted, consent())),
                ],
                "",
            ),
            (
                "nor is the grant, for which another would have to be made up",
                vec![
                    so("1")
                        .says(STORE, granted_on(Basis::Other("X9".to_owned())))
                        .shows(
                            STORE,
                            record(Status::Granted, Some(Basis::Other("X9".to_owned()))),
                        ),
                    em("8").shows(STORE, record(Status::Withdrawn, None)),
                    em("9").shows(STORE, Shown::Default),
                ],
                "",
            ),
            (
                "but duplicates of its own system understand it",
                vec![
                    so("1")
                        .born(1)
                        .says(STORE, granted_on(Basis::Other("X9".to_owned())))
                        .shows(
                            STORE,
                            record(Status::Granted, Some(Basis::Other("X9".to_owned()))),
                        ),
                    so("2")
                        .born(2)
                        .shows(STORE, record(Status::Granted, consent())),
                ],
                "grant superoffice/2 store=granted:X9",
            ),
            (
                "a basis changes from one to another everywhere",
                vec![
                    so("1")
                        .says(STORE, granted_on(Basis::Consent))
                        .says(STORE, granted(20).explicit().on(Basis::Contract))
                        .shows(STORE, record(Status::Granted, Some(Basis::Contract))),
                    em("7")
                        .says(STORE, granted(15).explicit().on(Basis::LegitimateInterests))
                        .shows(
                            STORE,
                            record(Status::Granted, Some(Basis::LegitimateInterests)),
                        ),
                ],
                "grant emarketeer/7 store=granted:contract",
            ),
            (
                "duplicates with different bases end as the oldest has it",
                vec![
                    so("1")
                        .born(1)
                        .says(STORE, granted_on(Basis::Consent))
                        .shows(STORE, record(Status::Granted, consent())),
                    so("2")
                        .born(2)
                        .says(STORE, granted(20).explicit().on(Basis::Contract))
                        .shows(STORE, record(Status::Granted, Some(Basis::Contract))),
                ],
                "grant superoffice/2 store=granted:consent",
            ),
            (
                "a record that has no basis yet gets one",
                vec![
                    so("1")
                        .says(STORE, granted_on(Basis::Consent))
                        .shows(STORE, record(Status::Granted, consent())),
                    em("7").shows(STORE, record(Status::Granted, None)),
                ],
                "grant emarketeer/7 store=granted:consent",
            ),
            (
                "a withdrawal agrees whatever basis is still shown",
                vec![
                    so("1")
                        .says(STORE, withdrawn(10).explicit())
                        .shows(STORE, record(Status::Withdrawn, None)),
                    em("7").shows(STORE, record(Status::Withdrawn, consent())),
                ],
                "",
            ),
            (
                "a missing record gets one",
                vec![
                    so("1")
                        .says(STORE, withdrawn(10).explicit())
                        .shows(STORE, record(Status::Withdrawn, None)),
                    em("7").shows(STORE, Shown::Default),
                ],
                "withdrawal emarketeer/7 store=withdrawn",
            ),
        ],
    );
    assert!(!agrees(&Shown::Default, &record(Status::Withdrawn, None)));
}

#[test]
fn r21_a_grant_without_a_basis_gets_the_configured_one_where_one_is_needed() {
    let opted_in = || sf("a").says(MARKETING, granted(10)).shows(MARKETING, IN);
    let rows = |basis: &str| {
        [
            (
                "a withdrawn record is granted on it",
                vec![
                    opted_in(),
                    so("1").shows(MARKETING, record(Status::Withdrawn, None)),
                ],
                format!("grant superoffice/1 marketing=granted:{basis}"),
            ),
            (
                "a missing record too",
                vec![opted_in(), em("7").shows(MARKETING, Shown::Default)],
                format!("grant emarketeer/7 marketing=granted:{basis}"),
            ),
            (
                "a record that is granted keeps what it has",
                vec![
                    opted_in(),
                    so("1").shows(MARKETING, record(Status::Granted, Some(Basis::Contract))),
                    em("7").shows(MARKETING, record(Status::Granted, None)),
                ],
                String::new(),
            ),
            (
                "a flag has no place for one",
                vec![opted_in(), ascend("x").shows(MARKETING, OUT)],
                "grant ascend/x marketing=default".to_owned(),
            ),
            (
                "where somebody said a basis, that one is written",
                vec![
                    opted_in(),
                    so("1")
                        .says(MARKETING, granted(5).explicit().on(Basis::PublicTask))
                        .shows(MARKETING, record(Status::Granted, Some(Basis::PublicTask))),
                    em("7").shows(MARKETING, Shown::Default),
                ],
                "grant emarketeer/7 marketing=granted:public-task".to_owned(),
            ),
            (
                "unless a withdrawal lies between",
                vec![
                    opted_in().says(MARKETING, withdrawn(7)),
                    so("1")
                        .says(MARKETING, granted(5).explicit().on(Basis::PublicTask))
                        .shows(MARKETING, record(Status::Withdrawn, None)),
                ],
                format!("grant superoffice/1 marketing=granted:{basis}"),
            ),
            (
                "a withdrawal never gets one",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)).shows(MARKETING, OUT),
                    so("1").shows(MARKETING, record(Status::Granted, Some(Basis::Consent))),
                ],
                "withdrawal superoffice/1 marketing=withdrawn".to_owned(),
            ),
        ]
    };
    for (sentence, contacts, expected) in rows("consent") {
        assert_eq!(planned(&contacts, &rules()), expected, "{sentence}");
    }
    let other = rules_granting_on(&Basis::LegitimateInterests);
    for (sentence, contacts, expected) in rows("legitimate-interests") {
        assert_eq!(planned(&contacts, &other), expected, "{sentence}");
    }
}

#[test]
fn r21_a_write_that_only_settles_another_keeps_the_basis_that_is_there() {
    let rules = rules();
    let contacts = [
        sf("a").says(MARKETING, granted(10)).shows(MARKETING, IN),
        so("1").shows(MARKETING, record(Status::Granted, Some(Basis::Contract))),
    ];
    let in_flight = |contact: &Contact| {
        if contact.id == "1" {
            vec![(MARKETING, record(Status::Withdrawn, None))]
        } else {
            Vec::new()
        }
    };
    assert_eq!(
        planned_with(&contacts, &rules, &in_flight),
        "grant superoffice/1 marketing=granted:contract"
    );
}

#[test]
fn r12_silence_is_left_alone() {
    check(
        &rules(),
        &[
            (
                "nobody said anything",
                vec![
                    sf("a").shows(MARKETING, IN),
                    ascend("x").shows(MARKETING, OUT),
                ],
                "",
            ),
            (
                "a contact that was never read is not written to",
                vec![
                    ascend("x")
                        .says(MARKETING, withdrawn(10))
                        .shows(MARKETING, OUT),
                    sf("a"),
                ],
                "",
            ),
            (
                "purposes without a verdict are left out of a write",
                vec![
                    ascend("x")
                        .says(MARKETING, granted(10))
                        .shows(MARKETING, IN),
                    sf("a").shows(MARKETING, OUT).shows(NEWS, Shown::Set),
                ],
                "grant salesforce/a marketing=default",
            ),
        ],
    );
}

#[test]
fn r25_a_load_is_written_back() {
    check(
        &rules(),
        &[(
            "to the verdict that stood",
            vec![
                sf("a")
                    .says(MARKETING, withdrawn(10))
                    .says(MARKETING, granted(20).by(LOADER))
                    .shows(MARKETING, IN),
            ],
            "withdrawal salesforce/a marketing=set",
        )],
    );
}

#[test]
fn r32_a_write_under_way_that_disagrees_needs_another() {
    let rules = rules();
    let contacts = [
        sf("a").says(MARKETING, withdrawn(10)).shows(MARKETING, OUT),
        ascend("x").shows(MARKETING, OUT),
    ];
    let rows = [
        ("nothing under way: nothing to do", vec![], ""),
        (
            "what is under way agrees: nothing to do",
            vec![(MARKETING, OUT)],
            "",
        ),
        (
            "what is under way would opt in: opt out after it",
            vec![(MARKETING, IN)],
            "withdrawal ascend/x marketing=set",
        ),
        ("another purpose is under way", vec![(NEWS, OUT)], ""),
    ];
    for (sentence, under_way, expected) in rows {
        let in_flight = |contact: &Contact| {
            if contact.id == "x" {
                under_way.clone()
            } else {
                Vec::new()
            }
        };
        assert_eq!(
            planned_with(&contacts, &rules, &in_flight),
            expected,
            "{sentence}"
        );
    }
}

#[test]
fn r37_contacts_at_their_verdict_need_no_write() {
    check(
        &rules(),
        &[(
            "parity is quiet",
            vec![
                sf("a")
                    .says(MARKETING, withdrawn(10))
                    .shows(MARKETING, OUT)
                    .shows(NEWS, IN),
                ascend("x").shows(MARKETING, OUT),
                so("1").shows(MARKETING, record(Status::Withdrawn, None)),
            ],
            "",
        )],
    );
}

#[test]
fn r38_only_purposes_that_a_system_carries_are_written() {
    let mut rules = rules();
    rules.systems[0].carries = vec![(NEWS, Polarity::Permission)];
    check(
        &rules,
        &[(
            "the parent's withdrawal reaches the box, and nothing else",
            vec![
                ascend("x")
                    .says(MARKETING, withdrawn(10))
                    .shows(MARKETING, OUT),
                sf("a").shows(MARKETING, IN).shows(NEWS, Shown::Set),
            ],
            "withdrawal salesforce/a news=default",
        )],
    );
}

#[test]
fn r49_a_system_that_is_not_written_to_may_still_speak() {
    let mut rules = rules();
    rules.systems[0].writable = false;
    check(
        &rules,
        &[
            (
                "its word counts",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)).shows(MARKETING, OUT),
                    ascend("x").shows(MARKETING, IN),
                ],
                "withdrawal ascend/x marketing=set",
            ),
            (
                "and it is not written to",
                vec![
                    sf("a").shows(MARKETING, IN),
                    ascend("x")
                        .says(MARKETING, withdrawn(10))
                        .shows(MARKETING, OUT),
                ],
                "",
            ),
        ],
    );
    rules.systems[0] = SystemRules::retired(SALESFORCE, "salesforce".to_owned());
    check(
        &rules,
        &[(
            "nor is one that is no longer configured",
            vec![
                sf("a").shows(MARKETING, IN),
                ascend("x")
                    .says(MARKETING, withdrawn(10))
                    .shows(MARKETING, OUT),
            ],
            "",
        )],
    );
}

#[test]
fn r23_a_write_carries_the_verdict_behind_it() {
    let rules = rules();
    let contacts = [
        sf("a").says(MARKETING, withdrawn(10)).shows(MARKETING, OUT),
        ascend("x").shows(MARKETING, IN),
    ];
    let resolution = decided(&contacts, &rules);
    let writes = plan(&resolution, &contacts, &rules, &|_| Vec::new());
    assert_eq!(writes[0].verdict.source.contact, "a");
    assert_eq!(writes[0].changes[0].from, Some(IN));
}
