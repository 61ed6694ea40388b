//! Twenty thousand contacts a system, read to the end and polled.

use crate::client::{Client, sandbox};

const CONTACTS: usize = 20_000;

#[tokio::test]
async fn a_large_org_is_served_whole() {
    let sandbox = sandbox(CONTACTS).await;
    let org = sandbox.salesforce();
    let client = Client::login(&sandbox, org).await;
    let mut page = client
        .query("SELECT Id, Email, HasOptedOutOfEmail, SystemModstamp FROM Contact ORDER BY SystemModstamp, Id")
        .await;
    let mut rows = 0;
    loop {
        rows += page["records"].as_array().unwrap().len();
        let Some(next) = page["nextRecordsUrl"].as_str() else {
            break;
        };
        page = client.get(next).await.1;
    }
    assert_eq!(rows, CONTACTS);
    let since = (org.now() - chrono::TimeDelta::minutes(10)).format("%Y-%m-%dT%H:%M:%SZ");
    let polled = client
        .query(&format!(
            "SELECT Id FROM Contact WHERE SystemModstamp >= {since} ORDER BY SystemModstamp, Id"
        ))
        .await;
    assert_eq!(polled["done"], true);
}
