//! Send-outs and their checklist: who will be addressed, and who not for which reason.
//!
//! The checklist is drawn up when a send-out is made and, for a scheduled one, again when it goes out. Each recipient is
//! counted once, under the first reason that holds in the order of the vendor's page "Understanding the Email Checklist".
//! The vendor's own CRM synchronisation, which it runs before it counts, is not simulated: keeping the systems in step is
//! what the clients of this sandbox do.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::contacts::address_of;
use super::master::place;
use super::state::State;
use crate::ActError;

/// Most recipients of a send-out.
pub(crate) const MAX_RECIPIENTS: usize = 100_000;
/// Most send-outs that an account remembers.
pub(crate) const MAX_SENDOUTS: usize = 1_000;

/// What becomes of one recipient. The order is that of the checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The address stands in the list already.
    Duplicate,
    /// Opted out of the category of the send-out.
    Unsubscribed,
    /// The marketing consent is withdrawn, or missing where it is needed.
    ConsentWithdrawn,
    /// The address bounced for good, or is none.
    Undeliverable,
    /// No activity for long, and the send-out leaves such contacts out.
    Unengaged,
    /// The account sends nothing to the domain.
    BlockedDomain,
    /// A setting of the send-out blocks the contact.
    BlockedContact,
    /// The sender's address is none.
    InvalidSender,
    /// The domain needs double opt-in, and the address has not confirmed.
    MissingDoubleOptIn,
    /// Will be addressed.
    Addressed,
}

impl Outcome {
    const ALL: [Outcome; 10] = [
        Outcome::Duplicate,
        Outcome::Unsubscribed,
        Outcome::ConsentWithdrawn,
        Outcome::Undeliverable,
        Outcome::Unengaged,
        Outcome::BlockedDomain,
        Outcome::BlockedContact,
        Outcome::InvalidSender,
        Outcome::MissingDoubleOptIn,
        Outcome::Addressed,
    ];
}

/// A send-out as somebody sets it up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sendout {
    /// Addresses, at most 100,000.
    pub recipients: Vec<String>,
    /// The subscription that the send-out belongs to; `None`: to none.
    #[serde(default)]
    pub category: Option<String>,
    /// Sent whatever the marketing consent says.
    #[serde(default)]
    pub transactional: bool,
    /// When it goes out; `None`: at once.
    #[serde(default)]
    pub scheduled_at: Option<DateTime<Utc>>,
    /// The sender's address; `None`: the account's own.
    #[serde(default)]
    pub sender: Option<String>,
    /// Leaves out contacts without activity.
    #[serde(default)]
    pub exclude_unengaged: bool,
    /// Addresses that a setting of the send-out blocks.
    #[serde(default)]
    pub blocked: Vec<String>,
}

/// Counts by outcome, in the order of the vendor's checklist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All recipients.
    pub addressed_by_you: usize,
    /// See [`Outcome::Duplicate`].
    pub duplicates: usize,
    /// See [`Outcome::Unsubscribed`].
    pub unsubscribed: usize,
    /// See [`Outcome::ConsentWithdrawn`].
    pub consent_withdrawn: usize,
    /// See [`Outcome::Undeliverable`].
    pub undeliverable: usize,
    /// See [`Outcome::Unengaged`].
    pub unengaged: usize,
    /// See [`Outcome::BlockedDomain`].
    pub blocked_domains: usize,
    /// See [`Outcome::BlockedContact`].
    pub blocked_contacts: usize,
    /// See [`Outcome::InvalidSender`].
    pub invalid_sender: usize,
    /// See [`Outcome::MissingDoubleOptIn`].
    pub missing_double_opt_in: usize,
    /// See [`Outcome::Addressed`].
    pub will_be_addressed: usize,
    /// All others.
    pub will_not_be_addressed: usize,
}

/// A checklist, drawn up at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checklist {
    /// When.
    pub at: DateTime<Utc>,
    /// How many of each outcome.
    pub counts: Counts,
    /// Each recipient as given, and its outcome.
    pub recipients: Vec<(String, Outcome)>,
}

/// A send-out and what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SendoutState {
    /// Number.
    pub id: u64,
    /// As it was when the send-out was made.
    pub checklist: Checklist,
    /// As it was when the send-out went out; `None`: it has not yet.
    pub sent: Option<Checklist>,
}

#[derive(Debug)]
struct Planned {
    sendout: Sendout,
    state: SendoutState,
}

/// The send-outs of an account.
#[derive(Debug, Default)]
pub(crate) struct Sendouts {
    planned: BTreeMap<u64, Planned>,
    /// Those that have not gone out, by time.
    waiting: BTreeSet<(DateTime<Utc>, u64)>,
}

impl Sendouts {
    /// The next send-out that is due, and when it was.
    pub(crate) fn next_due(&self, now: DateTime<Utc>) -> Option<(u64, DateTime<Utc>)> {
        let (at, id) = self.waiting.first()?;
        (*at <= now).then_some((*id, *at))
    }

