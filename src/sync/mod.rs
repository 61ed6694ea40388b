//! The flow of data: pages in ([`poll`], [`ingest`]), decisions ([`workbench`]), writes out
//! ([`emit`]). Nothing here decides about consent – that is [`crate::consent`] – and nothing here
//! knows a vendor – that is [`crate::connector`].

pub mod apply;
pub mod assemble;
pub mod breaker;
pub mod checklist;
pub mod emit;
pub mod engine;
pub mod erasure;
pub mod first_run;
pub mod gate;
pub mod holds;
pub mod identity;
pub mod ingest;
pub mod ledger;
pub mod pack;
pub mod parity;
pub mod plan;
pub mod poll;
pub mod redecide;
pub mod refresh;
pub mod retention;
pub mod schedule;
pub mod sendout;
pub mod sheet;
pub mod suppression;
pub mod switches;
pub mod timeline;
pub mod undo;
pub mod workbench;
