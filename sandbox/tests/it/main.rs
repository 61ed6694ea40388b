//! The simulated orgs over real sockets: what clients rely on, endpoint by endpoint.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails by panicking"
)]

mod auth;
mod bulk;
mod client;
mod control;
mod query;
mod scale;
mod transport;
mod writes;
