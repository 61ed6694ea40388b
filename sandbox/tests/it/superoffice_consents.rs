//! Consents of the SuperOffice tenant: reading and writing them, what follows, what people do, and faults.

use std::fmt::Write as _;

use consentd_sandbox::superoffice::{MARKETING, NewConsent, PersonBump, SALES};
use consentd_sandbox::{CallKind, Fault, Rule};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{read, sandbox};
use crate::superoffice::{Client, authenticate, login_body, person};

#[tokio::test]
async fn a_consent_is_one_row_that_is_updated_in_place() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &["pat@example.org"]);
    assert_eq!(
        client.put(id, "EMARKETING", "61A").await,
        (StatusCode::NO_CONTENT, Value::Null)
    );
    let (status, infos) = client.get(&format!("/Person/{id}/Consent")).await;
    assert_eq!(status, 200);
    let [store, marketing] = infos.as_array().unwrap().as_slice() else {
        panic!("two consents: {infos}");
    };
    assert_eq!(
        (&store["ConsentPurposeKey"], &store["LegalBaseKey"]),
        (&json!("STORE"), &json!("61F"))
    );
    assert_eq!(
        (
            &marketing["LegalBaseKey"],
            &marketing["ConsentSourceKey"],
            &marketing["RegisteredAssociateId"]
        ),
        (&json!("61A"), &json!("API"), &json!(77))
    );
    assert_eq!(
        (&marketing["Updated"], &marketing["UpdatedAssociateId"]),
        (&json!("0001-01-01T00:00:00"), &json!(0)),
        "never updated"
    );
    let registered = marketing["Registered"].as_str().unwrap();
    assert_eq!(
        registered.len(),
        "2026-01-19T11:02:07".len(),
        "whole seconds without a zone: {registered}"
    );

    sandbox.clock().advance(60);
    assert_eq!(client.put(id, "EMARKETING", "WITHDRAWN").await.0, 204);
    let request = client
        .request(Method::GET, &format!("/Person/{id}/Consent"))
        .header("SO-TimeZone", "UTC, includeTZOffset")
        .header("Accept-Language", "en");
    let (_, infos) = read(request.send().await.unwrap()).await;
    let after = &infos[1];
    assert_eq!(after["ConsentPersonId"], marketing["ConsentPersonId"]);
    assert_eq!(after["Registered"], format!("{registered}Z"));
    assert_eq!(
        (&after["LegalBaseName"], &after["UpdatedAssociateId"]),
        (&json!("Withdrawn"), &json!(77))
    );
    assert!(after["Updated"].as_str().unwrap().ends_with('Z'));
    assert_eq!(infos[0]["Updated"], "0001-01-01T00:00:00Z");

    for (purpose, given) in [("STORE", true), ("EMARKETING", false)] {
        let (_, answer) = client.get(&format!("/Person/{id}/Consent/{purpose}")).await;
        assert_eq!(answer, json!(given), "{purpose}");
    }
    assert_eq!(tenant.calls().of(CallKind::ConsentWrite), 2);
    assert_eq!(tenant.calls().rows_changed, 2);
}

#[tokio::test]
async fn an_equal_write_moves_updated_unless_set_otherwise() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let updated = || {
        tenant
            .person(id)
            .unwrap()
            .consent("EMARKETING")
            .unwrap()
            .updated
    };
    client.put(id, "EMARKETING", "61A").await;
    assert_eq!(updated(), None);
    tenant.change_settings(|settings| settings.equal_write_moves_updated = false);
    client.put(id, "EMARKETING", "61A").await;
    assert_eq!(updated(), None);
    tenant.change_settings(|settings| settings.equal_write_moves_updated = true);
    client.put(id, "EMARKETING", "61A").await;
    assert!(updated().is_some());
}

#[tokio::test]
async fn unknown_persons_and_keys_are_refused_as_set() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let (status, body) = client.put(9_999, "EMARKETING", "61A").await;
    assert_eq!(
        (status, &body["ErrorType"]),
        (StatusCode::NOT_FOUND, &json!("SoNotFoundException"))
    );
    assert_eq!(body["Error"], true);
    assert_eq!(body["ErrorMessage"], "Person id 9999 not found");
    for (purpose, base) in [
        ("NOPE", "61A"),
        ("EMARKETING", "61Z"),
        ("EMARKETING", "withdrawn"),
        ("#EMARKETING", "61A"),
    ] {
        let purpose = purpose.replace('#', "%23");
        let (status, body) = client.put(id, &purpose, base).await;
        assert_eq!(
            (status, &body["Error"]),
            (StatusCode::BAD_REQUEST, &json!(true)),
            "{purpose} {base}"
        );
    }
    tenant.change_settings(|settings| {
        settings.unknown_person_status = 500;
        settings.unknown_key_status = 404;
        settings.keys_ignore_case = true;
    });
    assert_eq!(client.put(9_999, "EMARKETING", "61A").await.0, 500);
    assert_eq!(client.put(id, "EMARKETING", "61Z").await.0, 404);
    assert_eq!(client.put(id, "emarketing", "withdrawn").await.0, 204);
    let path = format!("/Person/{id}/Consent/EMARKETING?source=API");
    assert_eq!(
        client.send(Method::PUT, &path, json!({})).await.0,
        400,
        "legalBase is required"
    );
}

