//! CU Ascend by files: every case in a folder and over SFTP, with the sandbox as the other side.

use crate::bench::MARKETING;
use consentd::connector::ascend::file::AscendFile;
use consentd::connector::ascend::file::config::{
    Credential, Meaning, PlaceSettings, Settings, SftpSettings,
};
use consentd::connector::read_only::ReadOnly;
use consentd::connector::{
    Answer, Background, Connector, Cursor, Fault, FaultClass, Outcome, Page, Receipt, Target,
    WriteRequest,
};
use consentd::consent::{At, Polarity, Shown};
use consentd::runtime::clock::{Clock, System};
use consentd_sandbox::ascend_files::{Behaviour, Code, Exchange, Polarity as Side, Wrong};
use consentd_sandbox::{Options, RECORDS, Sandbox};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// How the folder is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Folder,
    Key,
    Password,
}

const WAYS: [Way; 2] = [Way::Folder, Way::Key];

struct Files {
    sandbox: Sandbox,
    settings: Settings,
    connector: AscendFile,
}

fn sftp(sandbox: &Sandbox, way: Way) -> SftpSettings {
    let address = sandbox.ascend_files().sftp_address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let known = &sandbox.credentials().sftp;
    SftpSettings {
        host: host.to_owned(),
        port: port.parse().unwrap(),
        directory: "/".to_owned(),
        user: known.username.clone(),
        host_key: known.host_fingerprint.clone(),
        credential: if way == Way::Password {
            Credential::Password(known.password.clone().into())
        } else {
            Credential::PrivateKey(known.private_key.clone().into())
        },
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
    }
}

impl Files {
    async fn start(way: Way) -> Self {
        let sandbox = Sandbox::start(Options {
            contacts: 0,
            seed: 7,
            port_base: None,
        })
        .await
        .unwrap();
        let place = match way {
            Way::Folder => PlaceSettings::Folder(sandbox.ascend_files().folder()),
            Way::Key | Way::Password => PlaceSettings::Sftp(Box::new(sftp(&sandbox, way))),
        };
        let settings = Settings {
            system: "ascend".to_owned(),
            place,
            purpose: MARKETING,
            polarity: Polarity::OptOut,
            meaning: Meaning::Seen,
            time_zone: chrono_tz::America::Denver,
            ack_timeout: Duration::from_hours(12),
            batch_rows: 100,
            page_rows: 10,
            max_file_bytes: 64 << 20,
            integration_actors: BTreeSet::new(),
            lock_owner: "consentd".to_owned(),
            lock_stale: Duration::from_hours(6),
        };
        Self {
            connector: connect(&settings),
            sandbox,
            settings,
        }
    }

    fn side(&self) -> &Exchange {
        self.sandbox.ascend_files()
    }

    /// A constituent of that id.
    fn create(&self, id: &str) -> String {
        let fields = json!({
            "LastName": id,
            "Email": format!("{id}@files.example"),
            "ucinn_ascendv2__Donor_ID__c": id,
        });
        let fields = serde_json::from_value(fields).unwrap();
        self.sandbox
            .ascend()
            .create("Contact", &fields, RECORDS, None)
            .unwrap()
    }

    fn is_out(&self, contact: &str) -> bool {
        self.sandbox.ascend().contact(contact).unwrap().opted_out
    }

    async fn write(&self, rows: &[(&str, Shown)]) -> Result<Vec<Outcome>, Fault> {
        let requests: Vec<_> = rows
            .iter()
            .map(|(id, shown)| request(id, shown.clone(), None))
            .collect();
        self.connector.write(&requests).await
    }

    async fn settled(&self) -> Vec<Receipt> {
        let receipts = self.connector.receipts().await.unwrap();
        self.connector.receipts_stored().await.unwrap();
        receipts
    }

