//! One record in one system, with what it shows and what it has said.

use super::purpose::PurposeId;
use super::rules::SystemId;
use super::statement::{Basis, Evidence, Statement, Status};
use super::time::{At, Stamp};

/// How many statements of one contact, purpose and status are kept, by rank. A withdrawal always
/// competes, so one beyond could never decide; a grant beyond could only matter if sixteen later
/// ones all counted for nothing, and forgetting it stops mail rather than sending it. Withdrawals
/// and grants never displace each other: no number of loads makes a withdrawal forgotten.
pub const MAX_STATEMENTS: usize = 16;

/// How many of our own writes are remembered for one contact and purpose. An older one could only be
/// told again by a reading that began before all of these took effect.
pub const MAX_ECHOES: usize = 4;

/// The value a field shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// The field's default, or no consent record. At first sight this is silence (R12).
    Default,
    /// A flag or box that is set.
    Set,
    /// A consent record.
    Record {
        /// What it says.
        status: Status,
        /// Its legal basis.
        basis: Option<Basis>,
    },
}

/// Whether a contact is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Life {
    /// It is.
    #[default]
    Live,
    /// It was deleted (R8).
    Deleted,
    /// It was merged into the contact of that id (R8).
    Merged {
        /// The survivor's external id, in the same system.
        into: String,
    },
}

impl Life {
    /// Whether the contact is there.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }
}

/// A value that we wrote and the system stamped with its own clock. Where nobody signs for what is
/// stored, this alone tells that value from a person's word (R15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// What we wrote.
    pub shown: Shown,
    /// The time that the system gave it; none until the feed has told.
    pub stamp: Option<Stamp>,
    /// The write was acknowledged; until then it was only seen while under way.
    pub acknowledged: bool,
}

/// What one contact shows and has said of one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holding {
    /// The value it shows now; `None` while only history is known.
    pub shown: Option<Shown>,
    /// What it has said, best rank first. Kept as a set: adding in any order gives the same.
    pub statements: Vec<Statement>,
    /// Our own last writes of consent records, oldest first, at most [`MAX_ECHOES`].
    pub echoes: Vec<Echo>,
}

impl Holding {
    /// Notes that our write of this value took effect: the contact shows it, and the time that the
    /// system stores for it will be no statement (R15).
    pub fn wrote(&mut self, shown: Shown) {
        // Only consent records come with a stored time.
        if matches!(shown, Shown::Record { .. }) {
            match self.echoes.last_mut() {
                // The feed told of it before the acknowledgement came.
                Some(last) if !last.acknowledged && last.shown == shown => last.acknowledged = true,
                _ => self.keep_echo(Echo {
                    shown: shown.clone(),
                    stamp: None,
                    acknowledged: true,
                }),
            }
        }
        self.shown = Some(shown);
    }

    /// Notes the time that the system stores for a write of ours that is still under way.
    pub fn saw_under_way(&mut self, shown: &Shown, stamp: Stamp) {
        match self.echoes.last_mut() {
            Some(last) if !last.acknowledged && last.shown == *shown => last.stamp = Some(stamp),
            _ => self.keep_echo(Echo {
                shown: shown.clone(),
                stamp: Some(stamp),
                acknowledged: false,
            }),
        }
    }

    /// Whether a stored time is the one that the system gave to our own write of that value. `may_be_new`:
    /// it is the latest that was told, of a value that the contact is known to show, so that it
    /// answers a write whose time is not known yet.
    pub fn is_echo(&mut self, shown: &Shown, stamp: Stamp, may_be_new: bool) -> bool {
        let is_known = |echo: &Echo| {
            echo.shown == *shown && echo.stamp.is_some_and(|known| known.overlaps(stamp))
        };
        if self.echoes.iter().any(is_known) {
            return true;
        }
        match self.echoes.last_mut() {
            Some(last) if may_be_new && last.stamp.is_none() && last.shown == *shown => {
                last.stamp = Some(stamp);
                true
            }
            _ => false,
        }
    }

    /// Somebody changed the value: the time of our write, if it is still awaited, never comes.
    pub fn was_overwritten(&mut self) {
        self.echoes.retain(|echo| echo.stamp.is_some());
    }

    fn keep_echo(&mut self, echo: Echo) {
        if self.echoes.len() >= MAX_ECHOES {
            self.echoes.remove(0);
        }
        self.echoes.push(echo);
    }