#[tokio::test]
async fn removing_deletes_the_row_or_withdraws_as_set() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let path = format!("/Person/{id}/Consent/EMARKETING");
    let base = || {
        tenant
            .person(id)
            .unwrap()
            .consent("EMARKETING")
            .map(|row| row.legal_base.clone())
    };
    client.put(id, "EMARKETING", "61A").await;
    assert_eq!(client.send(Method::DELETE, &path, json!({})).await.0, 204);
    assert_eq!(base(), None);
    tenant.change_settings(|settings| settings.remove_withdraws = true);
    client.put(id, "EMARKETING", "61A").await;
    assert_eq!(client.send(Method::DELETE, &path, json!({})).await.0, 204);
    assert_eq!(base().as_deref(), Some("WITHDRAWN"));
}

#[tokio::test]
async fn a_flip_of_marketing_changes_the_person_and_store_does_not() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let mut seen = None;
    // Moves the clock, writes, and tells whether the person counts as changed.
    let mut changes = async |purpose: &str, base: &str| {
        sandbox.clock().advance(10);
        assert_eq!(client.put(id, purpose, base).await.0, 204);
        let updated = tenant.person(id).unwrap().updated;
        let moved = updated != seen;
        seen = updated;
        moved
    };
    assert!(!changes("STORE", "61A").await);
    assert!(changes("EMARKETING", "61F").await, "none to given");
    assert!(!changes("EMARKETING", "61A").await, "given to given");
    assert!(
        changes("EMARKETING", "WITHDRAWN").await,
        "given to withdrawn"
    );
    assert!(tenant.person(id).unwrap().no_mailing, "the mirror");
    tenant.change_settings(|settings| settings.person_bump = PersonBump::Always);
    assert!(changes("STORE", "61F").await);
    tenant.change_settings(|settings| settings.person_bump = PersonBump::Never);
    assert!(!changes("EMARKETING", "61A").await);
    assert!(
        !tenant.person(id).unwrap().no_mailing,
        "the mirror holds all the same"
    );
}

#[tokio::test]
async fn people_act_in_the_product() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let id = person(tenant, &["pat@example.org", "pat.home@example.org"]);
    let base = |purpose: &str| {
        tenant
            .person(id)
            .unwrap()
            .consent(purpose)
            .map(|row| row.legal_base.clone())
    };
    tenant.switch_marketing(id, true, SALES).unwrap();
    assert_eq!(
        base("EMARKETING").as_deref(),
        Some("61F"),
        "the switch means legitimate interest"
    );
    tenant.switch_marketing(id, false, SALES).unwrap();
    assert_eq!(base("EMARKETING").as_deref(), Some("WITHDRAWN"));
    let past = tenant.now() - chrono::TimeDelta::days(400);
    let consent = NewConsent::new("STORE", "61B").source("IMPORT").at(past);
    tenant.set_consent(id, &consent, MARKETING).unwrap();
    let row = tenant.person(id).unwrap().consent("STORE").unwrap().clone();
    assert_eq!(
        (row.updated.unwrap().timestamp(), row.source.as_str()),
        (past.timestamp(), "IMPORT")
    );
    assert_eq!(row.updated_by.as_deref(), Some(MARKETING));
    tenant
        .set_consent(id, &NewConsent::new("EMARKETING", "61A"), MARKETING)
        .unwrap();
    tenant.unsubscribe(id, &[2]).unwrap();
    assert_eq!(base("EMARKETING").as_deref(), Some("61A"));
    assert_eq!(tenant.person(id).unwrap().unwanted, ["News"]);
    tenant.unsubscribe(id, &[]).unwrap();
    assert_eq!(base("EMARKETING").as_deref(), Some("WITHDRAWN"));
    tenant.spam_complaint(id).unwrap();
    assert_eq!(base("EMARKETING"), None);
    let twin = person(tenant, &["PAT@example.org"]);
    let both: Vec<i64> = tenant
        .persons_by_address("Pat@Example.org")
        .iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(both, [id, twin]);
    let before = tenant.person(id).unwrap().updated;
    sandbox.clock().advance(10);
    tenant
        .set_addresses(id, &["new@example.org"], SALES)
        .unwrap();
    assert_eq!(
        tenant.person(id).unwrap().updated,
        before,
        "an address is no change of the person"
    );
    assert_eq!(tenant.persons_by_address("pat@example.org").len(), 1);
    tenant.set_retired(twin, true, SALES).unwrap();
    assert!(tenant.person(twin).unwrap().retired);
    assert!(
        tenant
            .set_consent(id, &NewConsent::new("EMARKETING", "61A"), "Nobody")
            .is_err()
    );
    assert!(
        tenant
            .set_consent(id, &NewConsent::new("EMARKETING", "61Z"), SALES)
            .is_err()
    );
}

