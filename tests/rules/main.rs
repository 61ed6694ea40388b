//! The rules of consent as tables: every row is a sentence that says what it shows.
//!
//! Rule numbers are those of `docs/rules.md`. Times are minutes after the start of 2026.

mod build;
mod gate;
mod observe;
mod plan;
mod resolve;
mod review;
mod send;
mod stamps;
mod suppression;
