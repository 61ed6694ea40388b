//! What the engine asks of a gate: a system that says whether mail to a person would be sent at all,
//! and has no voice in what the person wants (R47).

use super::{Fault, Probe};
use crate::consent::At;
pub use crate::consent::gate::SubscriberStatus;
use async_trait::async_trait;

/// A business unit: a part of the gate with a standing of its own for every subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The gate's id of it, e.g. the MID.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// Where a subscriber stands in one unit. A subscriber that a unit does not know has no standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Subscriber key, exactly as it was asked for.
    pub key: String,
    /// [`Unit::id`].
    pub unit: String,
    /// What the unit says.
    pub status: SubscriberStatus,
    /// When the subscriber opted out there, if it did and the gate tells.
    pub unsubscribed_at: Option<At>,
}

/// What became of setting one subscriber active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// The unit sends mail to the subscriber, as a read-back shows.
    Active,
    /// It may or may not have happened; the next reading shows.
    Unknown(Fault),
    /// It did not happen.
    Failed(Fault),
}

/// A gate.
///
/// All calls are bounded in time and size, like those of a [`super::Connector`].
#[async_trait]
pub trait Gate: Send + Sync {
    /// Logs in to every unit and checks what the configuration needs. Changes nothing.
    async fn probe(&self) -> Result<Probe, Fault>;

    /// The parent, and then the configured units, in that order.
    fn units(&self) -> &[Unit];

    /// Where these subscribers stand in every unit, at most [`Gate::keys_at_once`] of them. Each key and
    /// unit stands in the answer at most once; what is not in it was not found.
    ///
    /// # Errors
    /// When any unit could not be asked: what is missing in an answer is known to be missing there.
    async fn standings(&self, keys: &[String]) -> Result<Vec<Standing>, Fault>;

    /// Sets these subscribers active in one unit, at most [`Gate::keys_at_once`] of them. The answer has one
    /// outcome per key, in the same order. An `Err` means that nothing was sent.
    async fn activate(&self, unit: &str, keys: &[String]) -> Result<Vec<Activation>, Fault>;

    /// Subscriber keys in one call.
    fn keys_at_once(&self) -> usize;

    /// How many calls have been made since the start, by kind of call.
    fn calls(&self) -> Vec<(&'static str, u64)>;
}
