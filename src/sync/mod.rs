//! The flow of data: pages in ([`poll`], [`ingest`]), decisions ([`workbench`]), writes out
//! ([`emit`]). Nothing here decides about consent – that is [`crate::consent`] – and nothing here
//! knows a vendor – that is [`crate::connector`].

pub mod breaker;
pub mod emit;
pub mod engine;
pub mod identity;
pub mod ingest;
pub mod pack;
pub mod parity;
pub mod poll;
pub mod schedule;
pub mod workbench;
