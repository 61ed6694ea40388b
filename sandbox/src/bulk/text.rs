//! The CSV dialects of bulk jobs: six delimiters, two line endings, every written value in quotes.

use csv::{QuoteStyle, ReaderBuilder, Terminator, WriterBuilder};
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// One dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    delimiter: u8,
    crlf: bool,
}

const DELIMITERS: [(&str, u8); 6] = [
    ("BACKQUOTE", b'`'),
    ("CARET", b'^'),
    ("COMMA", b','),
    ("PIPE", b'|'),
    ("SEMICOLON", b';'),
    ("TAB", b'\t'),
];

impl Format {
    /// The dialect that a job asks for.
    pub(crate) fn of(body: &Map<String, Value>) -> Result<Format, Refusal> {
        let invalid =
            |what: &str| Refusal::new(400, "INVALIDJOB", format!("{what} is not supported"));
        let text = |name: &str, default: &str| {
            body.get(name).map_or(Some(default.to_owned()), |value| {
                value.as_str().map(str::to_owned)
            })
        };
        if text("contentType", "CSV").as_deref() != Some("CSV") {
            return Err(invalid("contentType"));
        }
        let name = text("columnDelimiter", "COMMA").ok_or_else(|| invalid("columnDelimiter"))?;
        let (_, delimiter) = DELIMITERS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| invalid("columnDelimiter"))?;
        let crlf = match text("lineEnding", "LF").as_deref() {
            Some("LF") => false,
            Some("CRLF") => true,
            _ => return Err(invalid("lineEnding")),
        };
        Ok(Format {
            delimiter: *delimiter,
            crlf,
        })
    }

    pub(crate) fn delimiter_name(self) -> &'static str {
        DELIMITERS
            .iter()
            .find(|(_, byte)| *byte == self.delimiter)
            .map_or("COMMA", |(name, _)| name)
    }

    pub(crate) fn line_ending(self) -> &'static str {
        if self.crlf { "CRLF" } else { "LF" }
    }

    /// Writes a header and rows.
    pub(crate) fn write<R, F>(self, header: &[String], rows: R) -> Vec<u8>
    where
        R: IntoIterator<Item = F>,
        F: IntoIterator<Item = String>,
    {
        let terminator = if self.crlf {
            Terminator::CRLF
        } else {
            Terminator::Any(b'\n')
        };
        let mut writer = WriterBuilder::new()
            .quote_style(QuoteStyle::Always)
            .delimiter(self.delimiter)
            .terminator(terminator)
            .flexible(true)
            .from_writer(Vec::new());
        let written = writer.write_record(header).and_then(|()| {
            rows.into_iter()
                .try_for_each(|row| writer.write_record(row.into_iter().collect::<Vec<String>>()))
        });
        if let Err(error) = written {
            tracing::error!(%error, "a CSV row could not be written");
        }
        writer.into_inner().unwrap_or_default()
    }

    /// Reads a header and rows of the same width.
    pub(crate) fn read(self, text: &[u8]) -> Result<(Vec<String>, Vec<Vec<String>>), String> {
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .from_reader(text);
        let to_strings =
            |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
        let header = reader
            .headers()
            .map(to_strings)
            .map_err(|error| error.to_string())?;
        let rows = reader
            .records()
            .map(|record| {
                record
                    .map(|record| to_strings(&record))
                    .map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()?;
        Ok((header, rows))
    }
}
