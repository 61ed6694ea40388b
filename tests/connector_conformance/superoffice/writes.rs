//! Setting consents.

use super::bench::*;
use crate::bench::code;
use consentd::connector::superoffice::config::ConsentFeed;
use consentd::connector::{FaultClass, Outcome};
use consentd::consent::{Basis, Shown};
use consentd_sandbox::superoffice::Settings as Crm;
use consentd_sandbox::{CallKind, Fault, Rule};

#[tokio::test]
async fn c101_a_write_sets_basis_source_and_comment_and_is_read_back() {
    let bench = Bench::new().await;
    let ids = bench.people(3);
    bench.connector.probe().await.unwrap();
    bench.tenant().reset_calls();
    let outcomes = bench
        .connector
        .write(&[
            set(ids[0], MARKETING, WITHDRAWN),
            set(ids[1], MARKETING, granted(Basis::Contract)),
            set(ids[2], MARKETING, granted(Basis::Consent)),
        ])
        .await
        .unwrap();
    assert_eq!(
        outcomes,
        [Outcome::Applied, Outcome::Applied, Outcome::Applied]
    );
    let bases: Vec<_> = ids
        .iter()
        .map(|id| bench.base_of(*id, "EMARKETING").unwrap())
        .collect();
    assert_eq!(
        bases,
        ["WITHDRAWN", "61B", "61A"],
        "also where there was no row"
    );
    let person = bench.tenant().person(ids[0]).unwrap();
    let consent = person.consent("EMARKETING").unwrap();
    assert_eq!(consent.source, "API");
    assert_eq!(
        consent.comment,
        "consentd: said in emarketeer at 2026-05-01T10:00:00Z"
    );
    assert_eq!(
        bench.base_of(ids[0], "STORE").as_deref(),
        Some("61F"),
        "nothing else is touched"
    );
    let calls = bench.tenant().calls();
    assert_eq!(calls.of(CallKind::ConsentWrite), 3);
    assert!(
        calls.of(CallKind::Archive) <= 2,
        "one read-back for all: {calls:?}"
    );
    assert_eq!(calls.of(CallKind::PersonWrite), 0, "people are never saved");
}

#[tokio::test]
async fn c101_what_is_there_already_is_not_written_again() {
    for moves in [true, false] {
        let bench = Bench::with(|crm| crm.equal_write_moves_updated = moves, |_| {}).await;
        let id = bench.person(&["ann@example.org"]);
        bench.consent(id, "EMARKETING", "61A");
        bench.connector.probe().await.unwrap();
        bench.wait(60);
        let mut write = set(id, MARKETING, granted(Basis::Consent));
        write.changes.push((STORE, WITHDRAWN));
        bench.tenant().reset_calls();
        assert_eq!(
            bench.connector.write(&[write]).await.unwrap(),
            [Outcome::Applied]
        );
        assert_eq!(bench.tenant().calls().of(CallKind::ConsentWrite), 1);
        let person = bench.tenant().person(id).unwrap();
        assert_eq!(person.consent("EMARKETING").unwrap().updated, None);
        assert_eq!(bench.base_of(id, "STORE").as_deref(), Some("WITHDRAWN"));
    }
}

#[tokio::test]
async fn c40_nothing_but_consents_changes() {
    let bench = Bench::filled(30, |_| {}, |_| {}).await;
    let ids = bench.tenant().person_ids(30);
    let before: Vec<_> = ids
        .iter()
        .map(|id| bench.tenant().person(*id).unwrap())
        .collect();
    let writes: Vec<_> = ids.iter().map(|id| set(*id, STORE, WITHDRAWN)).collect();
    bench.wait(60);
    let outcomes = bench.connector.write(&writes).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
    for (id, before) in ids.iter().zip(before) {
        let after = bench.tenant().person(*id).unwrap();
        let marketing = |person: &consentd_sandbox::superoffice::PersonState| {
            person.consent("EMARKETING").cloned()
        };
        assert_eq!(marketing(&after), marketing(&before));
        assert_eq!(
            (after.updated, &after.addresses),
            (before.updated, &before.addresses)
        );
        assert_eq!(
            (after.first_name, after.last_name),
            (before.first_name, before.last_name)
        );
        assert_eq!(
            (after.retired, after.no_mailing),
            (before.retired, before.no_mailing)
        );
    }
}

