//! Windows of changes and sweeps.

use super::bench::*;
use crate::bench::{drain, value};
use consentd::consent::{At, Basis, Life, Shown};
use consentd_sandbox::superoffice::{NewConsent, PersonBump};
use consentd_sandbox::{CallKind, Fault, Rule};
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test]
async fn c20_a_change_of_any_purpose_arrives_whether_or_not_it_touches_the_person() {
    for bump in [PersonBump::OnFlip, PersonBump::Never, PersonBump::Always] {
        let bench = Bench::with(|crm| crm.person_bump = bump, |_| {}).await;
        let id = bench.person(&["ann@example.org"]);
        bench.wait(3_600);
        let start = bench.drain(None).await;
        bench.wait(60);
        for (purpose, key, base, shown) in [
            (STORE, "STORE", "WITHDRAWN", WITHDRAWN),
            (MARKETING, "EMARKETING", "61A", granted(Basis::Consent)),
        ] {
            bench.consent(id, key, base);
            let at = bench.now();
            bench.wait(60);
            let drained = bench.drain(Some(start.cursor.clone())).await;
            let reading = drained.last(&id.to_string()).unwrap();
            assert_eq!(value(reading, purpose), Some(&shown), "{bump:?} {key}");
            let (told, when, by) = said(reading, purpose).unwrap();
            assert_eq!(told, &shown);
            assert_eq!(when.micros() / 1_000_000, at.micros() / 1_000_000);
            assert!(by.is_some());
            assert!(drained.pages.iter().all(|page| !page.load));
            let (end, bound) = (bench.now(), drained.drained().unwrap());
            assert!(
                bound <= end.minus(605_000_000),
                "overlap and lag are taken off"
            );
            assert!(bound >= end.minus(610_000_000), "but no more than that");
        }
    }
}

#[tokio::test]
async fn c20_bulk_updates_and_imports_arrive_though_they_notify_nobody() {
    let bench = Bench::new().await;
    let ids = bench.people(30);
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench
        .tenant()
        .bulk_update(&ids, &NewConsent::new("EMARKETING", "61B"), STAFF)
        .unwrap();
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    for id in ids {
        assert_eq!(
            value(drained.last(&id.to_string()).unwrap(), MARKETING),
            Some(&granted(Basis::Contract))
        );
    }
}

#[tokio::test]
async fn c21_every_poll_reads_the_overlap_again_and_no_more() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]).to_string();
    bench.wait(60);
    let start = bench.drain(None).await;
    bench.wait(60);
    let again = bench.drain(Some(start.cursor)).await;
    assert!(again.last(&id).is_some());
    bench.wait(1_300);
    let later = bench.drain(Some(again.cursor)).await;
    bench.wait(60);
    let later = bench.drain(Some(later.cursor)).await;
    assert!(later.last(&id).is_none());
}

#[tokio::test]
async fn c23_any_number_of_rows_share_one_second_and_short_pages_lose_none() {
    for rows in [10_000, 70] {
        let bench = Bench::with(|crm| crm.archive_rows = rows, |_| {}).await;
        let ids = bench.people(2_500);
        bench.wait(3_600);
        let start = bench.drain(None).await;
        bench.wait(60);
        bench
            .tenant()
            .bulk_update(&ids, &NewConsent::new("EMARKETING", "61A"), STAFF)
            .unwrap();
        bench.wait(60);
        let drained = bench.drain(Some(start.cursor)).await;
        let read: BTreeSet<String> = drained
            .readings()
            .iter()
            .filter(|reading| value(reading, MARKETING) == Some(&granted(Basis::Consent)))
            .map(|reading| reading.contact.clone())
            .collect();
        assert_eq!(read.len(), ids.len(), "{rows}");
    }
}

