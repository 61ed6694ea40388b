//! R49, R51: a new store plans first and writes nothing; a plan is listed from what the systems show now,
//! saved, and applied as far as it is still so. On both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "common/postgres.rs"]
mod postgres;

use consentd::config::FirstRun;
use consentd::consent::{Answer, At, Basis, Shown, Status};
use consentd::runtime::clock::Clock;
use consentd::store::{
    CLAIMED, Changes, Claim, HELD, Known, LedgerRow, OutboxChange, OutboxRow, PENDING, PLANNED,
    Scope, SubjectRef,
};
use consentd::sync::apply::{Application, Fate, GoesOn, Order, apply, digest};
use consentd::sync::checklist::{Ask, Crew, Desk, Freshness};
use consentd::sync::first_run;
use consentd::sync::parity::fresh::foresee;
use consentd::sync::plan::{FORMAT, Filter, PlanError, PlannedWrite, SavedPlan, writes};
use consentd::sync::switches::{Operator, pause};
use hub::{Hub, MARKETING, STORE};
use postgres::Database;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const SYSTEMS: &[&str] = &["crm", "ascend", "superoffice"];
const PEOPLE: [&str; 3] = ["ann", "bob", "cid"];

const WITHDRAWN: Shown = Shown::Record {
    status: Status::Withdrawn,
    basis: None,
};

fn consented() -> Shown {
    Shown::Record {
        status: Status::Granted,
        basis: Some(Basis::Consent),
    }
}

/// A planning hub that has read three people, of whom the CRM says that they opted out.
async fn planning(database: Option<&Database>) -> Hub {
    let url = database.map(|database| database.url.clone());
    let hub = Hub::start_as(FirstRun::Plan, SYSTEMS, "", url).await;
    for name in PEOPLE {
        hub.fakes.person(SYSTEMS, name);
    }
    hub.pass(60);
    for name in PEOPLE {
        hub.fakes.get("crm").save(name, MARKETING, &Shown::Set);
    }
    hub.pass(60);
    hub.poll().await;
    hub
}

/// Runs a test on both databases.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::planning(None).await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let database = super::Database::create().await;
                super::$case(super::planning(Some(&database)).await).await;
            })+
        }
    };
}

on_both! {
    r49_a_new_store_reads_and_decides_and_writes_nothing,
    r49_a_restart_keeps_planning_and_first_run_does_not_count_again,
    r49_a_complete_plan_ends_planning_and_drops_who_moved_on,
    r49_a_filtered_plan_keeps_planning,
    r49_stay_keeps_planning,
    r51_a_plan_sees_what_the_daemon_has_not_polled_and_changes_nothing,
    r51_each_thing_that_moved_on_is_told,
    r51_a_plan_of_another_store_is_refused,
    r51_on_a_live_store_apply_tells_and_changes_nothing,
    r51_many_pages_are_applied,
    r49_a_check_before_mail_only_plans_what_it_finds,
}

fn outsiders(hub: &Hub) -> u64 {
    let writes = SYSTEMS
        .iter()
        .map(|name| hub.fakes.get(name).calls().writes);
    writes.sum()
}

async fn states(hub: &Hub) -> Vec<i16> {
    let rows = hub.store.outbox(0, 10_000).await.unwrap();
    rows.iter().map(|row| row.state).collect()
}

async fn saved(hub: &Hub, filter: Filter) -> SavedPlan {
    let origin = hub.store.origin().await.unwrap();
    let complete = filter.is_open();
    let listed = writes(&hub.checked, &*hub.store, &filter).await.unwrap();
    SavedPlan {
        consentd_plan: FORMAT,
        made_at: hub.clock.now().to_string(),
        store: Some(origin.store_id),
        policy: hub.checked.policy.rules.version.clone(),
        complete,
        systems: filter.systems,
        purposes: filter.purposes,
        writes: listed,
    }
}

