//! The guesses at the unpublished schema, all of them.

use consentd_sandbox::emarketeer::{Spelling, Stamps, Wrapper};
use serde_json::{Value, json};

use super::{CONSENTS, Em, MARKETING};

const ANN: &str = "ann@x.example";

#[tokio::test]
async fn records_are_spelled_as_set_in_both_directions() {
    let em = Em::start(0).await;
    let (purpose, basis) = (em.purpose(MARKETING), em.basis("Consent"));
    let source = em.sources["Web form"].clone();
    let cases = [
        (
            Spelling::Flat,
            json!({"key": ANN, "purposeId": purpose, "legalBasisId": basis, "sourceId": source, "text": "yes"}),
            "createdAt",
        ),
        (
            Spelling::Nested,
            json!({
                "email": ANN,
                "purpose": {"id": purpose, "name": MARKETING},
                "legalBasis": {"id": basis, "name": "Consent"},
                "source": {"id": source, "name": "Web form"},
                "comment": "yes",
            }),
            "created",
        ),
        (
            Spelling::Named,
            json!({"email": ANN, "purpose": MARKETING, "legalBasis": "Consent", "source": "Web form", "description": "yes"}),
            "timestamp",
        ),
    ];
    for (spelling, sent, time) in &cases {
        em.account()
            .change_settings(|settings| settings.spelling = *spelling);
        let (status, mut stored) = em.create(sent.clone()).await;
        assert_eq!(status, 200, "{spelling:?}: {stored}");
        let shown = em.ok(&format!("{CONSENTS}?key={ANN}")).await;
        assert_eq!(shown[0], stored, "{spelling:?}");
        assert!(
            stored
                .as_object_mut()
                .unwrap()
                .remove(*time)
                .unwrap()
                .is_string(),
            "{spelling:?}"
        );
        assert_eq!(stored, *sent, "{spelling:?}");
        for (other, foreign, _) in cases.iter().filter(|case| case.0 != *spelling) {
            assert_eq!(
                em.create(foreign.clone()).await.0,
                400,
                "{other:?} for {spelling:?}"
            );
        }
    }
}

#[tokio::test]
async fn lists_times_and_ids_come_as_set() {
    let em = Em::start(0).await;
    em.account()
        .set_basis(
            ANN,
            MARKETING,
            "Consent",
            "Web form",
            None,
            Some("2026-01-05T10:00:00Z".parse().unwrap()),
        )
        .unwrap();
    let list = format!("{CONSENTS}?key={ANN}");
    for (stamps, shown) in [
        (Stamps::Zulu, "2026-01-05T10:00:00Z"),
        (Stamps::Offset, "2026-01-05T10:00:00+00:00"),
        (Stamps::Millis, "2026-01-05T10:00:00.000Z"),
    ] {
        em.account()
            .change_settings(|settings| settings.stamps = stamps);
        assert_eq!(em.ok(&list).await[0]["createdAt"], shown);
    }
    em.account().change_settings(|settings| {
        settings.ids_as_text = true;
        settings.record_ids = true;
    });
    let row = em.ok(&list).await[0].take();
    assert_eq!(
        (&row["id"], row["purposeId"].as_str()),
        (
            &json!("1"),
            Some(em.purpose(MARKETING).to_string().as_str())
        )
    );
    assert!(em.ok("/consent-public/v1/purposes").await[0]["id"].is_string());
    let mut record = em.record(ANN, MARKETING, "Withdrawn");
    record["purposeId"] = json!(em.purpose(MARKETING).to_string());
    assert_eq!(em.create(record).await.0, 200, "text is taken back");

    let paths = [
        list.as_str(),
        "/consent-public/v1/consents/filter?limit=1",
        "/contacts-api/v1/lists/",
    ];
    for path in paths {
        em.account()
            .change_settings(|settings| settings.wrapper = Wrapper::Items);
        assert!(em.ok(path).await["items"].is_array(), "{path}");
        em.account()
            .change_settings(|settings| settings.wrapper = Wrapper::Data);
        let data = em.ok(path).await;
        assert!(
            data["data"].is_array() && data["paging"]["total"].is_number(),
            "{path}: {data}"
        );
    }
}

#[tokio::test]
async fn parameters_have_the_names_they_are_given() {
    let em = Em::start(0).await;
    em.create(em.record(ANN, MARKETING, "Consent")).await;
    em.create(em.record("ben@x.example", MARKETING, "Consent"))
        .await;
    em.account().change_settings(|settings| {
        settings.query.key = "email".to_owned();
        settings.query.limit = "pageSize".to_owned();
    });
    let rows = |body: &Value| body.as_array().unwrap().len();
    assert_eq!(rows(&em.ok(&format!("{CONSENTS}?email={ANN}")).await), 1);
    assert_eq!(
        rows(&em.ok(&format!("{CONSENTS}/filter?pageSize=1")).await),
        1
    );
    assert_eq!(
        rows(&em.ok(&format!("{CONSENTS}?key={ANN}")).await),
        2,
        "an unknown parameter is ignored: all"
    );
    em.account()
        .change_settings(|settings| settings.unknown_parameters_refused = true);
    assert_eq!(em.get(&format!("{CONSENTS}?key={ANN}")).await.0, 400);
    assert_eq!(em.get(&format!("{CONSENTS}/filter?limit=1")).await.0, 400);
    assert_eq!(rows(&em.ok(&format!("{CONSENTS}?email={ANN}")).await), 1);
}

#[tokio::test]
async fn addresses_that_are_not_simple_are_taken_where_the_account_does_so() {
    let em = Em::start(0).await;
    let record = em.record("jörg/x@x.example", MARKETING, "Consent");
    assert_eq!(em.create(record.clone()).await.0, 400);
    em.account()
        .change_settings(|settings| settings.simple_addresses_only = false);
    assert_eq!(em.create(record).await.0, 200);
    assert_eq!(
        em.marketing("J%C3%96rg/x@x.example").await.as_deref(),
        Some("Consent")
    );
}
