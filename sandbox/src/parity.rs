//! How far the two orgs agree on who has opted out.
//!
//! Contacts are linked by `Ascend_ID__c` = `Donor_ID__c`; those without such a partner by their trimmed, lower-cased
//! address. Every linked pair is compared.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::Core;
use crate::org::schema::{ASCEND_ID, DONOR_ID, ID, IS_DELETED, OPT_OUT, PERMISSION};
use crate::org::state::State;

/// Differing pairs that an answer lists at most; the counts are always full.
pub(crate) const MAX_LISTED: usize = 1_000;

/// Which Ascend field holds the opt-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AscendField {
    /// `HasOptedOutOfEmail`, the same sense as in Salesforce.
    OptOut,
    /// `Email_Permission__c`, the opposite sense.
    Permission,
}

/// One linked pair that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ParityRow {
    /// Id in Salesforce.
    pub salesforce: String,
    /// Id in Ascend.
    pub ascend: String,
    /// Opted out in Salesforce.
    pub salesforce_opted_out: bool,
    /// Opted out in Ascend.
    pub ascend_opted_out: bool,
}

/// The comparison of the two orgs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parity {
    /// Pairs that agree.
    pub equal: usize,
    /// Pairs that differ.
    pub different: usize,
    /// Live Salesforce contacts without a partner.
    pub unlinked: usize,
    /// The pairs that differ, in order of Salesforce ids, at most 1,000.
    pub differences: Vec<ParityRow>,
}

struct One {
    id: String,
    link: Option<String>,
    address: Option<String>,
    opted_out: bool,
}

fn contacts(state: &State, link: &str, flag: &str, inverse: bool) -> Vec<One> {
    let rows = state.contacts();
    let at = |name: &str| rows.object.position(name);
    let (Some(link), Some(email), Some(flag)) = (at(link), at("Email"), at(flag)) else {
        return Vec::new();
    };
    rows.slots()
        .filter_map(|slot| rows.saved(slot))
        .filter(|row| !row[IS_DELETED].is_true())
        .map(|row| One {
            id: row[ID].as_text().unwrap_or_default().to_owned(),
            link: row[link].as_text().map(str::to_ascii_lowercase),
            address: row[email].as_text().map(|text| text.trim().to_lowercase()),
            opted_out: row[flag].is_true() != inverse,
        })
        .collect()
}

/// Compares all live contacts.
pub(crate) fn compare(core: &Core, field: AscendField) -> Parity {
    let left = contacts(&core.salesforce.lock(), ASCEND_ID, OPT_OUT, false);
    let right = match field {
        AscendField::OptOut => contacts(&core.ascend.lock(), DONOR_ID, OPT_OUT, false),
        AscendField::Permission => contacts(&core.ascend.lock(), DONOR_ID, PERMISSION, true),
    };
    let mut by_link: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut by_address: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, one) in right.iter().enumerate() {
        if let Some(link) = &one.link {
            by_link.entry(link).or_default().push(place);
        }
        if let Some(address) = &one.address {
            by_address.entry(address).or_default().push(place);
        }
    }
    let linked: HashSet<&str> = left
        .iter()
        .filter_map(|one| one.link.as_deref())
        .filter(|link| by_link.contains_key(link))
        .collect();
    let mut parity = Parity {
        equal: 0,
        different: 0,
        unlinked: 0,
        differences: Vec::new(),
    };
    for one in &left {
        let by_id = one.link.as_deref().and_then(|link| by_link.get(link));
        let partners: Vec<&One> = match by_id {
            Some(places) => places.iter().map(|place| &right[*place]).collect(),
            None => one
                .address
                .as_deref()
                .and_then(|address| by_address.get(address))
                .into_iter()
                .flatten()
                .map(|place| &right[*place])
                .filter(|other| {
                    other
                        .link
                        .as_deref()
                        .is_none_or(|link| !linked.contains(link))
                })
                .collect(),
        };
        if partners.is_empty() {
            parity.unlinked += 1;
        }
        for other in partners {
            if one.opted_out == other.opted_out {
                parity.equal += 1;
                continue;
            }
            parity.different += 1;
            if parity.differences.len() < MAX_LISTED {
                parity.differences.push(ParityRow {
                    salesforce: one.id.clone(),
                    ascend: other.id.clone(),
                    salesforce_opted_out: one.opted_out,
                    ascend_opted_out: other.opted_out,
                });
            }
        }
    }
    parity
}
