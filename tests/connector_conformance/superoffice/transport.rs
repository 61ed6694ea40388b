//! What goes wrong between here and there.

use super::bench::*;
use consentd::connector::superoffice::config::{ConsentFeed, Deployment};
use consentd::connector::{FaultClass, Outcome};
use consentd_sandbox::superoffice::Settings as Crm;
use consentd_sandbox::{CallKind, Fault, Rule};
use std::time::Duration;

#[tokio::test]
async fn c70_every_trouble_of_a_read_has_its_class_and_its_end() {
    for (sentence, fault, class, codes) in [
        (
            "503 with JSON",
            Fault::UnavailableJson,
            FaultClass::Retryable,
            &["http-503"][..],
        ),
        (
            "503 with a page",
            Fault::UnavailableHtml,
            FaultClass::Retryable,
            &["http-503"],
        ),
        (
            "a cut before the answer",
            Fault::CutBefore,
            FaultClass::Retryable,
            &["reset"],
        ),
        (
            "a cut body",
            Fault::TruncatedBody,
            FaultClass::Retryable,
            &["truncated"],
        ),
        (
            "half of the JSON as if it were all",
            Fault::HalfJson,
            FaultClass::Retryable,
            &["truncated"],
        ),
        (
            "no answer",
            Fault::Stall { seconds: 60 },
            FaultClass::Retryable,
            &["timeout"],
        ),
        (
            "too many bytes",
            Fault::GzipBomb { megabytes: 64 },
            FaultClass::ContractBroken,
            &["too-large"],
        ),
        (
            "a redirect",
            Fault::Redirect {
                url: "https://elsewhere.example/".into(),
            },
            FaultClass::ContractBroken,
            &["redirect"],
        ),
        (
            "429",
            Fault::TooManyRequests {
                retry_after: Some(" 30 ".into()),
            },
            FaultClass::RateLimited,
            &["http-429"],
        ),
        (
            "200 with null",
            Fault::NullAnswer,
            FaultClass::ContractBroken,
            &["shape"],
        ),
        (
            "200 with a page",
            Fault::HtmlSuccess,
            FaultClass::ContractBroken,
            &["html", "maintenance"],
        ),
    ] {
        let bench = Bench::with(
            |_| {},
            |settings| {
                settings.limits.request_timeout = Duration::from_secs(5);
                settings.limits.max_body_bytes = 4 * 1024 * 1024;
            },
        )
        .await;
        bench.person(&["ann@example.org"]);
        bench.connector.probe().await.unwrap();
        bench
            .tenant()
            .set_fault(Rule::from(fault).calls(&[CallKind::Archive]))
            .unwrap();
        let fault = bench.connector.read(None).await.unwrap_err();
        assert!(
            fault.class == class || fault.code == "maintenance",
            "{sentence}: {fault:?}"
        );
        assert!(
            codes.contains(&fault.code.as_str()),
            "{sentence}: {fault:?}"
        );
        assert!(
            !fault.message.contains("127.0.0.1") && !fault.message.contains('@'),
            "{sentence}: {}",
            fault.message
        );
        bench.tenant().clear_faults(None);
        assert!(
            bench.connector.read(None).await.is_ok(),
            "{sentence}: it heals"
        );
    }
}

#[tokio::test]
async fn c70_lists_that_come_as_nothing_are_not_empty_lists() {
    let bench = Bench::new().await;
    bench
        .tenant()
        .set_fault(Rule::from(Fault::NullAnswer).calls(&[CallKind::Lists]))
        .unwrap();
    let fault = bench.connector.probe().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "shape")
    );
}

#[tokio::test]
async fn c70_a_person_whose_consents_come_as_nothing_is_not_read_as_silent() {
    let bench = Bench::with(
        |_| {},
        |settings| settings.consent_feed = ConsentFeed::Persons,
    )
    .await;
    let id = bench.person(&["ann@example.org"]);
    bench.consent(id, "EMARKETING", "61A");
    bench.connector.probe().await.unwrap();
    bench
        .tenant()
        .set_fault(Rule::from(Fault::NullAnswer).calls(&[CallKind::ConsentRead]))
        .unwrap();
    let page = bench.connector.read(None).await.unwrap();
    assert!(page.readings.is_empty(), "{:?}", page.readings);
}

#[tokio::test]
async fn c79_a_closed_port_was_certainly_not_reached() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.connector.probe().await.unwrap();
    let Bench { sandbox, connector } = bench;
    sandbox.stop().await;
    match connector.write(&[set(id, MARKETING, WITHDRAWN)]).await {
        Err(fault) => assert_eq!(
            (fault.class, fault.maybe_sent),
            (FaultClass::Retryable, false)
        ),
        // A kept-alive connection may have been cut while the request was on its way.
        Ok(outcomes) => assert!(matches!(outcomes[0], Outcome::Unknown(_))),
    }
}

#[tokio::test]
async fn c70_plain_http_to_another_machine_is_refused() {
    let bench = Bench::with(|crm| *crm = Crm::onsite(), |_| {}).await;
    let mut settings = settings(&bench.sandbox);
    if let Deployment::Onsite(onsite) = &mut settings.deployment {
        onsite.base_url = url::Url::parse("http://crm.example.org/SuperOffice/api").unwrap();
    }
    let fault = connector(&settings).probe().await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "no-tls")
    );
}

#[tokio::test]
async fn c81_calls_are_told_by_kind() {
    let bench = Bench::new().await;
    let id = bench.person(&["ann@example.org"]);
    bench.drain(None).await;
    bench
        .connector
        .write(&[set(id, MARKETING, WITHDRAWN)])
        .await
        .unwrap();
    let calls = bench.connector.calls();
    let count = |kind: &str| {
        calls
            .iter()
            .find(|(name, _)| *name == kind)
            .map_or(0, |(_, count)| *count)
    };
    assert_eq!(
        (count("login"), count("state"), count("consent")),
        (1, 1, 1)
    );
    assert!(count("archive") > 3 && count("list") == 3, "{calls:?}");
    assert_eq!(
        bench.connector.quota(),
        None,
        "the vendor tells of no allowance"
    );
}
