//! The third act: the University's whole night. Ascend is connected by files, Marketing Cloud is asked
//! whether mail would be delivered, and a minute stands for a night.
//!
//! What the exchange does is looked at in its folder and in the simulated orgs. Where only the daemon
//! can tell, e.g. who is on the sheet, its own commands are asked, as a specialist would.

use super::client::{Checklist, Client};
use super::first::Pair;
use super::sandbox::{AscendBy, Part, write_config};
use super::{Daemon, STEP_LIMIT, Story, next_second};
use anyhow::{Context, ensure};
use consentd_sandbox::ascend_files::{Behaviour, Code, Exchange};
use consentd_sandbox::marketing_cloud::{BOULDER, Enterprise, Status};
use consentd_sandbox::{AGENT, DATA_LOAD, LoadScope, SPECIALIST};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// People of this act: enough that a manual load of them is recognised as one (R25).
const PEOPLE: usize = 40;
/// A batch goes out at every full minute.
const NIGHT: Duration = Duration::from_secs(75);
/// How the ids of these people begin in Ascend.
const DONORS: &str = "D3-";
/// From this second of a minute on, what is done may be split over two batches.
const LATE: i64 = 45;
/// Name of the state of Ascend that the manual load brings back.
const BEFORE: &str = "before the night";
/// How old what is stored of Ascend may be in a check: an extract is a night old.
const DAY_SECS: u32 = 24 * 3_600;

/// Somebody in both orgs, with the id that both know.
struct Person {
    pair: Pair,
    donor: String,
    address: String,
}

/// A contact that does not show its verdict, as `consentd parity` says it.
#[derive(Deserialize)]
struct Difference {
    system: String,
    contact: String,
    reason: String,
}

/// A line of the re-subscribe sheet, as far as the story looks at it.
#[derive(Deserialize)]
struct SheetLine {
    address: String,
    status: String,
}

/// How a system stands, as `consentd status` says it.
#[derive(Deserialize)]
struct Standing {
    system: String,
    feed: String,
}

