//! How an account behaves where no public page says how it does.
//!
//! The vendor publishes paths, verbs and limits of its API, but neither the names of parameters nor the shape of a record.
//! Each such open point is a setting here. The defaults are one consistent guess; the other values are the guesses that
//! are as good, so that a client can be shown to cope with all of them.

use serde::{Deserialize, Serialize};

/// Names of the query parameters of the consent and contact modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryNames {
    /// The address whose consents are asked for.
    pub key: String,
    /// The purpose, by its id.
    pub purpose: String,
    /// Earliest time of a record.
    pub since: String,
    /// Latest time of a record.
    pub until: String,
    /// Rows in a page.
    pub limit: String,
    /// Rows before the page.
    pub offset: String,
    /// The address of a contact.
    pub email: String,
    /// Earliest modification of a contact.
    pub modified_since: String,
    /// Latest modification of a contact.
    pub modified_until: String,
    /// Earliest creation of a contact.
    pub created_since: String,
    /// Latest creation of a contact.
    pub created_until: String,
    /// A saved filter of contacts, by its id.
    pub filter: String,
}

impl Default for QueryNames {
    fn default() -> QueryNames {
        let owned = str::to_owned;
        QueryNames {
            key: owned("key"),
            purpose: owned("purposeId"),
            since: owned("createdFrom"),
            until: owned("createdTo"),
            limit: owned("limit"),
            offset: owned("offset"),
            email: owned("email"),
            modified_since: owned("modifiedFrom"),
            modified_until: owned("modifiedTo"),
            created_since: owned("createdFrom"),
            created_until: owned("createdTo"),
            filter: owned("filterId"),
        }
    }
}

/// How the members of a record are called, in answers and in what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spelling {
    /// `{"key", "purposeId", "legalBasisId", "sourceId", "text", "createdAt"}`.
    Flat,
    /// `{"email", "purpose": {"id", "name"}, "legalBasis": {…}, "source": {…}, "comment", "created"}`.
    Nested,
    /// `{"email", "purpose", "legalBasis", "source", "description", "timestamp"}`, master data by name.
    Named,
}

/// What a list comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrapper {
    /// `[…]`.
    Bare,
    /// `{"items": […]}`.
    Items,
    /// `{"data": […], "paging": {"limit", "offset", "total"}}`.
    Data,
}

/// How a time is printed; always UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stamps {
    /// `2026-05-01T10:00:00Z`.
    Zulu,
    /// `2026-05-01T10:00:00+00:00`.
    Offset,
    /// `2026-05-01T10:00:00.000Z`.
    Millis,
}

/// Which records the filter looks through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterScope {
    /// The newest record of each address and purpose.
    Current,
    /// All that were ever written.
    All,
}

/// What becomes of a time that the client of a create supplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuppliedTime {
    /// It is the record's time; an older record than the newest is kept and changes nothing.
    Taken,
    /// The record gets the time of its arrival.
    Ignored,
    /// The record is refused with 400.
    Refused,
}

/// What becomes of a record whose legal basis is the current one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identical {
    /// It is written like any other.
    Appended,
    /// The current record is answered and nothing is written.
    Ignored,
    /// It is refused with 400.
    Refused,
}

/// The set-up of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Each module takes its own API key only; otherwise one key opens all.
    pub key_per_module: bool,
    /// The signals endpoint also takes the key as a bearer token, as the vendor's Zapier guide has it.
    pub bearer_on_signals: bool,
    /// The consent module also takes the key as a bearer token.
    pub bearer_on_consent: bool,

    /// Names of query parameters.
    pub query: QueryNames,
    /// A query parameter that the endpoint does not know is refused with 400; otherwise it is ignored.
    pub unknown_parameters_refused: bool,
    /// How records are spelled.
    pub spelling: Spelling,
    /// What lists come in.
    pub wrapper: Wrapper,
    /// How times are printed.
    pub stamps: Stamps,
    /// Ids are strings.
    pub ids_as_text: bool,
    /// Consent records have an id of their own.
    pub record_ids: bool,

    /// The filter looks at the times asked for; otherwise it ignores them.
    pub filter_honours_since: bool,
    /// The filter looks at the purpose asked for; otherwise it ignores it.
    pub filter_honours_purpose: bool,
    /// What the filter looks through.
    pub filter_scope: FilterScope,
    /// The filter answers the newest record first.
    pub filter_newest_first: bool,
    /// Most rows in a page of the filter, and as many when the client names no limit.
    pub filter_rows: usize,
    /// Most rows of a listing without a key, which is paged like the filter then; `None`: all rows at once.
    pub list_rows: Option<usize>,
    /// Most records in one create; more than one are sent and answered as an array.
    pub create_rows: usize,
    /// Fate of a supplied time.
    pub supplied_time: SuppliedTime,
    /// Fate of a repeated statement.
    pub identical: Identical,
    /// A new consent record moves the modification date of the contacts with its address.
    pub consent_moves_contact: bool,
    /// Only simple addresses are taken: ASCII, without any of ``!#$%*/?^`{|}~``.
    pub simple_addresses_only: bool,

    /// Most contacts in a page, and as many when the client names no limit.
    pub contact_rows: usize,
    /// Addresses that a bulk action gets done in a second; 0: all at once.
    pub bulk_rows_per_second: u32,

    /// A send-out needs a positive legal basis; older accounts send unless consent is withdrawn.
    pub positive_basis_required: bool,
    /// Domains to which nothing is sent.
    pub blocked_domains: Vec<String>,
    /// Domains whose addresses must have confirmed by double opt-in.
    pub double_opt_in_domains: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            key_per_module: false,
            bearer_on_signals: true,
            bearer_on_consent: false,
            query: QueryNames::default(),
            unknown_parameters_refused: false,
            spelling: Spelling::Flat,
            wrapper: Wrapper::Bare,
            stamps: Stamps::Zulu,
            ids_as_text: false,
            record_ids: false,
            filter_honours_since: true,
            filter_honours_purpose: true,
            filter_scope: FilterScope::Current,
            filter_newest_first: false,
            filter_rows: 1_000,
            list_rows: None,
            create_rows: 1,
            supplied_time: SuppliedTime::Taken,
            identical: Identical::Appended,
            consent_moves_contact: false,
            simple_addresses_only: true,
            contact_rows: 1_000,
            bulk_rows_per_second: 0,
            positive_basis_required: true,
            blocked_domains: Vec::new(),
            double_opt_in_domains: Vec::new(),
        }
    }
}
