//! A complete read that finds less than half of the known contacts halts the feed (R27), and what an
//! operator can do then.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/ledger.rs"]
mod ledger;

use consentd::consent::Shown;
use consentd::runtime::clock::Clock as _;
use consentd::store::FeedRow;
use consentd::sync::switches::{self, Operator, Resumed};
use hub::{Hub, MARKETING};

const SYSTEMS: &[&str] = &["crm", "ascend"];
const PEOPLE: &[&str] = &["ann", "bob", "cid", "dot", "eve"];

async fn hub() -> Hub {
    let hub = Hub::start(SYSTEMS, "").await;
    for name in PEOPLE {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.settle().await;
    hub
}

fn ascend(hub: &Hub) -> i16 {
    hub.engine.member("ascend").unwrap().id.0
}

async fn feed(hub: &Hub) -> FeedRow {
    hub.store.feed(ascend(hub)).await.unwrap()
}

async fn resume(hub: &Hub, accept_fewer: bool) -> Resumed {
    let by = Operator::new("ann", "asked around").unwrap();
    switches::resume(&*hub.store, ascend(hub), accept_fewer, &by, hub.clock.now())
        .await
        .unwrap()
}

/// Everything of Ascend is read anew. What halted the feed, if anything did.
async fn sweep(hub: &Hub) -> Option<String> {
    let by = Operator::new("ann", "to be sure").unwrap();
    switches::resync(&*hub.store, ascend(hub), &by, hub.clock.now())
        .await
        .unwrap();
    hub.round().await;
    feed(hub).await.halted
}

#[tokio::test]
async fn r27_a_halted_feed_stands_still_until_it_is_released() {
    let hub = hub().await;
    let fake = hub.fakes.get("ascend");
    for name in &PEOPLE[2..] {
        fake.lose(name);
    }
    let halted = sweep(&hub).await.unwrap();
    for part in ["found 2 of 5 known contacts", "`consentd resume ascend`"] {
        assert!(halted.contains(part), "{halted}");
    }
    let live = hub.store.figures(hub.clock.now()).await.unwrap().systems;
    let live = live.iter().find(|one| one.system == ascend(&hub)).unwrap();
    assert_eq!(live.live, 5, "nothing is taken for deleted");
    let reads = fake.calls().reads;
    fake.save("ann", MARKETING, &Shown::Set);
    hub.settle().await;
    assert_eq!(fake.calls().reads, reads, "it is not read");
    let crm = hub.fakes.get("crm");
    assert_eq!(crm.shown("ann", MARKETING), Shown::Default);

    let released = Resumed {
        halted: true,
        ..Resumed::default()
    };
    assert_eq!(resume(&hub, false).await, released);
    assert!(!resume(&hub, false).await.is_changed(), "once is enough");
    hub.settle().await;
    assert_eq!(feed(&hub).await.halted, None, "the changes are no scan");
    assert_eq!(crm.shown("ann", MARKETING), Shown::Set);
    assert!(sweep(&hub).await.is_some(), "the next scan is judged again");

    let acts = ledger::acts(&hub.store_path()).await;
    let acts: Vec<_> = acts.iter().filter(|act| act["act"] == "release").collect();
    assert_eq!(acts.len(), 1, "{acts:?}");
    assert_eq!(acts[0]["operator"], "ann");
    assert_eq!(acts[0]["reason"], "asked around");
    assert_eq!(acts[0]["halted"], halted);
}

#[tokio::test]
async fn r27_an_operator_may_accept_that_a_base_has_shrunk() {
    let hub = hub().await;
    let fake = hub.fakes.get("ascend");
    for name in &PEOPLE[2..] {
        fake.lose(name);
    }
    assert!(sweep(&hub).await.is_some());
    let accepted = Resumed {
        halted: true,
        fewer: true,
        ..Resumed::default()
    };
    assert_eq!(resume(&hub, true).await, accepted);
    hub.settle().await;
    assert!(
        feed(&hub).await.accept_fewer,
        "changes do not use the word up"
    );
    assert_eq!(sweep(&hub).await, None, "it passes whatever its size");
    let after = feed(&hub).await;
    assert_eq!((after.accept_fewer, after.scanned), (false, Some(2)));
    assert_eq!(
        sweep(&hub).await,
        None,
        "what was accepted is what later scans are held against"
    );
    for name in &PEOPLE[..2] {
        fake.lose(name);
    }
    let halted = sweep(&hub).await.unwrap();
    assert!(halted.contains("found 0 of 2"), "{halted}");
}

#[tokio::test]
async fn r27_a_word_that_was_not_needed_is_used_up_too() {
    let hub = hub().await;
    let fewer = Resumed {
        fewer: true,
        ..Resumed::default()
    };
    assert_eq!(resume(&hub, true).await, fewer);
    assert_eq!(sweep(&hub).await, None);
    assert!(!feed(&hub).await.accept_fewer);
    let fake = hub.fakes.get("ascend");
    for name in &PEOPLE[2..] {
        fake.lose(name);
    }
    assert!(sweep(&hub).await.is_some());
}
