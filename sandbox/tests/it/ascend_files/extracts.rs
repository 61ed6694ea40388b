//! Extracts of all constituents.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use consentd_sandbox::ascend_files::{AsOf, Behaviour, Exchange, Extract, Polarity, Spelling};
use serde_json::{Value, json};

use super::{Files, hex, stamp};
use crate::client::{fields, sandbox};

/// Rows of an extract by column.
fn rows(side: &Exchange, extract: &Extract) -> Vec<HashMap<String, String>> {
    let path = side.folder().join("inbound").join(&extract.file);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_path(path)
        .unwrap();
    let rows = reader.deserialize().filter_map(Result::ok);
    rows.collect()
}

#[tokio::test]
async fn an_extract_has_every_constituent_as_ascend_holds_it() {
    let files = Files::start().await;
    files.edit("D1", true);
    let deleted = files.contact("D8");
    files.org().delete(&deleted, "Records Specialist").unwrap();
    let extract = files.side().extract().unwrap();
    assert_eq!(extract.rows, 4);
    let found = rows(files.side(), &extract);
    let ids: Vec<&str> = found.iter().map(|row| row["ascend_id"].as_str()).collect();
    assert_eq!(ids, ["D1", "D2", "D3", "D3"]);
    assert_eq!(found[0]["email_value"], "TRUE");
    assert_eq!(found[1]["email_value"], "FALSE");
    assert_eq!(found[0]["email"], "D1@x.example");
    let seen: DateTime<Utc> = found[0]["as_of"].parse().unwrap();
    assert!((files.org().now() - seen).num_seconds() < 10);
    let created: DateTime<Utc> = found[0]["created_at"].parse().unwrap();
    assert_eq!((seen - created).num_days(), 100);

    let stem = extract.file.strip_suffix(".csv").unwrap();
    let manifest: Value =
        serde_json::from_str(&files.text(&format!("inbound/{stem}.manifest.json"))).unwrap();
    let text = files.text(&format!("inbound/{}", extract.file));
    assert_eq!(
        manifest,
        json!({"file": extract.file, "rows": 4, "sha256": hex(text.as_bytes()), "as_of": stamp(seen)})
    );
    assert!(text.ends_with('\n') && !text.contains('\r'));
    let again = files.side().extract().unwrap();
    assert_ne!(again.file, extract.file, "none is written over");

    // Named by the clock on the wall in Denver, six or seven hours behind.
    let name = stem.strip_prefix("ascend_email_extract_").unwrap();
    let name = NaiveDateTime::parse_from_str(name, "%Y%m%d-%H%M%S").unwrap();
    let behind = (seen.naive_utc() - name).num_seconds();
    assert!(behind == 6 * 3_600 || behind == 7 * 3_600, "{behind}");
    let side = files.side();
    side.change_settings(|settings| settings.time_zone = "Denver".to_owned());
    assert!(side.extract().is_err());
}

#[tokio::test]
async fn what_an_extract_looks_like_is_a_setting() {
    let files = Files::start().await;
    let side = files.side();
    files.edit("D1", true);
    files.sandbox.clock().advance(3_600);
    side.change_settings(|settings| {
        settings.with_address = false;
        settings.with_created = false;
        settings.with_manifest = false;
        settings.with_extra = true;
        settings.as_of = AsOf::Changed;
        settings.spelling = Spelling::Digits;
        settings.polarity = Polarity::OptOut;
    });
    let extract = side.extract().unwrap();
    let text = files.text(&format!("inbound/{}", extract.file));
    assert_eq!(
        text.lines().next(),
        Some("record_type,ascend_id,email_value,as_of")
    );
    assert_eq!(files.names("inbound").len(), 1, "no manifest");
    let found = rows(side, &extract);
    assert_eq!(
        (
            found[0]["email_value"].as_str(),
            found[1]["email_value"].as_str()
        ),
        ("1", "0")
    );
    let changed: DateTime<Utc> = found[0]["as_of"].parse().unwrap();
    let ago = files.org().now() - changed;
    assert!((3_600..3_620).contains(&ago.num_seconds()), "{ago}");
    let never: DateTime<Utc> = found[1]["as_of"].parse().unwrap();
    assert_eq!(
        (files.org().now() - never).num_days(),
        100,
        "since its creation"
    );
    side.change_settings(|settings| settings.polarity = Polarity::Permission);
    let found = rows(side, &side.extract().unwrap());
    assert_eq!(found[1]["email_value"], "1", "a permission");
}

#[tokio::test]
async fn extracts_can_be_short_empty_and_dirty() {
    let files = Files::start().await;
    let side = files.side();
    side.set_behaviour(Behaviour::ShortExtract { percent: 50 }.times(1))
        .unwrap();
    assert_eq!(side.extract().unwrap().rows, 2);
    side.set_behaviour(Behaviour::EmptyExtract.times(1))
        .unwrap();
    let empty = side.extract().unwrap();
    assert_eq!(empty.rows, 0);
    let text = files.text(&format!("inbound/{}", empty.file));
    assert_eq!(text, "ascend_id,email_value,as_of,email,created_at\n");
    side.set_behaviour(Behaviour::BadRows { rows: 4 }.times(1))
        .unwrap();
    let dirty = side.extract().unwrap();
    assert_eq!(dirty.rows, 8);
    let text = files.text(&format!("inbound/{}", dirty.file));
    let bad: Vec<&str> = text.lines().skip(5).collect();
    assert!(
        bad[0].contains("MAYBE") && bad[1].starts_with(",TRUE"),
        "{bad:?}"
    );
    assert!(
        bad[2].contains("yesterday") && !bad[3].contains(','),
        "{bad:?}"
    );
    assert_eq!(side.extract().unwrap().rows, 4);
}

#[tokio::test]
async fn an_address_cannot_become_a_formula() {
    let files = Files::start().await;
    let new = fields(json!({
        "LastName": "Example",
        "Email": "+1@x.example",
        "ucinn_ascendv2__Donor_ID__c": "D7",
    }));
    let created = Some(files.org().now() - TimeDelta::days(1));
    files
        .org()
        .create("Contact", &new, "Records Specialist", created)
        .unwrap();
    let extract = files.side().extract().unwrap();
    let found = rows(files.side(), &extract);
    assert_eq!(found[4]["email"], "'+1@x.example");
}

#[tokio::test]
async fn the_ids_of_an_extract_are_those_that_salesforce_holds() {
    let sandbox = sandbox(1_000).await;
    let side = sandbox.ascend_files();
    let extract = side.extract().unwrap();
    assert!(
        extract.rows > 900 && extract.rows <= 1_000,
        "{}",
        extract.rows
    );
    let found = rows(side, &extract);
    let ids: HashSet<&str> = found.iter().map(|row| row["ascend_id"].as_str()).collect();
    assert_eq!(ids.len(), extract.rows, "each once");
    let (mut linked, mut known) = (0, 0);
    for id in sandbox.salesforce().contact_ids(usize::MAX) {
        let contact = sandbox.salesforce().contact(&id).unwrap();
        if let Some(link) = contact.ascend_id {
            linked += 1;
            known += usize::from(ids.contains(link.as_str()));
        }
    }
    assert!(linked > 700, "{linked}");
    // A few links lead to constituents that Ascend has purged.
    assert!(known * 100 > linked * 97, "{known} of {linked}");
}
