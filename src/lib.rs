//! consentd keeps people's e-mail consent the same in every connected system.
//!
//! Data flows one way: a [`connector`] reads a page, `sync::ingest` stores it and asks [`consent`]
//! for verdicts in the same transaction, `sync::emit` hands the resulting writes to a connector.
//! Nothing in [`consent`] can fail for a technical reason, and nothing outside it decides about
//! consent. `ARCHITECTURE.md` has the map.

pub mod config;
pub mod consent;

pub mod connector {
    //! Connectors.
    pub mod fault;
    pub mod salesforce {
        //! Salesforce.
        pub mod config;
    }
    pub mod ascend {
        //! CU Ascend.
        pub mod config;
    }
    pub use fault::{Fault, FaultClass};
}

pub mod store {
    //! The state store.
    pub mod rows;
    pub use rows::*;
    use std::path::PathBuf;

    /// Where the state is kept.
    #[derive(Debug, Clone)]
    pub enum StoreSettings {
        /// A file on this machine.
        Sqlite {
            /// Path of the database file.
            path: PathBuf,
        },
        /// A Postgres server.
        Postgres {
            /// Without a password.
            url: url::Url,
            /// The password, if one is needed.
            password: Option<secrecy::SecretString>,
        },
    }
}

pub mod runtime;
