//! A hundred thousand contacts a system, read to the end and polled, in reasonable time.

use std::time::{Duration, Instant};

use crate::client::{Client, sandbox};

/// Generous: an unoptimised build on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_large_org_is_served_quickly() {
    let start = Instant::now();
    let sandbox = sandbox(100_000).await;
    println!("start {:?}", start.elapsed());
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let asked = Instant::now();
    let mut page = client
        .query("SELECT Id, Email, HasOptedOutOfEmail, SystemModstamp FROM Contact ORDER BY SystemModstamp, Id")
        .await;
    println!("first page {:?}", asked.elapsed());
    let mut rows = 0;
    loop {
        rows += page["records"].as_array().unwrap().len();
        let Some(next) = page["nextRecordsUrl"].as_str() else {
            break;
        };
        page = client.get(next).await.1;
    }
    assert_eq!(rows, 100_000);
    println!("all pages {:?}", asked.elapsed());
    let polled = Instant::now();
    let since = (org.now() - chrono::TimeDelta::minutes(10)).format("%Y-%m-%dT%H:%M:%SZ");
    client
        .query(&format!(
            "SELECT Id FROM Contact WHERE SystemModstamp >= {since} ORDER BY SystemModstamp, Id"
        ))
        .await;
    println!("poll {:?}", polled.elapsed());
    assert!(start.elapsed() < PATIENCE);
}
