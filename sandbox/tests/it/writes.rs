//! Writing: rows, collections, composite, and what the org does by itself.

use consentd_sandbox::{Fault, Rule, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, fields, read, sandbox};

fn opted_in(sandbox: &Sandbox, count: usize) -> Vec<String> {
    let org = sandbox.salesforce();
    let ids = org.contact_ids(usize::MAX).into_iter();
    ids.filter(|id| org.contact(id).is_some_and(|contact| !contact.opted_out))
        .take(count)
        .collect()
}

fn rows(ids: &[String], value: bool) -> Vec<Value> {
    ids.iter()
        .map(|id| json!({"attributes": {"type": "Contact"}, "id": id, "HasOptedOutOfEmail": value}))
        .collect()
}

#[tokio::test]
async fn single_rows_live_a_whole_life() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let (status, body) = client
        .send(
            Method::POST,
            "/sobjects/Contact",
            json!({"FirstName": "No"}),
        )
        .await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("REQUIRED_FIELD_MISSING"))
    );
    let new = json!({"LastName": "Example", "Email": "one@example.org", "Email_Events__c": true});
    let (status, body) = client.send(Method::POST, "/sobjects/Contact", new).await;
    assert_eq!(status, 201);
    let id = body["id"].as_str().unwrap().to_owned();
    let path = format!("/sobjects/Contact/{id}");
    let (status, row) = client
        .get(&format!("{path}?fields=Email,HasOptedOutOfEmail"))
        .await;
    assert_eq!(
        (status.as_u16(), row["HasOptedOutOfEmail"].clone()),
        (200, json!(false))
    );
    assert_eq!(row.as_object().unwrap().len(), 3);
    let (status, body) = client
        .send(Method::PATCH, &path, json!({"HasOptedOutOfEmail": true}))
        .await;
    assert_eq!((status.as_u16(), body), (204, Value::Null));
    let contact = org.contact(&id).unwrap();
    assert!(contact.opted_out);
    assert!(
        contact.preferences.values().all(|on| !on),
        "the opt-out cleared the boxes"
    );
    assert_eq!(contact.modified_by, "Consent Integration");
    let history = org.history(&id);
    assert_eq!(
        history
            .iter()
            .map(|row| row.field.as_str())
            .collect::<Vec<_>>(),
        ["created", "HasOptedOutOfEmail"]
    );
    assert_eq!(
        (&history[1].old, &history[1].new),
        (&json!(false), &json!(true))
    );

    for (body, code) in [
        (json!({"Nonsense": 1}), "INVALID_FIELD"),
        (
            json!({"HasOptedOutOfEmail": "perhaps"}),
            "JSON_PARSER_ERROR",
        ),
        (json!({"Email": "not an address"}), "INVALID_EMAIL_ADDRESS"),
        (
            json!({"SystemModstamp": "2026-01-01T00:00:00Z"}),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
        ),
    ] {
        let (status, answer) = client.send(Method::PATCH, &path, body.clone()).await;
        assert_eq!(
            (status.as_u16(), answer[0]["errorCode"].as_str()),
            (400, Some(code)),
            "{body}"
        );
    }
    assert_eq!(
        client
            .request(Method::DELETE, &path)
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    let (status, body) = client.get(&path).await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (404, &json!("ENTITY_IS_DELETED"))
    );
    let (status, body) = client.get("/sobjects/Contact/0035e0000000zzzAAA").await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (404, &json!("NOT_FOUND"))
    );
}

