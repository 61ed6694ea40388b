//! Bulk API 2.0: large reads and large writes as jobs.
