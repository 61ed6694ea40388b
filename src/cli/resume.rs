//! `consentd resume SYSTEM`: a paused system goes on where it stopped (R50).

use super::Exit;
use super::operate::{self, Args};
use crate::sync::switches;

/// Resumes.
///
/// # Errors
/// When a system is not configured or the store fails.
pub async fn resume(args: &Args) -> anyhow::Result<Exit> {
    operate::on_each(args, async |store, system, operator, now| {
        let turned = switches::resume(store, system, operator, now).await?;
        Ok(if turned { "goes on" } else { "was not paused" })
    })
    .await
}