#[tokio::test]
async fn conditional_writes_compare_whole_seconds() {
    let sandbox = sandbox(5).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let id = org.contact_ids(1).remove(0);
    let path = format!("/sobjects/Contact/{id}");
    let stamp = client
        .request(Method::GET, &path)
        .send()
        .await
        .unwrap()
        .headers()["last-modified"]
        .clone();
    let patch = async |stamp: &str| {
        let body = json!({"HasOptedOutOfEmail": true});
        let request = client
            .request(Method::PATCH, &path)
            .header("If-Unmodified-Since", stamp)
            .json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    sandbox.clock().advance(5);
    assert_eq!(patch(stamp.to_str().unwrap()).await, 204);
    assert_eq!(patch(stamp.to_str().unwrap()).await, 412);
    assert_eq!(patch("yesterday").await, 400);
    let fresh = client
        .request(Method::GET, &path)
        .header("If-Modified-Since", "Fri, 01 Jan 2100 10:00:00 GMT");
    assert_eq!(fresh.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn upserts_create_update_or_name_the_candidates() {
    let sandbox = sandbox(0).await;
    let org = sandbox.ascend();
    let client = Client::login(&sandbox, org).await;
    let path = "/sobjects/Contact/ucinn_ascendv2__Donor_ID__c/D-1";
    let (status, body) = client
        .send(Method::PATCH, path, json!({"LastName": "Example"}))
        .await;
    assert_eq!(
        (status.as_u16(), body["created"].clone()),
        (201, json!(true))
    );
    let (status, body) = client
        .send(Method::PATCH, path, json!({"HasOptedOutOfEmail": true}))
        .await;
    assert_eq!(
        (status.as_u16(), body["created"].clone()),
        (200, json!(false))
    );
    let twin = fields(json!({"LastName": "Twin", "ucinn_ascendv2__Donor_ID__c": "D-1"}));
    org.create("Contact", &twin, "Records Specialist", None)
        .unwrap();
    let (status, body) = client
        .send(Method::PATCH, path, json!({"HasOptedOutOfEmail": true}))
        .await;
    assert_eq!((status.as_u16(), body.as_array().unwrap().len()), (300, 2));
    let missing = "/sobjects/Contact/ucinn_ascendv2__Donor_ID__c/D-9?updateOnly=true";
    assert_eq!(
        client
            .send(Method::PATCH, missing, json!({"LastName": "No"}))
            .await
            .0,
        404
    );
    let records = json!({"records": [
        {"attributes": {"type": "Contact"}, "ucinn_ascendv2__Donor_ID__c": "D-2", "LastName": "New"},
        {"attributes": {"type": "Contact"}, "ucinn_ascendv2__Donor_ID__c": "D-1", "LastName": "Two"}]});
    let many = "/composite/sobjects/Contact/ucinn_ascendv2__Donor_ID__c";
    let (status, body) = client.send(Method::PATCH, many, records).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&body[0]["created"], &body[1]["success"]),
        (&json!(true), &json!(false))
    );
}

#[tokio::test]
async fn collections_answer_row_by_row_in_order() {
    let sandbox = sandbox(100).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let ids = opted_in(&sandbox, 4);
    org.delete(&ids[1], "eComm Specialist").unwrap();
    let mut records = rows(&ids, true);
    records.push(
        json!({"attributes": {"type": "Contact"}, "Id": &ids[0][..15], "HasOptedOutOfEmail": true}),
    );
    records.push(json!({"attributes": {"type": "Contact"}, "id": "0035e0000000zzz", "HasOptedOutOfEmail": true}));
    let body = json!({"allOrNone": false, "records": records});
    let (status, results) = client
        .send(Method::PATCH, "/composite/sobjects", body)
        .await;
    assert_eq!(status, 200);
    let codes: Vec<Option<&str>> = (0..6)
        .map(|place| results[place]["errors"][0]["statusCode"].as_str())
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some("ENTITY_IS_DELETED"),
            None,
            None,
            Some("DUPLICATE_VALUE"),
            Some("INVALID_CROSS_REFERENCE_KEY")
        ]
    );
    assert_eq!(
        (&results[0]["id"], results[1].get("id")),
        (&json!(ids[0]), None)
    );
    let calls = org.calls();
    assert_eq!((calls.rows_changed, calls.rows_unchanged), (3, 0));

    let again = json!({"records": rows(&ids[..1], true)});
    client
        .send(Method::PATCH, "/composite/sobjects", again)
        .await;
    assert_eq!(org.calls().rows_unchanged, 1);
    assert_eq!(
        org.history(&ids[0])
            .iter()
            .filter(|row| row.new == json!(true))
            .count(),
        1
    );

    let many =
        json!({"records": vec![json!({"attributes": {"type": "Contact"}, "id": ids[0]}); 201]});
    let (status, body) = client
        .send(Method::PATCH, "/composite/sobjects", many)
        .await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("EXCEEDED_ID_LIMIT"))
    );
    let wanted = json!({"ids": [ids[3], ids[1], ids[0]], "fields": ["Id", "HasOptedOutOfEmail"]});
    let (_, body) = client
        .send(Method::POST, "/composite/sobjects/Contact", wanted)
        .await;
    assert_eq!(
        (&body[0]["Id"], &body[1], &body[2]["Id"]),
        (&json!(ids[3]), &Value::Null, &json!(ids[0]))
    );
    let path = format!(
        "/composite/sobjects?ids={},{}&allOrNone=false",
        ids[2], ids[1]
    );
    let (_, body) = read(client.request(Method::DELETE, &path).send().await.unwrap()).await;
    assert_eq!(
        (&body[0]["success"], &body[1]["success"]),
        (&json!(true), &json!(false))
    );
}