async fn applied_as(hub: &Hub, plan: &SavedPlan, stay: bool) -> Result<Application, PlanError> {
    let text = plan.text().unwrap();
    let order = Order {
        plan: &SavedPlan::read(text.as_bytes()).unwrap(),
        digest: &digest(text.as_bytes()),
        by: &Operator::new("ann", "looked through").unwrap(),
        stay,
        now: hub.clock.now(),
    };
    apply(&hub.checked, &*hub.store, &order).await
}

async fn applied(hub: &Hub, plan: &SavedPlan) -> Application {
    applied_as(hub, plan, false).await.unwrap()
}

async fn is_planning(hub: &Hub) -> bool {
    hub.store.origin().await.unwrap().is_planning()
}

/// The ledger entries about somebody.
async fn ledger_of(hub: &Hub, plan: &SavedPlan, contact: &str) -> Vec<LedgerRow> {
    let mut listed = plan.writes.iter();
    let hash = &listed
        .find(|write| write.contact == contact)
        .unwrap()
        .subject;
    let hash = u128::from_str_radix(hash, 16).unwrap().to_be_bytes();
    let dossier = hub.store.dossier(SubjectRef(hash)).await.unwrap();
    dossier.unwrap().ledger
}

fn fates(application: &Application) -> Vec<(&str, &str, &Fate)> {
    let told = application.told.iter();
    told.map(|(write, fate)| (&*write.system, &*write.contact, fate))
        .collect()
}

async fn r49_a_new_store_reads_and_decides_and_writes_nothing(hub: Hub) {
    for _ in 0..3 {
        assert_eq!(hub.round().await, 0);
    }
    assert_eq!(outsiders(&hub), 0);
    assert_eq!(
        states(&hub).await,
        [PLANNED; 6],
        "three people in two systems"
    );
    let figures = hub.store.figures(hub.clock.now()).await.unwrap();
    assert_eq!((figures.planning, figures.planned()), (true, 6));
    let ascend = hub.engine.member("ascend").unwrap().id.0;
    let mut systems = figures.systems.iter();
    let ascend = systems.find(|system| system.system == ascend).unwrap();
    assert_eq!((ascend.planned, ascend.pending_withdrawals), (3, 3));
    assert!(ascend.oldest_withdrawal.is_some(), "the deadline counts");
    let advice = first_run::advice(&figures).unwrap();
    assert!(advice.contains("6 writes are planned"), "{advice}");
    assert!(advice.contains("consentd apply FILE"), "{advice}");
}

async fn r49_a_restart_keeps_planning_and_first_run_does_not_count_again(mut hub: Hub) {
    let mut checked = hub.checked.clone();
    checked.first_run = FirstRun::Write;
    hub.go_on(&checked).await;
    hub.fakes.person(SYSTEMS, "dot");
    hub.pass(60);
    hub.fakes.get("ascend").save("dot", MARKETING, &Shown::Set);
    assert_eq!(hub.round().await + hub.round().await, 0);
    assert_eq!(states(&hub).await, [PLANNED; 8]);
    applied(&hub, &saved(&hub, Filter::default()).await).await;
    checked.first_run = FirstRun::Plan;
    hub.go_on(&checked).await;
    assert!(!is_planning(&hub).await, "it does not begin again");
    assert_eq!(hub.round().await, 8);
}

async fn r49_a_complete_plan_ends_planning_and_drops_who_moved_on(hub: Hub) {
    let plan = saved(&hub, Filter::default()).await;
    assert_eq!(plan.writes.len(), 6);
    hub.pass(60);
    hub.fakes
        .get("superoffice")
        .save("bob", MARKETING, &consented());
    hub.poll().await;
    assert!(states(&hub).await.iter().all(|state| *state == PLANNED));
    let application = applied(&hub, &plan).await;
    assert_eq!((application.released, application.told.len()), (4, 2));
    assert_eq!(application.goes_on, GoesOn::Writing);
    assert!(application.is_short() && !application.other_policy);
    for (_, contact, fate) in fates(&application) {
        assert_eq!(contact, "bob");
        let Fate::MovedOn(why) = fate else {
            panic!("{fate:?}");
        };
        assert!(
            why.contains("marketing is granted, said in superoffice"),
            "{why}"
        );
    }
    assert!(!is_planning(&hub).await);
    let told = ledger_of(&hub, &plan, "ann").await;
    let kinds: Vec<&str> = told.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["released", "released"]);
    hub.settle().await;
    let shown = |system: &str, name: &str| hub.fakes.get(system).shown(name, MARKETING);
    for name in ["ann", "cid"] {
        assert_eq!(shown("ascend", name), Shown::Set);
        assert_eq!(shown("superoffice", name), WITHDRAWN);
    }
    assert_eq!(
        shown("crm", "bob"),
        Shown::Default,
        "decided anew, as usual"
    );
    assert_eq!(shown("superoffice", "bob"), consented());
    assert_eq!(states(&hub).await, [0_i16; 0]);
}