#[tokio::test]
async fn c102_people_who_are_gone_are_told_from_keys_that_are_unknown() {
    for status in [404, 400, 500] {
        let bench = Bench::with(
            |crm| {
                crm.unknown_person_status = status;
                crm.unknown_key_status = status;
            },
            |_| {},
        )
        .await;
        let ids = bench.people(3);
        bench.connector.probe().await.unwrap();
        bench.tenant().purge(ids[1], STAFF).unwrap();
        let writes: Vec<_> = ids
            .iter()
            .map(|id| set(*id, MARKETING, WITHDRAWN))
            .collect();
        let codes: Vec<String> = bench
            .connector
            .write(&writes)
            .await
            .unwrap()
            .iter()
            .map(code)
            .collect();
        assert_eq!(codes, ["applied", "gone", "applied"], "{status}");
        // The tenant's keys change under our feet.
        bench.tenant().change_settings(|crm| crm.legacy_keys = true);
        let outcomes = bench
            .connector
            .write(&[set(ids[0], MARKETING, granted(Basis::Consent))])
            .await
            .unwrap();
        match &outcomes[0] {
            Outcome::Failed(fault) | Outcome::Unknown(fault) => {
                assert!(
                    fault.class == FaultClass::Rejected || status == 500,
                    "{status}: {fault:?}"
                );
                assert_ne!(fault.code, "gone", "{status}");
            }
            Outcome::Applied | Outcome::HandedOver { .. } => {
                panic!("{status}: an unknown key was taken")
            }
        }
    }
}

#[tokio::test]
async fn c102_what_cannot_be_written_is_refused_without_a_call() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.connector.probe().await.unwrap();
    bench.tenant().reset_calls();
    let mut bad = set(id, MARKETING, WITHDRAWN);
    bad.target.contact = "5120 or 1".to_owned();
    let outcomes = bench
        .connector
        .write(&[
            bad,
            set(id, MARKETING, granted(Basis::Other("61C".to_owned()))),
            set(id, MARKETING, granted(Basis::PublicTask)),
            set(id, MARKETING, Shown::Default),
        ])
        .await
        .unwrap();
    let codes: Vec<String> = outcomes.iter().map(code).collect();
    assert_eq!(
        codes,
        ["bad-id", "unmapped-basis", "unmapped-basis", "no-flag"]
    );
    assert_eq!(bench.tenant().calls().of(CallKind::ConsentWrite), 0);
}

#[tokio::test]
async fn c105_nothing_is_granted_over_a_consent_that_cannot_be_read() {
    let bench = Bench::new().await;
    let ids = bench.people(2);
    for id in &ids {
        let row = bench.tenant().person(*id).unwrap().consents[0].id;
        bench
            .tenant()
            .set_fault(Fault::RawRecord {
                id: format!("consentperson:{row}"),
                json: format!(
                    r#"{{"consentperson.consentperson_id":{row},"consentperson.person_id":{id}}}"#
                ),
            })
            .unwrap();
    }
    let targets: Vec<_> = ids
        .iter()
        .map(|id| crate::bench::target(&id.to_string()))
        .collect();
    let now = bench.connector.current(&targets).await.unwrap();
    assert!(
        now.iter()
            .all(|now| *now == consentd::connector::Current::Unknown)
    );
    let outcomes = bench
        .connector
        .write(&[
            set(ids[0], STORE, granted(Basis::Consent)),
            set(ids[1], STORE, WITHDRAWN),
        ])
        .await
        .unwrap();
    assert_eq!(code(&outcomes[0]), "unclear");
    assert!(
        matches!(outcomes[1], Outcome::Unknown(_)),
        "it cannot be read back either"
    );
    assert_eq!(bench.base_of(ids[0], "STORE").as_deref(), Some("61F"));
    assert_eq!(bench.base_of(ids[1], "STORE").as_deref(), Some("WITHDRAWN"));
}

