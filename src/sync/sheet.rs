//! The re-subscribe sheet: the open requests as people work them, in CSV and as a workbook (R47).
//!
//! It holds addresses, so its files are for the daemon's user alone, and it is written from the store
//! at the moment it is asked for: whoever wants no mail by now is not on it.

use super::gate::{REQUESTS_AT_ONCE, is_granted};
use crate::config::{Schedule, Sheet, SheetFormat};
use crate::consent::{At, PurposeId, Rules};
use crate::list::harmless;
use crate::private_file;
use crate::store::{RequestQuery, RequestView, Store, StoreError};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, XlsxError};
use serde::Deserialize;
use std::borrow::Cow;

use std::path::PathBuf;

/// The heads of the columns.
pub const COLUMNS: [&str; 15] = [
    "request",
    "urgency",
    "opened",
    "address",
    "subscriber_key",
    "business_unit",
    "business_unit_name",
    "status",
    "unsubscribed",
    "last_read",
    "cause",
    "opted_in_at",
    "opted_in_where",
    "opted_in_by",
    "note",
];

/// Why no sheet could be made.
#[derive(Debug, thiserror::Error)]
pub enum SheetFault {
    /// The file cannot be written.
    #[error("{path} cannot be written: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row cannot be written as CSV.
    #[error("the sheet cannot be written as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// The workbook cannot be made.
    #[error("the workbook cannot be made: {0}")]
    Xlsx(#[from] XlsxError),
}

/// One line of the sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of the request.
    pub id: i64,
    /// Somebody waits for it.
    pub urgent: bool,
    /// When it was opened.
    pub opened: At,
    /// Normalised address.
    pub address: String,
    /// Subscriber key.
    pub subscriber: String,
    /// The unit's id and name.
    pub unit: (String, String),
    /// What the unit said last.
    pub status: String,
    /// When the subscriber opted out there.
    pub unsubscribed: Option<At>,
    /// When the unit was asked last.
    pub last_read: At,
    /// What led to it.
    pub cause: String,
    /// When, where and by whom the mail was asked for.
    pub evidence: Evidence,
    /// What came of the daemon's own attempt.
    pub note: Option<String>,
}

/// When, where and by whom mail was asked for, as packed with a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Evidence {
    /// Configured name of the system.
    pub system: Option<String>,
    /// Who, as that system names its users.
    pub actor: Option<String>,
    /// The earliest instant.
    pub from: Option<String>,
}

impl Row {
    fn of(view: RequestView) -> Self {
        let request = view.request;
        let subscriber = if request.subscriber.is_empty() {
            view.address.clone()
        } else {
            request.subscriber
        };
        Self {
            id: request.id,
            urgent: request.urgent,
            opened: At::from_micros(request.opened_at),
            address: view.address,
            subscriber,
            unit: (request.unit, request.unit_name),
            status: request.status,
            unsubscribed: request.unsubscribed_at.map(At::from_micros),
            last_read: At::from_micros(request.seen_at),
            cause: request.cause,
            // Only to be read by people: what an earlier version wrote may be left out.
            evidence: serde_json::from_str(&request.evidence).unwrap_or_default(),
            note: request.note,
        }
    }

    /// The word for how soon it is to be worked.
    pub const fn urgency(&self) -> &'static str {
        if self.urgent { "urgent" } else { "weekly" }
    }

    /// The texts of the line, in the order of [`COLUMNS`].
    pub fn texts(&self) -> [Cow<'_, str>; COLUMNS.len()] {
        let optional = |text: &'_ Option<String>| text.clone().unwrap_or_default().into();
        [
            self.id.to_string().into(),
            self.urgency().into(),
            self.opened.to_string().into(),
            self.address.as_str().into(),
            self.subscriber.as_str().into(),
            self.unit.0.as_str().into(),
            self.unit.1.as_str().into(),
            self.status.as_str().into(),
            self.unsubscribed
                .map(|at| at.to_string())
                .unwrap_or_default()
                .into(),
            self.last_read.to_string().into(),
            self.cause.as_str().into(),
            optional(&self.evidence.from),
            optional(&self.evidence.system),
            optional(&self.evidence.actor),
            optional(&self.note),
        ]
    }

    /// The instants among the texts, by column.
    fn instant(&self, column: usize) -> Option<At> {
        match COLUMNS.get(column) {
            Some(&"opened") => Some(self.opened),
            Some(&"unsubscribed") => self.unsubscribed,
            Some(&"last_read") => Some(self.last_read),
            _ => None,
        }
    }
}

