//! Marketing Cloud: answers that nobody should send, from a server that sends what it is told to.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::post;
use chrono::FixedOffset;
use consentd::connector::FaultClass;
use consentd::connector::gate::Activation;
use consentd::connector::gate::{Gate, Unit};
use consentd::connector::http::Limits;
use consentd::connector::marketing_cloud::MarketingCloud;
use consentd::connector::marketing_cloud::config::{Reach, Settings};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use url::Url;

const PARENT: &str = "100";
const CHILD: &str = "200";

/// What the server says next, and what it was asked.
#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, String)>,
    asked: Vec<(String, String)>,
    token: String,
}

type Shared = Arc<Mutex<Script>>;

async fn token(State(script): State<Shared>) -> impl IntoResponse {
    let answer = script.lock().unwrap().token.clone();
    ([(CONTENT_TYPE, "application/json")], answer)
}

async fn service(
    State(script): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let mut script = script.lock().unwrap();
    let action = headers
        .get("soapaction")
        .and_then(|value| value.to_str().ok());
    script
        .asked
        .push((action.unwrap_or_default().to_owned(), body));
    let (status, answer) = script.answers.pop_front().unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(CONTENT_TYPE, "text/xml; charset=utf-8")], answer)
}

/// A gate to such a server.
struct Odd {
    script: Shared,
    gate: MarketingCloud,
}

impl Odd {
    async fn new() -> Self {
        Self::reading(Reach::AllAccounts).await
    }

    async fn reading(reach: Reach) -> Self {
        let script = Shared::default();
        let app = Router::new()
            .route("/v2/token", post(token))
            .route("/soap/Service.asmx", post(service))
            .with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        script.lock().unwrap().token = granted(&format!("{url}/soap/"));
        #[expect(clippy::disallowed_methods, reason = "the test's own server")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        let unit = |id: &str| Unit {
            id: id.to_owned(),
            name: id.to_owned(),
        };
        let gate = MarketingCloud::new(Settings {
            limits: Limits {
                system: "marketing_cloud".to_owned(),
                request_timeout: Duration::from_secs(5),
                connect_timeout: Duration::from_secs(5),
                max_body_bytes: 1 << 20,
                max_concurrent: 1,
                max_calls_per_sec: 1_000,
            },
            auth_url: Url::parse(&url).unwrap(),
            soap_url: None,
            allowed_hosts: Vec::new(),
            client_id: "id".to_owned(),
            client_secret: "hush".to_owned().into(),
            units: vec![unit(PARENT), unit(CHILD)],
            reach,
            keys_per_call: 50,
            utc_offset: FixedOffset::west_opt(6 * 3_600).unwrap(),
            activates: false,
        });
        Self {
            script,
            gate: gate.unwrap(),
        }
    }

    fn says(&self, status: u16, body: impl Into<String>) {
        self.script
            .lock()
            .unwrap()
            .answers
            .push_back((status, body.into()));
    }

    fn page(&self, overall: &str, rows: &str) {
        self.says(200, retrieved(overall, "r-1", rows));
    }

    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }

    async fn standings(&self) -> Result<Vec<String>, (FaultClass, String)> {
        let asked = ["a", "b"].map(str::to_owned);
        match self.gate.standings(&asked).await {
            Ok(found) => Ok(found
                .iter()
                .map(|one| format!("{} {} {}", one.key, one.unit, one.status.word()))
                .collect()),
            Err(fault) => {
                assert!(!fault.message.contains("hush") && !fault.message.contains("t<&>oken"));
                Err((fault.class, fault.code))
            }
        }
    }

    async fn activate(&self, keys: &[&str]) -> Vec<String> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let outcomes = self.gate.activate(CHILD, &keys).await.unwrap();
        outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Activation::Active => "applied".to_owned(),
                Activation::Unknown(fault) => format!("unknown {}", fault.code),
                Activation::Failed(fault) => format!("failed {}", fault.code),
            })
            .collect()
    }
}

fn granted(soap: &str) -> String {
    format!(r#"{{"access_token":"t<&>oken","expires_in":1079,"soap_instance_url":"{soap}"}}"#)
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope \
         xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soap:Header/><soap:Body>{body}\
         </soap:Body></soap:Envelope>"
    )
}

fn retrieved(overall: &str, id: &str, rows: &str) -> String {
    envelope(&format!(
        "<RetrieveResponseMsg xmlns=\"http://exacttarget.com/wsdl/partnerAPI\"><OverallStatus>{overall}\
         </OverallStatus><RequestID>{id}</RequestID>{rows}</RetrieveResponseMsg>"
    ))
}

fn updated(overall: &str, results: &str) -> String {
    envelope(&format!(
        "<UpdateResponse xmlns=\"http://exacttarget.com/wsdl/partnerAPI\">{results}<RequestID>u</RequestID>\
         <OverallStatus>{overall}</OverallStatus></UpdateResponse>"
    ))
}

