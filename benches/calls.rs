//! How many calls of the vendors a change takes.
//!
//! `cargo bench --bench calls [-- changes [contacts]]` brings four systems with so many untidy
//! contacts each to parity, and then lets so many people withdraw in one of them, 1,000 unless told
//! otherwise, and in the next, and so on. Each time it counts, with the simulators' own counters, what
//! the engine calls until everybody is withdrawn everywhere and no poll reads those changes again.
//! Beside that stands the least that the vendors allow, and what polls cost when nothing changes.
//! A row that was written although it showed its value already, or a change that did not arrive, fails
//! the run; the number of calls never does.

mod common;

use anyhow::{Context as _, bail, ensure};
use common::{Hub, OVERLAP_SECS, POLL_SECS, SYSTEMS, Step, Tally, table};
use consentd::store::{CLAIMED, OutboxRow, PENDING};
use consentd_sandbox::emarketeer::{NewContact, master};
use consentd_sandbox::superoffice::{self, NewConsent, NewPerson};
use consentd_sandbox::{CallKind, Org, RECORDS, SPECIALIST};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Changes in each system, and untidy contacts in each, unless told otherwise.
const SIZES: (usize, usize) = (1_000, 1_000);
/// Those of the smoke run, which only shows that everything still fits together.
const SMOKE: (usize, usize) = (15, 40);
/// Rounds until a poll no longer reads a change: the one that brings it, those that read it again,
/// and one to spare.
const ROUNDS: u64 = 2 + OVERLAP_SECS / POLL_SECS;
/// Polls that find nothing: an hour of them, so that what is done once an hour is in them once.
const NOTHING_ROUNDS: u64 = 3_600 / POLL_SECS;
/// Contacts that the platform changes in one call.
const COLLECTION_ROWS: u64 = 200;
/// Seconds between two of the consents that the people begin with: too few of them in a minute to
/// look like a load (R25).
const CONSENT_EVERY_SECS: i64 = 10;
/// Seconds after which the people are no news any more.
const OLD_SECS: u64 = 3_600;
/// Rounds without a write after which the hub is at rest; a grant waits for less than two.
const QUIET_ROUNDS: usize = 3;
/// A hub that is not at rest after so many rounds never will be.
const MOST_ROUNDS: usize = 60;
/// Writes that are looked at to see whether any waits.
const MOST_WAITING: usize = 10_000;
/// How SuperOffice calls marketing, consent, and its withdrawal.
const EMARKETING: &str = "EMARKETING";
const CONSENT: &str = "61A";
const WITHDRAWN: &str = "WITHDRAWN";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // cargo passes this word when it benches, and does not when it tests.
    if !arguments.iter().any(|word| word == "--bench") {
        return common::block_on(measure(SMOKE.0, SMOKE.1));
    }
    let sizes: Result<Vec<usize>, _> = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .map(|word| word.parse())
        .collect();
    let sizes = sizes.context("the arguments are a number of changes and one of contacts")?;
    let size = |place: usize, ordinary| sizes.get(place).copied().unwrap_or(ordinary);
    common::block_on(measure(size(0, SIZES.0), size(1, SIZES.1)))
}

/// One person with a contact in every system, all of which may be mailed.
struct Mailed {
    address: String,
    salesforce: String,
    ascend: String,
    superoffice: i64,
}

/// Rows that were written through the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    /// They show something else than before.
    changed: u64,
    /// They showed the value already.
    redundant: u64,
}

/// The rows written since the start.
fn written(hub: &Hub, system: &str) -> Written {
    let (changed, redundant) = match system {
        "emarketeer" => {
            let calls = hub.sandbox.emarketeer().calls();
            (calls.records_written, calls.records_repeated)
        }
        system => {
            let calls = match system {
                "salesforce" => hub.sandbox.salesforce().calls(),
                "ascend" => hub.sandbox.ascend().calls(),
                _ => hub.sandbox.superoffice().calls(),
            };
            (calls.rows_changed, calls.rows_unchanged)
        }
    };
    Written { changed, redundant }
}

/// Calls that set consent, and nothing else.
const fn is_write(kind: CallKind) -> bool {
    matches!(
        kind,
        CallKind::CollectionsWrite
            | CallKind::BulkIngest
            | CallKind::ConsentCreate
            | CallKind::ConsentWrite
    )
}

/// What a burst of changes in one system led to.
struct Burst {
    origin: &'static str,
    written: BTreeMap<&'static str, Written>,
    tally: Tally,
}

