//! `consentd pause SYSTEM`: no calls to a system until it is resumed (R50).

use super::Exit;
use super::operate::{self, Systems};
use crate::sync::switches;

/// Pauses, durably, beside a running daemon or without one. Decisions go on; what they write there
/// waits.
///
/// # Errors
/// When a system is not configured or the store fails.
pub async fn pause(args: &Systems) -> anyhow::Result<Exit> {
    operate::on_each(args, async |store, system, operator, now| {
        let turned = switches::pause(store, system, operator, now).await?;
        let done = if turned {
            "is paused"
        } else {
            "was paused already"
        };
        Ok(done.to_owned())
    })
    .await
}
