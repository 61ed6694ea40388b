//! What a changed configuration changes while the daemon runs, and what waits for a restart (R49).
//!
//! Pure: whoever reloads has checked the new configuration whole before it comes here.

use super::checked::{Checked, MarketingCloud, SystemSettings};
use crate::store::StoreSettings;
use secrecy::{ExposeSecret, SecretString};

/// What came of comparing two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// What is different from now on, in words for an operator.
    pub taken: Vec<String>,
    /// Keys that differ, and stay as they were until a restart.
    pub ignored: Vec<&'static str>,
}

/// The configuration to go on with when `found` is read while `running` is in force: what cannot
/// change at run time stays as it is.
pub fn merge(running: &Checked, found: Checked) -> (Checked, Changed) {
    let ignored = kept(running, &found);
    let mut taken = Vec::new();
    if found.purposes != running.purposes {
        taken.push("purposes".to_owned());
    }
    let mut policy = found.policy.clone();
    // A mark of everything, so it says nothing about the policy alone.
    policy
        .rules
        .version
        .clone_from(&running.policy.rules.version);
    if policy != running.policy {
        taken.push("policy".to_owned());
    }
    if !found.alarms.tell_like(&running.alarms) {
        taken.push("alarms".to_owned());
    }
    if format!("{:?}", found.parity) != format!("{:?}", running.parity) {
        taken.push("parity".to_owned());
    }
    if !found.privacy.is_like(&running.privacy) {
        taken.push("privacy".to_owned());
    }
    if found.retention != running.retention {
        taken.push("retention".to_owned());
    }
    taken.extend(systems(&running.systems, &found.systems));
    taken.extend(gate(
        running.marketing_cloud.as_ref(),
        found.marketing_cloud.as_ref(),
    ));
    let mut next = Checked {
        first_run: running.first_run,
        store: running.store.clone(),
        hash_key: running.hash_key.clone(),
        log: running.log.clone(),
        ..found
    };
    next.server.listen = running.server.listen;
    next.server.callback.clone_from(&running.server.callback);
    next.server.sendout_retention = running.server.sendout_retention;
    // Whatever else there is to configure is not to be left out because nobody listed it here.
    if taken.is_empty() && format!("{next:?}") != format!("{running:?}") {
        taken.push("other settings".to_owned());
    }
    (next, Changed { taken, ignored })
}

/// The keys that differ and are only read at start.
fn kept(running: &Checked, found: &Checked) -> Vec<&'static str> {
    let rows = [
        ("first_run", running.first_run != found.first_run),
        (
            "server.listen",
            running.server.listen != found.server.listen,
        ),
        (
            "server.callback",
            callback_of(running) != callback_of(found),
        ),
        (
            "server.sendout_retention_days",
            running.server.sendout_retention != found.server.sendout_retention,
        ),
        ("store.url", store_of(running) != store_of(found)),
        (
            "store.password",
            password_of(running).map(ExposeSecret::expose_secret)
                != password_of(found).map(ExposeSecret::expose_secret),
        ),
        (
            "identity.hash_key",
            running.hash_key.expose_secret() != found.hash_key.expose_secret(),
        ),
        ("log", running.log != found.log),
    ];
    rows.into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
}

fn callback_of(checked: &Checked) -> Option<(&[u8], &[String])> {
    let callback = checked.server.callback.as_ref()?;
    Some((callback.key.expose_secret(), &callback.hosts))
}

fn store_of(checked: &Checked) -> String {
    match &checked.store {
        StoreSettings::Sqlite { path } => path.display().to_string(),
        StoreSettings::Postgres { url, .. } => url.to_string(),
    }
}

fn password_of(checked: &Checked) -> Option<&SecretString> {
    match &checked.store {
        StoreSettings::Sqlite { .. } => None,
        StoreSettings::Postgres { password, .. } => password.as_ref(),
    }
}

/// What changed of the gate.
fn gate(running: Option<&MarketingCloud>, found: Option<&MarketingCloud>) -> Vec<String> {
    let (before, now) = match (running, found) {
        (None, None) => return Vec::new(),
        (Some(_), None) => return vec!["marketing_cloud is no longer configured".to_owned()],
        (None, Some(_)) => return vec!["marketing_cloud is new".to_owned()],
        (Some(before), Some(now)) => (before, now),
    };
    let mut words = Vec::new();
    if before.enabled != now.enabled {
        let state = if now.enabled { "on" } else { "off" };
        words.push(format!("marketing_cloud is switched {state}"));
    }
    let rest = MarketingCloud {
        enabled: before.enabled,
        ..now.clone()
    };
    if !rest.is_like(before) {
        words.push("settings of marketing_cloud".to_owned());
    }
    words
}

fn systems(running: &[SystemSettings], found: &[SystemSettings]) -> Vec<String> {
    let of = |systems: &'_ [SystemSettings], name: &str| {
        systems.iter().position(|system| system.name == name)
    };
    let mut words = Vec::new();
    for system in running {
        if of(found, &system.name).is_none() {
            words.push(format!("{} is no longer configured", system.name));
        }
    }
    for system in found {
        let name = &system.name;
        let Some(before) = of(running, name).and_then(|place| running.get(place)) else {
            words.push(format!("{name} is new"));
            continue;
        };
        let on = |on: bool| if on { "on" } else { "off" };
        if before.enabled != system.enabled {
            words.push(format!("{name} is switched {}", on(system.enabled)));
        }
        if before.legal_basis_sync != system.legal_basis_sync {
            let now = on(system.legal_basis_sync);
            words.push(format!("the legal-basis sync of {name} is switched {now}"));
        }
        let rest = SystemSettings {
            enabled: before.enabled,
            legal_basis_sync: before.legal_basis_sync,
            ..system.clone()
        };
        if format!("{rest:?}") != format!("{before:?}") || rest.secrets != before.secrets {
            words.push(format!("settings of {name}"));
        }
    }
    words
}
