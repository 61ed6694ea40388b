//! Whether somebody may be mailed (R6, R20, R24, R28, R41, R42, R44, R48).

use crate::build::{
    EVENTS, Is, MARKETING, NEWS, STORE, Say, decided, decided_with, em, granted, operator, rules,
    sf, so, withdrawn,
};
use consentd::consent::purpose::PurposeDraft;
use consentd::consent::resolve::Finding;
use consentd::consent::send::{Answer, Doubt, Recipient, judge};
use consentd::consent::{Basis, Contact, PurposeId, Purposes, Resolution, Rules, Unknown, Verdict};

/// The answer and the system whose word decided: `withdrawn by salesforce`, or `send`.
fn answered(recipient: &Recipient, purpose: PurposeId, rules: &Rules) -> String {
    let judged = judge(purpose, recipient, rules);
    let by = judged.voice.map(|voice| {
        let name = voice
            .system
            .map_or("operator", |system| rules.system_name(system));
        format!(" by {name}")
    });
    format!("{}{}", judged.answer.word(), by.unwrap_or_default())
}

fn check(rules: &Rules, purpose: PurposeId, rows: &[(&str, Vec<Contact>, &str)]) {
    for (sentence, contacts, expected) in rows {
        let recipient = Recipient::from(&decided(contacts, rules));
        assert_eq!(
            answered(&recipient, purpose, rules),
            *expected,
            "{sentence}"
        );
    }
}

/// The rules with other settings of silence, by purpose name.
fn allowing(names: &[&str]) -> Rules {
    let mut rules = rules();
    let drafts = rules.purposes.iter().map(|(_, purpose)| PurposeDraft {
        name: purpose.name.clone(),
        revival: purpose.revival,
        granted_basis: purpose.granted_basis.clone(),
        unknown: if names.contains(&purpose.name.as_str()) {
            Unknown::Allow
        } else {
            Unknown::Block
        },
    });
    rules.purposes = Purposes::build(drafts.collect()).unwrap_or_default();
    rules
}

#[test]
fn r41_a_master_purpose_is_sent_withdrawn_or_without_a_basis() {
    check(
        &rules(),
        MARKETING,
        &[
            (
                "granted in a flag system: setting the flag is the act of consent",
                vec![sf("a").says(MARKETING, granted(1))],
                "send by salesforce",
            ),
            (
                "withdrawn",
                vec![sf("a").says(MARKETING, withdrawn(1))],
                "withdrawn by salesforce",
            ),
            (
                "the later word decides, and is named",
                vec![
                    sf("a").says(MARKETING, withdrawn(1)),
                    so("1").says(MARKETING, granted(2).on(Basis::Consent)),
                ],
                "send by superoffice",
            ),
            (
                "granted on a basis other than consent",
                vec![so("1").says(MARKETING, granted(1).on(Basis::LegitimateInterests))],
                "send by superoffice",
            ),
            (
                "a record that names no basis is no consent",
                vec![so("1").says(MARKETING, granted(1))],
                "no-legal-basis by superoffice",
            ),
            (
                "nor is one whose basis nobody mapped",
                vec![so("1").says(MARKETING, granted(1).on(Basis::Other("VIP".to_owned())))],
                "no-legal-basis by superoffice",
            ),
            (
                "a basis that another system holds is enough for a later record without one",
                vec![
                    so("1").says(MARKETING, granted(2)),
                    em("9").says(MARKETING, granted(1).on(Basis::Contract)),
                ],
                "send by superoffice",
            ),
            ("nothing was said", vec![sf("a")], "no-legal-basis"),
        ],
    );
}

#[test]
fn r41_a_category_follows_its_parent_first() {
    check(
        &rules(),
        NEWS,
        &[
            (
                "ticked",
                vec![sf("a").says(NEWS, granted(1))],
                "send by salesforce",
            ),
            (
                "unticked",
                vec![sf("a").says(NEWS, withdrawn(1))],
                "category-off by salesforce",
            ),
            (
                "never ticked, while marketing is granted",
                vec![so("1").says(MARKETING, granted(1).on(Basis::Consent))],
                "category-off",
            ),
            (
                "another category is no help",
                vec![sf("a").says(MARKETING, granted(1)).says(EVENTS, granted(1))],
                "category-off",
            ),
            (
                "ticked, but marketing was withdrawn later",
                vec![
                    sf("a").says(NEWS, granted(1)),
                    so("1").says(MARKETING, withdrawn(2)),
                ],
                "withdrawn by superoffice",
            ),
            (
                "nothing was said of either",
                vec![sf("a").says(EVENTS, granted(1))],
                "no-legal-basis",
            ),
            (
                "another tree has no part in it",
                vec![
                    sf("a").says(NEWS, granted(1)),
                    so("1").says(STORE, withdrawn(2)),
                ],
                "send by salesforce",
            ),
        ],
    );
}

