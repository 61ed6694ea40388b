//! Before mail is sent: a checklist of two hundred, and a send-out at whose moment somebody is gone.
//!
//! What the daemon answers is compared with what the simulated systems hold of the same people.
//!
//! Of the answers, `suppressed` comes in the fourth act, `undeliverable` in the
//! third act, and `unverified` while SuperOffice is down.

use super::client::{Checklist, Client, Receiver, Sendout};
use super::second::{EMARKETING, Fellow, WITHDRAWN};
use super::{STEP_LIMIT, Story, next_second};
use crate::consent::SubjectKey;
use anyhow::{Context, ensure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use consentd_sandbox::emarketeer::master;
use consentd_sandbox::superoffice::PersonState;
use consentd_sandbox::{ContactState, Fault, Org, SPECIALIST};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Recipients of the list.
const LISTED: usize = 200;
/// Some of them nobody knows.
const STRANGERS: usize = 8;
/// Mailboxes that stand on the list twice.
const TWICE: usize = 2;
/// The category that the list is checked for, and its box in Salesforce.
const CATEGORY: (&str, &str) = ("marketing.events", "Email_Events__c");
/// The flag of Salesforce and Ascend.
const OPT_OUT: &str = "HasOptedOutOfEmail";
/// What has to be among the answers.
const ANSWERS: [&str; 8] = [
    "send",
    "withdrawn",
    "category-off",
    "no-legal-basis",
    "duplicate-conflict",
    "held",
    "unknown-address",
    "duplicate",
];
/// How far ahead the send-out is scheduled.
const AHEAD: TimeDelta = TimeDelta::seconds(6);

/// Somebody of whom it is going to be in doubt what was said last.
pub(super) struct Doubtful {
    address: String,
    contact: String,
}

impl Story<'_> {
    /// A list is checked, and each of its answers compared with the systems (R41).
    pub(super) async fn checklist(
        &mut self,
        client: &Client,
        doubtful: &Doubtful,
    ) -> anyhow::Result<()> {
        let mut list = vec![self.conflict().await?, self.held(doubtful).await?];
        list.extend((0..STRANGERS).map(|number| format!("nobody{number}@act-two.example")));
        let crowd = self.crowd(LISTED - TWICE - list.len());
        list.extend(crowd);
        while list.len() < LISTED - TWICE {
            list.push(format!("nobody{}@act-two.example", list.len()));
        }
        let again: Vec<String> = list
            .iter()
            .rev()
            .take(TWICE)
            .map(|address| address.to_uppercase())
            .collect();
        let mut wanted: Vec<&str> = list.iter().map(|address| self.due(address)).collect();
        wanted.extend(again.iter().map(|_| "duplicate"));
        list.extend(again);
        let begun = Instant::now();
        let ask = json!({ "purpose": CATEGORY.0, "recipients": list });
        let checklist: Checklist = client.post("/v1/checklists", &ask).await?;
        let took = begun.elapsed();
        let held = compared(&list, &wanted, &checklist);
        self.note(
            "a list of 200 is checked: the answers are what the systems hold",
            held,
            took,
        );
        Ok(())
    }

    /// Two persons in SuperOffice with one address; the younger withdrew later (R6).
    async fn conflict(&self) -> anyhow::Result<String> {
        let address = "conflict@act-two.example";
        let (older, younger) = (self.person(address, 400)?, self.person(address, 30)?);
        self.consent(older, EMARKETING, "61A")?;
        next_second().await;
        self.consent(younger, EMARKETING, WITHDRAWN)?;
        Ok(address.to_owned())
    }

    /// Somebody with the box ticked, who is going to take the tick out.
    pub(super) fn doubtful(&self) -> anyhow::Result<Doubtful> {
        let address = "held@act-two.example".to_owned();
        let contact = self.ticked(&address, None)?;
        Ok(Doubtful { address, contact })
    }

    fn ticked(&self, address: &str, created: Option<DateTime<Utc>>) -> anyhow::Result<String> {
        let contact = json!({ "LastName": "Doubtful", "Email": address, CATEGORY.1: true });
        self.salesforce()
            .create("Contact", &fields(contact)?, SPECIALIST, created)
            .context("no contact")
    }

    /// The tick is taken out, and the contact deleted. An old one of the same person is migrated in,
    /// with the box ticked: whether before or after nobody can tell, so a person has to decide (R14,
    /// R24).
    async fn held(&self, doubtful: &Doubtful) -> anyhow::Result<String> {
        let org = self.salesforce();
        org.edit(
            &doubtful.contact,
            &fields(json!({ CATEGORY.1: false }))?,
            SPECIALIST,
        )
        .context("no edit")?;
        // The box has no field history, so it has to have been read before the contact goes.
        tokio::time::sleep(Duration::from_secs(4)).await;
        org.delete(&doubtful.contact, SPECIALIST)
            .context("no deletion")?;
        // A migration brings records without their history.
        org.set_fault(Fault::HistoryOff).context("no fault")?;
        let old = self.ticked(&doubtful.address, Some(org.now() - TimeDelta::days(100)))?;
        org.clear_faults(None);
        let renamed = fields(json!({ "LastName": "Married" }))?;
        org.edit(&old, &renamed, SPECIALIST).context("no edit")?;
        Ok(doubtful.address.clone())
    }

    /// People of Salesforce of whom the systems tell plainly what is due, some of each answer.
    fn crowd(&self, size: usize) -> Vec<String> {
        let mut by_answer: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for id in self.salesforce().contact_ids(usize::MAX) {
            let contact = self.salesforce().contact(&id);
            if let Some(address) = contact.and_then(|contact| self.plain(&contact)) {
                by_answer
                    .entry(self.due(&address))
                    .or_default()
                    .push(address);
            }
        }
        let most = by_answer.values().map(Vec::len).max().unwrap_or(0);
        (0..most)
            .flat_map(|place| by_answer.values().filter_map(move |some| some.get(place)))
            .take(size)
            .cloned()
            .collect()
    }

    /// The address of a contact whose story has one reading only.
    fn plain(&self, contact: &ContactState) -> Option<String> {
        let address = contact.address.clone()?;
        if contact.deleted || !address.is_ascii() || SubjectKey::from_address(&address).is_err() {
            return None;
        }
        let alone = self.salesforce().contacts_by_address(&address).len() == 1;
        let partners = self.ascend().contacts_by_address(&address);
        let linked = partners
            .iter()
            .all(|partner| !partner.deleted && partner.ascend_id == contact.ascend_id);
        let persons = self.superoffice().persons_by_address(&address);
        let primary = persons.iter().all(|person| is_primary(person, &address));
        let known = self.emarketeer().address(&address);
        let listed = known.consents.is_empty() || !known.contacts.is_empty();
        // Whoever came back has a past that the present state does not show.
        let withdrew = self
            .emarketeer()
            .history(&address)
            .iter()
            .any(|record| record.basis == master::WITHDRAWN);
        let touched = changed(self.salesforce(), &contact.id, OPT_OUT)
            || partners
                .iter()
                .any(|partner| changed(self.ascend(), &partner.id, OPT_OUT));
        let straight = contact.opted_out || (!withdrew && !touched);
        (alone && linked && primary && listed && straight).then_some(address)
    }

    /// What a check for the category has to answer, by what the systems show of an address.
    fn due(&self, address: &str) -> &'static str {
        let contacts = self.salesforce().contacts_by_address(address);
        let (gone, contacts): (Vec<_>, Vec<_>) =
            contacts.into_iter().partition(|contact| contact.deleted);
        let contacts = by_age(contacts, |contact| (contact.created, contact.id.clone()));
        let partners = by_age(self.ascend().contacts_by_address(address), |contact| {
            (contact.created, contact.id.clone())
        });
        let persons = by_age(
            self.superoffice().persons_by_address(address),
            |person: &PersonState| (person.created, person.id),
        );
        let known = self.emarketeer().address(address);
        if contacts.is_empty()
            && partners.is_empty()
            && persons.is_empty()
            && known.contacts.is_empty()
        {
            return "unknown-address";
        }
        let base = |person: &PersonState| {
            let consent = person.consent(EMARKETING);
            consent.map(|consent| consent.legal_base.clone())
        };
        let basis = known.consents.get(master::MARKETING);
        let out = |contact: &ContactState| contact.opted_out;
        let withdrew = |person: &PersonState| base(person).as_deref() == Some(WITHDRAWN);
        let (first, younger) = (
            [
                contacts.first().is_some_and(out),
                partners.first().is_some_and(out),
                persons.first().is_some_and(withdrew),
                basis.is_some_and(|consent| consent.basis == master::WITHDRAWN),
            ],
            [
                contacts.iter().skip(1).any(out),
                partners.iter().skip(1).any(out),
                persons.iter().skip(1).any(withdrew),
            ],
        );
        let box_is = |contact: &ContactState, ticked: bool| {
            contact.preferences.get(CATEGORY.1) == Some(&ticked)
        };
        let refused = |contact: &ContactState| box_is(contact, false);
        let ticked = contacts
            .first()
            .is_some_and(|contact| box_is(contact, true));
        let granted = basis.is_some() || persons.first().and_then(base).is_some();
        if first.contains(&true) {
            "withdrawn"
        } else if gone.iter().any(refused) {
            "held"
        } else if younger.contains(&true) {
            "duplicate-conflict"
        } else if ticked {
            "send"
        } else if granted {
            "category-off"
        } else {
            "no-legal-basis"
        }
    }

    /// A send-out is checked at its moment; its answers are posted and signed (R43).
    pub(super) async fn send_out(
        &mut self,
        client: &Client,
        folder: &Path,
        later: &[Fellow],
    ) -> anyhow::Result<()> {
        let (mut receiver, serve) = Receiver::open(folder).await?;
        let addresses: Vec<&str> = later.iter().map(|one| one.address.as_str()).collect();
        let begun = Instant::now();
        let played = async {
            let send_at = self.emarketeer().now() + AHEAD;
            let ask = json!({
                "purpose": "marketing",
                "recipients": addresses,
                "send_at": send_at.to_rfc3339_opts(SecondsFormat::Millis, true),
                "callback": receiver.url(),
            });
            let registered: Sendout = client.post("/v1/sendouts", &ask).await?;
            let first = registered.first.answers();
            ensure!(
                first.iter().all(|answer| *answer == "send"),
                "not everybody could be mailed to begin with: {first:?}"
            );
            let left = send_at - TimeDelta::seconds(1) - self.emarketeer().now();
            tokio::time::sleep(left.to_std().context("registered too late")?).await;
            let leaves = addresses.first().context("nobody is left")?;
            self.emarketeer().unsubscribe(leaves).context("no link")?;
            let now = self.emarketeer().now().timestamp();
            let posted = receiver.next(STEP_LIMIT, now).await?;
            let late = self.emarketeer().now() - send_at;
            ensure!(posted.id == registered.id, "another send-out was answered");
            let path = format!("/v1/sendouts/{}", registered.id);
            let fetched: Sendout = client.get(&path).await?;
            Ok((posted, fetched, late))
        };
        let (posted, fetched, late) = tokio::select! {
            played = played => played?,
            served = serve => {
                served.context("the port for callbacks fails")?;
                anyhow::bail!("the port for callbacks was closed")
            }
        };
        let mut wanted = vec!["send"; later.len()];
        if let Some(first) = wanted.first_mut() {
            *first = "withdrawn";
        }
        let answers = |sendout: &Sendout| -> Vec<String> {
            let last = sendout.last.iter().flat_map(Checklist::answers);
            last.map(str::to_owned).collect()
        };
        let (posted, fetched) = (answers(&posted), answers(&fetched));
        let held = if posted == wanted && fetched == wanted {
            Ok(format!(
                "signed callback {:.1} s after the moment: 1 withdrawn, {} send",
                late.as_seconds_f64(),
                wanted.len() - 1
            ))
        } else {
            Err(format!("posted {posted:?}, fetched {fetched:?}"))
        };
        self.note(
            "somebody withdraws a second before a send-out, and is not sent to",
            held,
            begun.elapsed(),
        );
        Ok(())
    }
}

