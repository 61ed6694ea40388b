//! What a tenant lets the daemon see and change.

use super::config::{Deployment, OnlineGrant, Settings};
use super::lists::{Item, Lists};
use super::wire::{Tenant, parse};
use crate::connector::{Fault, Probe};
use serde::Deserialize;

/// The functional right to change consents (NetServer: `FunctionRightStrings`).
const RIGHT: &str = "can-manage-person-consent";

/// Who we are.
#[derive(Debug, Deserialize)]
pub struct Principal {
    /// The user as consents name their users.
    #[serde(rename = "AssociateId")]
    associate: u32,
    #[serde(rename = "FunctionRights", default)]
    rights: Option<Vec<String>>,
}

impl Principal {
    /// Asks.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn read(tenant: &Tenant) -> Result<Self, Fault> {
        let answer = tenant
            .get("principal", &["User", "currentPrincipal"], &[])
            .await?;
        parse("principal", &answer)
    }

    /// Its name in the rows that it changes.
    pub fn actor(&self) -> Option<String> {
        (self.associate > 0).then(|| self.associate.to_string())
    }
}

/// Everything that is missing or should be known, of what was read.
pub fn judge(settings: &Settings, principal: &Principal, lists: &Lists) -> Probe {
    let mut probe = Probe {
        own_actor: principal.actor(),
        ..Probe::default()
    };
    if probe.own_actor.is_none() {
        probe.notes.push(
            "the user that consentd acts as is not known, so its own changes cannot be told from others'"
                .to_owned(),
        );
    }
    rights(settings, principal, &mut probe);
    for (_, key) in &settings.purposes {
        need(
            &lists.purposes,
            "purpose",
            key,
            "add or activate it under Settings > Privacy, or name another one in `purposes`",
            &mut probe,
        );
    }
    for base in &settings.bases {
        need(
            &lists.bases,
            "legal basis",
            &base.written,
            "restore it under Settings > Privacy, or name another one in `legal_bases`",
            &mut probe,
        );
        for key in &base.also_read {
            if Lists::usable(&lists.bases, key).is_none() {
                probe.notes.push(format!(
                    "legal basis {key} {}; nothing will be read by it",
                    Lists::why_not(&lists.bases, key)
                ));
            }
        }
    }
    need(
        &lists.sources,
        "source",
        &settings.source,
        "add it under Settings > Privacy, or name another one in `source`",
        &mut probe,
    );
    let mails = Lists::usable(&lists.sources, &settings.source)
        .and_then(|source| source.mail_template)
        .is_some_and(|template| template > 0);
    if mails {
        probe.notes.push(format!(
            "source {} has a template for automatic mail; SuperOffice sends it to new persons only, and consentd makes none",
            settings.source
        ));
    }
    probe
}

/// A system user has every right, whatever is listed.
fn rights(settings: &Settings, principal: &Principal, probe: &mut Probe) {
    if let Deployment::Online(online) = &settings.deployment
        && matches!(online.grant, OnlineGrant::SystemUser { .. })
    {
        return;
    }
    match &principal.rights {
        Some(rights) if rights.iter().any(|right| right.eq_ignore_ascii_case(RIGHT)) => {}
        Some(rights) if !rights.is_empty() => probe.missing.push(format!(
            "functional right {RIGHT}: give it to the user's role, or no consent can be written"
        )),
        _ => probe.notes.push(format!(
            "the server does not list the user's rights; it needs {RIGHT}"
        )),
    }
}

fn need(items: &[Item], what: &str, key: &str, advice: &str, probe: &mut Probe) {
    if Lists::usable(items, key).is_none() {
        probe.missing.push(format!(
            "{what} {key} {}: {advice}",
            Lists::why_not(items, key)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::lists::tests::{lists, settings};
    use super::*;

    fn principal(rights: &[&str]) -> Principal {
        Principal {
            associate: 7,
            rights: Some(rights.iter().map(|right| (*right).to_owned()).collect()),
        }
    }

    #[test]
    fn a_sound_tenant_lacks_nothing() {
        let mut settings = settings();
        for base in &mut settings.bases {
            base.also_read.clear();
        }
        let probe = judge(&settings, &principal(&[RIGHT]), &lists(str::to_owned));
        assert_eq!(probe.own_actor.as_deref(), Some("7"));
        assert_eq!((probe.missing, probe.notes), (vec![], vec![]));
    }

    #[test]
    fn everything_that_is_missing_is_named_with_what_to_do() {
        let mut lists = lists(str::to_owned);
        lists.purposes[0].deleted = true;
        lists
            .bases
            .retain(|item| item.key.as_deref() != Some("WITHDRAWN"));
        lists.sources[1].mail_template = Some(4);
        let mut settings = settings();
        settings.source = "CONSENTD".to_owned();
        let probe = judge(&settings, &principal(&["other"]), &lists);
        let missing: Vec<&str> = probe
            .missing
            .iter()
            .map(|text| text.split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(
            missing,
            [
                "functional right can-manage-person-consent",
                "purpose STORE is deleted",
                "legal basis WITHDRAWN does not exist",
                "source CONSENTD does not exist",
            ]
        );
        assert!(probe.missing.iter().all(|text| text.contains(": ")));
        assert_eq!(
            probe.notes,
            ["legal basis SOFT does not exist; nothing will be read by it"]
        );
        settings.source = "API".to_owned();
        let probe = judge(&settings, &principal(&[RIGHT]), &lists);
        assert!(
            probe
                .notes
                .iter()
                .any(|note| note.contains("automatic mail"))
        );
    }
}
