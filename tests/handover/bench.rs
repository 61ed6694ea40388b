//! An engine between a system in memory, `crm`, and CU Ascend by files in a folder, with the other side
//! of the exchange played by hand. Time is a clock that a test moves.

use crate::fake::{Fake, Keeps};
use crate::postgres_server::Database;
use consentd::config::{Checked, Disk, SystemSettings, check};
use consentd::connector::{Connector, registry};
use consentd::consent::{At, Polarity, PurposeId, Shown, Status, SubjectKey, SystemRules};
use consentd::runtime::clock::{Clock, Manual};
use consentd::store::{self, Access, OutboxRow, Store};
use consentd::sync::assemble::{Engine, Lines, Parts};
use consentd::sync::checklist::{self, Ask, Crew, Desk, Freshness};
use consentd::sync::engine::{Event, Listener, Member};
use consentd::sync::pack::unpack_verdicts;
use consentd::sync::parity::fresh::Fresh;
use consentd::sync::switches::{self, Operator, Resumed};
use consentd::sync::{emit, parity, poll};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) const MARKETING: PurposeId = PurposeId(0);

/// See the module's documentation.
pub(crate) struct Exchange {
    folder: tempfile::TempDir,
    _database: Option<Database>,
    pub(crate) clock: Arc<Manual>,
    pub(crate) crm: Arc<Fake>,
    checked: Checked,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Engine,
    rules: Vec<SystemRules>,
}

/// A row of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchRow {
    pub(crate) number: u32,
    pub(crate) id: String,
    pub(crate) change: String,
    pub(crate) changed_at: At,
    pub(crate) by: String,
}

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _system: &str, _event: Event) {}
}

