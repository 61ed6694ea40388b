//! A look at the account before anything is asked of it. Changes nothing.

use super::config::Reach;
use super::standings;
use super::units::{self, Behaviour, Described};
use super::wire::Account;
use crate::connector::{Fault, FaultClass, Probe};

/// The permissions that are always needed.
const READS: [&str; 2] = ["list_and_subscribers_read", "accounts_read"];
/// The one that setting subscribers active needs.
const WRITES: &str = "list_and_subscribers_write";
/// A subscriber that there is not, to try whether subscribers can be read.
const NOBODY: &str = "consentd-probe";

/// Logs in to every unit that needs it, and looks for units and permissions.
pub(super) async fn run(account: &Account) -> Result<Probe, Fault> {
    let settings = account.settings();
    let mut probe = Probe::default();
    let Some(parent) = settings.units.first() else {
        return Ok(probe);
    };
    let session = account.session(&parent.id).await?;
    let wanted = READS.iter().chain(settings.activates.then_some(&WRITES));
    for scope in wanted.filter(|_| !session.scopes.is_empty()) {
        if !session.scopes.iter().any(|has| has == scope) {
            probe.missing.push(format!(
                "the permission {scope}: add it to the installed package"
            ));
        }
    }
    match units::read(account, &parent.id).await {
        Ok(units) => describe(&mut probe, account, &units),
        Err(fault) => missing(&mut probe, "the list of business units", fault)?,
    }
    if settings.reach == Reach::PerUnit {
        for unit in settings.units.iter().skip(1) {
            if let Err(fault) = account.session(&unit.id).await {
                let what = format!("access to business unit {} ({})", unit.id, unit.name);
                missing(&mut probe, &what, fault)?;
            }
        }
    }
    if probe.missing.is_empty()
        && let Err(fault) = standings::read(account, &[NOBODY.to_owned()], None).await
    {
        missing(&mut probe, "the statuses of subscribers", fault)?;
    }
    Ok(probe)
}

/// A refusal is something that is missing; anything else is trouble.
fn missing(probe: &mut Probe, what: &str, fault: Fault) -> Result<(), Fault> {
    match fault.class {
        FaultClass::Auth | FaultClass::Rejected => {
            probe.missing.push(format!("{what}: {fault}"));
            Ok(())
        }
        FaultClass::Retryable | FaultClass::RateLimited | FaultClass::ContractBroken => Err(fault),
    }
}

/// Names the configured units that are not there, and says what those that are do.
fn describe(probe: &mut Probe, account: &Account, units: &[Described]) {
    let configured = &account.settings().units;
    for (place, unit) in configured.iter().enumerate() {
        let Some(found) = units.iter().find(|found| found.id == unit.id) else {
            let key = if place == 0 {
                "account"
            } else {
                "[[marketing_cloud.units]]"
            };
            probe.missing.push(format!(
                "business unit {} ({}): the account has no such unit; correct its id in {key}, or give the \
                 installed package access to it",
                unit.id, unit.name
            ));
            continue;
        };
        let behaviour = match &found.behaviour {
            Behaviour::EntireEnterprise => {
                "an opt-out there is one of the whole enterprise".to_owned()
            }
            Behaviour::UnitOnly => "an opt-out there is one of that unit alone".to_owned(),
            Behaviour::Unknown(Some(word)) => format!("its unsubscribe setting is {word}"),
            Behaviour::Unknown(None) => "its unsubscribe setting is not shown".to_owned(),
        };
        probe.notes.push(format!(
            "business unit {} ({}) is {:?}: {behaviour}",
            unit.id, unit.name, found.name
        ));
    }
    let further = units
        .iter()
        .filter(|found| configured.iter().all(|unit| unit.id != found.id))
        .count();
    if further > 0 {
        probe.notes.push(format!(
            "{further} further business units of the account are not looked at; list those that mail \
             people under [[marketing_cloud.units]]"
        ));
    }
}