async fn measure(changes: usize, contacts: usize) -> anyhow::Result<()> {
    let hub = Hub::start(contacts).await?;
    let mut groups = Vec::new();
    for origin in SYSTEMS {
        let group: Result<Vec<Mailed>, _> = (0..changes)
            .map(|number| person(&hub, origin, number))
            .collect();
        groups.push((origin, group?));
    }
    hub.pass(OLD_SECS);
    settle(&hub).await?;
    let mut bursts = Vec::new();
    for (origin, group) in &groups {
        bursts.push(burst(&hub, origin, group).await?);
    }
    // The safety net looks an hour back: after that, and a look of its own, it finds nothing.
    hub.pass(OLD_SECS);
    hub.round().await?;
    hub.round().await?;
    let before = SYSTEMS.map(|system| written(&hub, system));
    hub.take_tally();
    for _ in 0..NOTHING_ROUNDS {
        hub.round().await?;
    }
    let quiet = hub.take_tally();
    ensure!(
        before == SYSTEMS.map(|system| written(&hub, system)),
        "something was written although nothing had changed"
    );
    for burst in &bursts {
        check(burst, changes)?;
    }
    print_bursts(&bursts, &quiet, changes as u64);
    print_quiet(&quiet);
    Ok(())
}

/// Goes on until nothing is left to be written.
async fn settle(hub: &Hub) -> anyhow::Result<()> {
    let mut quiet = 0;
    for _ in 0..MOST_ROUNDS {
        let claimed = hub.round().await?;
        let outbox = hub.engine.shared.store.outbox(0, MOST_WAITING).await?;
        let waits = |row: &OutboxRow| row.state == PENDING || row.state == CLAIMED;
        let idle = claimed == 0 && !outbox.iter().any(waits);
        quiet = if idle { quiet + 1 } else { 0 };
        if quiet == QUIET_ROUNDS {
            return Ok(());
        }
    }
    bail!("the systems do not come to rest")
}

fn person(hub: &Hub, origin: &str, number: usize) -> anyhow::Result<Mailed> {
    let name = format!("{origin}-{number}");
    let address = format!("{name}@bench.example");
    let donor = format!("D-{name}");
    let sandbox = &hub.sandbox;
    let at = sandbox.clock().now()
        - chrono::TimeDelta::days(2)
        - chrono::TimeDelta::seconds(CONSENT_EVERY_SECS * number as i64);
    let create = |org: &Org, by: &str, fields: Value| {
        org.create("Contact", &object(fields)?, by, None)
            .context("a contact was refused")
    };
    let salesforce = create(
        sandbox.salesforce(),
        SPECIALIST,
        json!({ "LastName": name, "Email": address, "Ascend_ID__c": donor, "Email_Events__c": true }),
    )?;
    let ascend = create(
        sandbox.ascend(),
        RECORDS,
        json!({ "LastName": name, "Email": address, "ucinn_ascendv2__Donor_ID__c": donor }),
    )?;
    let emarketeer = sandbox.emarketeer();
    emarketeer.create_contact(&NewContact {
        address: address.clone(),
        ..NewContact::default()
    })?;
    let (purpose, basis) = (master::MARKETING, master::CONSENT);
    emarketeer.set_basis(&address, purpose, basis, master::FORM, None, Some(at))?;
    let tenant = sandbox.superoffice();
    let person = NewPerson {
        last_name: name,
        addresses: vec![address.clone()],
        ..NewPerson::default()
    };
    let superoffice = tenant.create_person(&person, superoffice::SALES)?;
    let consent = NewConsent {
        at: Some(at),
        ..NewConsent::new(EMARKETING, CONSENT)
    };
    tenant.set_consent(superoffice, &consent, superoffice::SALES)?;
    Ok(Mailed {
        address,
        salesforce,
        ascend,
        superoffice,
    })
}

fn object(fields: Value) -> anyhow::Result<Map<String, Value>> {
    Ok(serde_json::from_value(fields)?)
}

/// Everybody of the group withdraws in that system, and the engine takes it to the others.
async fn burst(hub: &Hub, origin: &'static str, group: &[Mailed]) -> anyhow::Result<Burst> {
    let before = SYSTEMS.map(|system| written(hub, system));
    hub.take_tally();
    for person in group {
        withdraw(hub, origin, person)?;
    }
    for _ in 0..ROUNDS {
        hub.round().await?;
    }
    for person in group {
        ensure!(
            is_withdrawn_everywhere(hub, person),
            "a withdrawal in {origin} did not get everywhere"
        );
    }
    let written = SYSTEMS.into_iter().zip(before).map(|(system, before)| {
        let after = written(hub, system);
        let more = Written {
            changed: after.changed - before.changed,
            redundant: after.redundant - before.redundant,
        };
        (system, more)
    });
    Ok(Burst {
        origin,
        written: written.collect(),
        tally: hub.take_tally(),
    })
}

