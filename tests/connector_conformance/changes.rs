//! Windows of changes.

use crate::bench::*;
use consentd::consent::{At, Life, Shown};
use consentd_sandbox::{CallKind, Fault, Rule};
use std::collections::BTreeSet;

#[tokio::test]
async fn c20_a_change_arrives_with_the_time_and_the_user_of_its_history() {
    let bench = Bench::new(20).await;
    let id = bench.create("ann@example.org");
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench.opt_out(&id, true);
    let at: At = bench.org().contact(&id).unwrap().modified.into();
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    let reading = drained.last(&id).unwrap();
    assert_eq!(value(reading, MARKETING), Some(&Shown::Set));
    let told: Vec<_> = reading
        .told
        .iter()
        .filter(|told| told.purpose == MARKETING)
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].at, at);
    assert!(
        told[0]
            .actor
            .as_deref()
            .is_some_and(|actor| actor.starts_with("005"))
    );
    assert!(drained.pages.iter().all(|page| !page.load));
    let end: At = bench.org().now().into();
    let bound = drained.drained().unwrap();
    assert!(
        bound <= end.minus(605_000_000),
        "the overlap and the lag are taken off"
    );
    assert!(bound >= end.minus(610_000_000), "but no more than that");
}

#[tokio::test]
async fn c21_every_poll_reads_the_overlap_again() {
    let bench = Bench::new(0).await;
    let id = bench.create("ann@example.org");
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    let again = bench.drain(Some(start.cursor)).await;
    assert!(again.last(&id).is_some());
    bench.wait(1_300);
    let later = bench.drain(Some(again.cursor)).await;
    bench.wait(60);
    let later = bench.drain(Some(later.cursor)).await;
    assert!(
        later.last(&id).is_none(),
        "what is older than the overlap is not read for ever"
    );
}

#[tokio::test]
async fn c22_a_row_that_becomes_visible_late_is_still_read() {
    let bench = Bench::new(0).await;
    let id = bench.create("ann@example.org");
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench
        .org()
        .set_fault(Fault::LateCommit { seconds: 300 })
        .unwrap();
    bench.opt_out(&id, true);
    bench.org().clear_faults(None);
    bench.wait(60);
    let early = bench.drain(Some(start.cursor)).await;
    assert!(
        early
            .last(&id)
            .is_none_or(|reading| value(reading, MARKETING) == Some(&Shown::Default))
    );
    bench.wait(300);
    let late = bench.drain(Some(early.cursor)).await;
    let reading = late.last(&id).unwrap();
    assert_eq!(value(reading, MARKETING), Some(&Shown::Set));
    assert_eq!(reading.told.len(), 1, "with its history");
}

#[tokio::test]
async fn c23_five_thousand_rows_of_one_second_are_read_in_pages_of_two_thousand() {
    let bench = Bench::new(0).await;
    let start = bench.drain(None).await;
    bench.wait(60);
    let at = bench.org().now();
    let mut ids = BTreeSet::new();
    for number in 0..5_000 {
        let all = fields(&[
            ("LastName", "Doe".into()),
            ("Email", format!("p{number}@example.org").into()),
        ]);
        ids.insert(
            bench
                .org()
                .create("Contact", &all, STAFF, Some(at))
                .unwrap(),
        );
    }
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    let read: Vec<String> = drained
        .readings()
        .iter()
        .map(|reading| reading.contact.clone())
        .collect();
    assert_eq!(read.len(), 5_000);
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>(), ids);
}

#[tokio::test]
async fn c24_short_pages_of_changes_lose_nothing() {
    let bench = Bench::new(0).await;
    let start = bench.drain(None).await;
    bench.wait(60);
    for number in 0..300 {
        bench.create(&format!("p{number}@example.org"));
    }
    bench.wait(60);
    bench
        .org()
        .set_fault(Fault::ShortPages { rows: 70 })
        .unwrap();
    let drained = bench.drain(Some(start.cursor)).await;
    assert_eq!(drained.readings().len(), 300);
}

#[tokio::test]
async fn c25_deletes_merges_and_undeletes_arrive() {
    let bench = Bench::new(0).await;
    let ids: Vec<String> = (0..3)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench.org().delete(&ids[0], STAFF).unwrap();
    bench
        .org()
        .merge(&ids[1], &[ids[2].clone()], &fields(&[]), STAFF)
        .unwrap();
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    assert_eq!(drained.last(&ids[0]).unwrap().life, Life::Deleted);
    assert_eq!(drained.last(&ids[1]).unwrap().life, Life::Live);
    assert_eq!(
        drained.last(&ids[2]).unwrap().life,
        Life::Merged {
            into: ids[1].clone()
        }
    );
    bench.org().undelete(&ids[0], STAFF).unwrap();
    bench.wait(60);
    let drained = bench.drain(Some(drained.cursor)).await;
    assert_eq!(drained.last(&ids[0]).unwrap().life, Life::Live);
}

