//! The archives of the SuperOffice tenant: the grammar of filters, paging, columns and tables.

use consentd_sandbox::superoffice::{MARKETING, NewConsent, NewPerson, NextLink, SALES};
use consentd_sandbox::{Fault, Rule};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{read, sandbox};
use crate::superoffice::{Client, person};

/// The values of one column.
fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

fn numbers(rows: &[Value], name: &str) -> Vec<i64> {
    rows.iter()
        .map(|row| row[name].as_i64().expect("a number"))
        .collect()
}

const CONSENT: &str = "consentperson.consentperson_id,consentperson.person_id,consentperson.consentpurpose_id.key,\
    consentperson.legalbase_id.key,consentperson.consentsource_id.key,consentperson.comment,consentperson.registered,\
    consentperson.updated,consentperson.registered_associate_id,consentperson.updated_associate_id";

#[tokio::test]
async fn consents_changed_since_a_time_come_with_keys_and_stamps() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let old = person(tenant, &[]);
    sandbox.clock().advance(3_600);
    let since = tenant.now().format("%Y-%m-%dT%H:%M:%S").to_string();
    let new = person(tenant, &["pat@example.org"]);
    tenant
        .set_consent(old, &NewConsent::new("STORE", "61B"), MARKETING)
        .unwrap();
    let filter = format!(
        "consentperson.updated afterTime '{since}' or consentperson.registered afterTime '{since}'"
    );
    let query = [
        ("$select", CONSENT),
        ("$filter", filter.as_str()),
        ("$orderby", "consentperson.consentperson_id"),
        ("$top", "1000"),
    ];
    let (_, body) = client.ask("dynamic", &query).await;
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["odata.metadata", "odata.nextLink", "value"]);
    assert!(
        body["odata.metadata"]
            .as_str()
            .unwrap()
            .ends_with("/api/v1/Archive//$metadata")
    );
    let rows = body["value"].as_array().unwrap();
    assert_eq!(numbers(rows, "consentperson.person_id"), [old, new]);
    let first = &rows[0];
    assert_eq!(
        (&first["PrimaryKey"], &first["EntityName"]),
        (&json!("1"), &json!("consentperson"))
    );
    assert_eq!(first["consentperson.consentpurpose_id.key"], "STORE");
    assert_eq!(first["consentperson.legalbase_id.key"], "61B");
    assert!(first["consentperson.updated"].as_str().unwrap() >= since.as_str());
    assert_eq!(
        rows[1]["consentperson.updated"], "0001-01-01T00:00:00",
        "never updated"
    );
    assert_eq!(first["consentperson.updated_associate_id"], 14);

    let keyset = format!("({filter}) and consentperson.consentperson_id gt 1");
    let rows = client
        .archive("dynamic", &[("$select", CONSENT), ("$filter", &keyset)])
        .await;
    assert_eq!(numbers(&rows, "consentperson.person_id"), [new]);
    let form = [("$select", CONSENT), ("$filter", &keyset)];
    let request = client.request(Method::POST, "/Archive/dynamic").form(&form);
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!(
        (status, body["value"].as_array().unwrap().len()),
        (StatusCode::OK, 1),
        "a form"
    );
}

