//! A configuration whose systems are [`Fake`]s, and an engine on them that is driven by hand.

use super::fake::{Fake, Keeps};
use consentd::config::{Checked, Disk, FirstRun, SystemSettings, check};
use consentd::connector::{Connector, Fault, FaultClass};
use consentd::consent::{At, Polarity, PurposeId, SystemRules};
use consentd::runtime::clock::{Clock, Manual};
use consentd::store::{self, Access, Store, StoreSettings};
use consentd::sync::assemble::{Engine, Lines, Parts};
use consentd::sync::engine::{Event, Listener};
use consentd::sync::{emit, poll};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const MARKETING: PurposeId = PurposeId(0);
pub(crate) const STORE: PurposeId = PurposeId(1);

const FLAG: &[(PurposeId, Polarity)] = &[(MARKETING, Polarity::OptOut)];
const RECORDS: &[(PurposeId, Polarity)] =
    &[(MARKETING, Polarity::Recorded), (STORE, Polarity::Recorded)];

/// What a system of that name is: `crm` and `ascend` hold a flag, all others hold records.
fn nature(name: &str) -> (Keeps, &'static [(PurposeId, Polarity)]) {
    match name {
        "crm" => (Keeps::History, FLAG),
        "ascend" => (Keeps::Modification, FLAG),
        _ => (Keeps::Records, RECORDS),
    }
}

/// Two purposes and these systems, with times for tests; `more` is added to the text, with the folder
/// for `HOME`. The text is put into the folder as `consentd.toml`, for commands.
pub(crate) fn configured(folder: &Path, names: &[&str], more: &str) -> Checked {
    for (name, content) in [
        ("hash-key", "8c1f4a0d97b35e2266f0a1c4d3e8b759"),
        ("secret", "word"),
    ] {
        let path = folder.join(name);
        if !path.exists() {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        }
    }
    let home = folder.display();
    let more = more.replace("HOME", &home.to_string());
    let mut text = format!(
        r#"
        first_run = "write"
        [server]
        listen = "127.0.0.1:0"
        [store]
        url = "sqlite://{home}/state/consentd.db"
        [identity]
        hash_key_file = "{home}/hash-key"
        [policy]
        grant_settle_secs = 0
        [[purposes]]
        name = "marketing"
        [[purposes]]
        name = "store"
        {more}
        "#
    );
    for (place, name) in (1..).zip(names) {
        let table = write!(
            text,
            r#"
            [systems.{name}]
            kind = "ascend"
            transport = "platform"
            time_zone = "America/Denver"
            precedence = {place}
            [systems.{name}.auth]
            grant = "client-credentials"
            login_url = "http://127.0.0.1:9"
            client_id = "{name}"
            client_secret_file = "{home}/secret"
            [systems.{name}.opt_out]
            mode = "contact-flag"
            field = "HasOptedOutOfEmail"
            polarity = "opt-out"
            "#
        );
        table.unwrap();
    }
    std::fs::write(folder.join("consentd.toml"), &text).unwrap();
    let mut checked = check(&text, [], &Disk::default()).unwrap();
    for system in &mut checked.systems {
        system.carries = nature(&system.name).1.to_vec();
        system.poll_interval = Duration::from_millis(20);
    }
    checked
}

