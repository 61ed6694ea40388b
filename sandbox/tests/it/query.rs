//! Reading: versions, describe, queries and their pages, windows of changes.

use consentd_sandbox::{Fault, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, DATA, fields, http, read, sandbox};

#[tokio::test]
async fn versions_need_no_login_and_count_nothing() {
    let sandbox = sandbox(0).await;
    let sent = http()
        .get(format!("{}/services/data/", sandbox.salesforce().url()))
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    assert!(sent.headers().contains_key("date"));
    assert!(!sent.headers().contains_key("sforce-limit-info"));
    let list: Value = sent.json().await.unwrap();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .any(|one| one["version"] == "66.0")
    );
    assert_eq!(sandbox.salesforce().calls().counted, 0);
}

#[tokio::test]
async fn describe_tells_the_columns_and_answers_304() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let sent = client
        .request(Method::GET, "/sobjects/Contact/describe")
        .send()
        .await
        .unwrap();
    let stamp = sent.headers()["last-modified"].to_str().unwrap().to_owned();
    let body: Value = sent.json().await.unwrap();
    let field = |body: &Value, name: &str| {
        body["fields"]
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field["name"] == name)
            .cloned()
    };
    let flag = field(&body, "HasOptedOutOfEmail").unwrap();
    assert_eq!(
        (&flag["type"], &flag["updateable"], &flag["nillable"]),
        (&json!("boolean"), &json!(true), &json!(false))
    );
    assert_eq!(field(&body, "Ascend_ID__c").unwrap()["externalId"], true);
    let again = client
        .request(Method::GET, "/sobjects/Contact/describe")
        .header("If-Modified-Since", stamp)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    let (status, list) = client.get("/sobjects").await;
    assert_eq!(status, 200);
    assert!(
        list["sobjects"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "ContactHistory")
    );

    let hidden = Fault::FieldHidden {
        object: "Contact".to_owned(),
        field: "HasOptedOutOfEmail".to_owned(),
    };
    org.set_fault(hidden).unwrap();
    let (_, body) = client.get("/sobjects/Contact/describe").await;
    assert_eq!(field(&body, "HasOptedOutOfEmail"), None);
    let (status, body) = read(
        client
            .soql("query", "SELECT HasOptedOutOfEmail FROM Contact")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("INVALID_FIELD"))
    );
    org.clear_faults(Some("field-hidden"));
    let read_only = Fault::FieldReadOnly {
        object: "Contact".to_owned(),
        field: "HasOptedOutOfEmail".to_owned(),
    };
    org.set_fault(read_only).unwrap();
    let (_, body) = client.get("/sobjects/Contact/describe").await;
    assert_eq!(
        field(&body, "HasOptedOutOfEmail").unwrap()["updateable"],
        false
    );
}

#[tokio::test]
async fn pages_follow_one_another_to_the_end() {
    let sandbox = sandbox(5_000).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let soql = "SELECT Id, Email, LastModifiedBy.Name, SystemModstamp FROM Contact ORDER BY SystemModstamp, Id";
    let mut page = client.query(soql).await;
    assert_eq!(page["totalSize"], 5_000);
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut pages = 1;
    loop {
        for record in page["records"].as_array().unwrap() {
            assert_eq!(record["attributes"]["type"], "Contact");
            assert!(record["LastModifiedBy"]["Name"].is_string());
            seen.push((
                record["SystemModstamp"].as_str().unwrap().to_owned(),
                record["Id"].as_str().unwrap().to_owned(),
            ));
        }
        let Some(next) = page["nextRecordsUrl"].as_str() else {
            break;
        };
        assert_eq!(page["done"], false);
        let (status, body) = client.get(next).await;
        assert_eq!(status, 200);
        page = body;
        pages += 1;
    }
    assert_eq!(
        (pages, seen.len(), page["done"].clone()),
        (3, 5_000, json!(true))
    );
    assert!(seen.is_sorted(), "rows come in the order asked for");
    assert!(seen[0].0.ends_with(".000+0000"));
    let small = client
        .soql("query", soql)
        .header("Sforce-Query-Options", "batchSize=10")
        .send()
        .await
        .unwrap();
    assert!(
        small.headers()["sforce-limit-info"]
            .to_str()
            .unwrap()
            .starts_with("api-usage=")
    );
    assert_eq!(
        read(small).await.1["records"].as_array().unwrap().len(),
        200
    );
}