#[tokio::test]
async fn each_restriction_means_what_is_documented() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    for (first, last, addresses) in [
        ("Ann", "Able", vec!["ann@example.org"]),
        (
            "Bob",
            "Baker",
            vec!["bob@example.org", "shared@example.org"],
        ),
        ("Cat", "L'Oréal", vec!["SHARED@example.org"]),
        ("Dan", "Daly", vec![]),
    ] {
        let new = NewPerson {
            first_name: first.to_owned(),
            last_name: last.to_owned(),
            addresses: addresses.into_iter().map(str::to_owned).collect(),
            ..NewPerson::default()
        };
        tenant.create_person(&new, SALES).unwrap();
    }
    tenant.set_retired(4, true, SALES).unwrap();
    tenant.switch_marketing(2, true, SALES).unwrap();
    tenant.switch_marketing(3, false, SALES).unwrap();
    let cases: &[(&str, &[i64])] = &[
        ("personId = 2", &[2]),
        ("personId eq 2 or personId equals 3", &[2, 3]),
        ("personId ne 2", &[1, 3, 4]),
        ("personId lt 3", &[1, 2]),
        ("personId greater 3", &[4]),
        ("personId between (2,3)", &[2, 3]),
        ("personId in (1,4,9)", &[1, 4]),
        ("firstName is 'ann'", &[1]),
        ("firstName isNot 'Ann'", &[2, 3, 4]),
        ("lastName begins 'b'", &[2]),
        ("lastName notBegins 'b'", &[1, 3, 4]),
        ("lastName contains 'L\\'Oréal'", &[3]),
        ("lastName notContains 'a'", &[]),
        ("lastName between ('b','e')", &[2, 4]),
        ("firstName in ('Ann','Dan')", &[1, 4]),
        ("startswith(lastName,'D')", &[4]),
        ("endswith(lastName,'ker') eq true", &[2]),
        ("substringof('able',lastName)", &[1]),
        ("retired set true", &[4]),
        ("retired eq false and personId gt 1", &[2, 3]),
        ("hasEmarketingConsent eq true", &[2]),
        ("withdrawnEmarketingConsent set true", &[3]),
        ("legalBaseEmarketing oneOf (6,7)", &[2, 3]),
        ("legalBaseEmarketing notOneOf (6)", &[1, 3, 4]),
        ("consentSourceEmarketing equals 1", &[2, 3]),
        ("email/emailAddress eq 'shared@example.org'", &[2, 3]),
        (
            "email/emailAddress in ('ann@example.org','shared@example.org')",
            &[1, 2, 3],
        ),
        ("personUpdatedDate today and personId gt 0", &[2, 4]),
        ("personRegisteredBy associateIsOneOf (12)", &[1, 2, 3, 4]),
        ("personRegisteredBy associateIsNotOneOf (12)", &[]),
        ("personRegisteredDate before '2000-01-01'", &[]),
        (
            "(personId eq 1 or personId eq 2) and firstName begins 'B'",
            &[2],
        ),
        ("isMailingRecipient eq false", &[3]),
    ];
    for (filter, ids) in cases {
        let query = [
            ("$select", "personId"),
            ("$filter", filter),
            ("$orderby", "personId"),
        ];
        let rows = client.archive("Person", &query).await;
        assert_eq!(numbers(&rows, "personId"), *ids, "{filter}");
    }
    tenant.change_settings(|settings| settings.strict_mailings = true);
    let strict = [
        ("$select", "personId"),
        ("$filter", "isMailingRecipient eq true"),
    ];
    assert_eq!(
        numbers(&client.archive("Person", &strict).await, "personId"),
        [2]
    );

    for filter in [
        "personId le 2",
        "personId ge 2",
        "lastName notEnds 'x'",
        "personUpdatedDate gt '2020-01-01'",
        "personId eq",
        "nope eq 1",
    ] {
        let query = [("$select", "personId"), ("$filter", filter)];
        assert_eq!(client.ask("Person", &query).await.0, 400, "{filter}");
    }
    tenant.change_settings(|settings| {
        settings.refused_operator_status = 500;
        settings.date_columns_take_times = false;
    });
    let query = [
        ("$select", "personId"),
        (
            "$filter",
            "personUpdatedDate afterTime '2020-01-01T00:00:00'",
        ),
    ];
    assert_eq!(client.ask("Person", &query).await.0, 500);
    assert_eq!(
        client.ask("Nothing", &[("$select", "personId")]).await.0,
        404
    );
}

#[tokio::test]
async fn times_of_a_filter_are_utc_unless_set_otherwise() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    person(tenant, &[]);
    let soon = (tenant.now() + chrono::TimeDelta::minutes(30))
        .format("%Y-%m-%dT%H:%M:%S")
        .to_string();
    let filter = format!("consentperson.registered afterTime '{soon}'");
    let query = [
        ("$select", "consentperson.person_id"),
        ("$filter", filter.as_str()),
    ];
    assert_eq!(client.archive("dynamic", &query).await.len(), 0);
    tenant.change_settings(|settings| settings.filter_offset_minutes = 60);
    assert_eq!(
        client.archive("dynamic", &query).await.len(),
        1,
        "an hour east of UTC"
    );
}