#[tokio::test]
async fn faults_strike_as_at_the_other_systems() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let path = "/List/LegalBase/Items";
    let limited = Fault::TooManyRequests {
        retry_after: Some("7".to_owned()),
    };
    tenant.set_fault(Rule::from(limited).times(1)).unwrap();
    let answer = client.request(Method::GET, path).send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["retry-after"].to_str().unwrap()
        ),
        (429, "7")
    );
    let cases = [
        (Fault::TooManyRequests { retry_after: None }, 429),
        (Fault::Unavailable { retry_after: None }, 503),
        (
            Fault::Unavailable {
                retry_after: Some("3".to_owned()),
            },
            503,
        ),
        (Fault::UnavailableHtml, 503),
        (Fault::UnavailableJson, 503),
        (Fault::HtmlSuccess, 200),
        (Fault::SessionInvalid, 401),
        (Fault::WrongHost, 421),
    ];
    for (fault, status) in cases {
        tenant
            .set_fault(Rule::from(fault.clone()).times(1))
            .unwrap();
        let (got, body) = client.get(path).await;
        assert_eq!(got.as_u16(), status, "{fault:?}");
        assert!(!body.is_array(), "{fault:?}");
        assert_eq!(client.get(path).await.0, 200, "after {fault:?}");
    }
    tenant
        .set_fault(Rule::from(Fault::HalfJson).times(1))
        .unwrap();
    let text = client
        .request(Method::GET, path)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(text.starts_with('[') && serde_json::from_str::<Value>(&text).is_err());
    tenant
        .set_fault(Rule::from(Fault::TruncatedBody).times(1))
        .unwrap();
    assert!(
        client
            .request(Method::GET, path)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .is_err()
    );
    let slow = Fault::SlowDrip {
        bytes: 50,
        pause_millis: 300,
    };
    tenant.set_fault(Rule::from(slow).times(1)).unwrap();
    let started = std::time::Instant::now();
    assert!(client.get(path).await.1.is_array());
    assert!(
        started.elapsed() > std::time::Duration::from_millis(900),
        "slow, but whole"
    );
    tenant
        .set_fault(
            Rule::from(Fault::NullAnswer)
                .times(1)
                .calls(&[CallKind::Agent]),
        )
        .unwrap();
    let agent = "/Agents/List/GetLegalBases";
    assert_eq!(
        client.send(Method::POST, agent, json!({})).await,
        (StatusCode::OK, Value::Null)
    );
    assert!(
        client
            .send(Method::POST, agent, json!({}))
            .await
            .1
            .is_array()
    );
    tenant
        .set_fault(Rule::from(Fault::TokenEndpointDown).times(1))
        .unwrap();
    assert_eq!(authenticate(&sandbox, login_body(&sandbox)).await.0, 503);

    let id = person(tenant, &[]);
    tenant
        .set_fault(
            Rule::from(Fault::CutAfter)
                .times(1)
                .calls(&[CallKind::ConsentWrite]),
        )
        .unwrap();
    let lost = client
        .request(
            Method::PUT,
            &format!("/Person/{id}/Consent/EMARKETING?source=API&legalBase=61A"),
        )
        .header("Content-Length", "0")
        .send()
        .await;
    assert!(lost.is_err());
    assert!(
        tenant.person(id).unwrap().consent("EMARKETING").is_some(),
        "the write happened"
    );
    let row = tenant.person(id).unwrap().consents[0].id;
    let mut name = String::new();
    write!(name, "consentperson:{row}").unwrap();
    let broken = Fault::RawRecord {
        id: name,
        json: "{\"ConsentPersonId\": \"x\", \"Registered\": 5}".to_owned(),
    };
    tenant.set_fault(broken).unwrap();
    let (_, infos) = client.get(&format!("/Person/{id}/Consent")).await;
    assert_eq!(infos[0], json!({"ConsentPersonId": "x", "Registered": 5}));
}