#[tokio::test]
async fn all_or_none_takes_every_row_back() {
    let sandbox = sandbox(100).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let ids = opted_in(&sandbox, 3);
    let stamp = org.contact(&ids[0]).unwrap().stamp;
    let refuse = Fault::ValidationFailure {
        ids: Some(vec![ids[1].clone()]),
        message: Some("Not so.".to_owned()),
    };
    org.set_fault(refuse).unwrap();
    let body = json!({"allOrNone": true, "records": rows(&ids, true)});
    let (_, results) = client
        .send(Method::PATCH, "/composite/sobjects", body)
        .await;
    let codes: Vec<_> = (0..3)
        .map(|place| results[place]["errors"][0]["statusCode"].as_str().unwrap())
        .collect();
    let rolled_back = "ALL_OR_NONE_OPERATION_ROLLED_BACK";
    assert_eq!(
        codes,
        [
            rolled_back,
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            rolled_back
        ]
    );
    assert_eq!(results[0]["id"], json!(ids[0]));
    let contact = org.contact(&ids[0]).unwrap();
    assert_eq!((contact.opted_out, contact.stamp), (false, stamp));
    assert!(
        org.history(&ids[0])
            .iter()
            .all(|row| row.field != "HasOptedOutOfEmail" || row.new != json!(true))
    );
    assert_eq!(
        org.calls().rows_changed,
        0,
        "what was rolled back counts as nothing"
    );
}