async fn r49_a_filtered_plan_keeps_planning(hub: Hub) {
    let filter = Filter {
        systems: vec!["ascend".to_owned()],
        purposes: vec!["marketing".to_owned()],
    };
    let plan = saved(&hub, filter).await;
    assert_eq!(plan.writes.len(), 3);
    let application = applied(&hub, &plan).await;
    assert_eq!(
        (application.released, application.goes_on),
        (3, GoesOn::Planning)
    );
    assert!(!application.is_short());
    assert!(is_planning(&hub).await);
    // What was let go goes out, and nothing else does, also of what is decided anew.
    assert_eq!(hub.round().await, 3);
    assert_eq!(hub.fakes.get("superoffice").calls().writes, 0);
    hub.pass(60);
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Default);
    assert_eq!(hub.round().await + hub.round().await, 0);
    assert_eq!(hub.fakes.get("ascend").shown("ann", MARKETING), Shown::Set);
    assert!(states(&hub).await.iter().all(|state| *state == PLANNED));
    let store = Filter {
        purposes: vec!["store".to_owned()],
        ..Filter::default()
    };
    assert_eq!(saved(&hub, store).await.writes, []);
}

async fn r49_stay_keeps_planning(hub: Hub) {
    let plan = saved(&hub, Filter::default()).await;
    let application = applied_as(&hub, &plan, true).await.unwrap();
    assert_eq!(
        (application.released, application.goes_on),
        (6, GoesOn::Planning)
    );
    assert!(is_planning(&hub).await);
    // Once more: everything is on its way.
    let again = applied(&hub, &plan).await;
    assert_eq!((again.released, again.goes_on), (0, GoesOn::Writing));
    assert!(again.told.iter().all(|(_, fate)| *fate == Fate::UnderWay));
}

