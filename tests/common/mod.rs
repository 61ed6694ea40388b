//! Shared by the tests that drive the engine.

pub(crate) mod engine;
pub(crate) mod postgres;
