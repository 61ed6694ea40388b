//! Business units of an enterprise account.

use serde::{Deserialize, Serialize};

/// Number of a business unit.
pub type Mid = u64;

/// Number of the enterprise, the parent of all units.
pub const ENTERPRISE: Mid = 7_300_100;
/// Number of a unit.
pub const BOULDER: Mid = 7_300_110;
/// Number of a unit.
pub const DENVER: Mid = 7_300_120;
/// Number of a unit.
pub const SYSTEM: Mid = 7_300_130;

/// Most units, the enterprise included.
pub(crate) const MAX_UNITS: usize = 100;
/// Numbers of lists begin here; each unit has its own two.
const FIRST_LIST: u64 = 410;
/// Name of the list that everybody is on.
pub(crate) const ALL_SUBSCRIBERS: &str = "All Subscribers";

/// How far it reaches when somebody unsubscribes in a unit (`MasterUnsubscribeBehavior` of `BusinessUnit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnsubscribeBehavior {
    /// The enterprise is unsubscribed as well.
    EntireEnterprise,
    /// Only the unit; its status does not depend on the enterprise.
    BusinessUnitOnly,
}

impl UnsubscribeBehavior {
    /// As the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            UnsubscribeBehavior::EntireEnterprise => "ENTIRE_ENTERPRISE",
            UnsubscribeBehavior::BusinessUnitOnly => "BUSINESS_UNIT_ONLY",
        }
    }
}

/// A business unit, or the enterprise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Its number.
    pub mid: Mid,
    /// What it is called.
    pub name: String,
    /// How far unsubscribing in it reaches.
    pub behavior: UnsubscribeBehavior,
    /// Id of its list "All Subscribers".
    pub all_subscribers: u64,
    /// Id of its other list.
    pub letter: u64,
}

/// The units, the enterprise first.
#[derive(Clone, Debug)]
pub(crate) struct Units(Vec<Unit>);

impl Default for Units {
    fn default() -> Units {
        use UnsubscribeBehavior::{BusinessUnitOnly, EntireEnterprise};
        let mut units = Units(Vec::new());
        for (mid, name, behavior) in [
            (
                ENTERPRISE,
                "University of Colorado System Enterprise Org",
                EntireEnterprise,
            ),
            (BOULDER, "CU Boulder", EntireEnterprise),
            (DENVER, "CU Denver", BusinessUnitOnly),
            (SYSTEM, "CU System", EntireEnterprise),
        ] {
            units.add(mid, name, behavior);
        }
        units
    }
}

impl Units {
    /// Adds a unit; `false` when there is no room or the number is taken.
    pub(crate) fn add(&mut self, mid: Mid, name: &str, behavior: UnsubscribeBehavior) -> bool {
        if self.0.len() >= MAX_UNITS || self.get(mid).is_some() {
            return false;
        }
        let list = FIRST_LIST + 2 * self.0.len() as u64;
        self.0.push(Unit {
            mid,
            name: name.to_owned(),
            behavior,
            all_subscribers: list,
            letter: list + 1,
        });
        true
    }

    pub(crate) fn get(&self, mid: Mid) -> Option<&Unit> {
        self.0.iter().find(|unit| unit.mid == mid)
    }

    pub(crate) fn get_mut(&mut self, mid: Mid) -> Option<&mut Unit> {
        self.0.iter_mut().find(|unit| unit.mid == mid)
    }

    pub(crate) fn all(&self) -> &[Unit] {
        &self.0
    }

    /// The unit whose list this is.
    pub(crate) fn of_list(&self, list: u64) -> Option<&Unit> {
        let mut units = self.0.iter();
        units.find(|unit| unit.all_subscribers == list || unit.letter == list)
    }
}
