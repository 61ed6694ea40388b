//! What the ledger of an SQLite store says.

use consentd::store::ledger::unpack;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use std::path::Path;

/// Kind and body of every entry, in order.
pub(crate) async fn entries(path: &Path) -> Vec<(String, Value)> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = options.connect().await.unwrap();
    let sql = "SELECT first, entries FROM ledger_blocks ORDER BY last";
    let blocks: Vec<(i64, Vec<u8>)> = sqlx::query_as(sql)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut entries = Vec::new();
    for (first, packed) in &blocks {
        for entry in unpack(*first, packed) {
            let (_, row) = entry.unwrap();
            entries.push((row.kind, serde_json::from_str(&row.body).unwrap()));
        }
    }
    entries
}

/// What operators did, in order.
pub(crate) async fn acts(path: &Path) -> Vec<Value> {
    let entries = entries(path).await.into_iter();
    let by_operators = entries.filter(|(kind, _)| kind == "operator");
    by_operators.map(|(_, body)| body).collect()
}
