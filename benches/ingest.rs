//! How fast a first load goes, and how much memory it takes.
//!
//! `cargo bench --bench ingest [-- contacts …]` loads 100,000 and 1,000,000 Salesforce contacts
//! through the whole pipeline – fetch, parse, store, resolve, ledger – from a server that has every
//! page ready, into SQLite with its ordinary guarantees. Beside each load, in the same run, stands
//! what cannot be saved: fetching the same pages and discarding them, and one bare insert of the
//! same contacts. Each part runs in a process of its own, so that its memory and CPU are its own;
//! all of them share the machine's cores. Speed never fails the run, only errors do.

#[path = "common/parts.rs"]
mod parts;
#[path = "common/show.rs"]
mod show;

use anyhow::{Context as _, bail, ensure};
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use consentd::config::{self, Checked, SecretFile, SecretReader};
use consentd::connector::http::{Body, Call, Http, Limits, Method};
use consentd::connector::salesforce::wire::soql::full_id;
use consentd::runtime::clock;
use consentd::store::{Access, SqliteStore, Store};
use consentd::sync::engine::{Event, Listener, Parts, assemble};
use consentd::sync::poll::poll;
use consentd_sandbox::people::{SalesforceContact, generate};
use parts::{report, run};
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use serde_json::json;
use show::{block_on, table};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Contacts of the two loads; the limits hold at both.
const SIZES: [usize; 2] = [100_000, 1_000_000];
/// Contacts of the smoke run, which only shows that everything still fits together.
const SMOKE: usize = 5_000;
/// The pipeline may take so many times what fetching and inserting alone take.
const MOST_RATIO: f64 = 3.0;
/// Most memory of the pipeline, in MB.
const MOST_MEMORY: f64 = 100.0;
/// Contacts per second that the pipeline must reach, and those it should.
const RATES: (f64, f64) = (40_000.0, 75_000.0);
/// The platform's largest page.
const PAGE_ROWS: usize = 2_000;
/// Contacts per transaction of the bare insert.
const INSERT_ROWS: usize = 10_000;
/// The same people in every process.
const SEED: u64 = 1;
/// The API version that the server offers.
const VERSION: &str = "66.0";
/// The vendor's present, which decides when the people were created: 2026-05-01.
const PRESENT_SECS: i64 = 1_777_593_600;
const FLAG: &str = "HasOptedOutOfEmail";
const BOXES: [&str; 4] = [
    "Email_Alumni_News__c",
    "Email_Events__c",
    "Email_Giving__c",
    "Email_Research__c",
];
const USERS: [&str; 4] = [
    "0055e000001XYZaAAG",
    "0055e000001XYZbAAG",
    "0055e000001XYZcAAG",
    "0055e000001XYZdAAG",
];
/// As a link to the next page stands in an answer: a cursor and an offset.
const LOCATOR: &str = "0r8xx3d00000001AAA";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", contacts] => block_on(serve(contacts.parse()?)),
        ["fetch", url] => report(block_on(fetch(url))?),
        ["insert", contacts, folder] => {
            report(block_on(insert(contacts.parse()?, folder.as_ref()))?)
        }
        ["load", url, folder] => report(block_on(load(url, folder.as_ref()))?),
        // cargo passes this word when it benches, and does not when it tests.
        words if words.contains(&"--bench") => {
            let sizes: Result<Vec<usize>, _> = words
                .iter()
                .filter(|word| !word.starts_with("--"))
                .map(|word| word.parse())
                .collect();
            let sizes = sizes.context("the arguments are numbers of contacts")?;
            measure(if sizes.is_empty() { &SIZES } else { &sizes })
        }
        _ => measure(&[SMOKE]),
    }
}

// ---------------------------------------------------------------- the run

/// Measures every size and prints the tables.
fn measure(sizes: &[usize]) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for contacts in sizes.iter().copied() {
        let folder = tempfile::tempdir()?;
        let server = Server::start(contacts)?;
        let folder_name = folder
            .path()
            .to_str()
            .context("the temporary folder has no readable name")?;
        let fetched: Part = run(&["fetch", &server.url])?;
        let inserted: Part = run(&["insert", &contacts.to_string(), folder_name])?;
        let loaded: Loaded = run(&["load", &server.url, folder_name])?;
        ensure!(
            loaded.first.contacts == contacts as u64,
            "{} contacts were loaded",
            loaded.first.contacts
        );
        ensure!(
            loaded.poison == 0,
            "{} records were not understood",
            loaded.poison
        );
        ensure!(
            loaded.again.rows == 0,
            "the second load wrote {} rows",
            loaded.again.rows
        );
        rows.push(Measured {
            contacts,
            fetched,
            inserted,
            loaded,
        });
    }
    print_tables(&rows);
    Ok(())
}

