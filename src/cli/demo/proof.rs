//! The end of the fourth act: the ledger is proved, and somebody is erased.

use super::client::{Checklist, Client};
use super::fourth::{Someone, words};
use super::{LOOK, STEP_LIMIT, Story, next_second};
use crate::store::{self, Access, StoreSettings};
use anyhow::{Context, ensure};
use consentd_sandbox::{DATA_LOAD, INTEGRATION, RECORDS, SPECIALIST};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// So many blocks of the ledger are looked through for one to alter …
const BLOCKS: usize = 1_000;
/// … of so many bytes: less than a page of the database, and enough to be found by.
const SHORT: Range<usize> = 100..1_000;

/// The answer of `consentd ledger verify`.
#[derive(Deserialize)]
struct Proof {
    entries: i64,
    forgotten: i64,
    head: String,
    fault: Option<String>,
}

impl Proof {
    fn whole(&self) -> Result<String, String> {
        match &self.fault {
            None => Ok(format!(
                "{} entries, {} forgotten, head {:.16}…",
                self.entries, self.forgotten, self.head
            )),
            Some(fault) => Err(fault.clone()),
        }
    }
}

/// The answer of `POST /v1/erasures`.
#[derive(Deserialize)]
struct Erased {
    known: bool,
    contacts: u64,
    forgotten: u64,
    clean: bool,
}

impl Story<'_> {
    /// The ledger is proved, also that it would show one altered byte, and rebuilds the store (R52).
    pub(super) async fn ledger(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.watch("the ledger is proved", async |story| {
            story.proof(None).await?.whole()
        })
        .await?;
        let begun = Instant::now();
        let copy = folder.join("copy.db");
        let name = copy.to_str().context("a folder with an odd name")?;
        let made = self.command(&["backup", name]).await?;
        ensure!(made.status == Some(0), "no backup: {}", made.complained);
        let sound = self.proof(Some(&copy)).await.map_err(anyhow::Error::msg)?;
        flip_a_byte(&copy).await?;
        let altered = self.proof(Some(&copy)).await.map_err(anyhow::Error::msg)?;
        let held = match (sound.fault, altered.fault) {
            (None, Some(fault)) if fault.contains("ledger entry ") => Ok(fault),
            (sound, altered) => Err(format!("before: {sound:?}, after: {altered:?}")),
        };
        self.note(
            "one byte of a backup is altered, and the proof names the entry",
            held,
            begun.elapsed(),
        );
        self.replayed("the ledger alone gives what the store holds")
            .await
    }

    async fn proof(&self, store: Option<&Path>) -> Result<Proof, String> {
        let verify = ["ledger", "verify", "--output", "json"];
        let told = self
            .command_on(&verify, store)
            .await
            .map_err(|error| words(&error))?;
        let rows: Vec<Proof> = told.rows().map_err(|error| words(&error))?;
        rows.into_iter().next().ok_or("no proof".to_owned())
    }

    async fn replayed(&mut self, what: &'static str) -> anyhow::Result<()> {
        self.watch(what, async |story| {
            let replay = story.command(&["ledger", "replay", "--check"]).await;
            let replay = replay.map_err(|error| words(&error))?;
            let said = replay.said.lines().next_back().unwrap_or_default();
            if replay.status == Some(0) {
                Ok(said.to_owned())
            } else {
                Err(format!(
                    "{} {}",
                    replay.said.trim(),
                    replay.complained.trim()
                ))
            }
        })
        .await
    }

    /// Somebody is erased, and comes back with a load (R55).
    pub(super) async fn erasure(
        &mut self,
        client: &Client,
        operator: &Client,
        folder: &Path,
        one: &Someone,
    ) -> anyhow::Result<()> {
        let ask = json!({ "address": one.address, "reason": "a request for erasure" });
        let early: anyhow::Result<Erased> = operator.post("/v1/erasures", &ask).await;
        ensure!(early.is_err(), "somebody with contacts was erased");
        let contacts = [
            (self.salesforce(), &one.pair.salesforce, SPECIALIST),
            (self.ascend(), &one.pair.ascend, RECORDS),
        ];
        for (org, id, by) in contacts {
            org.delete(id, by).context("no deletion")?;
        }
        let begun = Instant::now();
        while !is_gone(operator, one).await? {
            ensure!(begun.elapsed() < STEP_LIMIT, "the deletion is not seen");
            tokio::time::sleep(LOOK).await;
        }
        // What lies in a recycle bin is read again while the feeds overlap.
        for (org, id, _) in contacts {
            org.hard_delete(id).context("no deletion")?;
        }
        next_second().await;
        let erased: Erased = operator.post("/v1/erasures", &ask).await?;
        let mut left = residue(folder, one)?;
        // Its entries are packed, so its bytes alone do not tell.
        let jsonl = ["ledger", "export", "--format", "jsonl"];
        let export = self.command(&jsonl).await?;
        ensure!(export.status == Some(0), "no export: {}", export.complained);
        let pair = &one.pair;
        if [&pair.salesforce, &pair.ascend]
            .iter()
            .any(|id| export.said.contains(id.as_str()))
        {
            left.push("the ledger".to_owned());
        }
        let held = if erased.known && erased.clean && left.is_empty() {
            Ok(format!(
                "{} contacts gone, {} ledger entries forgotten, nothing left in the store's files",
                erased.contacts, erased.forgotten
            ))
        } else {
            Err(format!(
                "known: {}, clean: {}, left in {left:?}",
                erased.known, erased.clean
            ))
        };
        self.note(
            "somebody is deleted in both orgs, for good, and erased: no byte of them is left",
            held,
            begun.elapsed(),
        );
        let back = json!({ "LastName": "Back", "Email": one.address });
        let back: Map<String, Value> = serde_json::from_value(back)?;
        let back = self.salesforce().create("Contact", &back, DATA_LOAD, None);
        let back = back.context("no contact")?;
        self.watch(
            "an import brings them back: they start withdrawn, and the check says suppressed",
            async |story| {
                let contact = story.salesforce().contact(&back);
                let contact = contact.ok_or("it is gone")?;
                let ask = json!({ "purpose": "marketing", "recipients": [one.address] });
                let checklist: anyhow::Result<Checklist> =
                    client.post("/v1/checklists", &ask).await;
                let checklist = checklist.map_err(|error| words(&error))?;
                let answers = checklist.answers();
                let written = contact.opted_out && contact.modified_by == INTEGRATION;
                if written && answers == ["suppressed"] {
                    Ok("opted out in Salesforce by the daemon".to_owned())
                } else {
                    Err(format!(
                        "opted out: {}, the check says {answers:?}",
                        contact.opted_out
                    ))
                }
            },
        )
        .await?;
        self.watch("and the ledger is still proved", async |story| {
            let proof = story.proof(None).await?;
            if proof.forgotten == 0 {
                return Err("nothing was forgotten".to_owned());
            }
            proof.whole()
        })
        .await
    }
}

