//! The text of the exchanged files: CSV after RFC 4180, with texts that no spreadsheet takes for a
//! formula, and what is read of it, row by row and with a place to go on from.

use crate::consent::At;
use chrono::{DateTime, SecondsFormat};

/// A row is no longer than this; a quote that is never closed is noticed early.
pub(super) const MAX_ROW_BYTES: usize = 256 * 1024;

/// What makes a spreadsheet take a text for a formula.
fn begins_a_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\0'])
}

/// A text of somebody's as it is written into a file: one apostrophe keeps it a text.
pub(super) fn guarded(text: &str) -> String {
    if begins_a_formula(text) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// What [`guarded`] was given: exactly one apostrophe is taken off.
pub(super) fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if begins_a_formula(rest) => rest,
        _ => text,
    }
}

/// One row with its line end.
pub(super) fn push_row(out: &mut String, cells: &[&str]) {
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        if cell.contains(['"', ',', '\n', '\r']) {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(cell);
        }
    }
    out.push('\n');
}

/// An instant as it stands in a file.
pub(super) fn instant(at: At) -> String {
    at.to_datetime()
        .to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// An instant of a file.
pub(super) fn parse_instant(text: &str) -> Option<At> {
    let parsed = DateTime::parse_from_rfc3339(text.trim()).ok()?;
    Some(At::from(parsed.to_utc()))
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// A row of a file: its cells, or nothing where they are no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The cells; none when the row is not UTF-8.
    pub(super) cells: Option<Vec<String>>,
    /// The bytes of the row as they stand in the file.
    pub(super) raw: Vec<u8>,
    /// Where the next row begins, from the beginning of the bytes that were given.
    pub(super) end: usize,
}

/// The whole rows of a stretch of a file. Where the stretch is not the file's end, its last row may be
/// cut and is left out.
pub(super) fn rows(bytes: &[u8], is_end: bool, most: usize) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes);
    let mut rows = Vec::new();
    let mut record = csv::ByteRecord::new();
    let mut begin = 0;
    while rows.len() < most && reader.read_byte_record(&mut record).unwrap_or(false) {
        let end = usize::try_from(reader.position().byte()).unwrap_or(bytes.len());
        if !is_end && end >= bytes.len() {
            break;
        }
        let cells: Option<Vec<String>> = record
            .iter()
            .map(|cell| std::str::from_utf8(cell).ok().map(str::to_owned))
            .collect();
        rows.push(Row {
            cells,
            raw: bytes.get(begin..end).unwrap_or_default().to_vec(),
            end,
        });
        begin = end;
    }
    rows
}

/// Where the columns stand that a header names, in any case and behind a byte-order mark.
pub(super) fn columns(header: &[String], names: &[&str]) -> Vec<Option<usize>> {
    let is = |cell: &String, name: &str| {
        cell.trim_start_matches('\u{feff}')
            .trim()
            .eq_ignore_ascii_case(name)
    };
    names
        .iter()
        .map(|name| header.iter().position(|cell| is(cell, name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r46_no_text_is_taken_for_a_formula_and_none_is_fed_back_changed() {
        let rows = [
            ("=1+1", "'=1+1"),
            ("+47 22", "'+47 22"),
            ("-1", "'-1"),
            ("@home", "'@home"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("\0x", "'\0x"),
            ("plain", "plain"),
            ("o'brien@example.edu", "o'brien@example.edu"),
            ("'tis", "'tis"),
            ("", ""),
        ];
        for (text, written) in rows {
            assert_eq!(guarded(text), written);
            assert_eq!(unguarded(written), text);
        }
        assert_eq!(
            unguarded("''=1+1"),
            "''=1+1",
            "what nobody guarded stays as it is"
        );
    }

    #[test]
    fn r46_rows_are_read_in_stretches_without_losing_one() {
        let mut text = String::new();
        push_row(&mut text, &["id", "text"]);
        for place in 0..40 {
            push_row(&mut text, &[&place.to_string(), "a \"quoted\",\nlong text"]);
        }
        let whole: Vec<_> = rows(text.as_bytes(), true, usize::MAX);
        assert_eq!(whole.len(), 41);
        for stretch in 60..90 {
            let (mut from, mut read) = (0, Vec::new());
            while from < text.len() {
                let to = (from + stretch).min(text.len());
                let part = rows(&text.as_bytes()[from..to], to == text.len(), 3);
                let Some(last) = part.last() else {
                    panic!("no row in {stretch} bytes")
                };
                from += last.end;
                read.extend(part.into_iter().map(|row| row.cells));
            }
            let expected: Vec<_> = whole.iter().map(|row| row.cells.clone()).collect();
            assert_eq!(read, expected, "{stretch}");
        }
    }
}
