//! The account through the control API.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Em, MARKETING};
use crate::client::{http, read};

async fn ask(em: &Em, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let url = format!("{}/v1{path}", em.sandbox.control_url());
    let mut request = http().request(method, url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    read(request.send().await.unwrap()).await
}

async fn act(em: &Em, act: Value) -> Value {
    let (status, answer) = ask(em, Method::POST, "/emarketeer/acts", Some(act.clone())).await;
    assert_eq!(status, 200, "{act}: {answer}");
    answer
}

async fn get(em: &Em, path: &str) -> Value {
    let (status, answer) = ask(em, Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test]
async fn every_act_can_be_done_from_outside() {
    let em = Em::start(0).await;
    let ann = "ann@x.example";
    let made = act(
        &em,
        json!({"act": "create-contact", "address": "Ann@x.example", "fields": {"externalId": "7"}}),
    )
    .await;
    let id = made["id"].clone();
    act(
        &em,
        json!({"act": "submit-form", "address": ann, "purposes": [MARKETING], "text": "yes"}),
    )
    .await;
    let state = act(&em, json!({"act": "unsubscribe", "address": ann})).await;
    assert_eq!(state["consents"][MARKETING]["basis"], "Withdrawn");
    assert_eq!(state["consents"][MARKETING]["source"], "Unsubscribe link");
    let acts = [
        json!({"act": "edit-contact", "id": id, "fields": {"city": "Oslo"}}),
        json!({"act": "slide-on", "id": id, "basis": "Legitimate interest"}),
        json!({"act": "slide-off", "id": id}),
        json!({"act": "opt-out-of-all", "address": ann}),
        json!({"act": "complain", "address": ann}),
        json!({"act": "set-basis", "address": ann, "purpose": MARKETING, "basis": "Contract", "at": "2020-01-01T00:00:00Z"}),
        json!({"act": "opt-out-of", "address": ann, "subscription": "Events"}),
        json!({"act": "opt-in-to", "address": ann, "subscription": "Events"}),
        json!({"act": "bulk-update", "addresses": [ann], "store": "Contract", "marketing": "Consent"}),
        json!({"act": "bulk-unsubscribe", "addresses": [ann]}),
        json!({"act": "hard-bounce", "address": ann}),
        json!({"act": "fall-silent", "address": ann}),
        json!({"act": "confirm", "address": ann}),
        json!({"act": "add-duplicate", "address": ann}),
        json!({"act": "add-master-data", "kind": "source", "name": "Fair"}),
        json!({"act": "rename-master-data", "kind": "source", "name": "Fair", "new_name": "Trade fair"}),
        json!({"act": "remove-master-data", "kind": "source", "name": "Trade fair"}),
        json!({"act": "add-custom-field", "name": "c__shoe_size", "label": "Shoe size"}),
        json!({"act": "add-subscription", "name": "Offers"}),
        json!({"act": "add-campaign", "name": "Winter"}),
        json!({"act": "save-filter", "addresses": [ann]}),
        json!({"act": "change-address", "external_id": "7", "address": "anna@x.example"}),
    ];
    for one in acts {
        act(&em, one).await;
    }
    let import = json!({"act": "import", "rows": [{"address": ann}, {"address": "ben@x.example"}], "marketing": "Consent"});
    let report = act(&em, import).await;
    assert_eq!(
        report,
        json!({"created": 1, "updated": 1, "refused": 0, "kept_withdrawn": 1})
    );

    let state = get(&em, "/emarketeer/addresses?address=ann%40x.example").await;
    assert_eq!(
        (
            &state["hard_bounced"],
            state["contacts"].as_array().unwrap().len()
        ),
        (&json!(true), 1)
    );
    let history = get(&em, "/emarketeer/history?address=ann%40x.example").await;
    assert_eq!(
        history["history"][0]["at"], "2020-01-01T00:00:00Z",
        "oldest first"
    );
    assert_eq!(
        get(&em, &format!("/emarketeer/contacts/{id}")).await["address"],
        "anna@x.example"
    );
    let sources = get(&em, "/emarketeer/master/source").await;
    assert_eq!(
        sources["items"].as_array().unwrap().last().unwrap()["removed"],
        true
    );
    assert_eq!(get(&em, "/emarketeer/bulks").await["bulks"], json!([]));
    let everywhere = get(&em, "/contacts?address=ann%40x.example").await;
    assert_eq!(everywhere["emarketeer"], state);
    act(&em, json!({"act": "delete-contact", "id": id})).await;
    assert_eq!(
        ask(
            &em,
            Method::GET,
            &format!("/emarketeer/contacts/{id}"),
            None
        )
        .await
        .0,
        404
    );

    for bad in [
        json!({"act": "dance"}),
        json!({"act": "unsubscribe"}),
        json!({"act": "unsubscribe", "address": ann, "loudly": true}),
    ] {
        assert_eq!(
            ask(&em, Method::POST, "/emarketeer/acts", Some(bad.clone()))
                .await
                .0,
            422,
            "{bad}"
        );
    }
    let nobody = json!({"act": "delete-contact", "id": 1});
    assert_eq!(
        ask(&em, Method::POST, "/emarketeer/acts", Some(nobody))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn faults_calls_settings_and_send_outs_are_at_hand() {
    let em = Em::start(0).await;
    let rule =
        json!({"name": "server-error", "status": 502, "times": 1, "calls": ["consent-create"]});
    let (status, faults) = ask(&em, Method::POST, "/emarketeer/faults", Some(rule)).await;
    assert_eq!(
        (status.as_u16(), faults["faults"].as_array().unwrap().len()),
        (200, 1)
    );
    assert_eq!(
        em.create(em.record("ann@x.example", MARKETING, "Consent"))
            .await
            .0,
        502
    );
    let (_, cleared) = ask(&em, Method::DELETE, "/emarketeer/faults/server-error", None).await;
    assert_eq!(cleared["cleared"], 0, "it was spent");
    let foreign = json!({"name": "bulk-stuck"});
    assert_eq!(
        ask(&em, Method::POST, "/emarketeer/faults", Some(foreign))
            .await
            .0,
        400
    );

    assert_eq!(
        get(&em, "/emarketeer/calls").await["by_kind"]["consent-create"],
        1
    );
    ask(
        &em,
        Method::POST,
        "/emarketeer/calls/reset",
        Some(json!({})),
    )
    .await;
    assert_eq!(get(&em, "/emarketeer/calls").await["by_kind"], json!({}));

    let change = json!({"spelling": "nested", "query": {"key": "email"}});
    let (status, settings) = ask(&em, Method::PATCH, "/emarketeer/settings", Some(change)).await;
    assert_eq!(
        (status.as_u16(), &settings["spelling"]),
        (200, &json!("nested"))
    );
    assert_eq!(
        (&settings["query"]["key"], &settings["query"]["limit"]),
        (&json!("email"), &json!("limit"))
    );
    for bad in [
        json!({"speling": "flat"}),
        json!({"query": {"kee": "x"}}),
        json!({"spelling": "loud"}),
    ] {
        assert_eq!(
            ask(
                &em,
                Method::PATCH,
                "/emarketeer/settings",
                Some(bad.clone())
            )
            .await
            .0,
            400,
            "{bad}"
        );
    }
    let sendout = json!({"recipients": ["ann@x.example"]});
    let (status, made) = ask(&em, Method::POST, "/emarketeer/sendouts", Some(sendout)).await;
    assert_eq!(
        (
            status.as_u16(),
            &made["checklist"]["counts"]["consentWithdrawn"]
        ),
        (200, &json!(1))
    );
    assert_eq!(
        get(&em, &format!("/emarketeer/sendouts/{}", made["id"])).await,
        made
    );

    let systems = get(&em, "/systems").await;
    assert_eq!(systems["emarketeer"]["url"], json!(em.account().url()));
    assert!(systems["emarketeer"]["api_key"].is_string());
}
