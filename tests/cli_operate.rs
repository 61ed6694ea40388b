//! `resume` and `redrive` as a shell sees them: a halted feed (R27) and writes that were given up (R35).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/ledger.rs"]
mod ledger;

use consentd::consent::At;
use consentd::store::{
    Changes, DEAD, FeedSwitch, Known, LANE_WITHDRAWAL, OutboxChange, OutboxRow, Scope, WriteKey,
};
use hub::Hub;
use serde_json::{Value, json};

const SYSTEMS: &[&str] = &["crm", "ascend"];

async fn hub() -> Hub {
    let hub = Hub::start(SYSTEMS, "").await;
    for name in ["ann", "bob", "cid"] {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.settle().await;
    hub
}

fn ascend(hub: &Hub) -> i16 {
    hub.engine.member("ascend").unwrap().id.0
}

#[tokio::test]
async fn r27_resume_releases_a_halted_feed_and_says_so() {
    let hub = hub().await;
    let id = ascend(&hub);
    let turn = async |switch: FeedSwitch| {
        let now = At::from_micros(5);
        hub.store.set_feed_switch(id, switch, now).await.unwrap();
    };
    let halted = || FeedSwitch::Halted(Some("1 of 9 were left".to_owned()));
    turn(halted()).await;
    let shown = hub.command(&["status", "--output", "json"]).said;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown[0]["feed"], &shown[0]["note"]),
        (&json!("halted"), &json!("1 of 9 were left"))
    );

    let resume = |more: &[&str]| {
        let arguments = [&["resume", "ascend", "--reason", "load mended"], more].concat();
        let answer = hub.command(&arguments);
        assert_eq!(answer.status, Some(0), "{}", answer.complained);
        answer.said
    };
    assert_eq!(resume(&[]), "ascend goes on: its feed is released\n");
    assert_eq!(resume(&[]), "ascend was neither paused nor halted\n");
    turn(halted()).await;
    turn(FeedSwitch::Paused(Some("bob: looks".to_owned()))).await;
    assert_eq!(
        resume(&["--accept-fewer"]),
        "ascend goes on, and its feed is released; its next complete read may find fewer contacts\n"
    );
    assert_eq!(
        resume(&["--accept-fewer"]),
        "ascend was neither paused nor halted; its next complete read could find fewer contacts \
         already\n"
    );
    let feed = hub.store.feed(id).await.unwrap();
    assert_eq!(
        (feed.paused, feed.halted, feed.accept_fewer),
        (false, None, true)
    );
    let shown = hub.command(&["status", "--output", "json"]).said;
    assert!(shown.contains("its next complete read may find fewer contacts"));

    let acts = ledger::acts(&hub.store_path()).await;
    let told: Vec<_> = acts
        .iter()
        .map(|act| act["act"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["release", "resume", "release", "accept-fewer"]);
    let expected = json!({
        "act": "release", "operator": "ann", "reason": "load mended", "halted": "1 of 9 were left",
    });
    assert_eq!(acts[0], expected);
}

/// A write to a contact of Ascend that was given up.
fn dead(hub: &Hub, contact: &str, subject: i64) -> OutboxChange {
    OutboxChange::Put(OutboxRow {
        key: WriteKey {
            system: ascend(hub),
            external: contact.to_owned(),
            lane: LANE_WITHDRAWAL,
        },
        subject,
        version: 1,
        changes: "[]".to_owned(),
        state: DEAD,
        in_flight: String::new(),
        decided_at: 1,
        not_before: 0,
        attempts: 12,
        claimed_until: 0,
        last_error: Some("POLICY".to_owned()),
    })
}

#[tokio::test]
async fn r35_redrive_has_dead_letters_tried_again() {
    let hub = hub().await;
    let letters = (1..).zip(["ann", "bob", "cid"]);
    let letters: Vec<_> = letters.map(|(id, name)| dead(&hub, name, id)).collect();
    let decide = &mut |_: Known| Changes {
        outbox: letters.clone(),
        ..Changes::default()
    };
    hub.store.transact(&Scope::default(), decide).await.unwrap();
    let redrive = |more: &[&str]| {
        let answer = hub.command(&[&["redrive"], more].concat());
        assert_eq!(answer.status, Some(0), "{}", answer.complained);
        answer.said
    };
    let why = ["--reason", "the policy was changed"];
    assert_eq!(
        redrive(&[&["crm"], &why[..]].concat()),
        "crm has no such dead letters\n"
    );
    let one = [&["ascend", "--contact", "bob", "dot"], &why[..]].concat();
    assert_eq!(redrive(&one), "ascend is sent 1 dead letter again\n");
    let dead = async || {
        let mut rows = hub.store.outbox(0, 10).await.unwrap();
        rows.retain(|row| row.state == DEAD);
        let names = rows.into_iter().map(|row| row.key.external);
        names.collect::<Vec<String>>()
    };
    assert_eq!(dead().await, ["ann", "cid"]);
    assert_eq!(
        redrive(&["--all"]),
        "ascend is sent 2 dead letters again\ncrm has no such dead letters\n"
    );
    assert_eq!(dead().await, [""; 0]);

    let acts = ledger::acts(&hub.store_path()).await;
    let expected = [
        json!({
            "act": "redrive", "operator": "ann", "reason": "the policy was changed",
            "contacts": ["bob", "dot"],
        }),
        json!({
            "act": "redrive", "operator": "ann", "reason": "no reason given", "contacts": [],
        }),
    ];
    assert_eq!(acts, expected, "what did nothing is no entry");
    for wrong in [
        &["redrive"][..],
        &["redrive", "siebel"],
        &["redrive", "--all", "--contact", "bob"],
    ] {
        let answer = hub.command(wrong);
        assert_eq!(answer.status, Some(1), "{wrong:?}: {answer:?}");
    }
}
