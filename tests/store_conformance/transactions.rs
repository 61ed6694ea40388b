//! Transactions: what they read, what they store, and what they leave alone.

use crate::bench::{
    Bench, at, contact, entry, flip, load_key, moved, named, puts, quarantined, reference, subject,
    withdrawal,
};
use crate::gate::request;
use consentd::store::{
    Applied, Changes, ContactRow, DELETED, Decided, FeedChange, FeedRow, FeedSwitch, GateChanges,
    GateRound, Known, LoadCount, MERGED, OutboxChange, OutboxRow, ScanNote, Scope, StoreError,
    SubjectRow, SwitchChange,
};

pub(crate) async fn every_row_comes_back_as_it_was_put(bench: Bench) {
    let full_subject = SubjectRow {
        address: "ÅSA+x@exämple.org".to_owned(),
        remembered: r#"[["marketing",-1]]"#.to_owned(),
        findings: "\u{1F4A5}\t\\\"'".to_owned(),
        ..subject(1)
    };
    let full_contact = ContactRow {
        own_subject: Some(2),
        link: Some("00Q\u{7f}'x".to_owned()),
        created: Some(i64::MIN),
        modified: Some(i64::MAX),
        read_at: None,
        life: MERGED,
        merged_into: Some("b".to_owned()),
        written_seq: 9_007_199_254_740_993,
        record: "[0.1,\"\\u0000\"]".to_owned(),
        ..contact(2, "ä/\"b\"", Some(1))
    };
    let full_write = OutboxRow {
        in_flight: "[1]".to_owned(),
        attempts: 3,
        claimed_until: 12,
        last_error: Some("DUPLICATE_VALUE: \u{2028}".to_owned()),
        not_before: -5,
        version: 1 << 60,
        ..withdrawal("plain", 2, 4)
    };
    let plain = contact(1, "plain", None);
    let changes = Changes {
        subjects: vec![subject(2), full_subject.clone()],
        contacts: vec![full_contact.clone(), plain.clone()],
        outbox: vec![OutboxChange::Put(full_write.clone())],
        ..Changes::default()
    };
    assert_eq!(bench.put(changes).await, 5);
    let known = bench.around(&[(2, "ä/\"b\""), (1, "plain")]).await;
    let expected = Known {
        contacts: vec![plain, full_contact],
        subjects: vec![full_subject, subject(2)],
        outbox: vec![full_write],
        next_subject: 3,
        next_sequence: 1,
        ..Known::default()
    };
    assert_eq!(known, expected);
    let file = bench.dossier(reference(1)).await.unwrap().unwrap();
    assert_eq!(file.known.subjects, expected.subjects);
    assert_eq!(bench.dossier(reference(3)).await.unwrap(), None);
}

pub(crate) async fn rows_are_replaced_whole(bench: Bench) {
    bench.populate(2).await;
    let altered = ContactRow {
        subject: Some(2),
        own_subject: Some(1),
        link: Some("L".to_owned()),
        created: None,
        modified: Some(5),
        read_at: None,
        life: DELETED,
        merged_into: Some("c2".to_owned()),
        written_seq: 4,
        record: String::new(),
        ..contact(1, "c1", None)
    };
    let renamed = SubjectRow {
        address: String::new(),
        ..subject(1)
    };
    let changes = Changes {
        subjects: vec![renamed.clone()],
        contacts: vec![altered.clone()],
        ..Changes::default()
    };
    // Once without having read the row, and once having read it.
    for scope in [Scope::default(), named(&[(1, "c1")])] {
        assert_eq!(bench.put_within(&scope, changes.clone()).await, 2);
        let known = bench.around(&[(1, "c1")]).await;
        assert_eq!(known.contacts, [altered.clone(), contact(1, "c2", Some(2))]);
        assert_eq!(known.subjects, [renamed.clone(), subject(2)]);
    }
    let kept = ContactRow {
        record: "new".to_owned(),
        own_subject: None,
        created: Some(6),
        read_at: Some(7),
        life: MERGED,
        merged_into: None,
        written_seq: 8,
        modified: None,
        ..altered
    };
    let changes = Changes {
        contacts: vec![kept.clone()],
        ..Changes::default()
    };
    assert_eq!(bench.put_within(&named(&[(1, "c1")]), changes).await, 1);
    assert_eq!(bench.around(&[(1, "c1")]).await.contacts[0], kept);
}

