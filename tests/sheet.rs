//! The re-subscribe sheet as a file (R47): what stands in it, and that nothing in it can act.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use calamine::{Data, Reader as _, Xlsx};
use chrono_tz::America::Denver;
use consentd::config::{Schedule, Sheet, SheetFormat};
use consentd::consent::At;
use consentd::sync::sheet::{self, COLUMNS, Evidence, Row};
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::str::FromStr as _;

fn at(text: &str) -> At {
    At::from(chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc())
}

fn row(id: i64, address: &str) -> Row {
    Row {
        id,
        urgent: id == 1,
        opened: at("2026-03-01T10:00:00Z"),
        address: address.to_owned(),
        subscriber: "0035e00000ABCDEAA5".to_owned(),
        unit: ("1234567".to_owned(), "CU Boulder".to_owned()),
        status: "held".to_owned(),
        unsubscribed: None,
        last_read: at("2026-03-02T03:00:00Z"),
        cause: "opt-in".to_owned(),
        evidence: Evidence {
            system: Some("salesforce".to_owned()),
            actor: Some("=cmd|'/c calc'!A1".to_owned()),
            from: Some("2026-03-01T09:59:59Z".to_owned()),
        },
        note: Some("line\nbreak, \"quoted\"".to_owned()),
    }
}

fn settings(directory: &std::path::Path) -> Sheet {
    Sheet {
        directory: directory.to_owned(),
        schedule: Schedule::Cron {
            cron: Box::new(croner::Cron::from_str("0 6 * * 1").unwrap()),
            time_zone: Denver,
        },
        formats: vec![SheetFormat::Csv, SheetFormat::Xlsx],
    }
}

#[test]
fn r47_a_sheet_in_csv_starts_no_formula() {
    let rows = [row(1, "ann@example.edu"), row(2, "+bob@example.edu")];
    let bytes = sheet::render(&rows, SheetFormat::Csv).unwrap();
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
    let read: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let column = |name: &str| COLUMNS.iter().position(|column| *column == name).unwrap();
    assert_eq!(&read[0][column("urgency")], "urgent");
    assert_eq!(&read[1][column("urgency")], "weekly");
    assert_eq!(&read[0][column("address")], "ann@example.edu");
    assert_eq!(&read[1][column("address")], "'+bob@example.edu");
    assert_eq!(&read[0][column("opted_in_by")], "'=cmd|'/c calc'!A1");
    assert_eq!(&read[0][column("note")], "line\nbreak, \"quoted\"");
    assert_eq!(&read[0][column("opened")], "2026-03-01T10:00:00Z");
}

#[test]
fn r47_a_workbook_holds_texts_and_times() {
    let bytes = sheet::render(&[row(1, "=1+1@example.edu")], SheetFormat::Xlsx).unwrap();
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
    let name = book.sheet_names()[0].clone();
    let formulas = book.worksheet_formula(&name).unwrap();
    assert!(
        formulas.used_cells().all(|(_, _, text)| text.is_empty()),
        "no cell is a formula"
    );
    let range = book.worksheet_range(&name).unwrap();
    let cell = |line: u32, name: &str| {
        let column = COLUMNS.iter().position(|column| *column == name).unwrap();
        range
            .get_value((line, u32::try_from(column).unwrap()))
            .cloned()
            .unwrap_or(Data::Empty)
    };
    for name in COLUMNS {
        assert_eq!(cell(0, name), Data::String(name.to_owned()));
    }
    assert_eq!(cell(1, "request"), Data::Float(1.0));
    assert_eq!(
        cell(1, "address"),
        Data::String("=1+1@example.edu".to_owned()),
        "a text, whatever it begins with"
    );
    assert_eq!(cell(1, "unsubscribed"), Data::Empty);
    let Data::DateTime(opened) = cell(1, "opened") else {
        panic!("a time: {:?}", cell(1, "opened"));
    };
    // Excel counts days from 1899-12-30.
    let expected = 46_082.0 + 10.0 / 24.0;
    assert!((opened.as_f64() - expected).abs() < 1e-6, "{opened:?}");
}

#[test]
fn r47_a_sheet_is_named_after_its_day_and_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    // In Denver it is still the evening before.
    let now = at("2026-03-02T02:00:00Z");
    let files = sheet::write(&settings(folder.path()), &[row(1, "a@example.edu")], now).unwrap();
    let names: Vec<String> = files
        .iter()
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        names,
        ["resubscribe-2026-03-01.csv", "resubscribe-2026-03-01.xlsx"]
    );
    for file in &files {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    sheet::write(&settings(folder.path()), &[], now).unwrap();
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(
        text.lines().count(),
        1,
        "replaced by one with its head alone"
    );
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "nothing else is left lying");
}

#[test]
fn r47_a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere");
    let fault = sheet::write(&settings(&missing), &[], at("2026-03-02T02:00:00Z")).unwrap_err();
    assert!(
        fault
            .to_string()
            .contains("nowhere/resubscribe-2026-03-01.csv"),
        "{fault}"
    );
}
