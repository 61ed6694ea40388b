//! The simulated orgs over real sockets: what clients rely on, endpoint by endpoint.

mod auth;
mod bulk;
mod client;
mod control;
mod query;
mod transport;
mod writes;
