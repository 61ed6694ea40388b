//! The web hook by which SuperOffice says that a person changed: checking its calls, and registering
//! it.
//!
//! A call names a person and nothing of what the consent is now, has no time in its signature, and
//! may be lost for good. So it is a hint to look the person up, never a value.
//!
//! Sources: web hook guides (register, notification, security, troubleshooting), reference of events.

use super::wire::{Tenant, parse};
use crate::connector::http::{Body, Method};
use crate::connector::salesforce::wire::faults::clean;
use crate::connector::{Fault, FaultClass};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::Sha256;
use url::Url;

/// The header with the signature.
pub const SIGNATURE: &str = "x-superoffice-signature";
/// What is subscribed to.
pub const EVENTS: [&str; 6] = [
    "person.changed",
    "person.consented",
    "person.created",
    "person.deleted",
    "person.softdeleted",
    "person.unconsented",
];

/// Whether one of the secrets signed these very bytes. Takes as long whichever did.
pub fn is_signed<'a>(
    secrets: impl Iterator<Item = &'a SecretString>,
    signature: &str,
    body: &[u8],
) -> bool {
    let Ok(tag) = STANDARD.decode(signature.trim()) else {
        return false;
    };
    secrets.fold(false, |known, secret| {
        let signed = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .is_ok_and(|mac| mac.chain_update(body).verify_slice(&tag).is_ok());
        known | signed
    })
}

/// A call whose signature was found to be good.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// Its id; the one in the header is not signed.
    #[serde(default)]
    pub event_id: Option<String>,
    /// Its name, e.g. `person.unconsented`.
    pub event: String,
    /// Id of the record.
    #[serde(default)]
    pub primary_key: Option<i64>,
    /// The tenant; `Default` onsite.
    #[serde(default)]
    pub context_identifier: Option<String>,
}

impl Event {
    /// Reads a body; none when it is not of the documented shape.
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The contact that it is about, if it is about one.
    pub fn contact(&self) -> Option<String> {
        let id = self.primary_key.and_then(|key| u32::try_from(key).ok())?;
        (id > 0 && self.event.starts_with("person.")).then(|| id.to_string())
    }

    /// Whether it can be of that tenant; one whose name is not known takes all.
    pub fn is_of(&self, customer: Option<&str>) -> bool {
        match (customer, self.context_identifier.as_deref()) {
            (Some(customer), Some(context)) => context.eq_ignore_ascii_case(customer),
            (None, _) | (_, None) => true,
        }
    }
}

/// What registering did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Id of the registration.
    pub id: u64,
    /// It was made; otherwise it was there.
    pub created: bool,
    /// What had to be put right.
    pub repaired: Vec<&'static str>,
    /// The state in which it was found, if SuperOffice had stopped calling.
    pub was: Option<String>,
    /// Why, in SuperOffice's words.
    pub last_error: Option<String>,
}

/// The name under which the hook of a system is registered.
pub fn name(system: &str) -> String {
    format!("consentd {system}")
}

/// Creates the registration, or puts it right: active, with this address, these events, this secret.
///
/// # Errors
/// When a call fails. SuperOffice calls the address while it saves, and refuses one that does not
/// answer.
pub async fn register(
    tenant: &Tenant,
    system: &str,
    url: &Url,
    secret: &SecretString,
) -> Result<Registered, Fault> {
    let name = name(system);
    let listed = tenant
        .get("webhook", &["Webhook"], &[("nameFilter", &name)])
        .await
        .map_err(restricted)?;
    let hooks: Option<Vec<Map<String, Value>>> = parse("webhook", &listed)?;
    let mine = hooks
        .unwrap_or_default()
        .into_iter()
        .find(|hook| hook.get("Name").and_then(Value::as_str) == Some(name.as_str()));
    let wanted = wanted(&name, url, secret);
    let Some(mut hook) = mine else {
        let saved = save(tenant, Method::POST, &["Webhook"], &wanted).await?;
        return Ok(Registered {
            id: id_of(&saved).unwrap_or_default(),
            created: true,
            repaired: Vec::new(),
            was: None,
            last_error: None,
        });
    };
    let id = id_of(&hook).ok_or_else(|| {
        Fault::new(
            FaultClass::ContractBroken,
            "shape",
            "webhook: the registration has no id",
        )
    })?;
    let was = state_of(&hook);
    let repaired = differences(&hook, &wanted);
    let last_error = if was.is_some() {
        last_error(tenant, id).await?
    } else {
        None
    };
    // The secret cannot be read back, so it is set in any case.
    hook.extend(wanted);
    let number = id.to_string();
    save(tenant, Method::PUT, &["Webhook", &number], &hook).await?;
    Ok(Registered {
        id,
        created: false,
        repaired,
        was,
        last_error,
    })
}

