//! Loopback simulators of the vendors that consentd talks to.

pub mod people;
pub mod soql;
