//! Checked settings of a CU Ascend system on its `platform` transport (R46).

use crate::connector::salesforce::config::PlatformSettings;
use crate::consent::{Polarity, PurposeId};

/// How the org holds "no e-mail".
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each system, and it is never moved"
)]
pub enum Mode {
    /// A field of the contact.
    ContactFlag {
        /// API name of the field.
        field: String,
        /// What a set value means. There is no default: the sources can be read both ways.
        polarity: Polarity,
    },
    /// Rows of the service-indicator object: an active row of the code means withdrawn.
    ServiceIndicator(ServiceIndicator),
}

/// Names of the service-indicator object; the defaults are those seen in public sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceIndicator {
    /// `ucinn_ascendv2__Service_Indicator__c`
    pub object: String,
    /// Field with the contact's id.
    pub contact_field: String,
    /// Look-up field to the catalogue row.
    pub value_field: String,
    /// Catalogue object.
    pub value_object: String,
    /// Field of the catalogue row with the code.
    pub code_field: String,
    /// The code that an opt-out writes, e.g. `NE`.
    pub code: String,
    /// Codes that also mean withdrawn; read only, never cleared by an opt-in.
    pub also_blocking: Vec<String>,
    /// Field that says whether the row is active.
    pub active_field: String,
    /// Start date of the row.
    pub start_field: String,
    /// End date of the row.
    pub end_field: String,
    /// Comment of the row, if one is to be written.
    pub comment_field: Option<String>,
}

/// A CU Ascend org.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Login and limits.
    pub platform: PlatformSettings,
    /// The contact object, `Contact` by default.
    pub object: String,
    /// The constituent id that other systems know (R58), `ucinn_ascendv2__Donor_ID__c` by default.
    pub id_field: String,
    /// The address field, `Email` by default.
    pub address_field: String,
    /// The purpose of the opt-out.
    pub purpose: PurposeId,
    /// How the opt-out is held.
    pub mode: Mode,
    /// The org's time zone, for dates it writes.
    pub time_zone: chrono_tz::Tz,
}