/// The fakes by the names of their systems; each is made when it is first asked for.
#[derive(Clone)]
pub(crate) struct Fakes {
    clock: Arc<dyn Clock>,
    made: Arc<Mutex<BTreeMap<String, Arc<Fake>>>>,
    /// How often a connector was built for each.
    built: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Fakes {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            made: Arc::default(),
            built: Arc::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Arc<Fake> {
        let mut made = self.made.lock().unwrap();
        let make = || {
            let (keeps, carries) = nature(name);
            Fake::new(keeps, carries, Arc::clone(&self.clock))
        };
        Arc::clone(made.entry(name.to_owned()).or_insert_with(make))
    }

    /// Puts another system in the place of one.
    pub(crate) fn put(&self, name: &str, fake: Arc<Fake>) {
        self.made.lock().unwrap().insert(name.to_owned(), fake);
    }

    pub(crate) fn built(&self, name: &str) -> u64 {
        self.built.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Builds connectors for an engine. One that is called `broken` cannot be built.
    pub(crate) fn connect(
        &self,
    ) -> impl Fn(&SystemSettings) -> Result<Arc<dyn Connector>, Fault> + Send + Sync + use<> {
        let fakes = self.clone();
        move |system: &SystemSettings| {
            if system.name == "broken" {
                let why = "there is no trust store";
                return Err(Fault::new(FaultClass::Rejected, "trust-store", why));
            }
            let mut built = fakes.built.lock().unwrap();
            *built.entry(system.name.clone()).or_default() += 1;
            Ok(fakes.get(&system.name) as Arc<dyn Connector>)
        }
    }

    /// A person with a contact in each of these systems, of that name everywhere.
    pub(crate) fn person(&self, systems: &[&str], name: &str) {
        for system in systems {
            self.get(system).add(name, &format!("{name}@hub.example"));
        }
    }
}

/// An engine on fakes that is driven by hand, on a clock that is too.
pub(crate) struct Hub {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<Manual>,
    pub(crate) fakes: Fakes,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Engine,
    pub(crate) checked: Checked,
    rules: Vec<SystemRules>,
}

impl Hub {
    /// An engine for these systems; `more` is added to the configuration. Nothing is read yet.
    pub(crate) async fn start(names: &[&str], more: &str) -> Self {
        Self::start_in(names, more, None).await
    }

    /// The same with its store in that Postgres database, if one is given.
    pub(crate) async fn start_in(names: &[&str], more: &str, database: Option<Url>) -> Self {
        Self::start_as(FirstRun::Write, names, more, database).await
    }

    /// The same with a new store that plans first, or does not.
    pub(crate) async fn start_as(
        first_run: FirstRun,
        names: &[&str],
        more: &str,
        database: Option<Url>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Manual::at(At::from_micros(1_767_225_600_000_000)));
        let fakes = Fakes::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let mut checked = configured(folder.path(), names, more);
        checked.first_run = first_run;
        if let Some(url) = database {
            checked.store = StoreSettings::Postgres {
                url,
                password: None,
            };
        }
        let store = store::open(&checked.store, Access::Daemon).await.unwrap();
        let (engine, rules) = build(&checked, &store, &clock, &fakes).await;
        Self {
            folder,
            clock,
            fakes,
            store,
            engine,
            checked,
            rules,
        }
    }

    /// Runs a command with the configuration of this hub.
    pub(crate) fn command(&self, arguments: &[&str]) -> Answer {
        let config = self.folder.path().join("consentd.toml");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_consentd"))
            .args(arguments)
            .arg("--config")
            .arg(config)
            .current_dir(self.folder.path())
            .env_clear()
            .env("CONSENTD_OPERATOR", "ann")
            .output()
            .unwrap();
        Answer {
            status: output.status.code(),
            said: String::from_utf8(output.stdout).unwrap(),
            complained: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The path of its store.
    pub(crate) fn store_path(&self) -> std::path::PathBuf {
        self.folder.path().join("state/consentd.db")
    }

    /// Goes on with another configuration, as after a restart.
    pub(crate) async fn go_on(&mut self, checked: &Checked) {
        let (engine, rules) = build(checked, &self.store, &self.clock, &self.fakes).await;
        self.engine = engine;
        self.rules = rules;
        self.checked = checked.clone();
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Reads every feed until it is drained.
    pub(crate) async fn poll(&self) {
        for (member, rules) in self.engine.members.iter().zip(&self.rules) {
            poll::poll(member, rules, &CancellationToken::new())
                .await
                .unwrap();
        }
    }

    /// Sends what is due, and gives how many contacts were written.
    pub(crate) async fn emit(&self) -> u64 {
        let rows = || -> u64 {
            let members = self.engine.members.iter();
            members
                .map(|member| self.fakes.get(&member.name).calls().rows)
                .sum()
        };
        let before = rows();
        for member in &self.engine.members {
            while emit::emit_batch(member).await.unwrap() > 0 {}
        }
        rows() - before
    }

    /// One round of the daemon, some seconds after the one before. How many contacts were written.
    pub(crate) async fn round(&self) -> u64 {
        self.pass(5);
        self.poll().await;
        self.emit().await
    }

    /// Rounds until nothing is written any more, and one more than that.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            if self.round().await + self.round().await == 0 {
                return;
            }
        }
        panic!("writing does not stop");
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Option<i32>,
    pub(crate) said: String,
    pub(crate) complained: String,
}

async fn build(
    checked: &Checked,
    store: &Arc<dyn Store>,
    clock: &Arc<Manual>,
    fakes: &Fakes,
) -> (Engine, Vec<SystemRules>) {
    let parts = Parts {
        store: Arc::clone(store),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        listener: Arc::new(Deaf),
        read_only: false,
    };
    let lines = Lines::build(checked, &Lines::default(), &fakes.connect()).unwrap();
    let engine = Engine::assemble(checked, parts, &lines).await.unwrap();
    let mut rules = Vec::new();
    for member in &engine.members {
        rules.push(member.log_in().await.unwrap());
    }
    (engine, rules)
}

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _system: &str, _event: Event) {}
}
