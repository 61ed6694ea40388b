//! The poller of one system: reads its feed page by page into the store.

use super::engine::{Event, Member, SyncError};
use super::ingest::{Origin, ingest_page};
use super::pack::Packer;
use crate::connector::{Cursor, Page};
use crate::consent::guard;
use crate::consent::{At, SystemRules};
use crate::store::{Applied, FeedRow, FeedSwitch};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Pages of a load are stored together up to this many contacts: fewer transactions, each with
/// fewer written database pages per contact.
pub const LOAD_CONTACTS: usize = 10_000;

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
        let done = match &rules {
            Some(rules) => poll(member, rules, stop).await,
            None => match member.log_in().await {
                Ok(found) => {
                    rules = Some(found);
                    continue;
                }
                Err(fault) => Err(fault.into()),
            },
        };
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
    let mut feed = store.feed(member.id.0).await?;
    member.tell(Event::Standing {
        paused: feed.paused,
        halted: feed.halted.is_some(),
    });
    if feed.paused || feed.halted.is_some() {
        return Ok(());
    }
    let packer = Packer::new(&member.shared.rules);
    let mut sweep = Sweep::default();
    let mut batch = ask(member, feed.cursor.clone().map(Cursor)).await?;
    for _ in 0..MAX_PAGES {
        // While a batch is stored, the next page is fetched.
        while batch.page.more && batch.page.load && batch.page.readings.len() < LOAD_CONTACTS {
            let next = ask(member, Some(batch.page.next.clone())).await?;
            if !batch.append(next) {
                break;
            }
        }
        let following = batch.following.take();
        let more = batch.page.more || following.is_some();
        let (stored, next) =
            tokio::join!(store_batch(member, rules, &packer, &feed, &batch), async {
                match following {
                    Some(following) => Ok(Some(*following)),
                    None if batch.page.more && !stop.is_cancelled() => {
                        ask(member, Some(batch.page.next.clone())).await.map(Some)
                    }
                    None => Ok(None),
                }
            });
        let Some(after) = stored? else {
            return Ok(());
        };
        feed = after;
        if let Some(reason) = sweep.judge(member, feed.loaded, &batch.page).await? {
            halt(member, &reason).await?;
            return Ok(());
        }
        match next? {
            Some(next) => batch = next,
            None if more => return Ok(()),
            None => break,
        }
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

/// A page with the store's logical time at which it was asked for.
struct Batch {
    page: Page,
    asked_at: i64,
    /// A page that was fetched already but does not belong to this batch.
    following: Option<Box<Batch>>,
}

impl Batch {
    /// Takes in the next page of the same load. A page of another kind is kept for later; false.
    fn append(&mut self, next: Batch) -> bool {
        if !next.page.load {
            self.following = Some(Box::new(next));
            return false;
        }
        self.page.readings.extend(next.page.readings);
        self.page.poison.extend(next.page.poison);
        self.page.next = next.page.next;
        self.page.more = next.page.more;
        self.page.drained = next.page.drained.or(self.page.drained);
        // The earlier times are the careful ones: what was written since may be stale.
        true
    }
}

async fn ask(member: &Member, cursor: Option<Cursor>) -> Result<Batch, SyncError> {
    let asked_at = member.shared.store.sequence();
    let page = member.connector.read(cursor.as_ref()).await?;
    Ok(Batch {
        page,
        asked_at,
        following: None,
    })
}

async fn store_batch(
    member: &Member,
    rules: &SystemRules,
    packer: &Packer<'_>,
    feed: &FeedRow,
    batch: &Batch,
) -> Result<Option<FeedRow>, SyncError> {
    let shared = &member.shared;
    let origin = Origin {
        system: rules,
        feed,
        asked_at_sequence: batch.asked_at,
        future_tolerance: shared.future_tolerance,
        may_heal: feed.loaded,
    };
    let frame = shared.frame(batch.page.load);
    let (applied, after) = ingest_page(
        &*shared.store,
        &shared.pseudonyms,
        packer,
        frame,
        origin,
        &batch.page,
    )
    .await?;
    match applied {
        Applied::Stored { rows } => {
            member.tell(Event::Stored {
                contacts: batch.page.readings.len(),
                poison: batch.page.poison.len(),
                rows,
            });
            // What is now complete may be written to; what was decided may be due.
            if rows > 0 || after.loaded != feed.loaded {
                shared.wake_all_emitters();
            }
            Ok(Some(after))
        }
        // Somebody else stored a page of this feed. What was fetched does not follow it; the next
        // poll goes on from where the feed stands then.
        Applied::Overtaken => Ok(None),
    }
}

/// R27: counts what a sweep over everything finds. A sweep that was begun before a restart is not
/// judged, since its first part was not counted.
#[derive(Default)]
struct Sweep {
    changes_came_first: bool,
    seen: u64,
    known: Option<u64>,
}

impl Sweep {
    /// The reason to halt, once a sweep has ended with too few contacts.
    async fn judge(
        &mut self,
        member: &Member,
        loaded: bool,
        page: &Page,
    ) -> Result<Option<String>, SyncError> {
        if !page.load {
            self.changes_came_first = true;
            let Some(known) = self.known.take() else {
                return Ok(None);
            };
            let seen = std::mem::take(&mut self.seen);
            let empty = guard::is_suddenly_empty(seen, known);
            return Ok(empty.then(|| {
                format!("a full scan found {seen} of {known} known contacts; nothing was deleted")
            }));
        }
        if loaded && self.changes_came_first {
            if self.known.is_none() {
                let figures = member
                    .shared
                    .store
                    .figures(member.shared.clock.now())
                    .await?;
                let system = figures
                    .systems
                    .iter()
                    .find(|system| system.system == member.id.0);
                self.known = Some(system.map_or(0, |system| system.live.unsigned_abs()));
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
