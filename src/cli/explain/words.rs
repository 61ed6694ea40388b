//! A person's timeline in words.

use super::requests;
use crate::sync::timeline::{
    Candidate, ContactNow, Event, Interval, PendingNow, Said, VerdictNow, Written,
};

/// What an event says.
pub(super) fn event(event: &Event) -> String {
    let purpose = event.purpose.as_deref().unwrap_or("any purpose");
    if let Some(request) = &event.request {
        return requests::words(request, event.operator.as_deref());
    }
    if let Some(write) = &event.write {
        let rule = event.rule.as_deref().unwrap_or_default();
        return format!("{purpose} to {} ({}, {rule})", write.to, came(write));
    }
    if event.kind == "verdict" {
        return match (&event.said, &event.policy) {
            (Some(said), Some(policy)) => decided(
                purpose,
                said,
                &event.candidates,
                policy,
                event.said_of.as_deref(),
            ),
            _ => format!("nothing is decided of {purpose}"),
        };
    }
    let mut what = match (&event.said, event.shown) {
        (Some(told), None) if event.overruled => {
            let system = event.system.as_deref().unwrap_or("operator");
            let contact = event.contact.as_deref().unwrap_or_default();
            let said = said(told);
            format!("{purpose}: what {system} {contact} said counts for nothing: {said}")
        }
        (Some(told), Some(shown)) => format!("{purpose} is {shown}: {}", said(told)),
        (Some(told), None) => format!("{purpose}: {}", said(told)),
        (None, Some(shown)) => format!("{purpose} is {shown} now"),
        (None, None) if event.hold.is_some() => format!("{purpose}: {}", held(event)),
        (None, None) => match (&event.life, &event.body) {
            (Some(_), _) => "the contact is not there any more".to_owned(),
            (None, Some(body)) => body.to_string(),
            (None, None) => "seen; it says nothing new".to_owned(),
        },
    };
    if event.body.is_none()
        && let Some(operator) = &event.operator
    {
        if let Some(since) = &event.waited_since {
            what = format!("{what}; it had waited since {since}");
        }
        let act = event.act.as_deref().unwrap_or("stated");
        let reason = event.reason.as_deref().unwrap_or("no reason kept");
        let under = event.hold.map(|hold| format!(" under hold {hold}"));
        let under = under.unwrap_or_default();
        what = format!("{what}; {act}{under} by {operator}: {reason}");
    }
    what
}

/// What waits, or waits no more.
fn held(event: &Event) -> String {
    let number = event.hold.unwrap_or_default();
    let kind = event.hold_kind.as_deref().unwrap_or("decided");
    match event.kind.as_str() {
        "waits" => format!("waits for a person under hold {number} ({kind})"),
        "lapsed" => format!("waits no more under hold {number} ({kind}): it has moved on"),
        _ => format!("decided under hold {number}"),
    }
}

/// What became of a write.
fn came(write: &Written) -> String {
    let batch = write.batch.as_deref().unwrap_or_default();
    let code = write.code.as_deref().unwrap_or_default();
    match write.how {
        "planned" | "held" => write.lane.clone().unwrap_or_else(|| write.how.to_owned()),
        "handed-over" => format!("in batch {batch}, not acknowledged yet"),
        "acknowledged" => format!("acknowledged in batch {batch}"),
        "refused" => format!("refused: {code}"),
        "failed" => {
            let class = write.class.as_deref().unwrap_or("unknown");
            let attempt = write.attempts.unwrap_or_default();
            let end = if write.given_up { ", given up" } else { "" };
            format!("attempt {attempt} failed: {code}, {class}{end}")
        }
        how => how.to_owned(),
    }
}

/// A statement.
pub(super) fn said(said: &Said) -> String {
    let by = said.actor.as_deref();
    let by = by.map(|actor| format!(" by {actor}")).unwrap_or_default();
    let stamp = stamp(&said.stamp);
    format!("{} {stamp}{by} ({})", said.status, said.evidence)
}

fn stamp(stamp: &Interval) -> String {
    if stamp.earliest == stamp.latest {
        stamp.earliest.clone()
    } else {
        format!("{} … {}", stamp.earliest, stamp.latest)
    }
}

/// A verdict that holds.
pub(super) fn verdict(verdict: &VerdictNow) -> String {
    decided(
        &verdict.purpose,
        &verdict.said,
        &verdict.candidates,
        &verdict.policy,
        verdict.said_of.as_deref(),
    )
}

fn decided(
    purpose: &str,
    of: &Said,
    candidates: &[Candidate],
    policy: &str,
    said_of: Option<&str>,
) -> String {
    let mut line = format!("{purpose} {}", of.status);
    for one in candidates {
        let system = one.system.as_deref().unwrap_or("operator");
        let who = format!("{system} {}: {}", one.contact, said(&one.said));
        line = match one.role {
            "won" => format!("{line} by {who} ({}, policy {policy})", one.rule),
            "lost" => format!("{line}; over {who} ({}, {})", one.rule, one.why),
            _ => format!("{line}; not asked {who} ({}, {})", one.rule, one.why),
        };
    }
    match said_of {
        Some(parent) => format!("{line}; said of {parent}"),
        None => line,
    }
}

/// What a contact shows.
pub(super) fn shows(contact: &ContactNow) -> String {
    let shown = contact.shows.iter().filter_map(|shows| {
        let shown = shows.shown?;
        Some(format!("{} {shown}", shows.purpose))
    });
    let shown: Vec<String> = shown.collect();
    let life = match (contact.life, &contact.merged_into) {
        ("live", _) => String::new(),
        (_, Some(into)) => format!("merged into {into}; "),
        (life, None) => format!("{life}; "),
    };
    format!("{life}{}", shown.join(", "))
}

/// A write that is not acknowledged yet.
pub(super) fn pending(write: &PendingNow) -> String {
    let sets = write.sets.iter();
    let sets: Vec<String> = sets
        .map(|set| format!("{} to {}", set.purpose, set.to))
        .collect();
    let due = write.due.as_deref().filter(|_| write.attempts > 0);
    let due = due.map(|at| format!(", due at {at}")).unwrap_or_default();
    format!("{}: {}{due}", sets.join(", "), write.stands)
}
