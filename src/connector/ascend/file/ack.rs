//! Acknowledgements: what the other side says of a batch, row by row.
//!
//! Every row is judged on its own. What can be understood counts, and what cannot is told by its place
//! and kept with the file; nothing is guessed.

use super::text::{MAX_ROW_BYTES, columns, rows, unguarded};
use crate::connector::{Answer, Fault, FaultClass};
use std::collections::BTreeMap;

/// What the name of an acknowledgement ends with, behind the batch's id.
pub(super) const ENDING: &str = ".ack.csv";
/// So many things that are wrong with a file are listed; the rest is counted.
const MOST_LISTED: usize = 20;
/// Words of the other side are cut at this.
const MESSAGE_CHARS: usize = 255;

/// What was said of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// The status and the code, as the books keep them.
    pub(super) word: String,
    /// What it means.
    pub(super) answer: Answer,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Acknowledgement {
    /// By row number.
    pub(super) rows: BTreeMap<u32, Said>,
    /// What is wrong with the file; holds no address.
    pub(super) wrong: Vec<String>,
}

/// Reads an acknowledgement of a batch of so many rows.
pub(super) fn read(bytes: &[u8], rows_in_batch: usize) -> Acknowledgement {
    let mut said = Acknowledgement::default();
    let mut wrong = Wrong::default();
    let mut lines = rows(bytes, true, usize::MAX).into_iter();
    let header = lines.next().and_then(|row| row.cells).unwrap_or_default();
    let places = columns(&header, &["row_no", "status", "code", "message"]);
    if places.iter().take(3).any(Option::is_none) {
        said.wrong =
            vec!["its header must name the columns row_no, status, code and message".to_owned()];
        return said;
    }
    let mut contradicting: Vec<u32> = Vec::new();
    for (index, row) in lines.enumerate() {
        let line = index + 2;
        if row.raw.len() > MAX_ROW_BYTES {
            wrong.add(format!("line {line} is too long; is a quote not closed?"));
            continue;
        }
        let Some(cells) = row.cells else {
            wrong.add(format!("line {line} is not UTF-8"));
            continue;
        };
        if cells.len() != header.len() {
            wrong.add(format!(
                "line {line} has {} cells instead of {}",
                cells.len(),
                header.len()
            ));
            continue;
        }
        let cell = |column: usize| {
            let place = places.get(column).copied().flatten();
            place
                .and_then(|place| cells.get(place))
                .map_or("", |cell| cell.trim())
        };
        let number = cell(0).parse::<u32>().ok();
        let Some(number) = number.filter(|number| {
            *number >= 1 && usize::try_from(*number).is_ok_and(|number| number <= rows_in_batch)
        }) else {
            wrong.add(format!("line {line} has a row_no that is not in the batch"));
            continue;
        };
        let Some(answer) = answer(cell(1), cell(2), cell(3)) else {
            wrong.add(format!("line {line} has an unknown status"));
            continue;
        };
        match said.rows.get(&number) {
            Some(known) if known.word != answer.word => contradicting.push(number),
            Some(_) => {}
            None => {
                said.rows.insert(number, answer);
            }
        }
    }
    for number in contradicting {
        if said.rows.remove(&number).is_some() {
            wrong.add(format!(
                "row {number} stands twice and says different things"
            ));
        }
    }
    said.wrong = wrong.listed();
    said
}

/// What the words mean; none for a status that is not agreed.
fn answer(status: &str, code: &str, message: &str) -> Option<Said> {
    let status = status.to_ascii_uppercase();
    match status.as_str() {
        // The contact shows the value either way.
        "APPLIED" | "NOCHANGE" => Some(Said {
            word: status,
            answer: Answer::Applied,
        }),
        "REJECTED" => {
            let code: String = code
                .to_ascii_uppercase()
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                .take(40)
                .collect();
            let code = if code.is_empty() {
                "REJECTED".to_owned()
            } else {
                code
            };
            let word = format!("REJECTED {code}");
            let meaning = match code.as_str() {
                "NOT_FOUND" => "no contact has that id",
                "DUPLICATE_ID" => "several contacts have that id",
                "INVALID" => "the row is not valid there",
                "POLICY" => "its rules forbid it",
                "LOCKED" => "the contact is locked for the moment",
                "STALE" => "it holds a newer change",
                _ => "it gives a code that is not agreed",
            };
            let words = harmless(message);
            let told = if words.is_empty() {
                format!("CU Ascend refused it: {meaning}")
            } else {
                format!("CU Ascend refused it: {meaning} ({words})")
            };
            let class = match code.as_str() {
                "LOCKED" | "STALE" => FaultClass::Retryable,
                _ => FaultClass::Rejected,
            };
            let overtaken = code == "STALE";
            let fault = Fault::new(class, code, told);
            let answer = if overtaken {
                Answer::Overtaken(fault)
            } else {
                Answer::Failed(fault)
            };
            Some(Said { word, answer })
        }
        _ => None,
    }
}

