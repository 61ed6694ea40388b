//! The outbox as a queue (R32 to R34).

use crate::bench::{Bench, at, entry, grant, puts, reference, withdrawal};
use consentd::store::{
    CLAIMED, Changes, Claim, DEAD, HELD, LANE_GRANT, LANE_WITHDRAWAL, OutboxChange, OutboxRow,
    PENDING, PLANNED, PlanningChange, Postponed, Redrive, SENT, Unsent,
};

fn externals(rows: &[OutboxRow]) -> Vec<&str> {
    rows.iter().map(|row| row.key.external.as_str()).collect()
}

fn postponed(row: &OutboxRow) -> Postponed {
    Postponed {
        key: row.key.clone(),
        version: row.version,
        not_before: 500,
        state: PENDING,
        attempts: row.attempts + 1,
        error: "UNABLE_TO_LOCK_ROW".to_owned(),
        in_flight: None,
        unsent: None,
        attempt: None,
    }
}

/// How many dead letters became pending again.
async fn redrive(bench: &Bench, system: i16, contacts: &[&str], now: i64) -> u64 {
    let redrive = Redrive {
        system,
        contacts: contacts.iter().copied().map(str::to_owned).collect(),
        at: now,
    };
    bench
        .put(Changes {
            redrives: vec![redrive],
            ..Changes::default()
        })
        .await
}

async fn stored(bench: &Bench) -> Vec<OutboxRow> {
    let mut rows = bench.outbox(0, 100).await.unwrap();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

pub(crate) async fn claims_take_withdrawals_first_and_then_the_oldest(bench: Bench) {
    bench.populate(6).await;
    let rows = [
        grant("c1", 1, 1),
        withdrawal("c2", 2, 9),
        withdrawal("c3", 3, 8),
        withdrawal("c4", 4, 9),
        OutboxRow {
            not_before: 51,
            ..withdrawal("c5", 5, 1)
        },
        OutboxRow {
            state: HELD,
            ..withdrawal("c6", 6, 1)
        },
    ];
    bench.put(puts(&rows)).await;
    let listed = bench.outbox(0, 10).await.unwrap();
    assert_eq!(externals(&listed), ["c5", "c6", "c3", "c2", "c4", "c1"]);
    assert_eq!(externals(&bench.outbox(4, 1).await.unwrap()), ["c4"]);
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(0)));
    let first = bench.claim(50, 3).await;
    assert_eq!(externals(&first), ["c3", "c2", "c4"]);
    let claimed = OutboxRow {
        state: CLAIMED,
        claimed_until: 150,
        in_flight: rows[2].changes.clone(),
        ..rows[2].clone()
    };
    assert_eq!(first[0], claimed);
    assert_eq!(externals(&bench.claim(50, 3).await), ["c1"]);
    assert_eq!(externals(&bench.claim(50, 3).await), [""; 0]);
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(51)));
    assert_eq!(externals(&bench.claim(51, 3).await), ["c5"]);
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(150)));
    assert_eq!(bench.next_due(2).await.unwrap(), None);
    assert_eq!(
        externals(&bench.claim(149, 9).await),
        [""; 0],
        "claims have not lapsed"
    );
    assert_eq!(
        externals(&bench.claim(150, 2).await),
        ["c3", "c2"],
        "claims have lapsed"
    );
}

pub(crate) async fn a_claim_may_name_its_lane_and_its_system(bench: Bench) {
    bench.populate(2).await;
    bench
        .put(puts(&[withdrawal("c1", 1, 1), grant("c2", 2, 1)]))
        .await;
    let claim = |system, lane| Claim {
        system,
        lane,
        limit: 5,
        now: 9,
        until: 10,
    };
    assert_eq!(bench.claim_writes(&claim(2, None)).await.unwrap(), []);
    let grants = bench
        .claim_writes(&claim(1, Some(LANE_GRANT)))
        .await
        .unwrap();
    assert_eq!(externals(&grants), ["c2"]);
    let withdrawals = bench
        .claim_writes(&claim(1, Some(LANE_WITHDRAWAL)))
        .await
        .unwrap();
    assert_eq!(externals(&withdrawals), ["c1"]);
}

