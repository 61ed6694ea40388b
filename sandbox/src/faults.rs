//! Faults: what can be made to go wrong, by name, on one simulated system.
//!
//! A [`Rule`] is a [`Fault`] with limits on when it strikes: how many times, after how many matching calls, for which
//! kinds of call. A rule without `times` strikes until it is cleared. Rules without `calls` strike every data call;
//! the token endpoint and the version list are only struck when they are named, except by the faults that are about
//! tokens.
//!
//! Some faults are conditions and not events: clock skew, hidden and read-only fields, history off, raw records, and the
//! ways of the Ascend package. They hold until they are cleared, whatever the limits of their rule say.

use serde::{Deserialize, Serialize};

/// Most rules that one org holds at a time.
pub const MAX_RULES: usize = 100;

/// What a request is about; the unit of call counting and of fault scoping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// A grant at the token endpoint.
    Token,
    /// Token revocation.
    Revoke,
    /// Token introspection.
    Introspect,
    /// SOAP `login()`.
    SoapLogin,
    /// The list of API versions.
    Versions,
    /// The resources of one version.
    Resources,
    /// The list of objects.
    Objects,
    /// Object description.
    Describe,
    /// First page of a query.
    Query,
    /// First page of a query that includes deleted rows.
    QueryAll,
    /// A further page of a query.
    QueryMore,
    /// A single record read.
    RowRead,
    /// A single record created, updated, upserted or deleted.
    RowWrite,
    /// Ids updated in a window.
    Updated,
    /// Ids deleted in a window.
    Deleted,
    /// Several records read by id.
    CollectionsRead,
    /// Several records written.
    CollectionsWrite,
    /// Dependent sub-requests.
    Composite,
    /// Independent sub-requests.
    Batch,
    /// Org limits.
    Limits,
    /// eMarketeer: purposes, legal bases or sources of consent.
    MasterData,
    /// eMarketeer: current consents of one address, or of all.
    ConsentList,
    /// eMarketeer: consents by purpose and time.
    ConsentFilter,
    /// eMarketeer: all consent records of one address.
    ConsentHistory,
    /// eMarketeer: a new consent record.
    ConsentCreate,
    /// eMarketeer: contacts read.
    ContactFind,
    /// eMarketeer: contacts created or updated.
    ContactSave,
    /// eMarketeer: contacts deleted.
    ContactDelete,
    /// eMarketeer: contact lists.
    ContactLists,
    /// eMarketeer: subscriptions and campaigns.
    Subscriptions,
    /// eMarketeer: a signal.
    Signals,
    /// eMarketeer: a read of API 1.0.
    LegacyRead,
    /// eMarketeer: a write of API 1.0.
    LegacyWrite,
    /// eMarketeer: what only the simulator has, and no client knows.
    Simulation,
    /// Bulk query jobs.
    BulkQuery,
    /// Bulk ingest jobs.
    BulkIngest,
    /// SuperOffice: the state of a tenant.
    TenantState,
    /// SuperOffice: a system user's login.
    SystemUserLogin,
    /// SuperOffice: metadata and keys of the login host.
    LoginMetadata,
    /// SuperOffice: who one is, the version, the preferences.
    Principal,
    /// SuperOffice: list items.
    Lists,
    /// SuperOffice: a person's consents read.
    ConsentRead,
    /// SuperOffice: a person's consent set or removed.
    ConsentWrite,
    /// SuperOffice: persons read one by one.
    PersonRead,
    /// SuperOffice: persons saved, deleted, merged.
    PersonWrite,
    /// SuperOffice: archive queries.
    Archive,
    /// SuperOffice: agents.
    Agent,
    /// SuperOffice: registration of webhooks.
    Webhook,
    /// Marketing Cloud: a SOAP Retrieve.
    SoapRetrieve,
    /// Marketing Cloud: a SOAP Update.
    SoapUpdate,
    /// Marketing Cloud: a SOAP Execute.
    SoapExecute,
    /// Anything else.
    Other,
}

impl CallKind {
    /// Calls that only a rule naming them may strike.
    fn needs_naming(self) -> bool {
        matches!(
            self,
            CallKind::Token
                | CallKind::Revoke
                | CallKind::Introspect
                | CallKind::SoapLogin
                | CallKind::Simulation
                | CallKind::Versions
                | CallKind::TenantState
                | CallKind::SystemUserLogin
                | CallKind::LoginMetadata
        )
    }
}

