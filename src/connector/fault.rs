//! Why a vendor call failed, as the engine needs to know it (R35).

use std::time::Duration;

/// The five ways in which a call fails. A new fault has to be given one of them; nothing matches
/// on the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Passing trouble: try again with backoff.
    Retryable,
    /// The vendor asked for a pause, or its allowance is used up.
    RateLimited,
    /// Not logged in, or not allowed; only this system stops.
    Auth,
    /// The vendor understood and refused; trying the same again cannot help.
    Rejected,
    /// The answer breaks the vendor's own contract; nothing of it is used.
    ContractBroken,
}

impl FaultClass {
    /// The word used in metrics, logs and the store.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::RateLimited => "rate-limited",
            Self::Auth => "auth",
            Self::Rejected => "rejected",
            Self::ContractBroken => "contract-broken",
        }
    }
}

/// A failed call.
///
/// `message` is for operators: lower case, names the call and the vendor's code, holds no address,
/// token or URL with a secret (R56).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of failure.
    pub class: FaultClass,
    /// The vendor's code or our word for it, e.g. `UNABLE_TO_LOCK_ROW`, `timeout`, `http-503`.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// How long the vendor asked to wait, already clamped to 1 s … 1 h.
    pub retry_after: Option<Duration>,
    /// The request may have reached the vendor, so that its effect is unknown (R33).
    pub maybe_sent: bool,
}

impl Fault {
    /// A fault of that class, code and message.
    pub fn new(class: FaultClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.into(),
            message: message.into(),
            retry_after: None,
            maybe_sent: false,
        }
    }

    /// With the pause that the vendor asked for.
    #[must_use]
    pub fn after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }

    /// With the note that the request may have taken effect.
    #[must_use]
    pub fn maybe_sent(mut self) -> Self {
        self.maybe_sent = true;
        self
    }
}
