//! Logging in, and finding the tenant.

use super::bench::*;
use crate::bench::code;
use consentd::connector::superoffice::config::{Deployment, OnlineGrant, OnsiteGrant};
use consentd::connector::{FaultClass, Outcome};
use consentd_sandbox::superoffice::{Settings as Crm, TenantStatus};
use consentd_sandbox::{CallKind, Fault, Rule};

fn online_grant(deployment: &mut Deployment, change: impl FnOnce(&mut OnlineGrant)) {
    if let Deployment::Online(online) = deployment {
        change(&mut online.grant);
    }
}

#[tokio::test]
async fn c90_every_grant_logs_in_and_knows_its_own_user() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let bench = Bench::new().await;
    let app = bench.sandbox.credentials().superoffice.clone();
    std::fs::write(&token, &app.refresh_token).unwrap();
    let by_system_user = bench.connector.probe().await.unwrap();
    assert_eq!(by_system_user.missing, [""; 0]);
    let own = by_system_user.own_actor.unwrap();
    let mut settings = settings(&bench.sandbox);
    online_grant(&mut settings.deployment, |grant| {
        *grant = OnlineGrant::RefreshToken {
            client_id: app.client_id.clone(),
            client_secret: app.client_secret.clone().into(),
            token_file: token.clone(),
        };
    });
    let by_token = connector(&settings).probe().await.unwrap();
    assert_eq!(by_token.own_actor.as_ref(), Some(&own));
    assert_eq!(by_token.missing, [""; 0]);
    bench.tenant().change_settings(|crm| *crm = Crm::onsite());
    settings.deployment = onsite(&bench.sandbox);
    let by_password = connector(&settings).probe().await.unwrap();
    assert_eq!(by_password.own_actor, Some(own));
    assert_eq!(by_password.missing, [""; 0]);
}

#[tokio::test]
async fn c90_a_ticket_from_a_file_is_read_again_when_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticket");
    std::fs::write(&file, "7T:stale==").unwrap();
    let bench = Bench::with(|crm| *crm = Crm::onsite(), |_| {}).await;
    let mut settings = settings(&bench.sandbox);
    if let Deployment::Onsite(onsite) = &mut settings.deployment {
        onsite.grant = OnsiteGrant::Ticket {
            ticket_file: file.clone(),
        };
    }
    let connector = connector(&settings);
    let fault = connector.probe().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "http-401")
    );
    assert_eq!(
        bench.tenant().calls().unauthorised,
        2,
        "once more, and no loop"
    );
}

#[tokio::test]
async fn c90_a_token_that_is_not_the_vendors_or_not_ours_is_refused() {
    for (sentence, serial, sound) in [
        ("not asked for", None, true),
        ("the licence we know", Some("1043218725"), true),
        ("another licence", Some("1043218726"), false),
    ] {
        let bench = Bench::with(
            |_| {},
            |settings| {
                online_grant(&mut settings.deployment, |grant| {
                    if let OnlineGrant::SystemUser { serial: known, .. } = grant {
                        *known = serial.map(str::to_owned);
                    }
                });
            },
        )
        .await;
        let found = bench.connector.probe().await;
        assert_eq!(found.is_ok(), sound, "{sentence}");
        if let Err(fault) = found {
            assert_eq!(fault.code, "token-answer");
            assert!(fault.message.contains("serial"), "{}", fault.message);
        }
    }
    let bench = Bench::with(|crm| crm.login_token_secs = -3_600, |_| {}).await;
    let fault = bench.connector.probe().await.unwrap_err();
    assert_eq!(
        fault.code, "token-answer",
        "an expired token: {}",
        fault.message
    );
}

#[tokio::test]
async fn c90_a_system_user_that_is_refused_is_told_with_what_to_do() {
    for status in [200, 400, 401, 403] {
        let bench = Bench::with(
            |crm| {
                crm.app_approved = false;
                crm.login_refused_status = status;
            },
            |_| {},
        )
        .await;
        let fault = bench.connector.probe().await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Auth, "system-user"),
            "{status}"
        );
        assert!(
            fault.message.contains("NeedsReapproval"),
            "{}",
            fault.message
        );
        assert!(fault.message.contains("administrator"), "{}", fault.message);
    }
}

#[tokio::test]
async fn c72_a_ticket_lives_while_it_is_used_and_is_renewed_once_for_all() {
    let bench = Bench::new().await;
    bench.person(&["ann@example.org"]);
    let start = bench.drain(None).await;
    assert_eq!(bench.tenant().calls().logins, 1);
    let mut cursor = start.cursor;
    for _ in 0..3 {
        bench.wait(5 * 3_600);
        cursor = bench.drain(Some(cursor)).await.cursor;
    }
    assert_eq!(bench.tenant().calls().logins, 1, "each use keeps it alive");
    bench.wait(7 * 3_600);
    let (one, other) = tokio::join!(
        bench.connector.read(Some(&cursor)),
        bench.connector.read(Some(&cursor))
    );
    assert_eq!(one.unwrap().readings, other.unwrap().readings);
    assert_eq!(bench.tenant().calls().logins, 2);
}

#[tokio::test]
async fn c73_a_ticket_that_is_refused_again_and_again_makes_no_loop() {
    let bench = Bench::new().await;
    bench.drain(None).await;
    bench.tenant().reset_calls();
    bench.tenant().set_fault(Fault::SessionInvalid).unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "http-401")
    );
    assert_eq!(bench.tenant().calls().logins, 1);
    assert_eq!(bench.tenant().calls().unauthorised, 2);
}