#[tokio::test]
async fn only_the_primary_address_shows_unless_addresses_are_searched() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &["first@example.org", "second@example.org"]);
    let select = ("$select", "personId,email/emailAddress");
    let rows = client.archive("Person", &[select]).await;
    assert_eq!(column(&rows, "email/emailAddress"), ["first@example.org"]);
    let rows = client
        .archive(
            "Person",
            &[
                select,
                ("$filter", "email/emailAddress eq 'second@example.org'"),
            ],
        )
        .await;
    assert_eq!(column(&rows, "email/emailAddress"), ["second@example.org"]);
    let rows = client
        .archive(
            "Person",
            &[select, ("$filter", "email/emailAddress contains 'example'")],
        )
        .await;
    assert_eq!(
        numbers(&rows, "personId"),
        [id, id],
        "once for each address"
    );
    let query = [
        ("$select", "email.person_id,email.email_address,email.rank"),
        (
            "$filter",
            "email.email_address in ('SECOND@example.org','nobody@example.org')",
        ),
    ];
    let rows = client.archive("dynamic", &query).await;
    assert_eq!(
        (&rows[0]["email.person_id"], &rows[0]["email.rank"]),
        (&json!(id), &json!(2))
    );
    let rows = client
        .archive(
            "EmailAddress",
            &[("$filter", "emailAddress = 'first@example.org'")],
        )
        .await;
    assert_eq!(
        (&rows[0]["EntityName"], &rows[0]["personId"]),
        (&json!("person"), &json!(id))
    );
}

#[tokio::test]
async fn dynamic_columns_follow_links_in_both_directions() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &["a@example.org", "b@example.org"]);
    tenant.switch_marketing(id, true, SALES).unwrap();
    let lonely = person(tenant, &[]);
    let back = [(
        "$select",
        "person.person_id,person.(email->person_id).email_address",
    )];
    let rows = client.archive("dynamic", &back).await;
    assert_eq!(numbers(&rows, "person.person_id"), [id, id, lonely]);
    assert_eq!(
        rows[2]["person.(email->person_id).email_address"],
        Value::Null,
        "an outer join"
    );
    let inner = [(
        "$select",
        "person.person_id,person:(email->person_id).email_address",
    )];
    let rows = client.archive("dynamic", &inner).await;
    assert_eq!(numbers(&rows, "person.person_id"), [id, id]);
    let far = [
        (
            "$select",
            "person.(consentperson->person_id).legalbase_id.key",
        ),
        (
            "$filter",
            "person.(consentperson->person_id).consentpurpose_id.key eq 'EMARKETING'",
        ),
    ];
    let rows = client.archive("dynamic", &far).await;
    assert_eq!(
        column(&rows, "person.(consentperson->person_id).legalbase_id.key"),
        ["61F"]
    );
    let forth = [
        ("$select", "consentperson.person_id.firstname"),
        ("$filter", "consentperson.consentpurpose_id = 2"),
    ];
    let rows = client.archive("dynamic", &forth).await;
    assert_eq!(column(&rows, "consentperson.person_id.firstname"), ["Pat"]);
    for select in [
        "person.person_id,email.email_id",
        "nothing.id",
        "person.nothing",
        "person.firstname.key",
        "",
    ] {
        assert_eq!(
            client.ask("dynamic", &[("$select", select)]).await.0,
            400,
            "{select:?}"
        );
    }
}

