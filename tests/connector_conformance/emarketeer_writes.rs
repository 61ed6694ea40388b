//! eMarketeer: new records, what becomes of lost ones, and our own.

use crate::bench::code;
use crate::emarketeer_bench::*;
use crate::emarketeer_reads::{NAMED, plans};
use consentd::connector::{FaultClass, Outcome};
use consentd::consent::{Basis, Shown};
use consentd_sandbox::emarketeer::{Identical, master};
use consentd_sandbox::{CallKind, Fault, Rule};

/// An account in which Ann has given consent, all of it read.
async fn ann(plan: Plan) -> Em {
    let mut em = Em::with(plan).await;
    em.account()
        .submit_form("ann@example.org", &[master::MARKETING], Some("yes, please"))
        .unwrap();
    em.wait(60);
    em.poll().await;
    em.wait(60);
    em
}

const ANN: &str = "ann@example.org";

async fn write(em: &Em, value: Shown) -> Outcome {
    let request = em.set(ANN, MARKETING, value);
    em.connector.write(&[request]).await.unwrap().remove(0)
}

#[tokio::test]
async fn c96_a_write_adds_one_record_that_names_its_origin() {
    for (sentence, plan) in plans() {
        let em = ann(plan).await;
        assert_eq!(
            write(&em, withdrawn()).await,
            Outcome::Applied,
            "{sentence}"
        );
        let history = em.account().history(ANN);
        assert_eq!(history.len(), 2, "{sentence}");
        let record = &history[1];
        assert_eq!(
            (
                record.purpose.as_str(),
                record.basis.as_str(),
                record.source.as_str()
            ),
            (master::MARKETING, master::WITHDRAWN, master::INTEGRATION),
            "{sentence}"
        );
        assert_eq!(
            record.text.as_deref(),
            Some("consentd: said in salesforce at 2026-05-01T10:00:00Z"),
            "{sentence}"
        );
        assert_eq!(em.account().calls().contacts_created, 0);
    }
}

#[tokio::test]
async fn c96_what_shows_already_is_not_written_again() {
    let em = ann(Plan {
        account: |settings| settings.identical = Identical::Refused,
        ..Plan::default()
    })
    .await;
    for value in [
        granted(Some(Basis::Consent)),
        granted(None),
        withdrawn(),
        withdrawn(),
    ] {
        assert_eq!(write(&em, value).await, Outcome::Applied);
    }
    assert_eq!(em.account().calls().records_written, 1);
    assert_eq!(em.account().calls().of(CallKind::ConsentCreate), 1);
}

#[tokio::test]
async fn c96_a_grant_without_a_basis_is_refused_where_none_stands() {
    let em = ann(Plan::default()).await;
    let request = em.set(ANN, STORE, granted(None));
    let outcome = em.connector.write(&[request]).await.unwrap().remove(0);
    assert!(
        matches!(&outcome, Outcome::Failed(fault) if fault.code == "no-basis"),
        "{outcome:?}"
    );
    assert_eq!(em.account().basis(ANN, master::STORE), None);
}

#[tokio::test]
async fn c96_every_basis_goes_over_by_its_name() {
    let em = ann(Plan::default()).await;
    for (basis, name) in [
        (Basis::Contract, master::CONTRACT),
        (Basis::LegalObligation, master::REQUIRED_BY_LAW),
        (Basis::VitalInterests, master::VITAL_INTERESTS),
        (Basis::PublicTask, master::PUBLIC_INTERESTS),
        (Basis::LegitimateInterests, master::LEGITIMATE_INTEREST),
        (Basis::Consent, master::CONSENT),
    ] {
        em.wait(2);
        assert_eq!(write(&em, granted(Some(basis))).await, Outcome::Applied);
        assert_eq!(
            em.account().basis(ANN, master::MARKETING).as_deref(),
            Some(name)
        );
    }
    let other = granted(Some(Basis::Other("Soft opt-in".to_owned())));
    assert_eq!(
        code(&write(&em, other).await),
        "no-legal-basis",
        "never by guess"
    );
}

#[tokio::test]
async fn c41_there_is_one_outcome_for_each_write_in_order() {
    let mut em = Em::with(Plan {
        contacts: 60,
        ..Plan::default()
    })
    .await;
    em.poll().await;
    let account = em.account().clone();
    let ids = account.contact_ids(30);
    let addresses: Vec<String> = ids
        .iter()
        .map(|id| account.contact(*id).unwrap().address)
        .collect();
    account.delete_contact(ids[3]).unwrap();
    let mut writes: Vec<_> = addresses
        .iter()
        .map(|address| em.set(address, MARKETING, withdrawn()))
        .collect();
    writes[5].target.address = None;
    writes[7].target.address = Some("somebody.else@example.org".to_owned());
    writes[9].changes = vec![(MARKETING, Shown::Set)];
    let outcomes = em.connector.write(&writes).await.unwrap();
    assert_eq!(outcomes.len(), writes.len());
    for (place, outcome) in outcomes.iter().enumerate() {
        let expected = match place {
            3 => "gone",
            5 => "no-address",
            7 => "other-address",
            9 => "no-record",
            _ => "applied",
        };
        assert_eq!(code(outcome), expected, "{place}");
    }
}

