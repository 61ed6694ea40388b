//! The contact, subscription and engagement modules.

use chrono::{DateTime, TimeDelta, Utc};
use consentd_sandbox::emarketeer::NewContact;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Em, MARKETING};
use crate::client::read;

const CONTACTS: &str = "/contacts-api/v1/contacts";
const LISTS: &str = "/contacts-api/v1/lists/";

fn emails(rows: &Value) -> Vec<&str> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row["email"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn contacts_are_created_and_updated_by_address() {
    let em = Em::start(0).await;
    let rows = json!([
        {"email": "Ann@X.example", "firstName": "Ann", "c__segment": "gold", "shoeSize": "39"},
        {"email": "nonsense"},
        {"firstName": "Nobody"},
    ]);
    let (status, results) = em.post(CONTACTS, rows).await;
    assert_eq!(status, 200);
    let statuses: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["created", "error", "error"], "item by item");
    let id = results[0]["id"].clone();
    let again =
        json!({"contacts": [{"email": "ann@x.example", "lastName": "Berg", "firstName": null}]});
    let (_, results) = em.post(CONTACTS, again).await;
    assert_eq!(
        results,
        json!([{"email": "ann@x.example", "id": id, "status": "updated"}])
    );

    let found = em.ok(&format!("{CONTACTS}?email=ANN%40x.example")).await;
    assert_eq!(emails(&found), ["ann@x.example"]);
    let contact = &found[0];
    assert_eq!(
        (&contact["lastName"], &contact["c__segment"]),
        (&json!("Berg"), &json!("gold"))
    );
    assert!(
        contact.get("firstName").is_none() && contact.get("shoeSize").is_none(),
        "{contact}"
    );
    assert!(contact["createdAt"].is_string() && contact["modifiedAt"].is_string());
    assert_eq!(
        em.ok(&format!("{CONTACTS}?email=nobody@x.example")).await,
        json!([])
    );

    let many: Vec<Value> = (0..101)
        .map(|n| json!({"email": format!("p{n}@x.example")}))
        .collect();
    for body in [json!(many), json!([]), json!({}), json!("ann@x.example")] {
        assert_eq!(em.post(CONTACTS, body).await.0, 400);
    }
    let calls = em.account().calls();
    assert_eq!(
        (
            calls.contacts_created,
            calls.contacts_updated,
            calls.contacts_refused
        ),
        (1, 1, 2)
    );
    let fields = em.ok(&format!("{CONTACTS}/customFields")).await;
    assert!(
        fields
            .as_array()
            .unwrap()
            .iter()
            .any(|field| field["name"] == "c__segment")
    );
}

