//! Cuts a statement into tokens.
//!
//! String literals stay raw here: which escapes are allowed depends on the operator in front of them, so the parser
//! unescapes them. Everything else that stands alone (numbers, dates, times) is read into its value.

use chrono::{DateTime, Datelike, NaiveDate, Utc};

use super::{SoqlError, code};

/// A token and the byte offset it starts at.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) at: usize,
    /// The text of the token, for messages.
    pub(super) text: &'t str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// A name or a keyword.
    Word(&'t str),
    /// What stands between the quotes, escapes untouched.
    Quoted(&'t str),
    Number(f64),
    DateTime(DateTime<Utc>),
    Date(NaiveDate),
    /// Comparison operators.
    Operator(Operator),
    Comma,
    Dot,
    Colon,
    Open,
    Close,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// All tokens of a statement; the last one is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, SoqlError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = rest(text, at).chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(text, at, first)?;
        let source = text.get(at..at + length).unwrap_or("");
        found.push(Token {
            kind,
            at,
            text: source,
        });
        at += length;
    }
    found.push(Token {
        kind: Kind::End,
        at: text.len(),
        text: "<EOF>",
    });
    Ok(found)
}

fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or("")
}

/// The token at `at` and its length in bytes.
fn token(text: &str, at: usize, first: char) -> Result<(Kind<'_>, usize), SoqlError> {
    let rest = rest(text, at);
    let second = rest.chars().nth(1);
    let simple = |kind| Ok((kind, 1));
    let operator = |operator, length| Ok((Kind::Operator(operator), length));
    match (first, second) {
        (',', _) => simple(Kind::Comma),
        ('.', _) => simple(Kind::Dot),
        (':', _) => simple(Kind::Colon),
        ('(', _) => simple(Kind::Open),
        (')', _) => simple(Kind::Close),
        ('=', _) => operator(Operator::Equal, 1),
        ('!', Some('=')) | ('<', Some('>')) => operator(Operator::NotEqual, 2),
        ('<', Some('=')) => operator(Operator::LessOrEqual, 2),
        ('>', Some('=')) => operator(Operator::GreaterOrEqual, 2),
        ('<', _) => operator(Operator::Less, 1),
        ('>', _) => operator(Operator::Greater, 1),
        ('\'', _) => quoted(text, at),
        (c, _) if c.is_ascii_alphabetic() || c == '_' => {
            let length = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            Ok((Kind::Word(rest.get(..length).unwrap_or("")), length))
        }
        (c, Some(d)) if (c == '-' || c == '+') && d.is_ascii_digit() => number_or_date(text, at),
        (c, _) if c.is_ascii_digit() => number_or_date(text, at),
        (c, _) => {
            let what = format!(
                "line {} no viable alternative at character '{c}'",
                position(text, at)
            );
            Err(SoqlError::at(text, at, code::MALFORMED_QUERY, &what))
        }
    }
}

/// `row:column` in the way the vendor's lexer prints it, the column counted from 0.
fn position(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let row = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count();
    format!("{row}:{column}")
}

/// Length in bytes of the leading run of accepted characters.
fn run(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

/// A quoted string: a backslash always takes the next character along.
fn quoted(text: &str, at: usize) -> Result<(Kind<'_>, usize), SoqlError> {
    let inside = rest(text, at + 1);
    let mut escaped = false;
    for (offset, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => return Ok((Kind::Quoted(inside.get(..offset).unwrap_or("")), offset + 2)),
            _ => {}
        }
    }
    let what = format!(
        "line {} mismatched character '<EOF>' expecting '''",
        position(text, text.len())
    );
    Err(SoqlError::at(text, at, code::MALFORMED_QUERY, &what))
}

/// Anything that starts like a number: an unquoted date-time, a date, or a decimal number.
fn number_or_date(text: &str, at: usize) -> Result<(Kind<'_>, usize), SoqlError> {
    let rest = rest(text, at);
    let sign = usize::from(rest.starts_with(['-', '+']));
    let length = sign
        + run(rest.get(sign..).unwrap_or(""), |c| {
            c.is_ascii_alphanumeric() || "+-.:_".contains(c)
        });
    let source = rest.get(..length).unwrap_or("");

    let (kind, year) = if let Some(moment) = date_time(source) {
        (Kind::DateTime(moment), Some(moment.year()))
    } else if let Some(day) = date(source) {
        (Kind::Date(day), Some(day.year()))
    } else if let Some(number) = number(source) {
        (Kind::Number(number), None)
    } else {
        let what = format!("unexpected token: '{source}'");
        return Err(SoqlError::at(text, at, code::MALFORMED_QUERY, &what));
    };
    // "Date Formats and Date Literals": values run from 1700-01-01 to 4000-12-31.
    if year.is_some_and(|year| !(1700..=4000).contains(&year)) {
        let what =
            format!("Invalid date: {source}. Dates must lie between 1700-01-01 and 4000-12-31.");
        return Err(SoqlError::at(text, at, code::MALFORMED_QUERY, &what));
    }
    Ok((kind, length))
}

/// `YYYY-MM-DDThh:mm:ss`, an optional fraction, then `Z`, `+hh:mm` or `-hh:mm`; nothing else is documented.
fn date_time(source: &str) -> Option<DateTime<Utc>> {
    const TEMPLATE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (stamp, mut tail) = source.split_at_checked(TEMPLATE.len())?;
    if !shaped(stamp, TEMPLATE) {
        return None;
    }
    if let Some(fraction) = tail.strip_prefix('.') {
        let digits = run(fraction, |c| c.is_ascii_digit());
        if !(1..=9).contains(&digits) {
            return None;
        }
        tail = fraction.get(digits..)?;
    }
    if tail != "Z" && !shaped(tail, b"+dd:dd") && !shaped(tail, b"-dd:dd") {
        return None;
    }
    DateTime::parse_from_rfc3339(source)
        .ok()
        .map(|moment| moment.to_utc())
}

fn date(source: &str) -> Option<NaiveDate> {
    if !shaped(source, b"dddd-dd-dd") {
        return None;
    }
    NaiveDate::parse_from_str(source, "%Y-%m-%d").ok()
}

/// Digits with an optional sign and fraction. Exponents and `inf` are not SOQL, though Rust would read them.
fn number(source: &str) -> Option<f64> {
    let digits = source.strip_prefix(['-', '+']).unwrap_or(source);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let decimal = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (decimal(whole) && decimal(fraction))
        .then(|| source.parse().ok())
        .flatten()
}

/// Whether `text` follows a template in which `d` stands for a digit.
fn shaped(text: &str, template: &[u8]) -> bool {
    text.len() == template.len()
        && text.bytes().zip(template).all(|(b, t)| {
            if *t == b'd' {
                b.is_ascii_digit()
            } else {
                b == *t
            }
        })
}
