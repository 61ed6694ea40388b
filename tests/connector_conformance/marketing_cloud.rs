//! Marketing Cloud: where subscribers stand, and setting them active (R47).

use consentd::config::{self, Checked, Disk};
use consentd::connector::gate::Activation;
use consentd::connector::gate::{Gate, Standing, SubscriberStatus};
use consentd::connector::read_only::ReadOnlyGate;
use consentd::connector::{FaultClass, registry};
use consentd_sandbox::marketing_cloud::{
    BOULDER, DENVER, ENTERPRISE, Enterprise, Mid, SYSTEM, Settings, Status, UnsubscribeBehavior,
};
use consentd_sandbox::{CallKind, Fault, Options, Rule, Sandbox};
use std::sync::Arc;
use std::time::Duration;

const ANN: &str = "0035e00000AbCdEAAV";
const BEN: &str = "0035e00000BbCdEAAV";
const CLO: &str = "0035e00000CbCdEAAV";
/// Nobody's key.
const NOBODY: &str = "0035e00000ZzZzZAAU";

/// An account, and a gate to it.
struct Mc {
    sandbox: Sandbox,
    gate: Arc<dyn Gate>,
}

impl Mc {
    async fn new() -> Self {
        Self::with("", |_| {}).await
    }

    /// With these lines in its table, and an account that is so set up.
    async fn with(lines: &str, account: impl FnOnce(&mut Settings)) -> Self {
        let sandbox = Sandbox::start(Options {
            contacts: 0,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        sandbox.marketing_cloud().change_settings(account);
        let gate = gate(&sandbox, lines);
        let mc = Self { sandbox, gate };
        for (key, address) in [
            (ANN, "ann@example.org"),
            (BEN, "ben@example.org"),
            (CLO, "clo@example.org"),
        ] {
            mc.cloud()
                .add_subscriber(key, address, &[BOULDER, DENVER])
                .unwrap();
        }
        mc
    }

    fn cloud(&self) -> &Enterprise {
        self.sandbox.marketing_cloud()
    }

    fn set(&self, key: &str, unit: Mid, status: Status) {
        self.cloud().set_status(key, Some(unit), status).unwrap();
    }

    fn fault(&self, rule: impl Into<Rule>) {
        self.cloud().clear_faults(None);
        self.cloud().set_fault(rule).unwrap();
    }

    /// A gate that remembers nothing.
    fn restart(&mut self, lines: &str) {
        self.gate = gate(&self.sandbox, lines);
    }

    async fn standings(&self, asked: &[&str]) -> Vec<String> {
        told(&self.gate.standings(&keys(asked)).await.unwrap())
    }

    /// The outcomes as words.
    async fn activate(&self, unit: Mid, asked: &[&str]) -> Vec<String> {
        let outcomes = self.gate.activate(&unit.to_string(), &keys(asked)).await;
        outcomes.unwrap().iter().map(word).collect()
    }

    fn calls(&self, kind: CallKind) -> u64 {
        self.cloud().calls().of(kind)
    }
}

fn word(outcome: &Activation) -> String {
    match outcome {
        Activation::Active => "applied".to_owned(),
        Activation::Unknown(fault) => format!("unknown {}", fault.code),
        Activation::Failed(fault) => format!("failed {} {}", fault.class.word(), fault.code),
    }
}

fn keys(asked: &[&str]) -> Vec<String> {
    asked.iter().map(|key| (*key).to_owned()).collect()
}

/// `ann parent active`, with names in place of keys and numbers.
fn told(found: &[Standing]) -> Vec<String> {
    let unit = |id: &str| match id.parse::<Mid>().unwrap() {
        ENTERPRISE => "parent",
        BOULDER => "boulder",
        DENVER => "denver",
        SYSTEM => "system",
        _ => "?",
    };
    let who = |key: &str| match key {
        ANN => "ann".to_owned(),
        BEN => "ben".to_owned(),
        CLO => "clo".to_owned(),
        other => other.to_owned(),
    };
    found
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                who(&one.key),
                unit(&one.unit),
                one.status.word()
            )
        })
        .collect()
}

