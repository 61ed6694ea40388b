//! The bodies of ledger entries.

use crate::connector::Fault;
use crate::consent::At;
use crate::store::{LedgerDraft, OutboxRow, SubjectRef, WriteKey};
use std::fmt::Write as _;

/// The body of an entry about a write; `how` says what became of it.
pub(super) fn written(
    subject: Option<&SubjectRef>,
    key: &WriteKey,
    how: &str,
    changes: &str,
) -> String {
    Body::about(changes.len())
        .maybe_text("subject", subject.map(ToString::to_string).as_deref())
        .text("contact", &key.external)
        .text("how", how)
        .text("write", changes)
        .end()
}

/// A write that failed on its own (R53).
pub struct Attempt<'a> {
    /// The person it is about.
    pub subject: Option<SubjectRef>,
    /// The write as it was claimed.
    pub row: &'a OutboxRow,
    /// Why it failed. Only its code and class are kept.
    pub fault: &'a Fault,
    /// Failed attempts so far, with this one.
    pub attempts: i32,
    /// There is no other until an operator says so (R35).
    pub given_up: bool,
}

impl Attempt<'_> {
    /// The entry about it.
    pub fn entry(&self, now: At) -> LedgerDraft {
        let body = Body::about(self.row.changes.len())
            .maybe_text("subject", self.subject.map(|of| of.to_string()).as_deref())
            .text("contact", &self.row.key.external)
            .text("how", &self.fault.code)
            .text("class", self.fault.class.word())
            .maybe_number("attempts", Some(self.attempts.into()))
            .maybe_number("given_up", self.given_up.then_some(1))
            .text("write", &self.row.changes)
            .end();
        LedgerDraft {
            kind: "attempt",
            subject: Some(self.row.subject),
            system: Some(self.row.key.system),
            at: now.micros(),
            body,
        }
    }
}

/// A ledger body: a JSON object, written member by member, so that what is packed already goes in
/// as it is, unread.
pub(super) struct Body(String);

impl Body {
    /// What a body holds besides packed columns usually fits into so many bytes.
    const REST: usize = 192;

    /// A body with that many bytes of packed columns.
    pub(super) fn about(packed: usize) -> Self {
        Self(String::with_capacity(packed + Self::REST))
    }

    fn name(&mut self, name: &'static str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    pub(super) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_plain) {
            self.0.push('"');
            self.0.push_str(value);
            self.0.push('"');
        } else {
            // A text can always be written.
            self.0
                .push_str(&serde_json::to_string(value).unwrap_or_default());
        }
        self
    }

    pub(super) fn maybe_text(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(super) fn maybe_number(mut self, name: &'static str, value: Option<i64>) -> Self {
        if let Some(value) = value {
            self.name(name);
            // Writing into memory cannot fail.
            write!(self.0, "{value}").ok();
        }
        self
    }

    /// A packed column; null when it is empty.
    pub(super) fn packed(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        self.0
            .push_str(if value.is_empty() { "null" } else { value });
        self
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