/// Something that can go wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Fault {
    /// Saves get the stamp of now and become visible `seconds` later.
    LateCommit {
        /// Delay between stamp and visibility.
        seconds: u32,
    },
    /// The org's clock is off by `seconds`.
    ClockSkew {
        /// Positive: ahead.
        seconds: i64,
    },
    /// Query pages hold at most `rows` rows whatever the client asks.
    ShortPages {
        /// Rows in a page.
        rows: usize,
    },
    /// Every cursor has expired.
    CursorExpiry,
    /// `nextRecordsUrl` of a page points at the same page again.
    LoopingPages,
    /// `nextRecordsUrl` is an absolute link to another host.
    ForeignNextLink {
        /// Scheme and host put before the path.
        url: String,
    },
    /// Every `every`-th written row cannot be locked.
    RowLock {
        /// 1 means each row.
        every: u32,
    },
    /// A validation rule refuses rows.
    ValidationFailure {
        /// Rows concerned; absent means all.
        #[serde(default)]
        ids: Option<Vec<String>>,
        /// The administrator's text.
        #[serde(default)]
        message: Option<String>,
    },
    /// A duplicate rule stops saves.
    DuplicateRule {
        /// The rule only alerts, so `allowSave=true` in the duplicate rule header gets past it.
        #[serde(default)]
        alert_only: bool,
    },
    /// Field-level security hides a field.
    FieldHidden {
        /// Object; Contact when absent.
        #[serde(default = "contact")]
        object: String,
        /// Field API name.
        field: String,
    },
    /// A field can be read but not written.
    FieldReadOnly {
        /// Object; Contact when absent.
        #[serde(default = "contact")]
        object: String,
        /// Field API name.
        field: String,
    },
    /// The daily request quota is used up.
    QuotaUsedUp,
    /// Too many long requests at once.
    ConcurrencyRefusal,
    /// 503 with the platform's JSON.
    UnavailableJson,
    /// 503 with an HTML page from the edge.
    UnavailableHtml,
    /// 200 with an HTML page from a proxy.
    HtmlSuccess,
    /// eMarketeer: an error of the server or of the gateway before it, each in its own words.
    ServerError {
        /// 500, 502 or 504.
        status: u16,
        /// The request is processed all the same, and its answer lost.
        #[serde(default)]
        processed: bool,
    },
    /// eMarketeer: lists have each of their rows twice.
    RepeatedRecords,
    /// eMarketeer: the gateway repeats a create, so that it is processed twice.
    ProcessedTwice,
    /// 429, which gateways send.
    TooManyRequests {
        /// Value of `Retry-After`, sent as it is.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 401 `INVALID_SESSION_ID` although the token is good; each system says so in its own words.
    SessionInvalid,
    /// All tokens die now; the rule itself is not kept.
    RevokeTokens,
    /// The token endpoint answers 503.
    TokenEndpointDown,
    /// The token endpoint refuses with this error.
    TokenRefused {
        /// Value of `error`.
        error: String,
        /// Value of `error_description`.
        #[serde(default)]
        description: String,
    },
    /// The connection closes before the request is processed.
    CutBefore,
    /// The request is processed and the connection closes without an answer.
    CutAfter,
    /// The request is accepted and no answer comes for `seconds`.
    Stall {
        /// How long before the connection closes.
        #[serde(default = "long_stall")]
        seconds: u64,
    },
    /// The body comes in small pieces.
    SlowDrip {
        /// Bytes a piece.
        bytes: usize,
        /// Pause between pieces.
        pause_millis: u64,
    },
    /// The body ends before its declared length.
    TruncatedBody,
    /// A small compressed body that inflates to `megabytes`.
    GzipBomb {
        /// Inflated size.
        megabytes: usize,
    },
    /// A redirect to `url`.
    Redirect {
        /// Value of `Location`.
        url: String,
    },
    /// Query rows and reads of this record are replaced by this very text (duplicate keys, wrong types, broken JSON).
    RawRecord {
        /// The record: 15 or 18 characters; in SuperOffice table and number, such as `consentperson:7`; in eMarketeer
        /// the address of a consent, the number of a contact.
        id: String,
        /// The text put in place of its JSON object.
        json: String,
    },
    /// No field history is written.
    HistoryOff,
    /// Updated and deleted windows are refused with this code (`INVALID_REPLICATION_DATE`, `EXCEEDED_ID_LIMIT`).
    ReplicationRefusal {
        /// Error code of the answer.
        code: String,
    },
    /// Bulk jobs end as `Failed`.
    BulkFailed {
        /// The job's `errorMessage`.
        #[serde(default)]
        message: Option<String>,
    },
    /// Bulk jobs stay `InProgress`.
    BulkStuck,
    /// Tokens name another instance.
    OtherInstance {
        /// The `instance_url` returned.
        url: String,
    },
    /// Ascend package: a service indicator with an unknown value is accepted and nothing happens.
    SilentNoOp,
    /// Ascend package: `Is_Active__c` of service indicators cannot be written.
    ReadOnlyIsActive,
    /// 503 with an empty body.
    Unavailable {
        /// Value of `Retry-After`, sent as it is.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The first half of the JSON, as if it were all.
    HalfJson,
    /// SuperOffice: 200 with `null` in place of the answer.
    NullAnswer,
    /// SuperOffice: 421, as if the tenant had moved.
    WrongHost,
    /// Marketing Cloud: the token is taken for none (`Login failed`). An expired one is [`Fault::SessionInvalid`].
    LoginFailed,
    /// Marketing Cloud: the API user lacks a permission (code 11).
    NotPermitted,
    /// Marketing Cloud: 500 with an outage of the server (`soap:Server`, code 2).
    SystemException {
        /// The request is processed all the same, and its answer lost.
        #[serde(default)]
        processed: bool,
    },
    /// Marketing Cloud: a request is answered with an error in `OverallStatus` and nothing else.
    OverallError {
        /// What follows `Error: `.
        message: String,
    },
    /// Marketing Cloud: every `every`-th object of an Update is refused, so that the whole has errors.
    UpdateRefused {
        /// 1 means each object.
        #[serde(default = "each")]
        every: u32,
        /// `ErrorCode`, such as 12001 for a subscriber that is not found.
        code: u32,
        /// `StatusMessage`; absent: the name that the vendor's table has.
        #[serde(default)]
        message: Option<String>,
    },
}

fn contact() -> String {
    "Contact".to_owned()
}

fn long_stall() -> u64 {
    3_600
}

fn each() -> u32 {
    1
}

impl Fault {
    /// The name under which the fault is set and cleared.
    pub fn name(&self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|value| {
                value
                    .get("name")
                    .and_then(|name| name.as_str().map(str::to_owned))
            })
            .unwrap_or_default()
    }
}

