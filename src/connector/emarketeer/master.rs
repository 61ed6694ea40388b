//! An account's master data: what its purposes, legal bases and sources are called, and their ids.
//!
//! Ids differ from account to account, so they are looked up by name and never configured.

use super::config::Settings;
use super::wire::list::Row;
use super::wire::node::Node;
use super::wire::{Account, Catalogue};
use crate::connector::{Fault, FaultClass};
use crate::consent::{Basis, PurposeId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// An unknown id leads to another look at the master data no sooner than this after the last.
const LEAST_AGE: Duration = Duration::from_mins(1);

/// One item of a list of master data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The account's id for it, as text.
    pub id: String,
    /// Whether the id is a number on the wire.
    pub is_number: bool,
    /// What it is called.
    pub name: String,
}

impl Item {
    fn is_called(&self, name: &str) -> bool {
        self.name.trim().to_lowercase() == name.trim().to_lowercase()
    }

    /// Its id as it goes over the wire.
    pub fn wire_id(&self) -> serde_json::Value {
        match self.id.parse::<i64>() {
            Ok(number) if self.is_number => number.into(),
            Ok(_) | Err(_) => self.id.clone().into(),
        }
    }
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A purpose that the system carries.
    Configured(PurposeId),
    /// Another purpose of the account.
    Another,
}

/// What a legal basis means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Consent, or whatever it rested on, is withdrawn.
    Withdrawn,
    /// No basis at all, as if there were no record.
    Nothing,
    /// A positive basis.
    Granted(Basis),
}

/// The master data of an account, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    purposes: Vec<Item>,
    bases: Vec<Item>,
    sources: Vec<Item>,
    /// The configured purposes with their place among `purposes`.
    carried: Vec<(PurposeId, usize)>,
    /// What each legal basis means.
    meanings: Vec<Meaning>,
    /// The place of the source of our own records among `sources`.
    own_source: Option<usize>,
}

impl Master {
    /// From the lists of an account.
    ///
    /// # Errors
    /// Everything that the configuration names and the account does not have, each with what to do.
    pub fn build(
        purposes: Vec<Item>,
        bases: Vec<Item>,
        sources: Vec<Item>,
        settings: &Settings,
    ) -> Result<Self, Vec<String>> {
        let system = &settings.limits.system;
        let mut missing = Vec::new();
        let mut carried = Vec::new();
        for wanted in &settings.purposes {
            match place_of(&purposes, &wanted.candidates) {
                Some(place) => carried.push((wanted.purpose, place)),
                None => missing.push(format!(
                    "purpose {:?}: the account has none called {}; it has {}; set systems.{system}.purposes",
                    wanted.name,
                    quoted(&wanted.candidates),
                    names(&purposes)
                )),
            }
        }
        let names_of = &settings.bases;
        if place_of(&bases, &names_of.withdrawn).is_none() {
            missing.push(format!(
                "legal basis withdrawn: the account has none called {}; it has {}; set systems.{system}.legal_bases.withdrawn",
                quoted(&names_of.withdrawn),
                names(&bases)
            ));
        }
        let meanings: Vec<Meaning> = bases
            .iter()
            .map(|item| {
                let called = |names: &[String]| names.iter().any(|name| item.is_called(name));
                if called(&names_of.withdrawn) {
                    return Meaning::Withdrawn;
                }
                if called(&names_of.none) {
                    return Meaning::Nothing;
                }
                let known = names_of.positive.iter().find(|(_, names)| called(names));
                // A basis that is not mapped is kept by its own name and never written elsewhere.
                Meaning::Granted(known.map_or_else(
                    || Basis::Other(item.name.clone()),
                    |(basis, _)| basis.clone(),
                ))
            })
            .collect();
        for basis in &settings.granted_bases {
            if !meanings.contains(&Meaning::Granted(basis.clone())) {
                missing.push(format!(
                    "legal basis {}: the account has none that stands for it; it has {}; set systems.{system}.legal_bases, or the granted_basis of the purpose",
                    basis.word(),
                    names(&bases)
                ));
            }
        }
        let own_source = place_of(&sources, &settings.sources.own);
        if own_source.is_none() && !sources.is_empty() {
            missing.push(format!(
                "source: the account has none called {}; it has {}; set systems.{system}.source to one of them",
                quoted(&settings.sources.own),
                names(&sources)
            ));
        }
        if missing.is_empty() {
            Ok(Self {
                purposes,
                bases,
                sources,
                carried,
                meanings,
                own_source,
            })
        } else {
            Err(missing)
        }
    }

    /// What a record is about; `None` for a purpose that the account does not list.
    pub fn about(&self, reference: &Node) -> Option<About> {
        let place = find(&self.purposes, reference)?;
        let found = self.carried.iter().find(|(_, at)| *at == place);
        Some(found.map_or(About::Another, |(purpose, _)| About::Configured(*purpose)))
    }

    /// What a legal basis means; `None` for one that the account does not list.
    pub fn meaning(&self, reference: &Node) -> Option<&Meaning> {
        self.meanings.get(find(&self.bases, reference)?)
    }

