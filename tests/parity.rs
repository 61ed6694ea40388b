//! How far the systems show the same: what the store believes, what they show, and where these differ.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
mod common;

use common::engine::{Rig, next_second, object};
use consentd::consent::{At, Rules, Status};
use consentd::runtime::clock::{Clock, System};
use consentd::store::FeedSwitch;
use consentd::sync::assemble::{connect, rules};
use consentd::sync::parity::daily::Daily;
use consentd::sync::parity::fresh::{Fresh, FreshError};
use consentd::sync::parity::{Class, Drift, Parity, compare, compare_fresh};
use consentd_sandbox::{Fault, RECORDS, SPECIALIST};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

async fn rules_of(rig: &Rig) -> Rules {
    rules(&rig.checked, &*rig.store).await.unwrap()
}

/// What the store knows.
async fn stored(rig: &Rig) -> Parity {
    let parked = std::collections::BTreeMap::new();
    compare(&*rig.store, &rules_of(rig).await, &parked, Rig::now())
        .await
        .unwrap()
}

/// What the systems show.
async fn asked(rig: &Rig) -> Parity {
    let fresh = read(rig).await.unwrap();
    let parked = std::collections::BTreeMap::new();
    let rules = rules_of(rig).await;
    compare_fresh(&*rig.store, &rules, &parked, &fresh, Rig::now())
        .await
        .unwrap()
}

async fn read(rig: &Rig) -> Result<Fresh, FreshError> {
    let stop = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(System);
    Fresh::read(&rig.checked, &*rig.store, &connect, clock, &stop).await
}

