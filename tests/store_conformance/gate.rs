//! Re-subscribe requests, and about whom the gate is to be asked (R47, R48).

use crate::bench::{Bench, entry, reference};
use consentd::store::{
    Changes, GateChanges, GateRound, RequestQuery, RequestRow, RequestView, Scope, StoreError,
};

/// An open request of a subject, as a unit sees it.
pub(crate) fn request(id: i64, subject: i64) -> RequestRow {
    RequestRow {
        id,
        subject,
        subscriber: format!("003{subject:015}"),
        unit: "100".to_owned(),
        unit_name: "Zoë's unit".to_owned(),
        status: "held".to_owned(),
        unsubscribed_at: Some(-5),
        urgent: false,
        cause: "opt-in".to_owned(),
        evidence: r#"{"actor":"\"x\""}"#.to_owned(),
        opened_at: 10,
        seen_at: 11,
        ..RequestRow::default()
    }
}

fn gate(gate: GateChanges) -> Changes {
    Changes {
        gate,
        ..Changes::default()
    }
}

fn puts(requests: &[RequestRow]) -> Changes {
    gate(GateChanges {
        requests: requests.to_vec(),
        ..GateChanges::default()
    })
}

async fn ids(bench: &Bench, query: &RequestQuery, limit: usize) -> Vec<i64> {
    let found = bench.requests(query, limit).await.unwrap();
    found.iter().map(|view| view.request.id).collect()
}

fn closed(row: RequestRow) -> RequestRow {
    RequestRow {
        closed_at: Some(20),
        closing: Some("green".to_owned()),
        closed_by: Some("ann: seen".to_owned()),
        ..row
    }
}

