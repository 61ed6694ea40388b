//! How an org is set up: the administrator's choices and the platform's numbers, each changeable at run time.
//!
//! Settings are lasting and lawful behaviour; what goes wrong is in [`crate::faults`].

use serde::{Deserialize, Serialize};

use super::schema::{OPT_OUT, PERMISSION};
use crate::System;

/// When a rotated refresh token stops working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldRefreshToken {
    /// As soon as the new one is issued.
    DiesAtOnce,
    /// When the new one is first used.
    DiesOnUseOfNew,
}

/// The set-up of one org.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Saving `HasOptedOutOfEmail` false to true clears the preference boxes in the same save.
    pub opt_out_clears_boxes: bool,
    /// Contact fields whose changes are written to the field history.
    pub tracked_fields: Vec<String>,
    /// An update that changes nothing still moves the stamps.
    pub equal_update_moves_stamps: bool,
    /// Seconds after its expiry during which a JWT assertion is still taken.
    pub assertion_late_secs: i64,
    /// Seconds ahead of now that the expiry of a JWT assertion may lie.
    pub assertion_ahead_secs: i64,
    /// The integration user is approved for the app.
    pub user_approved: bool,
    /// A refresh grant returns a new refresh token.
    pub rotate_refresh_token: bool,
    /// Fate of the rotated token.
    pub old_refresh_token: OldRefreshToken,
    /// Idle seconds after which a session ends.
    pub session_idle_secs: i64,
    /// Password for SOAP `login()`, security token included.
    pub password: String,
    /// Largest query page.
    pub page_rows: usize,
    /// Seconds that a query cursor lives.
    pub cursor_secs: i64,
    /// Seconds by which `latestDateCovered` stays behind.
    pub replication_lag_secs: i64,
    /// Further directives in `Sforce-Limit-Info`, put behind `api-usage`.
    pub limit_info_extra: Option<String>,
    /// Requests a day.
    pub daily_requests: u64,
    /// The integration user may read `/limits`.
    pub limits_readable: bool,
    /// `resultPages` of bulk query jobs is there.
    pub bulk_result_pages: bool,
    /// Status polls that a bulk job stays in progress.
    pub bulk_polls: u32,
    /// Rows in one part of a bulk result when the client names no size.
    pub bulk_part_rows: usize,
}

impl Settings {
    pub(crate) fn of(system: System) -> Settings {
        let mut tracked = vec![OPT_OUT.to_owned()];
        if system == System::Ascend {
            tracked.push(PERMISSION.to_owned());
        }
        Settings {
            opt_out_clears_boxes: system == System::Salesforce,
            tracked_fields: tracked,
            equal_update_moves_stamps: true,
            assertion_late_secs: 180,
            assertion_ahead_secs: 300,
            user_approved: true,
            rotate_refresh_token: false,
            old_refresh_token: OldRefreshToken::DiesAtOnce,
            session_idle_secs: 7_200,
            password: "sandbox-passwordSecurityToken".to_owned(),
            page_rows: 2_000,
            cursor_secs: 172_800,
            replication_lag_secs: 60,
            limit_info_extra: None,
            daily_requests: 100_000,
            limits_readable: true,
            bulk_result_pages: true,
            bulk_polls: 1,
            bulk_part_rows: 100_000,
        }
    }
}
