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
#[path = "connector_conformance/emarketeer_bench.rs"]
mod emarketeer_bench;
#[path = "connector_conformance/emarketeer_odd.rs"]
mod emarketeer_odd;
#[path = "connector_conformance/emarketeer_reads.rs"]
mod emarketeer_reads;
#[path = "connector_conformance/emarketeer_writes.rs"]
mod emarketeer_writes;
#[path = "connector_conformance/files.rs"]
mod files;
#[path = "connector_conformance/files_any.rs"]
mod files_any;
#[path = "connector_conformance/marketing_cloud.rs"]
mod marketing_cloud;
#[path = "connector_conformance/marketing_cloud_odd.rs"]
mod marketing_cloud_odd;
#[path = "connector_conformance/reads.rs"]
mod reads;
#[path = "connector_conformance/superoffice/mod.rs"]
mod superoffice;
#[path = "connector_conformance/transport.rs"]
mod transport;
#[path = "connector_conformance/writes.rs"]
mod writes;
