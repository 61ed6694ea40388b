//! What an operator's word adds, and what it can never do (R24, R25, R29, R30).

use super::build::{
    ASCEND, Is, MARKETING, NEWS, SALESFORCE, Say, ascend, decided_with, findings, granted,
    operator, rules, sf, t, verdict, why_lost, withdrawn,
};
use consentd::consent::resolve::{Loss, Source};
use consentd::consent::review::{Irrevocable, confirm, dismiss, is_own_withdrawal, overrule};
use consentd::consent::suppression::ERASURE;
use consentd::consent::{
    Contact, Remembered, Rules, Statement, Status, Subject, SystemId, resolve,
};

fn with<T>(contacts: &[Contact], remembered: &[Remembered], look: impl Fn(&Subject<'_>) -> T) -> T {
    look(&Subject {
        contacts,
        remembered,
        is_load: &|_, statement| statement.actor.as_deref() == Some("loader"),
    })
}

fn said(contacts: &[Contact], remembered: &[Remembered], rules: &Rules) -> String {
    let resolution = with(contacts, remembered, |subject| resolve(subject, rules));
    verdict(&resolution, MARKETING, rules)
}

/// Overrules what a contact says.
fn overruled(system: SystemId, contact: &str, statement: Statement) -> Remembered {
    Remembered {
        purpose: MARKETING,
        source: Source {
            system: Some(system),
            contact: contact.to_owned(),
        },
        statement,
        overruled: true,
    }
}

#[test]
fn r29_an_overruled_statement_counts_for_nothing_and_stays_named() {
    let rules = rules();
    let contacts = [
        sf("a").says(MARKETING, withdrawn(10)),
        ascend("x").says(MARKETING, granted(20)),
    ];
    let word = overruled(ASCEND, "x", granted(20));
    let rows: [(&str, Vec<Remembered>, &str); 4] = [
        ("nobody said a word", vec![], "granted by ascend/x (R18)"),
        (
            "the grant is overruled",
            vec![word.clone()],
            "withdrawn by salesforce/a (R18)",
        ),
        (
            "another grant of the same contact is not",
            vec![overruled(ASCEND, "x", granted(21))],
            "granted by ascend/x (R18)",
        ),
        (
            "nor one of another contact",
            vec![overruled(ASCEND, "y", granted(20))],
            "granted by ascend/x (R18)",
        ),
    ];
    for (sentence, remembered, expected) in rows {
        assert_eq!(said(&contacts, &remembered, &rules), expected, "{sentence}");
    }
    let resolution = decided_with(&contacts, &[word], &rules);
    assert_eq!(why_lost(&resolution, MARKETING, "x"), Some(Loss::Overruled));
}

#[test]
fn r29_what_is_overruled_stays_so_when_the_same_act_is_told_better() {
    let rules = rules();
    let seen = granted(0).seen_between(15, 25);
    let word = overruled(ASCEND, "x", seen.clone());
    let contacts = |told: Statement| {
        [
            sf("a").says(MARKETING, withdrawn(10)),
            ascend("x").says(MARKETING, told),
        ]
    };
    let rows = [
        ("as it was seen", seen, "withdrawn by salesforce/a (R18)"),
        (
            "with its history",
            granted(20),
            "withdrawn by salesforce/a (R18)",
        ),
        (
            "a later act is another",
            granted(30),
            "granted by ascend/x (R18)",
        ),
    ];
    for (sentence, told, expected) in rows {
        let now = said(&contacts(told), std::slice::from_ref(&word), &rules);
        assert_eq!(now, expected, "{sentence}");
    }
}

#[test]
fn r24_a_confirmed_weak_grant_counts_from_just_behind_the_withdrawal() {
    let rules = rules();
    let contacts = [
        sf("a").says(MARKETING, withdrawn(10)),
        ascend("x").says(MARKETING, granted(0).found_between(-100, 30)),
    ];
    assert_eq!(
        said(&contacts, &[], &rules),
        "withdrawn by salesforce/a (R18)"
    );
    let fact = with(&contacts, &[], |subject| {
        confirm(subject, &rules, MARKETING, ASCEND, "olga")
    });
    let fact = fact.unwrap();
    assert_eq!(fact.statement.stamp.earliest(), t(10).plus(1));
    assert_eq!(fact.statement.stamp.latest(), t(30));
    assert_eq!(fact.source.contact, "olga");
    let facts = [fact];
    assert_eq!(
        said(&contacts, &facts, &rules),
        "granted by operator/olga (R18)"
    );
    // A withdrawal that is heard of afterwards and was made in between still wins.
    let [a, x] = contacts;
    let later = [a.says(MARKETING, withdrawn(20)), x];
    assert_eq!(
        said(&later, &facts, &rules),
        "withdrawn by salesforce/a (R18)"
    );
}

#[test]
fn r24_r25_only_a_grant_that_may_be_later_can_be_confirmed() {
    let rules = rules();
    let load = |minutes| granted(minutes).by("loader");
    let rows: [(&str, Vec<Contact>, SystemId, Option<i64>); 5] = [
        (
            "a load behind the withdrawal",
            vec![
                sf("a").says(MARKETING, withdrawn(10)),
                ascend("x").says(MARKETING, load(20)),
            ],
            ASCEND,
            Some(20),
        ),
        (
            "one before it was overtaken",
            vec![
                sf("a").says(MARKETING, withdrawn(10)),
                ascend("x").says(MARKETING, load(5)),
            ],
            ASCEND,
            None,
        ),
        (
            "where nothing was withdrawn the grant keeps its own time",
            vec![ascend("x").says(MARKETING, load(20))],
            ASCEND,
            Some(20),
        ),
        (
            "another system says nothing",
            vec![
                sf("a").says(MARKETING, withdrawn(10)),
                ascend("x").says(MARKETING, load(20)),
            ],
            SALESFORCE,
            None,
        ),
        ("nor does nobody", vec![], ASCEND, None),
    ];
    for (sentence, contacts, system, expected) in rows {
        let fact = with(&contacts, &[], |subject| {
            confirm(subject, &rules, MARKETING, system, "olga")
        });
        let minute = fact.map(|fact| fact.statement.rank());
        assert_eq!(minute, expected.map(t), "{sentence}");
    }
}

#[test]
fn r24_r25_what_is_dismissed_is_not_asked_about_again() {
    let rules = rules();
    let weak = granted(0).found_between(-100, 30);
    for statement in [weak, granted(20).by("loader")] {
        let contacts = [
            sf("a").says(MARKETING, withdrawn(10)),
            ascend("x").says(MARKETING, statement),
        ];
        let before = with(&contacts, &[], |subject| resolve(subject, &rules));
        assert_ne!(findings(&before, &rules), "");
        let facts = with(&contacts, &[], |subject| {
            dismiss(subject, &rules, MARKETING, ASCEND)
        });
        let after = with(&contacts, &facts, |subject| resolve(subject, &rules));
        assert_eq!(findings(&after, &rules), "");
        assert_eq!(
            said(&contacts, &facts, &rules),
            "withdrawn by salesforce/a (R18)"
        );
    }
}

#[test]
fn r30_a_verdict_is_turned_back_until_the_one_before_decides() {
    let rules = rules();
    let contacts = [
        sf("a")
            .says(MARKETING, withdrawn(10))
            .says(MARKETING, granted(20)),
        ascend("x").says(MARKETING, granted(30)),
    ];
    let nobody = |_: &Source, _: &Statement| false;
    let facts = with(&contacts, &[], |subject| {
        overrule(subject, &rules, MARKETING, Status::Granted, &nobody)
    });
    let facts = facts.unwrap();
    assert_eq!(facts.len(), 2);
    assert_eq!(
        said(&contacts, &facts, &rules),
        "withdrawn by salesforce/a (R18)"
    );
    let none = with(&contacts, &facts, |subject| {
        overrule(subject, &rules, MARKETING, Status::Granted, &nobody)
    });
    assert_eq!(none, Ok(vec![]), "it is so already");
    // And what an operator approved is an operator's to take back.
    let approval = [operator(MARKETING, granted(40))];
    let withdrawn_only = [sf("a").says(MARKETING, withdrawn(10))];
    let facts = with(&withdrawn_only, &approval, |subject| {
        overrule(subject, &rules, MARKETING, Status::Granted, &nobody)
    });
    let all: Vec<Remembered> = approval.into_iter().chain(facts.unwrap()).collect();
    assert_eq!(
        said(&withdrawn_only, &all, &rules),
        "withdrawn by salesforce/a (R18)"
    );
}

#[test]
fn r30_nobody_takes_back_what_a_person_withdrew() {
    let rules = rules();
    let own = |source: &Source, statement: &Statement| {
        let is_load =
            |_: SystemId, statement: &Statement| statement.actor.as_deref() == Some("loader");
        is_own_withdrawal(&rules, source, statement, &is_load)
    };
    let contacts = |statement: Statement| {
        [
            sf("a").says(MARKETING, granted(10)),
            ascend("x").says(MARKETING, statement),
        ]
    };
    let turned = |contacts: &[Contact], remembered: &[Remembered]| {
        with(contacts, remembered, |subject| {
            overrule(subject, &rules, MARKETING, Status::Withdrawn, &own).map(|facts| facts.len())
        })
    };
    let rows = [
        (
            "somebody's own",
            withdrawn(20),
            Err(Irrevocable::OwnWithdrawal),
        ),
        (
            "by whom is not known",
            withdrawn(0).found_between(12, 20),
            Err(Irrevocable::OwnWithdrawal),
        ),
        ("a load's", withdrawn(20).by("loader"), Ok(1)),
    ];
    for (sentence, statement, expected) in rows {
        assert_eq!(turned(&contacts(statement), &[]), expected, "{sentence}");
    }
    let granted_only = [sf("a").says(MARKETING, granted(10))];
    let by_operator = [operator(MARKETING, withdrawn(20))];
    assert_eq!(turned(&granted_only, &by_operator), Ok(1), "an operator's");
    let erased = [Remembered {
        source: Source {
            system: None,
            contact: ERASURE.to_owned(),
        },
        ..operator(MARKETING, withdrawn(20))
    }];
    assert_eq!(
        turned(&granted_only, &erased),
        Err(Irrevocable::OwnWithdrawal),
        "who was erased asked for it"
    );
}

#[test]
fn r20_a_category_is_not_turned_back_below_a_withdrawn_purpose() {
    let rules = rules();
    let contacts = [sf("a")
        .says(NEWS, granted(5))
        .says(MARKETING, withdrawn(10))];
    let facts = with(&contacts, &[], |subject| {
        overrule(subject, &rules, NEWS, Status::Withdrawn, &|_, _| false)
    });
    assert_eq!(facts, Err(Irrevocable::Parent));
}
