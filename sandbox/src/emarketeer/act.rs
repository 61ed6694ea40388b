//! Acts as data, for the control API.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::contacts::Changes;
use super::{Account, ImportRow, Kind, NewContact, master};
use crate::ActError;

/// One act, as the control API takes it. Each is the method of [`Account`] with the same name.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each act is described at the method with its name"
)]
pub enum Act {
    CreateContact(NewContact),
    EditContact {
        id: u64,
        fields: Changes,
    },
    DeleteContact {
        id: u64,
    },
    ChangeAddress {
        external_id: String,
        address: String,
    },
    SubmitForm {
        address: String,
        purposes: Vec<String>,
        text: Option<String>,
    },
    SetBasis {
        address: String,
        purpose: String,
        basis: String,
        source: Option<String>,
        text: Option<String>,
        at: Option<DateTime<Utc>>,
    },
    SlideOff {
        id: u64,
    },
    SlideOn {
        id: u64,
        basis: String,
    },
    Unsubscribe {
        address: String,
    },
    OptOutOfAll {
        address: String,
    },
    Complain {
        address: String,
    },
    OptOutOf {
        address: String,
        subscription: String,
    },
    OptInTo {
        address: String,
        subscription: String,
    },
    BulkUpdate {
        addresses: Vec<String>,
        store: Option<String>,
        marketing: Option<String>,
    },
    BulkUnsubscribe {
        addresses: Vec<String>,
    },
    Import {
        rows: Vec<ImportRow>,
        #[serde(default)]
        by_external_id: bool,
        store: Option<String>,
        marketing: Option<String>,
    },
    HardBounce {
        address: String,
    },
    FallSilent {
        address: String,
    },
    Confirm {
        address: String,
    },
    AddMasterData {
        kind: Kind,
        name: String,
    },
    RenameMasterData {
        kind: Kind,
        name: String,
        new_name: String,
    },
    RemoveMasterData {
        kind: Kind,
        name: String,
    },
    AddCustomField {
        name: String,
        label: String,
    },
    AddSubscription {
        name: String,
    },
    AddCampaign {
        name: String,
        folder: Option<String>,
    },
    SaveFilter {
        addresses: Option<Vec<String>>,
    },
    AddDuplicate {
        address: String,
        created: Option<DateTime<Utc>>,
    },
}

impl Account {
    /// Carries out an act; the answer is what the method of the same name returns, as JSON.
    pub fn act(&self, act: Act) -> Result<Value, ActError> {
        let id = |id: u64| json!({"id": id});
        Ok(match act {
            Act::CreateContact(contact) => id(self.create_contact(&contact)?),
            Act::AddDuplicate { address, created } => id(self.add_duplicate(&address, created)?),
            Act::EditContact { id, fields } => {
                self.edit_contact(id, &fields)?;
                json!({"contact": self.contact(id)})
            }
            Act::DeleteContact { id } => {
                self.delete_contact(id)?;
                json!({})
            }
            Act::ChangeAddress {
                external_id,
                address,
            } => id(self.change_address(&external_id, &address)?),
            Act::SubmitForm {
                address,
                purposes,
                text,
            } => {
                let purposes: Vec<&str> = purposes.iter().map(String::as_str).collect();
                self.submit_form(&address, &purposes, text.as_deref())?;
                json!(self.address(&address))
            }
            Act::SetBasis {
                address,
                purpose,
                basis,
                source,
                text,
                at,
            } => {
                let source = source.as_deref().unwrap_or(master::USER);
                self.set_basis(&address, &purpose, &basis, source, text.as_deref(), at)?;
                json!(self.address(&address))
            }
            Act::SlideOff { id } => {
                self.slide_off(id)?;
                json!({"contact": self.contact(id)})
            }
            Act::SlideOn { id, basis } => {
                self.slide_on(id, &basis)?;
                json!({"contact": self.contact(id)})
            }
            Act::Unsubscribe { address } => self.about(&address, Account::unsubscribe)?,
            Act::OptOutOfAll { address } => self.about(&address, Account::opt_out_of_all)?,
            Act::Complain { address } => self.about(&address, Account::complain)?,
            Act::HardBounce { address } => self.about(&address, Account::hard_bounce)?,
            Act::FallSilent { address } => self.about(&address, Account::fall_silent)?,
            Act::Confirm { address } => self.about(&address, Account::confirm)?,
            Act::OptOutOf {
                address,
                subscription,
            } => {
                self.opt_out_of(&address, &subscription)?;
                json!(self.address(&address))
            }
            Act::OptInTo {
                address,
                subscription,
            } => {
                self.opt_in_to(&address, &subscription)?;
                json!(self.address(&address))
            }
            Act::BulkUpdate {
                addresses,
                store,
                marketing,
            } => id(self.bulk_update(&addresses, store.as_deref(), marketing.as_deref())?),
            Act::BulkUnsubscribe { addresses } => id(self.bulk_unsubscribe(&addresses)?),
            Act::Import {
                rows,
                by_external_id,
                store,
                marketing,
            } => {
                let bases = (store.as_deref(), marketing.as_deref());
                json!(self.import(&rows, by_external_id, bases.0, bases.1)?)
            }
            Act::AddMasterData { kind, name } => json!({"id": self.add_master_data(kind, &name)?}),
            Act::RenameMasterData {
                kind,
                name,
                new_name,
            } => {
                self.rename_master_data(kind, &name, &new_name)?;
                json!({"items": self.master_data(kind)})
            }
            Act::RemoveMasterData { kind, name } => {
                self.remove_master_data(kind, &name)?;
                json!({"items": self.master_data(kind)})
            }
            Act::AddCustomField { name, label } => {
                self.add_custom_field(&name, &label)?;
                json!({})
            }
            Act::AddSubscription { name } => {
                self.add_subscription(&name)?;
                json!({})
            }
            Act::AddCampaign { name, folder } => id(self.add_campaign(&name, folder.as_deref())?),
            Act::SaveFilter { addresses } => id(self.save_filter(addresses.as_deref())?),
        })
    }

    fn about(
        &self,
        address: &str,
        act: impl Fn(&Account, &str) -> Result<(), ActError>,
    ) -> Result<Value, ActError> {
        act(self, address)?;
        Ok(json!(self.address(address)))
    }
}