pub(crate) async fn a_claim_is_current_until_the_decision_changes(bench: Bench) {
    bench.populate(3).await;
    bench
        .put(puts(&[
            withdrawal("c1", 1, 1),
            withdrawal("c2", 2, 2),
            grant("c3", 3, 3),
        ]))
        .await;
    let claimed = bench.claim(50, 9).await;
    let claims: Vec<_> = claimed
        .iter()
        .rev()
        .map(|row| (row.key.clone(), row.version))
        .collect();
    let keys = |claims: &[(consentd::store::WriteKey, i64)]| -> Vec<_> {
        claims.iter().map(|(key, _)| key.clone()).collect()
    };
    assert_eq!(bench.still_current(&claims).await.unwrap(), keys(&claims));
    let newer = OutboxRow {
        version: 2,
        ..claimed[0].clone()
    };
    let outbox = vec![
        OutboxChange::Put(newer),
        OutboxChange::Drop(claimed[1].key.clone()),
    ];
    bench
        .put(Changes {
            outbox,
            ..Changes::default()
        })
        .await;
    assert_eq!(
        bench.still_current(&claims).await.unwrap(),
        keys(&claims[..1])
    );
    assert_eq!(bench.release_claims(1).await.unwrap(), 2);
    assert_eq!(bench.still_current(&claims).await.unwrap(), []);
    let released = stored(&bench).await;
    assert!(
        released
            .iter()
            .all(|row| row.state == PENDING && !row.in_flight.is_empty())
    );
    assert_eq!(bench.release_claims(1).await.unwrap(), 0);
}

pub(crate) async fn a_postponed_write_waits_for_its_time(bench: Bench) {
    bench.populate(2).await;
    bench
        .put(puts(&[withdrawal("c1", 1, 1), withdrawal("c2", 2, 2)]))
        .await;
    let claimed = bench.claim(50, 9).await;
    let sent = postponed(&claimed[0]);
    let unsent = Postponed {
        in_flight: Some(String::new()),
        error: "a\0b".to_owned(),
        ..postponed(&claimed[1])
    };
    bench.postpone(&[sent, unsent]).await.unwrap();
    bench.postpone(&[]).await.unwrap();
    let back = OutboxRow {
        state: PENDING,
        claimed_until: 0,
        not_before: 500,
        attempts: 1,
        last_error: Some("UNABLE_TO_LOCK_ROW".to_owned()),
        ..claimed[0].clone()
    };
    let cleared = OutboxRow {
        in_flight: String::new(),
        last_error: Some("a\u{fffd}b".to_owned()),
        ..OutboxRow {
            key: claimed[1].key.clone(),
            subject: 2,
            decided_at: 2,
            changes: claimed[1].changes.clone(),
            ..back.clone()
        }
    };
    assert_eq!(stored(&bench).await, [back, cleared]);
    assert_eq!(bench.claim(499, 9).await, []);
    assert_eq!(bench.claim(500, 9).await.len(), 2);
}

pub(crate) async fn a_newer_decision_is_only_unclaimed(bench: Bench) {
    bench.populate(3).await;
    bench
        .put(puts(&[
            withdrawal("c1", 1, 1),
            withdrawal("c2", 2, 2),
            grant("c3", 3, 3),
        ]))
        .await;
    let claimed = bench.claim(50, 9).await;
    let newer = |row: &OutboxRow, state| OutboxRow {
        version: 2,
        state,
        changes: "[2]".to_owned(),
        ..row.clone()
    };
    let decided = [
        newer(&claimed[0], CLAIMED),
        newer(&claimed[1], PENDING),
        newer(&claimed[2], HELD),
    ];
    bench.put(puts(&decided)).await;
    let stale: Vec<Postponed> = claimed
        .iter()
        .map(|row| Postponed {
            state: DEAD,
            ..postponed(row)
        })
        .collect();
    bench.postpone(&stale).await.unwrap();
    let unclaimed = OutboxRow {
        state: PENDING,
        claimed_until: 0,
        ..decided[0].clone()
    };
    assert_eq!(
        stored(&bench).await,
        [unclaimed, decided[1].clone(), decided[2].clone()]
    );
}

