//! What an account lets the daemon see and change.

use super::access::Access;
use super::map::OURSELVES;
use super::master;
use super::wire::faults::{FORBIDDEN, INVALID, UNKNOWN_PATH};
use super::wire::list::Rows;
use crate::connector::{Fault, Probe};

/// An address that nobody has: the domain is kept for examples (RFC 2606).
const NOBODY: &str = "consentd-probe@example.com";

/// Tries each module's key, and compares the account's master data with what the configuration names.
///
/// # Errors
/// When a call fails for another reason than what it asks for.
pub async fn probe(access: &Access) -> Result<Probe, Fault> {
    let mut probe = Probe {
        own_actor: Some(OURSELVES.to_owned()),
        ..Probe::default()
    };
    let account = &access.account;
    if let Some(found) = allowed(&mut probe, master::asked(account).await)? {
        match found {
            Err(missing) => probe.missing.extend(missing),
            Ok(master) => {
                for name in master.unmapped() {
                    let keys = account.key("legal_bases");
                    probe.notes.push(format!("legal basis {name:?} stands for none of the known ones: it counts as it is and is never written elsewhere; map it in {keys}"));
                }
                if master.own_source().is_none() {
                    probe.notes.push("the account lists no sources, so consentd's own records are known by their comments alone".to_owned());
                }
                let consents = account.consents_of(NOBODY).await;
                nobody(&mut probe, consents, &account.key("consent.query.key"))?;
            }
        }
    }
    let contacts = account.contacts_in_module(NOBODY).await;
    nobody(&mut probe, contacts, &account.key("contact.query.email"))?;
    if access.settings().legacy.is_some() {
        let contacts = account.contacts_of(NOBODY).await;
        nobody(&mut probe, contacts, &account.key("legacy"))?;
    }
    probe.missing.dedup();
    Ok(probe)
}

/// A look-up of somebody who does not exist must find nobody: else the address is not looked at, and
/// everybody would seem to have the same consent.
fn nobody(probe: &mut Probe, found: Result<Rows, Fault>, key: &str) -> Result<(), Fault> {
    match allowed(probe, found)? {
        Some(rows) if !rows.rows.is_empty() => probe.missing.push(format!(
            "{key}: a look-up by address answers whatever the address is; set it to the name of the parameter for the address"
        )),
        Some(_) | None => {}
    }
    Ok(())
}

/// What was found; a refusal that the operator has to do something about is noted instead.
fn allowed<T>(probe: &mut Probe, found: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(fault) if matches!(fault.code.as_str(), FORBIDDEN | UNKNOWN_PATH | INVALID) => {
            probe.missing.push(fault.message);
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}