fn checked(sandbox: &Sandbox, lines: &str) -> Checked {
    let url = sandbox.marketing_cloud().url();
    let text = format!(
        r#"
        [store]
        url = "sqlite:///tmp/none.db"
        [[purposes]]
        name = "marketing"
        [systems.salesforce]
        kind = "salesforce"
        [systems.salesforce.auth]
        grant = "client-credentials"
        login_url = "http://127.0.0.1:9"
        client_id = "one"
        [marketing_cloud]
        auth_url = "{url}"
        account = "{ENTERPRISE}"
        time_zone = "America/Denver"
        request_timeout_secs = 2
        max_body_mib = 1
        max_calls_per_sec = 1000
        {lines}
        [[marketing_cloud.units]]
        id = "{BOULDER}"
        name = "Boulder"
        [[marketing_cloud.units]]
        id = "{DENVER}"
        name = "Denver"
        "#
    );
    let known = &sandbox.credentials().marketing_cloud;
    let mut environment = vec![
        (
            "CONSENTD__IDENTITY__HASH_KEY",
            "8c1f4a0d97b35e2266f0a1c4d3e8b7590a1b2c3d4e5f60718293a4b5c6d7e8f9",
        ),
        ("CONSENTD__SYSTEMS__SALESFORCE__AUTH__CLIENT_SECRET", "word"),
    ];
    if !lines.contains("client_id") {
        environment.push(("CONSENTD__MARKETING_CLOUD__CLIENT_ID", &known.client_id));
    }
    environment.push((
        "CONSENTD__MARKETING_CLOUD__CLIENT_SECRET",
        &known.client_secret,
    ));
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    config::check(&text, environment, &Disk::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn gate(sandbox: &Sandbox, lines: &str) -> Arc<dyn Gate> {
    let checked = checked(sandbox, lines);
    registry::gate(&checked.marketing_cloud.unwrap().connector).unwrap()
}

fn calls(gate: &dyn Gate, kind: &str) -> u64 {
    let found = gate.calls().into_iter().find(|(name, _)| *name == kind);
    found.map_or(0, |(_, count)| count)
}

const PER_UNIT: &str = "read = \"per-unit\"";

#[tokio::test]
async fn c122_every_standing_is_told_by_key_and_unit() {
    for lines in ["", PER_UNIT] {
        let mc = Mc::with(lines, |_| {}).await;
        mc.set(ANN, BOULDER, Status::Held);
        mc.set(BEN, ENTERPRISE, Status::Bounced);
        mc.set(BEN, DENVER, Status::Unsubscribed);
        mc.cloud().delete(CLO, Some(BOULDER)).unwrap();
        mc.cloud()
            .add_subscriber(NOBODY, "x@example.org", &[SYSTEM])
            .unwrap();
        mc.cloud().delete(NOBODY, None).unwrap();
        assert_eq!(
            mc.standings(&[CLO, ANN, BEN, NOBODY, ANN]).await,
            [
                "ann parent active",
                "ann boulder held",
                "ann denver active",
                "ben parent bounced",
                "ben boulder active",
                "ben denver unsubscribed",
                "clo parent active",
                "clo denver active",
            ],
            "{lines:?}: the parent first, each once, and nobody who is not there"
        );
        let ids: Vec<_> = mc.gate.units().iter().map(|unit| unit.id.clone()).collect();
        assert_eq!(
            ids,
            [ENTERPRISE, BOULDER, DENVER].map(|mid| mid.to_string())
        );
    }
}

#[tokio::test]
async fn c122_units_that_are_not_configured_say_nothing() {
    let mc = Mc::new().await;
    mc.cloud()
        .add_subscriber(NOBODY, "zoe@example.org", &[SYSTEM])
        .unwrap();
    mc.set(NOBODY, SYSTEM, Status::Held);
    assert_eq!(
        mc.standings(&[NOBODY]).await,
        [format!("{NOBODY} parent active")]
    );
}

#[tokio::test]
async fn c122_a_key_is_told_as_it_was_asked_for() {
    let mc = Mc::new().await;
    let other = ANN.to_lowercase();
    let found = mc
        .gate
        .standings(std::slice::from_ref(&other))
        .await
        .unwrap();
    assert_eq!(found.len(), 3, "the account does not look at case");
    assert!(found.iter().all(|standing| standing.key == other));
}

#[tokio::test]
async fn c131_many_keys_cost_one_call_or_one_a_unit() {
    let mc = Mc::new().await;
    mc.standings(&[ANN, BEN, CLO]).await;
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 1);
    assert_eq!(mc.calls(CallKind::Token), 1);
    mc.standings(&[ANN]).await;
    assert_eq!(mc.calls(CallKind::Token), 1, "the token is kept");
    assert_eq!(calls(&*mc.gate, "subscribers"), 2, "c81: calls are told");
    assert_eq!(calls(&*mc.gate, "login"), 1);
    let mc = Mc::with(PER_UNIT, |_| {}).await;
    mc.standings(&[ANN, BEN, CLO]).await;
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 3);
    assert_eq!(
        mc.calls(CallKind::Token),
        3,
        "c121: each unit has a token of its own"
    );
    let none = mc.gate.standings(&[]).await.unwrap();
    assert!(none.is_empty());
    assert_eq!(
        mc.calls(CallKind::SoapRetrieve),
        3,
        "nothing asked, nothing called"
    );
}

