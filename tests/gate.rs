//! The gate through the whole engine: people come back in a system, the gate is asked, requests are
//! opened and closed, and the check before mail knows of them (R47, R48).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[expect(dead_code, reason = "this file uses a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/postgres.rs"]
mod postgres;

use async_trait::async_trait;
use consentd::config::SubscriberKey;
use consentd::connector::gate::{Activation, Gate, Standing, SubscriberStatus, Unit};
use consentd::connector::{Fault, FaultClass, Probe};
use consentd::consent::{Answer, At, Shown};
use consentd::runtime::clock::Clock as _;
use consentd::store::{
    AlarmChanges, AlarmRow, Changes, Known, PlanningChange, RequestQuery, RequestRow, Scope,
};
use consentd::sync::breaker::Breaker;
use consentd::sync::checklist::{Ask, Crew, Freshness, Person, check};
use consentd::sync::gate::by_hand::{self, Act, Came};
use consentd::sync::gate::{Auto, Keeper, Terms};
use consentd::sync::switches::Operator;
use hub::{Hub, MARKETING, configured};
use postgres::Database;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use SubscriberStatus::{Active, Bounced, Held, Unsubscribed};

const SYSTEMS: &[&str] = &["crm", "ascend"];
const PARENT: &str = "100";
const BOULDER: &str = "200";

/// A gate in memory.
struct FakeGate {
    units: Vec<Unit>,
    state: Mutex<State>,
    /// Done while the next question is under way.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    is_asked: Notify,
    answers: Notify,
}

#[derive(Default)]
struct State {
    standings: BTreeMap<(String, String), (SubscriberStatus, Option<At>)>,
    /// Keys that were asked for.
    asked: Vec<String>,
    /// Who was set active, by unit, in order.
    activated: Vec<(String, String)>,
    /// So many calls succeed; the others fail.
    calls_left: Option<u32>,
    /// Setting these active fails.
    stubborn: BTreeSet<String>,
}