    /// Adds a statement to the set. Whether anything changed.
    ///
    /// What is kept is a function of all that was ever added, whatever the order: nothing is
    /// dropped because of what else is known, save the outranked ones of its own status.
    pub fn add(&mut self, statement: Statement) -> bool {
        let best_first = |known: &Statement| {
            (statement.rank(), statement.status, statement.evidence)
                .cmp(&(known.rank(), known.status, known.evidence))
                .then_with(|| statement.cmp(known))
        };
        let Err(place) = self.statements.binary_search_by(best_first) else {
            return false;
        };
        let status = statement.status;
        let same = |known: &&Statement| known.status == status;
        if self.statements[..place].iter().filter(same).count() >= MAX_STATEMENTS {
            return false;
        }
        // Mostly there is one or two, and a load holds those of many contacts.
        if self.statements.len() == self.statements.capacity() {
            self.statements.reserve_exact(1);
        }
        self.statements.insert(place, statement);
        if self.statements.iter().filter(same).count() > MAX_STATEMENTS
            && let Some(worst) = self
                .statements
                .iter()
                .rposition(|known| known.status == status)
        {
            self.statements.remove(worst);
        }
        true
    }

    /// What it has said, best rank first, each act once: what was seen or found at first sight is
    /// left out where the system itself dates the same act (R10).
    pub fn said(&self) -> impl Iterator<Item = &Statement> {
        self.statements
            .iter()
            .filter(|statement| !self.is_told_better(statement))
    }

    /// Whether the act that led to what `seen` saw is known with better evidence. It is not when the
    /// system tells of a contrary act after it: then what was seen is another, later act, of which
    /// the system has not told yet.
    fn is_told_better(&self, seen: &Statement) -> bool {
        seen.evidence < Evidence::Explicit
            && self.statements.iter().any(|told| {
                seen.is_told_better_by(told)
                    && !self.statements.iter().any(|contrary| {
                        contrary.status != seen.status
                            && contrary.evidence > seen.evidence
                            && contrary.stamp.earliest() > told.stamp.latest()
                            && contrary.stamp.earliest() <= seen.stamp.latest()
                    })
            })
    }

    /// The withdrawal that ranks highest.
    pub fn last_withdrawal(&self) -> Option<&Statement> {
        self.said()
            .find(|statement| statement.status == Status::Withdrawn)
    }
}

/// What one contact shows and has said of all purposes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Per purpose, in the order of the purposes.
    holdings: Vec<(PurposeId, Holding)>,
    /// A stamp of it lay in the future and was capped (R16).
    pub future_stamped: bool,
    /// By when the last of our writes had taken effect, as far as only a later word told that. What was
    /// true before says nothing of these values, however late it is read.
    pub written_at: Option<At>,
}

impl Record {
    /// The holding of one purpose.
    pub fn get(&self, purpose: PurposeId) -> Option<&Holding> {
        let index = self
            .holdings
            .binary_search_by_key(&purpose, |(id, _)| *id)
            .ok()?;
        self.holdings.get(index).map(|(_, holding)| holding)
    }

    /// Makes room for the holdings of so many purposes.
    pub fn reserve(&mut self, purposes: usize) {
        self.holdings
            .reserve_exact(purposes.saturating_sub(self.holdings.len()));
    }

    /// The holding of one purpose, empty if there was none.
    pub fn entry(&mut self, purpose: PurposeId) -> &mut Holding {
        let index = match self.holdings.binary_search_by_key(&purpose, |(id, _)| *id) {
            Ok(index) => index,
            Err(index) => {
                self.holdings.insert(index, (purpose, Holding::default()));
                index
            }
        };
        &mut self.holdings[index].1
    }

    /// The value shown for one purpose.
    pub fn shown(&self, purpose: PurposeId) -> Option<&Shown> {
        self.get(purpose).and_then(|holding| holding.shown.as_ref())
    }

    /// Every holding, in the order of the purposes.
    pub fn iter(&self) -> impl Iterator<Item = (PurposeId, &Holding)> {
        self.holdings.iter().map(|(id, holding)| (*id, holding))
    }
}

/// One record in one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The system it is in.
    pub system: SystemId,
    /// Its id there.
    pub id: String,
    /// When it was created there; decides the oldest (R4). Unknown sorts last.
    pub created: Option<At>,
    /// The last modification read.
    pub modified: Option<At>,
    /// The system's time when this state was read.
    pub read_at: Option<At>,
    /// Whether it is there.
    pub life: Life,
    /// What it shows and has said.
    pub record: Record,
}

impl Contact {
    /// A contact of which nothing is known yet.
    pub fn unseen(system: SystemId, id: String) -> Self {
        Self {
            system,
            id,
            created: None,
            modified: None,
            read_at: None,
            life: Life::Live,
            record: Record::default(),
        }
    }
}
