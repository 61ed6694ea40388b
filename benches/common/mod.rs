//! What the benches of the hub share: four simulated systems under an engine that is driven by hand,
//! every vendor call of which is counted beside the engine's step that made it; and tables.
//!
//! Time passes when a bench says so, for the engine and for the systems alike, so that polls are as
//! far apart as in a deployment while nobody waits. The times are those of an ordinary deployment;
//! only the limits of calls a second are as high as they can be.

mod show;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use consentd::cli::sandbox::{Part, Rehearsal, write_config};
use consentd::config::{self, Checked, Disk, SystemSettings};
use consentd::connector::{
    Batching, Connector, Current, Cursor, Fault, FaultClass, Found, Outcome, Page, Probe, Quota,
    Target, Wanted, WriteRequest,
};
use consentd::consent::{At, SystemRules};
use consentd::runtime::clock::{self, Clock};
use consentd::store::{self, Access};
use consentd::sync::assemble::{Engine, Lines, Parts, connect};
use consentd::sync::engine::{Event, Listener};
use consentd::sync::{emit, poll};
use consentd_sandbox::{CallKind, Options, Sandbox};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

pub(crate) use show::{block_on, table};

/// The four systems, in the order of the configuration.
pub(crate) const SYSTEMS: [&str; 4] = ["salesforce", "ascend", "emarketeer", "superoffice"];
/// Seconds between two polls.
pub(crate) const POLL_SECS: u64 = 60;
/// Seconds that every poll reads again.
pub(crate) const OVERLAP_SECS: u64 = 600;
/// Changes younger than so many seconds wait for the next poll.
const LAG_SECS: u64 = 5;
/// Seconds before a grant is sent.
const GRANT_SETTLE_SECS: u64 = 60;
/// The same people in every run.
const SEED: u64 = 7;
/// The step of the engine in which a call was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Logging in.
    Probe,
    /// Reading the feed.
    Poll,
    /// Looking contacts up.
    LookUp,
    /// Looking at contacts just before they are written.
    Look,
    /// Writing, with what the connector reads to see whether it worked.
    Write,
}

/// Calls by system, step and kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<(&'static str, Step, CallKind), u64>);

impl Tally {
    /// The calls of one system in one step, by kind.
    pub(crate) fn of(&self, system: &str, step: Step) -> impl Iterator<Item = (CallKind, u64)> {
        let matches = move |key: &(&str, Step, CallKind)| (key.0, key.1) == (system, step);
        let entries = self.0.iter().filter(move |(key, _)| matches(key));
        entries.map(|((.., kind), count)| (*kind, *count))
    }

    /// How many of them.
    pub(crate) fn count(&self, system: &str, step: Step) -> u64 {
        self.of(system, step).map(|(_, count)| count).sum()
    }
}

/// The calls that the simulator of a system got.
fn counted(sandbox: &Sandbox, system: &str) -> BTreeMap<CallKind, u64> {
    match system {
        "salesforce" => sandbox.salesforce().calls().by_kind,
        "ascend" => sandbox.ascend().calls().by_kind,
        "emarketeer" => sandbox.emarketeer().calls().by_kind,
        _ => sandbox.superoffice().calls().by_kind,
    }
}

/// A connector beside which the calls that its simulator got are counted. The steps of one system
/// are taken one at a time, or a call could not be told from another's.
struct Counted {
    inner: Arc<dyn Connector>,
    system: &'static str,
    sandbox: Arc<Sandbox>,
    tally: Arc<Mutex<Tally>>,
    turn: tokio::sync::Mutex<()>,
}

impl Counted {
    async fn count<T>(&self, step: Step, call: impl Future<Output = T>) -> T {
        let _turn = self.turn.lock().await;
        let before = counted(&self.sandbox, self.system);
        let done = call.await;
        let after = counted(&self.sandbox, self.system);
        let mut tally = lock(&self.tally);
        for (kind, count) in after {
            let more = count - before.get(&kind).copied().unwrap_or(0);
            if more > 0 {
                *tally.0.entry((self.system, step, kind)).or_default() += more;
            }
        }
        done
    }
}

#[async_trait]
impl Connector for Counted {
    async fn probe(&self) -> Result<Probe, Fault> {
        self.count(Step::Probe, self.inner.probe()).await
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        self.count(Step::Poll, self.inner.read(cursor)).await
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        self.count(Step::Look, self.inner.current(contacts)).await
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        self.count(Step::LookUp, self.inner.look_up(wanted)).await
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        self.count(Step::Write, self.inner.write(writes)).await
    }

    fn batching(&self) -> Batching {
        self.inner.batching()
    }

    fn quota(&self) -> Option<Quota> {
        self.inner.quota()
    }

    fn doubtful(&self) -> Vec<String> {
        self.inner.doubtful()
    }
}

/// The machine's clock, as far ahead as the simulators' clocks are.
#[derive(Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> At {
        clock::System
            .now()
            .plus(self.0.load(Ordering::SeqCst).saturating_mul(1_000_000))
    }
}