#[tokio::test]
async fn cursors_die_of_age_number_and_fault() {
    let sandbox = sandbox(500).await;
    let org = sandbox.salesforce();
    org.change_settings(|settings| settings.page_rows = 200);
    let client = Client::login(&sandbox, org).await;
    let first = client.query("SELECT Id FROM Contact").await;
    let link = first["nextRecordsUrl"].as_str().unwrap().to_owned();
    assert_eq!(client.get(&link).await.0, 200);
    assert_eq!(
        client.get(&format!("{link}?q=ignored")).await.0,
        200,
        "a page may be read again"
    );
    for _ in 0..10 {
        client.query("SELECT Id FROM Contact").await;
    }
    let (status, body) = client.get(&link).await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("INVALID_QUERY_LOCATOR"))
    );

    let other = client.query("SELECT Id FROM Contact").await;
    let link = other["nextRecordsUrl"].as_str().unwrap();
    org.set_fault(Rule::from(Fault::CursorExpiry).times(1))
        .unwrap();
    assert_eq!(client.get(link).await.0, 400);

    let other = client.query("SELECT Id FROM Contact").await;
    let link = other["nextRecordsUrl"].as_str().unwrap();
    sandbox.clock().advance(172_801);
    let client = Client::login(&sandbox, org).await;
    assert_eq!(client.get(link).await.0, 400);
}

#[tokio::test]
async fn deleted_rows_show_in_query_all_only() {
    let sandbox = sandbox(20).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let ids = org.contact_ids(3);
    org.delete(&ids[0], "eComm Specialist").unwrap();
    org.merge(
        &ids[1],
        &[ids[2].clone()],
        &fields(json!({})),
        "eComm Specialist",
    )
    .unwrap();
    assert_eq!(
        client.query("SELECT COUNT() FROM Contact").await["totalSize"],
        18
    );
    let all = client.soql(
        "queryAll",
        "SELECT Id, MasterRecordId FROM Contact WHERE IsDeleted = true ORDER BY Id",
    );
    let (_, body) = read(all.send().await.unwrap()).await;
    assert_eq!(body["totalSize"], 2);
    assert_eq!(body["records"][1]["MasterRecordId"], json!(ids[1]));
    org.hard_delete(&ids[0]).unwrap();
    let all = client.soql("queryAll", "SELECT Id FROM Contact WHERE IsDeleted = true");
    assert_eq!(read(all.send().await.unwrap()).await.1["totalSize"], 1);
    sandbox.clock().advance(15 * 86_400 + 1);
    let client = Client::login(&sandbox, org).await;
    let all = client.soql("queryAll", "SELECT Id FROM Contact WHERE IsDeleted = true");
    let (_, body) = read(all.send().await.unwrap()).await;
    assert_eq!(
        body["totalSize"], 0,
        "the recycle bin keeps rows for 15 days"
    );
}

#[tokio::test]
async fn bad_queries_are_refused_in_the_platforms_words() {
    let sandbox = sandbox(3).await;
    let client = Client::login(&sandbox, sandbox.salesforce()).await;
    let cases = [
        ("SELECT Id FRM Contact", "MALFORMED_QUERY"),
        ("SELECT Nonsense__c FROM Contact", "INVALID_FIELD"),
        ("SELECT Id FROM Nonsense", "INVALID_TYPE"),
        (
            "SELECT Id FROM ContactHistory WHERE NewValue = true",
            "INVALID_FIELD",
        ),
    ];
    for (soql, code) in cases {
        let (status, body) = read(client.soql("query", soql).send().await.unwrap()).await;
        assert_eq!(
            (status.as_u16(), body[0]["errorCode"].as_str()),
            (400, Some(code)),
            "{soql}: {body}"
        );
    }
    let long = format!(
        "SELECT Id FROM Contact WHERE Id IN ('{}')",
        "003000000000000','".repeat(1_200)
    );
    assert_eq!(
        client.soql("query", &long).send().await.unwrap().status(),
        414
    );
}