#[tokio::test]
async fn contacts_are_found_by_times_and_saved_filters_in_pages() {
    let em = Em::start(0).await;
    let account = em.account();
    let at = |minute: u32| -> DateTime<Utc> {
        format!("2026-01-05T10:{minute:02}:00Z").parse().unwrap()
    };
    for minute in 0..6 {
        let contact = NewContact {
            address: format!("p{minute}@x.example"),
            created: Some(at(minute)),
            ..NewContact::default()
        };
        account.create_contact(&contact).unwrap();
    }
    let created = em
        .ok(&format!(
            "{CONTACTS}?createdFrom=2026-01-05T10:01:00Z&createdTo=2026-01-05T10:03:00Z"
        ))
        .await;
    assert_eq!(
        emails(&created),
        ["p1@x.example", "p2@x.example", "p3@x.example"]
    );
    em.post(CONTACTS, json!([{"email": "p4@x.example", "city": "Oslo"}]))
        .await;
    let hour_ago = (account.now() - TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ");
    let modified = em.ok(&format!("{CONTACTS}?modifiedFrom={hour_ago}")).await;
    assert_eq!(emails(&modified), ["p4@x.example"]);

    account.change_settings(|settings| settings.contact_rows = 2);
    let all = account.save_filter(None).unwrap();
    let some = account
        .save_filter(Some(&[
            "P5@x.example".to_owned(),
            "gone@x.example".to_owned(),
        ]))
        .unwrap();
    let mut paged = Vec::new();
    for offset in [0, 2, 4, 6] {
        let page = em
            .ok(&format!(
                "{CONTACTS}?filterId={all}&offset={offset}&limit=50"
            ))
            .await;
        paged.extend(emails(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(paged.len(), 6);
    assert_eq!(
        emails(&em.ok(&format!("{CONTACTS}?filterId={some}")).await),
        ["p5@x.example"]
    );
    for query in ["", "?filterId=999", "?modifiedFrom=lately", "?limit=5"] {
        assert_eq!(
            em.get(&format!("{CONTACTS}{query}")).await.0,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_consent_moves_the_contact_only_where_the_account_does_so() {
    let em = Em::start(0).await;
    let account = em.account();
    let created = Some("2026-01-05T10:00:00Z".parse().unwrap());
    let contact = NewContact {
        address: "ann@x.example".to_owned(),
        created,
        ..NewContact::default()
    };
    let id = account.create_contact(&contact).unwrap();
    em.create(em.record("ann@x.example", MARKETING, "Consent"))
        .await;
    assert_eq!(Some(account.contact(id).unwrap().modified), created);
    account.change_settings(|settings| settings.consent_moves_contact = true);
    em.create(em.record("ann@x.example", MARKETING, "Withdrawn"))
        .await;
    assert!(Some(account.contact(id).unwrap().modified) > created);
}

#[tokio::test]
async fn contacts_are_deleted_by_address_and_consent_stays() {
    let em = Em::start(0).await;
    em.post(CONTACTS, json!([{"email": "ann@x.example"}])).await;
    em.account().add_duplicate("ann@x.example", None).unwrap();
    em.create(em.record("ann@x.example", MARKETING, "Consent"))
        .await;
    let body = json!({"emails": ["Ann@x.example", "nobody@x.example"]});
    let (status, results) = em.post(&format!("{CONTACTS}/delete"), body).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&results[0]["status"], &results[1]["status"]),
        (&json!("deleted"), &json!("notFound"))
    );
    assert_eq!(
        (
            em.account().contact_count(),
            em.account().calls().contacts_deleted
        ),
        (0, 2)
    );
    assert_eq!(
        em.marketing("ann@x.example").await.as_deref(),
        Some("Consent")
    );
    let many: Vec<String> = (0..101).map(|n| format!("p{n}@x.example")).collect();
    assert_eq!(
        em.post(&format!("{CONTACTS}/delete"), json!(many)).await.0,
        400
    );
}

#[tokio::test]
async fn lists_hold_contacts() {
    let em = Em::start(0).await;
    em.post(
        CONTACTS,
        json!([{"email": "ann@x.example"}, {"email": "ben@x.example"}]),
    )
    .await;
    let (_, list) = em.post(LISTS, json!({"name": "Friends"})).await;
    let path = format!("{LISTS}{}", list["id"]);
    let added = em
        .post(
            &path,
            json!(["ann@x.example", "ben@x.example", "nobody@x.example"]),
        )
        .await;
    assert_eq!(added.1, json!({"changed": 2}));
    assert_eq!(em.ok(LISTS).await[0]["contacts"], 2);
    let removed = em
        .request(Method::DELETE, &path)
        .json(&json!([{"email": "ann@x.example"}]));
    assert_eq!(read(removed.send().await.unwrap()).await.0, 200);
    assert_eq!(emails(&em.ok(&path).await), ["ben@x.example"]);
    em.post(&format!("{CONTACTS}/delete"), json!(["ben@x.example"]))
        .await;
    assert_eq!(
        em.ok(&path).await,
        json!([]),
        "a deleted contact is on no list"
    );
    let gone = em
        .request(Method::DELETE, LISTS)
        .json(&json!({"ids": [list["id"]]}));
    assert_eq!(read(gone.send().await.unwrap()).await.0, 200);
    assert_eq!(em.get(&path).await.0, 400);
}

#[tokio::test]
async fn subscriptions_are_on_until_opted_out_of_and_never_touch_consent() {
    let em = Em::start(0).await;
    let path = "/subscriptions/v1/subscriptions?email=ann@x.example&name=Events";
    assert_eq!(em.ok(path).await["subscribed"], true);
    let off = em.request(Method::DELETE, path).send().await.unwrap();
    assert_eq!(read(off).await.1["subscribed"], false);
    assert_eq!(
        em.account().address("ann@x.example").opted_out_of,
        ["Events"]
    );
    let body = json!({"email": "ann@x.example", "name": "Events"});
    let (status, answer) = em.post("/subscriptions/v1/subscriptions", body).await;
    assert_eq!(
        (status.as_u16(), &answer["subscribed"]),
        (200, &json!(true))
    );
    assert_eq!(
        em.get("/subscriptions/v1/subscriptions?email=ann@x.example&name=Gossip")
            .await
            .0,
        400
    );
    assert_eq!(
        em.get("/subscriptions/v1/subscriptions?email=ann@x.example")
            .await
            .0,
        400
    );
    assert_eq!(em.account().record_count(), 0);

    em.account()
        .add_campaign("Summer", Some("Outdoors"))
        .unwrap();
    let all = em.ok("/subscriptions/v1/campaigns").await;
    assert_eq!(all[0]["name"], "Summer", "newest first");
    let folder = em.ok("/subscriptions/v1/campaigns?folder=Outdoors").await;
    assert_eq!(folder.as_array().unwrap().len(), 1);
    let page = em.ok("/subscriptions/v1/campaigns?limit=1&offset=1").await;
    assert_eq!(page[0]["name"], all[1]["name"]);
}

#[tokio::test]
async fn a_signal_makes_the_contact_and_carries_a_decision() {
    let em = Em::start(0).await;
    let signal = |consent: Value| {
        json!({
            "adapter": "Shop",
            "category": "Checkout",
            "eventData": {"total": "10"},
            "contact": {"firstName": "Ann", "email": "ann@x.example"},
            "eventTime": "2026-01-05T10:00:00.375Z",
            "consent": consent,
        })
    };
    let path = "/engagements-api/v1/signals";
    let (status, answer) = em
        .post(
            path,
            signal(json!({"marketing": {"allowed": true, "text": "I agree"}})),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    let contact = &em.account().contacts_by_address("ann@x.example")[0];
    assert_eq!(
        (json!(contact.id), contact.fields["firstName"].as_str()),
        (answer["contactId"].clone(), "Ann")
    );
    assert_eq!(
        em.marketing("ann@x.example").await.as_deref(),
        Some("Consent")
    );
    em.post(path, signal(json!({"marketing": {"allowed": false}})))
        .await;
    assert_eq!(
        em.marketing("ann@x.example").await.as_deref(),
        Some("Withdrawn")
    );
    assert_eq!(
        em.post(path, signal(Value::Null)).await.0,
        200,
        "without a decision"
    );
    assert_eq!(em.account().record_count(), 2);

    let mut local = signal(Value::Null);
    local["eventTime"] = json!("2026-01-05T10:00:00+02:00");
    let mut nobody = signal(Value::Null);
    nobody["contact"] = json!({"firstName": "Ann"});
    let unclear = signal(json!({"marketing": {"allowed": "yes"}}));
    for body in [local, nobody, unclear, json!({})] {
        assert_eq!(em.post(path, body).await.0, 400);
    }
}