pub(crate) async fn of_two_changes_of_one_row_the_last_counts(bench: Bench) {
    bench.populate(1).await;
    let later = ContactRow {
        record: "later".to_owned(),
        ..contact(1, "c1", Some(1))
    };
    let write = withdrawal("c1", 1, 1);
    let changes = Changes {
        subjects: vec![
            SubjectRow {
                address: "x".to_owned(),
                ..subject(1)
            },
            subject(1),
        ],
        contacts: vec![contact(1, "c1", None), later.clone()],
        outbox: vec![
            OutboxChange::Put(withdrawal("c1", 1, 9)),
            OutboxChange::Drop(write.key.clone()),
            OutboxChange::Put(write.clone()),
        ],
        ..Changes::default()
    };
    assert_eq!(bench.put(changes).await, 3);
    let known = bench.around(&[(1, "c1")]).await;
    assert_eq!(
        (known.contacts, known.subjects),
        (vec![later], vec![subject(1)])
    );
    assert_eq!(known.outbox, std::slice::from_ref(&write));
    let changes = Changes {
        outbox: vec![
            OutboxChange::Put(write.clone()),
            OutboxChange::Drop(write.key),
        ],
        ..Changes::default()
    };
    assert_eq!(bench.put(changes).await, 1);
    assert_eq!(bench.around(&[(1, "c1")]).await.outbox, []);
}

pub(crate) async fn a_contact_brings_everyone_of_its_subject(bench: Bench) {
    bench.populate(2).await;
    let sibling = ContactRow {
        life: DELETED,
        ..contact(2, "sibling", Some(1))
    };
    let stranger = contact(2, "stranger", Some(2));
    let changes = Changes {
        contacts: vec![sibling.clone(), stranger.clone()],
        outbox: vec![
            OutboxChange::Put(withdrawal("c1", 1, 1)),
            OutboxChange::Put(withdrawal("c2", 2, 1)),
        ],
        ..Changes::default()
    };
    bench.put(changes).await;
    let by_contact = bench.around(&[(2, "sibling"), (3, "unknown")]).await;
    assert_eq!(by_contact.contacts, [contact(1, "c1", Some(1)), sibling]);
    assert_eq!(by_contact.subjects, [subject(1)]);
    assert_eq!(by_contact.outbox, [withdrawal("c1", 1, 1)]);
    let scope = Scope {
        subjects: vec![reference(2), reference(77)],
        ..Scope::default()
    };
    let by_subject = bench.known(&scope).await;
    assert_eq!(by_subject.contacts, [contact(1, "c2", Some(2)), stranger]);
    assert_eq!(by_subject.subjects, [subject(2)]);
}

pub(crate) async fn links_bring_their_contacts_once_and_no_further(bench: Bench) {
    let linked = |system, external: &str, subject, own_subject, link: &str| ContactRow {
        own_subject,
        link: Some(link.to_owned()),
        ..contact(system, external, Some(subject))
    };
    // `a` and `b` share P; `b` really writes from address 2, where `c` is, who has link Q like `d`.
    let a = linked(1, "a", 1, Some(1), "P");
    let b = linked(2, "b", 1, Some(2), "P");
    let c = linked(1, "c", 2, Some(4), "Q");
    let d = linked(2, "d", 3, None, "Q");
    let rows = [&a, &b, &c, &d];
    let changes = Changes {
        subjects: (1..=4).map(subject).collect(),
        contacts: rows.map(Clone::clone).to_vec(),
        ..Changes::default()
    };
    bench.put(changes).await;
    let known = bench.around(&[(1, "a")]).await;
    assert_eq!(known.contacts, [a.clone(), c.clone(), b.clone()]);
    // Subject 4 is shown as `c`'s own; `d` is not followed from `c`.
    assert_eq!(known.subjects, [subject(1), subject(2), subject(4)]);
    let scope = Scope {
        links: vec!["Q".to_owned(), "none".to_owned()],
        ..Scope::default()
    };
    let known = bench.known(&scope).await;
    assert_eq!(known.contacts, [c, d]);
    assert_eq!(known.subjects, [subject(2), subject(3), subject(4)]);
}

