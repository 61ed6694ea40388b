//! Setting consents, one purpose of one person at a time, and looking at them before and after.
//!
//! Only the consent resource is written, never the person: saving a person writes the consents that
//! were read with it again, and may revert a newer one. The server says nothing about what it did,
//! so every write is read back, and values that are there already are not written again, because
//! that may make them look newer than they are.
//!
//! Sources: REST reference (Person, Consent), OpenAPI (SetConsent).

use super::map::{self, Consent, person_id};
use super::people::{People, is_absence};
use super::wire::faults;
use crate::connector::http::{Body, Method};
use crate::connector::{Batching, Current, Fault, FaultClass, Outcome, Target, WriteRequest};
use crate::consent::plan::agrees;
use crate::consent::{PurposeId, Shown, Status};
use chrono::SecondsFormat;
use futures::{StreamExt, stream};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Writes handed over at once: some seconds of calls, so that a withdrawal never waits long.
const ROWS: usize = 50;
/// Addresses in one look-up: one call finds the owners, two or three read them.
const LOOK_UP: usize = 200;
/// Most characters of a comment (database: `consentperson.comment`).
const MOST_COMMENT: usize = 255;

/// How much to hand over at once.
pub const fn batching() -> Batching {
    Batching {
        rows: ROWS,
        // There is no call that sets many.
        bulk_above: usize::MAX,
        bulk_rows: ROWS,
        look_up: LOOK_UP,
    }
}

/// What a person shows now.
enum Now {
    /// The consents with who set them, and the value of each purpose.
    There(Vec<Consent>, Vec<(PurposeId, Shown)>),
    /// There is no such person.
    Gone,
    /// A consent cannot be understood.
    Spoiled(String),
}

/// What people show now, in the order of the ids. What is no id names nobody.
async fn now(people: &People<'_>, ids: &[Option<u32>]) -> Result<Vec<Now>, Fault> {
    let asked: BTreeSet<u32> = ids.iter().flatten().copied().collect();
    let consented = people.consents(&asked).await?;
    // Whoever has no row at all may be gone.
    let bare: BTreeSet<u32> = asked
        .iter()
        .filter(|id| {
            !consented.rows.contains_key(id)
                && !consented.spoiled.contains_key(id)
                && !consented.absent.contains(id)
        })
        .copied()
        .collect();
    let there = people.there(&bare).await?;
    let one = |id: u32| {
        if let Some(bad) = consented.spoiled.get(&id) {
            return Now::Spoiled(bad.reason.clone());
        }
        let rows = match consented.rows.get(&id) {
            Some(rows) => rows.as_slice(),
            None if there.contains(&id) => &[],
            None => return Now::Gone,
        };
        let consents: Vec<Consent> = rows
            .iter()
            .filter_map(|row| map::consent(row, people.keys))
            .collect();
        let values = map::values(&consents, people.keys);
        Now::There(consents, values)
    };
    Ok(ids.iter().map(|id| id.map_or(Now::Gone, one)).collect())
}

/// What contacts show now, and which of them cannot be understood: those are not granted anything.
pub async fn current(
    people: &People<'_>,
    contacts: &[Target],
) -> Result<(Vec<Current>, BTreeSet<String>), Fault> {
    let ids: Vec<Option<u32>> = contacts
        .iter()
        .map(|target| person_id(&target.contact))
        .collect();
    let mut unclear = BTreeSet::new();
    let current = now(people, &ids)
        .await?
        .into_iter()
        .zip(contacts)
        .map(|(now, target)| match now {
            Now::There(_, values) => Current::Live(values),
            Now::Gone => Current::Gone,
            Now::Spoiled(_) => {
                unclear.insert(target.contact.clone());
                Current::Unknown
            }
        })
        .collect();
    Ok((current, unclear))
}

/// One consent to set.
struct Put<'a> {
    purpose: PurposeId,
    wanted: &'a Shown,
    key: &'a str,
    base: &'a str,
    source: &'a str,
}

/// One person's consents to set.
struct Ready<'a> {
    place: usize,
    id: u32,
    puts: Vec<Put<'a>>,
    comment: String,
}

/// What became of one person's calls.
enum Sent {
    /// The server took all of them.
    Done,
    /// The server refused one, or was in trouble after it had taken another.
    Failed(Fault),
    /// One may or may not have arrived.
    Unknown(Fault),
    /// None was taken, and the person is not to blame.
    Nothing(Fault),
}