    pub(crate) fn get(&self, id: u64) -> Option<&SendoutState> {
        self.planned.get(&id).map(|planned| &planned.state)
    }
}

impl State {
    /// Makes a send-out, which goes out at once unless it is scheduled.
    pub(crate) fn plan_sendout(&mut self, sendout: Sendout) -> Result<SendoutState, ActError> {
        if self.sendouts.planned.len() >= MAX_SENDOUTS {
            return Err(ActError::Full("too many send-outs"));
        }
        if sendout.recipients.len() > MAX_RECIPIENTS {
            return Err(ActError::Full("too many recipients"));
        }
        if let Some(category) = &sendout.category
            && !self.subscriptions.contains(category)
        {
            return Err(ActError::Invalid(format!("no subscription {category:?}")));
        }
        let id = self.number();
        let now = self.now();
        let at = sendout.scheduled_at.unwrap_or(now).max(now);
        let state = SendoutState {
            id,
            checklist: self.checklist(&sendout, now),
            sent: None,
        };
        self.sendouts.planned.insert(id, Planned { sendout, state });
        self.sendouts.waiting.insert((at, id));
        self.settle();
        let state = self.sendouts.get(id).cloned();
        state.ok_or(ActError::Full("the send-out is gone"))
    }

    /// Sends: draws the checklist up again and keeps it.
    pub(crate) fn send(&mut self, id: u64, at: DateTime<Utc>) {
        self.sendouts.waiting.remove(&(at, id));
        let Some(mut planned) = self.sendouts.planned.remove(&id) else {
            return;
        };
        planned.state.sent = Some(self.checklist(&planned.sendout, at));
        self.sendouts.planned.insert(id, planned);
    }

    fn checklist(&self, sendout: &Sendout, at: DateTime<Utc>) -> Checklist {
        let mut seen = BTreeSet::new();
        let blocked: BTreeSet<String> = sendout
            .blocked
            .iter()
            .map(|address| address.trim().to_lowercase())
            .collect();
        let recipients: Vec<(String, Outcome)> = sendout
            .recipients
            .iter()
            .map(|recipient| {
                let address = recipient.trim().to_lowercase();
                let first = seen.insert(address.clone());
                let outcome = if first {
                    self.outcome(sendout, &address, blocked.contains(&address))
                } else {
                    Outcome::Duplicate
                };
                (recipient.clone(), outcome)
            })
            .collect();
        let mut by_outcome = BTreeMap::new();
        for (_, outcome) in &recipients {
            *by_outcome.entry(*outcome).or_insert(0) += 1;
        }
        let [
            duplicates,
            unsubscribed,
            consent_withdrawn,
            undeliverable,
            unengaged,
            blocked_domains,
            blocked_contacts,
            invalid_sender,
            missing_double_opt_in,
            will_be_addressed,
        ] = Outcome::ALL.map(|outcome| by_outcome.get(&outcome).copied().unwrap_or(0));
        let counts = Counts {
            addressed_by_you: recipients.len(),
            duplicates,
            unsubscribed,
            consent_withdrawn,
            undeliverable,
            unengaged,
            blocked_domains,
            blocked_contacts,
            invalid_sender,
            missing_double_opt_in,
            will_be_addressed,
            will_not_be_addressed: recipients.len() - will_be_addressed,
        };
        Checklist {
            at,
            counts,
            recipients,
        }
    }

    fn outcome(&self, sendout: &Sendout, address: &str, blocked: bool) -> Outcome {
        let unsubscribed = sendout.category.as_ref().is_some_and(|category| {
            let off = self.opted_out.get(address);
            off.is_some_and(|off| off.contains(category))
        });
        let forbidden = match self.log.basis(address, place::MARKETING) {
            _ if sendout.transactional => false,
            Some(basis) => basis == place::WITHDRAWN,
            None => self.settings.positive_basis_required,
        };
        let sender = sendout.sender.as_deref();
        let domain = address.rsplit('@').next().unwrap_or_default();
        let lists = |domains: &[String]| domains.iter().any(|one| one.eq_ignore_ascii_case(domain));
        if unsubscribed {
            Outcome::Unsubscribed
        } else if forbidden {
            Outcome::ConsentWithdrawn
        } else if self.bounced.contains(address) || address_of(address, false).is_none() {
            Outcome::Undeliverable
        } else if sendout.exclude_unengaged && self.unengaged.contains(address) {
            Outcome::Unengaged
        } else if lists(&self.settings.blocked_domains) {
            Outcome::BlockedDomain
        } else if blocked {
            Outcome::BlockedContact
        } else if sender.is_some_and(|sender| address_of(sender, false).is_none()) {
            Outcome::InvalidSender
        } else if lists(&self.settings.double_opt_in_domains) && !self.confirmed.contains(address) {
            Outcome::MissingDoubleOptIn
        } else {
            Outcome::Addressed
        }
    }
}
