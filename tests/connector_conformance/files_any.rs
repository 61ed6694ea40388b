//! CU Ascend by files, whatever it says and however it says it.

use crate::bench::MARKETING;
use consentd::connector::ascend::file::AscendFile;
use consentd::connector::ascend::file::config::{Meaning, PlaceSettings, Settings};
use consentd::connector::{Answer, Background, Connector, Outcome, Target, WriteRequest};
use consentd::consent::{At, Polarity, Shown};
use consentd::runtime::clock::{Clock, Manual};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const ANSWERS: [&str; 8] = [
    "APPLIED,,",
    "nochange,,",
    "REJECTED,NOT_FOUND,",
    "REJECTED,DUPLICATE_ID,no",
    "rejected,Invalid,'=no",
    "REJECTED,STALE,",
    "REJECTED,LOCKED,\"not, now\"",
    "REJECTED,POLICY,",
];

/// One file that comes, and what becomes of us after it was looked at.
#[derive(Debug, Clone)]
struct Comes {
    /// The rows it tells of, in its order.
    rows: Vec<prop::sample::Index>,
    rubbish: usize,
    /// What was said is forgotten before it was settled, by a crash.
    crash: bool,
}

fn comes() -> impl Strategy<Value = Comes> {
    let rows = vec(any::<prop::sample::Index>(), 0..6);
    (rows, 0..8_usize, any::<bool>()).prop_map(|(rows, rubbish, crash)| Comes {
        rows,
        rubbish,
        crash,
    })
}

