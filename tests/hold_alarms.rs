//! From a load that somebody made by hand to the one alarm that follows, its metrics, and the all-clear
//! (R25, R29). Metrics belong to the process, so no other test may look for alarms in this one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::alarm::notifier::Notifier;
use consentd::connector::Connector;
use consentd::consent::Shown;
use consentd::runtime::clock::Clock;
use consentd::runtime::health::Board;
use consentd::store::{AlarmRow, Store};
use consentd::sync::holds::{Desk, Filter, decide};
use consentd::sync::switches::Operator;
use consentd::sync::workbench::Word;
use consentd::web::metrics::{Advice, Refresher, Shown as ShownSystem, install};
use hub::{Hub, MARKETING};
use metrics_exporter_prometheus::PrometheusHandle;
use postgres::Database;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

const SYSTEMS: &[&str] = &["crm", "ascend"];

/// What refreshes the figures of a daemon's life over the hub.
fn refresher(hub: &Hub, metrics: &PrometheusHandle) -> Refresher {
    let clock: Arc<dyn Clock> = hub.clock.clone();
    let systems = hub.engine.members.iter().map(|member| ShownSystem {
        number: member.id.0,
        name: member.name.clone(),
        connector: Some(hub.fakes.get(&member.name) as Arc<dyn Connector>),
    });
    Refresher {
        advice: Advice::default(),
        store: Arc::clone(&hub.store),
        clock: Arc::clone(&clock),
        board: Arc::new(Board::default()),
        systems: systems.collect(),
        metrics: metrics.clone(),
        every: Duration::from_secs(15),
        withdrawal_deadline: Duration::from_hours(48),
        keeper: None,
        notifier: Arc::new(Notifier::new(Arc::clone(&hub.store), clock, Vec::new())),
        counted: Arc::default(),
        shown_holds: Arc::default(),
    }
}

async fn standing(store: &dyn Store) -> Vec<AlarmRow> {
    let mut alarms = store.alarms().await.unwrap();
    alarms.retain(|alarm| alarm.cleared_at.is_none());
    alarms
}

#[tokio::test]
async fn r29_a_manual_load_gives_one_alarm_that_is_cleared_when_somebody_has_decided() {
    let metrics = install().unwrap();
    let database = Database::create().await;
    for url in [None, Some(database.url.clone())] {
        a_manual_load(&metrics, url).await;
    }
}

async fn a_manual_load(metrics: &PrometheusHandle, database: Option<Url>) {
    let hub = Hub::start_in(SYSTEMS, "", database).await;
    let names: Vec<String> = (0..60).map(|number| format!("p{number:02}")).collect();
    for name in &names {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.settle().await;
    let life = refresher(&hub, metrics);
    let crm = hub.fakes.get("crm");
    for name in &names {
        crm.save(name, MARKETING, &Shown::Set);
    }
    hub.settle().await;
    life.refresh().await;
    assert_eq!(standing(&*hub.store).await, [], "withdrawals count");

    // Everything is reset to opted in, and refreshed after every step.
    hub.pass(3_600);
    for name in &names {
        crm.save(name, MARKETING, &Shown::Default);
    }
    let mut written = 0;
    for _ in 0..12 {
        written += hub.round().await;
        life.refresh().await;
    }
    assert!(written >= 60, "it is written back");
    let alarms = standing(&*hub.store).await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].kind, "hold");
    assert!(alarms[0].text.contains("60 persons"), "{}", alarms[0].text);
    assert!(!alarms[0].text.contains('@'));
    let line = "consentd_holds{kind=\"load\",system=\"crm\",purpose=\"\",direction=\"grant\"}";
    for (line, value) in [
        (line, 60),
        ("consentd_alarm{kind=\"hold\",system=\"\"}", 1),
        ("consentd_alarm{kind=\"withdrawals-held\",system=\"\"}", 0),
        ("consentd_alarm{kind=\"weak-grant\",system=\"crm\"}", 0),
    ] {
        let line = format!("{line} {value}");
        let shown = metrics.render();
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }

    // Another life of the daemon raises nothing anew.
    let next = refresher(&hub, metrics);
    hub.pass(60);
    next.refresh().await;
    let after = standing(&*hub.store).await;
    assert_eq!((after.len(), after[0].raised_at), (1, alarms[0].raised_at));

    let desk = Desk::at_work(&hub.engine.shared);
    let by = Operator::new("ann", "a load by mistake").unwrap();
    let now = || hub.clock.now();
    let filter = Filter::default();
    decide(&*hub.store, &desk, &filter, Word::Reject, &by, &now)
        .await
        .unwrap();
    next.refresh().await;
    assert_eq!(standing(&*hub.store).await, []);
    let shown = metrics.render();
    assert!(shown.contains(&format!("{line} 0")), "{shown}");
    hub.settle().await;
    next.refresh().await;
    assert_eq!(standing(&*hub.store).await, [], "nobody is asked again");
}
