//! Webhooks, and what is to be sent to them.
//!
//! A notification names a person and columns, never values of consents; who gets one has to read. Sending is in
//! [`super::delivery`], which takes what waits in the outbox here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::lists::Kind;
use super::state::State;

/// Most notifications that wait; the oldest are lost first.
pub(crate) const MAX_WAITING: usize = 10_000;
/// Failed attempts in a row after which a webhook is switched off.
const MAX_FAILURES: i64 = 9;

/// Whether a webhook is sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookStatus {
    /// Not said.
    Unknown,
    /// It is.
    #[default]
    Active,
    /// Somebody stopped it.
    Stopped,
    /// It failed too often.
    TooManyErrors,
}

/// A registered webhook.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hook {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) events: Vec<String>,
    pub(crate) target: String,
    pub(crate) secret: String,
    pub(crate) status: WebhookStatus,
    pub(crate) headers: Map<String, Value>,
    pub(super) properties: Value,
    pub(super) registered: Option<DateTime<Utc>>,
    pub(super) registered_by: i64,
    pub(super) updated: Option<DateTime<Utc>>,
    pub(super) updated_by: i64,
    pub(crate) total_calls: i64,
    pub(crate) total_errors: i64,
    pub(crate) consecutive_errors: i64,
    pub(crate) last_error: String,
}

/// A notification on its way to one webhook.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) hook: i64,
    pub(crate) event: String,
    pub(crate) event_id: String,
    pub(crate) body: String,
}

/// The webhooks of the tenant.
#[derive(Debug, Default)]
pub(crate) struct Webhooks {
    pub(super) hooks: BTreeMap<i64, Hook>,
    pub(super) last: i64,
    outbox: VecDeque<Parcel>,
    /// The one that is held back while notifications change places.
    held: Option<Parcel>,
    /// Rung when the outbox fills.
    pub(crate) bell: Arc<Notify>,
    /// How the test of a target that is about to be saved went.
    pub(crate) tested: Option<Result<(), String>>,
}

impl Webhooks {
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.hooks.keys().copied()
    }

    pub(crate) fn hook(&self, id: i64) -> Option<&Hook> {
        self.hooks.get(&id)
    }

    /// What waits to be sent.
    pub(crate) fn take(&mut self) -> VecDeque<Parcel> {
        std::mem::take(&mut self.outbox)
    }

    fn put(&mut self, parcel: Parcel) {
        if self.outbox.len() >= MAX_WAITING {
            self.outbox.pop_front();
        }
        self.outbox.push_back(parcel);
        self.bell.notify_one();
    }
}

/// Sixteen random bytes in the form of a GUID.
fn guid() -> String {
    let random: u128 = rand::random();
    let hex = format!("{random:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

/// What an event tells.
pub(super) struct Event<'e> {
    pub(super) name: &'e str,
    pub(super) entity: &'e str,
    pub(super) key: i64,
    pub(super) changes: &'e [&'e str],
    pub(super) values: Map<String, Value>,
    pub(super) by: i64,
}

