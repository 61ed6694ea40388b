//! What opens the doors of an account.

/// API keys of an account, and the id that is the only credential of API 1.0.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Opens every module unless [`super::Settings::key_per_module`] is on.
    pub default: String,
    /// Opens the consent module when each module has its own key.
    pub consent: String,
    /// Opens the contact module when each module has its own key.
    pub contact: String,
    /// Opens the subscription module when each module has its own key.
    pub subscription: String,
    /// Opens the engagement module, where signals go, when each module has its own key.
    pub signals: String,
    /// `API_ID` in the path of API 1.0.
    pub api_id: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Default for Keys {
    fn default() -> Keys {
        let key = |module: &str| format!("emk-sandbox-{module}-2f7c1a9be04d");
        Keys {
            default: key("all"),
            consent: key("consent"),
            contact: key("contact"),
            subscription: key("subscription"),
            signals: key("signals"),
            api_id: "SANDBOX7F3A91".to_owned(),
        }
    }
}

/// A part of the API that may have a key of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    Consent,
    Contact,
    Subscription,
    Signals,
}

impl Keys {
    /// The key that opens a module.
    pub(crate) fn of(&self, module: Module, per_module: bool) -> &str {
        match module {
            _ if !per_module => &self.default,
            Module::Consent => &self.consent,
            Module::Contact => &self.contact,
            Module::Subscription => &self.subscription,
            Module::Signals => &self.signals,
        }
    }
}