#[tokio::test]
async fn c123_the_parent_is_asked_for_itself_while_it_is_not_in_the_answer() {
    let mc = Mc::with("", |account| account.query_all_includes_enterprise = false).await;
    mc.set(ANN, ENTERPRISE, Status::Held);
    assert_eq!(
        mc.standings(&[ANN]).await,
        ["ann parent held", "ann boulder active", "ann denver active"]
    );
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 2);
    mc.cloud()
        .add_subscriber(NOBODY, "zoe@example.org", &[])
        .unwrap();
    mc.set(NOBODY, ENTERPRISE, Status::Unsubscribed);
    assert_eq!(
        mc.standings(&[NOBODY]).await,
        [format!("{NOBODY} parent unsubscribed")],
        "also whom no unit knows"
    );
}

#[tokio::test]
async fn c123_when_a_unit_cannot_be_asked_the_whole_fails() {
    let mc = Mc::with(PER_UNIT, |_| {}).await;
    mc.fault(Rule::from(Fault::NotPermitted).after(2).times(1));
    let fault = mc.gate.standings(&keys(&[ANN])).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Auth, "{fault}");
    assert_eq!(
        mc.standings(&[ANN]).await.len(),
        3,
        "and the next time all is well"
    );
}

#[tokio::test]
async fn c124_pages_are_followed_to_their_end() {
    for (lines, pages) in [("", 9), (PER_UNIT, 9)] {
        let mc = Mc::with(lines, |account| account.page_rows = 1).await;
        assert_eq!(mc.standings(&[ANN, BEN, CLO]).await.len(), 9);
        assert_eq!(mc.calls(CallKind::SoapRetrieve), pages, "{lines:?}");
    }
    let mc = Mc::new().await;
    mc.fault(Fault::ShortPages { rows: 2 });
    assert_eq!(mc.standings(&[ANN, BEN, CLO]).await.len(), 9, "short pages");
}

#[tokio::test]
async fn c124_pages_that_lead_nowhere_break_the_contract() {
    let mc = Mc::with("", |account| account.page_rows = 2).await;
    mc.fault(Fault::LoopingPages);
    let fault = mc.gate.standings(&keys(&[ANN, BEN])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::ContractBroken, "loop")
    );
    assert!(
        mc.calls(CallKind::SoapRetrieve) < 10,
        "and few were asked for"
    );
}

#[tokio::test]
async fn c124_a_rest_that_is_lost_is_asked_for_anew_once() {
    let mc = Mc::with("", |account| account.page_rows = 2).await;
    mc.fault(Rule::from(Fault::CursorExpiry).times(1));
    assert_eq!(mc.standings(&[ANN, BEN]).await.len(), 6);
    mc.fault(Fault::CursorExpiry);
    mc.cloud().reset_calls();
    let fault = mc.gate.standings(&keys(&[ANN, BEN])).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Retryable, "{fault}");
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 4, "two pages, twice");
    assert!(!fault.maybe_sent, "a read changes nothing");
}