impl Exchange {
    /// An engine on either database; `file` is added to the file transport's table. Nothing is read yet.
    pub(crate) async fn start(database: Option<Database>, file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for sub in ["outbound", "inbound"] {
            std::fs::create_dir_all(folder.path().join("exchange").join(sub)).unwrap();
        }
        let clock = Arc::new(Manual::at(At::from(
            "2026-01-10T12:00:00Z"
                .parse::<chrono::DateTime<chrono::Utc>>()
                .unwrap(),
        )));
        let crm = Fake::new(
            Keeps::History,
            &[(MARKETING, Polarity::OptOut)],
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        let checked = configured(folder.path(), database.as_ref(), file);
        let store = store::open(&checked.store, Access::Daemon).await.unwrap();
        let (engine, rules) = build(&checked, &store, &clock, &crm, false).await;
        Self {
            folder,
            _database: database,
            clock,
            crm,
            checked,
            store,
            engine,
            rules,
        }
    }

    /// The same engine again, as after a restart.
    pub(crate) async fn restart(&mut self) {
        let (engine, rules) =
            build(&self.checked, &self.store, &self.clock, &self.crm, false).await;
        self.engine = engine;
        self.rules = rules;
    }

    /// The same with connectors that write nothing.
    pub(crate) async fn restart_dry(&mut self) {
        let (engine, rules) = build(&self.checked, &self.store, &self.clock, &self.crm, true).await;
        self.engine = engine;
        self.rules = rules;
    }

    /// People with a contact in both systems, read from both.
    pub(crate) async fn people(&self, names: &[&str]) {
        for name in names {
            self.crm.add(name, &address(name));
        }
        let rows: Vec<_> = names.iter().map(|name| (*name, false)).collect();
        self.extract(&rows);
        self.poll().await;
        self.poll().await;
    }

    pub(crate) fn now(&self) -> At {
        self.clock.now()
    }

    pub(crate) fn pass(&self, hours: u64) {
        self.clock.advance(Duration::from_hours(hours));
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        self.engine.member("ascend").unwrap()
    }

    /// Somebody opts out, or in, in the CRM.
    pub(crate) fn opt(&self, name: &str, out: bool) {
        self.clock.advance(Duration::from_secs(1));
        let shown = if out { Shown::Set } else { Shown::Default };
        self.crm.save(name, MARKETING, &shown);
    }

    pub(crate) fn is_out(&self, name: &str) -> bool {
        self.crm.shown(name, MARKETING) == Shown::Set
    }

    /// Reads both feeds until they are drained.
    pub(crate) async fn poll(&self) {
        self.clock.advance(Duration::from_secs(1));
        for (member, rules) in self.engine.members.iter().zip(&self.rules) {
            poll::poll(member, rules, &CancellationToken::new())
                .await
                .unwrap();
        }
    }

    /// One look for receipts, and a round of sending.
    pub(crate) async fn emit(&self) {
        for member in &self.engine.members {
            emit::take_receipts(member).await.unwrap();
            while emit::emit_batch(member).await.unwrap() > 0 {}
        }
    }

    pub(crate) async fn round(&self) {
        self.poll().await;
        self.emit().await;
    }

    /// An operator resumes Ascend.
    pub(crate) async fn resume(&self, accept_fewer: bool) -> Resumed {
        let by = Operator::new("ann", "asked around").unwrap();
        let id = self.member().id.0;
        switches::resume(&*self.store, id, accept_fewer, &by, self.now())
            .await
            .unwrap()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("exchange").join(path)
    }

    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let Ok(found) = std::fs::read_dir(self.at(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = found
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What lies in the outbound folder, as the other side reads it: batches with a manifest.
    pub(crate) fn batches(&self) -> BTreeMap<String, Vec<BatchRow>> {
        let names = self.files("outbound");
        let ids = names.iter().filter_map(|name| {
            name.strip_prefix("cu_ecomm_email_optout_")?
                .strip_suffix(".manifest.json")
        });
        ids.map(|id| (id.to_owned(), self.batch(id))).collect()
    }

    pub(crate) fn batch(&self, id: &str) -> Vec<BatchRow> {
        let path = self.at(&format!("outbound/cu_ecomm_email_optout_{id}.csv"));
        let mut reader = csv::Reader::from_path(path).unwrap();
        let rows = reader.records().map(|row| {
            let row = row.unwrap();
            assert_eq!(&row[0], id);
            assert_eq!(
                &row[3], &row[2],
                "contacts have the same id in both systems"
            );
            assert_eq!(&row[4], address(&row[2]));
            assert!(row[9].contains("said in crm"), "{row:?}");
            assert_eq!(
                &row[6],
                if &row[5] == "OPT_OUT" {
                    "TRUE"
                } else {
                    "FALSE"
                }
            );
            BatchRow {
                number: row[1].parse().unwrap(),
                id: row[2].to_owned(),
                change: row[5].to_owned(),
                changed_at: instant(&row[7]),
                by: row[8].to_owned(),
            }
        });
        rows.collect()
    }

    /// The newest batch.
    pub(crate) fn newest(&self) -> (String, Vec<BatchRow>) {
        self.batches().pop_last().unwrap()
    }

    /// The other side takes everything away that lies in the outbound folder.
    pub(crate) fn fetch(&self) {
        for name in self.files("outbound") {
            std::fs::remove_file(self.at("outbound").join(name)).unwrap();
        }
    }

    /// An acknowledgement: row, status and code.
    pub(crate) fn acknowledge(&self, batch: &str, rows: &[(u32, &str, &str)]) {
        let mut text = "row_no,status,code,message\n".to_owned();
        for (number, status, code) in rows {
            writeln!(text, "{number},{status},{code},").unwrap();
        }
        self.put(&format!("inbound/{batch}.ack.csv"), &text);
    }

    /// The newest batch, all rows applied.
    pub(crate) fn apply_newest(&self) -> String {
        let (batch, rows) = self.newest();
        let rows: Vec<_> = rows.iter().map(|row| (row.number, "APPLIED", "")).collect();
        self.acknowledge(&batch, &rows);
        batch
    }

    /// An extract of now: id and whether it is opted out.
    pub(crate) fn extract(&self, rows: &[(&str, bool)]) -> String {
        self.extract_as_of(self.now(), rows)
    }

    /// An extract that tells of `as_of`.
    pub(crate) fn extract_as_of(&self, as_of: At, rows: &[(&str, bool)]) -> String {
        let mut text = "email,ascend_id,email_value,as_of,more\n".to_owned();
        for (id, out) in rows {
            let value = if *out { "TRUE" } else { "n" };
            writeln!(text, "{},{id},{value},{as_of},x", address(id)).unwrap();
        }
        self.put_extract(as_of, &text)
    }

    pub(crate) fn put_extract(&self, as_of: At, text: &str) -> String {
        let zone = chrono_tz::America::Denver;
        let name = as_of.to_datetime().with_timezone(&zone);
        let name = format!("ascend_email_extract_{}.csv", name.format("%Y%m%d-%H%M%S"));
        self.put(&format!("inbound/{name}"), text);
        name
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).unwrap();
    }

    /// The outbox of Ascend.
    pub(crate) async fn outbox(&self) -> Vec<OutboxRow> {
        let id = self.member().id.0;
        let mut rows = self.store.outbox(0, 1_000).await.unwrap();
        rows.retain(|row| row.key.system == id);
        rows
    }

    /// The one row of a contact.
    pub(crate) async fn row(&self, id: &str) -> OutboxRow {
        let rows = self.outbox().await;
        let row = rows.into_iter().find(|row| row.key.external == id);
        row.unwrap_or_else(|| panic!("{id} has no write"))
    }

    /// Why a contact of Ascend does not show its verdict.
    pub(crate) async fn reason(&self, id: &str) -> String {
        let rules = &self.engine.shared.rules;
        let now = self.engine.shared.clock.now();
        let parity = parity::compare(&*self.store, rules, &BTreeMap::new(), now)
            .await
            .unwrap();
        let mut found = parity.differences.into_iter();
        let found = found.find(|one| one.system == "ascend" && one.contact == id);
        found.map_or("equal".to_owned(), |found| found.reason)
    }

    /// What `consentd parity --full` says beside the daemon.
    pub(crate) async fn parity_asked_afresh(&self) -> parity::Parity {
        let shared: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let (crm, clock) = (Arc::clone(&self.crm), Arc::clone(&shared));
        let connect = move |system: &SystemSettings| {
            if system.name == "crm" {
                Ok(Arc::clone(&crm) as Arc<dyn Connector>)
            } else {
                registry::connect_by(&system.kind, &clock)
            }
        };
        let stop = CancellationToken::new();
        let fresh = Fresh::read(&self.checked, &*self.store, &connect, shared, &stop).await;
        let (fresh, rules) = (fresh.unwrap(), &self.engine.shared.rules);
        parity::compare_fresh(&*self.store, rules, &BTreeMap::new(), &fresh, self.now())
            .await
            .unwrap()
    }

    /// Everything in the exchange folder, with when it was changed last: a folder changes when a file in
    /// it comes or goes.
    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, std::time::SystemTime> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.at("")];
        while let Some(folder) = folders.pop() {
            let changed = folder.metadata().unwrap().modified().unwrap();
            found.insert(folder.clone(), changed);
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.clone(), path.metadata().unwrap().modified().unwrap());
                }
            }
        }
        found
    }

    /// What a check before mail answers, with data of that age allowed.
    pub(crate) async fn check(&self, name: &str, max_age_secs: u64, answer: &str) {
        let desk = Desk::new(Arc::new(Crew {
            shared: Arc::clone(&self.engine.shared),
            members: self.engine.members.clone(),
        }));
        let ask = Ask {
            purpose: "marketing".to_owned(),
            people: desk.people(&[address(name)]).await.unwrap(),
            freshness: Freshness::Within(Duration::from_secs(max_age_secs)),
        };
        let checklist = desk.check(&ask).await.unwrap();
        let given = match checklist.lines[0].outcome {
            checklist::Outcome::Answered(answer) => answer.word(),
            checklist::Outcome::Duplicate(_) => "duplicate",
        };
        assert_eq!(given, answer, "{:?}", checklist.reports);
    }

    /// The note of `consentd status` about Ascend.
    pub(crate) fn noted(&self) -> Option<String> {
        let output = self.command(&["status"]);
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&output).unwrap();
        let mut rows = rows.iter();
        let row = rows.find(|row| row["system"] == "ascend").unwrap();
        row["note"].as_str().map(str::to_owned)
    }

    /// What a command prints with this configuration, in JSON.
    fn command(&self, arguments: &[&str]) -> Vec<u8> {
        self.printed("json", arguments)
    }

    fn printed(&self, format: &str, arguments: &[&str]) -> Vec<u8> {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_consentd"))
            .args(arguments)
            .args(["--output", format, "--config"])
            .arg(self.folder.path().join("consentd.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// What `consentd explain` says of a person's contact in Ascend: event and words.
    pub(crate) fn explained(&self, name: &str) -> Vec<(String, String)> {
        let output = self.printed("csv", &["explain", &address(name)]);
        let mut rows = csv::Reader::from_reader(output.as_slice());
        rows.records()
            .map(Result::unwrap)
            .filter(|row| row[2] == *"ascend")
            .map(|row| (row[1].to_owned(), row[4].to_owned()))
            .collect()
    }

    /// What the contact in Ascend has said, as it is stored.
    pub(crate) async fn said(&self, name: &str) -> String {
        let key = SubjectKey::from_address(&address(name)).unwrap();
        let subject = self.engine.shared.pseudonyms.of(&key);
        let dossier = self.store.dossier(subject).await.unwrap().unwrap();
        let id = self.member().id.0;
        let mut contacts = dossier.known.contacts.into_iter();
        contacts.find(|row| row.system == id).unwrap().record
    }

    /// What holds for a person, and who said it.
    pub(crate) async fn verdict(&self, name: &str) -> Option<(Status, String)> {
        let key = SubjectKey::from_address(&address(name)).unwrap();
        let subject = self.engine.shared.pseudonyms.of(&key);
        let dossier = self.store.dossier(subject).await.unwrap().unwrap();
        let row = dossier
            .known
            .subjects
            .iter()
            .find(|row| row.subject == subject)
            .unwrap();
        let verdicts = unpack_verdicts(&row.verdicts).unwrap();
        let verdict = verdicts.first()?;
        let actor = verdict.actor().unwrap_or_default().to_owned();
        Some((verdict.status(), actor))
    }
}

pub(crate) fn address(name: &str) -> String {
    format!("{name}@exchange.example")
}

pub(crate) fn instant(text: &str) -> At {
    At::from(chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

fn configured(folder: &Path, database: Option<&Database>, file: &str) -> Checked {
    for (name, content) in [
        ("hash-key", "8c1f4a0d97b35e2266f0a1c4d3e8b759"),
        ("secret", "word"),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    }
    let folder = folder.display();
    let store = database.map_or_else(
        || format!("sqlite://{folder}/state/consentd.db"),
        |database| database.url.to_string(),
    );
    let text = format!(
        r#"
        first_run = "write"
        [server]
        listen = "127.0.0.1:0"
        [store]
        url = "{store}"
        [identity]
        hash_key_file = "{folder}/hash-key"
        [policy]
        grant_settle_secs = 0
        observed_window_hours = 48
        [[purposes]]
        name = "marketing"
        [systems.crm]
        kind = "salesforce"
        precedence = 1
        [systems.crm.auth]
        grant = "client-credentials"
        login_url = "http://127.0.0.1:9"
        client_id = "crm"
        client_secret_file = "{folder}/secret"
        [systems.ascend]
        kind = "ascend"
        transport = "file"
        time_zone = "America/Denver"
        precedence = 2
        page_rows = 7
        [systems.ascend.link]
        system = "crm"
        system_field = "Ascend_ID__c"
        [systems.ascend.opt_out]
        polarity = "opt-out"
        [systems.ascend.file]
        directory = "{folder}/exchange"
        {file}
        "#
    );
    std::fs::write(Path::new(&folder.to_string()).join("consentd.toml"), &text).unwrap();
    check(&text, [], &Disk::default()).unwrap()
}

async fn build(
    checked: &Checked,
    store: &Arc<dyn Store>,
    clock: &Arc<Manual>,
    crm: &Arc<Fake>,
    read_only: bool,
) -> (Engine, Vec<SystemRules>) {
    let shared: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let parts = Parts {
        store: Arc::clone(store),
        clock: Arc::clone(&shared),
        listener: Arc::new(Deaf),
        read_only,
    };
    let crm = Arc::clone(crm);
    let connect = move |system: &SystemSettings| {
        if system.name == "crm" {
            Ok(Arc::clone(&crm) as Arc<dyn Connector>)
        } else {
            registry::connect_by(&system.kind, &shared)
        }
    };
    let lines = Lines::build(checked, &Lines::default(), &connect).unwrap();
    let engine = Engine::assemble(checked, parts, &lines).await.unwrap();
    let mut rules = Vec::new();
    for member in &engine.members {
        rules.push(member.log_in().await.unwrap());
    }
    (engine, rules)
}
