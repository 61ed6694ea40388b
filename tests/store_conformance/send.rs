//! What checks before mail read, and send-outs that wait for their moment (R41, R43, G13).

use crate::bench::{
    Bench, at, contact, grant, named, puts, quarantined, reference, subject, withdrawal,
};
use consentd::store::{
    ANSWERED, CANCELLED, CLOSED, Changes, ContactRow, DELETED, HELD, OutboxRow, RecipientRow,
    SCHEDULED, SendoutHead, SendoutRow, SendoutStep, SubjectContact, SubjectRow,
};

fn row(id: i64) -> RecipientRow {
    RecipientRow {
        verdicts: subject(id).verdicts,
        is_contact: true,
        ..RecipientRow::default()
    }
}

pub(crate) async fn recipients_come_in_the_order_asked_for(bench: Bench) {
    bench.populate(4).await;
    let silent = SubjectRow {
        verdicts: String::new(),
        findings: "\u{1F4A5}\t\\\"'".to_owned(),
        ..subject(5)
    };
    let contacts = vec![
        ContactRow {
            life: DELETED,
            ..contact(1, "c3", Some(3))
        },
        ContactRow {
            life: DELETED,
            ..contact(2, "x", Some(1))
        },
        contact(3, "elsewhere", Some(5)),
    ];
    let changes = Changes {
        subjects: vec![silent.clone()],
        contacts,
        ..Changes::default()
    };
    bench.put(changes).await;
    let asked = [4, 99, 1, 5, 3, 1].map(reference);
    let found = bench.recipients(&asked, &[1, 2]).await.unwrap();
    let gone = RecipientRow {
        is_contact: false,
        ..row(3)
    };
    let foreign = RecipientRow {
        findings: silent.findings,
        ..RecipientRow::default()
    };
    let expected = [
        Some(row(4)),
        None,
        Some(row(1)),
        Some(foreign),
        Some(gone),
        Some(row(1)),
    ];
    assert_eq!(found, expected);
    let nowhere = bench.recipients(&asked[..1], &[]).await.unwrap();
    assert!(!nowhere[0].as_ref().unwrap().is_contact);
    assert_eq!(bench.recipients(&[], &[1]).await.unwrap(), []);
}

pub(crate) async fn recipients_come_with_what_is_held_and_what_is_not_understood(bench: Bench) {
    bench.populate(4).await;
    let held = OutboxRow {
        state: HELD,
        ..grant("c1", 1, 1)
    };
    bench
        .put(puts(&[held.clone(), withdrawal("c2", 2, 2)]))
        .await;
    let changes = Changes {
        quarantine: vec![
            quarantined("c3", "bad date", 1),
            quarantined("new", "bad", 1),
        ],
        ..Changes::default()
    };
    bench.put(changes).await;
    let asked = [1, 2, 3, 4].map(reference);
    let found = bench.recipients(&asked, &[1]).await.unwrap();
    let expected = [
        Some(RecipientRow {
            held: vec![held.changes],
            ..row(1)
        }),
        Some(row(2)),
        Some(RecipientRow {
            is_quarantined: true,
            ..row(3)
        }),
        Some(row(4)),
    ];
    assert_eq!(found, expected);
}

pub(crate) async fn the_number_of_statements_does_not_grow_with_the_recipients(bench: Bench) {
    bench.populate(300).await;
    let held = OutboxRow {
        state: HELD,
        ..grant("c1", 1, 1)
    };
    bench.put(puts(&[held])).await;
    let mut counts = Vec::new();
    for many in [1, 300] {
        let asked: Vec<_> = (1..=many).map(reference).collect();
        let before = bench.statements();
        let found = bench.recipients(&asked, &[1]).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        counts.push(bench.statements() - before);
    }
    assert_eq!(counts[0], counts[1]);
    assert!(counts[0] <= 3, "{counts:?}");
}

pub(crate) async fn the_live_contacts_of_subjects_come_with_their_own_addresses(bench: Bench) {
    bench.populate(3).await;
    let contacts = vec![
        ContactRow {
            own_subject: Some(3),
            ..contact(2, "follower", Some(1))
        },
        ContactRow {
            life: DELETED,
            ..contact(1, "c2", Some(2))
        },
        contact(3, "elsewhere", Some(1)),
        contact(1, "unmatched", None),
    ];
    let changes = Changes {
        contacts,
        ..Changes::default()
    };
    bench.put(changes).await;
    let asked = [3, 99, 2, 1].map(reference);
    let contacts = bench.contacts_of(&asked, &[1, 2]).await.unwrap();
    let of = |position, system, external: &str, address: i64| SubjectContact {
        position,
        system,
        external: external.to_owned(),
        address: Some(subject(address).address),
    };
    assert_eq!(
        contacts,
        [
            of(0, 1, "c3", 3),
            of(3, 1, "c1", 1),
            of(3, 2, "follower", 3)
        ]
    );
    let homes = bench
        .subjects_of(&[(2, "follower"), (1, "unmatched"), (1, "nobody"), (1, "c3")])
        .await
        .unwrap();
    assert_eq!(homes, [Some(reference(1)), None, None, Some(reference(3))]);
    let addresses = bench.subject_addresses(&asked).await.unwrap();
    let expected = [Some(3), None, Some(2), Some(1)];
    assert_eq!(addresses, expected.map(|id| Some(subject(id?).address)));
}