#[tokio::test]
async fn c121_a_token_that_ends_in_between_is_renewed_once() {
    let mc = Mc::with("", |account| account.page_rows = 2).await;
    mc.standings(&[ANN]).await;
    assert_eq!(mc.calls(CallKind::Token), 1);
    mc.cloud().set_fault(Fault::RevokeTokens).unwrap();
    mc.cloud().reset_calls();
    assert_eq!(mc.standings(&[ANN, BEN]).await.len(), 6);
    let seen = mc.cloud().calls();
    assert_eq!((seen.expired, seen.tokens), (1, 1), "between two batches");
    mc.cloud().reset_calls();
    mc.fault(Rule::from(Fault::SessionInvalid).after(1).times(1));
    assert_eq!(mc.standings(&[ANN, BEN]).await.len(), 6);
    assert_eq!(mc.cloud().calls().tokens, 1, "between two pages");
    mc.set(ANN, BOULDER, Status::Held);
    mc.fault(
        Rule::from(Fault::SessionInvalid)
            .times(1)
            .calls(&[CallKind::SoapUpdate]),
    );
    assert_eq!(
        mc.activate(BOULDER, &[ANN]).await,
        ["applied"],
        "in a write"
    );
}

#[tokio::test]
async fn c121_a_token_that_is_refused_again_does_not_loop() {
    let mc = Mc::new().await;
    mc.fault(Fault::SessionInvalid);
    let fault = mc.gate.standings(&keys(&[ANN])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "token-expired")
    );
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 2);
    assert_eq!(mc.calls(CallKind::Token), 2);
}

#[tokio::test]
async fn c121_a_short_life_costs_a_login_a_batch_and_no_more() {
    let mc = Mc::with("", |account| account.token_secs = 1).await;
    for _ in 0..3 {
        mc.sandbox.clock().advance(2);
        assert_eq!(mc.standings(&[ANN]).await.len(), 3);
    }
    assert!(
        mc.calls(CallKind::Token) <= 6,
        "{}",
        mc.calls(CallKind::Token)
    );
}

#[tokio::test]
async fn c121_all_tasks_share_one_login() {
    let mc = Mc::new().await;
    let asked = keys(&[ANN]);
    let tasks = (0..8).map(|_| mc.gate.standings(&asked));
    for found in futures::future::join_all(tasks).await {
        assert_eq!(found.unwrap().len(), 3);
    }
    assert_eq!(mc.calls(CallKind::Token), 1);
}

#[tokio::test]
async fn c125_an_opt_out_is_told_with_its_time() {
    for (sentence, zone, secs) in [
        ("a time without a zone is UTC-6", false, -6 * 3_600),
        ("a time with a zone counts as it is", true, 3_600),
    ] {
        let mc = Mc::with("", |account| {
            account.times_with_zone = zone;
            account.utc_offset_secs = secs;
        })
        .await;
        mc.cloud().unsubscribe(ANN, DENVER, false).unwrap();
        let now = consentd::consent::At::from(mc.cloud().now());
        let found = mc.gate.standings(&keys(&[ANN])).await.unwrap();
        let red = found
            .iter()
            .find(|standing| standing.status == SubscriberStatus::Unsubscribed)
            .unwrap();
        let apart = now.since(red.unsubscribed_at.unwrap()).abs();
        assert!(apart < 60_000_000, "{sentence}: {apart}");
        let others = found.iter().filter(|standing| standing.unit != red.unit);
        assert!(
            others
                .into_iter()
                .all(|standing| standing.unsubscribed_at.is_none()),
            "{sentence}: only there"
        );
    }
}

#[tokio::test]
async fn c125_the_configured_offset_reads_times_without_a_zone() {
    let mc = Mc::with("utc_offset = \"+02:00\"", |account| {
        account.utc_offset_secs = 2 * 3_600;
    })
    .await;
    mc.cloud().unsubscribe(ANN, DENVER, false).unwrap();
    let now = consentd::consent::At::from(mc.cloud().now());
    let found = mc.gate.standings(&keys(&[ANN])).await.unwrap();
    let at = found.iter().find_map(|standing| standing.unsubscribed_at);
    assert!(now.since(at.unwrap()).abs() < 60_000_000);
}

#[tokio::test]
async fn c125_an_account_that_hides_the_time_still_tells_the_status() {
    let hidden = [
        "Subscriber.UnsubscribedDate",
        "BusinessUnit.MasterUnsubscribeBehavior",
    ];
    let mc = Mc::with("", |account| {
        account.hidden_properties = hidden.map(str::to_owned).into();
    })
    .await;
    mc.cloud().unsubscribe(ANN, DENVER, false).unwrap();
    let found = mc.gate.standings(&keys(&[ANN])).await.unwrap();
    assert_eq!(
        told(&found),
        [
            "ann parent active",
            "ann boulder active",
            "ann denver unsubscribed"
        ]
    );
    assert!(
        found
            .iter()
            .all(|standing| standing.unsubscribed_at.is_none())
    );
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 2);
    mc.standings(&[ANN]).await;
    assert_eq!(mc.calls(CallKind::SoapRetrieve), 3, "which is remembered");
    let probe = mc.gate.probe().await.unwrap();
    assert!(probe.missing.is_empty(), "{:?}", probe.missing);
    assert!(probe.notes[0].contains("is not shown"), "{:?}", probe.notes);
}

