//! The daemon's own HTTP surface: whether it lives, whether it does its work, and figures.
//!
//! Nothing here holds an address, a secret or a version. The API is described by hand in
//! `docs/openapi.json`; a test keeps it and the router the same.

pub mod health;
pub mod metrics;
pub mod router;

pub use router::{App, router, serve};
