//! The rules of consent, and nothing else.
//!
//! Everything here is a pure function of its arguments: no I/O, no clock, no randomness, no
//! technical failure. A test reads this folder's imports and fails when that changes. What a
//! system *shows* becomes *statements* ([`mod@observe`]), statements of one subject become *verdicts*
//! ([`mod@resolve`]), verdicts become *intended writes* ([`mod@plan`]); [`guard`] says when a person must
//! look first, and [`review`] what that person's word adds; [`mod@send`] says whether somebody may be mailed,
//! and [`gate`] what follows where mail would not be delivered; [`suppression`] says what is left of somebody
//! who was erased. Rule numbers (R…) are those of `docs/rules.md`.

pub mod address;
pub mod contact;
pub mod duplicates;
pub mod gate;
pub mod guard;
pub mod observe;
pub mod plan;
pub mod purpose;
pub mod resolve;
pub mod review;
pub mod rules;
pub mod send;
pub mod statement;
pub mod suppression;
pub mod time;

pub use address::{AddressFault, SubjectKey};
pub use contact::{Contact, Echo, Holding, Life, Record, Shown};
pub use observe::{Reading, Told, Viewpoint, observe};
pub use plan::{Change, Intended, Lane, plan};
pub use purpose::{PurposeId, Purposes, Revival, Unknown};
pub use resolve::{Remembered, Resolution, Subject, Verdict, resolve};
pub use rules::{
    DuplicateWithdrawal, DuplicateWrite, Polarity, Policy, Rules, SystemId, SystemRules,
};
pub use send::{Answer, Recipient, Voice, judge};
pub use statement::{Basis, Evidence, Statement, Status};
pub use time::{At, Precision, Stamp};
