//! A daemon, driven by hand, between a simulated Salesforce and CU Ascend by files, both in the sandbox.
//! There is one clock for all, the sandbox's, which a test moves from hour to hour.

use crate::postgres_server::Database;
use chrono::{DateTime, TimeDelta, Utc};
use consentd::alarm::{self, Alarm, OpenHold, SystemView, UnreadableFile, View};
use consentd::cli::sandbox::{AscendBy, Part, Rehearsal, write_config};
use consentd::config::{self, Checked, SystemSettings};
use consentd::connector::registry;
use consentd::consent::guard::HoldKind;
use consentd::consent::{At, SystemRules};
use consentd::runtime::clock::Clock;
use consentd::runtime::health::Login;
use consentd::store::{self, Access, OutboxRow, Store};
use consentd::sync::assemble::{Engine, Lines, Parts};
use consentd::sync::engine::{Event, Listener, Member, SyncError};
use consentd::sync::{emit, parity, poll, switches};
use consentd_sandbox::{Options, Sandbox};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The sandbox's clock as the daemon's.
struct Shared(Arc<Sandbox>);

impl Clock for Shared {
    fn now(&self) -> At {
        At::from(self.0.clock().now())
    }
}

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _system: &str, _event: Event) {}
}

/// One system as the daemon's tasks run it.
struct Post {
    member: Arc<Member>,
    /// After a login.
    rules: Option<SystemRules>,
    last_round: At,
}

/// See the module's documentation.
pub(crate) struct Bench {
    pub(crate) sandbox: Arc<Sandbox>,
    _folder: tempfile::TempDir,
    _database: Option<Database>,
    pub(crate) checked: Checked,
    pub(crate) store: Arc<dyn Store>,
    engine: Option<Engine>,
    posts: Vec<Post>,
    knows_the_gate: bool,
}

impl Bench {
    /// The sandbox at that instant with nobody in it, and a daemon that was not started yet.
    pub(crate) async fn start(database: Option<Database>, at: DateTime<Utc>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            contacts: 0,
            seed: 7,
            port_base: None,
        };
        let sandbox = Arc::new(Sandbox::start(options).await.unwrap());
        let rehearsal = Rehearsal {
            ascend: AscendBy::Files,
            marketing_cloud: Part::On,
            store_url: database.as_ref().map(|database| database.url.to_string()),
            ..Rehearsal::default()
        };
        let path = write_config(&sandbox, folder.path(), &rehearsal).unwrap();
        // As a university has it: a batch a night, and a change that is seen a night late, or two.
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replacen(r#""* * * * *""#, r#""0 1 * * *""#, 1);
        let text = text.replacen("[policy]", "[policy]\nobserved_window_hours = 72", 1);
        // No vendor is spared here, so that a week takes seconds.
        let text = text.replacen(
            "precedence = 1\n",
            "precedence = 1\nmax_calls_per_sec = 1000\n",
            1,
        );
        std::fs::write(&path, text).unwrap();
        let checked = config::load(&path).unwrap();
        let store = store::open(&checked.store, Access::Daemon).await.unwrap();
        let bench = Self {
            sandbox,
            _folder: folder,
            _database: database,
            checked,
            store,
            engine: None,
            posts: Vec::new(),
            knows_the_gate: false,
        };
        bench.move_to(at);
        bench
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.sandbox.clock().now()
    }

    /// Moves the clock, which has whole seconds, to that instant or less than a second after it.
    pub(crate) fn move_to(&self, at: DateTime<Utc>) {
        let missing = at - self.now() + TimeDelta::milliseconds(999);
        self.sandbox.clock().advance(missing.num_seconds());
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.sandbox.clock().advance(seconds);
    }

