//! Alarms as posts that are signed as Standard Webhooks has it.
//!
//! The address comes from the configuration, so it is trusted; it may hold a secret, so it is never
//! shown.

use super::notifier::{Channel, Notice};
use crate::config::AlarmWebhook;
use crate::connector::signed::{Message, Signed};
use crate::connector::{Fault, FaultClass};
use crate::runtime::clock::Clock;
use async_trait::async_trait;
use serde::Serialize;
use std::sync::Arc;
use url::Url;

/// The web hook of a configuration.
pub struct Webhook {
    signed: Signed,
    url: Url,
}

impl Webhook {
    /// A web hook to that address.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(settings: &AlarmWebhook, clock: Arc<dyn Clock>) -> Result<Self, Fault> {
        Ok(Self {
            signed: Signed::new("alarms", &settings.key, clock)?,
            url: settings.url.clone(),
        })
    }
}

/// What is posted: the form that Standard Webhooks recommends.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    kind: &'a str,
    about: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    severity: &'static str,
    since: String,
    raised_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared_at: Option<String>,
    text: &'a str,
}

#[async_trait]
impl Channel for Webhook {
    fn way(&self) -> &'static str {
        "webhook"
    }

    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), Fault> {
        let event = Event {
            r#type: match notice.cleared_at {
                Some(_) => "alarm.cleared",
                None => "alarm.raised",
            },
            timestamp: notice.cleared_at.unwrap_or(notice.raised_at).to_string(),
            data: Data {
                kind: &notice.kind,
                about: &notice.about,
                system: notice.system.as_deref(),
                severity: notice.severity.word(),
                since: notice.since.to_string(),
                raised_at: notice.raised_at.to_string(),
                cleared_at: notice.cleared_at.map(|at| at.to_string()),
                text: &notice.text,
            },
        };
        let body = serde_json::to_vec(&event).map_err(|_| {
            let why = "alarm: the text cannot be written";
            Fault::new(FaultClass::Rejected, "alarm", why)
        })?;
        let message = Message {
            kind: "alarm",
            id: notice.id.clone(),
            url: self.url.clone(),
            body,
        };
        self.signed.post(message).await
    }
}
