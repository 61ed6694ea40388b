//! What every connector has to do, tried against simulated vendors.
//!
//! The numbers (C…) are those of `docs/connector-spec.md`.

mod ascend;
mod bench;
mod bulk;
mod changes;
mod reads;
mod transport;
mod writes;
