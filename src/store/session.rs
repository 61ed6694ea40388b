//! The transaction of [`super::Store::transact`], without its SQL: what is read in which order,
//! and what is written. Each database brings the statements, as a [`Reads`] and a [`Writes`].
//!
//! Every statement works on a set and is left out when the set is empty, so a transaction sends a
//! bounded number of them however many contacts it touches.

use super::common::{failed, refused, unregistered};
use super::gate::{GateChanges, GateRound, RequestRow};
use super::holds::{FlipCount, HeldKey, HeldRow, HoldChanges, HoldRow, Trip};
use super::ledger::{self, Digest, Redacted, Sealed};
use super::privacy::{
    Erased, Expiring, ExpiringKey, PrivacyChanges, SuppressionDigest, SuppressionRow,
};
use super::report::UnsentRow;
use super::{
    Applied, Changes, ContactRow, Decide, Decided, Decision, FeedChange, FeedRow, FeedSwitch, Flip,
    Known, LIVE, LedgerDraft, LoadCount, LoadKey, OutboxChange, OutboxRow, PlanningChange,
    Postponed, QuarantineRow, Redrive, Scope, StoreError, SubjectRef, SubjectRow, SwitchChange,
    WriteKey,
};
use crate::consent::At;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A contact's key, borrowed.
pub(super) type Key<'a> = (i16, &'a str);

/// A contact's key.
pub(super) type ContactKey = (i16, String);

/// A contact's subject and whether it is live, from which the figures are kept.
pub(super) type Life = (Option<i64>, i16);

/// Where the store stands at the beginning of a transaction.
#[derive(Debug)]
pub(super) struct Standing {
    /// The next subject's number.
    pub(super) next_subject: i64,
    /// The next ledger entry's number.
    pub(super) next_sequence: i64,
    /// Digest of the newest block of the ledger.
    pub(super) newest_block: Option<Digest>,
    /// As [`super::Origin::planning`].
    pub(super) planning: Option<bool>,
    /// Whether the outbox has any row: during a first load it has none, and is not searched.
    pub(super) any_outbox: bool,
    /// Whether any hold is open.
    pub(super) any_hold: bool,
    /// Whether anybody was ever erased (R55).
    pub(super) any_suppressed: bool,
}

/// Contacts named by their keys. One that belongs to a subject comes with everyone of that subject
/// anyway, so a database need not give its row here, only what else it leads to.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Rows; at least those without a subject.
    pub(super) contacts: Vec<ContactRow>,
    /// Subjects that the others belong to or have of their own.
    pub(super) subjects: Vec<i64>,
    /// Links that the others have.
    pub(super) links: Vec<String>,
}

/// A load key that has contacts.
#[derive(Debug)]
pub(super) struct StoredLoad {
    /// Its place among the keys asked for.
    pub(super) position: usize,
    /// Its number.
    pub(super) id: i64,
    /// Distinct contacts.
    pub(super) contacts: i64,
}

