//! `consentd healthcheck`: so that a container needs no other program to ask.

use super::Exit;
use anyhow::{Context, ensure};
use std::time::Duration;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to ask; /readyz in place of /healthz asks whether the daemon does its work.
    #[arg(long, default_value = "http://127.0.0.1:8480/healthz")]
    url: url::Url,
}

/// Asks.
///
/// # Errors
/// When there is no answer within three seconds, or another one than 200.
pub async fn healthcheck(args: &Args) -> anyhow::Result<Exit> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(3))
        .build()?;
    let answer = client
        .get(args.url.clone())
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .context("the daemon does not answer")?;
    ensure!(
        answer.status() == reqwest::StatusCode::OK,
        "the daemon answers {}",
        answer.status()
    );
    Ok(Exit::Done)
}
