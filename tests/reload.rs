//! Systems are switched on and off while the daemon's tasks run (R49, R50).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use consentd::cli::sandbox::{Part, Rehearsal, write_config};
use consentd::config;
use consentd::consent::PurposeId;
use consentd::runtime::clock::{Clock, System};
use consentd::runtime::health::Board;
use consentd::runtime::lifecycle::Lifecycle;
use consentd::runtime::supervisor::{Ground, ReloadError, Supervisor};
use consentd::store::{self, Access, FeedRow, Store};
use consentd::sync::assemble;
use consentd::sync::switches::{Operator, pause, resume};
use consentd::web::api::Tokens;
use consentd::web::metrics::install;
use consentd_sandbox::superoffice::{MARKETING, NewConsent, NewPerson};
use consentd_sandbox::{AGENT, Options, SPECIALIST, Sandbox};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// The recorder is one per process.
static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| install().unwrap());

/// Longer than any change takes, also on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Salesforce, Ascend and SuperOffice with the daemon's tasks between them, and a file that says which
/// of them take part.
struct Daemon {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
    rehearsal: Rehearsal,
    config: PathBuf,
    store: Arc<dyn Store>,
    lifecycle: Lifecycle,
    supervisor: Arc<Supervisor>,
}

impl Daemon {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(Options {
            contacts: 0,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        let rehearsal = Rehearsal {
            overlap_secs: 5,
            grant_settle_secs: 1,
            superoffice: Part::On,
            ..Rehearsal::default()
        };
        let config = write_config(&sandbox, folder.path(), &rehearsal).unwrap();
        let checked = config::load(&config).unwrap();
        let store = store::open(&checked.store, Access::Daemon).await.unwrap();
        let (lifecycle, supervisor) = run(&config, &store).await;
        Self {
            sandbox,
            folder,
            rehearsal,
            config,
            store,
            lifecycle,
            supervisor,
        }
    }

    /// Stops every task and starts them anew, as a restart does.
    async fn restart(&mut self) {
        self.lifecycle.end(Duration::from_secs(30)).await;
        (self.lifecycle, self.supervisor) = run(&self.config, &self.store).await;
    }

    /// Writes the configuration with SuperOffice like this, and has it read again. What was taken.
    async fn reload(&mut self, superoffice: Part) -> Vec<String> {
        self.rehearsal.superoffice = superoffice;
        write_config(&self.sandbox, self.folder.path(), &self.rehearsal).unwrap();
        self.supervisor.reload().await.unwrap().taken
    }

    async fn feed(&self, name: &str) -> FeedRow {
        let systems = self.store.systems().await.unwrap();
        let (id, _) = systems
            .into_iter()
            .find(|(_, known)| known == name)
            .unwrap();
        self.store.feed(id).await.unwrap()
    }

    /// Somebody in Salesforce and SuperOffice, granted everywhere.
    fn person(&self, name: &str) -> Person {
        let address = format!("{name}@reload.example");
        let fields = json!({ "LastName": name, "Email": address });
        let fields: Map<String, Value> = serde_json::from_value(fields).unwrap();
        let salesforce = self.sandbox.salesforce();
        let contact = salesforce
            .create("Contact", &fields, SPECIALIST, None)
            .unwrap();
        let superoffice = self.sandbox.superoffice();
        let person = NewPerson {
            last_name: name.to_owned(),
            addresses: vec![address],
            ..NewPerson::default()
        };
        let person = superoffice.create_person(&person, MARKETING).unwrap();
        superoffice
            .set_consent(person, &NewConsent::new("EMARKETING", "61A"), MARKETING)
            .unwrap();
        Person { contact, person }
    }

    /// Waits until a later opt-out has arrived, so that everybody before is known in both.
    async fn until_all_are_read(&self) {
        let last = self.person("last");
        self.opt_out(&last);
        until("the last one is read", async || {
            self.out(&last) == (true, true)
        })
        .await;
    }

    fn opt_out(&self, person: &Person) {
        let out = json!({ "HasOptedOutOfEmail": true });
        let out: Map<String, Value> = serde_json::from_value(out).unwrap();
        let salesforce = self.sandbox.salesforce();
        salesforce.edit(&person.contact, &out, AGENT).unwrap();
    }

    fn withdraw(&self, person: &Person) {
        self.sandbox
            .superoffice()
            .set_consent(
                person.person,
                &NewConsent::new("EMARKETING", "WITHDRAWN"),
                MARKETING,
            )
            .unwrap();
    }

    /// Whether Salesforce and SuperOffice show the person as withdrawn.
    fn out(&self, person: &Person) -> (bool, bool) {
        let contact = self.sandbox.salesforce().contact(&person.contact).unwrap();
        let there = self.sandbox.superoffice().person(person.person).unwrap();
        let consent = there.consent("EMARKETING").unwrap();
        (contact.opted_out, consent.legal_base == "WITHDRAWN")
    }

    /// Calls that SuperOffice was asked for so far.
    fn calls(&self) -> u64 {
        self.sandbox.superoffice().calls().by_kind.values().sum()
    }

    /// Writes that wait for SuperOffice.
    async fn waiting(&self) -> usize {
        let rows = self.store.outbox(0, 1_000).await.unwrap();
        let systems = self.store.systems().await.unwrap();
        let name = |id: i16| systems.iter().find(|(known, _)| *known == id).unwrap();
        rows.iter()
            .filter(|row| name(row.key.system).1 == "superoffice")
            .count()
    }
}

struct Person {
    contact: String,
    person: i64,
}

/// Starts the tasks on a store.
async fn run(config: &std::path::Path, store: &Arc<dyn Store>) -> (Lifecycle, Arc<Supervisor>) {
    let clock: Arc<dyn Clock> = Arc::new(System);
    let board = Arc::new(Board::default());
    let lifecycle = Lifecycle::new(Arc::clone(&board), Arc::clone(&clock));
    let path = config.to_owned();
    let ground = Ground {
        store: Arc::clone(store),
        clock,
        board,
        metrics: METRICS.clone(),
        connect: Arc::new(assemble::connect),
        hooks: Arc::default(),
        tokens: Arc::new(Tokens::default()),
        source: Arc::new(move || config::load(&path)),
    };
    let checked = config::load(config).unwrap();
    let supervisor = Supervisor::start(checked, ground, &lifecycle).await;
    (lifecycle, supervisor.unwrap())
}

/// Waits until it is so.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LIMIT, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r49_switching_off_stops_every_call_and_switching_on_reads_before_it_writes() {
    let mut daemon = Daemon::start().await;
    let (ann, bob) = (daemon.person("ann"), daemon.person("bob"));
    daemon.until_all_are_read().await;

