//! The poller of one system: reads its feed page by page into the store.

use super::engine::{Event, Member, SyncError};
use super::ingest::{Arrivals, Origin, ingest_page};
use super::pack::Packer;
use super::refresh::follow_hints;
use crate::connector::{Cursor, Fault, Page};
use crate::consent::guard;
use crate::consent::{At, SystemRules};
use crate::store::{Applied, FeedRow, FeedSwitch, ScanNote};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pages of a load are stored together up to this many contacts: fewer transactions, each with
/// fewer written database pages per contact.
/// With `PAGES_AHEAD` it decides how much memory a load takes.
pub const LOAD_CONTACTS: usize = 4_000;

/// So many pages wait to be stored while others are read. With the batch that is being stored they
/// are what a load holds in memory.
const PAGES_AHEAD: usize = 2;

/// A poll reads at most so many pages before others get their turn; the next one goes on.
pub const MAX_PAGES: usize = 100_000;

/// Polls until told to stop.
pub async fn run(member: &Member, stop: &CancellationToken) {
    let mut rules: Option<SystemRules> = None;
    while !stop.is_cancelled() {
        if let Some(until) = member.breaker.open_until(member.shared.clock.now()) {
            let pause = until.since(member.shared.clock.now()).unsigned_abs();
            if !member.pause(Duration::from_micros(pause), stop).await {
                break;
            }
        }
        let done = turn(member, &mut rules, stop).await;
        let go_on = match done {
            Ok(()) => {
                let interval = member
                    .pace
                    .poll_interval
                    .max(member.connector.least_poll_interval());
                member.rest(interval, &member.wake_poller, stop).await
            }
            Err(error) => member.pause(member.failed(&error), stop).await,
        };
        if !go_on {
            break;
        }
    }
}

/// One poll, after a login where there was none yet.
async fn turn(
    member: &Member,
    rules: &mut Option<SystemRules>,
    stop: &CancellationToken,
) -> Result<(), SyncError> {
    if rules.is_none() && stands_still(member).await? {
        return Ok(());
    }
    let rules = match rules {
        Some(rules) => rules,
        None => match unless_stopped(stop, member.log_in()).await {
            Some(found) => rules.insert(found?),
            None => return Ok(()),
        },
    };
    poll(member, rules, stop).await
}

/// Whether no call may be made, because an operator paused the system or a guard halted it.
async fn stands_still(member: &Member) -> Result<bool, SyncError> {
    let feed = member.shared.store.feed(member.id.0).await?;
    let (paused, halted) = (feed.paused, feed.halted.is_some());
    member.tell(Event::Standing { paused, halted });
    Ok(paused || halted)
}

/// Waits for a call that changes nothing, but no longer than until told to stop.
async fn unless_stopped<T>(stop: &CancellationToken, call: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        done = call => Some(done),
    }
}

/// Reads the feed until it is drained.
///
/// # Errors
/// When a call or the store fails. Every page stored before that stays stored, with its cursor.
pub async fn poll(
    member: &Member,
    rules: &SystemRules,
    stop: &CancellationToken,
) -> Result<(), SyncError> {
    let store = &member.shared.store;
    let begun = Instant::now();
    if stands_still(member).await? {
        return Ok(());
    }
    let mut feed = store.feed(member.id.0).await?;
    if feed.loaded {
        for contact in member.connector.doubtful() {
            member.hints.add(contact);
        }
        follow_hints(member, rules).await?;
    }
    let packer = Packer::new(&member.shared.rules);
    let mut sweep = Sweep {
        from_the_start: feed.cursor.is_none(),
        ..Sweep::default()
    };
    let mut reader = Reader::start(member, feed.cursor.clone().map(Cursor));
    let mut more = true;
    while more {
        let Some(next) = unless_stopped(stop, reader.next()).await else {
            return Ok(());
        };
        let Some(batch) = next? else {
            return Ok(());
        };
        let page = &batch.arrivals.page;
        let told = match page.scan {
            Some(seen) => Some(Scan::told(member, seen).await?),
            None => None,
        };
        let counted = sweep.count(member, page).await?;
        let size = match told.as_ref().or(counted.as_ref()) {
            Some(scan) => scan.judge(member).await?,
            None => Size::Fits(ScanNote::default()),
        };
        let note = match &size {
            Size::Fits(note) => *note,
            // A file can be put back; of what was swept everything but the last page is stored already.
            Size::Short(reason) if told.is_some() => {
                halt(member, reason).await?;
                return Ok(());
            }
            Size::Short(_) => ScanNote::default(),
        };
        match store_batch(member, rules, &packer, &feed, &batch, note).await? {
            Some(after) => feed = after,
            // Somebody else stored a page of this feed, or an operator paused it or wants it read
            // anew; the next poll goes on from there.
            None => return Ok(()),
        }
        if let Size::Short(reason) = &size {
            halt(member, reason).await?;
            return Ok(());
        }
        more = page.more;
        if more && stop.is_cancelled() {
            return Ok(());
        }
    }
    if let Some(cursor) = feed.cursor.clone().map(Cursor) {
        member.connector.read_stored(&cursor).await?;
    }
    member.breaker.succeeded();
    member.tell(Event::Breaker(None));
    member.tell(Event::Drained {
        at: member.shared.clock.now(),
        drained: feed.drained.map(At::from_micros),
        took: begun.elapsed(),
    });
    Ok(())
}

