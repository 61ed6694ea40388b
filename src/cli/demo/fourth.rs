//! The fourth act: what people decide. A new daemon plans first; a mass change waits for somebody to look;
//! what was let go by mistake is turned back; and everything can be told and proved afterwards.
//!
//! Operators act as they would: over HTTP with a token of their own, or by our own commands. What comes of
//! it is looked at in the simulated orgs.

use super::client::{Checklist, Client};
use super::first::Pair;
use super::sandbox::{AscendBy, Part, write_config};
use super::{Daemon, LOOK, STEP_LIMIT, Story, next_second};
use crate::config::FirstRun;
use crate::consent::SubjectKey;
use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use consentd_sandbox::{AGENT, ContactState, Org, RECORDS};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// More opt-ins within an hour wait for a person, in this act: few enough for a small demo.
const GRANTS_AT_LEAST: u32 = 20;
/// So many percent of the contacts are opted in by mistake …
const FLIPPED_PERCENT: usize = 30;
/// … but not more than this.
const MOST_FLIPPED: usize = 600;
/// Opt-ins by one user: fewer than make a load within about a minute (R25).
const BY_ONE_USER: usize = 20;
/// Opt-ins that are approved by mistake, by two users.
const APPROVED: usize = 24;
/// Longer than grants wait before they are sent, and than a poll.
const SETTLED: Duration = Duration::from_secs(6);
/// Why the first mass change is rejected.
const MISTAKE: &str = "an import by mistake, says the call centre";
/// The name of the token, which is the operator's in the ledger.
const OPERATOR: &str = "operator";
/// Who works in a shell.
const CAROL: &str = "carol";

/// Somebody with one contact in each org.
#[derive(Clone)]
pub(super) struct Someone {
    pub(super) pair: Pair,
    pub(super) address: String,
}

/// A hold, as the API shows it.
#[derive(Deserialize)]
struct Hold {
    #[serde(rename = "hold")]
    number: i64,
    kind: String,
    system: Option<String>,
    purpose: Option<String>,
    direction: String,
    waiting: usize,
}

#[derive(Deserialize)]
struct Holds {
    holds: Vec<Hold>,
}

/// An alarm that stands, as the API shows it.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm {
    kind: String,
    about: String,
}

#[derive(Deserialize)]
struct Alarms {
    alarms: Vec<Alarm>,
}

/// What came of an act on holds.
#[derive(Deserialize)]
struct Outcomes {
    holds: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    hold: i64,
    done: usize,
}

/// How a system stands, as `consentd status` says it.
#[derive(Deserialize)]
struct Standing {
    system: String,
    feed: String,
    planned: i64,
}

/// A line of `consentd plan`.
#[derive(Deserialize)]
struct Planned {
    system: String,
    contact: String,
    lane: String,
    purpose: String,
    from: Option<String>,
    to: String,
    rule: String,
    state: String,
}

/// A line of `consentd apply`: what was not released.
#[derive(Deserialize)]
struct Dropped {
    system: String,
    contact: String,
    what: String,
}

/// A line of `consentd undo`.
#[derive(Deserialize)]
struct Undoing {
    system: Option<String>,
    contact: Option<String>,
    to: Option<String>,
}

/// What an own command came to.
pub(super) struct Told {
    pub(super) status: Option<i32>,
    pub(super) said: String,
    pub(super) complained: String,
}

impl Told {
    /// The rows of a list.
    pub(super) fn rows<T: DeserializeOwned>(&self) -> anyhow::Result<Vec<T>> {
        serde_json::from_str(&self.said).with_context(|| {
            let complained = self.complained.trim();
            format!("no list; status {:?}, {complained}", self.status)
        })
    }
}

/// What a contact shows: the flag and the boxes.
type Shows = (bool, BTreeMap<String, bool>);
/// A contact: its system's configured name, and its id.
type Place = (String, String);

