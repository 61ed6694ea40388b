//! How an enterprise account behaves where the vendor's pages leave it open, and its numbers.
//!
//! Each point that a client might have to guess is a setting. The defaults are one consistent guess; the other values are
//! as good, so that a client can be shown to cope with all of them.

use serde::{Deserialize, Serialize};

use super::Mid;
use super::units::ENTERPRISE;

/// Seconds that tokens were seen to last; the pages say twenty minutes.
const TOKEN_SECS: i64 = 1_079;
/// Times are US Central Standard without daylight saving.
const UTC_OFFSET_SECS: i32 = -6 * 3_600;
/// Rows in a page of a Retrieve.
const PAGE_ROWS: usize = 2_500;

/// The set-up of an enterprise account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seconds that a token lasts.
    pub token_secs: i64,
    /// Where the package was created: the unit of a token asked for without `account_id`.
    pub package_mid: Mid,
    /// Scopes that the package has.
    pub scopes: Vec<String>,

    /// Most rows in a page of a Retrieve.
    pub page_rows: usize,
    /// Seconds that the rest of a Retrieve is kept for `ContinueRequest`.
    pub cursor_secs: i64,
    /// Most values of an `IN`; `None`: as many as fit in a request.
    pub in_values: Option<usize>,
    /// Elements that stand in another order than in the WSDL are refused; otherwise they are read.
    pub strict_order: bool,
    /// Properties that cannot be retrieved although the WSDL has them, such as `Subscriber.UnsubscribedDate`.
    pub hidden_properties: Vec<String>,
    /// `QueryAllAccounts` answers a row for the enterprise, besides those of its units.
    pub query_all_includes_enterprise: bool,
    /// `ClientIDs` and `Client/ID` may name another unit only with a token of the enterprise.
    pub client_ids_need_parent: bool,
    /// Seconds east of UTC in which times are told and read.
    pub utc_offset_secs: i32,
    /// Times are told with their offset; otherwise bare.
    pub times_with_zone: bool,

    /// A unit shows Unsubscribed as long as the enterprise is unsubscribed and the unit follows it; otherwise each shows
    /// its own.
    pub enterprise_shows_in_units: bool,
    /// Unsubscribing at the enterprise also unsubscribes in every unit that follows it.
    pub enterprise_unsubscribe_reaches_units: bool,
    /// An Update in a unit that does not have the subscriber yet puts it there; otherwise it is not found.
    pub update_adds_to_unit: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let scopes = [
            "email_read",
            "list_and_subscribers_read",
            "list_and_subscribers_write",
            "accounts_read",
            "data_extensions_read",
            "automations_execute",
            "automations_read",
        ];
        Settings {
            token_secs: TOKEN_SECS,
            package_mid: ENTERPRISE,
            scopes: scopes.map(str::to_owned).into(),
            page_rows: PAGE_ROWS,
            cursor_secs: 3_600,
            in_values: None,
            strict_order: false,
            hidden_properties: Vec::new(),
            query_all_includes_enterprise: true,
            client_ids_need_parent: true,
            utc_offset_secs: UTC_OFFSET_SECS,
            times_with_zone: false,
            enterprise_shows_in_units: false,
            enterprise_unsubscribe_reaches_units: true,
            update_adds_to_unit: true,
        }
    }
}
