//! Checked settings of an eMarketeer system. `config` builds them; they cannot be wrong once built.
//!
//! The vendor publishes paths and verbs but no schema, so whatever had to be guessed is a setting:
//! names of query parameters, and for each part of an answer several places in which it may stand.

use super::wire::node::Pointer;
use crate::connector::http::Limits;
use crate::consent::{Basis, PurposeId};
use secrecy::{SecretSlice, SecretString};
use std::collections::BTreeSet;
use std::time::Duration;
use url::Url;

/// How a key is shown to the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Header `x-api-key` (API endpoints overview).
    #[default]
    ApiKey,
    /// Header `Authorization: Bearer` (as the vendor's Zapier guide has it).
    Bearer,
}

/// The keys, one per module.
#[derive(Debug, Clone)]
pub struct Auth {
    /// How they are shown.
    pub scheme: Scheme,
    /// Opens the consent module.
    pub consent: SecretString,
    /// Opens the contact module.
    pub contact: SecretString,
}

/// How the feed finds what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedMode {
    /// The first way that shows itself to work, in the order of the others.
    #[default]
    Auto,
    /// The consent filter, by time.
    Filter,
    /// Contacts by modification, and the consent of each.
    Contacts,
    /// Listings of everything.
    Full,
}

/// What a query is for, and the names of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentQuery {
    /// The address.
    pub key: String,
    /// The purpose, by its id.
    pub purpose: String,
    /// Earliest time of a record.
    pub since: String,
    /// Most rows of an answer.
    pub limit: String,
    /// Rows before the answer's first.
    pub offset: String,
}

/// Where the parts of a consent record stand, the likeliest place first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFields {
    /// Its own number.
    pub id: Vec<Pointer>,
    /// The address.
    pub key: Vec<Pointer>,
    /// The purpose, by id or name.
    pub purpose: Vec<Pointer>,
    /// The legal basis, by id or name.
    pub legal_basis: Vec<Pointer>,
    /// The source, by id or name.
    pub source: Vec<Pointer>,
    /// Proof or comment.
    pub comment: Vec<Pointer>,
    /// When it was made.
    pub changed_at: Vec<Pointer>,
}

/// How purposes, legal bases and sources are named in what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum References {
    /// By id.
    #[default]
    Id,
    /// By name.
    Name,
}

/// Where the parts of a new record stand in what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBody {
    /// The address.
    pub key: Pointer,
    /// The purpose.
    pub purpose: Pointer,
    /// The legal basis.
    pub legal_basis: Pointer,
    /// The source.
    pub source: Pointer,
    /// The comment.
    pub comment: Pointer,
    /// How master data is named.
    pub references: References,
}

/// Where a list stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListShape {
    /// The rows.
    pub rows: Vec<Pointer>,
    /// How many rows there are on all pages.
    pub total: Vec<Pointer>,
}

/// The consent module.
#[derive(Debug, Clone)]
pub struct ConsentApi {
    /// Newest records, of one address or of all.
    pub list: Url,
    /// Records by purpose and time.
    pub filter: Url,
    /// All records of one address; `None` to do without.
    pub history: Option<Url>,
    /// A new record.
    pub create: Url,
    /// What consent may be for.
    pub purposes: Url,
    /// What it may rest on.
    pub legal_bases: Url,
    /// Where it may come from.
    pub sources: Url,
    /// Names of parameters.
    pub query: ConsentQuery,
    /// What answers look like.
    pub lists: ListShape,
    /// What records look like.
    pub record: RecordFields,
    /// Id of an item of master data.
    pub item_id: Vec<Pointer>,
    /// Its name.
    pub item_name: Vec<Pointer>,
    /// What new records look like.
    pub body: CreateBody,
}

/// Names of parameters of the contact module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactQuery {
    /// The address.
    pub email: String,
    /// Earliest creation.
    pub created_since: String,
    /// Earliest modification.
    pub modified_since: String,
    /// Most rows of an answer.
    pub limit: String,
    /// Rows before the answer's first.
    pub offset: String,
}

/// Where the parts of a contact stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactFields {
    /// The address.
    pub email: Vec<Pointer>,
    /// When it was created.
    pub created: Vec<Pointer>,
    /// When it was last modified.
    pub modified: Vec<Pointer>,
}

/// The contact module.
#[derive(Debug, Clone)]
pub struct ContactApi {
    /// Contacts by address or by time.
    pub list: Url,
    /// Names of parameters.
    pub query: ContactQuery,
    /// What answers look like.
    pub lists: ListShape,
    /// What contacts look like.
    pub fields: ContactFields,
}

/// API 1.0, by which single contacts can be looked up instead.
#[derive(Debug, Clone)]
pub struct Legacy {
    /// Scheme, host and path before the id.
    pub base_url: Url,
    /// The only credential. It stands in the path of every call.
    pub api_id: SecretString,
}

/// A purpose and how the account may call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurposeNames {
    /// The purpose.
    pub purpose: PurposeId,
    /// Its name in the configuration, for messages.
    pub name: String,
    /// Names in the account, the likeliest first; compared without regard to case.
    pub candidates: Vec<String>,
}

/// How an account may call legal bases; compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasisNames {
    /// Positive ones.
    pub positive: Vec<(Basis, Vec<String>)>,
    /// The state of having withdrawn.
    pub withdrawn: Vec<String>,
    /// The absence of any basis, where the account has an item for it.
    pub none: Vec<String>,
}

/// Sources of consent records; compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceNames {
    /// What our own records are given: the first of these that the account has.
    pub own: Vec<String>,
    /// Acts of the persons themselves, each on their own: many within a minute are no load (R25).
    pub person: Vec<String>,
    /// The system's bulk actors, whose statements cannot grant (R25).
    pub bulk: BTreeSet<String>,
}

/// An eMarketeer account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds of its calls, with the configured system name.
    pub limits: Limits,
    /// The keys of its modules.
    pub auth: Auth,
    /// The key of the keyed hashes that stand for addresses in contact ids (R55).
    pub id_key: SecretSlice<u8>,
    /// The consent module.
    pub consent: ConsentApi,
    /// The contact module.
    pub contact: ContactApi,
    /// API 1.0, if single contacts are looked up there.
    pub legacy: Option<Legacy>,
    /// The purposes that it carries.
    pub purposes: Vec<PurposeNames>,
    /// Legal bases.
    pub bases: BasisNames,
    /// The legal bases of grants that were made where none is kept; the account has to hold them
    /// (R21).
    pub granted_bases: BTreeSet<Basis>,
    /// Sources.
    pub sources: SourceNames,
    /// Characters that no address in the account has.
    pub refused_characters: String,
    /// How the feed finds what changed.
    pub feed: FeedMode,
    /// Rows asked for per page.
    pub page_rows: usize,
    /// Every poll reads again what changed this long before the last one (R31, late commits).
    pub overlap: Duration,
    /// Changes younger than this are read again by the next poll.
    pub lag: Duration,
    /// Time between two listings of everything, as a safety net.
    pub sweep_interval: Duration,
    /// The same while a listing is the only way to see changes.
    pub full_interval: Duration,
}
