//! `consentd demo`: a story in acts, played against the simulators by a daemon in its own process,
//! each step checked in the simulated systems and never in our own store.

mod checks;
mod client;
mod first;
mod fourth;
mod hub;
mod proof;
mod second;
mod third;

use super::Exit;
use super::output::{Format, List};
use super::sandbox::{self, Part, Rehearsal, write_config};
use anyhow::{Context, bail, ensure};
use consentd_sandbox::{Options, Org, Sandbox};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// A step that takes longer has failed.
const STEP_LIMIT: Duration = Duration::from_mins(1);
/// How often the simulated systems are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Fewer contacts do not have enough people for the story.
const LEAST_CONTACTS: usize = 300;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after the story, with status 0 only if every step held; otherwise stay up until interrupted
    #[arg(long)]
    pub exit: bool,
    /// Contacts in each system
    #[arg(long, default_value_t = 1_000, value_parser = at_least)]
    pub contacts: usize,
}

fn at_least(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(contacts) if contacts >= LEAST_CONTACTS => Ok(contacts),
        Ok(_) => Err(format!(
            "the story needs at least {LEAST_CONTACTS} contacts"
        )),
        Err(_) => Err("not a number".to_owned()),
    }
}

/// Plays the story.
///
/// # Errors
/// When the simulators or the daemon do not start, or a step did not hold.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let folder = tempfile::Builder::new()
        .prefix("consentd-demo-")
        .tempdir()
        .context("no temporary folder")?;
    let sandbox = Sandbox::start(Options {
        contacts: args.contacts,
        seed: 1,
        port_base: None,
    })
    .await
    .context("the simulators did not start")?;
    let listen = free_port()?;
    let rehearsal = Rehearsal {
        listen: listen.clone(),
        emarketeer: Part::Off,
        superoffice: Part::Off,
        ..Rehearsal::default()
    };
    let config = write_config(&sandbox, folder.path(), &rehearsal)?;
    println!(
        "Four simulated systems with {} contacts each, and a daemon that has never seen them.\n",
        args.contacts
    );
    let mut story = Story {
        sandbox: &sandbox,
        daemon: Daemon::start(&config, folder.path())?,
        config,
        rehearsal,
        rows: Vec::new(),
    };
    let told = story.tell(folder.path()).await;
    println!("\n{}", story.table()?);
    if let Err(error) = &told {
        println!("The story ended early: {error:#}");
    }
    let held = told.is_ok() && story.rows.iter().all(|row| row.held.is_ok());
    if held {
        println!("Every step held.");
    } else {
        println!(
            "Not every step held. The daemon's log: {}",
            story.daemon.log.display()
        );
    }
    if !args.exit {
        println!(
            "\nThe simulators and the daemon stay up: control {}, daemon http://{listen}",
            sandbox.control_url()
        );
        println!("Interrupt to end.");
        tokio::signal::ctrl_c()
            .await
            .context("cannot wait for an interrupt")?;
    }
    story.daemon.stop().await;
    if held {
        folder
            .close()
            .context("the temporary folder cannot be removed")?;
    } else {
        println!("Kept for a look: {}", folder.keep().display());
    }
    sandbox.stop().await;
    ensure!(held, "the story did not hold");
    Ok(Exit::Done)
}

/// A port that is free now, for the daemon to listen on.
fn free_port() -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.to_string())
}

/// The daemon in its own process, so that it can be killed.
struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    fn start(config: &Path, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("consentd.log");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .context("no log file")?;
        let child =
            Command::new(std::env::current_exe().context("this program does not know its path")?)
                .arg("run")
                .arg("--config")
                .arg(config)
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .kill_on_drop(true)
                .spawn()
                .context("the daemon did not start")?;
        Ok(Self { child, log })
    }

    fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the daemon ended by itself: {status}"),
        }
    }

    /// SIGHUP: the daemon reads its configuration again (R49).
    async fn reload(&mut self) -> anyhow::Result<()> {
        let id = self.child.id().context("the daemon has ended")?;
        let asked = Command::new("kill")
            .arg("-HUP")
            .arg(id.to_string())
            .status()
            .await?;
        ensure!(asked.success(), "the daemon cannot be told to reload");
        Ok(())
    }

    /// `kill -9`.
    async fn kill(&mut self) -> anyhow::Result<()> {
        self.child
            .kill()
            .await
            .context("the daemon cannot be killed")
    }

    /// SIGTERM, as systemd does, with the documented 30 s and a bit; then the hard way.
    async fn stop(&mut self) {
        if let Some(id) = self.child.id() {
            let asked = Command::new("kill")
                .arg("-TERM")
                .arg(id.to_string())
                .status()
                .await;
            let ended = tokio::time::timeout(Duration::from_secs(35), self.child.wait()).await;
            if asked.is_ok() && ended.is_ok() {
                return;
            }
        }
        if let Err(error) = self.child.kill().await {
            println!("The daemon did not end: {error}");
        }
    }
}

/// One line of the table at the end.
struct Row {
    what: &'static str,
    held: Result<String, String>,
    took: Duration,
}

struct Story<'a> {
    sandbox: &'a Sandbox,
    daemon: Daemon,
    config: PathBuf,
    rehearsal: Rehearsal,
    rows: Vec<Row>,
}

impl Story<'_> {
    fn salesforce(&self) -> &Org {
        self.sandbox.salesforce()
    }

    fn ascend(&self) -> &Org {
        self.sandbox.ascend()
    }

    /// Plays all acts.
    async fn tell(&mut self, folder: &Path) -> anyhow::Result<()> {
        println!("Act one: the University, with Salesforce and CU Ascend");
        self.first_act(folder).await?;
        println!("\nAct two: eMarketeer and SuperOffice join");
        self.second_act(folder).await?;
        println!("\nAct three: the University's night, with files and Marketing Cloud");
        self.third_act(folder).await?;
        println!("\nAct four: what people decide, and what can be proved");
        self.fourth_act(folder).await
    }

    /// Waits until `seen` holds; the detail it gives goes into the table.
    async fn step(
        &mut self,
        what: &'static str,
        limit: Duration,
        seen: impl Fn(&Self) -> Result<String, String>,
    ) -> anyhow::Result<()> {
        let bar = ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        let begun = Instant::now();
        let held = loop {
            self.daemon.alive()?;
            let now = seen(self);
            if now.is_ok() || begun.elapsed() > limit {
                break now;
            }
            tokio::time::sleep(LOOK).await;
        };
        bar.finish_and_clear();
        self.note(what, held, begun.elapsed());
        Ok(())
    }

    fn note(&mut self, what: &'static str, held: Result<String, String>, took: Duration) {
        println!(
            "{} {what} ({:.1} s)",
            if held.is_ok() { "✓" } else { "✗" },
            took.as_secs_f64()
        );
        self.rows.push(Row { what, held, took });
    }

    fn table(&self) -> anyhow::Result<String> {
        let mut list = List::new(&["held", "step", "seen_in_the_systems", "latency"]);
        for row in &self.rows {
            let (mark, seen) = match &row.held {
                Ok(seen) => ("✓", seen),
                Err(seen) => ("✗", seen),
            };
            let latency = format!("{:.1} s", row.took.as_secs_f64());
            list.push(vec![
                mark.into(),
                row.what.into(),
                seen.as_str().into(),
                latency.into(),
            ]);
        }
        Ok(list.render(Format::Table)?)
    }
}

/// The orgs keep whole seconds; two acts of one second would tie.
async fn next_second() {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
}
