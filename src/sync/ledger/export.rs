//! Entries of the ledger, one a line, for people and programs outside.
//!
//! What is written is what is stored: nothing is proved here. Subjects are named by keyed hash (R55).

use super::BATCH;
use crate::consent::{At, Rules, SystemId};
use crate::list::harmless;
use crate::store::{LedgerRow, Store, StoreError, SubjectRef, ledger};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::{self, Write};

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A JSON object a line; the body is an object in it.
    Jsonl,
    /// RFC 4180 with a header, no cell of which starts a formula; the body is JSON text.
    Csv,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Made then or later, by our clock.
    pub since: Option<At>,
    /// Made before then.
    pub until: Option<At>,
    /// Of this kind.
    pub kind: Option<String>,
    /// About this subject.
    pub subject: Option<SubjectRef>,
}

/// Why entries could not be handed out.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry cannot be read; `consentd ledger verify` tells more.
    #[error("the ledger cannot be read behind entry {after}; `consentd ledger verify` tells more")]
    Unreadable {
        /// The last one that could be.
        after: i64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// They cannot be written.
    #[error("the entries cannot be written")]
    Write(#[from] io::Error),
}

/// Columns of an export as CSV.
const COLUMNS: [&str; 6] = ["seq", "time", "kind", "subject", "system", "body"];

/// One entry as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    seq: i64,
    time: String,
    kind: &'a str,
    subject: Option<&'a str>,
    system: Option<&'a str>,
    body: Body<'a>,
}

/// A body is JSON, save that of a forgotten entry, which is the digest it keeps.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

/// Who an entry is about, in its body.
#[derive(Deserialize)]
struct About<'a> {
    #[serde(default, borrow)]
    subject: Option<Cow<'a, str>>,
}

/// Writes the chosen entries, in order; how many there are.
///
/// # Errors
/// When the store or an entry in it cannot be read, or nothing can be written.
pub async fn export(
    store: &dyn Store,
    rules: &Rules,
    choice: &Choice,
    form: Form,
    into: &mut (dyn Write + Send),
) -> Result<u64, ExportError> {
    let mut sink = match form {
        Form::Jsonl => Sink::Jsonl(into),
        Form::Csv => {
            let mut csv = csv::Writer::from_writer(into);
            csv.write_record(COLUMNS).map_err(io::Error::from)?;
            Sink::Csv(Box::new(csv))
        }
    };
    let hash = choice.subject.map(|subject| subject.to_string());
    let mut after = 0;
    let mut written = 0;
    loop {
        let blocks = store.ledger_blocks(after, BATCH).await?;
        let Some(newest) = blocks.last() else { break };
        let last = newest.block.last;
        for stored in &blocks {
            for entry in ledger::unpack(stored.block.first, &stored.entries) {
                let (_, row) = entry.map_err(|source| ExportError::Unreadable { after, source })?;
                after = row.seq;
                if !choice.takes(&row) {
                    continue;
                }
                let about = serde_json::from_str::<About<'_>>(&row.body).ok();
                let about = about.and_then(|about| about.subject);
                if hash.is_none() || hash.as_deref() == about.as_deref() {
                    sink.put(&row, about.as_deref(), rules)?;
                    written += 1;
                }
            }
        }
        after = last;
    }
    sink.end()?;
    Ok(written)
}

impl Choice {
    fn takes(&self, row: &LedgerRow) -> bool {
        let at = At::from_micros(row.at);
        self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.kind.as_ref().is_none_or(|kind| *kind == row.kind)
    }
}

/// Where entries go.
enum Sink<'a> {
    Jsonl(&'a mut (dyn Write + Send)),
    Csv(Box<csv::Writer<&'a mut (dyn Write + Send)>>),
}

impl Sink<'_> {
    fn put(&mut self, row: &LedgerRow, subject: Option<&str>, rules: &Rules) -> io::Result<()> {
        let system = row.system.map(|id| rules.system_name(SystemId(id)));
        let time = At::from_micros(row.at).to_string();
        match self {
            Self::Jsonl(into) => {
                let line = Line {
                    seq: row.seq,
                    time,
                    kind: &row.kind,
                    subject,
                    system,
                    body: serde_json::from_str(&row.body).map_or(Body::Text(&row.body), Body::Json),
                };
                serde_json::to_writer(&mut **into, &line)?;
                into.write_all(b"\n")
            }
            Self::Csv(csv) => {
                let texts = [
                    row.kind.as_str(),
                    subject.unwrap_or_default(),
                    system.unwrap_or_default(),
                    &row.body,
                ];
                let texts = texts.map(harmless);
                let numbers = [row.seq.to_string(), time];
                csv.write_record(numbers.iter().chain(&texts))?;
                Ok(())
            }
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Jsonl(into) => into.flush(),
            Self::Csv(mut csv) => csv.flush(),
        }
    }
}
