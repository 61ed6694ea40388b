//! What every connector has to do, tried against simulated vendors.
//!
//! The numbers (C…) are those of `docs/connector-spec.md`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "connector_conformance/ascend.rs"]
mod ascend;
#[path = "connector_conformance/bench.rs"]
mod bench;
#[path = "connector_conformance/bulk.rs"]
mod bulk;
#[path = "connector_conformance/changes.rs"]
mod changes;
#[path = "connector_conformance/reads.rs"]
mod reads;
#[path = "connector_conformance/transport.rs"]
mod transport;
#[path = "connector_conformance/writes.rs"]
mod writes;
