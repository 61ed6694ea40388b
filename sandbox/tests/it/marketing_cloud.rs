//! The simulated Marketing Cloud account over real sockets.

use consentd_sandbox::marketing_cloud::{
    BOULDER, DENVER, ENTERPRISE, Enterprise, Mid, SYSTEM, Status, UnsubscribeBehavior,
};
use consentd_sandbox::{CallKind, Fault, Rule, Sandbox};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::client::{http, read, sandbox};

const ANN: &str = "0035e0000000AnnIAA";
const BEN: &str = "0035e0000000BenIAA";

/// A client with a token of one unit.
struct Mc {
    sandbox: Sandbox,
    http: reqwest::Client,
    token: String,
}

impl Mc {
    /// A client of a new account with so many people, with a token of the enterprise.
    async fn start(contacts: usize) -> Mc {
        let mut mc = Mc {
            sandbox: sandbox(contacts).await,
            http: http(),
            token: String::new(),
        };
        mc.login(ENTERPRISE).await;
        mc.cloud().reset_calls();
        mc
    }

    fn cloud(&self) -> &Enterprise {
        self.sandbox.marketing_cloud()
    }

    async fn grant(&self, body: Value) -> (StatusCode, Value) {
        let url = format!("{}/v2/token", self.cloud().url());
        read(self.http.post(url).json(&body).send().await.unwrap()).await
    }

    fn client(&self) -> Value {
        let known = &self.sandbox.credentials().marketing_cloud;
        json!({
            "grant_type": "client_credentials",
            "client_id": known.client_id,
            "client_secret": known.client_secret,
        })
    }

    async fn login(&mut self, mid: Mid) -> Value {
        let mut body = self.client();
        body["account_id"] = json!(mid);
        let (status, answer) = self.grant(body).await;
        assert_eq!(status, 200, "{answer}");
        answer["access_token"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.token);
        answer
    }

