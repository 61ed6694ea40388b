//! The daemon is killed again and again while people edit contacts in both orgs. What is looked at
//! is what the orgs show in the end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/process.rs"]
mod process;

use consentd::cli::sandbox::{Rehearsal, write_config};
use consentd_sandbox::{
    AGENT, CallKind, ContactState, Options, Org, RECORDS, SPECIALIST, Sandbox, System,
};
use process::{Process, consentd, free_address, output, text, wait_for, wait_ready};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Kills while the first load is under way.
const KILLS_IN_LOAD: u32 = 3;
/// Kills while people edit, unless `CONSENTD_KILLS` says otherwise.
const KILLS: u32 = 8;
/// The orgs keep whole seconds: only edits further apart than this have a sure order.
const APART: Duration = Duration::from_millis(1_100);
/// So many flips of one person in an hour are not yet held for a look.
const MOST_EDITS: u32 = 4;
/// Grants of one actor in two minutes, well below what is taken for a load.
const MOST_GRANTS: usize = 10;
const GRANT_WINDOW: Duration = Duration::from_mins(2);
/// Longer than a grant settles and a write takes to be read back.
const QUIET: Duration = Duration::from_secs(6);

/// A person in both orgs, and what was last said there.
struct Pair {
    salesforce: String,
    ascend: String,
    edits: u32,
    last: Option<(Instant, bool)>,
    story: Vec<String>,
}

struct Scene {
    sandbox: Sandbox,
    folder: PathBuf,
    config: PathBuf,
    rng: StdRng,
    grants: [VecDeque<Instant>; 2],
}

impl Scene {
    fn daemon(&self) -> Process {
        let config = self.config.display().to_string();
        Process::start(
            consentd(&["run", "--config", &config]),
            &self.folder.join("consentd.log"),
        )
    }

    /// People with one contact in each org, linked, who receive mail.
    fn people(&self) -> Vec<Pair> {
        let (salesforce, ascend) = (self.sandbox.salesforce(), self.sandbox.ascend());
        let only = |org: &Org, address: &str| -> Option<ContactState> {
            let mut found = org.contacts_by_address(address);
            (found.len() == 1).then(|| found.remove(0))
        };
        salesforce
            .contact_ids(usize::MAX)
            .iter()
            .filter_map(|id| {
                let contact = salesforce.contact(id)?;
                let address = contact.address.as_deref()?;
                only(salesforce, address)?;
                let partner = only(ascend, address)?;
                let same = contact.ascend_id.is_some() && contact.ascend_id == partner.ascend_id;
                let mailed = |state: &ContactState| !state.deleted && !state.opted_out;
                (same && mailed(&contact) && mailed(&partner)).then(|| Pair {
                    salesforce: contact.id,
                    ascend: partner.id,
                    edits: 0,
                    last: None,
                    story: Vec::new(),
                })
            })
            .collect()
    }

    /// Somebody changes what an org shows of a random person, unless it was changed just now.
    fn edit(&mut self, pairs: &mut [Pair]) {
        let chosen = self.rng.random_range(0..pairs.len());
        let pair = &mut pairs[chosen];
        if pair.edits >= MOST_EDITS || pair.last.is_some_and(|(at, _)| at.elapsed() < APART) {
            return;
        }
        let system = if self.rng.random() {
            System::Salesforce
        } else {
            System::Ascend
        };
        let (id, grants) = match system {
            System::Salesforce => (&pair.salesforce, &mut self.grants[0]),
            System::Ascend => (&pair.ascend, &mut self.grants[1]),
        };
        let org = self.sandbox.org(system);
        let out = !org.contact(id).unwrap().opted_out;
        let by = match (system, out) {
            (System::Ascend, _) => RECORDS,
            (System::Salesforce, true) => AGENT,
            (System::Salesforce, false) => SPECIALIST,
        };
        if !out {
            while grants.front().is_some_and(|at| at.elapsed() > GRANT_WINDOW) {
                grants.pop_front();
            }
            if grants.len() >= MOST_GRANTS {
                return;
            }
        }
        let acts = |org: &Org| {
            let rows = org.history(id);
            rows.iter()
                .filter(|row| row.field == "HasOptedOutOfEmail" && row.by == by)
                .count()
        };
        let before = acts(org);
        let fields: Map<String, Value> =
            serde_json::from_value(json!({ "HasOptedOutOfEmail": out })).unwrap();
        org.edit(id, &fields, by).unwrap();
        if acts(org) == before {
            // The daemon was faster by a moment: nothing was changed, so nothing was said.
            return;
        }
        if !out {
            grants.push_back(Instant::now());
        }
        pair.edits += 1;
        pair.last = Some((Instant::now(), out));
        pair.story
            .push(format!("{} {by} out={out} in {system:?}", org.now()));
    }

    /// Rows that were written to either org since the counts were reset.
    fn rows(&self) -> u64 {
        [self.sandbox.salesforce(), self.sandbox.ascend()]
            .iter()
            .map(|org| {
                let calls = org.calls();
                calls.rows_changed + calls.rows_unchanged + calls.rows_created
            })
            .sum()
    }

