//! From statements to verdicts (R4, R6, R8, R14, R18–R25).

use crate::build::{
    EVENTS, Is, LOADER, MARKETING, NEWS, SALESFORCE, STORE, SUPEROFFICE, Say, ascend, decided,
    decided_with, em, findings, granted, operator, rules, rules_granting_on,
    rules_with_consent_only, sf, so, t, verdict, why_lost, withdrawn,
};
use consentd::consent::resolve::{Loss, MAX_LOST};
use consentd::consent::{
    At, Basis, Contact, DuplicateWithdrawal, Polarity, PurposeId, Remembered, Rules, Subject,
    SystemRules, resolve,
};

/// A sentence, the contacts, the verdict on marketing, the findings.
type Row = (&'static str, Vec<Contact>, &'static str, &'static str);

fn check(rules: &Rules, purpose: PurposeId, rows: &[Row]) {
    for (sentence, contacts, expected, found) in rows {
        let resolution = decided(contacts, rules);
        assert_eq!(
            verdict(&resolution, purpose, rules),
            *expected,
            "{sentence}"
        );
        assert_eq!(findings(&resolution, rules), *found, "{sentence}");
        let mut turned = contacts.clone();
        turned.reverse();
        assert_eq!(
            decided(&turned, rules),
            resolution,
            "{sentence}, in any order (R19)"
        );
    }
}

#[test]
fn r04_the_oldest_duplicate_is_the_systems_voice() {
    check(
        &rules(),
        MARKETING,
        &[
            (
                "the oldest speaks, however late the younger spoke",
                vec![
                    sf("a").born(1).says(MARKETING, withdrawn(10)),
                    sf("b").born(2).says(MARKETING, granted(20)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "a silent oldest contact leaves the system silent",
                vec![
                    sf("a").born(1),
                    sf("b").born(2).says(MARKETING, granted(20)),
                ],
                "silent",
                "",
            ),
            (
                "of two created at once the smaller id speaks",
                vec![
                    sf("b").born(1).says(MARKETING, granted(20)),
                    sf("a").born(1).says(MARKETING, granted(10)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "when the oldest is deleted the next one speaks",
                vec![
                    sf("a").born(1).says(MARKETING, granted(30)).deleted(),
                    sf("b").born(2).says(MARKETING, granted(20)),
                ],
                "granted by salesforce/b (R18)",
                "",
            ),
            (
                "each system has its own voice",
                vec![
                    sf("a").born(5).says(MARKETING, granted(10)),
                    ascend("x").born(1).says(MARKETING, granted(20)),
                ],
                "granted by ascend/x (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r04_five_hundred_duplicates_have_one_voice() {
    let contacts: Vec<Contact> = (0..500)
        .map(|n| {
            sf(&format!("{n:03}"))
                .born(500 - n)
                .says(MARKETING, granted(n))
        })
        .collect();
    check(
        &rules(),
        MARKETING,
        &[(
            "the last of them is the oldest",
            contacts,
            "granted by salesforce/499 (R18)",
            "",
        )],
    );
}

#[test]
fn r06_a_younger_duplicates_later_withdrawal_is_protected() {
    let conflict = "conflict marketing salesforce/b";
    check(
        &rules(),
        MARKETING,
        &[
            (
                "a later withdrawal is a conflict, not the verdict",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(20)),
                ],
                "granted by salesforce/a (R18)",
                conflict,
            ),
            (
                "an equal one too",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(10)),
                ],
                "granted by salesforce/a (R18)",
                conflict,
            ),
            (
                "an earlier one is overwritten",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(5)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "it is a conflict where everyone else is silent",
                vec![
                    sf("a").born(1),
                    sf("b").born(2).says(MARKETING, withdrawn(5)),
                ],
                "silent",
                conflict,
            ),
            (
                "the grant may come from another system",
                vec![
                    sf("a").born(1),
                    sf("b").born(2).says(MARKETING, withdrawn(20)),
                    so("1").says(MARKETING, granted(10)),
                ],
                "granted by superoffice/1 (R18)",
                conflict,
            ),
            (
                "there is no conflict where the verdict is withdrawn",
                vec![
                    sf("a").born(1).says(MARKETING, withdrawn(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(20)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "there is none once the person opted in on that contact again",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b")
                        .born(2)
                        .says(MARKETING, withdrawn(20))
                        .says(MARKETING, granted(30)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "but a load does not end it",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b")
                        .born(2)
                        .says(MARKETING, withdrawn(20))
                        .says(MARKETING, granted(30).by(LOADER)),
                ],
                "granted by salesforce/a (R18)",
                conflict,
            ),
            (
                "nor does a grant found at first sight",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b")
                        .born(2)
                        .says(MARKETING, withdrawn(20))
                        .says(MARKETING, granted(0).found_between(30, 40)),
                ],
                "granted by salesforce/a (R18)",
                conflict,
            ),
        ],
    );
}

#[test]
fn r06_what_a_younger_duplicate_withdrew_of_the_parent_covers_its_categories() {
    check(
        &rules(),
        NEWS,
        &[(
            "the category's older grant does not reach it",
            vec![
                sf("a")
                    .born(1)
                    .says(MARKETING, granted(20))
                    .says(NEWS, granted(5)),
                sf("b").born(2).says(MARKETING, withdrawn(10)),
            ],
            "granted by salesforce/a (R18)",
            "conflict marketing.news salesforce/b",
        )],
    );
}

#[test]
fn r06_any_lets_a_younger_duplicates_withdrawal_win() {
    let mut rules = rules();
    rules.policy.duplicate_withdrawal = DuplicateWithdrawal::Any;
    check(
        &rules,
        MARKETING,
        &[
            (
                "the later withdrawal wins outright",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(20)),
                ],
                "withdrawn by salesforce/b (R18)",
                "",
            ),
            (
                "an earlier one does not",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(5)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "a younger duplicate's grant still counts for nothing",
                vec![
                    sf("a").born(1).says(MARKETING, withdrawn(10)),
                    sf("b").born(2).says(MARKETING, granted(20)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r14_withdrawals_outlive_their_contact_and_grants_end_with_it() {
    check(
        &rules(),
        MARKETING,
        &[
            (
                "a deleted contact's withdrawal stays",
                vec![
                    sf("a").born(1).says(MARKETING, withdrawn(10)).deleted(),
                    sf("b").born(2).says(MARKETING, granted(5)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "a merged contact's too",
                vec![
                    sf("a")
                        .born(1)
                        .says(MARKETING, withdrawn(10))
                        .merged_into("b"),
                    sf("b").born(2).says(MARKETING, granted(5)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "a deleted contact's grant ends",
                vec![sf("a").says(MARKETING, granted(10)).deleted()],
                "silent",
                "",
            ),
            (
                "and no longer covers an earlier withdrawal",
                vec![
                    sf("a").says(MARKETING, granted(10)).deleted(),
                    ascend("x").says(MARKETING, withdrawn(5)),
                ],
                "withdrawn by ascend/x (R18)",
                "",
            ),
            (
                "a later grant elsewhere overrules a deleted contact's withdrawal",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)).deleted(),
                    ascend("x").says(MARKETING, granted(20)),
                ],
                "granted by ascend/x (R18)",
                "",
            ),
            (
                "a system that lost all its contacts still remembers",
                vec![sf("a").says(MARKETING, withdrawn(10)).deleted()],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r14_a_withdrawal_stays_with_the_address_it_was_said_under() {
    let rules = rules();
    let left_behind = Remembered {
        purpose: MARKETING,
        source: consentd::consent::resolve::Source {
            system: Some(SALESFORCE),
            contact: "moved".to_owned(),
        },
        statement: withdrawn(10),
        overruled: false,
    };
    let rows = [
        ("alone", vec![], "withdrawn by salesforce/moved (R18)"),
        (
            "against an earlier grant",
            vec![ascend("x").says(MARKETING, granted(5))],
            "withdrawn by salesforce/moved (R18)",
        ),
        (
            "but not against a later one",
            vec![ascend("x").says(MARKETING, granted(20))],
            "granted by ascend/x (R18)",
        ),
    ];
    for (sentence, contacts, expected) in rows {
        let resolution = decided_with(&contacts, std::slice::from_ref(&left_behind), &rules);
        assert_eq!(
            verdict(&resolution, MARKETING, &rules),
            expected,
            "{sentence}"
        );
    }
}

#[test]
fn r18_the_greatest_statement_wins() {
    check(
        &rules(),
        MARKETING,
        &[
            (
                "nobody said anything",
                vec![sf("a"), ascend("x")],
                "silent",
                "",
            ),
            (
                "the later of a withdrawal and a grant",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    ascend("x").says(MARKETING, granted(20)),
                ],
                "granted by ascend/x (R18)",
                "",
            ),
            (
                "the later of a grant and a withdrawal",
                vec![
                    sf("a").says(MARKETING, granted(10)),
                    ascend("x").says(MARKETING, withdrawn(20)),
                ],
                "withdrawn by ascend/x (R18)",
                "",
            ),
            (
                "a contact's own later word replaces its earlier one",
                vec![
                    sf("a")
                        .says(MARKETING, granted(10))
                        .says(MARKETING, withdrawn(20))
                        .says(MARKETING, granted(30)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "silence never overrules",
                vec![sf("a"), ascend("x").says(MARKETING, granted(1))],
                "granted by ascend/x (R18)",
                "",
            ),
            (
                "a grant seen between reads loses to a withdrawal within",
                vec![
                    sf("a").says(MARKETING, granted(0).seen_between(5, 15)),
                    ascend("x").says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by ascend/x (R18)",
                "",
            ),
            (
                "a withdrawal seen between reads beats a grant within",
                vec![
                    sf("a").says(MARKETING, withdrawn(0).seen_between(5, 15)),
                    ascend("x").says(MARKETING, granted(10)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "equal grants: the better evidence explains",
                vec![
                    sf("a").says(MARKETING, granted(10)),
                    so("1").says(MARKETING, granted(10).explicit()),
                ],
                "granted by superoffice/1 (R18)",
                "",
            ),
            (
                "equal evidence: the system that comes first by configuration",
                vec![
                    ascend("x").says(MARKETING, granted(10)),
                    sf("a").says(MARKETING, granted(10)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "the same event copied to the second and to the millisecond is a tie",
                vec![
                    sf("a").says(MARKETING, granted(10)),
                    so("1").says(MARKETING, withdrawn(10).to_the_second()),
                ],
                "withdrawn by superoffice/1 (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r18_equal_precedence_falls_back_to_names() {
    let mut rules = rules();
    for system in &mut rules.systems {
        system.precedence = 7;
    }
    check(
        &rules,
        MARKETING,
        &[(
            "the name decides",
            vec![
                sf("a").says(MARKETING, granted(10)),
                ascend("x").says(MARKETING, granted(10)),
            ],
            "granted by ascend/x (R18)",
            "",
        )],
    );
}

#[test]
fn r18_an_operator_takes_part() {
    let rules = rules();
    let rows = [
        (
            "an operator's word is a statement like others",
            withdrawn(20),
            granted(30),
            "granted by salesforce/a (R18)",
        ),
        (
            "and the later wins",
            withdrawn(30),
            granted(20),
            "withdrawn by operator/op (R18)",
        ),
        (
            "on equal terms the operator explains",
            granted(20),
            granted(20),
            "granted by operator/op (R18)",
        ),
    ];
    for (sentence, theirs, contacts, expected) in rows {
        let contacts = [sf("a").says(MARKETING, contacts)];
        let resolution = decided_with(&contacts, &[operator(MARKETING, theirs)], &rules);
        assert_eq!(
            verdict(&resolution, MARKETING, &rules),
            expected,
            "{sentence}"
        );
    }
}

#[test]
fn r18_a_system_no_longer_configured_neither_speaks_nor_blocks() {
    let mut rules = rules();
    rules.systems.retain(|system| system.id != SALESFORCE);
    check(
        &rules,
        MARKETING,
        &[(
            "its contacts are as if they were not there",
            vec![
                sf("a").says(MARKETING, withdrawn(10)),
                ascend("x").says(MARKETING, granted(5)),
            ],
            "granted by ascend/x (R18)",
            "",
        )],
    );
}

#[test]
fn r19_ties_go_to_the_withdrawal() {
    check(
        &rules(),
        MARKETING,
        &[
            (
                "whichever system said it",
                vec![
                    sf("a").says(MARKETING, granted(10)),
                    ascend("x").says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by ascend/x (R19)",
                "",
            ),
            (
                "also on one contact",
                vec![
                    sf("a")
                        .says(MARKETING, granted(10))
                        .says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by salesforce/a (R19)",
                "",
            ),
            (
                "also against better evidence",
                vec![
                    so("1").says(MARKETING, granted(10).explicit()),
                    sf("a").says(MARKETING, withdrawn(0).seen_between(5, 10)),
                ],
                "withdrawn by salesforce/a (R19)",
                "",
            ),
        ],
    );
}

#[test]
fn r20_a_parents_withdrawal_withdraws_its_categories() {
    check(
        &rules(),
        NEWS,
        &[
            (
                "ticked before",
                vec![
                    sf("a")
                        .says(NEWS, granted(5))
                        .says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by salesforce/a (R20)",
                "",
            ),
            (
                "never ticked",
                vec![sf("a").says(MARKETING, withdrawn(10))],
                "withdrawn by salesforce/a (R20)",
                "",
            ),
            (
                "withdrawn in another system",
                vec![
                    sf("a").says(NEWS, granted(5)),
                    ascend("x").says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by ascend/x (R20)",
                "",
            ),
            (
                "ticked while withdrawn: an inconsistency",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(NEWS, granted(15)),
                ],
                "withdrawn by salesforce/a (R20)",
                "inconsistent marketing.news salesforce/a",
            ),
            (
                "ticked at first sight while withdrawn: an inconsistency, and nothing to decide",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(NEWS, granted(0).found_between(-100, 15)),
                ],
                "withdrawn by salesforce/a (R20)",
                "inconsistent marketing.news salesforce/a",
            ),
            (
                "its own later withdrawal explains it better",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(NEWS, withdrawn(15)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "a category withdrawn alone leaves the parent alone",
                vec![
                    sf("a")
                        .says(MARKETING, granted(5))
                        .says(NEWS, withdrawn(10)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r20_opting_in_never_ticks_a_category() {
    let opted_out_and_in = || {
        sf("a")
            .says(MARKETING, withdrawn(10))
            .says(MARKETING, granted(20))
    };
    check(
        &rules(),
        NEWS,
        &[
            (
                "a box from before stays off",
                vec![opted_out_and_in().says(NEWS, granted(5))],
                "withdrawn by salesforce/a (R20)",
                "",
            ),
            (
                "a box ticked while opted out stays void",
                vec![opted_out_and_in().says(NEWS, granted(15))],
                "withdrawn by salesforce/a (R20)",
                "",
            ),
            (
                "a box ticked in the same save counts",
                vec![opted_out_and_in().says(NEWS, granted(20))],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "a box ticked later counts",
                vec![opted_out_and_in().says(NEWS, granted(25))],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "a box ticked again later counts, the void one does not hinder",
                vec![
                    opted_out_and_in()
                        .says(NEWS, granted(15))
                        .says(NEWS, granted(25)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "a box ticked after the opt-in counts though another system confirms the opt-in later",
                vec![
                    opted_out_and_in().says(NEWS, granted(25)),
                    so("1").says(MARKETING, granted(30)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "a second opt-out takes it again",
                vec![
                    opted_out_and_in()
                        .says(NEWS, granted(25))
                        .says(MARKETING, withdrawn(30))
                        .says(MARKETING, granted(40)),
                ],
                "withdrawn by salesforce/a (R20)",
                "",
            ),
            (
                "a box seen ticked in the same read as the opt-in counts",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(MARKETING, granted(0).seen_between(15, 25))
                        .says(NEWS, granted(0).seen_between(15, 25)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r20_a_void_tick_is_explained() {
    let resolution = decided(
        &[sf("a")
            .says(MARKETING, withdrawn(10))
            .says(MARKETING, granted(20))
            .says(NEWS, granted(15))],
        &rules(),
    );
    assert_eq!(
        why_lost(&resolution, NEWS, "a"),
        Some(Loss::WhileParentWithdrawn)
    );
    let resolution = decided(
        &[sf("a")
            .says(MARKETING, withdrawn(10))
            .says(NEWS, granted(15))],
        &rules(),
    );
    assert_eq!(
        why_lost(&resolution, NEWS, "a"),
        Some(Loss::WhileParentWithdrawn)
    );
}

#[test]
fn r20_a_box_ticked_before_the_opt_out_was_not_void() {
    let resolution = decided(
        &[sf("a")
            .says(NEWS, granted(5))
            .says(MARKETING, withdrawn(10))
            .says(MARKETING, granted(20))],
        &rules(),
    );
    assert_eq!(why_lost(&resolution, NEWS, "a"), Some(Loss::Earlier));
}

#[test]
fn r20_purposes_beside_the_tree_are_left_alone() {
    let rules = rules();
    let resolution = decided(
        &[
            sf("a").says(MARKETING, withdrawn(10)),
            so("1").says(STORE, granted(5)),
        ],
        &rules,
    );
    assert_eq!(
        verdict(&resolution, STORE, &rules),
        "granted by superoffice/1 (R18)"
    );
    assert_eq!(
        verdict(&resolution, EVENTS, &rules),
        "withdrawn by salesforce/a (R20)"
    );
}

#[test]
fn r21_a_flags_grant_after_a_withdrawal_has_the_configured_basis() {
    let rules = rules_granting_on(&Basis::PublicTask);
    let interests = || granted(10).explicit().on(Basis::LegitimateInterests);
    let rows = [
        (
            "records may still show what ended",
            vec![
                sf("a")
                    .says(MARKETING, withdrawn(20))
                    .says(MARKETING, granted(30)),
                so("1").says(MARKETING, interests()),
            ],
            Some(Basis::PublicTask),
        ),
        (
            "what a record says after the withdrawal stands",
            vec![
                sf("a")
                    .says(MARKETING, withdrawn(5))
                    .says(MARKETING, granted(30)),
                so("1").says(MARKETING, interests()),
            ],
            Some(Basis::LegitimateInterests),
        ),
        (
            "without a withdrawal nothing has ended",
            vec![
                sf("a").says(MARKETING, granted(30)),
                so("1").says(MARKETING, granted(10).explicit()),
            ],
            None,
        ),
        (
            "a record that names no basis is not consent",
            vec![
                so("1").says(MARKETING, interests()),
                em("7")
                    .says(MARKETING, withdrawn(20).explicit())
                    .says(MARKETING, granted(30).explicit()),
            ],
            None,
        ),
    ];
    for (sentence, contacts, expected) in rows {
        let resolution = decided(&contacts, &rules);
        let verdict = resolution.verdict(MARKETING).unwrap();
        assert_eq!(verdict.basis, expected, "{sentence}");
    }
}

#[test]
fn r21_the_later_basis_wins() {
    let rules = rules();
    let contract = || so("1").says(STORE, granted(10).explicit().on(Basis::Contract));
    let rows = [
        (
            "of two systems that carry one",
            vec![
                contract(),
                em("7").says(STORE, granted(20).explicit().on(Basis::Consent)),
            ],
            Some(Basis::Consent),
        ),
        (
            "whichever is later",
            vec![
                contract(),
                em("7").says(STORE, granted(5).explicit().on(Basis::Consent)),
            ],
            Some(Basis::Contract),
        ),
        (
            "a later grant without a basis keeps it",
            vec![contract(), em("7").says(STORE, granted(20).explicit())],
            Some(Basis::Contract),
        ),
        (
            "an unknown code is kept verbatim",
            vec![so("1").says(STORE, granted(10).on(Basis::Other("X9".to_owned())))],
            Some(Basis::Other("X9".to_owned())),
        ),
        (
            "a change from one to another is a later stamp",
            vec![
                contract().says(STORE, granted(30).explicit().on(Basis::PublicTask)),
                em("7").says(STORE, granted(20).explicit().on(Basis::Consent)),
            ],
            Some(Basis::PublicTask),
        ),
        (
            "equal stamps: the better evidence, then the precedence",
            vec![
                contract(),
                em("7").says(STORE, granted(10).explicit().on(Basis::Consent)),
            ],
            Some(Basis::Contract),
        ),
        (
            "what was granted before a withdrawal ended with it",
            vec![
                contract(),
                em("7")
                    .says(STORE, withdrawn(15).explicit())
                    .says(STORE, granted(20).explicit()),
            ],
            None,
        ),
        (
            "and what was granted again after it stands",
            vec![
                contract().says(STORE, granted(20).explicit().on(Basis::PublicTask)),
                em("7")
                    .says(STORE, withdrawn(15).explicit())
                    .says(STORE, granted(30).explicit()),
            ],
            Some(Basis::PublicTask),
        ),
        (
            "a basis found at first sight counts where nothing was withdrawn",
            vec![
                so("1").says(STORE, granted(0).found_between(0, 30).on(Basis::Contract)),
                em("7").says(STORE, granted(20).explicit()),
            ],
            Some(Basis::Contract),
        ),
        (
            "but not the doubtful one from about a withdrawal",
            vec![
                so("1").says(STORE, granted(0).found_between(0, 30).on(Basis::Contract)),
                em("7")
                    .says(STORE, withdrawn(10).explicit())
                    .says(STORE, granted(20).explicit()),
            ],
            None,
        ),
        (
            "a withdrawal has none",
            vec![contract(), em("7").says(STORE, withdrawn(20).explicit())],
            None,
        ),
        (
            "a load's basis counts for nothing",
            vec![
                contract(),
                em("7").says(STORE, granted(20).on(Basis::Consent).by(LOADER)),
            ],
            Some(Basis::Contract),
        ),
    ];
    for (sentence, contacts, basis) in rows {
        let resolution = decided(&contacts, &rules);
        let verdict = resolution.verdict(STORE).unwrap();
        assert_eq!(verdict.basis, basis, "{sentence}");
    }
}

#[test]
fn r22_consent_only_asks_for_consent_to_revive() {
    check(
        &rules_with_consent_only(),
        MARKETING,
        &[
            (
                "consent revives",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    so("1").says(MARKETING, granted(20).explicit().on(Basis::Consent)),
                ],
                "granted by superoffice/1 (R18)",
                "",
            ),
            (
                "legitimate interests do not",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    so("1").says(
                        MARKETING,
                        granted(20).explicit().on(Basis::LegitimateInterests),
                    ),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "an unknown basis is not consent",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    so("1").says(
                        MARKETING,
                        granted(20).explicit().on(Basis::Other("1".to_owned())),
                    ),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "a record without a basis does not",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    so("1").says(MARKETING, granted(20).explicit()),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "an opt-in act in a flag's history does",
                vec![
                    so("1").says(MARKETING, withdrawn(10)),
                    sf("a").says(MARKETING, granted(20)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "a flag merely seen to change does not",
                vec![
                    so("1").says(MARKETING, withdrawn(10)),
                    sf("a").says(MARKETING, granted(0).seen_between(20, 21)),
                ],
                "withdrawn by superoffice/1 (R18)",
                "",
            ),
            (
                "where nothing was withdrawn any basis grants",
                vec![so("1").says(MARKETING, granted(20).explicit().on(Basis::Contract))],
                "granted by superoffice/1 (R24)",
                "",
            ),
        ],
    );
    let resolution = decided(
        &[
            sf("a").says(MARKETING, withdrawn(10)),
            so("1").says(MARKETING, granted(20).explicit().on(Basis::Contract)),
        ],
        &rules_with_consent_only(),
    );
    assert_eq!(
        why_lost(&resolution, MARKETING, "1"),
        Some(Loss::NotConsent)
    );
}

#[test]
fn r22_what_revives_nothing_gives_no_basis_either() {
    let basis = |contacts: &[Contact]| {
        let resolution = decided(contacts, &rules_with_consent_only());
        resolution.verdict(MARKETING).unwrap().basis.clone()
    };
    let consents = || so("1").says(MARKETING, granted(20).explicit().on(Basis::Consent));
    let interests = |minute| {
        em("7").says(
            MARKETING,
            granted(minute).explicit().on(Basis::LegitimateInterests),
        )
    };
    assert_eq!(
        basis(&[
            sf("a").says(MARKETING, withdrawn(10)),
            consents(),
            interests(30),
        ]),
        Some(Basis::Consent),
        "somebody who objected is mailed on consent or not at all"
    );
    assert_eq!(
        basis(&[consents(), interests(30)]),
        Some(Basis::LegitimateInterests),
        "where nothing was withdrawn the later basis wins"
    );
}

#[test]
fn r21_a_basis_that_is_not_mapped_names_the_system_that_understands_it() {
    let rules = rules();
    let unmapped = || Basis::Other("X9".to_owned());
    let contacts = [
        so("1").says(STORE, granted(20).explicit().on(unmapped())),
        em("7").says(STORE, granted(10).explicit().on(Basis::Consent)),
    ];
    let resolution = decided(&contacts, &rules);
    let verdict = resolution.verdict(STORE).unwrap();
    assert_eq!(verdict.basis, Some(unmapped()));
    assert_eq!(verdict.basis_in, Some(SUPEROFFICE));
    let mapped = decided(&contacts[1..], &rules);
    assert_eq!(mapped.verdict(STORE).unwrap().basis_in, None);
}

#[test]
fn r49_what_was_said_while_the_sync_is_off_counts_for_nothing() {
    let mut rules = rules();
    rules.systems[0].heard_until = Some(t(15));
    rules.systems[0].writable = false;
    check(
        &rules,
        MARKETING,
        &[
            (
                "a withdrawal made before stays",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    ascend("x").says(MARKETING, granted(5)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "so does a grant",
                vec![
                    sf("a").says(MARKETING, granted(10)),
                    ascend("x").says(MARKETING, withdrawn(5)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "later words do not count, whatever they say",
                vec![
                    sf("a")
                        .says(MARKETING, granted(10))
                        .says(MARKETING, withdrawn(20))
                        .says(MARKETING, granted(30)),
                    ascend("x").says(MARKETING, withdrawn(5)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
            (
                "in doubt a withdrawal was made before",
                vec![
                    sf("a").says(MARKETING, withdrawn(0).seen_between(12, 18)),
                    ascend("x").says(MARKETING, granted(5)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "and a grant was not",
                vec![
                    sf("a").says(MARKETING, granted(0).seen_between(12, 18)),
                    ascend("x").says(MARKETING, withdrawn(5)),
                ],
                "withdrawn by ascend/x (R18)",
                "",
            ),
            (
                "a younger duplicate's later withdrawal is nobody's conflict",
                vec![
                    sf("a").born(1).says(MARKETING, granted(10)),
                    sf("b").born(2).says(MARKETING, withdrawn(20)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
        ],
    );
    rules.systems[0].heard_until = Some(At::from_micros(i64::MIN));
    check(
        &rules,
        MARKETING,
        &[(
            "a system that was never synced says nothing",
            vec![sf("a").says(MARKETING, withdrawn(-500).found_between(-1000, -500))],
            "silent",
            "",
        )],
    );
}

#[test]
fn r49_what_a_removed_system_withdrew_stays_and_what_it_granted_ends() {
    let mut rules = rules();
    rules.systems[0] = SystemRules::retired(SALESFORCE, "salesforce".to_owned());
    check(
        &rules,
        MARKETING,
        &[
            (
                "its withdrawal outlives it",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    ascend("x").says(MARKETING, granted(5)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "its grant does not",
                vec![
                    sf("a").says(MARKETING, granted(10)),
                    ascend("x").says(MARKETING, withdrawn(5)),
                ],
                "withdrawn by ascend/x (R18)",
                "",
            ),
            (
                "a younger duplicate spoke for nobody",
                vec![
                    sf("a").born(1).says(MARKETING, granted(1)),
                    sf("b").born(2).says(MARKETING, withdrawn(20)),
                    ascend("x").says(MARKETING, granted(5)),
                ],
                "granted by ascend/x (R18)",
                "",
            ),
            (
                "later grants elsewhere count",
                vec![
                    sf("a").says(MARKETING, withdrawn(10)),
                    ascend("x").says(MARKETING, granted(20)),
                ],
                "granted by ascend/x (R18)",
                "",
            ),
        ],
    );
}

#[test]
fn r14_what_was_withdrawn_in_a_field_outlives_its_mapping() {
    let mut rules = rules();
    rules.systems[0].carries = vec![(MARKETING, Polarity::OptOut)];
    check(
        &rules,
        NEWS,
        &[
            (
                "the box is no longer read; what was unticked there stays withdrawn",
                vec![sf("a").says(NEWS, withdrawn(10))],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "what was ticked there ends",
                vec![sf("a").says(NEWS, granted(10))],
                "silent",
                "",
            ),
        ],
    );
}

#[test]
fn r22_last_writer_asks_for_no_basis() {
    check(
        &rules(),
        MARKETING,
        &[(
            "the latest stamp wins",
            vec![
                sf("a").says(MARKETING, withdrawn(10)),
                so("1").says(MARKETING, granted(20).explicit().on(Basis::Contract)),
            ],
            "granted by superoffice/1 (R18)",
            "",
        )],
    );
}

#[test]
fn r23_a_verdict_names_what_lost_and_why() {
    let rules = rules();
    let resolution = decided(
        &[
            sf("a").says(MARKETING, withdrawn(30)),
            ascend("x").says(MARKETING, granted(10)),
            so("1").says(MARKETING, granted(0).found_between(0, 40)),
            em("7").says(MARKETING, granted(40).by(LOADER)),
        ],
        &rules,
    );
    let rows = [
        ("the earlier one", "x", Some(Loss::Earlier), "R18"),
        ("the weak one", "1", Some(Loss::Weak), "R24"),
        ("the load", "7", Some(Loss::Load), "R25"),
    ];
    for (sentence, contact, why, rule) in rows {
        let lost = why_lost(&resolution, MARKETING, contact);
        assert_eq!(lost, why, "{sentence}");
        assert_eq!(lost.map(Loss::rule), Some(rule), "{sentence}");
    }
    let mut many = sf("a");
    for minute in 0..15 {
        many = many.says(MARKETING, withdrawn(minute));
    }
    let resolution = decided(&[many], &rules);
    let verdict = resolution.verdict(MARKETING).unwrap();
    assert_eq!(verdict.lost.len(), MAX_LOST);
    assert_eq!(
        verdict.lost[0].statement,
        withdrawn(13),
        "the best of them first"
    );
}

#[test]
fn r24_a_grant_found_at_first_sight_overrules_nothing() {
    let weak = |until| granted(0).found_between(-100, until);
    check(
        &rules(),
        MARKETING,
        &[
            (
                "alone it counts",
                vec![so("1").says(MARKETING, weak(20))],
                "granted by superoffice/1 (R24)",
                "",
            ),
            (
                "against a withdrawal that may be earlier a person decides",
                vec![
                    so("1").says(MARKETING, weak(20)),
                    sf("a").says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by salesforce/a (R18)",
                "weak marketing superoffice/1",
            ),
            (
                "against a later withdrawal there is nothing to decide",
                vec![
                    so("1").says(MARKETING, weak(20)),
                    sf("a").says(MARKETING, withdrawn(30)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "even a grant certainly later than the withdrawal waits",
                vec![
                    so("1").says(MARKETING, granted(0).found_between(20, 30)),
                    sf("a").says(MARKETING, withdrawn(10)),
                ],
                "withdrawn by salesforce/a (R18)",
                "weak marketing superoffice/1",
            ),
            (
                "once a stronger grant has beaten the withdrawal nothing waits",
                vec![
                    so("1").says(MARKETING, granted(0).found_between(20, 30)),
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(MARKETING, granted(15)),
                ],
                "granted by salesforce/a (R18)",
                "",
            ),
        ],
    );
    let rules = rules();
    let contacts = [
        so("1").says(MARKETING, weak(20)),
        sf("a").says(MARKETING, withdrawn(10)),
    ];
    let approved = decided_with(
        &contacts,
        &[operator(MARKETING, granted(20).explicit())],
        &rules,
    );
    assert_eq!(
        verdict(&approved, MARKETING, &rules),
        "granted by operator/op (R18)",
        "approving adds the operator's statement"
    );
}

#[test]
fn r25_loads_cannot_grant() {
    check(
        &rules(),
        MARKETING,
        &[
            (
                "a bulk actor's grant overrules nothing",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(MARKETING, granted(20).by(LOADER)),
                ],
                "withdrawn by salesforce/a (R18)",
                "load marketing salesforce/a",
            ),
            (
                "nor does it count alone",
                vec![sf("a").says(MARKETING, granted(20).by(LOADER))],
                "silent",
                "load marketing salesforce/a",
            ),
            (
                "a bulk actor's withdrawal counts",
                vec![
                    sf("a")
                        .says(MARKETING, granted(10))
                        .says(MARKETING, withdrawn(20).by(LOADER)),
                ],
                "withdrawn by salesforce/a (R18)",
                "",
            ),
            (
                "a person's grant counts beside a load's",
                vec![
                    sf("a")
                        .says(MARKETING, withdrawn(10))
                        .says(MARKETING, granted(15).by("ann"))
                        .says(MARKETING, granted(20).by(LOADER)),
                ],
                "granted by salesforce/a (R18)",
                "load marketing salesforce/a",
            ),
            (
                "many loads are listed once",
                vec![
                    sf("a")
                        .says(MARKETING, granted(20).by(LOADER))
                        .says(MARKETING, granted(30).by(LOADER)),
                ],
                "silent",
                "load marketing salesforce/a",
            ),
        ],
    );
}

#[test]
fn r25_a_recognised_load_cannot_grant_either() {
    let rules = rules();
    let contacts = [sf("a")
        .says(MARKETING, withdrawn(10))
        .says(MARKETING, granted(20).by("ann"))];
    let resolution = resolve(
        &Subject {
            contacts: &contacts,
            remembered: &[operator(NEWS, granted(30))],
            is_load: &|system, statement| {
                system == SALESFORCE && statement.stamp.earliest().minute() == t(20).minute()
            },
        },
        &rules,
    );
    assert_eq!(
        verdict(&resolution, MARKETING, &rules),
        "withdrawn by salesforce/a (R18)"
    );
    assert_eq!(
        findings(&resolution, &rules),
        "inconsistent marketing.news operator/op; load marketing salesforce/a"
    );
}

#[test]
fn r16_a_future_stamped_contact_is_listed_even_when_silent() {
    let rules = rules();
    let mut contact = sf("a");
    contact.record.future_stamped = true;
    let resolution = decided(&[contact], &rules);
    assert_eq!(findings(&resolution, &rules), "future salesforce/a");
    assert!(resolution.verdicts.is_empty());
}