    async fn post(&self, action: &str, envelope: String) -> (StatusCode, String) {
        let request = self
            .http
            .post(format!("{}/Service.asmx", self.cloud().url()))
            .header("Content-Type", "text/xml; charset=utf-8")
            .header("SOAPAction", action)
            .body(envelope);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    fn envelope(&self, payload: &str) -> String {
        format!(
            r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"
                 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Header>
                 <fueloauth xmlns="http://exacttarget.com">{}</fueloauth></s:Header>
                 <s:Body>{payload}</s:Body></s:Envelope>"#,
            self.token
        )
    }

    async fn soap(&self, action: &str, payload: &str) -> (StatusCode, String) {
        self.post(action, self.envelope(payload)).await
    }

    async fn retrieve(&self, request: &str) -> String {
        let (status, answer) = self.soap("Retrieve", &retrieve(request)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Status by unit of a subscriber.
    async fn statuses(&self, key: &str) -> Vec<(String, String)> {
        let answer = self.retrieve(&by_key(&[key], "", QUERY_ALL)).await;
        assert_eq!(first(&answer, "OverallStatus"), "OK", "{answer}");
        pairs(&answer)
    }

    async fn update(&self, objects: &str) -> String {
        let (status, answer) = self.soap("Update", &update("", objects)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

const QUERY_ALL: &str = "<QueryAllAccounts>true</QueryAllAccounts>";

fn retrieve(request: &str) -> String {
    format!(
        r#"<RetrieveRequestMsg xmlns="http://exacttarget.com/wsdl/partnerAPI"><RetrieveRequest>{request}
           </RetrieveRequest></RetrieveRequestMsg>"#
    )
}

fn by_key(keys: &[&str], before: &str, after: &str) -> String {
    let operator = if keys.len() == 1 { "equals" } else { "IN" };
    let values: Vec<String> = keys
        .iter()
        .map(|key| format!("<Value>{key}</Value>"))
        .collect();
    let values = values.concat();
    format!(
        r#"{before}<ObjectType>Subscriber</ObjectType><Properties>Client.ID</Properties>
           <Properties>SubscriberKey</Properties><Properties>Status</Properties>
           <Filter xsi:type="SimpleFilterPart"><Property>SubscriberKey</Property>
           <SimpleOperator>{operator}</SimpleOperator>{values}</Filter>{after}"#
    )
}

fn update(options: &str, objects: &str) -> String {
    format!(
        r#"<UpdateRequest xmlns="http://exacttarget.com/wsdl/partnerAPI">{options}{objects}</UpdateRequest>"#
    )
}

fn object(mid: Option<Mid>, key: &str, status: &str) -> String {
    let client = mid.map(|mid| format!("<Client><ID>{mid}</ID></Client>"));
    format!(
        r#"<Objects xsi:type="Subscriber">{}<SubscriberKey>{key}</SubscriberKey><Status>{status}</Status></Objects>"#,
        client.unwrap_or_default()
    )
}

/// Texts of all elements of this name, in order.
fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned()))
        .collect()
}

fn first(xml: &str, name: &str) -> String {
    texts(xml, name).into_iter().next().unwrap_or_default()
}

fn pairs(answer: &str) -> Vec<(String, String)> {
    let units = texts(answer, "Client")
        .into_iter()
        .map(|one| first(&one, "ID"));
    units.zip(texts(answer, "Status")).collect()
}

fn pair(mid: Mid, status: &str) -> (String, String) {
    (mid.to_string(), status.to_owned())
}

/// Ann in the enterprise and in all units, Ben in the enterprise alone.
async fn two() -> Mc {
    let mc = Mc::start(0).await;
    let units = [BOULDER, DENVER, SYSTEM];
    mc.cloud()
        .add_subscriber(ANN, "ann@x.example", &units)
        .unwrap();
    mc.cloud()
        .add_subscriber(BEN, "ben@x.example", &[])
        .unwrap();
    mc
}

#[tokio::test]
async fn a_token_is_of_one_unit_and_lasts_its_time() {
    let mut mc = two().await;
    let granted = mc.login(BOULDER).await;
    assert_eq!(granted["expires_in"], 1_079);
    assert_eq!(granted["token_type"], "Bearer");
    for url in ["soap_instance_url", "rest_instance_url"] {
        assert_eq!(granted[url], format!("{}/", mc.cloud().url()));
    }
    let own = mc.retrieve(&by_key(&[ANN], "", "")).await;
    assert_eq!(pairs(&own), [pair(BOULDER, "Active")]);

    mc.sandbox.clock().advance(1_070);
    mc.retrieve(&by_key(&[ANN], "", "")).await;
    mc.sandbox.clock().advance(10);
    let (status, fault) = mc
        .soap("Retrieve", &retrieve(&by_key(&[ANN], "", "")))
        .await;
    assert_eq!(status, 500);
    assert_eq!(first(&fault, "faultstring"), "Token Expired");
    mc.token = "nonsense".to_owned();
    let (status, fault) = mc
        .soap("Retrieve", &retrieve(&by_key(&[ANN], "", "")))
        .await;
    assert_eq!(status, 500);
    assert_eq!(first(&fault, "faultstring"), "Login failed");
    assert!(fault.contains("q0:Security</faultcode>"), "{fault}");
    let calls = mc.cloud().calls();
    assert_eq!((calls.tokens, calls.expired, calls.unauthorised), (1, 1, 1));
}

#[tokio::test]
async fn grants_are_refused_in_the_vendors_words() {
    let mc = Mc::start(0).await;
    let cases = [
        ("client_id", json!("other"), 401, "invalid_client"),
        ("client_secret", json!("other"), 401, "invalid_client"),
        (
            "grant_type",
            json!("password"),
            400,
            "unsupported_grant_type",
        ),
        ("account_id", json!(12), 400, "invalid_request"),
        ("scope", json!("journeys_read"), 400, "invalid_scope"),
    ];
    for (name, value, status, error) in cases {
        let mut body = mc.client();
        body[name] = value;
        let (got, answer) = mc.grant(body).await;
        assert_eq!((got.as_u16(), &answer["error"]), (status, &json!(error)));
        assert!(answer["error_description"].is_string() && answer["error_uri"].is_string());
    }
    let mut text = mc.client();
    text["account_id"] = json!(BOULDER.to_string());
    assert_eq!(mc.grant(text).await.0, 200, "a number as text");
    let (status, home) = mc.grant(mc.client()).await;
    assert_eq!(status, 200, "{home}: the unit where the package was made");
    let rest = mc.http.get(format!("{}/platform/v1/x", mc.cloud().url()));
    let (status, answer) = read(rest.send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &answer["errorcode"]), (401, &json!(0)));
}

#[tokio::test]
async fn a_scope_that_is_missing_is_a_client_fault() {
    let mut mc = two().await;
    let mut body = mc.client();
    body["scope"] = json!("email_read list_and_subscribers_read");
    let (_, granted) = mc.grant(body).await;
    granted["access_token"]
        .as_str()
        .unwrap()
        .clone_into(&mut mc.token);
    mc.retrieve(&by_key(&[ANN], "", "")).await;
    let (status, fault) = mc
        .soap("Update", &update("", &object(None, ANN, "Active")))
        .await;
    assert_eq!(status, 500);
    assert!(
        fault.contains("soap:Client") && fault.contains("Code: 11"),
        "{fault}"
    );
    assert!(!fault.contains("<detail>"));
    let units = "<ObjectType>BusinessUnit</ObjectType><Properties>ID</Properties>";
    assert_eq!(mc.soap("Retrieve", &retrieve(units)).await.0, 500);
}

#[tokio::test]
async fn soap_1_2_and_any_prefixes_are_read() {
    let mc = two().await;
    let envelope = format!(
        r#"<?xml version="1.0"?><q:Envelope xmlns:q="http://www.w3.org/2003/05/soap-envelope"
            xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
            xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:p="http://exacttarget.com/wsdl/partnerAPI"
            xmlns:t="http://exacttarget.com">
            <q:Header><a:Action>Retrieve</a:Action><t:fueloauth>{}</t:fueloauth></q:Header><q:Body>
            <p:RetrieveRequestMsg><p:RetrieveRequest><p:ObjectType>Subscriber</p:ObjectType>
            <p:Properties>SubscriberKey</p:Properties><p:Properties>UnsubscribedDate</p:Properties>
            <p:Filter i:type="p:SimpleFilterPart"><p:Property>EmailAddress</p:Property>
            <p:SimpleOperator>equals</p:SimpleOperator><p:Value>ANN@x.example</p:Value></p:Filter>
            </p:RetrieveRequest></p:RetrieveRequestMsg></q:Body></q:Envelope>"#,
        mc.token
    );
    let url = format!("{}/Service.asmx", mc.cloud().url());
    let request = mc
        .http
        .post(url)
        .header("Content-Type", "application/soap+xml");
    let answer = request.body(envelope).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/xml; charset=utf-8");
    let answer = answer.text().await.unwrap();
    assert!(
        answer.contains("schemas.xmlsoap.org/soap/envelope/"),
        "1.1 is answered"
    );
    assert_eq!(first(&answer, "wsa:Action"), "RetrieveResponse");
    assert_eq!(texts(&answer, "SubscriberKey"), [ANN]);
    assert!(
        answer.contains(r#"<Results xsi:type="Subscriber">"#),
        "{answer}"
    );
    assert!(
        answer.contains(r#"<UnsubscribedDate xsi:nil="true" />"#),
        "{answer}"
    );
    assert!(!answer.contains("<Client>"), "not asked for");

    let elsewhere = mc
        .soap("Retrieve", "<RetrieveRequestMsg xmlns=\"urn:other\"/>")
        .await;
    assert_eq!(elsewhere.0, 500, "another namespace");
    assert_eq!(mc.soap("Perform", &retrieve("")).await.0, 500);
    assert_eq!(mc.post("Retrieve", "no envelope".to_owned()).await.0, 500);
}

#[tokio::test]
async fn one_retrieve_looks_into_every_unit() {
    let mut mc = two().await;
    mc.cloud()
        .set_status(ANN, Some(DENVER), Status::Held)
        .unwrap();
    let expected = [
        pair(ENTERPRISE, "Active"),
        pair(BOULDER, "Active"),
        pair(DENVER, "Held"),
        pair(SYSTEM, "Active"),
    ];
    assert_eq!(mc.statuses(ANN).await, expected);
    assert_eq!(mc.statuses(BEN).await, [pair(ENTERPRISE, "Active")]);
    assert_eq!(
        mc.statuses("0035e000000nobody").await,
        [],
        "not found is OK and empty"
    );
    let named = format!(
        "<ClientIDs><ID>{DENVER}</ID></ClientIDs><ClientIDs><ID>{BOULDER}</ID></ClientIDs>"
    );
    let both = mc.retrieve(&by_key(&[BEN, ANN], &named, "")).await;
    assert_eq!(
        pairs(&both),
        [pair(DENVER, "Held"), pair(BOULDER, "Active")]
    );

    mc.cloud()
        .change_settings(|settings| settings.query_all_includes_enterprise = false);
    assert_eq!(mc.statuses(ANN).await, expected[1..]);
    mc.login(BOULDER).await;
    assert_eq!(
        mc.statuses(ANN).await,
        [pair(BOULDER, "Active")],
        "a unit sees itself"
    );
    let refused = mc.retrieve(&by_key(&[ANN], &named, "")).await;
    assert!(
        first(&refused, "OverallStatus").starts_with("Error: "),
        "{refused}"
    );
    mc.cloud()
        .change_settings(|settings| settings.client_ids_need_parent = false);
    assert_eq!(
        pairs(&mc.retrieve(&by_key(&[ANN], &named, "")).await).len(),
        2
    );
}

#[tokio::test]
async fn units_and_their_lists_can_be_listed() {
    let mc = two().await;
    let units = mc
        .retrieve(&format!(
            "<ObjectType>BusinessUnit</ObjectType><Properties>ID</Properties><Properties>Name</Properties>\
             <Properties>MasterUnsubscribeBehavior</Properties>{QUERY_ALL}"
        ))
        .await;
    assert_eq!(texts(&units, "Name").len(), 4);
    assert_eq!(
        texts(&units, "MasterUnsubscribeBehavior"),
        [
            "ENTIRE_ENTERPRISE",
            "ENTIRE_ENTERPRISE",
            "BUSINESS_UNIT_ONLY",
            "ENTIRE_ENTERPRISE"
        ]
    );
    let list = mc
        .retrieve(
            r#"<ObjectType>List</ObjectType><Properties>ID</Properties><Properties>ListName</Properties>
               <Filter xsi:type="SimpleFilterPart"><Property>ListName</Property>
               <SimpleOperator>equals</SimpleOperator><Value>All Subscribers</Value></Filter>"#,
        )
        .await;
    let all = texts(&list, "ID");
    assert_eq!(all.len(), 1, "{list}");
    let on = mc
        .retrieve(&format!(
            r#"<ObjectType>ListSubscriber</ObjectType><Properties>SubscriberKey</Properties>
               <Properties>ListID</Properties><Properties>Status</Properties>
               <Filter xsi:type="ComplexFilterPart"><LeftOperand xsi:type="SimpleFilterPart">
               <Property>ListID</Property><SimpleOperator>equals</SimpleOperator><Value>{}</Value></LeftOperand>
               <LogicalOperator>AND</LogicalOperator><RightOperand xsi:type="SimpleFilterPart">
               <Property>SubscriberKey</Property><SimpleOperator>IN</SimpleOperator><Value>{ANN}</Value>
               <Value>{BEN}</Value><Value>other</Value></RightOperand></Filter>"#,
            all[0]
        ))
        .await;
    assert_eq!(texts(&on, "SubscriberKey"), [ANN, BEN], "{on}");
}

#[tokio::test]
async fn filters_compare_and_wrong_ones_are_told() {
    let mc = two().await;
    let ask = |filter: &str| {
        format!("<ObjectType>Subscriber</ObjectType><Properties>SubscriberKey</Properties>{filter}")
    };
    let simple = |property: &str, operator: &str, values: &[&str]| {
        let values: Vec<String> = values
            .iter()
            .map(|one| format!("<Value>{one}</Value>"))
            .collect();
        let values = values.concat();
        format!(
            r#"<Filter xsi:type="SimpleFilterPart"><Property>{property}</Property><SimpleOperator>{operator}</SimpleOperator>{values}</Filter>"#
        )
    };
    let cases: [(&str, &str, &[&str], usize); 12] = [
        ("ID", "greaterThan", &["1"], 1),
        ("ID", "greaterThanOrEqual", &["1"], 2),
        ("ID", "lessThan", &["2"], 1),
        ("ID", "between", &["1", "2"], 2),
        ("Status", "notEquals", &["Active"], 0),
        ("EmailAddress", "like", &["ann"], 1),
        ("EmailAddress", "like", &["%x.example"], 2),
        ("UnsubscribedDate", "isNull", &[], 2),
        ("UnsubscribedDate", "isNotNull", &[], 0),
        ("CreatedDate", "greaterThan", &["2020-01-01"], 2),
        ("CreatedDate", "lessThan", &["2020-01-01T00:00:00Z"], 0),
        ("SubscriberKey", "IN", &["0035E0000000ANNIAA", BEN], 2),
    ];
    for (property, operator, values, rows) in cases {
        let answer = mc.retrieve(&ask(&simple(property, operator, values))).await;
        let keys = texts(&answer, "SubscriberKey");
        assert_eq!(keys.len(), rows, "{property} {operator}: {answer}");
    }
    let wrong = [
        ask(&simple("Colour", "equals", &["1"])),
        ask(&simple("ID", "resembles", &["1"])),
        ask(&simple("ID", "equals", &[])),
        ask("<Filter><Property>ID</Property></Filter>"),
        "<ObjectType>Journey</ObjectType><Properties>ID</Properties>".to_owned(),
        "<ObjectType>Subscriber</ObjectType>".to_owned(),
        ask("<Properties>Colour</Properties>"),
    ];
    for request in wrong {
        let answer = mc.retrieve(&request).await;
        let overall = first(&answer, "OverallStatus");
        assert!(overall.starts_with("Error: "), "{request}: {overall}");
        assert!(!answer.contains("<Results"));
    }
    mc.cloud().change_settings(|settings| {
        settings.hidden_properties = vec!["Subscriber.UnsubscribedDate".to_owned()];
        settings.strict_order = true;
    });
    let hidden = ask("<Properties>UnsubscribedDate</Properties>");
    let overall = first(&mc.retrieve(&hidden).await, "OverallStatus");
    assert!(
        overall.contains("UnsubscribedDate do not match"),
        "{overall}"
    );
    let late = format!("{}<ClientIDs><ID>{BOULDER}</ID></ClientIDs>", ask(""));
    assert_eq!(mc.soap("Retrieve", &retrieve(&late)).await.0, 500);
}

#[tokio::test]
async fn long_answers_come_in_pages() {
    let mc = two().await;
    for number in 0..8 {
        let (key, address) = (format!("k{number}"), format!("k{number}@x.example"));
        mc.cloud().add_subscriber(&key, &address, &[]).unwrap();
    }
    mc.cloud()
        .change_settings(|settings| settings.page_rows = 4);
    let ask = "<ObjectType>Subscriber</ObjectType><Properties>SubscriberKey</Properties>";
    let mut keys = Vec::new();
    let mut answer = mc.retrieve(ask).await;
    let began = first(&answer, "RequestID");
    let mut pages = 1;
    loop {
        keys.extend(texts(&answer, "SubscriberKey"));
        if first(&answer, "OverallStatus") == "OK" {
            break;
        }
        assert_eq!(first(&answer, "OverallStatus"), "MoreDataAvailable");
        let more = format!(
            "{ask}<ContinueRequest>{}</ContinueRequest>",
            first(&answer, "RequestID")
        );
        answer = mc.retrieve(&more).await;
        pages += 1;
    }
    assert_eq!((keys.len(), pages), (10, 3));
    keys.dedup();
    assert_eq!(keys.len(), 10);
    let again = format!("<ContinueRequest>{began}</ContinueRequest>");
    let overall = first(&mc.retrieve(&again).await, "OverallStatus");
    assert!(
        overall.starts_with("Error: "),
        "a page is given once: {overall}"
    );

    let id = first(&mc.retrieve(ask).await, "RequestID");
    let more = format!("{ask}<ContinueRequest>{id}</ContinueRequest>");
    mc.cloud()
        .set_fault(Rule::from(Fault::CursorExpiry).times(1))
        .unwrap();
    let overall = first(&mc.retrieve(&more).await, "OverallStatus");
    assert!(overall.starts_with("Error: "), "{overall}");

    mc.cloud().set_fault(Fault::LoopingPages).unwrap();
    let once = mc.retrieve(ask).await;
    let more = format!(
        "{ask}<ContinueRequest>{}</ContinueRequest>",
        first(&once, "RequestID")
    );
    let twice = mc.retrieve(&more).await;
    assert_eq!(
        texts(&once, "SubscriberKey"),
        texts(&twice, "SubscriberKey")
    );
    assert_eq!(first(&once, "RequestID"), first(&twice, "RequestID"));
}

#[tokio::test]
async fn an_update_answers_for_each_object() {
    let mc = two().await;
    mc.cloud().set_status(ANN, None, Status::Held).unwrap();
    let answer = mc
        .update(&(object(None, ANN, "Active") + &object(Some(DENVER), ANN, "Active")))
        .await;
    assert_eq!(first(&answer, "OverallStatus"), "OK", "{answer}");
    assert_eq!(texts(&answer, "StatusCode"), ["OK", "OK"]);
    assert_eq!(texts(&answer, "OrdinalID"), ["0", "1"]);
    let state = mc.cloud().subscriber(ANN).unwrap();
    assert_eq!(state.enterprise, Status::Active);
    assert_eq!(
        (state.units[&BOULDER], state.units[&DENVER]),
        (Status::Held, Status::Active),
        "activating the enterprise does not activate a unit"
    );

    let some = mc
        .update(&(object(None, "nobody", "Active") + &object(None, BEN, "Unsubscribed")))
        .await;
    assert_eq!(first(&some, "OverallStatus"), "Has Errors");
    assert_eq!(texts(&some, "ErrorCode"), ["12001"]);
    assert_eq!(texts(&some, "StatusMessage")[0], "SubscriberNotFound");
    assert_eq!(
        mc.cloud().status(BEN, ENTERPRISE),
        Some(Status::Unsubscribed)
    );
    for (status, code) in [("Held", "3"), ("Bounced", "3")] {
        let none = mc.update(&object(None, ANN, status)).await;
        assert_eq!(first(&none, "OverallStatus"), "Error");
        assert_eq!(texts(&none, "ErrorCode"), [code]);
    }
    let untyped = object(None, ANN, "Active").replace(r#" xsi:type="Subscriber""#, "");
    assert_eq!(texts(&mc.update(&untyped).await, "ErrorCode"), ["8"]);
    let afar = mc.update(&object(Some(99), ANN, "Active")).await;
    assert_eq!(first(&afar, "OverallStatus"), "Error");
    let gone = mc.update(&object(None, BEN, "Deleted")).await;
    assert_eq!(first(&gone, "OverallStatus"), "OK");
    assert_eq!(mc.statuses(BEN).await, []);
    let calls = mc.cloud().calls();
    assert_eq!((calls.rows_updated, calls.rows_refused), (4, 5));
    let (status, created) = mc
        .soap(
            "Create",
            &update("", &object(None, "new", "Active")).replace("UpdateRequest", "CreateRequest"),
        )
        .await;
    assert_eq!(
        (status.as_u16(), first(&created, "ErrorCode").as_str()),
        (200, "5")
    );
}

#[tokio::test]
async fn an_update_may_add() {
    let mc = two().await;
    let save = |action: &str| {
        format!(
            "<Options><SaveOptions><SaveOption><PropertyName>*</PropertyName>\
             <SaveAction>{action}</SaveAction></SaveOption></SaveOptions></Options>"
        )
    };
    let new = r#"<Objects xsi:type="Subscriber"><EmailAddress>cy@x.example</EmailAddress>
                 <SubscriberKey>cy</SubscriberKey></Objects>"#;
    let (_, only) = mc.soap("Update", &update(&save("UpdateOnly"), new)).await;
    assert_eq!(first(&only, "ErrorCode"), "12001");
    let (_, added) = mc.soap("Update", &update(&save("UpdateAdd"), new)).await;
    assert_eq!(first(&added, "OverallStatus"), "OK", "{added}");
    assert_eq!(mc.statuses("CY").await, [pair(ENTERPRISE, "Active")]);
    let (_, bare) = mc
        .soap(
            "Update",
            &update(&save("UpdateAdd"), &object(None, "dee", "Active")),
        )
        .await;
    assert_eq!(first(&bare, "ErrorCode"), "12000");

    mc.cloud()
        .change_settings(|settings| settings.update_adds_to_unit = false);
    let unit = mc.update(&object(Some(BOULDER), BEN, "Active")).await;
    assert_eq!(first(&unit, "ErrorCode"), "12001");
    mc.cloud()
        .change_settings(|settings| settings.update_adds_to_unit = true);
    mc.update(&object(Some(BOULDER), BEN, "Active")).await;
    assert_eq!(mc.cloud().status(BEN, BOULDER), Some(Status::Active));
}

#[tokio::test]
async fn how_far_unsubscribing_reaches_is_the_units_choice() {
    let mc = two().await;
    let cloud = mc.cloud();
    mc.update(&object(Some(DENVER), ANN, "Unsubscribed")).await;
    let state = cloud.subscriber(ANN).unwrap();
    assert_eq!(state.enterprise, Status::Active, "Denver is for itself");
    assert_eq!(state.mailable, [ENTERPRISE, BOULDER, SYSTEM]);

    mc.update(&object(Some(BOULDER), ANN, "Unsubscribed")).await;
    mc.update(&object(Some(DENVER), ANN, "Active")).await;
    let state = cloud.subscriber(ANN).unwrap();
    assert_eq!(state.enterprise, Status::Unsubscribed, "Boulder is for all");
    assert_eq!(state.units[&SYSTEM], Status::Unsubscribed);
    assert_eq!(state.mailable, [DENVER]);

    mc.update(&object(Some(BOULDER), ANN, "Active")).await;
    assert_eq!(cloud.status(ANN, BOULDER), Some(Status::Active));
    assert!(
        !cloud.mailable(ANN, BOULDER),
        "the enterprise is still unsubscribed"
    );
    mc.update(&object(None, ANN, "Active")).await;
    assert!(cloud.mailable(ANN, BOULDER));
    assert!(!cloud.mailable(ANN, SYSTEM), "each unit by itself");

    cloud
        .set_behavior(SYSTEM, UnsubscribeBehavior::BusinessUnitOnly)
        .unwrap();
    cloud.change_settings(|settings| settings.enterprise_shows_in_units = true);
    mc.update(&object(None, ANN, "Unsubscribed")).await;
    mc.update(&object(Some(BOULDER), ANN, "Active")).await;
    mc.update(&object(Some(SYSTEM), ANN, "Active")).await;
    let shown = mc.statuses(ANN).await;
    assert_eq!(shown[1], pair(BOULDER, "Unsubscribed"));
    assert_eq!(shown[3], pair(SYSTEM, "Active"));
}

#[tokio::test]
async fn all_subscribers_is_the_universal_list() {
    let mc = two().await;
    let unit = &mc.cloud().units()[0];
    let on = |list: u64| {
        format!(
            r#"<Objects xsi:type="Subscriber"><SubscriberKey>{ANN}</SubscriberKey><Lists><ID>{list}</ID>
               <Action>update</Action><Status>Unsubscribed</Status></Lists></Objects>"#
        )
    };
    mc.update(&on(unit.letter)).await;
    assert_eq!(mc.cloud().status(ANN, ENTERPRISE), Some(Status::Active));
    mc.update(&on(unit.all_subscribers)).await;
    let state = mc.cloud().subscriber(ANN).unwrap();
    assert_eq!(
        (state.enterprise, state.units[&BOULDER]),
        (Status::Unsubscribed, Status::Unsubscribed)
    );
    assert_eq!(first(&mc.update(&on(1)).await, "OverallStatus"), "Error");
    let events = mc
        .retrieve(
            "<ObjectType>SubscriberStatusEvent</ObjectType><Properties>CurrentStatus</Properties>\
             <Properties>PreviousStatus</Properties><Properties>SubscriberKey</Properties>",
        )
        .await;
    assert_eq!(texts(&events, "CurrentStatus"), ["Unsub"]);
    assert_eq!(texts(&events, "PreviousStatus"), ["Normal"]);
}

#[tokio::test]
async fn bounces_turn_yellow_and_gray_and_an_open_green() {
    let mc = two().await;
    let cloud = mc.cloud();
    cloud.bounce(ANN, 1, 0).unwrap();
    assert_eq!(mc.statuses(ANN).await[2], pair(DENVER, "Bounced"));
    cloud.bounce(ANN, 3, 14).unwrap();
    assert_eq!(
        cloud.status(ANN, ENTERPRISE),
        Some(Status::Bounced),
        "not more than fourteen days"
    );
    cloud.bounce(ANN, 2, 15).unwrap();
    assert_eq!(cloud.status(ANN, ENTERPRISE), Some(Status::Held));
    assert!(!cloud.mailable(ANN, BOULDER));
    mc.update(&object(None, ANN, "Active")).await;
    cloud.bounce(ANN, 1, 0).unwrap();
    assert_eq!(
        cloud.status(ANN, ENTERPRISE),
        Some(Status::Held),
        "bounces are not forgotten"
    );
    cloud.engage(ANN).unwrap();
    let state = cloud.subscriber(ANN).unwrap();
    assert_eq!((state.enterprise, state.bounces), (Status::Active, 0));
    assert_eq!(state.mailable.len(), 4);
    cloud.unsubscribe(ANN, DENVER, false).unwrap();
    cloud.bounce(ANN, 1, 0).unwrap();
    assert_eq!(cloud.status(ANN, DENVER), Some(Status::Unsubscribed));
}

#[tokio::test]
async fn the_link_ticks_the_box_in_salesforce_and_clearing_it_does_nothing_here() {
    let mc = Mc::start(0).await;
    let org = mc.sandbox.salesforce();
    let fields = json!({"LastName": "Example", "Email": "pat@x.example"});
    let id = org
        .create(
            "Contact",
            fields.as_object().unwrap(),
            "eComm Specialist",
            None,
        )
        .unwrap();
    mc.cloud()
        .add_subscriber(&id, "pat@x.example", &[BOULDER])
        .unwrap();
    assert!(mc.cloud().unsubscribe(&id, BOULDER, true).unwrap());
    let contact = org.contact(&id).unwrap();
    assert!(contact.opted_out);
    assert_eq!(contact.modified_by, "Marketing Cloud Integration Agent");
    let clear = json!({"HasOptedOutOfEmail": false});
    org.edit(&id, clear.as_object().unwrap(), "eComm Specialist")
        .unwrap();
    assert_eq!(
        mc.cloud().status(&id, ENTERPRISE),
        Some(Status::Unsubscribed)
    );
    mc.cloud()
        .add_subscriber("stray", "s@x.example", &[])
        .unwrap();
    assert!(
        !mc.cloud().unsubscribe("stray", BOULDER, true).unwrap(),
        "no such contact"
    );
}

#[tokio::test]
async fn a_logged_unsubscribe_reaches_as_far_as_any() {
    let mc = two().await;
    let execute = |parameters: &[(&str, &str)]| {
        let parameters: Vec<String> = parameters
            .iter()
            .map(|(name, value)| {
                format!("<Parameters><Name>{name}</Name><Value>{value}</Value></Parameters>")
            })
            .collect();
        let parameters = parameters.concat();
        format!(
            r#"<ExecuteRequestMsg xmlns="http://exacttarget.com/wsdl/partnerAPI"><Requests>
               <Client><ID>{BOULDER}</ID></Client><Name>LogUnsubEvent</Name>{parameters}</Requests></ExecuteRequestMsg>"#
        )
    };
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[], "402"),
        (&[("Reason", "x")], "403"),
        (&[("SubscriberKey", "nobody")], "408"),
        (&[("SubscriberKey", ANN), ("SubscriberID", "2")], "405"),
        (&[("SubscriberKey", ANN), ("Reason", "asked by phone")], "0"),
    ];
    for (parameters, code) in cases {
        let (status, answer) = mc.soap("Execute", &execute(parameters)).await;
        assert_eq!(
            (status.as_u16(), first(&answer, "ErrorCode").as_str()),
            (200, code)
        );
    }
    assert_eq!(
        mc.cloud().status(ANN, ENTERPRISE),
        Some(Status::Unsubscribed)
    );
    let (_, again) = mc
        .soap("Execute", &execute(&[("SubscriberKey", ANN)]))
        .await;
    assert_eq!(first(&again, "ErrorCode"), "401");
}

#[tokio::test]
async fn faults_strike_as_the_vendor_words_them() {
    let mut mc = two().await;
    let ask = retrieve(&by_key(&[ANN], "", ""));
    let cases = [
        (Fault::SessionInvalid, "Token Expired"),
        (Fault::LoginFailed, "Login failed"),
        (
            Fault::SystemException { processed: false },
            "System Exception",
        ),
        (Fault::NotPermitted, "Authorization Failure. Code: 11"),
    ];
    for (fault, words) in cases {
        mc.cloud()
            .set_fault(Rule::from(fault).times(1).after(1))
            .unwrap();
        assert_eq!(
            mc.soap("Retrieve", &ask).await.0,
            200,
            "{words} comes later"
        );
        let (status, answer) = mc.soap("Retrieve", &ask).await;
        assert_eq!(
            (status.as_u16(), first(&answer, "faultstring").as_str()),
            (500, words)
        );
    }
    let overall = Fault::OverallError {
        message: "Something is broken.".to_owned(),
    };
    mc.cloud().set_fault(Rule::from(overall).times(1)).unwrap();
    let answer = mc.retrieve(&by_key(&[ANN], "", "")).await;
    assert_eq!(
        first(&answer, "OverallStatus"),
        "Error: Something is broken."
    );

    let every = Fault::UpdateRefused {
        every: 2,
        code: 12_001,
        message: None,
    };
    mc.cloud().set_fault(every).unwrap();
    let answer = mc
        .update(&(object(None, ANN, "Unsubscribed") + &object(None, BEN, "Unsubscribed")))
        .await;
    assert_eq!(first(&answer, "OverallStatus"), "Has Errors");
    assert_eq!(mc.cloud().status(BEN, ENTERPRISE), Some(Status::Active));
    mc.cloud().clear_faults(None);
    let lost = Fault::SystemException { processed: true };
    mc.cloud()
        .set_fault(Rule::from(lost).times(1).calls(&[CallKind::SoapUpdate]))
        .unwrap();
    let (status, answer) = mc
        .soap("Update", &update("", &object(None, BEN, "Unsubscribed")))
        .await;
    assert_eq!(
        (status.as_u16(), first(&answer, "Code").as_str()),
        (500, "2")
    );
    assert_eq!(
        mc.cloud().status(BEN, ENTERPRISE),
        Some(Status::Unsubscribed),
        "it happened"
    );
    let cut = Rule::from(Fault::CutAfter).times(1);
    mc.cloud()
        .set_fault(cut.calls(&[CallKind::SoapUpdate]))
        .unwrap();
    let request = mc
        .http
        .post(format!("{}/Service.asmx", mc.cloud().url()))
        .header("SOAPAction", "Update")
        .body(mc.envelope(&update("", &object(None, ANN, "Active"))));
    assert!(request.send().await.is_err(), "the connection is gone");
    assert_eq!(mc.cloud().status(ANN, ENTERPRISE), Some(Status::Active));
    mc.cloud().set_fault(Fault::RevokeTokens).unwrap();
    let (_, fault) = mc.soap("Retrieve", &ask).await;
    assert_eq!(first(&fault, "faultstring"), "Token Expired");
    mc.login(ENTERPRISE).await;
    mc.retrieve(&by_key(&[ANN], "", "")).await;
    assert!(
        mc.cloud().set_fault(Fault::HistoryOff).is_err(),
        "means nothing here"
    );
}

#[tokio::test]
async fn the_subscribers_are_the_contacts_of_salesforce() {
    let mc = Mc::start(2_000).await;
    let org = mc.sandbox.salesforce();
    let cloud = mc.cloud();
    let contacts = org.contact_ids(usize::MAX);
    let (mut by_status, mut missing, mut odd, mut red_of_out, mut out) = ([0; 4], 0, 0, 0, 0);
    for id in &contacts {
        let contact = org.contact(id).unwrap();
        let Some(one) = cloud.subscriber(id) else {
            missing += 1;
            continue;
        };
        assert_eq!(
            Some(one.address.as_str()),
            contact.address.as_deref().map(str::trim)
        );
        by_status[one.enterprise as usize] += 1;
        let green = one.enterprise == Status::Active;
        odd += usize::from(green && one.units.values().any(|unit| *unit != Status::Active));
        out += usize::from(contact.opted_out);
        red_of_out += usize::from(contact.opted_out && one.enterprise == Status::Unsubscribed);
    }
    let [green, yellow, gray, red] = by_status;
    assert_eq!(
        green + yellow + gray + red,
        cloud.subscriber_count(),
        "no strangers"
    );
    assert!((100..500).contains(&missing), "{missing}");
    assert!(yellow > 10 && gray > 3 && green > 1_200, "{by_status:?}");
    assert!(odd > 0 && odd < 30, "{odd}");
    assert!(red_of_out * 10 > out * 7, "{red_of_out} of {out}");
    let twin = sandbox(2_000).await;
    for id in contacts.iter().take(200) {
        assert_eq!(twin.marketing_cloud().subscriber(id), cloud.subscriber(id));
    }
}

#[tokio::test]
async fn all_of_it_can_be_done_through_the_control_api() {
    let mc = Mc::start(0).await;
    let url = format!("{}/v1", mc.sandbox.control_url());
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let mut request = http().request(method, format!("{url}{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    };
    let act = async |act: Value| {
        let (status, answer) = ask(Method::POST, "/marketing_cloud/acts", Some(act.clone())).await;
        assert_eq!(status, 200, "{act}: {answer}");
        answer
    };
    act(json!({"act": "add-subscriber", "key": ANN, "address": "ann@x.example", "units": [BOULDER]})).await;
    let state = act(json!({"act": "set-status", "key": ANN, "status": "Held"})).await;
    assert_eq!(state["units"][BOULDER.to_string()], "Held");
    let state = act(json!({"act": "unsubscribe", "key": ANN, "unit": BOULDER})).await;
    assert_eq!(
        (&state["enterprise"], &state["ticked"]),
        (&json!("Unsubscribed"), &json!(false))
    );
    act(json!({"act": "set-status", "key": ANN, "unit": BOULDER, "status": "Active"})).await;
    let state = act(json!({"act": "bounce", "key": ANN, "times": 3, "over_days": 20})).await;
    assert_eq!(state["units"][BOULDER.to_string()], "Held");
    let state = act(json!({"act": "engage", "key": ANN})).await;
    assert_eq!(state["units"][BOULDER.to_string()], "Active");
    act(json!({"act": "add-unit", "mid": 9, "name": "UCCS", "behavior": "BUSINESS_UNIT_ONLY"}))
        .await;
    act(json!({"act": "set-behavior", "unit": 9, "behavior": "ENTIRE_ENTERPRISE"})).await;
    let (_, units) = ask(Method::GET, "/marketing_cloud/units", None).await;
    assert_eq!(units["units"][4]["behavior"], "ENTIRE_ENTERPRISE");
    let (_, found) = ask(
        Method::GET,
        "/marketing_cloud/subscribers?address=Ann@x.example",
        None,
    )
    .await;
    assert_eq!(found["subscribers"][0]["key"], ANN);
    let (_, systems) = ask(Method::GET, "/systems", None).await;
    assert_eq!(systems["marketing_cloud"]["url"], mc.cloud().url());
    assert_eq!(systems["marketing_cloud"]["units"][1]["name"], "CU Boulder");
    let fault = json!({"name": "update-refused", "code": 12001, "times": 1});
    let (status, faults) = ask(Method::POST, "/marketing_cloud/faults", Some(fault)).await;
    assert_eq!(
        (status.as_u16(), &faults["faults"][0]["every"]),
        (200, &json!(1))
    );
    let settings = json!({"page_rows": 10});
    let (_, settings) = ask(Method::PATCH, "/marketing_cloud/settings", Some(settings)).await;
    assert_eq!(settings["page_rows"], 10);
    let wrong = json!({"pages": 10});
    assert_eq!(
        ask(Method::PATCH, "/marketing_cloud/settings", Some(wrong))
            .await
            .0,
        400
    );
    act(json!({"act": "delete", "key": ANN})).await;
    let gone = format!("/marketing_cloud/subscribers/{ANN}");
    assert_eq!(ask(Method::GET, &gone, None).await.0, 404);
    let (_, calls) = ask(Method::GET, "/marketing_cloud/calls", None).await;
    assert_eq!(calls["rows_read"], 0);
}
