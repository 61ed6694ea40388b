//! `consentd check-recipients FILE.csv`: who of a list may be mailed (R41).
//!
//! It asks the running daemon, and looks nothing up itself: the daemon alone keeps to the vendors'
//! limits, knows which system is down, and stores what the look-ups find.

use super::Exit;
use super::output::{self, Cell, Format, FormatArg, List};
use crate::connector::http::{Body, Call, Http, Limits, Method};
use crate::consent::Answer;
use crate::sync::checklist::{CHECKLIST_ORDER, MOST_RECIPIENTS};
use anyhow::{Context, bail, ensure};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// A list of more bytes is hardly one of at most 100,000 recipients.
const MAX_FILE_BYTES: u64 = 64 * 1_024 * 1_024;
/// The daemon answers within seven minutes, or not at all.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(8);
/// The answer repeats the list, with the reasons.
const MAX_ANSWER_BYTES: usize = 256 * 1_024 * 1_024;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 everybody may be mailed; 2 somebody may not; 1 an error, after which \
                  nobody may."
)]
pub struct Args {
    /// The list, as CSV in UTF-8 with a header
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the mail is for
    #[arg(long)]
    purpose: String,
    /// The column with the addresses
    #[arg(long, default_value = "email")]
    column: String,
    /// What stands between two fields of the file
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = delimiter)]
    delimiter: u8,
    /// Ask only the systems that were not read up to so many seconds ago; 0 asks them all
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    max_age_secs: u32,
    /// The daemon
    #[arg(long, env = "CONSENTD_URL", default_value = "http://127.0.0.1:8480")]
    url: Url,
    /// A file with a token of the role sender or operator; or set CONSENTD_TOKEN
    #[arg(long, value_name = "FILE", env = "CONSENTD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    output: FormatArg,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text {
        "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [one] if one.is_ascii() && !matches!(one, b'"' | b'\r' | b'\n') => Ok(*one),
            _ => Err("one ASCII character, or \\t for a tab".to_owned()),
        },
    }
}

/// Checks the list. As a table: the counts, then those who must not be mailed; in the other formats
/// everybody, in the order of the file.
///
/// # Errors
/// When the file cannot be understood or the daemon does not answer.
pub async fn check_recipients(args: &Args) -> anyhow::Result<Exit> {
    let shown = args.file.display();
    let recipients = read(&args.file)
        .and_then(|bytes| recipients(&bytes, &args.column, args.delimiter))
        .with_context(|| format!("{shown} cannot be checked"))?;
    let answer = ask(args, &recipients).await?;
    ensure!(
        answer.recipients.len() == recipients.len(),
        "the daemon answered for {} recipients instead of {}",
        answer.recipients.len(),
        recipients.len()
    );
    let refused = |line: &&Line| !matches!(line.answer.as_str(), "send" | "duplicate");
    if args.output.format == Format::Table {
        output::print(&counts(&answer).render(Format::Table)?)?;
        let unavailable = answer
            .systems
            .iter()
            .filter(|system| system.source == "unavailable");
        for system in unavailable {
            let why = system.reason.as_deref().unwrap_or("no reason given");
            output::print(&format!("\n{} could not be asked: {why}\n", system.name))?;
        }
        let refused = lines(
            recipients
                .iter()
                .zip(&answer.recipients)
                .filter(|(_, line)| refused(line)),
        );
        if !refused.is_empty() {
            output::print(&format!("\n{}", refused.render(Format::Table)?))?;
        }
    } else {
        let all = lines(recipients.iter().zip(&answer.recipients));
        output::print(&all.render(args.output.format)?)?;
    }
    Ok(if answer.recipients.iter().any(|line| refused(&line)) {
        Exit::Differs
    } else {
        Exit::Done
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "it has more than {MAX_FILE_BYTES} bytes; split it"
    );
    Ok(bytes)
}

/// The addresses of a CSV file, in its order.
fn recipients(bytes: &[u8], column: &str, delimiter: u8) -> anyhow::Result<Vec<String>> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!("it is in UTF-16; save it as CSV in UTF-8");
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(bytes);
    let header = reader.headers().context("its header cannot be read")?;
    let named: Vec<&str> = header.iter().map(str::trim).collect();
    let Some(place) = named
        .iter()
        .position(|name| name.eq_ignore_ascii_case(column))
    else {
        let hint = if named.len() == 1 && named.iter().any(|name| name.contains([';', '\t'])) {
            "; with another delimiter than a comma, say --delimiter ';' or --delimiter '\\t'"
        } else {
            ""
        };
        bail!(
            "it has no column {column:?}; its header names {named:?}; say which with --column{hint}"
        );
    };
    let mut recipients = Vec::new();
    for record in reader.records() {
        let record = record?;
        ensure!(
            recipients.len() < MOST_RECIPIENTS,
            "it has more than {MOST_RECIPIENTS} recipients; split it"
        );
        recipients.push(record.get(place).unwrap_or_default().to_owned());
    }
    Ok(recipients)
}

