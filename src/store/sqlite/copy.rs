//! A copy of a store, in a SQLite file: of this one, or of one in another database.

use super::SqliteStore;
use super::open::{self, private, unusable};
use crate::store::common::failed;
use crate::store::{Access, Store as _, StoreError};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Sqlite};
use std::path::Path;

const WHAT: &str = "copying the store";

impl SqliteStore {
    pub(super) async fn copied_to(&self, path: &Path) -> Result<(), StoreError> {
        // SQLite fills an empty file, which keeps the mode it has.
        private(path).map_err(|error| unusable(path, "the file cannot be made", &error))?;
        sqlx::query("VACUUM INTO ?")
            .bind(path.display().to_string())
            .execute(&self.writer)
            .await
            .map_err(failed(WHAT))?;
        Ok(())
    }
}

/// One value of a row, whatever its type was where it came from.
pub(in crate::store) enum Cell {
    /// A number, or yes or no.
    Number(Option<i64>),
    /// A text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

/// Values that one statement takes at most, well below SQLite's bound.
const MOST_VALUES: usize = 8_000;

/// An empty store of this schema that takes the rows of another one, table by table.
pub(in crate::store) struct Sink {
    connection: SqliteConnection,
    /// The table that is being filled, with its columns, as SQL.
    into: String,
    columns: usize,
    waiting: Vec<Vec<Cell>>,
}

impl Sink {
    /// Makes the store.
    pub(in crate::store) async fn create(path: &Path) -> Result<Self, StoreError> {
        let made = open::open(path, Access::Daemon).await?;
        made.close().await;
        // Rows come table by table, so what they refer to may come later.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(false);
        let mut connection = SqliteConnection::connect_with(&options)
            .await
            .map_err(failed(WHAT))?;
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut connection)
            .await
            .map_err(failed(WHAT))?;
        Ok(Self {
            connection,
            into: String::new(),
            columns: 0,
            waiting: Vec::new(),
        })
    }

    /// The rows that follow belong to this table; those it has are replaced. Both names come from a
    /// schema of ours.
    pub(in crate::store) async fn begin(
        &mut self,
        table: &str,
        columns: &[&str],
    ) -> Result<(), StoreError> {
        self.flush().await?;
        let clear = format!("DELETE FROM {table}");
        sqlx::query(AssertSqlSafe(clear))
            .execute(&mut self.connection)
            .await
            .map_err(failed(WHAT))?;
        self.into = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
        self.columns = columns.len();
        Ok(())
    }

    /// Takes a row.
    pub(in crate::store) async fn put(&mut self, row: Vec<Cell>) -> Result<(), StoreError> {
        self.waiting.push(row);
        if (self.waiting.len() + 1) * self.columns > MOST_VALUES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        let rows = vec![row; self.waiting.len()].join(", ");
        let sql = format!("{}{rows}", self.into);
        let mut query: sqlx::query::Query<'_, Sqlite, SqliteArguments> =
            sqlx::query(AssertSqlSafe(sql));
        for cell in self.waiting.drain(..).flatten() {
            query = match cell {
                Cell::Number(number) => query.bind(number),
                Cell::Text(text) => query.bind(text),
                Cell::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
            .execute(&mut self.connection)
            .await
            .map_err(failed(WHAT))?;
        Ok(())
    }

    /// Keeps everything.
    pub(in crate::store) async fn finish(mut self) -> Result<(), StoreError> {
        self.flush().await?;
        sqlx::query("COMMIT")
            .execute(&mut self.connection)
            .await
            .map_err(failed(WHAT))?;
        self.connection.close().await.map_err(failed(WHAT))
    }
}