/// The live ones, the oldest first.
fn by_age<T: Live, K: Ord>(mut all: Vec<T>, age: impl Fn(&T) -> K) -> Vec<T> {
    all.retain(Live::is_live);
    all.sort_by_key(age);
    all
}

/// Whether something is out of the recycle bin.
trait Live {
    fn is_live(&self) -> bool;
}

impl Live for ContactState {
    fn is_live(&self) -> bool {
        !self.deleted
    }
}

impl Live for PersonState {
    fn is_live(&self) -> bool {
        self.deleted.is_none()
    }
}

/// Whether an address is the one that a person is written to.
pub(super) fn is_primary(person: &PersonState, address: &str) -> bool {
    let primary = person.addresses.first();
    primary.is_some_and(|primary| primary.trim().eq_ignore_ascii_case(address.trim()))
}

/// Whether the history of a contact tells of a field.
fn changed(org: &Org, id: &str, field: &str) -> bool {
    org.history(id).iter().any(|row| row.field == field)
}

fn fields(value: Value) -> anyhow::Result<Map<String, Value>> {
    serde_json::from_value(value).context("fields")
}

/// Whether every recipient has the wanted answer, and the counts are theirs.
fn compared(list: &[String], wanted: &[&str], checklist: &Checklist) -> Result<String, String> {
    let answers = checklist.answers();
    if answers.len() != wanted.len() {
        return Err(format!("{} answers", answers.len()));
    }
    let differing = list.iter().zip(wanted.iter().zip(&answers));
    let differing: Vec<String> = differing
        .filter(|(_, (wanted, answer))| wanted != answer)
        .map(|(address, (wanted, answer))| format!("{address}: {answer}, not {wanted}"))
        .collect();
    if let Some(first) = differing.first() {
        return Err(format!("{} differ, such as {first}", differing.len()));
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for answer in wanted {
        *counts.entry(answer).or_default() += 1;
    }
    let counted = |word: &str| checklist.counts.get(word).copied().unwrap_or(0);
    for word in ANSWERS {
        let due = counts.get(word).copied().unwrap_or(0);
        if due == 0 || counted(word) != due {
            return Err(format!("{} counted as {word}, not {due}", counted(word)));
        }
    }
    let words = ANSWERS.map(|word| format!("{} {word}", counted(word)));
    Ok(words.join(", "))
}
