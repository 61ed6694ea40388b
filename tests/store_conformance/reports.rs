//! Ledger, figures, lists, and the systems' numbers.

use crate::bench::{
    Bench, at, contact, entry, grant, named, puts, quarantined, reference, subject, withdrawal,
};
use consentd::store::ledger::{FORGOTTEN, Head, Redacted, redact, unpack, verify_range};
use consentd::store::{
    Changes, ContactRow, DEAD, DELETED, HELD, LedgerRow, OutboxRow, PLANNED, Scope, SubjectRow,
    SystemFigures,
};

pub(crate) async fn systems_keep_their_numbers(bench: Bench) {
    let bench = bench.reopened().await;
    let names = ["marketing-cloud", "ascend", "salesforce", "marketing-cloud"].map(str::to_owned);
    assert_eq!(bench.register_systems(&names).await.unwrap(), [4, 2, 1, 4]);
    assert_eq!(bench.register_systems(&names[..2]).await.unwrap(), [4, 2]);
    assert_eq!(bench.register_systems(&[]).await.unwrap(), [0; 0]);
    let all = ["salesforce", "ascend", "superoffice", "marketing-cloud"].map(str::to_owned);
    let all: Vec<(i16, String)> = (1..).zip(all).collect();
    assert_eq!(bench.systems().await.unwrap(), all);
}

/// Blocks of so many entries each, about subjects 1 and 2 in turn.
async fn appended(bench: &Bench, blocks: &[i64]) {
    bench.populate(2).await;
    for count in blocks {
        let ledger = (0..*count).map(|at| entry("observed", Some(1 + at % 2), at));
        bench
            .put(Changes {
                ledger: ledger.collect(),
                ..Changes::default()
            })
            .await;
    }
}

pub(crate) async fn blocks_come_page_by_page(bench: Bench) {
    assert_eq!(bench.ledger_blocks(0, 10).await.unwrap(), []);
    appended(&bench, &[3, 1, 5]).await;
    let chain = bench.chain().await;
    let lasts: Vec<i64> = chain.iter().map(|stored| stored.block.last).collect();
    assert_eq!(lasts, [3, 4, 9]);
    assert_eq!(bench.ledger_blocks(0, 2).await.unwrap(), chain[..2]);
    assert_eq!(bench.ledger_blocks(2, 2).await.unwrap(), chain[..2]);
    assert_eq!(bench.ledger_blocks(4, 2).await.unwrap(), chain[2..]);
    assert_eq!(bench.ledger_blocks(9, 2).await.unwrap(), []);
}

pub(crate) async fn the_blocks_about_subjects_are_found_also_where_entries_are_forgotten(
    bench: Bench,
) {
    // Subjects 1 and 2 are there before the ledger begins; 3 is new with the third block.
    appended(&bench, &[1, 2]).await;
    bench
        .put(Changes {
            subjects: vec![subject(3)],
            ledger: vec![entry("observed", Some(3), 1), entry("observed", Some(2), 1)],
            ..Changes::default()
        })
        .await;
    let forget = &mut |_: Option<i64>, _: &LedgerRow| true;
    let first = &bench.chain().await[0];
    let redacted = redact(1, &first.entries, forget).unwrap().unwrap();
    assert!(bench.replace_blocks(&[(1, redacted)]).await.unwrap());
    let mut found = bench.ledger_blocks_of(&[1, 2, 3, 4]).await.unwrap();
    found.sort_unstable();
    found.dedup();
    // The first block in which a new subject was numbered is named for everybody with a lower number:
    // one of theirs that has no row of its own could only be there.
    let expected = [(1, 1), (1, 3), (1, 5), (2, 3), (2, 5), (3, 5)];
    assert_eq!(found, expected);
    assert_eq!(bench.ledger_blocks_of(&[]).await.unwrap(), []);
}

