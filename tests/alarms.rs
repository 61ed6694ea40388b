//! Alarms are levels: each is raised once, told to every channel once, and given the all-clear once,
//! also over restarts and failed deliveries. No address or secret gets into any of them (R56).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "alarms/deliveries.rs"]
mod deliveries;
#[path = "alarms/levels.rs"]
mod levels;
#[path = "alarms/receivers.rs"]
mod receivers;