#[tokio::test]
async fn c74_a_login_host_in_trouble_is_waited_for() {
    for kind in [
        CallKind::SystemUserLogin,
        CallKind::TenantState,
        CallKind::LoginMetadata,
    ] {
        let bench = Bench::new().await;
        bench
            .tenant()
            .set_fault(Rule::from(Fault::UnavailableHtml).calls(&[kind]))
            .unwrap();
        let fault = bench.connector.probe().await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Retryable, "{kind:?}");
        assert!(!fault.maybe_sent, "{kind:?}");
        bench.tenant().clear_faults(None);
        assert!(bench.connector.probe().await.is_ok());
    }
}

#[tokio::test]
async fn c76_a_refresh_token_that_was_revoked_is_a_matter_of_the_login() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "revoked").unwrap();
    let path = token.clone();
    let bench = Bench::with(
        |_| {},
        |settings| {
            online_grant(&mut settings.deployment, |grant| {
                *grant = OnlineGrant::RefreshToken {
                    client_id: "0c7d1b5e6f2a4938".to_owned(),
                    client_secret: "sandbox-application-token".to_owned().into(),
                    token_file: path,
                };
            });
        },
    )
    .await;
    let fault = bench.connector.probe().await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Auth);
    assert!(!fault.message.contains("revoked"), "{}", fault.message);
    std::fs::write(&token, "sandboxSuperOfficeRefreshToken").unwrap();
    assert!(bench.connector.probe().await.is_ok());
    bench.wait(2 * 3_600);
    assert!(
        bench.connector.probe().await.is_ok(),
        "an access token that has ended is renewed"
    );
}

#[tokio::test]
async fn c78_a_clock_that_is_off_does_not_keep_the_login_out() {
    for seconds in [-7_200, 7_200] {
        let bench = Bench::new().await;
        bench
            .tenant()
            .set_fault(Fault::ClockSkew { seconds })
            .unwrap();
        assert!(bench.connector.read(None).await.is_ok(), "{seconds}");
    }
}

#[tokio::test]
async fn c91_a_tenant_that_moves_is_found_again_within_the_call() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    let start = bench.drain(None).await;
    // The same address under another name: requests to the old one are answered 421.
    bench
        .tenant()
        .change_settings(|crm| crm.api_host = "localhost".to_owned());
    bench.consent(id, "EMARKETING", "61A");
    bench.wait(60);
    let moved = bench.drain(Some(start.cursor)).await;
    assert!(moved.last(&id.to_string()).is_some());
    assert_eq!(
        bench
            .connector
            .write(&[set(id, MARKETING, WITHDRAWN)])
            .await
            .unwrap(),
        [Outcome::Applied]
    );
}

#[tokio::test]
async fn c91_a_host_that_sends_away_for_ever_makes_no_loop() {
    let bench = Bench::new().await;
    bench.drain(None).await;
    bench.tenant().reset_calls();
    bench.tenant().set_fault(Fault::WrongHost).unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Retryable, "http-421")
    );
    let calls = bench.tenant().calls();
    assert_eq!(calls.of(CallKind::Archive), 2);
    assert_eq!(calls.of(CallKind::TenantState), 1);
}

#[tokio::test]
async fn c91_maintenance_is_waited_for_and_a_suspended_tenant_is_told_of() {
    let bench = Bench::new().await;
    for (status, class) in [
        (
            TenantStatus::OfflineMaintenance,
            Some(FaultClass::Retryable),
        ),
        (TenantStatus::Suspended, Some(FaultClass::Auth)),
        (TenantStatus::Deleted, Some(FaultClass::Auth)),
        (TenantStatus::OnlineMaintenance, None),
        (TenantStatus::Running, None),
    ] {
        bench.tenant().change_settings(|crm| crm.status = status);
        let found = connector(&settings(&bench.sandbox)).probe().await;
        assert_eq!(
            found.as_ref().err().map(|fault| fault.class),
            class,
            "{status:?}"
        );
        if class == Some(FaultClass::Retryable) {
            assert!(found.unwrap_err().retry_after.is_some());
        }
    }
    let id = bench.person(&["ann@example.org"]);
    bench.connector.probe().await.unwrap();
    bench
        .tenant()
        .change_settings(|crm| crm.status = TenantStatus::OfflineMaintenance);
    let fault = bench
        .connector
        .write(&[set(id, MARKETING, WITHDRAWN)])
        .await
        .map(|outcomes| code(&outcomes[0]))
        .map_err(|fault| fault.code);
    assert!(
        fault == Err("http-503".to_owned()) || fault == Ok("unknown:http-503".to_owned()),
        "{fault:?}"
    );
}

#[tokio::test]
async fn c91_old_state_answers_name_no_api_address() {
    let bench = Bench::with(|crm| crm.status_names_api = false, |_| {}).await;
    assert!(bench.connector.probe().await.is_ok());
}

#[tokio::test]
async fn c77_a_state_that_names_a_foreign_host_is_refused() {
    let bench = Bench::with(|crm| crm.api_host = "crm.example.org".to_owned(), |_| {}).await;
    let fault = bench.connector.probe().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "instance-host")
    );
    assert!(!fault.message.contains("example.org"));
}
