//! Consent: an append-only log by address and purpose.

use chrono::{DateTime, TimeDelta, Utc};
use consentd_sandbox::emarketeer::{FilterScope, Identical, SuppliedTime, master};
use consentd_sandbox::{Options, Sandbox};
use reqwest::Method;
use serde_json::json;

use super::{CONSENTS, Em, MARKETING, STORE};
use crate::client::read;

const ANN: &str = "ann@x.example";

#[tokio::test]
async fn master_data_has_other_ids_for_every_tenant() {
    let one = Em::start(0).await;
    let other = Sandbox::start(Options {
        contacts: 0,
        seed: 8,
        port_base: None,
    })
    .await
    .unwrap();
    let kind = consentd_sandbox::emarketeer::Kind::LegalBasis;
    let bases = one.account().master_data(kind);
    assert_eq!(bases.len(), 7);
    for (here, there) in bases.iter().zip(other.emarketeer().master_data(kind)) {
        assert_eq!(here.name, there.name);
        assert_ne!(here.id, there.id, "{}", here.name);
        assert_eq!(
            one.basis(&here.name),
            json!(here.id),
            "the API shows the tenant's id"
        );
    }
}

#[tokio::test]
async fn the_newest_record_of_each_purpose_is_current_and_the_history_keeps_all() {
    let em = Em::start(0).await;
    let (status, stored) = em
        .create(em.record(" Ann@X.Example ", MARKETING, "Consent"))
        .await;
    assert_eq!((status.as_u16(), &stored["key"]), (200, &json!(ANN)));
    let at: DateTime<Utc> = stored["createdAt"].as_str().unwrap().parse().unwrap();
    assert!(
        (em.account().now() - at).num_seconds().abs() < 5,
        "the server stamps"
    );
    assert!(stored["createdAt"].as_str().unwrap().ends_with('Z'));
    em.create(em.record(ANN, STORE, "Contract")).await;
    em.create(em.record(ANN, MARKETING, "Withdrawn")).await;

    let current = em.ok(&format!("{CONSENTS}?key=ANN@x.example")).await;
    assert_eq!(
        current.as_array().unwrap().len(),
        2,
        "one record a purpose: {current}"
    );
    assert_eq!(em.marketing(ANN).await.as_deref(), Some("Withdrawn"));
    let history = em.ok(&format!("{CONSENTS}/history?key={ANN}")).await;
    let bases: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["legalBasisId"].clone())
        .collect();
    assert_eq!(
        bases,
        [
            em.basis("Withdrawn"),
            em.basis("Contract"),
            em.basis("Consent")
        ],
        "newest first"
    );

    assert_eq!(
        em.ok(&format!("{CONSENTS}?key=nobody@x.example")).await,
        json!([])
    );
    assert_eq!(
        em.ok(&format!("{CONSENTS}/history?key=nobody@x.example"))
            .await,
        json!([])
    );
    assert_eq!(em.account().calls().records_written, 3);
}

#[tokio::test]
async fn an_earlier_record_is_kept_and_changes_nothing() {
    let em = Em::start(0).await;
    em.create(em.record(ANN, MARKETING, "Withdrawn")).await;
    let mut earlier = em.record(ANN, MARKETING, "Consent");
    earlier["createdAt"] = json!("2024-02-03T04:05:06Z");
    let (status, stored) = em.create(earlier.clone()).await;
    assert_eq!(
        (status.as_u16(), &stored["createdAt"]),
        (200, &json!("2024-02-03T04:05:06Z"))
    );
    assert_eq!(em.marketing(ANN).await.as_deref(), Some("Withdrawn"));
    assert_eq!(em.account().history(ANN).len(), 2);

    earlier["createdAt"] = json!((em.account().now() + TimeDelta::hours(1)).to_rfc3339());
    assert_eq!(
        em.create(earlier.clone()).await.0,
        400,
        "nobody consents in the future"
    );

    em.account()
        .change_settings(|settings| settings.supplied_time = SuppliedTime::Refused);
    assert_eq!(em.create(earlier.clone()).await.0, 400);
    em.account()
        .change_settings(|settings| settings.supplied_time = SuppliedTime::Ignored);
    assert_eq!(em.create(earlier).await.0, 200);
    assert_eq!(
        em.marketing(ANN).await.as_deref(),
        Some("Consent"),
        "stamped with now"
    );
}

