//! The SuperOffice tenant as a stranger's client sees it: logging in, the tenant's state, lists, installations.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use consentd_sandbox::superoffice::{NewPerson, SALES, Settings, Tenant, TenantStatus};
use consentd_sandbox::{Fault, Sandbox};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::client::{http, read, sandbox};

const TICKET: &str = "http://schemes.superoffice.net/identity/ticket";

/// The text that a system user logs in with, signed by the app.
pub(crate) fn signed_token(sandbox: &Sandbox, at: chrono::DateTime<chrono::Utc>) -> String {
    let credentials = sandbox.credentials();
    let text = format!(
        "{}.{}",
        credentials.superoffice.system_token,
        at.format("%Y%m%d%H%M")
    );
    let der: String = credentials
        .private_key_pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{text}.{}", STANDARD.encode(signature))
}

/// Logs a system user in; returns status and body.
pub(crate) async fn authenticate(sandbox: &Sandbox, body: Value) -> (StatusCode, Value) {
    let url = format!(
        "{}/Login/api/PartnerSystemUser/Authenticate",
        sandbox.superoffice().url()
    );
    read(http().post(url).json(&body).send().await.unwrap()).await
}

pub(crate) fn login_body(sandbox: &Sandbox) -> Value {
    let app = &sandbox.credentials().superoffice;
    json!({
        "SignedSystemToken": signed_token(sandbox, sandbox.superoffice().now()),
        "ApplicationToken": app.client_secret,
        "ContextIdentifier": app.tenant,
        "ReturnTokenType": "JWT",
    })
}

/// A client with a ticket.
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    base: String,
    authorization: String,
    app_token: String,
}

impl Client {
    pub(crate) async fn login(sandbox: &Sandbox) -> Client {
        let tenant = sandbox.superoffice();
        let (_, body) = authenticate(sandbox, login_body(sandbox)).await;
        let jwt = body["Token"].as_str().expect("a token").to_owned();
        let url = format!("{}/login/.well-known/jwks", tenant.url());
        let (_, keys) = read(http().get(url).send().await.unwrap()).await;
        let key = &keys["keys"][0];
        let key = DecodingKey::from_rsa_components(
            key["n"].as_str().unwrap(),
            key["e"].as_str().unwrap(),
        )
        .unwrap();
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_issuer(&["SuperOffice AS"]);
        rules.validate_aud = false;
        let token = jsonwebtoken::decode::<Value>(&jwt, &key, &rules).unwrap();
        let ticket = token.claims[TICKET].as_str().unwrap();
        Client {
            http: http(),
            base: tenant.api_url(),
            authorization: format!("SOTicket {ticket}"),
            app_token: sandbox.credentials().superoffice.client_secret.clone(),
        }
    }