/// A fault and when it strikes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// Strikes left; `None`: until cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Matching calls that pass before the first strike; for faults of single rows, rows.
    #[serde(default)]
    pub after: u32,
    /// Kinds of call concerned; empty: every data call.
    #[serde(default)]
    pub calls: Vec<CallKind>,
}

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Rule {
        Rule {
            fault,
            times: None,
            after: 0,
            calls: Vec::new(),
        }
    }
}

impl Rule {
    /// Strikes `times` times and is gone.
    #[must_use]
    pub fn times(mut self, times: u32) -> Rule {
        self.times = Some(times);
        self
    }

    /// Lets `after` matching calls pass first.
    #[must_use]
    pub fn after(mut self, after: u32) -> Rule {
        self.after = after;
        self
    }

    /// Strikes only these kinds of call.
    #[must_use]
    pub fn calls(mut self, calls: &[CallKind]) -> Rule {
        self.calls = calls.to_vec();
        self
    }

    fn concerns(&self, kind: CallKind) -> bool {
        if self.calls.is_empty() {
            !kind.needs_naming()
        } else {
            self.calls.contains(&kind)
        }
    }
}

/// The rules set on one org.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
    rows_seen: u32,
}

impl Faults {
    /// Adds a rule; `false` when [`MAX_RULES`] are set already.
    pub(crate) fn add(&mut self, rule: Rule) -> bool {
        let room = self.rules.len() < MAX_RULES;
        if room {
            self.rules.push(rule);
        }
        room
    }

