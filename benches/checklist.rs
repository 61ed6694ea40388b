//! How long a checklist takes, and how many vendor calls one takes that asks now.
//!
//! `cargo bench --bench checklist [-- contacts]` fills a SQLite store with the 1,130,000 contacts of
//! 1,000,000 subjects through the ordinary pipeline – a poll that reads pages out of memory instead of
//! from a vendor – and has 10,000 random recipients checked from it again and again: with nothing else
//! to do, and while the poll goes on storing pages of changes. In turn with that, in the same process
//! and of the same recipients, it measures what cannot be saved: one statement that joins their keyed
//! hashes with the subjects and reads the verdicts, on a connection of its own. Each part runs in a
//! process of its own; all of them share the machine's cores.
//!
//! Then lists are checked with the four simulated systems being asked, and the calls that they get
//! are counted. A wrong answer fails the run; time and calls never do.

mod common;
#[path = "common/parts.rs"]
mod parts;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use common::{Hub, SYSTEMS, Step, table};
use consentd::config::{self, Checked, SecretFile, SecretReader, SystemSettings};
use consentd::connector::{
    Batching, Connector, Current, Cursor, Fault, Found, Outcome, Page, Probe, Target, Wanted,
    WriteRequest,
};
use consentd::consent::{
    Answer, At, Evidence, Precision, PurposeId, Reading, Shown, SubjectKey, Told,
};
use consentd::runtime::clock::{self, Clock as _};
use consentd::store::{Access, SqliteStore, Store, SubjectRef};
use consentd::sync::assemble::{Engine, Lines, Parts};
use consentd::sync::checklist::{Ask, Checklist, Crew, Desk, Freshness, Outcome as Place, Person};
use consentd::sync::engine::{Event, Listener, Member};
use consentd::sync::poll::poll;
use consentd_sandbox::people::generate;
use parts::{report, run};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Contacts of the store, which are of a little more than a million subjects: the others share a
/// mailbox or have none.
const CONTACTS: usize = 1_130_000;
/// Recipients of a list, and lists that are checked.
const LISTS: (usize, usize) = (10_000, 60);
/// Those of the smoke run, which only shows that everything still fits together.
const SMOKE: (usize, (usize, usize)) = (3_000, (500, 3));
/// Lists that are checked before anything is measured.
const WARM_UP: usize = 3;
/// The slow end of the checks may take so many times that of the bare join.
const MOST_RATIO: f64 = 3.0;
/// Contacts of each system for lists that are checked now, and recipients of these.
const LIVE: (usize, &[usize]) = (10_000, &[200, 2_000]);
const SMOKE_LIVE: (usize, &[usize]) = (60, &[20]);
/// Contacts on a page of the feed, which is the platform's largest.
const PAGE_ROWS: usize = 2_000;
/// Contacts among whom the recipients are, and who change while lists are checked.
const SAMPLE: usize = 200_000;
const SAMPLE_FILE: &str = "sample.json";
/// The same people in every process.
const SEED: u64 = 1;
/// The vendor's present, which decides when the people were created: 2026-05-01.
const PRESENT_SECS: i64 = 1_777_593_600;
const BOXES: usize = 4;
const PURPOSES: [&str; 5] = [
    "marketing",
    "marketing.alumni-news",
    "marketing.events",
    "marketing.giving",
    "marketing.research",
];
/// What the lists are for: it was granted by some, and withdrawn by others with `marketing`.
const CATEGORY: &str = PURPOSES[2];
const USER: &str = "0055e000001XYZaAAG";
/// As old as a stored answer may be in this bench.
const ANY_AGE: Duration = Duration::from_hours(10_000);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fill", contacts, folder] => {
            report(common::block_on(fill(contacts.parse()?, folder.as_ref()))?)
        }
        ["check", folder, recipients, lists, polled] => {
            let lists = (recipients.parse()?, lists.parse()?);
            report(common::block_on(check(
                folder.as_ref(),
                lists,
                *polled == "polled",
            ))?)
        }
        // cargo passes this word when it benches, and does not when it tests.
        words if words.contains(&"--bench") => {
            let contacts = words.iter().find(|word| !word.starts_with("--"));
            let contacts = contacts.map_or(Ok(CONTACTS), |word| word.parse());
            let contacts = contacts.context("the argument is a number of contacts")?;
            measure(contacts, LISTS, LIVE)
        }
        _ => measure(SMOKE.0, SMOKE.1, SMOKE_LIVE),
    }
}