#[test]
fn r44_silence_is_a_setting_of_the_purpose() {
    let silent = || vec![sf("a")];
    let out = || vec![sf("a").says(MARKETING, withdrawn(1))];
    check(
        &allowing(&["marketing"]),
        MARKETING,
        &[
            ("silence is allowed", silent(), "send"),
            (
                "a withdrawal is no silence",
                out(),
                "withdrawn by salesforce",
            ),
        ],
    );
    check(
        &allowing(&["marketing"]),
        NEWS,
        &[
            (
                "the category's own setting blocks",
                silent(),
                "category-off",
            ),
            (
                "unless it was ticked",
                vec![sf("a").says(NEWS, granted(1))],
                "send by salesforce",
            ),
        ],
    );
    check(
        &allowing(&["marketing", "marketing.news"]),
        NEWS,
        &[
            ("allowed all the way up", silent(), "send"),
            ("not under a withdrawal", out(), "withdrawn by salesforce"),
            (
                "nor against the category's own",
                vec![sf("a").says(NEWS, withdrawn(1))],
                "category-off by salesforce",
            ),
        ],
    );
    check(
        &allowing(&["marketing.news"]),
        NEWS,
        &[
            (
                "a purpose above that blocks silence blocks it here",
                silent(),
                "no-legal-basis",
            ),
            (
                "a grant above opens it",
                vec![sf("a").says(MARKETING, granted(1))],
                "send",
            ),
        ],
    );
}

#[test]
fn r06_a_younger_duplicate_that_withdrew_later_blocks() {
    let duplicates = || {
        vec![
            sf("a")
                .born(1)
                .says(MARKETING, granted(10))
                .says(NEWS, granted(10)),
            sf("b").born(2).says(MARKETING, withdrawn(20)),
        ]
    };
    let expected = "duplicate-conflict by salesforce";
    let rows = [("the oldest granted", duplicates(), expected)];
    check(&rules(), MARKETING, &rows);
    check(&rules(), NEWS, &rows);
    let silent = vec![
        sf("a").born(1),
        sf("b").born(2).says(MARKETING, withdrawn(20)),
    ];
    check(
        &allowing(&["marketing"]),
        MARKETING,
        &[(
            "also where the oldest is silent and silence is allowed",
            silent,
            "duplicate-conflict",
        )],
    );
}

#[test]
fn r24_r28_what_waits_for_a_person_is_held() {
    let weak = vec![
        sf("a").says(MARKETING, withdrawn(5)),
        so("1").says(MARKETING, granted(1).on(Basis::Consent).found_between(1, 9)),
    ];
    let rows = [(
        "a grant found at first sight may be the later one",
        weak,
        "held by salesforce",
    )];
    check(&rules(), MARKETING, &rows);
    check(&rules(), NEWS, &rows);

    let flapping = Resolution {
        findings: vec![Finding::Flapping { purpose: MARKETING }],
        ..decided(
            &[sf("a").says(MARKETING, granted(1)).says(NEWS, granted(1))],
            &rules(),
        )
    };
    let recipient = Recipient::from(&flapping);
    for purpose in [MARKETING, NEWS] {
        assert_eq!(
            answered(&recipient, purpose, &rules()),
            "held by salesforce"
        );
    }
    assert_eq!(
        answered(&recipient, STORE, &rules()),
        "no-legal-basis",
        "another purpose is not concerned"
    );
    let flapping = Resolution {
        findings: vec![Finding::Flapping { purpose: MARKETING }],
        ..decided(&[sf("a").says(MARKETING, withdrawn(1))], &rules())
    };
    assert_eq!(
        answered(&Recipient::from(&flapping), MARKETING, &rules()),
        "withdrawn by salesforce",
        "a withdrawal does not wait"
    );
}

#[test]
fn r41_an_operators_grant_needs_no_basis() {
    let resolution = decided_with(&[sf("a")], &[operator(MARKETING, granted(1))], &rules());
    assert_eq!(
        answered(&Recipient::from(&resolution), MARKETING, &rules()),
        "send by operator"
    );
}