/// R53: the entry about a failed attempt is kept with the write that goes back, and with no other.
pub(crate) async fn an_attempt_is_entered_where_the_write_goes_back(bench: Bench) {
    bench.populate(4).await;
    let rows = [
        withdrawal("c1", 1, 1),
        withdrawal("c2", 2, 2),
        withdrawal("c3", 3, 3),
        withdrawal("c4", 4, 4),
    ];
    bench.put(puts(&rows)).await;
    let claimed = bench.claim(50, 9).await;
    let tried = |row: &OutboxRow| Postponed {
        attempt: Some(entry("attempt", Some(row.subject), 60)),
        ..postponed(row)
    };
    let newer = |row: &OutboxRow, state| OutboxRow {
        version: 2,
        state,
        ..row.clone()
    };
    // Decided anew; settled meanwhile.
    let gone = OutboxChange::Drop(claimed[2].key.clone());
    let mut changes = puts(&[newer(&claimed[1], CLAIMED)]);
    changes.outbox.push(gone);
    bench.put(changes).await;
    let before = bench.sequence();
    let statements = bench.statements();
    bench
        .postpone(&[tried(&claimed[0]), tried(&claimed[1]), tried(&claimed[2])])
        .await
        .unwrap();
    let for_three = bench.statements() - statements;
    assert_eq!(bench.sequence(), before + 1);
    for id in 1..=3 {
        let file = bench.dossier(reference(id)).await.unwrap().unwrap();
        let attempts = file.ledger.iter().filter(|row| row.kind == "attempt");
        assert_eq!(attempts.count(), usize::from(id == 1), "subject {id}");
    }
    // Nothing is postponed any more: no entry, and no block.
    let blocks = bench.chain().await.len();
    bench
        .postpone(&[tried(&claimed[1]), tried(&claimed[2])])
        .await
        .unwrap();
    assert_eq!(
        (bench.sequence(), bench.chain().await.len()),
        (before + 1, blocks)
    );
    // Without an attempt the ledger stays as it is.
    bench.postpone(&[postponed(&claimed[3])]).await.unwrap();
    assert_eq!(bench.sequence(), before + 1);
    let statements = bench.statements();
    bench.postpone(&[tried(&claimed[0])]).await.unwrap();
    assert_eq!(bench.statements() - statements, for_three);
}

pub(crate) async fn dead_letters_wait_for_an_operator(bench: Bench) {
    bench.populate(2).await;
    bench
        .put(puts(&[withdrawal("c1", 1, 1), withdrawal("c2", 2, 2)]))
        .await;
    let claimed = bench.claim(50, 9).await;
    let dead: Vec<Postponed> = claimed
        .iter()
        .map(|row| Postponed {
            state: DEAD,
            not_before: 0,
            ..postponed(row)
        })
        .collect();
    bench.postpone(&dead).await.unwrap();
    assert_eq!(bench.claim(10_000, 9).await, []);
    assert_eq!(bench.next_due(1).await.unwrap(), None);
    assert_eq!(redrive(&bench, 2, &[], 60).await, 0);
    assert_eq!(redrive(&bench, 1, &["c3", "c", ""], 60).await, 0);
    assert_eq!(redrive(&bench, 1, &["c2", "c3"], 70).await, 1);
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(70)));
    assert_eq!(redrive(&bench, 1, &[], 60).await, 1, "the other one");
    assert_eq!(redrive(&bench, 1, &[], 60).await, 0);
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(60)));
    assert_eq!(externals(&bench.claim(60, 9).await), ["c1"]);
    bench.release_claims(1).await.unwrap();
    let again = bench.claim(70, 9).await;
    assert_eq!(externals(&again), ["c1", "c2"]);
    assert_eq!(again[0].attempts, 0);
    assert_eq!(again[0].last_error.as_deref(), Some("UNABLE_TO_LOCK_ROW"));
}

pub(crate) async fn two_emitters_never_claim_the_same_write(bench: Bench) {
    bench.populate(40).await;
    let rows: Vec<OutboxRow> = (1..=40)
        .map(|id| withdrawal(&format!("c{id}"), id, id))
        .collect();
    bench.put(puts(&rows)).await;
    let taken = futures::future::join_all((0..8).map(|_| bench.claim(50, 7))).await;
    let mut keys: Vec<_> = taken.into_iter().flatten().map(|row| row.key).collect();
    let claimed = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), claimed);
    assert_eq!(claimed + bench.claim(50, 100).await.len(), 40);
}

