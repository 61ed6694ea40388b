//! What keeps the daemon running and tells how it fares: the clock, supervised tasks, health, logs.
//!
//! Nothing here knows about consent or vendors.

pub mod clock;
pub mod health;
pub mod lifecycle;
pub mod telemetry;
