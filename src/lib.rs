//! consentd keeps people's e-mail consent the same in every connected system.
//!
//! Data flows one way: a [`connector`] reads a page, [`sync::ingest`] stores it and asks
//! [`consent`] for verdicts in the same transaction, [`sync::emit`] hands the resulting writes to
//! a connector. Nothing in [`consent`] can fail for a technical reason, and nothing outside it
//! decides about consent. `ARCHITECTURE.md` has the map.

pub mod alarm;
pub mod cli;
pub mod config;
pub mod connector;
pub mod consent;
pub mod export;
pub mod list;
mod private_file;
pub mod runtime;
pub mod store;
pub mod sync;
pub mod web;
