//! Alarms by e-mail over SMTP, one message for each recipient.
//!
//! A recipient that is refused keeps the alarm from no other. Where the message goes over a network,
//! it goes over TLS. What a server says may repeat an address, so only its code is kept (R56).

use super::notifier::{Channel, Notice, mark};
use crate::config::{AlarmMail, MailSecurity};
use crate::connector::{Fault, FaultClass};
use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Time for one command, and to connect.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for one message from connecting to the end.
const MESSAGE_TIMEOUT: Duration = Duration::from_mins(1);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// One recipient.
pub struct Mail {
    transport: Arc<Transport>,
    from: Mailbox,
    to: Mailbox,
    name: String,
}

impl Mail {
    /// The recipients of a configuration. Connects to nothing.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn all(settings: &AlarmMail) -> Result<Vec<Self>, Fault> {
        let refused = |_| {
            let why = "mail: TLS cannot be set up for the configured host";
            Fault::new(FaultClass::Rejected, "tls", why)
        };
        let parameters = || TlsParameters::new(settings.host.clone()).map_err(refused);
        let tls = match settings.security {
            MailSecurity::StartTls => Tls::Required(parameters()?),
            MailSecurity::Tls => Tls::Wrapper(parameters()?),
            MailSecurity::None => Tls::None,
        };
        let mut builder = Transport::builder_dangerous(settings.host.clone())
            .port(settings.port)
            .tls(tls)
            .timeout(Some(COMMAND_TIMEOUT));
        if let Some((username, password)) = &settings.login {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        let transport = Arc::new(builder.build());
        let recipients = settings.to.iter().map(|to| Self {
            transport: Arc::clone(&transport),
            from: settings.from.clone(),
            to: to.clone(),
            name: name(to),
        });
        Ok(recipients.collect())
    }

    fn message(&self, notice: &Notice) -> Result<Message, Fault> {
        let what = if notice.cleared_at.is_some() {
            "all-clear: "
        } else {
            ""
        };
        let over = match notice.cleared_at {
            Some(at) => format!("Over since {at}.\n\n"),
            None => String::new(),
        };
        let body = format!(
            "{over}{}\n\nKind: {} ({})\nAbout: {}\nSince: {}\nRaised: {}\n\n`consentd status` lists \
             all alarms that stand.\n",
            notice.text,
            notice.kind,
            notice.severity.word(),
            notice.about,
            notice.since,
            notice.raised_at
        );
        let dated = notice.cleared_at.unwrap_or(notice.raised_at);
        let micros = u64::try_from(dated.micros()).unwrap_or_default();
        Message::builder()
            .from(self.from.clone())
            .to(self.to.clone())
            .subject(format!(
                "[consentd] {what}{}: {}",
                notice.kind, notice.about
            ))
            .message_id(Some(format!(
                "<{}@{}>",
                notice.id,
                self.from.email.domain()
            )))
            .date(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
            .header(ContentType::TEXT_PLAIN)
            .body(body)
            .map_err(|_| {
                let why = "mail: the message cannot be written";
                Fault::new(FaultClass::Rejected, "message", why)
            })
    }
}

/// A name that tells recipients apart and names none of them.
fn name(to: &Mailbox) -> String {
    format!("mail-{:08x}", mark::<4>(to.email.as_ref()))
}

#[async_trait]
impl Channel for Mail {
    fn way(&self) -> &'static str {
        "mail"
    }

    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), Fault> {
        let message = self.message(notice)?;
        match tokio::time::timeout(MESSAGE_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(passing("timeout", "mail: the server took too long")),
        }
    }
}

/// A failure by its code alone. Also a lasting refusal is tried again: an operator may mend it on the
/// server while the alarm stands.
fn told(error: &lettre::transport::smtp::Error) -> Fault {
    if let Some(code) = error.status() {
        let code = format!("smtp-{code}");
        return passing(&code, &format!("mail: the server answered {code}"));
    }
    if error.is_tls() {
        return passing("tls", "mail: TLS failed");
    }
    if error.is_timeout() {
        return passing("timeout", "mail: the server took too long");
    }
    if error.is_client() {
        return passing(
            "client",
            "mail: the server does not offer what is configured",
        );
    }
    passing("connect", "mail: the server cannot be reached")
}

fn passing(code: &str, words: &str) -> Fault {
    Fault::new(FaultClass::Retryable, code, words)
}
