//! Opening a store: schema, permissions, one daemon a file; and what only shows with both databases.

use crate::bench::{Bench, contact, entry, moved, named, subject};
use crate::postgres_server::Database;
use consentd::store::ledger::{Head, verify_range};
use consentd::store::{
    Access, Applied, Changes, PgStore, SqliteStore, Store, StoreError, StoreSettings, open,
};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn why(opened: Result<impl Sized, StoreError>) -> String {
    match opened {
        Ok(_) => panic!("it was opened"),
        Err(StoreError::Unusable(why)) => why,
        Err(error) => panic!("another error: {error}"),
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) async fn a_newer_or_broken_schema_is_refused(bench: Bench) {
    bench.close().await;
    let newer = "INSERT INTO _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 VALUES (8, 'later', TRUE, 'x', 1)";
    bench.tamper(newer).await;
    for access in [Access::Daemon, Access::Tool] {
        let why = bench.refusal(access).await;
        assert!(
            why.contains("schema 8") && why.contains("schema 7"),
            "{why}"
        );
    }
    bench
        .tamper("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 8")
        .await;
    let why = bench.refusal(Access::Daemon).await;
    assert!(
        why.contains("migration 8") && why.contains("midway"),
        "{why}"
    );
    bench
        .tamper("DELETE FROM _sqlx_migrations WHERE version = 8")
        .await;
    bench
        .tamper("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1")
        .await;
    let why = bench.refusal(Access::Daemon).await;
    assert!(why.contains("migration 1"), "{why}");
    bench.tamper("DELETE FROM _sqlx_migrations").await;
    let why = bench.refusal(Access::Tool).await;
    assert!(
        why.contains("schema 0") && why.contains("consentd migrate"),
        "{why}"
    );
}

pub(crate) async fn a_tool_works_beside_the_daemon(bench: Bench) {
    bench.populate(2).await;
    let tool = bench.beside().await;
    assert_eq!(tool.sequence(), 0);
    let ledger = Changes {
        ledger: vec![entry("operator", None, 1)],
        ..Changes::default()
    };
    assert_eq!(tool.put(ledger.clone()).await, 1);
    assert_eq!(bench.put(ledger).await, 1);
    assert_eq!((tool.sequence(), bench.sequence()), (1, 2));
    assert_eq!(tool.around(&[(1, "c2")]).await.subjects, [subject(2)]);
    tool.close().await;
}

pub(crate) async fn two_that_store_the_same_page_store_it_once(bench: Bench) {
    let other = bench.beside().await;
    let page = |who: &str, number: i64| Changes {
        subjects: Vec::new(),
        contacts: vec![contact(1, &format!("{who}{number}"), None)],
        ledger: vec![entry("observed", None, number)],
        feed: Some(moved(
            &number.to_string(),
            (number > 0).then(|| (number - 1).to_string()).as_deref(),
        )),
        ..Changes::default()
    };
    for number in 0..10 {
        let scope = named(&[(1, "a")]);
        let (one, two) = tokio::join!(
            bench.try_put(&scope, page("a", number)),
            other.try_put(&scope, page("b", number)),
        );
        let stored = [one.unwrap(), two.unwrap()];
        assert!(stored.contains(&Applied::Stored { rows: 2 }), "{stored:?}");
        assert!(stored.contains(&Applied::Overtaken), "{stored:?}");
    }
    assert_eq!(bench.known(&named(&[])).await.next_sequence, 11);
    other.close().await;
}

#[tokio::test]
async fn the_ledger_has_the_same_digests_on_both_databases() {
    let (sqlite, postgres) = (Bench::sqlite().await, Bench::postgres().await);
    for bench in [&sqlite, &postgres] {
        bench.populate(2).await;
        for count in [3, 1, 40] {
            let ledger = (0..count)
                .map(|at| entry("verdict", Some(1 + at % 2), at))
                .collect();
            bench
                .put(Changes {
                    ledger,
                    ..Changes::default()
                })
                .await;
        }
    }
    let stored = sqlite.chain().await;
    assert_eq!(stored, postgres.chain().await);
    let mut previous = Head::START;
    for stored in &stored {
        assert_eq!(verify_range(&previous, stored, &mut |_, _| {}), Ok(()));
        previous = Head::from(&stored.block);
    }
    let last = stored.iter().map(|stored| stored.block.last);
    assert_eq!(last.collect::<Vec<_>>(), [3, 4, 44]);
}

#[tokio::test]
async fn a_second_daemon_on_one_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let first = SqliteStore::open(&path, Access::Daemon).await.unwrap();
    let refused = why(SqliteStore::open(&path, Access::Daemon).await);
    assert!(refused.contains("another consentd runs on"), "{refused}");
    first.close().await;
    drop(first);
    let settings = StoreSettings::Sqlite { path };
    open(&settings, Access::Daemon).await.unwrap().close().await;
}

#[tokio::test]
async fn nobody_else_may_read_the_file() {
    let folder = tempfile::tempdir().unwrap();
    chmod(folder.path(), 0o755);
    let path = folder.path().join("new/folder/state.db");
    let missing = why(SqliteStore::open(&path, Access::Tool).await);
    assert!(missing.contains("there is no state store at"), "{missing}");
    let store = SqliteStore::open(&path, Access::Daemon).await.unwrap();
    store.probe_writable(crate::bench::at(1)).await.unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        assert_eq!(mode(Path::new(&file)), 0o600, "{suffix}");
    }
    store.close().await;
    drop(store);
    chmod(&path, 0o640);
    for access in [Access::Daemon, Access::Tool] {
        let refused = why(SqliteStore::open(&path, access).await);
        assert!(
            refused.contains("mode 640") && refused.contains("chmod 600"),
            "{refused}"
        );
    }
    chmod(&path, 0o600);
    fs::write(
        &path,
        "no database, but long enough to be looked at as one by the library",
    )
    .unwrap();
    let refused = why(SqliteStore::open(&path, Access::Daemon).await);
    assert!(refused.contains("no SQLite database"), "{refused}");
}

#[tokio::test]
async fn the_settings_choose_the_database() {
    let database = Database::create().await;
    let settings = StoreSettings::Postgres {
        url: database.url.clone(),
        password: Some("unused".into()),
    };
    let store = open(&settings, Access::Daemon).await.unwrap();
    let names = ["salesforce".to_owned()];
    assert_eq!(store.register_systems(&names).await.unwrap(), [1]);
    store.close().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_not_available() {
    let mut url = Database::create().await.url.clone();
    url.set_query(Some("host=/nonexistent"));
    let error = PgStore::connect(&url, None, Access::Daemon)
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}
