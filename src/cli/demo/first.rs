//! The first act: the University's story, between Salesforce and CU Ascend.

use super::{Daemon, LOOK, STEP_LIMIT, Story, next_second};
use crate::consent::SubjectKey;
use anyhow::{Context, bail, ensure};
use consentd_sandbox::{
    AGENT, CallKind, ContactState, DATA_LOAD, Fault, LoadScope, Org, RECORDS, Rule, SPECIALIST,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The first load may take this long, and a millisecond more for each contact.
const LOAD_LIMIT: Duration = Duration::from_mins(2);
/// People who have a part of their own.
const CAST: usize = 10;
/// Opt-outs that the manual load overwrites, if there are people enough.
const LOADED: usize = 50;
/// Of fewer grants by one user in a minute nobody can tell that they are a load (R25).
const LEAST_LOADED: usize = 25;
/// Opt-outs that are on their way when the daemon is killed, if there are people enough.
const KILLED: usize = 250;
/// How often a flag is put back that the daemon has just set.
const MOST_EDITS: usize = 5;
/// Fewer cannot be cut in two.
const LEAST_KILLED: usize = 2;

/// A person in both orgs.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) salesforce: String,
    pub(super) ascend: String,
}

impl Story<'_> {
    /// Plays the act.
    ///
    /// # Errors
    /// When it cannot go on.
    pub(super) async fn first_act(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.load().await?;
        let people = self.people();
        ensure!(
            people.len() >= CAST + LEAST_LOADED + LEAST_KILLED,
            "too few people are in both orgs: {}",
            people.len()
        );
        let (cast, crowd) = people.split_at(CAST);
        let [opting, ascends, later, back, ..] = cast else {
            bail!("no cast")
        };
        self.opt_out(opting).await?;
        self.opt_in(opting).await?;
        self.ascend_speaks(ascends).await?;
        self.later_wins(later, back).await?;
        self.oldest_speaks().await?;
        let (loaded, rest) = crowd.split_at((crowd.len() / 2).clamp(LEAST_LOADED, LOADED));
        self.manual_load(loaded).await?;
        self.killed(&rest[..rest.len().min(KILLED)], folder).await?;
        self.quiet().await
    }

    /// Brings both orgs to parity.
    async fn load(&mut self) -> anyhow::Result<()> {
        let first = self.sandbox.parity();
        let bar = ProgressBar::new(first.different as u64).with_style(
            ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} pairs healed")
                .unwrap_or(ProgressStyle::default_bar()),
        );
        bar.set_message("first load");
        let begun = Instant::now();
        let limit = LOAD_LIMIT + Duration::from_millis(self.salesforce().contact_count() as u64);
        let held = loop {
            self.daemon.alive()?;
            let pairs = self.pairs();
            bar.set_position(first.different.saturating_sub(pairs.different) as u64);
            let seen = pairs.seen();
            if seen.is_ok() || begun.elapsed() > limit {
                break seen.map(|seen| format!("{seen}; {} had differed", first.different));
            }
            tokio::time::sleep(LOOK).await;
        };
        bar.finish_and_clear();
        self.note("both orgs are brought to parity", held, begun.elapsed());
        Ok(())
    }

    /// Compares the linked contacts of both orgs.
    pub(super) fn pairs(&self) -> Pairs {
        let parity = self.sandbox.parity();
        let mut pairs = Pairs {
            equal: parity.equal,
            different: 0,
            protected: 0,
            unmatched: 0,
        };
        for row in &parity.differences {
            let (salesforce, ascend) = (
                self.salesforce().contact(&row.salesforce),
                self.ascend().contact(&row.ascend),
            );
            let (org, out) = if row.salesforce_opted_out {
                (self.salesforce(), &salesforce)
            } else {
                (self.ascend(), &ascend)
            };
            let usable = |contact: &Option<ContactState>| {
                let address = contact
                    .as_ref()
                    .and_then(|contact| contact.address.as_deref());
                address.is_some_and(|address| SubjectKey::from_address(address).is_ok())
            };
            if !usable(&salesforce) && !usable(&ascend) {
                pairs.unmatched += 1;
            } else if out.as_ref().is_some_and(|out| is_younger(org, out)) {
                pairs.protected += 1;
            } else {
                pairs.different += 1;
            }
        }
        pairs
    }

    /// People with one contact in each org, linked, with nothing said against mail.
    pub(super) fn people(&self) -> Vec<Pair> {
        let one = |mut found: Vec<ContactState>| if found.len() == 1 { found.pop() } else { None };
        self.salesforce()
            .contact_ids(usize::MAX)
            .iter()
            .filter_map(|id| self.salesforce().contact(id))
            .filter(|contact| {
                !contact.deleted
                    && !contact.opted_out
                    && contact.preferences.values().any(|ticked| *ticked)
            })
            .filter_map(|contact| {
                let address = contact.address.as_deref()?;
                one(self.salesforce().contacts_by_address(address))?;
                let partner = one(self.ascend().contacts_by_address(address))?;
                (partner.ascend_id.is_some()
                    && partner.ascend_id == contact.ascend_id
                    && !partner.opted_out)
                    .then(|| Pair {
                        salesforce: contact.id.clone(),
                        ascend: partner.id,
                    })
            })
            .collect()
    }

    fn edit(org: &Org, id: &str, fields: Value, by: &str) -> anyhow::Result<()> {
        let fields: Map<String, Value> = serde_json::from_value(fields).context("fields")?;
        org.edit(id, &fields, by)
            .with_context(|| format!("{by} cannot edit {id}"))
    }

    pub(super) fn opt(org: &Org, id: &str, out: bool, by: &str) -> anyhow::Result<()> {
        Self::edit(org, id, json!({ "HasOptedOutOfEmail": out }), by)
    }

    /// What both orgs show of a person: opted out in Salesforce, in Ascend, boxes ticked.
    pub(super) fn shown(&self, pair: &Pair) -> (bool, bool, usize) {
        let salesforce = self.salesforce().contact(&pair.salesforce);
        let ascend = self.ascend().contact(&pair.ascend);
        let boxes = salesforce.as_ref().map_or(0, |contact| {
            contact
                .preferences
                .values()
                .filter(|ticked| **ticked)
                .count()
        });
        (
            salesforce.is_some_and(|contact| contact.opted_out),
            ascend.is_some_and(|contact| contact.opted_out),
            boxes,
        )
    }

    async fn opt_out(&mut self, pair: &Pair) -> anyhow::Result<()> {
        Self::opt(self.salesforce(), &pair.salesforce, true, AGENT)?;
        self.step(
            "an opt-out by the Marketing Cloud agent clears every preference and reaches Ascend",
            STEP_LIMIT,
            |story| expect(story.shown(pair), (true, true, 0)),
        )
        .await
    }

    async fn opt_in(&mut self, pair: &Pair) -> anyhow::Result<()> {
        next_second().await;
        Self::opt(self.salesforce(), &pair.salesforce, false, SPECIALIST)?;
        self.step(
            "an opt-in by a specialist reaches Ascend and leaves the preferences off",
            STEP_LIMIT,
            |story| expect(story.shown(pair), (false, false, 0)),
        )
        .await?;
        // A second contact of the same person shows whether re-ticked boxes arrive.
        let address = self
            .salesforce()
            .contact(&pair.salesforce)
            .and_then(|contact| contact.address)
            .context("no address")?;
        let fields: Map<String, Value> =
            serde_json::from_value(json!({ "LastName": "Duplicate", "Email": address }))
                .context("fields")?;
        let twin = self
            .salesforce()
            .create("Contact", &fields, SPECIALIST, None)
            .context("no duplicate")?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        Self::edit(
            self.salesforce(),
            &pair.salesforce,
            json!({ "Email_Events__c": true }),
            SPECIALIST,
        )?;
        self.step(
            "a preference that is ticked again stays and reaches the person's other contact",
            STEP_LIMIT,
            |story| {
                let ticked = |id: &str| {
                    story.salesforce().contact(id).is_some_and(|contact| {
                        contact.preferences.get("Email_Events__c") == Some(&true)
                    })
                };
                let (here, there) = (ticked(&pair.salesforce), ticked(&twin));
                if here && there && story.shown(pair).2 == 1 {
                    Ok("one box, both contacts".to_owned())
                } else {
                    Err(format!("ticked: {here}, arrived: {there}"))
                }
            },
        )
        .await
    }

    async fn ascend_speaks(&mut self, pair: &Pair) -> anyhow::Result<()> {
        Self::opt(self.ascend(), &pair.ascend, true, RECORDS)?;
        self.step(
            "an opt-out in Ascend reaches Salesforce",
            STEP_LIMIT,
            |story| expect(story.shown(pair), (true, true, 0)),
        )
        .await
    }

    async fn later_wins(&mut self, stays_in: &Pair, stays_out: &Pair) -> anyhow::Result<()> {
        Self::opt(self.salesforce(), &stays_in.salesforce, true, AGENT)?;
        Self::opt(self.ascend(), &stays_out.ascend, true, RECORDS)?;
        next_second().await;
        Self::opt(self.ascend(), &stays_in.ascend, true, RECORDS)?;
        Self::opt(self.salesforce(), &stays_out.salesforce, true, AGENT)?;
        next_second().await;
        Self::opt(self.ascend(), &stays_in.ascend, false, RECORDS)?;
        Self::opt(self.ascend(), &stays_out.ascend, false, RECORDS)?;
        next_second().await;
        // The daemon may pass on an earlier opt-out in between. Setting what is set already is no act,
        // and leaves no trace, so the last one has to find the flag off.
        for _ in 0..MOST_EDITS {
            Self::opt(self.salesforce(), &stays_out.salesforce, false, SPECIALIST)?;
            next_second().await;
            if !self.shown(stays_out).0 {
                break;
            }
        }
        Self::opt(self.salesforce(), &stays_out.salesforce, true, AGENT)?;
        // Both answers must also still hold after everything has settled.
        tokio::time::sleep(Duration::from_secs(6)).await;
        self.step(
            "changed in both orgs at once: the later one wins",
            STEP_LIMIT,
            |story| {
                let (ins, outs) = (story.shown(stays_in), story.shown(stays_out));
                if (ins.0, ins.1) == (false, false) && (outs.0, outs.1) == (true, true) {
                    Ok("one opt-in, one opt-out".to_owned())
                } else {
                    Err(format!("later opt-in: {ins:?}, later opt-out: {outs:?}"))
                }
            },
        )
        .await
    }

    async fn oldest_speaks(&mut self) -> anyhow::Result<()> {
        let create = |story: &Self, last: &str| -> anyhow::Result<String> {
            let fields: Map<String, Value> =
                serde_json::from_value(json!({ "LastName": last, "Email": "Pair@Demo.Example" }))
                    .context("fields")?;
            story
                .salesforce()
                .create("Contact", &fields, SPECIALIST, None)
                .context("no contact")
        };
        let older = create(self, "Older")?;
        next_second().await;
        let younger = create(self, "Younger")?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        Self::opt(self.salesforce(), &older, true, SPECIALIST)?;
        let both = |story: &Self, out: bool| {
            let shown = |id: &str| {
                story
                    .salesforce()
                    .contact(id)
                    .is_some_and(|contact| contact.opted_out)
            };
            if shown(&older) == out && shown(&younger) == out {
                Ok("both contacts equal".to_owned())
            } else {
                Err(format!(
                    "older: {}, younger: {}",
                    shown(&older),
                    shown(&younger)
                ))
            }
        };
        self.step(
            "of two duplicates the oldest speaks: its opt-out reaches the younger",
            STEP_LIMIT,
            |story| both(story, true),
        )
        .await?;
        next_second().await;
        Self::opt(self.salesforce(), &older, false, SPECIALIST)?;
        self.step("and so does its opt-in", STEP_LIMIT, |story| {
            both(story, false)
        })
        .await
    }

    async fn manual_load(&mut self, pairs: &[Pair]) -> anyhow::Result<()> {
        self.ascend().snapshot("old").context("no snapshot")?;
        for pair in pairs {
            Self::opt(self.salesforce(), &pair.salesforce, true, AGENT)?;
        }
        let all_out = |story: &Self| {
            let out = pairs
                .iter()
                .filter(|pair| story.shown(pair) == (true, true, 0))
                .count();
            if out == pairs.len() {
                Ok(format!("{out} of {out} opted out in both"))
            } else {
                Err(format!("{out} of {} opted out in both", pairs.len()))
            }
        };
        self.step("dozens of opt-outs reach Ascend", STEP_LIMIT, all_out)
            .await?;
        next_second().await;
        let scope = LoadScope {
            ids: Some(pairs.iter().map(|pair| pair.ascend.clone()).collect()),
            limit: None,
        };
        let report = self
            .ascend()
            .load("old", &scope, DATA_LOAD)
            .context("no load")?;
        ensure!(
            report.changed == pairs.len(),
            "the load overwrote {} contacts",
            report.changed
        );
        self.step(
            "a manual load in Ascend overwrites them from an old copy and is healed",
            STEP_LIMIT,
            all_out,
        )
        .await?;
        // Nothing of the load may reach Salesforce, not even late.
        tokio::time::sleep(Duration::from_secs(6)).await;
        self.step(
            "and nothing of the load ever reaches Salesforce",
            Duration::ZERO,
            all_out,
        )
        .await
    }

    async fn killed(&mut self, pairs: &[Pair], folder: &Path) -> anyhow::Result<()> {
        // The second call of the round hangs, so that the daemon is surely in the middle of it.
        let hangs = Rule::from(Fault::Stall { seconds: 60 })
            .after(1)
            .calls(&[CallKind::CollectionsWrite]);
        self.ascend().set_fault(hangs).context("no fault")?;
        // Two rounds, so that there are two calls however few the people are.
        let calls = |story: &Self| story.ascend().calls().of(CallKind::CollectionsWrite);
        let made = calls(self);
        let reached = |story: &Self| pairs.iter().filter(|pair| story.shown(pair).1).count();
        let (first, second) = pairs.split_at(pairs.len() / 2);
        let begun = Instant::now();
        for (round, wanted) in [(first, 1), (second, 2)] {
            for pair in round {
                Self::opt(self.salesforce(), &pair.salesforce, true, AGENT)?;
            }
            while calls(self) < made + wanted && begun.elapsed() < STEP_LIMIT {
                self.daemon.alive()?;
                tokio::time::sleep(LOOK).await;
            }
        }
        let before = reached(self);
        self.daemon.kill().await?;
        self.ascend().clear_faults(None);
        ensure!(
            before > 0 && before < pairs.len(),
            "the daemon was not in the middle: {before} of {} written",
            pairs.len()
        );
        self.daemon = Daemon::start(&self.config, folder)?;
        self.step(
            "a kill -9 in the middle of an emission and a restart lose nothing",
            STEP_LIMIT,
            |story| {
                let now = reached(story);
                if now == pairs.len() {
                    Ok(format!("{before} of {now} written at the kill"))
                } else {
                    Err(format!("{now} of {} written", pairs.len()))
                }
            },
        )
        .await
    }

    async fn quiet(&mut self) -> anyhow::Result<()> {
        self.step("parity is 100 %", STEP_LIMIT, |story| story.pairs().seen())
            .await?;
        self.salesforce().reset_calls();
        self.ascend().reset_calls();
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_secs(8)).await;
        let rows = |org: &Org| {
            let calls = org.calls();
            calls.rows_changed + calls.rows_unchanged + calls.rows_created
        };
        let (salesforce, ascend) = (rows(self.salesforce()), rows(self.ascend()));
        let polled = self.salesforce().calls().of(CallKind::QueryAll);
        let held = if salesforce + ascend == 0 && polled > 2 {
            Ok(format!("0 rows written in {polled} polls"))
        } else {
            Err(format!(
                "{salesforce} rows written to Salesforce, {ascend} to Ascend, {polled} polls"
            ))
        };
        self.note("and nothing more is written", held, begun.elapsed());
        Ok(())
    }
}

