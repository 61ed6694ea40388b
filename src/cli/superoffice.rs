//! `consentd superoffice`: what has to be set up on the side of SuperOffice.

use super::{ConfigArg, Exit, output};
use crate::config::{Checked, SystemKind};
use crate::connector::superoffice::config::Settings;
use crate::connector::superoffice::webhook::{self, Registered};
use crate::connector::superoffice::wire::Tenant;
use anyhow::{Context, bail};
use std::fmt::Write as _;
use url::Url;

/// Arguments of `superoffice`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub act: Act,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub enum Act {
    /// Let SuperOffice call this daemon when a person changes: create the registration, or put it
    /// right. SuperOffice calls the daemon meanwhile, so it has to be running.
    RegisterWebhook(RegisterWebhook),
}

/// Arguments of `superoffice register-webhook`.
#[derive(Debug, clap::Args)]
pub struct RegisterWebhook {
    #[command(flatten)]
    config: ConfigArg,
    /// The configured system; needed when there are several of SuperOffice
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
    /// Where SuperOffice reaches /hooks/superoffice of this daemon, instead of the configured address
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
}

/// Does it.
///
/// # Errors
/// The configuration's faults, or SuperOffice's refusal.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Act::RegisterWebhook(args) = &args.act;
    let checked = args.config.load()?;
    let (system, settings) = choose(&checked, args.system.as_deref())?;
    let hook = settings.webhook.as_ref().with_context(|| {
        format!("systems.{system}.webhook is missing; set its secret_file first")
    })?;
    let url = args.url.as_ref().or(hook.url.as_ref()).with_context(|| {
        format!("systems.{system}.webhook.url is missing; set it, or give --url")
    })?;
    let tenant = Tenant::new(settings).map_err(|fault| anyhow::anyhow!("{system}: {fault}"))?;
    let done = webhook::register(&tenant, system, url, &hook.secret)
        .await
        .map_err(|fault| anyhow::anyhow!("{system}: {fault}"))?;
    output::print(&told(system, &done))?;
    Ok(Exit::Done)
}

/// The system that is meant.
fn choose<'a>(
    checked: &'a Checked,
    wanted: Option<&str>,
) -> anyhow::Result<(&'a str, &'a Settings)> {
    let all: Vec<(&str, &Settings)> = checked
        .systems
        .iter()
        .filter_map(|system| match &system.kind {
            SystemKind::SuperOffice(settings) => Some((system.name.as_str(), &**settings)),
            SystemKind::Salesforce(_)
            | SystemKind::Ascend(_)
            | SystemKind::AscendFile(_)
            | SystemKind::Emarketeer(_) => None,
        })
        .collect();
    let names = || {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    };
    match (wanted, all.as_slice()) {
        (_, []) => bail!("no system of kind \"superoffice\" is configured"),
        (Some(wanted), _) => all
            .iter()
            .find(|(name, _)| *name == wanted)
            .copied()
            .with_context(|| format!("no SuperOffice system {wanted:?}; there are: {}", names())),
        (None, [only]) => Ok(*only),
        (None, _) => bail!("say which system with --system; there are: {}", names()),
    }
}

fn told(system: &str, done: &Registered) -> String {
    let mut text = if done.created {
        format!(
            "{system}: the web hook is registered as number {}.\n",
            done.id
        )
    } else if done.repaired.is_empty() {
        format!(
            "{system}: web hook {} was as it should be; its secret was set anew.\n",
            done.id
        )
    } else {
        format!(
            "{system}: web hook {} was put right: {}.\n",
            done.id,
            done.repaired.join(", ")
        )
    };
    if let Some(was) = &done.was {
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "It had stopped ({was}){}. What changed meanwhile shows at the next poll.",
            done.last_error
                .as_ref()
                .map(|error| format!("; its last error was: {error}"))
                .unwrap_or_default()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_and_why_calls_had_stopped() {
        let done = |created, repaired: &[&'static str], was: Option<&str>| {
            told(
                "superoffice",
                &Registered {
                    id: 4,
                    created,
                    repaired: repaired.to_vec(),
                    was: was.map(str::to_owned),
                    last_error: was.map(|_| "503 Service Unavailable".to_owned()),
                },
            )
        };
        assert_eq!(
            done(true, &[], None),
            "superoffice: the web hook is registered as number 4.\n"
        );
        assert_eq!(
            done(false, &[], None),
            "superoffice: web hook 4 was as it should be; its secret was set anew.\n"
        );
        assert_eq!(
            done(false, &["state", "address"], Some("TooManyErrors")),
            "superoffice: web hook 4 was put right: state, address.\n\
             It had stopped (TooManyErrors); its last error was: 503 Service Unavailable. \
             What changed meanwhile shows at the next poll.\n"
        );
    }
}