/// The reading half. Every method is one statement.
#[async_trait]
pub(super) trait Reads: Send {
    /// Counters and chain; in a writing transaction, locks them.
    async fn standing(&mut self) -> Result<Standing, StoreError>;
    /// The greatest external id of each system that has contacts.
    async fn last_contacts(&mut self) -> Result<Vec<ContactKey>, StoreError>;
    async fn contacts_by_key(&mut self, keys: &[Key<'_>]) -> Result<Named, StoreError>;
    /// Subject and life of contacts, by key.
    async fn lives(&mut self, keys: &[Key<'_>]) -> Result<Vec<(ContactKey, Life)>, StoreError>;
    async fn contacts_by_link(&mut self, links: &[&str]) -> Result<Vec<ContactRow>, StoreError>;
    /// Contacts of these loads, given as number and system.
    async fn contacts_by_load(
        &mut self,
        loads: &[(i64, i16)],
    ) -> Result<Vec<ContactRow>, StoreError>;
    async fn contacts_by_subject(
        &mut self,
        subjects: &[i64],
    ) -> Result<Vec<ContactRow>, StoreError>;
    async fn subjects_by_ref(&mut self, refs: &[SubjectRef])
    -> Result<Vec<SubjectRow>, StoreError>;
    async fn subjects_by_id(&mut self, ids: &[i64]) -> Result<Vec<SubjectRow>, StoreError>;
    /// In a writing transaction, locks the rows against claims.
    async fn outbox_by_contact(&mut self, keys: &[Key<'_>]) -> Result<Vec<OutboxRow>, StoreError>;
    async fn loads(&mut self, keys: &[LoadKey]) -> Result<Vec<StoredLoad>, StoreError>;
    /// All members of the loads in `whole`, and those among `externals` of the loads in `probed`.
    async fn load_members(
        &mut self,
        whole: &[i64],
        probed: &[i64],
        externals: &[&str],
    ) -> Result<Vec<(i64, String)>, StoreError>;
    async fn flips(
        &mut self,
        subjects: &[i64],
        since: i64,
    ) -> Result<Vec<(i64, String, i64)>, StoreError>;
    /// Open re-subscribe requests of these subjects.
    async fn open_requests(&mut self, subjects: &[i64]) -> Result<Vec<RequestRow>, StoreError>;
    /// All open holds.
    async fn open_holds(&mut self) -> Result<Vec<HoldRow>, StoreError>;
    async fn held_of(&mut self, subjects: &[i64]) -> Result<Vec<HeldRow>, StoreError>;
    /// Flips by cause since an instant, to the minute.
    async fn flip_counts(&mut self, since: i64) -> Result<Vec<FlipCount>, StoreError>;
    /// Suppressions with one of these digests.
    async fn suppressions(
        &mut self,
        digests: &[SuppressionDigest],
    ) -> Result<Vec<SuppressionRow>, StoreError>;
    /// Where a system's feed stands; none for one without a number.
    async fn feed_of(&mut self, system: i16) -> Result<Option<FeedRow>, StoreError>;
}

/// The writing half. Every method is one statement, except where it says otherwise, and answers
/// how many rows it wrote.
#[async_trait]
pub(super) trait Writes: Reads {
    /// Moves a feed on from `follows`; 0 when it stands elsewhere or is paused.
    async fn advance_feed(&mut self, change: &FeedChange) -> Result<u64, StoreError>;
    /// Stores everything of a feed that its switches decide, and when they were turned.
    async fn put_switches(
        &mut self,
        system: i16,
        row: &FeedRow,
        at: i64,
    ) -> Result<u64, StoreError>;
    async fn put_decided(&mut self, decided: &Decided) -> Result<u64, StoreError>;
    async fn put_subjects(&mut self, rows: &[&SubjectRow]) -> Result<u64, StoreError>;
    async fn put_contacts(&mut self, rows: &[&ContactRow]) -> Result<u64, StoreError>;
    /// Replaces contacts that are there and keep subject and link, and so their index entries.
    async fn update_contacts(&mut self, rows: &[&ContactRow]) -> Result<u64, StoreError>;
    /// Adds to the counts of live contacts and of those without a subject, by system.
    async fn count_contacts(&mut self, counts: &[(i16, i64, i64)]) -> Result<u64, StoreError>;
    async fn drop_outbox(&mut self, keys: &[&WriteKey]) -> Result<u64, StoreError>;
    async fn put_outbox(&mut self, rows: &[&OutboxRow]) -> Result<u64, StoreError>;
    /// Makes dead letters pending again; all other writes stay as they are.
    async fn redrive(&mut self, redrive: &Redrive) -> Result<u64, StoreError>;
    /// Puts claimed writes back. The keys of those that went back as they were claimed.
    async fn put_back(&mut self, postponed: &[Postponed]) -> Result<Vec<WriteKey>, StoreError>;
    /// Has the newer writes of these contacts give up what they took over of claims that were not sent.
    async fn give_up(&mut self, unsent: &[UnsentRow<'_>]) -> Result<u64, StoreError>;
    /// Counts members that are new, then adds them: two statements.
    async fn put_load_members(&mut self, members: &[(&LoadKey, &str)]) -> Result<(), StoreError>;
    /// Remembers flips, counts them by cause, and forgets the counts of long ago: three statements.
    async fn put_flips(&mut self, flips: &[Flip]) -> Result<(), StoreError>;
    async fn judge_flips(&mut self, judged: &[(i64, String)]) -> Result<(), StoreError>;
    async fn put_holds(&mut self, rows: &[HoldRow]) -> Result<u64, StoreError>;
    async fn put_held(&mut self, rows: &[HeldRow]) -> Result<u64, StoreError>;
    async fn drop_held(&mut self, keys: &[HeldKey]) -> Result<u64, StoreError>;
    /// Takes in everybody who flipped by the cause of a hold since the one before it closed, and stops
    /// their writes: two statements.
    async fn trip(&mut self, trip: &Trip, at: i64) -> Result<u64, StoreError>;
    /// Closes those of these holds under which nothing waits, and forgets what was released and counted
    /// under them: three statements.
    async fn close_holds(&mut self, holds: &[i64], at: i64) -> Result<(), StoreError>;
    /// Leaves unchanged rows alone, and the instant at which a record was first seen.
    async fn put_quarantine(&mut self, rows: &[&QuarantineRow]) -> Result<u64, StoreError>;
    async fn heal(&mut self, keys: &[Key<'_>]) -> Result<u64, StoreError>;
    async fn put_gate_due(&mut self, due: &[(i64, i64)]) -> Result<(), StoreError>;
    async fn drop_gate_due(&mut self, asked: &[(i64, i64)]) -> Result<(), StoreError>;
    async fn put_requests(&mut self, rows: &[&RequestRow]) -> Result<u64, StoreError>;
    async fn put_gate_round(&mut self, round: &GateRound) -> Result<(), StoreError>;
    async fn put_suppressions(&mut self, rows: &[&SuppressionRow]) -> Result<u64, StoreError>;
    async fn drop_suppressions(&mut self, digests: &[SuppressionDigest])
    -> Result<u64, StoreError>;
    /// Removes people with everything that names them: a statement a table.
    async fn erase(&mut self, erased: &Erased) -> Result<u64, StoreError>;
    /// Puts these blocks in the place of those they were made from: two statements. False when one of
    /// them is another by now.
    async fn redact(&mut self, blocks: &[(i64, Redacted)]) -> Result<bool, StoreError>;
    /// Removes rows that have expired.
    async fn drop_expired(
        &mut self,
        table: Expiring,
        keys: &[ExpiringKey],
    ) -> Result<u64, StoreError>;
    async fn put_expired(&mut self, class: &str, through: i64) -> Result<(), StoreError>;
    /// A block with its entries, and where subjects find it: two statements.
    async fn append(&mut self, sealed: Sealed) -> Result<(), StoreError>;
    async fn advance_counters(&mut self, subject: i64, sequence: i64) -> Result<(), StoreError>;
    /// Begins or ends planning; two statements where it ends.
    async fn put_planning(&mut self, change: PlanningChange) -> Result<u64, StoreError>;
}

/// What became of the statements of one transaction.
pub(super) enum Outcome {
    /// To be committed; the sequence number of the newest ledger entry after that.
    Commit { applied: Applied, sequence: i64 },
    /// To be rolled back.
    Overtaken,
}

/// Reads what `scope` names, has it decided, and writes that. The caller commits or rolls back.
pub(super) async fn transact<S: Writes + ?Sized>(
    session: &mut S,
    scope: &Scope,
    decide: Decide<'_>,
) -> Result<Outcome, StoreError> {
    let standing = session.standing().await?;
    let known = load(session, scope, &standing).await?;
    let before = Before::of(&known, scope);
    let mut rest = None;
    let contacts = match decide.decide(known) {
        Decision::Whole(mut changes) => {
            let contacts = std::mem::take(&mut changes.contacts);
            rest = Some(*changes);
            contacts
        }
        Decision::Contacts(contacts) => contacts,
    };
    refuse_nul_in(&contacts)?;
    let contacts = newest(&contacts, |row| (row.system, row.external.as_str()));
    let counts = count(session, &contacts, &before).await?;
    let (kept, placed): (Vec<&ContactRow>, Vec<&ContactRow>) =
        contacts.iter().partition(|contact| before.keeps(contact));
    let mut rows = 0;
    if !kept.is_empty() {
        rows += session.update_contacts(&kept).await?;
    }
    let go_on = async {
        if rest.is_none() {
            rest = decide.rest();
        }
    };
    if placed.is_empty() {
        go_on.await;
    } else {
        let (written, ()) = tokio::join!(session.put_contacts(&placed), go_on);
        rows += written?;
    }
    let Some(changes) = rest else {
        return Ok(Outcome::Overtaken);
    };
    let changes = Checked::new(&changes, &standing)?;
    if let Some(feed) = changes.feed
        && session.advance_feed(feed).await? == 0
    {
        return Ok(Outcome::Overtaken);
    }
    if !counts.is_empty() {
        session.count_contacts(&counts).await?;
    }
    store(session, &changes, rows, &standing).await
}

/// A contact as it was before the changes, as far as its index entries and the figures depend on it.
struct Was {
    key: ContactKey,
    subject: Option<i64>,
    life: i16,
    link: Option<String>,
}

/// The contacts as they were before the changes.
struct Before<'a> {
    /// In the order of their keys.
    known: Vec<Was>,
    /// The contacts that were asked for, in order; those that are not known are new.
    asked: Vec<Key<'a>>,
}

impl<'a> Before<'a> {
    fn of(known: &Known, scope: &'a Scope) -> Self {
        let was = |contact: &ContactRow| Was {
            key: (contact.system, contact.external.clone()),
            subject: contact.subject,
            life: contact.life,
            link: contact.link.clone(),
        };
        let asked = scope.contacts.iter();
        let mut asked: Vec<Key<'_>> = asked
            .map(|(system, external)| (*system, external.as_str()))
            .collect();
        asked.sort_unstable();
        Self {
            known: known.contacts.iter().map(was).collect(),
            asked,
        }
    }

    fn get(&self, key: Key<'_>) -> Option<&Was> {
        let place = self
            .known
            .binary_search_by(|was| (was.key.0, was.key.1.as_str()).cmp(&key));
        place.ok().and_then(|place| self.known.get(place))
    }

    /// Whether a contact is there and keeps its place in every index.
    fn keeps(&self, contact: &ContactRow) -> bool {
        self.get(key_of(contact))
            .is_some_and(|was| (was.subject, &was.link) == (contact.subject, &contact.link))
    }
}

/// How the changes alter the counts of live contacts, and of those without a subject, by system.
async fn count<S: Writes + ?Sized>(
    session: &mut S,
    contacts: &[&ContactRow],
    before: &Before<'_>,
) -> Result<Vec<(i16, i64, i64)>, StoreError> {
    let mut counts: BTreeMap<i16, (i64, i64)> = BTreeMap::new();
    let mut add = |system, (subject, life): Life, sign| {
        let (live, unmatched) = counts.entry(system).or_default();
        *live += sign * i64::from(life == LIVE);
        *unmatched += sign * i64::from(life == LIVE && subject.is_none());
    };
    let mut unread = Vec::new();
    let mut asked = before.asked.iter().peekable();
    for contact in contacts {
        let key = key_of(contact);
        add(contact.system, (contact.subject, contact.life), 1);
        // Both are in the order of the keys.
        while asked.next_if(|asked| **asked < key).is_some() {}
        match before.get(key) {
            Some(was) => add(contact.system, (was.subject, was.life), -1),
            None if asked.peek() == Some(&&key) => {}
            None => unread.push(key),
        }
    }
    if !unread.is_empty() {
        for ((system, _), life) in session.lives(&unread).await? {
            add(system, life, -1);
        }
    }
    counts.retain(|_, counts| *counts != (0, 0));
    Ok(counts
        .into_iter()
        .map(|(system, (live, unmatched))| (system, live, unmatched))
        .collect())
}

/// Changes in the order of their keys, one for each key, fit to be stored: neighbours in an index go
/// to it one after the other.
struct Checked<'a> {
    subjects: Vec<&'a SubjectRow>,
    dropped: Vec<&'a WriteKey>,
    outbox: Vec<&'a OutboxRow>,
    redrives: &'a [Redrive],
    load_members: Vec<(&'a LoadKey, &'a str)>,
    flips: &'a [Flip],
    quarantine: Vec<&'a QuarantineRow>,
    healed: Vec<Key<'a>>,
    ledger: &'a [super::LedgerDraft],
    feed: Option<&'a FeedChange>,
    switches: &'a [SwitchChange],
    decided: Option<&'a Decided>,
    gate: &'a GateChanges,
    holds: &'a HoldChanges,
    planning: Option<PlanningChange>,
    /// Each subject once, with the latest instant.
    gate_due: Vec<(i64, i64)>,
    requests: Vec<&'a RequestRow>,
    suppressed: Vec<&'a SuppressionRow>,
    unsuppressed: &'a [SuppressionDigest],
    privacy: &'a PrivacyChanges,
    next_subject: i64,
}

impl<'a> Checked<'a> {
    fn new(changes: &'a Changes, standing: &Standing) -> Result<Self, StoreError> {
        refuse_nul(changes)?;
        let mut outbox = BTreeMap::new();
        for change in &changes.outbox {
            match change {
                OutboxChange::Put(row) => outbox.insert(&row.key, Some(row)),
                OutboxChange::Drop(key) => outbox.insert(key, None),
            };
        }
        let mut subjects = newest(&changes.subjects, |row| row.id);
        let next_subject = subjects.last().map_or(standing.next_subject, |row| {
            standing.next_subject.max(row.id + 1)
        });
        // Their numbers go to the end of the table anyway; the index of keyed hashes is what is wide.
        subjects.sort_unstable_by_key(|row| row.subject);
        let members = changes
            .load_members
            .iter()
            .map(|(key, external)| (key, external.as_str()));
        let due: BTreeMap<i64, i64> = changes.gate.due.iter().copied().collect();
        let healed: BTreeSet<_> = changes
            .healed
            .iter()
            .map(|(system, external)| (*system, external.as_str()))
            .collect();
        Ok(Self {
            subjects,
            dropped: outbox
                .iter()
                .filter(|(_, row)| row.is_none())
                .map(|(key, _)| *key)
                .collect(),
            outbox: outbox.values().copied().flatten().collect(),
            redrives: &changes.redrives,
            load_members: members.collect::<BTreeSet<_>>().into_iter().collect(),
            flips: &changes.flips,
            quarantine: newest(&changes.quarantine, |row| {
                (row.system, row.external.as_str())
            }),
            healed: healed.into_iter().collect(),
            ledger: &changes.ledger,
            feed: changes.feed.as_ref(),
            switches: &changes.switches,
            decided: changes.decided.as_ref(),
            gate: &changes.gate,
            holds: &changes.holds,
            planning: changes.planning,
            gate_due: due.into_iter().collect(),
            requests: newest(&changes.gate.requests, |row| row.id),
            suppressed: newest(&changes.privacy.suppressed, |row| {
                (row.digest, row.purpose.as_str())
            }),
            unsuppressed: &changes.privacy.unsuppressed,
            privacy: &changes.privacy,
            next_subject,
        })
    }
}

/// The rows in the order of their keys; of several with one key, the last. Sorted rows fill the
/// pages of a tree one after the other.
fn newest<'a, T, K: Ord>(rows: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let mut sorted: Vec<&T> = rows.iter().rev().collect();
    sorted.sort_by_key(|row| key(row));
    sorted.dedup_by(|later, kept| key(later) == key(kept));
    sorted
}

/// Postgres cannot store the character NUL, and SQLite's JSON ends a text at it: refused in both.
fn refuse(what: &'static str, texts: &[&str]) -> Result<(), StoreError> {
    if texts.iter().any(|text| text.contains('\0')) {
        return Err(refused(what, "a text holds the character NUL"));
    }
    Ok(())
}

fn refuse_nul_in(contacts: &[ContactRow]) -> Result<(), StoreError> {
    for row in contacts {
        let link = row.link.as_deref().unwrap_or_default();
        let merged = row.merged_into.as_deref().unwrap_or_default();
        refuse("a contact", &[&row.external, &row.record, link, merged])?;
    }
    Ok(())
}

fn refuse_nul(changes: &Changes) -> Result<(), StoreError> {
    for row in &changes.subjects {
        refuse(
            "a subject",
            &[&row.address, &row.verdicts, &row.remembered, &row.findings],
        )?;
    }
    for change in &changes.outbox {
        if let OutboxChange::Put(row) = change {
            let error = row.last_error.as_deref().unwrap_or_default();
            refuse(
                "a write",
                &[&row.key.external, &row.changes, &row.in_flight, error],
            )?;
        }
    }
    for redrive in &changes.redrives {
        let contacts: Vec<&str> = redrive.contacts.iter().map(String::as_str).collect();
        refuse("dead letters", &contacts)?;
    }
    for (key, external) in &changes.load_members {
        refuse("a load", &[&key.actor, external])?;
    }
    for row in &changes.quarantine {
        refuse("a quarantined record", &[&row.external, &row.reason])?;
    }
    for row in &changes.flips {
        refuse("a flip", &[&row.purpose])?;
    }
    for row in &changes.holds.opened {
        refuse("a hold", &[&row.purpose, &row.actor])?;
    }
    for row in &changes.gate.requests {
        let texts = [
            Some(&row.subscriber),
            Some(&row.unit),
            Some(&row.unit_name),
            Some(&row.status),
            Some(&row.cause),
            Some(&row.evidence),
            row.note.as_ref(),
            row.closing.as_ref(),
            row.closed_by.as_ref(),
        ];
        let texts: Vec<&str> = texts.into_iter().flatten().map(String::as_str).collect();
        refuse("a re-subscribe request", &texts)?;
    }
    for row in &changes.privacy.suppressed {
        refuse("a suppression", &[&row.key, &row.purpose])?;
    }
    for change in &changes.switches {
        if let FeedSwitch::Paused(Some(text)) | FeedSwitch::Halted(Some(text)) = &change.switch {
            refuse("a switch", &[text])?;
        }
    }
    if let Some(cursor) = changes
        .feed
        .as_ref()
        .and_then(|feed| feed.row.cursor.as_deref())
    {
        refuse("a feed's cursor", &[cursor])?;
    }
    Ok(())
}

/// Stores everything but the contacts, which are stored already in so many `rows`.
async fn store<S: Writes + ?Sized>(
    session: &mut S,
    changes: &Checked<'_>,
    mut rows: u64,
    standing: &Standing,
) -> Result<Outcome, StoreError> {
    for change in changes.switches {
        let found = session.feed_of(change.system).await?;
        let mut row = found.ok_or_else(|| unregistered(change.system))?;
        change.switch.turn(&mut row);
        session.put_switches(change.system, &row, change.at).await?;
    }
    if let Some(decided) = changes.decided {
        session.put_decided(decided).await?;
    }
    let previous = standing.newest_block.unwrap_or(ledger::GENESIS);
    let mut next_sequence = standing.next_sequence;
    let mut sealed = None;
    let new = standing.next_subject..changes.next_subject;
    let seal = async { sealed = ledger::seal(changes.ledger, next_sequence, &previous, &new) };
    if changes.subjects.is_empty() {
        seal.await;
    } else {
        // The ledger is packed and digested while the database stores the subjects.
        let (written, ()) = tokio::join!(session.put_subjects(&changes.subjects), seal);
        let written = written?;
        if written != changes.subjects.len() as u64 {
            return Err(refused(
                "a subject",
                "its number belongs to another keyed hash",
            ));
        }
        rows += written;
    }
    if !changes.dropped.is_empty() {
        rows += session.drop_outbox(&changes.dropped).await?;
    }
    if !changes.outbox.is_empty() {
        rows += session.put_outbox(&changes.outbox).await?;
    }
    for redrive in changes.redrives {
        rows += session.redrive(redrive).await?;
    }
    // After this transaction's own writes, which may be planned as well.
    if let Some(change) = changes.planning {
        rows += session.put_planning(change).await?;
    }
    if !changes.load_members.is_empty() {
        session.put_load_members(&changes.load_members).await?;
    }
    if !changes.flips.is_empty() {
        session.put_flips(changes.flips).await?;
    }
    if !changes.quarantine.is_empty() {
        rows += session.put_quarantine(&changes.quarantine).await?;
    }
    if !changes.healed.is_empty() {
        rows += session.heal(&changes.healed).await?;
    }
    if !changes.gate_due.is_empty() {
        session.put_gate_due(&changes.gate_due).await?;
    }
    if !changes.gate.asked.is_empty() {
        session.drop_gate_due(&changes.gate.asked).await?;
    }
    if !changes.requests.is_empty() {
        rows += session.put_requests(&changes.requests).await?;
    }
    if let Some(round) = &changes.gate.round {
        session.put_gate_round(round).await?;
    }
    let privacy = changes.privacy;
    if !privacy.redacted.is_empty() && !session.redact(&privacy.redacted).await? {
        return Ok(Outcome::Overtaken);
    }
    if !privacy.erased.is_empty() {
        rows += forget_holds(session, &privacy.erased.subjects, changes.holds.at).await?;
        rows += session.erase(&privacy.erased).await?;
        if !privacy.erased.counts.is_empty() {
            session.count_contacts(&privacy.erased.counts).await?;
        }
    }
    if let Some((table, keys)) = &privacy.dropped {
        rows += session.drop_expired(*table, keys).await?;
    }
    if let Some((class, through)) = &privacy.expired {
        session.put_expired(class, *through).await?;
    }
    if !changes.unsuppressed.is_empty() {
        rows += session.drop_suppressions(changes.unsuppressed).await?;
    }
    if !changes.suppressed.is_empty() {
        rows += session.put_suppressions(&changes.suppressed).await?;
    }
    rows += store_holds(session, changes.holds).await?;
    if let Some(sealed) = sealed {
        rows += changes.ledger.len() as u64;
        next_sequence = sealed.stored.block.last + 1;
        session.append(sealed).await?;
    }
    if (changes.next_subject, next_sequence) != (standing.next_subject, standing.next_sequence) {
        session
            .advance_counters(changes.next_subject, next_sequence)
            .await?;
    }
    let applied = Applied::Stored { rows };
    Ok(Outcome::Commit {
        applied,
        sequence: next_sequence - 1,
    })
}

/// Nothing waits of whoever was erased; how many rows that was.
async fn forget_holds<S: Writes + ?Sized>(
    session: &mut S,
    subjects: &[i64],
    at: i64,
) -> Result<u64, StoreError> {
    let held = session.held_of(subjects).await?;
    if held.is_empty() {
        return Ok(0);
    }
    let holds: BTreeSet<i64> = held.iter().map(|row| row.hold).collect();
    let keys: Vec<HeldKey> = held
        .into_iter()
        .map(|row| (row.subject, row.hold, row.purpose))
        .collect();
    let rows = session.drop_held(&keys).await?;
    let holds: Vec<i64> = holds.into_iter().collect();
    session.close_holds(&holds, at).await?;
    Ok(rows)
}

/// Stores what becomes of holds; how many rows that was.
async fn store_holds<S: Writes + ?Sized>(
    session: &mut S,
    changes: &HoldChanges,
) -> Result<u64, StoreError> {
    let mut rows = 0;
    if !changes.judged_flips.is_empty() {
        session.judge_flips(&changes.judged_flips).await?;
    }
    if !changes.opened.is_empty() {
        rows += session.put_holds(&changes.opened).await?;
    }
    if !changes.gone.is_empty() {
        rows += session.drop_held(&changes.gone).await?;
    }
    if !changes.held.is_empty() {
        rows += session.put_held(&changes.held).await?;
    }
    for trip in &changes.trips {
        rows += session.trip(trip, changes.at).await?;
    }
    let gone = changes.gone.iter().map(|(_, hold, _)| *hold);
    let released = changes.held.iter().filter(|row| row.released);
    let tripped = changes.trips.iter().map(|trip| trip.hold);
    let touched = gone.chain(released.map(|row| row.hold)).chain(tripped);
    let touched: BTreeSet<i64> = touched.collect();
    if !touched.is_empty() {
        let touched: Vec<i64> = touched.into_iter().collect();
        session.close_holds(&touched, changes.at).await?;
    }
    Ok(rows)
}

/// Puts claimed writes back, with the entries about the attempts. The caller commits or rolls back. The
/// sequence number of the newest ledger entry after that; none where no entry was added.
pub(super) async fn postpone<S: Writes + ?Sized>(
    session: &mut S,
    postponed: &[Postponed],
) -> Result<Option<i64>, StoreError> {
    if postponed.iter().all(|row| row.attempt.is_none()) {
        session.put_back(postponed).await?;
        return Ok(None);
    }
    // The counters first, as in every transaction that adds to the ledger.
    let standing = session.standing().await?;
    let back: BTreeSet<WriteKey> = session.put_back(postponed).await?.into_iter().collect();
    let entries: Vec<LedgerDraft> = postponed
        .iter()
        .filter(|row| back.contains(&row.key))
        .filter_map(|row| row.attempt.clone())
        .collect();
    let previous = standing.newest_block.unwrap_or(ledger::GENESIS);
    let nobody_new = standing.next_subject..standing.next_subject;
    let Some(sealed) = ledger::seal(&entries, standing.next_sequence, &previous, &nobody_new)
    else {
        return Ok(None);
    };
    let newest = sealed.stored.block.last;
    session.append(sealed).await?;
    session
        .advance_counters(standing.next_subject, newest + 1)
        .await?;
    Ok(Some(newest))
}

/// Reads what `scope` names, closed over subjects and links; see [`Known`].
pub(super) async fn load<S: Reads + ?Sized>(
    session: &mut S,
    scope: &Scope,
    standing: &Standing,
) -> Result<Known, StoreError> {
    let mut found = Named::default();
    // No stored text holds a NUL, and SQLite would end the key there and find another contact.
    let mut named: Vec<Key<'_>> = scope
        .contacts
        .iter()
        .filter(|(_, external)| !external.contains('\0'))
        .map(|(system, external)| (*system, external.as_str()))
        .collect();
    named.sort_unstable();
    named.dedup();
    // Many feeds give a load in the order of its ids: behind the last one that is stored there is none.
    if !named.is_empty() {
        let last = session.last_contacts().await?;
        named.retain(|(system, external)| {
            let mut last = last.iter();
            last.any(|(of, last)| of == system && *external <= last.as_str())
        });
    }
    if !named.is_empty() {
        found = session.contacts_by_key(&named).await?;
    }
    let mut contacts = found.contacts;
    let keys = scope
        .loads
        .iter()
        .filter(|key| !key.actor.contains('\0'))
        .cloned();
    let keys: Vec<LoadKey> = keys.collect::<BTreeSet<_>>().into_iter().collect();
    let mut loads = Vec::new();
    if !keys.is_empty() {
        loads = session.loads(&keys).await?;
    }
    let small: Vec<(i64, i16)> = loads
        .iter()
        .filter(|load| load.contacts <= scope.load_contacts_up_to)
        .map(|load| (load.id, keys[load.position].system))
        .collect();
    if !small.is_empty() {
        contacts.extend(session.contacts_by_load(&small).await?);
    }
    let mut links: BTreeSet<&str> = scope.links.iter().map(String::as_str).collect();
    links.retain(|link| !link.contains('\0'));
    links.extend(found.links.iter().map(String::as_str));
    links.extend(
        contacts
            .iter()
            .filter_map(|contact| contact.link.as_deref()),
    );
    let links: Vec<&str> = links.into_iter().collect();
    if !links.is_empty() {
        let linked = session.contacts_by_link(&links).await?;
        contacts.extend(linked);
    }

    let mut subjects = Vec::new();
    if !scope.subjects.is_empty() {
        let mut refs = scope.subjects.clone();
        refs.sort_unstable();
        refs.dedup();
        subjects = session.subjects_by_ref(&refs).await?;
        sort_subjects(&mut subjects);
    }
    add_subjects(session, &mut subjects, &contacts, &found.subjects).await?;
    if !subjects.is_empty() {
        let ids: Vec<i64> = subjects.iter().map(|subject| subject.id).collect();
        contacts.extend(session.contacts_by_subject(&ids).await?);
    }
    contacts.sort_unstable_by(|a, b| (a.system, &a.external).cmp(&(b.system, &b.external)));
    contacts.dedup_by(|a, b| a.system == b.system && a.external == b.external);
    // A linked contact's own subject is shown, but not followed any further.
    add_subjects(session, &mut subjects, &contacts, &[]).await?;

    let mut known = Known {
        contacts,
        subjects,
        next_subject: standing.next_subject,
        next_sequence: standing.next_sequence,
        planning: standing.planning,
        any_suppressed: standing.any_suppressed,
        ..Known::default()
    };
    if standing.any_suppressed && !scope.suppressions.is_empty() {
        known.suppressed = session.suppressions(&scope.suppressions).await?;
    }
    if standing.any_outbox && !known.contacts.is_empty() {
        let keys: Vec<Key<'_>> = known.contacts.iter().map(key_of).collect();
        known.outbox = session.outbox_by_contact(&keys).await?;
        known.outbox.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }
    if !loads.is_empty() && !known.contacts.is_empty() {
        known.load_members = members(session, &loads, &keys, &known.contacts).await?;
    }
    known.loads = loads
        .iter()
        .map(|load| LoadCount {
            key: keys[load.position].clone(),
            contacts: load.contacts,
        })
        .collect();
    known.loads.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    if let Some(since) = scope.flips_since
        && !known.subjects.is_empty()
    {
        let ids: Vec<i64> = known.subjects.iter().map(|subject| subject.id).collect();
        known.flips = session.flips(&ids, since).await?;
        known.flips.sort_unstable();
    }
    if let Some(since) = scope.flips_since {
        known.flip_counts = session.flip_counts(since).await?;
        known.flip_counts.sort_unstable();
    }
    if standing.any_hold {
        known.holds = session.open_holds().await?;
        known.holds.sort_unstable_by_key(|hold| hold.id);
        if !known.subjects.is_empty() {
            let ids: Vec<i64> = known.subjects.iter().map(|subject| subject.id).collect();
            known.held = session.held_of(&ids).await?;
            known.held.sort_unstable();
        }
    }
    if scope.requests && !known.subjects.is_empty() {
        let ids: Vec<i64> = known.subjects.iter().map(|subject| subject.id).collect();
        known.requests = session.open_requests(&ids).await?;
        known.requests.sort_unstable_by_key(|request| request.id);
    }
    Ok(known)
}

fn key_of(contact: &ContactRow) -> Key<'_> {
    (contact.system, contact.external.as_str())
}

fn sort_subjects(subjects: &mut Vec<SubjectRow>) {
    subjects.sort_unstable_by_key(|subject| subject.id);
    subjects.dedup_by_key(|subject| subject.id);
}

/// Adds the subjects these contacts belong to or have of their own, and others, where they are not
/// there yet.
async fn add_subjects<S: Reads + ?Sized>(
    session: &mut S,
    subjects: &mut Vec<SubjectRow>,
    contacts: &[ContactRow],
    others: &[i64],
) -> Result<(), StoreError> {
    let known: HashSet<i64> = subjects.iter().map(|subject| subject.id).collect();
    let named = contacts
        .iter()
        .flat_map(|contact| [contact.subject, contact.own_subject]);
    let named = named.flatten().chain(others.iter().copied());
    let missing: BTreeSet<i64> = named.filter(|id| !known.contains(id)).collect();
    if !missing.is_empty() {
        let missing: Vec<i64> = missing.into_iter().collect();
        subjects.extend(session.subjects_by_id(&missing).await?);
        sort_subjects(subjects);
    }
    Ok(())
}

/// Which of these contacts are members of which of these loads.
///
/// A load with few members is read whole; one with more members than there are contacts is asked
/// for each contact. So the cost is bounded by the smaller of the two.
async fn members<S: Reads + ?Sized>(
    session: &mut S,
    loads: &[StoredLoad],
    keys: &[LoadKey],
    contacts: &[ContactRow],
) -> Result<Vec<(LoadKey, String)>, StoreError> {
    let present: HashSet<Key<'_>> = contacts.iter().map(key_of).collect();
    let systems: HashSet<i16> = loads
        .iter()
        .map(|load| keys[load.position].system)
        .collect();
    let by_id: HashMap<i64, &LoadKey> = loads
        .iter()
        .map(|load| (load.id, &keys[load.position]))
        .collect();
    let (whole, probed): (Vec<&StoredLoad>, Vec<&StoredLoad>) = loads
        .iter()
        .partition(|load| load.contacts <= contacts.len() as i64);
    let ids = |loads: &[&StoredLoad]| loads.iter().map(|load| load.id).collect::<Vec<_>>();
    let externals: BTreeSet<&str> = contacts
        .iter()
        .filter(|contact| !probed.is_empty() && systems.contains(&contact.system))
        .map(|contact| contact.external.as_str())
        .collect();
    let externals: Vec<&str> = externals.into_iter().collect();
    let found = session
        .load_members(&ids(&whole), &ids(&probed), &externals)
        .await?;
    let mut members: Vec<(LoadKey, String)> = found
        .into_iter()
        .filter_map(|(id, external)| Some(((*by_id.get(&id)?).clone(), external)))
        .filter(|(key, external)| present.contains(&(key.system, external.as_str())))
        .collect();
    members.sort_unstable();
    Ok(members)
}

/// R26: counts of minutes before this one are needed by nobody: the guard looks back an hour.
pub(super) fn needed_from(flips: &[Flip]) -> i64 {
    const MINUTES: i64 = 120;
    let newest = flips.iter().map(|flip| flip.at).max().unwrap_or(i64::MIN);
    At::from_micros(newest).minute() - MINUTES
}

/// R26: flips counted by cause and minute.
pub(super) fn per_minute(flips: &[Flip]) -> Vec<(i16, &str, bool, i64, i64)> {
    let mut counts: BTreeMap<(i16, &str, bool, i64), i64> = BTreeMap::new();
    for flip in flips {
        let minute = At::from_micros(flip.at).minute();
        let cause = (flip.system, flip.purpose.as_str(), flip.withdrawn, minute);
        *counts.entry(cause).or_default() += 1;
    }
    let counts = counts.into_iter();
    counts
        .map(|((system, purpose, withdrawn, minute), flips)| {
            (system, purpose, withdrawn, minute, flips)
        })
        .collect()
}

/// JSON text of rows, for SQLite, and of whatever else must be one text.
pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| failed("packing a statement's input")(sqlx::Error::Encode(error.into())))
}