#[tokio::test]
async fn pages_come_by_key_or_by_skip_and_next_links_as_set() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    for _ in 0..5 {
        person(tenant, &[]);
    }
    let page = async |query: &[(&str, &str)]| {
        let all: Vec<_> = [("$select", "personId"), ("$top", "2")]
            .iter()
            .chain(query)
            .copied()
            .collect();
        client.ask("Person", &all).await.1
    };
    let ids = |body: &Value| numbers(body["value"].as_array().unwrap(), "personId");
    assert_eq!(ids(&page(&[("$orderby", "personId")]).await), [1, 2]);
    assert_eq!(
        ids(&page(&[("$orderby", "personId"), ("$filter", "personId gt 2")]).await),
        [3, 4]
    );
    assert_eq!(
        ids(&page(&[("$orderBy", "personId"), ("$skip", "4")]).await),
        [5]
    );
    assert_eq!(
        ids(&page(&[("$orderby", "personId desc"), ("$skip", "1")]).await),
        [4, 3]
    );
    assert_eq!(page(&[]).await["odata.nextLink"], Value::Null);
    tenant.change_settings(|settings| settings.next_link = NextLink::Absent);
    assert_eq!(page(&[]).await.get("odata.nextLink"), None);
    tenant.change_settings(|settings| settings.next_link = NextLink::Link);
    let first = page(&[("$orderby", "personId")]).await;
    let link = first["odata.nextLink"].as_str().unwrap();
    let path = link
        .strip_prefix(&format!("{}/v1", tenant.api_url()))
        .unwrap();
    let (_, second) = client.get(path).await;
    assert_eq!(ids(&second), [3, 4]);
    assert_eq!(
        page(&[("$skip", "4")]).await["odata.nextLink"],
        Value::Null,
        "the last page"
    );
    tenant
        .set_fault(Rule::from(Fault::ShortPages { rows: 1 }).times(1))
        .unwrap();
    assert_eq!(ids(&page(&[]).await), [1]);
    tenant.change_settings(|settings| settings.archive_rows = 3);
    let rows = client
        .archive("Person", &[("$select", "personId"), ("$top", "5000")])
        .await;
    assert_eq!(rows.len(), 3);
    assert_eq!(page(&[("$skip", "x")]).await["Error"], true);
}

#[tokio::test]
async fn full_mode_has_raw_values_and_slim_mode_names() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    let query = [(
        "$select",
        "personId,legalBaseStore,legalBaseEmarketing,hasStoreConsent,personUpdatedBy",
    )];
    let rows = client.archive("Person", &query).await;
    assert!(
        rows[0]["legalBaseStore"]
            .as_str()
            .unwrap()
            .starts_with("US:\"Legitimate interest\"")
    );
    assert_eq!(
        (&rows[0]["legalBaseEmarketing"], &rows[0]["hasStoreConsent"]),
        (&json!(""), &json!(true))
    );
    let full: Vec<_> = query.iter().chain(&[("$mode", "Full")]).copied().collect();
    let request = client
        .request(Method::GET, "/Archive/Person")
        .query(&full)
        .header("Accept-Language", "en");
    let (_, body) = read(request.send().await.unwrap()).await;
    let row = &body["value"][0];
    assert_eq!(row["PrimaryKey"], id);
    let cell = &row["Column"]["legalBaseStore"];
    assert_eq!(
        (&cell["RawValue"], &cell["DisplayValue"]),
        (&json!(6), &json!("Legitimate interest"))
    );
    let (_, body) = client.get("/Person?$top=1").await;
    assert_eq!(
        body["value"][0]["isMailingRecipient"], true,
        "default columns"
    );
    tenant.add_purpose("PROFILING", "Profiling").unwrap();
    tenant
        .set_consent(id, &NewConsent::new("PROFILING", "61A"), SALES)
        .unwrap();
    let query = [
        ("$select", "hasProfilingConsent"),
        ("$filter", "hasProfilingConsent eq true"),
    ];
    assert_eq!(
        client.archive("Person", &query).await.len(),
        1,
        "a purpose of the customer's own"
    );
    tenant.set_retired(id, true, SALES).unwrap();
    let rows = client.archive("Person", &[("$select", "personId")]).await;
    assert_eq!(rows[0]["EntityName"], "retiredPerson");
    let rows = client
        .archive(
            "Person",
            &[("$select", "personId"), ("$entities", "person")],
        )
        .await;
    assert_eq!(rows.len(), 0);
    let raw = Fault::RawRecord {
        id: format!("person:{id}"),
        json: "{\"PrimaryKey\":7}".to_owned(),
    };
    tenant.set_fault(raw).unwrap();
    assert_eq!(
        client.archive("Person", &[("$select", "personId")]).await,
        [json!({"PrimaryKey": 7})]
    );
}

