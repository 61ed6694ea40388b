//! Persons of the SuperOffice tenant: entities, patches, agents, the population and the control API.

use consentd_sandbox::superoffice::{MARKETING, NewConsent, SALES};
use consentd_sandbox::{CallKind, Options, Sandbox};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{http, read, sandbox};
use crate::superoffice::{Client, person};

#[tokio::test]
async fn saving_an_entity_leaves_out_no_consent_and_updates_those_it_has() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &["pat@example.org"]);
    tenant
        .set_consent(id, &NewConsent::new("EMARKETING", "61A"), MARKETING)
        .unwrap();
    let path = format!("/Person/{id}");
    let (status, mut entity) = client.get(&path).await;
    assert_eq!(status, 200);
    assert_eq!(
        (
            &entity["Firstname"],
            &entity["Emails"][0]["Value"],
            &entity["NoMailing"]
        ),
        (&json!("Pat"), &json!("pat@example.org"), &json!(false))
    );
    assert!(
        entity["_Links"]["Self"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/v1/Person/{id}/"))
    );
    entity["Consents"] = json!([]);
    entity["Lastname"] = json!("Changed");
    entity["Emails"] = json!([{"Value": "new@example.org", "Description": "Job"}]);
    let (status, saved) = client.send(Method::PUT, &path, entity.clone()).await;
    assert_eq!(
        (
            status,
            &saved["Lastname"],
            saved["Consents"].as_array().unwrap().len()
        ),
        (StatusCode::OK, &json!("Changed"), 2)
    );
    assert_eq!(tenant.person(id).unwrap().addresses, ["new@example.org"]);

    entity["Consents"] = json!([
        {"ConsentPurposeKey": "EMARKETING", "LegalBaseKey": "WITHDRAWN", "ConsentSourceKey": "API", "Registered": "2001-01-01T00:00:00"},
    ]);
    client.send(Method::PUT, &path, entity.clone()).await;
    let row = tenant
        .person(id)
        .unwrap()
        .consent("EMARKETING")
        .unwrap()
        .clone();
    assert_eq!(
        (row.legal_base.as_str(), row.source.as_str()),
        ("WITHDRAWN", "API")
    );
    assert!(
        row.registered > tenant.now() - chrono::TimeDelta::days(1),
        "dates in it mean nothing"
    );
    entity["Consents"] =
        json!([{"ConsentPurposeKey": "NOPE", "LegalBaseKey": "61A", "ConsentSourceKey": "API"}]);
    assert_eq!(client.send(Method::PUT, &path, entity).await.0, 400);
    let bare = client.request(Method::PUT, &path).send().await.unwrap();
    assert_eq!(bare.status(), 411, "no length");
    let empty = client.request(Method::PUT, &path);
    let empty = empty.header("Content-Length", "0").send();
    assert_eq!(empty.await.unwrap().status(), 400, "no body");

    let (_, slim) = client.get(&format!("{path}?$select=Lastname")).await;
    assert_eq!(
        (&slim["Lastname"], &slim["Firstname"]),
        (&json!("Changed"), &Value::Null)
    );
    let (_, blank) = client.get("/Person/default").await;
    assert_eq!(
        (
            &blank["Consents"][0]["ConsentPersonId"],
            &blank["Consents"][0]["Registered"]
        ),
        (&json!(0), &json!("0001-01-01T00:00:00"))
    );
    assert_eq!(blank["ShipmentTypes"][0]["Selected"], true);
    let new = json!({"Firstname": "New", "Lastname": "One", "Emails": [{"Value": "one@example.org"}], "Contact": {"ContactId": "5"}});
    let (status, made) = client.send(Method::POST, "/Person", new).await;
    assert_eq!(
        (status, &made["Consents"][0]["ConsentPurposeKey"]),
        (StatusCode::OK, &json!("STORE"))
    );
    assert_eq!(
        client
            .send(Method::POST, "/Person/Validate", json!({}))
            .await
            .1,
        json!({})
    );
}