/// Whether no contact of somebody is live, as far as the daemon knows.
async fn is_gone(operator: &Client, one: &Someone) -> anyhow::Result<bool> {
    let ask = json!({ "address": one.address });
    let timeline: Value = operator.post("/v1/explain", &ask).await?;
    let contacts = timeline["now"]["contacts"].as_array();
    let mut contacts = contacts.into_iter().flatten();
    Ok(contacts.all(|contact| contact["life"] != "live"))
}

/// Alters one byte of what the ledger in a copy says: of the middle of some block, as it lies in the file.
async fn flip_a_byte(copy: &Path) -> anyhow::Result<()> {
    let path = copy.to_owned();
    let store = store::open(&StoreSettings::Sqlite { path }, Access::Tool).await?;
    let blocks = store.ledger_blocks(0, BLOCKS).await;
    store.close().await;
    // What is short lies in one piece.
    let mut blocks = blocks?.into_iter().map(|stored| stored.entries);
    let entries = blocks.find(|entries| SHORT.contains(&entries.len()));
    let entries = entries.context("no block of the ledger is short")?;
    let mut bytes = std::fs::read(copy).context("the copy cannot be read")?;
    let mut found = bytes.windows(entries.len());
    let place = found.position(|some| some == entries);
    let place = place.context("the copy does not hold the block")?;
    bytes[place + entries.len() / 2] ^= 0x10;
    std::fs::write(copy, bytes).context("the copy cannot be written")
}

/// The files of the store that hold the address or a contact's id.
fn residue(folder: &Path, one: &Someone) -> anyhow::Result<Vec<String>> {
    let texts = [&one.address, &one.pair.salesforce, &one.pair.ascend];
    let mut left = Vec::new();
    for entry in std::fs::read_dir(folder.join("consentd-sandbox"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("act-four.db") {
            continue;
        }
        let bytes = std::fs::read(entry.path())?;
        let holds = |text: &String| {
            let text = text.as_bytes();
            bytes
                .windows(text.len())
                .any(|some| some.eq_ignore_ascii_case(text))
        };
        if texts.into_iter().any(holds) {
            left.push(name);
        }
    }
    Ok(left)
}