#[tokio::test]
async fn bad_input_43_an_address_that_the_account_refuses_is_refused_for_it_alone() {
    let mut em = Em::with(Plan {
        account: |settings| settings.simple_addresses_only = false,
        ..Plan::default()
    })
    .await;
    em.account()
        .submit_form("o!brien@example.org", &[master::MARKETING], None)
        .unwrap();
    em.account()
        .submit_form(ANN, &[master::MARKETING], None)
        .unwrap();
    em.wait(60);
    em.poll().await;
    let writes = [
        em.set("o!brien@example.org", MARKETING, withdrawn()),
        em.set(ANN, MARKETING, withdrawn()),
    ];
    let outcomes = em.connector.write(&writes).await.unwrap();
    assert_eq!(code(&outcomes[0]), "address-refused");
    assert!(
        matches!(&outcomes[0], Outcome::Failed(fault) if fault.class == FaultClass::Rejected && !fault.message.contains('@'))
    );
    assert_eq!(
        outcomes[1],
        Outcome::Applied,
        "the others are not disturbed"
    );
}

#[tokio::test]
async fn c97_a_lost_answer_is_settled_by_reading_back() {
    let em = ann(Plan::default()).await;
    for (sentence, fault, written) in [
        (
            "a crash after the work",
            Fault::ServerError {
                status: 502,
                processed: true,
            },
            true,
        ),
        (
            "too slow, but done",
            Fault::ServerError {
                status: 504,
                processed: true,
            },
            true,
        ),
        (
            "an error after the work",
            Fault::ServerError {
                status: 500,
                processed: true,
            },
            true,
        ),
        ("a cut answer", Fault::CutAfter, true),
        ("half an answer", Fault::TruncatedBody, true),
        ("a page instead of an answer", Fault::HtmlSuccess, false),
        (
            "a crash before the work",
            Fault::ServerError {
                status: 502,
                processed: false,
            },
            false,
        ),
        ("a cut connection", Fault::CutBefore, false),
    ] {
        em.wait(5);
        let form = [master::MARKETING];
        em.account().submit_form(ANN, &form, None).unwrap();
        em.wait(5);
        let before = em.account().history(ANN).len();
        em.account()
            .set_fault(Rule::from(fault).calls(&[CallKind::ConsentCreate]).times(1))
            .unwrap();
        let outcome = write(&em, withdrawn()).await;
        if em.account().basis(ANN, master::MARKETING).as_deref() == Some(master::WITHDRAWN) {
            assert_eq!(outcome, Outcome::Applied, "{sentence}");
        } else {
            assert!(!written, "{sentence}");
            assert!(
                matches!(&outcome, Outcome::Unknown(fault) if fault.maybe_sent),
                "{sentence}: {outcome:?}"
            );
        }
        // Whatever happened, trying again leaves one record of ours.
        assert_eq!(
            write(&em, withdrawn()).await,
            Outcome::Applied,
            "{sentence}"
        );
        assert_eq!(em.account().history(ANN).len(), before + 1, "{sentence}");
    }
}