#[tokio::test]
async fn c126_activating_sets_one_status_of_one_unit() {
    for lines in ["", PER_UNIT] {
        let mc = Mc::with(lines, |_| {}).await;
        for unit in [ENTERPRISE, BOULDER, DENVER] {
            mc.set(ANN, unit, Status::Held);
        }
        let unit = |mid| mc.cloud().status(ANN, mid);
        assert_eq!(mc.activate(DENVER, &[ANN]).await, ["applied"], "{lines:?}");
        assert_eq!(unit(DENVER), Some(Status::Active));
        assert_eq!(
            unit(BOULDER),
            Some(Status::Held),
            "{lines:?}: no other unit"
        );
        assert_eq!(
            unit(ENTERPRISE),
            Some(Status::Held),
            "{lines:?}: not the parent"
        );
        assert_eq!(
            mc.activate(ENTERPRISE, &[ANN]).await,
            ["applied"],
            "{lines:?}"
        );
        assert_eq!(unit(ENTERPRISE), Some(Status::Active));
        assert_eq!(
            unit(BOULDER),
            Some(Status::Held),
            "{lines:?}: activating reaches no further"
        );
        let addresses = mc.cloud().subscriber(ANN).unwrap().address;
        assert_eq!(
            addresses, "ann@example.org",
            "{lines:?}: nothing but the status"
        );
    }
}

#[tokio::test]
async fn c126_nobody_is_created() {
    let mc = Mc::new().await;
    let before = mc.cloud().subscriber_count();
    assert_eq!(
        mc.activate(ENTERPRISE, &[NOBODY]).await,
        ["failed rejected 12001"]
    );
    assert_eq!(mc.cloud().subscriber_count(), before);
}

#[tokio::test]
async fn c127_each_key_has_its_own_outcome_in_order() {
    let mc = Mc::new().await;
    for key in [ANN, BEN, CLO] {
        mc.set(key, BOULDER, Status::Held);
    }
    let outcomes = mc.activate(BOULDER, &[BEN, NOBODY, "", ANN, BEN]).await;
    assert_eq!(
        outcomes,
        [
            "applied",
            "failed rejected 12001",
            "failed rejected bad-key",
            "applied",
            "applied"
        ]
    );
    assert_eq!(mc.cloud().calls().rows_updated, 2, "each is sent once");
    assert_eq!(mc.calls(CallKind::SoapUpdate), 1, "c131: in one call");
    mc.fault(Fault::UpdateRefused {
        every: 2,
        code: 2,
        message: None,
    });
    let outcomes = mc.activate(BOULDER, &[ANN, BEN]).await;
    assert!(outcomes.contains(&"applied".to_owned()), "{outcomes:?}");
    assert!(
        outcomes.contains(&"failed retryable 2".to_owned()),
        "an exception may pass: {outcomes:?}"
    );
}

#[tokio::test]
async fn c127_every_code_of_an_object_has_its_class() {
    use FaultClass::{Rejected, Retryable};
    let mc = Mc::new().await;
    for (code, class) in [
        (2, Retryable),
        (3, Rejected),
        (9, Retryable),
        (77, Retryable),
        (12_000, Rejected),
        (12_001, Rejected),
        (12_003, Rejected),
        (12_014, Rejected),
        (12_099, Rejected),
    ] {
        mc.fault(Fault::UpdateRefused {
            every: 1,
            code,
            message: Some("words".to_owned()),
        });
        assert_eq!(
            mc.activate(BOULDER, &[ANN]).await,
            [format!("failed {} {code}", class.word())]
        );
    }
}