#[tokio::test]
async fn what_is_not_a_record_is_refused_in_two_messages() {
    let em = Em::start(0).await;
    let good = em.record(ANN, MARKETING, "Consent");
    let with = |name: &str, value: serde_json::Value| {
        let mut record = good.clone();
        record[name] = value;
        record
    };
    let without = |name: &str| {
        let mut record = good.clone();
        record.as_object_mut().unwrap().remove(name);
        record
    };
    let cases = [
        ("no key", without("key")),
        ("no address", with("key", json!("ann"))),
        (
            "an address that is not simple",
            with("key", json!("ann!b@x.example")),
        ),
        (
            "an address with letters beyond ASCII",
            with("key", json!("jörg@x.example")),
        ),
        ("no purpose", without("purposeId")),
        ("a purpose of another tenant", with("purposeId", json!(1))),
        ("an unknown basis", with("legalBasisId", json!(99))),
        (
            "a purpose as basis",
            with("legalBasisId", em.purpose(MARKETING)),
        ),
        ("an unknown source", with("sourceId", json!(null))),
        ("a time that is none", with("createdAt", json!("yesterday"))),
        ("a list", json!([good])),
        ("nothing", json!(null)),
    ];
    let count = cases.len() as u64;
    for (what, record) in cases {
        let (status, body) = em.create(record).await;
        assert_eq!(status, 400, "{what}: {body}");
        assert!(
            body["developerMessage"].is_string() && body["userMessage"].is_string(),
            "{what}: {body}"
        );
    }
    let torn = em
        .request(Method::POST, CONSENTS)
        .body("{\"key\":")
        .send()
        .await
        .unwrap();
    assert_eq!(read(torn).await.0, 400);
    assert_eq!(em.account().record_count(), 0);
    assert_eq!(em.account().calls().records_refused, count + 1);
    assert_eq!(
        em.get(&format!("{CONSENTS}/history")).await.0,
        400,
        "whose history?"
    );
}

