//! The only place where the time of day comes from, so that a test can set it.

use crate::consent::At;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now, by this machine.
    fn now(&self) -> At;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "the home of the ambient clock")]
    fn now(&self) -> At {
        chrono::Utc::now().into()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct Manual(AtomicI64);

impl Manual {
    /// A clock that shows `at`.
    pub const fn at(at: At) -> Self {
        Self(AtomicI64::new(at.micros()))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets it, also backwards.
    pub fn set(&self, at: At) {
        self.0.store(at.micros(), Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> At {
        At::from_micros(self.0.load(Ordering::SeqCst))
    }
}