    pub(crate) fn basic(sandbox: &Sandbox) -> Client {
        let app = &sandbox.credentials().superoffice;
        let pair = STANDARD.encode(format!("{}:{}", app.username, app.password));
        Client {
            http: http(),
            base: sandbox.superoffice().api_url(),
            authorization: format!("Basic {pair}"),
            app_token: String::new(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/v1{path}", self.base))
            .header("Authorization", &self.authorization)
            .header("SO-AppToken", &self.app_token)
            .header("Accept", "application/json")
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        read(self.request(method, path).json(&body).send().await.unwrap()).await
    }

    /// PUT of a consent.
    pub(crate) async fn put(&self, person: i64, purpose: &str, base: &str) -> (StatusCode, Value) {
        let path = format!("/Person/{person}/Consent/{purpose}");
        let request = self.request(Method::PUT, &path).query(&[
            ("source", "API"),
            ("legalBase", base),
            ("comment", ""),
        ]);
        read(request.header("Content-Length", "0").send().await.unwrap()).await
    }

    /// Rows of an archive.
    pub(crate) async fn archive(&self, provider: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let (status, body) = self.ask(provider, query).await;
        assert_eq!(status, 200, "{query:?}: {body}");
        body["value"].as_array().expect("rows").clone()
    }

    pub(crate) async fn ask(&self, provider: &str, query: &[(&str, &str)]) -> (StatusCode, Value) {
        let request = self
            .request(Method::GET, &format!("/Archive/{provider}"))
            .query(query);
        read(request.send().await.unwrap()).await
    }
}

pub(crate) fn person(tenant: &Tenant, addresses: &[&str]) -> i64 {
    let new = NewPerson {
        first_name: "Pat".to_owned(),
        last_name: "Example".to_owned(),
        addresses: addresses
            .iter()
            .map(|&address| address.to_owned())
            .collect(),
        ..NewPerson::default()
    };
    tenant.create_person(&new, SALES).unwrap()
}

#[tokio::test]
async fn a_system_user_logs_in_with_a_signed_text_and_gets_a_signed_ticket() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let client = Client::login(&sandbox).await;
    let (status, who) = client.get("/User/currentPrincipal").await;
    assert_eq!(
        (status, &who["DatabaseContextIdentifier"]),
        (StatusCode::OK, &json!("Cust40001"))
    );
    assert_eq!(who["AssociateId"], 77);

    let good = login_body(&sandbox);
    let mut forged = good["SignedSystemToken"].as_str().unwrap().to_owned();
    forged.replace_range(forged.len() - 8..forged.len() - 4, "AAAA");
    let late = signed_token(&sandbox, tenant.now() - chrono::TimeDelta::minutes(30));
    let cases = [
        (
            "a forged signature",
            json!({"SignedSystemToken": forged}),
            "InvalidSignature",
        ),
        (
            "an old time",
            json!({"SignedSystemToken": late}),
            "InvalidTimestamp",
        ),
        (
            "another app",
            json!({"ApplicationToken": "other"}),
            "application token",
        ),
        (
            "another tenant",
            json!({"ContextIdentifier": "Cust1"}),
            "context",
        ),
    ];
    for (case, change, message) in cases {
        let mut body = good.clone();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let (status, answer) = authenticate(&sandbox, body).await;
        assert_eq!(status, 200, "{case}");
        assert_eq!(answer["IsSuccessful"], false, "{case}");
        assert!(
            answer["ErrorMessage"].as_str().unwrap().contains(message),
            "{case}: {answer}"
        );
    }
    tenant.change_settings(|settings| {
        settings.app_approved = false;
        settings.login_refused_status = 403;
    });
    assert_eq!(authenticate(&sandbox, good).await.0, 403);
}

#[tokio::test]
async fn a_ticket_slides_for_six_hours_and_needs_the_apps_token() {
    let sandbox = sandbox(0).await;
    let mut client = Client::login(&sandbox).await;
    for _ in 0..3 {
        sandbox.clock().advance(5 * 3_600);
        assert_eq!(
            client.get("/List/LegalBase/Items").await.0,
            200,
            "used within six hours"
        );
    }
    let token = std::mem::take(&mut client.app_token);
    assert_eq!(
        client.get("/List/LegalBase/Items").await.0,
        401,
        "no app token"
    );
    client.app_token = token;
    sandbox.clock().advance(6 * 3_600 + 1);
    assert_eq!(
        client.get("/List/LegalBase/Items").await.0,
        401,
        "six idle hours"
    );
    let client = Client::login(&sandbox).await;
    assert_eq!(client.get("/List/LegalBase/Items").await.0, 200);
    sandbox
        .superoffice()
        .set_fault(Fault::RevokeTokens)
        .unwrap();
    assert_eq!(client.get("/List/LegalBase/Items").await.0, 401, "revoked");
    assert_eq!(sandbox.superoffice().calls().unauthorised, 3);
    assert_eq!(sandbox.superoffice().calls().logins, 2);
}

#[tokio::test]
async fn open_id_connect_gives_access_tokens_that_expire() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let app = sandbox.credentials().superoffice.clone();
    let url = format!("{}/login/.well-known/openid-configuration", tenant.url());
    let (_, metadata) = read(http().get(url).send().await.unwrap()).await;
    let endpoint = metadata["token_endpoint"].as_str().unwrap().to_owned();
    let grant = async |form: &[(&str, &str)]| {
        let id = [
            ("client_id", app.client_id.as_str()),
            ("client_secret", app.client_secret.as_str()),
        ];
        let form: Vec<_> = id.iter().chain(form).collect();
        read(http().post(&endpoint).form(&form).send().await.unwrap()).await
    };
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", app.refresh_token.as_str()),
    ];
    let (status, body) = grant(&refresh).await;
    assert_eq!(
        (status, &body["token_type"], &body["expires_in"]),
        (StatusCode::OK, &json!("Bearer"), &json!(3_600))
    );
    assert_eq!(body.get("refresh_token"), None, "the old one stays good");
    let token = body["access_token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("8A:Cust40001."));
    let call = async |token: &str| {
        let url = format!("{}/v1/User/currentPrincipal", tenant.api_url());
        http()
            .get(url)
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(call(&token).await, 200);
    assert_eq!(call("8A:Cust40001.other").await, 401);
    sandbox.clock().advance(3_601);
    assert_eq!(call(&token).await, 401);

    let authorize = metadata["authorization_endpoint"].as_str().unwrap();
    let ask = http().get(authorize).query(&[
        ("client_id", app.client_id.as_str()),
        ("response_type", "code"),
        ("scope", "openid"),
        ("redirect_uri", "http://127.0.0.1:9/back"),
        ("state", "s"),
    ]);
    let answer = ask.send().await.unwrap();
    let back = url::Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
    let code = back
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", "http://127.0.0.1:9/back"),
    ];
    let (status, body) = grant(&exchange).await;
    assert_eq!(
        (status, &body["refresh_token"]),
        (StatusCode::OK, &json!(app.refresh_token))
    );
    assert_eq!(grant(&exchange).await.0, 400, "a code is good once");
    let wrong = [("grant_type", "refresh_token"), ("refresh_token", "other")];
    assert_eq!(grant(&wrong).await.1["error"], "invalid_grant");
}