pub(crate) async fn replayed_changes_write_nothing(bench: Bench) {
    bench.populate(3).await;
    let before = bench.sequence();
    assert_eq!(
        bench
            .put_within(&named(&[(1, "c1")]), Changes::default())
            .await,
        0
    );
    let poison = Changes {
        quarantine: vec![quarantined("p", "bad", 1)],
        ..Changes::default()
    };
    assert_eq!(bench.put(poison.clone()).await, 1);
    assert_eq!(bench.put(poison).await, 0);
    let gone = Changes {
        outbox: vec![OutboxChange::Drop(withdrawal("c1", 1, 1).key)],
        healed: vec![(1, "never".to_owned())],
        ..Changes::default()
    };
    assert_eq!(bench.put(gone).await, 0);
    assert_eq!(bench.sequence(), before);
}

pub(crate) async fn a_feed_moves_only_from_where_it_stands(bench: Bench) {
    assert_eq!(bench.feed(1).await.unwrap(), FeedRow::default());
    assert_eq!(bench.feed(9).await.unwrap(), FeedRow::default());
    let page = |cursor: &str, follows| Changes {
        contacts: vec![contact(1, cursor, None)],
        feed: Some(moved(cursor, follows)),
        ledger: vec![entry("observed", None, 1)],
        ..Changes::default()
    };
    let nothing = Scope::default();
    let applied = bench.try_put(&nothing, page("b", Some("a"))).await.unwrap();
    assert_eq!(applied, Applied::Overtaken);
    assert_eq!(bench.put(page("a", None)).await, 2);
    for follows in [None, Some("b")] {
        let applied = bench.try_put(&nothing, page("c", follows)).await.unwrap();
        assert_eq!(applied, Applied::Overtaken);
    }
    assert_eq!(
        bench.sequence(),
        1,
        "nothing of an overtaken page is stored"
    );
    assert_eq!(bench.around(&[(1, "c")]).await.contacts, []);
    bench.put(page("b", Some("a"))).await;
    assert_eq!(bench.feed(1).await.unwrap(), moved("b", None).row);
}

/// Turns a switch of the first system.
async fn turn(bench: &Bench, switch: FeedSwitch) -> FeedRow {
    bench.set_feed_switch(1, switch, at(5)).await.unwrap();
    bench.feed(1).await.unwrap()
}

pub(crate) async fn switches_stay_as_they_are_turned(bench: Bench) {
    let page = |cursor: &str, follows| Changes {
        feed: Some(moved(cursor, follows)),
        ..Changes::default()
    };
    bench.put(page("a", None)).await;
    let note = |text: &str| Some(text.to_owned());
    let halted = turn(&bench, FeedSwitch::Halted(note("empty"))).await;
    assert_eq!(halted.halted, note("empty"));
    let paused = turn(&bench, FeedSwitch::Paused(note("ann: looks"))).await;
    assert_eq!(
        (paused.paused, paused.paused_note),
        (true, note("ann: looks"))
    );
    let refused = bench.try_put(&Scope::default(), page("b", Some("a"))).await;
    assert_eq!(
        refused.unwrap(),
        Applied::Overtaken,
        "a paused feed takes no page, however long ago it was asked for"
    );
    let resumed = turn(&bench, FeedSwitch::Paused(None)).await;
    assert_eq!((resumed.paused, resumed.paused_note), (false, None));
    bench.put(page("b", Some("a"))).await;
    turn(&bench, FeedSwitch::Muted(Some(at(3)))).await;
    let shaped = turn(&bench, FeedSwitch::Shape("one".to_owned())).await;
    let expected = FeedRow {
        halted: note("empty"),
        muted_since: Some(3),
        shape: note("one"),
        ..moved("b", None).row
    };
    assert_eq!(shaped, expected, "the first shape is only noted");
    let anew = turn(&bench, FeedSwitch::Shape("two".to_owned())).await;
    assert_eq!(
        (anew.cursor, anew.loaded),
        (None, true),
        "another is read anew"
    );
    bench.put(page("c", None)).await;
    let anew = turn(&bench, FeedSwitch::Resync).await;
    assert_eq!((anew.cursor, anew.loaded), (None, true));
    bench.put(page("d", None)).await;
    let unloaded = turn(&bench, FeedSwitch::Unload).await;
    assert_eq!((unloaded.cursor, unloaded.loaded), (None, false));
    assert_eq!(
        unloaded.drained,
        Some(7),
        "it is known up to when it was read"
    );
    assert_eq!(
        turn(&bench, FeedSwitch::Muted(None)).await.muted_since,
        None
    );
    assert_eq!(turn(&bench, FeedSwitch::Halted(None)).await.halted, None);
    let unknown = bench.set_feed_switch(9, FeedSwitch::Resync, at(6)).await;
    assert!(unknown.is_err(), "no system has that number");
}

