//! A copy of a store in a SQLite file. The tables and columns are taken from the databases themselves, so
//! that one that is added later and not copied fails here.

use crate::bench::{
    Bench, contact, entry, flip, load_key, moved, puts, quarantined, reference, subject, withdrawal,
};
use crate::gate::request;
use consentd::store::{
    Access, AlarmChanges, AlarmPost, AlarmRow, AlarmStep, Changes, ContactRow, Decided,
    GateChanges, GateRound, HeldRow, HoldChanges, HoldRow, OutboxRow, PLANNED, PlanningChange,
    PrivacyChanges, SCHEDULED, SendoutHead, SendoutRow, SqliteStore, Store as _, SuppressionRow,
};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What only one of the two schemas has: a value that is written to prove that it can be.
const OWN: [(&str, &str); 2] = [("counters", "probed_at"), ("probes", "")];

/// The rows of all tables as texts, by table and column.
type Rows = BTreeMap<String, (Vec<String>, Vec<Vec<String>>)>;

fn is_shared(table: &str, column: &str) -> bool {
    !OWN.iter()
        .any(|(of, own)| *of == table && (own.is_empty() || *own == column))
}

/// How a value is written so that both databases write it alike.
fn text(column: &str, type_name: &str) -> String {
    match type_name {
        "BLOB" => format!("coalesce(hex({column}), '-')"),
        "bytea" => format!("coalesce(upper(encode({column}, 'hex')), '-')"),
        "bool" => format!("coalesce({column}::INTEGER::TEXT, '-')"),
        _ => format!("coalesce(CAST({column} AS TEXT), '-')"),
    }
}

macro_rules! dump {
    ($pool:expr, $tables:expr, $columns:expr) => {{
        let pool = $pool;
        let mut rows = Rows::new();
        let tables: Vec<String> = sqlx::query_scalar($tables).fetch_all(&pool).await.unwrap();
        for table in tables.iter().filter(|table| is_shared(table, "")) {
            let columns: Vec<(String, String)> = sqlx::query_as($columns)
                .bind(table)
                .fetch_all(&pool)
                .await
                .unwrap();
            let shared = columns.iter().filter(|(name, _)| is_shared(table, name));
            let (mut names, mut texts) = (Vec::new(), Vec::new());
            for (name, type_name) in shared {
                names.push(name.clone());
                texts.push(text(name, type_name));
            }
            let sql = format!("SELECT {} FROM {table}", texts.join(", "));
            let found = sqlx::query(AssertSqlSafe(sql))
                .fetch_all(&pool)
                .await
                .unwrap();
            let row = |row: &_| -> Vec<String> {
                (0..names.len())
                    .map(|place| sqlx::Row::get(row, place))
                    .collect()
            };
            let mut found: Vec<Vec<String>> = found.iter().map(row).collect();
            found.sort();
            rows.insert(table.clone(), (names, found));
        }
        pool.close().await;
        rows
    }};
}

async fn of_file(path: &Path) -> Rows {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    dump!(
        sqlx::SqlitePool::connect_with(options).await.unwrap(),
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
         AND name <> '_sqlx_migrations' ORDER BY name",
        "SELECT name, type FROM pragma_table_info(?) ORDER BY name"
    )
}

async fn of_bench(bench: &Bench) -> Rows {
    match bench {
        Bench::Sqlite(_, folder) => of_file(&folder.path().join("state.db")).await,
        Bench::Postgres(_, database) => dump!(
            sqlx::PgPool::connect(database.url.as_str()).await.unwrap(),
            "SELECT relname::TEXT FROM pg_class WHERE relkind = 'r' \
             AND relnamespace = current_schema()::REGNAMESPACE \
             AND relname <> '_sqlx_migrations' ORDER BY relname",
            "SELECT a.attname::TEXT, t.typname::TEXT FROM pg_attribute a \
             JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass($1) \
             AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname"
        ),
    }
}

