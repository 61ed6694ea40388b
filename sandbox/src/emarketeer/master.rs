//! Master data of an account: purposes, legal bases and sources of consent.
//!
//! Names are those of the vendor's pages. Ids are given out per tenant, so they follow from the seed and differ between
//! seeds: whoever learns them by heart is wrong at the next customer.

use serde::{Deserialize, Serialize};

/// Purpose: keeping data about a person.
pub const STORE: &str = "Store and process";
/// Purpose: marketing by e-mail and SMS.
pub const MARKETING: &str = "Marketing sendouts";

/// Legal basis: the person agreed.
pub const CONSENT: &str = "Consent";
/// Legal basis: legitimate interest.
pub const LEGITIMATE_INTEREST: &str = "Legitimate interest";
/// Legal basis: a contract.
pub const CONTRACT: &str = "Contract";
/// Legal basis: a law.
pub const REQUIRED_BY_LAW: &str = "Required by law";
/// Legal basis: vital interests.
pub const VITAL_INTERESTS: &str = "Protect vital interests";
/// Legal basis: public interests.
pub const PUBLIC_INTERESTS: &str = "Public interests";
/// Not a legal basis but the state of having withdrawn.
pub const WITHDRAWN: &str = "Withdrawn";

/// Source: a form on the web.
pub const FORM: &str = "Web form";
/// Source: a user of the account, by hand.
pub const USER: &str = "Added by user";
/// Source: a file or a CRM.
pub const IMPORT: &str = "Import";
/// Source: the bulk actions tool.
pub const BULK: &str = "Bulk action";
/// Source: the link in a message.
pub const LINK: &str = "Unsubscribe link";
/// Source: the page where people choose their subscriptions.
pub const CENTRE: &str = "Subscription centre";
/// Source: a mailbox provider passed a complaint on.
pub const COMPLAINT: &str = "Spam complaint";
/// Source: a signal.
pub const SIGNAL: &str = "Signal";
/// Source: another system through the API.
pub const INTEGRATION: &str = "Integration";

const PURPOSES: [&str; 2] = [STORE, MARKETING];
const LEGAL_BASES: [&str; 7] = [
    CONSENT,
    LEGITIMATE_INTEREST,
    CONTRACT,
    REQUIRED_BY_LAW,
    VITAL_INTERESTS,
    PUBLIC_INTERESTS,
    WITHDRAWN,
];
const SOURCES: [&str; 9] = [
    FORM,
    USER,
    IMPORT,
    BULK,
    LINK,
    CENTRE,
    COMPLAINT,
    SIGNAL,
    INTEGRATION,
];

/// Most items of one kind, removed ones included.
pub(crate) const MAX_ITEMS: usize = 30;
/// Ids that a tenant has to itself.
const TENANT_IDS: i64 = 100;
/// First id of the first tenant.
const FIRST_ID: i64 = 1_000;
/// A prime: seeds below it are spread over as many tenants without two falling together.
const TENANTS: u64 = 1_000_003;
const SPREAD: u64 = 7_919;

/// A kind of master data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What consent is for.
    Purpose,
    /// What a purpose rests on, or that it is withdrawn.
    LegalBasis,
    /// Where a record came from.
    Source,
}

/// Place of an item in the list of its kind; it never changes, whatever the item is renamed to.
pub(crate) type Place = u8;

/// One item of master data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The tenant's own number for it.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// It is no longer offered; records that name it keep it.
    pub removed: bool,
}

/// The three lists.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    purposes: Vec<Item>,
    legal_bases: Vec<Item>,
    sources: Vec<Item>,
    first_id: i64,
}

impl Master {
    /// The lists of the tenant that this seed stands for.
    pub(crate) fn of_tenant(seed: u64) -> Master {
        let tenant = (seed % TENANTS) * SPREAD % TENANTS;
        let mut master = Master {
            purposes: Vec::new(),
            legal_bases: Vec::new(),
            sources: Vec::new(),
            first_id: FIRST_ID + TENANT_IDS * tenant.cast_signed(),
        };
        let lists: [(Kind, &[&str]); 3] = [
            (Kind::Purpose, &PURPOSES),
            (Kind::LegalBasis, &LEGAL_BASES),
            (Kind::Source, &SOURCES),
        ];
        for (kind, names) in lists {
            for name in names {
                master.add(kind, name);
            }
        }
        master
    }

    /// All items of a kind, removed ones included.
    pub(crate) fn all(&self, kind: Kind) -> &[Item] {
        match kind {
            Kind::Purpose => &self.purposes,
            Kind::LegalBasis => &self.legal_bases,
            Kind::Source => &self.sources,
        }
    }

