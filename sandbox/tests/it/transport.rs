//! Faults of the wire and refusals of whole calls, seen by a raw client where a library would hide them.

use std::time::{Duration, Instant};

use consentd_sandbox::{CallKind, Fault, Rule, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, DATA, read, sandbox};

/// Sends one request on a socket of its own and reads until the server closes it.
async fn raw(client: &Client, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(client.base.trim_start_matches("http://"))
        .await
        .unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        client.token,
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await;
    match read.expect("the server closes the connection") {
        // A reset is a closed connection as well.
        Ok(_) | Err(_) => String::from_utf8_lossy(&answer).into_owned(),
    }
}

fn contact(sandbox: &Sandbox) -> String {
    let fields = json!({"LastName": "Example"});
    let fields = fields.as_object().unwrap();
    sandbox
        .salesforce()
        .create("Contact", fields, "Data Load", None)
        .unwrap()
}

#[tokio::test]
async fn a_cut_before_processing_leaves_no_trace_and_no_answer() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let id = contact(&sandbox);
    let head = format!("PATCH {DATA}/sobjects/Contact/{id}");
    org.set_fault(Rule::from(Fault::CutBefore).times(1))
        .unwrap();
    assert_eq!(
        raw(&client, &head, "{\"HasOptedOutOfEmail\":true}").await,
        ""
    );
    assert!(!org.contact(&id).unwrap().opted_out);
    org.set_fault(Rule::from(Fault::CutAfter).times(1)).unwrap();
    assert_eq!(
        raw(&client, &head, "{\"HasOptedOutOfEmail\":true}").await,
        ""
    );
    assert!(
        org.contact(&id).unwrap().opted_out,
        "the lost answer was to a change that happened"
    );
    assert!(org.faults().is_empty());
}

#[tokio::test]
async fn a_truncated_body_ends_with_the_connection() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    org.set_fault(Rule::from(Fault::TruncatedBody).times(1))
        .unwrap();
    let answer = raw(&client, &format!("GET {DATA}/limits"), "").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let declared: usize = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        })
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        !body.is_empty() && body.len() < declared,
        "{} of {declared}",
        body.len()
    );
    org.set_fault(Rule::from(Fault::TruncatedBody).times(1))
        .unwrap();
    let sent = client.request(Method::GET, "/limits").send().await.unwrap();
    assert!(sent.bytes().await.is_err());
}

#[tokio::test]
async fn stalls_and_drips_take_their_time() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    org.set_fault(Rule::from(Fault::Stall { seconds: 3_600 }).times(1))
        .unwrap();
    let call = client
        .request(Method::GET, "/limits")
        .timeout(Duration::from_millis(300))
        .send()
        .await;
    assert!(call.unwrap_err().is_timeout());
    org.set_fault(Rule::from(Fault::Stall { seconds: 1 }).times(1))
        .unwrap();
    assert_eq!(raw(&client, &format!("GET {DATA}/limits"), "").await, "");
    org.set_fault(
        Rule::from(Fault::SlowDrip {
            bytes: 100,
            pause_millis: 50,
        })
        .times(1),
    )
    .unwrap();
    let start = Instant::now();
    let (status, body) = client.get("/limits").await;
    assert!(start.elapsed() > Duration::from_millis(150));
    assert_eq!(
        (status.as_u16(), body["DailyApiRequests"]["Max"].clone()),
        (200, json!(100_000))
    );
}

#[tokio::test]
async fn bodies_are_compressed_on_request_and_bombs_are_small_on_the_wire() {
    let sandbox = sandbox(300).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let url = format!("{}{DATA}/query?q=SELECT+Id+FROM+Contact", org.url());
    let fetch = async |url: &str| {
        let request = plain
            .get(url)
            .bearer_auth(&client.token)
            .header("Accept-Encoding", "gzip");
        let sent = request.send().await.unwrap();
        let zipped = sent
            .headers()
            .get("content-encoding")
            .is_some_and(|value| value == "gzip");
        (zipped, sent.bytes().await.unwrap().len())
    };
    let (zipped, bytes) = fetch(&url).await;
    assert!(zipped && bytes < 20_000, "{bytes}");
    assert_eq!(
        client.query("SELECT Id FROM Contact").await["totalSize"],
        300
    );
    org.set_fault(Rule::from(Fault::GzipBomb { megabytes: 8 }).times(1))
        .unwrap();
    let (zipped, bytes) = fetch(&url).await;
    assert!(zipped && bytes < 100_000, "{bytes}");
    org.set_fault(Rule::from(Fault::GzipBomb { megabytes: 8 }).times(1))
        .unwrap();
    let sent = client.request(Method::GET, "/limits").send().await.unwrap();
    assert_eq!(sent.bytes().await.unwrap().len(), 8 * 1024 * 1024 + 2);
}

