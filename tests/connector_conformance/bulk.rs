//! Large reads and writes as bulk jobs.

use crate::bench::*;
use consentd::connector::{FaultClass, Outcome};
use consentd::consent::{Reading, Shown};
use consentd_sandbox::{CallKind, Fault, Rule};
use std::collections::BTreeSet;
use std::time::Duration;

async fn large() -> Bench {
    let bench = Bench::with(2_500, |settings| {
        settings.platform.page_rows = 200;
        settings.platform.bulk_query_above = 1_000;
        settings.platform.bulk_deadline = Duration::from_secs(1);
    });
    bench.await
}

fn loaded(drained: &Drained) -> Vec<&Reading> {
    let pages = drained.pages.iter().filter(|page| page.load);
    pages
        .flat_map(|page| &page.readings)
        .filter(|reading| reading.whole)
        .collect()
}

#[tokio::test]
async fn c50_a_large_load_is_a_bulk_job_and_shows_the_same() {
    let bench = large().await;
    let by_job = bench.drain(None).await;
    assert!(bench.org().calls().of(CallKind::BulkQuery) > 3);
    let queries = Bench::with(2_500, |_| {}).await;
    let by_query = queries.drain(None).await;
    let key = |reading: &&Reading| {
        (
            reading.address.clone(),
            reading.link.clone(),
            reading.values.clone(),
            reading.life.clone(),
        )
    };
    let mut one: Vec<_> = loaded(&by_job).iter().map(key).collect();
    let mut other: Vec<_> = loaded(&by_query).iter().map(key).collect();
    one.sort_by_key(|row| format!("{row:?}"));
    other.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(one.len(), bench.org().contact_count());
    assert_eq!(one, other);
    assert_eq!(by_job.pages.iter().flat_map(|page| &page.poison).count(), 0);
}

#[tokio::test]
async fn c51_a_failed_job_is_made_again_and_then_left_for_queries() {
    for (times, job_again) in [(1, true), (9, false)] {
        let bench = large().await;
        bench
            .org()
            .set_fault(Rule::from(Fault::BulkFailed { message: None }).times(times))
            .unwrap();
        let drained = bench.drain(None).await;
        let ids: BTreeSet<_> = loaded(&drained)
            .iter()
            .map(|reading| reading.contact.clone())
            .collect();
        assert_eq!(ids.len(), bench.org().contact_count());
        assert_eq!(
            bench.org().calls().of(CallKind::QueryMore) == 0,
            job_again,
            "{times}"
        );
    }
}

#[tokio::test]
async fn c52_a_stuck_job_is_aborted_at_its_deadline() {
    let bench = large().await;
    bench
        .org()
        .set_fault(Rule::from(Fault::BulkStuck).times(1))
        .unwrap();
    let drained = bench.drain(None).await;
    assert_eq!(loaded(&drained).len(), bench.org().contact_count());
}

#[tokio::test]
async fn c53_a_large_write_is_a_bulk_job_whose_rows_fail_one_by_one() {
    let bench = Bench::with(0, |settings| settings.platform.bulk_ingest_above = 250).await;
    let ids: Vec<String> = (0..300)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.org().delete(&ids[2], STAFF).unwrap();
    bench
        .org()
        .set_fault(Fault::ValidationFailure {
            ids: Some(vec![ids[299].clone()]),
            message: None,
        })
        .unwrap();
    let mut writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Set))
        .collect();
    writes[5].changes = vec![(EVENTS, Shown::Set)];
    let outcomes = bench.connector.write(&writes).await.unwrap();
    for (place, outcome) in outcomes.iter().enumerate() {
        let expected = match place {
            2 => "gone",
            299 => "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            _ => "applied",
        };
        assert_eq!(code(outcome), expected, "{place}");
    }
    assert_eq!(bench.org().calls().of(CallKind::CollectionsWrite), 0);
    let other = bench.org().contact(&ids[5]).unwrap();
    assert!(
        !other.opted_out && other.preferences["Email_Events__c"],
        "an empty value leaves its field alone"
    );
    assert!(bench.org().contact(&ids[6]).unwrap().opted_out);
}

#[tokio::test]
async fn c54_a_job_that_failed_halfway_tells_which_rows_were_saved() {
    let bench = Bench::with(0, |settings| settings.platform.bulk_ingest_above = 250).await;
    let ids: Vec<String> = (0..300)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench
        .org()
        .set_fault(Fault::BulkFailed { message: None })
        .unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Set))
        .collect();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    for (id, outcome) in ids.iter().zip(&outcomes) {
        let saved = bench.org().contact(id).unwrap().opted_out;
        match outcome {
            Outcome::Applied => assert!(saved),
            Outcome::Failed(fault) => {
                assert!(!saved && fault.class == FaultClass::Retryable, "{fault:?}");
            }
            Outcome::Unknown(_) | Outcome::HandedOver { .. } => {}
        }
    }
    assert!(outcomes.contains(&Outcome::Applied));
}

#[tokio::test]
async fn c55_a_lost_end_of_the_upload_is_looked_after() {
    let bench = Bench::with(0, |settings| settings.platform.bulk_ingest_above = 250).await;
    let ids: Vec<String> = (0..300)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    // The job, its upload, and the end of its upload.
    bench
        .org()
        .set_fault(
            Rule::from(Fault::CutAfter)
                .after(2)
                .times(1)
                .calls(&[CallKind::BulkIngest]),
        )
        .unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Set))
        .collect();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
    bench
        .org()
        .set_fault(
            Rule::from(Fault::CutBefore)
                .after(2)
                .times(1)
                .calls(&[CallKind::BulkIngest]),
        )
        .unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(id, MARKETING, Shown::Default))
        .collect();
    let fault = bench.connector.write(&writes).await.unwrap_err();
    assert!(!fault.maybe_sent);
    assert!(
        bench.org().contact(&ids[0]).unwrap().opted_out,
        "nothing happened"
    );
}