/// Something in every table.
async fn fill(bench: &Bench) {
    bench.populate(3_000).await;
    let changes = Changes {
        subjects: vec![subject(3_001)],
        contacts: vec![ContactRow {
            own_subject: Some(2),
            link: Some("\u{1F4A5}\t\\\"'".to_owned()),
            ..contact(2, "ä", Some(1))
        }],
        load_members: vec![(load_key("ann", 5), "c1".to_owned())],
        flips: vec![flip(1, "marketing", 3)],
        quarantine: vec![quarantined("p", "bad", 1)],
        ledger: vec![entry("observed", Some(1), 1), entry("verdict", Some(2), 2)],
        feed: Some(moved("7", None)),
        decided: Some(Decided {
            policy: "p1".to_owned(),
            through: Some(3),
        }),
        gate: GateChanges {
            requests: vec![request(1, 1)],
            due: vec![(2, 9)],
            round: Some(GateRound {
                ended_at: 4,
                after: Some(5),
                sheet_at: 6,
            }),
            ..GateChanges::default()
        },
        planning: Some(PlanningChange::Begins),
        privacy: PrivacyChanges {
            suppressed: vec![SuppressionRow {
                digest: [7; 32],
                key: "identity".to_owned(),
                purpose: "marketing".to_owned(),
                since: 8,
                seen_at: None,
            }],
            expired: Some(("writes".to_owned(), 1)),
            ..PrivacyChanges::default()
        },
        holds: HoldChanges {
            opened: vec![HoldRow {
                id: 4,
                kind: "mass-change".to_owned(),
                system: 2,
                purpose: "marketing".to_owned(),
                withdrawn: false,
                actor: String::new(),
                opened_at: 5,
                closed_at: None,
            }],
            held: vec![HeldRow {
                subject: 1,
                hold: 4,
                purpose: "marketing".to_owned(),
                since: 6,
                released: false,
            }],
            ..HoldChanges::default()
        },
        ..Changes::default()
    };
    bench.put(changes).await;
    let planned = OutboxRow {
        state: PLANNED,
        ..withdrawal("c1", 1, 9)
    };
    bench.put(puts(&[planned])).await;
    let sendout = SendoutRow {
        head: SendoutHead {
            id: "s1".to_owned(),
            purpose: "marketing".to_owned(),
            created_by: "ann".to_owned(),
            created_at: 1,
            send_at: 2,
            addressed: 1,
            state: SCHEDULED,
            due_at: 3,
            settled_at: None,
            callback: None,
            posts: 0,
            post_error: None,
        },
        recipients: vec![Some(reference(1))],
        first: "{}".to_owned(),
        last: String::new(),
    };
    assert!(bench.put_sendout(&sendout, 9).await.unwrap());
    let alarm = AlarmRow {
        kind: "hold".to_owned(),
        about: "ascend".to_owned(),
        since: 1,
        raised_at: 2,
        cleared_at: None,
        text: "4 writes".to_owned(),
        posts: Vec::new(),
    };
    let put = AlarmChanges {
        put: vec![alarm],
        forget: Vec::new(),
    };
    bench.put_alarms(&put).await.unwrap();
    let post = AlarmPost {
        channel: "mail".to_owned(),
        told: true,
        attempts: 1,
        next_try: 7,
        error: None,
    };
    let step = AlarmStep {
        kind: "hold".to_owned(),
        about: "ascend".to_owned(),
        from_told: false,
        from_attempts: 0,
        post,
    };
    assert!(bench.step_alarm_post(&step).await.unwrap());
}

pub(crate) async fn a_copy_holds_every_row_of_every_table(bench: Bench) {
    fill(&bench).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    bench.copy_to(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds addresses");
    let (source, copied) = (of_bench(&bench).await, of_file(&path).await);
    let tables = |rows: &Rows| -> Vec<(String, Vec<String>)> {
        let tables = rows.iter();
        tables
            .map(|(table, (names, _))| (table.clone(), names.clone()))
            .collect()
    };
    assert_eq!(tables(&source), tables(&copied), "tables and columns");
    for (table, (_, rows)) in &source {
        assert!(
            !rows.is_empty(),
            "nothing is in {table}, so it proves nothing"
        );
        assert!(*rows == copied[table].1, "{table} differs");
    }
    let copy = SqliteStore::open(&path, Access::Daemon).await.unwrap();
    assert_eq!(copy.sequence(), bench.sequence());
    assert_eq!(copy.origin().await.unwrap(), bench.origin().await.unwrap());
    // What follows from the rows goes on from there.
    copy.register_systems(&["new".to_owned()]).await.unwrap();
    copy.close().await;
}

pub(crate) async fn a_copy_changes_nothing_and_waits_for_nobody(bench: Bench) {
    bench.populate(2).await;
    let before = of_bench(&bench).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    let tool = bench.beside().await;
    // It is made while a transaction is being decided.
    let mut copied = None;
    let (go, went) = std::sync::mpsc::channel();
    let mut work = Some((tool, path.clone(), went));
    let handle = tokio::runtime::Handle::current();
    let decide = &mut |_| {
        if let Some((tool, path, went)) = work.take() {
            let go = go.clone();
            let made = handle.spawn(async move {
                let made = tool.copy_to(&path).await;
                tool.close().await;
                go.send(()).unwrap();
                made
            });
            let limit = std::time::Duration::from_secs(20);
            let done = tokio::task::block_in_place(|| went.recv_timeout(limit));
            assert!(done.is_ok(), "it waits for the transaction");
            copied = Some(made);
        }
        Changes {
            ledger: vec![entry("operator", None, 1)],
            ..Changes::default()
        }
    };
    bench
        .transact(&consentd::store::Scope::default(), decide)
        .await
        .unwrap();
    copied.unwrap().await.unwrap().unwrap();
    assert_eq!(of_file(&path).await["subjects"], before["subjects"]);
    assert!(of_file(&path).await["ledger_blocks"].1.is_empty());
}