#[tokio::test]
async fn the_archive_of_purposes_joins_consents_and_persons() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let since = tenant.now().format("%Y-%m-%dT%H:%M:%S").to_string();
    let one = person(tenant, &["one@example.org"]);
    let other = person(tenant, &[]);
    tenant
        .set_consent(other, &NewConsent::new("STORE", "61A"), SALES)
        .unwrap();
    let select = "key,consentPerson/consentPersonId,consentPerson/personId,consentPerson/active,consentPerson/legalBase,\
        consentPerson/updatedDate,consentPerson/person/email/emailAddress";
    let by_person = format!("consentPerson/person/personId in ({one},{other})");
    let rows = client
        .archive(
            "ConsentPurpose",
            &[("$select", select), ("$filter", &by_person)],
        )
        .await;
    assert_eq!(column(&rows, "key"), ["STORE", "STORE"]);
    assert_eq!(
        rows[0]["consentPerson/person/email/emailAddress"],
        "one@example.org"
    );
    let changed = format!("consentPerson/updatedDate afterTime '{since}'");
    let query = [
        ("$select", select),
        ("$filter", &changed),
        ("$mode", "Full"),
    ];
    let rows = client.archive("ConsentPurpose", &query).await;
    assert_eq!(rows.len(), 1, "inserted rows are missed");
    assert_eq!(rows[0]["Column"]["consentPerson/legalBase"]["RawValue"], 1);
    tenant.change_settings(|settings| settings.updated_falls_back = true);
    assert_eq!(client.archive("ConsentPurpose", &query).await.len(), 2);
}

#[tokio::test]
async fn soft_deleted_persons_vanish_from_archives_but_for_the_bin() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &["gone@example.org"]);
    assert_eq!(
        client
            .send(Method::DELETE, &format!("/Person/{id}"), json!({}))
            .await
            .0,
        204
    );
    let count = async |provider: &str, select: &str| {
        client.archive(provider, &[("$select", select)]).await.len()
    };
    assert_eq!(count("Person", "personId").await, 0);
    assert_eq!(count("dynamic", "consentperson.person_id").await, 0);
    assert_eq!(count("dynamic", "email.person_id").await, 0);
    let rows = client
        .archive(
            "RecyclePerson",
            &[("$select", "personId,personDeletedDate")],
        )
        .await;
    assert_eq!(
        (&rows[0]["personId"], &rows[0]["EntityName"]),
        (&json!(id), &json!("forAllUsers"))
    );
    let asked = [
        ("$select", "person.person_id"),
        ("$filter", "person.DeletedDate after '2000-01-01'"),
    ];
    assert_eq!(
        client.archive("dynamic", &asked).await.len(),
        1,
        "asked for"
    );
    tenant.change_settings(|settings| settings.deleted_rows_show = true);
    assert_eq!(count("dynamic", "consentperson.person_id").await, 1);
    tenant.restore(id, SALES).unwrap();
    assert_eq!(count("Person", "personId").await, 1);
    assert_eq!(count("RecyclePerson", "personId").await, 0);
    tenant.delete(id, SALES).unwrap();
    sandbox.clock().advance(14 * 86_400 + 1);
    let client = Client::login(&sandbox).await;
    for (provider, select) in [
        ("RecyclePerson", "personId"),
        ("dynamic", "consentperson.person_id"),
    ] {
        let rows = client.archive(provider, &[("$select", select)]).await;
        assert_eq!(rows.len(), 0, "purged after two weeks: {provider}");
    }
    assert!(tenant.person(id).is_none());
}