#[tokio::test]
async fn row_faults_strike_single_rows() {
    let sandbox = sandbox(100).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let ids = opted_in(&sandbox, 4);
    let save = async |header: Option<&str>| {
        let body = json!({"records": rows(&ids, true)});
        let mut request = client
            .request(Method::PATCH, "/composite/sobjects")
            .json(&body);
        if let Some(value) = header {
            request = request.header("Sforce-Duplicate-Rule-Header", value);
        }
        let (_, body) = read(request.send().await.unwrap()).await;
        let results = body.as_array().unwrap().clone();
        results
            .into_iter()
            .map(|row| {
                row["errors"][0]["statusCode"]
                    .as_str()
                    .unwrap_or("")
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    org.set_fault(Fault::RowLock { every: 2 }).unwrap();
    assert_eq!(
        save(None).await,
        ["", "UNABLE_TO_LOCK_ROW", "", "UNABLE_TO_LOCK_ROW"]
    );
    org.clear_faults(None);
    org.set_fault(Fault::DuplicateRule { alert_only: true })
        .unwrap();
    assert!(
        save(None)
            .await
            .iter()
            .all(|code| code == "DUPLICATES_DETECTED")
    );
    assert!(
        save(Some("allowSave=true"))
            .await
            .iter()
            .all(String::is_empty)
    );
    org.clear_faults(None);
    org.set_fault(Fault::DuplicateRule { alert_only: false })
        .unwrap();
    assert!(
        save(Some("allowSave=true"))
            .await
            .iter()
            .all(|code| code == "DUPLICATES_DETECTED")
    );
    org.clear_faults(None);
    org.set_fault(Fault::FieldReadOnly {
        object: "Contact".to_owned(),
        field: "HasOptedOutOfEmail".to_owned(),
    })
    .unwrap();
    assert!(
        save(None)
            .await
            .iter()
            .all(|code| code == "INVALID_FIELD_FOR_INSERT_UPDATE")
    );
    org.clear_faults(None);
    org.set_fault(Fault::FieldHidden {
        object: "Contact".to_owned(),
        field: "HasOptedOutOfEmail".to_owned(),
    })
    .unwrap();
    let (status, body) = client
        .send(
            Method::PATCH,
            "/composite/sobjects",
            json!({"records": rows(&ids, true)}),
        )
        .await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("INVALID_FIELD"))
    );
}

#[tokio::test]
async fn composite_binds_references_and_rolls_back() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let request = json!({"allOrNone": true, "compositeRequest": [
        {"method": "POST", "url": "/services/data/v66.0/sobjects/Contact", "referenceId": "new",
         "body": {"LastName": "Example"}},
        {"method": "PATCH", "url": "/services/data/v66.0/sobjects/Contact/@{new.id}", "referenceId": "set",
         "body": {"HasOptedOutOfEmail": true}}]});
    let (status, body) = client.send(Method::POST, "/composite", request).await;
    assert_eq!(status, 200);
    assert_eq!(
        body["compositeResponse"][1]["httpStatusCode"], 204,
        "{body}"
    );
    let id = body["compositeResponse"][0]["body"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(org.contact(&id).unwrap().opted_out);

    let url = format!("/services/data/v66.0/sobjects/Contact/{id}");
    let request = json!({"allOrNone": true, "compositeRequest": [
        {"method": "PATCH", "url": url, "referenceId": "a", "body": {"HasOptedOutOfEmail": false}},
        {"method": "PATCH", "url": url, "referenceId": "b", "body": {"LastName": "Late"},
         "httpHeaders": {"If-Unmodified-Since": "Fri, 01 May 2020 10:00:00 GMT"}}]});
    let (_, body) = client.send(Method::POST, "/composite", request).await;
    assert_eq!(
        body["compositeResponse"][0]["body"][0]["errorCode"],
        "PROCESSING_HALTED"
    );
    assert_eq!(body["compositeResponse"][1]["httpStatusCode"], 412);
    assert!(
        org.contact(&id).unwrap().opted_out,
        "the first change was taken back"
    );

    let request = json!({"haltOnError": true, "batchRequests": [
        {"method": "GET", "url": format!("v66.0/sobjects/Contact/{id}?fields=Id")},
        {"method": "GET", "url": "/services/data/v66.0/sobjects/Contact/none"},
        {"method": "GET", "url": "v66.0/limits"}]});
    let (_, body) = client.send(Method::POST, "/composite/batch", request).await;
    let codes: Vec<_> = (0..3)
        .map(|place| body["results"][place]["statusCode"].as_u64().unwrap())
        .collect();
    assert_eq!(
        (codes, body["hasErrors"].clone()),
        (vec![200, 404, 412], json!(true))
    );
}

#[tokio::test]
async fn the_automation_and_the_tracking_can_be_switched() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let new = |boxes: bool| fields(json!({"LastName": "Example", "Email_Giving__c": boxes}));
    let out = fields(json!({"HasOptedOutOfEmail": true}));
    let first = org
        .create("Contact", &new(true), "Data Load", None)
        .unwrap();
    org.change_settings(|settings| settings.opt_out_clears_boxes = false);
    org.edit(&first, &out, "eComm Specialist").unwrap();
    assert!(org.contact(&first).unwrap().preferences["Email_Giving__c"]);
    org.change_settings(|settings| settings.opt_out_clears_boxes = true);
    org.track("HasOptedOutOfEmail", false);
    org.track("Email_Giving__c", true);
    let second = org
        .create("Contact", &new(true), "Data Load", None)
        .unwrap();
    org.edit(&second, &out, "eComm Specialist").unwrap();
    let tracked: Vec<String> = org
        .history(&second)
        .into_iter()
        .map(|row| row.field)
        .collect();
    assert_eq!(tracked, ["created", "Email_Giving__c"]);
    org.set_fault(Fault::HistoryOff).unwrap();
    org.edit(
        &second,
        &fields(json!({"Email_Giving__c": true})),
        "eComm Specialist",
    )
    .unwrap();
    assert_eq!(org.history(&second).len(), 2);
}

