//! Doors, the gateway before them, and what can go wrong on the way.

use std::time::Duration;

use consentd_sandbox::{CallKind, Fault, Rule};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{CONSENTS, Em, MARKETING};
use crate::client::read;

const ANN: &str = "ann@x.example";

async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_key_opens_its_module_and_no_other_form_of_it_does() {
    let em = Em::start(0).await;
    let keys = em.sandbox.credentials().emarketeer.clone();
    let status = |path: &'static str, header: &'static str, value: String| {
        let method = if path.ends_with("signals") {
            Method::POST
        } else {
            Method::GET
        };
        let request = em.bare(method, path).header(header, value);
        async move { answer(request).await.0.as_u16() }
    };
    let (contact, signals) = ("/contacts-api/v1/lists/", "/engagements-api/v1/signals");
    let campaigns = "/subscriptions/v1/campaigns";
    let bearer = |key: &str| format!("Bearer {key}");
    assert_eq!(
        answer(em.bare(Method::GET, CONSENTS)).await,
        (StatusCode::FORBIDDEN, json!({"message": "Forbidden"}))
    );
    for path in [CONSENTS, contact, campaigns] {
        assert_eq!(
            status(path, "x-api-key", "wrong".to_owned()).await,
            403,
            "{path}"
        );
        assert_eq!(
            status(path, "x-api-key", keys.default.clone()).await,
            200,
            "{path}"
        );
        assert_eq!(
            status(path, "authorization", bearer(&keys.default)).await,
            403,
            "{path}"
        );
    }
    // An empty signal is refused, but not for its key.
    assert_eq!(
        status(signals, "authorization", bearer(&keys.default)).await,
        400
    );
    assert_eq!(
        status(signals, "x-api-key", keys.default.clone()).await,
        400
    );
    em.account().change_settings(|settings| {
        settings.bearer_on_signals = false;
        settings.bearer_on_consent = true;
    });
    assert_eq!(
        status(signals, "authorization", bearer(&keys.default)).await,
        403
    );
    assert_eq!(
        status(CONSENTS, "authorization", bearer(&keys.default)).await,
        200
    );

    em.account()
        .change_settings(|settings| settings.key_per_module = true);
    let modules = [
        (CONSENTS, &keys.consent, 200),
        (contact, &keys.contact, 200),
        (campaigns, &keys.subscription, 200),
        (signals, &keys.signals, 400),
    ];
    for (path, key, opened) in modules {
        assert_eq!(
            status(path, "x-api-key", key.clone()).await,
            opened,
            "{path}"
        );
        assert_eq!(
            status(path, "x-api-key", keys.default.clone()).await,
            403,
            "{path}"
        );
    }
    assert_eq!(
        status(contact, "x-api-key", keys.consent.clone()).await,
        403
    );
    assert!(em.account().calls().forbidden > 10);
}

#[tokio::test]
async fn the_gateway_knows_exact_paths_only() {
    let em = Em::start(0).await;
    let refusal = (
        StatusCode::FORBIDDEN,
        json!({"message": "Missing Authentication Token"}),
    );
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/consent-public/v1/consents/"),
        (Method::GET, "/consent-public/v1/legalbases"),
        (Method::PUT, CONSENTS),
        (Method::DELETE, CONSENTS),
        (Method::GET, "/contacts-api/v1/lists"),
    ] {
        assert_eq!(answer(em.request(method, path)).await, refusal, "{path}");
    }
}