/// Sets consents: one outcome per request, in order. People of whom a consent could not be understood
/// just before may be withdrawn, but not granted.
pub async fn write(
    people: &People<'_>,
    writes: &[WriteRequest],
    own_actor: Option<&str>,
    unclear: &BTreeSet<String>,
) -> Result<Vec<Outcome>, Fault> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; writes.len()];
    let mut ready = Vec::with_capacity(writes.len());
    for (place, write) in writes.iter().enumerate() {
        match prepare(people, place, write, unclear) {
            Ok(row) => ready.push(row),
            Err(fault) => outcomes[place] = Some(Outcome::Failed(fault)),
        }
    }
    skip_equal(people, &mut ready).await?;
    let stopped = Mutex::new(None);
    let calls: Vec<_> = ready
        .iter()
        .map(|row| send(people, row, &stopped))
        .collect();
    let sent: Vec<Sent> = stream::iter(calls)
        .buffered(people.tenant.concurrency())
        .collect()
        .await;
    if let Some(fault) = nothing_sent(&sent) {
        return Err(fault);
    }
    // What was taken is read back. So is a person whom the server says it does not know: it may be
    // a key that it does not know.
    let ids: Vec<Option<u32>> = ready
        .iter()
        .zip(&sent)
        .filter(|(_, sent)| needs_look(sent))
        .map(|(row, _)| Some(row.id))
        .collect();
    let (mut seen, unseen) = match now(people, &ids).await {
        Ok(found) => (found.into_iter(), None),
        Err(fault) => (Vec::new().into_iter(), Some(fault)),
    };
    for (row, sent) in ready.iter().zip(sent) {
        let now = if needs_look(&sent) { seen.next() } else { None };
        outcomes[row.place] = Some(match (sent, now) {
            (Sent::Unknown(fault), _) => Outcome::Unknown(fault),
            (Sent::Done, Some(now)) => judge(now, &writes[row.place].changes, own_actor),
            (Sent::Failed(fault), Some(Now::Gone)) => Outcome::Failed(Fault {
                code: faults::GONE.to_owned(),
                ..fault
            }),
            (Sent::Failed(fault) | Sent::Nothing(fault), _) => Outcome::Failed(fault),
            (Sent::Done, None) => Outcome::Unknown(unchecked(unseen.as_ref())),
        });
    }
    let missing = || Outcome::Unknown(unchecked(None));
    Ok(outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(missing))
        .collect())
}