    let taken = daemon.reload(Part::Off).await;
    assert!(
        taken.iter().any(|text| text.contains("superoffice")),
        "{taken:?}"
    );
    let calls = daemon.calls();
    assert!(
        !daemon.feed("superoffice").await.loaded,
        "what is read of it is out of date from now on"
    );
    daemon.opt_out(&ann);
    daemon.withdraw(&bob);
    until("the write for ann is parked", async || {
        daemon.waiting().await > 0
    })
    .await;
    assert_eq!(daemon.out(&ann), (true, false), "nothing is written");
    assert_eq!(daemon.out(&bob), (false, true), "nothing is read");
    assert_eq!(daemon.calls(), calls, "no call was made");

    daemon.reload(Part::On).await;
    until("ann's write arrives, and bob's word counts", async || {
        daemon.out(&ann) == (true, true) && daemon.out(&bob) == (true, true)
    })
    .await;
    assert!(daemon.feed("superoffice").await.loaded);
    daemon.lifecycle.end(Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r49_a_faulty_configuration_changes_nothing() {
    let daemon = Daemon::start().await;
    let ann = daemon.person("ann");
    let engine = daemon.supervisor.engine();
    let good = std::fs::read_to_string(&daemon.config).unwrap();
    std::fs::write(
        &daemon.config,
        good.replace("precedence = 4", "precedense = 4"),
    )
    .unwrap();
    let refused = daemon.supervisor.reload().await.unwrap_err();
    assert!(
        matches!(&refused, ReloadError::Faulty(faults) if faults.0.len() == 1),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("everything goes on as before"),
        "{refused}"
    );
    assert!(Arc::ptr_eq(&engine, &daemon.supervisor.engine()));
    daemon.opt_out(&ann);
    until("the engine goes on", async || {
        daemon.out(&ann) == (true, true)
    })
    .await;
    std::fs::write(&daemon.config, good).unwrap();
    let changed = daemon.supervisor.reload().await.unwrap();
    assert!(changed.taken.is_empty(), "{changed:?}");
    assert!(
        Arc::ptr_eq(&engine, &daemon.supervisor.engine()),
        "nothing is begun anew for nothing"
    );
    daemon.lifecycle.end(Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r50_a_pause_holds_over_reload_and_restart_until_it_is_resumed() {
    let mut daemon = Daemon::start().await;
    let ann = daemon.person("ann");
    daemon.until_all_are_read().await;
    let systems = daemon.store.systems().await.unwrap();
    let (id, _) = systems
        .into_iter()
        .find(|(_, name)| name == "superoffice")
        .unwrap();
    let by = Operator::new("dana", "their upgrade").unwrap();
    assert!(pause(&*daemon.store, id, &by, System.now()).await.unwrap());
    daemon.rehearsal.grant_settle_secs = 2;
    daemon.reload(Part::On).await;
    daemon.restart().await;
    let calls = daemon.calls();
    daemon.opt_out(&ann);
    until("the write waits", async || daemon.waiting().await > 0).await;
    assert_eq!(daemon.out(&ann), (true, false));
    assert_eq!(daemon.calls(), calls, "a paused system is not even asked");
    let feed = daemon.feed("superoffice").await;
    assert_eq!(feed.paused_note.as_deref(), Some("dana: their upgrade"));
    let by = Operator::new("dana", "it is done").unwrap();
    let resumed = resume(&*daemon.store, id, false, &by, System.now()).await;
    assert!(resumed.unwrap().paused);
    until("what waited is written", async || {
        daemon.out(&ann) == (true, true)
    })
    .await;
    daemon.lifecycle.end(Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_other_thresholds_of_mass_changes_take_effect_without_a_restart() {
    let daemon = Daemon::start().await;
    let grants = || {
        let engine = daemon.supervisor.engine();
        let of = |name: &str| {
            let id = engine.member(name).unwrap().id;
            let rules = &engine.shared.rules;
            rules.thresholds(id, PurposeId(0)).grants.at_least
        };
        (of("salesforce"), of("ascend"))
    };
    assert_eq!(grants(), (50, 50));
    let before = std::fs::read_to_string(&daemon.config).unwrap();
    let purpose = config::load(&daemon.config).unwrap();
    let purpose = purpose.purposes.name(PurposeId(0)).to_owned();
    let more = format!(
        "\n[policy.mass_change]\ngrants_at_least = 7\n\
         [systems.salesforce.mass_change.\"{purpose}\"]\ngrants_at_least = 3\n"
    );
    std::fs::write(&daemon.config, before.clone() + &more).unwrap();
    let taken = daemon.supervisor.reload().await.unwrap().taken;
    for expected in ["policy", "settings of salesforce"] {
        assert!(taken.contains(&expected.to_owned()), "{taken:?}");
    }
    assert_eq!(grants(), (3, 7));
    std::fs::write(&daemon.config, before).unwrap();
    daemon.supervisor.reload().await.unwrap();
    assert_eq!(grants(), (50, 50));
    daemon.lifecycle.end(Duration::from_secs(30)).await;
}