#[tokio::test]
async fn c128_the_parent_first_and_then_the_units() {
    let mc = Mc::new().await;
    // Boulder follows the enterprise, Denver stands for itself.
    mc.cloud().unsubscribe(ANN, BOULDER, false).unwrap();
    assert_eq!(
        mc.cloud().status(ANN, ENTERPRISE),
        Some(Status::Unsubscribed)
    );
    assert_eq!(
        mc.activate(BOULDER, &[ANN]).await,
        ["failed rejected no-effect"],
        "the parent's opt-out counts in the unit"
    );
    assert!(!mc.cloud().mailable(ANN, BOULDER));
    assert_eq!(mc.activate(ENTERPRISE, &[ANN]).await, ["applied"]);
    assert_eq!(mc.activate(BOULDER, &[ANN]).await, ["applied"]);
    assert!(mc.cloud().mailable(ANN, BOULDER));
}

#[tokio::test]
async fn c128_a_unit_that_stands_for_itself_needs_no_parent() {
    for lines in ["", PER_UNIT] {
        let mc = Mc::with(lines, |_| {}).await;
        mc.cloud().unsubscribe(ANN, BOULDER, false).unwrap();
        mc.cloud().unsubscribe(ANN, DENVER, false).unwrap();
        assert_eq!(mc.activate(DENVER, &[ANN]).await, ["applied"], "{lines:?}");
        assert!(mc.cloud().mailable(ANN, DENVER));
        mc.cloud()
            .set_behavior(DENVER, UnsubscribeBehavior::EntireEnterprise)
            .unwrap();
        assert_eq!(
            mc.activate(DENVER, &[ANN]).await,
            ["failed rejected no-effect"],
            "{lines:?}: the setting is asked for each time"
        );
    }
}

#[tokio::test]
async fn c128_a_write_that_does_not_show_has_no_effect() {
    let mc = Mc::with("", |account| account.enterprise_shows_in_units = true).await;
    mc.cloud().unsubscribe(ANN, BOULDER, false).unwrap();
    mc.set(BEN, BOULDER, Status::Held);
    assert_eq!(
        mc.activate(BOULDER, &[ANN, BEN]).await,
        ["failed rejected no-effect", "applied"],
        "the unit shows what the parent says"
    );
}

#[tokio::test]
async fn c128_a_look_that_fails_leaves_the_outcome_open() {
    let mc = Mc::new().await;
    mc.set(ANN, BOULDER, Status::Held);
    mc.fault(Rule::from(Fault::Unavailable { retry_after: None }).calls(&[CallKind::SoapRetrieve]));
    assert_eq!(
        mc.activate(BOULDER, &[ANN, NOBODY]).await,
        ["unknown http-503", "failed rejected 12001"]
    );
}

