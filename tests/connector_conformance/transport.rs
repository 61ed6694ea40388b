//! What goes wrong between here and there.

use crate::bench::*;
use consentd::connector::read_only::ReadOnly;
use consentd::connector::salesforce::config::Grant;
use consentd::connector::{Connector, FaultClass, Outcome};
use consentd::consent::Shown;
use consentd_sandbox::{CallKind, Fault, OldRefreshToken, Rule};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The class and code that a first read ends in while a fault is set.
async fn read_under(fault: Fault) -> (FaultClass, String) {
    let bench = Bench::with(50, |settings| {
        settings.platform.limits.request_timeout = Duration::from_secs(2);
        settings.platform.limits.max_body_bytes = 4 * 1024 * 1024;
    })
    .await;
    bench.connector.probe().await.unwrap();
    bench
        .org()
        .set_fault(Rule::from(fault).calls(&[CallKind::Query]))
        .unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert!(
        !fault.message.contains("127.0.0.1") && !fault.message.contains('@'),
        "{}",
        fault.message
    );
    (fault.class, fault.code)
}

#[tokio::test]
async fn c70_every_trouble_of_a_read_has_its_class() {
    for (sentence, fault, class, code) in [
        (
            "503 with a code",
            Fault::UnavailableJson,
            FaultClass::Retryable,
            "SERVER_UNAVAILABLE",
        ),
        (
            "503 with a page",
            Fault::UnavailableHtml,
            FaultClass::Retryable,
            "http-503",
        ),
        (
            "a cut before the answer",
            Fault::CutBefore,
            FaultClass::Retryable,
            "reset",
        ),
        (
            "a cut body",
            Fault::TruncatedBody,
            FaultClass::Retryable,
            "truncated",
        ),
        (
            "no answer",
            Fault::Stall { seconds: 60 },
            FaultClass::Retryable,
            "timeout",
        ),
        (
            "a dripping answer",
            Fault::SlowDrip {
                bytes: 1,
                pause_millis: 200,
            },
            FaultClass::Retryable,
            "timeout",
        ),
        (
            "too many bytes",
            Fault::GzipBomb { megabytes: 64 },
            FaultClass::ContractBroken,
            "too-large",
        ),
        (
            "a redirect",
            Fault::Redirect {
                url: "https://elsewhere.example/".into(),
            },
            FaultClass::ContractBroken,
            "redirect",
        ),
        (
            "the day's allowance",
            Fault::QuotaUsedUp,
            FaultClass::RateLimited,
            "REQUEST_LIMIT_EXCEEDED",
        ),
        (
            "a gateway's 429",
            Fault::TooManyRequests {
                retry_after: Some(" 30 ".into()),
            },
            FaultClass::RateLimited,
            "http-429",
        ),
    ] {
        let (got_class, got_code) = read_under(fault).await;
        assert_eq!((got_class, got_code.as_str()), (class, code), "{sentence}");
    }
    let (class, code) = read_under(Fault::HtmlSuccess).await;
    assert!(
        matches!(
            (class, code.as_str()),
            (FaultClass::ContractBroken, "html") | (FaultClass::Retryable, "maintenance")
        ),
        "{class:?} {code}"
    );
}

#[tokio::test]
async fn c71_a_pause_that_is_asked_for_is_passed_on() {
    let bench = Bench::new(5).await;
    bench
        .org()
        .set_fault(Fault::TooManyRequests {
            retry_after: Some("120".into()),
        })
        .unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(fault.retry_after, Some(Duration::from_mins(2)));
}

#[tokio::test]
async fn c72_a_session_that_ends_between_pages_costs_one_login() {
    let bench = Bench::with(1_000, |settings| settings.platform.page_rows = 200).await;
    let first = bench.connector.read(None).await.unwrap();
    bench.org().reset_calls();
    bench.org().set_fault(Fault::RevokeTokens).unwrap();
    let (one, other) = tokio::join!(
        bench.connector.read(Some(&first.next)),
        bench.connector.read(Some(&first.next))
    );
    assert_eq!(one.unwrap().readings, other.unwrap().readings);
    assert_eq!(
        bench.org().calls().logins,
        1,
        "all tasks share the new session"
    );
}

#[tokio::test]
async fn c73_a_session_that_is_refused_again_and_again_makes_no_loop() {
    let bench = Bench::new(5).await;
    bench.connector.probe().await.unwrap();
    bench.org().reset_calls();
    bench.org().set_fault(Fault::SessionInvalid).unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "INVALID_SESSION_ID")
    );
    assert_eq!(bench.org().calls().logins, 1);
    assert_eq!(bench.org().calls().unauthorised, 2);
}

#[tokio::test]
async fn c74_a_token_endpoint_in_trouble_is_waited_for() {
    let bench = Bench::new(5).await;
    bench.org().set_fault(Fault::TokenEndpointDown).unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Retryable);
    assert!(!fault.maybe_sent);
    bench.org().clear_faults(None);
    bench
        .org()
        .set_fault(Fault::TokenRefused {
            error: "invalid_grant".into(),
            description: "user hasn't approved this consumer".into(),
        })
        .unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "invalid_grant")
    );
    bench.org().clear_faults(None);
    assert!(bench.connector.read(None).await.is_ok());
}

#[tokio::test]
async fn c75_client_credentials_log_in_too() {
    let bench = Bench::with(5, |settings| {
        settings.platform.grant = Grant::ClientCredentials {
            client_id: "3MVG9sandboxConsumerKey".to_owned(),
            client_secret: "sandbox-consumer-secret".to_owned().into(),
        };
    })
    .await;
    assert!(bench.connector.read(None).await.is_ok());
}

