//! consentd keeps people's e-mail consent the same in every connected system.

pub mod connector;
pub mod consent;