#[tokio::test]
async fn c127_what_may_have_been_sent_is_told_from_what_was_not() {
    let update = [CallKind::SoapUpdate];
    for (sentence, fault, expected) in [
        ("the connection was cut", Fault::CutAfter, Ok("unknown")),
        ("nothing came", Fault::Stall { seconds: 4 }, Ok("unknown")),
        ("half an answer", Fault::TruncatedBody, Ok("unknown")),
        ("a page", Fault::HtmlSuccess, Ok("unknown")),
        ("too large", Fault::GzipBomb { megabytes: 4 }, Ok("unknown")),
        (
            "an outage after it was done",
            Fault::SystemException { processed: true },
            Ok("unknown"),
        ),
        (
            "an outage",
            Fault::SystemException { processed: false },
            Ok("unknown"),
        ),
        ("no rights", Fault::NotPermitted, Err(FaultClass::Auth)),
        ("no login", Fault::LoginFailed, Err(FaultClass::Auth)),
        (
            "throttled",
            Fault::TooManyRequests { retry_after: None },
            Err(FaultClass::RateLimited),
        ),
        (
            "refused as a whole",
            Fault::OverallError {
                message: "no".to_owned(),
            },
            Ok("failed"),
        ),
    ] {
        let mc = Mc::new().await;
        mc.set(ANN, BOULDER, Status::Held);
        mc.fault(Rule::from(fault).calls(&update));
        let found = mc
            .gate
            .activate(&BOULDER.to_string(), &keys(&[ANN, BEN]))
            .await;
        match (found, expected) {
            (Ok(outcomes), Ok(start)) => {
                let words: Vec<_> = outcomes.iter().map(word).collect();
                assert_eq!(words.len(), 2, "{sentence}");
                assert!(
                    words.iter().all(|word| word.starts_with(start)),
                    "{sentence}: {words:?}"
                );
            }
            (Err(fault), Err(class)) => {
                assert_eq!(fault.class, class, "{sentence}: {fault}");
                assert_eq!(
                    mc.cloud().status(ANN, BOULDER),
                    Some(Status::Held),
                    "{sentence}: c45: nothing was done"
                );
            }
            (found, _) => panic!("{sentence}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn c80_a_dry_run_reads_and_activates_nobody() {
    let mc = Mc::new().await;
    mc.set(ANN, BOULDER, Status::Held);
    let dry = ReadOnlyGate::new(Arc::clone(&mc.gate));
    let found = dry.standings(&keys(&[ANN])).await.unwrap();
    assert_eq!(told(&found)[1], "ann boulder held");
    assert_eq!(dry.units(), mc.gate.units());
    let fault = dry
        .activate(&BOULDER.to_string(), &keys(&[ANN]))
        .await
        .unwrap_err();
    assert_eq!(fault.code, "read-only");
    assert_eq!(mc.calls(CallKind::SoapUpdate), 0);
}

#[tokio::test]
async fn c127_nothing_is_sent_without_a_login() {
    let mc = Mc::new().await;
    mc.fault(Fault::TokenEndpointDown);
    let fault = mc
        .gate
        .activate(&BOULDER.to_string(), &keys(&[ANN]))
        .await
        .unwrap_err();
    assert_eq!(fault.class, FaultClass::Retryable, "c74");
    assert!(!fault.maybe_sent);
    assert_eq!(mc.calls(CallKind::SoapUpdate), 0);
    mc.fault(Fault::TokenRefused {
        error: "invalid_client".to_owned(),
        description: String::new(),
    });
    let fault = mc.gate.standings(&keys(&[ANN])).await.unwrap_err();
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "invalid_client"),
        "c74"
    );
    let fault = mc.gate.activate("77", &keys(&[ANN])).await.unwrap_err();
    assert_eq!(fault.code, "unknown-unit");
}

#[tokio::test]
async fn c129_keys_are_data_and_nothing_else() {
    let mc = Mc::new().await;
    let odd = "o'<brien>&\"</Value>";
    mc.cloud()
        .add_subscriber(odd, "o@example.org", &[BOULDER])
        .unwrap();
    mc.set(odd, BOULDER, Status::Held);
    let found = mc.gate.standings(&keys(&[odd, ANN])).await.unwrap();
    assert_eq!(found.iter().filter(|one| one.key == odd).count(), 2);
    assert_eq!(mc.activate(BOULDER, &[odd]).await, ["applied"]);
    mc.cloud().reset_calls();
    let long = "k".repeat(300);
    let found = mc
        .gate
        .standings(&keys(&["", "a\nb", &long]))
        .await
        .unwrap();
    assert!(found.is_empty());
    assert_eq!(
        mc.calls(CallKind::SoapRetrieve),
        0,
        "what nobody can have is not asked for"
    );
    let many: Vec<String> = (0..=mc.gate.keys_at_once())
        .map(|n| format!("k{n}"))
        .collect();
    let fault = mc.gate.standings(&many).await.unwrap_err();
    assert_eq!(fault.code, "too-many-keys");
}

#[tokio::test]
async fn c70_every_trouble_of_a_read_has_its_class() {
    use FaultClass::{Auth, ContractBroken, RateLimited, Rejected, Retryable};
    for (sentence, fault, class, code) in [
        ("no login", Fault::LoginFailed, Auth, "soap-security"),
        ("no rights", Fault::NotPermitted, Auth, "soap-client"),
        (
            "an outage",
            Fault::SystemException { processed: false },
            Retryable,
            "2",
        ),
        (
            "an error",
            Fault::OverallError {
                message: "Object reference not set".to_owned(),
            },
            Rejected,
            "overall-status",
        ),
        (
            "an error that passes",
            Fault::OverallError {
                message: "Timeout expired".to_owned(),
            },
            Retryable,
            "overall-status",
        ),
        (
            "an error about rights",
            Fault::OverallError {
                message: "API Permission Failed".to_owned(),
            },
            Auth,
            "overall-status",
        ),
        (
            "throttled",
            Fault::TooManyRequests { retry_after: None },
            RateLimited,
            "http-429",
        ),
        (
            "down",
            Fault::Unavailable { retry_after: None },
            Retryable,
            "http-503",
        ),
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
            "a bomb",
            Fault::GzipBomb { megabytes: 4 },
            ContractBroken,
            "too-large",
        ),
        (
            "a redirect",
            Fault::Redirect {
                url: "http://127.0.0.1:9/".to_owned(),
            },
            ContractBroken,
            "redirect",
        ),
        ("nothing", Fault::Stall { seconds: 4 }, Retryable, "timeout"),
    ] {
        let mc = Mc::new().await;
        mc.fault(fault);
        let fault = mc.gate.standings(&keys(&[ANN])).await.unwrap_err();
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (class, code),
            "{sentence}: {fault}"
        );
        assert!(!fault.maybe_sent, "{sentence}: a read changes nothing");
        assert!(
            !fault.message.contains("http://"),
            "{sentence}: c83: {fault}"
        );
        mc.cloud().clear_faults(None);
        assert_eq!(
            mc.standings(&[ANN]).await.len(),
            3,
            "{sentence}: and then all is well"
        );
    }
}