fn withdraw(hub: &Hub, system: &str, person: &Mailed) -> anyhow::Result<()> {
    let sandbox = &hub.sandbox;
    let out = || object(json!({ "HasOptedOutOfEmail": true }));
    match system {
        "salesforce" => {
            let org = sandbox.salesforce();
            org.edit(&person.salesforce, &out()?, SPECIALIST)?;
        }
        "ascend" => sandbox.ascend().edit(&person.ascend, &out()?, RECORDS)?,
        "emarketeer" => sandbox.emarketeer().unsubscribe(&person.address)?,
        _ => {
            let consent = NewConsent::new(EMARKETING, WITHDRAWN);
            let tenant = sandbox.superoffice();
            tenant.set_consent(person.superoffice, &consent, superoffice::SALES)?;
        }
    }
    Ok(())
}

fn is_withdrawn_everywhere(hub: &Hub, person: &Mailed) -> bool {
    let sandbox = &hub.sandbox;
    let out = |org: &Org, id: &str| org.contact(id).is_some_and(|contact| contact.opted_out);
    let basis = sandbox
        .emarketeer()
        .basis(&person.address, master::MARKETING);
    let there = sandbox.superoffice().person(person.superoffice);
    out(sandbox.salesforce(), &person.salesforce)
        && out(sandbox.ascend(), &person.ascend)
        && basis.as_deref() == Some(master::WITHDRAWN)
        && there.is_some_and(|there| {
            there
                .consent(EMARKETING)
                .is_some_and(|consent| consent.legal_base == WITHDRAWN)
        })
}

/// Every change is written once to each other system, and nothing else is.
fn check(burst: &Burst, changes: usize) -> anyhow::Result<()> {
    for (system, written) in &burst.written {
        let expected = Written {
            changed: if *system == burst.origin {
                0
            } else {
                changes as u64
            },
            redundant: 0,
        };
        ensure!(
            *written == expected,
            "{changes} changes in {} led to {written:?} in {system}",
            burst.origin
        );
    }
    Ok(())
}

/// Calls in which a vendor takes so many writes at the least.
fn least_writes(system: &str, rows: u64) -> u64 {
    match system {
        "salesforce" | "ascend" => rows.div_ceil(COLLECTION_ROWS),
        _ => rows,
    }
}

fn print_bursts(bursts: &[Burst], quiet: &Tally, changes: u64) {
    let mut table = table(
        [
            "changed in",
            "system",
            "rows",
            "redundant",
            "writes",
            "least",
            "re-reads",
            "read-backs",
            "polls",
            "quiet polls",
            "look-ups",
            "log-ins",
            "per 1,000",
        ],
        2,
    );
    for burst in bursts {
        for (system, written) in SYSTEMS.map(|system| (system, burst.written[system])) {
            let count = |step| burst.tally.count(system, step);
            let writes: u64 = burst
                .tally
                .of(system, Step::Write)
                .filter(|(kind, _)| is_write(*kind))
                .map(|(_, count)| count)
                .sum();
            let steps = [Step::Write, Step::Look, Step::Poll, Step::LookUp];
            let all: u64 = steps.map(count).iter().sum();
            // What the polls would have taken anyway is no cost of the changes.
            let anyway = quiet.count(system, Step::Poll) * ROUNDS / NOTHING_ROUNDS;
            table.add_row([
                burst.origin.to_owned(),
                system.to_owned(),
                written.changed.to_string(),
                written.redundant.to_string(),
                writes.to_string(),
                least_writes(system, written.changed).to_string(),
                count(Step::Look).to_string(),
                (count(Step::Write) - writes).to_string(),
                count(Step::Poll).to_string(),
                anyway.to_string(),
                count(Step::LookUp).to_string(),
                count(Step::Probe).to_string(),
                format!(
                    "{:.1}",
                    all.saturating_sub(anyway) as f64 * 1_000.0 / changes as f64
                ),
            ]);
        }
    }
    println!(
        "{changes} withdrawals in one system, until {ROUNDS} polls of each system have passed, \
         {POLL_SECS} s apart with an overlap of {OVERLAP_SECS} s; the calls of all steps, and per 1,000 \
         changes those that quiet polls would not have made\n{table}\n"
    );
}

fn print_quiet(quiet: &Tally) {
    let mut table = table(["system", "calls a poll", "of which"], 1);
    for system in SYSTEMS {
        let kinds: Vec<String> = quiet
            .of(system, Step::Poll)
            .map(|(kind, count)| format!("{kind:?} {:.2}", count as f64 / NOTHING_ROUNDS as f64))
            .collect();
        table.add_row([
            system.to_owned(),
            format!(
                "{:.2}",
                quiet.count(system, Step::Poll) as f64 / NOTHING_ROUNDS as f64
            ),
            kinds.join(", "),
        ]);
    }
    println!("polls that find nothing\n{table}");
}