// ---------------------------------------------------------------- the run

fn measure(contacts: usize, lists: (usize, usize), live: (usize, &[usize])) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let name = folder
        .path()
        .to_str()
        .context("the temporary folder has no readable name")?;
    let contacts = contacts.to_string();
    let filled: Filled = run(&["fill", &contacts, name])?;
    let (recipients, runs) = (lists.0.to_string(), lists.1.to_string());
    let part = |polled| run(&["check", name, &recipients, &runs, polled]);
    let parts: [(&str, Timed); 2] = [("idle", part("alone")?), ("polled", part("polled")?)];
    print_times(&filled, lists, &parts)?;
    let mut asked = Vec::new();
    for recipients in live.1 {
        asked.extend(common::block_on(ask_now(live.0, *recipients))?);
    }
    print_asked(live.0, &asked);
    Ok(())
}

/// Times in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
struct Timed {
    /// The bare join.
    joins: Vec<f64>,
    /// The whole of each check, from addresses as texts to answers.
    checks: Vec<f64>,
    /// Its part that makes keyed hashes of the texts.
    hashes: Vec<f64>,
    /// Changes that the poll stored a second meanwhile.
    stored: f64,
    /// Recipients who may be mailed, of all lists.
    sendable: usize,
}

/// The value below or at which that share of the times lies.
fn quantile(times: &[f64], share: f64) -> anyhow::Result<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(place.saturating_sub(1))
        .copied()
        .context("nothing was measured")
}

fn print_times(
    filled: &Filled,
    (recipients, lists): (usize, usize),
    parts: &[(&str, Timed)],
) -> anyhow::Result<()> {
    println!(
        "{} subjects of {} contacts, stored in {:.0} s, {:.0} MB; {lists} lists of {recipients} recipients",
        filled.subjects,
        filled.contacts,
        filled.seconds,
        filled.bytes as f64 / 1e6
    );
    let mut table = table(
        ["store", "part", "p50 ms", "p99 ms", "most ms", "stored/s"],
        2,
    );
    let mut ratios = Vec::new();
    for (name, timed) in parts {
        let rows = [
            ("bare join", &timed.joins, String::new()),
            ("checklist", &timed.checks, format!("{:.0}", timed.stored)),
            ("of which hashes", &timed.hashes, String::new()),
        ];
        for (part, times, stored) in rows {
            table.add_row([
                (*name).to_owned(),
                part.to_owned(),
                format!("{:.1}", quantile(times, 0.5)?),
                format!("{:.1}", quantile(times, 0.99)?),
                format!("{:.1}", quantile(times, 1.0)?),
                stored,
            ]);
        }
        let ratio = |share| {
            Ok::<_, anyhow::Error>(quantile(&timed.checks, share)? / quantile(&timed.joins, share)?)
        };
        ratios.push(format!(
            "{name}: p50 {:.2} x, p99 {:.2} x the bare join, limit {MOST_RATIO:.0}",
            ratio(0.5)?,
            ratio(0.99)?
        ));
    }
    println!("{table}\n{}\n", ratios.join("\n"));
    Ok(())
}

// ---------------------------------------------------------------- the contacts