/// Keeps what went wrong. A bench goes on only while nothing has. A row that a system refuses is not
/// wrong: an untidy account holds contacts that it takes no consent for.
#[derive(Default)]
struct Ear(Mutex<Option<String>>);

impl Ear {
    fn all_is_well(&self) -> anyhow::Result<()> {
        match lock(&self.0).take() {
            Some(trouble) => bail!("{trouble}"),
            None => Ok(()),
        }
    }
}

impl Listener for Ear {
    fn hear(&self, system: &str, event: Event) {
        let trouble = match event {
            Event::Fault(fault) if fault.class == FaultClass::Rejected => return,
            Event::Fault(fault) => fault.to_string(),
            Event::Store(error) => error,
            Event::Standing { paused, halted } if paused || halted => {
                "the feed stands still".to_owned()
            }
            _ => return,
        };
        *lock(&self.0) = Some(format!("{system}: {trouble}"));
    }
}

/// The hub; see the module's documentation.
pub(crate) struct Hub {
    /// The four systems.
    pub(crate) sandbox: Arc<Sandbox>,
    /// The engine.
    pub(crate) engine: Engine,
    rules: Vec<SystemRules>,
    clock: Arc<Ahead>,
    ear: Arc<Ear>,
    tally: Arc<Mutex<Tally>>,
    _folder: tempfile::TempDir,
}

impl Hub {
    /// Starts four systems with so many untidy contacts each, of which the engine has read nothing.
    ///
    /// # Errors
    /// When something does not start.
    pub(crate) async fn start(contacts: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = Options {
            contacts,
            seed: SEED,
            port_base: None,
        };
        let sandbox = Arc::new(Sandbox::start(options).await?);
        let checked = checked(&sandbox, folder.path())?;
        let store = store::open(&checked.store, Access::Daemon).await?;
        let (clock, ear) = (Arc::<Ahead>::default(), Arc::<Ear>::default());
        let tally = Arc::<Mutex<Tally>>::default();
        let counted = {
            let (sandbox, tally) = (Arc::clone(&sandbox), Arc::clone(&tally));
            move |system: &SystemSettings| {
                let name = SYSTEMS.into_iter().find(|name| *name == system.name);
                let counted: Arc<dyn Connector> = Arc::new(Counted {
                    inner: connect(system)?,
                    system: name.unwrap_or("?"),
                    sandbox: Arc::clone(&sandbox),
                    tally: Arc::clone(&tally),
                    turn: tokio::sync::Mutex::default(),
                });
                Ok(counted)
            }
        };
        let lines = Lines::build(&checked, &Lines::default(), &counted)?;
        let parts = Parts {
            store,
            clock: Arc::<Ahead>::clone(&clock),
            listener: Arc::<Ear>::clone(&ear),
            read_only: false,
        };
        let engine = Engine::assemble(&checked, parts, &lines).await?;
        let mut rules = Vec::new();
        for member in &engine.members {
            rules.push(member.log_in().await?);
        }
        Ok(Self {
            sandbox,
            engine,
            rules,
            clock,
            ear,
            tally,
            _folder: folder,
        })
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        let seconds = seconds.cast_signed();
        self.sandbox.clock().advance(seconds);
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Reads every feed until it is drained.
    async fn poll(&self) -> anyhow::Result<()> {
        for (member, rules) in self.engine.members.iter().zip(&self.rules) {
            poll::poll(member, rules, &CancellationToken::new()).await?;
        }
        self.ear.all_is_well()
    }

    /// Sends every write that is due, and gives how many were.
    async fn emit(&self) -> anyhow::Result<usize> {
        let mut claimed = 0;
        for member in &self.engine.members {
            loop {
                match emit::emit_batch(member).await? {
                    0 => break,
                    more => claimed += more,
                }
            }
        }
        self.ear.all_is_well()?;
        Ok(claimed)
    }

    /// What the daemon does from one poll to the next; how many writes were due.
    ///
    /// # Errors
    /// When a call or the store fails.
    pub(crate) async fn round(&self) -> anyhow::Result<usize> {
        self.pass(POLL_SECS);
        self.poll().await?;
        self.emit().await
    }

    /// What was called since the last time.
    pub(crate) fn take_tally(&self) -> Tally {
        std::mem::take(&mut *lock(&self.tally))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The rehearsal's configuration with an ordinary deployment's times.
fn checked(sandbox: &Sandbox, folder: &std::path::Path) -> anyhow::Result<Checked> {
    let rehearsal = Rehearsal {
        poll_interval_secs: POLL_SECS,
        overlap_secs: OVERLAP_SECS,
        lag_secs: LAG_SECS,
        grant_settle_secs: GRANT_SETTLE_SECS,
        emarketeer: Part::On,
        superoffice: Part::On,
        ..Rehearsal::default()
    };
    let path = write_config(sandbox, folder, &rehearsal)?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let faster = SYSTEMS.map(|system| {
        let key = format!(
            "CONSENTD__SYSTEMS__{}__MAX_CALLS_PER_SEC",
            system.to_uppercase()
        );
        (key, "1000".to_owned())
    });
    Ok(config::check(&text, faster, &Disk::default())?)
}
