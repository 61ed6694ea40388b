//! Connecting: which server, with which settings, and which schema.

use super::PgStore;
use crate::store::common::{check_schema, failed, not_migrated};
use crate::store::{Access, StoreError};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool, Row as _};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;
use url::Url;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest version the suite runs on, as `server_version_num`.
const OLDEST_SERVER: i32 = 150_000;

/// Connections of one daemon: one decides, the others claim, settle and read.
const CONNECTIONS: u32 = 8;

/// A dead server shows as a time-out of the pool, so this one is short.
const ACQUIRE: Duration = Duration::from_secs(5);

/// Settings of each connection.
///
/// Every statement looks a set of keys up, and must use the indexes for it however small the tables
/// were when the plan was made: a scan or a hash of a whole table would be right for the first
/// page of a load, and stay in the cache.
const SETTINGS: [(&str, &str); 9] = [
    ("statement_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("synchronous_commit", "on"),
];

pub(super) async fn connect(
    url: &Url,
    password: Option<&SecretString>,
    access: Access,
) -> Result<PgStore, StoreError> {
    let pool = pool(url, password).await?;
    check_server(&pool).await?;
    check_schema(&MIGRATIONS, &applied(&pool).await?, access)?;
    if access == Access::Daemon {
        MIGRATIONS.run(&pool).await.map_err(not_migrated)?;
    }
    let sequence: i64 = sqlx::query_scalar("SELECT next_sequence - 1 FROM counters")
        .fetch_one(&pool)
        .await
        .map_err(failed("opening the store"))?;
    Ok(PgStore {
        pool,
        sequence: AtomicI64::new(sequence),
        statements: AtomicU64::new(0),
    })
}

/// Whether the database has a schema of ours, of whichever version.
pub(super) async fn is_made(
    url: &Url,
    password: Option<&SecretString>,
) -> Result<bool, StoreError> {
    let pool = pool(url, password).await?;
    let applied = applied(&pool).await;
    pool.close().await;
    Ok(!applied?.is_empty())
}

async fn pool(url: &Url, password: Option<&SecretString>) -> Result<PgPool, StoreError> {
    let mut options = PgConnectOptions::from_url(url)
        .map_err(|_| unusable("the address of the Postgres store cannot be understood"))?
        .application_name("consentd")
        .options(SETTINGS)
        .disable_statement_logging();
    if let Some(password) = password {
        options = options.password(password.expose_secret());
    }
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        .connect_with(options)
        .await
        .map_err(failed("connecting to Postgres"))
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unusable(why.to_owned())
}

async fn check_server(pool: &PgPool) -> Result<(), StoreError> {
    let sql = "SELECT current_setting('server_version_num')::INTEGER, \
               current_setting('server_version'), current_setting('server_encoding'), \
               pg_is_in_recovery()";
    let what = failed("opening the store");
    let row = sqlx::query(sql)
        .fetch_one(pool)
        .await
        .map_err(failed("opening the store"))?;
    let read = || -> Result<(i32, String, String, bool), sqlx::Error> {
        Ok((
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        ))
    };
    let (number, version, encoding, standby) = read().map_err(what)?;
    if number < OLDEST_SERVER {
        return Err(StoreError::Unusable(format!(
            "Postgres {version} is too old, at least 15 is needed"
        )));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Unusable(format!(
            "the database has the encoding {encoding}; create it with ENCODING 'UTF8'"
        )));
    }
    if standby {
        return Err(unusable(
            "this Postgres is a standby; consentd decides on the primary only",
        ));
    }
    Ok(())
}

/// The migrations that the database has, as (version, completed).
async fn applied(pool: &PgPool) -> Result<Vec<(i64, bool)>, StoreError> {
    let what = "reading the schema's version";
    let table = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let found: bool = sqlx::query_scalar(table)
        .fetch_one(pool)
        .await
        .map_err(failed(what))?;
    if !found {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, success FROM _sqlx_migrations ORDER BY version")
        .fetch_all(pool)
        .await
        .map_err(failed(what))
}