/// One size.
struct Measured {
    contacts: usize,
    fetched: Part,
    inserted: Part,
    loaded: Loaded,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.loaded.first.part.seconds / (self.fetched.seconds + self.inserted.seconds)
    }
}

/// What a part of the run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Part {
    seconds: f64,
    /// Of all its threads.
    cpu_seconds: f64,
    /// Most memory the process ever had by then, in MB.
    peak: f64,
}

/// One load of everything.
#[derive(Debug, Serialize, Deserialize)]
struct Pass {
    part: Part,
    contacts: u64,
    rows: u64,
    /// Bytes that went into the store's log.
    logged: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Loaded {
    first: Pass,
    /// The same once more, from the beginning.
    again: Pass,
    poison: u64,
    /// Bytes of the store after the first load.
    stored: u64,
}

fn print_tables(rows: &[Measured]) {
    let mut table = table(
        [
            "contacts",
            "part",
            "seconds",
            "CPU s",
            "contacts/s",
            "peak MB",
            "rows",
            "log MB",
        ],
        2,
    );
    for row in rows {
        let mut line = |name: &str, part: &Part, pass: Option<&Pass>| {
            table.add_row([
                row.contacts.to_string(),
                name.to_owned(),
                format!("{:.2}", part.seconds),
                format!("{:.2}", part.cpu_seconds),
                format!("{:.0}", row.contacts as f64 / part.seconds),
                format!("{:.0}", part.peak),
                pass.map_or_else(String::new, |pass| pass.rows.to_string()),
                pass.and_then(|pass| pass.logged)
                    .map_or_else(String::new, |logged| format!("{:.1}", megabytes(logged))),
            ]);
        };
        line("fetch and discard", &row.fetched, None);
        line("bare insert", &row.inserted, None);
        line(
            "first load",
            &row.loaded.first.part,
            Some(&row.loaded.first),
        );
        line(
            "same load again",
            &row.loaded.again.part,
            Some(&row.loaded.again),
        );
    }
    println!("{table}");
    let (least, aim) = RATES;
    for row in rows {
        println!(
            "{:>9} contacts: {:.2} x (fetch + insert), limit {MOST_RATIO:.0}; {:.0}/s, limit {least:.0}, aim {aim:.0}; \
             peak {:.0} MB, limit {MOST_MEMORY:.0}; store {:.0} MB",
            row.contacts,
            row.ratio(),
            row.contacts as f64 / row.loaded.first.part.seconds,
            row.loaded.first.part.peak.max(row.loaded.again.part.peak),
            megabytes(row.loaded.stored),
        );
    }
    if let [small, .., large] = rows {
        let time = large.loaded.first.part.seconds / small.loaded.first.part.seconds;
        let size = large.contacts as f64 / small.contacts as f64;
        println!("time grows with contacts^{:.3}", time.ln() / size.ln());
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Measures this process from here on.
struct Watch {
    begun: Instant,
    cpu: f64,
}

impl Watch {
    fn start() -> anyhow::Result<Self> {
        Ok(Self {
            cpu: cpu_seconds()?,
            begun: Instant::now(),
        })
    }

    fn stop(&self) -> anyhow::Result<Part> {
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok(Part {
            seconds,
            cpu_seconds: cpu_seconds()? - self.cpu,
            peak: peak()?,
        })
    }
}

/// CPU time of this process so far; fields 14 and 15 of its `stat`, in ticks of 10 ms.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat
        .rsplit_once(") ")
        .context("/proc/self/stat is not as expected")?;
    let ticks: f64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / 100.0)
}

/// The most memory this process ever had, in MB.
fn peak() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmHWM")?
        .trim()
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

// ---------------------------------------------------------------- the contacts

/// The contacts of every process, with their ids in the order of the feed.
fn contacts(count: usize) -> anyhow::Result<impl Iterator<Item = (String, SalesforceContact)>> {
    let present = chrono::DateTime::from_timestamp(PRESENT_SECS, 0).context("no such time")?;
    let people = generate(count, SEED, present, BOXES.len());
    Ok(people
        .into_iter()
        .flat_map(|person| person.salesforce)
        .enumerate()
        .map(|(number, contact)| (id(number), contact)))
}

/// A record id: ids rise in steps, as they do where other objects are made in between.
fn id(number: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = number * 7;
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % DIGITS.len()];
        rest /= DIGITS.len();
    }
    let short = format!("0035e{}", String::from_utf8_lossy(&digits));
    full_id(&short).unwrap_or(short)
}

