//! The tenant's lists of purposes, legal bases and sources, resolved by key.
//!
//! Ids differ between tenants and names between languages, so keys alone count. Old servers put a `#`
//! before each key; what is sent is the key exactly as the tenant stores it.

use super::config::{Base, Settings, bare, same_key};
use super::wire::{Tenant, parse};
use crate::connector::{Fault, FaultClass};
use crate::consent::{Basis, PurposeId, Shown, Status};
use serde::Deserialize;

/// One item of a list, whichever list it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Item {
    /// Id within the tenant.
    #[serde(
        alias = "ConsentPurposeId",
        alias = "LegalBaseId",
        alias = "ConsentSourceId"
    )]
    pub id: u32,
    /// Key; blank for what has none.
    #[serde(rename = "Key", default)]
    pub key: Option<String>,
    /// Marked as deleted.
    #[serde(rename = "Deleted", default)]
    pub deleted: bool,
    /// Purposes alone can be switched off.
    #[serde(rename = "Active", default)]
    pub active: Option<Switch>,
    /// Sources alone can send a mail when a person is registered with them.
    #[serde(rename = "MailTemplateId", default)]
    pub mail_template: Option<u32>,
}

/// A switch that the vendor writes as a number, and may one day write as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Switch {
    /// 0 is off.
    Number(i64),
    /// As one expects.
    Flag(bool),
}

impl Item {
    fn is(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|own| same_key(own, key))
    }

    /// Whether the administrator has switched it off.
    pub fn is_off(&self) -> bool {
        matches!(self.active, Some(Switch::Number(0) | Switch::Flag(false)))
    }
}

/// The three lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists {
    /// `ConsentPurpose`
    pub purposes: Vec<Item>,
    /// `LegalBase`
    pub bases: Vec<Item>,
    /// `ConsentSource`
    pub sources: Vec<Item>,
}

impl Lists {
    /// Asks for all three.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn read(tenant: &Tenant) -> Result<Self, Fault> {
        let list = async |name: &str| -> Result<Vec<Item>, Fault> {
            let answer = tenant.get("list", &["List", name, "Items"], &[]).await?;
            parse("list", &answer)
        };
        Ok(Self {
            purposes: list("ConsentPurpose").await?,
            bases: list("LegalBase").await?,
            sources: list("ConsentSource").await?,
        })
    }

    /// The item of that key that may be used: the exact key before one that differs in case or in
    /// its `#`, and living ones only.
    pub fn usable<'a>(items: &'a [Item], key: &str) -> Option<&'a Item> {
        let mut found = items
            .iter()
            .filter(|item| item.is(key) && !item.deleted && !item.is_off());
        let first = found.clone().find(|item| item.key.as_deref() == Some(key));
        first.or_else(|| found.next())
    }

    /// Why an item of that key cannot be used.
    pub fn why_not(items: &[Item], key: &str) -> &'static str {
        match items.iter().find(|item| item.is(key)) {
            None => "does not exist",
            Some(item) if item.deleted => "is deleted",
            Some(_) => "is switched off",
        }
    }
}

/// What keys stand for, in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Per purpose that is carried: its id in the tenant and its stored key.
    pub purposes: Vec<(PurposeId, u32, String)>,
    bases: Vec<Base>,
    written: Vec<Option<String>>,
    /// Stored key of the source; empty when the tenant has none such.
    source: Option<String>,
}

impl Keys {
    /// Resolves what the configuration names.
    ///
    /// # Errors
    /// When the tenant lacks a purpose: nothing can be read then. Other things that are missing
    /// refuse the writes that need them.
    pub fn resolve(settings: &Settings, lists: &Lists) -> Result<Self, Fault> {
        let mut purposes = Vec::new();
        for (purpose, key) in &settings.purposes {
            let Some(item) = Lists::usable(&lists.purposes, key) else {
                return Err(Fault::new(
                    FaultClass::Auth,
                    "missing-key",
                    format!(
                        "the tenant's purpose {key} {}; see `consentd check --live`",
                        Lists::why_not(&lists.purposes, key)
                    ),
                ));
            };
            let stored = item.key.clone().unwrap_or_default();
            purposes.push((*purpose, item.id, stored));
        }
        let stored =
            |items: &[Item], key: &str| Lists::usable(items, key).and_then(|item| item.key.clone());
        Ok(Self {
            purposes,
            written: settings
                .bases
                .iter()
                .map(|base| stored(&lists.bases, &base.written))
                .collect(),
            bases: settings.bases.clone(),
            source: stored(&lists.sources, &settings.source),
        })
    }

    /// The purpose of a key; none for one that is not carried.
    pub fn purpose(&self, key: &str) -> Option<PurposeId> {
        self.purposes
            .iter()
            .find(|(_, _, stored)| same_key(stored, key))
            .map(|(purpose, _, _)| *purpose)
    }