async fn r51_a_plan_sees_what_the_daemon_has_not_polled_and_changes_nothing(hub: Hub) {
    hub.pass(60);
    hub.fakes.person(SYSTEMS, "dot");
    hub.pass(60);
    hub.fakes.get("ascend").save("dot", MARKETING, &Shown::Set);
    let by = Operator::new("ann", "maintenance").unwrap();
    let superoffice = hub.engine.member("superoffice").unwrap().id.0;
    pause(&*hub.store, superoffice, &by, hub.clock.now())
        .await
        .unwrap();
    let before = (hub.store.sequence(), hub.store.outbox(0, 99).await.unwrap());
    let feeds = async || {
        let mut feeds = Vec::new();
        for member in &hub.engine.members {
            feeds.push(hub.store.feed(member.id.0).await.unwrap());
        }
        feeds
    };
    let feeds_before = feeds().await;
    let asked = hub.fakes.get("superoffice").calls();
    let stop = CancellationToken::new();
    let clock = Arc::clone(&hub.clock) as Arc<dyn Clock>;
    let seen = foresee(
        &hub.checked,
        &*hub.store,
        &hub.fakes.connect(),
        clock,
        &stop,
    )
    .await
    .unwrap();
    assert_eq!(
        (seen.unasked.as_slice(), seen.complete),
        (&["superoffice".to_owned()][..], true)
    );
    let listed = writes(&hub.checked, &*seen.store, &Filter::default())
        .await
        .unwrap();
    let about = |name: &str| -> Vec<&PlannedWrite> {
        listed
            .iter()
            .filter(|write| write.contact == name)
            .collect()
    };
    let [write] = about("dot")[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(
        (&*write.system, &*write.lane, &*write.said_in),
        ("crm", "withdrawal", "ascend")
    );
    let set = &write.changes[0];
    assert_eq!(
        (&*set.purpose, set.from.as_deref(), &*set.to),
        ("marketing", Some("not set"), "set")
    );
    assert_eq!(
        (&*write.rule, write.reason()),
        ("R18", "nothing later was said")
    );
    assert_eq!(write.state, "planned");
    assert_eq!(about("ann").len(), 2, "what was stored is listed too");
    assert!(
        about("ann")
            .iter()
            .any(|write| write.state == "parked: the system is paused")
    );
    seen.store.close().await;
    // Nothing of it happened.
    assert_eq!(outsiders(&hub), 0);
    assert_eq!(
        hub.fakes.get("superoffice").calls(),
        asked,
        "a paused system is left alone"
    );
    let after = (hub.store.sequence(), hub.store.outbox(0, 99).await.unwrap());
    assert_eq!(after, before);
    assert_eq!(feeds().await, feeds_before);
    // One that cannot be read is named.
    hub.fakes.get("ascend").set_away(true);
    let clock = Arc::clone(&hub.clock) as Arc<dyn Clock>;
    let refused = foresee(
        &hub.checked,
        &*hub.store,
        &hub.fakes.connect(),
        clock,
        &stop,
    )
    .await;
    let refused = refused.map(drop).unwrap_err().to_string();
    assert_eq!(refused, "ascend cannot be read");
}

async fn r51_each_thing_that_moved_on_is_told(hub: Hub) {
    let plan = saved(
        &hub,
        Filter {
            systems: vec!["ascend".to_owned()],
            ..Filter::default()
        },
    )
    .await;
    // Somebody does it by hand, a contact's write is held, and another one sets something else by now.
    hub.pass(60);
    hub.fakes.get("ascend").save("ann", MARKETING, &Shown::Set);
    hub.poll().await;
    let rows = hub.store.outbox(0, 99).await.unwrap();
    let ascend = hub.engine.member("ascend").unwrap().id.0;
    let held = rows
        .iter()
        .filter(|row| row.key.system == ascend && row.key.external == "bob");
    let held = held.map(|row| {
        OutboxChange::Put(OutboxRow {
            state: HELD,
            ..row.clone()
        })
    });
    let held: Vec<OutboxChange> = held.collect();
    let decide = &mut |_: Known| Changes {
        outbox: held.clone(),
        ..Changes::default()
    };
    hub.store.transact(&Scope::default(), decide).await.unwrap();
    let mut altered = plan.clone();
    let mut cid = plan
        .writes
        .iter()
        .find(|write| write.contact == "cid")
        .unwrap()
        .clone();
    let index = altered
        .writes
        .iter()
        .position(|write| write.contact == "cid")
        .unwrap();
    "not set".clone_into(&mut altered.writes[index].changes[0].to);
    "zoe".clone_into(&mut cid.contact);
    altered.writes.push(cid.clone());
    "gone".clone_into(&mut cid.system);
    altered.writes.push(cid);
    let application = applied(&hub, &altered).await;
    let mut told: Vec<(String, String)> = fates(&application)
        .iter()
        .map(|(_, contact, fate)| ((*contact).to_owned(), fate.words()))
        .collect();
    told.sort();
    let expected = [
        ("ann", "the contact shows it already"),
        ("bob", "held for a person: see `consentd holds`"),
        (
            "cid",
            "the verdict has changed: it is to show marketing set by now",
        ),
        ("zoe", "the contact is gone"),
        ("zoe", "the system is not configured any more"),
    ];
    let expected = expected.map(|(contact, words)| (contact.to_owned(), words.to_owned()));
    assert_eq!(told, expected);
    assert_eq!(application.released, 0);
}

async fn r51_a_plan_of_another_store_is_refused(hub: Hub) {
    let plan = saved(&hub, Filter::default()).await;
    let sequence = hub.store.sequence();
    let foreign = SavedPlan {
        store: Some("0".repeat(32)),
        ..plan.clone()
    };
    let refused = applied_as(&hub, &foreign, false).await.unwrap_err();
    assert!(matches!(refused, PlanError::OtherStore), "{refused:?}");
    assert_eq!(hub.store.sequence(), sequence);
    // One that was made before there was a store is held against what is stored like every other.
    let first = SavedPlan {
        store: None,
        policy: "older".to_owned(),
        ..plan
    };
    let application = applied(&hub, &first).await;
    assert_eq!((application.released, application.other_policy), (6, true));
}

async fn r51_on_a_live_store_apply_tells_and_changes_nothing(hub: Hub) {
    let plan = saved(&hub, Filter::default()).await;
    applied(&hub, &plan).await;
    let ascend = hub.engine.member("ascend").unwrap().id.0;
    let now = hub.clock.now().micros();
    let claim = Claim {
        system: ascend,
        lane: None,
        limit: 1,
        now,
        until: now + 9,
    };
    assert_eq!(hub.store.claim_writes(&claim).await.unwrap().len(), 1);
    let before = (hub.store.sequence(), hub.store.outbox(0, 99).await.unwrap());
    assert!(before.1.iter().any(|row| row.state == CLAIMED));
    let application = applied(&hub, &plan).await;
    assert_eq!(
        (application.released, application.goes_on),
        (0, GoesOn::AsBefore)
    );
    assert_eq!(application.told.len(), 6);
    assert!(
        application
            .told
            .iter()
            .all(|(_, fate)| *fate == Fate::UnderWay)
    );
    assert!(!application.is_short());
    let after = (hub.store.sequence(), hub.store.outbox(0, 99).await.unwrap());
    assert_eq!(after, before);
}

async fn r49_a_check_before_mail_only_plans_what_it_finds(hub: Hub) {
    hub.fakes.person(SYSTEMS, "dot");
    hub.pass(60);
    hub.poll().await;
    hub.fakes.get("ascend").save("dot", MARKETING, &Shown::Set);
    let crew = Crew {
        shared: Arc::clone(&hub.engine.shared),
        members: hub.engine.members.clone(),
    };
    let desk = Desk::new(Arc::new(crew));
    let list = ["dot@hub.example".to_owned()];
    let ask = Ask {
        purpose: "marketing".to_owned(),
        people: desk.people(&list).await.unwrap(),
        freshness: Freshness::Within(Duration::ZERO),
    };
    let checklist = desk.check(&ask).await.unwrap();
    assert_eq!(checklist.counts().of(Answer::Withdrawn), 1);
    assert_eq!(
        states(&hub).await,
        [PLANNED; 8],
        "what the laggards need is planned"
    );
    assert_eq!(hub.emit().await, 0);
    assert_eq!(outsiders(&hub), 0);
}

async fn r51_many_pages_are_applied(hub: Hub) {
    for number in 0..1_200 {
        hub.fakes.person(&["crm", "ascend"], &format!("p{number}"));
    }
    hub.pass(60);
    for number in 0..1_200 {
        hub.fakes
            .get("crm")
            .save(&format!("p{number}"), MARKETING, &Shown::Set);
    }
    hub.poll().await;
    let plan = saved(&hub, Filter::default()).await;
    assert_eq!(plan.writes.len(), 1_206);
    assert_eq!(applied(&hub, &plan).await.released, 1_206);
    assert!(states(&hub).await.iter().all(|state| *state == PENDING));
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_grant_that_is_released_waits_as_every_grant_does() {
    let mut hub = Hub::start_as(FirstRun::Plan, SYSTEMS, "", None).await;
    let mut checked = hub.checked.clone();
    checked.policy.grant_settle = Duration::from_mins(10);
    hub.go_on(&checked).await;
    hub.fakes.person(SYSTEMS, "ann");
    hub.pass(60);
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Set);
    hub.pass(60);
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Default);
    hub.fakes
        .get("superoffice")
        .save("ann", STORE, &consented());
    hub.poll().await;
    hub.pass(86_400);
    let plan = saved(&hub, Filter::default()).await;
    let grants = plan
        .writes
        .iter()
        .filter(|write| write.lane == "grant")
        .count();
    assert!(grants > 0, "{plan:?}");
    applied(&hub, &plan).await;
    let earliest = hub.clock.now().plus(600_000_000).micros();
    let rows = hub.store.outbox(0, 99).await.unwrap();
    let of_grants = rows.iter().filter(|row| row.key.lane == 1);
    assert!(of_grants.clone().count() > 0);
    for row in of_grants {
        assert_eq!((row.state, row.not_before), (PENDING, earliest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r51_the_commands_save_and_apply_a_plan() {
    let hub = planning(None).await;
    let saved = hub.command(&["plan", "--stored", "--output", "json", "--save", "all.json"]);
    assert_eq!(saved.status, Some(2), "{}", saved.complained);
    let listed: Value = serde_json::from_str(&saved.said).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 6);
    assert_eq!(listed[0]["reason"], json!("nothing later was said"));
    let file = hub.folder.path().join("all.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains('@'), "a plan holds no address: {text}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&plan["consentd_plan"], &plan["complete"]),
        (&json!(1), &json!(true))
    );
    let status = hub.command(&["status"]).said;
    assert!(status.contains("6 writes are planned"), "{status}");

    let unknown = hub.command(&["plan", "--stored", "--system", "crn"]);
    assert_eq!(unknown.status, Some(1));
    assert!(unknown.complained.contains("crm"), "{}", unknown.complained);
    let one = [
        "plan", "--stored", "--system", "ascend", "--save", "one.json",
    ];
    assert_eq!(hub.command(&one).status, Some(2));
    let applied = hub.command(&["apply", "one.json", "--reason", "a try"]);
    assert_eq!(applied.status, Some(0), "{}", applied.complained);
    assert!(
        applied
            .said
            .starts_with("3 released, 0 dropped. Planning goes on"),
        "{}",
        applied.said
    );
    let applied = hub.command(&["apply", "all.json", "--reason", "all", "--output", "csv"]);
    assert_eq!(applied.status, Some(2), "three of them were let go before");
    assert!(
        applied
            .complained
            .starts_with("3 released, 3 dropped. Planning has ended")
    );
    assert_eq!(applied.said.matches("already on its way").count(), 3);
    let acts = ledger::acts(&hub.store_path()).await;
    assert_eq!(acts.len(), 2);
    assert_eq!(acts[1]["planning"], json!("ended"));
    assert_eq!(
        (&acts[1]["released"], &acts[1]["dropped"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        (&acts[1]["act"], &acts[1]["made_at"]),
        (&json!("apply"), &plan["made_at"])
    );

    for (name, content, why) in [
        ("list.json", "[]".to_owned(), "is no plan"),
        (
            "other.json",
            text.replace("\"consentd_plan\": 1", "\"consentd_plan\": 2"),
            "the form 2",
        ),
        ("cut.json", text[..text.len() / 2].to_owned(), "is no plan"),
    ] {
        std::fs::write(hub.folder.path().join(name), content).unwrap();
        let refused = hub.command(&["apply", name]);
        assert_eq!(refused.status, Some(1));
        assert!(refused.complained.contains(why), "{}", refused.complained);
    }
    assert_eq!(hub.command(&["apply", "nowhere.json"]).status, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn r49_first_run_write_writes_at_once() {
    let hub = Hub::start_as(FirstRun::Write, SYSTEMS, "", None).await;
    hub.fakes.person(SYSTEMS, "ann");
    hub.pass(60);
    hub.fakes.get("crm").save("ann", MARKETING, &Shown::Set);
    assert_eq!(hub.round().await, 2);
    assert_eq!(hub.store.origin().await.unwrap().planning, Some(false));
    let figures = hub.store.figures(At::from_micros(0)).await.unwrap();
    assert_eq!(first_run::advice(&figures), None);
}