    /// Starts the daemon, or ends it and starts it again.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let clock: Arc<dyn Clock> = Arc::new(Shared(Arc::clone(&self.sandbox)));
        let parts = Parts {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&clock),
            listener: Arc::new(Deaf),
            read_only: false,
        };
        let connect = move |system: &SystemSettings| registry::connect_by(&system.kind, &clock);
        let lines = Lines::build(&self.checked, &Lines::default(), &connect).unwrap();
        let engine = Engine::assemble(&self.checked, parts, &lines)
            .await
            .unwrap();
        for member in &engine.members {
            self.posts.push(Post {
                member: Arc::clone(member),
                rules: None,
                last_round: emit::resumed_at(member).await,
            });
        }
        self.engine = Some(engine);
    }

    /// Ends the daemon.
    pub(crate) fn stop(&mut self) {
        self.engine = None;
        self.posts.clear();
        self.knows_the_gate = false;
    }

    /// What the daemon's tasks do when they are woken: each system is read, and what is due is sent.
    pub(crate) async fn turn(&mut self) {
        let stop = CancellationToken::new();
        for post in &mut self.posts {
            if let Err(error) = post.read(&stop).await {
                post.member.failed(&error);
            }
        }
        for post in &mut self.posts {
            let done = emit::round(&post.member, &stop, &mut post.last_round).await;
            if let Err(error) = done {
                post.member.failed(&error);
            }
        }
        let keeper = self
            .engine
            .as_ref()
            .and_then(|engine| engine.keeper.as_ref());
        if let Some(keeper) = keeper {
            keeper.turn(&mut self.knows_the_gate, &stop).await.unwrap();
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.engine.as_ref()?.member(name)
    }

    /// The alarms that stand.
    pub(crate) async fn alarms(&self) -> Vec<Alarm> {
        let now = At::from(self.now());
        let figures = self.store.figures(now).await.unwrap();
        let mut view = View {
            now,
            withdrawal_deadline: self.checked.policy.withdrawal_deadline,
            systems: Vec::new(),
            overdue: Vec::new(),
            unreadable: Vec::new(),
            holds: self.holds().await,
            urgent: Vec::new(),
            tasks_down: Vec::new(),
        };
        for post in &self.posts {
            let member = &post.member;
            let mut of_system = figures.systems.iter();
            let figures = of_system.find(|figures| figures.system == member.id.0);
            view.systems.push(SystemView {
                name: member.name.clone(),
                enabled: true,
                figures: figures.cloned().unwrap_or_default(),
                halted: Some(self.store.feed(member.id.0).await.unwrap().halted),
                login: Login::Accepted,
            });
            let overdue = member.connector.overdue().into_iter();
            view.overdue.extend(overdue.map(|late| alarm::Overdue {
                system: member.name.clone(),
                batch: late.batch,
                since: late.since,
                rows: late.missing as u64,
            }));
            let unreadable = member.connector.unreadable().into_iter();
            view.unreadable
                .extend(unreadable.map(|file| UnreadableFile {
                    system: member.name.clone(),
                    file: file.name,
                    reason: file.reason,
                }));
        }
        alarm::levels(&view).standing
    }

    /// The open holds, whatever they are of.
    async fn holds(&self) -> Vec<OpenHold> {
        let holds = self.store.holds(false, 100).await.unwrap().into_iter();
        let open = holds.map(|view| OpenHold {
            id: view.hold.id,
            kind: HoldKind::from_word(&view.hold.kind).unwrap(),
            system: None,
            purpose: None,
            withdrawn: view.hold.withdrawn,
            persons: view.waiting.unsigned_abs(),
            since: At::from_micros(view.hold.opened_at),
        });
        open.filter(|hold| hold.kind != HoldKind::WeakGrant)
            .collect()
    }

    /// What `consentd parity` says.
    pub(crate) async fn parity(&self) -> parity::Parity {
        let shared = &self.engine.as_ref().unwrap().shared;
        let parked = switches::parked(&self.checked, &*self.store).await.unwrap();
        let now = At::from(self.now());
        parity::compare(&*self.store, &shared.rules, &parked, now)
            .await
            .unwrap()
    }

    pub(crate) async fn outbox(&self) -> Vec<OutboxRow> {
        self.store.outbox(0, 10_000).await.unwrap()
    }
}

impl Post {
    /// As the poller does it: nothing while calls pause, and a login where there was none yet.
    async fn read(&mut self, stop: &CancellationToken) -> Result<(), SyncError> {
        let member = &self.member;
        if member
            .breaker
            .open_until(member.shared.clock.now())
            .is_some()
        {
            return Ok(());
        }
        let rules = match &self.rules {
            Some(rules) => rules,
            None => self.rules.insert(member.log_in().await?),
        };
        poll::poll(member, rules, stop).await
    }
}
