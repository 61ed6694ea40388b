//! Systems without a vendor, for what the simulated orgs do not do: further addresses, records that
//! nobody knows, refusals of a part, and calls that can be counted and held up.

use async_trait::async_trait;
use consentd::config::Schedule;
use consentd::connector::{
    Batching, Connector, Current, Cursor, Fault, FaultClass, Found, Outcome, Page, Poison, Probe,
    Wanted, WriteRequest,
};
use consentd::consent::purpose::PurposeDraft;
use consentd::consent::time::{MINUTE, SECOND};
use consentd::consent::{
    At, Basis, Evidence, Life, Polarity, Policy, Precision, Purposes, Reading, Revival, Rules,
    Shown, Status, SystemId, SystemRules, Told, Unknown,
};
use consentd::runtime::clock::{Clock, System};
use consentd::store::{Access, SqliteStore, Store};
use consentd::sync::checklist::Crew;
use consentd::sync::engine::{Event, Identity, Listener, Member, Pace, Shared};
use consentd::sync::identity::Pseudonyms;
use consentd::sync::poll::poll;
use consentd::sync::suppression::Suppressor;
use consentd::sync::workbench::Link;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::sync::{Barrier, Notify};
use tokio_util::sync::CancellationToken;

/// The one purpose of these systems.
pub(crate) const MAIL: &str = "mail";

/// A contact of a fake system.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) address: String,
    pub(crate) further: Vec<String>,
    pub(crate) link: Option<String>,
    pub(crate) status: Option<Status>,
    /// Minutes ago.
    pub(crate) said: i64,
    pub(crate) deleted: bool,
}

/// A contact with that address that says that, and has said so for an hour.
pub(crate) fn card(address: &str, status: Option<Status>) -> Card {
    Card {
        said: 60,
        address: address.to_owned(),
        further: Vec::new(),
        link: None,
        status,
        deleted: false,
    }
}

/// What goes wrong with the look-ups of a fake system.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Contacts that are given as records nobody can understand.
    pub(crate) poison: Vec<String>,
    /// An address that has the whole look-up refused.
    pub(crate) refused: Option<String>,
    /// Faults of the next look-ups, the last one first.
    pub(crate) faults: Vec<Fault>,
}

/// A system that holds consent records.
pub(crate) struct Fake {
    pub(crate) cards: Mutex<BTreeMap<String, Card>>,
    pub(crate) trouble: Mutex<Trouble>,
    /// What was asked for, look-up by look-up.
    pub(crate) asked: Mutex<Vec<Wanted>>,
    /// Every look-up waits here for the others, if there is one.
    pub(crate) barrier: Option<Arc<Barrier>>,
    look_up: usize,
}

impl Fake {
    pub(crate) fn new(look_up: usize, barrier: Option<Arc<Barrier>>) -> Arc<Self> {
        Arc::new(Self {
            cards: Mutex::default(),
            trouble: Mutex::default(),
            asked: Mutex::default(),
            barrier,
            look_up,
        })
    }

    pub(crate) fn put(&self, id: &str, card: Card) {
        self.cards.lock().unwrap().insert(id.to_owned(), card);
    }

    /// How many addresses and contacts each look-up named.
    pub(crate) fn sizes(&self) -> Vec<(usize, usize)> {
        let asked = self.asked.lock().unwrap();
        let sizes = asked
            .iter()
            .map(|wanted| (wanted.addresses.len(), wanted.contacts.len()));
        sizes.collect()
    }
}

/// The minutes of all cards count from here.
static BEGUN: LazyLock<At> = LazyLock::new(|| System.now());

fn reading(id: &str, card: &Card) -> Reading {
    let said = BEGUN.minus(card.said * MINUTE);
    let shown = match card.status {
        None => Shown::Default,
        Some(status) => Shown::Record {
            status,
            basis: (status == Status::Granted).then_some(Basis::Consent),
        },
    };
    let told = card.status.map(|_| Told {
        purpose: consentd::consent::PurposeId(0),
        shown: shown.clone(),
        at: said,
        precision: Precision::Micros,
        evidence: Evidence::Explicit,
        actor: None,
    });
    Reading {
        contact: id.to_owned(),
        whole: true,
        address: Some(card.address.clone()),
        link: card.link.clone(),
        created: Some(said),
        modified: Some(said),
        life: if card.deleted {
            Life::Deleted
        } else {
            Life::Live
        },
        values: vec![(consentd::consent::PurposeId(0), shown)],
        told: told.into_iter().collect(),
        ..Reading::default()
    }
}

#[async_trait]
impl Connector for Fake {
    async fn probe(&self) -> Result<Probe, Fault> {
        Ok(Probe::default())
    }