#[tokio::test]
async fn the_tenants_state_tells_where_the_api_is() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    let state = async || {
        let url = format!("{}/api/state/Cust40001", tenant.url());
        read(http().get(url).send().await.unwrap()).await.1
    };
    let now = state().await;
    assert_eq!(
        (&now["State"], &now["IsRunning"]),
        (&json!("Running"), &json!(true))
    );
    assert_eq!(now["Api"], tenant.api_url());
    let client = Client::login(&sandbox).await;

    tenant.change_settings(|settings| "localhost".clone_into(&mut settings.api_host));
    assert_eq!(
        client.get("/User/currentPrincipal").await.0,
        421,
        "the old host"
    );
    let moved = state().await;
    assert!(
        moved["Api"]
            .as_str()
            .unwrap()
            .starts_with("http://localhost:"),
        "{moved}"
    );
    let client = Client::login(&sandbox).await;
    assert_eq!(
        client.get("/User/currentPrincipal").await.0,
        200,
        "the new host"
    );

    for (status, running, code) in [
        (TenantStatus::OnlineMaintenance, true, 200),
        (TenantStatus::OfflineMaintenance, false, 503),
        (TenantStatus::Suspended, false, 503),
    ] {
        tenant.change_settings(|settings| settings.status = status);
        assert_eq!(state().await["IsRunning"], running, "{status:?}");
        assert_eq!(
            client.get("/User/currentPrincipal").await.0,
            code,
            "{status:?}"
        );
    }
    tenant.change_settings(|settings| settings.status_names_api = false);
    assert_eq!(state().await.get("Api"), None, "an old answer");
    let url = format!("{}/api/state/Cust1", tenant.url());
    assert_eq!(http().get(url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn lists_have_the_built_in_keys_and_names_in_languages() {
    let sandbox = sandbox(0).await;
    let client = Client::login(&sandbox).await;
    let keys = async |list: &str| {
        let (_, items) = client.get(&format!("/List/{list}/Items")).await;
        let keys = items.as_array().unwrap().iter();
        keys.map(|item| item["Key"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(keys("ConsentPurpose").await, "STORE EMARKETING");
    assert_eq!(keys("LegalBase").await, "61A 61B 61C 61D 61E 61F WITHDRAWN");
    assert_eq!(
        keys("ConsentSource").await,
        "USER EMAIL REQUEST CHAT WEBFORM CUSTOMERPORTAL IMPORT API UNKNOWN"
    );
    let (_, item) = client.get("/List/LegalBase/Items/7").await;
    assert!(
        item["Name"]
            .as_str()
            .unwrap()
            .starts_with("US:\"Withdrawn\";"),
        "{item}"
    );
    for (header, language, name) in [
        ("Accept-Language", "en", "Withdrawn"),
        ("Accept-Language", "nb-NO", "Tilbaketrukket"),
        ("SO-Language", "de", "Widerrufen"),
    ] {
        let request = client
            .request(Method::GET, "/List/LegalBase/Items/7")
            .header(header, language);
        let (_, item) = read(request.send().await.unwrap()).await;
        assert_eq!(item["Name"], name, "{language}");
    }
    let (_, types) = client.get("/List/ShipmentType/Items").await;
    assert_eq!(types.as_array().unwrap().len(), 4);
    let (_, items) = client.get("/MDOList/legalbase").await;
    assert_eq!((&items[0]["Id"], items[0].get("Key")), (&json!(1), None));

    let new = json!({"Name": "Integration of ours", "Key": "OURS"});
    let (status, item) = client
        .send(Method::POST, "/List/ConsentSource/Items", new.clone())
        .await;
    assert_eq!(
        (status, &item["ConsentSourceId"], &item["Key"]),
        (StatusCode::OK, &json!(10), &json!("OURS"))
    );
    assert_eq!(
        client
            .send(Method::POST, "/List/ConsentSource/Items", new)
            .await
            .0,
        400,
        "the key is taken"
    );
    assert_eq!(
        client
            .send(Method::DELETE, "/List/ConsentSource/Items/8", json!({}))
            .await
            .0,
        400,
        "built in"
    );
    assert_eq!(
        client
            .send(Method::DELETE, "/List/ConsentSource/Items/10", json!({}))
            .await
            .0,
        204
    );
    assert!(!keys("ConsentSource").await.contains("OURS"));
    assert_eq!(client.get("/List/ConsentSource/Items/99").await.0, 404);
}

#[tokio::test]
async fn onsite_there_is_basic_and_another_path() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    tenant.change_settings(|settings| *settings = Settings::onsite());
    let client = Client::basic(&sandbox);
    assert!(tenant.api_url().ends_with("/SuperOffice/api"));
    let id = person(tenant, &[]);
    assert_eq!(client.put(id, "EMARKETING", "61A").await.0, 204);
    let (_, who) = client.get("/User/currentPrincipal").await;
    assert_eq!(who["DatabaseContextIdentifier"], "Default");
    let url = format!("{}/api/state/Cust40001", tenant.url());
    assert_eq!(
        http().get(url).send().await.unwrap().status(),
        404,
        "no state API"
    );
    let page = http().get(tenant.api_url()).send().await.unwrap();
    assert!(page.text().await.unwrap().starts_with("<html>"));
    let asked = http()
        .get(tenant.api_url())
        .header("Accept", "application/json");
    let (status, version) = read(asked.send().await.unwrap()).await;
    assert_eq!(
        (status, &version["Version"]),
        (StatusCode::OK, &json!("v1")),
        "no login needed"
    );
    let anonymous = http()
        .get(format!("{}/v1", tenant.api_url()))
        .send()
        .await
        .unwrap();
    assert_eq!(anonymous.status(), 401);
    assert_eq!(client.get("").await.0, 200, "what there is");
    tenant.change_settings(|settings| settings.basic = false);
    assert_eq!(client.get("").await.0, 401);
}

#[tokio::test]
async fn an_old_server_has_hashes_and_lacks_what_came_later() {
    let sandbox = sandbox(0).await;
    let tenant = sandbox.superoffice();
    tenant.change_settings(|settings| *settings = Settings::old_onsite());
    let client = Client::basic(&sandbox);
    let id = person(tenant, &[]);
    let (_, infos) = client.get(&format!("/Person/{id}/Consent")).await;
    assert_eq!(
        (
            &infos[0]["ConsentPurposeKey"],
            &infos[0]["LegalBaseKey"],
            &infos[0]["ConsentSourceKey"]
        ),
        (&json!("#STORE"), &json!("#61F"), &json!("#User"))
    );
    assert_eq!(client.put(id, "EMARKETING", "61A").await.0, 400);
    let path = format!("/Person/{id}/Consent/%23EMARKETING?source=%23Api&legalBase=%2361A");
    assert_eq!(client.send(Method::PUT, &path, json!({})).await.0, 204);
    assert_eq!(
        tenant
            .person(id)
            .unwrap()
            .consent("EMARKETING")
            .unwrap()
            .legal_base,
        "61A"
    );
    let select = [("$select", "consentperson.person_id")];
    assert_eq!(client.ask("dynamic", &select).await.0, 400);
    let select = [("$select", "email.person_id")];
    assert_eq!(client.ask("dynamic", &select).await.0, 200);
    let patch = json!([{"op": "replace", "path": "Lastname", "value": "Other"}]);
    assert_eq!(
        client
            .send(Method::PATCH, &format!("/Person/{id}"), patch)
            .await
            .0,
        405
    );
}
