//! From a checked configuration to an engine: the rules, and a member for each system that is
//! switched on.
//!
//! An engine belongs to one configuration and one set of rules; it is replaced whole when these
//! change. What a system keeps over such a change is its [`Lines`]: the connector with its login,
//! limits and counts, the breaker, and the hints that were not followed yet.

use super::breaker::Breaker;
use super::engine::{Identity, Listener, Member, Pace, Shared, SyncError};
use super::first_run;
use super::gate::{GateHealth, Keeper, Terms};
use super::identity::Pseudonyms;
use super::refresh::Hints;
use super::suppression::Suppressor;
use super::switches;
use super::workbench::Link;
use crate::config::{Checked, MarketingCloud, SystemSettings};
use crate::connector::read_only::ReadOnly;
use crate::connector::{Connector, Fault, Gate, registry};
use crate::consent::{At, PurposeId, Rules, SystemId, SystemRules};
use crate::runtime::clock::Clock;
use crate::store::{Store, StoreError};
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Notify;

/// What an engine is built from.
pub struct Parts {
    /// The state store.
    pub store: Arc<dyn Store>,
    /// Our clock.
    pub clock: Arc<dyn Clock>,
    /// Who hears what happens.
    pub listener: Arc<dyn Listener>,
    /// Nothing is written to any system (R51).
    pub read_only: bool,
}

/// Builds the connector of a system. Makes no call.
pub type Connect = dyn Fn(&SystemSettings) -> Result<Arc<dyn Connector>, Fault> + Send + Sync;

/// A connector that could not be built from its settings.
#[derive(Debug, thiserror::Error)]
#[error("{system} cannot be connected")]
pub struct NotConnected {
    /// Configured name.
    pub system: String,
    /// Why.
    #[source]
    pub fault: Fault,
}

/// The way to one system.
#[derive(Clone)]
struct Line {
    settings: SystemSettings,
    connector: Arc<dyn Connector>,
    breaker: Arc<Breaker>,
    hints: Arc<Hints>,
}

/// The way to the gate.
#[derive(Clone)]
struct GateLine {
    settings: MarketingCloud,
    gate: Arc<dyn Gate>,
    health: Arc<GateHealth>,
}

/// The ways to all systems that are switched on, and to the gate if it is.
#[derive(Clone, Default)]
pub struct Lines {
    systems: Vec<Line>,
    gate: Option<GateLine>,
}

impl Lines {
    /// Builds the connectors of all systems that are switched on. Those whose settings are the same
    /// as in `before` go on with what they have. Nothing is called.
    ///
    /// # Errors
    /// When a connector cannot be built.
    pub fn build(
        checked: &Checked,
        before: &Self,
        connect: &Connect,
    ) -> Result<Self, NotConnected> {
        let build = |system: &SystemSettings| {
            let same = before.systems.iter().find(|line| {
                line.settings.name == system.name && line.settings.connects_like(system)
            });
            if let Some(same) = same {
                return Ok(same.clone());
            }
            let connector = connect(system).map_err(|fault| NotConnected {
                system: system.name.clone(),
                fault,
            })?;
            Ok(Line {
                settings: system.clone(),
                connector,
                breaker: Arc::default(),
                hints: Arc::default(),
            })
        };
        let enabled = checked.systems.iter().filter(|system| system.enabled);
        Ok(Self {
            systems: enabled.map(build).collect::<Result<_, _>>()?,
            gate: GateLine::build(checked, before.gate.as_ref())?,
        })
    }
}

impl GateLine {
    fn build(checked: &Checked, before: Option<&Self>) -> Result<Option<Self>, NotConnected> {
        let Some(settings) = checked.gate() else {
            return Ok(None);
        };
        if let Some(same) = before.filter(|line| line.settings.is_like(settings)) {
            return Ok(Some(same.clone()));
        }
        let gate = registry::gate(&settings.connector).map_err(|fault| NotConnected {
            system: super::gate::NAME.to_owned(),
            fault,
        })?;
        Ok(Some(Self {
            settings: settings.clone(),
            gate,
            health: Arc::default(),
        }))
    }
}

/// The connectors of the known kinds of systems.
///
/// # Errors
/// As [`registry::connect`].
pub fn connect(system: &SystemSettings) -> Result<Arc<dyn Connector>, Fault> {
    registry::connect(&system.kind)
}

/// All systems that are switched on, under one set of rules.
pub struct Engine {
    /// What they share.
    pub shared: Arc<Shared>,
    /// One for each system that is switched on, in the order of the configuration.
    pub members: Vec<Arc<Member>>,
    /// Keeps re-subscribe requests, if there is a gate (R47).
    pub keeper: Option<Arc<Keeper>>,
}

