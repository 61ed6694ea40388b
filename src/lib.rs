//! consentd keeps people's e-mail consent the same in every connected system.

pub mod config;

pub mod consent {
    //! The rules of consent.
    pub mod contact;
    pub mod purpose;
    pub mod rules;
    pub mod statement;
    pub mod time;
    pub use contact::Shown;
    pub use purpose::{PurposeId, Purposes, Revival, Unknown};
    pub use rules::{DuplicateWithdrawal, DuplicateWrite, Polarity, Policy};
    pub use statement::{Basis, Evidence, Statement, Status};
    pub use time::{At, Precision, Stamp};
}

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