/// Who made the contact, and who changed it last.
fn users(number: usize, contact: &SalesforceContact) -> (&'static str, &'static str) {
    let creator = number % 2;
    let modifier = if contact.modified == contact.created {
        creator
    } else if contact.opted_out_by_agent {
        3
    } else {
        number % 3
    };
    (USERS[creator], USERS[modifier])
}

fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

// ---------------------------------------------------------------- the server

/// The server in its own process; it ends with this value.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(contacts: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", &contacts.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the server did not start")?;
        let mut url = String::new();
        let output = child.stdout.take().context("the server has no output")?;
        BufReader::new(output).read_line(&mut url)?;
        ensure!(!url.is_empty(), "the server did not get ready");
        Ok(Self {
            child,
            url: url.trim().to_owned(),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The answers that are ready.
struct Ready {
    pages: Vec<Bytes>,
    contacts: usize,
    url: String,
}

/// Serves until its input ends.
async fn serve(contacts: usize) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let ready = Arc::new(Ready {
        pages: pages(contacts)?,
        contacts,
        url: url.clone(),
    });
    let routes = Router::new()
        .route("/services/oauth2/token", post(token))
        .route(
            "/services/data",
            get(|| async { Json(json!([{ "version": VERSION }])) }),
        )
        .route(
            "/services/data/{version}/sobjects/{object}/describe",
            get(describe),
        )
        .route("/services/data/{version}/queryAll", get(first_page))
        .route("/services/data/{version}/query", get(first_page))
        .route("/services/data/{version}/query/{locator}", get(next_page))
        .with_state(ready);
    println!("{url}");
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        served = axum::serve(listener, routes) => served?,
        _ = closed => {}
    }
    Ok(())
}