pub(crate) async fn r52_what_is_redacted_still_proves_and_replaces_only_what_was_read(
    bench: Bench,
) {
    appended(&bench, &[3, 1, 5]).await;
    let before = bench.chain().await;
    // Everything about one of the two.
    let redacted = |who: i64| -> Vec<(i64, Redacted)> {
        let blocks = before.iter().filter_map(|stored| {
            let forget = &mut |subject: Option<i64>, _: &LedgerRow| subject == Some(who);
            let redacted = redact(stored.block.first, &stored.entries, forget).unwrap()?;
            Some((stored.block.last, redacted))
        });
        blocks.collect()
    };
    let (one, other) = (redacted(1), redacted(2));
    let lasts = |blocks: &[(i64, Redacted)]| blocks.iter().map(|(last, _)| *last).collect();
    let (of_one, of_other): (Vec<i64>, Vec<i64>) = (lasts(&one), lasts(&other));
    assert_eq!((of_one, of_other), (vec![3, 4, 9], vec![3, 9]));
    assert!(bench.replace_blocks(&one).await.unwrap());
    let after = bench.chain().await;
    let mut previous = Head::START;
    let mut kinds = Vec::new();
    for (was, stored) in before.iter().zip(&after) {
        assert_eq!(was.block, stored.block);
        let seen = &mut |_: Option<i64>, row: &LedgerRow| kinds.push(row.kind == FORGOTTEN);
        assert_eq!(verify_range(&previous, stored, seen), Ok(()));
        previous = Head::from(&stored.block);
    }
    let (gone, kept) = (true, false);
    let expected = [gone, kept, gone, gone, gone, kept, gone, kept, gone];
    assert_eq!(kinds, expected);
    // The other one's redaction was made of the blocks as they were: it would bring back the first.
    assert!(!bench.replace_blocks(&other).await.unwrap());
    let unknown = [(7, other[0].1.clone())];
    assert!(!bench.replace_blocks(&unknown).await.unwrap());
    assert_eq!(bench.chain().await, after);
    assert!(bench.replace_blocks(&[]).await.unwrap());
    let file = bench.dossier(reference(2)).await.unwrap().unwrap();
    let seqs = |rows: &[LedgerRow]| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&file.ledger), [2, 6, 8]);
    let file = bench.dossier(reference(1)).await.unwrap().unwrap();
    assert_eq!(seqs(&file.ledger), [0; 0]);
    assert_eq!(unpack(1, &after[0].entries).count(), 3);
}