#[tokio::test]
async fn the_filter_honours_purpose_and_time_and_pages() {
    let em = Em::start(0).await;
    let at = |minute: u32| -> DateTime<Utc> {
        format!("2026-01-05T10:{minute:02}:00Z").parse().unwrap()
    };
    for minute in 0..10 {
        let purpose = if minute % 2 == 0 { MARKETING } else { STORE };
        let address = format!("p{minute}@x.example");
        em.account()
            .set_basis(
                &address,
                purpose,
                "Consent",
                "Web form",
                None,
                Some(at(minute)),
            )
            .unwrap();
    }
    // The first of them changes its mind: its first record is no longer current.
    em.account()
        .set_basis(
            "p0@x.example",
            MARKETING,
            "Withdrawn",
            "Web form",
            None,
            Some(at(20)),
        )
        .unwrap();
    let filter = |query: String| {
        let em = &em;
        async move {
            let rows = em.ok(&format!("{CONSENTS}/filter?{query}")).await;
            let keys = rows
                .as_array()
                .unwrap()
                .iter()
                .map(|row| row["key"].as_str().unwrap()[..2].to_owned());
            keys.collect::<Vec<_>>()
        }
    };
    let marketing = em.purpose(MARKETING);
    assert_eq!(
        filter(format!("purposeId={marketing}")).await,
        ["p2", "p4", "p6", "p8", "p0"]
    );
    let window = "createdFrom=2026-01-05T10:06:00Z&createdTo=2026-01-05T10:08:00%2B00:00";
    assert_eq!(
        filter(window.to_owned()).await,
        ["p6", "p7", "p8"],
        "both ends included"
    );
    let mut paged = Vec::new();
    for offset in [0, 4, 8, 12] {
        paged.extend(filter(format!("limit=4&offset={offset}")).await);
    }
    assert_eq!(
        paged,
        ["p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p0"]
    );

    em.account().change_settings(|settings| {
        settings.filter_scope = FilterScope::All;
        settings.filter_rows = 3;
        settings.filter_newest_first = true;
    });
    assert_eq!(
        filter(format!("purposeId={marketing}&limit=50")).await,
        ["p0", "p8", "p6"]
    );
    assert_eq!(
        filter(format!("purposeId={marketing}&offset=5")).await,
        ["p0"],
        "the first record too"
    );
    em.account().change_settings(|settings| {
        settings.filter_honours_purpose = false;
        settings.filter_honours_since = false;
        settings.filter_rows = 100;
    });
    assert_eq!(
        filter(format!("purposeId={marketing}&{window}"))
            .await
            .len(),
        11,
        "both are ignored"
    );

    for query in ["createdFrom=yesterday", "purposeId=1", "limit=x", "limit=0"] {
        assert_eq!(
            em.get(&format!("{CONSENTS}/filter?{query}")).await.0,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn without_a_key_the_whole_account_is_listed() {
    let em = Em::start(0).await;
    for number in 0..5 {
        let address = format!("p{number}@x.example");
        em.create(em.record(&address, MARKETING, "Consent")).await;
        em.create(em.record(&address, MARKETING, "Withdrawn")).await;
    }
    let all = em.ok(CONSENTS).await;
    assert_eq!(all.as_array().unwrap().len(), 5, "current records only");
    em.account()
        .change_settings(|settings| settings.list_rows = Some(2));
    let page = em.ok(&format!("{CONSENTS}?offset=4&limit=100")).await;
    assert_eq!(page.as_array().unwrap().len(), 1);
    assert_eq!(em.account().calls().full_listings, 2);
    assert_eq!(
        em.get(&format!("{CONSENTS}?key=")).await.0,
        400,
        "an empty key is not no key"
    );
}

#[tokio::test]
async fn a_repeated_statement_is_appended_ignored_or_refused() {
    let em = Em::start(0).await;
    let record = em.record(ANN, MARKETING, master::CONSENT);
    em.create(record.clone()).await;
    assert_eq!(em.create(record.clone()).await.0, 200);
    assert_eq!(em.account().record_count(), 2);
    em.account()
        .change_settings(|settings| settings.identical = Identical::Ignored);
    let (status, shown) = em.create(record.clone()).await;
    assert_eq!((status.as_u16(), &shown["key"]), (200, &json!(ANN)));
    em.account()
        .change_settings(|settings| settings.identical = Identical::Refused);
    assert_eq!(em.create(record).await.0, 400);
    assert_eq!(em.account().record_count(), 2);
    let calls = em.account().calls();
    assert_eq!(
        (
            calls.records_written,
            calls.records_repeated,
            calls.records_refused
        ),
        (2, 3, 1)
    );
}

#[tokio::test]
async fn several_records_are_created_at_once_where_the_account_takes_them() {
    let em = Em::start(0).await;
    em.account()
        .change_settings(|settings| settings.create_rows = 3);
    let good = em.record(ANN, MARKETING, "Consent");
    let (status, stored) = em
        .create(json!([good, em.record(ANN, STORE, "Contract")]))
        .await;
    assert_eq!(
        (status.as_u16(), stored.as_array().unwrap().len()),
        (200, 2)
    );
    let (status, _) = em
        .create(json!([good, em.record("ann", STORE, "Contract")]))
        .await;
    assert_eq!(status, 400);
    assert_eq!(em.create(json!([good, good, good, good])).await.0, 400);
    assert_eq!(em.account().record_count(), 2, "all or none");
}