#[tokio::test]
async fn the_ascend_package_has_its_own_ways() {
    let sandbox = sandbox(50).await;
    let org = sandbox.ascend();
    let client = Client::login(&sandbox, org).await;
    let value = client
        .query("SELECT Id FROM ucinn_ascendv2__Service_Indicator_Value__c WHERE ucinn_ascendv2__Code__c = 'NE'")
        .await["records"][0]["Id"]
        .clone();
    let contact = org.contact_ids(1).remove(0);
    let path = "/sobjects/ucinn_ascendv2__Service_Indicator__c";
    let new = |value: &Value| {
        json!({"ucinn_ascendv2__Contact__c": contact, "ucinn_ascendv2__Service_Indicator_Value__c": value,
               "ucinn_ascendv2__Is_Active__c": true, "ucinn_ascendv2__Start_Date__c": "2026-05-01"})
    };
    let (status, body) = client.send(Method::POST, path, new(&value)).await;
    assert_eq!(status, 201, "{body}");
    let id = body["id"].as_str().unwrap().to_owned();
    let soql = format!(
        "SELECT ucinn_ascendv2__Code_Formula__c, ucinn_ascendv2__Service_Indicator_Value__r.Name \
         FROM ucinn_ascendv2__Service_Indicator__c WHERE Id = '{id}'"
    );
    let record = client.query(&soql).await["records"][0].clone();
    assert_eq!(record["ucinn_ascendv2__Code_Formula__c"], "NE");
    assert_eq!(
        record["ucinn_ascendv2__Service_Indicator_Value__r"]["Name"],
        "No Email"
    );

    let unknown = json!("a0V8f0000009999");
    let (status, body) = client.send(Method::POST, path, new(&unknown)).await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("INVALID_CROSS_REFERENCE_KEY"))
    );
    org.set_fault(Fault::SilentNoOp).unwrap();
    let count = "SELECT COUNT() FROM ucinn_ascendv2__Service_Indicator__c";
    let before = client.query(count).await["totalSize"].clone();
    let (status, _) = client.send(Method::POST, path, new(&unknown)).await;
    assert_eq!(
        (
            status.as_u16(),
            client.query(count).await["totalSize"].clone()
        ),
        (201, before)
    );

    org.set_fault(Rule::from(Fault::ReadOnlyIsActive)).unwrap();
    let (status, body) = client
        .send(
            Method::PATCH,
            &format!("{path}/{id}"),
            json!({"ucinn_ascendv2__Is_Active__c": false}),
        )
        .await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("INVALID_FIELD_FOR_INSERT_UPDATE"))
    );
}

#[tokio::test]
async fn equal_updates_move_the_stamps_or_not_as_set() {
    let sandbox = sandbox(5).await;
    let org = sandbox.salesforce();
    let id = org.contact_ids(1).remove(0);
    let before = org.contact(&id).unwrap();
    let same = fields(json!({"HasOptedOutOfEmail": before.opted_out}));
    let history = org.history(&id).len();
    org.change_settings(|settings| settings.equal_update_moves_stamps = false);
    org.edit(&id, &same, "eComm Specialist").unwrap();
    assert_eq!(org.contact(&id).unwrap(), before);
    org.change_settings(|settings| settings.equal_update_moves_stamps = true);
    org.edit(&id, &same, "eComm Specialist").unwrap();
    let after = org.contact(&id).unwrap();
    assert!(after.stamp > before.stamp && after.modified_by == "eComm Specialist");
    assert_eq!(org.history(&id).len(), history);
}
