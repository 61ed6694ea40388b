//! From rows of the account to readings.
//!
//! Consent belongs to an address here, not to a contact: a contact of consentd is one address, and
//! its id is a keyed hash of it, so that no address stands anywhere but in the table of subjects
//! (R55). Consent records are told without a contact; whether there is one, the contact rows say.

use super::config::Settings;
use super::master::{About, Master, Meaning};
use super::wire::list::Row;
use super::wire::node::{Node, Pointer};
use crate::connector::salesforce::wire::time;
use crate::connector::{MAX_POISON_BYTES, Poison};
use crate::consent::{
    At, Evidence, Life, Precision, PurposeId, Reading, Shown, Status, SubjectKey, Told,
};
use aws_lc_rs::hmac;
use secrecy::ExposeSecret;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// How our own records are told: as the system's user that we act as (R15).
pub const OURSELVES: &str = "consentd";
/// What the comment of each of our own records begins with.
pub const OWN_COMMENT: &str = "consentd: ";
/// So many of our own records are remembered, for accounts that do not show comments.
const MOST_ECHOES: usize = 10_000;

/// Ids of contacts: keyed hashes of addresses.
#[derive(Debug)]
pub struct Ids(hmac::Key);

impl Ids {
    /// With that key.
    pub fn new(settings: &Settings) -> Self {
        let key = settings.id_key.expose_secret();
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The id of an address.
    pub fn of(&self, address: &SubjectKey) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"emarketeer\0");
        context.update(address.as_str().as_bytes());
        let tag = context.sign();
        let hex = tag.as_ref()[..16].iter();
        hex.fold("k".to_owned(), |mut id, byte| {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            id.push(char::from(DIGITS[usize::from(byte >> 4)]));
            id.push(char::from(DIGITS[usize::from(byte & 15)]));
            id
        })
    }
}

/// One consent record of a purpose that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Id of the contact.
    pub contact: String,
    /// The address as the account spells it.
    pub spelled: String,
    /// What it is about.
    pub purpose: PurposeId,
    /// What it says; [`Shown::Default`] for a record without a legal basis.
    pub shown: Shown,
    /// When it was made, if that can be read (R16).
    pub at: Option<At>,
    /// Its own number, where the account shows one.
    pub number: Option<u64>,
    /// Who made it.
    pub actor: Option<String>,
}

impl Record {
    /// The order in which records were made, as far as it is known.
    pub fn order(&self) -> (Option<At>, Option<u64>) {
        (self.at, self.number)
    }

    /// The record as a change that the account dates itself; none without a time or a legal basis.
    pub fn told(&self) -> Option<Told> {
        Some(Told {
            purpose: self.purpose,
            shown: (self.shown != Shown::Default).then(|| self.shown.clone())?,
            at: self.at?,
            precision: Precision::Seconds,
            evidence: Evidence::Explicit,
            actor: self.actor.clone(),
        })
    }
}

/// A row that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// It, with the reason. It is named by its content: records never change, so one that is put
    /// right is another one.
    pub poison: Poison,
    /// The contact that it is about, where at least that can be read.
    pub contact: Option<String>,
    /// It names a purpose or legal basis that the account does not list, which may be new there.
    pub unlisted: bool,
}

/// One contact of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Id of the contact.
    pub contact: String,
    /// The address as the account spells it.
    pub spelled: String,
    /// When it was created.
    pub created: Option<At>,
    /// When it was last modified.
    pub modified: Option<At>,
}

/// Reads rows.
#[derive(Debug)]
pub struct Reader {
    settings: Arc<Settings>,
    ids: Ids,
    echoes: Echoes,
}