/// The flags, each with the answer that it leads to, the strictest first.
fn flagged(recipient: &Recipient) -> [(Recipient, Answer); 4] {
    let with = |change: fn(&mut Recipient)| {
        let mut changed = recipient.clone();
        change(&mut changed);
        changed
    };
    [
        (with(|r| r.is_suppressed = true), Answer::Suppressed),
        (with(|r| r.is_undeliverable = true), Answer::Undeliverable),
        (with(|r| r.is_verified = false), Answer::Unverified),
        (with(|r| r.is_contact = false), Answer::UnknownAddress),
    ]
}

#[test]
fn r42_r48_whatever_is_missing_says_no() {
    let rules = allowing(&["marketing"]);
    let granting = decided(&[sf("a").says(MARKETING, granted(1))], &rules);
    let silent = decided(&[sf("a")], &rules);
    for resolution in [&granting, &silent] {
        let recipient = Recipient::from(resolution);
        assert_eq!(judge(MARKETING, &recipient, &rules).answer, Answer::Send);
        for (recipient, answer) in flagged(&recipient) {
            assert_eq!(judge(MARKETING, &recipient, &rules).answer, answer);
        }
    }
    assert_eq!(
        judge(MARKETING, &Recipient::default(), &rules).answer,
        Answer::Unverified,
        "nothing known is not sent to"
    );
}

#[test]
fn r42_a_withdrawal_stays_one_however_little_else_is_known() {
    let rules = rules();
    let withdrawn = decided(&[sf("a").says(MARKETING, withdrawn(1))], &rules);
    let recipient = Recipient::from(&withdrawn);
    for (recipient, _) in flagged(&recipient).into_iter().skip(1) {
        assert_eq!(
            judge(MARKETING, &recipient, &rules).answer,
            Answer::Withdrawn
        );
    }
    let off = Recipient {
        is_verified: false,
        is_contact: false,
        ..Recipient::from(&decided(&[sf("a").says(NEWS, granted(1)), so("1")], &rules))
    };
    assert_eq!(
        judge(EVENTS, &off, &rules).answer,
        Answer::Unverified,
        "but silence may be broken by whoever could not be asked"
    );
}

/// R42 over every combination of what may be known: nothing but a verified contact with a grant, or
/// with an allowed silence, is ever sent to.
#[test]
fn r42_nothing_is_sent_without_a_reason_to() {
    let words = [None, Some(granted(1)), Some(withdrawn(1))];
    let doubts = [
        None,
        Some(Doubt::Conflict),
        Some(Doubt::WeakGrant),
        Some(Doubt::Held),
    ];
    let mut sent = 0;
    for rules in [rules(), allowing(&["marketing", "marketing.news"])] {
        for (marketing, news) in words
            .iter()
            .flat_map(|one| words.iter().map(move |other| (one, other)))
        {
            let mut contact = sf("a");
            if let Some(statement) = marketing {
                contact = contact.says(MARKETING, statement.clone());
            }
            if let Some(statement) = news {
                contact = contact.says(NEWS, statement.clone());
            }
            let resolution = decided(&[contact], &rules);
            for doubt in doubts {
                for flags in 0..16_u8 {
                    let flag = |bit: u8| flags & (1 << bit) != 0;
                    let recipient = Recipient {
                        doubts: doubt.map(|doubt| (MARKETING, doubt)).into_iter().collect(),
                        is_contact: flag(0),
                        is_verified: flag(1),
                        is_suppressed: flag(2),
                        is_undeliverable: flag(3),
                        ..Recipient::from(&resolution)
                    };
                    let judged = judge(NEWS, &recipient, &rules);
                    if judged.answer != Answer::Send {
                        continue;
                    }
                    sent += 1;
                    assert_eq!(flags, 0b0011, "{recipient:?}");
                    assert!(!matches!(doubt, Some(Doubt::Conflict | Doubt::Held)));
                    for purpose in [MARKETING, NEWS] {
                        let status = resolution.verdict(purpose).map(Verdict::status);
                        assert_ne!(status, Some(consentd::consent::Status::Withdrawn));
                    }
                    assert!(
                        judged.voice.is_some()
                            || rules.purposes.get(NEWS).map(|news| news.unknown)
                                == Some(Unknown::Allow)
                    );
                }
            }
        }
    }
    assert!(sent > 0, "somebody is sent to");
}

#[test]
fn r41_every_answer_has_a_word_of_its_own() {
    for answer in Answer::ALL {
        assert_eq!(Answer::from_word(answer.word()), Some(answer));
    }
    assert!(Answer::ALL.is_sorted(), "the strictest first");
    assert_eq!(Answer::from_word("perhaps"), None);
}
