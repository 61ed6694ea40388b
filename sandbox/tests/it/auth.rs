//! Logging in and out.

use consentd_sandbox::{CallKind, Fault, OldRefreshToken, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, assertion, http, read, sandbox};

const JWT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

async fn token(url: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let sent = http()
        .post(format!("{url}/services/oauth2/token"))
        .form(form)
        .send()
        .await
        .unwrap();
    let (status, body) = read(sent).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn a_signed_assertion_is_checked_claim_by_claim() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let now = org.now().timestamp();
    let cases = [
        ("as it should be", json!({}), 200, Value::Null),
        (
            "expiry as a string",
            json!({"exp": (now + 100).to_string()}),
            200,
            Value::Null,
        ),
        (
            "production audience",
            json!({"aud": "https://login.salesforce.com"}),
            200,
            Value::Null,
        ),
        (
            "foreign audience",
            json!({"aud": "https://elsewhere.invalid"}),
            400,
            json!("invalid_grant"),
        ),
        (
            "foreign issuer",
            json!({"iss": "somebody"}),
            400,
            json!("invalid_client_id"),
        ),
        (
            "unknown user",
            json!({"sub": "nobody@sandbox.invalid"}),
            400,
            json!("invalid_grant"),
        ),
        (
            "long expired",
            json!({"exp": now - 400}),
            400,
            json!("invalid_grant"),
        ),
        (
            "far too long",
            json!({"exp": now + 4_000}),
            400,
            json!("invalid_grant"),
        ),
    ];
    for (case, claims, status, error) in cases {
        let assertion = assertion(&sandbox, org, claims);
        let (got, body) = token(
            &org.url(),
            &[("grant_type", JWT), ("assertion", &assertion)],
        )
        .await;
        assert_eq!((got, &body["error"]), (status, &error), "{case}: {body}");
    }
    let good = assertion(&sandbox, org, json!({}));
    let (head, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{head}.AAAA");
    let (status, body) = token(&org.url(), &[("grant_type", JWT), ("assertion", &forged)]).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn client_credentials_come_in_the_body_or_as_basic() {
    let sandbox = sandbox(0).await;
    let credentials = sandbox.credentials();
    let url = format!("{}/services/oauth2/token", sandbox.ascend().url());
    let sent = http()
        .post(&url)
        .basic_auth(
            &credentials.consumer_key,
            Some(&credentials.consumer_secret),
        )
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .unwrap();
    let (status, body) = read(sent).await;
    assert_eq!(status, 200);
    assert_eq!(body["instance_url"], sandbox.ascend().url());
    let wrong = [
        ("grant_type", "client_credentials"),
        ("client_id", credentials.consumer_key.as_str()),
        ("client_secret", "wrong"),
    ];
    let (status, body) = token(&sandbox.ascend().url(), &wrong).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_client")));
}

#[tokio::test]
async fn a_rotated_refresh_token_dies_as_set() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let key = sandbox.credentials().consumer_key.clone();
    let first = sandbox.credentials().refresh_token.clone();
    let refresh = async |token_text: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token_text),
            ("client_id", &key),
        ];
        token(&org.url(), &form).await
    };
    let (status, body) = refresh(&first).await;
    assert_eq!(
        (status, body.get("refresh_token")),
        (200, None),
        "without rotation the token stays"
    );

    org.change_settings(|settings| {
        settings.rotate_refresh_token = true;
        settings.old_refresh_token = OldRefreshToken::DiesOnUseOfNew;
    });
    let (_, body) = refresh(&first).await;
    let second = body["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(
        refresh(&first).await.0,
        200,
        "a lost answer can be asked for again"
    );
    let (_, body) = refresh(&first).await;
    let third = body["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(second, third);
    let (status, body) = refresh(&third).await;
    assert_eq!(status, 200);
    assert_eq!(
        refresh(&first).await.0,
        400,
        "using the new token ends the old one"
    );

    org.change_settings(|settings| settings.old_refresh_token = OldRefreshToken::DiesAtOnce);
    let newest = body["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(refresh(&newest).await.0, 200);
    let (status, body) = refresh(&newest).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn sessions_can_be_looked_at_ended_and_run_out() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    assert_eq!(client.get("/limits").await.0, 200);
    let credentials = sandbox.credentials();
    let introspect = async || {
        let form = [
            ("token", client.token.as_str()),
            ("client_id", &credentials.consumer_key),
            ("client_secret", &credentials.consumer_secret),
        ];
        let url = format!("{}/services/oauth2/introspect", org.url());
        read(client.http.post(url).form(&form).send().await.unwrap())
            .await
            .1
    };
    assert_eq!(introspect().await["active"], true);
    let url = format!("{}/services/oauth2/revoke", org.url());
    let sent = client
        .http
        .post(url)
        .form(&[("token", &client.token)])
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), 200);
    assert_eq!(introspect().await["active"], false);
    let (status, body) = client.get("/limits").await;
    assert_eq!(status, 401);
    assert_eq!(
        body,
        json!([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])
    );

    let other = Client::login(&sandbox, org).await;
    sandbox.clock().advance(7_201);
    assert_eq!(
        other.get("/limits").await.0,
        401,
        "two idle hours end a session"
    );
    assert_eq!(org.calls().logins, 2);
    assert_eq!(org.calls().unauthorised, 2);
}

