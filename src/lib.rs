//! consentd keeps people's e-mail consent the same in every connected system.

pub mod store;

/// The rules of consent.
pub mod consent {
    pub mod time;
    pub use time::At;
}