/// R27: an operator's word on the size of the next complete scan stays until a scan uses it up.
pub(crate) async fn a_word_on_the_next_scan_is_used_up_once(bench: Bench) {
    let page = |cursor: &str, follows, uses_word, contacts| Changes {
        feed: Some(FeedChange {
            scan: ScanNote {
                uses_word,
                contacts,
            },
            ..moved(cursor, follows)
        }),
        ..Changes::default()
    };
    let stands = async |bench: &Bench| {
        let feed = bench.feed(1).await.unwrap();
        (feed.accept_fewer, feed.scanned)
    };
    bench.put(page("a", None, false, None)).await;
    assert_eq!(stands(&bench).await, (false, None));
    assert!(turn(&bench, FeedSwitch::AcceptFewer).await.accept_fewer);
    turn(&bench, FeedSwitch::Halted(Some("empty".to_owned()))).await;
    turn(&bench, FeedSwitch::Halted(None)).await;
    let bench = bench.reopened().await;
    assert_eq!(stands(&bench).await, (true, None), "it outlives a restart");
    // The page's own idea of the switch is not stored: somebody may have turned it meanwhile.
    bench.put(page("b", Some("a"), false, None)).await;
    assert_eq!(stands(&bench).await, (true, None));
    let late = page("d", Some("a"), true, Some(1));
    let late = bench.try_put(&Scope::default(), late).await.unwrap();
    assert_eq!(late, Applied::Overtaken);
    assert_eq!(
        stands(&bench).await,
        (true, None),
        "an overtaken page uses nothing up"
    );
    bench.put(page("c", Some("b"), true, Some(3))).await;
    assert_eq!(stands(&bench).await, (false, Some(3)));
    bench.put(page("d", Some("c"), false, None)).await;
    turn(&bench, FeedSwitch::Resync).await;
    assert_eq!(stands(&bench).await, (false, Some(3)));
    bench.put(page("e", None, false, Some(4))).await;
    assert_eq!(stands(&bench).await, (false, Some(4)));
}

pub(crate) async fn a_switch_is_turned_with_its_entry_or_not_at_all(bench: Bench) {
    let act = |system| Changes {
        switches: vec![SwitchChange {
            system,
            switch: FeedSwitch::Paused(Some("ann: looks".to_owned())),
            at: 5,
        }],
        ledger: vec![entry("operator", None, 5)],
        ..Changes::default()
    };
    assert!(bench.try_put(&Scope::default(), act(9)).await.is_err());
    assert_eq!(bench.sequence(), 0);
    bench.put(act(2)).await;
    assert_eq!(bench.sequence(), 1);
    assert!(bench.feed(2).await.unwrap().paused);
}

pub(crate) async fn it_is_kept_how_far_subjects_are_decided(bench: Bench) {
    let nobody = Decided {
        policy: String::new(),
        through: Some(0),
    };
    assert_eq!(bench.decided().await.unwrap(), nobody);
    for through in [Some(7), None] {
        let decided = Decided {
            policy: "p".to_owned(),
            through,
        };
        bench
            .put(Changes {
                decided: Some(decided.clone()),
                ..Changes::default()
            })
            .await;
        assert_eq!(bench.decided().await.unwrap(), decided);
    }
}

