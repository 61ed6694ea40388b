//! Servers that refuse the best way to the data: the next best tells the same.

use super::bench::*;
use crate::bench::{target, value};
use consentd::connector::superoffice::config::{ConsentFeed, Settings};
use consentd::connector::{FaultClass, Outcome, Wanted};
use consentd::consent::Basis;
use consentd_sandbox::CallKind;
use consentd_sandbox::superoffice::Settings as Crm;
use std::time::Duration;

type Tenant = fn(&mut Crm);
type Ours = fn(&mut Settings);

/// Every kind of server, and whether new consents and changed addresses show before the sweep.
const SERVERS: [(&str, Tenant, Ours, bool); 9] = [
    ("the best way", |_| {}, |_| {}, true),
    (
        "no consents in the dynamic archive",
        |crm| crm.dynamic_consents = false,
        |_| {},
        false,
    ),
    (
        "the same, and the archive shows the registration of a row that was never updated",
        |crm| {
            crm.dynamic_consents = false;
            crm.updated_falls_back = true;
        },
        |_| {},
        true,
    ),
    (
        "no dynamic archive at all",
        |crm| crm.dynamic_archive = false,
        |_| {},
        false,
    ),
    (
        "dates of people take days only",
        |crm| crm.date_columns_take_times = false,
        |_| {},
        true,
    ),
    (
        "days only, and refusals are server errors",
        |crm| {
            crm.date_columns_take_times = false;
            crm.dynamic_consents = false;
            crm.updated_falls_back = true;
            crm.refused_operator_status = 500;
        },
        |_| {},
        true,
    ),
    (
        "an old server onsite",
        |crm| *crm = Crm::old_onsite(),
        |_| {},
        false,
    ),
    (
        "by the archive, because we say so",
        |_| {},
        |settings| settings.consent_feed = ConsentFeed::Archive,
        false,
    ),
    (
        "one person at a time, because we say so",
        |_| {},
        |settings| settings.consent_feed = ConsentFeed::Persons,
        false,
    ),
];

#[tokio::test]
async fn c99_every_way_tells_the_same_in_the_end() {
    for (sentence, tenant, ours, early) in SERVERS {
        let bench = Bench::with(tenant, |settings| {
            settings.sweep_interval = Duration::from_hours(6);
            ours(settings);
        })
        .await;
        let ids = bench.people(12);
        bench.consent(ids[0], "EMARKETING", "61A");
        bench.wait(2 * 86_400);
        let probe = bench.connector.probe().await;
        let probe = probe.unwrap_or_else(|fault| panic!("{sentence}: {fault}"));
        assert_eq!(probe.missing, [""; 0], "{sentence}");
        let start = bench.drain(None).await;
        let of = |id: i64, purpose| {
            value(start.last(&id.to_string()).unwrap(), purpose)
                .cloned()
                .unwrap()
        };
        assert_eq!(of(ids[0], MARKETING), granted(Basis::Consent), "{sentence}");
        assert_eq!(
            of(ids[1], STORE),
            granted(Basis::LegitimateInterests),
            "{sentence}"
        );
        let (_, at, by) = said(start.last(&ids[0].to_string()).unwrap(), MARKETING).unwrap();
        assert!(
            at < bench.now().minus(86_400_000_000) && by.is_some(),
            "{sentence}"
        );
        bench.wait(60);
        bench.consent(ids[0], "EMARKETING", "WITHDRAWN");
        bench.consent(ids[1], "EMARKETING", "61B");
        bench
            .tenant()
            .set_addresses(ids[2], &["new@example.org"], STAFF)
            .unwrap();
        bench.tenant().delete(ids[3], STAFF).unwrap();
        bench.wait(60);
        let next = bench.drain(Some(start.cursor.clone())).await;
        let changed = next.last(&ids[0].to_string());
        assert_eq!(
            changed.and_then(|reading| value(reading, MARKETING)),
            Some(&WITHDRAWN),
            "{sentence}: a withdrawal never waits for the sweep"
        );
        assert!(
            !next.last(&ids[3].to_string()).unwrap().life.is_live(),
            "{sentence}"
        );
        if early {
            let granted_now = next.last(&ids[1].to_string()).unwrap();
            assert_eq!(
                value(granted_now, MARKETING),
                Some(&granted(Basis::Contract)),
                "{sentence}"
            );
        }
        bench.wait(7 * 3_600);
        let swept = bench.drain(Some(next.cursor)).await;
        let last = swept.last(&ids[1].to_string()).unwrap();
        assert_eq!(
            value(last, MARKETING),
            Some(&granted(Basis::Contract)),
            "{sentence}"
        );
        let last = swept.last(&ids[2].to_string()).unwrap();
        assert_eq!(
            last.address.as_deref(),
            Some("new@example.org"),
            "{sentence}"
        );
    }
}