/// The open requests of people who want mail now: urgent ones first, then the oldest.
///
/// # Errors
/// When the store fails or holds what cannot be read.
pub async fn rows(
    store: &dyn Store,
    rules: &Rules,
    purpose: PurposeId,
) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    let mut query = RequestQuery::default();
    loop {
        let page = store.requests(&query, REQUESTS_AT_ONCE).await?;
        let Some(last) = page.last() else {
            break;
        };
        query.after = last.request.id;
        for view in page {
            let granted = is_granted(&view.verdicts, rules, purpose);
            let granted = granted.map_err(|error| StoreError::Corrupt {
                what: "packed column",
                detail: error.to_string(),
            })?;
            if granted {
                rows.push(Row::of(view));
            }
        }
    }
    rows.sort_by_key(|row| (!row.urgent, row.opened, row.id));
    Ok(rows)
}

/// The sheet as bytes.
///
/// # Errors
/// When a row or the workbook cannot be made.
pub fn render(rows: &[Row], format: SheetFormat) -> Result<Vec<u8>, SheetFault> {
    match format {
        SheetFormat::Csv => as_csv(rows),
        SheetFormat::Xlsx => as_workbook(rows),
    }
}

fn as_csv(rows: &[Row]) -> Result<Vec<u8>, SheetFault> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        writer.write_record(row.texts().iter().map(|text| harmless(text)))?;
    }
    writer
        .into_inner()
        .map_err(|fault| csv::Error::from(fault.into_error()).into())
}

fn as_workbook(rows: &[Row]) -> Result<Vec<u8>, SheetFault> {
    let mut workbook = Workbook::new();
    let head = Format::new().set_bold();
    let time = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
    let sheet = workbook.add_worksheet();
    sheet.set_name("Re-subscribe requests")?;
    sheet.set_freeze_panes(1, 0)?;
    for (column, name) in (0_u16..).zip(COLUMNS) {
        sheet.write_string_with_format(0, column, name, &head)?;
    }
    for (line, row) in (1_u32..).zip(rows) {
        for (column, text) in (0_u16..).zip(row.texts()) {
            match row.instant(usize::from(column)) {
                Some(at) => {
                    let seconds = at.micros().div_euclid(1_000_000);
                    let at = ExcelDateTime::from_timestamp(seconds)?;
                    sheet.write_datetime_with_format(line, column, &at, &time)?;
                }
                None if column == 0 => {
                    sheet.write_number(line, column, row.id as f64)?;
                }
                // A text cell is never a formula, whatever it begins with.
                None => {
                    sheet.write_string(line, column, text)?;
                }
            }
        }
    }
    sheet.autofit();
    Ok(workbook.save_to_buffer()?)
}

/// Writes the sheet of that day in every format, replacing one of the same day. The files.
///
/// # Errors
/// When a file cannot be written; the ones before it are.
pub fn write(settings: &Sheet, rows: &[Row], now: At) -> Result<Vec<PathBuf>, SheetFault> {
    let zone = match &settings.schedule {
        Schedule::Immediate => chrono_tz::UTC,
        Schedule::Cron { time_zone, .. } => *time_zone,
    };
    let day = now.to_datetime().with_timezone(&zone).format("%Y-%m-%d");
    let mut files = Vec::new();
    for format in &settings.formats {
        let name = format!("resubscribe-{day}.{}", format.word());
        let path = settings.directory.join(name);
        private_file::put(&path, &render(rows, *format)?).map_err(|source| SheetFault::File {
            path: path.clone(),
            source,
        })?;
        files.push(path);
    }
    Ok(files)
}
