//! What keeps the daemon running and tells how it fares: the clock, supervised tasks, health, logs.
//!
//! Nothing here knows about consent or vendors; [`reporter`] alone knows the engine.

pub mod clock;
pub mod daemon;
pub mod health;
pub mod lifecycle;
pub mod reporter;
pub mod telemetry;
