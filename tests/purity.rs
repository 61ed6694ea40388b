//! The core stays pure: no I/O, no clock, no randomness, no order that differs between runs.
//!
//! Reads the sources of `src/consent` and fails when one names what would make it impure.

use std::path::Path;

/// What no source of the core may name, and why.
const BANNED: &[(&str, &str)] = &[
    ("std::time", "a clock"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("Utc::now", "a clock"),
    ("Local::now", "a clock"),
    ("chrono::Local", "the machine's time zone"),
    ("std::fs", "files"),
    ("std::io", "input and output"),
    ("std::net", "the network"),
    ("std::env", "the environment"),
    ("std::process", "other processes"),
    ("std::thread", "threads"),
    ("std::sync", "shared state"),
    ("thread_local", "hidden state"),
    ("static mut", "hidden state"),
    ("RefCell", "hidden state"),
    ("println!", "input and output"),
    ("eprintln!", "input and output"),
    ("include_str!", "files"),
    ("include_bytes!", "files"),
    ("async ", "waiting"),
    (".await", "waiting"),
    ("tokio", "waiting"),
    ("futures", "waiting"),
    ("sqlx", "the store"),
    ("reqwest", "the network"),
    ("rand", "randomness"),
    ("uuid", "randomness"),
    ("HashMap", "an order that differs between runs"),
    ("HashSet", "an order that differs between runs"),
    ("RandomState", "an order that differs between runs"),
    ("DefaultHasher", "a digest that differs between builds"),
    ("tracing", "logging"),
    ("metrics", "metrics"),
    ("serde", "wire formats"),
    ("anyhow", "technical failures"),
    ("crate::store", "another layer"),
    ("crate::connector", "another layer"),
    ("crate::sync", "another layer"),
    ("crate::web", "another layer"),
    ("crate::config", "another layer"),
    ("crate::runtime", "another layer"),
    ("crate::cli", "another layer"),
    ("unsafe", "undefined behaviour"),
];

/// The crates that the core may use.
const CRATES: &[&str] = &[
    "std",
    "core",
    "super",
    "crate",
    "self",
    "chrono",
    "icu_casemap",
    "idna",
    "thiserror",
    "unicode_normalization",
];

/// Modules of the core that may be named from its own root.
const OWN: &str = "crate::consent";

/// The code of a source without comments, doc comments, texts and its unit tests.
fn code_of(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut code = String::new();
    for line in source.lines() {
        let mut in_text = false;
        let mut before = ' ';
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            if !in_text && letter == '/' && letters.peek() == Some(&'/') {
                break;
            }
            // A quote that is neither escaped nor a character of its own.
            if letter == '"' && before != '\\' && before != '\'' {
                in_text = !in_text;
            }
            if !in_text {
                code.push(letter);
            }
            before = letter;
        }
        code.push('\n');
    }
    code
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Whether `code` names `word`, not as a part of a longer one.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(place, _)| {
        let before = code[..place].chars().next_back();
        let after = code[place + word.len()..].chars().next();
        let starts = !word.starts_with(is_word) || !before.is_some_and(is_word);
        let ends = !word.ends_with(is_word) || !after.is_some_and(is_word);
        starts && ends
    })
}

/// Everything impure in a source.
fn faults(source: &str) -> Vec<String> {
    let code = code_of(source);
    // Groups such as `use std::{fs, io};` are read as if written out.
    let flat = code
        .replace("std::{", "std::")
        .replace(char::is_whitespace, " ");
    let mut found: Vec<String> = BANNED
        .iter()
        .filter(|(word, _)| names(&code, word))
        .map(|(word, why)| format!("`{word}`: {why}"))
        .collect();
    for import in flat.split("use ").skip(1) {
        let import = import.split(';').next().unwrap_or_default();
        let root: String = import
            .chars()
            .take_while(|letter| is_word(*letter))
            .collect();
        let is_import = import.contains("::");
        if is_import && !CRATES.contains(&root.as_str()) && !is_own_module(&root) {
            found.push(format!("`use {root}`: not among the crates of the core"));
        }
        if root == "std" {
            for module in [
                "time", "fs", "io", "net", "env", "process", "thread", "sync",
            ] {
                if names(import, module) {
                    found.push(format!("`use std::{{{module}}}`: impure"));
                }
            }
        }
        if root == "crate" && !import.starts_with(OWN) {
            found.push(format!("`use {import}`: another layer"));
        }
    }
    found
}

/// `pub use address::…` in the root of the core.
fn is_own_module(name: &str) -> bool {
    sources()
        .iter()
        .any(|(file, _)| *file == format!("{name}.rs"))
}

fn sources() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/consent");
    let mut found: Vec<(String, String)> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let source = std::fs::read_to_string(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), source)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn the_core_names_nothing_impure() {
    let sources = sources();
    assert!(sources.len() >= 12, "the sources of the core are found");
    for (file, source) in &sources {
        assert!(
            !code_of(source).trim().is_empty(),
            "{file} can be read and is flat"
        );
        let faults = faults(source);
        assert!(
            faults.is_empty(),
            "src/consent/{file} is impure: {faults:#?}"
        );
    }
}

#[test]
fn the_check_finds_every_banned_word() {
    for (word, _) in BANNED {
        let sample = format!("fn sample() {{ let x = {word}; }}");
        assert!(!faults(&sample).is_empty(), "{word}");
    }
}

#[test]
fn the_check_sees_through_the_ways_of_writing_an_import() {
    let rows = [
        ("a plain import", "use std::time::Instant;"),
        ("a group", "use std::{fmt, time};"),
        ("a nested group", "use std::{fmt, fs::{File, read}};"),
        (
            "a group over several lines",
            "use std::{\n    fmt,\n    net,\n};",
        ),
        ("a full path", "let at = chrono::Utc::now();"),
        ("an alias", "use std::collections::HashMap as Map;"),
        ("another crate", "use ureq::get;"),
        ("a layer above", "use crate::store::Store;"),
        ("a layer above, as a group", "use crate::{store, consent};"),
        (
            "after a text with a comment in it",
            "let a = \"//\"; let b = std::fs::read(c);",
        ),
    ];
    for (sentence, sample) in rows {
        assert!(!faults(sample).is_empty(), "{sentence}");
    }
}

#[test]
fn the_check_lets_pure_code_pass() {
    let rows = [
        ("a comment", "// std::time is not used here\nfn pure() {}"),
        ("a doc comment", "/// Unlike `HashMap`.\nfn pure() {}"),
        ("a text", "const WHY: &str = \"no tokio here\";"),
        ("a longer word", "let operand = brand + 1;"),
        ("ordered collections", "use std::collections::BTreeMap;"),
        ("calendar times", "use chrono::{DateTime, Utc};"),
        (
            "unit tests",
            "fn pure() {}\n#[cfg(test)]\nmod tests { use std::fs; }",
        ),
        (
            "its own modules",
            "use super::time::At; use crate::consent::rules::Rules;",
        ),
    ];
    for (sentence, sample) in rows {
        assert_eq!(faults(sample), Vec::<String>::new(), "{sentence}");
    }
}