#[tokio::test]
async fn c22_a_row_that_becomes_visible_late_is_still_read() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    // A transaction that took its time stamp five minutes before it was committed.
    let early = bench.drain(Some(start.cursor)).await;
    let stamp = bench.tenant().now() - chrono::TimeDelta::seconds(300);
    bench
        .tenant()
        .set_consent(id, &NewConsent::new("EMARKETING", "61A").at(stamp), STAFF)
        .unwrap();
    bench.wait(60);
    let late = bench.drain(Some(early.cursor)).await;
    let reading = late.last(&id.to_string()).unwrap();
    assert_eq!(value(reading, MARKETING), Some(&granted(Basis::Consent)));
    let (_, at, _) = said(reading, MARKETING).unwrap();
    assert_eq!(
        at.micros() / 1_000_000,
        At::from(stamp).micros() / 1_000_000
    );
}

#[tokio::test]
async fn c25_deletions_restorations_and_merges_arrive() {
    for shows in [false, true] {
        let bench = Bench::with(|crm| crm.deleted_rows_show = shows, |_| {}).await;
        let ids = bench.people(5);
        bench.wait(3_600);
        let start = bench.drain(None).await;
        bench.wait(60);
        bench.tenant().delete(ids[0], STAFF).unwrap();
        bench.tenant().merge(ids[1], ids[2], true, STAFF).unwrap();
        bench.tenant().merge(ids[3], ids[4], false, STAFF).unwrap();
        bench.wait(60);
        let drained = bench.drain(Some(start.cursor)).await;
        let life = |id: i64| match drained.last(&id.to_string()) {
            Some(reading) => reading.life.clone(),
            None => panic!("{id} is not told of: {shows}, {ids:?}"),
        };
        assert_eq!(life(ids[0]), Life::Deleted);
        assert_eq!(
            life(ids[1]),
            Life::Merged {
                into: ids[2].to_string()
            }
        );
        assert_eq!(life(ids[2]), Life::Live);
        assert_eq!(life(ids[3]), Life::Live, "it stays, as one who has left");
        let lives: BTreeSet<String> = drained
            .of(&ids[1].to_string())
            .iter()
            .map(|reading| format!("{:?}", reading.life))
            .collect();
        assert_eq!(
            lives.len(),
            1,
            "whichever list tells, it tells the same: {lives:?}"
        );
        // No list tells of a restoration that does not touch the person: the sweep does.
        bench.tenant().restore(ids[0], STAFF).unwrap();
        bench.wait(2 * 86_400);
        let drained = bench.drain(Some(drained.cursor)).await;
        let last = drained.of(&ids[0].to_string());
        assert_eq!(last.last().unwrap().life, Life::Live, "{last:?}");
    }
}

#[tokio::test]
async fn c25_a_merge_shows_the_survivors_consents_either_way() {
    for newer in [false, true] {
        let bench = Bench::with(|crm| crm.merge_newer_wins = newer, |_| {}).await;
        let ids = bench.people(2);
        bench.consent(ids[1], "EMARKETING", "61A");
        bench.wait(60);
        bench.consent(ids[0], "EMARKETING", "WITHDRAWN");
        bench.wait(3_600);
        let start = bench.drain(None).await;
        bench.wait(60);
        bench.tenant().merge(ids[0], ids[1], true, STAFF).unwrap();
        bench.wait(60);
        let drained = bench.drain(Some(start.cursor)).await;
        let shown = value(drained.last(&ids[1].to_string()).unwrap(), MARKETING);
        let expected = if newer {
            WITHDRAWN
        } else {
            granted(Basis::Consent)
        };
        assert_eq!(shown, Some(&expected), "{newer}");
    }
}

#[tokio::test]
async fn c25_without_the_log_of_merges_a_merged_person_is_deleted() {
    let bench = Bench::with(|_| {}, |settings| settings.merge_log = false).await;
    let ids = bench.people(2);
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench.tenant().merge(ids[0], ids[1], true, STAFF).unwrap();
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    assert_eq!(
        drained.last(&ids[0].to_string()).unwrap().life,
        Life::Deleted
    );
}