#[tokio::test]
async fn whole_calls_are_refused_in_each_documented_way() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let cases = [
        (Fault::QuotaUsedUp, 403, "REQUEST_LIMIT_EXCEEDED"),
        (Fault::ConcurrencyRefusal, 403, "REQUEST_LIMIT_EXCEEDED"),
        (Fault::UnavailableJson, 503, "SERVER_UNAVAILABLE"),
        (Fault::SessionInvalid, 401, "INVALID_SESSION_ID"),
    ];
    for (fault, status, code) in cases {
        org.set_fault(Rule::from(fault.clone()).times(2)).unwrap();
        for _ in 0..2 {
            let (got, body) = client.get("/limits").await;
            assert_eq!(
                (got.as_u16(), body[0]["errorCode"].as_str()),
                (status, Some(code)),
                "{fault:?}"
            );
        }
        assert_eq!(client.get("/limits").await.0, 200, "{fault:?} is spent");
    }
    let pages = [
        (Fault::UnavailableHtml, 503),
        (Fault::HtmlSuccess, 200),
        (Fault::TooManyRequests { retry_after: None }, 429),
        (
            Fault::TooManyRequests {
                retry_after: Some("soon".to_owned()),
            },
            429,
        ),
        (
            Fault::Redirect {
                url: "http://127.0.0.1:9/elsewhere".to_owned(),
            },
            302,
        ),
    ];
    for (fault, status) in pages {
        org.set_fault(Rule::from(fault.clone()).times(1)).unwrap();
        let sent = client.request(Method::GET, "/limits").send().await.unwrap();
        assert_eq!(sent.status(), status, "{fault:?}");
        let headers = sent.headers().clone();
        assert!(
            serde_json::from_str::<Value>(&sent.text().await.unwrap()).is_err(),
            "{fault:?} sends no JSON"
        );
        let header = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        match fault {
            Fault::TooManyRequests { retry_after } => {
                assert_eq!(header("retry-after"), retry_after);
            }
            Fault::Redirect { url } => assert_eq!(header("location"), Some(url)),
            _ => assert_eq!(
                header("content-type").as_deref(),
                Some("text/html;charset=UTF-8")
            ),
        }
    }
    org.set_fault(Fault::RevokeTokens).unwrap();
    assert_eq!(client.get("/limits").await.0, 401);
    let client = Client::login(&sandbox, org).await;
    assert_eq!(client.get("/limits").await.0, 200);
}

#[tokio::test]
async fn rules_count_calls_and_name_kinds() {
    let sandbox = sandbox(700).await;
    let org = sandbox.salesforce();
    org.change_settings(|settings| settings.page_rows = 200);
    let client = Client::login(&sandbox, org).await;
    let rule = Rule::from(Fault::SessionInvalid)
        .times(1)
        .after(1)
        .calls(&[CallKind::QueryMore]);
    org.set_fault(rule).unwrap();
    let mut page = client.query("SELECT Id FROM Contact").await;
    let mut statuses = Vec::new();
    while let Some(next) = page["nextRecordsUrl"].as_str().map(str::to_owned) {
        let (status, body) = client.get(&next).await;
        statuses.push(status.as_u16());
        if status == 200 {
            page = body;
        }
    }
    assert_eq!(statuses, [200, 401, 200, 200]);
    assert_eq!(org.calls().of(CallKind::QueryMore), 4);
}

#[tokio::test]
async fn pages_can_be_short_loop_lead_astray_and_hold_nonsense() {
    let sandbox = sandbox(500).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let soql = "SELECT Id, Email FROM Contact ORDER BY Id";
    org.set_fault(Rule::from(Fault::ShortPages { rows: 7 }).times(1))
        .unwrap();
    let page = client.query(soql).await;
    assert_eq!(
        (
            page["records"].as_array().unwrap().len(),
            page["totalSize"].clone()
        ),
        (7, json!(500))
    );
    org.set_fault(Fault::ShortPages { rows: 100 }).unwrap();
    org.set_fault(Rule::from(Fault::LoopingPages).calls(&[CallKind::QueryMore]))
        .unwrap();
    let next = client.query(soql).await["nextRecordsUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(client.get(&next).await.1["nextRecordsUrl"], json!(next));
    org.clear_faults(Some("looping-pages"));
    org.set_fault(
        Rule::from(Fault::ForeignNextLink {
            url: "http://127.0.0.1:9".to_owned(),
        })
        .times(1),
    )
    .unwrap();
    let next = client.query(soql).await["nextRecordsUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(next.starts_with("http://127.0.0.1:9/services/data/"));
    org.clear_faults(None);

    let id = org.contact_ids(1).remove(0);
    let nonsense = format!("{{\"Id\":\"{id}\",\"Email\":7,\"Email\":[true]}}");
    org.set_fault(Fault::RawRecord {
        id: id[..15].to_owned(),
        json: nonsense.clone(),
    })
    .unwrap();
    let text = client
        .soql("query", soql)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(text.contains(&nonsense) && !text.contains("raw-record"));
    let refusal = Fault::ReplicationRefusal {
        code: "EXCEEDED_ID_LIMIT".to_owned(),
    };
    org.set_fault(Rule::from(refusal).times(1)).unwrap();
    let (status, body) = read(
        client
            .request(Method::GET, "/sobjects/Contact/updated")
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        (status.as_u16(), &body[0]["errorCode"]),
        (400, &json!("EXCEEDED_ID_LIMIT"))
    );
}

#[tokio::test]
async fn the_orgs_clock_can_be_off_and_stamps_every_answer() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    org.set_fault(Fault::ClockSkew { seconds: -3_600 }).unwrap();
    let sent = client.request(Method::GET, "/limits").send().await.unwrap();
    let date =
        chrono::DateTime::parse_from_rfc2822(sent.headers()["date"].to_str().unwrap()).unwrap();
    let behind = sandbox
        .clock()
        .now()
        .signed_duration_since(date)
        .num_seconds();
    assert!((3_595..=3_605).contains(&behind), "{behind}");
    org.change_settings(|settings| {
        settings.limit_info_extra = Some(";per-app-api-usage=17/250(appName=sync)".to_owned());
        settings.daily_requests = 2;
    });
    let sent = client.request(Method::GET, "/limits").send().await.unwrap();
    let info = sent.headers()["sforce-limit-info"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(info, "api-usage=2/2;per-app-api-usage=17/250(appName=sync)");
    assert_eq!(client.get("/limits").await.0, 403);
}