/// Puts an event into the outbox, once for each webhook that wants it.
pub(super) fn tell(state: &mut State, event: &Event<'_>) {
    if !state.settings.webhooks || state.settings.webhook_drop {
        return;
    }
    let now = state.now();
    let context = if state.settings.onsite {
        "Default"
    } else {
        state.custid.as_str()
    };
    // Deletions tell what was there, other events what is.
    let values = if event.name.ends_with(".deleted") {
        "Values"
    } else {
        "FieldValues"
    };
    let mut parcels = Vec::new();
    for hook in state.webhooks.hooks.values() {
        let wants = hook
            .events
            .iter()
            .any(|name| name.eq_ignore_ascii_case(event.name));
        if hook.status != WebhookStatus::Active || !wants {
            continue;
        }
        let event_id = guid();
        let mut body = json!({
            "EventId": event_id,
            "Timestamp": format!("{}0Z", now.format("%Y-%m-%dT%H:%M:%S%.6f")),
            "Changes": event.changes,
            "Event": event.name,
            "PrimaryKey": event.key,
            "Entity": event.entity,
            "ContextIdentifier": context,
            "ChangedByAssociateId": event.by,
            "WebhookName": hook.name,
        });
        body[values] = Value::Object(event.values.clone());
        parcels.push(Parcel {
            hook: hook.id,
            event: event.name.to_owned(),
            event_id,
            body: body.to_string(),
        });
    }
    let (reorder, duplicate) = (
        state.settings.webhook_reorder,
        state.settings.webhook_duplicate,
    );
    for parcel in parcels {
        let webhooks = &mut state.webhooks;
        if reorder {
            match webhooks.held.take() {
                None => webhooks.held = Some(parcel),
                Some(earlier) => {
                    webhooks.put(parcel);
                    webhooks.put(earlier);
                }
            }
        } else {
            if duplicate {
                webhooks.put(parcel.clone());
            }
            webhooks.put(parcel);
        }
    }
}

/// Tells of a change of a person.
pub(crate) fn person_event(state: &mut State, event: &str, person: i64, changes: &[&str], by: i64) {
    if state.webhooks.hooks.is_empty() {
        return;
    }
    let mut values = Map::new();
    let consent = event.ends_with("consented");
    if let Some(row) = state.persons.get(&person)
        && !consent
    {
        let stamp = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M:%S").to_string();
        let mut put = |name: &str, value: Value| values.insert(name.to_owned(), value);
        put("person_id", json!(person));
        put("contact_id", json!(row.contact));
        put("associate_id", json!(row.registered_by));
        if !event.ends_with(".deleted") {
            put("registered", json!(stamp(row.registered)));
            put("registered_associate_id", json!(row.registered_by));
            put("updated", json!(row.updated.map(stamp)));
            put("updated_associate_id", json!(row.updated_by));
            put("retired", json!(i64::from(row.retired)));
            put("DeletedDate", json!(row.deleted.map(stamp)));
        }
    }
    tell(
        state,
        &Event {
            name: event,
            entity: "person",
            key: person,
            changes,
            values,
            by,
        },
    );
}

/// Tells of a change of a list item.
pub(crate) fn list_event(state: &mut State, event: &str, kind: Kind, id: i64, by: i64) {
    let entity = kind.path().to_ascii_lowercase();
    tell(
        state,
        &Event {
            name: event,
            entity: &entity,
            key: id,
            changes: &[],
            values: Map::new(),
            by,
        },
    );
}

/// Tells of a change of a webhook's own state.
pub(super) fn state_event(state: &mut State, hook: i64, what: &str, by: i64) {
    let name = format!("webhook{hook}.{what}");
    tell(
        state,
        &Event {
            name: &name,
            entity: "webhook",
            key: hook,
            changes: &["state"],
            values: Map::new(),
            by,
        },
    );
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Taken,
    /// 410: the target wants no more.
    Gone,
    Failed(String),
}

/// Books an attempt; returns whether the webhook is still active.
pub(crate) fn book(state: &mut State, hook: i64, outcome: &Outcome) -> bool {
    let Some(row) = state.webhooks.hooks.get_mut(&hook) else {
        return false;
    };
    row.total_calls += 1;
    match outcome {
        Outcome::Taken => row.consecutive_errors = 0,
        Outcome::Gone | Outcome::Failed(_) => {
            row.total_errors += 1;
            row.consecutive_errors += 1;
            row.last_error = match outcome {
                Outcome::Failed(why) => why.clone(),
                _ => "410 Gone".to_owned(),
            };
        }
    }
    let off = row.status == WebhookStatus::Active
        && (*outcome == Outcome::Gone || row.consecutive_errors >= MAX_FAILURES);
    if off {
        row.status = WebhookStatus::TooManyErrors;
        state_event(state, hook, "errors", 0);
    }
    let row = state.webhooks.hook(hook);
    row.is_some_and(|row| row.status == WebhookStatus::Active)
}