    /// What a source is called; `None` for one that the account does not list.
    pub fn source_name(&self, reference: &Node) -> Option<&str> {
        let item = self.sources.get(find(&self.sources, reference)?)?;
        Some(&item.name)
    }

    /// Whether a source is the one of our own records.
    pub fn is_own_source(&self, reference: &Node) -> bool {
        self.own_source.is_some() && find(&self.sources, reference) == self.own_source
    }

    /// The item of a configured purpose.
    pub fn purpose_item(&self, purpose: PurposeId) -> Option<&Item> {
        let (_, place) = self.carried.iter().find(|(id, _)| *id == purpose)?;
        self.purposes.get(*place)
    }

    /// The item of a legal basis, or of the state of having withdrawn.
    pub fn basis_item(&self, meaning: &Meaning) -> Option<&Item> {
        let place = self.meanings.iter().position(|known| known == meaning)?;
        self.bases.get(place)
    }

    /// The source of our own records; none in an account without sources.
    pub fn own_source(&self) -> Option<&Item> {
        self.sources.get(self.own_source?)
    }

    /// Positive bases that stand for none of the known ones.
    pub fn unmapped(&self) -> Vec<&str> {
        let other = |meaning: &Meaning| matches!(meaning, Meaning::Granted(Basis::Other(_)));
        let items = self.bases.iter().zip(&self.meanings);
        items
            .filter(|(_, meaning)| other(meaning))
            .map(|(item, _)| item.name.as_str())
            .collect()
    }
}

/// The item that a reference means: an id, a name, or an object with either.
fn find(items: &[Item], reference: &Node) -> Option<usize> {
    let text = match reference {
        Node::Map(members) => {
            let part = |name: &str| members.get(name).and_then(|node| find(items, node));
            return part("id").or_else(|| part("name"));
        }
        other => other.scalar()?,
    };
    let by_id = items.iter().position(|item| item.id == text);
    by_id.or_else(|| items.iter().position(|item| item.is_called(text)))
}

/// The first of these names that an item bears.
fn place_of(items: &[Item], candidates: &[String]) -> Option<usize> {
    candidates
        .iter()
        .find_map(|name| items.iter().position(|item| item.is_called(name)))
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    quoted.join(" or ")
}

fn names(items: &[Item]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = items
        .iter()
        .map(|item| format!("{:?}", item.name))
        .collect();
    quoted.join(", ")
}

/// The master data once it was asked for.
#[derive(Debug, Default)]
pub struct Desk(Mutex<Option<(Arc<Master>, Instant)>>);

impl Desk {
    /// The master data, asked for once.
    ///
    /// # Errors
    /// When a call fails, or the account lacks what the configuration names.
    pub async fn master(&self, account: &Account) -> Result<Arc<Master>, Fault> {
        let mut known = self.0.lock().await;
        if let Some((master, _)) = &*known {
            return Ok(Arc::clone(master));
        }
        let master = Arc::new(required(account).await?);
        *known = Some((Arc::clone(&master), Instant::now()));
        Ok(master)
    }

    /// The master data asked for again, because an id is not in it; the old one when it was asked for
    /// a moment ago.
    ///
    /// # Errors
    /// As [`Desk::master`].
    pub async fn renewed(&self, account: &Account) -> Result<Arc<Master>, Fault> {
        let mut known = self.0.lock().await;
        if let Some((master, asked)) = &*known
            && asked.elapsed() < LEAST_AGE
        {
            return Ok(Arc::clone(master));
        }
        let master = Arc::new(required(account).await?);
        *known = Some((Arc::clone(&master), Instant::now()));
        Ok(master)
    }
}

async fn required(account: &Account) -> Result<Master, Fault> {
    asked(account).await?.map_err(|missing| {
        let message = missing.into_iter().next().unwrap_or_default();
        Fault::new(FaultClass::Auth, "master-data", message)
    })
}

/// Asks for the master data: what it is, or what is missing from it.
///
/// # Errors
/// When a call fails or an answer cannot be read.
pub async fn asked(account: &Account) -> Result<Result<Master, Vec<String>>, Fault> {
    let mut lists = Vec::with_capacity(3);
    for catalogue in [
        Catalogue::Purposes,
        Catalogue::LegalBases,
        Catalogue::Sources,
    ] {
        let rows = account.catalogue(catalogue).await?.rows;
        let items: Option<Vec<Item>> = rows.iter().map(|row| item(row, account)).collect();
        let items = items.ok_or_else(|| {
            Fault::new(
                FaultClass::ContractBroken,
                "shape",
                format!(
                    "master data: an item without an id or a name; set {} to where they stand",
                    account.key("consent.items")
                ),
            )
        })?;
        lists.push(items);
    }
    let mut lists = lists.into_iter();
    let mut next = || lists.next().unwrap_or_default();
    Ok(Master::build(next(), next(), next(), account.settings()))
}

fn item(row: &Row, account: &Account) -> Option<Item> {
    let api = &account.settings().consent;
    let node = Node::parse(&row.0).ok()?;
    let id = node.first(&api.item_id)?;
    Some(Item {
        id: id.scalar()?.to_owned(),
        is_number: matches!(id, Node::Number(_)),
        name: node.first(&api.item_name)?.scalar()?.to_owned(),
    })
}
