//! Bulk jobs, both ways.

use consentd_sandbox::{Fault, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, read, sandbox};

async fn finish(client: &Client, path: &str) -> Value {
    for _ in 0..10 {
        let (status, body) = client.get(path).await;
        assert_eq!(status, 200, "{body}");
        if !["UploadComplete", "InProgress"].contains(&body["state"].as_str().unwrap()) {
            return body;
        }
    }
    panic!("{path} does not end");
}

#[tokio::test]
async fn a_query_job_gives_its_rows_in_parts() {
    let sandbox = sandbox(250).await;
    let client = Client::login(&sandbox, sandbox.salesforce()).await;
    let job = json!({"operation": "query", "query": "SELECT Id, HasOptedOutOfEmail, LastModifiedBy.Name, SystemModstamp FROM Contact ORDER BY Id"});
    let (status, body) = client.send(Method::POST, "/jobs/query", job).await;
    assert_eq!(
        (status.as_u16(), &body["state"]),
        (200, &json!("UploadComplete")),
        "{body}"
    );
    let path = format!("/jobs/query/{}", body["id"].as_str().unwrap());
    assert_eq!(
        client.get(&format!("{path}/results")).await.0,
        400,
        "not before the job has ended"
    );
    assert_eq!(
        client
            .request(Method::DELETE, &path)
            .send()
            .await
            .unwrap()
            .status(),
        400
    );
    let (_, body) = client.get(&path).await;
    assert_eq!(body["state"], "InProgress");
    let body = finish(&client, &path).await;
    assert_eq!(
        (&body["state"], &body["numberRecordsProcessed"]),
        (&json!("JobComplete"), &json!(250))
    );

    let mut locator = String::new();
    let mut ids = Vec::new();
    for part in 0.. {
        let sent = client
            .request(
                Method::GET,
                &format!("{path}/results?maxRecords=100&locator={locator}"),
            )
            .send()
            .await
            .unwrap();
        locator = sent.headers()["sforce-locator"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = sent.text().await.unwrap();
        assert!(text.starts_with(
            "\"Id\",\"HasOptedOutOfEmail\",\"LastModifiedBy.Name\",\"SystemModstamp\"\n"
        ));
        ids.extend(text.lines().skip(1).map(|line| line[1..19].to_owned()));
        assert!(text.lines().nth(1).unwrap().ends_with(".000Z\""));
        if locator == "null" {
            assert_eq!(part, 2);
            break;
        }
    }
    assert_eq!(ids, sandbox.salesforce().contact_ids(1_000));
    let other = format!("/services/data/v60.0{path}/results");
    assert_eq!(client.get(&other).await.0, 409);
    sandbox
        .salesforce()
        .change_settings(|settings| settings.bulk_part_rows = 40);
    let (_, pages) = client.get(&format!("{path}/resultPages")).await;
    assert_eq!(
        (
            pages["resultPages"].as_array().unwrap().len(),
            pages["done"].clone()
        ),
        (5, json!(false))
    );
    let (_, pages) = client.get(pages["nextRecordsUrl"].as_str().unwrap()).await;
    assert_eq!(
        (
            pages["resultPages"].as_array().unwrap().len(),
            pages["done"].clone()
        ),
        (2, json!(true))
    );
    assert_eq!(
        client
            .request(Method::DELETE, &path)
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(client.get(&path).await.0, 404);
}

#[tokio::test]
async fn query_jobs_can_fail_stick_and_be_aborted() {
    let sandbox = sandbox(3).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let create = async || {
        let job = json!({"operation": "queryAll", "query": "SELECT Id FROM Contact"});
        let (_, body) = client.send(Method::POST, "/jobs/query", job).await;
        format!("/jobs/query/{}", body["id"].as_str().unwrap())
    };
    org.set_fault(Rule::from(Fault::BulkFailed { message: None }).times(1))
        .unwrap();
    let body = finish(&client, &create().await).await;
    assert_eq!(body["state"], "Failed");
    assert!(body["errorMessage"].is_string());
    org.set_fault(Rule::from(Fault::BulkStuck).times(1))
        .unwrap();
    let path = create().await;
    for _ in 0..5 {
        assert_eq!(client.get(&path).await.1["state"], "InProgress");
    }
    let (status, body) = client
        .send(Method::PATCH, &path, json!({"state": "Aborted"}))
        .await;
    assert_eq!((status.as_u16(), &body["state"]), (200, &json!("Aborted")));
    let bad = json!({"operation": "query", "query": "SELECT Id FROM Contact OFFSET 5"});
    assert_eq!(client.send(Method::POST, "/jobs/query", bad).await.0, 400);
}

async fn ingest(client: &Client, job: Value, csv: &str) -> String {
    let (status, body) = client.send(Method::POST, "/jobs/ingest", job).await;
    assert_eq!(
        (status.as_u16(), &body["state"]),
        (200, &json!("Open")),
        "{body}"
    );
    let path = format!("/jobs/ingest/{}", body["id"].as_str().unwrap());
    assert!(
        body["contentUrl"]
            .as_str()
            .unwrap()
            .starts_with("services/data/")
    );
    let put = client
        .request(Method::PUT, &format!("{path}/batches"))
        .header("content-type", "text/csv")
        .body(csv.to_owned());
    assert_eq!(put.send().await.unwrap().status(), 201);
    let (status, body) = client
        .send(Method::PATCH, &path, json!({"state": "UploadComplete"}))
        .await;
    assert_eq!(
        (status.as_u16(), &body["state"]),
        (200, &json!("UploadComplete"))
    );
    path
}

async fn text(client: &Client, path: &str) -> String {
    client
        .request(Method::GET, path)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_ingest_job_reports_each_row() {
    let sandbox = sandbox(10).await;
    let org = sandbox.ascend();
    let client = Client::login(&sandbox, org).await;
    let ids = org.contact_ids(2);
    let csv = format!(
        "Id,HasOptedOutOfEmail,Email\n{},true,\n{},false,#N/A\n0038f0000009999,true,\n",
        ids[0], ids[1]
    );
    let path = ingest(
        &client,
        json!({"object": "Contact", "operation": "update"}),
        &csv,
    )
    .await;
    let body = finish(&client, &path).await;
    assert_eq!(body["state"], "JobComplete");
    assert_eq!(
        (
            &body["numberRecordsProcessed"],
            &body["numberRecordsFailed"]
        ),
        (&json!(3), &json!(1))
    );
    assert!(org.contact(&ids[0]).unwrap().opted_out);
    assert_eq!(org.contact(&ids[1]).unwrap().address, None);
    let good = text(&client, &format!("{path}/successfulResults/")).await;
    assert!(
        good.starts_with("\"sf__Id\",\"sf__Created\",\"Id\",\"HasOptedOutOfEmail\",\"Email\"\n")
    );
    assert!(good.contains(&format!("\"{}\",\"false\"", ids[0])));
    let bad = text(&client, &format!("{path}/failedResults")).await;
    assert!(
        bad.contains("INVALID_CROSS_REFERENCE_KEY:invalid cross reference id: --"),
        "{bad}"
    );

    let upsert = json!({"object": "Contact", "operation": "upsert", "columnDelimiter": "SEMICOLON",
                        "externalIdFieldName": "ucinn_ascendv2__Donor_ID__c", "lineEnding": "CRLF"});
    let csv = "ucinn_ascendv2__Donor_ID__c;LastName\r\nBULK-1;Example\r\n";
    let path = ingest(&client, upsert, csv).await;
    finish(&client, &path).await;
    let good = text(&client, &format!("{path}/successfulResults")).await;
    assert!(
        good.contains("\"true\";\"BULK-1\";\"Example\"\r\n"),
        "{good}"
    );
}

#[tokio::test]
async fn a_failed_ingest_job_may_have_saved_rows() {
    let sandbox = sandbox(40).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let ids = org.contact_ids(4);
    let mut csv = "Id,HasOptedOutOfEmail\n".to_owned();
    for id in &ids {
        csv.push_str(id);
        csv.push_str(",true\n");
    }
    org.set_fault(
        Rule::from(Fault::BulkFailed {
            message: Some("Out of luck".to_owned()),
        })
        .times(1),
    )
    .unwrap();
    let path = ingest(
        &client,
        json!({"object": "Contact", "operation": "update"}),
        &csv,
    )
    .await;
    let body = finish(&client, &path).await;
    assert_eq!(
        (&body["state"], &body["errorMessage"]),
        (&json!("Failed"), &json!("Out of luck"))
    );
    assert_eq!(
        text(&client, &format!("{path}/successfulResults"))
            .await
            .lines()
            .count(),
        3
    );
    assert_eq!(
        text(&client, &format!("{path}/unprocessedrecords"))
            .await
            .lines()
            .count(),
        3
    );
    assert!(org.contact(&ids[1]).unwrap().opted_out);

    let path = ingest(
        &client,
        json!({"object": "Contact", "operation": "update"}),
        "Id,Nonsense\nx,y\n",
    )
    .await;
    assert_eq!(finish(&client, &path).await["state"], "Failed");
    let unknown = client.request(Method::GET, "/jobs/ingest/7505e0000000zzz");
    assert_eq!(read(unknown.send().await.unwrap()).await.0, 404);
}
