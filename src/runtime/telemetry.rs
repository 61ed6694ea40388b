//! Logs and panics. What must never be in either: addresses, tokens, vendor texts that may hold
//! one (R56); people are referred to by the first digits of their keyed hash.

use crate::config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// Sends log lines to the standard error stream from now on, and panics into the log.
///
/// # Errors
/// When it was called before.
pub fn start(log: &Log) -> Result<(), TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;
    // The filter was parsed once already when the configuration was checked.
    let filter = EnvFilter::builder().parse_lossy(&log.filter);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => lines.finish().try_init()?,
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .finish()
            .try_init()?,
    }
    hide_panic_payloads();
    Ok(())
}

/// A panic's message may quote the value it stumbled over, which may be a person's. Only the place
/// is logged.
pub fn hide_panic_payloads() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(%place, "a task panicked at {place}; its message is left out on purpose");
    }));
}
