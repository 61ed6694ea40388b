//! Parts of a bench in processes of their own, so that their memory and CPU are their own.

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::process::{Command, Stdio};

/// Runs a part, and gives what it found.
pub(crate) fn run<T: DeserializeOwned>(arguments: &[&str]) -> anyhow::Result<T> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} did not start", arguments[0]))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        arguments[0],
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What a part found, for the process that started it.
pub(crate) fn report(result: impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(&result)?);
    Ok(())
}