#[tokio::test]
async fn c76_a_rotated_refresh_token_is_on_disk_before_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let grant = |file: &std::path::Path| Grant::RefreshToken {
        client_id: "3MVG9sandboxConsumerKey".to_owned(),
        client_secret: Some("sandbox-consumer-secret".to_owned().into()),
        token_file: file.to_owned(),
    };
    let path = file.clone();
    let bench = Bench::with(5, |settings| settings.platform.grant = grant(&path)).await;
    let first = bench.sandbox.credentials().refresh_token.clone();
    std::fs::write(&file, &first).unwrap();
    bench.org().change_settings(|settings| {
        settings.rotate_refresh_token = true;
        settings.old_refresh_token = OldRefreshToken::DiesAtOnce;
    });
    // The login works and the very next call is lost: the new token has to be safe by then.
    bench
        .org()
        .set_fault(
            Rule::from(Fault::CutBefore)
                .times(1)
                .calls(&[CallKind::Versions]),
        )
        .unwrap();
    assert!(bench.connector.read(None).await.is_err());
    let second = std::fs::read_to_string(&file).unwrap();
    assert_ne!(first, second);
    for _ in 0..3 {
        bench.org().set_fault(Fault::RevokeTokens).unwrap();
        assert!(bench.connector.read(None).await.is_ok());
    }
}

#[tokio::test]
async fn c77_a_token_that_names_another_host_is_refused() {
    let bench = Bench::new(5).await;
    bench
        .org()
        .set_fault(Fault::OtherInstance {
            url: "https://elsewhere.example".into(),
        })
        .unwrap();
    let fault = bench.connector.read(None).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "instance-host")
    );
}

#[tokio::test]
async fn c78_a_clock_that_is_off_does_not_keep_the_login_out() {
    for seconds in [-7_200, 7_200] {
        let bench = Bench::new(5).await;
        bench.org().set_fault(Fault::ClockSkew { seconds }).unwrap();
        assert!(bench.connector.read(None).await.is_ok(), "{seconds}");
    }
}

#[tokio::test]
async fn c79_a_closed_port_was_certainly_not_reached() {
    let bench = Bench::new(1).await;
    let id = bench.org().contact_ids(1).remove(0);
    bench.connector.probe().await.unwrap();
    let Bench { sandbox, connector } = bench;
    sandbox.stop().await;
    let started = Instant::now();
    let fault = connector.write(&[set(&id, MARKETING, Shown::Set)]).await;
    match fault {
        Err(fault) => assert_eq!(
            (fault.class, fault.maybe_sent),
            (FaultClass::Retryable, false)
        ),
        // A kept-alive connection may have been cut while the request was on its way.
        Ok(outcomes) => assert!(matches!(outcomes[0], Outcome::Unknown(_))),
    }
    assert!(started.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn c80_a_dry_run_reads_and_never_writes() {
    let bench = Bench::new(0).await;
    let id = bench.create("ann@example.org");
    let dry = ReadOnly::new(Arc::clone(&bench.connector));
    assert!(dry.read(None).await.is_ok());
    let fault = dry
        .write(&[set(&id, MARKETING, Shown::Set)])
        .await
        .unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Rejected, "read-only")
    );
    assert!(!bench.org().contact(&id).unwrap().opted_out);
    assert_eq!(bench.org().calls().of(CallKind::CollectionsWrite), 0);
}

#[tokio::test]
async fn c81_calls_and_the_allowance_are_told() {
    let bench = Bench::new(5).await;
    bench.org().change_settings(|settings| {
        settings.limit_info_extra = Some("; per-app-api-usage=17/250(appName=sync)".to_owned());
    });
    assert_eq!(bench.connector.quota(), None);
    bench.connector.read(None).await.unwrap();
    let quota = bench.connector.quota().unwrap();
    assert_eq!(
        (quota.used, quota.allowed),
        (bench.org().calls().counted, 100_000)
    );
    let calls = bench.connector.calls();
    assert!(
        calls
            .iter()
            .any(|(kind, count)| *kind == "login" && *count == 1),
        "{calls:?}"
    );
    assert!(
        calls
            .iter()
            .any(|(kind, count)| *kind == "query" && *count >= 2),
        "{calls:?}"
    );
}

#[tokio::test]
async fn c82_a_lost_write_under_every_kind_of_trouble_is_unknown() {
    for fault in [
        Fault::CutAfter,
        Fault::TruncatedBody,
        Fault::HtmlSuccess,
        Fault::UnavailableHtml,
        Fault::Stall { seconds: 60 },
        Fault::GzipBomb { megabytes: 64 },
    ] {
        let bench = Bench::with(0, |settings| {
            settings.platform.limits.request_timeout = Duration::from_secs(2);
        })
        .await;
        let id = bench.create("ann@example.org");
        bench.connector.probe().await.unwrap();
        let name = fault.name();
        bench
            .org()
            .set_fault(Rule::from(fault).calls(&[CallKind::CollectionsWrite]))
            .unwrap();
        let outcomes = bench
            .connector
            .write(&[set(&id, MARKETING, Shown::Set)])
            .await
            .unwrap();
        assert!(
            matches!(&outcomes[0], Outcome::Unknown(fault) if fault.maybe_sent),
            "{name}: {outcomes:?}"
        );
    }
}