#[tokio::test]
async fn c43_a_write_whose_answer_is_lost_is_unknown_and_nobody_elses() {
    for fault in [
        Fault::CutAfter,
        Fault::UnavailableHtml,
        Fault::Stall { seconds: 60 },
    ] {
        let bench = Bench::with(
            |_| {},
            |settings| settings.limits.request_timeout = std::time::Duration::from_secs(2),
        )
        .await;
        let id = bench.person(&["ann@example.org"]);
        bench.connector.probe().await.unwrap();
        let name = fault.name();
        bench
            .tenant()
            .set_fault(Rule::from(fault).calls(&[CallKind::ConsentWrite]))
            .unwrap();
        let outcomes = bench
            .connector
            .write(&[set(id, MARKETING, WITHDRAWN)])
            .await
            .unwrap();
        assert!(
            matches!(&outcomes[0], Outcome::Unknown(fault) if fault.maybe_sent),
            "{name}: {outcomes:?}"
        );
    }
}

#[tokio::test]
async fn c61_a_write_that_cannot_be_read_back_is_unknown() {
    for (feed, kind) in [
        (ConsentFeed::Auto, CallKind::Archive),
        (ConsentFeed::Persons, CallKind::ConsentRead),
    ] {
        let bench = Bench::with(|_| {}, |settings| settings.consent_feed = feed).await;
        let id = bench.person(&["ann@example.org"]);
        bench.connector.probe().await.unwrap();
        bench
            .tenant()
            .set_fault(Rule::from(Fault::UnavailableJson).calls(&[kind]))
            .unwrap();
        let outcomes = bench
            .connector
            .write(&[set(id, MARKETING, WITHDRAWN)])
            .await
            .unwrap();
        assert!(matches!(&outcomes[0], Outcome::Unknown(_)), "{outcomes:?}");
        assert_eq!(
            bench.base_of(id, "EMARKETING").as_deref(),
            Some("WITHDRAWN")
        );
    }
}

#[tokio::test]
async fn c45_a_server_that_slows_us_down_is_not_pressed() {
    let bench = Bench::new().await;
    let ids = bench.people(40);
    bench.connector.probe().await.unwrap();
    bench.tenant().reset_calls();
    bench
        .tenant()
        .set_fault(
            Rule::from(Fault::TooManyRequests {
                retry_after: Some("120".into()),
            })
            .calls(&[CallKind::ConsentWrite]),
        )
        .unwrap();
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(*id, MARKETING, WITHDRAWN))
        .collect();
    let fault = bench.connector.write(&writes).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::RateLimited);
    assert_eq!(fault.retry_after.map(|pause| pause.as_secs()), Some(120));
    assert!(bench.tenant().calls().of(CallKind::ConsentWrite) <= 4);
    bench.tenant().clear_faults(None);
    bench
        .tenant()
        .set_fault(
            Rule::from(Fault::TooManyRequests { retry_after: None })
                .after(5)
                .calls(&[CallKind::ConsentWrite]),
        )
        .unwrap();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    let applied = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Applied)
        .count();
    assert_eq!(applied, 5);
    for outcome in &outcomes {
        assert!(
            matches!(outcome, Outcome::Applied)
                || matches!(outcome, Outcome::Failed(fault) if fault.class == FaultClass::RateLimited),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn c41_every_outcome_stands_in_its_place() {
    let bench = Bench::with(|crm| *crm = Crm::onsite(), |_| {}).await;
    let ids = bench.people(20);
    bench.connector.probe().await.unwrap();
    for place in [3, 7, 19] {
        bench.tenant().purge(ids[place], STAFF).unwrap();
    }
    let writes: Vec<_> = ids
        .iter()
        .map(|id| set(*id, MARKETING, WITHDRAWN))
        .collect();
    let outcomes = bench.connector.write(&writes).await.unwrap();
    for (place, outcome) in outcomes.iter().enumerate() {
        let expected = if [3, 7, 19].contains(&place) {
            "gone"
        } else {
            "applied"
        };
        assert_eq!(code(outcome), expected, "{place}");
    }
}

#[tokio::test]
async fn c15_our_own_write_comes_back_as_our_own() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.wait(3_600);
    let own = bench.connector.probe().await.unwrap().own_actor;
    let start = bench.drain(None).await;
    bench.wait(60);
    bench
        .connector
        .write(&[set(id, MARKETING, WITHDRAWN)])
        .await
        .unwrap();
    bench.wait(60);
    let next = bench.drain(Some(start.cursor)).await;
    let (shown, _, by) = said(next.last(&id.to_string()).unwrap(), MARKETING).unwrap();
    assert_eq!(shown, &WITHDRAWN);
    assert_eq!(by.map(str::to_owned), own);
}
