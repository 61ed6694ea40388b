//! Opening the file: who may, with which guarantees, and which schema.

use super::SqliteStore;
use crate::store::common::{check_schema, failed, not_migrated};
use crate::store::{Access, StoreError};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _, SqlitePool};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Earlier versions can lose committed pages in WAL mode.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// Readers beside the one writer.
const READERS: u32 = 3;

/// How long a statement waits for its turn on the writing connection. Turns are fractions of a
/// second, so this only ends when something hangs.
const TURN: Duration = Duration::from_secs(30);

/// How long SQLite waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// Pages of the log before it is folded into the database: 128 MiB. A page that many transactions
/// change is then written to the database once.
const CHECKPOINT_PAGES: &str = "32768";

/// Memory for database pages, for every connection: 8 MiB. The operating system keeps the rest.
const CACHE_KIB: &str = "-8192";

pub(super) async fn open(path: &Path, access: Access) -> Result<SqliteStore, StoreError> {
    let lock = match access {
        Access::Daemon => Some(claim_file(path)?),
        Access::Tool => {
            check_present(path)?;
            None
        }
    };
    let options = options(path);
    let writer = pool(1, options.clone());
    check_engine(&writer).await?;
    check_schema(&MIGRATIONS, &applied(&writer).await?, access)?;
    if access == Access::Daemon {
        MIGRATIONS.run(&writer).await.map_err(not_migrated)?;
    }
    let readers = pool(READERS, options.pragma("query_only", "ON"));
    let sequence: i64 = sqlx::query_scalar("SELECT next_sequence - 1 FROM counters")
        .fetch_one(&writer)
        .await
        .map_err(failed("opening the store"))?;
    Ok(SqliteStore {
        writer,
        readers,
        sequence: AtomicI64::new(sequence),
        statements: AtomicU64::new(0),
        path: path.to_owned(),
        lock,
    })
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // R55: what is removed is overwritten, also in pages that stay.
        .pragma("secure_delete", "ON")
        .busy_timeout(BUSY)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", CACHE_KIB)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", "134217728")
        .row_buffer_size(1024)
        .disable_statement_logging()
}

fn pool(connections: u32, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(TURN)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Makes the folder and the file if they are missing, and sees to it that no other daemon has it.
fn claim_file(path: &Path) -> Result<File, StoreError> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| unusable(folder, "the folder cannot be made", &error))?;
    }
    let lock_path = beside(path, ".lock");
    let lock = private(&lock_path)
        .map_err(|error| unusable(&lock_path, "the lock file cannot be opened", &error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Unusable(format!(
                "another consentd runs on {}; one SQLite store serves one daemon, so stop that one \
                 first, or use Postgres for several",
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => {
            return Err(unusable(
                &lock_path,
                "the lock file cannot be locked",
                &error,
            ));
        }
    }
    // Its log and its index of the log get the permissions of the file itself from SQLite. A file
    // that is there is not opened: closing it would drop the locks SQLite has on it.
    if !path.exists() {
        private(path).map_err(|error| unusable(path, "the file cannot be made", &error))?;
    }
    check_private(path)?;
    Ok(lock)
}

pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn check_present(path: &Path) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(_) => check_private(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::Unusable(format!(
                "there is no state store at {}; it is made by `consentd migrate` or by the daemon",
                path.display()
            )))
        }
        Err(error) => Err(unusable(path, "the file cannot be opened", &error)),
    }
}

/// The store holds addresses: nobody else may read it (R55).
fn check_private(path: &Path) -> Result<(), StoreError> {
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        let mode = match fs::metadata(&path) {
            Ok(metadata) => metadata.permissions().mode(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unusable(&path, "the file cannot be opened", &error)),
        };
        if mode & 0o077 != 0 {
            return Err(StoreError::Unusable(format!(
                "other users have access to {0} (mode {1:03o}), which holds addresses; run: \
                 chmod 600 {0}",
                path.display(),
                mode & 0o777
            )));
        }
    }
    Ok(())
}

pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn unusable(path: &Path, what: &str, error: &io::Error) -> StoreError {
    StoreError::Unusable(format!("{what}: {}: {error}", path.display()))
}

/// Asks SQLite whether it is, and does, what the guarantees rest on.
async fn check_engine(writer: &SqlitePool) -> Result<(), StoreError> {
    let sql = "SELECT sqlite_version(), j.journal_mode, s.synchronous, f.foreign_keys \
               FROM pragma_journal_mode j, pragma_synchronous s, pragma_foreign_keys f";
    let row = sqlx::query(sql)
        .fetch_one(writer)
        .await
        .map_err(not_a_store)?;
    let read = || -> Result<(String, String, i64, bool), sqlx::Error> {
        Ok((
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        ))
    };
    let (version, journal, synchronous, foreign_keys) =
        read().map_err(failed("opening the store"))?;
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let mut number = || numbers.next().unwrap_or(0);
    if (number(), number(), number()) < OLDEST_SQLITE {
        return Err(StoreError::Unusable(format!(
            "SQLite {version} is too old, at least 3.51.3 is needed: earlier versions can lose \
             committed changes"
        )));
    }
    if journal != "wal" || synchronous != 2 || !foreign_keys {
        return Err(StoreError::Unusable(format!(
            "SQLite does not keep the file safe here (journal_mode {journal}, synchronous \
             {synchronous}); put the state store on a local disk"
        )));
    }
    Ok(())
}

fn not_a_store(error: sqlx::Error) -> StoreError {
    match error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .as_deref()
    {
        Some("26") => StoreError::Unusable("the state store's file is no SQLite database".into()),
        _ => failed("opening the store")(error),
    }
}

/// The migrations that the file has, as (version, completed).
pub(super) async fn applied(writer: &SqlitePool) -> Result<Vec<(i64, bool)>, StoreError> {
    let what = "reading the schema's version";
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let found: i64 = sqlx::query_scalar(table)
        .fetch_one(writer)
        .await
        .map_err(failed(what))?;
    if found == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, success FROM _sqlx_migrations ORDER BY version")
        .fetch_all(writer)
        .await
        .map_err(failed(what))
}
