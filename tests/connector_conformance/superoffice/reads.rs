//! Keys, persons, consents, addresses.

use super::bench::*;
use crate::bench::{target, value};
use consentd::connector::superoffice::config::Retired;
use consentd::connector::{Current, FaultClass, Wanted};
use consentd::consent::{Basis, Evidence, Life, Shown};
use consentd_sandbox::superoffice::{NewConsent, Settings as Crm};
use consentd_sandbox::{CallKind, Fault, Rule};
use std::collections::BTreeSet;

#[tokio::test]
async fn c93_what_the_tenants_lists_lack_is_named_with_what_to_do() {
    let bench = Bench::with(
        |_| {},
        |settings| {
            settings.purposes[1].1 = "PROFILING".to_owned();
            settings.bases[1].written = "MYBASE".to_owned();
            settings.source = "CONSENTD".to_owned();
        },
    )
    .await;
    let probe = bench.connector.probe().await.unwrap();
    let named: Vec<&str> = probe
        .missing
        .iter()
        .map(|text| text.split(':').next().unwrap())
        .collect();
    assert_eq!(
        named,
        [
            "purpose PROFILING does not exist",
            "legal basis MYBASE does not exist",
            "source CONSENTD does not exist"
        ]
    );
    assert_eq!(bench.tenant().calls().of(CallKind::ConsentWrite), 0);
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "missing-key")
    );
    bench
        .tenant()
        .add_purpose("PROFILING", "Profiling")
        .unwrap();
    assert_eq!(bench.connector.probe().await.unwrap().missing.len(), 2);
    assert!(
        bench.connector.read(None).await.is_ok(),
        "reading needs the purposes only"
    );
}

#[tokio::test]
async fn c93_keys_are_found_in_the_form_of_old_servers() {
    for legacy in [false, true] {
        let bench = Bench::with(
            |crm| {
                *crm = Crm {
                    legacy_keys: legacy,
                    ..Crm::onsite()
                };
            },
            |_| {},
        )
        .await;
        let id = bench.person(&["ann@example.org"]);
        bench.consent(id, "EMARKETING", "61A");
        assert_eq!(bench.connector.probe().await.unwrap().missing, [""; 0]);
        let start = bench.drain(None).await;
        let reading = start.last(&id.to_string()).unwrap();
        assert_eq!(
            value(reading, MARKETING),
            Some(&granted(Basis::Consent)),
            "{legacy}"
        );
        bench
            .connector
            .write(&[set(id, MARKETING, WITHDRAWN)])
            .await
            .unwrap();
        assert_eq!(
            bench.base_of(id, "EMARKETING").as_deref(),
            Some("WITHDRAWN"),
            "{legacy}"
        );
    }
}

#[tokio::test]
async fn c94_a_consent_tells_when_and_by_whom_it_was_set() {
    for zone in [false, true] {
        let bench = Bench::with(|crm| crm.min_value_zone = zone, |_| {}).await;
        let id = bench.person(&["Ann@Example.org"]);
        let created = bench.now();
        bench.wait(3_600);
        bench.consent(id, "STORE", "61B");
        bench.consent(id, "EMARKETING", "WITHDRAWN");
        let changed = bench.now();
        bench.wait(60);
        let start = bench.drain(None).await;
        assert!(start.pages[0].load);
        let reading = start.last(&id.to_string()).unwrap();
        assert!(reading.whole);
        assert_eq!(reading.address.as_deref(), Some("Ann@Example.org"));
        let second = |at: consentd::consent::At| at.micros().div_euclid(1_000_000);
        assert_eq!(reading.created.map(second), Some(second(created)));
        assert_eq!(reading.life, Life::Live);
        let (store, at, by) = said(reading, STORE).unwrap();
        assert_eq!(
            store,
            &granted(Basis::Contract),
            "an update counts from the update"
        );
        assert_eq!(second(at), second(changed));
        assert!(by.is_some());
        let (marketing, at, _) = said(reading, MARKETING).unwrap();
        assert_eq!(
            marketing, &WITHDRAWN,
            "a new row counts from its registration"
        );
        assert_eq!(second(at), second(changed));
        assert!(
            reading
                .told
                .iter()
                .all(|told| told.evidence == Evidence::Explicit)
        );
        assert_eq!(
            reading.modified, None,
            "the person's own time is no consent time"
        );
    }
}

