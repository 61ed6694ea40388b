//! From what the daemon knows to what stands, in the store and in the metrics. Metrics belong to the
//! process, so no other test may look for alarms in this one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;

use consentd::alarm::notifier::Notifier;
use consentd::connector::Connector;
use consentd::consent::{At, Polarity, PurposeId};
use consentd::runtime::clock::{Clock, Manual};
use consentd::runtime::health::{Board, Watched};
use consentd::store::{Access, FeedSwitch, SqliteStore, Store};
use consentd::web::metrics::{Advice, Refresher, Shown, install};
use fake::{Fake, Keeps};
use std::sync::Arc;
use std::time::Duration;

const START: At = At::from_micros(1_767_225_600_000_000);

#[tokio::test]
async fn a_refresh_raises_what_stands_and_gives_the_all_clear() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = Arc::new(SqliteStore::open(&path, Access::Daemon).await.unwrap());
    let names = ["crm", "off"].map(str::to_owned);
    store.register_systems(&names).await.unwrap();
    let clock = Arc::new(Manual::at(START));
    let board = Arc::new(Board::new([Watched {
        name: "crm".to_owned(),
        enabled: true,
        max_lag: Duration::from_mins(15),
    }]));
    let metrics = install().unwrap();
    let carries = &[(PurposeId(0), Polarity::OptOut)];
    let connector = Fake::new(Keeps::History, carries, clock.clone() as Arc<dyn Clock>);
    let shown = |number: i16, connector: Option<Arc<dyn Connector>>| Shown {
        number,
        name: names[usize::try_from(number - 1).unwrap()].clone(),
        connector,
    };
    let refresher = Refresher {
        store: store.clone(),
        clock: clock.clone(),
        board: board.clone(),
        systems: vec![shown(1, Some(connector)), shown(2, None)],
        metrics: metrics.clone(),
        every: Duration::from_secs(15),
        withdrawal_deadline: Duration::from_hours(48),
        keeper: None,
        notifier: Arc::new(Notifier::new(store.clone(), clock.clone(), Vec::new())),
        counted: Arc::default(),
        advice: Advice::default(),
        shown_holds: Arc::default(),
    };
    let standing = async || -> Vec<String> {
        let alarms = store.alarms().await.unwrap().into_iter();
        alarms
            .filter(|alarm| alarm.cleared_at.is_none())
            .map(|alarm| alarm.kind)
            .collect()
    };
    let halt = |reason: Option<&str>| FeedSwitch::Halted(reason.map(str::to_owned));
    for system in [1, 2] {
        let halted = halt(Some("3 of 9 contacts were left"));
        store.set_feed_switch(system, halted, START).await.unwrap();
    }
    board.login_refused("crm", START, "invalid_grant");
    board.task_down("crm-poll");
    refresher.refresh().await;
    let expected = ["feed-halted", "login-refused", "task-down"];
    assert_eq!(standing().await, expected, "of the system that is on");
    let shown = metrics.render();
    for line in [
        "consentd_alarm{kind=\"feed-halted\",system=\"crm\"} 1",
        "consentd_alarm{kind=\"feed-halted\",system=\"off\"} 0",
        "consentd_alarm{kind=\"hold\",system=\"\"} 0",
        "consentd_alarm{kind=\"weak-grant\",system=\"crm\"} 0",
        "consentd_alarm{kind=\"task-down\",system=\"\"} 1",
        "consentd_withdrawal_late{system=\"crm\"} 0",
    ] {
        assert!(shown.contains(line), "{line} is missing in {shown}");
    }

    clock.advance(Duration::from_hours(1));
    store.set_feed_switch(1, halt(None), START).await.unwrap();
    board.polled("crm", clock.now(), None);
    board.task_up("crm-poll");
    refresher.refresh().await;
    assert_eq!(standing().await, [""; 0]);
    let shown = metrics.render();
    let line = "consentd_alarm{kind=\"feed-halted\",system=\"crm\"} 0";
    assert!(shown.contains(line), "{shown}");
}