#[tokio::test]
async fn c43_nothing_tells_what_became_of_it() {
    let em = ann(Plan::default()).await;
    let current = em.connector.current(&[em.target(ANN)]).await.unwrap();
    assert_eq!(current.len(), 1);
    em.account()
        .set_fault(
            Rule::from(Fault::ServerError {
                status: 504,
                processed: true,
            })
            .calls(&[CallKind::ConsentCreate, CallKind::ConsentList]),
        )
        .unwrap();
    let outcome = write(&em, withdrawn()).await;
    assert!(
        matches!(&outcome, Outcome::Unknown(fault) if fault.maybe_sent),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn c97_a_record_that_shows_late_is_no_success_yet() {
    let em = ann(Plan::default()).await;
    em.account()
        .set_fault(Fault::LateCommit { seconds: 30 })
        .unwrap();
    let outcome = write(&em, withdrawn()).await;
    assert_eq!(code(&outcome), "unknown:not-shown");
    em.account().clear_faults(None);
    em.wait(60);
    assert_eq!(write(&em, withdrawn()).await, Outcome::Applied);
    assert_eq!(
        em.account().history(ANN).len(),
        2,
        "it is seen before it is written again"
    );
}

#[tokio::test]
async fn c97_a_create_that_the_gateway_repeats_does_no_harm() {
    let em = ann(Plan::default()).await;
    em.account()
        .set_fault(Rule::from(Fault::ProcessedTwice).times(1))
        .unwrap();
    assert_eq!(write(&em, withdrawn()).await, Outcome::Applied);
    assert_eq!(
        em.account().basis(ANN, master::MARKETING).as_deref(),
        Some(master::WITHDRAWN)
    );
}

#[tokio::test]
async fn c45_an_error_means_that_nothing_was_sent() {
    let mut em = Em::with(Plan {
        contacts: 60,
        ..Plan::default()
    })
    .await;
    em.poll().await;
    let account = em.account().clone();
    let writes: Vec<_> = account
        .contact_ids(20)
        .into_iter()
        .map(|id| {
            em.set(
                &account.contact(id).unwrap().address,
                MARKETING,
                withdrawn(),
            )
        })
        .collect();
    for (fault, class) in [
        (Fault::SessionInvalid, FaultClass::Auth),
        (
            Fault::TooManyRequests {
                retry_after: Some("7".to_owned()),
            },
            FaultClass::RateLimited,
        ),
        (Fault::QuotaUsedUp, FaultClass::RateLimited),
        (Fault::UnavailableJson, FaultClass::Retryable),
    ] {
        account.clear_faults(None);
        account.set_fault(fault).unwrap();
        let fault = em.connector.write(&writes).await.unwrap_err();
        assert_eq!(fault.class, class);
        assert_eq!(account.calls().records_written, 0);
    }
}

#[tokio::test]
async fn c35_a_refusal_half_way_stops_the_rest() {
    let mut em = Em::with(Plan {
        contacts: 80,
        ..Plan::default()
    })
    .await;
    em.poll().await;
    let account = em.account().clone();
    let writes: Vec<_> = account
        .contact_ids(40)
        .into_iter()
        .map(|id| {
            em.set(
                &account.contact(id).unwrap().address,
                STORE,
                granted(Some(Basis::PublicTask)),
            )
        })
        .collect();
    account
        .set_fault(
            Rule::from(Fault::QuotaUsedUp)
                .calls(&[CallKind::ConsentCreate])
                .after(10),
        )
        .unwrap();
    let outcomes = em.connector.write(&writes).await.unwrap();
    let applied = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Applied)
        .count();
    assert_eq!(applied, 10);
    assert!(
        account.calls().of(CallKind::ConsentCreate) < 20,
        "the rest is not even tried"
    );
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == Outcome::Applied || code(outcome) == "quota")
    );
}

#[tokio::test]
async fn c98_our_own_records_are_echoes_also_after_a_restart() {
    for restart in [false, true] {
        let mut em = ann(Plan::default()).await;
        let request = em.set(ANN, MARKETING, withdrawn());
        em.connector
            .write(std::slice::from_ref(&request))
            .await
            .unwrap();
        em.known.acknowledge(&request);
        if restart {
            em.restart(&Plan::default());
        }
        em.wait(60);
        let drained = em.poll().await;
        let told: Vec<_> = drained
            .readings()
            .into_iter()
            .flat_map(|reading| &reading.told)
            .collect();
        assert_eq!(told.last().unwrap().actor.as_deref(), Some("consentd"));
        let holding = em.contact(ANN).unwrap().record.get(MARKETING).unwrap();
        assert_eq!(holding.shown, Some(withdrawn()));
        assert!(
            holding.last_withdrawal().is_none(),
            "an echo is no statement: {holding:?}"
        );
        // The person's own word after it is one.
        em.wait(60);
        em.account().unsubscribe(ANN).unwrap();
        em.wait(60);
        em.poll().await;
        let holding = em.contact(ANN).unwrap().record.get(MARKETING).unwrap();
        assert!(holding.last_withdrawal().is_some());
    }
}

#[tokio::test]
async fn c98_our_own_records_are_known_where_no_comment_is_shown() {
    let plan = Plan {
        tables: "[systems.em.consent.fields]\ncomment = [\"/nowhere\"]",
        ..Plan::default()
    };
    let mut em = ann(plan).await;
    let request = em.set(ANN, MARKETING, withdrawn());
    em.connector
        .write(std::slice::from_ref(&request))
        .await
        .unwrap();
    em.known.acknowledge(&request);
    em.wait(60);
    em.poll().await;
    let holding = em.contact(ANN).unwrap().record.get(MARKETING).unwrap();
    assert!(holding.last_withdrawal().is_none(), "{holding:?}");
}

#[tokio::test]
async fn c96_an_account_that_wants_names_gets_names() {
    let em = ann(Plan {
        account: |settings| settings.spelling = consentd_sandbox::emarketeer::Spelling::Named,
        system: "source = \"import\"",
        tables: NAMED,
        ..Plan::default()
    })
    .await;
    assert_eq!(write(&em, withdrawn()).await, Outcome::Applied);
    assert_eq!(em.account().history(ANN)[1].source, master::IMPORT);
}

#[tokio::test]
async fn c96_a_write_costs_three_looks_and_one_record() {
    let em = ann(Plan::default()).await;
    em.account().reset_calls();
    em.connector.current(&[em.target(ANN)]).await.unwrap();
    assert_eq!(write(&em, withdrawn()).await, Outcome::Applied);
    let made = em.account().calls();
    assert_eq!(made.of(CallKind::ConsentCreate), 1);
    assert_eq!(
        made.total(),
        4,
        "a look at contact and consent before it, and one behind it: {made:?}"
    );
}
