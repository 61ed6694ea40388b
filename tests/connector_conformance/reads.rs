//! Logging in, probing, and loading everything.

use crate::bench::*;
use consentd::connector::FaultClass;
use consentd::consent::{Evidence, Shown};
use consentd_sandbox::{CallKind, Fault, Rule};
use std::collections::BTreeSet;

#[tokio::test]
async fn c01_a_probe_names_the_own_user_and_misses_nothing_in_a_well_set_up_org() {
    let bench = Bench::new(10).await;
    bench.org().track("Email_Events__c", true);
    let probe = bench.connector.probe().await.unwrap();
    assert_eq!(probe.missing, [""; 0]);
    let own = probe.own_actor.unwrap();
    let users = bench
        .org()
        .select("SELECT Id FROM User WHERE Name = 'Consent Integration'")
        .unwrap();
    assert_eq!(users[0]["Id"], own.as_str());
}

#[tokio::test]
async fn c02_a_probe_names_each_hidden_and_each_unwritable_field() {
    let bench = Bench::new(0).await;
    bench
        .org()
        .set_fault(Fault::FieldHidden {
            object: "Contact".into(),
            field: "HasOptedOutOfEmail".into(),
        })
        .unwrap();
    bench
        .org()
        .set_fault(Fault::FieldReadOnly {
            object: "Contact".into(),
            field: "Email_Events__c".into(),
        })
        .unwrap();
    let missing = bench.connector.probe().await.unwrap().missing;
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(
        missing[0].contains("Contact.HasOptedOutOfEmail") && missing[0].contains("Read access"),
        "{missing:?}"
    );
    assert!(
        missing[1].contains("Contact.Email_Events__c") && missing[1].contains("Edit access"),
        "{missing:?}"
    );
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "INVALID_FIELD"),
        "a hidden field stops the feed loudly"
    );
}

#[tokio::test]
async fn c03_a_probe_notes_that_a_field_has_no_history() {
    let bench = Bench::new(0).await;
    let notes = bench.connector.probe().await.unwrap().notes;
    assert!(
        notes
            .iter()
            .any(|note| note.contains("HasOptedOutOfEmail") && note.contains("history")),
        "{notes:?}"
    );
}

#[tokio::test]
async fn c10_a_load_reads_every_contact_once_and_then_all_history() {
    let bench = Bench::with(4_500, |settings| settings.platform.page_rows = 1_000).await;
    let drained = bench.drain(None).await;
    let loaded: Vec<&str> = drained
        .pages
        .iter()
        .filter(|page| page.load)
        .flat_map(|page| &page.readings)
        .filter(|reading| reading.whole)
        .map(|reading| reading.contact.as_str())
        .collect();
    let distinct: BTreeSet<&str> = loaded.iter().copied().collect();
    assert_eq!(loaded.len(), distinct.len(), "no contact stands twice");
    let expected = bench.org().contact_ids(10_000);
    assert_eq!(distinct, expected.iter().map(String::as_str).collect());
    let told = drained
        .readings()
        .iter()
        .flat_map(|reading| &reading.told)
        .filter(|told| told.evidence == Evidence::History)
        .count();
    assert!(told > 0, "history is read");
    for id in expected.iter().take(500) {
        for row in bench
            .org()
            .history(id)
            .iter()
            .filter(|row| row.field == "HasOptedOutOfEmail")
        {
            let shown = if row.new == true {
                Shown::Set
            } else {
                Shown::Default
            };
            let found = drained
                .of(id)
                .iter()
                .flat_map(|reading| &reading.told)
                .any(|told| {
                    told.purpose == MARKETING && told.shown == shown && told.at == row.at.into()
                });
            assert!(found, "{row:?}");
        }
    }
    assert!(
        drained.drained().is_some(),
        "the last page says up to when all is read"
    );
}

#[tokio::test]
async fn c11_a_load_shows_what_the_contact_shows() {
    let bench = Bench::new(0).await;
    let id = bench.create_with(&[
        ("Email", "Ann@Example.org".into()),
        ("HasOptedOutOfEmail", true.into()),
        ("Ascend_ID__c", "A-17".into()),
    ]);
    let drained = bench.drain(None).await;
    let reading = drained.last(&id).unwrap();
    assert_eq!(reading.address.as_deref(), Some("Ann@Example.org"));
    assert_eq!(reading.link.as_deref(), Some("A-17"));
    assert_eq!(value(reading, MARKETING), Some(&Shown::Set));
    assert_eq!(value(reading, EVENTS), Some(&Shown::Default));
    let state = bench.org().contact(&id).unwrap();
    assert_eq!(reading.created, Some(state.created.into()));
    assert_eq!(reading.told.len(), 1, "opted out by the creation itself");
    assert_eq!(reading.told[0].at, state.created.into());
}

/// Somebody else opts out and in again, so that the field has a row.
fn first_row(bench: &Bench) {
    let other = bench.create_with(&[("Email", "first@example.org".into())]);
    bench.wait(60);
    for out in [true, false] {
        bench.edit(&other, &[("HasOptedOutOfEmail", out.into())]);
        bench.wait(60);
    }
}