impl FakeGate {
    fn new() -> Arc<Self> {
        let unit = |id: &str, name: &str| Unit {
            id: id.to_owned(),
            name: name.to_owned(),
        };
        Arc::new(Self {
            units: vec![unit(PARENT, "parent"), unit(BOULDER, "CU Boulder")],
            state: Mutex::default(),
            meanwhile: Mutex::default(),
            is_asked: Notify::new(),
            answers: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What both units say of a subscriber.
    fn stands(&self, key: &str, parent: SubscriberStatus, unit: SubscriberStatus) {
        for (id, status) in [(PARENT, parent), (BOULDER, unit)] {
            let place = (key.to_owned(), id.to_owned());
            self.state().standings.insert(place, (status, None));
        }
    }

    fn call(&self) -> Result<(), Fault> {
        match &mut self.state().calls_left {
            None => Ok(()),
            Some(0) => Err(Fault::new(FaultClass::Retryable, "http-503", "away")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Gate for FakeGate {
    async fn probe(&self) -> Result<Probe, Fault> {
        Ok(Probe::default())
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    async fn standings(&self, keys: &[String]) -> Result<Vec<Standing>, Fault> {
        self.call()?;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(act) = meanwhile {
            act();
            self.is_asked.notify_one();
            self.answers.notified().await;
        }
        let mut state = self.state();
        state.asked.extend_from_slice(keys);
        let mut found = Vec::new();
        for ((key, unit), (status, left)) in &state.standings {
            if keys.contains(key) {
                found.push(Standing {
                    key: key.clone(),
                    unit: unit.clone(),
                    status: *status,
                    unsubscribed_at: *left,
                });
            }
        }
        Ok(found)
    }

    async fn activate(&self, unit: &str, keys: &[String]) -> Result<Vec<Activation>, Fault> {
        self.call()?;
        let mut state = self.state();
        let mut outcomes = Vec::new();
        for key in keys {
            if state.stubborn.contains(key) {
                let fault = Fault::new(FaultClass::Rejected, "no-effect", "it stays as it is");
                outcomes.push(Activation::Failed(fault));
                continue;
            }
            let place = (key.clone(), unit.to_owned());
            state.standings.insert(place, (Active, None));
            state.activated.push((unit.to_owned(), key.clone()));
            outcomes.push(Activation::Active);
        }
        Ok(outcomes)
    }

    fn keys_at_once(&self) -> usize {
        2
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// The hub with a gate, and a keeper that is driven by hand.
struct Rig {
    hub: Hub,
    gate: Arc<FakeGate>,
    keeper: Keeper,
    _secrets: tempfile::TempDir,
    _database: Option<Database>,
    sheets: tempfile::TempDir,
}

impl Rig {
    async fn start(auto: Auto, database: Option<Database>) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let sheets = tempfile::tempdir().unwrap();
        let more = table(secrets.path(), sheets.path());
        let url = database.as_ref().map(|database| database.url.clone());
        let hub = Hub::start_in(SYSTEMS, &more, url).await;
        let gate = FakeGate::new();
        let checked = configured(hub.folder.path(), SYSTEMS, &more);
        let settings = checked.gate().unwrap();
        let shared = Arc::clone(&hub.engine.shared);
        let terms = Terms {
            auto,
            ..Terms::of(settings, &shared.rules).unwrap()
        };
        let keeper = Keeper {
            gate: Arc::clone(&gate) as Arc<dyn Gate>,
            shared,
            terms,
            health: Arc::default(),
            breaker: Breaker::default(),
        };
        Self {
            hub,
            gate,
            keeper,
            _secrets: secrets,
            _database: database,
            sheets,
        }
    }

    /// The same with people in both systems, read, and the first round behind it.
    async fn with(auto: Auto, people: &[&str]) -> Self {
        Self::with_store(auto, people, None).await
    }

    async fn with_store(auto: Auto, people: &[&str], database: Option<Database>) -> Self {
        let rig = Self::start(auto, database).await;
        for name in people {
            rig.hub.fakes.person(SYSTEMS, name);
        }
        rig.hub.settle().await;
        rig.turn().await;
        rig
    }

    async fn turn(&self) {
        let mut is_known = true;
        let stop = CancellationToken::new();
        self.keeper.turn(&mut is_known, &stop).await.unwrap();
    }

    /// Somebody opts out, or back in, in the CRM, and it is read.
    async fn opt(&self, name: &str, out: bool) {
        let shown = if out { Shown::Set } else { Shown::Default };
        self.hub.pass(5);
        self.hub.fakes.get("crm").save(name, MARKETING, &shown);
        self.hub.settle().await;
    }

    /// Opts out and back in again.
    async fn comes_back(&self, name: &str) {
        self.opt(name, true).await;
        self.opt(name, false).await;
    }

    async fn all(&self) -> Vec<RequestRow> {
        let query = RequestQuery {
            closed: true,
            ..RequestQuery::default()
        };
        let found = self.hub.store.requests(&query, 100).await.unwrap();
        found.into_iter().map(|view| view.request).collect()
    }

    /// Open requests as `subscriber unit status`, sorted.
    async fn open(&self) -> Vec<String> {
        let all = self.all().await;
        let open = all.iter().filter(|request| request.closed_at.is_none());
        let open = open.map(|request| {
            let RequestRow {
                subscriber,
                unit,
                status,
                ..
            } = request;
            format!("{subscriber} {unit} {status}")
        });
        let mut open: Vec<String> = open.collect();
        open.sort();
        open
    }

    /// Why each closed request was closed.
    async fn closings(&self) -> Vec<String> {
        let all = self.all().await.into_iter();
        all.filter_map(|request| request.closing).collect()
    }

    async fn answer(&self, name: &str, purpose: &str) -> Answer {
        let crew = Crew {
            shared: Arc::clone(&self.hub.engine.shared),
            members: self.hub.engine.members.clone(),
        };
        let address = format!("{name}@hub.example");
        let ask = Ask {
            purpose: purpose.to_owned(),
            people: vec![Person::from_text(&address, &crew.shared.pseudonyms)],
            freshness: Freshness::Within(Duration::ZERO),
        };
        let checklist = check(&crew, &ask).await.unwrap();
        let counts = checklist.counts();
        let mut answers = counts.by_answer().filter(|(_, count)| *count > 0);
        answers.next().unwrap().0
    }

    fn night(&self) {
        self.hub.pass(24 * 3_600);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.gate.state().asked)
    }
}

/// The configuration of the gate.
fn table(secrets: &Path, sheets: &Path) -> String {
    let secret = secrets.join("mc-secret");
    fs::write(&secret, "word").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o400)).unwrap();
    let (secret, sheets) = (secret.display(), sheets.display());
    format!(
        r#"
        [[purposes]]
        name = "marketing.news"
        [marketing_cloud]
        auth_url = "http://127.0.0.1:9"
        client_id = "package"
        client_secret_file = "{secret}"
        account = "{PARENT}"
        time_zone = "America/Denver"
        system = "crm"
        [[marketing_cloud.units]]
        id = "{BOULDER}"
        name = "CU Boulder"
        [marketing_cloud.sheet]
        directory = "{sheets}"
        "#
    )
}

#[tokio::test]
async fn r47_whoever_comes_back_is_asked_about_and_the_sheet_gets_the_others() {
    who_comes_back(None).await;
}

#[tokio::test]
async fn r47_whoever_comes_back_is_asked_about_on_postgres_too() {
    who_comes_back(Some(Database::create().await)).await;
}

async fn who_comes_back(database: Option<Database>) {
    let people = ["green", "missing", "yellow", "gray", "red", "quiet"];
    let rig = Rig::with_store(Auto::Off, &people, database).await;
    rig.gate.stands("green", Active, Active);
    rig.gate.stands("yellow", Bounced, Active);
    rig.gate.stands("gray", Active, Held);
    rig.gate.stands("red", Unsubscribed, Unsubscribed);
    rig.gate.stands("quiet", Held, Held);
    for name in &people[..5] {
        rig.comes_back(name).await;
    }
    rig.asked();
    rig.turn().await;
    assert_eq!(
        rig.open().await,
        [
            "gray 200 held",
            "red 100 unsubscribed",
            "red 200 unsubscribed",
            "yellow 100 bounced"
        ],
        "green and missing pass, and who never left is not asked about"
    );
    let asked: BTreeSet<String> = rig.asked().into_iter().collect();
    assert!(!asked.contains("quiet"), "{asked:?}");
    let requests = rig.all().await;
    assert!(requests.iter().all(|request| request.cause == "opt-in"));
    assert!(
        requests[0].evidence.contains(r#""system":"crm""#),
        "{}",
        requests[0].evidence
    );

    rig.turn().await;
    assert_eq!(rig.asked(), Vec::<String>::new(), "once is enough");
}

#[tokio::test]
async fn r55_an_address_that_is_the_key_is_stored_in_no_request() {
    let mut rig = Rig::with(Auto::Off, &["ann"]).await;
    rig.keeper.terms.key = SubscriberKey::Address;
    rig.gate.stands("ann@hub.example", Active, Held);
    rig.comes_back("ann").await;
    rig.turn().await;
    assert_eq!(rig.asked().last().unwrap(), "ann@hub.example");
    assert_eq!(rig.open().await, [" 200 held"], "no address in the request");
    let rows = consentd::sync::sheet::rows(
        &*rig.hub.store,
        &rig.keeper.shared.rules,
        rig.keeper.terms.purpose,
    );
    let rows = rows.await.unwrap();
    assert_eq!(rows[0].subscriber, "ann@hub.example", "but on the sheet");
    rig.gate.stands("ann@hub.example", Active, Active);
    rig.night();
    rig.turn().await;
    assert_eq!(rig.closings().await, ["green"]);
}

#[tokio::test]
async fn r47_whose_contact_comes_in_while_the_gate_is_asked_is_asked_about_again() {
    let rig = Rig::with(Auto::Off, &["ann"]).await;
    rig.comes_back("ann").await;
    rig.gate.stands("twin", Held, Active);
    let crm = rig.hub.fakes.get("crm");
    // Read while the first question is under way.
    *rig.gate.meanwhile.lock().unwrap() = Some(Box::new(move || {
        crm.add("twin", "ann@hub.example");
    }));
    let hub = &rig.hub;
    let reads = async {
        rig.gate.is_asked.notified().await;
        hub.poll().await;
        rig.gate.answers.notify_one();
    };
    tokio::join!(rig.turn(), reads);
    assert_eq!(rig.open().await, ["twin 100 held"]);
}

#[tokio::test]
async fn r47_a_later_green_reading_closes_a_request() {
    let rig = Rig::with(Auto::Off, &["ann"]).await;
    rig.gate.stands("ann", Active, Held);
    rig.comes_back("ann").await;
    rig.turn().await;
    assert_eq!(rig.open().await, ["ann 200 held"]);
    rig.gate.stands("ann", Active, Bounced);
    rig.night();
    rig.turn().await;
    assert_eq!(rig.open().await, ["ann 200 bounced"], "what it says now");
    rig.gate.stands("ann", Active, Active);
    rig.night();
    rig.turn().await;
    assert_eq!(rig.open().await, Vec::<String>::new());
    assert_eq!(rig.closings().await, ["green"]);
}

#[tokio::test]
async fn r47_who_opts_out_again_needs_no_request() {
    let rig = Rig::with(Auto::Off, &["ann"]).await;
    rig.gate.stands("ann", Held, Held);
    rig.comes_back("ann").await;
    rig.turn().await;
    assert_eq!(rig.open().await.len(), 2);
    rig.asked();
    rig.opt("ann", true).await;
    rig.turn().await;
    assert_eq!(rig.closings().await, ["not-granted", "not-granted"]);
    assert_eq!(rig.asked(), Vec::<String>::new(), "nobody need be asked");
}

#[tokio::test]
async fn r47_while_the_gate_is_away_nothing_is_forgotten_and_nothing_is_guessed() {
    let rig = Rig::with(Auto::Off, &["ann", "bob"]).await;
    rig.gate.stands("ann", Held, Active);
    rig.comes_back("ann").await;
    rig.gate.state().calls_left = Some(0);
    let stop = CancellationToken::new();
    let failed = rig.keeper.turn(&mut true, &stop).await;
    assert!(failed.is_err());
    assert_eq!(rig.open().await, Vec::<String>::new());
    rig.gate.state().calls_left = None;
    rig.turn().await;
    assert_eq!(rig.open().await, ["ann 100 held"]);
}

#[tokio::test]
async fn r47_everybody_who_wants_mail_is_asked_about_once_a_night() {
    let rig = Rig::with(Auto::Off, &["ann", "bob", "cid", "silent"]).await;
    for name in ["ann", "bob", "cid"] {
        rig.comes_back(name).await;
    }
    rig.opt("cid", true).await;
    rig.turn().await;
    rig.gate.stands("bob", Active, Held);
    rig.asked();
    rig.night();
    // The second call of the round fails, and the next turn goes on.
    rig.gate.state().calls_left = Some(0);
    let stop = CancellationToken::new();
    assert!(rig.keeper.turn(&mut true, &stop).await.is_err());
    rig.gate.state().calls_left = None;
    rig.turn().await;
    let mut asked = rig.asked();
    asked.sort();
    assert_eq!(
        asked,
        ["ann", "bob"],
        "neither who left nor who never spoke"
    );
    assert_eq!(rig.open().await, ["bob 200 held"]);
    assert_eq!(rig.all().await[0].cause, "round");
    rig.hub.pass(3_600);
    rig.turn().await;
    assert_eq!(rig.asked(), Vec::<String>::new(), "the night is over");
}

#[tokio::test]
async fn r48_an_open_request_makes_undeliverable_what_the_gate_guards() {
    let rig = Rig::with(Auto::Off, &["ann"]).await;
    rig.comes_back("ann").await;
    rig.turn().await;
    assert_eq!(rig.answer("ann", "marketing").await, Answer::Send);
    rig.gate.stands("ann", Active, Held);
    rig.night();
    rig.turn().await;
    assert_eq!(rig.answer("ann", "marketing").await, Answer::Undeliverable);
    let shared = &rig.hub.engine.shared;
    let news = shared.rules.purposes.find("marketing.news").unwrap();
    assert!(shared.is_guarded(news), "a category below is guarded too");
    assert_ne!(
        rig.answer("ann", "store").await,
        Answer::Undeliverable,
        "another purpose is not"
    );
    rig.opt("ann", true).await;
    assert_eq!(
        rig.answer("ann", "marketing").await,
        Answer::Withdrawn,
        "what the person wants comes first"
    );
}

#[tokio::test]
async fn r47_people_close_requests_and_say_which_are_urgent() {
    let rig = Rig::with(Auto::Off, &["ann"]).await;
    rig.gate.stands("ann", Active, Held);
    rig.comes_back("ann").await;
    rig.turn().await;
    let id = rig.all().await[0].id;
    let by = Operator::new("ann from eComm", "a donor waits").unwrap();
    let act = async |act| {
        let now = rig.hub.clock.now();
        let ids = BTreeSet::from([id, 9_999]);
        let came = by_hand::act(&*rig.hub.store, &ids, act, &by, now);
        let came = came.await.unwrap();
        assert_eq!(came[&9_999], Came::Unknown);
        came[&id]
    };
    assert_eq!(act(Act::Urgent).await, Came::Changed);
    assert_eq!(act(Act::Urgent).await, Came::Same);
    assert!(rig.all().await[0].urgent);
    assert_eq!(act(Act::Weekly).await, Came::Changed);
    assert_eq!(act(Act::Done).await, Came::Changed);
    assert_eq!(act(Act::Done).await, Came::Closed);
    let closed = rig.all().await.remove(0);
    assert_eq!(closed.closing.as_deref(), Some("done"));
    assert_eq!(
        closed.closed_by.as_deref(),
        Some("ann from eComm: a donor waits")
    );
    rig.night();
    rig.turn().await;
    assert_eq!(
        rig.open().await,
        ["ann 200 held"],
        "the gate says otherwise, so it is opened anew"
    );
}

#[tokio::test]
async fn r47_status_has_a_line_on_the_gate() {
    let rig = Rig::start(Auto::Off, None).await;
    let line = || {
        let answer = rig.hub.command(&["status"]);
        let mut lines = answer.said.lines();
        let line = lines.find(|line| line.starts_with("marketing_cloud: "));
        line.unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    assert_eq!(
        line(),
        "marketing_cloud: 0 open re-subscribe requests, 0 of them urgent; nobody was asked about yet"
    );
    for name in ["ann", "bob"] {
        rig.hub.fakes.person(SYSTEMS, name);
        rig.gate.stands(name, Active, Held);
    }
    rig.hub.settle().await;
    for name in ["ann", "bob"] {
        rig.comes_back(name).await;
    }
    rig.night();
    rig.turn().await;
    let id = rig.all().await[0].id.to_string();
    assert_eq!(
        rig.hub.command(&["resubscribe", "urgent", &id]).status,
        Some(0)
    );
    let told = "marketing_cloud: 2 open re-subscribe requests, 1 of them urgent; everybody was asked \
                about at 2026-01-02T";
    assert!(line().starts_with(told), "{}", line());
    let refused = AlarmRow {
        kind: "login-refused".to_owned(),
        about: "marketing_cloud".to_owned(),
        since: 1,
        raised_at: 1,
        cleared_at: None,
        text: "it refuses the login".to_owned(),
        posts: Vec::new(),
    };
    let changes = AlarmChanges {
        put: vec![refused],
        forget: Vec::new(),
    };
    rig.hub.store.put_alarms(&changes).await.unwrap();
    let told = "marketing_cloud: login refused; 2 open";
    assert!(line().starts_with(told), "{}", line());
}

#[tokio::test]
async fn r53_explain_tells_of_requests_in_words() {
    let rig = Rig::with(Auto::Off, &["ann", "bob"]).await;
    rig.gate.stands("ann", Active, Held);
    for name in ["ann", "bob"] {
        rig.comes_back(name).await;
    }
    rig.turn().await;
    let id = rig.all().await[0].id;
    let explain = |name: &str| -> Vec<String> {
        let address = format!("{name}@hub.example");
        let answer = rig.hub.command(&["explain", &address, "--output", "csv"]);
        assert_eq!(answer.status, Some(0), "{answer:?}");
        let mut rows = csv::Reader::from_reader(answer.said.as_bytes());
        let rows = rows.records().map(Result::unwrap);
        let told = rows.filter(|row| row[1] == *"resubscribe");
        told.map(|row| {
            assert_eq!(&row[2], "marketing_cloud", "{row:?}");
            assert_eq!(&row[3], name, "the subscriber's key: {row:?}");
            let now = if row[0] == *"now" { "now: " } else { "" };
            format!("{now}{}", &row[4])
        })
        .collect()
    };
    let opened = format!("request {id} is opened: unit {BOULDER} says held");
    let told = explain("ann");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], opened);
    let stands = format!("now: request {id} is open since ");
    assert!(told[1].starts_with(&stands), "{told:?}");
    let part = format!("(opt-in, weekly): unit {BOULDER} (CU Boulder) said held at ");
    assert!(told[1].contains(&part), "{told:?}");
    assert_eq!(explain("bob"), [""; 0], "nothing was asked for him");

    let number = id.to_string();
    let urgent = ["resubscribe", "urgent", &number, "--reason", "she waits"];
    assert_eq!(rig.hub.command(&urgent).status, Some(0));
    assert!(explain("ann")[2].contains("(opt-in, urgent)"));
    rig.gate.stands("ann", Active, Active);
    rig.night();
    rig.turn().await;
    let told = explain("ann");
    assert_eq!(
        told[..3],
        [
            opened,
            format!("request {id} is urgent now; ann: she waits"),
            format!("request {id} is closed: mail is delivered there again (unit {BOULDER})"),
        ]
    );
    assert!(
        told[3].contains(": mail is delivered there again, unit "),
        "what was closed lately is shown: {told:?}"
    );
}

#[tokio::test]
async fn r47_the_daemon_sets_the_parent_active_first_and_then_the_unit() {
    let rig = Rig::with(Auto::On, &["ann", "bob", "cid"]).await;
    for name in ["ann", "bob", "cid"] {
        rig.gate.stands(name, Held, Bounced);
    }
    rig.gate.state().stubborn.insert("cid".to_owned());
    for name in ["ann", "bob", "cid"] {
        rig.comes_back(name).await;
    }
    rig.turn().await;
    let activated = rig.gate.state().activated.clone();
    let units: Vec<&str> = activated.iter().map(|(unit, _)| unit.as_str()).collect();
    assert_eq!(units, [PARENT, PARENT, BOULDER, BOULDER], "{activated:?}");
    assert_eq!(
        rig.open().await,
        ["cid 100 held", "cid 200 bounced"],
        "without its parent no unit is tried"
    );
    let notes: Vec<Option<String>> = rig
        .all()
        .await
        .into_iter()
        .filter(|request| request.closed_at.is_none())
        .map(|request| request.note)
        .collect();
    assert_eq!(
        notes,
        [Some("no-effect: it stays as it is".to_owned()), None]
    );
    let closed: Vec<RequestRow> = rig.all().await;
    let by = closed
        .iter()
        .filter_map(|request| request.closed_by.as_deref());
    assert_eq!(by.collect::<BTreeSet<_>>(), BTreeSet::from(["consentd"]));
}

#[tokio::test]
async fn r47_a_dry_run_sets_nobody_active() {
    let rig = Rig::with(Auto::DryRun, &["ann"]).await;
    rig.gate.stands("ann", Held, Active);
    rig.comes_back("ann").await;
    rig.turn().await;
    assert_eq!(rig.gate.state().activated, []);
    let note = rig.all().await.remove(0).note.unwrap();
    assert!(note.contains("would be set active"), "{note}");
    assert_eq!(rig.open().await, ["ann 100 held"]);
}

#[tokio::test]
async fn r49_while_decisions_are_only_planned_nobody_is_set_active() {
    let rig = Rig::with(Auto::On, &["ann"]).await;
    rig.gate.stands("ann", Held, Active);
    rig.comes_back("ann").await;
    let turn = async |change: PlanningChange| {
        let decide = &mut |_: Known| Changes {
            planning: Some(change),
            ..Changes::default()
        };
        let store = &rig.hub.store;
        store.transact(&Scope::default(), decide).await.unwrap();
        rig.turn().await;
    };
    turn(PlanningChange::Begins).await;
    assert_eq!(rig.gate.state().activated, []);
    assert_eq!(rig.open().await, ["ann 100 held"], "a request is no write");
    let now = rig.hub.clock.now().micros();
    let grants_from = now;
    turn(PlanningChange::Ends { now, grants_from }).await;
    rig.hub.pass(86_400);
    rig.turn().await;
    assert_eq!(
        rig.gate.state().activated.len(),
        1,
        "the next round works what was left"
    );
}

#[tokio::test]
async fn r47_who_left_in_the_gate_itself_is_for_a_person_to_decide() {
    let rig = Rig::with(Auto::On, &["ann", "bob"]).await;
    rig.gate.stands("ann", Unsubscribed, Active);
    rig.comes_back("bob").await;
    let later = rig.hub.clock.now().plus(-1);
    rig.gate.state().standings.insert(
        ("bob".to_owned(), PARENT.to_owned()),
        (Unsubscribed, Some(later)),
    );
    rig.comes_back("ann").await;
    rig.comes_back("bob").await;
    rig.turn().await;
    assert_eq!(
        rig.gate.state().activated,
        [(PARENT.to_owned(), "bob".to_owned())],
        "bob came back after having left there; of ann nobody knows"
    );
    let ann = rig.all().await.into_iter().find(|r| r.subscriber == "ann");
    assert!(ann.unwrap().note.unwrap().contains("a person must decide"));
}

#[tokio::test]
async fn r47_the_sheet_is_written_weekly_without_who_left_meanwhile() {
    let rig = Rig::with(Auto::Off, &["ann", "bob"]).await;
    rig.gate.stands("ann", Active, Held);
    rig.gate.stands("bob", Active, Held);
    rig.comes_back("ann").await;
    rig.comes_back("bob").await;
    rig.turn().await;
    assert_eq!(rig.open().await.len(), 2);
    // The gate cannot be asked, so bob's request is still open; but he is not on the sheet.
    rig.opt("bob", true).await;
    let list = || {
        let mut names: Vec<String> = fs::read_dir(rig.sheets.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = list();
    rig.hub.pass(7 * 24 * 3_600);
    let rows = consentd::sync::sheet::rows(
        &*rig.hub.store,
        &rig.keeper.shared.rules,
        rig.keeper.terms.purpose,
    );
    let rows = rows.await.unwrap();
    let addresses: Vec<&str> = rows.iter().map(|row| row.address.as_str()).collect();
    assert_eq!(addresses, ["ann@hub.example"]);
    rig.turn().await;
    let after = list();
    assert_eq!(after.len(), before.len() + 2, "{before:?} {after:?}");
    let text = fs::read_to_string(
        rig.sheets
            .path()
            .join(after.iter().rfind(|n| n.ends_with("csv")).unwrap()),
    );
    let text = text.unwrap();
    assert!(text.contains("ann@hub.example") && !text.contains("bob@hub.example"));
}