/// Every page of the query for all contacts, as the platform would write it.
fn pages(count: usize) -> anyhow::Result<Vec<Bytes>> {
    let mut pages = Vec::new();
    let mut records = Vec::with_capacity(PAGE_ROWS);
    for (number, (id, contact)) in contacts(count)?.enumerate() {
        records.push(record(number, &id, &contact));
        if records.len() == PAGE_ROWS || number + 1 == count {
            let done = number + 1 == count;
            let next = if done {
                String::new()
            } else {
                format!(
                    r#""nextRecordsUrl":"/services/data/v{VERSION}/query/{LOCATOR}-{}","#,
                    number + 1
                )
            };
            let records = std::mem::take(&mut records).join(",");
            pages.push(
                format!(r#"{{"totalSize":{count},"done":{done},{next}"records":[{records}]}}"#)
                    .into(),
            );
        }
    }
    Ok(pages)
}

/// One record with the fields in the order in which the connector asks for them.
fn record(number: usize, id: &str, contact: &SalesforceContact) -> String {
    let (creator, modifier) = users(number, contact);
    let boxes = BOXES
        .iter()
        .zip(&contact.preferences)
        .fold(String::new(), |text, (name, ticked)| {
            format!(r#"{text}"{name}":{ticked},"#)
        });
    let modified = time(contact.modified);
    format!(
        r#"{{"attributes":{{"type":"Contact","url":"/services/data/v{VERSION}/sobjects/Contact/{id}"}},"Id":"{id}","IsDeleted":false,"CreatedDate":"{created}","CreatedById":"{creator}","LastModifiedDate":"{modified}","LastModifiedById":"{modifier}","SystemModstamp":"{modified}","Email":{address},"{FLAG}":{flag},{boxes}"Ascend_ID__c":{link},"MasterRecordId":null}}"#,
        created = time(contact.created),
        address = json!(contact.address),
        flag = contact.opted_out,
        link = json!(contact.ascend_id),
    )
}

async fn token(State(ready): State<Arc<Ready>>) -> Json<serde_json::Value> {
    Json(json!({
        "access_token": "bench",
        "instance_url": ready.url,
        "id": format!("{}/id/00D5e000000abcdEAA/0055e000001XYZzAAG", ready.url),
        "token_type": "Bearer",
    }))
}

async fn describe() -> Json<serde_json::Value> {
    let texts = [
        "Id",
        "CreatedDate",
        "CreatedById",
        "LastModifiedDate",
        "LastModifiedById",
        "SystemModstamp",
        "Email",
        "Ascend_ID__c",
        "MasterRecordId",
    ];
    let field = |name: &str, kind: &str| json!({ "name": name, "type": kind, "updateable": true, "createable": true });
    let flags = ["IsDeleted", FLAG].into_iter().chain(BOXES);
    let fields: Vec<_> = texts
        .into_iter()
        .map(|name| field(name, "string"))
        .chain(flags.map(|name| field(name, "boolean")))
        .collect();
    Json(json!({ "fields": fields }))
}

/// Answers a query by its text: the count, the contacts from the first on, or nothing at all – no
/// contact has any history, and none has changed since.
async fn first_page(
    State(ready): State<Arc<Ready>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let text = asked.get("q").map_or("", String::as_str);
    if text.starts_with("SELECT COUNT()") {
        return Json(json!({ "totalSize": ready.contacts, "done": true, "records": [] }))
            .into_response();
    }
    if text.contains(" FROM Contact ORDER BY Id") {
        return page(&ready, 0);
    }
    Json(json!({ "totalSize": 0, "done": true, "records": [] })).into_response()
}

async fn next_page(
    State(ready): State<Arc<Ready>>,
    UrlPath((_, locator)): UrlPath<(String, String)>,
) -> Response {
    let offset = locator
        .rsplit_once('-')
        .and_then(|(_, offset)| offset.parse::<usize>().ok());
    page(&ready, offset.unwrap_or(usize::MAX))
}

fn page(ready: &Ready, offset: usize) -> Response {
    const LIMIT_INFO: HeaderName = HeaderName::from_static("sforce-limit-info");
    match ready.pages.get(offset / PAGE_ROWS) {
        Some(body) => {
            let headers = [
                (CONTENT_TYPE, "application/json;charset=UTF-8"),
                (LIMIT_INFO, "api-usage=18/100000"),
            ];
            (headers, body.clone()).into_response()
        }
        None => axum::http::StatusCode::NOT_FOUND.into_response(),
    }
}

// ---------------------------------------------------------------- what cannot be saved

/// Fetches every page one after the other, as the connector does, and discards it.
async fn fetch(url: &str) -> anyhow::Result<Part> {
    let http = Http::new(Limits {
        system: "salesforce".to_owned(),
        request_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        max_body_bytes: 32 * 1024 * 1024,
        max_concurrent: 4,
        max_calls_per_sec: 1_000,
    })?;
    let watch = Watch::start()?;
    for page in 0.. {
        let offset = page * PAGE_ROWS;
        let call = Call {
            kind: "query",
            method: Method::GET,
            url: format!("{url}/services/data/v{VERSION}/query/{LOCATOR}-{offset}").parse()?,
            headers: Vec::new(),
            bearer: None,
            secrets: Vec::new(),
            body: Body::None,
        };
        let answer = http.send(call).await?;
        match answer.status {
            200 => {}
            404 => break,
            status => bail!("the server answered {status}"),
        }
    }
    watch.stop()
}

/// The least that storing these contacts takes: one table with its key and one index.
async fn insert(count: usize, folder: &Path) -> anyhow::Result<Part> {
    let mut bare = SqliteConnectOptions::new()
        .filename(folder.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-32768")
        .pragma("wal_autocheckpoint", "32768")
        .disable_statement_logging()
        .connect()
        .await?;
    let schema = "CREATE TABLE contacts (
                    external TEXT PRIMARY KEY, address TEXT, link TEXT, created TEXT NOT NULL,
                    modified TEXT NOT NULL, modified_by TEXT NOT NULL, opted_out INTEGER NOT NULL,
                    box_0 INTEGER NOT NULL, box_1 INTEGER NOT NULL, box_2 INTEGER NOT NULL,
                    box_3 INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                  CREATE INDEX contacts_address ON contacts (address);";
    sqlx::raw_sql(schema).execute(&mut bare).await?;
    let contacts: Vec<_> = contacts(count)?.enumerate().collect();
    let watch = Watch::start()?;
    for chunk in contacts.chunks(INSERT_ROWS) {
        let rows: Vec<_> = chunk
            .iter()
            .map(|(number, (id, contact))| {
                let (_, modifier) = users(*number, contact);
                let times = (time(contact.created), time(contact.modified));
                (
                    id,
                    &contact.address,
                    &contact.ascend_id,
                    times.0,
                    times.1,
                    modifier,
                    contact.opted_out,
                    &contact.preferences,
                )
            })
            .collect();
        let sql = "INSERT INTO contacts SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, \
                     value ->> 5, value ->> 6, value ->> '$[7][0]', value ->> '$[7][1]', value ->> '$[7][2]', \
                     value ->> '$[7][3]' FROM json_each(?)";
        let mut transaction = bare.begin().await?;
        sqlx::query(sql)
            .bind(serde_json::to_string(&rows)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    let part = watch.stop()?;
    bare.close().await?;
    Ok(part)
}

// ---------------------------------------------------------------- the pipeline

/// Counts what the engine tells.
#[derive(Default)]
struct Count {
    contacts: AtomicU64,
    rows: AtomicU64,
    poison: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Listener for Count {
    fn hear(&self, _system: &str, event: Event) {
        let trouble = match event {
            Event::Stored {
                contacts,
                poison,
                rows,
            } => {
                self.contacts.fetch_add(contacts as u64, Ordering::Relaxed);
                self.poison.fetch_add(poison as u64, Ordering::Relaxed);
                self.rows.fetch_add(rows, Ordering::Relaxed);
                return;
            }
            Event::Fault(fault) => fault.to_string(),
            Event::Store(error) => error,
            Event::Standing { paused: true, .. } | Event::Standing { halted: true, .. } => {
                "the feed stands still".to_owned()
            }
            _ => return,
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }
}

/// Loads everything, and then everything once more.
async fn load(url: &str, folder: &Path) -> anyhow::Result<Loaded> {
    let path = folder.join("consentd.db");
    let checked = checked(url)?;
    let count = Arc::new(Count::default());
    let store = Arc::new(SqliteStore::open(&path, Access::Daemon).await?);
    let parts = Parts {
        store: Arc::<SqliteStore>::clone(&store),
        clock: Arc::new(clock::System),
        listener: Arc::<Count>::clone(&count),
        read_only: false,
    };
    let members = assemble(&checked, parts).await?;
    let member = members.first().context("no system is configured")?;
    let stop = CancellationToken::new();
    let pass = async || -> anyhow::Result<Pass> {
        let before = (
            count.contacts.load(Ordering::Relaxed),
            count.rows.load(Ordering::Relaxed),
        );
        let watch = Watch::start()?;
        let rules = member.log_in().await?;
        poll(member, &rules, &stop).await?;
        let part = watch.stop()?;
        if let Some(trouble) = count
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            bail!("{trouble}");
        }
        Ok(Pass {
            part,
            contacts: count.contacts.load(Ordering::Relaxed) - before.0,
            rows: count.rows.load(Ordering::Relaxed) - before.1,
            logged: None,
        })
    };
    let first = pass().await?;
    // Without its cursor the feed begins anew. Folding the log in shows what the load adds to it.
    let mut tool = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await?;
    sqlx::raw_sql("UPDATE systems SET cursor = NULL; PRAGMA wal_checkpoint(TRUNCATE);")
        .execute(&mut tool)
        .await?;
    tool.close().await?;
    let stored = size(&path);
    let mut again = pass().await?;
    again.logged = Some(size(&with_suffix(&path, "-wal")));
    store.close().await;
    Ok(Loaded {
        first,
        again,
        poison: count.poison.load(Ordering::Relaxed),
        stored,
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The configuration of a deployment that begins with one of its two systems, and asks that one as
/// fast as it answers.
fn checked(url: &str) -> anyhow::Result<Checked> {
    let purposes: String = ["", ".alumni-news", ".events", ".giving", ".research"]
        .map(|name| format!("[[purposes]]\nname = \"marketing{name}\"\n"))
        .concat();
    let auth = format!(
        r#"
grant = "client-credentials"
login_url = "{url}"
client_id = "bench"
client_secret_file = "/client.secret"
"#
    );
    let [news, events, giving, research] = BOXES;
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
max_calls_per_sec = 1000
bulk_query_above = 4294967295
[systems.salesforce.auth]
{auth}
[systems.salesforce.fields]
opt_out = "{FLAG}"
opt_out_purpose = "marketing"
link = "Ascend_ID__c"
[systems.salesforce.fields.preferences]
"marketing.alumni-news" = "{news}"
"marketing.events" = "{events}"
"marketing.giving" = "{giving}"
"marketing.research" = "{research}"

[systems.ascend]
kind = "ascend"
enabled = false
transport = "platform"
time_zone = "America/Denver"
precedence = 2
[systems.ascend.auth]
{auth}
[systems.ascend.opt_out]
purpose = "marketing"
mode = "contact-flag"
field = "{FLAG}"
polarity = "opt-out"
[systems.ascend.link]
field = "ucinn_ascendv2__Donor_ID__c"
system = "salesforce"
system_field = "Ascend_ID__c"
"#
    );
    Ok(config::check(&text, [], &Secrets)?)
}

/// Every secret file holds the same.
struct Secrets;

impl SecretReader for Secrets {
    fn read(&self, _path: &Path) -> std::io::Result<SecretFile> {
        let text = "5b1d6c0f9a7e43c2b8d4f1a06e97c3525f0b1e8d7a6c4932d1e0f9b8a7c6d5e4";
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Ok(SecretFile {
            bytes,
            mode: 0o400,
            credential: false,
        })
    }
}