fn row(key: &str, unit: &str, status: &str) -> String {
    format!(
        "<Results xsi:type=\"Subscriber\"><Client><ID>{unit}</ID></Client><PartnerKey xsi:nil=\"true\"/>\
         <SubscriberKey>{key}</SubscriberKey><Status>{status}</Status></Results>"
    )
}

fn result(place: usize, status: &str) -> String {
    format!("<Results><StatusCode>{status}</StatusCode><OrdinalID>{place}</OrdinalID></Results>")
}

#[tokio::test]
async fn c122_of_odd_rows_the_worse_counts_and_strangers_do_not() {
    let odd = Odd::new().await;
    let rows = [
        row("a", PARENT, "Active"),
        row("a", PARENT, "Held"),
        row("b", CHILD, "Quarantined"),
        row("b", "999", "Held"),
        row("zoe", PARENT, "Unsubscribed"),
        row("b", PARENT, "Deleted"),
    ];
    odd.page("OK", &rows.concat());
    assert_eq!(
        odd.standings().await.unwrap(),
        ["a 100 held", "b 100 deleted", "b 200 unknown"]
    );
    let asked = odd.asked();
    let (action, body) = &asked[0];
    assert_eq!(action, "Retrieve");
    assert!(
        body.contains("<fueloauth xmlns=\"http://exacttarget.com\">t&lt;&amp;&gt;oken</fueloauth>")
    );
    assert!(body.contains("<SimpleOperator>IN</SimpleOperator><Value>a</Value><Value>b</Value>"));
    assert!(body.contains("<QueryAllAccounts>true</QueryAllAccounts>"));
}

#[tokio::test]
async fn c123_what_cannot_be_told_breaks_the_contract() {
    let nil = "<Results><Client><ID>100</ID></Client><SubscriberKey xsi:nil=\"true\"/></Results>";
    let bare = "<Results><SubscriberKey>a</SubscriberKey><Status>Active</Status></Results>";
    for (rows, code) in [(nil, "no-key"), (bare, "no-unit")] {
        let odd = Odd::new().await;
        odd.page("OK", &format!("{}{rows}", row("b", PARENT, "Active")));
        let fault = odd.standings().await.unwrap_err();
        assert_eq!(fault, (FaultClass::ContractBroken, code.to_owned()));
    }
    let odd = Odd::reading(Reach::PerUnit).await;
    odd.page("OK", bare);
    odd.page("OK", &row("a", PARENT, "Active"));
    let fault = odd.standings().await.unwrap_err();
    assert_eq!(
        fault,
        (FaultClass::ContractBroken, "other-unit".to_owned()),
        "the first was asked of the parent alone, the second of another unit"
    );
}

#[tokio::test]
async fn c124_more_without_a_way_to_ask_for_it_breaks_the_contract() {
    let odd = Odd::new().await;
    odd.says(
        200,
        retrieved("MoreDataAvailable", "", &row("a", PARENT, "Active")),
    );
    assert_eq!(odd.standings().await.unwrap_err().1, "no-request-id");
    let odd = Odd::new().await;
    odd.page("MoreDataAvailable", &row("a", PARENT, "Active"));
    odd.page("MoreDataAvailable", &row("b", PARENT, "Active"));
    odd.page("OK", &row("b", CHILD, "Held"));
    assert_eq!(
        odd.standings().await.unwrap(),
        ["a 100 active", "b 100 active", "b 200 held"],
        "one id may stand for all pages"
    );
    let asked = odd.asked();
    assert!(!asked[0].1.contains("ContinueRequest"));
    assert!(
        asked[1]
            .1
            .contains("<ContinueRequest>r-1</ContinueRequest>")
    );
    let odd = Odd::new().await;
    for _ in 0..5 {
        odd.page("MoreDataAvailable", "");
    }
    assert_eq!(
        odd.standings().await.unwrap_err().1,
        "loop",
        "nothing, for ever"
    );
    let odd = Odd::new().await;
    for number in 0..120 {
        odd.page(
            "MoreDataAvailable",
            &row(&format!("k{number}"), PARENT, "Active"),
        );
    }
    assert_eq!(odd.standings().await.unwrap_err().1, "too-many-pages");
    assert_eq!(odd.asked().len(), 100);
}

