//! Batches and their acknowledgements.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use consentd_sandbox::ascend_files::{Behaviour, Code, Polarity, Wrong};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Files, HEADER, csv, manifest};
use crate::client::{http, read};

const ONE: &str = "20260501-010000-1";
const TWO: &str = "20260501-010000-2";

#[tokio::test]
async fn a_batch_is_applied_answered_row_by_row_and_taken_away() {
    let files = Files::start().await;
    let at = files.ago(60);
    let rows = ["D1", "D2", "D9", "D3"].map(|donor| (donor, donor != "D2", at.clone()));
    files.batch(ONE, &rows);
    let load = files.side().load().unwrap();
    assert!(!load.locked && load.refused.is_empty());
    let report = &load.batches[0];
    assert_eq!((report.rows, report.applied, report.nochange), (4, 1, 1));
    let rejected = BTreeMap::from([(Code::NotFound, 1), (Code::DuplicateId, 1)]);
    assert_eq!(report.rejected, rejected);
    assert!(files.opted_out("D1") && !files.opted_out("D3"));
    assert_eq!(
        files.fetch_ack(ONE).unwrap(),
        "1,APPLIED,,\n2,NOCHANGE,,\n3,REJECTED,NOT_FOUND,no constituent has this id\n\
         4,REJECTED,DUPLICATE_ID,several constituents have this id\n"
    );
    assert!(files.names("outbound").is_empty());
    assert!(!files.path("exchange.lock").exists());
    let counts = files.side().counts();
    assert_eq!(
        (counts.batches, counts.applied, counts.rejected, counts.acks),
        (1, 1, 2, 1)
    );
    assert_eq!(files.side().load().unwrap().batches, [], "nothing is left");

    files
        .side()
        .change_settings(|settings| settings.keep_loaded = true);
    files.batch(TWO, &rows[..1]);
    files.side().load().unwrap();
    assert_eq!(files.names("outbound"), ["loaded"]);
    assert_eq!(files.names("outbound/loaded").len(), 2);
}

#[tokio::test]
async fn the_newest_change_wins_whoever_made_it() {
    let files = Files::start().await;
    let clock = files.sandbox.clock();
    files.edit("D1", true);
    clock.advance(100);
    files.batch(
        ONE,
        &[("D1", false, files.ago(200)), ("D1", true, files.ago(300))],
    );
    let report = &files.side().load().unwrap().batches[0];
    assert_eq!(
        (report.nochange, report.rejected.get(&Code::Stale)),
        (1, Some(&1))
    );
    assert!(files.opted_out("D1"), "Ascend's own change is newer");

    // Out of order in the file, and applied in order of their times.
    files.batch(
        TWO,
        &[("D2", true, files.ago(50)), ("D2", false, files.ago(60))],
    );
    let report = &files.side().load().unwrap().batches[0];
    assert_eq!((report.applied, report.nochange), (1, 1));
    assert!(files.opted_out("D2"));
    clock.advance(10);
    let three = "20260501-010000-3";
    files.batch(three, &[("D2", false, files.ago(55))]);
    let report = &files.side().load().unwrap().batches[0];
    assert_eq!(
        report.applied, 1,
        "newer than what was said, though older than its load"
    );
    clock.advance(10);
    let four = "20260501-010000-4";
    files.batch(four, &[("D2", true, files.ago(70))]);
    let report = &files.side().load().unwrap().batches[0];
    assert_eq!(report.rejected.get(&Code::Stale), Some(&1));
    files.edit("D2", true);
    clock.advance(10);
    let five = "20260501-010000-5";
    files.batch(five, &[("D2", false, files.ago(12))]);
    let report = &files.side().load().unwrap().batches[0];
    assert_eq!(
        report.rejected.get(&Code::Stale),
        Some(&1),
        "somebody changed it meanwhile"
    );
}