/// One contact.
#[derive(Serialize, Deserialize)]
struct Card {
    /// Place in the feed.
    number: usize,
    address: Option<String>,
    link: Option<String>,
    /// Microseconds, as the others.
    created: i64,
    modified: i64,
    opted_out: bool,
    opted_out_at: Option<i64>,
    boxes: Vec<bool>,
    /// No other contact has its address.
    alone: bool,
}

impl Card {
    fn key(&self) -> Option<SubjectKey> {
        SubjectKey::from_address(self.address.as_ref()?).ok()
    }
}

/// All contacts, in the order of the feed.
fn contacts(count: usize) -> anyhow::Result<Vec<Card>> {
    let present = chrono::DateTime::from_timestamp(PRESENT_SECS, 0).context("no such time")?;
    let people = generate(count, SEED, present, BOXES);
    let micros = |at: chrono::DateTime<chrono::Utc>| at.timestamp_micros();
    let contacts = people.into_iter().flat_map(|person| person.salesforce);
    let mut cards: Vec<Card> = contacts
        .enumerate()
        .map(|(number, contact)| Card {
            number,
            address: contact.address,
            link: contact.ascend_id,
            created: micros(contact.created),
            modified: micros(contact.modified),
            opted_out: contact.opted_out,
            opted_out_at: contact.opted_out_at.map(micros),
            boxes: contact.preferences,
            alone: false,
        })
        .collect();
    let mut shared: HashMap<SubjectKey, usize> = HashMap::new();
    for key in cards.iter().filter_map(Card::key) {
        *shared.entry(key).or_default() += 1;
    }
    for card in &mut cards {
        card.alone = card.key().is_some_and(|key| shared.get(&key) == Some(&1));
    }
    Ok(cards)
}

/// Writes down some of the contacts that have an address. A process that made a million people and
/// kept some of them would measure how its memory is littered.
fn write_sample(cards: &[Card], folder: &Path) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(SEED);
    let known: Vec<&Card> = cards.iter().filter(|card| card.key().is_some()).collect();
    let sample: Vec<&&Card> = known.choose_multiple(&mut random, SAMPLE).collect();
    Ok(std::fs::write(
        folder.join(SAMPLE_FILE),
        serde_json::to_vec(&sample)?,
    )?)
}

fn read_sample(folder: &Path) -> anyhow::Result<Vec<Card>> {
    let text = std::fs::read(folder.join(SAMPLE_FILE))?;
    Ok(serde_json::from_slice(&text)?)
}

/// A record id, as the platform gives them: 18 characters that rise.
fn id(number: usize) -> String {
    format!("0035e00000{number:08}")
}

const MARKETING: PurposeId = PurposeId(0);

/// The contact as the connector reads it, with the history of its flag.
fn reading(card: &Card) -> Reading {
    let shown = |set| if set { Shown::Set } else { Shown::Default };
    let boxes = (1..).zip(&card.boxes);
    Reading {
        contact: id(card.number),
        whole: true,
        address: card.address.clone(),
        link: card.link.clone(),
        created: Some(At::from_micros(card.created)),
        modified: Some(At::from_micros(card.modified)),
        modified_by: Some(USER.to_owned()),
        values: std::iter::once((MARKETING, shown(card.opted_out)))
            .chain(boxes.map(|(place, ticked)| (PurposeId(place), shown(*ticked))))
            .collect(),
        told: card
            .opted_out_at
            .map(|at| opt_out(At::from_micros(at)))
            .into_iter()
            .collect(),
        ..Reading::default()
    }
}

/// The same contact once its person has opted out.
fn changed(card: &Card, at: At) -> Reading {
    let mut reading = reading(card);
    reading.modified = Some(at);
    for (purpose, shown) in &mut reading.values {
        *shown = if *purpose == MARKETING {
            Shown::Set
        } else {
            Shown::Default
        };
    }
    if !card.opted_out {
        reading.told = vec![opt_out(at)];
    }
    reading
}