/// Runs the command beside the engine: exit status, and what it printed.
async fn command(rig: &Rig, arguments: &[&str]) -> (i32, String, String) {
    let config = rig.folder.path().join("consentd-sandbox.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentd"));
    command.arg("parity").arg("--config").arg(config);
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn rows(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_behind_the_daemons_back_is_drift_and_only_a_full_comparison_sees_it() {
    let rig = Rig::start(0).await;
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(|name| rig.person(name));
    rig.settle().await;
    let (code, table, said) = command(&rig, &["--full"]).await;
    assert_eq!(code, 0, "{table}{said}");
    assert!(table.contains("0 drifted"), "{table}");

    let (salesforce, ascend) = (rig.sandbox.salesforce(), rig.sandbox.ascend());
    Rig::opt(ascend, &ann.ascend, true, RECORDS);
    ascend.delete(&bob.ascend, RECORDS).unwrap();
    salesforce
        .edit(
            &cid.salesforce,
            &object(json!({ "Email_Events__c": false })),
            SPECIALIST,
        )
        .unwrap();
    let new = rig.person("new");
    Rig::until_visible().await;
    let (code, listed, _) = command(&rig, &["--output", "json"]).await;
    assert_eq!(
        (code, rows(&listed).len()),
        (0, 0),
        "the store knows nothing"
    );
    let (code, listed, said) = command(&rig, &["--full", "--output", "json"]).await;
    assert_eq!(code, 2, "{said}");
    let found: Vec<_> = rows(&listed)
        .iter()
        .map(|row| {
            let word = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            ["system", "contact", "purpose", "what", "found", "stored"].map(word)
        })
        .collect();
    let unknown = "the store knows no such contact, or no usable address of it";
    let mut expected = vec![
        [
            "ascend",
            &ann.ascend,
            "marketing",
            "the value is another",
            "set",
            "not set",
        ],
        ["ascend", &bob.ascend, "-", "the contact is gone", "-", "-"],
        [
            "salesforce",
            &cid.salesforce,
            "marketing.events",
            "the value is another",
            "not set",
            "set",
        ],
        ["ascend", &new.ascend, "-", unknown, "not set", "-"],
        ["salesforce", &new.salesforce, "-", unknown, "not set", "-"],
    ];
    let mut found: Vec<_> = found
        .iter()
        .map(|row| row.each_ref().map(String::as_str))
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);

    let (code, listed, _) = command(&rig, &["--full", "--pairs", "--output", "json"]).await;
    assert_eq!(code, 2);
    let pairs = rows(&listed);
    assert_eq!(pairs.len(), 1, "{listed}");
    assert_eq!(
        (
            &pairs[0]["a_contact"],
            &pairs[0]["a_shown"],
            &pairs[0]["b_shown"]
        ),
        (&json!(ann.ascend), &json!("set"), &json!("not set"))
    );
    assert!(!listed.contains('@'), "{listed}");
    rig.settle().await;
    assert_eq!(asked(&rig).await.drift, [], "it has been read since");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_systems_at_rest_show_what_the_store_believes() {
    let rig = Rig::start_hub(60).await;
    rig.settle().await;
    let parity = asked(&rig).await;
    assert_eq!((parity.drift.as_slice(), parity.moved), ([].as_slice(), 0));
    let known = stored(&rig).await;
    assert_eq!(parity.tallies, known.tallies);
    assert_eq!(parity.pairs, known.pairs);
    assert_eq!(parity.unmatched, known.unmatched);
    let pair = |a: &str, b: &str| {
        let key = (a.to_owned(), b.to_owned(), "marketing".to_owned());
        parity.pairs.get(&key).copied().unwrap_or_default()
    };
    assert!(pair("ascend", "salesforce").equal > 20);
    assert!(pair("emarketeer", "superoffice").equal > 0);
}

async fn a_write_under_way_is_no_drift(rig: Rig) {
    let ann = rig.person("ann");
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, SPECIALIST);
    Rig::until_visible().await;
    rig.poll().await;
    // The daemon has decided and not written yet; somebody else has by now.
    Rig::opt(rig.sandbox.ascend(), &ann.ascend, true, RECORDS);
    let parity = asked(&rig).await;
    assert_eq!(parity.drift, []);
    assert_eq!(parity.under_way, 1);
    let known = stored(&rig).await;
    let [difference] = known.pair_differences.as_slice() else {
        panic!("{known:#?}");
    };
    assert_eq!(difference.one.system, "ascend");
    assert_eq!(
        (difference.one.shown, difference.other.shown),
        ("not set", "set")
    );
    assert!(difference.other.stamp.is_some() && difference.one.stamp.is_none());
    assert_eq!(difference.verdict.map(Status::word), Some("withdrawn"));
    assert_eq!(difference.reason, "ascend: waiting to be written");
    assert_eq!(known.pairs_different(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_is_no_drift_on_sqlite() {
    a_write_under_way_is_no_drift(Rig::start(0).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_under_way_is_no_drift_on_postgres() {
    a_write_under_way_is_no_drift(Rig::start_on_postgres(0).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_changed_unseen_is_drift() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    let moved = object(json!({ "Email": "other@rig.example", "Ascend_ID__c": null }));
    rig.sandbox
        .salesforce()
        .edit(&ann.salesforce, &moved, SPECIALIST)
        .unwrap();
    let parity = asked(&rig).await;
    let whats: Vec<_> = parity
        .drift
        .iter()
        .map(|drift: &Drift| drift.what)
        .collect();
    assert!(
        whats.contains(&"the contact has another address"),
        "{whats:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_cannot_be_asked_is_an_error_not_a_difference() {
    let rig = Rig::start(0).await;
    rig.person("ann");
    rig.settle().await;
    let id = rig.members[0].id.0;
    let name = &rig.members[0].name;
    let pause = FeedSwitch::Paused(Some("load".to_owned()));
    rig.store
        .set_feed_switch(id, pause, Rig::now())
        .await
        .unwrap();
    let (code, listed, said) = command(&rig, &["--full"]).await;
    assert_eq!((code, listed.as_str()), (1, ""), "{said}");
    assert!(said.contains(&format!("{name} is paused")), "{said}");
    let resume = FeedSwitch::Paused(None);
    rig.store
        .set_feed_switch(id, resume, Rig::now())
        .await
        .unwrap();
    rig.sandbox
        .ascend()
        .set_fault(Fault::UnavailableHtml)
        .unwrap();
    let (code, _, said) = command(&rig, &["--full"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("ascend cannot be read"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_contacts_at_odds_with_themselves_are_listed_with_what_is_done() {
    let rig = Rig::start(0).await;
    let salesforce = rig.sandbox.salesforce();
    let [ann, bob] = ["ann", "bob"].map(|name| rig.person(name));
    let both = json!({
        "LastName": "cid", "Email": "cid@rig.example", "HasOptedOutOfEmail": true, "Email_Events__c": true
    });
    let cid = salesforce
        .create("Contact", &object(both), SPECIALIST, None)
        .unwrap();
    rig.poll().await;
    let found = stored(&rig).await;
    let of = |found: &Parity, contact: &str| {
        let mut all = found.inconsistencies.iter();
        all.find(|one| one.contact == contact).cloned()
    };
    let ticked = of(&found, &cid).unwrap_or_else(|| panic!("{found:#?}"));
    assert!(matches!(
        ticked.class,
        Class::OptedOutTicked | Class::Reticked
    ));
    assert_eq!(ticked.parent, "marketing");
    assert!(ticked.decided.starts_with("reset: waiting"), "{ticked:?}");
    rig.settle().await;

    for pair in [&ann, &bob] {
        Rig::opt(salesforce, &pair.salesforce, true, SPECIALIST);
    }
    rig.settle().await;
    next_second().await;
    let tick = object(json!({ "Email_Events__c": true }));
    salesforce.edit(&ann.salesforce, &tick, SPECIALIST).unwrap();
    Rig::opt(salesforce, &bob.salesforce, false, SPECIALIST);
    Rig::until_visible().await;
    rig.poll().await;
    let found = stored(&rig).await;
    let reticked = of(&found, &ann.salesforce).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(reticked.class, Class::Reticked);
    assert_eq!(reticked.categories[0].0, "marketing.events");
    assert!(
        reticked.categories[0].1 > reticked.parent_stamp,
        "{reticked:?}"
    );
    assert!(
        reticked.decided.starts_with("reset: waiting"),
        "{reticked:?}"
    );
    let blank = of(&found, &bob.salesforce).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(blank.class, Class::Blank);
    assert!(
        blank.decided.contains("a person has to tick them"),
        "{blank:?}"
    );
    let (code, listed, _) = command(&rig, &["--inconsistent", "--output", "csv"]).await;
    assert_eq!(code, 2);
    assert!(
        listed.starts_with("inconsistency,system,contact,subject,"),
        "{listed}"
    );
    assert!(
        listed.contains(&ann.salesforce) && !listed.contains('@'),
        "{listed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_a_day_is_written_whole_for_the_daemon_alone() {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, SPECIALIST);
    Rig::until_visible().await;
    rig.poll().await;
    let folder = rig.folder.path().join("reports");
    std::fs::create_dir(&folder).unwrap();
    let metrics = consentd::web::metrics::install().unwrap();
    let mut checked = rig.checked.clone();
    checked.parity.directory = Some(folder.clone());
    checked.parity.full = true;
    checked.parity.time_zone = chrono_tz::America::Denver;
    let daily = Daily {
        checked,
        shared: Arc::clone(&rig.members[0].shared),
        connect: Arc::new(connect),
    };
    // In Denver it is still the day before.
    let now = At::from_micros(1_767_229_200_000_000);
    let parity = daily.report(now, &CancellationToken::new()).await.unwrap();
    assert_eq!(parity.pairs_different(), 1);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["parity-2025-12-31.csv", "parity-2025-12-31.json"]);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let whole: Value = serde_json::from_str(&read("parity-2025-12-31.json")).unwrap();
    assert_eq!(whole["asked"], "systems");
    assert_eq!(whole["counts"]["pairs_different"], 1);
    assert_eq!(whole["pair_differences"][0]["b_contact"], ann.salesforce);
    assert!(!whole.to_string().contains('@'));
    let csv = read("parity-2025-12-31.csv");
    assert!(csv.contains(&ann.salesforce), "{csv}");
    let line = "consentd_parity_pairs{a=\"ascend\",b=\"salesforce\",purpose=\"marketing\",class=\"different\"} 1";
    assert!(metrics.render().contains(line), "{}", metrics.render());
    // Once more on the same day replaces it.
    daily.report(now, &CancellationToken::new()).await.unwrap();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
}