#[tokio::test]
async fn no_mailing_withdraws_marketing_unless_set_otherwise() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let patch = json!([{"op": "replace", "path": "NoMailing", "value": true}]);
    for (withdraws, base) in [(true, "WITHDRAWN"), (false, "61A")] {
        tenant.change_settings(|settings| settings.no_mailing_withdraws = withdraws);
        let id = person(tenant, &[]);
        tenant
            .set_consent(id, &NewConsent::new("EMARKETING", "61A"), MARKETING)
            .unwrap();
        let (status, _) = client
            .send(Method::PATCH, &format!("/Person/{id}"), patch.clone())
            .await;
        assert_eq!(status, 200);
        let state = tenant.person(id).unwrap();
        assert_eq!(state.consent("EMARKETING").unwrap().legal_base, base);
        assert!(state.no_mailing);
    }
}

#[tokio::test]
async fn patches_guard_and_change_consents_and_subscriptions() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let path = format!("/Person/{id}");
    let appended = json!({"Consents": {"ConsentPurposeKey": "EMARKETING", "LegalBaseKey": "61F", "ConsentSourceKey": "API"}});
    assert_eq!(client.send(Method::PATCH, &path, appended).await.0, 200);
    let base = || {
        tenant
            .person(id)
            .unwrap()
            .consent("EMARKETING")
            .unwrap()
            .legal_base
            .clone()
    };
    assert_eq!(base(), "61F");
    let guarded = |expected: &str| {
        json!([
            {"op": "test", "path": "Consents/1/LegalBaseKey", "value": expected},
            {"op": "replace", "path": "Consents/1/LegalBaseId", "value": 7},
            {"op": "replace", "path": "ShipmentTypes/0/Selected", "value": false},
        ])
    };
    assert_eq!(
        client.send(Method::PATCH, &path, guarded("61A")).await.0,
        409
    );
    assert_eq!(base(), "61F");
    assert_eq!(
        client.send(Method::PATCH, &path, guarded("61F")).await.0,
        200
    );
    assert_eq!(base(), "WITHDRAWN", "the number counts");
    assert_eq!(tenant.person(id).unwrap().unwanted, ["Invitations"]);
    tenant.change_settings(|settings| settings.entity_ids_win = false);
    let by_key = json!([{"op": "replace", "path": "Consents/1/LegalBaseKey", "value": "61A"}]);
    assert_eq!(client.send(Method::PATCH, &path, by_key).await.0, 200);
    assert_eq!(base(), "61A");
}

#[tokio::test]
async fn conditional_requests_look_at_the_persons_date() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let path = format!("/Person/{id}");
    let date =
        |at: chrono::DateTime<chrono::Utc>| at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let now = date(tenant.now() + chrono::TimeDelta::seconds(1));
    let with = async |method: Method, header: &str, at: &str| {
        client
            .request(method, &path)
            .header(header, at)
            .json(&json!({}))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(with(Method::GET, "If-Modified-Since", &now).await, 304);
    sandbox.clock().advance(60);
    tenant
        .set_consent(id, &NewConsent::new("STORE", "61A"), MARKETING)
        .unwrap();
    assert_eq!(
        with(Method::GET, "If-Modified-Since", &now).await,
        304,
        "a store consent does not show"
    );
    tenant.switch_marketing(id, true, SALES).unwrap();
    assert_eq!(with(Method::GET, "If-Modified-Since", &now).await, 200);
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(
            with(method.clone(), "If-Unmodified-Since", &now).await,
            412,
            "{method}"
        );
    }
    let later = date(tenant.now() + chrono::TimeDelta::seconds(1));
    assert_eq!(
        with(Method::DELETE, "If-Unmodified-Since", &later).await,
        204
    );
    assert_eq!(
        with(Method::GET, "Accept", "application/json").await,
        404,
        "in the bin"
    );
    assert_eq!(client.get(&format!("{path}/Consent")).await.0, 404);
}

