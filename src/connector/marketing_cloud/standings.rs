//! Where subscribers stand: by one retrieve for all units, or by one for each.

use super::config::Reach;
use super::map::{self, Frame, Keys};
use super::wire::{Account, Retrieve};
use crate::connector::gate::Standing;
use crate::connector::{Fault, FaultClass};
use futures::future;

/// The kind under which these calls are counted.
const KIND: &str = "subscribers";

/// Where these subscribers stand, in all units or in some. Each key and unit once.
pub(super) async fn read(
    account: &Account,
    keys: &[String],
    only: Option<&[&str]>,
) -> Result<Vec<Standing>, Fault> {
    let settings = account.settings();
    check_count(keys.len(), settings.keys_per_call)?;
    let keys = Keys::new(keys);
    let wanted = keys.all();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let units = &settings.units;
    let found = match settings.reach {
        Reach::AllAccounts => all_accounts(account, &keys, &wanted).await?,
        Reach::PerUnit => {
            let asked = units
                .iter()
                .filter(|unit| only.is_none_or(|only| only.contains(&unit.id.as_str())))
                .map(|unit| ask(account, &keys, &wanted, &unit.id, Some(&unit.id)));
            // The client's own limit says how many of these are under way at once.
            future::try_join_all(asked).await?.concat()
        }
    };
    let mut found = map::once(found, units);
    found.retain(|standing| only.is_none_or(|only| only.contains(&standing.unit.as_str())));
    Ok(found)
}

/// One retrieve of the parent for all units.
///
/// Whether such an answer holds the parent's own rows is not documented. Until one did, the parent is
/// asked for itself as well: a subscriber that is not found there would pass.
async fn all_accounts(
    account: &Account,
    keys: &Keys<'_>,
    wanted: &[&str],
) -> Result<Vec<Standing>, Fault> {
    let Some(parent) = account.settings().units.first() else {
        return Ok(Vec::new());
    };
    let mut found = ask(account, keys, wanted, &parent.id, None).await?;
    if found.iter().any(|standing| standing.unit == parent.id) {
        account.answers_for_parent();
    }
    if !account.is_answered_for_parent() {
        found.extend(ask(account, keys, wanted, &parent.id, Some(&parent.id)).await?);
    }
    Ok(found)
}

/// One retrieve by the token of `by`.
async fn ask(
    account: &Account,
    keys: &Keys<'_>,
    wanted: &[&str],
    by: &str,
    unit: Option<&str>,
) -> Result<Vec<Standing>, Fault> {
    let settings = account.settings();
    let frame = Frame {
        keys,
        units: &settings.units,
        only: unit,
        utc_offset: settings.utc_offset,
    };
    let asked = Retrieve {
        kind: KIND,
        object: "Subscriber",
        properties: map::PROPERTIES,
        optional: map::OPTIONAL,
        filter: Some(("SubscriberKey", wanted)),
        unit,
    };
    account.retrieve(by, asked, |row| frame.standing(row)).await
}

/// Refuses more keys than may be asked for at once.
pub(super) fn check_count(keys: usize, most: usize) -> Result<(), Fault> {
    if keys <= most {
        return Ok(());
    }
    Err(Fault::new(
        FaultClass::Rejected,
        "too-many-keys",
        format!("{keys} subscriber keys in one call; at most {most} are possible"),
    ))
}
