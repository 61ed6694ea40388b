//! A page of a feed into the store: contacts, statements, quarantine, verdicts, ledger entries,
//! outbox and cursor in one transaction (R31, G10).

use super::identity::Pseudonyms;
use super::pack::Packer;
use super::workbench::{FLIP_WINDOW, Frame, Workbench, around, transact};
use crate::connector::{Cursor, Found, Page};
use crate::consent::{At, Reading, SubjectKey, SystemRules, Viewpoint, observe};
use crate::store::{
    Applied, Changes, FeedChange, FeedRow, LoadKey, QuarantineRow, ScanNote, Scope, Store,
    StoreError, SubjectRef,
};
use std::collections::BTreeSet;

/// Where a page came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The system's rules.
    pub system: &'a SystemRules,
    /// The feed as it stood before the page.
    pub feed: &'a FeedRow,
    /// [`Store::sequence`] when the page was asked for; contacts written to since are stale in it.
    pub asked_at_sequence: i64,
    /// R16: how far ahead of us a vendor's time may be; microseconds.
    pub future_tolerance: i64,
    /// Records of this system stand in quarantine, so that readable ones may heal them.
    pub may_heal: bool,
}

/// A page with what is worked out of it before its transaction.
#[derive(Debug)]
pub struct Arrivals {
    /// The page.
    pub page: Page,
    /// R1, R2: the subject of each reading's own address, if it has one.
    homes: Vec<Option<(SubjectRef, SubjectKey)>>,
}

impl Arrivals {
    /// R1: addresses are normalised here, in Rust.
    pub fn of(page: Page, pseudonyms: &Pseudonyms) -> Self {
        let homes = page
            .readings
            .iter()
            .map(|reading| {
                let key = SubjectKey::from_address(reading.address.as_deref()?).ok()?;
                Some((pseudonyms.of(&key), key))
            })
            .collect();
        Self { page, homes }
    }

    /// What was looked up beside the feed; it leads nowhere.
    pub fn found(found: Found, pseudonyms: &Pseudonyms) -> Self {
        let page = Page {
            readings: found.readings,
            poison: found.poison,
            next: Cursor(String::new()),
            more: false,
            load: false,
            scan: None,
            read_at: found.read_at,
            drained: None,
        };
        Self::of(page, pseudonyms)
    }

    /// Takes in the next page of the same load. The earlier time of reading stays: it is the
    /// careful one.
    pub fn append(&mut self, next: Self) {
        self.homes.extend(next.homes);
        self.page.readings.extend(next.page.readings);
        self.page.poison.extend(next.page.poison);
        self.page.scan = self.page.scan.or(next.page.scan);
        self.page.next = next.page.next;
        self.page.more = next.page.more;
        self.page.drained = next.page.drained.or(self.page.drained);
    }
}

/// Stores one page and everything that follows from it. Storing a page again changes nothing.
///
/// # Errors
/// When the store fails; nothing is stored then, and the cursor stays.
pub async fn ingest_page(
    store: &dyn Store,
    packer: &Packer<'_>,
    frame: Frame<'_>,
    origin: Origin<'_>,
    arrivals: &Arrivals,
    scan: ScanNote,
) -> Result<(Applied, FeedRow), StoreError> {
    let feed = feed_after(origin.feed, &arrivals.page, scan, frame.now);
    let change = FeedChange {
        system: origin.system.id.0,
        row: feed.clone(),
        follows: origin.feed.cursor.clone(),
        scan,
    };
    let applied = take_all(store, packer, frame, origin, arrivals, Some(&change)).await?;
    Ok((applied, feed))
}

/// Stores what was looked up beside the feed, and everything that follows from it. The feed stays
/// where it is.
///
/// # Errors
/// When the store fails; nothing is stored then.
pub async fn ingest_found(
    store: &dyn Store,
    packer: &Packer<'_>,
    frame: Frame<'_>,
    origin: Origin<'_>,
    arrivals: &Arrivals,
) -> Result<Applied, StoreError> {
    take_all(store, packer, frame, origin, arrivals, None).await
}

async fn take_all(
    store: &dyn Store,
    packer: &Packer<'_>,
    frame: Frame<'_>,
    origin: Origin<'_>,
    arrivals: &Arrivals,
    feed: Option<&FeedChange>,
) -> Result<Applied, StoreError> {
    let Arrivals { page, homes } = arrivals;
    let scope = scope_of(origin.system, frame, page, homes);
    let act = |bench: &mut Workbench<'_>| {
        take_in(bench, frame, origin, page, homes);
        bench.settle_homes()
    };
    let complete = |changes: &mut Changes| {
        changes.quarantine = quarantine(origin.system, page, frame.now);
        if origin.may_heal {
            let poisoned: BTreeSet<&str> = page
                .poison
                .iter()
                .map(|poison| poison.id.as_str())
                .collect();
            changes.healed = page
                .readings
                .iter()
                .filter(|reading| !poisoned.contains(reading.contact.as_str()))
                .map(|reading| (origin.system.id.0, reading.contact.clone()))
                .collect();
        }
        changes.feed = feed.cloned();
    };
    transact(store, scope, frame, packer, act, complete).await
}