/// What is stored in one transaction.
struct Batch {
    arrivals: Arrivals,
    /// The store's logical time when it was asked for.
    asked_at: i64,
}

/// Reads pages ahead of the one that is being stored, in a task of its own, so that reading and
/// storing do not wait for each other. The task ends with this value.
struct Reader {
    pages: mpsc::Receiver<Result<Batch, Fault>>,
    /// What came after a batch without belonging to it.
    waiting: Option<Result<Batch, Fault>>,
    task: JoinSet<()>,
}

impl Reader {
    fn start(member: &Member, mut cursor: Option<Cursor>) -> Self {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let (connector, shared) = (Arc::clone(&member.connector), Arc::clone(&member.shared));
        let mut task = JoinSet::new();
        task.spawn(async move {
            for _ in 0..MAX_PAGES {
                let asked_at = shared.store.sequence();
                let page = connector.read(cursor.as_ref()).await;
                cursor = match &page {
                    Ok(page) if page.more => Some(page.next.clone()),
                    Ok(_) | Err(_) => None,
                };
                let batch = page.map(|page| Batch {
                    arrivals: Arrivals::of(page, &shared.pseudonyms),
                    asked_at,
                });
                if sender.send(batch).await.is_err() || cursor.is_none() {
                    return;
                }
            }
        });
        Self {
            pages,
            waiting: None,
            task,
        }
    }

    /// The next page, or as many pages of a load as are stored together; none after the last one.
    async fn next(&mut self) -> Result<Option<Batch>, Fault> {
        let Some(mut batch) = self.page().await.transpose()? else {
            return Ok(None);
        };
        while batch.arrivals.page.load
            && batch.arrivals.page.more
            && batch.arrivals.page.readings.len() < LOAD_CONTACTS
        {
            match self.page().await {
                // The earlier time is the careful one: what was written since may be stale.
                Some(Ok(next)) if next.arrivals.page.load => batch.arrivals.append(next.arrivals),
                // What was read before a fault is stored before it is told.
                other => {
                    self.waiting = other;
                    break;
                }
            }
        }
        Ok(Some(batch))
    }

    async fn page(&mut self) -> Option<Result<Batch, Fault>> {
        if let Some(waiting) = self.waiting.take() {
            return Some(waiting);
        }
        if let Some(page) = self.pages.recv().await {
            return Some(page);
        }
        match self.task.join_next().await {
            Some(Err(crash)) if crash.is_panic() => std::panic::resume_unwind(crash.into_panic()),
            _ => None,
        }
    }
}

/// Stores a batch; where the feed stands then, or none when somebody else moved it on meanwhile.
async fn store_batch(
    member: &Member,
    rules: &SystemRules,
    packer: &Packer<'_>,
    feed: &FeedRow,
    batch: &Batch,
    scan: ScanNote,
) -> Result<Option<FeedRow>, SyncError> {
    let shared = &member.shared;
    let origin = Origin {
        system: rules,
        feed,
        asked_at_sequence: batch.asked_at,
        future_tolerance: shared.future_tolerance,
        may_heal: feed.loaded,
    };
    let page = &batch.arrivals.page;
    let frame = shared.frame(page.load && !feed.loaded);
    let (applied, after) =
        ingest_page(&*shared.store, packer, frame, origin, &batch.arrivals, scan).await?;
    let Applied::Stored { rows } = applied else {
        return Ok(None);
    };
    member.tell(Event::Stored {
        contacts: page.readings.len(),
        poison: page.poison.len(),
        rows,
    });
    // What is now complete may be written to; what was decided may be due.
    if rows > 0 || after.loaded != feed.loaded {
        shared.wake_all_emitters();
    }
    Ok(Some(after))
}