fn wanted(name: &str, url: &Url, secret: &SecretString) -> Map<String, Value> {
    let wanted = json!({
        "Name": name,
        "Description": "Tells consentd to look a person up",
        "Events": EVENTS,
        "TargetUrl": url.as_str(),
        "Secret": secret.expose_secret(),
        "State": "Active",
        "Type": "webhook",
    });
    match wanted {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

async fn save(
    tenant: &Tenant,
    method: Method,
    segments: &[&str],
    hook: &Map<String, Value>,
) -> Result<Map<String, Value>, Fault> {
    let body = serde_json::to_vec(hook).map_err(|_| {
        Fault::new(
            FaultClass::Rejected,
            "request",
            "webhook: the registration cannot be written",
        )
    })?;
    let answer = tenant
        .call("webhook", method, segments, &[], Body::Json(body))
        .await
        .map_err(restricted)?;
    Ok(parse::<Option<Map<String, Value>>>("webhook", &answer)?.unwrap_or_default())
}

/// Most refusals here have one of two causes.
fn restricted(mut fault: Fault) -> Fault {
    let advice = match fault.class {
        FaultClass::Auth => {
            "; online, SuperOffice has to allow the application to use web hooks; onsite, EnableWebhooks has to be true"
        }
        FaultClass::Rejected => {
            "; SuperOffice calls the address while it saves: the daemon has to be running and reachable there by https with a certificate that is publicly valid"
        }
        FaultClass::Retryable | FaultClass::RateLimited | FaultClass::ContractBroken => "",
    };
    fault.message.push_str(advice);
    fault
}

fn id_of(hook: &Map<String, Value>) -> Option<u64> {
    hook.get("WebhookId").and_then(Value::as_u64)
}

/// The state, unless it is active.
fn state_of(hook: &Map<String, Value>) -> Option<String> {
    let state = match hook.get("State") {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(1) => "Active".to_owned(),
            Some(2) => "Stopped".to_owned(),
            Some(3) => "TooManyErrors".to_owned(),
            _ => "Unknown".to_owned(),
        },
        _ => "Unknown".to_owned(),
    };
    (state != "Active").then(|| clean(&state).into_owned())
}

fn differences(hook: &Map<String, Value>, wanted: &Map<String, Value>) -> Vec<&'static str> {
    let mut found = Vec::new();
    if state_of(hook).is_some() {
        found.push("state");
    }
    if hook.get("TargetUrl") != wanted.get("TargetUrl") {
        found.push("address");
    }
    let events: Vec<&str> = hook
        .get("Events")
        .and_then(Value::as_array)
        .map(|events| events.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if !EVENTS.iter().all(|event| events.contains(event)) {
        found.push("events");
    }
    let shown = hook.get("Secret").and_then(Value::as_str);
    if shown.is_some_and(|shown| {
        !shown.is_empty() && wanted.get("Secret").and_then(Value::as_str) != Some(shown)
    }) {
        found.push("secret");
    }
    found
}

async fn last_error(tenant: &Tenant, id: u64) -> Result<Option<String>, Fault> {
    let id = id.to_string();
    let answer = tenant
        .get("webhook", &["Webhook", &id, "LastError"], &[])
        .await?;
    let words: Option<Value> = parse("webhook", &answer)?;
    Ok(match words {
        Some(Value::String(words)) if !words.trim().is_empty() => Some(clean(&words).into_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"EventId":"6f0c3b0e-0c58-4c2c-9d0e-2b6a3f0d9a11","Timestamp":"2026-01-19T11:02:07.4415201Z","Changes":["legalBase_id"],"Event":"person.unconsented","PrimaryKey":5120,"Entity":"person","ContextIdentifier":"Cust40001","ChangedByAssociateId":77,"WebhookName":"consent feed","FieldValues":{}}"#;

    fn sign(secret: &str, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        STANDARD.encode(mac.chain_update(body).finalize().into_bytes())
    }

    #[test]
    fn only_the_very_bytes_signed_with_a_known_secret_pass() {
        let secrets: Vec<SecretString> =
            ["new", "old"].map(|secret| secret.to_owned().into()).into();
        let is_signed =
            |signature: &str, body: &[u8]| super::is_signed(secrets.iter(), signature, body);
        assert!(is_signed(&sign("new", BODY), BODY));
        assert!(is_signed(&sign("old", BODY), BODY), "while it is replaced");
        assert!(!is_signed(&sign("older", BODY), BODY));
        let mut spaced = BODY.to_vec();
        spaced.insert(1, b' ');
        assert!(
            !is_signed(&sign("new", BODY), &spaced),
            "white space counts"
        );
        for signature in ["", "AAAA", "not base64!", &sign("new", BODY)[..40]] {
            assert!(!is_signed(signature, BODY), "{signature}");
        }
        assert!(!super::is_signed([].into_iter(), &sign("new", BODY), BODY));
    }

    #[test]
    fn an_event_of_a_person_names_the_contact() {
        let event = Event::read(BODY).unwrap();
        assert_eq!(event.contact().as_deref(), Some("5120"));
        assert!(event.is_of(Some("cust40001")) && event.is_of(None));
        assert!(!event.is_of(Some("Cust40002")));
        for (text, contact) in [
            (r#"{"Event":"test","PrimaryKey":0,"Entity":"test"}"#, None),
            (r#"{"Event":"contact.changed","PrimaryKey":5}"#, None),
            (r#"{"Event":"person.changed"}"#, None),
            (r#"{"Event":"person.changed","PrimaryKey":-5}"#, None),
            (r#"{"Event":"person.changed","PrimaryKey":5}"#, Some("5")),
        ] {
            let event = Event::read(text.as_bytes()).unwrap();
            assert_eq!(event.contact().as_deref(), contact, "{text}");
        }
        for text in ["", "[]", "{}", "null", r#"{"Event":5}"#] {
            assert_eq!(Event::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_has_to_be_put_right_is_named() {
        let url = Url::parse("https://consent.example.org/hooks/superoffice").unwrap();
        let wanted = wanted("consentd superoffice", &url, &"s".to_owned().into());
        let with = |member: &str, value: Value| {
            let mut hook = wanted.clone();
            hook.insert(member.to_owned(), value);
            hook
        };
        for (member, value, found) in [
            ("State", json!("Active"), vec![]),
            ("State", json!(1), vec![]),
            ("State", json!("TooManyErrors"), vec!["state"]),
            ("State", json!(3), vec!["state"]),
            (
                "TargetUrl",
                json!("https://old.example.org/"),
                vec!["address"],
            ),
            ("Events", json!(["person.changed"]), vec!["events"]),
            ("Secret", json!("other"), vec!["secret"]),
            ("Secret", json!(""), vec![]),
            ("Secret", Value::Null, vec![]),
        ] {
            let hook = with(member, value.clone());
            assert_eq!(differences(&hook, &wanted), found, "{member} {value}");
        }
        assert_eq!(
            state_of(&with("State", json!(3))).as_deref(),
            Some("TooManyErrors")
        );
    }
}