#[tokio::test]
async fn agents_do_the_same_and_answer_null_for_what_is_missing() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &["a@example.org"]);
    let call = async |method: &str, body: Value| {
        client
            .send(Method::POST, &format!("/Agents/Person/{method}"), body)
            .await
    };
    let set = json!({"PersonId": id, "Purpose": "EMARKETING", "Source": "API", "LegalBase": "61A", "Comment": "double opt-in"});
    assert_eq!(
        call("SetConsent", set).await,
        (StatusCode::NO_CONTENT, Value::Null)
    );
    let purpose = json!({"PersonId": id, "Purpose": "EMARKETING"});
    assert_eq!(call("HasConsent", purpose.clone()).await.1, true);
    let (_, infos) = call("GetConsentInfos", json!({"PersonId": id})).await;
    assert_eq!(infos[1]["Comment"], "double opt-in");
    let row = infos[1]["ConsentPersonId"].as_i64().unwrap();
    let (_, carrier) = client
        .send(
            Method::POST,
            &format!("/Agents/Person/GetConsentPerson?consentPersonId={row}"),
            json!({}),
        )
        .await;
    assert_eq!(
        (&carrier["LegalBase"]["Key"], carrier.get("Registered")),
        (&json!("61A"), None)
    );
    let part = |name: &str, id: i64| json!({ format!("{name}Id"): id });
    let save = |row: i64, base: i64| {
        json!({
            "ConsentPersonId": row, "PersonId": id, "Comment": "",
            "ConsentSource": part("ConsentSource", 8), "LegalBase": part("LegalBase", base), "ConsentPurpose": part("ConsentPurpose", 2),
        })
    };
    let (status, saved) = call("SaveConsentPerson", save(row, 7)).await;
    assert_eq!(
        (
            status,
            &saved["LegalBase"]["LegalBaseId"],
            &saved["LegalBase"]["Key"]
        ),
        (StatusCode::OK, &json!(7), &Value::Null)
    );
    assert_eq!(
        call("SaveConsentPerson", save(0, 1)).await.0,
        500,
        "one row for a purpose"
    );
    assert_eq!(
        tenant
            .person(id)
            .unwrap()
            .consent("EMARKETING")
            .unwrap()
            .legal_base,
        "WITHDRAWN"
    );
    assert_eq!(call("RemoveConsent", purpose).await.0, 204);
    assert_eq!(tenant.person(id).unwrap().consent("EMARKETING"), None);
    let store = tenant.person(id).unwrap().consents[0].id;
    let path = format!("/Agents/Person/DeleteConsentPerson?consentPersonId={store}");
    assert_eq!(client.send(Method::POST, &path, json!({})).await.0, 204);
    assert_eq!(tenant.person(id).unwrap().consents, []);
    let address =
        json!({"PersonId": id, "EmailAddress": "b@example.org", "SetAsPrimaryEmail": true});
    assert_eq!(call("AddEmailAddressToPerson", address).await.0, 204);
    assert_eq!(
        tenant.person(id).unwrap().addresses,
        ["b@example.org", "a@example.org"]
    );

    for (method, body) in [
        ("GetPersonEntity", json!({"PersonId": 999})),
        ("GetConsentInfos", json!({"PersonId": 999})),
        ("GetConsentPerson", json!({})),
    ] {
        assert_eq!(
            call(method, body).await,
            (StatusCode::OK, Value::Null),
            "{method}"
        );
    }
    let (_, entity) = call("GetPersonEntity", json!({"PersonId": id})).await;
    assert_eq!(entity["PersonId"], id);
    let (_, saved) = call(
        "SavePersonEntity",
        json!({"PersonId": id, "Lastname": "Saved"}),
    )
    .await;
    assert_eq!(saved["Lastname"], "Saved");
    assert_eq!(
        call("DeletePersonEntity", json!({"PersonId": id})).await.0,
        204
    );
    assert_eq!(call("Undelete", json!({"Id": id})).await.0, 204);
    let other = person(tenant, &[]);
    let merge = json!({"SourcePersonId": id, "DestinationPersonId": other, "MoveAfterDate": "2000-01-01T00:00:00", "DeleteSource": true, "ReplaceEmptyFieldsOnDestination": true});
    assert_eq!(call("Merge", merge).await.0, 204);
    assert_eq!(tenant.person(other).unwrap().addresses.len(), 2);
    let help = client
        .request(Method::GET, "/Agents/Person/SetConsent")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            help.status().as_u16(),
            help.headers()["content-type"].to_str().unwrap()
        ),
        (200, "text/html;charset=UTF-8")
    );
    let (_, bases) = client
        .send(Method::POST, "/Agents/List/GetAllLegalBase", json!({}))
        .await;
    assert_eq!(bases.as_array().unwrap().len(), 7);
    assert!(tenant.calls().of(CallKind::Agent) > 10);
}

