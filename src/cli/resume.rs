//! `consentd resume SYSTEM`: a system that is paused (R50) or halted by a guard (R27) goes on where it
//! stopped.

use super::Exit;
use super::operate;
use crate::sync::switches::{self, Resumed};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    on: operate::Systems,
    /// Let the next complete read find however few contacts, once: so many have really left.
    #[arg(long)]
    accept_fewer: bool,
}

/// Resumes.
///
/// # Errors
/// When a system is not configured or the store fails.
pub async fn resume(args: &Args) -> anyhow::Result<Exit> {
    operate::on_each(&args.on, async |store, system, operator, now| {
        let resumed = switches::resume(store, system, args.accept_fewer, operator, now).await?;
        Ok(words(resumed, args.accept_fewer))
    })
    .await
}

fn words(resumed: Resumed, accept_fewer: bool) -> String {
    let goes_on = match (resumed.paused, resumed.halted) {
        (true, true) => "goes on, and its feed is released",
        (true, false) => "goes on",
        (false, true) => "goes on: its feed is released",
        (false, false) => "was neither paused nor halted",
    };
    let size = if resumed.fewer {
        "; its next complete read may find fewer contacts"
    } else if accept_fewer {
        "; its next complete read could find fewer contacts already"
    } else {
        ""
    };
    format!("{goes_on}{size}")
}
