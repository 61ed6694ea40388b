//! What administrators of an account do to it.

use super::contacts::CUSTOM;
use super::master::{Item, Kind};
use super::state::{Campaign, MAX_NAMED};
use super::{Account, key_of, no_item};
use crate::ActError;

impl Account {
    /// The items of one kind of master data, removed ones included.
    pub fn master_data(&self, kind: Kind) -> Vec<Item> {
        self.lock().master.all(kind).to_vec()
    }

    /// A new item of master data; its id.
    pub fn add_master_data(&self, kind: Kind, name: &str) -> Result<i64, ActError> {
        let id = self.lock().master.add(kind, name);
        id.ok_or(ActError::Full("too many items of master data"))
    }

    /// An item of master data gets another name and keeps its id.
    pub fn rename_master_data(
        &self,
        kind: Kind,
        name: &str,
        new_name: &str,
    ) -> Result<(), ActError> {
        let mut state = self.lock();
        if state
            .master
            .change(kind, name, |item| new_name.clone_into(&mut item.name))
        {
            Ok(())
        } else {
            Err(no_item(kind, name))
        }
    }

    /// An item of master data is no longer offered. Records that name it keep it.
    pub fn remove_master_data(&self, kind: Kind, name: &str) -> Result<(), ActError> {
        if self
            .lock()
            .master
            .change(kind, name, |item| item.removed = true)
        {
            Ok(())
        } else {
            Err(no_item(kind, name))
        }
    }

    /// A custom field of contacts, whose name begins with `c__`.
    pub fn add_custom_field(&self, name: &str, label: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        if !name.starts_with(CUSTOM) {
            return Err(ActError::Invalid(format!(
                "names of custom fields begin with {CUSTOM}"
            )));
        }
        if state.custom_fields.len() >= MAX_NAMED {
            return Err(ActError::Full("too many custom fields"));
        }
        state
            .custom_fields
            .insert(name.to_owned(), label.to_owned());
        Ok(())
    }

    /// A new subscription, to which every contact is opted in.
    pub fn add_subscription(&self, name: &str) -> Result<(), ActError> {
        let mut state = self.lock();
        if state.subscriptions.len() >= MAX_NAMED {
            return Err(ActError::Full("too many subscriptions"));
        }
        if !state.subscriptions.iter().any(|known| known == name) {
            state.subscriptions.push(name.to_owned());
        }
        Ok(())
    }

    /// A new campaign; its number.
    pub fn add_campaign(&self, name: &str, folder: Option<&str>) -> Result<u64, ActError> {
        let mut state = self.lock();
        if state.campaigns.len() >= MAX_NAMED {
            return Err(ActError::Full("too many campaigns"));
        }
        let id = state.number();
        let campaign = Campaign {
            id,
            name: name.to_owned(),
            folder: folder.map(str::to_owned),
            created: state.stamp(),
        };
        state.campaigns.push(campaign);
        Ok(id)
    }

    /// A saved filter that finds the contacts with these addresses, or every contact; its number.
    pub fn save_filter(&self, addresses: Option<&[String]>) -> Result<u64, ActError> {
        let mut state = self.lock();
        if state.filters.len() >= MAX_NAMED {
            return Err(ActError::Full("too many saved filters"));
        }
        let id = state.number();
        let found = addresses.map(|addresses| addresses.iter().map(|one| key_of(one)).collect());
        state.filters.insert(id, found);
        Ok(id)
    }
}