/// Words of the other side without what must not stand in a message: an address is one word with an @.
fn harmless(message: &str) -> String {
    let words = unguarded(message).split_whitespace();
    let words: Vec<&str> = words
        .map(|word| {
            if word.contains('@') {
                "(address)"
            } else {
                word
            }
        })
        .collect();
    let text = words.join(" ");
    text.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_CHARS)
        .collect()
}

/// What is wrong with a file, up to a bound.
#[derive(Debug, Default)]
struct Wrong {
    listed: Vec<String>,
    more: usize,
}

impl Wrong {
    fn add(&mut self, what: String) {
        if self.listed.len() < MOST_LISTED {
            self.listed.push(what);
        } else {
            self.more += 1;
        }
    }

    fn listed(mut self) -> Vec<String> {
        if self.more > 0 {
            self.listed.push(format!("and {} more", self.more));
        }
        self.listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r46_every_row_of_an_acknowledgement_is_judged_on_its_own() {
        let header = "row_no,status,code,message\n";
        let rows = [
            ("applied", "1,APPLIED,,\n", "1:APPLIED", 0),
            ("in any case", "1,applied,,\n", "1:APPLIED", 0),
            (
                "no change shows the value as well",
                "1,NoChange,,\n",
                "1:NOCHANGE",
                0,
            ),
            (
                "a code",
                "1,REJECTED,not_found,gone\n",
                "1:REJECTED NOT_FOUND",
                0,
            ),
            (
                "a code that is not agreed",
                "1,REJECTED,ODD,\n",
                "1:REJECTED ODD",
                0,
            ),
            ("no code at all", "1,REJECTED,,\n", "1:REJECTED REJECTED", 0),
            (
                "the same twice counts once",
                "1,APPLIED,,\n1,APPLIED,,\n",
                "1:APPLIED",
                0,
            ),
            (
                "two that contradict count for nothing",
                "1,APPLIED,,\n1,REJECTED,LOCKED,\n2,APPLIED,,\n",
                "2:APPLIED",
                1,
            ),
            (
                "an unknown status",
                "1,DONE,,\n2,APPLIED,,\n",
                "2:APPLIED",
                1,
            ),
            ("row 0", "0,APPLIED,,\n2,APPLIED,,\n", "2:APPLIED", 1),
            (
                "a row beyond the batch",
                "4,APPLIED,,\n2,APPLIED,,\n",
                "2:APPLIED",
                1,
            ),
            (
                "a number that is none",
                "x,APPLIED,,\n2,APPLIED,,\n",
                "2:APPLIED",
                1,
            ),
            ("a cut line", "2,APPLIED,,\n1,APPL", "2:APPLIED", 1),
            (
                "a cell too many",
                "1,APPLIED,,,\n2,APPLIED,,\n",
                "2:APPLIED",
                1,
            ),
            (
                "a quote that is never closed",
                "2,APPLIED,,\n1,\"APPLIED,,\n3,APPLIED,,\n",
                "2:APPLIED",
                1,
            ),
            ("nothing", "", "", 0),
        ];
        for (sentence, body, expected, wrong) in rows {
            let said = read(format!("{header}{body}").as_bytes(), 3);
            let words: Vec<_> = said
                .rows
                .iter()
                .map(|(number, said)| format!("{number}:{}", said.word))
                .collect();
            assert_eq!(words.join(" "), expected, "{sentence}");
            assert_eq!(said.wrong.len(), wrong, "{sentence}: {:?}", said.wrong);
        }
    }

    #[test]
    fn r46_columns_go_by_their_names() {
        let said = read(b"code,message,status,row_no,extra\n,,APPLIED,2,x\n", 3);
        assert_eq!(said.rows.keys().copied().collect::<Vec<_>>(), [2]);
        for header in ["row_no,status\n1,APPLIED\n", "", "1,APPLIED,,\n"] {
            let said = read(header.as_bytes(), 3);
            assert!(said.rows.is_empty() && said.wrong.len() == 1, "{header:?}");
        }
    }

    #[test]
    fn r56_an_address_in_the_other_sides_words_is_left_out() {
        let said = read(
            b"row_no,status,code,message\n1,REJECTED,POLICY,'=no mail to ann@example.edu please\n",
            1,
        );
        let Some(Answer::Failed(fault)) = said.rows.get(&1).map(|said| &said.answer) else {
            panic!("{said:?}");
        };
        assert_eq!(
            fault.message,
            "CU Ascend refused it: its rules forbid it (=no mail to (address) please)"
        );
        assert_eq!(fault.class, FaultClass::Rejected);
    }
}
