//! `consentd redrive SYSTEM`: writes that were given up are tried again (R35).

use super::Exit;
use super::operate;
use crate::sync::switches;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    on: operate::Systems,
    /// Only the writes to these contacts, by the ids that `consentd parity` lists.
    #[arg(long = "contact", value_name = "ID", num_args = 1.., conflicts_with = "all")]
    contacts: Vec<String>,
}

/// Has dead letters tried again. What a vendor refuses for good comes back as one.
///
/// # Errors
/// When a system is not configured or the store fails.
pub async fn redrive(args: &Args) -> anyhow::Result<Exit> {
    operate::on_each(&args.on, async |store, system, operator, now| {
        let revived = switches::redrive(store, system, &args.contacts, operator, now).await?;
        Ok(match revived {
            0 => "has no such dead letters".to_owned(),
            1 => "is sent 1 dead letter again".to_owned(),
            more => format!("is sent {more} dead letters again"),
        })
    })
    .await
}