    /// Everything, once.
    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        let cards = self.cards.lock().unwrap();
        let readings = cards.iter().map(|(id, card)| reading(id, card));
        Ok(Page {
            readings: if cursor.is_none() {
                readings.collect()
            } else {
                Vec::new()
            },
            poison: Vec::new(),
            next: Cursor("end".to_owned()),
            more: false,
            load: false,
            scan: None,
            read_at: System.now(),
            drained: Some(System.now()),
        })
    }

    async fn current(
        &self,
        contacts: &[consentd::connector::Target],
    ) -> Result<Vec<Current>, Fault> {
        Ok(vec![Current::Unknown; contacts.len()])
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        assert!(wanted.addresses.len() <= self.look_up);
        assert!(wanted.contacts.len() <= self.look_up);
        self.asked.lock().unwrap().push(wanted.clone());
        if let Some(barrier) = &self.barrier {
            barrier.wait().await;
        }
        let mut trouble = self.trouble.lock().unwrap();
        if let Some(fault) = trouble.faults.pop() {
            return Err(fault);
        }
        if let Some(refused) = &trouble.refused
            && wanted.addresses.contains(refused)
        {
            return Err(Fault::new(FaultClass::Rejected, "refused", "an address"));
        }
        let cards = self.cards.lock().unwrap();
        let mut found = Found {
            readings: Vec::new(),
            poison: Vec::new(),
            further_addresses: Vec::new(),
            read_at: System.now(),
        };
        for (id, card) in cards.iter() {
            let has = |address: &String| {
                std::iter::once(&card.address)
                    .chain(&card.further)
                    .any(|own| own.eq_ignore_ascii_case(address))
            };
            let by_address = wanted.addresses.iter().any(has);
            let by_id = wanted.contacts.iter().any(|target| target.contact == *id);
            if !(by_id || by_address && !card.deleted) {
                continue;
            }
            if trouble.poison.contains(id) {
                found.poison.push(Poison {
                    id: id.clone(),
                    reason: "a bad date".to_owned(),
                    raw: Vec::new(),
                });
                continue;
            }
            found.readings.push(reading(id, card));
            let further = card
                .further
                .iter()
                .map(|address| (id.clone(), address.clone()));
            found.further_addresses.extend(further);
        }
        Ok(found)
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        Ok(vec![Outcome::Applied; writes.len()])
    }

    fn batching(&self) -> Batching {
        Batching {
            rows: 100,
            bulk_above: usize::MAX,
            bulk_rows: 100,
            look_up: self.look_up,
        }
    }
}

struct Deaf;

impl Listener for Deaf {
    fn hear(&self, _system: &str, _event: Event) {}
}

/// Fake systems with a store of their own, which have been read whole.
pub(crate) struct Stage {
    pub(crate) crew: Crew,
    _folder: tempfile::TempDir,
}

/// The first system leads the second one's contacts by their links (R58). Only as many systems as
/// `carrying` says hold the purpose.
pub(crate) async fn stage(fakes: &[(&str, Arc<Fake>)], carrying: usize) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(
        SqliteStore::open(&folder.path().join("state.db"), Access::Daemon)
            .await
            .unwrap(),
    );
    let names: Vec<String> = fakes.iter().map(|(name, _)| (*name).to_owned()).collect();
    let numbers = store.register_systems(&names).await.unwrap();
    let purposes = Purposes::build(vec![PurposeDraft {
        name: MAIL.to_owned(),
        revival: Revival::LastWriter,
        unknown: Unknown::Block,
        granted_basis: Basis::Consent,
    }])
    .unwrap();
    let mail = purposes.find(MAIL).unwrap();
    let systems: Vec<SystemRules> = names
        .iter()
        .zip(&numbers)
        .enumerate()
        .map(|(place, (name, number))| SystemRules {
            id: SystemId(*number),
            name: name.clone(),
            precedence: 1 + place as u16,
            writable: true,
            carries: if place < carrying {
                vec![(mail, Polarity::Recorded)]
            } else {
                Vec::new()
            },
            own_actor: None,
            bulk_actors: BTreeSet::default(),
            heard_until: None,
        })
        .collect();
    let links = match systems.as_slice() {
        [anchor, follower, ..] => vec![Link {
            follower: follower.id,
            anchor: anchor.id,
        }],
        _ => Vec::new(),
    };
    let wake_emitters: Vec<_> = fakes.iter().map(|_| Arc::new(Notify::new())).collect();
    let shared = Arc::new(Shared {
        store,
        rules: Arc::new(Rules {
            purposes,
            systems: systems.clone(),
            thresholds: Vec::new(),
            policy: Policy::default(),
        }),
        links,
        pseudonyms: Pseudonyms::new(&[7; 32]),
        suppressor: Arc::new(Suppressor::new([], &[7; 32])),
        gate: None,
        grant_settle: 0,
        future_tolerance: 300 * SECOND,
        clock: Arc::new(System),
        listener: Arc::new(Deaf),
        systems: numbers,
        complete: AtomicBool::new(false),
        wake_emitters: wake_emitters.clone(),
    });
    let mut members = Vec::new();
    for (((name, fake), rules), wake_emitter) in fakes.iter().zip(systems).zip(wake_emitters) {
        let member = Arc::new(Member {
            name: (*name).to_owned(),
            id: rules.id,
            rules: rules.clone(),
            connector: Arc::<Fake>::clone(fake),
            pace: Pace {
                schedule: Schedule::Immediate,
                poll_interval: Duration::from_mins(1),
                quota_reserve_percent: 80,
            },
            shared: Arc::clone(&shared),
            breaker: Arc::default(),
            wake_poller: Notify::new(),
            hints: Arc::default(),
            identity: Identity::default(),
            wake_emitter,
        });
        poll(&member, &rules, &CancellationToken::new())
            .await
            .unwrap();
        members.push(member);
    }
    Stage {
        crew: Crew { shared, members },
        _folder: folder,
    }
}