/// Makes changes impossible to store.
type Spoil = Box<dyn Fn(&mut Changes) + Sync + Send>;

pub(crate) async fn a_refused_row_takes_its_whole_transaction_with_it(bench: Bench) {
    bench.populate(1).await;
    let good = Changes {
        subjects: vec![subject(2)],
        contacts: vec![contact(1, "new", Some(2))],
        ledger: vec![entry("observed", Some(2), 1)],
        flips: vec![flip(2, "marketing", 1)],
        load_members: vec![(load_key("loader", 1), "new".to_owned())],
        quarantine: vec![quarantined("q", "bad", 1)],
        feed: Some(moved("a", None)),
        ..Changes::default()
    };
    let stolen = SubjectRow {
        subject: reference(50),
        ..subject(1)
    };
    let taken = SubjectRow {
        id: 3,
        ..subject(1)
    };
    let nul = ContactRow {
        record: "a\0b".to_owned(),
        ..contact(1, "nul", None)
    };
    let bad: Vec<(&str, Spoil)> = vec![
        (
            "a contact of no system",
            Box::new(|c| c.contacts.push(contact(99, "x", None))),
        ),
        (
            "a contact of no subject",
            Box::new(|c| c.contacts.push(contact(1, "x", Some(99)))),
        ),
        ("an impossible life", Box::new(|c| c.contacts[0].life = 7)),
        (
            "a write for no contact",
            Box::new(|c| {
                c.outbox.push(OutboxChange::Put(withdrawal("nobody", 1, 1)));
            }),
        ),
        (
            "a number with two keyed hashes",
            Box::new(move |c| c.subjects.push(stolen.clone())),
        ),
        (
            "a keyed hash with two numbers",
            Box::new(move |c| c.subjects.push(taken.clone())),
        ),
        (
            "a text with a NUL",
            Box::new(move |c| c.contacts.push(nul.clone())),
        ),
    ];
    for (what, spoil) in bad {
        let mut changes = good.clone();
        spoil(&mut changes);
        let Err(error) = bench.try_put(&Scope::default(), changes).await else {
            panic!("{what} was stored");
        };
        assert!(
            matches!(error, StoreError::Database { .. }),
            "{what}: {error:?}"
        );
        let shown = format!("{error:?} {error}");
        assert!(!shown.contains("example.org"), "{what}: {shown}");
        let everything = Scope {
            subjects: vec![reference(2)],
            contacts: vec![(1, "new".to_owned())],
            loads: vec![load_key("loader", 1)],
            flips_since: Some(0),
            ..Scope::default()
        };
        let untouched = Known {
            next_subject: 2,
            next_sequence: 1,
            ..Known::default()
        };
        assert_eq!(bench.known(&everything).await, untouched, "{what}");
        assert_eq!(bench.feed(1).await.unwrap(), FeedRow::default(), "{what}");
        assert_eq!(bench.quarantined(None, 10).await.unwrap(), [], "{what}");
        assert_eq!(bench.sequence(), 0, "{what}");
    }
    assert_eq!(bench.put(good).await, 4);
}