fn connect(folder: &Path) -> AscendFile {
    let settings = Settings {
        system: "ascend".to_owned(),
        place: PlaceSettings::Folder(folder.to_owned()),
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
    let clock: Arc<dyn Clock> = Arc::new(Manual::at(At::from_micros(1_800_000_000_000_000)));
    AscendFile::new(settings, clock)
}

fn request(number: usize, address: &str, reason: &str) -> WriteRequest {
    WriteRequest {
        target: Target {
            contact: format!("D-{number}"),
            address: Some(address.to_owned()),
        },
        changes: vec![(MARKETING, Shown::Set)],
        said_at: At::from_micros(1_799_999_000_000_000),
        said_in: "salesforce".to_owned(),
        background: Background {
            linked: Some("003000000000001AAA".to_owned()),
            said_by: None,
            reason: reason.to_owned(),
            heard_until: None,
        },
    }
}

/// An exchange folder, as the other side has made it.
fn exchange() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for sub in ["outbound", "inbound"] {
        std::fs::create_dir(folder.path().join(sub)).unwrap();
    }
    folder
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// Hands a batch over; its id.
async fn hand_over(connector: &AscendFile, requests: &[WriteRequest]) -> String {
    let outcomes = connector.write(requests).await.unwrap();
    let Some(Outcome::HandedOver { batch, .. }) = outcomes.first() else {
        panic!("{outcomes:?}");
    };
    batch.clone()
}

/// A file that nobody can understand, or that is not about this batch: its name and content.
fn rubbish(kind: usize, batch: &str) -> Option<(String, &'static str)> {
    let ours = format!("{batch}.ack.csv");
    Some(match kind {
        1 => (ours, ""),
        2 => (ours, "row_no,status,code,message\n1,\"APPLIED,,\n2,"),
        3 => (ours, "1,APPLIED,,\n"),
        4 => (
            ours,
            "row_no,status,code,message\n1000001,APPLIED,,\n1,DONE,,\nx,APPLIED,,\n0,REJECTED,LOCKED,\n",
        ),
        5 => (
            "19990101-000000-1.ack.csv".to_owned(),
            "row_no,status,code,message\n1,REJECTED,POLICY,\n",
        ),
        6 => (
            "..ack.csv.part".to_owned(),
            "row_no,status,code,message\n1,APPLIED,,\n",
        ),
        7 => ("notes of the night.txt".to_owned(), "1,APPLIED,,\n"),
        _ => return None,
    })
}

/// What was said of whom: the answers of the receipts, until there is none left.
async fn hear(connector: &AscendFile, crash: bool) -> Vec<(String, String)> {
    let mut heard = Vec::new();
    for _ in 0..100 {
        let receipts = connector.receipts().await.unwrap();
        if receipts.is_empty() {
            return heard;
        }
        heard.extend(receipts.into_iter().map(|receipt| {
            assert_eq!(receipt.changes, [(MARKETING, Shown::Set)]);
            let said = match receipt.answer {
                Answer::Applied => "applied".to_owned(),
                Answer::Overtaken(fault) => format!("overtaken {}", fault.code),
                Answer::Failed(fault) => format!("failed {}", fault.code),
            };
            (receipt.contact, said)
        }));
        if crash {
            return heard;
        }
        connector.receipts_stored().await.unwrap();
    }
    panic!("it says something new for ever");
}

fn means(answer: &str) -> String {
    let mut cells = answer.split(',');
    let (status, code) = (cells.next().unwrap(), cells.next().unwrap());
    match (status.to_uppercase().as_str(), code.to_uppercase()) {
        ("REJECTED", code) if code == "STALE" => format!("overtaken {code}"),
        ("REJECTED", code) => format!("failed {code}"),
        _ => "applied".to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn c132_however_a_word_is_split_repeated_and_mixed_with_rubbish_it_says_the_same(
        answers in vec(0..ANSWERS.len(), 1..9),
        files in vec(comes(), 0..8),
    ) {
        let folder = exchange();
        let inbound = folder.path().join("inbound");
        let mut connector = connect(folder.path());
        let mut heard: Vec<(String, String)> = Vec::new();
        let mut crashed = false;
        run(async {
            let requests: Vec<_> = (1..=answers.len())
                .map(|number| request(number, "x@any.example", "R18"))
                .collect();
            let batch = hand_over(&connector, &requests).await;
            // In the end everything was said at least once.
            let every = (0..answers.len()).collect();
            let told = files.iter().map(|file| {
                let rows = file.rows.iter().map(|row| row.index(answers.len())).collect();
                (rows, file.rubbish, file.crash)
            });
            let told: Vec<(Vec<usize>, usize, bool)> = told.chain([(every, 0, false)]).collect();
            for (rows, kind, crash) in told {
                if let Some((name, content)) = rubbish(kind, &batch) {
                    std::fs::write(inbound.join(name), content).unwrap();
                    heard.extend(hear(&connector, false).await);
                }
                let mut text = "row_no,status,code,message\n".to_owned();
                for row in rows {
                    writeln!(text, "{},{}", row + 1, ANSWERS[answers[row]]).unwrap();
                }
                std::fs::write(inbound.join(format!("{batch}.ack.csv")), text).unwrap();
                heard.extend(hear(&connector, crash).await);
                if crash {
                    crashed = true;
                    connector = connect(folder.path());
                    heard.extend(hear(&connector, false).await);
                }
            }
        });
        let expected: BTreeMap<String, String> = (answers.iter().enumerate())
            .map(|(row, answer)| (format!("D-{}", row + 1), means(ANSWERS[*answer])))
            .collect();
        let known: BTreeSet<_> = heard.iter().cloned().collect();
        prop_assert_eq!(&known, &expected.into_iter().collect());
        if !crashed {
            prop_assert_eq!(known.len(), heard.len(), "each row is told once");
        }
        let left = std::fs::read_dir(folder.path().join("sent")).unwrap();
        let left = left.filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
        prop_assert_eq!(left, 0, "the batch is wholly acknowledged");
    }

    #[test]
    fn c133_any_text_is_carried_and_none_begins_a_formula(
        address in "([=+@\t\r\0'\"-]|\\PC|\n|,){0,12}",
        reason in "([=+@\t\r\0'\"-]|\\PC|\n|,){0,40}",
    ) {
        let folder = exchange();
        let connector = connect(folder.path());
        let batch = run(hand_over(&connector, &[request(1, &address, &reason)]));
        let name = format!("outbound/cu_ecomm_email_optout_{batch}.csv");
        let mut reader = csv::Reader::from_path(folder.path().join(name)).unwrap();
        let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
        prop_assert_eq!(rows.len(), 1);
        for cell in &rows[0] {
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\0']), "{:?}", cell);
        }
        for (cell, text) in [(4, address), (9, reason)] {
            let begins = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\0']);
            let guard = if begins { "'" } else { "" };
            prop_assert_eq!(&rows[0][cell], format!("{guard}{text}"));
        }
    }
}
