//! The daemon's own HTTP surface: whether it lives, whether it does its work, figures, the API, and
//! calls from vendors.
//!
//! Outside the API nothing holds an address, a secret or a version. The surface is described by hand in
//! `docs/openapi.json`; a test keeps it and the router the same.

pub mod api;
pub mod health;
pub mod hooks;
pub mod metrics;
pub mod router;

pub use router::{App, router, serve};