impl Story<'_> {
    /// Plays the act.
    ///
    /// # Errors
    /// When it cannot go on.
    pub(super) async fn fourth_act(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.daemon.stop().await;
        let mut crowd = self.everybody();
        let wanted = (self.salesforce().contact_count() * FLIPPED_PERCENT / 100).min(MOST_FLIPPED);
        let (Some(mover), Some(leaver)) = (crowd.pop(), crowd.pop()) else {
            anyhow::bail!("nobody is in both orgs")
        };
        ensure!(
            !self.shown(&leaver.pair).0,
            "everybody has opted out before the act"
        );
        ensure!(
            crowd.len() > wanted,
            "too few people are in both orgs: {} of {wanted}",
            crowd.len()
        );
        crowd.truncate(wanted);
        self.plan_first(folder, &crowd, &mover).await?;
        let client = Client::new(&self.rehearsal.listen, folder)?;
        let operator = Client::operator(&self.rehearsal.listen, folder)?;
        let rejected = self.hold(&client, &operator, &crowd).await?;
        let (wrong, others) = crowd.split_at(APPROVED);
        self.undo(&operator, wrong).await?;
        let other = others.first().context("nobody is left")?;
        self.told(&operator, other, rejected).await?;
        self.ledger(folder).await?;
        self.erasure(&client, &operator, folder, &leaver).await
    }

    /// Everybody with one contact in each org, linked; those who are opted out in both come first.
    fn everybody(&self) -> Vec<Someone> {
        let one = |mut found: Vec<ContactState>| if found.len() == 1 { found.pop() } else { None };
        let ids = self.salesforce().contact_ids(usize::MAX);
        let contacts = ids.iter().filter_map(|id| self.salesforce().contact(id));
        let mut all: Vec<(bool, Someone)> = contacts
            .filter_map(|contact| {
                let address = contact.address.clone()?;
                SubjectKey::from_address(&address).ok()?;
                one(self.salesforce().contacts_by_address(&address))?;
                let partner = one(self.ascend().contacts_by_address(&address))?;
                let linked = partner.ascend_id.is_some()
                    && partner.ascend_id == contact.ascend_id
                    && !partner.deleted
                    && address.is_ascii();
                let is_in = !(contact.opted_out && partner.opted_out);
                let pair = Pair {
                    salesforce: contact.id,
                    ascend: partner.id,
                };
                linked.then_some((is_in, Someone { pair, address }))
            })
            .collect();
        all.sort_by_key(|(is_in, _)| *is_in);
        all.into_iter().map(|(_, someone)| someone).collect()
    }

    /// Opt-outs that no daemon has seen are planned by one with a new store, and written once a plan is
    /// applied (R49, R51).
    async fn plan_first(
        &mut self,
        folder: &Path,
        crowd: &[Someone],
        mover: &Someone,
    ) -> anyhow::Result<()> {
        let mut unseen: Vec<&Someone> = Vec::new();
        for someone in crowd.iter().chain([mover]) {
            if !self.shown(&someone.pair).0 {
                Self::opt(self.salesforce(), &someone.pair.salesforce, true, AGENT)?;
            }
            if !self.shown(&someone.pair).1 {
                unseen.push(someone);
            }
        }
        self.rehearsal.emarketeer = Part::Off;
        self.rehearsal.superoffice = Part::Off;
        self.rehearsal.marketing_cloud = Part::Off;
        self.rehearsal.ascend = AscendBy::Platform;
        self.rehearsal.first_run = FirstRun::Plan;
        self.rehearsal.grants_at_least = Some(GRANTS_AT_LEAST);
        let store = folder.join("consentd-sandbox/act-four.db");
        self.rehearsal.store_url = Some(format!("sqlite://{}", store.display()));
        write_config(self.sandbox, folder, &self.rehearsal)?;
        self.salesforce().reset_calls();
        self.ascend().reset_calls();
        self.daemon = Daemon::start(&self.config, folder)?;
        self.watch(
            "a daemon with a new store reads both orgs and only plans",
            async |story| {
                let standings: Vec<Standing> = story.rows(&["status"]).await?;
                let follows = |name: &str| {
                    let mut all = standings.iter();
                    all.any(|one| one.system == name && one.feed == "following")
                };
                let planned: i64 = standings.iter().map(|one| one.planned).sum();
                if follows("salesforce") && follows("ascend") {
                    story.unwritten(&format!("{planned} writes planned"))
                } else {
                    Err("not everything is read yet".to_owned())
                }
            },
        )
        .await?;
        let file = folder.join("plan.json");
        let file = file.to_str().context("a folder with an odd name")?;
        let begun = Instant::now();
        let save = ["plan", "--save", file, "--output", "json"];
        let plan: Vec<Planned> = self.command(&save).await?.rows()?;
        let held = listed(&plan, &unseen).and_then(|seen| self.unwritten(&seen));
        let what = "the plan lists each opt-out that is to be written: from, to, and the rule";
        self.note(what, held, begun.elapsed());
        self.applied(file, &plan, mover).await
    }

    /// One person moves on; what is still so is written, and the rest told.
    async fn applied(
        &mut self,
        file: &str,
        plan: &[Planned],
        mover: &Someone,
    ) -> anyhow::Result<()> {
        Self::opt(self.ascend(), &mover.pair.ascend, true, RECORDS)?;
        self.watch(
            "one of them opts out in Ascend too: that write is planned no more",
            async |story| {
                let now: Vec<Planned> = story.rows(&["plan", "--stored"]).await?;
                if now.iter().any(|line| line.contact == mover.pair.ascend) {
                    Err("it is planned still".to_owned())
                } else {
                    story.unwritten("not in the new plan")
                }
            },
        )
        .await?;
        let before = self.all_show();
        let reason = ["--reason", "looked through", "--operator", CAROL];
        let words = [&["apply", file, "--output", "json"][..], &reason[..]].concat();
        let dropped: Vec<Dropped> = self.command(&words).await?.rows()?;
        let place = |system: &str, contact: &str| (system.to_owned(), contact.to_owned());
        let all: BTreeSet<Place> = plan
            .iter()
            .filter(|line| line.state == "planned")
            .map(|line| place(&line.system, &line.contact))
            .collect();
        let told: BTreeMap<Place, &str> = dropped
            .iter()
            .map(|line| (place(&line.system, &line.contact), line.what.as_str()))
            .collect();
        let moved = place("ascend", &mover.pair.ascend);
        self.watch(
            "apply writes what is still so, drops that one, and says why",
            async |story| {
                let now = story.all_show();
                let changed: BTreeSet<&Place> = now
                    .iter()
                    .filter(|(place, shows)| before.get(*place) != Some(*shows))
                    .map(|(place, _)| place)
                    .collect();
                let due = all.iter().filter(|place| !told.contains_key(*place));
                let open = due.clone().filter(|place| !changed.contains(place)).count();
                let beyond = changed.iter().filter(|place| !all.contains(**place));
                let beyond = beyond.count();
                match told.get(&moved) {
                    Some(why) if open == 0 && beyond == 0 && !changed.contains(&moved) => {
                        Ok(format!("{} written, dropped: {why}", due.count()))
                    }
                    _ => Err(format!(
                        "{open} open, {beyond} beyond the plan, dropped: {}",
                        told.values().copied().collect::<Vec<_>>().join("; ")
                    )),
                }
            },
        )
        .await
    }

    /// A load by many hands opts people in: it waits, and one word turns it back (R26, R29). The hold's
    /// number.
    async fn hold(
        &mut self,
        client: &Client,
        operator: &Client,
        crowd: &[Someone],
    ) -> anyhow::Result<i64> {
        self.watch(
            "everybody of them is opted out in both orgs",
            async |story| story.all_out(crowd),
        )
        .await?;
        next_second().await;
        let before: Alarms = operator.get("/v1/alarms").await?;
        self.opted_in_by_many("Call Centre", crowd)?;
        let found = self
            .mass_change(
                "an import under many logins opts 30 % in: one alarm, and one hold for all of them",
                operator,
                crowd,
                &before.alarms,
            )
            .await?;
        tokio::time::sleep(SETTLED).await;
        let begun = Instant::now();
        let ask = json!({ "purpose": "marketing", "recipients": [crowd[0].address] });
        let checklist: Checklist = client.post("/v1/checklists", &ask).await?;
        let out = crowd.iter().filter(|one| self.shown(&one.pair).1).count();
        let held = if out == crowd.len() && checklist.answers() == ["held"] {
            Ok(format!("{out} of {out} still opted out in Ascend"))
        } else {
            Err(format!(
                "{out} of {} opted out in Ascend, the check says {:?}",
                crowd.len(),
                checklist.answers()
            ))
        };
        self.note(
            "nobody is opted in anywhere, and the check before mail says held",
            held,
            begun.elapsed(),
        );
        let reject = json!({
            "word": "reject", "filter": { "kind": "mass-change" }, "reason": MISTAKE,
        });
        let came: Outcomes = operator.post("/v1/holds/decide", &reject).await?;
        ensure!(
            came.holds.len() == 1 && came.holds[0].done == crowd.len(),
            "the word did not reach everybody"
        );
        self.watch(
            "one word rejects it: everybody is opted out again, in Salesforce too",
            async |story| {
                let seen = story.all_out(crowd)?;
                let open = mass_changes(operator).await?;
                if open.is_empty() {
                    Ok(seen)
                } else {
                    Err("the hold is open still".to_owned())
                }
            },
        )
        .await?;
        ensure!(came.holds[0].hold == found, "another hold was decided");
        Ok(found)
    }

    /// A second one is approved by mistake, and turned back; what a person said meanwhile stays (R30).
    async fn undo(&mut self, operator: &Client, wrong: &[Someone]) -> anyhow::Result<()> {
        next_second().await;
        let before: Alarms = operator.get("/v1/alarms").await?;
        let flipped = self.salesforce().now();
        self.opted_in_by_many("Help Desk", wrong)?;
        let hold = self
            .mass_change(
                "a second, smaller one waits under a hold of its own",
                operator,
                wrong,
                &before.alarms,
            )
            .await?;
        let number = hold.to_string();
        let approve = json!({ "reason": "all of them asked for it" });
        let path = format!("/v1/holds/{number}/approve");
        let came: Outcomes = operator.post(&path, &approve).await?;
        ensure!(
            came.holds.iter().map(|hold| hold.done).sum::<usize>() == wrong.len(),
            "the word did not reach everybody"
        );
        self.watch("it is approved by mistake, and goes out", async |story| {
            let shown = wrong.iter().map(|one| story.shown(&one.pair));
            let into = shown.filter(|shown| (shown.0, shown.1) == (false, false));
            counted(into.count(), wrong.len(), "opted in, in both")
        })
        .await?;
        let (own, rest) = wrong.split_first().context("nobody is in it")?;
        next_second().await;
        Self::opt(self.salesforce(), &own.pair.salesforce, true, AGENT)?;
        self.watch(
            "one of them opts out again, by their own act",
            async |story| story.all_out(std::slice::from_ref(own)),
        )
        .await?;
        let what = ["undo", "--batch", &number, "--output", "json"];
        let shown = self.command(&what).await?;
        ensure!(
            shown.status == Some(2),
            "undo shows nothing: {}",
            shown.complained
        );
        let lines: Vec<Undoing> = shown.rows()?;
        let reason = [
            "--apply",
            "--operator",
            CAROL,
            "--reason",
            "nobody had asked",
        ];
        let words = [&what[..], &reason[..]].concat();
        let done = self.command(&words).await?;
        ensure!(done.status == Some(0), "undo: {}", done.complained);
        let own_said = self.opted_out_at(&own.pair.salesforce)?;
        self.watch(
            "undo brings back what was before, and leaves that person's own opt-out as it is",
            async |story| {
                let seen = story.all_out(wrong)?;
                let restored = lines.iter().filter(|line| line.to.is_some());
                let places: BTreeSet<_> =
                    restored.map(|line| (&line.system, &line.contact)).collect();
                for one in rest {
                    let said = verdict_of(operator, one).await?;
                    if said >= flipped.timestamp() {
                        return Err("a withdrawal has another stamp than before".to_owned());
                    }
                }
                let said = verdict_of(operator, own).await?;
                if said == own_said.timestamp() {
                    Ok(format!("{seen}; {} values written back", places.len()))
                } else {
                    Err(format!(
                        "their own opt-out was at {own_said}, the verdict says {said}"
                    ))
                }
            },
        )
        .await
    }

    /// What happened to somebody is told: the hold, who decided, and why (R53).
    async fn told(&mut self, operator: &Client, one: &Someone, hold: i64) -> anyhow::Result<()> {
        self.watch(
            "explain tells of one of them: the hold, the operator, the reason",
            async |_| {
                let timeline = explain(operator, one).await?;
                let events = timeline["events"].as_array();
                let mut events = events.into_iter().flatten();
                let act = events.find(|event| {
                    event["hold"] == hold
                        && event["operator"] == OPERATOR
                        && event["reason"] == MISTAKE
                });
                let act = act.and_then(|event| event["act"].as_str());
                let act = act.ok_or("nobody has decided about them")?;
                Ok(format!("hold {hold}, {act} by {OPERATOR}: {MISTAKE}"))
            },
        )
        .await
    }

    /// Has people opted in by new users, each of few enough that it is no load (R25).
    fn opted_in_by_many(&self, who: &str, people: &[Someone]) -> anyhow::Result<()> {
        for (number, some) in people.chunks(BY_ONE_USER).enumerate() {
            let user = format!("{who} {}", number + 1);
            self.salesforce().hire(&user).context("no user")?;
            for one in some {
                Self::opt(self.salesforce(), &one.pair.salesforce, false, &user)?;
            }
        }
        Ok(())
    }

    /// Waits for the one hold of all these people, with its alarm; its number.
    async fn mass_change(
        &mut self,
        what: &'static str,
        operator: &Client,
        people: &[Someone],
        before: &[Alarm],
    ) -> anyhow::Result<i64> {
        self.watch(what, async |_| {
            let open = mass_changes(operator).await?;
            let now: Alarms = operator
                .get("/v1/alarms")
                .await
                .map_err(|error| words(&error))?;
            let new: Vec<&Alarm> = now
                .alarms
                .iter()
                .filter(|one| !before.contains(one))
                .collect();
            match (&open[..], &new[..]) {
                ([hold], [alarm]) if hold.waiting == people.len() && alarm.kind == "hold" => {
                    Ok(format!(
                        "hold {}: {} of {} by {}, {} people",
                        hold.number,
                        hold.direction,
                        hold.purpose.as_deref().unwrap_or_default(),
                        hold.system.as_deref().unwrap_or_default(),
                        hold.waiting
                    ))
                }
                _ => {
                    let waiting: Vec<usize> = open.iter().map(|hold| hold.waiting).collect();
                    let kinds: Vec<&str> = new.iter().map(|alarm| alarm.kind.as_str()).collect();
                    Err(format!(
                        "of {} people wait {waiting:?}; new alarms: {kinds:?}",
                        people.len()
                    ))
                }
            }
        })
        .await?;
        let open = mass_changes(operator).await.map_err(anyhow::Error::msg)?;
        let hold = open.first().context("no mass change is held")?;
        Ok(hold.number)
    }

    /// Whether all of them are opted out in both orgs.
    fn all_out(&self, people: &[Someone]) -> Result<String, String> {
        let shown = people.iter().map(|one| self.shown(&one.pair));
        let out = shown.filter(|shown| (shown.0, shown.1) == (true, true));
        counted(out.count(), people.len(), "opted out in both")
    }

    /// When a contact of Salesforce was opted out last.
    fn opted_out_at(&self, id: &str) -> anyhow::Result<DateTime<Utc>> {
        let rows = self.salesforce().history(id);
        let mut rows = rows.iter().rev();
        let last = rows.find(|row| row.field == "HasOptedOutOfEmail" && row.new == true);
        Ok(last.context("it was never opted out")?.at)
    }

    /// These words, if nothing was written to either org since the calls were counted anew.
    fn unwritten(&self, words: &str) -> Result<String, String> {
        let rows = |org: &Org| {
            let calls = org.calls();
            calls.rows_changed + calls.rows_unchanged + calls.rows_created
        };
        match rows(self.salesforce()) + rows(self.ascend()) {
            0 => Ok(format!("{words}; 0 rows written")),
            rows => Err(format!("{words}; {rows} rows were written")),
        }
    }

    /// What all contacts of both orgs show.
    fn all_show(&self) -> BTreeMap<Place, Shows> {
        let mut all = BTreeMap::new();
        for (name, org) in [("salesforce", self.salesforce()), ("ascend", self.ascend())] {
            for id in org.contact_ids(usize::MAX) {
                if let Some(contact) = org.contact(&id) {
                    let shows = (contact.opted_out, contact.preferences);
                    all.insert((name.to_owned(), id), shows);
                }
            }
        }
        all
    }

    /// As [`Story::step`], for what has to be asked for.
    pub(super) async fn watch(
        &mut self,
        what: &'static str,
        seen: impl AsyncFn(&Self) -> Result<String, String>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let held = loop {
            self.daemon.alive()?;
            let now = seen(self).await;
            if now.is_ok() || begun.elapsed() > STEP_LIMIT {
                break now;
            }
            tokio::time::sleep(LOOK).await;
        };
        self.note(what, held, begun.elapsed());
        Ok(())
    }

    /// Runs one of our own commands, on the daemon's configuration.
    pub(super) async fn command(&self, words: &[&str]) -> anyhow::Result<Told> {
        self.command_on(words, None).await
    }

    /// The same, on another store if there is one.
    pub(super) async fn command_on(
        &self,
        words: &[&str],
        store: Option<&Path>,
    ) -> anyhow::Result<Told> {
        let program = std::env::current_exe().context("this program does not know its path")?;
        let mut command = tokio::process::Command::new(program);
        command.args(words).arg("--config").arg(&self.config);
        if let Some(store) = store {
            command.env(
                "CONSENTD__STORE__URL",
                format!("sqlite://{}", store.display()),
            );
        }
        let output = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(STEP_LIMIT, output)
            .await
            .with_context(|| format!("{words:?} does not end"))??;
        Ok(Told {
            status: output.status.code(),
            said: String::from_utf8_lossy(&output.stdout).into_owned(),
            complained: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The rows that one of our own commands lists.
    pub(super) async fn rows<T: DeserializeOwned>(&self, words: &[&str]) -> Result<Vec<T>, String> {
        let words_for_json = [words, &["--output", "json"]].concat();
        let told = self.command(&words_for_json).await;
        told.and_then(|told| told.rows())
            .map_err(|error| self::words(&error))
    }
}

/// Whether a plan has the opt-out of each of these people in Ascend, with all that is to be said of it.
fn listed(plan: &[Planned], people: &[&Someone]) -> Result<String, String> {
    let of = |one: &Someone| {
        plan.iter().find(|line| {
            line.system == "ascend"
                && line.contact == one.pair.ascend
                && line.lane == "withdrawal"
                && line.purpose == "marketing"
                && line.from.as_ref().is_some_and(|from| *from != line.to)
                && !line.rule.is_empty()
        })
    };
    let found: Vec<&Planned> = people.iter().filter_map(|one| of(one)).collect();
    match found.first() {
        Some(line) if found.len() == people.len() => Ok(format!(
            "{} opt-outs, such as {} {}: {} from {} to {} ({})",
            found.len(),
            line.system,
            line.contact,
            line.purpose,
            line.from.as_deref().unwrap_or_default(),
            line.to,
            line.rule
        )),
        _ => Err(format!("{} of {} are listed", found.len(), people.len())),
    }
}

/// The open mass changes.
async fn mass_changes(operator: &Client) -> Result<Vec<Hold>, String> {
    let found: Holds = operator
        .get("/v1/holds")
        .await
        .map_err(|error| words(&error))?;
    let mut holds = found.holds;
    holds.retain(|hold| hold.kind == "mass-change");
    Ok(holds)
}

/// All that is known of somebody.
async fn explain(operator: &Client, one: &Someone) -> Result<Value, String> {
    let ask = json!({ "address": one.address });
    operator
        .post("/v1/explain", &ask)
        .await
        .map_err(|error| words(&error))
}

/// When somebody said what holds of `marketing` now, in seconds; they have to have withdrawn.
async fn verdict_of(operator: &Client, one: &Someone) -> Result<i64, String> {
    let timeline = explain(operator, one).await?;
    let verdicts = timeline["now"]["verdicts"].as_array();
    let mut verdicts = verdicts.into_iter().flatten();
    let verdict = verdicts.find(|verdict| verdict["purpose"] == "marketing");
    let verdict = verdict.filter(|verdict| verdict["status"] == "withdrawn");
    let said = verdict.and_then(|verdict| verdict["stamp"]["latest"].as_str());
    let said = said.ok_or("somebody has not withdrawn")?;
    let said = DateTime::parse_from_rfc3339(said).map_err(|error| error.to_string())?;
    Ok(said.timestamp())
}

fn counted(found: usize, all: usize, what: &str) -> Result<String, String> {
    let seen = format!("{found} of {all} {what}");
    if found == all { Ok(seen) } else { Err(seen) }
}

/// An error in words, for a step that is looked at again.
pub(super) fn words(error: &anyhow::Error) -> String {
    format!("{error:#}")
}
