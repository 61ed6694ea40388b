//! R55, G8: what is left of somebody who was erased, and when it counts no more.

use crate::build::{
    Is, MARKETING, NEWS, STORE, Say, decided_with, findings, granted, rules, sf, so, t, verdict,
    withdrawn,
};
use consentd::consent::suppression::{is_erasure, root_of, roots, withdrawal};
use consentd::consent::{Answer, Basis, Contact, PurposeId, Recipient, Status, judge};

/// Erased in minute 10.
fn answer(contacts: &[Contact], purpose: PurposeId) -> Answer {
    let rules = rules();
    let erased: Vec<_> = roots(&rules.purposes)
        .map(|root| withdrawal(root, t(10)))
        .collect();
    let resolution = decided_with(contacts, &erased, &rules);
    judge(purpose, &Recipient::from(&resolution), &rules).answer
}

#[test]
fn r55_an_erasure_withdraws_every_root_and_nothing_else() {
    let rules = rules();
    let all: Vec<_> = roots(&rules.purposes).collect();
    assert_eq!(all, [MARKETING, STORE]);
    assert_eq!(root_of(&rules.purposes, NEWS), MARKETING);
    assert_eq!(root_of(&rules.purposes, STORE), STORE);
    let kept = withdrawal(MARKETING, t(10));
    assert_eq!(kept.statement.status, Status::Withdrawn);
    assert!(is_erasure(&kept));
}

#[test]
fn g8_whoever_comes_back_starts_withdrawn_and_is_flagged() {
    let rules = rules();
    let erased = [withdrawal(MARKETING, t(10))];
    for contact in [sf("a"), sf("a").says(MARKETING, granted(9))] {
        let resolution = decided_with(&[contact], &erased, &rules);
        assert_eq!(findings(&resolution, &rules), "suppressed marketing");
        assert!(verdict(&resolution, MARKETING, &rules).starts_with("withdrawn"));
        assert!(verdict(&resolution, NEWS, &rules).starts_with("withdrawn"));
    }
}

#[test]
fn r55_only_a_later_grant_that_counts_ends_a_suppression() {
    let said = |statement| vec![so("1").says(MARKETING, statement)];
    let on_consent = |minutes| granted(minutes).on(Basis::Consent);
    let rows = [
        ("nothing said", vec![sf("a")], Answer::Suppressed),
        ("granted before", said(on_consent(9)), Answer::Suppressed),
        (
            "granted in the same instant",
            said(on_consent(10)),
            Answer::Suppressed,
        ),
        ("granted later", said(on_consent(11)), Answer::Send),
        (
            "found granted at first sight",
            said(on_consent(1).found_between(1, 20)),
            Answer::Suppressed,
        ),
        (
            "granted later by somebody who loads files",
            said(on_consent(11).by("loader")),
            Answer::Suppressed,
        ),
        (
            "withdrawn later",
            vec![sf("a").says(MARKETING, withdrawn(11))],
            Answer::Suppressed,
        ),
        (
            "granted later, and withdrawn after that",
            vec![
                sf("a").says(MARKETING, withdrawn(12)),
                so("1").says(MARKETING, on_consent(11)),
            ],
            Answer::Withdrawn,
        ),
    ];
    for (why, contacts, expected) in rows {
        assert_eq!(answer(&contacts, MARKETING), expected, "{why}");
    }
}

#[test]
fn r55_a_category_is_suppressed_with_its_root_and_another_purpose_by_itself() {
    let back = [so("1").says(MARKETING, granted(11).on(Basis::Consent))];
    assert_eq!(answer(&[sf("a")], NEWS), Answer::Suppressed);
    assert_eq!(answer(&back, MARKETING), Answer::Send);
    assert_ne!(answer(&back, NEWS), Answer::Suppressed);
    assert_eq!(answer(&back, STORE), Answer::Suppressed);
}