impl Reader {
    /// A reader of rows of that account.
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            ids: Ids::new(&settings),
            settings,
            echoes: Echoes::default(),
        }
    }

    /// The ids of contacts.
    pub const fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Our own records.
    pub const fn echoes(&self) -> &Echoes {
        &self.echoes
    }

    /// Reads a row of consent records; `None` for a purpose that is not configured.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn record(&self, row: &Row, master: &Master) -> Result<Option<Record>, Bad> {
        let node = Node::parse(&row.0).map_err(|reason| bad(row, reason))?;
        self.understood(&node, master).map_err(|odd| {
            let key = &self.settings.consent.record.key;
            let (reason, unlisted) = match odd {
                Odd::Unlisted(reason) => (reason, true),
                Odd::Other(reason) => (reason, false),
            };
            Bad {
                contact: address(&node, key, "key")
                    .ok()
                    .map(|(_, key)| self.ids.of(&key)),
                unlisted,
                ..bad(row, reason)
            }
        })
    }

    fn understood(&self, node: &Node, master: &Master) -> Result<Option<Record>, Odd> {
        let fields = &self.settings.consent.record;
        let purpose = node
            .first(&fields.purpose)
            .ok_or_else(|| missing("purpose"))?;
        let purpose = match master.about(purpose) {
            Some(About::Configured(purpose)) => purpose,
            Some(About::Another) => return Ok(None),
            None => {
                return Err(Odd::Unlisted(
                    "the purpose is not among the account's purposes".to_owned(),
                ));
            }
        };
        let (spelled, key) = address(node, &fields.key, "key")?;
        let shown = match node.first(&fields.legal_basis) {
            None => return Err(missing("legal_basis")),
            Some(Node::Null) => Shown::Default,
            Some(reference) => match master.meaning(reference) {
                Some(Meaning::Nothing) => Shown::Default,
                Some(Meaning::Withdrawn) => Shown::Record {
                    status: Status::Withdrawn,
                    basis: None,
                },
                Some(Meaning::Granted(basis)) => Shown::Record {
                    status: Status::Granted,
                    basis: Some(basis.clone()),
                },
                None => {
                    return Err(Odd::Unlisted(
                        "the legal basis is not among the account's legal bases".to_owned(),
                    ));
                }
            },
        };
        let at = when(node, &fields.changed_at, "changed_at")?;
        let contact = self.ids.of(&key);
        let source = node.first(&fields.source);
        let comment = node.first(&fields.comment).and_then(Node::scalar);
        let signed = comment.is_some_and(|text| text.starts_with(OWN_COMMENT))
            && source.is_none_or(|source| *source == Node::Null || master.is_own_source(source));
        let own = signed || self.echoes.knows(&contact, purpose, at);
        Ok(Some(Record {
            actor: if own {
                Some(OURSELVES.to_owned())
            } else {
                source.and_then(|source| self.actor(source, &contact, master))
            },
            spelled,
            purpose,
            shown,
            at,
            number: node
                .first(&fields.id)
                .and_then(Node::scalar)
                .and_then(|text| text.parse().ok()),
            contact,
        }))
    }

    /// Who a source stands for. Persons act on their own, each for themselves: many of them within a
    /// minute are no load (R25).
    fn actor(&self, source: &Node, contact: &str, master: &Master) -> Option<String> {
        let name = match master.source_name(source) {
            Some(name) => name.to_owned(),
            None => format!("source {}", source.scalar()?),
        };
        let names = &self.settings.sources;
        let is_person = names
            .person
            .iter()
            .any(|person| person.to_lowercase() == name.to_lowercase());
        if is_person && !names.bulk.contains(&name) {
            return Some(format!("{name} {contact}"));
        }
        Some(name)
    }

    /// Reads a row of contacts.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn person(&self, row: &Row) -> Result<Person, Bad> {
        let fields = &self.settings.contact.fields;
        let read = || -> Result<Person, Odd> {
            let node = Node::parse(&row.0).map_err(Odd::Other)?;
            let (spelled, key) = address(&node, &fields.email, "email")?;
            // A contact without a readable creation counts as the youngest (R4).
            let time = |places| when(&node, places, "created").unwrap_or_default();
            Ok(Person {
                contact: self.ids.of(&key),
                spelled,
                created: time(&fields.created),
                modified: time(&fields.modified),
            })
        };
        read().map_err(|odd| match odd {
            Odd::Unlisted(reason) | Odd::Other(reason) => bad(row, reason),
        })
    }
}

/// Why a row is not understood.
enum Odd {
    /// It names master data that the account does not list.
    Unlisted(String),
    /// Anything else.
    Other(String),
}

fn missing(field: &str) -> Odd {
    Odd::Other(format!(
        "{field} is missing; the settings `fields` tell where it stands"
    ))
}

fn address(node: &Node, places: &[Pointer], field: &str) -> Result<(String, SubjectKey), Odd> {
    let text = match node.first(places) {
        None => return Err(missing(field)),
        Some(Node::Text(text)) => text,
        Some(_) => return Err(Odd::Other(format!("{field} is not a text"))),
    };
    let key =
        SubjectKey::from_address(text).map_err(|fault| Odd::Other(format!("{field}: {fault}")))?;
    Ok((text.trim().to_owned(), key))
}

