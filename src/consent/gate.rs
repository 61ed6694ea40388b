//! The gate: whether mail to a person who wants it would be sent at all (R47, R48).
//!
//! A gate has no voice. What it says opens and closes requests to set a subscriber active again; it
//! never changes a verdict.

use super::time::At;
use std::collections::BTreeSet;

/// What a unit of the gate says of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriberStatus {
    /// Mail is sent (green).
    Active,
    /// Mail bounced once or twice (yellow).
    Bounced,
    /// Mail bounced too often and is not sent any more (gray).
    Held,
    /// The subscriber opted out there (red).
    Unsubscribed,
    /// The subscriber was deleted there; as good as not found.
    Deleted,
    /// A word that is not known; mail may not be sent.
    Unknown,
}

impl SubscriberStatus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Active,
        Self::Bounced,
        Self::Held,
        Self::Unsubscribed,
        Self::Deleted,
        Self::Unknown,
    ];

    /// R47: whether mail to the subscriber is sent, so that nobody has to act.
    pub const fn passes(self) -> bool {
        match self {
            Self::Active | Self::Deleted => true,
            Self::Bounced | Self::Held | Self::Unsubscribed | Self::Unknown => false,
        }
    }

    /// The word for it in lists, the store and the sheet.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Bounced => "bounced",
            Self::Held => "held",
            Self::Unsubscribed => "unsubscribed",
            Self::Deleted => "deleted",
            Self::Unknown => "unknown",
        }
    }

    /// The status of that word; one that is not known is [`Self::Unknown`].
    pub fn from_word(word: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|status| status.word() == word)
            .unwrap_or(Self::Unknown)
    }
}

/// Where a subscriber of the person stands in one unit. A subscriber that a unit does not know stands
/// nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Subscriber key.
    pub key: &'a str,
    /// The unit's id.
    pub unit: &'a str,
    /// What it says.
    pub status: SubscriberStatus,
}

/// A request of the person that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Its number.
    pub id: i64,
    /// Subscriber key.
    pub key: &'a str,
    /// The unit's id.
    pub unit: &'a str,
}

/// Why a request is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closing {
    /// The unit sends mail again.
    Green,
    /// The unit does not know the subscriber any more.
    NotFound,
    /// The person does not want the mail any more, or never said so.
    NotGranted,
    /// The subscriber is no contact of the person any more, or the unit is not asked any more.
    Gone,
    /// An operator says so.
    ByHand,
}

impl Closing {
    /// The word for it in lists and the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::NotFound => "not-found",
            Self::NotGranted => "not-granted",
            Self::Gone => "gone",
            Self::ByHand => "done",
        }
    }
}

/// What follows from a look at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A request has to be opened.
    Open(Seen<'a>),
    /// An open request stays open.
    Keep {
        /// Its number.
        id: i64,
        /// What the unit says now.
        status: SubscriberStatus,
    },
    /// A request is closed.
    Close {
        /// Its number.
        id: i64,
        /// Why.
        closing: Closing,
    },
}

/// R47: what one look at the gate does to the requests of one person.
///
/// `is_granted`: the purpose that the gate guards is granted now; `keys` and `units`: the person's
/// subscriber keys and the units that were asked for all of them; `seen`: what these said. When
/// nothing is granted nobody need have been asked.
pub fn review<'a>(
    is_granted: bool,
    keys: &BTreeSet<&str>,
    units: &BTreeSet<&str>,
    seen: &[Seen<'a>],
    open: &[Open<'_>],
) -> Vec<Step<'a>> {
    let standing = |key: &str, unit: &str| {
        let mut all = seen.iter();
        all.find(|seen| seen.key == key && seen.unit == unit)
    };
    let mut steps: Vec<Step<'a>> = open
        .iter()
        .map(|request| {
            let id = request.id;
            let close = |closing| Step::Close { id, closing };
            if !is_granted {
                return close(Closing::NotGranted);
            }
            if !keys.contains(request.key) || !units.contains(request.unit) {
                return close(Closing::Gone);
            }
            match standing(request.key, request.unit).map(|seen| seen.status) {
                None | Some(SubscriberStatus::Deleted) => close(Closing::NotFound),
                Some(SubscriberStatus::Active) => close(Closing::Green),
                Some(
                    status @ (SubscriberStatus::Bounced
                    | SubscriberStatus::Held
                    | SubscriberStatus::Unsubscribed
                    | SubscriberStatus::Unknown),
                ) => Step::Keep { id, status },
            }
        })
        .collect();
    if is_granted {
        let is_open = |seen: &&Seen<'_>| {
            let mut all = open.iter();
            !all.any(|request| request.key == seen.key && request.unit == seen.unit)
        };
        let blocked = seen.iter().filter(|seen| {
            !seen.status.passes() && keys.contains(seen.key) && units.contains(seen.unit)
        });
        steps.extend(blocked.filter(is_open).copied().map(Step::Open));
    }
    steps
}

/// Why the daemon does not set a subscriber active by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reluctance {
    /// The person does not want the mail.
    NotGranted,
    /// The subscriber opted out in the gate itself, and nothing says that the person changed their
    /// mind after that.
    OptedOutThere,
    /// What the gate says is not understood.
    NotUnderstood,
}

impl Reluctance {
    /// What to tell a person.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotGranted => "the person does not want the mail any more",
            Self::OptedOutThere => {
                "unsubscribed in Marketing Cloud itself, and no later consent is known: a person must decide"
            }
            Self::NotUnderstood => "the status is not understood: a person must decide",
        }
    }
}

/// R47: whether the daemon may set a subscriber active by itself. `granted_since`: the earliest instant
/// at which the grant behind the verdict may have been given; none when nothing is granted now.
///
/// A bounce says nothing of what the person wants. An opt-out in the gate does: it is overcome only by
/// a grant that is surely later.
///
/// # Errors
/// Why it may not.
pub fn may_activate(
    granted_since: Option<At>,
    status: SubscriberStatus,
    unsubscribed_at: Option<At>,
) -> Result<(), Reluctance> {
    let Some(since) = granted_since else {
        return Err(Reluctance::NotGranted);
    };
    match status {
        SubscriberStatus::Active
        | SubscriberStatus::Deleted
        | SubscriberStatus::Bounced
        | SubscriberStatus::Held => Ok(()),
        SubscriberStatus::Unsubscribed => match unsubscribed_at {
            Some(left) if since > left => Ok(()),
            Some(_) | None => Err(Reluctance::OptedOutThere),
        },
        SubscriberStatus::Unknown => Err(Reluctance::NotUnderstood),
    }
}
