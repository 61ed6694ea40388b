//! Setting fields.

use crate::bench::*;
use consentd::connector::{Current, FaultClass, Outcome};
use consentd::consent::Shown;
use consentd_sandbox::{CallKind, Fault, Rule};

#[tokio::test]
async fn c40_a_write_sets_the_field_and_nothing_else() {
    let bench = Bench::new(0).await;
    let id = bench.create("ann@example.org");
    let before = bench.org().contact(&id).unwrap();
    let outcomes = bench
        .connector
        .write(&[set(&id, MARKETING, Shown::Set)])
        .await
        .unwrap();
    assert_eq!(outcomes, [Outcome::Applied]);
    let after = bench.org().contact(&id).unwrap();
    assert!(after.opted_out);
    assert_eq!(
        (after.address, after.first_name, after.ascend_id),
        (before.address, before.first_name, before.ascend_id)
    );
}

#[tokio::test]
async fn c41_rows_fail_one_by_one_and_in_their_places() {
    let bench = Bench::new(0).await;
    let ids: Vec<String> = (0..200)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.org().delete(&ids[2], STAFF).unwrap();
    bench
        .org()
        .set_fault(Fault::ValidationFailure {
            ids: Some(vec![ids[76].clone()]),
            message: Some("ask ann@example.org".into()),
        })
        .unwrap();
    bench.org().hard_delete(&ids[199]).unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Set))
        .collect();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    assert_eq!(outcomes.len(), 200);
    for (place, outcome) in outcomes.iter().enumerate() {
        let expected = match place {
            2 | 199 => "gone",
            76 => "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            _ => "applied",
        };
        assert_eq!(code(outcome), expected, "{place}");
    }
    let Outcome::Failed(fault) = &outcomes[76] else {
        panic!()
    };
    assert!(
        !fault.message.contains('@'),
        "no address in messages: {}",
        fault.message
    );
}

#[tokio::test]
async fn c42_a_locked_row_may_be_tried_again() {
    let bench = Bench::new(0).await;
    let ids: Vec<String> = (0..4)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.org().set_fault(Fault::RowLock { every: 2 }).unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Set))
        .collect();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    let locked: Vec<bool> = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Failed(fault) if fault.class == FaultClass::Retryable)).collect();
    assert_eq!(locked, [false, true, false, true]);
}

#[tokio::test]
async fn c43_a_lost_answer_leaves_every_row_unknown() {
    let bench = Bench::new(0).await;
    let ids: Vec<String> = (0..3)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.connector.probe().await.unwrap();
    bench
        .org()
        .set_fault(
            Rule::from(Fault::CutAfter)
                .times(1)
                .calls(&[CallKind::CollectionsWrite]),
        )
        .unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Set))
        .collect();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Unknown(fault) if fault.maybe_sent)),
        "{outcomes:?}"
    );
    let now = bench.connector.current(&targets(&ids)).await.unwrap();
    assert!(now.iter().all(|current| matches!(current, Current::Live(values) if values.contains(&(MARKETING, Shown::Set)))), "a look settles it");
}

#[tokio::test]
async fn c44_a_look_tells_live_contacts_from_gone_ones_in_order() {
    let bench = Bench::new(0).await;
    let ids: Vec<String> = (0..4)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.opt_out(&ids[0], true);
    bench.org().delete(&ids[1], STAFF).unwrap();
    bench.org().hard_delete(&ids[2]).unwrap();
    let asked: Vec<String> = [ids.clone(), vec!["no id".to_owned()]].concat();
    let now = bench.connector.current(&targets(&asked)).await.unwrap();
    assert_eq!(now.len(), 5);
    assert!(matches!(&now[0], Current::Live(values) if values[0] == (MARKETING, Shown::Set)));
    assert_eq!(now[1..3], [Current::Gone, Current::Gone]);
    assert!(matches!(&now[3], Current::Live(values) if values[0] == (MARKETING, Shown::Default)));
    assert_eq!(now[4], Current::Gone);
}

#[tokio::test]
async fn c45_what_was_never_sent_is_an_error_and_not_an_outcome() {
    let bench = Bench::new(0).await;
    let id = bench.create("ann@example.org");
    bench
        .org()
        .set_fault(Rule::from(Fault::QuotaUsedUp).calls(&[CallKind::CollectionsWrite]))
        .unwrap();
    let fault = bench
        .connector
        .write(&[set(&id, MARKETING, Shown::Set)])
        .await
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::RateLimited);
    assert!(fault.retry_after.is_some());
}
