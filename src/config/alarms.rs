//! The checks of `[alarms]`: who is told when somebody has to look, besides the log and the metrics.

use super::checked::{AlarmMail, AlarmWebhook, Alarms, MailSecurity};
use super::raw::Table;
use super::secret::{self, SecretReader};
use super::{build, keys, server};
use crate::connector::signed::unsafe_way;
use lettre::message::Mailbox;
use url::{Host, Url};

/// More recipients than this are a mistake; a mailing list has one address.
const MAX_RECIPIENTS: usize = 20;

/// Checks the table.
pub(super) fn build(root: &Table<'_>, secrets: &dyn SecretReader) -> Alarms {
    let table = root.table("alarms", keys::ALARMS);
    // Those of the tables before do not count.
    table.notes.secrets_mark();
    Alarms {
        webhook: webhook(&table, secrets),
        mail: mail(&table, secrets),
        secrets: table.notes.secrets_mark(),
    }
}

fn webhook(alarms: &Table<'_>, secrets: &dyn SecretReader) -> Option<AlarmWebhook> {
    let table = alarms.table("webhook", keys::ALARMS_WEBHOOK);
    if !table.is_given() {
        return None;
    }
    let what = "the secret of the signatures, as whsec_ and Base64";
    let secret = secret::text_required(&table, "secret", what, secrets);
    let given = table.text_required(
        "url",
        "where alarms are posted, e.g. https://hooks.example.edu/consentd",
    );
    // The address is left out of the messages, since it may hold a secret.
    let url = match Url::parse(&given) {
        Ok(url) => {
            if let Some(why) = unsafe_way(&url) {
                table.fault("url", why);
            }
            Some(url)
        }
        Err(_) if given.is_empty() => None,
        Err(fault) => {
            table.fault("url", format!("is no valid address ({fault})"));
            None
        }
    };
    let key = server::signing_key(&table, &secret);
    url.map(|url| AlarmWebhook { url, key })
}

fn mail(alarms: &Table<'_>, secrets: &dyn SecretReader) -> Option<AlarmMail> {
    let table = alarms.table("mail", keys::ALARMS_MAIL);
    if !table.is_given() {
        return None;
    }
    let host = table.text_required(
        "host",
        "the name of the mail server, e.g. \"smtp.example.edu\"",
    );
    let parsed = Host::parse(&host).ok();
    if !host.is_empty() && parsed.is_none() {
        table.fault("host", format!("{host:?} is no host name"));
    }
    let security = table
        .word(
            "security",
            &[
                ("starttls", MailSecurity::StartTls),
                ("tls", MailSecurity::Tls),
                ("none", MailSecurity::None),
            ],
        )
        .unwrap_or_default();
    let is_near = build::is_loopback(Some(&Host::Domain(host.as_str())));
    if security == MailSecurity::None && !is_near {
        table.fault(
            "security",
            "\"none\" is for a mail server on this machine only; use \"starttls\" or \"tls\"",
        );
    }
    let port = table.number_or("port", "(a port)", security.port(), 1..=65_535);
    let password = secret::text(&table, "password", secrets);
    let has_password = table.item("password").is_some() || table.item("password_file").is_some();
    let username = table.text("username");
    if username.is_some() && !has_password {
        table.fault(
            "password_file",
            "is missing; set it to the path of a file (mode 0400) with the password of username",
        );
    }
    if username.is_none() && has_password && table.item("username").is_none() {
        table.fault("username", "is missing; a password needs one");
    }
    let from = table.text_required("from", "the sender, e.g. \"consentd@example.edu\"");
    let from = mailbox(&table, "from", &from);
    let given = table.texts("to");
    if given.is_empty() && table.item("to").is_none_or(|item| item.texts().is_some()) {
        table.fault(
            "to",
            "is missing; list the recipients, e.g. [\"crm@example.edu\"]",
        );
    }
    if given.len() > MAX_RECIPIENTS {
        table.fault("to", format!("at most {MAX_RECIPIENTS} are possible"));
    }
    let to: Vec<Mailbox> = given
        .iter()
        .filter_map(|address| mailbox(&table, "to", address))
        .collect();
    for (place, one) in to.iter().enumerate() {
        if to.iter().take(place).any(|other| other.email == one.email) {
            table.fault("to", format!("number {} stands twice", place + 1));
        }
    }
    Some(AlarmMail {
        host,
        port: u16::try_from(port).ok()?,
        security,
        login: username.zip(password),
        from: from?,
        to,
    })
}

/// An address, with or without a name before it. None when it is missing or a fault was noted.
fn mailbox(table: &Table<'_>, key: &str, given: &str) -> Option<Mailbox> {
    if given.is_empty() {
        return None;
    }
    let parsed = given.parse().ok();
    if parsed.is_none() {
        table.fault(
            key,
            "holds what is no e-mail address; write it as \"name@example.edu\" or \"Name <name@example.edu>\"",
        );
    }
    parsed
}