pub(crate) async fn a_load_counts_each_contact_once(bench: Bench) {
    bench.populate(4).await;
    let (big, small) = (load_key("loader", 10), load_key("Ärik", 11));
    let member =
        |key: &consentd::store::LoadKey, external: &str| (key.clone(), external.to_owned());
    let changes = Changes {
        load_members: vec![
            member(&big, "c1"),
            member(&big, "c2"),
            member(&big, "c1"),
            member(&small, "c3"),
        ],
        ..Changes::default()
    };
    assert_eq!(bench.put(changes.clone()).await, 0);
    bench.put(changes).await;
    let more = vec![member(&big, "c2"), member(&big, "c4"), member(&big, "gone")];
    bench
        .put(Changes {
            load_members: more,
            ..Changes::default()
        })
        .await;
    let count = |key: &consentd::store::LoadKey, contacts| LoadCount {
        key: key.clone(),
        contacts,
    };
    let scope = Scope {
        loads: vec![
            big.clone(),
            small.clone(),
            big.clone(),
            load_key("loader", 11),
        ],
        load_contacts_up_to: 3,
        ..named(&[(1, "c1")])
    };
    let known = bench.known(&scope).await;
    assert_eq!(known.loads, [count(&big, 4), count(&small, 1)]);
    let externals: Vec<&str> = known
        .contacts
        .iter()
        .map(|row| row.external.as_str())
        .collect();
    assert_eq!(
        externals,
        ["c1", "c3"],
        "contacts of small loads are in scope"
    );
    assert_eq!(
        known.load_members,
        [member(&big, "c1"), member(&small, "c3")]
    );
    let known = bench
        .known(&Scope {
            load_contacts_up_to: 4,
            ..scope
        })
        .await;
    assert_eq!(known.contacts.len(), 4);
    assert_eq!(
        known.load_members.len(),
        4,
        "members that are no contacts are not in scope"
    );
}

pub(crate) async fn flips_are_counted_in_their_window(bench: Bench) {
    bench.populate(2).await;
    let flips = vec![
        flip(1, "store", 9),
        flip(1, "store", 10),
        flip(1, "marketing", 10),
        flip(1, "marketing", 11),
        flip(2, "marketing", 12),
    ];
    bench
        .put(Changes {
            flips,
            ..Changes::default()
        })
        .await;
    let scope = Scope {
        flips_since: Some(10),
        ..named(&[(1, "c1")])
    };
    let known = bench.known(&scope).await;
    assert_eq!(
        known.flips,
        [(1, "marketing".to_owned(), 2), (1, "store".to_owned(), 1)]
    );
    assert_eq!(bench.around(&[(1, "c1")]).await.flips, []);
}

pub(crate) async fn the_number_of_statements_does_not_grow_with_the_page(bench: Bench) {
    let mut sent = Vec::new();
    for (base, count) in [(0, 10), (10, 1_000), (0, 10), (10, 1_000)] {
        let ids = base + 1..=base + count;
        let rows: Vec<String> = ids.clone().map(|id| format!("c{id}")).collect();
        let loads: Vec<_> = ids.clone().map(|id| load_key("loader", id % 7)).collect();
        let scope = Scope {
            contacts: rows.iter().map(|external| (1, external.clone())).collect(),
            subjects: ids.clone().map(reference).collect(),
            links: rows.clone(),
            loads: loads.clone(),
            load_contacts_up_to: 5,
            flips_since: Some(0),
            suppressions: Vec::new(),
            requests: true,
        };
        let changes = Changes {
            subjects: ids.clone().map(subject).collect(),
            contacts: ids
                .clone()
                .map(|id| contact(1, &format!("c{id}"), Some(id)))
                .collect(),
            outbox: puts(
                &ids.clone()
                    .map(|id| withdrawal(&format!("c{id}"), id, 1))
                    .collect::<Vec<_>>(),
            )
            .outbox,
            load_members: loads.into_iter().zip(rows.clone()).collect(),
            flips: ids.clone().map(|id| flip(id, "marketing", id)).collect(),
            quarantine: rows.iter().map(|id| quarantined(id, "bad", 1)).collect(),
            healed: rows.iter().map(|id| (1, id.clone())).collect(),
            ledger: ids
                .clone()
                .map(|id| entry("observed", Some(id), id))
                .collect(),
            gate: GateChanges {
                due: ids.clone().map(|id| (id, id)).collect(),
                asked: ids.clone().map(|id| (id, id)).collect(),
                requests: ids.clone().map(|id| request(id, id)).collect(),
                round: Some(GateRound::default()),
            },
            ..Changes::default()
        };
        let before = bench.statements();
        bench.put_within(&scope, changes).await;
        sent.push(bench.statements() - before);
    }
    // Pages of 10 and of 1,000 contacts, new and then known: what differs is which sets are empty.
    assert!(sent.iter().all(|count| *count <= 34), "{sent:?}");
    assert!(sent[1] <= sent[0] + 8, "{sent:?}");
    assert_eq!(sent[2], sent[3], "{sent:?}");
}
