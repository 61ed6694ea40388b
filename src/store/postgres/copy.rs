//! A copy of the store in a SQLite file, for whoever tries something out on it.
//!
//! Table by table and column by column as the database lists them, so that none can be forgotten: both
//! schemas have the same names.

use super::PgStore;
use crate::store::StoreError;
use crate::store::common::{failed, refused};
use crate::store::sqlite::{Cell, Sink};
use futures::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Postgres, Row as _, Transaction};
use std::path::Path;

const WHAT: &str = "copying the store";

/// How a column's values are handed over.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    Bytes,
}

/// A column, as it is selected and as it is called.
struct Column {
    name: String,
    kind: Kind,
    select: String,
}

impl PgStore {
    pub(super) async fn copied_to(&self, path: &Path) -> Result<(), StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut view = self.pool.begin_with(begin).await.map_err(failed(WHAT))?;
        // Whole tables are read, in as much time as it takes.
        for sql in [
            "SET LOCAL statement_timeout = 0",
            "SET LOCAL enable_seqscan = on",
        ] {
            sqlx::query(sql)
                .execute(&mut *view)
                .await
                .map_err(failed(WHAT))?;
        }
        let mut sink = Sink::create(path).await?;
        for table in tables(&mut view).await? {
            let columns = columns(&mut view, &table).await?;
            let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
            sink.begin(&table, &names).await?;
            let select: Vec<&str> = columns.iter().map(|column| &*column.select).collect();
            let sql = format!("SELECT {} FROM {table}", select.join(", "));
            let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *view);
            while let Some(row) = rows.try_next().await.map_err(failed(WHAT))? {
                let cells = columns.iter().enumerate();
                let cells = cells.map(|(place, column)| cell(&row, place, column.kind));
                let cells: Result<Vec<Cell>, sqlx::Error> = cells.collect();
                sink.put(cells.map_err(failed(WHAT))?).await?;
            }
        }
        view.rollback().await.map_err(failed(WHAT))?;
        sink.finish().await
    }
}

/// The tables of the schema, but for the one that says which it is, and the one that is only written to
/// prove that it can be.
async fn tables(view: &mut Transaction<'_, Postgres>) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT c.relname::TEXT FROM pg_class c \
               WHERE c.relnamespace = current_schema()::REGNAMESPACE AND c.relkind = 'r' \
                 AND c.relname NOT IN ('_sqlx_migrations', 'probes') ORDER BY c.relname";
    sqlx::query_scalar(sql)
        .fetch_all(&mut **view)
        .await
        .map_err(failed(WHAT))
}

async fn columns(
    view: &mut Transaction<'_, Postgres>,
    table: &str,
) -> Result<Vec<Column>, StoreError> {
    let sql = "SELECT a.attname::TEXT, t.typname::TEXT FROM pg_attribute a \
               JOIN pg_type t ON t.oid = a.atttypid \
               WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped \
               ORDER BY a.attnum";
    let found: Vec<(String, String)> = sqlx::query_as(sql)
        .bind(table)
        .fetch_all(&mut **view)
        .await
        .map_err(failed(WHAT))?;
    let columns = found.into_iter().map(|(name, type_name)| {
        let (kind, select) = match type_name.as_str() {
            "int2" | "int4" | "int8" => (Kind::Number, format!("{name}::BIGINT")),
            "bool" => (Kind::Number, format!("{name}::INTEGER::BIGINT")),
            "text" => (Kind::Text, name.clone()),
            "bytea" => (Kind::Bytes, name.clone()),
            other => {
                let why = format!("{table}.{name} has the type {other}, which cannot be copied");
                return Err(refused("a copy", why));
            }
        };
        Ok(Column { name, kind, select })
    });
    columns.collect()
}

fn cell(row: &PgRow, place: usize, kind: Kind) -> Result<Cell, sqlx::Error> {
    Ok(match kind {
        Kind::Number => Cell::Number(row.try_get(place)?),
        Kind::Text => Cell::Text(row.try_get(place)?),
        Kind::Bytes => Cell::Bytes(row.try_get(place)?),
    })
}