/// How far the linked contacts of both orgs agree.
pub(super) struct Pairs {
    equal: usize,
    different: usize,
    /// The opt-out is a younger duplicate's: protected and reported, while the oldest speaks (R6).
    protected: usize,
    /// Neither contact has a usable address, so neither is ever synced (R2).
    unmatched: usize,
}

impl Pairs {
    pub(super) fn seen(&self) -> Result<String, String> {
        let Self {
            equal,
            different,
            protected,
            unmatched,
        } = self;
        if *different == 0 {
            Ok(format!(
                "{equal} pairs equal; {protected} protected duplicates, {unmatched} without address"
            ))
        } else {
            Err(format!("{different} pairs still differ"))
        }
    }
}

/// Whether an older live contact of the org has the same address.
fn is_younger(org: &Org, contact: &ContactState) -> bool {
    let age = (contact.created, &contact.id);
    let address = contact.address.as_deref().unwrap_or_default();
    org.contacts_by_address(address)
        .iter()
        .any(|other| !other.deleted && (other.created, &other.id) < age)
}

/// Compares what both orgs show: opted out in Salesforce, in Ascend, boxes ticked.
fn expect(shown: (bool, bool, usize), wanted: (bool, bool, usize)) -> Result<String, String> {
    let words = format!(
        "opted out: Salesforce {}, Ascend {}; boxes ticked: {}",
        yes(shown.0),
        yes(shown.1),
        shown.2
    );
    if shown == wanted {
        Ok(words)
    } else {
        Err(words)
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