fn opt_out(at: At) -> Told {
    Told {
        purpose: MARKETING,
        shown: Shown::Set,
        at,
        precision: Precision::Seconds,
        evidence: Evidence::History,
        actor: Some(USER.to_owned()),
    }
}

/// A system whose feed begins with all contacts and goes on with changes for as long as it is told
/// to.
struct Feed {
    cards: Vec<Card>,
    goes_on: AtomicBool,
}

#[async_trait]
impl Connector for Feed {
    async fn probe(&self) -> Result<Probe, Fault> {
        Ok(Probe::default())
    }

    /// Cursors are `load`, then `changes`, each with the number of the next contact.
    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        let now = clock::System.now();
        let (stage, from) = cursor
            .and_then(|cursor| cursor.0.split_once(' '))
            .and_then(|(stage, from)| Some((stage, from.parse::<usize>().ok()?)))
            .unwrap_or(("load", 0));
        let load = stage == "load";
        let (readings, next) = if load {
            let rows = self.cards.iter().skip(from).take(PAGE_ROWS);
            let next = if from + PAGE_ROWS < self.cards.len() {
                format!("load {}", from + PAGE_ROWS)
            } else {
                "changes 0".to_owned()
            };
            (rows.map(reading).collect(), next)
        } else if self.goes_on.load(Ordering::Relaxed) {
            let rows = self.cards.iter().cycle().skip(from % self.cards.len());
            let rows = rows.take(PAGE_ROWS.min(self.cards.len()));
            let rows = rows.map(|card| changed(card, now)).collect();
            (rows, format!("changes {}", from + PAGE_ROWS))
        } else {
            (Vec::new(), format!("changes {from}"))
        };
        let more = load || self.goes_on.load(Ordering::Relaxed);
        Ok(Page {
            readings,
            poison: Vec::new(),
            next: Cursor(next),
            more,
            load,
            scan: None,
            read_at: now,
            drained: (!more).then_some(now),
        })
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        Ok(vec![Current::Unknown; contacts.len()])
    }

    async fn look_up(&self, _wanted: &Wanted) -> Result<Found, Fault> {
        Ok(Found {
            readings: Vec::new(),
            poison: Vec::new(),
            further_addresses: Vec::new(),
            read_at: clock::System.now(),
        })
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        Ok(vec![Outcome::Applied; writes.len()])
    }

    fn batching(&self) -> Batching {
        Batching {
            rows: 200,
            bulk_above: 200,
            bulk_rows: 200,
            look_up: 200,
        }
    }
}

// ---------------------------------------------------------------- the store

#[derive(Debug, Serialize, Deserialize)]
struct Filled {
    contacts: usize,
    subjects: i64,
    seconds: f64,
    bytes: u64,
}

/// Counts what is stored, and keeps what went wrong.
#[derive(Default)]
struct Count {
    contacts: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Count {
    fn all_is_well(&self) -> anyhow::Result<()> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble.take() {
            Some(trouble) => bail!("{trouble}"),
            None => Ok(()),
        }
    }
}

impl Listener for Count {
    fn hear(&self, _system: &str, event: Event) {
        let trouble = match event {
            Event::Stored { contacts, .. } => {
                self.contacts.fetch_add(contacts as u64, Ordering::Relaxed);
                return;
            }
            Event::Fault(fault) => fault.to_string(),
            Event::Store(error) => error,
            Event::Standing { paused, halted } if paused || halted => {
                "the feed stands still".to_owned()
            }
            _ => return,
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }
}

/// A store with one system, whose feed is in memory.
struct Rig {
    store: Arc<SqliteStore>,
    engine: Engine,
    feed: Arc<Feed>,
    count: Arc<Count>,
}

impl Rig {
    async fn open(cards: Vec<Card>, folder: &Path) -> anyhow::Result<Self> {
        let checked = checked()?;
        let store = Arc::new(SqliteStore::open(&folder.join("consentd.db"), Access::Daemon).await?);
        let feed = Arc::new(Feed {
            cards,
            goes_on: AtomicBool::new(false),
        });
        let in_memory = {
            let feed: Arc<dyn Connector> = Arc::<Feed>::clone(&feed);
            move |_: &SystemSettings| Ok(Arc::clone(&feed))
        };
        let lines = Lines::build(&checked, &Lines::default(), &in_memory)?;
        let count = Arc::<Count>::default();
        let parts = Parts {
            store: Arc::<SqliteStore>::clone(&store),
            clock: Arc::new(clock::System),
            listener: Arc::<Count>::clone(&count),
            read_only: false,
        };
        let engine = Engine::assemble(&checked, parts, &lines).await?;
        Ok(Self {
            store,
            engine,
            feed,
            count,
        })
    }