fn sendout(id: &str, send_at: i64) -> SendoutRow {
    SendoutRow {
        head: SendoutHead {
            id: id.to_owned(),
            purpose: "marketing".to_owned(),
            created_by: "campaigns".to_owned(),
            created_at: 1,
            send_at,
            addressed: 3,
            state: SCHEDULED,
            due_at: send_at,
            settled_at: None,
            callback: Some("https://mail.example.edu/hook?q=\"'".to_owned()),
            posts: 0,
            post_error: None,
        },
        recipients: vec![Some(reference(1)), None, Some(reference(1 << 40))],
        first: r#"["\u00e4 \"x\""]"#.to_owned(),
        last: String::new(),
    }
}

fn step(of: &SendoutHead, state: i16, due_at: i64) -> SendoutStep {
    SendoutStep {
        id: of.id.clone(),
        from_state: of.state,
        from_posts: of.posts,
        state,
        due_at,
        settled_at: None,
        last: None,
        posts: of.posts,
        post_error: None,
    }
}

pub(crate) async fn a_sendout_comes_back_as_it_was_put_also_after_a_restart(bench: Bench) {
    let (one, two) = (sendout("one", 50), sendout("two", 40));
    assert!(bench.put_sendout(&one, 2).await.unwrap());
    assert!(bench.put_sendout(&two, 2).await.unwrap());
    assert!(
        !bench.put_sendout(&sendout("three", 1), 2).await.unwrap(),
        "no more than two wait at once"
    );
    let bench = bench.reopened().await;
    assert_eq!(bench.sendout("one").await.unwrap(), Some(one.clone()));
    assert_eq!(bench.sendout("three").await.unwrap(), None);
    assert_eq!(
        bench.sendouts(10).await.unwrap(),
        [one.head.clone(), two.head.clone()]
    );
    assert_eq!(
        bench.sendouts(1).await.unwrap(),
        std::slice::from_ref(&one.head)
    );
    let due = bench.due_sendouts(SCHEDULED, 10).await.unwrap();
    assert_eq!(
        due,
        [("two".to_owned(), at(40)), ("one".to_owned(), at(50))]
    );
    assert_eq!(bench.due_sendouts(ANSWERED, 10).await.unwrap(), []);
    let empty = SendoutRow {
        head: SendoutHead {
            addressed: 0,
            callback: None,
            ..sendout("none", 60).head
        },
        recipients: Vec::new(),
        ..sendout("none", 60)
    };
    assert!(bench.put_sendout(&empty, 9).await.unwrap());
    assert_eq!(bench.sendout("none").await.unwrap(), Some(empty));
}

pub(crate) async fn a_sendout_is_answered_once_and_forgotten_in_its_time(bench: Bench) {
    let one = sendout("one", 50);
    assert!(bench.put_sendout(&one, 9).await.unwrap());
    let answered = SendoutStep {
        settled_at: Some(51),
        last: Some("[2]".to_owned()),
        ..step(&one.head, ANSWERED, 51)
    };
    assert!(bench.advance_sendout(&answered).await.unwrap());
    let again = SendoutStep {
        last: Some("[3]".to_owned()),
        ..answered
    };
    assert!(
        !bench.advance_sendout(&again).await.unwrap(),
        "the last answers stand"
    );
    assert!(
        !bench
            .advance_sendout(&step(&one.head, CANCELLED, 0))
            .await
            .unwrap(),
        "and nobody cancels what was answered"
    );
    let stored = bench.sendout("one").await.unwrap().unwrap();
    assert_eq!(
        (
            stored.last.as_str(),
            stored.head.settled_at,
            stored.head.state
        ),
        ("[2]", Some(51), ANSWERED)
    );
    assert_eq!(
        (stored.first, stored.recipients),
        (one.first, one.recipients)
    );
    let failed = SendoutStep {
        posts: 1,
        post_error: Some("503 of\0 the receiver".to_owned()),
        ..step(&stored.head, ANSWERED, 60)
    };
    assert!(bench.advance_sendout(&failed).await.unwrap());
    let stored = bench.sendout("one").await.unwrap().unwrap().head;
    assert_eq!((stored.posts, stored.due_at), (1, 60));
    assert_eq!(
        stored.post_error.as_deref(),
        Some("503 of\u{fffd} the receiver")
    );
    assert_eq!(bench.forget_sendouts(at(1_000)).await.unwrap(), 0);
    assert!(
        bench
            .advance_sendout(&step(&stored, CLOSED, 70))
            .await
            .unwrap()
    );
    assert_eq!(bench.forget_sendouts(at(69)).await.unwrap(), 0);
    assert_eq!(bench.forget_sendouts(at(70)).await.unwrap(), 1);
    assert_eq!(bench.sendout("one").await.unwrap(), None);
    assert_eq!(bench.known(&named(&[])).await.next_sequence, 1);
}
