//! Marketing Cloud, the gate: whether mail to a subscriber would be sent at all, in the parent and in
//! each business unit (R47).
//!
//! `wire` speaks OAuth and SOAP, `map` knows what rows mean, `standings` reads where subscribers stand,
//! `activate` sets them active, `units` and `probe` look for what is missing. It has no voice: nothing that is read
//! here says what a person wants, and nobody is ever unsubscribed. When subscribers are looked at and
//! whether they may be set active is decided elsewhere.

mod activate;
pub mod config;
pub mod map;
mod probe;
mod standings;
mod units;
pub mod wire;

use super::gate::{Activation, Gate, Standing, Unit};
use super::{Fault, Probe};
use async_trait::async_trait;
use config::Settings;
use wire::Account;

/// An enterprise account with its units.
#[derive(Debug)]
pub struct MarketingCloud {
    account: Account,
}

impl MarketingCloud {
    /// A gate; makes no call.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        Ok(Self {
            account: Account::new(settings)?,
        })
    }
}

#[async_trait]
impl Gate for MarketingCloud {
    async fn probe(&self) -> Result<Probe, Fault> {
        probe::run(&self.account).await
    }

    fn units(&self) -> &[Unit] {
        &self.account.settings().units
    }

    async fn standings(&self, keys: &[String]) -> Result<Vec<Standing>, Fault> {
        standings::read(&self.account, keys, None).await
    }

    async fn activate(&self, unit: &str, keys: &[String]) -> Result<Vec<Activation>, Fault> {
        activate::run(&self.account, unit, keys).await
    }

    fn keys_at_once(&self) -> usize {
        self.account.settings().keys_per_call
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.account.calls()
    }
}