#[tokio::test]
async fn preferences_tell_the_defaults_and_new_persons_follow_them() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let (_, preference) = client.get("/Preference/GDPR/GdprUseDefaultsForNew").await;
    assert_eq!(preference["RawValue"], "True");
    tenant.change_settings(|settings| settings.consent_for_new = false);
    let id = person(tenant, &[]);
    assert_eq!(tenant.person(id).unwrap().consents, []);
    assert_eq!(client.get("/Preference/GDPR/Nothing").await.0, 404);
}

#[tokio::test]
async fn the_population_is_that_of_the_other_systems() {
    let sandbox = sandbox(1_000).await;
    let tenant = sandbox.superoffice();
    assert_eq!(tenant.person_count(), 1_000);
    let people: Vec<_> = tenant
        .person_ids(1_000)
        .into_iter()
        .filter_map(|id| tenant.person(id))
        .collect();
    let share = |wanted: &dyn Fn(&consentd_sandbox::superoffice::PersonState) -> bool| {
        people.iter().filter(|one| wanted(one)).count()
    };
    assert!(share(&|one| one.consent("STORE").is_some()) > 950);
    assert!((400..900).contains(&share(&|one| one.consent("EMARKETING").is_some())));
    assert!((50..250).contains(&share(&|one| {
        one.consent("EMARKETING").is_some_and(|row| !row.given)
    })));
    assert!((20..150).contains(&share(&|one| one.addresses.is_empty())));
    assert!((20..150).contains(&share(&|one| one.addresses.len() > 1)));
    assert!((15..90).contains(&share(&|one| one.retired)));
    for one in &people {
        assert_eq!(
            one.no_mailing,
            one.consent("EMARKETING").is_none_or(|row| !row.given),
            "{one:?}"
        );
        for row in &one.consents {
            assert!(
                one.created <= row.registered && row.updated.is_none_or(|at| at >= row.registered),
                "{one:?}"
            );
        }
    }
    let known = people.iter().filter_map(|one| one.addresses.first());
    let shared = known
        .filter(|address| !sandbox.salesforce().contacts_by_address(address).is_empty())
        .count();
    assert!(
        shared > 700,
        "{shared} addresses are known in Salesforce too"
    );
    let doubles = people.iter().filter_map(|one| one.addresses.first());
    let doubles = doubles
        .filter(|address| tenant.persons_by_address(address).len() > 1)
        .count();
    assert!(doubles > 30, "{doubles} addresses are there more than once");

    let again = Sandbox::start(Options {
        contacts: 1_000,
        seed: 7,
        port_base: None,
    })
    .await
    .unwrap();
    let names = |sandbox: &Sandbox| {
        let tenant = sandbox.superoffice();
        let all = tenant
            .person_ids(100)
            .into_iter()
            .filter_map(|id| tenant.person(id));
        all.map(|one| (one.last_name, one.addresses))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&sandbox),
        names(&again),
        "the same seed, the same people"
    );
}

