//! Suppressions, erasure and expiry (R55, R57).

use crate::bench::{
    Bench, contact, entry, flip, load_key, puts, quarantined, reference, subject, withdrawal,
};
use crate::gate::request;
use consentd::store::ledger::redact;
use consentd::store::{
    Applied, Changes, Erased, GateChanges, LedgerRow, PrivacyChanges, RequestQuery, Scope,
    SuppressionKey, SuppressionRow,
};

fn suppression(digest: u8, key: &str, purpose: &str) -> SuppressionRow {
    SuppressionRow {
        digest: [digest; 32],
        key: key.to_owned(),
        purpose: purpose.to_owned(),
        since: -5,
        seen_at: None,
    }
}

fn privacy(privacy: PrivacyChanges) -> Changes {
    Changes {
        privacy,
        ..Changes::default()
    }
}

pub(crate) async fn suppressions_are_found_by_their_digests_and_move_to_another_key(bench: Bench) {
    let asked = Scope {
        suppressions: vec![[1; 32], [9; 32], [2; 32]],
        ..Scope::default()
    };
    let known = bench.known(&asked).await;
    assert!(!known.any_suppressed && known.suppressed.is_empty());
    let rows = [
        suppression(1, "old", "marketing"),
        suppression(1, "old", "store"),
        suppression(2, "old", "marketing"),
        suppression(3, "new", "marketing"),
    ];
    let put = |suppressed: &[SuppressionRow]| PrivacyChanges {
        suppressed: suppressed.to_vec(),
        ..PrivacyChanges::default()
    };
    assert_eq!(bench.put(privacy(put(&rows))).await, 4);
    let bench = bench.reopened().await;
    let mut known = bench.known(&asked).await;
    assert!(known.any_suppressed);
    known
        .suppressed
        .sort_by(|a, b| (a.digest, &a.purpose).cmp(&(b.digest, &b.purpose)));
    assert_eq!(known.suppressed, rows[..3]);
    assert_eq!(bench.suppressed(&[[3; 32]]).await.unwrap(), rows[3..]);
    let moved = SuppressionRow {
        seen_at: Some(7),
        ..suppression(4, "new", "marketing")
    };
    let changes = PrivacyChanges {
        unsuppressed: vec![[2; 32]],
        ..put(std::slice::from_ref(&moved))
    };
    bench.put(privacy(changes)).await;
    assert_eq!(
        bench.suppressed(&[[2; 32], [4; 32]]).await.unwrap(),
        [moved]
    );
    let count = |key: &str, rows| SuppressionKey {
        key: key.to_owned(),
        rows,
    };
    let keys = bench.suppression_keys().await.unwrap();
    assert_eq!(keys, [count("new", 2), count("old", 2)]);
}

pub(crate) async fn a_stale_redaction_takes_its_whole_transaction_with_it(bench: Bench) {
    bench.populate(1).await;
    let ledger = vec![entry("observed", Some(1), 1), entry("verdict", Some(1), 2)];
    bench
        .put(Changes {
            ledger,
            ..Changes::default()
        })
        .await;
    let stored = bench.ledger_blocks(0, 10).await.unwrap().remove(0);
    let forget = |kind: &'static str| {
        let forget = &mut |_: Option<i64>, row: &LedgerRow| row.kind == kind;
        let redacted = redact(1, &stored.entries, forget).unwrap().unwrap();
        Changes {
            ledger: vec![entry("expired", None, 3)],
            ..privacy(PrivacyChanges {
                redacted: vec![(stored.block.last, redacted)],
                ..PrivacyChanges::default()
            })
        }
    };
    let stored = bench.try_put(&Scope::default(), forget("observed")).await;
    assert_eq!(stored.unwrap(), Applied::Stored { rows: 1 });
    let stale = bench.try_put(&Scope::default(), forget("verdict")).await;
    assert_eq!(stale.unwrap(), Applied::Overtaken);
    assert_eq!(bench.figures(crate::bench::at(0)).await.unwrap().ledger, 3);
}

pub(crate) async fn what_is_erased_takes_everything_that_names_it_along(bench: Bench) {
    bench.populate(3).await;
    let mut led = contact(2, "led", Some(3));
    led.own_subject = Some(1);
    bench
        .put(Changes {
            contacts: vec![led],
            load_members: vec![
                (load_key("ann", 1), "c1".to_owned()),
                (load_key("ann", 1), "c2".to_owned()),
            ],
            flips: vec![flip(1, "marketing", 5), flip(2, "marketing", 5)],
            quarantine: vec![quarantined("c1", "odd", 1), quarantined("c2", "odd", 1)],
            gate: GateChanges {
                due: vec![(1, 5), (2, 5)],
                requests: vec![request(1, 1), request(2, 2)],
                ..GateChanges::default()
            },
            ..puts(&[withdrawal("c1", 1, 5), withdrawal("c2", 2, 5)])
        })
        .await;
    let erased = Erased {
        subjects: vec![1],
        contacts: vec![(1, "c1".to_owned())],
        counts: vec![(1, -1, 0)],
        sendouts: Vec::new(),
    };
    bench
        .put(privacy(PrivacyChanges {
            erased,
            ..PrivacyChanges::default()
        }))
        .await;
    let scope = Scope {
        subjects: vec![reference(1), reference(2), reference(3)],
        loads: vec![load_key("ann", 1)],
        flips_since: Some(0),
        requests: true,
        ..Scope::default()
    };
    let known = bench.known(&scope).await;
    assert_eq!(known.subjects, [subject(2), subject(3)]);
    assert_eq!(known.contacts.len(), 3);
    assert!(known.contacts.iter().all(|row| row.own_subject.is_none()));
    assert_eq!(known.outbox.len(), 1);
    assert_eq!(known.flips, [(2, "marketing".to_owned(), 1)]);
    assert_eq!(known.load_members, [(load_key("ann", 1), "c2".to_owned())]);
    let left = bench.requests(&RequestQuery::default(), 10).await.unwrap();
    assert_eq!(
        left.iter().map(|view| view.request.id).collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(bench.gate_due(10).await.unwrap(), [(reference(2), 2, 5)]);
    let left = bench.quarantined(None, 10).await.unwrap();
    assert_eq!(left, [quarantined("c2", "odd", 1)]);
    let figures = bench.figures(crate::bench::at(0)).await.unwrap();
    assert_eq!(figures.systems[0].live, 2);
}

pub(crate) async fn it_is_kept_how_far_a_class_has_expired(bench: Bench) {
    assert_eq!(bench.expired_through("writes").await.unwrap(), 0);
    for through in [5, 9] {
        bench
            .put(privacy(PrivacyChanges {
                expired: Some(("writes".to_owned(), through)),
                ..PrivacyChanges::default()
            }))
            .await;
    }
    let bench = bench.reopened().await;
    assert_eq!(bench.expired_through("writes").await.unwrap(), 9);
    assert_eq!(bench.expired_through("verdict").await.unwrap(), 0);
}