/// R46: what was handed over waits for its word, over restarts, and counts as pending all the while.
pub(crate) async fn what_was_handed_over_waits_for_its_word(bench: Bench) {
    bench.populate(3).await;
    let sent = |external: &str, subject, until| OutboxRow {
        state: SENT,
        claimed_until: until,
        in_flight: "[1]".to_owned(),
        last_error: Some("20260101-010000-1".to_owned()),
        ..withdrawal(external, subject, subject)
    };
    let rows = [sent("c1", 1, 500), sent("c2", 2, 400), grant("c3", 3, 3)];
    bench.put(puts(&rows)).await;
    assert_eq!(externals(&bench.claim(399, 9).await), ["c3"]);
    assert_eq!(bench.release_claims(1).await.unwrap(), 1, "only the claim");
    let kept = stored(&bench).await;
    assert_eq!(kept[..2], rows[..2], "a restart leaves them alone");
    let figures = bench.figures(at(399)).await.unwrap();
    assert_eq!(figures.systems[0].pending_withdrawals, 2);
    assert_eq!(
        (figures.systems[0].sent, figures.systems[0].batches),
        (2, 1)
    );
    assert_eq!(figures.systems[0].oldest_withdrawal, Some(1));
    assert_eq!(figures.systems[0].differing, 3);
    bench
        .put(Changes {
            outbox: vec![OutboxChange::Drop(rows[2].key.clone())],
            ..Changes::default()
        })
        .await;
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(400)));
    assert_eq!(redrive(&bench, 1, &[], 1).await, 0);
    let again = bench.claim(400, 9).await;
    assert_eq!(externals(&again), ["c2"], "its word is late");
    assert_eq!(again[0].state, CLAIMED);
    assert_eq!(bench.next_due(1).await.unwrap(), Some(at(500)));
}

/// R15: a value that is under way stays noted when another one is claimed, once, the newest first.
pub(crate) async fn what_may_still_happen_is_kept_when_more_is_claimed(bench: Bench) {
    bench.populate(1).await;
    let row = |changes: &str, in_flight: &str| OutboxRow {
        changes: changes.to_owned(),
        in_flight: in_flight.to_owned(),
        ..withdrawal("c1", 1, 1)
    };
    let rows = [
        ("nothing is under way", "[1]", "", "[1]"),
        ("the same is under way", "[1]", "[1]", "[1]\n"),
        ("it was claimed twice", "[1]", "[1]\n", "[1]\n"),
        ("another one is", "[2]", "[1]", "[2]\n[1]"),
        ("it is one of them", "[1]", "[2]\n[1]", "[2]\n[1]\n"),
        ("it is the end of one of them", "[1]", "[[1]", "[1]\n[[1]"),
    ];
    for (sentence, changes, before, after) in rows {
        bench.put(puts(&[row(changes, before)])).await;
        let claimed = bench.claim(50, 1).await;
        assert_eq!(claimed[0].in_flight, after, "{sentence}");
        bench.release_claims(1).await.unwrap();
    }
    let claimed = bench.claim(50, 1).await;
    let back = Postponed {
        in_flight: Some("[7]".to_owned()),
        ..postponed(&claimed[0])
    };
    bench.postpone(&[back]).await.unwrap();
    assert_eq!(stored(&bench).await[0].in_flight, "[7]");
}

pub(crate) async fn planned_writes_wait_until_planning_ends(bench: Bench) {
    bench.populate(4).await;
    let planned = |row: OutboxRow| OutboxRow {
        state: PLANNED,
        ..row
    };
    let rows = [
        planned(withdrawal("c1", 1, 1)),
        planned(grant("c2", 2, 1)),
        OutboxRow {
            not_before: 900,
            ..planned(withdrawal("c3", 3, 1))
        },
        OutboxRow {
            state: HELD,
            ..grant("c4", 4, 1)
        },
    ];
    bench.put(puts(&rows)).await;
    assert_eq!(bench.claim(1_000, 9).await, []);
    assert_eq!(bench.next_due(1).await.unwrap(), None);
    let late = OutboxRow {
        key: rows[0].key.clone(),
        ..rows[0].clone()
    };
    bench.postpone(&[postponed(&late)]).await.unwrap();
    assert_eq!(stored(&bench).await[0], rows[0], "it was never claimed");
    let ends = Changes {
        planning: Some(PlanningChange::Ends {
            now: 50,
            grants_from: 70,
        }),
        ..Changes::default()
    };
    assert_eq!(bench.put(ends).await, 3);
    let released = |row: &OutboxRow, not_before| OutboxRow {
        state: PENDING,
        not_before,
        ..row.clone()
    };
    let expected = [
        released(&rows[0], 50),
        released(&rows[1], 70),
        released(&rows[2], 900),
        rows[3].clone(),
    ];
    assert_eq!(stored(&bench).await, expected);
    assert_eq!(externals(&bench.claim(60, 9).await), ["c1"]);
}