    pub(crate) fn clear(&mut self, name: Option<&str>) -> usize {
        let before = self.rules.len();
        self.rules
            .retain(|rule| name.is_some_and(|name| rule.fault.name() != name));
        before - self.rules.len()
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first fault that `wanted` picks for this call, counted as one strike.
    pub(crate) fn strike<T>(
        &mut self,
        kind: CallKind,
        wanted: impl Fn(&Fault) -> Option<T>,
    ) -> Option<T> {
        self.pick(|rule| rule.concerns(kind), wanted)
    }

    /// As [`Faults::strike`], for faults that by their nature concern only this kind of call and need not name it.
    pub(crate) fn strike_own<T>(
        &mut self,
        kind: CallKind,
        wanted: impl Fn(&Fault) -> Option<T>,
    ) -> Option<T> {
        self.pick(
            |rule| rule.calls.is_empty() || rule.calls.contains(&kind),
            wanted,
        )
    }

    fn pick<T>(
        &mut self,
        concerned: impl Fn(&Rule) -> bool,
        wanted: impl Fn(&Fault) -> Option<T>,
    ) -> Option<T> {
        let mut hit = None;
        for (place, rule) in self.rules.iter_mut().enumerate() {
            if !concerned(rule) {
                continue;
            }
            let Some(found) = wanted(&rule.fault) else {
                continue;
            };
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            let spent = match &mut rule.times {
                None => false,
                Some(times) => {
                    *times = times.saturating_sub(1);
                    *times == 0
                }
            };
            hit = Some((place, spent, found));
            break;
        }
        let (place, spent, found) = hit?;
        if spent {
            self.rules.remove(place);
        }
        Some(found)
    }

    /// A lasting condition, looked at without counting; limits on times do not apply to it.
    pub(crate) fn lasting<T>(&self, wanted: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.rules.iter().find_map(|rule| wanted(&rule.fault))
    }

    /// Number of the row about to be written, counted over all calls.
    pub(crate) fn next_row(&mut self) -> u32 {
        self.rows_seen = self.rows_seen.wrapping_add(1);
        self.rows_seen
    }

    /// Whether the row about to be written cannot be locked.
    pub(crate) fn row_locked(&mut self, kind: CallKind) -> bool {
        let set = self
            .rules
            .iter()
            .any(|rule| matches!(rule.fault, Fault::RowLock { .. }) && rule.concerns(kind));
        if !set {
            return false;
        }
        let seen = self.next_row();
        self.strike(kind, |fault| match fault {
            Fault::RowLock { every } => seen.is_multiple_of((*every).max(1)).then_some(()),
            _ => None,
        })
        .is_some()
    }

    /// Texts that replace records, by 18-character id.
    pub(crate) fn raw_record(&self, id: &str) -> Option<&str> {
        self.rules.iter().find_map(|rule| match &rule.fault {
            Fault::RawRecord { id: raw, json }
                if crate::ids::normalise(raw).as_deref() == Some(id) =>
            {
                Some(json.as_str())
            }
            _ => None,
        })
    }

    /// All texts that replace records, with their 18-character ids.
    pub(crate) fn raw_records(&self) -> Vec<(String, String)> {
        let texts = self.rules.iter().filter_map(|rule| match &rule.fault {
            Fault::RawRecord { id, json } => Some((crate::ids::normalise(id)?, json.clone())),
            _ => None,
        });
        texts.collect()
    }

    /// The text that replaces what bears this very name.
    pub(crate) fn raw_named(&self, name: &str) -> Option<&str> {
        self.rules.iter().find_map(|rule| match &rule.fault {
            Fault::RawRecord { id, json } if id.eq_ignore_ascii_case(name) => Some(json.as_str()),
            _ => None,
        })
    }

    /// All texts that replace records, with the names they were given.
    pub(crate) fn raw_texts(&self) -> Vec<(String, String)> {
        let texts = self.rules.iter().filter_map(|rule| match &rule.fault {
            Fault::RawRecord { id, json } => Some((id.clone(), json.clone())),
            _ => None,
        });
        texts.collect()
    }

    pub(crate) fn has_raw_records(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule.fault, Fault::RawRecord { .. }))
    }

    /// Whether field-level security hides a field.
    pub(crate) fn hides(&self, object: &str, field: &str) -> bool {
        self.rules.iter().any(|rule| match &rule.fault {
            Fault::FieldHidden {
                object: of,
                field: name,
            } => of.eq_ignore_ascii_case(object) && name.eq_ignore_ascii_case(field),
            _ => false,
        })
    }

    /// Whether a field that is normally writable is read-only now.
    pub(crate) fn read_only(&self, object: &str, field: &str) -> bool {
        self.rules.iter().any(|rule| match &rule.fault {
            Fault::FieldReadOnly {
                object: of,
                field: name,
            } => of.eq_ignore_ascii_case(object) && name.eq_ignore_ascii_case(field),
            Fault::ReadOnlyIsActive => {
                object == "ucinn_ascendv2__Service_Indicator__c"
                    && field == "ucinn_ascendv2__Is_Active__c"
            }
            _ => false,
        })
    }
}
