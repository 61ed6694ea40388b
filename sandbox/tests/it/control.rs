//! The control API.

use consentd_sandbox::Sandbox;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{Client, http, read, sandbox};

async fn ask(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let mut request = http().request(method, format!("{}/v1{path}", sandbox.control_url()));
    if let Some(body) = body {
        request = request.json(&body);
    }
    read(request.send().await.unwrap()).await
}

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> Value {
    let (status, answer) = ask(sandbox, Method::POST, path, Some(body)).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn get(sandbox: &Sandbox, path: &str) -> Value {
    let (status, answer) = ask(sandbox, Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test]
async fn staff_edit_merge_and_delete_as_themselves() {
    let sandbox = sandbox(0).await;
    let new = |n: u8| json!({"fields": {"LastName": format!("Example {n}"), "Email": "Pat@Example.org", "Email_Giving__c": true}});
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(post(&sandbox, "/salesforce/create", new(n)).await["id"].clone());
    }
    let donor = json!({"fields": {"LastName": "Example", "Email": "pat@example.org"}});
    post(&sandbox, "/ascend/create", donor).await;
    let edit = json!({"id": ids[0], "fields": {"HasOptedOutOfEmail": true}, "by": "Marketing Cloud Integration Agent"});
    let state = post(&sandbox, "/salesforce/edit", edit).await;
    assert_eq!(
        (
            &state["opted_out"],
            &state["preferences"]["Email_Giving__c"]
        ),
        (&json!(true), &json!(false))
    );
    assert_eq!(state["modified_by"], "Marketing Cloud Integration Agent");
    let id = ids[0].as_str().unwrap();
    let soql = format!("/salesforce/select?soql=SELECT+LastName+FROM+Contact+WHERE+Id='{id}'");
    assert_eq!(
        get(&sandbox, &soql).await["records"][0]["LastName"],
        "Example 0"
    );
    assert_eq!(sandbox.salesforce().calls().counted, 0);
    let history = get(&sandbox, &format!("/salesforce/history/{id}")).await;
    assert_eq!(history["history"][1]["new"], json!(true));
    let parity = get(&sandbox, "/parity").await;
    assert_eq!(
        (&parity["equal"], &parity["different"]),
        (&json!(2), &json!(1))
    );

    let merge = json!({"winner": ids[1], "losers": [ids[0], ids[2]], "fields": {"HasOptedOutOfEmail": false}});
    post(&sandbox, "/salesforce/merge", merge).await;
    let found = get(&sandbox, "/contacts?address=PAT%40example.org").await;
    assert_eq!(found["contacts"].as_array().unwrap().len(), 4);
    assert_eq!(found["contacts"][0]["master_record_id"], ids[1]);
    post(&sandbox, "/salesforce/undelete", json!({"id": ids[0]})).await;
    let state = get(&sandbox, &format!("/salesforce/contacts/{id}")).await;
    assert_eq!(
        (&state["deleted"], &state["opted_out"]),
        (&json!(false), &json!(true))
    );
    post(&sandbox, "/salesforce/delete", json!({"id": ids[0]})).await;
    post(&sandbox, "/salesforce/hard-delete", json!({"id": ids[0]})).await;
    assert_eq!(
        ask(
            &sandbox,
            Method::GET,
            &format!("/salesforce/contacts/{id}"),
            None
        )
        .await
        .0,
        404
    );
}

#[tokio::test]
async fn a_manual_load_brings_old_values_back() {
    let sandbox = sandbox(50).await;
    let org = sandbox.ascend();
    let before = get(&sandbox, "/parity").await;
    let rows = post(&sandbox, "/ascend/snapshot", json!({"name": "may"})).await;
    assert_eq!(rows["rows"], 50);
    let ids = org.contact_ids(usize::MAX);
    let id = ids
        .into_iter()
        .find(|id| !org.contact(id).unwrap().opted_out)
        .unwrap();
    post(
        &sandbox,
        "/ascend/edit",
        json!({"id": id, "fields": {"HasOptedOutOfEmail": true}}),
    )
    .await;
    assert_eq!(org.contact(&id).unwrap().modified_by, "Records Specialist");
    post(&sandbox, "/clock/advance", json!({"seconds": 60})).await;
    let report = post(&sandbox, "/ascend/load", json!({"snapshot": "may"})).await;
    assert_eq!(report, json!({"rows": 50, "changed": 1, "refused": 0}));
    let contact = org.contact(&id).unwrap();
    assert_eq!(
        (contact.opted_out, contact.modified_by.as_str()),
        (false, "Data Load")
    );
    assert_eq!(get(&sandbox, "/parity").await, before);
    let one = post(
        &sandbox,
        "/ascend/load",
        json!({"snapshot": "may", "ids": [id], "by": "Data Load"}),
    )
    .await;
    assert_eq!(one["rows"], 1);
    let (status, _) = ask(
        &sandbox,
        Method::POST,
        "/ascend/load",
        Some(json!({"snapshot": "june"})),
    )
    .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn faults_calls_settings_and_clock_are_at_hand() {
    let sandbox = sandbox(0).await;
    let rule = json!({"name": "late-commit", "seconds": 30, "times": 2, "calls": ["row-write"]});
    let faults = post(&sandbox, "/salesforce/faults", rule.clone()).await;
    assert_eq!(faults["faults"][0]["name"], "late-commit");
    post(&sandbox, "/salesforce/faults", json!({"name": "cut-after"})).await;
    let (_, cleared) = ask(
        &sandbox,
        Method::DELETE,
        "/salesforce/faults/cut-after",
        None,
    )
    .await;
    assert_eq!(cleared["cleared"], 1);
    assert_eq!(
        get(&sandbox, "/salesforce/faults").await["faults"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    ask(&sandbox, Method::DELETE, "/salesforce/faults", None).await;
    assert_eq!(
        get(&sandbox, "/salesforce/faults").await["faults"],
        json!([])
    );

    Client::login(&sandbox, sandbox.salesforce()).await;
    let calls = get(&sandbox, "/salesforce/calls").await;
    assert_eq!(
        (&calls["logins"], &calls["by_kind"]["token"]),
        (&json!(1), &json!(1))
    );
    post(&sandbox, "/salesforce/calls/reset", json!({})).await;
    assert_eq!(get(&sandbox, "/salesforce/calls").await["logins"], 0);

    let path = "/salesforce/settings";
    let (status, settings) = ask(
        &sandbox,
        Method::PATCH,
        path,
        Some(json!({"page_rows": 300})),
    )
    .await;
    assert_eq!(
        (status.as_u16(), &settings["page_rows"]),
        (200, &json!(300))
    );
    assert_eq!(sandbox.salesforce().settings().page_rows, 300);

    let clock = post(&sandbox, "/clock/advance", json!({"seconds": 3_600})).await;
    assert_eq!(clock["ahead_secs"], 3_600);
    let systems = get(&sandbox, "/systems").await;
    assert_eq!(systems["ascend"], json!(sandbox.ascend().url()));

    let cases = [
        ("/salesforce/faults", json!({"name": "no-such-fault"}), 422),
        (
            "/salesforce/faults",
            json!({"name": "cut-after", "tims": 1}),
            422,
        ),
        ("/salesforce/settings", json!({}), 405),
        ("/elsewhere/faults", json!({"name": "cut-after"}), 400),
        (
            "/salesforce/edit",
            json!({"id": "003", "fields": {}, "by": "Nobody"}),
            404,
        ),
        (
            "/salesforce/edit",
            json!({"id": "0035e0000000zzz", "fields": {}}),
            422,
        ),
        ("/salesforce/edit", json!({"fields": {}}), 422),
        ("/nothing", json!({}), 404),
        (
            "/salesforce/create",
            json!({"fields": {"LastName": "x".repeat(2_000_000)}}),
            413,
        ),
    ];
    for (path, body, status) in cases {
        let (got, answer) = ask(&sandbox, Method::POST, path, Some(body)).await;
        assert_eq!(got.as_u16(), status, "{path}: {answer}");
    }
}

#[tokio::test]
async fn ports_are_given_back_and_a_taken_one_is_told() {
    let first = sandbox(0).await;
    let base: u16 = first
        .control_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let options = consentd_sandbox::Options {
        contacts: 0,
        seed: 1,
        port_base: Some(base),
    };
    assert!(consentd_sandbox::Sandbox::start(options).await.is_err());
    let url = first.salesforce().url();
    first.stop().await;
    assert!(
        http()
            .get(format!("{url}/services/data"))
            .send()
            .await
            .is_err()
    );

    for base in (41_000..42_000).step_by(10) {
        let options = consentd_sandbox::Options {
            contacts: 0,
            seed: 1,
            port_base: Some(base),
        };
        // Somebody else may hold one of the three ports.
        if let Ok(fixed) = Sandbox::start(options).await {
            let urls = [
                fixed.control_url(),
                fixed.salesforce().url(),
                fixed.ascend().url(),
            ];
            let expected =
                [base, base + 1, base + 2].map(|port| format!("http://127.0.0.1:{port}"));
            assert_eq!(urls, expected);
            return;
        }
    }
    panic!("no three ports are free");
}