impl Story<'_> {
    fn exchange(&self) -> &Exchange {
        self.sandbox.ascend_files()
    }

    fn gate(&self) -> &Enterprise {
        self.sandbox.marketing_cloud()
    }

    /// Plays the act.
    ///
    /// # Errors
    /// When it cannot go on.
    pub(super) async fn third_act(&mut self, folder: &Path) -> anyhow::Result<()> {
        let people: Vec<Person> = (0..PEOPLE)
            .map(|number| self.person_of_the_night(number))
            .collect::<anyhow::Result<_>>()?;
        self.ascend()
            .snapshot(BEFORE)
            .context("no snapshot of Ascend")?;
        self.move_over(folder).await?;
        let client = Client::new(&self.rehearsal.listen, folder)?;
        let refused = &people[0];
        self.night_of_opt_outs(&people, refused).await?;
        let [green, missing, yellow, gray, ..] = &people[1..] else {
            anyhow::bail!("no cast")
        };
        self.opt_ins(&client, [green, missing, yellow, gray])
            .await?;
        self.load_by_hand(&people[5..]).await
    }

    /// Makes somebody with a contact in each org, a subscriber of Marketing Cloud.
    fn person_of_the_night(&self, number: usize) -> anyhow::Result<Person> {
        let address = format!("night{number}@act-three.example");
        let donor = format!("{DONORS}{number:04}");
        let fields = |value: Value| -> anyhow::Result<Map<String, Value>> {
            serde_json::from_value(value).context("fields")
        };
        let salesforce = fields(json!({
            "LastName": "Act Three", "Email": address, "Ascend_ID__c": donor, "Email_Events__c": true,
        }))?;
        let ascend = fields(json!({
            "LastName": "Act Three", "Email": address, "ucinn_ascendv2__Donor_ID__c": donor,
        }))?;
        // So many contacts by one user within a minute are a load (R25), and nobody is opted in by a load: it
        // must not be the user who opts people in later.
        let create = |org: &consentd_sandbox::Org, fields| {
            org.create("Contact", fields, DATA_LOAD, None)
                .context("no contact")
        };
        let pair = Pair {
            salesforce: create(self.salesforce(), &salesforce)?,
            ascend: create(self.ascend(), &ascend)?,
        };
        self.gate()
            .add_subscriber(&pair.salesforce, &address, &[BOULDER])
            .context("no subscriber")?;
        Ok(Person {
            pair,
            donor,
            address,
        })
    }

    /// Starts a daemon that has never seen the two orgs, with Ascend by files.
    async fn move_over(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.daemon.stop().await;
        self.rehearsal.emarketeer = Part::Off;
        self.rehearsal.superoffice = Part::Off;
        self.rehearsal.ascend = AscendBy::Files;
        self.rehearsal.marketing_cloud = Part::On;
        let store = folder.join("consentd-sandbox/act-three.db");
        self.rehearsal.store_url = Some(format!("sqlite://{}", store.display()));
        write_config(self.sandbox, folder, &self.rehearsal)?;
        let extract = self.exchange().extract().context("no extract")?;
        self.daemon = Daemon::start(&self.config, folder)?;
        self.step(
            "CU Ascend is read from its nightly extract",
            STEP_LIMIT * 2,
            |story| {
                let standings: Vec<Standing> = story.asked(&["status"])?;
                let follows = |name: &str| {
                    let mut all = standings.iter();
                    all.any(|one| one.system == name && one.feed == "following")
                };
                if follows("ascend") && follows("salesforce") {
                    Ok(format!("{}: {} rows", extract.file, extract.rows))
                } else {
                    let feeds: Vec<&str> = standings.iter().map(|one| one.feed.as_str()).collect();
                    Err(format!("the feeds are {feeds:?}"))
                }
            },
        )
        .await
    }

    /// Opt-outs go out in one file; one row is refused, one is answered late.
    async fn night_of_opt_outs(
        &mut self,
        people: &[Person],
        refused: &Person,
    ) -> anyhow::Result<()> {
        self.early_in_the_night().await;
        for person in people {
            Self::opt(self.salesforce(), &person.pair.salesforce, true, AGENT)?;
        }
        let (file, rows) = self
            .batch(
                "the opt-outs of a day are in one nightly file, with a manifest",
                people.len(),
            )
            .await?;
        let reject = Behaviour::Reject {
            ids: Some(vec![refused.donor.clone()]),
            code: Code::Policy,
        };
        let partly = Behaviour::AckPartly {
            rows: rows - 1,
            seconds: None,
        };
        self.exchange().set_behaviour(reject).context("no rule")?;
        self.exchange().set_behaviour(partly).context("no rule")?;
        let loaded = self.exchange().load().context("no load")?;
        ensure!(
            loaded.refused.is_empty(),
            "Ascend refused {:?}",
            loaded.refused
        );
        self.exchange().clear_behaviours(Some("ack-partly"));
        self.step(
            "Ascend refuses one row, and does not answer another one yet: both are told apart",
            STEP_LIMIT,
            |story| {
                let open = story.differences("ascend")?;
                let given_up: Vec<&Difference> = with(&open, "POLICY");
                let waiting: Vec<&Difference> = with(&open, "acknowledgement");
                let out = people
                    .iter()
                    .filter(|person| story.shown(&person.pair).1)
                    .count();
                if open.len() == 2
                    && waiting.len() == 1
                    && given_up
                        .iter()
                        .map(|one| one.contact.as_str())
                        .eq([refused.donor.as_str()])
                {
                    Ok(format!("{out} of {} opted out in Ascend", people.len()))
                } else {
                    Err(reasons(&open))
                }
            },
        )
        .await?;
        let delivered = self.exchange().deliver().context("nothing to deliver")?;
        ensure!(delivered == 1, "{delivered} acknowledgements were late");
        self.step(
            "the late acknowledgement settles its row, and only the refused one is left",
            STEP_LIMIT,
            |story| {
                let open = story.differences("ascend")?;
                if open.len() == 1 && with(&open, "POLICY").len() == 1 {
                    Ok(format!("{}; {}", file_name(&file), open[0].reason))
                } else {
                    Err(reasons(&open))
                }
            },
        )
        .await
    }

    /// Waits for a batch with so many of our people in the folder; where it lies, and how many rows it
    /// has in all. What else differed in the two orgs may be in it too.
    async fn batch(
        &mut self,
        what: &'static str,
        people: usize,
    ) -> anyhow::Result<(PathBuf, usize)> {
        self.step(what, NIGHT, |story| {
            let (file, ids) = outbound(story.exchange()).ok_or("no batch yet")?;
            let ours = ids.iter().filter(|id| id.starts_with(DONORS)).count();
            let all = ids.len();
            if ours == people {
                Ok(format!(
                    "{}: {all} rows, {ours} of this act",
                    file_name(&file)
                ))
            } else {
                Err(format!("{ours} of {people} people in {all} rows"))
            }
        })
        .await?;
        let (file, ids) = outbound(self.exchange()).context("no batch")?;
        Ok((file, ids.len()))
    }

    /// Four people come back: green, missing, yellow and gray.
    async fn opt_ins(&mut self, client: &Client, cast: [&Person; 4]) -> anyhow::Result<()> {
        let [_, missing, yellow, gray] = cast;
        let key = |person: &Person| person.pair.salesforce.clone();
        let gate = self.gate();
        gate.delete(&key(missing), None).context("no subscriber")?;
        for (person, status) in [(yellow, Status::Bounced), (gray, Status::Held)] {
            gate.set_status(&key(person), None, status)
                .context("no subscriber")?;
        }
        next_second().await;
        self.early_in_the_night().await;
        for person in cast {
            Self::opt(
                self.salesforce(),
                &person.pair.salesforce,
                false,
                SPECIALIST,
            )?;
        }
        self.step(
            "four people opt in: green and missing pass, yellow and gray are on the sheet",
            STEP_LIMIT,
            |story| {
                let lines = story.sheet()?;
                let listed: BTreeSet<(&str, &str)> = lines
                    .iter()
                    .map(|line| (line.address.as_str(), line.status.as_str()))
                    .collect();
                let expected = BTreeSet::from([
                    (yellow.address.as_str(), "bounced"),
                    (gray.address.as_str(), "held"),
                ]);
                if listed == expected {
                    Ok(format!("{} lines, two people", lines.len()))
                } else {
                    Err(format!("on the sheet are {listed:?}"))
                }
            },
        )
        .await?;
        let addresses = cast.map(|person| person.address.as_str());
        let body = json!({
            "purpose": "marketing", "recipients": addresses, "max_age_secs": DAY_SECS,
        });
        let begun = std::time::Instant::now();
        let checklist: Checklist = client.post("/v1/checklists", &body).await?;
        let answers = checklist.answers();
        let held = if answers == ["send", "send", "undeliverable", "undeliverable"] {
            Ok(answers.join(", "))
        } else {
            Err(answers.join(", "))
        };
        self.note(
            "the check before mail knows whose mail would not be delivered",
            held,
            begun.elapsed(),
        );
        self.batch("their opt-ins are in the next nightly file", cast.len())
            .await?;
        self.exchange().load().context("no load")?;
        self.step("and are in Ascend", STEP_LIMIT, |story| {
            let open = story.differences("ascend")?;
            let shown = cast.map(|person| story.shown(&person.pair).1);
            if shown == [false; 4] && open.len() == 1 {
                Ok("four people, both orgs".to_owned())
            } else {
                Err(format!(
                    "opted out in Ascend: {shown:?}; {}",
                    reasons(&open)
                ))
            }
        })
        .await?;
        for person in [yellow, gray] {
            self.gate()
                .set_status(&key(person), None, Status::Active)
                .context("no subscriber")?;
        }
        self.step(
            "a later green reading closes both requests, and the sheet is empty",
            NIGHT,
            |story| {
                let lines = story.sheet()?;
                if lines.is_empty() {
                    Ok("no open request".to_owned())
                } else {
                    Err(format!("{} lines are left", lines.len()))
                }
            },
        )
        .await
    }

    /// A manual load in Ascend flips opt-outs back; the extract shows it, and it is healed.
    async fn load_by_hand(&mut self, people: &[Person]) -> anyhow::Result<()> {
        next_second().await;
        self.early_in_the_night().await;
        let ids = people.iter().map(|person| person.pair.ascend.clone());
        let scope = LoadScope {
            ids: Some(ids.collect()),
            limit: None,
        };
        let loaded = self
            .ascend()
            .load(BEFORE, &scope, DATA_LOAD)
            .context("no manual load")?;
        next_second().await;
        let extract = self.exchange().extract().context("no extract")?;
        self.batch(
            "a manual load in Ascend is seen in the next extract, and answered in the next file",
            people.len(),
        )
        .await?;
        self.exchange().load().context("no load")?;
        self.step(
            "the load is healed, and nobody was opted in anywhere",
            STEP_LIMIT,
            |story| {
                let out = |place: fn(&(bool, bool, usize)) -> bool| {
                    people
                        .iter()
                        .filter(|person| place(&story.shown(&person.pair)))
                        .count()
                };
                let (salesforce, ascend) = (out(|shown| shown.0), out(|shown| shown.1));
                let open = story.differences("ascend")?;
                if (salesforce, ascend, open.len()) == (people.len(), people.len(), 1) {
                    Ok(format!(
                        "{} flipped, {} healed; {}",
                        loaded.changed, ascend, extract.file
                    ))
                } else {
                    Err(format!(
                        "opted out in Salesforce {salesforce}, in Ascend {ascend} of {}; {}",
                        people.len(),
                        reasons(&open)
                    ))
                }
            },
        )
        .await
    }

    /// Waits for a moment from which what is done now is read before the next batch goes out.
    async fn early_in_the_night(&self) {
        let second = self.salesforce().now().timestamp().rem_euclid(60);
        if second >= LATE {
            let rest = u64::try_from(61 - second).unwrap_or_default();
            tokio::time::sleep(Duration::from_secs(rest)).await;
        }
    }

    /// What one of our own commands prints as JSON.
    fn asked<T: serde::de::DeserializeOwned>(&self, command: &[&str]) -> Result<T, String> {
        let text = self.printed(command, &["--output", "json"])?;
        serde_json::from_str(&text).map_err(|error| format!("{command:?}: {error}"))
    }

    /// What one of our own commands prints, whether or not it finds differences.
    fn printed(&self, command: &[&str], more: &[&str]) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let output = Command::new(program)
            .args(command)
            .arg("--config")
            .arg(&self.config)
            .args(more)
            .output()
            .map_err(|error| error.to_string())?;
        if matches!(output.status.code(), Some(0 | 2)) {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// The contacts of a system that do not show their verdict.
    fn differences(&self, system: &str) -> Result<Vec<Difference>, String> {
        let mut all: Vec<Difference> = self.asked(&["parity"])?;
        all.retain(|one| one.system == system);
        Ok(all)
    }

    /// The re-subscribe sheet.
    fn sheet(&self) -> Result<Vec<SheetLine>, String> {
        let text = self.printed(&["resubscribe", "export"], &[])?;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let lines = reader.deserialize().collect::<Result<_, _>>();
        lines.map_err(|error| error.to_string())
    }
}

/// The newest batch that lies in the folder with its manifest, and whom it is about.
fn outbound(exchange: &Exchange) -> Option<(PathBuf, Vec<String>)> {
    let folder = exchange.folder().join("outbound");
    let mut batches: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "csv"))
        .filter(|path| path.with_extension("manifest.json").exists())
        .collect();
    batches.sort();
    let file = batches.pop()?;
    let mut reader = csv::Reader::from_path(&file).ok()?;
    let column = reader
        .headers()
        .ok()?
        .iter()
        .position(|name| name == "ascend_id")?;
    let rows = reader.records().map_while(Result::ok);
    let ids = rows.filter_map(|row| row.get(column).map(str::to_owned));
    Some((file, ids.collect()))
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Those with these words in their reason.
fn with<'d>(differences: &'d [Difference], words: &str) -> Vec<&'d Difference> {
    differences
        .iter()
        .filter(|one| one.reason.contains(words))
        .collect()
}

fn reasons(differences: &[Difference]) -> String {
    let some: Vec<String> = differences
        .iter()
        .take(3)
        .map(|one| format!("{}: {}", one.contact, one.reason))
        .collect();
    format!("{} differ, such as {}", differences.len(), some.join("; "))
}