    /// Waits until nothing has been written for longer than any change needs.
    fn wait_quiet(&self, daemon: &mut Process) {
        let mut seen = (self.rows(), Instant::now());
        wait_for("the orgs come to rest", Duration::from_secs(90), || {
            daemon.assert_alive();
            let rows = self.rows();
            if rows != seen.0 {
                seen = (rows, Instant::now());
            }
            if seen.1.elapsed() > QUIET {
                Ok(())
            } else {
                Err(format!("{rows} rows so far"))
            }
        });
    }

    fn shown(&self, pair: &Pair) -> (bool, bool) {
        (
            self.sandbox
                .salesforce()
                .contact(&pair.salesforce)
                .unwrap()
                .opted_out,
            self.sandbox
                .ascend()
                .contact(&pair.ascend)
                .unwrap()
                .opted_out,
        )
    }

    /// Every edited person shows the last edit in both orgs, or else who does not.
    fn holds(&self, pairs: &[Pair]) -> Result<(), String> {
        let wrong: Vec<String> = pairs
            .iter()
            .filter_map(|pair| {
                let (_, out) = pair.last?;
                let shown = self.shown(pair);
                (shown != (out, out)).then(|| {
                    format!(
                        "{}/{} shows {shown:?} after {:#?}",
                        pair.salesforce, pair.ascend, pair.story
                    )
                })
            })
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    }

    fn pause(&mut self, millis: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(millis))
    }
}

/// The figures of every system, as `status` tells them.
fn status(config: &Path) -> Vec<Value> {
    let config = config.display().to_string();
    let answer = output(&["status", "--config", &config, "--output", "json"]);
    assert!(answer.status.success(), "{}", text(&answer.stderr));
    serde_json::from_slice(&answer.stdout).unwrap()
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn g10_g12_kills_at_any_moment_lose_nothing_and_repeat_nothing() {
    let seed = variable("CONSENTD_SEED").unwrap_or_else(rand::random::<u32>);
    let kills = variable("CONSENTD_KILLS").unwrap_or(KILLS);
    // Shown when the test fails: the same seed makes the same edits, though not the same races.
    println!("CONSENTD_SEED={seed} CONSENTD_KILLS={kills}");
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(Options {
        contacts: 400,
        seed: 3,
        port_base: None,
    })
    .await
    .unwrap();
    let listen = free_address();
    let rehearsal = Rehearsal {
        listen: listen.clone(),
        ..Rehearsal::default()
    };
    let config = write_config(&sandbox, folder.path(), &rehearsal).unwrap();
    let scene = Scene {
        sandbox,
        folder: folder.path().to_owned(),
        config,
        rng: StdRng::seed_from_u64(u64::from(seed)),
        grants: [VecDeque::new(), VecDeque::new()],
    };
    tokio::task::spawn_blocking(move || play(scene, kills, &listen))
        .await
        .unwrap();
}

fn play(mut scene: Scene, kills: u32, listen: &str) {
    let mut daemon = scene.daemon();
    for _ in 0..KILLS_IN_LOAD {
        std::thread::sleep(scene.pause(50..1_500));
        daemon.kill();
        daemon = scene.daemon();
    }
    wait_ready(&mut daemon, listen, Duration::from_mins(1));
    scene.wait_quiet(&mut daemon);

    let mut pairs = scene.people();
    assert!(pairs.len() >= 40, "only {} people", pairs.len());
    pairs.truncate(120);
    for _ in 0..kills {
        let until = Instant::now() + scene.pause(50..1_500);
        while Instant::now() < until {
            scene.edit(&mut pairs);
            let pause = scene.pause(5..60);
            std::thread::sleep(pause.min(until.saturating_duration_since(Instant::now())));
        }
        daemon.kill();
        // Nobody waits for the daemon.
        scene.edit(&mut pairs);
        scene.edit(&mut pairs);
        daemon = scene.daemon();
    }
    let edits: u32 = pairs.iter().map(|pair| pair.edits).sum();
    assert!(edits > kills, "only {edits} edits");

    wait_for(
        "every last edit is shown in both orgs",
        Duration::from_mins(1),
        || {
            daemon.assert_alive();
            scene.holds(&pairs)
        },
    );
    scene.wait_quiet(&mut daemon);
    scene.holds(&pairs).unwrap();
    for pair in &pairs {
        if matches!(pair.last, Some((_, true))) {
            let contact = scene
                .sandbox
                .salesforce()
                .contact(&pair.salesforce)
                .unwrap();
            assert!(
                contact.preferences.values().all(|ticked| !ticked),
                "an opt-out clears every box: {contact:#?}"
            );
        }
    }
    for system in status(&scene.config) {
        for figure in ["quarantined", "dead_letters", "held", "withdrawals_due"] {
            assert_eq!(system[figure], 0, "{figure}: {system:#}");
        }
    }

    scene.sandbox.salesforce().reset_calls();
    scene.sandbox.ascend().reset_calls();
    wait_for("both feeds are read on", Duration::from_secs(30), || {
        daemon.assert_alive();
        let polls = [scene.sandbox.salesforce(), scene.sandbox.ascend()]
            .map(|org| org.calls().of(CallKind::QueryAll));
        if polls.iter().all(|polls| *polls > 5) {
            Ok(())
        } else {
            Err(format!("{polls:?} polls"))
        }
    });
    assert_eq!(scene.rows(), 0, "nothing is written any more");
    scene.holds(&pairs).unwrap();
    let ended = daemon.end("-TERM", Duration::from_secs(30));
    assert!(ended.success(), "{ended}");
}
