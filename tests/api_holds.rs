//! `/v1/holds`: what waits for a person and what operators decide about it (R29); and the roles: every
//! operator's act over the API is in the ledger with the token's name and the reason, and nobody else's
//! token does any.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "these tests use a part of it")]
#[path = "common/fake.rs"]
mod fake;
#[path = "api_holds/holds.rs"]
mod holds;
#[expect(dead_code, reason = "these tests use a part of it")]
#[path = "common/hub.rs"]
mod hub;
#[path = "common/ledger.rs"]
mod ledger;
#[path = "checklist/openapi.rs"]
mod openapi;
#[path = "api_holds/roles.rs"]
mod roles;
#[path = "api_holds/surface.rs"]
mod surface;