pub(crate) async fn the_ledger_is_numbered_without_gaps(bench: Bench) {
    bench.populate(2).await;
    let entries = |count, from: i64| Changes {
        ledger: (from..from + count)
            .map(|at| entry("observed", Some(1 + at % 2), at))
            .collect(),
        ..Changes::default()
    };
    assert_eq!(bench.put(entries(3, 0)).await, 3);
    assert_eq!(bench.sequence(), 3);
    let refused = Changes {
        contacts: vec![contact(99, "x", None)],
        ..entries(5, 3)
    };
    assert!(bench.try_put(&Scope::default(), refused).await.is_err());
    assert_eq!(bench.put(entries(2, 3)).await, 2);
    let bench = bench.reopened().await;
    assert_eq!(bench.sequence(), 5);
    assert_eq!(bench.known(&Scope::default()).await.next_sequence, 6);
    let file = bench.dossier(reference(1)).await.unwrap().unwrap();
    let row = |seq, at| LedgerRow {
        seq,
        at,
        kind: "observed".to_owned(),
        system: Some(2),
        body: format!(r#"{{"at":{at}}}"#),
    };
    assert_eq!(file.ledger, [row(1, 0), row(3, 2), row(5, 4)]);
}

pub(crate) async fn figures_count_what_is_there(bench: Bench) {
    bench.populate(5).await;
    let changes = Changes {
        subjects: vec![SubjectRow {
            findings: "[1]".to_owned(),
            ..subject(1)
        }],
        contacts: vec![
            contact(1, "unmatched", None),
            ContactRow {
                life: DELETED,
                ..contact(1, "gone", Some(1))
            },
            ContactRow {
                life: DELETED,
                ..contact(1, "gone-unmatched", None)
            },
            contact(2, "a", Some(1)),
        ],
        ledger: vec![entry("observed", None, 1)],
        quarantine: vec![quarantined("p", "bad", 1)],
        ..Changes::default()
    };
    bench.put(changes).await;
    let rows = [
        withdrawal("c1", 1, 30),
        grant("c1", 1, 5),
        OutboxRow {
            state: DEAD,
            ..withdrawal("c2", 2, 20)
        },
        OutboxRow {
            state: HELD,
            ..withdrawal("c3", 3, 10)
        },
        withdrawal("gone", 1, 40),
        OutboxRow {
            state: PLANNED,
            ..withdrawal("c4", 4, 15)
        },
    ];
    bench.put(puts(&rows)).await;
    assert_eq!(bench.claim(1, 1).await.len(), 1);
    let figures = bench.figures(at(50)).await.unwrap();
    let first = SystemFigures {
        system: 1,
        live: 6,
        unmatched: 1,
        differing: 4,
        pending_withdrawals: 3,
        pending_grants: 1,
        planned: 1,
        sent: 0,
        batches: 0,
        dead: 1,
        held: 1,
        quarantined: 1,
        oldest_withdrawal: Some(10),
    };
    let second = SystemFigures {
        system: 2,
        live: 1,
        ..SystemFigures::default()
    };
    let third = SystemFigures {
        system: 3,
        ..SystemFigures::default()
    };
    assert_eq!(
        figures.systems,
        [first.clone(), second.clone(), third.clone()]
    );
    assert_eq!(
        (figures.subjects, figures.with_findings, figures.ledger),
        (5, 1, 1)
    );
    // A contact leaves, one comes back, and some find or lose their subject, read before or not.
    let scope = named(&[(1, "c5"), (1, "unmatched")]);
    let changes = Changes {
        contacts: vec![
            ContactRow {
                life: DELETED,
                ..contact(1, "c5", Some(5))
            },
            contact(1, "gone-unmatched", None),
            contact(1, "unmatched", Some(1)),
            contact(2, "a", None),
        ],
        ..Changes::default()
    };
    for _ in 0..2 {
        bench.put_within(&scope, changes.clone()).await;
        let figures = bench.figures(at(50)).await.unwrap();
        let second = SystemFigures {
            unmatched: 1,
            ..second.clone()
        };
        assert_eq!(figures.systems, [first.clone(), second, third.clone()]);
    }
}

pub(crate) async fn the_figures_of_an_empty_store_are_zero(bench: Bench) {
    let figures = bench.figures(at(0)).await.unwrap();
    assert_eq!(
        (figures.subjects, figures.with_findings, figures.ledger),
        (0, 0, 0)
    );
    assert_eq!(figures.systems.len(), 3);
}

pub(crate) async fn quarantined_records_stay_until_they_heal(bench: Bench) {
    let put = |rows| Changes {
        quarantine: rows,
        ..Changes::default()
    };
    let two = vec![
        quarantined("late", "bad date", 9),
        quarantined("early", "bad id", 3),
    ];
    assert_eq!(bench.put(put(two.clone())).await, 2);
    let listed = bench.quarantined(Some(1), 10).await.unwrap();
    assert_eq!(listed, [two[1].clone(), two[0].clone()]);
    assert_eq!(bench.quarantined(None, 1).await.unwrap(), [two[1].clone()]);
    assert_eq!(bench.quarantined(Some(2), 10).await.unwrap(), []);
    // A record that is seen again in another state keeps the instant it was first seen.
    assert_eq!(
        bench
            .put(put(vec![quarantined("early", "no date", 20)]))
            .await,
        1
    );
    assert_eq!(
        bench.quarantined(None, 1).await.unwrap(),
        [quarantined("early", "no date", 3)]
    );
    let healed = vec![(1, "early".to_owned()), (2, "late".to_owned())];
    assert_eq!(
        bench
            .put(Changes {
                healed,
                ..Changes::default()
            })
            .await,
        1
    );
    assert_eq!(bench.quarantined(None, 10).await.unwrap(), [two[0].clone()]);
}

pub(crate) async fn subjects_are_paged_by_number(bench: Bench) {
    bench.populate(5).await;
    bench.put(puts(&[grant("c4", 4, 1)])).await;
    let page = bench.subjects_after(0, 3).await.unwrap();
    assert_eq!(page.subjects, [subject(1), subject(2), subject(3)]);
    assert_eq!(page.contacts.len(), 3);
    let page = bench.subjects_after(3, 3).await.unwrap();
    assert_eq!(page.subjects, [subject(4), subject(5)]);
    assert_eq!(page.outbox, [grant("c4", 4, 1)]);
    assert_eq!((page.next_subject, page.next_sequence), (6, 1));
    assert_eq!(bench.subjects_after(5, 3).await.unwrap().subjects, []);
}

pub(crate) async fn the_store_proves_that_it_can_be_written(bench: Bench) {
    bench.probe_writable(at(7)).await.unwrap();
    bench.close().await;
    assert!(bench.probe_writable(at(8)).await.is_err());
}
