//! The simulated orgs over real sockets: what clients rely on, endpoint by endpoint.

mod auth;
mod client;
mod query;
mod writes;
