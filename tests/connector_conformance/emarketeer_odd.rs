//! eMarketeer: trouble, records that nobody should send, and set-ups that do not fit.

use crate::emarketeer_bench::*;
use consentd::connector::FaultClass;
use consentd::consent::{Evidence, Shown};
use consentd_sandbox::emarketeer::{Kind, Settings, master};
use consentd_sandbox::{CallKind, Fault, Rule};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

const ANN: &str = "ann@example.org";

#[tokio::test]
async fn c70_every_trouble_of_a_read_has_its_class() {
    use FaultClass::{Auth, ContractBroken, RateLimited, Retryable};
    let mut em = Em::with(Plan {
        contacts: 30,
        ..Plan::default()
    })
    .await;
    for (sentence, fault, class, code) in [
        ("a wrong key", Fault::SessionInvalid, Auth, "forbidden"),
        (
            "throttled",
            Fault::TooManyRequests { retry_after: None },
            RateLimited,
            "http-429",
        ),
        (
            "the allowance is used up",
            Fault::QuotaUsedUp,
            RateLimited,
            "quota",
        ),
        (
            "an application error",
            Fault::ServerError {
                status: 500,
                processed: false,
            },
            Retryable,
            "http-500",
        ),
        (
            "a crash",
            Fault::ServerError {
                status: 502,
                processed: false,
            },
            Retryable,
            "http-502",
        ),
        (
            "too slow for the gateway",
            Fault::ServerError {
                status: 504,
                processed: false,
            },
            Retryable,
            "http-504",
        ),
        ("down", Fault::UnavailableJson, Retryable, "http-503"),
        (
            "down, with a page",
            Fault::UnavailableHtml,
            Retryable,
            "http-503",
        ),
        ("a login page", Fault::HtmlSuccess, ContractBroken, "html"),
        (
            "a cut before the answer",
            Fault::CutBefore,
            Retryable,
            "reset",
        ),
        ("a cut body", Fault::TruncatedBody, Retryable, "truncated"),
        (
            "no answer",
            Fault::Stall { seconds: 60 },
            Retryable,
            "timeout",
        ),
        (
            "a dripping answer",
            Fault::SlowDrip {
                bytes: 1,
                pause_millis: 200,
            },
            Retryable,
            "timeout",
        ),
        (
            "too many bytes",
            // The account allows 1 MiB; a larger bomb takes longer to make than may be waited for.
            Fault::GzipBomb { megabytes: 4 },
            ContractBroken,
            "too-large",
        ),
        (
            "a redirect",
            Fault::Redirect {
                url: "https://elsewhere.example/".into(),
            },
            ContractBroken,
            "redirect",
        ),
    ] {
        em.begin_anew();
        em.connector.probe().await.unwrap();
        em.account()
            .set_fault(Rule::from(fault).calls(&[CallKind::ConsentList]))
            .unwrap();
        let fault = em.try_poll().await.err().unwrap();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (class, code),
            "{sentence}"
        );
        assert!(
            !fault.message.contains('@') && !fault.message.contains("127.0.0.1"),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn c71_a_pause_that_is_asked_for_is_passed_on() {
    for (asked, pause) in [("7", 7), (" 30 ", 30), ("1e9", 3_600), ("-5", 1)] {
        let mut em = Em::new().await;
        em.account()
            .set_fault(Fault::TooManyRequests {
                retry_after: Some(asked.to_owned()),
            })
            .unwrap();
        let fault = em.try_poll().await.err().unwrap();
        assert_eq!(
            fault.retry_after,
            Some(Duration::from_secs(pause)),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn c01_a_probe_tells_what_it_acts_as_and_writes_nothing() {
    let em = Em::with(Plan {
        contacts: 10,
        ..Plan::default()
    })
    .await;
    let probe = em.connector.probe().await.unwrap();
    assert_eq!(
        (probe.own_actor.as_deref(), probe.missing),
        (Some("consentd"), Vec::new())
    );
    assert_eq!(em.account().calls().records_written, 0);
}

type Act = Box<dyn Fn(&Em)>;

#[tokio::test]
async fn c100_a_probe_names_what_is_missing_and_what_there_is() {
    let rename = |kind, name| {
        move |em: &Em| {
            em.account()
                .rename_master_data(kind, name, "Something else")
                .unwrap();
        }
    };
    let rows: [(&str, Act, &str); 4] = [
        (
            "marketing",
            Box::new(rename(Kind::Purpose, master::MARKETING)),
            "purpose \"marketing\"",
        ),
        (
            "store",
            Box::new(rename(Kind::Purpose, master::STORE)),
            "purpose \"store\"",
        ),
        (
            "withdrawn",
            Box::new(rename(Kind::LegalBasis, master::WITHDRAWN)),
            "legal basis withdrawn",
        ),
        (
            "source",
            Box::new(rename(Kind::Source, master::INTEGRATION)),
            "source:",
        ),
    ];
    for (sentence, act, expected) in rows {
        let em = Em::new().await;
        act(&em);
        let missing = em.connector.probe().await.unwrap().missing;
        assert_eq!(missing.len(), 1, "{sentence}: {missing:?}");
        assert!(
            missing[0].contains(expected) && missing[0].contains("\"Something else\""),
            "{missing:?}"
        );
        assert!(missing[0].contains("set systems.em."), "{missing:?}");
        if sentence != "source" {
            let fault = em.connector.read(None).await.err();
            assert!(
                fault.is_some() || sentence == "store",
                "nothing is read by guess"
            );
        }
    }
}

#[tokio::test]
async fn c100_names_are_found_in_any_case_and_by_configuration() {
    let em = Em::with(Plan {
        tables: "[systems.em.purposes]\nmarketing = [\"NYHETSBREV\"]\nstore = [\"lagring\"]\n[systems.em.legal_bases]\nwithdrawn = [\"\u{e5}terkallat\"]",
        ..Plan::default()
    })
    .await;
    for (kind, name, new) in [
        (Kind::Purpose, master::MARKETING, "Nyhetsbrev"),
        (Kind::Purpose, master::STORE, "Lagring"),
        (Kind::LegalBasis, master::WITHDRAWN, "\u{c5}terkallat"),
    ] {
        em.account().rename_master_data(kind, name, new).unwrap();
    }
    assert_eq!(em.connector.probe().await.unwrap().missing, [""; 0]);
}

#[tokio::test]
async fn c100_each_modules_key_is_tried() {
    let em = Em::with(Plan {
        account: |settings| settings.key_per_module = true,
        ..Plan::default()
    })
    .await;
    assert_eq!(em.connector.probe().await.unwrap().missing, [""; 0]);
    // The account takes one key for everything now, which is neither of the two.
    em.account()
        .change_settings(|settings| settings.key_per_module = false);
    let missing = em.connector.probe().await.unwrap().missing;
    assert_eq!(missing.len(), 2, "{missing:?}");
    for module in ["consent", "contact"] {
        let named = format!("systems.em.{module}");
        assert!(
            missing.iter().any(|line| line.contains(&named)),
            "{missing:?}"
        );
    }
}

#[tokio::test]
async fn c100_a_look_up_that_ignores_the_address_is_refused() {
    for (change, key) in [
        (
            (|settings| settings.query.key = "address".to_owned()) as fn(&mut Settings),
            "consent.query.key",
        ),
        (
            |settings| settings.query.email = "address".to_owned(),
            "contact",
        ),
    ] {
        let em = Em::with(Plan {
            contacts: 30,
            account: change,
            ..Plan::default()
        })
        .await;
        let missing = em.connector.probe().await.unwrap().missing;
        assert!(
            missing.iter().any(|line| line.contains(key)),
            "{key}: {missing:?}"
        );
    }
}

#[tokio::test]
async fn c99_a_key_in_an_address_is_never_shown() {
    let seen = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer({
            let seen = seen.clone();
            move || seen.clone()
        })
        .finish();
    let canary = "SANDBOX7F3A91";
    let run = async {
        let mut em = Em::with(Plan {
            contacts: 20,
            tables: "[systems.em.legacy]\nbase_url = \"{url}/api\"",
            ..Plan::default()
        })
        .await;
        assert_eq!(em.sandbox.credentials().emarketeer.api_id, canary);
        em.poll().await;
        let address = em.account().addresses().remove(0);
        let target = em.target(&address);
        let mut shown = Vec::new();
        for fault in [
            Fault::CutBefore,
            Fault::TruncatedBody,
            Fault::HtmlSuccess,
            Fault::Stall { seconds: 60 },
            Fault::Redirect {
                url: "https://elsewhere.example/".into(),
            },
            Fault::ServerError {
                status: 500,
                processed: false,
            },
            Fault::SessionInvalid,
        ] {
            em.account()
                .set_fault(Rule::from(fault).calls(&[CallKind::LegacyRead]).times(1))
                .unwrap();
            let fault = em
                .connector
                .current(std::slice::from_ref(&target))
                .await
                .unwrap_err();
            shown.push(format!("{fault} {fault:?}"));
        }
        assert!(em.connector.current(&[target]).await.is_ok());
        assert!(calls(&*em.connector, "legacy-contact") > 7);
        shown.push(format!("{:?}", checked(&em.sandbox, &Plan::default())));
        shown.push(format!("{:?}", em.connector.calls()));
        shown
    };
    // With a single subscriber in the process, a line that another test's thread came by first would
    // stay switched off for this one.
    let _other = Dispatch::new(NoSubscriber::new());
    let shown = run.with_subscriber(subscriber).await;
    let log = String::from_utf8(seen.0.lock().unwrap().clone()).unwrap();
    assert!(!log.is_empty(), "something is logged");
    for text in shown.iter().chain([&log]) {
        for secret in [canary, "emk-sandbox"] {
            let at = text.find(secret);
            assert_eq!(
                at,
                None,
                "{}",
                &text[at.unwrap_or(0)..][..200.min(text.len() - at.unwrap_or(0))]
            );
        }
    }
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An account in which Ann's records are replaced by this text, and Bob's are as they should be;
/// `P`, `B`, `W` and `S` stand for the ids of marketing, consent, withdrawn and a source.
async fn read_raw(em: &mut Em, json: &str) {
    em.begin_anew();
    let account = em.account().clone();
    let id = |kind, name: &str| {
        let items = account.master_data(kind);
        let item = items.iter().find(|item| item.name == name).unwrap();
        item.id.to_string()
    };
    let json = json
        .replace("<P>", &id(Kind::Purpose, master::MARKETING))
        .replace("<B>", &id(Kind::LegalBasis, master::CONSENT))
        .replace("<W>", &id(Kind::LegalBasis, master::WITHDRAWN))
        .replace("<S>", &id(Kind::Source, master::USER));
    account
        .submit_form(ANN, &[master::MARKETING], None)
        .unwrap();
    account
        .submit_form("bob@example.org", &[master::MARKETING], None)
        .unwrap();
    account
        .set_fault(Fault::RawRecord {
            id: ANN.to_owned(),
            json,
        })
        .unwrap();
    em.wait(60);
    em.poll().await;
    assert_eq!(
        em.shown("bob@example.org", MARKETING),
        Some(record(master::CONSENT)),
        "the page goes on"
    );
}

const WHOLE: &str = r#"{"key":"ann@example.org","purposeId":<P>,"legalBasisId":<B>,"sourceId":<S>,"text":null,"createdAt":"2026-05-01T10:00:00Z"}"#;

#[tokio::test]
async fn bad_input_25_to_28_what_cannot_be_understood_is_quarantined_with_the_field() {
    let mut em = Em::new().await;
    let deep = WHOLE.replace("null", &format!("{}1{}", "[".repeat(200), "]".repeat(200)));
    let rows: Vec<(&str, String, &str)> = vec![
        (
            "a key that stands twice",
            WHOLE.replace("\"text\":null", "\"legalBasisId\":<W>"),
            "twice",
        ),
        (
            "an address that is none",
            WHOLE.replace("ann@example.org", "ann;bob@example.org"),
            "key",
        ),
        (
            "a blank address",
            WHOLE.replace("ann@example.org", " "),
            "key",
        ),
        (
            "an address of 320 characters",
            WHOLE.replace("ann@", &format!("{}@", "a".repeat(320))),
            "key",
        ),
        (
            "an address that is a number",
            WHOLE.replace("\"ann@example.org\"", "7"),
            "key",
        ),
        (
            "no address",
            WHOLE.replace("\"key\"", "\"kex\""),
            "key is missing",
        ),
        (
            "no purpose",
            WHOLE.replace("purposeId", "x"),
            "purpose is missing",
        ),
        (
            "a purpose that is not listed",
            WHOLE.replace("<P>", "9223372036854775808"),
            "purpose",
        ),
        (
            "a purpose of another type",
            WHOLE.replace("<P>", "[true]"),
            "purpose",
        ),
        (
            "no legal basis",
            WHOLE.replace("legalBasisId", "x"),
            "legal_basis is missing",
        ),
        (
            "a legal basis that is not listed",
            WHOLE.replace("<B>", "77"),
            "legal basis",
        ),
        (
            "a legal basis of another type",
            WHOLE.replace("<B>", "true"),
            "legal basis",
        ),
        (
            "no time",
            WHOLE.replace("createdAt", "x"),
            "changed_at is missing",
        ),
        (
            "a time of another type",
            WHOLE.replace("\"2026-05-01T10:00:00Z\"", "1777629600"),
            "changed_at",
        ),
        ("no object", "[1, 2]".to_owned(), "purpose is missing"),
        ("too deep", deep, "JSON"),
    ];
    for (sentence, json, expected) in rows {
        read_raw(&mut em, &json).await;
        let reasons: Vec<&str> = em
            .known
            .poison
            .iter()
            .map(|bad| bad.reason.as_str())
            .collect();
        assert!(
            !reasons.is_empty() && reasons.iter().all(|reason| reason.contains(expected)),
            "{sentence}: {reasons:?}"
        );
        assert!(
            reasons.iter().all(|reason| !reason.contains('@')),
            "{sentence}: {reasons:?}"
        );
        assert_eq!(
            em.shown(ANN, MARKETING),
            Some(Shown::Default),
            "{sentence}: never read as a grant"
        );
    }
}

#[tokio::test]
async fn bad_input_27_unknown_fields_are_ignored() {
    let mut em = Em::new().await;
    read_raw(
        &mut em,
        &WHOLE.replace("\"text\":null", "\"text\":null,\"x\":{\"y\":[1,null]}"),
    )
    .await;
    assert_eq!(em.known.poison, []);
    assert_eq!(em.shown(ANN, MARKETING), Some(record(master::CONSENT)));
}

#[tokio::test]
async fn bad_input_30_to_35_times() {
    let mut em = Em::new().await;
    let at = |text: &str| WHOLE.replace("2026-05-01T10:00:00Z", text);
    for (sentence, text, seconds) in [
        (
            "a zone with a colon",
            "2026-05-01T10:00:00+00:00",
            1_777_629_600,
        ),
        ("a zone without", "2026-05-01T10:00:00+0000", 1_777_629_600),
        ("another zone", "2026-05-01T12:00:00+02:00", 1_777_629_600),
        (
            "seven decimals",
            "2026-05-01T10:00:00.1234567Z",
            1_777_629_600,
        ),
        ("no zone is UTC", "2026-05-01T10:00:00", 1_777_629_600),
    ] {
        read_raw(&mut em, &at(text)).await;
        let holding = em.contact(ANN).unwrap().record.get(MARKETING).unwrap();
        let said = holding.said().next().unwrap();
        assert_eq!(
            said.stamp.earliest().micros() / 1_000_000,
            seconds,
            "{sentence}"
        );
    }
    for (sentence, text) in [
        ("the null date", "0001-01-01T00:00:00Z"),
        ("the first of all times", "1970-01-01T00:00:00Z"),
        ("30 February", "2026-02-30T10:00:00Z"),
        ("24 o'clock", "2026-05-01T24:00:00Z"),
        ("a leap second", "2026-05-01T23:59:60Z"),
        ("a zone that cannot be", "2026-05-01T10:00:00+25:00"),
    ] {
        read_raw(&mut em, &at(text)).await;
        let holding = em.contact(ANN).unwrap().record.get(MARKETING).unwrap();
        let said = holding.said().next().unwrap();
        assert_eq!(
            said.evidence,
            Evidence::Baseline,
            "{sentence}: an impossible time is no stamp"
        );
        assert_eq!(em.known.poison, [], "{sentence}");
    }
    read_raw(&mut em, &at("2999-01-01T00:00:00Z")).await;
    assert!(
        em.contact(ANN).unwrap().record.future_stamped,
        "a future stamp is capped and listed"
    );
}

#[tokio::test]
async fn bad_input_46_a_basis_without_a_date_and_a_date_without_a_basis() {
    let mut em = Em::new().await;
    let undated = WHOLE.replace("\"2026-05-01T10:00:00Z\"", "null");
    read_raw(&mut em, &undated.replace("<B>", "<W>")).await;
    assert_eq!(em.known.poison, []);
    assert_eq!(em.shown(ANN, MARKETING), Some(withdrawn()));
    let holding = em.contact(ANN).unwrap().record.get(MARKETING).unwrap();
    let said = holding.said().next().unwrap();
    assert_eq!(
        said.evidence,
        Evidence::Baseline,
        "it counts from when it was seen"
    );
    read_raw(&mut em, &WHOLE.replace("<B>", "null")).await;
    assert_eq!(
        em.shown(ANN, MARKETING),
        Some(Shown::Default),
        "no basis is no record"
    );
    assert_eq!(em.known.poison, []);
}

#[tokio::test]
async fn bad_input_46_a_purpose_and_a_basis_that_are_new_in_the_account() {
    let mut em = Em::new().await;
    em.account()
        .submit_form(ANN, &[master::MARKETING], None)
        .unwrap();
    em.wait(60);
    em.poll().await;
    let account = em.account().clone();
    account
        .add_master_data(Kind::LegalBasis, "Soft opt-in")
        .unwrap();
    account.add_master_data(Kind::Purpose, "Profiling").unwrap();
    account
        .set_basis(
            ANN,
            master::MARKETING,
            "Soft opt-in",
            master::USER,
            None,
            None,
        )
        .unwrap();
    account
        .set_basis(ANN, "Profiling", master::CONSENT, master::USER, None, None)
        .unwrap();
    em.wait(60);
    // The master data were asked for a moment ago, so a new process is what sees the new ones.
    em.poll().await;
    assert!(
        !em.known.poison.is_empty(),
        "an id that is not listed is never guessed at"
    );
    assert_eq!(em.shown(ANN, MARKETING), Some(record(master::CONSENT)));
    em.restart(&Plan::default());
    em.known.poison.clear();
    em.poll().await;
    assert_eq!(em.known.poison, []);
    assert_eq!(
        em.shown(ANN, MARKETING),
        Some(record("Soft opt-in")),
        "kept by its own name"
    );
}