pub(crate) async fn planning_is_decided_once_and_is_known_to_every_transaction(bench: Bench) {
    let before = bench.origin().await.unwrap();
    assert_eq!((before.planning, before.store_id.len()), (None, 32));
    assert_eq!(bench.around(&[]).await.planning, None);
    assert!(!bench.figures(at(1)).await.unwrap().planning);
    let turn = async |bench: &Bench, change: PlanningChange| {
        let planning = Some(change);
        let changes = Changes {
            planning,
            ..Changes::default()
        };
        bench.put(changes).await;
    };
    turn(&bench, PlanningChange::Begins).await;
    let bench = bench.reopened().await;
    assert_eq!(bench.around(&[]).await.planning, Some(true));
    assert!(bench.figures(at(1)).await.unwrap().planning);
    let (now, grants_from) = (1, 2);
    turn(&bench, PlanningChange::Ends { now, grants_from }).await;
    assert_eq!(bench.around(&[]).await.planning, Some(false));
    let after = bench.origin().await.unwrap();
    assert_eq!(after.store_id, before.store_id, "it stays the same store");
    assert!(!after.is_planning());
}

pub(crate) async fn a_claim_that_was_not_sent_is_given_up_by_the_newer_write(bench: Bench) {
    bench.populate(6).await;
    let grown = |row: OutboxRow, version, in_flight: &str| OutboxRow {
        version,
        in_flight: in_flight.to_owned(),
        ..row
    };
    // Claimed at version 4, with "[1]" under way before and "[2]" by the claim.
    let rows = [
        (
            "newer, in its lane",
            grown(withdrawal("c1", 1, 1), 5, "[2]\n[1]"),
        ),
        (
            "newer, in the other",
            grown(grant("c2", 2, 1), 5, "[2]\n[1]"),
        ),
        (
            "something was added",
            grown(withdrawal("c3", 3, 1), 5, "[3]\n[2]\n[1]"),
        ),
        ("not newer", grown(withdrawal("c4", 4, 1), 4, "[2]\n[1]")),
        (
            "attempted since",
            OutboxRow {
                attempts: 1,
                ..grown(withdrawal("c5", 5, 1), 5, "[2]\n[1]")
            },
        ),
        (
            "handed over since",
            OutboxRow {
                state: SENT,
                ..grown(withdrawal("c6", 6, 1), 5, "[2]\n[1]")
            },
        ),
    ];
    let put: Vec<OutboxRow> = rows.iter().map(|(_, row)| row.clone()).collect();
    bench.put(puts(&put)).await;
    let back = |row: &OutboxRow, unsent| Postponed {
        attempt: None,
        version: 4,
        unsent,
        key: consentd::store::WriteKey {
            lane: LANE_WITHDRAWAL,
            ..row.key.clone()
        },
        state: row.state,
        not_before: row.not_before,
        attempts: row.attempts,
        error: String::new(),
        in_flight: None,
    };
    let sent: Vec<Postponed> = put.iter().map(|row| back(row, None)).collect();
    bench.postpone(&sent).await.unwrap();
    let under_way = async || -> Vec<String> {
        let rows = stored(&bench).await.into_iter();
        rows.map(|row| row.in_flight).collect()
    };
    let before: Vec<String> = put.iter().map(|row| row.in_flight.clone()).collect();
    assert_eq!(
        under_way().await,
        before,
        "what may have been sent stays noted"
    );
    let unsent = || Unsent {
        claimed: "[2]\n[1]".to_owned(),
        earlier: "[1]".to_owned(),
    };
    let back: Vec<Postponed> = put.iter().map(|row| back(row, Some(unsent()))).collect();
    bench.postpone(&back).await.unwrap();
    let expected = ["[1]", "[1]"].into_iter().map(str::to_owned);
    let expected: Vec<String> = expected.chain(before.into_iter().skip(2)).collect();
    assert_eq!(under_way().await, expected, "{rows:?}");
}
