//! Bulk API 2.0: jobs that read or write many rows through CSV.

pub(crate) mod ingest;
pub(crate) mod query;

/// The jobs of one org.
#[derive(Debug, Default)]
pub(crate) struct Jobs;