#[tokio::test]
async fn c130_what_is_no_answer_is_never_taken_for_nobody() {
    use FaultClass::{Auth, ContractBroken, Retryable};
    let whole = retrieved("OK", "r", &row("a", PARENT, "Held"));
    let bomb = "<!DOCTYPE lolz [<!ENTITY l \"lol\"><!ENTITY m \"&l;&l;&l;\">]><lolz>&m;</lolz>";
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    let fault_12 = "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body><e:Fault><e:Code>\
                    <e:Value>e:Sender</e:Value></e:Code><e:Reason><e:Text>Authorization failure</e:Text>\
                    </e:Reason></e:Fault></e:Body></e:Envelope>";
    for (sentence, status, body, class, code) in [
        (
            "half of it",
            200,
            whole[..whole.len() / 2].to_owned(),
            Retryable,
            "truncated",
        ),
        ("nothing", 200, String::new(), Retryable, "truncated"),
        ("a bomb", 200, bomb.to_owned(), ContractBroken, "shape"),
        ("far too deep", 200, deep, ContractBroken, "shape"),
        (
            "another answer",
            200,
            updated("OK", ""),
            ContractBroken,
            "shape",
        ),
        ("JSON", 200, "{}".to_owned(), ContractBroken, "shape"),
        (
            "no status",
            200,
            retrieved("", "r", ""),
            ContractBroken,
            "shape",
        ),
        (
            "an odd status",
            200,
            retrieved("Fine", "r", ""),
            ContractBroken,
            "shape",
        ),
        (
            "maintenance",
            200,
            "<html><body>Down for maintenance</body></html>".to_owned(),
            Retryable,
            "maintenance",
        ),
        (
            "a fault of version 1.2",
            500,
            fault_12.to_owned(),
            Auth,
            "soap-client",
        ),
        (
            "a fault that says 200",
            200,
            fault_12.to_owned(),
            Auth,
            "soap-client",
        ),
        (
            "an answer that says 500",
            500,
            whole.clone(),
            Retryable,
            "http-500",
        ),
    ] {
        let odd = Odd::new().await;
        odd.says(status, body);
        let fault = odd.standings().await.unwrap_err();
        assert_eq!(fault, (class, code.to_owned()), "{sentence}");
    }
}

#[tokio::test]
async fn c127_results_are_judged_by_their_place() {
    let odd = Odd::new().await;
    let results = [result(2, "OK"), result(0, "OK"), result(7, "OK")];
    odd.says(200, updated("Has Errors", &results.concat()));
    let shown = [
        row("a", CHILD, "Active"),
        row("b", CHILD, "Held"),
        row("c", CHILD, "Held"),
        row("a", PARENT, "Active"),
    ];
    odd.page("OK", &shown.concat());
    assert_eq!(
        odd.activate(&["a", "b", "c"]).await,
        ["applied", "unknown result-count", "failed no-effect"],
        "one of them has no result, and shows none"
    );
    let asked = odd.asked();
    let (action, body) = &asked[0];
    assert_eq!(action, "Update");
    assert!(
        body.contains("<SaveAction>UpdateOnly</SaveAction>"),
        "c126: {body}"
    );
    assert_eq!(body.matches("<Client><ID>200</ID></Client>").count(), 3);
    assert_eq!(body.matches("<Status>Active</Status>").count(), 3);
}

#[tokio::test]
async fn c128_a_look_settles_what_no_answer_told() {
    let odd = Odd::new().await;
    odd.says(200, updated("OK", ""));
    let shown = [row("a", CHILD, "Active"), row("a", PARENT, "Active")];
    odd.page("OK", &shown.concat());
    assert_eq!(
        odd.activate(&["a", "b"]).await,
        ["applied", "unknown result-count"]
    );
}

#[tokio::test]
async fn c128_the_parent_counts_where_its_reach_is_not_told() {
    let odd = Odd::new().await;
    odd.says(200, updated("OK", &result(0, "OK")));
    let shown = [row("a", CHILD, "Active"), row("a", PARENT, "Unsubscribed")];
    odd.page("OK", &shown.concat());
    let unit = "<Results><ID>200</ID><Name>Events</Name></Results>";
    odd.page("OK", unit);
    assert_eq!(odd.activate(&["a"]).await, ["failed no-effect"]);
}

#[tokio::test]
async fn c77_soap_is_not_sent_where_the_configuration_does_not_allow() {
    for soap in [
        "https://soap.example.org/",
        "http://127.0.0.1:1/",
        "ftp://127.0.0.1/",
        "",
    ] {
        let odd = Odd::new().await;
        odd.script.lock().unwrap().token = granted(soap);
        let fault = odd.standings().await.unwrap_err();
        assert_eq!(
            fault,
            (FaultClass::ContractBroken, "instance-host".to_owned()),
            "{soap:?}"
        );
        assert!(odd.asked().is_empty(), "{soap:?}");
    }
    for token in ["", "{}", "<html>", "[1]", "{\"access_token\":7}"] {
        let odd = Odd::new().await;
        token.clone_into(&mut odd.script.lock().unwrap().token);
        assert!(odd.standings().await.is_err(), "{token:?}");
    }
}