fn take_in(
    bench: &mut Workbench<'_>,
    frame: Frame<'_>,
    origin: Origin<'_>,
    page: &Page,
    homes: &[Option<(SubjectRef, SubjectKey)>],
) {
    let system = origin.system;
    // R16: the vendor's clock or ours, whichever is earlier.
    let ceiling = page.read_at.min(frame.now).plus(origin.future_tolerance);
    // A file tells of the instant at which it was made. What was written by then may be in it or not.
    let is_older = |bench: &Workbench<'_>, reading: &Reading| {
        reading.as_of.is_some_and(|as_of| {
            let known = bench.contact(system.id, &reading.contact);
            let written_at = known.and_then(|contact| contact.record.written_at);
            written_at.is_some_and(|at| as_of <= at)
        })
    };
    let is_stale = |bench: &Workbench<'_>, reading: &Reading| {
        bench.written_seq(system.id, &reading.contact) > origin.asked_at_sequence
            || is_older(bench, reading)
    };
    let fresh = page.readings.iter().zip(homes);
    let fresh = fresh.filter(|(reading, _)| !is_stale(bench, reading));
    let mut arriving: Vec<_> = fresh.filter_map(|(_, home)| home.as_ref()).collect();
    arriving.sort_unstable();
    arriving.dedup_by_key(|home| home.0);
    bench.expect_subjects(&arriving);
    for (reading, home) in page.readings.iter().zip(homes) {
        let stale = is_stale(bench, reading);
        let in_flight = bench.in_flight(system.id, &reading.contact);
        let view = Viewpoint {
            system,
            policy: &frame.rules.policy,
            read_at: page.read_at,
            known_since: origin.feed.drained.map(At::from_micros),
            ceiling,
            in_flight: &in_flight,
            stale,
        };
        let overtaken = bench.overtaken(system.id, reading, page.read_at);
        let before = overtaken.as_ref().filter(|_| !stale);
        let before = before.or_else(|| bench.contact(system.id, &reading.contact));
        let after = observe(before, reading, &view);
        let slot = bench.set_contact(after);
        if reading.whole && !stale {
            let as_of = reading.as_of.unwrap_or(page.read_at);
            bench.heard_again(system.id, &reading.contact, as_of);
        }
        let own = home.as_ref().map(|(subject, key)| (*subject, key));
        if reading.whole && !stale {
            bench.set_home(slot, own, reading.link.as_deref());
        } else if own.is_some() && !stale {
            // A consent record without its contact still names the person it is about.
            bench.set_own_subject(slot, own);
        }
    }
}

fn scope_of(
    system: &SystemRules,
    frame: Frame<'_>,
    page: &Page,
    homes: &[Option<(SubjectRef, SubjectKey)>],
) -> Scope {
    let mut links: Vec<String> = Vec::new();
    if !frame.links.is_empty() {
        links.extend(
            page.readings
                .iter()
                .filter_map(|reading| reading.link.clone()),
        );
        links.sort_unstable();
        links.dedup();
    }
    let mut subjects: Vec<SubjectRef> = homes
        .iter()
        .flatten()
        .map(|(subject, _)| *subject)
        .collect();
    subjects.sort_unstable();
    subjects.dedup();
    let mut suppressions = Vec::new();
    if frame.suppressor.is_needed() {
        let keys = homes.iter().flatten().map(|(_, key)| key);
        suppressions.extend(keys.flat_map(|key| frame.suppressor.digests(key)));
        suppressions.sort_unstable();
        suppressions.dedup();
    }
    let mut contacts: Vec<(i16, String)> = page
        .readings
        .iter()
        .map(|reading| (system.id.0, reading.contact.clone()))
        .collect();
    contacts.sort_unstable();
    contacts.dedup();
    Scope {
        contacts,
        subjects,
        links,
        loads: load_keys(system, page),
        load_contacts_up_to: i64::from(frame.rules.policy.load_contacts),
        flips_since: (!frame.old_news).then(|| frame.now.minus(FLIP_WINDOW).micros()),
        requests: false,
        suppressions,
    }
}

/// R25: every actor and minute in which this page may tell of a grant, with the minutes around.
fn load_keys(system: &SystemRules, page: &Page) -> Vec<LoadKey> {
    let mut keys = BTreeSet::new();
    let mut add = |actor: Option<&String>, at: Option<At>| {
        if let (Some(actor), Some(at)) = (actor, at)
            && system.own_actor.as_ref() != Some(actor)
        {
            keys.extend(around(&LoadKey {
                system: system.id.0,
                actor: actor.clone(),
                minute: at.minute(),
            }));
        }
    };
    for reading in &page.readings {
        for told in &reading.told {
            add(told.actor.as_ref(), Some(told.at));
        }
        // In a load of everything, what is seen for the first time is weak anyway (R24).
        if !page.load {
            let at = reading.modified.unwrap_or(page.read_at);
            add(reading.modified_by.as_ref(), Some(at));
        }
    }
    keys.into_iter().collect()
}

fn feed_after(before: &FeedRow, page: &Page, scan: ScanNote, now: At) -> FeedRow {
    FeedRow {
        cursor: Some(page.next.0.clone()),
        drained: page.drained.map(At::micros).or(before.drained),
        polled_at: Some(now.micros()),
        loaded: before.loaded || !page.load,
        accept_fewer: before.accept_fewer && !scan.uses_word,
        scanned: scan.contacts.or(before.scanned),
        ..before.clone()
    }
}

fn quarantine(system: &SystemRules, page: &Page, now: At) -> Vec<QuarantineRow> {
    page.poison
        .iter()
        .map(|poison| QuarantineRow {
            system: system.id.0,
            external: poison.id.clone(),
            reason: poison.reason.clone(),
            raw: poison.raw.clone(),
            seen_at: now.micros(),
        })
        .collect()
}