#[tokio::test]
async fn c26_a_changed_address_arrives() {
    let bench = Bench::new(0).await;
    let id = bench.create("ann@example.org");
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench.edit(&id, &[("Email", "ann@example.net".into())]);
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    assert_eq!(
        drained.last(&id).unwrap().address.as_deref(),
        Some("ann@example.net")
    );
}

#[tokio::test]
async fn c27_a_window_resumed_after_a_restart_tells_its_history_again() {
    let bench = Bench::with(0, |settings| settings.platform.page_rows = 200).await;
    let ids: Vec<String> = (0..500)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    for id in &ids {
        bench.opt_out(id, true);
    }
    bench.wait(60);
    let first = bench.connector.read(Some(&start.cursor)).await.unwrap();
    assert!(first.more);
    let restarted = consentd::connector::registry::connect(
        consentd::connector::registry::SystemKind::Salesforce({
            let mut settings = settings(&bench.sandbox, bench.org());
            settings.platform.page_rows = 200;
            settings
        }),
    )
    .unwrap();
    let rest = drain(&*restarted, Some(first.next.clone())).await.unwrap();
    for id in &ids {
        let told = first
            .readings
            .iter()
            .chain(rest.readings())
            .filter(|reading| reading.contact == *id)
            .flat_map(|reading| &reading.told)
            .count();
        assert!(told >= 1, "{id}");
    }
}

#[tokio::test]
async fn c28_the_safety_net_finds_what_no_window_showed() {
    let bench = Bench::with(0, |settings| {
        settings.platform.safety_net_interval = std::time::Duration::from_secs(3_600)
    })
    .await;
    let ids: Vec<String> = (0..3)
        .map(|number| bench.create(&format!("p{number}@example.org")))
        .collect();
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    // A transaction that runs for far longer than the overlap.
    bench
        .org()
        .set_fault(Fault::LateCommit { seconds: 1_500 })
        .unwrap();
    bench
        .org()
        .change_settings(|settings| settings.replication_lag_secs = 1_600);
    bench.opt_out(&ids[0], true);
    bench.org().clear_faults(None);
    bench.wait(1_000);
    let drained = bench.drain(Some(start.cursor)).await;
    bench.wait(1_000);
    let drained = bench.drain(Some(drained.cursor)).await;
    assert!(drained.last(&ids[0]).is_none(), "no window shows it");
    bench.org().hard_delete(&ids[1]).unwrap();
    bench.wait(3_600);
    let drained = bench.drain(Some(drained.cursor)).await;
    let reading = drained.last(&ids[0]).unwrap();
    assert_eq!(value(reading, MARKETING), Some(&Shown::Set));
    assert_eq!(reading.told.len(), 1, "with its history");
}

#[tokio::test]
async fn c29_lists_that_cannot_be_had_start_a_sweep() {
    for refusal in ["INVALID_REPLICATION_DATE", "EXCEEDED_ID_LIMIT"] {
        let bench = Bench::with(0, |settings| {
            settings.platform.safety_net_interval = std::time::Duration::from_secs(600)
        })
        .await;
        let id = bench.create("ann@example.org");
        bench.wait(60);
        let start = bench.drain(None).await;
        bench.wait(700);
        bench
            .org()
            .set_fault(
                Rule::from(Fault::ReplicationRefusal {
                    code: refusal.to_owned(),
                })
                .calls(&[CallKind::Updated]),
            )
            .unwrap();
        let drained = bench.drain(Some(start.cursor)).await;
        assert!(
            drained
                .pages
                .iter()
                .any(|page| page.load && page.readings.iter().any(|reading| reading.contact == id)),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn c30_a_feed_that_fell_behind_the_recycle_bin_starts_a_sweep() {
    let bench = Bench::new(5).await;
    let start = bench.drain(None).await;
    bench.wait(20 * 86_400);
    let drained = bench.drain(Some(start.cursor)).await;
    assert_eq!(
        drained
            .pages
            .iter()
            .filter(|page| page.load)
            .flat_map(|page| &page.readings)
            .filter(|reading| reading.whole)
            .count(),
        bench.org().contact_count()
    );
}

#[tokio::test]
async fn c31_an_idle_poll_costs_two_calls_of_the_allowance() {
    let bench = Bench::new(5).await;
    let start = bench.drain(None).await;
    bench.wait(2_000);
    let idle = bench.drain(Some(start.cursor)).await;
    bench.org().reset_calls();
    bench.wait(60);
    let idle = bench.drain(Some(idle.cursor)).await;
    assert!(idle.readings().is_empty());
    assert_eq!(bench.org().calls().counted, 2, "history and contacts");
}