#[tokio::test]
async fn c94_no_row_is_the_default_and_an_unmapped_basis_is_kept() {
    let bench = Bench::with(|crm| crm.consent_for_new = false, |_| {}).await;
    let id = bench.person(&["ann@example.org"]);
    bench.consent(id, "EMARKETING", "61C");
    let start = bench.drain(None).await;
    let reading = start.last(&id.to_string()).unwrap();
    assert_eq!(value(reading, STORE), Some(&Shown::Default));
    assert_eq!(
        value(reading, MARKETING),
        Some(&granted(Basis::Other("61C".to_owned())))
    );
}

#[tokio::test]
async fn c10_a_load_shows_everybody_whatever_the_size_of_pages() {
    for (rows, link) in [(10_000, "null"), (70, "link"), (23, "absent")] {
        let bench = Bench::filled(
            300,
            |crm| {
                crm.archive_rows = rows;
                crm.next_link = serde_json::from_str(&format!("\"{link}\"")).unwrap();
            },
            |settings| settings.page_rows = 100,
        )
        .await;
        let start = bench.drain(None).await;
        let read: BTreeSet<String> = start
            .readings()
            .iter()
            .map(|reading| reading.contact.clone())
            .collect();
        let known = bench.tenant().person_ids(10_000);
        assert_eq!(
            read,
            known.iter().map(i64::to_string).collect::<BTreeSet<_>>(),
            "{rows}"
        );
        for id in known {
            let person = bench.tenant().person(id).unwrap();
            let reading = start.last(&id.to_string()).unwrap();
            assert_eq!(
                reading.address.as_deref(),
                person.addresses.first().map(String::as_str)
            );
            for (purpose, key) in [(MARKETING, "EMARKETING"), (STORE, "STORE")] {
                assert_eq!(
                    value(reading, purpose) == Some(&Shown::Default),
                    person.consent(key).is_none(),
                    "{rows}: {key} of {id}"
                );
            }
        }
    }
}

#[tokio::test]
async fn c14_a_page_can_be_read_again_also_after_a_restart() {
    let bench = Bench::filled(250, |_| {}, |settings| settings.page_rows = 100).await;
    let first = bench.connector.read(None).await.unwrap();
    let again = bench.connector.read(Some(&first.next)).await.unwrap();
    let mut settings = settings(&bench.sandbox);
    settings.page_rows = 100;
    let restarted = connector(&settings).read(Some(&first.next)).await.unwrap();
    assert_eq!(again.readings, restarted.readings);
    assert!(first.more && !again.readings.is_empty());
}

