//! How the tenant is set up, and how the product behaves where its documentation leaves room.
//!
//! Many of these are not choices of an administrator but questions that public material does not answer; each default
//! is the likeliest answer, and a test can try the others.

use serde::{Deserialize, Serialize};

/// State of an online tenant (developer portal: "Check tenant status").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenantStatus {
    /// In service.
    Running,
    /// Closed by the vendor; no API.
    Suspended,
    /// Being maintained, but in service.
    OnlineMaintenance,
    /// Being maintained and out of service, for minutes.
    OfflineMaintenance,
    /// Gone.
    Deleted,
}

impl TenantStatus {
    /// Whether the API answers.
    pub fn is_running(self) -> bool {
        matches!(
            self,
            TenantStatus::Running | TenantStatus::OnlineMaintenance
        )
    }
}

/// Which consent changes count as a change of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonBump {
    /// Those of E-marketing that switch between having and not having consent.
    OnFlip,
    /// All.
    Always,
    /// None.
    Never,
}

/// What `odata.nextLink` holds when there are more rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NextLink {
    /// Always null.
    Null,
    /// The member is missing.
    Absent,
    /// An address with `$skip`.
    Link,
}

/// The set-up of the tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Installed at the customer's: base path of an application instead of a tenant, Basic, no state API.
    pub onsite: bool,
    /// Name of the web application onsite, first segment of the path.
    pub onsite_app: String,
    /// Host that serves the API online; a request to another one is answered 421. Login and state answer on all.
    pub api_host: String,
    /// State of the online tenant.
    pub status: TenantStatus,
    /// Seconds for which a state answer is valid.
    pub status_valid_secs: i64,
    /// State answers name API address and version; old ones did not.
    pub status_names_api: bool,
    /// Idle seconds after which a ticket dies.
    pub ticket_secs: i64,
    /// Seconds that an access token lives.
    pub access_token_secs: i64,
    /// Seconds that the token of a system user's login is valid.
    pub login_token_secs: i64,
    /// Minutes by which the time in a signed system token may be off.
    pub login_skew_minutes: i64,
    /// HTTP status of a refused system user's login.
    pub login_refused_status: u16,
    /// The customer has approved the app.
    pub app_approved: bool,
    /// A user may log in with name and password onsite.
    pub basic: bool,
    /// A consent write that changes nothing moves `Updated` and notifies all the same.
    pub equal_write_moves_updated: bool,
    /// HTTP status for a person that does not exist.
    pub unknown_person_status: u16,
    /// HTTP status for a purpose, legal base or source that does not exist.
    pub unknown_key_status: u16,
    /// Keys are compared without regard to case.
    pub keys_ignore_case: bool,
    /// Keys bear the `#` of old servers.
    pub legacy_keys: bool,
    /// Removing a consent by purpose sets it to withdrawn and keeps the row.
    pub remove_withdraws: bool,
    /// Which consent changes count as a change of the person.
    pub person_bump: PersonBump,
    /// Saving a person with `NoMailing` withdraws the E-marketing consent.
    pub no_mailing_withdraws: bool,
    /// A new person gets a Sales and service consent (preference `GdprUseDefaultsForNew`).
    pub consent_for_new: bool,
    /// Mailings go only to those with consent (preference of the Privacy settings).
    pub strict_mailings: bool,
    /// Webhooks can be registered and are sent.
    pub webhooks: bool,
    /// Webhook targets must be HTTPS. Off: loopback has no certificates.
    pub webhook_https: bool,
    /// Milliseconds before the second and third attempt of a notification.
    pub webhook_retry_millis: [u64; 2],
    /// Seconds that a target may take.
    pub webhook_timeout_secs: u64,
    /// Notifications are lost.
    pub webhook_drop: bool,
    /// Notifications are sent twice.
    pub webhook_duplicate: bool,
    /// Notifications are held back until a later one has been sent.
    pub webhook_reorder: bool,
    /// Bulk updates notify nobody.
    pub bulk_update_silent: bool,
    /// Imports notify nobody.
    pub import_silent: bool,
    /// What `odata.nextLink` holds.
    pub next_link: NextLink,
    /// HTTP status for an operator that a column does not take.
    pub refused_operator_status: u16,
    /// The dynamic archive is there.
    pub dynamic_archive: bool,
    /// The dynamic archive serves `consentperson`.
    pub dynamic_consents: bool,
    /// Columns of type date take operators with a time of day.
    pub date_columns_take_times: bool,
    /// Minutes east of UTC of the zone in which times of a filter are read.
    pub filter_offset_minutes: i32,
    /// `consentPerson/updatedDate` shows the registration of a row that was never updated.
    pub updated_falls_back: bool,
    /// `MinValue` gets a zone when zones are asked for.
    pub min_value_zone: bool,
    /// Most rows in an answer of an archive, whatever the client asks.
    pub archive_rows: usize,
    /// Consents, addresses and opt-outs of soft-deleted persons show in the dynamic archive.
    pub deleted_rows_show: bool,
    /// A merge takes the newer consent of the two, not the destination's.
    pub merge_newer_wins: bool,
    /// Days after which a soft-deleted person is purged (preference `SoftDeleteRetention`).
    pub retention_days: i64,
    /// Persons can be patched.
    pub patch: bool,
    /// Where a saved entity names a legal base or source by number and by key, the number counts.
    pub entity_ids_win: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            onsite: false,
            onsite_app: "SuperOffice".to_owned(),
            api_host: "127.0.0.1".to_owned(),
            status: TenantStatus::Running,
            status_valid_secs: 3_600,
            status_names_api: true,
            ticket_secs: 6 * 3_600,
            access_token_secs: 3_600,
            login_token_secs: 60,
            login_skew_minutes: 10,
            login_refused_status: 200,
            app_approved: true,
            basic: true,
            equal_write_moves_updated: true,
            unknown_person_status: 404,
            unknown_key_status: 400,
            keys_ignore_case: false,
            legacy_keys: false,
            remove_withdraws: false,
            person_bump: PersonBump::OnFlip,
            no_mailing_withdraws: true,
            consent_for_new: true,
            strict_mailings: false,
            webhooks: true,
            webhook_https: false,
            webhook_retry_millis: [1_000, 4_000],
            webhook_timeout_secs: 30,
            webhook_drop: false,
            webhook_duplicate: false,
            webhook_reorder: false,
            bulk_update_silent: true,
            import_silent: true,
            next_link: NextLink::Null,
            refused_operator_status: 400,
            dynamic_archive: true,
            dynamic_consents: true,
            date_columns_take_times: true,
            filter_offset_minutes: 0,
            updated_falls_back: false,
            min_value_zone: true,
            archive_rows: 10_000,
            deleted_rows_show: false,
            merge_newer_wins: false,
            retention_days: 14,
            patch: true,
            entity_ids_win: true,
        }
    }
}

impl Settings {
    /// A present-day server at the customer's, as it comes: without webhooks.
    pub fn onsite() -> Settings {
        Settings {
            onsite: true,
            webhooks: false,
            ..Settings::default()
        }
    }

    /// A server at the customer's from the first years of consent: keys with `#`, no PATCH, no consents in the dynamic
    /// archive.
    pub fn old_onsite() -> Settings {
        Settings {
            legacy_keys: true,
            patch: false,
            dynamic_consents: false,
            ..Settings::onsite()
        }
    }
}