    /// The stored key of a purpose that is carried.
    pub fn key_of(&self, purpose: PurposeId) -> Option<&str> {
        self.purposes
            .iter()
            .find(|(id, _, _)| *id == purpose)
            .map(|(_, _, key)| key.as_str())
    }

    /// What a legal basis of that key says. One that is not mapped is kept as it is written.
    pub fn meaning(&self, key: &str) -> Shown {
        let known = self.bases.iter().find(|base| {
            same_key(&base.written, key) || base.also_read.iter().any(|also| same_key(also, key))
        });
        if let Some(base) = known {
            let (status, basis) = base.means.clone();
            return Shown::Record { status, basis };
        }
        let kept = match Basis::from_word(key) {
            Basis::Other(code) => code,
            // A tenant's own key that happens to be a word of ours does not mean what we mean.
            _ => format!("#{}", bare(key)),
        };
        Shown::Record {
            status: Status::Granted,
            basis: Some(Basis::Other(kept)),
        }
    }

    /// The stored keys of legal basis and source that a value is written by.
    ///
    /// # Errors
    /// `rejected` when there are none.
    pub fn to_write(&self, value: &Shown) -> Result<(&str, &str), Fault> {
        let refuse = |code: &str, message: String| Fault::new(FaultClass::Rejected, code, message);
        let (status, basis) = match value {
            Shown::Record { status, basis } => (*status, basis.as_ref()),
            Shown::Default | Shown::Set => {
                return Err(refuse(
                    "no-flag",
                    "a consent record is neither set nor cleared like a check box".to_owned(),
                ));
            }
        };
        let wanted = match (status, basis) {
            (Status::Withdrawn, _) => None,
            (Status::Granted, Some(basis)) => Some(basis),
            (Status::Granted, None) => {
                return Err(refuse(
                    "no-basis",
                    "a grant needs a legal basis where consent is recorded".to_owned(),
                ));
            }
        };
        let place = self
            .bases
            .iter()
            .position(|base| base.means.0 == status && base.means.1.as_ref() == wanted);
        let name = wanted.map_or("withdrawn", Basis::word);
        let Some(place) = place else {
            return Err(refuse(
                "unmapped-basis",
                format!("no key of the tenant stands for {name}; see legal_bases"),
            ));
        };
        let Some(base) = self.written.get(place).and_then(Option::as_deref) else {
            return Err(refuse(
                "missing-key",
                format!(
                    "the tenant has no usable legal basis for {name}; see `consentd check --live`"
                ),
            ));
        };
        let source = self.source.as_deref().ok_or_else(|| {
            refuse(
                "missing-key",
                "the tenant has no usable source of that key; see `consentd check --live`"
                    .to_owned(),
            )
        })?;
        Ok((base, source))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connector::http::Limits;
    use crate::connector::superoffice::config::*;
    use std::collections::BTreeSet;
    use std::time::Duration;
    use url::Url;

    /// Settings as the configuration builds them by default.
    pub(in crate::connector::superoffice) fn settings() -> Settings {
        let base = |status, basis: Option<Basis>, key: &str| Base {
            means: (status, basis),
            written: key.to_owned(),
            also_read: Vec::new(),
        };
        Settings {
            limits: Limits {
                system: "superoffice".to_owned(),
                request_timeout: Duration::from_secs(5),
                connect_timeout: Duration::from_secs(5),
                max_body_bytes: 1 << 20,
                max_concurrent: 4,
                max_calls_per_sec: 100,
            },
            deployment: Deployment::Onsite(Onsite {
                base_url: Url::parse("http://127.0.0.1:9/api").unwrap(),
                grant: OnsiteGrant::Basic {
                    username: "consentd".to_owned(),
                    password: "x".to_owned().into(),
                },
                authorities: Vec::new(),
            }),
            purposes: vec![
                (PurposeId(0), "EMARKETING".to_owned()),
                (PurposeId(1), "STORE".to_owned()),
            ],
            bases: vec![
                base(Status::Granted, Some(Basis::Consent), "61A"),
                Base {
                    also_read: vec!["SOFT".to_owned()],
                    ..base(Status::Granted, Some(Basis::LegitimateInterests), "61F")
                },
                base(Status::Withdrawn, None, "WITHDRAWN"),
            ],
            granted_bases: BTreeSet::from([Basis::Consent]),
            source: "API".to_owned(),
            comment: "said in {system} at {time}".to_owned(),
            language: "en".to_owned(),
            filter_time_zone: chrono_tz::Tz::UTC,
            consent_feed: ConsentFeed::Auto,
            retired: Retired::Live,
            merge_log: true,
            page_rows: 1_000,
            overlap: Duration::from_mins(10),
            lag: Duration::from_secs(5),
            sweep_interval: Duration::from_hours(24),
            webhook: None,
        }
    }

    /// The lists of a tenant whose keys are written in that form.
    pub(in crate::connector::superoffice) fn lists(form: impl Fn(&str) -> String) -> Lists {
        let items = |keys: &[&str]| -> Vec<Item> {
            keys.iter()
                .zip(1..)
                .map(|(key, id)| Item {
                    id,
                    key: Some(form(key)),
                    deleted: false,
                    active: Some(Switch::Number(1)),
                    mail_template: None,
                })
                .collect()
        };
        Lists {
            purposes: items(&["STORE", "EMARKETING"]),
            bases: items(&["61A", "61B", "61C", "61D", "61E", "61F", "WITHDRAWN"]),
            sources: items(&["USER", "API"]),
        }
    }

    pub(in crate::connector::superoffice) fn keys() -> Keys {
        Keys::resolve(&settings(), &lists(str::to_owned)).unwrap()
    }

    fn granted(basis: Option<Basis>) -> Shown {
        Shown::Record {
            status: Status::Granted,
            basis,
        }
    }

    const WITHDRAWN: Shown = Shown::Record {
        status: Status::Withdrawn,
        basis: None,
    };

    #[test]
    fn keys_of_old_servers_are_known_and_sent_as_stored() {
        for (sentence, form) in [
            (
                "as today",
                (|key: &str| key.to_owned()) as fn(&str) -> String,
            ),
            ("with a hash", |key| format!("#{key}")),
            ("in another case", |key| format!("#{}", key.to_lowercase())),
        ] {
            let keys = Keys::resolve(&settings(), &lists(form)).unwrap();
            assert_eq!(
                keys.purpose(&form("STORE")),
                Some(PurposeId(1)),
                "{sentence}"
            );
            assert_eq!(keys.key_of(PurposeId(0)), Some(form("EMARKETING").as_str()));
            assert_eq!(keys.meaning(&form("WITHDRAWN")), WITHDRAWN);
            let (base, source) = keys.to_write(&WITHDRAWN).unwrap();
            assert_eq!(
                (base, source),
                (form("WITHDRAWN").as_str(), form("API").as_str())
            );
        }
    }

    #[test]
    fn r21_a_basis_that_is_not_mapped_is_kept_verbatim_and_never_guessed() {
        let keys = keys();
        for (key, kept) in [
            ("61B", "61B"),
            ("PARTNER", "PARTNER"),
            ("#Partner", "#Partner"),
            ("consent", "#consent"),
            ("contract", "#contract"),
        ] {
            assert_eq!(
                keys.meaning(key),
                granted(Some(Basis::Other(kept.to_owned()))),
                "{key}"
            );
        }
        assert_eq!(
            keys.meaning("soft"),
            granted(Some(Basis::LegitimateInterests))
        );
        for basis in [Basis::Other("PARTNER".to_owned()), Basis::Contract] {
            let fault = keys.to_write(&granted(Some(basis))).unwrap_err();
            assert_eq!(
                (fault.class, fault.code.as_str()),
                (FaultClass::Rejected, "unmapped-basis")
            );
        }
    }

    #[test]
    fn r21_a_grant_is_written_with_its_basis_and_never_without_one() {
        let keys = keys();
        assert_eq!(keys.to_write(&granted(None)).unwrap_err().code, "no-basis");
        assert_eq!(
            keys.to_write(&granted(Some(Basis::LegitimateInterests)))
                .unwrap()
                .0,
            "61F"
        );
    }

    #[test]
    fn what_cannot_be_used_is_told_apart() {
        let mut lists = lists(str::to_owned);
        lists.purposes[0].deleted = true;
        lists.purposes[1].active = Some(Switch::Number(0));
        assert_eq!(Lists::why_not(&lists.purposes, "STORE"), "is deleted");
        assert_eq!(
            Lists::why_not(&lists.purposes, "emarketing"),
            "is switched off"
        );
        assert_eq!(Lists::why_not(&lists.purposes, "OTHER"), "does not exist");
        assert_eq!(
            Keys::resolve(&settings(), &lists).unwrap_err().code,
            "missing-key"
        );
    }

    #[test]
    fn an_item_is_read_as_every_list_writes_it() {
        let text = r#"[{"ConsentPurposeId":2,"Name":"E-marketing","Key":"EMARKETING","Active":1,"Deleted":false,"Rank":2},
            {"LegalBaseId":7,"Key":"WITHDRAWN","Deleted":true},
            {"ConsentSourceId":8,"Key":null,"MailTemplateId":3,"Active":true}]"#;
        let items: Vec<Item> = serde_json::from_str(text).unwrap();
        assert_eq!(items[0].id, 2);
        assert!(!items[0].is_off() && items[1].deleted);
        assert_eq!(
            (items[2].mail_template, items[2].is_off()),
            (Some(3), false)
        );
        assert!(!items[2].is(""), "what has no key is nothing's item");
    }
}
