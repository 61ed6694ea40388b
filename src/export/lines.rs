//! One line for each person and purpose, and in the export of one person a line for everything else that
//! is known of them.

use super::{Consent, Sink};
use crate::list::harmless;
use crate::sync::timeline::Timeline;
use serde::Serialize;
use std::io::{self, Write};

/// A line. `record` says what it is about: `consent`, `contact`, `remembered`, `finding`, `request`,
/// `hold`, `write` or `event`; all but `consent` have their own form in `detail`.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    record: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    said_of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
}

/// The columns of CSV, in the order of [`Line::cells`].
const COLUMNS: [&str; 17] = [
    "record", "subject", "address", "purpose", "status", "basis", "earliest", "latest", "evidence",
    "actor", "system", "contact", "rule", "policy", "said_of", "since", "detail",
];

impl<'a> Line<'a> {
    /// What holds for a person and purpose.
    fn of(consent: &'a Consent) -> Option<Self> {
        let now = consent.spells.last()?;
        Some(Self {
            record: "consent",
            subject: &consent.subject,
            address: consent.address.as_deref(),
            purpose: Some(&consent.purpose),
            status: Some(now.status),
            basis: now.basis.as_deref(),
            earliest: Some(&now.stamp.earliest),
            latest: Some(&now.stamp.latest),
            evidence: Some(now.evidence),
            actor: now.actor.as_deref(),
            system: Some(now.system.as_deref().unwrap_or("operator")),
            contact: Some(&now.contact),
            rule: Some(&now.rule),
            policy: Some(&now.policy),
            said_of: now.said_of.as_deref(),
            since: now.decided_at.as_deref(),
            detail: None,
        })
    }

    fn cells(&self) -> [String; 17] {
        let text = |cell: Option<&str>| cell.map(harmless).unwrap_or_default();
        let detail = self.detail.as_ref().map(ToString::to_string);
        [
            text(Some(self.record)),
            text(Some(self.subject)),
            text(self.address),
            text(self.purpose),
            text(self.status),
            text(self.basis),
            text(self.earliest),
            text(self.latest),
            text(self.evidence),
            text(self.actor),
            text(self.system),
            text(self.contact),
            text(self.rule),
            text(self.policy),
            text(self.said_of),
            text(self.since),
            text(detail.as_deref()),
        ]
    }
}

/// Gives what else is known of a person, a line each.
fn rest(
    timeline: &Timeline,
    address: &str,
    mut put: impl FnMut(&Line<'_>) -> io::Result<()>,
) -> io::Result<()> {
    fn detail<T: Serialize>(value: &T) -> io::Result<Option<serde_json::Value>> {
        Ok(Some(serde_json::to_value(value)?))
    }
    let line = |record| Line {
        record,
        subject: &timeline.subject,
        address: Some(address),
        ..Line::default()
    };
    let now = &timeline.now;
    for contact in &now.contacts {
        put(&Line {
            system: Some(&contact.system),
            contact: Some(&contact.contact),
            detail: detail(contact)?,
            ..line("contact")
        })?;
    }
    for kept in &now.remembered {
        put(&Line {
            contact: Some(&kept.contact),
            detail: detail(kept)?,
            ..line("remembered")
        })?;
    }
    for finding in &now.findings {
        put(&Line {
            purpose: finding.purpose.as_deref(),
            detail: detail(finding)?,
            ..line("finding")
        })?;
    }
    for request in &now.requests {
        put(&Line {
            detail: detail(request)?,
            ..line("request")
        })?;
    }
    for hold in &now.holds {
        put(&Line {
            purpose: Some(&hold.purpose),
            detail: detail(hold)?,
            ..line("hold")
        })?;
    }
    for write in &now.pending {
        put(&Line {
            system: Some(&write.system),
            contact: Some(&write.contact),
            detail: detail(write)?,
            ..line("write")
        })?;
    }
    for event in &timeline.events {
        put(&Line {
            system: event.system.as_deref(),
            contact: event.contact.as_deref(),
            purpose: event.purpose.as_deref(),
            detail: detail(event)?,
            ..line("event")
        })?;
    }
    Ok(())
}

/// JSON lines.
pub struct JsonLines<W>(W);

impl<W: Write> JsonLines<W> {
    /// Writes there.
    pub fn new(out: W) -> Self {
        Self(out)
    }

    fn put(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        self.0.write_all(b"\n")
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn consent(&mut self, consent: &Consent) -> io::Result<()> {
        Line::of(consent).map_or(Ok(()), |line| self.put(&line))
    }

    fn person(&mut self, timeline: &Timeline, address: &str) -> io::Result<()> {
        rest(timeline, address, |line| self.put(line))
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// CSV that starts no formula in a spreadsheet.
pub struct Csv<W: Write>(csv::Writer<W>);

impl<W: Write> Csv<W> {
    /// Writes there.
    pub fn new(out: W) -> Self {
        Self(csv::Writer::from_writer(out))
    }
}

impl<W: Write> Sink for Csv<W> {
    fn begin(&mut self) -> io::Result<()> {
        Ok(self.0.write_record(COLUMNS)?)
    }

    fn consent(&mut self, consent: &Consent) -> io::Result<()> {
        match Line::of(consent) {
            Some(line) => Ok(self.0.write_record(line.cells())?),
            None => Ok(()),
        }
    }

    fn person(&mut self, timeline: &Timeline, address: &str) -> io::Result<()> {
        rest(timeline, address, |line| {
            Ok(self.0.write_record(line.cells())?)
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