#[tokio::test]
async fn c71_a_pause_that_is_asked_for_is_passed_on() {
    let mc = Mc::new().await;
    mc.fault(Fault::TooManyRequests {
        retry_after: Some("40".to_owned()),
    });
    let fault = mc.gate.standings(&keys(&[ANN])).await.unwrap_err();
    assert_eq!(fault.retry_after, Some(Duration::from_secs(40)));
}

#[tokio::test]
async fn c120_a_probe_tells_units_and_how_far_opt_outs_reach() {
    for lines in ["", PER_UNIT] {
        let mc = Mc::with(lines, |_| {}).await;
        let probe = mc.gate.probe().await.unwrap();
        assert_eq!(probe.missing, [""; 0], "{lines:?}");
        let notes = probe.notes.join("\n");
        assert!(
            notes.contains(
                "(Boulder) is \"CU Boulder\": an opt-out there is one of the whole enterprise"
            ),
            "{notes}"
        );
        assert!(
            notes.contains("(Denver) is \"CU Denver\": an opt-out there is one of that unit alone"),
            "{notes}"
        );
        assert!(notes.contains("1 further business units"), "{notes}");
        assert_eq!(mc.calls(CallKind::SoapUpdate), 0, "c1: and writes nothing");
    }
}

#[tokio::test]
async fn c120_a_probe_names_what_is_missing() {
    let unit = "[[marketing_cloud.units]]\nid = \"77\"\nname = \"Gone\"\n";
    for lines in [unit.to_owned(), format!("{PER_UNIT}\n{unit}")] {
        let mc = Mc::with(&lines, |_| {}).await;
        let probe = mc.gate.probe().await.unwrap();
        let missing = probe.missing.join("\n");
        assert!(
            missing.contains("business unit 77 (Gone): the account has no such unit"),
            "{missing}"
        );
        assert!(missing.contains("[[marketing_cloud.units]]"), "{missing}");
    }
    for (sentence, scopes, expected) in [
        (
            "no subscribers",
            vec!["accounts_read"],
            "the permission list_and_subscribers_read",
        ),
        (
            "no accounts",
            vec!["list_and_subscribers_read"],
            "the permission accounts_read",
        ),
    ] {
        let mc = Mc::with("", |account| {
            account.scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        })
        .await;
        let probe = mc.gate.probe().await.unwrap();
        let missing = probe.missing.join("\n");
        assert!(missing.contains(expected), "{sentence}: {missing}");
        assert!(
            !missing.contains("list_and_subscribers_write:"),
            "{sentence}: not needed"
        );
    }
    let writes = "auto_resubscribe = true\nauto_resubscribe_dry_run = false\n";
    let reads = ["accounts_read", "list_and_subscribers_read"];
    let mc = Mc::with(writes, |account| {
        account.scopes = reads.map(str::to_owned).into();
    })
    .await;
    let probe = mc.gate.probe().await.unwrap();
    assert_eq!(probe.missing.len(), 1, "{:?}", probe.missing);
    assert!(probe.missing[0].contains("list_and_subscribers_write"));
}

#[tokio::test]
async fn c120_a_probe_that_cannot_log_in_says_so() {
    let mut mc = Mc::new().await;
    mc.restart("client_id = \"somebody\"");
    let fault = mc.gate.probe().await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Auth);
    assert!(fault.message.contains("check client_id"), "{fault}");
}