#[tokio::test]
async fn c26_a_changed_address_arrives_though_the_person_is_not_touched() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench
        .tenant()
        .set_addresses(id, &["ann@example.net", "ann@example.org"], STAFF)
        .unwrap();
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    assert_eq!(
        drained.last(&id.to_string()).unwrap().address.as_deref(),
        Some("ann@example.net")
    );
}

#[tokio::test]
async fn c26_two_people_who_swap_addresses_between_polls_both_arrive() {
    let bench = Bench::new().await;
    let ids = bench.people(2);
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench
        .tenant()
        .set_addresses(ids[0], &["p1@example.org"], STAFF)
        .unwrap();
    bench
        .tenant()
        .set_addresses(ids[1], &["p0@example.org"], STAFF)
        .unwrap();
    bench.wait(60);
    let drained = bench.drain(Some(start.cursor)).await;
    for (id, address) in [(ids[0], "p1@example.org"), (ids[1], "p0@example.org")] {
        let reading = drained.last(&id.to_string()).unwrap();
        assert_eq!(reading.address.as_deref(), Some(address));
    }
}

#[tokio::test]
async fn c96_a_consent_that_was_removed_shows_in_the_sweep() {
    for remove_withdraws in [false, true] {
        let bench = Bench::with(
            |crm| crm.remove_withdraws = remove_withdraws,
            |settings| settings.sweep_interval = Duration::from_hours(6),
        )
        .await;
        let id = bench.person(&["ann@example.org"]);
        bench.consent(id, "EMARKETING", "61A");
        bench.wait(3_600);
        let start = bench.drain(None).await;
        bench.wait(60);
        bench
            .tenant()
            .remove_consent(id, "EMARKETING", STAFF)
            .unwrap();
        bench.wait(60);
        let early = bench.drain(Some(start.cursor)).await;
        assert!(early.pages.iter().all(|page| !page.load), "no sweep is due");
        bench.wait(6 * 3_600);
        let swept = bench.drain(Some(early.cursor)).await;
        let reading = swept.last(&id.to_string()).unwrap();
        assert!(
            value(reading, MARKETING) == Some(&Shown::Default)
                || value(reading, MARKETING) == Some(&WITHDRAWN),
            "{remove_withdraws}"
        );
        assert!(swept.pages.iter().any(|page| page.load));
        assert!(!swept.pages.first().unwrap().load, "changes come first");
        let later = bench.drain(Some(swept.cursor)).await;
        assert!(
            later.pages.iter().all(|page| !page.load),
            "one sweep is enough"
        );
    }
}

#[tokio::test]
async fn c98_a_person_who_is_gone_for_good_says_so_when_asked_for() {
    for status in [404, 500] {
        let bench = Bench::with(|crm| crm.unknown_person_status = status, |_| {}).await;
        let ids = bench.people(3);
        bench.tenant().purge(ids[0], STAFF).unwrap();
        bench.tenant().delete(ids[1], STAFF).unwrap();
        let wanted = consentd::connector::Wanted {
            addresses: Vec::new(),
            contacts: ids
                .iter()
                .map(|id| crate::bench::target(&id.to_string()))
                .collect(),
        };
        let found = bench.connector.look_up(&wanted).await.unwrap();
        let life = |id: i64| {
            let id = id.to_string();
            found
                .readings
                .iter()
                .find(|reading| reading.contact == id)
                .map(|reading| reading.life.clone())
        };
        assert_eq!(life(ids[0]), Some(Life::Deleted), "{status}");
        assert_eq!(life(ids[1]), Some(Life::Deleted));
        assert_eq!(life(ids[2]), Some(Life::Live));
    }
}

