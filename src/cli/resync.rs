//! `consentd resync SYSTEM`: everything of a system is read anew.

use super::Exit;
use super::operate::{self, Systems};
use crate::sync::switches;

/// Has the next poll begin at the beginning. Writes to the system go on meanwhile.
///
/// # Errors
/// When a system is not configured or the store fails.
pub async fn resync(args: &Systems) -> anyhow::Result<Exit> {
    operate::on_each(args, async |store, system, operator, now| {
        switches::resync(store, system, operator, now).await?;
        Ok("is read anew from its next poll on".to_owned())
    })
    .await
}