/// The daemon's answer, as far as it is shown.
#[derive(Deserialize)]
struct Checked {
    counts: HashMap<String, i64>,
    systems: Vec<System>,
    recipients: Vec<Line>,
}

#[derive(Deserialize)]
struct System {
    #[serde(rename = "system")]
    name: String,
    source: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    answer: String,
    system: Option<String>,
    stamp: Option<Stamp>,
    basis: Option<String>,
}

#[derive(Deserialize)]
struct Stamp {
    earliest: String,
    latest: String,
}

/// A refusal by the daemon.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

async fn ask(args: &Args, recipients: &[String]) -> anyhow::Result<Checked> {
    let token = token(args)?;
    let url = args
        .url
        .join("/v1/checklists")
        .context("that is no address of a daemon")?;
    let http = Http::new(Limits {
        system: "the daemon".to_owned(),
        request_timeout: REQUEST_TIMEOUT,
        connect_timeout: Duration::from_secs(5),
        max_body_bytes: MAX_ANSWER_BYTES,
        max_concurrent: 1,
        max_calls_per_sec: 1,
    })?;
    let asked = json!({
        "purpose": args.purpose,
        "recipients": recipients,
        "max_age_secs": args.max_age_secs,
    });
    let answer = http
        .send(Call {
            kind: "check",
            method: Method::POST,
            url,
            headers: Vec::new(),
            bearer: Some(&token),
            secrets: Vec::new(),
            body: Body::Json(serde_json::to_vec(&asked)?),
        })
        .await
        .context("the daemon does not answer; is it running, and is --url right?")?;
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body)
            .context("the daemon's answer is not one of this version");
    }
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => bail!(
            "the daemon refused: {} ({}): {}",
            problem.title,
            answer.status,
            problem.detail
        ),
        Err(_) => bail!("the daemon answered {}", answer.status),
    }
}

fn token(args: &Args) -> anyhow::Result<SecretString> {
    let text = match &args.token_file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("the token in {} cannot be read", path.display()))?,
        None => std::env::var("CONSENTD_TOKEN").map_err(|_| {
            anyhow::anyhow!(
                "a token is needed: name its file with --token-file, or set CONSENTD_TOKEN"
            )
        })?,
    };
    let text = text.trim();
    ensure!(!text.is_empty(), "the token is empty");
    Ok(SecretString::from(text))
}

/// The counts in the order of eMarketeer's own checklist.
fn counts(answer: &Checked) -> List {
    let mut list = List::new(&["answer", "recipients"]);
    let words = ["addressed", "duplicate"]
        .into_iter()
        .chain(CHECKLIST_ORDER.map(Answer::word))
        .chain(["send"]);
    for word in words {
        let count = answer.counts.get(word).copied().unwrap_or(0);
        list.push(vec![word.into(), count.into()]);
    }
    list
}