impl Engine {
    /// The system of that name, if it is switched on.
    pub fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.name == name)
    }

    /// R41, R42: the systems whose word on a purpose counts, by name; without a member where the
    /// system is switched off, so that it cannot be asked.
    pub fn carriers(
        &self,
        purpose: PurposeId,
    ) -> impl Iterator<Item = (&str, Option<&Arc<Member>>)> {
        let carries =
            move |system: &&SystemRules| system.writable && system.polarity(purpose).is_some();
        let systems = self.shared.rules.systems.iter().filter(carries);
        systems.map(|system| (system.name.as_str(), self.member(&system.name)))
    }

    /// Builds an engine on these lines. Nothing is called yet; the switches in the store are brought
    /// in line with the configuration (R49). No other engine may be at work on the store's systems.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn assemble(
        checked: &Checked,
        parts: Parts,
        lines: &Lines,
    ) -> Result<Self, StoreError> {
        let suppressor = Suppressor::of(checked);
        suppressor.standing(&*parts.store).await?;
        first_run::settle(checked.first_run, &*parts.store, parts.clock.now()).await?;
        switches::follow(checked, &*parts.store, parts.clock.now()).await?;
        let rules = Arc::new(rules(checked, &*parts.store).await?);
        let wake_emitters: Vec<Arc<Notify>> =
            lines.systems.iter().map(|_| Arc::default()).collect();
        let shared = Arc::new(Shared {
            store: parts.store,
            rules: Arc::clone(&rules),
            links: links(checked, &rules),
            pseudonyms: Pseudonyms::new(checked.hash_key.expose_secret()),
            suppressor: Arc::new(suppressor),
            gate: checked.gate().map(|gate| gate.purpose),
            grant_settle: micros(checked.policy.grant_settle),
            future_tolerance: micros(checked.policy.future_tolerance),
            clock: parts.clock,
            listener: parts.listener,
            systems: checked
                .systems
                .iter()
                .filter(|system| system.enabled && system.legal_basis_sync)
                .filter_map(|system| Some(named(&rules, &system.name)?.id.0))
                .collect(),
            complete: AtomicBool::new(false),
            wake_emitters: wake_emitters.clone(),
        });
        let mut members = Vec::new();
        for (line, wake_emitter) in lines.systems.iter().zip(wake_emitters) {
            let found = checked.system(&line.settings.name);
            let Some((system, rules)) = found.zip(named(&rules, &line.settings.name)) else {
                continue;
            };
            let connector = Arc::clone(&line.connector);
            let connector = if parts.read_only {
                Arc::new(ReadOnly::new(connector))
            } else {
                connector
            };
            // The claims of an earlier life: their outcome is unknown, and a re-read will show it. A dry
            // run shows them as they are.
            if !parts.read_only {
                shared.store.release_claims(rules.id.0).await?;
            }
            members.push(Arc::new(Member {
                name: system.name.clone(),
                id: rules.id,
                rules: rules.clone(),
                connector,
                pace: Pace {
                    schedule: system.schedule.clone(),
                    poll_interval: system.poll_interval,
                    quota_reserve_percent: system.kind.quota_reserve_percent(),
                },
                shared: Arc::clone(&shared),
                breaker: Arc::clone(&line.breaker),
                wake_poller: Notify::new(),
                hints: Arc::clone(&line.hints),
                identity: Identity::default(),
                wake_emitter,
            }));
        }
        let keeper = lines.gate.as_ref().filter(|_| !parts.read_only);
        let keeper = keeper.and_then(|line| {
            let terms = Terms::of(&line.settings, &rules)?;
            Some(Arc::new(Keeper {
                gate: Arc::clone(&line.gate),
                shared: Arc::clone(&shared),
                terms,
                health: Arc::clone(&line.health),
                breaker: Breaker::default(),
            }))
        });
        Ok(Self {
            shared,
            members,
            keeper,
        })
    }
}

/// Builds one member for each enabled system, with connectors of the known kinds. Nothing is called
/// yet.
///
/// # Errors
/// When the store fails, or a connector cannot be built from its settings.
pub async fn assemble(checked: &Checked, parts: Parts) -> Result<Vec<Arc<Member>>, SyncError> {
    let clock = Arc::clone(&parts.clock);
    let connect = move |system: &SystemSettings| registry::connect_by(&system.kind, &clock);
    let lines = Lines::build(checked, &Lines::default(), &connect)
        .map_err(|not_connected| not_connected.fault)?;
    Ok(Engine::assemble(checked, parts, &lines).await?.members)
}

/// The configured rules, with each system's number in the store; systems that are only in the store
/// are there too, retired.
///
/// # Errors
/// When the store fails.
pub async fn rules(checked: &Checked, store: &dyn Store) -> Result<Rules, StoreError> {
    let names: Vec<String> = checked
        .systems
        .iter()
        .map(|system| system.name.clone())
        .collect();
    let ids = store.register_systems(&names).await?;
    let mut systems = Vec::new();
    let mut thresholds = Vec::new();
    for (system, id) in checked.systems.iter().zip(ids) {
        let heard_until = if system.legal_basis_sync {
            None
        } else {
            store.feed(id).await?.muted_since.map(At::from_micros)
        };
        let own = system.mass_change.iter();
        thresholds.extend(own.map(|(purpose, own)| (SystemId(id), *purpose, *own)));
        systems.push(SystemRules {
            id: SystemId(id),
            name: system.name.clone(),
            precedence: system.precedence,
            writable: system.legal_basis_sync,
            heard_until,
            carries: system.carries.clone(),
            own_actor: None,
            bulk_actors: system.bulk_actors.clone(),
        });
    }
    for (id, name) in store.systems().await? {
        if !names.contains(&name) {
            systems.push(SystemRules::retired(SystemId(id), name));
        }
    }
    Ok(Rules {
        purposes: checked.purposes.clone(),
        systems,
        thresholds,
        policy: checked.policy.rules.clone(),
    })
}

fn named<'a>(rules: &'a Rules, name: &str) -> Option<&'a SystemRules> {
    rules.systems.iter().find(|system| system.name == name)
}

/// R58: who follows whom.
pub(super) fn links(checked: &Checked, rules: &Rules) -> Vec<Link> {
    let linked = checked.systems.iter().filter_map(|system| {
        let link = system.link.as_ref()?;
        Some(Link {
            follower: named(rules, &system.name)?.id,
            anchor: named(rules, &link.system)?.id,
        })
    });
    linked.collect()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
