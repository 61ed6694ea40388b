//! The business units of an account, as it describes them.

use super::wire::{Account, Retrieve};
use crate::connector::Fault;
use crate::connector::salesforce::wire::faults::clean;

/// The kind under which these calls are counted.
const KIND: &str = "units";

/// How far an opt-out in a unit reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Over the whole enterprise: who is unsubscribed in the parent gets no mail of the unit.
    EntireEnterprise,
    /// The unit alone, whatever the parent says.
    UnitOnly,
    /// The account does not say, or in a word that is not known.
    Unknown(Option<String>),
}

/// A unit as the account describes it.
#[derive(Debug)]
pub(super) struct Described {
    /// Its MID.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its unsubscribe setting.
    pub(super) behaviour: Behaviour,
}

/// All units of the enterprise, the parent among them.
pub(super) async fn read(account: &Account, parent: &str) -> Result<Vec<Described>, Fault> {
    let asked = Retrieve {
        kind: KIND,
        object: "BusinessUnit",
        properties: &["ID", "Name"],
        optional: &["MasterUnsubscribeBehavior"],
        filter: None,
        unit: None,
    };
    account
        .retrieve(parent, asked, |row| {
            let described = row.value("ID").map(|id| Described {
                id: id.to_owned(),
                name: clean(row.value("Name").unwrap_or_default()).into_owned(),
                behaviour: match row.value("MasterUnsubscribeBehavior") {
                    Some("ENTIRE_ENTERPRISE") => Behaviour::EntireEnterprise,
                    Some("BUSINESS_UNIT_ONLY") => Behaviour::UnitOnly,
                    other => Behaviour::Unknown(other.map(|word| clean(word).into_owned())),
                },
            });
            Ok(described.into_iter().collect())
        })
        .await
}