#[tokio::test]
async fn a_known_batch_gets_the_answers_it_got() {
    let files = Files::start().await;
    let rows = [("D1", true, files.ago(60))];
    files.batch(ONE, &rows);
    files.side().load().unwrap();
    let first = files.fetch_ack(ONE);
    files.sandbox.clock().advance(10);
    files.edit("D1", false);
    files.batch(ONE, &rows);
    let load = files.side().load().unwrap();
    assert!(load.batches[0].repeated);
    assert_eq!(files.fetch_ack(ONE), first);
    assert!(!files.opted_out("D1"), "not applied again");
    files.batch(ONE, &[("D2", true, files.ago(60))]);
    let load = files.side().load().unwrap();
    assert_eq!(
        load.refused[0].reason,
        "the batch id was used for another content"
    );
    assert_eq!(files.side().counts().repeated, 1);
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_and_stays() {
    let files = Files::start().await;
    let rows = [("D1", true, files.ago(60)), ("D2", true, files.ago(60))];
    let good = csv(ONE, &rows);
    let sums = |text: &str| manifest(ONE, text, &rows);
    let cases = [
        (good.clone(), sums("other"), "SHA-256"),
        (good.clone(), "{}".to_owned(), "manifest cannot be read"),
        (good.clone(), manifest(TWO, &good, &rows), "another batch"),
        (
            good.clone(),
            manifest(ONE, &good, &rows[..1]),
            "counts 1 rows",
        ),
        (
            good.clone(),
            sums(&good).replace("\"OPT_OUT\":2", "\"OPT_OUT\":1"),
            "miscounts",
        ),
        ("\u{feff}".to_owned() + &good, String::new(), "header"),
        (good.replace('\n', "\r\n"), String::new(), "header"),
        (good.replace(HEADER, ""), String::new(), "header"),
        (good.replace(",2,D2", ",3,D2"), String::new(), "row 2"),
        (good.replace("D2@x", "=D2@x"), String::new(), "formula"),
        (
            good.replace("\"asked, by phone\"", "-"),
            String::new(),
            "formula",
        ),
        (
            good.replace("D2@x.example", "D2@x.example,"),
            String::new(),
            "row 2",
        ),
    ];
    for (csv, sum, reason) in cases {
        let sum = if sum.is_empty() { sums(&csv) } else { sum };
        files.put(ONE, &csv, &sum);
        let load = files.side().load().unwrap();
        assert_eq!(load.batches, [], "{reason}");
        assert!(
            load.refused[0].reason.contains(reason),
            "{reason}: {:?}",
            load.refused
        );
        assert_eq!(files.names("outbound").len(), 2);
    }
    assert!(files.names("inbound").is_empty() && !files.opted_out("D1"));
    let quoted = good
        .replace("D2@x", "'=D2@x")
        .replace("SPECIALIST", "NOBODY");
    files.put(ONE, &quoted, &sums(&quoted));
    let report = &files.side().load().unwrap().batches[0];
    assert_eq!(
        report.rejected.get(&Code::Invalid),
        Some(&2),
        "a row of nobody's is no row"
    );

    fs::write(files.path("outbound/cu_ecomm_email_optout_1.csv"), "x").unwrap();
    fs::write(files.path("outbound/cu_ecomm_email_optout_2.csv.part"), "x").unwrap();
    let load = files.side().load().unwrap();
    assert_eq!(
        (load.waiting, load.refused.len()),
        (1, 0),
        "without a manifest it is not there yet"
    );
    files.put("today", "x", "{}");
    assert!(
        files.side().load().unwrap().refused[0]
            .reason
            .contains("form")
    );
}

#[tokio::test]
async fn one_load_at_a_time() {
    let files = Files::start().await;
    files.batch(ONE, &[("D1", true, files.ago(60))]);
    assert!(files.side().leave_lock("consentd").unwrap());
    assert!(files.text("exchange.lock").starts_with("consentd 2"));
    assert!(!files.side().leave_lock("other").unwrap());
    assert!(files.side().load().unwrap().locked);
    assert!(!files.opted_out("D1"));
    assert!(files.side().remove_lock().unwrap());
    files
        .side()
        .set_behaviour(Behaviour::LockLeft.times(1))
        .unwrap();
    assert_eq!(files.side().load().unwrap().batches.len(), 1);
    assert!(files.text("exchange.lock").starts_with("ascend 2"));
    assert!(files.side().load().unwrap().locked);
    assert_eq!(files.side().counts().locked, 2);
    files.side().remove_lock().unwrap();
    assert!(!files.side().load().unwrap().locked);
}

#[tokio::test]
async fn acknowledgements_come_late_partly_and_twice() {
    let files = Files::start().await;
    let side = files.side();
    let rows = [("D1", true, files.ago(60)), ("D2", true, files.ago(60))];
    side.set_behaviour(Behaviour::AckLate { seconds: None }.times(1))
        .unwrap();
    files.batch(ONE, &rows);
    side.load().unwrap();
    assert!(files.opted_out("D1"));
    assert_eq!((files.fetch_ack(ONE), side.pending()), (None, 1));
    assert_eq!(side.deliver().unwrap(), 1);
    assert_eq!(files.fetch_ack(ONE).unwrap(), "1,APPLIED,,\n2,APPLIED,,\n");

    side.set_behaviour(
        Behaviour::AckPartly {
            rows: 1,
            seconds: None,
        }
        .times(1),
    )
    .unwrap();
    files.batch(TWO, &rows);
    side.load().unwrap();
    assert_eq!(side.deliver().unwrap(), 0, "the first still lies there");
    assert_eq!(files.fetch_ack(TWO).unwrap(), "1,NOCHANGE,,\n");
    assert_eq!(side.deliver().unwrap(), 1);
    assert_eq!(files.fetch_ack(TWO).unwrap(), "2,NOCHANGE,,\n");

    side.set_behaviour(Behaviour::AckTwice.times(1)).unwrap();
    let three = "20260501-010000-3";
    files.batch(three, &rows[..1]);
    side.load().unwrap();
    let first = files.fetch_ack(three).unwrap();
    assert_eq!(
        wait(|| files.fetch_ack(three)).await,
        first,
        "it comes again by itself"
    );

    side.set_behaviour(
        Behaviour::AckLate {
            seconds: Some(7_200),
        }
        .times(1),
    )
    .unwrap();
    let four = "20260501-010000-4";
    files.batch(four, &rows[..1]);
    side.load().unwrap();
    files.sandbox.clock().advance(7_100);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(files.fetch_ack(four), None, "not before its time");
    files.sandbox.clock().advance(101);
    assert_eq!(wait(|| files.fetch_ack(four)).await, first);
}

/// What comes within a few seconds.
async fn wait<T>(found: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn acknowledgements_are_wrong_in_four_ways_and_can_be_had_right() {
    let files = Files::start().await;
    let side = files.side();
    let ways = [
        (
            Wrong::UnknownBatch,
            "19990101-000000-1.ack.csv",
            "1,APPLIED",
        ),
        (Wrong::RowNumbers, "", "1000001,"),
        (Wrong::Status, "", "1,DONE,,"),
        (Wrong::Broken, "", "1,\"APPLIED"),
    ];
    for (number, (how, name, start)) in ways.into_iter().enumerate() {
        let id = format!("20260501-020000-{}", number + 1);
        side.set_behaviour(Behaviour::AckWrongly { how }.times(1))
            .unwrap();
        files.batch(&id, &[("D1", true, files.ago(60))]);
        side.load().unwrap();
        let own = format!("{id}.ack.csv");
        let name = if name.is_empty() { own.as_str() } else { name };
        let text = files.text(&format!("inbound/{name}"));
        assert!(text.lines().nth(1).unwrap().starts_with(start), "{text}");
        side.answer(&id).unwrap();
        let right = files.fetch_ack(&id).unwrap();
        assert!(
            right == "1,APPLIED,,\n" || right == "1,NOCHANGE,,\n",
            "{right}"
        );
    }
    assert!(side.answer("20260501-020000-9").is_err());
}

#[tokio::test]
async fn rows_are_refused_as_told() {
    let files = Files::start().await;
    let side = files.side();
    let reject = Behaviour::Reject {
        ids: Some(vec!["d2".to_owned()]),
        code: Code::Policy,
    };
    side.set_behaviour(reject).unwrap();
    side.set_behaviour(
        Behaviour::Reject {
            ids: None,
            code: Code::Locked,
        }
        .times(1),
    )
    .unwrap();
    assert!(
        side.load().unwrap().batches.is_empty(),
        "a load of nothing uses nothing up"
    );
    let rows = [("D1", true, files.ago(60)), ("D2", true, files.ago(60))];
    files.batch(ONE, &rows);
    side.load().unwrap();
    let answer = files.fetch_ack(ONE).unwrap();
    assert_eq!(answer.matches("LOCKED").count(), 1, "{answer}");
    files.batch(TWO, &rows);
    side.load().unwrap();
    let answer = files.fetch_ack(TWO).unwrap();
    assert_eq!(
        answer,
        "1,APPLIED,,\n2,REJECTED,POLICY,not allowed for this constituent\n"
    );
    assert!(!files.opted_out("D2"));
    assert_eq!(side.clear_behaviours(Some("reject")), 1);
}

#[tokio::test]
async fn a_permission_is_the_opposite() {
    let files = Files::start().await;
    files
        .side()
        .change_settings(|settings| settings.polarity = Polarity::Permission);
    files.batch(ONE, &[("D1", true, files.ago(60))]);
    files.side().load().unwrap();
    let contact = &files.org().contacts_by_address("D1@x.example")[0];
    assert_eq!(
        (contact.permission, contact.opted_out),
        (Some(false), false)
    );
    assert_eq!(contact.modified_by, "Data Load");
}

#[tokio::test]
async fn the_other_side_can_work_by_itself_in_a_folder_of_ones_own() {
    let files = Files::start().await;
    let folder = tempfile::tempdir().unwrap();
    let side = files.side();
    side.use_folder(&folder.path().join("exchange")).unwrap();
    side.change_settings(|settings| settings.automatic = true);
    files.batch(ONE, &[("D1", true, files.ago(60))]);
    assert_eq!(wait(|| files.fetch_ack(ONE)).await, "1,APPLIED,,\n");
    assert!(folder.path().join("exchange/outbound").is_dir());
    let own = Files::start().await;
    let path = own.side().folder();
    assert!(path.is_dir());
    let Files { sandbox } = own;
    sandbox.stop().await;
    wait(|| (!path.exists()).then_some(())).await;
}

#[tokio::test]
async fn all_of_it_can_be_done_through_the_control_api() {
    let files = Files::start().await;
    let url = format!("{}/v1/ascend/files", files.sandbox.control_url());
    let ask = async |method: Method, path: &str, body: Option<Value>| {
        let mut request = http().request(method, format!("{url}{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    };
    files.batch(ONE, &[("D1", true, files.ago(60))]);
    let late = json!({"name": "ack-late", "times": 1});
    assert_eq!(ask(Method::POST, "/behaviours", Some(late)).await.0, 200);
    let wrong = json!({"name": "ack-late", "second": 1});
    assert_eq!(ask(Method::POST, "/behaviours", Some(wrong)).await.0, 422);
    let (status, load) = ask(Method::POST, "/load", None).await;
    assert_eq!(
        (status.as_u16(), &load["batches"][0]["applied"]),
        (200, &json!(1))
    );
    assert_eq!(ask(Method::GET, "", None).await.1["pending"], 1);
    assert_eq!(
        ask(Method::POST, "/deliver", None).await.1,
        json!({"delivered": 1})
    );
    let batch = json!({"batch_id": ONE});
    assert_eq!(ask(Method::POST, "/answer", Some(batch)).await.0, 200);
    let (_, extract) = ask(Method::POST, "/extract", None).await;
    assert_eq!(extract["rows"], 4);
    let settings = json!({"as_of": "changed", "spelling": "yes-no"});
    let (_, settings) = ask(Method::PATCH, "/settings", Some(settings)).await;
    assert_eq!(settings["as_of"], "changed");
    let lock = json!({"owner": "x"});
    assert_eq!(
        ask(Method::POST, "/lock", Some(lock)).await.1["taken"],
        true
    );
    assert_eq!(ask(Method::POST, "/load", None).await.1["locked"], true);
    assert_eq!(ask(Method::DELETE, "/lock", None).await.1["removed"], true);
    assert_eq!(
        ask(Method::DELETE, "/behaviours", None).await.1["cleared"],
        0
    );
    let (_, systems) = read(
        http()
            .get(format!("{}/v1/systems", files.sandbox.control_url()))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(systems["ascend_files"]["sftp"], files.side().sftp_address());
    let folder = tempfile::tempdir().unwrap();
    let path = json!({"path": folder.path()});
    let (_, overview) = ask(Method::POST, "/folder", Some(path)).await;
    assert_eq!(overview["folder"], json!(folder.path()));
    // The routes of the org beside it are still there.
    let org = http().get(format!("{}/v1/ascend/calls", files.sandbox.control_url()));
    assert_eq!(org.send().await.unwrap().status(), 200);
}
