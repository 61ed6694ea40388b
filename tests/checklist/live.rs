//! Against the two simulated orgs: every answer that they can lead to, and that whatever fails or is
//! too old is never sent to.

use crate::common::engine::{Pair, Rig, next_second, object};
use crate::{NOW, STORED, answers, check, sources, try_check};
use consentd::consent::Answer;
use consentd::store::FeedSwitch;
use consentd::sync::checklist::{CheckError, Freshness};
use consentd::sync::pack::unpack_verdicts;
use consentd_sandbox::{AGENT, CallKind, Fault, Org, RECORDS, Rule, SPECIALIST};
use serde_json::{Value, json};
use std::time::Duration;

const EVENTS: &str = "marketing.events";
const ANN: &str = "ann@rig.example";

/// A rig that has read its orgs, in which Ann may be mailed about events.
async fn rig() -> (Rig, Pair) {
    let rig = Rig::start(0).await;
    let ann = rig.person("ann");
    rig.settle().await;
    (rig, ann)
}

fn create(org: &Org, fields: Value) -> String {
    org.create("Contact", &object(fields), SPECIALIST, None)
        .unwrap()
}

fn edit(org: &Org, id: &str, fields: Value) {
    org.edit(id, &object(fields), SPECIALIST).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_every_recipient_gets_an_answer_with_whose_word_it_is() {
    let mut rig = Rig::start(0).await;
    let (ann, out, off) = (rig.person("ann"), rig.person("out"), rig.person("off"));
    let flap = rig.person("flap");
    let crm = rig.sandbox.salesforce();
    create(
        crm,
        json!({ "LastName": "silent", "Email": "silent@rig.example" }),
    );
    create(
        crm,
        json!({ "LastName": "dup", "Email": "dup@rig.example", "Email_Events__c": true }),
    );
    next_second().await;
    let younger = create(
        crm,
        json!({ "LastName": "dup", "Email": "dup@rig.example" }),
    );
    rig.settle().await;
    rig.checked.policy.rules.flaps_per_hour = 1;
    rig.restart().await;

    // From here on no feed is read: what the check knows it has asked for.
    let crm = rig.sandbox.salesforce();
    Rig::opt(rig.sandbox.ascend(), &out.ascend, true, RECORDS);
    Rig::opt(crm, &younger, true, AGENT);
    edit(crm, &off.salesforce, json!({ "Email_Events__c": false }));
    for ticked in [false, true] {
        edit(crm, &flap.salesforce, json!({ "Email_Events__c": ticked }));
        // What is seen to change lies between two looks; these must not share a second.
        next_second().await;
        next_second().await;
        let flapped = check(rig.crew(), EVENTS, NOW, &["flap@rig.example"]).await;
        assert_eq!(flapped.lines.len(), 1);
    }
    let list = [
        ANN,
        "Out@Rig.Example",
        "off@rig.example",
        "silent@rig.example",
        "dup@rig.example",
        "flap@rig.example",
        "nobody@rig.example",
        "no address",
        "",
        " ANN@rig.example ",
    ];
    let checklist = check(rig.crew(), EVENTS, NOW, &list).await;
    assert_eq!(
        answers(&checklist),
        [
            "send by salesforce",
            "withdrawn by ascend",
            "category-off by salesforce",
            "no-legal-basis",
            "duplicate-conflict by salesforce",
            "held by salesforce",
            "unknown-address",
            "unknown-address",
            "unknown-address",
            "duplicate of 0",
        ]
    );
    assert_eq!(sources(&checklist), ["ascend asked", "salesforce asked"]);
    let counts = checklist.counts();
    assert_eq!(
        (counts.addressed, counts.duplicates, counts.of(Answer::Send)),
        (10, 1, 1)
    );
    assert_eq!(counts.of(Answer::UnknownAddress), 3);
    let stamp = checklist.lines[1].stamp.unwrap();
    assert!(stamp.latest() <= Rig::now().plus(1_000_000), "{stamp}");
    // The withdrawal that the check found reaches the other org without any poll.
    assert!(!rig.shown(&out).0);
    rig.emit().await;
    assert_eq!(rig.shown(&out), (true, true));
    assert_eq!(rig.shown(&ann), (false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_an_opt_out_just_before_the_check_is_seen() {
    let (rig, ann) = rig().await;
    let events = || async { answers(&check(rig.crew(), EVENTS, NOW, &[ANN]).await).concat() };
    assert_eq!(events().await, "send by salesforce");
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, AGENT);
    assert_eq!(events().await, "withdrawn by salesforce");
    let stored = check(rig.crew(), EVENTS, STORED, &[ANN]).await;
    assert_eq!(
        answers(&stored),
        ["withdrawn by salesforce"],
        "and it stays known"
    );
    assert_eq!(sources(&stored), ["ascend stored", "salesforce stored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_contacts_that_moved_or_are_gone_are_looked_up_by_their_ids() {
    let rig = Rig::start(0).await;
    let crm = rig.sandbox.salesforce();
    let person = |name: &str| json!({ "LastName": name, "Email": format!("{name}@rig.example"), "Email_Events__c": true });
    let (gone, moved) = (create(crm, person("gone")), create(crm, person("moved")));
    rig.settle().await;
    let list = ["gone@rig.example", "moved@rig.example", "new@rig.example"];
    let before = check(rig.crew(), EVENTS, NOW, &list).await;
    assert_eq!(
        answers(&before),
        [
            "send by salesforce",
            "send by salesforce",
            "unknown-address"
        ]
    );
    crm.delete(&gone, SPECIALIST).unwrap();
    edit(crm, &moved, json!({ "Email": "new@rig.example" }));
    let after = check(rig.crew(), EVENTS, NOW, &list).await;
    assert_eq!(
        answers(&after),
        ["unknown-address", "unknown-address", "send by salesforce"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_a_system_that_is_down_leaves_nobody_verified_but_those_who_withdrew() {
    let (rig, ann) = rig().await;
    let out = rig.person("out");
    Rig::opt(rig.sandbox.salesforce(), &out.salesforce, true, AGENT);
    rig.settle().await;
    let list = [ANN, "out@rig.example", "nobody@rig.example"];
    rig.sandbox
        .ascend()
        .set_fault(Fault::UnavailableHtml)
        .unwrap();
    let checklist = check(rig.crew(), EVENTS, NOW, &list).await;
    let closed = [
        "unverified by salesforce",
        "withdrawn by salesforce",
        "unverified",
    ];
    assert_eq!(answers(&checklist), closed);
    assert_eq!(
        sources(&checklist),
        [
            "ascend unavailable (retryable http-503)",
            "salesforce asked"
        ]
    );
    // What the other system can tell is still asked for.
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, AGENT);
    let checklist = check(rig.crew(), EVENTS, NOW, &list[..1]).await;
    assert_eq!(answers(&checklist), ["withdrawn by salesforce"]);
    // Once the breaker is open the system is not even called.
    while check(rig.crew(), EVENTS, NOW, &list).await.reports[0].look_ups > 0 {}
    rig.sandbox.ascend().reset_calls();
    let checklist = check(rig.crew(), EVENTS, NOW, &list).await;
    assert_eq!(
        sources(&checklist)[0],
        "ascend unavailable (its calls pause after repeated faults)"
    );
    assert_eq!(rig.sandbox.ascend().calls().of(CallKind::Query), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_passing_trouble_is_met_by_a_second_attempt() {
    let (rig, _) = rig().await;
    rig.sandbox
        .ascend()
        .set_fault(Rule::from(Fault::UnavailableJson).times(1))
        .unwrap();
    let checklist = check(rig.crew(), EVENTS, NOW, &[ANN]).await;
    assert_eq!(answers(&checklist), ["send by salesforce"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_a_feed_that_is_not_read_paused_halted_or_switched_off_verifies_nobody() {
    let mut rig = Rig::start(0).await;
    rig.person("ann");
    let first = check(rig.crew(), EVENTS, STORED, &[ANN]).await;
    assert_eq!(answers(&first), ["unverified"]);
    assert!(
        sources(&first)[0].ends_with("(not read to the end yet)"),
        "{:?}",
        sources(&first)
    );
    rig.settle().await;
    let ascend = rig.members.iter().find(|one| one.name == "ascend").unwrap();
    let id = ascend.id.0;
    for (switch, back, why) in [
        (
            FeedSwitch::Paused(Some("by a test".to_owned())),
            FeedSwitch::Paused(None),
            "paused by an operator",
        ),
        (
            FeedSwitch::Halted(Some("a guard".to_owned())),
            FeedSwitch::Halted(None),
            "halted by a guard",
        ),
    ] {
        rig.store
            .set_feed_switch(id, switch, Rig::now())
            .await
            .unwrap();
        for freshness in [NOW, STORED] {
            let checklist = check(rig.crew(), EVENTS, freshness, &[ANN]).await;
            assert_eq!(answers(&checklist), ["unverified by salesforce"], "{why}");
            assert_eq!(
                sources(&checklist)[0],
                format!("ascend unavailable ({why})")
            );
        }
        rig.store
            .set_feed_switch(id, back, Rig::now())
            .await
            .unwrap();
    }
    assert_eq!(
        answers(&check(rig.crew(), EVENTS, NOW, &[ANN]).await),
        ["send by salesforce"]
    );
    switch_off_ascend(&mut rig).await;
    let checklist = check(rig.crew(), EVENTS, NOW, &[ANN]).await;
    assert_eq!(answers(&checklist), ["unverified by salesforce"]);
    assert_eq!(
        sources(&checklist),
        ["ascend unavailable (switched off)", "salesforce asked"]
    );
}

async fn switch_off_ascend(rig: &mut Rig) {
    for system in &mut rig.checked.systems {
        system.enabled = system.name != "ascend";
    }
    rig.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_a_system_that_was_never_switched_on_has_nothing_to_say() {
    let mut rig = Rig::start(0).await;
    switch_off_ascend(&mut rig).await;
    rig.person("ann");
    rig.settle().await;
    let checklist = check(rig.crew(), EVENTS, NOW, &[ANN]).await;
    assert_eq!(answers(&checklist), ["send by salesforce"]);
    assert_eq!(sources(&checklist), ["salesforce asked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_an_age_within_the_bound_costs_no_call_and_one_beyond_asks() {
    let (rig, _) = rig().await;
    rig.sandbox.salesforce().reset_calls();
    rig.sandbox.ascend().reset_calls();
    let stored = check(rig.crew(), EVENTS, STORED, &[ANN]).await;
    assert_eq!(answers(&stored), ["send by salesforce"]);
    for org in [rig.sandbox.salesforce(), rig.sandbox.ascend()] {
        assert_eq!(org.calls().of(CallKind::Query), 0);
        assert_eq!(org.calls().of(CallKind::QueryAll), 0);
    }
    let asked = check(
        rig.crew(),
        EVENTS,
        Freshness::Within(Duration::from_secs(1)),
        &[ANN],
    )
    .await;
    assert_eq!(sources(&asked), ["ascend asked", "salesforce asked"]);
    assert!(stored.reports[0].as_of.unwrap() < asked.reports[0].as_of.unwrap());
    let missed = check(rig.crew(), EVENTS, Freshness::Missed, &[ANN]).await;
    assert_eq!(answers(&missed), ["unverified by salesforce"]);
    assert!(missed.missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_a_contact_that_cannot_be_understood_is_not_verified() {
    let (rig, ann) = rig().await;
    rig.person("bob");
    rig.settle().await;
    let crm = rig.sandbox.salesforce();
    let json = r#"{"Id":"ID","HasOptedOutOfEmail":"yes"}"#.replace("ID", &ann.salesforce);
    let id = ann.salesforce.clone();
    crm.set_fault(Fault::RawRecord { id, json }).unwrap();
    let list = [ANN, "bob@rig.example"];
    let checklist = check(rig.crew(), EVENTS, NOW, &list).await;
    let expected = ["unverified by salesforce", "send by salesforce"];
    assert_eq!(answers(&checklist), expected);
    let stored = check(rig.crew(), EVENTS, STORED, &list).await;
    assert_eq!(answers(&stored), expected, "nor is its older state");
    crm.clear_faults(None);
    let checklist = check(rig.crew(), EVENTS, NOW, &list).await;
    assert_eq!(
        answers(&checklist),
        ["send by salesforce", "send by salesforce"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn g25_what_cannot_be_stored_is_not_verified_and_a_store_that_is_away_answers_nothing() {
    let (rig, ann) = rig().await;
    let path = rig.folder.path().join("consentd-sandbox/consentd.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let tool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query("ALTER TABLE ledger_blocks RENAME TO hidden")
        .execute(&tool)
        .await
        .unwrap();
    tool.close().await;
    Rig::opt(rig.sandbox.salesforce(), &ann.salesforce, true, AGENT);
    let checklist = check(rig.crew(), EVENTS, NOW, &[ANN]).await;
    assert_eq!(answers(&checklist), ["unverified by salesforce"]);
    let why = "unavailable (what it answered could not be stored)";
    assert_eq!(
        sources(&checklist),
        [format!("ascend {why}"), format!("salesforce {why}")]
    );
    rig.store.close().await;
    let refused = try_check(rig.crew(), EVENTS, NOW, &[ANN]).await;
    assert!(matches!(refused, Err(CheckError::Store(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_verdicts_of_other_settings_are_reached_anew_before_they_answer() {
    let (mut rig, _) = rig().await;
    let before = check(rig.crew(), EVENTS, STORED, &[ANN]).await;
    assert_eq!(answers(&before), ["send by salesforce"]);
    // From now on whoever ticked the box is known to load data, and counts for nothing.
    let known = rig.store.subjects_after(0, 10).await.unwrap();
    let verdicts = unpack_verdicts(&known.subjects[0].verdicts).unwrap();
    let actor = verdicts[0].statement().actor.unwrap();
    for system in &mut rig.checked.systems {
        system.bulk_actors.insert(actor.clone());
    }
    rig.checked.policy.rules.version = "stricter".to_owned();
    rig.restart().await;
    let after = check(rig.crew(), EVENTS, STORED, &[ANN]).await;
    assert_eq!(answers(&after), ["no-legal-basis"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_an_unknown_purpose_is_refused_with_the_known_ones() {
    let (rig, _) = rig().await;
    let refused = try_check(rig.crew(), "marketing.evens", NOW, &[ANN]).await;
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("marketing.events"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_the_same_answers_on_postgres() {
    let rig = Rig::start_on_postgres(0).await;
    rig.person("ann");
    let out = rig.person("out");
    rig.settle().await;
    Rig::opt(rig.sandbox.ascend(), &out.ascend, true, RECORDS);
    let list = [
        ANN,
        "out@rig.example",
        "nobody@rig.example",
        "ANN@rig.example",
    ];
    for freshness in [NOW, STORED] {
        let checklist = check(rig.crew(), EVENTS, freshness, &list).await;
        assert_eq!(
            answers(&checklist),
            [
                "send by salesforce",
                "withdrawn by ascend",
                "unknown-address",
                "duplicate of 0"
            ]
        );
    }
}
