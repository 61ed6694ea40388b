//! The simulated orgs over real sockets: what clients rely on, endpoint by endpoint.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails by panicking"
)]

mod ascend_files;
mod auth;
mod bulk;
mod client;
mod control;
mod emarketeer;
mod marketing_cloud;
mod query;
mod scale;
mod superoffice;
mod superoffice_archive;
mod superoffice_consents;
mod superoffice_persons;
mod superoffice_webhooks;
mod transport;
mod writes;
