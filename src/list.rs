//! Lists, as a table for people, or as JSON or CSV for programs: of commands, and of reports in files.
//!
//! What stands in a list may come from a vendor, and so from anybody: a table lets no control
//! character reach the terminal, and CSV starts no formula in a spreadsheet.

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value};
use std::io;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// An array of objects.
    Json,
    /// RFC 4180, with a header.
    Csv,
}

/// One value of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing to show.
    Empty,
    /// Text.
    Text(String),
    /// A count.
    Number(i64),
    /// A share, shown in percent in a table.
    Share(f64),
    /// Yes or no.
    Flag(bool),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

/// A list: named columns, and rows as long as these.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    columns: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl List {
    /// An empty list. Column names are lower case with `_`.
    pub const fn new(columns: &'static [&'static str]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    /// How many rows there are.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The whole list as text.
    ///
    /// # Errors
    /// When it cannot be written as CSV, which is only for lack of memory.
    pub fn render(&self, format: Format) -> io::Result<String> {
        match format {
            Format::Table => Ok(self.table()),
            Format::Json => Ok(format!("{:#}\n", self.value())),
            Format::Csv => self.csv(),
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(
            self.columns
                .iter()
                .map(|column| column.replace('_', " ").to_uppercase()),
        );
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| {
                let aligned = match cell {
                    Cell::Number(_) | Cell::Share(_) => CellAlignment::Right,
                    Cell::Empty | Cell::Text(_) | Cell::Flag(_) => CellAlignment::Left,
                };
                comfy_table::Cell::new(printable(&shown(cell))).set_alignment(aligned)
            }));
        }
        table.trim_fmt() + "\n"
    }

    /// The whole list as an array of objects.
    pub fn value(&self) -> Value {
        let objects = self
            .rows
            .iter()
            .map(|row| {
                let members = self.columns.iter().zip(row).map(|(column, cell)| {
                    let value = match cell {
                        Cell::Empty => Value::Null,
                        Cell::Text(text) => text.clone().into(),
                        Cell::Number(number) => (*number).into(),
                        Cell::Share(share) => (*share).into(),
                        Cell::Flag(flag) => (*flag).into(),
                    };
                    ((*column).to_owned(), value)
                });
                Value::Object(members.collect::<Map<_, _>>())
            })
            .collect();
        Value::Array(objects)
    }

    fn csv(&self) -> io::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|cell| match cell {
                Cell::Empty => String::new(),
                Cell::Text(text) => harmless(text),
                Cell::Number(number) => number.to_string(),
                Cell::Share(share) => share.to_string(),
                Cell::Flag(flag) => flag.to_string(),
            }))?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|fault| io::Error::other(fault.to_string()))?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Empty => "-".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Number(number) => number.to_string(),
        // Rounded down: 100 % is said of everything only.
        Cell::Share(share) => format!("{:.2} %", (share * 10_000.0).floor() / 100.0),
        Cell::Flag(true) => "yes".to_owned(),
        Cell::Flag(false) => "no".to_owned(),
    }
}

/// Without characters that move the cursor, change colours or hide text.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() || is_direction_mark(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text that a spreadsheet takes for text: what could begin a formula gets an apostrophe in front.
/// Such a file is for reading; it is never read back as data.
pub fn harmless(text: &str) -> String {
    let text = text.replace('\0', "\u{fffd}");
    let begins = text
        .trim_start_matches(' ')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if begins { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        let mut list = List::new(&["system", "what", "live", "parity", "fine", "since"]);
        list.push(vec![
            "crm".into(),
            "=HYPERLINK(\"http://x\")".into(),
            7.into(),
            Cell::Share(0.99999),
            true.into(),
            None::<i64>.into(),
        ]);
        list
    }

    #[test]
    fn csv_starts_no_formula() {
        let text = list().render(Format::Csv).unwrap();
        assert_eq!(
            text,
            "system,what,live,parity,fine,since\n\
             crm,\"'=HYPERLINK(\"\"http://x\"\")\",7,0.99999,true,\n"
        );
        for text in ["+1", "-1", "@SUM(A1)", "\tx", "\r=x", "\n=x", "  =x"] {
            assert!(harmless(text).starts_with('\''), "{text:?}");
        }
        assert_eq!(harmless("a\0b"), "a\u{fffd}b");
        assert_eq!(harmless("a=b"), "a=b");
    }

    #[test]
    fn json_keeps_types() {
        let value: Value = serde_json::from_str(&list().render(Format::Json).unwrap()).unwrap();
        assert_eq!(value[0]["live"], 7);
        assert_eq!(value[0]["fine"], true);
        assert_eq!(value[0]["since"], Value::Null);
        assert_eq!(value[0]["what"], "=HYPERLINK(\"http://x\")");
    }

    #[test]
    fn a_table_lets_no_control_character_out_and_never_rounds_up_to_all() {
        let mut list = list();
        list.push(vec![
            "\u{1b}[2J\u{202e}evil".into(),
            Cell::Empty,
            0.into(),
            Cell::Share(1.0),
            false.into(),
            1.into(),
        ]);
        let text = list.render(Format::Table).unwrap();
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(
            text.contains("99.99 %") && text.contains("100.00 %"),
            "{text}"
        );
    }
}