#[tokio::test]
async fn c98_a_person_whom_only_the_archive_hides_is_not_deleted() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.connector.probe().await.unwrap();
    // The archive shows something else in this person's place.
    bench
        .tenant()
        .set_fault(Fault::RawRecord {
            id: format!("person:{id}"),
            json: r#"{"personId":777777,"email/emailAddress":null,"personRegisteredDate":"2026-01-01T00:00:00","retired":false}"#.to_owned(),
        })
        .unwrap();
    let wanted = consentd::connector::Wanted {
        addresses: Vec::new(),
        contacts: vec![crate::bench::target(&id.to_string())],
    };
    let found = bench.connector.look_up(&wanted).await.unwrap();
    assert!(
        found
            .readings
            .iter()
            .all(|reading| reading.contact != id.to_string())
    );
    assert_eq!(found.poison[0].id, id.to_string());
    assert!(found.poison[0].reason.contains("access"));
}

#[tokio::test]
async fn c30_a_feed_that_fell_behind_the_recycle_bin_starts_a_sweep() {
    let bench = Bench::filled(20, |_| {}, |_| {}).await;
    let start = bench.drain(None).await;
    bench.wait(20 * 86_400);
    let drained = bench.drain(Some(start.cursor)).await;
    let swept: BTreeSet<&str> = drained
        .pages
        .iter()
        .filter(|page| page.load)
        .flat_map(|page| &page.readings)
        .map(|reading| reading.contact.as_str())
        .collect();
    assert_eq!(swept.len(), bench.tenant().person_count());
}

#[tokio::test]
async fn c31_an_idle_poll_asks_each_list_once() {
    let bench = Bench::filled(20, |_| {}, |_| {}).await;
    let start = bench.drain(None).await;
    bench.wait(2_000);
    let idle = bench.drain(Some(start.cursor)).await;
    bench.tenant().reset_calls();
    bench.wait(60);
    let idle = bench.drain(Some(idle.cursor)).await;
    assert!(idle.readings().is_empty());
    assert_eq!(idle.pages.len(), 1);
    assert_eq!(
        bench.tenant().calls().counted,
        5,
        "consents, people, addresses, deletions, merges"
    );
}

#[tokio::test]
async fn c27_a_window_that_is_resumed_by_another_process_goes_on() {
    let bench = Bench::with(|_| {}, |settings| settings.page_rows = 100).await;
    let ids = bench.people(350);
    bench.wait(3_600);
    let start = bench.drain(None).await;
    bench.wait(60);
    bench
        .tenant()
        .bulk_update(&ids, &NewConsent::new("EMARKETING", "61A"), STAFF)
        .unwrap();
    bench.wait(60);
    let first = bench.connector.read(Some(&start.cursor)).await.unwrap();
    assert!(first.more);
    let mut settings = settings(&bench.sandbox);
    settings.page_rows = 100;
    let rest = drain(&*connector(&settings), Some(first.next.clone()))
        .await
        .unwrap();
    for id in ids {
        let id = id.to_string();
        let told = first
            .readings
            .iter()
            .chain(rest.readings())
            .filter(|reading| reading.contact == id)
            .any(|reading| value(reading, MARKETING) == Some(&granted(Basis::Consent)));
        assert!(told, "{id}");
    }
}

#[tokio::test]
async fn c32_trouble_in_the_middle_moves_nothing() {
    let bench = Bench::with(|_| {}, |settings| settings.page_rows = 100).await;
    let ids = bench.people(250);
    bench
        .tenant()
        .set_fault(
            Rule::from(Fault::UnavailableJson)
                .after(9)
                .times(1)
                .calls(&[CallKind::Archive]),
        )
        .unwrap();
    let mut cursor = None;
    let mut read = BTreeSet::new();
    let mut failed = 0;
    for _ in 0..40 {
        match bench.connector.read(cursor.as_ref()).await {
            Ok(page) => {
                read.extend(page.readings.iter().map(|reading| reading.contact.clone()));
                cursor = Some(page.next.clone());
                if !page.more {
                    break;
                }
            }
            Err(_) => failed += 1,
        }
    }
    assert_eq!((failed, read.len()), (1, ids.len()));
}
