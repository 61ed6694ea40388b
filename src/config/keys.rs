//! Every key the configuration knows, table by table. Whatever is not listed here is refused, and
//! a test checks that the annotated example shows each of them.

/// The keys of one table.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// How the table is called in messages and in the example.
    pub table: &'static str,
    /// Keys that may stand in the file or in the environment.
    pub known: &'static [&'static str],
    /// Secrets, which may come from the environment but must not stand in the file.
    pub environment_only: &'static [&'static str],
}

const fn keys(table: &'static str, known: &'static [&'static str]) -> Keys {
    Keys {
        table,
        known,
        environment_only: &[],
    }
}

pub(super) const ROOT: Keys = keys(
    "",
    &[
        "server", "store", "identity", "log", "policy", "purposes", "systems",
    ],
);
pub(super) const SERVER: Keys = keys("server", &["listen"]);
pub(super) const STORE: Keys = Keys {
    table: "store",
    known: &["url", "password_file"],
    environment_only: &["password"],
};
pub(super) const IDENTITY: Keys = Keys {
    table: "identity",
    known: &["hash_key_file"],
    environment_only: &["hash_key"],
};
pub(super) const LOG: Keys = keys("log", &["format", "filter"]);
pub(super) const POLICY: Keys = keys(
    "policy",
    &[
        "observed_window_hours",
        "grant_settle_secs",
        "future_tolerance_secs",
        "withdrawal_deadline_hours",
        "flaps_per_hour",
        "load_contacts_per_minute",
        "duplicates",
    ],
);
pub(super) const DUPLICATES: Keys = keys("policy.duplicates", &["write", "withdrawal"]);
pub(super) const PURPOSES: Keys = keys("purposes", &["name", "revival", "unknown"]);

/// What every system has, with the limits of the platform client, which both kinds use.
macro_rules! system_keys {
    ($($more:literal),*) => {
        &[
            "kind",
            "enabled",
            "schedule",
            "time_zone",
            "poll_interval_secs",
            "overlap_secs",
            "lag_secs",
            "max_lag_secs",
            "page_rows",
            "precedence",
            "bulk_actors",
            "api_version",
            "request_timeout_secs",
            "connect_timeout_secs",
            "max_body_mib",
            "max_concurrent",
            "max_calls_per_sec",
            "quota_reserve_percent",
            "safety_net_interval_secs",
            "bulk_query_above",
            "bulk_ingest_above",
            "bulk_deadline_secs",
            "auth",
            $($more),*
        ]
    };
}

pub(super) const SALESFORCE: Keys = keys("systems.salesforce", system_keys!("fields"));
pub(super) const ASCEND: Keys = keys(
    "systems.ascend",
    system_keys!("transport", "object", "address_field", "opt_out", "link"),
);
/// For a system whose kind is missing or misspelt: that fault alone is worth reporting.
pub(super) const ANY_SYSTEM: Keys = keys(
    "systems.*",
    system_keys!(
        "fields",
        "transport",
        "object",
        "address_field",
        "opt_out",
        "link"
    ),
);
pub(super) const AUTH: Keys = Keys {
    table: "systems.salesforce.auth",
    known: &[
        "grant",
        "login_url",
        "allowed_hosts",
        "client_id",
        "username",
        "audience",
        "private_key_file",
        "client_secret_file",
        "token_file",
    ],
    environment_only: &["private_key", "client_secret"],
};
pub(super) const FIELDS: Keys = keys(
    "systems.salesforce.fields",
    &["opt_out", "opt_out_purpose", "link", "preferences"],
);
pub(super) const OPT_OUT: Keys = keys(
    "systems.ascend.opt_out",
    &["purpose", "mode", "polarity", "field", "service_indicator"],
);
pub(super) const SERVICE_INDICATOR: Keys = keys(
    "systems.ascend.opt_out.service_indicator",
    &[
        "object",
        "contact_field",
        "value_field",
        "value_object",
        "code_field",
        "code",
        "also_blocking",
        "active_field",
        "start_field",
        "end_field",
        "comment_field",
    ],
);
pub(super) const LINK: Keys = keys("systems.ascend.link", &["field", "system", "system_field"]);

/// All tables, as they stand in the example.
pub const TABLES: &[Keys] = &[
    ROOT,
    SERVER,
    STORE,
    IDENTITY,
    LOG,
    POLICY,
    DUPLICATES,
    PURPOSES,
    SALESFORCE,
    AUTH,
    FIELDS,
    ASCEND,
    OPT_OUT,
    SERVICE_INDICATOR,
    LINK,
];

/// The known name that `unknown` was most likely meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = unknown.to_lowercase().replace('-', "_");
    known
        .map(|name| (strsim::damerau_levenshtein(&wanted, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3)
        .min()
        .map(|(_, name)| name)
}