#[tokio::test]
async fn c16_a_record_that_cannot_be_understood_spoils_nobody_else() {
    let row = |person: i64, rest: &str| {
        format!(
            r#"{{"PrimaryKey":"1","EntityName":"consentperson","consentperson.consentperson_id":ROW,"consentperson.person_id":{person},"consentperson.consentpurpose_id.key":"STORE","consentperson.registered":"2026-01-01T00:00:00","consentperson.updated":"0001-01-01T00:00:00"{rest}}}"#
        )
    };
    let bench = Bench::new().await;
    let ids = bench.people(6);
    let row_of = |id: i64| bench.tenant().person(id).unwrap().consents[0].id;
    for (id, rest) in [
        (ids[1], ""),
        (ids[2], r#","consentperson.legalbase_id.key":7"#),
        (
            ids[3],
            r#","consentperson.legalbase_id.key":"61A","consentperson.legalbase_id.key":"WITHDRAWN""#,
        ),
    ] {
        let json = row(id, rest).replace("ROW", &row_of(id).to_string());
        bench
            .tenant()
            .set_fault(Fault::RawRecord {
                id: format!("consentperson:{}", row_of(id)),
                json,
            })
            .unwrap();
    }
    bench
        .tenant()
        .set_fault(Fault::RawRecord {
            id: format!("person:{}", ids[4]),
            json: format!(r#"{{"personId":{},"email/emailAddress":5}}"#, ids[4]),
        })
        .unwrap();
    let start = bench.drain(None).await;
    let read: BTreeSet<&str> = start
        .readings()
        .iter()
        .map(|reading| reading.contact.as_str())
        .collect();
    let (first, last) = (ids[0].to_string(), ids[5].to_string());
    assert_eq!(read, BTreeSet::from([first.as_str(), last.as_str()]));
    let poison: Vec<(&str, &str)> = start
        .pages
        .iter()
        .flat_map(|page| &page.poison)
        .map(|bad| (bad.id.as_str(), bad.reason.as_str()))
        .collect();
    let reason = |id: i64| {
        let id = id.to_string();
        poison
            .iter()
            .find(|(bad, _)| *bad == id)
            .map_or("", |(_, reason)| reason)
    };
    assert_eq!(
        reason(ids[1]),
        "consent: missing field `consentperson.legalbase_id.key`"
    );
    assert!(
        reason(ids[2]).starts_with("consent: invalid type"),
        "{poison:?}"
    );
    assert_eq!(
        reason(ids[3]),
        "consent: duplicate field `consentperson.legalbase_id.key`"
    );
    assert!(reason(ids[4]).starts_with("person: "), "{poison:?}");
    bench.tenant().clear_faults(None);
    let healed = bench.drain(None).await;
    assert!(ids.iter().all(|id| healed.last(&id.to_string()).is_some()));
}

#[tokio::test]
async fn c16_a_row_of_nobody_makes_everybody_be_asked_alone() {
    let bench = Bench::new().await;
    let ids = bench.people(3);
    bench.consent(ids[1], "EMARKETING", "61A");
    let row = bench.tenant().person(ids[1]).unwrap();
    let row = row.consent("EMARKETING").unwrap().id;
    bench
        .tenant()
        .set_fault(Fault::RawRecord {
            id: format!("consentperson:{row}"),
            json: format!(
                r#"{{"consentperson.consentperson_id":{row},"consentperson.person_id":null}}"#
            ),
        })
        .unwrap();
    let start = bench.drain(None).await;
    assert!(
        start.last(&ids[1].to_string()).is_none(),
        "a consent that cannot be read is not read as none"
    );
    for id in [ids[0], ids[2]] {
        let reading = start.last(&id.to_string()).unwrap();
        assert_eq!(
            value(reading, STORE),
            Some(&granted(Basis::LegitimateInterests))
        );
    }
    assert!(start.pages.iter().any(|page| !page.poison.is_empty()));
}

#[tokio::test]
async fn c97_people_are_found_by_any_address_and_known_by_the_first() {
    let bench = Bench::new().await;
    let ann = bench.person(&["Ann@Example.org", "ann.doe@work.example"]);
    let twin = bench.person(&["ann@example.org"]);
    let bob = bench.person(&["bob@example.org", "o'hara@example.org"]);
    let other = bench.person(&["else@example.org"]);
    bench.person(&[]);
    let wanted = Wanted {
        addresses: [
            "ann@example.org",
            "ann.doe@work.example",
            "o'hara@example.org",
            "x') or personId gt 0 or ('",
            "nobody@example.org",
        ]
        .map(str::to_owned)
        .to_vec(),
        contacts: vec![
            target(&other.to_string()),
            target("999999"),
            target("1 or 1"),
        ],
    };
    let found = bench.connector.look_up(&wanted).await.unwrap();
    let lives: Vec<(String, bool)> = found
        .readings
        .iter()
        .map(|reading| (reading.contact.clone(), reading.life.is_live()))
        .collect();
    assert_eq!(
        lives,
        [
            (ann.to_string(), true),
            (twin.to_string(), true),
            (bob.to_string(), true),
            (other.to_string(), true),
            ("999999".to_owned(), false),
        ]
    );
    assert_eq!(
        found.readings[0].address.as_deref(),
        Some("Ann@Example.org"),
        "the primary address is who a person is"
    );
    assert_eq!(
        found.further_addresses,
        [
            (ann.to_string(), "ann.doe@work.example".to_owned()),
            (bob.to_string(), "o'hara@example.org".to_owned()),
        ]
    );
    assert!(found.poison.is_empty());
}

#[tokio::test]
async fn c97_the_owners_of_many_addresses_are_found_in_a_few_calls() {
    let bench = Bench::new().await;
    let ids = bench.people(200);
    bench.connector.probe().await.unwrap();
    let addresses = (0..200)
        .map(|number| format!("p{number}@example.org"))
        .collect();
    let before = bench.made();
    let found = bench
        .connector
        .look_up(&Wanted {
            addresses,
            contacts: Vec::new(),
        })
        .await
        .unwrap();
    assert_eq!(found.readings.len(), ids.len());
    assert!(bench.made() - before <= 6, "{}", bench.made() - before);
    assert_eq!(bench.connector.batching().look_up, 200);
}

#[tokio::test]
async fn c97_former_employees_count_as_configured() {
    for (retired, live) in [(Retired::Live, true), (Retired::Gone, false)] {
        let bench = Bench::with(|_| {}, |settings| settings.retired = retired).await;
        let id = bench.person(&["ann@example.org"]);
        bench.tenant().set_retired(id, true, STAFF).unwrap();
        let start = bench.drain(None).await;
        assert_eq!(start.last(&id.to_string()).unwrap().life.is_live(), live);
        let probe = bench.connector.probe().await.unwrap();
        assert_eq!(probe.missing, [""; 0]);
    }
}

#[tokio::test]
async fn c44_a_look_tells_who_is_there() {
    for shows in [false, true] {
        let bench = Bench::with(
            |crm| {
                crm.consent_for_new = false;
                crm.deleted_rows_show = shows;
            },
            |_| {},
        )
        .await;
        let ids = bench.people(4);
        bench.consent(ids[0], "EMARKETING", "61A");
        bench.tenant().delete(ids[2], STAFF).unwrap();
        bench.tenant().purge(ids[3], STAFF).unwrap();
        let mut targets: Vec<_> = ids.iter().map(|id| target(&id.to_string())).collect();
        targets.push(target("no id"));
        let now = bench.connector.current(&targets).await.unwrap();
        let values =
            |marketing| Current::Live(vec![(MARKETING, marketing), (STORE, Shown::Default)]);
        assert_eq!(
            now,
            [
                values(granted(Basis::Consent)),
                values(Shown::Default),
                Current::Gone,
                Current::Gone,
                Current::Gone
            ]
        );
    }
}

#[tokio::test]
async fn c94_users_entries_in_the_product_are_read_as_what_they_mean() {
    let bench = Bench::new().await;
    let ids = bench.people(4);
    bench
        .tenant()
        .switch_marketing(ids[0], true, STAFF)
        .unwrap();
    bench
        .tenant()
        .switch_marketing(ids[1], false, STAFF)
        .unwrap();
    bench.tenant().unsubscribe(ids[2], &[]).unwrap();
    bench
        .tenant()
        .set_consent(
            ids[3],
            &NewConsent::new("EMARKETING", "61A").source("WEBFORM"),
            STAFF,
        )
        .unwrap();
    bench.tenant().spam_complaint(ids[3]).unwrap();
    let start = bench.drain(None).await;
    let shown: Vec<_> = ids
        .iter()
        .map(|id| {
            value(start.last(&id.to_string()).unwrap(), MARKETING)
                .cloned()
                .unwrap()
        })
        .collect();
    assert_eq!(
        shown[0],
        granted(Basis::LegitimateInterests),
        "the switch is no consent of 61A"
    );
    assert_eq!(shown[1], WITHDRAWN);
    assert_eq!(shown[2], WITHDRAWN);
    assert!(matches!(&shown[3], Shown::Default) || shown[3] == WITHDRAWN);
}

#[tokio::test]
async fn c2_a_user_without_the_right_is_told_so() {
    let bench = Bench::with(|crm| *crm = Crm::onsite(), |_| {}).await;
    let probe = bench.connector.probe().await.unwrap();
    assert_eq!(probe.missing, [""; 0], "the user of the sandbox has it");
    bench
        .tenant()
        .set_fault(Rule::from(Fault::NullAnswer).calls(&[CallKind::Principal]))
        .unwrap();
    let fault = bench.connector.probe().await.unwrap_err();
    assert_eq!(fault.class, FaultClass::ContractBroken, "{fault}");
}