    fn member(&self) -> anyhow::Result<&Arc<Member>> {
        self.engine.members.first().context("there is no system")
    }

    fn desk(&self) -> Desk {
        Desk::new(Arc::new(crew(&self.engine)))
    }
}

fn crew(engine: &Engine) -> Crew {
    Crew {
        shared: Arc::clone(&engine.shared),
        members: engine.members.clone(),
    }
}

/// Loads all contacts, as a poll of a real system does.
async fn fill(count: usize, folder: &Path) -> anyhow::Result<Filled> {
    let cards = contacts(count)?;
    write_sample(&cards, folder)?;
    let rig = Rig::open(cards, folder).await?;
    let member = rig.member()?;
    let rules = member.log_in().await?;
    let begun = Instant::now();
    poll(member, &rules, &CancellationToken::new()).await?;
    let seconds = begun.elapsed().as_secs_f64();
    rig.count.all_is_well()?;
    rig.store.close().await;
    let mut tool = bare(folder).await?;
    let subjects = sqlx::query_scalar("SELECT count(*) FROM subjects")
        .fetch_one(&mut tool)
        .await?;
    tool.close().await?;
    Ok(Filled {
        contacts: count,
        subjects,
        seconds,
        bytes: std::fs::metadata(folder.join("consentd.db"))?.len(),
    })
}

// ---------------------------------------------------------------- checks from the store

/// Checks so many lists of so many recipients each, and joins them without the program.
async fn check(
    folder: &Path,
    (recipients, lists): (usize, usize),
    polled: bool,
) -> anyhow::Result<Timed> {
    let rig = Rig::open(read_sample(folder)?, folder).await?;
    let member = Arc::clone(rig.member()?);
    let rules = member.log_in().await?;
    let desk = rig.desk();
    let mut bare = bare(folder).await?;
    let mut random = StdRng::seed_from_u64(SEED);
    rig.feed.goes_on.store(polled, Ordering::Relaxed);
    let mut poller = JoinSet::new();
    poller.spawn(async move { poll(&member, &rules, &CancellationToken::new()).await });
    if !polled {
        while let Some(done) = poller.join_next().await {
            done??;
        }
    }
    let mut timed = Timed {
        joins: Vec::new(),
        checks: Vec::new(),
        hashes: Vec::new(),
        stored: 0.0,
        sendable: 0,
    };
    let mut begun = (Instant::now(), 0);
    for list in 0..WARM_UP + lists {
        if list == WARM_UP {
            begun = (Instant::now(), rig.count.contacts.load(Ordering::Relaxed));
        }
        let cards: Vec<&Card> = rig
            .feed
            .cards
            .choose_multiple(&mut random, recipients)
            .collect();
        let texts: Vec<String> = cards
            .iter()
            .filter_map(|card| card.address.clone())
            .collect();
        let start = Instant::now();
        let people = desk.people(&texts).await?;
        let hashes = milliseconds(start);
        let keys = keys(&people)?;
        let start = Instant::now();
        let ask = Ask {
            purpose: CATEGORY.to_owned(),
            people,
            freshness: Freshness::Within(ANY_AGE),
        };
        let checklist = desk.check(&ask).await?;
        let check = hashes + milliseconds(start);
        compare(&cards, &checklist, polled)?;
        let (join, found) = join(&mut bare, &keys).await?;
        ensure!(
            found == checklist.counts().addressed - checklist.counts().duplicates,
            "the bare join found {found} of {recipients} recipients"
        );
        if list >= WARM_UP {
            timed.joins.push(join);
            timed.checks.push(check);
            timed.hashes.push(hashes);
            timed.sendable += checklist.counts().of(Answer::Send) as usize;
        }
    }
    let stored = rig.count.contacts.load(Ordering::Relaxed) - begun.1;
    timed.stored = stored as f64 / begun.0.elapsed().as_secs_f64();
    rig.feed.goes_on.store(false, Ordering::Relaxed);
    while let Some(done) = poller.join_next().await {
        done??;
    }
    rig.count.all_is_well()?;
    ensure!(
        !polled || rig.count.contacts.load(Ordering::Relaxed) > 0,
        "the poll stored nothing"
    );
    bare.close().await?;
    rig.store.close().await;
    Ok(timed)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Everybody is known and verified; and while nothing changes, whoever has opted out is told to have,
/// and nobody else.
fn compare(cards: &[&Card], checklist: &Checklist, polled: bool) -> anyhow::Result<()> {
    ensure!(
        checklist.lines.len() == cards.len(),
        "a place has no answer"
    );
    for (card, line) in cards.iter().zip(&checklist.lines) {
        let Place::Answered(answer) = line.outcome else {
            continue;
        };
        ensure!(
            !matches!(answer, Answer::Unverified | Answer::UnknownAddress),
            "the answer is {}",
            answer.word()
        );
        ensure!(
            polled || !card.alone || card.opted_out == (answer == Answer::Withdrawn),
            "opted out is {}, and the answer {}",
            card.opted_out,
            answer.word()
        );
    }
    Ok(())
}

/// The keyed hashes of a list, each once and in order, as the bare join takes them.
fn keys(people: &[Option<Person>]) -> anyhow::Result<String> {
    let mut keys: Vec<SubjectRef> = people
        .iter()
        .flatten()
        .map(|person| person.subject)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<String> = keys.iter().map(SubjectRef::to_string).collect();
    Ok(serde_json::to_string(&keys)?)
}

/// A connection as the store's own readers have.
async fn bare(folder: &Path) -> anyhow::Result<SqliteConnection> {
    let connection = SqliteConnectOptions::new()
        .filename(folder.join("consentd.db"))
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16384")
        .pragma("query_only", "ON")
        .disable_statement_logging()
        .connect()
        .await?;
    Ok(connection)
}

/// The least that reading the verdicts takes: one statement, and one row with all of them, since rows
/// that come one by one take longer. Milliseconds, and how many were found.
async fn join(bare: &mut SqliteConnection, keys: &str) -> anyhow::Result<(f64, u64)> {
    let sql = "SELECT count(*), CAST(group_concat(s.verdicts, '') AS BLOB) FROM json_each(?) j \
                 CROSS JOIN subjects s INDEXED BY subjects_ref ON s.ref = unhex(j.value)";
    let start = Instant::now();
    let (found, verdicts): (i64, Option<Vec<u8>>) =
        sqlx::query_as(sql).bind(keys).fetch_one(bare).await?;
    let time = milliseconds(start);
    ensure!(
        verdicts.is_some_and(|verdicts| !verdicts.is_empty()),
        "nobody has a verdict"
    );
    Ok((time, found.unsigned_abs()))
}

/// A deployment with one of two systems switched on. Its address is never called.
fn checked() -> anyhow::Result<Checked> {
    let purposes = PURPOSES.map(|name| format!("[[purposes]]\nname = \"{name}\"\n"));
    let text = format!(
        r#"
first_run = "write"
[store]
url = "sqlite:///unused.db"
[identity]
hash_key_file = "/hash.key"
{purposes}
[systems.salesforce]
kind = "salesforce"
precedence = 1
[systems.salesforce.auth]
grant = "client-credentials"
login_url = "http://127.0.0.1:9"
client_id = "bench"
client_secret_file = "/client.secret"
[systems.salesforce.fields]
opt_out = "HasOptedOutOfEmail"
opt_out_purpose = "marketing"
[systems.salesforce.fields.preferences]
"marketing.alumni-news" = "Email_Alumni_News__c"
"marketing.events" = "Email_Events__c"
"marketing.giving" = "Email_Giving__c"
"marketing.research" = "Email_Research__c"
"#,
        purposes = purposes.concat()
    );
    Ok(config::check(&text, [], &Secrets)?)
}

/// Every secret file holds the same.
struct Secrets;

impl SecretReader for Secrets {
    fn read(&self, _path: &Path) -> std::io::Result<SecretFile> {
        let text = "5b1d6c0f9a7e43c2b8d4f1a06e97c3525f0b1e8d7a6c4932d1e0f9b8a7c6d5e4";
        Ok(SecretFile {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            mode: 0o400,
            credential: false,
        })
    }
}

// ---------------------------------------------------------------- checks that ask

/// What one system was asked for one list.
struct Asked {
    recipients: usize,
    system: &'static str,
    batch: u32,
    look_ups: u32,
    calls: u64,
    kinds: String,
    seconds: f64,
}

/// Checks one list with all four systems being asked.
async fn ask_now(contacts: usize, recipients: usize) -> anyhow::Result<Vec<Asked>> {
    let hub = Hub::start(contacts).await?;
    hub.round().await?;
    let known = hub.sandbox.emarketeer().addresses();
    let mut random = StdRng::seed_from_u64(SEED);
    let texts: Vec<String> = known
        .choose_multiple(&mut random, recipients)
        .cloned()
        .collect();
    ensure!(texts.len() == recipients, "there are too few addresses");
    let desk = Desk::new(Arc::new(crew(&hub.engine)));
    let ask = Ask {
        purpose: PURPOSES[0].to_owned(),
        people: desk.people(&texts).await?,
        freshness: Freshness::Within(Duration::ZERO),
    };
    hub.take_tally();
    let begun = Instant::now();
    let checklist = desk.check(&ask).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let tally = hub.take_tally();
    ensure!(
        checklist.counts().of(Answer::Unverified) == 0,
        "not everybody was verified: {:?}",
        checklist.reports
    );
    let mut asked = Vec::new();
    for system in SYSTEMS {
        let report = checklist
            .reports
            .iter()
            .find(|report| report.system == system)
            .with_context(|| format!("{system} was not asked"))?;
        let kinds: Vec<String> = tally
            .of(system, Step::LookUp)
            .map(|(kind, count)| format!("{kind:?} {count}"))
            .collect();
        asked.push(Asked {
            recipients,
            system,
            batch: report.batch,
            look_ups: report.look_ups,
            calls: tally.count(system, Step::LookUp),
            kinds: kinds.join(", "),
            seconds,
        });
    }
    Ok(asked)
}

fn print_asked(contacts: usize, asked: &[Asked]) {
    let mut table = table(
        [
            "system",
            "recipients",
            "batch",
            "look-ups",
            "calls",
            "calls each",
            "list s",
            "of which",
        ],
        1,
    );
    for row in asked {
        table.add_row([
            row.system.to_owned(),
            row.recipients.to_string(),
            row.batch.to_string(),
            row.look_ups.to_string(),
            row.calls.to_string(),
            format!("{:.3}", row.calls as f64 / row.recipients as f64),
            format!("{:.2}", row.seconds),
            row.kinds.clone(),
        ]);
    }
    println!("lists that are checked now, of systems with {contacts} contacts each\n{table}");
}