    fn lying(&self, folder: &str) -> Vec<String> {
        let Ok(found) = std::fs::read_dir(self.side().folder().join(folder)) else {
            return Vec::new();
        };
        let files = found
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_file());
        let mut names: Vec<_> = files
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn connect(settings: &Settings) -> AscendFile {
    AscendFile::new(settings.clone(), Arc::new(System))
}

fn now() -> At {
    System.now()
}

fn request(id: &str, shown: Shown, heard_until: Option<At>) -> WriteRequest {
    WriteRequest {
        target: Target {
            contact: id.to_owned(),
            address: Some(format!("{id}@files.example")),
        },
        changes: vec![(MARKETING, shown)],
        said_at: now(),
        said_in: "salesforce".to_owned(),
        background: Background {
            linked: Some("003000000000001AAA".to_owned()),
            said_by: Some("005000000000001AAA".to_owned()),
            reason: "=R18, said in \"salesforce\"".to_owned(),
            heard_until,
        },
    }
}

fn batch_of(outcomes: &[Outcome]) -> String {
    let Some(Outcome::HandedOver { batch, .. }) = outcomes.first() else {
        panic!("{outcomes:?}");
    };
    batch.clone()
}

/// Everything that is there to be read.
async fn read_all(connector: &impl Connector, cursor: Option<&Cursor>) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    loop {
        let from = pages.last().map(|page| page.next.clone());
        let page = connector.read(from.as_ref().or(cursor)).await.unwrap();
        let more = page.more;
        pages.push(page);
        if !more {
            return pages;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c110_a_probe_leaves_nothing_behind_and_names_what_is_missing() {
    for way in [Way::Folder, Way::Key, Way::Password] {
        let files = Files::start(way).await;
        let found = files.connector.probe().await.unwrap();
        assert_eq!(found.missing, [""; 0], "{way:?}");
        for folder in ["", "outbound", "inbound", "sent"] {
            assert_eq!(files.lying(folder), [""; 0], "{way:?} {folder}");
        }
        assert!(files.side().leave_lock("somebody").unwrap());
        let notes = files.connector.probe().await.unwrap().notes;
        assert!(
            notes
                .iter()
                .any(|note| note.contains("held by somebody else")),
            "{notes:?}"
        );
        std::fs::remove_dir_all(files.side().folder().join("outbound")).unwrap();
        let found = connect(&files.settings).probe().await.unwrap();
        assert_eq!(found.missing.len(), 1, "{way:?}");
        assert!(found.missing[0].contains("outbound"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c111_an_extract_is_read_whole_in_pages_and_again_from_any_of_them() {
    for way in WAYS {
        let files = Files::start(way).await;
        let ids: Vec<String> = (0..25).map(|number| format!("D{number:02}")).collect();
        for id in &ids {
            files.create(id);
        }
        let idle = read_all(&files.connector, None).await;
        assert_eq!(
            (idle.len(), idle[0].load, idle[0].drained),
            (1, true, None),
            "{way:?}"
        );
        files.side().extract().unwrap();
        let pages = read_all(&files.connector, Some(&idle[0].next)).await;
        assert_eq!(pages.len(), 4, "{way:?}: three of rows and the end");
        assert_eq!(pages[0].scan, Some(25));
        assert!(pages[1..].iter().all(|page| page.scan.is_none()));
        assert!(pages[..3].iter().all(|page| page.load) && !pages[3].load);
        let read: Vec<_> = pages.iter().flat_map(|page| &page.readings).collect();
        let found: Vec<_> = read.iter().map(|reading| reading.contact.clone()).collect();
        assert_eq!(found, ids);
        assert!(
            read.iter()
                .all(|one| one.link.as_deref() == Some(&*one.contact))
        );
        let drained = pages[3].drained.unwrap();
        assert!(read.iter().all(|one| one.as_of == Some(drained)), "{way:?}");
        // Another process goes on from the middle, and nothing has moved meanwhile.
        let again = read_all(&connect(&files.settings), Some(&pages[0].next)).await;
        assert_eq!(again, pages[1..], "{way:?}");
        assert_eq!(files.lying("inbound").len(), 2);
        files.connector.read_stored(&pages[3].next).await.unwrap();
        assert_eq!(files.lying("inbound"), [""; 0]);
        assert_eq!(files.lying("inbound/done").len(), 2);
        let idle = read_all(&files.connector, Some(&pages[3].next)).await;
        assert_eq!((idle.len(), idle[0].readings.len()), (1, 0), "C31");
        assert_eq!(idle[0].next, pages[3].next);
    }
}

/// The folders below the exchange folder, with when a file came into them or went last.
fn changed(files: &Files) -> Vec<Option<std::time::SystemTime>> {
    let folders = ["", "outbound", "inbound", "inbound/done", "sent"];
    let at = |folder: &&str| std::fs::metadata(files.side().folder().join(folder)).ok();
    let changed = folders.iter().map(|folder| at(folder)?.modified().ok());
    changed.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn c134_who_only_reads_finds_the_newest_extract_wherever_it_lies_and_touches_nothing() {
    for way in WAYS {
        let files = Files::start(way).await;
        for number in 0..25 {
            files.create(&format!("D-{number}"));
        }
        let delivered = files.side().extract().unwrap().file;
        let contacts =
            |pages: &[Page]| -> usize { pages.iter().map(|page| page.readings.len()).sum() };
        for lies_in in ["inbound", "inbound/done"] {
            let name = delivered.clone();
            assert!(files.lying(lies_in).contains(&name), "{way:?} {lies_in}");
            let before = changed(&files);
            let reader = ReadOnly::new(Arc::new(connect(&files.settings)));
            assert_eq!(reader.probe().await.unwrap().missing, [""; 0]);
            let pages = read_all(&reader, None).await;
            assert_eq!(contacts(&pages), 25, "{way:?} {lies_in}");
            let end = &pages.last().unwrap().next;
            reader.read_stored(end).await.unwrap();
            assert_eq!(reader.receipts().await.unwrap(), []);
            assert_eq!(changed(&files), before, "{way:?} {lies_in}");
            // Meanwhile the daemon reads it and files it away.
            let pages = read_all(&files.connector, None).await;
            let end = &pages.last().unwrap().next;
            files.connector.read_stored(end).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c112_a_large_extract_is_read_in_stretches() {
    const ROWS: usize = 30_000;
    for way in WAYS {
        let mut files = Files::start(way).await;
        files.settings.page_rows = 4_000;
        let mut text = "ascend_id,email_value,as_of,email\n".to_owned();
        for row in 0..ROWS {
            writeln!(
                text,
                "D{row:06},{},2026-01-10T03:00:00Z,d{row:06}@files.example",
                row % 2
            )
            .unwrap();
        }
        let inbound = files.side().folder().join("inbound");
        std::fs::write(
            inbound.join("ascend_email_extract_20260109-200000.csv"),
            text,
        )
        .unwrap();
        let pages = read_all(&connect(&files.settings), None).await;
        let read: Vec<_> = pages.iter().flat_map(|page| &page.readings).collect();
        assert_eq!(read.len(), ROWS, "{way:?}");
        assert!(
            read.iter()
                .enumerate()
                .all(|(row, one)| one.contact == format!("D{row:06}"))
        );
        assert_eq!(pages[0].scan, Some(ROWS as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c113_a_batch_is_taken_and_its_word_is_read() {
    for way in WAYS {
        let files = Files::start(way).await;
        let (ann, bob) = (files.create("ann"), files.create("bob"));
        let outcomes = files
            .write(&[
                ("ann", Shown::Set),
                ("bob", Shown::Default),
                ("nobody", Shown::Set),
            ])
            .await
            .unwrap();
        let batch = batch_of(&outcomes);
        assert!(
            outcomes
                .iter()
                .all(|one| batch_of(std::slice::from_ref(one)) == batch)
        );
        assert_eq!(files.lying("outbound").len(), 2, "{way:?}");
        assert_eq!(files.lying("sent").len(), 2);
        assert_eq!(files.lying(""), [""; 0], "the lock is given back");
        let loaded = files.side().load().unwrap();
        assert_eq!(loaded.refused, [], "{way:?}");
        let report = &loaded.batches[0];
        assert_eq!(
            (report.rows, report.applied, report.nochange),
            (3, 1, 1),
            "{way:?}"
        );
        assert!(files.is_out(&ann) && !files.is_out(&bob));
        let receipts = files.settled().await;
        let said: BTreeMap<_, _> = receipts
            .iter()
            .map(|receipt| (receipt.contact.as_str(), &receipt.answer))
            .collect();
        assert_eq!(*said["ann"], Answer::Applied, "{way:?}");
        assert_eq!(
            *said["bob"],
            Answer::Applied,
            "no change shows the value as well"
        );
        assert!(matches!(said["nobody"], Answer::Failed(fault) if fault.code == "NOT_FOUND"));
        assert!(receipts.iter().all(|receipt| receipt.batch == batch));
        assert_eq!(files.settled().await, [], "{way:?}");
        assert_eq!(files.lying("sent"), [""; 0]);
        assert_eq!(files.lying("inbound"), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c114_each_code_means_what_is_agreed() {
    let codes = [
        (Code::NotFound, FaultClass::Rejected),
        (Code::DuplicateId, FaultClass::Rejected),
        (Code::Invalid, FaultClass::Rejected),
        (Code::Policy, FaultClass::Rejected),
        (Code::Locked, FaultClass::Retryable),
        (Code::Stale, FaultClass::Retryable),
    ];
    let files = Files::start(Way::Folder).await;
    files.create("ann");
    for (code, class) in codes {
        files
            .side()
            .set_behaviour(Behaviour::Reject { ids: None, code }.times(1))
            .unwrap();
        files.write(&[("ann", Shown::Set)]).await.unwrap();
        files.side().load().unwrap();
        let receipts = files.settled().await;
        match &receipts[0].answer {
            Answer::Failed(fault) => assert_eq!((fault.class, code == Code::Stale), (class, false)),
            Answer::Overtaken(fault) => {
                assert_eq!((fault.class, code == Code::Stale), (class, true));
            }
            Answer::Applied => panic!("{code:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c115_words_come_late_in_parts_twice_and_wrongly() {
    for way in WAYS {
        let files = Files::start(way).await;
        for id in ["a", "b", "c"] {
            files.create(id);
        }
        let all = [("a", Shown::Set), ("b", Shown::Set), ("c", Shown::Set)];
        let late = Behaviour::AckLate { seconds: None };
        files.side().set_behaviour(late.times(1)).unwrap();
        files.write(&all).await.unwrap();
        files.side().load().unwrap();
        assert_eq!(files.settled().await, [], "{way:?}");
        files.side().deliver().unwrap();
        assert_eq!(files.settled().await.len(), 3, "{way:?}");

        let partly = Behaviour::AckPartly {
            rows: 2,
            seconds: None,
        };
        files.side().set_behaviour(partly.times(1)).unwrap();
        files.write(&all).await.unwrap();
        files.side().load().unwrap();
        assert_eq!(files.settled().await.len(), 2, "{way:?}");
        assert_eq!(files.lying("sent").len(), 3, "it is still open");
        files.side().deliver().unwrap();
        assert_eq!(files.settled().await.len(), 1, "{way:?}");
        assert_eq!(files.lying("sent"), [""; 0]);

        files
            .side()
            .set_behaviour(Behaviour::AckTwice.times(1))
            .unwrap();
        files.write(&all).await.unwrap();
        files.side().load().unwrap();
        assert_eq!(files.settled().await.len(), 3);
        files.side().deliver().unwrap();
        assert_eq!(
            files.settled().await,
            [],
            "{way:?}: the same again says nothing"
        );
        assert_eq!(files.lying("inbound"), [""; 0]);

        for how in [
            Wrong::UnknownBatch,
            Wrong::RowNumbers,
            Wrong::Status,
            Wrong::Broken,
        ] {
            let rejected = files.lying("inbound/rejected").len();
            let wrongly = Behaviour::AckWrongly { how };
            files.side().set_behaviour(wrongly.times(1)).unwrap();
            let batch = batch_of(&files.write(&all).await.unwrap());
            files.side().load().unwrap();
            let mut settled = files.settled().await.len();
            assert!(
                files.lying("inbound/rejected").len() > rejected,
                "{way:?} {how:?}"
            );
            assert!(
                !files.connector.unreadable().is_empty() || settled > 0,
                "{way:?} {how:?}"
            );
            files.side().answer(&batch).unwrap();
            settled += files.settled().await.len();
            assert_eq!(settled, 3, "{way:?} {how:?}: each row once");
            assert_eq!(files.lying("sent"), [""; 0], "{way:?} {how:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c116_a_decision_that_knew_of_a_change_is_later_than_it() {
    let files = Files::start(Way::Folder).await;
    let ann = files.create("ann");
    // We heard nothing of what somebody did in Ascend, and what was said here was said before that.
    let early = WriteRequest {
        said_at: now().minus(3_600_000_000),
        ..request("ann", Shown::Set, None)
    };
    files
        .connector
        .write(std::slice::from_ref(&early))
        .await
        .unwrap();
    let edit = |out: bool| {
        let fields = serde_json::from_value(json!({ "HasOptedOutOfEmail": out })).unwrap();
        files.sandbox.ascend().edit(&ann, &fields, RECORDS).unwrap();
    };
    edit(true);
    edit(false);
    files.side().load().unwrap();
    let receipts = files.settled().await;
    assert!(
        matches!(receipts[0].answer, Answer::Overtaken(_)),
        "{receipts:?}"
    );
    assert!(!files.is_out(&ann));
    // An extract told it, and the same is decided again.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    files.side().extract().unwrap();
    let pages = read_all(&files.connector, None).await;
    let knowing = WriteRequest {
        background: Background {
            heard_until: pages.last().unwrap().drained,
            ..early.background.clone()
        },
        ..early
    };
    files.connector.write(&[knowing]).await.unwrap();
    files.side().load().unwrap();
    assert_eq!(files.settled().await[0].answer, Answer::Applied);
    assert!(files.is_out(&ann));
}

#[tokio::test(flavor = "multi_thread")]
async fn c117_two_loads_never_run_at_once() {
    for way in WAYS {
        let files = Files::start(way).await;
        files.create("ann");
        files.side().leave_lock("ascend").unwrap();
        let fault = files.write(&[("ann", Shown::Set)]).await.unwrap_err();
        assert_eq!(
            (
                fault.class,
                fault.code.as_str(),
                fault.retry_after.is_some()
            ),
            (FaultClass::Retryable, "locked", true),
            "{way:?}"
        );
        assert_eq!(files.lying("sent"), [""; 0], "nothing was written");
        assert_eq!(files.lying(""), ["exchange.lock"]);
        files.side().remove_lock().unwrap();
        // One of ours is what a crash left.
        files.side().leave_lock("consentd").unwrap();
        files.write(&[("ann", Shown::Set)]).await.unwrap();
        assert_eq!(files.lying(""), [""; 0], "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c118_only_the_pinned_server_is_spoken_to_and_only_by_who_is_let_in() {
    let files = Files::start(Way::Password).await;
    let known = sftp(&files.sandbox, Way::Password);
    let refused = |settings: SftpSettings| {
        let place = PlaceSettings::Sftp(Box::new(settings));
        let connector = connect(&Settings {
            place,
            ..files.settings.clone()
        });
        async move { connector.probe().await.unwrap_err() }
    };
    let other = SftpSettings {
        host_key: format!("SHA256:{}", "A".repeat(43)),
        ..known.clone()
    };
    let fault = refused(other).await;
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "host-key")
    );
    assert_eq!(
        files.side().counts().logins_refused,
        0,
        "nobody's name was told"
    );
    let wrong = SftpSettings {
        credential: Credential::Password("no such word".to_owned().into()),
        ..known.clone()
    };
    let fault = refused(wrong).await;
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Auth, "login")
    );
    let nobody = SftpSettings {
        port: 1,
        ..known.clone()
    };
    let fault = refused(nobody).await;
    assert_eq!(
        (fault.class, fault.code.as_str()),
        (FaultClass::Retryable, "connect")
    );
    for text in [fault.message, format!("{:?}", files.connector)] {
        assert!(
            !text.contains("password-") && !text.contains("no such word"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c119_a_connection_that_drops_is_made_again_and_loses_nothing() {
    for posix_rename in [true, false] {
        let mut files = Files::start(Way::Key).await;
        files
            .side()
            .change_settings(|settings| settings.posix_rename = posix_rename);
        files.create("ann");
        let mut handed = 0;
        for after in (0..72).step_by(7) {
            let drops = Behaviour::DropConnection { after };
            files.side().set_behaviour(drops.times(1)).unwrap();
            match files.write(&[("ann", Shown::Set)]).await {
                Ok(outcomes) => match &outcomes[0] {
                    Outcome::HandedOver { .. } => handed += 1,
                    Outcome::Unknown(fault) => assert!(fault.maybe_sent),
                    other => panic!("{other:?}"),
                },
                Err(fault) => assert_eq!(fault.class, FaultClass::Retryable, "{fault}"),
            }
            files.side().clear_behaviours(None);
        }
        assert!(handed > 0, "posix_rename {posix_rename}");
        // After a restart nothing is known but what lies in the folder.
        files.connector = connect(&files.settings);
        batch_of(&files.write(&[("ann", Shown::Set)]).await.unwrap());
        let loaded = files.side().load().unwrap();
        assert_eq!(loaded.refused, [], "nothing half-written was offered");
        assert!(loaded.batches.len() > handed, "each of them is whole");
        // Whatever was handed over, known to us or not, has its copy and is settled.
        let mut words = 0;
        loop {
            let receipts = files.settled().await;
            if receipts.is_empty() {
                break;
            }
            words += receipts.len();
        }
        assert!(words >= 1);
        assert_eq!(files.lying("inbound/rejected"), [""; 0]);
        assert_eq!(files.lying("inbound"), [""; 0]);
        assert_eq!(files.lying(""), [""; 0], "no lock is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c60_a_batch_says_the_same_whatever_the_field_in_ascend_means() {
    let mut files = Files::start(Way::Folder).await;
    files.settings.polarity = Polarity::Permission;
    files.connector = connect(&files.settings);
    files
        .side()
        .change_settings(|settings| settings.polarity = Side::Permission);
    for id in ["ann", "bob"] {
        files.create(id);
    }
    // What allows mail is written first, so that both change.
    files
        .write(&[("ann", Shown::Set), ("bob", Shown::Set)])
        .await
        .unwrap();
    files.side().load().unwrap();
    files.settled().await;
    files.write(&[("ann", Shown::Default)]).await.unwrap();
    let name = &files.lying("outbound")[0];
    let text = std::fs::read_to_string(files.side().folder().join("outbound").join(name)).unwrap();
    let row = text.lines().nth(1).unwrap();
    assert!(
        row.contains(",OPT_OUT,TRUE,") && row.contains("'=R18"),
        "{row}"
    );
    let loaded = files.side().load().unwrap();
    assert_eq!((loaded.batches[0].applied, loaded.refused.len()), (1, 0));
    let receipts = files.settled().await;
    assert_eq!(receipts[0].changes, [(MARKETING, Shown::Default)]);
    files.side().extract().unwrap();
    let pages = read_all(&files.connector, None).await;
    let shown: Vec<_> = pages
        .iter()
        .flat_map(|page| &page.readings)
        .map(|one| (one.contact.as_str(), one.values[0].1.clone()))
        .collect();
    assert_eq!(shown, [("ann", Shown::Default), ("bob", Shown::Set)]);
}
