//! The example configurations are accepted, mean what their comments say, and keep apart what they
//! say is apart.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::America::Denver;
use consentd::config::{Checked, Role, Schedule, SecretFile, SecretReader, SystemKind, check};
use consentd::consent::{PurposeId, Shown, Status};
use consentd::runtime::clock::Clock;
use fake::{Fake, Keeps};
use hub::Hub;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const HUB: &str = include_str!("../config/hub.example.toml");
const UNIVERSITY: &str = include_str!("../config/university.example.toml");
const TWO_PAIRS: &str = include_str!("../config/two-pairs.example.toml");
const SYSTEMS: [&str; 4] = ["salesforce", "ascend", "emarketeer", "superoffice"];

/// A key made for this run alone.
static PEM: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let body = BASE64.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
});

/// Every secret that an example names, in a file that only the daemon can read.
struct Secrets;

impl SecretReader for Secrets {
    fn read(&self, path: &Path) -> io::Result<SecretFile> {
        assert!(
            path.starts_with("/etc/consentd/secrets"),
            "{}",
            path.display()
        );
        let content = match path.extension() {
            Some(_) => PEM.clone(),
            None => format!("{} of this test, long enough", path.display()).replace(' ', "-"),
        };
        Ok(SecretFile {
            bytes: content.into_bytes().into(),
            mode: 0o400,
            credential: false,
        })
    }
}

fn accepted(text: &str) -> Checked {
    check(text, [], &Secrets).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The names of the purposes that a system carries.
fn carried(checked: &Checked, system: &str) -> Vec<String> {
    let carries = &checked.system(system).unwrap().carries;
    let names = carries
        .iter()
        .map(|(purpose, _)| checked.purposes.get(*purpose).unwrap().name.clone());
    names.collect()
}

#[test]
fn the_hub_shares_marketing_among_all_and_store_between_two() {
    let checked = accepted(HUB);
    assert_eq!(
        carried(&checked, "salesforce"),
        ["marketing", "marketing.alumni-news", "marketing.events"]
    );
    assert_eq!(carried(&checked, "ascend"), ["marketing"]);
    assert_eq!(carried(&checked, "emarketeer"), ["marketing", "store"]);
    assert_eq!(carried(&checked, "superoffice"), ["marketing", "store"]);
    let tokens = &checked.server.tokens;
    assert_eq!((tokens.len(), tokens[0].role), (1, Role::Sender));
    assert!(checked.systems.iter().all(|system| system.enabled));
}

#[test]
fn the_two_pairs_share_no_purpose() {
    let checked = accepted(TWO_PAIRS);
    let pairs = [["salesforce", "ascend"], ["emarketeer", "superoffice"]]
        .map(|pair| pair.map(|system| carried(&checked, system)));
    assert_eq!(
        pairs[0][0],
        ["marketing", "marketing.alumni-news", "marketing.events"]
    );
    assert_eq!(pairs[0][1], ["marketing"]);
    assert_eq!(pairs[1], [["newsletter", "store"], ["newsletter", "store"]]);
}

#[test]
fn the_university_has_nightly_files_a_gate_and_somebody_to_tell() {
    let checked = accepted(UNIVERSITY);
    assert_eq!(carried(&checked, "ascend"), ["marketing"]);
    let ascend = checked.system("ascend").unwrap();
    assert!(matches!(ascend.kind, SystemKind::AscendFile(_)));
    assert!(matches!(ascend.schedule, Schedule::Cron { time_zone, .. } if time_zone == Denver));
    assert!(
        ascend.max_lag > Duration::from_hours(24),
        "an extract is a night old: {:?}",
        ascend.max_lag
    );
    let gate = checked.gate().unwrap();
    assert_eq!(checked.purposes.name(gate.purpose), "marketing");
    assert!(gate.sheet.is_some() && !gate.auto_resubscribe);
    assert!(checked.alarms.mail.is_some());
}

#[test]
fn what_emarketeer_calls_a_purpose_is_that_purpose() {
    for (text, purpose) in [(HUB, "marketing"), (TWO_PAIRS, "newsletter")] {
        let checked = accepted(text);
        let SystemKind::Emarketeer(settings) = &checked.system("emarketeer").unwrap().kind else {
            panic!("an emarketeer system");
        };
        let named = settings
            .purposes
            .iter()
            .find(|names| names.candidates == ["Marketing sendouts"]);
        assert_eq!(
            named.map(|names| names.purpose),
            checked.purposes.find(purpose),
            "{purpose}"
        );
    }
}

/// An engine by that example, on fakes that hold what the example's systems hold, with one person in
/// all four.
async fn engine(text: &str) -> (Hub, Checked) {
    // Some system has to be there to begin with; it is never read, and then no longer configured.
    let mut hub = Hub::start(&["crm"], "").await;
    let mut checked = accepted(text);
    checked.policy.grant_settle = Duration::ZERO;
    for system in &checked.systems {
        let keeps = match &system.kind {
            SystemKind::Salesforce(_) => Keeps::History,
            SystemKind::Ascend(_) | SystemKind::AscendFile(_) => Keeps::Modification,
            SystemKind::Emarketeer(_) | SystemKind::SuperOffice(_) => Keeps::Records,
        };
        let clock = Arc::clone(&hub.clock) as Arc<dyn Clock>;
        let fake = Fake::new(keeps, &system.carries, clock);
        hub.fakes.put(&system.name, fake);
    }
    hub.go_on(&checked).await;
    hub.fakes.person(&SYSTEMS, "ann");
    hub.settle().await;
    (hub, checked)
}

/// Whether a system shows that the person withdrew.
fn withdrew(hub: &Hub, system: &str, purpose: PurposeId) -> bool {
    match hub.fakes.get(system).shown("ann", purpose) {
        Shown::Record { status, .. } => status == Status::Withdrawn,
        Shown::Set => true,
        Shown::Default => false,
    }
}

const RECORD_OUT: Shown = Shown::Record {
    status: Status::Withdrawn,
    basis: None,
};

#[tokio::test]
async fn a_withdrawal_reaches_the_partner_and_never_the_other_pair() {
    let (hub, checked) = engine(TWO_PAIRS).await;
    let marketing = checked.purposes.find("marketing").unwrap();
    let newsletter = checked.purposes.find("newsletter").unwrap();
    let shown = || {
        [
            withdrew(&hub, "salesforce", marketing),
            withdrew(&hub, "ascend", marketing),
            withdrew(&hub, "emarketeer", newsletter),
            withdrew(&hub, "superoffice", newsletter),
        ]
    };
    assert_eq!(shown(), [false; 4], "nobody has said anything");
    hub.fakes
        .get("salesforce")
        .save("ann", marketing, &Shown::Set);
    hub.settle().await;
    assert_eq!(shown(), [true, true, false, false]);
    hub.fakes
        .get("salesforce")
        .save("ann", marketing, &Shown::Default);
    hub.fakes
        .get("superoffice")
        .save("ann", newsletter, &RECORD_OUT);
    hub.settle().await;
    assert_eq!(
        shown(),
        [false, false, true, true],
        "and the other way round"
    );
}

#[tokio::test]
async fn in_the_hub_a_withdrawal_reaches_all_four() {
    for (system, said) in [("ascend", Shown::Set), ("emarketeer", RECORD_OUT)] {
        let (hub, checked) = engine(HUB).await;
        let marketing = checked.purposes.find("marketing").unwrap();
        hub.fakes.get(system).save("ann", marketing, &said);
        hub.settle().await;
        let shown = SYSTEMS.map(|name| withdrew(&hub, name, marketing));
        assert_eq!(shown, [true; 4], "said in {system}");
    }
}