#[tokio::test]
async fn the_token_endpoint_can_be_down_refuse_or_name_another_instance() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let credentials = sandbox.credentials();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", credentials.consumer_key.as_str()),
        ("client_secret", credentials.consumer_secret.as_str()),
    ];
    org.set_fault(Rule::from(Fault::TokenEndpointDown).times(1))
        .unwrap();
    assert_eq!(token(&org.url(), &form).await.0, 503);
    let refused = Fault::TokenRefused {
        error: "inactive_org".to_owned(),
        description: String::new(),
    };
    org.set_fault(Rule::from(refused).times(1)).unwrap();
    let (status, body) = token(&org.url(), &form).await;
    assert_eq!((status, &body["error"]), (400, &json!("inactive_org")));
    let elsewhere = Fault::OtherInstance {
        url: "http://127.0.0.1:9".to_owned(),
    };
    org.set_fault(Rule::from(elsewhere).times(1)).unwrap();
    assert_eq!(
        token(&org.url(), &form).await.1["instance_url"],
        "http://127.0.0.1:9"
    );
    assert_eq!(token(&org.url(), &form).await.1["instance_url"], org.url());
    assert_eq!(org.calls().of(CallKind::Token), 4);
}

#[tokio::test]
async fn soap_login_opens_a_session() {
    let sandbox = sandbox(0).await;
    let org = sandbox.salesforce();
    let login = async |password: &str| {
        let body = format!(
            "<?xml version=\"1.0\"?><e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body>\
             <n1:login xmlns:n1=\"urn:partner.soap.sforce.com\"><n1:username>{}</n1:username>\
             <n1:password>{password}</n1:password></n1:login></e:Body></e:Envelope>",
            sandbox.credentials().username
        );
        let url = format!("{}/services/Soap/u/64.0", org.url());
        let sent = http()
            .post(url)
            .header("content-type", "text/xml")
            .body(body)
            .send()
            .await
            .unwrap();
        (sent.status().as_u16(), sent.text().await.unwrap())
    };
    let (status, text) = login("wrong").await;
    assert_eq!(status, 500);
    assert!(text.contains("INVALID_LOGIN"));
    let (status, text) = login(&sandbox.credentials().password).await;
    assert_eq!(status, 200);
    let token = text
        .split("<sessionId>")
        .nth(1)
        .and_then(|rest| rest.split("</sessionId>").next())
        .unwrap();
    let client = Client {
        http: http(),
        base: org.url(),
        token: token.to_owned(),
    };
    assert_eq!(
        client
            .request(Method::GET, "/limits")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}