    fn all_mut(&mut self, kind: Kind) -> &mut Vec<Item> {
        match kind {
            Kind::Purpose => &mut self.purposes,
            Kind::LegalBasis => &mut self.legal_bases,
            Kind::Source => &mut self.sources,
        }
    }

    /// Adds an item; `None` when there is no room.
    pub(crate) fn add(&mut self, kind: Kind, name: &str) -> Option<i64> {
        let first = self.first_id + kind as i64 * MAX_ITEMS as i64;
        let list = self.all_mut(kind);
        if list.len() >= MAX_ITEMS {
            return None;
        }
        let id = first + list.len() as i64;
        list.push(Item {
            id,
            name: name.to_owned(),
            removed: false,
        });
        Some(id)
    }

    /// Changes an item that is offered; `false` when there is none of this name.
    pub(crate) fn change(
        &mut self,
        kind: Kind,
        name: &str,
        change: impl FnOnce(&mut Item),
    ) -> bool {
        let Some(place) = self.named(kind, name) else {
            return false;
        };
        match self.all_mut(kind).get_mut(usize::from(place)) {
            Some(item) => {
                change(item);
                true
            }
            None => false,
        }
    }

    /// The offered item of this name, in any case.
    pub(crate) fn named(&self, kind: Kind, name: &str) -> Option<Place> {
        self.find(kind, |item| item.name.to_lowercase() == name.to_lowercase())
    }

    /// The offered item with this id.
    pub(crate) fn with_id(&self, kind: Kind, id: i64) -> Option<Place> {
        self.find(kind, |item| item.id == id)
    }

    fn find(&self, kind: Kind, wanted: impl Fn(&Item) -> bool) -> Option<Place> {
        let place = self
            .all(kind)
            .iter()
            .position(|item| !item.removed && wanted(item))?;
        Place::try_from(place).ok()
    }

    pub(crate) fn item(&self, kind: Kind, place: Place) -> Option<&Item> {
        self.all(kind).get(usize::from(place))
    }

    pub(crate) fn name(&self, kind: Kind, place: Place) -> &str {
        self.item(kind, place).map_or("", |item| &item.name)
    }
}

/// Places of the built-in items, which the account's own acts use whatever they are called meanwhile.
pub(crate) mod place {
    use super::Place;

    pub(crate) const STORE: Place = 0;
    pub(crate) const MARKETING: Place = 1;
    pub(crate) const CONSENT: Place = 0;
    pub(crate) const LEGITIMATE_INTEREST: Place = 1;
    pub(crate) const CONTRACT: Place = 2;
    pub(crate) const WITHDRAWN: Place = 6;
    pub(crate) const FORM: Place = 0;
    pub(crate) const USER: Place = 1;
    pub(crate) const IMPORT: Place = 2;
    pub(crate) const BULK: Place = 3;
    pub(crate) const LINK: Place = 4;
    pub(crate) const CENTRE: Place = 5;
    pub(crate) const COMPLAINT: Place = 6;
    pub(crate) const SIGNAL: Place = 7;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tenants_share_no_id() {
        let mut seen = HashSet::new();
        for seed in 0..500 {
            let master = Master::of_tenant(seed);
            for kind in [Kind::Purpose, Kind::LegalBasis, Kind::Source] {
                for item in master.all(kind) {
                    assert!(
                        seen.insert(item.id),
                        "{} of seed {seed} is another's",
                        item.name
                    );
                }
            }
        }
    }

    #[test]
    fn built_in_items_stand_at_their_places() {
        let master = Master::of_tenant(3);
        let cases = [
            (Kind::Purpose, STORE, place::STORE),
            (Kind::Purpose, MARKETING, place::MARKETING),
            (Kind::LegalBasis, CONSENT, place::CONSENT),
            (
                Kind::LegalBasis,
                LEGITIMATE_INTEREST,
                place::LEGITIMATE_INTEREST,
            ),
            (Kind::LegalBasis, CONTRACT, place::CONTRACT),
            (Kind::LegalBasis, WITHDRAWN, place::WITHDRAWN),
            (Kind::Source, FORM, place::FORM),
            (Kind::Source, USER, place::USER),
            (Kind::Source, IMPORT, place::IMPORT),
            (Kind::Source, BULK, place::BULK),
            (Kind::Source, LINK, place::LINK),
            (Kind::Source, CENTRE, place::CENTRE),
            (Kind::Source, COMPLAINT, place::COMPLAINT),
            (Kind::Source, SIGNAL, place::SIGNAL),
        ];
        for (kind, name, place) in cases {
            assert_eq!(master.named(kind, name), Some(place), "{name}");
        }
    }
}