fn lines<'a>(rows: impl Iterator<Item = (&'a String, &'a Line)>) -> List {
    let mut list = List::new(&[
        "recipient",
        "answer",
        "system",
        "said_from",
        "said_until",
        "basis",
    ]);
    for (recipient, line) in rows {
        let stamp = line.stamp.as_ref();
        list.push(vec![
            recipient.as_str().into(),
            line.answer.as_str().into(),
            line.system.as_deref().into(),
            stamp.map(|stamp| stamp.earliest.as_str()).into(),
            stamp.map(|stamp| stamp.latest.as_str()).into(),
            Cell::from(line.basis.as_deref()),
        ]);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(text: &str, column: &str, delimiter: u8) -> Result<Vec<String>, String> {
        recipients(text.as_bytes(), column, delimiter).map_err(|fault| format!("{fault:#}"))
    }

    #[test]
    fn a_list_is_read_however_a_spreadsheet_wrote_it() {
        let expected = Ok(vec![
            "ann@x.example".to_owned(),
            "a,b\"c@x.example".to_owned(),
        ]);
        for (sentence, text) in [
            ("plain", "email\nann@x.example\n\"a,b\"\"c@x.example\"\n"),
            (
                "byte order mark, CRLF, and no line end",
                "\u{feff}email\r\nann@x.example\r\n\"a,b\"\"c@x.example\"",
            ),
            (
                "other columns, and a header in capitals with blanks",
                "name, E-MAIL ,x\nAnn,ann@x.example,\"two\nlines\"\nBob,\"a,b\"\"c@x.example\",\n",
            ),
            (
                "blank lines",
                "email\n\nann@x.example\n\n\"a,b\"\"c@x.example\"\n",
            ),
        ] {
            let column = if text.contains("E-MAIL") {
                "e-mail"
            } else {
                "email"
            };
            assert_eq!(read_as(text, column, b','), expected, "{sentence}");
        }
        assert_eq!(
            read_as("Email;x\nann@x.example;1\n", "email", b';'),
            Ok(vec!["ann@x.example".to_owned()])
        );
        assert_eq!(read_as("email\n", "email", b','), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        for (sentence, text, column, expected) in [
            (
                "no such column",
                "name,mail\nAnn,a@x.example\n",
                "email",
                "no column \"email\"; its header names [\"name\", \"mail\"]",
            ),
            (
                "another delimiter",
                "name;email\nAnn;a@x.example\n",
                "email",
                "--delimiter ';'",
            ),
            (
                "a row that is too short",
                "name,email\nAnn\n",
                "email",
                "line: 2",
            ),
            ("nothing at all", "", "email", "no column"),
        ] {
            let fault = read_as(text, column, b',').unwrap_err();
            assert!(fault.contains(expected), "{sentence}: {fault}");
            assert!(!fault.contains("a@x.example"), "{sentence}: {fault}");
        }
        let utf16 = recipients(b"\xff\xfee\0m\0", "email", b',').unwrap_err();
        assert!(utf16.to_string().contains("UTF-16"));
        let latin = recipients(b"email\nj\xf6rg@x.example\n", "email", b',').unwrap_err();
        assert!(format!("{latin:#}").contains("UTF-8"), "{latin:#}");
        let long = format!("email\n{}", "a@x.example\n".repeat(MOST_RECIPIENTS + 1));
        assert!(
            read_as(&long, "email", b',')
                .unwrap_err()
                .contains("split it")
        );
    }

    #[test]
    fn a_delimiter_is_one_character() {
        assert_eq!(delimiter(";"), Ok(b';'));
        assert_eq!(delimiter("\\t"), Ok(b'\t'));
        for text in ["", ";;", "ö", "\"", "\n"] {
            assert!(delimiter(text).is_err(), "{text:?}");
        }
    }
}