#[tokio::test]
async fn merges_and_the_transaction_log_can_be_polled() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let source = person(tenant, &["pat@example.org"]);
    let destination = person(tenant, &[]);
    tenant
        .set_consent(source, &NewConsent::new("EMARKETING", "61A"), SALES)
        .unwrap();
    tenant
        .set_consent(source, &NewConsent::new("STORE", "61A"), SALES)
        .unwrap();
    let path = format!(
        "/Person/{source}/MergeTo/{destination}?moveAfterDate=2000-01-01&deleteSource=true&replaceEmptyFieldsOnDestination=true"
    );
    assert_eq!(client.send(Method::POST, &path, json!({})).await.0, 204);
    let after = tenant.person(destination).unwrap();
    assert_eq!(
        after.consent("EMARKETING").unwrap().legal_base,
        "61A",
        "the gap is filled"
    );
    assert_eq!(
        after.consent("STORE").unwrap().legal_base,
        "61F",
        "the destination's stays"
    );
    assert_eq!(after.addresses, ["pat@example.org"]);
    assert!(tenant.person(source).unwrap().deleted.is_some());
    let query = [
        (
            "$select",
            "mergemovelog.tableNumber,mergemovelog.sourceRecord,mergemovelog.destinationRecord",
        ),
        (
            "$filter",
            "mergemovelog.registered afterTime '2020-01-01T00:00:00' and mergemovelog.tableNumber eq 6",
        ),
    ];
    let rows = client.archive("dynamic", &query).await;
    assert_eq!(numbers(&rows, "mergemovelog.sourceRecord"), [source]);
    assert_eq!(
        numbers(&rows, "mergemovelog.destinationRecord"),
        [destination]
    );

    tenant.change_settings(|settings| settings.merge_newer_wins = true);
    let third = person(tenant, &[]);
    sandbox.clock().advance(5);
    tenant
        .set_consent(third, &NewConsent::new("EMARKETING", "WITHDRAWN"), SALES)
        .unwrap();
    tenant.merge(third, destination, false, SALES).unwrap();
    let after = tenant.person(destination).unwrap();
    assert_eq!(after.consent("EMARKETING").unwrap().legal_base, "WITHDRAWN");
    assert!(
        tenant.person(third).unwrap().retired,
        "kept as one who has left"
    );

    let log = async |filter: &str| {
        let select =
            "traveltransactionlog.record_id,traveltransactionlog.type,traveltransactionlog.flags";
        client
            .archive("dynamic", &[("$select", select), ("$filter", filter)])
            .await
    };
    let before = log("traveltransactionlog.tablenumber eq 471").await.len();
    let id = person(tenant, &[]);
    let row = tenant.person(id).unwrap().consents[0].id;
    tenant.remove_consent(id, "STORE", SALES).unwrap();
    tenant
        .bulk_update(&[id], &NewConsent::new("EMARKETING", "61A"), SALES)
        .unwrap();
    let rows = log("traveltransactionlog.tablenumber eq 471").await;
    let types: Vec<i64> = numbers(&rows[before..], "traveltransactionlog.type");
    assert_eq!(types, [4_352, 4_864, 4_352], "insert, delete, insert");
    assert_eq!(rows[before + 1]["traveltransactionlog.record_id"], row);
    assert_eq!(
        rows[before + 2]["traveltransactionlog.flags"],
        2,
        "a mass operation"
    );
    let persons = log("traveltransactionlog.tablenumber eq 6").await;
    tenant.delete(id, SALES).unwrap();
    assert_eq!(
        log("traveltransactionlog.tablenumber eq 6").await.len(),
        persons.len(),
        "no soft deletes"
    );
}

#[tokio::test]
async fn opt_outs_from_types_of_mailing_are_rows_of_their_own() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let id = person(tenant, &[]);
    tenant.switch_marketing(id, true, SALES).unwrap();
    tenant.unsubscribe(id, &[1, 3]).unwrap();
    let select = "shipmenttypereservation.person_id,shipmenttypereservation.shipmenttype_id,shipmenttypereservation.registered";
    let filter = format!("shipmenttypereservation.person_id in ({id},99)");
    let rows = client
        .archive("dynamic", &[("$select", select), ("$filter", &filter)])
        .await;
    assert_eq!(
        numbers(&rows, "shipmenttypereservation.shipmenttype_id"),
        [1, 3]
    );
}