#[tokio::test]
async fn c99_every_way_looks_up_and_writes() {
    for (sentence, tenant, ours, _) in SERVERS {
        let bench = Bench::with(tenant, ours).await;
        let ann = bench.person(&["ann@example.org", "ann@work.example"]);
        let bob = bench.person(&["bob@example.org"]);
        let wanted = Wanted {
            addresses: vec!["ann@work.example".to_owned()],
            contacts: vec![target(&bob.to_string()), target("4711")],
        };
        let found = bench.connector.look_up(&wanted).await;
        let found = found.unwrap_or_else(|fault| panic!("{sentence}: {fault}"));
        let contacts: Vec<&str> = found
            .readings
            .iter()
            .map(|reading| reading.contact.as_str())
            .collect();
        let (ann_id, bob_id) = (ann.to_string(), bob.to_string());
        assert_eq!(
            contacts,
            [ann_id.as_str(), bob_id.as_str(), "4711"],
            "{sentence}"
        );
        assert_eq!(
            found.readings[0].address.as_deref(),
            Some("ann@example.org"),
            "{sentence}"
        );
        assert_eq!(
            found.further_addresses,
            [(ann_id.clone(), "ann@work.example".to_owned())],
            "{sentence}"
        );
        let outcomes = bench
            .connector
            .write(&[
                set(ann, MARKETING, WITHDRAWN),
                set(bob, STORE, granted(Basis::Contract)),
            ])
            .await
            .unwrap();
        assert_eq!(outcomes, [Outcome::Applied, Outcome::Applied], "{sentence}");
        assert_eq!(
            bench.base_of(ann, "EMARKETING").as_deref(),
            Some("WITHDRAWN")
        );
        assert_eq!(bench.base_of(bob, "STORE").as_deref(), Some("61B"));
        let now = bench.connector.current(&[target(&ann_id)]).await.unwrap();
        assert!(format!("{now:?}").contains("Withdrawn"), "{sentence}");
    }
}

#[tokio::test]
async fn c99_what_is_missing_is_told_by_the_probe() {
    let notes = async |tenant: Tenant| {
        let bench = Bench::with(tenant, |_| {}).await;
        bench.connector.probe().await.unwrap().notes.join("\n")
    };
    assert_eq!(notes(|_| {}).await, "");
    let by_archive = notes(|crm| crm.dynamic_consents = false).await;
    assert!(
        by_archive.contains("ConsentPurpose") && by_archive.contains("86400"),
        "{by_archive}"
    );
    let none = notes(|crm| crm.dynamic_archive = false).await;
    assert!(
        none.contains("merges") && none.contains("addresses"),
        "{none}"
    );
}

#[tokio::test]
async fn c99_a_way_that_is_insisted_on_and_refused_is_told() {
    let bench = Bench::with(
        |crm| crm.dynamic_consents = false,
        |settings| settings.consent_feed = ConsentFeed::Rows,
    )
    .await;
    let fault = bench.connector.probe().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "consent-feed")
    );
}

#[tokio::test]
async fn c99_trouble_is_no_refusal() {
    let bench = Bench::new().await;
    bench
        .tenant()
        .set_fault(
            consentd_sandbox::Rule::from(consentd_sandbox::Fault::UnavailableHtml)
                .calls(&[CallKind::Archive]),
        )
        .unwrap();
    assert_eq!(
        bench.connector.read(None).await.unwrap_err().class,
        FaultClass::Retryable
    );
    bench.tenant().clear_faults(None);
    let id = bench.person(&["ann@example.org"]);
    bench.drain(None).await;
    assert_eq!(
        bench.tenant().calls().of(CallKind::ConsentRead),
        0,
        "{id} is read with all others"
    );
}

#[tokio::test]
async fn c99_a_server_that_ceases_to_offer_a_way_is_asked_anew() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    let start = bench.drain(None).await;
    bench
        .tenant()
        .change_settings(|crm| crm.dynamic_consents = false);
    bench.wait(60);
    let fault = bench.connector.read(Some(&start.cursor)).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Rejected);
    let next = bench.drain(Some(start.cursor)).await;
    assert!(next.last(&id.to_string()).is_some());
}

#[tokio::test]
async fn c110_times_of_filters_are_written_in_the_servers_zone() {
    for (minutes, zone, seen) in [
        (0, chrono_tz::Tz::UTC, true),
        (60, chrono_tz::Tz::Etc__GMTMinus1, true),
        (-480, chrono_tz::Tz::Etc__GMTPlus8, true),
        // A server west of us that is written to in UTC hides what is fresh.
        (-480, chrono_tz::Tz::UTC, false),
    ] {
        let bench = Bench::with(
            |crm| crm.filter_offset_minutes = minutes,
            |settings| settings.filter_time_zone = zone,
        )
        .await;
        let id = bench.person(&["ann@example.org"]);
        bench.wait(86_400 / 2);
        let start = bench.drain(None).await;
        bench.wait(60);
        bench.consent(id, "STORE", "61A");
        bench.wait(60);
        let next = bench.drain(Some(start.cursor)).await;
        assert_eq!(
            next.last(&id.to_string()).is_some(),
            seen,
            "{minutes} {zone}"
        );
    }
}