/// A write with the keys it needs.
fn prepare<'a>(
    people: &People<'a>,
    place: usize,
    write: &'a WriteRequest,
    unclear: &BTreeSet<String>,
) -> Result<Ready<'a>, Fault> {
    let refuse = |code: &str, what: &str| Fault::new(FaultClass::Rejected, code, what);
    if unclear.contains(&write.target.contact) && write.changes.iter().any(|(_, to)| grants(to)) {
        return Err(Fault::new(
            FaultClass::ContractBroken,
            "unclear",
            "a consent of the person cannot be understood, so nothing is granted over it; see the quarantine",
        ));
    }
    let id = person_id(&write.target.contact)
        .ok_or_else(|| refuse("bad-id", "the contact's id is no id of a person"))?;
    let puts = write
        .changes
        .iter()
        .map(|(purpose, wanted)| {
            let key = people
                .keys
                .key_of(*purpose)
                .ok_or_else(|| refuse("no-purpose", "the tenant does not hold that purpose"))?;
            let (base, source) = people.keys.to_write(wanted)?;
            Ok(Put {
                purpose: *purpose,
                wanted,
                key,
                base,
                source,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    Ok(Ready {
        place,
        id,
        puts,
        comment: comment(&people.settings.comment, write),
    })
}

fn grants(wanted: &Shown) -> bool {
    !matches!(
        wanted,
        Shown::Record {
            status: Status::Withdrawn,
            ..
        }
    )
}

/// The comment that goes along: where and when the person said so.
fn comment(template: &str, write: &WriteRequest) -> String {
    let time = write
        .said_at
        .to_datetime()
        .to_rfc3339_opts(SecondsFormat::Secs, true);
    template
        .replace("{time}", &time)
        .replace("{system}", &write.said_in)
        .chars()
        .take(MOST_COMMENT)
        .collect()
}

/// Takes out what a person shows already. A write of one purpose was looked at just before.
async fn skip_equal(people: &People<'_>, ready: &mut [Ready<'_>]) -> Result<(), Fault> {
    let mut several: Vec<&mut Ready<'_>> =
        ready.iter_mut().filter(|row| row.puts.len() > 1).collect();
    if several.is_empty() {
        return Ok(());
    }
    let ids: Vec<Option<u32>> = several.iter().map(|row| Some(row.id)).collect();
    for (row, now) in several.iter_mut().zip(now(people, &ids).await?) {
        if let Now::There(_, values) = now {
            row.puts
                .retain(|put| !shows(&values, put.purpose, put.wanted));
        }
    }
    Ok(())
}

/// Sends one person's calls, one after the other, until one fails.
async fn send(people: &People<'_>, row: &Ready<'_>, stopped: &Mutex<Option<Fault>>) -> Sent {
    let id = row.id.to_string();
    for (taken, put) in row.puts.iter().enumerate() {
        let before = stopped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let fault = match before {
            Some(fault) => fault,
            None => match set(people, &id, put, &row.comment).await {
                Ok(()) => continue,
                Err(fault) => fault,
            },
        };
        if is_systemic(&fault) {
            // The rest would fare no better, and only make things worse.
            let rest = Fault {
                maybe_sent: false,
                ..fault.clone()
            };
            stopped
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(rest);
        }
        return if fault.maybe_sent {
            Sent::Unknown(fault)
        } else if is_systemic(&fault) && taken == 0 {
            Sent::Nothing(fault)
        } else {
            Sent::Failed(fault)
        };
    }
    Sent::Done
}

async fn set(people: &People<'_>, id: &str, put: &Put<'_>, comment: &str) -> Result<(), Fault> {
    let params = [
        ("source", put.source),
        ("legalBase", put.base),
        ("comment", comment),
    ];
    people
        .tenant
        .call(
            "consent",
            Method::PUT,
            &["Person", id, "Consent", put.key],
            &params,
            Body::None,
        )
        .await
        .and_then(|answer| match faults::in_success("consent", &answer.body) {
            Some(fault) => Err(fault),
            None => Ok(()),
        })
}

/// Whether a fault is the server's as a whole and would meet the next call too.
fn is_systemic(fault: &Fault) -> bool {
    match fault.class {
        FaultClass::Rejected => false,
        FaultClass::RateLimited => true,
        FaultClass::Retryable | FaultClass::Auth | FaultClass::ContractBroken => {
            !fault.code.ends_with("Exception")
                && !matches!(fault.code.as_str(), faults::SERVER_ERROR | "http-500")
        }
    }
}

/// The fault that kept every call from being made.
fn nothing_sent(sent: &[Sent]) -> Option<Fault> {
    let faults: Option<Vec<&Fault>> = sent
        .iter()
        .map(|sent| match sent {
            Sent::Nothing(fault) => Some(fault),
            Sent::Done | Sent::Failed(_) | Sent::Unknown(_) => None,
        })
        .collect();
    faults?.first().map(|fault| (*fault).clone())
}

fn needs_look(sent: &Sent) -> bool {
    match sent {
        Sent::Done => true,
        Sent::Failed(fault) => is_absence(fault),
        Sent::Unknown(_) | Sent::Nothing(_) => false,
    }
}

/// A write that was taken but could not be read back.
fn unchecked(fault: Option<&Fault>) -> Fault {
    fault
        .cloned()
        .unwrap_or_else(|| {
            Fault::new(
                FaultClass::ContractBroken,
                "no-result",
                "the write cannot be read back",
            )
        })
        .maybe_sent()
}

fn shows(values: &[(PurposeId, Shown)], purpose: PurposeId, wanted: &Shown) -> bool {
    values
        .iter()
        .any(|(id, shown)| *id == purpose && agrees(shown, wanted))
}

/// Whether what is read back is what was written.
fn judge(now: Now, wanted: &[(PurposeId, Shown)], own_actor: Option<&str>) -> Outcome {
    let (consents, values) = match now {
        Now::There(consents, values) => (consents, values),
        Now::Gone => {
            return Outcome::Failed(Fault::new(
                FaultClass::Rejected,
                faults::GONE,
                "the person is not there any more",
            ));
        }
        Now::Spoiled(reason) => {
            let what = format!("read-back: {reason}");
            let fault = Fault::new(FaultClass::ContractBroken, "shape", what);
            return Outcome::Unknown(fault.maybe_sent());
        }
    };
    let Some((purpose, _)) = wanted
        .iter()
        .find(|(purpose, wanted)| !shows(&values, *purpose, wanted))
    else {
        return Outcome::Applied;
    };
    let by = consents
        .iter()
        .find(|consent| consent.purpose == *purpose)
        .and_then(|consent| consent.actor.as_deref());
    Outcome::Failed(if by.is_some() && by != own_actor {
        // The feed tells whose word it is.
        Fault::new(
            FaultClass::Retryable,
            "overtaken",
            "somebody else changed the consent at the same time",
        )
    } else {
        Fault::new(
            FaultClass::Rejected,
            "no-effect",
            "the write was accepted, but reading back shows another value; the server's own automation may have undone it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Background;
    use crate::consent::{At, Basis};

    const MARKETING: PurposeId = PurposeId(0);

    fn record(status: Status, basis: Option<Basis>) -> Shown {
        Shown::Record { status, basis }
    }

    fn there(shown: Shown, actor: Option<&str>) -> Now {
        let consent = Consent {
            purpose: MARKETING,
            shown: shown.clone(),
            at: None,
            actor: actor.map(str::to_owned),
        };
        Now::There(vec![consent], vec![(MARKETING, shown)])
    }

    #[test]
    fn only_a_read_back_that_agrees_is_an_effect() {
        let withdrawn = || record(Status::Withdrawn, None);
        let granted = |basis| record(Status::Granted, basis);
        let code = |now, wanted: Shown| match judge(now, &[(MARKETING, wanted)], Some("7")) {
            Outcome::Applied => "applied".to_owned(),
            Outcome::Failed(fault) => format!("{:?} {}", fault.class, fault.code),
            Outcome::Unknown(fault) => format!("unknown {}", fault.code),
            Outcome::HandedOver { batch, .. } => format!("handed over {batch}"),
        };
        for (sentence, now, wanted, expected) in [
            (
                "as written",
                there(withdrawn(), Some("7")),
                withdrawn(),
                "applied",
            ),
            (
                "a grant of no basis is satisfied by any",
                there(granted(Some(Basis::Contract)), Some("7")),
                granted(None),
                "applied",
            ),
            (
                "another basis",
                there(granted(Some(Basis::Contract)), Some("7")),
                granted(Some(Basis::Consent)),
                "Rejected no-effect",
            ),
            (
                "undone by our own user",
                there(granted(None), Some("7")),
                withdrawn(),
                "Rejected no-effect",
            ),
            (
                "somebody was quicker",
                there(granted(None), Some("12")),
                withdrawn(),
                "Retryable overtaken",
            ),
            (
                "no row was made",
                Now::There(Vec::new(), vec![(MARKETING, Shown::Default)]),
                withdrawn(),
                "Rejected no-effect",
            ),
            ("gone", Now::Gone, withdrawn(), "Rejected gone"),
            (
                "unreadable",
                Now::Spoiled("consent: x".to_owned()),
                withdrawn(),
                "unknown shape",
            ),
        ] {
            assert_eq!(code(now, wanted), expected, "{sentence}");
        }
    }

    #[test]
    fn a_comment_says_where_and_when_and_is_never_too_long() {
        let write = |system: &str| WriteRequest {
            target: Target {
                contact: "5120".to_owned(),
                address: Some("ann@example.org".to_owned()),
            },
            changes: Vec::new(),
            said_at: At::from_micros(1_768_820_527_999_999),
            said_in: system.to_owned(),
            background: Background::default(),
        };
        let template = "consentd: said in {system} at {time}";
        assert_eq!(
            comment(template, &write("emarketeer")),
            "consentd: said in emarketeer at 2026-01-19T11:02:07Z"
        );
        let long = comment(template, &write(&"ö".repeat(300)));
        assert_eq!(long.chars().count(), MOST_COMMENT);
        assert!(!comment(template, &write("x")).contains('@'));
    }

    #[test]
    fn one_persons_trouble_is_told_from_the_servers() {
        for (class, code, systemic) in [
            (FaultClass::RateLimited, "http-429", true),
            (FaultClass::Retryable, "http-503", true),
            (FaultClass::Retryable, "timeout", true),
            (FaultClass::Auth, "http-401", true),
            (FaultClass::Auth, "SoSentryException", false),
            (FaultClass::Retryable, "SoDbAccessException", false),
            (FaultClass::Retryable, "http-500", false),
            (FaultClass::Retryable, faults::SERVER_ERROR, false),
            (FaultClass::Rejected, "SoNotFoundException", false),
        ] {
            assert_eq!(
                is_systemic(&Fault::new(class, code, "")),
                systemic,
                "{code}"
            );
        }
        let not_sent = || Sent::Nothing(Fault::new(FaultClass::Retryable, "connect", ""));
        assert!(nothing_sent(&[not_sent(), not_sent()]).is_some());
        assert!(nothing_sent(&[not_sent(), Sent::Done]).is_none());
        assert!(nothing_sent(&[]).is_none());
    }
}
