//! API 1.0.

use reqwest::Method;
use serde_json::{Value, json};

use super::Em;
use crate::client::read;

impl Em {
    fn legacy(&self, tail: &str) -> String {
        format!(
            "/api/{}/{tail}",
            self.sandbox.credentials().emarketeer.api_id
        )
    }

    async fn rest(&self, tail: &str) -> Value {
        let response = self
            .bare(Method::GET, &self.legacy(tail))
            .send()
            .await
            .unwrap();
        let (status, mut body) = read(response).await;
        assert_eq!(status, 200, "{tail}: {body}");
        body["rest"].take()
    }

    async fn legacy_post(&self, function: &str, fields: &[(&str, &str)]) -> Value {
        let request = self.bare(Method::POST, &self.legacy(function)).form(fields);
        let (status, mut body) = read(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{function}: {body}");
        body["rest"].take()
    }
}

#[tokio::test]
async fn contacts_are_read_in_pages_of_three_hundred_at_most() {
    let em = Em::start(0).await;
    for number in 0..305 {
        em.account()
            .add_duplicate(&format!("p{number}@x.example"), None)
            .unwrap();
    }
    let page = em.rest("contacts/&max=1000&response=json").await;
    assert_eq!(page["contacts"].as_array().unwrap().len(), 300);
    let rest = em.rest("contacts/&response=json&offset=300").await;
    assert_eq!(rest["contacts"].as_array().unwrap().len(), 5);
    let two = em.rest("contacts/response=json&max=2&offset=3").await;
    assert_eq!(
        two["contacts"][0]["email"], "p3@x.example",
        "the first ampersand may be left out"
    );
    let one = em
        .rest("contacts/&contacts[0][email]=P7@x.example&response=json")
        .await;
    assert_eq!(one["contacts"][0]["email"], "p7@x.example");
    assert!(one["contacts"][0]["id"].is_string() && one["contacts"][0]["external_id"] == "");
    let by_id = em
        .rest(&format!(
            "contacts/&contacts[0][id]={}&response=json",
            one["contacts"][0]["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(by_id, one);
    let searched = em.rest("contacts/&search=P30&response=json").await;
    assert_eq!(
        searched["contacts"].as_array().unwrap().len(),
        6,
        "p30 and p300 to p304"
    );
    let none = em.rest("contacts/&search=nobody&response=json").await;
    assert!(
        none["info"].is_string() && none.get("contacts").is_none(),
        "{none}"
    );
    let fields = em.rest("fields/&response=json").await;
    assert!(
        fields["fields"]
            .as_array()
            .unwrap()
            .iter()
            .any(|field| field["name"] == "external_id")
    );
    assert!(em.rest("counter/&response=json").await["counter"][0]["used"].is_string());
}

#[tokio::test]
async fn answers_are_xml_unless_json_is_asked_for() {
    let em = Em::start(0).await;
    em.post(
        "/contacts-api/v1/contacts",
        json!([{"email": "ann@x.example", "company": "Sun & Moon <Ltd>"}]),
    )
    .await;
    let response = em
        .bare(Method::GET, &em.legacy("contacts/"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/xml;charset=UTF-8");
    let text = response.text().await.unwrap();
    assert!(text.contains("<rest><contacts><contact><id>"), "{text}");
    assert!(
        text.contains("<company>Sun &amp; Moon &lt;Ltd&gt;</company>"),
        "{text}"
    );
    let deleted = em
        .bare(Method::POST, &em.legacy("delete_contacts/"))
        .form(&[("contacts[0][id]", "1")]);
    let text = deleted.send().await.unwrap().text().await.unwrap();
    assert!(
        text.contains("<rest><status><id>1</id><message>not found</message></status></rest>"),
        "{text}"
    );
}

#[tokio::test]
async fn an_upsert_matches_by_id_then_external_id_then_address() {
    let em = Em::start(0).await;
    let json_form = ("response", "json");
    let upsert = |fields: Vec<(&'static str, String)>| {
        let em = &em;
        async move {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .chain([json_form])
                .collect();
            em.legacy_post("upsert_contacts/", &fields).await[0].take()
        }
    };
    let (id, email, external) = (
        "contacts[0][id]",
        "contacts[0][email]",
        "contacts[0][external_id]",
    );
    let owned = str::to_owned;
    let first = upsert(vec![
        (email, owned("ann@x.example")),
        ("contacts[0][firstname]", owned("Ann")),
    ])
    .await;
    assert_eq!(first["message"], "OK");
    let ann = first["id"].as_str().unwrap().to_owned();
    let linked = upsert(vec![
        (email, owned("ann@x.example")),
        (external, owned("7")),
    ])
    .await;
    assert_eq!(
        linked["id"], ann,
        "a contact without external id is found by its address"
    );
    let known = upsert(vec![
        (external, owned("7")),
        ("contacts[0][city]", owned("Oslo")),
    ])
    .await;
    assert_eq!(known["id"], ann);
    let taken = upsert(vec![
        (email, owned("ben@x.example")),
        (external, owned("7")),
    ])
    .await;
    assert_ne!(
        taken["id"], ann,
        "the external id belongs to another address"
    );
    let other = upsert(vec![
        (email, owned("ann@x.example")),
        (external, owned("8")),
    ])
    .await;
    assert_ne!(
        other["id"], ann,
        "the contact with this address has another external id"
    );
    let moved = upsert(vec![(id, ann.clone()), (email, owned("anna@x.example"))]).await;
    assert_eq!(moved["id"], ann);
    assert_eq!(
        em.account().contacts_by_address("anna@x.example")[0].fields["city"],
        "Oslo"
    );
    assert_eq!(
        upsert(vec![(id, owned("12"))]).await["message"],
        "not found"
    );
    assert!(upsert(vec![("contacts[0][firstname]", owned("Nobody"))]).await["error"].is_string());
    assert!(upsert(vec![(email, owned("nonsense"))]).await["error"].is_string());

    let many: Vec<(String, String)> = (0..31)
        .map(|n| (format!("contacts[{n}][email]"), format!("p{n}@x.example")))
        .collect();
    let mut many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    many.push(json_form);
    assert!(
        em.legacy_post("upsert_contacts/", &many).await[0]["error"].is_string(),
        "30 at most"
    );
    assert!(em.account().contacts_by_address("p1@x.example").is_empty());
}

#[tokio::test]
async fn contacts_are_deleted_by_any_identifier() {
    let em = Em::start(0).await;
    let rows = json!([{"email": "a@x.example", "externalId": "K1"}, {"email": "b@x.example"}, {"email": "c@x.example"}]);
    let (_, made) = em.post("/contacts-api/v1/contacts", rows).await;
    let id = made[2]["id"].to_string();
    let fields = [
        ("contacts[0][external_id]", "K1"),
        ("contacts[1][email]", "B@x.example"),
        ("contacts[2][id]", id.as_str()),
        ("contacts[3][email]", "nobody@x.example"),
        ("contacts[4][firstname]", "Ann"),
        ("response", "json"),
    ];
    let results = em.legacy_post("delete_contacts/", &fields).await;
    let messages: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["message"].as_str())
        .collect();
    assert_eq!(
        messages,
        [
            Some("deleted"),
            Some("deleted"),
            Some("deleted"),
            Some("not found"),
            None
        ]
    );
    assert_eq!(results[4]["error"], "No Unique identifier!");
    assert_eq!(em.account().contact_count(), 0);
}

#[tokio::test]
async fn the_id_in_the_path_is_the_only_key() {
    let em = Em::start(0).await;
    let (status, body) = read(
        em.bare(Method::GET, "/api/WRONG/contacts/&response=json")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 403, "{body}");
    assert_eq!(em.account().calls().forbidden, 1);
    let unknown = em
        .bare(Method::GET, &em.legacy("unsubscribe/&response=json"))
        .send()
        .await
        .unwrap();
    assert_eq!(read(unknown).await.0, 404, "withdrawn functions are gone");
    let wrong = em
        .bare(Method::GET, &em.legacy("delete_contacts/&response=json"))
        .send()
        .await
        .unwrap();
    assert_eq!(read(wrong).await.0, 405);
}