#[tokio::test]
async fn refusals_come_in_the_words_of_whoever_refuses() {
    let em = Em::start(0).await;
    let cases = [
        (
            Fault::TooManyRequests { retry_after: None },
            429,
            json!({"message": "Too Many Requests"}),
        ),
        (
            Fault::QuotaUsedUp,
            429,
            json!({"message": "Limit Exceeded"}),
        ),
        (
            Fault::ServerError {
                status: 502,
                processed: false,
            },
            502,
            json!({"message": "Internal server error"}),
        ),
        (
            Fault::ServerError {
                status: 504,
                processed: false,
            },
            504,
            json!({"message": "Endpoint request timed out"}),
        ),
        (Fault::SessionInvalid, 403, json!({"message": "Forbidden"})),
        (
            Fault::UnavailableJson,
            503,
            json!({"message": "Service Unavailable"}),
        ),
        (Fault::UnavailableHtml, 503, Value::Null),
        (Fault::HtmlSuccess, 200, Value::Null),
    ];
    for (fault, status, body) in cases {
        em.account()
            .set_fault(Rule::from(fault.clone()).times(1))
            .unwrap();
        assert_eq!(
            em.create(em.record(ANN, MARKETING, "Consent")).await,
            (StatusCode::from_u16(status).unwrap(), body),
            "{fault:?}"
        );
    }
    em.account()
        .set_fault(
            Rule::from(Fault::ServerError {
                status: 500,
                processed: false,
            })
            .times(1),
        )
        .unwrap();
    let (status, body) = em.get(CONSENTS).await;
    assert!(
        status == 500 && body["developerMessage"].is_string(),
        "{body}"
    );
    em.account()
        .set_fault(
            Rule::from(Fault::TooManyRequests {
                retry_after: Some("7".to_owned()),
            })
            .times(1),
        )
        .unwrap();
    let response = em.request(Method::GET, CONSENTS).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(em.account().record_count(), 0, "none of them was processed");
    for fault in [
        Fault::BulkStuck,
        Fault::ServerError {
            status: 200,
            processed: false,
        },
    ] {
        assert!(
            em.account().set_fault(fault).is_err(),
            "it could never strike"
        );
    }
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_record_is_written() {
    let em = Em::start(0).await;
    let record = em.record(ANN, MARKETING, "Consent");
    let once = |fault: Fault| Rule::from(fault).times(1).calls(&[CallKind::ConsentCreate]);
    em.account()
        .set_fault(once(Fault::ServerError {
            status: 504,
            processed: true,
        }))
        .unwrap();
    assert_eq!(em.create(record.clone()).await.0, 504);
    assert_eq!(em.account().record_count(), 1);
    em.account().set_fault(once(Fault::CutAfter)).unwrap();
    assert!(
        em.request(Method::POST, CONSENTS)
            .json(&record)
            .send()
            .await
            .is_err()
    );
    assert_eq!(em.account().record_count(), 2);
    em.account().set_fault(once(Fault::CutBefore)).unwrap();
    assert!(
        em.request(Method::POST, CONSENTS)
            .json(&record)
            .send()
            .await
            .is_err()
    );
    assert_eq!(em.account().record_count(), 2);
    em.account().set_fault(once(Fault::ProcessedTwice)).unwrap();
    assert_eq!(em.create(record.clone()).await.0, 200);
    assert_eq!(em.account().record_count(), 4, "the gateway tried twice");
    em.account()
        .set_fault(once(Fault::Stall { seconds: 3_600 }))
        .unwrap();
    let stalled = em
        .request(Method::POST, CONSENTS)
        .json(&record)
        .timeout(Duration::from_millis(300));
    assert!(stalled.send().await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn answers_can_be_torn_doubled_or_malformed() {
    let em = Em::start(0).await;
    for address in [ANN, "ben@x.example", "cat@x.example"] {
        em.create(em.record(address, MARKETING, "Consent")).await;
    }
    let once = |fault: Fault| em.account().set_fault(Rule::from(fault).times(1)).unwrap();
    once(Fault::HalfJson);
    let torn = em
        .request(Method::GET, CONSENTS)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        torn.starts_with("[{") && serde_json::from_str::<Value>(&torn).is_err(),
        "{torn}"
    );
    once(Fault::TruncatedBody);
    assert!(
        em.request(Method::GET, CONSENTS)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .is_err()
    );
    once(Fault::RepeatedRecords);
    let doubled = em.ok(CONSENTS).await;
    assert_eq!(
        (doubled.as_array().unwrap().len(), &doubled[0]),
        (6, &doubled[1])
    );
    once(Fault::ShortPages { rows: 2 });
    assert_eq!(
        em.ok(&format!("{CONSENTS}/filter"))
            .await
            .as_array()
            .unwrap()
            .len(),
        2
    );
    em.account()
        .set_fault(Fault::RawRecord {
            id: "Ben@x.example".to_owned(),
            json: "{\"key\":17}".to_owned(),
        })
        .unwrap();
    let rows = em.ok(CONSENTS).await;
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[1]),
        (3, &json!({"key": 17}))
    );
    assert_eq!(em.account().clear_faults(Some("raw-record")), 1);
}

#[tokio::test]
async fn the_accounts_clock_can_be_off() {
    let em = Em::start(0).await;
    em.account()
        .set_fault(Fault::ClockSkew { seconds: -600 })
        .unwrap();
    let request = em
        .request(Method::POST, CONSENTS)
        .json(&em.record(ANN, MARKETING, "Consent"));
    let response = request.send().await.unwrap();
    let date = response.headers()["date"].to_str().unwrap().to_owned();
    let stored = read(response).await.1;
    let stamp: chrono::DateTime<chrono::Utc> =
        stored["createdAt"].as_str().unwrap().parse().unwrap();
    let behind = (em.sandbox.clock().now() - stamp).num_seconds();
    assert!((598..=610).contains(&behind), "{behind}");
    let date = chrono::DateTime::parse_from_rfc2822(&date).unwrap();
    assert!(
        (date.to_utc() - stamp).num_seconds().abs() <= 2,
        "the Date header tells the same time"
    );
}

#[tokio::test]
async fn calls_are_counted_by_kind() {
    let em = Em::start(0).await;
    em.create(em.record(ANN, MARKETING, "Consent")).await;
    em.ok(&format!("{CONSENTS}?key={ANN}")).await;
    em.ok(&format!("{CONSENTS}/filter")).await;
    em.ok("/consent-public/v1/sources").await;
    em.ok("/contacts-api/v1/contacts?email=a@x.example").await;
    let calls = em.account().calls();
    for kind in [
        CallKind::ConsentCreate,
        CallKind::ConsentList,
        CallKind::ConsentFilter,
        CallKind::MasterData,
        CallKind::ContactFind,
    ] {
        assert_eq!(calls.of(kind), 1, "{kind:?}");
    }
    assert_eq!(
        (calls.total(), calls.full_listings, calls.records_written),
        (5, 0, 1)
    );
    em.account().reset_calls();
    assert_eq!(em.account().calls().total(), 0);
}