#[tokio::test]
async fn the_control_api_does_what_people_do() {
    let sandbox = sandbox(0).await;
    let url = format!("{}/v1/superoffice", sandbox.control_url());
    let send = async |method: Method, path: &str, body: Value| {
        let request = http().request(method, format!("{url}{path}"));
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        read(request.send().await.unwrap()).await
    };
    let post = async |path: &str, body: Value| {
        let (status, answer) = send(Method::POST, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    let get = async |path: &str| send(Method::GET, path, Value::Null).await;
    let id = post(
        "/create",
        json!({"last_name": "Example", "addresses": ["pat@example.org"]}),
    )
    .await["id"]
        .clone();
    let other = post("/create", json!({"last_name": "Example", "addresses": ["pat@example.org"], "created": "2020-01-01T00:00:00Z"})).await["id"].clone();
    let (_, found) = get("/persons?address=PAT%40example.org").await;
    assert_eq!(found["persons"].as_array().unwrap().len(), 2);
    assert_eq!(found["persons"][1]["created"], "2020-01-01T00:00:00Z");
    let state = post("/consent", json!({"id": id, "purpose": "EMARKETING", "legal_base": "61A", "at": "2024-05-06T07:08:09Z"})).await;
    assert_eq!(
        (
            &state["consents"][1]["registered"],
            &state["consents"][1]["registered_by"]
        ),
        (&json!("2024-05-06T07:08:09Z"), &json!(MARKETING))
    );
    let state = post("/marketing", json!({"id": id, "on": false})).await;
    assert_eq!(state["consents"][1]["legal_base"], "WITHDRAWN");
    post("/unsubscribe", json!({"id": other})).await;
    post(
        "/bulk-update",
        json!({"ids": [id, other], "purpose": "STORE", "legal_base": "61B"}),
    )
    .await;
    let state = post("/remove-consent", json!({"id": id, "purpose": "STORE"})).await;
    assert_eq!(state["consents"].as_array().unwrap().len(), 1);
    post("/spam-complaint", json!({"id": id})).await;
    post(
        "/addresses",
        json!({"id": id, "addresses": ["new@example.org"]}),
    )
    .await;
    post("/retire", json!({"id": id})).await;
    post("/delete", json!({"id": id})).await;
    let state = post("/restore", json!({"id": id})).await;
    assert_eq!(
        (&state["retired"], &state["addresses"], &state["deleted"]),
        (&json!(true), &json!(["new@example.org"]), &Value::Null)
    );
    post("/merge", json!({"source": id, "destination": other})).await;
    post("/purge", json!({"id": id})).await;
    assert_eq!(get("/persons/1").await.0, 404);
    let import = json!({"persons": [{"last_name": "New"}], "consent": {"purpose": "EMARKETING", "legal_base": "61A"}});
    assert_eq!(post("/import", import).await["ids"], json!([3]));
    assert_eq!(get("/persons/3").await.1["consents"][1]["source"], "IMPORT");
    post("/purpose", json!({"key": "EVENTS", "name": "Events"})).await;
    post(
        "/faults",
        json!({"name": "unavailable", "retry_after": "5", "times": 1}),
    )
    .await;
    assert_eq!(
        send(Method::DELETE, "/faults/unavailable", Value::Null)
            .await
            .1["cleared"],
        1
    );
    let (status, settings) = send(
        Method::PATCH,
        "/settings",
        json!({"legacy_keys": true, "person_bump": "always"}),
    )
    .await;
    assert_eq!(
        (status, &settings["legacy_keys"]),
        (StatusCode::OK, &json!(true))
    );
    assert_eq!(
        send(Method::PATCH, "/settings", json!({"legacy_key": true}))
            .await
            .0,
        400
    );
    assert_eq!(post("/calls/reset", json!({})).await, json!({}));
    assert_eq!(get("/calls").await.1["counted"], 0);
    assert_eq!(get("/webhooks").await.1["webhooks"], json!([]));
    for (path, body, status) in [
        (
            "/consent",
            json!({"id": 3, "purpose": "EMARKETING", "legal_base": "61A", "by": "Nobody"}),
            404,
        ),
        (
            "/consent",
            json!({"id": 3, "purpose": "EMARKETING", "legal_base": "61Z"}),
            400,
        ),
        (
            "/consent",
            json!({"id": 3, "purpose": "EMARKETING", "legal_base": "61A", "typo": 1}),
            422,
        ),
        ("/delete", json!({"id": 99}), 422),
    ] {
        assert_eq!(
            send(Method::POST, path, body.clone()).await.0.as_u16(),
            status,
            "{path} {body}"
        );
    }
    let (_, systems) = read(
        http()
            .get(format!("{}/v1/systems", sandbox.control_url()))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(systems["superoffice"]["tenant"], "Cust40001");
}