/// R16: a time that is null, impossible or from before there was e-mail consent is none.
fn when(node: &Node, places: &[Pointer], field: &str) -> Result<Option<At>, Odd> {
    match node.first(places) {
        None => Err(missing(field)),
        Some(Node::Null) => Ok(None),
        Some(Node::Text(text)) => {
            let at = time::parse(text);
            Ok(at.filter(|at| *at >= At::FIRST_PLAUSIBLE))
        }
        Some(_) => Err(Odd::Other(format!("{field} is not a text"))),
    }
}

fn bad(row: &Row, reason: String) -> Bad {
    Bad {
        poison: Poison {
            id: row.digest(),
            reason,
            raw: row.0.get().bytes().take(MAX_POISON_BYTES).collect(),
        },
        contact: None,
        unlisted: false,
    }
}

/// Consent records as readings, each contact once: what they tell, without their contact. Until a
/// contact row comes, there is none.
pub fn loose(records: &[Record]) -> Vec<Reading> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_contact: BTreeMap<&str, Reading> = BTreeMap::new();
    let mut records: Vec<&Record> = records.iter().collect();
    // What is told last is taken for what shows now, where two times are equal.
    records.sort_by_key(|record| (record.order(), is_withdrawn(&record.shown)));
    for record in records {
        let Some(told) = record.told() else {
            continue;
        };
        let reading = by_contact.entry(&record.contact).or_insert_with(|| {
            order.push(&record.contact);
            Reading {
                contact: record.contact.clone(),
                address: Some(record.spelled.clone()),
                life: Life::Deleted,
                ..Reading::default()
            }
        });
        if !reading.told.contains(&told) {
            reading.told.push(told);
        }
    }
    order
        .into_iter()
        .filter_map(|contact| by_contact.remove(contact))
        .collect()
}

/// Contact rows as readings, each address once. They carry no consent.
pub fn people(rows: &[Person]) -> Vec<Reading> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_contact: BTreeMap<&str, Reading> = BTreeMap::new();
    for row in rows {
        let reading = by_contact.entry(&row.contact).or_insert_with(|| {
            order.push(&row.contact);
            Reading {
                contact: row.contact.clone(),
                whole: true,
                address: Some(row.spelled.clone()),
                precision: Some(Precision::Seconds),
                ..Reading::default()
            }
        });
        // Of several contacts with one address the oldest counts (R4).
        reading.created = match (reading.created, row.created) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    order
        .into_iter()
        .filter_map(|contact| by_contact.remove(contact))
        .collect()
}

/// The newest record of each purpose. Of two with one time the one with the greater number is the
/// newer; without numbers a withdrawal is taken for it.
pub fn newest(records: &[Record]) -> BTreeMap<PurposeId, &Record> {
    let mut newest: BTreeMap<PurposeId, &Record> = BTreeMap::new();
    for record in records {
        let rank = |record: &Record| (record.order(), is_withdrawn(&record.shown));
        newest
            .entry(record.purpose)
            .and_modify(|known| {
                if rank(record) > rank(known) {
                    *known = record;
                }
            })
            .or_insert(record);
    }
    newest
}

const fn is_withdrawn(shown: &Shown) -> bool {
    matches!(
        shown,
        Shown::Record {
            status: Status::Withdrawn,
            ..
        }
    )
}

/// The records that we wrote, by contact, purpose and time: an account that does not show comments
/// shows nothing else by which to know them (R15).
#[derive(Debug, Default)]
pub struct Echoes(Mutex<Generations>);

/// Contacts with their records, the later half and the half before.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<String, Vec<(PurposeId, At)>>,
    old: HashMap<String, Vec<(PurposeId, At)>>,
}

impl Echoes {
    /// Remembers one.
    pub fn remember(&self, contact: &str, purpose: PurposeId, at: At) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.len() >= MOST_ECHOES / 2 {
            known.old = std::mem::take(&mut known.young);
        }
        let of = known.young.entry(contact.to_owned()).or_default();
        of.push((purpose, at));
    }

    fn knows(&self, contact: &str, purpose: PurposeId, at: Option<At>) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| {
            [&known.young, &known.old]
                .into_iter()
                .filter_map(|half| half.get(contact))
                .any(|of| of.contains(&(purpose, at)))
        })
    }
}