/// A complete scan, once it is known how many contacts it finds.
struct Scan {
    /// Contacts that it finds.
    seen: u64,
    /// Contacts that were known before it.
    known: u64,
    /// Nothing of it is stored yet: it said itself how many it would find.
    told: bool,
}

/// What a guard makes of a complete scan.
enum Size {
    /// It may be stored, and this noted with it.
    Fits(ScanNote),
    /// The feed is to be halted, for this reason.
    Short(String),
}

impl Scan {
    async fn told(member: &Member, seen: u64) -> Result<Self, SyncError> {
        Ok(Self {
            seen,
            known: known_contacts(member).await?,
            told: true,
        })
    }

    /// R27: less than half of what is known halts the feed, unless an operator has said that it may be
    /// so. What was accepted once is what later scans are held against: the contacts that are not there
    /// any more stay known, since nobody told that they were deleted.
    async fn judge(&self, member: &Member) -> Result<Size, SyncError> {
        // Now, since an operator may have said so while it was read.
        let feed = member.shared.store.feed(member.id.0).await?;
        let accepted = feed.scanned.map(i64::unsigned_abs);
        let known = accepted.map_or(self.known, |accepted| accepted.min(self.known));
        if !feed.accept_fewer && guard::is_suddenly_empty(self.seen, known) {
            return Ok(Size::Short(self.reason(&member.name, known)));
        }
        let is_kept = feed.accept_fewer || accepted.is_some();
        Ok(Size::Fits(ScanNote {
            uses_word: feed.accept_fewer,
            contacts: is_kept.then_some(self.seen.cast_signed()),
        }))
    }

    fn reason(&self, name: &str, known: u64) -> String {
        let seen = self.seen;
        if self.told {
            format!(
                "a full scan would find {seen} of {known} known contacts; nothing of it was stored; clear \
                 it away or have a whole one delivered, then `consentd resume {name}`, or `consentd \
                 resume {name} --accept-fewer` if so many have really left"
            )
        } else {
            format!(
                "a full scan found {seen} of {known} known contacts; nothing was deleted; look whether \
                 contacts are missing there, then `consentd resume {name}`, with --accept-fewer if so \
                 many have really left"
            )
        }
    }
}

/// The live contacts that the store knows.
async fn known_contacts(member: &Member) -> Result<u64, SyncError> {
    let shared = &member.shared;
    let figures = shared.store.figures(shared.clock.now()).await?;
    let mut systems = figures.systems.iter();
    let system = systems.find(|system| system.system == member.id.0);
    Ok(system.map_or(0, |system| system.live.unsigned_abs()))
}

/// R27: counts what a sweep over everything finds. A sweep that was begun before a restart is not
/// judged, since its first part was not counted; nor is one that said its size itself.
#[derive(Default)]
struct Sweep {
    /// Its first page is read in this poll.
    from_the_start: bool,
    seen: u64,
    known: Option<u64>,
}

impl Sweep {
    /// Takes in a page that is about to be stored. The sweep, when this page is the first one behind it.
    async fn count(&mut self, member: &Member, page: &Page) -> Result<Option<Scan>, SyncError> {
        if !page.load {
            self.from_the_start = true;
            let seen = std::mem::take(&mut self.seen);
            let known = self.known.take();
            return Ok(known.map(|known| Scan {
                seen,
                known,
                told: false,
            }));
        }
        self.from_the_start &= page.scan.is_none();
        if self.from_the_start {
            if self.known.is_none() {
                self.known = Some(known_contacts(member).await?);
            }
            self.seen += page.readings.iter().filter(|reading| reading.whole).count() as u64;
        }
        Ok(None)
    }
}

async fn halt(member: &Member, reason: &str) -> Result<(), SyncError> {
    let now: At = member.shared.clock.now();
    member
        .shared
        .store
        .set_feed_switch(
            member.id.0,
            FeedSwitch::Halted(Some(reason.to_owned())),
            now,
        )
        .await?;
    tracing::error!(system = %member.name, reason, "{}: the feed is halted: {reason}", member.name);
    member.tell(Event::Standing {
        paused: false,
        halted: true,
    });
    Ok(())
}
