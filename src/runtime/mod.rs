//! What keeps the daemon running and tells how it fares: the clock, supervised tasks, health, logs.
//!
//! Nothing here knows about consent or vendors; [`reporter`] and [`supervisor`] alone know the engine.

pub mod clock;
pub mod daemon;
pub mod health;
pub mod lifecycle;
pub mod reporter;
pub mod supervisor;
pub mod telemetry;