#[tokio::test]
async fn windows_of_changes_lag_and_refuse_bad_bounds() {
    let sandbox = sandbox(30).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let ids = org.contact_ids(2);
    sandbox.clock().advance(120);
    let start = (org.now() - chrono::TimeDelta::minutes(1))
        .format("%Y-%m-%dT%H:%M:%S+00:00")
        .to_string();
    let end = (org.now() + chrono::TimeDelta::minutes(2))
        .format("%Y-%m-%dT%H:%M:%S+00:00")
        .to_string();
    org.edit(
        &ids[0],
        &fields(json!({"HasOptedOutOfEmail": true})),
        "eComm Specialist",
    )
    .unwrap();
    org.delete(&ids[1], "eComm Specialist").unwrap();
    let window = [("start", start.as_str()), ("end", end.as_str())];
    let updated = client
        .request(Method::GET, "/sobjects/Contact/updated/")
        .query(&window)
        .send()
        .await
        .unwrap();
    let (status, body) = read(updated).await;
    assert_eq!(
        (status.as_u16(), &body["ids"]),
        (200, &json!([ids[0]])),
        "{body}"
    );
    let covered = chrono::DateTime::parse_from_str(
        body["latestDateCovered"].as_str().unwrap(),
        "%Y-%m-%dT%H:%M:%S%.f%z",
    );
    assert!(covered.unwrap() <= org.now() - chrono::TimeDelta::seconds(59));
    let deleted = client
        .request(Method::GET, "/sobjects/Contact/deleted")
        .query(&window)
        .send()
        .await
        .unwrap();
    let (_, body) = read(deleted).await;
    assert_eq!(body["deletedRecords"][0]["id"], json!(ids[1]));

    let old = "2020-01-01T00:00:00Z";
    for (start, end) in [
        (old, end.as_str()),
        (&end, &start),
        ("2026-05-01T00:00:00:", &end),
        (&start, &start),
    ] {
        let window = [("start", start), ("end", end)];
        let sent = client
            .request(Method::GET, "/sobjects/Contact/updated")
            .query(&window)
            .send()
            .await
            .unwrap();
        let (status, body) = read(sent).await;
        assert_eq!(
            (status.as_u16(), &body[0]["errorCode"]),
            (400, &json!("INVALID_REPLICATION_DATE")),
            "{start}"
        );
    }
}

#[tokio::test]
async fn a_late_commit_has_an_old_stamp_and_holds_back_the_window() {
    let sandbox = sandbox(10).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let id = org.contact_ids(1).remove(0);
    let before = org.contact(&id).unwrap();
    org.set_fault(Rule::from(Fault::LateCommit { seconds: 300 }).times(1))
        .unwrap();
    let flipped = !before.opted_out;
    org.edit(
        &id,
        &fields(json!({"HasOptedOutOfEmail": flipped})),
        "eComm Specialist",
    )
    .unwrap();
    let stamp = org.contact(&id).unwrap().stamp;
    let soql = format!("SELECT HasOptedOutOfEmail FROM Contact WHERE Id = '{id}'");
    assert_eq!(
        client.query(&soql).await["records"][0]["HasOptedOutOfEmail"],
        json!(before.opted_out)
    );
    let history = format!(
        "SELECT NewValue FROM ContactHistory WHERE ContactId = '{id}' AND CreatedDate >= {}",
        stamp.format("%Y-%m-%dT%H:%M:%SZ")
    );
    assert_eq!(client.query(&history).await["totalSize"], 0);
    sandbox.clock().advance(200);
    let start = (stamp - chrono::TimeDelta::minutes(5))
        .format("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    let end = org.now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let sent = client
        .request(Method::GET, "/sobjects/Contact/updated")
        .query(&[("start", &start), ("end", &end)])
        .send()
        .await
        .unwrap();
    let (_, body) = read(sent).await;
    assert_eq!(body["ids"], json!([]));
    assert_eq!(
        body["latestDateCovered"],
        stamp.format("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
    );
    sandbox.clock().advance(101);
    let since = format!(
        "SELECT Id, HasOptedOutOfEmail FROM Contact WHERE SystemModstamp >= {}",
        stamp.format("%Y-%m-%dT%H:%M:%SZ")
    );
    assert_eq!(
        client.query(&since).await["records"][0]["HasOptedOutOfEmail"],
        json!(flipped)
    );
    assert_eq!(
        client.query(&history).await["records"][0]["NewValue"],
        json!(flipped)
    );
    let link = client
        .query(&format!(
            "SELECT Id FROM Contact WHERE Id = '{}'",
            &id[..15]
        ))
        .await;
    assert_eq!(
        link["records"][0]["attributes"]["url"],
        format!("{DATA}/sobjects/Contact/{id}")
    );
}