pub(crate) async fn requests_come_back_as_they_were_put(bench: Bench) {
    bench.populate(3).await;
    let first = request(1, 1);
    let second = RequestRow {
        urgent: true,
        note: Some("no \"luck\"".to_owned()),
        subscriber: String::new(),
        unsubscribed_at: None,
        ..request(2, 2)
    };
    assert_eq!(bench.put(puts(&[second.clone(), first.clone()])).await, 2);
    let view = |request: &RequestRow| RequestView {
        request: request.clone(),
        subject: reference(request.subject),
        address: format!("person{}@example.org", request.subject),
        verdicts: format!(r#"[["marketing",{}]]"#, request.subject),
    };
    let found = bench.requests(&RequestQuery::default(), 10).await.unwrap();
    assert_eq!(found, [view(&first), view(&second)]);
    let figures = bench.figures(crate::bench::at(0)).await.unwrap();
    assert_eq!((figures.requests, figures.urgent_requests), (2, 1));

    let ended = closed(first.clone());
    assert_eq!(bench.put(puts(std::slice::from_ref(&ended))).await, 1);
    let bench = bench.reopened().await;
    assert_eq!(ids(&bench, &RequestQuery::default(), 10).await, [2]);
    let all = RequestQuery {
        closed: true,
        ..RequestQuery::default()
    };
    let found = bench.requests(&all, 10).await.unwrap();
    assert_eq!(found, [view(&ended), view(&second)]);
    let figures = bench.figures(crate::bench::at(0)).await.unwrap();
    assert_eq!((figures.requests, figures.urgent_requests), (1, 1));
}

pub(crate) async fn requests_are_asked_for_in_several_ways(bench: Bench) {
    bench.populate(4).await;
    let rows = [
        request(1, 1),
        closed(request(2, 2)),
        RequestRow {
            urgent: true,
            ..request(3, 3)
        },
        request(4, 4),
    ];
    bench.put(puts(&rows)).await;
    let open = RequestQuery::default();
    assert_eq!(ids(&bench, &open, 10).await, [1, 3, 4]);
    assert_eq!(ids(&bench, &open, 2).await, [1, 3], "a page");
    let next = RequestQuery {
        after: 3,
        ..open.clone()
    };
    assert_eq!(ids(&bench, &next, 2).await, [4], "the next page");
    let urgent = RequestQuery {
        urgent: true,
        ..open.clone()
    };
    assert_eq!(ids(&bench, &urgent, 10).await, [3]);
    let some = RequestQuery {
        ids: vec![2, 4, 99],
        closed: true,
        ..open.clone()
    };
    assert_eq!(ids(&bench, &some, 10).await, [2, 4]);
    for (subject, closed, expected) in [(2, false, vec![]), (2, true, vec![2]), (3, true, vec![3])]
    {
        let of_one = RequestQuery {
            subject: Some(reference(subject)),
            closed,
            ..open.clone()
        };
        assert_eq!(
            ids(&bench, &of_one, 10).await,
            expected,
            "{subject} {closed}"
        );
    }
    let nobody = RequestQuery {
        subject: Some(reference(9)),
        ..open
    };
    assert_eq!(ids(&bench, &nobody, 10).await, [0; 0]);
}

pub(crate) async fn open_requests_come_with_their_subjects(bench: Bench) {
    bench.populate(3).await;
    bench
        .put(puts(&[request(7, 1), closed(request(8, 1)), request(9, 3)]))
        .await;
    let mut scope = Scope {
        subjects: vec![reference(1), reference(2)],
        ..Scope::default()
    };
    assert_eq!(bench.known(&scope).await.requests, [], "nobody asked");
    scope.requests = true;
    assert_eq!(bench.known(&scope).await.requests, [request(7, 1)]);
}

pub(crate) async fn a_recipient_with_an_open_request_is_undeliverable(bench: Bench) {
    bench.populate(2).await;
    bench
        .put(puts(&[closed(request(1, 1)), request(2, 2)]))
        .await;
    let asked = [reference(2), reference(1)];
    let found = bench.recipients(&asked, &[1]).await.unwrap();
    let marks: Vec<bool> = found
        .iter()
        .map(|row| row.as_ref().unwrap().is_undeliverable)
        .collect();
    assert_eq!(marks, [true, false]);
}

pub(crate) async fn who_is_due_stays_so_until_asked_about(bench: Bench) {
    bench.populate(3).await;
    let due = |due: &[(i64, i64)]| {
        gate(GateChanges {
            due: due.to_vec(),
            ..GateChanges::default()
        })
    };
    let asked = |asked: &[(i64, i64)]| {
        gate(GateChanges {
            asked: asked.to_vec(),
            ..GateChanges::default()
        })
    };
    bench.put(due(&[(1, 50), (3, 40), (1, 60)])).await;
    let found = |bench: Bench| async move { (bench.gate_due(10).await.unwrap(), bench) };
    let (now, bench) = found(bench.reopened().await).await;
    assert_eq!(now, [(reference(3), 3, 40), (reference(1), 1, 60)]);
    assert_eq!(
        bench.gate_due(1).await.unwrap(),
        [(reference(3), 3, 40)],
        "the longest due first"
    );
    bench.put(due(&[(3, 70)])).await;
    bench.put(asked(&[(3, 40), (1, 60)])).await;
    let (now, _) = found(bench).await;
    assert_eq!(
        now,
        [(reference(3), 3, 70)],
        "who turned again meanwhile is asked about again"
    );
}

pub(crate) async fn a_round_goes_on_where_it_was(bench: Bench) {
    assert_eq!(bench.gate_round().await.unwrap(), GateRound::default());
    let round = GateRound {
        ended_at: 5,
        after: Some(7),
        sheet_at: 9,
    };
    let changes = gate(GateChanges {
        round: Some(round),
        ..GateChanges::default()
    });
    bench.put(changes).await;
    let bench = bench.reopened().await;
    assert_eq!(bench.gate_round().await.unwrap(), round);
}

pub(crate) async fn a_refused_request_takes_its_whole_transaction_with_it(bench: Bench) {
    bench.populate(1).await;
    let broken = RequestRow {
        note: Some("a\0b".to_owned()),
        ..request(2, 1)
    };
    let changes = Changes {
        ledger: vec![entry("resubscribe", Some(1), 3)],
        ..puts(&[request(1, 1), broken])
    };
    let refused = bench.try_put(&Scope::default(), changes).await;
    assert!(
        matches!(refused, Err(StoreError::Database { .. })),
        "{refused:?}"
    );
    let open = ids(&bench, &RequestQuery::default(), 10).await;
    assert_eq!(open, Vec::<i64>::new());
    assert_eq!(bench.figures(crate::bench::at(0)).await.unwrap().ledger, 0);
}
