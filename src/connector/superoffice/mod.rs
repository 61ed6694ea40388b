//! SuperOffice, online and onsite: consent records of persons, one for each purpose.
//!
//! `wire` speaks the web API, `lists` and `map` know what keys and rows mean, `people` reads persons
//! by id, `feed` walks through the tenant and its changes, `write` sets consents, `webhook` hears that
//! somebody changed. Nothing in here decides about consent.

pub mod config;
pub mod feed;
pub mod lists;
pub mod look_up;
pub mod map;
pub mod people;
pub mod probe;
pub mod ways;
pub mod webhook;
pub mod wire;
pub mod write;

use super::{
    Batching, Connector, Current, Cursor, Fault, Found, Outcome, Page, Probe, Target, Wanted,
    WriteRequest,
};
use async_trait::async_trait;
use config::Settings;
use lists::{Keys, Lists};
use people::People;
use probe::Principal;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use tokio::sync::Mutex;
use ways::Ways;
use wire::{Tenant, faults};

/// A SuperOffice tenant.
#[derive(Debug)]
pub struct SuperOffice {
    settings: Settings,
    tenant: Tenant,
    /// What was learnt of the tenant; learnt anew at each login and after a refusal.
    known: Mutex<Option<Arc<Known>>>,
    /// The contacts of the last look before a write that could not be understood.
    unclear: Lock<BTreeSet<String>>,
}

/// What has to be known of a tenant before anything is read or written.
#[derive(Debug)]
struct Known {
    keys: Keys,
    ways: Ways,
    own_actor: Option<String>,
}

impl SuperOffice {
    /// A connector; makes no call.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        Ok(Self {
            tenant: Tenant::new(&settings)?,
            settings,
            known: Mutex::default(),
            unclear: Lock::default(),
        })
    }

    /// The client, for what is no business of the engine: registering a web hook.
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    async fn known(&self) -> Result<Arc<Known>, Fault> {
        let mut held = self.known.lock().await;
        if let Some(known) = &*held {
            return Ok(Arc::clone(known));
        }
        let principal = Principal::read(&self.tenant).await?;
        let lists = Lists::read(&self.tenant).await?;
        let known = Arc::new(Known {
            keys: Keys::resolve(&self.settings, &lists)?,
            ways: Ways::find(&self.tenant, &self.settings).await?,
            own_actor: principal.actor(),
        });
        *held = Some(Arc::clone(&known));
        Ok(known)
    }

    fn people<'a>(&'a self, known: &'a Known) -> People<'a> {
        People {
            tenant: &self.tenant,
            ways: known.ways,
            keys: &known.keys,
            settings: &self.settings,
        }
    }

    /// A server that refuses what it took before may have changed: it is asked anew what it offers.
    async fn forget_after<T>(&self, done: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &done
            && faults::is_refusal(fault)
        {
            *self.known.lock().await = None;
        }
        done
    }
}

#[async_trait]
impl Connector for SuperOffice {
    async fn probe(&self) -> Result<Probe, Fault> {
        let principal = Principal::read(&self.tenant).await?;
        let lists = Lists::read(&self.tenant).await?;
        let mut probe = probe::judge(&self.settings, &principal, &lists);
        if probe.missing.is_empty() {
            let ways = Ways::find(&self.tenant, &self.settings).await?;
            probe.notes.extend(ways.notes(&self.settings));
            *self.known.lock().await = Some(Arc::new(Known {
                keys: Keys::resolve(&self.settings, &lists)?,
                ways,
                own_actor: principal.actor(),
            }));
        }
        Ok(probe)
    }

    async fn read(&self, cursor: Option<&Cursor>) -> Result<Page, Fault> {
        let known = self.known().await?;
        let page = feed::read(&self.people(&known), cursor).await;
        self.forget_after(page).await
    }

    async fn current(&self, contacts: &[Target]) -> Result<Vec<Current>, Fault> {
        let known = self.known().await?;
        let found = write::current(&self.people(&known), contacts).await;
        let (current, unclear) = self.forget_after(found).await?;
        *self.unclear.lock().unwrap_or_else(PoisonError::into_inner) = unclear;
        Ok(current)
    }

    async fn look_up(&self, wanted: &Wanted) -> Result<Found, Fault> {
        let known = self.known().await?;
        let found = look_up::look_up(&self.people(&known), wanted).await;
        self.forget_after(found).await
    }

    async fn write(&self, writes: &[WriteRequest]) -> Result<Vec<Outcome>, Fault> {
        let known = self.known().await?;
        let unclear = self
            .unclear
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let own_actor = known.own_actor.as_deref();
        write::write(&self.people(&known), writes, own_actor, &unclear).await
    }

    fn batching(&self) -> Batching {
        write::batching()
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.tenant.calls()
    }
}