#[tokio::test]
async fn c12_a_flag_set_at_creation_keeps_that_time_when_the_contact_is_edited_later() {
    let bench = Bench::new(0).await;
    first_row(&bench);
    let id = bench.create_with(&[
        ("Email", "ann@example.org".into()),
        ("HasOptedOutOfEmail", true.into()),
    ]);
    let created = bench.org().contact(&id).unwrap().created;
    bench.wait(3_600);
    bench.edit(&id, &[("FirstName", "Ann".into())]);
    let drained = bench.drain(None).await;
    let told = &drained.last(&id).unwrap().told;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].at, created.into());
}

/// A creation has a row as soon as any field is tracked, so it says nothing of a field that is not.
#[tokio::test]
async fn c12_a_flag_without_history_is_not_dated_to_the_creation() {
    for (sentence, tracked_first) in [("never tracked", false), ("tracked later", true)] {
        let bench = Bench::new(0).await;
        bench.org().track("HasOptedOutOfEmail", false);
        bench.org().track("Email", true);
        let id = bench.create_with(&[("Email", "ann@example.org".into())]);
        bench.wait(3_600);
        bench.edit(&id, &[("HasOptedOutOfEmail", true.into())]);
        if tracked_first {
            bench.org().track("HasOptedOutOfEmail", true);
            first_row(&bench);
        }
        let drained = bench.drain(None).await;
        assert_eq!(drained.last(&id).unwrap().told, [], "{sentence}");
        bench.wait(60);
        bench.edit(&id, &[("FirstName", "Ann".into())]);
        bench.wait(60);
        let drained = bench.drain(Some(drained.cursor)).await;
        assert_eq!(drained.last(&id).unwrap().told, [], "{sentence}");
    }
}

#[tokio::test]
async fn c13_an_expired_cursor_goes_on_behind_the_last_id() {
    let bench = Bench::with(3_000, |settings| settings.platform.page_rows = 1_000).await;
    let first = bench.connector.read(None).await.unwrap();
    bench
        .org()
        .set_fault(Rule::from(Fault::CursorExpiry).times(1))
        .unwrap();
    let rest = bench.drain(Some(first.next.clone())).await;
    let ids: BTreeSet<&str> = first
        .readings
        .iter()
        .chain(
            rest.pages
                .iter()
                .filter(|page| page.load)
                .flat_map(|page| &page.readings),
        )
        .map(|reading| reading.contact.as_str())
        .collect();
    assert_eq!(ids.len(), bench.org().contact_count());
}

#[tokio::test]
async fn c14_short_pages_and_the_same_cursor_twice_lose_nothing() {
    let bench = Bench::with(1_000, |settings| settings.platform.page_rows = 500).await;
    bench
        .org()
        .set_fault(Fault::ShortPages { rows: 130 })
        .unwrap();
    let first = bench.connector.read(None).await.unwrap();
    assert_eq!(first.readings.len(), 130);
    let again = bench.connector.read(Some(&first.next)).await.unwrap();
    let twice = bench.connector.read(Some(&first.next)).await.unwrap();
    assert_eq!(again.readings, twice.readings);
    let rest = bench.drain(Some(first.next.clone())).await;
    let loaded = rest
        .pages
        .iter()
        .filter(|page| page.load)
        .flat_map(|page| &page.readings)
        .filter(|reading| reading.whole)
        .count();
    assert_eq!(first.readings.len() + loaded, bench.org().contact_count());
}

#[tokio::test]
async fn c15_a_looping_or_foreign_next_link_breaks_the_contract() {
    let bench = Bench::with(1_000, |settings| settings.platform.page_rows = 300).await;
    bench
        .org()
        .set_fault(Rule::from(Fault::LoopingPages).calls(&[CallKind::QueryMore]))
        .unwrap();
    let fault = drain(&*bench.connector, None).await.err().unwrap();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "page-loop")
    );
    bench.org().clear_faults(None);
    bench
        .org()
        .set_fault(Fault::ForeignNextLink {
            url: "https://elsewhere.example".into(),
        })
        .unwrap();
    let fault = drain(&*bench.connector, None).await.err().unwrap();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "foreign-link")
    );
    assert!(!fault.message.contains("elsewhere"), "no link in messages");
}

#[tokio::test]
async fn c16_a_bad_record_is_set_aside_and_its_page_goes_on() {
    let bench = Bench::new(50).await;
    let ids = bench.org().contact_ids(50);
    let bad = |json: String, id: &str| Fault::RawRecord {
        id: id.to_owned(),
        json,
    };
    bench
        .org()
        .set_fault(bad(
            format!(
                r#"{{"Id":"{}","HasOptedOutOfEmail":true,"HasOptedOutOfEmail":false}}"#,
                ids[3]
            ),
            &ids[3],
        ))
        .unwrap();
    bench
        .org()
        .set_fault(bad(
            format!(
                r#"{{"Id":"{}","IsDeleted":false,"HasOptedOutOfEmail":"true"}}"#,
                ids[4]
            ),
            &ids[4],
        ))
        .unwrap();
    let page = bench.connector.read(None).await.unwrap();
    assert_eq!(page.readings.len(), 48);
    let reasons: Vec<(&str, &str)> = page
        .poison
        .iter()
        .map(|bad| (bad.id.as_str(), bad.reason.as_str()))
        .collect();
    assert_eq!(
        reasons[0],
        (ids[3].as_str(), "the key HasOptedOutOfEmail stands twice")
    );
    assert_eq!(reasons[1].0, ids[4]);
}
